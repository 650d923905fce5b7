"""What changed, drawn: a waterfall from the cost before to the cost after, and the same parts of each group.

Up and down have two hues that the colour-blind tell apart, and every bar bears its amount with its sign, so that
nothing hangs on colour. The steps of the waterfall are what is to be seen: where the whole would flatten them the axis
does not begin at 0, and the figure says so.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import Measure
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Group,
    Row,
    abbreviate,
    checked_top,
    facets,
    grouped,
    known,
    read,
    total,
)
from mofa_usage.plots.axes import value_axis
from mofa_usage.plots.layout import by_text, empty, empty_panels, finish
from mofa_usage.plots.rows import BAR, BETWEEN, label, of_top, panels

__all__ = ["changes_by", "waterfall"]

PARTS = ("volume", "mix", "tokens_per_call", "cache", "price")
"""The measures of the steps, in their order."""

MORE, LESS = look.Style(look.PALETTE[3]), look.Style(look.PALETTE[0])
"""A part that costs more, and one that saves."""

FLAT = 0.2
"""The axis begins above 0 where all that changes is less than this part of the larger total."""

PITCH = 21
"""Pixels from one bar of a group to the next."""

MANY = 10_000
"""From here on ticks are written in thousands."""

HEADING = 1.2
"""Room for the name of a group above its bars, in bars."""

NAME = 20
"""Characters of a group's name that stand beside its change at 360 pixels."""

ROOM = 1.27
"""How much longer than its bars the axis of a waterfall is: amounts stand at its end."""

_HOW = "usage.explain_change(before, after)"


class _Step(NamedTuple):
    """A bar from one amount to another."""

    title: str
    start: Decimal
    end: Decimal
    is_total: bool
    text: str

    @property
    def style(self) -> look.Style:
        if self.is_total:
            return look.OTHER
        return MORE if self.end >= self.start else LESS


def waterfall(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """The cost before, the parts of its change, and the cost after, as steps; one panel for each currency.

    Args:
        frame: `usage.explain_change(before, after)`: the columns `cost_before`, `cost_after`, `volume`, `mix`,
            `tokens_per_call`, `cache`, `price` and `currency`. All rows together are drawn.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    first, *_ = [answer.measure(name, _HOW) for name in ("cost_before", "cost_after", *PARTS)]
    parts = [part for part in facets(answer, first) if known([part], first.name)]
    title = "Change of cost"
    if not parts:
        return empty(title, theme, "Unknown: no call has a price" if answer.rows else None)
    steps = [_steps(answer, part) for part in parts]
    figure, height = panels([len(found) for found in steps])
    notes = [note for number, (part, found) in enumerate(zip(parts, steps, strict=True), 1)
             if (note := _draw(figure, number, part, found, first))]  # fmt: skip
    return finish(figure, title, [*_changes(answer, parts), *dict.fromkeys(notes)], theme, height)


def _changes(answer: Answer, parts: Sequence[Facet]) -> list[str | None]:
    """What is compared, and the change in each currency."""
    return [" → ".join(answer.periods) or None, *(_change_text(part) for part in parts)]


def _change_text(part: Facet) -> str:
    """`+$20.18 (29.1%)`."""
    before, after = (_money(part.rows, name) for name in ("cost_before", "cost_after"))
    text = wording.signed_money(after - before, wording.label_text(part.currency or "USD"))
    return f"{text} ({wording.percent(float(abs(after - before) / abs(before)))})" if before else text


def _money(rows: Sequence[Row], name: str) -> Decimal:
    """The sum of an amount; floats, which somebody may have made of it, are money all the same."""
    return Decimal(str(total(rows, name) or 0))


def _steps(answer: Answer, part: Facet) -> list[_Step]:
    early, late = answer.periods or ("Before", "After")
    amounts = {name: _money(part.rows, name) for name in ("cost_before", "cost_after", *PARTS)}
    code = wording.label_text(part.currency or "USD")
    level = amounts["cost_before"]
    found = [_Step(early, Decimal(), level, is_total=True, text=wording.money(level, code))]
    for name in PARTS:
        text = wording.signed_money(amounts[name], code)
        found.append(_Step(answer.measures[name].title, level, level + amounts[name], is_total=False, text=text))
        level += amounts[name]
    end = amounts["cost_after"]
    return [*found, _Step(late, Decimal(), end, is_total=True, text=wording.money(end, code))]


def _draw(figure: go.Figure, number: int, part: Facet, steps: Sequence[_Step], measure: Measure) -> str | None:
    """The steps in a panel, and what is to be said of its axis."""
    ends = [float(step.end) for step in steps]
    low, high = min(ends), max(ends)
    is_cut = low > 0 and high - low < FLAT * high
    axis = value_axis(measure, max(map(abs, ends)), part.currency, "Cost")
    start = (low - (high - low or high) * 0.25) if is_cut else min(0.0, low)
    reach = [start, start + ((max(high, 0.0) - start) or 1.0) * ROOM]
    figure.update_xaxes(axis | {"range": reach, "rangemode": "normal"}, row=number, col=1)
    groups = [Group(None, step.title, short=wording.label_text(step.title)) for step in steps]
    label(figure, number, groups, [step.text for step in steps])
    for place, step in enumerate(steps):
        base = (start if is_cut else 0.0) if step.is_total else float(step.start)
        bar = go.Bar(
            orientation="h", x=[float(step.end) - base], base=[base], y=[place], width=BAR,
            marker={"color": step.style.color}, name=step.title, showlegend=False,
            hovertext=[f"<b>{wording.hover_text(step.title)}</b><br>{step.text}"], hoverinfo="text",
        )  # fmt: skip
        figure.add_trace(bar, row=number, col=1)
    figure.add_trace(_stairs(ends), row=number, col=1)
    return "the axis does not begin at 0" if is_cut else None


def _stairs(ends: Sequence[float]) -> go.Scatter:
    """Thin lines from the end of each bar down to the beginning of the next."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for place, end in enumerate(ends[:-1]):
        xs += [end, end, None]
        ys += [place + BAR / 2, place + 1 - BAR / 2, None]
    line = {"color": look.OTHER.color, "width": 1, "dash": "dot"}
    return go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False)


# Small multiples ------------------------------------------------------------------------------------------------------


def changes_by(
    frame: pl.DataFrame,
    dimension: str | None = None,
    *,
    top: int = 6,
    theme: look.Theme | None = None,
) -> go.Figure:
    """The parts of the change of each group, in a small panel each, on one axis for all groups of a currency.

    Args:
        frame: `usage.explain_change(before, after, by=["model_name"])`, see `waterfall`.
        dimension: By default all dimensions of the frame.
        top: So many groups are drawn, those that changed most; what the others changed by together is a note.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    change, *_ = [answer.measure(name, _HOW) for name in ("cost_change", *PARTS)]
    dimensions = [answer.dimension(dimension, _HOW)] if dimension else list(answer.dimensions.values())
    dimensions = [entry for entry in dimensions if entry.name != "currency"]
    title = f"Change of cost{by_text(dimensions)}"
    parts = [part for part in facets(answer, change) if known([part], change.name)]
    if not parts:
        return empty(title, theme, "Unknown: no call has a price" if answer.rows else None)
    shown: list[tuple[Facet, Group]] = []
    notes = _changes(answer, parts)
    for part in parts:
        groups = grouped(part.rows, dimensions, lambda rows: abs(total(rows, change.name) or 0))
        valued = [group for group in groups if total(group.rows, change.name) is not None]
        shown += ((part, group) for group in valued[: checked_top(top)])
        if left := [row for group in valued[top:] for row in group.rows]:
            amount = wording.signed_money(_money(left, change.name), wording.label_text(part.currency or "USD"))
            notes.append(f"{of_top(top, valued)}, the others {amount}")
    abbreviate((group for _, group in shown), NAME)
    figure, height = _small([sum(other is part for other, _ in shown) for part in parts])
    for number, (part, group) in enumerate(shown, 1):
        reach = _reach([other for facet, other in shown if facet is part])
        last = number == len(shown) or shown[number][0] is not part
        _group(figure, number, part, group, answer)
        _axis(figure, number, answer, part, reach, is_last=last)
    return finish(figure, title, notes, theme, height)


def _small(counts: Sequence[int]) -> tuple[go.Figure, int]:
    """A figure of so many panels for each currency, each of five bars with a heading, and its height."""
    lines = len(PARTS) + HEADING + 0.5
    inner = sum(counts) * lines * PITCH + (len(counts) - 1) * BETWEEN
    figure = empty_panels(sum(counts), vertical_spacing=0)
    top, number = 1.0, 0
    for count in counts:
        for _ in range(count):
            number += 1
            bottom = max(top - lines * PITCH / inner, 0.0)
            figure.update_yaxes(domain=[bottom, top], row=number, col=1)
            top = bottom
        top -= BETWEEN / inner
    figure.update_yaxes(range=[len(PARTS), len(PARTS) - lines], showgrid=False, fixedrange=True)
    return figure, round(inner) + 110


def _reach(groups: Sequence[Group]) -> list[float]:
    """The least and the largest part of some groups, with 0, and room for texts beside the bars."""
    amounts = [float(total(group.rows, name) or 0) for group in groups for name in PARTS]
    low, high = min(0.0, *amounts), max(0.0, *amounts)
    span = high - low or 1.0
    return [low - span * (0.65 if low < 0 else 0.0), high + span * (0.6 if high > 0 else 0.2)]


def _group(figure: go.Figure, number: int, part: Facet, group: Group, answer: Answer) -> None:
    """The parts of one group in its panel, with its name and its change above."""
    code = wording.label_text(part.currency or "USD")
    amounts = [_money(group.rows, name) for name in PARTS]
    texts = [wording.signed_money(amount, code) for amount in amounts]
    titles = [answer.measures[name].title for name in PARTS]
    bars = go.Bar(
        orientation="h", x=[float(amount) or None for amount in amounts], y=list(range(len(amounts))), width=0.62,
        showlegend=False,
        marker={"color": [(MORE if amount > 0 else LESS).color for amount in amounts]},
        text=[text if amount else "" for text, amount in zip(texts, amounts, strict=True)],
        textposition="outside", textangle=0, cliponaxis=False, constraintext="none",
        hovertext=[f"<b>{wording.hover_text(group.label)}</b><br>{title}: {text}"
                   for title, text in zip(titles, texts, strict=True)],
        hoverinfo="text",
    )  # fmt: skip
    figure.add_trace(bars, row=number, col=1)
    figure.update_yaxes(tickvals=list(range(len(titles))), ticktext=titles, row=number, col=1)
    suffix = "" if number == 1 else str(number)
    change = wording.signed_money(_money(group.rows, "cost_change"), code)
    for words, place, side in ((f"<b>{group.short}</b>", 0, "left"), (change, 1, "right")):
        figure.add_annotation(
            text=words, x=place, xref="paper", xanchor=side, y=-HEADING / 2, yref=f"y{suffix}", yanchor="bottom",
        )  # fmt: skip


def _axis(figure: go.Figure, number: int, answer: Answer, part: Facet, reach: list[float], *, is_last: bool) -> None:
    """The axis of a panel; what stands at its ticks is written below the last of its currency."""
    axis = value_axis(answer.measures["cost_change"], max(map(abs, reach)), part.currency)
    if part.currency == "USD":  # d3 puts the sign before the symbol
        axis |= {"tickprefix": "", "tickformat": "$,~f" if max(map(abs, reach)) < MANY else "$~s"}
    below = {"showticklabels": is_last, **({} if is_last else {"title": None})}
    zero = {"zeroline": True, "zerolinecolor": look.OTHER.color, "zerolinewidth": 1}
    own = {"range": reach, "rangemode": "normal", "showgrid": True, "showline": False, "ticks": "", "nticks": 5}
    figure.update_xaxes(axis | own | zero | below | {"tickangle": 0}, row=number, col=1)
