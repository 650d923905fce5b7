"""Breakdowns with intervals: each end is what the calls of its row say, on every engine, whatever is asked beside."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage import load_usage
from mofa_usage.analysis import Breakdown, Question, breakdown, breakdowns, summary
from mofa_usage.errors import UsageError
from mofa_usage.measures import Aggregate, Bound, Condition, Measure, Ratio, measure_of_column
from tests.plain_analysis import (
    Row,
    call,
    calls,
    currencies,
    folded,
    frames,
    grouped,
    heaviest,
    polars_frame,
    priced_in,
)
from tests.plain_intervals import ends
from tests.proofs import trials

T = datetime(2025, 5, 1, 12, tzinfo=UTC)
SURE = [
    *("success_rate", "request_success_rate", "latency_p50", "latency_p90", "ttft_p25", "time_per_output_token_p50"),
    *("token_rate_p50", "cost_p50", "total_tokens_p75"),
]
"""Measures with an interval; `ALL` have others between them."""
ALL = [*SURE[:2], "coverage", "cache_hit_rate", *SURE[2:5], "latency_max", "cost", *SURE[5:], "users"]
LEVELS = ["0.5", "0.8", "0.95"]
some_calls = calls(max_size=40, currencies=["EUR"]) | calls(max_size=40)


def assert_sure(found: Breakdown, by: list[str], groups: dict[Any, list[Row]], level: str, asked: list[str]) -> None:
    """The ends in every row are those of the calls of its group, which the columns of `by` name."""
    assert found.height == len(groups)
    seen = set()
    for row in found.to_dicts():
        group = groups[tuple(row[name] for name in by)]
        for column, entry in found.roles.measures.items():
            name, _, end = entry.measure.name.rpartition("_")
            if end in ("low", "high"):
                rows = group if entry.currency is None else priced_in(group, entry.currency)
                expected = ends(name, rows, Fraction(level))[end == "high"]
                assert_close(row[column], expected, f"{column} of {rows}")
                assert measure_of_column(column) == (entry.measure.name, entry.currency)
                seen.add(name)
    assert seen == ({name for name in asked if name in SURE} if found.height else set())


def assert_close(found: Any, expected: Any, what: str) -> None:
    if isinstance(expected, float):
        assert isinstance(found, float), what
        assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12), what
    else:
        assert found == expected, what
        assert type(found) is type(expected), what


@pytest.mark.proof
@settings(max_examples=trials(3, 45), deadline=None)
@given(
    rows=some_calls,
    by=st.lists(st.sampled_from(["model_name", "team", "month", "currency"]), unique=True, max_size=2),
    level=st.sampled_from(LEVELS),
    totals=st.booleans(),
)
def test_ends_are_what_the_calls_say(rows: list[Row], by: list[str], level: str, totals: bool) -> None:
    known = () if "currency" in by else currencies(rows)
    for native in frames(rows):
        found = breakdown(native, by, ALL, intervals=float(level), totals=totals, tz="Asia/Tokyo")
        plain = breakdown(native, by, ALL, totals=totals, tz="Asia/Tokyo")
        assert found.currencies == tuple(known)
        # Nothing else is another number because of them.
        assert_frame_equal(pl.DataFrame(found).select(plain.columns), pl.DataFrame(plain), abs_tol=1e-9)
        for answer in (found, *found.totals):
            left = list(answer.roles.dimensions)
            groups = grouped(rows, left, "Asia/Tokyo") or ({} if left else {(): []})
            assert_sure(answer, left, groups, level, ALL)


@pytest.mark.proof
@settings(max_examples=trials(2, 30), deadline=None)
@given(rows=some_calls, by=st.sampled_from([["model_name"], ["month", "team"]]), top=st.integers(1, 2))
def test_the_rest_has_intervals_of_its_own(rows: list[Row], by: list[str], top: int) -> None:
    named = heaviest(rows, by[-1], "calls")[:top]
    groups = folded(rows, by, by[-1], named)
    for native in frames(rows):
        found = breakdown(native, by, ["calls", *SURE], top=top, intervals=0.8)
        assert_sure(found, [*by, "is_other"], groups, "0.8", SURE)


@pytest.mark.proof
@settings(max_examples=trials(2, 30), deadline=None)
@given(data=st.data(), days=st.integers(1, 3))
def test_rolling_measures_have_the_intervals_of_their_windows(data: st.DataObject, days: int) -> None:
    times = st.datetimes(datetime(2025, 5, 1), datetime(2025, 5, 6), timezones=st.just(UTC))
    rows = data.draw(calls(times, max_size=25, currencies=["EUR"]))
    asked = [f"{name}_rolling_{days}" for name in SURE]
    for native in frames(rows):
        found = breakdown(native, "day", asked, intervals=0.8, fill_gaps=True)
        for row in found.to_dicts():
            inside = [one for one in rows if 0 <= (row["day"] - one["create_time"].date()).days < days]
            for name, column in zip(SURE, asked, strict=True):
                low, high = ends(name, inside, Fraction("0.8"))
                assert_close(row[f"{column}_low"], low, f"{column} of {inside}")
                assert_close(row[f"{column}_high"], high, f"{column} of {inside}")


def sample(n: int, failures: int = 0) -> list[Row]:
    """Calls of 1, 2, ..., n milliseconds."""
    statuses = ["failed"] * failures + ["success"] * (n - failures)
    return [call(T, status=statuses[k - 1], latency_ms=k, total_price=Decimal(k) / 1000) for k in range(1, n + 1)]


def test_what_few_calls_cannot_say_is_null() -> None:
    asked = ["success_rate", "latency_p50", "latency_p95", "latency_p99"]
    expected = {
        50: [(18, 33), (44, None), (48, None)],
        200: [(86, 115), (184, 197), (195, None)],
        1000: [(469, 532), (936, 964), (983, 997)],
    }
    for n, ranks in expected.items():
        for native in frames(sample(n)):
            found = breakdown(native, (), asked, intervals=0.95).row(0, named=True)
            assert [(found[f"{name}_low"], found[f"{name}_high"]) for name in asked[1:]] == ranks
    (nothing,) = breakdown(polars_frame([]), (), asked, intervals=0.95).to_dicts()
    assert set(nothing.values()) == {None}
    assert breakdown(polars_frame([]), "model_name", asked, intervals=0.95).height == 0


def test_ends_stand_behind_their_measure_and_say_what_they_are() -> None:
    found = breakdown(polars_frame(sample(20, 3)), "model_name", ["calls", "success_rate", "cost_p50"], intervals=0.9)
    sure = ["success_rate", "success_rate_low", "success_rate_high", "cost_p50", "cost_p50_low", "cost_p50_high"]
    assert found.columns == ["model_name", "calls", *sure, "currency"]
    assert [found.schema[name] for name in sure] == [pl.Float64] * 3 + [pl.Decimal(38, 10)] * 3
    entry = found.roles.measures["success_rate_low"].measure
    assert (entry.title, entry.kind, entry.additive) == ("Success rate, low", "rate", False)
    assert entry.description == "The lower end of the interval at 0.9: Successes / calls."
    # Written by hand, too, and of money in several currencies.
    money = {"cost_p50_EUR": [Decimal(1)], "cost_p50_low_EUR": [Decimal(0)], "cost_high": [1.0]}
    roles = Breakdown({"model_name": ["a"], "latency_p95_high": [2.0], **money}).roles
    assert roles.measures["latency_p95_high"].measure.title == "Latency p95, high"
    assert roles.measures["cost_p50_low_EUR"].currency == "EUR"
    assert roles.measures["cost_high"].measure.name == "cost"


def test_gaps_have_no_interval() -> None:
    rows = [*sample(30), call(T + timedelta(days=2), latency_ms=5)]
    for native in frames(rows):
        found = breakdown(native, "day", ["calls", "success_rate", "latency_p50"], intervals=0.95, fill_gaps=True)
        (gap,) = found.filter(pl.col("day") == date(2025, 5, 2)).to_dicts()
        assert gap.pop("calls") == 0
        assert set(gap.values()) == {None, date(2025, 5, 2)}
        assert found.to_dicts()[2]["latency_p50_low"] is None  # one call has no interval


def test_measures_of_your_own_have_intervals() -> None:
    slow = Ratio(Aggregate("count", where=(Condition("latency_ms", ">", 15),)), Aggregate("count"))
    odd = Ratio(Aggregate("count"), Aggregate("count", where=(Condition("status", "==", "failed"),)))
    of_failed = Aggregate("quantile", "latency_ms", (Condition("status", "==", "failed"),), 0.5)
    own = [
        Measure("slow", formula=slow),
        Measure("odd", formula=odd),
        Measure("failed_median", formula=of_failed),
        Measure("per", formula=Ratio(Aggregate("count"), Aggregate("distinct", "user_id"))),
    ]
    for native in frames(sample(20, 10)):
        found = breakdown(native, (), own, intervals=0.95).row(0, named=True)
        assert (found["slow_low"], found["slow_high"]) == pytest.approx((0.1119, 0.4687), abs=1e-4)
        assert (found["odd"], found["odd_low"], found["odd_high"]) == (2, None, None)  # more than there are: no rate
        assert (found["failed_median_low"], found["failed_median_high"]) == (2, 9)
        assert "per_low" not in found
    # The ends are measures, which may be asked for alone.
    low = Measure("surely", formula=Ratio(slow.numerator, slow.denominator, bound=Bound(0.95, is_upper=False)))
    assert breakdown(polars_frame(sample(20)), (), low, intervals=0.9)["surely"].item() == pytest.approx(
        0.1119, abs=1e-4
    )


def test_every_question_takes_them() -> None:
    usage = load_usage(polars_frame(sample(30, 2)))
    for answer in (
        usage.success_rate(intervals=0.95),
        usage.latency(intervals=0.95),
        usage.token_rate(intervals=0.95),
        usage.summary(intervals=0.95),
        summary(usage.frame, intervals=0.95),
        *usage.breakdowns([Question((), "success_rate", intervals=0.95), Question((), ["latency_p50"], intervals=0.8)]),
    ):
        assert any(name.endswith("_low") for name in answer.columns)
    assert usage.cost(intervals=0.95).columns == usage.cost().columns
    one, other = breakdowns(
        usage.frame, [Question((), "latency_p50", intervals=level) for level in (0.95, 0.5)]
    )  # in one pass, and not mixed up
    assert one["latency_p50_low"].item() < other["latency_p50_low"].item()


@pytest.mark.parametrize("level", [0, 1, 95, -1, True, "0.95", math.nan])
def test_a_level_is_between_0_and_1(level: Any) -> None:
    with pytest.raises(UsageError, match="the level of an interval is"):
        breakdown(polars_frame([]), (), "success_rate", intervals=level)


def test_what_has_no_interval_says_so() -> None:
    bound = Bound(0.95, is_upper=True)
    with pytest.raises(UsageError, match="'max' has no interval"):
        Aggregate("max", "latency_ms", bound=bound)
    with pytest.raises(UsageError, match="interval where it is of two counts"):
        Ratio(Aggregate("sum", "latency_ms"), Aggregate("count"), bound=bound)
    with pytest.raises(UsageError, match="no measure is called 'latency_p95_low'"):
        breakdown(polars_frame([]), (), "latency_p95_low")
    mine = Measure("success_rate_low", formula=Aggregate("max", "latency_ms"))
    with pytest.raises(UsageError, match="two columns of the answer would be called 'success_rate_low'"):
        breakdown(polars_frame([]), (), ["success_rate", mine], intervals=0.95)


def test_tables_show_intervals_beside_their_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    asked = ["calls", "success_rate", "latency_p50", "latency_p99", "cost_p50"]
    answer = breakdown(polars_frame(sample(50, 5)), "model_name", asked, intervals=0.95, totals=True)
    head, row, whole, beside = str(answer).split("\n")[1:]
    assert "success_rate   _low to _high  latency_p50 (ms)  _low to _high (ms)" in head
    assert "90.0%  78.6% to 95.7%" in row
    assert "26            18 to 33" in row
    assert whole.startswith("All")
    assert beside == "and latency_p99, latency_p99_low, latency_p99_high, cost_p50, cost_p50_low, cost_p50_high"
    one = str(answer.totals[0]).split("\n")
    assert one[1:3] == ["success_rate  90.0% (78.6% to 95.7%)", "latency_p50   26 ms (18 to 33 ms)"]
    assert one[3:] == ["latency_p99   50 ms (at least 48 ms)", "cost_p50      $0.0255 ($0.018 to $0.033)"]
    page = answer._repr_html_()
    assert page.count("95% interval") == 4
    assert "at least 48</td>" in page
    # An end that is left alone is a column like others.
    assert "latency_p50_low (ms)" in str(answer.drop("latency_p50_high"))


def test_sentences_say_how_sure_a_rate_of_few_calls_is() -> None:
    rows = sample(16, 1)
    usage = load_usage(polars_frame(rows))
    assert usage.success_rate((), intervals=0.95).sentence == (
        "93.8% of 16 calls succeeded (95% interval 71.7% to 98.9%). The others: 1 failed."
    )
    assert "interval" not in usage.success_rate(()).sentence
    assert "interval" not in load_usage(polars_frame(sample(100, 1))).success_rate((), intervals=0.95).sentence
    rows += [row | {"model_name": "b", "status": "success"} for row in rows[:3]]
    asked = ["request_success_rate", "calls"]
    sentence = breakdown(polars_frame(rows), "model_name", asked, intervals=0.9, totals=True).sentence
    assert "highest for b (100% of 3 calls, 90% interval 52.6% to 100%)" in sentence
    slow = breakdown(polars_frame(rows), "model_name", ["latency_p50", "calls"], intervals=0.9).sentence
    assert "highest for m (8.5 ms of 16 calls, 90% interval 5 ms to 12 ms), lowest for b (2 ms of 3 calls)" in slow
