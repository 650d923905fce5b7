"""Calls of two periods in cells that are alike, as the arithmetic of `factors` takes them.

A cell is finer than what is asked for. Beside the dimensions it is of one model and one service tier, so that a feature
that moves to a cheaper model, or to batches, does so by its mix and not by its prices; and of calls whose tokens are
known, or of those whose tokens nobody knows.

What a token costs is the mean over the calls of the cell of what the book says for their days. Of a model that no book
knows, the calls may say themselves what their prompts and their completions cost (`input_price`, `output_price`); then
cached tokens count as prompt like all others, and what a cache saves is in the price. Where nothing of that is known
all tokens count alike.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias

from mofa_usage.changes.factors import Number, Rates, Sums
from mofa_usage.changes.gathering import Group, Row

__all__ = ["Counted", "Pair", "Weights", "counted"]

Pair: TypeAlias = tuple[Sums | None, Sums | None]
"""A cell before and after; None where it has no calls."""

Weights: TypeAlias = tuple[Sequence[Number], Sequence[Number]]
"""What a call counts for, before and after, by its weekday."""

_KINDS = 5
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Counted:
    """What there is in the two periods.

    Attributes:
        cells: the priced calls of each row by currency, in cells. A row of unpriced calls alone has none.
        calls: how many priced calls there are in each currency, before and after.
        priced, unpriced: how many calls of each row have a price and how many have none, before and after.
    """

    cells: Mapping[Row, Mapping[str, Sequence[Pair]]]
    calls: Mapping[str, list[Number]]
    priced: Mapping[Row, list[Number]]
    unpriced: Mapping[Row, list[Number]]


@dataclass(slots=True)
class _Sum:
    """The groups of a cell in one period, added up.

    `charged` and `rated` are by kind of token: what those tokens cost by the book with their number, and the rates of
    calls, whether they had such tokens or not, with the number of calls. `said` is what prompts and completions cost by
    what the calls say, with the tokens of these.
    """

    is_counted: bool
    calls: Number = 0
    cost: Fraction = Fraction()
    other: Fraction = Fraction()
    tokens: list[Number] = field(default_factory=lambda: [0] * _KINDS)
    charged: list[list[Number]] = field(default_factory=lambda: [[0, 0] for _ in range(_KINDS)])
    rated: list[list[Number]] = field(default_factory=lambda: [[0, 0] for _ in range(_KINDS)])
    said: list[list[Number]] = field(default_factory=lambda: [[0, 0], [0, 0]])

    def add(self, group: Group, weight: Number) -> None:
        """Take in a group whose calls count for so much each."""
        calls, tokens = weight * group.calls, [weight * count for count in group.tokens]
        self.calls += calls
        self.cost += weight * Fraction(group.cost)
        self.other += weight * Fraction(group.other)
        for kind, count in enumerate(tokens):
            self.tokens[kind] += count
            if group.rates[kind] is not None:
                rate = Fraction(group.rates[kind]) / _MILLION
                _add(self.charged[kind], count * rate, count)
                _add(self.rated[kind], calls * rate, calls)
        if group.says_parts:
            *prompt, completion = tokens
            _add(self.said[0], weight * Fraction(group.input_price), sum(prompt))
            _add(self.said[1], weight * Fraction(group.output_price), completion)

    @property
    def by_book(self) -> Rates:
        """What a token of each kind costs by the book; where there are none, what one would."""
        means = zip(map(_mean, self.charged), map(_mean, self.rated), strict=True)
        return tuple(rated if charged is None else charged for charged, rated in means)

    @property
    def by_calls(self) -> Rates:
        """What a token costs by what the calls say of their prompts and their completions."""
        prompt, completion = map(_mean, self.said)
        return (*(prompt,) * (_KINDS - 1), completion)

    def sums(self, *, has_book: bool) -> Sums | None:
        """The same for the arithmetic; None without calls."""
        if not self.calls:
            return None
        tokens = tuple(self.tokens) if self.is_counted else None
        if has_book:
            return Sums(self.calls, self.cost, tokens, self.other, self.by_book)
        return Sums(self.calls, self.cost, tokens, rates=self.by_calls)


def _add(pair: list[Number], amount: Number, number: Number) -> None:
    pair[0] += amount
    pair[1] += number


def _mean(pair: Sequence[Number]) -> Fraction | None:
    amount, number = pair
    return Fraction(amount) / number if number else None


def _pair(before: _Sum, after: _Sum) -> Pair:
    has_book = any(number for side in (before, after) for _, number in side.rated)
    return before.sums(has_book=has_book), after.sums(has_book=has_book)


def counted(groups: Iterable[Group], weights: Weights) -> Counted:
    """The groups in rows and cells, each call counting for its weight."""
    cells: dict[Row, dict[str, dict[tuple[object, ...], tuple[_Sum, _Sum]]]] = {}
    calls: dict[str, list[Number]] = defaultdict(lambda: [0, 0])
    priced: dict[Row, list[Number]] = defaultdict(lambda: [0, 0])
    unpriced: dict[Row, list[Number]] = defaultdict(lambda: [0, 0])
    for group in groups:
        for side, is_in in enumerate((group.is_before, group.is_after)):
            weight = weights[side][group.weekday or 0]
            if not is_in or not weight:
                continue
            of_row = cells.setdefault(group.row, {})
            if group.currency is None:
                unpriced[group.row][side] += weight * group.calls
                continue
            priced[group.row][side] += weight * group.calls
            calls[group.currency][side] += weight * group.calls
            cell = (group.model, group.tier, group.is_counted)
            new = (_Sum(group.is_counted), _Sum(group.is_counted))
            of_row.setdefault(group.currency, {}).setdefault(cell, new)[side].add(group, weight)
    found = {
        row: {currency: [_pair(*pair) for pair in pairs.values()] for currency, pairs in of_row.items()}
        for row, of_row in cells.items()
    }
    return Counted(found, calls, priced, unpriced)
