"""Both sides of a comparison: what was billed and what was recorded of a model on a day.

Tokens are compared of what the reports of usage tell of, money of what the reports of costs do; each by model where the
report is grouped by models, else all models of a day together (then the model of a cell is None).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import polars as pl

from mofa_usage.audit.bills.joining import Statement
from mofa_usage.audit.bills.models import matched
from mofa_usage.audit.bills.pages import COSTS, PREPAID, Counts, Line
from mofa_usage.audit.bills.recorded import QUARTER
from mofa_usage.pricing.quotes import STANDARD_TIER
from mofa_usage.pricing.rates import EXACT

__all__ = ["Billed", "Cell", "Key", "Recorded", "Spans", "cells_of", "of_report"]

Spans = Mapping[int, tuple[int, int]]
"""By the number of a day the time [start, end) that it is, in microseconds."""


@dataclass(slots=True)
class Billed:
    """What the bill says of a cell. `requests` is None where it does not count them, `cost` where it tells none.

    `pieces` are amounts by kind of tokens, `beside` what it asks on that day for what is no model's.
    """

    counts: Counts = field(default_factory=Counts)
    requests: int | None = None
    cost: Decimal | None = None
    slack: Decimal = Decimal(0)
    tiers: Counter[str] = field(default_factory=Counter)
    cost_tiers: dict[str, Decimal] = field(default_factory=dict)
    pieces: dict[str, Decimal] = field(default_factory=dict)


@dataclass(slots=True)
class Recorded:
    """What the calls of a cell say: `used` are those with tokens, `unknown` those whose tokens nobody knows."""

    counts: Counts = field(default_factory=Counts)
    calls: int = 0
    used: int = 0
    unknown: int = 0
    unpriced: int = 0
    cost: Decimal | None = None
    tiers: Counter[str] = field(default_factory=Counter)
    cost_tiers: dict[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which cell: the provider, the day since the epoch, the model."""

    provider: str
    day: int
    model: str | None


@dataclass(slots=True)
class Cell:
    """Both sides; `of_money` says which of them is compared: the cost in `currency`, or the tokens."""

    key: Key
    of_money: bool
    billed: Billed
    recorded: Recorded
    currency: str = ""


def cells_of(
    statement: Statement, calls: pl.DataFrame, spans: Spans
) -> tuple[list[Cell], dict[tuple[str, int], dict[str, Decimal]]]:
    """The cells of a report on some days, and what costs beside the models.

    `spans` say which days, and which time each of them is. `calls` are those of the provider.
    """
    provider, of_money = statement.report.provider, statement.report.kind == COSTS
    lines = {day: statement.days[day] for day in sorted(spans)}
    rows = _placed(of_report(statement, calls), spans)
    named = {line.model for found in lines.values() for line in found if line.model is not None}
    by_model = bool(named) and (of_money or all(line.model for found in lines.values() for line in found))
    names = matched(named, set(rows["model"])) if by_model else {}
    billed, beside = _billed(provider, lines, names, by_model=by_model, of_money=of_money)
    codes = {currency for _, currency in billed} - {""}
    found = _recorded(provider, rows, names, by_model=by_model, of_money=of_money, tiers=_style(lines))
    keys = sorted(
        {*billed, *(key for key in found if not of_money or key[1] in codes)},
        key=lambda one: (one[0].day, one[0].model or "", one[1]),
    )
    return [
        Cell(key, of_money, billed.get((key, code), Billed()), found.get((key, code), Recorded()), code)
        for key, code in keys
    ], beside


def of_report(statement: Statement, calls: pl.DataFrame) -> pl.DataFrame:
    """The calls of a provider that a report of it is about: its costs are those of all."""
    kind = statement.report.kind
    return calls if kind == COSTS else calls.filter(pl.col("kind") == kind)


def _placed(calls: pl.DataFrame, spans: Spans) -> pl.DataFrame:
    """The calls with the `day` that they count for, without those of other times."""
    days = pl.DataFrame(
        [(day, start, end) for day, (start, end) in spans.items()],
        schema={"day": pl.Int64, "start": pl.Int64, "end": pl.Int64},
        orient="row",
    ).sort("start")
    placed = calls.with_columns(moment=pl.col("quarter") * QUARTER).sort("moment")
    return placed.join_asof(days, left_on="moment", right_on="start").filter(pl.col("moment") < pl.col("end"))


def _style(lines: Mapping[int, Iterable[Line]]) -> frozenset[str]:
    """The tiers that the bill tells apart in other words than calls do."""
    return frozenset(line.tier for found in lines.values() for line in found if line.tier is not None)


def _as_billed(tier: str, style: frozenset[str]) -> str:
    """The tier of a call in the words of its bill."""
    if "not batch" in style and tier != "batch":
        return "not batch"
    return "standard or batch" if "standard or batch" in style and tier in (STANDARD_TIER, "batch") else tier


def _billed(
    provider: str, lines: Mapping[int, Iterable[Line]], names: Mapping[str, str], *, by_model: bool, of_money: bool
) -> tuple[dict[tuple[Key, str], Billed], dict[tuple[str, int], dict[str, Decimal]]]:
    found: dict[tuple[Key, str], Billed] = defaultdict(Billed)
    beside: dict[tuple[str, int], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for day, line in ((day, line) for day, several in lines.items() for line in several):
        currency = line.currency or ""
        if of_money and by_model and line.model is None:
            beside[currency, day][line.about] += line.amount or 0
            continue
        model = names[line.model] if by_model and line.model is not None else None
        one = found[Key(provider, day, model), currency]
        if line.counts is not None:
            one.counts += line.counts
            if line.tier is not None:
                one.tiers[line.tier] += line.counts.total
        if line.requests is not None:
            one.requests = (one.requests or 0) + line.requests
        if line.amount is not None:
            one.cost = EXACT.add(one.cost or Decimal(0), line.amount)
            one.slack += line.slack
            if line.tier is not None:
                one.cost_tiers[line.tier] = EXACT.add(one.cost_tiers.get(line.tier, Decimal(0)), line.amount)
            if line.piece is not None:
                one.pieces[line.piece] = EXACT.add(one.pieces.get(line.piece, Decimal(0)), line.amount)
    return dict(found), {day: dict(costs) for day, costs in beside.items()}


def _recorded(
    provider: str,
    rows: pl.DataFrame,
    names: Mapping[str, str],
    *,
    by_model: bool,
    of_money: bool,
    tiers: frozenset[str],
) -> dict[tuple[Key, str], Recorded]:
    found: dict[tuple[Key, str], Recorded] = defaultdict(Recorded)
    sums = ("calls", "used", "unknown", "unpriced", "uncached", "cached", "written", "written_1h", "output", "cost")
    grouped = rows.group_by("day", "model", "tier", "currency").agg(
        *(pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in sums)
    )
    for row in grouped.sort("day", "model", "tier", "currency").to_dicts():
        # A call without a price has no currency: it is of the cell whose money is incomplete for its lack.
        currency = row["currency"] or "USD" if of_money else ""
        one = found[Key(provider, row["day"], names[row["model"]] if by_model else None), currency]
        known = {name: row[name] or 0 for name in ("uncached", "cached", "written", "output")}
        counts = Counts(**known, written_1h=row["written_1h"])
        one.counts += counts
        for name in ("calls", "used", "unknown", "unpriced"):
            setattr(one, name, getattr(one, name) + row[name])
        tier = _as_billed(row["tier"], tiers)
        one.tiers[tier] += counts.total
        if row["cost"] is not None:
            if provider == "anthropic" and row["tier"] == PREPAID:
                continue  # it is paid otherwise, and its costs are not in the report
            one.cost = EXACT.add(one.cost or Decimal(0), row["cost"])
            one.cost_tiers[tier] = EXACT.add(one.cost_tiers.get(tier, Decimal(0)), row["cost"])
    return dict(found)
