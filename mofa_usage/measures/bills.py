"""The numbers of a bill beside those that were recorded: both sides, and by how much they differ."""

from collections.abc import Mapping

from mofa_usage.measures.formulas import Measure, Quantity, Reckoned

__all__ = ["RECONCILED"]

_RECKONED = Reckoned("reconcile")
_SIDES = {
    "billed": ("billed", "What the bill says."),
    "recorded": ("recorded", "What the recorded calls say."),
    "difference": ("billed beyond recorded", "Billed less recorded; below 0 where more was recorded."),
}
_TOLD: Mapping[str, tuple[str, Quantity]] = {
    "tokens": ("Tokens", "tokens"),
    "uncached": ("Uncached input", "tokens"),
    "cached": ("Cached input", "tokens"),
    "written": ("Written to cache", "tokens"),
    "written_1h": ("Written for an hour", "tokens"),
    "output": ("Output", "tokens"),
    "requests": ("Requests", "count"),
    "cost": ("Cost", "money"),
}

RECONCILED = (
    *(
        Measure(
            f"{name}_{side}", f"{title} {words}", kind, "requests" if name == "requests" else "",
            description, _RECKONED, additive=True,
        )
        for name, (title, kind) in _TOLD.items()
        for side, (words, description) in _SIDES.items()
    ),
    *(
        Measure(side, words[:1].upper() + words[1:], "count", "units", description, _RECKONED, additive=False)
        for side, (words, description) in _SIDES.items()
    ),
)  # fmt: skip
"""Both sides of a bill and their differences: tokens by kind, requests, money, and in findings whatever `unit` says."""
