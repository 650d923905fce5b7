"""Drivers of the cost of 10 million calls in Parquet, six dimensions and their pairs, beside DuckDB SQL by hand.

Run with `pytest tests/benchmarks/test_drivers.py --benchmark-enable`. Without that the same runs on 20,000 calls, as a
test that both compute the same sums. The SQL adds up the calls and the cost of both months for every value of each
dimension and of each pair, as fast as we can write it: groups by all six first, which are then added up by sets, and of
the 5,000 users the hundred that have most calls. It looks for no slice that stands out, and does not ask first how many
values each dimension has and whether there are several currencies. The goal: ours takes at most 1.4 times as long, and
below 5 s on two cores that have nothing else to do.
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from mofa_usage.changes import drivers
from tests.benchmarks.ratios import MANY, Ratio, Ratios, timed

GOAL = 1.4  # 1.1 on a busy machine, 1.3 on an idle one
DIMENSIONS = ("model_name", "provider_name", "agent_name", "user_id", "labels.feature", "environment")
APRIL, MAY = ("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-06-01")

GENERATE = """
COPY (
    SELECT
        'model-' || hash(i * 7) % 10 AS model_name,
        'provider-' || hash(i * 7) % 4 AS provider_name,
        'agent ' || hash(i * 11) % 20 AS agent_name,
        printf('0190aaaa-0000-7000-8000-%012x', CAST(pow(hash(i * 13) % 1000000 / 1e6, 2) * 5000 AS INT)) AS user_id,
        CASE WHEN hash(i * 17) % 20 > 0 THEN 'feature ' || hash(i * 19) % 12 END AS "labels.feature",
        CASE WHEN hash(i * 23) % 10 > 0 THEN 'production' ELSE 'staging' END AS environment,
        CASE WHEN hash(i * 29) % 20 > 0
             THEN CAST(hash(i * 31) % 100000000 AS DECIMAL(38, 10)) / 10000000000
                  * CASE WHEN i > {rows} / 2 AND hash(i * 7) % 10 = 3 AND hash(i * 23) % 10 > 0 THEN 2 ELSE 1 END
             END::DECIMAL(38, 10) AS total_price,
        'USD' AS currency,
        TIMESTAMPTZ '2026-04-01 00:00:00+00' + to_seconds(i * 61 * 86400 / {rows}) AS create_time
    FROM range({rows}) calls (i)
) TO '{path}' (COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""


def by_hand(connection: duckdb.DuckDBPyConnection, path: Path) -> pl.DataFrame:
    names = [f'"{name}"' for name in DIMENSIONS]
    sets = [*((name,) for name in names), *combinations(names, 2)]
    keys = ", ".join("top.user_id AS user_id" if name == '"user_id"' else name for name in names)
    groupings = ", ".join(f"({', '.join(one)})" for one in sets)
    query = f"""
        WITH top AS (SELECT user_id FROM '{path}' GROUP BY ALL ORDER BY count(*) DESC, user_id LIMIT 100), leaves AS (
            SELECT {keys}, create_time >= TIMESTAMPTZ '2026-05-01 00:00:00+00' AS late, count(*) AS calls,
                   sum(total_price) AS cost, sum(total_price::DOUBLE * total_price::DOUBLE) AS squares
            FROM '{path}' AS calls LEFT JOIN top ON top.user_id = calls.user_id GROUP BY ALL
        )
        SELECT {", ".join(names)}, GROUPING({", ".join(names)}) AS without,
               sum(calls) FILTER (NOT late) AS calls_before, sum(calls) FILTER (late) AS calls_after,
               sum(cost) FILTER (NOT late) AS cost_before, sum(cost) FILTER (late) AS cost_after,
               sum(squares) FILTER (NOT late) AS squares_before, sum(squares) FILTER (late) AS squares_after
        FROM leaves GROUP BY GROUPING SETS ({groupings})
    """
    answer: pl.DataFrame = connection.sql(query).pl()
    return answer


def test_drivers(ratios: Ratios, connection: duckdb.DuckDBPyConnection, parquet: Path) -> None:
    native = connection.read_parquet(str(parquet))
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: drivers(native, "cost", APRIL, MAY, dimensions=list(DIMENSIONS)),
        "by hand": lambda: by_hand(connection, parquet),
    }
    row, theirs = ways["ours"]().row(0, named=True), ways["by hand"]()
    assert [row[name] for name in DIMENSIONS] == ["model-3", None, None, None, None, "production"]
    found = theirs.filter(without=0b011110, model_name="model-3", environment="production").row(0, named=True)
    for name in ("calls_before", "calls_after", "cost_before", "cost_after"):
        assert row[name] == found[name]
    if ratios.enabled:
        medians = timed(ways, {"ours": 3, "by hand": 3})
        what = f"drivers of {MANY:,} calls, 6 dimensions and pairs"
        ratios.report(Ratio(what, medians["ours"], "SQL by hand", medians["by hand"], GOAL))
