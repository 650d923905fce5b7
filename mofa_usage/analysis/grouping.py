"""The one analysis behind all others: measures of calls, by dimensions.

The engine groups the calls by columns and bucket keys and computes the base aggregates (`Plan`); everything after
that happens here, on a small Polars frame: keys become dates, sums become rates, money is divided exactly, gaps are
filled and rows are sorted. So Polars and DuckDB return equal frames, but for the last bits of token rates, whose sum
depends on the order of its terms.

Questions that group the same calls alike are answered by one `Scan`. It also finds the first and the last currency of
each group by the alphabet: where they are all the same, which is nearly always, the sums of prices are sums of one
currency. Else a second pass computes the measures of money for each currency apart. Where several scans are about money
one look at the currencies of all calls is quicker: if there is one, none of the scans looks for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import polars as pl

from mofa_usage.analysis.aggregates import Plan, measured
from mofa_usage.analysis.asking import OTHER_MARK, Asked, By, Measures, Question, checked
from mofa_usage.analysis.buckets import Clock
from mofa_usage.analysis.currencies import HIGHEST, LOWEST, PRICED, all_used, in_currency, lone, most_used
from mofa_usage.analysis.engine import LazyCalls, Native, open_calls
from mofa_usage.analysis.folding import Fold, Keys, fold, ranking
from mofa_usage.analysis.gaps import fill, zero_of_nothing
from mofa_usage.analysis.levels import keys_of, labels, levels
from mofa_usage.analysis.result import Breakdown
from mofa_usage.analysis.shares import with_shares
from mofa_usage.analysis.windows import Source, reach, with_windows
from mofa_usage.errors import UsageError
from mofa_usage.measures import Aggregate, Dimension, Measure, MeasureColumn, Roles, money_columns
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
    anew = {one: one.above(_currency_at(one)) for one in asked if one.totals and "currency" in one.by}
    folds = _folds(calls, [*asked, *anew.values()], clock)
    sharing: dict[_Alike, list[Asked]] = {}
    for one in (*asked, *anew.values()):
        sharing.setdefault(_alike(one, folds, clock), []).append(one)
    of_money = sum(any(one.money for one in together) for together in sharing.values())
    only = lone(calls) if of_money > 1 else None
    # One for each period, since a clock whose steps are wanted looks for the first and the last call.
    clocks = {
        (one.start, one.end): Clock(clock, calls.between(one.start, one.end), one.start, one.end) for one in asked
    }
    scans = {alike: _scan(calls, together, alike[-1], clocks[alike[1:3]], only) for alike, together in sharing.items()}

    def answer(one: Asked) -> Breakdown:
        found = _answer(one, scans[_alike(one, folds, clock)])
        if one in anew:
            above = answer(anew[one])
            found.totals = (*found.totals, above, *above.totals)
        return found

    return [answer(one) for one in asked]


_Alike: TypeAlias = tuple[tuple[Dimension, ...], datetime | None, datetime | None, datetime | None, Fold | None]
"""What questions have in common that one scan answers: dimensions, start, end, how far they look back, and the fold."""


def _alike(asked: Asked, folds: Mapping[Asked, Fold | None], clock: ZoneInfo) -> _Alike:
    return asked.dimensions, asked.start, asked.end, reach(asked, clock), folds.get(asked)


def _folds(calls: LazyCalls, asked: Sequence[Asked], clock: ZoneInfo) -> dict[Asked, Fold | None]:
    """What each of those questions folds that folds anything."""
    rankings = {one: ranking(one, one.folded) for one in asked if one.folded is not None}
    if not rankings:
        return {}
    different = list(dict.fromkeys(rankings.values()))
    ranked = dict(zip(different, _answers(calls, different, clock), strict=True))
    return {one: fold(by.dimensions[0], one.top or 0, ranked[by]) for one, by in rankings.items()}


def _currency_at(asked: Asked) -> int:
    """How many dimensions lie above the currencies: without those the answer tells money apart by columns."""
    return asked.by.index("currency")


def _depths(asked: Asked) -> range:
    """By how many dimensions to group: all, and for totals each number below that keeps the currencies."""
    lowest = 0 if "currency" not in asked.by else _currency_at(asked) + 1
    return range(len(asked.by), (lowest if asked.totals else len(asked.by)) - 1, -1)


@dataclass(frozen=True, slots=True)
class Level:
    """The groups by some of the dimensions: a row each, with the aggregates under the names of the plan.

    `keys` are the dimensions, labelled, and where they are folded what marks the rest. With several currencies `money`
    has the measures of money of each, by their columns.
    """

    result: pl.DataFrame
    keys: Mapping[str, pl.Series]
    money: Mapping[str, pl.Series]


@dataclass(frozen=True, slots=True)
class Scan:
    """What the engine computed: the groups by all dimensions, and those of each level above that was asked for.

    `currencies` are those of the priced calls, if a question is about money.
    """

    plan: Plan
    levels: Mapping[int, Level]
    source: Source
    currencies: tuple[str, ...]


def _scan(calls: LazyCalls, together: Sequence[Asked], fold: Fold | None, times: Clock, only: str | None) -> Scan:
    """The engine's part of questions that have the same dimensions and times, and look back as far.

    `times` is the clock of these times, `only` is the one currency of all calls, if that is known already.
    """
    first, clock = together[0], times.zone
    measures = list(dict.fromkeys(measure.base for one in together for measure in one.measures))
    money = list(dict.fromkeys(measure for one in together for measure in one.money))
    complete = calls.with_absent(column for measure in measures for column in measure.optional)
    priced = any("currency" in entry.needs for entry in first.dimensions)
    complete = complete.with_absent(["currency"] if priced else [])
    wanted = complete.between(first.start, first.end)
    keys = keys_of(first, wanted, times, fold)
    depths = max(map(_depths, together), key=len)
    plan = Plan(measures, wanted)
    if any((one.ranked or one.totals) and one.measures[0].of_money for one in together):
        plan.add(_CALLS)
    if money:
        plan.add(*((LOWEST, HIGHEST) if only is None else (PRICED,)))
    results = levels(wanted, keys, plan, depths)
    seen_from = reach(first, clock)
    if money and seen_from is not None:
        currencies = all_used(complete.between(seen_from, first.end))
    else:
        currencies = _currencies(wanted, plan, results[depths[0]], only) if money else ()
    apart = _apart(wanted, keys, money, currencies, results) if len(currencies) > 1 else {}
    found = {
        depth: Level(result, labels(keys.names(depth), result, clock), apart.get(depth, {}))
        for depth, result in results.items()
    }
    return Scan(plan, found, Source(complete, clock, fold), currencies)


def _currencies(calls: LazyCalls, plan: Plan, groups: pl.DataFrame, only: str | None) -> tuple[str, ...]:
    """The currencies of the priced calls in the groups."""
    if only is None:
        return most_used(calls, plan.value(LOWEST, groups), plan.value(HIGHEST, groups))
    return (only,) if plan.value(PRICED, groups).sum() else ()


def _apart(
    calls: LazyCalls,
    keys: Keys,
    money: Sequence[Measure],
    currencies: Sequence[str],
    results: Mapping[int, pl.DataFrame],
) -> dict[int, dict[str, pl.Series]]:
    """Measures of money for each currency, by column, in the order of the groups of each level."""
    measures = {
        column: in_currency(measure.base, currency)
        for measure in money
        for currency, column in money_columns(measure.name, currencies).items()
    }
    plan = Plan(measures.values(), calls, prefix="m")
    apart = {}
    for depth, found in levels(calls, keys, plan, list(results)).items():
        if names := list(keys.names(depth)):
            groups = results[depth].select(names)
            found = groups.join(found, on=names, how="left", nulls_equal=True, maintain_order="left")
        apart[depth] = {column: measured(measure, plan, found) for column, measure in measures.items()}
    return apart


def _answer(asked: Asked, scan: Scan) -> Breakdown:
    """The answer to one of the questions behind a scan, with the totals that the scan has."""
    answer, *above = (_shown(asked.above(depth), scan, scan.levels[depth]) for depth in _depths(asked))
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
        order.insert_column(len(weights), scan.plan.value(_CALLS, level.result).alias("number of calls"))
    heavy = order.width - len(asked.by)
    descending = [position < heavy for position in range(order.width)]
    if asked.folded is not None:
        order.insert_column(0, result[OTHER_MARK])
        descending.insert(0, False)
    return result[order.select(pl.arg_sort_by(order.columns, descending=descending, nulls_last=True)).to_series()]
