"""Why the cost changed, in two sentences: by how much and through what, and which group has most of it."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["explain_change"]

_THROUGH: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "volume": ("more calls", "fewer calls"),
        "mix": ("a dearer mix of calls", "a cheaper mix of calls"),
        "tokens_per_call": ("more tokens per call", "fewer tokens per call"),
        "cache": ("less use of the cache", "more use of the cache"),
        "price": ("higher prices", "lower prices"),
    }
)
"""What makes the cost rise, and what makes it fall."""

_WHICHEVER: Mapping[str, str] = MappingProxyType(
    {
        "volume": "the number of calls",
        "mix": "the mix of calls",
        "tokens_per_call": "tokens per call",
        "cache": "the use of the cache",
        "price": "prices",
    }
)
"""The same where a cost is below zero: more calls at negative prices make it fall."""

_WORTH_SAYING = Decimal("0.1")
"""What works against a change is said from this part of it on."""


def explain_change(told: Told) -> Iterator[str]:
    """What changed and through what; then who has most of it, and what else is to be known."""
    changes = {code: values for code, values in told.amounts("cost_change").items() if values.drop_nulls().len()}
    if not changes:
        yield "whether the cost changed is unknown: no call of the two periods has a price"
        return
    for code in changes:
        yield _what(told, code)
    parts = [*_who(told, changes), *told.roles.remarks]
    if parts:
        yield "; ".join(parts)


def _what(told: Told, code: str | None) -> str:
    """`the cost rose by $30.00 (25.0%), from $120.00 in April 2026 to $150.00 in May 2026, through more calls`."""
    currency = code or "USD"
    change, before, after = (told.sums(f"cost_{what}").get(code) for what in ("change", "before", "after"))
    change = change or Decimal()
    early, late = told.roles.periods or ("the period before", "the period after")
    ends = ""
    if before is not None and after is not None:
        text = wording.money(before, currency)
        ends = f", from {text} in {early} to {wording.money(after, currency)} in {late}"
    if not change:
        same = "" if before is None else f": {wording.money(before, currency)} in both periods"
        return f"the cost did not change{same}{_through(told, code, change)}"
    size = f" ({wording.percent(float(abs(change) / abs(before)))})" if before else ""
    verb = "rose" if change > 0 else "fell"
    return f"the cost {verb} by {wording.money(abs(change), currency)}{size}{ends}{_through(told, code, change)}"


def _through(told: Told, code: str | None, change: Decimal) -> str:
    """The largest part in the direction of the change, and what worked against it most."""
    parts = {name: part for name in _THROUGH if (part := told.sums(name).get(code))}
    if not parts:
        return ""

    is_usual = all((told.sums(f"cost_{when}").get(code) or 0) >= 0 for when in ("before", "after"))

    def text(name: str) -> str:
        words = _THROUGH[name][parts[name] < 0] if is_usual else _WHICHEVER[name]
        return f"{words} ({wording.signed_money(parts[name], code or 'USD')})"

    ranked = sorted(parts, key=lambda name: -abs(parts[name]))
    along = [name for name in ranked if parts[name] * change > 0] or ranked
    against = [name for name in ranked if name not in along and abs(parts[name]) >= _WORTH_SAYING * abs(change)]
    against = [name for name in against if parts[name] * parts[along[0]] < 0]
    is_alone = len(parts) == 1
    most = "through" if is_alone or (abs(parts[along[0]]) * 2 > abs(change) and len(along) == 1) else "mostly through"
    despite = f", despite {text(against[0])}" if against else ""
    return f", {most} {text(along[0])}{despite}"


def _who(told: Told, changes: Mapping[str | None, pl.Series]) -> Iterator[str]:
    """Which group has most of the change in its direction."""
    if told.category is None or told.frame[told.category].n_unique() < 2:
        return
    found = []
    for code, values in changes.items():
        total = values.sum()
        groups = told.by(told.category, values).drop_nulls("sum")
        groups = groups.sort("sum", descending=bool(total >= 0), maintain_order=True)
        if groups.height > 1 and groups["sum"][0] * total > 0 and groups["sum"][0] != groups["sum"][1]:
            amount = wording.signed_money(Decimal(str(groups["sum"][0])), code or "USD")
            found.append(f"{told.name(told.category, groups['key'][0])} ({amount})")
    if found:
        yield f"the largest part is that of {' and '.join(found)}"
