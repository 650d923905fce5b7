"""What the engine computes for each group: counts, sums, quantiles, extremes and numbers of distinct values.

A `Plan` collects the aggregates behind the measures that were asked for, so that each is computed once, however
many measures share it. Some bring a count along, because engines disagree about nothing: the sum of no values is 0
on one and null on another, and a null may or may not be a distinct value. `Plan.value` decides by that count, so
the answer is the same everywhere.

Conditions and quotients are data of `mofa_usage.measures`; here they become expressions.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import narwhals as nw
import polars as pl

from mofa_usage.analysis.currencies import currency_of
from mofa_usage.analysis.engine import WEIGHT, LazyCalls
from mofa_usage.analysis.grouping_sets import Undivided
from mofa_usage.analysis.intervals import wilson
from mofa_usage.analysis.ordered import Picked
from mofa_usage.analysis.quantiles import Ranked, fraction, places
from mofa_usage.analysis.quotients import quotients
from mofa_usage.errors import UsageError
from mofa_usage.measures import Aggregate, Bound, Condition, Dimension, Measure, Quotient, Ratio
from mofa_usage.reading.columns import MONEY, NIL, bare

__all__ = ["Plan", "key", "measured", "readable"]

_COMPARED: Mapping[str, Callable[[Any, Any], nw.Expr]] = MappingProxyType(
    {
        "==": operator.eq,
        "!=": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "known": lambda column, _: ~column.is_null(),
        "unknown": lambda column, _: column.is_null(),
        "== or unknown": lambda column, value: (column == value) | column.is_null(),
    }
)


class Plan:
    """The aggregates that some measures need, each under a column of its own in the engine's result.

    `calls` are what they are computed of; the names of the columns of the result begin with `prefix`.
    """

    def __init__(self, measures: Iterable[Measure], calls: LazyCalls, prefix: str = "a") -> None:
        self._calls = calls
        self._schema = calls.schema
        self._prefix = prefix
        self._names: dict[Aggregate, str] = {}
        for measure in measures:
            self.add(*measure.aggregates)

    def add(self, *aggregates: Aggregate) -> None:
        """Compute these, too."""
        for part in aggregates:
            for aggregate in (part, *_counts_for(part)):
                self._names.setdefault(aggregate, f"{self._prefix}{len(self._names)}")

    def values(self) -> dict[str, nw.Expr]:
        """The columns to select before grouping, by name."""
        columns = dict.fromkeys(name for part in self._names for name in (*part.needs, *part.optional))
        quotients = dict.fromkeys(part.value for part in self._names if isinstance(part.value, Quotient))
        columns |= dict.fromkeys([WEIGHT] if WEIGHT in self._schema else [])
        return {
            _column(column): currency_of(self._schema) if column == "currency" else readable(column, self._calls)
            for column in columns
        } | {_column(quotient): _quotient(quotient, self._calls) for quotient in quotients}

    def ranked(self, selected: nw.LazyFrame[Any], keys: Iterable[str]) -> nw.LazyFrame[Any]:
        """Those columns with what the quantiles of money need beside them, for groups by `keys`."""
        for group in self._quantiles(money=True):
            selected = Ranked(self._names[group[0]], self._masked(group[0])).added_to(selected, keys)
        return selected

    def expressions(self, *, quantile_lists: bool) -> dict[str, nw.Expr]:
        """The aggregations of those columns, by name, but for those of `adding`.

        With `quantile_lists` the quantiles of a column are one aggregation, under the name of the first of them, that
        gives a list; `unpacked` takes it apart.
        """
        found = self.amounts()
        for aggregate, name in self._names.items():
            if aggregate.function == "distinct":
                found[name] = self._masked(aggregate).n_unique()
        for group in self._quantiles(money=False):
            value, asked = self._masked(group[0]), [aggregate.quantile for aggregate in group]
            if quantile_lists:
                # Narwhals' types say float; SQL engines take, and it passes on, a list as well.
                found[self._names[group[0]]] = value.quantile(asked, "linear")  # type: ignore[arg-type]
            else:
                for aggregate, quantile in zip(group, asked, strict=True):
                    found[self._names[aggregate]] = value.quantile(quantile, "linear")
        return found

    def amounts(self) -> dict[str, nw.Expr]:
        """Those of the aggregations that are quantiles of money, of columns that `ranked` has added."""
        found: dict[str, nw.Expr] = {}
        for group in self._quantiles(money=True):
            order = Ranked(self._names[group[0]], self._masked(group[0]))
            for aggregate in group:
                found |= order.neighbours(self._names[aggregate], fraction(aggregate.quantile))
        return found

    def adding(self) -> dict[str, nw.Expr]:
        """Those of the aggregations that, of several groups, make that of all their calls: see `added`."""
        return {
            name: expression
            for aggregate, column in self._names.items()
            for name, expression in self._aggregations(aggregate, column)
        }

    def added(self, groups: pl.DataFrame, keys: Iterable[str]) -> pl.DataFrame:
        """Groups by fewer keys, from smaller ones and what `adding` says of them."""
        names, found = list(keys), self.sums()
        return groups.group_by(names).agg(found) if names else groups.select(found)

    @property
    def adding_up(self) -> list[Aggregate]:
        """The aggregates that are among those aggregations; none where numbers of distinct values need further ones."""
        if any(aggregate.function == "distinct" for aggregate in self._names):
            return []
        return [aggregate for aggregate in self._names if aggregate.function != "quantile"]

    def of_finer(self, groups: pl.DataFrame, finer: "Plan", keys: Mapping[str, str]) -> pl.DataFrame:
        """What `adding` says of groups, from smaller ones that another plan aggregated; `keys` are theirs and ours."""
        names = {finer._names[aggregate]: self._names[aggregate] for aggregate in self.adding_up}
        return finer.added(groups, keys).select(pl.col(old).alias(new) for old, new in {**keys, **names}.items())

    def sums(self) -> list[pl.Expr]:
        """What `adding` says of several groups together."""
        found = []
        for aggregate, column in self._names.items():
            for name, _ in self._aggregations(aggregate, column):
                values = pl.col(name)
                if aggregate.function in ("min", "max"):
                    found.append(values.min() if aggregate.function == "min" else values.max())
                else:
                    # Polars counts in integers whose sum can wrap.
                    found.append((values if aggregate.function == "sum" else values.cast(pl.Int64)).sum())
        return found

    def undivided(self) -> tuple[dict[str, nw.Expr], Undivided]:
        """The values behind all other aggregations, by column, and what is asked of them."""
        quantiles = {self._names[group[0]]: group for group in self._quantiles(money=False)}
        distinct = {name: part for part, name in self._names.items() if part.function == "distinct"}
        values = {name: self._masked(group[0]) for name, group in quantiles.items()}
        values |= {name: self._masked(aggregate) for name, aggregate in distinct.items()}
        asked = {name: [aggregate.quantile for aggregate in group] for name, group in quantiles.items()}
        return values, Undivided(asked, list(distinct))

    def ordered(self) -> tuple[dict[str, nw.Expr], list[Picked]]:
        """The values of which ends of intervals are asked for, by column, and what to pick of them in order."""
        values: dict[str, nw.Expr] = {}
        picked: list[Picked] = []
        for of, group in self._bounded().items():
            column = f"{self._names[group[0]]}_values"
            values[column] = self._masked(of)
            picked += (Picked(self._names[one], column, one.quantile, one.bound) for one in group)
        return values, picked

    def unpacked(self, result: pl.DataFrame) -> pl.DataFrame:
        """The engine's result with a column for each aggregate."""
        columns = [
            pl.col(self._names[group[0]]).list.get(position).alias(self._names[aggregate])
            for group in self._quantiles(money=False)
            if isinstance(result.schema[self._names[group[0]]], pl.List)
            for position, aggregate in enumerate(group)
        ]
        return result.with_columns(columns)

    @property
    def columns(self) -> list[str]:
        """The columns of the aggregates."""
        return list(self._names.values())

    def _quantiles(self, *, money: bool) -> list[list[Aggregate]]:
        """The quantiles of money, or of other things, that are asked for: together when they are of the same values.

        Those that are picked of values in order are not among them.
        """
        groups: dict[Aggregate, list[Aggregate]] = {}
        elsewhere = {aggregate for group in self._bounded().values() for aggregate in group}
        for aggregate in self._names:
            is_asked = aggregate.function == "quantile" and aggregate not in elsewhere
            if is_asked and (self._dtype(aggregate) == MONEY) is money:
                groups.setdefault(_values_of(aggregate), []).append(aggregate)
        return list(groups.values())

    def _bounded(self) -> dict[Aggregate, list[Aggregate]]:
        """The ends of intervals, by the values that they are of, with the quantiles of these if they are no money."""
        ends = {_values_of(aggregate): list[Aggregate]() for aggregate in self._names if aggregate.bound is not None}
        for aggregate in self._names:
            is_picked = aggregate.bound is not None or self._dtype(aggregate) != MONEY
            if aggregate.function == "quantile" and is_picked and _values_of(aggregate) in ends:
                ends[_values_of(aggregate)].append(aggregate)
        return ends

    def value(self, aggregate: Aggregate, result: pl.DataFrame) -> pl.Series:
        """An aggregate in the engine's result, one value per row, with the type it has whatever the engine."""
        found = result[self._names[aggregate]]
        match aggregate.function:
            case "count":
                return found.fill_null(0).cast(pl.Int64)
            case "distinct":
                # Engines count the nulls as one more value where there are any.
                present, calls = result[f"{found.name}_present"], result[f"{found.name}_calls"]
                return found.fill_null(0).cast(pl.Int64) - (present < calls).cast(pl.Int64)
            case "quantile":
                return self._quantile(aggregate, result)
        exact = self._dtype(aggregate)
        return found if exact is None else self._known(aggregate, found.cast(exact), result)

    def _quantile(self, aggregate: Aggregate, result: pl.DataFrame) -> pl.Series:
        exact, name = fraction(aggregate.quantile), self._names[aggregate]
        if aggregate.bound is not None:
            return result[name].cast(MONEY if self._dtype(aggregate) == MONEY else pl.Float64)
        if self._dtype(aggregate) == MONEY:
            return Ranked.value(name, exact, result)
        # Between whole numbers a whole percentile is a multiple of 0.01, whatever an engine's last bit says.
        percentile, digits = result[name].cast(pl.Float64), places(exact)
        return percentile if digits is None or self._dtype(aggregate) != pl.Int64 else percentile.round(digits)

    def _known(self, aggregate: Aggregate, total: pl.Series, result: pl.DataFrame) -> pl.Series:
        """A sum where it is known: null when no call has a value, or 0 where that is the answer."""
        counts = [self.value(count, result) for count in _counts_for(aggregate)]
        if not counts:
            return total
        unknown = counts[0] == 0
        if aggregate.zero_of_nothing:
            unknown &= counts[1] > 0
        return total.fill_null(0).set(unknown, None)

    def _dtype(self, aggregate: Aggregate) -> pl.DataType | None:
        """What its values are counted in; None for a type that is left as it is."""
        if isinstance(aggregate.value, Quotient):
            return pl.Float64()
        dtype = self._schema[aggregate.value] if aggregate.value else nw.Int64()
        if isinstance(dtype, nw.Decimal):
            return MONEY
        return pl.Float64() if dtype.is_float() else pl.Int64() if dtype.is_integer() else None

    def _aggregations(self, aggregate: Aggregate, name: str) -> Iterator[tuple[str, nw.Expr]]:
        """The aggregations that add up, by column; for distinct values those that tell whether null is one of them."""
        value = self._masked(aggregate)
        match aggregate.function:
            case "count":
                if WEIGHT in self._schema:
                    yield name, nw.when(~value.is_null()).then(nw.col(WEIGHT)).sum()
                else:
                    yield name, value.count() if aggregate.value or aggregate.where else nw.len()
            case "sum":
                yield name, value.sum()
            case "min":
                yield name, value.min()
            case "max":
                yield name, value.max()
            case "distinct":
                yield f"{name}_present", value.count()
                yield f"{name}_calls", nw.len()

    def amount(self, aggregate: Aggregate) -> nw.Expr:
        """What a call adds to a count or a sum, of the columns of `values`; null where it takes no part."""
        value = self._masked(aggregate)
        return value if aggregate.function == "sum" else nw.when(~value.is_null()).then(nw.lit(1))

    def _masked(self, aggregate: Aggregate) -> nw.Expr:
        """The value of a call that takes part in the aggregate, null for the others."""
        of = aggregate.value
        value = nw.lit(1) if of is None else nw.col(_column(of))
        conditions = [_met(condition, nw.col(_column(condition.column))) for condition in aggregate.where]
        if aggregate.function == "distinct" and isinstance(of, str) and self._schema[of] == nw.String:
            conditions.append(value != NIL)
        return nw.when(*conditions).then(value) if conditions else value


def measured(measure: Measure, plan: Plan, result: pl.DataFrame) -> pl.Series:
    """A measure of the calls in the engine's result, one value per row; of a share the measure that it is of."""
    formula = measure.base.formula
    if not isinstance(formula, Ratio):
        (total,) = measure.aggregates
        return plan.value(total, result)
    numerator, denominator = plan.value(formula.numerator, result), plan.value(formula.denominator, result)
    if measure.base.kind == "money":
        return quotients(numerator, denominator, formula.scale)
    if formula.bound is not None:
        return _ends_of_rates(numerator, denominator, formula.bound)
    quotient = numerator.cast(pl.Float64) / denominator.cast(pl.Float64) * formula.scale
    return quotient.set(denominator == 0, None)


def _ends_of_rates(numerator: pl.Series, denominator: pl.Series, bound: Bound) -> pl.Series:
    """One end of the interval of each rate; null of no calls, and where more meet it than there are, which is none."""
    ends = [
        wilson(meeting, calls, bound.level)[bound.is_upper] if meeting <= calls else None
        for meeting, calls in zip(numerator, denominator, strict=True)
    ]
    return pl.Series(ends, dtype=pl.Float64)


def readable(column: str, calls: LazyCalls) -> nw.Expr:
    """A column in the type that it is counted in: integers as Int64, since the sum of smaller ones can wrap.

    Raises:
        UsageError: prices that are not exact.
    """
    dtype = calls.schema[column]
    exact = isinstance(dtype, nw.Decimal) and dtype.scale <= MONEY.scale
    if not exact and (column == "total_price" or isinstance(dtype, nw.Decimal)):
        raise UsageError(f"column {column!r} is {dtype}; money must be a Decimal of at most 10 places")
    expression = calls.column(column)
    return expression.cast(nw.Int64) if dtype.is_integer() and dtype != nw.Int64 else expression


def key(category: Dimension, calls: LazyCalls) -> nw.Expr:
    """What calls are grouped by for a dimension that is no time: its values as text."""
    if category.cases:
        return _case(category, calls)
    if category.expression is not None:
        return category.expression.cast(nw.String)
    (name,) = category.needs
    value = _stated(name, calls)
    return value if name == "currency" or calls.schema[name] == nw.String else value.cast(nw.String)


def _case(category: Dimension, calls: LazyCalls) -> nw.Expr:
    """The value of the first case that a call meets."""
    value = nw.lit(category.otherwise, nw.String)
    for name, conditions in reversed(category.choices):
        met = (_met(condition, _stated(condition.column, calls)) for condition in conditions)
        value = nw.when(*met).then(nw.lit(name)).otherwise(value)
    return value


def _stated(column: str, calls: LazyCalls) -> nw.Expr:
    return currency_of(calls.schema) if column == "currency" else calls.column(column)


def _column(value: str | Quotient) -> str:
    """What a value is called between the calls and their groups."""
    return bare(value) if isinstance(value, str) else f"({value.name})"  # apart from a column of that name


def _quotient(quotient: Quotient, calls: LazyCalls) -> nw.Expr:
    above, below = calls.column(quotient.numerator), calls.column(quotient.denominator)
    if quotient.numerator_less is not None:
        above = above - calls.column(quotient.numerator_less)
    if quotient.denominator_less:
        below = below - quotient.denominator_less
    divisor = below.cast(nw.Float64) / float(quotient.scale) if quotient.scale != 1 else below.cast(nw.Float64)
    conditions = (_met(condition, calls.column(condition.column)) for condition in quotient.where)
    computed = nw.when(*conditions).then(above.cast(nw.Float64) / divisor)
    return computed if quotient.recorded is None else nw.coalesce(calls.column(quotient.recorded), computed)


def _met(condition: Condition, column: nw.Expr) -> nw.Expr:
    """Whether a call meets a condition on a column."""
    return _COMPARED[condition.operator](column, condition.value)


def _values_of(quantile: Aggregate) -> Aggregate:
    """What all quantiles of the same values have in common."""
    return replace(quantile, quantile=0.0, bound=None)


def _counts_for(aggregate: Aggregate) -> Iterator[Aggregate]:
    """The counts that tell whether a sum is known, and where it is 0 of nothing."""
    if aggregate.function != "sum":
        return
    implied = any(condition.column == aggregate.value and condition.implies_value for condition in aggregate.where)
    yield Aggregate("count", None if implied else aggregate.value, aggregate.where)
    if aggregate.zero_of_nothing:
        yield Aggregate("count", None, aggregate.where)
