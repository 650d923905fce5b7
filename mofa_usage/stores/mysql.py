"""MySQL and MariaDB, through aiomysql.

aiomysql rather than asyncmy, which is faster at reading: aiomysql closes a connection whose query was cancelled, where
asyncmy has been seen to hand the answer of a cancelled query to the next one (its issues 89 and 103). Bulk saves are
multi-row INSERTs. `LOAD DATA LOCAL` would be faster, but whoever allows it allows the server to ask for any file of the
client, so it stays off.

Every session sets what answers depend on: UTC, utf8mb4, and an SQL mode in which a value that does not fit is an error
rather than something else.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mofa_usage.errors import ConstraintError, SerializationError, require
from mofa_usage.grammar import GRAMMARS
from mofa_usage.schema import Kind, TableSpec, write_json
from mofa_usage.stores.bulk import chunks_of, in_turn
from mofa_usage.stores.dialects import (
    DENIED,
    FAILED,
    LOCKED,
    LOST,
    REFUSED,
    ROLLED_BACK,
    UNREACHABLE,
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
from mofa_usage.urls import MySqlOptions

__all__ = ["MySqlStore"]

_MODE = "STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
_CHUNK = 250  # rows that are written as text at once
_STATEMENT = 1_000_000  # characters; servers take packets of 16 MiB or more, unless they are told otherwise
_UNREACHED = 2003


def _open(url: sa.URL, options: Options) -> AsyncEngine:
    require("aiomysql", extra="mysql")
    place = MySqlOptions.of(url)
    patience = max(1, round(options.lock_timeout))  # for a row; and for a table, as during ALTER TABLE
    session = (
        f"SET SESSION time_zone = '+00:00', sql_mode = '{_MODE}', "
        f"innodb_lock_wait_timeout = {patience}, lock_wait_timeout = {patience}"
    )
    arguments: dict[str, Any] = {
        "async_creator_fn": _connect,
        "connect_timeout": options.connect_timeout,
        "charset": "utf8mb4",
        "autocommit": True,
        "init_command": session,
        "local_infile": False,
        "ssl": place.tls(),
    }
    if place.unix_socket is not None:
        arguments["unix_socket"] = place.unix_socket
    return create_async_engine(
        url.set(drivername="mysql+aiomysql", query={}),
        connect_args=arguments,
        **pool_options(options.max_connections or DIALECT.driver.default_connections),
    )


async def _connect(**arguments: Any) -> Any:
    from mofa_usage.stores.mysql_connection import open_connection

    return await open_connection(**arguments)


async def _fetch(connection: Any, sql: str, values: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
    async with connection.cursor() as cursor:
        await cursor.execute(sql, values)
        rows: Sequence[Sequence[Any]] = await cursor.fetchall()
        return rows


async def _execute(connection: Any, sql: str, values: tuple[Any, ...]) -> int:
    async with connection.cursor() as cursor:
        count: int = await cursor.execute(sql, values)
        return count


async def _save_many(
    connection: Any, spec: TableSpec[Any], upsert: str, rows: Iterable[tuple[Any, ...]], count: int
) -> None:
    columns = ", ".join(f"`{name}`" for name in spec.columns)
    changed = ", ".join(f"`{name}` = VALUES(`{name}`)" for name in spec.columns if name != "id")
    before = f"INSERT INTO {spec.table.name} ({columns}) VALUES "  # noqa: S608 (names of our own)

    async with connection.cursor() as cursor:

        async def send(values: str) -> None:
            await cursor.execute(f"{before}{values} ON DUPLICATE KEY UPDATE {changed}")

        await in_turn(_literals(spec, rows), send)


async def _literals(spec: TableSpec[Any], rows: Iterable[tuple[Any, ...]]) -> AsyncIterator[str]:
    """Rows as SQL, a statement's worth at a time; a column at once, which takes a quarter of the driver's time for it.

    The text is for sessions with backslash escapes, which `_MODE` makes ours.
    """
    writers = _writers_of(spec)
    statement: list[str] = []
    size = 0
    async for chunk in chunks_of(rows, _CHUNK):
        columns = [
            ["NULL" if value is None else write(value) for value in column] if None in column else map(write, column)
            for write, column in zip(writers, zip(*chunk, strict=True), strict=True)
        ]
        for row in zip(*columns, strict=True):
            text = f"({','.join(row)})"
            if size and size + len(text) > _STATEMENT:
                yield ",".join(statement)
                statement, size = [], 0
            statement.append(text)
            size += len(text)
    yield ",".join(statement)


def _writers_of(spec: TableSpec[Any]) -> list[Callable[[Any], str]]:
    from pymysql.converters import escape_string

    def quote(text: str) -> str:
        return f"'{escape_string(text)}'"

    def double(number: float) -> str:
        text = repr(number)
        return text if "e" in text else f"{text}e0"  # without an exponent it would be a DECIMAL

    plain: Callable[[Any], str] = "'{}'".format
    writers: dict[Kind, Callable[[Any], str]] = {
        **dict.fromkeys((Kind.ID, Kind.TIME, Kind.NAME), plain),
        Kind.INTEGER: str,
        Kind.FLAG: lambda flag: str(int(flag)),
        Kind.MONEY: "{:f}".format,
        Kind.RATE: double,
    }
    return [writers.get(kind, quote) for kind in spec.kinds.values()]


async def _abandon(connection: Any) -> bool:
    connection.close()
    return False


async def _break_off(connection: Any) -> None:
    connection.close()


_CODES: Mapping[int, Failure] = {
    **dict.fromkeys((1022, 1048, 1062, 1169, 1216, 1217, 1451, 1452, 1557, 1586, 3819, 4025), Failure(ConstraintError)),
    **dict.fromkeys((1264, 1265, 1292, 1366, 1406, 1411, 1690, 3140, 3141, 4078), Failure(SerializationError)),
    **dict.fromkeys((1044, 1045, 1049, 1129, 1130, 1251, 1698, 2026, 2059, 3159), REFUSED),
    **dict.fromkeys(
        (1053, 1077, 1078, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2014, 2055, 4031), LOST
    ),
    **dict.fromkeys((1040, 1203, 1226, 2002, 2003), UNREACHABLE),
    **dict.fromkeys((1142, 1143, 1227), DENIED),
    1205: LOCKED,
    1213: ROLLED_BACK,
    1020: ROLLED_BACK,  # "record has changed since last read": MariaDB's snapshot isolation
}


def _meaning(error: BaseException) -> Failure | None:
    import pymysql

    if isinstance(error, pymysql.MySQLError):
        code = error.args[0] if error.args else None
        if not isinstance(code, int) or code == 0:  # of the driver's own: the connection is closed or out of step
            return LOST if isinstance(error, pymysql.InterfaceError | pymysql.InternalError) else FAILED
        if code == _UNREACHED and error.__cause__ is not None:
            return None  # it only wraps the reason, which may be a certificate that is refused
        return _CODES.get(code, FAILED)
    if isinstance(error, ssl.SSLError):
        return REFUSED
    if isinstance(error, OSError | TimeoutError | asyncio.IncompleteReadError):
        return LOST
    return None


def _message(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    return f"{said} ({error.__cause__})" if isinstance(error.__cause__, ssl.SSLError) else said


def _conceal(error: BaseException) -> None:
    if len(error.args) > 1:  # "Incorrect string value: '...' for column `api_key`"
        error.args = (error.args[0], re.sub(r" value: '.*' for ", " value for ", str(error.args[1]), flags=re.DOTALL))


def _upsert(table: sa.Table) -> Any:
    insert = mysql.insert(table)
    changed = {column.name: sa.func.values(column) for column in table.c if not column.primary_key}
    return insert.on_duplicate_key_update(changed)


def _only_labels(names: Sequence[str]) -> Any:
    # Of an absent one JSON_EXTRACT makes null, which JSON_MERGE_PATCH leaves out.
    values = {f"label_{number}": name for number, name in enumerate(names)}
    paths = {f"{parameter}_path": f"$.{write_json(name)}" for parameter, name in values.items()}
    pairs = ", ".join(f":{parameter}, JSON_EXTRACT(labels, :{parameter}_path)" for parameter in values)
    return sa.text(f"CASE WHEN JSON_VALID(labels) THEN JSON_MERGE_PATCH('{{}}', JSON_OBJECT({pairs})) END").bindparams(
        **values, **paths
    )


def _delete_before(table: sa.Table, old: Any) -> Any:
    return sa.text(f"DELETE FROM {table.name} WHERE create_time < :before ORDER BY create_time LIMIT :batch")  # noqa: S608


async def _delete_oldest(connection: Any, sql: str, values: tuple[Any, ...]) -> tuple[int, None]:
    return await _execute(connection, sql, values), None


def _write_times(column: Sequence[datetime]) -> Iterable[str]:
    return [time.isoformat(" ", "microseconds")[:-6] for time in column]  # without its +00:00


def _read_time(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)


DIALECT = Dialect(
    name="mysql",
    driver=Driver(
        default_connections=10,
        open=_open,
        begin=lambda options: "START TRANSACTION",
        serial=False,
        fetch=_fetch,
        execute=_execute,
        save_many=_save_many,
        abandon=_abandon,
        break_off=_break_off,
        meaning=_meaning,
        message=_message,
        conceal=_conceal,
        delete_oldest=_delete_oldest,
    ),
    values=Values(
        writers={
            Kind.ID: write_uuids,
            Kind.NAME: lambda column: map(str, column),
            Kind.JSON: lambda column: map(write_json, column),
            Kind.TIME: _write_times,
        },
        readers={Kind.JSON: from_json, Kind.TIME: _read_time, Kind.FLAG: bool},
        money_total=lambda sums: None if sums[0] is None else Decimal(sums[0]),
    ),
    grammar=GRAMMARS["mysql"],
    idioms=Idioms(
        upsert=_upsert,
        money_sums=lambda column: [sa.func.sum(column)],
        # Not grouped without regard to case, and short enough to be grouped in memory.
        currency="CASE WHEN JSON_VALID(price_details) THEN CAST(CONVERT(JSON_EXTRACT(price_details, '$.currency') "
        "USING utf8mb4) AS CHAR(255)) COLLATE utf8mb4_bin END",
        has_labels="SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE() "
        "AND table_name = 'entity_llm_api_call' AND column_name = 'labels'",
        only_labels=_only_labels,
        delete_before=_delete_before,
        lock_schema="SELECT GET_LOCK('mofa_usage_schema', 60)",
        unlock_schema="SELECT RELEASE_LOCK('mofa_usage_schema')",
    ),
)


class MySqlStore(SqlStore):
    """A store in a MySQL or MariaDB database. See `mofa_usage.stores.mysql`."""

    dialect = DIALECT
