"""A bill against what was recorded: the providers' own reports of usage and costs, joined by day and model.

    found = usage.reconcile("bills/may")   # a folder of saved pages of both providers, and exports of their consoles
    found.findings                         # what is not as it should be; empty where both sides agree
    found.by_day.draw()

`reading` finds the pages and `formats` knows how they are written, `pages` what all of them become, `joining` makes one
statement of the pages of a report, `recorded` adds up the calls, `cells` puts both sides together, `comparing` looks
for what explains a difference, from `shifting` by way of `tokens` to `costs`, and `reconciliation` is what comes out.

Tokens must agree exactly, money within rounding (`costs`). Days are days of UTC, as bills have them.
"""

from mofa_usage.audit.bills.findings import KINDS
from mofa_usage.audit.bills.reading import BillSource
from mofa_usage.audit.bills.reconciliation import Reconciliation, covered, reconcile
from mofa_usage.audit.bills.recorded import COLUMNS

__all__ = ["COLUMNS", "KINDS", "BillSource", "Reconciliation", "covered", "reconcile"]
