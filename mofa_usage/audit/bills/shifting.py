"""Days of another zone: calls that count on another day than in the bill, because one side's days begin elsewhere.

Two things make calls of the last hours fall on another day. A provider may count a call when it ends; then all calls
that went on over midnight count on the next day. And one side's days, or its clock, may be those of another time zone;
then the days agree when they are moved by so many hours. A shift is believed when it makes at least two days agree
entirely and no other one disagree, so that it is no coincidence.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import polars as pl

from mofa_usage.audit.bills.cells import Cell, Spans
from mofa_usage.audit.bills.recorded import QUARTER
from mofa_usage.zones import DAY, HOUR, MINUTE

__all__ = ["at_their_end", "shifts", "shown"]

_FARTHEST = 14 * HOUR // QUARTER
_LEAST = 2

Compare = Callable[[Spans], list[Cell]]


def at_their_end(calls: pl.DataFrame) -> pl.DataFrame:
    """The calls with those that went on over midnight in the first quarter of the next day."""
    next_day = (pl.col("quarter") * QUARTER // DAY + 1) * DAY // QUARTER
    return calls.with_columns(quarter=pl.when(pl.col("late")).then(next_day).otherwise(pl.col("quarter")))


def shown(shift: int) -> str:
    """`2 h`, or `5 h 30 min`."""
    hours, rest = divmod(abs(shift), HOUR)
    return " ".join(filter(None, (f"{hours} h" if hours else "", f"{rest // MINUTE} min" if rest else "")))


def shifts(
    calls: pl.DataFrame, spans: Spans, cells: Sequence[Cell], compare: Compare, differ: Callable[[Cell], bool]
) -> Iterator[tuple[int, set[int]]]:
    """By how much days are moved, in microseconds (later: above 0), and which ones that explains.

    `cells` are those of the days as they are, `compare` gives those of days that are other spans, and `differ` says
    whether one's sides differ.
    """
    wrong = {cell.key.day for cell in cells if differ(cell)}
    while len(wrong) >= _LEAST:
        found = _best(_candidates(calls, spans, cells, wrong), spans, compare, differ, wrong)
        if found is None:
            return
        shift, explained = found
        beside = {
            day for day in wrong - explained if day in (min(spans), max(spans)) and {day - 1, day + 1} & explained
        }
        yield shift, explained | beside
        wrong -= explained | beside


def _best(
    candidates: Sequence[int], spans: Spans, compare: Compare, differ: Callable[[Cell], bool], wrong: Collection[int]
) -> tuple[int, set[int]] | None:
    """The shift that makes most of the wrong days agree; of several one of whole hours, and the least."""
    best: tuple[int, set[int]] | None = None
    for shift in candidates:
        moved = {day: (start + shift, end + shift) for day, (start, end) in spans.items()}
        worse = {cell.key.day for cell in compare(moved) if differ(cell)}
        explained = set(wrong) - worse
        if len(explained) < _LEAST or (best is not None and len(explained) <= len(best[1])):
            continue
        within = range(min(explained), max(explained) + 1)
        if not any(day in within and day not in wrong for day in worse):
            best = shift, explained
    return best


def _candidates(calls: pl.DataFrame, spans: Spans, cells: Sequence[Cell], wrong: Collection[int]) -> Sequence[int]:
    """The shifts with which two wrong days have as many tokens in all, of money all hours; the likeliest first."""
    steps = sorted(range(-_FARTHEST, _FARTHEST + 1), key=lambda step: (*_oddness(step), abs(step), step))
    if any(cell.of_money for cell in cells):
        return [step * QUARTER for step in steps if step and step * QUARTER % HOUR == 0]
    billed: Counter[int] = Counter()
    for cell in cells:
        billed[cell.key.day] += cell.billed.counts.total
    tokens = _by_quarter(calls)
    found = []
    for step in steps:
        quarters = {day: range(spans[day][0] // QUARTER + step, spans[day][1] // QUARTER + step) for day in wrong}
        agreeing = sum(
            sum(tokens.get(quarter, 0) for quarter in several) == billed[day] for day, several in quarters.items()
        )
        if step and agreeing >= _LEAST:
            found.append(step * QUARTER)
    return found


def _oddness(step: int) -> tuple[bool, bool]:
    """Zones differ by whole hours mostly, and seldom by half ones."""
    return step * QUARTER % HOUR != 0, step * QUARTER % (HOUR // 2) != 0


def _by_quarter(calls: pl.DataFrame) -> Mapping[int, int]:
    parts = ("uncached", "cached", "written", "output")
    totals = calls.group_by("quarter").agg(tokens=pl.sum_horizontal(pl.col(name).sum() for name in parts))
    return dict(totals.iter_rows())
