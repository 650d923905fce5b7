"""What only the memory store has: it is made without connecting, and a thread can take a snapshot of it."""

import asyncio
import threading

import pytest

from mofa_usage import InMemoryStore, StoreConnectionError, connect
from mofa_usage.records import QueryFilter
from tests.samples import agent, call, provider


async def test_it_is_made_without_connecting() -> None:
    store = InMemoryStore()
    assert store.is_connected is True
    assert store.backend_name == "memory"
    await store.save_api_call(call())
    assert len(await store.query_api_calls(QueryFilter())) == 1
    await store.close()


async def test_it_is_a_context_manager() -> None:
    async with InMemoryStore() as store:
        await store.ping()
    assert store.is_connected is False


async def test_every_store_in_memory_is_its_own() -> None:
    async with connect("memory:") as one, connect("memory:") as other:
        await one.save_api_call(call())
        assert await other.query_api_calls(QueryFilter()) == []


async def test_a_snapshot_is_what_analysis_needs() -> None:
    store = InMemoryStore()
    made, helper, openai = call(), agent(custom_params={"list": [1]}), provider()
    assert store.snapshot() == ([], [], [], [])
    await store.save_api_call(made)
    await store.save_agent(helper)
    await store.save_provider(openai)
    calls, agents, providers, _ = store.snapshot()
    assert (calls, agents, providers) == ([made], [helper], [openai])
    agents[0].custom_params["list"].append(2)
    calls.clear()
    assert store.snapshot() == ([made], [helper], [openai], [])


async def test_a_snapshot_shows_nothing_of_an_open_transaction() -> None:
    store = InMemoryStore()
    async with store.transaction() as transaction:
        await transaction.save_api_call(call())
        assert store.snapshot()[0] == []
    assert len(store.snapshot()[0]) == 1


async def test_snapshots_from_a_thread_while_tasks_save() -> None:
    store = InMemoryStore()
    stop, sizes, errors = threading.Event(), [0], []

    def watch() -> None:
        try:
            while not stop.is_set():
                sizes.append(len(store.snapshot()[0]))
        except BaseException as error:  # noqa: BLE001, RUF100 - shown by the test itself
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for n in range(300):
            await store.save_api_calls([call(n), call(n)])
            await asyncio.sleep(0)
    finally:
        stop.set()
        thread.join()
    assert not errors
    assert sizes == sorted(sizes)
    assert all(size % 2 == 0 for size in sizes)


def test_it_outlives_an_event_loop() -> None:
    store = InMemoryStore()
    made = call()
    asyncio.run(store.save_api_call(made))
    assert asyncio.run(store.query_api_calls(QueryFilter())) == [made]


async def test_a_closed_one_says_so_before_it_does_anything() -> None:
    store = InMemoryStore()
    await store.close()
    with pytest.raises(StoreConnectionError, match="closed"):
        await store.save_api_call(call())
