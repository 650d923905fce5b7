"""Prices of 10 million calls in Parquet by model and day: ours, and hand-written DuckDB SQL with a table of rates.

Run with `pytest tests/benchmarks/test_prices.py --benchmark-enable`. Without that the same comparison runs on 20,000
calls, as a test that both come to the same sums. The SQL knows the rates, that they have two decimal places at most and
never change, and that no call has audio, a tier, a cache lifetime or a contradiction; it says neither how sure a price
is nor what is recorded. So nothing is promised of the ratio (it was 2.2), but that a million calls take a second.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from mofa_usage import PriceBook, load_usage
from tests.benchmarks.ratios import MANY, Ratio, Ratios, timed

GENERATE = """
COPY (
    SELECT
        'model-' || hash(i * 7) % 10 AS model_name,
        CAST(1000 + hash(i * 13) % 20000 AS BIGINT) AS prompt_tokens,
        CAST(hash(i * 14) % 1000 AS BIGINT) AS completion_tokens,
        CAST(hash(i * 15) % 900 AS BIGINT) AS cached_tokens,
        CAST(CASE WHEN hash(i * 9) % 3 = 0 THEN hash(i * 16) % 100 ELSE 0 END AS BIGINT) AS cache_write_tokens,
        CAST(NULL AS DECIMAL(38, 10)) AS total_price,
        CAST(NULL AS VARCHAR) AS currency,
        TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i * 90 * 86400 / {rows}) AS create_time
    FROM range({rows}) calls (i)
) TO '{path}' (COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""
BY_HAND = """
WITH rates AS (SELECT 'model-' || i AS model_name, 300 + i AS input, 30 AS cached, 375 AS written, 1500 AS output
    FROM range(10) models (i))
SELECT model_name, CAST(create_time AS DATE) AS day, CAST(sum(
    (prompt_tokens - cached_tokens - cache_write_tokens) * input + cached_tokens * cached
    + cache_write_tokens * written + completion_tokens * output
) * 0.00000001 AS DECIMAL(38, 10)) AS cost
FROM '{path}' JOIN rates USING (model_name) GROUP BY ALL
"""
ENTRY = '[[prices]]\nmodel = "model-{i}"\ninput = 3.0{i}\ncached = 0.3\ncache_write = 3.75\noutput = 15\n'


def test_prices_beside_sql(
    ratios: Ratios, connection: duckdb.DuckDBPyConnection, parquet: Path, tmp_path: Path
) -> None:
    (tmp_path / "prices.toml").write_text('currency = "USD"\n' + "".join(ENTRY.format(i=i) for i in range(10)))
    usage, book = load_usage(parquet), PriceBook.load(tmp_path / "prices.toml")
    by = ["model_name", "day"]
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: usage.with_prices(book).breakdown(by, "cost").select("model_name", "day", "cost"),
        "what if": lambda: usage.what_if({"model-1": "model-2"}, book).breakdown(by, "cost"),
        "against what was recorded": lambda: usage.what_if({"model-1": "model-2"}, book).against_recorded(by),
        "sql": lambda: connection.sql(BY_HAND.format(path=parquet)).pl(),
    }
    assert sorted(ways["ours"]().rows()) == sorted(ways["sql"]().rows())
    if ratios.enabled:
        medians = timed(ways, dict.fromkeys(ways, 3))
        each = medians["ours"] * 1_000_000 / MANY
        ratios.report(Ratio("prices of a million calls, of these", each, "a second", 1.0, 1.0))
        for name in ("ours", "what if", "against what was recorded"):
            ratios.report(Ratio(f"prices of {MANY:,} calls, {name}", medians[name], "SQL by hand", medians["sql"]))
