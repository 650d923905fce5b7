"""The one store for every SQL database: it opens and closes the database, and hands out transactions.

Its subclasses name a `Dialect` and nothing else.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Self, Unpack

import sqlalchemy as sa
import stamina
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import Pool

from mofa_usage.errors import PersistenceError, QueryError, StoreConnectionError
from mofa_usage.stores.base import Connecting, Store
from mofa_usage.stores.call_table import CallTable
from mofa_usage.stores.dialects import ConnectOptions, Dialect, Options
from mofa_usage.stores.migrations import prepare_tables
from mofa_usage.stores.runner import PoolRunner
from mofa_usage.stores.sql_records import SqlRecords
from mofa_usage.stores.statements import Statements
from mofa_usage.urls import parse_url, url_from_env

__all__ = ["SqlStore"]


def _is_busy(error: Exception) -> bool:
    return isinstance(error, QueryError) and error.transient


class SqlStore(SqlRecords, Store):
    """A store on an SQL database, made by `connect`."""

    dialect: ClassVar[Dialect]

    def __init__(self, engine: AsyncEngine, url: sa.URL, options: Options) -> None:
        self._pool_runner = PoolRunner(engine, self.dialect, options)
        super().__init__(self._pool_runner, Statements(self.dialect, engine.dialect), CallTable())
        self._options = options
        self.url = url
        """Where the database is. It holds the password; its `str` and `repr` do not show it."""

    @classmethod
    def connect(cls, url: str | sa.URL, **options: Unpack[ConnectOptions]) -> Connecting[Self]:
        """Connect to a database: `store = await ...`, or `async with ... as store` that closes it.

        Args:
            url: One of this backend's URLs; see `mofa_usage.urls`.
            **options: The fields of `Options`, such as `max_connections`.

        Raises:
            StoreConnectionError: when awaited; the URL is another backend's, or the database cannot be reached.
            MissingExtraError: when awaited; the driver is not installed.
        """
        return Connecting(lambda: cls._open(url, Options(**options)))

    @classmethod
    def from_env(cls, **options: Unpack[ConnectOptions]) -> Connecting[Self]:
        """`connect` with the URL of the environment variable `DATABASE_URL`."""
        return Connecting(lambda: cls._open(url_from_env(), Options(**options)))

    @classmethod
    async def _open(cls, url: str | sa.URL, options: Options) -> Self:
        backend, parsed = parse_url(url).located()  # a pool opens files again and again
        if backend != cls.dialect.name:
            raise StoreConnectionError(f"{cls.__name__} cannot open a {backend} URL")
        store = cls(cls.dialect.driver.open(parsed, options), parsed, options)
        try:
            await (store._prepare() if options.create_tables else store._answer())
        except BaseException:
            await store.close()
            raise
        return store

    async def _prepare(self, *, mofas: bool = False) -> str:
        # Two processes that create a file at once get into each other's way; a server that is not there stays so.
        async for attempt in stamina.retry_context(on=_is_busy, timeout=self._options.lock_timeout, attempts=None):
            with attempt:
                return await prepare_tables(self._pool_runner, mofas=mofas)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def migrate(self) -> str:
        """Create missing tables and bring all others up to date, those that MoFA made, too; the revision that they
        are at. MoFA's agents must be restarted after that: new columns break what they have prepared.

        Raises:
            QueryError: it is not allowed, or a table is not MoFA's.
        """
        return await self._prepare(mofas=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url.render_as_string()}>"

    @property
    def backend_name(self) -> str:
        return self.dialect.name

    @property
    def is_connected(self) -> bool:
        return self._pool_runner.connections.open

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, for statements of your own. Its pool is this store's."""
        return self._pool_runner.engine

    @property
    def pool(self) -> Pool:
        """SQLAlchemy's connection pool: `pool.size()`, `pool.checkedout()`, `pool.status()`."""
        return self.engine.pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlRecords]:
        async with self._pool_runner.transaction() as runner:
            yield SqlRecords(runner, self._sql, self._calls)

    async def ping(self) -> None:
        try:
            await self._answer()
        except PersistenceError as error:
            if not error.transient:
                raise
            await self._answer()  # that connection may have been stale; this one is new

    async def _answer(self) -> None:
        await self._pool_runner.attempt(
            lambda connection: self._dialect.driver.fetch(connection, "SELECT 1", ()), "ping"
        )

    async def close(self) -> None:
        if self.is_connected:
            await self._pool_runner.connections.close()
