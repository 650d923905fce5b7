"""The smallest groups of calls that slices are made of, counted in one pass.

A *leaf* is a combination of values of all dimensions that occurs. Of each there are the parts of a measure, in every
period that is looked at: `n`, its sum or the numerator of its ratio, and `d`, the denominator. A slice (one model, one
feature in one environment) is a sum of leaves, so the calls are read once, however many slices there are.

A dimension with very many values, such as users, would make nearly every call a leaf. Of such a one the heaviest values
are kept, by calls or by what is measured, and all others are one rest, exact in every sum and never a slice itself.

Leaves are many, so their keys are small: first it is asked which values each dimension has, then every value becomes
its code, and the codes of a call become one number, or a few, by which calls are grouped. DuckDB looks the code of a
text up once per dictionary of a Parquet file and not for every call.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import narwhals as nw
import polars as pl

from mofa_usage.analysis.aggregates import Plan, key
from mofa_usage.analysis.buckets import BUCKETS, Clock
from mofa_usage.analysis.engine import LazyCalls
from mofa_usage.changes.codes import MISSING, REST, chunks, coded, of_periods
from mofa_usage.changes.spark_leaves import SparkReading
from mofa_usage.measures import Aggregate, Dimension, Measure, Ratio
from mofa_usage.reading.columns import literal
from mofa_usage.reading.spark_frames import is_spark
from mofa_usage.zones import zone

__all__ = ["MISSING", "MOST_KEPT", "REST", "Leaves", "Parts", "keys_by", "read_leaves"]

MOST_LEAVES = 1_000_000
"""So many leaves are held in memory at most: where there are more, fewer values of the dimensions are kept."""

MOST_KEPT = 100
_KEPT = (MOST_KEPT, 50, 25, 10)
"""So many values of a dimension are kept; fewer where there would be too many leaves."""

_VIEW = "calls_with_keys"  # to SQL; there may be a table called calls


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
    def sums(self) -> dict[str, str]:
        """The numbers of a leaf as SQL that DuckDB and Spark share, but for the names of types."""
        found = {"calls": "count(*)"}
        for name in self.aggregates:
            is_count = name.startswith("met_")
            found |= {name: f"count({name})"} if is_count else {name: f"sum({name})", f"known_{name}": f"count({name})"}
        # A call without one of the two adds nothing.
        return found | {both: f"sum({both[0]}::DOUBLE * {both[1]}::DOUBLE)" for both in self.squares}

    @property
    def squares(self) -> tuple[str, ...]:
        """The products whose sums tell how much calls vary."""
        return ("nn",) if self.denominator is None else ("nn", "nd", "dd")


@dataclass(frozen=True)
class Leaves:
    """Leaves in order: a code for each dimension (`k0`, `k1`, ...), and the parts in each period.

    A leaf has a row for its calls of each period, and one for those in several; it is 0 in the others.

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

    Every call is in one of the periods. `distinct` says about how many values each dimension has.
    """
    keys, plan = keys_by(dimensions, calls, tz), Plan((), calls)
    plan.add(*parts.aggregates.values())
    times = [name for name in ("create_time",) if name in calls.schema]
    selected = calls.frame.select(**{**{name: nw.col(name) for name in times}, **plan.values(), **keys})
    amounts = {name: plan.amount(part) for name, part in parts.aggregates.items()}
    keyed: Any = selected.select(*times, *keys, **amounts).to_native()
    reading = (SparkReading if is_spark(keyed) else _Reading)(keyed, parts.sums, tuple(periods))
    few = reading.values([place for place, number in enumerate(distinct) if number <= _KEPT[0]])
    frame, found = pl.DataFrame(), {}
    rows = (2 ** len(periods) - 1) * MOST_LEAVES + 1
    for most in _KEPT:
        kept = {place: reading.heaviest(place, most) for place, number in enumerate(distinct) if number > most}
        found = few | kept
        frame = reading.leaves([found[place] for place in range(len(keys))], kept, rows)
        if most == _KEPT[-1] or not _are_too_many(frame):
            break
    values = ((None, None, *_names(entry, found[place], tz)) for place, entry in enumerate(dimensions))
    return Leaves(coded(frame, [len(found[place]) for place in range(len(keys))]), tuple(values), parts, len(periods))


def _names(entry: Dimension, keys: Sequence[Any], tz: str) -> Sequence[Any]:
    """What keys of a dimension stand for."""
    return (
        keys if entry.kind == "category" else BUCKETS[entry.name].label(pl.Series(keys, dtype=pl.Int64), tz).to_list()
    )


def _are_too_many(rows: pl.DataFrame) -> bool:
    """Whether they are of more leaves than are held in memory."""
    return rows.height > MOST_LEAVES and rows.select(pl.struct("^group[0-9]+$").n_unique()).item() > MOST_LEAVES


@dataclass(frozen=True)
class _Reading:
    """How the leaves are asked for."""

    calls: duckdb.DuckDBPyRelation
    sums: Mapping[str, str]
    periods: tuple[str, ...]

    def values(self, places: Sequence[int]) -> dict[int, list[Any]]:
        """All values of the dimensions at these places, in order."""
        if not places:
            return {}
        lists = ", ".join(f"list(DISTINCT k{place})" for place in places)
        (row,) = self._asked(f"SELECT {lists} FROM {_VIEW}").fetchall()  # noqa: S608
        return {
            place: sorted(value for value in found or () if value is not None)
            for place, found in zip(places, row, strict=True)
        }

    def heaviest(self, place: int, most: int) -> list[Any]:
        """So many values of a dimension, the heaviest by calls or by what is measured; in order."""
        amount = "abs(coalesce(sum(n), 0)::DOUBLE)"
        share = f"{amount} / greatest(sum({amount}) OVER (), 1e-300)"
        weight = f"greatest(count(*) / sum(count(*)) OVER (), {share})"
        rows = self._asked(
            f"SELECT k{place} FROM {_VIEW} WHERE k{place} IS NOT NULL"  # noqa: S608
            f" GROUP BY k{place} ORDER BY round({weight}, 12) DESC, k{place} LIMIT {most}"
        ).fetchall()
        return sorted(value for (value,) in rows)

    def leaves(self, values: Sequence[Sequence[Any]], kept: Collection[int], most: int) -> pl.DataFrame:
        """The leaves as `group0`, ..., numbers of their codes, with what `Leaves` says of each period.

        Of the dimensions that are `kept` calls may have other values than these. There are `most` rows at most.
        """
        groups = {f"group{number}": sql for number, sql in enumerate(_groups(values, kept))}
        named = ", ".join(f"{sql} AS {name}" for name, sql in groups.items())
        inside = " + ".join(f"{2**number} * ({sql})::INT" for number, sql in enumerate(self.periods))
        sums = ", ".join(f"{sql} AS {name}" for name, sql in self.sums.items())
        joins = " ".join(f"LEFT JOIN {_coding(place, values[place])}" for place in kept)
        answer = self._asked(
            f"SELECT {', '.join((*groups, 'inside', *of_periods(self.sums, len(self.periods))))}"  # noqa: S608
            f" FROM (SELECT {named}, {inside} AS inside, {sums} FROM {_VIEW} {joins} GROUP BY ALL) LIMIT {most}"
        )
        return pl.DataFrame(pl.from_arrow(answer.to_arrow_table()))

    def _asked(self, sql: str) -> Any:
        return self.calls.query(_VIEW, sql)


def _groups(values: Sequence[Sequence[Any]], kept: Collection[int]) -> Iterator[str]:
    """As few numbers as say all codes of a call, as SQL; see `codes.coded`."""
    for places in chunks(list(map(len, values))):
        sql = "0::BIGINT"
        for place in places:
            sql = f"({sql}) * {len(values[place]) + 2} + {_code(place, values[place], is_kept=place in kept)}"
        yield sql


def _code(place: int, values: Sequence[Any], *, is_kept: bool) -> str:
    """The code of a call's value: 0 where there is none, 1 for those that are not kept, else its place."""
    if is_kept:
        return f"coalesce(kept{place}.code, CAST(k{place} IS NOT NULL AS INTEGER))"
    return f"coalesce(list_position({_list(values)}, k{place}) + 1, {MISSING})" if values else str(MISSING)


def _coding(place: int, values: Sequence[Any]) -> str:
    """A table of the codes of the values that are kept, and what it is joined on."""
    table = f"(SELECT unnest({_list(values)}) AS value, unnest(range(2, {len(values) + 2})) AS code)"
    return f"{table} AS kept{place} ON kept{place}.value = {_VIEW}.k{place}"


def _list(values: Sequence[Any]) -> str:
    return f"[{', '.join(literal(value) if isinstance(value, str) else str(value) for value in values)}]"
