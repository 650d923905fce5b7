"""How many calls took how long: the histogram that `mofa_usage.analysis.distribution` counted."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import MEASURES
from mofa_usage.plots.answers import (
    Facet,
    Group,
    Styles,
    abbreviate,
    fold,
    grouped,
    need,
    read,
    styles_for,
    total,
    weight_of,
)
from mofa_usage.plots.axes import logarithmic, value_axis
from mofa_usage.plots.layout import by_text, empty, finish, legend_room
from mofa_usage.plots.panels import pattern

CALLS = MEASURES["calls"]


def histogram(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    title: str = "Latency",
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Calls by how long they took, as stacked bars over a logarithmic axis; bars are as wide as their bins.

    Args:
        frame: `usage.distribution(by=["model_name"])`: any dimension, `bin_start` and `bin_end` in
            milliseconds, `calls`.
        dimension: By default all dimensions of the frame.
        title: What the durations are, as the title of the figure and of its axis.
        top: So many groups with most calls are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name (`mofa_usage.theme.styles`), where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    how = f"usage.distribution(by=['{dimension or 'model_name'}'])"
    need(columns, ["bin_start", "bin_end", "calls"], how)
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    heading = f"{title} distribution{by_text(dimensions)}"
    part = Facet(None, columns.rows)
    calls = total(part.rows, "calls")
    if not calls:
        return empty(heading, theme)
    palette = styles or styles_for([part], dimensions, CALLS, columns.measures)
    figure = go.Figure()
    groups = fold(grouped(part.rows, dimensions, weight_of(CALLS, columns.measures)), top)
    abbreviate(groups)
    for group in groups:
        figure.add_trace(_bars(group, group.style(palette), calls, title))
    largest = max(total(rows, "calls") for rows in _bins(part.rows).values())
    ends = [value for (start, end) in _bins(part.rows) for value in (_left(start, end), end)]
    figure.update_xaxes(value_axis(MEASURES["latency_p50"], max(ends), title=title))
    figure.update_xaxes(logarithmic(MEASURES["latency_p50"], min(ends), max(ends)))
    figure.update_yaxes(value_axis(CALLS, largest))
    figure.update_layout(showlegend=len(figure.data) > 1)
    return finish(figure, heading, [f"{calls:,} calls"], theme, 340 + legend_room(figure))


def _bars(group: Group, style: look.Style, calls: int, title: str) -> go.Bar:
    bins = {edges: total(rows, "calls") for edges, rows in _bins(group.rows).items()}
    hover = [
        f"<b>{wording.hover_text(group.label)}</b><br>{title}: {wording.duration(start)} to {wording.duration(end)}"
        f"<br>Calls: {count:,} · {wording.percent(count / calls)} of all"
        for (start, end), count in bins.items()
    ]
    return go.Bar(
        x=[(_left(start, end) + end) / 2 for start, end in bins],
        width=[end - _left(start, end) for start, end in bins],
        y=list(bins.values()),
        marker={"color": style.color, "pattern": pattern(style)},
        name=group.short,
        hovertext=hover,
        hoverinfo="text",
        showlegend=True,
    )


def _bins(rows: Sequence[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["bin_start"], row["bin_end"]), []).append(row)
    return dict(sorted(found.items()))


def _left(start: int, end: int) -> float:
    """The left edge on a logarithmic axis, which has no 0."""
    return start or end / 2
