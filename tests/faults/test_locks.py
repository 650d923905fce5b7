"""Rows that another session holds: waited for, up to a limit; and two that wait for each other."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from mofa_usage.errors import QueryError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store
from tests.faults.sessions import busy_sessions, deadlocks
from tests.leaks import checked_out, opened
from tests.samples import at, call, message
from tests.servers import Server

ONE, OTHER = call(0, id=UUID(int=1)), call(1, id=UUID(int=2))


async def save(store: Store) -> None:
    await store.save_api_call(ONE)


async def bulk(store: Store) -> None:
    await store.save_api_calls([ONE, *(call(n) for n in range(150))])


async def transact(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.save_api_call(ONE)


async def expect_locked(store: Store, *works: Callable[[Store], Awaitable[None]]) -> None:
    for work in works:
        begun = time.monotonic()
        with pytest.raises(QueryError, match=r"(?i)lock") as caught:
            await work(store)
        assert caught.value.transient
        assert 0.5 < time.monotonic() - begun < 8
        assert checked_out(store) == 0


@pytest.mark.shared_only
@pytest.mark.sql_only
async def test_a_lock_of_another_session_times_out(url: str) -> None:
    async with opened(url, lock_timeout=1) as store, opened(url) as other:
        await store.save_api_call(ONE)
        async with other.transaction() as holder:
            await holder.save_api_call(ONE)
            await expect_locked(store, save, bulk, transact)
        await asyncio.gather(*(store.save_api_call(call(n)) for n in range(20)))
        assert (await store.get_statistics(QueryFilter())).total_calls == 21


async def test_a_table_that_is_locked_times_out_too(server: Server) -> None:
    """As during an ALTER TABLE: MySQL keeps such locks apart, with a timeout of their own of a day."""
    async with opened(server.url, lock_timeout=1) as store:
        locked = asyncio.create_task(asyncio.to_thread(_lock_table, server, 6))
        await asyncio.sleep(1)
        await expect_locked(store, save)
        await locked
        await store.save_api_call(ONE)


def _lock_table(server: Server, seconds: int) -> None:
    database = server.url.rpartition("/")[2]
    if server.backend == "postgres":
        lock, sleep = "begin; lock table entity_llm_api_call", "pg_sleep"
    else:
        lock, sleep = "lock tables entity_llm_api_call write", "sleep"
    server.admin(f"{lock}; select {sleep}({seconds})", database)


async def test_tasks_that_queue_for_longer_than_the_limit_do_not_fail(url: str) -> None:
    """The limit is for one that holds a lock, not for the length of the queue."""
    async with opened(url, lock_timeout=1, max_connections=2) as store:

        async def hold(n: int) -> None:
            async with store.transaction() as transaction:
                await transaction.save_message(message(n))
                await asyncio.sleep(0.3)

        await asyncio.gather(*(hold(n) for n in range(10)))
        assert await store.count_session_messages(message().chat_session_id) == 10


async def test_the_operation_that_loses_a_deadlock_is_tried_again(server: Server) -> None:
    async with opened(server.url) as store, asyncio.timeout(60):
        await store.save_api_calls([ONE, OTHER])
        before = await deadlocks(server)
        async with store.transaction() as transaction:
            await transaction.save_api_calls([call(n) for n in range(90)])  # InnoDB ends the one that did less
            await transaction.save_api_call(OTHER)
            saving = asyncio.create_task(store.save_api_calls([ONE, OTHER.model_copy(update={"error_code": "won"})]))
            await asyncio.sleep(0.5)
            assert not saving.done()
            await transaction.save_api_call(ONE)
        await saving
        assert await deadlocks(server, before + 1) > before
        won = await store.get_api_call(OTHER.id)
        assert won is not None
        assert won.error_code == "won"


async def test_a_transaction_that_loses_a_deadlock_is_told(server: Server) -> None:
    async with opened(server.url) as store, asyncio.timeout(60):
        await store.save_api_calls([ONE, OTHER])
        async with store.transaction() as winner:
            await winner.save_api_calls([call(n) for n in range(90)])
            await winner.save_api_call(OTHER)

            async def lose() -> None:
                async with store.transaction() as loser:
                    await loser.save_api_call(ONE)
                    await loser.save_api_call(OTHER)

            losing = asyncio.create_task(lose())
            await asyncio.sleep(0.5)
            await winner.save_api_call(ONE)
            with pytest.raises(QueryError, match=r"(?i)deadlock") as caught:
                await losing
        assert caught.value.transient
        assert await store.cleanup_old_records(at(1e9)) >= 92
        assert await busy_sessions(server) == 0
