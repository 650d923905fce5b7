"""A sync that is killed anywhere leaves whole commits, and the next one completes it; two at once do no harm."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mofa_usage.stores import connect
from mofa_usage.warehouse import Warehouse
from tests.proofs import trials
from tests.samples import call
from tests.warehouse import expected_calls, held_calls

# Small batches, so that a sync has many commits to be killed between.
SYNC = """
import sys
from mofa_usage.warehouse import Warehouse, syncing
syncing._BATCH_ROWS = 40
print("begin", flush=True)
Warehouse(sys.argv[1]).sync(sys.argv[2], tables="calls")
print("end", flush=True)
"""


def syncing(path: Path, url: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SYNC, str(path), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def begun(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"


@pytest.mark.proof
def test_after_any_kill_the_next_sync_completes_it(tmp_path: Path) -> None:
    path, url = tmp_path / "warehouse", f"sqlite:{tmp_path}/usage.db"
    chance = random.Random(11)
    calls = {one.id: one for one in (call(number * 40_000.0) for number in range(600))}

    async def save(changed: list[object]) -> None:
        async with connect(url) as store:
            await store.save_api_calls(changed)  # type: ignore[arg-type]

    asyncio.run(save(list(calls.values())))
    for _ in range(trials(1, 50)):
        process = syncing(path, url)
        begun(process)
        time.sleep(chance.random() * 0.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (path / "calls" / "_delta_log").exists():
            held_calls(path)  # each id once, whatever was committed
        changed = [
            one.model_copy(update={"latency_ms": chance.randrange(9_999)})
            for one in chance.sample([*calls.values()], 9)
        ]
        calls |= {one.id: one for one in changed}
        asyncio.run(save(list(changed)))
    Warehouse(path).sync(url, tables="calls")
    assert held_calls(path) == expected_calls(calls.values())
    assert Warehouse(path).verify(url, tables="calls").equal


@pytest.mark.proof
def test_two_syncs_at_once_are_one(tmp_path: Path) -> None:
    path, url = tmp_path / "warehouse", f"sqlite:{tmp_path}/usage.db"
    calls = [call(number * 40_000.0) for number in range(200)]

    async def save() -> None:
        async with connect(url) as store:
            await store.save_api_calls(calls)

    asyncio.run(save())
    with ThreadPoolExecutor() as threads:  # the lock knows no threads: each has a file of its own
        done = [threads.submit(Warehouse(path).sync, url, tables="calls") for _ in range(trials(2, 8))]
    assert sorted(one.result()["calls"].added for one in done)[-2:] == [0, 200]
    assert held_calls(path) == expected_calls(calls)
