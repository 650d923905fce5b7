"""Pydantic AI with a recorded client inside."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import openai
import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, UnexpectedModelBehavior
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from mofa_usage import ApiCallStatus, LLMApiCall
from tests.recording.sdks.clients import KEY, QUESTION, make
from tests.recording.sdks.clients import TIMEOUT as TIMEOUT_SECONDS
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, ModelServer, Step

SUCCESS, FAILED, CANCELLED = ApiCallStatus.SUCCESS, ApiCallStatus.FAILED, ApiCallStatus.CANCELLED
TIMEOUT, LIMITED = ApiCallStatus.TIMEOUT, ApiCallStatus.RATE_LIMITED
PROMPT, COMPLETION = len(QUESTION.split()), len(ANSWER.split())


@pytest.fixture
async def client(server: ModelServer, recorded: Recorded) -> AsyncIterator[openai.AsyncOpenAI]:
    client = make("async openai", server, recorded.recorder)
    yield client
    await client.close()


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel], ids=["chat", "responses"])
def model(request: pytest.FixtureRequest, client: openai.AsyncOpenAI, recorded: Recorded) -> Iterator[Model]:
    with recorded.recorder.scope(user="alice", session="t-1"):
        yield request.param("gpt-4o", provider=OpenAIProvider(openai_client=client))


async def calls_of(recorded: Recorded) -> list[LLMApiCall]:
    return await asyncio.to_thread(recorded.calls)


async def said(recorded: Recorded) -> list[tuple[str, str | None]]:
    messages = await asyncio.to_thread(recorded.messages)
    return [(message.role.value, message.content.text) for message in messages]


async def test_a_run(model: Model, recorded: Recorded) -> None:
    run = await Agent(model).run(QUESTION)
    assert run.output == ANSWER
    (call,) = await calls_of(recorded)
    assert (call.status, call.prompt_tokens, call.completion_tokens) == (SUCCESS, PROMPT, COMPLETION)
    assert (call.labels["user"], call.labels["served_model"], call.api_response_id) == ("alice", "gpt-4o-2026", "c-1")
    assert await said(recorded) == [("user", QUESTION), ("assistant", ANSWER)]


async def test_a_run_that_is_streamed(model: Model, recorded: Recorded) -> None:
    async with Agent(model).run_stream(QUESTION) as run:
        assert [text async for text in run.stream_text()][-1] == ANSWER
    (call,) = await calls_of(recorded)
    assert (call.status, call.prompt_tokens, call.completion_tokens) == (SUCCESS, PROMPT, COMPLETION)
    assert call.time_to_first_token_ms is not None
    assert await said(recorded) == [("user", QUESTION), ("assistant", ANSWER)]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_tools_and_further_turns(is_stream: bool, model: Model, recorded: Recorded, server: ModelServer) -> None:
    agent = Agent(model, instructions="Be kind")

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"sunny in {city}"

    server.plan("tool", "ok")
    if is_stream:
        async with agent.run_stream(QUESTION) as streamed:
            await streamed.get_output()
        history = streamed.all_messages()
    else:
        history = (await agent.run(QUESTION)).all_messages()
    await agent.run("More", message_history=history)
    calls = await calls_of(recorded)
    system, *messages = await asyncio.to_thread(recorded.messages)
    assert (system.role, system.content.text) == ("system", "Be kind")
    roles = ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert [message.role.value for message in messages] == roles
    ids = [message.id for message in messages]
    assert [message.parent_message_id for message in messages] == [None, *ids[:-1]]
    assert [call.response_message_id for call in calls] == [ids[1], ids[3], ids[5]]
    assert [call.request_message_id for call in calls] == [ids[0], ids[2], ids[4]]


FAULTS: list[tuple[bool, Step, ApiCallStatus]] = [
    (False, 401, FAILED),
    (False, 429, LIMITED),
    (False, 500, FAILED),
    (False, "slow", TIMEOUT),
    (False, "garbage", FAILED),
    (True, 429, LIMITED),
    (True, "stall", TIMEOUT),
    (True, "cut", FAILED),
    (True, "truncated", FAILED),
]


@pytest.mark.parametrize(("is_stream", "step", "status"), FAULTS)
async def test_a_failure(
    is_stream: bool,
    step: Step,
    status: ApiCallStatus,
    model: Model,
    client: openai.AsyncOpenAI,
    recorded: Recorded,
    server: ModelServer,
) -> None:
    client.max_retries = 0
    client.timeout = TIMEOUT_SECONDS if step in ("slow", "stall") else 30
    server.plan(step)
    with suppress(ModelAPIError, UnexpectedModelBehavior, openai.OpenAIError, ValueError):
        if is_stream:
            async with Agent(model).run_stream(QUESTION) as run:
                await run.get_output()
        else:
            await Agent(model).run(QUESTION)
    (call, *_) = await calls_of(recorded)
    assert call.status is status
    assert call.error_code
    assert KEY not in repr(call)


async def test_retries_are_rows(model: Model, recorded: Recorded, server: ModelServer) -> None:
    server.plan(429, "ok")
    await Agent(model).run(QUESTION)
    first, second = await calls_of(recorded)
    assert (first.status, first.labels["retried"], second.status) == (LIMITED, "true", SUCCESS)


async def test_a_stream_that_is_left(model: Model, recorded: Recorded, server: ModelServer) -> None:
    server.plan("stall")
    async with Agent(model).run_stream(QUESTION) as run:
        async for _ in run.stream_text(debounce_by=None):
            break
    (call,) = await calls_of(recorded)
    assert (call.status, call.error_code) == (CANCELLED, "closed")
