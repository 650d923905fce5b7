"""Measures by name, those that are in no list among them.

>>> measure("cost").title, measure("ttft_p99.9").title
('Cost', 'Time to first token p99.9')
"""

from mofa_usage.errors import UsageError
from mofa_usage.measures.catalogue import MEASURES
from mofa_usage.measures.formulas import Measure
from mofa_usage.measures.percentiles import named_percentile
from mofa_usage.measures.spelling import suggestion

__all__ = ["known_measure", "measure"]


def measure(name: str) -> Measure:
    """The measure of that name: one of `MEASURES`, or any percentile (`latency_p75`, `cost_p99.9`).

    Raises:
        UsageError: there is none; the message names it and those nearest to it.
    """
    found = known_measure(name) if isinstance(name, str) else None
    if found is None:
        raise UsageError(f"no measure is called {name!r}; {suggestion(name, MEASURES)}")
    return found


def known_measure(name: str) -> Measure | None:
    """The measure of that name, if there is one.

    Raises:
        UsageError: it names a percentile that cannot be.
    """
    return MEASURES.get(name) or named_percentile(name)
