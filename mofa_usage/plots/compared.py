"""The measures of two periods: a small panel for each, with what was before and what is after, and how sure both are.

Each has its own unit, and so its own axis. Whiskers are intervals; an end that the data cannot say is a triangle.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, MEASURES, Measure, Roles, is_beyond_chance, measure_of_column
from mofa_usage.measures.derived import known_measure
from mofa_usage.plots.axes import line_axis
from mofa_usage.plots.intervals import known_ends, open_ends, whiskers
from mofa_usage.plots.layout import empty, empty_panels, finish, legend_room

__all__ = ["before_and_after", "is_compared"]

COLUMNS = ("measure", "before", "after")
"""What a frame must have; the ends of intervals and the unit are there or are not."""

SIDES = {"before": look.OTHER, "after": look.ACCENT}
"""How both sides are drawn, one above the other."""

PANEL = 98
"""Pixels of a panel: its heading, two marks, and its axis."""

BELOW = 30
"""Those of them below the panel, for its axis."""

_HOW = "usage.explain_change(before, after).beside"
_ENDS = tuple(f"{side}_{end}" for side in ("before", "after", "change") for end in ("low", "high"))


def is_compared(frame: object) -> bool:
    """Whether a frame compares measures of two periods, each in a row of its own."""
    roles: Roles | None = getattr(frame, "roles", None)
    if roles is not None and (roles.question or roles.measures):
        return roles.question == "measures_beside"
    return isinstance(frame, pl.DataFrame) and set(COLUMNS) <= set(frame.columns)


def before_and_after(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """What each measure was before and is after, with the intervals of both, in a panel for each.

    A value after in bold letters changed by more than chance makes it.

    Args:
        frame: `usage.explain_change(before, after).beside`: `measure`, `before` and `after`; with `before_low`,
            `before_high`, `after_low`, `after_high` it shows how sure they are, and `unit` has the currency of money.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: it is no Polars DataFrame, or a column is missing.
    """
    if not isinstance(frame, pl.DataFrame) or not set(COLUMNS) <= set(frame.columns):
        names = ", ".join(getattr(frame, "columns", ())) or "no columns"
        raise UsageError(f"this figure needs {', '.join(COLUMNS)}; the frame has: {names}. Get it by {_HOW}")
    roles: Roles = getattr(frame, "roles", None) or Roles()
    periods = roles.periods or ("Before", "After")
    missing: dict[str, Any] = dict.fromkeys((*_ENDS, "unit"))
    rows = [missing | row for row in frame.to_dicts()]
    drawn = [row for row in rows if row["before"] is not None or row["after"] is not None]
    title = "Before and after"
    if not any(row[side] for row in drawn for side in SIDES):
        return empty(title, theme, "No calls in these periods")
    figure = _panels(len(drawn))
    for number, row in enumerate(drawn, 1):
        _panel(figure, number, row, periods)
    unknown = [_title(row) for row in rows if row not in drawn]
    notes = [
        " → ".join(periods) if roles.periods else None,
        _sure(drawn, "95% interval" if roles.question == "measures_beside" else "interval"),
        "bold: changed by more than chance" if any(map(is_beyond_chance, drawn)) else None,
        f"unknown: {', '.join(unknown)}" if unknown else None,
    ]
    return finish(figure, title, notes, theme, PANEL * len(drawn) + 50 + legend_room(figure))


def _sure(rows: Sequence[Mapping[str, Any]], called: str) -> str | None:
    """What the whiskers are; None where there are none."""
    ends = [[row[f"{side}_{end}"] for end in ("low", "high")] for row in rows for side in SIDES]
    known = [pair for pair in ends if pair != [None, None]]
    is_open = any(None in pair for pair in known)
    return f"whiskers: {called}{', open where calls are too few' if is_open else ''}" if known else None


def _panels(count: int) -> go.Figure:
    """A figure of so many panels, each with room for a heading above its marks, and an axis below."""
    between = BELOW / (PANEL * count - BELOW) if count > 1 else 0
    figure = empty_panels(count, vertical_spacing=between)
    figure.update_yaxes(visible=False, range=[1.7, -1.9], fixedrange=True)
    return figure


def _panel(figure: go.Figure, number: int, row: Mapping[str, Any], periods: Sequence[str]) -> None:
    """Both marks of a measure with their whiskers, and what they say above."""
    of, code = _measure(row), wording.label_text(row["unit"] or "")
    sides = {
        side: {"value": row[side], **{f"value_{end}": row[f"{side}_{end}"] for end in ("low", "high")}}
        for side in SIDES
    }
    for place, (side, values) in enumerate(sides.items()):
        style, period = SIDES[side], periods[place]
        figure.add_trace(
            go.Scatter(
                x=[values["value"]], y=[place], mode="markers", name=wording.label_text(period), legendgroup=side,
                marker={"color": style.color, "size": 11, "symbol": "circle" if side == "before" else "diamond"},
                error_x=whiskers([values], "value", color=style.color) or None, showlegend=number == 1,
                hovertext=[_hover(row, side, of, code, period)], hoverinfo="text", cliponaxis=False,
            ),
            row=number, col=1,
        )  # fmt: skip
        for trace in open_ends([values], "value", [place], style.color):
            trace.text = [f"\u2002{sign}\u2002" for sign in trace.text]  # beside the mark, not below it
            figure.add_trace(trace, row=number, col=1)
    reach = [value for values in sides.values() for value in (values["value"], *known_ends([values], "value"))]
    axis = line_axis(of, reach, row["unit"] if of.kind == "money" else None)
    own = {"title": None, "showgrid": True, "showline": False, "ticks": "", "nticks": 5, "tickangle": 0}
    figure.update_xaxes({**axis, **own}, row=number, col=1)
    texts = ["unknown" if row[side] is None else wording.value_text(row[side], of.kind, code) for side in SIDES]
    texts[1] = texts[1].removeprefix(f"{code} ")  # said by the first one, where the currency has no sign
    is_more = is_beyond_chance({end: row[end] for end in _ENDS})
    said = f"{texts[0]} → {f'<b>{texts[1]}</b>' if is_more else texts[1]}"
    suffix = "" if number == 1 else str(number)
    for words, x, align in ((f"<b>{_title(row)}</b>", 0, "left"), (said, 1, "right")):
        figure.add_annotation(
            text=words, x=x, xref=f"x{suffix} domain", xanchor=align, y=-0.8, yref=f"y{suffix}", yanchor="bottom",
            borderpad=0, align=align,
        )  # fmt: skip


def _measure(row: Mapping[str, Any]) -> Measure:
    """The measure of a row; of one that nobody knows a number is a number."""
    name, _ = measure_of_column(row["measure"]) or (row["measure"], None)
    return known_measure(name) or ANSWERS.get(name) or MEASURES["calls"]


def _title(row: Mapping[str, Any]) -> str:
    found = measure_of_column(row["measure"])
    if found is None:
        return wording.label_text(row["measure"])
    currency = f" ({wording.label_text(found[1])})" if found[1] else ""
    return f"{_measure(row).title}{currency}"


def _hover(row: Mapping[str, Any], side: str, of: Measure, code: str, period: str) -> str:
    """The value with its interval, and the change."""
    between = wording.interval_text(row[f"{side}_low"], row[f"{side}_high"], of.kind, code)
    value = wording.value_text(row[side], of.kind, code)
    return "<br>".join(
        [f"<b>{_title(row)}</b>", f"{wording.label_text(period)}: {value}{f' ({between})' if between else ''}"]
    )
