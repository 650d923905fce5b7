"""Time series without holes: a row for each bucket in which nothing happened.

No calls is known: what counts or adds up is 0 there. What is said about each call, such as a rate or a percentile, is
null.
"""

from collections.abc import Collection
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import polars as pl

from mofa_usage.analysis.buckets import BUCKETS
from mofa_usage.errors import UsageError
from mofa_usage.measures import Aggregate, Measure
from mofa_usage.zones import DAY, HOUR, MINUTE, microseconds

__all__ = ["calendar", "fill", "numbers", "zero_of_nothing"]

_MOST_ROWS = 5_000_000
"""A series by minute over a wrong year would fill the memory instead of the gaps."""

_SIZES = {"minute": MINUTE, "hour": HOUR}
"""Of the buckets that more than five million of may lie between two times that can be said."""

_THERE = "is there"


def zero_of_nothing(measure: Measure) -> bool:
    """Whether the measure of no calls is 0: counts, also of distinct values, and sums."""
    formula = measure.formula
    counted = isinstance(formula, Aggregate) and formula.function in ("count", "distinct", "sum")
    return measure.additive or counted


def fill(
    result: pl.DataFrame,
    by: list[str],
    time: str,
    tz: ZoneInfo,
    start: datetime | None,
    end: datetime | None,
    zeros: Collection[str],
) -> pl.DataFrame:
    """Add the missing buckets of `time` to a breakdown, for each combination of its other dimensions.

    The buckets run from the one that holds `start` to the one that holds the last instant before `end`; an open side
    is the first or last bucket of the breakdown. Added rows have 0 in the columns `zeros` and null in other measures.

    Raises:
        UsageError: that would make more than five million rows.
    """
    others = [name for name in by if name != time]
    combinations = result.select(others).unique()
    buckets = calendar(result[time], time, tz, start, end)
    if others and len(buckets) * len(combinations) > _MOST_ROWS:
        raise UsageError(f"filling the gaps by {time} makes more than {_MOST_ROWS:,} rows; narrow the time range")
    every = buckets.to_frame().join(combinations, how="cross") if others else buckets.to_frame()
    found = result.with_columns(pl.lit(True).alias(_THERE))
    filled = every.join(found, on=by, how="full", nulls_equal=True, coalesce=True)
    zero = [pl.when(pl.col(_THERE)).then(name).otherwise(pl.lit(0, result.schema[name])).alias(name) for name in zeros]
    return filled.with_columns(zero).select(result.columns)


def calendar(labels: pl.Series, time: str, tz: ZoneInfo, start: datetime | None, end: datetime | None) -> pl.Series:
    """Every bucket of a series in order, as its labels.

    They run from the bucket that holds `start` to the one that holds the last instant before `end`; an open side is the
    first or last bucket of the series.

    Raises:
        UsageError: they are more than five million.
    """
    bucket, known = BUCKETS[time], numbers(labels.drop_nulls())
    if bucket.keys is None or (not known and (start is None or end is None)):
        return labels.clear()
    # Labels are local times or instants: two days more on an open side hold the first and last bucket in any zone.
    first = microseconds(start) if start is not None else min(known) - 2 * DAY
    last = microseconds(end) - 1 if end is not None else max(known) + 2 * DAY
    low = None if start is not None else min(known)
    high = None if end is not None else max(known)
    inside = (
        key for key in bucket.keys(tz, first, last) if (low is None or low <= key) and (high is None or key <= high)
    )
    size = _SIZES.get(time)
    hopeless = size is not None and last - first > 2 * _MOST_ROWS * size  # counting them takes seconds
    keys = [] if hopeless else sorted(set(islice(inside, _MOST_ROWS + 1)))
    if hopeless or len(keys) > _MOST_ROWS:
        raise UsageError(f"there are more than {_MOST_ROWS:,} buckets by {time}; narrow the time range")
    return bucket.label(pl.Series(labels.name, keys, dtype=pl.Int64), tz.key)


def numbers(labels: pl.Series) -> list[int]:
    """The keys of buckets of time, from their labels."""
    zone = getattr(labels.dtype, "time_zone", None)
    found: list[int] = labels.cast(pl.Datetime("us", zone)).to_physical().to_list()
    return found
