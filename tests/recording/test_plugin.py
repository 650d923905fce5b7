"""The plugin in an agent of one's own: what its hooks save, many at once, and what they do without a store."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest

from mofa_usage import (
    NIL_UUID,
    ApiCallStatus,
    ChatMetadata,
    ChatRequest,
    ChatSession,
    InMemoryStore,
    LLMAgentBuilder,
    LLMApiCall,
    LLMMessage,
    MessageRole,
    PersistencePlugin,
    PriceBook,
    Recorder,
    Store,
    StoreConnectionError,
    ToolCallContent,
    UsageError,
)
from mofa_usage.recording.agents import keeping
from mofa_usage.values import text_uuid
from tests.leaks import opened
from tests.mofa_tables import build
from tests.servers import postgres_server

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}


def plugin_of(store: Store, **ids: Any) -> PersistencePlugin:
    whose = {"session_id": uuid4(), "agent_id": uuid4(), "user_id": uuid4(), "prices": None, **ids}
    return PersistencePlugin.from_store("persistence", store, **whose)


async def chat(plugin: PersistencePlugin, text: str = "Hello", metadata: Any = None) -> None:
    """A chat that goes well."""
    await plugin.before_chat_with_model(text, "gpt-4o")
    await asyncio.sleep(0)
    await plugin.after_chat_with_metadata(f"{text}!", metadata or ChatMetadata(usage=USAGE))


async def only_call(store: Store) -> LLMApiCall:
    (call,) = await store.query_api_calls()
    return call


async def test_hooks_save_question_answer_and_call_linked(store: Store) -> None:
    plugin = plugin_of(store, tenant_id=uuid4())
    content = {"tool_calls": [ToolCallContent(id="1", name="search", arguments={"q": "rust"})]}
    metadata = ChatMetadata(
        model="gpt-4o-2026", id="c-1", usage=USAGE, content=content, labels={"service_tier": "default"}
    )
    assert await plugin.before_chat_with_model("Hello", "gpt-4o") == "Hello"
    assert await plugin.after_chat_with_metadata("Good day.", metadata) == "Good day."

    question, answer = await plugin.load_history()
    call = await only_call(store)
    assert (question.role, question.content.text) == (MessageRole.USER, "Hello")
    assert (answer.role, answer.content.text) == (MessageRole.ASSISTANT, "Good day.")
    assert answer.content.tool_calls == content["tool_calls"]
    assert answer.parent_message_id == question.id
    assert (call.request_message_id, call.response_message_id) == (question.id, answer.id)
    for record in (question, answer, call):
        whose = (record.chat_session_id, record.agent_id, record.user_id, record.tenant_id)
        assert whose == (plugin.session_id, plugin.agent_id, plugin.user_id, plugin.tenant_id)
    assert (call.model_name, call.status, call.api_response_id) == ("gpt-4o", ApiCallStatus.SUCCESS, "c-1")
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == (12, 5, 17)
    assert call.prompt_tokens_details is not None
    assert call.prompt_tokens_details.cached_tokens == 4
    assert call.labels == {"served_model": "gpt-4o-2026", "service_tier": "default"}
    assert call.latency_ms is not None
    session = await store.get_session(plugin.session_id)
    assert session is not None
    assert (session.user_id, session.tenant_id) == (plugin.user_id, plugin.tenant_id)
    assert plugin.stats() == keeping.PluginStats(saved=3, waiting=0, lost=0, failures={})


async def test_fifty_chats_at_once_are_linked_right(store: Store) -> None:
    plugin = plugin_of(store)
    arrived = asyncio.Barrier(50)

    async def talk(number: int) -> None:
        await plugin.before_chat_with_model(f"question {number}", f"model-{number}")
        await arrived.wait()  # all questions are asked before any is answered
        usage = {"prompt_tokens": number, "completion_tokens": 1}
        await plugin.after_chat_with_metadata(f"answer {number}", ChatMetadata(usage=usage))

    await asyncio.gather(*(talk(number) for number in range(50)))
    messages = {message.id: message for message in await plugin.load_history()}
    calls = await store.query_api_calls()
    assert (len(messages), len(calls)) == (100, 50)
    for call in calls:
        question, answer = messages[call.request_message_id], messages[call.response_message_id]
        number = call.prompt_tokens
        texts = (question.content.text, answer.content.text, call.model_name)
        assert texts == (f"question {number}", f"answer {number}", f"model-{number}")
        assert answer.parent_message_id == question.id
    assert len(await store.get_user_sessions(plugin.user_id)) == 1


class RateLimitError(Exception):
    status_code = 429


@pytest.mark.parametrize(
    ("error", "status", "code", "source"),
    [
        (RateLimitError("slow down"), ApiCallStatus.RATE_LIMITED, "RateLimitError", "provider"),
        (TimeoutError(), ApiCallStatus.TIMEOUT, "TimeoutError", "none"),
        (asyncio.CancelledError(), ApiCallStatus.CANCELLED, "CancelledError", "none"),
        (ValueError("odd"), ApiCallStatus.FAILED, "ValueError", "none"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_an_error_is_a_failed_call(error: BaseException, status: ApiCallStatus, code: str, source: str) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    await plugin.before_chat_with_model("Hello", "gpt-4o")
    assert await plugin.on_error(error) is None
    call, (question,) = await only_call(store), await plugin.load_history()
    assert (call.status, call.error_code, call.token_source) == (status, code, source)
    assert (call.request_message_id, call.response_message_id) == (question.id, NIL_UUID)
    await plugin.on_error(error)  # of no chat
    await only_call(store)


async def test_what_nobody_says_is_unknown() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    await plugin.before_chat("Hello")
    await plugin.after_chat("Good day.")
    call = await only_call(store)
    assert (call.model_name, call.total_tokens, call.token_source) == ("unknown", 0, "none")
    await plugin.after_chat("And a good night.")  # an answer to nothing that was asked
    await only_call(store)
    assert [message.content.text for message in await plugin.load_history()][2:] == ["And a good night."]


@pytest.mark.parametrize(
    "said",
    [
        {"id": "c-1", "model": "gpt-4o", "prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
        {
            "id": "c-1",
            "model": "claude",
            "usage": {"input_tokens": 8, "cache_read_input_tokens": 4, "output_tokens": 5},
        },
    ],
    ids=["of MoFA", "of a provider"],
)
async def test_metadata_may_be_a_mapping(said: Mapping[str, Any]) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    await chat(plugin, metadata=said)
    call = await only_call(store)
    assert (call.prompt_tokens, call.completion_tokens, call.api_response_id) == (12, 5, "c-1")


async def test_calls_are_priced() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store, prices=PriceBook.default())
    await chat(plugin)
    assert (await only_call(store)).total_price is not None


async def test_a_session_is_made_where_missing_and_never_overwritten(store: Store) -> None:
    session = ChatSession.new(uuid4(), uuid4(), title="mine", metadata={"client": "web"})
    await store.create_session(session)
    plugin = plugin_of(store, session_id=session.id, user_id=session.user_id, agent_id=session.agent_id)
    await chat(plugin)
    assert await store.get_session(session.id) == session


@pytest.mark.shared_only
async def test_tables_that_mofa_made_take_chats(empty_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """With their foreign keys, and without a column for labels."""
    await build(empty_url)
    async with opened(empty_url) as store:
        plugin = plugin_of(store, user_id="alice")
        agent = LLMAgentBuilder().with_provider(Echo()).with_plugin(plugin).with_name(" ").build()
        for number in range(3):
            await agent.chat(str(number))
        texts = [message.content.text for message in await plugin.load_history()]
        assert texts == ["0", "after 0", "1", "after 2", "2", "after 4"]
        assert [call.labels for call in await store.query_api_calls()] == [{}, {}, {}]
        assert plugin.stats().failures == {}
    assert "mofa-usage migrate" in caplog.text


class Echo:
    """Says how much it was told before."""

    async def chat(self, request: ChatRequest) -> AsyncIterator[str]:
        yield f"after {len(request.messages) - 1}"


async def test_another_session_is_the_same_plugin() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    first, second = plugin.session_id, uuid4()
    await chat(plugin, "one")
    assert plugin.with_session_id(second) is plugin
    await chat(plugin, "two")
    assert plugin.session_id == second
    assert [len(await store.get_session_messages(session)) for session in (first, second)] == [2, 2]


async def test_a_chat_stays_in_the_session_in_which_it_began() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    first = plugin.session_id
    await plugin.before_chat_with_model("Hello", "gpt-4o")
    plugin.with_session_id(uuid4())
    await plugin.after_chat_with_metadata("Good day.", ChatMetadata())
    assert len(await store.get_session_messages(first)) == 2
    assert (await only_call(store)).chat_session_id == first


async def test_names_become_ids_and_labels() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store, session_id="ticket-7", user_id="alice", agent_id=str(UUID(int=7)))
    await chat(plugin)
    assert plugin.user_id == text_uuid("user_id", "alice")
    assert plugin.agent_id == UUID(int=7)
    assert (await only_call(store)).labels == {"session": "ticket-7", "user": "alice"}
    with pytest.raises(UsageError, match="user is a UUID or a text"):
        plugin_of(store, user_id=7)


async def test_messages_are_saved_by_hand(store: Store) -> None:
    plugin = plugin_of(store)
    ids = [await plugin.save_user_message("Hello"), await plugin.save_assistant_message("Good day.")]
    messages = await plugin.load_history()
    assert [message.id for message in messages] == ids
    assert [message.role.value for message in messages] == ["user", "assistant"]
    assert await store.get_session(plugin.session_id) is not None


async def test_text_that_no_database_takes_breaks_no_chat() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    assert await plugin.before_chat_with_model("a\0b", "gpt-4o") == "a\0b"
    await plugin.after_chat_with_metadata("\ud800", ChatMetadata())
    assert [message.content.text for message in await plugin.load_history()] == ["a\ufffdb", "\ufffd"]


async def test_what_is_no_call_is_lost_and_said(caplog: pytest.LogCaptureFixture) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    await chat(plugin, metadata=ChatMetadata(labels={"attempt": "often"}))
    assert len(await plugin.load_history()) == 2
    assert plugin.stats().lost == 1
    assert "InvalidCall" in caplog.text


async def test_a_recorder_has_the_call_of_a_chat_by_hand() -> None:
    """What is recorded between two hooks is the chat's: the next one, and what is outside, is not."""
    store = InMemoryStore()
    plugin = plugin_of(store)
    with Recorder(store, prices=None) as recorder:
        await plugin.before_chat_with_model("Hello", "gpt-4o")
        observe(recorder)
        await plugin.after_chat_with_metadata("Good day.", ChatMetadata(usage=USAGE))
        observe(recorder)
        assert recorder.flush(30)
    question, answer = await plugin.load_history()
    outside, inside = await store.query_api_calls()
    assert (inside.request_message_id, inside.response_message_id) == (question.id, answer.id)
    assert (inside.user_id, inside.chat_session_id) == (plugin.user_id, plugin.session_id)
    assert outside.user_id == NIL_UUID


def observe(recorder: Recorder) -> None:
    """A call that a recorder sees."""
    from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS

    request = recorder.observer.request(CHAT_COMPLETIONS, {"model": "gpt-4o"}, provider="openai")
    attempt = request.attempt()
    attempt.answered(200)
    said = {"role": "assistant", "content": "Good day."}
    attempt.add({"choices": [{"message": said, "finish_reason": "stop"}], "usage": USAGE})
    attempt.end()
    request.end()


# Without a store


class Failing(InMemoryStore):
    """A store that fails, or takes its time, as long as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.hangs = False
        self.asked = 0

    async def _fail(self) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    async def get_session(self, session_id: UUID) -> ChatSession | None:
        await self._fail()
        return await super().get_session(session_id)

    async def get_session_messages(self, session_id: UUID) -> list[LLMMessage]:
        await self._fail()
        return await super().get_session_messages(session_id)

    async def save_messages(self, messages: Any) -> None:
        await self._fail()
        await super().save_messages(messages)

    async def save_api_calls(self, calls: Any) -> None:
        await self._fail()
        await super().save_api_calls(calls)


@pytest.mark.parametrize(
    "error",
    [StoreConnectionError("no server at db.example"), RuntimeError("sk-secret"), OSError("sk-secret")],
    ids=lambda error: type(error).__name__,
)
async def test_a_failing_store_breaks_no_chat_and_is_said_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing()
    plugin = plugin_of(store)
    store.error = error
    for number in range(3):
        await chat(plugin, f"question {number}")
    kind = type(error).__name__
    stats = plugin.stats()
    assert (stats.saved, stats.waiting, stats.lost) == (0, 9, 0)
    assert stats.failures[kind] >= 3
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "'persistence' could not save in its memory store" in line
    assert kind in line
    assert ("no server at db.example" in line) == (kind == "StoreConnectionError")
    assert "sk-secret" not in caplog.text

    store.error = None
    await chat(plugin, "question 3")
    assert len(await plugin.load_history()) == 8
    calls = await store.query_api_calls()
    assert len(calls) == 4
    messages = {message.id: message.content.text for message in await plugin.load_history()}
    assert [messages[call.request_message_id] for call in reversed(calls)] == [f"question {n}" for n in range(4)]
    assert plugin.stats().waiting == 0


async def test_a_store_that_does_not_answer_keeps_no_chat_waiting_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PATIENCE", 0.15)
    store = Failing()
    plugin = plugin_of(store)
    store.hangs = True
    for number in range(4):
        await chat(plugin, f"question {number}")
    assert store.asked == 1
    assert plugin.stats().failures == {"TimeoutError": 1}
    assert await plugin.history(plugin.session_id) == []
    store.hangs = False
    assert await plugin.flush()
    assert plugin.stats().saved == 12


async def test_what_cannot_be_saved_is_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "_MOST_WAITING", 4)
    store = Failing()
    plugin = plugin_of(store)
    store.error = StoreConnectionError("no server")
    for _ in range(3):
        await chat(plugin)
    stats = plugin.stats()
    assert (stats.waiting, stats.lost) == (4, 5)
    assert "more than 4 cannot be saved" in caplog.text


async def test_by_hand_a_failing_store_raises() -> None:
    store = Failing()
    plugin = plugin_of(store)
    store.error = StoreConnectionError("no server")
    with pytest.raises(StoreConnectionError):
        await plugin.save_user_message("Hello")
    with pytest.raises(StoreConnectionError):
        await plugin.load_history()


async def test_a_history_that_cannot_be_read_is_the_one_that_was() -> None:
    store = Failing()
    plugin = plugin_of(store)
    await chat(plugin, "before")
    await plugin.history(plugin.session_id)
    store.error = StoreConnectionError("no server")
    await chat(plugin, "meanwhile")
    known = await plugin.history(plugin.session_id)
    assert [message.content.text for message in known] == ["before", "before!", "meanwhile", "meanwhile!"]
    store.error = None
    assert await plugin.history(plugin.session_id) == known  # two of them wait


async def test_enough_of_a_history_is_read_for_its_rounds() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    for number in range(3):
        await plugin.save_user_message(f"question {number}")
        for _ in range(40):  # tools at work
            await plugin.save_assistant_message("thinking")
    rounds = await plugin.history(plugin.session_id, 1)
    assert sum(message.role is MessageRole.USER for message in rounds) >= 1
    assert len(rounds) < 123
    assert len(await plugin.history(plugin.session_id, 3)) == 123


async def test_a_chat_that_is_cancelled_twice_is_saved() -> None:
    store = Failing()
    plugin = plugin_of(store)
    gate, arrived = asyncio.Event(), asyncio.Event()
    save = store.save_api_calls

    async def slowly(calls: Any) -> None:
        arrived.set()
        await gate.wait()
        await save(calls)

    store.save_api_calls = slowly  # type: ignore[method-assign]
    task = asyncio.create_task(chat(plugin))
    await arrived.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await asyncio.gather(*plugin._keeper._tasks)
    await only_call(store)


async def test_a_database_that_dies_breaks_no_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PATIENCE", 0.5)
    with postgres_server() as server:
        async with opened(server.url) as store:
            plugin = plugin_of(store)
            await chat(plugin, "before")
            server.kill()
            await chat(plugin, "meanwhile")
            assert plugin.stats().waiting == 3
            server.restart()
            monkeypatch.setattr(keeping, "PATIENCE", 60)
            assert await plugin.flush()
            texts = [message.content.text for message in await plugin.load_history()]
            assert texts == ["before", "before!", "meanwhile", "meanwhile!"]
            assert len(await store.query_api_calls()) == 2
