"""Making the tables, and a connect that ends in the middle of it: the next one finishes what was begun."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from mofa_usage.stores import connect
from mofa_usage.stores.migrations import VERSION_TABLE, migration_sql
from tests.leaks import opened
from tests.mofa_tables import TABLES, MofaDatabase, build
from tests.proofs import trials

pytestmark = [pytest.mark.shared_only, pytest.mark.sql_only]


class Killed(BaseException):
    """No `Exception`, so that SQLAlchemy drops the connection as it is."""


def kill() -> None:
    raise Killed


def cancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@contextmanager
def interrupted_after(statements: int, interrupt: Callable[[], None]) -> Iterator[list[str]]:
    """Interrupts whoever has run so many statements through SQLAlchemy in the block; what was run."""
    done: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        done.append(statement)
        if len(done) == statements:
            interrupt()

    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    try:
        yield done
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", note)


async def made(database: MofaDatabase) -> dict[str, str]:
    """What there is after a connect that nothing interrupts."""
    async with opened(database.url):
        return await database.catalogue()


async def drop(database: MofaDatabase) -> None:
    await database.run(*(f"DROP TABLE IF EXISTS {table}" for table in (*TABLES, VERSION_TABLE, "mofa_usage_position")))


@pytest.mark.proof
@pytest.mark.parametrize(("interrupt", "error"), [(kill, Killed), (cancel, asyncio.CancelledError)])
async def test_a_connect_that_ends_after_any_statement_is_finished_by_the_next(
    empty_url: str, interrupt: Callable[[], None], error: type[BaseException]
) -> None:
    database = await build(empty_url, ())
    with interrupted_after(0, interrupt) as statements:
        whole = await made(database)
    assert len(set(re.findall(r"\bidx_\w+", str(whole))) - {"idx_api_call_other_zone"}) == 18
    assert len(statements) > len(TABLES)
    for number, statement in list(enumerate(statements, 1))[:: trials(9, 1)]:
        await drop(database)
        with interrupted_after(number, interrupt), pytest.raises(error):
            await asyncio.ensure_future(connect(empty_url))
        assert await made(database) == whole, f"interrupted after {statement}"


@pytest.mark.parametrize(("dialect", "separate"), {"mysql": 0, "mariadb": 0, "postgresql": 18, "sqlite": 18}.items())
def test_the_sql_for_others_makes_the_indexes_in_the_same_way(dialect: str, separate: int) -> None:
    sql = migration_sql(dialect)
    assert len(re.findall(r"INDEX idx_\w+ (?:ON \w+ )?\(", sql)) == 18
    assert len(re.findall(r"CREATE INDEX idx_", sql)) == separate
