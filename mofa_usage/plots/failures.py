"""Calls that did not succeed, by a dimension: bars stacked by status."""

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import MEASURES
from mofa_usage.plots.answers import Group, Measures, Row, details, fold, grouped, merged, need, read, total
from mofa_usage.plots.axes import value_axis
from mofa_usage.plots.layout import by_text, empty, finish, left_out, legend_room
from mofa_usage.plots.panels import pattern
from mofa_usage.plots.rows import BAR, CUT, FIGURE_SPACE, cut, label, name_rows, of_top, panels, scales_of, share_text
from mofa_usage.plots.series import COUNTS, TOLD


def failures_by(
    frame: pl.DataFrame, dimension: str | None = None, *, top: int = 12, theme: look.Theme | None = None
) -> go.Figure:
    """Calls that did not succeed by a dimension: bars stacked by status, most first, with how many calls there were.

    What users cancelled is counted apart from the errors, at the end of each bar.

    Args:
        frame: `usage.success_rate(by=["model_name"])`: any dimension, `calls`, `success_count` and the counts of the
            others.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    how = f"usage.success_rate(by=['{dimension or 'model_name'}'])"
    columns = read(frame)
    need(columns, ["calls", "success_count", *COUNTS.values(), *([dimension] if dimension else [])], how)
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    title = f"Unsuccessful calls{by_text(dimensions)}"
    calls = total(columns.rows, "calls")
    if not calls:
        return empty(title, theme)
    if not unsuccessful(columns.rows):
        return empty(title, theme, f"All {calls:,} calls succeeded" if calls > 1 else "The only call succeeded")
    every = grouped(columns.rows, dimensions, unsuccessful)
    groups = fold(every, top)
    rows = [merged(group.rows, columns.measures) for group in groups]
    figure, height = panels([len(groups)])
    texts = _texts(rows)
    name_rows([groups], [texts])
    label(figure, 1, groups, texts)
    lengths = [float(unsuccessful([row])) for row in rows]
    figure.update_xaxes(value_axis(MEASURES["error_count"], max(lengths), title="Unsuccessful calls"))
    end = cut(figure, 1, groups, lengths)
    for status in COUNTS:
        if total(rows, COUNTS[status]):
            _bars(figure, groups, rows, status, columns.measures, scales_of(lengths, end))
    cancelled = total(columns.rows, COUNTS["cancelled"]) or 0
    notes = [
        f"{unsuccessful(columns.rows):,} of {calls:,} calls",
        f"{unsuccessful(columns.rows) - cancelled:,} errors, {cancelled:,} cancelled by users",
        of_top(top, every) if len(groups) < len(every) else None,
        CUT if end else None,
        left_out(columns.measures, TOLD),
    ]
    return finish(figure, title, notes, theme, height + legend_room(figure))


def unsuccessful(rows: Sequence[Row]) -> int:
    """How many calls of the rows did not succeed."""
    return sum(total(rows, name) or 0 for name in COUNTS.values())


def _texts(rows: Sequence[Row]) -> list[str]:
    shares = [share_text(unsuccessful([row]) / row["calls"]) if row["calls"] else "" for row in rows]
    widest = max(map(len, shares))
    return [
        f"{unsuccessful([row]):,} of {row['calls']:,} · {share.rjust(widest, FIGURE_SPACE)}" if share else "no calls"
        for row, share in zip(rows, shares, strict=True)
    ]


def _bars(
    figure: go.Figure,
    groups: Sequence[Group],
    rows: Sequence[Row],
    status: str,
    measures: Measures,
    scales: Sequence[float],
) -> None:
    hover = [
        "<br>".join(
            [
                f"<b>{wording.hover_text(group.label)}</b>",
                f"{wording.ENDED[status]}: {wording.count(row[COUNTS[status]])}",
                *details(row, measures, None, skip=[COUNTS[status]]),
            ]
        )
        for group, row in zip(groups, rows, strict=True)
    ]
    style = look.STATUS_STYLES[status]
    figure.add_bar(
        orientation="h",
        x=[(row[COUNTS[status]] or 0) * scale for row, scale in zip(rows, scales, strict=True)],
        y=list(range(len(groups))),
        customdata=[group.name for group in groups],
        width=BAR,
        marker={"color": style.color, "pattern": pattern(style)},
        name=wording.ENDED[status],
        hovertext=hover,
        hoverinfo="text",
    )
