"""Connections that the administrator ends, and servers that restart: the next call works."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mofa_usage.errors import StoreConnectionError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store
from tests.faults.sessions import end_sessions
from tests.leaks import checked_out, opened
from tests.samples import USER, at, call, message, session
from tests.servers import Server


async def transact(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.save_api_call(call())
        await transaction.save_message(message())


async def update(store: Store) -> None:
    (known, *_) = await store.get_user_sessions(USER)
    await store.update_session(known)


CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "ping": lambda store: store.ping(),
    "save": lambda store: store.save_api_call(call()),
    "bulk": lambda store: store.save_api_calls([call(n) for n in range(150)]),
    "create": lambda store: store.create_session(session()),
    "update": update,
    "transaction": transact,
    "query": lambda store: store.query_api_calls(QueryFilter(limit=3)),
    "statistics": lambda store: store.get_statistics(QueryFilter()),
    "cleanup": lambda store: store.cleanup_old_records(at(-1)),
}


async def warm(store: Store) -> None:
    """Make every connection of the pool."""
    await store.create_session(session())
    await asyncio.gather(*(store.save_api_calls([call(n) for n in range(100)]) for _ in range(10)))


@pytest.mark.parametrize("name", CALLS)
async def test_the_next_call_works_after_connections_were_ended(server: Server, name: str) -> None:
    async with opened(server.url, max_connections=4) as store, asyncio.timeout(30):
        await warm(store)
        assert await asyncio.to_thread(end_sessions, server) > 0
        await CALLS[name](store)
        assert checked_out(store) == 0


@pytest.mark.parametrize("name", ["ping", "create", "transaction", "bulk"])
async def test_the_next_call_works_after_a_restart(server: Server, name: str) -> None:
    async with opened(server.url, max_connections=4) as store, asyncio.timeout(60):
        await warm(store)
        await asyncio.to_thread(server.restart)
        await CALLS[name](store)
        await store.ping()


async def test_a_stream_goes_on(server: Server) -> None:
    async with opened(server.url) as store, asyncio.timeout(60):
        await store.cleanup_old_records(at(1e9))
        await store.save_api_calls([call(n) for n in range(12_000)])
        seen = 0
        async for _ in store.stream_api_calls(QueryFilter()):
            if seen == 100:
                await asyncio.to_thread(end_sessions, server)
            seen += 1
        assert seen == 12_000


async def test_nothing_fails_under_an_administrator_who_ends_connections(server: Server) -> None:
    async with opened(server.url, max_connections=5) as store, asyncio.timeout(120):
        await store.cleanup_old_records(at(1e9))
        calls = [[call(n) for n in range(20)] for _ in range(200)]
        saving = [asyncio.create_task(store.save_api_calls(bulk)) for bulk in calls]
        ended = 0
        while not all(task.done() for task in saving):
            ended += await asyncio.to_thread(end_sessions, server)
            await asyncio.sleep(0.3)
        await asyncio.gather(*saving)
        assert ended > 0
        assert len(await store.query_api_calls(QueryFilter())) == 4_000


async def test_a_transaction_whose_connection_is_ended_says_so_and_leaves_nothing(server: Server) -> None:
    made = call()
    async with opened(server.url) as store, asyncio.timeout(30):

        async def transact() -> None:
            async with store.transaction() as transaction:
                await transaction.save_api_call(made)
                await asyncio.to_thread(end_sessions, server)
                await transaction.save_api_call(call())

        with pytest.raises(StoreConnectionError) as caught:
            await transact()
        assert caught.value.transient
        assert await store.get_api_call(made.id) is None
