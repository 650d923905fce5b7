"""Where a warehouse gets its rows from: what changed at a source since a position, page by page.

`open_changes` makes `Changes` of whatever `load_usage` takes. `changes` says what all of them promise; one module per
kind of source says how it keeps the promise there:

- `files` and `frames` (and `memory`) read again what is not as it was;
- `postgres` goes by snapshots, `sqlite` by a counter: both find every change once it is visible, and only that;
- `windows` compares: MySQL and MariaDB, and the tables that MoFA made;
- `databases` has what the tables of all databases have in common.
"""

from pathlib import Path
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.reading.delta import is_warehouse
from mofa_usage.reading.object_stores import is_object_url
from mofa_usage.reading.open import Source, database_of, is_in_memory, open_source
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
from mofa_usage.warehouse.sources.databases import POSITION, DatabaseChanges, fingerprint_of, stored_tables
from mofa_usage.warehouse.sources.files import FileChanges
from mofa_usage.warehouse.sources.frames import FrameChanges, call_batches
from mofa_usage.warehouse.sources.memory import MemoryChanges
from mofa_usage.warehouse.sources.postgres import PostgresChanges
from mofa_usage.warehouse.sources.sqlite import SqliteChanges
from mofa_usage.warehouse.sources.tables import StoredTable
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
    "TableName",
    "open_changes",
    "tables_of",
]


def tables_of(source: Source) -> tuple[TableName, ...]:
    """The tables that a source has: those of a database or store; only the calls of files and frames.

    Raises:
        StoreConnectionError: a database that is not there or does not let us in, a store that is closed.
        UsageError: it would be a new, empty database.
    """
    if not _is_database(source):
        return ("calls",)
    return TABLES if _is_memory(source) else stored_tables(source)


def open_changes(source: Source, table: TableName, *, content: bool = False) -> Changes:
    """What changes in a table at a source.

    Args:
        source: what `load_usage` takes.
        table: which of `tables_of(source)`.
        content: also the content of messages, which is not read otherwise.

    Raises:
        StoreConnectionError: a database that is not there or does not let us in, a store that is closed.
        UsageError: something that holds no calls, or is no source, or has no such table.
    """
    if table not in TABLES:
        raise UsageError(f"there is no table {table!r}; a warehouse has {', '.join(TABLES)}")
    if not _is_database(source):
        if table != "calls":
            raise UsageError(f"files and frames hold calls, and no {table}")
        return _open_calls(source)
    if _is_memory(source):
        return MemoryChanges(source, table, content)  # type: ignore[arg-type]  # it says that it is one
    reader, flavour = database_of(source)
    return _open_table(fingerprint_of(source), StoredTable.of(reader, flavour, table, content))


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


def _open_calls(source: Any) -> Changes:
    calls = open_source(source)
    # Of a warehouse's files only some are its newest version; those of an object store are not looked at one by one.
    if is_object_url(source) or (isinstance(source, str | Path) and is_warehouse(source)):
        place = str(source).rstrip("/") if is_object_url(source) else str(Path(source).absolute())
        return FrameChanges(place, lambda: call_batches(open_source(source), place))
    if isinstance(source, str | Path):
        return FileChanges(source)
    what = f"the {type(source).__name__}"
    is_relation = isinstance(calls, RelationCalls)
    return FrameChanges("relation" if is_relation else "frame", lambda: call_batches(calls, what))
