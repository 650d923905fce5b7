"""A warehouse for Prometheus: how fresh it is and how large. Nothing is scanned: the tables' logs say it."""

from collections.abc import Sequence

import polars as pl

from mofa_usage.monitoring.exposition import Family
from mofa_usage.warehouse.warehouse import Warehouse

__all__ = ["warehouse_families"]

_MEANINGS = {
    "rows": "Rows of the newest version.",
    "files": "Files of the newest version; compact puts small ones together.",
    "size_bytes": "Bytes of the files of the newest version.",
    "version": "The number of the newest version.",
}


def warehouse_families(warehouse: Warehouse) -> list[Family]:
    """The metrics of a warehouse, which is the label `warehouse`. Gauges: files are put together, rows deleted.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    whose = ("warehouse", warehouse.path)

    def gauge(name: str, meaning: str, frame: pl.DataFrame, labels: Sequence[str], value: str) -> Family:
        samples = (("", (whose, *((label, row[label]) for label in labels)), row[value]) for row in frame.to_dicts())
        return Family(f"mofa_usage_warehouse_{name}", "gauge", meaning, tuple(samples))

    synced = warehouse.synced().with_columns(pl.col("synced").dt.epoch("us").cast(pl.Decimal(38, 6)) / 1_000_000)
    tables = warehouse.tables().rename({"bytes": "size_bytes"})
    return [
        gauge(
            "synced_timestamp_seconds",
            "Up to when everything that the source had is in the warehouse.",
            synced,
            ("source", "table"),
            "synced",
        ),
        *(gauge(name, meaning, tables, ("table",), name) for name, meaning in _MEANINGS.items()),
    ]
