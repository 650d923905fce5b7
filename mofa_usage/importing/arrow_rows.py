"""Rows that come in Arrow batches: what Parquet files, frames and the answers of DuckDB have in common.

Arrow has types that Python has not. Nanoseconds are cut to microseconds, an interval of a fixed length is a duration, a
map is an object, and a float of 32 bits is the shortest decimal that is this float.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.importing.source import SourceRow

__all__ = ["BATCH", "ArrowRows", "nested_names"]

BATCH = 4096
"""Rows that are turned into Python's values at a time."""


class ArrowRows:
    """The rows of batches, numbered from 1. A subclass says where they come from (`_batches`) and what is to be closed.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    format = "table"
    unit = "row"
    is_text = False

    def __init__(self, name: str, schema: Any, size: int) -> None:
        self.name = name
        self.columns: tuple[str, ...] = tuple(nested_names(schema))
        self.size = size
        self._arrow: Any = require("pyarrow", extra="analysis")
        self._done = 0

    def _batches(self) -> Iterator[Any]:
        """Record batches, from the first one."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[SourceRow]:
        self._done = 0
        for batch in self._batches():
            for start in range(0, batch.num_rows, BATCH):
                for values in self._plain(batch.slice(start, BATCH)).to_pylist(maps_as_pydicts="lossy"):
                    self._done += 1
                    yield SourceRow(self._done, values, lambda row=values: json.dumps(row, default=str))  # type: ignore[misc]

    def _plain(self, batch: Any) -> Any:
        types = self._arrow.types
        for index, field in enumerate(batch.schema):
            column = batch.column(index)
            if types.is_timestamp(field.type) and field.type.unit == "ns":
                column = column.cast(self._arrow.timestamp("us", field.type.tz), safe=False)
            elif types.is_duration(field.type) and field.type.unit == "ns":
                column = column.cast(self._arrow.duration("us"), safe=False)
            elif types.is_float32(field.type) or types.is_float16(field.type):
                # By its shortest decimal: 0.0129 and not 0.012900000438094139.
                column = column.cast(self._arrow.string()).cast(self._arrow.float64())
            elif types.is_interval(field.type):
                column = self._arrow.array(map(_duration, column.to_pylist()), self._arrow.duration("us"))
            else:
                continue
            batch = batch.set_column(index, field.name, column)
        return batch

    def position(self) -> int:
        """How many rows were read."""
        return self._done

    def pause(self) -> None:
        """Nothing is open between two passes."""

    def close(self) -> None:
        """Nothing is open."""


def _duration(interval: Any) -> timedelta | None:
    if interval is None:
        return None
    if interval.months:
        raise UsageError("a month has no fixed length: give durations in days or less, or as milliseconds")
    return timedelta(days=interval.days, microseconds=interval.nanoseconds // 1000)


def nested_names(fields: Iterable[Any], prefix: str = "") -> Iterator[str]:
    """The names of columns and, as dotted paths, of what is inside structs."""
    for field in fields:
        yield prefix + field.name
        if hasattr(field.type, "fields"):
            yield from nested_names(field.type.fields, f"{prefix}{field.name}.")
