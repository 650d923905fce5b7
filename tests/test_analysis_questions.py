"""The ready-made breakdowns, the summary, the distribution, and drawing them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage import analysis
from mofa_usage.analysis import Breakdown, breakdown, cost, distribution, latency, success_rate, summary, token_rate
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES
from tests.plain_analysis import Row, call, calls, frames, polars_frame

engines = pytest.mark.parametrize("engine", [0, 1, 2], ids=["polars", "lazy", "duckdb"])
T = datetime(2025, 5, 1, 12, tzinfo=UTC)
ROWS = [
    call(T, model_name="a", total_price=Decimal("0.5"), latency_ms=100, completion_tokens=50, total_tokens=100),
    call(T.replace(hour=15), model_name="b", total_price=Decimal("0.25"), status="timeout", latency_ms=30_000),
    call(T.replace(hour=16), model_name="b", total_price=Decimal("2"), currency="EUR", time_to_first_token_ms=7),
    call(T.replace(hour=17), model_name="b", latency_ms=9),
]


@engines
@pytest.mark.parametrize("question", [cost, latency, success_rate, token_rate])
def test_a_question_is_the_breakdown_of_its_measures(question: Any, engine: int) -> None:
    native = list(frames(ROWS))[engine]
    found = question(
        native, ["model_name", "day"], tz="Asia/Tokyo", start="2025-05-01", end="2025-05-03", fill_gaps=True
    )
    measures = [name for name in found.columns if name in MEASURES]
    again = breakdown(native, ["model_name", "day"], measures, tz="Asia/Tokyo", start="2025-05-01", end="2025-05-03",
                      fill_gaps=True)  # fmt: skip
    assert isinstance(found, Breakdown)
    assert_frame_equal(found, again)


def test_every_cost_says_its_coverage() -> None:
    assert cost(polars_frame(ROWS)).rows(named=True)[1] == {
        "model_name": "a",
        "currency": "USD",
        "cost": Decimal("0.5"),
        "calls": 1,
        "priced_calls": 1,
        "coverage": 1.0,
        "total_tokens": 100,
        "cost_per_call": Decimal("0.5"),
        "cost_per_success": Decimal("0.5"),
        "cost_per_1k_tokens": Decimal("5"),
        "wasted_cost": Decimal(0),
    }


@engines
def test_the_summary_has_a_row_for_each_currency(engine: int) -> None:
    found = summary(list(frames(ROWS))[engine], tz="Asia/Tokyo")
    assert found["currency"].to_list() == ["USD", "EUR"]
    assert found["calls"].to_list() == [3, 1]
    assert found["cost"].to_list() == [Decimal("0.75"), Decimal(2)]
    assert found["first_call"].to_list() == [T, T.replace(hour=16)]
    assert found["last_call"].to_list() == [T.replace(hour=17), T.replace(hour=16)]
    assert found.schema["first_call"] == pl.Datetime("us", "Asia/Tokyo")
    later = summary(list(frames(ROWS))[engine], start=T.replace(hour=17))
    assert later.select("currency", "calls", "first_call").rows() == [("USD", 1, T.replace(hour=17))]


@engines
def test_the_summary_of_nothing_has_no_rows(engine: int) -> None:
    nothing = summary(list(frames([]))[engine], tz="Asia/Tokyo")
    assert nothing.height == 0
    assert nothing.schema == summary(polars_frame(ROWS), tz="Asia/Tokyo").schema


@settings(max_examples=40, deadline=None)
@given(rows=calls(), bins=st.integers(1, 50), by=st.sampled_from([[], ["model_name"], ["provider_name", "status"]]))
def test_a_distribution_counts_every_duration_once(rows: list[Row], bins: int, by: list[str]) -> None:
    results = [distribution(native, by, bins=bins) for native in frames(rows)]
    for other in results[1:]:
        assert_frame_equal(results[0], other)
    durations = [row["latency_ms"] for row in rows if row["latency_ms"] is not None]
    found = results[0].group_by("bin_start", "bin_end").agg(pl.col("calls").sum()).sort("bin_start")
    assert found.height <= bins
    if durations:
        edges = [*found["bin_start"], found["bin_end"][-1]]
        assert found["bin_end"].to_list() == edges[1:]
        assert found["calls"].to_list() == np.histogram(durations, edges)[0].tolist()
        assert (edges[0], edges[-1]) == (min(durations), max(durations) + 1)
    else:
        assert found.height == 0


def test_a_distribution_has_bins_of_equal_ratio() -> None:
    rows = [call(T, latency_ms=ms, time_to_first_token_ms=1) for ms in (100, 99_999)]
    assert distribution(polars_frame(rows), bins=3).rows() == [(100, 1000, 1), (1000, 10_000, 0), (10_000, 100_000, 1)]
    assert distribution(polars_frame(rows), of="time_to_first_token_ms").rows() == [(1, 2, 2)]
    assert distribution(polars_frame(rows), start="2026-01-01").rows() == []


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"by": "day"}, "cannot be split by the time dimension 'day'"),
        ({"bins": 0}, "bins = 0"),
        ({"of": "total_price"}, "of = 'total_price'"),
        ({"by": "colour"}, "no dimension is called 'colour'"),
    ],
)
def test_a_distribution_refuses(question: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        distribution(polars_frame(ROWS), **question)


def test_a_breakdown_is_a_polars_frame() -> None:
    found = cost(polars_frame(ROWS))
    assert isinstance(found, pl.DataFrame)
    assert_frame_equal(pl.DataFrame(found), found.lazy().collect(), check_exact=True)
    assert Breakdown(found.filter(pl.col("model_name") == "a")).height == 1


def test_a_breakdown_can_be_drawn_with_one_more_word() -> None:
    found = cost(polars_frame(ROWS), ["day", "model_name"])
    figure = found.filter(pl.col("currency") == "USD").pipe(Breakdown).draw(theme="dark")
    assert len(figure.data) >= 1
    with pytest.raises(UsageError, match="no figure 'pie'"):
        found.draw("pie")


def test_the_names_of_the_analysis() -> None:
    assert analysis.__all__ == sorted(analysis.__all__)
    assert all(getattr(analysis, name) is not None for name in analysis.__all__)
