"""Statistics: exact counts and sums over the calls of a filter, averages over those that have the value."""

import random
from decimal import Decimal
from uuid import UUID

import pytest

from mofa_usage.records import ApiCallStatus, QueryFilter
from mofa_usage.stores import Store
from tests.samples import at, call

ALL = QueryFilter()


async def test_no_calls_have_zero_counts_and_no_averages(store: Store) -> None:
    stats = await store.get_statistics(ALL)
    assert (stats.total_calls, stats.success_count, stats.failed_count) == (0, 0, 0)
    assert (stats.total_tokens, stats.total_prompt_tokens, stats.total_completion_tokens) == (0, 0, 0)
    assert (stats.total_cost, stats.avg_latency_ms, stats.avg_tokens_per_second) == (None, None, None)
    assert (stats.priced_calls, stats.costs) == (0, {})
    assert stats.success_rate is None
    assert stats.status_counts == dict.fromkeys(ApiCallStatus, 0)


async def test_every_status_is_counted_and_failed_means_failed(store: Store) -> None:
    wanted = {"success": 5, "failed": 4, "timeout": 3, "rate_limited": 2, "cancelled": 1}
    await store.save_api_calls([call(status=status) for status, count in wanted.items() for _ in range(count)])
    stats = await store.get_statistics(ALL)
    assert stats.status_counts == wanted
    assert (stats.total_calls, stats.success_count, stats.failed_count) == (15, 5, 4)
    assert stats.success_rate == pytest.approx(1 / 3)


async def test_tokens_are_summed_beyond_32_bits(store: Store) -> None:
    most = 2**31 - 1
    await store.save_api_calls([call(prompt_tokens=most, completion_tokens=1, total_tokens=most)] * 1)
    await store.save_api_calls([call(prompt_tokens=most, completion_tokens=1, total_tokens=most) for _ in range(9)])
    stats = await store.get_statistics(ALL)
    assert (stats.total_prompt_tokens, stats.total_completion_tokens, stats.total_tokens) == (10 * most, 10, 10 * most)
    assert type(stats.total_tokens) is int


async def test_details_are_not_added_to_tokens(store: Store) -> None:
    await store.save_api_call(call(prompt_tokens_details={"cached_tokens": 90, "audio_tokens": 5}))
    stats = await store.get_statistics(ALL)
    assert (stats.total_prompt_tokens, stats.total_completion_tokens, stats.total_tokens) == (100, 50, 150)


async def test_the_cost_of_many_random_prices_is_exact(store: Store) -> None:
    randomness = random.Random(7)
    prices = [Decimal(randomness.randrange(-(10**12), 10**15)).scaleb(-10) for _ in range(3_000)]
    await store.save_api_calls([call(total_price=price) for price in prices])
    stats = await store.get_statistics(ALL)
    assert stats.total_cost == sum(prices)
    assert isinstance(stats.total_cost, Decimal)


async def test_the_cost_of_small_prices_is_exact(store: Store) -> None:
    await store.save_api_calls([call(total_price=Decimal("0.0000000001")) for _ in range(1_000)])
    await store.save_api_calls([call(total_price=Decimal("0.1")) for _ in range(10)])
    assert (await store.get_statistics(ALL)).total_cost == Decimal("1.0000001")


async def test_the_cost_of_the_dearest_calls_does_not_overflow(store: Store) -> None:
    # 9,224 of them are more than a 64-bit integer of tenths of nanodollars can hold.
    dearest = Decimal("99999.9999999999")
    await store.save_api_calls([call(total_price=dearest) for _ in range(9_300)])
    assert (await store.get_statistics(ALL)).total_cost == dearest * 9_300


async def test_an_unpriced_call_is_unknown_not_free(store: Store) -> None:
    await store.save_api_calls([call(), call()])
    assert (await store.get_statistics(ALL)).total_cost is None
    await store.save_api_call(call(total_price=Decimal("0.25")))
    assert (await store.get_statistics(ALL)).total_cost == Decimal("0.25")
    await store.save_api_call(call(total_price=Decimal("-0.25")))
    assert (await store.get_statistics(ALL)).total_cost == 0


async def test_costs_are_summed_by_currency_and_never_across(store: Store) -> None:
    randomness = random.Random(8)
    calls = []
    for currency in ("USD", "EUR", "EUR", "JPY", None):
        details = None if currency is None else {"currency": currency}
        prices = [Decimal(randomness.randrange(-(10**12), 10**15)).scaleb(-10) for _ in range(20)]
        calls += [call(total_price=price, price_details=details) for price in prices]
        calls += [call(price_details=details, status="failed"), call(price_details=details, total_price=Decimal(1))]
    await store.save_api_calls(calls)
    stats = await store.get_statistics(ALL)
    wanted: dict[str, Decimal] = {}
    for one in calls:
        if one.total_price is not None:
            assert one.currency is not None
            wanted[one.currency] = wanted.get(one.currency, Decimal(0)) + one.total_price
    assert stats.costs == wanted
    assert list(stats.costs) == ["EUR", "USD", "JPY"]  # of most priced calls first, then by name
    assert (stats.total_calls, stats.priced_calls, stats.total_cost) == (110, 105, None)
    assert stats.failed_count == 5


async def test_the_cost_of_one_currency_is_the_total(store: Store) -> None:
    priced = call(total_price=Decimal("0.1"), price_details={"currency": "EUR"})
    await store.save_api_calls([priced, call(price_details={"currency": "JPY"})])
    stats = await store.get_statistics(ALL)
    assert (stats.costs, stats.total_cost, stats.priced_calls) == ({"EUR": Decimal("0.1")}, Decimal("0.1"), 1)


async def test_averages_are_over_the_calls_that_have_the_value(store: Store) -> None:
    await store.save_api_calls(
        [
            call(latency_ms=1, tokens_per_second=0.5),
            call(latency_ms=2, tokens_per_second=0.25),
            call(latency_ms=2, status="failed"),
            call(),
        ]
    )
    stats = await store.get_statistics(ALL)
    assert stats.avg_latency_ms == pytest.approx(5 / 3, rel=1e-12)
    assert stats.avg_tokens_per_second == pytest.approx(0.375, rel=1e-12)
    assert type(stats.avg_latency_ms) is float
    assert type(stats.avg_tokens_per_second) is float


async def test_an_average_of_zeros_is_zero(store: Store) -> None:
    await store.save_api_call(call(latency_ms=0, tokens_per_second=0.0))
    stats = await store.get_statistics(ALL)
    assert (stats.avg_latency_ms, stats.avg_tokens_per_second) == (0.0, 0.0)


async def test_limit_and_offset_do_not_change_statistics(store: Store) -> None:
    await store.save_api_calls([call(n, total_price=Decimal(n)) for n in range(10)])
    everything = await store.get_statistics(ALL)
    for page in (QueryFilter(limit=3), QueryFilter(limit=0), QueryFilter(offset=8), QueryFilter(limit=2, offset=20)):
        assert await store.get_statistics(page) == everything
    assert everything.total_cost == 45


async def test_statistics_obey_the_filter(store: Store) -> None:
    tenant = UUID(int=77)
    await store.save_api_calls([call(n, tenant_id=tenant, total_price=Decimal(1), latency_ms=10) for n in range(3)])
    await store.save_api_calls([call(n, total_price=Decimal(100), latency_ms=1_000, status="failed") for n in range(3)])
    stats = await store.get_statistics(QueryFilter(tenant_id=tenant, start_time=at(1)))
    assert (stats.total_calls, stats.total_cost, stats.avg_latency_ms) == (2, Decimal(2), 10.0)
    assert (stats.failed_count, stats.success_rate) == (0, 1.0)
