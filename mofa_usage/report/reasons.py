"""What a report asks beyond breakdowns: why the cost changed, what was wasted, whether it is all here, and more.

Each of these is asked only where the calls can tell it, since it may cost a pass over them: a change needs prices in
both periods, waste a price of calls that were not successful, conversations calls with sessions. What has to put all
calls in order is told of the last ones where there are very many.
"""

from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import TYPE_CHECKING

import polars as pl

from mofa_usage.analysis import Breakdown
from mofa_usage.audit import Completeness
from mofa_usage.changes import Change
from mofa_usage.efficiency import Sessions
from mofa_usage.errors import MissingExtraError
from mofa_usage.report.answers import Answers
from mofa_usage.report.headlines import Figures
from mofa_usage.report.period import Span, Window

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

MOST_CALLS = 500_000
"""Of more calls than these only the last of them are put in order: for conversations, caches, and calls in flight."""

MOST_COMPARED = 2_000_000
"""Among more calls than these nobody looks for some that are there twice."""

CACHES = {"model_name", "prompt_tokens", "completion_tokens", "cached_tokens"}
"""What savings of caches are made of."""

LOADED = 5
"""From so many calls in flight at once on there is a load to be told of."""

DEAREST = 8
"""So many conversations are listed."""


@dataclass(frozen=True, slots=True)
class Reasons:
    """The answers to these questions; None where the calls do not tell.

    Attributes:
        change: Why the cost of the last days is another than that of as many days before, and `drivers` the slices of
            calls that explain most of it.
        waste: What was paid for nothing.
        caches: What caches saved or could save.
        conversations: What conversations cost and how they grow.
        load: How many calls were in flight at once.
        since: When the calls begin that these three are about; None where they are all calls.
        completeness: Whether it is all here, and `is_compared` whether calls were looked for that are there twice.
    """

    change: Change | None
    drivers: Breakdown | None
    waste: Breakdown | None
    caches: Breakdown | None
    conversations: Sessions | None
    load: Breakdown | None
    since: datetime | None
    completeness: Completeness
    is_compared: bool


def reasons(usage: "UsageFrame", found: Answers) -> Reasons:
    """Ask all that the calls can tell, by what is known of them already."""
    change = _change(usage, found)
    recorded, since = found["recorded"].row(0, named=True), _last_ones(found.span, found["periods"])
    last = usage if since is None else usage.between(since, None)
    is_compared = recorded["calls"] <= MOST_COMPARED
    return Reasons(
        change,
        None if change is None else _drivers(usage, found.window, change),
        _waste(usage, Figures.of(found["whole"])),
        _caches(last) if recorded.get("cached_tokens") is not None else None,
        _conversations(last) if "chat_session_id" in usage.columns else None,
        _load(last, replace(found.span, first=since or found.span.first)) if recorded.get("latency_calls") else None,
        since,
        usage.completeness(duplicates=is_compared),
        is_compared,
    )


def _change(usage: "UsageFrame", found: Answers) -> Change | None:
    window, (now, before) = found.window, (Figures.of(found.get(name)) for name in ("now", "before"))
    if window.before is None or not (now.money and before.money) or not (now.costs or before.costs):
        return None
    by = [found.model] if found.model else []
    return usage.explain_change((window.before, window.start), (window.start, window.end), by=by)


def _drivers(usage: "UsageFrame", window: Window, change: Change) -> Breakdown | None:
    """The slices that explain the change, if there are any to be told apart."""
    changes = [name for name, entry in change.roles.measures.items() if entry.measure.name == "cost_change"]
    if window.before is None or not any(change[name].sum() for name in changes):
        return None
    return usage.drivers("cost", (window.before, window.start), (window.start, window.end))


def _waste(usage: "UsageFrame", whole: Figures) -> Breakdown | None:
    if not any(row.get("wasted_cost") for row in whole.money.values()):
        return None
    return usage.waste()


def _caches(usage: "UsageFrame") -> Breakdown | None:
    """None where nothing was saved and nothing could be, as far as prices are known."""
    if not CACHES.issubset(usage.columns):
        return None
    try:
        found = usage.cache_savings()
    except MissingExtraError:  # the list prices are not installed
        return None
    measures = found.roles.measures
    amounts = [name for name, held in measures.items() if held.measure.name in ("cache_savings", "missed_savings")]
    return found if any(found[name].sum() for name in amounts) else None


def _conversations(usage: "UsageFrame") -> Sessions | None:
    """None where no session has a second turn."""
    sessions = usage.sessions(top=DEAREST)
    return sessions if (sessions.summary["session_turns_max"][0] or 0) > 1 else None


def _load(usage: "UsageFrame", span: Span) -> Breakdown | None:
    """None where there is hardly ever more than one call at a time."""
    if "status" not in usage.columns:
        return None
    load = usage.service_level(by=[], every=span.bucket).over_time
    return load if load["in_flight_max"].ge(LOADED).any() else None


def _last_ones(span: Span, periods: Breakdown) -> datetime | None:
    """From when on there are few enough calls, in whole periods but at least the last; None: from the first one on."""
    if periods["calls"].sum() <= MOST_CALLS:
        return None
    few = periods.filter(pl.col("calls").cum_sum(reverse=True) <= MOST_CALLS)
    start = (few if len(few) else periods.tail(1))[span.bucket][0]
    return start if isinstance(start, datetime) else datetime.combine(start, time(), span.last.tzinfo)
