"""Rows of a CSV with a header.

The delimiter is the one of comma, semicolon, tab and `|` that the header uses most. A quoted field may span lines; a
quote that is never closed costs its own line only.
"""

import csv
from collections import deque
from collections.abc import Iterator

from mofa_usage.errors import UsageError
from mofa_usage.importing.content import LONGEST, Content, CutLine, TextSource
from mofa_usage.importing.json_rows import NOT_UTF8, TOO_LONG, is_utf8
from mofa_usage.importing.source import SourceRow

__all__ = ["DELIMITERS", "CsvSource"]

DELIMITERS = ",;\t|"


class _TooLongError(Exception):
    """The CSV parser met a line that is too long."""


class _RecordLines:
    """Lines handed to the CSV parser, with those of the record in progress kept, so that they can be given back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._waiting: deque[str] = deque()
        self.number = 0  # of the last line handed out
        self.record: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self.number += 1
        self.record.append(line)
        if type(line) is CutLine:
            raise _TooLongError
        return line

    def give_back(self, kept: int) -> None:
        """Hand out again all lines of the record but the first `kept`."""
        back = self.record[kept:]
        self._waiting.extendleft(reversed(back))
        self.number -= len(back)
        self.record = self.record[:kept]


class CsvSource(TextSource):
    """A CSV with a header."""

    format = "csv"
    unit = "line"
    is_text = True

    def __init__(self, content: Content) -> None:
        super().__init__(content)
        # Of the whole process, and for conversations too short: 131,072 characters by default.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
        self.columns: tuple[str, ...] = self._header(*self._begin())

    def _begin(self) -> tuple[_RecordLines, str]:
        """The lines from the header on, and the delimiter."""
        lines = _RecordLines(self._content.lines())
        try:
            header = next(line for line in lines if line.strip())
        except StopIteration:
            raise UsageError(f"{self.name} is empty") from None
        except _TooLongError:
            raise UsageError(f"{self.name}: the first line is no header of a CSV: it is longer than 16 MiB") from None
        lines.give_back(len(lines.record) - 1)
        return lines, max(DELIMITERS, key=header.count)  # the first of equals: a comma when there is none

    def _header(self, lines: _RecordLines, delimiter: str) -> tuple[str, ...]:
        try:
            names = tuple(name.strip() for name in next(csv.reader(lines, delimiter=delimiter, strict=True)))
        except csv.Error as error:
            raise UsageError(f"{self.name}: the header is not CSV: {error}") from error
        if "\0" in "".join(names) or not any(names):
            raise UsageError(f"{self.name}: the first line is no header of a CSV in UTF-8")
        if not is_utf8("".join(names)):
            raise UsageError(f"{self.name}: the header is {NOT_UTF8}")
        return names

    def __iter__(self) -> Iterator[SourceRow]:
        lines, delimiter = self._begin()
        records = csv.reader(lines, delimiter=delimiter, strict=True)
        next(records)
        width = len(self.columns)
        while True:
            line = lines.number + 1
            lines.record = []
            try:
                fields = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                lines.give_back(1)
                yield SourceRow(line, None, "".join(lines.record).rstrip, f"malformed CSV: {error}")
                continue
            except _TooLongError:
                is_alone = len(lines.record) == 1
                lines.give_back(1)
                reason = TOO_LONG if is_alone else "malformed CSV: a quote is never closed"
                yield SourceRow(line, None, "".join(lines.record).rstrip, reason)
                continue
            if not fields:
                continue  # a blank line
            raw = "".join(lines.record).rstrip
            if len(fields) != width:
                yield SourceRow(line, None, raw, f"{len(fields)} fields where the header has {width}")
            elif not all(map(is_utf8, lines.record)):
                yield SourceRow(line, None, raw, NOT_UTF8)
            else:
                yield SourceRow(line, dict(zip(self.columns, fields, strict=True)), raw)
