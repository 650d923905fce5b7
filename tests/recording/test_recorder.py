"""What a recorder accepts arrives: once, priced, whole, by whatever way the recorder ends."""

import asyncio
import logging
import os
import stat
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings

from mofa_usage import InMemoryStore, Recorder, RecordingError, SqliteStore, UsageError, connect
from mofa_usage.errors import StoreConnectionError
from mofa_usage.recording.documents import Item, document_of, read_document, write_document
from mofa_usage.records import LLMApiCall, MessageContent, Record
from tests import strategies
from tests.recording.reading import calls_in, documents_in, messages_in, records_waiting
from tests.samples import SECRET, SESSION, agent, call, message, provider, session


def test_what_is_recorded_arrives(url: str, folder: Path) -> None:
    made = [call(n, total_price=Decimal("0.25"), labels={"feature": "search"}) for n in range(30)]
    said = [message(n) for n in range(30)]
    with Recorder(url, outbox=folder, prices=None) as recorder:
        for one, other in zip(made, said, strict=True):
            recorder.record(other, one)
        assert recorder.flush(60)
        stats = recorder.stats()
        assert (stats.accepted, stats.delivered, stats.waiting, stats.dead, stats.refused) == (60, 60, 0, 0, 0)
        assert stats.oldest_waiting is None
    assert sorted(calls_in(url), key=lambda each: each.create_time) == made
    assert messages_in(url, SESSION) == said
    assert not list(folder.glob("*.segment"))
    assert not list(folder.glob("*.lock")) or [path.name for path in folder.glob("*.lock")] == ["folder.lock"]


def test_it_is_on_the_disk_before_record_returns(url: str, folder: Path) -> None:
    with Recorder(url, outbox=folder, prices=None) as recorder:
        one = call(0)
        recorder.record(one, message(0))
        (segment,) = folder.glob("*.segment")
        ((count, first, document),) = documents_in(segment)
        assert (count, first) == (2, 0)
        assert document["calls"][0]["id"] == str(one.id)
        assert stat.S_IMODE(segment.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_is_accepted_of_what_cannot_be(url: str, folder: Path) -> None:
    recorder = Recorder(url, outbox=folder)
    with pytest.raises(UsageError, match="not a Provider"):
        recorder.record(call(0), provider())
    with pytest.raises(UsageError, match="not a Agent"):
        recorder.record(agent())
    with pytest.raises(RecordingError, match="67,108,864 bytes"):
        recorder.record(call(0), message(0, content=MessageContent(text="x" * 2**26)))
    recorder.close()
    with pytest.raises(RecordingError, match="closed"):
        recorder.record(call(0))
    stats = recorder.stats()
    assert (stats.accepted, stats.refused) == (0, 6)
    assert not list(folder.glob("*.segment"))


def test_a_full_outbox_refuses_and_keeps_what_it_has(folder: Path) -> None:
    recorder = Recorder("postgres://nobody@127.0.0.1:1/none", outbox=folder, max_waiting_bytes=20_000)
    while recorder.stats().refused == 0:
        recorder.hand_over({"calls": [call(0).model_dump()]})
    accepted = recorder.stats().accepted
    with pytest.raises(RecordingError, match="full"):
        recorder.record(call(0, error_message="long" * 500))
    recorder.close(0)
    assert 5 < records_waiting(folder) == accepted == recorder.stats().waiting
    assert recorder.stats().refused == 2
    another = Recorder("postgres://nobody@127.0.0.1:1/none", outbox=folder, max_waiting_bytes=20_000)
    with pytest.raises(RecordingError, match="full"):  # what others left counts, too
        another.record(call(0, error_message="long" * 500))
    another.close(0)


def test_why_a_record_is_dead_is_said_where_there_is_no_outbox(caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(InMemoryStore(), prices=None) as recorder:
        assert recorder.hand_over({"calls": [{"id": str(uuid4()), "model_name": "gpt-4o"}]})
        assert recorder.flush(30)
    assert "there is no outbox to keep them: chat_session_id: Field required" in caplog.text


def test_an_integration_never_meets_an_error(url: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(url, outbox=folder, prices=None) as recorder:
        not_documents: list[Any] = [None, [], {"calls": {}}, {"call": []}, {"calls": [object()]}, {"calls": [float]}]
        for document in not_documents:
            assert not recorder.hand_over(document)
        assert recorder.stats().refused == len(not_documents)
        assert recorder.hand_over({"calls": [call(0).model_dump()]})
        assert recorder.flush(60)
    assert len(calls_in(url)) == 1
    assert sum("not recorded" in record.message for record in caplog.records) == 1


def test_what_is_no_record_is_dead_and_the_rest_of_its_document_is_not(url: str, folder: Path) -> None:
    good = call(0)
    fields = {"id": str(uuid4()), "model_name": "m", "status": "success"}
    with Recorder(url, outbox=folder, prices=None) as recorder:
        recorder.hand_over({"calls": [fields, good.model_dump(), {"model_name": "no id"}], "messages": [17]})
        assert recorder.flush(60)
        stats = recorder.stats()
        assert (stats.accepted, stats.delivered, stats.dead) == (4, 1, 3)
    assert calls_in(url) == [good]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(record=strategies.api_calls() | strategies.messages() | strategies.sessions())
def test_every_record_survives_its_document(record: Record) -> None:
    (item,) = read_document(write_document(document_of([record])))
    assert isinstance(item, Item)
    assert item.record == record


def test_an_id_is_one_record_however_often_it_comes(url: str, folder: Path) -> None:
    one = call(0)
    with Recorder(url, outbox=folder, prices=None) as recorder:
        for text in "abc":
            recorder.record(one.model_copy(update={"error_message": text}))
        assert recorder.flush(60)
        recorder.record(one)
    assert calls_in(url) == [one]


async def test_a_session_is_made_where_it_is_missing_and_never_overwritten(url: str, folder: Path) -> None:
    mine = session(0, title="mine")
    async with connect(url) as store:
        await store.create_session(mine)
    recorder = Recorder(url, outbox=folder)
    other = uuid4()
    recorder.record(mine.model_copy(update={"title": "another"}), message(1, chat_session_id=mine.id))
    recorder.record(message(2, chat_session_id=other), session(3, title="named"))
    await recorder.aclose(60)
    async with connect(url) as store:
        assert await store.get_session(mine.id) == mine
        made = await store.get_session(other)
        assert made is not None
        assert made.user_id == message().user_id
        assert await store.count_session_messages(other) == 1


async def test_into_an_open_store_in_memory_while_others_use_it() -> None:
    store = InMemoryStore()
    async with Recorder(store) as recorder:
        assert recorder.outbox is None
        for n in range(300):
            recorder.record(call(n), message(n))
            if n % 50 == 0:
                await store.query_api_calls()
                await asyncio.sleep(0)
        assert await recorder.aflush(60)
        assert len(await store.query_api_calls()) == 300
    assert store.is_connected


async def test_an_open_store_is_delivered_to_by_a_connection_of_its_own(url: str, folder: Path) -> None:
    async with connect(url) as store:
        async with Recorder(store, outbox=folder) as recorder:
            recorder.record(call(0))
        assert len(await store.query_api_calls()) == 1
        assert store.is_connected


async def test_targets_that_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(StoreConnectionError, match="DATABASE_URL"):
        Recorder()
    for target in ("memory:", "sqlite::memory:", "oracle://x", 17):
        with pytest.raises(UsageError):
            Recorder(target)  # type: ignore[arg-type]
    async with SqliteStore.in_memory() as store:
        with pytest.raises(UsageError, match="InMemoryStore"):
            Recorder(store)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="outbox=False"):
        Recorder("sqlite:x.db", outbox=tmp_path / "file")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:{tmp_path}/x.db")
    recorder = Recorder()
    assert str(recorder.outbox).startswith(str(tmp_path / "state" / "mofa-usage" / "outbox" / "sqlite-x-"))
    recorder.close()


@pytest.mark.parametrize(
    "given",
    [
        {"outbox": True},
        {"outbox": 5},
        {"prices": "list"},
        {"prices": 5},
        {"redact": "text"},
        {"capture_content": "no"},
        {"max_waiting_bytes": 0},
        {"max_waiting_bytes": "1 GiB"},
        {"tenant_id": 7},
        {"labels": ["feature"]},
    ],
)
def test_options_that_are_none(given: dict[str, Any], url: str, folder: Path) -> None:
    (name,) = given
    with pytest.raises(UsageError, match=name.removesuffix("_id")):
        Recorder(url, **{"outbox": folder, **given})


def test_a_tenant_may_be_a_name(url: str, folder: Path) -> None:
    with Recorder(url, outbox=folder, tenant_id="acme") as recorder:
        assert recorder.identity == Recorder(url, outbox=False).scope(tenant="acme").identity


def test_state_folders_that_are_relative_are_ignored(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Recorder(url) as recorder:
        assert str(recorder.outbox).startswith(f"{tmp_path}/.local/state/")


@pytest.mark.parametrize("url", ["postgres://u:{0}@h:5/db", "postgres://u:a/{0}@h/db", "mysql://h/db?password={0}"])
def test_the_outbox_is_named_after_the_target_without_its_password(url: str) -> None:
    with Recorder(url.format(SECRET)) as recorder, Recorder(url.format("another")) as same:
        assert recorder.outbox == same.outbox
        for shown in (str(recorder.outbox), repr(recorder), repr(recorder._target)):
            assert SECRET not in shown
        with Recorder("postgres://u:x@elsewhere/db") as other:
            assert other.outbox != recorder.outbox


def test_in_memory_only(url: str, tmp_path: Path) -> None:
    with Recorder(url, outbox=False) as recorder:
        recorder.record(call(0), message(0))
        assert recorder.stats().accepted == 2
    assert len(calls_in(url)) == 1
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("outbox", [True, False])
def test_threads_and_tasks_together(url: str, folder: Path, outbox: bool) -> None:
    with Recorder(url, outbox=folder if outbox else False) as recorder:

        def work() -> None:
            for n in range(50):
                recorder.record(call(n), message(n))
                stats = recorder.stats()
                assert stats.accepted == stats.delivered + stats.waiting + stats.dead

        async def tasks() -> None:
            await asyncio.gather(*(asyncio.to_thread(work) for _ in range(2)))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        asyncio.run(tasks())
        for thread in threads:
            thread.join()
        assert recorder.flush(120)
    assert len(calls_in(url)) == 250


def test_prices_are_found_at_delivery(url: str, folder: Path) -> None:
    priced = {"model_name": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    with Recorder(url, outbox=folder) as recorder:
        recorder.record(call(0, **priced), call(1, model_name="nobody-knows-it"))
        assert recorder.flush(60)
        assert recorder.stats().unpriced == 1
    found = {each.model_name: each.total_price for each in calls_in(url)}
    assert found == {"gpt-4o": Decimal("0.0025"), "nobody-knows-it": None}
    with Recorder(url, outbox=folder, prices=None) as recorder:
        recorder.record(call(2, **priced))
    assert sum(each.total_price is None for each in calls_in(url)) == 2


def test_what_may_not_be_kept_never_touches_the_disk(url: str, folder: Path) -> None:
    def hide(content: MessageContent) -> MessageContent | str | None:
        assert content.text is not None
        if content.text == "fail":
            raise RuntimeError(SECRET)
        return None if content.text == "drop" else content.text.replace(SECRET, "***")

    kept = message(0, content=MessageContent(text=f"my key is {SECRET}"))
    with Recorder(url, outbox=folder, redact=hide) as recorder:
        recorder.record(kept, message(1, content=MessageContent(text="drop")), call(0))
        recorder.hand_over({"messages": [message(2, content=MessageContent(text="fail")).model_dump()]})
        on_disk = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert SECRET.encode() not in on_disk
        assert b"my key is ***" in on_disk
        assert recorder.flush(60)
        assert recorder.stats().content_dropped == 1
    assert [each.content.text for each in messages_in(url, SESSION)] == ["my key is ***", None]
    with Recorder(url, outbox=folder, capture_content=False) as recorder:
        recorder.record(message(3), call(3))
        recorder.record(message(4))
        assert recorder.stats().accepted == 1
    assert len(messages_in(url, SESSION)) == 2


async def test_lifespan_closes_the_recorder(url: str, folder: Path) -> None:
    recorder = Recorder(url, outbox=folder)
    async with recorder.lifespan(object()):
        recorder.record(call(0))
    with pytest.raises(RecordingError):
        recorder.record(call(1))
    assert len(calls_in(url)) == 1


def test_a_finalizer_may_record_in_the_midst_of_recording(url: str, folder: Path) -> None:
    """An abandoned stream ends when the garbage collector finds it, which may be anywhere, on any thread."""
    with Recorder(url, outbox=folder, prices=None) as recorder:
        backlog = recorder._backlog
        plain, again = backlog._write, [call(1), call(2)]

        def write(frame: bytes, body: bytes) -> None:
            if again:
                recorder.record(again.pop())
            plain(frame, body)

        backlog._write = write  # type: ignore[method-assign]
        recorder.record(call(0))
        assert recorder.stats().accepted == 3
        assert recorder.flush(60)
    assert len(calls_in(url)) == 3


def test_fsync_is_waited_for_by_who_wants_it(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    import mofa_usage.recording.outbox.segments as segments

    monkeypatch.setattr(segments, "_write_through", lambda file: synced.append(os.fstat(file).st_size))
    with Recorder(url, outbox=folder, fsync=True) as recorder:
        recorder.record(call(0))
        size = next(folder.glob("*.segment")).stat().st_size
        assert size in synced
        assert recorder.hand_over({"calls": [call(1).model_dump()]}, wait=False)
        assert recorder.flush(60)
    assert len(calls_in(url)) == 2


def test_ids_are_the_callers(url: str, folder: Path) -> None:
    one = call(0)
    recorder = Recorder(url, outbox=folder, prices=None, tenant_id=UUID(int=7), labels={"team": "a"})
    with recorder, recorder.scope(user="alice"):
        recorder.record(one)
    (found,) = calls_in(url)
    assert isinstance(found, LLMApiCall)
    assert found == one


def test_the_end_without_anything_recorded_leaves_nothing(url: str, folder: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    with Recorder(url, outbox=folder, prices=None) as recorder:
        recorder.record()
        assert recorder.flush()
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert not caplog.records
