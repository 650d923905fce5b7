"""An answer as sentences read it: totals, amounts in each currency, the names of rows."""

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.asking import OTHER_MARK
from mofa_usage.measures import MISSING_MARK, Roles

__all__ = ["Told"]

_NAME = 40


@dataclass(frozen=True)
class Told:
    """An answer, and what can be read from it."""

    frame: pl.DataFrame
    roles: Roles
    whole: "Told | None" = None

    @classmethod
    def of(cls, frame: pl.DataFrame, roles: Roles, whole: "Told | None" = None) -> "Told":
        """What can be read from an answer, whatever somebody made of its columns: of numbers those that are any."""
        floats = [name for name, dtype in frame.schema.items() if dtype.is_float()]
        finite = frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in floats)
        numbers = {name: entry for name, entry in roles.measures.items() if frame.schema[name].is_numeric()}
        return cls(finite, replace(roles, measures=numbers), whole)

    def column(self, measure: str) -> str | None:
        """The column of a measure; of money in several currencies there is not one."""
        found = [name for name, entry in self.roles.measures.items() if entry.measure.name == measure]
        return found[0] if len(found) == 1 else None

    def total(self, measure: str) -> Any:
        """The sum of a measure that adds up; None where it is not there or not known."""
        name = self.column(measure)
        known = None if name is None else self.frame[name].drop_nulls()
        return None if known is None or known.is_empty() else known.sum()

    def only(self, measure: str) -> Any:
        """The value of a measure for all calls: in the one row that there is, or in that of the whole."""
        if self.frame.height == 1:
            name = self.column(measure)
            return None if name is None else self.frame[name][0]
        return None if self.whole is None else self.whole.only(measure)

    def interval(self, column: str, row: int) -> str:
        """The interval of a value in words, "95% interval 71% to 93%"; empty where there is none."""
        ends = self.roles.intervals.get(column)
        if ends is None:
            return ""
        entry, (low, high) = self.roles.measures[column], (self.frame[end][row] for end in ends)
        said = None if self.currency is None else self.frame[self.currency][row]
        code = entry.currency or said or next(iter(self.roles.currencies), "USD")
        text = wording.interval_text(low, high, entry.measure.kind, code)
        return f"{wording.interval_name(self.roles.level)} {text}" if text else ""

    def interval_of_all(self, measure: str) -> str:
        """The interval of a measure of all calls, as far as a row tells it."""
        if self.frame.height == 1:
            name = self.column(measure)
            return "" if name is None else self.interval(name, 0)
        return "" if self.whole is None else self.whole.interval_of_all(measure)

    def amounts(self, measure: str) -> dict[str | None, pl.Series]:
        """The amounts of a measure of money in each row, by currency."""
        columns = {
            entry.currency: self.frame[name]
            for name, entry in self.roles.measures.items()
            if entry.measure.name == measure
        }
        if list(columns) != [None] or self.currency is None:
            usual = next(iter(self.roles.currencies), None)
            return {currency or usual: amounts for currency, amounts in columns.items()}
        codes = self.frame[self.currency]
        return {
            code: pl.select(pl.when(codes == code).then(columns[None])).to_series()
            for code in codes.drop_nulls().unique().sort()
        }

    def sums(self, measure: str) -> dict[str | None, Decimal]:
        """A measure of money in all rows, by currency, where it is known."""
        return {code: Decimal(str(values.sum())) for code, values in self.amounts(measure).items() if values.count()}

    @cached_property
    def currency(self) -> str | None:
        """The dimension of currencies, where the rows are kept apart by it."""
        return self.roles.by_currency

    @cached_property
    def category(self) -> str | None:
        """The first dimension of names."""
        return next(iter(self.roles.categories), None)

    @cached_property
    def time(self) -> str | None:
        """The first dimension of time: buckets, hours of the day, or weekdays."""
        return next((name for name, one in self.roles.dimensions.items() if one.kind != "category"), None)

    def by(self, dimension: str, amounts: pl.Series) -> pl.DataFrame:
        """What adds up, by a dimension: its values in `key`, the sums in `sum`, the largest first, "other" left out."""
        rows = self.frame.select(key=dimension, sum=amounts)
        if OTHER_MARK in self.frame.columns:
            rows = rows.filter(~self.frame[OTHER_MARK])
        sums = rows.group_by("key", maintain_order=True).agg(pl.col("sum").sum())
        return sums.sort("sum", descending=True, maintain_order=True)

    def name(self, dimension: str, value: object) -> str:
        """A value of a dimension in words."""
        return wording.shorten(wording.dimension_text(value, self.roles.dimensions[dimension]), _NAME)

    def label(self, row: int) -> str:
        """The values of all dimensions in a row, in words."""
        return ", ".join(self.name(name, self.frame[name][row]) for name in self.roles.dimensions)

    def slice(self, row: int) -> str:
        """The values that say which slice of the calls a row is, in words: null is any value."""
        known = [name for name in self.roles.dimensions if self.frame[name][row] is not None]
        may_miss = MISSING_MARK not in self.frame.columns or bool(self.frame[MISSING_MARK][row])
        parts = (self._of_slice(name, self.frame[name][row], may_miss=may_miss) for name in known)
        return " in ".join(parts) or "all calls"

    def _of_slice(self, dimension: str, value: object, *, may_miss: bool) -> str:
        """A value in words; something that is called "(none)" is missing only where a slice says so."""
        entry = self.roles.dimensions[dimension]
        title = wording.inside(entry.title)
        return f"no {title}" if may_miss and value == wording.NONE else f"{title} {self.name(dimension, value)}"
