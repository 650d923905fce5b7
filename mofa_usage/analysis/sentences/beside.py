"""What else changed between two periods: which rates and percentiles by more than chance makes them."""

from collections.abc import Iterator
from typing import Any

from mofa_usage import wording
from mofa_usage.analysis.told import Told
from mofa_usage.measures import is_beyond_chance, measure

__all__ = ["measures_beside"]


def measures_beside(told: Told) -> Iterator[str]:
    """The rates whose change has an interval without 0, the percentiles whose intervals do not meet; and which not."""
    rows = told.frame.to_dicts()
    changed = {row["measure"]: is_more for row in rows if (is_more := is_beyond_chance(row)) is not None}
    moved = [_text(row) for row in rows if changed.get(row["measure"])]
    same = [measure(name).title for name, is_more in changed.items() if not is_more]
    if moved:
        yield f"more than chance: {'; '.join(moved)}"
    if same:
        yield f"not more than chance may make: {', '.join(same)}"
    if not changed:
        yield "what changed by more than chance is not known: there is too little in one of the periods to compare"


def _text(row: dict[str, Any]) -> str:
    entry = measure(row["measure"])
    before, after = (wording.value_text(row[side], entry.kind) for side in ("before", "after"))
    verb = "rose" if row["change"] > 0 else "fell"
    return f"{entry.title} {verb} from {before} to {after}"
