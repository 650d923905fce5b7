"""Slices of calls, and which of them explain what is asked: one after the other, each by what those before leave.

A slice is all calls with one value of a dimension, or with one value of each of two. There are many, they overlap, and
whatever one of them does shows in its relatives: if `gpt-4o` in the feature `search` costs more, so do `gpt-4o`, the
feature, and the provider. So slices are not ranked once. The one whose own change fits best (`Scored.strength`, the
gain in likelihood when its calls are given a change of their own; see `scores`) comes first, its calls are taken out,
and the others are compared by what is left, until nothing stands out any more. What says the same as a row before says
nothing then. A pair comes before its single dimensions only if it fits clearly better.

That is a scan statistic with a greedy search: M. Kulldorff, A spatial scan statistic (1997); that a slice is
judged by whether its parts change alike is the ripple effect of anomaly localisation (Z. Li et al., Squeeze, 2019).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import polars as pl

from mofa_usage.changes.leaves import REST, Leaves
from mofa_usage.errors import UsageError

__all__ = ["Found", "Score", "best", "check_bounds"]

_BETTER = 1.05
"""How many times the strength of its single dimensions a pair must have."""

_CERTAIN, _MANY = 16.0, 20
"""The least certainty, four standard errors: with thousands of slices three are exceeded by chance. And of how many
values of a dimension their unrest is told, by which that is multiplied."""

_AGAINST = 1.1
"""How many times as strong a slice must be that went against the change of the whole."""

_DIGITS = 9
"""Significant digits in which strengths are compared: sums of floats differ in the last, depending on their order."""

_CODES, _KEYS, _OF = "^k[0-9]+$", ("set", "first", "second"), ("set", "of_first", "of_second")

Score = Callable[[pl.LazyFrame, Mapping[str, float]], pl.LazyFrame]
"""Adds to the sums of slices, given those of all calls, the columns `strength` (null: it does not count), `certainty`,
the square of how many standard errors it is from nothing, and `effect`, how much of what is explained is its own."""


@dataclass(frozen=True, slots=True)
class Found:
    """A slice: codes of values by the places of their dimensions, and its effect on what those before it leave."""

    codes: Mapping[int, int]
    effect: float


def check_bounds(top: int, min_calls: int) -> None:
    """Refuse no rows at all, and slices of no calls.

    Raises:
        UsageError: one of them is no whole number from 1.
    """
    for name, number in (("top", top), ("min_calls", min_calls)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UsageError(f"{name} = {number!r}; it is a whole number, at least 1")


def best(leaves: Leaves, score: Score, towards: int, least: int, most: int) -> Iterator[Found]:
    """The slices that explain most, at most so many, each of at least `least` calls in one of the periods.

    `towards` has the sign of what is explained: of two halves of all calls either has changed against the other, and
    the one that went with the whole comes first.
    """
    places = range(len(leaves.values))
    sets = [*((place,) for place in places), *combinations(places, 2)]
    left = leaves.floats
    table = _sums(left, sets)
    unrest: Mapping[int, float] | None = None
    for _ in range(most):
        whole = left.select(pl.exclude(_CODES).sum()).row(0, named=True)
        scored = score(table.lazy(), whole).filter(pl.max_horizontal("^calls[0-9]$") >= least).collect()
        unrest = _unrest(scored) if unrest is None else unrest
        row = _strongest(scored, unrest, towards)
        if row is None:
            return
        found = Found(dict(zip(sets[row["set"]], (row["first"], row["second"]), strict=False)), row["effect"])
        yield found
        inside = pl.all_horizontal(pl.col(f"k{place}") == code for place, code in found.codes.items())
        table = _without(table, _sums(left.filter(inside), sets))
        left = left.filter(~inside)


def _sums(leaves: pl.DataFrame, sets: Sequence[tuple[int, ...]]) -> pl.DataFrame:
    """The sums of all slices, in order: by the number of their `set` of dimensions and the codes in these.

    Of a pair `of_first` and `of_second` are its dimensions, which are the sets of the single ones.
    """
    parts = []
    for number, places in enumerate(sets):
        keys = [pl.col(f"k{place}").alias(name) for name, place in zip(("first", "second"), places, strict=False)]
        kept = [code != REST for code in keys]
        grouped = leaves.lazy().filter(*kept).group_by(keys).agg(pl.exclude(_CODES).sum())
        pair = places if len(places) == 2 else (None, None)
        said = {"set": number, "of_first": pair[0], "of_second": pair[1]}
        named = [pl.lit(value, pl.UInt32).alias(name) for name, value in said.items()]
        parts.append(grouped.with_columns(*named, *([] if len(keys) == 2 else [pl.lit(0, pl.UInt32).alias("second")])))
    ordered = [*_KEYS, "of_first", "of_second"]
    found = pl.collect_all([part.select(*ordered, pl.exclude(ordered)) for part in parts])
    return pl.concat(found).sort(_KEYS)


def _without(table: pl.DataFrame, taken: pl.DataFrame) -> pl.DataFrame:
    """The sums without those of calls that are taken out."""
    numbers = [name for name in table.columns if name not in (*_KEYS, "of_first", "of_second")]
    both = table.join(taken.select(*_KEYS, *numbers), on=_KEYS, how="left", suffix="_taken", maintain_order="left")
    less = (pl.col(name) - pl.col(f"{name}_taken").fill_null(0) for name in numbers)
    return both.with_columns(less).select(table.columns)


def _unrest(scored: pl.DataFrame) -> dict[int, float]:
    """By how much the values of each dimension vary more than single calls would make them, at least 1.

    The calls of a user come in sessions, so that users go up and down without any cause. The middle one of many values
    tells it: the square of a normal deviation is above 0.455 as often as below.
    """
    singles = scored.filter(pl.col("of_first").is_null(), pl.col("certainty").is_finite())
    middle = pl.when(pl.len() >= _MANY).then((pl.col("certainty").median() / 0.455).clip(1)).otherwise(1.0)
    found = singles.group_by("set").agg(unrest=middle)
    return dict(found.rows())


def _strongest(scored: pl.DataFrame, unrest: Mapping[int, float], towards: int) -> dict[str, Any] | None:
    """The slice that stands out most; None where none does."""
    against = pl.when(pl.col("effect") * towards < 0).then(1 / _AGAINST).otherwise(1.0)
    apart = {number: value for number, value in unrest.items() if value > 1} or {0: 1.0}
    of = (pl.col(name).replace_strict(apart, default=1.0, return_dtype=pl.Float64) for name in _OF)
    needed = pl.max_horizontal(*of)
    is_certain = (pl.col("certainty") >= _CERTAIN * needed) & pl.col("strength").is_finite()
    strength = pl.when(is_certain).then((pl.col("strength") * against).round_sig_figs(_DIGITS))
    rows = scored.select(*_KEYS, "of_first", "of_second", "effect", strength=strength)
    singles = rows.filter(pl.col("of_first").is_null())
    for side in ("first", "second"):
        named = {f"of_{side}": "set", side: "first", f"by_{side}": "strength"}
        above = singles.select(pl.col(column).alias(name) for name, column in named.items())
        rows = rows.join(above, on=[f"of_{side}", side], how="left", maintain_order="left")
    parents = pl.max_horizontal("by_first", "by_second").fill_null(0)
    better = pl.col("of_first").is_null() | (pl.col("strength") >= _BETTER * parents)
    order = [True, *(False for _ in _KEYS)]
    found = rows.filter(pl.col("strength") > 0, better).sort("strength", *_KEYS, descending=order).head(1)
    return found.row(0, named=True) if found.height else None
