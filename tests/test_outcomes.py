"""How a call ended, by whatever is said about it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofa_usage.outcomes import Outcome, UnknownStatusError, outcome_of, status_of, status_of_code, used_nothing
from mofa_usage.records import ApiCallStatus


@pytest.mark.parametrize(
    ("value", "status"),
    [
        *((status.value, status.value) for status in ApiCallStatus),
        *((status.value.upper().replace("_", " "), status.value) for status in ApiCallStatus),
        *(
            (word, "success")
            for word in ("OK", "ok", "UNSET", "STATUS_CODE_OK", 200, "200", "200.0", "201 Created", 304)
        ),
        *(
            (word, "rate_limited")
            for word in (429, "429", "HTTP 429", "429 Too Many Requests", "RateLimit", "RateLimitError")
        ),
        *((word, "timeout") for word in (408, 504, "504", "HTTP/1.1 504", "timed out", "DEADLINE_EXCEEDED")),
        *((word, "cancelled") for word in (499, "canceled", "CANCELLED", "aborted")),
        *((word, "failed") for word in ("ERROR", "errored", "failure", 500, "500", 404, 529, "overloaded_error")),
    ],
)
def test_a_status_by_itself(value: object, status: str) -> None:
    assert status_of(value) == status


@pytest.mark.parametrize("value", ["in_progress", "maybe", 1, 0, "4290", -200, True, "1", 42.5])
def test_a_status_that_nobody_knows_is_refused(value: object) -> None:
    with pytest.raises(UnknownStatusError, match="is not one of success, failed"):
        status_of(value)


@pytest.mark.parametrize(
    ("code", "status", "nothing_used"),
    [
        *((code, "rate_limited", True) for code in ("429", 429, "rate_limit_exceeded", "rate_limit_error")),
        *(
            (code, "rate_limited", True)
            for code in ("openai.RateLimitError", "RESOURCE_EXHAUSTED", "insufficient_quota")
        ),
        *((code, "rate_limited", True) for code in ("ThrottlingException", "litellm.exceptions.RateLimitError")),
        *((code, "timeout", False) for code in ("408", "504", "DEADLINE_EXCEEDED", "APITimeoutError", "timeout")),
        *(
            (code, "timeout", False)
            for code in ("httpx2.ReadTimeout", "builtins.TimeoutError", "ETIMEDOUT", "timeout_error")
        ),
        *((code, "cancelled", False) for code in ("499", "CANCELLED", "asyncio.CancelledError", "AbortError")),
        *((code, "cancelled", False) for code in ("APIUserAbortError", "GeneratorExit", "client_closed_request")),
        *((code, "failed", True) for code in ("400", 401, "404", "422", "BadRequestError", "invalid_request_error")),
        *((code, "failed", True) for code in ("authentication_error", "INVALID_ARGUMENT", "context_length_exceeded")),
        *((code, "failed", True) for code in ("ABORTED", "UNAUTHENTICATED", "request_too_large", "not_found_error")),
        *((code, "failed", False) for code in ("500", 503, "529", "overloaded_error", "INTERNAL", "UNAVAILABLE")),
        *((code, "failed", False) for code in ("InternalServerError", "APIConnectionError", "truncated", "_OTHER")),
    ],
)
def test_an_error_code_by_itself(code: object, status: str, nothing_used: bool) -> None:
    assert status_of_code(code) == status
    assert outcome_of(error_code=code) == Outcome(ApiCallStatus(status), None, str(code))
    assert used_nothing(ApiCallStatus(status), code) is nothing_used


@pytest.mark.parametrize("code", [None, "", "  ", "null", "None", 0, "0", 200, "200", "OK", "UNSET", float("nan")])
def test_what_is_no_error_code(code: object) -> None:
    assert status_of_code(code) is None
    assert outcome_of(error_code=code) == Outcome(ApiCallStatus.SUCCESS)


@pytest.mark.parametrize(
    ("said", "status", "message", "code"),
    [
        ({}, "success", None, None),
        ({"error_message": "", "error_code": ""}, "success", None, None),
        ({"error": {}}, "success", None, None),
        ({"error": False}, "success", None, None),
        ({"error": "false"}, "success", None, None),
        ({"error": "Rate limit exceeded"}, "failed", "Rate limit exceeded", None),
        ({"error": True}, "failed", None, None),
        ({"error": {"message": "Slow down", "code": 429, "type": "x"}}, "rate_limited", "Slow down", "429"),
        ({"error": {"type": "overloaded_error", "message": ""}}, "failed", None, "overloaded_error"),
        (
            {"error": {"message": "No", "code": None, "type": "rate_limit_error"}},
            "rate_limited",
            "No",
            "rate_limit_error",
        ),
        ({"status": "UNSET"}, "success", None, None),
        ({"status": "UNSET", "error_code": "timeout"}, "timeout", None, "timeout"),
        ({"status": "429"}, "rate_limited", None, "429"),
        ({"status": 503}, "failed", None, "503"),
        ({"status": 200, "error": "Overloaded"}, "failed", "Overloaded", None),
        ({"status": "ERROR"}, "failed", None, None),
        ({"status": "ERROR", "error_code": "openai.RateLimitError"}, "rate_limited", None, "openai.RateLimitError"),
        ({"status": "failed", "error_code": "429"}, "failed", None, "429"),
        ({"status": "success", "error_message": "retried once"}, "success", "retried once", None),
        ({"level": "ERROR"}, "failed", None, None),
        ({"level": "WARNING"}, "success", None, None),
        ({"level": "DEFAULT", "error_message": "it broke"}, "failed", "it broke", None),
        ({"cancelled": "true"}, "cancelled", None, None),
        ({"cancelled": True, "status": "ERROR"}, "cancelled", None, None),
        ({"cancelled": "false"}, "success", None, None),
        ({"success": False}, "failed", None, None),
        ({"success": "true"}, "success", None, None),
        ({"success": 0, "http_status": "504"}, "timeout", None, "504"),
        ({"http_status": 499}, "cancelled", None, "499"),
        ({"grpc_status": 4}, "timeout", None, None),
        ({"grpc_status": "8"}, "rate_limited", None, None),
        ({"grpc_status": "CANCELLED"}, "cancelled", None, None),
        ({"grpc_status": 0}, "success", None, None),
        ({"grpc_status": "permission denied"}, "failed", None, None),
        ({"otel_status": 2}, "failed", None, None),
        ({"otel_status": 0}, "success", None, None),
        ({"otel_status": "STATUS_CODE_ERROR", "error_code": "408"}, "timeout", None, "408"),
    ],
)
def test_all_that_is_said_together(said: dict[str, Any], status: str, message: str | None, code: str | None) -> None:
    assert outcome_of(**said) == (status, message, code)


@pytest.mark.parametrize("said", [{"cancelled": "perhaps"}, {"success": 2}, {"grpc_status": 17}, {"level": "LOUD"}])
def test_what_cannot_be_read_is_refused_by_name(said: dict[str, Any]) -> None:
    with pytest.raises(UnknownStatusError, match=str(next(iter(said.values())))):
        outcome_of(**said)


@given(st.integers(200, 599))
def test_every_http_code_means_the_same_wherever_it_stands(code: int) -> None:
    expected = {408: "timeout", 504: "timeout", 524: "timeout", 429: "rate_limited", 499: "cancelled"}.get(
        code, "failed" if code >= 400 else "success"
    )
    assert status_of(code) == status_of(str(code)) == outcome_of(http_status=code).status == expected
    assert outcome_of(error_code=str(code)).status == expected


@given(st.text())
def test_any_text_of_an_error_is_kept_or_is_empty(text: str) -> None:
    outcome = outcome_of(error_message=text)
    assert outcome.error_message in (None, text.strip())
    assert (outcome.status == "failed") is (outcome.error_message is not None)


@given(st.sampled_from([*ApiCallStatus]), st.none() | st.text(max_size=20))
def test_a_status_of_ours_stands_whatever_the_error(status: ApiCallStatus, code: str | None) -> None:
    assert outcome_of(status=status, error_code=code).status is status
    assert not (status is ApiCallStatus.SUCCESS and used_nothing(status, code))
