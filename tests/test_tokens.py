"""Tokens of every provider and tool, as they really come."""

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofa_usage.errors import UsageError
from mofa_usage.tokens import (
    Reading,
    Readings,
    ReportedUsage,
    TokenCounts,
    TokensOption,
    TokenValueError,
    count_tokens,
    evidence_of,
    find_usage,
    read_tokens,
    token_columns,
)

Details = dict[str, Any]

# What each really sends; prompt, completion, prompt details, completion details.
PAYLOADS: dict[str, tuple[Details, int | None, int | None, Details, Details]] = {
    "openai chat": (
        {
            "id": "chatcmpl-1",
            "model": "gpt",
            "choices": [{"message": {"content": "hi"}}],
            "usage": {
                "prompt_tokens": 2006,
                "completion_tokens": 300,
                "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0, "cache_write_tokens": 40},
                "completion_tokens_details": {
                    "reasoning_tokens": 128,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 7,
                    "rejected_prediction_tokens": 9,
                },
            },
        },
        2006,
        300,
        {"cached_tokens": 1920, "audio_tokens": 0, "cache_write_tokens": 40},
        {
            "reasoning_tokens": 128,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 7,
            "rejected_prediction_tokens": 9,
        },
    ),
    "openai responses": (
        {
            "response": {
                "usage": {
                    "input_tokens": 2600,
                    "input_tokens_details": {
                        "cached_tokens": 2000,
                        "cache_write_tokens": 400,
                        "cache_write_tokens_details": {"ttl_30m_tokens": 300, "ttl_12h_tokens": 100},
                    },
                    "output_tokens": 50,
                    "output_tokens_details": {"reasoning_tokens": 20},
                    "total_tokens": 2650,
                }
            }
        },
        2600,
        50,
        {
            "cached_tokens": 2000,
            "cache_write_tokens": 400,
            "cache_write_30m_tokens": 300,
            "cache_write_12h_tokens": 100,
        },
        {"reasoning_tokens": 20},
    ),
    "openai realtime": (
        {
            "usage": {
                "total_tokens": 253,
                "input_tokens": 132,
                "output_tokens": 121,
                "input_token_details": {
                    "text_tokens": 119,
                    "audio_tokens": 13,
                    "cached_tokens": 64,
                    "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4},
                },
                "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
            }
        },
        132,
        121,
        {
            "text_tokens": 119,
            "audio_tokens": 13,
            "cached_tokens": 64,
            "cached_text_tokens": 60,
            "cached_audio_tokens": 4,
        },
        {"text_tokens": 30, "audio_tokens": 91},
    ),
    "openai embeddings": ({"usage": {"prompt_tokens": 8, "total_tokens": 8}}, 8, 0, {}, {}),
    "deepseek": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "total_tokens": 105,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        100,
        5,
        {"cached_tokens": 64},
        {},
    ),
    "xai, reasoning beside the completion": (
        {
            "prompt_tokens": 30,
            "completion_tokens": 10,
            "total_tokens": 240,
            "completion_tokens_details": {"reasoning_tokens": 200},
        },
        30,
        210,
        {},
        {"reasoning_tokens": 200},
    ),
    "anthropic": (
        {
            "id": "msg_1",
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 2285,
                "cache_read_input_tokens": 22137,
                "cache_creation": {"ephemeral_5m_input_tokens": 285, "ephemeral_1h_input_tokens": 2000},
                "output_tokens": 159,
                "output_tokens_details": {"thinking_tokens": 100},
                "service_tier": "batch",
                "server_tool_use": {"web_search_requests": 2},
            },
        },
        24425,
        159,
        {
            "cached_tokens": 22137,
            "cache_write_tokens": 2285,
            "cache_write_5m_tokens": 285,
            "cache_write_1h_tokens": 2000,
        },
        {"reasoning_tokens": 100},
    ),
    "claude's session log": (
        {"message": {"id": "msg_x", "usage": {"input_tokens": 3, "cache_read_input_tokens": 10, "output_tokens": 1}}},
        13,
        1,
        {"cached_tokens": 10},
        {},
    ),
    "anthropic's usage report": (
        {
            "uncached_input_tokens": 10,
            "cache_read_input_tokens": 5,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3},
            "output_tokens": 4,
        },
        20,
        4,
        {"cached_tokens": 5, "cache_write_tokens": 5, "cache_write_5m_tokens": 2, "cache_write_1h_tokens": 3},
        {},
    ),
    "gemini": (
        {
            "usageMetadata": {
                "promptTokenCount": 9,
                "candidatesTokenCount": 100,
                "thoughtsTokenCount": 50,
                "toolUsePromptTokenCount": 11,
                "cachedContentTokenCount": 4,
                "totalTokenCount": 170,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 4}],
            }
        },
        20,
        150,
        {"cached_tokens": 4, "tool_use_tokens": 11, "text_tokens": 5, "audio_tokens": 4},
        {"reasoning_tokens": 50},
    ),
    "google-genai, only thoughts": (
        {"usage_metadata": {"prompt_token_count": 9, "thoughts_token_count": 50, "total_token_count": 59}},
        9,
        50,
        {},
        {"reasoning_tokens": 50},
    ),
    "bedrock converse": (
        {
            "usage": {
                "inputTokens": 30,
                "outputTokens": 628,
                "totalTokens": 1678,
                "cacheReadInputTokens": 1000,
                "cacheWriteInputTokens": 20,
            }
        },
        1050,
        628,
        {"cached_tokens": 1000, "cache_write_tokens": 20},
        {},
    ),
    "bedrock's invocation log": (
        {
            "input": {"inputTokenCount": 30, "inputBodyJson": {"messages": []}, "cacheReadInputTokenCount": 100},
            "output": {"outputTokenCount": 6},
        },
        130,
        6,
        {"cached_tokens": 100},
        {},
    ),
    "mistral": (
        {"usage": {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50, "num_cached_tokens": 3}},
        16,
        34,
        {"cached_tokens": 3},
        {},
    ),
    "cohere": (
        {
            "usage": {
                "billed_units": {"input_tokens": 17, "output_tokens": 12},
                "tokens": {"input_tokens": 215, "output_tokens": 13},
                "cached_tokens": 20,
            }
        },
        215,
        13,
        {"cached_tokens": 20},
        {},
    ),
    "cohere 1": (
        {"meta": {"billed_units": {"input_tokens": 17}, "tokens": {"input_tokens": 215, "output_tokens": 13}}},
        215,
        13,
        {},
        {},
    ),
    "ollama": ({"done": True, "prompt_eval_count": 26, "eval_count": 290, "eval_duration": 47}, 26, 290, {}, {}),
    "litellm": (
        {
            "usage": {
                "prompt_tokens": 2323,
                "completion_tokens": 50,
                "total_tokens": 2373,
                "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_tokens": 160, "text_tokens": None},
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 160,
            }
        },
        2323,
        50,
        {"cached_tokens": 1000, "cache_write_tokens": 160},
        {},
    ),
    "litellm's spend log": (
        {
            "spend": 2e-05,
            "prompt_tokens": 20,
            "completion_tokens": 4,
            "total_tokens": 24,
            "metadata": json.dumps({"usage_object": {"prompt_tokens": 20}}),
        },
        20,
        4,
        {},
        {},
    ),
    "litellm's spend log, parsed": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 4,
            "total_tokens": 24,
            "metadata": {
                "usage_object": {
                    "prompt_tokens": 20,
                    "completion_tokens": 4,
                    "prompt_tokens_details": {"cached_tokens": 12},
                }
            },
        },
        20,
        4,
        {"cached_tokens": 12},
        {},
    ),
    "langchain": (
        {
            "usage_metadata": {
                "input_tokens": 350,
                "output_tokens": 240,
                "total_tokens": 590,
                "input_token_details": {
                    "audio": 10,
                    "cache_creation": 0,
                    "cache_read": 100,
                    "ephemeral_1h_input_tokens": 200,
                },
                "output_token_details": {"audio": 10, "reasoning": 200},
            }
        },
        350,
        240,
        {"audio_tokens": 10, "cached_tokens": 100, "cache_write_tokens": 200, "cache_write_1h_tokens": 200},
        {"audio_tokens": 10, "reasoning_tokens": 200},
    ),
    "langchain's llm_output": (
        {"llm_output": {"token_usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}},
        1,
        2,
        {},
        {},
    ),
    "vercel 4": ({"usage": {"promptTokens": 787, "completionTokens": 60, "totalTokens": 847}}, 787, 60, {}, {}),
    "vercel 5": (
        {
            "usage": {
                "inputTokens": 90,
                "outputTokens": 9,
                "totalTokens": 99,
                "reasoningTokens": 4,
                "cachedInputTokens": 8,
            }
        },
        90,
        9,
        {"cached_tokens": 8},
        {"reasoning_tokens": 4},
    ),
    "vercel 5 with anthropic": (
        {"usage": {"inputTokens": 3, "outputTokens": 159, "totalTokens": 162, "cachedInputTokens": 22137}},
        22140,
        159,
        {"cached_tokens": 22137},
        {},
    ),
    "vercel 5 with google": (
        {"usage": {"inputTokens": 9, "outputTokens": 100, "totalTokens": 159, "reasoningTokens": 50}},
        9,
        150,
        {},
        {"reasoning_tokens": 50},
    ),
    "vercel 6": (
        {
            "usage": {
                "inputTokens": 2302,
                "inputTokenDetails": {"noCacheTokens": 18, "cacheReadTokens": 2200, "cacheWriteTokens": 84},
                "outputTokens": 141,
                "outputTokenDetails": {"textTokens": 100, "reasoningTokens": 41},
                "totalTokens": 2443,
                "cachedInputTokens": 2200,
                "raw": {"input_tokens": 18, "cache_read_input_tokens": 2200},
            }
        },
        2302,
        141,
        {"cached_tokens": 2200, "cache_write_tokens": 84},
        {"text_tokens": 100, "reasoning_tokens": 41},
    ),
    "vercel 6, provider": (
        {
            "usage": {
                "inputTokens": {"total": 2302, "noCache": 18, "cacheRead": 2200, "cacheWrite": 84},
                "outputTokens": {"total": 141, "text": 100, "reasoning": 41},
            }
        },
        2302,
        141,
        {"cached_tokens": 2200, "cache_write_tokens": 84},
        {"text_tokens": 100, "reasoning_tokens": 41},
    ),
    "vercel telemetry": (
        {"attributes": {"ai.usage.promptTokens": 10, "ai.usage.completionTokens": 4, "gen_ai.request.model": "m"}},
        10,
        4,
        {},
        {},
    ),
    "opentelemetry, deprecated": (
        {"gen_ai.usage.prompt_tokens": 10, "gen_ai.usage.completion_tokens": 4, "llm.usage.total_tokens": 14},
        10,
        4,
        {},
        {},
    ),
    "opentelemetry 1.41": (
        {
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 40,
            "gen_ai.usage.cache_read.input_tokens": 50,
            "gen_ai.usage.cache_creation.input_tokens": 25,
            "gen_ai.usage.reasoning.output_tokens": 30,
        },
        100,
        40,
        {"cached_tokens": 50, "cache_write_tokens": 25},
        {"reasoning_tokens": 30},
    ),
    "opentelemetry, head, nested": (
        {
            "attributes": {
                "gen_ai": {
                    "usage": {
                        "input_tokens": 100,
                        "output_tokens": 40,
                        "cache_write": {"input_tokens": 25},
                        "audio": {"input_tokens": 7, "output_tokens": 3, "cache_read": {"input_tokens": 2}},
                        "image": {"input_tokens": 6},
                        "text": {"input_tokens": 87, "output_tokens": 37},
                    }
                },
                "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 25,
            }
        },
        100,
        40,
        {
            "cache_write_tokens": 25,
            "cache_write_1h_tokens": 25,
            "audio_tokens": 7,
            "cached_audio_tokens": 2,
            "image_tokens": 6,
            "text_tokens": 87,
        },
        {"audio_tokens": 3, "text_tokens": 37},
    ),
    "opentelemetry, columns": (
        {
            "gen_ai_usage_input_tokens": "100",
            "gen_ai_usage_output_tokens": "40",
            "gen_ai_usage_cache_read_input_tokens": "50",
            "gen_ai_usage_details_reasoning_tokens": "8",
        },
        100,
        40,
        {"cached_tokens": 50},
        {"reasoning_tokens": 8},
    ),
    "a usage that pandas wrote to a CSV": (
        {"usage": "{'prompt_tokens': 100, 'completion_tokens': 40, 'prompt_tokens_details': {'cached_tokens': 50}}"},
        100,
        40,
        {"cached_tokens": 50},
        {},
    ),
    "pydantic-ai's spans": (
        {
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 40,
            "gen_ai.usage.details.input_tokens": 30,
            "gen_ai.usage.details.output_tokens": 40,
            "gen_ai.usage.details.cache_read_input_tokens": 50,
            "gen_ai.usage.details.cache_write_tokens": 20,
        },
        100,
        40,
        {"cached_tokens": 50, "cache_write_tokens": 20},
        {},
    ),
    "openinference": (
        {
            "attributes.llm.token_count.prompt": 100.0,
            "attributes.llm.token_count.completion": 40.0,
            "attributes.llm.token_count.total": 140.0,
            "attributes.llm.token_count.prompt_details.cache_read": 50.0,
            "attributes.llm.token_count.prompt_details.cache_write": float("nan"),
            "attributes.llm.token_count.prompt_details.audio": 1.0,
            "attributes.llm.token_count.completion_details.reasoning": 30.0,
        },
        100,
        40,
        {"cached_tokens": 50, "audio_tokens": 1},
        {"reasoning_tokens": 30},
    ),
    "claude code's event": (
        {"input_tokens": 3, "output_tokens": 159, "cache_read_tokens": 22137, "cache_creation_tokens": 17285},
        39425,
        159,
        {"cached_tokens": 22137, "cache_write_tokens": 17285},
        {},
    ),
    "ccusage": (
        {
            "inputTokens": 5000,
            "outputTokens": 10,
            "cacheCreationTokens": 500,
            "cacheReadTokens": 4000,
            "totalTokens": 9510,
        },
        9500,
        10,
        {"cached_tokens": 4000, "cache_write_tokens": 500},
        {},
    ),
    "codex": (
        {
            "type": "event_msg",
            "payload": {
                "type": "token_count",
                "info": {
                    "total_token_usage": {"input_tokens": 90000, "output_tokens": 900, "total_tokens": 90900},
                    "last_token_usage": {
                        "input_tokens": 8000,
                        "cached_input_tokens": 7000,
                        "output_tokens": 100,
                        "reasoning_output_tokens": 64,
                        "total_tokens": 8100,
                    },
                },
            },
        },
        8000,
        100,
        {"cached_tokens": 7000},
        {"reasoning_tokens": 64},
    ),
    "pydantic-ai": (
        {
            "usage": {
                "input_tokens": 100,
                "cache_read_tokens": 60,
                "cache_write_tokens": 0,
                "output_tokens": 5,
                "details": {"reasoning_tokens": 3},
            }
        },
        100,
        5,
        {"cached_tokens": 60, "cache_write_tokens": 0},
        {"reasoning_tokens": 3},
    ),
    "opencode": (
        {
            "tokens": {
                "input": 375,
                "output": 123,
                "reasoning": 69,
                "total": 66423,
                "cache": {"read": 65856, "write": 0},
            }
        },
        66231,
        192,
        {"cached_tokens": 65856, "cache_write_tokens": 0},
        {"reasoning_tokens": 69},
    ),
    "langfuse": (
        {
            "usageDetails": {
                "input": 20,
                "output": 5,
                "total": 155,
                "input_cached_tokens": 100,
                "output_reasoning_tokens": 30,
            }
        },
        120,
        35,
        {"cached_tokens": 100},
        {"reasoning_tokens": 30},
    ),
    "azure's traces": ({"ContextTokens": "4808", "GeneratedTokens": "10"}, 4808, 10, {}, {}),
    "openrouter": (
        {"native_tokens_prompt": 70, "native_tokens_completion": 9, "tokens_prompt": 60, "tokens_completion": 8},
        70,
        9,
        {},
        {},
    ),
    "ours": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": json.dumps({"cached_tokens": 4, "cache_write_1h_tokens": 2, "region": {"eu": 1}}),
            "completion_tokens_details": {"reasoning_tokens": None, "note": "x"},
        },
        10,
        5,
        {"cached_tokens": 4, "cache_write_tokens": 2, "cache_write_1h_tokens": 2, "region": {"eu": 1}},
        {"note": "x"},
    ),
}


@pytest.mark.parametrize("who", PAYLOADS)
def test_the_usage_of(who: str) -> None:
    row, prompt, completion, prompt_details, completion_details = PAYLOADS[who]
    counts = read_tokens({"timestamp": "2026-05-01T12:00:00Z", "model": "m", **row})
    assert counts.contradiction is None
    assert (counts.prompt_tokens, counts.completion_tokens) == (prompt, completion)
    assert prompt is not None
    assert completion is not None
    assert counts.total_tokens == prompt + completion
    assert counts.token_source == "provider"
    assert counts.prompt_details == prompt_details
    assert counts.completion_details == completion_details


def _shuffled(value: Any, order: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    keys = list(value)
    order.shuffle(keys)
    return {key: _shuffled(value[key], order) for key in keys}


def _flat(value: Any, before: str = "") -> dict[str, Any]:
    """Nested JSON as a table's columns with dotted names."""
    if not isinstance(value, dict):
        return {before: value}
    return {
        path: leaf
        for key, item in value.items()
        for path, leaf in _flat(item, f"{before}.{key}" if before else key).items()
    }


@pytest.mark.parametrize("who", PAYLOADS)
def test_the_order_and_the_nesting_of_keys_do_not_matter(who: str) -> None:
    row = PAYLOADS[who][0]
    expected = read_tokens(row)
    for seed in range(3):
        assert read_tokens(_shuffled(row, random.Random(seed))) == expected
    flat = _flat(row)
    counts = read_tokens({path: str(leaf) if type(leaf) is int else leaf for path, leaf in flat.items()})
    if who != "ours":  # a further key that is an object is flat there
        assert counts == expected
    usage = find_usage(flat)
    assert usage is not None
    assert set(usage.names.values()) & set(flat) <= set(token_columns(flat))


def test_what_prices_follow_is_kept() -> None:
    assert read_tokens(PAYLOADS["anthropic"][0]).terms == {
        "service_tier": "batch",
        "web_search_requests": 2,
    }


TRACES: Details = {
    "gen_ai.usage.input_tokens": 4299,
    "gen_ai.usage.output_tokens": 631,
    "gen_ai.usage.cache_read_input_tokens": 35574,
    "gen_ai.usage.cache_write_input_tokens": 17787,
    "gen_ai.usage.total_tokens": 58291,
}
INCLUSIVE: Details = {
    "gen_ai.usage.input_tokens": 1163,
    "gen_ai.usage.output_tokens": 50,
    "gen_ai.usage.cache_read_input_tokens": 1000,
    "gen_ai.usage.cache_creation_input_tokens": 160,
    "gen_ai.usage.total_tokens": 1213,
}


@pytest.mark.parametrize(
    ("row", "evidence", "prompt"),
    [
        (TRACES, "exclusive", 57660),
        (INCLUSIVE, "inclusive", 1163),
        ({"input_tokens": "3", "output_tokens": "1", "cache_read_input_tokens": "9"}, "exclusive", 12),
        ({"input_tokens": "9", "output_tokens": "1", "cache_read_input_tokens": "3"}, "nothing", 12),
        ({"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 3}, "nothing", 9),
        ({"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 0, "total_tokens": 10}, "nothing", 9),
        ({"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 3, "total_tokens": 99}, "contradiction", 9),
        ({"prompt_tokens": 4299, "completion_tokens": 631, "total_tokens": 58291}, "contradiction", 4299),
    ],
)
def test_what_a_row_is_evidence_for(row: Details, evidence: str, prompt: int) -> None:
    usage = find_usage(row)
    assert usage is not None
    assert evidence_of(usage) == evidence
    assert read_tokens(row).prompt_tokens == prompt


def _read(rows: list[Details], tokens: TokensOption = "auto") -> tuple[list[TokenCounts], tuple[str, ...]]:
    usages = [usage for row in rows if (usage := find_usage(row)) is not None]
    readings = Readings(tokens)
    for usage in usages:
        readings.add(usage)
    return [count_tokens(usage, readings.of(usage)) for usage in usages], readings.sentences()


UNDECIDED: Details = {
    "input_tokens": "5000",
    "output_tokens": "159",
    "cache_read_input_tokens": "4000",
    "cache_creation_input_tokens": "500",
}


def test_where_no_row_decides_the_names_do() -> None:
    (counts,), sentences = _read([UNDECIDED])
    assert counts.prompt_tokens == 9500
    assert sentences == ("input_tokens read as exclusive of cached ones (no row decides: Anthropic's names mean that)",)
    mapped = find_usage(UNDECIDED, {"prompt_tokens": "input_tokens", "model_name": "model"})
    assert mapped is not None
    assert count_tokens(mapped, Readings().of(mapped)).prompt_tokens == 9500


@pytest.mark.parametrize(("tokens", "prompt"), [("inclusive", 5000), ("exclusive", 9500)])
def test_the_caller_may_say_it(tokens: TokensOption, prompt: int) -> None:
    (counts,), sentences = _read([UNDECIDED], tokens)
    assert (counts.prompt_tokens, counts.contradiction) == (prompt, None)
    assert sentences == (f"input_tokens read as {tokens} of cached ones (as asked for)",)


def test_rows_that_decide_decide_for_all_of_the_file() -> None:
    deciding = {**UNDECIDED, "total_tokens": "5159"}
    (first, second), sentences = _read([UNDECIDED, deciding])
    assert first.prompt_tokens == second.prompt_tokens == 5000
    assert sentences == ("input_tokens read as inclusive of cached ones (decided by 1 row)",)


def test_rows_that_contradict_the_decision_say_so() -> None:
    exclusive, inclusive = {**UNDECIDED, "total_tokens": "9659"}, {**UNDECIDED, "total_tokens": "5159"}
    counts, sentences = _read([exclusive, exclusive, inclusive])
    assert [one.contradiction is None for one in counts] == [True, True, False]
    assert sentences == ("input_tokens read as exclusive of cached ones (decided by 2 rows, 1 contradicts)",)
    assert counts[2].contradiction_kind == (
        "total_tokens says that the prompt tokens are inclusive of cached ones, and they are read as exclusive"
    )
    assert counts[2].contradiction == f"{counts[2].contradiction_kind}: prompt 9500, completion 159, total 5159"


def test_a_tie_goes_to_the_names() -> None:
    counts, sentences = _read([{**UNDECIDED, "total_tokens": "9659"}, {**UNDECIDED, "total_tokens": "5159"}])
    assert [one.prompt_tokens for one in counts] == [9500, 9500]
    assert sentences == (
        "input_tokens read as exclusive of cached ones (1 rows say each: Anthropic's names mean that)",
    )


def test_each_set_of_names_is_decided_by_its_own_rows() -> None:
    counts, sentences = _read([TRACES, UNDECIDED, {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 3}])
    assert [one.prompt_tokens for one in counts] == [57660, 9500, 9]
    assert [sentence.split(" read as ")[1].split(" of ")[0] for sentence in sentences] == [
        "exclusive",
        "exclusive",
        "inclusive",
    ]


def test_reasoning_beside_the_completion_is_decided_alike() -> None:
    rows: list[Details] = [
        {"inputTokens": 9, "outputTokens": 100, "totalTokens": 159, "reasoningTokens": 50},
        {"inputTokens": 9, "outputTokens": 100, "reasoningTokens": 20},
    ]
    counts, sentences = _read(rows)
    assert [one.completion_tokens for one in counts] == [150, 120]
    assert sentences == ("outputTokens read as exclusive of reasoning ones (decided by 1 row)",)


def test_an_asked_for_reading_takes_totals_that_leave_out_the_cached_ones() -> None:
    row = {"inputTokens": 500, "outputTokens": 159, "totalTokens": 659, "cachedInputTokens": 100}
    (counts,), _ = _read([row], "exclusive")
    assert (counts.prompt_tokens, counts.total_tokens, counts.contradiction) == (600, 759, None)
    (counts,), _ = _read([row])
    assert (counts.prompt_tokens, counts.total_tokens) == (500, 659)


def test_more_cached_than_prompt_tokens_cannot_be_inclusive() -> None:
    (counts,), _ = _read([{"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 9}], "inclusive")
    assert counts.contradiction == ("cached tokens exceed the prompt tokens that are read as inclusive of them: 9 of 3")
    assert (counts.prompt_tokens, counts.prompt_details) == (3, {})


def test_a_contradiction_keeps_what_the_row_says() -> None:
    counts = read_tokens({"prompt_tokens": 4299, "completion_tokens": 631, "total_tokens": 58291})
    assert (counts.prompt_tokens, counts.completion_tokens, counts.total_tokens) == (4299, 631, 58291)
    assert counts.contradiction_kind == "total_tokens contradicts the prompt and completion tokens"
    assert counts.contradiction == f"{counts.contradiction_kind}: prompt 4299, completion 631, total 58291"


def test_a_part_that_exceeds_its_whole_is_a_contradiction() -> None:
    counts = read_tokens({"prompt_tokens": 1, "completion_tokens": 2, "completion_tokens_details": {"audio_tokens": 3}})
    assert counts.contradiction == "audio_tokens 3 exceed completion_tokens 2"
    assert counts.completion_details == {}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt_tokens": None, "completion_tokens": None}, (None, None, None, "none")),
        ({"prompt_tokens": "", "completion_tokens": " "}, (None, None, None, "none")),
        ({"model": "m"}, (None, None, None, "none")),
        ({"usage": None}, (None, None, None, "none")),
        ({"usage": {}}, (None, None, None, "none")),
        ({"usage": {"prompt_tokens": 5}}, (5, None, None, "partial")),
        ({"eval_count": 5}, (None, 5, None, "completion_only")),
        ({"usage": {"total_tokens": 5}}, (None, None, 5, "none")),
        ({"prompt_tokens": 5, "total_tokens": 7}, (5, 2, 7, "provider")),
        ({"completion_tokens": 5, "total_tokens": 7}, (2, 5, 7, "provider")),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (0, 0, 0, "provider")),
        ({"prompt_tokens": 0, "completion_tokens": 0, "token_source": "none"}, (None, None, None, "none")),
        (
            {"prompt_tokens": 5, "completion_tokens": 0, "completion_tokens_details": {"token_source": "partial"}},
            (5, None, None, "partial"),
        ),
        (
            {"prompt_tokens": 0, "completion_tokens": 3, "token_source": "completion_only"},
            (None, 3, None, "completion_only"),
        ),
        ({"prompt_tokens": 2, "completion_tokens": 3, "token_source": "estimated"}, (2, 3, 5, "estimated")),
    ],
)
def test_what_is_unknown_stays_unknown(row: Details, expected: tuple[Any, ...]) -> None:
    counts = read_tokens(row)
    assert (counts.prompt_tokens, counts.completion_tokens, counts.total_tokens, counts.token_source) == expected
    assert "token_source" not in counts.completion_details


def test_an_estimate_is_called_one() -> None:
    assert read_tokens({"prompt_tokens": 5, "completion_tokens": 7}, estimated=True).token_source == "estimated"
    assert read_tokens({"prompt_tokens": 5}, estimated=True).token_source == "partial"


@pytest.mark.parametrize("value", [12, 12.0, "12", " 12 ", "12.0", "1.2e1", Decimal("12")])
def test_whole_numbers_in_every_kind(value: object) -> None:
    assert read_tokens({"prompt_tokens": value, "completion_tokens": 1}).prompt_tokens == 12


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (-1, "must not be negative"),
        ("-1", "must not be negative"),
        (1.5, "is not a whole number"),
        ("1.5", "is not a whole number"),
        (float("inf"), "is out of range"),
        ("1e30", "is out of range"),
        ("many", "is not a number"),
        ("1,234", "is not a number"),
        ("1_234", "is not a number"),
        (True, "is not a number"),
        ([1], "is not a number"),
    ],
)
def test_a_count_that_is_none_is_refused_by_its_name(value: object, rule: str) -> None:
    with pytest.raises(TokenValueError) as refused:
        find_usage({"usage": {"input_tokens": value, "output_tokens": 1}})
    assert refused.value.kind == f"prompt_tokens {rule}"
    assert refused.value.name == "usage.input_tokens"
    assert str(refused.value) == f"prompt_tokens {rule}: {str(value)!r} in 'usage.input_tokens'"


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(UsageError, match="auto"):
        Readings("both")  # type: ignore[arg-type]


def test_columns_of_a_table() -> None:
    header = ["timestamp", "Model", "Prompt Tokens", "outputTokens", "usage.total_tokens", "cache_read_input_tokens"]
    header += ["usage", "input_tokens_details", "completion_tokens_details"]
    header += ["input", "output", "tokens", "prompt", "session_tokens_left", "usage_prompt_tokens_details_audio_tokens"]
    assert token_columns(header) == {
        "Prompt Tokens": "prompt_tokens",
        "outputTokens": "completion_tokens",
        "usage.total_tokens": "total_tokens",
        "cache_read_input_tokens": "prompt_tokens_details.cached_tokens",
        "usage": "usage",
        "input_tokens_details": "prompt_tokens_details",
        "completion_tokens_details": "completion_tokens_details",
        "usage_prompt_tokens_details_audio_tokens": "prompt_tokens_details.audio_tokens",
    }


def test_a_mapping_goes_before_the_names() -> None:
    row = {"tokens_in": 10, "out": {"n": 4}, "prompt_tokens": 99, "hits": 3, "reasoning_tokens": 2, "cached_tokens": 50}
    usage = find_usage(
        row,
        {
            "prompt_tokens": "tokens_in",
            "completion_tokens": "out.n",
            "prompt_tokens_details.cached_tokens": "hits",
            "completion_tokens_details.reasoning_tokens": None,
        },
    )
    assert usage is not None
    assert usage.names == {
        "prompt_tokens": "tokens_in",
        "completion_tokens": "out.n",
        "prompt_tokens_details.cached_tokens": "hits",
    }
    counts = count_tokens(usage, Readings().of(usage))
    assert (counts.prompt_tokens, counts.completion_tokens, counts.prompt_details) == (10, 4, {"cached_tokens": 3})


def test_a_mapping_of_whole_details() -> None:
    row = {"prompt_tokens": 10, "completion_tokens": 4, "extra_in": '{"cached_tokens": 3}', "cached_tokens": 9}
    usage = find_usage(row, {"prompt_tokens_details": "extra_in"})
    assert usage is not None
    assert usage.prompt_parts == {"cached_tokens": 3}


def test_a_mapping_chooses_the_usage_that_it_names() -> None:
    row = {"prompt_tokens": 1, "completion_tokens": 2, "usage": {"input_tokens": 30, "output_tokens": 4}}
    usage = find_usage(row, {"prompt_tokens": "usage.input_tokens"})
    assert usage is not None
    assert (usage.prompt, usage.completion) == (30, 4)


def test_a_conversation_is_not_searched_for_counts() -> None:
    row = {
        "messages": [{"usage": {"prompt_tokens": 5}}],
        "input": "prompt_tokens: 5",
        "session": {"usage": {"input_tokens": 5}},
    }
    assert find_usage(row) is None


counts_of_tokens = st.integers(0, 10**6)
STYLES = {
    "anthropic": ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    "codex": ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_input_tokens"),
    "otel": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
    ),
    "claude code": ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens"),
    "openai": ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens"),
}


@given(
    style=st.sampled_from(sorted(STYLES)),
    plain=counts_of_tokens,
    cached=counts_of_tokens,
    written=counts_of_tokens,
    completion=counts_of_tokens,
    is_inclusive=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_both_ways_of_counting_come_back_by_their_total(
    style: str, plain: int, cached: int, written: int, completion: int, is_inclusive: bool, order: random.Random
) -> None:
    prompt_name, completion_name, cached_name, written_name = STYLES[style]
    whole = plain + cached + written
    total_name = "gen_ai.usage.total_tokens" if style == "otel" else "total_tokens"
    row = {
        prompt_name: whole if is_inclusive else plain,
        completion_name: completion,
        cached_name: cached,
        written_name: written,
        total_name: whole + completion,
    }
    counts = read_tokens(_shuffled(row, order))
    assert counts.contradiction is None
    assert (counts.prompt_tokens, counts.completion_tokens) == (whole, completion)
    assert counts.prompt_details == {"cached_tokens": cached, "cache_write_tokens": written}


maybe = st.none() | st.integers(0, 40)


@given(
    row=st.fixed_dictionaries(
        {
            "input_tokens": maybe,
            "output_tokens": maybe,
            "total_tokens": maybe,
            "cache_read_input_tokens": maybe,
            "cache_creation_input_tokens": maybe,
            "reasoning_tokens": maybe,
            "prompt_audio_tokens": maybe,
        }
    ),
    tokens=st.sampled_from(["auto", "inclusive", "exclusive"]),
)
def test_parts_never_exceed_their_whole_and_totals_add_up(row: Details, tokens: TokensOption) -> None:
    usage = find_usage(row)
    if usage is None:
        return
    readings = Readings(tokens)
    readings.add(usage)
    counts = count_tokens(usage, readings.of(usage))
    for whole, parts in (
        (counts.prompt_tokens, counts.prompt_details),
        (counts.completion_tokens, counts.completion_details),
    ):
        assert whole is None or all(0 <= part <= whole for part in parts.values())
    if counts.contradiction is None and counts.token_source == "provider":
        assert counts.prompt_tokens is not None
        assert counts.completion_tokens is not None
        assert counts.total_tokens == counts.prompt_tokens + counts.completion_tokens
    stated = tokens == "auto" and evidence_of(usage) == "contradiction"
    assert counts.contradiction is not None or not stated


@given(
    st.dictionaries(
        st.sampled_from(["usage", "prompt_tokens", "tokens", "input", "details", "cache"]) | st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["usage", "prompt_tokens_details", "output", "total"]) | st.text(max_size=5),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_whatever_a_row_holds_it_is_read_or_refused(row: Details) -> None:
    try:
        usage = find_usage(row)
    except TokenValueError:
        return
    assert usage is None or isinstance(usage, ReportedUsage)
    if usage is not None:
        count_tokens(usage, Reading(True, True))
