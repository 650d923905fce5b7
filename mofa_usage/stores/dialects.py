"""Where databases differ, as data.

A `Dialect` says all that the one SQL store (`sql_records`) must know about a database, in four groups, by who reads
them: the `Driver` (how it connects, runs a statement and fails), its `Values` (how values of each kind are written and
read), its `Grammar` (how it compares text and times, which readers must know as well) and its `Idioms` (the SQL that
only a store says). SQLAlchemy describes the tables, writes the SQL in the database's dialect and pools the connections;
the statements run on the driver itself, because the way through SQLAlchemy's result processing takes longer than the
database does.

`sqlite`, `postgres` and `mysql` beside this module define one record each; nothing else asks which database it is.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import to_jsonable_python
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from mofa_usage.errors import PersistenceError, QueryError, StoreConnectionError
from mofa_usage.grammar import Grammar
from mofa_usage.schema import Kind, TableSpec

__all__ = [
    "ConnectOptions",
    "Dialect",
    "Driver",
    "Failure",
    "Idioms",
    "Options",
    "Retry",
    "Statement",
    "Values",
    "pool_options",
    "write_uuids",
]


@dataclass(frozen=True)
class Retry:
    """How often an idempotent operation that met a passing failure is tried again.

    Attributes:
        attempts: Tries in all; 1 never tries again.
        timeout: Seconds after which no new try begins.
        wait_initial, wait_max: Seconds before the second try, doubled each time up to the maximum, with jitter.
    """

    attempts: int = 20
    timeout: float = 30.0
    wait_initial: float = 0.05
    wait_max: float = 2.0


@dataclass(frozen=True)
class Options:
    """What a store can be told besides its URL. Times are in seconds.

    Attributes:
        max_connections: The hard bound of the connection pool; `None` is the backend's default.
        create_tables: Create missing tables, and bring older ones of ours up to date, when connecting.
        connect_timeout: How long to try to reach the server.
        lock_timeout: How long to wait for a lock that another session holds.
        statement_cache: Keep prepared statements (PostgreSQL); off for PgBouncer in transaction mode.
        retry: How passing failures are tried again.
    """

    max_connections: int | None = None
    create_tables: bool = True
    connect_timeout: float = 10.0
    lock_timeout: float = 30.0
    statement_cache: bool = True
    retry: Retry = Retry()

    def __post_init__(self) -> None:
        for name in ("max_connections", "connect_timeout", "lock_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be greater than 0, it is {value}")


class ConnectOptions(TypedDict, total=False):
    """The fields of `Options`, as keyword arguments of whatever connects."""

    max_connections: int | None
    create_tables: bool
    connect_timeout: float
    lock_timeout: float
    statement_cache: bool
    retry: Retry


@dataclass(frozen=True)
class Failure:
    """What a driver's exception means.

    `transient`: trying again can help. `again`: worth it at once (waiting for a lock has already taken its time).
    `lost`: the connection is gone, and whether the statement was carried out is unknown. `denied`: this user may not.
    """

    error: type[PersistenceError]
    transient: bool = False
    again: bool = False
    lost: bool = False
    denied: bool = False


LOST = Failure(StoreConnectionError, transient=True, again=True, lost=True)
UNREACHABLE = Failure(StoreConnectionError, transient=True, again=True)
REFUSED = Failure(StoreConnectionError)
ROLLED_BACK = Failure(QueryError, transient=True, again=True)
LOCKED = Failure(QueryError, transient=True)
FAILED = Failure(QueryError)
DENIED = Failure(QueryError, denied=True)


@dataclass(frozen=True)
class Statement:
    """SQL in a dialect's own words, with the names of its parameters in order and the values that it brings along."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def bind(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """The parameters in the order in which the statement wants them."""
        return tuple(values[name] if name in values else self.constants[name] for name in self.names)


Connection = Any  # a connection of the driver; each has its own type
Writer = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What the runner and the connections must know: how the driver connects, runs a statement and fails."""

    default_connections: int
    open: Callable[[sa.URL, Options], AsyncEngine]
    """Makes the engine; nothing is connected yet.

    Raises `MissingExtraError` without the driver and `StoreConnectionError` for a URL that makes no sense.
    """
    begin: Callable[[Options], str]
    """What begins a transaction that will write."""
    alone: Callable[[Options], bool] = lambda options: True
    """Whether a single statement needs no transaction."""
    serial: bool = False
    """The database has one writer at a time, so the tasks of this process may as well queue for it."""
    readers_wait: Callable[[sa.URL], bool] = lambda url: False
    """Whether those who read a database that is opened like this have to wait for a writer."""
    fetch: Callable[[Connection, str, tuple[Any, ...]], Awaitable[Sequence[Sequence[Any]]]]
    execute: Callable[[Connection, str, tuple[Any, ...]], Awaitable[int]]
    """Runs a statement; the number of rows that it met."""
    save_many: Callable[[Connection, TableSpec[Any], str, Iterable[tuple[Any, ...]], int], Awaitable[None]]
    """Upserts rows inside a transaction: connection, table, upsert statement, rows and their number."""
    delete_oldest: Callable[[Connection, str, tuple[Any, ...]], Awaitable[tuple[int, Any]]]
    """Runs `Idioms.delete_before`; how many rows went, and the `:after` for the next batch, `None` if it does not need
    one or if there is nothing left."""
    abandon: Callable[[Connection], Awaitable[bool]]
    """Ends what a cancelled task left running; true if the connection can be used again."""
    break_off: Callable[[Connection], Awaitable[None]]
    """Ends what another task is doing with a connection, which that task gets to know by an error."""
    meaning: Callable[[BaseException], Failure | None]
    """What an exception of the driver means; `None` for one that is not the driver's."""
    message: Callable[[BaseException], str]
    """What the database said, without the values of a row (they may be secret)."""
    conceal: Callable[[BaseException], None] = lambda error: None
    """Takes the values of a row out of an exception of the driver, which becomes the cause of ours."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """What those must know who write and read rows: how the driver takes and gives values.

    `writers` work on a whole column at a time, `readers` on one value; a kind without one goes as it is.
    """

    writers: Mapping[Kind, Writer]
    readers: Mapping[Kind, Callable[[Any], Any]]
    money_total: Callable[[Sequence[Any]], Any]
    """The exact `Decimal` that `Idioms.money_sums` make, `None` of nothing."""


@dataclass(frozen=True, kw_only=True)
class Idioms:
    """What the statements must know: the SQL that each database says in its own way, and that only a store says. What
    a reader says, too, is in the `Grammar`.
    """

    upsert: Callable[[sa.Table], Any]
    """An INSERT with named parameters that replaces the row of the same id."""
    money_sums: Callable[[Any], Sequence[Any]]
    """Expressions that sum a money column."""
    currency: str
    """The SQL of what `price_details` says the currency is, as JSON text; NULL where it says nothing. Where the details
    are no JSON, it is NULL, too, and no error."""
    has_labels: str
    """A query whose answer is 1 if the table of calls has the column of labels, else 0."""
    only_labels: Callable[[Sequence[str]], Any]
    """An expression that is the labels of a call without all but these; what is no JSON object has none."""
    delete_before: Callable[[sa.Table, Any], Any]
    """A statement that deletes about `:batch` rows of a table that meet a condition, the oldest first, and may leave
    out those before `:after`, of which there are none left."""
    read_column: Callable[[Any], Any] = lambda column: column
    """What is selected in order to read a column."""
    lock_schema: str | None = None
    unlock_schema: str | None = None
    """Statements that let one process at a time create or upgrade the tables."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """All that the SQL store must know about a database, by who reads it."""

    name: str
    """`backend_name` of its store."""
    driver: Driver
    values: Values
    grammar: Grammar
    idioms: Idioms


def pool_options(connections: int) -> dict[str, Any]:
    """SQLAlchemy's words for a pool of at most so many connections, for which tasks wait as long as it takes."""
    return {
        "poolclass": AsyncAdaptedQueuePool,
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": None,
        "pool_reset_on_return": None,  # a lease gives a connection back outside a transaction
    }


def write_uuids(column: Sequence[UUID]) -> list[str]:
    """UUIDs as hyphenated lower-case text; pydantic's serializer is seven times as fast as `str`."""
    texts: list[str] = to_jsonable_python(column if isinstance(column, list) else list(column))
    return texts
