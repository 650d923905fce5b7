"""Where calls can come from: a database, an open store, Parquet files, somebody's frame or relation.

`open_source` makes `Calls` of any of them: the same three questions, whatever answers them. A database is read by a
connection of our own, also that of a store, whose pool stays free; the read path is synchronous and works in a script,
a notebook cell and inside a running event loop alike.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from mofa_usage.databases import FLAVOURS, DatabaseCalls
from mofa_usage.errors import StoreConnectionError, UsageError, require
from mofa_usage.frames import CALL_COLUMNS, NAME_COLUMNS, CallColumn, normalise, origin
from mofa_usage.progress import is_watched, progress_bar
from mofa_usage.readers import MySqlServer, PostgresServer, SqliteFile
from mofa_usage.records import Agent, LLMApiCall, Provider
from mofa_usage.relations import RelationCalls, open_parquet
from mofa_usage.schema import Kind, write_json
from mofa_usage.selection import Selection, offered
from mofa_usage.stores.base import Store
from mofa_usage.urls import MEMORY_PATH, DatabaseUrl, parse_url

require("polars", extra="analysis")
import duckdb  # noqa: E402
import polars as pl  # noqa: E402

__all__ = ["Calls", "FrameCalls", "Source", "open_source", "watched"]

Source: TypeAlias = "str | Path | Store | pl.DataFrame | pl.LazyFrame | duckdb.DuckDBPyRelation"
"""A database URL, an open store, a Parquet file, folder or pattern, a Polars frame or a DuckDB relation."""

_DATABASE_URL = re.compile(r"(postgres(ql)?|mysql|mariadb|sqlite|memory)(\+\w+)?:", re.IGNORECASE)
_QUIET_SECONDS = 1.0


class Calls(Protocol):
    """Calls, wherever they are."""

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """The columns that the frame will have.

        Raises:
            UsageError: one was asked for that is not there.
        """
        ...

    def count(self, selection: Selection) -> int:
        """How many calls are selected."""
        ...

    def batches(self, selection: Selection, *, by_time: bool = False) -> Iterator[pl.DataFrame]:
        """The selected calls, normalised, in at least one batch.

        `by_time`: in ascending order of create_time, to the second (within one, the order is the source's).
        """
        ...


def open_source(source: Source) -> Calls:
    """The calls in a source.

    Raises:
        StoreConnectionError: a database that is not there or does not let us in, a store that is closed.
        UsageError: something that holds no calls, or is no source.
    """
    if isinstance(source, str) and (_DATABASE_URL.match(source) or "://" in source):
        address = parse_url(source)
        if address.backend == "memory" or address.url.database == MEMORY_PATH:
            raise UsageError(f"{source} would be a new, empty database: give the open store instead of its URL")
        return _open_database(address)
    if isinstance(source, str | Path):
        if Path(source).suffix in (".db", ".sqlite", ".sqlite3"):
            raise UsageError(f"{source} is taken for a Parquet file; the URL of a SQLite database is sqlite:{source}")
        return open_parquet(source)
    if isinstance(source, Store):
        return _open_store(source)
    if isinstance(source, duckdb.DuckDBPyRelation):
        return RelationCalls(lambda tz: source)
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return FrameCalls(source)
    raise UsageError(
        f"a {type(source).__name__} is no source of calls; give a database URL, an open store, a Parquet path, "
        "a Polars frame or a DuckDB relation"
    )


def _open_database(address: DatabaseUrl) -> Calls:
    flavour = FLAVOURS[address.backend]
    if address.backend == "sqlite":
        return DatabaseCalls(SqliteFile(address.url.database or ""), flavour)
    server = PostgresServer if address.backend == "postgres" else MySqlServer
    return DatabaseCalls(server(address), flavour)


def _open_store(store: Any) -> Calls:
    if not store.is_connected:
        raise StoreConnectionError("the store is closed")
    if store.backend_name == "memory":
        return FrameCalls(_frame_of(*store.snapshot()))
    if store.url.database == MEMORY_PATH:
        connect = partial(sqlite3.connect, store.path, uri=True, check_same_thread=False, timeout=30.0)
        return DatabaseCalls(SqliteFile(store.path, connect), FLAVOURS["sqlite"])
    return _open_database(DatabaseUrl(store.backend_name, store.url))


class FrameCalls:
    """The calls of a Polars frame. A lazy one is collected for each question, with what it needs."""

    def __init__(self, frame: pl.DataFrame | pl.LazyFrame) -> None:
        self._frame = frame.lazy()
        self._schema = self._frame.collect_schema()

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """See `Calls`."""
        return offered(self._schema.names(), selection)

    def count(self, selection: Selection) -> int:
        """See `Calls`."""
        return self._selected(selection, ()).height

    def batches(self, selection: Selection, *, by_time: bool = False) -> Iterator[pl.DataFrame]:
        """See `Calls`."""
        columns = self.columns(selection)
        calls = self._selected(selection, (*columns, *(["create_time"] if by_time else [])))
        yield (calls.sort("create_time") if by_time else calls).select(columns)

    def _selected(self, selection: Selection, columns: Sequence[str]) -> pl.DataFrame:
        given = self._schema.names()
        # The id names a call in errors, and no update_time is before the create_time.
        beside = [name for name in ("id", "create_time") if name in given]
        needed = list(dict.fromkeys((*columns, *selection.conditions, *beside)))
        sources = (origin(name, given) for name in needed)
        rows = self._frame.select(list(dict.fromkeys(source for source in sources if source is not None))).collect()
        return selection.apply(normalise(rows, needed))


def _frame_of(calls: Sequence[LLMApiCall], agents: Sequence[Agent], providers: Sequence[Provider]) -> pl.DataFrame:
    """Records as a frame with every column."""
    provider_names = {provider.id: provider.provider_name for provider in providers}
    names = {agent.id: (agent.agent_code, agent.agent_name, provider_names.get(agent.provider_id)) for agent in agents}
    columns = [
        pl.Series(column.name, [_value_of(call, column) for call in calls], dtype=column.dtype)
        for column in CALL_COLUMNS.values()
        if column.source is not None
    ]
    named = [names.get(call.agent_id, (None, None, None)) for call in calls]
    beside = pl.DataFrame(named, schema=dict.fromkeys(NAME_COLUMNS, pl.String), orient="row")
    return pl.DataFrame(columns).hstack(beside)


def _value_of(call: LLMApiCall, column: CallColumn) -> Any:
    value = getattr(call, column.source or "")
    if value is None:
        return None
    if column.key is not None:
        return getattr(value, column.key)
    if column.kind is Kind.JSON:
        return write_json(value)
    return str(value) if column.kind in (Kind.ID, Kind.NAME) else value


def watched(
    batches: Iterator[pl.DataFrame], title: str, count: Callable[[], int], progress: bool | None
) -> Iterator[pl.DataFrame]:
    """The batches, with a progress bar once they have taken a second and if somebody watches.

    Counting the calls may take a while itself, so it happens beside the reading; the bar begins when it is done.
    """
    begun = time.monotonic()
    done = 0
    counting: Future[int] | None = None
    advance: Callable[[int, str], None] | None = None
    with ExitStack() as shown:
        for batch in batches:
            done += batch.height
            if counting is None and time.monotonic() - begun > _QUIET_SECONDS and is_watched(progress):
                counting = shown.enter_context(ThreadPoolExecutor(1)).submit(count)
            if counting is not None and advance is None and counting.done():
                advance = shown.enter_context(progress_bar(title, counting.result(), progress))
            if advance is not None:
                advance(done, f"{done:,} calls")
            yield batch
