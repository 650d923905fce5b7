"""Why the money of a bill and that which was recorded differ, where the tokens do not say it.

Amounts agree within what the provider's rounding and that of recorded prices (ten decimals each) may come to, or within
a millionth. An amount that is incomplete, because calls have no price, is not compared from below.

Anthropic asks 1.25 times the price of input for what is written to the cache for five minutes, and twice that for an
hour ("Prompt caching: pricing" in its documentation). So where a bill asks A for an hour, somebody who took it for five
minutes recorded A * 0.625, and 0.375 A are missing. Batches cost half at both providers.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

from mofa_usage.audit.bills.cells import Cell
from mofa_usage.audit.bills.findings import Finding, of_cells
from mofa_usage.pricing.quotes import STANDARD_TIER

__all__ = ["costs_differ", "costs_explained", "is_incomplete"]

_RELATIVE = Decimal("1E-6")
_PER_CALL = Decimal("1E-10")
_HOUR_SHARE = Decimal("0.375")
_HUNDRED = Decimal(100)
_SAME_RATIO = Decimal("1E-4")
_ENOUGH = 2

HourExtra = Callable[[Cell], Decimal | None]
"""By how much writing to the cache for an hour is dearer in a cell than for five minutes; None where nobody knows."""


def _sides(cell: Cell) -> tuple[Decimal, Decimal]:
    return cell.billed.cost or Decimal(0), cell.recorded.cost or Decimal(0)


def _near(cell: Cell, billed: Decimal, recorded: Decimal, scale: Decimal = Decimal(1)) -> bool:
    """Whether two amounts of a cell are the same but for rounding; `scale` is what the billed one was multiplied by."""
    room = cell.billed.slack * scale + max(cell.recorded.calls, 1) * _PER_CALL * max(scale, Decimal(1))
    return abs(billed - recorded) <= room + _RELATIVE * max(abs(billed), abs(recorded))


def is_incomplete(cell: Cell) -> bool:
    """Whether calls of the cell have no price although they may have cost something."""
    return bool(cell.recorded.unpriced or cell.recorded.unknown)


def costs_differ(cell: Cell) -> bool:
    """Whether both sides of a cell differ by more than rounding."""
    billed, recorded = _sides(cell)
    if _near(cell, billed, recorded):
        return False
    return not (is_incomplete(cell) and billed > recorded)


def costs_explained(
    cells: Sequence[Cell],
    beside: Mapping[tuple[str, int], Mapping[str, Decimal]],
    hour_extra: HourExtra,
    compared: Collection[int],
) -> Iterator[Finding]:
    """Findings about the cells of one provider whose sides differ.

    `beside` is what the bill asks by currency and day for what is no model's, such as web searches: calls that used
    them may have recorded it with the rest. On the days `compared` the tokens agree.
    """
    left = [cell for cell in cells if costs_differ(cell)]
    left = [cell for cell in left if not _is_beside(cell, cells, beside)]
    hundreds = [cell for cell in left if _hundredfold(cell)]
    for sign in (1, -1):
        found = [cell for cell in hundreds if _hundredfold(cell) == sign]
        if found:
            side = "the bill has" if sign > 0 else "what was recorded is"
            yield of_cells("cents", found, f"{side} a hundred times as much: cents were taken for dollars")
    left = [cell for cell in left if not _hundredfold(cell)]
    grouped: dict[tuple[str, str, str | None], list[Cell]] = defaultdict(list)
    for cell in left:
        kind, why = _cause(cell, hour_extra) or ("cost_differs", _DIFFERS[cell.key.day in compared])
        grouped[kind, why, cell.key.model].append(cell)
    yield from _differing(grouped)


def _differing(grouped: Mapping[tuple[str, str, str | None], list[Cell]]) -> Iterator[Finding]:
    """One finding for each cause and model; one in all where everything is dearer or cheaper by the same factor."""
    plain = [cell for (kind, _, _), cells in grouped.items() if kind == "cost_differs" for cell in cells]
    ratios = [_ratio(cell) for cell in plain]
    is_same = len(plain) >= _ENOUGH and all(
        ratio is not None and ratios[0] is not None and abs(ratio / ratios[0] - 1) <= _SAME_RATIO for ratio in ratios
    )
    if is_same and ratios[0]:
        factor = f"{ratios[0]:.4f}".rstrip("0").rstrip(".")
        yield of_cells("cost_differs", plain, f"everything is billed at {factor} times what was recorded")
    for (kind, why, _), cells in grouped.items():
        if kind != "cost_differs" or not is_same:
            yield of_cells(kind, cells, why)


def _is_beside(cell: Cell, cells: Iterable[Cell], beside: Mapping[tuple[str, int], Mapping[str, Decimal]]) -> bool:
    """Whether the day's calls recorded what the bill asks for beside the models."""
    more = sum(beside.get((cell.currency, cell.key.day), {}).values(), Decimal(0))
    if not more or cell.key.model is None:
        return False
    day = [one for one in cells if one.key.day == cell.key.day and one.currency == cell.currency]
    billed, recorded = (sum((_sides(one)[side] for one in day), Decimal(0)) for side in (0, 1))
    return all(_sides(one)[1] >= _sides(one)[0] or _near(one, *_sides(one)) for one in day) and _near(
        cell, billed + more, recorded
    )


def _hundredfold(cell: Cell) -> int:
    """1 where the bill is a hundred times what was recorded, -1 where it is the other way round, else 0."""
    billed, recorded = _sides(cell)
    if billed <= 0 or recorded <= 0:
        return 0
    if _near(cell, billed, recorded * _HUNDRED, _HUNDRED):
        return 1
    return -1 if _near(cell, billed * _HUNDRED, recorded, _HUNDRED) else 0


def _ratio(cell: Cell) -> Decimal | None:
    billed, recorded = _sides(cell)
    return billed / recorded if recorded else None


def _cause(cell: Cell, hour_extra: HourExtra) -> tuple[str, str] | None:
    """The kind of finding, and why; None where no cause that is known here fits."""
    billed, recorded = _sides(cell)
    hour = cell.billed.pieces.get("written_1h")
    extra = hour * _HOUR_SHARE if hour else hour_extra(cell)
    if extra and _near(cell, billed, recorded + extra):
        return "cache_lifetime", "what was written to the cache for an hour is recorded at the price of five minutes"
    if extra and _near(cell, billed + extra, recorded):
        return "cache_lifetime", "what was written to the cache for five minutes is recorded at the price of an hour"
    if tier := _tier(cell):
        return "wrong_tier", tier
    for factor, why in _FACTORS.items():
        if recorded and _near(cell, billed, recorded * factor):
            return "wrong_tier", why
    return None


def _tier(cell: Cell) -> str | None:
    """Which tier only one side has."""
    billed, recorded = (
        {tier for tier, amount in costs.items() if amount and tier not in (STANDARD_TIER, "not batch")}
        for costs in (cell.billed.cost_tiers, cell.recorded.cost_tiers)
    )
    if more := sorted(billed - recorded):
        return f"some is billed as {', '.join(more)}, and recorded as another tier"
    if cell.billed.cost_tiers and (less := sorted(recorded - billed)):
        return f"some is recorded as {', '.join(less)}, and billed as another tier"
    return None


_FACTORS: Mapping[Decimal, str] = MappingProxyType(
    {
        Decimal("0.5"): "billed at half: as a batch (or flex), and recorded at the standard price",
        Decimal(2): "billed at twice as much: at the standard price, and recorded as a batch, or as priority",
    }
)
"""What factors between both sides mean."""

_DIFFERS = {
    True: "the tokens agree, so it is another price than the recorded one, or a discount",
    False: "no usage is here to compare tokens with: another price, or calls that only one side has",
}
