"""How leaves are asked for on a Spark cluster: what `leaves` asks of DuckDB, with the same answers.

The cluster counts the leaves; they, and the values that dimensions have, are all that comes to this machine.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mofa_usage.analysis.sums import in_spark
from mofa_usage.changes.codes import MISSING, REST, chunks, of_periods
from mofa_usage.reading.spark_frames import of_sql
from mofa_usage.reading.spark_values import text_literal

__all__ = ["SparkReading"]


@dataclass(frozen=True)
class SparkReading:
    """How the leaves are asked for.

    `calls` have the keys k0, k1, ... and the amounts that the `sums` are of; `periods` are conditions, as SQL.
    """

    calls: Any
    sums: Mapping[str, str]
    periods: tuple[str, ...]

    def values(self, places: Sequence[int]) -> dict[int, list[Any]]:
        """All values of the dimensions at these places, in order."""
        if not places:
            return {}
        (row,) = self.calls.selectExpr(*(f"collect_set(k{place})" for place in places)).collect()
        return {place: sorted(found) for place, found in zip(places, row, strict=True)}

    def heaviest(self, place: int, most: int) -> list[Any]:
        """So many values of a dimension, the heaviest by calls or by what is measured; in order."""
        there = self.calls.where(f"k{place} IS NOT NULL").groupBy(f"k{place}")
        counted = there.agg(self._column("count(*)", "calls"), self._column("sum(n)", "amount"))
        amount = "abs(coalesce(amount, 0)::double)"
        share = f"{amount} / greatest(sum({amount}) OVER (), 1e-300D)"
        weighed = counted.selectExpr(f"k{place}", f"round(greatest(calls / sum(calls) OVER (), {share}), 12) AS weight")
        rows = weighed.orderBy("weight", f"k{place}", ascending=[False, True]).limit(most).select(f"k{place}").collect()
        return sorted(value for (value,) in rows)

    def leaves(self, values: Sequence[Sequence[Any]], kept: Collection[int], most: int) -> pl.DataFrame:
        """The leaves, at most so many, as numbers of their codes; what is of each period is as `leaves` says."""
        groups = {f"group{number}": sql for number, sql in enumerate(_groups(values))}
        inside = " + ".join(f"{2**number} * int({in_spark(sql)})" for number, sql in enumerate(self.periods))
        keys = {**groups, "inside": inside}
        grouped = self.calls.groupBy(*(self._column(sql, name) for name, sql in keys.items()))
        found = grouped.agg(*(self._column(in_spark(sql), name) for name, sql in self.sums.items())).limit(most)
        told = found.selectExpr(*keys, *of_periods(self.sums, len(self.periods)))
        return pl.DataFrame(pl.from_arrow(told.toArrow()))

    def _column(self, sql: str, name: str) -> Any:
        return of_sql(self.calls, f"{sql} AS {name}")


def _groups(values: Sequence[Sequence[Any]]) -> Iterator[str]:
    """As few numbers as say all codes of a call, as SQL; see `codes.coded`."""
    for places in chunks(list(map(len, values))):
        sql = "0L"
        for place in places:
            sql = f"({sql}) * {len(values[place]) + 2} + {_code(place, values[place])}"
        yield sql


def _code(place: int, values: Sequence[Any]) -> str:
    """The code of a call's value."""
    if not values:
        return f"CASE WHEN k{place} IS NULL THEN {MISSING} ELSE {REST} END"
    listed = ", ".join(text_literal(value) if isinstance(value, str) else f"{value}L" for value in values)
    at = f"array_position(array({listed}), k{place})"  # from 1; 0 of what is not there
    return f"CASE WHEN k{place} IS NULL THEN {MISSING} WHEN {at} = 0 THEN {REST} ELSE {at} + 1 END"
