"""What calls would have cost at other prices: how much instead of how much, who makes most of it, what is unknown."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis.told import Told

__all__ = ["against_recorded"]

_UNKNOWN = (
    ("unpriced_other", "no price there"),
    ("unpriced_recorded", "no recorded price"),
    ("two_currencies", "prices in two currencies"),
)


def against_recorded(told: Told) -> Iterator[str]:
    """Both amounts in each currency; then the group with most of the difference, what is unknown, what stays."""
    calls, compared = told.total("calls"), told.total("compared_calls")
    amounts = {
        code: (recorded, other)
        for code, other in told.sums("other_cost").items()
        if (recorded := told.sums("recorded_cost").get(code)) is not None
    }
    who = "the calls" if compared is None else _these(compared, calls)
    parts = [*_most(told), *_unknown(told), *told.roles.remarks]
    if amounts:
        marks = ("{}, {}" if len(amounts) == 1 else "{} ({})").format
        texts = (_instead(recorded, other, code or "USD", marks) for code, (recorded, other) in amounts.items())
        yield f"{who} would have cost {' and '.join(texts)}"
    else:
        yield f"what {_these(calls, calls) if calls else 'the calls'} would have cost cannot be compared"
    if parts:
        yield "; ".join(parts)


def _these(number: int, every: int | None) -> str:
    """`the 12 calls`, `10 of the 12 calls`."""
    return (
        f"the {wording.calls(number)}"
        if number == every
        else f"{wording.count(number)} of the {wording.calls(every or 0)}"
    )


def _instead(recorded: Decimal, other: Decimal, currency: str, marks: Callable[[str, str], str]) -> str:
    """`$4.10 instead of $71.20, 94.2% less`, or in brackets how much less."""
    text = wording.money(other, currency)
    if other == recorded:
        return f"{text} there, too"
    much = f"{text} instead of {wording.money(recorded, currency)}"
    if recorded <= 0:
        return much
    if other >= 2 * recorded:
        return marks(much, f"{other / recorded:,.1f} times as much")
    share = wording.percent(float(abs(other - recorded) / recorded))
    return marks(much, f"{share} {'less' if other < recorded else 'more'}")


def _most(told: Told) -> Iterator[str]:
    """Which group has most of the difference in its direction, in each currency."""
    if told.category is None or told.frame[told.category].n_unique() < 2:
        return
    found = []
    for code, values in told.amounts("other_change").items():
        total = told.sums("other_change").get(code) or Decimal()
        groups = told.by(told.category, values).drop_nulls("sum")
        groups = groups.sort("sum", descending=total > 0, maintain_order=True)
        if groups.height > 1 and groups["sum"][0] * total > 0 and groups["sum"][0] != groups["sum"][1]:
            amount = wording.signed_money(Decimal(str(groups["sum"][0])), code or "USD")
            found.append(f"{told.name(told.category, groups['key'][0])} ({amount})")
    if found:
        yield f"the largest part is that of {' and '.join(found)}"


def _unknown(told: Told) -> Iterator[str]:
    """How many calls cannot be compared, and why; of how many models where the rows say that."""
    for measure, why in _UNKNOWN:
        number = told.total(measure)
        if not number:
            continue
        of = ""
        if "model_name" in told.roles.dimensions:
            models = told.frame.filter(pl.col(told.column(measure) or "") > 0)["model_name"].n_unique()
            of = f" of {wording.count(models)} models" if models > 1 else ""
        yield f"{wording.calls(number)}{of} {'has' if number == 1 else 'have'} {why}"
