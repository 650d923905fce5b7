"""The vocabulary: complete, consistent, and helpful to who mistypes it."""

import doctest
from collections.abc import Callable
from typing import Any, get_args

import pytest

from mofa_usage import measures, zones
from mofa_usage.errors import UsageError
from mofa_usage.measures import (
    DIMENSIONS,
    LABEL_COLUMNS,
    MEASURES,
    Aggregate,
    Condition,
    Dimension,
    DimensionName,
    Measure,
    MeasureName,
    Quotient,
    Ratio,
    Share,
    columns,
    cumulative,
    derived,
    dimension,
    measure,
    measure_of_column,
    money_columns,
    percentiles,
    rolling,
    share,
)

CONTRACT = [
    "calls",
    "success_count",
    "failed_count",
    "timeout_count",
    "rate_limited_count",
    "cancelled_count",
    "error_count",
    "success_rate",
    "requests",
    "request_success_rate",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "token_coverage",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cache_hit_rate",
    "cost",
    "priced_calls",
    "coverage",
    "computed_calls",
    "estimated_calls",
    "converted_calls",
    "cost_per_call",
    "cost_per_success",
    "cost_per_1k_tokens",
    "wasted_cost",
    "latency_mean",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "latency_max",
    "latency_calls",
    "ttft_mean",
    "ttft_p50",
    "ttft_p90",
    "ttft_p95",
    "ttft_p99",
    "ttft_max",
    "ttft_calls",
    "time_per_output_token_mean",
    "time_per_output_token_p50",
    "time_per_output_token_p90",
    "time_per_output_token_p95",
    "time_per_output_token_p99",
    "token_rate_mean",
    "token_rate_p50",
    "token_rate_p95",
    "token_rate_overall",
    "sessions",
    "users",
    "agents",
    "models",
]
IDS = ["id", "chat_session_id", "agent_id", "user_id", "tenant_id", "request_message_id", "response_message_id"]
OTHERS = ["model_name", "status", "error_code", "currency", "agent_code", "agent_name", "provider_name"]
LABELS = ["operation", "service_tier", "environment", "request_id", "served_model", "attempt", "retried"]
TIMES = ["minute", "hour", "day", "week", "month", "hour_of_day", "weekday"]


def test_the_measures_and_dimensions_of_the_contract_are_there() -> None:
    assert set(MEASURES) == set(CONTRACT)
    assert set(DIMENSIONS) == {*IDS, *OTHERS, *LABELS, *TIMES, "api_response_id", "token_source", "prompt_length"}


def test_type_checkers_know_the_names() -> None:
    assert list(get_args(MeasureName)) == list(MEASURES)
    assert list(get_args(DimensionName)) == list(DIMENSIONS)


@pytest.mark.parametrize("entry", [*MEASURES.values(), *DIMENSIONS.values()], ids=lambda entry: entry.name)
def test_every_entry_says_what_it_is(entry: measures.Measure | measures.Dimension) -> None:
    assert {**MEASURES, **DIMENSIONS}[entry.name] is entry
    assert entry.title[0].isupper()
    assert entry.description.endswith(".") or entry.description.endswith(")")


def test_titles_tell_entries_apart() -> None:
    for entries in (MEASURES, DIMENSIONS):
        assert len({entry.title for entry in entries.values()}) == len(entries)


@pytest.mark.parametrize("entry", MEASURES.values(), ids=lambda entry: entry.name)
def test_kind_unit_and_formula_fit_together(entry: measures.Measure) -> None:
    assert (entry.kind == "money") == (entry.unit == "currency") == ("currency" in entry.optional)
    assert (entry.kind == "rate") == (entry.unit == "")
    if isinstance(entry.formula, Aggregate):
        assert entry.additive == (entry.formula.function in ("count", "sum"))
    else:
        assert not entry.additive


def test_what_a_measure_needs_follows_from_its_formula() -> None:
    assert MEASURES["calls"].needs == ()
    assert MEASURES["cost_per_1k_tokens"].needs == ("total_price", "total_tokens")
    assert MEASURES["cost_per_1k_tokens"].optional == ("currency",)
    assert MEASURES["token_rate_overall"].needs == ("completion_tokens", "latency_ms")
    assert MEASURES["token_rate_p50"].needs == ("completion_tokens", "latency_ms")
    assert MEASURES["token_rate_p50"].optional == ("tokens_per_second",)
    assert MEASURES["time_per_output_token_p95"].needs == ("latency_ms", "time_to_first_token_ms", "completion_tokens")
    assert (MEASURES["requests"].needs, MEASURES["requests"].optional) == ((), ("retried",))
    slow = (Condition("status", "!=", "success"), Condition("latency_ms", ">", 1000))
    assert Aggregate("sum", "total_price", slow).needs == ("total_price", "status", "latency_ms")
    paused = Quotient("pause", "latency_ms", "attempt", (Condition("attempt", ">", 0),), "time_to_first_token_ms")
    assert Aggregate("max", paused).needs == ("latency_ms", "time_to_first_token_ms", "attempt")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("status", "=", "success"), "no operator is called '='; there are: ==, !=, "),
        (("status", "=="), "the operator '==' of a condition on 'status' needs a value"),
        (("status", "known", "success"), "the operator 'known' of a condition on 'status' takes no value"),
    ],
)
def test_a_wrong_condition_is_refused(wrong: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Condition(*wrong)


@pytest.mark.parametrize("measure", [entry.name for entry in MEASURES.values() if entry.kind == "money"])
@pytest.mark.parametrize("currency", ["EUR", "USD", "", "my_coin"])
def test_a_column_of_money_says_its_measure_and_currency(measure: str, currency: str) -> None:
    named = money_columns(measure, [currency, "CHF"])
    assert list(named) == [currency, "CHF"]
    assert measure_of_column(named[currency]) == (measure, currency)
    assert money_columns(measure, [currency]) == {currency: measure}
    assert measure_of_column(measure) == (measure, None)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("cost_p95_EUR", ("cost_p95", "EUR")),
        ("cost_p99.9", ("cost_p99.9", None)),
        ("latency_p75", ("latency_p75", None)),
        ("latency_p75_EUR", None),
        ("latency_p175", None),
        ("cost_p175", ("cost", "p175")),
    ],
)
def test_a_column_of_a_percentile_says_which(column: str, expected: tuple[str, str | None] | None) -> None:
    assert measure_of_column(column) == expected


@pytest.mark.parametrize("of", ["latency", "ttft", "time_per_output_token", "token_rate", "cost", "total_tokens"])
def test_every_percentile_is_a_measure(of: str) -> None:
    for percent in ("0", "1", "12.5", "99.99", "100"):
        found = measure(f"{of}_p{percent}")
        assert (found.name, found.title[-len(percent) - 2 :]) == (f"{of}_p{percent}", f" p{percent}")
        assert found == measure(f"{of}_p0{percent}")
        assert measure_of_column(found.name) == (found.name, None)
    for wrong in ("100.01", "-1", "1000"):
        with pytest.raises(UsageError, match=f"percentiles go from {of}_p0 to {of}_p100"):
            measure(f"{of}_p{wrong}")
    with pytest.raises(UsageError, match=f"no measure is called '{of}_pp5'; near it: "):
        measure(f"{of}_pp5")


@pytest.mark.parametrize(
    ("name", "made", "title", "kind"),
    [
        ("cost_share", lambda: share("cost"), "Cost share", "rate"),
        ("calls_share_of_day", lambda: share("calls", "day"), "Calls share of day", "rate"),
        (
            "cost_share_of_labels.x",
            lambda: share("cost", Dimension("labels.x", "X", "category", "X.", ("labels.x",))),
            "Cost share of labels.x",
            "rate",
        ),
        ("cost_cumulative", lambda: cumulative(MEASURES["cost"]), "Cost so far", "money"),
        ("total_tokens_cumulative", lambda: cumulative("total_tokens"), "Tokens so far", "tokens"),
        ("success_rate_rolling_7", lambda: rolling("success_rate", 7), "Success rate, rolling 7", "rate"),
        ("latency_p99.9_rolling_28", lambda: rolling("latency_p99.9", 28), "Latency p99.9, rolling 28", "ms"),
        ("cost_rolling_7", lambda: rolling("cost", 7), "Cost, rolling 7", "money"),
    ],
)
def test_measures_made_of_others_have_names(name: str, made: Callable[[], Measure], title: str, kind: str) -> None:
    found = measure(name)
    assert found == made()
    assert (found.name, found.title, found.kind) == (name, title, kind)
    assert found.unit == ("" if kind == "rate" else found.base.unit)
    assert found.additive == (name == "cost_share")
    assert (found.needs, found.optional, found.of_money) == (found.base.needs, found.base.optional, "cost" in name)
    assert measure_of_column(name) == (name, None)
    if "_of_" not in name or found.of_money:
        assert measure_of_column(f"{name}_EUR") == ((name, "EUR") if found.of_money else None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("success_rate_share", "a share is of what adds up, such as calls, cost or total_tokens; 'success_rate' does"),
        ("latency_p95_cumulative", "a sum so far is of what adds up"),
        ("users_share", "'users' does not"),
        ("cost_share_rolling_7", "a rolling measure is of a measure of calls; 'cost_share' is made of another measure"),
        ("cost_rolling_7_share", "a share is of a measure of calls"),
        ("cost_rolling_0", "a rolling 'cost' is over 1 to 100,000 buckets, not 0"),
        ("cost_cumulativ", "no measure is called 'cost_cumulativ'; near it: cost_cumulative"),
        ("calls_shares", "near it: calls_share"),
        ("costs_share", "near it: cost_share"),
        ("nothing_share", "no measure is called 'nothing_share'"),
    ],
)
def test_what_cannot_be_made_of_a_measure_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measure(name)


def test_a_rolling_measure_is_over_whole_buckets() -> None:
    wrong: list[Any] = [0, -1, 2.5, True, "7", 100_001]
    for buckets in wrong:
        with pytest.raises(UsageError, match="is over 1 to 100,000 buckets, not "):
            rolling("calls", buckets)
    with pytest.raises(UsageError, match="a share is of a measure, not of 7"):
        Measure("x", formula=Share(7))  # type: ignore[arg-type]


def test_a_name_and_a_formula_are_a_measure() -> None:
    slow = Measure("slow_calls", formula=Aggregate("count", where=(Condition("latency_ms", ">", 1000),)))
    assert (slow.title, slow.kind, slow.unit, slow.additive) == ("Slow calls", "count", "calls", True)
    assert slow == Measure("slow_calls", "Slow calls", "count", "calls", "", slow.formula, True, ())
    found = {
        name: (own.kind, own.unit, own.additive, own.of_money)
        for name, formula in OWN.items()
        for own in [Measure(name, formula=formula)]
    }
    assert found == {
        "teams": ("count", "teams", False, False),
        "spent": ("money", "currency", True, True),
        "paid_part": ("rate", "", False, True),
        "price_each": ("money", "currency", False, True),
        "longest": ("ms", "ms", False, False),
        "tokens_each": ("tokens", "tokens", False, False),
        "speed": ("tokens/s", "tokens/s", False, False),
        "late": ("rate", "", False, False),
    }


def untyped(wrong: Any) -> Any:
    """Something of the wrong type, which a type checker would refuse, too."""
    return wrong


OWN: dict[str, Aggregate | Ratio] = {
    "teams": Aggregate("distinct", "team"),
    "spent": Aggregate("sum", "total_price"),
    "paid_part": Ratio(
        Aggregate("sum", "total_price", (Condition("status", "==", "success"),)), Aggregate("sum", "total_price")
    ),
    "price_each": Ratio(Aggregate("sum", "total_price"), Aggregate("count")),
    "longest": Aggregate("max", "latency_ms"),
    "tokens_each": Ratio(Aggregate("sum", "total_tokens"), Aggregate("count")),
    "speed": Aggregate("quantile", "tokens_per_second", quantile=0.1),
    "late": Ratio(Aggregate("count", where=(Condition("latency_ms", ">", 1000),)), Aggregate("count")),
}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Measure(""), "a measure is called ''; its name is a text, and not empty"),
        (lambda: Measure(untyped(7)), "a measure is called 7"),
        (lambda: Measure("x"), "the measure 'x' has no formula; give an Aggregate or a Ratio"),
        (lambda: Measure("x", formula=untyped("count")), "the measure 'x' has a formula that is a str"),
        (
            lambda: Measure("x", kind=untyped("euros"), formula=Aggregate("count")),
            "of the kind 'euros'; there are: money, ",
        ),
        (
            lambda: Aggregate(untyped("median"), "latency_ms"),
            "no aggregate is called 'median'; there are: count, sum, ",
        ),
        (lambda: Aggregate("sum"), "the aggregate 'sum' needs a value"),
        (lambda: Aggregate("quantile", "latency_ms", quantile=95), "quantile = 95; it is from 0 to 1, such as 0.95"),
        (lambda: Aggregate("count", where=untyped(Condition("a", "known"))), "it is a tuple of Conditions"),
        (lambda: Aggregate("count", where=untyped(("a > 1",))), "it is a tuple of Conditions"),
        (lambda: Ratio(Aggregate("count"), untyped("calls")), "a ratio is of two Aggregates, not of 'calls'"),
    ],
)
def test_a_wrong_measure_of_ones_own_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("column", ["model_name", "currency", "calls_EUR", "costs", "labels.cost", "first_call"])
def test_other_columns_are_no_measures(column: str) -> None:
    assert measure_of_column(column) is None


def test_labels_metadata_and_further_columns_are_dimensions() -> None:
    assert dimension("labels.feature").needs == ("labels.feature",)
    assert dimension("session.plan").needs == ("session.plan",)
    assert dimension("team", further=["team"]).needs == ("team",)
    for label, column in LABEL_COLUMNS.items():
        assert (dimension(label).name, dimension(label).needs) == (label, DIMENSIONS[column].needs)
    with pytest.raises(UsageError, match="no dimension is called 'taem'; near it: team"):
        dimension("taem", further=["team"])
    with pytest.raises(UsageError, match="no dimension is called 'cost'"):
        dimension("cost", further=["cost"])  # a measure has that name


@pytest.mark.parametrize(
    ("name", "near"),
    [("Latency_P95", "latency_p95"), ("costs", "cost"), ("ttft", "ttft_p50"), ("xyzzy", "there are: calls, ")],
)
def test_an_unknown_measure_is_told_its_neighbours(name: str, near: str) -> None:
    with pytest.raises(UsageError) as refusal:
        measure(name)
    assert repr(name) in str(refusal.value)
    assert near in str(refusal.value)


@pytest.mark.parametrize(("name", "near"), [("model", "model_name"), ("hours", "hour"), (7, "there are: model_name")])
def test_an_unknown_dimension_is_told_its_neighbours(name: str, near: str) -> None:
    with pytest.raises(UsageError) as refusal:
        dimension(name)
    assert repr(name) in str(refusal.value)
    assert near in str(refusal.value)


def test_the_registries_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MEASURES["mine"] = MEASURES["cost"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        MEASURES["cost"].title = "x"  # type: ignore[misc]


@pytest.mark.parametrize("module", [measures, columns, derived, percentiles, zones])
def test_the_examples_of_the_documentation_run(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
