"""Shares, sums so far and rolling measures are what the calls say, on every engine and any calendar."""

import math
import re
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage.analysis import Native, breakdown
from mofa_usage.analysis.asking import Usual
from mofa_usage.errors import UsageError
from mofa_usage.measures import (
    Aggregate,
    Condition,
    Measure,
    Ratio,
    cumulative,
    measure,
    measure_of_column,
    rolling,
    share,
)
from tests.plain_analysis import (
    MONEY_MEASURES,
    Row,
    bucket,
    calendar,
    call,
    calls,
    currencies,
    frames,
    grouped,
    of_nothing,
    plain,
    polars_frame,
    priced_in,
    relation,
)
from tests.proofs import trials

each_engine = pytest.mark.parametrize("engine", [0, 1, 2], ids=["polars", "lazy", "duckdb"])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


PERIODS = {
    ("day", "Europe/Berlin"): (at("2025-03-25"), at("2025-04-03")),
    ("hour", "Australia/Lord_Howe"): (at("2025-04-05T08:00"), at("2025-04-05T20:00")),
    ("minute", "UTC"): (at("1969-12-31T23:55"), at("1970-01-01T00:05")),
    ("week", "America/New_York"): (at("2024-12-10"), at("2025-01-28")),
    ("month", "America/Sao_Paulo"): (at("2018-09-15"), at("2019-03-10")),
    ("day", "Pacific/Apia"): (at("2011-12-27"), at("2012-01-04")),
}
"""Buckets around what makes calendars hard: changes of the clock, years, the epoch, a day that never was."""

WINDOWED = (
    *("calls", "cost", "success_rate", "latency_p95", "latency_max", "users", "cost_p50", "cost_per_call", "requests"),
    *("wasted_cost", "total_tokens", "token_rate_mean", "ttft_p12.5", "cache_hit_rate", "token_rate_p50", "models"),
)
SUMMED = ("calls", "cost", "wasted_cost", "total_tokens", "cached_tokens", "requests")


class Plain:
    """The measures made of others, of the calls of a question, computed row by row."""

    def __init__(self, rows: list[Row], options: dict[str, Any]) -> None:
        self.by, self.tz, self.start = options["by"], options["tz"], options["start"]
        self.time = next(name for name, _ in PERIODS if name in self.by)
        self.others = [name for name in self.by if name != self.time]
        first, last = PERIODS[self.time, self.tz]
        self.buckets = calendar(self.time, self.tz, first - (last - first) * 2, last + (last - first))
        end = options["end"] or datetime.max.replace(tzinfo=UTC)
        self.rows = [row for row in rows if row["create_time"] < end]

    def bucket(self, moment: datetime) -> Any:
        return bucket(self.time, moment, ZoneInfo(self.tz))

    def chosen(self) -> list[Row]:
        """The calls that were asked for."""
        return [row for row in self.rows if self.start is None or row["create_time"] >= self.start]

    def seen(self, length: int | None) -> list[Row]:
        """The calls that windows of so many buckets may hold; without a length those from the start on."""
        if self.start is None or length is None:
            return self.chosen()
        early = self.buckets[: max(0, self.buckets.index(self.bucket(self.start)) + 1 - length)]
        return [row for row in self.rows if self.bucket(row["create_time"]) not in early]

    def value(self, name: str, key: dict[str, Any], length: int | None, of: str | None) -> Any:
        """A measure of the calls in the window of a row."""
        end = self.buckets.index(instant(key[self.time])) + 1
        inside = self.buckets[:end] if length is None else self.buckets[max(0, end - length) : end]
        group = grouped(self.seen(length), self.others, self.tz).get(tuple(key[other] for other in self.others), [])
        within = [row for row in group if self.bucket(row["create_time"]) in inside]
        if not within:
            return of_nothing(name)
        return plain(name)(within if of is None else priced_in(within, of))


def instant(label: Any) -> Any:
    return label.astimezone(UTC) if isinstance(label, datetime) else label


def assert_close(found: Any, expected: Any, what: str) -> None:
    if isinstance(expected, float) and isinstance(found, float):
        assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12), what
    else:
        assert (found, type(found)) == (expected, type(expected)), what


def parsed(name: str) -> tuple[str, int | None]:
    """The measure and the length of its window."""
    found = re.fullmatch(r"(.+)_(?:rolling_(\d+)|cumulative)", name)
    assert found is not None
    return found[1], None if found[2] is None else int(found[2])


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[Row], dict[str, Any]]:
    time, tz = draw(st.sampled_from(list(PERIODS)))
    first, last = PERIODS[time, tz]
    times = st.datetimes(first.replace(tzinfo=None), last.replace(tzinfo=None), timezones=st.just(UTC))
    rows = draw(calls(times, max_size=20, currencies=["EUR"]) | calls(times, max_size=20))
    by = [[time], ["model_name", time], [time, "team"], ["currency", time], [time, "weekday"]]
    return rows, {
        "by": draw(st.sampled_from(by)),
        "tz": tz,
        "start": draw(st.none() | times),
        "end": draw(st.none() | st.just(last)),
        "fill_gaps": draw(st.booleans()),
    }


rolling_names = st.tuples(st.sampled_from(WINDOWED), st.integers(1, 4)).map(lambda pair: f"{pair[0]}_rolling_{pair[1]}")
summed_names = st.sampled_from(SUMMED).map(lambda name: f"{name}_cumulative")


@pytest.mark.proof
@settings(max_examples=trials(4, 100), deadline=None)
@given(question=questions(), asked=st.sets(rolling_names | summed_names, min_size=1, max_size=5))
def test_windows_hold_the_calls_of_their_buckets(question: tuple[list[Row], dict[str, Any]], asked: set[str]) -> None:
    rows, options = question
    oracle = Plain(rows, options)
    longest = max((length for _, length in map(parsed, asked) if length is not None), default=None)
    money = any(measure(name).of_money for name in asked) and "currency" not in options["by"]
    known = currencies(oracle.seen(longest)) if money else []
    for native in frames(rows):
        found = breakdown(native, measures=["calls", *sorted(asked)], **options)
        alone = breakdown(native, measures=["calls"], **options)
        assert_frame_equal(pl.DataFrame(found).select(alone.columns), pl.DataFrame(alone))
        assert found.currencies == tuple(known)
        for row in found.to_dicts():
            for column, entry in found.roles.measures.items():
                if column != "calls":
                    name, length = parsed(entry.measure.name)
                    expected = oracle.value(name, row, length, entry.currency)
                    assert_close(row[column], expected, f"{column} of {row}")
                    assert measure_of_column(column) == (entry.measure.name, entry.currency)


@pytest.mark.proof
@settings(max_examples=trials(3, 100), deadline=None)
@given(question=questions(), name=st.sampled_from(SUMMED), top=st.none() | st.just(1))
def test_shares_are_parts_of_their_whole(
    question: tuple[list[Row], dict[str, Any]], name: str, top: int | None
) -> None:
    rows, options = question
    first = options["by"][0]
    if not {"model_name", "team"} & set(options["by"]):
        top = None
    for native in frames(rows):
        found = breakdown(native, measures=[name, f"{name}_share", f"{name}_share_of_{first}"], top=top, **options)
        for column, entry in found.roles.measures.items():
            if column.startswith(f"{name}_share"):
                suffix = "" if entry.currency is None else f"_{entry.currency}"
                apart = [first] if "_share_of_" in column else []
                apart += ["is_other"] if top is not None and apart == ["model_name"] else []
                apart += ["currency"] if "currency" in options["by"] and name in MONEY_MEASURES else []
                assert_parts(found, column, f"{name}{suffix}", apart)


def assert_parts(found: pl.DataFrame, column: str, whole: str, apart: list[str]) -> None:
    """The column has the parts of another one among the rows with the same values in some columns."""
    groups: dict[Any, list[tuple[Any, Any]]] = defaultdict(list)
    for row in found.iter_rows(named=True):
        groups[tuple(row[name] for name in apart)].append((row[whole], row[column]))
    for pairs in groups.values():
        total = sum((Fraction(value) for value, _ in pairs if value is not None), Fraction(0))
        for value, shown in pairs:
            assert shown == (None if value is None or not total else float(Fraction(value) / total)), column
        if total:
            assert math.isclose(math.fsum(shown for _, shown in pairs if shown is not None), 1)


def on(engine: int, rows: list[Row]) -> Any:
    return list(frames(rows))[engine]


def priced(day: str, price: float | None, currency: str = "EUR", **fields: Any) -> Row:
    amount = None if price is None else Decimal(str(price))
    return call(at(day), total_price=amount, currency=currency, **fields)


@each_engine
def test_a_rolling_measure_looks_back_beyond_the_start(engine: int) -> None:
    rows = [priced(f"2025-05-{day:02}T10:00", day, latency_ms=day * 100) for day in (1, 3, 4, 5, 6)]
    asked = ["cost", "cost_rolling_3", "latency_p50_rolling_3", "cost_cumulative"]
    found = breakdown(on(engine, rows), "day", asked, start="2025-05-04T11:00", end="2025-05-07")
    assert found.rows() == [
        (date(2025, 5, 5), 5, 12, 400.0, 5, "EUR"),
        (date(2025, 5, 6), 6, 15, 500.0, 11, "EUR"),
    ]
    # A frame that was cut begins where it was cut.
    cut = polars_frame(rows).filter(pl.col("create_time") >= at("2025-05-04"))
    assert breakdown(cut, "day", "cost_rolling_3", start="2025-05-04")["cost_rolling_3"].to_list() == [4, 9, 15]


@each_engine
def test_days_without_calls_are_days_of_the_window(engine: int) -> None:
    rows = [call(at(f"2025-03-{day}T12:00"), latency_ms=day) for day in (27, 28, 31)]
    asked = [
        "calls_rolling_2",
        "latency_p50_rolling_2",
        "success_rate_rolling_2",
        "users_rolling_2",
        "calls_cumulative",
    ]
    found = breakdown(on(engine, rows), "day", asked, tz="Europe/Berlin", fill_gaps=True, end="2025-04-03")
    assert found.select(pl.exclude("day")).rows() == [
        (1, 27.0, 1.0, 0, 1),
        (2, 27.5, 1.0, 0, 2),
        (1, 28.0, 1.0, 0, 2),
        (0, None, None, 0, 2),
        (1, 31.0, 1.0, 0, 3),
        (1, 31.0, 1.0, 0, 3),
        (0, None, None, 0, 3),
    ]
    only = breakdown(on(engine, rows), "day", asked, tz="Europe/Berlin")
    assert only.rows() == found.filter(pl.col("day").is_in([date(2025, 3, day) for day in (27, 28, 31)])).rows()


@each_engine
def test_the_hour_that_repeats_is_two_buckets(engine: int) -> None:
    rows = [call(at(f"2025-10-25T{hour}")) for hour in ("22:30", "23:30")] + [
        call(at(f"2025-10-26T0{hour}")) for hour in ("0:10", "0:50", "1:30", "2:30")
    ]
    found = breakdown(on(engine, rows), "hour", ["calls", "calls_rolling_2"], tz="Europe/Berlin")
    assert found["hour"].dt.hour().to_list() == [0, 1, 2, 2, 3]
    assert found.select("calls", "calls_rolling_2").rows() == [(1, 1), (1, 2), (2, 3), (1, 3), (1, 2)]


@each_engine
def test_currencies_before_the_start_are_columns_and_never_added(engine: int) -> None:
    rows = [priced("2025-05-01", 5, "USD"), priced("2025-05-02", 7), priced("2025-05-03", None)]
    found = breakdown(on(engine, rows), "day", ["cost_rolling_2", "cost_share"], start="2025-05-02", end="2025-05-04")
    assert found.rows(named=True) == [
        {"day": date(2025, 5, 2), "cost_rolling_2_EUR": 7, "cost_rolling_2_USD": 5,
         "cost_share_EUR": 1.0, "cost_share_USD": None},
        {"day": date(2025, 5, 3), "cost_rolling_2_EUR": 7, "cost_rolling_2_USD": None,
         "cost_share_EUR": None, "cost_share_USD": None},
    ]  # fmt: skip
    assert breakdown(on(engine, rows), "day", "cost", start="2025-05-02").columns == ["day", "cost", "currency"]
    gap = breakdown(on(engine, rows), "day", "cost_rolling_9", start="2025-05-05", end="2025-05-06", fill_gaps=True)
    assert gap.rows(named=True) == [{"day": date(2025, 5, 5), "cost_rolling_9_EUR": 7, "cost_rolling_9_USD": 5}]
    long = breakdown(on(engine, rows), ["currency", "day"], ["cost", "cost_share", "calls_share", "cost_rolling_2"])
    assert long.rows() == [
        ("EUR", date(2025, 5, 2), 7, 1.0, 1 / 3, 7),
        ("USD", date(2025, 5, 1), 5, 1.0, 1 / 3, 5),
        (None, date(2025, 5, 3), None, None, 1 / 3, None),
    ]


@each_engine
def test_shares_rank_fold_and_have_totals(engine: int) -> None:
    prices = {"a": 1, "b": 6, "c": 2, "other": 1}
    rows = [priced("2025-05-01", price, model_name=name) for name, price in prices.items()]
    asked = ["cost_share", "calls", "cost_share_of_model_name"]
    found = breakdown(on(engine, rows), "model_name", asked, top=2, totals=True)
    assert found.rows() == [
        ("b", 0.6, 1, 1.0, "EUR", False),
        ("c", 0.2, 1, 1.0, "EUR", False),
        ("other", 0.2, 2, 1.0, "EUR", True),
    ]
    assert [total.rows() for total in found.totals] == [[(1.0, 4, None, "EUR")]]
    days = breakdown(
        on(engine, rows), ["day", "model_name"], ["calls_cumulative", "calls_rolling_2"], top=1, totals=True
    )
    assert days.drop("day").rows() == [("a", 1, 1, False), ("other", 3, 3, True)]
    assert [total.rows() for total in days.totals] == [[(date(2025, 5, 1), 4, 4)], [(None, None)]]
    assert [total.schema["calls_rolling_2"] for total in days.totals] == [pl.Int64, pl.Int64]


@each_engine
def test_measures_of_ones_own_are_shared_summed_up_and_rolling(engine: int) -> None:
    slow = Measure("slow", formula=Aggregate("count", where=(Condition("latency_ms", ">", 1000),)))
    spent = Measure("spent", formula=Aggregate("sum", "total_price", (Condition("status", "==", "success"),)))
    paid = Measure("paid", formula=Ratio(spent.aggregates[0], Aggregate("sum", "total_price")))
    rows = [
        priced("2025-05-01", 1, latency_ms=2000),
        priced("2025-05-02", 3, latency_ms=2000, status="failed"),
        priced("2025-05-02", 4, latency_ms=1000),
    ]
    asked = [slow, share(slow), cumulative(slow), rolling(slow, 2), share(spent, of="day"), rolling(paid, 2)]
    found = breakdown(on(engine, rows), "day", asked)
    assert found.rows() == [
        (date(2025, 5, 1), 1, 0.5, 1, 1, 1.0, 1.0, "EUR"),
        (date(2025, 5, 2), 1, 0.5, 2, 2, 1.0, 0.625, "EUR"),
    ]
    assert list(found.roles.measures) == [
        *("slow", "slow_share", "slow_cumulative", "slow_rolling_2", "spent_share_of_day", "paid_rolling_2"),
    ]
    several = breakdown(on(engine, [*rows, priced("2025-05-02", 9, "USD")]), "day", [spent, paid])
    assert several.columns == ["day", "spent_EUR", "spent_USD", "paid_EUR", "paid_USD"]
    assert several.row(1)[1:] == (4, 9, 4 / 7, 1.0)
    odd = Measure("odd", kind="money", formula=Ratio(Aggregate("sum", "latency_ms"), Aggregate("count")))
    assert breakdown(on(engine, rows[:2]), (), odd).rows() == [(2000, "EUR")]


@each_engine
def test_calls_without_a_time_have_no_window(engine: int) -> None:
    frame = polars_frame([call(at("2025-05-01")), call(at("2025-05-01"))]).with_columns(
        create_time=pl.when(pl.int_range(pl.len()) == 0).then("create_time")
    )
    natives: list[Native] = [frame, frame.lazy(), relation(frame)]
    native = natives[engine]
    asked = ["calls", "calls_rolling_2", "users_rolling_2", "calls_cumulative"]
    assert breakdown(native, "day", asked).rows() == [(date(2025, 5, 1), 1, 1, 0, 1), (None, 1, None, None, None)]


def test_nothing_has_the_types_of_something() -> None:
    asked = ["cost_share", "cost_cumulative", "latency_p95_rolling_7", "users_rolling_7", "cost_p50_rolling_7"]
    rows = [priced("2025-05-01", 1, latency_ms=1)]
    for some, none in zip(frames(rows), frames([]), strict=True):
        types = breakdown(some, "day", asked).schema
        assert breakdown(none, "day", asked).schema == types
        assert list(types.dtypes())[1:-1] == [pl.Float64, pl.Decimal(38, 10), pl.Float64, pl.Int64, pl.Decimal(38, 10)]


def test_usual_measures_are_left_out_where_the_frame_lacks_their_columns() -> None:
    bare = polars_frame([call(at("2025-05-01"))]).select("create_time")
    usual = Usual(("calls", "calls_rolling_7", "cost_share", "latency_p95_rolling_7"), ("calls",))  # type: ignore[arg-type]
    assert breakdown(bare, "day", usual).columns == ["day", "calls", "calls_rolling_7"]
    priced_only = polars_frame([priced("2025-05-01", 2)]).select("create_time", "total_price")
    assert breakdown(priced_only, "day", ["cost_share", "cost_rolling_2"]).rows() == [(date(2025, 5, 1), 1.0, 2, "USD")]


@pytest.mark.parametrize(
    ("by", "asked", "message"),
    [
        ("model_name", "calls_rolling_7", "the measure 'calls_rolling_7' needs one time bucket .* in by, not 0"),
        (["day", "hour"], "cost_cumulative", "the measure 'cost_cumulative' needs one time bucket .* in by, not 2"),
        ("hour_of_day", "cost_cumulative", "needs one time bucket"),
        ("model_name", "cost_share_of_day", "the measure 'cost_share_of_day' needs 'day' in by; there is model_name"),
        ((), "calls_share_of_team", "needs 'team' in by; there is nothing"),
        ("day", "success_rate_share", "a share is of what adds up"),
        ("minute", "calls_rolling_6000000", "a rolling 'calls' is over 1 to 100,000 buckets, not 6000000"),
    ],
)
def test_what_cannot_be_answered_is_refused(by: Any, asked: str, message: str) -> None:
    rows = [call(at("2025-05-01"))]
    for native in frames(rows):
        with pytest.raises(UsageError, match=message):
            breakdown(native, by, asked, start="2025-05-01")
