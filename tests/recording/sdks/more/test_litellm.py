"""LiteLLM's callback: what LiteLLM tells, without what it makes up; and a recorded client inside, which sees more."""

import asyncio
import gc
import inspect
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import openai
import pytest

from mofa_usage import ApiCallStatus, InMemoryStore, LLMApiCall, Recorder
from tests.recording.sdks.clients import KEY, QUESTION, make
from tests.recording.sdks.clients import TIMEOUT as TIMEOUT_SECONDS
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, CACHED, TOOL, ModelServer, Step

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the import asks the network for prices

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from litellm.litellm_core_utils.thread_pool_executor import executor
from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

from mofa_usage.recording.litellm import LiteLLMCallback

# LiteLLM leaves clients and loops of its own to the garbage collector, and mixes its types.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:litellm"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier:UserWarning"),
]

SUCCESS, FAILED = ApiCallStatus.SUCCESS, ApiCallStatus.FAILED
TIMEOUT, LIMITED = ApiCallStatus.TIMEOUT, ApiCallStatus.RATE_LIMITED
PROMPT, COMPLETION = len(QUESTION.split()), len(ANSWER.split())
WAYS = ["completion", "acompletion"]
_LISTS = ("input_callback", "success_callback", "failure_callback", "_async_success_callback")


@pytest.fixture(scope="module")
def loop(running_server: ModelServer) -> Iterator[asyncio.Runner]:
    """LiteLLM's worker belongs to one event loop."""
    _warm_up(running_server)
    with asyncio.Runner() as runner:
        yield runner
        runner.run(GLOBAL_LOGGING_WORKER.stop())
        runner.run(_close_clients())
    gc.collect()  # what LiteLLM has left open goes while that is no error


async def _close_clients() -> None:
    """Those that LiteLLM keeps for further calls, and would leave to the end of the process."""
    await close_litellm_async_clients()  # type: ignore[no-untyped-call]
    for client in list(litellm.in_memory_llm_clients_cache.cache_dict.values()):
        if inspect.isawaitable(closing := client.close()):
            await closing
    litellm.in_memory_llm_clients_cache.flush_cache()  # type: ignore[no-untyped-call]


@cache
def _warm_up(server: ModelServer) -> None:
    """In its first stream LiteLLM stops to load what it needs.

    It tells only the first listener of a kind, so that this is done once, however often other tests come between.
    """
    server.plan()
    listener, options = _Listener(), {"api_base": f"{server.url}/v1", "api_key": KEY, "stream": True}
    litellm.callbacks = [listener]
    list(litellm.completion(model="openai/gpt-4o", messages=[{"role": "user", "content": "Hi"}], **options))
    deadline = time.monotonic() + 60
    while not (listener.events and is_quiet()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


class _Listener(CustomLogger):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(
            {"kwargs": kwargs, "response_obj": response_obj, "start_time": start_time, "end_time": end_time}
        )


def is_quiet() -> bool:
    """Whether LiteLLM's threads have nothing more to tell."""
    return bool(executor._pending_slots._value == executor._max_pending_tasks)


class Calls:
    """LiteLLM with our callback, asked for what the server has."""

    def __init__(self, recorded: Recorded, server: ModelServer, loop: asyncio.Runner) -> None:
        self.recorded, self.server, self.loop = recorded, server, loop
        self.callback = LiteLLMCallback(recorded.recorder)

    def ask(self, way: str = "completion", *, provider: str = "openai", **further: Any) -> Any:
        """A chat: the answer, or the list of what its stream gave."""
        named = {"openai": ("openai/gpt-4o", "/v1"), "anthropic": ("anthropic/claude-sonnet-4-5", "")}
        model, path = named[provider]
        messages = [{"role": "user", "content": QUESTION}]
        usual = {"model": model, "messages": messages, "api_base": self.server.url + path, "api_key": KEY}
        return self.run(way, **{**usual, **further})

    def run(self, way: str, **options: Any) -> Any:
        call, is_stream = getattr(litellm, way), bool(options.get("stream"))
        if not way.startswith("a"):
            return list(call(**options)) if is_stream else call(**options)

        async def ask() -> Any:
            answer = await call(**options)
            return [chunk async for chunk in answer] if is_stream else answer

        return self.await_(ask)

    def await_(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            return await ask()

        return self.loop.run(run(), context=copy_context())  # with the scope of the test

    def rows(self, count: int = 1) -> list[LLMApiCall]:
        """The calls, when LiteLLM has told of so many and has nothing more to tell."""
        deadline = time.monotonic() + 60
        while len(calls := self.recorded.calls()) < count or not is_quiet():
            assert time.monotonic() < deadline, f"{len(calls)} of {count}"
            self.loop.run(self._tell())
        assert len(calls) == count
        return calls

    def row(self) -> LLMApiCall:
        (call,) = self.rows()
        return call

    async def _tell(self) -> None:
        """Let LiteLLM's worker do what it has to."""
        await asyncio.sleep(0.002)
        await GLOBAL_LOGGING_WORKER.flush()


@pytest.fixture
def calls(
    recorded: Recorded, server: ModelServer, loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Calls]:
    calls = Calls(recorded, server, loop)
    for name in (*_LISTS, "_async_failure_callback"):
        monkeypatch.setattr(litellm, name, [])
    monkeypatch.setattr(litellm, "callbacks", [calls.callback])
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    with recorded.recorder.scope(user="alice", session="t-1", labels={"feature": "search"}):
        yield calls


def has_said(recorded: Recorded) -> list[tuple[str, str | None]]:
    return [(message.role.value, message.content.text) for message in recorded.messages()]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("way", WAYS)
def test_an_answer(way: str, provider: str, stream: bool, calls: Calls) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    calls.ask(way, provider=provider, **options)
    call = calls.row()
    model = "gpt-4o" if provider == "openai" else "claude-sonnet-4-5"
    assert (call.status, call.model_name, call.error_code) == (SUCCESS, model, None)
    assert (call.prompt_tokens, call.completion_tokens, call.token_source) == (PROMPT, COMPLETION, "provider")
    assert call.prompt_tokens_details is not None
    assert call.prompt_tokens_details.cached_tokens == CACHED
    assert call.api_response_id == ("c-1" if provider == "openai" else None)  # LiteLLM's own is of nobody
    wanted = {"provider": provider, "served_model": f"{model}-2026", "request_id": "req-7"}
    assert call.labels.items() >= {**wanted, "user": "alice", "feature": "search"}.items()
    assert call.labels.keys().isdisjoint({"attempt", "retried", "operation"})
    assert call.total_price is not None
    assert call.total_price > 0
    assert call.price_details is not None
    assert call.price_details.model_dump()["price_source"] == "provider"
    assert call.latency_ms is not None
    assert (call.time_to_first_token_ms is not None) == stream
    assert (call.time_to_first_token_ms or 0) <= call.latency_ms
    assert has_said(calls.recorded) == [("user", QUESTION), ("assistant", ANSWER)]
    user, answer = calls.recorded.messages()
    assert (call.request_message_id, call.response_message_id) == (user.id, answer.id)


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_that_is_not_asked_for_usage_has_estimates(way: str, calls: Calls) -> None:
    calls.ask(way, stream=True)
    call = calls.row()
    assert (call.status, call.token_source, call.total_price) == (SUCCESS, "estimated", None)
    assert call.completion_tokens > 0
    assert call.api_response_id == "c-1"


def test_anthropic_says_its_usage_without_being_asked(calls: Calls) -> None:
    calls.ask(provider="anthropic", stream=True)
    call = calls.row()
    assert (call.prompt_tokens, call.completion_tokens, call.token_source) == (PROMPT, COMPLETION, "provider")


def test_a_model_without_a_price_has_none(calls: Calls) -> None:
    calls.ask(model="openai/of-my-own")
    assert calls.row().total_price is None


@pytest.mark.parametrize("has_client", [False, True])
def test_tools_and_what_they_said(has_client: bool, calls: Calls, server: ModelServer) -> None:
    client = {"client": make("openai", server, calls.recorded.recorder)} if has_client else {}
    server.plan("tool")
    answer = calls.ask(**client)
    said = answer.choices[0].message
    result = {"role": "tool", "tool_call_id": "call-1", "content": "sunny"}
    calls.ask(messages=[{"role": "user", "content": QUESTION}, said, result], **client)
    first, second = calls.rows(2)
    user, asked, told, answered = calls.recorded.messages()
    assert asked.content.tool_calls is not None
    assert [(call.id, call.name, call.arguments) for call in asked.content.tool_calls] == [("call-1", "weather", TOOL)]
    assert told.content.tool_result is not None
    assert (told.content.tool_result.tool_call_id, told.content.tool_result.content) == ("call-1", "sunny")
    line = [message.parent_message_id for message in (user, asked, told, answered)]
    assert line == [None, user.id, asked.id, told.id]
    assert (first.request_message_id, first.response_message_id) == (user.id, asked.id)
    assert (second.request_message_id, second.response_message_id) == (told.id, answered.id)


@pytest.mark.parametrize(
    ("way", "options", "operation", "tokens"),
    [
        ("embedding", {"model": "openai/text-embedding-3-small", "input": [QUESTION]}, "embeddings", (PROMPT, 0)),
        ("aembedding", {"model": "openai/text-embedding-3-small", "input": [QUESTION]}, "embeddings", (PROMPT, 0)),
        (
            "text_completion",
            {"model": "openai/gpt-3.5-turbo-instruct", "prompt": QUESTION},
            "text_completion",
            (PROMPT, COMPLETION),
        ),
        ("responses", {"model": "openai/gpt-4o", "input": QUESTION}, None, (PROMPT, COMPLETION)),
        ("aresponses", {"model": "openai/gpt-4o", "input": QUESTION}, None, (PROMPT, COMPLETION)),
        ("responses", {"model": "openai/gpt-4o", "input": QUESTION, "stream": True}, None, (PROMPT, COMPLETION)),
    ],
)
def test_other_calls(
    way: str, options: dict[str, Any], operation: str | None, tokens: tuple[int, int], calls: Calls
) -> None:
    calls.run(way, **options, api_base=f"{calls.server.url}/v1", api_key=KEY)
    call = calls.row()
    assert (call.status, call.labels.get("operation"), call.token_source) == (SUCCESS, operation, "provider")
    assert (call.prompt_tokens, call.completion_tokens) == tokens
    if operation is None:
        assert call.api_response_id == "c-1"
    if operation != "embeddings":
        assert has_said(calls.recorded) == [("user", QUESTION), ("assistant", ANSWER)]


REFUSALS = {400: FAILED, 401: FAILED, 404: FAILED, 422: FAILED, 429: LIMITED, 500: FAILED, 503: FAILED, 529: FAILED}


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("way", WAYS)
def test_a_refusal(way: str, status: int, calls: Calls, server: ModelServer) -> None:
    server.plan(status)
    with pytest.raises(openai.APIError):
        calls.ask(way, max_retries=0)
    call = calls.row()
    assert call.status is REFUSALS[status]
    assert call.error_code
    assert call.error_message
    assert KEY not in repr(call)
    # Unknown is not 0: only what was refused before any work has used nothing.
    assert (call.total_tokens, call.token_source) == (0, "none" if status >= 500 else "provider")
    assert call.total_price is None
    assert has_said(calls.recorded) == [("user", QUESTION)]


def test_retries_of_the_sdk_below_are_one_row(calls: Calls, server: ModelServer) -> None:
    server.plan(429, 500, "ok")
    calls.ask(max_retries=2)
    call = calls.row()
    assert (call.status, len(server.asked)) == (SUCCESS, 3)
    assert call.labels.keys().isdisjoint({"attempt", "retried"})


def test_retries_of_litellm_are_attempts_of_one_request(calls: Calls, server: ModelServer) -> None:
    server.plan(429, 429, "ok")
    calls.ask(provider="anthropic", num_retries=2)
    rows = calls.rows(3)
    assert [call.labels["attempt"] for call in rows] == ["1", "2", "3"]
    assert [call.status is SUCCESS for call in rows] == [False, False, True]
    assert len({call.request_message_id for call in rows}) == 1
    assert has_said(calls.recorded) == [("user", QUESTION), ("assistant", ANSWER)]


FAULTS: list[tuple[bool, Step, ApiCallStatus]] = [
    (False, "slow", TIMEOUT),
    (False, "drop", FAILED),
    (False, "garbage", FAILED),
    (False, "page", FAILED),
    (False, "empty", FAILED),
    (True, "slow", TIMEOUT),
    (True, "stall", TIMEOUT),
    (True, "cut", FAILED),
    (True, "truncated", FAILED),
    (True, "error", FAILED),
    (True, "garbage", FAILED),
]


@pytest.mark.parametrize(("stream", "step", "status"), FAULTS)
@pytest.mark.parametrize("way", WAYS)
def test_a_failure(
    way: str, stream: bool, step: Step, status: ApiCallStatus, calls: Calls, server: ModelServer
) -> None:
    server.plan(step)
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    if step in ("slow", "stall"):
        options["timeout"] = TIMEOUT_SECONDS
    with pytest.raises(openai.APIError):
        calls.ask(way, max_retries=0, **options)
    call = calls.row()
    assert (call.status, call.token_source, call.total_price) == (status, "none", None)
    assert call.error_code
    assert call.error_message
    assert KEY not in repr(call)
    assert has_said(calls.recorded) == [("user", QUESTION)]


def test_what_was_never_sent_is_no_call(calls: Calls) -> None:
    with pytest.raises(openai.BadRequestError):
        calls.ask(model="a-model-of-nobody")
    calls.ask()
    assert calls.row().status is SUCCESS


def test_an_event_that_comes_twice_counts_once(calls: Calls) -> None:
    listener = _Listener()
    litellm.callbacks.append(listener)
    calls.ask()
    calls.rows()
    calls.callback.log_success_event(**listener.events[0])
    asyncio.run(calls.callback.async_log_success_event(**listener.events[0]))
    calls.callback.log_failure_event(**listener.events[0])
    assert calls.row().status is SUCCESS


def test_an_answer_out_of_a_cache_is_no_call(calls: Calls) -> None:
    now = datetime.now()
    kwargs = {"litellm_call_id": "x", "call_type": "completion", "model": "gpt-4o", "cache_hit": True}
    calls.callback.log_success_event(kwargs, litellm.ModelResponse(), now, now)
    calls.rows(0)


def test_who_is_asked_without_a_word_before(calls: Calls) -> None:
    """Providers of users, whose calls LiteLLM tells of only when they are over."""
    end = datetime.now()
    start = end - timedelta(seconds=2)
    kwargs = {"litellm_call_id": "x", "call_type": "acompletion", "model": "mine", "custom_llm_provider": "my-own"}
    response = litellm.ModelResponse(choices=[{"message": {"role": "assistant", "content": ANSWER}}])
    calls.callback.log_success_event(kwargs, response, start, end)
    call = calls.row()
    assert (call.model_name, call.labels["provider"], call.latency_ms) == ("mine", "my-own", 2000)
    assert timedelta(0) <= datetime.now(UTC) - call.create_time - timedelta(seconds=2) < timedelta(minutes=1)


def test_oddities_do_not_reach_the_user(calls: Calls, recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    calls.callback.log_success_event(None, None, None, None)
    calls.callback.log_pre_api_call(None, None, 7)
    calls.callback.log_failure_event({"litellm_call_id": []}, None, None, None)
    assert "could not be observed" in caplog.text
    caplog.clear()
    calls.rows(0)


def test_nothing_is_lost_when_the_recorder_closes(calls: Calls) -> None:
    calls.ask()
    assert calls.callback.flush()
    assert calls.recorded.recorder.stats().accepted > 0

    async def ask() -> None:
        await litellm.acompletion(
            model="openai/gpt-4o", messages=[], api_base=f"{calls.server.url}/v1", api_key=KEY, stream=False
        )
        assert await calls.callback.aflush()

    calls.await_(ask)
    calls.rows(2)
    calls.callback.log_pre_api_call("x", [], {"litellm_call_id": "x", "call_type": "completion"})
    assert not calls.callback.flush(0.01)  # of some calls nobody tells the end


def test_a_closed_recorder_is_in_nobodys_way(calls: Calls) -> None:
    calls.recorded.recorder.close()
    assert calls.ask().choices[0].message.content == ANSWER


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_recorded_client_inside_sees_each_attempt(
    way: str, stream: bool, calls: Calls, server: ModelServer, recorded: Recorded
) -> None:
    """And the callback leaves the call to it."""
    client = make("async openai" if way == "acompletion" else "openai", server, recorded.recorder)
    server.plan(429, "ok")
    calls.ask(way, client=client, stream=stream)
    if way == "acompletion":
        calls.loop.run(client.close())
    first, second = calls.rows(2)
    assert (first.status, first.labels["retried"], first.labels["attempt"]) == (LIMITED, "true", "1")
    assert (second.status, second.labels["attempt"], second.token_source) == (SUCCESS, "2", "provider")
    assert has_said(recorded) == [("user", QUESTION), ("assistant", ANSWER)]


def test_a_recorded_client_sees_a_stream_that_is_closed(calls: Calls, server: ModelServer, recorded: Recorded) -> None:
    client = make("openai", server, recorded.recorder)
    stream = litellm.completion(
        model="openai/gpt-4o", messages=[{"role": "user", "content": QUESTION}], stream=True, client=client
    )
    next(iter(stream))
    stream.completion_stream.close()
    assert (calls.row().status, calls.row().error_code) == (ApiCallStatus.CANCELLED, "closed")


def test_a_client_of_ones_own_beside_a_stream_is_another_call(
    calls: Calls, server: ModelServer, recorded: Recorded
) -> None:
    async def ask() -> None:
        messages = [{"role": "user", "content": QUESTION}]
        stream = await litellm.acompletion(
            model="openai/gpt-4o", messages=messages, stream=True, api_base=f"{server.url}/v1", api_key=KEY
        )
        async with make("async openai", server, recorded.recorder) as client:
            async for _ in stream:
                await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "more"}])
                break
        async for _ in stream:
            pass

    calls.await_(ask)
    assert {call.token_source for call in calls.rows(2)} == {"estimated", "provider"}


def test_a_recorder_of_others_is_not_told(calls: Calls, server: ModelServer) -> None:
    """A client that another recorder records does not make this callback stand back."""
    with Recorder(InMemoryStore(), prices=None) as other:
        calls.ask(client=make("openai", server, other))
        assert calls.row().status is SUCCESS
