"""Small tables that stand under the figures of a section: what else changed, and the dearest conversations."""

from collections.abc import Mapping
from typing import Any

from mofa_usage import wording
from mofa_usage.analysis import Breakdown
from mofa_usage.measures import Measure, measure, measure_of_column
from mofa_usage.report.headlines import trend
from mofa_usage.report.period import moment
from mofa_usage.report.tables import Cell, Table

_RANGES = "In brackets: what chance makes of the number in 19 of 20 cases, if calls do not depend on each other."


def compared(beside: Breakdown) -> Table | None:
    """The measures of the days before and of the last days with their change; None where no call tells any."""
    rows = [row for row in beside.to_dicts() if row["before"] is not None or row["after"] is not None]
    if not rows:
        return None
    has_ranges = any(row[f"{side}_low"] is not None for row in rows for side in ("before", "after", "change"))
    note = _RANGES if has_ranges else ""
    cells = [[Cell(text) for text in _compared(row)] for row in rows]
    return Table("compared", "What else changed", note, ["Measure", *beside.roles.periods, "Change"], cells)


def _compared(row: Mapping[str, Any]) -> list[str]:
    """What a measure is called, what it was before and after, and how it changed."""
    name, currency = measure_of_column(row["measure"]) or (row["measure"], None)
    of = measure(name)
    title = of.title if currency is None else f"{of.title} ({currency})"
    return [title, _with_range(row, "before", of), _with_range(row, "after", of), _change(row, of)]


def _with_range(row: Mapping[str, Any], side: str, of: Measure) -> str:
    """`1.21 s (1.15 s to 1.30 s)`."""
    value, low, high = (row[f"{side}{end}"] for end in ("", "_low", "_high"))
    text, unit = wording.value_text(value, of.kind, row["unit"]), row["unit"] or ""
    between = wording.interval_text(low, high, of.kind, unit)
    return f"{text} ({between})" if between else text


def _change(row: Mapping[str, Any], of: Measure) -> str:
    """`▼ 0.4 points (-1.2 to +0.4)`: the range is that of the change, which rates have."""
    text, _ = trend(row["after"], row["before"], of.kind)
    ends = [f"{row[end] * 100:+.2g}" for end in ("change_low", "change_high") if row[end] is not None]
    return f"{text} ({' to '.join(ends)})" if ends else text


def dearest(sessions: Breakdown) -> Table | None:
    """The dearest conversations; None where none has a price."""
    costs = {column: entry for column, entry in sessions.roles.measures.items() if entry.measure.name == "cost"}
    rows = [row for row in sessions.to_dicts() if any(row[column] for column in costs)]
    if not rows:
        return None
    heads = [f"Cost ({entry.currency})" if entry.currency else "Cost" for entry in costs.values()]
    codes = {column: entry.currency or next(iter(sessions.currencies), "USD") for column, entry in costs.items()}
    cells = [
        [
            Cell(row["chat_session_id"]),
            *(Cell(wording.money(row[column], code)) for column, code in codes.items()),
            Cell(moment(row["first_call"])),
            Cell(wording.duration(row["session_duration"])),
            Cell(wording.count(row["turns"])),
            Cell(wording.compact(row["total_tokens"])),
            Cell(wording.count(row["context_growth"])),
        ]
        for row in rows
    ]
    head = ["Session", *heads, "First call", "Duration", "Turns", "Tokens", "Prompt tokens more per turn"]
    return Table("conversations", "The dearest conversations", "", head, cells)
