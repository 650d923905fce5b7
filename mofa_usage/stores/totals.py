"""The totals over API calls, of the rows in which a database counts and sums them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from pydantic_core import from_json

from mofa_usage.records import ApiCallStatus, UsageStatistics
from mofa_usage.schema import read_status
from mofa_usage.values import read_currency

__all__ = ["add_up"]


def add_up(rows: Sequence[Sequence[Any]], money_total: Callable[[Sequence[Any]], Decimal | None]) -> UsageStatistics:
    """The totals of rows of `Statements.statistics`, one for each status and currency as it is written."""
    counts = dict.fromkeys(ApiCallStatus, 0)
    costs: dict[str, Decimal] = {}
    priced: dict[str, int] = {}
    for status, written, calls, *sums in rows:
        counts[ApiCallStatus(read_status(status))] += calls
        cost = money_total(sums[8:])
        if cost is not None:
            currency = _currency(written)
            costs[currency] = costs.get(currency, Decimal(0)) + cost
            priced[currency] = priced.get(currency, 0) + sums[7]
    sums = [sum(row[column] or 0 for row in rows) for column in range(3, 10)]
    total, prompt, completion, latency, latency_calls, rate, rate_calls = sums
    return UsageStatistics(
        total_calls=sum(counts.values()),
        priced_calls=sum(priced.values()),
        success_count=counts[ApiCallStatus.SUCCESS],
        failed_count=counts[ApiCallStatus.FAILED],
        status_counts=counts,
        total_tokens=int(total),
        total_prompt_tokens=int(prompt),
        total_completion_tokens=int(completion),
        costs={currency: costs[currency] for currency in sorted(costs, key=lambda one: (-priced[one], one))},
        avg_latency_ms=float(latency) / latency_calls if latency_calls else None,
        avg_tokens_per_second=rate / rate_calls if rate_calls else None,
    )


def _currency(written: str | None) -> str:
    value: Any = written
    with suppress(ValueError):  # a text that the database cut off is no JSON any more
        value = None if written is None else from_json(written)
    return read_currency(value)
