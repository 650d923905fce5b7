"""Tokens of imported rows: read as the whole file says, unknown where a row does not say, refused where it lies.

What each provider's names mean is tested with `mofa_usage.tokens`; here, that a file is read by it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from mofa_usage.errors import UsageError
from mofa_usage.importing import import_calls
from mofa_usage.records import TokenDetails
from mofa_usage.stores import InMemoryStore
from tests.imports import AT_NOON, CALL, imported, imported_one, imported_row, write, write_jsonl

CACHED = "timestamp,model,input_tokens,output_tokens,cache_read_input_tokens,cache_creation_input_tokens,total_tokens"
OTEL = "gen_ai.usage."


def otel(read: int, written: int, total: int | None = None, inputs: int = 1000, outputs: int = 50) -> dict[str, Any]:
    counts = {
        "input_tokens": inputs,
        "output_tokens": outputs,
        "cache_read_input_tokens": read,
        "cache_write_input_tokens": written,
        "total_tokens": total,
    }
    return AT_NOON | {f"{OTEL}{name}": count for name, count in counts.items()}


def row(*counts: object) -> str:
    return ",".join(["2026-05-01T12:00:00Z", "claude", *("" if count is None else str(count) for count in counts)])


@pytest.mark.parametrize(
    ("usage", "prompt", "completion", "cached", "written"),
    [
        (otel(35574, 17787, 58291, 4299, 631), 57660, 631, 35574, 17787),
        (otel(1000, 160, 1213, 1163, 50), 1163, 50, 1000, 160),
        (
            {"input_tokens": 3, "output_tokens": 159, "cache_read_tokens": 22137, "cache_creation_tokens": 17285},
            39425,
            159,
            22137,
            17285,
        ),
        ({"promptTokenCount": 9, "candidatesTokenCount": 100, "thoughtsTokenCount": 50}, 9, 150, None, None),
        ({"tokensIn": 3, "tokensOut": 159, "cacheReads": 100, "cacheWrites": 60}, 163, 159, 100, 60),
        ({"num_input_tokens": 3, "num_output_tokens": 159}, 3, 159, None, None),
        ({"metrics": {"prompt_tokens": 9, "completion_tokens": 5, "prompt_cached_tokens": 4}}, 9, 5, 4, None),
        ({"mlflow.chat.tokenUsage": '{"input_tokens": 9, "output_tokens": 5}'}, 9, 5, None, None),
        ({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_read_tokens": 4}, 9, 5, 4, None),
        (
            {
                "message": {
                    "usage": {
                        "input_tokens": 3,
                        "cache_creation_input_tokens": 2285,
                        "cache_read_input_tokens": 22137,
                        "output_tokens": 159,
                    }
                }
            },
            24425,
            159,
            22137,
            2285,
        ),
    ],
)
async def test_whatever_is_called_usage(
    tmp_path: Path, usage: dict[str, Any], prompt: int, completion: int, cached: int | None, written: int | None
) -> None:
    call = await imported_row(tmp_path, AT_NOON | usage)
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == (prompt, completion, prompt + completion)
    details = call.prompt_tokens_details or TokenDetails()
    assert (details.cached_tokens, details.cache_write_tokens) == (cached, written)
    assert call.token_source == "provider"


@pytest.mark.parametrize("batch_size", [1, 5_000])
@pytest.mark.parametrize(("total", "inclusive"), [(1050, True), (1200, False)])
async def test_one_row_that_can_decide_decides_for_the_whole_file(
    tmp_path: Path, batch_size: int, total: int, inclusive: bool
) -> None:
    undecided = [row(1001 + number, 50, 100, 50, None) for number in range(6)]
    source = write(tmp_path / "a.csv", CACHED, *undecided, row(1000, 50, 100, 50, total))
    result, calls = await imported(source, batch_size=batch_size)
    beside = 0 if inclusive else 150
    assert sorted(call.prompt_tokens for call in calls) == [1000 + number + beside for number in range(7)]
    assert len(result.tokens_read) == 1
    word = "inclusive" if inclusive else "exclusive"
    assert f"input_tokens read as {word} of cached ones (decided by 1 row" in str(result)


async def test_each_file_and_each_set_of_names_is_read_by_its_own_rows(tmp_path: Path) -> None:
    plain = {"input_tokens": 1163, "output_tokens": 50, "cache_read_input_tokens": 1000, "total_tokens": 1213}
    first = write_jsonl(tmp_path / "a.jsonl", otel(800, 100, 1950), otel(800, 100), AT_NOON | plain)
    second = write_jsonl(tmp_path / "b.jsonl", otel(800, 100, 1050), otel(800, 100))
    _, calls = await imported(first)
    assert sorted(call.prompt_tokens for call in calls) == [1163, 1900, 1900]
    result, calls = await imported([first, second])
    assert sorted(call.prompt_tokens for call in calls) == [1000, 1163, 1900, 1900] or result.replaced
    assert len(result.tokens_read) == 3


async def test_without_a_deciding_row_the_names_decide_and_the_caller_before_them(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", CACHED, row(5000, 159, 4000, 500, None))
    assert (await imported_one(source)).prompt_tokens == 9500
    assert (await imported_one(source, mapping={"prompt_tokens": "input_tokens"})).prompt_tokens == 9500
    assert (await imported_one(source, tokens="exclusive")).prompt_tokens == 9500
    result, [call] = await imported(source, tokens="inclusive")
    assert call.prompt_tokens == 5000
    assert result.tokens_read == ("input_tokens read as inclusive of cached ones (as asked for)",)


async def test_rows_that_contradict_are_refused_and_counted_unless_told_otherwise(tmp_path: Path) -> None:
    counts = {"prompt_tokens": 4299, "completion_tokens": 631, "total_tokens": 58291}
    source = write_jsonl(tmp_path / "a.jsonl", AT_NOON | counts, CALL, AT_NOON | counts)
    result, calls = await imported(source)
    assert (result.stored, result.rejected, len(calls)) == (1, 2, 1)
    [reason] = result.reasons
    assert (reason.count, reason.lines) == (2, (1, 3))
    assert "total_tokens contradicts" in str(result)
    assert "58291" in reason.example
    assert "--contradictions keep" in str(result)
    result, calls = await imported(source, contradictions="keep")
    kept = {(call.prompt_tokens, call.completion_tokens, call.total_tokens) for call in calls}
    assert kept == {(4299, 631, 58291), (1, 2, 3)}


async def test_a_row_that_goes_against_the_file_is_refused(tmp_path: Path) -> None:
    rows = [row(1000, 50, 800, 100, 1050), row(1001, 50, 800, 100, 1051), row(1000, 50, 800, 100, 1950)]
    result, _ = await imported(write(tmp_path / "a.csv", CACHED, *rows))
    assert [(reason.count, reason.lines) for reason in result.reasons] == [(1, (4,))]


@pytest.mark.parametrize(
    ("said", "source", "counts"),
    [
        ({"prompt_tokens": None, "completion_tokens": None}, "none", (0, 0, 0)),
        ({}, "none", (0, 0, 0)),
        ({"prompt_tokens": 7}, "partial", (7, 0, 7)),
        ({"completion_tokens": 7}, "completion_only", (0, 7, 7)),
        ({"prompt_tokens": 7, "total_tokens": 9}, "provider", (7, 2, 9)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, "provider", (0, 0, 0)),
        ({"error": "boom"}, "none", (0, 0, 0)),
        ({"status": "timeout"}, "none", (0, 0, 0)),
        ({"status": 499}, "none", (0, 0, 0)),
        ({"status": 500}, "none", (0, 0, 0)),
        ({"status": 429}, "provider", (0, 0, 0)),
        ({"error_code": "400", "error_message": "bad"}, "provider", (0, 0, 0)),
        ({"prompt_tokens": 7, "operation": "embeddings"}, "provider", (7, 0, 7)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "token_source": "estimated"}, "estimated", (7, 2, 9)),
    ],
)
async def test_unknown_counts_stay_unknown(
    tmp_path: Path, said: dict[str, Any], source: str, counts: tuple[int, int, int]
) -> None:
    call = await imported_row(tmp_path, AT_NOON | said)
    assert call.token_source == source
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == counts


async def test_the_summary_counts_calls_of_unknown_tokens(tmp_path: Path) -> None:
    result, _ = await imported(write_jsonl(tmp_path / "a.jsonl", CALL, AT_NOON, AT_NOON | {"prompt_tokens": 3}))
    assert result.unknown_tokens == 2
    assert "2 calls with tokens that are not known" in str(result)


async def test_defaults_fill_unknown_counts(tmp_path: Path) -> None:
    defaults = {"completion_tokens": 0, "prompt_tokens_details.cached_tokens": 1}
    call = await imported_row(tmp_path, AT_NOON | {"prompt_tokens": 7}, defaults=defaults)
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == (7, 0, 7)
    assert call.token_source == "provider"
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=1)


async def test_further_details_are_kept(tmp_path: Path) -> None:
    details = {"cached_tokens": 4, "weights": {"a": [1, None]}, "note": None}
    call = await imported_row(tmp_path, CALL | {"prompt_tokens": 9, "prompt_tokens_details": json.dumps(details)})
    assert call.prompt_tokens_details is not None
    assert call.prompt_tokens_details.model_dump(exclude_defaults=True) == details


async def test_a_line_that_is_no_call_is_refused(tmp_path: Path) -> None:
    lines = [{"timestamp": "2026-05-01T12:00:00Z", "type": "user", "message": {"role": "user"}}, CALL]
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", *lines))
    assert (len(calls), result.rejected) == (1, 1)
    assert "says neither a model nor tokens" in result.reasons[0].reason


@pytest.mark.parametrize("options", [{"tokens": "both"}, {"contradictions": "drop"}])
async def test_options_that_are_none(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(options))} must be"):
        await import_calls(InMemoryStore(), write_jsonl(tmp_path / "a.jsonl", CALL), **options)
