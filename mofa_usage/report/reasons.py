"""What a report asks beyond breakdowns: why the cost changed, what was wasted, what conversations cost.

Each of these is asked only where the calls can tell it, since it may cost a pass over them: a change needs prices in
both periods, waste a price of calls that were not successful, conversations calls with sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

import polars as pl

from mofa_usage.analysis import Breakdown
from mofa_usage.changes import Change
from mofa_usage.efficiency import Sessions
from mofa_usage.report.headlines import Figures
from mofa_usage.report.period import Span, Window

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

MOST_CALLS = 500_000
"""Of more calls than these the conversations of the last of them are told: ordering all takes long."""

DEAREST = 8
"""So many conversations are listed."""


@dataclass(frozen=True, slots=True)
class Conversations:
    """What conversations cost; `since` is when their calls begin, None where they are all calls."""

    sessions: Sessions
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Reasons:
    """The answers to these questions; None where the calls do not tell.

    Attributes:
        change: Why the cost of the last days is another than that of as many days before, and `drivers` the slices of
            calls that explain most of it.
        waste: What was paid for nothing.
        conversations: What conversations cost and how they grow.
    """

    change: Change | None = None
    drivers: Breakdown | None = None
    waste: Breakdown | None = None
    conversations: Conversations | None = None


def reasons(usage: "UsageFrame", span: Span, window: Window, found: Mapping[tuple[str, ...], Breakdown]) -> Reasons:
    """Ask all that the calls can tell, by what is known of them already."""
    change = _change(usage, window, found)
    return Reasons(
        change,
        None if change is None else _drivers(usage, window, change),
        _waste(usage, Figures.of(found.get(("whole",)))),
        _conversations(usage, span, found[("periods",)]),
    )


def _change(usage: "UsageFrame", window: Window, found: Mapping[tuple[str, ...], Breakdown]) -> Change | None:
    now, before = (Figures.of(found.get((name,))) for name in ("now", "before"))
    if window.before is None or not (now.money and before.money) or not (now.costs or before.costs):
        return None
    periods = (window.before, window.start), (window.start, window.end)
    by = [name for name in ("model_name",) if name in usage.columns]
    return usage.explain_change(*periods, by=by)


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


def _conversations(usage: "UsageFrame", span: Span, periods: Breakdown) -> Conversations | None:
    """Of all calls or, where these are too many, of the last ones; None where no session has a second turn."""
    if "chat_session_id" not in usage.columns:
        return None
    since = _last_ones(span, periods)
    if since is not None and since > span.last:
        return None
    sessions = usage.sessions(top=DEAREST, start=since)
    has_turns = (sessions.summary["session_turns_max"][0] or 0) > 1
    return Conversations(sessions, since) if has_turns else None


def _last_ones(span: Span, periods: Breakdown) -> datetime | None:
    """From when on there are few enough calls; None: from the first one on, and after the last: not at all."""
    if periods["calls"].sum() <= MOST_CALLS:
        return None
    few = periods.filter(pl.col("calls").cum_sum(reverse=True) <= MOST_CALLS)
    if not len(few):
        return span.last + timedelta(microseconds=1)
    start = few[span.bucket][0]
    return start if isinstance(start, datetime) else datetime.combine(start, time(), span.last.tzinfo)
