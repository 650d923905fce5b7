"""What a warehouse must hold, worked out from the records of its source in plain Python, and what it does hold, read by
Polars' own reader of Delta tables."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from mofa_usage.records import LLMApiCall
from tests.calls import expected_row

Rows = dict[str, dict[str, Any]]
_NAMES = ("agent_code", "agent_name", "provider_name")


def expected_calls(calls: Iterable[LLMApiCall]) -> Rows:
    """Every column of the calls but the names of agents and providers, which other tables say; by id."""
    rows: Rows = {}
    for call in calls:
        row = {name: value for name, value in expected_row(call).items() if name not in _NAMES}
        labels = dict(call.labels)
        row["labels"] = labels or None
        row["month"] = call.create_time.isoformat()[:7]
        rows[str(call.id)] = row
    return rows


def held(path: Path, table: str = "calls", version: int | None = None) -> list[dict[str, Any]]:
    """The rows of a table."""
    return pl.scan_delta(str(path / table), version=version).collect().to_dicts()


def held_calls(path: Path) -> Rows:
    """The calls of a warehouse in the columns of `expected_calls`, each id once."""
    rows: Rows = {}
    for row in held(path):
        assert row["id"] not in rows, "an id is there twice"
        for name in row:
            if name.startswith("labels.") and row[name] is not None:
                assert json.loads(row["labels"])[name.removeprefix("labels.")] == row[name]
        row["labels"] = json.loads(row["labels"]) if row["labels"] and row["labels"] != "{}" else None
        kept = {name: value for name, value in row.items() if not name.startswith("labels.") and name not in _NAMES}
        rows[row["id"]] = {name: value for name, value in kept.items() if not name.endswith("_details")}
    return rows


def versions(path: Path) -> dict[str, int]:
    """How many commits each table has."""
    return {log.parent.name: len(list(log.glob("*.json"))) for log in sorted(path.glob("*/_delta_log"))}
