"""How names look in all figures of a usage: the same model has the same colour in each of them.

A figure that shows few names needs to know of the others, whose colours it must not take. An answer may outlive its
usage and be drawn then, so it keeps the `Looks` of the usage and not the usage: they know the names, or a way to them
that costs nothing to keep, and hold no calls.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import polars as pl

from mofa_usage.measures import DIMENSIONS, Dimension, dimension
from mofa_usage.usage.held import Named

if TYPE_CHECKING:
    from mofa_usage.theme import Style

__all__ = ["Looks", "NamesOfBoth"]


class Looks:
    """The styles of the names in each dimension of some calls, made when somebody draws them.

    Pickled, it is the names that it knows.
    """

    def __init__(self, names: Mapping[Dimension, pl.Series] = MappingProxyType({})) -> None:
        self._names: dict[Dimension, Callable[[], pl.Series]] = {
            entry: partial(pl.Series, found) for entry, found in names.items()
        }
        self._styles: dict[Dimension, Mapping[str, Style]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Looks, ({entry: names() for entry, names in self._names.copy().items()},)

    def learn(self, dimensions: Iterable[str | Dimension], calls: Named) -> Callable[[str], Mapping[str, "Style"]]:
        """Take note of the names that the dimensions have in the calls, unless they are known.

        Returns:
            What gives the styles of each of these dimensions by its name: two dimensions of your own may share one.
        """
        known = {entry.name: entry for entry in map(_defined, dimensions)}
        for entry in known.values():
            if entry not in self._names and _is_colored(entry):
                self._names[entry] = calls.names(entry)
        return lambda name: self._of(known[name] if name in known else _defined(name))

    def _of(self, entry: Dimension) -> Mapping[str, "Style"]:
        """The style of each name of a dimension; none when nothing is known of it."""
        # Only who draws needs the theme, which loads Plotly.
        from mofa_usage.theme import STATUS_STYLES, styles

        if entry == DIMENSIONS["status"]:
            return STATUS_STYLES
        if entry not in self._styles and entry in self._names:
            self._styles[entry] = styles(self._names[entry]())
        return self._styles.get(entry, {})


class NamesOfBoth:
    """The names in all calls, and those in calls with other money where only these have the dimension."""

    def __init__(self, whole: Named, columns: Sequence[str], repriced: Named) -> None:
        self._whole = whole
        self._columns = frozenset(columns)
        self._repriced = repriced

    def names(self, dimension: str | Dimension) -> Callable[[], pl.Series]:
        """See `Named`."""
        is_new = not self._columns.issuperset(_defined(dimension).needs)
        return (self._repriced if is_new else self._whole).names(dimension)


def _defined(entry: str | Dimension) -> Dimension:
    return dimension(entry, [entry]) if isinstance(entry, str) else entry


def _is_colored(entry: Dimension) -> bool:
    """Whether names of the dimension are told apart by colour: further columns of the calls are categories, too."""
    return entry.kind == "category" and entry not in (DIMENSIONS["status"], DIMENSIONS["currency"])
