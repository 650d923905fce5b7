"""Usage for Prometheus: what a node exporter's textfile collector reads (`mofa-usage metrics`).

```python
async with mofa_usage.connect("sqlite:usage.db") as store:
    usage = await counted_usage(store)
text = exposition(usage.families())
```

Everything of the calls is a counter: the sum over all calls that there are, of which Prometheus makes rates. A counter
must not fall, but calls are deleted by retention, and of many models only the heaviest have series of their own. So
what is written to a file goes on from what the file said before (`write_textfile`).
"""

from mofa_usage.monitoring.counting import LATENCY_SECONDS, Usage, counted_usage
from mofa_usage.monitoring.exposition import Family, exposition
from mofa_usage.monitoring.outbox import outbox_families
from mofa_usage.monitoring.textfile import write_textfile

__all__ = [
    "LATENCY_SECONDS",
    "Family",
    "Usage",
    "counted_usage",
    "exposition",
    "outbox_families",
    "write_textfile",
]
