# ruff: noqa: T201 (it prints a table)
"""What a million calls cost: written, stored, copied, asked; `python -m tests.benchmarks.scale` prints the table.

```console
$ .venv/bin/python -m tests.benchmarks.scale --rows 1000000
$ .venv/bin/python -m tests.benchmarks.scale --rows 10000000 --url postgres://user:password@host/empty
```

Each step runs in a process of its own, and without the time that starting one takes: seconds, and seconds of CPU with
those of the processes that it starts (a database server's are not among them), and the most memory of the largest
process. Seconds of CPU and bytes depend little on what else a machine does; how long one waits depends on that.
`mofa_usage/docs/scale.md` has what came out.

The calls are those of `bulk`, made by the database itself; writing is measured apart, on calls of a recorder's kind.
"""

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mofa_usage import load_usage
from mofa_usage.demo import generate_usage
from mofa_usage.exporting import export_parquet
from mofa_usage.monitoring import counted_usage
from mofa_usage.report import write_report
from mofa_usage.stores import connect
from mofa_usage.warehouse import Warehouse
from tests.benchmarks.bulk import fill

__all__ = ["STEPS", "Cost", "main", "measured"]

_BATCH = 10_000
_WRITTEN = 100_000
"""So many calls are written through a store, into a table that has all the others."""
_LONG_AGO = datetime(2026, 3, 1, tzinfo=UTC)
_DAY = ("2026-02-03", "2026-02-04")  # of the calls that the database makes
_BY = ["model_name", "day"]
_MEASURES = ["calls", "cost", "coverage", "success_rate", "latency_p50", "latency_p95", "latency_p99", "token_rate_p95"]


# A small process starts a step: to the machine, what is started has at least the memory of who starts it.
_LAUNCH = """
import os, sys
child = os.fork() or os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Cost:
    """What a step took: seconds, seconds of CPU, the most memory of its largest process in MB, and what it said."""

    seconds: float
    cpu: float
    memory: float
    said: str


def made(url: str, folder: Path, rows: int) -> str:
    """The database makes the calls."""
    asyncio.run(fill(url, rows))
    return _size_of_database(url, rows)


def written(url: str, folder: Path, rows: int) -> str:
    """A store saves calls of a recorder's, batch by batch."""
    return asyncio.run(_written(url, min(rows, _WRITTEN)))


async def _written(url: str, rows: int, seed: int = 1) -> str:
    async with connect(url) as store:
        spent = 0.0
        for first in range(0, rows, _BATCH):
            calls = generate_usage(calls=min(rows, _BATCH), seed=seed + first, end=_LONG_AGO).calls
            begun = time.process_time()
            await store.save_api_calls(calls)
            spent += time.process_time() - begun
    return f"{spent / rows * 1e6:.0f} us of CPU a call in this process"


def asked_database(url: str, folder: Path, rows: int) -> str:
    """A question to the database: all calls are read for it."""
    return f"{load_usage(url).breakdown(_BY, _MEASURES).height:,} groups"


def counted(url: str, folder: Path, rows: int) -> str:
    """The counters for Prometheus, which the database adds up."""
    return asyncio.run(_counted(url))


async def _counted(url: str) -> str:
    async with connect(url) as store:
        return f"{len((await counted_usage(store)).families())} metrics"


def exported(url: str, folder: Path, rows: int) -> str:
    """The calls as one Parquet file."""
    done = export_parquet(url, folder / "calls.parquet", overwrite=True)
    return f"{done.bytes / done.rows:.0f} bytes a call"


def synced(url: str, folder: Path, rows: int) -> str:
    """The first sync of a warehouse."""
    done = Warehouse(folder / "warehouse").sync(url)
    size = sum(file.stat().st_size for file in (folder / "warehouse" / "calls").rglob("*.parquet"))
    return f"{size / done['calls'].added:.0f} bytes a call, {done['calls'].commits} commits"


def synced_again(url: str, folder: Path, rows: int) -> str:
    """A sync that finds nothing."""
    return Warehouse(folder / "warehouse").sync(url).sentence


def synced_late(url: str, folder: Path, rows: int) -> str:
    """A sync that finds a thousand calls of long ago."""
    asyncio.run(_written(url, 1000, seed=2))
    return Warehouse(folder / "warehouse").sync(url).sentence


def compacted(url: str, folder: Path, rows: int) -> str:
    """Few large files instead of many small ones."""
    return str(Warehouse(folder / "warehouse").compact())


def verified(url: str, folder: Path, rows: int) -> str:
    """The proof that the warehouse has what the database has."""
    return str(Warehouse(folder / "warehouse").verify(url))


def asked_warehouse(url: str, folder: Path, rows: int) -> str:
    """The same question to the warehouse."""
    return f"{Warehouse(folder / 'warehouse').usage().breakdown(_BY, _MEASURES).height:,} groups"


def asked_a_day(url: str, folder: Path, rows: int) -> str:
    """A question about a day in the warehouse."""
    day = Warehouse(folder / "warehouse").usage().between(*_DAY).breakdown(["model_name", "hour"], _MEASURES)
    return f"{day.height:,} groups of {day['calls'].sum():,} calls"


def reported(url: str, folder: Path, rows: int) -> str:
    """The whole report of the warehouse."""
    page = write_report(Warehouse(folder / "warehouse").usage(), folder / "report.html")
    return f"{page.stat().st_size / 1e6:.1f} MB"


STEPS: Sequence[Callable[[str, Path, int], str]] = (
    made,
    written,
    counted,
    asked_database,
    exported,
    synced,
    synced_again,
    synced_late,
    compacted,
    verified,
    asked_warehouse,
    asked_a_day,
    reported,
)


def _size_of_database(url: str, rows: int) -> str:
    """How large the table is with its indexes, of a file; servers say it themselves."""
    if not url.startswith("sqlite:"):
        return ""
    path = Path(url.removeprefix("sqlite:"))
    return f"{sum(file.stat().st_size for file in path.parent.glob(f'{path.name}*')) / rows:.0f} bytes a call"


def measured(step: str, url: str, folder: Path, rows: int) -> Cost:
    """What a step takes in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    step_of = [sys.executable, "-m", "tests.benchmarks.scale", "--step", step, "--rows", str(rows)]
    command = [sys.executable, "-I", "-S", "-c", _LAUNCH, *step_of, "--url", url, "--folder", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the step {step} failed")
    said, seconds, cpu, memory = done.stdout.strip().splitlines()
    return Cost(float(seconds), float(cpu), float(memory), said)


def _taken(step: str, url: str, folder: Path, rows: int) -> Iterator[object]:
    """What a step says, its seconds and its seconds of CPU."""
    begun, before = time.perf_counter(), _cpu()
    yield {step.__name__: step for step in STEPS}[step](url, folder, rows)
    yield time.perf_counter() - begun
    yield _cpu() - before


def _cpu() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Measure all steps, or take one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--url", help="an empty database; by default a new one of SQLite")
    parser.add_argument("--folder", type=Path, help="where the warehouse goes; by default a temporary one")
    parser.add_argument("--step", choices=[step.__name__ for step in STEPS], help="only this one, here and now")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mofa-scale-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        url = asked.url or f"sqlite:{folder / 'usage.db'}"
        if asked.step:
            print(*_taken(asked.step, url, folder, asked.rows), sep="\n")
            return
        print(f"| {asked.rows:,} calls | s | CPU s | CPU s a million | MB | |\n|---|---|---|---|---|---|")
        for step in STEPS:
            cost = measured(step.__name__, url, folder, asked.rows)
            each = cost.cpu / asked.rows * 1e6
            what = f"{step.__name__} | {cost.seconds:.1f} | {cost.cpu:.1f} | {each:.2f} | {cost.memory:.0f}"
            print(f"| {what} | {cost.said} |", flush=True)


if __name__ == "__main__":
    main()
