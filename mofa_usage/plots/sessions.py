"""Conversations: what each turn costs beside how long its prompt is, and how many sessions cost how much."""

from collections.abc import Sequence

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import MEASURES
from mofa_usage.plots.answers import Answer, Facet, Row, details, facets, known, need, read, total
from mofa_usage.plots.axes import value_axis
from mofa_usage.plots.layout import empty, empty_panels, finish

PANEL = 190
"""Pixels of a panel."""

REACHED = 0.01
"""Turns that fewer of the sessions reach are not drawn: their means jump."""

MOST = 100
"""So many turns are drawn at most."""

_ROOM = 44
"""Characters that stand beside each other below an axis at 360 pixels."""

_HOW = "usage.sessions()"


def turns(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """What a turn costs on average, in a panel for each currency, and below the prompt tokens that it sends.

    Args:
        frame: `usage.sessions().turns`: `turn`, `sessions`, `turn_cost_mean`, `turn_prompt_mean`, `currency`.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    need(answer, ["turn", "sessions", "turn_cost_mean", "turn_prompt_mean"], f"{_HOW}.turns")
    title = "Cost and prompt by turn"
    rows = sorted(answer.rows, key=lambda row: row["turn"])
    if not rows:
        return empty(title, theme, "No sessions in this period")
    most = max(row["sessions"] for row in rows)
    shown = {row["turn"] for row in rows[:MOST] if row["sessions"] >= most * REACHED}
    cost, prompt = answer.measures["turn_cost_mean"], answer.measures["turn_prompt_mean"]
    priced = [part for part in facets(answer, cost) if known([part], cost.name)]
    parts = [(cost, part) for part in priced] + [(prompt, Facet(None, rows))] * known([Facet(None, rows)], prompt.name)
    if not parts:
        return empty(title, theme, "Neither prices nor tokens are known")
    figure = empty_panels(len(parts), shared_xaxes=True, vertical_spacing=0.18 / len(parts))
    for number, (measure, part) in enumerate(parts, 1):
        drawn = sorted((row for row in part.rows if row["turn"] in shown), key=lambda row: row["turn"])
        values = [None if row[measure.name] is None else float(row[measure.name]) for row in drawn]
        figure.add_bar(
            x=[row["turn"] for row in drawn],
            y=values,
            marker={"color": look.PALETTE[0] if measure is cost else look.PALETTE[2]},
            hovertext=[_hover(answer, row, part.currency) for row in drawn],
            hoverinfo="text",
            showlegend=False,
            row=number,
            col=1,
        )
        largest = max((value for value in values if value is not None), default=0.0)
        figure.update_yaxes(value_axis(measure, largest, part.currency), row=number, col=1)
    last = max(shown)
    ticks = {"dtick": 1} if last <= 8 else {"nticks": 8}
    figure.update_xaxes(tickformat="d", range=[0.4, max(last, 5) + 0.6], **ticks)
    figure.update_xaxes(title={"text": "Turn of the session"}, row=len(parts), col=1)
    left = f"turns 1 to {max(shown):,} of {rows[-1]['turn']:,}" if len(shown) < len(rows) else None
    notes = [f"{most:,} session{'' if most == 1 else 's'}, means over those that reach the turn", left]
    return finish(figure, title, notes, theme, 90 + PANEL * len(parts))


def _hover(answer: Answer, row: Row, currency: str | None) -> str:
    return "<br>".join([f"<b>Turn {row['turn']:,}</b>", *details(row, answer.measures, currency)])


def session_costs(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """How many sessions cost how much: a panel for each currency; each bin is about twice as dear as the one before.

    Args:
        frame: `usage.sessions().costs`: `currency`, `cost_from`, `cost_to`, `sessions`.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    answer = read(frame)
    need(answer, ["currency", "cost_from", "cost_to", "sessions"], f"{_HOW}.costs")
    title = "Cost of sessions"
    codes: dict[str, list[Row]] = {}
    for row in answer.rows:
        codes.setdefault(str(row["currency"]), []).append(row)
    parts = sorted(codes.items(), key=lambda part: (-(total(part[1], "sessions") or 0), part[0]))
    if not parts:
        return empty(title, theme, "No session has a price" if frame.width else None)
    height = PANEL + 60
    between = 85 / (height * len(parts)) if len(parts) > 1 else 0
    figure = empty_panels(len(parts), vertical_spacing=between)
    notes: list[str | None] = []
    for number, (code, rows) in enumerate(parts, 1):
        label = wording.label_text(code)
        ordered = sorted(rows, key=lambda row: (row["cost_from"] is not None, row["cost_from"] or 0))
        ranges = [_range(row, label) for row in ordered]
        figure.add_bar(
            x=list(range(len(ordered))),
            y=[row["sessions"] for row in ordered],
            width=0.94,
            marker={"color": look.PALETTE[0]},
            hovertext=[
                f"<b>{text}</b><br>Sessions: {row['sessions']:,}" for text, row in zip(ranges, ordered, strict=True)
            ],
            hoverinfo="text",
            showlegend=False,
            row=number,
            col=1,
        )
        largest = max(row["sessions"] for row in ordered)
        figure.update_yaxes(value_axis(MEASURES["sessions"], largest, title="Sessions"), row=number, col=1)
        figure.update_xaxes(
            _edges(ordered, label) | {"title": {"text": f"Cost of a session ({label})"}}, row=number, col=1
        )
        notes.append(f"{total(ordered, 'sessions'):,} sessions in {label}")
    return finish(figure, title, notes, theme, 70 + height * len(parts))


def _range(row: Row, code: str) -> str:
    if row["cost_from"] is None:
        return "nothing, or less"
    low = wording.money(row["cost_from"], code)
    return f"{low} or more" if row["cost_to"] is None else f"{low} to less than {wording.money(row['cost_to'], code)}"


def _edges(rows: Sequence[Row], code: str) -> dict[str, object]:
    """The axis: amounts where one bin ends and the next begins, as many as have room."""
    texts = ["" if row["cost_from"] is None else wording.money(row["cost_from"], code) for row in rows]
    most = max(3, min(6, _ROOM // max(map(len, texts))))
    step = max(1, -(-len(rows) // most))
    places = range(0, len(rows), step)
    return {
        "tickvals": [place - 0.5 for place in places],
        "ticktext": [texts[place] for place in places],
        "range": [-0.7, max(len(rows), 3) - 0.3],
        "tickangle": 0,
    }
