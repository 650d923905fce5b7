"""PostgreSQL, through asyncpg.

Ids are UUIDs, times TIMESTAMPTZ, JSON is JSONB and money NUMERIC, so values travel in asyncpg's binary format as they
are. Bulk saves are copied into the table, which is what PostgreSQL takes rows in fastest. Where an id is there already,
they are copied into a temporary table and go on from there in one upsert.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.dialects import postgresql
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
)
from mofa_usage.stores.sql_store import SqlStore

__all__ = ["PostgresStore"]

_COPY_FROM = 100  # rows; fewer are inserted faster without a temporary table
_CHUNK = 5_000  # rows that are copied at once
_TEMPERATURE = "temperature"


def _open(url: sa.URL, options: Options) -> AsyncEngine:
    require("asyncpg", extra="postgres")
    # asyncpg reads host, sslmode, sslrootcert and so on from a URL as libpq does.
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = {"timezone": "UTC", "application_name": "mofa_usage"}
    arguments: dict[str, Any] = {"dsn": dsn, "timeout": options.connect_timeout, "server_settings": settings}
    if options.statement_cache:
        settings["lock_timeout"] = _milliseconds(options.lock_timeout)
    else:
        arguments |= {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: "",
            "connection_class": _pinned_connection(),
        }
    return create_async_engine(
        sa.URL.create("postgresql+asyncpg", url.username, None, url.host, url.port, url.database),
        connect_args=arguments,
        json_deserializer=from_json,
        **pool_options(options.max_connections or DIALECT.driver.default_connections),
    )


def _milliseconds(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}"  # 0 would be no limit


def _begin(options: Options) -> str:
    # PgBouncer in transaction mode takes no settings for a session, and none but its own at the start of one.
    limit = f"; SET LOCAL lock_timeout = {_milliseconds(options.lock_timeout)}"
    return "BEGIN" if options.statement_cache else "BEGIN" + limit


def _pinned_connection() -> type[Any]:
    import asyncpg

    class Pinned(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
        """Asks the server about a type in a transaction, during which PgBouncer does not change the server."""

        async def set_type_codec(self, *arguments: Any, **options: Any) -> None:
            async with self.transaction():
                await super().set_type_codec(*arguments, **options)

    return Pinned


async def _fetch(connection: Any, sql: str, values: tuple[Any, ...]) -> Sequence[Sequence[Any]]:
    rows: Sequence[Sequence[Any]] = await connection.fetch(sql, *values)
    return rows


async def _execute(connection: Any, sql: str, values: tuple[Any, ...]) -> int:
    status: str = await connection.execute(sql, *values)
    count = status.rpartition(" ")[2]  # "DELETE 5"
    return int(count) if count.isdigit() else 0


async def _save_many(
    connection: Any, spec: TableSpec[Any], upsert: str, rows: Iterable[tuple[Any, ...]], count: int
) -> None:
    if count < _COPY_FROM:
        await connection.executemany(upsert, list(rows))
        return
    staged = False

    async def send(chunk: list[tuple[Any, ...]]) -> None:
        nonlocal staged
        staged = staged or not await _copy(connection, spec, chunk)
        if staged:
            await _copy_and_merge(connection, spec, chunk)

    await in_turn(chunks_of(rows, _CHUNK), send)


async def _copy(connection: Any, spec: TableSpec[Any], rows: list[tuple[Any, ...]]) -> bool:
    """Copy rows straight into the table; false, and none of them is there, if it has the id of one already, or takes
    no COPY because it has row-level security.
    """
    import asyncpg

    await connection.execute("SAVEPOINT mofa_usage")
    try:
        await connection.copy_records_to_table(spec.table.name, records=rows, columns=spec.columns)
    except (asyncpg.UniqueViolationError, asyncpg.FeatureNotSupportedError):
        await connection.execute("ROLLBACK TO SAVEPOINT mofa_usage")
        return False
    await connection.execute("RELEASE SAVEPOINT mofa_usage")
    return True


async def _copy_and_merge(connection: Any, spec: TableSpec[Any], rows: list[tuple[Any, ...]]) -> None:
    table, columns = spec.table.name, ", ".join(f'"{name}"' for name in spec.columns)
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in spec.columns if name != "id")
    staging = f"mofa_usage_{table}"
    like = f"SELECT {columns} FROM {table} WITH NO DATA"  # noqa: S608 (names of our own)
    await connection.execute(f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS {like}")
    await connection.copy_records_to_table(staging, records=rows, columns=spec.columns)
    await connection.execute(
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM pg_temp.{staging} ORDER BY id "  # noqa: S608
        f"ON CONFLICT (id) DO UPDATE SET {changed}; DROP TABLE pg_temp.{staging}"
    )


async def _abandon(connection: Any) -> bool:
    connection.terminate()
    return False


async def _break_off(connection: Any) -> None:
    connection.terminate()


_STATES: Mapping[str, Failure] = {
    "08": LOST,
    "25P03": LOST,  # idle in a transaction for too long
    "22": Failure(SerializationError),
    "23": Failure(ConstraintError),
    "28": REFUSED,
    "3D": REFUSED,
    "40": ROLLED_BACK,
    "42501": DENIED,
    "53300": UNREACHABLE,  # too many connections
    "55P03": LOCKED,
    "57P01": LOST,  # the administrator ended the connection
    "57P02": LOST,
    "57P03": UNREACHABLE,  # starting up or shutting down
    "57P05": LOST,  # idle for too long
}


def _meaning(error: BaseException) -> Failure | None:
    import asyncpg

    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _STATES.get(state) or _STATES.get(state[:2], FAILED)
    if isinstance(error, ssl.SSLError | asyncpg.exceptions.ClientConfigurationError):
        return REFUSED
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return Failure(SerializationError)  # asyncpg cannot write the value in the column's type
    if isinstance(error, OSError | TimeoutError | asyncio.IncompleteReadError):
        return LOST
    # An operation on a connection that is closed is the first of these; one that was lost in the middle of a COPY is
    # "in another state", the second.
    return LOST if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError) else None


def _message(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    # Not `str` of PostgreSQL's errors, whose detail may show a whole row.
    return str(error.args[0] if hasattr(error, "sqlstate") and error.args else error)


def _conceal(error: BaseException) -> None:
    if hasattr(error, "detail"):
        # They show the failing row, or the value that could not be copied.
        vars(error).update(detail=None, context=None)
    elif isinstance(error, ValueError) and error.args:
        error.args = (str(error.args[0]).partition(":")[0],)  # "invalid input for query argument $9: ..."


def _upsert(table: sa.Table) -> Any:
    insert = postgresql.insert(table)
    changed = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=["id"], set_=changed)


def _read_column(column: Any) -> Any:
    if column.name != _TEMPERATURE:
        return column
    # MoFA's is a REAL, of which the text has the digits that were meant: 0.7, not 0.699999988079071.
    return sa.cast(sa.cast(column, sa.TEXT), sa.DOUBLE_PRECISION)


def _read_time(value: datetime) -> datetime:
    # asyncpg keeps the first and the last moment of a datetime as -infinity and infinity, and reads those without zone.
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _only_labels(names: Sequence[str]) -> Any:
    kept = sa.bindparam("kept_labels", value=list(names), type_=postgresql.ARRAY(sa.TEXT))
    return sa.text(
        "(SELECT jsonb_object_agg(key, value) FROM jsonb_each(CASE jsonb_typeof(labels) WHEN 'object' THEN labels END)"
        " WHERE key = ANY(:kept_labels))"
    ).bindparams(kept)


def _delete_before(table: sa.Table, old: Any) -> Any:
    # A range of the index on the time, which is passed once: from where the last batch ended to the `:batch`th of what
    # is left, and how far that is. (The `:batch`th of all that come after, old or not: of a range with two ends a
    # planner without statistics expects so few that it would sort them.)
    time, before = table.c.create_time, sa.bindparam("before", type_=table.c.create_time.type)
    rest = time >= sa.bindparam("after", type_=time.type)
    nth = sa.select(time).where(rest).order_by(time).limit(1).offset(sa.bindparam("batch", type_=sa.INTEGER)).cte("nth")
    edge = sa.select(nth.c.create_time).where(nth.c.create_time < before).scalar_subquery()
    until = time <= sa.func.coalesce(edge, before)
    gone = table.delete().where(old, rest, until).returning(sa.literal_column("1")).cte("gone")
    return sa.select(sa.func.count(), edge).select_from(gone)


async def _delete_oldest(connection: Any, sql: str, values: tuple[Any, ...]) -> tuple[int, Any]:
    ((count, edge),) = await connection.fetch(sql, *values)
    return count, edge


DIALECT = Dialect(
    name="postgres",
    driver=Driver(
        default_connections=10,
        open=_open,
        begin=_begin,
        alone=lambda options: options.statement_cache,  # PgBouncer may send each half of a statement to another server
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
            Kind.NAME: lambda column: map(str, column),
            Kind.JSON: lambda column: map(write_json, column),
        },
        readers={Kind.TIME: _read_time},
        money_total=lambda sums: None if sums[0] is None else Decimal(sums[0]),
    ),
    grammar=GRAMMARS["postgres"],
    idioms=Idioms(
        upsert=_upsert,
        read_column=_read_column,
        money_sums=lambda column: [sa.func.sum(column)],
        currency="CAST(price_details -> 'currency' AS TEXT)",
        has_labels="SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('entity_llm_api_call') "
        "AND attname = 'labels' AND NOT attisdropped",
        only_labels=_only_labels,
        delete_before=_delete_before,
        lock_schema="SELECT pg_advisory_xact_lock(7233107911)",
    ),
)


class PostgresStore(SqlStore):
    """A store in a PostgreSQL database. See `mofa_usage.stores.postgres`."""

    dialect = DIALECT
