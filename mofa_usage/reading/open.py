"""Where calls can come from: a database, an open store, Parquet files, somebody's frame or relation.

`open_source` makes `Calls` of any of them: the same three questions, whatever answers them. A database is read by a
connection of our own, also that of a store, whose pool stays free; the read path is synchronous and works in a script,
a notebook cell and inside a running event loop alike.
"""

import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from mofa_usage.errors import StoreConnectionError, UsageError, require
from mofa_usage.reading.database import FLAVOURS, DatabaseCalls
from mofa_usage.reading.drivers import MySqlServer, PostgresServer, SqliteFile
from mofa_usage.reading.frame import FrameCalls, frame_of_records
from mofa_usage.reading.relation import RelationCalls, open_parquet
from mofa_usage.reading.selection import Selection
from mofa_usage.stores.base import Store
from mofa_usage.urls import KNOWN_URLS, MEMORY_PATH, DatabaseUrl, backend_of, parse_url

require("polars", extra="analysis")
import duckdb  # noqa: E402
import polars as pl  # noqa: E402

__all__ = ["Calls", "Source", "open_source"]

Source: TypeAlias = "str | Path | Store | pl.DataFrame | pl.LazyFrame | duckdb.DuckDBPyRelation"
"""A database URL, an open store, a Parquet file, folder or pattern, a Polars frame or a DuckDB relation."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class Calls(Protocol):
    """Calls, wherever they are."""

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """The columns that the frame will have.

        Raises:
            UsageError: one was asked for that is not there.
        """
        ...

    def count(self, selection: Selection) -> int | None:
        """How many calls are selected; None where asking would disturb a reading that is under way."""
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
    if isinstance(source, str) and backend_of(source):
        address = parse_url(source)
        if address.backend == "memory" or address.url.database == MEMORY_PATH:
            raise UsageError(f"{source} would be a new, empty database: give the open store instead of its URL")
        return _open_database(address)
    if isinstance(source, str) and (place := _ELSEWHERE.match(source)):
        raise UsageError(
            f"what begins with {place[0]} is neither a path nor a database URL; a database URL begins with {KNOWN_URLS}"
        )
    if isinstance(source, str | Path):
        if Path(source).suffix in (".db", ".sqlite", ".sqlite3"):
            raise UsageError(f"{source} is taken for a Parquet file; the URL of a SQLite database is sqlite:{source}")
        return open_parquet(source)
    if isinstance(source, Store):
        return _open_store(source)
    if isinstance(source, duckdb.DuckDBPyRelation):
        return RelationCalls(lambda tz: source, borrowed=True)
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return FrameCalls(source)
    raise UsageError(
        f"a {type(source).__name__} is no source of calls; give a database URL, an open store, a Parquet path, "
        "a Polars frame or a DuckDB relation"
    )


def _open_database(address: DatabaseUrl) -> Calls:
    address, flavour = address.located(), FLAVOURS[address.backend]
    if address.backend == "sqlite":
        return DatabaseCalls(SqliteFile(address.url.database or ""), flavour)
    server = PostgresServer if address.backend == "postgres" else MySqlServer
    return DatabaseCalls(server(address), flavour)


def _open_store(store: Any) -> Calls:
    if not store.is_connected:
        raise StoreConnectionError("the store is closed")
    if store.backend_name == "memory":
        return FrameCalls(frame_of_records(*store.snapshot()))
    if store.url.database == MEMORY_PATH:
        connect = partial(sqlite3.connect, store.path, uri=True, check_same_thread=False, timeout=30.0)
        return DatabaseCalls(SqliteFile(store.path, connect), FLAVOURS["sqlite"])
    return _open_database(DatabaseUrl(store.backend_name, store.url))
