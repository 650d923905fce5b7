"""Connections of the driver, lent from SQLAlchemy's pool.

A pooled connection is given back as it came: outside a transaction. One whose task failed in a way that leaves this
open (cancelled, connection lost) never goes back; the pool replaces it. Nor does one whose store was closed meanwhile:
a pool that is disposed of would keep what comes back to it, and with it a socket or a thread.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from mofa_usage.errors import MofaUsageError, PersistenceError, QueryError, StoreConnectionError
from mofa_usage.stores.dialects import FAILED, REFUSED, Dialect, Failure

__all__ = ["Connections", "Lease", "State", "failure_of", "state_after", "translate"]

_CLOSING_SECONDS = 10.0  # that what is running has to end, when a store is closed

State = Literal["whole", "unfinished", "lost"]
"""How a connection comes back: outside a transaction; with something left running or open; or dead."""


def _driver_error(error: BaseException, dialect: Dialect) -> BaseException:
    """The driver's own exception, the outermost that means something: SQLAlchemy's adapters wrap it."""
    while dialect.driver.meaning(error) is None:
        inner = getattr(error, "driver_exception", None) or getattr(error, "orig", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def failure_of(error: BaseException, dialect: Dialect) -> Failure | None:
    """What an exception means, `None` for one that has nothing to do with the database."""
    if isinstance(error, asyncio.CancelledError | MofaUsageError):
        return None
    return dialect.driver.meaning(_driver_error(error, dialect)) or (
        FAILED if isinstance(error, SQLAlchemyError) else None
    )


def translate(error: BaseException, failure: Failure, dialect: Dialect, doing: str) -> PersistenceError:
    """Our exception for one of the driver, whose cause it is to become."""
    driver = _driver_error(error, dialect)
    dialect.driver.conceal(driver)
    said = dialect.driver.message(driver).strip() or type(error).__name__
    return failure.error(f"{doing}: {said}", transient=failure.transient)


def state_after(error: BaseException | None, dialect: Dialect) -> State:
    """How a connection is after what a task met that used it."""
    if error is None:
        return "whole"
    if not isinstance(error, Exception):
        return "unfinished"  # a cancelled task may have left a statement running
    failure = failure_of(error, dialect)
    return "whole" if failure is None or not failure.lost else "lost"


@dataclass(eq=False)
class _Transaction:
    """A transaction of a store, as the code inside it sees it."""

    connections: "Connections"
    task: asyncio.Task[Any] | None
    over: bool = False


_inside: ContextVar[tuple[_Transaction, ...]] = ContextVar("transactions around this code", default=())
_MISTAKE = "inside its own transaction, where the object that `transaction()` gives is to be used"
_FULL = "every connection of the pool is in use, and the transaction holds one of them"


class Connections:
    """The connections of a store: lends them, knows which are lent, and closes them all.

    Attributes:
        open: Connections are lent; false from the moment at which the store is being closed.
    """

    def __init__(self, engine: AsyncEngine, dialect: Dialect, patience: float) -> None:
        self.engine = engine
        self.dialect = dialect
        self.open = True
        self._patience = patience
        # A task waits here and not in the pool, where it could not be told that the store is closed meanwhile.
        self.places = asyncio.Semaphore(engine.pool.size())  # type: ignore[attr-defined]  # every pool of ours has one
        self.lent: dict[Lease, asyncio.Task[Any] | None] = {}
        self.returned = asyncio.Event()
        sa.event.listen(engine.sync_engine, "checkin", self._checked_in)

    def check_open(self) -> None:
        """Refuse to go on with a closed store.

        Raises:
            StoreConnectionError: it is.
        """
        if not self.open:
            raise StoreConnectionError("the store is closed")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Marks a block, and the tasks that are started in it, as lying inside a transaction of this store."""
        mine = _Transaction(self, asyncio.current_task())
        _inside.set((*_inside.get(), mine))
        try:
            yield
        finally:
            mine.over = True
            _inside.set(tuple(transaction for transaction in _inside.get() if not transaction.over))

    def _own_transactions(self) -> "list[_Transaction]":
        return [each for each in _inside.get() if each.connections is self and not each.over]

    def refuse_own_transaction(self, why: str) -> None:
        """Refuse to wait for what the current task itself holds.

        Raises:
            QueryError: the task is inside a transaction of this store.
        """
        if any(transaction.task is asyncio.current_task() for transaction in self._own_transactions()):
            raise QueryError(f"the store is used {_MISTAKE}: {why}")

    async def take_place(self) -> None:
        """Wait until one more connection may be lent.

        Raises:
            QueryError: it would never be: the task that waits, or the one that started it, holds what it waits for.
        """
        if not self.places.locked():
            await self.places.acquire()
            return
        self.refuse_own_transaction(_FULL)
        # A task that was started inside a transaction may be one that the transaction waits for, or not.
        limit = self._patience if self._own_transactions() else None
        try:
            async with asyncio.timeout(limit):
                await self.places.acquire()
        except TimeoutError:
            raise QueryError(f"a task waits for a connection {limit:g} s {_MISTAKE}: {_FULL}") from None

    def _checked_in(self, connection: Any, record: Any) -> None:
        if not self.open:  # one that somebody had from the engine, and that the pool would keep
            record.close()

    async def close(self) -> None:
        """Close every connection: those that are idle now, those in use when their work has ended.

        The work of others gets some time for that, and is broken off then. A transaction of the task that closes may
        go on to its end, which nobody could wait for here.
        """
        self.open = False
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._others_returned()
        except TimeoutError:
            pass
        finally:
            for lease in self._of_others():
                await lease.break_off()
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await self._others_returned()
            await self.engine.dispose()

    def _of_others(self) -> "list[Lease]":
        own = asyncio.current_task()
        return [lease for lease, task in self.lent.items() if task is not own]

    async def _others_returned(self) -> None:
        while self._of_others():
            self.returned.clear()
            await self.returned.wait()


class Lease:
    """A connection of the driver for the time of a `with` block."""

    __slots__ = ("_broken_off", "_connections", "_pooled")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._pooled: PoolProxiedConnection | None = None
        self._broken_off = False

    async def __aenter__(self) -> Any:
        connections = self._connections
        connections.check_open()
        await connections.take_place()
        try:
            connections.check_open()
            connections.lent[self] = asyncio.current_task()
            await self._connect()
            connections.check_open()
        except BaseException:
            await self.give_back("whole")
            raise
        assert self._pooled is not None  # noqa: S101 (it connected)
        return self._pooled.driver_connection

    async def _connect(self) -> None:
        engine, dialect = self._connections.engine, self._connections.dialect
        try:
            self._pooled = await greenlet_spawn(engine.pool.connect)
        except Exception as error:
            # Whatever went wrong while connecting, no statement was sent.
            failure = failure_of(error, dialect)
            if failure is None:
                raise
            met = REFUSED if failure == FAILED else failure
            where = engine.url.render_as_string()  # without its password
            raise translate(error, met, dialect, f"cannot connect to {where}") from _driver_error(error, dialect)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.give_back(state_after(error, self._connections.dialect))
        if isinstance(error, Exception):
            self.check_whole(error)

    def check_whole(self, cause: Exception | None = None) -> None:
        """Refuse to go on with a connection that was broken off.

        Raises:
            StoreConnectionError: it was.
        """
        if self._broken_off:
            raise StoreConnectionError("the store was closed meanwhile") from cause

    async def give_back(self, state: State) -> None:
        """End the lease, as leaving the block does."""
        pooled, self._pooled = self._pooled, None
        if pooled is None:
            self._end()
        elif state == "whole" and self._connections.open:
            pooled.close()
            self._end()
        else:
            await asyncio.shield(asyncio.ensure_future(self._replace(pooled, state)))

    def _end(self) -> None:
        self._connections.lent.pop(self, None)
        self._connections.places.release()
        self._connections.returned.set()

    async def break_off(self) -> None:
        """Close the connection under the task that has it, which gets an error and has nothing to give back then."""
        pooled, self._pooled = self._pooled, None
        self._broken_off = True
        if pooled is not None:
            await self._connections.dialect.driver.break_off(pooled.driver_connection)
            await greenlet_spawn(pooled.invalidate)

    async def _replace(self, pooled: PoolProxiedConnection, state: State) -> None:
        connections = self._connections
        try:
            if state == "lost" and connections.open:
                # Its siblings have most likely gone with it: the pool replaces them all before their next use.
                await greenlet_spawn(connections.engine.pool._invalidate, pooled)
            elif connections.open and await connections.dialect.driver.abandon(pooled.driver_connection):
                pooled.close()
            else:
                await greenlet_spawn(pooled.invalidate)
        finally:
            self._end()
