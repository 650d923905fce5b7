"""Claude Code's sessions: one call for an answer, however often and wherever its log says it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mofa_usage.records import LLMApiCall
from tests.imports import imported, imported_row, write_jsonl
from tests.logs import FOLDER

PROJECTS = FOLDER / "claude_code" / "projects"
USAGE = {"input_tokens": 3, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 11}


def event(**more: Any) -> dict[str, Any]:
    """A line of an answer."""
    return {
        "type": "assistant",
        "uuid": "u",
        "sessionId": "5f0c2a51-7c1e-4b6a-9d3f-2f6f0a9f7e01",
        "timestamp": "2026-05-01T12:00:00.000Z",
        "message": {"id": "msg_01A", "model": "claude-opus-4-6", "usage": USAGE},
        **more,
    }


def told(call: LLMApiCall) -> tuple[Any, ...]:
    details = call.prompt_tokens_details
    return (
        f"{call.create_time:%m-%d %H:%M:%S}",
        call.model_name.removeprefix("claude-"),
        call.status,
        call.prompt_tokens,
        call.completion_tokens,
        details and details.cached_tokens,
        details and details.cache_write_tokens,
        call.labels.get("agent"),
    )


async def test_the_sample() -> None:
    result, calls = await imported(PROJECTS)
    assert [told(call) for call in calls] == [
        ("05-30 10:00:00", "sonnet-4-20250514", "success", 15004, 41, 15000, 0, "Claude Code"),
        ("05-04 09:00:03", "opus-4-6", "success", 24425, 159, 22137, 2285, "Claude Code"),
        ("05-04 09:00:08", "opus-4-6", "failed", 0, 0, None, None, "Claude Code"),
        ("05-04 09:00:12", "opus-4-6", "success", 24843, 1024, 24425, 412, "Claude Code"),
        ("05-04 09:01:10", "haiku-4-5-20251001", "success", 4010, 96, 0, 4000, "Claude Code subagent"),
        ("05-04 09:20:00", "opus-4-6", "rate_limited", 0, 0, None, None, "Claude Code"),
        ("05-05 08:00:02", "opus-4-6", "success", 24525, 77, 24422, 100, "Claude Code"),
    ]
    assert result.left_out == {
        "answers that Claude Code wrote itself": 1,
        "lines that are no calls": 8,
        "rows that say a call again": 7,
    }
    assert (result.rejected, result.ignored) == (0, ())
    assert all(call.total_price is None for call in calls)


async def test_what_an_answer_says() -> None:
    _, calls = await imported(PROJECTS)
    first, second = calls[1], calls[3]
    assert first.labels == {
        "agent": "Claude Code",
        "branch": "main",
        "project": "~/shop",
        "provider": "anthropic",
        "request_id": "req_011CFirst",
        "service_tier": "standard",
        "tool_version": "2.1.94",
    }
    assert (first.api_response_id, str(first.chat_session_id)[:8]) == ("msg_01AaFirst", "5f0c2a51")
    assert first.prompt_tokens_details is not None
    assert first.prompt_tokens_details.model_dump()["cache_write_5m_tokens"] == 2285
    assert second.labels["web_search_requests"] == "2"
    assert second.prompt_tokens_details is not None
    assert second.prompt_tokens_details.model_dump()["cache_write_1h_tokens"] == 412


async def test_attempts_that_were_tried_again_and_limits_are_failures() -> None:
    _, calls = await imported(PROJECTS)
    busy, limit = calls[2], calls[5]
    assert (busy.error_code, busy.error_message) == ("overloaded_error", "Overloaded")
    assert (busy.labels["retried"], busy.labels["attempt"], busy.token_source) == ("true", "1", "none")
    assert (limit.error_code, limit.total_tokens, limit.token_source) == ("rate_limit", 0, "provider")
    assert limit.error_message is not None
    assert limit.error_message.startswith("You've hit your session limit")


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"error": "rate_limit"}, "rate_limited", "rate_limit"),
        ({"error": "authentication_failed"}, "failed", "authentication_failed"),
        ({"error": "unknown", "apiErrorStatus": 504}, "timeout", "unknown"),
        ({"apiError": {"status": 429}}, "rate_limited", "429"),
        ({"text": "API Error: 529 Overloaded. Try again"}, "failed", "529"),
        ({"text": 'API Error (429 {"type":"error"})'}, "rate_limited", "429"),
        ({"text": "API Error: Unable to connect to API (ECONNRESET)"}, "failed", None),
        ({}, "failed", None),
    ],
)
async def test_errors_of_the_api(tmp_path: Path, said: dict[str, Any], status: str, code: str | None) -> None:
    text = said.pop("text", "No")
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": text}, "odd"], "usage": USAGE}
    call = await imported_row(tmp_path, event(isApiErrorMessage=True, message=message, **said))
    assert (call.status, call.error_code, call.error_message) == (status, code, text)
    assert call.model_name == "unknown"


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (
            {"error": {"status": 429, "error": {"error": {"type": "rate_limit_error"}}}},
            "rate_limited",
            "rate_limit_error",
        ),
        ({"error": {"status": 529}}, "failed", "529"),
        ({"error": {"cause": {"code": "ETIMEDOUT"}}}, "timeout", "ETIMEDOUT"),
        ({"cause": {"code": "ConnectionRefused"}, "error": {}}, "failed", "ConnectionRefused"),
        ({"api_error_status": 408}, "timeout", "408"),
        ({}, "failed", "api_error"),
    ],
)
async def test_attempts_that_failed(tmp_path: Path, said: dict[str, Any], status: str, code: str | None) -> None:
    line = event(type="system", subtype="api_error", retryAttempt=3, **said)
    del line["message"]
    call = await imported_row(tmp_path, line)
    assert (call.status, call.error_code, call.labels["attempt"]) == (status, code, "3")


@pytest.mark.parametrize(
    ("cwd", "project"),
    [
        ("/home/dana/work/api", "~/work/api"),
        ("/Users/dana/api", "~/api"),
        ("/root", "~"),
        ("C:\\Users\\dana\\api", "~\\api"),
        ("/srv/api", "/srv/api"),
        ("/home2/api", "/home2/api"),
        ("", None),
        (None, None),
    ],
)
async def test_a_project_is_where_its_session_began(tmp_path: Path, cwd: str | None, project: str | None) -> None:
    assert (await imported_row(tmp_path, event(cwd=cwd))).labels.get("project") == project
    folder = tmp_path / "projects" / "-home-dana-api" / "s" / "subagents"
    folder.mkdir(parents=True)
    assert (await imported_row(folder, event(cwd=cwd))).labels["project"] == (project or "-home-dana-api")


@pytest.mark.parametrize(
    ("answer", "provider"),
    [("msg_01A", "anthropic"), ("msg_bdrk_01A", "aws"), ("msg_vrtx_01A", "gcp.vertex_ai"), ("202605", None), (7, None)],
)
async def test_whose_answer_it_is(tmp_path: Path, answer: Any, provider: str | None) -> None:
    call = await imported_row(tmp_path, event(message={"id": answer, "model": "glm", "usage": USAGE}))
    assert call.labels.get("provider") == provider


async def test_answers_without_ids_are_calls_of_their_own(tmp_path: Path) -> None:
    lines = [event(message={"model": "m", "usage": USAGE}), event(message={"model": "m", "usage": USAGE})]
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", *lines))
    assert (len(calls), result.left_out) == (2, {})


async def test_an_answer_without_usage_is_a_call_of_unknown_tokens(tmp_path: Path) -> None:
    call = await imported_row(tmp_path, event(message={"id": "msg_01A", "model": "claude-opus-4-6"}))
    assert (call.token_source, call.status) == ("none", "success")


async def test_durations_and_other_terms(tmp_path: Path) -> None:
    usage = USAGE | {"speed": "fast", "inference_geo": "us", "iterations": [{"type": "message", "input_tokens": 9}]}
    call = await imported_row(
        tmp_path, event(durationMs=2345, message={"id": "msg_01A", "model": "claude-opus-4-6", "usage": usage})
    )
    assert (call.latency_ms, call.labels["speed"], call.labels["inference_geo"]) == (2345, "fast", "us")
    assert (call.prompt_tokens, call.create_time) == (15, datetime(2026, 5, 1, 12, tzinfo=UTC))


async def test_a_count_that_is_none_is_refused(tmp_path: Path) -> None:
    bad = event(message={"id": "msg_01B", "model": "m", "usage": USAGE | {"input_tokens": -1}})
    result, calls = await imported(
        write_jsonl(
            tmp_path / "a.jsonl",
            event(),
            bad,
            event(timestamp="soon", uuid="x", message={"id": "msg_01C", "model": "m", "usage": USAGE}),
        )
    )
    assert (len(calls), result.rejected) == (1, 2)
