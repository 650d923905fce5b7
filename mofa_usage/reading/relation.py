"""Calls that DuckDB reads: Parquet files and relations, as a lazy relation with the columns of a frame of calls.

Nothing is read here. The relation is a projection: DuckDB reads the columns that a question needs, of the row groups
whose times can match. The types are those of `CALL_SCHEMA` in DuckDB's words, and values become them by the rules of
`exact.py`, step by step: what does not fit is an error, which DuckDB raises when it comes to that row.

Files that `export_parquet` wrote say so in their metadata and are read as they are.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from glob import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import (
    CALL_COLUMNS,
    PRICES,
    call_column,
    completion,
    created_in,
    is_further,
    literal,
    needed_columns,
    origin,
    quoted,
    status_in_words,
)
from mofa_usage.reading.details import NUMBERS, fields_inside, sql_names_inside, sql_number, sql_text_inside
from mofa_usage.reading.drivers import BATCH
from mofa_usage.reading.exact import STRICT, Leeway, rule_of
from mofa_usage.reading.labels import label_columns, labels_among, told_apart
from mofa_usage.reading.naming import VOTERS, Given, name_columns, paths
from mofa_usage.reading.places import local_path, refuse_tables
from mofa_usage.reading.selection import Selection, offered

require("duckdb", extra="analysis")
require("pyarrow", extra="analysis")
import duckdb  # noqa: E402
import polars as pl  # noqa: E402

__all__ = [
    "NO_TABLES",
    "SCHEMA_VERSION",
    "VERSIONS",
    "VERSION_KEY",
    "RelationCalls",
    "Tables",
    "as_calls",
    "clocked_cursor",
    "columns_of_ours",
    "newer_columns",
    "open_parquet",
    "parquet_files",
    "told",
]

SCHEMA_VERSION = "3"
_NEW_COLUMNS = {"3": ("cache_write_5m_tokens", "cache_write_1h_tokens")}
"""What each version of our files has that those before have inside their JSON."""
VERSIONS = ("2", *_NEW_COLUMNS)
"""The versions of columns that can be read, the oldest first."""
VERSION_KEY = "mofa_usage.schema_version"
"""The key of a Parquet file's metadata under which `export_parquet` leaves the version of its columns."""


Tables: TypeAlias = Mapping[str, Any]
"""Frames of Polars and Arrow tables by name."""

NO_TABLES: Tables = MappingProxyType({})

_ROUNDED = "rounded prices"
_REFUSAL = re.compile(r"\[USER_RAISED_EXCEPTION\] (.*?) SQLSTATE", re.DOTALL)  # what SQL of ours said to Spark


class RelationCalls:
    """The calls of a DuckDB relation.

    `opened` gives the relation, of a connection whose zone is the given one if it can be chosen; one that makes a new
    cursor each time can be asked by many threads at once, and takes tables that are to be there as well.
    `canonical` says that the columns hold what a frame of calls holds, so that nothing has to be looked at twice.
    `borrowed` says that the relation is somebody else's: it lives on their connection, of which there is but one, and
    what it reads may be there only once.
    """

    def __init__(
        self,
        opened: Callable[..., duckdb.DuckDBPyRelation],
        leeway: Leeway = STRICT,
        mapping: Mapping[str, str | None] = MappingProxyType({}),
        *,
        canonical: bool = False,
        borrowed: bool = False,
    ) -> None:
        self._opened = opened
        self._borrowed = borrowed
        self._named = None if canonical and not mapping else _named(opened("UTC"), mapping)
        relation = self._calls("UTC")
        self._types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        self._canonical = canonical and self._named is None
        self._leeway = leeway
        self._labels: tuple[str, ...] | None = None

    def _calls(self, tz: str, beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        """The relation, its columns called as a frame of calls calls them."""
        relation = self._opened(tz, beside) if beside else self._opened(tz)
        return relation if self._named is None else relation.project(self._named)

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
        calls = self._calls("UTC")
        given = dict(zip(calls.columns, calls.types, strict=True))["labels"]
        named = calls.project(f"unnest({sql_names_inside('labels', given)}) AS name")
        with told():
            found = label_columns(labels_among(named.aggregate("name, count(*) AS calls").fetchall()))
        return tuple(told_apart(found, self._types))

    @property
    def given(self) -> Collection[str]:
        """The columns that the source itself has, called as a frame of calls calls them."""
        return self._types.keys()

    @property
    def can_be_reopened(self) -> bool:
        """Whether these are files, which another process finds as well: then they can be pickled."""
        return isinstance(self._opened, _ParquetFiles)

    def relation(self, selection: Selection, tz: str = "UTC", beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        """The selected calls, lazily; `tz` is the zone of the session, where that can be chosen.

        Files can be read with further tables `beside` them, of which a query over the relation may speak.
        """
        columns = self.columns(selection)
        asked = list(dict.fromkeys((*columns, *selection.conditions)))
        made = needed_columns([name for name in asked if not self._is_ours(name)], self._types)
        needed = list(dict.fromkeys((*asked, *made)))
        if "id" in self._types and any(map(self._is_inside, needed)):
            needed = list(dict.fromkeys((*needed, "id")))  # by which a refusal names a call
        if len(told_apart(needed)) < len(needed):
            alike = ", ".join(sorted(set(needed) - set(told_apart(needed))))
            raise UsageError(f"{alike}: another column has this name but for capitals; ask for one of them at a time")
        calls = self._calls(tz, beside)
        for step in (self._taken_apart, self._numbers, self._exact, self._said):
            calls = _projected(calls, {name: step(name) for name in needed})
        known = [name for name in needed if origin(name, self._types)]
        calls = _projected(calls, {name: self._complete(name, known) for name in asked})
        for condition in _conditions(selection):
            calls = calls.filter(condition)
        if selection.ordered:
            calls = calls.order("create_time DESC, id DESC").limit(_limit(selection), selection.offset)
        return calls if asked == list(columns) else calls.project(", ".join(map(quoted, columns)))

    def count(self, selection: Selection) -> int | None:
        """How many calls are selected; None if the relation is borrowed."""
        if self._borrowed:
            return None
        with told():
            return int(self.relation(selection).aggregate("count(*)").fetchall()[0][0])

    def rounded_prices(self, selection: Selection) -> int:
        """See `Calls`. The prices are read for it."""
        if not self._leeway.round_prices or self._canonical:
            return 0
        prices = {name: given for name, given in self._types.items() if name in PRICES and given != '"NULL"'}
        strict = {name: rule_of(CALL_COLUMNS[name]).sql(quoted(name), given, STRICT) for name, given in prices.items()}
        rounded = (f"CAST({exact} IS NULL AND {quoted(name)} IS NOT NULL AS BIGINT)" for name, exact in strict.items())
        counted = f'*, {" + ".join(("0", *rounded))} AS "{_ROUNDED}"'
        calls = RelationCalls(lambda tz: self._calls(tz).project(counted))
        with told():
            rows = calls.relation(replace(selection, columns=(_ROUNDED,))).aggregate(f'sum("{_ROUNDED}")').fetchall()
        return int(rows[0][0] or 0)

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
        if column is None or is_further(name, self._types) or self._is_ours(name):
            return f"CAST({value} AS VARCHAR)" if self._types.get(name) == "INTERVAL" else value  # Polars reads none
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

    def _said(self, name: str) -> str:
        """A status may be said in other words than ours."""
        is_said = name == "status" and not self._canonical
        return status_in_words(quoted(name)) if is_said else quoted(name)

    def _complete(self, name: str, known: Sequence[str]) -> str:
        return quoted(name) if self._is_ours(name) else completion(name, known)

    def _is_ours(self, name: str) -> bool:
        """Whether the column holds what a frame of calls does, because we wrote it."""
        column = call_column(name)
        return self._canonical and column is not None and self._types.get(name) == rule_of(column).sql_type


def _projected(calls: duckdb.DuckDBPyRelation, columns: Mapping[str, str]) -> duckdb.DuckDBPyRelation:
    """The columns, by their SQL; without a step where all stay as they are: DuckDB looks at all again with each."""
    if list(columns) == calls.columns and all(sql == quoted(name) for name, sql in columns.items()):
        return calls
    return calls.project(", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items()))


def _named(relation: duckdb.DuckDBPyRelation, mapping: Mapping[str, str | None]) -> str | None:
    """The projection that calls columns as a frame of calls does, None where they are called so: see `naming`."""
    names = paths({name: fields_inside(kind) for name, kind in zip(relation.columns, relation.types, strict=True)})
    types = dict(zip(names, map(str, relation.project(", ".join(names.values())).types), strict=True))

    def fits(column: str, name: str) -> bool:
        is_one = types[name] == '"NULL"' or types[name].startswith("TIMESTAMP")
        return is_one or rule_of(CALL_COLUMNS[column]).sql("x", types[name], STRICT) is not None

    def sample(wanted: Sequence[str], parts: Sequence[str]) -> list[dict[str, Any]]:
        deciding = " OR ".join(f"TRY_CAST({names[part]} AS DOUBLE) > 0" for part in parts)
        with told():
            rows = relation.filter(deciding).limit(VOTERS).project(", ".join(names[name] for name in wanted)).fetchall()
        return [dict(zip(wanted, row, strict=True)) for row in rows]

    durations = [name for name, given in types.items() if given == "INTERVAL"]
    structs = [name for name, given in types.items() if given.startswith("STRUCT")]
    found = name_columns(Given(names, durations, structs, fits, sample), mapping)
    return None if found is None else ", ".join(f"{sql} AS {quoted(name)}" for name, sql in found.items())


def _conditions(selection: Selection) -> Iterator[str]:
    for column, value in selection.equal.items():
        yield f"{quoted(column)} = {literal(value)}"
    yield from created_in(selection.start, selection.end)


def _limit(selection: Selection) -> int:
    return 2**63 - 1 if selection.limit is None else selection.limit


def open_parquet(
    path: str | Path,
    leeway: Leeway = STRICT,
    mapping: Mapping[str, str | None] = MappingProxyType({}),
    *,
    threads: int | None = None,
) -> RelationCalls:
    """The calls in a Parquet file, in the files that a pattern (`*`, `**`, `?`) matches, or in a folder.

    `threads`: so many read it; each has some 100 MB in hand.

    Raises:
        UsageError: there is no such file, one is no Parquet, or they are those of a Delta table.
    """
    files = parquet_files(path)
    pattern = _pattern(local_path(path))
    with told(), duckdb.connect() as database:
        marked = database.sql(
            f"SELECT CAST(value AS VARCHAR), count(DISTINCT file_name) FROM parquet_kv_metadata({pattern})"  # noqa: S608
            f" WHERE key = '{VERSION_KEY}'::BLOB GROUP BY 1"  # (the pattern is quoted)
        ).fetchall()
        versions = {version: count for version, count in marked if version in VERSIONS}
        canonical = sum(versions.values()) == len(files)
        # What somebody else wrote may differ from file to file; what one version of ours wrote does not.
        options = f"union_by_name = {not canonical or len(versions) > 1}, hive_partitioning = false"
        changed = ({}, _not_in_all(versions)) if canonical else (_durations(database, pattern), ())
        opened = _ParquetFiles(f"{pattern}, {options}", *changed, threads)
        return RelationCalls(opened, leeway, mapping, canonical=canonical)


def parquet_files(path: str | Path) -> list[Path]:
    """The files that `open_parquet` reads, by name.

    Raises:
        UsageError: there is none, or they are those of a Delta table.
    """
    refuse_tables(local_path(path))
    with told(), duckdb.connect() as database:
        found = database.sql(f"SELECT file FROM glob({_pattern(local_path(path))}) ORDER BY file").fetchall()  # noqa: S608
    if not found:
        raise UsageError(f"no Parquet file is at {path}; a database is read by its URL, such as sqlite:usage.db")
    return [Path(file) for (file,) in found]


def columns_of_ours(metadata: Sequence[Mapping[bytes, bytes]]) -> tuple[bool, tuple[str, ...]]:
    """Whether files with this metadata are all ours, and which of their columns are left out: see `_not_in_all`."""
    said = [found.get(VERSION_KEY.encode(), b"").decode() for found in metadata]
    is_ours = all(version in VERSIONS for version in said)
    return is_ours, _not_in_all(set(said)) if is_ours else ()


def _not_in_all(versions: Collection[str]) -> tuple[str, ...]:
    """The columns that only the newer ones among files of ours have; in the older ones they are inside JSON."""
    oldest = min(versions, key=VERSIONS.index, default=SCHEMA_VERSION)
    newest = max(versions, key=VERSIONS.index, default=SCHEMA_VERSION)
    return tuple(name for name in newer_columns(oldest) if name not in newer_columns(newest))


def newer_columns(version: str) -> tuple[str, ...]:
    """The columns that came after a version of ours: where it is older, they are inside JSON."""
    later = VERSIONS[VERSIONS.index(version) + 1 :] if version in VERSIONS else ()
    return tuple(name for one in later for name in _NEW_COLUMNS[one])


_MICROSECONDS = {"ns": "// 1000", "us": "", "ms": "* 1000", "s": "* 1000000"}


def _durations(database: duckdb.DuckDBPyConnection, pattern: str) -> dict[str, str]:
    """The columns of durations, which are mere numbers to Parquet, as SQL that makes intervals of them.

    pandas and Arrow leave their own types in the metadata of a file; the first file speaks for all.
    """
    first = database.sql(f"SELECT file_name FROM parquet_file_metadata({pattern}) LIMIT 1").fetchall()  # noqa: S608
    schema = require("pyarrow.parquet", extra="analysis").read_schema(first[0][0])
    units = {field.name: str(field.type)[9:-1] for field in schema if str(field.type).startswith("duration[")}
    return {name: f"to_microseconds({quoted(name)} {_MICROSECONDS[unit]})" for name, unit in units.items()}


class _ParquetFiles:
    """The relation of Parquet files, each with a cursor of its own. Pickled, it is what to read and not the reader."""

    def __init__(
        self, files: str, replaced: Mapping[str, str], left_out: tuple[str, ...] = (), threads: int | None = None
    ) -> None:
        self._given = files, replaced, left_out, threads
        self._files = files
        self._replaced = replaced
        self._left_out = left_out
        self._database = duckdb.connect(config={"threads": threads} if threads else {})

    def __call__(self, tz: str, beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        cursor = clocked_cursor(self._database, tz)
        for name, table in beside.items():
            cursor.register(name, table)
        relation = cursor.sql(f"FROM read_parquet({self._files})")
        if self._left_out:
            relation = relation.project(f"* EXCLUDE ({', '.join(self._left_out)})")
        if not self._replaced:
            return relation
        replaced = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in self._replaced.items())
        return relation.project(f"* REPLACE ({replaced})")

    def __reduce__(self) -> tuple[Any, ...]:
        return _ParquetFiles, self._given


def _pattern(path: Path) -> str:
    """An absolute path as DuckDB's string of a pattern: it is read again when the process may be elsewhere."""
    if path.is_dir():
        pattern = f"{escape(str(path))}/**/*.parquet"
    else:
        pattern = escape(str(path)) if path.exists() else str(path)
    return literal(pattern)


def clocked_cursor(database: duckdb.DuckDBPyConnection, tz: str) -> duckdb.DuckDBPyConnection:
    """A cursor of its own, so that threads do not meet, on the clock of a zone that `zones.zone` knows.

    A table that is not there is an error to it, and no variable of Python.
    """
    cursor = database.cursor()
    cursor.sql("SET python_enable_replacements = false")
    cursor.sql(f"SET TimeZone = '{tz}'")
    return cursor


def as_calls(table: Any) -> pl.DataFrame:
    """What DuckDB answered, an Arrow table or batch, as a frame with the types of `CALL_SCHEMA`."""
    frame = pl.DataFrame(pl.from_arrow(table))
    times = [name for name in frame.columns if isinstance(frame.schema[name], pl.Datetime)]
    known = {name: CALL_COLUMNS[name].dtype for name in frame.columns if name in CALL_COLUMNS}
    return frame.with_columns(pl.col(times).dt.convert_time_zone("UTC")).cast(known)  # type: ignore[arg-type]


_CAUSE = re.compile(r"^Caused by: ", re.MULTILINE)  # of an error that Java hands over as it is


@contextmanager
def told() -> Iterator[None]:
    """The errors of DuckDB, and of Spark where it is in use, as ours."""
    try:
        yield
    except duckdb.Error as error:
        raise UsageError(f"DuckDB cannot read the calls: {error}") from error
    except Exception as error:
        if not type(error).__module__.startswith(("pyspark.errors", "py4j.")):
            raise
        ours = _REFUSAL.search(str(error))
        told_by, *causes = _CAUSE.split(str(error).partition("\n\nJVM stacktrace")[0])
        said = (causes or [told_by])[-1].partition("\n\tat ")[0].strip()
        raise UsageError(ours[1] if ours else f"Spark cannot read the calls: {said}") from error
