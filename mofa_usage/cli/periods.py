"""Times as people write them on a command line: a date, a month, a year, or how long before now.

>>> berlin, now = ZoneInfo("Europe/Berlin"), datetime(2026, 6, 10, 12, tzinfo=UTC)
>>> [str(time) for time in period("2026-05", None, berlin, now)]
['2026-05-01 00:00:00+02:00', '2026-06-01 00:00:00+02:00']
>>> [str(time) for time in period("7d", "2026-06-01", berlin, now)]
['2026-05-25 00:00:00+02:00', '2026-06-01 00:00:00+02:00']
>>> [str(time.date()) for time in whole_period("--after", "2026-05-04..2026-05-11", berlin)]
['2026-05-04', '2026-05-11']
>>> [str(time.date()) for time in previous(*period("2026-05", None, berlin, now))]
['2026-04-01', '2026-05-01']
"""

import re
from datetime import MAXYEAR, UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from mofa_usage.errors import UsageError
from mofa_usage.zones import instant

__all__ = ["age", "period", "previous", "whole_period"]

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_FORMS = "a time is 2026-05-01, 2026-05-01T14:30, 2026-05 (that month), 2026 (that year), or 12h, 7d or 2w before"


def age(option: str, text: str) -> timedelta:
    """How long `400d`, `12h` or `8w` is.

    Raises:
        UsageError: it is nothing of that kind; the message names the option.
    """
    found = _length(text)
    if found is None:
        raise UsageError(f"{option} = {text!r} is no age; give hours, days or weeks: 12h, 400d, 8w")
    return found


def period(
    start: str | None, end: str | None, tz: ZoneInfo, now: datetime | None = None
) -> tuple[datetime | None, datetime | None]:
    """The half-open range that two options mean, on the clock of a zone; None where it is open.

    A month or a year as `start` is all of it where there is no `end`. `7d` counts back from `end`, or from now; days
    and weeks are those of the clock, also where it changes.

    Raises:
        UsageError: one is no time, or the end lies before the start.
    """
    present = (now or datetime.now(UTC)).astimezone(tz)
    last = None if end is None else _moment("--end", end, tz, present)
    first = None if start is None else _moment("--start", start, tz, last or present)
    if start is not None and first is not None and last is None:
        last = _end_of(start, first)
    if first is not None and last is not None and last < first:
        raise UsageError(f"--end ({last.isoformat()}) lies before --start ({first.isoformat()})")
    return first, last


def whole_period(option: str, text: str, tz: ZoneInfo, now: datetime | None = None) -> tuple[datetime, datetime]:
    """The half-open range that one text means: a year, a month, a day, `7d` until now, or `2026-05-04..2026-05-11`.

    Raises:
        UsageError: it is none of these, or the end does not lie behind the start; the message names the option.
    """
    present = (now or datetime.now(UTC)).astimezone(tz)
    begin, dots, end = text.partition("..")
    if dots:
        last = _moment(option, end, tz, present)
        first = _moment(option, begin, tz, last)
    else:
        first = _moment(option, text, tz, present)
        day = first + timedelta(days=1) if re.fullmatch(r"\s*\d{4}-\d\d-\d\d\s*", text) else None
        found = present if _length(text) is not None else _end_of(text, first) or day
        if found is None:
            raise UsageError(f"{option} = {text!r} is no period: 2026, 2026-05, 2026-05-04, 7d, or START..END")
        last = found
    if last <= first:
        raise UsageError(f"{option} = {text!r} ends where it starts, or before")
    return first, last


def previous(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The period right before one, on its clock: the month before a month, as many days before days, else as long."""
    months = end.year * 12 + end.month - (start.year * 12 + start.month)
    if months and (start.day, end.day, start.time(), end.time()) == (1, 1, time(), time()):
        year, month = divmod(start.year * 12 + start.month - 1 - months, 12)
        return start.replace(year=year, month=month + 1), start
    if start.time() == end.time():
        return start - (end.date() - start.date()), start
    return (start.astimezone(UTC) - (end - start)).astimezone(start.tzinfo), start


def _moment(option: str, text: str, tz: ZoneInfo, base: datetime) -> datetime:
    length = _length(text)
    try:
        if length is not None:
            is_exact = text.strip().lower().endswith("h")  # days and weeks are those of the clock
            return (base.astimezone(UTC) - length).astimezone(tz) if is_exact else base.astimezone(tz) - length
        if month := re.fullmatch(r"(\d{4})(?:-(\d\d))?", text.strip()):
            return datetime(int(month[1]), int(month[2] or 1), 1, tzinfo=tz)
        return instant(text.strip(), tz, option).astimezone(tz)
    except (UsageError, ValueError, OverflowError) as error:
        base_name = "--end or now" if option == "--start" else "now"
        raise UsageError(f"{option} = {text!r} is no time: {_FORMS} {base_name}") from error


def _end_of(start: str, first: datetime) -> datetime | None:
    """The end of the month or the year that a text is; None where it is neither."""
    months = {4: 12, 7: 1}.get(len(start.strip())) if re.fullmatch(r"\s*\d{4}(-\d\d)?\s*", start) else None
    year, month = divmod(first.year * 12 + first.month - 1 + (months or 0), 12)
    return first.replace(year=year, month=month + 1) if months is not None and year <= MAXYEAR else None


def _length(text: str) -> timedelta | None:
    found = re.fullmatch(r"(\d{1,6})\s*([hdw])", text.strip().lower())
    return None if found is None else int(found[1]) * _UNITS[found[2]]
