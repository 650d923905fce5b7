"""Sums so far and rolling measures: each row is about the calls of several buckets of time.

Such a measure is that of all those calls, not one of the measures of the buckets. There are two ways to it:

- Counts, sums, least and largest values are computed for each bucket, and merged over the buckets of each window.
- Percentiles and numbers of distinct values cannot be merged. Buckets are numbered in their order on the calendar, and
  the engine groups the calls by windows that do not overlap; with every beginning that such windows can have, that is
  as often as a window has buckets, these are all windows.

The calendar, with its days of 23 hours and buckets without a call, is that of `buckets`. A rolling measure looks back
beyond the start that was asked for, at the calls that the source has; a sum so far begins there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from zoneinfo import ZoneInfo

import narwhals as nw
import polars as pl
import polars.selectors as cs

from mofa_usage.analysis.aggregates import Plan, measured
from mofa_usage.analysis.asking import OTHER_MARK, Asked
from mofa_usage.analysis.buckets import Clock, steps
from mofa_usage.analysis.currencies import in_currency
from mofa_usage.analysis.engine import LazyCalls
from mofa_usage.analysis.folding import Fold
from mofa_usage.analysis.gaps import calendar, numbers, zero_of_nothing
from mofa_usage.analysis.levels import keys_of, labels, levels
from mofa_usage.measures import Aggregate, Cumulative, Measure, MeasureColumn, Rolling
from mofa_usage.zones import DAY, HOUR, MINUTE, microseconds, utc

__all__ = ["Source", "reach", "with_windows"]

_CALLS = Aggregate("count")
_MERGED = frozenset({"count", "sum", "min", "max"})
_AT = "(at)"
"""The column with the number of a bucket on the calendar; no dimension has such a name."""

_LONGEST: Mapping[str, int] = MappingProxyType(
    {"minute": MINUTE, "hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 31 * DAY}
)
_SLACK = 3 * DAY
"""Local time is less than this away from UTC, however often a clock was changed."""

_EARLIEST = microseconds(datetime(2, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Source:
    """All calls that there are, before those that are asked for are chosen, and how they are put into groups."""

    calls: LazyCalls
    clock: ZoneInfo
    fold: Fold | None


def reach(asked: Asked, clock: ZoneInfo) -> datetime | None:
    """From when on calls count in a rolling measure; None where none is asked for, or nothing limits it."""
    buckets = [entry.formula.buckets for entry in asked.measures if isinstance(entry.formula, Rolling)]
    return _seen_from(asked, max(buckets), clock) if buckets else None


def with_windows(result: pl.DataFrame, asked: Asked, held: Mapping[str, MeasureColumn], source: Source) -> pl.DataFrame:
    """The answer with the measures over windows of time in place of those of the buckets alone.

    A row whose calls have no time, and a total above the time, has null.
    """
    windows: dict[int | None, dict[str, Measure]] = {}
    for name, column in held.items():
        formula, base = column.measure.formula, column.measure.base
        if isinstance(formula, Cumulative | Rolling):
            buckets = formula.buckets if isinstance(formula, Rolling) else None
            measure = base if column.currency is None else in_currency(base, column.currency)
            windows.setdefault(buckets, {})[name] = measure
    time = next((entry.name for entry in asked.dimensions if entry.kind == "time"), None)
    for buckets, measures in windows.items():
        if time is None or not result[time].count():
            result = result.with_columns(pl.lit(None, result.schema[name]).alias(name) for name in measures)
        else:
            result = _Windows(result, asked, source, time, buckets).filled(measures)
    return result


class _Windows:
    """The windows that end with the buckets of an answer's rows: so many `buckets` long, or else all from the start."""

    def __init__(self, result: pl.DataFrame, asked: Asked, source: Source, time: str, buckets: int | None) -> None:
        start = asked.start if buckets is None else _seen_from(asked, buckets, source.clock)
        fold = source.fold if source.fold is not None and source.fold.dimension in asked.dimensions else None
        self._buckets, self._clock, self._calls = buckets, source.clock, source.calls.between(start, asked.end)
        self._keys = keys_of(asked, self._calls, Clock(source.clock, self._calls, start, asked.end), fold)
        self._names = self._keys.names(len(asked.dimensions))
        (self._time,) = (key for key, name in self._names.items() if name == time)
        self._groups = [key for key in self._names if key != self._time]
        self._calendar = calendar(result[time], time, source.clock, start, None)
        self._longest = _LONGEST[time]
        columns = [pl.col(name or OTHER_MARK).alias(key) for key, name in self._names.items()]
        self._result, self._rows = result, self._placed(result.select(columns))

    def filled(self, measures: Mapping[str, Measure]) -> pl.DataFrame:
        """The answer with these measures of the calls in each row's window, by column."""
        merged = [name for name, entry in measures.items() if {part.function for part in entry.aggregates} <= _MERGED]
        apart = [name for name in measures if name not in merged]
        columns: list[pl.Series] = []
        for names, compute in ((merged, self._merged), (apart, self._regrouped)):
            if names:
                plan = Plan([measures[name] for name in names], self._calls)
                plan.add(_CALLS)
                on = [*self._groups, _AT]
                found = self._rows.join(compute(plan), on=on, how="left", nulls_equal=True, maintain_order="left")
                columns += [_of_windows(measures[name], plan, found).alias(name) for name in names]
        return self._result.with_columns(columns)

    def _merged(self, plan: Plan) -> pl.DataFrame:
        """The aggregates of each window, from those of its buckets."""
        depth = len(self._keys.dimensions)
        found = levels(self._calls, self._keys, plan, [depth])[depth]
        each = self._placed(_labelled(found, self._names, self._clock)).drop_nulls(_AT)
        on = [*self._groups, _AT]
        every = pl.concat([each.select(on), self._rows.select(on).drop_nulls(_AT)]).unique()
        line = every.sort(_AT).join(each, on=on, how="left", nulls_equal=True, maintain_order="left")
        if self._buckets is None:
            line = line.cast({cs.unsigned_integer(): pl.Int64})
            sums = [pl.col(name).fill_null(0).cum_sum() for name in plan.columns]
            return line.with_columns(part.over(self._groups) if self._groups else part for part in sums)
        windows = line.rolling(index_column=_AT, period=f"{self._buckets}i", group_by=self._groups or None)
        return windows.agg(plan.sums())

    def _regrouped(self, plan: Plan) -> pl.DataFrame:
        """The aggregates of each window, from its calls: in each pass those of windows that do not overlap."""
        length, keys, depth = self._buckets or 1, self._keys, len(self._keys.dimensions)
        calls = LazyCalls(self._calls.frame.with_columns(self._number().alias(_AT)), self._calls.schema)
        others = {key: name for key, name in self._names.items() if key != self._time}
        found = []
        for phase in sorted({at % length for at in self._rows[_AT].drop_nulls()}):
            end = nw.col(_AT) + (length - 1) - (nw.col(_AT) + (length - 1 - phase)) % length
            ending = replace(keys, expressions={**keys.expressions, self._time: end})
            groups = levels(calls, ending, plan, [depth])[depth]
            found.append(_labelled(groups, others, self._clock).rename({self._time: _AT}).cast({_AT: pl.Int64}))
        return pl.concat(found).drop_nulls(_AT)

    def _placed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the number of their bucket in place of its label, null where they have no time or one outside."""
        places = pl.DataFrame({self._time: self._calendar}).with_row_index(_AT).cast({_AT: pl.Int64})
        return rows.join(places, on=self._time, how="left", maintain_order="left").drop(self._time)

    def _number(self) -> nw.Expr:
        """The number of the bucket that a call is in; null outside of the calendar."""
        key, known = self._keys.expressions[self._time], numbers(self._calendar)
        # Nearly all buckets are of one length, so that their keys say their number, but for a few steps.
        first, inside = known[0], (key >= known[0]) & (key <= known[-1])
        rest = [(at, place - (at - first) // self._longest) for place, at in enumerate(known)]
        return nw.when(inside).then((key - first) // self._longest + steps(key, rest))


def _labelled(found: pl.DataFrame, names: Mapping[str, str | None], clock: ZoneInfo) -> pl.DataFrame:
    """The engine's groups with labels for keys."""
    columns = zip(names, labels(names, found, clock).values(), strict=True)
    return found.with_columns(series.alias(key) for key, series in columns)


def _of_windows(measure: Measure, plan: Plan, found: pl.DataFrame) -> pl.Series:
    """The measure of the calls of each window: 0 where there are none and it adds up, null where there is no window."""
    values, calls = measured(measure, plan, found), plan.value(_CALLS, found)
    if zero_of_nothing(measure):
        none = pl.Series([0], dtype=pl.Int64).cast(values.dtype).new_from_index(0, len(values))
        values = values.zip_with(calls > 0, none)
    return values.set(found[_AT].is_null(), None)


def _seen_from(asked: Asked, buckets: int, clock: ZoneInfo) -> datetime | None:
    """When the first bucket begins of the window of the bucket that holds the start; None where nothing limits it."""
    time = next((entry.name for entry in asked.dimensions if entry.kind == "time"), None)
    if asked.start is None or time is None:
        return None
    start = microseconds(asked.start)
    early = utc(min(start, max(start - buckets * _LONGEST[time] - _SLACK, _EARLIEST)))
    before = calendar(pl.Series(time, [], dtype=pl.Date), time, clock, early, utc(start + 1))
    first = utc(numbers(before)[-buckets:][0])
    # Minutes and hours begin at instants, the others at times on the clock.
    return first if time in ("minute", "hour") else first.replace(tzinfo=clock).astimezone(UTC)
