"""A million calls into Polars: `load_usage`, the raw Arrow drivers, and pandas.

Run with `pytest tests/benchmarks/test_load.py --benchmark-enable`. Without that the same comparison runs on 30,000
calls, as a test that all of them read the same numbers. The drivers read the columns of the table into Polars and are
done; `load_usage` also takes the JSON apart, makes money exact and times times.

Goals: at most 1.2 times the faster driver (1.3 on SQLite, where the drivers read in this process and may lose rows of a
store that writes in it, which ours may not), at least 5 times as fast as `pandas.read_sql`, and at its peak at most 300
MB more memory than the frame takes, with all processes that it starts.

Rounds are interleaved, so that a busy machine slows all of them; the ratios are those of the medians.
"""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import connectorx
import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa

from mofa_usage import load_usage
from mofa_usage.schema import API_CALL, Kind
from mofa_usage.urls import parse_url
from tests.benchmarks.bulk import fill
from tests.benchmarks.ratios import Ratio, Ratios, timed

MANY, FEW = 1_000_000, 30_000
RAW_GOALS = {"sqlite": 1.3, "postgres": 1.2, "mysql": 1.2}
PANDAS_GOAL, MEMORY_GOAL = 5.0, 300
COLUMNS = ", ".join(API_CALL.columns)
EMPTY = "''"
STATEMENT = f"SELECT {COLUMNS} FROM entity_llm_api_call"


def with_connectorx(url: str) -> pl.DataFrame:
    address = parse_url(url)
    drivers = {"sqlite": "sqlite", "postgres": "postgresql", "mysql": "mysql"}
    target = address.url.set(drivername=drivers[address.backend]).render_as_string(hide_password=False)
    if address.backend == "sqlite":
        target = f"sqlite://{address.url.database}"
    batches = connectorx.read_sql(target, STATEMENT, return_type="arrow_stream", batch_size=65_536)
    return pl.concat([pl.DataFrame(pl.from_arrow(batch)) for batch in batches])


def with_adbc(url: str) -> pl.DataFrame:
    """SQLite only. A made-up first row says what types the columns have, which may begin with NULLs."""
    from adbc_driver_sqlite import dbapi

    samples = {Kind.INTEGER: "0", Kind.MONEY: "0.0", Kind.RATE: "0.0"}
    sample = ", ".join(f"{samples.get(kind, EMPTY)} AS {name}" for name, kind in API_CALL.kinds.items())
    with dbapi.connect(parse_url(url).url.database) as connection, connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": 65_536})
        cursor.execute(f"SELECT {sample} UNION ALL SELECT * FROM ({STATEMENT})")
        return pl.DataFrame(pl.from_arrow(cursor.fetch_arrow_table())).slice(1)


def with_pandas(url: str) -> pd.DataFrame:
    drivers = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
    address = parse_url(url)
    engine = sa.create_engine(address.url.set(drivername=drivers[address.backend]), poolclass=sa.NullPool)
    with engine.connect() as connection:
        return pd.read_sql(sa.text(STATEMENT), connection)


@pytest.mark.shared_only
@pytest.mark.timeout(3600)
async def test_load(ratios: Ratios, url: str) -> None:
    rows = MANY if ratios.enabled else FEW
    kind = await fill(url, rows)
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: load_usage(url).frame,
        "connectorx": lambda: with_connectorx(url),
        "pandas": lambda: with_pandas(url),
    }
    if kind == "sqlite":
        ways["adbc"] = lambda: with_adbc(url)
    ours = ways["ours"]()
    assert ours["model_name"].n_unique() == 10  # as real calls are: a shortcut of ours would show
    assert min(ours.select(pl.col("cached_tokens", "reasoning_tokens", "input_price").n_unique()).row(0)) > 100
    for name in set(ways) - {"ours"}:
        assert_same(ours, ways[name]())
    if not ratios.enabled:
        return
    medians = timed(ways, {name: 1 if name == "pandas" else 5 for name in ways})
    raw = min((name for name in ("connectorx", "adbc") if name in medians), key=lambda name: medians[name])
    memory = measured(MEASURE_LOAD, url)
    what = f"load {rows:,} calls, {kind}"
    ratios.report(
        Ratio(what, medians["ours"], raw, medians[raw], RAW_GOALS[kind]),
        Ratio(what, medians["ours"], "pandas", medians["pandas"], 1 / PANDAS_GOAL),
        Ratio(f"{what}: memory", memory["peak"], "allowed", memory["frame"] + MEMORY_GOAL, 1.0, unit="MB"),
    )


def assert_same(ours: pl.DataFrame, other: pl.DataFrame | pd.DataFrame) -> None:
    assert len(other) == ours.height > 0
    for column in ("prompt_tokens", "latency_ms"):
        numbers = other[column].cast(pl.Int64) if isinstance(other, pl.DataFrame) else other[column]  # Int32 would wrap
        assert int(numbers.sum()) == ours[column].sum()
    assert float(other["total_price"].sum()) == pytest.approx(float(ours["total_price"].sum()), rel=1e-9)
    assert set(map(str, other["id"])) == set(ours["id"])


MEASURE_LOAD = """
from mofa_usage.usage import load_usage
import pyarrow, connectorx
base = peak()
frame = load_usage(sys.argv[1]).frame
used = peak() - base + children()
import io
written = io.BytesIO()
frame.write_ipc(written)
print(written.tell() // 2**20, used)
"""

# How much memory this process, and those that it started, had at their peaks, in MB.
MEASURE = """
import sys, threading, time
from pathlib import Path
def high(status):
    try:
        lines = Path(status).read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
def peak():
    return high("/proc/self/status")
seen = {}
def children():
    return max(seen.values(), default=0)
def watch():
    while True:
        for listed in Path("/proc/self/task").glob("*/children"):
            for child in listed.read_text().split():
                try:
                    program = Path(f"/proc/{child}/cmdline").read_text()
                except OSError:
                    continue
                if "sqlite_process" in program:  # before that it is still a copy of this process
                    seen[child] = max(seen.get(child, 0), high(f"/proc/{child}/status"))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
"""


def measured(program: str, *arguments: str) -> dict[str, int]:
    """The size of the result and the peak of memory, in MB, of a program that prints both."""
    command = [sys.executable, "-c", MEASURE + program, *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    frame, used = map(int, output.split())
    return {"frame": frame, "peak": used}
