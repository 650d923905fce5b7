"""The one analysis behind all others: measures of calls, by dimensions.

The engine groups the calls by columns and bucket keys and computes the base aggregates (`Plan`); everything after
that happens here, on a small Polars frame: keys become dates, sums become rates, money is divided exactly, gaps are
filled and rows are sorted. So Polars and DuckDB return equal frames, but for the last bits of token rates, whose sum
depends on the order of its terms.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import TypeVar
from zoneinfo import ZoneInfo

import narwhals as nw
import polars as pl

from mofa_usage import measures as definitions
from mofa_usage.analysis.aggregates import Plan
from mofa_usage.analysis.buckets import BUCKETS, Clock
from mofa_usage.analysis.engine import LazyCalls, Native, collect, open_calls
from mofa_usage.analysis.gaps import fill
from mofa_usage.analysis.result import Breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import Dimension, Measure, Ratio
from mofa_usage.reading.columns import MONEY
from mofa_usage.zones import Moment, time_range, zone

__all__ = ["breakdown"]

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the calls, checked."""

    dimensions: tuple[Dimension, ...]
    measures: tuple[Measure, ...]
    zone: ZoneInfo
    start: datetime | None
    end: datetime | None

    @property
    def by(self) -> list[str]:
        """The names of the dimensions."""
        return [dimension.name for dimension in self.dimensions]

    def check(self, calls: LazyCalls) -> None:
        """Check that the frame has the columns that the question needs."""
        for dimension in self.dimensions:
            calls.require(dimension.needs, f"the dimension {dimension.name!r}")
        for measure in self.measures:
            calls.require(measure.needs, f"the measure {measure.name!r}")
        if self.start is not None or self.end is not None:
            calls.require(["create_time"], "a time range")


def breakdown(
    native: Native,
    by: str | Sequence[str] = (),
    measures: str | Sequence[str] = ("calls", "success_rate", "total_tokens", "cost", "coverage", "latency_p95"),
    *,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
    fill_gaps: bool = False,
) -> Breakdown:
    """Measures of the calls, by dimensions.

    Args:
        native: a Polars frame or lazy frame, or a DuckDB relation, with those columns of
            `mofa_usage.reading.columns.CALL_SCHEMA` that the measures and dimensions need.
        by: names of `mofa_usage.measures.DIMENSIONS`. A measure of money adds `currency` as the last one.
        measures: names of `mofa_usage.measures.MEASURES`.
        tz: IANA time zone of the time buckets, and of a `start` or `end` that names none.
        start: only calls created at or after this instant: a datetime with a zone, a date or ISO 8601 text.
        end: only calls created before this instant.
        fill_gaps: add the time buckets that have no calls, between `start` and `end` or the first and last bucket,
            with null measures, for each combination of the other dimensions that occurs.

    Returns:
        One row per combination of dimensions that occurs (one row in all without dimensions), the columns being the
        dimensions and then the measures, in the order asked. Sorted by the dimensions when one of them is a time,
        else by the first measure, largest first; nulls last. Types: money Decimal(38, 10), counts and tokens Int64,
        rates, means, quantiles Float64; minute and hour Datetime in `tz`, day, week and month Date, hour_of_day and
        weekday Int8, other dimensions String.

    Raises:
        UsageError: an unknown measure, dimension or zone, a time without zone, a column that the frame lacks.
    """
    question = _question(by, measures, zone(tz), start, end)
    gaps = _gap_dimension(question) if fill_gaps else None
    calls = open_calls(native)
    question.check(calls)
    result = _finished(question, *_aggregated(question, calls))
    if gaps is not None:
        result = fill(result, question.by, gaps, question.zone, question.start, question.end)
    return Breakdown(_sorted(result, question))


def _question(
    by: str | Sequence[str],
    measures: str | Sequence[str],
    tz: ZoneInfo,
    start: Moment | None,
    end: Moment | None,
) -> Question:
    asked = tuple(definitions.measure(name) for name in _names(measures))
    if not asked:
        raise UsageError("no measure was asked for")
    names = _names(by)
    if any(measure.kind == "money" for measure in asked) and "currency" not in names:
        names.append("currency")
    return Question(tuple(definitions.dimension(name) for name in names), asked, tz, *time_range(start, end, tz))


def _names(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _gap_dimension(question: Question) -> str:
    times = [dimension.name for dimension in question.dimensions if dimension.kind == "time"]
    if len(times) != 1:
        raise UsageError(f"fill_gaps needs one time bucket (minute, hour, day, week or month) in by, not {len(times)}")
    return times[0]


def _aggregated(question: Question, calls: LazyCalls) -> tuple[Plan, pl.DataFrame]:
    """The engine's part: one row per group, keys in columns k0, k1, ... and aggregates as the plan names them."""
    plan = Plan(question.measures)
    wanted = calls.between(question.start, question.end)
    clock = Clock(question.zone, wanted, question.start, question.end)
    keys = {f"k{position}": _key(dimension, wanted, clock) for position, dimension in enumerate(question.dimensions)}
    columns = {**keys, **plan.values(calls.schema)}
    selected = wanted.frame.select(**columns) if columns else wanted.frame
    grouped = selected.group_by(*keys).agg if keys else selected.select
    result = collect(grouped(**plan.expressions(quantile_lists=calls.quantile_lists)))
    return plan, plan.unpacked(result)


def _key(dimension: Dimension, calls: LazyCalls, clock: Clock) -> nw.Expr:
    bucket = BUCKETS.get(dimension.name)
    if bucket is not None:
        return bucket.key(clock)
    column = nw.col(dimension.name)
    return column if calls.schema[dimension.name] == nw.String else column.cast(nw.String)


def _finished(question: Question, plan: Plan, result: pl.DataFrame) -> pl.DataFrame:
    """The engine's result with dates for keys and measures for aggregates."""
    columns = []
    for position, dimension in enumerate(question.dimensions):
        key = result[f"k{position}"]
        bucket = BUCKETS.get(dimension.name)
        columns.append((key if bucket is None else bucket.label(key, question.zone.key)).alias(dimension.name))
    columns += [_measured(measure, plan, result).alias(measure.name) for measure in question.measures]
    return pl.DataFrame(columns)


def _measured(measure: Measure, plan: Plan, result: pl.DataFrame) -> pl.Series:
    formula = measure.formula
    if not isinstance(formula, Ratio):
        return plan.value(formula, result)
    numerator, denominator = plan.value(formula.numerator, result), plan.value(formula.denominator, result)
    if measure.kind == "money":
        return _money_ratio(numerator, denominator, formula.scale)
    quotient = numerator.cast(pl.Float64) / denominator.cast(pl.Float64) * formula.scale
    return quotient.set(denominator == 0, None)


def _money_ratio(numerator: pl.Series, denominator: pl.Series, scale: int) -> pl.Series:
    """Exact quotients rounded half to even at the tenth place; Polars would round on its own terms."""
    place = Decimal("1e-10")
    with localcontext(prec=100, rounding=ROUND_HALF_EVEN):
        quotients = [
            None if not amount_of or amount is None else (amount * scale / amount_of).quantize(place)
            for amount, amount_of in zip(numerator, denominator, strict=True)
        ]
    return pl.Series(quotients, dtype=MONEY)


def _sorted(result: pl.DataFrame, question: Question) -> pl.DataFrame:
    if any(dimension.kind != "category" for dimension in question.dimensions):
        return result.sort(question.by, nulls_last=True)
    keys = [question.measures[0].name, *question.by]
    return result.sort(keys, descending=[True, *(False for _ in question.by)], nulls_last=True)
