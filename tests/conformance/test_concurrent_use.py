"""Many tasks at once: more of them than connections wait, none fails, none leaves anything behind."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.errors import ConstraintError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store
from tests.leaks import checked_out, opened
from tests.samples import SESSION, USER, agent, call, message, provider, session

PATIENCE = 60


async def all_at_once(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of works that run at the same time; when one fails, none of the others is left behind."""
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
    return [task.result() for task in tasks]


async def test_a_hundred_tasks_save(store: Store) -> None:
    calls = [call(-n) for n in range(100)]
    await all_at_once(*(store.save_api_call(each) for each in calls))
    assert await store.query_api_calls(QueryFilter()) == calls


async def test_a_hundred_tasks_save_the_same(store: Store) -> None:
    made = call()
    await all_at_once(*(store.save_api_call(made) for _ in range(100)))
    assert await store.query_api_calls(QueryFilter()) == [made]


async def test_bulks_of_the_same_ids_in_other_orders(store: Store) -> None:
    calls = [call(-n) for n in range(300)]
    orders = [random.Random(n).sample(calls, len(calls)) for n in range(12)]
    await all_at_once(*(store.save_api_calls(order) for order in orders))
    assert await store.query_api_calls(QueryFilter()) == calls


async def test_readers_and_writers_together(store: Store) -> None:
    async def write(n: int) -> None:
        await store.save_messages([message(n) for _ in range(5)])

    async def read() -> None:
        count = await store.count_session_messages(SESSION)
        assert count % 5 == 0  # a bulk is seen whole or not at all
        assert len(await store.get_session_messages(SESSION)) % 5 == 0

    await all_at_once(*(work for n in range(40) for work in (write(n), read())))
    assert await store.count_session_messages(SESSION) == 200


async def test_only_one_of_many_creates_a_session(store: Store) -> None:
    chat = session()
    results = await asyncio.gather(*(store.create_session(chat) for _ in range(30)), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert all(result is None or isinstance(result, ConstraintError) for result in results)
    assert await store.get_user_sessions(USER) == [chat]


@pytest.mark.parametrize("kind", ["agent", "provider"])
async def test_only_one_of_many_takes_a_name(store: Store, kind: str) -> None:
    rivals: list[Any] = [agent() if kind == "agent" else provider() for _ in range(30)]
    save: Callable[[Any], Awaitable[None]] = store.save_agent if kind == "agent" else store.save_provider
    results = await asyncio.gather(*(save(each) for each in rivals), return_exceptions=True)
    winners = [each for each, result in zip(rivals, results, strict=True) if result is None]
    assert len(winners) == 1
    assert all(result is None or isinstance(result, ConstraintError) for result in results)
    tenant = UUID(int=0)
    assert await (store.list_agents(tenant) if kind == "agent" else store.list_providers(tenant)) == winners


async def test_only_one_of_many_deletes(store: Store) -> None:
    made = call()
    await store.save_api_call(made)
    assert sum(await all_at_once(*(store.delete_api_call(made.id) for _ in range(20)))) == 1


@pytest.mark.parametrize("connections", [1, 2])
async def test_more_tasks_than_connections_wait(url: str, connections: int) -> None:
    async with opened(url, max_connections=connections) as store:
        await all_at_once(*(store.save_api_call(call(n)) for n in range(60)), store.ping())
        assert len(await store.query_api_calls(QueryFilter())) == 60


async def test_the_pool_is_never_larger_than_its_bound(url: str) -> None:
    most = 0
    async with opened(url, max_connections=3) as store:

        async def work(n: int) -> None:
            nonlocal most
            await store.save_api_call(call(n))
            most = max(most, checked_out(store))
            await store.query_api_calls(QueryFilter(limit=1))
            most = max(most, checked_out(store))

        await all_at_once(*(work(n) for n in range(50)))
    assert most <= 3


async def test_cancelled_tasks_leave_whole_rows_or_none(store: Store) -> None:
    bulks = [[call(n, error_code=str(bulk)) for n in range(50)] for bulk in range(30)]
    tasks = [asyncio.create_task(store.save_api_calls(bulk)) for bulk in bulks]
    randomness = random.Random(1)
    for task in tasks:
        await asyncio.sleep(randomness.random() * 0.004)
        task.cancel()
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
    saved: dict[str | None, int] = {}
    for each in await store.query_api_calls(QueryFilter()):
        saved[each.error_code] = saved.get(each.error_code, 0) + 1
    assert set(saved.values()) <= {50}
    for bulk, result in enumerate(results):
        assert result is not None or saved.get(str(bulk)) == 50, "a save that returned is there"


async def test_cancelled_readers_leave_nothing_behind(store: Store) -> None:
    await store.save_api_calls([call(n) for n in range(2_000)])
    tasks = [asyncio.create_task(store.query_api_calls(QueryFilter())) for _ in range(30)]
    for n, task in enumerate(tasks):
        await asyncio.sleep(0.001 * (n % 4))
        task.cancel()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*tasks, return_exceptions=True)
    assert checked_out(store) == 0
    assert len(await store.query_api_calls(QueryFilter())) == 2_000


@pytest.mark.parametrize("seconds", [0.0001, 0.001, 0.005])
async def test_a_save_that_times_out_leaves_a_store_that_works(store: Store, seconds: float) -> None:
    for _ in range(5):
        try:
            async with asyncio.timeout(seconds):
                await store.save_messages([message(n) for n in range(100)])
        except TimeoutError:
            pass
    assert checked_out(store) == 0
    assert await store.count_session_messages(SESSION) % 100 == 0
    await store.save_message(message())


@pytest.mark.shared_only
async def test_two_stores_of_one_database(url: str) -> None:
    async with opened(url) as one, opened(url) as other:
        first, second = call(0), call(1)
        await one.save_api_call(first)
        assert await other.get_api_call(first.id) == first
        await other.save_api_call(second)
        assert await one.query_api_calls(QueryFilter()) == [second, first]
        await all_at_once(*(each.save_api_call(call(n)) for n in range(30) for each in (one, other)))
        assert (await one.get_statistics(QueryFilter())).total_calls == 62
