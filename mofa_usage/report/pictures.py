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
from mofa_usage.report.asides import compared, dearest
from mofa_usage.report.headlines import Figures
from mofa_usage.report.period import moment
from mofa_usage.report.reasons import MOST_COMPARED, Reasons
from mofa_usage.report.tables import Table

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

MOST_MODELS = 4
"""Of so many models the parts of their change are drawn: each takes much room."""

MOST_WASTED = 8
"""Of so many models waste and savings are drawn apart."""

MOST_FINDINGS = 6
"""So many findings are listed below the gravest."""


@dataclass(frozen=True, slots=True)
class Section:
    """Figures under a heading and what they say in one paragraph or several, and small tables.

    The figures of `wide` take the whole width of the page; `items` are a list below the paragraphs.
    """

    title: str
    sentences: Sequence[str]
    wide: Sequence[Figure] = ()
    narrow: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    items: Sequence[str] = ()


def sections(usage: "UsageFrame", found: Answers, why: Reasons) -> Iterator[Section]:
    """The pictures of all calls."""
    recorded = found["recorded"].row(0, named=True)
    yield from changed(why)
    if ("cost", "time") in found and Figures.of(found["whole"]).costs:
        cost = found["cost", "time"]
        yield Section("Cost", [cost.sentence], [cost.draw()], [found["cost", name].draw() for name in found.several])
    yield from wasted(why)
    volume = _volume(found["tokens", "time"])
    yield Section("Volume", [volume.sentence], [volume.draw("over_time", measure=next(iter(volume.roles.measures)))])
    if ("success", "time") in found:
        failed = found.several if recorded["error_count"] else []
        yield Section(
            "Reliability",
            [found["success", "time"].sentence],
            [found["success", "time"].draw()],
            [found["success", name].draw("failures_by") for name in failed],
        )
    over = [found["latency", "time"].draw(kind) for kind in _speed_kinds(recorded)]
    speed = list(_speed_by_model(usage, found, recorded))
    if over or speed:
        told = found.get("latency", found.model or "") if found.several else found.get("latency", "time")
        yield Section("Speed", [] if told is None else [told.sentence], over, speed)
    if found.span.last - found.span.first >= timedelta(days=2):
        yield Section("Rhythm", [found["week"].sentence], [found["week"].draw()])
    yield from loaded(why)
    yield from talked(why)
    yield from complete(why)


def changed(why: Reasons) -> Iterator[Section]:
    """Why the last days cost more or less than those before."""
    if why.change is None:
        return
    parts = [why.change.draw("changes_by", top=MOST_MODELS)] if len(why.change) > 1 else []
    sentences = [why.change.sentence]
    if why.drivers is not None:
        sentences.append(why.drivers.sentence)
        parts += [why.drivers.draw()] if len(why.drivers) else []
    tables = [table for table in (compared(why.change.beside),) if table]
    yield Section("Why the cost changed", sentences, [why.change.draw()], parts, tables)


def wasted(why: Reasons) -> Iterator[Section]:
    """What was paid for nothing, and what caches saved or could save."""
    answers = {"Waste": why.waste, "Caches": why.caches}
    found = {title: answer for title, answer in answers.items() if answer is not None}
    if not found:
        return
    sentences = [answer.sentence for answer in found.values()]
    if why.caches is not None:
        sentences[-1] += f" Amounts are by the list prices.{_since(why)}"
    figures = [answer.draw(top=MOST_WASTED) for answer in found.values()]
    yield Section(" and ".join(found).capitalize(), sentences, [], figures)


def loaded(why: Reasons) -> Iterator[Section]:
    """How many calls there were at once."""
    if why.load is not None:
        yield Section("Load", [why.load.sentence + _since(why)], [why.load.draw()])


def talked(why: Reasons) -> Iterator[Section]:
    """What conversations cost, and how they grow."""
    if (sessions := why.conversations) is None:
        return
    costs = [sessions.draw("costs")] if len(sessions.costs) else []
    tables = [table for table in (dearest(sessions.dearest),) if table]
    yield Section("Conversations", [sessions.sentence + _since(why)], [], [sessions.draw(), *costs], tables)


def complete(why: Reasons) -> Iterator[Section]:
    """Whether it is all here: the gravest finding in the sentence, and the next ones below it."""
    found, said = why.completeness.findings["sentence"], [why.completeness.sentence]
    if not why.is_compared:
        said.append(f"Calls that are there twice were not looked for among more than {MOST_COMPARED:,}.")
    if (more := len(found) - 1 - MOST_FINDINGS) > 0:
        said.append(f"Here are the next {MOST_FINDINGS} of them; mofa-usage completeness lists {more:,} more.")
    yield Section("Is it all here?", said, items=found[1 : 1 + MOST_FINDINGS].to_list())


def _since(why: Reasons) -> str:
    return "" if why.since is None else f" This is of the calls since {moment(why.since)}."


def _volume(answer: Breakdown) -> Breakdown:
    """The answer about tokens, or where nobody counted any, about calls."""
    unknown = "total_tokens" in answer.columns and not answer["total_tokens"].sum()
    return answer.drop("total_tokens") if unknown else answer


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
