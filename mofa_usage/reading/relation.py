"""Calls that DuckDB reads: Parquet files and relations, as a lazy relation with the columns of a frame of calls.

Nothing is read here. The relation is a projection: DuckDB reads the columns that a question needs, of the row groups
whose times can match. The types are those of `CALL_SCHEMA` in DuckDB's words, and values become them as exactly as in
`mofa_usage.reading.columns.normalise`: what does not fit is an error, which DuckDB raises when it comes to that row.

Files that `export_parquet` wrote say so in their metadata and are read as they are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import (
    CALL_COLUMNS,
    LABEL,
    LABEL_COLUMNS,
    UNKNOWN_TOKENS,
    CallColumn,
    call_column,
    is_further,
    may_be_absent,
    origin,
)
from mofa_usage.reading.drivers import BATCH
from mofa_usage.reading.labels import label_columns
from mofa_usage.reading.selection import Selection, offered
from mofa_usage.records import ApiCallStatus
from mofa_usage.schema import Kind

require("duckdb", extra="analysis")
require("pyarrow", extra="analysis")
import duckdb  # noqa: E402
import polars as pl  # noqa: E402

__all__ = ["SCHEMA_VERSION", "VERSION_KEY", "RelationCalls", "as_calls", "clocked_cursor", "open_parquet", "told"]

SCHEMA_VERSION = "1"
VERSION_KEY = "mofa_usage.schema_version"
"""The key of a Parquet file's metadata under which `export_parquet` leaves the version of its columns."""

_TYPES = {
    Kind.ID: "VARCHAR",
    Kind.TEXT: "VARCHAR",
    Kind.KEY: "VARCHAR",
    Kind.NAME: "VARCHAR",
    Kind.JSON: "VARCHAR",
    Kind.INTEGER: "BIGINT",
    Kind.RATE: "DOUBLE",
    Kind.MONEY: "DECIMAL(38,10)",
    Kind.TIME: "TIMESTAMP WITH TIME ZONE",
}
_SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_INTEGERS = (*_SIGNED, *(f"U{name}" for name in _SIGNED))
_FLOATS = ("FLOAT", "DOUBLE")
_NOTHING = "'null', 'false', '0', '-0', '0.0', '-0.0', '\"\"', '[]'"
_STATUSES = ", ".join(f"'{status}'" for status in ApiCallStatus)


class RelationCalls:
    """The calls of a DuckDB relation.

    `opened` gives the relation, of a connection whose zone is the given one if it can be chosen; one that makes a new
    cursor each time can be asked by many threads at once.
    `canonical` says that the columns hold what a frame of calls holds, so that nothing has to be looked at twice.
    `borrowed` says that the relation is somebody else's: it lives on their connection, of which there is but one, and
    what it reads may be there only once.
    """

    def __init__(
        self, opened: Callable[[str], duckdb.DuckDBPyRelation], *, canonical: bool = False, borrowed: bool = False
    ) -> None:
        self._opened = opened
        self._borrowed = borrowed
        relation = opened("UTC")
        self._types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        self._canonical = canonical
        self._labels: tuple[str, ...] | None = None

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """The columns that the frame will have: those asked for, or those that there are.

        Raises:
            UsageError: a column that was asked for is not there, or none is.
        """
        if self._labels is None and selection.columns is None:
            self._labels = self._find_labels()
        return offered(self._types, selection, self._labels or ())

    def _find_labels(self) -> tuple[str, ...]:
        """The columns that the labels become; our own files have them already."""
        if "labels" not in self._types or self._canonical:
            return ()
        text = 'CAST("labels" AS VARCHAR)'
        # What is no JSON is refused when the calls are read.
        keys = f"json_keys(CASE WHEN json_valid({text}) THEN {text} END)"
        named = self._opened("UTC").project(f"unnest({keys}) AS name")
        with told():
            counts = named.aggregate("name, count(*) AS calls").fetchall()
        return label_columns(Counter({name: calls for name, calls in counts if name and name not in LABEL_COLUMNS}))

    @property
    def can_be_reopened(self) -> bool:
        """Whether these are files, which another process finds as well: then they can be pickled."""
        return isinstance(self._opened, _ParquetFiles)

    def relation(self, selection: Selection, tz: str = "UTC") -> duckdb.DuckDBPyRelation:
        """The selected calls, lazily; `tz` is the zone of the session, where that can be chosen."""
        columns = self.columns(selection)
        needed = dict.fromkeys((*columns, *selection.conditions))
        calls = self._opened(tz).project(", ".join(f"{self._value(name)} AS {_quoted(name)}" for name in needed))
        for condition in _conditions(selection):
            calls = calls.filter(condition)
        if selection.ordered:
            calls = calls.order("create_time DESC, id DESC").limit(_limit(selection), selection.offset)
        return calls if list(needed) == list(columns) else calls.project(", ".join(map(_quoted, columns)))

    def count(self, selection: Selection) -> int | None:
        """How many calls are selected; None if the relation is borrowed."""
        if self._borrowed:
            return None
        with told():
            rows = self.relation(selection).aggregate("count(*)").fetchall()
        return int(rows[0][0])

    def batches(self, selection: Selection, *, by_time: bool = False) -> Iterator[pl.DataFrame]:
        """The selected calls; `by_time` in ascending order of create_time and id."""
        calls = self.relation(selection)
        if by_time:
            calls = calls.order("create_time, id" if "id" in calls.columns else "create_time")
        with told():
            reader = calls.to_arrow_reader(BATCH)
            yield as_calls(reader.schema.empty_table())
            for batch in reader:
                yield as_calls(batch)

    def _value(self, name: str) -> str:
        """The expression that is the column, with what stands for missing values."""
        column = call_column(name)
        if column is None or is_further(name, self._types):
            return _quoted(name)
        if self._canonical and self._types.get(name) == _TYPES[column.kind]:
            return _quoted(name)
        value = self._exact(column)
        if name == "status":
            return f"CASE WHEN {value} IN ({_STATUSES}) THEN {value} ELSE '{column.missing}' END"
        if name == "currency" and "total_price" in self._types:
            return f"CASE WHEN total_price IS NOT NULL THEN coalesce({value}, '{column.missing}') END"
        if name == "update_time" and "create_time" in self._types:
            return f"greatest({value}, {self._exact(CALL_COLUMNS['create_time'])})"
        if name in UNKNOWN_TOKENS and origin("token_source", self._types):
            unknown = ", ".join(f"'{source}'" for source in UNKNOWN_TOKENS[name])
            return f"CASE WHEN {self._value('token_source')} NOT IN ({unknown}) THEN {value} END"
        if name in ("agent_name", "provider_name") and (label := call_column(f"{LABEL}{name.removesuffix('_name')}")):
            parts = (value, self._exact(label)) if name == "agent_name" else (self._exact(label), value)
            return f"coalesce({', '.join(parts)})"
        return value if column.missing is None or name == "currency" else f"coalesce({value}, '{column.missing}')"

    def _exact(self, column: CallColumn) -> str:
        """The values of a column, exactly."""
        source = origin(column.name, self._types)
        if source == column.name:
            return _cast(_quoted(column.name), column, self._types[column.name])
        if source is not None:
            return self._inside(column, source)
        if column.name == "total_tokens" and may_be_absent(column.name, self._types):
            return f"({self._value('prompt_tokens')} + {self._value('completion_tokens')})"
        return f"CAST(NULL AS {_TYPES[column.kind]})"

    def _inside(self, column: CallColumn, source: str) -> str:
        """The value of a key in a JSON column; text that is no JSON is an error that names the call."""
        which = "CAST(id AS VARCHAR)" if "id" in self._types else "'?'"
        text = f'CAST("{source}" AS VARCHAR)'
        value = f"json_extract_string({text}, {_pointer(column.key or '')})"
        if column.kind is Kind.INTEGER:
            value = _whole(f"CAST({value} AS DOUBLE)", column.name)
        typed = f"CAST({value} AS {_TYPES[column.kind]})"
        refusal = f"error('{source} of the call ' || {which} || ' is no JSON')"
        # What Python takes for nothing says nothing, like in a frame.
        details = f"json_type({text}) = 'OBJECT' OR json({text}) IN ({_NOTHING})"
        return (
            f"CASE WHEN {text} IS NULL THEN NULL WHEN NOT json_valid({text}) THEN {refusal} "
            f"WHEN {details} THEN {typed} ELSE {refusal} END"
        )


def _quoted(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def _pointer(key: str) -> str:
    """The path to a key of a JSON object, in the form that knows every name."""
    escaped = key.replace("~", "~0").replace("/", "~1").replace("'", "''")
    return f"'/{escaped}'"


def _cast(value: str, column: CallColumn, given: str) -> str:
    """The exact cast of an expression of the given type.

    Raises:
        UsageError: there is none.
    """
    if given == '"NULL"':
        return f"CAST({value} AS {_TYPES[column.kind]})"
    exact = _CASTS[column.kind](value, column.name, given)
    if exact is None:
        hint = "; its zone is unknown: add one, such as AT TIME ZONE 'UTC'" if given.startswith("TIMESTAMP") else ""
        raise UsageError(f"the column {column.name} is {given}, where a frame of calls has {_TYPES[column.kind]}{hint}")
    return exact


def _text(value: str, name: str, given: str) -> str | None:
    if given == "VARCHAR":
        return value
    return f"CAST({value} AS VARCHAR)" if given in ("UUID", "JSON") or given.startswith("ENUM") else None


def _id(value: str, name: str, given: str) -> str | None:
    text = _text(value, name, given)
    return f"lower({text})" if text is not None and given != "UUID" else text


def _whole(value: str, name: str) -> str:
    refusal = f"error('{name} is ' || CAST({value} AS VARCHAR) || ', which is no whole number')"
    return f"CASE WHEN {value} IS NULL OR {value} = trunc({value}) THEN CAST({value} AS BIGINT) ELSE {refusal} END"


def _count(value: str, name: str, given: str) -> str | None:
    if given in _INTEGERS:
        return f"CAST({value} AS BIGINT)"
    return _whole(value, name) if given in _FLOATS or given.startswith("DECIMAL") else None


def _rate(value: str, name: str, given: str) -> str | None:
    numeric = given in (*_INTEGERS, *_FLOATS) or given.startswith("DECIMAL")
    return f"CAST({value} AS DOUBLE)" if numeric else None


def _money(value: str, name: str, given: str) -> str | None:
    rounded = f"CAST({value} AS DECIMAL(38,10))"
    if given.startswith("DECIMAL") and int(given.rstrip(")").partition(",")[2]) > 10:
        refusal = f"error('{name} is ' || CAST({value} AS VARCHAR) || ', which has more than 10 decimal places')"
        return f"CASE WHEN {value} IS NULL OR CAST({rounded} AS {given}) = {value} THEN {rounded} ELSE {refusal} END"
    return rounded if given in (*_INTEGERS, *_FLOATS) or given.startswith("DECIMAL") else None


def _time(value: str, name: str, given: str) -> str | None:
    if given == "TIMESTAMP WITH TIME ZONE":
        return value
    if given != "VARCHAR":
        return None
    refusal = f"error('{name} is ' || {value} || ', which is no time with a zone')"
    zoned = rf"regexp_full_match({value}, '.*[0-9]([zZ]|[+-][0-9]{{2}}:?[0-9]{{2}})')"
    return f"CASE WHEN {value} IS NULL OR {zoned} THEN CAST({value} AS TIMESTAMPTZ) ELSE {refusal} END"


_CASTS: Mapping[Kind, Callable[[str, str, str], str | None]] = {
    Kind.ID: _id,
    Kind.TEXT: _text,
    Kind.KEY: _text,
    Kind.NAME: _text,
    Kind.JSON: _text,
    Kind.INTEGER: _count,
    Kind.RATE: _rate,
    Kind.MONEY: _money,
    Kind.TIME: _time,
}


def _conditions(selection: Selection) -> Iterator[str]:
    for column, value in selection.equal.items():
        text = value.replace("'", "''")
        yield f"\"{column}\" = '{text}'"
    if selection.start is not None:
        yield f"create_time >= TIMESTAMPTZ '{selection.start.isoformat(' ')}'"
    if selection.end is not None:
        yield f"create_time < TIMESTAMPTZ '{selection.end.isoformat(' ')}'"


def _limit(selection: Selection) -> int:
    return 2**63 - 1 if selection.limit is None else selection.limit


def open_parquet(path: str | Path) -> RelationCalls:
    """The calls in a Parquet file, in the files that a pattern (`*`, `**`, `?`) matches, or in a folder.

    Raises:
        UsageError: there is no such file, or one is no Parquet.
    """
    pattern = _pattern(Path(path))
    with told(), duckdb.connect() as database:
        marked = database.sql(
            f"SELECT count(DISTINCT file_name) FROM parquet_kv_metadata({pattern})"  # noqa: S608 (quoted)
            f" WHERE key = '{VERSION_KEY}'::BLOB AND value = '{SCHEMA_VERSION}'::BLOB"
        ).fetchall()
        files = database.sql(f"SELECT count(*) FROM parquet_file_metadata({pattern})").fetchall()  # noqa: S608
        canonical = marked == files
        # What somebody else wrote may differ from file to file; what we wrote does not.
        options = f"union_by_name = {not canonical}, hive_partitioning = false"
        return RelationCalls(_ParquetFiles(f"{pattern}, {options}"), canonical=canonical)


class _ParquetFiles:
    """The relation of Parquet files, each with a cursor of its own. Pickled, it is what to read and not the reader."""

    def __init__(self, files: str) -> None:
        self._files = files
        self._database = duckdb.connect()

    def __call__(self, tz: str) -> duckdb.DuckDBPyRelation:
        cursor = clocked_cursor(self._database, tz)
        return cursor.sql(f"FROM read_parquet({self._files})")

    def __reduce__(self) -> tuple[Any, ...]:
        return _ParquetFiles, (self._files,)


def _pattern(path: Path) -> str:
    """The path as DuckDB's string of a pattern, absolute: it is read again when the process may be elsewhere."""
    path = path.absolute()
    if path.is_dir():
        pattern = f"{escape(str(path))}/**/*.parquet"
    else:
        pattern = escape(str(path)) if path.exists() else str(path)
    quoted = pattern.replace("'", "''")
    return f"'{quoted}'"


def clocked_cursor(database: duckdb.DuckDBPyConnection, tz: str) -> duckdb.DuckDBPyConnection:
    """A cursor of its own, so that threads do not meet, on the clock of a zone that `zones.zone` knows."""
    cursor = database.cursor()
    cursor.sql(f"SET TimeZone = '{tz}'")
    return cursor


def as_calls(table: Any) -> pl.DataFrame:
    """What DuckDB answered, an Arrow table or batch, as a frame with the types of `CALL_SCHEMA`."""
    frame = pl.DataFrame(pl.from_arrow(table))
    times = [name for name in frame.columns if isinstance(frame.schema[name], pl.Datetime)]
    known = {name: CALL_COLUMNS[name].dtype for name in frame.columns if name in CALL_COLUMNS}
    return frame.with_columns(pl.col(times).dt.convert_time_zone("UTC")).cast(known)  # type: ignore[arg-type]


@contextmanager
def told() -> Iterator[None]:
    """DuckDB's errors as ours."""
    try:
        yield
    except duckdb.Error as error:
        raise UsageError(f"DuckDB cannot read the calls: {error}") from error
