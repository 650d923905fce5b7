"""Streaming gives what a query gives, one by one, and leaves the store free meanwhile."""

import asyncio
import gc
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store, sql_records
from tests.leaks import checked_out
from tests.samples import call

PAGES = 1_234  # calls of several pages
CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"limit": 10},
    {"limit": 0},
    {"limit": 1_000},
    {"offset": 1_200},
    {"offset": 7, "limit": 1_100},
    {"model_name": "odd"},
    {"model_name": "odd", "offset": 5, "limit": 600},
)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_records, "_PAGE", 500)


async def test_a_stream_is_a_query(store: Store) -> None:
    # Eleven calls of every moment, so that a page ends among equals.
    await store.save_api_calls([call(n // 11, model_name="odd" if n % 2 else "even") for n in range(PAGES)])
    for conditions in CONDITIONS:
        wanted = QueryFilter(**conditions)
        streamed = [each async for each in store.stream_api_calls(wanted)]
        assert streamed == await store.query_api_calls(wanted), conditions


async def test_a_stream_of_nothing_ends(store: Store) -> None:
    assert [each async for each in store.stream_api_calls(QueryFilter())] == []


async def test_calls_saved_meanwhile_neither_break_nor_repeat_it(store: Store) -> None:
    await store.save_api_calls([call(-n, id=UUID(int=n + 1)) for n in range(PAGES)])
    seen: list[int] = []
    async for each in store.stream_api_calls(QueryFilter()):
        if len(seen) % 100 == 0:
            await store.save_api_call(call(len(seen) + 1))  # newer than the first: its place has gone by
            await store.save_api_call(each)  # saved again, unchanged
        seen.append(each.id.int)
    assert seen == list(range(1, PAGES + 1))
    assert (await store.get_statistics(QueryFilter())).total_calls == PAGES + 13


async def test_calls_deleted_behind_it_do_not_make_it_skip(store: Store) -> None:
    await store.save_api_calls([call(-n, id=UUID(int=n + 1)) for n in range(PAGES)])
    seen = []
    async for each in store.stream_api_calls(QueryFilter()):
        await store.delete_api_call(each.id)
        seen.append(each.id.int)
    assert seen == list(range(1, PAGES + 1))
    assert await store.query_api_calls(QueryFilter()) == []


async def test_a_slow_reader_holds_no_connection(store: Store) -> None:
    await store.save_api_calls([call(n) for n in range(PAGES)])
    async with asyncio.timeout(30), aclosing(store.stream_api_calls(QueryFilter())) as stream:  # type: ignore[type-var]
        await anext(stream)
        assert checked_out(store) == 0


async def test_more_streams_than_connections(store: Store) -> None:
    await store.save_api_calls([call(n) for n in range(PAGES)])
    streams = [store.stream_api_calls(QueryFilter()) for _ in range(40)]
    async with asyncio.timeout(60):
        first = [await anext(stream) for stream in streams]
        second = [await anext(stream) for stream in streams]
    assert len({each.id for each in first}) == len({each.id for each in second}) == 1
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]


async def test_a_stream_that_is_left_gives_everything_back(store: Store) -> None:
    await store.save_api_calls([call(n) for n in range(PAGES)])
    async for _ in store.stream_api_calls(QueryFilter()):
        break
    gc.collect()
    await asyncio.sleep(0.05)
    assert checked_out(store) == 0


async def test_two_streams_do_not_disturb_each_other(store: Store) -> None:
    await store.save_api_calls([call(n) for n in range(PAGES)])

    async def read(limit: int | None) -> int:
        return len([each async for each in store.stream_api_calls(QueryFilter(limit=limit))])

    counts = await asyncio.gather(*(read(limit) for limit in (5, 700, None)))
    assert counts == [5, 700, PAGES]
