"""Percentiles by name: `latency_p75`, `ttft_p99.9`, `cost_p95`.

`PER_CALL` says of which values of a call there are any; every number from 0 to 100 is a percentile of each. They are
exact, and linearly interpolated between the two values that they lie between. A number of more than seven decimal
places stands for the fraction next to it whose denominator is at most 10**9: 33.333333333 for a third.

>>> named_percentile("latency_p99.9").title, named_percentile("latency_p075").name, named_percentile("success_rate")
('Latency p99.9', 'latency_p75', None)
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from mofa_usage.errors import UsageError
from mofa_usage.measures.formulas import Aggregate, Condition, Measure, Quantity, Quotient

__all__ = ["PER_CALL", "TIMED", "PerCall", "named_percentile", "percentile"]

TIMED = Condition("latency_ms", ">", 0)

TOKEN_RATE = Quotient(
    "token_rate", "completion_tokens", "latency_ms", (TIMED,), scale=1000, recorded="tokens_per_second"
)
"""Completion tokens per second of latency, unless the call has a rate of its own."""

TIME_PER_OUTPUT_TOKEN = Quotient(
    "time_per_output_token",
    "latency_ms",
    "completion_tokens",
    (Condition("completion_tokens", ">", 1),),
    numerator_less="time_to_first_token_ms",
    denominator_less=1,
)
"""Milliseconds from one completion token to the next."""


@dataclass(frozen=True, slots=True)
class PerCall:
    """A value that a call may have, and how percentiles of it are called and written. `text` says of what they are."""

    value: str | Quotient
    title: str
    kind: Quantity
    text: str

    @property
    def unit(self) -> str:
        """The word behind the number."""
        return "currency" if self.kind == "money" else self.kind


def _column(name: str, title: str, kind: Quantity) -> PerCall:
    return PerCall(name, title, kind, f"{name} over the calls that have {name}")


PER_CALL: Mapping[str, PerCall] = MappingProxyType(
    {
        "latency": _column("latency_ms", "Latency", "ms"),
        "ttft": _column("time_to_first_token_ms", "Time to first token", "ms"),
        "time_per_output_token": PerCall(
            TIME_PER_OUTPUT_TOKEN,
            "Time per output token",
            "ms",
            "(latency - time to first token) / (completion tokens - 1) over calls that have all three and several "
            "tokens",
        ),
        "token_rate": PerCall(
            TOKEN_RATE,
            "Token rate",
            "tokens/s",
            "the calls' rates (tokens_per_second, else completion tokens / seconds of latency)",
        ),
        "cost": PerCall("total_price", "Cost", "money", "the total_price of priced calls"),
        "total_tokens": _column("total_tokens", "Tokens", "tokens"),
        "prompt_tokens": _column("prompt_tokens", "Prompt tokens", "tokens"),
        "completion_tokens": _column("completion_tokens", "Completion tokens", "tokens"),
    }
)
"""What percentiles are of, by the beginning of their names."""

_NAME = re.compile(rf"({'|'.join(PER_CALL)})_p(-?\d+(?:\.\d+)?)")


def percentile(of: str, percent: Decimal) -> Measure:
    """A percentile of one of `PER_CALL`."""
    value, written = PER_CALL[of], f"{percent.normalize():f}"
    text = f"Percentile {written} of {value.text}, exact, linearly interpolated."
    formula = Aggregate("quantile", value.value, quantile=float(percent / 100))
    return Measure(f"{of}_p{written}", f"{value.title} p{written}", value.kind, value.unit, text, formula)


def named_percentile(name: str) -> Measure | None:
    """The percentile of that name; None for a name that is not one of a percentile.

    Raises:
        UsageError: it is below 0 or above 100.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    of, percent = found[1], Decimal(found[2])
    if not 0 <= percent <= 100:
        raise UsageError(f"no measure is called {name!r}; percentiles go from {of}_p0 to {of}_p100")
    return percentile(of, percent)
