"""OpenAI's Agents SDK: a recorded client for its calls, and a session on our store for its messages."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import agents
import openai
import pytest
from agents import Agent, RunConfig, Runner
from agents.memory import Session, SessionSettings

from mofa_usage import ApiCallStatus, InMemoryStore, LLMApiCall, MessageContent, Recorder, UsageError
from mofa_usage.recording.openai_agents import AgentsSession
from tests.recording.sdks.clients import KEY, make
from tests.recording.sdks.clients import TIMEOUT as TIMEOUT_SECONDS
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, ModelServer, Step

SUCCESS, FAILED, CANCELLED = ApiCallStatus.SUCCESS, ApiCallStatus.FAILED, ApiCallStatus.CANCELLED
TIMEOUT, LIMITED = ApiCallStatus.TIMEOUT, ApiCallStatus.RATE_LIMITED
APIS = ["responses", "chat_completions"]
SESSION = "ticket-7"


@agents.function_tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """The SDK would send them to its maker."""
    agents.set_tracing_disabled(True)
    yield
    agents.set_tracing_disabled(False)


@pytest.fixture(params=APIS)
async def client(
    request: pytest.FixtureRequest, server: ModelServer, recorded: Recorded
) -> AsyncIterator[openai.AsyncOpenAI]:
    client = make("async openai", server, recorded.recorder)
    agents.set_default_openai_client(client, use_for_tracing=False)
    agents.set_default_openai_api(request.param)
    yield client
    await client.close()


@pytest.fixture
def scope(recorded: Recorded) -> Iterator[None]:
    with recorded.recorder.scope(user="alice", session=SESSION):
        yield


def session_of(recorded: Recorded, **further: Any) -> AgentsSession:
    return AgentsSession(recorded.store, SESSION, recorder=recorded.recorder, **further)


def agent(**further: Any) -> Agent[Any]:
    return Agent(name="A", instructions="Be kind", model="gpt-4o", **further)


async def calls_of(recorded: Recorded) -> list[LLMApiCall]:
    return await asyncio.to_thread(recorded.calls)


async def streamed(who: Agent[Any], text: str, **further: Any) -> Any:
    run = Runner.run_streamed(who, text, **further)
    async for _ in run.stream_events():
        pass
    return run


async def is_linked(recorded: Recorded, *said: str | None) -> list[LLMApiCall]:
    """These texts are the messages, each once, each the child of the one before; and each call names two of them."""
    calls = await calls_of(recorded)
    messages = await recorded.store.get_session_messages(calls[-1].chat_session_id)
    assert [message.content.text for message in messages] == list(said)
    ids = [message.id for message in messages]
    assert [message.parent_message_id for message in messages] == [None, *ids[:-1]]
    answers = [message for message in messages if message.role == "assistant"]
    assert [call.response_message_id for call in calls] == [message.id for message in answers]
    assert [call.request_message_id for call in calls] == [message.parent_message_id for message in answers]
    return calls


def test_it_is_a_session(recorded: Recorded) -> None:
    session = session_of(recorded)
    assert isinstance(session, Session)
    assert session.session_id == SESSION


@pytest.mark.usefixtures("client", "scope")
async def test_a_conversation(recorded: Recorded, server: ModelServer) -> None:
    """Tools, a second turn that is streamed, a third after a restart that sees the last two items."""
    server.plan("tool", "ok")
    who = agent(tools=[weather])
    session = session_of(recorded)
    run = await Runner.run(who, "What is it", session=session)
    assert run.final_output == ANSWER
    assert (await streamed(who, "And now", session=session)).final_output == ANSWER
    session = session_of(recorded)
    limit = RunConfig(session_settings=SessionSettings(limit=2))
    assert (await Runner.run(who, "More", session=session, run_config=limit)).final_output == ANSWER
    calls = await is_linked(recorded, "What is it", None, None, ANSWER, "And now", ANSWER, "More", ANSWER)
    assert [call.status for call in calls] == [SUCCESS] * 4
    assert {call.token_source for call in calls} == {"provider"}
    assert [call.time_to_first_token_ms is not None for call in calls] == [False, False, True, False]
    assert {call.labels["user"] for call in calls} == {"alice"}
    stored = await recorded.store.get_session(calls[0].chat_session_id)
    assert stored is not None
    assert (stored.title, stored.user_id) == (SESSION, calls[0].user_id)


@pytest.mark.usefixtures("client", "scope")
async def test_after_a_restart_the_conversation_goes_on(recorded: Recorded, server: ModelServer) -> None:
    await Runner.run(agent(), "One", session=session_of(recorded))
    with Recorder(recorded.store, prices=None) as other, other.scope(user="alice", session=SESSION):
        async with make("async openai", server, other) as client:
            agents.set_default_openai_client(client, use_for_tracing=False)
            await streamed(agent(), "Two", session=AgentsSession(recorded.store, SESSION, recorder=other))
        assert await other.aflush(30)
    await is_linked(recorded, "One", ANSWER, "Two", ANSWER)


@pytest.mark.usefixtures("client", "scope")
async def test_a_handoff(recorded: Recorded, server: ModelServer) -> None:
    server.plan("tool", "ok")
    other = Agent(name="Other", instructions="Help", model="gpt-4o-mini")
    handoff = agents.handoff(other, tool_name_override="weather")
    run = await Runner.run(agent(handoffs=[handoff]), "Go", session=session_of(recorded))
    assert run.last_agent is other
    calls = await is_linked(recorded, "Go", None, None, ANSWER)
    assert [call.model_name for call in calls] == ["gpt-4o", "gpt-4o-mini"]


@pytest.mark.usefixtures("client", "scope")
async def test_an_agent_that_a_tool_asks(recorded: Recorded, server: ModelServer) -> None:
    """That is a call, but nothing of the conversation."""
    helper = Agent(name="Helper", instructions="Help", model="gpt-4o-mini")

    @agents.function_tool(name_override="weather")
    async def ask(city: str) -> str:
        return str((await Runner.run(helper, f"How is {city}")).final_output)

    server.plan("tool", "ok", "ok")
    session = session_of(recorded)
    await streamed(agent(tools=[ask]), "Go", session=session)
    calls = await calls_of(recorded)
    assert [call.model_name for call in calls] == ["gpt-4o", "gpt-4o-mini", "gpt-4o"]
    said = await recorded.store.get_session_messages(calls[0].chat_session_id)
    assert [message.role.value for message in said] == ["user", "assistant", "tool", "assistant"]
    assert said[2].content.tool_result is not None
    assert said[2].content.tool_result.content == ANSWER


@pytest.mark.usefixtures("client", "scope")
async def test_without_a_session_the_recorder_saves_the_messages(recorded: Recorded, server: ModelServer) -> None:
    server.plan("tool", "ok")
    await streamed(agent(tools=[weather]), "What is it")
    calls = await calls_of(recorded)
    messages = await recorded.store.get_session_messages(calls[0].chat_session_id)
    assert [message.role.value for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert [call.status for call in calls] == [SUCCESS] * 2


FAULTS: list[tuple[Step, ApiCallStatus]] = [
    (400, FAILED),
    (401, FAILED),
    (429, LIMITED),
    (500, FAILED),
    ("slow", TIMEOUT),
    ("drop", FAILED),
    ("garbage", FAILED),
]
STREAM_FAULTS: list[tuple[Step, ApiCallStatus]] = [
    (429, LIMITED),
    ("stall", TIMEOUT),
    ("cut", FAILED),
    ("truncated", FAILED),
    ("error", FAILED),
]


@pytest.mark.usefixtures("scope")
@pytest.mark.parametrize(
    ("is_stream", "step", "status"),
    [*((False, *fault) for fault in FAULTS), *((True, *fault) for fault in STREAM_FAULTS)],
)
async def test_a_failure(
    is_stream: bool,
    step: Step,
    status: ApiCallStatus,
    client: openai.AsyncOpenAI,
    recorded: Recorded,
    server: ModelServer,
) -> None:
    """The call is there, and the conversation holds what the SDK takes for a part of it."""
    server.plan(step)
    client.max_retries = 0
    client.timeout = TIMEOUT_SECONDS if step in ("slow", "stall") else 30
    session = session_of(recorded)
    # A chat that is cut off without a word is an answer to the SDK.
    with suppress(openai.OpenAIError, agents.AgentsException, ValueError):
        await (streamed if is_stream else Runner.run)(agent(), "Hello", session=session)
    (call,) = await calls_of(recorded)
    assert call.status is status
    assert call.error_code
    assert KEY not in repr(call)
    assert call.token_source == ("provider" if step in (400, 401, 429) else "none")
    assert (await session.get_items())[0] == {"role": "user", "content": "Hello"}


@pytest.mark.usefixtures("client", "scope")
async def test_retries_are_rows(recorded: Recorded, server: ModelServer) -> None:
    server.plan(429, 500, "ok")
    await Runner.run(agent(), "Hello", session=session_of(recorded))
    calls = await calls_of(recorded)
    assert [call.labels["attempt"] for call in calls] == ["1", "2", "3"]
    assert len({call.request_message_id for call in calls}) == 1


@pytest.mark.usefixtures("client", "scope")
async def test_a_run_that_is_cancelled(recorded: Recorded, server: ModelServer) -> None:
    server.plan("slow")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Runner.run(agent(), "Hello", session=session_of(recorded)), TIMEOUT_SECONDS)
    (call,) = await calls_of(recorded)
    assert (call.status, call.error_code) == (CANCELLED, "CancelledError")


# The session by itself

ITEMS: list[Any] = [
    {"role": "user", "content": "Hello"},
    {"id": "rs-1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "content": None},
    {"id": "m-1", "type": "message", "role": "assistant", "status": "completed", "content": [
        {"type": "output_text", "text": "Look", "annotations": []}]},
    {"type": "function_call", "call_id": "c-1", "name": "weather", "arguments": '{"city": "Paris"}'},
    {"type": "function_call", "call_id": "c-2", "name": "weather", "arguments": "{not JSON"},
    {"type": "function_call_output", "call_id": "c-1", "output": "sunny"},
    {"type": "function_call_output", "call_id": "c-2", "output": [{"type": "input_text", "text": "no"}]},
    {"type": "web_search_call", "id": "ws-1", "status": "completed"},
    {"role": "assistant", "content": "Sunny"},
    {"role": "developer", "content": "Be kind"},
    {"role": "user", "content": [{"type": "input_image", "image_url": "data:..."}]},
    {"type": "item_reference", "id": "x"},
    {"role": "user", "content": ""},
]  # fmt: skip


@pytest.fixture
async def session() -> AgentsSession:
    return AgentsSession(InMemoryStore(), SESSION, user="alice")


async def test_items_come_back_as_they_were(session: AgentsSession) -> None:
    await session.add_items(ITEMS[:5])
    await session.add_items(ITEMS[5:7])
    await session.add_items([])
    await session.add_items(ITEMS[7:])
    assert await session.get_items() == ITEMS
    for limit in range(len(ITEMS) + 2):
        assert await session.get_items(limit) == ITEMS[max(0, len(ITEMS) - limit) :]
    session.session_settings = SessionSettings(limit=2)
    assert await session.get_items() == ITEMS[-2:]
    session.session_settings = {"limit": 1}
    assert await session.get_items() == ITEMS[-1:]


async def test_items_are_taken_away_from_the_end(session: AgentsSession) -> None:
    await session.add_items(ITEMS)
    for item in reversed(ITEMS):
        assert await session.pop_item() == item
    assert await session.pop_item() is None
    await session.add_items(ITEMS[:2])
    await session.clear_session()
    assert await session.get_items() == []
    await session.add_items(ITEMS[:2])
    assert await session.get_items() == ITEMS[:2]


async def test_what_is_said_twice_is_there_twice(session: AgentsSession) -> None:
    hello = {"role": "user", "content": "Hello"}
    await session.add_items([hello, hello])
    await session.add_items([hello])
    assert await session.get_items() == [hello] * 3


async def test_what_is_no_text_of_a_record_is_made_one(session: AgentsSession) -> None:
    await session.add_items([{"role": "user", "content": "a\0b\ud83d\ude00"}])
    assert await session.get_items() == [{"role": "user", "content": "a\ufffdb\U0001f600"}]


async def test_many_tasks_at_once(session: AgentsSession) -> None:
    said = [{"role": "user", "content": f"{number}"} for number in range(20)]
    await asyncio.gather(*(session.add_items([item]) for item in said))
    assert await session.get_items() == said


@pytest.mark.usefixtures("scope")
async def test_what_is_redacted_is_what_is_remembered() -> None:
    """Nothing of what was said is kept beside it."""

    def hide(content: MessageContent) -> MessageContent | None:
        if content.text == "leave out":
            return None
        return content.model_copy(update={"text": "***"}) if content.text else content

    store = InMemoryStore()
    with Recorder(store, prices=None, redact=hide) as recorder:
        session = AgentsSession(store, SESSION, recorder=recorder)
        await session.add_items([*ITEMS[:4], {"role": "user", "content": "leave out"}])
        items = await session.get_items()
    assert items == [{"role": "user", "content": "***"}, {"role": "assistant", "content": "***"}, ITEMS[3]]


def test_a_recorder_that_keeps_no_messages_is_none_of_a_session() -> None:
    store = InMemoryStore()
    recorder = Recorder(store, prices=None, capture_content=False)
    with recorder, pytest.raises(UsageError, match="keeps none"):
        AgentsSession(store, SESSION, recorder=recorder)
    with pytest.raises(UsageError, match="session"):
        AgentsSession(store, " ")
