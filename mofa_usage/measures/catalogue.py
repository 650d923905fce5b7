"""Every measure: what it is called, what it means, and the formula that says so."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Literal, TypeAlias

from mofa_usage.measures.formulas import Aggregate, Condition, Measure, Quotient, Ratio
from mofa_usage.measures.percentiles import PER_CALL, TIMED, percentile

__all__ = ["MEASURES", "MeasureName"]

MeasureName: TypeAlias = Literal[
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
"""The names of `MEASURES`, for completion and type checkers."""

SUCCEEDED = Condition("status", "==", "success")
UNSUCCESSFUL = Condition("status", "!=", "success")
PRICED = Condition("total_price", "known")
LAST_ATTEMPT = Condition("retried", "unknown")


def _count(name: str, title: str, description: str, *where: Condition, value: str | Quotient | None = None) -> Measure:
    return Measure(name, title, "count", "calls", description, Aggregate("count", value, where))


def _rate(name: str, title: str, description: str, formula: Ratio, absent_is_null: tuple[str, ...] = ()) -> Measure:
    return Measure(name, title, "rate", "", description, formula, absent_is_null=absent_is_null)


def _tokens(column: str, title: str, description: str, *, zero_of_nothing: bool = False) -> Measure:
    total = Aggregate("sum", column, zero_of_nothing=zero_of_nothing)
    return Measure(column, title, "tokens", "tokens", description, total)


def _distinct(name: str, column: str, title: str) -> Measure:
    description = f"Number of different {column} among the calls (the nil UUID is none)."
    return Measure(name, title, "count", name, description, Aggregate("distinct", column))


def _mean(value: str | Quotient) -> Ratio:
    return Ratio(Aggregate("sum", value), Aggregate("count", value))


def _spread(prefix: str, *percents: int) -> tuple[Measure, ...]:
    """Mean and percentiles of a value of the calls, over those that have it."""
    of = PER_CALL[prefix]
    text = f"Mean of {of.text}."
    mean = Measure(f"{prefix}_mean", f"Mean {of.title.lower()}", of.kind, of.unit, text, _mean(of.value))
    return (mean, *(percentile(prefix, Decimal(percent)) for percent in percents))


def _measured(prefix: str) -> tuple[Measure, ...]:
    """What a column of milliseconds says: mean, percentiles, maximum, and how many calls have it."""
    of = PER_CALL[prefix]
    longest = Aggregate("max", of.value)
    return (
        *_spread(prefix, 50, 90, 95, 99),
        Measure(f"{prefix}_max", f"Longest {of.title.lower()}", "ms", "ms", f"Largest {of.value}.", longest),
        _count(f"{prefix}_calls", f"Calls with {of.title.lower()}", f"Calls that have {of.value}.", value=of.value),
    )


def _outcomes() -> tuple[Measure, ...]:
    calls, succeeded = Aggregate("count"), Aggregate("count", where=(SUCCEEDED,))
    requests, retried = Aggregate("count", where=(LAST_ATTEMPT,)), ("retried",)

    def ended(status: str, title: str) -> Measure:
        text = f"Calls whose status is {status}."
        return _count(f"{status}_count", title, text, Condition("status", "==", status))

    return (
        _count("calls", "Calls", "Number of calls, whatever their status; every attempt is one."),
        ended("success", "Successes"),
        ended("failed", "Failed"),
        ended("timeout", "Timeouts"),
        ended("rate_limited", "Rate limited"),
        ended("cancelled", "Cancelled"),
        _count("error_count", "Unsuccessful", "Calls whose status is anything but success.", UNSUCCESSFUL),
        _rate("success_rate", "Success rate", "Successes / calls.", Ratio(succeeded, calls)),
        Measure(
            "requests",
            "Requests",
            "count",
            "requests",
            "Calls that were not tried again: those without the label retried.",
            requests,
            absent_is_null=retried,
        ),
        _rate(
            "request_success_rate",
            "Request success rate",
            "Successes / requests.",
            Ratio(succeeded, requests),
            retried,
        ),
    )


def _token_counts() -> tuple[Measure, ...]:
    prompt, completion = Condition("prompt_tokens", "known"), Condition("completion_tokens", "known")
    cached = Aggregate("sum", "cached_tokens", (prompt,))
    prompts = Aggregate("sum", "prompt_tokens", (Condition("cached_tokens", "known"),))
    reported = "of calls that report them"
    return (
        _tokens(
            "prompt_tokens",
            "Prompt tokens",
            "Sum of prompt_tokens, cached ones included, over the calls that have them.",
            zero_of_nothing=True,
        ),
        _tokens(
            "completion_tokens",
            "Completion tokens",
            "Sum of completion_tokens, reasoning included, over the calls that have them.",
            zero_of_nothing=True,
        ),
        _tokens("total_tokens", "Tokens", "Sum of total_tokens over the calls that have them.", zero_of_nothing=True),
        _rate(
            "token_coverage",
            "Token coverage",
            "Calls of which both prompt and completion tokens are known / calls.",
            Ratio(Aggregate("count", where=(prompt, completion)), Aggregate("count")),
        ),
        _tokens("cached_tokens", "Cached tokens", f"Prompt tokens read from a cache, {reported}."),
        _tokens("cache_write_tokens", "Cache writes", f"Prompt tokens written to a cache, {reported}."),
        _tokens("reasoning_tokens", "Reasoning tokens", f"Completion tokens spent on reasoning, {reported}."),
        _rate(
            "cache_hit_rate",
            "Cache hit rate",
            "Cached tokens / prompt tokens, over the calls that report cached tokens.",
            Ratio(cached, prompts),
        ),
    )


def _money() -> tuple[Measure, ...]:
    cost, priced = Aggregate("sum", "total_price"), Aggregate("count", "total_price")
    successes = Aggregate("count", where=(PRICED, SUCCEEDED))
    counted = Aggregate("sum", "total_price", (Condition("total_tokens", "known"),))
    tokens = Aggregate("sum", "total_tokens", (PRICED,))
    wasted = Aggregate("sum", "total_price", (UNSUCCESSFUL,), zero_of_nothing=True)

    def money(name: str, title: str, text: str, formula: Aggregate | Ratio) -> Measure:
        return Measure(name, title, "money", "currency", text, formula)

    return (
        money("cost", "Cost", "Sum of total_price, exact; unpriced calls are unknown, not free.", cost),
        _count("priced_calls", "Priced calls", "Calls that have a total_price.", value="total_price"),
        _rate("coverage", "Coverage", "Priced calls / calls.", Ratio(priced, Aggregate("count"))),
        *_origins(),
        money("cost_per_call", "Cost per call", "Cost / priced calls.", Ratio(cost, priced)),
        money(
            "cost_per_success",
            "Cost per success",
            "Cost of all priced calls / those of them that succeeded.",
            Ratio(cost, successes),
        ),
        money(
            "cost_per_1k_tokens",
            "Cost per 1,000 tokens",
            "Cost / total_tokens, times 1,000, over the priced calls whose tokens are known.",
            Ratio(counted, tokens, 1000),
        ),
        money(
            "wasted_cost",
            "Wasted cost",
            "Cost of calls that did not succeed; 0 when all did, null when none of those has a price.",
            wasted,
        ),
    )


def _origins() -> Iterator[Measure]:
    """How many prices are not those that were recorded, of calls whose money was changed."""
    for name, title, source, text in (
        ("computed_calls", "Computed prices", "computed", "Calls whose price a price book computed."),
        ("estimated_calls", "Estimated prices", "standard_estimate", "Calls priced by a book, in part at other rates."),
    ):
        yield _count(name, title, text, Condition("price_source", "==", source), value="total_price")
    text = "Calls whose price was converted from another currency."
    yield _count("converted_calls", "Converted prices", text, Condition("converted_from", "known"), value="total_price")


def _token_rates() -> tuple[Measure, ...]:
    counted = Aggregate("sum", "completion_tokens", (TIMED,))
    waited = Aggregate("sum", "latency_ms", (TIMED, Condition("completion_tokens", "known")))
    text = "Sum of completion tokens / sum of seconds, over the calls that have both and a latency above 0."
    overall = Ratio(counted, waited, 1000)
    return (
        *_spread("token_rate", 50, 95),
        Measure("token_rate_overall", "Overall token rate", "tokens/s", "tokens/s", text, overall),
    )


_ALL_MEASURES = (
    *_outcomes(),
    *_token_counts(),
    *_money(),
    *_measured("latency"),
    *_measured("ttft"),
    *_spread("time_per_output_token", 50, 90, 95, 99),
    *_token_rates(),
    _distinct("sessions", "chat_session_id", "Sessions"),
    _distinct("users", "user_id", "Users"),
    _distinct("agents", "agent_id", "Agents"),
    _distinct("models", "model_name", "Models"),
)

MEASURES: Mapping[str, Measure] = MappingProxyType({entry.name: entry for entry in _ALL_MEASURES})
"""Every measure by its name, in the order in which documentation lists them."""
