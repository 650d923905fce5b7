"""Questions about calls: a frame of calls in, a small frame of numbers out.

`breakdown` composes any measures and dimensions of `mofa_usage.measures`; the others are the breakdowns that everybody
asks for. All of them run on Polars, DuckDB and Spark with equal results: the definitions are written once, in the terms
of Narwhals, and whatever engines would do differently (local time, division, rounding, nothing) is done here, on
integers before they group and on the small frame after it.

- `intervals` says how sure a rate or percentile of so many calls is, in plain Python, and `ordered` picks the values
  of the calls that are the ends of those of percentiles.
- `engine` opens frames (`spark_groups` has what only Spark does in its own way), `predicates` filters them, `asking`
  checks what is asked, `buckets` turns time into integers, `aggregates` says what the engine computes, `currencies`
  keeps money apart, `folding` makes what is not heaviest one group, `levels` groups the calls and, for totals, the
  levels above (with `grouping_sets`), `grouping` puts these together, `gaps` fills series, `shares` and `windows`
  compute measures made of others, `quantiles` the percentiles of money, `questions` has the usual ones, `spread` counts
  calls by duration, cost or tokens.
"""

from mofa_usage.errors import require

for _module in ("polars", "narwhals", "duckdb"):
    require(_module, extra="analysis")

from mofa_usage.analysis.asking import (  # noqa: E402
    By,
    Measures,
    PeriodOptions,
    Question,
    QuestionOptions,
    SummaryOptions,
)
from mofa_usage.analysis.engine import Native  # noqa: E402
from mofa_usage.analysis.grouping import breakdown, breakdowns  # noqa: E402
from mofa_usage.analysis.questions import cost, latency, success_rate, summary, token_rate  # noqa: E402
from mofa_usage.analysis.result import Breakdown  # noqa: E402
from mofa_usage.analysis.spread import DistributionOf, distribution  # noqa: E402

__all__ = [
    "Breakdown",
    "By",
    "DistributionOf",
    "Measures",
    "Native",
    "PeriodOptions",
    "Question",
    "QuestionOptions",
    "SummaryOptions",
    "breakdown",
    "breakdowns",
    "cost",
    "distribution",
    "latency",
    "success_rate",
    "summary",
    "token_rate",
]
