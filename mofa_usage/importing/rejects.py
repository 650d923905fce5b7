"""The rows that were refused: counted by reason, and written down one by one on request.

The reasons in the summary hold no values of the rows, so that there are few of them however many rows are refused. The
rejects file has every refused row with its line number, the full reason and the row as it stands in the source.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from mofa_usage.errors import UsageError

__all__ = ["RejectReason", "Rejections"]

_LINES_SHOWN = 5
_MOST_REASONS = 50
_OTHER = "other reasons"


@dataclass(frozen=True, slots=True)
class RejectReason:
    """Why rows were refused: the reason, how many rows, the first of their line numbers and one row's full reason."""

    reason: str
    count: int
    lines: tuple[int, ...]
    example: str


@dataclass(slots=True)
class _Tally:
    example: str
    count: int = 0
    lines: list[int] = field(default_factory=list)


class Rejections:
    """Collects refused rows, and writes them to `path` (.csv, .jsonl or .ndjson) unless it is None.

    Raises:
        UsageError: the name of `path` tells neither format, it is the source itself, or it cannot be written.
    """

    def __init__(self, path: Path | None, source: Path) -> None:
        self.path = path
        self.total = 0
        self._tallies: dict[str, _Tally] = {}
        self._file: IO[str] | None = None
        self._write_row: Callable[[int, str, str], object] = lambda line, reason, raw: None
        if path is not None:
            self._open(path, source)

    def _open(self, path: Path, source: Path) -> None:
        if path.suffix.lower() not in (".csv", ".jsonl", ".ndjson"):
            raise UsageError(f"rejects: {path}: name it .csv or .jsonl, that is what can be written")
        if path.exists() and source.exists() and path.samefile(source):
            raise UsageError(f"rejects: {path} is the source itself and would be overwritten")
        try:
            # The source's own bytes where they are no UTF-8, so that the row can be mended.
            self._file = file = path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise UsageError(f"rejects: {path} cannot be written: {error.strerror or error}") from error
        if path.suffix.lower() == ".csv":
            writer = csv.writer(file)
            writer.writerow(("line", "reason", "row"))
            self._write_row = lambda line, reason, raw: writer.writerow((line, reason, raw))
        else:
            self._write_row = lambda line, reason, raw: file.write(
                json.dumps({"line": line, "reason": reason, "row": raw}) + "\n"
            )

    def add(self, line: int, kind: str, reason: str, raw: Callable[[], str]) -> None:
        """Note a refused row: `kind` is the reason without the row's values, `reason` the full one."""
        self.total += 1
        if kind not in self._tallies and len(self._tallies) >= _MOST_REASONS:
            kind = _OTHER
        tally = self._tallies.setdefault(kind, _Tally(reason))
        tally.count += 1
        if len(tally.lines) < _LINES_SHOWN:
            tally.lines.append(line)
        if self._file is not None:
            self._write_row(line, reason, raw())

    def reasons(self) -> tuple[RejectReason, ...]:
        """The reasons so far, the most frequent first."""
        reasons = (
            RejectReason(kind, tally.count, tuple(tally.lines), tally.example) for kind, tally in self._tallies.items()
        )
        return tuple(sorted(reasons, key=lambda reason: (-reason.count, reason.lines)))

    def close(self) -> None:
        """Finish the rejects file."""
        if self._file is not None:
            self._file.close()
