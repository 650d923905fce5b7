"""Logs that hold anything at all: what is wrong costs a row, is counted, and never ends an import in another way."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from mofa_usage.errors import UsageError
from tests.imports import imported
from tests.logs import FOLDER
from tests.proofs import trials

LOGS = sorted(path for path in FOLDER.rglob("*.json*") if path.name != "sessions-index.json")
JUNK: tuple[Any, ...] = (
    *(None, 0, -1, 1.5, True, 10**30, "", "x", "nan", "{", "2026-05-01", "\0", "\ud800"),
    *([], [1], ["x", {"y": None}], {}, {"a": 1}, '{"a": 1}'),
)


def damaged(value: Any, chance: random.Random, share: float) -> Any:
    """The value with a share of what is in it replaced by something else, or gone."""
    if chance.random() < share:
        return chance.choice(JUNK)
    if isinstance(value, dict):
        return {key: damaged(item, chance, share) for key, item in value.items() if chance.random() > share / 4}
    return [damaged(item, chance, share) for item in value] if isinstance(value, list) else value


def rows_of(log: Path) -> list[Any]:
    """The lines, or the document as the only one."""
    text = log.read_text()
    return [json.loads(line) for line in (text.splitlines() if log.suffix == ".jsonl" else [text])]


@pytest.mark.proof
@pytest.mark.parametrize("log", LOGS, ids=lambda path: f"{path.parent.name}/{path.name}")
async def test_damaged_logs(tmp_path: Path, log: Path) -> None:
    rows, is_lines = rows_of(log), log.suffix == ".jsonl"
    for trial in range(trials(6, 300)):
        chance = random.Random(trial)
        texts = [json.dumps(damaged(row, chance, 0.04 if is_lines else 0.01)) for row in rows]
        copy = tmp_path / f"log{log.suffix}"
        copy.write_text("\n".join(texts))
        try:
            result, calls = await imported(copy)
        except UsageError:
            continue  # nothing of it is left to be read
        assert len({call.id for call in calls}) == len(calls) == result.stored
        assert result.rows == result.stored + result.replaced + result.rejected
