"""API calls: saving, reading, deleting, and cleaning up old ones."""

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest

from mofa_usage.records import LLMApiCall, QueryFilter, TokenDetails
from mofa_usage.stores import Store
from mofa_usage.stores.base import Records
from tests.samples import agent, at, call, message, provider, session

UNKNOWN = UUID(int=404)


async def test_an_unknown_call_is_none(store: Store) -> None:
    assert await store.get_api_call(UNKNOWN) is None
    assert await store.query_api_calls(QueryFilter()) == []


async def test_saving_again_replaces_the_call_whole(store: Store) -> None:
    first = call(
        0, latency_ms=5, total_price="1.5", error_code="x", prompt_tokens_details=TokenDetails(cached_tokens=3)
    )
    second = call(9, id=first.id, status="timeout", model_name="other")
    await store.save_api_call(first)
    await store.save_api_call(second)
    assert await store.get_api_call(first.id) == second
    assert await store.query_api_calls(QueryFilter()) == [second]


@pytest.mark.parametrize("unknown", [0, 1, 1_200])
async def test_those_of_many_ids_that_are_there_are_found(store: Store, unknown: int) -> None:
    calls = [call(-n, latency_ms=n) for n in range(7)]
    await store.save_api_calls(calls)
    others = [UUID(int=number) for number in range(unknown)]
    await check_found(store, calls, others)
    async with store.transaction() as transaction:
        await check_found(transaction, calls, others)


async def check_found(records: Records, calls: list[LLMApiCall], others: list[UUID]) -> None:
    found = await records._find_api_calls([calls[2].id, *others, calls[5].id, calls[2].id])
    assert {one.id: one for one in found} == {calls[2].id: calls[2], calls[5].id: calls[5]}
    assert len(found) == 2
    assert await records._find_api_calls(others) == []


async def test_deleting_a_call_says_whether_it_was_there(store: Store) -> None:
    gone, kept = call(0), call(1)
    await store.save_api_calls([gone, kept])
    assert await store.delete_api_call(gone.id) is True
    assert await store.delete_api_call(gone.id) is False
    assert await store.query_api_calls(QueryFilter()) == [kept]


async def test_saving_no_calls_does_nothing(store: Store) -> None:
    await store.save_api_calls([])
    assert await store.query_api_calls(QueryFilter()) == []


async def test_cleaning_up_removes_what_was_made_strictly_before(store: Store) -> None:
    old, edge, new = call(-0.000_001), call(0), call(0.000_001)
    await store.save_api_calls([old, edge, new])
    assert await store.cleanup_old_records(at(0)) == 1
    assert await store.query_api_calls(QueryFilter()) == [new, edge]


async def test_cleaning_up_counts_and_is_done_once(store: Store) -> None:
    await store.save_api_calls([call(n) for n in range(2_500)])
    assert await store.cleanup_old_records(at(2_400)) == 2_400
    assert await store.cleanup_old_records(at(2_400)) == 0
    assert len(await store.query_api_calls(QueryFilter())) == 100


async def test_cleaning_up_goes_by_creation_not_by_update(store: Store) -> None:
    updated_late = call(create_time=at(0), update_time=at(100))
    await store.save_api_call(updated_late)
    assert await store.cleanup_old_records(at(50)) == 1


async def test_cleaning_up_understands_other_zones(store: Store) -> None:
    await store.save_api_calls([call(-1), call(0)])
    tokyo = timezone(timedelta(hours=9))
    assert await store.cleanup_old_records(at(0).astimezone(tokyo)) == 1


async def test_cleaning_up_before_a_naive_time_is_refused(store: Store) -> None:
    await store.save_api_call(call(0))
    with pytest.raises(ValueError, match=r"zone|naive"):
        await store.cleanup_old_records(datetime(2030, 1, 1))
    assert len(await store.query_api_calls(QueryFilter())) == 1


async def test_cleaning_up_touches_only_calls(store: Store) -> None:

    others = (message(-9), session(-9), agent(create_time=at(-9)), provider(create_time=at(-9)))
    await store.save_message(others[0])
    await store.create_session(others[1])
    await store.save_agent(others[2])
    await store.save_provider(others[3])
    assert await store.cleanup_old_records(at(0)) == 0
    assert await store.get_message(others[0].id) == others[0]
    assert await store.get_session(others[1].id) == others[1]
    assert await store.get_agent(others[2].id) == others[2]
    assert await store.get_provider(others[3].id) == others[3]
