"""Calls that DuckDB reads: Parquet files and relations, as a lazy relation with the columns of a frame of calls.

Nothing is read here. The relation is a projection: DuckDB reads the columns that a question needs, of the row groups
whose times can match. The types are those of `CALL_SCHEMA` in DuckDB's words, and values become them by the rules of
`exact.py`, step by step: what does not fit is an error, which DuckDB raises when it comes to that row.

Files that `export_parquet` wrote say so in their metadata and are read as they are.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import (
    CALL_COLUMNS,
    LABEL_COLUMNS,
    call_column,
    completion,
    is_further,
    needed_columns,
    origin,
    quoted,
)
from mofa_usage.reading.details import NUMBERS, sql_number, sql_text_inside
from mofa_usage.reading.drivers import BATCH
from mofa_usage.reading.exact import STRICT, Leeway, rule_of
from mofa_usage.reading.labels import label_columns
from mofa_usage.reading.selection import Selection, offered

require("duckdb", extra="analysis")
require("pyarrow", extra="analysis")
import duckdb  # noqa: E402
import polars as pl  # noqa: E402

__all__ = ["SCHEMA_VERSION", "VERSION_KEY", "RelationCalls", "as_calls", "clocked_cursor", "open_parquet", "told"]

SCHEMA_VERSION = "2"
VERSION_KEY = "mofa_usage.schema_version"
"""The key of a Parquet file's metadata under which `export_parquet` leaves the version of its columns."""


class RelationCalls:
    """The calls of a DuckDB relation.

    `opened` gives the relation, of a connection whose zone is the given one if it can be chosen; one that makes a new
    cursor each time can be asked by many threads at once.
    `canonical` says that the columns hold what a frame of calls holds, so that nothing has to be looked at twice.
    `borrowed` says that the relation is somebody else's: it lives on their connection, of which there is but one, and
    what it reads may be there only once.
    """

    def __init__(
        self,
        opened: Callable[[str], duckdb.DuckDBPyRelation],
        leeway: Leeway = STRICT,
        *,
        canonical: bool = False,
        borrowed: bool = False,
    ) -> None:
        self._opened = opened
        self._borrowed = borrowed
        relation = opened("UTC")
        self._types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        self._canonical = canonical
        self._leeway = leeway
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
        needed = needed_columns(list(dict.fromkeys((*columns, *selection.conditions))), self._types)
        if "id" in self._types and any(map(self._is_inside, needed)):
            needed = list(dict.fromkeys((*needed, "id")))  # by which a refusal names a call
        calls = self._opened(tz)
        for step in (self._taken_apart, self._numbers, self._exact):
            calls = calls.project(", ".join(f"{step(name)} AS {quoted(name)}" for name in needed))
        known = [name for name in needed if origin(name, self._types)]
        wanted = dict.fromkeys((*columns, *selection.conditions))
        calls = calls.project(", ".join(f"{self._complete(name, known)} AS {quoted(name)}" for name in wanted))
        for condition in _conditions(selection):
            calls = calls.filter(condition)
        if selection.ordered:
            calls = calls.order("create_time DESC, id DESC").limit(_limit(selection), selection.offset)
        return calls if list(wanted) == list(columns) else calls.project(", ".join(map(quoted, columns)))

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

    def _taken_apart(self, name: str) -> str:
        """The column as it is, or as text where it stands inside JSON."""
        column, source = call_column(name), origin(name, self._types)
        if source == name:
            return quoted(name)
        if source is not None and column is not None:
            return sql_text_inside(column, self._types[source], self._which)
        return "NULL"

    def _numbers(self, name: str) -> str:
        column = call_column(name)
        if column is None or column.kind not in NUMBERS or not self._is_inside(name):
            return quoted(name)
        return sql_number(column, self._which)

    @property
    def _which(self) -> str:
        return "CAST(id AS VARCHAR)" if "id" in self._types else "'?'"

    def _is_inside(self, name: str) -> bool:
        return origin(name, self._types) not in (name, None)

    def _exact(self, name: str) -> str:
        """The values exactly.

        Raises:
            UsageError: their type has no exact cast.
        """
        value, column = quoted(name), call_column(name)
        if column is None or is_further(name, self._types):
            return value
        rule, leeway, given = rule_of(column), self._leeway, self._types.get(name, '"NULL"')
        if self._is_inside(name):
            given, leeway = "DOUBLE" if column.kind in NUMBERS else "VARCHAR", Leeway(round_prices=True)
        if given == '"NULL"':
            return f"CAST({value} AS {rule.sql_type})"
        exact = rule.sql(value, given, leeway)
        if exact is None:
            hint = "; its zone is unknown: add one, such as AT TIME ZONE 'UTC'" if given.startswith("TIMESTAMP") else ""
            raise UsageError(f"the column {name} is {given}, where a frame of calls has {rule.sql_type}{hint}")
        if exact == value:
            return value
        # The id is not named, because that would read the ids of all calls.
        said = f"left(CAST({value} AS VARCHAR), 80)"
        refusal = f"error('{name} is ' || {said} || ', which is no {rule.meaning}')"
        return f"coalesce({exact}, CASE WHEN {value} IS NULL THEN NULL ELSE {refusal} END)"

    def _complete(self, name: str, known: Sequence[str]) -> str:
        column = call_column(name)
        if self._canonical and column is not None and self._types.get(name) == rule_of(column).sql_type:
            return quoted(name)
        return completion(name, known)


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
