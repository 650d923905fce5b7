"""All files of one format as one source of calls.

A session of a coding agent is a file of its own, and there may be thousands: they are opened one after the other, and
what one of them lacks (it is cut off, somebody deleted it) costs its own rest only.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mofa_usage.errors import UsageError
from mofa_usage.importing.content import DamagedError
from mofa_usage.importing.json_rows import JsonSource
from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.source import RowSource, SourceRow

__all__ = ["LogFile", "LogFiles", "sample_of"]

_SAMPLED = 40  # rows
_LOOKED_AT = 400


def sample_of(source: RowSource) -> Sample:
    """The beginning of what a reader gives."""
    rows = []
    try:
        for row in islice(source, _LOOKED_AT):
            if row.values is not None:
                rows.append(row.values)
            if len(rows) == _SAMPLED:
                break
    except DamagedError:
        pass  # what is before the damage tells
    columns = frozenset(source.columns or ()) or frozenset(name for row in rows for name in row)
    return Sample(columns, rows)


class LogFile(NamedTuple):
    """One file of a format: its reader, and where it is (None: standard input)."""

    source: RowSource
    path: Path | None


class LogFiles:
    """The calls in the files of one format, one file after the other.

    Args:
        log: the format.
        files: the files, in their order.
    """

    unit = "line"
    is_text = True  # an empty text says nothing in any of them
    columns: tuple[str, ...] | None = None

    def __init__(self, log: LogFormat, files: Sequence[LogFile]) -> None:
        self.format = log.name
        self.name = files[0].source.name if len(files) == 1 else f"{len(files):,} files of {log.name}"
        self.size = sum(file.source.size for file in files)
        self._log = log
        self._files = files
        self._done = 0  # of the files that are read
        self._at: RowSource | None = None
        for file in files:
            if isinstance(file.source, JsonSource):
                file.source.marks = log.marks

    def __iter__(self) -> Iterator[SourceRow]:
        self._done, self._at = 0, None
        for file in self._files:
            source = self._at = file.source
            self.unit = source.unit
            try:
                for row in self._log.calls(source, file.path):
                    yield row._replace(file=source.name)
            except UsageError as error:
                if len(self._files) == 1:
                    raise
                yield SourceRow(0, None, str, f"cannot be read on: {error}", file=source.name)
            self._done, self._at = self._done + source.size, None
            source.pause()

    def position(self) -> int:
        """How far the reading has come, from 0 to `size`."""
        return self._done + (0 if self._at is None else self._at.position())

    def pause(self) -> None:
        """Let go of what the next pass opens again."""
        for file in self._files:
            file.source.pause()

    def close(self) -> None:
        """Let go of everything."""
        for file in self._files:
            file.source.close()
