"""What answers about slices say: which one explains most of a change, or has most of the slow calls."""

from collections.abc import Iterator
from typing import Any

from mofa_usage import wording
from mofa_usage.analysis.told import Told
from mofa_usage.measures import Measure

__all__ = ["drivers", "slow_drivers"]


def drivers(told: Told) -> Iterator[str]:
    """The first slice and the next, and how the measure changed in all."""
    name = next((name for name in told.roles.measures if name.endswith("_change")), None)
    if name is None or told.whole is None:
        yield from _first_ones(told, "the change")
        return
    entry, whole = told.roles.measures[name].measure, told.whole.only(name)
    noun, change = _noun(entry), "the change"
    if whole is None:
        yield f"how {noun} changed is not known"
    elif not whole:
        yield f"{noun} did not change in all"
    else:
        change = f"the {'rise' if whole > 0 else 'fall'} of {noun} by {_amount(told, entry, whole)}"
    if told.frame.height:
        yield from _first_ones(told, change)
    elif whole:
        yield f"no slice stands out in {change}: it is a general one, or made of many small ones"
    if others := told.whole.only("other_currency_calls"):
        left = f"{wording.calls(others)} in other currencies {'is' if others == 1 else 'are'} left out"
        yield f"only {_currency(told)} is compared; {left}"


def _first_ones(told: Told, change: str) -> Iterator[str]:
    parts: list[str] = []
    shares = told.frame["explained"].head(2) if "explained" in told.roles.measures else ()
    for row, share in enumerate(shares):
        if share is None:
            parts.append(f"{told.slice(row)} {'stands out most' if not parts else 'comes next'}")
        elif share >= 0:
            of = change if not parts else "it"
            parts.append(f"{told.slice(row)} explains {wording.percent(share)} of {of}")
        else:
            parts.append(f"{told.slice(row)} works against {change if not parts else 'it'}")
    if parts:
        yield "; ".join(parts)


def slow_drivers(told: Told) -> Iterator[str]:
    """The first slice, and from when on calls are slow."""
    slow = None if told.whole is None else told.whole.only("slow_calls")
    limit = None if told.whole is None else told.whole.only("slow_from_ms")
    if slow == 0:
        yield "no call has a latency"
        return
    which = (
        "the slow calls" if slow is None else f"the {wording.calls(slow)} that took {wording.duration(limit)} or more"
    )
    if not told.frame.height:
        yield f"no slice stands out among {which}"
        return
    row = told.frame.row(0, named=True)
    times = f"{row['lift']:,.1f} times what its {wording.percent(row['call_share'])} of all calls would have"
    yield f"{told.slice(0)} has {wording.percent(row['slow_share'])} of {which}, {times}"


def _noun(change: Measure) -> str:
    """The measure that changed, by the title of its change."""
    return change.title.removeprefix("Change of ")


def _amount(told: Told, entry: Measure, value: Any) -> str:
    if entry.kind == "rate":
        return f"{abs(value) * 100:,.2g} percentage points"
    return wording.value_text(abs(value), entry.kind, _currency(told))


def _currency(told: Told) -> str:
    return next(iter(told.roles.currencies), "USD")
