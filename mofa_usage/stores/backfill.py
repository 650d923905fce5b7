"""Prices for calls that were stored without: those of a price book, as of the day of each call.

The calls are read newest first, some thousand at a time, and what a book knows of them is written in small
transactions, each call only if it still has no price. So memory is bounded, writers go on meanwhile and are never
overwritten, a backfill that was killed is simply run again, and one that is run twice changes nothing the second time.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, localcontext

from pydantic import BaseModel

from mofa_usage.errors import UsageError
from mofa_usage.pricing import PriceBook, checked_book, with_price
from mofa_usage.pricing.rates import EXACT
from mofa_usage.records import LLMApiCall, QueryFilter
from mofa_usage.stores.base import Store

__all__ = ["BackfillResult", "backfill_prices"]

_AT_ONCE = 500  # calls in a transaction, which locks them for some milliseconds


@dataclass(frozen=True)
class BackfillResult:
    """What a backfill did, or would do.

    Attributes:
        calls: how many were looked at.
        unpriced: those of them that had no price.
        priced: those that got one.
        estimated: those of these whose price is not exact (`Price.exact`).
        totals: what these cost together, by currency.
        unknown: how many got none, by model; calls of which no tokens are known are among them.
        dry_run: whether nothing was written.
    """

    calls: int
    unpriced: int
    priced: int
    estimated: int
    totals: Mapping[str, Decimal]
    unknown: Mapping[str, int]
    dry_run: bool

    def __str__(self) -> str:
        verb = "would get" if self.dry_run else "got"
        amounts = " and ".join(f"{amount} {currency}" for currency, amount in self.totals.items())
        calls = f"{self.calls:,} call{'s' * (self.calls != 1)}"
        of_all = f"{calls}, {self.unpriced:,} without a price: {self.priced:,} {verb} one"
        return of_all + (f", {amounts} in all" if amounts else "")


@dataclass
class _Tally:
    calls: int = 0
    unpriced: int = 0
    priced: int = 0
    estimated: int = 0
    totals: dict[str, Decimal] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, call: LLMApiCall) -> None:
        """Count a call that got a price."""
        details = call.price_details
        self.priced += 1
        self.estimated += details is not None and not (details.__pydantic_extra__ or {}).get("price_exact", False)
        currency = call.currency or ""
        with localcontext(EXACT):
            self.totals[currency] = self.totals.get(currency, Decimal(0)) + (call.total_price or 0)


async def backfill_prices(
    store: Store,
    book: PriceBook | None = None,
    *,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    dry_run: bool = False,
) -> BackfillResult:
    """Give the calls of a store that have no price that of a price book, as of their day.

    `price_details` says which book it is from (`price_source`) and whether it is exact (`price_exact`), and
    `update_time` is now, so that copies notice. A price that is there is never changed.

    Args:
        store: any store; it stays open.
        book: which prices, by default the list prices.
        filter: only calls that meet it.
        dry_run: say what would be done, and write nothing.

    Raises:
        MissingExtraError: the extra `pricing` is not installed, and no book is given.
        UsageError: what was given is no open store, or no price book.
        PersistenceError: the store failed; what was written before stays.
    """
    book, tally = PriceBook.default() if book is None else checked_book(book), _Tally()
    if not isinstance(store, Store):
        raise UsageError(f"a {type(store).__name__} is no store; open one: async with connect(url) as store")
    waiting: list[LLMApiCall] = []
    async for call in store.stream_api_calls(filter):
        tally.calls += 1
        if call.total_price is not None:
            continue
        tally.unpriced += 1
        priced = with_price(call, book)
        if priced.total_price is None:
            tally.unknown[call.model_name] += 1
            continue
        waiting.append(priced)
        if len(waiting) >= _AT_ONCE:
            await _fill(store, waiting, tally, dry_run)
            waiting = []
    await _fill(store, waiting, tally, dry_run)
    return BackfillResult(
        calls=tally.calls,
        unpriced=tally.unpriced,
        priced=tally.priced,
        estimated=tally.estimated,
        totals=dict(sorted(tally.totals.items())),
        unknown=dict(tally.unknown.most_common()),
        dry_run=dry_run,
    )


async def _fill(store: Store, calls: list[LLMApiCall], tally: _Tally, dry_run: bool) -> None:
    if calls and not dry_run:
        now = datetime.now(UTC)
        changed = [BaseModel.model_copy(call, update={"update_time": max(now, call.create_time)}) for call in calls]
        calls = await store._fill_prices(changed)
    for call in calls:
        tally.add(call)
