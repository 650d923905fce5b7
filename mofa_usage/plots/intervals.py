"""How sure a value is, as figures show it: whiskers at bars and marks, bands along lines, words in hover texts.

The rows of an answer with intervals have both ends under the names of their measures. An end that the data cannot say
is no end of a whisker: a triangle points on from the value instead. A band is there where both ends are known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import Measure, low_and_high

__all__ = ["band", "ends", "interval_words", "is_unsure", "known_ends", "open_ends", "whiskers"]

Row = Mapping[str, Any]

_BAND, _EDGE = 0.14, 0.4
"""How much a band covers of what is behind it, and its edges."""


def ends(row: Row, name: str) -> tuple[float | None, float | None]:
    """The ends of the interval of a measure in a row; None where one is not known, or there is no interval."""
    low, high = (row.get(end) for end in low_and_high(name))
    return None if low is None else float(low), None if high is None else float(high)


def known_ends(rows: Sequence[Row], name: str) -> list[float]:
    """All ends that are known, for an axis that shows them."""
    return [end for row in rows for end in ends(row, name) if end is not None]


def is_unsure(row: Row, name: str) -> bool:
    """Whether the measure has a value in a row, and an interval of which an end is not known."""
    return low_and_high(name)[0] in row and row[name] is not None and None in ends(row, name)


def interval_words(row: Row, measure: Measure, currency: str) -> str:
    """The interval in brackets, behind the value in a hover text."""
    text = wording.interval_text(*ends(row, measure.name), measure.kind, currency)
    return f" ({text})" if text else ""


def whiskers(rows: Sequence[Row], name: str, **look_of_them: Any) -> dict[str, Any]:
    """Plotly's error bars of the values of a measure, as far as their ends are known; empty where none is."""
    if not known_ends(rows, name):
        return {}
    found: dict[str, list[float]] = {"array": [], "arrayminus": []}
    for row in rows:
        low, high = ends(row, name)
        value = float(row[name]) if row[name] is not None else 0.0
        found["array"].append(0.0 if high is None else high - value)
        found["arrayminus"].append(0.0 if low is None else value - low)
    return {"type": "data", "symmetric": False, "thickness": 1.5, "width": 4, **found, **look_of_them}


def open_ends(rows: Sequence[Row], name: str, places: Sequence[float], color: str | None = None) -> list[go.Scatter]:
    """Triangles that point on from values of which one end is known and the other is not.

    Without a colour they have that of the text.
    """
    traces = []
    for is_upper, sign, side in ((False, "◂", "middle left"), (True, "▸", "middle right")):
        found = [
            (float(row[name]), place)
            for row, place in zip(rows, places, strict=True)
            if row[name] is not None and [end is None for end in ends(row, name)] == [not is_upper, is_upper]
        ]
        if found:
            x, y = zip(*found, strict=True)
            font = {"size": 15, **({"color": color} if color else {})}
            traces.append(
                go.Scatter(
                    x=x, y=y, mode="text", text=[sign] * len(x), textposition=side, textfont=font, cliponaxis=False,
                    hoverinfo="skip", showlegend=False,
                )
            )  # fmt: skip
    return traces


def band(places: Sequence[Any], rows: Sequence[Row | None], name: str, style: look.Style) -> go.Scatter | None:
    """A band along a line, of which a row is None where it breaks; None where both ends of no value are known."""
    x: list[Any] = []
    y: list[float | None] = []
    run: list[tuple[Any, float, float]] = []
    for place, row in [*zip(places, rows, strict=True), (None, None)]:
        low, high = (None, None) if row is None else ends(row, name)
        if low is not None and high is not None:
            run.append((place, low, high))
        elif run:
            # There and back again: a shape of its own for each run without a break.
            x += [*(at for at, _, _ in run), *(at for at, _, _ in reversed(run)), run[0][0], None]
            y += [*(below for _, below, _ in run), *(above for _, _, above in reversed(run)), run[0][1], None]
            run = []
    if not x:
        return None
    red, green, blue = (int(style.color[at : at + 2], 16) for at in (1, 3, 5))
    fill, edge = (f"rgba({red},{green},{blue},{opacity})" for opacity in (_BAND, _EDGE))
    # Of a lone value, whose shape has no width, the edge is what is seen.
    return go.Scatter(
        x=x, y=y, mode="lines", line={"color": edge, "width": 1}, fill="toself", fillcolor=fill, hoverinfo="skip",
    )  # fmt: skip
