"""Why the cost changed, of 10 million calls in Parquet by model, beside DuckDB SQL that sums up what it is made of.

Run with `pytest tests/benchmarks/test_change.py --benchmark-enable`. Without that the same runs on 20,000 calls, as a
test that both find the same cost. The SQL groups as finely as an exact answer has to, by day and model, since prices
belong to days; the arithmetic that follows is on few rows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from mofa_usage.changes import cost_change, explain_change, periods
from tests.benchmarks.ratios import MANY, Ratio, Ratios, timed

BY_HAND = """
SELECT model_name, create_time >= TIMESTAMPTZ '{middle}' AS is_after, epoch_us(create_time) // 86400000000 AS day,
       total_price IS NOT NULL AS is_priced, count(*) AS calls, sum(total_price) AS cost, sum(prompt_tokens),
       sum(completion_tokens), sum(cached_tokens), min(prompt_tokens), max(prompt_tokens)
FROM '{path}' WHERE create_time >= TIMESTAMPTZ '{start}' AND create_time < TIMESTAMPTZ '{end}' GROUP BY ALL
"""

GENERATE = """
COPY (
    SELECT ['gpt-4o', 'gpt-4o-mini', 'claude-sonnet-4-0', 'o3', 'mine'][1 + CAST(hash(i) % 5 AS INT)] AS model_name,
           CAST(200 + hash(i * 3) % 4000 AS BIGINT) AS prompt_tokens,
           CAST(10 + hash(i * 5) % 800 AS BIGINT) AS completion_tokens,
           CASE WHEN hash(i * 7) % 2 = 0 THEN CAST(hash(i * 11) % 200 AS BIGINT) END AS cached_tokens,
           CASE WHEN hash(i * 13) % 20 > 0
                THEN CAST(hash(i * 17) % 10000000 AS DECIMAL(38, 10)) / 1000000000 END::DECIMAL(38, 10) AS total_price,
           'USD' AS currency,
           TIMESTAMPTZ '2026-04-01 00:00:00+00' + to_seconds(i * 60 * 86400 / {rows}) AS create_time
    FROM range({rows}) calls (i)
) TO '{path}' (COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""
GOAL = 1.8  # 1.6 of half a second: a fifth of one goes to the price book, however many calls there are
APRIL, MAY = ("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-05-31")


def test_change(ratios: Ratios, connection: duckdb.DuckDBPyConnection, parquet: Path) -> None:
    native = connection.read_parquet(str(parquet))
    compared = periods(APRIL, MAY, "UTC")
    start, middle, end = (f"{day} 00:00:00+00" for day in (APRIL[0], *MAY))
    query = BY_HAND.format(path=parquet, start=start, middle=middle, end=end)

    def by_hand() -> list[Any]:
        return list(connection.sql(query).fetchall())

    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: cost_change(native, compared),
        "by hand": by_hand,
        "with all": lambda: explain_change(native, APRIL, MAY),
    }
    theirs = sum(row[5] for row in by_hand() if row[1] and row[5] is not None)
    assert ways["ours"]().totals[0]["cost_after"].item() == theirs
    if ratios.enabled:
        medians = timed(ways, {"ours": 3, "by hand": 3, "with all": 3})
        what = f"the change of cost of {MANY:,} calls"
        ratios.report(
            Ratio(what, medians["ours"], "DuckDB by hand", medians["by hand"], GOAL),
            Ratio("with the measures beside it", medians["with all"], "without", medians["ours"]),
        )
