"""The answer to how well calls were served: shares within limits, error budgets, concurrency, throughput."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from mofa_usage.analysis import Breakdown, By
from mofa_usage.analysis.engine import open_calls
from mofa_usage.analysis.result import one_of
from mofa_usage.analysis.sums import Queried
from mofa_usage.measures import TimeBucket
from mofa_usage.service.courses import course, extent
from mofa_usage.service.levels import burn, level
from mofa_usage.service.promises import Promise
from mofa_usage.zones import Moment, instant, utc, zone

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from mofa_usage.plots import DrawOptions

__all__ = ["ServiceLevel", "ServiceOptions", "service_level"]


class ServiceOptions(TypedDict, total=False):
    """What `service_level` takes beside dimensions and the zone."""

    latency_ms: float | None
    ttft_ms: float | None
    objective: float | str
    at: Moment | None
    every: TimeBucket | None


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """How well calls were served.

    Attributes:
        level: A row for each group: `calls`, `service_level` (good / judged calls), `judged_share` (judged / calls),
            `good_calls`, `bad_calls` and what made them bad (`failed_calls`, else `slow_calls`, else `late_calls`),
            `unknown_calls`, `error_budget` (how many of the judged calls may be bad), `budget_used` (bad calls / that),
            `budget_left` (in calls, below 0 where it is overspent). `totals` has the whole.
        over_time: A row for each bucket of time: `calls`, `in_flight_max`, `in_flight_mean` (weighted by time),
            `calls_per_second`, `completion_tokens_per_second`, `calls_without_latency` (which are in flight nowhere),
            `seconds` (the length of the bucket). `totals` has the whole, from the first call to the last.
        burn: A row for each window before the end: `burn_rate`, `burn_rate_lately` in its last twelfth, and whether
            both are an `alert`, from `burn_rate_alert` on. The last row is of all calls before the end.
    """

    level: Breakdown
    over_time: Breakdown
    burn: Breakdown

    @property
    def sentence(self) -> str:
        """What it says, in a few plain sentences; names in it are untrusted."""
        if not self.level.height:
            return self.level.sentence
        whole = self.level.totals[0] if self.level.totals else self.level
        is_known = (
            not whole["unknown_calls"][0] or whole["bad_calls"][0] + whole["good_calls"][0] > whole["failed_calls"][0]
        )
        # A budget that only failures used, among calls that nobody can judge, burns nobody knows how fast.
        parts = (self.level, *([self.burn] if is_known else []), self.over_time)
        return " ".join(part.sentence for part in parts)

    def draw(
        self,
        kind: Literal["level", "over_time", "burn"] = "level",
        *,
        theme: Literal["light", "dark"] | None = None,
        **options: "Unpack[DrawOptions]",
    ) -> "Figure":
        """Draw the share of bad calls, what was in flight over time, or how fast the budget burns.

        Raises:
            UsageError: there is no such figure; as `Breakdown.draw`.
        """
        drawn = {"level": self.level, "over_time": self.over_time, "burn": self.burn}
        return one_of(drawn, kind, "service levels").draw(theme=theme, **options)

    def __str__(self) -> str:
        return "\n\n".join([self.sentence, str(self.level), str(self.burn)])

    def _repr_html_(self) -> str:
        """The level as a table for a notebook, with what all three say."""
        return self.level.as_html(self.sentence)


def service_level(
    calls: Queried,
    by: By | None = None,
    *,
    latency_ms: float | None = None,
    ttft_ms: float | None = None,
    objective: float | str = 0.99,
    at: Moment | None = None,
    every: TimeBucket | None = None,
    tz: str = "UTC",
) -> ServiceLevel:
    """The share of calls within all limits together, the error budget, concurrency and throughput.

    A call is good where it succeeded and every value that has a limit is at most that, bad where it did not succeed or
    one is above its limit. One that succeeded and lacks a value that has a limit is unknown; shares and budgets are of
    the good and the bad. Every attempt is a call.

    Args:
        calls: `status`, `create_time`, and `latency_ms` and `time_to_first_token_ms` where they have limits. Without
            `latency_ms` there is no concurrency, without `completion_tokens` no throughput of tokens.
        by: Dimensions, as of a breakdown. None: by model, where there is such a column.
        latency_ms: A call may take so many milliseconds. Without any limit the calls that succeeded are good.
        ttft_ms: Its first token may take so many.
        objective: The share of calls that shall be good: 0.99 or "99%".
        at: The end of the windows of burn rates: a datetime with a zone, a date, or ISO 8601 text; by default the last
            call, which is in them. Later calls do not count in burn rates.
        every: The buckets of the course over time; by default minutes up to six hours, hours up to a month, then days.
        tz: IANA time zone of the buckets, and of an `at` that names none.

    Raises:
        UsageError: a limit or an objective that is none, an unknown dimension, a missing column.
    """
    promise = Promise.of(latency_ms, ttft_ms, objective)
    open_calls(calls).require(("status", *promise.limits), "service_level")
    within = extent(calls)
    if at is not None:
        end = instant(at, zone(tz), "at")
    else:
        end = utc(0) if within is None else within.last + timedelta(microseconds=1)
    return ServiceLevel(
        level(calls, promise, by, tz),
        course(calls, within, every, tz),
        burn(calls, promise, end, tz),
    )
