"""What an answer about caches says: what they saved in all, what was written for nothing, what more could be saved."""

from collections.abc import Iterator
from decimal import Decimal

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["cache_savings"]

_NAMED = 3
"""So many candidates are named."""


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
    could = _money(_positive(told.sums("missed_savings")))
    if could:
        yield f"at most {could} more could be saved where prompts were sent again"
        yield from _candidates(told)


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


def _candidates(told: Told) -> Iterator[str]:
    """Where caching would pay most, of several groups, or that it would not pay; only of one currency."""
    amounts = list(told.amounts("candidate_savings").items())
    if len(amounts) != 1 or not amounts[0][1].count():
        return
    [(code, values)] = amounts
    if not (values > 0).any():
        yield "writing every prompt to a cache would cost more than that in premiums"
    elif told.category is not None and told.frame.height > 1:
        groups = told.by(told.category, values).filter(pl.col("sum") > 0).head(_NAMED)
        named = (f"{told.name(told.category, key)} ({wording.money(one, code or 'USD')})" for key, one in groups.rows())
        if groups.height:
            yield f"less the premium of writing, caching would pay most for {', '.join(named)}"


def _positive(amounts: dict[str | None, Decimal]) -> dict[str | None, Decimal]:
    return {code: amount for code, amount in amounts.items() if amount > 0}


def _money(amounts: dict[str | None, Decimal]) -> str:
    return " and ".join(wording.money(amount, code or "USD") for code, amount in amounts.items())
