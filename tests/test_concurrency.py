"""Load beyond one event loop: thousands of tasks, several threads and several processes on one database."""

import asyncio
import multiprocessing
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from uuid import UUID

import pytest

from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store, connect
from tests.leaks import checked_out, opened
from tests.proofs import trials
from tests.samples import SESSION, call, message

PATIENCE = 120


@pytest.mark.only_on("sqlite", "sqlite-memory", "memory")  # on servers tests/faults/test_many_tasks.py asks for more
async def test_a_thousand_tasks_on_five_connections(url: str) -> None:
    async with opened(url, max_connections=5) as store, asyncio.timeout(PATIENCE):

        async def work(n: int) -> None:
            made = call(n)
            await store.save_api_call(made)
            assert await store.get_api_call(made.id) == made

        await asyncio.gather(*(work(n) for n in range(1_000)))
        assert checked_out(store) == 0
        assert (await store.get_statistics(QueryFilter())).total_calls == 1_000


async def test_a_storm_of_cancellations(url: str) -> None:
    """Saves, streams and transactions, each cancelled at a random moment; then the store works as if nothing was."""
    randomness = random.Random(11)
    async with opened(url, max_connections=4) as store, asyncio.timeout(PATIENCE):
        await store.save_api_calls([call(n) for n in range(500)])

        async def save(n: int) -> None:
            await store.save_messages([message(n) for _ in range(10)])

        async def stream(n: int) -> None:
            async for _ in store.stream_api_calls(QueryFilter()):
                await asyncio.sleep(0)

        async def transact(n: int) -> None:
            async with store.transaction() as transaction:
                await transaction.save_messages([message(n) for _ in range(5)])
                await asyncio.sleep(0)
                await transaction.save_messages([message(n) for _ in range(5)])

        works: list[Callable[[int], Awaitable[None]]] = [save, stream, transact]
        tasks = [asyncio.ensure_future(works[n % 3](n)) for n in range(150)]
        for task in randomness.sample(tasks, len(tasks)):
            await asyncio.sleep(randomness.random() * 0.003)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert checked_out(store) == 0
        count = await store.count_session_messages(SESSION)
        assert count % 10 == 0
        await asyncio.gather(*(save(n) for n in range(20)))
        assert await store.count_session_messages(SESSION) == count + 200


async def test_transactions_that_cross_each_other(url: str) -> None:
    """Two rows, taken in opposite orders: the classic deadlock. A transaction may lose, but never hang or do half."""
    one, other = call(0, id=UUID(int=1)), call(1, id=UUID(int=2))
    async with opened(url) as store, asyncio.timeout(PATIENCE):
        await store.save_api_calls([one, other])

        async def cross(n: int) -> str | None:
            mark = f"{n}"
            rows = [one, other] if n % 2 else [other, one]
            try:
                async with store.transaction() as transaction:
                    for row in rows:
                        await transaction.save_api_call(row.model_copy(update={"error_code": mark}))
                        await asyncio.sleep(0.01)
            except Exception as error:
                if not getattr(error, "transient", False):
                    raise
                return None
            return mark

        marks = [mark for mark in await asyncio.gather(*(cross(n) for n in range(6))) if mark]
        assert marks, "somebody must win"
        codes = {each.error_code for each in await store.query_api_calls(QueryFilter())}
        assert len(codes) == 1
        assert codes <= set(marks)


async def test_bulks_that_cross_each_other_all_arrive(url: str) -> None:
    """The same rows in opposite orders, saved at once: what deadlocks is tried again and nobody notices."""
    calls = [call(n, id=UUID(int=n + 1)) for n in range(200)]
    async with opened(url) as store, asyncio.timeout(PATIENCE):
        await asyncio.gather(*(store.save_api_calls(calls[:: 1 if n % 2 else -1]) for n in range(16)))
        assert await store.query_api_calls(QueryFilter()) == calls[::-1]


async def _save_some(store: Store, worker: int, count: int) -> None:
    for n in range(count):
        await store.save_api_call(call(n, id=UUID(int=worker << 64 | n)))
        if n % 20 == 0:
            await store.save_messages([message(n) for _ in range(3)])


def _process(url: str, worker: int, count: int) -> int:
    async def work() -> int:
        async with connect(url) as store:
            await _save_some(store, worker, count)
            return (await store.get_statistics(QueryFilter())).total_calls

    return asyncio.run(work())


@pytest.mark.shared_only
def test_threads_with_a_store_each(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(lambda worker: _process(url, worker, 50), range(1, 5)))
    assert max(seen) == 200


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.shared_only
def test_processes_that_meet_an_empty_database_and_write_it(empty_url: str) -> None:
    """Four processes connect at once, of which one makes the tables, and then write."""
    count = trials(60, 400)
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        seen = list(processes.map(_process, [empty_url] * 4, range(1, 5), [count] * 4))
    assert max(seen) == 4 * count
    assert asyncio.run(_counts(empty_url)) == (4 * count, 4 * (count // 20) * 3)


async def _counts(url: str) -> tuple[int, int]:
    async with connect(url) as store:
        statistics = await store.get_statistics(QueryFilter())
        return statistics.total_calls, await store.count_session_messages(SESSION)
