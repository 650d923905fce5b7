"""Time buckets as integers: the engine groups by a number, which becomes a date or a time afterwards.

For every bucket there is a *key*, an integer computed from the instant of a call by sums and remainders alone, so
that every engine puts a call into the same bucket:

- minute, hour: the instant at which the bucket begins. It begins at a full minute or hour of the local clock, or
  where that clock is changed, whichever is later; so the hour that an autumn night repeats is two buckets, and no
  bucket begins in an hour that a spring night leaves out.
- day, week, month: the local time at which it begins on the calendar, so a day has as many hours as it has.
- hour_of_day, weekday: the time on the local clock since midnight, or since Monday.

The zone enters as steps: a number (an offset, the start of a month) that holds from an instant on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias
from zoneinfo import ZoneInfo

import narwhals as nw
import polars as pl

from mofa_usage.analysis.engine import MOMENT, LazyCalls, collect
from mofa_usage.zones import DAY, HOUR, MINUTE, Stretch, microseconds, stretches, utc

__all__ = ["BUCKETS", "Bucket", "Clock", "steps"]

WEEK = 7 * DAY
MONDAY = 4 * DAY  # 1970-01-05, the first Monday
# One call with a wrong year must not cost thousands of steps: ranges longer than this are first looked at closely.
_LONG = 40 * 366 * DAY
_BLOCK = 366 * DAY

_CALENDAR = (microseconds(datetime.min.replace(tzinfo=UTC)), microseconds(datetime.max.replace(tzinfo=UTC)))

Step: TypeAlias = tuple[int | Decimal, int]


def steps(position: nw.Expr, ordered: Sequence[Step]) -> nw.Expr:
    """The value of the last step at or before a position (before the first step: its value); null without position.

    A balanced tree of comparisons: a hundred steps cost seven of them per row.
    """
    # The condition also ties a single value to the rows: a bare literal would be one row of its own.
    return nw.when(~position.is_null()).then(_choice(position, _changes(ordered)))


def _changes(ordered: Iterable[Step]) -> list[Step]:
    known = list(ordered)
    return [*known[:1], *(late for early, late in pairwise(known) if early[1] != late[1])]


def _choice(position: nw.Expr, changes: Sequence[Step]) -> nw.Expr:
    if len(changes) == 1:
        return nw.lit(changes[0][1], nw.Int64)
    middle = len(changes) // 2
    early, late = _choice(position, changes[:middle]), _choice(position, changes[middle:])
    return nw.when(position < nw.lit(changes[middle][0])).then(early).otherwise(late)


@dataclass(frozen=True)
class Clock:
    """The clock of a time zone during the calls of [start, end), of which open sides are looked up in the data."""

    zone: ZoneInfo
    calls: LazyCalls
    start: datetime | None
    end: datetime | None

    @cached_property
    def stretches(self) -> list[Stretch]:
        """The periods of constant offset in which there are calls, at least one."""
        fixed = self.zone.utcoffset(None)
        if fixed is not None:
            return [Stretch(0, fixed // timedelta(microseconds=1))]
        found = {period for first, last in self.spans for period in stretches(self.zone, first, last)}
        return sorted(found, key=lambda period: period.start) or [Stretch(0, 0)]

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """First and last instant of the stretches of time that hold all calls, in order; none without calls."""
        extent = self._asked()
        if extent is None or extent[1] - extent[0] > _LONG:
            extent = self.calls.extent()
        if extent is None:
            return []
        if extent[1] - extent[0] <= _LONG:
            return [extent]
        moment = nw.col(MOMENT)
        blocks = collect(self.calls.frame.select(block=moment - moment % _BLOCK).unique())["block"]
        return [(block, block + _BLOCK - 1) for block in blocks.drop_nulls().sort()]

    def _asked(self) -> tuple[int, int] | None:
        if self.start is None or self.end is None:
            return None
        return microseconds(self.start), microseconds(self.end)


@dataclass(frozen=True, slots=True)
class Bucket:
    """How calls are put into buckets of time, and what a bucket is called.

    `key` gives the expression of the key; `keys` every key between two instants in order (none for hour_of_day and
    weekday, which cannot have gaps); `label` turns keys into dates or times of a zone.
    """

    key: Callable[[Clock], nw.Expr]
    label: Callable[[pl.Series, str], pl.Series]
    keys: Callable[[ZoneInfo, int, int], Iterator[int]] | None = None


def _local(clock: Clock) -> nw.Expr:
    moment = nw.col(MOMENT)
    offsets = _changes((period.start, period.offset) for period in clock.stretches)
    return moment if [offset for _, offset in offsets] == [0] else moment + _choice(moment, offsets)


def _clock_key(size: int) -> Callable[[Clock], nw.Expr]:
    """Minutes and hours: only the part of the offset below `size` matters, so most zones need no steps."""

    def key(clock: Clock) -> nw.Expr:
        moment = nw.col(MOMENT)
        phase = _choice(moment, _changes((period.start, period.offset % size) for period in clock.stretches))
        begin = moment - (moment + phase) % size
        broken = {period.start for period in clock.stretches if (period.start + period.offset) % size}
        if not broken:
            return begin
        earliest = steps(moment, [(at, at if at in broken else -DAY * 10**6) for at in _starts(clock.stretches)])
        return nw.when(begin < earliest).then(earliest).otherwise(begin)

    return key


def _clock_keys(size: int) -> Callable[[ZoneInfo, int, int], Iterator[int]]:
    def keys(zone: ZoneInfo, first: int, last: int) -> Iterator[int]:
        for period, begin, end in _pieces(zone, first, last):
            full = begin - (begin + period.offset) % size
            yield max(full, period.start)
            yield from range(full + size, end + 1, size)

    return keys


def _calendar_key(size: int, origin: int) -> Callable[[Clock], nw.Expr]:
    return lambda clock: _local(clock) - (_local(clock) - origin) % size


def _calendar_keys(size: int, origin: int) -> Callable[[ZoneInfo, int, int], Iterator[int]]:
    def keys(zone: ZoneInfo, first: int, last: int) -> Iterator[int]:
        for period, begin, end in _pieces(zone, first, last):
            local = begin + period.offset
            yield from range(local - (local - origin) % size, end + period.offset + 1, size)

    return keys


def _month_key(clock: Clock) -> nw.Expr:
    known = [step for first, last in clock.spans for step in _month_steps(clock.zone, first, last)]
    return steps(nw.col(MOMENT), sorted(known) or [(0, 0)])


def _month_keys(zone: ZoneInfo, first: int, last: int) -> Iterator[int]:
    return (month for _, month in _month_steps(zone, first, last))


def _month_steps(zone: ZoneInfo, first: int, last: int) -> Iterator[Step]:
    """The local start of the month, by the instant from which it is that month on the local clock."""
    for period, begin, end in _pieces(zone, first, last):
        month = _month_of(begin + period.offset)
        while month <= end + period.offset:
            yield max(month - period.offset, period.start), month
            following = _month_of(month + 31 * DAY)
            if following == month:  # December 9999
                break
            month = following


def _month_of(local: int) -> int:
    within = utc(min(max(local, _CALENDAR[0]), _CALENDAR[1]))
    return microseconds(within.replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def _cycle_key(cycle: int, unit: int, origin: int) -> Callable[[Clock], nw.Expr]:
    return lambda clock: (_local(clock) - origin) % cycle - _local(clock) % unit


def _pieces(zone: ZoneInfo, first: int, last: int) -> Iterator[tuple[Stretch, int, int]]:
    """The periods between two instants, each with its first and last instant between them."""
    covering = stretches(zone, first, last)
    ends = [*(start - 1 for start in _starts(covering[1:])), last]
    for period, end in zip(covering, ends, strict=True):
        yield period, max(period.start, first), end


def _starts(covering: Iterable[Stretch]) -> list[int]:
    return [period.start for period in covering]


def _as_time(keys: pl.Series, tz: str) -> pl.Series:
    return keys.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.convert_time_zone(tz)


def _as_date(keys: pl.Series, tz: str) -> pl.Series:
    return keys.cast(pl.Datetime("us")).dt.date()


BUCKETS: Mapping[str, Bucket] = MappingProxyType(
    {
        "minute": Bucket(_clock_key(MINUTE), _as_time, _clock_keys(MINUTE)),
        "hour": Bucket(_clock_key(HOUR), _as_time, _clock_keys(HOUR)),
        "day": Bucket(_calendar_key(DAY, 0), _as_date, _calendar_keys(DAY, 0)),
        "week": Bucket(_calendar_key(WEEK, MONDAY), _as_date, _calendar_keys(WEEK, MONDAY)),
        "month": Bucket(_month_key, _as_date, _month_keys),
        "hour_of_day": Bucket(_cycle_key(DAY, HOUR, 0), lambda keys, _: (keys // HOUR).cast(pl.Int8)),
        "weekday": Bucket(_cycle_key(WEEK, DAY, MONDAY), lambda keys, _: (keys // DAY + 1).cast(pl.Int8)),
    }
)
"""The time dimensions by name."""
