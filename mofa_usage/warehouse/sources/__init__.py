"""Where a warehouse gets its rows from: what changed at a source since a position, page by page.

`SourceTables` makes `Changes` of whatever `load_usage` takes. `changes` says what all of them promise; one module per
kind of source says how it keeps the promise there:

- `files` and `frames` (and `memory`, `warehouses`) read again what is not as it was;
- `postgres` goes by snapshots, `sqlite` by a counter: both find every change once it is visible, and only that;
- `windows` compares: MySQL and MariaDB, and the tables that MoFA made;
- `databases` has what the tables of all databases have in common.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self

from mofa_usage.errors import UsageError
from mofa_usage.reading.delta import StorageOptions, is_warehouse
from mofa_usage.reading.drivers import Reader, ServerReader
from mofa_usage.reading.object_stores import is_object_url
from mofa_usage.reading.open import Source, database_of, is_in_memory, open_source
from mofa_usage.reading.places import local_path
from mofa_usage.reading.relation import RelationCalls
from mofa_usage.stores.base import Store
from mofa_usage.urls import backend_of
from mofa_usage.warehouse.sources.changes import (
    CONTENT,
    PAGE_ROWS,
    SCHEMAS,
    TABLES,
    Changes,
    Cost,
    Page,
    Position,
    TableName,
)
from mofa_usage.warehouse.sources.databases import POSITION, DatabaseChanges, fingerprint_of
from mofa_usage.warehouse.sources.files import FileChanges
from mofa_usage.warehouse.sources.frames import FrameChanges, call_batches
from mofa_usage.warehouse.sources.memory import MemoryChanges
from mofa_usage.warehouse.sources.postgres import PostgresChanges
from mofa_usage.warehouse.sources.sqlite import SqliteChanges
from mofa_usage.warehouse.sources.tables import SPECS, StoredTable
from mofa_usage.warehouse.sources.warehouses import WarehouseChanges, tables_of
from mofa_usage.warehouse.sources.windows import windows_of

__all__ = [
    "CONTENT",
    "PAGE_ROWS",
    "SCHEMAS",
    "TABLES",
    "Changes",
    "Cost",
    "Page",
    "Position",
    "SourceTables",
    "TableName",
    "open_changes",
]


class SourceTables:
    """The tables of a source, through one reader: what a database says of itself is asked once for all of them.

    Args:
        source: what `load_usage` takes.
        options: of the object store that another warehouse is in.

    Raises:
        StoreConnectionError: a database that is not there or does not let us in, a store that is closed.
        UsageError: something that holds no calls, or is no source; it would be a new, empty database.
    """

    def __init__(self, source: Source, options: StorageOptions | None = None) -> None:
        self._source = source
        self._options = dict(options or {})
        self._reader: Reader | None = None
        self.warehouse = None if _is_database(source) else _warehouse(source, self._options)
        """Where the warehouse is that the source is; None if it is none."""
        self._calls = None if _is_database(source) or self.warehouse else _open_calls(source)
        if _is_database(source) and not _is_memory(source):
            self._reader, self._flavour = database_of(source)
        self._asked: dict[TableName, Mapping[str, str]] = {}

    @property
    def names(self) -> tuple[TableName, ...]:
        """Those that there are: of a database, a store or a warehouse; only the calls of files and frames.

        Raises:
            UsageError: it is a database that has none of them, and so another one than was meant.
        """
        if self._reader is not None:
            there = tuple(name for name in TABLES if self._columns(name))
            if not there:
                tables = ", ".join(SPECS[name].table.name for name in TABLES)
                raise UsageError(f"{self._reader} has none of the tables {tables}: is it the right one?")
            return there
        if self.warehouse:
            return tables_of(self.warehouse, self._options)
        return TABLES if _is_database(self._source) else ("calls",)

    @contextmanager
    def connected(self) -> Iterator[Self]:
        """Within it, a server is asked on one connection, one question after another."""
        with self._reader.kept_open() if isinstance(self._reader, ServerReader) else nullcontext():
            yield self

    def changes(self, table: TableName, *, content: bool = False) -> Changes:
        """What changes in a table.

        Args:
            table: which of `names`.
            content: also the content of messages, which is not read otherwise.

        Raises:
            UsageError: something that holds no calls, or is no source, or has no such table.
        """
        if table not in TABLES:
            raise UsageError(f"there is no table {table!r}; a warehouse has {', '.join(TABLES)}")
        if self.warehouse:
            return WarehouseChanges(self.warehouse, self._options, table, content)
        if self._calls is not None:
            if table != "calls":
                raise UsageError(f"files and frames hold calls, and no {table}")
            return self._calls
        if self._reader is None:
            return MemoryChanges(self._source, table, content)  # type: ignore[arg-type]  # it says that it is one
        columns = self._columns(table)
        if not columns:
            stored = SPECS[table].table.name
            raise UsageError(f"{self._reader} has no table {stored}; a store makes it when it connects")
        content &= table == "messages"
        stored_table = StoredTable(table, self._reader, self._flavour, columns, content, Cost())
        return _open_table(fingerprint_of(self._source), stored_table)

    def _columns(self, table: TableName) -> Mapping[str, str]:
        """What a table of the database has, with the declared types."""
        if table not in self._asked and self._reader is not None:
            self._asked[table] = self._reader.columns(SPECS[table].table.name)
        return self._asked[table]


def open_changes(source: Source, table: TableName, *, content: bool = False) -> Changes:
    """What changes in one table of a source; see `SourceTables`."""
    return SourceTables(source).changes(table, content=content)


def _open_table(fingerprint: str, table: StoredTable) -> Changes:
    backend, has_positions = fingerprint.partition(":")[0], POSITION in table.declared
    if backend == "sqlite":
        return (SqliteChanges if has_positions else DatabaseChanges)(fingerprint, table)
    if backend == "postgres" and has_positions:
        return PostgresChanges(fingerprint, table)
    return windows_of(fingerprint, table) or DatabaseChanges(fingerprint, table)


def _is_database(source: Any) -> bool:
    return isinstance(source, Store) or (isinstance(source, str) and backend_of(source) is not None)


def _is_memory(source: Any) -> bool:
    return isinstance(source, Store) and is_in_memory(source)


def _warehouse(source: Any, options: StorageOptions) -> str | None:
    """Where the warehouse is that a source is; None if it is none."""
    with suppress(UsageError):  # of what is no path and cannot be reached, which opening it says better
        if isinstance(source, str | Path) and is_warehouse(source, options):
            return str(source).rstrip("/") if is_object_url(source) else str(local_path(source))
    return None


def _open_calls(source: Any) -> Changes:
    calls = open_source(source)
    if is_object_url(source):  # whose files are not looked at one by one
        place = str(source).rstrip("/")
        return FrameChanges(place, lambda: call_batches(open_source(source), place))
    if isinstance(source, str | Path):
        return FileChanges(source)
    what = f"the {type(source).__name__}"
    is_relation = isinstance(calls, RelationCalls)
    return FrameChanges("relation" if is_relation else "frame", lambda: call_batches(calls, what))
