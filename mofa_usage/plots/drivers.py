"""Slices of calls as a ranked list of bars: what each explains of a change, or what it has of the slow calls."""

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import MISSING_MARK
from mofa_usage.plots.answers import Answer, Group, Row, details, need, read
from mofa_usage.plots.layout import empty, finish
from mofa_usage.plots.rows import BAR, label, name_rows, panels, share_text

_SIDE = 24
"""Letters of each name of a pair at most, so that both are seen; hover texts have them in full."""

_AGAINST = look.Style("#D55E00", pattern="/")
"""How what works against the change is drawn."""


def drivers_of(frame: pl.DataFrame, *, top: int = 12, theme: look.Theme | None = None) -> go.Figure:
    """What slices explain of a change, in the order of the frame; those that work against it to the left.

    Args:
        frame: `usage.drivers("cost", before, after)`: dimensions, of which null is any value, and `explained`.
        top: So many slices are drawn.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    need(answer, ["explained"], 'usage.drivers("cost", before, after)')
    changed = next((entry.title for name, entry in answer.measures.items() if name.endswith("_change")), "")
    title = f"What explains the {wording.label_text(changed[:1].lower() + changed[1:]) or 'change'}"
    rows = answer.rows[:top]
    if not rows:
        return empty(title, theme, "No slice stands out")
    shares = [row["explained"] for row in rows]
    texts = [f"{_share(row['explained'])}{_calls(row, 'calls_after', 'calls_before')}" for row in rows]
    figure, groups, height = _listed(answer, rows, texts)
    for place, (group, share) in enumerate(zip(groups, shares, strict=True)):
        style = _AGAINST if (share or 0) < 0 else look.ACCENT
        _bar(figure, place, share, style, _hover(answer, group, ["explained"], _share(share)))
    low, high = min(0.0, *(share or 0.0 for share in shares)), max(0.0, *(share or 0.0 for share in shares))
    figure.update_xaxes(title_text="Share of the change", tickformat=".3~%", range=_range(low, high))
    notes = ["slices overlap, so shares do not add up" if len(rows) > 1 else None]
    notes += [f"top {top} of {len(answer.rows):,}" if len(answer.rows) > len(rows) else None]
    notes += ["to the left: works against the change" if low < 0 else None]
    return finish(figure, title, notes, theme, height)


def slow_drivers_of(frame: pl.DataFrame, *, top: int = 12, theme: look.Theme | None = None) -> go.Figure:
    """What part of the slow calls slices have, and beside it, as a mark, what part of all calls.

    Args:
        frame: `usage.slow_drivers()`: dimensions, of which null is any value, `slow_share` and `call_share`.
        top: So many slices are drawn.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    need(answer, ["slow_share", "call_share"], "usage.slow_drivers()")
    rows, title = answer.rows[:top], "Where the slowest calls are"
    if not rows:
        return empty(title, theme, "No slice stands out")
    texts = [f"{_share(row['slow_share'])}{_calls(row, 'slow_calls', what='slow call')}" for row in rows]
    figure, groups, height = _listed(answer, rows, texts)
    for place, (group, row) in enumerate(zip(groups, rows, strict=True)):
        _bar(figure, place, row["slow_share"], look.ACCENT, _hover(answer, group, ["slow_share"], texts[place]))
    marks = {"symbol": "line-ns", "size": 12, "line": {"width": 3, "color": look.OTHER.color}}
    figure.add_scatter(
        x=[row["call_share"] for row in rows], y=list(range(len(rows))), mode="markers", marker=marks,
        hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    high = max(max(row["slow_share"] or 0.0, row["call_share"] or 0.0) for row in rows)
    figure.update_xaxes(title_text="Share of the slow calls", tickformat=".3~%", range=_range(0.0, high))
    notes = [
        "mark: the share of all calls",
        f"top {top} of {len(answer.rows):,}" if len(answer.rows) > len(rows) else None,
    ]
    return finish(figure, title, notes, theme, height)


def _listed(answer: Answer, rows: Sequence[Row], texts: Sequence[str]) -> tuple[go.Figure, list[Group], int]:
    """A figure of one row for each slice, with its name and text."""
    groups = [Group(None, _slice(answer, row), [row]) for row in rows]
    name_rows([groups], [texts])
    figure, height = panels([len(groups)])
    label(figure, 1, groups, texts)
    return figure, groups, height


def _slice(answer: Answer, row: Row) -> str:
    """The values that say which slice a row is: `gpt-4o in search`."""
    known = [name for name in answer.dimensions if row[name] is not None and name != "currency"]
    values = [_value(answer, row, name) for name in known]
    return " in ".join(wording.shorten(value, _SIDE) if len(values) > 1 else value for value in values) or "all calls"


def _value(answer: Answer, row: Row, name: str) -> str:
    entry = answer.dimensions[name]
    if row[name] == wording.NONE and row.get(MISSING_MARK, True):
        return f"no {entry.title}"
    return wording.dimension_text(row[name], entry)


def _hover(answer: Answer, group: Group, skip: Sequence[str], said: str) -> str:
    (row,) = group.rows
    lines = [f"<b>{wording.hover_text(group.label)}</b>"]
    for name, entry in answer.dimensions.items():
        if row[name] is not None and name != "currency":
            lines.append(f"{wording.label_text(entry.title)}: {wording.hover_text(str(row[name]))}")
    currency = row.get("currency")
    return "<br>".join([*lines, said, *details(row, answer.measures, currency, skip=skip)])


def _bar(figure: go.Figure, place: int, share: float | None, style: look.Style, hover: str) -> None:
    marker = {"color": style.color, "pattern": {"shape": style.pattern}}
    figure.add_bar(
        orientation="h", x=[share], y=[place], width=BAR, marker=marker, hovertext=[hover], hoverinfo="text",
        showlegend=False,
    )  # fmt: skip


def _share(share: float | None) -> str:
    if share is not None and abs(share) > 1:
        return f"{share:.1%}"
    return "unknown" if share is None else f"-{share_text(-share)}" if share < 0 else share_text(share)


def _calls(row: Row, *names: str, what: str = "call") -> str:
    """How many calls are behind it, as far as the frame says it."""
    found = [row[name] for name in names if row.get(name) is not None]
    number = max(found, default=None)
    return "" if number is None else f" · {number:,} {what}{'' if number == 1 else 's'}"


def _range(low: float, high: float) -> list[float]:
    room = 0.04 * (high - low or 1.0)
    return [low - room if low < 0 else 0.0, high + room]
