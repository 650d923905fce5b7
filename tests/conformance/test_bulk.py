"""Saving many: all or nothing, the last of one id stands, and no round trip per row."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from mofa_usage.records import LLMApiCall, LLMMessage, QueryFilter, TokenDetails
from mofa_usage.stores import Store
from tests.samples import SESSION, call, message


async def test_many_rows_arrive_whole(store: Store) -> None:
    calls = [call(-n, total_price=Decimal(n).scaleb(-7), latency_ms=n or None) for n in range(5_000)]
    await store.save_api_calls(calls)
    assert await store.query_api_calls(QueryFilter()) == calls
    messages = [message(n) for n in range(5_000)]
    await store.save_messages(messages)
    assert await store.get_session_messages(SESSION) == messages


async def test_of_two_with_one_id_the_last_stands(store: Store) -> None:
    first = call(0, error_code="first", latency_ms=1, prompt_tokens_details=TokenDetails(cached_tokens=1))
    last = call(1, id=first.id, model_name="last")
    others = [call(-n) for n in range(1, 4)]
    await store.save_api_calls([others[0], first, others[1], last, others[2]])
    assert await store.query_api_calls(QueryFilter()) == [last, *others]
    said, said_again = message(0), message(1)
    said_again = said_again.model_copy(update={"id": said.id})
    await store.save_messages([said, said_again])
    assert await store.get_session_messages(SESSION) == [said_again]


async def test_the_last_stands_even_when_it_is_older_and_far_away(store: Store) -> None:
    filling = [call(n) for n in range(3_000)]
    first, last = call(9, model_name="first"), call(-9, model_name="last")
    last = last.model_copy(update={"id": first.id})
    await store.save_api_calls([first, *filling, last])
    assert await store.get_api_call(first.id) == last
    assert (await store.get_statistics(QueryFilter())).total_calls == 3_001


async def test_rows_that_exist_are_replaced_and_the_others_added(store: Store) -> None:
    old = [call(-n, error_code="old") for n in range(100)]
    await store.save_api_calls(old)
    new = [call(-n, id=each.id) if n % 2 else call(-n) for n, each in enumerate(old)]
    await store.save_api_calls(new)
    kept = [each for n, each in enumerate(old) if not n % 2]
    saved = await store.query_api_calls(QueryFilter())
    assert sorted(saved, key=lambda each: each.id) == sorted(kept + new, key=lambda each: each.id)


class BrokenSourceError(Exception):
    pass


def _breaking(records: list[Any]) -> Iterator[Any]:
    yield from records
    raise BrokenSourceError


@pytest.mark.parametrize("count", [1, 3_000])
async def test_nothing_is_saved_when_the_source_breaks(store: Store, count: int) -> None:
    with pytest.raises(BrokenSourceError):
        await store.save_api_calls(_breaking([call(n) for n in range(count)]))
    with pytest.raises(BrokenSourceError):
        await store.save_messages(_breaking([message(n) for n in range(count)]))
    assert await store.query_api_calls(QueryFilter()) == []
    assert await store.count_session_messages(SESSION) == 0


@pytest.mark.parametrize("stranger", [None, "text", {"id": 1}, 7])
async def test_nothing_is_saved_when_one_is_no_record(store: Store, stranger: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - which one is not promised
        await store.save_api_calls([call(), stranger, call()])
    with pytest.raises(Exception):  # noqa: B017, PT011
        await store.save_messages([message(), stranger])
    assert await store.query_api_calls(QueryFilter()) == []
    assert await store.count_session_messages(SESSION) == 0


async def test_any_iterable_will_do(store: Store) -> None:
    calls, messages = [call(-n) for n in range(10)], [message(n) for n in range(10)]
    await store.save_api_calls(each for each in calls)
    await store.save_messages(tuple(messages))
    assert await store.query_api_calls(QueryFilter()) == calls
    assert await store.get_session_messages(SESSION) == messages


@pytest.mark.parametrize("kind", [LLMApiCall, LLMMessage])
@pytest.mark.sql_only
async def test_statements_do_not_grow_with_rows(store: Any, kind: type[Any]) -> None:
    async def statements(count: int) -> int:
        seen: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            seen.append(statement)

        sa.event.listen(store.engine.sync_engine, "before_cursor_execute", note)
        try:
            if kind is LLMApiCall:
                await store.save_api_calls([call() for _ in range(count)])
            else:
                await store.save_messages([message() for _ in range(count)])
        finally:
            sa.event.remove(store.engine.sync_engine, "before_cursor_execute", note)
        return len(seen)

    assert await statements(5_000) <= await statements(50) + 10


async def test_saving_twice_in_bulk_is_saving_once(store: Store) -> None:
    calls = [call(-n, id=UUID(int=n + 1)) for n in range(500)]
    for _ in range(2):
        await store.save_api_calls(calls)
    assert await store.query_api_calls(QueryFilter()) == calls
