"""The numbers in answers about slices of calls: what they explain of a change, or what they have of the slow calls."""

from mofa_usage.measures.formulas import Measure, Quantity, Reckoned

__all__ = ["DRIVERS", "SUPPORT"]


def _measure(name: str, title: str, kind: Quantity, description: str, question: str = "drivers") -> Measure:
    unit = "calls" if kind == "count" and "calls" in name else kind if kind == "ms" else ""
    return Measure(name, title, kind, unit, description, Reckoned(question), additive=False)


def _slow(name: str, title: str, kind: Quantity, description: str) -> Measure:
    return _measure(name, title, kind, description, "slow_drivers")


SUPPORT = (
    _measure("calls_before", "Calls before", "count", "Calls in the period before."),
    _measure("calls_after", "Calls after", "count", "Calls in the period after."),
)
"""All calls of a slice, where `explain_change` has columns of these names for priced ones."""

DRIVERS = (
    _measure("explained", "Explained", "rate", "The share of the change that would be gone without these calls."),
    _measure("other_currency_calls", "Calls in other currencies", "count", "Calls left out for their currency."),
    _slow("slow_share", "Share of slow calls", "rate", "Slow calls of the slice / all slow calls."),
    _slow("call_share", "Share of calls", "rate", "Calls of the slice / all calls, of those that have a latency."),
    _slow("lift", "Lift", "count", "How many times as many slow calls the slice has as its size says."),
    _slow("lift_low", "Lift at least", "count", "The lower end of its 95% interval, by Wilson's of the slice's rate."),
    _slow("slow_calls", "Slow calls", "count", "Calls whose latency is at or above the quantile."),
    _slow("slow_from_ms", "Slow from", "ms", "The quantile of the latency from which on a call is slow."),
)
