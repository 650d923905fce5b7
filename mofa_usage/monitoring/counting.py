"""What a store's calls add up to, as counters by model and status.

The database sums up (`Store.tally_calls`): one statement, of which a row for each model and status comes back. Labels
are bounded: the models with the most tokens have series of their own, all others are "other".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import TypeAlias

from mofa_usage.errors import UsageError
from mofa_usage.monitoring.exposition import Family, Number, Series
from mofa_usage.records import QueryFilter
from mofa_usage.stores.base import Store, Tally

__all__ = ["LATENCY_SECONDS", "Counts", "Usage", "counted_usage", "families_of"]

LATENCY_SECONDS = ("0.1", "0.25", "0.5", "1", "2.5", "5", "10", "30", "60", "120", "300")
"""The upper ends of the histogram's buckets, as they are written; a last one has no end."""
_BOUNDS_MS = tuple(round(float(end) * 1000) for end in LATENCY_SECONDS)
_ENDS = (*LATENCY_SECONDS, "+Inf")
_MILLI = Decimal("0.001")
_OTHER = "other"

Counts: TypeAlias = dict[tuple[str, ...], Number]
"""Counters by what they count, the model, the status and, where it has parts, the part. Buckets are apart, not summed
up, so that each may grow by itself."""


@dataclass(frozen=True)
class Usage:
    """The sums over calls, for as many models as there are; `top` of them are named."""

    tallies: Sequence[Tally]
    top: int

    def heaviest(self) -> tuple[str, ...]:
        """The models with the most tokens, then the most calls, then in order of their names."""
        weights: dict[str, tuple[int, int]] = {}
        for tally in self.tallies:
            tokens, calls = weights.get(tally.model_name, (0, 0))
            own = tally.prompt_tokens + tally.completion_tokens
            weights[tally.model_name] = (tokens + own, calls + tally.calls)
        return tuple(sorted(weights, key=lambda name: (-weights[name][0], -weights[name][1], name))[: self.top])

    def counts(self, named: Iterable[str]) -> Counts:
        """The counters, with these models named."""
        counts: Counts = {}
        names = frozenset(named)
        for tally in self.tallies:
            whose = (tally.model_name if tally.model_name in names else _OTHER, str(tally.status))
            for (what, *part), number in _numbers(tally).items():
                key = (what, *whose, *part)
                counts[key] = counts.get(key, 0) + number
        return counts

    def families(self) -> list[Family]:
        """The metrics of all calls that there are."""
        return families_of(self.counts(self.heaviest()))


async def counted_usage(store: Store, *, top: int = 20, filter: QueryFilter | None = None) -> Usage:  # noqa: A002
    """What the calls of a store add up to; the database reads each of them once, and nothing else comes back.

    Args:
        top: So many models, those with the most tokens, have series of their own; all others are "other".
        filter: Only calls that meet it.

    Raises:
        UsageError: `top` is below 1.
        PersistenceError: the database cannot be asked.
    """
    if top < 1:
        raise UsageError(f"top is {top}; at least one model has series of its own")
    return Usage(await store.tally_calls(_BOUNDS_MS, filter), top)


def _numbers(tally: Tally) -> Mapping[tuple[str, ...], Number]:
    numbers: dict[tuple[str, ...], Number] = {
        ("calls",): tally.calls,
        ("unpriced",): tally.unpriced,
        ("tokens", "prompt"): tally.prompt_tokens,
        ("tokens", "completion"): tally.completion_tokens,
        ("latency_ms",): tally.latency_ms,
    }
    numbers |= {("cost", currency): cost for currency, cost in tally.costs.items()}
    numbers |= {("latencies", end): calls for end, calls in zip(_ENDS, tally.latencies, strict=True)}
    return numbers


def families_of(counts: Counts) -> list[Family]:
    """The metrics that counters are written as."""

    def series(what: str, *labels: str) -> tuple[Series, ...]:
        return tuple(
            ("", tuple(zip(("model", "status", *labels), key[1:], strict=True)), counts[key])
            for key in sorted(counts)
            if key[0] == what
        )

    return [
        Family("mofa_usage_calls_total", "counter", "API calls.", series("calls")),
        Family("mofa_usage_calls_without_price_total", "counter", "API calls without a price.", series("unpriced")),
        Family("mofa_usage_tokens_total", "counter", "Tokens.", series("tokens", "direction")),
        Family("mofa_usage_cost_total", "counter", "Prices, in units of the currency.", series("cost", "currency")),
        Family("mofa_usage_latency_seconds", "histogram", "How long API calls took.", _histogram(counts)),
    ]


def _histogram(counts: Counts) -> tuple[Series, ...]:
    found: list[Series] = []
    for _, model, status in sorted(key for key in counts if key[0] == "latency_ms"):
        whose = (("model", model), ("status", status))
        calls = list(accumulate(counts[("latencies", model, status, end)] for end in _ENDS))
        found += [("_bucket", (*whose, ("le", end)), count) for end, count in zip(_ENDS, calls, strict=True)]
        found += [("_sum", whose, counts[("latency_ms", model, status)] * _MILLI), ("_count", whose, calls[-1])]
    return tuple(found)
