"""A breakdown is the same on a cluster, in DuckDB and in Polars: every measure by every dimension, and all else it can.

DuckDB and Polars are compared with plain arithmetic elsewhere.
"""

from pathlib import Path
from typing import Any

import narwhals as nw
import pytest

from mofa_usage.measures import DIMENSIONS, MEASURES, Condition, Dimension
from tests.spark.usages import Usages, rows, usages

OWN = ("labels.feature", "session.plan", "team")
NAMES = [*DIMENSIONS, *OWN]


@pytest.fixture(scope="module")
def calls(session: Any, tmp_path_factory: pytest.TempPathFactory) -> Usages:
    return usages(session, rows(400), tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="module")
def lone(session: Any, tmp_path_factory: pytest.TempPathFactory) -> Usages:
    """Calls of one currency, which most have."""
    of_one = [{**row, "currency": "EUR"} for row in rows(120, seed=5)]
    return usages(session, of_one, tmp_path_factory.mktemp("lone"))


@pytest.mark.parametrize("names", [NAMES[at : at + 4] for at in range(0, len(NAMES), 4)], ids=" ".join)
def test_every_measure_by_every_dimension(calls: Usages, names: list[str]) -> None:
    for name in names:
        assert calls.same("breakdown", name, list(MEASURES)).height > 0


def test_the_whole(calls: Usages, lone: Usages) -> None:
    assert calls.same("breakdown", (), list(MEASURES)).height == 1
    assert lone.same("breakdown", (), list(MEASURES))["currency"].item() == "EUR"
    lone.same("summary")


def test_days_when_the_clock_changes_have_the_hours_that_they_have(calls: Usages) -> None:
    hours = calls.same("breakdown", "hour", "calls", start="2025-10-26", end="2025-10-27", fill_gaps=True)
    assert hours.height == 25
    hours = calls.same("breakdown", "hour", "calls", start="2025-03-30", end="2025-03-31", fill_gaps=True)
    assert hours.height == 23


def test_levels_above(calls: Usages) -> None:
    """With sums, percentiles of latencies and of money, and numbers of distinct values."""
    measures = ["cost", "calls", "latency_p95", "cost_p90", "users", "token_rate_p50"]
    assert len(calls.same("breakdown", ["model_name", "day"], measures, totals=True).totals) == 2  # type: ignore[attr-defined]
    calls.same("breakdown", ["day", "currency", "model_name"], ["cost", "calls"], totals=True)


def test_the_heaviest(calls: Usages, lone: Usages) -> None:
    measures = ["cost", "calls", "latency_p50", "users"]
    calls.same("breakdown", ["user_id", "day"], measures, top=3, totals=True)
    lone.same("breakdown", ["labels.feature", "month"], ["cost", "latency_p75"], top=1)


def test_intervals(lone: Usages) -> None:
    """Of percentiles: values of calls at ranks that follow from how many there are."""
    measures = ["success_rate", "latency_p50", "cost_p50", "token_rate_p50"]
    lone.same("breakdown", ["model_name", "day"], measures, intervals=0.9, totals=True)
    lone.same("summary", intervals=0.95)


def test_measures_made_of_others(calls: Usages) -> None:
    measures = ["cost_rolling_3", "latency_p95_rolling_3", "cost_cumulative", "users_rolling_2", "cost_share_of_day"]
    calls.same("breakdown", ["day", "model_name"], measures)


def test_distributions(calls: Usages, lone: Usages) -> None:
    calls.same("distribution", "model_name")
    calls.same("distribution", of="cost")
    lone.same("distribution", "labels.feature", of="cost")


def test_dimensions_of_your_own(lone: Usages) -> None:
    cases = [
        ("fast", [Condition("latency_ms", "<", 1000)]),
        ("found", [Condition("labels.feature", "==", "search")]),
    ]
    lone.same("breakdown", Dimension("speed", cases=cases, otherwise="slow"), ["calls", "cost"])
    lone.same("breakdown", Dimension("second", expression=nw.col("latency_ms") // 1000), ["calls", "cost"])


def test_of_no_calls(session: Any, tmp_path: Path) -> None:
    nothing = usages(session, [], tmp_path)
    for by in ((), "day", "model_name"):
        nothing.same("breakdown", by, ["calls", "cost", "latency_p95"])
