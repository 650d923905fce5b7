"""Several measures of the same groups: a panel of bars for each, below each other, with the groups in one order."""

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage.measures import Measure
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Group,
    Styles,
    coverage,
    facets,
    fold_all_but,
    grouped,
    kept_by,
    known,
    read,
    styles_for,
    weight_of,
)
from mofa_usage.plots.layout import by_text, empty, finish, left_out, named
from mofa_usage.plots.rows import CUT, Bars, largest_first, name_rows, of_top, panels, sure_of
from mofa_usage.plots.series import measures_over_time
from mofa_usage.plots.timeline import MOST

ROWS = 28
"""So many rows fit into a figure that is looked at as a whole; each panel has its part of them."""


def measures_by(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    top: int | None = None,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Every measure of a frame by a dimension as bars, a panel for each, those with most calls first in all of them.

    Args:
        frame: Any dimension, measures; `currency` for money. Time has an order of its own and is drawn by
            `measures_over_time`.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn; the others are folded into "other" or, where they cannot be added up, left out.
            By default as many as the panels have room for.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or a group has several rows that cannot be added up.
    """
    columns = read(frame)
    how = f"usage.breakdown(by=['{dimension or 'model_name'}'], measures=['calls', 'cost'])"
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    if any(entry.kind != "category" for entry in (dimensions if dimension else columns.dimensions.values())):
        return measures_over_time(frame, dimension, top=8 if top is None else top, theme=theme, styles=styles)
    title = f"Usage{by_text(dimensions)}"
    measures = list(columns.measures.values())
    every = [(one, part) for one in measures for part in facets(columns, one) if known([part], one.name)]
    if not every:
        return empty(title, theme, "Unknown for every call" if columns.rows else None)
    leading = columns.measures.get("calls", measures[0])
    weigh = weight_of(leading, columns.measures)
    everybody = grouped([row for part in facets(columns, leading) for row in part.rows], dimensions, weigh)
    most = max(3, ROWS // len(every[:MOST])) if top is None else top
    kept = kept_by(everybody, most)
    drawn = []
    for one, part in every[:MOST]:
        groups = _chosen(grouped(part.rows, dimensions, weigh), part, one, kept)
        drawn.append(Bars(part, groups, one, columns.measures))
    palette = styles or styles_for([part for _, part in every[:MOST]], dimensions, leading, columns.measures)
    name_rows([bars.groups for bars in drawn], [bars.texts for bars in drawn])
    figure, height = panels([len(bars.groups) for bars in drawn])
    cuts = [bars.draw(figure, number, palette) for number, bars in enumerate(drawn, 1)]
    by_calls = " by calls" if leading.name == "calls" else ""
    left = f"{of_top(most, everybody)}{by_calls}" if len(kept) < sum(not group.rest for group in everybody) else None
    sure = sure_of(columns, [part for _, part in every[:MOST]], [one.name for one, _ in every[:MOST]])
    notes = [left, *_notes(columns, every), sure, CUT if any(cuts) else None]
    return finish(figure, title, notes, theme, height)


def _chosen(groups: list[Group], part: Facet, measure: Measure, kept: set[str]) -> list[Group]:
    """The groups of a panel that have a value, in their order."""
    valued = [group for group in groups if known([Facet(part.currency, group.rows)], measure.name)]
    if measure.additive:
        return fold_all_but(valued, kept)
    shown = [group for group in valued if group.rest or group.label in kept]
    return sorted(largest_first(shown, measure), key=shown.index)


def _notes(columns: Answer, every: list[tuple[Measure, Facet]]) -> list[str | None]:
    has_value = {one.name for one, _ in every}
    unknown = {name: one.title for name, one in columns.measures.items() if name not in has_value}
    return [
        left_out(columns.measures, [*(one.name for one, _ in every[:MOST]), *unknown]),
        f"unknown for every call: {named(list(unknown.values()))}" if unknown else None,
        coverage(columns.rows, columns.measures) if any(one.kind == "money" for one, _ in every[:MOST]) else None,
    ]
