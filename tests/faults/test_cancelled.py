"""Tasks cancelled in the middle of everything: no connection, lock or half a write is left."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from mofa_usage.errors import QueryError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store
from tests.faults.sessions import busy_sessions
from tests.leaks import checked_out, opened
from tests.samples import SESSION, call, message
from tests.servers import Server

ROW = call(0, id=UUID(int=1))
MANY = 3_000


async def save(store: Store) -> None:
    await store.save_api_call(ROW)


async def bulk(store: Store) -> None:
    await store.save_api_calls([ROW, *(call(n) for n in range(150))])


async def transact(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.save_message(message())
        await transaction.save_api_call(ROW)


WORKS: dict[str, Callable[[Store], Awaitable[None]]] = {"save": save, "bulk": bulk, "transaction": transact}


@pytest.mark.parametrize("name", WORKS)
async def test_a_task_that_waits_for_a_lock_lets_go(server: Server, name: str) -> None:
    async with opened(server.url, lock_timeout=3) as store, opened(server.url) as other, asyncio.timeout(30):
        await store.save_api_call(ROW)
        before = (await store.get_statistics()).total_calls, await store.count_session_messages(SESSION)
        async with other.transaction() as holder:
            await holder.save_api_call(ROW)
            task = asyncio.ensure_future(WORKS[name](store))
            await asyncio.sleep(0.4)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert checked_out(store) == 0
        # The server may notice only when its statement comes to an end.
        assert await busy_sessions(server) == 0
        assert before == ((await store.get_statistics()).total_calls, await store.count_session_messages(SESSION))


@pytest.mark.sql_only
async def test_bulks_cancelled_at_every_moment(url: str) -> None:
    async with opened(url, max_connections=2) as store, asyncio.timeout(120):
        moments = [0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3]
        done: list[bool] = []
        for n, moment in enumerate(moments):
            messages = [message(m, chat_session_id=UUID(int=n)) for m in range(MANY)]
            task = asyncio.create_task(store.save_messages(messages))
            await asyncio.sleep(moment)
            task.cancel()
            done.append((await asyncio.gather(task, return_exceptions=True))[0] is None)
            assert checked_out(store) == 0
        # A COMMIT that a server was sent may come through although nobody waits for its answer.
        saved = [await store.count_session_messages(UUID(int=n)) for n in range(len(moments))]
        assert set(saved) <= {0, MANY}
        assert all(count == MANY for count, returned in zip(saved, done, strict=True) if returned)
        assert not done[0]
        await store.save_messages([message(n) for n in range(MANY)])


@pytest.mark.sql_only
async def test_waiting_for_a_connection(url: str) -> None:
    async with opened(url, max_connections=1) as store, asyncio.timeout(30):
        async with store.transaction() as transaction:
            await transaction.save_message(message())
            tasks = [asyncio.create_task(store.save_message(message(n))) for n in range(10)]
            await asyncio.sleep(0.05)
            for task in tasks[:9]:
                task.cancel()
            await asyncio.sleep(0.05)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 9 + [type(None)]
        assert await store.count_session_messages(SESSION) == 2


async def test_the_first_connection(url: str) -> None:
    """Cancelled while the pool connects."""
    async with opened(url, max_connections=3) as store, asyncio.timeout(60):
        pool = getattr(store, "pool", None)
        for moment in (0.0, 0.001, 0.003, 0.006, 0.01, 0.02):
            if pool is not None:
                await store.engine.dispose()  # type: ignore[attr-defined]  # every store with a pool has one
            tasks = [asyncio.create_task(store.save_message(message(n))) for n in range(6)]
            await asyncio.sleep(moment)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert checked_out(store) == 0
        await asyncio.gather(*(store.save_message(message(n)) for n in range(20)))


async def test_a_transaction_that_is_cancelled_is_rolled_back(url: str) -> None:
    async with opened(url) as store, asyncio.timeout(30):

        async def work() -> None:
            async with store.transaction() as transaction:
                await transaction.save_messages([message(n) for n in range(10)])
                begun.set()
                await asyncio.sleep(60)

        begun = asyncio.Event()
        task = asyncio.create_task(work())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await store.count_session_messages(SESSION) == 0
        await store.save_message(message())  # no lock is left


@pytest.mark.sql_only
async def test_a_transaction_of_which_a_part_was_cancelled_is_not_committed(url: str) -> None:
    """Databases differ in what they would keep: PostgreSQL nothing, without a word."""
    async with opened(url) as store, asyncio.timeout(30):

        async def transact() -> None:
            async with store.transaction() as transaction:
                await transaction.save_message(message())
                task = asyncio.ensure_future(transaction.save_messages([message(n) for n in range(MANY)]))
                await asyncio.sleep(0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        with pytest.raises(QueryError, match="rolled back"):
            await transact()
        assert await store.count_session_messages(SESSION) == 0
        await store.save_message(message())


@pytest.mark.parametrize("error", [TimeoutError, OSError, ConnectionError, ValueError])
async def test_what_the_block_of_a_transaction_raises_comes_out_as_it_is(url: str, error: type[Exception]) -> None:
    raised = error("of the caller")
    async with opened(url, max_connections=1) as store, asyncio.timeout(30):

        async def transact() -> None:
            async with store.transaction() as transaction:
                await transaction.save_message(message())
                raise raised

        with pytest.raises(error) as caught:
            await transact()
        assert caught.value is raised
        assert await store.count_session_messages(SESSION) == 0


async def test_a_stream_that_is_cancelled(url: str) -> None:
    async with opened(url, max_connections=1) as store, asyncio.timeout(60):
        await store.save_api_calls([call(n) for n in range(6_000)])

        async def read() -> None:
            async for _ in store.stream_api_calls(QueryFilter()):
                await asyncio.sleep(0)

        for moment in (0.0, 0.002, 0.02, 0.1):
            task = asyncio.create_task(read())
            await asyncio.sleep(moment)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert checked_out(store) == 0
        assert (await store.get_statistics()).total_calls == 6_000
