"""Connecting, asking for a sign of life, closing."""

import asyncio
import inspect
from typing import Any, cast
from uuid import UUID

import pytest

import mofa_usage
from mofa_usage.errors import StoreConnectionError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Forgotten, Store, connect
from tests.leaks import opened
from tests.samples import NOON, SESSION, agent, call, message, provider, session

SOME = UUID(int=1)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "save_message": (message(),),
    "save_messages": ([message()],),
    "get_message": (SOME,),
    "get_session_messages": (SOME,),
    "get_session_messages_paginated": (SOME, 0, 1),
    "count_session_messages": (SOME,),
    "delete_message": (SOME,),
    "delete_session_messages": (SOME,),
    "cleanup_old_messages": (NOON,),
    "save_api_call": (call(),),
    "save_api_calls": ([call()],),
    "get_api_call": (SOME,),
    "query_api_calls": (QueryFilter(),),
    "stream_api_calls": (QueryFilter(),),
    "get_statistics": (QueryFilter(),),
    "tally_calls": ((1_000,),),
    "delete_api_call": (SOME,),
    "cleanup_old_records": (NOON,),
    "create_session": (session(),),
    "get_session": (SOME,),
    "get_user_sessions": (SOME,),
    "update_session": (session(),),
    "delete_session": (SOME,),
    "forget_user": (SOME,),
    "save_provider": (provider(),),
    "get_provider": (SOME,),
    "get_provider_by_name": (SOME, "name"),
    "list_providers": (SOME,),
    "get_enabled_providers": (SOME,),
    "delete_provider": (SOME,),
    "save_agent": (agent(),),
    "get_agent": (SOME,),
    "get_agent_by_code": ("code",),
    "get_agent_by_code_and_tenant": (SOME, "code"),
    "list_agents": (SOME,),
    "get_active_agents": (SOME,),
    "get_agent_with_provider": (SOME,),
    "get_agent_by_code_with_provider": ("code",),
    "get_agent_by_code_and_tenant_with_provider": (SOME, "code"),
    "delete_agent": (SOME,),
}


async def do(records: Any, method: str) -> Any:
    """Call a method of the contract with arguments of its kind."""
    result = getattr(records, method)(*ARGUMENTS[method])
    return [each async for each in result] if method == "stream_api_calls" else await result


def test_every_method_of_the_contract_is_tried_here() -> None:
    public = {name for name, _ in inspect.getmembers(Store, callable) if not name.startswith("_")}
    assert public == ARGUMENTS.keys() | {"transaction", "ping", "close"}


async def test_a_new_store_is_connected_and_answers(store: Store) -> None:
    assert store.is_connected is True
    await store.ping()
    assert store.backend_name in {"memory", "sqlite", "postgres", "mysql"}


async def test_connect_can_be_awaited(url: str) -> None:
    store = await connect(url)
    try:
        await store.ping()
    finally:
        await store.close()
    assert store.is_connected is False


async def test_connect_is_a_context_manager_that_closes(url: str) -> None:
    async with connect(url) as store:
        await store.save_message(message())
    assert store.is_connected is False
    with pytest.raises(StoreConnectionError):
        await store.ping()


async def test_it_closes_when_the_block_fails(url: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with connect(url) as store:
            raise ZeroDivisionError
    assert store.is_connected is False


async def test_closing_twice_is_closing_once(url: str) -> None:
    store = await connect(url)
    await store.close()
    await store.close()
    assert store.is_connected is False


async def test_closing_from_two_tasks(url: str) -> None:
    store = await connect(url)
    await asyncio.gather(store.close(), store.close())
    assert store.is_connected is False


@pytest.mark.parametrize("method", ARGUMENTS)
async def test_a_closed_store_says_so(store: Store, method: str) -> None:
    await store.close()
    with pytest.raises(StoreConnectionError, match="closed"):
        await do(store, method)


async def test_a_closed_store_opens_no_transaction(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreConnectionError):
        async with store.transaction():
            pass


@pytest.mark.parametrize("method", ARGUMENTS)
async def test_every_method_works_in_a_transaction(store: Store, method: str) -> None:
    if method == "update_session":
        await store.create_session(ARGUMENTS[method][0])
    async with store.transaction() as transaction:
        inside = await do(transaction, method)
    assert inside is None or isinstance(inside, bool | int | list | Forgotten) or method == "get_statistics"


async def test_an_empty_database_gets_its_tables(empty_url: str) -> None:
    async with opened(empty_url) as store:
        await store.save_message(message())
        assert await store.count_session_messages(SESSION) == 1


@pytest.mark.shared_only
async def test_connecting_again_keeps_what_is_there(empty_url: str) -> None:
    made = call()
    async with opened(empty_url) as store:
        await store.save_api_call(made)
    for _ in range(2):
        async with opened(empty_url) as store:
            assert await store.query_api_calls(QueryFilter()) == [made]


@pytest.mark.shared_only
async def test_many_connect_to_an_empty_database_at_once(empty_url: str) -> None:
    stores = await asyncio.gather(*(connect(empty_url) for _ in range(6)))
    try:
        await asyncio.gather(*(store.save_api_call(call(n)) for n, store in enumerate(stores)))
        for store in stores:
            assert (await store.get_statistics(QueryFilter())).total_calls == 6
    finally:
        await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.sql_only
async def test_without_create_tables_the_database_is_left_alone(empty_url: str) -> None:
    async with opened(empty_url, create_tables=False) as store:
        await store.ping()
        with pytest.raises(mofa_usage.QueryError):
            await store.save_api_call(call())


async def test_from_env_reads_the_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    chosen = await mofa_usage.from_env()
    named = await cast(Any, type(chosen)).from_env()
    try:
        for store in (chosen, named):
            await store.save_message(message())
            assert store.backend_name == chosen.backend_name
    finally:
        await asyncio.gather(chosen.close(), named.close())


async def test_without_the_variable_from_env_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises((StoreConnectionError, ValueError), match="DATABASE_URL"):
        await mofa_usage.from_env()


@pytest.mark.parametrize("connections", [0, -1])
@pytest.mark.sql_only
async def test_a_pool_has_at_least_one_connection(url: str, connections: int) -> None:
    async with asyncio.timeout(20):
        with pytest.raises((ValueError, StoreConnectionError), match="max_connections"):
            async with opened(url, max_connections=connections):
                pass
