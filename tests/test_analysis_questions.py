"""The ready-made breakdowns, the summary, the distribution, and drawing them."""

import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage import analysis
from mofa_usage.analysis import (
    Breakdown,
    Question,
    breakdown,
    breakdowns,
    cost,
    latency,
    success_rate,
    summary,
    token_rate,
)
from mofa_usage.analysis.questions import COST, SUMMARY
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES, measure_of_column
from mofa_usage.theme import styles
from tests.passes import counted_passes
from tests.plain_analysis import Row, call, calls, frames, polars_frame, relation
from tests.proofs import trials

engines = pytest.mark.parametrize("engine", [0, 1, 2], ids=["polars", "lazy", "duckdb"])
T = datetime(2025, 5, 1, 12, tzinfo=UTC)
ROWS = [
    call(T, model_name="a", total_price=Decimal("0.5"), latency_ms=100, completion_tokens=50, total_tokens=100),
    call(T.replace(hour=15), model_name="b", total_price=Decimal("0.25"), status="timeout", latency_ms=30_000),
    call(T.replace(hour=16), model_name="b", total_price=Decimal("2"), currency="EUR", time_to_first_token_ms=7),
    call(T.replace(hour=17), model_name="b", latency_ms=9),
]


@engines
@pytest.mark.parametrize("question", [cost, latency, success_rate, token_rate])
def test_a_question_is_the_breakdown_of_its_measures(question: Any, engine: int) -> None:
    native = list(frames(ROWS))[engine]
    found = question(
        native, ["model_name", "day"], tz="Asia/Tokyo", start="2025-05-01", end="2025-05-03", fill_gaps=True
    )
    measures = list(dict.fromkeys(part[0] for part in map(measure_of_column, found.columns) if part))
    again = breakdown(native, ["model_name", "day"], measures, tz="Asia/Tokyo", start="2025-05-01", end="2025-05-03",
                      fill_gaps=True)  # fmt: skip
    assert isinstance(found, Breakdown)
    assert_frame_equal(found, again)


def test_every_cost_says_its_coverage() -> None:
    assert cost(polars_frame(ROWS[:2])).rows(named=True)[0] == {
        "model_name": "a",
        "cost": Decimal("0.5"),
        "calls": 1,
        "priced_calls": 1,
        "coverage": 1.0,
        "computed_calls": 0,
        "estimated_calls": 0,
        "converted_calls": 0,
        "total_tokens": 100,
        "cost_per_call": Decimal("0.5"),
        "cost_per_success": Decimal("0.5"),
        "cost_per_1k_tokens": Decimal("5"),
        "wasted_cost": Decimal(0),
        "currency": "USD",
    }


@engines
def test_the_summary_is_one_row_whatever_the_currencies(engine: int) -> None:
    found = summary(list(frames(ROWS))[engine], tz="Asia/Tokyo")
    assert found.height == 1
    assert found.columns[:3] == ["first_call", "last_call", "calls"]
    assert found.row(0, named=True).items() >= {
        ("first_call", T),
        ("last_call", T.replace(hour=17)),
        ("calls", 4),
        ("success_rate", 0.75),
        ("cost_USD", Decimal("0.75")),
        ("cost_EUR", Decimal(2)),
        ("coverage", 0.75),
    }
    assert found.currencies == ("USD", "EUR")
    assert found.schema["first_call"] == pl.Datetime("us", "Asia/Tokyo")
    later = summary(list(frames(ROWS))[engine], start=T.replace(hour=16))
    assert later.select("currency", "cost", "calls", "first_call").rows() == [("EUR", 2, 2, T.replace(hour=16))]


@engines
def test_the_summary_of_nothing_is_a_row_of_nothing(engine: int) -> None:
    nothing = summary(list(frames([]))[engine], tz="Asia/Tokyo")
    assert nothing.select("calls", "total_tokens", "cost", "currency", "first_call").rows() == [
        (0, 0, None, None, None)
    ]
    assert nothing.schema == summary(polars_frame(ROWS[:2]), tz="Asia/Tokyo").schema


def test_questions_shrink_to_the_columns_that_are_there() -> None:
    some = polars_frame(ROWS).select("model_name", "create_time", "total_price", "currency")
    tokens = polars_frame(ROWS).select("create_time", "model_name", "prompt_tokens", "completion_tokens", "total_price")
    for native in (some, relation(some)):
        assert cost(native, "day").columns == [
            *("day", "cost_USD", "cost_EUR", "calls", "priced_calls", "coverage"),
            *("cost_per_call_USD", "cost_per_call_EUR"),
        ]
        assert breakdown(native).columns == ["calls", "cost_USD", "cost_EUR", "coverage"]
        with pytest.raises(UsageError, match="no column 'status', which the measure 'success_rate'"):
            success_rate(native)
        with pytest.raises(UsageError, match="no column 'latency_ms', which the measure 'latency_mean'"):
            latency(native)
        with pytest.raises(UsageError, match="no column 'status', which the measure 'wasted_cost'"):
            breakdown(native, (), ["cost", "wasted_cost"])
    for native in (tokens, relation(tokens)):
        assert cost(native).columns == [
            *("model_name", "cost", "calls", "priced_calls", "coverage", "cost_per_call", "currency")
        ]
        assert summary(native).columns == [
            *("first_call", "last_call", "calls", "prompt_tokens", "completion_tokens", "cost", "priced_calls"),
            *("coverage", "cost_per_call", "models", "currency"),
        ]
        assert cost(native.select("total_price")).rows() == [
            (Decimal("2.75"), 4, 3, 0.75, Decimal("0.9166666667"), "USD")
        ]
    bare = polars_frame(ROWS).select("model_name")
    assert summary(bare).rows() == [(4, 2)]
    assert latency(polars_frame(ROWS).select("time_to_first_token_ms")).columns[:2] == ["calls", "ttft_calls"]
    tokens = polars_frame(ROWS[:1]).select("completion_tokens", "latency_ms")
    assert token_rate(tokens)["token_rate_p50"].to_list() == [500.0]


QUESTIONS = [
    Question("model_name", ["cost", "calls"]),
    Question("model_name", ["latency_p95", "cost_per_call", "users"]),
    Question("model_name", "calls", start="2025-05-01"),
    Question("model_name"),
    Question(None, COST),
    Question(["day", "model_name"], ["cost"], fill_gaps=True),
    Question(["day", "model_name"], ["wasted_cost", "calls"]),
    Question(["model_name", "day"], "latency_p50"),
    Question((), ["cost"]),
    Question((), SUMMARY),
    Question("currency", ["cost", "calls"]),
    Question(("currency", "labels.feature"), "coverage"),
    Question(["labels.feature", "model_name"], ["cost_per_success", "latency_max", "token_rate_mean"]),
    Question("labels.feature", ["cost", "latency_mean", "latency_p50", "sessions"]),
    Question("team", ["success_rate", "cost"]),
]


@pytest.mark.proof
@settings(max_examples=trials(4, 100), deadline=None)
@given(rows=calls(), asked=st.lists(st.sampled_from(QUESTIONS), max_size=6), tz=st.sampled_from(["UTC", "Asia/Tokyo"]))
def test_several_questions_at_once_are_answered_as_each_alone(rows: list[Row], asked: list[Question], tz: str) -> None:
    for native in frames(rows):
        together = breakdowns(native, asked, tz=tz)
        assert len(together) == len(asked)
        for one, answer in zip(asked, together, strict=True):
            alone = breakdown(
                native, one.by, one.measures, tz=tz, start=one.start, end=one.end, fill_gaps=one.fill_gaps
            )
            assert_frame_equal(answer, alone)
            assert answer.currencies == alone.currencies


def test_questions_that_group_alike_share_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = counted_passes(monkeypatch)
    breakdowns(polars_frame(ROWS[:2]), [Question("model_name", name) for name in MEASURES])
    assert len(passes) == 1
    breakdowns(polars_frame(ROWS), [Question("model_name", name) for name in MEASURES])
    assert len(passes) == 3  # several currencies: a second pass for the money


def test_sums_by_fewer_dimensions_are_those_of_more_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = counted_passes(monkeypatch)
    asked = [
        Question((), ["calls", "error_count"]),
        Question("model_name", ["cost", "latency_mean", "latency_max"]),
        Question(["model_name", "day"], "cost"),
    ]
    whole, models, _ = breakdowns(polars_frame(ROWS[:2]), asked)
    assert len(passes) == 1
    assert (whole.rows(), models["model_name"].to_list()) == ([(2, 1)], ["a", "b"])
    breakdowns(polars_frame(ROWS[:2]), [*asked, Question("model_name", "latency_p50")])
    assert len(passes) == 3  # a quantile needs the calls


def test_the_one_currency_of_several_questions_is_not_that_of_a_period_without_prices() -> None:
    rows = [call(T, total_price=Decimal("1"), currency="EUR"), call(T + timedelta(days=3), total_price=None)]
    asked = [
        Question((), ["cost", "calls"], end=T + timedelta(days=1)),
        Question((), "cost", start=T + timedelta(days=1)),
    ]
    for native in frames(rows):
        priced, unpriced = breakdowns(native, [*asked])
        assert (priced.currencies, priced.row(0)) == (("EUR",), (Decimal("1"), 1, "EUR"))
        assert (unpriced.currencies, unpriced.row(0)) == ((), (None, None))


def test_a_breakdown_is_a_polars_frame() -> None:
    found = cost(polars_frame(ROWS))
    assert isinstance(found, pl.DataFrame)
    assert_frame_equal(pl.DataFrame(found), found.lazy().collect(), check_exact=True)
    assert Breakdown(found.filter(pl.col("model_name") == "a")).height == 1


def test_a_breakdown_can_be_pickled() -> None:
    found = cost(polars_frame(ROWS))
    found.styles_of = lambda dimension: styles([f"{dimension} 1"])
    again = pickle.loads(pickle.dumps(found))
    assert isinstance(again, Breakdown)
    assert again.currencies == ("USD", "EUR")
    assert again.styles_of is None
    assert_frame_equal(again, found)


def test_a_breakdown_can_be_drawn_with_one_more_word() -> None:
    found = cost(polars_frame(ROWS), ["day", "model_name"])
    figure = cost(polars_frame(ROWS[:2]), ["day", "model_name"]).pipe(Breakdown).draw(theme="dark")
    assert len(figure.data) >= 1
    with pytest.raises(UsageError, match="no figure 'pie'"):
        found.draw("pie")


def test_the_names_of_the_analysis() -> None:
    assert analysis.__all__ == sorted(analysis.__all__)
    assert all(getattr(analysis, name) is not None for name in analysis.__all__)
