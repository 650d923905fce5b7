"""Tallies: exact sums by model and status, as plain Python adds them up."""

import random
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

from mofa_usage.records import LLMApiCall, QueryFilter
from mofa_usage.stores import Store, Tally
from tests.samples import at, call

BOUNDS = (100, 250, 1000)


def expected(calls: list[LLMApiCall]) -> list[Tally]:
    """One pass for each model and status, which has nothing in common with how a store does it."""
    tallies = []
    for model, status in sorted({(one.model_name, one.status) for one in calls}):
        mine = [one for one in calls if (one.model_name, one.status) == (model, status)]
        prices = [(one.currency, one.total_price) for one in mine if one.total_price is not None]
        latencies = [one.latency_ms for one in mine if one.latency_ms is not None]
        edges = (-1, *BOUNDS, 10**12)
        tallies.append(
            Tally(
                model_name=model,
                status=status,
                calls=len(mine),
                unpriced=len(mine) - len(prices),
                prompt_tokens=sum(one.prompt_tokens for one in mine),
                completion_tokens=sum(one.completion_tokens for one in mine),
                costs={
                    str(currency): sum((price for own, price in prices if own == currency), Decimal(0))
                    for currency in sorted({str(own) for own, _ in prices})
                },
                latency_ms=sum(latencies),
                latencies=tuple(sum(low < latency <= high for latency in latencies) for low, high in pairwise(edges)),
            )
        )
    return tallies


def some_calls(count: int) -> list[LLMApiCall]:
    generator = random.Random(11)
    choose = generator.choice
    return [
        call(
            n,
            model_name=choose(["gpt-4", "GPT-4", "gpt-4 ", "GPT-4\u00e9", 'a"b\\c', "\u2603"]),
            status=choose(["success", "success", "failed", "timeout"]),
            prompt_tokens=generator.randrange(2**31),
            latency_ms=choose([None, 0, 100, 101, 250, 999, 1000, 1001, 2**31 - 1]),
            total_price=choose([None, Decimal(generator.randrange(10**12)).scaleb(-10)]),
            price_details=choose([None, {"currency": "EUR"}, {"currency": "JPY"}]),
        )
        for n in range(count)
    ]


async def test_sums_are_exact_and_names_are_told_apart_to_the_letter(store: Store) -> None:
    calls = some_calls(400)
    await store.save_api_calls(calls)
    assert await store.tally_calls(BOUNDS) == expected(calls)
    assert [tally.latencies for tally in await store.tally_calls(())] == [
        (sum(tally.latencies),) for tally in expected(calls)
    ]


async def test_without_calls_there_are_no_tallies(store: Store) -> None:
    assert await store.tally_calls(BOUNDS) == []


async def test_they_obey_the_filter_and_see_what_their_transaction_saved(store: Store) -> None:
    calls = [call(n, model_name="ab"[n % 2], user_id=UUID(int=n % 3)) for n in range(12)]
    await store.save_api_calls(calls[:6])
    query = QueryFilter(user_id=UUID(int=1), start_time=at(2), end_time=at(10), limit=1, offset=5)
    async with store.transaction() as transaction:
        await transaction.save_api_calls(calls[6:])
        found = await transaction.tally_calls(BOUNDS, query)
    assert found == expected([calls[4], calls[7], calls[10]])
