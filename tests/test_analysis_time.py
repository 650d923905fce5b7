"""Time buckets in any zone, on every engine, on the days when clocks are changed and all others."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage.analysis import Native, breakdown
from mofa_usage.errors import UsageError
from mofa_usage.zones import Moment
from tests.plain_analysis import TIMES, call, calls, frames, grouped, polars_frame, relation
from tests.proofs import trials

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",  # +05:45
    "Australia/Lord_Howe",  # changes by half an hour
    "America/Sao_Paulo",  # had days without a midnight
    "America/St_Johns",  # changed at 00:01
    "Africa/Casablanca",  # changes around Ramadan
    "Pacific/Apia",  # had no 30 December 2011
    "Asia/Kolkata",
    "Etc/GMT+12",
]
CHANGES = [
    datetime(2025, 3, 30, 1),  # Berlin, spring
    datetime(2025, 10, 26, 1),  # Berlin, autumn
    datetime(2025, 3, 9, 7),  # New York, spring
    datetime(2025, 11, 2, 6),  # New York, autumn
    datetime(2025, 4, 5, 15),  # Lord Howe, autumn
    datetime(2025, 10, 4, 15, 30),  # Lord Howe, spring
    datetime(2018, 11, 4, 3),  # Sao Paulo, spring, at midnight
    datetime(2018, 2, 18, 2),  # Sao Paulo, autumn, at midnight
    datetime(2009, 11, 1, 2, 31),  # St John's, autumn, back into October
    datetime(2025, 2, 23, 2),  # Casablanca
    datetime(2011, 12, 30, 10),  # Apia crosses the date line
    datetime(2025, 1, 1),
]
near_changes = st.builds(
    lambda change, seconds: (change + timedelta(seconds=seconds)).replace(tzinfo=UTC),
    st.sampled_from(CHANGES),
    st.integers(-3 * 3600, 3 * 3600) | st.integers(-90, 90).map(lambda minutes: minutes * 60),
)
whenever = st.datetimes(datetime(1990, 1, 1), datetime(2038, 1, 1), timezones=st.just(UTC))
moments = near_changes | whenever | near_changes.map(lambda at: at - timedelta(microseconds=1))


@pytest.mark.proof
@settings(max_examples=trials(5, 100), deadline=None)
@given(rows=calls(times=moments, max_size=12), tz=st.sampled_from(ZONES), names=st.sets(st.sampled_from(TIMES)))
def test_every_call_is_in_its_bucket(rows: list[dict[str, Any]], tz: str, names: set[str]) -> None:
    by = sorted(names)
    plain = {keys: len(group) for keys, group in grouped(rows, by, tz).items()} if by or rows else {(): 0}
    for native in frames(rows, session_zone="Asia/Tokyo"):
        found = breakdown(native, by, tz=tz, measures="calls")
        kinds = [found.schema[name] for name in names & {"minute", "hour"}]
        assert all(isinstance(kind, pl.Datetime) and kind.time_zone == tz for kind in kinds)
        in_utc = found.with_columns(pl.col(pl.Datetime).dt.convert_time_zone("UTC"))
        assert {row[:-1]: row[-1] for row in in_utc.rows()} == plain


def hourly(zone: str, day: date, tz: str, by: str, engine: int) -> list[tuple[Any, int]]:
    """A call every half hour of UTC from a day before to a day after, those of the local day counted by bucket."""
    first = datetime.combine(day, datetime.min.time(), UTC) - timedelta(days=1)
    rows = [call(first + timedelta(minutes=30 * step)) for step in range(48 * 3)]
    native = list(frames(rows, session_zone=zone))[engine]
    return breakdown(native, by, "calls", tz=tz, start=day, end=day + timedelta(days=1)).rows()


engines = pytest.mark.parametrize("engine", [0, 1, 2], ids=["polars", "lazy", "duckdb"])


@engines
@pytest.mark.parametrize(
    ("tz", "day", "half_hours"),
    [
        ("Europe/Berlin", date(2025, 3, 30), 46),
        ("Europe/Berlin", date(2025, 10, 26), 50),
        ("America/New_York", date(2025, 3, 9), 46),
        ("America/New_York", date(2025, 11, 2), 50),
        ("Australia/Lord_Howe", date(2025, 10, 5), 47),
        ("Australia/Lord_Howe", date(2025, 4, 6), 49),
        ("America/Sao_Paulo", date(2018, 11, 4), 46),
        ("Asia/Kathmandu", date(2025, 3, 30), 48),
    ],
)
def test_a_day_has_the_hours_it_has(tz: str, day: date, half_hours: int, engine: int) -> None:
    assert hourly("Pacific/Auckland", day, tz, "day", engine) == [(day, half_hours)]
    hours = hourly("Pacific/Auckland", day, tz, "hour", engine)
    assert sum(count for _, count in hours) == half_hours
    assert all(start.astimezone(ZoneInfo(tz)).date() == day for start, _ in hours)


@engines
def test_the_repeated_hour_of_autumn_is_two(engine: int) -> None:
    hours = hourly("Europe/Berlin", date(2025, 10, 26), "Europe/Berlin", "hour", engine)
    twos = [(start.hour, start.utcoffset(), count) for start, count in hours if start.hour == 2]
    assert twos == [(2, timedelta(hours=2), 2), (2, timedelta(hours=1), 2)]
    of_day = dict(hourly("UTC", date(2025, 10, 26), "Europe/Berlin", "hour_of_day", engine))
    assert of_day[2] == 4  # the clock on the wall read 2 for two hours


@engines
def test_the_missing_hour_of_spring_is_not_there(engine: int) -> None:
    hours = hourly("Europe/Berlin", date(2025, 3, 30), "Europe/Berlin", "hour", engine)
    assert [start.hour for start, _ in hours] == [0, 1, *range(3, 24)]


@engines
def test_half_hours_of_change_begin_where_the_clock_changed(engine: int) -> None:
    autumn = hourly("UTC", date(2025, 4, 6), "Australia/Lord_Howe", "hour", engine)
    assert [(start.isoformat()[11:], count) for start, count in autumn[1:4]] == [
        ("01:00:00+11:00", 2),
        ("01:30:00+10:30", 1),
        ("02:00:00+10:30", 2),
    ]
    spring = hourly("UTC", date(2025, 10, 5), "Australia/Lord_Howe", "hour", engine)
    assert [(start.isoformat()[11:], count) for start, count in spring[1:4]] == [
        ("01:00:00+10:30", 2),
        ("02:30:00+11:00", 1),
        ("03:00:00+11:00", 2),
    ]


@engines
def test_a_day_without_midnight_keeps_its_date(engine: int) -> None:
    rows = [call(datetime(2018, 11, 4, hour, tzinfo=UTC)) for hour in (2, 3, 4)]  # 23:00, 01:00, 02:00
    found = breakdown(list(frames(rows))[engine], "day", "calls", tz="America/Sao_Paulo")
    assert found.rows() == [(date(2018, 11, 3), 1), (date(2018, 11, 4), 2)]


@engines
def test_iso_weeks_over_the_end_of_the_year(engine: int) -> None:
    days = [date(2024, 12, 29), date(2024, 12, 30), date(2025, 1, 1), date(2025, 1, 5), date(2025, 1, 6)]
    rows = [call(datetime.combine(day, datetime.min.time(), UTC)) for day in days]
    found = breakdown(list(frames(rows))[engine], "week", "calls")
    assert found.rows() == [(date(2024, 12, 23), 1), (date(2024, 12, 30), 3), (date(2025, 1, 6), 1)]


@engines
def test_wrong_years_cost_nothing_and_break_nothing(engine: int) -> None:
    years = [datetime(1, 1, 2), datetime(1969, 12, 31, 23, 59, 59), datetime(2025, 7, 2), datetime(9999, 12, 31, 23)]
    rows = [call(year.replace(tzinfo=UTC)) for year in years]
    for by in ("month", "week", "day", "hour_of_day", "weekday", "minute"):
        found = breakdown(list(frames(rows))[engine], by, "calls", tz="Africa/Cairo", end="9999-12-30")
        assert found["calls"].sum() == 3
    months = breakdown(list(frames(rows))[engine], "month", "calls", tz="America/New_York")
    assert months["month"].to_list() == [date(1, 1, 1), date(1969, 12, 1), date(2025, 7, 1), date(9999, 12, 1)]


@engines
def test_a_time_range_is_half_open(engine: int) -> None:
    rows = [call(datetime(2025, 5, 1, hour, tzinfo=UTC)) for hour in (9, 10, 11)]
    native = list(frames(rows))[engine]
    start, end = rows[0]["create_time"], rows[2]["create_time"]
    assert breakdown(native, "hour_of_day", "calls", start=start, end=end)["hour_of_day"].to_list() == [9, 10]
    assert breakdown(native, (), "calls", start=end).row(0) == (1,)
    assert breakdown(native, (), "calls", end=end.astimezone(ZoneInfo("Asia/Tokyo"))).row(0) == (2,)
    assert breakdown(native, (), "calls", start=start, end=start).row(0) == (0,)


@engines
def test_text_and_dates_are_on_the_clock_of_the_zone(engine: int) -> None:
    rows = [call(datetime(2025, 5, 1, 22, tzinfo=UTC)), call(datetime(2025, 5, 2, 22, tzinfo=UTC))]
    native = list(frames(rows))[engine]
    ranges: list[tuple[Moment, Moment]] = [
        (date(2025, 5, 2), date(2025, 5, 3)),
        ("2025-05-02", "2025-05-03"),
        ("2025-05-02T00:00", "2025-05-03 00:00"),
        ("2025-05-01T22:00Z", "2025-05-02T22:00:00+00:00"),
    ]
    for start, end in ranges:
        assert breakdown(native, "day", "calls", tz="Europe/Berlin", start=start, end=end).rows() == [
            (date(2025, 5, 2), 1)
        ]


@engines
def test_a_column_in_another_zone_or_unit_is_the_same_time(engine: int) -> None:
    frame = polars_frame([call(datetime(2025, 5, 1, 22, 30, tzinfo=UTC))])
    frame = frame.with_columns(pl.col("create_time").dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ms"))
    natives: list[Native] = [frame, frame.lazy(), relation(frame)]
    native = natives[engine]
    found = breakdown(native, "hour", "calls", tz="Europe/Berlin", start="2025-05-02", end="2025-05-03")
    assert found["hour"][0] == datetime(2025, 5, 2, 0, tzinfo=ZoneInfo("Europe/Berlin"))


@engines
@pytest.mark.parametrize("by", TIMES)
def test_calls_without_a_time_are_a_row(by: str, engine: int) -> None:
    rows = [call(datetime(2025, 5, 1, tzinfo=UTC)), {**call(datetime(2025, 5, 1, tzinfo=UTC)), "create_time": None}]
    found = breakdown(list(frames(rows))[engine], by, "calls", tz="Europe/Berlin")
    assert found["calls"].to_list() == [1, 1]
    assert found[by].null_count() == 1


def test_a_connection_keeps_its_zone() -> None:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'America/Lima'")
    frame = polars_frame([call(datetime(2025, 5, 1, tzinfo=UTC))])
    connection.register("calls", frame)
    breakdown(connection.table("calls"), ["hour", "month"], "calls", tz="Europe/Berlin")
    assert connection.sql("SELECT current_setting('TimeZone')").fetchall() == [("America/Lima",)]


def test_times_without_a_zone_are_refused() -> None:
    frame = polars_frame([call(datetime(2025, 5, 1, tzinfo=UTC))])
    with pytest.raises(UsageError, match="start = 2025-05-01 00:00:00 has no time zone"):
        breakdown(frame, (), "calls", start=datetime(2025, 5, 1))
    naive = frame.with_columns(pl.col("create_time").dt.replace_time_zone(None))
    for native in (naive, relation(naive)):
        with pytest.raises(UsageError, match=r"'create_time' is Datetime.*time zone"):
            breakdown(native, "day", "calls")
