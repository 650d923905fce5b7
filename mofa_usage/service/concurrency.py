"""How many calls are in flight, exactly: a sweep over the beginnings and ends of calls.

A call is in flight from its beginning to its end, the end not included: one that ends when another begins is not beside
it. In the order of time each beginning adds one and each end takes one away, so the running sum is the number in
flight; its largest value is the peak. The mean of a period is weighted by time: all the time that calls were in flight
in it, divided by its length.

DuckDB puts beginnings and ends in order, on disk where the memory is short, and hands them over in batches. The sums
are taken here, of whole numbers, so that no order of rows and no number of threads changes a digit. Calls that were in
flight before the first call began are not known, so they are in no number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import duckdb
import polars as pl

from mofa_usage.reading.relation import told

__all__ = ["InFlight", "in_flight"]

_BATCH = 1_000_000


@dataclass(frozen=True, slots=True)
class InFlight:
    """For each period the most calls in flight at once, and the microseconds of all calls in it."""

    most: list[int]
    spent: list[int]


@dataclass(slots=True)
class _Sweep:
    """A sweep that has come so far: `now` calls are in flight.

    `edges` are the instants at which periods begin, and the end of the last, in microseconds.
    """

    edges: pl.Series
    now: int = 0
    most: dict[int, int] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)
    """Of each period how many more began than ended in it, and the time from these events to its end."""

    def advance(self, turns: pl.DataFrame) -> None:
        """Go on over the next beginnings and ends in their order: see `_TURNS`."""
        turn = pl.col("turn")
        steps = turns.select(at=(turn - 1) // 2, change=turn % 2 * 2 - 1)
        period = self.edges.search_sorted(steps["at"], side="right").cast(pl.Int64) - 1
        ends = self.edges.gather((period + 1).clip(0, len(self.edges) - 1))
        inside = steps.with_columns(period=period, running=steps["change"].cum_sum() + self.now, end=ends)
        # An end stands just before its instant in `at`, so that it belongs to the period that it ends in.
        remaining = (pl.col("end") - pl.col("at") - (pl.col("change") < 0).cast(pl.Int64)) * pl.col("change")
        begins = pl.col("change") > 0
        found = inside.group_by("period").agg(
            pl.col("running").filter(begins).max(), begun=pl.col("change").sum(), left=remaining.sum()
        )
        for place, running, begun, left in found.iter_rows():
            self.most[place] = max(self.most.get(place, 0), running or 0)
            self.begun[place] = self.begun.get(place, 0) + begun
            self.left[place] = self.left.get(place, 0) + left
        self.now = inside["running"][-1]

    def periods(self) -> InFlight:
        """What was found of each period; what was in flight at its beginning counts in it, too."""
        most, spent, before = [], [], 0
        starts = self.edges.to_list()
        for place, (start, end) in enumerate(pairwise(starts)):
            most.append(max(before, self.most.get(place, 0)))
            spent.append(before * (end - start) + self.left.get(place, 0))
            before += self.begun.get(place, 0)
        return InFlight(most, spent)


_TURNS = """
    WITH timed AS (
        SELECT epoch_us(create_time) AS begin, CAST(latency_ms AS BIGINT) * 1000 AS length
        FROM calls_to_sweep WHERE latency_ms > 0 AND create_time IS NOT NULL
    )
    SELECT begin * 2 + 1 AS turn FROM timed UNION ALL SELECT (begin + length) * 2 FROM timed
    ORDER BY turn
"""
"""Beginnings are odd and ends are even, so that one number says both, and of one instant the ends come first."""


def in_flight(calls: duckdb.DuckDBPyRelation, edges: Sequence[int]) -> InFlight:
    """How many calls were in flight in periods that follow each other.

    Args:
        calls: with `create_time` and `latency_ms`; those without a latency are not in flight.
        edges: the instants in microseconds at which the periods begin, the first not after any call, and last the end
            of the last period.
    """
    sweep = _Sweep(pl.Series(edges, dtype=pl.Int64))
    with told():
        ordered: Any = calls.query("calls_to_sweep", _TURNS)
        for batch in ordered.to_arrow_reader(_BATCH):
            if batch.num_rows:
                sweep.advance(pl.DataFrame(pl.from_arrow(batch)))
    return sweep.periods()
