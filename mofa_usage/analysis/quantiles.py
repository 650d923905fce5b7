"""Quantiles of money, exact on every engine.

Engines interpolate in floats, of which the last place of a price may be wrong, and not alike. So the engine only
numbers the values of each group, smallest first, and hands over the two between which the quantile lies; both are
values as they are in the calls. Where it lies between them is a fraction of whole numbers, worked out here in Decimal.

>>> fraction(0.999), fraction(1 / 3)
(Fraction(999, 1000), Fraction(1, 3))
>>> between(Decimal("0.10"), Decimal("0.20"), 4, fraction(0.75))  # a quarter of the way from the third to the fourth
Decimal('0.1250000000')
>>> places(fraction(0.999)), places(fraction(0.5)), places(fraction(1 / 3))
(3, 1, None)
"""

from collections.abc import Iterable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import narwhals as nw
import polars as pl

from mofa_usage.analysis.quotients import quotient
from mofa_usage.reading.columns import MONEY

__all__ = ["Ranked", "between", "fraction", "places"]

# Times the number of calls it is still an Int64.
_LARGEST_DENOMINATOR = 10**9


def fraction(quantile: float) -> Fraction:
    """The fraction that a float stands for: 19/20 for 0.95, which no float is."""
    return Fraction(quantile).limit_denominator(_LARGEST_DENOMINATOR)


def places(quantile: Fraction) -> int | None:
    """How many decimal places a quantile of whole numbers has at most; None where no few do."""
    return next((digits for digits in range(7) if 10**digits % quantile.denominator == 0), None)


def between(low: Decimal, high: Decimal | None, count: int, quantile: Fraction) -> Decimal:
    """The quantile of `count` values that lies between two of them, rounded half to even at the tenth place."""
    part, whole = (count - 1) * quantile.numerator % quantile.denominator, quantile.denominator
    with localcontext(prec=100):
        sum_of_parts = low * (whole - part) + (low if high is None else high) * part
    return quotient(sum_of_parts, whole)


class Ranked:
    """The values of each group in order: columns beside them, under names that begin with `name`."""

    def __init__(self, name: str, value: nw.Expr) -> None:
        self._value, self._there, self._rank, self._count = (f"{name}_{part}" for part in ("v", "there", "rank", "n"))
        self._of = value

    def added_to(self, frame: nw.LazyFrame[Any], keys: Iterable[str]) -> nw.LazyFrame[Any]:
        """The frame with the value of each call, its rank among those of its group from 0, and how many there are."""
        # Calls without a value are a part of their own: engines rank and count nulls differently.
        groups, value = [*keys, self._there], nw.col(self._value)
        there = frame.with_columns(self._of.alias(self._value)).with_columns((~value.is_null()).alias(self._there))
        return there.with_columns(
            (value.rank("ordinal").over(*groups).cast(nw.Int64) - 1).alias(self._rank),
            value.count().over(*groups).cast(nw.Int64).alias(self._count),
        )

    def neighbours(self, name: str, quantile: Fraction) -> dict[str, nw.Expr]:
        """The aggregations, by column: the two values between which a quantile lies, and how many values there are."""
        at, value = (nw.col(self._count) - 1) * quantile.numerator // quantile.denominator, nw.col(self._value)
        return {
            name: nw.when(nw.col(self._rank) == at).then(value).max(),
            f"{name}_above": nw.when(nw.col(self._rank) == at + 1).then(value).max(),
            f"{name}_of": nw.col(self._count).max(),
        }

    @staticmethod
    def value(name: str, quantile: Fraction, result: pl.DataFrame) -> pl.Series:
        """The quantile in the engine's result, one value per group; null where none of its calls has a value."""
        parts = result.select(pl.col(name, f"{name}_above").cast(MONEY), f"{name}_of")
        found = [None if low is None else between(low, high, count, quantile) for low, high, count in parts.iter_rows()]
        return pl.Series(name, found, dtype=MONEY)
