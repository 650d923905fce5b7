"""How many messages and tool calls each session has, wherever the messages are.

They are read in batches, and of each batch only the numbers of its sessions are kept, so that memory is that of the
sessions. No text of a message is in the answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.drivers import StoredColumn
from mofa_usage.reading.open import ArrowStream, database_of, frame_of_arrow, is_in_memory
from mofa_usage.records import LLMMessage, MessageRole
from mofa_usage.schema import LLM_MESSAGE
from mofa_usage.stores.base import Store
from mofa_usage.urls import backend_of

require("polars", extra="analysis")
require("duckdb", extra="analysis")
import duckdb  # noqa: E402
import polars as pl  # noqa: E402

__all__ = ["COUNTS", "Messages", "count_messages"]

Messages: TypeAlias = "str | Store | pl.DataFrame | ArrowStream | Sequence[LLMMessage]"
"""A database URL, an open store, a frame with `chat_session_id`, `role` and `content` (JSON text), or records."""

COUNTS = ("messages", *(f"{role}_messages" for role in MessageRole), "tool_calls", "tool_errors")
"""The numbers that there are of each session."""

_COLUMNS = ("chat_session_id", "role", "content")
_MANY = 500_000
"""So many rows of batches are kept before they are added up."""

_COUNTED = f"""
    SELECT lower(CAST(chat_session_id AS VARCHAR)) AS chat_session_id, count(*) AS messages,
        {", ".join(f"count(*) FILTER (role = '{role}') AS {role}_messages" for role in MessageRole)},
        CAST(sum(coalesce(json_array_length(said, '$.tool_calls'), 0)) AS BIGINT) AS tool_calls,
        count(*) FILTER (json_extract_string(said, '$.tool_result.is_error') = 'true') AS tool_errors
    FROM (
        SELECT *, CASE WHEN json_valid(CAST(content AS VARCHAR)) THEN CAST(content AS VARCHAR) END AS said FROM batch
    ) AS batch
    GROUP BY ALL
"""  # noqa: S608 (no text of anybody)


def count_messages(source: Messages) -> pl.DataFrame:
    """A row for each session that has messages: `chat_session_id` (text) and the numbers of `COUNTS` (Int64).

    Raises:
        UsageError: it is no source of messages, or lacks a column.
        StoreConnectionError, QueryError: as reading calls.
    """
    found: list[pl.DataFrame] = []
    with duckdb.connect() as database:
        for batch in _batches(source):
            database.register("batch", batch)
            found.append(pl.DataFrame(pl.from_arrow(database.sql(_COUNTED).to_arrow_table())))
            if sum(part.height for part in found) > _MANY:
                found = [_added(found)]
    return _added(found)


def _added(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by("chat_session_id").agg(pl.col(COUNTS).sum())


def _batches(source: Any) -> Iterator[pl.DataFrame]:
    """The messages, at least one batch of them."""
    if isinstance(source, Store) and is_in_memory(source):
        source = source.records(LLMMessage)  # type: ignore[attr-defined]  # that one has them
    if isinstance(source, Store) or (isinstance(source, str) and backend_of(source)):
        yield from _stored(source)
        return
    if isinstance(source, pl.DataFrame):
        frame = source
    elif hasattr(source, "__arrow_c_stream__"):
        frame = frame_of_arrow(source)
    elif isinstance(source, Sequence) and all(isinstance(one, LLMMessage) for one in source):
        rows = [(str(one.chat_session_id), str(one.role), one.content.model_dump_json()) for one in source]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(_COLUMNS, pl.String), orient="row")
    else:
        raise UsageError(
            f"a {type(source).__name__} is no source of messages; give a database URL, an open store, a frame with "
            f"{', '.join(_COLUMNS)}, or a list of messages"
        )
    if missing := [name for name in _COLUMNS if name not in frame.columns]:
        raise UsageError(f"the frame of messages has no column {missing[0]!r}; it needs {', '.join(_COLUMNS)}")
    yield frame.select(_COLUMNS)


def _stored(source: Any) -> Iterator[pl.DataFrame]:
    """The messages of a database."""
    reader, flavour = database_of(source)
    table, kinds = LLM_MESSAGE.table.name, LLM_MESSAGE.kinds
    declared = reader.columns(table)
    if not declared:
        raise UsageError(f"{reader} has no table {table}; a store makes it when it connects")
    reads = ", ".join(flavour.read(name, kinds[name], declared[name]) for name in _COLUMNS)
    statement = f"SELECT {reads} FROM {table}"  # noqa: S608
    yield from reader.stream([statement], [StoredColumn(name, kinds[name], declared[name]) for name in _COLUMNS])
