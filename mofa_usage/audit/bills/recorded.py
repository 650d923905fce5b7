"""What was recorded, as much as a bill needs: sums by quarters of an hour, of which the days of any zone are made.

DuckDB adds up once; everything after works on that small frame. A call counts in the quarter in which it began. `late`
tells those that ended on the next day of UTC: providers may count these there.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import duckdb
import polars as pl

from mofa_usage.audit.bills.models import provider_of
from mofa_usage.errors import UsageError
from mofa_usage.pricing.quotes import plain_tier
from mofa_usage.reading.columns import created_in
from mofa_usage.zones import DAY, MINUTE, utc

__all__ = ["COLUMNS", "QUARTER", "recorded"]

QUARTER = 15 * MINUTE

COLUMNS = (
    *("create_time", "model_name", "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens"),
    *("cache_write_1h_tokens", "total_price", "currency", "latency_ms", "provider_name", "served_model"),
    *("service_tier", "operation", "token_source"),
)
"""The columns of calls that are looked at, as far as they are there."""

_NEEDED = ("create_time", "model_name", "prompt_tokens", "completion_tokens")
_KEYS = ("provider_name", "operation", "service_tier", "currency")
_NO_TEXT = re.compile("embeddings|image|audio|video|speech|transcri|translat|moderation|rerank")
_USED = "coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0) > 0"
_SUMS = {"cached": "cached_tokens", "written": "cache_write_tokens", "written_1h": "cache_write_1h_tokens"}


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
    chosen, absent = _chosen(calls.columns)
    answer: Any = calls.filter(" AND ".join(created_in(utc(start), utc(end)))).aggregate(
        ", ".join(f"{sql} AS {name}" for name, sql in chosen.items())
    )
    frame = pl.DataFrame(pl.from_arrow(answer.to_arrow_table()))
    return _named(frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in absent.items()))


def _chosen(given: Collection[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """What is asked for, as SQL by its name; and what cannot be, with its type: a null key takes time for every call.

    Sums are exact whatever a Parquet file has: counts as whole numbers of 64 bits, money as a decimal.
    """
    lacking: dict[str, Any] = {name: pl.String() for name in _KEYS if name not in given}
    lacking |= {name: pl.Int64() for name, column in _SUMS.items() if column not in given}
    is_priced, parts = (
        "total_price" in given,
        [name for name in ("cached_tokens", "cache_write_tokens") if name in given],
    )
    uncached = " - ".join(["prompt_tokens", *(f"coalesce({name}, 0)" for name in parts)])
    sums = {"uncached": uncached, **{name: one for name, one in _SUMS.items() if one in given}}
    sums["output"] = "completion_tokens"
    ended = f"epoch_us(create_time) % {DAY} + coalesce(latency_ms, 0) * 1000 >= {DAY}"
    unpriced = f"{_USED}{' AND total_price IS NULL' if is_priced else ''}"
    chosen = {
        "quarter": f"epoch_us(create_time) // {QUARTER}",
        **{name: name for name in _KEYS if name in given},
        "model": "coalesce(served_model, model_name)" if "served_model" in given else "model_name",
        "late": ended if "latency_ms" in given else "false",
        "calls": "CAST(count(*) AS BIGINT)",
        "used": _number(_USED),
        "unknown": "CAST(count(*) - count(prompt_tokens + completion_tokens) AS BIGINT)",
        "unpriced": _number(unpriced),
        **{name: f"CAST(sum({sql}) AS BIGINT)" for name, sql in sums.items()},
        "cost": "sum(CAST(total_price AS DECIMAL(38, 10)))" if is_priced else "CAST(NULL AS DECIMAL(38, 10))",
    }
    return chosen, lacking


def _number(condition: str) -> str:
    """How many calls meet it, as SQL; a filter of a count takes three times as long."""
    return f"CAST(sum(CAST({condition} AS INTEGER)) AS BIGINT)"


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
