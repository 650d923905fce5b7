"""Calls at other prices beside those that they had: what would have been paid less, or more.

Compared are calls of which both prices are known, in one currency; for all others nobody knows what they would have
cost less, and they are counted by why:

- `unpriced_other`: there is no other price, be it that the book has none or that the tokens are unknown;
- `unpriced_recorded`: there is one, but none was recorded;
- `two_currencies`: both are there, in different currencies, which nobody subtracts.

Where some calls are at the price of another model (`what_if`), the answer is about those; what the others cost is a
remark, so that nobody takes the difference for that of the whole bill.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import duckdb
import polars as pl

from mofa_usage import wording
from mofa_usage.analysis import Breakdown, By, PeriodOptions, breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, MEASURES, Dimension
from mofa_usage.reading.columns import quoted
from mofa_usage.zones import Moment

__all__ = ["PRICED_AS", "AgainstOptions", "against_recorded"]

PRICED_AS = Dimension("priced_as", "Priced as", "category", "The model at whose price a call is.")
"""The dimension of the other models."""

_MEASURES = (
    *(ANSWERS[name] for name in ("recorded_cost", "other_cost", "other_change", "other_change_rate")),
    MEASURES["calls"],
    *(ANSWERS[name] for name in ("compared_calls", "unpriced_other", "unpriced_recorded", "two_currencies")),
)
"""The columns of the answer."""

_OWN = ("total_price", "currency", "compared_recorded", "compared_other", "lacks_other", "lacks_recorded", "differ")
"""Columns that are computed here; those of the calls that are called so are not looked at."""

_PRICES = """
    SELECT *, other_price IS NOT NULL AND before_price IS NOT NULL AS has_both,
        coalesce(other_currency, 'USD') = coalesce(before_currency, 'USD') AS is_alike
    FROM (SELECT {kept}, CAST(total_price AS DECIMAL(38, 10)) AS other_price, {currency} AS other_currency,
            CAST({before} AS DECIMAL(38, 10)) AS before_price, {before_currency} AS before_currency
        FROM "calls with two prices" WHERE {which}) AS calls
"""

_COMPARED = """
    SELECT * EXCLUDE (other_price, other_currency, before_price, before_currency, has_both, is_alike),
        CASE WHEN has_both AND is_alike THEN other_price - before_price END AS total_price,
        CASE WHEN has_both AND is_alike THEN coalesce(other_currency, 'USD') END AS currency,
        CASE WHEN has_both AND is_alike THEN before_price END AS compared_recorded,
        CASE WHEN has_both AND is_alike THEN other_price END AS compared_other,
        CASE WHEN other_price IS NULL THEN 1 END AS lacks_other,
        CASE WHEN other_price IS NOT NULL AND before_price IS NULL THEN 1 END AS lacks_recorded,
        CASE WHEN has_both AND NOT is_alike THEN 1 END AS differ
    FROM ({prices}) AS calls
"""


class AgainstOptions(PeriodOptions, total=False):
    """As `against_recorded` takes them: the period, and how many values of the first category to keep."""

    top: int | None


def against_recorded(
    calls: duckdb.DuckDBPyRelation,
    by: By | None = None,
    *,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
    top: int | None = None,
) -> Breakdown:
    """What calls would have cost at other prices beside what they had cost, as far as both are known.

    Args:
        calls: a relation of calls with other money: of `what_if`, or of `with_prices(recompute=True)`. Where there is a
            column `priced_as`, only those are looked at that are at the price of another model.
        by: dimensions as `mofa_usage.analysis.breakdown` takes them; unless told by model, and by the model at whose
            price it is.
        tz: IANA time zone of time buckets, and of a `start` or `end` that names none.
        start, end: only calls created in [start, end).
        top: keep so many values of the first category in `by`, those with the highest recorded cost; the rest is
            "other".

    Returns:
        A row for each combination of the dimensions, the highest recorded cost first (by time where there is one):
        `recorded_cost`, `other_cost`, `other_change` (other - recorded; money, exact), `other_change_rate` (of the
        recorded; -0.25 is a quarter less, null of nothing), `calls`, `compared_calls`, and of those that cannot be
        compared `unpriced_other`, `unpriced_recorded`, `two_currencies`. Money is that of the compared calls alone.
        Order, types, `currency`, several currencies and `is_other` are those of `breakdown`.

    Raises:
        UsageError: the calls have no other money beside the recorded one; as `breakdown`.
    """
    has = calls.columns
    if not {"recorded_price", "total_price"}.issubset(has):
        raise UsageError(
            "these calls have no price beside the recorded one (no column recorded_price); "
            'ask usage.what_if({"gpt-4o": "gpt-4o-mini"}).against_recorded()'
        )
    is_elsewhere = "priced_as" in has
    if by is None:
        by = [*(["model_name"] if "model_name" in has else []), *([PRICED_AS] if is_elsewhere else [])]
    compared: Any = calls.query(
        "calls with two prices", _statement(has, "priced_as IS NOT NULL" if is_elsewhere else "true")
    )
    answer = breakdown(compared, by, _MEASURES, tz=tz, start=start, end=end, top=top)
    rest = calls.filter("priced_as IS NULL") if is_elsewhere else calls.limit(0)
    left = breakdown(rest, "currency", ("cost", "calls"), tz=tz, start=start, end=end)
    roles = replace(answer.roles, question="against_recorded", remarks=_remarks(left))
    return Breakdown.of(pl.DataFrame(answer), roles)


def _statement(has: Collection[str], which: str) -> str:
    """The calls with what is compared of them, as SQL over `calls with two prices`."""
    currency = "currency" if "currency" in has else "CAST(NULL AS VARCHAR)"
    price, before = "recorded_price", "recorded_currency" if "recorded_currency" in has else currency
    if "compared_price" in has:  # converted together with a price, and of use beside that one
        is_converted = f"compared_currency = coalesce({currency}, 'USD')"
        price, before = (
            f"CASE WHEN {is_converted} THEN compared_{name} ELSE {sql} END"
            for name, sql in (("price", price), ("currency", before))
        )
    prices = _PRICES.format(
        kept=", ".join(quoted(name) for name in has if name not in _OWN),
        currency=currency,
        before=price,
        before_currency=before,
        which=which,
    )
    return _COMPARED.format(prices=prices)


def _remarks(left: Breakdown) -> tuple[str, ...]:
    """What the calls cost that stay as they are."""
    number = int(left["calls"].sum())
    if not number:
        return ()
    amounts = [
        wording.money(amount, code) for code, amount in left.select("currency", "cost").iter_rows() if code is not None
    ]
    cost = f" ({' and '.join(amounts)})" if amounts else ""
    verb, other = ("stays as it is", "call") if number == 1 else ("stay as they are", "calls")
    return (f"the {wording.count(number)} other {other} {verb}{cost}",)
