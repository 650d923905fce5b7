"""What a report asks of the calls, all at once: questions that group the calls alike share one pass over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mofa_usage.analysis import Breakdown, Question
from mofa_usage.analysis.questions import COST, LATENCY, SUCCESS_RATE, TOKEN_RATE
from mofa_usage.measures import MeasureName
from mofa_usage.report.period import Span, Window, window

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

HEADLINES: tuple[MeasureName, ...] = (
    "calls",
    "success_rate",
    "total_tokens",
    "latency_p95",
    "ttft_p50",
    "token_rate_overall",
    "error_count",
    "prompt_tokens",
    "completion_tokens",
    "coverage",
    "cost",
    "cost_per_call",
    "wasted_cost",
)
"""What the headline figures are made of, for the period that they are about and for the one before it."""

COLUMNS: tuple[MeasureName, ...] = (
    "cost",
    "coverage",
    "cost_per_call",
    "cost_per_1k_tokens",
    "calls",
    "success_rate",
    "total_tokens",
    "latency_p50",
    "latency_p95",
    "ttft_p50",
    "token_rate_overall",
)
"""The columns of the tables by model and by agent."""

RECORDED: tuple[MeasureName, ...] = ("calls", "error_count", "priced_calls", "latency_calls", "ttft_calls")
"""What tells what the calls record at all."""

_AGENTS = ("agent_name", "agent_code", "agent_id")
_MODEL = "model_name"


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that a report says of some calls.

    Attributes:
        span: The whole period, and `window` the one of the headline figures.
        agent: The dimension that names agents best; None where all calls are one agent's.
        found: The answers by their names: what is asked, and by which dimension.
    """

    span: Span
    window: Window
    agent: str | None
    found: dict[tuple[str, ...], Breakdown]

    def __getitem__(self, name: tuple[str, ...] | str) -> Breakdown:
        return self.found[(name,) if isinstance(name, str) else name]


def answers(usage: "UsageFrame", days: int | None) -> Answers | None:
    """Ask everything; None when there are no calls. `days` is the length of the period of the headline figures."""
    ends = usage.sql("SELECT min(create_time) AS first, max(create_time) AS last FROM calls")
    first, last = ends.with_columns(pl.all().dt.convert_time_zone(usage.tz)).row(0)
    if first is None:
        return None
    span = Span(first, last, usage.start, usage.end)
    chosen, agent = window(span, days), _agent(usage)
    asked = dict(_questions(span, chosen, agent))
    return Answers(span, chosen, agent, dict(zip(asked, usage.breakdowns(list(asked.values())), strict=True)))


def _questions(span: Span, chosen: Window, agent: str | None) -> Iterator[tuple[tuple[str, ...], Question]]:
    bucket = span.bucket
    yield ("recorded",), Question((), RECORDED)
    yield ("totals",), Question((), COLUMNS)
    yield ("now",), Question((), HEADLINES, chosen.start, chosen.end)
    if chosen.before is not None:
        yield ("before",), Question((), HEADLINES, chosen.before, chosen.start)
    for name in (_MODEL, *([agent] if agent else [])):
        yield ("columns", name), Question(name, COLUMNS)
        yield ("cost", name), Question(name, COST)
        yield ("success", name), Question(name, SUCCESS_RATE)
    yield ("latency", _MODEL), Question(_MODEL, LATENCY)
    yield ("rate", _MODEL), Question(_MODEL, TOKEN_RATE)
    yield ("cost", "time"), Question((bucket, _MODEL), COST)
    yield ("tokens", "time"), Question((bucket, _MODEL), ("total_tokens", "calls"))
    yield ("success", "time"), Question(bucket, SUCCESS_RATE)
    yield ("latency", "time"), Question(bucket, LATENCY)
    yield ("week",), Question(("hour_of_day", "weekday"), "calls")
    yield ("failures",), Question(("status", "error_code"), ("calls", "models", "agents"))


def _agent(usage: "UsageFrame") -> str | None:
    names = [name for name in _AGENTS if name in usage.columns]
    if not names:
        return None
    counts = (f"count(DISTINCT {name}) + CAST(count(*) > count({name}) AS INTEGER) AS {name}" for name in names)
    found = usage.sql(f"SELECT {', '.join(counts)} FROM calls").row(0, named=True)  # noqa: S608 (the names above)
    return next((name for name in names if found[name] > 1), None)
