"""How calls are spread over durations: a histogram as a small frame."""

from collections.abc import Iterator, Sequence
from typing import Literal

import narwhals as nw
import polars as pl

from mofa_usage.analysis.aggregates import key, readable
from mofa_usage.analysis.asking import By, found
from mofa_usage.analysis.buckets import steps
from mofa_usage.analysis.engine import LazyCalls, Native, collect, open_calls
from mofa_usage.analysis.result import Breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import Dimension
from mofa_usage.zones import Moment, time_range, zone

__all__ = ["distribution"]


def distribution(
    native: Native,
    by: By = (),
    *,
    of: Literal["latency_ms", "time_to_first_token_ms"] = "latency_ms",
    bins: int = 40,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
) -> Breakdown:
    """How many calls took how long.

    Durations spread over orders of magnitude, so bins get wider by a constant factor from the shortest to the longest
    duration; their edges are whole milliseconds. Calls without the duration are not counted.

    Args:
        native: the calls, as for `breakdown`.
        by: category dimensions, such as "model_name" or "labels.feature".
        of: the duration to count by.
        bins: at most how many bins; where whole milliseconds leave less room there are fewer.
        tz: time zone of a `start` or `end` that names none.
        start: only calls created at or after it.
        end: only calls created before it.

    Returns:
        The dimensions, bin_start and bin_end (Int64 milliseconds, half-open), calls (Int64); all bins of each
        combination of dimensions, empty ones with 0, sorted by dimensions and bin.

    Raises:
        UsageError: a time or unknown dimension, fewer than one bin, a column that the frame lacks.
    """
    calls = open_calls(native)
    dimensions = found(by, calls)
    _check(calls, dimensions, of, bins, dated=start is not None or end is not None)
    names = [dimension.name for dimension in dimensions]
    calls = calls.with_absent(["currency"] if any("currency" in entry.needs for entry in dimensions) else [])
    duration = readable(of, calls.schema[of])
    keys = {f"k{position}": key(dimension, calls) for position, dimension in enumerate(dimensions)}
    chosen = calls.between(*time_range(start, end, zone(tz))).frame.select(**keys, duration=duration)
    chosen = chosen.filter(~nw.col("duration").is_null())
    edges = _edges(chosen, bins)
    place = steps(nw.col("duration"), [(edge, edge) for edge in edges[:-1]] or [(0, 0)])
    counted = collect(chosen.select(*keys, bin_start=place).group_by(*keys, "bin_start").agg(calls=nw.len()))
    counted = counted.rename(dict(zip(keys, names, strict=True)))
    return Breakdown(_every_bin(counted, names, edges))


def _check(calls: LazyCalls, dimensions: Sequence[Dimension], of: str, bins: int, *, dated: bool) -> None:
    if of not in ("latency_ms", "time_to_first_token_ms"):
        raise UsageError(f"of = {of!r}; a distribution is of latency_ms or time_to_first_token_ms")
    if bins < 1:
        raise UsageError(f"bins = {bins}; a distribution has at least one bin")
    for dimension in dimensions:
        if dimension.kind != "category":
            raise UsageError(f"a distribution cannot be split by the time dimension {dimension.name!r}; use breakdown")
    calls.require([of, *(["create_time"] if dated else [])], "the distribution")


def _edges(chosen: "nw.LazyFrame[pl.LazyFrame]", bins: int) -> list[int]:
    """Edges of whole milliseconds, each at least 1 above the one before; the last lies above every duration."""
    duration = nw.col("duration")
    low, high = collect(chosen.select(low=duration.min(), high=duration.max())).row(0)
    return [] if low is None else list(_spread(low, high + 1, bins))


def _spread(low: int, end: int, bins: int) -> Iterator[int]:
    edge = low
    for remaining in range(bins, 0, -1):
        yield edge
        # A bin from 0 has no factor: it starts as if from 1.
        factor = (end / max(edge, 1)) ** (1 / remaining)
        edge = end if remaining == 1 else max(edge + 1, round(max(edge, 1) * factor))
        if edge >= end:
            break
    yield end


def _every_bin(counted: pl.DataFrame, names: list[str], edges: list[int]) -> pl.DataFrame:
    bins = pl.DataFrame(
        {"bin_start": edges[:-1], "bin_end": edges[1:]}, schema={"bin_start": pl.Int64, "bin_end": pl.Int64}
    )
    every = counted.select(names).unique().join(bins, how="cross") if names else bins
    filled = every.join(counted, on=[*names, "bin_start"], how="left", nulls_equal=True, maintain_order="left")
    ordered = filled.select(*names, "bin_start", "bin_end", pl.col("calls").fill_null(0).cast(pl.Int64))
    return ordered.sort([*names, "bin_start"], nulls_last=True)
