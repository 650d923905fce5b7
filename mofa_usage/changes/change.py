"""Why the cost changed from one period to another.

The calls are summed up once (`gathering`) and put into cells (`cells`), each of which is taken apart exactly
(`factors`). What a row shows is the sum of its cells, rounded at ten places; what the rounding leaves over goes to the
largest part. So the parts of every row add up to its change, and the rows to the whole, to the last digit.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from mofa_usage import wording
from mofa_usage.analysis import Breakdown
from mofa_usage.analysis.asking import By, found
from mofa_usage.analysis.engine import open_calls
from mofa_usage.analysis.sums import Queried
from mofa_usage.changes.calendar import calendar_calls, weekday_remark
from mofa_usage.changes.cells import Pair, counted
from mofa_usage.changes.factors import FACTORS, Number, parts
from mofa_usage.changes.gathering import ByWeekday, gathered
from mofa_usage.changes.periods import Per, Periods
from mofa_usage.changes.table import Amounts, Line, Table, as_fraction, units, whole
from mofa_usage.pricing import PriceBook

__all__ = ["cost_change"]


def cost_change(
    calls: Queried,
    compared: Periods,
    by: By = "model_name",
    *,
    per: Per | None = None,
    book: PriceBook | None = None,
) -> Breakdown:
    """The change of cost between two periods, taken apart: `mofa_usage.changes.explain_change` without what is beside.

    Raises:
        UsageError: the calls lack a column, there is no such dimension, or `per` is neither day nor week.
    """
    weights = compared.weights(per)
    opened = open_calls(calls)
    opened.require(["create_time", "total_price"], "explain_change")
    dimensions = found(by, opened)
    found_there = gathered(calls, dimensions, compared, book=book, by_weekday=per == "week")
    there = counted(found_there.groups, weights)
    lines = [
        Line(
            row,
            {currency: _amounts(pairs, there.calls[currency]) for currency, pairs in of_row.items()},
            (*there.priced.get(row, (0, 0)), *there.unpriced.get(row, (0, 0))),
        )
        for row, of_row in there.cells.items()
    ]
    currencies = sorted(there.calls, key=lambda currency: (-sum(there.calls[currency]), currency))
    number = {currency: there.calls[currency] for currency in currencies}  # in the order in which they are told
    remarks = (
        *compared.remarks_of(per),
        *_weekdays(found_there.by_weekday, compared, per, number, whole(lines)),
        *_unpriced(lines),
    )
    return Table(dimensions, lines, currencies, compared, per, remarks).answer


def _amounts(pairs: Sequence[Pair], totals: Sequence[Number]) -> Amounts:
    """What the calls of some cells cost, and the parts of the change, rounded so that they add up to it."""
    before, after = (
        units(sum((sums.cost for sums in side if sums is not None), Fraction())) for side in zip(*pairs, strict=True)
    )
    exact = [parts(*pair, (totals[0], totals[1])) for pair in pairs]
    rounded = [units(sum(factor, Fraction())) for factor in zip(*exact, strict=True)]
    # Of parts of one size the last, price: what all of them are too small for is the rounding of prices.
    largest = max(range(len(FACTORS)), key=lambda factor: (abs(rounded[factor]), factor))
    rounded[largest] += after - before - sum(rounded)
    return before, after, after - before, *rounded


def _weekdays(
    calls: ByWeekday, compared: Periods, per: Per | None, number: Mapping[str, Sequence[Number]], total: Line
) -> Iterator[str]:
    """What other weekdays make, where amounts are of the whole periods or of their mean days."""
    if per == "week" or compared.are_of_like_weekdays:
        return
    calendar = calendar_calls(calls, compared, per)
    volume = {currency: as_fraction(amounts, "volume") for currency, amounts in total.amounts.items()}
    yield from weekday_remark(compared, calendar, number, volume)


def _unpriced(lines: Sequence[Line]) -> Iterator[str]:
    """How many calls are not in the amounts."""
    *priced, before, after = whole(lines).counts
    if before or after:
        shares = [
            wording.percent(float(missing / (known + missing))) if known + missing else "none"
            for known, missing in zip(priced, (before, after), strict=True)
        ]
        yield f"calls without a price are left out ({shares[0]} of those before, {shares[1]} of those after)"
