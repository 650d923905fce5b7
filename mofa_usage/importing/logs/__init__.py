"""Logs of tools in their own formats: one small file per format, found by entry points, so that others add theirs.

A format is a `LogFormat`, named by an entry point of the group `mofa_usage.logs`:

    [project.entry-points."mofa_usage.logs"]
    claude-code = "mofa_usage.importing.logs.claude_code:CLAUDE_CODE"

It recognises its files by their beginning (`Sample`) and turns their rows into calls: rows whose names any import knows
(`mofa_usage.names`, `mofa_usage.tokens`), so that columns, tokens, outcomes, spans and ids are read as everywhere. What
only the tool itself does is said here: which lines are calls, which ones say a call again, what stands elsewhere in the
file. A row that is none of the calls is marked `left_out` with why, so that it is counted and not refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mofa_usage.importing.source import SourceRow

__all__ = ["LogFormat", "Sample", "known_formats", "recognised"]

_GROUP = "mofa_usage.logs"


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a file, as the reader of its kind (CSV, JSON, Parquet) gives it.

    Attributes:
        columns: the names of a table's columns; of JSON those of the first rows.
        rows: the first rows that are well-formed.
    """

    columns: frozenset[str]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class LogFormat:
    """The format of one tool's logs.

    Attributes:
        name: for people: `Claude Code session logs`.
        recognises: whether a file is of this format.
        calls: the rows of one file, in their order, as calls. It gets the rows as they are and the file's path. What it
            gives has `values`, or says why not (`problem`, `left_out`); malformed rows are handed on.
        marks: every line of JSON that matters holds one of these texts. The others are not even parsed, which is what
            takes the time where most of a log is conversation. None: all lines matter.
    """

    name: str
    recognises: Callable[[Sample], bool]
    calls: Callable[[Iterable[SourceRow], Path | None], Iterator[SourceRow]]
    marks: tuple[str, ...] = ()


@cache
def known_formats() -> tuple[LogFormat, ...]:
    """The formats of all that is installed, by the names of their entry points."""
    points = sorted(entry_points(group=_GROUP), key=lambda point: point.name)
    return tuple(point.load() for point in points)


def recognised(sample: Sample) -> LogFormat | None:
    """The first format, by name, that recognises a file."""
    return next((known for known in known_formats() if known.recognises(sample)), None)
