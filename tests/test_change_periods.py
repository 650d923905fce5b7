"""The two periods of a comparison: what they hold, how they are said, which are refused."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofa_usage.changes.periods import Pair, periods
from mofa_usage.errors import UsageError

DAY = ("2026-05-04", "2026-05-05")


def walked(start: datetime, end: datetime, tz: str) -> dict[int, Fraction]:
    """Half hours of the period by weekday on the clock, each as the part of its day that it is."""
    clock, half = ZoneInfo(tz), timedelta(minutes=30)
    first = start - timedelta(days=2)
    moments = [first + half * step for step in range(int((end - start + timedelta(days=4)) / half))]
    lengths = Counter(moment.astimezone(clock).date() for moment in moments)
    found: dict[int, Fraction] = dict.fromkeys(range(7), Fraction())
    for moment in moments:
        if start <= moment < end:
            day = moment.astimezone(clock).date()
            found[day.weekday()] += Fraction(1, lengths[day])
    return found


@given(
    start=st.datetimes(datetime(2026, 3, 20), datetime(2026, 4, 10)),
    halves=st.integers(1, 1000),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo"]),
)
def test_weekdays_are_counted_on_the_clock(start: datetime, halves: int, tz: str) -> None:
    begin = start.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)
    end = begin + timedelta(minutes=30) * halves
    period = periods((begin, end), DAY, tz).before
    assert dict(enumerate(period.weekdays)) == walked(begin, end, tz)
    assert period.days == sum(period.weekdays)


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        (("2026-05-01", "2026-06-01"), "May 2026"),
        (("2026-12-01", "2027-01-01"), "December 2026"),
        (("2026-01-01", "2027-01-01"), "2026"),
        (DAY, "4 May 2026"),
        (("2026-05-04", "2026-05-11"), "4 to 10 May 2026"),
        (("2026-04-28", "2026-05-05"), "28 Apr to 4 May 2026"),
        (("2026-12-28", "2027-01-04"), "28 Dec 2026 to 3 Jan 2027"),
        (("2026-05-04T09:30", "2026-05-05"), "4 May 2026, 09:30 to 5 May 2026, 00:00"),
        (
            (datetime(2026, 5, 4, tzinfo=UTC), datetime(2026, 5, 4, 0, 0, 5, tzinfo=UTC)),
            "4 May 2026, 02:00 to 4 May 2026, 02:00:05",
        ),
    ],
)
def test_a_period_says_itself(pair: Pair, text: str) -> None:
    assert periods(pair, DAY, "Europe/Berlin").before.text == text


def test_lengths_and_overlaps_are_remarked_on() -> None:
    assert not list(periods(("2026-04-27", "2026-05-04"), ("2026-05-04", "2026-05-11"), "UTC").remarks)
    other = periods(("2026-05-04", "2026-05-05"), (date(2026, 5, 4), "2026-05-04T12:00"), "UTC")
    assert list(other.remarks) == [
        "the two periods overlap, and calls in both count in both",
        "the period before has 1 day, the one after 0.5 days",
    ]
    # The day on which clocks go forward is a day like any other.
    assert not list(periods(("2026-03-29", "2026-03-30"), ("2026-03-30", "2026-03-31"), "Europe/Berlin").remarks)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("2026-05", "before = '2026-05' is no period; give a pair of start and end"),
        (("2026-05-01",), "is no period; give a pair"),
        (("2026-05-01", "2026-05-01"), "the period before.* is empty: it ends where it starts"),
        (("2026-05-02", "2026-05-01"), "the period before.* ends before it starts"),
        (("2026-05-01", "May"), "the end of before = 'May' is no ISO 8601"),
        ((datetime(2026, 5, 1), "2026-05-02"), "the start of before = .* has no time zone"),
        (("0001-01-01", "2026-05-02"), "the period before reaches to the ends"),
    ],
)
def test_what_is_no_period_is_refused(pair: Pair, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        periods(pair, DAY, "UTC")
