"""Quotients of money: exact, and rounded once, half to even at the tenth place, which engines do on their own terms.

>>> quotient(Decimal("0.10"), 3)
Decimal('0.0333333333')
>>> quotients([Decimal("0.10"), None, Decimal("0.10")], [4, 4, 0]).to_list()
[Decimal('0.0250000000'), None, None]
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal

import polars as pl

from mofa_usage.reading.columns import MONEY

__all__ = ["quotient", "quotients"]

_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
_PLACE = Decimal("1e-10")


def quotient(amount: Decimal, divisor: Decimal | int) -> Decimal:
    """An amount of money over a number that is not 0."""
    return _EXACT.divide(amount, divisor).quantize(_PLACE, context=_EXACT)


def quotients(
    amounts: Iterable[Decimal | int | None], divisors: Iterable[Decimal | int | None], scale: int = 1
) -> pl.Series:
    """Amounts, times `scale`, each over its divisor; null where one is not known, or over 0."""
    values = [
        None if not divisor or amount is None else quotient(_EXACT.multiply(Decimal(amount), scale), divisor)
        for amount, divisor in zip(amounts, divisors, strict=True)
    ]
    return pl.Series(values, dtype=MONEY)
