"""The percentiles of each group on one line: how far most calls reach, and how far the slowest."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.plots.answers import (
    Facet,
    Group,
    Measures,
    Row,
    Styles,
    details,
    facets,
    grouped,
    heaviest,
    hint,
    read,
    styles_for,
    weight_of,
)
from mofa_usage.plots.axes import logarithmic, value_axis
from mofa_usage.plots.intervals import known_ends, open_ends, whiskers
from mofa_usage.plots.layout import by_text, empty, finish, left_out, legend_room, named
from mofa_usage.plots.percentiles import Family, families
from mofa_usage.plots.rows import label, largest_first, name_rows, of_top, panels, sure_of
from mofa_usage.plots.timeline import question


def percentiles_by(
    frame: pl.DataFrame,
    *prefixes: str,
    dimension: str | None = None,
    top: int = 12,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """The distribution of durations or a rate: for each group its percentiles on one line, the slowest first.

    A thick bar reaches from the lowest percentile of the frame to p95 (where most calls are), a thin line on to those
    above; marks say which they are. The axis is logarithmic when the largest value is more than thirty times the
    smallest.

    Args:
        frame: Any dimension and `<prefix>_p50`, `_p90`, `_p95`, `_p99` or some of them, such as
            `usage.latency(by=["model_name"])`.
        prefixes: "latency", "ttft" or "token_rate"; a panel for each, with the same groups in the same order.
        dimension: By default all dimensions of the frame; without any there is one line for all calls.
        top: So many groups are drawn; the figure says how many it leaves out.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    how = f"usage.{question(prefixes[0])}(by=['{dimension or 'model_name'}'])"
    found = families(columns.measures)
    for prefix in prefixes:
        if prefix not in found:
            raise UsageError(hint(columns, f"{prefix}_p50", how))
    asked = [found[prefix] for prefix in prefixes]
    dimensions = [columns.dimension(dimension, how)] if dimension else list(columns.categories)
    drawn = [family for family in asked if any(_has_value(row, family) for row in columns.rows)]
    nouns = [family.noun for family in drawn or asked]
    title = " and ".join([nouns[0], *(noun[:1].lower() + noun[1:] for noun in nouns[1:])]) + by_text(dimensions)
    if not drawn:
        return empty(title, theme, f"{asked[0].noun}: unknown for every call" if columns.rows else None)
    leading = next(iter(drawn[0].measures.values()))
    part = facets(columns, leading)[0]
    groups = grouped(part.rows, dimensions, weight_of(leading, columns.measures))
    valued = [group for group in groups if any(_has_value(group.rows[0], family) for family in drawn)]
    shown = largest_first(heaviest(valued, top), leading)
    palette = styles or styles_for([part], dimensions, leading, columns.measures)
    figure, height = panels([len(shown) for _ in drawn])
    texts = [_texts([group.rows[0] for group in shown], family) for family in drawn]
    name_rows([shown for _ in drawn], texts)
    marks = _marks([word for family in drawn for word in family.measures])
    for number, family in enumerate(drawn, 1):
        label(figure, number, shown, texts[number - 1])
        _ranges(figure, number, shown, family, marks, columns.measures, palette)
    for word, symbol in marks.items():  # A key in grey: the colours stand for the groups.
        key = _marker(symbol, look.OTHER.color)
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=key, name=word, legendgroup=word)
    unknown = [family.noun for family in asked if family not in drawn]
    names = [family.measures[word].name for family in drawn for word in _told(family)]
    notes = [
        f"{of_top(top, valued)} by calls" if len(shown) < len(valued) else None,
        f"{len(groups) - len(valued):,} without a value" if len(groups) > len(valued) else None,
        sure_of(columns, [Facet(None, [group.rows[0] for group in shown])], names),
        f"unknown for every call: {named(unknown)}" if unknown else None,
        left_out(columns.measures, (measure.name for family in asked for measure in family.measures.values())),
    ]
    return finish(figure, title, notes, theme, height + legend_room(figure))


def _has_value(row: Row, family: Family) -> bool:
    return any(row[measure.name] is not None for measure in family.measures.values())


MOST = 95
"""Up to this percentile reaches the thick bar."""

BELOW = 0.25
"""So far below the line of a group, in rows, are the intervals of its percentiles."""

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
    number: int,
    groups: Sequence[Group],
    family: Family,
    marks: Mapping[str, str],
    measures: Measures,
    styles: Styles,
) -> None:
    """Draw the percentiles of a quantity into a panel, and set its axis."""
    panel = {"row": number, "col": 1}
    for position, group in enumerate(groups):
        found = ((word, group.rows[0][family.measures[word].name]) for word in family.percentiles)
        ends = [(word, float(value)) for word, value in found if value is not None]
        body = [(word, value) for word, value in ends if float(word[1:]) <= MOST]
        color = group.style(styles).color
        for points, width, opacity in ((ends, 2, 0.9), (body, 11, 0.4)):
            if len(points) > 1:
                line = {"color": color, "width": width}
                span = {"x": [points[0][1], points[-1][1]], "y": [position, position]}
                figure.add_scatter(
                    **span, mode="lines", line=line, opacity=opacity, hoverinfo="skip", showlegend=False, **panel
                )
        _intervals(figure, panel, group, position + BELOW, family, color)
    for word, measure in family.measures.items():
        hover = [
            "<br>".join([f"<b>{wording.hover_text(group.label)}</b>", *details(group.rows[0], measures, None)])
            for group in groups
        ]
        figure.add_scatter(
            x=[group.rows[0][measure.name] for group in groups],
            y=list(range(len(groups))),
            customdata=[group.name for group in groups],
            mode="markers",
            marker=_marker(marks[word], [group.style(styles).color for group in groups]),
            hovertext=hover,
            hoverinfo="text",
            legendgroup=word,
            name=word,
            showlegend=False,
            **panel,
        )
    figure.update_xaxes(_axis(groups, family), **panel)
    if any(known_ends(group.rows, family.measures[word].name) for group in groups for word in _told(family)):
        figure.update_yaxes(range=[len(groups) - 0.63, -0.7], **panel)  # with room below the last line


def _intervals(
    figure: go.Figure, panel: Mapping[str, int], group: Group, place: float, family: Family, color: str
) -> None:
    """Draw below the line of a group the intervals of those percentiles that are written; more would overlap."""
    row = group.rows[0]
    for measure in (family.measures[word] for word in _told(family)):
        whisker = whiskers([row], measure.name, color=color)
        if whisker and row[measure.name] is not None:
            figure.add_scatter(
                x=[row[measure.name]], y=[place], mode="markers", marker={"opacity": 0}, error_x=whisker,
                hoverinfo="skip", showlegend=False, **panel,
            )  # fmt: skip
        for trace in open_ends([row], measure.name, [place], color):
            figure.add_trace(trace, **panel)


def _axis(groups: Sequence[Group], family: Family) -> dict[str, Any]:
    values = (group.rows[0][measure.name] for group in groups for measure in family.measures.values())
    present = [float(value) for value in values if value is not None]
    told = [family.measures[word].name for word in _told(family)]
    present += (end for group in groups for name in told for end in known_ends(group.rows, name))
    first = next(iter(family.measures.values()))
    axis = value_axis(first, max(present, default=0.0), title=family.noun)
    if present and min(present) > 0 and max(present) > 30 * min(present):
        axis["title"]["text"] += ", log scale"
        axis.update(logarithmic(first, min(present), max(present)))
    return axis


def _marks(words: Iterable[str]) -> dict[str, str]:
    """A mark for each percentile: those that everybody asks for have theirs, others take what is left."""
    free = (
        symbol for symbol in ("circle-open", "diamond-open", "square-open", "triangle-up", "triangle-down", "cross")
    )
    return {word: SYMBOLS.get(word) or next(free, "circle-open") for word in dict.fromkeys(words)}


def _marker(symbol: str, color: Any) -> dict[str, Any]:
    return {"symbol": symbol, "size": 9, "color": color, "line": {"width": 2 if "open" in symbol else 0}}


def _told(family: Family) -> list[str]:
    """Two of the percentiles, the usual ones if they are there: they are written, and have whiskers."""
    words = list(family.measures)
    wanted = ("p50", "overall") if family.prefix == "token_rate" else ("p50", "p95")
    return [word for word in wanted if word in words] or [*words[:1], *words[1:][-1:]]


def _texts(rows: Sequence[Row], family: Family) -> list[str]:
    """Two of the percentiles of each row, written alike."""
    columns = []
    for word in _told(family):
        measure = family.measures[word]
        unit, texts = wording.column_texts([row[measure.name] for row in rows], measure.kind)
        unit = "" if family.prefix == "token_rate" else unit  # which the axis says
        columns.append([f"{word} {text} {unit}".rstrip() for text in texts])
    written = [" · ".join(texts) for texts in zip(*columns, strict=True)]
    return [text if _has_value(row, family) else "unknown" for row, text in zip(rows, written, strict=True)]
