"""What all figures share: titles, notes, the empty figure, room for the legend."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import Dimension
from mofa_usage.plots.answers import Measures
from mofa_usage.plots.picture import Picture

TITLE_WIDTH = 40
"""Characters of a title that fit beside each other at a width of 390 pixels."""

LONGEST_NOTE = 58
"""Characters of a line of a subtitle at a width of 390 pixels."""

SUBTITLE_WIDTH = 50
"""Characters that fit beside each other at a width of 360 pixels."""


def empty_panels(rows: int, **options: Any) -> Picture:
    """An empty figure of panels above each other; `options` are those of Plotly's `make_subplots`."""
    figure: Picture = make_subplots(figure=Picture(), rows=rows, cols=1, **options)
    return figure


def finish(
    figure: Picture, title: str, notes: Sequence[str | None], theme: look.Theme | None, height: float
) -> Picture:
    """Give a figure its title, the notes as lines of a subtitle, its template and its height in pixels."""
    lines: list[str] = []
    wrapped = (line for note in notes if note for line in textwrap.wrap(note, LONGEST_NOTE))
    for note in wrapped:
        if lines and len(lines[-1]) + len(note) + 3 <= SUBTITLE_WIDTH:
            lines[-1] += f" · {note}"
        else:
            lines.append(note)
    if len(lines) == 1:  # Plotly sets a lone line lower than the first of two.
        lines.append("\u200b")
    # Markup counts for more than is seen of it, which makes a line shorter at most.
    written = textwrap.wrap(title, TITLE_WIDTH, break_long_words=False, break_on_hyphens=False)
    height += 20 * (len(written) - 1)
    height_of_lines = 17 * sum(line != "\u200b" for line in lines)
    figure.update_layout(
        template=look.template(theme),
        # Plotly sets the first of several lines higher than a lone one.
        title={
            "text": "<br>".join(written),
            "subtitle": {"text": "<br>".join(lines)},
            **({"pad": {"l": 12, "t": 14 + 12 * (len(written) - 1)}} if len(written) > 1 else {}),
        },
        margin_t=20 + 20 * len(written) + height_of_lines + (8 if lines else 0),
        height=round(height + height_of_lines),
    )
    return figure


def empty(title: str, theme: look.Theme | None, why: str | None = None) -> go.Figure:
    """A figure that says that there is nothing to draw, and why."""
    figure = Picture()
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=why or "No calls in this period", x=0.5, y=0.5, xref="paper", yref="paper", font_size=14)
    return finish(figure, title, [], theme, 220)


def named(titles: Sequence[str], most: int = 5) -> str:
    """Several titles in a note; of many the first ones, and how many more there are."""
    more = f" and {len(titles) - most:,} more" if len(titles) > most else ""
    return ", ".join(titles[:most]) + more


def left_out(measures: Measures, drawn: Iterable[str]) -> str | None:
    """Which measures of a frame have no place in its figure, as a note; hover texts have them."""
    said = set(drawn)
    if "cost" in said and {"calls", "priced_calls"} <= measures.keys():
        said |= {"priced_calls", "coverage"}  # of which another note tells
    titles = [measure.title for name, measure in measures.items() if name not in said]
    if not titles:
        return None
    notes = [f"not drawn: {named(titles, most)}" for most in range(5, 0, -1)]
    return next((note for note in notes if len(note) <= LONGEST_NOTE), notes[-1])


def by_text(dimensions: Iterable[Dimension]) -> str:
    """`" by model"` for a title; empty without dimensions. Anybody may have written the name of a label or column."""
    names = [wording.label_text(entry.title) for entry in dimensions]
    return f" by {' and '.join(name if name.isupper() else name.lower() for name in names)}" if names else ""


def legend_room(figure: go.Figure) -> int:
    """Pixels for a legend below a figure 360 pixels wide, where two entries share a line if they are short."""
    names = [re.sub("&[a-z]+;", "&", trace.name or "") for trace in figure.data if trace.showlegend is not False]
    together = 2 if max(map(len, names), default=0) <= 13 else 1
    return 20 * math.ceil(len(names) / together) if len(names) > 1 else 0
