"""The one row of an answer about all calls: its numbers below each other, since there is nothing to compare."""

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.plots.answers import facets, merged, read
from mofa_usage.plots.intervals import interval_words
from mofa_usage.plots.layout import empty, finish
from mofa_usage.plots.picture import Picture

LINE = 25
"""Pixels from one number to the next."""


def headlines(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """Every measure of all calls with its title; money in a line for each currency.

    Args:
        frame: `usage.summary()` or `usage.breakdown(by=[])`: measures without dimensions.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: the frame has dimensions, or several rows of what does not add up.
    """
    columns = read(frame)
    if columns.dimensions.keys() - {"currency"}:
        names = ", ".join(columns.dimensions)
        raise UsageError(f"headline figures are of all calls together, but the frame has the dimensions {names}")
    if not columns.rows:
        return empty("Usage", theme)
    lines: list[tuple[str, str]] = []
    for name, measure in columns.measures.items():
        parts = facets(columns, measure)
        for part in parts:
            found = merged(part.rows, columns.measures)
            if name not in found:
                raise UsageError(f"{measure.title} does not add up, but the frame has {len(part.rows)} rows")
            code = wording.label_text(part.currency or "")
            title = f"{measure.title} ({code})" if len(parts) > 1 else measure.title
            value = wording.value_text(found[name], measure.kind, code)
            lines.append((title, f"<b>{value}</b>{interval_words(found, measure, code)}"))
    figure = Picture()
    figure.update_xaxes(visible=False, range=[0, 1], fixedrange=True)
    figure.update_yaxes(visible=False, range=[len(lines) - 0.5, -0.5], fixedrange=True)
    for place, (title, value) in enumerate(lines):
        figure.add_annotation(text=title, x=0, xanchor="left", y=place, borderpad=0)
        figure.add_annotation(text=value, x=1, xanchor="right", y=place, borderpad=0)
    notes = [f"in brackets: {columns.interval}" if columns.interval else None]
    return finish(figure, "Usage", notes, theme, LINE * len(lines) + 60)
