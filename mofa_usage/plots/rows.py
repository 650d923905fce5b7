"""Figures of one row per group: sorted bars, ranges of percentiles, failures by status.

The name stands above its bar and not beside it, so that a long name costs no width: that is what lets these figures be
read at 360 pixels. Heights are counted in pixels per row.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES, Measure
from mofa_usage.plots.answers import (
    Facet,
    Group,
    Measures,
    Row,
    Styles,
    abbreviate,
    coverage,
    details,
    facets,
    fold,
    grouped,
    hint,
    known,
    merged,
    need,
    read,
    styles_for,
    total,
    weight_of,
)
from mofa_usage.plots.axes import logarithmic, value_axis
from mofa_usage.plots.layout import by_text, empty, finish, legend_room
from mofa_usage.plots.panels import pattern
from mofa_usage.plots.percentiles import families
from mofa_usage.plots.series import FAILURES, over_time
from mofa_usage.plots.timeline import question

PITCH = 38
"""Pixels from one row to the next: a line of text and a bar."""

BETWEEN = 76
"""Pixels between two panels: the axis of the upper one and the heading of the lower one."""

ROOM = 42
"""Characters of name and value that stand beside each other at 360 pixels; the name is shortened to fit."""

BAR = 0.34
"""Thickness of a bar in parts of `PITCH`."""


def cost_by(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    top: int = 12,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Cost by a dimension as bars, the dearest first, with amount and share; one panel for each currency.

    Args:
        frame: `usage.cost(by=["model_name"])`: any dimension, `currency`, `cost`; with `calls` and `priced_calls` the
            figure says how much of the cost is known. A group without any price is listed as unknown, not as free.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name (`mofa_usage.theme.styles`), where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    return by_dimension(frame, "cost", dimension, top=top, theme=theme, styles=styles)


def by_dimension(
    frame: pl.DataFrame,
    measure: str | None = None,
    dimension: str | None = None,
    *,
    top: int = 12,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Any measure by a dimension as sorted bars; what adds up with its share, and its tail folded into "other".

    Args:
        frame: Any dimension, measures; `currency` for money. Hours of the day, weekdays and time buckets have an order
            of their own and are drawn by `over_time`.
        measure: By default the first of the frame.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn, the largest; where the measure does not add up, those with most calls, and the
            figure says how many it leaves out.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or a group has several rows that cannot be added up.
    """
    columns = read(frame)
    how = f"usage.breakdown(by=['{dimension or 'model_name'}'], measures=['{measure or 'calls'}'])"
    if measure == "cost":
        how = f"usage.cost(by=['{dimension or 'model_name'}'])"
    chosen = columns.measure(measure, how)
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    if any(entry.kind != "category" for entry in (dimensions if dimension else columns.dimensions.values())):
        return over_time(frame, chosen.name, theme=theme, styles=styles)
    title = f"{chosen.title}{by_text(dimensions)}"
    parts = facets(columns, chosen)
    if not known(parts, chosen.name):
        return empty(title, theme, f"{chosen.title}: unknown for every call" if columns.rows else None)
    palette = styles or styles_for(parts, dimensions, chosen, columns.measures)
    drawn, notes = [], list[str | None]()
    for part in parts:
        groups = grouped(part.rows, dimensions, weight_of(chosen, columns.measures))
        shown = fold(groups, top) if chosen.additive else _largest(groups[:top], chosen)
        drawn.append(shown)
        notes += [_whole(part, chosen), _of(top, groups) if len(shown) < len(groups) else None]
    figure, height = _panels([len(groups) for groups in drawn])
    for number, (part, groups) in enumerate(zip(parts, drawn, strict=True), 1):
        _bars(figure, number, part, groups, chosen, columns.measures, palette)
    notes.append(coverage(columns.rows, columns.measures) if chosen.kind == "money" else None)
    return finish(figure, title, notes, theme, height)


def _largest(groups: list[Group], measure: Measure) -> list[Group]:
    """Of a measure that does not add up: the largest value first."""
    for group in groups:
        if len(group.rows) > 1:
            raise UsageError(
                f"{measure.title} does not add up, but the frame has {len(group.rows)} rows for {group.label!r}. "
                "Ask for it by the dimension to be drawn only"
            )
    return sorted(groups, key=lambda group: -float(group.rows[0][measure.name] or -1))


def _whole(part: Facet, measure: Measure) -> str | None:
    if not measure.additive:
        return None
    amount = wording.value_text(total(part.rows, measure.name), measure.kind, wording.label_text(part.currency or ""))
    return f"{amount} in total"


def _of(top: int, groups: Sequence[Group]) -> str:
    return f"top {top} of {len(groups):,}"


def _panels(counts: Sequence[int]) -> tuple[go.Figure, int]:
    """A figure of one panel per count, with that many rows, and its height; rows have the same height in all panels."""
    inner = sum(counts) * PITCH + BETWEEN * (len(counts) - 1)
    figure = make_subplots(
        rows=len(counts), cols=1, row_heights=list(counts), vertical_spacing=BETWEEN / inner if len(counts) > 1 else 0
    )
    for number, count in enumerate(counts, 1):
        figure.update_yaxes(visible=False, range=[count - 0.7, -0.7], fixedrange=True, row=number, col=1)
        figure.update_xaxes(showgrid=True, showline=False, ticks="", nticks=6, row=number, col=1)
    return figure, inner + 100


def _label(figure: go.Figure, number: int, groups: Sequence[Group], texts: Sequence[str]) -> None:
    """Write name and text above each bar."""
    suffix = "" if number == 1 else str(number)
    abbreviate(groups, max(12, ROOM - max(map(len, texts))))
    for position, (group, text) in enumerate(zip(groups, texts, strict=True)):
        figure.add_annotation(
            text=f"<b>{group.short}</b>  {text}",
            x=0,
            xref=f"x{suffix} domain",
            xanchor="left",
            y=position - BAR / 2,
            yref=f"y{suffix}",
            yanchor="bottom",
            borderpad=0,
            align="left",
        )


def _bars(
    figure: go.Figure,
    number: int,
    part: Facet,
    groups: Sequence[Group],
    measure: Measure,
    measures: Measures,
    styles: Styles,
) -> None:
    whole = total(part.rows, measure.name) if measure.additive else None
    code = wording.label_text(part.currency or "")
    rows = [merged(group.rows, measures) for group in groups]
    amounts = [row[measure.name] for row in rows]
    texts = [wording.value_text(amount, measure.kind, code) for amount in amounts]
    if whole:
        shares = ("" if amount is None else f" · {wording.percent(float(amount) / float(whole))}" for amount in amounts)
        texts = [text + share for text, share in zip(texts, shares, strict=True)]
    _label(figure, number, groups, texts)
    for position, (group, row, amount, text) in enumerate(zip(groups, rows, amounts, texts, strict=True)):
        lines = [f"<b>{wording.hover_text(group.label)}</b>", f"{measure.title}: {text}"]
        lines += details(row, measures, part.currency, skip=[measure.name])
        style = group.style(styles)
        # A trace for each bar: Plotly cannot draw bars of several hues and patterns in one.
        figure.add_bar(
            orientation="h",
            x=[None if amount is None else float(amount)],
            y=[position],
            name=group.short,
            width=BAR,
            marker={"color": style.color, "pattern": pattern(style)},
            hovertext=["<br>".join(lines)],
            hoverinfo="text",
            showlegend=False,
            row=number,
            col=1,
        )
    largest = max((float(amount) for amount in amounts if amount is not None), default=0.0)
    figure.update_xaxes(value_axis(measure, largest, part.currency), row=number, col=1)


def percentiles_by(
    frame: pl.DataFrame,
    prefix: str,
    dimension: str | None = None,
    *,
    top: int = 12,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """The distribution of a duration or rate: for each group its percentiles on one line, those with most calls first.

    A thick bar reaches from the lowest percentile of the frame to p95 (where most calls are), a thin line on to p99;
    dots mark the percentiles. The axis is logarithmic when the largest value is more than thirty times the smallest.

    Args:
        frame: Any dimension and `<prefix>_p50`, `_p90`, `_p95`, `_p99` or some of them, such as
            `usage.latency(by=["model_name"])`.
        prefix: "latency", "ttft" or "token_rate".
        dimension: By default all dimensions of the frame; without any there is one line for all calls.
        top: So many groups are drawn; the figure says how many it leaves out.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    how = f"usage.{question(prefix)}(by=['{dimension or 'model_name'}'])"
    family = families(columns.measures).get(prefix)
    if family is None:
        raise UsageError(hint(columns, f"{prefix}_p50", how))
    words = list(family.measures)
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    title = f"{family.noun}{by_text(dimensions)}"
    leading = family.measures[words[0]]
    part = facets(columns, leading)[0]
    groups = grouped(part.rows, dimensions, weight_of(leading, columns.measures))
    valued = [group for group in groups if any(group.rows[0][f"{prefix}_{word}"] is not None for word in words)]
    if not valued:
        return empty(title, theme, f"{family.noun}: unknown for every call" if columns.rows else None)
    shown = _largest(valued[:top], leading)
    palette = styles or styles_for([part], dimensions, leading, columns.measures)
    figure, height = _panels([len(shown)])
    _ranges(figure, shown, prefix, words, columns.measures, palette)
    values = [group.rows[0][f"{prefix}_{word}"] for group in shown for word in words]
    present = [float(value) for value in values if value is not None]
    axis = value_axis(leading, max(present), title=family.noun)
    if min(present) > 0 and max(present) > 30 * min(present):
        axis.update(logarithmic(leading, min(present), max(present)))
    figure.update_xaxes(axis)
    left = len(valued) - len(shown)
    notes = [
        f"{_of(top, valued)} by calls" if left else None,
        f"{len(groups) - len(valued):,} without a value" if len(groups) > len(valued) else None,
    ]
    return finish(figure, title, notes, theme, height + legend_room(figure))


SYMBOLS = {
    "p50": "circle",
    "p90": "diamond",
    "p95": "square",
    "p99": "line-ns-open",
    "mean": "x-thin-open",
    "overall": "star",
}


def _ranges(
    figure: go.Figure,
    groups: Sequence[Group],
    prefix: str,
    words: Sequence[str],
    measures: Measures,
    styles: Styles,
) -> None:
    spread = [word for word in words if word.startswith("p")]
    for position, group in enumerate(groups):
        row = group.rows[0]
        known_words = [word for word in spread if row[f"{prefix}_{word}"] is not None]
        ends = [float(row[f"{prefix}_{word}"]) for word in known_words]
        body = [float(row[f"{prefix}_{word}"]) for word in known_words if word != "p99"]
        color = group.style(styles).color
        for points, width, opacity in ((ends, 2, 0.9), (body, 11, 0.4)):
            if len(points) > 1:
                line = {"color": color, "width": width}
                span = {"x": [points[0], points[-1]], "y": [position, position]}
                figure.add_scatter(**span, mode="lines", line=line, opacity=opacity, hoverinfo="skip", showlegend=False)
    _label(figure, 1, groups, [_percentile_text(group.rows[0], prefix, words) for group in groups])
    for word in words:
        name = f"{prefix}_{word}"
        hover = [
            "<br>".join([f"<b>{wording.hover_text(group.label)}</b>", *details(group.rows[0], measures, None)])
            for group in groups
        ]
        figure.add_scatter(
            x=[group.rows[0][name] for group in groups],
            y=list(range(len(groups))),
            customdata=[group.name for group in groups],
            mode="markers",
            marker=_marker(word, [group.style(styles).color for group in groups]),
            hovertext=hover,
            hoverinfo="text",
            legendgroup=word,
            name=word,
            showlegend=False,
        )
    for word in words:  # A key in grey: the colours stand for the groups.
        key = _marker(word, look.OTHER.color)
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=key, name=word, legendgroup=word)


def _marker(word: str, color: Any) -> dict[str, Any]:
    return {
        "symbol": SYMBOLS.get(word, "circle-open"),
        "size": 9,
        "color": color,
        "line": {"width": 2 if "open" in SYMBOLS.get(word, "circle-open") else 0},
    }


def _percentile_text(row: Row, prefix: str, words: Sequence[str]) -> str:
    if prefix == "token_rate":  # in tokens/s, as the axis says
        pairs = [(word, row[f"{prefix}_{word}"]) for word in ("p50", "overall") if word in words]
        return " · ".join(
            f"{word} {wording.count(None) if value is None else f'{value:,.1f}'}" for word, value in pairs
        )
    pairs = [(word, row[f"{prefix}_{word}"]) for word in ("p50", "p95") if word in words]
    return " · ".join(f"{word} {wording.duration(value)}" for word, value in pairs)


def failures_by(
    frame: pl.DataFrame, dimension: str | None = None, *, top: int = 12, theme: look.Theme | None = None
) -> go.Figure:
    """Calls that did not succeed by a dimension: bars stacked by status, most failures first, with the success rate.

    Args:
        frame: `usage.success_rate(by=["model_name"])`: any dimension, `calls`, `success_count` and the counts of the
            failures.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    names = {status: f"{status}_count" for status in FAILURES}
    how = f"usage.success_rate(by=['{dimension or 'model_name'}'])"
    columns = read(frame)
    need(columns, ["calls", "success_count", *names.values(), *([dimension] if dimension else [])], how)
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    title = f"Failures{by_text(dimensions)}"
    everything = columns.rows
    if not everything:
        return empty(title, theme)
    groups = grouped(everything, dimensions, lambda rows: sum(total(rows, name) or 0 for name in names.values()))
    groups = fold(groups, top)
    rows = [merged(group.rows, columns.measures) for group in groups]
    figure, height = _panels([len(groups)])
    _label(figure, 1, groups, [_failure_text(row) for row in rows])
    for status in sorted(names, key=lambda status: -(total(rows, names[status]) or 0)):
        _failure_bars(figure, groups, rows, status, columns.measures)
    most = max(sum(row[name] or 0 for name in names.values()) for row in rows)
    figure.update_xaxes(value_axis(MEASURES["error_count"], most, title="Unsuccessful calls"))
    whole = merged(everything, columns.measures)
    return finish(figure, title, [f"{_failure_text(whole)}"], theme, height + legend_room(figure))


def _failure_text(row: Row) -> str:
    if not row["calls"]:
        return "no calls"
    failed = row["calls"] - row["success_count"]
    return f"{failed:,} failed · {wording.percent(row['success_count'] / row['calls'])} ok"


def _failure_bars(
    figure: go.Figure, groups: Sequence[Group], rows: Sequence[Row], status: str, measures: Measures
) -> None:
    hover = [
        "<br>".join(
            [
                f"<b>{wording.hover_text(group.label)}</b>",
                f"{status.replace('_', ' ')}: {wording.count(row[f'{status}_count'])}",
                *details(row, measures, None, skip=[f"{status}_count"]),
            ]
        )
        for group, row in zip(groups, rows, strict=True)
    ]
    figure.add_bar(
        orientation="h",
        x=[row[f"{status}_count"] for row in rows],
        y=list(range(len(groups))),
        customdata=[group.name for group in groups],
        width=BAR,
        marker={"color": look.STATUS_STYLES[status].color},
        name=status.replace("_", " "),
        hovertext=hover,
        hoverinfo="text",
    )
