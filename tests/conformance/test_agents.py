"""Agents: one of a code, in the order of `agent_order`, with or without their provider."""

from uuid import UUID

import pytest

from mofa_usage.errors import ConstraintError
from mofa_usage.records import NIL_UUID, AgentConfig
from mofa_usage.stores import Store
from tests.samples import agent, provider

TENANT, OTHER, UNKNOWN = UUID(int=7), UUID(int=8), UUID(int=404)


async def test_unknown_agents_are_none(store: Store) -> None:
    assert await store.get_agent(UNKNOWN) is None
    assert await store.get_agent_by_code("helper") is None
    assert await store.get_agent_by_code_and_tenant(TENANT, "helper") is None
    assert await store.list_agents(TENANT) == []
    assert await store.get_active_agents(TENANT) == []
    assert await store.get_agent_with_provider(UNKNOWN) is None
    assert await store.get_agent_by_code_with_provider("helper") is None
    assert await store.get_agent_by_code_and_tenant_with_provider(TENANT, "helper") is None
    assert await store.delete_agent(UNKNOWN) is False


async def test_an_agent_is_found_by_its_exact_code_and_its_tenant(store: Store) -> None:
    made = agent(tenant_id=TENANT)
    await store.save_agent(made)
    assert await store.get_agent_by_code("helper") == made
    assert await store.get_agent_by_code_and_tenant(TENANT, "helper") == made
    assert await store.get_agent_by_code_and_tenant(OTHER, "helper") is None
    assert await store.get_agent_by_code_and_tenant(NIL_UUID, "helper") is None
    for code in ("Helper", "helper ", "help%", "helpe_"):
        assert await store.get_agent_by_code(code) is None


async def test_codes_that_look_alike_are_different_codes(store: Store) -> None:
    alike = [agent(code) for code in ("helper", "HELPER", "helper ", "hélper")]
    for each in alike:
        await store.save_agent(each)
    for each in alike:
        assert await store.get_agent_by_code(each.agent_code) == each


async def test_listing_is_by_tenant_in_order_and_may_be_only_the_active(store: Store) -> None:
    last = agent("a", tenant_id=TENANT, agent_order=9)
    first = agent("b", tenant_id=TENANT, agent_order=-1)
    idle = agent("c", tenant_id=TENANT, agent_order=5, agent_status=False)
    for each in (last, first, idle, agent("d", tenant_id=OTHER), agent("e")):
        await store.save_agent(each)
    assert await store.list_agents(TENANT) == [first, idle, last]
    assert await store.get_active_agents(TENANT) == [first, last]


async def test_saving_again_replaces_the_agent_whole(store: Store) -> None:
    first = agent(tenant_id=TENANT, custom_params={"a": 1}, temperature=0.5, stream=True, context_limit=4)
    second = agent("other", id=first.id, tenant_id=OTHER, thinking={"b": 2})
    await store.save_agent(first)
    await store.save_agent(second)
    assert await store.get_agent(first.id) == second
    assert await store.get_agent_by_code("helper") is None


@pytest.mark.parametrize("tenant", [TENANT, OTHER])
async def test_a_code_is_unique_over_all_tenants(store: Store, tenant: UUID) -> None:
    first, second = agent(tenant_id=TENANT), agent(tenant_id=tenant, agent_name="Second")
    await store.save_agent(first)
    with pytest.raises(ConstraintError):
        await store.save_agent(second)
    assert await store.get_agent_by_code("helper") == first
    assert await store.get_agent(second.id) is None


async def test_recoding_to_a_code_that_is_taken_is_a_constraint_error(store: Store) -> None:
    a, b = agent("a"), agent("b")
    await store.save_agent(a)
    await store.save_agent(b)
    with pytest.raises(ConstraintError):
        await store.save_agent(a.model_copy(update={"agent_code": "b"}))
    assert await store.get_agent(a.id) == a
    assert await store.get_agent(b.id) == b


async def test_an_agent_comes_with_its_provider(store: Store) -> None:
    openai = provider(tenant_id=TENANT)
    made = agent(tenant_id=TENANT, provider_id=openai.id)
    await store.save_provider(openai)
    await store.save_provider(provider("another", tenant_id=TENANT))
    await store.save_agent(made)
    wanted = AgentConfig(agent=made, provider=openai)
    assert await store.get_agent_with_provider(made.id) == wanted
    assert await store.get_agent_by_code_with_provider("helper") == wanted
    assert await store.get_agent_by_code_and_tenant_with_provider(TENANT, "helper") == wanted
    assert await store.get_agent_by_code_and_tenant_with_provider(OTHER, "helper") is None


async def test_an_agent_whose_provider_is_missing_has_no_config(store: Store) -> None:
    made = agent(tenant_id=TENANT, provider_id=UNKNOWN)
    await store.save_agent(made)
    assert await store.get_agent(made.id) == made
    assert await store.get_agent_with_provider(made.id) is None
    assert await store.get_agent_by_code_with_provider("helper") is None
    assert await store.get_agent_by_code_and_tenant_with_provider(TENANT, "helper") is None


async def test_deleting_an_agent_says_whether_it_was_there_and_keeps_its_provider(store: Store) -> None:
    openai = provider()
    made = agent(provider_id=openai.id)
    await store.save_provider(openai)
    await store.save_agent(made)
    assert await store.delete_agent(made.id) is True
    assert await store.delete_agent(made.id) is False
    assert await store.get_provider(openai.id) == openai
