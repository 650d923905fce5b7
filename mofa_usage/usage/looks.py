"""How names look in all figures of a usage: the same model has the same colour in each of them.

A figure that shows few names needs to know of the others, whose colours it must not take. An answer may outlive its
usage and be drawn then, so it keeps the `Looks` of the usage and not the usage: they know the names, or a way to them
that costs nothing to keep, and hold no calls.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import polars as pl

from mofa_usage.measures import DIMENSIONS, Dimension
from mofa_usage.usage.held import HeldCalls

if TYPE_CHECKING:
    from mofa_usage.theme import Style

__all__ = ["Looks"]


class Looks:
    """The styles of the names in each dimension of some calls, made when somebody draws them."""

    def __init__(self) -> None:
        self._names: dict[str, Callable[[], pl.Series]] = {}
        self._styles: dict[str, Mapping[str, Style]] = {}

    def learn(self, dimensions: Iterable[str | Dimension], calls: HeldCalls) -> None:
        """Take note of the names that the dimensions have in the calls, unless they are known."""
        for entry in dimensions:
            name = entry if isinstance(entry, str) else entry.name
            if name not in self._names and _is_colored(name):
                self._names[name] = calls.names(entry)

    def __call__(self, dimension: str) -> Mapping[str, "Style"]:
        """The style of each name of a dimension; none when nothing is known of it."""
        # Only who draws needs the theme, which loads Plotly.
        from mofa_usage.theme import STATUS_STYLES, styles

        if dimension == "status":
            return STATUS_STYLES
        if dimension not in self._styles and dimension in self._names:
            self._styles[dimension] = styles(self._names[dimension]())
        return self._styles.get(dimension, {})


def _is_colored(dimension: str) -> bool:
    """Whether names of the dimension are told apart by colour: further columns of the calls are categories, too."""
    known = DIMENSIONS.get(dimension)
    return dimension not in ("status", "currency") and (known is None or known.kind == "category")
