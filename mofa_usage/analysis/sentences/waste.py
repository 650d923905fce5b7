"""What an answer about waste says: how much it was in all, how much of each kind, and what is unknown of it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["waste"]

_WORDS: Mapping[str, str] = MappingProxyType(
    {"retried": "tried again", "partial": "broken off", "unsuccessful": "unsuccessful"}
)


def waste(told: Told) -> Iterator[str]:
    """The waste in each currency with its share of the cost, the kinds of it, and how many calls have no price."""
    number = told.total("calls")
    if number is None:
        return
    calls = wording.calls(number)
    kinds = "; ".join(_kinds(told))
    said = f": {kinds}" if kinds else ""
    amounts = told.sums("cost")
    if not amounts:
        yield f"what {calls} cost in vain is unknown, since none has a price{said}"
        return
    shares = {code: float(values.sum()) for code, values in told.amounts("waste_share").items() if values.count()}
    texts = [
        wording.money(amount, code or "USD")
        + (f" ({wording.percent(shares[code])} of the cost)" if code in shares else "")
        for code, amount in amounts.items()
    ]
    yield f"{' and '.join(texts)} {'was' if len(texts) == 1 else 'were'} wasted on {calls}{said}"
    priced = told.total("priced_calls")
    if priced is not None and priced < number:
        yield f"{wording.count(number - priced)} of them {'has' if number - priced == 1 else 'have'} no price: unknown"


def _kinds(told: Told) -> Iterator[str]:
    """Each kind with its amounts and calls, that with most calls first."""
    if "waste" not in told.frame.columns:
        return
    calls = told.column("calls")
    numbers = told.frame.group_by("waste").agg(pl.col(calls or "").sum().alias("sum"))
    for kind, number in numbers.sort("sum", "waste", descending=[True, False]).iter_rows():
        amounts = replace(told, frame=told.frame.filter(pl.col("waste") == kind)).sums("cost")
        text = " and ".join(wording.money(amount, code or "USD") for code, amount in amounts.items())
        yield f"{text or 'an unknown amount'} on {wording.count(number)} {_WORDS.get(kind, str(kind))}"
