"""Rows of a Parquet file, as pyarrow reads them."""

from collections.abc import Callable, Iterator
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.importing.arrow_rows import BATCH, ArrowRows
from mofa_usage.importing.content import Content

__all__ = ["ParquetSource"]


class ParquetSource(ArrowRows):
    """A Parquet file."""

    format = "parquet"

    def __init__(self, content: Content) -> None:
        self._content = content
        parquet = require("pyarrow.parquet", extra="analysis")
        if content.is_compressed:
            raise UsageError(
                f"{content.name} is a compressed Parquet file, which only makes it slower; unpack it first"
            )
        self._open: Callable[[], Any] = lambda: parquet.ParquetFile(content.path or content.open())
        try:
            self._file = self._open()
        except require("pyarrow", extra="analysis").ArrowInvalid as error:
            raise UsageError(f"{content.name} is no Parquet file: {error}") from error
        super().__init__(content.name, self._file.schema_arrow, self._file.metadata.num_rows)

    def _batches(self) -> Iterator[Any]:
        self._file = self._file or self._open()
        yield from self._file.iter_batches(batch_size=BATCH)

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
