"""The breakdowns that everybody asks for: which measures answer which question."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import polars as pl

from mofa_usage.analysis.engine import Native, collect, open_calls
from mofa_usage.analysis.grouping import breakdown
from mofa_usage.analysis.result import Breakdown
from mofa_usage.zones import Moment, time_range, zone

__all__ = ["cost", "latency", "success_rate", "summary", "token_rate"]

COST = (
    "cost",
    "calls",
    "priced_calls",
    "coverage",
    "total_tokens",
    "cost_per_call",
    "cost_per_success",
    "cost_per_1k_tokens",
    "wasted_cost",
)
LATENCY = (
    "calls",
    *(f"latency_{part}" for part in ("calls", "mean", "p50", "p90", "p95", "p99", "max")),
    *(f"ttft_{part}" for part in ("calls", "mean", "p50", "p90", "p95", "p99", "max")),
)
TOKEN_RATE = ("calls", "completion_tokens", *(f"token_rate_{part}" for part in ("mean", "p50", "p95", "overall")))
SUCCESS_RATE = (
    "calls",
    "success_rate",
    "success_count",
    "error_count",
    "failed_count",
    "timeout_count",
    "rate_limited_count",
    "cancelled_count",
)
SUMMARY = (
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
)


def cost(native: Native, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
    """What the calls cost, how much of that is known, and what a call, a success and 1,000 tokens cost.

    Rows are kept apart by currency. Keyword arguments (tz, start, end, fill_gaps), types, order and errors are those
    of `breakdown`.
    """
    return breakdown(native, by, COST, **when)


def latency(native: Native, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
    """How long calls take and how soon their first token comes, in milliseconds: mean, percentiles and maximum.

    Keyword arguments (tz, start, end, fill_gaps), types, order and errors are those of `breakdown`.
    """
    return breakdown(native, by, LATENCY, **when)


def token_rate(native: Native, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
    """How fast completion tokens come, in tokens per second: per call, and overall.

    Keyword arguments (tz, start, end, fill_gaps), types, order and errors are those of `breakdown`.
    """
    return breakdown(native, by, TOKEN_RATE, **when)


def success_rate(native: Native, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
    """How many calls succeeded, and how the others ended.

    Keyword arguments (tz, start, end, fill_gaps), types, order and errors are those of `breakdown`.
    """
    return breakdown(native, by, SUCCESS_RATE, **when)


def summary(native: Native, *, tz: str = "UTC", start: Moment | None = None, end: Moment | None = None) -> Breakdown:
    """The headline figures: one row per currency, the one with the most calls first; no row without calls.

    Columns: currency, first_call and last_call (Datetime in `tz`), then the measures of `SUMMARY`. Errors are those
    of `breakdown`.
    """
    figures = breakdown(native, (), SUMMARY, tz=tz, start=start, end=end)
    calls = open_calls(native)
    calls.require(["create_time"], "a summary")
    time = nw.col("create_time_us")
    chosen = calls.between(*time_range(start, end, zone(tz))).frame
    period = collect(chosen.group_by("currency").agg(first_call=time.min(), last_call=time.max()))
    ends = (
        pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").dt.convert_time_zone(tz)
        for name in ("first_call", "last_call")
    )
    dated = figures.join(period.with_columns(*ends), on="currency", how="left", nulls_equal=True)
    return Breakdown(dated.select("currency", "first_call", "last_call", *SUMMARY))
