"""Service levels and completeness of 10 million calls in Parquet, beside DuckDB SQL by hand.

Run with `pytest tests/benchmarks/test_service.py --benchmark-enable`. Without that 20,000 calls are asked, to see that
both ways find the same. The SQL finds the peak of the calls in flight by a window over all beginnings and ends, counts
the good calls by model, and looks for ids that are there twice. The goal: ours takes at most 1.2 times as long.
"""

from pathlib import Path

import duckdb
import polars as pl

from mofa_usage.audit.doubles import doubles
from mofa_usage.service.courses import course, extent
from mofa_usage.service.levels import level
from mofa_usage.service.promises import Promise
from tests.benchmarks.ratios import Ratio, Ratios, timed

GOAL = 1.2

GENERATE = """
COPY (
    SELECT
        printf('0190%04x-0000-7000-8000-%012x', hash(i) % 65536, i) AS id,
        'model-' || hash(i * 7) % 10 AS model_name,
        CASE WHEN hash(i * 3) % 100 < 94 THEN 'success' ELSE 'failed' END AS status,
        CAST(hash(i * 13) % 1000 AS BIGINT) AS completion_tokens,
        CAST(100 + hash(i * 29) % 9000 AS BIGINT) AS latency_ms,
        CASE WHEN hash(i * 5) % 3 = 0 THEN CAST(hash(i * 11) % 100 AS BIGINT) END AS time_to_first_token_ms,
        TIMESTAMPTZ '2026-01-01 00:00:00+00'
            + to_seconds(i * 90 * 86400 / {rows} + hash(i * 17) % 5000000 / 1e6) AS create_time
    FROM range({rows}) calls (i)
) TO '{path}' (COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""

PEAK = """
WITH timed AS (
    SELECT epoch_us(create_time) AS begin, latency_ms * 1000 AS length FROM '{path}' WHERE latency_ms > 0
), turns AS (
    SELECT begin * 2 + 1 AS turn FROM timed UNION ALL SELECT (begin + length) * 2 FROM timed
), running AS (
    SELECT turn, sum(turn % 2 * 2 - 1) OVER (ORDER BY turn ROWS UNBOUNDED PRECEDING) AS now FROM turns
)
SELECT turn // 172800000000 AS day, max(now) FROM running WHERE turn % 2 = 1 GROUP BY day ORDER BY day
"""

GOOD = """
SELECT model_name, count(*),
    count(*) FILTER (status = 'success' AND latency_ms <= 8000 AND time_to_first_token_ms <= 90)
FROM '{path}' GROUP BY model_name ORDER BY model_name
"""

TWICE = "SELECT count(*) FROM (SELECT id FROM '{path}' GROUP BY id HAVING count(*) > 1)"


def test_service_and_doubles(ratios: Ratios, connection: duckdb.DuckDBPyConnection, parquet: Path) -> None:
    calls = connection.read_parquet(str(parquet))
    within, promise = extent(calls), Promise.of(8000, 90, 0.9)
    ways = {
        "in flight": lambda: course(calls, within, "day", "UTC"),
        "in flight by hand": lambda: connection.sql(PEAK.format(path=parquet)).fetchall(),
        "level": lambda: level(calls, promise, "model_name", "UTC"),
        "level by hand": lambda: connection.sql(GOOD.format(path=parquet)).fetchall(),
        "doubles": lambda: list(doubles(calls.project("id, model_name, create_time"))),
        "doubles by hand": lambda: connection.sql(TWICE.format(path=parquet)).fetchall(),
    }
    peaks = dict(connection.sql(PEAK.format(path=parquet)).fetchall())
    ours = course(calls, within, "day", "UTC")
    assert [*peaks.values()] == ours["in_flight_max"].to_list()[: len(peaks)]
    found = pl.DataFrame(level(calls, promise, "model_name", "UTC")).sort("model_name")
    by_hand = connection.sql(GOOD.format(path=parquet)).fetchall()
    assert found.select("model_name", "calls", "good_calls").rows() == by_hand
    assert list(doubles(calls)) == []
    seconds = timed(ways, dict.fromkeys(ways, 3 if ratios.enabled else 1))
    for what, goal in (("in flight", GOAL), ("level", None), ("doubles", GOAL)):
        ratios.report(Ratio(what, seconds[what], "DuckDB by hand", seconds[f"{what} by hand"], goal))
