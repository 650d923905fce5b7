"""How an answer is shown: in a notebook, in a terminal, and to programs; and how columns are written."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofa_usage.analysis import Breakdown, breakdown, cost, distribution, summary
from mofa_usage.analysis.rows import as_csv, as_json
from mofa_usage.measures import DIMENSIONS, Aggregate, Dimension, Measure
from mofa_usage.wording import column_texts, dimension_text, duration, money_texts, percent
from tests.plain_analysis import call, polars_frame

T = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
EVIL = "<script>alert(1)</script>"
ROWS = [
    call(T, model_name=EVIL, total_price=Decimal("187.0495434"), latency_ms=100),
    call(T + timedelta(hours=1), model_name="m" * 90, total_price=Decimal("0.5"), latency_ms=30_000),
    call(T + timedelta(hours=2), model_name=None, total_price=None, status="failed", latency_ms=None),
]


class Table(HTMLParser):
    """The cells of a table by rows, and the titles and emphasis in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.titles: list[str] = []
        self.emphasised: list[str] = []
        self.tags: set[str] = set()
        self.is_over = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.titles += [value for name, value in attrs if name == "title"]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self.is_emphasis = tag == "em"

    def handle_endtag(self, tag: str) -> None:
        self.is_over |= tag == "table"

    def handle_data(self, data: str) -> None:
        if self.rows and not self.is_over:
            self.rows[-1][-1] += data
            self.emphasised += [data] if self.is_emphasis else []


def table(answer: Breakdown) -> Table:
    return Table(answer._repr_html_())


def test_a_notebook_shows_titles_units_money_and_names() -> None:
    shown = table(breakdown(polars_frame(ROWS), "model_name", ["cost", "calls", "success_rate", "latency_p95"]))
    assert shown.rows == [
        ["Model", "Cost", "Calls", "Success rate", "Latency p95 (s)"],
        [EVIL, "$187.05", "1", "100%", "0.10"],
        ["m" * 23 + "…" + "m" * 16, "$0.50", "1", "100%", "30.00"],
        ["(none)", "–", "1", "0%", "–"],  # noqa: RUF001 (a dash for "no value")
    ]
    assert shown.titles == ["m" * 90]
    assert shown.emphasised == ["(none)"]
    assert "script" not in shown.tags


def test_the_whole_is_the_last_row_whatever_its_columns_are_called() -> None:
    found = breakdown(polars_frame(ROWS), "model_name", ["cost", "latency_p95"])
    found.totals = (breakdown(polars_frame(ROWS), (), ["cost", "latency_p95"]),)
    renamed = found.rename({"cost": "Kosten"})
    assert table(renamed).rows[0] == ["Model", "Kosten", "Latency p95 (s)"]
    assert table(renamed).rows[-1] == ["All", "$187.55", "28.50"]
    assert str(renamed).splitlines()[-1].split() == ["All", "$187.55", "28.50"]
    assert table(found.head(1)).rows[-1][0] == EVIL


def test_the_rest_of_the_names_is_no_name() -> None:
    rows = [call(T, model_name=name) for name in ("other", "other", "x", "y")]
    found = breakdown(polars_frame(rows), "model_name", "calls", top=1, totals=True)
    shown = table(found)
    assert shown.rows == [["Model", "Calls"], ["other", "2"], ["other", "2"], ["All", "4"]]
    assert shown.emphasised == ["other"]
    assert found.sentence == "There are 4 calls; other has 50.0% of them."
    assert str(found).splitlines()[-1].split() == ["All", "4"]


def test_several_currencies_say_so_in_the_heads_and_one_in_the_cells() -> None:
    euro = call(T, model_name="x", total_price=Decimal(2), currency="EUR")
    assert table(cost(polars_frame([*ROWS, euro]))).rows[0][:3] == ["Model", "Cost (USD)", "Cost (EUR)"]
    long = table(breakdown(polars_frame([*ROWS, euro]), "currency", ["cost", "calls"], totals=True))
    assert long.rows[1:3] == [["USD", "$187.55", "2"], ["EUR", "EUR 2.00", "1"]]
    assert long.rows[-1] == ["All", "", "4"]


@pytest.mark.parametrize(("by", "first", "last"), [("request_id", "x0", "x24"), ("hour", "2026-10-24", "2026-10-2")])
def test_a_long_answer_shows_a_screen_and_says_how_much_more_there_is(by: str, first: str, last: str) -> None:
    rows = [call(T + timedelta(hours=number), request_id=f"x{number}") for number in range(60)]
    shown = table(breakdown(polars_frame(rows), by, "calls").with_columns(pl.col(by).sort()) if by == "hour" else
                  breakdown(polars_frame(rows), by, "calls").sort(pl.col(by).str.slice(1).cast(pl.Int32)))  # fmt: skip
    more = ["and 35 more rows"]
    assert len(shown.rows) == 27
    assert shown.rows.index(more) == (13 if by == "hour" else 26)
    assert shown.rows[1][0].startswith(first)
    assert [row for row in shown.rows if row != more][-1][0].startswith(last)


def test_one_row_about_everything_is_a_list_of_figures() -> None:
    shown = table(summary(polars_frame(ROWS)))
    figures = dict(shown.rows)
    assert figures["Cost"] == "$187.55"
    assert figures["Latency p95"] == "28.5 s"
    assert figures["First call"] == "2026-10-24 23:30"
    assert all(len(row) == 2 for row in shown.rows)
    assert "cost                $187.55" in str(summary(polars_frame(ROWS)))


def test_bins_are_written_as_what_they_are_of() -> None:
    native = polars_frame([*ROWS, call(T, total_price=Decimal(2), currency="EUR", total_tokens=7)])
    assert table(distribution(native, bins=2)).rows[:2] == [["From (s)", "To (s)", "Calls"], ["0.10", "1.73", "1"]]
    assert table(distribution(native, of="total_tokens", bins=2)).rows[0] == ["From (tokens)", "To (tokens)", "Calls"]
    assert table(distribution(native, of="cost", bins=1)).rows[1:] == [
        ["EUR", "EUR 2.00", "EUR 2.00", "1"],
        ["USD", "$0.50", "$187.05", "2"],
    ]
    by_hand = Breakdown({"bin_start": [1, 5], "bin_end": [5, 25], "calls": [1, 2]})
    assert table(by_hand).rows[0] == ["From (ms)", "To (ms)", "Calls"]


def test_the_hours_that_autumn_repeats_are_two() -> None:
    shown = table(breakdown(polars_frame(ROWS), "hour", "calls", tz="Europe/Berlin"))
    assert [row[0] for row in shown.rows[1:]] == ["2026-10-25 01:00", "2026-10-25 02:00 CEST", "2026-10-25 02:00 CET"]


def test_columns_without_a_role_are_shown_as_they_are() -> None:
    frame = Breakdown({"calls": [1, 2], "ratio": [0.5, 1500.25], "note": ["<b>", None], "flag": [True, False]})
    assert table(frame).rows == [
        ["Calls", "ratio", "note", "flag"],
        ["1", "0.50", "<b>", "true"],
        ["2", "1,500.25", "(none)", "false"],
    ]
    assert table(Breakdown({"calls": ["many"], "model_name": ["a"]})).rows[1] == ["many", "a"]


def test_a_table_needs_nothing_from_elsewhere() -> None:
    html = cost(polars_frame(ROWS))._repr_html_()
    assert "http" not in html
    assert "<style" not in html
    assert html.startswith('<div style="max-width:100%')
    assert table(cost(polars_frame([]))).rows[0][0] == "Model"


def test_a_terminal_shows_whole_numbers_and_names_the_columns_that_have_no_room(monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    found = cost(polars_frame([*ROWS, call(T, model_name="\x1b[2J")]))
    lines = str(found).splitlines()
    assert repr(found) == str(found)
    assert lines[0] == "shape: (4, 14)"
    assert lines[1].split() == ["model_name", "cost", "calls", "priced_calls"]
    assert lines[3].split() == ["m" * 13 + "…" + "m" * 10, "$0.50", "1", "1"]
    assert lines[-1].startswith("and coverage, ")
    assert "total_tokens, cost_per_call" in lines[-1]
    assert max(map(len, lines[:-1])) <= 60
    assert "\x1b" not in str(found)
    monkeypatch.setenv("COLUMNS", "5")
    assert "$187.05" in str(found)
    long = breakdown(polars_frame([call(T, request_id=str(n)) for n in range(20)]), "request_id", "calls")
    assert str(long).splitlines()[-1] == "... 8 more rows ..."


# Columns


@given(
    st.lists(st.none() | st.decimals(0, 10**6, places=10), max_size=8),
    st.sampled_from(["USD", "EUR", None]),
)
def test_amounts_in_one_column_have_the_same_decimals_and_are_near(amounts: list[Decimal | None], code: str) -> None:
    texts = money_texts(amounts, [code] * len(amounts))
    assert len({text.partition(".")[2] for text in texts if "." in text and not text.startswith("<")} and
               {len(text.partition(".")[2]) for text in texts if "." in text}) <= 1  # fmt: skip
    for amount, text in zip(amounts, texts, strict=True):
        if amount is None:
            assert text == "–"  # noqa: RUF001
            continue
        shown = Decimal(text.lstrip("<").removeprefix("$").removeprefix("EUR ").replace(",", ""))
        places = len(text.partition(".")[2])
        assert abs(shown - amount) <= (Decimal(1) if text.startswith("<") else Decimal("0.5")).scaleb(-places)
        assert places >= 2
        assert (shown > 0) == (amount > 0)


@pytest.mark.parametrize(
    ("values", "kind", "unit", "texts"),
    [
        ([120, 45.2], "ms", "ms", ["120", "45"]),
        ([1.25, 999.4], "ms", "ms", ["1.2", "999.4"]),
        ([5, 180_000], "ms", "s", ["0.005", "180.000"]),
        ([12_000, 95_100], "ms", "s", ["12.0", "95.1"]),
        ([None], "ms", "", ["-"]),
        ([0.0, 0.5, 1.0, 0.99999], "rate", "", ["0%", "50.0%", "100%", "99.999%"]),
        ([1234567, 0], "tokens", "", ["1,234,567", "0"]),
        ([1.0, 2.0], "count", "", ["1", "2"]),
        ([1.5, 2.0, float("nan")], "count", "", ["1.50", "2.00", "-"]),
        ([80.72], "tokens/s", "tokens/s", ["80.7"]),
        ([Decimal("0.0279"), Decimal("0.00844")], "money", "", ["$0.02790", "$0.00844"]),
        ([0.1, 0.30000000000000004], "money", "", ["$0.10", "$0.30"]),
        ([Decimal("-3"), Decimal("0.004")], "money", "", ["-$3.000", "$0.004"]),
        (["text", True], "money", "", ["text", "-"]),
    ],
)
def test_a_column_is_written_alike(values: list[Any], kind: Any, unit: str, texts: list[str]) -> None:
    dashes = [text.replace("–", "-") for text in column_texts(values, kind)[1]]  # noqa: RUF001
    assert (column_texts(values, kind)[0], dashes) == (unit, texts)


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (1, "weekday", "Mon"),
        (7, "weekday", "Sun"),
        (8, "weekday", "8"),
        (9, "hour_of_day", "09:00"),
        (date(2026, 5, 1), "month", "May 2026"),
        (date(2026, 5, 4), "week", "2026-05-04"),
        (date(2026, 5, 4), "day", "2026-05-04"),
        (datetime(2026, 5, 4, 14, tzinfo=UTC), "hour", "2026-05-04 14:00"),
        (datetime(2026, 5, 4, 14, 5, 7), "minute", "2026-05-04 14:05:07"),
        (datetime(2026, 10, 25, 2, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), "hour", "2026-10-25 02:00 CET"),
        (None, "model_name", "(none)"),
        (3, "attempt", "3"),
    ],
)
def test_a_value_of_a_dimension_in_words(value: Any, name: str, text: str) -> None:
    assert dimension_text(value, DIMENSIONS[name]) == text


def test_a_dimension_and_a_measure_of_ones_own_are_shown_by_their_titles() -> None:
    size = Dimension("big", "Big prompt", "category", "", ("big",))
    slow = Measure("slow", "Slow calls", "count", "calls", "", Aggregate("count"))
    found = breakdown(polars_frame([call(T)]).with_columns(big=pl.lit(value=True)), size, slow)
    assert table(found).rows == [["Big prompt", "Slow calls"], ["true", "1"]]


# For programs


def test_rows_for_programs_have_all_digits_and_the_names_of_measures() -> None:
    found = breakdown(polars_frame(ROWS), ["hour", "model_name"], ["cost", "calls", "success_rate"], tz="Europe/Berlin")
    read = json.loads(as_json(found), parse_float=Decimal)
    assert [row["cost"] for row in read] == [Decimal("187.0495434"), Decimal("0.5"), None]
    assert [row["hour"] for row in read] == ["2026-10-25T01:00:00+02:00", "2026-10-25T02:00:00+02:00",
                                             "2026-10-25T02:00:00+01:00"]  # fmt: skip
    assert list(read[0]) == found.columns
    lines = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [line["cost"] for line in lines] == ["187.0495434", "0.5", ""]
    assert [line["hour"] for line in lines] == [row["hour"] for row in read]
    assert [line["model_name"] for line in lines] == [EVIL, "m" * 90, ""]


def test_rows_for_programs_take_every_value() -> None:
    frame = pl.DataFrame({"x": [float("nan"), 1.5], "flag": [True, None], "name": ['a",\x9b\n', "ü"], "n": [10**15, 0]})
    assert json.loads(as_json(frame)) == [
        {"x": None, "flag": True, "name": 'a",\x9b\n', "n": 10**15},
        {"x": 1.5, "flag": None, "name": "ü", "n": 0},
    ]
    assert "\x9b" not in as_json(frame)
    assert "ü" in as_json(frame)
    assert next(iter(csv.DictReader(io.StringIO(as_csv(frame)))))["flag"] == "true"
    assert json.loads(as_json(frame.clear())) == []
    assert as_csv(frame.clear()) == "x,flag,name,n\n"
    money = pl.DataFrame({"cost": [Decimal("1E+20"), Decimal("0.0000000001"), Decimal("-0.10")]})
    assert as_csv(money).split()[1:] == ["100000000000000000000", "0.0000000001", "-0.1"]


def test_what_is_nearly_all_or_nothing_never_reads_as_that() -> None:
    assert [percent(rate) for rate in (1, 1 - 1e-12, 0.9999, 0.5, 1e-12, 0)] == [
        *("100%", ">99.999999%", "99.99%", "50.0%", "<0.000001%", "0%"),
    ]
    assert [percent(-rate) for rate in (1, 1 - 1e-12, 0.5, 1e-12, 0.0)] == [
        *("-100%", "<-99.999999%", "-50.0%", ">-0.000001%", "0%"),
    ]


def test_what_is_a_little_more_than_all_reads_so() -> None:
    assert [percent(rate) for rate in (1.004, 1.0001, 1 + 1e-12, 1.5)] == ["100.4%", "100.01%", ">100%", "150.0%"]
    assert percent(1000) == "100,000.0%"
    assert [percent(rate) for rate in (-1.004, -1 - 1e-12)] == ["-100.4%", "<-100%"]


def test_a_duration_may_be_negative_and_a_name_empty() -> None:
    assert [duration(number) for number in (-160.4, -5000)] == ["-160 ms", "-5.00 s"]
    assert [dimension_text(name, DIMENSIONS["error_code"]) for name in ("", " ", "429")] == ['""', '" "', "429"]
