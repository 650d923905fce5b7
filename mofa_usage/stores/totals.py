"""The totals over API calls: of the rows in which a database counts and sums them, or of records."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pydantic_core import from_json

from mofa_usage.records import ApiCallStatus, LLMApiCall, UsageStatistics
from mofa_usage.schema import read_status
from mofa_usage.stores.base import Tally
from mofa_usage.values import read_currency

__all__ = ["add_up", "tallies_of_records", "tallies_of_rows"]


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


@dataclass
class _Sums:
    """A `Tally` that grows; `counts` holds its whole numbers, and calls by the number of their interval."""

    counts: Counter[str | int] = field(default_factory=Counter)
    costs: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def tally(self, name: str, status: ApiCallStatus, bounds: int) -> Tally:
        names = ("calls", "unpriced", "prompt_tokens", "completion_tokens", "latency_ms")
        latencies = tuple(self.counts[number] for number in range(bounds + 1))
        numbers: dict[str, Any] = {name: self.counts[name] for name in names}
        return Tally(name, status, costs=dict(sorted(self.costs.items())), latencies=latencies, **numbers)


def tallies_of_rows(
    rows: Sequence[Sequence[Any]], money_total: Callable[[Sequence[Any]], Decimal | None], bounds: int
) -> list[Tally]:
    """The tallies of rows of `Statements.tallies` about so many bounds."""
    found: dict[tuple[str, ApiCallStatus], _Sums] = defaultdict(_Sums)
    for name, status, written, interval, calls, priced, prompt, completion, latency, *money in rows:
        name = name.decode() if isinstance(name, bytes) else name
        sums = found[name, ApiCallStatus(read_status(status))]
        sums.counts.update(calls=calls, unpriced=calls - priced, latency_ms=int(latency or 0))
        sums.counts.update(prompt_tokens=int(prompt or 0), completion_tokens=int(completion or 0))
        if interval is not None:
            sums.counts[int(interval)] += calls
        if (cost := money_total(money)) is not None:
            sums.costs[_currency(written)] += cost
    return [sums.tally(*key, bounds) for key, sums in sorted(found.items())]


def tallies_of_records(calls: Iterable[LLMApiCall], bounds_ms: Sequence[int]) -> list[Tally]:
    """The tallies of calls."""
    found: dict[tuple[str, ApiCallStatus], _Sums] = defaultdict(_Sums)
    for call in calls:
        sums = found[call.model_name, call.status]
        sums.counts.update(calls=1, unpriced=call.total_price is None, latency_ms=call.latency_ms or 0)
        sums.counts.update(prompt_tokens=call.prompt_tokens, completion_tokens=call.completion_tokens)
        if call.latency_ms is not None:
            sums.counts[bisect_left(bounds_ms, call.latency_ms)] += 1
        if call.total_price is not None and call.currency is not None:
            sums.costs[call.currency] += call.total_price
    return [sums.tally(*key, len(bounds_ms)) for key, sums in sorted(found.items())]
