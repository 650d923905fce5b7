"""What a warehouse needs now and then: few large files instead of many small ones, and old ones away.

Every sync that finds something adds a small file for each month that it touches. `compacted` puts those of a month
together, in order of time; nothing else changes, and a question or a sync may run meanwhile. The old files stay for
those who still read an earlier version, until `vacuumed` removes what no version of the last days needs.

Somebody who syncs every few seconds makes more files than he will ever look after. So a sync calls `tidied`, which puts
together what has become many: 32 tiny files of a month make a small one, 32 small ones a large one. A month has less
than a hundred files then, whatever there was, and each row is written three times.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.reading.columns import TIME
from mofa_usage.reading.delta import SYNCED, DataFile, delta_told
from mofa_usage.reading.relation import told
from mofa_usage.warehouse.delta import DONE, KEPT_DAYS, Conflict, Mirror
from mofa_usage.warehouse.scratch import Scratch
from mofa_usage.warehouse.sources.changes import PAGE_ROWS, TableName
from mofa_usage.wording import count

__all__ = ["KEPT_DAYS", "Upkeep", "compacted", "history_of", "tidied", "vacuumed"]

T = TypeVar("T")

_MOST_DAYS = 100_000
_LEAST_DAYS = 1.0  # somebody may be reading an earlier version
_LARGE = 64 * 2**20  # bytes of a file: what is written anew when one of its rows changes, in two seconds
_TINY, _SMALL = 2**18, 2**21  # bytes: what a sync of some seconds writes, and what many of these make
_MANY = 32
_ATTEMPTS = 10
_COUNTED = ("added", "updated", "deleted")
_HISTORY = {
    "table": pl.String(),
    "version": pl.Int64(),
    "time": TIME,
    "what": pl.String(),
    "source": pl.String(),
    **dict.fromkeys(_COUNTED, pl.Int64()),
}


@dataclass(frozen=True)
class Upkeep:
    """What was done to the files of the tables. `str()` of it is a sentence.

    Attributes:
        done: "put together" or "removed".
        files: how many files that were, by table.
        bytes: how large they were; None where nobody looked.
        left: how many files the tables have now.
    """

    done: str
    files: dict[TableName, int]
    bytes: int | None
    left: int

    def __str__(self) -> str:
        number = sum(self.files.values())
        size = "" if self.bytes is None else f" ({self.bytes / 1e6:,.1f} MB)"
        what = f"{count(number)} {'file was' if number == 1 else 'files were'} {self.done}{size}" if number else ""
        return f"{what or f'No files were {self.done}'}; the tables have {count(self.left)}."


def compacted(mirror: Mirror) -> tuple[int, int]:
    """Put small files of each month together; how many there were, and their bytes.

    Raises:
        UsageError: others write the table all the time.
    """
    files = size = 0

    def all_groups() -> tuple[int, int]:
        nonlocal files, size
        for group in _groups(mirror.files):
            mirror.replace(group, _sorted(mirror, group))
            files += len(group)
            size += sum(file.bytes for file in group)
        return files, size

    return _insist(mirror, "compact", all_groups)


def _insist(mirror: Mirror, doing: str, change: Callable[[], T]) -> T:
    """Make a change again if somebody else was quicker."""
    for _ in range(_ATTEMPTS):
        try:
            return change()
        except Conflict:
            continue
    raise UsageError(f"others write the table {mirror.name} all the time; {_ATTEMPTS} attempts to {doing} it failed")


def tidied(mirror: Mirror) -> None:
    """Put the smallest files of a month together where they have become many; who is in the way goes first."""
    try:
        for group in _many(mirror.files):
            mirror.replace(group, _sorted(mirror, group))
    except Conflict:
        return


def _many(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files of a month that are of one size, tiny or small, and many."""
    for _, of_month in groupby(files, lambda file: file.month):
        sized = list(of_month)
        for least, bound in ((0, _TINY), (_TINY, _SMALL)):
            group = [file for file in sized if least <= file.bytes < bound]
            if len(group) >= _MANY:
                yield group


def _groups(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files of a month that are small, in groups that make large ones."""
    for _, of_month in groupby(files, lambda file: file.month):
        group: list[DataFile] = []
        for file in of_month:
            if file.bytes >= _LARGE // 2:
                continue
            group.append(file)
            if sum(one.bytes for one in group) >= _LARGE:
                yield group
                group = []
        if len(group) > 1:
            yield group


def _sorted(mirror: Mirror, files: Sequence[DataFile]) -> Iterator[pl.DataFrame]:
    """The rows of files in order of time, some at a time. A file that has a stretch of time for itself is in order."""
    for group in _overlapping(files):
        if len(group) == 1:
            yield from mirror.rows_of(group[0])
            continue
        with Scratch(threads=1) as scratch, told():  # each thread sorts in memory of its own
            rows = mirror.readable.only(group).sql(scratch.database, "rows")
            for batch in scratch.database.sql(f"FROM {rows} ORDER BY create_time, id").to_arrow_reader(PAGE_ROWS):
                yield pl.DataFrame(pl.from_arrow(batch))


def _overlapping(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files of a month, those together that have calls of the same time."""
    group: list[DataFile] = []
    last = datetime.min.replace(tzinfo=UTC)
    for file in sorted(files, key=lambda file: file.times or ()):
        if group and file.times is not None and file.times[0] > last:
            yield group
            group = []
        group.append(file)
        last = max(last, file.times[1]) if file.times is not None else last
    yield group


def vacuumed(mirror: Mirror, days: float, *, dry_run: bool) -> int:
    """Remove files that no version of so many days needs, also those of writers who were killed; how many.

    Raises:
        UsageError: fewer days than a reader may take.
    """
    if not days <= _MOST_DAYS:
        raise UsageError(f"vacuum is asked to keep {days:g} days; it is a number of days, {_MOST_DAYS:,} at most")
    if days < _LEAST_DAYS:
        raise UsageError(
            f"vacuum is asked to keep {days:g} days; somebody may be reading a version of the last day, so it keeps "
            f"{_LEAST_DAYS:g} at least"
        )
    if not dry_run:
        _insist(mirror, "vacuum", partial(mirror.remember, days))
    with delta_told(f"vacuum the table {mirror.name}"):
        removed: list[str] = mirror.table.vacuum(
            retention_hours=round(days * 24), dry_run=dry_run, enforce_retention_duration=False, full=True
        )
    mirror.reload()
    if not dry_run:
        mirror.thin_out()
    return len(removed)


def history_of(mirror: Mirror, last: int | None) -> pl.DataFrame:
    """The versions of a table, or its last so many, the newest first: what was done when, and what a sync changed."""
    rows: list[dict[str, Any]] = []
    for commit in mirror.history(last):
        synced = commit.get(SYNCED) or {}
        rows.append(
            {
                "table": mirror.name,
                "version": commit["version"],
                "time": datetime.fromtimestamp(commit["timestamp"] / 1000, UTC),
                "what": "sync" if "source" in synced else str(commit.get(DONE) or commit["operation"]).lower(),
                "source": synced.get("source"),
                **{name: synced.get(name) for name in _COUNTED},
            }
        )
    return pl.DataFrame(rows, schema=_HISTORY)
