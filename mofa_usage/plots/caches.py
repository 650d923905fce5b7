"""What caches saved, what writing to them cost, and what they could have saved: bars of each group on one axis."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import Measure
from mofa_usage.plots.answers import (
    Facet,
    Group,
    Measures,
    Row,
    details,
    facets,
    fold,
    grouped,
    known,
    merged,
    need,
    read,
    total,
)
from mofa_usage.plots.axes import value_axis
from mofa_usage.plots.layout import by_text, empty, finish, legend_room
from mofa_usage.plots.rows import CUT, cut, label, name_rows, of_top, panels, scales_of, stack
from mofa_usage.plots.series import over_time

PARTS = {
    "cache_saved": ("saved by reads", look.Style("#009E73"), 1),
    "cache_premium": ("premium of writes", look.Style("#D55E00"), -1),
    "missed_savings": ("could save at most", look.Style("#9AA1AC", "/"), 1),
}
"""The bars of a group: which measure, its name, how it is drawn, and to which side."""

_LEFT = ("candidate_savings", "left after the premium of writing all", look.Style("#0072B2"))
"""The mark in the bar of what could be saved: what would be left if all prompts were written to a cache for it."""

_HOW = "usage.cache_savings(by=['model_name'])"


def cache_savings_by(
    frame: pl.DataFrame, dimension: str | None = None, *, top: int = 12, theme: look.Theme | None = None
) -> go.Figure:
    """What caches saved by a dimension, to the right, beside what could be saved; the premium of writes to the left.

    A mark in what could be saved says how much of it would be left if all prompts were written to a cache.

    Along time it is the savings of each period.

    Args:
        frame: `usage.cache_savings(by=["model_name"])`: any dimension, `currency`, and the columns of `PARTS`.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    need(answer, ["cache_savings", *PARTS, *([dimension] if dimension else [])], _HOW)
    if answer.time is not None or answer.cycles:
        return over_time(frame, "cache_savings", theme=theme)
    dimensions = [answer.dimension(dimension, _HOW)] if dimension else list(answer.categories)
    title = f"Savings of caches{by_text(dimensions)}"
    savings = answer.measure("cache_savings", _HOW)
    parts = [part for part in facets(answer, savings) if any(known([part], name) for name in PARTS)]
    if not parts:
        return empty(title, theme, "No rates are known" if answer.rows else None)
    every = [grouped(part.rows, dimensions, _weight) for part in parts]
    drawn = [fold(groups, top) for groups in every]
    texts = [_texts(groups, part.currency) for part, groups in zip(parts, drawn, strict=True)]
    name_rows(drawn, texts)
    figure, height = panels([len(groups) for groups in drawn])
    notes: list[str | None] = []
    for number, (part, groups) in enumerate(zip(parts, drawn, strict=True), 1):
        label(figure, number, groups, texts[number - 1])
        is_cut = _panel(figure, number, part, groups, answer.measures, savings)
        net: Any = total(part.rows, "cache_savings")
        code = wording.label_text(part.currency or "")
        notes += [
            None if net is None else f"{wording.money(net, code)} in total",
            of_top(top, every[number - 1]) if len(groups) < len(every[number - 1]) else None,
            CUT if is_cut else None,
        ]
    figure.update_layout(barmode="relative")
    return finish(figure, title, notes, theme, height + legend_room(figure))


def _weight(rows: Sequence[Row]) -> Any:
    """What makes a group heavy: all that is drawn of it, so that what caching costs most is not folded."""
    known = [abs(amount) for name in PARTS if (amount := total(rows, name)) is not None]
    return sum(known) if known else None


def _panel(
    figure: go.Figure, number: int, part: Facet, groups: Sequence[Group], measures: Measures, savings: Measure
) -> bool:
    """The bars of a currency; whether the one of the rest is cut."""
    rows = [merged(group.rows, measures) for group in groups]
    lengths = [float((row["cache_saved"] or 0) + (row["missed_savings"] or 0)) for row in rows]
    axis = value_axis(savings, max(lengths, default=0.0), part.currency, "Saved")
    figure.update_xaxes(axis | {"rangemode": "normal"}, row=number, col=1)
    end = cut(figure, number, groups, lengths, [float(row["cache_premium"] or 0) for row in rows])
    hover = [
        "<br>".join([f"<b>{wording.hover_text(group.label)}</b>", *details(row, measures, part.currency)])
        for group, row in zip(groups, rows, strict=True)
    ]
    scales = scales_of(lengths, end)
    for name, (said, style, side) in PARTS.items():
        if any(row[name] for row in rows):
            sizes = [side * float(row[name] or 0) * scale for row, scale in zip(rows, scales, strict=True)]
            stack(figure, number, name, said, style, sizes, hover)
    _mark(figure, number, rows, scales, hover)
    return end is not None


def _mark(figure: go.Figure, number: int, rows: Sequence[Row], scales: Sequence[float], hover: Sequence[str]) -> None:
    """What would be left of what could be saved, as a mark in its bar; where nothing would be, there is none."""
    name, said, style = _LEFT
    places = [place for place, row in enumerate(rows) if (row.get(name) or 0) > 0]
    if not places:
        return
    figure.add_scatter(
        x=[float((rows[place]["cache_saved"] or 0) + rows[place][name]) * scales[place] for place in places],
        y=places,
        mode="markers",
        marker={"symbol": "line-ns", "size": 12, "line": {"width": 3, "color": style.color}},
        name=said,
        legendgroup=name,
        showlegend=all(trace.legendgroup != name for trace in figure.data),
        hovertext=[hover[place] for place in places],
        hoverinfo="text",
        row=number,
        col=1,
    )


def _texts(groups: Sequence[Group], currency: str | None) -> list[str]:
    """What stands above the bars: the net savings, written alike, and the hit rate where it is of one row."""
    amounts: list[Any] = [total(group.rows, "cache_savings") for group in groups]
    texts = wording.money_texts(amounts, [wording.label_text(currency or "")] * len(amounts))
    rates = [group.rows[0].get("cache_hit_rate") if len(group.rows) == 1 else None for group in groups]
    return [
        f"{'unknown' if amount is None else text}{'' if rate is None else f' · {wording.percent(rate)} cached'}"
        for amount, text, rate in zip(amounts, texts, rates, strict=True)
    ]
