"""Messages: saving, reading, counting and deleting them."""

from uuid import UUID

import pytest

from mofa_usage.records import MessageContent
from mofa_usage.stores import Store
from tests.samples import SESSION, message, session

OTHER = UUID(int=101)
UNKNOWN = UUID(int=404)


async def test_an_unknown_message_is_none(store: Store) -> None:
    assert await store.get_message(UNKNOWN) is None


async def test_an_unknown_session_has_no_messages(store: Store) -> None:
    assert await store.get_session_messages(UNKNOWN) == []
    assert await store.get_session_messages_paginated(UNKNOWN, 0, 10) == []
    assert await store.count_session_messages(UNKNOWN) == 0


async def test_only_the_messages_of_the_session_are_read(store: Store) -> None:
    mine, theirs = message(), message(chat_session_id=OTHER)
    await store.save_messages([mine, theirs])
    assert await store.get_session_messages(SESSION) == [mine]
    assert await store.get_session_messages(OTHER) == [theirs]


async def test_messages_are_counted(store: Store) -> None:
    await store.save_messages([message(n) for n in range(7)] + [message(chat_session_id=OTHER)])
    assert await store.count_session_messages(SESSION) == 7


async def test_saving_again_replaces_the_message_whole(store: Store) -> None:
    first = message(0, tenant_id=UUID(int=8), parent_message_id=UUID(int=9), content=MessageContent(text="old"))
    second = message(5, id=first.id, chat_session_id=OTHER, role="tool", content=MessageContent())
    await store.save_message(first)
    await store.save_message(second)
    assert await store.get_message(first.id) == second
    assert await store.get_session_messages(SESSION) == []
    assert await store.count_session_messages(OTHER) == 1


async def test_deleting_a_message_says_whether_it_was_there(store: Store) -> None:
    gone, kept = message(0), message(1)
    await store.save_messages([gone, kept])
    assert await store.delete_message(gone.id) is True
    assert await store.delete_message(gone.id) is False
    assert await store.delete_message(UNKNOWN) is False
    assert await store.get_session_messages(SESSION) == [kept]


async def test_deleting_a_sessions_messages_says_how_many_went(store: Store) -> None:
    kept = message(chat_session_id=OTHER)
    await store.save_messages([message(n) for n in range(3)] + [kept])
    assert await store.delete_session_messages(SESSION) == 3
    assert await store.delete_session_messages(SESSION) == 0
    assert await store.get_session_messages(SESSION) == []
    assert await store.get_message(kept.id) == kept


async def test_deleting_messages_keeps_their_session(store: Store) -> None:

    chat = session(id=SESSION)
    await store.create_session(chat)
    await store.save_message(message())
    await store.delete_session_messages(SESSION)
    assert await store.get_session(SESSION) == chat


async def test_a_message_may_answer_one_that_is_not_there(store: Store) -> None:
    orphan = message(parent_message_id=UNKNOWN)
    await store.save_message(orphan)
    assert await store.get_message(orphan.id) == orphan


async def test_saving_no_messages_does_nothing(store: Store) -> None:
    await store.save_messages([])
    assert await store.count_session_messages(SESSION) == 0


@pytest.mark.parametrize(("offset", "limit"), [(-1, 5), (0, -1)])
async def test_a_negative_page_is_refused(store: Store, offset: int, limit: int) -> None:
    await store.save_message(message())
    with pytest.raises(ValueError, match=r"offset|limit"):
        await store.get_session_messages_paginated(SESSION, offset, limit)
