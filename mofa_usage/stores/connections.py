"""Connections of the driver, lent from SQLAlchemy's pool.

A pooled connection is given back as it came: outside a transaction. One whose task failed in a way that leaves this
open (cancelled, connection lost) never goes back; the pool replaces it.
"""

import asyncio
from types import TracebackType
from typing import Any, Literal

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from mofa_usage.errors import MofaUsageError, PersistenceError
from mofa_usage.stores.dialects import FAILED, REFUSED, Dialect, Failure

__all__ = ["Lease", "State", "failure_of", "state_after", "translate"]

State = Literal["whole", "unfinished", "lost"]
"""How a connection comes back: outside a transaction; with something left running or open; or dead."""


def _driver_error(error: BaseException, dialect: Dialect) -> BaseException:
    """The driver's own exception, the outermost that means something: SQLAlchemy's adapters wrap it."""
    while dialect.meaning(error) is None:
        inner = getattr(error, "driver_exception", None) or getattr(error, "orig", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def failure_of(error: BaseException, dialect: Dialect) -> Failure | None:
    """What an exception means, `None` for one that has nothing to do with the database."""
    if isinstance(error, asyncio.CancelledError | MofaUsageError):
        return None
    return dialect.meaning(_driver_error(error, dialect)) or (FAILED if isinstance(error, SQLAlchemyError) else None)


def translate(error: BaseException, failure: Failure, dialect: Dialect, doing: str) -> PersistenceError:
    """Our exception for one of the driver, whose cause it is to become."""
    driver = _driver_error(error, dialect)
    dialect.conceal(driver)
    said = dialect.message(driver).strip() or type(error).__name__
    return failure.error(f"{doing}: {said}", transient=failure.transient)


def state_after(error: BaseException | None, dialect: Dialect) -> State:
    """How a connection is after what a task met that used it."""
    if error is None:
        return "whole"
    if not isinstance(error, Exception):
        return "unfinished"  # a cancelled task may have left a statement running
    failure = failure_of(error, dialect)
    return "whole" if failure is None or not failure.lost else "lost"


class Lease:
    """A connection of the driver for the time of a `with` block."""

    __slots__ = ("_dialect", "_engine", "_pooled")

    def __init__(self, engine: AsyncEngine, dialect: Dialect) -> None:
        self._engine = engine
        self._dialect = dialect

    async def __aenter__(self) -> Any:
        try:
            self._pooled: PoolProxiedConnection = await greenlet_spawn(self._engine.pool.connect)
        except Exception as error:
            # Whatever went wrong while connecting, no statement was sent.
            failure = failure_of(error, self._dialect)
            if failure is None:
                raise
            met = REFUSED if failure == FAILED else failure
            where = self._engine.url.render_as_string()  # without its password
            raise translate(error, met, self._dialect, f"cannot connect to {where}") from _driver_error(
                error, self._dialect
            )
        return self._pooled.driver_connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.give_back(state_after(error, self._dialect))

    async def give_back(self, state: State) -> None:
        """End the lease, as leaving the block does."""
        if state == "whole":
            self._pooled.close()
        else:
            await asyncio.shield(asyncio.ensure_future(self._replace(state)))

    async def _replace(self, state: State) -> None:
        pooled = self._pooled
        if state == "lost":
            # Its siblings have most likely gone with it: the pool replaces them all before their next use.
            await greenlet_spawn(self._engine.pool._invalidate, pooled)
        elif await self._dialect.abandon(pooled.driver_connection):
            pooled.close()
        else:
            await greenlet_spawn(pooled.invalidate)
