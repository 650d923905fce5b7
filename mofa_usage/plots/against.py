"""What calls cost beside what they would have cost at other prices: two bars for each group, two lines over time."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import Dimension, Measure
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Group,
    Row,
    checked_top,
    details,
    facets,
    grouped,
    known,
    merged,
    need,
    read,
    total,
)
from mofa_usage.plots.axes import bucket, value_axis
from mofa_usage.plots.layout import by_text, empty, empty_panels, finish, legend_room
from mofa_usage.plots.panels import Panels
from mofa_usage.plots.rows import BETWEEN, name_rows, of_top
from mofa_usage.plots.timeline import per

__all__ = ["recorded_and_other"]

SIDES = {
    "recorded_cost": ("recorded", look.OTHER),
    "other_cost": ("at the other price", look.ACCENT),
}
"""The bars of a group and the lines of a panel: what they are called, and how they are drawn."""

PITCH = 20
"""Pixels from one bar of a group to the next."""

LINES = 3.6
"""A group has so many times that: its name, both bars, and what keeps it apart from the next."""

ROOM = 0.025
"""How much longer than its bars the axis is for each character of the amounts that stand at their ends."""

_HOW = "usage.what_if({'gpt-4o': 'gpt-4o-mini'}).against_recorded()"


def recorded_and_other(
    frame: pl.DataFrame, dimension: str | None = None, *, top: int = 12, theme: look.Theme | None = None
) -> go.Figure:
    """What calls cost, and below it what they would have cost at other prices; along time as two lines.

    One panel for each currency. Groups are in the order of what they cost; the difference is written above their bars.

    Args:
        frame: `usage.what_if(...).against_recorded()`: any dimension, `recorded_cost`, `other_cost`, `currency`.
        dimension: By default all dimensions of the frame. Along time all of them together are drawn.
        top: So many groups are drawn; what the others come to is a note.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    need(answer, [*SIDES, *([dimension] if dimension else [])], _HOW)
    axes = [*([answer.time] if answer.time else []), *answer.cycles]
    dimensions = [answer.dimension(dimension, _HOW)] if dimension else list(answer.categories)
    is_timed = bool(axes) and (dimension is None or any(entry.name == dimension for entry in axes))
    which = f" {per(axes[0])}" if is_timed else by_text(one for one in dimensions if one.name != "priced_as")
    title = f"Recorded and other cost{which}"
    parts = [part for part in facets(answer, answer.measures["other_cost"]) if known([part], "other_cost")]
    if not parts:
        return empty(title, theme, "Nothing can be compared: no call has both prices" if answer.rows else None)
    notes: list[str | None] = [_both(part.rows, part.currency) for part in parts]
    if is_timed:
        return _over_time(answer, axes[0], parts, title, [*notes, *_unknown(answer)], theme)
    drawn, elsewhere = [], {row.get("priced_as") for part in parts for row in part.rows} - {None}
    if len(elsewhere) == 1:
        notes.append(f"at the price of {wording.label_text(str(*elsewhere))}")
    for part in parts:
        groups = [
            group
            for group in _groups(part, dimensions, is_one=len(elsewhere) == 1)
            if known([Facet(None, group.rows)], "other_cost")
        ]
        left = [row for group in groups[checked_top(top) :] for row in group.rows]
        notes.append(f"{of_top(top, groups)}, the others {_both(left, part.currency)}" if left else None)
        drawn.append(groups[:top])
    changes = [[_change(group.rows) for group in groups] for groups in drawn]
    name_rows(drawn, changes)
    figure, height = _panels([len(groups) for groups in drawn])
    for number, (part, groups) in enumerate(zip(parts, drawn, strict=True), 1):
        _panel(figure, number, part, groups, answer, changes[number - 1])
    return finish(figure, title, [*notes, *_unknown(answer)], theme, height + legend_room(figure))


def _groups(part: Facet, dimensions: Sequence[Dimension], *, is_one: bool) -> list[Group]:
    """The groups, those that cost most first; a model and the one at whose price it is are `gpt-4o → gpt-4o-mini`.

    Where all are at the price of one model, that is said once.
    """
    if is_one and len(dimensions) > 1:
        dimensions = [entry for entry in dimensions if entry.name != "priced_as"]
    groups = grouped(part.rows, dimensions, lambda rows: total(rows, "recorded_cost"))
    if [entry.name for entry in dimensions] == ["model_name", "priced_as"]:
        for group in groups:
            ends = (group.rows[0][entry.name] for entry in dimensions)
            group.label = " → ".join(wording.dimension_text(*end) for end in zip(ends, dimensions, strict=True))
    return groups


def _both(rows: Sequence[Row], currency: str | None) -> str:
    """`$12.87 instead of $57.98 (-77.8%)`."""
    recorded, other = _sums(rows)
    code, change = wording.label_text(currency or "USD"), _change(rows)
    return f"{wording.money(other, code)} instead of {wording.money(recorded, code)}{f' ({change})' if change else ''}"


def _sums(rows: Sequence[Row]) -> tuple[Decimal, Decimal]:
    """Both amounts; floats, which somebody may have made of them, are money all the same."""
    recorded, other = (Decimal(str(total(rows, name) or 0)) for name in SIDES)
    return recorded, other


def _change(rows: Sequence[Row]) -> str:
    """The difference, with its sign, or how many times as much; empty where there is nothing to compare it with."""
    recorded, other = _sums(rows)
    if recorded <= 0:
        return ""
    if other >= 2 * recorded:
        return f"{other / recorded:,.1f} times as much"
    rate = float((other - recorded) / recorded)
    return f"{'+' if rate > 0 else ''}{wording.percent(rate)}"


def _unknown(answer: Answer) -> list[str | None]:
    """How many calls are in no amount."""
    if not {"calls", "compared_calls"} <= answer.measures.keys():
        return []
    number = (total(answer.rows, "calls") or 0) - (total(answer.rows, "compared_calls") or 0)
    return [f"{wording.calls(number)} cannot be compared" if number else None]


# Groups ---------------------------------------------------------------------------------------------------------------


def _panels(counts: Sequence[int]) -> tuple[go.Figure, int]:
    """A figure of one panel for each currency, with so many groups, and its height."""
    inner = sum(counts) * LINES * PITCH + BETWEEN * (len(counts) - 1)
    between = BETWEEN / inner if len(counts) > 1 else 0
    figure = empty_panels(len(counts), row_heights=list(counts), vertical_spacing=between)
    for number, count in enumerate(counts, 1):
        reach = [count * LINES - 1.5, -1.5]
        figure.update_yaxes(visible=False, range=reach, fixedrange=True, row=number, col=1)
    return figure, round(inner) + 100


def _panel(
    figure: go.Figure, number: int, part: Facet, groups: Sequence[Group], answer: Answer, changes: Sequence[str]
) -> None:
    """Both bars of each group, with its name and the difference above."""
    rows = [merged(group.rows, answer.measures) for group in groups]
    code = wording.label_text(part.currency or "USD")
    hover = [
        "<br>".join([f"<b>{wording.hover_text(group.label)}</b>", *details(row, answer.measures, part.currency)])
        for group, row in zip(groups, rows, strict=True)
    ]
    for place, (name, (said, style)) in enumerate(SIDES.items()):
        figure.add_trace(
            go.Bar(
                orientation="h", x=[float(row[name] or 0) for row in rows],
                y=[group * LINES + place for group in range(len(rows))], width=0.8, marker={"color": style.color},
                text=wording.money_texts([row[name] for row in rows], [code] * len(rows)),
                textposition="outside", textangle=0, cliponaxis=False, constraintext="none",
                name=said, legendgroup=name, showlegend=number == 1, hovertext=hover, hoverinfo="text",
            ),
            row=number, col=1,
        )  # fmt: skip
    suffix = "" if number == 1 else str(number)
    for place, (group, change) in enumerate(zip(groups, changes, strict=True)):
        for words, x, side in ((f"<b>{group.short}</b>", 0, "left"), (change, 1, "right")):
            figure.add_annotation(
                text=words, x=x, xref=f"x{suffix} domain", xanchor=side, y=place * LINES - 0.5, yref=f"y{suffix}",
                yanchor="bottom", borderpad=0, align=side,
            )  # fmt: skip
    widest = max(len(text) for trace in figure.data for text in trace.text)
    axis = _axis(answer.measures["other_cost"], rows, part.currency, ROOM * widest)
    figure.update_xaxes(axis, row=number, col=1)


def _axis(measure: Measure, rows: Sequence[Row], currency: str | None, room: float) -> dict[str, Any]:
    """The axis of the bars, with room for the amounts at their ends."""
    lengths = [float(row[name] or 0) for row in rows for name in SIDES]
    low, high = min(0.0, *lengths), max(0.0, *lengths)
    span = (high - low) or 1.0
    reach = [low - (span * room if low < 0 else 0), high + span * room]
    axis = value_axis(measure, high, currency, "Cost")
    own = {"range": reach, "rangemode": "normal", "showgrid": True, "showline": False, "ticks": "", "nticks": 6}
    return axis | own | {"tickangle": 0}


# Time -----------------------------------------------------------------------------------------------------------------


def _over_time(
    answer: Answer,
    time: Dimension,
    parts: Sequence[Facet],
    title: str,
    notes: Sequence[str | None],
    theme: look.Theme | None,
) -> go.Figure:
    """Both amounts of each period as lines, a panel for each currency."""
    panels = Panels(len(parts), bucket(answer, time), answer, {})
    for number, part in enumerate(parts, 1):
        rows = _by_period(part.rows, time, answer)
        for name, (said, style) in SIDES.items():
            group = Group(said, said, rows, short=said)
            panels.line(number, group, answer.measures[name], style=style, currency=part.currency)
        largest = max((float(row[name] or 0) for row in rows for name in SIDES), default=0.0)
        panels.scale(number, value_axis(answer.measures["other_cost"], largest, part.currency, "Cost"))
    figure = panels.dress()
    height = 190 + 160 * len(parts) + legend_room(figure)
    return finish(figure, title, [*notes, *panels.notes], theme, height)


def _by_period(rows: Sequence[Row], time: Dimension, answer: Answer) -> list[Row]:
    """One row for each period, in which all groups are added up."""
    periods: dict[Any, list[Row]] = {}
    for row in rows:
        periods.setdefault(row[time.name], []).append(row)
    return [{**merged(found, answer.measures), time.name: period} for period, found in periods.items()]
