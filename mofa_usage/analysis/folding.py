"""The heaviest values of a dimension, and the rest as one group.

Which they are is a question of its own: the dimension alone, over all calls that are asked for, ranked as any answer
is. Then the calls of all other values get one key, before they are grouped, so that percentiles and numbers of
distinct values of the rest are those of its calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import polars as pl

from mofa_usage.analysis.asking import OTHER, Asked
from mofa_usage.measures import MEASURES, Dimension

__all__ = ["Fold", "Keys", "fold", "ranking"]


@dataclass(frozen=True, slots=True)
class Fold:
    """The values of a dimension that keep their name."""

    dimension: Dimension
    named: tuple[str | None, ...]


def ranking(asked: Asked, dimension: Dimension) -> Asked:
    """The question whose first rows are the values of a dimension that the question keeps."""
    first = asked.measures[0].base
    weight = first if first.additive else MEASURES["calls"]
    return Asked((dimension,), (weight,), asked.start, asked.end, None, asked.question)


def fold(dimension: Dimension, top: int, ranked: pl.DataFrame) -> Fold | None:
    """What to fold, by the answer to the `ranking`; None where there are no more values than are kept."""
    values = ranked[dimension.name]
    return Fold(dimension, tuple(values.head(top))) if len(values) > top else None


@dataclass(frozen=True, slots=True)
class Keys:
    """What calls are grouped by: an expression for each dimension, under k0, k1, ...

    The dimension of the fold has a second key, true for the calls of the rest: a value might be called like the rest.
    """

    expressions: Mapping[str, nw.Expr]
    dimensions: Sequence[Dimension]
    fold: Fold | None

    def names(self, depth: int) -> dict[str, str | None]:
        """The keys of the first dimensions, and of which dimension each is; None: the second key of the fold."""
        found: dict[str, str | None] = {}
        for key, dimension in list(zip(self.expressions, self.dimensions, strict=True))[:depth]:
            found[key] = dimension.name
            if self.fold is not None and dimension == self.fold.dimension:
                found[f"{key}_other"] = None
        return found

    def folded(self, selected: nw.LazyFrame[Any]) -> nw.LazyFrame[Any]:
        """The calls with the keys of their groups, from those with the keys of their values."""
        if self.fold is None:
            return selected
        name = list(self.expressions)[self.dimensions.index(self.fold.dimension)]
        key, texts = nw.col(name), [value for value in self.fold.named if value is not None]
        named = ~key.is_null() & key.is_in(texts)
        if None in self.fold.named:
            named = key.is_null() | named
        return selected.with_columns(
            nw.when(named).then(key).otherwise(nw.lit(OTHER)).alias(name), (~named).alias(f"{name}_other")
        )
