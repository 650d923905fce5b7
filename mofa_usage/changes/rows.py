"""The rows of an answer about slices: which slice each is of, and beside them the row of all calls."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from mofa_usage.analysis.result import Breakdown
from mofa_usage.changes.leaves import MISSING, Leaves
from mofa_usage.changes.slices import Found
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, MISSING_MARK, Dimension, MeasureColumn, Roles
from mofa_usage.wording import NONE

__all__ = ["slice_columns", "totalled"]


def slice_columns(
    leaves: Leaves, entries: Sequence[Dimension], found: Sequence[Found], others: Iterable[str]
) -> tuple[dict[str, pl.Series], dict[str, Dimension]]:
    """A column for each dimension, null where any value will do, and what marks the slices of missing ones.

    With them come the dimensions by their names, which differ from those of the `others`.

    Raises:
        UsageError: one does not.
    """
    taken = {*others, MISSING_MARK, "currency"}
    twice = next((entry.name for entry in entries if entry.name in taken), None)
    if twice is not None:
        raise UsageError(f"two columns of the answer would be called {twice!r}")
    columns = {entry.name: _values(leaves.values[place], place, found) for place, entry in enumerate(entries)}
    missing = [MISSING in one.codes.values() for one in found]
    return columns | {MISSING_MARK: pl.Series(missing, dtype=pl.Boolean)}, {entry.name: entry for entry in entries}


def _values(values: Sequence[object], place: int, found: Sequence[Found]) -> pl.Series:
    """The value of the dimension at this place in each of the slices."""
    codes = [one.codes.get(place) for one in found]
    names = [None if code is None else NONE if code == MISSING else values[code] for code in codes]
    is_number = any(isinstance(value, int) for value in values)  # an hour or a weekday, which is never missing
    return pl.Series(names, dtype=pl.Int8 if is_number else pl.String)


def totalled(rows: pl.DataFrame, roles: Roles, whole: pl.DataFrame, further: Sequence[str]) -> Breakdown:
    """The answer, with the row of all calls as its totals, which has `further` measures of its own."""
    held: Mapping[str, MeasureColumn] = {
        name: roles.measures.get(name) or MeasureColumn(ANSWERS[name])
        for name in whole.columns
        if name in roles.measures or name in further
    }
    answer = Breakdown.of(rows, roles)
    answer.totals = (Breakdown.of(whole, Roles({}, held, roles.currencies, roles.question)),)
    return answer
