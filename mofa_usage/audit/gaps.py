"""Gaps: hours and days without calls where calls usually come.

What is usual is read from the same hour of other days: the 28 days before it, and at the beginning of the data, where
there are fewer, the first 28 days. Only days count whose weekday usually has calls at that hour, and where the weekday
of an empty hour has none it misses nothing. So a service that sleeps at night, or over the weekend, has no gap there.

The median says how many calls usually come, and the median absolute deviation how much that varies (times 1.4826, which
is the standard deviation of normal numbers; median and MAD by hour of the day were measured to find 94% of labelled
anomalies). How unlikely it is that none comes then, is that of the negative binomial distribution with this mean and
variance: `(1 + mean / k) ** -k` with `k = mean ** 2 / (variance - mean)`, which is `exp(-mean)`, that of calls that
come at random, where they vary no more than these. An empty stretch is a gap where all of its hours together are less
likely than 1 in 10 million: an hour of a busy service is enough, and of a quiet one it takes a day. With fewer than
`ENOUGH` days nothing can be said.

Hours are those of the clock: one that a spring night leaves out is missing nowhere.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from zoneinfo import ZoneInfo

__all__ = ["ENOUGH", "SPAN", "Gap", "gaps"]

SPAN, ENOUGH = 28, 14
"""Days that are looked at for what is usual, and days that there must be."""

SURE = math.log(1e7)
"""How unlikely an empty stretch must be to be a gap, as the logarithm."""

_NORMAL = 1.4826
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

Counts = Mapping[tuple[date, int], int]
"""Calls by day and hour of the day on the local clock; what is not there is 0."""


@dataclass(frozen=True, slots=True)
class Gap:
    """From when to when nothing was called, how many hours that are, and how many calls usually come in that time."""

    start: datetime
    end: datetime
    hours: int
    usual: float


@dataclass(frozen=True, slots=True)
class _Expected:
    """How many calls usually come, and how surprising it is that none does: minus the logarithm of its chance."""

    usual: float
    surprise: float


def gaps(counts: Counts, end: datetime, tz: ZoneInfo) -> list[Gap]:
    """The gaps between the first call and `end`, in order: of hours, and of days where hours cannot tell.

    A silence of more than `SPAN` days begins a new time: what came before it is not usual any more, and its first
    `SPAN` days are looked at only.
    """
    found = [
        gap for first, last in _stretches(counts, end.astimezone(tz)) for gap in _of_hours(counts, first, last, tz)
    ]
    daily = {(day, 0): 0 for day, _ in counts}
    for (day, _), calls in counts.items():
        daily[day, 0] += calls
    taken = {day for gap in found for day in _days(gap, tz)}
    for first, last in _stretches(counts, end.astimezone(tz)):
        # The first and the last day may be parts of one.
        days = [first.date() + n * _DAY for n in range(1, (last.date() - first.date()).days)]
        found += _runs(((day, 0) for day in days), daily, first.date(), taken, tz, _DAY)
    return sorted(found, key=lambda gap: gap.start)


def _days(gap: Gap, tz: ZoneInfo) -> Iterator[date]:
    day = gap.start.astimezone(tz).date()
    while datetime.combine(day, time.min, tz).astimezone(UTC) < gap.end:
        yield day
        day += _DAY


def _stretches(counts: Counts, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """First and last hour, on the local clock, of the stretches of time that have a rhythm of their own."""
    hours = sorted(datetime.combine(day, time(hour)) for day, hour in counts)
    limit = end.replace(tzinfo=None, minute=0, second=0, microsecond=0)
    begin: datetime | None = None
    for hour, following in zip(hours, [*hours[1:], limit], strict=True):
        begin = begin or hour
        if following is limit or following - hour > SPAN * _DAY:
            yield begin, min(following, hour + SPAN * _DAY)
            begin = None


def _of_hours(counts: Counts, first: datetime, last: datetime, tz: ZoneInfo) -> Iterator[Gap]:
    hours = (first + n * _HOUR for n in range((last - first) // _HOUR))
    keys = ((hour.date(), hour.hour) for hour in hours if _is_there(hour, tz))
    return _runs(keys, counts, first.date(), frozenset(), tz, _HOUR)


def _is_there(hour: datetime, tz: ZoneInfo) -> bool:
    """Whether the clock shows this hour."""
    return hour.replace(tzinfo=tz).astimezone(UTC).astimezone(tz).replace(tzinfo=None) == hour


def _runs(
    keys: Iterable[tuple[date, int]],
    counts: Counts,
    first: date,
    taken: Iterable[date],
    tz: ZoneInfo,
    length: timedelta,
) -> Iterator[Gap]:
    """The empty stretches of these hours or days that lack more than they may."""
    run: list[tuple[datetime, _Expected]] = []
    known = set(taken)
    last = max((day for day, _ in counts), default=first)
    for day, hour in keys:
        at = datetime.combine(day, time(hour))
        if counts.get((day, hour), 0) or day in known:
            yield from _gap(run, at, tz, length)
            run = []
        else:
            run.append((at, _expected(counts, day, hour, first, last)))
    if run:
        yield from _gap(run, run[-1][0] + length, tz, length)


def _gap(run: list[tuple[datetime, _Expected]], end: datetime, tz: ZoneInfo, length: timedelta) -> Iterator[Gap]:
    """An empty stretch without the quiet hours at its ends, if it lacks enough."""
    while run and not run[0][1].usual:
        run = run[1:]
    while run and not run[-1][1].usual:
        end, run = run[-1][0], run[:-1]
    if sum(one.surprise for _, one in run) > SURE:
        start = run[0][0].replace(tzinfo=tz).astimezone(UTC)
        yield Gap(
            start,
            end.replace(tzinfo=tz).astimezone(UTC),
            len(run) * (length // _HOUR),
            sum(one.usual for _, one in run),
        )


def _expected(counts: Counts, day: date, hour: int, first: date, last: date) -> _Expected:
    """What usually comes in an hour, and how much that varies; nothing where nothing can be said."""
    begin = max(first, day - SPAN * _DAY)
    until = max(day - _DAY, min(first + SPAN * _DAY, last))
    others = [begin + n * _DAY for n in range((until - begin).days + 1)]
    others = [other for other in others if other != day]
    if len(others) < ENOUGH - 1:
        return _Expected(0.0, 0.0)
    by_weekday: dict[int, list[int]] = {}
    for other in others:
        by_weekday.setdefault(other.weekday(), []).append(counts.get((other, hour), 0))
    open_on = {weekday for weekday, values in by_weekday.items() if median(values)}
    if day.weekday() not in open_on:
        return _Expected(0.0, 0.0)
    values = [value for weekday in sorted(open_on) for value in by_weekday[weekday]]
    usual = float(median(values))
    if not usual:
        return _Expected(0.0, 0.0)
    variance = (_NORMAL * median(abs(value - usual) for value in values)) ** 2
    k = usual**2 / (variance - usual) if variance > usual else math.inf
    return _Expected(usual, usual if math.isinf(k) else k * math.log1p(usual / k))
