"""Whether it is all here: what is missing, what a provider billed, and limits that must not be passed.

`completeness` puts together what `coverage`, `gaps` and `doubles` find, `bills` compares with what providers say, and
`limits` checks budgets and other limits, for cron and CI.
"""

from mofa_usage.audit.completeness import Completeness, CompletenessOptions, Waiting, completeness
from mofa_usage.audit.limits import Budget, Limit, begin, budget, check

__all__ = [
    "Budget",
    "Completeness",
    "CompletenessOptions",
    "Limit",
    "Waiting",
    "begin",
    "budget",
    "check",
    "completeness",
]
