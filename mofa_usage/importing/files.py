"""Rows out of files: CSV, JSON lines and Parquet, one interface.

A source is iterated once and gives a `SourceRow` for every row, good or malformed, in the order of the file and without
ever holding more of it than one row (one Parquet batch). A malformed row does not end the reading: it is handed on with
what is wrong about it. Only a file that cannot be read on at all raises.

CSV and JSON lines may be compressed with gzip, which is told from their first bytes, not from their name. They are
UTF-8 with or without a byte order mark. The delimiter of a CSV is the one of comma, semicolon, tab and `|` that its
header uses most.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple, Protocol

from mofa_usage.errors import UsageError, require

__all__ = ["RowSource", "SourceRow", "detect_format", "open_file"]

FORMATS = ("csv", "jsonl", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_DELIMITERS = ",;\t|"
_LONGEST_LINE = 16 * 2**20  # characters; what is longer is no text table, and must not fill the memory
_PARQUET_BATCH = 4096  # rows
_SURROGATE = re.compile("[\ud800-\udfff]")


class SourceRow(NamedTuple):
    """One row of a source.

    `line` counts from 1: the line on which the row begins, or the row's number in a Parquet file. `values` are its
    values by column name, None when the row is malformed; then `problem` says why. `raw` gives the row as it stands in
    the source (JSON for Parquet).
    """

    line: int
    values: Mapping[str, Any] | None
    raw: Callable[[], str]
    problem: str | None = None


class RowSource(Protocol):
    """A file of rows, opened for one pass."""

    format: str
    unit: str  # what `SourceRow.line` counts: "line" or "row"
    size: int  # of the whole, in the unit of `position`

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names of the columns; None when every row names its own, as JSON lines do."""

    def __iter__(self) -> Iterator[SourceRow]: ...

    def position(self) -> int:
        """How far the reading has come, from 0 to `size`."""

    def close(self) -> None:
        """Close the file."""


def detect_format(path: Path, wanted: str | None = None) -> str:
    """`wanted`, or the format that the name of `path` tells.

    Raises:
        UsageError: `wanted` is no format, or the name tells none.
    """
    if wanted is not None:
        if wanted not in FORMATS:
            raise UsageError(f"there is no format {wanted!r}; the formats are {', '.join(FORMATS)}")
        return wanted
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    raise UsageError(
        f"{path}: the name does not tell the format ({', '.join(_SUFFIXES)}, the text formats also with .gz); "
        f"say it: one of {', '.join(FORMATS)}"
    )


def open_file(path: Path, format_name: str) -> RowSource:
    """Open `path` for one pass over its rows.

    Raises:
        UsageError: there is no such file, it cannot be read, it is empty or it is not of that format.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; import its files one by one")
    readers: dict[str, Callable[[Path], RowSource]] = {
        "csv": CsvSource,
        "jsonl": JsonLinesSource,
        "parquet": ParquetSource,
    }
    try:
        return readers[format_name](path)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


class _TextFile:
    """A UTF-8 text file, gzipped or not, read line by line.

    Bytes that are no UTF-8 become lone surrogates (Python's `surrogateescape`), so that one bad row can be refused and
    the next one read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._raw: IO[bytes] = path.open("rb")
        try:
            start = self._raw.read(4)
            self._raw.seek(0)
            plain: Any = gzip.GzipFile(fileobj=self._raw) if start[:2] == b"\x1f\x8b" else self._raw
            self._text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="surrogateescape", newline="")
            self.size = path.stat().st_size
            if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise UsageError(f"{path} is UTF-16 text; save it as UTF-8")
        except BaseException:
            self._raw.close()
            raise

    def position(self) -> int:
        return self._raw.tell()

    def close(self) -> None:
        self._text.close()
        self._raw.close()

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            try:
                line = self._text.readline(_LONGEST_LINE)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise UsageError(
                    f"{self._path}: the compressed file is damaged or cut off (at line {number}): {error}"
                ) from error
            if not line:
                return
            if len(line) == _LONGEST_LINE:
                raise UsageError(f"{self._path}: line {number} is longer than 16 MiB; this is no table of text")
            yield line


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
        return line

    def give_back_all_but_first(self) -> None:
        back = self.record[1:]
        self._waiting.extendleft(reversed(back))
        self.number -= len(back)
        self.record = self.record[:1]


class CsvSource:
    """A CSV with a header. A quoted field may span lines; a quote that is never closed costs its own line only."""

    format = "csv"
    unit = "line"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _TextFile(path)
        self.size = self._file.size
        try:
            self._lines = _RecordLines(iter(self._file))
            header = self._first_line()
            delimiter = max(_DELIMITERS, key=header.count)  # the first of equals: a comma when there is none
            self._records = csv.reader(self._lines, delimiter=delimiter, strict=True)
            self.columns: tuple[str, ...] = self._header()
        except BaseException:
            self._file.close()
            raise

    def _first_line(self) -> str:
        for line in self._lines:
            if line.strip():
                self._lines._waiting.append(line)
                self._lines.number -= 1
                return line
        raise UsageError(f"{self._path} is empty")

    def _header(self) -> tuple[str, ...]:
        try:
            names = tuple(name.strip() for name in next(self._records))
        except csv.Error as error:
            raise UsageError(f"{self._path}: the header is not CSV: {error}") from error
        if "\0" in "".join(names) or not any(names):
            raise UsageError(f"{self._path}: the first line is no header of a CSV in UTF-8")
        if not _is_utf8("".join(names)):
            raise UsageError(f"{self._path}: the header is not UTF-8; convert the file (iconv -f latin1 -t utf-8)")
        return names

    def __iter__(self) -> Iterator[SourceRow]:
        lines, width = self._lines, len(self.columns)
        while True:
            line = lines.number + 1
            lines.record = []
            try:
                fields = next(self._records)
            except StopIteration:
                return
            except csv.Error as error:
                lines.give_back_all_but_first()
                yield SourceRow(line, None, "".join(lines.record).rstrip, f"malformed CSV: {error}")
                continue
            if not fields:
                continue  # a blank line
            raw = "".join(lines.record).rstrip
            if len(fields) != width:
                yield SourceRow(line, None, raw, f"{len(fields)} fields where the header has {width}")
            else:
                yield SourceRow(
                    line, dict(zip(self.columns, fields, strict=True)), raw, _encoding_problem(lines.record)
                )

    def position(self) -> int:
        return self._file.position()

    def close(self) -> None:
        self._file.close()


class JsonLinesSource:
    """One JSON object on every line. Numbers with a point are read as Decimal, never through a float."""

    format = "jsonl"
    unit = "line"
    columns: tuple[str, ...] | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _TextFile(path)
        self.size = self._file.size

    def __iter__(self) -> Iterator[SourceRow]:
        number, empty = 0, True
        for number, line in enumerate(self._file, start=1):
            if not line.strip():
                continue
            if empty and line.lstrip().startswith("["):
                raise UsageError(
                    f"{self._path} is a JSON array, not JSON lines; write each object on its own line: jq -c '.[]'"
                )
            empty = False
            yield _json_row(number, line)
        if empty:
            raise UsageError(f"{self._path} is empty")

    def position(self) -> int:
        return self._file.position()

    def close(self) -> None:
        self._file.close()


class ParquetSource:
    """A Parquet file. Nanoseconds are cut to microseconds."""

    format = "parquet"
    unit = "row"

    def __init__(self, path: Path) -> None:
        self._arrow: ModuleType = require("pyarrow", extra="analysis")
        parquet = require("pyarrow.parquet", extra="analysis")
        with path.open("rb"):
            pass  # pyarrow's own message for a missing or unreadable file is longer
        try:
            self._file = parquet.ParquetFile(path)
        except self._arrow.ArrowInvalid as error:
            raise UsageError(f"{path} is no Parquet file: {error}") from error
        self.columns: tuple[str, ...] = tuple(_nested_names(self._file.schema_arrow))
        self.size: int = self._file.metadata.num_rows
        self._done = 0

    def __iter__(self) -> Iterator[SourceRow]:
        for batch in self._file.iter_batches(batch_size=_PARQUET_BATCH):
            for values in self._microseconds(batch).to_pylist():
                self._done += 1
                yield SourceRow(self._done, values, lambda row=values: json.dumps(row, default=str))  # type: ignore[misc]

    def _microseconds(self, batch: Any) -> Any:
        types = self._arrow.types
        for index, field in enumerate(batch.schema):
            if types.is_timestamp(field.type) and field.type.unit == "ns":
                kind = self._arrow.timestamp("us", field.type.tz)
                batch = batch.set_column(index, field.name, batch.column(index).cast(kind, safe=False))
        return batch

    def position(self) -> int:
        return self._done

    def close(self) -> None:
        self._file.close()


def _nested_names(fields: Iterable[Any], prefix: str = "") -> Iterator[str]:
    """The names of columns and, as dotted paths, of what is inside structs."""
    for field in fields:
        yield prefix + field.name
        if hasattr(field.type, "fields"):
            yield from _nested_names(field.type.fields, f"{prefix}{field.name}.")


def _json_row(number: int, line: str) -> SourceRow:
    raw = line.rstrip
    if not _is_utf8(line):
        return SourceRow(number, None, raw, _encoding_problem([line]))
    try:
        values = json.loads(line, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return SourceRow(number, None, raw, f"malformed JSON: {getattr(error, 'msg', None) or error}")
    if not isinstance(values, dict):
        return SourceRow(number, None, raw, f"not a JSON object but {_json_kind(values)}")
    return SourceRow(number, values, raw)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _json_kind(value: object) -> str:
    kinds = {list: "an array", str: "text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")


def _is_utf8(text: str) -> bool:
    return text.isascii() or not _SURROGATE.search(text)


def _encoding_problem(lines: list[str]) -> str | None:
    return None if all(map(_is_utf8, lines)) else "not UTF-8; convert the file (iconv -f latin1 -t utf-8)"
