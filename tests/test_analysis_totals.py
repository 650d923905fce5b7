"""The heaviest values of a dimension beside the rest, and totals: both computed from the calls, on every engine."""

import math
import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage import load_usage
from mofa_usage.analysis import Breakdown, Question, breakdown, breakdowns, cost
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES, Aggregate, Condition, Dimension, Measure, measure_of_column
from tests.passes import counted_passes
from tests.plain_analysis import (
    PLAIN,
    Row,
    call,
    calls,
    currencies,
    folded,
    frames,
    grouped,
    heaviest,
    money,
    polars_frame,
)
from tests.proofs import trials

engines = pytest.mark.parametrize("engine", [0, 1, 2], ids=["polars", "lazy", "duckdb"])
T = datetime(2025, 5, 1, 12, tzinfo=UTC)
BY = st.lists(
    st.sampled_from(["model_name", "provider_name", "team", "status", "month", "weekday"]), unique=True, max_size=3
)
SOME = ["calls", "users", "models", "success_rate", "total_tokens", "cost", "cost_per_success", "latency_p50"]
OFTEN = [*("latency_p50", "latency_p95", "latency_mean", "latency_max", "ttft_p99", "token_rate_p50"), *SOME[1:]]


def same(found: Any, plain: Any) -> bool:
    if isinstance(plain, float) and isinstance(found, float):
        return math.isclose(found, plain, rel_tol=1e-9, abs_tol=1e-12)
    return bool(found == plain) and type(found) is type(plain)


def assert_measured(
    found: Breakdown, by: list[str], groups: dict[tuple[Any, ...], list[Row]], known: list[str]
) -> None:
    """Every measure of every row is what the calls of its group say; the columns of `by` say which group that is."""
    assert found.height == len(groups)
    for row in found.to_dicts():
        group = groups[tuple(row.pop(name) for name in by)]
        if "currency" in row:
            assert row.pop("currency") == next(iter(known), None)
        for column, value in row.items():
            measure, of = measure_of_column(column) or ("", None)
            expected = PLAIN[measure](group) if of is None else money(measure, group, of)
            assert same(value, expected), f"{column} of {group}: {value} is not {expected}"


@pytest.mark.proof
@settings(max_examples=trials(3, 100), deadline=None)
@given(
    rows=calls(max_size=40),
    by=BY.filter(lambda by: not {"month", "weekday"}.issuperset(by)),
    first=st.sampled_from(["cost", "wasted_cost", "calls", "total_tokens", "latency_p50", "users"]),
    top=st.integers(1, 3),
)
def test_the_heaviest_keep_their_names_and_the_rest_is_one_group(
    rows: list[Row], by: list[str], first: str, top: int
) -> None:
    category = next(name for name in by if name not in ("month", "weekday"))
    named = heaviest(rows, category, first if MEASURES[first].additive else "calls")[:top]
    groups = folded(rows, by, category, named, "Asia/Tokyo")
    asked = list(dict.fromkeys([first, *OFTEN]))
    for native in frames(rows):
        found = breakdown(native, by, asked, tz="Asia/Tokyo", top=top)
        assert found.columns[-1] == "is_other"
        assert found.schema["is_other"] == pl.Boolean
        assert list(found.roles.dimensions) == by
        assert "is_other" not in found.roles.measures
        assert_measured(found, [*by, "is_other"], groups, currencies(rows))
        alone = breakdown(native, category, asked, top=top)
        if MEASURES[first].additive:
            assert alone.filter(~pl.col("is_other"))[category].to_list() == named


@pytest.mark.proof
@settings(max_examples=trials(3, 100), deadline=None)
@given(rows=calls(max_size=40), by=BY)
def test_totals_are_computed_from_the_calls(rows: list[Row], by: list[str]) -> None:
    for native in frames(rows):
        found = breakdown(native, by, OFTEN, tz="Asia/Tokyo", totals=True)
        assert len(found.totals) == len(by)
        for depth, total in zip(range(len(by) - 1, -1, -1), found.totals, strict=True):
            left = by[:depth]
            assert list(total.roles.dimensions) == left
            assert total.columns == [*left, *found.columns[len(by) :]]
            assert total.currencies == found.currencies
            groups = grouped(rows, left, "Asia/Tokyo") or ({} if left else {(): []})
            assert_measured(total, left, groups, currencies(rows))


QUESTIONS: list[dict[str, Any]] = [
    {"by": by, "measures": measures, **options}
    for measures in (SOME, [*OFTEN, "cost_p90", "cost_per_call"], ["calls"])
    for by, options in (
        (["day", "model_name", "team"], {"top": 1}),
        (["model_name", "day", "status"], {"top": 1, "fill_gaps": True}),
        (["team", "currency", "model_name"], {"top": 2}),
        (["currency", "month"], {"fill_gaps": True}),
        (["status", "currency"], {"start": "2025-03-01", "end": "2025-10-01"}),
        (["week", "team"], {}),
        ([], {}),
    )
]


@pytest.mark.proof
@settings(max_examples=trials(4, 100), deadline=None)
@given(
    rows=calls(max_size=40, times=st.datetimes(datetime(2025, 4, 28), datetime(2025, 5, 12), timezones=st.just(UTC))),
    question=st.sampled_from(QUESTIONS),
)
def test_a_total_is_what_the_question_without_its_last_dimensions_is_answered(
    rows: list[Row], question: dict[str, Any]
) -> None:
    by, measures = question["by"], question["measures"]
    options = {name: value for name, value in question.items() if name not in ("by", "measures")}
    for native in frames(rows):
        found = breakdown(native, by, measures, totals=True, **options)
        assert_frame_equal(found, breakdown(native, by, measures, **options))
        assert len(found.totals) == len(by)
        for depth, total in zip(range(len(by) - 1, -1, -1), found.totals, strict=True):
            left = dict(options)
            if not {"model_name", "team"} & set(by[:depth]):
                left.pop("top", None)
            if not {"day", "month"} & set(by[:depth]):
                left.pop("fill_gaps", None)
            anew = breakdown(native, by[:depth], measures, **left)
            assert_frame_equal(total, anew)
            assert total.roles == anew.roles


@pytest.mark.proof
@settings(max_examples=trials(3, 100), deadline=None)
@given(rows=calls(max_size=40), by=BY, top=st.none() | st.integers(1, 3))
def test_rows_of_what_adds_up_add_up_to_every_total(rows: list[Row], by: list[str], top: int | None) -> None:
    additive = [name for name, measure in MEASURES.items() if measure.additive]
    if {"month", "weekday"}.issuperset(by):
        top = None
    for native in frames(rows):
        found = breakdown(native, by, additive, top=top, totals=True)
        columns = [pl.col(name) for name in found.roles.measures]
        for total in found.totals:
            assert_frame_equal(
                pl.DataFrame(found).select(column.sum() for column in columns),
                pl.DataFrame(total).select(column.sum() for column in columns),
            )


def priced(model: str | None, price: str | None, currency: str | None = "USD", hours: int = 0, **fields: Any) -> Row:
    when, amount = T + timedelta(hours=hours), None if price is None else Decimal(price)
    return call(when, **{"provider_name": model, "total_price": amount, "currency": currency, **fields})


@engines
def test_a_value_that_is_called_like_the_rest_is_told_apart(engine: int) -> None:
    rows = [priced("other", "5"), priced(None, "3"), priced("p", "2", latency_ms=7), priced("q", "1", latency_ms=9)]
    asked = ["cost", "latency_p50", "models"]
    found = breakdown(list(frames(rows))[engine], "provider_name", asked, top=2)
    assert found.rows() == [
        ("other", 5, None, 1, "USD", False),
        (None, 3, None, 1, "USD", False),
        ("other", 3, 8.0, 1, "USD", True),
    ]
    one = breakdown(list(frames(rows))[engine], "provider_name", asked, top=1)
    assert one["provider_name"].to_list() == ["other", "other"]
    assert one["is_other"].to_list() == [False, True]
    every = breakdown(list(frames(rows))[engine], "provider_name", asked, top=4)
    assert every["is_other"].to_list() == [False] * 4
    assert_frame_equal(every.drop("is_other"), breakdown(list(frames(rows))[engine], "provider_name", asked))


@engines
def test_the_rest_comes_last_in_every_group_of_rows(engine: int) -> None:
    rows = [priced(name, price, hours=hours) for name, price in (("a", "1"), ("z", "9"), ("b", "2"))
            for hours in (0, 24)]  # fmt: skip
    first, second = T.date(), T.date() + timedelta(days=1)
    native = list(frames(rows))[engine]
    assert breakdown(native, ["day", "provider_name"], "cost", top=1).rows() == [
        (first, "z", 9, "USD", False),
        (first, "other", 3, "USD", True),
        (second, "z", 9, "USD", False),
        (second, "other", 3, "USD", True),
    ]
    by_name = breakdown(native, ["provider_name", "day"], "cost", top=1)
    assert by_name["provider_name"].to_list() == ["z", "z", "other", "other"]
    with_status = breakdown(native, ["provider_name", "status"], "cost", top=1)
    assert with_status.select("provider_name", "status").rows() == [("z", "success"), ("other", "success")]


@engines
def test_which_are_heaviest_is_asked_of_the_whole_answer_in_the_order_of_a_ranking(engine: int) -> None:
    rows = [
        *(priced("euro", "1", "EUR", hours) for hours in range(3)),
        *(priced("dollar", "5", hours=hours) for hours in range(4)),
        *(priced("free", None, hours=hours) for hours in range(9)),
        priced("yen", "999", "JPY"),
    ]
    native = list(frames(rows))[engine]
    # The dollar has most priced calls; what has no price in any currency weighs less than what has one in some.
    for top, named in ((1, ["dollar"]), (2, ["dollar", "euro"]), (3, ["dollar", "euro", "yen"])):
        found = breakdown(native, ["hour", "provider_name"], "cost", top=top)
        assert set(found.filter(~pl.col("is_other"))["provider_name"]) == set(named)
        apart = breakdown(native, ["currency", "provider_name"], "cost", top=top)
        assert set(apart.filter(~pl.col("is_other"))["provider_name"]) == set(named)
    by_calls = breakdown(native, "provider_name", "cost_per_call", top=1)
    assert by_calls.filter(~pl.col("is_other"))["provider_name"].to_list() == ["free"]
    rest = by_calls.filter("is_other").row(0, named=True)
    assert (rest["cost_per_call_USD"], rest["cost_per_call_EUR"], rest["cost_per_call_JPY"]) == (5, 1, 999)


@engines
def test_currencies_are_never_one_group(engine: int) -> None:
    rows = [priced("p", "1"), priced("p", "2", "EUR"), priced("q", "3", "JPY")]
    native = list(frames(rows))[engine]
    found = breakdown(native, ["currency", "provider_name"], ["calls", "cost"], top=1, totals=True)
    assert sorted(found.rows()) == [
        ("EUR", "p", 1, 2, False), ("JPY", "other", 1, 3, True), ("USD", "p", 1, 1, False)
    ]  # fmt: skip
    by_currency, whole = found.totals
    assert by_currency.columns == ["currency", "calls", "cost"]
    assert whole.rows() == [(3, 2, 3, 1)]
    assert whole.columns == ["calls", "cost_EUR", "cost_JPY", "cost_USD"]
    with pytest.raises(UsageError, match="top needs a category in by"):
        breakdown(native, ["currency", "day"], "calls", top=1)


@engines
def test_measures_of_ones_own_have_a_rest_and_totals(engine: int) -> None:
    slow = Measure("slow", "Slow", "count", "calls", "Calls above a second.",
                   Aggregate("count", where=(Condition("latency_ms", ">", 1000),)), additive=True)  # fmt: skip
    rows = [call(T, model_name=name, latency_ms=ms, team=str(ms)) for name in "abc" for ms in (5, 2000, 3000)]
    rows.append(call(T, model_name="c", latency_ms=4000, team="5"))
    found = breakdown(list(frames(rows))[engine], ["model_name", "team"], slow, top=1, totals=True)
    assert found.totals[0].rows() == [("c", 3, False), ("other", 4, True)]
    assert found.totals[1].rows() == [(7,)]
    assert found.totals[0].roles.measures["slow"].measure is slow


@engines
def test_dimensions_of_ones_own_are_folded_and_have_totals(engine: int) -> None:
    speed = Dimension(
        "speed", cases=[("fast", Condition("latency_ms", "<", 10)), ("slow", Condition("latency_ms", ">", 99))]
    )
    team = Dimension("first", expression=nw.col("team").str.slice(0, 1))
    rows = [call(T, team=name, latency_ms=ms) for name in ("red", "rot", "blue") for ms in (1, 5, 50, 500)]
    native = list(frames(rows))[engine]
    found = breakdown(native, [speed, team], ["calls", "latency_p50"], top=1, totals=True)
    assert found.rows() == [("fast", "r", 4, 3.0, False), ("fast", "b", 2, 3.0, False), ("other", "r", 4, 275.0, True),
                            ("other", "b", 2, 275.0, True)]  # fmt: skip
    assert found.totals[0].rows() == [("fast", 6, 3.0, False), ("other", 6, 275.0, True)]
    assert found.totals[1].rows() == [(12, 27.5)]
    assert breakdown(native, [team, speed], "calls", top=1)["first"].to_list() == [
        "r",
        "r",
        "r",
        "other",
        "other",
        "other",
    ]


@engines
def test_totals_of_nothing_are_one_row_of_nothing(engine: int) -> None:
    found = breakdown(list(frames([]))[engine], ["day", "model_name"], SOME, top=3, totals=True)
    by_day, whole = found.totals
    assert (found.height, by_day.height) == (0, 0)
    assert whole.select("calls", "users", "total_tokens", "cost", "latency_p50").rows() == [(0, 0, 0, None, None)]
    some = breakdown(polars_frame([call(T)]), ["day", "model_name"], SOME, top=3, totals=True)
    assert [total.schema for total in (found, *found.totals)] == [total.schema for total in (some, *some.totals)]


@engines
@pytest.mark.parametrize("measures", [["latency_p50"], ["cost_p50"], ["users", "latency_p95"]])
def test_totals_of_what_never_adds_up(engine: int, measures: list[str]) -> None:
    rows = [priced("p", "1", latency_ms=100, user_id="u"), priced("q", "2", latency_ms=300)]
    native = list(frames(rows))[engine]
    by_day, whole = breakdown(native, ["day", "provider_name"], measures, totals=True).totals
    assert_frame_equal(by_day, breakdown(native, "day", measures))
    assert_frame_equal(whole, breakdown(native, (), measures))


@engines
def test_gaps_are_in_the_totals_too(engine: int) -> None:
    rows = [priced("p", "1"), priced("q", "2", hours=48, user_id="u")]
    found = breakdown(list(frames(rows))[engine], ["day", "provider_name"], ["cost", "users"], top=1, totals=True,
                      fill_gaps=True)  # fmt: skip
    assert found.height == 6
    assert [row[1:] for row in found.totals[0].rows()] == [(1, 0, "USD"), (0, 0, "USD"), (2, 1, "USD")]
    assert found.totals[1].rows() == [(3, 1, "USD")]


@pytest.mark.parametrize("top", [0, -1, True, 1.0, "2"])
def test_top_is_a_number_of_groups(top: Any) -> None:
    with pytest.raises(UsageError, match=r"top = .*; it says how many groups to keep, at least 1"):
        breakdown(polars_frame([]), "model_name", "calls", top=top)


def test_top_needs_a_category_and_a_name_for_its_mark() -> None:
    with pytest.raises(UsageError, match="top needs a category in by, such as model_name"):
        breakdown(polars_frame([]), ["day", "weekday"], "calls", top=1)
    rows = polars_frame([call(T)]).with_columns(is_other=pl.lit("no"))
    for top in (None, 1):
        with pytest.raises(UsageError, match="the column 'is_other' of an answer marks the group"):
            breakdown(rows, ["model_name", "is_other"], "calls", top=top)
    mine = Dimension("mine", needs=("is_other",))
    assert breakdown(rows, mine, "calls").rows() == [("no", 1)]


def test_frames_with_few_columns_have_totals() -> None:
    bare = polars_frame([call(T, model_name=name) for name in "aab"]).select("model_name")
    found = cost(bare.with_columns(total_price=pl.lit(Decimal("0.5"), pl.Decimal(38, 10))), top=1, totals=True)
    assert found.select("model_name", "cost", "calls", "is_other").rows() == [
        ("a", 1, 2, False),
        ("other", Decimal("0.5"), 1, True),
    ]
    assert found.totals[0].select("cost", "calls", "currency").rows() == [(Decimal("1.5"), 3, "USD")]


def test_questions_that_fold_alike_share_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = counted_passes(monkeypatch)
    rows = polars_frame([priced(name, "1") for name in "pqrs"])
    asked = [Question("provider_name", name, top=2) for name in MEASURES if not MEASURES[name].additive]
    alone = [breakdown(rows, "provider_name", one.measures, top=2) for one in asked]
    passes.clear()
    together = breakdowns(rows, [*asked, *asked])
    assert len(passes) == 2  # one to rank, one for all
    for answer, again, expected in zip(together, together[len(asked) :], alone, strict=False):
        assert_frame_equal(answer, expected)
        assert answer is not again


def test_a_usage_asks_for_them_too() -> None:
    usage = load_usage(polars_frame([priced(name, "1", model_name=name) for name in "pqrs"]))
    found = usage.cost(["day", "model_name"], top=2, totals=True, fill_gaps=True)
    assert found["model_name"].to_list() == ["p", "q", "other"]
    assert [total.height for total in found.totals] == [1, 1]
    again = pickle.loads(pickle.dumps(found))
    assert_frame_equal(again.totals[0], found.totals[0])
    (answer,) = usage.breakdowns([Question("model_name", "calls", top=1, totals=True)])
    assert answer.totals[0].rows() == [(4,)]
