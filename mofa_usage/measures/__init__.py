"""What every number means: the measures and dimensions of mofa_usage, defined once, as data.

A **measure** is a number about a group of calls (their cost, the 95th percentile of their latency); a
**dimension** says how calls are put into groups (by model, by day). Nothing here computes: a measure carries
a *formula* made of two kinds of parts, and `mofa_usage.analysis` interprets it on whichever engine holds the
calls.

- An `Aggregate` runs over the calls of a group: count, sum, quantile, least or largest, or number of distinct
  values of a `value`, over the calls that meet every `Condition` of `where` and have the value. The value is a
  column, or a `Quotient` of columns. The engine computes these and nothing else.
- A `Ratio` divides two aggregates of the same group afterwards. So averages, rates and unit costs are
  computed from exact sums and counts, in one place, and every engine agrees on them. Dividing by zero gives
  null.
- A `Share`, `Cumulative` or `Rolling` is made of a measure of the calls: the share of the whole, the sum so far, the
  same over the last days.

All of them are frozen data from which the columns that they read follow, so a measure or dimension of your own is
one more `Measure` or `Dimension`, and needs no change here: `Measure("slow", formula=...)` is enough.

Missing is not zero: the sum of values of which no call has one is null, not 0; counts are 0. Money is a
Decimal with ten places, in the currency of its call: **amounts of different currencies are never added**. Where an
answer has several, a measure of kind `money` is a column for each of them, see `money_columns`. Token details
(cached, reasoning) are subsets of prompt and completion tokens and are never added to them.

- A rate or percentile with a `Bound` is one end of its interval: how sure a number of so many calls is.
- A `Reckoned` measure is what another question than a breakdown computes; `answers` knows those.

- `formulas` has the parts, `catalogue` every measure that has a name of its own, `percentiles` those that a number
  names, `derived` shares and the like, and every measure by its name, `bounds` the ends of
  intervals, `dimensions` every dimension, `columns` the names
  of the columns of money, `roles` what the columns of an answer are, `spelling` tells who mistypes a name what is near
  it.

>>> MEASURES["cost_per_call"].title
'Cost per call'
>>> MEASURES["latency_p95"].needs
('latency_ms',)
>>> measure("latency_p99.9").title
'Latency p99.9'
>>> measure("latncy_p95")  # doctest: +ELLIPSIS
Traceback (most recent call last):
mofa_usage.errors.UsageError: no measure is called 'latncy_p95'; near it: latency_p95, latency_p99...
>>> Aggregate("count", where=(Condition("latency_ms", ">", 1000), Condition("status", "==", "success"))).needs
('latency_ms', 'status')
>>> money_columns("cost", ["EUR", "USD"])
{'EUR': 'cost_EUR', 'USD': 'cost_USD'}
"""

from mofa_usage.measures.answers import ANSWERS
from mofa_usage.measures.bounds import is_beyond_chance, low_and_high, with_bounds
from mofa_usage.measures.catalogue import MEASURES, MeasureName
from mofa_usage.measures.columns import measure_of_column, money_columns
from mofa_usage.measures.derived import cumulative, measure, rolling, share
from mofa_usage.measures.dimensions import (
    DIMENSIONS,
    LABEL_COLUMNS,
    Dimension,
    DimensionName,
    TimeBucket,
    dimension,
)
from mofa_usage.measures.formulas import (
    Aggregate,
    Bound,
    Condition,
    Cumulative,
    Derived,
    Measure,
    Quantity,
    Quotient,
    Ratio,
    Reckoned,
    Rolling,
    Share,
)
from mofa_usage.measures.roles import MISSING_MARK, MeasureColumn, Roles

__all__ = [
    "ANSWERS",
    "DIMENSIONS",
    "LABEL_COLUMNS",
    "MEASURES",
    "MISSING_MARK",
    "Aggregate",
    "Bound",
    "Condition",
    "Cumulative",
    "Derived",
    "Dimension",
    "DimensionName",
    "Measure",
    "MeasureColumn",
    "MeasureName",
    "Quantity",
    "Quotient",
    "Ratio",
    "Reckoned",
    "Roles",
    "Rolling",
    "Share",
    "TimeBucket",
    "cumulative",
    "dimension",
    "is_beyond_chance",
    "low_and_high",
    "measure",
    "measure_of_column",
    "money_columns",
    "rolling",
    "share",
    "with_bounds",
]
