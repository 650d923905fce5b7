"""What a report asks of the calls, all at once: questions that group the calls alike share one pass over them.

A frame of the user's own may lack columns: each question is asked as far as they are there, and left out where nothing
of it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from mofa_usage.analysis import Breakdown, Question
from mofa_usage.analysis.asking import Usual
from mofa_usage.analysis.questions import COST, LATENCY, SUCCESS_RATE, TOKEN_RATE
from mofa_usage.errors import UsageError
from mofa_usage.measures import DIMENSIONS, MeasureName
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

    def __contains__(self, name: object) -> bool:
        """Whether the calls have the columns for it."""
        return name in self.found


def answers(usage: "UsageFrame", days: int | None) -> Answers | None:
    """Ask everything; None when there are no calls. `days` is the length of the period of the headline figures.

    Raises:
        UsageError: the calls have no times.
    """
    if "create_time" not in usage.columns:
        raise UsageError("the frame has no column 'create_time', which a report needs")
    ends = usage.sql("SELECT min(create_time) AS first, max(create_time) AS last FROM calls")
    first, last = ends.with_columns(pl.all().dt.convert_time_zone(usage.tz)).row(0)
    if first is None:
        return None
    span = Span(first, last, usage.start, usage.end)
    chosen, agent = window(span, days), _agent(usage)
    there = frozenset(usage.columns)
    wishes = _wishes(span, chosen, _MODEL if _MODEL in there else None, agent)
    every = ((name, wish.answerable(there)) for name, wish in wishes)
    asked = {name: question for name, question in every if question is not None}
    return Answers(span, chosen, agent, dict(zip(asked, usage.breakdowns(list(asked.values())), strict=True)))


@dataclass(frozen=True, slots=True)
class _Wish:
    """A question as it is asked where the calls have all columns."""

    by: tuple[str, ...]
    measures: Usual
    start: datetime | None = None
    end: datetime | None = None

    def answerable(self, there: frozenset[str]) -> Question | None:
        """The question as far as the columns are there; None where they say nothing of it."""
        known = self.measures.known(there)
        is_there = all(set(DIMENSIONS[name].needs) <= there for name in self.by)
        return Question(self.by, known, self.start, self.end) if known and is_there else None


def _all(*measures: MeasureName) -> Usual:
    """Measures that are answered as far as one of them is."""
    return Usual(measures, about=measures)


def _wishes(
    span: Span, chosen: Window, model: str | None, agent: str | None
) -> Iterator[tuple[tuple[str, ...], _Wish]]:
    time, models = span.bucket, (model,) if model else ()
    yield ("recorded",), _Wish((), _all(*RECORDED))
    yield ("totals",), _Wish((), _all(*COLUMNS))
    yield ("now",), _Wish((), _all(*HEADLINES), chosen.start, chosen.end)
    if chosen.before is not None:
        yield ("before",), _Wish((), _all(*HEADLINES), chosen.before, chosen.start)
    for name in filter(None, (model, agent)):
        yield ("columns", name), _Wish((name,), _all(*COLUMNS))
        yield ("cost", name), _Wish((name,), COST)
        yield ("success", name), _Wish((name,), SUCCESS_RATE)
    for name in models:
        yield ("latency", name), _Wish((name,), LATENCY)
        yield ("rate", name), _Wish((name,), TOKEN_RATE)
    yield ("cost", "time"), _Wish((time, *models), COST)
    yield ("tokens", "time"), _Wish((time, *models), _all("total_tokens", "calls"))
    yield ("success", "time"), _Wish((time,), SUCCESS_RATE)
    yield ("latency", "time"), _Wish((time,), LATENCY)
    yield ("week",), _Wish(("hour_of_day", "weekday"), _all("calls"))
    yield ("failures",), _Wish(("status", "error_code"), _all("calls", "models", "agents"))


def _agent(usage: "UsageFrame") -> str | None:
    names = [name for name in _AGENTS if name in usage.columns]
    if not names:
        return None
    counts = (f"count(DISTINCT {name}) + CAST(count(*) > count({name}) AS INTEGER) AS {name}" for name in names)
    found = usage.sql(f"SELECT {', '.join(counts)} FROM calls").row(0, named=True)  # noqa: S608 (the names above)
    return next((name for name in names if found[name] > 1), None)
