"""What else changed beside the cost: the measures of both periods, with how sure they are.

Rates have Wilson intervals and their change a Newcombe interval, percentiles have intervals of order statistics; see
`mofa_usage.analysis.intervals`, also for why all of these are too narrow where calls are not independent. The change of
a percentile has none; where the intervals of both periods do not meet, it is more than chance. Costs of a call, of a
success and of a thousand tokens have none: what was paid is no sample.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from mofa_usage.analysis import Breakdown, Native, Question, breakdowns
from mofa_usage.analysis.intervals import newcombe
from mofa_usage.changes.periods import Periods
from mofa_usage.measures import Dimension, Measure, Roles, measure, money_columns
from mofa_usage.measures.bounds import low_and_high

__all__ = ["measures_beside"]

_MEASURES = (
    "calls",
    "success_rate",
    "coverage",
    "cache_hit_rate",
    "latency_p50",
    "latency_p95",
    "ttft_p95",
    "cost_per_call",
    "cost_per_success",
    "cost_per_1k_tokens",
)
_COUNTS = {"success_rate": ("success_count", "calls")}
"""The rates of calls: how many meet it, and of how many."""

_DIMENSION = Dimension("measure", description="A measure of the calls of both periods.")
_COLUMNS = tuple(f"{column}{end}" for column in ("before", "after", "change") for end in ("", "_low", "_high"))


def measures_beside(calls: Native, compared: Periods, *, level: float = 0.95) -> Breakdown:
    """The usual measures of the calls of both periods, as far as the calls have the columns.

    Returns:
        A row for each measure, one of money for each currency: `measure`, its name; `before`, `before_low`,
        `before_high`, the same of `after`, and `change`, `change_low`, `change_high` (Float64; null where nobody
        knows, or where there is no such interval); `unit`: "calls", "ms", the currency, or null of a rate. A change of
        a rate is in points: 0.01 is one percent point.
    """
    there = set(calls.columns)
    known = [name for name in _MEASURES if there.issuperset(measure(name).needs)]
    counts = [name for rate, names in _COUNTS.items() if rate in known for name in names if name not in known]
    questions = [
        Question((), [*known, *counts], period.start, period.end, intervals=level)
        for period in (compared.before, compared.after)
    ]
    answers = breakdowns(calls, questions, tz=compared.before.tz.key)
    before, after = answers
    currencies = list(dict.fromkeys([*before.currencies, *after.currencies]))
    rows = [row for name in known for row in _rows(measure(name), before, after, currencies, level)]
    names = (compared.before.text, compared.after.text)
    roles = Roles({"measure": _DIMENSION}, {}, question="measures_beside", periods=names)
    schema = {"measure": pl.String, **dict.fromkeys(_COLUMNS, pl.Float64), "unit": pl.String}
    return Breakdown.of(pl.DataFrame(rows, schema, orient="row"), roles)


def _rows(
    of: Measure, before: Breakdown, after: Breakdown, currencies: Sequence[str], level: float
) -> Iterator[tuple[Any, ...]]:
    """The row of a measure, or one for each currency of one of money."""
    apart: Sequence[str | None] = (currencies or [None]) if of.of_money else [None]
    for currency in apart:
        name = of.name if currency is None or len(currencies) < 2 else f"{of.name}_{currency}"
        first, second = (_ends(of, currency, answer) for answer in (before, after))
        change = None if first[0] is None or second[0] is None else second[0] - first[0]
        ends = _change(of.name, before, after, level)
        unit = currency or (None if of.kind == "rate" else of.unit)
        yield name, *first, *second, change, *ends, unit


def _ends(of: Measure, currency: str | None, answer: Breakdown) -> tuple[float | None, float | None, float | None]:
    """The value in an answer, and the ends of its interval where it has one."""
    if currency is not None and currency not in answer.currencies:  # no call was priced in it
        return None, None, None

    def value(name: str) -> float | None:
        column = name if currency is None else money_columns(name, answer.currencies)[currency]
        found = answer[column][0] if column in answer.columns else None
        return None if found is None else float(found)

    low, high = low_and_high(of.name)
    return value(of.name), value(low), value(high)


def _change(name: str, before: Breakdown, after: Breakdown, level: float) -> tuple[float | None, float | None]:
    """The ends of the interval of the change of a rate of calls; None of anything else."""
    if name not in _COUNTS:
        return None, None
    meeting, calls = _COUNTS[name]
    first, second = ((int(answer[meeting][0]), int(answer[calls][0])) for answer in (before, after))
    return newcombe(first, second, level)
