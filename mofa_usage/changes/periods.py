"""The two periods that are compared: half-open ranges of time, the same for every question about a change.

Any two will do: they may differ in length, overlap, or lie the wrong way round. What of it matters to somebody who
reads the comparison is said in `Periods.remarks`, so that a month of 30 days against one of 31 does not pass for less
use.

>>> april_and_may = periods(("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-06-01"), "Europe/Berlin")
>>> april_and_may.before.text, april_and_may.after.text, april_and_may.after.start.isoformat()
('April 2026', 'May 2026', '2026-04-30T22:00:00+00:00')
>>> [str(days) for days in april_and_may.after.weekdays]
['4', '4', '4', '4', '5', '5', '5']
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.reading.columns import created_in
from mofa_usage.zones import Moment, instant, zone

__all__ = ["Pair", "Per", "Period", "Periods", "periods"]

Number: TypeAlias = int | Fraction

Per: TypeAlias = Literal["day", "week"]
"""What amounts of periods are of that differ in length: a day, or a week of mean weekdays."""

Pair: TypeAlias = tuple[Moment, Moment]
"""Start and end of a period; the end is not in it. See `mofa_usage.zones.Moment`."""

_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)  # days that every clock has


@dataclass(frozen=True, slots=True)
class Period:
    """The instants from `start` up to `end`, which are in UTC; its days are those on the clock of `tz`."""

    start: datetime
    end: datetime
    tz: ZoneInfo

    @property
    def sql(self) -> str:
        """The condition that a call of DuckDB's was created in it; it reads `create_time`."""
        return " AND ".join(created_in(self.start, self.end))

    @property
    def weekdays(self) -> tuple[Fraction, ...]:
        """How many Mondays, Tuesdays, ... are in it; of a day that is in it in part, that part."""
        first, last = (moment.astimezone(self.tz) for moment in (self.start, self.end))
        inner, outer = first.date() + _DAY, last.date()
        weeks, rest = divmod(max((outer - inner).days, 0), 7)
        found = [Fraction(weeks)] * 7
        for number in range(rest):
            found[(inner + number * _DAY).weekday()] += 1
        for day in {first.date(), last.date()}:
            found[day.weekday()] += self._part_of(day)
        return tuple(found)

    @property
    def days(self) -> Fraction:
        """How many days are in it, each as long as the clock makes it."""
        return sum(self.weekdays, Fraction())

    def _part_of(self, day: date) -> Fraction:
        begin, end = (_midnight(date, self.tz) for date in (day, day + _DAY))
        inside = min(self.end, end) - max(self.start, begin)
        return Fraction(max(inside, timedelta()) // _MICROSECOND, (end - begin) // _MICROSECOND)

    @property
    def text(self) -> str:
        """In words: `May 2026`, `2026`, `4 May 2026`, `28 Apr to 4 May 2026`, or with times of the day."""
        first, last = (moment.astimezone(self.tz) for moment in (self.start, self.end))
        if first != _midnight(first.date(), self.tz) or last != _midnight(last.date(), self.tz):
            return f"{_day(first.date())}, {_clock(first)} to {_day(last.date())}, {_clock(last)}"
        begin, end = first.date(), last.date() - _DAY
        if begin.day == 1 and end + _DAY == _first_of_next(begin, 1):
            return f"{begin:%B} {begin.year}"
        if (begin.month, begin.day) == (1, 1) and end + _DAY == _first_of_next(begin, 12):
            return str(begin.year)
        if begin == end:
            return _day(begin)
        if begin.year != end.year:
            return f"{_day(begin)} to {_day(end)}"
        same = begin.month == end.month
        return f"{begin.day}{'' if same else f' {begin:%b}'} to {_day(end)}"


@dataclass(frozen=True, slots=True)
class Periods:
    """What is compared: the period `before` and the one `after`."""

    before: Period
    after: Period

    @property
    def sql(self) -> str:
        """The condition that a call of DuckDB's was created in one of them.

        From the beginning to the end of both, files are read in part; what is in neither is left out call by call.
        """
        first, last = sorted((self.before, self.after), key=lambda period: period.start)
        both = " AND ".join(created_in(first.start, max(first.end, last.end)))
        return f"({both})" if last.start <= first.end else f"({both} AND ({first.sql} OR {last.sql}))"

    @property
    def are_of_like_weekdays(self) -> bool:
        """Whether both have as many Mondays, as many Tuesdays, ..."""
        return self.before.weekdays == self.after.weekdays

    def weights(self, per: Per | None) -> tuple[Sequence[Number], Sequence[Number]]:
        """What a call counts for, before and after, by its weekday.

        Per day it is one day's part of its period. Per week it is one day's part of the days of its weekday, so that
        the sum is a week of mean Mondays, mean Tuesdays, ...; a weekday that only one period has counts for nothing.

        Raises:
            UsageError: `per` is neither, or is a week and there is no weekday that both periods have.
        """
        if per is None:
            return (1,) * 7, (1,) * 7
        if per == "day":
            return (1 / self.before.days,) * 7, (1 / self.after.days,) * 7
        if per != "week":
            raise UsageError(f"per = {per!r}; amounts are per day, per week, or (None) of the whole periods")
        both = list(zip(self.before.weekdays, self.after.weekdays, strict=True))
        if not any(one and two for one, two in both):
            raise UsageError("per = 'week' compares weekdays with the same ones, and the periods have none in common")
        before, after = zip(*((1 / one, 1 / two) if one and two else (0, 0) for one, two in both), strict=True)
        return before, after

    @property
    def remarks(self) -> Iterator[str]:
        """What of the two somebody should know who reads a comparison: clauses without a full stop, mostly none."""
        yield from self.remarks_of(None)

    def remarks_of(self, per: Per | None) -> Iterator[str]:
        """The same of amounts per day or week."""
        before, after = self.before, self.after
        if per is not None:
            yield "amounts are per day" if per == "day" else "amounts are of a week, of the mean of each weekday"
        if max(before.start, after.start) < min(before.end, after.end):
            yield "the two periods overlap, and calls in both count in both"
        if per == "week":
            alone = [
                name
                for name, one, two in zip(wording.WEEKDAYS, before.weekdays, after.weekdays, strict=True)
                if bool(one) != bool(two)
            ]
            if alone:
                yield f"{' and '.join(alone)}, which only one period has, {'are' if len(alone) > 1 else 'is'} left out"
        elif before.days != after.days:
            yield f"the period before has {_days(before.days)}, the one after {_days(after.days)}"


def periods(before: Pair, after: Pair, tz: str) -> Periods:
    """The two periods; dates and text without a zone are on the clock of `tz`.

    Raises:
        UsageError: one is no pair of times, or ends where it starts or before; the message names it.
    """
    clock = zone(tz)
    return Periods(_period("before", before, clock), _period("after", after, clock))


def _period(name: str, pair: Pair, tz: ZoneInfo) -> Period:
    if isinstance(pair, str) or not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UsageError(f"{name} = {pair!r} is no period; give a pair of start and end: ('2026-05-01', '2026-06-01')")
    start, end = (
        instant(moment, tz, f"the {side} of {name}") for side, moment in zip(("start", "end"), pair, strict=True)
    )
    if end <= start:
        said = "is empty: it ends where it starts" if end == start else "ends before it starts"
        raise UsageError(f"the period {name}, {start.isoformat()} to {end.isoformat()}, {said}")
    if start < _FIRST or end > _LAST:
        raise UsageError(f"the period {name} reaches to the ends of the years 1 to 9999")
    return Period(start, end, tz)


def _midnight(day: date, tz: ZoneInfo) -> datetime:
    """The first instant of a day, in UTC."""
    return datetime.combine(day, time.min, tz).astimezone(UTC)


def _first_of_next(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


def _day(day: date) -> str:
    return f"{day.day} {day:%b} {day.year}"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}".removesuffix(":00")


def _days(days: Fraction) -> str:
    number = f"{float(days):,.1f}".removesuffix(".0")
    return f"{number} day{'' if days == 1 else 's'}"
