"""Files to import, and what becomes of them."""

import json
from pathlib import Path
from typing import Any

from mofa_usage.importing import ImportResult, import_calls
from mofa_usage.records import LLMApiCall, QueryFilter
from mofa_usage.stores import InMemoryStore

HEADER = "create_time,model_name,prompt_tokens,completion_tokens"
GOOD = "2026-05-01T10:00:00Z,gpt-4,10,5"
AT_NOON: dict[str, Any] = {"timestamp": "2026-05-01T12:00:00Z", "model": "m"}
CALL: dict[str, Any] = {**AT_NOON, "prompt_tokens": 1, "completion_tokens": 2}
"""A call of 1 + 2 tokens that says nothing else."""


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


def write_jsonl(path: Path, *rows: object) -> Path:
    return write(path, *map(json.dumps, rows))


async def imported(source: Any, **options: Any) -> tuple[ImportResult, list[LLMApiCall]]:
    """Import into a new store; the result and the calls, oldest first."""
    store = InMemoryStore()
    result = await import_calls(store, source, **options)
    return result, (await store.query_api_calls(QueryFilter()))[::-1]


async def imported_one(source: Path, **options: Any) -> LLMApiCall:
    result, calls = await imported(source, **options)
    assert (result.stored, result.reasons) == (1, ())
    return calls[0]


async def imported_row(path: Path, row: object, **options: Any) -> LLMApiCall:
    """The call of one row of JSON."""
    return await imported_one(write_jsonl(path / "row.jsonl", row), **options)
