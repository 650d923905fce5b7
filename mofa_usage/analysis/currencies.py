"""Money in several currencies: which ones there are, and a measure of each of them apart.

An amount in a currency is of the calls that are priced in it, and of those without a price, which might be: so that it
does not depend on what else was paid in another one, and is unknown where only unpriced calls could have made it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import narwhals as nw
import polars as pl

from mofa_usage.analysis.engine import WEIGHT, LazyCalls, collect
from mofa_usage.measures import Aggregate, Condition, Measure, Ratio
from mofa_usage.values import DEFAULT_CURRENCY

__all__ = ["HIGHEST", "LOWEST", "PRICED", "all_used", "currency_of", "in_currency", "lone", "most_used"]

LOWEST, HIGHEST = Aggregate("min", "currency"), Aggregate("max", "currency")
"""The first and last currency of a group by the alphabet: the same one where there are not several."""

PRICED = Aggregate("count", "total_price")
"""The calls with a price: those in a currency, where there is only one."""


def currency_of(schema: Mapping[str, Any]) -> nw.Expr:
    """The currency of a call: none without a price, USD for a priced one that does not say."""
    stated = nw.col("currency") if schema["currency"] == nw.String else nw.col("currency").cast(nw.String)
    if "total_price" not in schema:
        return stated
    return nw.when(~nw.col("total_price").is_null()).then(nw.coalesce(stated, nw.lit(DEFAULT_CURRENCY)))


def most_used(calls: LazyCalls, lowest: pl.Series, highest: pl.Series) -> tuple[str, ...]:
    """The currencies of the calls, the one with most priced calls first, from those at the ends of each group."""
    ends = sorted({*lowest.drop_nulls(), *highest.drop_nulls()})
    return tuple(ends) if len(ends) < 2 else all_used(calls)


def all_used(calls: LazyCalls) -> tuple[str, ...]:
    """The same, by looking at all calls."""
    ordered = _counted(calls).sort("calls", "currency", descending=[True, False])
    return tuple(ordered["currency"])


def lone(calls: LazyCalls) -> str | None:
    """The currency of all priced calls, of which there may be none; None where there are several, or no price at all.

    Where all calls say one currency, or nothing, which means the default, the prices are not read for it.
    """
    complete = calls.with_absent(["currency"])
    if "total_price" in complete.schema:
        stated = complete.frame.select(nw.col("currency").cast(nw.String))
        said = collect(stated.group_by("currency").agg(calls=nw.len()))["currency"]
        codes: set[str] = set(said.fill_null(DEFAULT_CURRENCY))
        if len(codes) == 1:
            return codes.pop()
    found = _counted(complete)["currency"]
    return found.item() if len(found) == 1 else None


def _counted(calls: LazyCalls) -> pl.DataFrame:
    """How many calls are priced in each currency that any is priced in."""
    number, stated = nw.col(WEIGHT) if WEIGHT in calls.schema else nw.lit(1), nw.col("currency").cast(nw.String)
    said = "total_price" if "total_price" in calls.schema else "currency"
    # By what the calls say: DuckDB groups texts that are as they were stored in a third of the time.
    chosen = calls.frame.select(currency=stated, calls=nw.when(~nw.col(said).is_null()).then(number))
    found = collect(chosen.group_by("currency").agg(nw.col("calls").sum()))
    found = found.with_columns(pl.col("currency").fill_null(DEFAULT_CURRENCY), pl.col("calls").cast(pl.Int64))
    return found.group_by("currency").agg(pl.col("calls").sum()).filter(pl.col("calls") > 0)


def in_currency(measure: Measure, currency: str) -> Measure:
    """A measure of money, of the calls in one currency and those without a price."""
    apart = Condition("currency", "== or unknown", currency)
    formula, parts = measure.formula, [replace(part, where=(*part.where, apart)) for part in measure.aggregates]
    if isinstance(formula, Ratio):
        return replace(measure, formula=replace(formula, numerator=parts[0], denominator=parts[1]))
    return replace(measure, formula=parts[0])
