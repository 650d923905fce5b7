"""Google, Mistral and Ollama: streams that are left, tasks that are cancelled, conversations, and the other calls."""

import asyncio
import gc
from typing import Any

import pydantic
import pytest
from google.genai import types

from mofa_usage import ApiCallStatus
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, TOOL, ModelServer, Step
from tests.recording.sdks.more.clients import (
    MODELS,
    QUESTION,
    SDKS,
    aclosing,
    ask,
    closing,
    create,
    is_async,
    made,
    says_prompt_first,
)

PROMPT, COMPLETION = len(QUESTION.split()), len(ANSWER.split())
FIRST = ANSWER.split()[0]
SYNC = [sdk for sdk in SDKS if not is_async(sdk)]
ASYNC = [sdk for sdk in SDKS if is_async(sdk)]

NEVER = ("async ollama", "retrying")  # it tries nothing again


# Streams that end before their end


@pytest.mark.parametrize("end", ["break", "close", "error"])
@pytest.mark.parametrize("sdk", SYNC)
def test_a_stream_that_the_user_leaves(sdk: str, end: str, server: ModelServer, recorded: Recorded) -> None:
    with closing(recorded.recorder.wrap(made(sdk, server))) as client, recorded.recorder.scope(session="t-1"):
        stream = ask(sdk, client, stream=True)
        if end == "error":
            with pytest.raises(ZeroDivisionError):
                fail_within(stream)
        else:
            leave(stream)
        if end == "close":
            stream.close()
        del stream
        gc.collect()
    assert_left(recorded, sdk)


@pytest.mark.parametrize("sdk", ASYNC)
def test_an_asynchronous_stream_that_the_user_leaves(sdk: str, server: ModelServer, recorded: Recorded) -> None:
    async def run() -> None:
        async with aclosing(recorded.recorder.wrap(made(sdk, server))) as client:
            with recorded.recorder.scope(session="t-1"):
                stream = await ask(sdk, client, stream=True)
            async for item in stream:
                if FIRST in item.model_dump_json():
                    break
            del stream, item
            gc.collect()
            for _ in range(10):  # generators that are dropped are closed by tasks, one after the other
                await asyncio.sleep(0)

    asyncio.run(run())
    assert_left(recorded, sdk)


def assert_left(recorded: Recorded, sdk: str) -> None:
    call = recorded.call()
    assert (call.status, call.error_code) == (ApiCallStatus.CANCELLED, "closed")
    knows_prompt = says_prompt_first(sdk)
    assert call.token_source == ("partial" if knows_prompt else "none")
    assert call.prompt_tokens == (PROMPT if knows_prompt else 0)
    question, answer = recorded.messages()
    assert question.content.text == QUESTION
    assert answer.content.text
    assert ANSWER.startswith(answer.content.text)


def leave(stream: Any) -> None:
    """Read until the first word."""
    for item in stream:
        if FIRST in item.model_dump_json():
            break


def fail_within(stream: Any) -> None:
    leave(stream)
    raise ZeroDivisionError("the user's own error")


def test_a_stream_that_is_never_read(server: ModelServer, recorded: Recorded) -> None:
    with closing(recorded.recorder.wrap(made("mistral", server))) as client:
        ask("mistral", client, stream=True)
        gc.collect()
    assert (recorded.call().status, recorded.call().error_code) == (ApiCallStatus.CANCELLED, "closed")


@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize(
    ("sdk", "when"),
    [(sdk, when) for sdk in ASYNC for when in ("before", "within", "retrying") if (sdk, when) != NEVER],
)
def test_a_task_that_is_cancelled(sdk: str, cancels: int, when: str, server: ModelServer, recorded: Recorded) -> None:
    steps: dict[str, list[Step]] = {"before": ["slow"], "within": ["stall"], "retrying": [500, "slow"]}
    server.plan(*steps[when])
    begun = asyncio.Event()

    async def use() -> None:
        async with aclosing(recorded.recorder.wrap(made(sdk, server, retries=True))) as client:
            async for _ in await ask(sdk, client, stream=True):
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
    assert call.token_source == ("partial" if says_prompt_first(sdk) and when == "within" else "none")
    assert [one.labels.get("retried") for one in before] == (["true"] if when == "retrying" else [])


@pytest.mark.parametrize("sdk", ASYNC)
def test_many_tasks_in_their_own_scopes(sdk: str, server: ModelServer, recorded: Recorded) -> None:
    async def use(client: Any, name: str) -> None:
        with recorded.recorder.scope(user=name, session=name) as scope:
            assert [chunk async for chunk in await ask(sdk, client, stream=True)]
            await ask(sdk, client)
        assert (scope.usage.calls, scope.usage.total_tokens) == (2, 2 * (PROMPT + COMPLETION))

    async def run() -> None:
        async with aclosing(recorded.recorder.wrap(made(sdk, server))) as client:
            await asyncio.gather(*(use(client, f"user-{number}") for number in range(4)))

    asyncio.run(run())
    names = [f"user-{number}" for number in range(4) for _ in range(2)]
    assert sorted(call.labels["user"] for call in recorded.calls()) == names


@pytest.mark.parametrize("sdk", SDKS)
def test_a_stream_belongs_to_the_scope_in_which_it_was_made(sdk: str, server: ModelServer, recorded: Recorded) -> None:
    recorder = recorded.recorder

    async def run() -> None:
        async with aclosing(recorder.wrap(made(sdk, server))) as client:
            with recorder.scope(user="alice") as scope:
                stream = await ask(sdk, client, stream=True)
            with recorder.scope(user="bob"):
                assert [chunk async for chunk in stream]
            assert scope.usage.calls == 1

    def run_sync() -> None:
        with closing(recorder.wrap(made(sdk, server))) as client:
            with recorder.scope(user="alice") as scope:
                stream = ask(sdk, client, stream=True)
            with recorder.scope(user="bob"):
                assert list(stream)
            assert scope.usage.calls == 1

    if is_async(sdk):
        asyncio.run(run())
    else:
        run_sync()
    assert recorded.call().labels["user"] == "alice"


def test_a_chat_that_is_read_later_is_in_its_scope(server: ModelServer, recorded: Recorded) -> None:
    with closing(recorded.recorder.wrap(made("google", server))) as client:
        with recorded.recorder.scope(user="alice"):
            stream = client.chats.create(model=MODELS["google"]).send_message_stream(QUESTION)
        assert list(stream)
    assert recorded.call().labels["user"] == "alice"


# Conversations


def google_turn(text: str) -> Any:
    return types.Content(role="user", parts=[types.Part(text=text)])


def said_by_google(answer: Any) -> Any:
    return answer.candidates[0].content


def said_by_others(answer: Any) -> Any:
    return (answer.choices[0] if hasattr(answer, "choices") else answer).message


def google_result(answer: Any) -> Any:
    return types.Content(
        role="user", parts=[types.Part.from_function_response(name="weather", response={"is": "sunny"})]
    )


def mistral_result(answer: Any) -> Any:
    call = answer.choices[0].message.tool_calls[0]
    return {"role": "tool", "tool_call_id": call.id, "name": "weather", "content": "sunny"}


def ollama_result(answer: Any) -> Any:
    return {"role": "tool", "tool_name": "weather", "content": "sunny"}


def interactions_turn(text: str) -> Any:
    return {"type": "user_input", "content": [{"type": "text", "text": text}]}


def interactions_result(answer: Any) -> Any:
    return {"type": "function_result", "call_id": answer.steps[0].id, "name": "weather", "result": "sunny"}


def said_by_interactions(answer: Any) -> Any:
    return answer.steps[0].model_dump(exclude_none=True)


TURNS: dict[str, tuple[Any, Any, Any]] = {
    "google interactions": (interactions_turn, said_by_interactions, interactions_result),
    "google": (google_turn, said_by_google, google_result),
    "mistral": (lambda text: {"role": "user", "content": text}, said_by_others, mistral_result),
    "ollama": (lambda text: {"role": "user", "content": text}, said_by_others, ollama_result),
}


@pytest.mark.parametrize("is_trimmed", [False, True])
@pytest.mark.parametrize("sdk", SYNC)
def test_a_conversation_with_a_tool(sdk: str, is_trimmed: bool, server: ModelServer, recorded: Recorded) -> None:
    turn, said, result = TURNS[sdk]
    history: list[Any] = [turn(QUESTION)]
    server.plan("tool")

    def again() -> Any:
        answer = ask(sdk, client, history)
        history.append(said(answer))
        return answer

    with closing(recorded.recorder.wrap(made(sdk, server))) as client, recorded.recorder.scope(session="t-1"):
        history.append(result(again()))
        if is_trimmed:
            del history[0]
        again()
        history.append(turn("And then?"))
        again()
        history.pop()
        ask(sdk, client, history)  # nothing new is said
    messages = recorded.messages()
    assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    (call,) = messages[1].content.tool_calls or []
    name = "weather" if sdk in ("google", "ollama") else "call-1"  # they name calls by their functions
    assert (call.id, call.name, call.arguments) == (name, "weather", TOOL)
    answered = messages[2].content.tool_result
    assert answered is not None
    assert (answered.tool_call_id, answered.content) == (name, '{"is": "sunny"}' if sdk == "google" else "sunny")
    parents = [None, *(message.id for message in messages[:-1])]
    assert [message.parent_message_id for message in messages] == parents
    calls = recorded.calls()
    assert [call.request_message_id for call in calls[:3]] == [message.id for message in messages[::2]]
    assert [call.response_message_id for call in calls[:3]] == [message.id for message in messages[1::2]]


def test_a_chat_of_google_that_streams(server: ModelServer, recorded: Recorded) -> None:
    """It keeps an answer in pieces, as it came."""
    with closing(recorded.recorder.wrap(made("google", server))) as client, recorded.recorder.scope(session="t-1"):
        chat = client.chats.create(model=MODELS["google"], config={"system_instruction": "Be short."})
        assert list(chat.send_message_stream(QUESTION))
        chat.send_message("And then?")
    said = [(message.role.value, message.content.text) for message in recorded.messages()]
    turns = [("user", QUESTION), ("assistant", ANSWER), ("user", "And then?"), ("assistant", ANSWER)]
    assert said == [("system", "Be short."), *turns]


# The other calls of the SDKs


def embed(sdk: str, client: Any) -> Any:
    if sdk == "google":
        return client.models.embed_content(model="gemini-embedding-2", contents=QUESTION).embeddings[0].values
    if sdk == "mistral":
        return client.embeddings.create(model="mistral-embed", inputs=[QUESTION]).data[0].embedding
    return client.embed(model="nomic-embed-text", input=QUESTION).embeddings[0]


@pytest.mark.parametrize("sdk", MODELS)
def test_embeddings(sdk: str, server: ModelServer, recorded: Recorded) -> None:
    with closing(recorded.recorder.wrap(made(sdk, server))) as client, recorded.recorder.scope(session="t-1"):
        assert list(embed(sdk, client)) == [0.5, 0.25]
    call = recorded.call()
    assert (call.status, call.labels["operation"]) == (ApiCallStatus.SUCCESS, "embeddings")
    assert "embed" in call.model_name
    says_tokens = sdk != "google"
    assert (call.prompt_tokens, call.completion_tokens) == (PROMPT if says_tokens else 0, 0)
    assert call.token_source == ("provider" if says_tokens else "none")
    assert recorded.messages() == []


def test_texts(server: ModelServer, recorded: Recorded) -> None:
    with recorded.recorder.scope(session="t-1"):
        with closing(recorded.recorder.wrap(made("ollama", server))) as client:
            assert client.generate(model="llama3", prompt=QUESTION).response == ANSWER
            assert "".join(part.response for part in client.generate("llama3", QUESTION, stream=True)) == ANSWER
        with closing(recorded.recorder.wrap(made("mistral", server))) as client:
            assert client.fim.complete(model="codestral", prompt=QUESTION).choices[0].message.content == ANSWER
    calls = recorded.calls()
    assert [(call.labels["operation"], call.total_tokens) for call in calls] == [
        ("text_completion", PROMPT + COMPLETION)
    ] * 3
    assert [message.content.text for message in recorded.messages()][:2] == [QUESTION, ANSWER]


def test_a_prompt_that_ollama_has_read_before(server: ModelServer, recorded: Recorded) -> None:
    server.plan("no prompt")
    create("ollama", server, recorded.recorder, stream=True)
    call = recorded.call()
    assert (call.status, call.completion_tokens, call.token_source) == ("success", COMPLETION, "completion_only")


def test_calls_of_no_model(server: ModelServer, recorded: Recorded) -> None:
    with closing(recorded.recorder.wrap(made("ollama", server))) as client:
        server.plan("empty")
        with pytest.raises(pydantic.ValidationError):
            client.show("llama3")
    with closing(recorded.recorder.wrap(made("google", server))) as client:
        server.plan("empty")
        client.models.count_tokens(model=MODELS["google"], contents=QUESTION)
    assert len(server.asked) == 1
    assert recorded.calls() == []
