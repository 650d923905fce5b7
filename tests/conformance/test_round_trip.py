"""What is saved comes back equal: every field, on every backend."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofa_usage.records import Agent, ChatSession, LLMApiCall, LLMMessage, MessageContent, Provider
from mofa_usage.stores import Store
from tests import strategies
from tests.proofs import trials
from tests.samples import agent, call, message, provider, session

# One store serves all examples: an id that is drawn twice is replaced whole, which must leave nothing of the first.
drawn = settings(
    max_examples=trials(4, 100), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def assert_utc(record: Any) -> None:
    assert record.create_time.utcoffset() == record.update_time.utcoffset() == timedelta(0)


@pytest.mark.proof
@drawn
@given(batch=st.lists(strategies.messages(), min_size=1, max_size=4, unique_by=lambda m: m.id))
async def test_messages(store: Store, batch: list[LLMMessage]) -> None:
    await store.save_messages(batch)
    for saved in batch:
        read = await store.get_message(saved.id)
        assert read == saved
        assert_utc(read)


@pytest.mark.proof
@drawn
@given(batch=st.lists(strategies.api_calls(), min_size=1, max_size=4, unique_by=lambda c: c.id))
async def test_api_calls(store: Store, batch: list[LLMApiCall]) -> None:
    await store.save_api_calls(batch)
    for saved in batch:
        read = await store.get_api_call(saved.id)
        assert read == saved
        assert_utc(read)


@pytest.mark.proof
@drawn
@given(saved=strategies.api_calls())
async def test_an_api_call_saved_alone(store: Store, saved: LLMApiCall) -> None:
    await store.save_api_call(saved)
    assert await store.get_api_call(saved.id) == saved


@pytest.mark.proof
@drawn
@given(saved=strategies.messages())
async def test_a_message_saved_alone(store: Store, saved: LLMMessage) -> None:
    await store.save_message(saved)
    assert await store.get_message(saved.id) == saved


@pytest.mark.proof
@drawn
@given(saved=strategies.sessions())
async def test_sessions(store: Store, saved: ChatSession) -> None:
    await store.delete_session(saved.id)
    await store.create_session(saved)
    read = await store.get_session(saved.id)
    assert read == saved
    assert_utc(read)


@pytest.mark.proof
@drawn
@given(saved=strategies.providers())
async def test_providers(store: Store, saved: Provider) -> None:
    await store.save_provider(saved)
    try:
        read = await store.get_provider(saved.id)
        assert read == saved
        assert read is not None
        assert read.api_key.get_secret_value() == saved.api_key.get_secret_value()
        assert await store.get_provider_by_name(saved.tenant_id, saved.provider_name) == saved
    finally:
        await store.delete_provider(saved.id)


@pytest.mark.proof
@drawn
@given(saved=strategies.agents())
async def test_agents(store: Store, saved: Agent) -> None:
    await store.save_agent(saved)
    try:
        assert await store.get_agent(saved.id) == saved
        assert await store.get_agent_by_code(saved.agent_code) == saved
    finally:
        await store.delete_agent(saved.id)


async def test_a_megabyte_of_text(store: Store) -> None:
    text = "\U0001f600é'\"\\%\n" * 100_000
    long = message(content=MessageContent(text=text))
    await store.save_message(long)
    await store.save_messages([long.model_copy(update={"id": UUID(int=5)})])
    for each in (long.id, UUID(int=5)):
        read = await store.get_message(each)
        assert read is not None
        assert read.content.text == text


async def test_long_text_everywhere(store: Store) -> None:
    text = "ж" * 70_000  # more than 65,535 bytes, where a MySQL TEXT ends
    failed = call(status="failed", error_message=text, error_code=text, api_response_id=text)
    await store.save_api_call(failed)
    assert await store.get_api_call(failed.id) == failed
    titled = session(title=text, metadata={text: text})
    await store.create_session(titled)
    assert await store.get_session(titled.id) == titled
    told = agent(system_prompt=text, agent_name=text, custom_params={"k": text}, thinking=text)
    await store.save_agent(told)
    assert await store.get_agent(told.id) == told
    based = provider(api_base=text, api_key=text)
    await store.save_provider(based)
    assert await store.get_provider(based.id) == based


# Names that an index covers: databases differ in how long they may be.
NAMED: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "agent_code": (lambda text: agent(text), "save_agent", "get_agent"),
    "provider_name": (lambda text: provider(text), "save_provider", "get_provider"),
    "model_name": (lambda text: call(model_name=text), "save_api_call", "get_api_call"),
}


@pytest.mark.parametrize(("build", "save", "get"), NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("length", [100, 255, 700, 5_000])
async def test_a_long_name_is_refused_by_the_record_or_kept_by_the_store(
    store: Store, build: Callable[[str], Any], save: str, get: str, length: int
) -> None:
    text = "".join(random.Random(length).choices("abcdefghijklmnopqrstuvwxyzäöü\U0001f600", k=length))
    try:
        named = build(text)
    except ValueError:
        assert length > 255
        return
    await getattr(store, save)(named)
    assert await getattr(store, get)(named.id) == named
