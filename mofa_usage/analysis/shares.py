"""Shares: what part of the whole each row of an answer is.

Where a measure of shares is asked for, the answer first holds what it is of. That adds up, so the whole is the sum of
the rows, or of those with the same value of a dimension; then it is divided exactly, and rounded once.
"""

from collections.abc import Mapping

import polars as pl

from mofa_usage.analysis.asking import OTHER_MARK, Asked
from mofa_usage.measures import MeasureColumn, Share

__all__ = ["with_shares"]


def with_shares(result: pl.DataFrame, asked: Asked, held: Mapping[str, MeasureColumn]) -> pl.DataFrame:
    """The answer with shares (Float64) in place of what they are of; null in a total above the dimension `of`."""
    shares = []
    for name, column in held.items():
        formula = column.measure.formula
        if not isinstance(formula, Share):
            continue
        if formula.of is not None and formula.of not in asked.by:
            shares.append(pl.Series(name, [None] * result.height, dtype=pl.Float64))
            continue
        within = [] if formula.of is None else [formula.of]
        if asked.folded is not None and asked.folded.name in within:
            within.append(OTHER_MARK)
        if column.measure.of_money and "currency" in asked.by:
            within.append("currency")
        total = pl.col(name).sum().over(within) if within else pl.col(name).sum()
        shares.append(_divided(result[name], result.with_columns(total)[name]))
    return result.with_columns(shares)


def _divided(parts: pl.Series, wholes: pl.Series) -> pl.Series:
    # As whole numbers of the tenth place, which Python divides and rounds once, however large they are.
    values = zip(parts.to_physical(), wholes.to_physical(), strict=True)
    shares = [None if part is None or not whole else part / whole for part, whole in values]
    return pl.Series(parts.name, shares, dtype=pl.Float64)
