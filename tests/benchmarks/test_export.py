"""A million calls to Parquet: time against copying the raw columns, and the peak of memory.

Run with `pytest tests/benchmarks/test_export.py --benchmark-enable -s`; without that 30,000 calls are exported, as a
test. Goal: less than 600 MB of memory in all, the interpreter and the process that reads SQLite included.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mofa_usage import export_parquet
from tests.benchmarks.bulk import fill
from tests.benchmarks.rounds import timed
from tests.benchmarks.test_load import FEW, MANY, measured, with_connectorx

MEMORY_GOAL = 600

MEASURE_EXPORT = """
from mofa_usage.warehouse import export_parquet
done = export_parquet(sys.argv[1], sys.argv[2], overwrite=True)
print(done.bytes // 2**20, peak() + children())
"""


@pytest.mark.shared_only
@pytest.mark.timeout(3600)
async def test_export(benchmark: BenchmarkFixture, url: str, tmp_path: Path) -> None:
    rows = MANY if benchmark.enabled else FEW
    await fill(url, rows)
    target = tmp_path / "calls.parquet"
    export = partial(export_parquet, url, target, overwrite=True)
    done = benchmark.pedantic(export, rounds=1)  # type: ignore[no-untyped-call]
    assert done.rows == rows
    assert pl.read_parquet(target, columns=["create_time"])["create_time"].is_sorted()
    if not benchmark.enabled:
        return
    ways: dict[str, Callable[[], Any]] = {
        "ours": export,
        "raw": lambda: with_connectorx(url).write_parquet(tmp_path / "raw.parquet", compression_level=1),
    }
    medians = timed(ways, {"ours": 3, "raw": 3})
    memory = measured(MEASURE_EXPORT, url, str(target))
    benchmark.extra_info.update({"seconds": medians, "ours / raw": medians["ours"] / medians["raw"], "MB": memory})
    print(f"\n{medians} {memory}")  # noqa: T201
    assert memory["peak"] < MEMORY_GOAL
