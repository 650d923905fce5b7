"""Waste, sessions and caches of 10 million calls in Parquet: ours, and hand-written DuckDB SQL.

Run with `pytest tests/benchmarks/test_efficiency.py --benchmark-enable`. Without that the same comparison runs on
20,000 calls, as a test that both count the same. The SQL of a question knows what we have to find out: that there is
one currency, and what the rates are. It answers less: of sessions no growth, nor what they cost by bins; of caches only
sums by model.
"""

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from mofa_usage.efficiency import cache_savings, sessions, waste
from mofa_usage.pricing import PriceBook
from tests.benchmarks.ratios import MANY, Ratio, Ratios, timed

GOAL = 1.2

GENERATE = """
COPY (
    SELECT
        CAST(md5('s' || (i // 64) * 8 + hash(i * 3) % 8) AS UUID)::VARCHAR AS chat_session_id,
        CAST(md5('a' || hash(i // 64) % 200) AS UUID)::VARCHAR AS agent_id,
        CAST(md5('r' || (i - CAST(hash(i * 41) % 12 = 0 AS INTEGER))) AS UUID)::VARCHAR AS request_message_id,
        'model-' || hash((i // 64) * 7) % 10 AS model_name,
        CASE WHEN hash(i * 3) % 100 < 94 THEN 'success' WHEN hash(i * 3) % 100 < 97 THEN 'failed' ELSE 'timeout' END
            AS status,
        CASE WHEN hash(i * 11) % 40 = 0 THEN 'true' END AS retried,
        CAST(1000 + hash(i * 13) % 20000 AS BIGINT) AS prompt_tokens,
        CAST(hash(i * 14) % 1000 AS BIGINT) AS completion_tokens,
        CAST(1000 + hash(i * 13) % 20000 + hash(i * 14) % 1000 AS BIGINT) AS total_tokens,
        CAST(CASE WHEN hash(i * 6) % 2 = 0 THEN 0 ELSE hash(i * 15) % 900 END AS BIGINT) AS cached_tokens,
        CAST(CASE WHEN hash(i * 9) % 3 = 0 THEN hash(i * 16) % 100 ELSE 0 END AS BIGINT) AS cache_write_tokens,
        CASE WHEN hash(i * 17) % 20 > 0
             THEN CAST(hash(i * 19) % 100000000 AS DECIMAL(38, 10)) / 10000000000 END::DECIMAL(38, 10) AS total_price,
        'USD' AS currency,
        TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i * 90 * 86400 / {rows}) AS create_time
    FROM range({rows}) calls (i)
) TO '{path}' (COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""

WASTE = """
WITH requests AS (
    SELECT request_message_id AS request, max(create_time) AS last FROM '{path}'
    WHERE request_message_id IN (SELECT request_message_id FROM '{path}' WHERE status <> 'success' AND retried IS NULL)
    GROUP BY ALL
), wasted AS (
    SELECT model_name, total_price, total_tokens, prompt_tokens, completion_tokens,
        CASE WHEN retried IS NOT NULL OR coalesce(create_time < last, false) THEN 'retried' ELSE 'unsuccessful' END
            AS waste
    FROM '{path}' LEFT JOIN requests
        ON request = CASE WHEN status <> 'success' AND retried IS NULL THEN request_message_id END
    WHERE status <> 'success' OR retried IS NOT NULL
)
SELECT model_name, waste, sum(total_price), count(*), count(total_price), sum(total_tokens),
    sum(total_price) / (SELECT sum(total_price) FROM '{path}'),
    count(*) FILTER (prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL)
FROM wasted GROUP BY ALL
"""

TURNS = """
WITH turns AS (
    SELECT chat_session_id, total_price, prompt_tokens, retried,
        1 + count(*) FILTER (retried IS NULL) OVER so_far AS turn
    FROM '{path}' WINDOW so_far AS (
        PARTITION BY chat_session_id ORDER BY create_time ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
), per_turn AS (
    SELECT turn, count(*) AS calls, sum(total_price) AS cost, max(prompt_tokens) FILTER (retried IS NULL) AS prompt
    FROM turns GROUP BY chat_session_id, turn
)
SELECT turn, count(*), sum(calls), sum(cost), quantile_disc(cost, 0.5), avg(prompt), quantile_cont(prompt, 0.5)
FROM per_turn GROUP BY turn
"""

DEAREST = """
SELECT chat_session_id, sum(total_price) AS cost, count(*) AS calls, min(create_time), max(create_time),
    count(*) FILTER (retried IS NULL), count(*) FILTER (status <> 'success'), count(total_price), sum(prompt_tokens),
    sum(completion_tokens), sum(total_tokens)
FROM '{path}' GROUP BY chat_session_id ORDER BY cost DESC NULLS LAST, calls DESC, chat_session_id LIMIT 100
"""

SUMMARY = """
WITH sessions AS (
    SELECT sum(total_price) AS cost, count(*) AS calls, count(*) FILTER (retried IS NULL) AS turns,
        count(*) FILTER (status <> 'success') AS errors,
        epoch_ms(max(create_time)) - epoch_ms(min(create_time)) AS lasted
    FROM '{path}' GROUP BY chat_session_id
)
SELECT count(*), sum(calls), sum(cost), max(cost), sum(errors), quantile_cont(turns, 0.5), max(turns),
    quantile_cont(lasted, 0.5), quantile_disc(cost, [0.5, 0.95])
FROM sessions
"""

CACHES = """
WITH around AS (
    SELECT model_name, prompt_tokens, cached_tokens, cache_write_tokens,
        max(prompt_tokens) OVER (same RANGE BETWEEN INTERVAL 5 MINUTES PRECEDING AND INTERVAL 1 MICROSECOND PRECEDING)
            AS sent,
        count(*) FILTER (cached_tokens > 0)
            OVER (same RANGE BETWEEN INTERVAL 1 MICROSECOND FOLLOWING AND INTERVAL 5 MINUTES FOLLOWING) AS reads
    FROM '{path}' WINDOW same AS (PARTITION BY model_name, chat_session_id ORDER BY create_time)
)
SELECT model_name, sum(cached_tokens), sum(cache_write_tokens), sum(cache_write_tokens) FILTER (reads = 0),
    sum(greatest(least(prompt_tokens, coalesce(sent, 0)) - cached_tokens, 0)),
    sum(CAST(cached_tokens * 2.7 AS DECIMAL(38, 10))) - sum(CAST(cache_write_tokens * 0.75 AS DECIMAL(38, 10)))
FROM around GROUP BY model_name
"""

PRICES = """currency = "USD"
[[prices]]
model = "model-*"
input = 3
cached = 0.3
cache_write = 3.75
cache_write_1h = 6
output = 15
"""


def of_sessions(calls: duckdb.DuckDBPyRelation) -> list[pl.DataFrame]:
    found = sessions(calls)
    return [
        found.turns.select("turn", "sessions", "calls", "cost"),
        found.dearest.select("chat_session_id", "cost", "calls"),
        found.summary.select("sessions", "calls", "cost", "session_cost_max"),
    ]


@pytest.mark.parametrize("question", ["waste", "sessions", "caches"])
def test_questions_beside_sql(
    question: str, ratios: Ratios, connection: duckdb.DuckDBPyConnection, parquet: Path, tmp_path: Path
) -> None:
    (tmp_path / "prices.toml").write_text(PRICES)
    calls, book = connection.read_parquet(str(parquet)), PriceBook.load(tmp_path / "prices.toml")
    asked: dict[str, tuple[Callable[[], list[pl.DataFrame]], list[str]]] = {
        "waste": (lambda: [waste(calls).select("model_name", "waste", "cost", "calls")], [WASTE]),
        "sessions": (lambda: of_sessions(calls), [TURNS, DEAREST, SUMMARY]),
        "caches": (
            lambda: [
                cache_savings(calls, book=book).select(
                    "model_name", "cached_tokens", "written_5m_tokens", "unread_tokens", "missed_tokens"
                )
            ],
            [CACHES],
        ),
    }
    ask, queries = asked[question]
    ways: dict[str, Callable[[], list[pl.DataFrame]]] = {
        "ours": ask,
        "sql": lambda: [connection.sql(sql.format(path=parquet)).pl() for sql in queries],
    }
    for ours, theirs in zip(ways["ours"](), ways["sql"](), strict=True):
        assert sorted(ours.rows()) == sorted(theirs[:, : ours.width].rows())
    if ratios.enabled:
        medians = timed(ways, {"ours": 3, "sql": 3})
        ratios.report(Ratio(f"{question} of {MANY:,} calls", medians["ours"], "SQL by hand", medians["sql"], GOAL))
