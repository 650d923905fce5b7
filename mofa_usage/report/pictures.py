"""The pictures of a report: the figures of the notebooks, with their colours, drawn from the report's answers.

Each is drawn where there is something to draw: what no call records is said once on the page, in words.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from plotly.graph_objects import Figure

from mofa_usage.analysis import Breakdown
from mofa_usage.report.answers import Answers

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame


@dataclass(frozen=True, slots=True)
class Section:
    """Figures under a heading; those of `wide` take the whole width of the page."""

    title: str
    wide: Sequence[Figure] = ()
    narrow: Sequence[Figure] = ()


def sections(usage: "UsageFrame", found: Answers) -> Iterator[Section]:
    """The pictures of all calls."""
    recorded = found["recorded"].row(0, named=True)
    if _costs_something(found.get("cost", "time")):
        yield Section("Cost", [found["cost", "time"].draw()], [found["cost", name].draw() for name in found.several])
    yield Section("Volume", [found["tokens", "time"].draw("over_time", measure=_volume(found["tokens", "time"]))])
    if ("success", "time") in found:
        failed = found.several if recorded["error_count"] else []
        yield Section(
            "Reliability",
            [found["success", "time"].draw()],
            [found["success", name].draw("failures_by") for name in failed],
        )
    over = [found["latency", "time"].draw(kind) for kind in _speed_kinds(recorded)]
    speed = list(_speed_by_model(usage, found, recorded))
    if over or speed:
        yield Section("Speed", over, speed)
    if found.span.last - found.span.first >= timedelta(days=2):
        yield Section("Rhythm", [found["week"].draw()])


def _costs_something(answer: Breakdown | None) -> bool:
    """Whether a call of the answer has a price that is not 0."""
    if answer is None:
        return False
    costs = [name for name, entry in answer.roles.measures.items() if entry.measure.name == "cost"]
    return any(answer[name].fill_null(0).ne(0).any() for name in costs)


def _volume(answer: Breakdown) -> str:
    """Tokens where they are known, else calls."""
    return "total_tokens" if "total_tokens" in answer.columns and answer["total_tokens"].sum() else "calls"


def _speed_kinds(recorded: Mapping[str, Any]) -> list[str]:
    kinds = {"latency_calls": "latency_over_time", "ttft_calls": "ttft_over_time"}
    return [kind for measure, kind in kinds.items() if recorded.get(measure)]


def _speed_by_model(usage: "UsageFrame", found: Answers, recorded: Mapping[str, Any]) -> Iterator[Figure]:
    if found.model is None:
        return
    if (latency := found.get("latency", found.model)) is not None:
        if recorded.get("latency_calls"):
            yield latency.draw("latency_distribution")
        if recorded.get("ttft_calls"):
            yield latency.draw("ttft_distribution")
        if recorded.get("latency_calls"):
            yield usage.distribution(by=[found.model]).draw()
    rates = found.get("rate", found.model)
    if rates is not None and rates["token_rate_p50"].is_not_null().any():
        yield rates.draw()
