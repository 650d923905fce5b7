"""What an answer about caches says: what they saved in all, what was written for nothing, what more could be saved."""

from collections.abc import Iterator
from decimal import Decimal

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["cache_savings"]


def cache_savings(told: Told) -> Iterator[str]:
    """The savings in each currency with what they are made of, then what was lost and what could be saved at most."""
    if not told.total("cache_calls"):
        yield "no call is known to have read from a cache or written to one"
    else:
        yield from _saved(told)
    unread = told.total("unread_tokens")
    if unread:
        lost = _money(told.sums("unread_premium"))
        yield f"{wording.count(unread)} tokens were written and never read{f', a premium of {lost}' if lost else ''}"
    could = _money({code: amount for code, amount in told.sums("missed_savings").items() if amount > 0})
    if could:
        yield f"at most {could} more could be saved where prompts were sent again{_most(told)}"


def _saved(told: Told) -> Iterator[str]:
    savings, saved, premium = (told.sums(f"cache_{name}") for name in ("savings", "saved", "premium"))
    known = "; for some calls no rates are known" if _is_partial(told) else ""
    if not savings:
        yield "what caches saved is unknown: no rates are known where they were used"
        return
    parts = []
    for code, amount in savings.items():
        paid = premium.get(code)
        net, read, written = (wording.money(one, code or "USD") for one in (abs(amount), saved.get(code), paid))
        made = f" ({read} by reading, less {written} for writing)" if paid else ""
        parts.append(f"{'cost more than they saved, by' if amount < 0 else 'saved'} {net}{made}")
    yield f"caches {' and '.join(parts)}{known}"


def _is_partial(told: Told) -> bool:
    column = told.column("rate_coverage")
    return column is not None and bool((told.frame[column] < 1).any())


def _most(told: Told) -> str:
    """Where most could be saved, if it is one currency and one of several groups."""
    amounts = list(told.amounts("missed_savings").values())
    if len(amounts) != 1 or told.category is None or told.frame.height < 2:
        return ""
    groups = told.by(told.category, amounts[0]).drop_nulls("sum")
    if groups.height < 2 or groups["sum"][0] == groups["sum"][1]:
        return ""
    return f", most of it for {told.name(told.category, groups['key'][0])}"


def _money(amounts: dict[str | None, Decimal]) -> str:
    return " and ".join(wording.money(amount, code or "USD") for code, amount in amounts.items())
