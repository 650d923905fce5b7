"""Small Polars frames drawn as Plotly figures, all in one look.

Every function here takes a frame as `usage.breakdown` (or `usage.cost`, `.latency`, ...) returns it and gives a
`plotly.graph_objects.Figure`; none of them reads or computes calls, so a test or a notebook can write the frame by
hand. `draw` picks the figure: the question that a frame answers names it, and of one that somebody wrote by hand the
columns say it.

| the question, or the columns | along time | else |
|---|---|---|
| `cost`, or a column `cost` | `cost_over_time` | `cost_by` |
| `latency`, or `latency_*` or `ttft_*` | `speed_over_time` | `speed_by` |
| `token_rate`, or `token_rate_*` | `token_rate` | `token_rate` |
| `success_rate`, or it and the counts of failures | `success_over_time` | `failures_by` |
| `drivers` | | `drivers_of` |
| `slow_drivers` | | `slow_drivers_of` |
| `distribution`, or `bin_start` and `bin_end` | | `latency_distribution` |
| one measure | `over_time` | `by_dimension` |
| several measures | `measures_over_time` | `measures_by`; without dimensions `headlines` |
| `against_recorded` | `recorded_and_other` | `recorded_and_other` |
| `.beside` of `explain_change` | | `before_and_after` |
| `explain_change` | | `waterfall`; `changes_by` has its parts by group |

Two of the time's dimensions that make a grid, such as `hour_of_day` and `weekday` or `day` and `hour_of_day`, are a
`heatmap` of the measure that the question is about, or of each measure.

The rules of the numbers hold for pictures too: different currencies are never added but drawn in panels of their own;
what is unknown is a gap or is said to be unknown, never a zero; what is folded into "other" is its exact sum; and what
does not add up, such as a percentile, is never folded. What a figure leaves out it says. `theme` is "light" or "dark";
without one a figure follows the page of its notebook and is light elsewhere. Both have the same colours, and a model
has the same one in every figure (see `mofa_usage.theme`).

Figures have no width of their own and fill their place, from 360 pixels up; their height follows from what they show.
"""

from collections.abc import Callable, Collection, Mapping
from inspect import signature
from types import MappingProxyType
from typing import TypedDict, Unpack

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage.errors import UsageError
from mofa_usage.plots.against import recorded_and_other
from mofa_usage.plots.answers import Answer, Styles, read
from mofa_usage.plots.beside import measures_by
from mofa_usage.plots.bins import histogram
from mofa_usage.plots.caches import cache_savings_by
from mofa_usage.plots.change import changes_by, waterfall
from mofa_usage.plots.compared import before_and_after, is_compared
from mofa_usage.plots.completeness import coverage_by, gaps_over_time
from mofa_usage.plots.drivers import drivers_of, slow_drivers_of
from mofa_usage.plots.failures import failures_by
from mofa_usage.plots.headlines import headlines
from mofa_usage.plots.heat import GRIDS, heatmap
from mofa_usage.plots.percentiles import families
from mofa_usage.plots.ranges import percentiles_by
from mofa_usage.plots.reconciled import billed_and_recorded
from mofa_usage.plots.rows import by_dimension, cost_by
from mofa_usage.plots.series import (
    COUNTS,
    cost_over_time,
    measures_over_time,
    over_time,
    percentiles_over_time,
    success_over_time,
)
from mofa_usage.plots.service import in_flight_over_time, service_burn, service_by
from mofa_usage.plots.sessions import session_costs, turns
from mofa_usage.plots.waste import waste_by

__all__ = [
    "before_and_after",
    "billed_and_recorded",
    "by_dimension",
    "cache_savings_by",
    "changes_by",
    "cost_by",
    "cost_over_time",
    "coverage_by",
    "draw",
    "drivers_of",
    "failures_by",
    "gaps_over_time",
    "headlines",
    "heatmap",
    "in_flight_over_time",
    "latency_distribution",
    "latency_over_time",
    "measures_by",
    "measures_over_time",
    "over_time",
    "recorded_and_other",
    "service_burn",
    "service_by",
    "session_costs",
    "slow_drivers_of",
    "speed_by",
    "speed_over_time",
    "success_over_time",
    "token_rate",
    "ttft_distribution",
    "ttft_over_time",
    "turns",
    "waste_by",
    "waterfall",
]


class DrawOptions(TypedDict, total=False):
    """What the figures take among them; which of it one takes, it says itself."""

    top: int
    percentile: str | None
    measure: str | None
    by: str | None
    dimension: str | None


def latency_over_time(
    frame: pl.DataFrame,
    *,
    percentile: str | None = None,
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of the latency per period; with a further dimension p95 for each group.

    Takes `usage.latency(by=["day"])`. Options and errors as of `mofa_usage.plots.series.percentiles_over_time`.
    """
    return percentiles_over_time(frame, "latency", percentile=percentile, top=top, theme=theme, styles=styles)


def ttft_over_time(
    frame: pl.DataFrame,
    *,
    percentile: str | None = None,
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of the time to first token per period; with a further dimension p95 for each group.

    Takes `usage.breakdown(by=["day"], measures=["ttft_p50", "ttft_p95"])`. Options and errors as of
    `mofa_usage.plots.series.percentiles_over_time`.
    """
    return percentiles_over_time(frame, "ttft", percentile=percentile, top=top, theme=theme, styles=styles)


def speed_over_time(
    frame: pl.DataFrame,
    *,
    percentile: str | None = None,
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of the latency and of the time to first token per period, in a panel each, as far as they are known.

    Takes `usage.latency(by=["day"])`. Options and errors as of `mofa_usage.plots.series.percentiles_over_time`.
    """
    return percentiles_over_time(frame, *_speeds(frame), percentile=percentile, top=top, theme=theme, styles=styles)


def speed_by(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    top: int = 12,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of the latency and of the time to first token of each group, in a panel each, as far as known.

    Takes `usage.latency(by=["model_name"])`. Options and errors as of `mofa_usage.plots.ranges.percentiles_by`.
    """
    return percentiles_by(frame, *_speeds(frame), dimension=dimension, top=top, theme=theme, styles=styles)


def _speeds(frame: pl.DataFrame) -> list[str]:
    found = families(read(frame).measures)
    return [prefix for prefix in ("latency", "ttft") if prefix in found] or ["latency"]


def latency_distribution(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    top: int | None = None,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of the latency of each group on one line, or the histogram of a frame of bins.

    Takes `usage.latency(by=["model_name"])` or `usage.distribution(by=["model_name"])`. Options and errors as of
    `mofa_usage.plots.ranges.percentiles_by` or `mofa_usage.plots.bins.histogram`.
    """
    if _binned(frame):
        return histogram(frame, dimension, top=8 if top is None else top, theme=theme, styles=styles)
    return percentiles_by(
        frame, "latency", dimension=dimension, top=12 if top is None else top, theme=theme, styles=styles
    )


def ttft_distribution(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    top: int | None = None,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of the time to first token of each group on one line, or the histogram of a frame of bins.

    Takes `usage.breakdown(by=["model_name"], measures=["ttft_p50", "ttft_p95"])` or
    `usage.distribution(of="time_to_first_token_ms")`. Options and errors as of
    `mofa_usage.plots.ranges.percentiles_by` or `mofa_usage.plots.bins.histogram`.
    """
    if _binned(frame):
        noun = None if read(frame).about else "Time to first token"
        return histogram(frame, dimension, title=noun, top=8 if top is None else top, theme=theme, styles=styles)
    return percentiles_by(
        frame, "ttft", dimension=dimension, top=12 if top is None else top, theme=theme, styles=styles
    )


def _binned(frame: pl.DataFrame) -> bool:
    return isinstance(frame, pl.DataFrame) and "bin_start" in frame.columns


def token_rate(
    frame: pl.DataFrame,
    *,
    percentile: str | None = None,
    top: int | None = None,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Tokens per second: over time when the frame has a time bucket, else a line for each group.

    Takes `usage.token_rate(by=["day"])` or `usage.token_rate(by=["model_name"])`. Options and errors as of
    `mofa_usage.plots.series.percentiles_over_time` or `mofa_usage.plots.ranges.percentiles_by`; without time there is
    no `percentile` to choose.
    """
    if _timed(read(frame)):
        most = 8 if top is None else top
        return percentiles_over_time(frame, "token_rate", percentile=percentile, top=most, theme=theme, styles=styles)
    if percentile is not None:
        raise UsageError(f"percentile = {percentile!r}; a figure without time draws all percentiles of each group")
    return percentiles_by(frame, "token_rate", top=12 if top is None else top, theme=theme, styles=styles)


def _timed(answer: Answer) -> bool:
    return any(entry.kind != "category" for entry in answer.dimensions.values())


KINDS: Mapping[str, Callable[..., go.Figure]] = MappingProxyType(
    {
        "before_and_after": before_and_after,
        "billed_and_recorded": billed_and_recorded,
        "by_dimension": by_dimension,
        "changes_by": changes_by,
        "cache_savings_by": cache_savings_by,
        "cost_by": cost_by,
        "cost_over_time": cost_over_time,
        "coverage_by": coverage_by,
        "drivers_of": drivers_of,
        "failures_by": failures_by,
        "gaps_over_time": gaps_over_time,
        "headlines": headlines,
        "heatmap": heatmap,
        "in_flight_over_time": in_flight_over_time,
        "latency_distribution": latency_distribution,
        "latency_over_time": latency_over_time,
        "measures_by": measures_by,
        "measures_over_time": measures_over_time,
        "over_time": over_time,
        "recorded_and_other": recorded_and_other,
        "session_costs": session_costs,
        "service_burn": service_burn,
        "service_by": service_by,
        "slow_drivers_of": slow_drivers_of,
        "speed_by": speed_by,
        "speed_over_time": speed_over_time,
        "success_over_time": success_over_time,
        "token_rate": token_rate,
        "ttft_distribution": ttft_distribution,
        "ttft_over_time": ttft_over_time,
        "turns": turns,
        "waste_by": waste_by,
        "waterfall": waterfall,
    }
)
"""The figures that `draw` knows, by name."""


def draw(
    frame: pl.DataFrame,
    kind: str | None = None,
    *,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
    **options: Unpack[DrawOptions],
) -> go.Figure:
    """The figure of the question that a frame answers, or the one called `kind`, a name of `KINDS`, with `options`.

    Of a frame that was written by hand the columns say which it is. `styles` are for the figures that colour by name;
    the others do without.

    Raises:
        UsageError: there is no such kind or option, or the frame lacks a column; the message says what there is.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no figure {kind!r}; there are: {', '.join(KINDS)}")
    drawing = KINDS[kind] if kind else _fitting(frame, options)
    taken = signature(drawing).parameters
    known = [name for name in DrawOptions.__annotations__ if name in taken]
    for name in options:
        if name not in known:
            called = getattr(drawing, "__name__", kind)
            raise UsageError(f"the figure {called} takes no option {name!r}; it takes: {', '.join(known) or 'none'}")
    looks = {"styles": styles} if "styles" in taken else {}
    return drawing(frame, theme=theme, **looks, **options)


_OWN: Mapping[str, Callable[..., go.Figure]] = MappingProxyType(
    {
        "against_recorded": recorded_and_other,
        "drivers": drivers_of,
        "slow_drivers": slow_drivers_of,
        "reconcile": billed_and_recorded,
        "cache_savings": cache_savings_by,
        "session_costs": session_costs,
        "sessions": cost_by,
        "turns": turns,
        "burn": service_burn,
        "explain_change": waterfall,
        "completeness": coverage_by,
        "gap_days": gaps_over_time,
        "service_level": service_by,
        "service_over_time": in_flight_over_time,
        "waste": waste_by,
    }
)
"""The figure of each question that is no breakdown, by `Roles.question`."""

_FAILED = {"success_rate", *COUNTS.values()}

_FIGURES: Mapping[str, tuple[Callable[[Collection[str]], bool], Callable[..., go.Figure], Callable[..., go.Figure]]] = {
    "cost": (lambda names: "cost" in names, cost_over_time, cost_by),
    "latency": (lambda names: "latency" in names, speed_over_time, speed_by),
    "ttft": (lambda names: "ttft" in names, speed_over_time, speed_by),
    "token_rate": (lambda names: "token_rate" in names, token_rate, token_rate),
    "success_rate": (lambda names: _FAILED.issubset(names), success_over_time, failures_by),
}
"""Of each question: whether measures and families of these names are about it, its figures with and without time."""


def _fitting(frame: pl.DataFrame, options: DrawOptions) -> Callable[..., go.Figure]:
    """The figure of what was asked, or of what the columns look like."""
    if is_compared(frame):
        return before_and_after
    answer = read(frame)
    if answer.question in _OWN:
        return _OWN[answer.question]
    if "bin_start" in answer.columns:
        return latency_distribution
    if any(axes <= answer.dimensions.keys() for axes in GRIDS):
        return heatmap
    timed = _timed(answer)
    if options.get("measure") is None:
        names = {*answer.measures, *families(answer.measures)}
        for question, (is_about, over, by) in _FIGURES.items():
            if answer.question in ("", question, "latency" if question == "ttft" else "") and is_about(names):
                return over if timed else by
    if timed:
        return over_time if len(answer.measures) == 1 or "measure" in options else measures_over_time
    if len(answer.measures) == 1 or "measure" in options:
        return by_dimension
    return measures_by if answer.dimensions.keys() - {"currency"} or len(answer.rows) > 1 else headlines
