"""Calls at the prices of a book: those that have no price, or all of them."""

from collections.abc import Collection
from dataclasses import dataclass

from mofa_usage.errors import require
from mofa_usage.pricing import PriceBook
from mofa_usage.repricing.charges import own
from mofa_usage.repricing.parts import AsOf, answered_sql, as_of_day, ask_for
from mofa_usage.repricing.quoting import Answers
from mofa_usage.repricing.steps import COMPUTED, ESTIMATE, asked, before, selected, source_before

require("duckdb", extra="analysis")
import duckdb  # noqa: E402

__all__ = ["Priced", "money_columns_of", "priced_columns", "prices"]

_MONEY = ("total_price", "input_price", "output_price", "currency")
_NULLS = {**dict.fromkeys(_MONEY[:3], "CAST(NULL AS DECIMAL(38,10))"), "currency": "CAST(NULL AS VARCHAR)"}
_CONVERTED = ("converted_from", "rate_day")


@dataclass(frozen=True)
class Priced:
    """The step that gives calls the prices of a book.

    Attributes:
        answers: what the book says of them.
        recompute: whether those that have a price get another, or none where the book knows none.
    """

    answers: Answers
    recompute: bool

    def columns(self, has: Collection[str]) -> tuple[str, ...]:
        """See `Step`."""
        own = [name for name in ("priced_as",) if name in has]
        return (*money_columns_of(has), *own, *(before(has) if self.recompute else ()))

    def apply(self, calls: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """See `Step`."""
        has = calls.columns
        is_new = "true" if self.recompute or "total_price" not in has else "total_price IS NULL"
        columns = priced_columns(has, is_new) | (before(has) if self.recompute else {})
        if "priced_as" in has:  # what gets a price here gets that of its own model
            columns["priced_as"] = f"CASE WHEN NOT ({is_new}) THEN priced_as END"
        return asked(calls, lambda these: selected(answered_sql(these, has, self.answers), has, columns))


def money_columns_of(has: Collection[str]) -> tuple[str, ...]:
    """The columns that a price of the book replaces or adds: the price, what it is, and how it was converted."""
    return (*_MONEY, "price_source", *(name for name in _CONVERTED if name in has))


def priced_columns(has: Collection[str], is_new: str) -> dict[str, str]:
    """The columns of money of calls with those of `charged`; those that are new have the price of the book."""
    kept = {name: name if name in has else null for name, null in _NULLS.items()}
    prompt = " + ".join(own(f"part_{part}") for part in ("input", "cached", "cache_write"))
    new = {
        "total_price": own("part_total"),
        "input_price": f"CAST({prompt} AS DECIMAL(38,10))",
        "output_price": own("part_output"),
        "currency": own("price_currency"),
    }
    is_exact = own("price_is_exact")
    source = f"CASE WHEN {is_exact} THEN '{COMPUTED}' WHEN NOT {is_exact} THEN '{ESTIMATE}' END"
    columns = {name: f"CASE WHEN {is_new} THEN {sql} ELSE {kept[name]} END" for name, sql in new.items()}
    columns |= {name: f"CASE WHEN NOT ({is_new}) THEN {name} END" for name in _CONVERTED if name in has}
    return {**columns, "price_source": f"CASE WHEN {is_new} THEN {source} ELSE {source_before(has)} END"}


def prices(
    calls: duckdb.DuckDBPyRelation, book: PriceBook | None = None, *, as_of: AsOf = "call", recompute: bool = False
) -> Priced:
    """The step that prices these calls, or some of them.

    Args:
        calls: for which models and days the book is asked; calls that come later and are of others have no price.
        book: which prices, by default the list prices.
        as_of: of the call's day, of now, or of a date.
        recompute: give all calls a price of the book, and keep the recorded one beside it.

    Raises:
        UsageError: a column that prices need is missing, or `as_of` is none of these.
        MissingExtraError: the extra `pricing` is not installed, and no book is given.
    """
    on = as_of_day(as_of)
    which = "true" if recompute or "total_price" not in calls.columns else "total_price IS NULL"
    return Priced(ask_for(calls, book or PriceBook.default(), on, which=which), recompute)
