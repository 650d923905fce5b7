"""Saving twice is saving once, whatever the record and whichever way it is saved."""

import pytest
from hypothesis import HealthCheck, given, settings

from mofa_usage.records import Agent, LLMApiCall, LLMMessage, Provider, QueryFilter
from mofa_usage.stores import Store
from tests import strategies
from tests.proofs import trials

drawn = settings(
    max_examples=trials(4, 50), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.proof
@drawn
@given(saved=strategies.api_calls())
async def test_calls(store: Store, saved: LLMApiCall) -> None:
    mine = QueryFilter(session_id=saved.chat_session_id, user_id=saved.user_id)
    await store.save_api_call(saved)
    before = await store.query_api_calls(mine), await store.get_statistics(mine)
    await store.save_api_call(saved)
    await store.save_api_calls([saved, saved])
    assert (await store.query_api_calls(mine), await store.get_statistics(mine)) == before


@pytest.mark.proof
@drawn
@given(saved=strategies.messages())
async def test_messages(store: Store, saved: LLMMessage) -> None:
    await store.save_message(saved)
    count = await store.count_session_messages(saved.chat_session_id)
    await store.save_message(saved)
    await store.save_messages([saved, saved])
    assert await store.count_session_messages(saved.chat_session_id) == count
    assert await store.get_message(saved.id) == saved


@pytest.mark.proof
@drawn
@given(saved=strategies.providers())
async def test_providers(store: Store, saved: Provider) -> None:
    try:
        for _ in range(2):
            await store.save_provider(saved)
        assert await store.list_providers(saved.tenant_id) == [saved]
    finally:
        assert await store.delete_provider(saved.id) is True


@pytest.mark.proof
@drawn
@given(saved=strategies.agents())
async def test_agents(store: Store, saved: Agent) -> None:
    try:
        for _ in range(2):
            await store.save_agent(saved)
        assert await store.list_agents(saved.tenant_id) == [saved]
    finally:
        assert await store.delete_agent(saved.id) is True
