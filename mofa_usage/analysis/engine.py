"""The calls of an analysis, on whichever engine holds them.

Narwhals speaks to Polars, DuckDB and Spark in one language, so that an analysis is written once. Where that language
does not reach, engines differ by an entry in the table `_ENGINES`, and nowhere else:

- the microseconds of an instant, without which local time would depend on the zone of somebody's DuckDB connection;
- whether several quantiles of one column may be asked for at once, which saves an SQL engine a quarter of its time;
- grouping the same calls by several sets of keys, and picking from the values of each group in order;
- names, which Spark takes for ways into a struct.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import duckdb
import narwhals as nw
import polars as pl

from mofa_usage.analysis.grouping_sets import Undivided, duckdb_sets, polars_sets
from mofa_usage.analysis.ordered import Picked, duckdb_picked, polars_picked
from mofa_usage.analysis.spark_groups import spark_microseconds, spark_picked, spark_sets
from mofa_usage.errors import UsageError
from mofa_usage.reading.columns import CALL_SCHEMA, bare
from mofa_usage.reading.spark_frames import SparkFrame, is_spark

__all__ = ["MOMENT", "WEIGHT", "LazyCalls", "Native", "collect", "grouping_sets", "open_calls", "picked"]

Native: TypeAlias = "pl.DataFrame | pl.LazyFrame | duckdb.DuckDBPyRelation | SparkFrame"
"""What holds the calls: a frame or relation with the columns of `reading.columns.CALL_SCHEMA`, or some of them."""

MOMENT = "create_time_us"
"""The column, added here, of the calls' create_time in microseconds since the epoch."""

WEIGHT = "calls that a row stands for"
"""A column with how many calls a row is about, where a question has added up calls that are alike; else it is one."""


def _polars_microseconds(frame: Any, columns: Mapping[str, str]) -> Any:
    return frame.with_columns(pl.col(column).dt.epoch("us").alias(name) for name, column in columns.items())


def _duckdb_microseconds(relation: Any, columns: Mapping[str, str]) -> Any:
    counted = (
        duckdb.FunctionExpression("epoch_us", duckdb.ColumnExpression(column)).alias(name)
        for name, column in columns.items()
    )
    return relation.select(duckdb.StarExpression(), *counted)


@dataclass(frozen=True, slots=True)
class Engine:
    """What differs between engines.

    `microseconds` adds columns to a native frame that count the microseconds since the epoch of others (new name ->
    column of instants). `quantile_lists`: Narwhals hands a list of quantiles through to it, and it returns a list.
    `grouping_sets` groups a native frame by several sets of keys, see `mofa_usage.analysis.grouping_sets`; `picked`
    picks from the values of each group in order, see `mofa_usage.analysis.ordered`. `called` says what a column of the
    calls is called in the native frame.
    """

    microseconds: Callable[[Any, Mapping[str, str]], Any]
    quantile_lists: bool
    grouping_sets: Callable[[Any, Sequence[Sequence[str]], Undivided], list[pl.DataFrame]]
    picked: Callable[[Any, Sequence[Sequence[str]], Sequence[str], Sequence[Picked]], list[pl.DataFrame]]
    called: Callable[[str], str] = str


_SPARK = Engine(spark_microseconds, quantile_lists=True, grouping_sets=spark_sets, picked=spark_picked, called=bare)
_ENGINES: Mapping[nw.Implementation, Engine] = MappingProxyType(
    {
        nw.Implementation.POLARS: Engine(
            _polars_microseconds, quantile_lists=False, grouping_sets=polars_sets, picked=polars_picked
        ),
        nw.Implementation.DUCKDB: Engine(
            _duckdb_microseconds, quantile_lists=True, grouping_sets=duckdb_sets, picked=duckdb_picked
        ),
        nw.Implementation.PYSPARK: _SPARK,
        nw.Implementation.PYSPARK_CONNECT: _SPARK,
    }
)


@dataclass(frozen=True, slots=True)
class LazyCalls:
    """A lazy frame of calls; a column is only read when a result needs it."""

    frame: nw.LazyFrame[Any]
    schema: Mapping[str, Any]

    @property
    def quantile_lists(self) -> bool:
        """Whether the engine computes several quantiles at once."""
        return _ENGINES[self.frame.implementation].quantile_lists

    def column(self, name: str) -> nw.Expr:
        """A column of the calls as an expression."""
        return nw.col(_ENGINES[self.frame.implementation].called(name))

    def require(self, columns: Iterable[str], reason: str) -> None:
        """Check that the frame has the columns.

        Raises:
            UsageError: one is missing; the message names it and the reason.
        """
        missing = [column for column in columns if column not in self.schema]
        if missing:
            raise UsageError(f"the frame has no column {missing[0]!r}, which {reason} needs")

    def with_absent(self, columns: Iterable[str]) -> "LazyCalls":
        """The calls with those columns too, all null where the frame lacks them."""
        absent = {
            column: nw.Float64() if CALL_SCHEMA.get(column) == pl.Float64 else nw.String()
            for column in columns
            if column not in self.schema
        }
        if not absent:
            return self
        called = _ENGINES[self.frame.implementation].called
        nulls = {called(column): nw.lit(None, dtype) for column, dtype in absent.items()}
        return LazyCalls(self.frame.with_columns(**nulls), {**self.schema, **absent})

    def with_columns(self, columns: Mapping[str, nw.Expr]) -> "LazyCalls":
        """The calls with further columns, by name."""
        if not columns:
            return self
        called = _ENGINES[self.frame.implementation].called
        frame = self.frame.with_columns(**{called(name): expression for name, expression in columns.items()})
        added = list(frame.collect_schema().values())[-len(columns) :]
        return LazyCalls(frame, {**self.schema, **dict(zip(columns, added, strict=True))})

    def between(self, start: datetime | None, end: datetime | None) -> "LazyCalls":
        """The calls created in [start, end)."""
        frame, zone = self.frame, self._literal_zone()
        if start is not None:
            frame = frame.filter(nw.col("create_time") >= nw.lit(start.astimezone(zone)))
        if end is not None:
            frame = frame.filter(nw.col("create_time") < nw.lit(end.astimezone(zone)))
        return LazyCalls(frame, self.schema)

    def extent(self) -> tuple[int, int] | None:
        """The first and the last instant of a call in microseconds; None when there are no calls."""
        time = nw.col("create_time")
        ends = _with_microseconds(
            self.frame.select(first=time.min(), last=time.max()), {"first_us": "first", "last_us": "last"}
        )
        first, last = collect(ends.select("first_us", "last_us")).row(0)
        return None if first is None else (first, last)

    def _literal_zone(self) -> ZoneInfo:
        # Polars compares instants only when both carry the column's zone; DuckDB has one type for all zones and
        # reports its connection's there, which need not be a name that Python knows.
        if self.frame.implementation is nw.Implementation.POLARS and "create_time" in self.schema:
            return ZoneInfo(self.schema["create_time"].time_zone)
        return ZoneInfo("UTC")


def open_calls(native: Native) -> LazyCalls:
    """The calls in a Polars frame, lazy frame, DuckDB relation or Spark frame.

    Raises:
        UsageError: it is something else, or its times have no zone.
    """
    lazy = native.lazy() if isinstance(native, pl.DataFrame) else native
    if not is_spark(lazy) and not isinstance(lazy, pl.LazyFrame | duckdb.DuckDBPyRelation):
        kind = type(native).__name__
        raise UsageError(f"cannot analyse a {kind}; give a Polars frame, a DuckDB relation or a Spark frame")
    frame: nw.LazyFrame[Any] = nw.from_native(lazy.toDF(*map(bare, lazy.columns)) if is_spark(lazy) else lazy)
    found = frame.collect_schema()  # once: of a relation with times it asks DuckDB
    schema = dict(zip(lazy.columns if is_spark(lazy) else found.names(), found.values(), strict=True))
    time = schema.get("create_time")
    if time is None:
        return LazyCalls(frame, schema)
    if not isinstance(time, nw.Datetime) or time.time_zone is None:
        raise UsageError(f"column 'create_time' is {time}; it must be a datetime with a time zone")
    return LazyCalls(_with_microseconds(frame, {MOMENT: "create_time"}), schema)


def collect(frame: nw.LazyFrame[Any]) -> pl.DataFrame:
    """Run a lazy frame and return its (small) result."""
    result: pl.DataFrame = frame.collect("polars").to_native()
    return result


def sentence(error: Exception) -> str:
    """What an engine says against an expression of somebody's; the plan that follows says nothing to them."""
    return str(error).partition("\n\nResolved plan")[0].strip()


def grouping_sets(frame: nw.LazyFrame[Any], sets: Sequence[Sequence[str]], asked: Undivided) -> list[pl.DataFrame]:
    """The groups by each set of keys, with what is asked of all values of each; the first set has all keys."""
    return _ENGINES[frame.implementation].grouping_sets(frame.to_native(), sets, asked)


def picked(
    frame: nw.LazyFrame[Any], sets: Sequence[Sequence[str]], columns: Sequence[str], wanted: Sequence[Picked]
) -> list[pl.DataFrame]:
    """For each set of keys the groups, with what is wanted of their values in the columns; the first has all keys."""
    return _ENGINES[frame.implementation].picked(frame.to_native(), sets, columns, wanted)


def _with_microseconds(frame: nw.LazyFrame[Any], columns: Mapping[str, str]) -> nw.LazyFrame[Any]:
    """Add columns with the microseconds since the epoch of others: new name -> column of instants."""
    counted = _ENGINES[frame.implementation].microseconds(frame.to_native(), columns)
    result: nw.LazyFrame[Any] = nw.from_native(counted)
    return result
