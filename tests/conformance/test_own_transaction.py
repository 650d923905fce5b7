"""A store that is used inside its own transaction: the mistake is named, and nobody else is taken for it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mofa_usage.errors import QueryError
from mofa_usage.stores import Store
from tests.leaks import opened
from tests.samples import NOON, SESSION, USER, call, message, session

pytestmark = pytest.mark.sql_only

MISTAKE = "inside its own transaction"


async def nest(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.save_message(message(7))


async def stream(store: Store) -> None:
    async for _ in store.stream_api_calls():
        pass


WRITES: dict[str, Callable[[Store], Awaitable[object]]] = {
    "save": lambda store: store.save_api_call(call()),
    "save many": lambda store: store.save_messages([message(n) for n in range(200)]),
    "create": lambda store: store.create_session(session()),
    "delete": lambda store: store.delete_session(SESSION),
    "clean up": lambda store: store.cleanup_old_records(NOON),
    "clean up messages": lambda store: store.cleanup_old_messages(NOON),
    "forget": lambda store: store.forget_user(USER),
    "nest": nest,
}
READS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "get": lambda store: store.get_session(SESSION),
    "statistics": lambda store: store.get_statistics(),
    "tallies": lambda store: store.tally_calls((100,)),
    "stream": stream,
    "ping": lambda store: store.ping(),
}


@pytest.mark.parametrize("use", [*WRITES.values(), *READS.values()], ids=[*WRITES, *READS])
async def test_with_a_full_pool_the_mistake_is_named_at_once(
    url: str, use: Callable[[Store], Awaitable[object]]
) -> None:
    async with opened(url, max_connections=1) as store, asyncio.timeout(5):
        async with store.transaction() as transaction:
            await transaction.save_message(message())
            with pytest.raises(QueryError, match=MISTAKE) as caught:
                await use(store)
            assert not caught.value.transient
            await transaction.save_message(message(1))  # the transaction is none the worse for it
        assert await store.count_session_messages(SESSION) == 2
        await use(store)  # afterwards it is no mistake


@pytest.mark.parametrize("use", [*WRITES.values(), *READS.values()], ids=[*WRITES, *READS])
async def test_with_a_connection_to_spare_only_waiting_for_itself_is_a_mistake(
    url: str, use: Callable[[Store], Awaitable[object]]
) -> None:
    async with opened(url, max_connections=2) as store, asyncio.timeout(5), store.transaction():
        writes = use in WRITES.values() or "memory" in url  # where readers, too, wait for a writer
        if store.backend_name == "sqlite" and writes:
            with pytest.raises(QueryError, match=MISTAKE):
                await use(store)
        else:
            await use(store)


async def test_other_tasks_merely_wait(url: str) -> None:
    async with opened(url, max_connections=1) as store, asyncio.timeout(20):
        held, done = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with store.transaction() as transaction:
                await transaction.save_message(message())
                held.set()
                await done.wait()

        holder = asyncio.create_task(hold())
        await held.wait()
        others = [asyncio.create_task(store.save_message(message(n))) for n in range(1, 6)]
        others += [asyncio.create_task(nest(store))]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in others)
        done.set()
        await asyncio.gather(holder, *others)
        assert await store.count_session_messages(SESSION) == 7


async def test_two_stores_do_not_mind_each_other(url: str) -> None:
    async with opened(url, max_connections=1) as one, opened(url, max_connections=1) as other, asyncio.timeout(20):
        async with one.transaction():
            await other.get_statistics()
        async with one.transaction(), opened(url, max_connections=1) as third:
            await third.get_statistics()


async def test_tasks_that_are_started_inside_may_come_after_it(url: str) -> None:
    async with opened(url, max_connections=1) as store, asyncio.timeout(20):
        async with store.transaction() as transaction:
            later = [asyncio.create_task(store.save_message(message(n))) for n in range(3)]
            await transaction.save_message(message(3))
            await asyncio.sleep(0.05)
        await asyncio.gather(*later)
        assert await store.count_session_messages(SESSION) == 4


@pytest.mark.parametrize("use", [WRITES["save"], READS["get"]], ids=["save", "get"])
async def test_tasks_that_are_waited_for_inside_are_told_in_the_end(
    url: str, use: Callable[[Store], Awaitable[object]]
) -> None:
    async with opened(url, max_connections=1, lock_timeout=0.5) as store, asyncio.timeout(20):
        async with store.transaction() as transaction:
            await transaction.save_message(message())
            with pytest.raises(QueryError, match=r"own transaction|waits for itself"):
                await asyncio.gather(use(store), use(store))
        assert await store.count_session_messages(SESSION) == 1


async def test_transactions_one_after_the_other_are_forgotten(url: str) -> None:
    async with opened(url, max_connections=1) as store, asyncio.timeout(20):
        for n in range(20):
            async with store.transaction() as transaction:
                await transaction.save_message(message(n))
            await store.ping()
        with pytest.raises(ZeroDivisionError):
            async with store.transaction():
                raise ZeroDivisionError
        await store.save_message(message(20))
        assert await store.count_session_messages(SESSION) == 21
