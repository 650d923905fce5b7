"""Figures of one row per group: the rows themselves, and sorted bars.

The name stands above its bar and not beside it, so that a long name costs no width: that is what lets these figures be
read at 360 pixels. Values stand above the end of the rows, where they line up. Heights are counted in pixels per row.

The rest of a figure ("other") may be many times what is named. Then its bar is cut, with a mark, so that the named ones
can be compared; its value says how much it is.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import Measure
from mofa_usage.plots.answers import (
    Answer,
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
    heaviest,
    known,
    merged,
    read,
    styles_for,
    total,
    weight_of,
)
from mofa_usage.plots.axes import line_axis, value_axis
from mofa_usage.plots.intervals import interval_words, is_unsure, known_ends, open_ends, whiskers
from mofa_usage.plots.layout import by_text, empty, empty_panels, finish, left_out
from mofa_usage.plots.panels import of_few, pattern
from mofa_usage.plots.series import over_time

PITCH = 38
"""Pixels from one row to the next: a line of text and a bar."""

BETWEEN = 76
"""Pixels between two panels: the axis of the upper one and the heading of the lower one."""

ROOM = 42
"""Characters of name and value that stand beside each other at 360 pixels; the name is shortened to fit."""

BAR = 0.34
"""Thickness of a bar in parts of `PITCH`."""

CUT = "the bar of other is cut"
"""The note of a figure with such a bar."""

DWARFS = 1.5
"""The rest is cut where it is so many times the largest group that has a name."""


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

    Where one duration or rate of tokens would flatten all others, marks on a logarithmic axis take the place of bars.

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
    if chosen.kind == "money" and chosen.additive and not any(total(part.rows, chosen.name) for part in parts):
        return empty(title, theme, "Free: no call with a price cost anything")
    palette = styles or styles_for(parts, dimensions, chosen, columns.measures)
    drawn, notes = [], list[str | None]()
    for part in parts:
        groups = grouped(part.rows, dimensions, weight_of(chosen, columns.measures))
        shown = fold(groups, top) if chosen.additive else largest_first(heaviest(groups, top), chosen)
        drawn.append(Bars(part, shown, chosen, columns.measures))
        notes += [_whole(part, chosen), of_top(top, groups) if len(shown) < len(groups) else None]
    name_rows([bars.groups for bars in drawn], [bars.texts for bars in drawn])
    figure, height = panels([len(bars.groups) for bars in drawn])
    cuts = [bars.draw(figure, number, palette) for number, bars in enumerate(drawn, 1)]
    notes.append(coverage(columns.rows, columns.measures) if chosen.kind == "money" else None)
    notes += [sure_of(columns, parts, [chosen.name]), CUT if any(cuts) else None]
    notes.append(left_out(columns.measures, [chosen.name]))
    return finish(figure, title, notes, theme, height)


def largest_first(groups: list[Group], measure: Measure) -> list[Group]:
    """Of a measure that does not add up: the largest value first, but what has an order or is the rest as it is."""
    for group in groups:
        if len(group.rows) > 1:
            raise UsageError(
                f"{measure.title} does not add up, but the frame has {len(group.rows)} rows for {group.label!r}. "
                "Ask for it by the dimension to be drawn only"
            )

    def order(group: Group) -> tuple[bool, bool, float]:
        value = group.rows[0][measure.name]
        return group.rest, value is None, -float(value or 0)

    return groups if groups and groups[0].ordered else sorted(groups, key=order)


def of_top(top: int, groups: Sequence[Group]) -> str:
    """How many of the groups are drawn, as a phrase."""
    return f"top {top} of {len(groups):,}"


def sure_of(columns: Answer, parts: Sequence[Facet], names: Sequence[str]) -> str | None:
    """What the whiskers at bars and marks of these measures are; None where there are none."""
    rows = [row for part in parts for row in part.rows]
    if not any(known_ends(rows, name) for name in names):
        return None
    few = any(is_unsure(row, name) for row in rows for name in names if name in row)
    return f"whiskers: {columns.interval}{', open where calls are too few' if few else ''}"


def _whole(part: Facet, measure: Measure) -> str | None:
    if not measure.additive or measure.kind == "rate":
        return None
    amount = wording.value_text(total(part.rows, measure.name), measure.kind, wording.label_text(part.currency or ""))
    return f"{amount} in total"


# Rows -----------------------------------------------------------------------------------------------------------------


def panels(counts: Sequence[int]) -> tuple[go.Figure, int]:
    """A figure of one panel per count, with that many rows, and its height; rows have the same height in all panels."""
    inner = sum(counts) * PITCH + BETWEEN * (len(counts) - 1)
    figure = empty_panels(
        len(counts), row_heights=list(counts), vertical_spacing=BETWEEN / inner if len(counts) > 1 else 0
    )
    for number, count in enumerate(counts, 1):
        figure.update_yaxes(visible=False, range=[count - 0.7, -0.7], fixedrange=True, row=number, col=1)
        figure.update_xaxes(showgrid=True, showline=False, ticks="", nticks=6, tickangle=0, row=number, col=1)
    return figure, inner + 100


def name_rows(groups: Sequence[Sequence[Group]], texts: Sequence[Sequence[str]]) -> None:
    """Shorten the names so that they have room beside their values, alike in all panels."""
    widest = max(len(text) for part in texts for text in part)
    abbreviate((group for part in groups for group in part), max(12, ROOM - widest))


def label(figure: go.Figure, number: int, groups: Sequence[Group], texts: Sequence[str]) -> None:
    """Write above each bar its name, and where it ends its value."""
    axis = "" if number == 1 else str(number)
    written = [
        {
            "text": words,
            "x": place,
            "xref": f"x{axis} domain",
            "xanchor": side,
            "y": position - BAR / 2,
            "yref": f"y{axis}",
            "yanchor": "bottom",
            "borderpad": 0,
            "align": side,
        }
        for position, (group, text) in enumerate(zip(groups, texts, strict=True))
        for words, place, side in ((f"<b>{group.short}</b>", 0, "left"), (text, 1, "right"))
    ]
    # Plotly makes all annotations anew whenever one is added.
    figure.layout.annotations = (*figure.layout.annotations, *written)


def cut(
    figure: go.Figure, number: int, groups: Sequence[Group], lengths: Sequence[float], below: Sequence[float] = ()
) -> float | None:
    """Cut the bar of the rest where it dwarfs the named ones: where the axis ends then.

    What of the bars is `below` zero is to be drawn to the same scale as the rest of a bar that is cut.
    """
    named = max((length for group, length in zip(groups, lengths, strict=True) if not group.rest), default=0.0)
    longer = [place for place, group in enumerate(groups) if group.rest and lengths[place] > DWARFS * named > 0]
    if not longer:
        return None
    end = named * 1.15
    lowest = max((size * scale for size, scale in zip(below, scales_of(lengths, end), strict=False)), default=0.0)
    figure.update_xaxes(range=[-1.05 * lowest, end], row=number, col=1)
    for place in longer:
        for shift in (0, 7):
            # In the colour of the background, which is the template's.
            figure.add_shape(
                type="line", xsizemode="pixel", xanchor=end * 0.93, x0=shift, x1=shift + 6,
                y0=place + BAR * 0.8, y1=place - BAR * 0.8, row=number, col=1,
            )  # fmt: skip
    return end


def scales_of(lengths: Sequence[float], end: float | None) -> list[float]:
    """How much of each bar is drawn where the axis ends (None: behind all): one that is cut shows its parts all the
    same, in what is left of it.
    """
    return [end / length if end and length > end else 1.0 for length in lengths]


def stack(
    figure: go.Figure,
    number: int,
    key: str,
    name: str,
    style: look.Style,
    lengths: Sequence[float],
    hover: Sequence[str],
) -> None:
    """Draw a part of each bar of a panel; the parts of one key are one entry of the legend, in whichever panel."""
    figure.add_bar(
        orientation="h",
        x=list(lengths),
        y=list(range(len(lengths))),
        width=BAR,
        marker={"color": style.color, "pattern": pattern(style)},
        name=name,
        legendgroup=key,
        showlegend=all(trace.legendgroup != key for trace in figure.data),
        hovertext=list(hover),
        hoverinfo="text",
        row=number,
        col=1,
    )


# Bars -----------------------------------------------------------------------------------------------------------------


class Bars:
    """The bars of one panel and what stands above them."""

    def __init__(self, part: Facet, groups: Sequence[Group], measure: Measure, measures: Measures) -> None:
        self.groups = groups
        self._part, self._measure, self._measures = part, measure, measures
        self._rows = [merged(group.rows, measures) for group in groups]
        self._amounts = [row[measure.name] for row in self._rows]
        self.texts = [f"{text}{share}" for text, share in zip(self._values(), self._shares(), strict=True)]

    def draw(self, figure: go.Figure, number: int, styles: Styles) -> bool:
        """Draw them into a panel; whether one is cut: the axis ends before it does."""
        label(figure, number, self.groups, self.texts)
        lengths = [None if amount is None else float(amount) for amount in self._amounts]
        sure = known_ends(self._rows, self._measure.name)
        present = [*(length for length in lengths if length is not None), *sure]
        flat = not self._measure.additive and self._measure.kind in ("ms", "tokens/s")
        axis = line_axis(self._measure, present) if flat else {}
        if axis.get("type") != "log":
            axis = value_axis(self._measure, max(present, default=0.0), self._part.currency)
        figure.update_xaxes(axis, row=number, col=1)
        for place, (group, length) in enumerate(zip(self.groups, lengths, strict=True)):
            style, hover = group.style(styles), self._hover(place)
            drawing = _mark if axis.get("type") == "log" else _bar
            figure.add_trace(drawing(place, length, style, axis), row=number, col=1)
            figure.data[-1].update(name=group.short, hovertext=[hover], hoverinfo="text", showlegend=False)
            if whisker := whiskers([self._rows[place]], self._measure.name):
                figure.data[-1].update(error_x=whisker)
        for trace in open_ends(self._rows, self._measure.name, range(len(lengths))):
            figure.add_trace(trace, row=number, col=1)
        return cut(figure, number, self.groups, [length or 0.0 for length in lengths]) is not None

    def _values(self) -> list[str]:
        kind = self._measure.kind
        code = wording.label_text(self._part.currency or "")
        unit, texts = wording.column_texts(self._amounts, kind, [code] * len(self._amounts))
        if kind == "money":
            return ["unknown" if amount is None else text if amount or not self._measure.additive else "free"
                    for amount, text in zip(self._amounts, texts, strict=True)]  # fmt: skip
        if kind == "rate":
            return [_rate_text(rate, row, self._measure) for rate, row in zip(self._amounts, self._rows, strict=True)]
        return [f"{text} {unit}".rstrip() for text in texts]

    def _shares(self) -> list[str]:
        summed = self._measure.additive and self._measure.kind != "rate"  # A share is written as its value.
        whole = total(self._part.rows, self._measure.name) if summed else None
        if not whole:
            return ["" for _ in self._amounts]
        shares = ["" if not amount else share_text(float(amount) / float(whole)) for amount in self._amounts]
        widest = max(map(len, shares))
        return [f" · {share.rjust(widest, FIGURE_SPACE)}" if share else "" for share in shares]

    def _hover(self, place: int) -> str:
        row, measure = self._rows[place], self._measure
        code = wording.label_text(self._part.currency or "")
        value = wording.value_text(row[measure.name], measure.kind, code) + self._shares()[place]
        value += interval_words(row, measure, code)
        lines = [f"<b>{wording.hover_text(self.groups[place].label)}</b>", f"{measure.title}: {value}"]
        return "<br>".join(lines + details(row, self._measures, self._part.currency, skip=[measure.name]))


FIGURE_SPACE = "\u2007"
"""As wide as a digit, and not collapsed as markup collapses spaces."""


def share_text(share: float) -> str:
    """A share with one decimal, so that several line up: `12.3%`, `<0.1%`; `100%` is all of it."""
    if share in (0, 1):
        return f"{share:.0%}"
    return "<0.1%" if share < 0.0005 else ">99.9%" if share >= 0.9995 else f"{share:.1%}"


def _rate_text(rate: Any, row: Row, measure: Measure) -> str:
    """A rate, of few calls with their number: `50% of 2 calls`."""
    if rate is None or not of_few(measure, row):
        return wording.percent(rate)
    return f"{wording.percent(rate).replace('.0%', '%')} of {wording.calls(row['calls'])}"


def _bar(place: int, length: float | None, style: look.Style, axis: Any) -> go.Bar:
    # A trace for each bar: Plotly cannot draw bars of several hues and patterns in one.
    marker = {"color": style.color, "pattern": pattern(style)}
    return go.Bar(orientation="h", x=[length], y=[place], width=BAR, marker=marker)


def _mark(place: int, value: float | None, style: look.Style, axis: Any) -> go.Scatter:
    """A mark on a logarithmic axis, where the length of a bar would say nothing."""
    line = {"color": style.color, "width": 1, "dash": "dot"}
    marker = {"color": style.color, "symbol": style.symbol, "size": [11, 0], "opacity": 1, "line": {"width": 0}}
    start = None if value is None else 10 ** axis["range"][0]
    return go.Scatter(x=[value, start], y=[place, place], mode="lines+markers", line=line, marker=marker)
