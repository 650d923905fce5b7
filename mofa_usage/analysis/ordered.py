"""Values of each group in order: the ends of intervals of percentiles, and the percentiles between them.

An end is a value of the calls, at a rank that follows from how many values the group has (see `intervals`), which is
another rank in each group; engines have no word for that. So an engine only gathers the values of each group into a
list, which costs it no more than counting them; sorting the lists and taking values out of them is done here, alike for
all engines. Of larger groups, those of the levels above, the lists are those of the smaller ones, joined.

Whatever else is asked of the same values, their percentiles, is taken from the same lists.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mofa_usage.analysis.grouping_sets import interpolated
from mofa_usage.analysis.intervals import order_ranks
from mofa_usage.measures import Bound

__all__ = ["Picked", "duckdb_picked", "places_of", "polars_picked"]


@dataclass(frozen=True, slots=True)
class Picked:
    """A quantile of the values in a column, or an end of its interval, under a name."""

    name: str
    column: str
    quantile: float
    bound: Bound | None


def duckdb_picked(
    relation: Any, sets: Sequence[Sequence[str]], columns: Sequence[str], wanted: Sequence[Picked]
) -> list[pl.DataFrame]:
    """For each set of keys the groups and what is wanted of their values in the columns; the first set has all keys."""
    return _picked(_duckdb_lists(relation, sets[0], columns), sets, wanted)


def polars_picked(
    frame: pl.LazyFrame, sets: Sequence[Sequence[str]], columns: Sequence[str], wanted: Sequence[Picked]
) -> list[pl.DataFrame]:
    """The same of a Polars frame."""
    return _picked(_polars_lists(frame, sets[0], columns), sets, wanted)


def places_of(one: Picked, number: int) -> tuple[int | None, int | None]:
    """Between which places, from 0, of so many values in order it lies: an end is at one, or beyond all of them."""
    if one.bound is not None:
        rank = order_ranks(number, one.quantile, one.bound.level)[one.bound.is_upper]
        at = None if rank is None else rank - 1
        return at, at
    place = (number - 1) * one.quantile
    return math.floor(place), math.ceil(place)


def _duckdb_lists(relation: Any, keys: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """The groups by the keys with their values in each column, in any order and without nulls; names are ours."""
    lists = (f"list({column}) FILTER ({column} IS NOT NULL) AS {column}" for column in columns)
    found: pl.DataFrame = relation.aggregate(", ".join([*keys, *lists]), ", ".join(keys)).pl()
    return found


def _polars_lists(frame: pl.LazyFrame, keys: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """The same of a Polars frame."""
    values = [pl.col(column).drop_nulls() for column in columns]
    if keys:
        return frame.group_by(*keys).agg(values).collect()
    return frame.select(one.implode() for one in values).collect()


def _picked(lists: pl.DataFrame, sets: Sequence[Sequence[str]], wanted: Sequence[Picked]) -> list[pl.DataFrame]:
    """For each set of keys the groups and what is wanted of their values; the first set has the keys of the lists."""
    columns = list(dict.fromkeys(one.column for one in wanted))
    found = []
    for names in sets:
        together = lists
        if len(names) < len(sets[0]):
            joined = [pl.col(column).explode() for column in columns]
            together = (
                lists.group_by(*names).agg(joined) if names else lists.select(values.implode() for values in joined)
            )
        ordered = together.with_columns(pl.col(column).list.drop_nulls().list.sort() for column in columns)
        ranked = [_ranked(ordered[column], [one for one in wanted if one.column == column]) for column in columns]
        found.append(pl.concat([ordered, *ranked], how="horizontal").select(*names, *(_value(one) for one in wanted)))
    return found


def _ranked(values: pl.Series, wanted: Sequence[Picked]) -> pl.DataFrame:
    """The places, from 0, of the ends that are wanted of each list, under their names; null for an end beyond it."""
    numbers = values.list.len().fill_null(0).cast(pl.Int64)
    ranks: Mapping[str, list[int | None]] = {one.name: [] for one in wanted if one.bound is not None}
    different = numbers.unique()
    for number in different:
        for one in wanted:
            if one.bound is not None:
                ranks[one.name].append(places_of(one, number)[0])
    places = pl.DataFrame(
        {"n": different, **{_at(name): pl.Series(found, dtype=pl.Int64) for name, found in ranks.items()}}
    )
    return numbers.alias("n").to_frame().join(places, on="n", how="left", maintain_order="left").drop("n")


def _value(one: Picked) -> pl.Expr:
    if one.bound is None:
        return interpolated(one.column, one.quantile).alias(one.name)
    return pl.col(one.column).list.get(pl.col(_at(one.name)), null_on_oob=True).alias(one.name)


def _at(name: str) -> str:
    return f"{name}_at"
