"""What is known of calls, as a grid of models, and gaps in the course of days."""

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.plots.answers import (
    ALL_LABEL,
    Facet,
    Group,
    abbreviate,
    grouped,
    heaviest,
    need,
    read,
    total,
    weight_of,
)
from mofa_usage.plots.axes import bucket
from mofa_usage.plots.layout import by_text, empty, finish
from mofa_usage.plots.panels import Panels
from mofa_usage.plots.picture import Picture

__all__ = ["coverage_by", "gaps_over_time"]

_COVERED = {
    "coverage": "Price",
    "token_coverage": "Tokens",
    "latency_coverage": "Latency",
    "ttft_coverage": "First token",
}


def coverage_by(frame: pl.DataFrame, *, top: int = 20, theme: look.Theme | None = None) -> go.Figure:
    """The share of calls of which price, tokens, latency and first token are known: a row of cells for each group.

    Args:
        frame: `usage.completeness().coverage`: any dimension, `calls`, `coverage`, `token_coverage`,
            `latency_coverage`, `ttft_coverage` or some of them.
        top: So many groups are drawn, those with most calls.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing, or a group has several rows.
    """
    columns, how = read(frame), "usage.completeness().coverage"
    need(columns, ["calls"], how)
    kinds = {name: title for name, title in _COVERED.items() if name in columns.measures}
    if not kinds:
        need(columns, list(_COVERED), how)
    dimensions = list(columns.categories)
    title = f"What is known{by_text(dimensions)}"
    if not total(columns.rows, "calls"):
        return empty(title, theme)
    every = grouped(columns.rows, dimensions, weight_of(columns.measures["calls"], columns.measures))
    groups = heaviest(every, top)
    if any(len(group.rows) > 1 for group in groups):
        raise UsageError("what is known does not add up, but the frame has several rows for a group")
    abbreviate(groups, 22)
    cells = [[group.rows[0][name] for name in kinds] for group in groups]
    figure = Picture(
        go.Heatmap(
            z=[[None if value is None else float(value) for value in row] for row in cells],
            x=list(kinds.values()),
            y=[f"{place}" for place in range(len(groups))],
            text=[[wording.percent(value) for value in row] for row in cells],
            texttemplate="%{text}",
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            showscale=False,
            hovertext=[
                [
                    f"<b>{wording.hover_text(group.label)}</b><br>{columns.measures[name].title}: "
                    f"{wording.percent(value)}<br>Calls: {wording.count(group.rows[0]['calls'])}"
                    for name, value in zip(kinds, row, strict=True)
                ]
                for group, row in zip(groups, cells, strict=True)
            ],
            hoverinfo="text",
        )
    )
    places = {"tickvals": [f"{place}" for place in range(len(groups))], "ticktext": [group.short for group in groups]}
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", **places)
    figure.update_xaxes(side="top", showgrid=False, showline=False, ticks="", tickangle=0, type="category")
    notes = [
        f"share of {total(columns.rows, 'calls'):,} calls",
        f"{len(groups)} of {len(every):,} shown, by calls" if len(groups) < len(every) else None,
    ]
    return finish(figure, title, notes, theme, 110 + 30 * len(groups))


def gaps_over_time(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """Calls of each day, and a mark where hours lack in which calls usually come.

    Args:
        frame: `usage.completeness().days`: `day`, `calls`, `empty_hours`.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing.
    """
    columns, how = read(frame), "usage.completeness().days"
    need(columns, ["day", "calls", "empty_hours"], how)
    title = "Calls and gaps per day"
    if not columns.rows:
        return empty(title, theme)
    axis = bucket(columns, columns.dimensions["day"])
    panels = Panels(1, axis, columns, {})
    panels.stack(1, Facet(None, columns.rows), [Group(ALL_LABEL, ALL_LABEL, columns.rows)], columns.measures["calls"])
    figure = panels.dress()
    lacking = [row for row in columns.rows if row["empty_hours"]]
    if lacking:
        figure.add_scatter(
            x=[row["day"] for row in lacking],
            y=[row["calls"] for row in lacking],
            mode="markers",
            name="hours missing",
            marker={"color": look.STATUS_STYLES["failed"].color, "symbol": "triangle-down", "size": 11},
            hovertext=[f"{axis.text(row['day'])}<br>Empty hours: {row['empty_hours']}" for row in lacking],
            hoverinfo="text",
            cliponaxis=False,
        )
        figure.update_layout(showlegend=True)
    hours = sum(row["empty_hours"] or 0 for row in columns.rows)
    notes = [
        f"{total(columns.rows, 'calls') or 0:,} calls",
        f"{hours:,} hours missing on {len(lacking):,} day{'' if len(lacking) == 1 else 's'}" if hours else None,
    ]
    return finish(figure, title, notes, theme, 330)
