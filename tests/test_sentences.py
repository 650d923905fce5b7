"""What answers say of themselves, to the letter: each question, nothing, one row, many, time, several currencies."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from mofa_usage.analysis import (
    Breakdown,
    breakdown,
    cost,
    distribution,
    latency,
    success_rate,
    summary,
    token_rate,
)
from mofa_usage.measures import Aggregate, Measure
from tests.plain_analysis import Row, call, polars_frame

T = datetime(2026, 5, 4, 12, tzinfo=UTC)
SLOW = Measure("slow", "Slow calls", "count", "calls", "Calls that took a second.", Aggregate("count"), additive=True)


def many(*groups: tuple[int, dict[str, Any]]) -> pl.DataFrame:
    """So many calls of each kind."""
    return polars_frame([call(T, **values) for number, values in groups for _ in range(number)])


def priced(amount: str | None, **values: Any) -> dict[str, Any]:
    return {"total_price": None if amount is None else Decimal(amount), **values}


MODELS = many(
    (30, priced("0.1", model_name="a", latency_ms=1000, completion_tokens=50)),
    (60, priced("0.01", model_name="b", latency_ms=200, completion_tokens=50)),
    (10, priced(None, model_name="b", latency_ms=30_000, status="timeout", completion_tokens=None)),
)
NOTHING = polars_frame([])
EUROS = many((1, priced("3", model_name="a")), (3, priced("1", model_name="b")),
             (2, priced("2", model_name="b", currency="EUR")))  # fmt: skip


def test_a_cost_says_the_total_its_coverage_and_who_has_most_of_it() -> None:
    assert cost(MODELS, "model_name").sentence == (
        "The calls cost $3.60 in total (90.0% of the 100 calls priced); a is 83.3% of it."
    )
    assert cost(MODELS, ()).sentence == "The calls cost $3.60 in total (90.0% of the 100 calls priced)."
    assert cost(MODELS, "model_name").filter(pl.col("model_name") == "a").sentence == (
        "The calls cost $3.00 in total (100% of the 30 calls priced)."
    )
    assert cost(MODELS, "model_name").floats().sentence == cost(MODELS, "model_name").sentence


def test_what_is_not_known_is_said_and_nothing_is_nothing() -> None:
    unpriced = many((2, priced(None, model_name="a")))
    for by in ((), "model_name"):
        assert cost(unpriced, by).sentence == "What the calls cost is unknown: none of them has a price."
    questions = [cost, latency, token_rate, success_rate, breakdown]
    for question in questions:
        assert question(NOTHING, ()).sentence == "There are no calls."
        assert question(NOTHING, "model_name").sentence == "There are no calls."
    assert summary(NOTHING).sentence == distribution(NOTHING).sentence == "There are no calls."
    assert cost(MODELS).head(0).sentence == "There are no calls."
    assert cost(many((2, priced("0", model_name="a")), (1, priced("0")))).sentence == (
        "The calls cost $0.00 in total (100% of the 3 calls priced)."
    )


def test_currencies_are_told_apart_in_either_form() -> None:
    said = "The calls cost $6.00 and EUR 4.00 in total (100% of the 6 calls priced)"
    assert (
        cost(EUROS, "model_name").sentence == f"{said}; b is 100% of the EUR."
    )  # of the dollars a and b have half each
    assert cost(EUROS, ()).sentence == f"{said}."
    by_currency = cost(EUROS, ["currency", "model_name"]).sentence
    assert (
        by_currency == "The calls cost EUR 4.00 and $6.00 in total (100% of the 6 calls priced); b is 100% of the EUR."
    )


def daily(calls: Sequence[int], **values: Any) -> pl.DataFrame:
    rows: list[Row] = [
        call(T + timedelta(days=day), **values) for day, number in enumerate(calls) for _ in range(number)
    ]
    return polars_frame(rows)


def test_a_course_says_the_highest_bucket_and_a_change_that_means_something() -> None:
    grows = cost(daily([1, 1, 1, 2, 2, 5], total_price=Decimal(1)), "day").sentence
    assert grows == (
        "The calls cost $12.00 in total (100% of the 12 calls priced). "
        "The highest day is 2026-05-09 with $5.00; the later half of the days has 3.0 times as much as the earlier."
    )
    shrinks = breakdown(daily([5, 3, 0, 3, 2, 2, 2], total_price=None), "day", "calls").sentence
    assert shrinks == (
        "There are 17 calls. The highest day is 2026-05-04 with 5; "
        "the later half of the days has 25.0% less than the earlier."
    )
    assert breakdown(daily([5, 5]), "day", "calls").sentence == "There are 10 calls."  # neither is the highest
    few = breakdown(daily([1, 5]), "day", "calls").sentence
    assert few == "There are 6 calls. The highest day is 2026-05-05 with 5."
    same = breakdown(daily([3, 3, 3, 3, 3, 3]), "day", "calls").sentence
    assert "half" not in same
    assert breakdown(daily([2, 5]), "weekday", "calls").sentence == (
        "There are 7 calls. The highest weekday is Tue with 5."
    )
    assert breakdown(daily([2]), "day", "calls").sentence == "There are 2 calls."


def test_a_latency_says_where_it_is_highest_and_of_how_few_calls() -> None:
    assert latency(MODELS, ()).sentence == "Half of the 100 calls took at most 200 ms, 95% at most 30.0 s."
    assert latency(MODELS).sentence == (
        "Latency p95: highest for b (30.0 s of 70 calls), lowest for a (1.00 s of 30 calls)."
    )
    found = latency(MODELS)
    found.totals = (latency(MODELS, ()),)
    assert found.sentence == (
        "Half of the 100 calls took at most 200 ms, 95% at most 30.0 s. "
        "Latency p95: 30.0 s for all calls, highest for b (30.0 s of 70 calls), lowest for a (1.00 s of 30 calls)."
    )
    assert latency(many((2, {"latency_ms": None})), ()).sentence == "Latency p95: not known for any call."
    assert latency(many((2, {"model_name": "a", "latency_ms": 5}))).sentence == (
        "Half of the 2 calls took at most 5 ms, 95% at most 5 ms."
    )


def test_a_token_rate_is_told_by_its_ends() -> None:
    assert token_rate(MODELS, ()).sentence == "Token rate p50: 250.0 tokens/s."
    assert token_rate(MODELS).sentence == (
        "Token rate p50: highest for b (250.0 tokens/s of 70 calls), lowest for a (50.0 tokens/s of 30 calls)."
    )


def test_a_success_rate_says_how_the_others_ended() -> None:
    assert success_rate(MODELS).sentence == (
        "90.0% of 100 calls succeeded; it was lowest for b (85.7% of 70). The others: 10 timed out."
    )
    assert success_rate(many((3, {})), ()).sentence == "All 3 calls succeeded."
    assert success_rate(many((2, {"status": "cancelled"}), (1, {"status": "failed"})), ()).sentence == (
        "None of the 3 calls succeeded. The others: 1 failed, 2 were cancelled."
    )
    assert success_rate(many((1, {})), ()).sentence == "The only call succeeded."
    assert success_rate(many((1, {"status": "failed"})), ()).sentence == "The only call did not succeed."


def test_a_distribution_says_below_what_most_lie() -> None:
    found = distribution(MODELS, bins=3)
    assert found.rows() == [(200, 1063, 90), (1063, 5647, 0), (5647, 30001, 10)]
    assert found.sentence == "At least half of the 100 calls took at most 1.06 s, and 95% at most 30.0 s."
    assert distribution(MODELS, "model_name", bins=3).sentence == found.sentence


def test_a_distribution_of_costs_and_tokens_is_one_of_these() -> None:
    assert distribution(MODELS, of="completion_tokens").sentence == (
        "At least half of the 90 calls had at most 50 completion tokens, and 95% at most 50."
    )
    assert distribution(MODELS, of="cost", bins=2).sentence == (
        "At least half of the 90 calls cost at most $0.0316, and 95% at most $0.10."
    )
    told = (
        "At least half of the 2 calls cost at most EUR 2.00, and 95% at most EUR 2.00; "
        "at least half of the 4 calls cost at most $1.73, and 95% at most $3.00."
    )
    assert distribution(EUROS, of="cost", bins=2).sentence == told
    assert distribution(EUROS, "currency", of="cost", bins=2).sentence == told


def test_what_is_made_of_other_measures_is_told_as_what_it_is() -> None:
    days = polars_frame([call(T + timedelta(days=day), **priced("1", model_name=name)) for day in range(3)
                         for name in "ab"[: 3 - day]])  # fmt: skip
    assert breakdown(days, "model_name", "calls_share", totals=True).sentence == (
        "Calls share: highest for a (60.0%), lowest for b (40.0%)."
    )
    assert breakdown(days, "day", "cost_cumulative").sentence == "Cost so far: $5.00 for 2026-05-06."
    assert breakdown(days, ["day", "model_name"], ["calls_cumulative", "calls"]).sentence == (
        "Calls so far: highest for 2026-05-06, a (3), lowest for 2026-05-05, b (2)."
    )
    assert breakdown(days, "day", ["success_rate_rolling_2", "calls", "cost"]).sentence == (
        "Success rate, rolling 2: 100% throughout. The calls cost $5.00 in total."
    )


def test_amounts_of_different_currencies_are_never_compared() -> None:
    told = "Cost p50: highest for a ($3.00), lowest for b ($1.00); EUR 2.00 for b."
    assert breakdown(EUROS, "model_name", "cost_p50").sentence == told
    longer = breakdown(EUROS, ["model_name", "currency"], "cost_p50").sentence
    assert longer == "Cost p50: EUR 2.00 for b, EUR; highest for a, USD ($3.00), lowest for b, USD ($1.00)."
    assert breakdown(EUROS, "model_name", "cost_share").sentence == (
        "Cost share: of the USD 50.0% throughout; of the EUR 100% for b."
    )
    assert breakdown(EUROS, (), "cost_p50").select("cost_p50_EUR").sentence == "Cost p50: EUR 2.00."


def test_without_names_only_the_range_is_told() -> None:
    assert latency(MODELS, "model_name").select("latency_p50").sentence == "Latency p50: 200 ms to 1.00 s."


def test_a_success_rate_by_status_says_nothing_of_the_lowest() -> None:
    mixed = many((30, {}), (30, {"status": "failed"}))
    assert success_rate(mixed, "status").sentence == "50.0% of 60 calls succeeded. The others: 30 failed."


def test_a_summary_says_the_outcome_and_the_cost() -> None:
    assert summary(MODELS).sentence == (
        "90.0% of 100 calls succeeded. They cost $3.60 in total (90.0% of them priced)."
    )
    bare = summary(MODELS.drop("total_price", "currency")).sentence
    assert summary(MODELS.drop("status", "latency_ms")).sentence == (
        "The calls cost $3.60 in total (90.0% of the 100 calls priced)."
    )
    assert bare == "90.0% of 100 calls succeeded. Half of the calls took at most 200 ms, 95% at most 30.0 s."


def test_a_breakdown_says_its_first_measure_and_the_cost() -> None:
    assert breakdown(MODELS, "model_name").sentence == (
        "There are 100 calls; b has 70.0% of them. They cost $3.60 in total (90.0% of them priced); a is 83.3% of it."
    )
    assert breakdown(MODELS, "model_name", ["cost_per_call"]).sentence == (
        "Cost per call: highest for a ($0.10), lowest for b ($0.01)."
    )
    assert breakdown(MODELS, "model_name", [SLOW]).sentence == "Slow calls: 100 in total; b has 70.0% of them."
    assert breakdown(MODELS, (), "users").sentence == "Users: 0."
    of_b = MODELS.filter(pl.col("model_name") == "b")
    assert breakdown(of_b, "model_name", ["wasted_cost", "priced_calls"]).sentence == "Wasted cost: not known."
    assert breakdown(MODELS, "model_name", ["wasted_cost"]).sentence == (
        "Wasted cost: $0.00 in total, as far as prices are known."
    )


def test_names_that_there_are_none_of_and_the_rest_are_told_as_such() -> None:
    nameless = breakdown(many((3, {"model_name": None}), (1, {"model_name": "a"})), "model_name", "calls")
    assert nameless.sentence == "There are 4 calls; (none) has 75.0% of them."
    folded = nameless.with_columns(is_other=pl.col("model_name").is_null())
    assert folded.sentence == "There are 4 calls; a has 25.0% of them."
    shown = breakdown(many((2, {"model_name": "\x1b[2J" + "m" * 90})), "model_name", "calls").with_columns(calls=2)
    assert shown.sentence.isprintable()


@pytest.mark.parametrize("left", [["model_name"], ["model_name", "coverage"], ["cost"], ["calls"], ["currency"], []])
def test_what_is_left_of_an_answer_still_says_something(left: list[str]) -> None:
    assert cost(MODELS).select(left).sentence.endswith(".")
    assert Breakdown(cost(MODELS).select(left)).sentence.endswith(".")


def test_a_frame_that_was_written_by_hand_says_what_its_names_tell() -> None:
    assert Breakdown({"team": ["x", "y"], "calls": [3, 1]}).sentence == "There are 4 calls; x has 75.0% of them."
    assert Breakdown({"calls": [1]}).sentence == "There is 1 call."
    assert Breakdown({"note": [1.5, 2.5]}).sentence == "There are 2 rows."


@pytest.mark.parametrize("by", [(), "model_name", "day", ["day", "model_name"], "currency", "hour_of_day"])
@pytest.mark.parametrize("question", [cost, latency, token_rate, success_rate, breakdown])
def test_whatever_somebody_makes_of_its_columns_it_says_something(question: Any, by: Any) -> None:
    for frame in (MODELS, EUROS, NOTHING):
        found = question(frame, by)
        for changed in (
            found.cast(pl.String),
            found.with_columns(pl.selectors.numeric().cast(pl.Float64) / 0.0),
            found.with_columns(pl.col(found.columns[0]).cast(pl.String)),
            found.clear(),
            found.select(pl.lit(None).alias(name) for name in found.columns),
            found.with_columns(pl.selectors.numeric() * -1),
        ):
            assert changed.sentence.endswith(".")
            assert changed._repr_html_().startswith("<div")
            assert str(changed)
