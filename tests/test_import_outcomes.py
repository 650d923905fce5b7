"""How imported calls ended, and how long they took."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mofa_usage.records import ApiCallStatus
from tests.imports import CALL, imported, imported_one, imported_row, write, write_jsonl

SUCCESS, FAILED, TIMEOUT, RATE_LIMITED, CANCELLED = ApiCallStatus


@pytest.mark.parametrize(
    ("said", "status", "message", "code"),
    [
        ({}, SUCCESS, None, None),
        ({"error_message": ""}, SUCCESS, None, None),
        ({"error_message": "  ", "error_code": ""}, SUCCESS, None, None),
        ({"error": None}, SUCCESS, None, None),
        ({"error": {}}, SUCCESS, None, None),
        ({"error": False}, SUCCESS, None, None),
        ({"error": "Rate limit exceeded"}, FAILED, "Rate limit exceeded", None),
        ({"error": {"message": "busy", "type": "overloaded_error"}}, FAILED, "busy", "overloaded_error"),
        ({"error_code": "429"}, RATE_LIMITED, None, "429"),
        ({"error.type": "openai.APITimeoutError"}, TIMEOUT, None, "openai.APITimeoutError"),
        ({"attributes": {"error.type": "RateLimitError"}}, RATE_LIMITED, None, "RateLimitError"),
        ({"status": "UNSET"}, SUCCESS, None, None),
        ({"status": "OK"}, SUCCESS, None, None),
        ({"status": 200}, SUCCESS, None, None),
        ({"status": 429}, RATE_LIMITED, None, "429"),
        ({"status": "ERROR"}, FAILED, None, None),
        ({"status": {"code": "STATUS_CODE_ERROR", "message": "boom"}}, FAILED, "boom", None),
        ({"status_code": "STATUS_CODE_OK"}, SUCCESS, None, None),
        ({"status_code": 2}, FAILED, None, None),
        ({"status_code": 504}, TIMEOUT, None, "504"),
        ({"http.response.status_code": 408}, TIMEOUT, None, "408"),
        ({"rpc.grpc.status_code": 1}, CANCELLED, None, None),
        ({"level": "ERROR", "statusMessage": "boom"}, FAILED, "boom", None),
        ({"level": "DEFAULT"}, SUCCESS, None, None),
        ({"level": "notice"}, SUCCESS, None, None),
        ({"level": 30}, SUCCESS, None, None),
        ({"cancelled": True}, CANCELLED, None, None),
        ({"canceled": "false"}, SUCCESS, None, None),
        ({"success": False}, FAILED, None, None),
        ({"success": "True"}, SUCCESS, None, None),
        ({"is_error": True}, FAILED, None, None),
        ({"isError": 0}, SUCCESS, None, None),
        ({"timed_out": True}, TIMEOUT, None, None),
        ({"status": "success", "error_message": " kept "}, SUCCESS, " kept ", None),
        # What is nested, as providers and SDKs nest it; empty it says nothing.
        ({"error": {"message": None, "code": None}}, SUCCESS, None, None),
        ({"error": {"message": "", "code": 0}}, SUCCESS, None, None),
        ({"error": '{"message": "busy", "code": "429"}'}, RATE_LIMITED, "busy", "429"),
        ({"error": '{"message": null}'}, SUCCESS, None, None),
        ({"error": "{'message': 'busy', 'code': 429, 'param': None}"}, RATE_LIMITED, "busy", "429"),  # by pandas
        ({"error": {"name": "AbortError", "message": "bye"}}, CANCELLED, "bye", "AbortError"),
        ({"error": {"code": "ERR_BAD_REQUEST", "status": 429}}, RATE_LIMITED, None, "429"),
        (
            {"error": {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}},
            FAILED,
            "Overloaded",
            "overloaded_error",
        ),
        ({"status": "failed", "error": {"message": "boom", "code": "server_error"}}, FAILED, "boom", "server_error"),
        ({"status": {"status_code": "ERROR", "description": "boom"}}, FAILED, "boom", None),
        ({"finish_reason": "error"}, FAILED, None, None),
        ({"stopReason": "aborted"}, CANCELLED, None, None),
        ({"finish_reason": "content_filter"}, SUCCESS, None, None),
        ({"error_msg": "boom", "errorClass": "openai.RateLimitError"}, RATE_LIMITED, "boom", "openai.RateLimitError"),
        ({"response_code": 504}, TIMEOUT, None, "504"),
    ],
)
async def test_whatever_says_how_a_call_ended(
    tmp_path: Path, said: dict[str, Any], status: ApiCallStatus, message: str | None, code: str | None
) -> None:
    call = await imported_row(tmp_path, CALL | said)
    assert (call.status, call.error_message or None, call.error_code) == (status, message, code)


@pytest.mark.parametrize("column", ["error_message", "error_code", "error"])
async def test_empty_texts_are_no_errors_in_tables_either(tmp_path: Path, column: str) -> None:
    columns = {**{name: [value] for name, value in CALL.items()}, column: [""]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert (await imported_one(tmp_path / "a.parquet")).status is SUCCESS
    source = write(tmp_path / "a.csv", ",".join(columns), ",".join(str(values[0]) for values in columns.values()))
    assert (await imported_one(source)).status is SUCCESS


async def test_a_status_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    result, _ = await imported(write_jsonl(tmp_path / "a.jsonl", CALL | {"status": "maybe"}))
    assert [reason.reason for reason in result.reasons] == [f"status is not one of {', '.join(ApiCallStatus)}"]


async def test_a_default_status_is_for_rows_that_say_none(tmp_path: Path) -> None:
    rows = [CALL, CALL | {"status": "OK", "prompt_tokens": 2}, CALL | {"error": "boom", "prompt_tokens": 3}]
    _, calls = await imported(write_jsonl(tmp_path / "a.jsonl", *rows), defaults={"status": "Rate Limited"})
    ended = {call.prompt_tokens: (call.status, call.error_message) for call in calls}
    assert ended == {1: (RATE_LIMITED, None), 2: (SUCCESS, None), 3: (RATE_LIMITED, "boom")}


async def test_a_mapped_status(tmp_path: Path) -> None:
    said = {"state": "error", "why": "boom", "error_message": "not this"}
    call = await imported_row(tmp_path, CALL | said, mapping={"status": "state", "error_message": "why"})
    assert (call.status, call.error_message) == (FAILED, "boom")
    call = await imported_row(tmp_path, CALL | {"status": "huh"}, mapping={"status": None})
    assert call.status is SUCCESS


# Time


@pytest.mark.parametrize(
    ("start", "end"),
    [("start_time", "end_time"), ("startTime", "endTime"), ("startedAt", "completedAt"), ("timestamp", "ended_at")],
)
async def test_latency_is_the_end_less_the_beginning(tmp_path: Path, start: str, end: str) -> None:
    source = write(
        tmp_path / "a.csv",
        f"{start},{end},model,prompt_tokens,completion_tokens",
        "2026-05-01T12:00:00Z,2026-05-01T12:00:01.245Z,m,1,2",
    )
    call = await imported_one(source)
    assert call.latency_ms == 1245
    assert (call.update_time - call.create_time).total_seconds() == 1.245


@pytest.mark.parametrize(
    ("name", "value", "milliseconds"),
    [
        ("latency_ms", "1245", 1245),
        ("latencyMs", "1245", 1245),
        ("duration_ms", "1245.4", 1245),
        ("latency_seconds", "1.245", 1245),
        ("duration_s", "4.2", 4200),
        ("durationSec", "4.2", 4200),
        ("elapsed_us", "1245000", 1245),
        ("duration_ns", "1245000000", 1245),
        ("gen_ai.client.operation.duration", "1.5", 1500),
        ("latency", "1.245s", 1245),
        ("latency", "1245 ms", 1245),
        ("duration", "PT1.245S", 1245),
        ("duration", "P1DT2H3M4S", 93_784_000),
        ("duration", "0 days 00:00:01.245000", 1245),  # a Timedelta of pandas in a CSV
        ("duration_ms", "1.245 s", 1245),
        ("duration", "P", None),
        ("delay_ms", "1245", 1245),
        ("duration_nano", "1245000000", 1245),
        ("e2e_latency_s", "1.245", 1245),
        ("ai.response.msToFinish", "1245", 1245),
        ("latency", "4.2", None),
        ("duration", "4.2", None),
    ],
)
async def test_a_duration_is_taken_where_its_unit_is_said(
    tmp_path: Path, name: str, value: str, milliseconds: int | None
) -> None:
    source = write(
        tmp_path / "a.csv",
        f"timestamp,model,prompt_tokens,completion_tokens,{name}",
        f"{CALL['timestamp']},m,1,2,{value}",
    )
    result, [call] = await imported(source)
    assert call.latency_ms == milliseconds
    assert result.ignored == (() if milliseconds is not None else (name,))
    assert ("does not say its unit" in str(result)) is (milliseconds is None)


async def test_a_latency_that_is_said_goes_before_one_that_follows(tmp_path: Path) -> None:
    times = {"start_time": "2026-05-01T12:00:00Z", "end_time": "2026-05-01T12:00:09Z"}
    assert (await imported_row(tmp_path, CALL | times | {"latency_ms": 7})).latency_ms == 7


async def test_a_change_is_no_end(tmp_path: Path) -> None:
    changed = {"created_at": "2026-05-01T12:00:00Z", "updated_at": "2026-05-03T12:00:00Z"}
    assert (await imported_row(tmp_path, CALL | changed)).latency_ms is None
    done = {"done": "2026-05-01T12:00:02Z"}
    assert (await imported_row(tmp_path, CALL | done, mapping={"update_time": "done"})).latency_ms == 2000


async def test_the_first_token(tmp_path: Path) -> None:
    times = {"startTime": "2026-05-01T12:00:00Z", "endTime": "2026-05-01T12:00:02Z"}
    streamed = times | {"completionStartTime": "2026-05-01T12:00:00.250Z"}
    assert (await imported_row(tmp_path, CALL | streamed)).time_to_first_token_ms == 250
    whole = times | {"completionStartTime": times["endTime"]}  # LiteLLM's, of a call that did not stream
    assert (await imported_row(tmp_path, CALL | whole)).time_to_first_token_ms is None
    said = {"gen_ai.response.time_to_first_chunk": 0.25}
    assert (await imported_row(tmp_path, CALL | said)).time_to_first_token_ms == 250
