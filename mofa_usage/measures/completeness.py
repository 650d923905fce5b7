"""The numbers in answers to whether it is all here."""

from mofa_usage.measures.formulas import Measure, Reckoned

__all__ = ["COMPLETENESS"]

_ALL_HERE = Reckoned("completeness")
_HOURS, _USUAL = "Hours without calls in which calls usually come.", "Calls that usually come in that time."

COMPLETENESS = (
    Measure("latency_coverage", "Latency known", "rate", "", "Calls that have a latency / calls.", _ALL_HERE),
    Measure("ttft_coverage", "First token known", "rate", "", "Calls with a time to first token / calls.", _ALL_HERE),
    Measure("empty_hours", "Empty hours", "count", "hours", _HOURS, _ALL_HERE, additive=True),
    Measure("usual_calls", "Usual calls", "count", "calls", _USUAL, _ALL_HERE, additive=True),
    Measure("limit_value", "Value", "count", "", "What is, in the unit of its row.", Reckoned("check")),
    Measure("limit_set", "Limit", "count", "", "What may be, in the unit of its row.", Reckoned("check")),
)
