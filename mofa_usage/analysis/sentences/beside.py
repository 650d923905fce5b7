"""What else changed between two periods: which rates and percentiles by more than chance makes them."""

from collections.abc import Iterator
from typing import Any

from mofa_usage import wording
from mofa_usage.analysis.told import Told
from mofa_usage.measures import measure

__all__ = ["measures_beside"]


def measures_beside(told: Told) -> Iterator[str]:
    """The rates whose change has an interval without 0, the percentiles whose intervals do not meet; and which not."""
    rows = told.frame.to_dicts()
    changed = {row["measure"]: is_more for row in rows if (is_more := _is_beyond_chance(row)) is not None}
    moved = [_text(row) for row in rows if changed.get(row["measure"])]
    same = [measure(name).title for name, is_more in changed.items() if not is_more]
    if moved:
        yield f"more than chance: {'; '.join(moved)}"
    if same:
        yield f"not more than chance may make: {', '.join(same)}"


def _is_beyond_chance(row: dict[str, Any]) -> bool | None:
    """Whether something changed by more than chance makes it; None where nothing says how much that is."""
    if row["change_low"] is not None:
        return bool(row["change_low"] > 0 or row["change_high"] < 0)
    before, after = ([row[f"{side}_low"], row[f"{side}_high"]] for side in ("before", "after"))
    if before == [None, None] or after == [None, None]:
        return None
    return _is_below(before[1], after[0]) or _is_below(after[1], before[0])


def _is_below(end: float | None, start: float | None) -> bool:
    """Whether one interval ends before the other starts; an end that nobody knows is nowhere."""
    return end is not None and start is not None and end < start


def _text(row: dict[str, Any]) -> str:
    entry = measure(row["measure"])
    before, after = (wording.value_text(row[side], entry.kind) for side in ("before", "after"))
    verb = "rose" if row["change"] > 0 else "fell"
    return f"{entry.title} {verb} from {before} to {after}"
