"""Which slices of calls are over-represented among the slowest: the answer to `slow_drivers`.

Slices are found as those of a change are (`slices`), by another score (`scores.of_share`).
"""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import narwhals as nw
import polars as pl

from mofa_usage.analysis.asking import By
from mofa_usage.analysis.engine import LazyCalls, open_calls
from mofa_usage.analysis.grouping import breakdown
from mofa_usage.analysis.intervals import wilson
from mofa_usage.analysis.result import Breakdown
from mofa_usage.analysis.sums import Queried
from mofa_usage.changes.dimensions import sliced_by
from mofa_usage.changes.leaves import Leaves, Parts, read_leaves
from mofa_usage.changes.rows import slice_columns, totalled
from mofa_usage.changes.scores import of_share
from mofa_usage.changes.slices import Found, best, check_bounds
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, MEASURES, MISSING_MARK, Aggregate, Condition, MeasureColumn, Roles

__all__ = ["slow_drivers"]

_LEVEL = 0.95


def slow_drivers(
    calls: Queried,
    quantile: float = 0.99,
    *,
    dimensions: By | None = None,
    top: int = 10,
    min_calls: int = 30,
    tz: str = "UTC",
) -> Breakdown:
    """The slices of calls that have more than their part of the slowest ones, best first.

    Slow is a call whose latency is at or above the exact quantile of all calls that have a latency: with 0.99 the
    slowest 1%, and more where many are equal. A slice is listed where so many slow calls in it would hardly come about
    by chance at the rate of the calls outside of it: by Chernoff's bound, which errs on the safe side, of few calls,
    too; as unlikely as four standard errors, and more so where the values of a dimension differ by themselves. Slices,
    their order and what cannot be told are those of `drivers`: first is the one that has most slow calls beyond the
    part of its size, and each further one is chosen by the calls that those before it leave.

    Args:
        calls: Calls of `mofa_usage.reading.columns.CALL_SCHEMA` or some of it, with `latency_ms`.
        quantile: Above which calls are slow, from 0.5 to less than 1.
        dimensions: As of `drivers`, also the usual ones.
        top: So many rows at most.
        min_calls: A slice has so many calls with a latency, and outside of the slices above it, too.
        tz: The IANA zone of hours and weekdays among the dimensions.

    Returns:
        One row per slice. A column for each dimension and `has_missing` as of `drivers`. `slow_share` is what part of
        all slow calls is in the slice, `call_share` what part of all calls, and `lift` the one over the other;
        `lift_low` is the lower end of its 95% interval (Wilson's, of the slice's rate). `slow_calls` and
        `latency_calls` (Int64) are its slow calls and all that have a latency.

        `totals` has one row: `slow_calls`, `latency_calls` and `slow_from_ms`, the quantile.

    Raises:
        UsageError: the calls lack `latency_ms`, no such dimension, a quantile, `top` or `min_calls` out of bounds.
    """
    check_bounds(top, min_calls)
    if isinstance(quantile, bool) or not isinstance(quantile, int | float) or not 0.5 <= quantile < 1:
        raise UsageError(f"quantile = {quantile!r}; it is from 0.5 to less than 1: 0.99 asks for the slowest 1%")
    percent = f"{(Decimal(str(quantile)) * 100).normalize():f}"
    limit = breakdown(calls, (), f"latency_p{percent}").item()
    opened = open_calls(calls)
    sliced = sliced_by(dimensions, opened, tz)
    slow = Condition("latency_ms", ">=", 0 if limit is None else limit)
    parts = Parts(Aggregate("count", where=(slow,)), Aggregate("count", "latency_ms"))
    timed = LazyCalls(opened.frame.filter(~nw.col("latency_ms").is_null()), opened.schema)
    leaves = read_leaves(timed, sliced.dimensions, sliced.distinct, parts, ["true"], tz)
    found = sorted(best(leaves, of_share, 1, min_calls, top), key=lambda one: -one.effect)
    found = [one for one in found if _lift(leaves, one) > 1]  # also with the calls of those before it
    names, dimensions_of = slice_columns(leaves, sliced.dimensions, found, [entry.name for entry in _MEASURES])
    rows = pl.DataFrame({**names, **_numbers(leaves, found)}).select(pl.exclude(MISSING_MARK), MISSING_MARK)
    held = {entry.name: MeasureColumn(entry) for entry in _MEASURES}
    whole = pl.DataFrame({**_counts([leaves.frame]), "slow_from_ms": pl.Series([limit], dtype=pl.Float64)})
    return totalled(rows, Roles(dimensions_of, held, question="slow_drivers"), whole, ["slow_from_ms"])


_MEASURES = (
    *(ANSWERS[name] for name in ("slow_share", "call_share", "lift", "lift_low", "slow_calls")),
    MEASURES["latency_calls"],
)


def _counts(leaves: Sequence[pl.DataFrame]) -> dict[str, pl.Series]:
    """How many calls of some leaves are slow, and how many have a latency."""
    sums = [one.select(pl.col("n0").sum(), pl.col("d0").sum()).row(0) for one in leaves]
    return {
        name: pl.Series([int(row[place] or 0) for row in sums], dtype=pl.Int64)
        for place, name in enumerate(("slow_calls", "latency_calls"))
    }


def _lift(leaves: Leaves, found: Found) -> Fraction:
    """How many times as many slow calls a slice has as its size says."""
    mine, all_ = (_counts([some]) for some in (leaves.of(found.codes), leaves.frame))
    slow, calls = (Fraction(mine[name].item(), all_[name].item()) for name in ("slow_calls", "latency_calls"))
    return slow / calls


def _numbers(leaves: Leaves, found: Sequence[Found]) -> dict[str, pl.Series]:
    counts = _counts([leaves.of(one.codes) for one in found])
    slow, calls = (column.item() for column in _counts([leaves.frame]).values())
    pairs = list(zip(*counts.values(), strict=True))
    numbers = {
        "slow_share": [mine / slow for mine, _ in pairs],
        "call_share": [all_ / calls for _, all_ in pairs],
        "lift": [float(_lift(leaves, one)) for one in found],
        "lift_low": [(wilson(mine, all_, _LEVEL)[0] or 0.0) * calls / slow for mine, all_ in pairs],
    }
    return {name: pl.Series(values, dtype=pl.Float64) for name, values in numbers.items()} | counts
