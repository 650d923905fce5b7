"""Where calls can come from: a database, an open store, Parquet files, a warehouse, somebody's frame or relation.

`open_source` makes `Calls` of any of them: the same three questions, whatever answers them. A database is read by a
connection of our own, also that of a store, whose pool stays free; the read path is synchronous and works in a script,
a notebook cell and inside a running event loop alike.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from mofa_usage.errors import StoreConnectionError, UsageError, require
from mofa_usage.reading.database import FLAVOURS, DatabaseCalls, SqlFlavour
from mofa_usage.reading.delta import is_warehouse
from mofa_usage.reading.drivers import MySqlServer, PostgresServer, Reader, SqliteFile
from mofa_usage.reading.exact import Leeway
from mofa_usage.reading.frame import FrameCalls, frame_of_records
from mofa_usage.reading.object_files import open_objects
from mofa_usage.reading.object_stores import StorageOptions, is_object_url
from mofa_usage.reading.places import local_path
from mofa_usage.reading.relation import RelationCalls, open_parquet
from mofa_usage.reading.selection import Selection
from mofa_usage.reading.spark import SparkCalls
from mofa_usage.reading.spark_frames import SparkFrame, is_spark
from mofa_usage.reading.warehouse import open_warehouse
from mofa_usage.stores.base import Store
from mofa_usage.urls import KNOWN_URLS, MEMORY_PATH, DatabaseUrl, backend_of, parse_url

require("polars", extra="analysis")
import duckdb  # noqa: E402
import polars as pl  # noqa: E402

__all__ = ["ArrowStream", "Calls", "Source", "database_of", "frame_of_arrow", "is_in_memory", "open_source"]


class ArrowStream(Protocol):
    """What gives Arrow data by the PyCapsule interface: frames of pandas, Arrow tables and readers, and many more."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """See Arrow's documentation."""
        ...


Source: TypeAlias = (
    "str | Path | Store | pl.DataFrame | pl.LazyFrame | duckdb.DuckDBPyRelation | SparkFrame | ArrowStream"
)
"""A database URL, an open store, a Parquet file, folder or pattern, the URL of those in an object store, the folder of
a warehouse, a frame of Polars or Spark, a DuckDB relation, or what gives Arrow data, like a frame of pandas."""

_TEXTS = {".csv", ".tsv", ".json", ".jsonl", ".ndjson"}
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")  # as pandas writes it
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LIKE_A_URL = re.compile(r"://|:[^/]*@|password=", re.IGNORECASE)


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

    def rounded_prices(self, selection: Selection) -> int:
        """How many prices of the selected calls are rounded because that was asked for."""
        ...


def open_source(
    source: Source,
    mapping: Mapping[str, str | None] | None = None,
    *,
    round_prices: bool = False,
    storage_options: StorageOptions | None = None,
) -> Calls:
    """The calls in a source.

    Args:
        source: where they are.
        mapping: field -> column, where the column's name does not tell; a database's tables need none.
        round_prices: round prices of more than ten places; those of a database, which may be doubles, always are.
        storage_options: of an object store.

    Raises:
        StoreConnectionError: a database that is not there or does not let us in, a store that is closed.
        UsageError: something that holds no calls, or is no source.
    """
    leeway, named = Leeway(round_prices=round_prices), mapping or {}
    if storage_options and not is_object_url(source):
        raise UsageError("storage options are for the URL of an object store: s3://bucket/folder")
    if named and (isinstance(source, Store) or (isinstance(source, str) and backend_of(source))):
        raise UsageError("mapping is for files and frames; the columns of a database's tables are known")
    if isinstance(source, str) and backend_of(source):
        return DatabaseCalls(*database_of(source))
    if is_object_url(source):
        if is_warehouse(str(source), storage_options):
            return _warehouse(str(source), named, storage_options)
        return open_objects(str(source), leeway, named, storage_options)
    if isinstance(source, str) and source.lower().startswith("file://"):
        source = local_path(source)
    if isinstance(source, str) and (place := _ELSEWHERE.match(source)):
        raise UsageError(
            f"what begins with {place[0]} is neither a path nor a database URL; a database URL begins with "
            f"{KNOWN_URLS}; that of an object store with s3://"
        )
    if isinstance(source, str) and _LIKE_A_URL.search(source) and not Path(source).exists():
        # It is not repeated, since it may hold a password.
        raise UsageError(f"that is no file, nor a URL that can be read; a database URL begins with {KNOWN_URLS}")
    if isinstance(source, str | Path):
        if Path(source).suffix in (".db", ".sqlite", ".sqlite3"):
            raise UsageError(f"{source} is taken for a Parquet file; the URL of a SQLite database is sqlite:{source}")
        if set(Path(source).suffixes) & _TEXTS:
            raise UsageError(
                f"{source} is taken for a Parquet file; CSV and JSON are imported into a database: mofa-usage import "
                f"{source} --url sqlite:usage.db, or import_calls"
            )
        if is_warehouse(source):
            return _warehouse(str(local_path(source)), named)
        return open_parquet(source, leeway, named)
    if isinstance(source, Store):
        return _open_store(source)
    if isinstance(source, duckdb.DuckDBPyRelation):
        return RelationCalls(lambda tz: source, leeway, named, borrowed=True)
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return FrameCalls(source, leeway, named)
    if is_spark(source):  # which gives Arrow data, too: all of it, here
        return SparkCalls(source, leeway, named)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        return FrameCalls(frame_of_arrow(source), leeway, named)
    raise UsageError(
        f"a {type(source).__name__} is no source of calls; give a database URL, an open store, a Parquet path, "
        "a frame of Polars, pandas or Spark, an Arrow table or a DuckDB relation"
    )


def _warehouse(path: str, mapping: Mapping[str, str | None], options: StorageOptions | None = None) -> Calls:
    if mapping:
        raise UsageError(f"{path} is a warehouse, whose columns are known; mapping is for files and frames")
    return open_warehouse(path.rstrip("/"), options or {})


class _Capsule:
    """Only the Arrow data of an object: Polars would take a pandas frame for one, and leave out its index."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._source.__arrow_c_stream__(requested_schema)


def frame_of_arrow(source: Any) -> pl.DataFrame:
    """The frame that an object gives as Arrow data. An index of pandas that has a name is a column.

    Raises:
        UsageError: it gives none; pandas does not for objects of several kinds in one column.
    """
    try:
        frame = pl.DataFrame(_Capsule(source) if hasattr(source, "__arrow_c_stream__") else source)
    except Exception as error:
        raise UsageError(f"the {type(source).__name__} cannot be read as Arrow data: {error}") from error
    return frame.drop(name for name in frame.columns if _UNNAMED_INDEX.fullmatch(name))


def database_of(source: Any) -> tuple[Reader, SqlFlavour]:
    """What reads the database of a URL or of an open store, and how that is asked; not of one that is in memory only.

    Raises:
        StoreConnectionError: it is not there or does not let us in, or the store is closed.
        UsageError: the URL would be a new, empty database.
    """
    if isinstance(source, Store):
        return _database_of_store(source)
    address = parse_url(source)
    if address.backend == "memory" or address.url.database == MEMORY_PATH:
        named = "memory:" if address.backend == "memory" else f"sqlite:{MEMORY_PATH}"
        raise UsageError(f"{named} would be a new, empty database: give the open store instead of its URL")
    return _located(address)


def _located(address: DatabaseUrl) -> tuple[Reader, SqlFlavour]:
    address, flavour = address.located(), FLAVOURS[address.backend]
    if address.backend == "sqlite":
        return SqliteFile(address.url.database or ""), flavour
    server = PostgresServer if address.backend == "postgres" else MySqlServer
    return server(address), flavour


def _database_of_store(store: Any) -> tuple[Reader, SqlFlavour]:
    if not store.is_connected:
        raise StoreConnectionError("the store is closed")
    if store.url.database == MEMORY_PATH:
        connect = partial(sqlite3.connect, store.path, uri=True, check_same_thread=False, timeout=30.0)
        return SqliteFile(store.path, connect), FLAVOURS["sqlite"]
    return _located(DatabaseUrl(store.backend_name, store.url))


def is_in_memory(store: Any) -> bool:
    """Whether a store has no database behind it.

    Raises:
        StoreConnectionError: it is closed.
    """
    if not store.is_connected:
        raise StoreConnectionError("the store is closed")
    return bool(store.backend_name == "memory")


def _open_store(store: Any) -> Calls:
    if is_in_memory(store):
        return FrameCalls(frame_of_records(*store.snapshot()))
    return DatabaseCalls(*_database_of_store(store))
