"""The one analysis behind all others: measures of calls, by dimensions.

The engine groups the calls by columns and bucket keys and computes the base aggregates (`Plan`); everything after
that happens here, on a small Polars frame: keys become dates, sums become rates, money is divided exactly, gaps are
filled and rows are sorted. So Polars and DuckDB return equal frames, but for the last bits of token rates, whose sum
depends on the order of its terms.

Questions that group the same calls alike are answered by one `Scan`. It also finds the first and the last currency of
each group by the alphabet: where they are all the same, which is nearly always, the sums of prices are sums of one
currency. Else a second pass computes the measures of money for each currency apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from zoneinfo import ZoneInfo

import narwhals as nw
import polars as pl

from mofa_usage.analysis.aggregates import Plan, key
from mofa_usage.analysis.asking import Asked, By, Measures, Question, checked
from mofa_usage.analysis.buckets import BUCKETS, Clock
from mofa_usage.analysis.currencies import HIGHEST, LOWEST, in_currency, most_used
from mofa_usage.analysis.engine import LazyCalls, Native, collect, open_calls
from mofa_usage.analysis.gaps import fill
from mofa_usage.analysis.result import Breakdown
from mofa_usage.measures import Aggregate, Dimension, Measure, MeasureColumn, Ratio, Roles, money_columns
from mofa_usage.reading.columns import MONEY
from mofa_usage.zones import Moment, zone

__all__ = ["breakdown", "breakdowns"]

_CALLS = Aggregate("count")


def breakdown(
    native: Native,
    by: By | None = (),
    measures: Measures | None = None,
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
        by: names of `mofa_usage.measures.DIMENSIONS`, `labels.NAME`, `session.NAME`, further columns of the frame that
            hold text, whole numbers, flags or dates, and dimensions of your own. None: by model, where there is such a
            column.
        measures: names of `mofa_usage.measures.MEASURES`, and measures of your own. None: calls, success rate, tokens,
            cost, coverage and p95 of the latency, as far as the frame has their columns.
        tz: IANA time zone of the time buckets, and of a `start` or `end` that names none.
        start: only calls created at or after this instant: a datetime with a zone, a date or ISO 8601 text.
        end: only calls created before this instant.
        fill_gaps: add the time buckets that have no calls, between `start` and `end` or the first and last bucket,
            with null measures, for each combination of the other dimensions that occurs.

    Returns:
        One row per combination of dimensions that occurs (one row in all without dimensions), the columns being the
        dimensions and then the measures, in the order asked.

        Where a measure is money and the priced calls are in one currency, a last column `currency` says which (null:
        no call has a price). Where they are in several, the one with most priced calls first, there is a column of
        each such measure for each currency (`cost_EUR`, `cost_USD`): of the calls in that currency and those without a
        price. With `currency` in `by` there is a row for each currency, and one, null, for calls without a price. All
        other measures are of all calls.

        Sorted by the dimensions when one of them is a time, else by the first measure, largest first (then, if it is
        money, by calls), and by the dimensions; nulls last. Types: money Decimal(38, 10), counts and tokens Int64,
        rates, means, quantiles Float64; minute and hour Datetime in `tz`, day, week and month Date, hour_of_day and
        weekday Int8, other dimensions String.

    Raises:
        UsageError: an unknown measure, dimension or zone, a time without zone, a column that the frame lacks.
    """
    return breakdowns(native, [Question(by, measures, start, end, fill_gaps)], tz=tz)[0]


def breakdowns(native: Native, questions: Sequence[Question], *, tz: str = "UTC") -> list[Breakdown]:
    """The answers to several questions, in their order, each as `breakdown` gives it alone.

    Those with the same dimensions and times share one pass over the calls, so that they cost little more than the
    widest of them.

    Raises:
        UsageError: as `breakdown`, for any of them.
    """
    clock = zone(tz)
    calls = open_calls(native)
    asked = [checked(question, calls, clock) for question in questions]
    sharing: dict[tuple[tuple[Dimension, ...], datetime | None, datetime | None], list[Asked]] = {}
    for one in asked:
        sharing.setdefault((one.dimensions, one.start, one.end), []).append(one)
    scans = {key: _scan(calls, together, clock) for key, together in sharing.items()}
    return [_answer(one, scans[one.dimensions, one.start, one.end]) for one in asked]


@dataclass(frozen=True, slots=True)
class Scan:
    """What the engine computed: a row per group, the aggregates under the names of the plan.

    `keys` are the dimensions, labelled. `currencies` are those of the priced calls, if a question is about money. With
    several of them `apart` has the measures of money of each, by their columns, in `plan_apart`.
    """

    plan: Plan
    result: pl.DataFrame
    keys: Mapping[str, pl.Series]
    zone: ZoneInfo
    currencies: tuple[str, ...]
    money: Mapping[str, pl.Series]

    def column(self, measure: Measure) -> pl.Series:
        """A measure of all calls of each group."""
        return _measured(measure, self.plan, self.result)


def _scan(calls: LazyCalls, together: Sequence[Asked], clock: ZoneInfo) -> Scan:
    """The engine's part of questions that have the same dimensions and times."""
    first = together[0]
    measures = list(dict.fromkeys(measure for one in together for measure in one.measures))
    money = list(dict.fromkeys(measure for one in together for measure in one.money))
    wanted = calls.with_absent(column for measure in measures for column in measure.optional)
    wanted = wanted.with_absent(["currency"] if "currency" in first.by else []).between(first.start, first.end)
    keys = _keys(first, wanted, clock)
    plan = Plan(measures, wanted.schema)
    if any(one.ranked and one.measures[0].kind == "money" for one in together):
        plan.add(_CALLS)
    if money:
        plan.add(LOWEST, HIGHEST)
    result = _grouped(wanted, keys, plan)
    currencies = most_used(wanted, plan.value(LOWEST, result), plan.value(HIGHEST, result)) if money else ()
    apart = _apart(wanted, keys, money, currencies, result) if len(currencies) > 1 else {}
    labels = {name: _label(name, result[key], clock) for name, key in zip(first.by, keys, strict=True)}
    return Scan(plan, result, labels, clock, currencies, apart)


def _keys(asked: Asked, calls: LazyCalls, clock: ZoneInfo) -> dict[str, nw.Expr]:
    """What the engine groups by: an expression for each dimension, under k0, k1, ..."""
    times = Clock(clock, calls, asked.start, asked.end)
    return {
        f"k{position}": key(entry, calls) if entry.kind == "category" else BUCKETS[entry.name].key(times)
        for position, entry in enumerate(asked.dimensions)
    }


def _label(name: str, key: pl.Series, clock: ZoneInfo) -> pl.Series:
    bucket = BUCKETS.get(name)
    return key if bucket is None else bucket.label(key, clock.key)


def _grouped(calls: LazyCalls, keys: Mapping[str, nw.Expr], plan: Plan) -> pl.DataFrame:
    """One row per group, with its keys and the aggregates of the plan."""
    columns = {**keys, **plan.values()}
    selected = plan.ranked(calls.frame.select(**columns), keys) if columns else calls.frame
    grouped = selected.group_by(*keys).agg if keys else selected.select
    return plan.unpacked(collect(grouped(**plan.expressions(quantile_lists=calls.quantile_lists))))


def _apart(
    calls: LazyCalls,
    keys: Mapping[str, nw.Expr],
    money: Sequence[Measure],
    currencies: Sequence[str],
    result: pl.DataFrame,
) -> dict[str, pl.Series]:
    """Measures of money for each currency, by column, in the order of the groups in `result`."""
    measures = {
        column: in_currency(measure, currency)
        for measure in money
        for currency, column in money_columns(measure.name, currencies).items()
    }
    plan = Plan(measures.values(), calls.schema, prefix="m")
    found = _grouped(calls, keys, plan)
    if keys:
        groups = result.select(*keys)
        found = groups.join(found, on=list(keys), how="left", nulls_equal=True, maintain_order="left")
    return {column: _measured(measure, plan, found) for column, measure in measures.items()}


def _answer(asked: Asked, scan: Scan) -> Breakdown:
    """The answer to one of the questions behind a scan."""
    columns, held = dict(scan.keys), dict[str, MeasureColumn]()
    for measure in asked.measures:
        if measure in asked.money and len(scan.currencies) > 1:
            for currency, column in money_columns(measure.name, scan.currencies).items():
                columns[column], held[column] = scan.money[column], MeasureColumn(measure, currency)
        else:
            columns[measure.name], held[measure.name] = scan.column(measure), MeasureColumn(measure)
    result = pl.DataFrame([series.alias(name) for name, series in columns.items()])
    if asked.gaps is not None:
        result = fill(result, asked.by, asked.gaps, scan.zone, asked.start, asked.end)
    answer = _ranked(result, asked, scan) if asked.ranked else result.sort(asked.by, nulls_last=True)
    currencies = scan.currencies if asked.money else ()
    if asked.money and len(currencies) < 2:
        only = pl.lit(currencies[0] if currencies else None, pl.String)
        answer = answer.with_columns(only.alias("currency"))
    dimensions = {entry.name: entry for entry in asked.dimensions}
    return Breakdown.of(answer, Roles(dimensions, held, currencies, asked.question))


def _ranked(result: pl.DataFrame, asked: Asked, scan: Scan) -> pl.DataFrame:
    """Largest first; what has no price is ordered by its calls."""
    first = asked.measures[0]
    several = first in asked.money and len(scan.currencies) > 1
    weights = list(money_columns(first.name, scan.currencies).values()) if several else [first.name]
    order = result.select(*weights, *asked.by)
    if first.kind == "money":
        order.insert_column(len(weights), scan.plan.value(_CALLS, scan.result).alias("number of calls"))
    heavy = order.width - len(asked.by)
    descending = [position < heavy for position in range(order.width)]
    return result[order.select(pl.arg_sort_by(order.columns, descending=descending, nulls_last=True)).to_series()]


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
