"""A store shares nothing with its caller, and one tenant's questions are never answered with another's rows."""

from decimal import Decimal
from uuid import UUID

from mofa_usage.records import MessageContent, QueryFilter, TokenDetails
from mofa_usage.stores import Store
from tests.samples import USER, agent, call, message, provider, session

MINE, THEIRS = UUID(int=0xA), UUID(int=0xB)


async def test_what_was_saved_does_not_change_with_what_the_caller_holds(store: Store) -> None:
    chat = session(metadata={"list": [1]})
    said = message(content=MessageContent.model_validate({"extra": {"list": [1]}}))
    made = call(prompt_tokens_details=TokenDetails.model_validate({"extra": [1]}))
    helper = agent(custom_params={"list": [1]}, thinking=[1])
    await store.create_session(chat)
    await store.save_message(said)
    await store.save_api_call(made)
    await store.save_agent(helper)
    chat.metadata["list"].append(2)
    said.content.__pydantic_extra__["extra"]["list"].append(2)
    made.prompt_tokens_details.__pydantic_extra__["extra"].append(2)  # type: ignore[union-attr]
    helper.custom_params["list"].append(2)
    helper.thinking.append(2)
    await _expect_ones(store, chat.id, said.id, made.id, helper.id)


async def test_what_was_read_does_not_change_the_store(store: Store) -> None:
    chat = session(metadata={"list": [1]})
    said = message(content=MessageContent.model_validate({"extra": {"list": [1]}}))
    made = call(prompt_tokens_details=TokenDetails.model_validate({"extra": [1]}))
    helper = agent(custom_params={"list": [1]}, thinking=[1])
    await store.create_session(chat)
    await store.save_message(said)
    await store.save_api_call(made)
    await store.save_agent(helper)
    for read in (await store.get_session(chat.id), (await store.get_user_sessions(USER))[0]):
        assert read is not None
        read.metadata["list"].append(2)
    for words in (await store.get_message(said.id), (await store.get_session_messages(said.chat_session_id))[0]):
        assert words is not None
        words.content.__pydantic_extra__["extra"]["list"].append(2)
    queried = await store.query_api_calls(QueryFilter())
    queried += [await store.get_api_call(made.id)]  # type: ignore[list-item]
    queried += [each async for each in store.stream_api_calls(QueryFilter())]
    for each in queried:
        each.prompt_tokens_details.__pydantic_extra__["extra"].append(2)  # type: ignore[union-attr]
    for found in (await store.get_agent(helper.id), (await store.list_agents(helper.tenant_id))[0]):
        assert found is not None
        found.custom_params["list"].append(2)
        found.thinking.append(2)
    await _expect_ones(store, chat.id, said.id, made.id, helper.id)


async def _expect_ones(store: Store, chat: UUID, said: UUID, made: UUID, helper: UUID) -> None:
    read = await store.get_session(chat)
    words = await store.get_message(said)
    paid = await store.get_api_call(made)
    found = await store.get_agent(helper)
    assert read is not None
    assert read.metadata == {"list": [1]}
    assert words is not None
    assert words.content.model_dump()["extra"] == {"list": [1]}
    assert paid is not None
    assert paid.prompt_tokens_details is not None
    assert paid.prompt_tokens_details.model_dump()["extra"] == [1]
    assert found is not None
    assert (found.custom_params, found.thinking) == ({"list": [1]}, [1])


async def test_a_list_that_was_read_is_the_callers_own(store: Store) -> None:
    await store.save_api_call(call())
    await store.save_message(message())
    (await store.query_api_calls(QueryFilter())).clear()
    (await store.get_session_messages(message().chat_session_id)).clear()
    assert len(await store.query_api_calls(QueryFilter())) == 1
    assert await store.count_session_messages(message().chat_session_id) == 1


async def test_tenants_never_see_each_other(store: Store) -> None:
    for tenant in (MINE, THEIRS):
        await store.save_api_calls([call(n, tenant_id=tenant, total_price=tenant.int) for n in range(3)])
        await store.save_provider(provider(tenant_id=tenant))
        await store.save_agent(agent(f"helper-{tenant}", tenant_id=tenant))
    mine = QueryFilter(tenant_id=MINE)
    assert {each.tenant_id for each in await store.query_api_calls(mine)} == {MINE}
    assert {each.tenant_id async for each in store.stream_api_calls(mine)} == {MINE}
    stats = await store.get_statistics(mine)
    assert (stats.total_calls, stats.total_cost) == (3, Decimal(30))
    found = [*await store.list_providers(MINE), *await store.get_enabled_providers(MINE)]
    agents = [*await store.list_agents(MINE), *await store.get_active_agents(MINE)]
    assert {each.tenant_id for each in found} == {each.tenant_id for each in agents} == {MINE}
    assert await store.get_agent_by_code_and_tenant(MINE, f"helper-{THEIRS}") is None
    theirs = await store.get_provider_by_name(THEIRS, "openai")
    assert theirs is not None
    assert theirs.tenant_id == THEIRS
