"""A bill against what was recorded: both sides per day, and the difference below."""

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import ANSWERS, Measure
from mofa_usage.plots.answers import Answer, Facet, Group, Row, facets, known, need, read, total
from mofa_usage.plots.axes import bucket
from mofa_usage.plots.layout import empty, finish, legend_room
from mofa_usage.plots.panels import Panels

__all__ = ["billed_and_recorded"]

_TITLE = "Billed and recorded per day"
_HOW = "usage.reconcile(bill).by_day"
_BILLED = look.Style("#9AA1AC")
_DIFFERENCE = look.Style("#D55E00")


def billed_and_recorded(frame: pl.DataFrame, *, theme: look.Theme | None = None) -> go.Figure:
    """What was billed per day as bars, what was recorded as a line upon them, and the difference in a panel below.

    Money where there is some, in a pair of panels for each currency, else tokens. Providers are taken together.

    Args:
        frame: `usage.reconcile(bill).by_day`: `day`, `cost_billed` and `cost_recorded` with a currency, or
            `tokens_billed` and `tokens_recorded`.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    need(columns, ["day"], _HOW)
    what = "cost" if "cost_billed" in columns.measures else "tokens"
    need(columns, [f"{what}_billed", f"{what}_recorded"], _HOW)
    billed = columns.measure(f"{what}_billed")
    parts = [part for part in facets(columns, billed) if known([part], billed.name)]
    if not parts:
        return empty(_TITLE, theme, "No day of the bill could be compared")
    panels = Panels(2 * len(parts), bucket(columns, columns.dimension("day", _HOW)), columns, {})
    notes = [note for number, part in enumerate(parts) for note in _pair(panels, 2 * number + 1, part, what, columns)]
    figure = panels.dress()
    return finish(figure, _TITLE, [*notes, *panels.notes], theme, 110 + 330 * len(parts) + legend_room(figure))


def _pair(panels: Panels, panel: int, part: Facet, what: str, columns: Answer) -> Iterable[str]:
    """Both sides in a panel, the difference in the next; how much they differ."""
    billed, recorded = columns.measure(f"{what}_billed"), columns.measure(f"{what}_recorded")
    rows = _by_day(part.rows, (billed, recorded))
    both = Facet(part.currency, rows)
    title = "Cost" if what == "cost" else "Tokens"
    panels.stack(
        panel, both, [Group("billed", "billed", rows, short="billed")], billed, styles={"billed": _BILLED}, title=title
    )
    line = Group("recorded", "recorded", rows, short="recorded")
    panels.line(panel, line, recorded, style=look.ACCENT, currency=part.currency)
    left = ANSWERS[f"{what}_difference"]
    rest = [{"day": row["day"], left.name: _less(row[billed.name], row[recorded.name])} for row in rows]
    group = Group("difference", "difference", rest, short="difference")
    panels.stack(
        panel + 1,
        Facet(part.currency, rest),
        [group],
        left,
        styles={"difference": _DIFFERENCE},
        title="Difference",
    )
    code = part.currency or "USD"
    texts = [
        wording.value_text(total(rows, one.name), one.kind, wording.label_text(code)) for one in (billed, recorded)
    ]
    yield f"billed {texts[0]}, recorded {texts[1]}"


def _less(billed: object, recorded: object) -> object:
    return None if billed is None or recorded is None else billed - recorded  # type: ignore[operator]


def _by_day(rows: Sequence[Row], measures: Sequence[Measure]) -> list[Row]:
    """One row for each day."""
    days: dict[object, list[Row]] = {}
    for row in rows:
        days.setdefault(row["day"], []).append(row)
    return [
        {"day": day, **{one.name: total(found, one.name) for one in measures}}
        for day, found in sorted(days.items(), key=lambda entry: str(entry[0]))
    ]
