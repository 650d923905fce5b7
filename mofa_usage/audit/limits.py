"""Limits that must not be passed: budgets of a calendar period, and most or least values of any measure.

A limit is kept, passed, or nothing can be said, because the data for it are missing: no call has a price, or a latency,
or there are no calls. What cannot be said is not kept.

A budget is of the calendar month (or day, week, year) on the clock of the zone in which the period of the calls ends,
which is now unless they end earlier; of it those calls count that were made before. It is in one currency, and amounts
in others do not count. Its calls may be priced in part: where the others, at the same price each, would pass the budget
that the priced ones keep, nothing can be said, and neither where all priced ones are in another currency. Calls that
did not succeed and have no price count as free there.

>>> budget("500 EUR/month"), budget("$20/day")
(Budget(amount=Decimal('500'), per='month', currency='EUR'), Budget(amount=Decimal('20'), per='day', currency='USD'))
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal, TypeAlias, get_args
from zoneinfo import ZoneInfo

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis import Breakdown, Native, breakdown
from mofa_usage.analysis.engine import open_calls
from mofa_usage.errors import UsageError
from mofa_usage.measures import (
    ANSWERS,
    Aggregate,
    Condition,
    Dimension,
    Measure,
    MeasureColumn,
    Roles,
    measure,
    money_columns,
)
from mofa_usage.zones import Moment, instant, present_and_end, zone

__all__ = ["Budget", "Limit", "begin", "budget", "check"]

Per: TypeAlias = Literal["day", "week", "month", "year"]

_PLACES = Decimal("1e-10")
_SUCCEEDED, _UNPRICED = Condition("status", "==", "success"), Condition("total_price", "unknown")
_LACKING = Measure("lacking", formula=Aggregate("count", where=(_SUCCEEDED, _UNPRICED)))
_BUDGET = re.compile(
    r"\s*(?:(?P<dollar>\$)|(?P<before>[A-Za-z]{3})\s+)?(?P<amount>[\d_,]*\.?\d+)\s*(?P<after>[A-Za-z]{3})?\s*"
    r"/\s*(?P<per>[a-z]+)\s*"
)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent in a calendar period."""

    amount: Decimal
    per: Per
    currency: str = "USD"

    @property
    def name(self) -> str:
        """What the limit is called."""
        return f"budget_per_{self.per}"


@dataclass(frozen=True, slots=True)
class Limit:
    """What a measure may be at most, or at least: `Limit("latency_p95", 10_000)`.

    `measure` is a name that `mofa_usage.measures.measure` knows, or `error_rate` (1 - success_rate) or `unpriced`
    (1 - coverage). Rates are fractions, durations milliseconds. Money is in `currency`.

    Raises:
        UsageError: there is no such measure.
    """

    measure: str
    most: Decimal | float
    at_least: bool = False
    currency: str = "USD"

    def __post_init__(self) -> None:
        _measured(self.measure)


_COMPLEMENTS = {"error_rate": "success_rate", "unpriced": "coverage"}


def _measured(name: str) -> Measure:
    return measure(_COMPLEMENTS.get(name, name))


def budget(text: str) -> Budget:
    """A budget as people write it: `500/month`, `20/day`, `500 EUR/month`, `$500/month`; in USD unless it says another.

    Raises:
        UsageError: it is none.
    """
    found = _BUDGET.fullmatch(text)
    if found is None or found["per"] not in get_args(Per) or (found["after"] and (found["before"] or found["dollar"])):
        raise UsageError(f"{text!r} is no budget; write 500/month, 20/day or '500 EUR/month' (day, week, month, year)")
    amount = Decimal(found["amount"].replace(",", "").replace("_", ""))
    per: Any = found["per"]
    return Budget(amount, per, (found["before"] or found["after"] or "USD").upper())


def begin(per: Per, at: datetime, tz: ZoneInfo) -> datetime:
    """When the calendar period began that the last instant before `at` is in."""
    day = (at - timedelta(microseconds=1)).astimezone(tz).date()
    return instant(_first(per, day), tz, per)


def _first(per: Per, day: date) -> date:
    starts = {"day": day, "week": day - timedelta(days=day.weekday())}
    return starts.get(per) or (day.replace(day=1) if per == "month" else day.replace(month=1, day=1))


def _end(per: Per, at: datetime, tz: ZoneInfo) -> datetime:
    first = begin(per, at, tz).astimezone(tz).date()
    following = {"day": 1, "week": 7, "month": 31, "year": 366}[per]
    return instant(_first(per, first + timedelta(days=following)), tz, per)


def check(
    calls: Native,
    limits: Sequence[Budget | Limit],
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    now: Moment | None = None,
    tz: str = "UTC",
) -> Breakdown:
    """Whether limits are kept.

    Args:
        calls: the calls, also those before `start` that budgets count.
        limits: budgets, and limits of measures; those are of the calls in [start, end), budgets of their own periods.
        start: the measures are of the calls made from then on; by default of all.
        end: only calls made before it count; by default and at most `now`.
        now: what counts as now; by default the clock says it.
        tz: IANA time zone of calendar periods and of times that name none.

    Returns:
        A row for each limit in the order given: `limit` (its name), `value`, `at` ("most" or "least"), `limit_set`,
        `unit` (a currency, "ms", "share" or what is counted), `ok` (null where nothing can be said), `sentence`.
        Values are Decimal(38, 10).

    Raises:
        UsageError: no limits, something that is none, or a column that a limit needs is missing.
    """
    clock = zone(tz)
    _, until = present_and_end(now, end, clock)
    if not limits:
        raise UsageError("no limits were given to check")
    if others := [repr(one)[:40] for one in limits if not isinstance(one, Budget | Limit)]:
        raise UsageError(f"{others[0]} is no limit; give a budget such as '500/month', or Limit('latency_p95', 10_000)")
    asked = dict.fromkeys(_measured(limit.measure) for limit in limits if isinstance(limit, Limit))
    found = breakdown(calls, (), list(asked), tz=tz, start=start, end=until) if asked else Breakdown()
    rows = [
        _spent(calls, limit, until, clock) if isinstance(limit, Budget) else _kept(found, limit) for limit in limits
    ]
    money = pl.Decimal(38, 10)
    words = dict.fromkeys(("limit", "at", "unit", "sentence"), pl.String())
    schema = {**words, "limit_value": money, "limit_set": money, "ok": pl.Boolean()}
    names = ("limit", "limit_value", "at", "limit_set", "unit", "ok", "sentence")
    frame = pl.DataFrame(rows, schema={name: schema[name] for name in names}, orient="row")
    measures = {name: MeasureColumn(ANSWERS[name]) for name in ("limit_value", "limit_set")}
    return Breakdown.of(frame, Roles({"limit": Dimension("limit")}, measures, question="check"))


_Row = tuple[str, Decimal | None, str, Decimal, str, bool | None, str]


def _spent(calls: Native, limit: Budget, until: datetime, clock: ZoneInfo) -> _Row:
    start, end = begin(limit.per, until, clock), _end(limit.per, until, clock)
    open_calls(calls).require(("status",), "a budget")
    found = breakdown(calls, (), ["cost", "priced_calls", _LACKING], tz=clock.key, start=start, end=until)
    amounts = _amounts(found, "cost")
    spent = amounts.get(limit.currency, Decimal(0))
    priced, lacking = int(found["priced_calls"][0]), int(found["lacking"][0])
    scaled = spent * (priced + lacking) / priced if priced else None
    ok: bool | None = spent <= limit.amount
    is_other = bool(amounts) and limit.currency not in amounts
    if ok and (is_other or (lacking and (scaled is None or scaled > limit.amount))):
        ok = None
    others = sorted(amounts.keys() - {limit.currency})
    said = "".join(_spent_words(limit, spent, ok, (priced, lacking), others))
    pace = _pace(limit, spent, (start, until, end)) if ok is not None else ""
    return limit.name, spent, "most", limit.amount, limit.currency, ok, f"{said}{pace}."


def _spent_words(
    limit: Budget, spent: Decimal, ok: bool | None, counts: tuple[int, int], others: Sequence[str]
) -> Iterator[str]:
    amount, most = wording.money(spent, limit.currency), wording.money(limit.amount, limit.currency)
    this = "today" if limit.per == "day" else f"this {limit.per}"
    share = f" ({wording.percent(float(spent / limit.amount))})" if limit.amount else ""
    verdict = {True: "within the budget", False: "over the budget", None: "not known to be within the budget"}[ok]
    yield f"{verdict[0].upper()}{verdict[1:]}: {amount} of {most} are spent {this}{share}"
    priced, lacking = counts
    if lacking:
        yield f", {lacking:,} of {priced + lacking:,} calls have no price"
    if others:
        yield f"; what was spent in {', '.join(others)} does not count"


def _pace(limit: Budget, spent: Decimal, times: tuple[datetime, datetime, datetime]) -> str:
    """What the period comes to if the rest of it is like what is behind."""
    start, until, end = times
    if until >= end or until <= start or not spent:
        return ""
    length, behind = ((moment - start) // timedelta(seconds=1) for moment in (end, until))
    whole = (spent * length / max(1, behind)).quantize(Decimal("0.01"))
    return f"; at this pace the {limit.per} comes to about {wording.money(whole, limit.currency)}"


def _kept(found: Breakdown, limit: Limit) -> _Row:
    value, entry = _value(found, limit), _measured(limit.measure)
    most = Decimal(str(limit.most))
    ok = None if value is None else value >= most if limit.at_least else value <= most
    kind = entry.kind
    unit = {"money": limit.currency, "rate": "share"}.get(kind) or entry.unit or kind
    title = {"error_rate": "Share of unsuccessful calls", "unpriced": "Share of calls without a price"}
    name = title.get(limit.measure, entry.title)
    bound = f"at {'least' if limit.at_least else 'most'} {wording.value_text(most, kind, limit.currency)}"
    if value is None:
        said = f"{name}: not known, may be {bound}"
    else:
        verdict = "within" if ok else "below" if limit.at_least else "above"
        shown = wording.value_text(value, kind, limit.currency)
        said = f"{name}: {shown}, {verdict} the limit of {bound}"
    rounded = None if value is None else value.quantize(_PLACES, ROUND_HALF_EVEN)
    return limit.measure, rounded, "least" if limit.at_least else "most", most, unit, ok, f"{said}."


def _value(found: Breakdown, limit: Limit) -> Decimal | None:
    """The measure of all calls, exactly where it is money; of money only what is in the currency."""
    entry = _measured(limit.measure)
    value = _amounts(found, entry.name).get(limit.currency) if entry.of_money else found[entry.name][0]
    if value is None:
        return None
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    return 1 - exact if limit.measure in _COMPLEMENTS else exact


def _amounts(row: Breakdown, measure: str) -> dict[str, Decimal]:
    """A measure of money of all calls, by currency."""
    columns = money_columns(measure, row.currencies)
    return {currency: row[column][0] for currency, column in columns.items() if row[column][0] is not None}
