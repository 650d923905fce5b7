"""What the columns of an answer are: its dimensions, its measures, and the currency of each column of money.

An analysis knows what it was asked and says so (`Breakdown.roles`), also of measures and dimensions of your own. Of a
frame that somebody wrote by hand it is read from the names of the columns.

>>> money = ["cost_EUR", "cost_USD"]
>>> roles = Roles.guessed(["day", "team", *money, "note"], numeric=money, text=["team"])
>>> list(roles.dimensions), {name: column.currency for name, column in roles.measures.items()}
(['day', 'team'], {'cost_EUR': 'EUR', 'cost_USD': 'USD'})
>>> roles.within(["day", "cost_USD"]).currencies
('USD',)
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mofa_usage.measures.bounds import level_of, low_and_high
from mofa_usage.measures.catalogue import MEASURES
from mofa_usage.measures.columns import measure_in
from mofa_usage.measures.dimensions import DIMENSIONS, Dimension
from mofa_usage.measures.formulas import Measure

__all__ = ["MISSING_MARK", "MeasureColumn", "Roles"]

MISSING_MARK = "has_missing"
"""The column that marks slices of calls without a value, see `Roles.of_slices`: a name might be "(none)", too."""


@dataclass(frozen=True, slots=True)
class MeasureColumn:
    """A column of numbers: its measure, and the currency where the column is of one of several."""

    measure: Measure
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of an answer's columns, by their names and in their order.

    Attributes:
        dimensions: The dimensions. A column of currencies is one where the rows are kept apart by it.
        measures: The measures; one of money is in a column for each currency where there are several.
        currencies: Those of the columns of money, the one with most priced calls first; empty where no measure is
            money, no call has a price, or `currency` is a dimension.
        question: What was asked: `cost`, `latency`, `token_rate`, `success_rate`, `distribution`, `summary`, or
            `breakdown`; empty where nobody knows.
        about: The column of the calls whose distribution was asked for; else empty.
        periods: Where two periods are compared, what they are called: the one before and the one after.
        remarks: What a reader should know beside the numbers, in clauses without a full stop; the sentence says them.
    """

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    measures: Mapping[str, MeasureColumn] = field(default_factory=dict)
    currencies: tuple[str, ...] = ()
    question: str = ""
    about: str = ""
    periods: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @classmethod
    def guessed(cls, columns: Iterable[str], *, numeric: Collection[str], text: Collection[str]) -> "Roles":
        """What columns of these names are, some of them numeric and some of them text.

        Text that is no measure is a dimension; a numeric column whose name is that of no measure is nothing.
        """
        dimensions: dict[str, Dimension] = {}
        measures: dict[str, MeasureColumn] = {}
        for name in columns:
            if name in DIMENSIONS:
                dimensions[name] = DIMENSIONS[name]
            elif (found := measure_in(name)) is not None and (name in MEASURES or name in numeric):
                measures[name] = MeasureColumn(*found)
            elif name in text:
                dimensions[name] = Dimension(name, name, "category", f"The column {name}.", (name,))
        apart = (column.currency for column in measures.values() if column.currency is not None)
        return cls(dimensions, measures, tuple(dict.fromkeys(apart)))

    def renamed(self, names: Mapping[str, str]) -> "Roles":
        """The roles under the columns' new names; a column that is not among them keeps its own."""
        return replace(
            self,
            dimensions={names.get(name, name): entry for name, entry in self.dimensions.items()},
            measures={names.get(name, name): column for name, column in self.measures.items()},
        )

    @property
    def categories(self) -> list[str]:
        """The columns of names: categories but for currencies."""
        found = self.dimensions.items()
        return [name for name, entry in found if entry.kind == "category" and entry.name != "currency"]

    @property
    def of_slices(self) -> bool:
        """Whether a row is a slice of the calls: a null dimension is any value, and a missing one is "(none)"."""
        return self.question in ("drivers", "slow_drivers")

    @property
    def by_currency(self) -> str | None:
        """The dimension of currencies, where the rows are kept apart by it."""
        return next((name for name, entry in self.dimensions.items() if entry.name == "currency"), None)

    @property
    def intervals(self) -> dict[str, tuple[str, str]]:
        """The columns of the lower and the upper ends of intervals, by the column that they are beside."""
        by_measure = {(column.measure.name, column.currency): name for name, column in self.measures.items()}
        found = {}
        for name, column in self.measures.items():
            ends = [by_measure.get((end, column.currency)) for end in low_and_high(column.measure.name)]
            if ends[0] is not None and ends[1] is not None:
                found[name] = ends[0], ends[1]
        return found

    @property
    def level(self) -> float | None:
        """The level of the intervals; None where there are none, or nobody knows it."""
        ends = (self.measures[low].measure for low, _ in self.intervals.values())
        return next(map(level_of, ends), None)

    def within(self, columns: Collection[str]) -> "Roles":
        """The roles of those columns that are left of the answer."""
        measures = {name: column for name, column in self.measures.items() if name in columns}
        money = [column.currency for column in measures.values() if column.measure.of_money]
        if self.about:  # the bins of a distribution are of the currency
            money.append(None)
        return replace(
            self,
            dimensions={name: entry for name, entry in self.dimensions.items() if name in columns},
            measures=measures,
            currencies=tuple(name for name in self.currencies if None in money or name in money),
        )
