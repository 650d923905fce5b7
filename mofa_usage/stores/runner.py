"""Runs pieces of work on a database: on a connection of the pool each, or all in one transaction.

A piece of work is an async function of a driver's connection. The runner lends it one, begins and ends a transaction
where the work wants one, tries passing failures again and translates the driver's exceptions.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Literal, Protocol, TypeVar

import stamina
from sqlalchemy.ext.asyncio import AsyncEngine

from mofa_usage.errors import PersistenceError, QueryError, StoreConnectionError
from mofa_usage.stores.connections import Lease, failure_of, translate
from mofa_usage.stores.dialects import Dialect, Options

__all__ = ["Mode", "PoolRunner", "Runner", "TransactionRunner", "Work"]

_T = TypeVar("_T")
Mode = Literal["read", "write", "atomic"]
"""`read` changes nothing, `write` is one statement, `atomic` several that belong together."""
Work = Callable[[Any], Awaitable[_T]]


class Runner(Protocol):
    """What `SqlRecords` runs its work on."""

    dialect: Dialect

    async def run(self, work: Work[_T], doing: str, mode: Mode = "read", *, repeatable: bool = True) -> _T:
        """The result of the work; `doing` says in an error what it was. Work that is not `repeatable` is not tried
        again once it may have been carried out.
        """
        ...


class PoolRunner:
    """Runs each piece of work on a connection of the pool."""

    def __init__(self, engine: AsyncEngine, dialect: Dialect, options: Options) -> None:
        self.engine = engine
        self.dialect = dialect
        self.open = True
        self._options = options
        self._writer = asyncio.Lock() if dialect.serial else None

    async def run(self, work: Work[_T], doing: str, mode: Mode = "read", *, repeatable: bool = True) -> _T:
        """See `Runner`."""
        retry = self._options.retry
        try:
            return await self.attempt(work, doing, mode)
        except PersistenceError as error:
            if retry.attempts < 2 or not self._again(error, repeatable):
                raise
        async for attempt in stamina.retry_context(
            on=lambda error: self._again(error, repeatable),
            attempts=retry.attempts - 1,
            timeout=retry.timeout,
            wait_initial=retry.wait_initial,
            wait_max=retry.wait_max,
        ):
            with attempt:
                return await self.attempt(work, doing, mode)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _again(self, error: BaseException, repeatable: bool) -> bool:
        if not isinstance(error, PersistenceError) or error.__cause__ is None:
            return False
        failure = failure_of(error.__cause__, self.dialect)
        return failure is not None and failure.again and (repeatable or not failure.lost)

    async def attempt(self, work: Work[_T], doing: str, mode: Mode = "read") -> _T:
        """The result of the work, tried once."""
        try:
            async with self._turn(mode), self._lease() as connection:
                if mode != "atomic":
                    return await work(connection)
                async with _begun(connection, self.dialect):
                    return await work(connection)
        except Exception as error:
            ours = self._ours(error, doing)
            if ours is error:
                raise
            raise ours from error

    async def attempt_alone(self, work: Callable[[], Awaitable[_T]], doing: str) -> _T:
        """The result of work that takes its connection itself, tried once."""
        try:
            return await work()
        except Exception as error:
            ours = self._ours(error, doing)
            if ours is error:
                raise
            raise ours from error

    def _ours(self, error: Exception, doing: str) -> Exception:
        failure = failure_of(error, self.dialect)
        return error if failure is None else translate(error, failure, self.dialect, doing)

    def _lease(self) -> Lease:
        if not self.open:
            raise StoreConnectionError("the store is closed")
        return Lease(self.engine, self.dialect)

    def _turn(self, mode: Mode) -> AbstractAsyncContextManager[None]:
        return nullcontext() if mode == "read" or self._writer is None else self._queue(self._writer)

    @asynccontextmanager
    async def _queue(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        patience = self._options.lock_timeout
        try:
            async with asyncio.timeout(patience):
                await lock.acquire()
        except TimeoutError:
            raise QueryError(
                f"another transaction of this store has been writing for {patience:g} s (one that uses the store "
                "instead of the transaction waits for itself)",
                transient=True,
            ) from None
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["TransactionRunner"]:
        """A runner whose work all happens in one transaction, committed at the end of the block."""
        try:
            async with self._turn("atomic"), self._lease() as connection:
                runner = TransactionRunner(connection, self.dialect)
                async with _begun(connection, self.dialect):
                    yield runner
                    runner.end()
        except Exception as error:
            ours = self._ours(error, "transaction")
            if ours is error:
                raise
            raise ours from error


class TransactionRunner:
    """Runs work on the one connection of a transaction."""

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self.dialect = dialect
        self._connection = connection
        self._failed: Exception | None = None
        self._over = False

    async def run(self, work: Work[_T], doing: str, mode: Mode = "read", *, repeatable: bool = True) -> _T:
        """See `Runner`. Nothing is tried again: the database may have given up the whole transaction."""
        if self._over:
            raise QueryError("the transaction is over")
        self._check()
        try:
            return await work(self._connection)
        except Exception as error:
            failure = failure_of(error, self.dialect)
            if failure is None:
                raise
            self._failed = error
            raise translate(error, failure, self.dialect, doing) from error

    def end(self) -> None:
        """No more work.

        Raises:
            QueryError: something had failed and nobody minded; databases differ in what they would keep.
        """
        self._over = True
        self._check()

    def _check(self) -> None:
        if self._failed is not None:
            raise QueryError("something in the transaction has failed, so all of it is rolled back") from self._failed


@asynccontextmanager
async def _begun(connection: Any, dialect: Dialect) -> AsyncIterator[None]:
    await dialect.execute(connection, dialect.begin, ())
    try:
        yield
        await dialect.execute(connection, "COMMIT", ())
    except Exception as error:
        failure = failure_of(error, dialect)
        if failure is None or not failure.lost:
            await dialect.execute(connection, "ROLLBACK", ())
        raise
