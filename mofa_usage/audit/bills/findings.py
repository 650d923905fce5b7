"""A finding: one thing that is not as it should be between a bill and what was recorded, named by its kind."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from mofa_usage.audit.bills.cells import Cell
from mofa_usage.audit.bills.joining import day_of
from mofa_usage.audit.bills.pages import PROVIDERS
from mofa_usage.wording import count, money
from mofa_usage.zones import DAY

__all__ = ["KINDS", "Finding", "about", "of_cells", "of_day"]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "cut_pages": "a page says that more follow, and none does; or a report begins later than its provider's other",
        "doubled_page": "a page, or rows of it, is there twice; it was counted once",
        "overlapping_pages": "pages tell of the same time and differ; what says more was counted",
        "zone_shift": "the days of one side are those of another time zone",
        "missing_in_bill": "a day with recorded calls has no usage in the bill, or no bucket",
        "missing_in_records": "a day with billed usage has no recorded calls",
        "provider_not_recorded": "no call of the provider is recorded in the whole time",
        "unrecorded_model": "a model is billed of which no call is recorded",
        "unbilled_model": "a model is recorded that is not billed",
        "other_model": "what is billed as one model is recorded as another",
        "billed_twice": "everything of a day is billed twice",
        "recorded_twice": "everything of a day is recorded twice",
        "unknown_tokens": "more is billed than recorded, and there are calls whose tokens are unknown",
        "unrecorded_requests": "more is billed than recorded: calls, or retries, that nobody recorded",
        "unbilled_requests": "more is recorded than billed",
        "token_kinds": "the tokens are as many, but of other kinds (cached, written, output)",
        "tokens_differ": "tokens of some kinds are more and of others less",
        "wrong_tier": "billed at another tier (batch, flex, priority) than recorded",
        "cache_lifetime": "written to the cache for an hour, and priced or recorded as for five minutes",
        "cents": "one side is a hundred times the other: cents were taken for dollars",
        "cost_differs": "the tokens agree, and the money does not: another price, or a discount",
    }
)
"""Every kind of finding, and what it means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is not as it should be.

    Attributes:
        kind: One of `KINDS`.
        provider: Whose bill; empty where it is about all of them.
        day: The day since the epoch, of several the first.
        model: The model; None where it is about all of them.
        sentence: What it is, with its numbers. Names in it are untrusted.
        unit: What the numbers count: `tokens`, `requests`, or a currency; empty where there are none.
        billed, recorded: Both sides.
    """

    kind: str
    provider: str
    day: int
    model: str | None
    sentence: str
    unit: str = ""
    billed: Decimal | None = None
    recorded: Decimal | None = None


def about(days: Iterable[int]) -> str:
    """`on 2026-05-03`, or of several days the first, the last and how many they are."""
    found = sorted({str(day_of(day * DAY)) for day in days})
    return f"on {found[0]}" if len(found) == 1 else f"on {len(found):,} days from {found[0]} to {found[-1]}"


def _amounts(cells: Sequence[Cell]) -> tuple[str, Decimal, Decimal]:
    """The unit of cells and what they come to on both sides: money, or tokens, or requests where tokens agree."""
    if cells[0].of_money:
        sides = [[side.cost or Decimal(0) for side in (cell.billed, cell.recorded)] for cell in cells]
        return (
            cells[0].currency,
            sum((one for one, _ in sides), Decimal(0)),
            sum((two for _, two in sides), Decimal(0)),
        )
    billed, recorded = (sum(getattr(cell, side).counts.total for cell in cells) for side in ("billed", "recorded"))
    asked = [cell.billed.requests for cell in cells if cell.billed.requests is not None]
    if billed == recorded and asked and sum(asked) != sum(cell.recorded.used for cell in cells):
        return "requests", Decimal(sum(asked)), Decimal(sum(cell.recorded.used for cell in cells))
    return "tokens", Decimal(billed), Decimal(recorded)


def _both(unit: str, billed: Decimal, recorded: Decimal) -> str:
    """`billed 1,200 tokens, recorded 1,000`."""
    if unit in ("tokens", "requests"):
        return f"billed {count(int(billed))} {unit}, recorded {count(int(recorded))}"
    return f"billed {money(billed, unit)}, recorded {money(recorded, unit)}"


def of_cells(kind: str, cells: Iterable[Cell], why: str) -> Finding:
    """The finding about cells of one provider: what is billed and recorded, and `why`."""
    several = list(cells)
    models = {cell.key.model for cell in several}
    return _of(kind, several, why, next(iter(models)) if len(models) == 1 else None)


def of_day(kind: str, cells: Iterable[Cell], why: str) -> Finding:
    """The finding about everything of a provider on a day, or on some."""
    return _of(kind, cells, why, None)


def _of(kind: str, cells: Iterable[Cell], why: str, model: str | None) -> Finding:
    several = sorted(cells, key=lambda cell: cell.key.day)
    unit, billed, recorded = _amounts(several)
    provider = several[0].key.provider
    what = f"{PROVIDERS[provider]}'s {model}" if model else PROVIDERS[provider]
    said = f"{what} {about(cell.key.day for cell in several)}: {_both(unit, billed, recorded)}; {why}"
    return Finding(kind, provider, several[0].key.day, model, said, unit, billed, recorded)
