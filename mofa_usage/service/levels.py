"""How many calls kept a promise, by any dimension, and what that leaves of the error budget."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import narwhals as nw
import polars as pl

from mofa_usage.analysis import Breakdown, By, Native, breakdown
from mofa_usage.analysis.asking import found
from mofa_usage.analysis.engine import open_calls
from mofa_usage.measures import ANSWERS, MEASURES, Dimension, MeasureColumn, Roles
from mofa_usage.service.promises import FAILED, GOOD, LATE, OUTCOME, SLOW, UNKNOWN, Promise

__all__ = ["burn", "level"]

_COLUMNS = {FAILED: "failed_calls", SLOW: "slow_calls", LATE: "late_calls"}

WINDOWS = (
    ("1 hour", timedelta(hours=1), 14.4),
    ("6 hours", timedelta(hours=6), 6.0),
    ("1 day", timedelta(days=1), 3.0),
    ("3 days", timedelta(days=3), 1.0),
)
"""What is looked back at, and from which burn rate on it is an alert, for a budget of 30 days: the hour uses 2% of it,
six hours 5%, a day and three days 10%. The Site Reliability Workbook, chapter 5, but for the day, which is between."""

_WHOLE = "all of it"
_SHORT = 12
"""An alert is one only while the last twelfth of its window burns as fast, so that it ends soon after its cause."""


def level(calls: Native, promise: Promise, by: By | None, tz: str) -> Breakdown:
    """The level of each group of calls, those with most calls first; the whole in `totals`."""
    dimensions = found(by, open_calls(calls))
    counted = breakdown(calls, [*dimensions, promise.outcome], "calls", tz=tz)
    names = [entry.name for entry in dimensions]
    groups = _judged(counted, names, promise)
    ordered = names if any(entry.kind != "category" for entry in dimensions) else ["calls", *names]
    groups = groups.sort(ordered, descending=[name == "calls" for name in ordered], nulls_last=True)
    answer = Breakdown.of(groups, _roles(dimensions, promise, groups.columns))
    if names:
        whole = _judged(counted, [], promise)
        answer.totals = (Breakdown.of(whole, _roles((), promise, whole.columns)),)
    return answer


def _judged(counted: pl.DataFrame, names: Sequence[str], promise: Promise) -> pl.DataFrame:
    """Groups of calls by what became of them, a row for each."""
    sums = {
        outcome: pl.col("calls").filter(pl.col(OUTCOME) == outcome).sum().alias(outcome)
        for outcome in (GOOD, *promise.outcomes, UNKNOWN)
    }
    every = pl.DataFrame(counted)
    sums_of = every.group_by(*names).agg(*sums.values()) if names else every.select(*sums.values())
    bad = pl.sum_horizontal(*promise.outcomes)
    known = pl.col(GOOD) + bad
    budget = (known * promise.allowed.numerator).cast(pl.Float64) / promise.allowed.denominator
    return sums_of.select(
        *names,
        (known + pl.col(UNKNOWN)).alias("calls"),
        _share(pl.col(GOOD), known).alias("service_level"),
        _share(known, known + pl.col(UNKNOWN)).alias("judged_share"),
        pl.col(GOOD).alias("good_calls"),
        bad.alias("bad_calls"),
        *(pl.col(outcome).alias(_COLUMNS[outcome]) for outcome in promise.outcomes),
        pl.col(UNKNOWN).alias("unknown_calls"),
        budget.alias("error_budget"),
        _share(bad * promise.allowed.denominator, known * promise.allowed.numerator).alias("budget_used"),
        (budget - bad).alias("budget_left"),
    )


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part.cast(pl.Float64) / whole)


def _roles(dimensions: Sequence[Dimension], promise: Promise, columns: Sequence[str]) -> Roles:
    measures = {name: MeasureColumn(ANSWERS[name]) for name in columns if name in ANSWERS}
    measures["calls"] = MeasureColumn(MEASURES["calls"])
    promised = replace(ANSWERS["service_level"], title=promise.title)
    measures["service_level"] = MeasureColumn(promised)
    return Roles({entry.name: entry for entry in dimensions}, measures, question="service_level")


def burn(calls: Native, promise: Promise, at: datetime, tz: str) -> Breakdown:
    """How fast the budget is used in the time before `at`: a row for each window, and one for all calls before it."""
    starts = sorted({at - span / part for _, span, _ in WINDOWS for part in (1, _SHORT)})
    counted = breakdown(calls, [_since(starts), promise.outcome], "calls", tz=tz, end=at)
    # Of each call it is known between which of the starts it lies; a window is all that began after its own.
    rows = [(int(place or 0), outcome, number) for place, outcome, number in counted.iter_rows()]

    def judged(start: datetime | None) -> tuple[int, int, int]:
        first = 0 if start is None else starts.index(start) + 1
        within = [(outcome, number) for place, outcome, number in rows if place >= first]
        known = sum(number for outcome, number in within if outcome != UNKNOWN)
        bad = sum(number for outcome, number in within if outcome in promise.outcomes)
        return sum(number for _, number in within), known, bad

    def rate(start: datetime | None) -> float | None:
        _, known, bad = judged(start)
        return float(bad / (known * promise.allowed)) if known else None

    table = []
    for window, span, threshold in (*WINDOWS, (_WHOLE, None, None)):
        start = None if span is None else at - span
        total, _, bad = judged(start)
        recent = None if span is None else rate(at - span / _SHORT)
        alert = None if threshold is None else min(rate(start) or 0.0, recent or 0.0) >= threshold
        table.append((window, total, bad, rate(start), recent, threshold, alert))
    schema = {"window": pl.String, "calls": pl.Int64, "bad_calls": pl.Int64, "burn_rate": pl.Float64}
    schema |= {"burn_rate_lately": pl.Float64, "burn_rate_alert": pl.Float64, "alert": pl.Boolean}
    measures = {name: MeasureColumn(ANSWERS[name]) for name in schema if name in ANSWERS}
    measures["calls"] = MeasureColumn(MEASURES["calls"])
    of = Dimension("window", description="What the burn rate is of: the time up to the end.")
    frame = pl.DataFrame(table, schema=schema, orient="row")
    return Breakdown.of(frame, Roles({"window": of}, measures, question="burn"))


def _since(starts: Sequence[datetime]) -> Dimension:
    """After how many of these instants, which are in order, a call was made."""
    time, place = nw.col("create_time"), nw.lit(0)
    for number, start in enumerate(starts, 1):
        place = nw.when(time >= nw.lit(start.astimezone(UTC))).then(nw.lit(number)).otherwise(place)
    return Dimension("windows before the end", needs=("create_time",), expression=place)
