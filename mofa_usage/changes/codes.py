"""Codes of values of dimensions, and numbers of several codes: what leaves are grouped by, on every engine.

A value's code is 2 and more, its place among the values that are told apart. That of no value is 0, that of all other
values 1.
"""

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

__all__ = ["MISSING", "REST", "chunks", "coded", "of_periods"]

MISSING, REST = 0, 1
"""The codes of no value, and of all values that are not kept."""

_WIDEST = 2**62
"""Below it a number of several codes has 64 bits."""


def chunks(lengths: Sequence[int]) -> list[list[int]]:
    """The places of dimensions of which so many values are told apart, those together that one number can say."""
    chunks: list[list[int]] = [[]]
    width = 1
    for place, length in enumerate(lengths):
        if width * (length + 2) > _WIDEST:
            chunks.append([])
            width = 1
        chunks[-1].append(place)
        width *= length + 2
    return chunks


def coded(rows: pl.DataFrame, lengths: Sequence[int]) -> pl.DataFrame:
    """The leaves with a code for each dimension, of which so many values are told apart; in order."""
    codes: dict[str, pl.Expr] = {}
    for number, places in enumerate(chunks(lengths)):
        left = pl.col(f"group{number}")
        for place in reversed(places):
            codes[f"k{place}"] = (left % (lengths[place] + 2)).cast(pl.UInt32)
            left = left // (lengths[place] + 2)
    ordered = rows.sort("^group[0-9]+$", "inside")
    named = [codes[f"k{place}"].alias(f"k{place}") for place in range(len(lengths))]
    return ordered.select(*named, pl.exclude("^group[0-9]+$", "inside"))


def of_periods(names: Iterable[str], periods: int) -> Iterator[str]:
    """The numbers of a leaf in each period, as SQL: 0 where its calls are not in it."""
    for number in range(periods):
        for name in names:
            yield f"CASE WHEN inside & {2**number} > 0 THEN coalesce({name}, 0) ELSE 0 END AS {name}{number}"
