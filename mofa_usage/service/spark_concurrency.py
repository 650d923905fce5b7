"""How many calls were in flight at once, on a Spark cluster: the sweep of `concurrency`, in pieces.

A sweep needs all beginnings and ends in one order. Here each period is swept by itself, and its most counts from what
was in flight when it began; how much that is follows from what all periods before it left over, which is a number each.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import narwhals as nw
import polars as pl

from mofa_usage.analysis.buckets import BUCKETS, Clock
from mofa_usage.analysis.engine import MOMENT, LazyCalls
from mofa_usage.measures import TimeBucket
from mofa_usage.reading.spark_frames import of_sql
from mofa_usage.service.concurrency import InFlight
from mofa_usage.zones import utc, zone

__all__ = ["in_flight_on_spark", "put_together"]


def in_flight_on_spark(calls: Any, labels: pl.Series, edges: Sequence[int], bucket: TimeBucket, tz: str) -> InFlight:
    """How many calls were in flight in periods that follow each other: see `concurrency.in_flight`.

    Args:
        calls: a frame of Spark with `create_time` and `latency_ms`.
        labels: the buckets of time that the periods are.
        edges: the instants in microseconds at which they begin, and the end of the last.
        bucket: which buckets they are.
        tz: the zone that these are in.
    """
    if not edges:
        return InFlight([], [])
    turns = _turns(calls, edges[-1])
    clock = Clock(zone(tz), turns, utc(edges[0]), utc(edges[-1] - 1))
    keyed = turns.frame.with_columns(key=BUCKETS[bucket].key(clock)).to_native()
    order = "PARTITION BY key ORDER BY moment * 2 + int(change > 0) ROWS UNBOUNDED PRECEDING"
    swept = keyed.selectExpr("key", "moment", "change", f"sum(change) OVER ({order}) AS running")
    sums = {
        "most": "max(CASE WHEN change > 0 THEN running END)",
        "begun": "sum(change)",
        "moved": "sum(CAST(change * moment AS decimal(38,0)))",
    }
    found = swept.groupBy("key").agg(*(of_sql(swept, f"{sql} AS {name}") for name, sql in sums.items()))
    periods = pl.DataFrame(pl.from_arrow(found.toArrow()))
    # As numbers: two hours of one name, which an autumn night has, are equal to Python.
    named = BUCKETS[bucket].label(periods["key"], tz).to_physical()
    rows = dict(zip(named, periods.select(*sums).iter_rows(), strict=True))
    return put_together([rows.get(label) for label in labels.to_physical()], edges)


def _turns(calls: Any, end: int) -> LazyCalls:
    """The beginnings and ends of calls before an instant: which `change` there is, and at what `moment`.

    An end belongs to the period that it ends in, so its time as a call's is just before its moment.
    """
    timed = calls.where("latency_ms > 0 AND create_time IS NOT NULL").selectExpr(
        "unix_micros(create_time) AS begin", "bigint(latency_ms) * 1000 AS length"
    )
    both = "stack(2, begin, 1L, begin, begin + length, -1L, begin + length - 1)"
    turns = timed.selectExpr(f"{both} AS (moment, change, {MOMENT})").where(f"{MOMENT} < {end}")
    frame: nw.LazyFrame[Any] = nw.from_native(
        turns.selectExpr("moment", "change", MOMENT, f"timestamp_micros({MOMENT}) AS create_time")
    )
    return LazyCalls(frame, dict(frame.collect_schema()))


def put_together(rows: Sequence[tuple[Any, ...] | None], edges: Sequence[int]) -> InFlight:
    """The periods with what was in flight before each of them.

    Args:
        rows: of each period the most calls in flight at once beyond those from before, how many more began than ended,
            and the sum of the moments at which they began less that of those at which they ended; None if nothing did.
        edges: as of `in_flight_on_spark`.
    """
    most, spent, before = [], [], 0
    for row, (start, end) in zip(rows, pairwise(edges), strict=True):
        running, begun, moved = row or (None, 0, 0)
        most.append(before + max(running or 0, 0))
        # Each call that began lasts from its moment to the end, and one that ended does not any more.
        spent.append(before * (end - start) + begun * end - int(moved))
        before += begun
    return InFlight(most, spent)
