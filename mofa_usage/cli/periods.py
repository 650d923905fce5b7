"""Times as people write them on a command line: a date, a month, a year, or how long before now.

>>> berlin, now = ZoneInfo("Europe/Berlin"), datetime(2026, 6, 10, 12, tzinfo=UTC)
>>> [str(time) for time in period("2026-05", None, berlin, now)]
['2026-05-01 00:00:00+02:00', '2026-06-01 00:00:00+02:00']
>>> [str(time) for time in period("7d", "2026-06-01", berlin, now)]
['2026-05-25 00:00:00+02:00', '2026-06-01 00:00:00+02:00']
"""

import re
from datetime import MAXYEAR, UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mofa_usage.errors import UsageError
from mofa_usage.zones import instant

__all__ = ["age", "period"]

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
