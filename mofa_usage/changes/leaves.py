"""The smallest groups of calls that slices are made of, counted in one pass.

A *leaf* is a combination of values of all dimensions that occurs. Of each there are the parts of a measure, in every
period that is looked at: `n`, its sum or the numerator of its ratio, and `d`, the denominator. A slice (one model, one
feature in one environment) is a sum of leaves, so the calls are read once, however many slices there are.

A dimension with very many values, such as users, would make nearly every call a leaf. Of such a one the heaviest values
are kept, by calls or by what is measured, and all others are one rest, exact in every sum and never a slice itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import narwhals as nw
import polars as pl

from mofa_usage.analysis.aggregates import Plan, key
from mofa_usage.analysis.buckets import BUCKETS, Clock
from mofa_usage.analysis.engine import LazyCalls
from mofa_usage.measures import Aggregate, Dimension, Measure, Ratio
from mofa_usage.zones import zone

__all__ = ["MISSING", "REST", "Leaves", "Parts", "keys_by", "read_leaves"]

MOST_LEAVES = 1_000_000
"""So many leaves are held in memory at most: where there are more, fewer values of the dimensions are kept."""

_KEPT = (100, 50, 25, 10)
"""So many values of a dimension are kept; fewer where there would be too many leaves."""

_VIEW = "calls_with_keys"  # to SQL; there may be a table called calls

MISSING, REST = 0, 1
"""The codes of no value, and of all values that are not kept."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is summed up of each call: the measure's numerator and, of a ratio, its denominator."""

    numerator: Aggregate
    denominator: Aggregate | None = None
    scale: int = 1

    @classmethod
    def of(cls, measure: Measure) -> "Parts":
        """Those of a measure that is a sum, a count, or a ratio of such."""
        if isinstance(measure.formula, Ratio):
            return cls(measure.formula.numerator, measure.formula.denominator, measure.formula.scale)
        return cls(measure.aggregates[0])

    @property
    def names(self) -> tuple[str, ...]:
        """`n`, and `d` where there is a denominator."""
        return ("n",) if self.denominator is None else ("n", "d")

    @property
    def aggregates(self) -> dict[str, Aggregate]:
        """What they are, by their names; `met_n` counts the calls that may take part, where these are not all."""
        found = dict(zip(self.names, (self.numerator, self.denominator or self.numerator), strict=False))
        apart = {f"met_{name}": part for name, part in found.items() if part.function == "sum" and part.where}
        return found | {name: Aggregate("count", where=part.where) for name, part in apart.items()}

    @property
    def squares(self) -> tuple[str, ...]:
        """The products whose sums tell how much calls vary."""
        return ("nn",) if self.denominator is None else ("nn", "nd", "dd")


@dataclass(frozen=True)
class Leaves:
    """Leaves in order: a code for each dimension (`k0`, `k1`, ...), and the parts in each period.

    Of the period 0 they are `calls0`, `n0` (exact), `known_n0` (how many calls have it), `met_n0` (how many might have
    it, where that is a question), and `nn0`, a sum of squares; of a ratio also `d0`, ..., `nd0`, `dd0`; and so on for
    the other periods. `values` are those of each
    dimension by code: 0 is a missing one, 1 the rest of those that are not kept.
    """

    frame: pl.DataFrame
    values: tuple[tuple[Any, ...], ...]
    parts: Parts
    periods: int

    @cached_property
    def floats(self) -> pl.DataFrame:
        """The leaves with floats for the numbers, which are enough to compare slices."""
        return self.frame.select(pl.col("^k[0-9]+$"), pl.col("^calls[0-9]$"), pl.col("^[nd]+[0-9]$").cast(pl.Float64))

    def of(self, slice_: Mapping[int, int]) -> pl.DataFrame:
        """The leaves that have these codes."""
        return self.frame.filter(pl.col(f"k{place}") == code for place, code in slice_.items())


def keys_by(dimensions: Sequence[Dimension], calls: LazyCalls, tz: str) -> dict[str, nw.Expr]:
    """What tells calls apart by each dimension: k0, k1, ..."""
    clock = Clock(zone(tz), calls, None, None)
    return {
        f"k{place}": key(entry, calls) if entry.kind == "category" else BUCKETS[entry.name].key(clock)
        for place, entry in enumerate(dimensions)
    }


def read_leaves(
    calls: LazyCalls,
    dimensions: Sequence[Dimension],
    distinct: Sequence[int],
    parts: Parts,
    periods: Sequence[str],
    tz: str,
) -> Leaves:
    """The leaves of the calls in some periods, which are conditions of SQL on `create_time`; each has its own sums.

    `distinct` says about how many values each dimension has.
    """
    keys, plan = keys_by(dimensions, calls, tz), Plan((), calls.schema)
    plan.add(*parts.aggregates.values())
    times = [name for name in ("create_time",) if name in calls.schema]
    selected = calls.frame.select(**{**{name: nw.col(name) for name in times}, **plan.values(), **keys})
    amounts = {name: plan.amount(part) for name, part in parts.aggregates.items()}
    reading = _Reading(selected.select(*times, *keys, **amounts).to_native(), parts, tuple(periods))
    frame = pl.DataFrame()
    for most in _KEPT:
        kept = {place: most for place, number in enumerate(distinct) if number > most}
        frame = reading.leaves(len(keys), kept)
        if frame.height <= MOST_LEAVES or most == _KEPT[-1]:
            break
    return _coded(frame, dimensions, parts, len(periods), tz)


@dataclass(frozen=True)
class _Reading:
    """How the leaves are asked for."""

    calls: duckdb.DuckDBPyRelation
    parts: Parts
    periods: tuple[str, ...]

    def leaves(self, dimensions: int, kept: Mapping[int, int]) -> pl.DataFrame:
        """The leaves, each with its values as they are, and `rest0`, ... where a dimension has a rest.

        `kept` says of which dimensions only so many values are kept. If there are too many leaves, some are missing.
        """
        keys = dict(self._keys(dimensions, kept))
        named = ", ".join(f"{sql} AS {name}" for name, sql in keys.items())
        inside = " + ".join(f"{2**number} * ({sql})::INT" for number, sql in enumerate(self.periods))
        sums = ", ".join(f"{sql} AS {name}" for name, sql in self._sums().items())
        joins = " ".join(f"LEFT JOIN kept{place} ON kept{place}.value = asked.k{place}" for place in kept)
        outer = ", ".join((*keys, *self._of_periods()))
        answer: Any = self.calls.query(
            _VIEW,
            f"WITH {', '.join(self._tables(kept))}"  # noqa: S608 (of names and conditions of ours)
            f" SELECT {outer} FROM (SELECT {named}, {inside} AS inside, {sums} FROM asked {joins} GROUP BY ALL)"
            f" GROUP BY ALL LIMIT {MOST_LEAVES + 1}",
        )
        return pl.DataFrame(pl.from_arrow(answer.to_arrow_table()))

    def _sums(self) -> dict[str, str]:
        found = {"calls": "count(*)"}
        for name in self.parts.aggregates:
            is_count = name.startswith("met_")
            found |= {name: f"count({name})"} if is_count else {name: f"sum({name})", f"known_{name}": f"count({name})"}
        # A call without one of the two adds nothing.
        return found | {both: f"sum({both[0]}::DOUBLE * {both[1]}::DOUBLE)" for both in self.parts.squares}

    def _of_periods(self) -> Iterator[str]:
        """The sums of each period, from those of the calls that are in the same ones."""
        for number in range(len(self.periods)):
            for name in self._sums():
                total = f"sum({name}) FILTER (inside & {2**number} > 0)"
                is_count = name.startswith(("calls", "known_", "met_"))
                whole = f"coalesce({total}, 0)::BIGINT" if is_count else total
                yield f"{whole} AS {name}{number}"

    def _keys(self, dimensions: int, kept: Mapping[int, int]) -> Iterator[tuple[str, str]]:
        """What leaves are grouped by: the values that are kept, and whether a call has another."""
        for place in range(dimensions):
            yield f"k{place}", f"kept{place}.value" if place in kept else f"asked.k{place}"
            if place in kept:
                yield f"rest{place}", f"asked.k{place} IS NOT NULL AND kept{place}.value IS NULL"

    def _tables(self, kept: Mapping[int, int]) -> Iterator[str]:
        """The calls, and of each dimension that has too many values those that are kept."""
        inside = " OR ".join(f"({period})" for period in self.periods)
        # Kept in memory, all calls would be a table there.
        yield f"asked AS NOT MATERIALIZED (SELECT * FROM {_VIEW} WHERE {inside})"  # noqa: S608
        for place, most in kept.items():
            amount = "abs(coalesce(sum(n), 0)::DOUBLE)"
            share = f"{amount} / greatest(sum({amount}) OVER (), 1e-300)"
            weight = f"greatest(count(*) / sum(count(*)) OVER (), {share})"
            yield (
                f"kept{place} AS (SELECT k{place} AS value FROM asked WHERE k{place} IS NOT NULL"  # noqa: S608
                f" GROUP BY k{place} ORDER BY round({weight}, 12) DESC, k{place} LIMIT {most})"
            )


def _coded(frame: pl.DataFrame, dimensions: Sequence[Dimension], parts: Parts, periods: int, tz: str) -> Leaves:
    """The leaves with codes for their values, in the order of these."""
    values, codes = [], []
    for place, entry in enumerate(dimensions):
        found = frame[f"k{place}"].unique().drop_nulls().sort()
        code = frame[f"k{place}"].replace_strict(
            found, pl.int_range(2, len(found) + 2, dtype=pl.UInt32, eager=True), default=MISSING, return_dtype=pl.UInt32
        )
        if (rest := f"rest{place}") in frame.columns:
            code = pl.select(pl.when(frame[rest]).then(pl.lit(REST, pl.UInt32)).otherwise(code)).to_series()
        codes.append(code.alias(f"k{place}"))
        names = found if entry.kind == "category" else BUCKETS[entry.name].label(found, tz)
        values.append((None, None, *names))
    kept = frame.select(pl.exclude("^rest[0-9]+$")).with_columns(codes)
    sums = "^[nd]+[0-9]$"  # null where no call of the leaf has a value, which the counts of known ones tell
    ordered = kept.with_columns(pl.col(sums).fill_null(0)).sort(pl.col("^k[0-9]+$"))
    return Leaves(ordered, tuple(values), parts, periods)
