"""Quantiles and numbers of distinct values of several groupings of the same calls: by k0 and k1, by k0, of all.

Counts and sums of a level are those of the groups below it, added. These are not: each level needs all of its values.
Narwhals asks for one grouping at a time. Engines do better when they know all of them: DuckDB reads the calls once
(GROUPING SETS), and for Polars each group is sorted once, however many quantiles are read from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

__all__ = ["Undivided", "duckdb_sets", "interpolated", "polars_sets"]


@dataclass(frozen=True, slots=True)
class Undivided:
    """What is asked of all values of a group, by their column; it comes under the name of that column.

    Attributes:
        quantiles: which of them, linearly interpolated: a list of as many numbers.
        distinct: the columns whose different values are counted, null being one of them.
    """

    quantiles: Mapping[str, Sequence[float]]
    distinct: Sequence[str]


def duckdb_sets(relation: Any, sets: Sequence[Sequence[str]], asked: Undivided) -> list[pl.DataFrame]:
    """The groups by each set of keys. The first one has all keys, the others the first of them; names are ours."""
    keys = ", ".join(sets[0])
    quantiles = (
        f"quantile_cont({column}, {list(wanted)}::DOUBLE[]) AS {column}" for column, wanted in asked.quantiles.items()
    )
    distinct = (f"count(DISTINCT {column}) + max(({column} IS NULL)::INT) AS {column}" for column in asked.distinct)
    groupings = ", ".join(f"({', '.join(names)})" for names in sets)
    grouped = relation.aggregate(
        ", ".join([keys, f"GROUPING({keys}) AS without", *quantiles, *distinct]), f"GROUPING SETS ({groupings})"
    ).pl()
    # GROUPING has a bit for each key that a row is not grouped by, the last key being the lowest one.
    bits = (2 ** (len(sets[0]) - len(names)) - 1 for names in sets)
    columns = [*asked.quantiles, *asked.distinct]
    return [
        grouped.filter(pl.col("without") == without).select(*names, *columns)
        for names, without in zip(sets, bits, strict=True)
    ]


def polars_sets(frame: pl.LazyFrame, sets: Sequence[Sequence[str]], asked: Undivided) -> list[pl.DataFrame]:
    """The groups by each set of keys."""
    chosen = frame.collect()
    ordered = [pl.col(column).drop_nulls().sort() for column in asked.quantiles]
    distinct = [pl.col(column).n_unique() for column in asked.distinct]
    picked = [_picked(column, wanted).alias(column) for column, wanted in asked.quantiles.items()]
    found = []
    for names in sets:
        grouped = (
            chosen.lazy().group_by(*names).agg(*ordered, *distinct)
            if names
            else chosen.lazy().select(*(values.implode() for values in ordered), *distinct)
        )
        found.append(grouped.with_columns(picked).collect())
    return found


def _picked(column: str, quantiles: Sequence[float]) -> pl.Expr:
    """Quantiles of lists of values in order, as Polars interpolates: nulls for an empty list."""
    return pl.concat_list(interpolated(column, quantile) for quantile in quantiles)


def interpolated(column: str, quantile: float) -> pl.Expr:
    """A quantile of each list of values in order; null for an empty one."""
    values = pl.col(column)
    place = (values.list.len().cast(pl.Int64) - 1).cast(pl.Float64) * quantile
    low, high = (
        values.list.get(end.cast(pl.Int64), null_on_oob=True).cast(pl.Float64) for end in (place.floor(), place.ceil())
    )
    # Of two infinite neighbours the difference is nothing that could be added.
    return pl.when(low == high).then(low).otherwise(low + (high - low) * (place - place.floor()))
