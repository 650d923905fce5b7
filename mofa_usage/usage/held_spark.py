"""The calls of a usage on a Spark cluster.

Breakdowns and what is made of them, explanations and service levels are computed there. SQL and the questions that only
DuckDB answers need the calls on this machine, and are refused, because there may be more of them than it can hold: who
wants them brings a part here.

A Spark session belongs to its process; pickled, the calls are read and become a `HeldFrame`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, NoReturn

import narwhals as nw
import polars as pl

from mofa_usage.analysis.predicates import Equal, Predicate, refusing, shown, within
from mofa_usage.errors import UsageError
from mofa_usage.measures import Dimension
from mofa_usage.reading.columns import bare
from mofa_usage.reading.relation import NO_TABLES, Tables, as_calls, told
from mofa_usage.reading.selection import Selection
from mofa_usage.reading.spark import SparkCalls
from mofa_usage.reading.spark_values import moment, named, text_literal
from mofa_usage.repricing import Step
from mofa_usage.usage.held import HeldFrame, names_in, needs_them_here

__all__ = ["HeldSpark"]


class HeldSpark:
    """Calls that a Spark cluster reads whenever they are asked for something, and then only what that needs.

    They are the selected ones that meet all of the predicates.
    """

    def __init__(self, calls: SparkCalls, selection: Selection, met: tuple[Predicate, ...] = ()) -> None:
        self._calls = calls
        self._selection = selection
        self._met = met

    def __reduce__(self) -> tuple[Any, ...]:
        return HeldFrame, (self.loaded().frame,)

    def __str__(self) -> str:
        return "on Spark"

    @property
    def columns(self) -> list[str]:
        """See `HeldCalls`."""
        return list(self._calls.columns(self._selection))

    def count(self) -> int:
        """See `HeldCalls`."""
        with told():
            return int(self.native("UTC").count())

    def native(self, tz: str) -> Any:
        """See `HeldCalls`: a Spark frame."""
        return self._native

    @cached_property
    def _native(self) -> Any:
        calls = self._selected
        names, types = calls.columns, {field.name: field.dataType.simpleString() for field in calls.schema.fields}
        calls = calls.toDF(*map(bare, names))
        for predicate in self._met:
            calls = _filtered(calls, predicate, types)
        return calls.toDF(*names)

    @cached_property
    def _selected(self) -> Any:
        return self._calls.frame(self._selection)

    def relation(self, tz: str, beside: Tables = NO_TABLES) -> NoReturn:
        """See `HeldCalls`.

        Raises:
            UsageError: always.
        """
        raise UsageError(needs_them_here("SQL of DuckDB", self.elsewhere))

    def queried(self, tz: str) -> Any:
        """See `HeldCalls`: a Spark frame."""
        return self._native

    @property
    def elsewhere(self) -> str:
        """See `HeldCalls`."""
        return "a Spark cluster"

    @property
    def are_hidden(self) -> bool:
        """See `HeldCalls`."""
        return False

    def between(self, start: datetime | None, end: datetime | None) -> "HeldSpark":
        """See `HeldCalls`."""
        if not self._selection.ordered and not self._met:
            return HeldSpark(self._calls, replace(self._selection, start=start, end=end))
        if "create_time" not in self.columns:
            raise UsageError("a period needs the column create_time, which was not loaded")
        return HeldSpark(self._calls, self._selection, (*self._met, within(start, end)))

    @property
    def schema(self) -> Mapping[str, Any]:
        """See `HeldCalls`."""
        found: Mapping[str, Any] = nw.from_native(self._selected).collect_schema()
        return found

    def filter(self, predicates: Sequence[Predicate], tz: str) -> "HeldSpark":
        """See `HeldCalls`. No call is looked at; SQL would be DuckDB's, and is refused."""
        for predicate in predicates:
            if isinstance(predicate, str):
                raise UsageError(
                    f"{shown(predicate)} is SQL of DuckDB, and these calls are on Spark: give columns by name "
                    '(status="failed"), an expression of Narwhals, or load_usage(frame.where(...)) in SQL of Spark'
                )
            if isinstance(predicate, pl.Expr):
                raise UsageError(
                    "these calls are on Spark, so they cannot meet an expression of Polars: give Narwhals'"
                )
        found = HeldSpark(self._calls, self._selection, (*self._met, *predicates))
        for predicate in predicates:
            with refusing(predicate):
                found.native(tz)
        return found

    def repriced(self, step: Step) -> NoReturn:
        """See `HeldCalls`.

        Raises:
            UsageError: always.
        """
        raise UsageError(needs_them_here("other money", self.elsewhere))

    def loaded(self) -> HeldFrame:
        """See `HeldCalls`. All of them come to this machine."""
        with told():
            return HeldFrame(as_calls(self.native("UTC").toArrow()))

    def stream(self, requested_schema: object | None) -> object:
        """See `HeldCalls`."""
        return self.loaded().stream(requested_schema)

    def names(self, dimension: str | Dimension) -> Callable[[], pl.Series]:
        """See `HeldCalls`. They are counted on the cluster when they are wanted."""
        return partial(names_in, self, dimension)


def _filtered(calls: Any, predicate: Predicate, types: Mapping[str, str]) -> Any:
    if isinstance(predicate, Equal):
        return calls.where(_sql_equal(predicate, types[predicate.column]))
    filtered: Any = nw.from_native(calls).filter(predicate)
    return filtered.to_native()


def _sql_equal(wanted: Equal, given: str) -> str:
    """The condition in Spark's SQL, for a column of the given type."""
    column = named(wanted.column)
    alternatives = [_between(column, start, end) for start, end in wanted.ranges]
    if wanted.values:
        is_text = isinstance(wanted.values[0], str)
        compared = f"CAST({column} AS string)" if is_text and given != "string" else column
        alternatives.append(f"{compared} IN ({', '.join(map(_literal, wanted.values))})")
    if wanted.missing:
        alternatives.append(f"{column} IS NULL")
    return " OR ".join(f"({one})" for one in alternatives) or "false"


def _between(column: str, start: datetime | None, end: datetime | None) -> str:
    ends = [f"{column} >= {moment(start)}"] if start is not None else []
    ends += [f"{column} < {moment(end)}"] if end is not None else []
    return " AND ".join(ends) or "true"


def _literal(value: Any) -> str:
    """A value of a column in Spark's SQL."""
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"double('{value!r}')"
    if isinstance(value, date):
        return f"date '{value.isoformat()}'"
    return f"CAST('{value:f}' AS decimal(38,10))" if isinstance(value, Decimal) else f"bigint('{value}')"
