"""How calls are spread over durations, costs or numbers of tokens: a histogram as a small frame.

Such values spread over orders of magnitude, so bins get wider by a constant factor from the least value above 0 to the
largest; what is 0 has a bin of its own. Edges are values that a call can have: whole milliseconds and tokens, and
Decimals of ten places. Prices in different currencies are different things, and have bins of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import narwhals as nw
import polars as pl

from mofa_usage.analysis.aggregates import key, readable
from mofa_usage.analysis.asking import By, found
from mofa_usage.analysis.buckets import steps
from mofa_usage.analysis.currencies import currency_of
from mofa_usage.analysis.engine import LazyCalls, Native, collect, open_calls
from mofa_usage.analysis.result import Breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import DIMENSIONS, MEASURES, Dimension, MeasureColumn, Roles
from mofa_usage.measures.spelling import suggestion
from mofa_usage.reading.columns import MONEY
from mofa_usage.zones import Moment, time_range, zone

__all__ = ["DistributionOf", "distribution"]

DistributionOf: TypeAlias = Literal[
    "latency_ms",
    "time_to_first_token_ms",
    "total_price",
    "total_tokens",
    "prompt_tokens",
    "completion_tokens",
    "latency",
    "ttft",
    "cost",
]
"""What a distribution can be of: a column of the calls, or what a measure of it is called."""

_COLUMNS: Mapping[str, str] = MappingProxyType(
    {"latency": "latency_ms", "ttft": "time_to_first_token_ms", "cost": "total_price"}
)
_PRICE = "total_price"


def distribution(
    native: Native,
    by: By = (),
    *,
    of: DistributionOf = "latency_ms",
    bins: int = 40,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
) -> Breakdown:
    """How many calls took how long, cost how much, or had how many tokens.

    Calls without the value are not counted. `roles.about` of the answer is the column that it is of.

    Args:
        native: the calls, as for `breakdown`.
        by: category dimensions, such as "model_name" or "labels.feature".
        of: latency_ms, time_to_first_token_ms, total_price, total_tokens, prompt_tokens or completion_tokens; or
            "latency", "ttft", "cost".
        bins: at most how many bins; where whole values leave less room there are fewer. In each currency so many.
        tz: time zone of a `start` or `end` that names none.
        start: only calls created at or after it.
        end: only calls created before it.

    Returns:
        The dimensions, bin_start and bin_end (half-open; Int64 milliseconds or tokens, Decimal(38, 10) for prices),
        calls (Int64); all bins of each combination of dimensions, empty ones with 0, sorted by dimensions and bin. Of
        prices in one currency a last column `currency` says which; in several `currency` is one more dimension.

    Raises:
        UsageError: a time or unknown dimension, fewer than one bin, a column that the frame lacks or that there is no
            distribution of.
    """
    column = _column(of)
    calls = open_calls(native)
    dimensions = found(by, calls)
    _check(calls, dimensions, column, bins, dated=start is not None or end is not None)
    names = [dimension.name for dimension in dimensions]
    money = column == _PRICE
    currencies = money or any("currency" in entry.needs for entry in dimensions)
    calls = calls.with_absent(["currency"] if currencies else [])
    keys = {f"k{position}": key(dimension, calls) for position, dimension in enumerate(dimensions)}
    # All calls are in one class, or those of each currency, whose bins have nothing to do with each other.
    classes = currency_of(calls.schema) if money else nw.lit("")
    value = readable(column, calls)
    chosen = calls.between(*time_range(start, end, zone(tz))).frame.select(**keys, apart=classes, value=value)
    chosen = chosen.filter(~nw.col("value").is_null())
    edges = _edges(chosen, bins, money=money)
    place = chosen.select(*keys, "apart", bin=_place(edges))
    counted = collect(place.group_by(*keys, "apart", "bin").agg(calls=nw.len()))
    counted = counted.rename(dict(zip(keys, names, strict=True)))
    return _answer(_every_bin(counted, names, edges, money=money), dimensions, column, list(edges))


def _column(of: str) -> str:
    named = get_args(DistributionOf)
    if of not in named:
        raise UsageError(f"of = {of!r}; there is no distribution of that; {suggestion(of, named)}")
    return _COLUMNS.get(of, of)


def _check(calls: LazyCalls, dimensions: Sequence[Dimension], column: str, bins: int, *, dated: bool) -> None:
    if bins < 1:
        raise UsageError(f"bins = {bins}; a distribution has at least one bin")
    for dimension in dimensions:
        if dimension.kind != "category":
            raise UsageError(f"a distribution cannot be split by the time dimension {dimension.name!r}; use breakdown")
    calls.require([column, *(["create_time"] if dated else [])], "the distribution")


@dataclass(frozen=True, slots=True)
class _Edges:
    """The edges of some bins in whole numbers, each at least 1 above the one before; the last is above every value.

    They are `scale` places finer than the values: prices are counted in units of their tenth place.
    """

    units: tuple[int, ...]
    scale: int

    @property
    def values(self) -> list[Any]:
        """The edges as values are."""
        return [Decimal(unit).scaleb(-self.scale) if self.scale else unit for unit in self.units]


def _edges(chosen: nw.LazyFrame[Any], bins: int, *, money: bool) -> dict[str, _Edges]:
    """The edges of the bins of each class."""
    value, scale = nw.col("value"), MONEY.scale if money else 0
    above = nw.when(value > nw.lit(0)).then(value)
    ends = collect(chosen.group_by("apart").agg(low=value.min(), least=above.min(), high=value.max()))
    found = {}
    for name, low, least, high in ends.sort("apart").iter_rows():
        end = _units(high, scale) + 1
        first = end if least is None else _units(least, scale)
        found[name] = _Edges(tuple(_spread(_units(low, scale), first, end, bins)), scale)
    return found


def _units(value: int | Decimal, scale: int) -> int:
    return int(Decimal(value).scaleb(scale))


def _spread(low: int, least: int, end: int, bins: int) -> Iterator[int]:
    """Edges from the lowest value on; the bin of what is 0 ends at the least value above it."""
    edge = low
    for remaining in range(bins, 0, -1):
        yield edge
        if remaining == 1:
            break
        following = round(edge * (end / edge) ** (1 / remaining)) if edge else least
        edge = max(edge + 1, following)
        if edge >= end:
            break
    yield end


def _place(edges: Mapping[str, _Edges]) -> nw.Expr:
    """The number of the bin that a call is in, within its class."""
    value, apart = nw.col("value"), nw.col("apart")
    places = [
        nw.when(apart == name).then(steps(value, [(edge, at) for at, edge in enumerate(of.values[:-1])]))
        for name, of in edges.items()
    ]
    return nw.coalesce(*places) if places else nw.lit(None, nw.Int64)


def _every_bin(counted: pl.DataFrame, names: list[str], edges: Mapping[str, _Edges], *, money: bool) -> pl.DataFrame:
    edge = MONEY if money else pl.Int64()
    schema = {"apart": pl.String, "bin": pl.Int64, "bin_start": edge, "bin_end": edge}
    rows = [
        (name, at, *ends)
        for name, of in edges.items()
        for at, ends in enumerate(zip(of.values[:-1], of.values[1:], strict=True))
    ]
    bins = pl.DataFrame(rows, schema=schema, orient="row")
    groups = [*names, "apart"]
    every = counted.select(groups).unique().join(bins, on="apart")
    if not names and every.is_empty():
        every = bins
    held = counted.cast({"bin": pl.Int64})
    filled = every.join(held, on=[*groups, "bin"], how="left", nulls_equal=True, maintain_order="left")
    ordered = filled.with_columns(pl.col("calls").fill_null(0).cast(pl.Int64)).sort([*groups, "bin"], nulls_last=True)
    return ordered.select(*names, "apart", "bin_start", "bin_end", "calls")


def _answer(bins: pl.DataFrame, dimensions: Sequence[Dimension], column: str, classes: Sequence[str]) -> Breakdown:
    roles = {dimension.name: dimension for dimension in dimensions}
    currencies: tuple[str, ...] = ()
    if column != _PRICE or "currency" in roles:
        frame = bins.drop("apart")
    elif len(classes) > 1:
        roles["currency"] = DIMENSIONS["currency"]
        frame = bins.rename({"apart": "currency"})
    else:
        currencies = tuple(classes)
        frame = bins.drop("apart").with_columns(currency=pl.lit(next(iter(classes), None), pl.String))
    measures = {"calls": MeasureColumn(MEASURES["calls"])}
    return Breakdown.of(frame, Roles(roles, measures, currencies, "distribution", about=column))
