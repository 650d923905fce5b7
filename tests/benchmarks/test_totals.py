"""Totals of three levels (day x model, day, the whole) of 10 million calls beside the breakdown alone, on both engines.

Run with `pytest tests/benchmarks/test_totals.py --benchmark-enable`. Without that the same runs on 20,000 calls, as a
test that totals are what asking anew is answered. The goal: with totals it takes at most 2.0 times as long.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mofa_usage.analysis import Native, breakdown
from tests.benchmarks import test_breakdown
from tests.benchmarks.ratios import MANY, Ratio, Ratios, timed
from tests.benchmarks.test_breakdown import MEASURES

GOAL = 2.0
BY = ["day", "model_name", "agent_name"]
AGENTS = "'agent-' || hash(i * 41) % 50 AS agent_name, 'USD' AS currency,"
GENERATE = test_breakdown.GENERATE.replace("'USD' AS currency,", AGENTS)  # 10 models by 50 agents


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_totals(ratios: Ratios, parquet: Path, engine: str) -> None:
    native: Native = pl.read_parquet(parquet) if engine == "polars" else duckdb.connect().read_parquet(str(parquet))
    ways: dict[str, Callable[[], Any]] = {
        "totals": lambda: breakdown(native, BY, MEASURES, tz="Europe/Berlin", totals=True),
        "plain": lambda: breakdown(native, BY, MEASURES, tz="Europe/Berlin"),
    }
    found = ways["totals"]()
    assert_frame_equal(found, ways["plain"](), rel_tol=1e-9)
    for depth, total in zip((2, 1, 0), found.totals, strict=True):
        assert_frame_equal(total, breakdown(native, BY[:depth], MEASURES, tz="Europe/Berlin"), rel_tol=1e-9)
    if not ratios.enabled:
        return
    medians = timed(ways, {"totals": 3, "plain": 3})
    what = f"totals of three levels of {MANY:,} calls, {engine}"
    ratios.report(Ratio(what, medians["totals"], "without", medians["plain"], GOAL))
