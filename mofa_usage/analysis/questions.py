"""The breakdowns that everybody asks for: which measures answer which question.

Each is answered as far as the frame has the columns; a frame without any column that the question is about is refused.
"""

from typing import Unpack

import polars as pl

from mofa_usage.analysis.asking import By, Usual, ZonedOptions
from mofa_usage.analysis.engine import Native, open_calls
from mofa_usage.analysis.grouping import breakdown
from mofa_usage.analysis.result import Breakdown
from mofa_usage.zones import Moment, time_range, zone

__all__ = [
    "COST",
    "LATENCY",
    "SUCCESS_RATE",
    "SUMMARY",
    "TOKEN_RATE",
    "cost",
    "latency",
    "success_rate",
    "summary",
    "token_rate",
]

COST = Usual(
    (
        "cost",
        "calls",
        "priced_calls",
        "coverage",
        "computed_calls",
        "estimated_calls",
        "converted_calls",
        "total_tokens",
        "cost_per_call",
        "cost_per_success",
        "cost_per_1k_tokens",
        "wasted_cost",
    ),
    about=("cost",),
    question="cost",
)
LATENCY = Usual(
    (
        "calls",
        "latency_calls",
        "latency_mean",
        "latency_p50",
        "latency_p90",
        "latency_p95",
        "latency_p99",
        "latency_max",
        "ttft_calls",
        "ttft_mean",
        "ttft_p50",
        "ttft_p90",
        "ttft_p95",
        "ttft_p99",
        "ttft_max",
    ),
    about=("latency_mean", "ttft_mean"),
    question="latency",
)
TOKEN_RATE = Usual(
    ("calls", "completion_tokens", "token_rate_mean", "token_rate_p50", "token_rate_p95", "token_rate_overall"),
    about=("token_rate_mean",),
    question="token_rate",
)
SUCCESS_RATE = Usual(
    (
        "calls",
        "success_rate",
        "success_count",
        "error_count",
        "failed_count",
        "timeout_count",
        "rate_limited_count",
        "cancelled_count",
    ),
    about=("success_rate",),
    question="success_rate",
)
SUMMARY = Usual(
    (
        "calls",
        "success_rate",
        "error_count",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "cache_hit_rate",
        "cost",
        "priced_calls",
        "coverage",
        "cost_per_call",
        "cost_per_1k_tokens",
        "wasted_cost",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "ttft_p50",
        "ttft_p95",
        "token_rate_p50",
        "token_rate_overall",
        "sessions",
        "users",
        "agents",
        "models",
    ),
    about=("calls",),
    question="summary",
)


def cost(native: Native, by: By | None = None, **options: Unpack[ZonedOptions]) -> Breakdown:
    """What the calls cost, how much of that is known, and what a call, a success and 1,000 tokens cost.

    By model unless told. Currencies are kept apart. Keyword arguments, types, order and errors are those of
    `breakdown`.
    """
    return breakdown(native, by, COST, **options)


def latency(native: Native, by: By | None = None, **options: Unpack[ZonedOptions]) -> Breakdown:
    """How long calls take and how soon their first token comes, in milliseconds: mean, percentiles and maximum.

    By model unless told. Keyword arguments, types, order and errors are those of `breakdown`.
    """
    return breakdown(native, by, LATENCY, **options)


def token_rate(native: Native, by: By | None = None, **options: Unpack[ZonedOptions]) -> Breakdown:
    """How fast completion tokens come, in tokens per second: per call, and overall.

    By model unless told. Keyword arguments, types, order and errors are those of `breakdown`.
    """
    return breakdown(native, by, TOKEN_RATE, **options)


def success_rate(native: Native, by: By | None = None, **options: Unpack[ZonedOptions]) -> Breakdown:
    """How many calls succeeded, and how the others ended.

    By model unless told. Keyword arguments, types, order and errors are those of `breakdown`.
    """
    return breakdown(native, by, SUCCESS_RATE, **options)


def summary(
    native: Native,
    *,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
    intervals: float | None = None,
) -> Breakdown:
    """The headline figures, in one row.

    Columns: first_call and last_call (Datetime in `tz`; null without calls), then the measures of `SUMMARY`, money and
    `intervals` as `breakdown` has them. What the frame lacks the columns for is left out. Errors are those of
    `breakdown`.
    """
    figures = breakdown(native, (), SUMMARY, tz=tz, start=start, end=end, intervals=intervals)
    calls = open_calls(native)
    if "create_time" not in calls.schema:
        return figures
    ends = calls.between(*time_range(start, end, zone(tz))).extent() or (None, None)
    for position, (name, moment) in enumerate(zip(("first_call", "last_call"), ends, strict=True)):
        time = pl.Series(name, [moment], dtype=pl.Int64).cast(pl.Datetime("us"))
        figures.insert_column(position, time.dt.replace_time_zone("UTC").dt.convert_time_zone(tz))
    return figures
