"""Scopes say whose calls they are, and count what they use at once."""

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncGenerator, Generator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from mofa_usage import Recorder, UsageError
from mofa_usage.importing.values import text_id
from mofa_usage.labels import RESERVED
from mofa_usage.recording.scope import Scope
from mofa_usage.records import NIL_UUID
from tests.samples import call, message

NOBODY = "postgres://nobody@127.0.0.1:1/none"


@pytest.fixture
def recorder(folder: Path) -> Any:
    """One whose database is never there."""
    made = Recorder(NOBODY, outbox=folder, tenant_id=UUID(int=5), labels={"team": "a", "environment": "test"})
    yield made
    made.close(0)


def test_inner_scopes_win_and_labels_merge(recorder: Recorder) -> None:
    assert recorder.identity.user_id == NIL_UUID
    assert recorder.identity.tenant_id == UUID(int=5)
    session = uuid4()
    with recorder.scope(user="alice", session=session, labels={"feature": "search", "team": "b"}):
        outer = recorder.identity
        assert outer.user_id == recorder.scope(user=" alice ").identity.user_id
        assert outer.user_id == text_id("user_id", "alice"), "an import has the same id for her"
        assert outer.chat_session_id == session
        assert dict(outer.labels) == {"team": "b", "environment": "test", "feature": "search", "user": "alice"}
        with recorder.scope(user=UUID(int=3), agent="helper", tenant=str(session), labels={"feature": "chat"}):
            inner = recorder.identity
            assert inner.user_id == UUID(int=3)
            assert inner.chat_session_id == session
            assert inner.tenant_id == session
            assert dict(inner.labels) == {"team": "b", "environment": "test", "feature": "chat", "agent": "helper"}
        assert recorder.identity == outer
    assert dict(recorder.identity.labels) == {"team": "a", "environment": "test"}


@pytest.mark.parametrize("name", sorted(set(RESERVED) - {"environment"}))
def test_labels_that_the_recorder_sets_are_refused(recorder: Recorder, name: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=name):
        recorder.scope(labels={name: "true"})
    with pytest.raises(UsageError, match=name):
        Recorder(NOBODY, outbox=folder, labels={name: "true"})


def test_generators_are_left_in_any_order(recorder: Recorder) -> None:
    def in_a_scope(session: str) -> Generator[str, None, None]:
        with recorder.scope(session=session):
            yield recorder.identity.labels["session"]
            yield recorder.identity.labels["session"]

    with recorder.scope(session="outer"):
        first, second = in_a_scope("first"), in_a_scope("second")
        assert [next(first), next(second)] == ["first", "second"]
        first.close()
        assert recorder.identity.labels["session"] == "second"
        assert next(second) == "second"
        second.close()
        assert recorder.identity.labels["session"] == "outer"
    assert "session" not in recorder.identity.labels


async def test_a_scope_does_not_outlive_an_abandoned_generator(recorder: Recorder) -> None:
    async def in_a_scope() -> AsyncGenerator[None, None]:
        with recorder.scope(session="inner"):
            yield
            yield

    async def later() -> str:
        await has_left.wait()
        return recorder.identity.labels["session"]

    has_left = asyncio.Event()
    with recorder.scope(session="outer"):
        async for _ in in_a_scope():
            break
        gc.collect()
        for _ in range(5):  # another task closes it, in a context of its own
            await asyncio.sleep(0)
        assert recorder.identity.labels["session"] == "outer"
        task = asyncio.create_task(later())
    assert "session" not in recorder.identity.labels
    has_left.set()
    assert await task == "outer", "a task goes on in the scope that it began in"


@pytest.mark.parametrize("given", [{"user": ""}, {"session": 7}, {"labels": {"a": 1}}, {"labels": {"": "a"}}])
def test_what_is_no_name_and_no_label(recorder: Recorder, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        recorder.scope(**given)


def test_usage_counts_at_once_and_without_the_database(recorder: Recorder) -> None:
    priced = {"model_name": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    unknown = {"completion_tokens_details": {"token_source": "none"}}
    recorder.record(call(0))
    with recorder.scope(user="alice") as outer:
        assert outer.usage.cost is None
        recorder.record(call(0, **priced), message(0))
        with recorder.scope(session="ticket-7") as inner:
            recorder.hand_over({"calls": [call(1, **priced).model_dump(), call(2, **unknown).model_dump()]})
            recorder.hand_over({"calls": [{"no": "call"}]})
        assert (inner.usage.calls, inner.usage.total_tokens, inner.usage.priced_calls) == (2, 1150, 1)
        assert inner.usage.cost == Decimal("0.0025")
    usage = outer.usage
    assert (usage.calls, usage.prompt_tokens, usage.completion_tokens) == (3, 2000, 0)
    assert (usage.cost, dict(usage.costs)) == (Decimal("0.005"), {"USD": Decimal("0.005")})
    recorder.record(call(0, **priced))
    assert outer.usage.calls == 3
    with recorder.scope() as mixed:
        for currency in ("EUR", "USD"):
            recorder.record(call(0, total_price=Decimal(1), price_details={"currency": currency}))
        assert mixed.usage.cost is None
        assert dict(mixed.usage.costs) == {"EUR": Decimal(1), "USD": Decimal(1)}


async def test_each_task_has_its_own_scope_and_threads_get_it(recorder: Recorder) -> None:
    async def chat(name: str) -> int:
        with recorder.scope(user=name) as scope:
            for _ in range(3):
                await asyncio.sleep(0)
                await asyncio.to_thread(recorder.record, call())
                assert recorder.identity.labels["user"] == name
            threading.Thread(target=recorder.record, args=[call()]).start()  # takes no context along
            return scope.usage.calls

    assert await asyncio.gather(*(chat(f"user {n}") for n in range(10))) == [3] * 10


def test_the_scope_of_a_stream_is_that_in_which_it_began(recorder: Recorder) -> None:
    with recorder.scope(user="alice") as scope:
        pass
    recorder.hand_over({"calls": [call().model_dump()]}, scope)
    assert scope.usage.calls == 1


def test_a_scope_in_an_abandoned_generator_does_no_harm(recorder: Recorder) -> None:
    def stream() -> Generator[Scope, None, None]:
        with recorder.scope(user="alice") as scope:
            yield scope

    generator = contextvars.Context().run(lambda: stream())
    contextvars.Context().run(next, generator)
    generator.close()
    assert recorder.identity.user_id == NIL_UUID
    with recorder.scope() as scope, pytest.raises(UsageError, match="once"), scope:
        pass


def test_scopes_of_two_recorders_do_not_mix(recorder: Recorder, tmp_path: Path) -> None:
    with Recorder(NOBODY, outbox=tmp_path / "other") as other:
        with recorder.scope(user="alice") as mine, other.scope(user="bob") as theirs:
            assert recorder.identity.labels["user"] == "alice"
            assert other.identity.labels["user"] == "bob"
            recorder.record(call())
            assert (mine.usage.calls, theirs.usage.calls) == (1, 0)
        other.close(0)
