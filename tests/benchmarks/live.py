"""A server at real size: a warehouse is made of many calls, and kept up to date while more arrive.

    python -m tests.benchmarks.live postgres --rows 10000000 --seconds 120
    python -m tests.benchmarks.live mariadb --rows 1000000

starts a server of its own (in the folder for temporary files: 10 million calls take some 12 GB there), fills its table,
syncs, then saves `--rate` calls a second, one by one in another process, changes a tenth of them a few seconds later,
and syncs every `--pause` seconds meanwhile. In the end the warehouse is verified. What is printed for each sync: when,
how long it took, how long the server worked for it by its own log (PostgreSQL) or how long it was waited for, how many
rows came over and how many the server compared, and how old the oldest call was that was not in the warehouse yet.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mofa_usage.stores import connect
from mofa_usage.warehouse import SyncSummary, Verification, Warehouse
from tests.benchmarks.bulk import fill
from tests.benchmarks.test_save import make_calls
from tests.servers import Server, mariadb_server, postgres_server

SETTINGS = {
    "postgres": {
        "shared_buffers": "2GB",
        "max_wal_size": "8GB",
        "maintenance_work_mem": "512MB",
        "log_min_duration_statement": "0",
        "log_line_prefix": "[%a] ",
    },
    "mariadb": {"innodb-buffer-pool-size": "2G"},
}
CHANGED = 10  # one of so many is saved again with a price
_TABLE = "entity_llm_api_call"


@dataclass(frozen=True)
class Moment:
    """What a sync took: seconds since the writing began, of the sync, of the server; rows; the lag before it."""

    at: float
    seconds: float
    server: float
    read: int
    compared: int
    changed: int
    lag: float

    def __str__(self) -> str:
        return (
            f"  {self.at:6.1f} s: {self.seconds:5.2f} s, server {self.server * 1000:7.1f} ms, {self.read:,} read, "
            f"{self.compared:,} compared, {self.changed:,} changed, {self.lag:4.1f} s behind before"
        )


def say(what: object) -> None:
    """A line of the report, at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def fill_server(url: str, rows: int) -> None:
    """Put calls into a new database; on PostgreSQL the indexes are made afterwards, as who loads many does."""

    async def load() -> None:
        async with connect(url) as store:
            engine: Any = store.engine  # type: ignore[attr-defined]
            if store.backend_name != "postgres":
                await fill(url, rows)
                async with engine.begin() as connection:  # as if they had been saved when they were made
                    await connection.exec_driver_sql(f"UPDATE {_TABLE} SET saved_position = create_time")
                return
            async with engine.begin() as connection:
                found = await connection.exec_driver_sql(
                    f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '{_TABLE}' AND indexdef !~ 'UNIQUE'"
                )
                made = dict(found.all())
                for name in made:
                    await connection.exec_driver_sql(f"DROP INDEX {name}")
            await fill(url, rows)
            async with engine.begin() as connection:
                for statement in made.values():
                    await connection.exec_driver_sql(statement)
            async with engine.connect() as connection:
                alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await alone.exec_driver_sql(f"VACUUM ANALYZE {_TABLE}")

    asyncio.run(load())


async def write(url: str, rate: float, seconds: float) -> int:
    """Save so many calls a second, one by one, and a tenth of them again later; how many were saved."""
    calls = make_calls(int(rate * seconds))
    later: deque[tuple[float, Any]] = deque()
    async with connect(url, create_tables=False) as store:
        begun = time.monotonic()
        for number, call in enumerate(calls):
            await asyncio.sleep(begun + number / rate - time.monotonic())
            await store.save_api_call(call)
            if number % CHANGED == 0:
                later.append((time.monotonic() + 3, call.model_copy(update={"latency_ms": number})))
            while later and later[0][0] < time.monotonic():
                await store.save_api_call(later.popleft()[1])
        for _, call in later:
            await store.save_api_call(call)
    return len(calls)


def follow(
    server: Server, url: str, warehouse: Warehouse, writer: "subprocess.Popen[bytes]", pause: float
) -> list[Moment]:
    """Sync as long as somebody writes, and once more."""
    moments: list[Moment] = []
    begun = last = time.monotonic()
    is_over = False
    while not is_over:
        time.sleep(pause)
        is_over = writer.poll() is not None
        started, logged = time.monotonic(), server.log_file.stat().st_size
        done = warehouse.sync(url, progress=False)
        ended = time.monotonic()
        changed = sum(one.added + one.updated for one in done.tables)
        read, compared = (sum(getattr(one, what) for one in done.tables) for what in ("read", "compared"))
        moments.append(
            Moment(
                started - begun, ended - started, _served(server, logged, done), read, compared, changed, ended - last
            )
        )
        say(moments[-1])
        last = started
    return moments


def _served(server: Server, since: int, done: SyncSummary) -> float:
    """How long the server worked, by its log where it has one."""
    if server.backend != "postgres":
        return sum(one.source_seconds for one in done.tables)
    with server.log_file.open("rb") as log:
        log.seek(since)
        # Of the reader, which does not say what it is, and not of the store.
        durations = re.findall(rb"^\[\[unknown\]\] LOG:  duration: ([0-9.]+) ms", log.read(), re.MULTILINE)
    return sum(map(float, durations)) / 1000


def measure(server: Server, rows: int, seconds: float, rate: float, pause: float) -> Verification:
    """All of it on a running server."""
    url = server.create_database()
    begun = time.monotonic()
    fill_server(url, rows)
    say(f"filled with {rows:,} calls in {time.monotonic() - begun:.0f} s")
    with tempfile.TemporaryDirectory(prefix="mofa-live-") as folder:
        warehouse = Warehouse(Path(folder) / "warehouse")
        say(warehouse.sync(url, progress=False))
        quiet = warehouse.sync(url, progress=False)
        say(f"and again: {quiet}")
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.live",
            "write",
            "--rate",
            f"{rate}",
            "--seconds",
            f"{seconds}",
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as writer:
            assert writer.stdin is not None
            writer.stdin.write(url.encode())  # it has a password
            writer.stdin.close()
            moments = follow(server, url, warehouse, writer, pause)
            assert not writer.wait()
        for what in ("seconds", "server", "read", "compared", "lag"):
            values = [getattr(one, what) for one in moments[:-1] or moments]
            say(f"{what}: median {statistics.median(values):.3f}, most {max(values):.3f}")
        begun = time.monotonic()
        verified = warehouse.verify(url, progress=False)
        say(f"{verified} (in {time.monotonic() - begun:.1f} s)")
        assert verified.equal
        assert verified.rows["calls"] == rows + int(rate * seconds)
    return verified


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["postgres", "mariadb", "write"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--pause", type=float, default=3)
    given = parser.parse_args()
    if given.what == "write":
        asyncio.run(write(sys.stdin.read(), given.rate, given.seconds))
        return
    starter = postgres_server if given.what == "postgres" else mariadb_server
    with starter(durable=True, settings=SETTINGS[given.what]) as server:
        measure(server, given.rows, given.seconds, given.rate, given.pause)


if __name__ == "__main__":
    main()
