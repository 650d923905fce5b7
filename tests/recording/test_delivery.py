"""Databases that are down, locked, older or stricter: all is delivered in the end, and no bad record is in the way."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from mofa_usage import InMemoryStore, Recorder, connect
from mofa_usage.errors import ConstraintError, QueryError, SerializationError, StoreConnectionError
from mofa_usage.records import ChatSession, LLMApiCall, LLMMessage
from tests.mofa_tables import build
from tests.proofs import trials
from tests.recording.reading import calls_in
from tests.recording.test_outbox_faults import counts
from tests.samples import SESSION, call, message
from tests.servers import Server, postgres_server


class Strange(InMemoryStore):
    """A store in memory that fails as it is told.

    Attributes:
        down: raised by every operation.
        hates: what is raised for a record of this `error_message` or text.
        tries: how many bulks were tried.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down: Exception | None = None
        self.hates: dict[str, Exception] = {}
        self.tries = 0

    def _check(self, texts: Iterable[str | None]) -> None:
        self.tries += 1
        if self.down is not None:
            raise self.down
        for text in texts:
            if text in self.hates:
                raise self.hates[text]

    async def save_api_calls(self, calls: Iterable[LLMApiCall]) -> None:
        calls = list(calls)
        self._check(each.error_message for each in calls)
        await super().save_api_calls(calls)

    async def save_messages(self, messages: Iterable[LLMMessage]) -> None:
        messages = list(messages)
        self._check(each.content.text for each in messages)
        await super().save_messages(messages)

    async def create_session(self, session: ChatSession) -> None:
        self._check([session.title])
        await super().create_session(session)


@pytest.mark.parametrize("down", [StoreConnectionError("x"), QueryError("x", transient=True), OSError(111, "refused")])
def test_a_database_that_comes_back(folder: Path, down: Exception) -> None:
    store = Strange()
    with Recorder(store, outbox=folder, prices=None) as recorder:
        store.down = down
        for n in range(20):
            recorder.record(call(n), message(n))
        assert not recorder.flush(0.3)
        stats = recorder.stats()
        assert (stats.accepted, stats.waiting, stats.dead) == (40, 40, 0)
        assert stats.oldest_waiting is not None
        assert stats.problem is not None
        assert counts(folder)["waiting"] == 40
        store.down = None
        assert recorder.flush(60)
        stats = recorder.stats()
        assert (stats.delivered, stats.retried, stats.problem) == (40, 40, None)


@pytest.mark.parametrize("fault", [ConstraintError("no"), SerializationError("no"), QueryError("no"), TypeError("no")])
@pytest.mark.parametrize("kind", ["call", "message", "session"])
def test_a_record_that_can_never_be_saved_blocks_nothing(
    folder: Path, fault: Exception, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Strange()
    store.hates["bad"] = fault
    bad = {
        "call": call(99, error_message="bad"),
        "message": message(99, content={"text": "bad"}),
        "session": ChatSession.new(uuid4(), uuid4(), title="bad"),
    }[kind]
    with Recorder(store, outbox=folder, prices=None) as recorder:
        store.down = StoreConnectionError("down")
        for n in range(30):
            recorder.record(call(n), message(n), *([bad] if n == 7 else []))
        store.down = None
        assert recorder.flush(60)
        stats = recorder.stats()
        assert (stats.delivered, stats.dead, stats.waiting) == (60, 1, 0)
        assert store.tries < 60
        assert counts(folder) == {"accepted": 61, "delivered": 60, "dead": 1, "alive": 1}
    (letter,) = folder.glob("dead/*.json")
    said = json.loads(letter.read_text())
    assert said["records"][0]["record"]["id"] == str(bad.id)
    assert said["records"][0]["reason"] == f"{type(fault).__name__}: no"
    assert "dead letters" in caplog.text


def test_a_database_that_takes_nothing_kills_nothing(folder: Path) -> None:
    """No permission, a read-only disk, a missing table: such errors are of no record."""
    store = Strange()
    with Recorder(store, outbox=folder, prices=None) as recorder:
        store.down = QueryError("permission denied")
        for n in range(20):
            recorder.record(call(n))
        for _ in range(6):
            assert not recorder.flush(0.2)
        assert recorder.stats().dead == 0
        store.down = None
        assert recorder.flush(60)
        assert recorder.stats().delivered == 20


def test_one_alone_that_fails_waits_until_others_show_whose_fault_it_is(folder: Path) -> None:
    store = Strange()
    store.hates["bad"] = QueryError("no")
    with Recorder(store, outbox=folder, prices=None) as recorder:
        recorder.record(call(0, error_message="bad"))
        assert not recorder.flush(0.5)
        recorder.record(call(1))
        assert recorder.flush(60)
        assert (recorder.stats().delivered, recorder.stats().dead) == (1, 1)


def test_parents_come_before_their_children_in_every_half(folder: Path) -> None:
    """A store with MoFA's foreign keys refuses a message without its parent; here one in the midst is bad."""

    class Keyed(Strange):
        async def save_messages(self, messages: Iterable[LLMMessage]) -> None:
            messages = list(messages)
            there = {*self._tables.messages, *(each.id for each in messages)}
            if any(each.parent_message_id not in {None, *there} for each in messages):
                raise ConstraintError("no such parent")
            await super().save_messages(messages)

    store = Keyed()
    store.hates["bad"] = SerializationError("no")
    line = [message(0)]
    for n in range(1, 30):
        text = "bad" if n == 20 else "good"
        line.append(message(n, parent_message_id=line[-1].id, content={"text": text}))
    with Recorder(store, outbox=folder) as recorder:
        recorder.record(*reversed(line))
        assert recorder.flush(60)
        assert (recorder.stats().delivered, recorder.stats().dead) == (29, 1)
    saved = store._tables.messages
    assert [line[n].id in saved for n in range(30)] == [n != 20 for n in range(30)]
    assert saved[line[21].id].parent_message_id is None  # there is nothing to point to
    assert saved[line[22].id].parent_message_id == line[21].id


@pytest.mark.shared_only
async def test_tables_that_mofa_made(empty_url: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No column for labels, foreign keys to sessions and parents: nothing becomes a dead letter for it."""
    await build(empty_url)
    first = message(0)
    calls = [call(n, labels={"feature": "a"} if n % 2 else {}) for n in range(10)]
    async with Recorder(empty_url, outbox=folder, prices=None) as recorder:
        recorder.record(message(1, parent_message_id=first.id), *calls, first)
        assert await recorder.aflush(60)
        stats = recorder.stats()
        assert (stats.delivered, stats.dead, stats.labels_dropped) == (12, 0, 5)
        recorder.record(*calls)
        assert await recorder.aflush(60)
    assert caplog.text.count("mofa-usage migrate") == 1
    async with connect(empty_url) as store:
        assert len(await store.query_api_calls()) == 10
        assert await store.count_session_messages(SESSION) == 2


def test_a_locked_database_is_waited_for(url: str, folder: Path) -> None:
    with Recorder(url, outbox=folder) as recorder:
        recorder.record(call(0))
        assert recorder.flush(60)
        locker = sqlite3.connect(url.removeprefix("sqlite:"), isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        for n in range(200):
            recorder.record(call(n))
        assert time.monotonic() - begun < 5
        assert not recorder.flush(0.5)
        locker.execute("ROLLBACK")
        locker.close()
        assert recorder.flush(60)
    assert len(calls_in(url)) == 201


def test_a_session_that_somebody_deletes_is_made_again(url: str, folder: Path) -> None:
    path = url.removeprefix("sqlite:")
    with Recorder(url, outbox=folder) as recorder:
        recorder.record(message(0))
        assert recorder.flush(60)
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("DELETE FROM entity_chat_session")
        recorder.record(message(1, chat_session_id=uuid4()))
        assert recorder.flush(60)
        assert recorder.stats().dead == 0


def test_closing_gives_up_at_its_deadline(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Strange()
    recorder = Recorder(store, outbox=folder)
    store.down = StoreConnectionError("down")
    recorder.record(call(0))
    begun = time.monotonic()
    recorder.close(0.5)
    assert time.monotonic() - begun < 10
    assert "1 records wait in" in caplog.text
    recorder.close()
    assert not recorder.flush()
    memory = Recorder(store)
    memory.record(call(0))
    memory.close(0.2)
    assert "are lost" in caplog.text


async def test_a_scope_that_anyio_has_cancelled_does_not_matter(url: str, folder: Path) -> None:
    """Nothing that is awaited there comes back, so recording awaits nothing."""
    recorder = Recorder(url, outbox=folder, prices=None)
    with anyio.CancelScope() as cancelled, recorder.scope(user="alice") as scope:
        cancelled.cancel()
        try:
            await anyio.sleep(60)
        finally:
            recorder.record(call(0))
    assert cancelled.cancelled_caught
    assert scope.usage.calls == 1
    await recorder.aclose(60)
    assert len(calls_in(url)) == 1


async def test_tasks_and_threads_record_into_one(url: str, folder: Path) -> None:
    async with Recorder(url, outbox=folder, prices=None) as recorder:

        async def task() -> None:
            for n in range(20):
                recorder.record(call(), message(n))
                await asyncio.sleep(0)

        def thread() -> None:
            for _ in range(20):
                recorder.record(call())

        def loop() -> None:  # of a thread's own
            asyncio.run(task())

        kinds = [task() for _ in range(5)] + [asyncio.to_thread(work) for work in [thread, loop] * 4]
        await asyncio.gather(*kinds)
        assert await recorder.aflush(60)
        assert recorder.stats().delivered == 5 * 40 + 4 * 20 + 4 * 40
    assert len(calls_in(url)) == 13 * 20


async def test_a_cancelled_task_and_a_stopped_loop_do_not_matter(url: str, folder: Path) -> None:
    recorder = Recorder(url, outbox=folder)

    async def chat() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            recorder.record(call(0))

    tasks = [asyncio.create_task(chat()) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(recorder.close, 60)
    assert len(calls_in(url)) == 10


@pytest.mark.proof
def test_closing_in_the_midst_of_work_is_quiet(url: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The connection, too, is closed in peace, whenever its thread is told to end."""
    for number in range(trials(8, 60)):
        recorder = Recorder(url, outbox=folder, prices=None)
        for n in range(20):
            recorder.record(call(), message(n))
        time.sleep(number % 8 * 0.02)
        recorder.close(0)
    assert {record.name for record in caplog.records} <= {"mofa_usage.recording.recorder"}  # what waits, it says


def test_flush_wakes_up_who_waits_when_it_is_closed(folder: Path) -> None:
    store = Strange()
    recorder = Recorder(store, outbox=folder)
    store.down = StoreConnectionError("down")
    recorder.record(call(0))
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(recorder.flush()))
    waiting.start()
    time.sleep(0.1)
    recorder.close(0)
    waiting.join(30)
    assert answers == [False]


@pytest.fixture(scope="module")
def postgres() -> Any:
    with postgres_server(durable=True) as server:
        yield server


@pytest.mark.proof
@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again(postgres: Server, folder: Path) -> None:
    """Many threads record while PostgreSQL is killed and restarted: each record is there once."""
    made: list[LLMApiCall] = []
    over = threading.Event()
    with Recorder(postgres.url, outbox=folder, prices=None) as recorder:

        def work() -> None:
            while not over.is_set():
                one = call(len(made))
                recorder.record(one, message(len(made)))
                made.append(one)
                time.sleep(0.002)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(trials(2, 20)):
            time.sleep(0.5)
            postgres.kill()
            postgres.restart()
        over.set()
        for thread in threads:
            thread.join()
        assert recorder.flush(120)
        stats = recorder.stats()
        assert stats.accepted == stats.delivered == 2 * len(made)
    assert {each.id for each in calls_in(postgres.url)} == {each.id for each in made}
