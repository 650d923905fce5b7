"""Rows of a Parquet file, as pyarrow reads them. Nanoseconds are cut to microseconds."""

import json
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.importing.content import Content
from mofa_usage.importing.source import SourceRow

__all__ = ["ParquetSource"]

_BATCH = 4096  # rows


class ParquetSource:
    """A Parquet file."""

    format = "parquet"
    unit = "row"
    is_text = False

    def __init__(self, content: Content) -> None:
        self.name = content.name
        self._content = content
        self._arrow: ModuleType = require("pyarrow", extra="analysis")
        parquet = require("pyarrow.parquet", extra="analysis")
        if content.is_compressed:
            raise UsageError(
                f"{content.name} is a compressed Parquet file, which only makes it slower; unpack it first"
            )
        self._open: Callable[[], Any] = lambda: parquet.ParquetFile(content.path or content.open())
        try:
            self._file = self._open()
        except self._arrow.ArrowInvalid as error:
            raise UsageError(f"{content.name} is no Parquet file: {error}") from error
        self.columns: tuple[str, ...] = tuple(_nested_names(self._file.schema_arrow))
        self.size: int = self._file.metadata.num_rows
        self._done = 0

    def __iter__(self) -> Iterator[SourceRow]:
        self._done = 0
        self._file = self._file or self._open()
        for batch in self._file.iter_batches(batch_size=_BATCH):
            for values in self._microseconds(batch).to_pylist():
                self._done += 1
                yield SourceRow(self._done, values, lambda row=values: json.dumps(row, default=str))  # type: ignore[misc]

    def _microseconds(self, batch: Any) -> Any:
        types = self._arrow.types
        for index, field in enumerate(batch.schema):
            if types.is_timestamp(field.type) and field.type.unit == "ns":
                kind = self._arrow.timestamp("us", field.type.tz)
            elif types.is_duration(field.type) and field.type.unit == "ns":
                kind = self._arrow.duration("us")
            else:
                continue
            batch = batch.set_column(index, field.name, batch.column(index).cast(kind, safe=False))
        return batch

    def position(self) -> int:
        """How many rows were read."""
        return self._done

    def pause(self) -> None:
        """Close the file if it can be opened again."""
        if self._file is not None and self._content.path is not None:
            self._file.close()
            self._file = None
        self._content.pause()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        self._content.close()


def _nested_names(fields: Iterable[Any], prefix: str = "") -> Iterator[str]:
    """The names of columns and, as dotted paths, of what is inside structs."""
    for field in fields:
        yield prefix + field.name
        if hasattr(field.type, "fields"):
            yield from _nested_names(field.type.fields, f"{prefix}{field.name}.")
