"""What is asked of API calls: which of them, and the totals over those.

Money is kept apart by currency and never added across: `costs` has a sum for each. A call without a price has no
currency; its cost is unknown, not nothing, so `priced_calls` says how many calls the sums are of.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mofa_usage.values import ApiCallStatus, Id, Text, Time, Value

__all__ = ["QueryFilter", "UsageStatistics"]


class QueryFilter(Value):
    """Which API calls: those that meet every condition given. Both ends of the time range are included."""

    user_id: Id | None = None
    session_id: Id | None = None
    agent_id: Id | None = None
    tenant_id: Id | None = None
    start_time: Time | None = None
    end_time: Time | None = None
    status: ApiCallStatus | None = None
    model_name: Text | None = None
    limit: Annotated[int, Field(strict=True, ge=0, lt=2**63)] | None = None
    offset: Annotated[int, Field(strict=True, ge=0, lt=2**63)] | None = None

    COLUMNS: ClassVar[Mapping[str, str]] = {
        "user_id": "user_id",
        "session_id": "chat_session_id",
        "agent_id": "agent_id",
        "tenant_id": "tenant_id",
        "status": "status",
        "model_name": "model_name",
    }
    """Which column each condition of equality compares."""


def _cost_of_one_currency(data: dict[str, Any]) -> Decimal | None:
    costs = data.get("costs", {})
    return next(iter(costs.values())) if len(costs) == 1 else None


class UsageStatistics(Value):
    """Totals over the calls of a filter.

    `failed_count` counts the status `failed` only, `status_counts` every status. `costs` are the exact sums of the
    `priced_calls` calls that have a price, by currency, that of most calls first; `total_cost` is the sum where they
    are all of one currency, else `None`, and `None` where no call has a price. Averages are over the calls that have
    the value. Latency is in milliseconds.
    """

    total_calls: int
    priced_calls: int = 0
    success_count: int
    failed_count: int
    status_counts: dict[ApiCallStatus, int]
    total_tokens: int
    total_prompt_tokens: int
    total_completion_tokens: int
    costs: dict[str, Decimal] = Field(default_factory=dict)
    total_cost: Decimal | None = Field(default_factory=_cost_of_one_currency)
    avg_latency_ms: float | None = None
    avg_tokens_per_second: float | None = None

    @property
    def success_rate(self) -> float | None:
        """Successes divided by calls, from 0 to 1; `None` when there are no calls."""
        return self.success_count / self.total_calls if self.total_calls else None
