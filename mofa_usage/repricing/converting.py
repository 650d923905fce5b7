"""Calls in one currency: prices converted at the rate of the call's day.

A rate says what one unit of another currency is worth in the wanted one. It counts from its day until the next: of a
day without a rate (a weekend, a holiday) the last one before counts, and `rate_day` says which that was. A price
without a rate becomes unknown, which is not 0; what it was stands beside it.

Where calls have other prices than the recorded ones (`what_if`), both are converted, so that they can be compared.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import quoted
from mofa_usage.reading.exact import ten_places
from mofa_usage.reading.open import frame_of_arrow
from mofa_usage.repricing.steps import asked, before, compared_before, with_columns
from mofa_usage.values import Currency

require("duckdb", extra="analysis")
import duckdb  # noqa: E402

__all__ = ["Converted", "conversions"]

_PRICES = ("total_price", "input_price", "output_price")
_DIGITS = 18  # of a rate
_SPARE_DAYS = 366  # for which the last rate counts beyond the last call: there may be more calls tomorrow
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Converted:
    """The step that converts prices.

    Attributes:
        currency: the wanted one.
        tz: the zone in which the days of calls are counted.
        rates: JSON of a table of rates, with the days that each of them counts for.
        places: how many decimal places the rates have.
    """

    currency: str
    tz: str
    rates: str
    places: int

    def columns(self, has: Collection[str]) -> tuple[str, ...]:
        """See `Step`."""
        prices = [name for name in _PRICES if name in has]
        return (*prices, "currency", *before(has), "converted_from", "rate_day", *compared_before(has))

    def apply(self, calls: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        """See `Step`."""
        has = calls.columns
        worth, day = quoted("rate: worth"), quoted("rate: day")
        is_other = f"total_price IS NOT NULL AND currency <> '{self.currency}'"
        is_same = f"total_price IS NOT NULL AND currency = '{self.currency}'"
        columns = {
            **{name: self._converted(name, is_same, worth) for name in _PRICES if name in has},
            "currency": f"CASE WHEN {is_same} OR {is_other} AND {worth} IS NOT NULL THEN '{self.currency}' END",
            **before(has),
            "converted_from": f"CASE WHEN {is_other} AND {worth} IS NOT NULL THEN currency END",
            "rate_day": f"CASE WHEN {is_other} THEN DATE '1970-01-01' + {day} END",
        }
        rates = self._rates()
        added, joins = f"r.worth AS {worth}, r.rate_day AS {day}", self._joined(rates, "r", "currency")
        if compared := compared_before(has):
            price, currency = compared.values()
            worth_then = quoted("rate: worth of what was recorded")
            converted = self._converted(price, f"{currency} = '{self.currency}'", worth_then)
            columns |= {
                "compared_price": converted,
                "compared_currency": f"CASE WHEN {converted} IS NOT NULL THEN '{self.currency}' END",
            }
            added, joins = f"{added}, b.worth AS {worth_then}", f"{joins} {self._joined(rates, 'b', currency)}"
        selected = with_columns(has, columns)
        return asked(
            calls,
            lambda these: f"SELECT {selected} FROM (SELECT c.*, {added} FROM {these} AS c {joins})",  # noqa: S608
        )

    def _joined(self, rates: str, name: str, currency: str) -> str:
        """The rates of a currency of each call on its day, joined to the calls."""
        call_day = f"CAST(create_time AT TIME ZONE '{self.tz}' AS DATE) - DATE '1970-01-01'"
        return f"LEFT JOIN {rates} AS {name} ON c.{currency} = {name}.currency AND {call_day} = {name}.day"

    def _converted(self, price: str, is_same: str, worth: str) -> str:
        return f"CASE WHEN {is_same} THEN {price} ELSE {self._product(price, worth)} END"

    def _product(self, price: str, worth: str) -> str:
        """A price times a rate, rounded half to even at ten places."""
        product = f"(CAST({price} AS DECIMAL(20,10)) * {worth})"
        return ten_places(product, f"DECIMAL(38,{10 + self.places})")

    def _rates(self) -> str:
        """SQL of a table with a rate for each day."""
        types = f'[{{"currency":"VARCHAR","days":"INTEGER[]","worth":"DECIMAL({_DIGITS},{self.places})"}}]'
        rows = f"SELECT unnest(from_json('{self.rates}', '{types}'), recursive := true)"
        days = "unnest(range(days[1], days[2] + 1))"
        return f"(SELECT currency, worth, days[1] AS rate_day, CAST({days} AS INTEGER) AS day FROM ({rows}))"  # noqa: S608


def conversions(calls: duckdb.DuckDBPyRelation, currency: str, rates: Any, *, tz: str = "UTC") -> Converted:
    """The step that converts the prices of these calls.

    Args:
        calls: whose currencies and days decide which rates are kept.
        currency: the wanted one, an ISO 4217 code.
        rates: a frame with `date`, `currency`, and `rate`: what one unit of it is worth in the wanted currency, a
            number above 0 (of the European Central Bank's, 1 / rate). Rates of other currencies are left alone.
        tz: the zone in which the days of the calls are counted.

    Raises:
        UsageError: `currency` is no code, the rates lack a column, one is no day or no number above 0, a currency has
            two rates of one day; a column that prices need is missing.
    """
    wanted = _code(currency, "currency")
    has = set(calls.columns)
    for name in ("total_price", "currency", "create_time"):
        if name not in has:
            raise UsageError(f"prices are converted with the column {name}, which was not loaded")
    found = asked(calls, lambda these: _last_days(these, has, tz)).fetchall()
    latest = {code: last for code, last in found if code not in (None, wanted) and last is not None}
    by_currency: dict[str, dict[date, Decimal]] = {}
    for at, code, rate in _rows(rates):
        if code in latest and by_currency.setdefault(code, {}).setdefault(at, rate) != rate:
            raise UsageError(f"rates has two rates of {code} on {at}")
    highest = max((rate for one in by_currency.values() for rate in one.values()), default=Decimal(1))
    places = _DIGITS - max(1, highest.adjusted() + 1)
    if places < 0:
        raise UsageError(f"rates has a rate of {highest}, which is too high")
    rows = [row for code, one in sorted(by_currency.items()) for row in _periods(code, one, latest[code], places)]
    return Converted(wanted, tz, json.dumps(rows, separators=(",", ":")), places)


def _last_days(calls: str, has: Collection[str], tz: str) -> str:
    """A query for the currencies that there are amounts in, each with the last day of these calls."""
    amounts = [("total_price", "currency")]
    if compared := compared_before(has):
        amounts.append((compared["compared_price"], compared["compared_currency"]))
    each = (
        f"SELECT {currency} AS code, max(create_time) AS last FROM {calls} WHERE {price} IS NOT NULL GROUP BY 1"  # noqa: S608
        for price, currency in amounts
    )
    return f"SELECT code, CAST(max(last) AT TIME ZONE '{tz}' AS DATE) FROM ({' UNION ALL '.join(each)}) GROUP BY 1"  # noqa: S608


def _periods(code: str, rates: Mapping[date, Decimal], latest: date, places: int) -> Iterator[dict[str, Any]]:
    """The rates of a currency, each with its day and the last day that it counts for."""
    days = sorted(rates)
    ends = [*(day - timedelta(days=1) for day in days[1:]), max(days[-1], latest) + timedelta(days=_SPARE_DAYS)]
    for day, end in zip(days, ends, strict=True):
        worth = rates[day].quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
        yield {"currency": code, "days": [(day - _EPOCH).days, (end - _EPOCH).days], "worth": f"{worth:f}"}


def _rows(rates: Any) -> Iterator[tuple[date, str, Decimal]]:
    """The rows of a frame of rates, checked."""
    if isinstance(rates, pl.LazyFrame):
        rates = rates.collect()
    if not isinstance(rates, pl.DataFrame):
        if not hasattr(rates, "__arrow_c_stream__"):
            raise UsageError(f"rates is a {type(rates).__name__}; give a frame with the columns date, currency, rate")
        rates = frame_of_arrow(rates)
    for name in ("date", "currency", "rate"):
        if name not in rates.columns:
            raise UsageError(
                f"rates has no column {name}; it needs date, currency and rate, and has {', '.join(rates.columns)}"
            )
    for at, code, rate in rates.select("date", "currency", "rate").iter_rows():
        yield _day(at), _code(code, "rates: currency"), _rate(rate)


def _day(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    try:
        return value if isinstance(value, date) else date.fromisoformat(value)
    except (TypeError, ValueError):
        raise UsageError(f"rates: date is {value!r:.40}, which is no day; write it as 2026-05-31") from None


def _code(value: Any, what: str) -> str:
    try:
        return str(TypeAdapter(Currency).validate_python(value))
    except ValidationError:
        raise UsageError(f"{what} is {value!r:.40}, which is no ISO 4217 code, such as EUR") from None


def _rate(value: Any) -> Decimal:
    try:
        rate = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        rate = Decimal(0)
    if isinstance(value, bool) or not rate.is_finite() or rate <= 0:
        raise UsageError(f"rates: rate is {value!r:.40}, which is no number above 0")
    return rate
