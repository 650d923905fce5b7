"""Calls as Parquet files: exact, small, and quick to ask about any period; and as CSV, for what reads nothing else.

`export_parquet` streams the calls of a source into one file, or one for each month or day. They are in order of time,
in row groups of some ten thousand calls, so that a question about a week reads the groups of that week. Types are
exact (`DECIMAL(38, 10)`, UTC microseconds), the JSON details are there as text too, so nothing is lost, and the files'
metadata names the version of the columns (`mofa_usage.schema_version`) and, for each column, its unit. Any tool reads
them; `load_usage` on the path gives the same frame again.

A crash leaves no half an export. Everything is written into a hidden folder beside the target and renamed when it is
complete; what a killed process left behind there is removed by the next export to the same path.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from glob import escape as glob_escape
from itertools import chain
from pathlib import Path
from typing import Literal, TypedDict

from mofa_usage.errors import SerializationError, UsageError, require
from mofa_usage.progress import watched
from mofa_usage.reading.columns import NAME_COLUMNS, call_column
from mofa_usage.reading.open import Source, open_source
from mofa_usage.reading.relation import SCHEMA_VERSION, VERSION_KEY
from mofa_usage.reading.selection import Selection
from mofa_usage.records import QueryFilter
from mofa_usage.zones import Moment

for needed in ("polars", "pyarrow"):
    require(needed, extra="analysis")

import polars as pl  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

__all__ = ["ExportOptions", "ExportSummary", "export_csv", "export_parquet"]

Partition = Literal["month", "day"]

_LABELS = {"month": "%Y-%m", "day": "%Y-%m-%d"}
_FILE = "calls.parquet"
_CSV_TIME = "%Y-%m-%dT%H:%M:%S%.6f%:z"
_LOCK = "lock"
_OLD = "old"

# Few different values, so that a dictionary of them pays.
_REPEATING = ("agent_id", "user_id", "tenant_id", "model_name", "status", "error_code", "currency", *NAME_COLUMNS)


@dataclass(frozen=True)
class ExportSummary:
    """What an export wrote: `rows` calls in `files`, `bytes` in all."""

    path: Path
    rows: int
    files: tuple[Path, ...]
    bytes: int


class ExportOptions(TypedDict, total=False):
    """The options of `export_parquet`, which says what they mean."""

    filter: QueryFilter | None
    start: Moment | None
    end: Moment | None
    tz: str
    partition_by: Partition | None
    overwrite: bool
    row_group_size: int
    progress: bool | None


def export_parquet(
    source: Source,
    path: str | os.PathLike[str],
    *,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
    partition_by: Partition | None = None,
    overwrite: bool = False,
    row_group_size: int = 65_536,
    progress: bool | None = None,
) -> ExportSummary:
    """Write the calls of a source to Parquet, in bounded memory.

    Args:
        source: What `load_usage` takes.
        path: The file to write, or the folder of a partitioned export. A folder holds a folder for each month or day
            that has calls (`month=2026-05/calls.parquet`, as Hive names them).
        filter: Only calls that meet it.
        start: Only calls created at or after this: a datetime with a zone, a date, or ISO 8601 text.
        end: Only calls created before this.
        tz: The zone of partitions, and of dates and text without a zone in `start` and `end`. Times are stored in UTC
            whatever it is.
        partition_by: "month" or "day" of create_time on the clock of `tz`.
        overwrite: Replace what is at `path`; the old export stays whole until the new one is.
        row_group_size: Calls in a row group: what a reader skips or reads as a whole.
        progress: As for `load_usage`.

    Returns:
        What was written.

    Raises:
        UsageError: there is something at `path` already, it cannot be written, or the calls have no create_time.
        PersistenceError: as `load_usage`.
    """
    if partition_by is not None and partition_by not in _LABELS:
        raise UsageError(f"partition_by is {partition_by!r}; calls are partitioned by 'month' or 'day'")
    if row_group_size < 1:
        raise UsageError(f"row_group_size is {row_group_size}; a row group has at least one call")
    target = _free(path, overwrite, folder=partition_by is not None)
    partitions = None if partition_by is None else _Partitions(partition_by, tz)
    columns, batches = _batches(source, Selection.of(filter, start, end, tz, None), progress)
    with _staged(target) as staging:
        with _Files(staging, partitions, row_group_size, columns) as files:
            for rows in batches:
                files.write(rows)
        _move(staging if partition_by else staging / _FILE, target)
    written = tuple(target / name for name in files.names) if partition_by else (target,)
    return ExportSummary(target, files.rows, written, sum(file.stat().st_size for file in written))


def export_csv(
    source: Source,
    path: str | os.PathLike[str],
    *,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
    overwrite: bool = False,
    progress: bool | None = None,
) -> ExportSummary:
    """Write the calls of a source to a CSV file, in bounded memory: the columns of `export_parquet`, in its order.

    Money has all its decimal places, times are UTC in ISO 8601, what is missing is empty. `import_calls` reads it.
    Arguments and errors are those of `export_parquet`.
    """
    target = _free(path, overwrite, folder=False)
    columns, batches = _batches(source, Selection.of(filter, start, end, tz, None), progress)
    with _staged(target) as staging:
        staged, count = staging / _FILE, 0
        with staged.open("wb") as file:
            pl.DataFrame(schema=columns).write_csv(file)
            for rows in batches:
                rows.write_csv(file, include_header=False, datetime_format=_CSV_TIME)
                count += rows.height
        _to_disk(staged)
        _move(staged, target)
    return ExportSummary(target, count, (target,), target.stat().st_size)


def _free(path: str | os.PathLike[str], overwrite: bool, *, folder: bool) -> Path:
    """Where an export goes, which may go there; what killed ones left is cleared up."""
    target = Path(path).absolute()
    _clear_up(target)
    _check_target(target, overwrite, folder)
    return target


def _batches(source: Source, selection: Selection, progress: bool | None) -> tuple[pl.Schema, Iterator[pl.DataFrame]]:
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
class _Partitions:
    """By what an export is partitioned, and on which clock."""

    by: Partition
    tz: str

    def of(self, times: pl.Series) -> pl.Series:
        """The folder of each time, as Hive names them."""
        return f"{self.by}=" + times.dt.convert_time_zone(self.tz).dt.strftime(_LABELS[self.by])


class _Files:
    """The files of an export inside a folder: one, or one for each partition, of which one is open at a time.

    Attributes:
        rows: How many calls were written.
        names: The files, relative to the folder.
    """

    def __init__(self, folder: Path, partitions: _Partitions | None, row_group_size: int, columns: pl.Schema) -> None:
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
        name = str(Path(partition, f"calls-{before + 1}.parquet" if before else _FILE))
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
        _to_disk(self._folder / self.names[-1])

    def __enter__(self) -> "_Files":
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


def _check_target(target: Path, overwrite: bool, folder: bool) -> None:
    """Refuse a target that must not be replaced; a folder is only replaced when it holds nothing but Parquet files."""
    if not target.exists():
        return
    if not overwrite:
        raise UsageError(f"{target} is there already; overwrite=True replaces it")
    if target.is_dir() != folder:
        kinds = ("a folder", "one file") if target.is_dir() else ("a file", "a partitioned folder")
        raise UsageError(f"{target} is {kinds[0]}, which an export to {kinds[1]} does not replace")
    other = (file for file in target.rglob("*") if not file.is_dir() and file.suffix != ".parquet") if folder else ()
    for file in other:
        raise UsageError(f"{target} is not replaced: it holds {file.relative_to(target)}, which is no Parquet file")


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, on the same disk, that is gone afterwards."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.export")
        with ExitStack() as left:
            folder.mkdir()
            left.callback(shutil.rmtree, folder, ignore_errors=True)
            left.enter_context(_locked(folder))
            (folder / "files").mkdir()
            yield folder / "files"
    except OSError as error:
        raise UsageError(f"cannot write the export to {target}: {error.strerror or error}") from error


def _clear_up(target: Path) -> None:
    """Remove what killed exports left, whose locks went with them; a folder that one had put aside is put back."""
    for folder in target.parent.glob(f".{glob_escape(target.name)}.*.export"):
        try:
            with _locked(folder):
                if not target.exists() and (folder / _OLD).exists():
                    (folder / _OLD).rename(target)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # somebody is still writing there


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock that ends with the process at the latest.

    Raises:
        OSError: another process holds it.
    """
    with open(folder / _LOCK, "ab") as lock:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _move(staged: Path, target: Path) -> None:
    """Put what is complete in its place. A file replaces another at once; a folder is put aside before."""
    old = staged.parent / _OLD
    if target.is_dir():
        target.rename(old)
    try:
        staged.replace(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    _to_disk(target.parent)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power failure."""
    if path.is_dir() and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
