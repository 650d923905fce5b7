"""Lists have one order, down to equal times, so that paging never repeats or skips."""

import random
from typing import Any
from uuid import UUID, uuid4

import pytest

from mofa_usage.records import QueryFilter
from mofa_usage.stores import InMemoryStore, Store
from tests.samples import SESSION, USER, agent, at, call, message, provider, session

TENANT = UUID(int=7)
# The ends of the sort order and ids of every kind between them.
TIED = [UUID(int=1), UUID(int=2**64), UUID(int=2**127), UUID(int=2**128 - 1), *(uuid4() for _ in range(20))]


def shuffled(items: list[Any]) -> list[Any]:
    return random.Random(3).sample(items, len(items))


def ids(records: list[Any]) -> list[UUID]:
    return [record.id for record in records]


async def test_messages_come_oldest_first(store: Store) -> None:
    in_order = [message(seconds) for seconds in (-86_400, -0.000_001, 0, 0.000_001, 1, 59.5, 3_600)]
    await store.save_messages(shuffled(in_order))
    assert await store.get_session_messages(SESSION) == in_order


async def test_messages_are_ordered_by_creation_not_by_update(store: Store) -> None:
    first = message(create_time=at(0), update_time=at(100))
    second = message(create_time=at(1), update_time=at(1))
    await store.save_messages([second, first])
    assert await store.get_session_messages(SESSION) == [first, second]


async def test_messages_of_one_moment_come_by_id(store: Store) -> None:
    await store.save_messages(shuffled([message(0, id=each) for each in TIED]))
    assert ids(await store.get_session_messages(SESSION)) == sorted(TIED)


async def test_calls_come_newest_first(store: Store) -> None:
    in_order = [call(seconds) for seconds in (3_600, 59.5, 1, 0.000_001, 0, -0.000_001, -86_400)]
    await store.save_api_calls(shuffled(in_order))
    assert await store.query_api_calls(QueryFilter()) == in_order


async def test_sessions_come_by_update_newest_first(store: Store) -> None:
    stale = session(create_time=at(5), update_time=at(5))
    fresh = session(create_time=at(0), update_time=at(9))
    middle = session(create_time=at(1), update_time=at(7))
    for each in (stale, fresh, middle):
        await store.create_session(each)
    assert await store.get_user_sessions(USER) == [fresh, middle, stale]


async def test_ties_of_calls_and_sessions_are_broken_by_id_as_in_memory(store: Store) -> None:
    model = InMemoryStore()
    for tied in shuffled(TIED):
        for each in (store, model):
            await each.save_api_call(call(0, id=tied))
            await each.create_session(session(0, id=tied))
    calls, chats = await store.query_api_calls(QueryFilter()), await store.get_user_sessions(USER)
    assert ids(calls) == ids(await model.query_api_calls(QueryFilter()))
    assert ids(chats) == ids(await model.get_user_sessions(USER))
    assert ids(calls) in (sorted(TIED), sorted(TIED, reverse=True))
    assert ids(chats) in (sorted(TIED), sorted(TIED, reverse=True))


async def test_agents_of_one_order_come_by_id(store: Store) -> None:
    for tied in shuffled(TIED):
        await store.save_agent(agent(str(tied), id=tied, tenant_id=TENANT, agent_order=4))
    assert ids(await store.list_agents(TENANT)) == sorted(TIED)
    assert ids(await store.get_active_agents(TENANT)) == sorted(TIED)


async def test_providers_come_by_name_in_one_order_everywhere(store: Store) -> None:
    # Collations of languages disagree about these; the order of their characters' numbers is the same everywhere.
    names = ["", " ", "-a", "A", "B", "Z", "a", "a ", "aa", "b", "z", "É", "é", "Ж", "\uffff", "\U0001f600"]
    for name in shuffled(names):
        await store.save_provider(provider(name, tenant_id=TENANT))
    assert [each.provider_name for each in await store.list_providers(TENANT)] == names
    assert [each.provider_name for each in await store.get_enabled_providers(TENANT)] == names


@pytest.mark.parametrize("size", [1, 3, 7, 50])
async def test_pages_of_messages_of_one_moment_never_repeat_or_skip(store: Store, size: int) -> None:
    await store.save_messages([message(0) for _ in range(20)])
    everything = await store.get_session_messages(SESSION)
    pages = [await store.get_session_messages_paginated(SESSION, offset, size) for offset in range(0, 20, size)]
    assert [each for page in pages for each in page] == everything


@pytest.mark.parametrize("size", [1, 3, 7, 50])
async def test_pages_of_calls_of_one_moment_never_repeat_or_skip(store: Store, size: int) -> None:
    await store.save_api_calls([call(0) for _ in range(20)])
    everything = await store.query_api_calls(QueryFilter())
    pages = [await store.query_api_calls(QueryFilter(offset=offset, limit=size)) for offset in range(0, 20, size)]
    assert [each for page in pages for each in page] == everything


async def test_pages_beyond_the_end_are_empty(store: Store) -> None:
    await store.save_messages([message(n) for n in range(3)])
    await store.save_api_calls([call(n) for n in range(3)])
    assert await store.get_session_messages_paginated(SESSION, 3, 5) == []
    assert len(await store.get_session_messages_paginated(SESSION, 2, 5)) == 1
    assert await store.query_api_calls(QueryFilter(offset=3)) == []
    assert await store.query_api_calls(QueryFilter(offset=2**40, limit=1)) == []


async def test_a_limit_of_nothing_is_nothing_and_none_is_no_limit(store: Store) -> None:
    await store.save_messages([message(n) for n in range(3)])
    await store.save_api_calls([call(n) for n in range(3)])
    assert await store.get_session_messages_paginated(SESSION, 0, 0) == []
    assert await store.query_api_calls(QueryFilter(limit=0)) == []
    assert len(await store.query_api_calls(QueryFilter(limit=None))) == 3
    assert len(await store.query_api_calls(QueryFilter(limit=2**40))) == 3


async def test_an_offset_without_a_limit_skips(store: Store) -> None:
    calls = [call(-n) for n in range(5)]
    await store.save_api_calls(calls)
    assert await store.query_api_calls(QueryFilter(offset=2)) == calls[2:]


async def test_pages_are_cut_after_the_conditions(store: Store) -> None:
    calls = [call(-n, model_name="odd" if n % 2 else "even") for n in range(10)]
    await store.save_api_calls(calls)
    assert await store.query_api_calls(QueryFilter(model_name="odd", offset=1, limit=2)) == [calls[3], calls[5]]
