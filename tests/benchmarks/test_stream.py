"""Streaming and deleting a million API calls, against what the drivers do by themselves.

Run with `pytest tests/benchmarks/test_stream.py --benchmark-enable`. Without that the same runs with a few calls, as a
test that both ways see the same rows. Goals:

- `stream_api_calls` takes at most `STREAM_GOAL` times as long as a server-side cursor of the raw driver, which gives
  tuples where ours gives validated records, and its memory stays flat;
- `cleanup_old_records` takes at most `CLEANUP_GOAL` times as long as one DELETE, and holds no lock for longer than
  `LONGEST_WAIT` seconds.
"""

import asyncio
import statistics
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from mofa_usage.schema import API_CALL
from mofa_usage.stores import Store
from tests.benchmarks.ratios import Ratio, Ratios
from tests.benchmarks.test_save import TABLE, make_calls, peer

COLUMNS = ", ".join(API_CALL.columns)
AFTER_ALL = datetime(2100, 1, 1, tzinfo=UTC)
CHUNK = 50_000
STREAM_GOAL, STREAM_MB, CLEANUP_GOAL, LONGEST_WAIT = 3.0, 30, 1.5, 1.0


async def fill(store: Store, count: int) -> None:
    for start in range(0, count, CHUNK):
        calls = make_calls(min(CHUNK, count - start))
        await store.save_api_calls(calls)


async def raw_rows(store: Any) -> AsyncIterator[Sequence[Any]]:
    """The table, newest first, from a server-side cursor."""
    query = f"SELECT {COLUMNS} FROM {TABLE} ORDER BY create_time DESC"
    if store.backend_name == "sqlite":
        import aiosqlite

        async with aiosqlite.connect(store.path, uri=True) as connection, connection.execute(query) as cursor:
            while rows := await cursor.fetchmany(5000):
                for row in rows:
                    yield row
    elif store.backend_name == "postgres":
        import asyncpg

        connection = await asyncpg.connect(store.url.render_as_string(hide_password=False))
        async with connection.transaction():
            async for row in connection.cursor(query, prefetch=5000):
                yield row
        await connection.close()
    else:
        import aiomysql

        url = store.url
        place = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
        connection = await aiomysql.connect(**place, db=url.database, charset="utf8mb4")
        async with connection.cursor(aiomysql.SSCursor) as cursor:
            await cursor.execute(query)
            while rows := await cursor.fetchmany(5000):
                for row in rows:
                    yield row
        connection.close()


async def timed(source: AsyncIterator[Any]) -> tuple[float, int]:
    start, count = time.perf_counter(), 0
    async for _ in source:
        count += 1
    return time.perf_counter() - start, count


@pytest.mark.sql_only
async def test_stream(ratios: Ratios, store: Store) -> None:
    count, rounds = (1_000_000, 3) if ratios.enabled else (300, 1)
    await fill(store, count)
    ours, raw = [], []
    for _ in range(rounds):
        seconds, streamed = await timed(store.stream_api_calls())
        ours.append(seconds)
        assert streamed == count
        seconds, read = await timed(raw_rows(store))
        raw.append(seconds)
        assert read == count
    tracemalloc.start()
    stream = store.stream_api_calls()
    for _ in range(min(count, 50_000)):
        await anext(stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    await stream.aclose()  # type: ignore[attr-defined]
    what = f"stream {count:,} calls, {store.backend_name}"
    ratios.report(
        Ratio(what, statistics.median(ours), "raw driver", statistics.median(raw), STREAM_GOAL),
        Ratio(f"{what}: memory", peak / 1e6, "allowed", STREAM_MB, 1.0, unit="MB"),
    )


async def longest_wait(store: Store, done: asyncio.Event) -> float:
    """The longest that a save had to wait meanwhile."""
    longest, call = 0.0, make_calls(1)[0].model_copy(update={"create_time": AFTER_ALL, "update_time": AFTER_ALL})
    while not done.is_set():
        start = time.perf_counter()
        await store.save_api_call(call)
        longest = max(longest, time.perf_counter() - start)
        await asyncio.sleep(0.02)
    return longest


@pytest.mark.sql_only
async def test_cleanup(ratios: Ratios, store: Store) -> None:
    count, rounds = (1_000_000, 2) if ratios.enabled else (300, 1)
    ours, raw, waits = [], [], []
    async with peer(store) as (driver, _):
        for _ in range(rounds):
            await fill(store, count)
            done = asyncio.Event()
            waiting = asyncio.create_task(longest_wait(store, done))
            start = time.perf_counter()
            assert await store.cleanup_old_records(AFTER_ALL) == count
            ours.append(time.perf_counter() - start)
            done.set()
            waits.append(await waiting)
            await fill(store, count)
            raw.append(await driver.delete_all())
    what = f"delete {count:,} calls, {store.backend_name}"
    ratios.report(
        Ratio(what, statistics.median(ours), "one DELETE", statistics.median(raw), CLEANUP_GOAL),
        Ratio(f"{what}: a save waits", max(waits), "at most", LONGEST_WAIT, 1.0),
    )
