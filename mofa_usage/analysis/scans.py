"""What the engine computes for questions: one scan of the calls for all those that group them alike.

A scan also finds the first and the last currency of each group by the alphabet: where they are all the same, which is
nearly always, the sums of prices are sums of one currency. Else a second pass computes the measures of money for each
currency apart. Where several scans are about money one look at the currencies of all calls is quicker: if there is one,
none of the scans looks for it.

Most of the time of a scan goes into sums, since those of money are exact in 128 bits. So a scan by some dimensions adds
up the groups of another one that is also by further dimensions, where such a one is asked for; of the calls it computes
what does not add up: quantiles, and numbers of distinct values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

import polars as pl

from mofa_usage.analysis.aggregates import Plan, measured
from mofa_usage.analysis.asking import Asked
from mofa_usage.analysis.buckets import Clock
from mofa_usage.analysis.currencies import HIGHEST, LOWEST, PRICED, all_used, in_currency, lone, most_used
from mofa_usage.analysis.engine import LazyCalls
from mofa_usage.analysis.folding import Fold, Keys
from mofa_usage.analysis.levels import keys_of, labels, levels
from mofa_usage.analysis.windows import Source, reach
from mofa_usage.measures import Aggregate, Dimension, Measure, money_columns

__all__ = ["CALLS", "Alike", "Level", "Scan", "alike", "currency_at", "depths_of", "scans"]

CALLS = Aggregate("count")

Alike: TypeAlias = tuple[tuple[Dimension, ...], datetime | None, datetime | None, datetime | None, Fold | None]
"""What questions have in common that one scan answers: dimensions, start, end, how far they look back, and the fold."""


def alike(asked: Asked, fold: Fold | None, clock: ZoneInfo) -> Alike:
    """What a question has in common with others."""
    return asked.dimensions, asked.start, asked.end, reach(asked, clock), fold


def currency_at(asked: Asked) -> int:
    """How many dimensions lie above the currencies: without those the answer tells money apart by columns."""
    return asked.by.index("currency")


def depths_of(asked: Asked) -> range:
    """By how many dimensions to group: all, and for totals each number below that keeps the currencies."""
    lowest = 0 if "currency" not in asked.by else currency_at(asked) + 1
    return range(len(asked.by), (lowest if asked.totals else len(asked.by)) - 1, -1)


@dataclass(frozen=True, slots=True)
class Level:
    """The groups by some of the dimensions: a row each, with the aggregates under the names of the plan.

    `keys` are the dimensions, labelled, and where they are folded what marks the rest. With several currencies `money`
    has the measures of money of each, by their columns.
    """

    result: pl.DataFrame
    keys: Mapping[str, pl.Series]
    money: Mapping[str, pl.Series]


@dataclass(frozen=True, slots=True)
class Scan:
    """What the engine computed: the groups by all dimensions, and those of each level above that was asked for.

    `currencies` are those of the priced calls, if a question is about money.
    """

    plan: Plan
    levels: Mapping[int, Level]
    source: Source
    currencies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A scan before the engine is asked: `calls` are those of the period, `complete` those that it looks back to."""

    together: Sequence[Asked]
    times: Clock
    complete: LazyCalls
    calls: LazyCalls
    keys: Keys
    plan: Plan
    money: Sequence[Measure]

    @property
    def depths(self) -> range:
        """By how many dimensions the questions are asked, the largest number first."""
        return max(map(depths_of, self.together), key=len)

    @property
    def key_of(self) -> dict[Dimension, str]:
        """The key of each dimension."""
        return dict(zip(self.keys.dimensions, self.keys.expressions, strict=True))

    def is_finer_than(self, other: "_Begun") -> bool:
        """Whether its groups are those of another scan, divided further."""
        return {*self.keys.dimensions} > {*other.keys.dimensions} and self.keys.fold is other.keys.fold is None

    def added(self, finer: "_Begun", groups: pl.DataFrame) -> pl.DataFrame:
        """Its own groups with what adds up, from those of a finer scan."""
        theirs = finer.key_of
        return self.plan.of_finer(groups, finer.plan, {theirs[entry]: key for entry, key in self.key_of.items()})

    def scanned(self, only: str | None, sums: pl.DataFrame | None = None) -> Scan:
        """Ask the engine; `only` is the one currency of all calls, `sums` what adds up, if they are known already."""
        first, clock = self.together[0], self.times.zone
        results = levels(self.calls, self.keys, self.plan, self.depths, sums)
        seen_from = reach(first, clock)
        if self.money and seen_from is not None:
            currencies = all_used(self.complete.between(seen_from, first.end))
        else:
            currencies = self._currencies(results[self.depths[0]], only) if self.money else ()
        apart = self._apart(currencies, results) if len(currencies) > 1 else {}
        found = {
            depth: Level(result, labels(self.keys.names(depth), result, clock), apart.get(depth, {}))
            for depth, result in results.items()
        }
        return Scan(self.plan, found, Source(self.complete, clock, self.keys.fold), currencies)

    def _currencies(self, groups: pl.DataFrame, only: str | None) -> tuple[str, ...]:
        """The currencies of the priced calls in the groups."""
        if only is None:
            return most_used(self.calls, self.plan.value(LOWEST, groups), self.plan.value(HIGHEST, groups))
        return (only,) if self.plan.value(PRICED, groups).sum() else ()

    def _apart(self, currencies: Sequence[str], results: Mapping[int, pl.DataFrame]) -> dict[int, dict[str, pl.Series]]:
        """Measures of money for each currency, by column, in the order of the groups of each level."""
        measures = {
            column: in_currency(measure.base, currency)
            for measure in self.money
            for currency, column in money_columns(measure.name, currencies).items()
        }
        plan = Plan(measures.values(), self.calls, prefix="m")
        apart = {}
        for depth, found in levels(self.calls, self.keys, plan, list(results)).items():
            if names := list(self.keys.names(depth)):
                groups = results[depth].select(names)
                found = groups.join(found, on=names, how="left", nulls_equal=True, maintain_order="left")
            apart[depth] = {column: measured(measure, plan, found) for column, measure in measures.items()}
        return apart


def scans(
    calls: LazyCalls, sharing: Mapping[Alike, Sequence[Asked]], clocks: Mapping[Alike, Clock]
) -> dict[Alike, Scan]:
    """The engine's part of questions, of those together that have the same dimensions and times, and look back as far.

    Each has the clock of its times.
    """
    of_money = [key for key, together in sharing.items() if any(one.money for one in together)]
    only = lone(_seen(calls, of_money)) if len(of_money) > 1 else None
    measures = (measure.base for together in sharing.values() for one in together for measure in one.measures)
    complete = calls.with_absent(column for measure in measures for column in measure.optional)
    begun = {key: _begun(complete, together, key[-1], clocks[key], only) for key, together in sharing.items()}
    finer = {key: of for key in begun if (of := _finer(key, begun)) is not None}
    for key, of in finer.items():
        begun[of].plan.add(*begun[key].plan.adding_up)
    found = {key: one.scanned(only) for key, one in begun.items() if key not in finer}
    for key, of in finer.items():
        groups = found[of].levels[begun[of].depths[0]].result
        found[key] = begun[key].scanned(only, begun[key].added(begun[of], groups))
    return found


def _seen(calls: LazyCalls, keys: Sequence[Alike]) -> LazyCalls:
    """The calls that some scans look at."""
    starts = [moment for _, start, _, seen_from, _ in keys if (moment := seen_from or start) is not None]
    ends = [end for _, _, end, _, _ in keys if end is not None]
    return calls.between(
        min(starts) if len(starts) == len(keys) else None, max(ends) if len(ends) == len(keys) else None
    )


def _finer(key: Alike, begun: Mapping[Alike, _Begun]) -> Alike | None:
    """The scan whose groups can be added up to those of another one: that with which it shares most."""
    one = begun[key]
    if not one.plan.adding_up:
        return None
    finer = [other for other in begun if other[1:] == key[1:] and begun[other].is_finer_than(one)]
    # Those that are added up themselves come too late.
    last = [other for other in finer if not any(begun[further].is_finer_than(begun[other]) for further in finer)]
    shared = set(one.plan.adding_up)
    return max(last, key=lambda other: len(shared.intersection(begun[other].plan.adding_up)), default=None)


def _begun(calls: LazyCalls, together: Sequence[Asked], fold: Fold | None, times: Clock, only: str | None) -> _Begun:
    first = together[0]
    measures = list(dict.fromkeys(measure.base for one in together for measure in one.measures))
    money = list(dict.fromkeys(measure for one in together for measure in one.money))
    priced = any("currency" in entry.needs for entry in first.dimensions)
    complete = calls.with_absent(["currency"] if priced else [])
    wanted = complete.between(first.start, first.end)
    plan = Plan(measures, wanted)
    if any((one.ranked or one.totals) and one.measures[0].of_money for one in together):
        plan.add(CALLS)
    if money:
        plan.add(*((LOWEST, HIGHEST) if only is None else (PRICED,)))
    return _Begun(together, times, complete, wanted, keys_of(first, wanted, times, fold), plan, money)
