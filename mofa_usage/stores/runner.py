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

from mofa_usage.errors import PersistenceError, QueryError
from mofa_usage.stores.connections import Connections, Lease, State, failure_of, state_after, translate
from mofa_usage.stores.dialects import Dialect, Options

__all__ = ["Mode", "PoolRunner", "Runner", "TransactionRunner", "Work"]

_T = TypeVar("_T")
Mode = Literal["read", "write", "atomic"]
"""`read` changes nothing, `write` is one statement, `atomic` several that belong together."""
Work = Callable[[Any], Awaitable[_T]]

_JITTER = 0.25  # seconds, at random, so that those who met in a deadlock do not meet again


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
        self.connections = Connections(engine, dialect, options.lock_timeout)
        self._options = options
        self._begin = dialect.driver.begin(options)
        self._alone = dialect.driver.alone(options)
        self._readers_wait = dialect.driver.readers_wait(engine.url)
        self._writer = _Queue(options.lock_timeout, self.connections) if dialect.driver.serial else None

    async def run(self, work: Work[_T], doing: str, mode: Mode = "read", *, repeatable: bool = True) -> _T:
        """See `Runner`."""
        if repeatable:
            return await self._insist(lambda: self.attempt(work, doing, mode), self._passes)
        sent = False

        async def once(connection: Any) -> _T:
            nonlocal sent
            sent = False
            await self.dialect.driver.fetch(
                connection, "SELECT 1", ()
            )  # a stale connection says so where it does no harm
            sent = True
            return await work(connection)

        return await self._insist(
            lambda: self.attempt(once, doing, mode),
            lambda error: self._passes(error) and not (sent and self._is_lost(error)),
        )

    async def _insist(self, attempt: Callable[[], Awaitable[_T]], again: Callable[[Exception], bool]) -> _T:
        """The result of an attempt, which is made again as long as its failures may pass."""
        try:
            return await attempt()
        except PersistenceError as error:
            if not again(error):
                raise
            first = error  # stamina's bookkeeping is for those who need it: it takes as long as a quick statement
        retry = self._options.retry
        async for trying in stamina.retry_context(
            on=again,
            attempts=retry.attempts,
            timeout=retry.timeout,
            wait_initial=retry.wait_initial,
            wait_max=retry.wait_max,
            wait_jitter=_JITTER,
        ):
            with trying:
                if trying.num == 1:
                    raise first
                return await attempt()
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _passes(self, error: BaseException) -> bool:
        cause = error.__cause__ if isinstance(error, PersistenceError) else None
        failure = None if cause is None else failure_of(cause, self.dialect)
        return failure is not None and failure.again

    def _is_lost(self, error: BaseException) -> bool:
        return error.__cause__ is not None and state_after(error.__cause__, self.dialect) == "lost"

    async def attempt(self, work: Work[_T], doing: str, mode: Mode = "read") -> _T:
        """The result of the work, tried once."""
        if mode == "atomic" or not self._alone:
            async with self._within(self._begin_transaction) as runner:
                return await runner.run(work, doing)

        async def leased() -> _T:
            async with self._turn(mode), Lease(self.connections) as connection:
                return await work(connection)

        return await self.attempt_alone(leased, doing)

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

    def _turn(self, mode: Mode) -> AbstractAsyncContextManager[None]:
        if self._writer is None:
            return nullcontext()
        if mode != "read":
            return self._writer.turn()
        if self._readers_wait:
            self._writer.refuse_own()
        return nullcontext()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["TransactionRunner"]:
        """A runner whose work all happens in one transaction, committed at the end of the block.

        What the block raises comes out as it is.
        """
        async with self._within(lambda: self._insist(self._begin_transaction, self._passes)) as runner:
            with self.connections.transaction():
                yield runner

    @asynccontextmanager
    async def _within(self, begin: Callable[[], Awaitable[tuple[Lease, Any]]]) -> AsyncIterator["TransactionRunner"]:
        async with self._turn("atomic"):
            lease, connection = await begin()
            runner = TransactionRunner(connection, lease, self.dialect)
            state: State = "unfinished"
            try:
                yield runner
                await runner.commit()
                state = "whole"
            except BaseException as error:
                state = await runner.roll_back(error)
                raise
            finally:
                await lease.give_back(state)

    async def _begin_transaction(self) -> tuple[Lease, Any]:
        lease = Lease(self.connections)
        connection = await lease.__aenter__()
        try:
            await self.dialect.driver.execute(connection, self._begin, ())
        except BaseException as error:
            await lease.give_back(state_after(error, self.dialect))
            ours = self._ours(error, "beginning a transaction") if isinstance(error, Exception) else error
            if ours is error:
                raise
            raise ours from error
        return lease, connection


class TransactionRunner:
    """Runs work on the one connection of a transaction."""

    def __init__(self, connection: Any, lease: Lease, dialect: Dialect) -> None:
        self.dialect = dialect
        self._connection = connection
        self._lease = lease
        self._failed: BaseException | None = None
        self._over = False

    async def run(self, work: Work[_T], doing: str, mode: Mode = "read", *, repeatable: bool = True) -> _T:
        """See `Runner`. Nothing is tried again: the database may have given up the whole transaction."""
        if self._over:
            raise QueryError("the transaction is over")
        self._check()
        try:
            return await work(self._connection)
        except BaseException as error:
            if isinstance(error, Exception):
                self._lease.check_whole(error)
            failure = failure_of(error, self.dialect)
            if isinstance(error, Exception) and failure is None:
                raise
            self._failed = error
            if failure is None:
                raise
            raise translate(error, failure, self.dialect, doing) from error

    async def commit(self) -> None:
        """Keep what was done; no more work.

        Raises:
            QueryError: something had failed or was cancelled and nobody minded; databases differ in what they keep.
        """
        await self.run(
            lambda connection: self.dialect.driver.execute(connection, "COMMIT", ()), "committing a transaction"
        )
        self._over = True

    async def roll_back(self, error: BaseException) -> State:
        """Undo what was done because of an error; no more work. How the connection is afterwards."""
        self._over = True
        state = state_after(self._failed if isinstance(error, Exception) else error, self.dialect)
        if state != "whole":
            return state
        try:
            await self.dialect.driver.execute(self._connection, "ROLLBACK", ())
        except Exception:
            return "unfinished"  # closing the connection rolls back, and the error of the block is what matters
        return "whole"

    def _check(self) -> None:
        self._lease.check_whole()
        if self._failed is not None:
            raise QueryError("something in the transaction has failed, so all of it is rolled back") from self._failed


class _Queue:
    """Where the tasks of this process queue for writing, on a database that has one writer at a time."""

    def __init__(self, patience: float, connections: Connections) -> None:
        self._lock = asyncio.Lock()
        self._connections = connections
        self._patience = patience
        self._since = 0.0  # when the turn last passed on

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn, which others wait for. However long the queue, it is an error only if it does not move."""
        self.refuse_own()
        await self._acquire()
        try:
            self._since = asyncio.get_running_loop().time()
            yield
        finally:
            self._since = asyncio.get_running_loop().time()
            self._lock.release()

    def refuse_own(self) -> None:
        """Refuse to wait for the writer where that is the transaction around the current task."""
        if self._lock.locked():
            self._connections.refuse_own_transaction("this database has one writer at a time, which the transaction is")

    async def _acquire(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                watch = loop.call_later(self._patience, lambda: look())

                def look() -> None:
                    nonlocal watch
                    end = self._since + self._patience
                    if end > loop.time():
                        watch = loop.call_at(end, look)
                    else:
                        limit.reschedule(end)

                try:
                    await self._lock.acquire()
                finally:
                    watch.cancel()
        except TimeoutError:
            raise QueryError(
                f"another transaction of this store has been writing for {self._patience:g} s (one that waits for "
                "a task which uses the store waits for itself)",
                transient=True,
            ) from None
