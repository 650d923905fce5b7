"""The rows that were refused: counted by reason, and written down one by one on request.

The reasons in the summary hold no values of the rows, so that there are few of them however many rows are refused. The
rejects file has every refused row with its line number, the full reason and the row as it stands in the source.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mofa_usage.errors import UsageError
from mofa_usage.importing.source import RowSource, SourceRow

__all__ = ["RejectReason", "Rejections"]

_LINES_SHOWN = 5
_MOST_REASONS = 50
_OTHER = "other reasons"


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Why rows were refused. `str()` of it is a sentence.

    Attributes:
        reason: without the rows' own values.
        count: how many rows.
        lines: the first of their numbers, from 1: lines of a text (the header included), rows of a Parquet file, items
            of a JSON document.
        example: one row's full reason.
        places: the same rows for people: `line 7`, or `b.csv line 7` when there are several sources.
    """

    reason: str
    count: int
    lines: tuple[int, ...]
    example: str
    places: tuple[str, ...]

    def __str__(self) -> str:
        example = "" if self.example == self.reason else f"; {self.example}"
        return f"refused {self.count:,}: {self.reason} ({self.where}{example})"

    @property
    def where(self) -> str:
        """The first of the rows: `line 7, 10, ...`."""
        first, *others = self.places
        unit = first.rpartition(" ")[0]
        shown = [first, *(place.removeprefix(f"{unit} ") for place in others)]
        return ", ".join(shown) + (", ..." if self.count > len(self.places) else "")


@dataclass(slots=True)
class _Tally:
    example: str
    count: int = 0
    lines: list[int] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


class Rejections:
    """Collects refused rows, and writes them to `path` (.csv, .jsonl or .ndjson) unless it is None.

    Args:
        path: the file to write.
        sources: the files that are read, which must not be overwritten. With several of them, or a folder, the written
            rows say which one they are from.

    Raises:
        UsageError: the name of `path` tells neither format, it is a source itself, or it cannot be written.
    """

    def __init__(self, path: Path | None, sources: Sequence[str | Path]) -> None:
        self.path = path
        self.total = 0
        self._names_source = len(sources) > 1 or any(Path(source).is_dir() for source in sources)
        self._tallies: dict[str, _Tally] = {}
        self._file: IO[str] | None = None
        self._write_row: Callable[[Mapping[str, object]], object] = lambda row: None
        if path is not None:
            self._open(path, [Path(source) for source in sources])

    def _open(self, path: Path, sources: Sequence[Path]) -> None:
        if path.suffix.lower() not in (".csv", ".jsonl", ".ndjson"):
            raise UsageError(f"rejects: {path}: name it .csv or .jsonl, that is what can be written")
        if path.exists() and any(source.exists() and path.samefile(source) for source in sources):
            raise UsageError(f"rejects: {path} is the source itself and would be overwritten")
        try:
            # The source's own bytes where they are no UTF-8, so that the row can be mended.
            self._file = file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise UsageError(f"rejects: {path} cannot be written: {error.strerror or error}") from error
        if path.suffix.lower() == ".csv":
            writer = csv.DictWriter(file, [*(["source"] if self._names_source else []), "line", "reason", "row"])
            writer.writeheader()
            self._write_row = writer.writerow
        else:
            self._write_row = lambda row: file.write(json.dumps(row) + "\n")

    def add(self, source: RowSource, row: SourceRow, kind: str, reason: str) -> None:
        """Note a refused row: `kind` is the reason without the row's values, `reason` the full one."""
        self.total += 1
        if kind not in self._tallies and len(self._tallies) >= _MOST_REASONS:
            kind = _OTHER
        tally = self._tallies.setdefault(kind, _Tally(reason))
        name = row.file or source.name
        tally.count += 1
        if len(tally.lines) < _LINES_SHOWN:
            tally.lines.append(row.line)
            where = f"{name} " if self._names_source else ""
            tally.places.append(f"{where}{source.unit} {row.line}")
        if self._file is not None:
            named = {"source": name} if self._names_source else {}
            self._write_row({**named, "line": row.line, "reason": reason, "row": row.raw()})

    def reasons(self) -> tuple[RejectReason, ...]:
        """The reasons so far, the most frequent first."""
        reasons = (
            RejectReason(kind, tally.count, tuple(tally.lines), tally.example, tuple(tally.places))
            for kind, tally in self._tallies.items()
        )
        return tuple(sorted(reasons, key=lambda reason: (-reason.count, reason.lines, reason.places)))

    def close(self) -> None:
        """Finish the rejects file."""
        if self._file is not None:
            self._file.close()
