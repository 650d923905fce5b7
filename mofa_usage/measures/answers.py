"""The numbers in answers to questions that are no breakdowns: what they are called and how they are written.

`ANSWERS` knows them by name, so that a table, a sentence and a picture of such an answer say them alike, also of a
frame that somebody wrote by hand. What computes them is the question that their formula names.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mofa_usage.measures.bills import RECONCILED
from mofa_usage.measures.changes import CHANGE
from mofa_usage.measures.completeness import COMPLETENESS
from mofa_usage.measures.drivers import DRIVERS
from mofa_usage.measures.efficiency import EFFICIENCY
from mofa_usage.measures.formulas import Measure
from mofa_usage.measures.repricing import AGAINST
from mofa_usage.measures.service import SERVICE

__all__ = ["ANSWERS"]

_ANSWERS: tuple[Measure, ...] = (*AGAINST, *CHANGE, *COMPLETENESS, *DRIVERS, *EFFICIENCY, *RECONCILED, *SERVICE)

ANSWERS: Mapping[str, Measure] = MappingProxyType({entry.name: entry for entry in _ANSWERS})
"""By name, the measures that only a question of its own has."""
