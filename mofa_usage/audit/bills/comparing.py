"""One provider's bill against the calls on it: which days can be compared, the cells of both sides, and the findings.

A fault is looked for where it is largest: in the pages, in the zone of the days, in whole days, in models, in single
cells, and last in the money of what agrees in tokens. What is explained is left alone from there on.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from decimal import Decimal

import polars as pl

from mofa_usage.audit.bills.cells import Cell, Spans, cells_of, of_report
from mofa_usage.audit.bills.costs import HourExtra, costs_differ, costs_explained, is_incomplete
from mofa_usage.audit.bills.findings import Finding, about, of_day
from mofa_usage.audit.bills.joining import Statement, day_of
from mofa_usage.audit.bills.lifetimes import extra_of_an_hour
from mofa_usage.audit.bills.models import family
from mofa_usage.audit.bills.pages import COSTS, PROVIDERS
from mofa_usage.audit.bills.shifting import at_their_end, shifts, shown
from mofa_usage.audit.bills.tokens import days_on_one_side, differ, tokens_explained
from mofa_usage.wording import count, money
from mofa_usage.zones import DAY, microseconds

__all__ = ["Compared", "Within", "compare"]


@dataclass(frozen=True, slots=True)
class Within:
    """The time that was loaded, half-open, and the time that it is: a day that is not over is in no bill yet."""

    start: datetime | None
    end: datetime | None
    now: datetime

    def has(self, span: tuple[int, int]) -> bool:
        """Whether all of [start, end), in microseconds, is there."""
        first = None if self.start is None else microseconds(self.start)
        last = microseconds(self.now if self.end is None else min(self.end, self.now))
        return (first is None or span[0] >= first) and span[1] <= last


@dataclass(slots=True)
class Compared:
    """What came out of one provider: the cells of tokens and of money, the findings, and what a reader should know."""

    provider: str
    tokens: list[Cell] = field(default_factory=list)
    costs: list[Cell] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compare(statements: Sequence[Statement], calls: pl.DataFrame, within: Within) -> Compared:
    """The reports of one provider against the calls on its bill."""
    made = Compared(statements[0].report.provider)
    usage = [one for one in statements if one.report.kind != COSTS]
    costs = [one for one in statements if one.report.kind == COSTS]
    spans = {one.report.kind: _whole_days(one, within, made) for one in statements}
    first, *others = usage or costs
    calls, cells = _as_counted(first, calls, spans[first.report.kind])
    explained = _shifted(first, calls, cells, spans[first.report.kind], made)
    made.tokens += [cell for cell in cells if not cell.of_money]
    for statement in others if usage else []:
        made.tokens += cells_of(statement, calls, spans[statement.report.kind])[0]
    told = _tokens(made, explained)
    for statement in costs:
        made.costs, beside = cells_of(statement, calls, spans[COSTS])
        if not _is_all_foreign(made.costs, calls):
            _money(made, beside, explained, told)
        made.notes += _of_money(made, calls, beside)
    return made


def _whole_days(statement: Statement, within: Within, made: Compared) -> Spans:
    """The days of a report that can be compared."""
    whole = {day: span for day, span in statement.spans.items() if within.has(span)}
    if left := statement.spans.keys() - whole.keys():
        said = "which were not loaded, or are not over"
        made.notes.append(f"{statement.report.title} {about(left)} is not compared with calls, {said}")
    return whole


def _is_off(cell: Cell) -> bool:
    return costs_differ(cell) if cell.of_money else differ(cell)


def _as_counted(statement: Statement, calls: pl.DataFrame, spans: Spans) -> tuple[pl.DataFrame, list[Cell]]:
    """The calls, at their ends where so the provider counts those that went on over midnight, and the cells."""
    ways = [calls, at_their_end(calls)] if calls["late"].any() else [calls]
    counted = [(one, cells_of(statement, one, spans)[0]) for one in ways]
    return min(counted, key=lambda one: sum(map(_is_off, one[1])))


def _shifted(
    statement: Statement, calls: pl.DataFrame, cells: Sequence[Cell], spans: Spans, made: Compared
) -> set[int]:
    """The days that only agree when they begin at another hour, of which there is a finding."""

    def moved(wanted: Spans) -> list[Cell]:
        return cells_of(statement, calls, wanted)[0]

    explained: set[int] = set()
    for shift, found in shifts(of_report(statement, calls), spans, cells, moved, _is_off):
        later = "later" if shift > 0 else "earlier"
        why = f"they agree when the days of the calls begin {shown(shift)} {later}, so one side's are not those of UTC"
        made.findings.append(of_day("zone_shift", [cell for cell in cells if cell.key.day in found], why))
        explained |= found
    return explained


def _tokens(made: Compared, explained: set[int]) -> list[Cell]:
    """Find why tokens differ; the days that one side has not are explained, the cells that differ returned."""
    left = [cell for cell in made.tokens if cell.key.day not in explained]
    for finding, gone in days_on_one_side(left):
        made.findings.append(finding)
        explained |= gone
    told: list[Cell] = []
    for finding, found in tokens_explained([cell for cell in left if cell.key.day not in explained]):
        made.findings.append(finding)
        told += found
    return told


def _is_all_foreign(costs: Sequence[Cell], calls: pl.DataFrame) -> bool:
    """Whether all prices are in other currencies than the bill: then there is nothing to compare it with."""
    priced = set(calls["currency"].drop_nulls())
    return bool(priced) and priced.isdisjoint(cell.currency for cell in costs)


def _money(
    made: Compared,
    beside: Mapping[tuple[str, int], Mapping[str, Decimal]],
    explained: Collection[int],
    told: Sequence[Cell],
) -> None:
    """Find why money differs where the tokens do not say it."""
    gone = {(cell.key.day, None if cell.key.model is None else family(cell.key.model)) for cell in told}
    days = {day for day, _ in gone}

    def is_told(cell: Cell) -> bool:
        day, model = cell.key.day, cell.key.model
        return day in explained or (day, None) in gone or ((day, family(model)) in gone if model else day in days)

    left = [cell for cell in made.costs if not is_told(cell)]
    missing: set[int] = set()
    for finding, found in days_on_one_side(left):
        made.findings.append(finding)
        missing |= found
    left = [cell for cell in left if cell.key.day not in missing]
    compared = {cell.key.day for cell in made.tokens}
    made.findings += costs_explained(left, beside, _hour_extra(made), compared)


def _hour_extra(made: Compared) -> HourExtra:
    """How much dearer an hour is by a book, for cells of money whose bill does not tell it by the kind of tokens."""
    hours: dict[tuple[int, object], int] = defaultdict(int)
    for cell in made.tokens:
        if cell.key.model is not None and cell.billed.counts.written_1h:
            hours[cell.key.day, family(cell.key.model)] += cell.billed.counts.written_1h

    def extra(cell: Cell) -> Decimal | None:
        tokens = hours.get((cell.key.day, family(cell.key.model or "")), 0)
        if not tokens or cell.key.model is None:
            return None
        noon = datetime.combine(day_of(cell.key.day * DAY), time(12), UTC)
        return extra_of_an_hour(made.provider, cell.key.model, noon, tokens)

    return extra


def _of_money(
    made: Compared, calls: pl.DataFrame, beside: Mapping[tuple[str, int], Mapping[str, Decimal]]
) -> Iterator[str]:
    """What a reader of amounts should know."""
    provider = PROVIDERS[made.provider]
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for (currency, _), costs in beside.items():
        for what, amount in costs.items():
            totals[currency, what] += amount
    for (currency, what), amount in sorted(totals.items()):
        if amount:
            for_what = what or "what it does not name"
            yield f"{provider} bills {money(amount, currency)} for {for_what}, which is no model's"
    unpriced = sum(cell.recorded.unpriced for cell in made.costs if is_incomplete(cell))
    if unpriced:
        yield f"{count(unpriced)} calls of {provider} have no price: their cost is only compared where it is too much"
    others = {cell.currency for cell in made.costs}
    foreign = sorted(set(calls["currency"].drop_nulls()) - others)
    if others and foreign:
        yield f"calls of {provider} priced in {', '.join(foreign)} are not compared: its bill is in {', '.join(others)}"
    if made.provider == "anthropic" and (calls["tier"] == "priority").any():
        yield "the priority tier is not in Anthropic's report of costs: the cost of such calls is left out"
