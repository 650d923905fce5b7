"""The Parquet files of a table: written for a commit, and rewritten where rows of theirs have changed.

deltalake could write them too; ours are written with a third of the time and memory, and a file in which a few rows
changed is read and written a row group at a time, whatever its size. A file is whole before a commit names it. One that
no commit ever names, because its writer was killed, is part of no version; `vacuum` removes it.

Rows lie in order of time, so that a row group has the calls of a short while.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from uuid import uuid4

import polars as pl

from mofa_usage.errors import require
from mofa_usage.reading.delta import DataFile
from mofa_usage.warehouse.tables import MONTH

require("pyarrow", extra="analysis")
import pyarrow.fs as pa_fs  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

__all__ = ["Written", "gathered", "removed", "rewritten", "row_groups", "written"]

_ROW_GROUP = 32_768
_BOUNDED = ("id", "create_time", "update_time")
_ORDER = ("create_time", "id")
# Of few different values, so that a dictionary of them pays.
_REPEATING = ("_id", "status", "model_name", "error_code", "currency", "token_source", "role", "served_model", "_name")
_NOT_REPEATING = ("message_id", "session_id", "response_id", "request_id")


class Written:
    """A file that was written: its path in the table, its size and what is known of its rows."""

    def __init__(self, month: str, columns: Mapping[str, pl.DataType]) -> None:
        self.month = month
        self.path = f"{MONTH}={month}/part-{uuid4()}.zstd.parquet"
        self.rows = 0
        self.bytes = 0
        self._bounds: dict[str, tuple[Any, Any]] = {}
        self._nulls = {name: 0 for name in _BOUNDED if name in columns}

    def count(self, rows: pl.DataFrame) -> None:
        """Take account of rows that were written."""
        self.rows += rows.height
        for name in self._nulls:
            values = rows[name]
            self._nulls[name] += values.null_count()
            ends = [end for end in (values.min(), values.max(), *self._bounds.get(name, ())) if end is not None]
            if ends:
                self._bounds[name] = (min(ends), max(ends))

    def added(self, deltalake: Any, *, changed: bool = True) -> Any:
        """The action of a commit that adds the file; `changed`: with rows that were not there before."""
        statistics = {
            "numRecords": self.rows,
            "minValues": {name: _json(least) for name, (least, _) in self._bounds.items()},
            "maxValues": {name: _json(greatest) for name, (_, greatest) in self._bounds.items()},
            "nullCount": self._nulls,
        }
        return deltalake.transaction.AddAction(
            path=self.path,
            size=self.bytes,
            partition_values={MONTH: self.month},
            modification_time=_now(),
            data_change=changed,
            stats=json.dumps(statistics),
        )


def removed(file: DataFile, deltalake: Any, *, changed: bool = True) -> Any:
    """The action of a commit that removes a file; `changed`: its rows are not all in another one now."""
    return deltalake.transaction.RemoveAction(file.path, changed, _now(), file.bytes, {MONTH: file.month})


def written(rows: pl.DataFrame, folder: Any) -> list[Written]:
    """Write rows, which have all columns of the table, into new files: one for each of their months."""
    files = []
    for (month,), part in sorted(rows.partition_by(MONTH, as_dict=True, include_key=False).items()):
        with _open(str(month), part.schema, folder) as (file, write):
            for group in part.sort(_ORDER).iter_slices(_ROW_GROUP):
                write(group)
        files.append(file)
    return files


def gathered(month: str, parts: Iterator[pl.DataFrame], columns: Mapping[str, pl.DataType], folder: Any) -> Written:
    """Write rows of a month into one file, in the order in which they come."""
    types = {name: dtype for name, dtype in columns.items() if name != MONTH}
    with _open(month, types, folder) as (new, write):
        for rows in parts:
            write(rows.select(list(types)).cast(dict(types)))  # type: ignore[arg-type]
    return new


def rewritten(
    file: DataFile, gone: pl.Series, instead: pl.DataFrame, columns: Mapping[str, pl.DataType], folder: Any
) -> Written | None:
    """Write a file anew without the rows of some ids, and with other rows of its month instead; None if none are left.

    Args:
        file: what is read.
        gone: the ids.
        instead: all columns of the table, `month` not needed.
        columns: those of the table, `month` among them.
        folder: of the table.
    """
    types = {name: dtype for name, dtype in columns.items() if name != MONTH}
    ids = gone.to_frame("id")
    instead = instead.select(list(types)).sort(_ORDER)
    with _open(file.month, types, folder) as (new, write):
        for rows in row_groups(file, columns, folder):
            kept = rows.join(ids, on="id", how="anti", maintain_order="left")
            here = instead.join(rows.select("id"), on="id", how="semi")
            instead = instead.join(here.select("id"), on="id", how="anti", maintain_order="left")
            write(pl.concat([kept, here]).sort(_ORDER) if here.height else kept)
        write(instead)
    if new.rows:
        return new
    folder.delete_file(new.path)
    return None


def row_groups(file: DataFile, columns: Mapping[str, pl.DataType], folder: Any) -> Iterator[pl.DataFrame]:
    """The rows of a file with all columns of the table but the month, also those that came after it."""
    types = {name: dtype for name, dtype in columns.items() if name != MONTH}
    with folder.open_input_file(file.path) as opened, pq.ParquetFile(opened) as parquet:
        for batch in parquet.iter_batches(_ROW_GROUP):
            rows = pl.DataFrame(pl.from_arrow(batch))
            missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in types.items() if name not in rows]
            yield rows.with_columns(missing).select(list(types)).cast(dict(types))  # type: ignore[arg-type]


@contextmanager
def _open(month: str, columns: Mapping[str, pl.DataType], folder: Any) -> Iterator[tuple[Written, Any]]:
    """A new file, and what writes rows into it."""
    file = Written(month, columns)
    schema = pl.DataFrame(schema=columns).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    if isinstance(folder, pa_fs.SubTreeFileSystem):
        folder.create_dir(f"{MONTH}={month}")
    with _whole(file.path, folder) as stream:
        with pq.ParquetWriter(
            stream,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in columns if _repeats(name)],
            store_schema=False,
        ) as writer:

            def write(rows: pl.DataFrame) -> None:
                if rows.height:
                    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
                    writer.write_table(table, row_group_size=_ROW_GROUP)
                    file.count(rows)

            yield file, write
        file.bytes = stream.tell()


@contextmanager
def _whole(path: str, folder: Any) -> Iterator[Any]:
    """A new file that is written to its end or not there: half of one would fill a disk that is full already."""
    try:
        with folder.open_output_stream(path) as stream:
            yield stream
    except BaseException:
        with suppress(OSError):
            folder.delete_file(path)
        raise


def _repeats(name: str) -> bool:
    return name.endswith(_REPEATING) and not name.endswith(_NOT_REPEATING)


def _json(value: Any) -> str:
    if not isinstance(value, datetime):
        return str(value)
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"  # not strftime: year 1 is 0001


def _now() -> int:
    return time.time_ns() // 1_000_000
