"""What was recorded, as much as a bill needs: sums by quarters of an hour, of which the days of any zone are made.

DuckDB adds up once; everything after works on that small frame. A call counts in the quarter in which it began. `late`
tells those that ended on the next day of UTC: providers may count these there.
"""

import re
from collections.abc import Mapping
from typing import Any

import duckdb
import polars as pl

from mofa_usage.audit.bills.models import provider_of
from mofa_usage.errors import UsageError
from mofa_usage.pricing.quotes import plain_tier
from mofa_usage.zones import DAY, MINUTE

__all__ = ["COLUMNS", "QUARTER", "recorded"]

QUARTER = 15 * MINUTE

COLUMNS = (
    *("create_time", "model_name", "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens"),
    *("cache_write_1h_tokens", "total_price", "currency", "latency_ms", "provider_name", "served_model"),
    *("service_tier", "operation", "token_source"),
)
"""The columns of calls that are looked at, as far as they are there."""

_NEEDED = ("create_time", "model_name", "prompt_tokens", "completion_tokens")
_SQL = """
SELECT epoch_us(create_time) // {quarter} AS quarter, provider_name, {model} AS model, operation, service_tier,
       currency, {late} AS late,
       CAST(count(*) AS BIGINT) AS calls,
       CAST(count(*) FILTER (WHERE {used}) AS BIGINT) AS used,
       CAST(count(*) FILTER (WHERE prompt_tokens IS NULL OR completion_tokens IS NULL) AS BIGINT) AS unknown,
       CAST(count(*) FILTER (WHERE total_price IS NULL AND {used}) AS BIGINT) AS unpriced,
       {sums},
       sum(CAST(total_price AS DECIMAL(38, 10))) AS cost
FROM those
WHERE epoch_us(create_time) >= {start} AND epoch_us(create_time) < {end}
GROUP BY ALL
"""
_NO_TEXT = re.compile("embeddings|image|audio|video|speech|transcri|translat|moderation|rerank")
_USED = "coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0) > 0"
_SUMS = {
    "uncached": "prompt_tokens - coalesce(cached_tokens, 0) - coalesce(cache_write_tokens, 0)",
    "cached": "cached_tokens",
    "written": "cache_write_tokens",
    "written_1h": "cache_write_1h_tokens",
    "output": "completion_tokens",
}


def recorded(calls: duckdb.DuckDBPyRelation, start: int, end: int) -> pl.DataFrame:
    """The calls of both providers that began in [start, end), in microseconds.

    Columns: `quarter` (of an hour, since the epoch), `provider`, `model` (that served), `kind` (of report), `tier`,
    `currency`, `late`, the counts `calls`, `used` (of which tokens are known, and some), `unknown` (of which they are
    not), `unpriced` (of which they are known and no price is), sums of tokens by kind (`written_1h` null where no
    lifetimes are recorded), and `cost`.

    Raises:
        UsageError: the calls lack a column that is needed.
    """
    if missing := [name for name in _NEEDED if name not in calls.columns]:
        raise UsageError(f"a bill is compared by day, model and tokens; these calls have no {', '.join(missing)}")
    absent = [name for name in COLUMNS if name not in calls.columns]
    types = {"total_price": "DECIMAL(38, 10)", "cached_tokens": "BIGINT", "cache_write_tokens": "BIGINT"}
    types |= {"cache_write_1h_tokens": "BIGINT", "latency_ms": "BIGINT"}
    given = ", ".join(
        [
            *(name for name in COLUMNS if name in calls.columns),
            *(f"CAST(NULL AS {types.get(name, 'VARCHAR')}) AS {name}" for name in absent),
        ]
    )
    query = _SQL.format(
        quarter=QUARTER,
        model="coalesce(served_model, model_name)",
        late=f"(epoch_us(create_time) + coalesce(latency_ms, 0) * 1000) // {DAY} > epoch_us(create_time) // {DAY}",
        used=_USED,
        sums=", ".join(f"CAST(sum({sql}) AS BIGINT) AS {name}" for name, sql in _SUMS.items()),
        start=start,
        end=end,
    )
    answer: Any = calls.project(given).query("those", query)
    return _named(pl.DataFrame(pl.from_arrow(answer.to_arrow_table())))


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """With whose bill the calls are on, the report they are in, and their tier by its plain name."""
    whose: Mapping[tuple[str | None, str], str | None] = {
        (name, model): provider_of(name, model)
        for name, model in frame.select("provider_name", "model").unique().rows()
    }
    pairs = frame.select("provider_name", "model").rows()
    operations = frame["operation"].to_list()
    return frame.with_columns(
        pl.Series("provider", [whose[pair] for pair in pairs], pl.String),
        pl.Series("kind", [_kind(operation) for operation in operations], pl.String),
        pl.Series("tier", [plain_tier(tier) for tier in frame["service_tier"]], pl.String),
    ).filter(pl.col("provider").is_not_null())


def _kind(operation: str | None) -> str:
    """The report that an operation is in; what is neither text nor vectors is in others."""
    if operation is None or not _NO_TEXT.match(operation):
        return "completions"
    return operation
