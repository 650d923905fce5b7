"""The small agent: whom it asks, what it tells them, what is left in the store, however a chat ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import anthropic
import openai
import pytest

from mofa_usage import (
    NIL_UUID,
    Agent,
    AgentConfig,
    AgentPlugin,
    ApiCallStatus,
    ChatMetadata,
    ChatRequest,
    InMemoryStore,
    LLMAgent,
    LLMAgentBuilder,
    LLMApiCall,
    LLMMessage,
    MessageContent,
    NotFoundError,
    PersistencePlugin,
    Provider,
    SqliteStore,
    Store,
    StoreConnectionError,
    ToolCallContent,
    ToolResultContent,
    UsageError,
)
from tests.recording.sdks.clients import KEY, make
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, CACHED, TOOL, ModelServer

SDKS = ["openai", "async openai", "anthropic", "async anthropic"]
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet"}
ECHOED = {"prompt_tokens": 3, "completion_tokens": 2}


class Echo:
    """A client of one's own, that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str | None]] = []

    async def chat(self, request: ChatRequest) -> AsyncIterator[str | ChatMetadata]:
        self.asked.append([message.content.text for message in request.messages])
        await asyncio.sleep(0)
        text = request.messages[-1].content.text or ""
        yield text
        yield "!"
        yield ChatMetadata(model="echo-1", id="e-1", usage=ECHOED)


def plugin_of(store: Store, **ids: Any) -> PersistencePlugin:
    whose = {"session_id": uuid4(), "agent_id": uuid4(), "user_id": uuid4(), "prices": None, **ids}
    return PersistencePlugin.from_store("persistence", store, **whose)


def agent_of(client: Any, *plugins: AgentPlugin, sdk: str = "openai") -> LLMAgent:
    builder = LLMAgentBuilder().with_provider(client).with_model(MODELS[sdk.removeprefix("async ")])
    for plugin in plugins:
        builder.with_plugin(plugin)
    return builder.build()


async def close(client: Any) -> None:
    if hasattr(client, "__aexit__"):
        await client.close()


async def calls_of(store: Store) -> list[LLMApiCall]:
    """Oldest first."""
    return list(reversed(await store.query_api_calls()))


async def recorded_calls(recorded: Recorded) -> list[LLMApiCall]:
    """What the recorder has saved, oldest first."""
    assert recorded.recorder.flush(30)
    return await calls_of(recorded.store)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (what is waited for happens elsewhere)
            await asyncio.sleep(0.01)


async def answers(agent: LLMAgent, text: str, *, stream: bool) -> str:
    return "".join([piece async for piece in agent.chat_stream(text)]) if stream else await agent.chat(text)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("is_recorded", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("sdk", SDKS)
async def test_a_chat_is_one_row_and_two_messages(
    sdk: str, is_recorded: bool, stream: bool, server: ModelServer, recorded: Recorded
) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    client = make(sdk, server, recorded.recorder if is_recorded else None)
    agent = agent_of(client, plugin, sdk=sdk)
    kind = type(client)
    assert await answers(agent, "What is Rust", stream=stream) == ANSWER
    assert await answers(agent, "And Cargo", stream=stream) == ANSWER
    assert type(client) is kind

    assert recorded.recorder.flush(30)
    calls, others = await calls_of(recorded.store if is_recorded else store), await recorded.store.query_api_calls()
    assert (len(calls), len(others)) == (2, 2 if is_recorded else 0)
    assert len(await store.query_api_calls()) == (0 if is_recorded else 2)
    assert await recorded.store.get_session_messages(plugin.session_id) == []
    messages = await plugin.load_history()
    assert [message.content.text for message in messages] == ["What is Rust", ANSWER, "And Cargo", ANSWER]
    assert [message.parent_message_id for message in messages] == [None, *(message.id for message in messages[:-1])]
    for call, question, answer in zip(calls, messages[::2], messages[1::2], strict=True):
        assert (call.request_message_id, call.response_message_id) == (question.id, answer.id)
        assert (call.chat_session_id, call.user_id) == (plugin.session_id, plugin.user_id)
        assert (call.status, call.api_response_id) == (ApiCallStatus.SUCCESS, "c-1")
        assert call.completion_tokens == len(ANSWER.split())
        assert call.prompt_tokens_details is not None
        assert call.prompt_tokens_details.cached_tokens == CACHED
        assert (call.time_to_first_token_ms is not None) == stream
    assert [call.prompt_tokens for call in calls] == [3, 9]
    await close(client)


@pytest.mark.parametrize("is_recorded", [False, True], ids=["plain", "recorded"])
async def test_each_attempt_is_a_row(is_recorded: bool, server: ModelServer, recorded: Recorded) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    server.plan(429, 500, "ok")
    async with make("async openai", server, recorded.recorder if is_recorded else None) as client:
        assert await agent_of(client, plugin).chat("Hello") == ANSWER
    assert recorded.recorder.flush(30)
    calls = await calls_of(recorded.store if is_recorded else store)
    question, answer = await plugin.load_history()
    assert [call.status.value for call in calls] == ["rate_limited", "failed", "success"]
    assert [call.labels.get("retried") for call in calls] == ["true", "true", None]
    assert {call.request_message_id for call in calls} == {question.id}
    assert [call.response_message_id for call in calls] == [NIL_UUID, NIL_UUID, answer.id]


@pytest.mark.parametrize("sdk", SDKS)
async def test_what_the_client_raises_is_raised_and_recorded(sdk: str, server: ModelServer) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    client = make(sdk, server)
    agent = agent_of(client, plugin, sdk=sdk)
    package = openai if "openai" in sdk else anthropic
    server.plan(401)
    with pytest.raises(package.AuthenticationError):
        await agent.chat("Hello")
    server.plan("cut")
    with pytest.raises(Exception, match=r"Connection error|peer closed"):
        await answers(agent, "Hello", stream=True)
    (refused, cut), messages = await calls_of(store), await plugin.load_history()
    assert (refused.status, refused.response_message_id) == (ApiCallStatus.FAILED, NIL_UUID)
    assert cut.status is ApiCallStatus.FAILED
    assert cut.token_source == ("none" if "openai" in sdk else "partial")
    assert [message.content.text for message in messages][:2] == ["Hello", "Hello"]
    assert messages[2].id == cut.response_message_id
    assert ANSWER.startswith(messages[2].content.text or "nothing")
    await close(client)


@pytest.mark.parametrize("how", ["closed", "dropped"])
@pytest.mark.parametrize("sdk", [*SDKS, "own"])
async def test_a_stream_that_is_left_is_recorded_as_far_as_it_got(sdk: str, how: str, server: ModelServer) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    client: Any = Echo() if sdk == "own" else make(sdk, server)
    agent = agent_of(client, plugin, sdk="openai" if sdk == "own" else sdk)
    pieces: Any = agent.chat_stream("Hello")
    first = await anext(pieces)
    if how == "closed":
        await pieces.aclose()
    del pieces
    await until(lambda: plugin.stats().saved == 3)
    (call,) = await calls_of(store)
    question, answer = await plugin.load_history()
    assert (call.status, call.error_code) == (ApiCallStatus.CANCELLED, "closed")
    assert (call.request_message_id, call.response_message_id) == (question.id, answer.id)
    assert answer.content.text == first
    assert call.token_source in ("none", "partial")
    await close(client)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("sdk", SDKS)
async def test_a_cancelled_chat_is_recorded(sdk: str, stream: bool, server: ModelServer) -> None:
    """An asynchronous client's at once; a synchronous one cannot be stopped: what it used is known when it is done."""
    store = InMemoryStore()
    plugin = plugin_of(store)
    client = make(sdk, server)
    server.plan("stall" if stream else "slow")
    task = asyncio.create_task(answers(agent_of(client, plugin, sdk=sdk), "Hello", stream=stream))
    await until(lambda: bool(server.asked))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (call,), messages = await calls_of(store), await plugin.load_history()
    assert call.request_message_id == messages[0].id
    assert call.status is (ApiCallStatus.CANCELLED if "async" in sdk or stream else ApiCallStatus.SUCCESS)
    assert call.response_message_id == (messages[1].id if len(messages) > 1 else NIL_UUID)
    await close(client)


async def test_an_error_before_anything_is_sent_is_a_failed_call(server: ModelServer) -> None:
    store = InMemoryStore()
    async with make("async openai", server, api_key="sk-söcret") as client:
        with pytest.raises(UnicodeEncodeError):
            await agent_of(client, plugin_of(store)).chat("Hello")
    (call,) = await calls_of(store)
    assert call.status is ApiCallStatus.FAILED
    assert "sk-s" not in repr(call)


# A client of one's own


async def test_a_client_of_ones_own_says_what_it_knows() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    agent = LLMAgentBuilder().with_provider(Echo()).with_plugin(plugin).with_name("echo").build()
    assert await agent.chat("Hello") == "Hello!"
    assert [piece async for piece in agent.chat_stream("Hello")] == ["Hello", "!"]
    whole, streamed = await calls_of(store)
    assert (whole.model_name, whole.api_response_id) == ("echo-1", "e-1")
    assert (whole.prompt_tokens, whole.completion_tokens, whole.token_source) == (3, 2, "provider")
    assert whole.time_to_first_token_ms is None
    assert streamed.time_to_first_token_ms is not None
    assert whole.labels == {"agent": "echo"}


async def test_a_scope_around_counts_and_labels_the_chats(server: ModelServer, recorded: Recorded) -> None:
    plugin = plugin_of(InMemoryStore(), user_id="alice")
    async with make("async openai", server, recorded.recorder) as client:
        agent = agent_of(client, plugin)
        with recorded.recorder.scope(user="bob", labels={"feature": "search"}) as scope:
            await agent.chat("one")
            assert (scope.usage.calls, scope.usage.completion_tokens) == (1, len(ANSWER.split()))
    (call,) = await recorded_calls(recorded)
    assert call.user_id == plugin.user_id
    assert (call.labels["feature"], call.labels["user"]) == ("search", "alice")


async def test_a_recorded_client_inside_ones_own_is_one_row(server: ModelServer, recorded: Recorded) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    async with make("async openai", server, recorded.recorder) as client:

        class Inner:
            async def chat(self, request: ChatRequest) -> AsyncIterator[str]:
                await client.embeddings.create(model="text-embedding-3-small", input="Hello")
                answer = await client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "Hello"}]
                )
                yield answer.choices[0].message.content

        await LLMAgentBuilder().with_provider(Inner()).with_plugin(plugin).build().chat("Hello")
    embedding, call = await recorded_calls(recorded)
    question, answer = await plugin.load_history()
    assert (call.request_message_id, call.response_message_id) == (question.id, answer.id)
    assert (embedding.labels["operation"], embedding.chat_session_id) == ("embeddings", NIL_UUID)
    assert await store.query_api_calls() == []


async def test_a_client_of_ones_own_may_ask_in_the_midst_of_its_answer(server: ModelServer, recorded: Recorded) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    async with make("async openai", server, recorded.recorder) as client:

        class Slow:
            async def chat(self, request: ChatRequest) -> AsyncIterator[str]:
                yield "Well, "
                async for chunk in await client.chat.completions.create(
                    model="gpt-4o", messages=[{"role": "user", "content": "Hello"}], stream=True
                ):
                    yield chunk.choices[0].delta.content or ""

        agent = LLMAgentBuilder().with_provider(Slow()).with_plugin(plugin).build()
        assert await answers(agent, "Hello", stream=True) == f"Well, {ANSWER}"
    (call,) = await recorded_calls(recorded)
    assert call.response_message_id == (await plugin.load_history())[1].id
    assert await store.query_api_calls() == []


def test_a_client_that_cannot_be_copied_is_said(server: ModelServer) -> None:
    class Mine(openai.OpenAI):
        def __init__(self, name: str) -> None:
            super().__init__(api_key=name, base_url=server.url)

    client = Mine("me")
    with pytest.raises(UsageError, match="a Mine cannot be copied"):
        agent_of(client, plugin_of(InMemoryStore()))
    client.close()


async def test_what_is_no_generator_is_said() -> None:
    class Wrong:
        async def chat(self, request: ChatRequest) -> str:
            return "Hello"

    with pytest.raises(UsageError, match=r"chat\(\) of a Wrong is to be an asynchronous generator"):
        await LLMAgentBuilder().with_provider(Wrong()).build().chat("Hello")


# Many at once


async def test_fifty_chats_at_once_in_their_sessions() -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    agent = LLMAgentBuilder().with_provider(Echo()).with_plugin(plugin).build()

    async def talk(number: int) -> None:
        for turn in range(3):
            assert await agent.chat(f"{number} {turn}", session_id=f"ticket-{number}") == f"{number} {turn}!"

    await asyncio.gather(*(talk(number) for number in range(50)))
    sessions = await agent.list_sessions()
    assert len(sessions) == 50
    messages: dict[UUID, LLMMessage] = {}
    for session in sessions:
        said = await store.get_session_messages(session)
        number = (said[0].content.text or "").split()[0]
        expected = [f"{number} {turn}{end}" for turn in range(3) for end in ("", "!")]
        assert [message.content.text for message in said] == expected
        messages |= {message.id: message for message in said}
    calls = await calls_of(store)
    assert len(calls) == 150
    for call in calls:
        question, answer = messages[call.request_message_id], messages[call.response_message_id]
        assert answer.content.text == f"{question.content.text}!"
        assert call.chat_session_id == question.chat_session_id


@pytest.mark.parametrize("is_recorded", [False, True], ids=["plain", "recorded"])
async def test_fifty_chats_at_once_with_a_real_client(
    is_recorded: bool, server: ModelServer, recorded: Recorded
) -> None:
    store = InMemoryStore()
    async with make("async openai", server, recorded.recorder if is_recorded else None) as client:
        agent = agent_of(client, plugin_of(store))

        async def talk(number: int) -> None:
            question, session = "word " * number, f"ticket-{number}"
            if number % 2:
                assert await agent.chat(question, session_id=session) == ANSWER
            else:
                pieces = [piece async for piece in agent.chat_stream(question, session_id=session)]
                assert "".join(pieces) == ANSWER

        await asyncio.gather(*(talk(number) for number in range(1, 51)))
    calls = await recorded_calls(recorded) if is_recorded else await calls_of(store)
    calls = [call for call in calls if "retried" not in call.labels]  # a server may be too busy for so many
    assert sorted(call.prompt_tokens for call in calls) == list(range(1, 51))
    for call in calls:
        question, answer = await store.get_session_messages(call.chat_session_id)
        assert (call.request_message_id, call.response_message_id) == (question.id, answer.id)
        assert call.prompt_tokens == len((question.content.text or "").split())


async def test_chats_at_once_in_one_session_tell_the_model_whole_rounds() -> None:
    store = InMemoryStore()
    echo = Echo()
    agent = LLMAgentBuilder().with_provider(echo).with_plugin(plugin_of(store)).build()
    await asyncio.gather(*(agent.chat(str(number)) for number in range(20)))
    await agent.chat("last")
    told = echo.asked[-1]
    assert len(told) == 41
    for question, answer in zip(told[:-1:2], told[1:-1:2], strict=True):
        assert answer == f"{question}!"


# What the model is told


async def test_the_window_counts_the_rounds_before_the_present_one() -> None:
    store = InMemoryStore()
    echo = Echo()
    agent = LLMAgentBuilder().with_provider(echo).with_plugin(plugin_of(store)).with_sliding_window(2).build()
    for number in range(5):
        await agent.chat(str(number))
    assert echo.asked[-1] == ["2", "2!", "3", "3!", "4"]
    assert echo.asked[1] == ["0", "0!", "1"]
    plugin = plugin_of(store)
    alone = LLMAgentBuilder().with_provider(echo).with_plugin(plugin).with_sliding_window(0).build()
    await alone.chat("5")
    await alone.chat("6")
    assert echo.asked[-1] == ["6"]
    messages = await plugin.load_history()
    assert messages[2].parent_message_id == messages[1].id


def said(plugin: PersistencePlugin, role: str, **content: Any) -> LLMMessage:
    ids: dict[str, Any] = {"chat_session_id": plugin.session_id, "agent_id": plugin.agent_id, "user_id": plugin.user_id}
    return LLMMessage.new(**ids, role=role, content=MessageContent(**content))


@pytest.mark.parametrize("sdk", ["async openai", "async anthropic"])
async def test_a_tool_call_stays_with_its_result(sdk: str, server: ModelServer) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    calls = [ToolCallContent(id=name, name="weather", arguments=TOOL) for name in ("call-1", "call-2")]
    result = ToolResultContent(tool_call_id="call-1", content="sunny", is_error=True)
    for message in (
        said(plugin, "system", text="of old"),
        said(plugin, "user", text="first"),
        said(plugin, "assistant", text="one"),
        said(plugin, "user", text="second"),
        said(plugin, "assistant", tool_calls=calls),  # nobody has answered the other one
        said(plugin, "tool", tool_result=result),
        said(plugin, "assistant", text="two"),
    ):
        await store.save_message(message)
    async with make(sdk, server) as client:
        builder = LLMAgentBuilder().with_provider(client).with_model("m").with_plugin(plugin)
        await builder.with_sliding_window(1).with_system_prompt("Be brief").build().chat("third")
    body = server.asked[-1].body
    if "openai" in sdk:
        call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
        assert body["messages"] == [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "second"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call-1", "content": "sunny"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "third"},
        ]
    else:
        used = {"type": "tool_use", "id": "call-1", "name": "weather", "input": TOOL}
        answered = {"type": "tool_result", "tool_use_id": "call-1", "content": "sunny", "is_error": True}
        assert body["system"] == "Be brief"
        assert body["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "second"}]},
            {"role": "assistant", "content": [used]},
            {"role": "user", "content": [answered]},
            {"role": "assistant", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": [{"type": "text", "text": "third"}]},
        ]


@pytest.mark.parametrize("sdk", ["async openai", "async anthropic"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tool_that_the_model_asks_for_is_saved(sdk: str, stream: bool, server: ModelServer) -> None:
    plugin = plugin_of(InMemoryStore())
    server.plan("tool")
    async with make(sdk, server) as client:
        assert await answers(agent_of(client, plugin, sdk=sdk), "Hello", stream=stream) == ""
    _, answer = await plugin.load_history()
    assert answer.content.tool_calls == [ToolCallContent(id="call-1", name="weather", arguments=TOOL)]


@pytest.mark.parametrize("sdk", ["async openai", "async anthropic"])
async def test_system_messages_of_the_store_count_where_the_agent_has_no_prompt(sdk: str, server: ModelServer) -> None:
    plugin = plugin_of(InMemoryStore())
    await plugin.store.save_message(said(plugin, "system", text="Be brief"))
    async with make(sdk, server) as client:
        await agent_of(client, plugin, sdk=sdk).chat("Hello")
    body = server.asked[-1].body
    assert "Be brief" in (body["messages"][0]["content"] if "openai" in sdk else body["system"])


# Sessions


async def test_sessions_are_begun_switched_listed_and_deleted(store_at: Callable[[], Any]) -> None:
    async with store_at() as store:
        echo = Echo()
        plugin = plugin_of(store)
        agent = LLMAgentBuilder().with_provider(echo).with_plugin(plugin).build()
        first = agent.session_id
        await agent.chat("one")
        second = await agent.new_session()
        assert isinstance(second, UUID)
        assert second == agent.session_id == plugin.session_id
        await agent.chat("two")
        assert echo.asked[-1] == ["two"]
        assert await agent.list_sessions() == [second, first]

        await agent.switch_session(str(first))
        await agent.chat("three")
        assert echo.asked[-1] == ["one", "one!", "three"]
        with pytest.raises(NotFoundError, match="no session"):
            await agent.switch_session(uuid4())
        assert agent.session_id == first

        assert await agent.delete_session(first)
        assert not await agent.delete_session(first)
        assert await agent.list_sessions() == [second]
        assert len(await store.query_api_calls()) == 3
        await agent.chat("anew")
        assert echo.asked[-1] == ["anew"]
        assert set(await agent.list_sessions()) == {first, second}


@pytest.fixture(params=["memory", "sqlite"])
def store_at(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return InMemoryStore if request.param == "memory" else SqliteStore.in_memory


async def test_sessions_of_others_are_not_there() -> None:
    store = InMemoryStore()
    theirs = plugin_of(store)
    await LLMAgentBuilder().with_provider(Echo()).with_plugin(theirs).build().chat("secret")
    agent = LLMAgentBuilder().with_provider(Echo()).with_plugin(plugin_of(store)).build()
    with pytest.raises(NotFoundError):
        await agent.switch_session(theirs.session_id)
    assert not await agent.delete_session(theirs.session_id)
    assert await agent.list_sessions() == []
    with pytest.raises(NotFoundError, match="of this user"):
        await agent.chat("mine", session_id=theirs.session_id)
    assert len(await theirs.load_history()) == 2


async def test_another_agent_goes_on_where_one_has_stopped() -> None:
    store = InMemoryStore()
    ids = {"session_id": uuid4(), "agent_id": uuid4(), "user_id": uuid4()}
    await LLMAgentBuilder().with_provider(Echo()).with_plugin(plugin_of(store, **ids)).build().chat("one")
    echo = Echo()
    later = plugin_of(store, **{**ids, "session_id": uuid4()})
    agent = LLMAgentBuilder().with_provider(echo).with_plugin(later).with_session_id(ids["session_id"]).build()
    await agent.chat("two")
    assert echo.asked == [["one", "one!", "two"]]


# Without a plugin, without a store


async def test_an_agent_without_a_plugin_remembers_as_long_as_it_lives(server: ModelServer, recorded: Recorded) -> None:
    async with make("async openai", server, recorded.recorder) as client:
        agent = agent_of(client)
        with recorded.recorder.scope(user="alice", session="ticket-7"):
            await agent.chat("one")
            await agent.chat("two")
    assert [message["content"] for message in server.asked[-1].body["messages"]] == ["one", ANSWER, "two"]
    calls = await recorded_calls(recorded)
    assert [call.labels["user"] for call in calls] == ["alice", "alice"]
    session = calls[0].chat_session_id
    messages = await recorded.store.get_session_messages(session)
    assert [message.content.text for message in messages] == ["one", ANSWER, "two", ANSWER]


async def test_a_store_that_fails_breaks_no_chat(server: ModelServer, caplog: pytest.LogCaptureFixture) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    async with make("async openai", server) as client:
        agent = agent_of(client, plugin)
        await agent.chat("one")
        await store.close()
        assert await agent.chat("two") == ANSWER
        assert await answers(agent, "three", stream=True) == ANSWER
    told = [message["content"] for message in server.asked[-1].body["messages"]]
    assert told == ["one", ANSWER, "two", ANSWER, "three"]
    assert plugin.stats().waiting == 6
    assert plugin.stats().failures["StoreConnectionError"] >= 2
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    with pytest.raises(StoreConnectionError):
        await agent.list_sessions()


# Plugins of one's own


class Loud(AgentPlugin):
    """Changes what goes in and out, and has an answer for errors."""

    async def before_chat(self, text: str) -> str | None:
        return None if text == "no" else text.upper()

    async def after_chat(self, response: str) -> str | None:
        return f"<{response}>"

    async def on_error(self, error: BaseException) -> str | None:
        return "sorry"


async def test_a_plugin_changes_what_is_asked_and_answered(server: ModelServer) -> None:
    store = InMemoryStore()
    plugin = plugin_of(store)
    echo = Echo()
    agent = LLMAgentBuilder().with_provider(echo).with_plugin(Loud()).with_plugin(plugin).build()
    assert await agent.chat("hello") == "<HELLO!>"
    assert echo.asked == [["HELLO"]]
    assert [message.content.text for message in await plugin.load_history()] == ["HELLO", "<HELLO!>"]
    assert await agent.chat("no") == ""
    assert len(echo.asked) == 1
    async with make("async openai", server) as client:
        server.plan(400)
        assert await agent_of(client, plugin, Loud()).chat("hello") == "sorry"
        server.plan(400)
        with pytest.raises(openai.BadRequestError):
            await answers(agent_of(client, plugin, Loud()), "hello", stream=True)


async def test_a_plugin_that_says_no_ends_the_chat() -> None:
    class Budget(AgentPlugin):
        async def before_chat(self, text: str) -> str | None:
            raise PermissionError("that is enough")

    store = InMemoryStore()
    echo = Echo()
    agent = LLMAgentBuilder().with_provider(echo).with_plugin(Budget()).with_plugin(plugin_of(store)).build()
    with pytest.raises(PermissionError, match="enough"):
        await agent.chat("hello")
    assert echo.asked == []
    assert await store.query_api_calls() == []


# Building


def configured(server: ModelServer, kind: str = "openai", **fields: Any) -> AgentConfig:
    base = server.url if kind == "anthropic" else f"{server.url}/v1"
    provider = Provider(provider_name="mine", provider_type=kind, api_base=base, api_key=KEY)
    usual = {"agent_code": "support", "agent_name": "Support", "model_name": "gpt-4o", "system_prompt": "Be brief"}
    return AgentConfig(agent=Agent(**{**usual, "provider_id": provider.id, **fields}), provider=provider)


async def test_an_agent_is_made_of_its_record(server: ModelServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = configured(
        server,
        temperature=0.5,
        max_completion_tokens=50,
        response_format="json_object",
        context_limit=1,
        custom_params={"seed": 7, "top_k": 5},
        thinking={"type": "enabled"},
        stream=True,
    )
    async with SqliteStore.in_memory() as store:
        await store.save_provider(config.provider)
        await store.save_agent(config.agent)
        builder = LLMAgentBuilder.from_agent_config(await store.get_agent_by_code_with_provider("support"))
        plugin = plugin_of(store)
        async with builder.with_plugin(plugin).build() as agent:
            for text in ("one", "two", "three"):
                assert await agent.chat(text) == ANSWER
            assert agent.name == "Support"
            shown = repr([agent, builder, plugin, plugin.turn(), *await store.query_api_calls()])
        body = server.asked[-1].body
        assert [message["content"] for message in body.pop("messages")] == ["Be brief", "two", ANSWER, "three"]
        assert body.pop("stream_options") == {"include_usage": True}
        assert body == {
            "model": "gpt-4o",
            "temperature": 0.5,
            "max_completion_tokens": 50,
            "response_format": {"type": "json_object"},
            "seed": 7,
            "top_k": 5,
            "thinking": {"type": "enabled"},
            "stream": True,
        }
        assert server.asked[-1].headers["authorization"] == f"Bearer {KEY}"
        assert {call.labels["agent"] for call in await store.query_api_calls()} == {"Support"}
        assert KEY not in shown + caplog.text


async def test_an_agent_of_anthropic_is_made_of_its_record(server: ModelServer) -> None:
    schema = '{"type": "json_schema", "schema": {"type": "object"}}'
    config = configured(
        server, "anthropic", temperature=0.5, response_format=schema, thinking={"type": "adaptive"}, stream=False
    )
    plugin = plugin_of(InMemoryStore())
    async with LLMAgentBuilder().with_plugin(plugin).from_agent_config(config).build() as agent:
        assert await answers(agent, "one", stream=True) == ANSWER  # in one piece
    body = server.asked[-1].body
    assert body.pop("messages")[0]["content"] == [{"type": "text", "text": "one"}]
    assert body == {
        "model": "gpt-4o",
        "system": "Be brief",
        "max_tokens": 4096,
        "temperature": 0.5,
        "thinking": {"type": "adaptive"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }
    assert any(value.endswith(KEY) for value in server.asked[-1].headers.values())
    (call,) = await plugin.store.query_api_calls()
    assert call.labels["provider"] == "anthropic"


@pytest.mark.parametrize(
    ("kind", "base", "expected"),
    [
        ("openai", "", "https://api.openai.com/v1/"),
        ("compatible", "http://gateway/v1/", "http://gateway/v1/"),
        ("ollama", "http://localhost:11434", "http://localhost:11434/v1/"),
        ("ollama", "", "http://localhost:11434/v1/"),
        ("gemini", "https://google.example", "https://google.example/v1beta/openai/"),
        ("azure", "https://me.openai.azure.com/openai/v1", "https://me.openai.azure.com/openai/v1/"),
        ("azure", "https://me.openai.azure.com?api-version=2024-10-21", "https://me.openai.azure.com/openai/"),
        ("Anthropic", "https://api.anthropic.com/v1", "https://api.anthropic.com"),
    ],
)
async def test_a_client_is_made_for_a_provider(
    kind: str, base: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    provider = Provider(provider_name="mine", provider_type=kind, api_base=base, api_key=KEY)
    async with LLMAgentBuilder().with_provider(provider).with_model("m").build() as agent:
        client = agent._parts.owned
        assert str(client.base_url) == expected
        assert client.api_key == KEY
    assert client.is_closed()


def provider_of(**fields: Any) -> Provider:
    usual = {"provider_name": "mine", "provider_type": "openai", "api_base": "http://x/v1", "api_key": KEY}
    return Provider(**{**usual, **fields})


@pytest.mark.parametrize(
    ("make_it", "complaint"),
    [
        (lambda: LLMAgentBuilder().build(), "somebody to ask: with_provider"),
        (lambda: LLMAgentBuilder().with_provider(provider_of()).build(), "needs a model: with_model"),
        (lambda: LLMAgentBuilder().with_provider(object()), "takes a client of OpenAI or Anthropic.*object"),
        (lambda: LLMAgentBuilder().with_provider(Echo), "takes a client of OpenAI"),
        (lambda: LLMAgentBuilder().with_plugin(object()), "lacks before_chat, before_chat_with_model"),  # type: ignore[arg-type]
        (lambda: LLMAgentBuilder().with_plugin(Loud), "it is a class"),  # type: ignore[arg-type]
        (lambda: LLMAgentBuilder().with_sliding_window(-1), "number of rounds from 0, not -1"),
        (lambda: LLMAgentBuilder.from_agent_config(None), "there is no such agent"),
        (
            lambda: LLMAgentBuilder().with_provider(provider_of(enabled=False)).with_model("m").build(),
            "'mine' is disabled",
        ),
        (
            lambda: LLMAgentBuilder().with_provider(provider_of(provider_type="abacus")).with_model("m").build(),
            "of the type 'abacus', for which no client is known: anthropic, azure",
        ),
        (
            lambda: (
                LLMAgentBuilder()
                .with_provider(provider_of(provider_type="azure", api_base="https://me.openai.azure.com"))
                .with_model("m")
                .build()
            ),
            "ends in /openai/v1, or says its version",
        ),
        (
            lambda: (
                LLMAgentBuilder().with_provider(provider_of(provider_type="groq", api_base="")).with_model("m").build()
            ),
            "needs an address",
        ),
    ],
)
def test_what_is_missing_is_said(make_it: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        make_it()
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields", "complaint"),
    [
        ("openai", {"agent_status": False}, "the agent 'support' is disabled"),
        ("openai", {"custom_params": [1]}, "custom_params is a JSON object"),
        ("openai", {"custom_params": {"messages": []}}, "custom_params holds messages"),
        ("openai", {"response_format": "{"}, "neither"),
        ("anthropic", {"response_format": "json"}, "for Anthropic, response_format is text or"),
        ("anthropic", {"thinking": True}, "for Anthropic, thinking is a JSON object"),
    ],
)
def test_a_record_that_cannot_be_used_is_said(
    kind: str, fields: dict[str, Any], complaint: str, server: ModelServer
) -> None:
    with pytest.raises(UsageError, match=complaint):
        LLMAgentBuilder.from_agent_config(configured(server, kind, **fields)).build()


@pytest.mark.parametrize("setting", ["name", "model", "system_prompt"])
def test_what_is_text_is_text(setting: str) -> None:
    with pytest.raises(UsageError, match=f"a {setting.replace('_', ' ')} is text, not int 5"):
        getattr(LLMAgentBuilder(), f"with_{setting}")(5)


def test_one_plugin_remembers() -> None:
    store = InMemoryStore()
    builder = LLMAgentBuilder().with_provider(Echo()).with_plugin(plugin_of(store)).with_plugin(plugin_of(store))
    with pytest.raises(UsageError, match="one PersistencePlugin, and these are 2"):
        builder.build()


async def test_a_question_is_text() -> None:
    with pytest.raises(UsageError, match="a question is text, not a int"):
        await LLMAgentBuilder().with_provider(Echo()).build().chat(7)  # type: ignore[arg-type]


async def test_two_agents_of_one_recorder_are_seen_apart(server: ModelServer, recorded: Recorded) -> None:
    """An agent without a plugin that is asked in the midst of another's chat is no part of it."""
    plugin = plugin_of(InMemoryStore())
    async with make("async openai", server, recorded.recorder) as client:
        inner = agent_of(client)

        class Outer:
            async def chat(self, request: ChatRequest) -> AsyncIterator[str]:
                yield await inner.chat("inside")

        await LLMAgentBuilder().with_provider(Outer()).with_plugin(plugin).build().chat("Hello")
    (inside,) = await recorded_calls(recorded)
    assert inside.chat_session_id == NIL_UUID
    (call,) = await plugin.store.query_api_calls()
    assert (call.chat_session_id, call.token_source) == (plugin.session_id, "none")
