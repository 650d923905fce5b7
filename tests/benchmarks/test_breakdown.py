"""Model x day of 10 million calls in Parquet: our breakdown, hand-written DuckDB SQL, and pandas.

Run with `pytest tests/benchmarks/test_breakdown.py --benchmark-enable`. Without that the same comparison runs on
20,000 calls, as a test that all three compute the same numbers. The SQL is as fast as we can write it: one list of
quantiles per column, FILTER instead of CASE, and no look at whether there are several currencies. The goal: ours takes
at most 1.1 times as long.

Rounds are interleaved, so that a busy machine slows all of them; the ratio is that of the medians.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from mofa_usage.analysis import breakdown
from tests.benchmarks.ratios import MANY, Ratio, Ratios, timed

GOAL = 1.1
MEASURES = [
    "calls",
    "cost",
    "coverage",
    "success_rate",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "token_rate_mean",
    "token_rate_p50",
    "token_rate_p95",
    "token_rate_overall",
]
BY = ["model_name", "day"]

GENERATE = """
COPY (
    SELECT
        'model-' || hash(i * 7) % 10 AS model_name,
        CASE WHEN hash(i * 3) % 100 < 94 THEN 'success' WHEN hash(i * 3) % 100 < 97 THEN 'failed'
             WHEN hash(i * 3) % 100 < 99 THEN 'timeout' ELSE 'rate_limited' END AS status,
        CAST(hash(i * 13) % 1000 AS BIGINT) AS completion_tokens,
        CASE WHEN hash(i * 17) % 20 > 0
             THEN CAST(hash(i * 19) % 100000000 AS DECIMAL(38, 10)) / 10000000000 END::DECIMAL(38, 10) AS total_price,
        'USD' AS currency,
        CASE WHEN hash(i * 23) % 50 > 0 THEN CAST(100 + hash(i * 29) % 9000 AS BIGINT) END AS latency_ms,
        CASE WHEN hash(i * 31) % 3 > 0 THEN (hash(i * 37) % 100000) / 1000.0::DOUBLE END AS tokens_per_second,
        TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i * 90 * 86400 / {rows}) AS create_time
    FROM range({rows}) calls (i)
) TO '{path}' (COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""

BY_HAND = """
WITH calls AS (
    SELECT *, coalesce(
        tokens_per_second, CASE WHEN latency_ms > 0 THEN completion_tokens / (latency_ms / 1000) END
    ) AS rate
    FROM '{path}'
), groups AS (
    SELECT
        model_name,
        {day} AS day,
        any_value(currency) AS currency,
        count(*) AS calls,
        sum(total_price) AS cost,
        count(total_price) / count(*) AS coverage,
        count(*) FILTER (status = 'success') / count(*) AS success_rate,
        quantile_cont(latency_ms, [0.5, 0.95, 0.99]) AS latency,
        avg(rate) AS token_rate_mean,
        quantile_cont(rate, [0.5, 0.95]) AS rates,
        sum(completion_tokens) FILTER (latency_ms > 0) * 1000 / sum(latency_ms) FILTER (latency_ms > 0)
            AS token_rate_overall
    FROM calls
    GROUP BY ALL
)
SELECT
    model_name, day, calls, cost, coverage, success_rate,
    latency[1] AS latency_p50, latency[2] AS latency_p95, latency[3] AS latency_p99,
    token_rate_mean, rates[1] AS token_rate_p50, rates[2] AS token_rate_p95, token_rate_overall, currency
FROM groups
ORDER BY model_name, day
"""
DAYS = {"UTC": "CAST(create_time AS DATE)", "Europe/Berlin": "CAST(create_time AT TIME ZONE 'Europe/Berlin' AS DATE)"}


def in_pandas(path: Path, tz: str) -> pd.DataFrame:
    """The same with pandas, prices as floats: Decimals would take it minutes."""
    calls = pq.read_table(path)
    position = calls.schema.get_field_index("total_price")
    calls = calls.set_column(position, "total_price", calls["total_price"].cast("float64")).to_pandas()
    calls["day"] = calls["create_time"].dt.tz_convert(tz).dt.date
    calls["ok"] = calls["status"] == "success"
    timed = calls["latency_ms"] > 0
    calls["tokens"], calls["ms"] = calls["completion_tokens"].where(timed), calls["latency_ms"].where(timed)
    derived = (calls["completion_tokens"] / (calls["latency_ms"] / 1000)).where(timed)
    calls["rate"] = calls["tokens_per_second"].fillna(derived)
    groups = calls.groupby(BY)
    found = groups.agg(
        calls=("ok", "size"),
        currency=("currency", "first"),
        cost=("total_price", "sum"),
        priced=("total_price", "count"),
        success_rate=("ok", "mean"),
        token_rate_mean=("rate", "mean"),
        tokens=("tokens", "sum"),
        ms=("ms", "sum"),
    )
    found["coverage"] = found.pop("priced") / found["calls"]
    found["token_rate_overall"] = found.pop("tokens") * 1000 / found.pop("ms")
    for prefix, column, percents in (("latency", "latency_ms", (50, 95, 99)), ("token_rate", "rate", (50, 95))):
        for percent in percents:
            found[f"{prefix}_p{percent}"] = groups[column].quantile(percent / 100)
    return found.reset_index()


@pytest.mark.parametrize("tz", DAYS)
def test_model_by_day(ratios: Ratios, connection: duckdb.DuckDBPyConnection, parquet: Path, tz: str) -> None:
    relation = connection.read_parquet(str(parquet))
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: breakdown(relation, BY, MEASURES, tz=tz),
        "sql": lambda: connection.sql(BY_HAND.format(path=parquet, day=DAYS[tz])).pl(),
        "pandas": lambda: in_pandas(parquet, tz),
    }
    ours = ways["ours"]()
    assert_same(ours, ways["sql"]())
    assert_same(ours, pl.from_pandas(ways["pandas"]()).with_columns(pl.col("day").cast(pl.Date)))
    if not ratios.enabled:
        return
    medians = timed(ways, {"ours": 9, "sql": 9, "pandas": 1})
    what = f"model x day of {MANY:,} calls, {tz}"
    ratios.report(
        Ratio(what, medians["ours"], "SQL by hand", medians["sql"], GOAL),
        Ratio(what, medians["ours"], "pandas", medians["pandas"]),
    )


def assert_same(ours: pl.DataFrame, other: pl.DataFrame) -> None:
    assert ours.height > 0
    floats = pl.col("cost").cast(pl.Float64) if other.schema["cost"] == pl.Float64 else pl.col("cost")
    assert_frame_equal(
        ours.with_columns(floats), other.select(ours.columns), check_dtypes=False, check_exact=False, rel_tol=1e-9
    )
