"""Time zones as arithmetic: local clock time is UTC plus an offset that changes at known instants.

Engines disagree about local time. DuckDB takes the zone from the connection and merges the hour that an
autumn night repeats; Polars keeps it apart but stumbles over clocks that move by half an hour. So nothing is
left to them: a zone is here a list of `Stretch`s of constant offset, computed from the IANA rules
(`zoneinfo`), and local time is a sum of two integers, the same on every engine.

All instants are microseconds since 1970-01-01T00:00Z; local times are microseconds since 1970-01-01T00:00 on
the local clock.

>>> berlin = zone("Europe/Berlin")
>>> start, end = (microseconds(instant(f"{year}-01-01", berlin, "")) for year in (2025, 2026))
>>> for period in stretches(berlin, start, end):
...     print(utc(period.start), "UTC +", period.offset // HOUR, "h")
2024-10-27 01:00:00+00:00 UTC + 1 h
2025-03-30 01:00:00+00:00 UTC + 2 h
2025-10-26 01:00:00+00:00 UTC + 1 h
>>> str(instant("2025-03-30", berlin, "start"))
'2025-03-29 23:00:00+00:00'
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from mofa_usage.errors import UsageError

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "Stretch",
    "instant",
    "microseconds",
    "present_and_end",
    "stretches",
    "time_range",
    "utc",
    "zone",
]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A day inside what datetime can hold, so that adding an offset never leaves it.
_FIRST = -719_161 * DAY
_LAST = 2_932_895 * DAY
_CHUNK = 366 * DAY

Moment = datetime | date | str
"""How a caller may give an instant; see `instant`."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time with one offset from UTC, from `start` until the next period; in microseconds."""

    start: int
    offset: int


def zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name, such as "Europe/Berlin" or "UTC".

    Raises:
        UsageError: there is none; the message names those nearest to it.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError) as error:
        near = get_close_matches(str(name), available_timezones(), n=3)
        hint = f"near it: {', '.join(near)}" if near else "give an IANA name such as Europe/Berlin"
        raise UsageError(f"no time zone is called {name!r}; {hint}") from error


def instant(value: Moment, tz: ZoneInfo, what: str) -> datetime:
    """An instant in UTC from a datetime with a zone, a date, or ISO 8601 text.

    A date, and text without a zone, are on the clock of `tz`: a date is the first instant of that day, a time
    that the clock repeats is the first of the two. `what` names the argument in errors.

    Raises:
        UsageError: a datetime without a zone (it could be any hour of the day), or text that is no ISO date or
            time.
    """
    try:
        return _on_the_clock(value, tz, what).astimezone(UTC)
    except OverflowError as error:
        raise UsageError(f"{what} = {value} lies outside the years 1 to 9999 in UTC") from error


def _on_the_clock(value: Moment, tz: ZoneInfo, what: str) -> datetime:
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError as error:
            raise UsageError(f"{what} = {value!r} is no ISO 8601 date or time") from error
        return parsed if parsed.utcoffset() is not None else parsed.replace(tzinfo=tz)
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise UsageError(f"{what} = {value} has no time zone; add one, or give text to mean {tz.key}")
        return value
    if isinstance(value, date):
        return datetime.combine(value, time.min, tz)
    raise UsageError(f"{what} is a {type(value).__name__}; give a datetime with a zone, a date or ISO text")


def present_and_end(now: Moment | None, end: Moment | None, tz: ZoneInfo) -> tuple[datetime, datetime]:
    """What counts as now, by default what the clock says; and the end of a period, which is now at the latest.

    Raises:
        UsageError: as `instant`.
    """
    present = datetime.now(UTC) if now is None else instant(now, tz, "now")
    return present, present if end is None else min(present, instant(end, tz, "end"))


def time_range(start: Moment | None, end: Moment | None, tz: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    """The half-open range [start, end) in UTC; None leaves a side open.

    Raises:
        UsageError: as `instant`, or the end lies before the start.
    """
    first = None if start is None else instant(start, tz, "start")
    last = None if end is None else instant(end, tz, "end")
    if first is not None and last is not None and last < first:
        raise UsageError(f"end ({last.isoformat()}) lies before start ({first.isoformat()})")
    return first, last


def microseconds(moment: datetime) -> int:
    """Microseconds since the epoch, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def utc(instant: int) -> datetime:
    """The datetime in UTC of an instant in microseconds."""
    return EPOCH + timedelta(microseconds=instant)


def stretches(tz: ZoneInfo, first: int, last: int) -> list[Stretch]:
    """The periods of constant offset that cover the instants from `first` to `last`, in order.

    The first one starts at the last change of offset before `first`, or long before it when there was none
    lately.
    """
    chunks = range(max(first, _FIRST) // _CHUNK - 1, min(last, _LAST) // _CHUNK + 1)
    start = chunks[0] * _CHUNK
    found = [Stretch(start, _offset(tz, start)), *(change for chunk in chunks for change in _changes(tz, chunk))]
    before = [period for period in found if period.start <= first]
    return [*before[-1:], *(period for period in found if first < period.start <= last)]


@lru_cache(maxsize=1024)
def _changes(tz: ZoneInfo, chunk: int) -> tuple[Stretch, ...]:
    """The changes of offset in one chunk of days, looking once a day: no zone changes twice within one."""
    days = range(chunk * _CHUNK, (chunk + 1) * _CHUNK, DAY)
    offsets = [_offset(tz, day) for day in (*days, days.stop)]
    return tuple(
        Stretch(_change(tz, day, after), after)
        for day, before, after in zip(days, offsets, offsets[1:], strict=False)
        if before != after
    )


def _change(tz: ZoneInfo, day: int, target: int) -> int:
    """The instant of the day from which the offset is `target`, by bisection to the second."""
    before, after = day, day + DAY
    while after - before > SECOND:
        middle = (before + after) // 2 // SECOND * SECOND
        before, after = (before, middle) if _offset(tz, middle) == target else (middle, after)
    return after


def _offset(tz: ZoneInfo, at: int) -> int:
    """The zone's offset from UTC at an instant, in microseconds."""
    offset = utc(min(max(at, _FIRST), _LAST)).astimezone(tz).utcoffset()
    return 0 if offset is None else offset // timedelta(microseconds=1)
