"""A session in one's hand."""

from uuid import uuid4

import pytest

from mofa_usage import (
    NIL_UUID,
    ChatSession,
    InMemoryStore,
    MessageContent,
    PersistenceContext,
    PersistenceError,
    Store,
    UsageError,
)
from tests.samples import call


async def test_a_new_context_has_a_session(store: Store) -> None:
    user, agent, tenant = uuid4(), uuid4(), uuid4()
    context = await PersistenceContext.new(store, user_id=user, agent_id=agent, tenant_id=tenant)
    session = await store.get_session(context.session_id)
    assert session is not None
    assert (session.user_id, session.agent_id, session.tenant_id) == (user, agent, tenant)
    assert await context.get_history() == []

    question = await context.save_user_message("Hello")
    answer = await context.save_assistant_message(MessageContent(text="Good day.", mood="fine"))
    history = await context.get_history()
    assert [(message.id, message.role.value, message.content.text) for message in history] == [
        (question, "user", "Hello"),
        (answer, "assistant", "Good day."),
    ]
    assert {message.tenant_id for message in history} == {tenant}


async def test_a_context_goes_on_in_a_session(store: Store) -> None:
    session = ChatSession.new(uuid4(), uuid4(), title="mine")
    await store.create_session(session)
    ids = {"session_id": session.id, "user_id": session.user_id, "agent_id": session.agent_id}
    await PersistenceContext.from_session(store, **ids).save_user_message("Hello")
    context = PersistenceContext.from_session(store, **ids)
    assert [message.content.text for message in await context.get_history()] == ["Hello"]
    assert (await context.get_history())[0].tenant_id == NIL_UUID
    assert await store.get_session(session.id) == session


async def test_a_session_that_is_missing_is_made(store: Store) -> None:
    context = PersistenceContext.from_session(store, session_id=uuid4(), user_id=uuid4(), agent_id=uuid4())
    assert await store.get_session(context.session_id) is None
    await context.save_user_message("Hello")
    assert await store.get_session(context.session_id) is not None


async def test_usage_is_that_of_the_session(store: Store) -> None:
    context = await PersistenceContext.new(store, user_id=uuid4(), agent_id=uuid4())
    assert (await context.get_usage_stats()).total_calls == 0
    await store.save_api_calls([call(1, chat_session_id=context.session_id), call(2)])
    assert (await context.get_usage_stats()).total_calls == 1


async def test_another_session_is_begun() -> None:
    store = InMemoryStore()
    context = await PersistenceContext.new(store, user_id="alice", agent_id="support")
    first = context.session_id
    await context.save_user_message("Hello")
    second = await context.new_session()
    assert second == context.session_id != first
    assert await context.get_history() == []
    assert len(await store.get_session_messages(first)) == 1
    assert str(second) in repr(context)


async def test_what_fails_is_raised() -> None:
    store = InMemoryStore()
    context = await PersistenceContext.new(store, user_id=uuid4(), agent_id=uuid4())
    await store.close()
    for work in (context.new_session(), context.save_user_message("Hello"), context.get_history()):
        with pytest.raises(PersistenceError):
            await work
    with pytest.raises(UsageError, match="user is a UUID"):
        await PersistenceContext.new(store, user_id="", agent_id=uuid4())
