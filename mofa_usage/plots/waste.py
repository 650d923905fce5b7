"""What wasted calls cost, by kind of waste: bars stacked by kind, or along time."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import Dimension
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Group,
    Measures,
    coverage,
    details,
    facets,
    fold,
    grouped,
    known,
    merged,
    need,
    read,
    total,
    weight_of,
)
from mofa_usage.plots.axes import value_axis
from mofa_usage.plots.layout import by_text, empty, finish, legend_room
from mofa_usage.plots.rows import CUT, cut, label, name_rows, of_top, panels, scales_of, stack
from mofa_usage.plots.series import over_time

KINDS = {
    "retried": ("tried again", look.Style("#E69F00")),
    "partial": ("broken off", look.Style("#56B4E9")),
    "unsuccessful": ("unsuccessful", look.Style("#D55E00")),
}
"""The kinds of waste, in words, and how they are drawn."""

_HOW = "usage.waste(by=['model_name'])"


def waste_by(
    frame: pl.DataFrame, dimension: str | None = None, *, top: int = 12, theme: look.Theme | None = None
) -> go.Figure:
    """The cost of wasted calls by a dimension: bars stacked by kind, the dearest first; one panel for each currency.

    Where no call has a price the bars count the calls. Along time it is a bar for each period.

    Args:
        frame: `usage.waste(by=["model_name"])`: any dimension, `waste`, `currency`, `cost`, `calls`.
        dimension: By default all dimensions of the frame but the kind.
        top: So many groups are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    need(answer, ["waste", "calls", *([dimension] if dimension else [])], _HOW)
    chosen = [answer.dimension(dimension, _HOW)] if dimension else list(answer.categories)
    dimensions = [entry for entry in chosen if entry.name != "waste"]
    if answer.time is not None or answer.cycles:
        styles = {kind: style for kind, (_, style) in KINDS.items()}
        return over_time(frame, "cost" if "cost" in answer.measures else "calls", "waste", theme=theme, styles=styles)
    title = f"Waste{by_text(dimensions)}"
    if not answer.rows:
        return empty(title, theme, "Nothing was wasted")
    parts = [part for part in facets(answer, answer.measure("cost", _HOW)) if part.rows]
    name = "cost" if known(parts, "cost") else "calls"
    if name == "calls":
        parts = [Facet(None, answer.rows)]
    return _drawn(answer, parts, name, dimensions, title, top, theme)


def _drawn(
    answer: Answer,
    parts: Sequence[Facet],
    name: str,
    dimensions: Sequence[Dimension],
    title: str,
    top: int,
    theme: look.Theme | None,
) -> go.Figure:
    measure, notes = answer.measures[name], list[str | None]()
    every = [grouped(part.rows, dimensions, weight_of(measure, answer.measures)) for part in parts]
    drawn = [fold(groups, top) for groups in every]
    texts = [_texts(groups, name, part.currency) for part, groups in zip(parts, drawn, strict=True)]
    name_rows(drawn, texts)
    figure, height = panels([len(groups) for groups in drawn])
    for number, (part, groups) in enumerate(zip(parts, drawn, strict=True), 1):
        label(figure, number, groups, texts[number - 1])
        lengths = [float(total(group.rows, name) or 0) for group in groups]
        axis = value_axis(measure, max(lengths), part.currency, "Cost of wasted calls" if name == "cost" else "")
        figure.update_xaxes(axis, row=number, col=1)
        end = cut(figure, number, groups, lengths)
        for kind in [*KINDS, *sorted({str(row["waste"]) for row in part.rows} - set(KINDS))]:
            _stack(figure, number, part, groups, kind, name, answer.measures, scales_of(lengths, end))
        notes += [_whole(part, name), of_top(top, every[number - 1]) if len(groups) < len(every[number - 1]) else None]
        notes.append(CUT if end else None)
    notes += ["no prices: the calls are counted" if name == "calls" else coverage(answer.rows, answer.measures)]
    figure.update_layout(barmode="relative")
    return finish(figure, title, notes, theme, height + legend_room(figure))


def _stack(
    figure: go.Figure,
    number: int,
    part: Facet,
    groups: Sequence[Group],
    kind: str,
    name: str,
    measures: Measures,
    scales: Sequence[float],
) -> None:
    """What is of one kind in the bars of a panel, those of each group as long as its scale says."""
    of_kind = [[row for row in group.rows if row["waste"] == kind] for group in groups]
    if not any(of_kind):
        return
    said, style = KINDS.get(kind, (kind, look.OTHER))
    lengths = [float(total(rows, name) or 0) * scale for rows, scale in zip(of_kind, scales, strict=True)]
    hover = [
        "<br>".join(
            [
                f"<b>{wording.hover_text(group.label)}</b>",
                wording.label_text(said),
                *(details(merged(rows, measures), measures, part.currency) if rows else ()),
            ]
        )
        for group, rows in zip(groups, of_kind, strict=True)
    ]
    stack(figure, number, kind, wording.label_text(said), style, lengths, hover)


def _texts(groups: Sequence[Group], name: str, currency: str | None) -> list[str]:
    """What stands above the bars: amounts, written alike, and calls."""
    counts = [total(group.rows, "calls") for group in groups]
    counted = [wording.calls(calls) for calls in counts]
    if name == "calls":
        return counted
    amounts: list[Any] = [total(group.rows, name) for group in groups]
    texts = wording.money_texts(amounts, [wording.label_text(currency or "")] * len(amounts))
    return [
        f"{'unknown' if amount is None else text} · {calls}"
        for amount, text, calls in zip(amounts, texts, counted, strict=True)
    ]


def _whole(part: Facet, name: str) -> str | None:
    amount: Any = total(part.rows, name)
    if name == "calls":
        return f"{amount:,} calls"
    share = total(part.rows, "waste_share") if part.rows and "waste_share" in part.rows[0] else None
    of_all = "" if share is None else f", {wording.percent(share)} of the cost"
    return f"{wording.money(amount, wording.label_text(part.currency or ''))} in total{of_all}"
