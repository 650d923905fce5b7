"""Calls that are there twice, and calls whose numbers contradict each other.

First the hashes of the calls' keys are compared, eight bytes for each key of a call: only where one occurs twice are
calls looked at closely, so that clean data costs one pass over the columns.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

from mofa_usage.reading.columns import NIL, quoted
from mofa_usage.reading.relation import told
from mofa_usage.zones import microseconds, utc

__all__ = ["Found", "contradictions", "doubles"]


@dataclass(frozen=True, slots=True)
class Found:
    """How many calls of a model something is the matter with, and when the first of them was made."""

    kind: str
    model: str | None
    calls: int
    first: datetime | None


_SAME = (
    *("model_name", "create_time", "status", "prompt_tokens", "completion_tokens", "latency_ms"),
    *("chat_session_id", "user_id", "agent_id", "request_message_id"),
)
"""What two calls have alike that are one, as far as the frame has it."""


_LISTED = 10_000
"""Of more hashes that occur twice DuckDB looks for them itself again."""


@dataclass(frozen=True, slots=True)
class _Key:
    """What tells calls apart: columns, which calls have it, and how many calls those of one key are, as SQL."""

    columns: tuple[str, ...]
    known: str
    number: str = "count(DISTINCT id)"

    @property
    def sql(self) -> str:
        return ", ".join(map(quoted, self.columns))


def _keys(columns: Collection[str]) -> Iterator[tuple[str, _Key]]:
    """By the kind of the finding, as far as there are the columns."""
    number = "count(DISTINCT id)" if "id" in columns else "count(*)"
    if "id" in columns:
        yield "duplicate_id", _Key(("id",), f"id IS NOT NULL AND id <> '{NIL}'", "count(*)")
    if "api_response_id" in columns:
        yield "duplicate_response", _Key(("api_response_id",), "api_response_id <> ''", number)
    if {"id", "model_name", "create_time", "prompt_tokens", "completion_tokens"} <= set(columns):
        # Those that the provider tells apart are different calls, however alike.
        unnamed = ["coalesce(api_response_id, '') = ''"] if "api_response_id" in columns else []
        known = " AND ".join(["prompt_tokens + completion_tokens > 0", *unnamed])
        yield "alike", _Key(tuple(name for name in _SAME if name in columns), known, number)


def doubles(calls: duckdb.DuckDBPyRelation) -> Iterator[Found]:
    """Calls beyond the first that have the same id, the same id of the provider's, or the same of everything."""
    keys = dict(_keys(calls.columns))
    if not keys:
        return
    hashes = ", ".join(f"CASE WHEN {key.known} THEN hash({key.sql}) END AS {kind}" for kind, key in keys.items())
    with told():
        table = pl.DataFrame(pl.from_arrow(calls.project(hashes).to_arrow_table()))
        for kind, key in keys.items():
            hashed = table[kind].drop_nulls().sort()
            twice = hashed.filter(hashed == hashed.shift(1)).unique().sort()
            if len(twice):
                yield from _repeated(calls, kind, key, twice)


def _repeated(calls: duckdb.DuckDBPyRelation, kind: str, key: _Key, twice: pl.Series) -> Iterator[Found]:
    """Calls beyond the first of each key, by model, among those of these hashes, which different keys may share."""
    model = "model_name" if "model_name" in calls.columns else "NULL"
    first = "epoch_us(min(create_time))" if "create_time" in calls.columns else "NULL"
    hashes = f"SELECT hash({key.sql}) AS h FROM calls_to_compare WHERE {key.known} GROUP BY h HAVING count(*) > 1"  # noqa: S608
    if len(twice) <= _LISTED:
        hashes = f"SELECT unnest([{', '.join(map(str, twice))}]::UBIGINT[]) AS h"
    query = f"""
        WITH often AS ({hashes}), alike AS (
            SELECT min({model}) AS model, {first} AS first, {key.number} AS number
            FROM calls_to_compare WHERE {key.known} AND hash({key.sql}) IN (SELECT h FROM often)
            GROUP BY {key.sql} HAVING {key.number} > 1
        )
        SELECT model, CAST(sum(number - 1) AS BIGINT), min(first) FROM alike GROUP BY model ORDER BY model
    """  # noqa: S608 (our words)
    for name, surplus, at in _rows(calls, query):
        yield Found(kind, name, surplus, None if at is None else utc(at))


def _rows(calls: duckdb.DuckDBPyRelation, query: str) -> list[Any]:
    found: Any = calls.query("calls_to_compare", query)
    rows: list[Any] = found.fetchall()
    return rows


_WRONG = {
    "contradictory_total": ("total_tokens", "prompt_tokens", "completion_tokens"),
    "contradictory_details": ("cached_tokens", "prompt_tokens"),
    "contradictory_reasoning": ("reasoning_tokens", "completion_tokens"),
    "contradictory_latency": ("time_to_first_token_ms", "latency_ms"),
}
"""A number with those that it is the sum of, or is not above."""

_NEVER_BELOW_ZERO = {name for parts in _WRONG.values() for name in parts}


def contradictions(calls: duckdb.DuckDBPyRelation, now: datetime) -> Iterator[Found]:
    """Calls whose numbers cannot all be true, and calls that are made only after `now`."""
    columns = set(calls.columns)
    wrong = {
        kind: f"{parts[0]} <> {parts[1]} + {parts[2]}" if len(parts) == 3 else f"{parts[0]} > {parts[1]}"
        for kind, parts in _WRONG.items()
        if columns.issuperset(parts)
    }
    if there := sorted(columns & _NEVER_BELOW_ZERO):
        wrong["negative"] = " OR ".join(f"{name} < 0" for name in there)
    at = "NULL"
    if "create_time" in columns:
        at, wrong["future"] = "epoch_us(create_time)", f"create_time > make_timestamptz({microseconds(now)})"
    if not wrong:
        return
    counted = ", ".join(f"count(*) FILTER ({rule}), min({at}) FILTER ({rule})" for rule in wrong.values())
    by = "model_name" if "model_name" in columns else "NULL"
    # Nearly no call is wrong, and to look whether any rule fits takes a third of counting for each rule.
    some = " OR ".join(f"({rule})" for rule in wrong.values())
    query = f"SELECT {by} AS model, {counted} FROM calls_to_compare WHERE {some} GROUP BY ALL ORDER BY model"  # noqa: S608
    for model, *values in _rows(calls, query):
        for place, kind in enumerate(wrong):
            number, first = values[2 * place : 2 * place + 2]
            if number:
                yield Found(kind, model, number, None if first is None else utc(first))
