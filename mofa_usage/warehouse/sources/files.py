"""Parquet files: one that is as it was when it was read is left out.

What tells is the name, the size and the time of the last change, as with every program that copies files. The position
is a digest of these for each file; of thousands of files some share one, and are read again together.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.reading.places import local_path
from mofa_usage.reading.relation import open_parquet, parquet_files
from mofa_usage.warehouse.sources.changes import SCHEMAS, Cost, Page, Position
from mofa_usage.warehouse.sources.checksums import Sums
from mofa_usage.warehouse.sources.frames import call_batches, digest_of, in_month, refuse_deletions

__all__ = ["FileChanges"]

_MOST = 4_000  # digests, some 60 kB


class FileChanges:
    """The calls in a Parquet file, in the files of a folder, or in those that a pattern matches.

    Raises:
        UsageError: there is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.fingerprint = str(local_path(path))
        self.cost = Cost()
        self._path = path

    def pages(self, position: Position | None) -> Iterator[Page]:
        """See `Changes`."""
        known = set(position["files"]) if position and "files" in position else set()
        groups = {_digest(group): group for group in _groups(parquet_files(self._path))}
        done = [digest for digest in groups if digest in known]
        for digest, group in groups.items():
            if digest in known:
                continue
            for file in group:
                for rows in self._rows(file):
                    if rows.height:
                        yield Page(rows, {"files": done})
            done = [*done, digest]
            yield Page(pl.DataFrame(schema=SCHEMAS["calls"]), {"files": done}, keep=True)
        if not groups.keys() - known:
            yield Page(pl.DataFrame(schema=SCHEMAS["calls"]), {"files": done})

    def _rows(self, file: Path) -> Iterator[pl.DataFrame]:
        return self.cost.counted(call_batches(open_parquet(file, threads=1), str(file)))

    def gone(self, held: Iterator[pl.DataFrame], kept_before: datetime | None) -> Iterator[pl.Series]:
        """See `Changes`."""
        raise refuse_deletions(self.fingerprint)

    def sums(self, columns: Collection[str]) -> Sums | None:
        """See `Changes`."""
        return None

    def rows_of(self, month: str | None) -> Iterator[pl.DataFrame]:
        """See `Changes`."""
        for file in parquet_files(self._path):
            for rows in self._rows(file):
                yield rows if month is None else rows.filter(in_month(month))


def _groups(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    size = -(-len(files) // _MOST)
    return (files[start : start + size] for start in range(0, len(files), max(size, 1)))


def _digest(files: Sequence[Path]) -> str:
    try:
        said = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error
    return digest_of(repr(said).encode())
