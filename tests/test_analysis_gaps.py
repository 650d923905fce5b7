"""Gaps in a time series are rows of no calls on request, and every bucket is there exactly once."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage.analysis import breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES, Aggregate, Measure
from tests.plain_analysis import PLAIN, Row, bucket, call, calls, frames, polars_frame
from tests.proofs import trials

engines = pytest.mark.parametrize("engine", [0, 2], ids=["polars", "duckdb"])


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@engines
def test_missing_days_have_no_calls_for_every_combination_there_is(engine: int) -> None:
    rows = [
        call(at(2025, 5, 1, 9), model_name="a", total_price=Decimal(1)),
        call(at(2025, 5, 3, 9), model_name="a", currency="EUR"),
        call(at(2025, 5, 3, 9), model_name="b"),
    ]
    found = breakdown(list(frames(rows))[engine], ["model_name", "day"], ["calls", "cost"], fill_gaps=True)
    first, second, third = (date(2025, 5, day) for day in (1, 2, 3))
    assert found.rows() == [
        ("a", first, 1, 1, "USD"),
        ("a", second, 0, 0, "USD"),
        ("a", third, 1, None, "USD"),
        ("b", first, 0, 0, "USD"),
        ("b", second, 0, 0, "USD"),
        ("b", third, 1, None, "USD"),
    ]
    by_currency = breakdown(list(frames(rows))[engine], ["currency", "day"], "calls", fill_gaps=True)
    assert by_currency.rows() == [
        ("USD", first, 1),
        ("USD", second, 0),
        ("USD", third, 0),
        (None, first, 0),
        (None, second, 0),
        (None, third, 2),
    ]


@engines
def test_the_series_runs_from_start_to_before_the_end(engine: int) -> None:
    native = list(frames([call(at(2025, 5, 2, 9))]))[engine]
    found = breakdown(native, "day", "calls", start="2025-04-30", end="2025-05-04", fill_gaps=True)
    assert found.rows() == [(date(2025, 4, 30), 0), (date(2025, 5, 1), 0), (date(2025, 5, 2), 1),
                            (date(2025, 5, 3), 0)]  # fmt: skip
    late = breakdown(native, "month", "calls", start="2025-03-31", fill_gaps=True)
    assert late["month"].to_list() == [date(2025, 3, 1), date(2025, 4, 1), date(2025, 5, 1)]
    early = breakdown(native, "week", "calls", end="2025-05-12T00:00:00.000001", fill_gaps=True)
    assert early["week"].to_list() == [date(2025, 4, 28), date(2025, 5, 5), date(2025, 5, 12)]


@engines
def test_a_range_without_calls_is_all_gap(engine: int) -> None:
    native = list(frames([]))[engine]
    found = breakdown(
        native, "hour", "calls", tz="Asia/Kathmandu", start="2025-05-01", end="2025-05-02", fill_gaps=True
    )
    assert found["hour"].dt.hour().to_list() == list(range(24))
    assert found["calls"].to_list() == [0] * 24
    assert breakdown(native, "hour", "calls", start="2025-05-01", fill_gaps=True).height == 0
    by_model = breakdown(native, ["day", "model_name"], "calls", start="2025-05-01", end="2025-05-09", fill_gaps=True)
    assert by_model.height == 0


@pytest.mark.parametrize("tz", ["Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "America/St_Johns", "UTC"])
@pytest.mark.parametrize("by", ["minute", "hour", "day", "week", "month"])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (at(2025, 3, 29, 13), at(2025, 3, 31, 5, 17)),
        (at(2025, 10, 25, 13), at(2025, 10, 26, 5)),
        (at(2025, 4, 5, 12, 40), at(2025, 4, 6)),
        (at(2018, 11, 3, 1), at(2018, 11, 5)),
        (at(2009, 10, 31, 20), at(2009, 11, 1, 12)),
    ],
)
def test_the_buckets_are_those_that_calls_would_make(tz: str, by: str, start: datetime, end: datetime) -> None:
    minutes = int((end - start) / timedelta(minutes=1))
    rows = polars_frame([call(start + timedelta(minutes=minute)) for minute in range(minutes)])
    full = breakdown(rows, by, "calls", tz=tz, start=start, end=end)
    empty = breakdown(rows.clear(), by, "calls", tz=tz, start=start, end=end, fill_gaps=True)
    assert_frame_equal(full.select(by), empty.select(by))
    assert full["calls"].sum() == minutes
    ends = breakdown(rows[[0, -1]], by, "calls", tz=tz, fill_gaps=True)
    assert_frame_equal(full.select(by), ends.select(by))


def test_a_date_that_a_zone_skipped_is_no_gap() -> None:
    rows = polars_frame([call(at(2011, 12, 29, 12)), call(at(2012, 1, 1, 12))])
    found = breakdown(rows, "day", "calls", tz="Pacific/Apia", fill_gaps=True)
    assert found["day"].to_list() == [date(2011, 12, 29), date(2011, 12, 31), date(2012, 1, 1), date(2012, 1, 2)]


@engines
def test_in_a_gap_what_counts_or_adds_up_is_0_and_what_is_said_of_calls_null(engine: int) -> None:
    longest = Measure("longest", "Longest", "ms", "ms", "Largest latency_ms.", Aggregate("max", "latency_ms"))
    ms = Measure("total_ms", "Time", "ms", "ms", "Sum of latency_ms.", Aggregate("sum", "latency_ms"))
    prices = {"USD": Decimal(1), "EUR": Decimal(2)}
    for several in (["USD"], ["USD", "EUR"]):
        rows = [call(at(2025, 5, 1, 9), currency=one, total_price=prices[one], latency_ms=5) for one in several]
        asked: list[str | Measure] = [*MEASURES, longest, ms]
        native = list(frames(rows))[engine]
        gap = breakdown(native, "day", asked, start="2025-05-01", end="2025-05-03", fill_gaps=True)
        zeros = {name for name, value in gap.row(1, named=True).items() if value == 0}
        money = ["cost", "wasted_cost"]
        counted = {*(name for name in MEASURES if PLAIN[name]([]) == 0), *(n for n in MEASURES if MEASURES[n].additive)}
        if len(several) > 1:
            counted = {*counted - set(money), *(f"{name}_{one}" for name in money for one in several)}
        assert zeros == {*counted, "total_ms"}
        amounts = gap.select(pl.col(pl.Decimal)).row(1, named=True)
        assert {name for name, amount in amounts.items() if amount is not None} == zeros & set(amounts)
        assert gap.schema == breakdown(native, "day", asked).schema


@pytest.mark.proof
@settings(max_examples=trials(5, 100), deadline=None)
@given(rows=calls(max_size=8), by=st.sampled_from(["day", "week", "month"]))
def test_filling_changes_no_row_that_is_there(rows: list[Row], by: str) -> None:
    frame, asked = polars_frame(rows), ["calls", "cost", "latency_p50"]
    plain = breakdown(frame, ["status", by], asked, tz="Europe/Berlin")
    filled = breakdown(frame, ["status", by], asked, tz="Europe/Berlin", fill_gaps=True)
    assert_frame_equal(plain, filled.filter(pl.col("calls") > 0))
    assert filled.select("status", by).is_duplicated().sum() == 0
    assert filled.height == plain["status"].n_unique() * filled[by].n_unique()
    assert set(filled[by]) >= {bucket(by, row["create_time"], ZoneInfo("Europe/Berlin")) for row in rows}


@pytest.mark.parametrize("by", [[], ["model_name"], ["hour_of_day"], ["day", "hour"]])
def test_filling_needs_one_time_bucket(by: list[str]) -> None:
    with pytest.raises(UsageError, match="fill_gaps needs one time bucket"):
        breakdown(polars_frame([]), by, "calls", fill_gaps=True)


def test_a_series_too_long_to_fill_is_refused() -> None:
    rows = polars_frame([call(at(1025, 5, 1)), call(at(2025, 5, 1))])
    with pytest.raises(UsageError, match="there are more than 5,000,000 buckets by minute"):
        breakdown(rows, "minute", "calls", fill_gaps=True)
