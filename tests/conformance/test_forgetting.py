"""Forgetting a user: who it was goes, what it cost stays. And messages that have become too old."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.errors import UsageError
from mofa_usage.records import LLMApiCall, TokenDetails
from mofa_usage.stores import Forgotten, Store
from tests.samples import NIL, SESSION, USER, at, call, message, session

OTHER, OTHER_SESSION = UUID(int=33), UUID(int=11)
POINTERS: dict[str, Any] = {"request_message_id": UUID(int=71), "response_message_id": UUID(int=72)}
LABELS = {"user": "alice", "session": "ticket-7", "request_id": "req_1", "mail": 'a"b\\c@example', "feature": "search"}
CALL_LABELS = {"provider": "openai", "retried": "true", "attempt": "2", "operation": "embeddings"}


def hers(seconds: float, **fields: Any) -> LLMApiCall:
    """A call of the user with all that may name her."""
    return call(seconds, **{"labels": LABELS | CALL_LABELS, **POINTERS, **fields})


def without(made: LLMApiCall, found: LLMApiCall, **labels: str) -> LLMApiCall:
    """The call as it must be when its user is forgotten, at the moment at which it was."""
    gone = dict.fromkeys(("user_id", "chat_session_id", "request_message_id", "response_message_id"), NIL)
    return made.model_copy(
        update={**gone, "error_message": None, "labels": CALL_LABELS | labels, "update_time": found.update_time}
    )


async def fill(store: Store) -> tuple[list[LLMApiCall], list[LLMApiCall]]:
    """Two users with a session, messages and calls; the calls of the one and of the other."""
    for one, owner in ((SESSION, USER), (OTHER_SESSION, OTHER)):
        await store.create_session(session(0, id=one, user_id=owner))
    first = message(0)
    await store.save_messages(
        [
            first,
            message(1, role="assistant", user_id=NIL, parent_message_id=first.id),
            message(2, chat_session_id=OTHER_SESSION),
            message(3, chat_session_id=OTHER_SESSION, user_id=OTHER),
        ]
    )
    calls = [
        hers(0, total_price="0.0000000001", prompt_tokens_details=TokenDetails(cached_tokens=3)),
        hers(1, status="failed", error_message="cannot read 'Dear Alice'", error_code="400", chat_session_id=NIL),
        hers(2, chat_session_id=OTHER_SESSION, agent_id=UUID(int=5), tenant_id=UUID(int=6)),
    ]
    others = [call(5, user_id=OTHER, chat_session_id=OTHER_SESSION, labels=LABELS, **POINTERS)]
    await store.save_api_calls([*calls, *others])
    return calls, others


async def test_who_it_was_goes_and_what_it_cost_stays(store: Store) -> None:
    calls, others = await fill(store)
    before = await store.get_statistics()
    began = datetime.now(UTC)
    assert await store.forget_user(USER) == Forgotten(messages=3, sessions=1, calls=3)
    assert await store.get_user_sessions(USER) == []
    assert await store.get_session_messages(SESSION) == []
    assert [one.user_id for one in await store.get_session_messages(OTHER_SESSION)] == [OTHER]
    found = {one.id: one for one in await store.query_api_calls()}
    assert [found[one.id] for one in calls] == [without(one, found[one.id]) for one in calls]
    assert all(began <= found[one.id].update_time <= datetime.now(UTC) for one in calls)
    assert [found[one.id] for one in others] == others
    assert await store.get_statistics() == before
    assert await store.forget_user(USER) == Forgotten(messages=0, sessions=0, calls=0)


async def test_a_dry_run_counts_and_changes_nothing(store: Store) -> None:
    await fill(store)
    before = await store.query_api_calls()
    assert await store.forget_user(USER, dry_run=True) == Forgotten(messages=3, sessions=1, calls=3)
    assert await store.query_api_calls() == before
    assert await store.count_session_messages(SESSION) == 2
    assert await store.forget_user(UUID(int=404), dry_run=True) == Forgotten(messages=0, sessions=0, calls=0)


async def test_labels_that_are_to_stay_do(store: Store) -> None:
    (first, *_), _ = await fill(store)
    await store.forget_user(USER, keep_labels=["feature", "mail"])
    found = await store.get_api_call(first.id)
    assert found is not None
    assert found == without(first, found, feature="search", mail=LABELS["mail"])


async def test_a_session_of_the_user_is_hers_with_all_that_is_in_it(store: Store) -> None:
    await store.create_session(session(0, id=SESSION))
    nobodys, others = hers(0, user_id=NIL), hers(1, user_id=OTHER)
    await store.save_api_calls([nobodys, others])
    assert await store.forget_user(USER, dry_run=True) == Forgotten(messages=0, sessions=1, calls=2)
    assert await store.forget_user(USER) == Forgotten(messages=0, sessions=1, calls=2)
    found = {one.id: one for one in await store.query_api_calls()}
    assert found[nobodys.id] == without(nobodys, found[nobodys.id])
    assert found[others.id] == without(others, found[others.id]).model_copy(update={"user_id": OTHER})


async def test_many_sessions_and_messages_go(store: Store) -> None:
    sessions = [session(n, id=UUID(int=1_000 + n)) for n in range(700)]
    await store._save_sessions(sessions)
    await store.save_messages([message(n, chat_session_id=one.id) for one in sessions for n in range(2)])
    calls = [hers(n, chat_session_id=one.id) for n, one in enumerate(sessions)]
    await store.save_api_calls([*calls, call(0, user_id=OTHER)])
    assert await store.forget_user(USER) == Forgotten(messages=1_400, sessions=700, calls=700)
    assert await store.get_user_sessions(USER) == []
    owners = [one.user_id for one in await store.query_api_calls()]
    assert sorted(owners) == [NIL] * 700 + [OTHER]


async def test_an_update_is_not_before_the_creation(store: Store) -> None:
    ahead = hers(400_000_000)
    await store.save_api_call(ahead)
    await store.forget_user(USER)
    found = await store.get_api_call(ahead.id)
    assert found is not None
    assert found == without(ahead, found)
    assert found.update_time == ahead.create_time


async def test_it_belongs_to_a_transaction(store: Store) -> None:
    calls, others = await fill(store)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 (how a whole transaction ends is what this is about)
        async with store.transaction() as transaction:
            assert await transaction.forget_user(USER) == Forgotten(messages=3, sessions=1, calls=3)
            assert await transaction.get_session(SESSION) is None
            raise ZeroDivisionError
    assert await store.query_api_calls() == [*others, *reversed(calls)]
    assert await store.count_session_messages(SESSION) == 2


async def test_those_who_save_meanwhile_are_not_disturbed(store: Store) -> None:
    await fill(store)
    saved = [hers(100 + n, user_id=OTHER, chat_session_id=OTHER_SESSION) for n in range(40)]
    async with asyncio.TaskGroup() as group:
        for one in saved:
            group.create_task(store.save_api_call(one))
        done = [group.create_task(store.forget_user(USER)) for _ in range(3)]
    assert sorted(task.result().calls for task in done) == [0, 0, 3]
    found = {one.id: one for one in await store.query_api_calls()}
    assert [found[one.id] for one in saved] == saved
    assert all(one.user_id in (NIL, OTHER) for one in found.values())


async def test_nobody_cannot_be_forgotten_and_what_names_users_cannot_stay(store: Store) -> None:
    await fill(store)
    before = await store.query_api_calls()
    with pytest.raises(UsageError, match="nobody"):
        await store.forget_user(NIL)
    with pytest.raises(UsageError, match="the label user"):
        await store.forget_user(USER, keep_labels=["feature", "user"])
    assert await store.query_api_calls() == before


# --- old messages ---------------------------------------------------------------------------------------------------


async def test_old_messages_go_and_their_session_stays(store: Store) -> None:
    await store.create_session(session(0, id=SESSION))
    await store.save_api_call(call(-9))
    old, edge, new = message(-0.000_001), message(0), message(0.000_001)
    await store.save_messages([old, edge, new])
    assert await store.cleanup_old_messages(at(0), dry_run=True) == 1
    assert await store.get_session_messages(SESSION) == [old, edge, new]
    assert await store.cleanup_old_messages(at(0)) == 1
    assert await store.cleanup_old_messages(at(0)) == 0
    assert await store.get_session_messages(SESSION) == [edge, new]
    assert await store.get_session(SESSION) is not None
    assert len(await store.query_api_calls()) == 1


async def test_many_old_messages_go_in_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofa_usage.stores.retention._DELETE_BATCH", 300)
    await store.save_messages([message(n) for n in range(2_500)])
    assert await store.cleanup_old_messages(at(2_400), dry_run=True) == 2_400
    assert await store.cleanup_old_messages(at(2_400)) == 2_400
    assert await store.count_session_messages(SESSION) == 100


async def test_old_calls_are_counted_before_they_go(store: Store) -> None:
    await store.save_api_calls([call(-1), call(0), call(1)])
    assert await store.cleanup_old_records(at(0.5), dry_run=True) == 2
    assert len(await store.query_api_calls()) == 3


async def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"zone|naive"):
        await store.cleanup_old_messages(datetime(2030, 1, 1))
