"""Questions beyond breakdowns: prices, reasons of changes, waste, service levels, completeness.

`UsageFrame` has them as methods. Each hands its calls to the function that knows the answer, and styles what it gets.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Unpack

from mofa_usage import audit, changes, efficiency, service
from mofa_usage.audit.bills import BillSource, Reconciliation, reconcile
from mofa_usage.reading.relation import told

if TYPE_CHECKING:
    from mofa_usage.analysis import Breakdown, By
    from mofa_usage.audit import Budget, Completeness, CompletenessOptions, Limit
    from mofa_usage.changes import Change, ChangeOptions, SliceOptions
    from mofa_usage.changes.periods import Pair
    from mofa_usage.efficiency import CacheOptions, SessionOptions, Sessions, WasteOptions
    from mofa_usage.measures import Measure
    from mofa_usage.service import ServiceLevel, ServiceOptions
    from mofa_usage.usage.held import HeldCalls
    from mofa_usage.zones import Moment

__all__ = ["Reasons"]


class Reasons:
    """What can be asked of the calls of a usage, which has them and says in which zone their days are counted."""

    tz: str
    start: datetime | None
    end: datetime | None
    _held: "HeldCalls"

    def _style(self, answer: "Breakdown", by: "By | None") -> None:
        """Let an answer know how the names in its dimensions look."""
        raise NotImplementedError

    def explain_change(
        self, before: "Pair", after: "Pair", by: "By" = "model_name", **options: "Unpack[ChangeOptions]"
    ) -> "Change":
        """Why the cost changed from one period to another: see `mofa_usage.changes.explain_change`."""
        with told():
            answer = changes.explain_change(self._held.relation(self.tz), before, after, by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def drivers(
        self, measure: "str | Measure", before: "Pair", after: "Pair", **options: "Unpack[SliceOptions]"
    ) -> "Breakdown":
        """The slices of calls that explain most of a change: see `mofa_usage.changes.drivers`.

        `usage.drivers("cost", ("2026-04-01", "2026-05-01"), ("2026-05-01", "2026-06-01"))`
        """
        with told():
            return changes.drivers(self._held.relation(self.tz), measure, before, after, tz=self.tz, **options)

    def slow_drivers(self, quantile: float = 0.99, **options: "Unpack[SliceOptions]") -> "Breakdown":
        """The slices that have most of the slowest calls: see `mofa_usage.changes.slow_drivers`."""
        with told():
            return changes.slow_drivers(self._held.relation(self.tz), quantile, tz=self.tz, **options)

    def waste(self, by: "By | None" = None, **options: "Unpack[WasteOptions]") -> "Breakdown":
        """What was paid for nothing, by kind: see `mofa_usage.efficiency.waste`."""
        with told():
            answer = efficiency.waste(self._held.relation(self.tz), by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def cache_savings(self, by: "By | None" = None, **options: "Unpack[CacheOptions]") -> "Breakdown":
        """What prompt caches saved and could have saved: see `mofa_usage.efficiency.cache_savings`."""
        with told():
            answer = efficiency.cache_savings(self._held.relation(self.tz), by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def sessions(self, **options: "Unpack[SessionOptions]") -> "Sessions":
        """What conversations cost, and how their turns grow: see `mofa_usage.efficiency.sessions`."""
        with told():
            return efficiency.sessions(self._held.relation(self.tz), tz=self.tz, **options)

    def service_level(self, by: "By | None" = None, **options: "Unpack[ServiceOptions]") -> "ServiceLevel":
        """How many calls were within limits, error budgets, calls in flight: see `mofa_usage.service.service_level`."""
        with told():
            answer = service.service_level(self._held.relation(self.tz), by, tz=self.tz, **options)
        self._style(answer.level, by)
        return answer

    def completeness(self, **options: "Unpack[CompletenessOptions]") -> "Completeness":
        """What is missing, what is there twice, and what cannot be: see `mofa_usage.audit.completeness`."""
        options.setdefault("end", self.end)
        with told():
            answer = audit.completeness(self._held.relation(self.tz), tz=self.tz, **options)
        self._style(answer.coverage, None)
        return answer

    def reconcile(self, bill: BillSource) -> Reconciliation:
        """Compare the providers' own reports of usage and costs with these calls: is it all here?

        `usage.reconcile("bills/may").findings` is empty where both sides agree. See `mofa_usage.audit.bills.reconcile`
        for what a bill is and how it is compared; days are those of UTC, whatever the zone of this usage.

        Raises:
            UsageError: no such file, or a file that is no report of usage or costs; the message names it.
        """
        with told():
            found = reconcile(self._held.relation("UTC"), bill, start=self.start, end=self.end)
        self._style(found.comparison, ["model_name"])
        return found

    def check(self, *limits: "Budget | Limit | str", now: "Moment | None" = None) -> "Breakdown":
        """Whether limits are kept: see `mofa_usage.audit.limits.check`; text is a budget: `usage.check("500/month")`.

        A budget counts those calls of its calendar period that are here, from the start of the usage on.
        """
        asked = [audit.budget(limit) if isinstance(limit, str) else limit for limit in limits]
        with told():
            return audit.check(self._held.native(self.tz), asked, end=self.end, now=now, tz=self.tz)
