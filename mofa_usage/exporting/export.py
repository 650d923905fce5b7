"""Calls as Parquet files: exact, small, and quick to ask about any period; and as CSV, for what reads nothing else.

`export_parquet` streams the calls of a source into one file, or one for each month or day. They are in order of time,
in row groups of some ten thousand calls, so that a question about a week reads the groups of that week. Types are
exact (`DECIMAL(38, 10)`, UTC microseconds), the JSON details are there as text too, so nothing is lost, and the files'
metadata names the version of the columns (`mofa_usage.schema_version`) and, for each column, its unit. Any tool reads
them; `load_usage` on the path gives the same frame again.

A crash leaves no half an export. Everything is written into a hidden folder beside the target and renamed when it is
complete; what a killed process left behind there is removed by the next export to the same path.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mofa_usage.errors import UsageError
from mofa_usage.exporting.files import ONE_FILE, CallFiles, Partition, Partitions, calls_in_order
from mofa_usage.exporting.staging import clear_up, move, staged, to_disk
from mofa_usage.reading.open import Source
from mofa_usage.reading.places import local_path
from mofa_usage.reading.selection import Selection
from mofa_usage.records import QueryFilter
from mofa_usage.zones import Moment

import polars as pl  # isort: skip (after the files, which name the extra)

__all__ = ["ExportOptions", "ExportSummary", "export_csv", "export_parquet"]

_CSV_TIME = "%Y-%m-%dT%H:%M:%S%.6f%:z"


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
    partitions = None if partition_by is None else Partitions(partition_by, tz)
    if row_group_size < 1:
        raise UsageError(f"row_group_size is {row_group_size}; a row group has at least one call")
    target = _free(path, overwrite, folder=partition_by is not None)
    columns, batches = calls_in_order(source, Selection.of(filter, start, end, tz, None), progress)
    with staged(target) as staging:
        with CallFiles(staging, partitions, row_group_size, columns) as files:
            for rows in batches:
                files.write(rows)
        move(staging if partition_by else staging / ONE_FILE, target)
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
    columns, batches = calls_in_order(source, Selection.of(filter, start, end, tz, None), progress)
    with staged(target) as staging:
        staged_file, count = staging / ONE_FILE, 0
        with staged_file.open("wb") as file:
            pl.DataFrame(schema=columns).write_csv(file)
            for rows in batches:
                rows.write_csv(file, include_header=False, datetime_format=_CSV_TIME)
                count += rows.height
        to_disk(staged_file)
        move(staged_file, target)
    return ExportSummary(target, count, (target,), target.stat().st_size)


def _free(path: str | os.PathLike[str], overwrite: bool, *, folder: bool) -> Path:
    """Where an export goes, which may go there; what killed ones left is cleared up."""
    target = local_path(path)
    clear_up(target)
    _check_target(target, overwrite, folder)
    return target


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
