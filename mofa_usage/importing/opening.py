"""What is to be imported, as sources: files, folders, standard input, tables and the answer of a query.

A file whose beginning a log format recognises (`logs/`) is read as that, all files of one format as one source; any
other file as rows whose columns say what they are. A folder stands for the files below it that a format recognises: the
others may be anything, so they are named and not read. Who gives a mapping says what the columns are, so that nothing
is recognised then.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mofa_usage.errors import MissingExtraError, UsageError
from mofa_usage.importing.content import STANDARD_INPUT
from mofa_usage.importing.files import has_known_name, open_file
from mofa_usage.importing.logs import LogFormat, known_formats, recognised
from mofa_usage.importing.logs.files import LogFile, LogFiles, sample_of
from mofa_usage.importing.source import RowSource
from mofa_usage.importing.tables import QueryRows, TableRows, is_table

__all__ = ["Opened", "names_of", "open_all"]


@dataclass(frozen=True, slots=True)
class Opened:
    """What is read.

    Attributes:
        sources: each read for itself.
        names: of all files and tables in them, for people.
        unrecognised: the files of folders that no format recognised.
    """

    sources: tuple[RowSource, ...]
    names: tuple[str, ...]
    unrecognised: tuple[str, ...] = ()


def names_of(source: Any) -> list[str | Path]:
    """The files and folders that are named, `~` being the home folder; none where the source is a table.

    Raises:
        UsageError: the source is neither.
    """
    if is_table(source):
        return []
    try:
        paths = [source] if isinstance(source, str | PathLike) else list(source)
        names = [path if path == STANDARD_INPUT else Path(path).expanduser() for path in paths]
    except TypeError:
        raise UsageError(f"a {type(source).__name__} is nothing to import; give files, a frame or a relation") from None
    except RuntimeError as error:
        raise UsageError(f"{error} ({source})") from None
    if not names:
        raise UsageError("there is nothing to import: no file is named")
    return names


def open_all(
    source: Any, names: Sequence[str | Path], *, sql: str | None, file_format: str | None, tz: str, is_mapped: bool
) -> Opened:
    """Open a source of `import_calls`, whose files are `names`; it is not kept open between two readings.

    Raises:
        UsageError: a file cannot be read, a folder has no file of any format, or DuckDB refuses the query.
        MissingExtraError: a source needs the extra `analysis`, which is not installed.
    """
    if sql is not None:
        query = QueryRows(names or source, sql, file_format=file_format, tz=tz)
        return Opened((query,), (query.name,))
    if not names:
        table = TableRows(source)
        log = None if is_mapped else recognised(sample_of(table))
        return Opened((table if log is None else LogFiles(log, [LogFile(table, None)]),), (table.name,))
    with ExitStack() as opened:
        gathered = _Gathered(file_format, is_mapped, opened)
        for name in names:
            gathered.take(name)
        opened.pop_all()
        return gathered.result()


class _Gathered:
    """The files so far: those of a format together, the others each for itself, in the order of the first."""

    def __init__(self, file_format: str | None, is_mapped: bool, opened: ExitStack) -> None:
        self._file_format = file_format
        self._is_mapped = is_mapped
        self._opened = opened
        self._groups: dict[str, tuple[LogFormat | None, list[LogFile]]] = {}
        self._unrecognised: list[str] = []

    def take(self, name: str | Path) -> None:
        """Add what a name stands for."""
        if name != STANDARD_INPUT and Path(name).is_dir():
            self._take_folder(Path(name))
            return
        source = self._open(name)
        log = None if self._is_mapped else recognised(sample_of(source))
        self._add(log, source, name)

    def _take_folder(self, folder: Path) -> None:
        if self._is_mapped:
            raise UsageError(f"{folder} is a folder, whose files are read by their formats; map columns of a file")
        any_known = False
        for path in _files_below(folder):
            any_known = self._take_log(path) or any_known
        if not any_known:
            formats = ", ".join(log.name for log in known_formats())
            raise UsageError(f"{folder} holds no file of a format that is recognised ({formats}); name files to import")

    def _take_log(self, path: Path) -> bool:
        """Add a file of a folder if a format recognises it."""
        if has_known_name(path):
            try:
                source = self._open(path)
                if (log := recognised(sample_of(source))) is not None:
                    self._add(log, source, path)
                    return True
                source.close()
            except (UsageError, MissingExtraError):
                pass  # it is empty, unreadable, or of another kind than its name says
        self._unrecognised.append(str(path))
        return False

    def _open(self, name: str | Path) -> RowSource:
        source = open_file(name, self._file_format)
        self._opened.callback(source.close)
        return source

    def _add(self, log: LogFormat | None, source: RowSource, name: str | Path) -> None:
        source.pause()  # there may be more files than can be open at once
        key = f"{len(self._groups)} {name}" if log is None else log.name
        path = None if name == STANDARD_INPUT else Path(name)
        self._groups.setdefault(key, (log, []))[1].append(LogFile(source, path))

    def result(self) -> Opened:
        """All of it."""
        groups = self._groups.values()
        return Opened(
            tuple(files[0].source if log is None else LogFiles(log, files) for log, files in groups),
            tuple(file.source.name for _, files in groups for file in files),
            tuple(self._unrecognised),
        )


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, in the order of their paths; what may not be read is passed over."""
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    yield from sorted(path for path in found if path.is_file())
