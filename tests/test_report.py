"""The report: its numbers, its words, and how it looks and behaves in a real Chromium."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from playwright.sync_api import Browser, Page

from mofa_usage import UsageError
from mofa_usage.reading.columns import CALL_SCHEMA
from mofa_usage.report import headlines, write_report
from mofa_usage.report.answers import Answers, answers
from mofa_usage.report.contents import Contents, contents
from mofa_usage.report.headlines import Tile
from mofa_usage.report.pages import Page as PageOfOne
from mofa_usage.report.pages import pages as pages_of
from mofa_usage.report.pages import timeline_of
from mofa_usage.report.period import Span, window
from mofa_usage.report.pictures import Section, changed, complete, loaded, talked, wasted
from mofa_usage.report.reasons import Reasons
from mofa_usage.report.reasons import reasons as asked
from mofa_usage.report.tables import Table
from mofa_usage.usage import UsageFrame, load_usage
from tests.browser import open_browser

EVIL = "<img src=x onerror='hacked=1'></script><script>hacked=1</script>&\"'"
BERLIN = ZoneInfo("Europe/Berlin")
FIRST = datetime(2026, 5, 1, tzinfo=UTC)


def call(day: float, **given: Any) -> dict[str, Any]:
    """A successful call `day` days after the first of May."""
    moment = FIRST + timedelta(days=day)
    return {
        "model_name": "gpt-4o",
        "status": "success",
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "total_price": Decimal("0.5"),
        "currency": "USD",
        "latency_ms": 1000,
        "time_to_first_token_ms": 200,
        "agent_name": "Helpdesk",
        "create_time": moment,
        "update_time": moment,
        **given,
    }


def usage_of(calls: list[dict[str, Any]], **options: Any) -> UsageFrame:
    frame = pl.DataFrame(calls, schema=CALL_SCHEMA, strict=False, orient="row")
    return load_usage(frame, **options)


def month() -> UsageFrame:
    """Thirty days: a call each noon, later two; a failure, a second currency, a model and an agent of ill will."""
    calls = [call(day + 0.5) for day in range(30)]
    calls += [call(day + 0.6, model_name=EVIL, agent_name=EVIL, total_price=None) for day in range(23, 30)]
    calls.append(call(25.7, status="timeout", error_code=EVIL, total_price=Decimal("0.25"), latency_ms=60000))
    calls.append(call(26.7, currency="EUR", total_price=Decimal("4")))
    calls.append(call(29.99))
    return usage_of(calls)


def answered(usage: UsageFrame, days: int | None = None) -> Answers:
    found = answers(usage, days)
    assert found is not None
    return found


def shown(usage: UsageFrame, days: int | None = None) -> list[Tile]:
    found = answered(usage, days)
    return list(headlines.tiles(found["whole"], found.get("now"), found.get("before")))


def tiles(usage: UsageFrame, days: int | None = None) -> dict[str, tuple[str, str, str, str]]:
    """The whole, the last days, their trend and its mood, by title."""
    return {tile.title: (tile.value, tile.recent, tile.trend, tile.mood) for tile in shown(usage, days)}


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in [*table.rows, *table.total]]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a month."""
    return write_report(month(), tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def whole() -> Contents:
    """All that is in it."""
    return contents(month(), None)


@pytest.fixture(scope="module")
def why() -> Reasons:
    """The answers to its questions that are no breakdowns."""
    return reasons(month())


# The period of the headline figures


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-05-01T09:00", "2026-05-30T23:30", (7, "2026-05-24", "2026-05-31", "2026-05-17")),
        ("2026-05-01T09:00", "2026-05-30T13:00", (7, "2026-05-23", "2026-05-30", "2026-05-16")),  # 30 May may go on
        ("2026-03-01T09:00", "2026-05-30T23:30", (30, "2026-05-01", "2026-05-31", "2026-04-01")),
        ("2026-05-01T09:00", "2026-05-14T23:30", (7, "2026-05-08", "2026-05-15", "2026-05-01")),
        ("2026-05-01T09:00", "2026-05-13T23:30", (1, "2026-05-13", "2026-05-14", "2026-05-12")),
        ("2026-05-01T09:00", "2026-05-02T23:30", (1, "2026-05-02", "2026-05-03", "2026-05-01")),
    ],
)
def test_headlines_are_for_the_last_full_days(first: str, last: str, expected: tuple[int, str, str, str]) -> None:
    chosen = window(Span(datetime.fromisoformat(first), datetime.fromisoformat(last)))
    days = [chosen.start, chosen.end, chosen.before]
    assert (chosen.days, *(str(day and day.date()) for day in days)) == expected
    assert all(day is not None and day.time().isoformat() == "00:00:00" for day in days)


def test_days_are_local_and_may_have_23_hours() -> None:
    last = datetime(2026, 3, 29, 23, tzinfo=BERLIN)
    chosen = window(Span(last - timedelta(days=20), last))
    assert chosen.start == datetime(2026, 3, 23, tzinfo=BERLIN)
    assert chosen.end.astimezone(UTC) - chosen.start.astimezone(UTC) == timedelta(days=7, hours=-1)


def test_a_day_is_full_when_the_usage_was_loaded_to_its_end() -> None:
    first, last = datetime(2026, 5, 1, 9, tzinfo=UTC), datetime(2026, 5, 20, 12, tzinfo=UTC)
    assert window(Span(first, last, end=datetime(2026, 5, 21, tzinfo=UTC))).end.date() == date(2026, 5, 21)
    assert window(Span(first, last, end=datetime(2026, 5, 20, 18, tzinfo=UTC))).end.date() == date(2026, 5, 20)
    begun = window(Span(first, last, start=datetime(2026, 5, 1, 8, tzinfo=UTC)), 9)
    assert begun.before == datetime(2026, 5, 2, tzinfo=UTC)


def test_without_an_earlier_period_it_is_said() -> None:
    morning = datetime(2026, 5, 1, 9)
    short = window(Span(morning, morning + timedelta(hours=3)))
    assert (short.title, short.days, short.before) == ("", None, None)
    assert "less than two full days" in short.text
    assert short.start <= morning + timedelta(hours=3) < short.end
    asked = window(Span(morning, morning + timedelta(days=9, hours=14)), days=7)
    assert asked.before is None
    assert "no calls from the 7 days before" in asked.text
    with pytest.raises(UsageError, match="need a full day"):
        window(Span(morning, morning + timedelta(hours=3)), days=2)


# Numbers


def test_the_whole_stands_beside_the_last_days_and_their_change() -> None:
    found = tiles(month())
    assert found["Calls"] == ("40", "17", "▲ 142.9%", "neutral")  # 17 in the last 7 days, 7 in those before
    assert found["Cost"] == ("$15.75", "$4.25", "▲ 21.4%", "neutral")  # 8 of 0.50 and 0.25 after 7 of 0.50
    assert found["Cost (EUR)"] == ("EUR 4.00", "EUR 4.00", "", "neutral")
    assert found["Success rate"] == ("97.5%", "94.1%", "▼ 5.9 points", "bad")
    assert found["Tokens"] == ("6.00k", "2.55k", "▲ 142.9%", "neutral")
    assert found["Time to first token p50"] == ("200 ms", "200 ms", "no change", "neutral")
    assert found["Latency p95"][2:] == ("12.8x as much", "bad")
    assert found["Cost per call"][1:] == ("$0.472", "▼ 5.6%", "good")
    assert found["Wasted cost"] == ("$0.25", "$0.25", "none before", "neutral")


def test_the_number_of_last_days_can_be_asked_for() -> None:
    assert tiles(month(), 1)["Calls"][:2] == ("40", "3")
    assert tiles(month(), 20)["Calls"][1:3] == ("30", "")
    assert answered(month(), 1).window.title == "Last full day"
    with pytest.raises(UsageError, match="days is 0"):
        write_report(month(), "report.html", days=0)


def test_last_days_without_calls_say_so() -> None:
    usage = usage_of([call(0.5), call(3.2)])
    assert answered(usage, 1).window.text.startswith("Last full day: Sun 3 May 2026")
    assert tiles(usage, 1)["Calls"] == ("2", "no calls", "", "neutral")


def test_of_less_than_two_days_there_is_only_the_whole() -> None:
    assert tiles(usage_of([call(0.2), call(0.3)]))["Calls"] == ("2", "", "", "neutral")


def test_what_costs_nothing_is_free_and_not_unknown() -> None:
    calls = [call(day, model_name=f"m{day % 2}", agent_name=None, total_price=Decimal(0)) for day in range(4)]
    found = contents(usage_of([*calls, call(3.5, total_price=None)]), None)
    assert tiles(usage_of(calls))["Cost"][:2] == ("free", "")
    assert [tile.title for tile in found.tiles if "ost" in tile.title] == ["Cost"]
    assert "Cost" not in [section.title for section in found.sections]
    table = found.tables[0]
    assert [row[1] for row in cells(table)] == ["free", "free", "unknown", "free"]
    assert not any("per" in name for name in table.head)
    assert table.note.startswith("The 80.0% of 5 calls that have a price are free. A call without a price is unknown")
    assert all("Cost" not in chart.title for page in found.pages for chart in page.charts)


def test_tables_hold_the_costs_and_say_what_they_cover(whole: Contents) -> None:
    by_model, by_agent, failures = whole.tables
    assert by_model.head[:6] == ["Model", "Cost (USD)", "Share", "Cost (EUR)", "Share", "Priced"]
    rows = {row[0]: row[1:6] for row in cells(by_model)}
    assert rows == {
        "gpt-4o": ["$15.75", "100%", "EUR 4.00", "100%", "100%"],
        EVIL: ["unknown", "–", "unknown", "–", "0%"],  # noqa: RUF001
        "All calls": ["$15.75", "100%", "EUR 4.00", "100%", "82.5%"],
    }
    assert by_model.note == (
        "Costs are those of the 82.5% of 40 calls that have a price. A call without a price is unknown, not free. "
        "Each model leads to a page of its own."
    )
    assert by_agent.note.startswith("Costs are those of the 82.5% of 40 calls")
    assert cells(failures) == [["timed out", EVIL, "1", "100%", "2.5%", "1", "1"]]


def test_a_model_without_prices_says_so_where_others_have_some() -> None:
    calls = [call(0), call(1, agent_name="B"), call(2, model_name="b", total_price=None)]
    (by_agent,) = pages(usage_of(calls))["b"].tables
    assert by_agent.note == "None of the calls has a price, so their cost is unknown."


def test_a_long_table_says_that_it_is_cut() -> None:
    usage = usage_of([call(index / 100, model_name=f"m{index}", total_price=Decimal(index)) for index in range(60)])
    table = contents(usage, None).tables[0]
    assert len(table.rows) == 50
    assert table.rows[0][0].text == "m59"
    assert "The first 50 of 60 rows." in table.note
    assert "The 25 heaviest lead to pages of their own, the other 35 have none." in table.note
    assert [bool(row[0].page) for row in table.rows] == [True] * 25 + [False] * 25


def test_what_no_call_tells_is_not_shown_but_said(tmp_path: Path) -> None:
    bare = {"total_price": None, "latency_ms": None, "time_to_first_token_ms": None, "agent_name": None}
    usage = usage_of([call(hour / 24, **bare) for hour in range(3)])
    found = contents(usage, None)
    assert [section.title for section in found.sections] == ["Volume", "Reliability", "Is it all here?"]
    assert [table.title for table in found.tables] == ["By model"]
    assert not any("cost" in name.lower() for name in found.tables[0].head)
    assert (found.tables[0].note, found.tables[0].head[:2]) == ("", ["Model", "Calls"])  # said once, as below
    assert [tile.title for tile in found.tiles] == ["Calls", "Success rate", "Tokens"]
    page = write_report(usage, tmp_path / "bare.html").read_text()
    assert "Not shown, since no call tells it: prices, latency, time to first token." in page


COLUMNS = ["model_name", "status", "error_code", "total_price", "currency", "latency_ms", "time_to_first_token_ms"]


@pytest.mark.parametrize(
    "lacking",
    [
        ["model_name"],
        ["status", "completion_tokens"],
        ["error_code", "currency"],
        ["total_price"],
        ["latency_ms", "agent_name"],
        ["time_to_first_token_ms", "total_tokens", "chat_session_id"],
    ],
    ids=str,
)
def test_a_frame_without_some_columns_is_reported_as_far_as_it_goes(lacking: list[str]) -> None:
    assert contents(load_usage(month().frame.drop(lacking)), None).calls == 40


@pytest.mark.parametrize("kept", [[], *([name] for name in COLUMNS)], ids=str)
def test_a_frame_of_times_and_little_else_is_reported(kept: list[str]) -> None:
    found = contents(load_usage(month().frame.select("create_time", *kept)), None)
    assert found.calls == 40
    assert ("Success rate" in [tile.title for tile in found.tiles]) == (kept == ["status"])
    assert ("Cost" in [section.title for section in found.sections]) == (kept == ["total_price"])
    assert ("outcomes" in found.absent) == (kept != ["status"])


def test_a_frame_without_times_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'create_time', which a report needs"):
        write_report(load_usage(month().frame.drop("create_time")), tmp_path / "none.html")


def test_a_model_has_one_colour_on_the_whole_page() -> None:
    usage = usage_of([call(day, model_name=f"m{day % 11}", total_price=Decimal(day)) for day in range(33)])
    found = contents(usage, None)
    colors: dict[str, set[str]] = {}
    for section in found.sections:
        for figure in [*section.wide, *section.narrow]:
            for trace in figure.data:
                if trace.name and re.fullmatch(r"m\d+", trace.name):
                    colors.setdefault(trace.name, set()).add(trace.marker.color)
    for row in found.tables[0].rows:
        colors[row[0].text].add(row[0].style.color if row[0].style else "")
    assert len(colors) == 11
    assert all(len(found) == 1 for found in colors.values())


# Why it changed, what was wasted, what conversations cost


def reasons(usage: UsageFrame, days: int | None = None) -> Reasons:
    return asked(usage, answered(usage, days))


def section_of(why: Reasons, title: str) -> Section:
    told = (*changed(why), *wasted(why), *loaded(why), *talked(why), *complete(why))
    (found,) = (section for section in told if section.title == title)
    return found


def test_why_the_cost_changed_stands_first_and_at_a_glance(whole: Contents, report: Path) -> None:
    section, said = whole.sections[0], whole.change
    change = month().explain_change(("2026-05-17", "2026-05-24"), ("2026-05-24", "2026-05-31"))
    assert section.title == "Why the cost changed"
    assert section.sentences[0] == change.sentence
    # 8 calls of 0.50 and one of 0.25, which was not before, after 7 of 0.50
    assert change.sentence.startswith("The cost rose by $0.75 (21.4%), from $3.50 in 17 to 23 May 2026 to $4.25")
    assert change.sentence.startswith(said)
    assert said.startswith("The cost rose by $0.75")
    assert "The cost rose by EUR 4.00, from EUR 0.00 in" in said
    assert not said.endswith("left out.")
    assert [figure.layout.title.text for figure in section.wide] == ["Change of cost"]
    assert report.read_text().count(f"<p>{said}") == 2


def test_what_else_changed_stands_in_a_table_with_its_ranges(why: Reasons) -> None:
    (table,) = section_of(why, "Why the cost changed").tables
    rows = {row[0]: row[1:] for row in cells(table)}
    assert table.head == ["Measure", "17 to 23 May 2026", "24 to 30 May 2026", "Change"]
    assert rows["Calls"] == ["7", "17", "▲ 142.9%"]
    assert rows["Cost per call (USD)"] == ["$0.50", "$0.472", "▼ 5.6%"]
    assert rows["Cost per call (EUR)"] == ["unknown", "EUR 4.00", "not known before"]
    # Wilson's intervals of 7 of 7 and of 16 of 17, by hand; the change has Newcombe's.
    assert rows["Success rate"][:2] == ["100% (64.6% to 100%)", "94.1% (73.0% to 99.0%)"]
    assert rows["Success rate"][2] == "▼ 5.9 points (-27 to +30)"


@pytest.mark.parametrize(
    "calls",
    [
        [call(day, total_price=None) for day in range(4)],
        [call(day, total_price=Decimal(0)) for day in range(4)],
        [call(0), call(0.5)],
        [call(day, total_price=Decimal(1) if day > 1 else None) for day in range(3)],
    ],
    ids=["no prices", "free", "less than two days", "no price before"],
)
def test_without_two_periods_with_prices_there_is_no_change(calls: list[dict[str, Any]]) -> None:
    assert reasons(usage_of(calls)).change is None


def test_what_drives_a_change_is_said_and_drawn() -> None:
    before = [call(number / 300, agent_name=f"A{number % 3}") for number in range(300)]
    after = [
        call(1 + number / 300, agent_name=f"A{number % 3}", total_price=Decimal(2 if number % 3 == 1 else "0.5"))
        for number in range(300)
    ]
    section = section_of(reasons(usage_of([*before, *after])), "Why the cost changed")
    assert section.sentences[1] == "Agent A1 explains 100% of the rise of cost by $150.00."
    assert len(section.narrow) == 1  # of one model there are no small multiples


def test_waste_is_shown_where_it_has_a_price(why: Reasons) -> None:
    section = section_of(why, "Waste")
    assert section.sentences[0].startswith("$0.25 (1.6% of the cost) was wasted on 1 call")
    assert reasons(usage_of([call(0), call(1, status="failed", total_price=None)])).waste is None


def conversation(number: int, turns: int, day: float = 0.0) -> list[dict[str, Any]]:
    name = f"00000000-0000-4000-8000-{number:012d}"
    return [call(day + turn / 1000, chat_session_id=name, prompt_tokens=100 * (turn + 1)) for turn in range(turns)]


def test_conversations_with_several_turns_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = usage_of([one for number in range(12) for one in conversation(number, number + 1, number / 2)])
    section = section_of(reasons(usage), "Conversations")
    assert section.sentences[0].startswith("There are 12 sessions; they cost $39.00")
    (table,) = section.tables
    assert len(table.rows) == 8
    assert [row[0] for row in cells(table)][:2] == [f"00000000-0000-4000-8000-{number:012d}" for number in (11, 10)]
    assert cells(table)[0][1:] == ["$6.00", "Wed 6 May 2026, 12:00", "15 min 51 s", "12", "1.80k", "100"]
    monkeypatch.setattr("mofa_usage.report.reasons.MOST_CALLS", 30)
    said = section_of(reasons(usage), "Conversations").sentences
    assert said[0].startswith("There are 2 sessions; they cost $11.50")  # of 12 and 11 turns; the third one has 10
    assert said[0].endswith(" This is of the calls since Tue 5 May 2026, 13:00.")
    monkeypatch.setattr("mofa_usage.report.reasons.MOST_CALLS", 5)  # fewer than the last period has
    assert reasons(usage).since == datetime(2026, 5, 6, 12, tzinfo=UTC)


def test_conversations_of_one_turn_each_say_no_more_than_their_calls() -> None:
    assert reasons(usage_of(conversation(1, 1) + conversation(2, 1))).conversations is None


def test_what_caches_saved_stands_beside_the_waste() -> None:
    # 500 of 1,000 tokens at 1.25 instead of 2.50 dollars a million
    cached = call(0, prompt_tokens=1000, cached_tokens=500, create_time=datetime(2026, 5, 1, tzinfo=UTC))
    section = section_of(reasons(usage_of([cached])), "Caches")
    assert section.sentences == ["Caches saved $0.000625. Amounts are by the list prices."]
    both = section_of(reasons(usage_of([cached, call(1, status="failed")])), "Waste and caches")
    assert len(both.sentences) == len(both.narrow) == 2
    assert reasons(usage_of([call(0, cached_tokens=0)])).caches is None


def test_many_calls_at_once_are_a_load() -> None:
    calls = [call(0, latency_ms=60_000, create_time=FIRST + timedelta(seconds=number)) for number in range(8)]
    section = section_of(reasons(usage_of(calls)), "Load")
    assert section.sentences[0].startswith("At most 8 calls were in flight at once, first at 2026-05-01 00:00")
    assert reasons(usage_of(calls[:4])).load is None


def test_what_is_not_all_here_is_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = [call(number, model_name=f"<b>{number}</b>", total_price=None) for number in range(9)]
    usage = usage_of(calls)
    section = section_of(reasons(usage), "Is it all here?")
    assert section.sentences[0].startswith("There are 9 findings: 9 warnings. None of the 1 call")
    assert section.sentences[1] == "Here are the next 6 of them; mofa-usage completeness lists 2 more."
    assert len(section.items) == 6
    monkeypatch.setattr("mofa_usage.report.reasons.MOST_COMPARED", 8)
    page = write_report(usage, tmp_path / "report.html").read_text()
    assert "were not looked for among more than" in page
    assert "<li>None of the 1 call of &lt;b&gt;" in page


# The pages of single models and agents


def pages(usage: UsageFrame) -> dict[str, PageOfOne]:
    return {page.name: page for page in pages_of(usage, answered(usage))}


def series(page: PageOfOne, title: str, name: str) -> list[Any]:
    """The numbers of a line or bar of a chart."""
    (parts,) = (chart.parts for chart in page.charts if chart.title == title)
    (found,) = (trace["y"] for trace in parts["data"] if trace["name"] == name)
    return list(found)


def test_a_page_says_of_one_model_what_a_usage_of_it_alone_would() -> None:
    usage = month()
    page = pages(usage)["gpt-4o"]
    alone = load_usage(usage.frame.filter(pl.col("model_name") == "gpt-4o"))
    assert page.text == "33 of 40 calls (82.5%), number 1 of 2 by cost."
    assert {tile.title: tile for tile in page.tiles} == {tile.title: tile for tile in shown(alone)}
    days = [FIRST.date() + timedelta(days=number) for number in range(30)]
    daily = {row["day"]: row for row in alone.breakdown(["day"], ["calls", "latency_p95"]).to_dicts()}
    assert series(page, "Calls per day", "Calls") == [daily[day]["calls"] for day in days]
    seconds = [pytest.approx(daily[day]["latency_p95"] / 1000) for day in days]
    assert series(page, "Latency per day", "p95") == seconds
    assert sum(series(page, "Success and failures per day", "timed out")[25:26]) == 1
    assert timeline_of(answered(usage)).places == [day.isoformat() for day in days]
    by_agent, failures = page.tables
    assert [row[0] for row in cells(by_agent)] == ["Helpdesk", "All calls"]
    assert cells(failures) == [["timed out", EVIL, "1", "100%", "3.0%", "1"]]


def test_days_without_calls_of_a_model_are_gaps_and_not_zero() -> None:
    page = pages(usage_of([call(0), call(7), call(1, model_name="b"), call(7, model_name="b")]))["b"]
    assert series(page, "Latency per day", "p50") == [None, 1.0, *[None] * 5, 1.0]
    assert series(page, "Cost per day", "Cost") == [None, 0.5, *[None] * 5, 0.5]


def test_calls_without_a_name_have_a_page_too() -> None:
    page = pages(usage_of([call(0), call(1, agent_name=None), call(2, agent_name="B")]))["(none)"]
    assert (page.id, page.text) == ("agent-none", "1 of 3 calls (33.3%), number 3 of 3 by cost.")


def test_one_model_alone_has_no_page() -> None:
    assert pages(usage_of([call(0), call(1)])) == {}


def test_no_name_stands_in_an_address(tmp_path: Path) -> None:
    names = [EVIL, "#model", "a b", "ümläut", "\u202egpt", "../x", "javascript:alert(1)", ""]
    usage = usage_of([call(number / 9, model_name=name, agent_name=name) for number, name in enumerate(names)])
    page = write_report(usage, tmp_path / "report.html").read_text()
    ids, places = re.findall(r'\bid="([^"]*)"', page), re.findall(r'\bhref="#([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(places) <= set(ids)
    assert sum(re.fullmatch("(model|agent)-[0-9a-f]{16}", name) is not None for name in ids) == 2 * len(names)
    assert all(re.fullmatch("[a-z0-9-]+", name) for name in ids)


# Files


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = write_report(usage_of([call(0)]), str(tmp_path / "report.html"), title="One & <only>")
    assert path == tmp_path / "report.html"
    first = path.read_text()
    assert "<title>One &amp; &lt;only&gt;</title>" in first
    (tmp_path / "taken").mkdir()
    none = usage_of([])  # whose page is soon made
    for target in (tmp_path / "taken", tmp_path / "report.html" / "no_folder.html"):
        with pytest.raises(UsageError, match=f"cannot write the report to {re.escape(str(target))}: "):
            write_report(none, target)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report.html", "taken"]
    assert path.read_text() == first
    assert write_report(none, path).read_text() != first
    assert write_report(none, tmp_path / "a" / "new" / "folder.html").exists()


def test_untrusted_names_stay_text_in_the_page(report: Path) -> None:
    page = report.read_text()
    assert "<img src=x" not in page
    scripts = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.DOTALL)
    assert len(scripts) > 8
    for script in scripts:
        json.loads(script)


def test_without_calls_the_page_says_so(tmp_path: Path) -> None:
    page = write_report(usage_of([]), tmp_path / "empty.html").read_text()
    assert "There are no calls in this usage." in page
    assert len(page) < 20_000


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2025-01-01", "2025-02-01", "from Wed 1 Jan 2025 on and before Sat 1 Feb 2025"),
        ("2027-01-01", None, "from Fri 1 Jan 2027 on"),
        (None, "2025-02-01T12:00", "before Sat 1 Feb 2025, 12:00"),
    ],
)
def test_a_period_without_calls_says_which_was_asked_for(start: str | None, end: str | None, said: str) -> None:
    found = contents(usage_of([call(0)], start=start, end=end, tz="Europe/Berlin"), None)
    assert found.nothing == f"There are no calls in the period that was asked for: {said} (Europe/Berlin)."


# In Chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


class Visit:
    """A page that was opened, and everything it said and asked for."""

    def __init__(self, browser: Browser, path: Path, width: int, scheme: Any = "light") -> None:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        self.page: Page = context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.width, self.scheme = width, scheme

    def wait_until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true. (Playwright's own way needs eval, which the page forbids.)"""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(f"() => {expression}"):
            assert time.monotonic() < deadline, f"never true: {expression}"
            self.page.wait_for_timeout(50)

    def drawn(self) -> list[dict[str, Any]]:
        """Each figure's title, background, and whether all of it lies inside the window."""
        return list(
            self.page.evaluate(
                """() => [...document.querySelectorAll(".figure")].filter(place => place.offsetParent).map(place => {
                    const svg = place.querySelector("svg.main-svg"), box = svg && svg.getBoundingClientRect();
                    return {
                        title: place.querySelector(".gtitle")?.textContent,
                        ground: svg && getComputedStyle(svg).backgroundColor,
                        marks: place.querySelectorAll(".points path, .hm image, path.js-line").length,
                        inside: !!box && box.left >= 0 && box.right <= innerWidth + 1 && box.width > 250,
                    };
                })"""
            )
        )


@pytest.fixture(scope="module")
def visit(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Visit]:
    """A visit that several tests share, since drawing takes longer than looking: each leaves the page as it was."""
    visit = Visit(browser, report, *request.param)
    yield visit
    visit.page.context.close()


def on(*visits: tuple[int, str]) -> pytest.MarkDecorator:
    """Which visits a test is for: the width of the window, and the colours that the visitor prefers."""
    names = [f"{scheme}-{width}" for width, scheme in visits]
    return pytest.mark.parametrize("visit", visits, ids=names, indirect=True, scope="module")


@pytest.mark.browser
@on((360, "light"), (1400, "light"), (360, "dark"), (1400, "dark"))
def test_every_figure_is_drawn_without_a_word_or_a_request(visit: Visit, report: Path) -> None:
    drawn = visit.drawn()
    assert visit.said == []
    assert {url.partition("#")[0] for url in visit.requests} == {report.as_uri()}
    assert len(drawn) == report.read_text().partition("<article")[0].count('class="figure"') > 8
    ground = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}[visit.scheme]
    for figure in drawn:
        assert figure["title"], figure
        assert figure["marks"], figure
        assert figure["inside"], figure
        assert figure["ground"] == ground, figure
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= visit.width
    assert visit.page.evaluate("window.hacked") is None


@pytest.mark.browser
@on((1400, "light"))
def test_names_are_shown_as_they_are(visit: Visit) -> None:
    assert visit.page.locator("#by-model th.name", has_text=EVIL).inner_text() == EVIL
    assert visit.page.locator(".figure .legendtext", has_text="script>&\"'").count() > 0


@pytest.mark.browser
@on((1400, "light"))
def test_figures_follow_the_theme_and_the_width(visit: Visit) -> None:
    before = visit.drawn()
    visit.page.emulate_media(color_scheme="dark")
    visit.wait_until(
        "[...document.querySelectorAll('svg.main-svg:first-child')]"
        ".every(svg => getComputedStyle(svg).backgroundColor === 'rgb(21, 24, 29)')"
    )
    visit.page.set_viewport_size({"width": 400, "height": 800})
    narrow = "[...document.querySelectorAll('svg.main-svg')].every(svg => svg.getBoundingClientRect().right <= 400)"
    visit.wait_until(narrow)
    visit.page.emulate_media(color_scheme="light")
    visit.page.set_viewport_size({"width": 1400, "height": 800})
    visit.wait_until(f"!{narrow}")
    assert visit.drawn() == before
    assert visit.said == []


@pytest.mark.browser
@on((360, "dark"), (1400, "dark"))
def test_it_prints_light_and_uncut_and_is_itself_again(visit: Visit) -> None:
    before = visit.drawn()
    visit.page.evaluate(
        """addEventListener("beforeprint", () => {
            const shown = [...document.querySelectorAll(".figure")].filter(place => place.offsetParent);
            window.printed = shown.map(place => {
                const svg = place.querySelector("svg.main-svg"), box = svg.getBoundingClientRect();
                const fits = box.right <= 703 && Math.abs(box.height - place.clientHeight) < 1;
                return [fits, svg.style.backgroundColor];
            });
            const toolbars = [...document.querySelectorAll(".modebar-container, .hint, .back")];
            window.tools = toolbars.filter(tool => tool.offsetParent).length;
        })"""
    )
    pdf = visit.page.pdf(format="A4", print_background=True)
    printed = visit.page.evaluate("window.printed")
    assert len(printed) > 8
    assert {tuple(figure) for figure in printed} == {(True, "rgb(255, 255, 255)")}
    assert visit.page.evaluate("window.tools") == 0
    assert len(re.findall(rb"/Type /Page\b", pdf)) <= 8  # thirteen figures and four tables: few sheets are half empty
    assert visit.drawn() == before
    assert visit.said == []


@pytest.mark.browser
@on((360, "light"), (1400, "light"))
def test_a_name_leads_to_its_page_and_back(visit: Visit, report: Path) -> None:
    visit.page.click("#by-model a >> nth=1")
    assert visit.page.locator("h1:visible").all_inner_texts() == [EVIL]
    assert re.fullmatch(r".*#model-[0-9a-f]{16}", visit.page.url)
    drawn = visit.drawn()
    assert [figure["title"] for figure in drawn][:2] == ["Calls per day", "Success rate per day"]
    assert all(figure["marks"] and figure["inside"] for figure in drawn)
    assert EVIL in visit.page.title()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= visit.width
    assert len(re.findall(rb"/Type /Page\b", visit.page.pdf(format="A4"))) <= 3  # what is open is printed
    visit.page.go_back()
    visit.wait_until("document.querySelector('#overview').offsetParent")
    assert visit.page.title() == "LLM usage"
    visit.page.go_forward()
    visit.wait_until("!document.querySelector('#overview').offsetParent")
    visit.page.click(".back:visible")
    assert visit.page.locator("#by-model").is_visible()
    assert (visit.said, visit.page.evaluate("window.hacked")) == ([], None)
    assert {url.partition("#")[0] for url in visit.requests} == {report.as_uri()}


@pytest.mark.browser
@on((360, "light"), (1400, "light"))
def test_a_table_that_goes_on_to_the_right_says_so(visit: Visit) -> None:
    narrow = visit.width < 400
    table = visit.page.locator("#failures")
    assert table.locator(".hint").is_visible() == narrow
    assert table.locator(".scroll").get_attribute("tabindex") == ("0" if narrow else None)
    if narrow:
        assert "more" in (table.get_attribute("class") or "")
        visit.page.evaluate("document.querySelector('#failures .scroll').scrollLeft = 9999")
        visit.wait_until("!document.querySelector('#failures').classList.contains('more')")
        visit.page.evaluate("document.querySelector('#failures .scroll').scrollLeft = 0")
    shown = "getComputedStyle(document.querySelector('.modebar-container')).display"
    assert visit.page.evaluate(shown) == ("none" if narrow else "block")  # over a title there is no toolbar
