"""The process that saves dies by SIGKILL: what it had saved is there, and a bulk whole or not at all."""

import asyncio
import random
import subprocess
import sys
from collections import Counter

import pytest

from mofa_usage.records import QueryFilter
from tests.faults.writer import BULK
from tests.leaks import opened
from tests.proofs import trials

KILLS = trials(2, 10)


def killed_while_saving(url: str, seconds: float) -> list[tuple[str, str]]:
    """What a process said that it had saved when it was killed, so long after its first save."""
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.writer", url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    said = first + process.communicate()[0]
    assert process.returncode == -9, "it ended by itself"
    lines = said.splitlines() if said.endswith("\n") else said.splitlines()[:-1]
    return [(kind, name) for kind, _, name in (line.partition(" ") for line in lines)]


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.shared_only
async def test_what_a_killed_process_had_saved_is_there(url: str) -> None:
    randomness = random.Random(3)
    said: list[tuple[str, str]] = []
    for _ in range(KILLS):
        said += await asyncio.to_thread(killed_while_saving, url, 0.2 + randomness.random() * 0.4)
    async with opened(url) as store, asyncio.timeout(60):
        stored = await store.query_api_calls(QueryFilter())
        singles = {str(each.id) for each in stored if each.error_code is None}
        bulks = Counter(each.error_code for each in stored if each.error_code is not None)
        assert {name for kind, name in said if kind == "call"} <= singles
        assert {name for kind, name in said if kind == "bulk"} <= bulks.keys()
        assert set(bulks.values()) == {BULK}
        assert len(said) > 10 * KILLS
        await store.save_api_calls(stored[:200])  # no lock is left
