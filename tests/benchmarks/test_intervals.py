"""Intervals of a rate and three percentiles, model x day of 10 million calls in Parquet, beside DuckDB SQL by hand.

Run with `pytest tests/benchmarks/test_intervals.py --benchmark-enable`. Without that the same runs on 20,000 calls, as
a test that both compute the same ends. The SQL sorts the values of each group and takes those at the ranks that a table
has for their number. The goal: ours takes at most 1.2 times as long.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from polars.testing import assert_frame_equal

from mofa_usage.analysis import breakdown
from mofa_usage.analysis.intervals import order_ranks
from tests.benchmarks import test_breakdown
from tests.benchmarks.ratios import MANY, Ratio, Ratios, timed

GOAL = 1.2
GENERATE = test_breakdown.GENERATE
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
MEASURES = ["calls", "success_rate", *(f"latency_{name}" for name in QUANTILES)]
ENDS = ", ".join(f"v[{name}_{end}]::DOUBLE AS latency_{name}_{end}" for name in QUANTILES for end in ("low", "high"))
COUNTS = "SELECT DISTINCT n FROM (SELECT count(latency_ms) AS n FROM '{path}' GROUP BY model_name, create_time::DATE)"
BY_HAND = f"""
WITH grouped AS (
    SELECT model_name, create_time::DATE AS day,
           list(latency_ms ORDER BY latency_ms) FILTER (latency_ms IS NOT NULL) AS v
    FROM '{{path}}' GROUP BY ALL
)
SELECT model_name, day, {ENDS} FROM grouped JOIN ranks ON len(v) = n ORDER BY day, model_name
"""


def by_hand(connection: duckdb.DuckDBPyConnection, path: Path) -> pl.DataFrame:
    numbers = connection.sql(COUNTS.format(path=path)).pl()["n"]
    columns: dict[str, Any] = {"n": numbers}
    for name, quantile in QUANTILES.items():
        found = [order_ranks(number, quantile, 0.95) for number in numbers]
        columns |= {f"{name}_low": [low for low, _ in found], f"{name}_high": [high for _, high in found]}
    connection.register("ranks", pl.DataFrame(columns))
    answer: pl.DataFrame = connection.sql(BY_HAND.format(path=path)).pl()
    return answer


def test_intervals(ratios: Ratios, connection: duckdb.DuckDBPyConnection, parquet: Path) -> None:
    native = connection.read_parquet(str(parquet))
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: breakdown(native, ["day", "model_name"], MEASURES, intervals=0.95),
        "by hand": lambda: by_hand(connection, parquet),
        "plain": lambda: breakdown(native, ["day", "model_name"], MEASURES),
    }
    theirs = ways["by hand"]()
    assert_frame_equal(pl.DataFrame(ways["ours"]()).select(theirs.columns), theirs)
    if ratios.enabled:
        medians = timed(ways, {"ours": 3, "by hand": 3, "plain": 3})
        what = f"intervals of {MANY:,} calls"
        ratios.report(
            Ratio(what, medians["ours"], "DuckDB by hand", medians["by hand"], GOAL),
            Ratio(what, medians["ours"], "without", medians["plain"]),
        )
