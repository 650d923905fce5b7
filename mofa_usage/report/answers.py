"""What a report asks of the calls, all at once: questions that group the calls alike share one pass over them.

The pages of single models and agents cost no pass of their own: what stands on them are the rows of one name in
answers by model, by agent, by both, and by each of them over time.

A frame of the user's own may lack columns: each question is asked as far as they are there, and left out where nothing
of it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
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

MODEL = "model_name"

AGENTS = ("agent_name", "agent_code", "agent_id")
"""The dimensions that may name an agent, the most readable first."""

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
"""What the headline figures are made of, for the whole period, for its last days and for those before them."""

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

CROSSED: tuple[MeasureName, ...] = ("cost", "coverage", "calls", "success_rate", "total_tokens", "latency_p95")
"""The columns of the tables on the pages of single models and agents."""

RECORDED: tuple[MeasureName, ...] = (
    "calls",
    "error_count",
    "priced_calls",
    "latency_calls",
    "ttft_calls",
    "cached_tokens",
)
"""What tells what the calls record at all."""

TIMELINE: tuple[MeasureName, ...] = (
    "cost",
    "calls",
    "success_rate",
    "failed_count",
    "timeout_count",
    "rate_limited_count",
    "cancelled_count",
    "latency_p50",
    "latency_p95",
    "ttft_p50",
    "ttft_p95",
)
"""What the pages of single models and agents show over time."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that a report says of some calls.

    Attributes:
        span: The whole period, and `window` the one of the last days.
        model, agent: The dimensions that name them; None where nothing does, and where all calls are one agent's.
        found: The answers by their names: what is asked, and by which dimension.
        failures: The calls that did not succeed, counted by `status`, `error_code`, model and agent, as far as the
            calls have these columns; None without a status.
    """

    span: Span
    window: Window
    model: str | None
    agent: str | None
    found: dict[tuple[str, ...], Breakdown]
    failures: pl.DataFrame | None

    @property
    def named(self) -> list[str]:
        """The dimensions whose names have tables and pages."""
        return [name for name in (self.model, self.agent) if name is not None]

    @property
    def several(self) -> list[str]:
        """Those of them that have more than one name: of one there is nothing to compare."""
        return [name for name in self.named if len(self["columns", name]) > 1]

    def __getitem__(self, name: tuple[str, ...] | str) -> Breakdown:
        return self.found[(name,) if isinstance(name, str) else name]

    def __contains__(self, name: tuple[str, ...] | str) -> bool:
        """Whether the calls have the columns for it."""
        return ((name,) if isinstance(name, str) else name) in self.found

    def get(self, *name: str) -> Breakdown | None:
        """The answer of that name; None where the calls lack the columns for it."""
        return self.found.get(name)

    def part(self, dimension: str, value: str | None, *name: str) -> Breakdown | None:
        """The rows of the answer of that name that are of one value of a dimension, without the dimension."""
        answer = self.found.get(name)
        if answer is None:
            return None
        return answer.filter(pl.col(dimension).eq_missing(pl.lit(value, pl.String))).drop(dimension)


def answers(usage: "UsageFrame", days: int | None) -> Answers | None:
    """Ask everything; None when there are no calls. `days` is the number of the last days.

    Raises:
        UsageError: the calls have no times.
    """
    if "create_time" not in usage.columns:
        raise UsageError("the frame has no column 'create_time', which a report needs")
    ends = usage.sql("SELECT min(create_time) AS first, max(create_time) AS last FROM calls")
    first, last = ends.with_columns(pl.all().dt.convert_time_zone(usage.tz)).row(0)
    if first is None:
        return None
    span, there = Span(first, last, usage.start, usage.end), frozenset(usage.columns)
    model, agent = MODEL if MODEL in there else None, _agent(usage)
    chosen = window(span, days)
    every = ((name, wish.answerable(there)) for name, wish in _wishes(span, chosen, model, agent))
    asked = {name: question for name, question in every if question is not None}
    found = dict(zip(asked, usage.breakdowns(list(asked.values())), strict=True))
    return Answers(span, chosen, model, agent, found, _failures(usage, model, agent))


@dataclass(frozen=True, slots=True)
class _Wish:
    """A question as it is asked where the calls have all columns."""

    by: tuple[str, ...]
    measures: Usual
    start: datetime | None = None
    end: datetime | None = None
    fill_gaps: bool = False

    def answerable(self, there: frozenset[str]) -> Question | None:
        """The question as far as the columns are there; None where they say nothing of it."""
        is_there = all(set(DIMENSIONS[name].needs) <= there for name in self.by)
        if not is_there or not self.measures.known(there):
            return None
        return Question(self.by, self.measures, self.start, self.end, self.fill_gaps)


def _all(*measures: MeasureName) -> Usual:
    """Measures that are answered as far as one of them is."""
    return Usual(measures, about=measures)


def _wishes(
    span: Span, chosen: Window, model: str | None, agent: str | None
) -> Iterator[tuple[tuple[str, ...], _Wish]]:
    named = [name for name in (model, agent) if name is not None]
    whole, time = (model,) if model else (), span.bucket
    yield ("recorded",), _Wish((), _all(*RECORDED))
    for by in ((), *((name,) for name in named)):
        yield ("columns", *by), _Wish(by, _all(*COLUMNS))
        yield from _headlines(by, chosen)
    for name in named:
        yield ("cost", name), _Wish((name,), COST)
        yield ("success", name), _Wish((name,), SUCCESS_RATE)
        yield ("timeline", name), _Wish((time, name), _all(*TIMELINE))
    if model is not None:
        yield ("latency", model), _Wish((model,), LATENCY)
        yield ("rate", model), _Wish((model,), TOKEN_RATE)
    if len(named) > 1:
        yield ("crossed",), _Wish(tuple(named), _all(*CROSSED))
    yield ("cost", "time"), _Wish((time, *whole), COST)
    yield ("tokens", "time"), _Wish((time, *whole), _all("total_tokens", "calls"))
    yield ("periods",), _Wish((time,), _all("calls"), fill_gaps=True)
    yield ("success", "time"), _Wish((time,), SUCCESS_RATE)
    yield ("latency", "time"), _Wish((time,), LATENCY)
    yield ("week",), _Wish(("hour_of_day", "weekday"), _all("calls"))


def _headlines(by: tuple[str, ...], chosen: Window) -> Iterator[tuple[tuple[str, ...], _Wish]]:
    asked = _Wish(by, _all(*HEADLINES))
    yield ("whole", *by), asked
    if chosen.days is not None:
        yield ("now", *by), replace(asked, start=chosen.start, end=chosen.end)
    if chosen.before is not None:
        yield ("before", *by), replace(asked, start=chosen.before, end=chosen.start)


_FIRST_CALLS = "(FROM calls LIMIT 100_000)"


def _agent(usage: "UsageFrame") -> str | None:
    """The most readable of the columns that tell agents apart."""
    # Nearly always the first calls tell; only where they are all one agent's the whole column is read.
    names = (name for name in AGENTS if name in usage.columns)
    return next((name for name in names if any(_differ(usage, name, of) for of in (_FIRST_CALLS, "calls"))), None)


def _differ(usage: "UsageFrame", name: str, calls: str) -> bool:
    """Whether some calls have several values in a column: two of them, or one and none."""
    several = f"count({name}) > 0 AND (min({name}) <> max({name}) OR count({name}) < count(*))"
    return bool(usage.sql(f"SELECT {several} FROM {calls}").item())  # noqa: S608 (the names above)


def _failures(usage: "UsageFrame", model: str | None, agent: str | None) -> pl.DataFrame | None:
    """The calls that did not succeed: few, so that they are counted much sooner than all calls are grouped."""
    if "status" not in usage.columns:
        return None
    names = [name for name in ("status", "error_code", model, agent) if name in usage.columns]
    columns = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name in names)
    where = "WHERE status <> 'success' GROUP BY ALL"
    return usage.sql(f"SELECT {columns}, count(*) AS calls FROM calls {where}")  # noqa: S608 (the names above)
