"""The store in memory, read as a whole each time: see `frames`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from mofa_usage.reading.frame import FrameCalls, frame_of_records
from mofa_usage.records import Record
from mofa_usage.schema import Kind, write_json
from mofa_usage.stores.memory import InMemoryStore
from mofa_usage.warehouse.sources.changes import CONTENT, PAGE_ROWS, RETAINED, SCHEMAS, TableName
from mofa_usage.warehouse.sources.frames import FrameChanges, call_batches, made_since
from mofa_usage.warehouse.sources.tables import SPECS

__all__ = ["MemoryChanges"]

_WRITERS: Mapping[Kind, Callable[[Any], Any]] = {Kind.ID: str, Kind.NAME: str, Kind.JSON: write_json}


class MemoryChanges(FrameChanges):
    """The changes of a table of a store in memory."""

    def __init__(self, store: InMemoryStore, table: TableName, content: bool) -> None:
        super().__init__("memory:", self._batches_now)
        self._store = store
        self._table = table
        self._content = content

    def _records(self) -> Sequence[Record]:
        return self._store.records(SPECS[self._table].record)

    def _batches_now(self) -> Iterator[pl.DataFrame]:
        records = self._records()
        if self._table == "calls":
            return call_batches(FrameCalls(frame_of_records(records, [], [], [])), "the store")  # type: ignore[arg-type]
        columns = dict(SCHEMAS[self._table]) | (CONTENT if self._content and self._table == "messages" else {})
        kinds = SPECS[self._table].kinds
        frame = pl.DataFrame(
            {name: [_value(getattr(record, name), kinds[name]) for record in records] for name in columns},
            schema=columns,
        )
        return iter(frame.iter_slices(PAGE_ROWS))

    def gone(self, held: Iterator[pl.DataFrame], kept_before: datetime | None) -> Iterator[pl.Series]:
        """See `Changes`."""
        records = self._records()
        if kept_before is None:
            kept_before = min((record.create_time for record in records), default=None)
        there = pl.Series([str(record.id) for record in records], dtype=pl.String)
        for rows in held:
            asked = rows.filter(made_since(kept_before)) if self._table in RETAINED else rows
            yield asked["id"].filter(asked["id"].is_in(there.implode()).not_())


def _value(value: Any, kind: Kind) -> Any:
    writer = _WRITERS.get(kind)
    return value if value is None or writer is None else writer(value)
