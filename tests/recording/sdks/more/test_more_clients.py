"""The recorded clients of Google, Mistral and Ollama: they behave as the plain ones, and each attempt is a row."""

import itertools
from typing import Any

import pytest

from mofa_usage import ApiCallStatus
from tests.recording.sdks.clients import TIMEOUT as TIMEOUT_SECONDS
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, CACHED, ModelServer, Step
from tests.recording.sdks.more.clients import (
    KEY,
    MODELS,
    QUESTION,
    SDKS,
    create,
    outcome,
    provider_of,
    says_prompt_first,
)

SUCCESS, FAILED = ApiCallStatus.SUCCESS, ApiCallStatus.FAILED
TIMEOUT, LIMITED = ApiCallStatus.TIMEOUT, ApiCallStatus.RATE_LIMITED
PROMPT, COMPLETION = len(QUESTION.split()), len(ANSWER.split())
WAYS = list(itertools.product(SDKS, (False, True)))
RETRYING = [sdk for sdk in SDKS if "ollama" not in sdk]


@pytest.mark.parametrize(("sdk", "stream"), WAYS)
def test_an_answer(sdk: str, stream: bool, server: ModelServer, recorded: Recorded) -> None:
    plain = outcome(lambda: create(sdk, server, stream=stream))
    before = [(request.path, request.body) for request in server.asked]
    server.plan()
    with recorded.recorder.scope(user="alice", session="t-1", labels={"feature": "search"}) as scope:
        assert outcome(lambda: create(sdk, server, recorded.recorder, stream=stream)) == plain
        assert (scope.usage.calls, scope.usage.total_tokens) == (1, PROMPT + COMPLETION)
    assert [(request.path, request.body) for request in server.asked] == before
    call, provider = recorded.call(), provider_of(sdk)
    assert (call.status, call.error_code, call.error_message) == (SUCCESS, None, None)
    assert (call.prompt_tokens, call.completion_tokens, call.token_source) == (PROMPT, COMPLETION, "provider")
    assert (call.model_name, call.labels["provider"]) == (MODELS[provider], provider)
    assert call.labels["request_id"] == "req-7"
    assert call.labels["feature"] == "search"
    assert call.labels.keys().isdisjoint({"attempt", "retried", "operation"})
    if provider != "ollama":  # it has none of these
        assert call.prompt_tokens_details is not None
        assert call.prompt_tokens_details.cached_tokens == CACHED
        assert call.labels["served_model"] == f"{call.model_name}-2026"
        assert call.labels["service_tier"] == "standard"
        assert call.api_response_id == "c-1"
    assert call.latency_ms is not None
    assert (call.time_to_first_token_ms is not None) == stream
    assert (call.time_to_first_token_ms or 0) <= call.latency_ms
    user, answer = recorded.messages()
    assert (user.role, user.content.text, user.parent_message_id) == ("user", QUESTION, None)
    assert (answer.role, answer.content.text, answer.parent_message_id) == ("assistant", ANSWER, user.id)
    assert (call.request_message_id, call.response_message_id) == (user.id, answer.id)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
@pytest.mark.parametrize(("sdk", "stream"), WAYS[::5])
def test_a_refusal(sdk: str, stream: bool, status: int, server: ModelServer, recorded: Recorded) -> None:
    server.plan(status)
    plain = outcome(lambda: create(sdk, server, stream=stream))
    server.plan(status)
    with recorded.recorder.scope(session="t-1"):
        assert outcome(lambda: create(sdk, server, recorded.recorder, stream=stream)) == plain
    call = recorded.call()
    assert call.status is {429: LIMITED}.get(status, FAILED)
    assert (call.total_tokens, call.token_source) == (0, "none" if status >= 500 else "provider")
    assert call.error_message
    assert str(status) in call.error_message
    codes = {
        ("google", 400): "INVALID_ARGUMENT",
        ("google", 429): "RESOURCE_EXHAUSTED",
        ("mistral", 422): "SDKError",
        ("mistral", 429): "rate_limited_error",
        ("ollama", 404): "ResponseError",
    }
    assert call.error_code == codes.get((provider_of(sdk), status), call.error_code)
    assert call.error_code
    assert [message.content.text for message in recorded.messages()] == [QUESTION]


@pytest.mark.parametrize(("sdk", "stream"), list(itertools.product(RETRYING, (False, True))))
def test_an_answer_after_failures(sdk: str, stream: bool, server: ModelServer, recorded: Recorded) -> None:
    server.plan(429, 500, "ok")
    with recorded.recorder.scope(session="t-1"):
        create(sdk, server, recorded.recorder, stream=stream, retries=True)
    calls = recorded.calls()
    assert [call.status for call in calls] == [LIMITED, FAILED, SUCCESS]
    assert [call.labels.get("retried") for call in calls] == ["true", "true", None]
    assert [call.labels["attempt"] for call in calls] == ["1", "2", "3"]
    assert [call.token_source for call in calls] == ["provider", "none", "provider"]
    question, _ = recorded.messages()
    assert {call.request_message_id for call in calls} == {question.id}


@pytest.mark.parametrize("sdk", RETRYING)
def test_failures_until_the_end(sdk: str, server: ModelServer, recorded: Recorded) -> None:
    server.plan(503, 429, 400)
    plain = outcome(lambda: create(sdk, server, stream=False, retries=True))
    server.plan(503, 429, 400)
    assert outcome(lambda: create(sdk, server, recorded.recorder, stream=False, retries=True)) == plain
    calls = recorded.calls()
    assert [call.labels.get("retried") for call in calls] == ["true", "true", None]
    assert [call.status for call in calls] == [FAILED, LIMITED, FAILED]
    assert len({call.request_message_id for call in calls}) == 1


# What each way of ending is recorded as: its status and a part of its error code.
ENDS: dict[Step, tuple[ApiCallStatus, str]] = {
    "slow": (TIMEOUT, "Timeout"),
    "drop": (FAILED, "Error"),
    "garbage": (FAILED, "unreadable_answer"),
    "page": (FAILED, "unreadable_answer"),
    "empty": (FAILED, "unreadable_answer"),
}
STREAM_ENDS: dict[Step, tuple[ApiCallStatus, str]] = {
    "slow": (TIMEOUT, "Timeout"),
    "stall": (TIMEOUT, "Timeout"),
    "drop": (FAILED, "Error"),
    "cut": (FAILED, "Error"),
    "truncated": (FAILED, "truncated"),
    "error": (FAILED, ""),
    "garbage": (FAILED, "Error"),
}
SLOW = ("slow", "stall")
ONCE = ("google", "async google by aiohttp", "google interactions", "async mistral", "ollama")
NETWORK = ("drop", "cut", "garbage")  # which each way of sending takes its own way
FAULTS = [
    (sdk, stream, step)
    for stream, ends in ((False, ENDS), (True, STREAM_ENDS))
    for step, sdk in itertools.product(ends, SDKS)
    if step in NETWORK or sdk in ONCE
]


@pytest.mark.parametrize(("sdk", "stream", "step"), FAULTS)
def test_a_failure(sdk: str, stream: bool, step: Step, server: ModelServer, recorded: Recorded) -> None:
    further: dict[str, Any] = {"stream": stream, **({"timeout": TIMEOUT_SECONDS} if step in SLOW else {})}
    server.plan(step)
    plain = outcome(lambda: create(sdk, server, **further))
    server.wait()
    server.plan(step)
    with recorded.recorder.scope(session="t-1"):
        assert outcome(lambda: create(sdk, server, recorded.recorder, **further)) == plain
    call = recorded.call()
    status, code = (STREAM_ENDS if stream else ENDS)[step]
    assert call.status is status
    assert call.error_code
    assert code in call.error_code
    assert call.error_message
    has_begun = stream and step in ("stall", "cut", "truncated", "error")
    knows_prompt = has_begun and says_prompt_first(sdk)
    assert call.token_source == ("partial" if knows_prompt else "none")
    assert (call.prompt_tokens, call.completion_tokens) == (PROMPT if knows_prompt else 0, 0)
    assert call.tokens_per_second is None
    assert call.api_response_id == ("c-1" if has_begun and "ollama" not in sdk else None)
    said = [message.content.text or "" for message in recorded.messages()]
    assert said[0] == QUESTION
    assert len(said) == 1 + has_begun
    assert ANSWER.startswith(said[-1]) or len(said) == 1
    assert KEY not in repr(call)
