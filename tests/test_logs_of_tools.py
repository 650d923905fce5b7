"""LiteLLM, Langfuse, OpenTelemetry and Phoenix: what they write, in each of their ways of writing it."""

import copy
import json
import math
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mofa_usage.importing.logs.parts import as_object
from mofa_usage.records import LLMApiCall
from tests.imports import imported, imported_row, write_jsonl
from tests.logs import FOLDER


def told(call: LLMApiCall) -> tuple[Any, ...]:
    cached = None if call.prompt_tokens_details is None else call.prompt_tokens_details.cached_tokens
    price = None if call.total_price is None else call.total_price.normalize()
    counts = (call.prompt_tokens, call.completion_tokens, cached)
    return (call.model_name, call.status, *counts, price, call.latency_ms, call.time_to_first_token_ms, call.error_code)


SAMPLES: dict[str, tuple[str, list[str], dict[str, int], list[tuple[Any, ...]]]] = {
    "litellm": (
        "LiteLLM spend logs",
        ["spend_logs.json", "LiteLLM_SpendLogs.csv"],
        {},
        [
            ("gpt-4o-mini-2024-07-18", "success", 1163, 50, 1000, Decimal("0.00012945"), 1250, 400, None),
            ("self-hosted-llama", "success", 40, 50, None, None, 2000, None, None),
            ("gpt-4o-mini-2024-07-18", "success", 1163, 50, None, 0, 10, None, None),  # out of the proxy's cache
            ("gpt-4o-mini-2024-07-18", "rate_limited", 0, 0, None, None, 200, None, "429"),
            ("gpt-4o-mini-2024-07-18", "timeout", 0, 0, None, None, 60000, None, "Timeout"),
            ("text-embedding-3-small", "success", 1000, 0, None, Decimal("0.00002"), 300, None, None),
        ],
    ),
    "langfuse": (
        "Langfuse observations",
        ["observations.json", "observations_v2.jsonl", "observations.csv"],
        {"observations that are no generations": 1},
        [
            ("claude-sonnet-4-5", "success", 22140, 159, 22137, Decimal("0.0090351"), 1245, 300, None),
            ("in-house", "success", 40, 50, None, None, 1000, None, None),
            ("claude-sonnet-4-5", "failed", 0, 0, None, None, 1000, None, None),
            ("text-embedding-3-small", "success", 1000, 0, None, Decimal("0.00002"), 100, None, None),
        ],
    ),
    "opentelemetry": (
        "OpenTelemetry traces (OTLP JSON)",
        ["traces.jsonl", "trace.json"],
        {"no call of a model but a span of kind invoke_agent": 1, "spans that are no calls of a model": 3},
        [
            ("gpt-4o", "success", 1163, 50, 1000, None, 2000, 250, None),
            ("gpt-4o", "success", 400, 40, None, None, 1000, None, None),
            ("gpt-4o", "rate_limited", 0, 0, None, None, 1000, None, "RateLimitError"),
            ("gpt-4o-mini", "success", 30, 7, 10, None, 2000, 500, None),
        ],
    ),
    "phoenix": (
        "Phoenix spans",
        ["spans.csv", "spans.json"],
        {
            "a roll-up of its children: its tokens are those of the spans beneath it": 1,
            "spans that are no calls of a model": 2,
        },
        [
            ("gpt-4o", "success", 1476, 50, 1024, Decimal("0.00319"), 1500, 400, None),
            ("gpt-4o", "timeout", 0, 0, None, None, 1000, None, "APITimeoutError"),
            ("text-embedding-3-small", "success", 7, 0, None, None, 100, None, None),
        ],
    ),
}
FILES = [FOLDER / tool / name for tool, (_, names, _, _) in SAMPLES.items() for name in names]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
async def test_the_samples(path: Path) -> None:
    name, _, left_out, expected = SAMPLES[path.parent.name]
    result, calls = await imported(path)
    assert (result.format, result.left_out, result.rejected, result.ignored) == (name, left_out, 0, ())
    assert [told(call) for call in calls] == expected
    assert result.zoneless_times == 0


@pytest.mark.parametrize("tool", SAMPLES)
async def test_each_way_to_write_it_gives_the_same_calls(tool: str) -> None:
    """So an import of one export after another changes nothing."""
    ids = {tuple(call.id for call in (await imported(FOLDER / tool / name))[1]) for name in SAMPLES[tool][1]}
    assert len(ids) == 1


async def test_phoenix_spans_in_parquet_and_as_a_frame(tmp_path: Path) -> None:
    """As pandas writes them: numbers that may be missing are doubles, events are structs."""
    rows = pl.read_csv(FOLDER / "phoenix" / "spans.csv", infer_schema_length=None).to_dicts()
    for row in rows:
        row["events"] = json.loads(row["events"])
        row["start_time"] = datetime.fromisoformat(row["start_time"])
        row["attributes.llm.token_count.prompt"] = float(row["attributes.llm.token_count.prompt"] or math.nan)
    frame = pa.Table.from_pylist(rows)
    pq.write_table(frame, tmp_path / "spans.parquet")
    for source in (tmp_path / "spans.parquet", frame):
        result, calls = await imported(source)
        assert (result.format, [told(call) for call in calls]) == ("Phoenix spans", SAMPLES["phoenix"][3])


async def test_langfuse_observations_in_parquet(tmp_path: Path) -> None:
    """As its blob storage has them: counts and costs are maps."""
    rows = list(map(json.loads, (FOLDER / "langfuse" / "observations_v2.jsonl").read_text().splitlines()))
    counts, costs = ([list(row.pop(name).items()) for row in rows] for name in ("usage_details", "cost_details"))
    for row in rows:
        del row["metadata"], row["model_parameters"]
    table = pa.Table.from_pylist(rows).append_column(
        "usage_details", pa.array(counts, pa.map_(pa.string(), pa.uint64()))
    )
    table = table.append_column("cost_details", pa.array(costs, pa.map_(pa.string(), pa.float64())))
    pq.write_table(table, tmp_path / "observations.parquet")
    result, calls = await imported(tmp_path / "observations.parquet")
    assert (result.format, [told(call) for call in calls]) == ("Langfuse observations", SAMPLES["langfuse"][3])


# LiteLLM


async def test_what_a_spend_log_says() -> None:
    _, calls = await imported(FOLDER / "litellm" / "spend_logs.json")
    first = calls[0]
    assert first.labels == {
        **{"api_key": "shop-backend", "model_group": "small", "provider": "openai", "request_id": "chatcmpl-A1"},
        **{"tags": "checkout, User-Agent: openai", "team": "Shop", "team_id": "team-7", "user": "dana"},
    }
    assert first.price_details is not None
    assert first.price_details.input_price == Decimal("0.00009945")
    assert first.api_response_id == "chatcmpl-A1"
    assert calls[2].labels["cache_hit"] == "true"
    assert [call.token_source for call in calls] == [*["provider"] * 4, "none", "provider"]
    assert calls[5].labels["operation"] == "embeddings"


async def test_sums_over_days_are_no_calls() -> None:
    result, calls = await imported(FOLDER / "litellm" / "by_day.json")
    assert (calls, result.rejected) == ([], 0)
    assert result.left_out == {"sums over days (summarize=false gives the requests)": 1}


def spend(**more: Any) -> dict[str, Any]:
    times = dict.fromkeys(("startTime", "endTime"), "2026-05-07T10:00:00")
    return {"request_id": "r", "call_type": "acompletion", "spend": 0, "model": "m", **times, **more}


@pytest.mark.parametrize(
    ("row", "price"),
    [
        ({"spend": 0.5, "prompt_tokens": 1, "completion_tokens": 1}, Decimal("0.5")),
        ({"spend": 0.0, "prompt_tokens": 1, "completion_tokens": 1}, None),
        ({"spend": "0", "prompt_tokens": 1, "completion_tokens": 1}, None),
        ({"spend": 0.0, "cache_hit": "True", "prompt_tokens": 1, "completion_tokens": 1}, Decimal(0)),
        ({"metadata": {"cost_breakdown": {"total_cost": 0.0}}, "prompt_tokens": 1, "completion_tokens": 1}, Decimal(0)),
        ({"metadata": "not json", "request_tags": "{a,b}", "prompt_tokens": 1, "completion_tokens": 1}, None),
    ],
)
async def test_what_a_cost_of_nothing_means(tmp_path: Path, row: dict[str, Any], price: Decimal | None) -> None:
    call = await imported_row(tmp_path, spend(**row))
    assert call.total_price == price


async def test_anthropics_cache_in_a_spend_log(tmp_path: Path) -> None:
    usage = {"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 100, "prompt_tokens": 1163}
    row = spend(
        prompt_tokens=1163, completion_tokens=50, total_tokens=1213, metadata={"additional_usage_values": usage}
    )
    call = await imported_row(tmp_path, row)
    assert call.prompt_tokens_details is not None
    assert (call.prompt_tokens, call.prompt_tokens_details.cached_tokens) == (1163, 1000)
    assert call.prompt_tokens_details.cache_write_tokens == 100


async def test_a_time_with_a_zone_of_hours_only(tmp_path: Path) -> None:
    """As PostgreSQL writes it."""
    row = spend(prompt_tokens=1, completion_tokens=1, startTime="2026-05-07 12:00:00+02")
    row["endTime"] = "2026-05-07 12:00:01.25+02"
    call = await imported_row(tmp_path, row)
    assert (call.create_time.hour, call.latency_ms) == (10, 1250)


async def test_broken_rows_are_refused(tmp_path: Path) -> None:
    good, bad = spend(prompt_tokens=1, completion_tokens=1), spend(request_id="b", prompt_tokens=-1, startTime="soon")
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", good, bad, {"startTime": "2026-05-07"}, 7))
    assert (len(calls), result.rejected, sum(result.left_out.values())) == (1, 3 - 1, 1)


# Langfuse


async def test_what_an_observation_says() -> None:
    _, calls = await imported(FOLDER / "langfuse" / "observations.json", text_ids=True)
    first, slow, failed, embedding = calls
    assert first.labels == {
        **{"environment": "production", "generation": "answer", "session": "ticket-7"},
        **{"trace": "support", "user": "dana"},
    }
    assert first.user_id.int != 0
    assert (slow.error_message, failed.error_message, failed.token_source) == (None, "overloaded", "none")
    assert embedding.labels["operation"] == "embeddings"


def observation(**more: Any) -> dict[str, Any]:
    base = {"id": "o", "traceId": "t", "type": "GENERATION", "parentObservationId": None, "model": "m"}
    return base | {"startTime": "2026-05-08T10:00:00Z", "endTime": None} | more


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input": 3, "input_cached_tokens": 7, "output": 2, "output_reasoning_tokens": 4, "total": 16}, (10, 6, 7, 4)),
        ({"input": 3, "cache_read_input_tokens": 7, "output": 2, "total": 12}, (10, 2, 7, None)),
        ({"input": 3, "input_cache_creation": 5, "input_audio": 1, "output": 2, "total": 11}, (9, 2, None, None)),
        ({"input": 10, "input_cached_tokens": 7, "output": 2, "total": 12}, (10, 2, 7, None)),  # a part, not beside
        ({"input": 10, "output": 2, "total": 12}, (10, 2, None, None)),
        ({"input": 10, "output": 2}, (10, 2, None, None)),
        ({"input": 10, "total": 12}, (10, 2, None, None)),
    ],
)
async def test_parts_of_tokens(tmp_path: Path, usage: dict[str, int], expected: tuple[Any, ...]) -> None:
    call = await imported_row(tmp_path, observation(usageDetails=usage))
    prompt, completion = call.prompt_tokens_details, call.completion_tokens_details
    details = (prompt and prompt.cached_tokens, completion and completion.reasoning_tokens)
    assert (call.prompt_tokens, call.completion_tokens, *details) == expected


LIFETIMES = {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400}


@pytest.mark.parametrize(
    "usage",
    [
        {"input_cache_read": 9, "input_cache_creation": 0, **{f"input_{name}": LIFETIMES[name] for name in LIFETIMES}},
        {"cache_read_input_tokens": 9, "cache_creation_input_tokens": 1000, **LIFETIMES},  # said twice
        {"cache_read_input_tokens": 9, **{f"cache_creation.{name}": LIFETIMES[name] for name in LIFETIMES}},
    ],
)
@pytest.mark.parametrize("is_sum", [True, False])
async def test_what_was_written_to_a_cache_by_lifetime(tmp_path: Path, usage: dict[str, int], is_sum: bool) -> None:
    counts = {"input": 3, "output": 2, **usage}
    total = sum(counts.values()) if is_sum else 1014
    call = await imported_row(tmp_path, observation(usageDetails={**counts, "total": total}))
    details = call.prompt_tokens_details
    assert details is not None
    found = (details.cached_tokens, details.cache_write_tokens, details.model_dump().get("cache_write_1h_tokens"))
    assert (call.prompt_tokens, *found) == (1012, 9, 1000, 400)


@pytest.mark.parametrize(("cached", "prompt"), [(400, 1000), (2000, 3000)])
async def test_parts_that_are_in_no_total(tmp_path: Path, cached: int, prompt: int) -> None:
    usage = {"input": 1000, "output": 100, "total": 1100, "input_cache_read": cached}
    call = await imported_row(tmp_path, observation(usageDetails=usage))
    assert call.prompt_tokens_details is not None
    assert (call.prompt_tokens, call.prompt_tokens_details.cached_tokens) == (prompt, cached)


async def test_a_price_is_the_total_of_its_details(tmp_path: Path) -> None:
    costs = {"input": 0.1, "output": 0.2, "total": 0.3}
    call = await imported_row(tmp_path, observation(usageDetails={"input": 1, "output": 2}, costDetails=costs))
    assert call.total_price == Decimal("0.3")


def test_objects_that_pandas_wrote_to_a_table_are_read() -> None:
    assert as_object("{'usage': {'cached': 3, 'audio': None}, 'ok': True}") == {
        "usage": {"cached": 3, "audio": None},
        "ok": True,
    }
    for text in ("{'a': nan}", "{'a': f()}", "{", "{'a'", f"{{'a': '{'x' * 2_000_000}'}}", "{'a':" * 5_000):
        assert as_object(text) == {}


# Traces


def otlp(*spans: dict[str, Any], resource: Any = None) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": resource or {}, "scopeSpans": [{"spans": list(spans)}]}]}


def span(name: str, parent: str = "", **more: Any) -> dict[str, Any]:
    pairs: dict[str, Any] = {
        "gen_ai.request.model": {"stringValue": "m"},
        "gen_ai.usage.input_tokens": {"intValue": "10"},
    }
    pairs |= {"gen_ai.usage.output_tokens": {"intValue": 2}}
    start = {"startTimeUnixNano": "1778320800000000000", "endTimeUnixNano": "1778320801500000000"}
    attributes = [{"key": key, "value": value} for key, value in pairs.items()]
    return {"traceId": "t", "spanId": name, "parentSpanId": parent, "attributes": attributes, **start, **more}


async def test_a_span_of_vercels_sdk_names_its_model_itself(tmp_path: Path) -> None:
    said = {"ai.model.id": "gpt-4o", "ai.model.provider": "openai.chat"}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in said.items()]
    tokens = {"key": "ai.usage.inputTokens", "value": {"intValue": "5"}}
    call = await imported_row(tmp_path, otlp(span("a", attributes=[*attributes, tokens])))
    assert (call.model_name, call.labels["provider"], call.prompt_tokens) == ("gpt-4o", "openai.chat", 5)


async def test_a_framework_above_the_client_reports_the_same_call(tmp_path: Path) -> None:
    """Also where what lies between them is in another export."""
    between = {"traceId": "t", "spanId": "b", "parentSpanId": "a", "name": "step", "startTimeUnixNano": "1"}
    result, calls = await imported(
        write_jsonl(tmp_path / "a.jsonl", otlp(span("a")), otlp(between), otlp(span("c", "b")))
    )
    assert (len(calls), calls[0].latency_ms) == (1, 1500)
    assert result.left_out["a roll-up of its children: its tokens are those of the spans beneath it"] == 1


@pytest.mark.parametrize("unset", [0, "0"])
async def test_a_span_that_has_not_ended_is_a_call_of_unknown_latency(tmp_path: Path, unset: object) -> None:
    call = await imported_row(tmp_path, otlp(span("a", endTimeUnixNano=unset)))
    assert (call.prompt_tokens, call.latency_ms) == (10, None)


@pytest.mark.parametrize("code", [2, "STATUS_CODE_ERROR"])
async def test_a_span_that_failed_says_more_by_its_http_code(tmp_path: Path, code: object) -> None:
    pairs = {"gen_ai.request.model": {"stringValue": "m"}, "http.response.status_code": {"intValue": "504"}}
    attributes = [{"key": key, "value": value} for key, value in pairs.items()]
    call = await imported_row(tmp_path, otlp(span("a", attributes=attributes, status={"code": code})))
    assert (call.status, call.error_code) == ("timeout", "504")


async def test_a_total_says_that_a_spans_input_is_without_the_cache(tmp_path: Path) -> None:
    counts = {"input_tokens": 4299, "output_tokens": 631, "total_tokens": 58291}
    counts |= {"cache_read_input_tokens": 35574, "cache_write_input_tokens": 17787}
    attributes = [{"key": f"gen_ai.usage.{name}", "value": {"intValue": str(n)}} for name, n in counts.items()]
    attributes.append({"key": "gen_ai.request.model", "value": {"stringValue": "claude"}})
    call = await imported_row(tmp_path, otlp(span("a", attributes=attributes)))
    assert (call.prompt_tokens, call.completion_tokens) == (57660, 631)


async def test_names_and_values_of_other_writers(tmp_path: Path) -> None:
    """Snake case, attributes as an object, statuses by name, lists and objects as values."""
    attributes: dict[str, Any] = {
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 2,
    }
    snake = {
        **{"trace_id": "t", "span_id": "s", "start_time_unix_nano": 1778320800000000000, "attributes": attributes},
        **{"end_time_unix_nano": 1778320801000000000, "status": {"code": "STATUS_CODE_ERROR", "message": "gone"}},
    }
    resource = {
        "attributes": [
            {"key": "service.name", "value": {"string_value": "shop"}},
            {
                "key": "process.args",
                "value": {
                    "arrayValue": {
                        "values": [{"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": True}}]}}]
                    }
                },
            },
        ]
    }
    row = {"resource_spans": [{"resource": resource, "scope_spans": [{"spans": [snake, "odd"]}]}, "odd"]}
    call = await imported_row(tmp_path, row)
    assert (call.status, call.error_message, call.latency_ms, call.total_tokens) == ("failed", "gone", 1000, 3)
    assert call.labels["service"] == "shop"


async def test_lines_of_other_signals_are_left_out(tmp_path: Path) -> None:
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", otlp(span("a")), {"resourceLogs": []}, "odd"))
    assert (len(calls), result.left_out, result.rejected) == (1, {"lines that are no calls": 1}, 1)


async def test_a_long_trace_in_one_document_is_read_by_resources(tmp_path: Path) -> None:
    whole = otlp(span("a"))
    whole["resourceSpans"] += copy.deepcopy(otlp(span("b"))["resourceSpans"])
    (tmp_path / "trace.json").write_text(json.dumps(whole, indent=1))
    result, calls = await imported(tmp_path / "trace.json")
    assert (len(calls), result.format) == (2, "OpenTelemetry traces (OTLP JSON)")
