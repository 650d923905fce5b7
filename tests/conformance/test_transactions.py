"""A transaction: what is done in it happens together or not at all, and nobody sees it before."""
# ruff: noqa: PT012 - how a whole transaction ends is what these blocks are about

import asyncio
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.errors import ConstraintError, NotFoundError, PersistenceError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store
from tests.samples import SESSION, agent, at, call, message, provider, session

PATIENCE = 20  # seconds that no test should need


class StopHereError(Exception):
    pass


async def test_it_commits_at_the_end(store: Store) -> None:
    chat, said, made = session(id=SESSION), message(), call()
    async with store.transaction() as transaction:
        await transaction.create_session(chat)
        await transaction.save_message(said)
        await transaction.save_api_calls([made])
    assert await store.get_session(SESSION) == chat
    assert await store.get_session_messages(SESSION) == [said]
    assert await store.query_api_calls(QueryFilter()) == [made]


async def test_it_rolls_back_on_an_exception_which_goes_on(store: Store) -> None:
    kept = call()
    await store.save_api_call(kept)
    with pytest.raises(StopHereError):
        async with store.transaction() as transaction:
            await transaction.save_messages([message(), message()])
            await transaction.save_agent(agent())
            await transaction.delete_api_call(kept.id)
            raise StopHereError
    assert await store.get_session_messages(SESSION) == []
    assert await store.get_agent_by_code("helper") is None
    assert await store.query_api_calls(QueryFilter()) == [kept]


async def test_it_rolls_back_every_kind_of_change(store: Store) -> None:
    chat, said, made = session(0, id=SESSION), message(0), call(0)
    openai = provider()
    helper = agent(provider_id=openai.id)
    await store.create_session(chat)
    await store.save_message(said)
    await store.save_api_call(made)
    await store.save_provider(openai)
    await store.save_agent(helper)
    with pytest.raises(StopHereError):
        async with store.transaction() as transaction:
            await transaction.update_session(chat.model_copy(update={"title": "changed"}))
            await transaction.save_message(message(1, id=said.id))
            await transaction.save_provider(openai.model_copy(update={"enabled": False}))
            await transaction.save_agent(helper.model_copy(update={"agent_name": "changed"}))
            await transaction.save_api_call(call(5, id=made.id))
            assert await transaction.cleanup_old_records(at(9)) == 1
            assert await transaction.delete_session_messages(SESSION) == 1
            assert await transaction.delete_agent(helper.id) is True
            assert await transaction.delete_provider(openai.id) is True
            assert await transaction.delete_session(SESSION) is True
            raise StopHereError
    assert await store.get_session(SESSION) == chat
    assert await store.get_session_messages(SESSION) == [said]
    assert await store.query_api_calls(QueryFilter()) == [made]
    assert await store.get_provider(openai.id) == openai
    assert await store.get_agent(helper.id) == helper


async def test_it_sees_its_own_changes(store: Store) -> None:
    before = call(0)
    await store.save_api_call(before)
    async with store.transaction() as transaction:
        after = call(1)
        await transaction.save_api_call(after)
        await transaction.save_api_calls([call(2, id=before.id)])
        assert len(await transaction.query_api_calls(QueryFilter())) == 2
        assert [each.id async for each in transaction.stream_api_calls(QueryFilter())] == [before.id, after.id]
        assert (await transaction.get_statistics(QueryFilter())).total_calls == 2
        assert await transaction.delete_api_call(after.id) is True
        assert await transaction.get_api_call(after.id) is None
    assert len(await store.query_api_calls(QueryFilter())) == 1


@pytest.mark.parametrize("ending", ["commit", "roll back"])
async def test_nobody_sees_it_before_the_commit(store: Store, ending: str) -> None:
    old, new = call(0), call(1)
    await store.save_api_call(old)

    async def look() -> list[UUID]:
        return [each.id for each in await store.query_api_calls(QueryFilter())]

    outside = None
    try:
        async with asyncio.timeout(PATIENCE), store.transaction() as transaction:
            await transaction.save_api_call(new)
            await transaction.delete_api_call(old.id)
            outside = asyncio.create_task(look())
            # A store may answer from before the transaction or wait for its end; it may never show its middle.
            await asyncio.wait([outside], timeout=0.3)
            if outside.done():
                assert outside.result() == [old.id]
            if ending == "roll back":
                raise StopHereError
    except StopHereError:
        pass
    finally:
        seen = await outside if outside else None
    after = [new.id] if ending == "commit" else [old.id]
    assert seen in ([old.id], after)
    assert await look() == after


async def test_an_error_that_leaves_it_rolls_back(store: Store) -> None:
    first = provider("taken", tenant_id=UUID(int=7))
    await store.save_provider(first)
    with pytest.raises(ConstraintError):
        async with store.transaction() as transaction:
            await transaction.save_api_call(call())
            await transaction.save_provider(provider("taken", tenant_id=UUID(int=7)))
    assert await store.query_api_calls(QueryFilter()) == []
    assert await store.list_providers(UUID(int=7)) == [first]


async def test_creating_a_session_that_exists_rolls_back(store: Store) -> None:
    chat = session(id=SESSION)
    await store.create_session(chat)
    with pytest.raises(ConstraintError):
        async with store.transaction() as transaction:
            await transaction.save_message(message())
            await transaction.create_session(chat)
    assert await store.get_session_messages(SESSION) == []


async def test_an_error_that_was_caught_inside_never_commits_a_half(store: Store) -> None:
    await store.save_agent(agent("taken"))
    before, after = call(0), call(1)
    raised = False
    try:
        async with store.transaction() as transaction:
            await transaction.save_api_call(before)
            with pytest.raises(ConstraintError):
                await transaction.save_agent(agent("taken"))
            await transaction.save_api_call(after)
    except PersistenceError:
        raised = True
    saved = await store.query_api_calls(QueryFilter())
    assert saved == ([] if raised else [after, before])


async def test_not_found_is_an_answer_inside_too(store: Store) -> None:
    with pytest.raises(NotFoundError):
        async with store.transaction() as transaction:
            await transaction.save_api_call(call())
            await transaction.update_session(session())
    assert await store.query_api_calls(QueryFilter()) == []


async def test_a_transaction_that_does_nothing_does_nothing(store: Store) -> None:
    async with store.transaction():
        pass
    assert await store.query_api_calls(QueryFilter()) == []


async def test_transactions_follow_each_other(store: Store) -> None:
    for n in range(20):
        async with store.transaction() as transaction:
            await transaction.save_api_call(call(n))
    assert len(await store.query_api_calls(QueryFilter())) == 20


async def test_many_transactions_at_once_all_commit(store: Store) -> None:
    async def work(n: int) -> None:
        async with store.transaction() as transaction:
            await transaction.save_message(message(n))
            await asyncio.sleep(0.001)
            await transaction.save_api_call(call(n))

    async with asyncio.timeout(3 * PATIENCE), asyncio.TaskGroup() as group:
        for n in range(40):
            group.create_task(work(n))
    assert await store.count_session_messages(SESSION) == 40
    assert len(await store.query_api_calls(QueryFilter())) == 40


async def test_a_cancelled_transaction_rolls_back(store: Store) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with store.transaction() as transaction:
            await transaction.save_api_call(call())
            inside.set()
            await asyncio.sleep(3_600)

    task = asyncio.create_task(work())
    async with asyncio.timeout(PATIENCE):
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.query_api_calls(QueryFilter()) == []
    await store.save_api_call(call())


async def test_a_transaction_that_is_over_refuses_to_work(store: Store) -> None:
    async with store.transaction() as transaction:
        await transaction.save_api_call(call())
    works: list[Any] = [transaction.save_api_call(call()), transaction.query_api_calls(QueryFilter())]
    for work in works:
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is not promised
            await work
    assert len(await store.query_api_calls(QueryFilter())) == 1
