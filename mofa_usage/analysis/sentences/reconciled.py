"""What a bill against records says: both sides in tokens and in money, and what was found."""

from collections import Counter
from collections.abc import Iterator

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["findings", "reconciled"]

_MOST = 3


def reconciled(told: Told) -> Iterator[str]:
    """Tokens and money on both sides; one number where they are the same."""
    parts: list[list[str]] = []
    tokens = [told.total(f"tokens_{side}") for side in ("billed", "recorded")]
    if None not in tokens:
        parts.append([f"{wording.count(number)} tokens" for number in tokens])
    billed, recorded = told.amounts("cost_billed"), told.amounts("cost_recorded")
    for code, amounts in billed.items():
        if amounts.null_count() < len(amounts):
            sums = (amounts.sum(), recorded[code].sum() if code in recorded else None)
            parts.append([wording.value_text(amount, "money", code or "USD") for amount in sums])
    if not parts:
        return
    billed_text, recorded_text = (" and ".join(part[side] for part in parts) for side in (0, 1))
    if billed_text == recorded_text:
        yield f"billed and recorded: {billed_text}"
    else:
        yield f"billed: {billed_text}; recorded: {recorded_text}"


def findings(told: Told) -> Iterator[str]:
    """How many there are of each kind."""
    kinds = Counter(told.frame["kind"].to_list())
    most = [f"{kind.replace('_', ' ')} ({number:,})" for kind, number in sorted(kinds.items(), key=_order)[:_MOST]]
    more = f" and {len(kinds) - _MOST:,} more kinds" if len(kinds) > _MOST else ""
    number = told.frame.height
    yield f"{number:,} finding{'s' if number > 1 else ''} in the bill: {', '.join(most)}{more}"


def _order(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]
