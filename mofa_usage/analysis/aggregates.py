"""What the engine computes for each group: counts, sums, quantiles, maxima and numbers of distinct values.

A `Plan` collects the aggregates behind the measures that were asked for, so that each is computed once, however
many measures share it. Some bring a count along, because engines disagree about nothing: the sum of no values is 0
on one and null on another, and a null may or may not be a distinct value. `Plan.value` decides by that count, so
the answer is the same everywhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import narwhals as nw
import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.measures import ALWAYS_PRESENT, CONDITION_NEEDS, TOKEN_RATE, Aggregate, Condition, Measure, Ratio
from mofa_usage.reading.columns import MONEY, NIL

__all__ = ["Plan", "readable"]

_CONDITIONS: Mapping[Condition, nw.Expr] = MappingProxyType(
    {
        "succeeded": nw.col("status") == "success",
        "unsuccessful": nw.col("status") != "success",
        "priced": ~nw.col("total_price").is_null(),
        "details": ~nw.col("cached_tokens").is_null(),
        "timed": nw.col("latency_ms") > 0,
        "failed": nw.col("status") == "failed",
        "timeout": nw.col("status") == "timeout",
        "rate_limited": nw.col("status") == "rate_limited",
        "cancelled": nw.col("status") == "cancelled",
    }
)


class Plan:
    """The aggregates that some measures need, each under a column of its own in the engine's result."""

    def __init__(self, measures: Iterable[Measure]) -> None:
        self._names: dict[Aggregate, str] = {}
        for measure in measures:
            formula = measure.formula
            parts = (formula.numerator, formula.denominator) if isinstance(formula, Ratio) else (formula,)
            for part in parts:
                for aggregate in (part, *_counts_for(part)):
                    self._names.setdefault(aggregate, f"a{len(self._names)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the calls frame that the plan reads."""
        return tuple(dict.fromkeys(column for aggregate in self._names for column in aggregate.needs))

    def values(self, schema: Mapping[str, Any]) -> dict[str, nw.Expr]:
        """The columns to select before grouping, by name."""
        selected = {column: readable(column, schema[column]) for column in self.columns}
        if any(aggregate.value == TOKEN_RATE for aggregate in self._names):
            selected[TOKEN_RATE] = _token_rate()
        return selected

    def expressions(self, *, quantile_lists: bool) -> dict[str, nw.Expr]:
        """The aggregations of those columns, by name.

        With `quantile_lists` the quantiles of a column are one aggregation, under the name of the first of them, that
        gives a list; `unpacked` takes it apart.
        """
        found = {
            name: expression
            for aggregate, column in self._names.items()
            if aggregate.function != "quantile"
            for name, expression in _aggregations(aggregate, column)
        }
        for group in self._quantiles():
            value, asked = _masked(group[0]), [aggregate.quantile for aggregate in group]
            if quantile_lists:
                # Narwhals' types say float; SQL engines take, and it passes on, a list as well.
                found[self._names[group[0]]] = value.quantile(asked, "linear")  # type: ignore[arg-type]
            else:
                for aggregate, quantile in zip(group, asked, strict=True):
                    found[self._names[aggregate]] = value.quantile(quantile, "linear")
        return found

    def unpacked(self, result: pl.DataFrame) -> pl.DataFrame:
        """The engine's result with a column for each aggregate."""
        columns = [
            pl.col(self._names[group[0]]).list.get(position).alias(self._names[aggregate])
            for group in self._quantiles()
            if isinstance(result.schema[self._names[group[0]]], pl.List)
            for position, aggregate in enumerate(group)
        ]
        return result.with_columns(columns)

    def _quantiles(self) -> list[list[Aggregate]]:
        """The quantiles that are asked for, together when they are of the same values."""
        groups: dict[Aggregate, list[Aggregate]] = {}
        for aggregate in self._names:
            if aggregate.function == "quantile":
                groups.setdefault(replace(aggregate, quantile=0.0), []).append(aggregate)
        return list(groups.values())

    def value(self, aggregate: Aggregate, result: pl.DataFrame) -> pl.Series:
        """An aggregate in the engine's result, one value per row, with the type it has whatever the engine."""
        found = result[self._names[aggregate]]
        if aggregate.function == "count":
            return found.cast(pl.Int64)
        if aggregate.function == "distinct":
            # Engines count the nulls as one more value where there are any.
            present, calls = result[f"{found.name}_present"], result[f"{found.name}_calls"]
            return found.fill_null(0).cast(pl.Int64) - (present < calls).cast(pl.Int64)
        if aggregate.function == "max":
            return found.cast(_exact(aggregate))
        if aggregate.function == "quantile":
            # Between whole numbers a whole percentile is a multiple of 0.01, whatever an engine's last bit says.
            percentile = found.cast(pl.Float64)
            return percentile if aggregate.value == TOKEN_RATE else percentile.round(2)
        total = found.cast(_exact(aggregate))
        counts = [self.value(count, result) for count in _counts_for(aggregate)]
        if not counts:
            return total
        unknown = counts[0] == 0
        if len(counts) == 2:  # of the calls that meet the conditions there are some, but none has the value
            unknown &= counts[1] > 0
        return total.set(unknown, None)


def readable(column: str, dtype: Any) -> nw.Expr:
    """A column in the type that it is counted in: integers as Int64, since the sum of smaller ones can wrap.

    Raises:
        UsageError: prices that are not exact.
    """
    if column == "total_price" and not (isinstance(dtype, nw.Decimal) and dtype.scale <= MONEY.scale):
        raise UsageError(f"column 'total_price' is {dtype}; money must be a Decimal of at most 10 places")
    expression = nw.col(column)
    return expression.cast(nw.Int64) if dtype.is_integer() and dtype != nw.Int64 else expression


def _exact(aggregate: Aggregate) -> pl.DataType:
    if aggregate.value == "total_price":
        return MONEY
    return pl.Float64() if aggregate.value == TOKEN_RATE else pl.Int64()


def _token_rate() -> nw.Expr:
    completion, latency = nw.col("completion_tokens").cast(nw.Float64), nw.col("latency_ms").cast(nw.Float64)
    derived = nw.when(nw.col("latency_ms") > 0).then(completion / (latency / 1000.0))
    return nw.coalesce(nw.col("tokens_per_second"), derived)


def _counts_for(aggregate: Aggregate) -> Iterator[Aggregate]:
    """The counts that tell whether a sum is 0 or unknown; none when it cannot be unknown."""
    implied = any(CONDITION_NEEDS[condition] == aggregate.value for condition in aggregate.where)
    if aggregate.function == "sum" and aggregate.value not in ALWAYS_PRESENT and not implied:
        yield Aggregate("count", aggregate.value, aggregate.where)
        if aggregate.where:
            yield Aggregate("count", None, aggregate.where)


def _aggregations(aggregate: Aggregate, name: str) -> Iterator[tuple[str, nw.Expr]]:
    value = _masked(aggregate)
    match aggregate.function:
        case "count":
            yield name, value.count() if aggregate.value or aggregate.where else nw.len()
        case "sum":
            yield name, value.sum()
        case "max":
            yield name, value.max()
        case "distinct":
            yield name, value.n_unique()
            yield f"{name}_present", value.count()
            yield f"{name}_calls", nw.len()


def _masked(aggregate: Aggregate) -> nw.Expr:
    """The value of a call that takes part in the aggregate, null for the others."""
    value = nw.lit(1) if aggregate.value is None else nw.col(aggregate.value)
    conditions = [_CONDITIONS[condition] for condition in aggregate.where]
    if aggregate.function == "distinct":
        conditions.append(value != NIL)
    return nw.when(*conditions).then(value) if conditions else value
