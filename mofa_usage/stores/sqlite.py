"""SQLite: a file, or a database in memory that lives as long as its store.

The file is in WAL mode, so that readers and the one writer do not wait for each other. Tasks of one process queue for
writing; other processes are waited for by SQLite itself, up to `lock_timeout`.

Times are text of always six digits behind the second; `mofa_usage.grammar` says what other programs write, and how all
of it is compared.
"""

import asyncio
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from math import copysign
from typing import Any, NamedTuple, Self, Unpack

import sqlalchemy as sa
from pydantic_core import from_json, to_jsonable_python
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mofa_usage.errors import ConstraintError, SerializationError
from mofa_usage.grammar import GRAMMARS
from mofa_usage.schema import Kind, TableSpec, write_json
from mofa_usage.stores.base import Connecting
from mofa_usage.stores.dialects import (
    DENIED,
    FAILED,
    LOCKED,
    REFUSED,
    ROLLED_BACK,
    ConnectOptions,
    Dialect,
    Driver,
    Failure,
    Idioms,
    Options,
    Values,
    pool_options,
    write_uuids,
)
from mofa_usage.stores.sql_store import SqlStore
from mofa_usage.stores.sqlite_forks import watch
from mofa_usage.urls import MEMORY_PATH

__all__ = ["SqliteStore"]

_CACHE_KIB = 65_536  # a quarter faster bulk saves into large tables than with the default of 2 MiB
_MONEY_UNIT = 10**10  # a price is a whole number of these parts of a dollar
_STAGED_FROM = 20  # rows
_HAS_POSITION = "SELECT 1 FROM pragma_table_info(?) WHERE name = 'saved_position'"
_WHOLE_SECOND = len("2026-11-23T14:35:27Z")


def _open(url: sa.URL, options: Options) -> AsyncEngine:
    path = url.database or MEMORY_PATH
    in_memory = path == MEMORY_PATH
    location = sa.URL.create("sqlite+aiosqlite", database=path)
    if in_memory:  # SQLite's own file system in memory, where connections of a process share a file by its name
        location = location.set(database=f"file:/mofa_usage-{uuid.uuid4()}", query={"vfs": "memdb", "uri": "true"})
    arguments: dict[str, Any] = {
        "async_creator_fn": _connect,
        "timeout": options.lock_timeout,
        "isolation_level": None,  # transactions begin where we say
        "cached_statements": 256,
    }
    engine = create_async_engine(
        location,
        connect_args=arguments,
        **pool_options(options.max_connections or DIALECT.driver.default_connections),
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        if not in_memory:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")  # survives a crash of the process at any moment
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        cursor.close()

    return engine


def _is_in_memory(url: sa.URL) -> bool:
    return "vfs" in url.query


async def _connect(*arguments: Any, **options: Any) -> Any:
    import aiosqlite

    # The one thread that uses it is gone when what it has made must be closed after a cancel.
    connection = aiosqlite.connect(*arguments, **{**options, "check_same_thread": False})
    connection._thread.daemon = True  # a store that nobody closed does not keep the interpreter from ending
    make, made = connection._connector, []

    def remembered() -> Any:
        made.append(make())
        return made[-1]

    connection._connector = remembered
    try:
        opened = await connection
    except BaseException:
        await asyncio.to_thread(connection._thread.join)  # or its last words may come after the end of the event loop
        for left in made:  # which nobody has been told of
            left.close()
        raise
    if not options.get("uri"):  # of a database in memory a child has a copy
        watch(opened)
    return opened


def _write_times(column: Sequence[datetime]) -> Iterable[str]:
    # pydantic's serializer takes a quarter of isoformat's time; it ends in Z and leaves out a fraction of zero.
    return [
        f"{text[:-1]}+00:00" if len(text) > _WHOLE_SECOND else f"{text[:-1]}.000000+00:00"
        for text in to_jsonable_python(list(column))
    ]


def _read_money(value: float | int | str | Decimal) -> Decimal:
    if not isinstance(value, float):
        return Decimal(value)
    # Rounded like SQLite's round(), so that what Rust computed as doubles adds up to its sum.
    return Decimal(int(value * _MONEY_UNIT + copysign(0.5, value))).scaleb(-10)


class _Values(tuple[Any, ...]):
    """The values of a statement, which aiosqlite would otherwise show in its log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} values>"


async def _fetch(connection: Any, sql: str, values: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
    rows: Sequence[Sequence[Any]] = await connection.execute_fetchall(sql, _Values(values))
    return rows


async def _execute(connection: Any, sql: str, values: tuple[Any, ...]) -> int:
    cursor = await connection.execute(sql, _Values(values))
    count: int = cursor.rowcount
    return count


async def _save_many(
    connection: Any, spec: TableSpec[Any], upsert: str, rows: Iterable[tuple[Any, ...]], count: int
) -> None:
    # The rows are written by the connection's own thread while it inserts them.
    if count < _STAGED_FROM or not await _fetch(connection, _HAS_POSITION, (spec.table.name,)):
        await connection.executemany(upsert, rows)
        return
    staged = _staged(spec)
    await _execute(connection, staged.make, ())
    await connection.executemany(staged.fill, rows)
    await _execute(connection, staged.take, ())
    await _execute(connection, "UPDATE mofa_usage_position SET value = value + 1", ())
    await _execute(connection, "DROP TABLE temp.mofa_usage_staged", ())


class _Staged(NamedTuple):
    """How many rows are saved in a table with triggers: by one statement, for each keeps the pages that it changes as
    they were. The rows get their place in the order of saves from it, and the triggers have nothing to do.
    """

    make: str
    fill: str
    take: str


@cache
def _staged(spec: TableSpec[Any]) -> _Staged:
    table, names = spec.table.name, ", ".join(spec.columns)
    changed = ", ".join(f"{name} = excluded.{name}" for name in [*spec.columns, "saved_position"] if name != "id")
    return _Staged(
        f"CREATE TEMP TABLE mofa_usage_staged AS SELECT {names} FROM {table} LIMIT 0",  # noqa: S608 (names of ours)
        f"INSERT INTO temp.mofa_usage_staged VALUES ({', '.join('?' * len(spec.columns))})",  # noqa: S608
        f"INSERT OR FAIL INTO {table} ({names}, saved_position) SELECT {names}, (SELECT value FROM mofa_usage_position)"  # noqa: S608
        f" FROM temp.mofa_usage_staged WHERE true ON CONFLICT (id) DO UPDATE SET {changed}",
    )


async def _abandon(connection: Any) -> bool:
    await connection.interrupt()
    await connection.rollback()  # waits for the statement that the connection's thread is busy with
    return True


async def _break_off(connection: Any) -> None:
    await connection.interrupt()


_MEANINGS: Mapping[int, Failure] = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_BUSY_RECOVERY: ROLLED_BACK,
    sqlite3.SQLITE_BUSY_SNAPSHOT: ROLLED_BACK,
    sqlite3.SQLITE_LOCKED: ROLLED_BACK,
    sqlite3.SQLITE_CONSTRAINT: Failure(ConstraintError),
    sqlite3.SQLITE_CANTOPEN: REFUSED,
    sqlite3.SQLITE_NOTADB: REFUSED,
    sqlite3.SQLITE_PERM: REFUSED,
    sqlite3.SQLITE_READONLY: DENIED,
    sqlite3.SQLITE_TOOBIG: Failure(SerializationError),
    sqlite3.SQLITE_MISMATCH: Failure(SerializationError),
}


def _meaning(error: BaseException) -> Failure | None:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        if code is None and "unable to open" in str(error):
            return REFUSED
        return FAILED if code is None else _MEANINGS.get(code) or _MEANINGS.get(code & 0xFF, FAILED)
    return Failure(SerializationError) if isinstance(error, OverflowError) else None


def _upsert(table: sa.Table) -> Any:
    # OR FAIL: a table with triggers would otherwise be kept as it was before each row, in case that row fails, which
    # takes as long again as inserting it. It is one row, which is there or not, and what it is part of is rolled back.
    insert = sqlite.insert(table).prefix_with("OR FAIL")
    changed = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=["id"], set_=changed)


def _delete_before(table: sa.Table, old: Any) -> Any:
    row: sa.ColumnElement[int] = sa.literal_column("rowid")
    some = sa.select(row).select_from(table).where(old).order_by(table.c.create_time)
    return table.delete().where(row.in_(some.limit(sa.bindparam("batch", type_=sa.INTEGER))))


async def _delete_oldest(connection: Any, sql: str, values: tuple[Any, ...]) -> tuple[int, None]:
    return await _execute(connection, sql, values), None


def _only_labels(names: Sequence[str]) -> Any:
    # As json_each gives them, true and false would be the numbers 1 and 0.
    value = "CASE WHEN type IN ('true', 'false') THEN json(type) ELSE value END"
    return sa.text(
        f"CASE WHEN json_valid(labels) THEN (SELECT json_group_object(key, {value}) FROM json_each(labels)"  # noqa: S608
        " WHERE key IN (SELECT value FROM json_each(:kept_labels))) END"
    ).bindparams(kept_labels=write_json(list(names)))


def _money_sums(column: Any) -> Sequence[Any]:
    # A sum of REALs is not exact, and one of 64-bit integers ends at 922 million: so whole dollars and the rest.
    units = sa.cast(sa.func.round(column * sa.literal_column(f"{_MONEY_UNIT}.0")), sa.INTEGER)
    unit: sa.ColumnElement[int] = sa.literal_column(str(_MONEY_UNIT))
    return [sa.func.sum(units.op("/")(unit)), sa.func.sum(units.op("%")(unit))]


def _money_total(sums: Sequence[Any]) -> Decimal | None:
    whole, rest = sums
    return None if whole is None else Decimal(int(whole) * _MONEY_UNIT + int(rest)).scaleb(-10)


DIALECT = Dialect(
    name="sqlite",
    driver=Driver(
        default_connections=5,
        open=_open,
        begin=lambda options: "BEGIN IMMEDIATE",
        serial=True,
        readers_wait=_is_in_memory,
        fetch=_fetch,
        execute=_execute,
        save_many=_save_many,
        abandon=_abandon,
        break_off=_break_off,
        meaning=_meaning,
        message=str,
        delete_oldest=_delete_oldest,
    ),
    values=Values(
        writers={
            Kind.ID: write_uuids,
            Kind.NAME: lambda column: map(str, column),
            Kind.JSON: lambda column: map(write_json, column),
            Kind.TIME: _write_times,
            Kind.MONEY: lambda column: map(float, column),  # at most 15 digits, which a double holds exactly
        },
        readers={
            Kind.JSON: from_json,
            Kind.TIME: datetime.fromisoformat,
            Kind.MONEY: _read_money,
            Kind.FLAG: bool,
        },
        money_total=_money_total,
    ),
    grammar=GRAMMARS["sqlite"],
    idioms=Idioms(
        upsert=_upsert,
        money_sums=_money_sums,
        currency="CASE WHEN json_valid(price_details) THEN json_quote(json_extract(price_details, '$.currency')) END",
        has_labels="SELECT count(*) FROM pragma_table_info('entity_llm_api_call') WHERE name = 'labels'",
        only_labels=_only_labels,
        delete_before=_delete_before,
        lock_schema="BEGIN IMMEDIATE",
    ),
)


class SqliteStore(SqlStore):
    """A store in an SQLite file, or in memory. See `mofa_usage.stores.sqlite`."""

    dialect = DIALECT

    def __init__(self, engine: AsyncEngine, url: sa.URL, options: Options) -> None:
        super().__init__(engine, url, options)
        # A database in memory is gone with its last connection, so one that nobody uses stays open.
        in_memory = url.database == MEMORY_PATH
        self._anchor = sqlite3.connect(self.path, uri=True, check_same_thread=False) if in_memory else None

    @classmethod
    def in_memory(cls, **options: Unpack[ConnectOptions]) -> Connecting[Self]:
        """A new, empty database in memory, one for all connections of the store and gone when it is closed."""
        return cls.connect("sqlite::memory:", **options)

    @property
    def path(self) -> str:
        """The file; for a database in memory a `file:` URI, with which `sqlite3` opens it in this process."""
        url = self.engine.url
        return f"{url.database}?vfs=memdb" if _is_in_memory(url) else str(url.database)

    async def close(self) -> None:
        await super().close()
        if self._anchor is not None:
            self._anchor.close()
            self._anchor = None
