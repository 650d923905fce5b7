"""Where a row stands in the order of saves: set by the server, whoever writes; and what a sync makes of it."""

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from mofa_usage.stores import Store, connect
from mofa_usage.stores.migrations import tables as migrations
from mofa_usage.warehouse import sources
from mofa_usage.warehouse.sources import TABLES, Changes, open_changes, tables
from mofa_usage.warehouse.sources.postgres import PostgresChanges, _Snapshot
from mofa_usage.warehouse.sources.sqlite import SqliteChanges
from mofa_usage.warehouse.sources.tables import SPECS
from mofa_usage.warehouse.sources.windows import Due, WindowChanges, windows_of
from tests.leaks import opened
from tests.mofa_tables import MofaDatabase, build, rust_call
from tests.samples import at, call
from tests.test_sources import changed, fill, ids, read

pytestmark = [pytest.mark.sql_only]

CALLS = "entity_llm_api_call"


async def positions(store: Any, table: str) -> dict[str, Any]:
    """The position of each row, as text, by its id."""
    async with store.engine.connect() as connection:
        rows = await connection.execute(sa.text(f"SELECT id, saved_position FROM {table}"))
        return {str(key): position for key, position in rows.all()}


async def run(store: Any, *statements: str) -> None:
    async with store.engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


def assert_only(changes: Changes, position: Any, expected: set[str]) -> None:
    """These have changed. Others may come along where whole windows are read."""
    found = changed(changes, position)
    assert found >= expected if isinstance(changes, WindowChanges) else found == expected


async def test_every_save_of_every_table_has_a_position(store: Store) -> None:
    records = await fill(store)
    before = {name: await positions(store, SPECS[name].table.name) for name in TABLES}
    for name in TABLES:
        assert before[name].keys() == ids(records[name])
        assert None not in before[name].values()
    changed_call = records["calls"][0].model_copy(update={"latency_ms": 1})
    await store.save_api_call(changed_call)
    await store.save_message(records["messages"][0].model_copy(update={"user_id": uuid4()}))
    await store.update_session(records["sessions"][0].model_copy(update={"title": "Other"}))
    await store.save_agent(records["agents"][0].model_copy(update={"agent_order": 9}))
    await store.save_provider(records["providers"][0].model_copy(update={"enabled": False}))
    for name in TABLES:
        after = await positions(store, SPECS[name].table.name)
        moved = {key for key, position in after.items() if position != before[name][key]}
        assert moved == {str(records[name][0].id)}
        assert after[str(records[name][0].id)] > max(before[name].values())


async def test_forgotten_users_and_filled_in_prices_are_changes(store: Store) -> None:
    await fill(store)
    calls = open_changes(store, "calls")
    position = read(calls)[0][-1].position
    unpriced = [one for one in await store.query_api_calls() if one.total_price is None]
    priced = [one.model_copy(update={"total_price": 1}) for one in unpriced[:2]]
    await store._fill_prices(priced)
    assert_only(calls, position, ids(priced))
    position = read(calls, position)[0][-1].position
    forgotten = await store.forget_user(unpriced[0].user_id)
    pages, rows = read(calls, position)
    assert len(rows) == forgotten.calls == 7
    assert {row["user_id"] for row in rows.values()} == {"00000000-0000-0000-0000-000000000000"}
    assert changed(calls, pages[-1].position) == set()


async def test_bulk_saves_have_positions_too(store: Store) -> None:
    calls = [call(n) for n in range(150)]
    await store.save_api_calls(calls)
    changes = open_changes(store, "calls")
    position = read(changes)[0][-1].position
    again = [one.model_copy(update={"latency_ms": 9}) for one in calls[20:140]]
    await store.save_api_calls([*again, new := call()])
    assert_only(changes, position, ids([*again, new]))


@pytest.mark.shared_only
async def test_a_first_read_that_was_killed_goes_on_behind_its_last_page(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_STATEMENT_ROWS", 2)
    monkeypatch.setattr("mofa_usage.warehouse.sources.windows._STEP", 2)
    calls = [call(n % 3) for n in range(9)]  # of equal times, too
    async with connect(url) as store:
        await store.save_api_calls(calls)
        changes = open_changes(url, "calls")
        seen: set[str] = set()
        position, late = None, call(-5)
        for number in range(20):
            page = next((page for page in changes.pages(position) if page.position != position), None)
            if page is None:
                break
            position = page.position
            seen |= set(page.rows["id"])
            if number == 1:
                await store.save_api_calls([late, changed_ := calls[0].model_copy(update={"latency_ms": 8})])
        assert seen == ids([*calls, late])
        assert read(changes, position)[1] == {}
        _, rows = read(changes)
        assert rows[str(changed_.id)]["latency_ms"] == 8


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.mark.only_on("postgres")
async def test_postgres_corrects_a_position_that_a_row_brings_along(store: Store) -> None:
    await store.save_api_call(one := call())
    changes = open_changes(store, "calls")
    assert isinstance(changes, PostgresChanges)
    position = read(changes)[0][-1].position
    await run(store, f"UPDATE {CALLS} SET saved_position = '3'")
    assert changed(changes, position) == ids([one])
    # As replication does it, for which other triggers do not fire.
    columns = ", ".join(name for name in SPECS["calls"].columns if name != "id")
    await run(
        store,
        f"INSERT INTO {CALLS} (id, {columns}, saved_position) SELECT '{uuid4()}', {columns}, '3' FROM {CALLS}",
    )
    assert "3" not in map(str, (await positions(store, CALLS)).values())


@pytest.mark.only_on("postgres")
async def test_postgres_begins_anew_where_ids_may_be_used_a_second_time(store: Store) -> None:
    await store.save_api_call(one := call())
    changes = open_changes(store, "calls")
    position = dict(read(changes)[0][-1].position)
    system, timeline, *place = position["here"].split("/")
    assert changed(changes, position) == set()
    for other in ([system, "00000002", *place], ["1", timeline, *place], [system, timeline, place[0], "1"]):
        assert changed(changes, position | {"here": "/".join(other)}) == ids([one])


@pytest.mark.only_on("postgres")
async def test_rows_of_another_cluster_are_read_once(store: Store) -> None:
    calls = [call(n) for n in range(3)]
    await store.save_api_calls(calls)
    await run(
        store,
        f"ALTER TABLE {CALLS} DISABLE TRIGGER ALL",
        f"UPDATE {CALLS} SET saved_position = '1152921504606846976' WHERE id = '{calls[0].id}'",
        f"UPDATE {CALLS} SET saved_position = NULL WHERE id = '{calls[1].id}'",
        f"ALTER TABLE {CALLS} ENABLE ALWAYS TRIGGER {CALLS}_saved",
    )
    changes = open_changes(store, "calls")
    pages, rows = read(changes)
    assert set(rows) == ids(calls)
    assert changed(changes, pages[-1].position) == set()
    await store.save_api_calls(calls[:2])
    assert changed(changes, pages[-1].position) == ids(calls[:2])


@pytest.mark.only_on("postgres", "mariadb", "mysql")  # SQLite makes it at once
async def test_a_large_table_gets_its_index_from_migrate_only(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    database = await build(empty_url, ())
    monkeypatch.setattr(migrations, "LARGE", -1)
    caplog.set_level(logging.WARNING)
    async with opened(empty_url) as store:
        assert "mofa-usage migrate" in caplog.text
        assert "saved" not in str([name for name in await database.catalogue() if name.startswith("index")])
        await store.save_api_call(one := call())
        changes = open_changes(empty_url, "calls")
        position = read(changes)[0][-1].position
        assert changed(changes, position) == set()
        await store.save_api_call(one.model_copy(update={"latency_ms": 1}))
        assert changed(changes, position) == ids([one])
        await store.migrate()  # type: ignore[attr-defined]
    made = str(await database.catalogue())
    assert made.count("_saved") >= 5
    assert "idx_agent_saved" in made


@pytest.mark.only_on("postgres")
async def test_what_postgres_reads_has_an_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.save_api_call(call())
    statements = []
    select = tables.StoredTable.select

    def noted(table: tables.StoredTable, tail: str, **further: str) -> str:
        statements.append(select(table, tail, **further))
        return statements[-1]

    monkeypatch.setattr(tables.StoredTable, "select", noted)
    changes = open_changes(store, "calls")
    changed(changes, read(changes)[0][-1].position)
    async with store.engine.begin() as connection:  # type: ignore[attr-defined]
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for statement, index in zip(statements, ("idx_api_call_time", "idx_api_call_saved"), strict=True):
            plan = "\n".join((await connection.exec_driver_sql(f"EXPLAIN {statement}")).scalars())
            assert f"Index Scan using {index}" in plan
            assert "Sort Key: (" not in plan  # of what is read


def test_a_snapshot_is_what_postgres_says() -> None:
    seen = _Snapshot.of("10:20:10,14,15")
    assert (seen.end, seen.open, str(seen)) == (20, (10, 14, 15), "10:20:10,14,15")
    assert str(_Snapshot.of("10:20:")) == "20:20:"
    assert str(_Snapshot.before("10:20:14")) == "10:10:"
    many = _Snapshot(9_000, tuple(range(1_000, 8_000, 2))).bounded()
    assert (many.end, len(many.open), max(many.open)) == (3_000, 1_000, 2_998)
    assert len(str(many)) < 64_000


# --- SQLite ---------------------------------------------------------------------------------------------------------


async def test_a_file_that_was_put_back_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "usage.db"
    async with connect(f"sqlite:{path}") as store:
        await store.save_api_calls(calls := [call(n) for n in range(3)])
    shutil.copy(path, tmp_path / "backup.db")
    async with connect(f"sqlite:{path}") as store:
        await store.save_api_calls([call(n) for n in range(10, 14)])
    changes = open_changes(f"sqlite:{path}", "calls")
    assert isinstance(changes, SqliteChanges)
    position = read(changes)[0][-1].position
    shutil.copy(tmp_path / "backup.db", path)
    assert changed(changes, position) == ids(calls)  # the counter is behind
    async with connect(f"sqlite:{path}") as store:
        await store.save_api_calls(others := [call(n) for n in range(20, 26)])
    assert changed(changes, position) == ids([*calls, *others])  # it is ahead, and its numbers are of other rows


@pytest.mark.only_on("sqlite")
async def test_sqlite_corrects_a_number_that_a_row_brings_along(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_STATEMENT_ROWS", 7)
    calls = [call(n) for n in range(50)]
    await store.save_api_calls(calls)  # with one number
    changes = open_changes(store, "calls")
    assert isinstance(changes, SqliteChanges)
    position = read(changes)[0][-1].position
    columns = ", ".join(name for name in SPECS["calls"].columns if name != "id")
    for number in ("saved_position", "saved_position + 1", "saved_position + 9"):  # of before, the next, and beyond
        copied = f"SELECT '{(new := uuid4())}', {columns}, {number} FROM {CALLS} WHERE id = '{calls[0].id}'"
        await run(store, f"INSERT INTO {CALLS} (id, {columns}, saved_position) {copied}")
        assert changed(changes, position) >= {str(new)}
    await run(store, f"UPDATE {CALLS} SET saved_position = 1 WHERE id = '{calls[1].id}'")
    assert changed(changes, position) >= ids(calls[1:2])
    position = read(changes, position)[0][-1].position
    again = [one.model_copy(update={"latency_ms": 7}) for one in calls]
    await store.save_api_calls(again)
    first = next(page for page in changes.pages(position) if page.rows.height)
    assert 0 < first.rows.height < len(again)
    rest = read(changes, first.position)[1]
    assert ids(again) == rest.keys() | set(first.rows["id"])


async def test_numbers_of_deleted_rows_are_not_given_again(tmp_path: Path) -> None:
    async with connect(f"sqlite:{tmp_path / 'usage.db'}") as store:
        await store.save_api_calls(calls := [call(n) for n in range(3)])
        changes = open_changes(store, "calls")
        position = read(changes)[0][-1].position
        await store.delete_api_call(calls[2].id)
        await store.save_api_call(new := call())
        assert changed(changes, position) == ids([new])


@pytest.mark.sql_only
@pytest.mark.only_on("mariadb", "mysql")
async def test_when_many_rows_were_added_up_is_kept_though_nothing_was_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save_api_calls([call(number) for number in range(9)])
    assert not read(open_changes(store, "calls"))[0][-1].keep  # these few are added up each time
    monkeypatch.setattr(sources, "windows_of", partial(windows_of, due=Due(rows=2)))
    first = read(open_changes(store, "calls"))[0][-1]
    assert first.keep
    assert not read(open_changes(store, "calls"), first.position)[0][-1].keep


# --- tables that MoFA made ------------------------------------------------------------------------------------------


@pytest.mark.shared_only
async def test_mofas_tables_are_compared(empty_url: str) -> None:
    database = await build(empty_url)
    before = await database.catalogue()
    async with opened(empty_url):
        pass
    assert {name: (await database.catalogue())[name] for name in before} == before
    await insert(database, 1, 2, 3)
    for table in TABLES:
        assert isinstance(open_changes(empty_url, table), WindowChanges) != empty_url.startswith("sqlite")
    changes = open_changes(empty_url, "calls")
    pages, rows = read(changes)
    assert len(rows) == 3
    assert changed(changes, pages[-1].position) == set()
    await insert(database, -5, 9)
    await database.run(f"UPDATE {CALLS} SET latency_ms = 77 WHERE id = '{min(rows)}'")
    _, found = read(changes, pages[-1].position)
    new = read(changes)[1].keys() - rows.keys()
    assert found.keys() >= {min(rows), *new}
    assert len(new) == 2


async def insert(database: MofaDatabase, *seconds: int) -> None:
    for n in seconds:
        time = database.time(at(n).replace(microsecond=0))
        await database.insert(CALLS, rust_call(n + 100, time))
