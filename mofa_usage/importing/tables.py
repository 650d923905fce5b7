"""Rows out of tables: frames, relations, whatever speaks the Arrow PyCapsule interface, and SQL over any source.

Sums of columns, units, fallbacks, filters, odd times and numbers are said in SQL, which people know, and not in a
language of ours. `QueryRows` has DuckDB read the source as the table `calls` and gives the rows of a query over it:

    SELECT started AS create_time, input + cache_read AS prompt_tokens, seconds * 1000 AS latency_ms,
           micros * 0.000001::DECIMAL(18, 6) AS total_price
    FROM calls WHERE kind <> 'SPAN'

Reading is DuckDB's then: it finds the types of the columns. Numbers with a point are doubles, in which prices of up to
15 digits come out exact. A line of a CSV that does not fit the types is refused with its line number. JSON is looked
through before, so that a line that is none refuses itself and not the file. The rows of a table have no lines: they are
named by their number in it, and those of a query by their number in its answer.

This is the one part of importing that needs the extra `analysis` whatever the format.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeAlias

from mofa_usage.errors import UsageError, require
from mofa_usage.importing.arrow_rows import BATCH, ArrowRows
from mofa_usage.importing.columns import is_call
from mofa_usage.importing.content import Content, open_content
from mofa_usage.importing.files import detect_format
from mofa_usage.importing.json_rows import JsonSource
from mofa_usage.importing.source import SourceRow

__all__ = ["QueryRows", "Table", "TableRows", "is_table"]

_LONGEST_OBJECT = 64 * 2**20  # bytes of one JSON object: what `content.LONGEST` characters can take
_REJECTS = """
    SELECT line, any_value(csv_line), string_agg(DISTINCT split_part(error_message, '. ', 1), '; ')
    FROM reject_errors JOIN reject_scans USING (scan_id, file_id) GROUP BY file_path, line ORDER BY file_path, line
"""


class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class _Lazy(Protocol):
    def collect(self) -> Any: ...


Table: TypeAlias = _ArrowStream | _Lazy
"""What holds rows itself: see `is_table`."""


def is_table(source: object) -> bool:
    """Whether `source` holds rows itself: a Polars frame or lazy frame, or what speaks the Arrow PyCapsule interface,
    such as a DuckDB relation, a pandas frame or an Arrow table.
    """
    return hasattr(source, "__arrow_c_stream__") or _is_lazy(source)


def _is_lazy(source: object) -> bool:
    return type(source).__module__.startswith("polars.") and hasattr(source, "collect")


def _repeatable(source: Any) -> Any:
    """What `is_table` as something that can be read twice: a lazy frame is collected, a stream read to its end."""
    arrow = require("pyarrow", extra="analysis")
    table = source.collect() if _is_lazy(source) else source
    return table.read_all() if isinstance(table, arrow.RecordBatchReader) else table


class TableRows(ArrowRows):
    """The rows of a table that is there: `source` is one by `is_table`."""

    def __init__(self, source: Any) -> None:
        self._table = _repeatable(source)
        size = len(self._table) if hasattr(self._table, "__len__") else 0
        with closing(self._reader()) as reader:
            super().__init__(f"the {type(source).__name__}", reader.schema, size)

    def _reader(self) -> Any:
        arrow = require("pyarrow", extra="analysis")
        try:
            return arrow.RecordBatchReader.from_stream(self._table)
        except arrow.ArrowException as error:
            raise UsageError(f"the {type(self._table).__name__} cannot be read as Arrow data: {error}") from error

    def _batches(self) -> Iterator[Any]:
        with closing(self._reader()) as reader:
            yield from reader


class QueryRows(ArrowRows):
    """The answer of DuckDB to a query over a source, which is the table `calls`.

    Args:
        source: files of one format (CSV, JSON or Parquet), text compressed or not; `-` is standard input. Or a table.
        sql: the query; its answer has columns under the names that any import knows.
        file_format: csv, jsonl or parquet, when neither names nor contents tell.
        tz: the IANA zone of DuckDB's session, in which a time without a zone becomes one with a zone.

    Raises:
        MissingExtraError: DuckDB or pyarrow is not installed.
        UsageError: DuckDB refuses the query or cannot read the files, or they are of several formats.
    """

    format = "sql"

    def __init__(self, source: Any, sql: str, *, file_format: str | None, tz: str) -> None:
        self._duckdb: Any = require("duckdb", extra="analysis")
        self._sql = sql
        self._malformed: list[SourceRow] = []
        self._opened = ExitStack()
        try:
            self._folder = Path(self._opened.enter_context(TemporaryDirectory(prefix="mofa_usage-")))
            self._database = self._opened.enter_context(self._duckdb.connect())
            self._database.execute(f"SET TimeZone = '{tz}'")
            with self._told():
                self._define(source, file_format)
                with closing(self._reader()) as reader:
                    super().__init__("the answer of the query", reader.schema, 0)
        except BaseException:
            self._opened.close()
            raise

    def _define(self, source: Any, file_format: str | None) -> None:
        """Make the table `calls`."""
        if is_table(source):
            arrow = require("pyarrow", extra="analysis")
            table = arrow.RecordBatchReader.from_stream(_repeatable(source)).read_all()
            self._database.register("calls", table)
            return
        tables: dict[str, None] = {}
        formats: set[str] = set()
        for number, name in enumerate(source):
            with closing(open_content(name)) as content:
                formats.add(kind := detect_format(content, file_format))
                if len(formats) > 1:
                    raise UsageError(f"sql runs over files of one format, these are {' and '.join(sorted(formats))}")
                tables[self._read(content, kind, self._folder / f"{number}.{kind}")] = None
        union = " UNION ALL BY NAME ".join(f"(FROM {table})" for table in tables)
        self._database.execute(f"CREATE VIEW calls AS {union}")

    def _read(self, content: Content, kind: str, copy: Path) -> str:
        """What DuckDB reads the content with: the file itself, or a copy of what it cannot read."""
        if kind == "jsonl":
            self._malformed += _copy_json(content, copy)
            return (
                f"read_json({_quoted(copy)}, format = 'newline_delimited', sample_size = -1,"
                f" maximum_object_size = {_LONGEST_OBJECT})"
            )
        path = content.path
        if path is None or content.is_compressed:
            path = copy
            with content.reading(), content.open() as plain, copy.open("wb") as file:
                shutil.copyfileobj(plain, file)
        return f"read_csv({_quoted(path)}, store_rejects = true)" if kind == "csv" else f"read_parquet({_quoted(path)})"

    def _reader(self) -> Any:
        return self._database.sql(self._sql).to_arrow_reader(BATCH)

    def _batches(self) -> Iterator[Any]:
        with closing(self._reader()) as reader:
            yield from reader

    def __iter__(self) -> Iterator[SourceRow]:
        yield from self._malformed
        with self._told():
            yield from super().__iter__()
            rejected = self._database.sql(_REJECTS).fetchall() if self._has_rejects() else []
        for line, text, why in rejected:
            yield SourceRow(line, None, str(text).rstrip, f"a line of the file that DuckDB cannot read: {why}")

    def _has_rejects(self) -> bool:
        # DuckDB makes the table with the first CSV that it reads so.
        found = self._database.sql("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchall()
        return bool(found[0][0])

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._duckdb.Error as error:
            raise UsageError(f"sql: {error}") from error

    def close(self) -> None:
        """Close the database, and remove the copies that it read."""
        self._opened.close()


def _copy_json(content: Content, copy: Path) -> list[SourceRow]:
    """Write the calls of JSON lines or of a document as lines that DuckDB reads; what is malformed."""
    malformed = []
    rows = JsonSource(content, is_call)
    with copy.open("w", encoding="utf-8") as file:
        for row in rows:
            if row.values is None:
                malformed.append(row)
            else:
                file.write(json.dumps(row.values, default=float) + "\n")
    return malformed


def _quoted(path: Path) -> str:
    # Exactly this file, whatever its name holds that DuckDB takes for a pattern.
    text = escape(str(path)).replace("'", "''")
    return f"'{text}'"
