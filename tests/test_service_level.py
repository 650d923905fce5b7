"""Service levels against plain Python: what a good call is, budgets, burn rates, calls in flight, throughput."""

import gzip
import heapq
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import UsageError, load_usage, plots, wording
from mofa_usage.demo.sample import sample_path
from mofa_usage.service import ServiceLevel, courses, levels, service_level
from mofa_usage.service.promises import Promise
from tests.plain_analysis import Row, bucket, call, calls, grouped, polars_frame, relation
from tests.proofs import trials

T = datetime(2026, 5, 4, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LIMITS = {"latency_ms": "latency_ms", "ttft_ms": "time_to_first_token_ms"}


def ask(rows: Sequence[Row], by: Any = (), **options: Any) -> ServiceLevel:
    return service_level(relation(polars_frame(rows)), by, **options)


# What a good call is


def outcome(row: Row, limits: dict[str, float]) -> str:
    if row["status"] != "success":
        return "failed"
    values = {name: row[LIMITS[name]] for name in limits}
    if None in values.values():
        return "unknown"
    for name, word in (("latency_ms", "slow"), ("ttft_ms", "late")):
        if name in limits and values[name] > limits[name]:
            return word
    return "good"


@pytest.mark.proof
@settings(max_examples=trials(3, 90))
@given(
    calls(),
    st.fixed_dictionaries({}, optional={name: st.integers(1, 20_000) for name in LIMITS}),
    st.sampled_from([(), "model_name", ("labels.feature", "provider_name"), "day", "user_id"]),
    st.sampled_from(["UTC", "Pacific/Auckland"]),
)
def test_levels_and_budgets_of_any_calls(rows: list[Row], limits: dict[str, float], by: Any, tz: str) -> None:
    promise = Promise.of(limits.get("latency_ms"), limits.get("ttft_ms"), 0.9)
    level = levels.level(relation(polars_frame(rows)), promise, by, tz)
    names = [by] if isinstance(by, str) else list(by)
    groups = grouped(rows, names, tz)
    assert level.height == (len(groups) if names else 1)
    every = [(row, groups[tuple(row[name] for name in names)]) for row in level.to_dicts()] if names else []
    whole = level.totals[0] if names else level
    for row, group in [*every, (whole.to_dicts()[0], rows)]:
        found = [outcome(one, limits) for one in group]
        counts = {word: found.count(word) for word in ("good", "failed", "slow", "late", "unknown")}
        bad = counts["failed"] + counts["slow"] + counts["late"]
        judged = counts["good"] + bad
        assert row["calls"] == len(group)
        assert (row["good_calls"], row["bad_calls"], row["unknown_calls"]) == (counts["good"], bad, counts["unknown"])
        assert row["failed_calls"] == counts["failed"]
        assert row.get("slow_calls", 0) == counts["slow"]
        assert row.get("late_calls", 0) == counts["late"]
        assert row["service_level"] == (counts["good"] / judged if judged else None)
        assert row["judged_share"] == (judged / len(group) if group else None)
        assert row["error_budget"] == pytest.approx(judged / 10)
        assert row["budget_used"] == (float(Fraction(10 * bad, judged)) if judged else None)
        assert row["budget_left"] == pytest.approx(float(Fraction(judged, 10) - bad))


def test_a_call_is_good_within_all_limits_together_and_at_the_limit() -> None:
    rows = [
        call(T, latency_ms=1000, time_to_first_token_ms=200),
        call(T, latency_ms=1001, time_to_first_token_ms=100),
        call(T, latency_ms=100, time_to_first_token_ms=201),
        call(T, latency_ms=100),
        call(T, latency_ms=5000),
        call(T, latency_ms=100, time_to_first_token_ms=10, status="cancelled"),
    ]
    answer = ask(rows, latency_ms=1000, ttft_ms=200, objective="75%")
    row = answer.level.to_dicts()[0]
    assert [row[name] for name in ("good_calls", "failed_calls", "slow_calls", "late_calls", "unknown_calls")] == [
        *(1, 1, 1, 1, 2),
    ]
    assert answer.level.sentence == (
        "25.0% of the 4 calls that can be judged were good (within 1.00 s, first token 200 ms); 1 did not succeed, "
        "1 took longer, 1 had a late first token, 2 lack a value. The error budget is 1.0 bad calls, 3.0 times that is "
        "used and it is overspent by 2.0."
    )
    assert ask(rows).level["good_calls"].to_list() == [5]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"latency_ms": 0}, "latency_ms = 0; a limit is a number of milliseconds above 0"),
        ({"ttft_ms": "2s"}, "ttft_ms = '2s'"),
        ({"objective": 1}, "objective = 1; it is a share of calls between 0 and 1"),
        ({"objective": "much"}, "objective = 'much'"),
        ({"every": "second"}, "every = 'second'; the course is by minute, hour"),
        ({"at": datetime(2026, 5, 4)}, "at = 2026-05-04 00:00:00 has no time zone"),
        ({"by": "nothing"}, "no dimension is called 'nothing'"),
    ],
)
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ask([call(T)], **options)


def test_a_column_that_a_limit_needs_is_named() -> None:
    frame = polars_frame([call(T)]).select("create_time", "status", "model_name")
    usage = load_usage(frame)
    assert usage.service_level().level["good_calls"].to_list() == [1]
    assert "in_flight_max" not in usage.service_level().over_time.columns
    with pytest.raises(UsageError, match="'time_to_first_token_ms', which service_level needs"):
        usage.service_level(ttft_ms=1)
    with pytest.raises(UsageError, match="no column 'status', which service_level needs"):
        load_usage(frame.drop("status")).service_level()


def test_nothing_and_one_call() -> None:
    empty = ask([], "model_name")
    assert (empty.level.height, empty.over_time.height, empty.burn["burn_rate"].null_count()) == (0, 0, 5)
    assert empty.sentence == "There are no calls."
    one = ask([call(T, latency_ms=100)], latency_ms=50)
    assert one.over_time.rows() == [(T.replace(second=0), 1, 1, 0.1 / 60, 1 / 60, 0.0, 0, 60.0)]
    assert one.over_time.totals[0].rows() == [(1, 1, None, None, None, 0, None)]
    assert one.burn["alert"].to_list() == [True, True, True, True, None]
    assert "There" not in one._repr_html_()


# Burn rates


@pytest.mark.proof
@settings(max_examples=trials(4, 100))
@given(calls(times=st.datetimes(datetime(2026, 5, 1), datetime(2026, 5, 6), timezones=st.just(UTC)), max_size=40))
def test_burn_rates_are_of_what_lies_in_their_windows(rows: list[Row]) -> None:
    at = datetime(2026, 5, 5, 12, tzinfo=UTC)
    burn = levels.burn(relation(polars_frame(rows)), Promise.of(9000, None, "95%"), at, "UTC")
    hours = [1, 6, 24, 72, None]

    def rate(hours: float | None) -> tuple[int, float | None]:
        start = datetime.min.replace(tzinfo=UTC) if hours is None else at - timedelta(hours=hours)
        found = [outcome(row, {"latency_ms": 9000}) for row in rows if start <= row["create_time"] < at]
        judged = [one for one in found if one != "unknown"]
        bad = sum(one != "good" for one in judged)
        return len(found), float(Fraction(bad * 20, len(judged))) if judged else None

    assert list(zip(burn["calls"], burn["burn_rate"], strict=True)) == [rate(one) for one in hours]
    assert burn["burn_rate_lately"].to_list() == [rate(one / 12)[1] if one else None for one in hours]
    for row in burn.to_dicts()[:-1]:
        both = min(row["burn_rate"] or 0, row["burn_rate_lately"] or 0)
        assert row["alert"] == (both >= row["burn_rate_alert"])


def test_an_outage_is_an_alert_and_ends_being_one() -> None:
    rows = [call(T + n * timedelta(minutes=1), status="failed" if n >= 840 else "success") for n in range(900)]
    during = ask(rows).burn
    assert during["alert"].to_list() == [True, True, True, True, None]
    assert during.sentence.startswith("The budget burns faster than it may: 100.0 times over 1 hour, ")
    after = ask([*rows, *(call(T + n * timedelta(minutes=1)) for n in range(900, 920))]).burn
    assert after["alert"].to_list() == [False, True, True, True, None]  # its last five minutes are fine


# Calls in flight


def plain_course(rows: Sequence[Row], every: str, tz: str) -> list[tuple[Any, int, float]]:
    """Per bucket the most calls in flight at any instant at which one begins, or the bucket, and the mean by time."""
    spans = [
        (row["create_time"], row["create_time"] + timedelta(milliseconds=row["latency_ms"]))
        for row in rows
        if row["latency_ms"]
    ]
    step, length = {"minute": (timedelta(seconds=60),) * 2, "hour": (timedelta(hours=1),) * 2}[every]
    at = bucket(every, min(row["create_time"] for row in rows), ZoneInfo(tz))
    last, found = bucket(every, max(row["create_time"] for row in rows), ZoneInfo(tz)), []
    assert isinstance(at, datetime)
    assert isinstance(last, datetime)
    while at <= last:
        end = at + length
        instants = [at, *(begin for begin, _ in spans if at <= begin < end)]
        most = max(sum(begin <= now < stop for begin, stop in spans) for now in instants)
        inside = (min(stop, end) - max(begin, at) for begin, stop in spans if begin < end and stop > at)
        spent = sum(inside, timedelta(0)) / timedelta(microseconds=1)
        found.append((at, most, spent / (length / timedelta(microseconds=1))))
        at += step
    return found


_offsets = st.integers(0, 180_000_000) | st.integers(0, 180).map(lambda second: second * 1_000_000)
_lengths = (
    st.none() | st.integers(0, 20_000) | st.integers(0, 200).map(lambda second: second * 1000) | st.just(2**31 - 1)
)


@pytest.mark.proof
@settings(max_examples=trials(5, 150))
@given(st.lists(st.tuples(_offsets, _lengths), max_size=25))
def test_calls_in_flight_are_counted_exactly(spans: list[tuple[int, int | None]]) -> None:
    """Many offsets and lengths are whole seconds, so that calls begin when others end."""
    rows = [call(T + timedelta(microseconds=offset), latency_ms=length) for offset, length in spans]
    native = relation(polars_frame(rows))
    course = courses.course(native, courses.extent(native), "minute", "UTC")
    expected = plain_course(rows, "minute", "UTC") if rows else []
    assert list(zip(course["minute"], course["in_flight_max"], course["in_flight_mean"], strict=True)) == [
        (at, most, pytest.approx(mean)) for at, most, mean in expected
    ]
    assert course["calls_without_latency"].sum() == sum(row["latency_ms"] is None for row in rows)


def test_what_goes_on_over_several_buckets_is_in_each_of_them_once() -> None:
    rows = [call(T + 50 * SECOND, latency_ms=130_000), call(T + 60 * SECOND, latency_ms=60_000), call(T + 250 * SECOND)]
    course = ask(rows, every="minute").over_time
    assert course["in_flight_max"].to_list() == [1, 2, 1, 0, 0]  # the second ends as the third minute begins
    assert course["in_flight_mean"].to_list() == [10 / 60, 2.0, 1.0, 0.0, 0.0]
    assert course["seconds"].to_list() == [60.0] * 5
    whole = course.totals[0].row(0, named=True)
    assert (whole["in_flight_max"], whole["in_flight_mean"]) == (2, (130 + 60) / 200)
    assert course.sentence == (
        "At most 2 calls were in flight at once, first at 2026-05-04 12:01; 0.95 in the mean. "
        "54 calls per hour and no completion tokens came through. "
        "1 call without a latency is in flight nowhere."
    )


def test_days_are_those_of_the_clock() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 3, 28, 23, tzinfo=zone)  # the next day has 23 hours
    rows = [call(first, latency_ms=26 * 3_600_000), call(first + timedelta(days=3), latency_ms=1)]
    course = ask(rows, every="day", tz="Europe/Berlin").over_time
    assert course["day"].to_list() == [date(2026, 3, 28 + n) for n in range(4)]
    assert course["seconds"].to_list() == [86400.0, 82800.0, 86400.0, 86400.0]
    assert course["in_flight_mean"].to_list()[:3] == [1 / 24, 1.0, 2 / 24]
    month = ask(rows, every="month", tz="Europe/Berlin").over_time
    assert month["seconds"].to_list() == [31 * 86400.0 - 3600]


def test_buckets_suit_the_time_that_is_looked_at() -> None:
    for length, every in ((5, "minute"), (100, "hour"), (1000, "day"), (24 * 4000, "month")):
        course = ask([call(T), call(T + timedelta(hours=length))]).over_time
        assert course.columns[0] == every


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [call(T + n * SECOND, latency_ms=n * 7919 % 90_000) for n in range(500)]
    whole = ask(rows, every="minute").over_time
    monkeypatch.setattr("mofa_usage.service.concurrency._BATCH", 7)
    assert ask(rows[::-1], every="minute").over_time.equals(whole)


# The real trace: times and tokens are Azure's, the latencies are made up from the tokens, as the trace has none


def trace() -> list[tuple[datetime, int, int, int]]:
    """Time, completion tokens, first token and latency in milliseconds of each request."""
    found = []
    with gzip.open(sample_path("azure-code"), "rt") as file:
        for line in list(file)[1:]:
            moment, prompt, completion = line.split(",")
            first = 20 + int(prompt) // 20
            at = datetime.fromisoformat(moment[:26]).replace(tzinfo=UTC)
            found.append((at, int(completion), first, first + 30 * int(completion)))
    return found


def test_the_azure_trace_is_as_a_heap_of_ends_finds_it() -> None:
    requests = trace()
    frame = pl.DataFrame(
        requests, schema=["create_time", "completion_tokens", "time_to_first_token_ms", "latency_ms"], orient="row"
    ).with_columns(status=pl.lit("success"), model_name=pl.lit("code"))
    answer = load_usage(frame).service_level(latency_ms=2000, ttft_ms=100, objective=0.9)
    good = sum(latency <= 2000 and first <= 100 for *_, first, latency in requests)
    assert answer.level["good_calls"].to_list() == [good]
    # The number in flight by the minute, from a heap of the ends of those that are.
    ends: list[datetime] = []
    most: dict[datetime, int] = {}
    for at, _, _, latency in sorted(requests):
        minute = at.replace(second=0, microsecond=0)
        while ends and ends[0] <= minute:
            heapq.heappop(ends)
        most.setdefault(minute, len(ends))
        while ends and ends[0] <= at:
            heapq.heappop(ends)
        heapq.heappush(ends, at + timedelta(milliseconds=latency))
        most[minute] = max(most[minute], len(ends))
    course = answer.over_time.filter(pl.col("calls") > 0)
    assert dict(zip(course["minute"], course["in_flight_max"], strict=True)) == most
    times = sorted(at for at, *_ in requests)
    seconds = (times[-1] - times[0]).total_seconds()
    whole = answer.over_time.totals[0].row(0, named=True)
    assert whole["calls"] == 8819
    assert whole["calls_per_second"] == pytest.approx(8819 / seconds)
    assert whole["completion_tokens_per_second"] == pytest.approx(sum(tokens for _, tokens, *_ in requests) / seconds)
    by_minute = pl.Series([at.replace(second=0, microsecond=0) for at in times]).value_counts()
    assert (course["calls_per_second"] * 60).round().sum() == by_minute["count"].sum()
    # Little's law, up to what is still in flight at the last call: calls in flight = calls per second x their seconds.
    mean = sum(latency for *_, latency in requests) / len(requests) / 1000
    assert whole["in_flight_mean"] == pytest.approx(whole["calls_per_second"] * mean, rel=0.005)


def test_lazy_calls_and_calls_in_memory_agree() -> None:
    rows = [
        call(T + n * SECOND, latency_ms=n * 7919 % 9000, status="failed" if n % 9 else "success") for n in range(50)
    ]
    frame = polars_frame(rows)
    ours = load_usage(frame).service_level("status", latency_ms=5000)
    connection = duckdb.connect()
    connection.register("given", frame)
    lazy = load_usage(connection.table("given")).service_level("status", latency_ms=5000)
    for one, other in ((ours.level, lazy.level), (ours.over_time, lazy.over_time), (ours.burn, lazy.burn)):
        assert one.equals(other)
    assert ours.sentence == lazy.sentence


# Pictures


@pytest.mark.parametrize("groups", [1, 200])
def test_figures_say_what_made_calls_bad_and_what_may_be(groups: int) -> None:
    names = [f"<b>model</b> {n}" for n in range(groups)]
    rows = [call(T + n * SECOND, model_name=name, latency_ms=n % 30) for name in names for n in range(20)]
    answer = ask([*rows, call(T, model_name=names[0], status="failed")], "model_name", latency_ms=15, objective=0.9)
    figure = answer.level.draw(theme="dark")
    by_hand = plots.service_by(pl.DataFrame(answer.level))
    assert [trace.x for trace in by_hand.data] == [trace.x for trace in figure.data]
    assert [trace.name for trace in figure.data] == ["Unsuccessful", "Too slow", None]
    assert figure.data[-1].x[0] == pytest.approx(0.1)
    said = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "good: within 15 ms" in said
    assert "10.0% may be bad" in said
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts[0].startswith("<b>&lt;b&gt;model")
    assert ("top 12 of 200" in said) == (groups == 200)
    assert len(texts) == 2 * min(groups, 13)


def test_figures_of_burn_rates_and_of_the_course() -> None:
    answer = ask([call(T + n * SECOND, latency_ms=n, status="failed" if n % 2 else "success") for n in range(200)])
    burn = answer.burn.draw()
    assert burn.data[0].x == (50.0,) * 5
    assert [text.text for text in burn.layout.annotations][:2] == ["<b>1 hour</b>", "50.00 times, alert"]
    course = answer.over_time.draw()
    assert [trace.name for trace in course.data][:2] == ["max", "mean"]
    assert course.layout.title.text == "In flight and throughput per minute"
    for figure in (answer.level.clear().draw(), answer.burn.clear().draw(), answer.over_time.clear().draw()):
        assert "No calls in this period" in [annotation.text for annotation in figure.layout.annotations]
    with pytest.raises(UsageError, match=r"needs calls, bad_calls.*Get it by usage\.service_level"):
        plots.service_by(pl.DataFrame({"model_name": ["a"], "good_calls": [1]}))


def test_a_level_draws_itself_and_shows_itself_in_a_terminal() -> None:
    found = load_usage(polars_frame([call(datetime(2026, 5, 1, tzinfo=UTC), latency_ms=10)])).service_level(
        latency_ms=1000
    )
    assert found.draw().layout.title.text
    assert found.draw("over_time").layout.title.text
    assert found.sentence in str(found)
    with pytest.raises(UsageError, match="there are: level, over_time, burn"):
        found.draw("gauge")  # type: ignore[arg-type]


def test_sentences_of_one_call_and_of_windows_without_calls() -> None:
    one = ask([call(T, latency_ms=1)])
    assert one.level.sentence.startswith("100% of the 1 call was good. The error budget is 0.01 bad calls")
    assert one.over_time.sentence.startswith("At most 1 call was in flight at once, first at 2026-05-04 12:00;")
    before = ask([call(T, status="failed")], at=T)
    assert before.burn.sentence == "How fast the budget burns is not known: there are no calls in its windows."
    long_after = ask([call(T, status="failed")], at=T + timedelta(days=9), objective="50%")
    assert long_after.burn.sentence == "The budget burns 2.0 times as fast as allowed over all of it."


def test_failures_alone_do_not_say_how_many_calls_were_good() -> None:
    answer = ask([*[call(T, latency_ms=100)] * 3, call(T, status="failed")], ttft_ms=500)
    assert answer.level.sentence == (
        "How many calls were good (first token 500 ms) is not known: each of the 3 that succeeded lacks a value that "
        "has a limit; only the 1 that did not succeed is known to be bad."
    )
    assert "burns" not in answer.sentence
    assert "(first token 500 ms)" in ask([call(T, time_to_first_token_ms=1)], ttft_ms=500).level.sentence


def test_calls_without_times_are_refused() -> None:
    with pytest.raises(UsageError, match="the frame has no column 'create_time', which says when calls began"):
        load_usage(polars_frame([call(T)]).drop("create_time")).service_level()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (120, "2 calls per second and"),
        (60, "1 call per second and"),
        (3, "3 calls per minute and"),
    ],
)
def test_throughput_is_told_in_the_time_in_which_something_came(number: int, said: str) -> None:
    rows = [call(T, latency_ms=1, completion_tokens=0)] * number
    assert said in ask(rows, every="minute").over_time.sentence


def test_small_numbers_of_a_second_can_be_read() -> None:
    assert wording.value_text(0.01932, "count") == "0.019"
    assert wording.column_texts([0.0004, 12.5, None], "count")[1][:2] == ["0.0004", "12.5000"]
    assert wording.column_texts([1e-9, 2.5], "count")[1] == ["<0.0001", "2.5000"]
    assert wording.column_texts([0.02, 15.25], "tokens/s") == ("tokens/s", ["0.020", "15.250"])
