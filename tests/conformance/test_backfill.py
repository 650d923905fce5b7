"""Prices for calls that were stored without: on every backend, beside writers, as often as one likes."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from mofa_usage import PriceBook, PriceDetails, QueryFilter, TokenDetails, backfill_prices
from mofa_usage.records import LLMApiCall
from mofa_usage.stores import Store
from tests.samples import USER, call

SOMEBODY = UUID(int=33)
PRICES = """
currency = "EUR"
[[prices]]
model = "own"
input = 2
cached = 1
output = 8
"""


def own(seconds: float, **fields: object) -> LLMApiCall:
    """A call that costs (900 * 2 + 100 * 1 + 50 * 8) / 1e6 = 0.0023 euros."""
    counts = {"prompt_tokens": 1_000, "completion_tokens": 50, "total_tokens": 1_050}
    details = {"prompt_tokens_details": TokenDetails(cached_tokens=100)}
    return call(seconds, **{"model_name": "own", **counts, **details, **fields})


def filled() -> list[LLMApiCall]:
    return [
        own(0),
        own(1, total_price=Decimal("0.5"), price_details=PriceDetails(currency="USD")),
        own(2, model_name="nobody-knows"),
        own(3, completion_tokens_details=TokenDetails.model_validate({"token_source": "estimated"})),
        own(4, price_details=PriceDetails.model_validate({"currency": "USD", "further": 7})),
        own(5, completion_tokens_details=TokenDetails.model_validate({"token_source": "none"})),
    ]


async def test_calls_without_a_price_get_one(store: Store, book: PriceBook) -> None:
    calls = filled()
    await store.save_api_calls(calls)
    began = datetime.now(UTC)
    dry = await backfill_prices(store, book, dry_run=True)
    assert await store.query_api_calls() == calls[::-1]
    done = await backfill_prices(store, book)
    assert (dry.dry_run, done.dry_run) == (True, False)
    for result in (dry, done):
        assert (result.calls, result.unpriced, result.priced, result.estimated) == (6, 5, 3, 1)
        assert result.totals == {"EUR": Decimal("0.0069")}
        assert result.unknown == {"nobody-knows": 1, "own": 1}
    found = {one.id: one for one in await store.query_api_calls()}
    for place in (0, 3, 4):
        one = found[calls[place].id]
        assert (one.total_price, one.currency) == (Decimal("0.0023"), "EUR")
        assert one.price_details is not None
        assert one.price_details.input_price == Decimal("0.0019")
        told = one.price_details.__pydantic_extra__ or {}
        assert (told["price_source"], told["price_exact"]) == (book.source, place != 3)
        assert began <= one.update_time <= datetime.now(UTC)
        changed = ("total_price", "price_details", "update_time")
        assert one.model_copy(update={name: getattr(calls[place], name) for name in changed}) == calls[place]
    assert (found[calls[4].id].price_details.__pydantic_extra__ or {})["further"] == 7  # type: ignore[union-attr]
    for place in (1, 2, 5):
        assert found[calls[place].id] == calls[place]


async def test_a_second_backfill_changes_nothing(store: Store, book: PriceBook) -> None:
    await store.save_api_calls(filled())
    await backfill_prices(store, book)
    before = await store.query_api_calls()
    again = await backfill_prices(store, book)
    assert (again.unpriced, again.priced, again.totals) == (2, 0, {})
    assert await store.query_api_calls() == before


async def test_only_calls_that_meet_the_filter(store: Store, book: PriceBook) -> None:
    await store.save_api_calls([own(0), own(1, user_id=SOMEBODY), own(2)])
    done = await backfill_prices(store, book, filter=QueryFilter(user_id=USER, limit=1))
    assert (done.calls, done.priced) == (1, 1)
    assert [one.total_price is None for one in await store.query_api_calls()] == [False, True, True]


async def test_beside_writers_no_price_is_overwritten(store: Store, book: PriceBook) -> None:
    calls = [own(number) for number in range(1_200)]
    await store.save_api_calls(calls)
    recorded = [one.model_copy(update={"total_price": Decimal(9)}) for one in calls[::7]]

    async def write() -> None:
        for one in recorded:
            await store.save_api_call(one)

    one, other, _ = await asyncio.gather(backfill_prices(store, book), backfill_prices(store, book), write())
    prices = {one.id: one.total_price for one in await store.query_api_calls()}
    theirs = {one.id for one in recorded}
    assert {price for key, price in prices.items() if key in theirs} == {Decimal(9)}
    assert {price for key, price in prices.items() if key not in theirs} == {Decimal("0.0023")}
    # What both saw was written once.
    assert len(calls) - len(recorded) <= one.priced + other.priced <= len(calls)
