"""Measures that others are made into, by function and by name; and every measure by its name.

Whatever a measure is of, there are its share of the whole, its sum so far, and the same over the last days:

| by name | by function | what |
|---|---|---|
| `cost_share` | `share("cost")` | of all rows of the answer, in each currency |
| `cost_share_of_day` | `share("cost", of="day")` | of the rows of the same day |
| `cost_cumulative` | `cumulative("cost")` | from the first bucket that is asked for to this one |
| `success_rate_rolling_7` | `rolling("success_rate", 7)` | over this bucket and the six before it |

Shares and sums so far are of what adds up; any measure of calls is rolling, and exact: a percentile over seven days is
that of the calls of seven days, not one of seven percentiles.

>>> measure("cost").title, measure("ttft_p99.9").title, measure("cost_share_of_day").title
('Cost', 'Time to first token p99.9', 'Cost share of day')
>>> measure("latency_p95_rolling_7") == rolling("latency_p95", 7)
True
>>> share("success_rate")
Traceback (most recent call last):
mofa_usage.errors.UsageError: a share is of what adds up, such as calls, cost or total_tokens; 'success_rate' does not
"""

import re

from mofa_usage.errors import UsageError
from mofa_usage.measures.catalogue import MEASURES, MeasureName
from mofa_usage.measures.dimensions import DIMENSIONS, Dimension, DimensionName
from mofa_usage.measures.formulas import Cumulative, Measure, Rolling, Share
from mofa_usage.measures.percentiles import named_percentile
from mofa_usage.measures.spelling import suggestion

__all__ = ["cumulative", "known_measure", "measure", "rolling", "share"]

_NAME = re.compile(r"(?P<base>.+)_(?:share(?:_of_(?P<of>.+))?|(?P<sum>cumulative)|rolling_(?P<buckets>\d+))")


def measure(name: str) -> Measure:
    """The measure of that name.

    Args:
        name: one of `MEASURES`, any percentile (`latency_p75`, `cost_p99.9`), or the name of either followed by
            `_share`, `_share_of_DIMENSION`, `_cumulative` or `_rolling_N`.

    Raises:
        UsageError: there is none; the message names it and those nearest to it.
    """
    found = known_measure(name) if isinstance(name, str) else None
    if found is None:
        derived = (f"{base}_{word}" for base in MEASURES for word in ("share", "cumulative", "rolling_7"))
        raise UsageError(f"no measure is called {name!r}; {suggestion(name, MEASURES, derived)}")
    return found


def known_measure(name: str) -> Measure | None:
    """The measure of that name, if there is one.

    Raises:
        UsageError: it names what cannot be: percentile 101, or the share of a rate.
    """
    found = MEASURES.get(name) or named_percentile(name)
    parts = _NAME.fullmatch(name)
    base = None if found is not None or parts is None else known_measure(parts["base"])
    if base is None or parts is None:
        return found
    if parts["sum"]:
        return cumulative(base)
    return share(base, parts["of"]) if parts["buckets"] is None else rolling(base, int(parts["buckets"]))


def share(of_measure: MeasureName | str | Measure, of: DimensionName | str | Dimension | None = None) -> Measure:
    """What part a measure is of that of all rows, or of those with the same value of the dimension `of`, from 0 to 1.

    Of measures that add up: counts, token sums, costs (each currency apart). An answer has `of` among its dimensions.

    Raises:
        UsageError: there is no such measure, or it does not add up.
    """
    base, name = _measure(of_measure), of.name if isinstance(of, Dimension) else of
    title = name if name is None or name not in DIMENSIONS else DIMENSIONS[name].title.lower()
    within, words = ("", "the whole answer") if name is None else (f" of {title}", f"all with the same {title}")
    text = f"What part this is of {words}: {base.description}"
    suffix = "" if name is None else f"_of_{name}"
    return Measure(
        f"{base.name}_share{suffix}", f"{base.title} share{within}", description=text, formula=Share(base, name)
    )


def cumulative(of_measure: MeasureName | str | Measure) -> Measure:
    """A measure of all calls from the first bucket of time that is asked for to that of the row.

    Of measures that add up. An answer has one bucket of time among its dimensions, along which it is summed up, for
    each combination of the others.

    Raises:
        UsageError: there is no such measure, or it does not add up.
    """
    base = _measure(of_measure)
    text = f"So far, from the first bucket asked for: {base.description}"
    formula = Cumulative(base)
    return Measure(f"{base.name}_cumulative", f"{base.title} so far", description=text, formula=formula)


def rolling(of_measure: MeasureName | str | Measure, buckets: int) -> Measure:
    """A measure of the calls in the row's bucket of time and in those before it, `buckets` in all.

    Of any measure but shares and sums so far, percentiles and numbers of users included. Buckets follow each other on
    the calendar. Those before the `start` that is asked for count, too, where the source has their calls.

    Raises:
        UsageError: there is no such measure, it is of another measure itself, or fewer than one bucket.
    """
    base = _measure(of_measure)
    text = f"Over the last {buckets} buckets of time: {base.description}"
    formula = Rolling(base, buckets)
    return Measure(
        f"{base.name}_rolling_{buckets}", f"{base.title}, rolling {buckets}", description=text, formula=formula
    )


def _measure(given: str | Measure) -> Measure:
    return given if isinstance(given, Measure) else measure(given)
