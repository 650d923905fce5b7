"""The recorded clients of OpenAI and Anthropic: they behave as the plain ones do, and each attempt is a row."""

import itertools
from typing import Any

import pytest

from mofa_usage import ApiCallStatus
from tests.recording.sdks.clients import FORMS, KEY, QUESTION, create, outcome
from tests.recording.sdks.clients import TIMEOUT as TIMEOUT_SECONDS
from tests.recording.sdks.conftest import Recorded
from tests.recording.sdks.model_server import ANSWER, CACHED, ModelServer, Step

SUCCESS, FAILED = ApiCallStatus.SUCCESS, ApiCallStatus.FAILED
TIMEOUT, LIMITED = ApiCallStatus.TIMEOUT, ApiCallStatus.RATE_LIMITED
PROMPT, COMPLETION = len(QUESTION.split()), len(ANSWER.split())
WAYS = [
    pytest.param(f"{colour}{sdk}", form, stream, id=f"{colour}{sdk}-{form}-{'stream' if stream else 'whole'}")
    for (sdk, form), colour, stream in itertools.product(FORMS, ("", "async "), (False, True))
]


def sent(stream: bool) -> dict[str, Any]:
    return {"stream": True} if stream else {}


@pytest.mark.parametrize(("sdk", "form", "stream"), WAYS)
def test_an_answer(sdk: str, form: str, stream: bool, server: ModelServer, recorded: Recorded) -> None:
    plain = outcome(lambda: create(sdk, form, server, **sent(stream)))
    with recorded.recorder.scope(user="alice", session="t-1", labels={"feature": "search"}) as scope:
        assert outcome(lambda: create(sdk, form, server, recorded.recorder, **sent(stream))) == plain
        assert (scope.usage.calls, scope.usage.total_tokens) == (1, PROMPT + COMPLETION)
    call = recorded.call()
    assert (call.status, call.error_code, call.error_message) == (SUCCESS, None, None)
    assert (call.prompt_tokens, call.completion_tokens, call.token_source) == (PROMPT, COMPLETION, "provider")
    assert call.prompt_tokens_details is not None
    assert call.prompt_tokens_details.cached_tokens == CACHED
    assert call.labels["served_model"] == f"{call.model_name}-2026"
    assert call.labels["provider"] == sdk.removeprefix("async ")
    assert call.labels["request_id"] == "req-7"
    assert call.labels["service_tier"] in ("default", "standard")
    assert call.labels["feature"] == "search"
    assert call.labels.keys().isdisjoint({"attempt", "retried", "operation"})
    assert call.api_response_id == "c-1"
    assert call.latency_ms is not None
    assert (call.time_to_first_token_ms is not None) == stream
    assert (call.time_to_first_token_ms or 0) <= call.latency_ms
    user, answer = recorded.messages()
    assert (user.role, user.content.text, user.parent_message_id) == ("user", QUESTION, None)
    assert (answer.role, answer.content.text, answer.parent_message_id) == ("assistant", ANSWER, user.id)
    assert (call.request_message_id, call.response_message_id) == (user.id, answer.id)


REFUSED = [(code, False) for code in (400, 401, 403, 404, 413, 422)]
RETRIED = [(code, True) for code in (408, 409, 429, 500, 503, 529)]


@pytest.mark.parametrize(("status", "is_retried"), [*REFUSED, *RETRIED])
@pytest.mark.parametrize(("sdk", "form", "stream"), WAYS[::3])
def test_a_refusal(
    sdk: str, form: str, stream: bool, status: int, is_retried: bool, server: ModelServer, recorded: Recorded
) -> None:
    steps = [status] * (3 if is_retried else 1)
    server.plan(*steps)
    plain = outcome(lambda: create(sdk, form, server, **sent(stream)))
    server.plan(*steps)
    with recorded.recorder.scope(session="t-1"):
        assert outcome(lambda: create(sdk, form, server, recorded.recorder, **sent(stream))) == plain
    calls = recorded.calls()
    assert len(calls) == len(server.asked) == len(steps)
    assert [call.labels.get("retried") for call in calls] == ["true"] * (len(calls) - 1) + [None]
    assert [call.labels.get("attempt") for call in calls] == (["1", "2", "3"] if is_retried else [None])
    assert len({call.request_message_id for call in calls}) == 1
    assert {call.status for call in calls} == {{429: LIMITED, 408: TIMEOUT}.get(status, FAILED)}
    assert {call.token_source for call in calls} == {"none" if status >= 500 or status == 408 else "provider"}
    assert all(call.total_tokens == 0 and call.error_code and call.error_message for call in calls)
    assert [message.content.text for message in recorded.messages()] == [QUESTION]


@pytest.mark.parametrize(("sdk", "form", "stream"), WAYS)
def test_an_answer_after_failures(sdk: str, form: str, stream: bool, server: ModelServer, recorded: Recorded) -> None:
    server.plan(429, "drop", "ok")
    create(sdk, form, server, recorded.recorder, **sent(stream))
    first, second, third = recorded.calls()
    assert (first.status, first.labels["retried"], first.labels["attempt"]) == (LIMITED, "true", "1")
    assert (second.status, second.labels["retried"], second.labels["attempt"]) == (FAILED, "true", "2")
    assert (third.status, third.labels.get("retried"), third.labels["attempt"]) == (SUCCESS, None, "3")
    assert first.request_message_id == second.request_message_id == third.request_message_id


# What each way of ending is recorded as: its status and error code (None: any).
ENDS: dict[Step, tuple[ApiCallStatus, str | None]] = {
    "slow": (TIMEOUT, "APITimeoutError"),
    "drop": (FAILED, "APIConnectionError"),
    "garbage": (FAILED, None),
    "page": (FAILED, "unreadable_answer"),
    "empty": (FAILED, "unreadable_answer"),
}
STREAM_ENDS: dict[Step, tuple[ApiCallStatus, str | None]] = {
    "slow": (TIMEOUT, "APITimeoutError"),
    "stall": (TIMEOUT, None),
    "drop": (FAILED, "APIConnectionError"),
    "cut": (FAILED, None),
    "truncated": (FAILED, "truncated"),
    "error": (FAILED, None),
    "garbage": (FAILED, None),
}
BOTH = [(f"{colour}{sdk}", form) for sdk, form in FORMS for colour in ("", "async ")]
FAULTS = [(False, step) for step in ENDS] + [(True, step) for step in STREAM_ENDS]


@pytest.mark.parametrize(("stream", "step"), FAULTS)
@pytest.mark.parametrize(
    ("sdk", "form"), [(f"{colour}{sdk}", form) for sdk, form in FORMS for colour in ("", "async ")]
)
def test_a_failure(sdk: str, form: str, stream: bool, step: Step, server: ModelServer, recorded: Recorded) -> None:
    further = {**sent(stream), "max_retries": 0}
    if step in ("slow", "stall"):
        further["timeout"] = TIMEOUT_SECONDS
    server.plan(step)
    plain = outcome(lambda: create(sdk, form, server, **further))
    server.wait()
    server.plan(step)
    with recorded.recorder.scope(session="t-1"):
        assert outcome(lambda: create(sdk, form, server, recorded.recorder, **further)) == plain
    call = recorded.call()
    status, code = (STREAM_ENDS if stream else ENDS)[step]
    assert call.status is status
    assert code in (None, call.error_code)
    assert call.error_code
    assert call.error_message
    knows_prompt = form == "messages" and stream and step in ("stall", "cut", "truncated", "error")
    assert call.token_source == ("partial" if knows_prompt else "none")
    assert (call.prompt_tokens, call.completion_tokens) == (PROMPT if knows_prompt else 0, 0)
    assert call.tokens_per_second is None
    has_begun = stream and step in ("stall", "cut", "truncated", "error")
    assert call.api_response_id == ("c-1" if has_begun else None)
    said = [message.content.text or "" for message in recorded.messages()]
    assert said[0] == QUESTION
    assert len(said) == 1 or ANSWER.startswith(said[1])
    assert KEY not in repr(call)
