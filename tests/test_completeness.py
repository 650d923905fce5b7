"""Whether it is all here: planted faults are named, clean data gives no finding, a rhythm has no gaps of its own."""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings

from mofa_usage import UsageError, load_usage, plots
from mofa_usage.audit.completeness import Completeness, completeness
from mofa_usage.audit.gaps import Counts, gaps
from tests.plain_analysis import Row, call, calls, polars_frame, relation
from tests.proofs import trials

T = datetime(2026, 5, 4, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN = ZoneInfo("Europe/Berlin")


def one(number: int, when: datetime, **fields: Any) -> Row:
    """A call of which everything is known."""
    given = {
        **{"id": f"0190aaaa-0000-7000-8000-{number:012}", "api_response_id": f"r{number}", "model_name": "m"},
        **{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "total_price": Decimal("0.01")},
        **{"latency_ms": 900, "time_to_first_token_ms": 200},
    }
    return call(when, **(given | fields))


def history(days: int = 30, each: int = 2, skip: Callable[[datetime], bool] = lambda _: False) -> list[Row]:
    """So many calls in each hour, with the clock's seconds between them."""
    hours = (T + n * HOUR for n in range(24 * days))
    times = [hour + n * timedelta(minutes=5) for hour in hours for n in range(each) if not skip(hour)]
    return [one(number, when) for number, when in enumerate(times)]


def ask(rows: list[Row], *, now: datetime | None = None, **options: Any) -> Completeness:
    last = max((row["create_time"] for row in rows), default=T)
    return completeness(relation(polars_frame(rows)), now=now or last + timedelta(minutes=1), **options)


def kinds(answer: Completeness) -> list[str]:
    return answer.findings["kind"].to_list()


CLEAN = history()


def test_clean_data_gives_no_finding() -> None:
    failed = one(9_000, T + HOUR, status="failed", total_price=None, total_tokens=None, prompt_tokens=None,
                 completion_tokens=None, time_to_first_token_ms=None)  # fmt: skip
    whole = one(9_001, T + HOUR, time_to_first_token_ms=None)  # not streamed
    answer = ask([*CLEAN, failed, whole])
    assert answer.findings.height == 0
    assert answer.gaps.height == 0
    assert not answer.too_short
    assert answer.sentence == (
        "Nothing is missing that could be seen. The last call was made 1 minute ago, at 2026-06-02 23:05."
    )
    assert answer.coverage.row(0, named=True) == {
        **{"model_name": "m", "calls": 1442, "coverage": 1441 / 1442, "token_coverage": 1441 / 1442},
        **{"latency_coverage": 1.0, "ttft_coverage": 1440 / 1442},
    }
    assert answer.coverage.sentence.startswith("Of 1,442 calls is known: the price of 99.9%, the tokens of 99.9%")


FAULTS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "unpriced_model": lambda rows: [*rows, one(9_000, T, model_name="new", total_price=None)],
    "unpriced": lambda rows: [*rows, one(9_000, T, total_price=None)],
    "no_tokens": lambda rows: [*rows, one(9_000, T, completion_tokens=None, total_tokens=None)],
    "no_latency": lambda rows: [*rows, one(9_000, T, latency_ms=None)],
    "duplicate_id": lambda rows: [*rows, rows[7] | {"api_response_id": "other"}],
    "duplicate_response": lambda rows: [*rows, rows[7] | {"id": "0190aaaa-0000-7000-8000-000000009999"}],
    "alike": lambda rows: [*rows, one(9_000, T, api_response_id=None), one(9_001, T, api_response_id=None)],
    "contradictory_total": lambda rows: [*rows, one(9_000, T, total_tokens=121)],
    "contradictory_details": lambda rows: [*rows, one(9_000, T, cached_tokens=101)],
    "contradictory_reasoning": lambda rows: [*rows, one(9_000, T, reasoning_tokens=21)],
    "contradictory_latency": lambda rows: [*rows, one(9_000, T, time_to_first_token_ms=901)],
    "negative": lambda rows: [*rows, one(9_000, T, completion_tokens=-20, total_tokens=80, reasoning_tokens=None)],
    "gap": lambda rows: [row for row in rows if (row["create_time"] - T) // DAY != 20],
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_planted_fault_is_named_and_nothing_else(kind: str) -> None:
    answer = ask(FAULTS[kind](CLEAN))
    assert kinds(answer) == [kind]
    row = answer.findings.row(0, named=True)
    assert row["calls"] == (None if kind == "gap" else 1)
    assert row["model_name"] == {"gap": None, "unpriced_model": "new"}.get(kind, "m")
    undated = kind in ("unpriced_model", "unpriced", "no_tokens", "no_latency")
    planted = {"gap": date(2026, 5, 24)}.get(kind, date(2026, 5, 4))
    assert row["day"] == (None if undated else planted)
    assert answer.sentence.startswith(f"There is 1 finding: 1 {row['severity']}. {row['sentence']}")
    assert row["sentence"] in answer._repr_html_()


@pytest.mark.parametrize("listed", [0, 10_000])
def test_a_doubled_page_counts_what_is_beyond_the_first(listed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofa_usage.audit.doubles._LISTED", listed)
    page = CLEAN[100:200]
    twice = [row | {"id": f"0190bbbb-0000-7000-8000-{n:012}"} for n, row in enumerate(page)]
    answer = ask([*CLEAN, *page, *page, *twice])
    found = answer.findings.select("kind", "calls").rows()
    assert found == [("duplicate_id", 200), ("duplicate_response", 100)]
    assert answer.findings["sentence"].to_list() == [
        "200 calls of m are there again under the same id.",
        "100 calls of m have the response id of another call, under an id of their own.",
    ]
    assert not ask([*CLEAN, *page], duplicates=False).findings.height


def test_the_future_is_said_and_is_not_the_last_call() -> None:
    answer = ask([*CLEAN, one(9_000, T + 400 * DAY)], now=T + 30 * DAY)
    assert kinds(answer) == ["future"]
    assert (answer.last_call, answer.age) == (T + 30 * DAY - timedelta(minutes=55), timedelta(minutes=55))
    assert answer.findings["sentence"].to_list() == ["1 call of m is of the future."]


@given(calls(max_size=12))
@pytest.mark.proof
@settings(max_examples=trials(4, 100))
def test_doubles_are_those_that_a_dictionary_finds(rows: list[Row]) -> None:
    named = [row | {"id": f"id{n % 5}", "api_response_id": row["error_code"]} for n, row in enumerate(rows)]
    found = ask(named, now=datetime(2030, 1, 1, tzinfo=UTC)).findings

    def counted(kind: str) -> int:
        return int(found.filter(pl.col("kind") == kind)["calls"].sum())

    assert counted("duplicate_id") == len(named) - len({row["id"] for row in named})
    answered = {row["id"] for row in named if row["api_response_id"] == "429"}
    assert counted("duplicate_response") == max(0, len(answered) - 1)
    known = [row for row in named if None not in (row["total_tokens"], row["prompt_tokens"], row["completion_tokens"])]
    wrong = [row for row in known if row["total_tokens"] != row["prompt_tokens"] + row["completion_tokens"]]
    assert counted("contradictory_total") == len(wrong)


# Gaps


def rhythm(seed: int, level: float, days: int = 60, *, office: bool = False, bursty: bool = False) -> dict[Any, int]:
    """Calls by day and hour of a made-up service; quieter at night, or closed then and at weekends."""
    chance, counts = random.Random(seed), {}
    for n in range(days):
        day = date(2026, 3, 1) + n * DAY
        for hour in range(24):
            mean = level * (1.0 if 8 <= hour < 18 else 0.3)
            if office:
                mean = level if 8 <= hour < 18 and day.weekday() < 5 else 0.0
            if bursty:
                mean *= chance.gammavariate(3, 1 / 3)
            number = max(0, round(chance.gauss(mean, mean**0.5)))
            if number:
                counts[day, hour] = number
    return counts


def end_of(counts: Counts) -> datetime:
    return datetime.combine(max(counts)[0], datetime.max.time(), BERLIN).astimezone(UTC)


@pytest.mark.parametrize("options", [{}, {"office": True}, {"bursty": True}, {"office": True, "bursty": True}], ids=str)
def test_a_rhythm_has_no_gaps_and_a_lost_day_is_one(options: dict[str, bool]) -> None:
    for seed in range(3):
        counts = rhythm(seed, 60, **options)
        assert gaps(counts, end_of(counts), BERLIN) == []
        lost = date(2026, 3, 4) + 21 * seed * DAY  # a Wednesday
        kept = {key: number for key, number in counts.items() if key[0] != lost}
        (gap,) = gaps(kept, end_of(kept), BERLIN)
        assert gap.start.astimezone(BERLIN).date() == lost
        assert (gap.end - timedelta(seconds=1)).astimezone(BERLIN).date() == lost


def test_an_hour_of_a_busy_service_is_a_gap_and_of_a_quiet_one_it_takes_days() -> None:
    busy, quiet = rhythm(1, 400), {(date(2026, 3, 1) + n * DAY, 9): 3 for n in range(60)}
    del busy[date(2026, 4, 8), 11]
    (gap,) = gaps(busy, end_of(busy), BERLIN)
    assert gap.start.astimezone(BERLIN) == datetime(2026, 4, 8, 11, tzinfo=BERLIN)
    assert (gap.hours, gap.end - gap.start) == (1, HOUR)
    assert gap.usual == pytest.approx(400, rel=0.1)
    for days, found in ((1, 0), (5, 0), (6, 1)):  # three calls a day: exp(-18) is less than 1 in 10 million
        less = {key: number for key, number in quiet.items() if not 0 <= (key[0] - date(2026, 4, 1)).days < days}
        assert len(gaps(less, end_of(less), BERLIN)) == found


def test_the_hour_that_spring_leaves_out_is_not_missing() -> None:
    counts = {(date(2026, 3, 1) + n * DAY, hour): 100 for n in range(60) for hour in range(24)}
    del counts[date(2026, 3, 29), 2]
    assert gaps(counts, end_of(counts), BERLIN) == []
    assert len(gaps(counts, end_of(counts), ZoneInfo("UTC"))) == 1


def test_too_short_a_history_says_so() -> None:
    for days, too_short in ((1, True), (13, True), (14, False)):
        rows = history(days, 3, lambda hour: hour - T == 36 * HOUR)
        assert ask(rows).too_short == too_short
    assert "For gaps there is too short a history: it takes 14 days." in ask(history(2)).sentence


def test_a_silence_that_lasts_is_told_from_data_that_have_ended() -> None:
    busy = history(20, 10)
    soon = ask(busy, now=T + 20 * DAY + 4 * HOUR)
    assert kinds(soon) == ["silent"]
    assert soon.findings["sentence"][0] == (
        "No calls since 2026-05-24 00:00; usually about 40 calls come in that time."
    )
    assert kinds(ask(busy, now=T + 20 * DAY + timedelta(minutes=50))) == []
    assert kinds(ask(busy, now=T + 500 * DAY)) == []
    assert kinds(ask(busy, now=T + 500 * DAY, end=T + 21 * DAY)) == ["silent"]
    assert "The last call was made 480 days ago" in ask(busy, now=T + 500 * DAY).sentence


def test_a_call_of_a_wrong_year_makes_no_gap_of_all_years() -> None:
    answer = ask([one(9_000, datetime(1971, 1, 1, tzinfo=UTC)), *CLEAN])
    assert kinds(answer) == []


# What is not calls


@pytest.mark.parametrize("waiting", [3, SimpleNamespace(waiting=3, dead=0)])
def test_what_waits_is_a_finding(waiting: Any) -> None:
    answer = ask(CLEAN, waiting=waiting)
    assert answer.findings["sentence"].to_list() == [
        "3 records wait in the outbox: mofa-usage outbox drain delivers them."
    ]
    dead = ask(CLEAN, waiting=SimpleNamespace(waiting=0, dead=1))
    assert dead.findings.select("severity", "kind").rows() == [("error", "dead")]
    assert ask(CLEAN, waiting=0).findings.height == 0


def test_a_frame_without_most_columns_answers_what_it_can() -> None:
    times = pl.DataFrame({"create_time": [T, T + HOUR]})
    answer = load_usage(times).completeness(now=T + DAY)
    assert answer.coverage.columns == ["calls"]
    assert answer.findings.height == 0
    assert ask([]).sentence == "There are no calls."
    with pytest.raises(UsageError, match="create_time"):
        load_usage(pl.DataFrame({"model_name": ["m"]})).completeness()


def test_figures_of_what_is_known_and_of_gaps() -> None:
    rows = [*CLEAN, *(one(9_000 + n, T, model_name=f"<b>{n}</b>", total_price=None) for n in range(200))]
    answer = ask([row for row in rows if (row["create_time"] - T) // DAY != 20])
    figure = answer.coverage.draw(theme="light")
    assert figure.data[0].x == ("Price", "Tokens", "Latency", "First token")
    assert list(figure.data[0].z[0]) == [1.0, 1.0, 1.0, 1.0]
    assert figure.layout.yaxis.ticktext[1] == "&lt;b&gt;0&lt;/b&gt;"
    assert "20 of 201 shown" in figure.layout.title.subtitle.text
    days = answer.days.draw(theme="dark")
    assert days.data[1].x == (date(2026, 5, 24),)
    assert "24 hours missing on 1 day" in days.layout.title.subtitle.text
    assert len(ask(CLEAN).days.draw().data) == 1
    for empty in (answer.coverage.clear().draw(), answer.days.clear().draw()):
        assert empty.layout.annotations[0].text == "No calls in this period"
    with pytest.raises(UsageError, match="needs day, empty_hours"):
        plots.gaps_over_time(pl.DataFrame({"calls": [1]}))


def test_it_draws_itself_and_shows_itself_in_a_terminal() -> None:
    found = load_usage(polars_frame([call(datetime(2026, 5, 1, 12, tzinfo=UTC))])).completeness()
    assert found.draw().layout.title.text
    assert found.draw("days").layout.title.text
    assert found.sentence in str(found)
    with pytest.raises(UsageError, match="there are: coverage, days"):
        found.draw("gaps")  # type: ignore[arg-type]


def test_what_one_call_lacks_is_said_of_one() -> None:
    assert "1 of the 1 successful call of m has no latency." in ask([one(1, T, latency_ms=None)]).findings["sentence"]
    several = ask([one(n, T + n * timedelta(minutes=1), latency_ms=None) for n in range(2)])
    assert "2 of the 2 successful calls of m have no latency." in several.findings["sentence"]
    with pytest.raises(UsageError, match=r"waiting = 'x'; give recorder\.stats"):
        ask(CLEAN, waiting="x")
