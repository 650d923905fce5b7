"""The same call, in all the ways that an SDK has for it; and streams that end before their end."""

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pydantic
import pytest

from mofa_usage import ApiCallStatus, UsageError
from tests.recording.sdks.clients import FORMS, KEY, QUESTION, Client, asked, make, outcome, resource
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, TOOL, ModelServer, Step

PROMPT, COMPLETION = len(QUESTION.split()), len(ANSWER.split())


class Reply(pydantic.BaseModel):
    words: str


def chat(**further: Any) -> dict[str, Any]:
    return asked("chat", **further)


def helper(client: Client) -> Any:
    with client.chat.completions.stream(**chat()) as stream:
        return [(event.type, *stream.get_final_completion().choices[0].message.content.split()) for event in stream]


def responses_helper(client: Client) -> Any:
    with client.responses.stream(**asked("responses")) as stream:
        return [event.type for event in stream] + [stream.get_final_response()]


def messages_helper(client: Client) -> Any:
    with client.messages.stream(**asked("messages")) as stream:
        return [*stream.text_stream, stream.get_final_message(), stream.request_id]


def streaming_lines(client: Client) -> Any:
    with client.chat.completions.with_streaming_response.create(**chat(stream=True)) as response:
        return list(response.iter_lines())


def streaming_parse(client: Client) -> Any:
    with client.chat.completions.with_streaming_response.create(**chat()) as response:
        return response.parse()


def streaming_responses(client: Client) -> Any:
    create = client.responses.with_streaming_response.create
    with create(**asked("responses", stream=True)) as response:
        return [event.type for event in response.parse()]


def raw(client: Client) -> Any:
    response = client.chat.completions.with_raw_response.create(**chat())
    return [response.parse(), response.request_id, response.retries_taken, type(response).__name__, response.text]


def raw_stream(client: Client) -> Any:
    response = client.chat.completions.with_raw_response.create(**chat(stream=True))
    stream = response.parse()
    return [type(stream).__name__, response.parse() is stream, *stream]


def refused_parse(client: Client) -> Any:
    return client.chat.completions.parse(**chat(max_tokens=1), response_format=Reply)


def beta(client: Client) -> Any:
    return client.beta.messages.create(**asked("messages"), betas=["context-1m-2025-08-07"])


def with_options(client: Client) -> Any:
    return client.with_options(timeout=29).chat.completions.create(**chat())


def messages_with_options(client: Client) -> Any:
    return client.with_options(timeout=29).messages.create(**asked("messages"))


def raw_messages(client: Client) -> Any:
    response = client.messages.with_raw_response.create(**asked("messages", stream=True))
    return [type(response).__name__, *response.parse()]


# name -> SDK, the call, whether a first token is seen, the tokens that are known
WAYS: dict[str, tuple[str, Callable[[Client], Any], bool, bool]] = {
    "helper": ("openai", helper, True, True),
    "responses helper": ("openai", responses_helper, True, True),
    "raw": ("openai", raw, False, True),
    "raw stream": ("openai", raw_stream, True, True),
    "with_options": (
        "openai",
        lambda client: client.with_options(timeout=29).chat.completions.create(**chat()),
        False,
        True,
    ),
    "streaming response": ("openai", streaming_parse, False, True),
    "lines of a streaming response": ("openai", streaming_lines, True, False),  # it is not asked for usage
    "streaming responses": ("openai", streaming_responses, True, True),
    "cut off by its length": ("openai", refused_parse, False, True),
    "extra body": ("openai", lambda client: client.chat.completions.create(**chat(extra_body={"x": 1})), False, True),
    "own usage": (
        "openai",
        lambda client: list(
            client.chat.completions.create(**chat(stream=True, stream_options={"include_usage": True}))
        ),
        True,
        True,
    ),
    "messages helper": ("anthropic", messages_helper, True, True),
    "beta": ("anthropic", beta, False, True),
    "raw messages": ("anthropic", raw_messages, True, True),
    "messages with_options": (
        "anthropic",
        lambda c: c.with_options(timeout=29).messages.create(**asked("messages")),
        False,
        True,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_of_calling(way: str, server: ModelServer, recorded: Recorded) -> None:
    sdk, call, has_first, knows_usage = WAYS[way]
    plain = outcome(lambda: call(make(sdk, server)))
    before = [request.body for request in server.asked]
    server.plan()
    with recorded.recorder.scope(session="t-1"):
        assert outcome(lambda: call(make(sdk, server, recorded.recorder))) == plain
    after = [request.body for request in server.asked]
    for body in after:
        if "stream_options" not in before[0]:
            body.pop("stream_options", None)
    assert after == before
    row = recorded.call()
    assert row.status is ApiCallStatus.SUCCESS
    assert (row.prompt_tokens, row.completion_tokens) == ((PROMPT, COMPLETION) if knows_usage else (0, 0))
    assert row.token_source == ("provider" if knows_usage else "none")
    assert (row.time_to_first_token_ms is not None) == has_first
    assert [message.content.text for message in recorded.messages()] == [QUESTION, ANSWER]


def test_async_ways(server: ModelServer, recorded: Recorded) -> None:
    async def run() -> None:
        async with make("async openai", server, recorded.recorder) as client:
            await openai_ways(client)
        async with make("async anthropic", server, recorded.recorder) as other:
            await anthropic_ways(other)

    async def anthropic_ways(client: Client) -> None:
        async with client.messages.stream(**asked("messages")) as stream:
            assert await stream.get_final_text() == ANSWER
        response = await client.messages.with_raw_response.create(**asked("messages", stream=True))
        assert [event async for event in await response.parse()]

    async def openai_ways(client: Client) -> None:
        response = await client.chat.completions.with_raw_response.create(**chat(stream=True))
        assert len([chunk async for chunk in response.parse()]) == COMPLETION + 2
        async with client.responses.with_streaming_response.create(**asked("responses", stream=True)) as streaming:
            assert [event async for event in await streaming.parse()]
        async with client.chat.completions.stream(**chat()) as helper:
            assert (await helper.get_final_completion()).choices[0].message.content == ANSWER

    asyncio.run(run())
    calls = recorded.calls()
    assert [(call.status, call.total_tokens) for call in calls] == [(ApiCallStatus.SUCCESS, PROMPT + COMPLETION)] * 5
    assert all(call.time_to_first_token_ms is not None for call in calls)


def test_embeddings(server: ModelServer, recorded: Recorded) -> None:
    client = make("openai", server, recorded.recorder)
    with recorded.recorder.scope(session="t-1"):
        answer = client.embeddings.create(model="text-embedding-3-small", input=QUESTION, encoding_format="float")
    assert answer.data[0].embedding == [0.5, 0.25]
    call = recorded.call()
    assert (call.labels["operation"], call.prompt_tokens, call.completion_tokens) == ("embeddings", PROMPT, 0)
    assert call.token_source == "provider"
    assert recorded.messages() == []


def test_azure(server: ModelServer, recorded: Recorded) -> None:
    http = httpx2.Client(verify=False)
    server.clients.append(http)
    plain = openai.AzureOpenAI(api_key=KEY, azure_endpoint=server.url, api_version="2024-10-21", http_client=http)
    client = recorded.recorder.wrap(plain)
    assert client is plain
    assert isinstance(client, openai.AzureOpenAI)
    server.plan(*["ok"] * 2)
    client.chat.completions.create(**chat())
    client.with_options(max_retries=1).chat.completions.create(**chat())
    assert server.asked[0].path.startswith("/openai/deployments/gpt-4o/chat/completions")
    assert [call.labels["provider"] for call in recorded.calls()] == ["azure", "azure"]


def test_a_server_that_does_not_know_the_question_for_usage(server: ModelServer, recorded: Recorded) -> None:
    server.knows_stream_options = False
    client = make("openai", server, recorded.recorder)
    for _ in range(2):
        assert len(list(client.chat.completions.create(**chat(stream=True)))) == COMPLETION + 2
    assert ["stream_options" in request.body for request in server.asked] == [True, False, False]
    refused, answered, again = recorded.calls()
    assert (refused.labels["retried"], refused.total_tokens) == ("true", 0)
    assert (answered.status, answered.token_source) == (ApiCallStatus.SUCCESS, "none")
    assert again.labels.keys().isdisjoint({"retried", "attempt"})


# Streams that end before their end


@pytest.mark.parametrize("end", ["break", "close", "with", "never read"])
@pytest.mark.parametrize(("sdk", "form"), FORMS)
def test_a_stream_that_the_user_leaves(sdk: str, form: str, end: str, server: ModelServer, recorded: Recorded) -> None:
    client = make(sdk, server, recorded.recorder)
    with recorded.recorder.scope(session="t-1"):
        stream = resource(client, form).create(**asked(form, stream=True))
        if end == "with":
            with pytest.raises(ZeroDivisionError), stream:
                fail_within(stream)
        elif end != "never read":
            leave(stream)
        if end == "close":
            stream.close()
        del stream
        gc.collect()
    call = recorded.call()
    assert (call.status, call.error_code) == (ApiCallStatus.CANCELLED, "closed")
    knows_prompt = form == "messages" and end != "never read"
    assert call.token_source == ("partial" if knows_prompt else "none")
    assert call.prompt_tokens == (PROMPT if knows_prompt else 0)
    said = [message.content.text for message in recorded.messages()]
    assert said == ([QUESTION] if end == "never read" else [QUESTION, ANSWER.split()[0]])


def leave(stream: Any) -> None:
    """Read until the first word."""
    for item in stream:
        if ANSWER.split()[0] in item.model_dump_json():
            break


def fail_within(stream: Any) -> None:
    leave(stream)
    raise ZeroDivisionError("the user's own error")


@pytest.mark.parametrize("when", ["before", "within", "retrying"])
@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize(("sdk", "form"), [("async openai", "chat"), ("async anthropic", "messages")])
def test_a_task_that_is_cancelled(
    sdk: str, form: str, cancels: int, when: str, server: ModelServer, recorded: Recorded
) -> None:
    steps: dict[str, list[Step]] = {"before": ["slow"], "within": ["stall"], "retrying": [500, "slow"]}
    server.plan(*steps[when])
    begun = asyncio.Event()

    async def use() -> None:
        async with make(sdk, server, recorded.recorder) as client:
            async for _ in await resource(client, form).create(**asked(form, stream=True)):
                begun.set()

    async def run() -> None:
        task = asyncio.create_task(use())
        if when == "within":
            await begun.wait()
        else:
            while len(server.asked) < (2 if when == "retrying" else 1):  # noqa: ASYNC110 (the server is a thread)
                await asyncio.sleep(0.01)
        for _ in range(cancels):
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    *before, call = recorded.calls()
    assert (call.status, call.error_code) == (ApiCallStatus.CANCELLED, "CancelledError")
    assert call.token_source == ("partial" if form == "messages" and when == "within" else "none")
    assert [one.labels.get("retried") for one in before] == (["true"] if when == "retrying" else [])


def test_a_stream_of_many_tasks_in_their_own_scopes(server: ModelServer, recorded: Recorded) -> None:
    async def use(client: Client, name: str) -> None:
        with recorded.recorder.scope(user=name, session=name) as scope:
            stream = await client.chat.completions.create(**chat(stream=True))
        assert [chunk async for chunk in stream]  # the scope in which it began is its own
        assert scope.usage.total_tokens == PROMPT + COMPLETION

    async def run() -> None:
        async with make("async openai", server, recorded.recorder) as client:
            await asyncio.gather(*(use(client, f"user-{number}") for number in range(8)))

    asyncio.run(run())
    assert sorted(call.labels["user"] for call in recorded.calls()) == [f"user-{number}" for number in range(8)]


# Conversations


TURNS: dict[str, tuple[Callable[[Any], list[Any]], Callable[[Any], Any]]] = {
    "chat": (
        lambda answer: [answer.choices[0].message],
        lambda answer: {"role": "tool", "tool_call_id": answer.choices[0].message.tool_calls[0].id, "content": "sunny"},
    ),
    "responses": (
        lambda answer: list(answer.output),
        lambda answer: {"type": "function_call_output", "call_id": answer.output[0].call_id, "output": "sunny"},
    ),
    "messages": (
        lambda answer: [{"role": "assistant", "content": answer.content}],
        lambda answer: {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": answer.content[0].id, "content": "sunny"}],
        },
    ),
}


@pytest.mark.parametrize("is_trimmed", [False, True])
@pytest.mark.parametrize(("sdk", "form"), FORMS)
def test_a_conversation_with_a_tool(
    sdk: str, form: str, is_trimmed: bool, server: ModelServer, recorded: Recorded
) -> None:
    said, result_of = TURNS[form]
    key = "input" if form == "responses" else "messages"
    client = make(sdk, server, recorded.recorder)
    history: list[Any] = [{"role": "user", "content": QUESTION}]
    server.plan("tool")

    def ask() -> Any:
        arguments = asked(form) | {key: history}
        answer = resource(client, form).create(**arguments)
        history.extend(said(answer))
        return answer

    with recorded.recorder.scope(session="t-1"):
        answer = ask()
        history.append(result_of(answer))
        if is_trimmed:
            del history[0]
        ask()
        history.append({"role": "user", "content": "And then?"})
        ask()
        history.pop()
        ask_again = resource(client, form).create
        ask_again(**(asked(form) | {key: history}))  # nothing new is said
    messages = recorded.messages()
    assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    (call,) = messages[1].content.tool_calls or []
    assert (call.id, call.name, call.arguments) == ("call-1", "weather", TOOL)
    result = messages[2].content.tool_result
    assert result is not None
    assert (result.tool_call_id, result.content) == ("call-1", "sunny")
    parents = [None, *(message.id for message in messages[:-1])]
    assert [message.parent_message_id for message in messages] == parents
    calls = recorded.calls()
    assert [call.request_message_id for call in calls[:3]] == [message.id for message in messages[::2]]
    assert [call.response_message_id for call in calls[:3]] == [message.id for message in messages[1::2]]


def test_without_a_session_there_are_no_messages(server: ModelServer, recorded: Recorded) -> None:
    make("openai", server, recorded.recorder).chat.completions.create(**chat())
    call = recorded.call()
    assert call.chat_session_id.int == 0
    assert call.request_message_id.int != 0
    assert call.response_message_id.int == 0
    assert recorded.messages() == []


# Wrapping


def test_the_client_stays_what_it_is(server: ModelServer, recorded: Recorded) -> None:
    plain = make("openai", server)
    name, kind = repr(type(plain)), type(plain)
    client = recorded.recorder.wrap(plain)
    assert client is plain
    assert isinstance(client, kind)
    assert repr(type(client)) == name
    assert recorded.recorder.wrap(client) is client
    client.chat.completions.create(**chat())
    assert len(recorded.calls()) == 1


@pytest.mark.parametrize("client", [object(), {"api_key": KEY}, openai.Timeout(3), anthropic.RateLimitError])
def test_what_is_no_client_is_refused(client: Any, recorded: Recorded) -> None:
    with pytest.raises(UsageError, match="can be recorded") as refused:
        recorded.recorder.wrap(client)
    assert "a client of anthropic, google, mistralai, ollama, openai can be recorded" in str(refused.value)
    assert KEY not in str(refused.value)


def test_another_version_of_an_sdk_is_refused(
    server: ModelServer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("anthropic._base_client.SyncAPIClient._attempt_request")
    with pytest.raises(UsageError, match=r"no _attempt_request: pip install 'mofa-usage\[anthropic\]'"):
        recorded.recorder.wrap(make("anthropic", server))


def test_keys_are_nowhere(server: ModelServer, recorded: Recorded) -> None:
    def echo(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(401, json={"error": {"message": f"no such key: {request.headers['authorization']}"}})

    http = httpx2.Client(transport=httpx2.MockTransport(echo))
    server.clients.append(http)
    client = recorded.recorder.wrap(openai.OpenAI(api_key=KEY, http_client=http))
    with pytest.raises(openai.AuthenticationError, match=KEY):
        client.chat.completions.create(**chat())
    call = recorded.call()
    assert call.error_message
    assert KEY not in json.dumps(call.model_dump(mode="json"))


def test_what_cannot_be_read_does_not_reach_the_user(
    server: ModelServer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("a mistake of ours")

    client = make("openai", server, recorded.recorder)
    monkeypatch.setattr("mofa_usage.recording.conversations.Conversations.place", fail)
    with recorded.recorder.scope(session="t-1"):
        assert client.chat.completions.create(**chat()).choices[0].message.content == ANSWER
        assert list(client.chat.completions.create(**chat(stream=True)))
    assert caplog.text.count("could not be observed") == 1
    assert [call.total_tokens for call in recorded.calls()] == [PROMPT + COMPLETION] * 2
    caplog.clear()
