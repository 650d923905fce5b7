"""Small Polars frames drawn as Plotly figures, all in one look.

Every function here takes a frame as `usage.breakdown` (or `usage.cost`, `.latency`, ...) returns it and gives a
`plotly.graph_objects.Figure`; none of them reads or computes calls, so a test or a notebook can write the frame by
hand. `draw` picks the figure from the columns:

| the frame has | figure |
|---|---|
| `hour_of_day` and `weekday` | `heatmap` |
| a time bucket (or one of these two) and `cost` | `cost_over_time` |
| a time bucket and `latency_*`, `ttft_*`, `token_rate_*` | `latency_over_time`, `ttft_over_time`, `token_rate` |
| a time bucket and `success_rate` | `success_over_time` |
| a time bucket and any other measure | `over_time` |
| `bin_start` and `bin_end` (`usage.distribution`) | `latency_distribution` |
| no time: the same | `cost_by`, `latency_distribution`, `ttft_distribution`, `token_rate`, `failures_by`,
`by_dimension` |

The rules of the numbers hold for pictures too: different currencies are never added but drawn in panels of their own;
what is unknown is a gap or is said to be unknown, never a zero; what is folded into "other" is its exact sum; and what
does not add up, such as a percentile, is never folded. `theme` is "light" or "dark"; both have the same colours, and a
model has the same one in every figure (see `mofa_usage.theme`).

Figures have no width of their own and fill their place, from 360 pixels up; their height follows from what they show.
"""

from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType
from typing import TypedDict, Unpack

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage.errors import UsageError
from mofa_usage.plots.answers import Styles, read
from mofa_usage.plots.bins import histogram
from mofa_usage.plots.heat import heatmap
from mofa_usage.plots.rows import by_dimension, cost_by, failures_by, percentiles_by
from mofa_usage.plots.series import cost_over_time, over_time, percentiles_over_time, success_over_time

__all__ = [
    "by_dimension",
    "cost_by",
    "cost_over_time",
    "draw",
    "failures_by",
    "heatmap",
    "latency_distribution",
    "latency_over_time",
    "over_time",
    "success_over_time",
    "token_rate",
    "ttft_distribution",
    "ttft_over_time",
]


class TopOptions(TypedDict, total=False):
    """How many groups are drawn, those with most calls."""

    top: int


class LineOptions(TopOptions, total=False):
    """Which percentile is drawn where there is a line for each group, such as "p95"."""

    percentile: str


class DrawOptions(LineOptions, total=False):
    """What the figures take among them; which of it one takes, it says itself."""

    measure: str | None
    by: str | None
    dimension: str | None


def latency_over_time(
    frame: pl.DataFrame, *, theme: look.Theme = "light", styles: Styles | None = None, **options: Unpack[LineOptions]
) -> go.Figure:
    """Percentiles of the latency per period; with a further dimension p95 for each group.

    Takes `usage.latency(by=["day"])`. Options and errors as of `mofa_usage.plots.series.percentiles_over_time`.
    """
    return percentiles_over_time(frame, "latency", theme=theme, styles=styles, **options)


def ttft_over_time(
    frame: pl.DataFrame, *, theme: look.Theme = "light", styles: Styles | None = None, **options: Unpack[LineOptions]
) -> go.Figure:
    """Percentiles of the time to first token per period; with a further dimension p95 for each group.

    Takes `usage.breakdown(by=["day"], measures=["ttft_p50", "ttft_p95"])`. Options and errors as of
    `mofa_usage.plots.series.percentiles_over_time`.
    """
    return percentiles_over_time(frame, "ttft", theme=theme, styles=styles, **options)


def latency_distribution(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    theme: look.Theme = "light",
    styles: Styles | None = None,
    **options: Unpack[TopOptions],
) -> go.Figure:
    """Percentiles of the latency of each group on one line, or the histogram of a frame of bins.

    Takes `usage.latency(by=["model_name"])` or `usage.distribution(by=["model_name"])`. Options and errors as of
    `mofa_usage.plots.rows.percentiles_by` or `mofa_usage.plots.bins.histogram`.
    """
    if _binned(frame):
        return histogram(frame, "Latency", theme=theme, styles=styles, **options)
    return percentiles_by(frame, "latency", dimension, theme=theme, styles=styles, **options)


def ttft_distribution(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    theme: look.Theme = "light",
    styles: Styles | None = None,
    **options: Unpack[TopOptions],
) -> go.Figure:
    """Percentiles of the time to first token of each group on one line, or the histogram of a frame of bins.

    Takes `usage.breakdown(by=["model_name"], measures=["ttft_p50", "ttft_p95"])` or
    `usage.distribution(of="time_to_first_token_ms")`. Options and errors as of
    `mofa_usage.plots.rows.percentiles_by` or `mofa_usage.plots.bins.histogram`.
    """
    if _binned(frame):
        return histogram(frame, "Time to first token", theme=theme, styles=styles, **options)
    return percentiles_by(frame, "ttft", dimension, theme=theme, styles=styles, **options)


def _binned(frame: pl.DataFrame) -> bool:
    return isinstance(frame, pl.DataFrame) and "bin_start" in frame.columns


def token_rate(
    frame: pl.DataFrame, *, theme: look.Theme = "light", styles: Styles | None = None, **options: Unpack[LineOptions]
) -> go.Figure:
    """Tokens per second: over time when the frame has a time bucket, else a line for each group.

    Takes `usage.token_rate(by=["day"])` or `usage.token_rate(by=["model_name"])`. Options and errors as of
    `mofa_usage.plots.series.percentiles_over_time` or `mofa_usage.plots.rows.percentiles_by`.
    """
    timed = any(entry.kind != "category" for entry in read(frame).dimensions.values())
    drawing: Callable[..., go.Figure] = percentiles_over_time if timed else percentiles_by
    return drawing(frame, "token_rate", theme=theme, styles=styles, **options)


KINDS: Mapping[str, Callable[..., go.Figure]] = MappingProxyType(
    {
        "by_dimension": by_dimension,
        "cost_by": cost_by,
        "cost_over_time": cost_over_time,
        "failures_by": failures_by,
        "heatmap": heatmap,
        "latency_distribution": latency_distribution,
        "latency_over_time": latency_over_time,
        "over_time": over_time,
        "success_over_time": success_over_time,
        "token_rate": token_rate,
        "ttft_distribution": ttft_distribution,
        "ttft_over_time": ttft_over_time,
    }
)
"""The figures that `draw` knows, by name."""


def draw(
    frame: pl.DataFrame,
    kind: str | None = None,
    *,
    theme: look.Theme = "light",
    styles: Styles | None = None,
    **options: Unpack[DrawOptions],
) -> go.Figure:
    """The figure that fits the columns of a frame, or the one called `kind` (a name of `KINDS`), with its `options`.

    `styles` are for the figures that colour by name; the others do without.

    Raises:
        UsageError: there is no such kind, or the frame lacks a column for it; the message says how to get it.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no figure {kind!r}; there are: {', '.join(KINDS)}")
    drawing = KINDS[kind] if kind else _fitting(frame)
    looks = {"styles": styles} if "styles" in signature(drawing).parameters else {}
    return drawing(frame, theme=theme, **looks, **options)


def _fitting(frame: pl.DataFrame) -> Callable[..., go.Figure]:
    columns = read(frame)
    if _binned(frame):
        return latency_distribution
    if len(columns.cycles) == 2 and not columns.time:
        return heatmap
    timed = bool(columns.time or columns.cycles)
    measures = set(columns.measures)
    if "cost" in measures:
        return cost_over_time if timed else cost_by
    for prefix, over, by in (
        ("latency", latency_over_time, latency_distribution),
        ("ttft", ttft_over_time, ttft_distribution),
        ("token_rate", token_rate, token_rate),
    ):
        if measures & {f"{prefix}_{word}" for word in look.PERCENTILE_STYLES}:
            return over if timed else by
    if {"success_rate", "failed_count", "timeout_count", "rate_limited_count", "cancelled_count"} <= measures:
        return success_over_time if timed else failures_by
    return over_time if timed else by_dimension
