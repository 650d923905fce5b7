"""Conversations that a provider keeps, contents that may not be kept, usage that comes early, two recorders at once."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx2
import openai
import pytest

from mofa_usage import InMemoryStore, LLMApiCall, LLMMessage, MessageContent, QueryFilter, Recorder
from mofa_usage.recording.conversations import Conversations, Kept, Said
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS
from tests.recording.sdks.clients import FORMS, asked, make, resource
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, ModelServer


@pytest.fixture
def responding() -> Iterator[openai.OpenAI]:
    """A client whose server gives each response an id of its own, and always says ok."""
    count = iter(range(100))

    def respond(request: httpx2.Request) -> httpx2.Response:
        content = [{"type": "output_text", "text": "ok", "annotations": []}]
        said = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
        whole = {
            "id": f"resp-{next(count)}",
            "object": "response",
            "created_at": 1,
            "model": "gpt-4o",
            "output": [said],
        }
        return httpx2.Response(200, json={**whole, "status": "completed", "usage": {"input_tokens": 1}})

    with httpx2.Client(transport=httpx2.MockTransport(respond)) as http:
        yield openai.OpenAI(api_key="sk", http_client=http)


def line_of(messages: list[LLMMessage]) -> list[str | None]:
    """What was said, each after its parent, from the message without one."""
    by_parent = {message.parent_message_id: message for message in messages}
    assert len(by_parent) == len(messages), "a message has one that follows it"
    line, last = [], None
    while (message := by_parent.get(last)) is not None:
        line.append(message.content.text)
        last = message.id
    return line


@pytest.mark.parametrize("kept", ["previous_response_id", "conversation"])
def test_what_a_provider_keeps_is_gone_on_from(kept: str, responding: openai.OpenAI, recorded: Recorded) -> None:
    client, previous = recorded.recorder.wrap(responding), None
    with recorded.recorder.scope(session="t-1"):
        for words in ("yes", "and?", "yes", "yes"):
            further: dict[str, Any] = {"conversation": "conv-1"} if kept == "conversation" else {}
            if previous is not None and not further:
                further = {"previous_response_id": previous}
            previous = client.responses.create(model="gpt-4o", input=words, **further).id
    assert line_of(recorded.messages()) == ["yes", "ok", "and?", "ok", "yes", "ok", "yes", "ok"]
    calls = recorded.calls()
    assert len({(call.request_message_id, call.response_message_id) for call in calls}) == 4
    assert {call.response_message_id for call in calls} <= {message.id for message in recorded.messages()}


def test_what_another_process_has_said_is_no_parent() -> None:
    session, words = str(uuid4()), Said("user", {"text": "yes"})
    first, other, again = (
        Conversations().place(session, [words], kept) for kept in (Kept("r-1"), Kept("r-2"), Kept("r-1"))
    )
    assert first.new[0].parent is None
    assert first.new[0].id != other.new[0].id
    assert first.new == again.new, "the same request, tried again"
    moving = [Conversations().place(session, [words], Kept("c", is_conversation=True)) for _ in range(2)]
    assert moving[0].new[0].id != moving[1].new[0].id, "nobody knows what was said meanwhile"


@pytest.mark.parametrize("sdk", ["openai", "async openai", "anthropic", "async anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_two_recorders_of_one_client(sdk: str, stream: bool, server: ModelServer, recorded: Recorded) -> None:
    form = next(form for name, form in FORMS if sdk.endswith(name))
    other, store = recorded.recorder, InMemoryStore()
    server.plan(500)
    with Recorder(store, prices=None) as recorder, recorder.scope(session="mine"), other.scope(session="theirs"):

        def wrapped() -> Any:
            client = recorder.wrap(make(sdk, server))
            assert recorder.wrap(other.wrap(client)) is client
            return client

        if sdk.startswith("async"):

            async def ask() -> None:
                async with wrapped() as client:
                    answer = await resource(client, form).create(**asked(form, stream=stream))
                    _ = [item async for item in answer] if stream else answer

            asyncio.run(ask())
        else:
            answer = resource(wrapped(), form).create(**asked(form, stream=stream))
            _ = list(answer) if stream else answer
        assert recorder.flush(30)
    theirs = recorded.calls()
    mine = list(reversed(asyncio.run(store.query_api_calls(QueryFilter()))))
    assert told(mine) == told(theirs)
    assert [call.labels.get("attempt") for call in mine] == ["1", "2"]
    assert recorded.messages()[-1].content.text == ANSWER
    assert mine[0].chat_session_id != theirs[0].chat_session_id


def told(calls: list[LLMApiCall]) -> list[tuple[Any, ...]]:
    return [(call.status, call.total_tokens, call.error_code, call.labels.get("retried")) for call in calls]


@pytest.mark.parametrize(
    ("hides", "line"),
    [
        (lambda content: content.text == "first", ["ok", "second", "ok"]),
        (lambda content: content.text == "ok", ["first", "second"]),
        (lambda content: True, []),
    ],
)
def test_nothing_refers_to_what_is_left_out(
    hides: Callable[[MessageContent], bool], line: list[str], responding: openai.OpenAI
) -> None:
    store = InMemoryStore()
    with Recorder(store, prices=None, redact=lambda content: None if hides(content) else content) as recorder:
        client = recorder.wrap(responding)
        with recorder.scope(session="t-1"):
            first = client.responses.create(model="gpt-4o", input="first")
            client.responses.create(model="gpt-4o", input="second", previous_response_id=first.id)
        assert recorder.flush(30)
        calls = asyncio.run(store.query_api_calls(QueryFilter()))
    messages = asyncio.run(store.get_session_messages(calls[0].chat_session_id))
    assert line_of(messages) == line
    saved = {message.id for message in messages}
    assert {call.response_message_id for call in calls if call.response_message_id.int} <= saved
    assert all(call.request_message_id.int for call in calls), "it names the request, saved or not"


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_a_stream_that_a_cache_gives(kind: Any, recorded: Recorded) -> None:
    delta = {"choices": [{"index": 0, "delta": {"content": "Rust"}, "finish_reason": "stop"}]}
    lines = "".join(f"data: {json.dumps(data)}\n\n" for data in (delta, {"choices": [], "usage": {"prompt_tokens": 7}}))

    def cached(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text=lines, headers={"content-type": "text/event-stream"})

    transport = httpx2.MockTransport(cached)
    if kind is openai.OpenAI:
        with (
            recorded.recorder.wrap(kind(api_key="sk", http_client=httpx2.Client(transport=transport))) as client,
            client.chat.completions.with_streaming_response.create(**asked("chat", stream=True)) as response,
        ):
            assert "Rust" in "".join(response.iter_lines())
    else:

        async def run() -> None:
            http = httpx2.AsyncClient(transport=transport)
            async with recorded.recorder.wrap(kind(api_key="sk", http_client=http)) as client:
                create = client.chat.completions.with_streaming_response.create
                async with create(**asked("chat", stream=True)) as response:
                    assert "Rust" in "".join([line async for line in response.iter_lines()])

        asyncio.run(run())
    call = recorded.call()
    assert (call.status, call.prompt_tokens, call.token_source) == ("success", 7, "partial")


def test_usage_that_comes_before_anything_is_not_the_end() -> None:
    reader = CHAT_COMPLETIONS.reader()
    for data in (
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}},
        {"choices": [{"delta": {"content": "Rust"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 1}},
    ):
        reader.add(json.loads(json.dumps(data)))
        assert not reader.answer.is_done
    reader.add({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}})
    assert reader.answer.is_done
    assert reader.answer.usage == {"prompt_tokens": 7, "completion_tokens": 2}
