"""The amounts of a change as an answer: a row for each value of the dimensions, and the whole."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import polars as pl

from mofa_usage.analysis import Breakdown
from mofa_usage.analysis.buckets import BUCKETS
from mofa_usage.changes.factors import FACTORS, Number
from mofa_usage.changes.gathering import Row
from mofa_usage.changes.periods import Per, Periods
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, Dimension, MeasureColumn, Roles, money_columns
from mofa_usage.reading.columns import MONEY

__all__ = ["MONEY_COLUMNS", "Amounts", "Line", "Table", "as_fraction", "as_money", "units", "whole"]

Amounts: TypeAlias = tuple[int, ...]
"""The amounts of `MONEY_COLUMNS`, in units of the tenth decimal place."""

MONEY_COLUMNS = ("cost_before", "cost_after", "cost_change", *FACTORS)
_COUNTS = ("calls_before", "calls_after", "unpriced_before", "unpriced_after")
_CHANGE = MONEY_COLUMNS.index("cost_change")
_KINDS = (pl.Int64, pl.Float64)
"""What numbers of calls are: whole ones, and means per day."""
_PLACES = 10
_UNIT = 10**10
_EXACT = Context(prec=100)


@dataclass(frozen=True, slots=True)
class Line:
    """A row: the keys of its dimensions, the amounts in each currency that it has, and the numbers of `_COUNTS`."""

    row: Row
    amounts: Mapping[str, Amounts]
    counts: tuple[Number, ...]


def units(amount: Fraction) -> int:
    """An amount in units of the tenth decimal place, rounded half to even."""
    return round(amount * _UNIT)


def as_money(amount: int) -> Decimal:
    """An amount in units of the tenth decimal place, as money."""
    return Decimal(amount).scaleb(-_PLACES, _EXACT)


def as_fraction(amounts: Amounts, name: str) -> Fraction:
    """One of the amounts, in units of its currency."""
    return Fraction(amounts[MONEY_COLUMNS.index(name)], 10**_PLACES)


def whole(lines: Sequence[Line]) -> Line:
    """All lines added up."""
    amounts: dict[str, Amounts] = {}
    for line in lines:
        for currency, more in line.amounts.items():
            amounts[currency] = _added(amounts.get(currency, (0,) * len(MONEY_COLUMNS)), more)
    counts: tuple[Number, ...] = (0,) * len(_COUNTS)
    for line in lines:
        counts = _added(counts, line.counts)
    return Line((), amounts, counts)


def _added(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one + two for one, two in zip(first, second, strict=True))


@dataclass(frozen=True, slots=True)
class Table:
    """Lines, and what they are: `currencies` in the order of their columns, `remarks` as `Roles` has them."""

    dimensions: tuple[Dimension, ...]
    lines: Sequence[Line]
    currencies: Sequence[str]
    periods: Periods
    per: Per | None
    remarks: tuple[str, ...] = ()

    @property
    def answer(self) -> Breakdown:
        """The table with the whole as its total; what changed most is first, but times are in their order.

        Raises:
            UsageError: a dimension is called like a column of the answer.
        """
        is_ranked = all(entry.kind == "category" for entry in self.dimensions)
        ordered = sorted(self.lines, key=lambda line: _order(line, self.currencies if is_ranked else ()))
        found = replace(self, lines=ordered)._frame
        if self.dimensions:
            found.totals = (replace(self, dimensions=(), lines=[whole(self.lines)])._frame,)
        return found

    @property
    def _frame(self) -> Breakdown:
        columns: dict[str, pl.Series] = {}
        held: dict[str, MeasureColumn] = {}
        for place, entry in enumerate(self.dimensions):
            columns[entry.name] = self._labels(entry, [line.row[place] for line in self.lines])
        is_apart = not any(entry.name == "currency" for entry in self.dimensions)
        for column, measure, amounts in self._money(is_apart=is_apart):
            columns[column], held[column] = (
                pl.Series(column, [None if amount is None else as_money(amount) for amount in amounts], MONEY),
                measure,
            )
        for place, name in enumerate(_COUNTS):
            counts = [line.counts[place] for line in self.lines]
            is_mean = self.per is not None
            columns[name] = pl.Series(name, list(map(float, counts)) if is_mean else counts, _KINDS[is_mean])
            held[name] = MeasureColumn(ANSWERS[name])
        if is_apart and len(self.currencies) < 2:
            only = next(iter(self.currencies), None)
            columns["currency"] = pl.Series("currency", [only] * len(self.lines), pl.String)
        if twice := [entry.name for entry in self.dimensions if entry.name in (*held, *(["currency"] * is_apart))]:
            raise UsageError(f"two columns of the answer would be called {twice[0]!r}; choose another dimension")
        said = {entry.name: entry for entry in self.dimensions}
        currencies = tuple(self.currencies) if is_apart else ()
        names = (self.periods.before.text, self.periods.after.text)
        roles = Roles(said, held, currencies, "explain_change", periods=names, remarks=self.remarks)
        return Breakdown.of(pl.DataFrame([series.alias(name) for name, series in columns.items()]), roles)

    def _money(self, *, is_apart: bool) -> Iterator[tuple[str, MeasureColumn, list[int | None]]]:
        """The columns of money, with their measures."""
        for place, name in enumerate(MONEY_COLUMNS):
            if not is_apart or len(self.currencies) < 2:
                only = [next(iter(line.amounts.values()), None) for line in self.lines]
                yield (
                    name,
                    MeasureColumn(ANSWERS[name]),
                    [None if amounts is None else amounts[place] for amounts in only],
                )
                continue
            for currency, column in money_columns(name, self.currencies).items():
                own = [line.amounts.get(currency) for line in self.lines]
                yield (
                    column,
                    MeasureColumn(ANSWERS[name], currency),
                    [None if amounts is None else amounts[place] for amounts in own],
                )

    def _labels(self, entry: Dimension, keys: Sequence[Any]) -> pl.Series:
        bucket = BUCKETS.get(entry.name) if entry.kind != "category" else None
        if bucket is None:
            return pl.Series(entry.name, keys, pl.String)
        return bucket.label(pl.Series(entry.name, keys, pl.Int64), self.periods.before.tz.key)


def _order(line: Line, currencies: Iterable[str]) -> tuple[Any, ...]:
    """The largest change first, what has no price last; then by name, no name last."""
    sizes = (abs(line.amounts[currency][_CHANGE]) if currency in line.amounts else -1 for currency in currencies)
    return *(-size for size in sizes), *((key is None, key) for key in line.row)
