"""Which last days stand beside the whole period in the headline figures of a report.

They are the last full days of the usage, local midnight to midnight, and are compared with as many days right before:
the last 30 of 60 days or more, the last 7 of 14 or more, the last 1 of 2 or more. Of less than two full days there are
no last days, and there is nothing to compare with.

The last day of the usage is full when the usage was loaded to its end or beyond, or when its last call comes in the
day's last two hours; otherwise the day may not have been over yet, and is left out. The first day is full unless the
usage was loaded from a later hour on.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from mofa_usage.errors import UsageError
from mofa_usage.measures import TimeBucket

_BUCKETS: tuple[tuple[TimeBucket, timedelta], ...] = (
    ("minute", timedelta(hours=3)),
    ("hour", timedelta(days=6)),
    ("day", timedelta(days=200)),
    ("week", timedelta(days=1400)),
)

LENGTHS = (30, 7, 1)

LATE = timedelta(hours=2)
"""A last call so close to midnight says that its day is over."""


@dataclass(frozen=True, slots=True)
class Span:
    """The first and the last call in the zone of the usage, and the range [start, end) that was asked for, if any."""

    first: datetime
    last: datetime
    start: datetime | None = None
    end: datetime | None = None

    @property
    def text(self) -> str:
        """As words: days, or hours where it is less than two days."""
        if self.last - self.first < timedelta(days=2):
            same = self.first.date() == self.last.date()
            return f"{moment(self.first)} to {f'{self.last:%H:%M}' if same else moment(self.last)}"
        return f"{day(self.first)} to {day(self.last)}"

    @property
    def bucket(self) -> TimeBucket:
        """The time bucket that makes figures of at most about 200 periods."""
        length = self.last - self.first
        return next((bucket for bucket, longest in _BUCKETS if length <= longest), "month")


@dataclass(frozen=True, slots=True)
class Window:
    """The last days, [start, end); `before` begins as many days before, if the usage goes back
    there.

    `days` is None when the window holds all calls.
    """

    start: datetime
    end: datetime
    before: datetime | None
    days: int | None

    @property
    def title(self) -> str:
        """What the last days are called beside a figure; empty where the window holds all calls."""
        if self.days is None:
            return ""
        return f"Last {self.days} full days" if self.days > 1 else "Last full day"

    @property
    def text(self) -> str:
        """Which days these are and what they are compared with."""
        if self.days is None:
            return "There are less than two full days, so there are no last days to compare with those before."
        last = self.end - timedelta(days=1)
        days = day(self.start) if self.days == 1 else f"{day(self.start)} to {day(last)}"
        length = "the day" if self.days == 1 else f"the {self.days} days"
        if self.before is None:
            return f"{self.title}: {days}. There are no calls from {length} before to compare with."
        return f"{self.title}: {days}, compared with {length} before."


def window(span: Span, days: int | None = None) -> Window:
    """The last days beside the whole; `days` asks for so many, whatever the usage spans.

    Raises:
        UsageError: `days` were asked for, and the usage has no full day.
    """
    begin, end = _full_days(span)
    full = (end.date() - begin.date()).days
    if days is None:
        days = next((length for length in LENGTHS if full >= 2 * length), None)
        if days is None:
            return Window(span.first, span.last + timedelta(microseconds=1), None, None)
    elif full < 1:
        raise UsageError(f"figures of the last {days} days need a full day, but there are calls of {span.text} only")
    start, before = _midnight(end, -days), _midnight(end, -2 * days)
    return Window(start, end, before if before >= begin else None, days)


def _full_days(span: Span) -> tuple[datetime, datetime]:
    """The midnights between which every day is full."""
    begin, end = _midnight(span.first), _midnight(span.last, 1)
    if span.start is not None and span.start > begin:
        begin = _midnight(span.first, 1)
    if end - span.last > LATE and (span.end is None or span.end < end):
        end = _midnight(span.last)
    return begin, max(begin, end)


def day(moment: datetime) -> str:
    """`Mon 4 May 2026`."""
    return f"{moment:%a} {moment.day} {moment:%b %Y}"


def moment(when: datetime) -> str:
    """`Mon 4 May 2026, 14:05`."""
    return f"{day(when)}, {when:%H:%M}"


def asked_text(start: datetime | None, end: datetime | None, zone: ZoneInfo) -> str:
    """That there are no calls in the period [start, end) that was asked for, if any."""
    first, last = (ends and ends.astimezone(zone) for ends in (start, end))
    words = [*([f"from {_brief(first)} on"] if first else []), *([f"before {_brief(last)}"] if last else [])]
    asked = f"the period that was asked for: {' and '.join(words)} ({zone.key})" if words else "this usage"
    return f"There are no calls in {asked}."


def _brief(when: datetime) -> str:
    return day(when) if when.time() == time() else moment(when)


def _midnight(moment: datetime, days: int = 0) -> datetime:
    """The beginning of a local day; counted in dates, since days of a zone have 23 to 25 hours."""
    return datetime.combine(moment.date() + timedelta(days=days), time(), moment.tzinfo)
