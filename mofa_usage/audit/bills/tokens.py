"""Why the tokens of a bill and those that were recorded differ.

Causes are looked for from the largest to the smallest: a whole day that one side has not, a model, a call. What one
cause explains is not looked at again, so that one fault is one finding.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from mofa_usage.audit.bills.cells import Cell
from mofa_usage.audit.bills.findings import Finding, of_cells, of_day
from mofa_usage.audit.bills.pages import Counts

__all__ = ["days_on_one_side", "differ", "tokens_explained"]

_MANY = 5
"""A day of so many calls is not doubled by chance."""

_WHY = {
    "wrong_tier": "the tiers differ",
    "cache_lifetime": "as much is written to the cache, but for another time (an hour or five minutes)",
    "token_kinds": "each has other parts of cached, written and other input",
    "unbilled_requests": "calls that are recorded twice, or that somebody else is billed for",
    "tokens_differ": "some kinds of tokens are more and others less",
}


def differ(cell: Cell) -> bool:
    """Whether both sides of a cell differ: in a count of tokens, a tier, or the number of requests.

    A call that used no tokens may be counted as a request or not.
    """
    return _parts(cell.billed.counts) != _parts(cell.recorded.counts) or _beside(cell) is not None


def _parts(counts: Counts) -> tuple[int, ...]:
    return counts.uncached, counts.cached, counts.written, counts.output


def _beside(cell: Cell) -> str | None:
    """The kind of finding where the tokens agree and something else does not."""
    billed, recorded = cell.billed, cell.recorded
    if billed.requests is not None and not recorded.used <= billed.requests <= recorded.calls:
        return "unrecorded_requests" if billed.requests > recorded.calls else "unbilled_requests"
    hours = billed.counts.written_1h, recorded.counts.written_1h
    if None not in hours and hours[0] != hours[1]:
        return "cache_lifetime"
    return "wrong_tier" if billed.tiers and +billed.tiers != +recorded.tiers else None


def _amount(cell: Cell, side: str) -> bool:
    one = getattr(cell, side)
    return bool(one.cost) if cell.of_money else bool(one.counts.total)


def _is_unknown(cell: Cell) -> bool:
    """Whether there are calls that may have used more, or cost more, than anybody knows."""
    return bool(cell.recorded.unknown or (cell.of_money and cell.recorded.unpriced))


def days_on_one_side(cells: Sequence[Cell]) -> Iterator[tuple[Finding, set[int]]]:
    """Findings about days that only one side knows, each with the days that it explains."""
    by_day: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_day[cell.key.day].append(cell)
    told = {
        day: tuple(any(_amount(cell, side) for cell in found) for side in ("billed", "recorded"))
        for day, found in by_day.items()
    }
    unknown = {day for day, found in by_day.items() if any(_is_unknown(cell) for cell in found)}
    unrecorded = sorted(day for day, sides in told.items() if sides == (True, False) and day not in unknown)
    if len(unrecorded) > 1 and not any(recorded for _, recorded in told.values()):
        every = [cell for day in unrecorded for cell in by_day[day]]
        yield of_day("provider_not_recorded", every, "no call of it is recorded in all this time"), set(unrecorded)
        return
    for day in unrecorded:
        yield of_day("missing_in_records", by_day[day], "no call is recorded on this day"), {day}
    for day in sorted(day for day, sides in told.items() if sides == (False, True)):
        yield of_day("missing_in_bill", by_day[day], "the bill has nothing of this day"), {day}


def tokens_explained(cells: Sequence[Cell]) -> Iterator[tuple[Finding, list[Cell]]]:
    """Findings about the cells whose sides differ, each with those that it explains."""
    left = [cell for cell in cells if differ(cell)]
    for explain in (_models, _doubled):
        for finding, explained in explain(left, cells):
            yield finding, explained
            left = [cell for cell in left if not any(cell is other for other in explained)]
    throughout: dict[tuple[str, str | None], list[Cell]] = defaultdict(list)
    for cell in left:
        kind = _kind(cell)
        if kind in ("wrong_tier", "cache_lifetime", "token_kinds"):
            throughout[kind, cell.key.model].append(cell)
        else:
            yield of_cells(kind, [cell], _why(kind, [cell])), [cell]
    for (kind, _), found in throughout.items():
        yield of_cells(kind, found, _why(kind, found)), found


def _kind(cell: Cell) -> str:
    """What a difference is that nothing larger explains."""
    billed, recorded = _parts(cell.billed.counts), _parts(cell.recorded.counts)
    if billed == recorded:
        return _beside(cell) or "tokens_differ"
    if sum(billed) == sum(recorded):
        return "token_kinds"
    if _is_without_cache(cell.billed.counts, cell.recorded.counts):
        return "token_kinds"
    if all(one >= two for one, two in zip(billed, recorded, strict=True)):
        return "unknown_tokens" if cell.recorded.unknown else "unrecorded_requests"
    is_less = all(one <= two for one, two in zip(billed, recorded, strict=True))
    return "unbilled_requests" if is_less else "tokens_differ"


def _is_without_cache(billed: Counts, recorded: Counts) -> bool:
    """Whether recorded prompts are those without what was read from a cache or written to one."""
    if billed.output != recorded.output or billed.total <= recorded.total or not recorded.output:
        return False
    more, beside = billed.uncached - recorded.uncached, recorded.cached + recorded.written
    return not more or (more == beside and (billed.cached, billed.written) == (recorded.cached, recorded.written))


def _why(kind: str, cells: Sequence[Cell]) -> str:
    if kind == "unknown_tokens":
        unknown = sum(cell.recorded.unknown for cell in cells)
        return f"the tokens of {unknown:,} call{'s' if unknown > 1 else ''} are not known here"
    if kind == "unrecorded_requests":
        more = sum((cell.billed.requests or 0) - cell.recorded.used for cell in cells)
        of_them = f" ({more:,} request{'s' if more > 1 else ''} more)" if more > 0 else ""
        return f"calls or retries that nobody recorded{of_them}"
    if kind == "wrong_tier":
        billed, recorded = (
            sum((getattr(cell, side).tiers for cell in cells), Counter[str]()) for side in ("billed", "recorded")
        )
        return f"by tier billed {_by_tier(billed)}, recorded {_by_tier(recorded)}"
    return _WHY[kind]


def _by_tier(tokens: Counter[str]) -> str:
    return ", ".join(f"{tier} {number:,}" for tier, number in sorted(tokens.items()) if number) or "none"


def _models(left: Sequence[Cell], cells: Sequence[Cell]) -> Iterator[tuple[Finding, list[Cell]]]:
    """Models that only one side knows at all, in pairs where one is as the other."""
    both = {side: {cell.key.model for cell in cells if _amount(cell, side)} for side in ("billed", "recorded")}
    by_model: dict[str, list[Cell]] = defaultdict(list)
    for cell in left:
        if cell.key.model is not None:
            by_model[cell.key.model].append(cell)
    unknown = {cell.key.model for cell in cells if cell.recorded.unknown}
    unrecorded = sorted(set(by_model) & both["billed"] - both["recorded"] - unknown)
    unbilled = sorted(set(by_model) & both["recorded"] - both["billed"])
    for name in unrecorded:
        course = _course(by_model[name], "billed")
        same = next((other for other in unbilled if _course(by_model[other], "recorded") == course), "")
        if same:
            unbilled.remove(same)
            finding = of_cells("other_model", by_model[name], f"as many are recorded as {same}")
            yield finding, [*by_model[name], *by_model[same]]
        else:
            yield of_cells("unrecorded_model", by_model[name], "no call of this model is recorded"), by_model[name]
    for name in unbilled:
        why = "the bill does not know this model; maybe somebody else is billed for it"
        yield of_cells("unbilled_model", by_model[name], why), by_model[name]


def _course(cells: Iterable[Cell], side: str) -> dict[int, tuple[int, ...]]:
    return {cell.key.day: _parts(getattr(cell, side).counts) for cell in cells}


def _doubled(left: Sequence[Cell], cells: Sequence[Cell]) -> Iterator[tuple[Finding, list[Cell]]]:
    """Days of which one side has everything twice."""
    twice: dict[str, list[Cell]] = defaultdict(list)
    for day in sorted({cell.key.day for cell in left}):
        found = [cell for cell in cells if cell.key.day == day]
        sides = [(_parts(cell.billed.counts), _parts(cell.recorded.counts)) for cell in found]
        calls = sum(cell.recorded.calls for cell in found)
        if calls >= _MANY and all(one == tuple(2 * part for part in two) for one, two in sides):
            twice["billed"] += found
        elif calls >= 2 * _MANY and all(two == tuple(2 * part for part in one) for one, two in sides):
            twice["recorded"] += found
    for side, found in twice.items():
        yield of_day(f"{side}_twice", found, f"everything is {side} twice"), found
