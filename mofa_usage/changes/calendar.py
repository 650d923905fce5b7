"""What the calendar alone makes of a change: two periods with other weekdays differ even where nothing changed.

A month with five Sundays has fewer calls of people who work than one with four, and 31 days have more than 30. How many
calls a day of each weekday has is taken from both periods together; what differs between the two then, with such days
in the numbers in which each period has them, is the calendar's doing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from operator import mul

from mofa_usage import wording
from mofa_usage.changes.factors import Number
from mofa_usage.changes.gathering import ByWeekday
from mofa_usage.changes.periods import Per, Periods
from mofa_usage.changes.table import as_money, units

__all__ = ["calendar_calls", "weekday_remark"]

_FEW = 4
"""So many more or fewer days are listed; of more, lengths say enough."""


def calendar_calls(found: ByWeekday, periods: Periods, per: Per | None) -> dict[str, Fraction]:
    """By currency, how many calls more the period after has (or has per day) because of its weekdays alone."""
    calls: dict[str, list[int]] = defaultdict(lambda: [0] * 7)
    for is_before, is_after, weekday, currency, number in found:
        calls[currency][weekday] += number * (is_before + is_after)
    before, after = (
        [count * weight for count, weight in zip(period.weekdays, weights, strict=True)]
        for period, weights in zip((periods.before, periods.after), periods.weights(per), strict=True)
    )
    days = list(map(sum, zip(periods.before.weekdays, periods.after.weekdays, strict=True)))
    more = [
        Fraction(late - early) / total if total else Fraction()
        for early, late, total in zip(before, after, days, strict=True)
    ]
    return {currency: sum(map(mul, numbers, more), Fraction()) for currency, numbers in calls.items()}


def weekday_remark(
    periods: Periods,
    calendar: Mapping[str, Fraction],
    calls: Mapping[str, Sequence[Number]],
    volume: Mapping[str, Fraction],
) -> Iterator[str]:
    """How the weekdays of the periods differ, and what of the change that makes: one clause, or none where they do not.

    Args:
        periods: the two periods.
        calendar: as `calendar_calls` gives it.
        calls: the priced calls of each currency before and after.
        volume: the part of the change in each currency that the number of calls makes.
    """
    amounts = []
    for currency, (before, after) in calls.items():
        if before != after:
            amount = volume[currency] * calendar.get(currency, Fraction()) / (after - before)
            amounts.append(wording.signed_money(as_money(units(amount)), currency))
    differing = _differing(periods)
    if amounts:
        having = f", with {differing}," if differing else ""
        yield f"the calendar alone{having} makes {' and '.join(amounts)} of the change"
    else:
        yield f"the weekdays differ{f': {differing}' if differing else ''}"


def _differing(periods: Periods) -> str:
    """`one Fri more, one Sun less`; nothing where it is more than a few, or parts of days."""
    before, after = periods.before.weekdays, periods.after.weekdays
    more = [late - early for early, late in zip(before, after, strict=True)]
    if sum(map(abs, more)) > _FEW or any(days.denominator > 1 for days in more):
        return ""
    texts = (
        f"{'one' if abs(days) == 1 else abs(days)} {name} {'more' if days > 0 else 'less'}"
        for name, days in zip(wording.WEEKDAYS, more, strict=True)
        if days
    )
    return ", ".join(texts)
