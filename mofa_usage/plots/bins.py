"""How many calls took how long, cost how much, had how many tokens: what `mofa_usage.analysis.distribution` counted."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import MEASURES, Measure, measure
from mofa_usage.plots.answers import (
    ALL_LABEL,
    Answer,
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
from mofa_usage.plots.layout import by_text, empty, empty_panels, finish, legend_room
from mofa_usage.plots.panels import pattern

CALLS = MEASURES["calls"]

_ABOUT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "latency_ms": ("Latency", "latency_p50"),
        "time_to_first_token_ms": ("Time to first token", "ttft_p50"),
        "total_price": ("Cost per call", "cost_p50"),
        "total_tokens": ("Tokens per call", "total_tokens_p50"),
        "prompt_tokens": ("Prompt tokens per call", "prompt_tokens_p50"),
        "completion_tokens": ("Completion tokens per call", "completion_tokens_p50"),
    }
)
"""What a column of the calls is called, and a measure that is written as it is."""

PANEL = 250
"""Pixels of a panel of one currency."""


def histogram(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    title: str | None = None,
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Calls by a value that they have, as stacked bars over a logarithmic axis; bars are as wide as their bins.

    Args:
        frame: `usage.distribution(by=["model_name"])`: any dimension, `bin_start` and `bin_end`, `calls`; of prices
            `currency`, and a panel for each.
        dimension: By default all dimensions of the frame.
        title: What the values are, as the title of the figure and of its axis; by default the answer says it, and of a
            frame that was written by hand they are latencies in milliseconds.
        top: So many groups with most calls are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name (`mofa_usage.theme.styles`), where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    how = f"usage.distribution(by=['{dimension or 'model_name'}'])"
    need(columns, ["bin_start", "bin_end", "calls"], how)
    noun, like = _ABOUT.get(columns.about, _ABOUT["latency_ms"])
    noun, written = title or noun, measure(like)
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    heading = f"{noun} distribution{by_text(dimensions)}"
    parts = [part for part in _parts(columns, written) if total(part.rows, "calls")]
    if not parts:
        return empty(heading, theme)
    palette = styles or styles_for(parts, dimensions, CALLS, columns.measures)
    shown = [fold(grouped(part.rows, dimensions, weight_of(CALLS, columns.measures)), top) for part in parts]
    abbreviate(group for groups in shown for group in groups)
    between = 80 / (PANEL * len(parts))
    figure = empty_panels(len(parts), vertical_spacing=between if len(parts) > 1 else 0)
    listed: set[str] = set()
    for number, (part, groups) in enumerate(zip(parts, shown, strict=True), 1):
        calls = total(part.rows, "calls")
        for group in groups:
            bars = _bars(group, group.style(palette), calls, noun, written, part.currency)
            first = group.short not in listed and group.label != ALL_LABEL
            listed |= {group.short} if first else set()
            figure.add_trace(bars.update(showlegend=first), row=number, col=1)
        figure.update_xaxes(_value_axis(part, written, noun), row=number, col=1)
        largest = max(total(rows, "calls") for rows in _bins(part.rows).values())
        figure.update_yaxes(value_axis(CALLS, largest), row=number, col=1)
    figure.update_layout(showlegend=len(listed) > 1)
    notes = [_counted(part) for part in parts]
    return finish(figure, heading, notes, theme, 90 + PANEL * len(parts) + legend_room(figure))


def _parts(columns: Answer, written: Measure) -> list[Facet]:
    """The rows of each currency, that with most calls first; all rows where they are no prices."""
    if written.kind != "money" or "currency" not in columns.columns:
        return [Facet(None, columns.rows)]
    found: dict[str | None, list[dict[str, Any]]] = {}
    for row in columns.rows:
        found.setdefault(row["currency"], []).append(row)
    order = sorted(found, key=lambda currency: (-total(found[currency], "calls"), str(currency)))
    return [Facet(currency, found[currency]) for currency in order]


def _counted(part: Facet) -> str:
    calls = f"{total(part.rows, 'calls'):,} calls"
    return f"{calls} in {wording.label_text(part.currency)}" if part.currency else calls


def _bars(group: Group, style: look.Style, calls: int, noun: str, written: Measure, currency: str | None) -> go.Bar:
    bins = {edges: total(rows, "calls") for edges, rows in _bins(group.rows).items()}
    hover = [
        f"<b>{wording.hover_text(group.label)}</b><br>{noun}: {_span(start, end, written, currency)}"
        f"<br>Calls: {count:,} · {wording.percent(count / calls)} of all"
        for (start, end), count in bins.items()
    ]
    return go.Bar(
        x=[(_left(start, end) + float(end)) / 2 for start, end in bins],
        width=[float(end) - _left(start, end) for start, end in bins],
        y=list(bins.values()),
        marker={"color": style.color, "pattern": pattern(style)},
        name=group.short,
        legendgroup=group.short,
        hovertext=hover,
        hoverinfo="text",
    )


def _span(start: Any, end: Any, written: Measure, currency: str | None) -> str:
    code = wording.label_text(currency or "")
    least, most = (wording.value_text(edge, written.kind, code) for edge in (start, end))
    return f"{least} to below {most}" if start else f"below {most}"


def _bins(rows: Sequence[dict[str, Any]]) -> dict[tuple[Any, Any], list[dict[str, Any]]]:
    found: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["bin_start"], row["bin_end"]), []).append(row)
    return dict(sorted(found.items()))


def _left(start: Any, end: Any) -> float:
    """The left edge on a logarithmic axis, which has no 0."""
    return float(start) or float(end) / 2


def _value_axis(part: Facet, written: Measure, noun: str) -> dict[str, Any]:
    """A logarithmic axis from the lowest bin to the highest; the bin of what is 0 has a tick that says so."""
    edges = [(_left(start, end), float(end)) for start, end in _bins(part.rows)]
    least, largest = edges[0][0], edges[-1][1]
    axis = value_axis(written, largest, part.currency, title=noun)
    axis.update(logarithmic(written, least, largest, part.currency))
    if any(not row["bin_start"] for row in part.rows):
        above = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
        ticks = {sum(edges[0]) / 2: "0"} | {value: text for value, text in above.items() if value > 1.5 * edges[0][1]}
        axis.update(tickvals=list(ticks), ticktext=list(ticks.values()))
    return axis
