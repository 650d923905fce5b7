"""A warehouse equals its source: whatever was added, changed, moved or deleted there, however often it is synced."""

import asyncio
import json
import os
import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from mofa_usage import PersistenceError, UsageError, load_usage
from mofa_usage.records import LLMApiCall
from mofa_usage.report import write_report
from mofa_usage.report.answers import answers
from mofa_usage.stores import InMemoryStore
from mofa_usage.warehouse import Warehouse, delta, files, upkeep
from mofa_usage.warehouse.delta import Change, Conflict, Mirror
from mofa_usage.warehouse.sources import SCHEMAS
from tests.proofs import trials
from tests.samples import AGENT, SECRET, SESSION, agent, at, call, message, provider, session
from tests.warehouse import expected_calls, held, held_calls, versions

DAY = 86_400.0
CALLS = [UUID(int=number << 64 | number) for number in range(1, 200)]


def store_of(*calls: LLMApiCall) -> InMemoryStore:
    store = InMemoryStore()
    asyncio.run(store.save_api_calls(calls))
    return store


def save(store: InMemoryStore, *calls: LLMApiCall) -> None:
    asyncio.run(store.save_api_calls(calls))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


def test_it_has_every_column_of_every_call_exactly(path: Path) -> None:
    calls = [
        call(0, id=CALLS[0], total_price=Decimal("0.0000000001"), labels={"feature": "search", "a, b;": "\n"}),
        call(1, id=CALLS[1], labels={"retried": "true", "attempt": "2"}, price_details={"currency": "EUR"}),
        call(
            40 * DAY, id=CALLS[2], latency_ms=2**31 - 1, tokens_per_second=0.1, total_price=Decimal("99999.9999999999")
        ),
        call(
            2,
            id=CALLS[3],
            completion_tokens_details={"token_source": "none"},
            create_time=datetime.min.replace(tzinfo=UTC),
        ),
    ]
    summary = Warehouse(path).sync(store_of(*calls))
    assert held_calls(path) == expected_calls(calls)
    assert (summary["calls"].read, summary["calls"].added, summary["calls"].updated) == (4, 4, 0)
    assert {row["labels.feature"] for row in held(path)} == {"search", None}
    types = pl.read_delta(str(path / "calls")).schema
    assert types["total_price"] == pl.Decimal(38, 10)
    assert types["create_time"] == pl.Datetime("us", "UTC")
    assert types["labels.a, b;"] == pl.String


def test_all_tables_are_there_without_keys_and_contents(path: Path) -> None:
    store = InMemoryStore()
    chat = session(0, metadata={"plan": "pro"})

    async def fill() -> None:
        await store.save_provider(provider("openai", id=UUID(int=9)))
        await store.save_agent(agent())
        await store.create_session(chat)
        await store.save_message(message(0))

    asyncio.run(fill())
    warehouse = Warehouse(path)
    warehouse.sync(store)
    assert [len(held(path, name)) for name in ("messages", "sessions", "agents", "providers")] == [1, 1, 1, 1]
    assert "content" not in held(path, "messages")[0]
    assert json.loads(held(path, "sessions")[0]["metadata"]) == {"plan": "pro"}
    everything = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
    assert SECRET.encode() not in everything
    assert b"api_key" not in everything
    warehouse.sync(store, content=True)
    assert json.loads(held(path, "messages")[0]["content"])["text"] == "Hello"
    asyncio.run(store.save_message(message(5)))
    warehouse.sync(store)  # content that is there once is kept up to date
    assert all(row["content"] for row in held(path, "messages"))


def test_usage_of_it_is_usage_of_the_source(path: Path) -> None:
    store = store_of(
        call(0, agent_id=UUID(int=7), chat_session_id=UUID(int=5), total_price=Decimal("0.25"), labels={"team": "a"}),
        call(31 * DAY, agent_id=UUID(int=7), total_price=Decimal("0.5"), labels={"team": "b", "provider": "proxy"}),
        call(62 * DAY, agent_id=UUID(int=8), labels={"agent": "nightly"}),
    )

    async def fill() -> None:
        await store.save_provider(provider("openai", id=UUID(int=9)))
        await store.save_agent(agent("helper", id=UUID(int=7)))
        await store.create_session(session(0, id=UUID(int=5), metadata={"plan": "pro"}))

    asyncio.run(fill())
    warehouse = Warehouse(path)
    warehouse.sync(store)
    for usage in (warehouse.usage(), load_usage(path), load_usage(str(path))):
        source = load_usage(store)
        assert sorted(usage.columns) == sorted(source.columns)
        assert usage.frame.select(source.columns).sort("id").equals(source.frame.sort("id"))
        by = ["month", "agent_name", "provider_name", "labels.team", "session.plan"]
        assert usage.breakdown(by, ["calls", "cost", "latency_p95"]).equals(
            source.breakdown(by, ["calls", "cost", "latency_p95"])
        )
    asyncio.run(store.save_agent(agent("helper", id=UUID(int=7), agent_name="Renamed")))
    warehouse.sync(store)
    assert set(warehouse.usage().frame["agent_name"]) == {"Renamed", "nightly"}


def test_a_second_sync_changes_nothing(path: Path) -> None:
    store, warehouse = store_of(*(call(second, id=CALLS[second]) for second in range(5))), Warehouse(path)
    warehouse.sync(store)
    before = versions(path)
    assert not warehouse.sync(store).changed
    summary = warehouse.sync(store, full=True)
    assert (summary["calls"].read, summary["calls"].unchanged) == (5, 5)
    assert versions(path) == before
    assert str(summary).startswith("Nothing had changed: 5 rows read in ")
    assert summary.lag is None
    assert "behind" not in str(summary)


def test_what_came_late_changed_or_moved_is_there_once(path: Path) -> None:
    calls = [call(DAY * number, id=CALLS[number], total_price=None) for number in range(100)]
    store, warehouse = store_of(*calls), Warehouse(path)
    warehouse.sync(store)
    untouched = {file.name for file in path.glob("calls/month=2026-04/*.parquet")}
    calls[1] = call(DAY, id=CALLS[1], total_price=Decimal("0.5"), status="failed")  # a price filled in
    calls[99] = call(-400 * DAY, id=CALLS[99])  # another month than before
    calls[2] = call(DAY * 2.5, id=CALLS[2], labels={"feature": "new"})  # a label that was not there before
    late = call(-50 * DAY, id=CALLS[150])  # saved late
    save(store, calls[1], calls[99], calls[2], late)
    summary = warehouse.sync(store)["calls"]
    assert (summary.added, summary.updated) == (1, 3)
    assert held_calls(path) == expected_calls([*calls, late])
    assert untouched == {file.name for file in path.glob("calls/month=2026-04/*.parquet")}
    assert warehouse.verify(store).equal


def test_of_rows_that_two_sources_have_the_later_stands(path: Path) -> None:
    old, new = call(0, id=CALLS[0], update_time=at(5)), call(0, id=CALLS[0], update_time=at(9), latency_ms=7)
    first, warehouse = store_of(new), Warehouse(path)
    warehouse.sync(first)
    frame = load_usage(store_of(old, call(1, id=CALLS[1]))).frame
    warehouse.sync(frame)
    assert held_calls(path).keys() == {str(CALLS[0]), str(CALLS[1])}
    assert held_calls(path)[str(CALLS[0])]["latency_ms"] == 7
    with pytest.raises(UsageError, match='deletes="mirror" would delete the rows of other sources'):
        warehouse.sync(first, deletes="mirror")


def test_what_retention_deletes_stays_and_what_was_an_error_goes_when_asked(path: Path) -> None:
    calls = [call(DAY * number, id=CALLS[number]) for number in range(10)]
    store, warehouse = store_of(*calls), Warehouse(path)
    warehouse.sync(store)
    for gone in (calls[0], calls[1], calls[5]):  # the oldest two, whose time has come, and one among the others
        asyncio.run(store.delete_api_call(gone.id))
    assert not warehouse.sync(store)["calls"].deleted
    assert held_calls(path) == expected_calls(calls)
    verified = warehouse.verify(store)
    assert verified.equal
    assert verified.kept.to_dicts() == [{"table": "calls", "month": "2026-03", "rows": 3}]
    summary = warehouse.sync(store, deletes="mirror")["calls"]
    assert summary.deleted == 1
    assert held_calls(path) == expected_calls([one for one in calls if one.id != calls[5].id])
    with pytest.raises(UsageError, match="deletes is 'never'"):
        warehouse.sync(store, deletes="never")  # type: ignore[arg-type]


def test_a_source_that_is_empty_by_accident_takes_nothing_along(path: Path) -> None:
    calls = [call(DAY * number, id=CALLS[number]) for number in range(40)]
    store, warehouse = store_of(*calls), Warehouse(path)
    asyncio.run(store.create_session(session(0)))
    warehouse.sync(store)
    for gone in calls[5:35]:
        asyncio.run(store.delete_api_call(gone.id))
    with pytest.raises(UsageError, match="30 of 40 rows of calls are gone at memory:: is it the right one, and whole"):
        warehouse.sync(store, deletes="mirror")
    empty = InMemoryStore()
    assert warehouse.sync(empty, deletes="mirror", tables="calls")["calls"].deleted == 0  # which might all be too old
    with pytest.raises(UsageError, match="1 of 1 rows of sessions are gone"):
        warehouse.sync(empty, deletes="mirror")
    assert held_calls(path) == expected_calls(calls)
    done = warehouse.sync(store, deletes="mirror", most_deleted=1)
    assert (done["calls"].deleted, done["sessions"].deleted) == (30, 0)


def test_the_oldest_rows_go_too_from_a_moment_on(path: Path) -> None:
    calls = [call(DAY * number, id=CALLS[number]) for number in range(20)]
    store, warehouse = store_of(*calls), Warehouse(path)
    for number in range(3):
        asyncio.run(store.create_session(session(DAY * number, user_id=CALLS[number])))
    warehouse.sync(store)
    for gone in calls[:4]:
        asyncio.run(store.delete_api_call(gone.id))
    oldest = asyncio.run(store.get_user_sessions(CALLS[0]))[0]
    asyncio.run(store.delete_session(oldest.id))  # retention does not do that
    done = warehouse.sync(store, deletes="mirror")
    assert (done["calls"].deleted, done["sessions"].deleted) == (0, 1)
    done = warehouse.sync(store, deletes="mirror", kept_before=calls[2].create_time)
    assert done["calls"].deleted == 2
    assert held_calls(path) == expected_calls([*calls[:2], *calls[4:]])


def test_verify_names_what_differs(path: Path) -> None:
    calls = [call(DAY * number, id=CALLS[number], total_price=Decimal(1)) for number in range(80)]
    store, warehouse = store_of(*calls), Warehouse(path)
    warehouse.sync(store)
    assert str(warehouse.verify(store)) == "The warehouse has all 80 rows of the source as they are."
    changed = call(DAY * 3, id=CALLS[3], total_price=Decimal("1.0000000001"))
    moved, new = call(-DAY * 90, id=CALLS[4], total_price=Decimal(1)), call(0, id=CALLS[100])
    save(store, changed, moved, new)
    asyncio.run(store.delete_api_call(CALLS[70]))
    verified = warehouse.verify(store)
    assert not verified.equal
    kinds = {(row["table"], row["id"]): row["kind"] for row in verified.differences.to_dicts()}
    assert kinds == {
        ("calls", str(CALLS[3])): "different",
        ("calls", str(CALLS[4])): "different",
        ("calls", str(CALLS[100])): "missing",
    }
    assert verified.kept["rows"].to_list() == [1]
    assert "2 different in calls, 1 missing in calls; 1 row is in the warehouse only" in str(verified)


def test_verify_names_what_is_there_twice(path: Path) -> None:
    store, warehouse = store_of(*(call(DAY * 20 * number, id=CALLS[number]) for number in range(6))), Warehouse(path)
    warehouse.sync(store)
    asyncio.run(store.delete_api_call(CALLS[0]))  # and all of its month
    twice = pl.scan_delta(str(path / "calls")).filter(pl.col("id").is_in([str(CALLS[0]), str(CALLS[4])])).collect()
    twice.write_delta(str(path / "calls"), mode="append")
    verified = warehouse.verify(store)
    found = verified.differences.select("id", "kind").rows()
    assert sorted(found) == sorted((str(number), "doubled") for number in (CALLS[0], CALLS[4]))
    assert "2 doubled in calls" in str(verified)


def test_vacuum_knows_what_a_version_needs_after_the_log_was_shortened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, warehouse, log = store_of(call(0, id=CALLS[0])), Warehouse(path), path / "calls" / "_delta_log"
    warehouse.sync(store)
    first = warehouse.tables()["version"][0]
    (file,) = (path / "calls").glob("*/*.parquet")
    ago = time.time() - 10 * DAY
    os.utime(file, (ago - 30 * DAY,) * 2)
    monkeypatch.setattr(files, "_now", lambda: int(ago * 1000))  # when the file was replaced
    save(store, call(0, id=CALLS[0], latency_ms=5))
    warehouse.sync(store)
    DeltaTable(path / "calls").create_checkpoint()
    assert warehouse.vacuum().files["calls"] == 0
    assert warehouse.usage(first).frame["latency_ms"].to_list() == [None]
    assert warehouse.vacuum(9).files["calls"] == 1
    assert not file.exists()
    assert log.exists()


def test_the_log_does_not_grow_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, warehouse, log = store_of(), Warehouse(path), path / "calls" / "_delta_log"
    monkeypatch.setattr(delta, "_APART", 3)

    def logged(ending: str) -> list[int]:
        return sorted(int(file.name[:20]) for file in log.glob(f"*{ending}"))

    for number in range(10):
        save(store, call(number, id=CALLS[number]))
        warehouse.sync(store, tables="calls")
        DeltaTable(path / "calls").create_checkpoint()
    made = logged(".checkpoint.parquet")
    assert len(made) == 10
    warehouse.vacuum()
    assert logged(".checkpoint.parquet") == [*made[:-2:3], *made[-2:]]
    assert [len(warehouse.usage(version)) for version in made] == list(range(1, 11))
    for file in log.glob("*.*"):
        if int(file.name[:20]) <= made[5]:
            os.utime(file, (time.time() - 40 * DAY,) * 2)
    save(store, call(50, id=CALLS[50]))
    warehouse.sync(store)
    assert made[0] in logged(".json")  # not looked at after each commit
    monkeypatch.setattr(delta, "_EVERY", 1)
    save(store, call(51, id=CALLS[51]))
    warehouse.sync(store)
    assert made[0] not in logged(".json")
    assert logged(".json")[0] <= made[6]  # from where on every version is there
    assert [len(warehouse.usage(version)) for version in made[6:]] == [7, 8, 9, 10]
    assert len(warehouse.usage()) == 12
    assert warehouse.verify(store).equal


def test_older_versions_answer_until_vacuum_has_removed_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, warehouse = store_of(call(0, id=CALLS[0])), Warehouse(path)
    warehouse.sync(store)
    synced = pl.col("table") == "calls", pl.col("what") == "sync"
    first: dict[str, Any] = warehouse.history().filter(*synced).row(0, named=True)
    now = datetime.now(UTC)
    long_ago = int((now - timedelta(days=40)).timestamp() * 1000)
    monkeypatch.setattr(files, "_now", lambda: long_ago)  # when the file was replaced
    save(store, call(0, id=CALLS[0], latency_ms=5), call(1, id=CALLS[1]))
    warehouse.sync(store)
    for as_of in (first["version"], first["time"], first["time"].isoformat()):
        assert warehouse.usage(as_of).frame["latency_ms"].to_list() == [None]
    assert len(warehouse.usage()) == 2
    with pytest.raises(UsageError, match="keeps 1 at least"):
        warehouse.vacuum(0)
    assert str(warehouse.vacuum(dry_run=True)).startswith("1 file was removed")
    assert warehouse.vacuum(41).files["calls"] == 0
    assert len(warehouse.usage(first["version"])) == 1
    assert warehouse.vacuum().files["calls"] == 1
    with pytest.raises(UsageError, match="vacuum removed 1 of the 1 files of calls"):
        warehouse.usage(first["version"])
    with pytest.raises(UsageError, match=r"knows no calls as of 2020-01-01"):
        warehouse.usage("2020-01-01")
    with pytest.raises(UsageError, match="there is no version 99"):
        warehouse.usage(99)
    with pytest.raises(UsageError, match="is still to come"):
        warehouse.usage(datetime.now(UTC) + timedelta(minutes=1))
    assert len(warehouse.usage()) == 2


def test_a_version_has_the_names_of_its_own_sync_for_ever(path: Path) -> None:
    store, warehouse = store_of(call(0, id=CALLS[0], agent_id=UUID(int=7))), Warehouse(path)

    def named(name: str) -> None:
        asyncio.run(store.save_agent(agent("helper", id=UUID(int=7), agent_name=name)))
        warehouse.sync(store)

    named("Before")
    version: Any = warehouse.history().filter(pl.col("table") == "calls")["version"].max()
    at_the_time = datetime.now(UTC)
    assert set(warehouse.usage(version).frame["agent_name"]) == {"Before"}
    named("After")  # no version of the calls
    save(store, call(1, id=CALLS[1], agent_id=UUID(int=7)))
    named("Later")
    assert set(warehouse.usage().frame["agent_name"]) == {"Later"}
    for as_of in (version, at_the_time):
        assert set(warehouse.usage(as_of).frame["agent_name"]) == {"Before"}
    assert set(warehouse.usage(version + 1).frame["agent_name"]) == {"Later"}


def test_compacting_keeps_rows_positions_and_versions(path: Path) -> None:
    store, warehouse = InMemoryStore(), Warehouse(path)
    calls: list[LLMApiCall] = []
    for number in range(6):
        calls.append(call(DAY * number * 7, id=CALLS[number], labels={f"round{number}": "yes"}))
        save(store, calls[-1])
        warehouse.sync(store, tables="calls")
    before: Any = warehouse.history()["version"].max()
    done = warehouse.compact()
    assert (done.files["calls"], done.left) == (5, 2)  # five in March, one in April
    assert str(done).startswith("5 files were put together (")
    assert held_calls(path) == expected_calls(calls)
    assert len(warehouse.usage(before)) == 6
    assert not warehouse.sync(store).changed
    assert warehouse.compact().files["calls"] == 0


def test_many_syncs_leave_few_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 3)
    store, warehouse = InMemoryStore(), Warehouse(path)
    calls = [call(60 * number, id=CALLS[number]) for number in range(6)]
    for number, one in enumerate(calls):
        save(store, one)
        warehouse.sync(store, tables="calls")
        assert len(list(Mirror(str(path), "calls", {}).files)) == (number % 2) + 1
    assert held_calls(path) == expected_calls(calls)
    assert warehouse.history()["what"].to_list().count("compact") == 2
    conflicting = Mirror(str(path), "calls", {})
    save(store, calls[0].model_copy(update={"latency_ms": 5}))
    warehouse.sync(store, tables="calls")
    monkeypatch.setattr(upkeep, "_MANY", 1)
    upkeep.tidied(conflicting)  # of a state that is gone: no harm, and no error
    assert held_calls(path)[str(calls[0].id)]["latency_ms"] == 5


def test_it_says_how_fresh_and_how_large_it_is(path: Path) -> None:
    store, warehouse = store_of(*(call(0, id=one) for one in CALLS[:3])), Warehouse(path)
    assert warehouse.synced().is_empty()
    begun = datetime.now(UTC)
    warehouse.sync(store, tables="calls")
    [(source, table, first)] = warehouse.synced().rows()
    assert (source, table) == ("memory:", "calls")
    assert begun <= first <= datetime.now(UTC)
    warehouse.sync(store, tables=["calls", "messages"])  # nothing new, and yet it is as fresh as now
    again = dict(warehouse.synced().select("table", "synced").rows())
    assert again["calls"] > first
    assert again.keys() == {"calls", "messages"}
    warehouse.sync(load_usage(store_of(call(9, id=CALLS[9]))).frame)
    assert warehouse.synced()["source"].n_unique() == 2
    sizes = {row["table"]: row for row in warehouse.tables().to_dicts()}
    assert (sizes["calls"]["rows"], sizes["calls"]["files"], sizes["messages"]["rows"]) == (4, 2, 0)
    assert sizes["calls"]["bytes"] == sum(file.stat().st_size for file in path.glob("calls/*/*.parquet"))


def test_a_question_reads_the_files_and_columns_that_it_needs(path: Path) -> None:
    store = store_of(*(call(DAY * 15 * number, id=CALLS[number], labels={"team": "a"}) for number in range(8)))
    asyncio.run(store.save_agent(agent("helper", id=UUID(int=2))))
    asyncio.run(store.create_session(session(0, metadata={"plan": "pro"})))
    warehouse = Warehouse(path)
    warehouse.sync(store)
    usage = warehouse.usage()
    assert {"agent_name", "session.plan", "labels.team"} <= set(usage.columns)
    profile = profiled(usage.between("2026-04-01", "2026-05-01").relation, "SELECT model_name, sum(total_tokens)")
    assert "month=2026-04" in profile
    assert not [month for month in ("month=2026-03", "month=2026-05", "month=2026-06") if month in profile]
    assert "Total Files Read: 1" in profile
    profile = profiled(usage.relation, "SELECT model_name, sum(total_tokens)")
    assert "Total Files Read: 4" in profile
    assert "Projections: model_name, total_tokens" in profile
    assert "Join" not in profile  # nobody asked for a session


def profiled(relation: Any, query: str) -> str:
    """What DuckDB says that it did for a query, on one line."""
    answer = relation.query("calls", f"EXPLAIN ANALYZE {query} FROM calls GROUP BY ALL").fetchall()[0][1]
    return " ".join(re.sub(r"[^\w:=,.()#/-]+", " ", answer).split())


def test_two_writers_cannot_commit_what_they_made_of_one_state(path: Path) -> None:
    warehouse = Warehouse(path)
    warehouse.sync(store_of(call(0, id=CALLS[0]), call(1, id=CALLS[1])), tables="calls")
    first, second = Mirror(str(path), "calls", {}), Mirror(str(path), "calls", {})
    nothing = pl.DataFrame(schema=first.columns)
    file = first.files[0]
    first.replace([file], iter([pl.read_parquet(file.uri)]))  # what a compaction does
    gone = Change(nothing, {file: (pl.Series([str(CALLS[0])]), nothing)})
    with pytest.raises(Conflict):
        second.commit(gone, {}, {})
    assert len(held(path)) == 2
    assert second.version == first.version


def test_a_commit_whose_answer_was_lost_is_made_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object store that answers too late is asked again, and refuses what it has."""
    store, warehouse = store_of(call(0, id=CALLS[0])), Warehouse(path)
    warehouse.sync(store, tables="calls")
    write = DeltaTable.create_write_transaction

    def unheard(table: DeltaTable, *given: Any, **named: Any) -> None:
        write(table, *given, **named)
        raise CommitFailedError("the version is there already")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", unheard)
    save(store, call(1, id=CALLS[1]))
    assert warehouse.sync(store)["calls"].added == 1
    assert len(held(path)) == 2


def test_a_sync_beside_another_of_its_source_stops(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, warehouse = store_of(call(0, id=CALLS[0])), Warehouse(path)
    warehouse.sync(store, tables="calls")
    save(store, call(1, id=CALLS[1]))
    commit = Mirror.commit
    done: list[bool] = []

    def quicker(mirror: Mirror, *given: Any) -> None:
        if not done:
            done.append(True)
            monkeypatch.setattr(Mirror, "commit", commit)
            with monkeypatch.context() as unlocked:
                unlocked.setattr("mofa_usage.warehouse.warehouse.locked", lambda *_: _nothing())
                warehouse.sync(store, tables="calls")
        commit(mirror, *given)

    monkeypatch.setattr(Mirror, "commit", quicker)
    with pytest.raises(UsageError, match="another sync of memory: is under way"):
        warehouse.sync(store, tables="calls")
    assert len(held(path)) == 2


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_a_sync_waits_for_another_and_says_so(path: Path) -> None:
    from mofa_usage.warehouse.locking import locked

    store = store_of(call(0))
    with locked(path, 0), pytest.raises(UsageError, match=r"another sync of the warehouse .* is under way"):
        Warehouse(path).sync(store, wait=0.01)
    assert Warehouse(path).sync(store)["calls"].added == 1


def test_what_is_asked_for_wrongly_is_refused(path: Path) -> None:
    warehouse = Warehouse(path, storage_options={"AWS_SECRET_ACCESS_KEY": SECRET})
    assert SECRET not in repr(warehouse)
    for action in (warehouse.usage, warehouse.compact, warehouse.vacuum, warehouse.history):
        with pytest.raises(UsageError, match=r"there (are no calls|is no warehouse) in"):
            action()
    with pytest.raises(UsageError, match="has no table bills"):
        warehouse.sync(store_of(), tables="bills")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no warehouse"):
        warehouse.verify(store_of())
    (path / "messages").mkdir(parents=True)
    (path / "messages" / "of mine.txt").write_text("Hello")
    with pytest.raises(UsageError, match="is no table of a warehouse, and holds of mine"):
        warehouse.sync(store_of())
    for url in (f"postgres://me:{SECRET}@db/usage", "sqlite:usage.db", f"ftp://me:{SECRET}@host/x"):
        with pytest.raises(UsageError, match="a warehouse is a folder, or the URL of one") as refused:
            Warehouse(url)
        assert SECRET not in str(refused.value)
    with pytest.raises(UsageError, match=r"s3:// names no bucket: a warehouse is at s3://bucket/folder"):
        Warehouse("s3://")
    with pytest.raises(UsageError, match="ends the path of a URL") as refused:
        Warehouse(f"s3://bucket/lake?key={SECRET}")
    assert SECRET not in str(refused.value)
    assert Warehouse("file:///some%20where").path == "/some where"
    with pytest.raises(UsageError, match="has no table messages yet"):
        warehouse.verify(store_of())
    with pytest.raises(UsageError, match="is a warehouse, whose columns are known"):
        load_usage(path, mapping={"model_name": "model"})


def test_a_warehouse_of_nothing_answers(path: Path) -> None:
    warehouse = Warehouse(path)
    warehouse.sync(store_of())
    assert len(warehouse.usage()) == 0
    assert warehouse.usage().cost(by="model_name").is_empty()
    assert set(SCHEMAS["calls"]) <= set(pl.read_delta(str(path / "calls")).columns)


@pytest.mark.parametrize("name", ["new user, ü", "100%#?", "[a]*'b\""])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    store, warehouse = store_of(call(0, id=CALLS[0])), Warehouse(path)
    warehouse.sync(store, tables="calls")
    save(store, call(0, id=CALLS[0], latency_ms=5), call(1, id=CALLS[1]))
    warehouse.sync(store, tables="calls")
    assert warehouse.history()["added"].to_list() == [1, 1, None]
    assert [one["version"] for one in warehouse.history(1).to_dicts()] == [2]
    warehouse.compact()
    warehouse.vacuum()
    assert Mirror(str(path), "calls", {}).positions().keys() == {"memory:"}
    assert load_usage(path).frame["latency_ms"].to_list() == [5, None]
    assert warehouse.verify(store, tables="calls").equal
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_warehouse_is_a_source_of_another(path: Path, tmp_path: Path) -> None:
    calls = [call(DAY * number, id=CALLS[number], labels={"feature": str(number)}) for number in range(3)]
    store, warehouse = store_of(*calls), Warehouse(path)
    warehouse.sync(store)
    calls[1] = call(DAY * 60, id=CALLS[1])  # the file that it was in is there still, and no part of the newest version
    asyncio.run(store.delete_api_call(CALLS[2]))
    save(store, calls[1])
    warehouse.sync(store, deletes="mirror")
    calls = [one for one in calls if str(one.id) in held_calls(path)]
    copy = Warehouse(tmp_path / "copy")
    copy.sync(path)
    assert held_calls(tmp_path / "copy") == expected_calls(calls)
    assert copy.verify(path).equal
    for source in (warehouse, str(path)):
        assert not copy.sync(source).changed
    with pytest.raises(UsageError, match="is the warehouse itself"):
        copy.sync(copy)


def test_a_copy_of_a_warehouse_has_all_of_its_tables(path: Path, tmp_path: Path) -> None:
    store, warehouse, copy = store_of(call(0, id=CALLS[0])), Warehouse(path), Warehouse(tmp_path / "copy")
    asyncio.run(store.create_session(session(0, id=SESSION, metadata={"plan": "gold"})))
    asyncio.run(store.save_message(message(0)))
    asyncio.run(store.save_provider(made := provider("openai")))
    asyncio.run(store.save_agent(agent(id=AGENT, provider_id=made.id)))
    warehouse.sync(store)
    with pytest.raises(UsageError, match=r"messages of .* have no content: sync it with content=True"):
        copy.sync(warehouse, content=True)
    warehouse.sync(store, content=True)
    copy.sync(warehouse, content=True)
    for table in SCHEMAS:
        assert held(tmp_path / "copy", table) == held(path, table)
    assert copy.verify(warehouse).equal
    groups = ["agent_name", "provider_name", "session.plan"]
    assert copy.usage().breakdown(groups, "calls").rows() == [("Helper", "openai", "gold", 1)]


@pytest.mark.parametrize("source", ["sqlite:none.db", "none.parquet", "none", None])
def test_of_a_source_that_is_none_no_folder_is_left(path: Path, source: Any) -> None:
    with pytest.raises((UsageError, PersistenceError)):
        Warehouse(path).sync(source)
    assert not path.exists()


@pytest.mark.proof
def test_a_report_of_a_version_is_the_same_for_ever(path: Path, tmp_path: Path) -> None:
    """But for the line that says when it was written, and the random word that lets its own scripts run."""
    prices = [Decimal(number).scaleb(-7) for number in range(60)]
    calls = [
        call(3_600.0 * n, id=CALLS[n], total_price=price, latency_ms=n * n, tokens_per_second=n / 7)
        for n, price in enumerate(prices)
    ]
    store, warehouse = InMemoryStore(), Warehouse(path)
    for part in (calls[::2], calls[1::2]):  # two files of one month
        save(store, *part)
        asyncio.run(store.save_agent(agent("helper", id=calls[0].agent_id, agent_name="Before")))
        warehouse.sync(store)
    version: Any = warehouse.history().filter(pl.col("table") == "calls")["version"].max()
    then = datetime.now(UTC)

    def page(as_of: Any) -> str:
        text = write_report(warehouse.usage(as_of), tmp_path / "report.html").read_text()
        return re.sub(r"Made by mofa_usage on [\d: -]+|nonce[-=][\"\w-]+", "", text)

    def answered(as_of: Any) -> str:  # what a page is made of, in a tenth of the time
        found = answers(warehouse.usage(as_of), None)
        assert found is not None
        floats = pl.selectors.float().round_sig_figs(10)
        return repr([frame.with_columns(floats).to_dicts() for frame in found.found.values()])

    said = page if trials(0, 1) else answered
    first = said(version)
    asyncio.run(store.save_agent(agent("helper", id=calls[0].agent_id, agent_name="After")))
    save(store, *(one.model_copy(update={"total_price": Decimal(1)}) for one in calls[:9]))
    warehouse.sync(store)
    warehouse.compact()
    warehouse.vacuum(1)
    assert said(then) == first
