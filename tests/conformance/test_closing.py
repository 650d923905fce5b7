"""A store that is closed leaves nothing open, whatever is under way."""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from mofa_usage.errors import PersistenceError, StoreConnectionError
from mofa_usage.stores import Store, connect
from mofa_usage.stores import connections as pooled
from tests.samples import call, message

MANY = 2_000


class Held:
    """What this process holds: threads that the event loop did not start, files, sockets."""

    def __init__(self) -> None:
        process = psutil.Process()
        self.threads = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
        self.files = Counter(file.path for file in process.open_files())
        self.sockets = len(process.net_connections())

    def beyond(self, before: "Held") -> list[object]:
        """What was not held before."""
        sockets = [self.sockets] if self.sockets > before.sockets else []
        return [*(self.threads - before.threads), *(self.files - before.files), *sockets]


@pytest.fixture
async def leak_free(url: str) -> AsyncIterator[str]:
    """A URL; the test fails if something is held at its end that was not at its beginning."""
    before = Held()
    yield url
    for _ in range(50):
        if not Held().beyond(before):
            return
        await asyncio.sleep(0.02)
    assert not Held().beyond(before)


async def save_one(store: Store) -> None:
    await store.save_api_call(call())


async def save_many(store: Store) -> None:
    await store.save_api_calls([call(n) for n in range(MANY)])


async def query(store: Store) -> None:
    await store.query_api_calls()


async def stream(store: Store) -> None:
    async for _ in store.stream_api_calls():
        pass


async def transact(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.save_message(message())
        await asyncio.sleep(0.05)
        await transaction.save_api_calls([call(n) for n in range(1_000)])


WORKS: dict[str, Callable[[Store], Awaitable[None]]] = {
    work.__name__: work for work in (save_one, save_many, query, stream, transact)
}


@pytest.mark.parametrize("name", WORKS)
async def test_what_is_running_comes_to_its_end(leak_free: str, name: str) -> None:
    """Either it is done, or it says that the store is closed."""
    for moment in (0.0, 0.005, 0.05):
        store = await connect(leak_free, max_connections=None if leak_free == "memory:" else 2)
        await store.save_api_calls([call(n) for n in range(500)])
        tasks = [asyncio.ensure_future(WORKS[name](store)) for _ in range(4)]
        await asyncio.sleep(moment)
        async with asyncio.timeout(60):
            await store.close()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, StoreConnectionError), result
        with pytest.raises(StoreConnectionError, match="closed"):
            await store.get_statistics()


SLEEP = {
    "postgres": "SELECT pg_sleep(60)",
    "mysql": "SELECT SLEEP(60)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
}


async def fetch(store: Any, runner: Any) -> None:
    sql = SLEEP[store.backend_name]
    await runner.run(lambda connection: store.dialect.driver.fetch(connection, sql, ()), "sleeping")


async def idle(store: Any) -> None:
    async with store.transaction() as transaction:
        await transaction.save_message(message())
        await asyncio.sleep(1)
        await transaction.save_message(message(1))


async def busy(store: Any) -> None:
    async with store.transaction() as transaction:
        await fetch(store, transaction._runner)


@pytest.mark.sql_only
@pytest.mark.parametrize("work", [lambda store: fetch(store, store._runner), busy, idle], ids=["read", "busy", "idle"])
async def test_what_does_not_end_is_broken_off(
    leak_free: str, work: Callable[[Store], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pooled, "_CLOSING_SECONDS", 0.3)
    store = await connect(leak_free)
    task = asyncio.ensure_future(work(store))
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    await store.close()
    assert time.monotonic() - begun < 5
    with pytest.raises(StoreConnectionError, match="closed"):
        await task


@pytest.mark.sql_only
async def test_closing_that_is_given_up_closes_all_the_same(leak_free: str) -> None:
    store = await connect(leak_free)
    task = asyncio.ensure_future(busy(store))
    await asyncio.sleep(0.2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await store.close()
    with pytest.raises(StoreConnectionError, match="closed"):
        await task


async def test_a_store_that_is_closed_inside_its_transaction(leak_free: str) -> None:
    store = await connect(leak_free)
    async with asyncio.timeout(10):
        with suppress(PersistenceError):
            async with store.transaction() as transaction:
                await transaction.save_message(message())
                await store.close()
    assert not store.is_connected


@pytest.mark.sql_only
async def test_those_who_wait_for_a_connection_are_told(leak_free: str) -> None:
    store = await connect(leak_free, max_connections=1)
    begun = asyncio.Event()

    async def hold() -> None:
        async with store.transaction():
            begun.set()
            await asyncio.sleep(0.1)

    holder = asyncio.ensure_future(hold())
    await begun.wait()
    waiting = [asyncio.ensure_future(store.get_statistics()) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await asyncio.gather(holder, store.close())
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(result) for result in results} == {"the store is closed"}


@pytest.mark.sql_only
async def test_a_connection_of_the_engine_is_closed_when_it_comes_back(leak_free: str) -> None:
    store: Any = await connect(leak_free)
    async with store.engine.connect() as connection:
        await store.close()
        assert (await connection.execute(sa.text("SELECT 1"))).scalar() == 1


async def test_closing_many_times_at_once(leak_free: str) -> None:
    store = await connect(leak_free)
    task = asyncio.ensure_future(save_many(store))
    await asyncio.sleep(0.01)
    await asyncio.gather(*(store.close() for _ in range(5)), return_exceptions=False)
    await asyncio.gather(task, return_exceptions=True)


def test_a_store_whose_loop_ends_leaves_no_file(tmp_path: Path) -> None:
    """`asyncio.run` cancels what is running; the store closes in the task that it ends."""

    async def main() -> None:
        async with connect(f"sqlite:{tmp_path / 'a.db'}") as store:
            for _ in range(5):
                asyncio.ensure_future(save_many(store))  # noqa: RUF006 (left alone on purpose)
            await asyncio.sleep(0.01)

    before = Held()
    asyncio.run(main())
    for thread in Held().threads - before.threads:
        thread.join(1)  # a driver's thread says that it is done a moment before it ends
    assert not Held().beyond(before)
    assert os.listdir(tmp_path) == ["a.db"]  # no write-ahead log: the last connection has closed
