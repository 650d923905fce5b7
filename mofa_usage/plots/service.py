"""Service levels: what made calls bad beside what may be, how fast that is used up, and calls in flight over time."""

from collections.abc import Sequence
from dataclasses import replace

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import ANSWERS
from mofa_usage.plots.answers import (
    Group,
    Measures,
    Row,
    Styles,
    details,
    fold,
    grouped,
    merged,
    need,
    read,
    total,
    weight_of,
)
from mofa_usage.plots.axes import value_axis
from mofa_usage.plots.layout import by_text, empty, finish, legend_room
from mofa_usage.plots.rows import BAR, FIGURE_SPACE, label, name_rows, of_top, panels, share_text
from mofa_usage.plots.timeline import Subject, alone, timeline

__all__ = ["in_flight_over_time", "service_burn", "service_by"]

_WHY = {
    "failed_calls": look.STATUS_STYLES["failed"].color,
    "slow_calls": look.STATUS_STYLES["timeout"].color,
    "late_calls": look.PALETTE[5],
}
_HOW = "usage.service_level(latency_ms=2000, ttft_ms=500)"


def service_by(
    frame: pl.DataFrame, dimension: str | None = None, *, top: int = 12, theme: look.Theme | None = None
) -> go.Figure:
    """The share of calls that were bad, stacked by what made them so, and a line at the share that may be.

    Groups are in the order of their calls; what `top` leaves out is one group. The share of the good is written beside.

    Args:
        frame: `usage.service_level(...).level`: any dimension, `calls`, `good_calls`, `bad_calls`, `failed_calls` and
            the other reasons, `error_budget`.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns, how = read(frame), f"{_HOW}.level"
    need(columns, ["calls", "good_calls", "bad_calls", "failed_calls", "error_budget"], how)
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.dimensions.values())
    title = f"Bad calls{by_text(dimensions)}"
    judged = (total(columns.rows, "good_calls") or 0) + (total(columns.rows, "bad_calls") or 0)
    if not judged:
        why = "A value that has a limit is missing in every call" if total(columns.rows, "calls") else None
        return empty(title, theme, why)
    every = grouped(columns.rows, dimensions, weight_of(columns.measures["calls"], columns.measures))
    groups = fold(every, top)
    rows = [merged(group.rows, columns.measures) for group in groups]
    figure, height = panels([len(groups)])
    texts = _good(rows)
    name_rows([groups], [texts])
    label(figure, 1, groups, texts)
    allowed = float(total(columns.rows, "error_budget") or 0) / judged
    largest = max(allowed, *(row["bad_calls"] / _judged(row) for row in rows if _judged(row)), 0.0) * 1.06
    figure.update_xaxes(value_axis(ANSWERS["service_level"], min(largest, 1.0), title="Share of bad calls"))
    figure.update_xaxes(range=[0, largest])
    for name, color in _WHY.items():
        if name in columns.measures and total(rows, name):
            _stack(figure, groups, rows, name, color, columns.measures)
    _line(figure, allowed, len(groups))
    notes = [
        _promised(columns.measures),
        f"{wording.percent(1 - (total(columns.rows, 'bad_calls') or 0) / judged)} of {judged:,} calls good",
        _unjudged(columns.rows),
        f"line: {wording.percent(allowed)} may be bad",
        of_top(top, every) if len(groups) < len(every) else None,
    ]
    return finish(figure, title, notes, theme, height + legend_room(figure))


def _promised(measures: Measures) -> str | None:
    """What was promised, where the frame knows it."""
    title = measures["service_level"].title if "service_level" in measures else ""
    return None if title in ("", ANSWERS["service_level"].title) else f"good: {wording.inside(title)}"


def _unjudged(rows: Sequence[Row]) -> str | None:
    unknown = total(rows, "unknown_calls") if rows and "unknown_calls" in rows[0] else 0
    return f"{unknown:,} more lack a value" if unknown else None


def _judged(row: Row) -> int:
    return int((row["good_calls"] or 0) + (row["bad_calls"] or 0))


def _good(rows: Sequence[Row]) -> list[str]:
    shares = [share_text(row["good_calls"] / _judged(row)) if _judged(row) else "" for row in rows]
    widest = max(map(len, shares))
    return [
        f"{share.rjust(widest, FIGURE_SPACE)} of {_judged(row):,} good" if share else "unknown"
        for row, share in zip(rows, shares, strict=True)
    ]


def _stack(
    figure: go.Figure, groups: Sequence[Group], rows: Sequence[Row], name: str, color: str, measures: Measures
) -> None:
    title = measures[name].title
    hover = [
        "<br>".join(
            [
                f"<b>{wording.hover_text(group.label)}</b>",
                f"{title}: {wording.count(row[name])}",
                *details(row, measures, None, skip=[name]),
            ]
        )
        for group, row in zip(groups, rows, strict=True)
    ]
    figure.add_bar(
        orientation="h",
        x=[(row[name] or 0) / _judged(row) if _judged(row) else 0 for row in rows],
        y=list(range(len(groups))),
        width=BAR,
        marker={"color": color},
        name=title,
        hovertext=hover,
        hoverinfo="text",
    )


def _line(figure: go.Figure, at: float, rows: int) -> None:
    """A line across the bars; of no colour of its own, so that it suits light and dark."""
    figure.add_scatter(
        x=[at, at],
        y=[-0.5, rows - 0.5],
        mode="lines",
        line={"color": look.OTHER.color, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
        showlegend=False,
    )


def service_burn(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """How many times faster than allowed the error budget is used in each window, and from where on that is an alert.

    Args:
        frame: `usage.service_level(...).burn`: `window`, `burn_rate`, `burn_rate_alert`, `alert`.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    need(columns, ["window", "burn_rate", "burn_rate_alert", "alert"], f"{_HOW}.burn")
    title = "Burn rate of the error budget"
    rows = columns.rows
    known = [row["burn_rate"] for row in rows if row["burn_rate"] is not None]
    if not known:
        return empty(title, theme)
    groups = [Group(str(row["window"]), str(row["window"]), [row]) for row in rows]
    texts = [_times(row) for row in rows]
    figure, height = panels([len(groups)])
    name_rows([groups], [texts])
    label(figure, 1, groups, texts)
    marks = [row["burn_rate_alert"] for row in rows]
    largest = max([*known, *(mark for mark in marks if mark is not None)], default=1.0)
    figure.update_xaxes(value_axis(ANSWERS["burn_rate"], largest, title="Times as fast as allowed"))
    figure.update_xaxes(range=[0, largest * 1.06])
    failed, fine = look.STATUS_STYLES["failed"].color, look.ACCENT.color
    figure.add_bar(
        orientation="h", x=[row["burn_rate"] for row in rows], y=list(range(len(rows))), width=BAR,
        marker={"color": [failed if row["alert"] else fine for row in rows]}, hovertext=texts, hoverinfo="text",
        showlegend=False,
    )  # fmt: skip
    figure.add_scatter(
        x=marks, y=list(range(len(rows))), mode="markers", hoverinfo="skip", showlegend=False,
        marker={"symbol": "line-ns", "size": 9, "line": {"width": 2, "color": look.OTHER.color}},
    )  # fmt: skip
    notes = ["1: exactly the budget is used", "line: an alert from there on"]
    return finish(figure, title, notes, theme, height)


def _times(row: Row) -> str:
    if row["burn_rate"] is None:
        return "no calls"
    return f"{row['burn_rate']:,.2f} times{', alert' if row['alert'] else ''}"


def in_flight_over_time(
    frame: pl.DataFrame, *, top: int = 8, theme: look.Theme | None = None, styles: Styles | None = None
) -> go.Figure:
    """The most calls in flight at once and their mean, and below them calls and tokens per second.

    Args:
        frame: `usage.service_level(...).over_time`: a time bucket and `in_flight_max`, `in_flight_mean`,
            `calls_per_second`, `completion_tokens_per_second` or some of them.
        top: So many groups are drawn, where there are any.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    need(columns, ["calls_per_second"], f"{_HOW}.over_time")
    words = {"max": "in_flight_max", "mean": "in_flight_mean"}
    found = {word: columns.measures[name] for word, name in words.items() if name in columns.measures}
    about = [Subject("Calls in flight", found)] if found else []
    rates = ("calls_per_second", "completion_tokens_per_second")
    about += [alone(columns.measures[name]) for name in rates if name in columns.measures]
    drawn = {name: columns.measures[name] for name in (*words.values(), *rates) if name in columns.measures}
    figure = timeline(replace(columns, measures=drawn), about, None, top=top, theme=theme, styles=styles)
    if figure.data and columns.time is not None:
        per = f"per {columns.time.title.lower()}"
        figure.update_layout(title_text=f"{'In flight and throughput' if found else 'Throughput'} {per}")
    return figure
