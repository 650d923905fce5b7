"""Questions beyond breakdowns: prices, reasons of changes, waste, service levels, completeness.

`UsageFrame` has them as methods. Each hands its calls to the function that knows the answer, and styles what it gets.
"""

from typing import TYPE_CHECKING, Unpack

from mofa_usage import efficiency, service
from mofa_usage.reading.relation import told

if TYPE_CHECKING:
    from mofa_usage.analysis import Breakdown, By
    from mofa_usage.efficiency import WasteOptions
    from mofa_usage.service import ServiceLevel, ServiceOptions
    from mofa_usage.usage.held import HeldCalls

__all__ = ["Reasons"]


class Reasons:
    """What can be asked of the calls of a usage, which has them and says in which zone their days are counted."""

    tz: str
    _held: "HeldCalls"

    def _style(self, answer: "Breakdown", by: "By | None") -> None:
        """Let an answer know how the names in its dimensions look."""
        raise NotImplementedError

    def waste(self, by: "By | None" = None, **options: "Unpack[WasteOptions]") -> "Breakdown":
        """What was paid for nothing, by kind: see `mofa_usage.efficiency.waste`."""
        with told():
            answer = efficiency.waste(self._held.relation(self.tz), by, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def service_level(self, by: "By | None" = None, **options: "Unpack[ServiceOptions]") -> "ServiceLevel":
        """How many calls were within limits, error budgets, calls in flight: see `mofa_usage.service.service_level`."""
        with told():
            answer = service.service_level(self._held.relation(self.tz), by, tz=self.tz, **options)
        self._style(answer.level, by)
        return answer
