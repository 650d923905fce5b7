"""Which calls are meant: what `UsageFrame.filter` takes, checked against the calls, and met by them.

A predicate is one of three things:

- **SQL text** over the columns of the calls. DuckDB evaluates it wherever the calls are, in a frame, too, so that it
  means the same everywhere;
- an **expression** of Narwhals, or of Polars for calls in memory;
- an `Equal`: a column whose value is one of some values. What is given by name becomes it (`status="failed"`,
  `labels={"team": ["a", "b"]}`); the values are those of the column's type, so that money is compared as Decimal and
  ids as text.

A call of which a predicate says null does not meet it, on every engine.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import and_, or_
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import duckdb
import narwhals as nw
import polars as pl

from mofa_usage.analysis.engine import sentence
from mofa_usage.errors import UsageError
from mofa_usage.measures import LABEL_COLUMNS
from mofa_usage.measures.spelling import suggestion
from mofa_usage.reading.columns import CALL_COLUMNS, LABEL, SESSION, TIME
from mofa_usage.records import ApiCallStatus
from mofa_usage.schema import Kind
from mofa_usage.values import exact_price
from mofa_usage.zones import Moment, instant

__all__ = [
    "Equal",
    "Expression",
    "Predicate",
    "checked",
    "filtered_frame",
    "filtered_relation",
    "predicates",
    "refusing",
    "shown",
    "within",
]

Expression: TypeAlias = nw.Expr | pl.Expr
"""An expression that is true of the calls that are meant; one of Polars needs them in memory."""


@dataclass(frozen=True, slots=True)
class Equal:
    """The value of a column is one of `values`, or is a time in one of the half-open `ranges` in UTC, whose ends may be
    open, or is `missing`. What is nothing of that is met by no call.
    """

    column: str
    values: tuple[Any, ...] = ()
    ranges: tuple[tuple[datetime | None, datetime | None], ...] = ()
    missing: bool = False


Predicate: TypeAlias = str | Expression | Equal


def within(start: datetime | None, end: datetime | None) -> Equal:
    """The calls created in [start, end)."""
    return Equal("create_time", ranges=((start, end),))


def predicates(
    given: Iterable[str | Expression], equal: Mapping[str, Any], schema: Mapping[str, Any], tz: ZoneInfo
) -> tuple[Predicate, ...]:
    """All that calls must meet; whether SQL and expressions fit the calls is not looked at.

    Args:
        given: SQL text and expressions.
        equal: Column -> value or collection of values; None is a missing one. `labels` and `session` -> a mapping of
            names in the same way.
        schema: The columns of the calls with their types, which are Narwhals'.
        tz: The zone of dates, and of text that is a time.

    Raises:
        UsageError: a column, label or status that is not there, a value that no call can have in the column, something
            that is no predicate.
    """
    spoken = tuple(given)
    for one in spoken:
        if not isinstance(one, str | nw.Expr | pl.Expr):
            raise UsageError(f"a filter is SQL text, an expression, or a column by name, not a {type(one).__name__}")
    return *spoken, *(_equal(column, value, schema[column], tz) for column, value in _columns(equal, schema))


# --- what is given by name ------------------------------------------------------------------------------------------


def _columns(given: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        if name in ("labels", "session") and isinstance(value, Mapping):
            for inner, wanted in value.items():
                yield _named(LABEL if name == "labels" else SESSION, inner, schema), wanted
        elif name in schema:
            yield name, value
        elif name in ("labels", "session"):
            raise UsageError(f"{name} = {value!r}; give a mapping of names to values: {name}={{'plan': 'pro'}}")
        else:
            raise UsageError(f"no column is called {name!r}; {suggestion(name, schema)}")


def _named(prefix: str, name: object, schema: Mapping[str, Any]) -> str:
    """The column of a label, or of a value of the sessions' metadata."""
    column = LABEL_COLUMNS.get(f"{prefix}{name}", f"{prefix}{name}")
    if column not in schema:
        there = [known.removeprefix(prefix) for known in schema if known.startswith(prefix)]
        there += [
            label.removeprefix(prefix) for label, own in LABEL_COLUMNS.items() if prefix == LABEL and own in schema
        ]
        of = "no call has a label" if prefix == LABEL else "no session says anything"
        raise UsageError(f"{of} called {name!r}; {suggestion(name, there)}")
    return column


def _equal(column: str, value: Any, dtype: Any, tz: ZoneInfo) -> Equal:
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    wanted = list(value) if several else [value]
    there = [one for one in wanted if one is not None]
    missing = len(there) < len(wanted)
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        return Equal(column, ranges=tuple(_period(column, one, tz) for one in there), missing=missing)
    return Equal(column, tuple(dict.fromkeys(_value(column, one, dtype) for one in there)), missing=missing)


def _period(column: str, value: Moment, tz: ZoneInfo) -> tuple[datetime, datetime]:
    """The instant, or the whole day on the clock of the zone."""
    day = _day(value)
    start = instant(value if day is None else day, tz, column)
    if day is None:
        return start, start + timedelta(microseconds=1)
    return start, instant(day + timedelta(days=1), tz, column)


def _day(value: object) -> date | None:
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, date) and not isinstance(value, datetime) else None


def _value(column: str, value: Any, dtype: Any) -> Any:
    """The value as the column holds it."""
    if column == "status" and value not in list(ApiCallStatus):
        raise UsageError(f"no status is called {str(value)!r}; {suggestion(value, ApiCallStatus)}")
    found: Any = None
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if dtype == nw.Boolean:
        found = value if isinstance(value, bool) else None
    elif dtype == nw.Date:
        found = _day(value)
    elif dtype.is_integer():
        found = _whole(value)
    elif isinstance(dtype, nw.Decimal):
        found = exact_price(value if isinstance(value, float) else Decimal(value)) if is_number else None
    elif dtype.is_float():
        found = float(value) if is_number else None
    elif isinstance(dtype, nw.String | nw.Categorical | nw.Enum | nw.Unknown):  # what Narwhals does not know is a UUID
        found = _text(value, is_id=isinstance(dtype, nw.Unknown) or _is_id(column))
    if found is None:
        raise UsageError(f"{column} is {dtype}, which cannot be {value!r} ({type(value).__name__})")
    return found


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isdecimal():  # as labels are
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _is_id(column: str) -> bool:
    return column in CALL_COLUMNS and CALL_COLUMNS[column].kind is Kind.ID


def _text(value: Any, *, is_id: bool) -> str | None:
    """The text; ids that are UUIDs are written as frames have them."""
    if is_id and isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            return value
    if isinstance(value, str):
        return str(value)
    return str(value) if isinstance(value, UUID | int) and not isinstance(value, bool) else None


# --- the calls that meet them ---------------------------------------------------------------------------------------


def filtered_relation(calls: duckdb.DuckDBPyRelation, predicate: Predicate) -> duckdb.DuckDBPyRelation:
    """The calls of a relation that meet a predicate, of which `checked` has seen that they can; lazily."""
    if isinstance(predicate, Equal):
        return calls.filter(_sql_equal(predicate, calls))
    if isinstance(predicate, str):
        return calls.filter(duckdb.SQLExpression(predicate))
    lazy: Any = nw.from_native(calls)
    filtered: duckdb.DuckDBPyRelation = lazy.filter(predicate).to_native()
    return filtered


def checked(calls: duckdb.DuckDBPyRelation, predicate: Predicate) -> Predicate:
    """The predicate, if calls of this relation can meet it. None is looked at.

    Raises:
        UsageError: it is none; the message has the sentence of DuckDB or Narwhals that says why.
    """
    if isinstance(predicate, Equal):
        return predicate
    if isinstance(predicate, pl.Expr):
        raise UsageError(
            "these calls are not in memory, so they cannot meet an expression of Polars; give SQL text or an "
            "expression of Narwhals, or load them first (usage.frame)"
        )
    with refusing(predicate):
        filtered_relation(calls, predicate)
        if isinstance(predicate, str):
            kinds = {*map(str, calls.project(duckdb.SQLExpression(predicate)).types)}
        else:
            kinds = {*map(str, nw.from_native(calls).select(predicate).collect_schema().values())}
    if kinds - {"BOOLEAN", "Boolean"}:
        raise UsageError(f"{shown(predicate)} is not true or false of a call: it is {', '.join(sorted(kinds))}")
    return predicate


def filtered_frame(
    frame: pl.DataFrame, predicate: Predicate, opened: Callable[[pl.LazyFrame], duckdb.DuckDBPyRelation]
) -> pl.DataFrame:
    """The calls of a frame that meet a predicate, in their order; `opened` makes a relation of them.

    Raises:
        UsageError: as `checked`, and where a call makes the evaluation fail.
    """
    if isinstance(predicate, Equal):
        return frame.filter(_polars_equal(predicate, frame.schema))
    if isinstance(predicate, str):
        calls = opened(frame.lazy())  # of which DuckDB asks for the columns that it needs only
        checked(calls, predicate)
        with refusing(predicate):
            # DuckDB keeps the order, so this is a mask.
            met = pl.DataFrame(pl.from_arrow(calls.project(duckdb.SQLExpression(predicate)).to_arrow_table()))
    else:
        with refusing(predicate):
            lazy: Any = frame.lazy() if isinstance(predicate, pl.Expr) else nw.from_native(frame.lazy())
            met = lazy.select(predicate).collect()
            met = met if isinstance(met, pl.DataFrame) else met.to_native()
    if set(met.schema.values()) != {pl.Boolean()} or met.height != frame.height:
        kinds = ", ".join(sorted({*map(str, met.schema.values())}))
        raise UsageError(f"{shown(predicate)} is not true or false of each call: it is {met.height} x {kinds}")
    return frame.filter(pl.all_horizontal(met))


def shown(predicate: Predicate) -> str:
    """What a predicate is called in a message."""
    return f"the filter {predicate!r}" if isinstance(predicate, str) else f"the filter {predicate}"


@contextmanager
def refusing(predicate: Predicate) -> Iterator[None]:
    """What an engine raises as the refusal of a predicate, which is the user's own."""
    try:
        yield
    except Exception as error:
        raise UsageError(f"{shown(predicate)} cannot be met: {sentence(error)}") from error


def _sql_equal(wanted: Equal, calls: duckdb.DuckDBPyRelation) -> duckdb.Expression:
    column = duckdb.ColumnExpression(wanted.column)
    alternatives = [_sql_between(column, start, end) for start, end in wanted.ranges]
    if wanted.values:
        is_text = isinstance(wanted.values[0], str)
        # Of text that is a UUID to DuckDB or one of few words, the text is compared; what is text stays what it is.
        kind = str(calls.types[calls.columns.index(wanted.column)])
        compared = column.cast("VARCHAR") if is_text and kind != "VARCHAR" else column
        alternatives.append(compared.isin(*map(duckdb.ConstantExpression, wanted.values)))
    if wanted.missing:
        alternatives.append(column.isnull())
    return reduce(or_, alternatives) if alternatives else duckdb.ConstantExpression(False)


def _sql_between(column: duckdb.Expression, start: datetime | None, end: datetime | None) -> duckdb.Expression:
    ends = [column >= duckdb.ConstantExpression(start)] if start is not None else []
    ends += [column < duckdb.ConstantExpression(end)] if end is not None else []
    return reduce(and_, ends) if ends else duckdb.ConstantExpression(True)


def _polars_equal(wanted: Equal, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    column, dtype = pl.col(wanted.column), schema[wanted.column]
    alternatives = [_polars_between(column, start, end) for start, end in wanted.ranges]
    if wanted.values:
        values = pl.Series(wanted.values)
        if isinstance(dtype, pl.Decimal):  # of as many places as there may be
            alternatives += [column == value for value in wanted.values]
        else:
            alternatives.append(column.cast(values.dtype, strict=False).is_in(values.implode()))
    if wanted.missing:
        alternatives.append(column.is_null())
    return pl.any_horizontal(alternatives) if alternatives else pl.lit(False)


def _polars_between(column: pl.Expr, start: datetime | None, end: datetime | None) -> pl.Expr:
    moment = column.dt.convert_time_zone("UTC")
    ends = [moment >= pl.lit(start, dtype=TIME)] if start is not None else []
    ends += [moment < pl.lit(end, dtype=TIME)] if end is not None else []
    return pl.all_horizontal(ends) if ends else pl.lit(True)
