"""A bill against 10 million calls in Parquet, beside DuckDB SQL that sums them up by day and model as the bill does.

Run with `pytest tests/benchmarks/test_reconcile.py --benchmark-enable`. Without that the same runs on 20,000 calls, as
a test that a bill made of the sums by hand agrees with the calls. Ours sums up by quarters of an hour, of which the
days of any clock can be made, tells calls apart that went on over midnight or say nothing of their tokens, and reads
the bill. It took 1.6 times as long, a second at most; the goal is that this does not get worse.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mofa_usage.audit.bills import reconcile
from tests.benchmarks.ratios import Ratio, Ratios, timed

MANY, FEW = 10_000_000, 20_000
GOAL = 1.8
DAYS = 30
GENERATE = """
COPY (
    SELECT ['gpt-4o-2024-08-06', 'o3-2025-04-16', 'gpt-4o-mini-2024-07-18'][1 + CAST(hash(i) % 3 AS INT)] AS model_name,
           CAST(200 + hash(i * 3) % 4000 AS BIGINT) AS prompt_tokens,
           CAST(10 + hash(i * 5) % 800 AS BIGINT) AS completion_tokens,
           CAST(hash(i * 11) % 200 AS BIGINT) AS cached_tokens,
           CAST(hash(i * 17) % 10000000 AS DECIMAL(38, 10)) / 1000000000::DECIMAL(38, 10) AS total_price,
           'USD' AS currency,
           CAST(hash(i * 19) % 900 AS BIGINT) AS latency_ms,
           TIMESTAMPTZ '2026-05-01 00:00:00+00' + to_microseconds(CAST(i * {step} AS BIGINT)) AS create_time
    FROM range({rows}) calls (i)
) TO '{path}' (COMPRESSION zstd, ROW_GROUP_SIZE 122880)
"""
BY_HAND = """
SELECT epoch_us(create_time) // 86400000000 AS day, model_name, count(*), sum(prompt_tokens), sum(cached_tokens),
       sum(completion_tokens), sum(total_price)
FROM '{path}' GROUP BY ALL ORDER BY ALL
"""


def test_reconcile(request: pytest.FixtureRequest, ratios: Ratios, tmp_path: Path) -> None:
    rows = MANY if request.config.getoption("benchmark_enable") else FEW
    path = tmp_path / "calls.parquet"
    duckdb.connect().execute(GENERATE.format(rows=rows, step=DAYS * 86_400_000_000 // rows, path=path))
    calls = duckdb.connect().read_parquet(str(path))

    def by_hand() -> list[Any]:
        return list(duckdb.connect().sql(BY_HAND.format(path=path)).fetchall())

    page = _page(by_hand())
    found = reconcile(calls, [page])
    assert found.is_clean
    assert found.by_day["requests_recorded"].sum() == rows
    if ratios.enabled:
        medians = timed({"ours": lambda: reconcile(calls, [page]), "by hand": by_hand}, {"ours": 3, "by hand": 3})
        ratios.report(Ratio(f"a bill of {MANY:,} calls", medians["ours"], "SQL by hand", medians["by hand"], GOAL))


def _page(sums: list[Any]) -> dict[str, Any]:
    """The sums as a page of OpenAI's report of usage."""
    buckets = []
    for day in sorted({row[0] for row in sums}):
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
        results = [
            {
                **{"object": "organization.usage.completions.result", "model": model, "batch": False},
                **{"num_model_requests": calls, "input_tokens": int(prompt), "input_cached_tokens": int(cached)},
                **{"output_tokens": int(output), "input_audio_tokens": 0, "output_audio_tokens": 0},
                **dict.fromkeys(("project_id", "user_id", "api_key_id")),
                "service_tier": "default",
            }
            for at, model, calls, prompt, cached, output, _ in sums
            if at == day
        ]
        times = {"start_time": int(start.timestamp()), "end_time": int(start.timestamp()) + 86_400}
        buckets.append({"object": "bucket", **times, "results": results})
    return {"object": "page", "data": buckets, "has_more": False, "next_page": None}
