"""A million calls to Parquet: time against copying the raw columns, and the peak of memory.

Run with `pytest tests/benchmarks/test_export.py --benchmark-enable`; without that 30,000 calls are exported, as a
test. Goal: less than 600 MB of memory in all, the interpreter and the process that reads SQLite included.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mofa_usage import export_parquet
from tests.benchmarks.bulk import fill
from tests.benchmarks.ratios import Ratio, Ratios, timed
from tests.benchmarks.test_load import FEW, MANY, measured, with_connectorx

MEMORY_GOAL = 600

MEASURE_EXPORT = """
from mofa_usage.exporting import export_parquet
done = export_parquet(sys.argv[1], sys.argv[2], overwrite=True)
print(done.bytes // 2**20, peak() + children())
"""


@pytest.mark.shared_only
@pytest.mark.timeout(3600)
async def test_export(ratios: Ratios, url: str, tmp_path: Path) -> None:
    rows = MANY if ratios.enabled else FEW
    kind = await fill(url, rows)
    target = tmp_path / "calls.parquet"
    export = partial(export_parquet, url, target, overwrite=True)
    done = export()
    assert done.rows == rows
    assert pl.read_parquet(target, columns=["create_time"])["create_time"].is_sorted()
    if not ratios.enabled:
        return
    ways: dict[str, Callable[[], Any]] = {
        "ours": export,
        "raw": lambda: with_connectorx(url).write_parquet(tmp_path / "raw.parquet", compression_level=1),
    }
    medians = timed(ways, dict.fromkeys(ways, 3))
    memory = measured(MEASURE_EXPORT, url, str(target))
    ratios.report(
        Ratio(f"export {rows:,} calls, {kind}", medians["ours"], "raw columns", medians["raw"]),
        Ratio(f"export {rows:,} calls, {kind}: memory", memory["peak"], "allowed", MEMORY_GOAL, 1.0, unit="MB"),
    )
