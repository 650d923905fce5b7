"""What went on at once, and how much got through, over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import truediv
from types import MappingProxyType
from typing import get_args

import duckdb
import polars as pl

from mofa_usage.analysis import Breakdown, breakdown
from mofa_usage.analysis.engine import open_calls
from mofa_usage.analysis.sums import Queried, summed
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, DIMENSIONS, MEASURES, Dimension, MeasureColumn, Roles, TimeBucket
from mofa_usage.reading.relation import told
from mofa_usage.service.concurrency import in_flight
from mofa_usage.service.spark_concurrency import in_flight_on_spark
from mofa_usage.zones import SECOND, instant, microseconds, utc, zone

__all__ = ["course", "extent"]

_LONGEST: Mapping[TimeBucket, timedelta] = MappingProxyType(
    {"minute": timedelta(hours=6), "hour": timedelta(days=31), "day": timedelta(days=3660)}
)
"""A course is by the shortest of these buckets that is no longer than this in all, else by month."""

_AFTER: Mapping[TimeBucket, timedelta] = MappingProxyType(
    {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
)


@dataclass(frozen=True, slots=True)
class Extent:
    """When the first and the last call began."""

    first: datetime
    last: datetime

    @property
    def every(self) -> TimeBucket:
        """The buckets that a course of it is by."""
        return next((every for every, most in _LONGEST.items() if self.last - self.first <= most), "month")


def extent(calls: Queried) -> Extent | None:
    """When the first and the last call began; None without calls.

    Raises:
        UsageError: the calls lack `create_time`.
    """
    if "create_time" not in calls.columns:
        raise UsageError("the frame has no column 'create_time', which says when calls began")
    with told():
        ends = open_calls(calls).extent()
    return None if ends is None else Extent(*map(utc, ends))


def course(calls: Queried, within: Extent | None, every: TimeBucket | None, tz: str) -> Breakdown:
    """Concurrency and throughput by time, buckets without calls too; `totals` has the whole.

    A bucket counts the calls, and the tokens of the calls, that began in it; its rates are of its whole length, so
    those of the first and the last bucket are low where calls begin or end within it. Those of the whole are of the
    time from the first call to the last.

    Raises:
        UsageError: there are no such buckets.
    """
    if every is not None and every not in get_args(TimeBucket):
        raise UsageError(f"every = {every!r}; the course is by {', '.join(get_args(TimeBucket))}")
    bucket = every or (within.every if within is not None else "hour")
    counts = [name for name in ("calls", "latency_calls", "completion_tokens") if _is_there(name, calls)]
    counted = breakdown(calls, bucket, counts, tz=tz, fill_gaps=True).drop_nulls(bucket)
    edges = _edges(counted[bucket], bucket, tz)
    lengths = [end - start for start, end in pairwise(edges)]
    seconds = pl.Series([length / SECOND for length in lengths], dtype=pl.Float64)
    frame = pl.DataFrame(counted).with_columns(seconds=seconds)
    whole = frame.select(pl.col(counts).sum())
    span = within.last - within.first if within is not None else timedelta(0)
    whole = whole.with_columns(seconds=pl.lit(span / timedelta(seconds=1) or None, pl.Float64))
    if "latency_calls" in counts:
        if isinstance(calls, duckdb.DuckDBPyRelation):
            found = in_flight(calls, edges)
        else:
            found = in_flight_on_spark(calls, counted[bucket], edges, bucket, tz)
        frame = frame.with_columns(
            in_flight_max=pl.Series(found.most, dtype=pl.Int64),
            in_flight_mean=pl.Series(map(truediv, found.spent, lengths), dtype=pl.Float64),
        )
        whole = whole.with_columns(
            in_flight_max=pl.lit(max(found.most, default=0), pl.Int64),
            in_flight_mean=pl.lit(_mean(calls, within), pl.Float64),
        )
    answer = _answer(frame, bucket)
    answer.totals = (_answer(whole, None),)
    return answer


def _mean(calls: Queried, within: Extent | None) -> float | None:
    """The mean number of calls in flight from the first call to the last."""
    if within is None:
        return None
    first, last = microseconds(within.first), microseconds(within.last)
    if first == last:
        return None
    begin = "epoch_us(create_time)"
    lasting = f"CASE WHEN latency_ms > 0 THEN least(CAST(latency_ms AS BIGINT) * 1000, {last} - {begin}) END"
    with told():
        (spent,) = summed(open_calls(calls), {}, {"spent": f"sum({lasting})"})["spent"].to_pylist()
    return int(spent or 0) / (last - first)


def _is_there(measure: str, calls: Queried) -> bool:
    return set(MEASURES[measure].needs) <= set(calls.columns)


def _edges(labels: pl.Series, bucket: TimeBucket, tz: str) -> list[int]:
    """The instants at which the buckets begin, and the end of the last, in microseconds."""
    clock = zone(tz)
    starts = labels.to_list()
    if not starts:
        return []
    last = starts[-1]
    following = last + _AFTER[bucket] if bucket in _AFTER else (last + timedelta(days=31)).replace(day=1)
    if isinstance(last, datetime):  # a bucket of the clock may be cut where the clock changes
        following = last.astimezone(UTC) + _AFTER[bucket]
    return [microseconds(instant(start, clock, bucket)) for start in (*starts, following)]


def _answer(frame: pl.DataFrame, bucket: TimeBucket | None) -> Breakdown:
    seconds = pl.col("seconds")
    rates = [(pl.col("calls") / seconds).alias("calls_per_second")]
    if "completion_tokens" in frame.columns:
        rates.append((pl.col("completion_tokens") / seconds).alias("completion_tokens_per_second"))
    if "latency_calls" in frame.columns:
        rates.append((pl.col("calls") - pl.col("latency_calls")).alias("calls_without_latency"))
    columns = ("calls", "in_flight_max", "in_flight_mean", "calls_per_second", "completion_tokens_per_second")
    kept = [*([bucket] if bucket else []), *columns, "calls_without_latency", "seconds"]
    full = frame.with_columns(rates)
    full = full.select(name for name in kept if name in full.columns)
    known = {**MEASURES, **ANSWERS}
    measures = {name: MeasureColumn(known[name]) for name in full.columns if name in known}
    dimensions: dict[str, Dimension] = {bucket: DIMENSIONS[bucket]} if bucket else {}
    return Breakdown.of(full, Roles(dimensions, measures, question="service_over_time"))
