"""The Parquet files that calls are written to, in order of time.

Types are exact (`DECIMAL(38, 10)`, UTC microseconds), the JSON details are there as text too, so nothing is lost, and
the files' metadata names the version of the columns (`mofa_usage.schema_version`) and, for each column, its unit.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from mofa_usage.errors import SerializationError, UsageError, require
from mofa_usage.exporting.staging import to_disk
from mofa_usage.progress import watched
from mofa_usage.reading.columns import NAME_COLUMNS, call_column
from mofa_usage.reading.open import Source, open_source
from mofa_usage.reading.relation import SCHEMA_VERSION, VERSION_KEY
from mofa_usage.reading.selection import Selection

for needed in ("polars", "pyarrow"):
    require(needed, extra="analysis")

import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

__all__ = ["ONE_FILE", "CallFiles", "Partition", "Partitions", "calls_in_order"]

Partition = Literal["month", "day"]

ONE_FILE = "calls.parquet"
_LABELS = {"month": "%Y-%m", "day": "%Y-%m-%d"}

# Few different values, so that a dictionary of them pays.
_REPEATING = ("agent_id", "user_id", "tenant_id", "model_name", "status", "error_code", "currency", *NAME_COLUMNS)


def calls_in_order(
    source: Source, selection: Selection, progress: bool | None
) -> tuple[pl.Schema, Iterator[pl.DataFrame]]:
    """The columns of the calls with their types, and the calls in order of time, some at a time."""
    calls = open_source(source)
    selection = replace(selection, details=True)
    columns = calls.columns(selection)
    if "create_time" not in columns:
        raise UsageError("the calls have no create_time, by which an export is sorted")
    selection = replace(selection, columns=columns)
    batches = watched(calls.batches(selection, by_time=True), "Exporting", partial(calls.count, selection), progress)
    first = next(batches)  # there is one, and it knows the types of further columns
    return first.schema, _in_order(chain([first], batches))


def _in_order(batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Calls that come in order of their seconds, in order of their microseconds.

    Only the rows of the last second so far are kept back: earlier ones cannot come any more.

    Raises:
        SerializationError: they do not come in order, because times are stored in a way that the database cannot
            sort.
    """
    kept: pl.DataFrame | None = None
    for batch in batches:
        rows = batch if kept is None else pl.concat([kept, batch])
        times = rows["create_time"]
        if not times.is_sorted():
            rows = rows.sort("create_time", maintain_order=True)
        if rows.is_empty():
            kept = rows
            continue
        complete = rows["create_time"].search_sorted(rows["create_time"].dt.truncate("1s")[-1], side="left")
        kept = rows.slice(complete)
        yield rows.head(complete)
    if kept is not None:
        yield kept


@dataclass(frozen=True)
class Partitions:
    """By what an export is partitioned, and on which clock."""

    by: Partition
    tz: str

    def __post_init__(self) -> None:
        if self.by not in _LABELS:
            raise UsageError(f"partition_by is {self.by!r}; calls are partitioned by 'month' or 'day'")

    def of(self, times: pl.Series) -> pl.Series:
        """The folder of each time, as Hive names them."""
        return f"{self.by}=" + times.dt.convert_time_zone(self.tz).dt.strftime(_LABELS[self.by])


class CallFiles:
    """The files of an export inside a folder: one, or one for each partition, of which one is open at a time.

    Attributes:
        rows: How many calls were written.
        names: The files, relative to the folder.
    """

    def __init__(self, folder: Path, partitions: Partitions | None, row_group_size: int, columns: pl.Schema) -> None:
        self.rows = 0
        self.names: list[str] = []
        self._folder = folder
        self._partitions = partitions
        self._partition: str | None = None
        self._size = row_group_size
        self._schema = _schema(columns)
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._latest: datetime | None = None

    def write(self, rows: pl.DataFrame) -> None:
        """Add calls, which are not older than those before."""
        if rows.is_empty():
            return
        if self._latest is not None and rows["create_time"][0] < self._latest:
            raise SerializationError(
                f"the calls do not come in order of time: {rows['create_time'][0]} after {self._latest}; "
                "a create_time is stored in a form that sorts differently"
            )
        self._latest = rows["create_time"][-1]
        if self._partitions is None:
            self._add("", rows)
            return
        folders = self._partitions.of(rows["create_time"])
        for folder in folders.unique(maintain_order=True):
            self._add(folder, rows.filter(folders == folder))

    def _add(self, partition: str, rows: pl.DataFrame) -> None:
        if self._writer is None or self._partition != partition:
            self._finish()
            self._open(partition)
        self._waiting.append(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self._schema))
        self.rows += rows.height
        while sum(table.num_rows for table in self._waiting) >= self._size:
            self._flush(self._size)

    def _open(self, partition: str) -> None:
        # Clocks that were set back just after midnight come to a day a second time.
        before = sum(Path(name).parent == Path(partition) for name in self.names)
        name = str(Path(partition, f"calls-{before + 1}.parquet" if before else ONE_FILE))
        self._partition = partition
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            compression_level=1,  # half as long as 3 for some percent more bytes
            use_dictionary=[column for column in self._schema.names if column in _REPEATING],
            sorting_columns=[pq.SortingColumn(self._schema.get_field_index("create_time"))],
        )
        self.names.append(name)

    def _flush(self, size: int) -> None:
        table = pa.concat_tables(self._waiting)
        assert self._writer is not None  # noqa: S101 (opened before anything waits)
        self._writer.write_table(table.slice(0, size), row_group_size=size)
        rest = table.slice(size)
        self._waiting = [rest] if rest.num_rows else []

    def _finish(self) -> None:
        if self._writer is None:
            return
        if self._waiting:
            self._flush(self._size)
        self._writer.close()
        self._writer = None
        to_disk(self._folder / self.names[-1])

    def __enter__(self) -> "CallFiles":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            if not self.names:
                self._open("")  # no calls: a file that says so
            self._finish()
        elif self._writer is not None:
            self._writer.close()


def _schema(columns: pl.Schema) -> pa.Schema:
    """The columns with their exact types; the metadata says which version they are and what they count."""
    units = {name: unit for name in columns if (column := call_column(name)) and (unit := column.unit) is not None}
    schema: pa.Schema = pl.DataFrame(schema=columns).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    return schema.with_metadata({VERSION_KEY: SCHEMA_VERSION, "mofa_usage.units": json.dumps(units)})
