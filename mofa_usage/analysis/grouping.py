"""The one analysis behind all others: measures of calls, by dimensions.

The engine groups the calls by columns and bucket keys and computes the base aggregates (`Plan`); everything after
that happens here, on a small Polars frame: keys become dates, sums become rates, money is divided exactly, gaps are
filled and rows are sorted. So Polars and DuckDB return equal frames, but for the last bits of token rates, whose sum
depends on the order of its terms.

Questions that group the same calls alike are answered by one scan of `mofa_usage.analysis.scans`.
"""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import polars as pl

from mofa_usage.analysis.aggregates import measured
from mofa_usage.analysis.asking import OTHER_MARK, Asked, By, Measures, Question, checked
from mofa_usage.analysis.buckets import Clock
from mofa_usage.analysis.engine import LazyCalls, Native, open_calls
from mofa_usage.analysis.folding import Fold, fold, ranking
from mofa_usage.analysis.gaps import fill, zero_of_nothing
from mofa_usage.analysis.result import Breakdown
from mofa_usage.analysis.scans import CALLS, Alike, Level, Scan, alike, currency_at, depths_of, scans
from mofa_usage.analysis.shares import with_shares
from mofa_usage.analysis.windows import with_windows
from mofa_usage.errors import UsageError
from mofa_usage.measures import MeasureColumn, Roles, money_columns
from mofa_usage.zones import Moment, zone

__all__ = ["breakdown", "breakdowns"]


def breakdown(
    native: Native,
    by: By | None = (),
    measures: Measures | None = None,
    *,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
    fill_gaps: bool = False,
    top: int | None = None,
    totals: bool = False,
    intervals: float | None = None,
) -> Breakdown:
    """Measures of the calls, by dimensions.

    Args:
        native: a Polars frame or lazy frame, a DuckDB relation or a frame of Spark, with those columns of
            `mofa_usage.reading.columns.CALL_SCHEMA` that the measures and dimensions need.
        by: names of `mofa_usage.measures.DIMENSIONS`, `labels.NAME`, `session.NAME`, further columns of the frame that
            hold text, whole numbers, flags or dates, and dimensions of your own. None: by model, where there is such a
            column.
        measures: what `mofa_usage.measures.measure` knows by name: `MEASURES`, any percentile (`latency_p75`), shares
            (`cost_share_of_day`), sums so far (`cost_cumulative`), rolling measures (`cost_rolling_7`); and measures of
            your own. None: calls, success rate, tokens, cost, coverage and p95 of the latency, as far as the frame has
            their columns.
        tz: IANA time zone of the time buckets, and of a `start` or `end` that names none.
        start: only calls created at or after this instant: a datetime with a zone, a date or ISO 8601 text. Rolling
            measures look back beyond it, as far as `native` has the calls: cut at the start, it has none before.
        end: only calls created before this instant.
        fill_gaps: add the time buckets that have no calls, between `start` and `end` or the first and last bucket,
            for each combination of the other dimensions that occurs. In them counts and sums are 0, and rates,
            percentiles and the like null.
        top: keep so many values of the first category in `by`, currencies apart: the heaviest by the first measure over
            the whole answer, or by calls where values of that do not add up. All other calls are one group, "other".
        totals: answer the question also by all dimensions but the last, by all but the last two, ..., and the whole.
        intervals: a level such as 0.95: how sure each rate and percentile is that many calls say it of, by
            `mofa_usage.analysis.intervals`, which take calls as independent. Those of one session or one bad minute are
            not, so the intervals are too narrow.

    Returns:
        One row per combination of dimensions that occurs (one row in all without dimensions), the columns being the
        dimensions and then the measures, in the order asked.

        Where a measure is money and the priced calls are in one currency, a last column `currency` says which (null:
        no call has a price). Where they are in several, the one with most priced calls first, there is a column of
        each such measure for each currency (`cost_EUR`, `cost_USD`): of the calls in that currency and those without a
        price. With `currency` in `by` there is a row for each currency, and one, null, for calls without a price. All
        other measures are of all calls.

        With `intervals` each rate of calls (`success_rate`, `request_success_rate`, and such ratios of your own) and
        each percentile, rolling ones too, is followed by the ends of its interval, `success_rate_low` and
        `success_rate_high`, of the same type. Null is an end that so few calls cannot say: of the p95 and p99 of 50
        calls and the p99 of 200 it is the upper one.

        With `top` a last column `is_other` (Boolean) marks the rows of the group "other", which come after the others.
        `totals` of the answer are those of the levels above, the whole last: each is what the question without those
        dimensions is answered, computed from the calls; above the time rolling measures and sums so far are null.

        Sorted by the dimensions when one of them is a time, else by the first measure, largest first (then, if it is
        money, by calls), and by the dimensions; nulls last. Types: money and its percentiles Decimal(38, 10), counts
        and tokens Int64, rates, shares, means, other percentiles Float64; minute and hour Datetime in `tz`, day, week
        and month Date, hour_of_day and weekday Int8, other dimensions String.

    Raises:
        UsageError: an unknown measure, dimension or zone, a time without zone, a column that the frame lacks, `top`
            below 1 or without a category, `intervals` that are not between 0 and 1, a rolling measure or sum so far
            without one bucket of time in `by`; a measure of your own over what is no number or under a name that means
            something else, two columns of one name.
    """
    return breakdowns(native, [Question(by, measures, start, end, fill_gaps, top, totals, intervals)], tz=tz)[0]


def breakdowns(native: Native, questions: Sequence[Question], *, tz: str = "UTC") -> list[Breakdown]:
    """The answers to several questions, in their order, each as `breakdown` gives it alone.

    Those with the same dimensions and times share one pass over the calls, so that they cost little more than the
    widest of them.

    Raises:
        UsageError: as `breakdown`, for any of them.
    """
    clock = zone(tz)
    calls = open_calls(native)
    return _answers(calls, [checked(question, calls, clock) for question in questions], clock)


def _answers(calls: LazyCalls, asked: Sequence[Asked], clock: ZoneInfo) -> list[Breakdown]:
    """The answers to checked questions, in their order."""
    anew = {one: one.above(currency_at(one)) for one in asked if one.totals and "currency" in one.by}
    folds = _folds(calls, [*asked, *anew.values()], clock)
    groups = {one: alike(one, folds.get(one), clock) for one in (*asked, *anew.values())}
    # One for each period, since a clock whose steps are wanted looks for the first and the last call.
    clocks = {
        (one.start, one.end): Clock(clock, calls.between(one.start, one.end), one.start, one.end) for one in asked
    }
    sharing: dict[Alike, list[Asked]] = {}
    for one, group in groups.items():
        sharing.setdefault(group, []).append(one)
    scanned = scans(calls, sharing, {group: clocks[group[1:3]] for group in sharing})

    def answer(one: Asked) -> Breakdown:
        found = _answer(one, scanned[groups[one]])
        if one in anew:
            above = answer(anew[one])
            found.totals = (*found.totals, above, *above.totals)
        return found

    return [answer(one) for one in asked]


def _folds(calls: LazyCalls, asked: Sequence[Asked], clock: ZoneInfo) -> dict[Asked, Fold | None]:
    """What each of those questions folds that folds anything."""
    rankings = {one: ranking(one, one.folded) for one in asked if one.folded is not None}
    if not rankings:
        return {}
    different = list(dict.fromkeys(rankings.values()))
    ranked = dict(zip(different, _answers(calls, different, clock), strict=True))
    return {one: fold(by.dimensions[0], one.top or 0, ranked[by]) for one, by in rankings.items()}


def _answer(asked: Asked, scan: Scan) -> Breakdown:
    """The answer to one of the questions behind a scan, with the totals that the scan has."""
    answer, *above = (_shown(asked.above(depth), scan, scan.levels[depth]) for depth in depths_of(asked))
    answer.totals = tuple(above)
    return answer


def _shown(asked: Asked, scan: Scan, level: Level) -> Breakdown:
    """The answer to a question by the dimensions of a level."""
    columns, held = dict(level.keys), dict[str, MeasureColumn]()
    for measure in asked.measures:
        if measure in asked.money and len(scan.currencies) > 1:
            for currency, column in money_columns(measure.name, scan.currencies).items():
                _check_free(column, [*asked.by, *(entry.name for entry in asked.measures)])
                columns[column], held[column] = level.money[column], MeasureColumn(measure, currency)
        else:
            columns[measure.name] = measured(measure.base, scan.plan, level.result)
            held[measure.name] = MeasureColumn(measure)
    result = pl.DataFrame([series.alias(name) for name, series in columns.items()])
    if asked.folded is not None and OTHER_MARK not in columns:
        result = result.with_columns(pl.lit(False).alias(OTHER_MARK))
    if asked.gaps is not None:
        zeros = [name for name, column in held.items() if zero_of_nothing(column.measure.base)]
        result = fill(result, _order(asked), asked.gaps, scan.source.clock, asked.start, asked.end, zeros)
    result = with_shares(with_windows(result, asked, held, scan.source), asked, held)
    answer = _ranked(result, asked, scan, level) if asked.ranked else result.sort(_order(asked), nulls_last=True)
    currencies = scan.currencies if asked.money else ()
    if asked.money and len(currencies) < 2:
        only = pl.lit(currencies[0] if currencies else None, pl.String)
        answer = answer.with_columns(only.alias("currency"))
    if asked.folded is not None:
        answer = answer.select(pl.exclude(OTHER_MARK), OTHER_MARK)
    dimensions = {entry.name: entry for entry in asked.dimensions}
    return Breakdown.of(answer, Roles(dimensions, held, currencies, asked.question))


def _check_free(column: str, names: Sequence[str]) -> None:
    if column in names:
        raise UsageError(f"two columns of the answer would be called {column!r}: one is of money in this currency")


def _order(asked: Asked) -> list[str]:
    """The columns that tell rows apart, in the order in which they sort them: what is folded comes last."""
    if asked.folded is None:
        return asked.by
    at = asked.by.index(asked.folded.name)
    return [*asked.by[:at], OTHER_MARK, *asked.by[at:]]


def _ranked(result: pl.DataFrame, asked: Asked, scan: Scan, level: Level) -> pl.DataFrame:
    """Largest first, the rest of what is folded last; what has no price is ordered by its calls."""
    first = asked.measures[0]
    several = first in asked.money and len(scan.currencies) > 1
    weights = list(money_columns(first.name, scan.currencies).values()) if several else [first.name]
    order = result.select(*weights, *asked.by)
    if first.of_money:
        order.insert_column(len(weights), scan.plan.value(CALLS, level.result).alias("number of calls"))
    heavy = order.width - len(asked.by)
    descending = [position < heavy for position in range(order.width)]
    if asked.folded is not None:
        order.insert_column(0, result[OTHER_MARK])
        descending.insert(0, False)
    return result[order.select(pl.arg_sort_by(order.columns, descending=descending, nulls_last=True)).to_series()]
