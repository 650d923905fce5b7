"""Which slices of calls explain a change: the answer to `drivers`.

Slices are found by `slices` and `scores`. What the answer says of each of them is exact and of all its calls, whatever
other rows share with it, so the rows do not add up to the change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import narwhals as nw
import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.asking import By, Question, checked
from mofa_usage.analysis.currencies import all_used, currency_of
from mofa_usage.analysis.engine import LazyCalls, collect, open_calls
from mofa_usage.analysis.quotients import quotient
from mofa_usage.analysis.result import Breakdown
from mofa_usage.analysis.sums import Queried, where
from mofa_usage.changes.dimensions import sliced_by
from mofa_usage.changes.leaves import Leaves, Parts, read_leaves
from mofa_usage.changes.periods import Pair, Periods, periods
from mofa_usage.changes.rows import slice_columns, totalled
from mofa_usage.changes.scores import of_ratio, of_sum
from mofa_usage.changes.slices import Found, best, check_bounds
from mofa_usage.errors import UsageError
from mofa_usage.measures import (
    ANSWERS,
    MISSING_MARK,
    Dimension,
    Measure,
    MeasureColumn,
    Quotient,
    Ratio,
    Reckoned,
    Roles,
)
from mofa_usage.measures.drivers import SUPPORT
from mofa_usage.reading.columns import MONEY
from mofa_usage.zones import zone

__all__ = ["drivers"]


def drivers(
    calls: Queried,
    measure: str | Measure,
    before: Pair,
    after: Pair,
    *,
    dimensions: By | None = None,
    top: int = 10,
    min_calls: int = 30,
    tz: str = "UTC",
) -> Breakdown:
    """The slices of calls that explain most of the change of a measure from one period to another, best first.

    A slice is all calls with one value of a dimension, or with one value of each of two. It is listed if it changed
    otherwise than the calls outside of it, by more than chance would do: four standard errors, and more
    where the values of a dimension go up and down by themselves, as users do. The first one fits the
    change of all slices best; each further one is chosen by the calls that those before it leave, so that what only
    says the same again is left out, and a pair is above its single dimensions only where it fits clearly better. Rows
    are in the order of what they explain so. See `mofa_usage.changes.scores` and `.slices` for the method.

    It finds one cause, or a few apart. It cannot tell apart dimensions that nearly always go together (a provider that
    has one model), finds of a cause in three dimensions at once the pairs of it, and nothing where many small changes
    add up: then there are few rows or none, and the change is a general one. It says what changed, not why. Methods
    of this kind find on published collections of faults two thirds of the causes at best (F1 of RiskLoc 0.67, AutoRoot
    0.47, Adtributor 0.06 on sums; on real cases of ratios 0.27 at best).

    Args:
        calls: Calls of `mofa_usage.reading.columns.CALL_SCHEMA` or some of it, with `create_time`.
        measure: What adds up (`cost`, `calls`, `total_tokens`, `error_count`, ...), a ratio of such (`success_rate`,
            `cost_per_call`, `cache_hit_rate`, ...), or one of your own of that kind.
        before: The period to compare with: a pair of times, half-open; a sum of a longer period is larger.
        after: The period that is looked at.
        dimensions: What slices are made by, as `by` of a breakdown, but for time buckets. By default the first eight
            of model, provider, agent, tenant, user, operation, service tier, environment, and each label and key of a
            session's metadata, that have 2 to 10,000 values. Of one with more than 100 the heaviest 100 by calls or
            by the measure are slices (fewer where there would be more than a million combinations).
        top: So many rows at most.
        min_calls: A slice has so many calls in one of the periods, and outside of the slices above it, too.
        tz: The IANA zone of times that name none, of hours and weekdays.

    Returns:
        One row per slice. A column for each dimension: the value, or null where any will do; calls without a value are
        "(none)", and then `has_missing` is true. `explained`: the share of the change that would be gone without these
        calls, 1 less the change of all others / the change of all; of a sum that is the slice's own share of it, above
        1 or below 0 where others go the other way, and null where nothing changed. `NAME_change`, `NAME_before` and
        `NAME_after` are the measure's of the slice, with its type; `calls_before` and `calls_after` (Int64) its calls.

        `totals` has one row: the same of all calls, and `other_currency_calls`. Amounts are in one currency, the last
        column: that with most priced calls in both periods; calls priced in another one are left out. Choose by
        `usage.filter(currency="EUR")`.

    Raises:
        UsageError: no such measure, or one of what neither adds up nor is a ratio, such as a percentile; no such
            dimension, a wrong period, `top` or `min_calls` below 1, a column that the calls lack.
    """
    check_bounds(top, min_calls)
    compared = periods(before, after, tz)
    asked = _opened(calls, measure, compared, tz)
    sliced = sliced_by(dimensions, asked.calls, tz)
    if asked.measure.of_money:
        asked = _in_one_currency(asked, all_used(asked.calls))
    parts = Parts.of(asked.measure)
    sql = [compared.before.sql, compared.after.sql]
    leaves = read_leaves(asked.calls, sliced.dimensions, sliced.distinct, parts, sql, tz)
    score = of_sum if parts.denominator is None else of_ratio
    whole = _Amount.of(leaves.frame, parts)
    towards = (whole.known_change or 0).numerator
    found = best(leaves, score, (towards > 0) - (towards < 0), min_calls, top)
    return _answer(asked, sliced.dimensions, leaves, whole, list(found))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A measure of calls in two periods, in one currency where it is made of amounts."""

    measure: Measure
    calls: LazyCalls
    currency: str | None
    others: int
    """How many calls are priced in another currency, which are not among the calls."""


def _opened(calls: Queried, measure: str | Measure, compared: Periods, tz: str) -> _Asked:
    if "create_time" not in calls.columns:
        raise UsageError("the calls have no column 'create_time', which tells the two periods apart")
    if not isinstance(measure, str | Measure):
        raise UsageError(f"measure = {measure!r:.40}; give the name of a measure, or a Measure")
    opened = open_calls(where(calls, compared.sql))
    (asked,) = checked(Question((), measure), opened, zone(tz)).measures
    for part in asked.aggregates or (None,):
        if asked.base is not asked or part is None or part.function not in ("count", "sum"):
            also = (
                "; of slow calls ask slow_drivers (in a shell: drivers latency)"
                if "_ms" in "".join(asked.needs)
                else ""
            )
            raise UsageError(f"drivers are of what adds up and of ratios; {asked.name!r} is neither{also}")
        if isinstance(part.value, Quotient):
            raise UsageError(f"drivers are of columns; {asked.name!r} is a mean of quotients of each call")
    return _Asked(asked, opened.with_absent(asked.optional), None, 0)


def _in_one_currency(asked: _Asked, currencies: Sequence[str]) -> _Asked:
    """The same of the calls in the first currency, and of those without a price."""
    if len(currencies) < 2:
        return replace(asked, currency=next(iter(currencies), None))
    calls, currency = asked.calls, currencies[0]
    stated = currency_of(calls.schema)
    others = collect(calls.frame.filter(stated != currency).select(calls=nw.len()))
    kept = calls.frame.filter(stated.is_null() | (stated == currency))
    return replace(asked, calls=LazyCalls(kept, calls.schema), currency=currency, others=int(others.item()))


@dataclass(frozen=True, slots=True)
class _Amount:
    """What some calls have of a measure in both periods, exactly: sums, and whether they are known."""

    calls: tuple[int, int]
    sums: Mapping[str, tuple[Fraction, Fraction]]
    known: Mapping[str, tuple[bool, bool]]
    scale: int

    @classmethod
    def of(cls, leaves: pl.DataFrame, parts: Parts) -> "_Amount":
        total = leaves.select(pl.exclude("^k[0-9]+$").sum()).row(0, named=True)
        sums = {name: (Fraction(total[f"{name}0"]), Fraction(total[f"{name}1"])) for name in parts.names}
        known = {}
        for name, part in zip(parts.names, (parts.numerator, parts.denominator), strict=False):
            met = f"met_{name}" if f"met_{name}0" in total else "calls"
            is_count = part is not None and part.function == "count"
            first, last = (is_count or total[f"known_{name}{at}"] > 0 or total[f"{met}{at}"] == 0 for at in (0, 1))
            known[name] = (first, last)
        return cls((total["calls0"], total["calls1"]), sums, known, parts.scale)

    def _without(self, other: "_Amount") -> "_Amount":
        sums = {
            name: (mine[0] - other.sums[name][0], mine[1] - other.sums[name][1]) for name, mine in self.sums.items()
        }
        return replace(self, sums=sums, known={})

    def value(self, period: int) -> Fraction | None:
        """The measure in one of the periods."""
        if not all(known[period] for known in self.known.values()):
            return None
        above = self.sums["n"][period]
        if "d" not in self.sums:
            return above
        below = self.sums["d"][period]
        return above / below * self.scale if below else None

    @property
    def change(self) -> Fraction | None:
        """How much more it is after."""
        before, after = self.value(0), self.value(1)
        return None if before is None or after is None else after - before

    @property
    def known_change(self) -> Fraction | None:
        """The same of what is known."""
        return replace(self, known={}).change

    def explained_by(self, part: "_Amount") -> float | None:
        """The share of the change that would be gone without some of these calls."""
        mine, others = self.known_change, self._without(part).change
        return None if not mine or others is None else float(1 - others / mine)


def _answer(
    asked: _Asked, entries: Sequence[Dimension], leaves: Leaves, whole: _Amount, found: Sequence[Found]
) -> Breakdown:
    towards = whole.known_change or 0
    order = sorted(found, key=lambda one: -(one.effect * (1 if towards > 0 else -1) if towards else abs(one.effect)))
    amounts = [_Amount.of(leaves.of(one.codes), leaves.parts) for one in order]
    held = {name: MeasureColumn(entry) for name, entry in _measures(asked.measure).items()}
    columns, dimensions = slice_columns(leaves, entries, order, held)
    explained = pl.Series([whole.explained_by(one) for one in amounts], dtype=pl.Float64)
    money = [pl.lit(asked.currency, pl.String).alias("currency")] if asked.measure.of_money else []
    rows = pl.DataFrame({**columns, "explained": explained, **_numbers(asked.measure, amounts, leaves)})
    rows = rows.select(pl.exclude(MISSING_MARK), MISSING_MARK).with_columns(money)
    others = {"other_currency_calls": pl.Series([asked.others], dtype=pl.Int64)}
    total = pl.DataFrame({**_numbers(asked.measure, [whole], leaves), **others}).with_columns(money)
    roles = Roles(dimensions, held, (asked.currency,) if asked.currency else (), "drivers")
    return totalled(rows, roles, total, list(others))


def _numbers(measure: Measure, amounts: Sequence[_Amount], leaves: Leaves) -> dict[str, pl.Series]:
    """What the measure is of the calls before and after, how it changed, and how many calls there were."""
    dtype: pl.DataType = leaves.frame.schema["n0"]
    if isinstance(measure.formula, Ratio):
        dtype = MONEY if measure.kind == "money" else pl.Float64()
    elif dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0):
        dtype = pl.Int64()
    values = {
        "change": [one.change for one in amounts],
        "before": [one.value(0) for one in amounts],
        "after": [one.value(1) for one in amounts],
    }
    found = {f"{measure.name}_{name}": _series(numbers, dtype) for name, numbers in values.items()}
    for period, name in enumerate(entry.name for entry in SUPPORT):
        found[name] = pl.Series([one.calls[period] for one in amounts], dtype=pl.Int64)
    return found


def _series(numbers: Sequence[Fraction | None], dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.Decimal):
        amounts = [None if one is None else quotient(Decimal(one.numerator), one.denominator) for one in numbers]
        return pl.Series(amounts, dtype=MONEY)
    cast = int if dtype.is_integer() else float
    return pl.Series([None if number is None else cast(number) for number in numbers], dtype=dtype)


def _measures(measure: Measure) -> dict[str, Measure]:
    """What the number columns of an answer are."""
    found = {"explained": ANSWERS["explained"]}
    noun = wording.inside(measure.title)
    noun += " calls" if measure.unit == "calls" and "calls" not in noun else ""
    for name, text in (("change", "change"), ("before", "before"), ("after", "after")):
        column = f"{measure.name}_{name}"
        found[column] = replace(
            measure,
            name=column,
            title=f"{measure.title} {text}" if name != "change" else f"Change of {noun}",
            description=f"{measure.description} Of the slice.",
            formula=Reckoned("drivers"),
            additive=False,
            absent_is_null=(),
        )
    return found | {entry.name: entry for entry in SUPPORT}
