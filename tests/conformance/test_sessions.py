"""Chat sessions: creating, reading, updating, deleting."""

from uuid import UUID

import pytest

from mofa_usage.errors import ConstraintError, NotFoundError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store
from tests.samples import SESSION, USER, at, call, message, session

UNKNOWN = UUID(int=404)


async def test_an_unknown_session_is_none(store: Store) -> None:
    assert await store.get_session(UNKNOWN) is None
    assert await store.get_user_sessions(UNKNOWN) == []


async def test_a_users_sessions_are_only_the_users(store: Store) -> None:
    mine, theirs = session(), session(user_id=UUID(int=99))
    await store.create_session(mine)
    await store.create_session(theirs)
    assert await store.get_user_sessions(USER) == [mine]


async def test_creating_a_session_twice_is_a_constraint_error_and_changes_nothing(store: Store) -> None:
    first = session(0, title="first")
    await store.create_session(first)
    with pytest.raises(ConstraintError):
        await store.create_session(first)
    with pytest.raises(ConstraintError):
        await store.create_session(session(1, id=first.id, title="second"))
    assert await store.get_session(first.id) == first


async def test_updating_replaces_the_session_whole(store: Store) -> None:
    first = session(0, title="first", metadata={"a": 1, "b": 2}, tenant_id=UUID(int=7))
    second = session(5, id=first.id, user_id=UUID(int=98), metadata={"c": 3})
    await store.create_session(first)
    await store.update_session(second)
    assert await store.get_session(first.id) == second
    assert await store.get_user_sessions(USER) == []


async def test_updating_twice_is_updating_once(store: Store) -> None:
    made = session(0)
    await store.create_session(made)
    for _ in range(2):
        await store.update_session(made)  # nothing changes, which is no reason to think that it is not there
    assert await store.get_session(made.id) == made


async def test_updating_an_unknown_session_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.update_session(session())
    assert await store.get_user_sessions(USER) == []


async def test_deleting_a_session_takes_its_messages_and_leaves_the_ledger(store: Store) -> None:
    other = UUID(int=97)
    await store.create_session(session(id=SESSION))
    await store.create_session(session(id=other))
    kept_message, kept_call = message(chat_session_id=other), call()
    await store.save_messages([message(0), message(1), kept_message])
    await store.save_api_call(kept_call)
    assert await store.delete_session(SESSION) is True
    assert await store.get_session(SESSION) is None
    assert await store.get_session_messages(SESSION) == []
    assert await store.get_session_messages(other) == [kept_message]
    assert await store.query_api_calls(QueryFilter(session_id=SESSION)) == [kept_call]
    assert await store.get_session(other) is not None


async def test_deleting_an_unknown_session_is_false(store: Store) -> None:
    assert await store.delete_session(UNKNOWN) is False


async def test_a_deleted_session_can_be_created_again(store: Store) -> None:
    made = session()
    await store.create_session(made)
    await store.delete_session(made.id)
    await store.create_session(made)
    assert await store.get_session(made.id) == made


async def test_updating_a_session_keeps_its_messages(store: Store) -> None:
    chat, said = session(0, id=SESSION), message(0)
    await store.create_session(chat)
    await store.save_message(said)
    await store.update_session(chat.model_copy(update={"title": "renamed", "update_time": at(9)}))
    assert await store.get_session_messages(SESSION) == [said]


async def test_many_sessions_are_saved_at_once_new_ones_and_others(store: Store) -> None:
    first, second = session(0, title="first"), session(1, metadata={"a": 1})
    await store.create_session(first)
    changed = first.model_copy(update={"title": "changed"})
    async with store.transaction() as transaction:
        await transaction._save_sessions([second, changed])
        await transaction._save_sessions([])
    await store._save_sessions([second])
    assert [await store.get_session(one.id) for one in (first, second)] == [changed, second]
