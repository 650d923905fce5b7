"""A change of cost taken apart into five factors, exactly.

The calls of a period are cut into cells that are alike (`cells`). What a cell cost is a product:

    N  x  share  x  ( prompt x (sum over kinds of split x rate)  +  output x rate  +  other )

`N` is the number of all calls (**volume**), `share` the cell's part of them (**mix**); `prompt`, `output` and `other`
are the tokens and further charges of a call (**tokens per call**); `split` says which part of the prompt was plain,
cached, or written to the cache (**cache**); the rates are what a token costs (**price**).

Each factor's part is its Shapley value: what the cost changes by when the factor goes from its value before to its
value after, meant over all 5! orders in which the five can do so. It is the only way that leaves no rest, treats all
factors alike, and gives nothing to a factor that did not change (L. S. Shapley, A value for n-person games, 1953). So
data in which only one thing changed shows that one alone. Sums are whole numbers and fractions, never floats, so
that the parts add up to the change to the last digit and no order of calls matters.

What is not there in a period has the value of the other: a cell that is new or gone is one that had no share, and its
part is mix (and volume); of tokens that nobody cached before, the rate is that of after.

>>> def cell(calls, prompt, price):
...     return Sums(calls, Fraction(calls * prompt * price), (calls * prompt, 0, 0, 0, 0), rates=(Fraction(price),) * 5)
>>> [str(part) for part in parts(cell(10, 100, 1), cell(20, 100, 1), (10, 20))]
['1000', '0', '0', '0', '0']
>>> [str(part) for part in parts(cell(10, 100, 1), cell(20, 150, 2), (10, 20))]
['5750/3', '0', '3500/3', '0', '5750/3']
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm
from operator import mul
from typing import TypeAlias

__all__ = ["FACTORS", "ROUNDING", "Number", "Rates", "Sums", "parts"]

Number: TypeAlias = int | Fraction

Rates: TypeAlias = Sequence[Fraction | None]
"""What a token costs of each kind: input, cached, cache_write, cache_write_1h, output; None where nobody knows."""

FACTORS = ("volume", "mix", "tokens_per_call", "cache", "price")
"""The parts of a change, in the order in which they are given."""

ROUNDING = Fraction(3, 10**10)
"""How far a recorded price may lie from the tokens times their rates: each of its parts was rounded at ten places."""

_OUTPUT = 4
_SHAPLEY = (24, 6, 4, 6, 24)
"""By the number of factors: in how many of the 120 orders these, in any order, come right before another one."""
_ALIKE = (Fraction(1),) * 5


@dataclass(frozen=True, slots=True)
class Sums:
    """What the calls of a cell come to in one period.

    `tokens` are of kinds that do not overlap, in the order of `Rates`; None where nobody knows them. `other` is what
    the book charges beside tokens. `rates` are those of the book, or learned from the calls.
    """

    calls: Number
    cost: Fraction
    tokens: tuple[Number, ...] | None
    other: Fraction = Fraction()
    rates: Rates = (None,) * 5

    @property
    def computed(self) -> Fraction | None:
        """What the rates say that it costs; None where they do not know."""
        counts = zip(self.tokens or (), self.rates, strict=False)
        priced = [(count, rate) for count, rate in counts if count]
        if self.tokens is None or any(rate is None for _, rate in priced):
            return None
        return sum((count * rate for count, rate in priced if rate is not None), self.other)


@dataclass(frozen=True, slots=True)
class _Call:
    """What a call of a cell is like, in the mean. The rates are those that were paid, as is that of `other`."""

    prompt: Fraction
    output: Fraction
    other: Fraction
    split: tuple[Fraction, ...]
    rates: tuple[Fraction, ...]
    scale: Fraction


def parts(before: Sums | None, after: Sums | None, totals: tuple[Number, Number]) -> tuple[Fraction, ...]:
    """The part of each of `FACTORS` in the change of a cell's cost; None is a period without calls of the cell.

    `totals` are all calls of each period, of whatever cell. The parts add up to the change of the cost; where recorded
    prices are those of the rates but for their rounding, to that of what the rates say.
    """
    first, second = before or after, after or before
    if first is None or second is None:
        return (Fraction(),) * len(FACTORS)
    calls = [0 if sums is None else sums.calls for sums in (before, after)]
    shares = [Fraction(number) / total if total else None for number, total in zip(calls, totals, strict=True)]
    weights = [total * share for share in _completed(shares) for total in totals]  # by volume, then mix
    dear, below = _whole(_costs(*_described(first, second)))
    many, below_too = _whole(weights)
    values = [cost * number for cost in dear for number in many]
    return tuple(Fraction(_marginal(values, 1 << factor), 120 * below * below_too) for factor in range(len(FACTORS)))


def _marginal(values: Sequence[int], factor: int) -> int:
    """120 times the Shapley value of a factor; the values are by the bits of the factors that have changed."""
    return sum(
        _SHAPLEY[changed.bit_count()] * (values[changed | factor] - value)
        for changed, value in enumerate(values)
        if not changed & factor
    )


def _costs(before: _Call, after: _Call) -> list[Fraction]:
    """What a call costs by the bits of tokens, cache and price that have changed."""
    both = (before, after)
    prompts = [sum(map(mul, cache.split, price.rates), Fraction()) for price in both for cache in both]
    return [
        tokens.prompt * prompts[2 * at + cached] + tokens.output * price.rates[_OUTPUT] + tokens.other * price.scale
        for at, price in enumerate(both)
        for cached in range(2)
        for tokens in both
    ]


def _whole(numbers: Sequence[Fraction]) -> tuple[list[int], int]:
    """The numbers over one denominator."""
    below = lcm(*(number.denominator for number in numbers))
    return [number.numerator * (below // number.denominator) for number in numbers], below


def _completed(pair: Sequence[Fraction | None]) -> list[Fraction]:
    """What is not there in a period as it is in the other; nothing where it is in none."""
    return [next((value for value in both if value is not None), Fraction()) for both in (pair, pair[::-1])]


def _described(before: Sums, after: Sums) -> tuple[_Call, _Call]:
    """What a call is like before and after, by the first view of the two that says what was paid."""
    for pair in _views(before, after):
        scales = _scales(pair)
        if scales is not None:
            rates = list(zip(*map(_completed, zip(pair[0].rates, pair[1].rates, strict=True)), strict=True))
            splits = list(zip(*map(_completed, zip(*map(_split, pair), strict=True)), strict=True))
            first, second = map(_call, pair, splits, rates, scales)
            return first, second
    raise AssertionError("a call is a call")  # the last view knows every cost


def _views(before: Sums, after: Sums) -> Iterator[tuple[Sums, Sums]]:
    """The sums with their rates; with tokens that all count alike, whatever they cost; with nothing but calls."""
    known = zip(before.rates, after.rates, strict=True)
    rates = [(mine if mine is not None else other, other if other is not None else mine) for mine, other in known]
    first, second = zip(*rates, strict=True)
    yield replace(before, rates=first), replace(after, rates=second)
    alike = [replace(sums, rates=_ALIKE, other=Fraction()) for sums in (before, after)]
    yield alike[0], alike[1]
    first_calls, second_calls = (replace(sums, tokens=(0, 0, 0, 0, sums.calls)) for sums in alike)
    yield first_calls, second_calls


def _scales(pair: tuple[Sums, Sums]) -> list[Fraction] | None:
    """What was paid for each unit of what the rates say, in each period; None where they say nothing of it.

    It is the same in both where that is so but for the rounding of recorded prices: no price changed then.
    """
    computed = [sums.computed for sums in pair]
    known = [number for number in computed if number is not None]
    costs, slack = [sums.cost for sums in pair], [sums.calls * ROUNDING for sums in pair]
    off = zip(costs, known, slack, strict=False)
    if len(known) < len(pair) or any(not number and abs(cost) > most for cost, number, most in off):
        return None
    whole = sum(known, Fraction())
    shared = [Fraction(1), *([sum(costs, Fraction()) / whole] if whole else [])]
    for scale in shared:
        if all(abs(cost - scale * number) <= most for cost, number, most in zip(costs, known, slack, strict=True)):
            return [scale, scale]
    return _completed([cost / number if number else None for cost, number in zip(costs, known, strict=True)])


def _split(sums: Sums) -> list[Fraction | None]:
    """The parts of the prompt."""
    prompt = sum((sums.tokens or ())[:_OUTPUT])
    return [Fraction(count) / prompt if prompt else None for count in (sums.tokens or ())[:_OUTPUT]]


def _call(sums: Sums, split: Sequence[Fraction], rates: Sequence[Fraction], scale: Fraction) -> _Call:
    *prompt, output = (Fraction(count) for count in sums.tokens or ())
    calls = Fraction(sums.calls)
    paid = tuple(rate * scale for rate in rates)
    return _Call(sum(prompt) / calls, output / calls, sums.other / calls, tuple(split), paid, scale)
