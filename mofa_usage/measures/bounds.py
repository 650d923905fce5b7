"""The two ends of an interval around a rate or percentile, as measures: `success_rate_low`, `success_rate_high`.

Rates are how many of some calls meet something: the success rates, and ratios of two counts of your own. Percentiles
are those of any value of the calls, in money and over the last days, too. What is no sample of anything has no
interval: sums, counts, largest values; the cache hit rate, a ratio of two sums; and what says how much is known of
these very calls, such as coverage.

>>> from mofa_usage.measures import measure
>>> [end.title for end in with_bounds(measure("latency_p95"), 0.95)]
['Latency p95', 'Latency p95, low', 'Latency p95, high']
>>> [end.name for end in with_bounds(measure("cache_hit_rate"), 0.95)]
['cache_hit_rate']
>>> low_and_high("latency_p95")
('latency_p95_low', 'latency_p95_high')
"""

from collections.abc import Mapping
from dataclasses import replace

from mofa_usage.measures.formulas import Aggregate, Bound, Formula, Measure, Ratio, Reckoned, Rolling

__all__ = ["bound_of", "is_beyond_chance", "level_of", "low_and_high", "named_bound", "with_bounds"]

_ENDS = ("low", "high")
_KNOWLEDGE = frozenset({"coverage", "token_coverage"})
"""How much of the calls is known: of no other calls could it have been different by chance."""


def low_and_high(name: str) -> tuple[str, str]:
    """The names of the ends of the interval of a measure of that name."""
    return f"{name}_low", f"{name}_high"


def is_beyond_chance(values: Mapping[str, float | None]) -> bool | None:
    """Whether something changed by more than chance makes it; None where nothing says how much that is.

    `values` has the ends of the interval of the change (`change_low`, `change_high`), or those of both sides
    (`before_low`, ..., `after_high`), which then must not meet.
    """
    low, high = values["change_low"], values["change_high"]
    if low is not None and high is not None:
        return low > 0 or high < 0
    before, after = ([values[end] for end in low_and_high(side)] for side in ("before", "after"))
    if before == [None, None] or after == [None, None]:
        return None
    return _is_below(before[1], after[0]) or _is_below(after[1], before[0])


def _is_below(end: float | None, start: float | None) -> bool:
    """Whether one interval ends before the other starts; an end that nobody knows is nowhere."""
    return end is not None and start is not None and end < start


def with_bounds(measure: Measure, level: float) -> tuple[Measure, ...]:
    """A measure and the ends of its interval behind it; alone where it has none.

    Raises:
        UsageError: the level is not between 0 and 1.
    """
    ends = (_end(measure, Bound(level, is_upper=is_upper)) for is_upper in (False, True))
    return measure, *(end for end in ends if end is not None)


def level_of(end: Measure) -> float | None:
    """The level of the interval that a measure is an end of; None where nobody knows it."""
    formula = end.base.formula
    return formula.bound.level if isinstance(formula, Aggregate | Ratio) and formula.bound is not None else None


def named_bound(name: str) -> str | None:
    """The name of the measure of whose interval a column of that name is an end, by the name alone."""
    base, _, end = name.rpartition("_")
    return base if end in _ENDS and base else None


def bound_of(measure: Measure, name: str) -> Measure | None:
    """An end of the interval of a measure in an answer that somebody wrote by hand: nobody knows its level."""
    end = name.rpartition("_")[2]
    if len(with_bounds(measure, 0.95)) == 1:
        return None
    text = f"The {'upper' if end == 'high' else 'lower'} end of an interval: {measure.description}"
    formula = Reckoned("an answer with intervals")
    return Measure(name, f"{measure.title}, {end}", measure.kind, measure.unit, text, formula)


def _end(measure: Measure, bound: Bound) -> Measure | None:
    """The measure of one end, if the measure has an interval."""
    formula = _bounded(measure, bound)
    if formula is None:
        return None
    which, name = ("upper" if bound.is_upper else "lower"), low_and_high(measure.name)[bound.is_upper]
    text = f"The {which} end of the interval at {bound.level:g}: {measure.description}"
    return Measure(name, f"{measure.title}, {_ENDS[bound.is_upper]}", measure.kind, measure.unit, text, formula)


def _bounded(measure: Measure, bound: Bound) -> Formula | None:
    """The formula of one end; of a rolling measure that over the same buckets."""
    match measure.formula:
        case Rolling(measure=base, buckets=buckets):
            end = _end(base, bound)
            return None if end is None else Rolling(end, buckets)
        case Aggregate(function="quantile", bound=None) as quantile:
            return replace(quantile, bound=bound)
        case Ratio(bound=None, is_proportion=True) as rate if measure.kind == "rate" and measure.name not in _KNOWLEDGE:
            return replace(rate, bound=bound)
    return None
