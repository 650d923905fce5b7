"""What a warehouse reads of a source: rows with exact types, and only what is not as it was."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import adbc_driver_manager as adbc
import polars as pl
import pytest

from mofa_usage import UsageError, export_parquet
from mofa_usage.records import LLMApiCall, Record
from mofa_usage.schema import write_json
from mofa_usage.stores import Store
from mofa_usage.warehouse.sources import SCHEMAS, TABLES, Changes, Page, SourceTables, TableName, frames, open_changes
from mofa_usage.warehouse.sources.databases import fingerprint_of
from tests.calls import DETAILS, expected_row
from tests.samples import SECRET, SESSION, at, call, message, provider, session
from tests.samples import agent as an_agent

CALLS = [
    call(n, total_price=f"0.{n:010}" if n % 2 else None, labels={"team": "a", "provider": "x"} if n % 3 else {})
    for n in range(7)
]
JSON = ("metadata", "custom_params", "thinking", "content")


def read(changes: Changes, position: Any = None) -> tuple[list[Page], dict[str, dict[str, Any]]]:
    """All pages, and the last version of each row by its id."""
    pages = list(changes.pages(position))
    assert all(len(json.dumps(page.position)) < 64_000 for page in pages)
    return pages, {row["id"]: row for page in pages for row in page.rows.iter_rows(named=True)}


def changed(changes: Changes, position: Any) -> set[str]:
    return set(read(changes, position)[1])


def ids(records: Iterable[Record]) -> set[str]:
    return {str(record.id) for record in records}


async def fill(store: Store) -> dict[TableName, list[Any]]:
    """A store with some rows in each table."""
    one = provider()
    agent = an_agent(provider_id=one.id, stream=True, temperature=0.7, custom_params={"a": [1, None]}, agent_order=3)
    sessions = [session(0, id=SESSION, title="Hello", metadata={"plan": "gold"}), session(1)]
    messages = [message(1), message(2, parent_message_id=UUID(int=9))]
    await store.save_api_calls(CALLS)
    await store.save_messages(messages)
    for made in sessions:
        await store.create_session(made)
    await store.save_provider(one)
    await store.save_agent(agent)
    return {"calls": CALLS, "messages": messages, "sessions": sessions, "providers": [one], "agents": [agent]}


def expected(record: Any, columns: Iterable[str]) -> dict[str, Any]:
    """A record as a row of a page, its JSON as what it means."""
    if isinstance(record, LLMApiCall):
        said = {name: getattr(record, name) for name in DETAILS}
        return expected_row(record) | {name: json.loads(write_json(one)) or None for name, one in said.items()}
    values = {name: getattr(record, name) for name in columns}
    row = {name: str(value) if isinstance(value, UUID) else value for name, value in values.items()}
    return row | {name: json.loads(write_json(row[name])) or None for name in JSON if row.get(name) is not None}


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row) | {name: json.loads(row[name]) or None for name in (*JSON, *DETAILS) if row.get(name)}


async def test_the_rows_of_every_table_are_its_records(store: Store) -> None:
    records = await fill(store)
    assert set(SourceTables(store).names) == set(TABLES)
    for table in TABLES:
        changes = open_changes(store, table, content=True)
        pages, rows = await asyncio.to_thread(read, changes)
        columns = {**SCHEMAS[table], **({"content": pl.String} if table == "messages" else {})}
        assert all(list(page.rows.schema.items()) == list(columns.items()) for page in pages)
        assert {key: plain(row) for key, row in rows.items()} == {
            str(record.id): expected(record, columns) for record in records[table]
        }
        everything = pl.concat(await asyncio.to_thread(lambda: list(changes.rows_of(None))))  # noqa: B023
        assert everything.sort("id").equals(pl.concat([page.rows for page in pages]).sort("id"))
        assert changes.cost.rows == 2 * len(rows)
        assert SECRET not in str(rows)


async def test_content_and_keys_are_not_read_unless_asked_for(store: Store) -> None:
    await fill(store)
    for table, column in (("messages", "content"), ("providers", "api_key")):
        pages, _ = read(open_changes(store, table))  # type: ignore[arg-type]
        assert column not in pages[0].rows.columns


async def test_what_did_not_change_does_not_come_again(store: Store) -> None:
    records = await fill(store)
    for table in TABLES:
        changes = open_changes(store, table)
        pages, _ = read(changes)
        assert changed(changes, pages[-1].position) == set()
        assert changed(changes, {"another": "version"}) == ids(records[table])


async def test_only_what_changed_comes_again(store: Store) -> None:
    await store.save_api_calls(CALLS)
    changes = open_changes(store, "calls")
    position = read(changes)[0][-1].position
    new, late = call(), call(-1e6)
    other = CALLS[0].model_copy(update={"latency_ms": 5})
    await store.save_api_calls([new, late, other])
    assert changed(changes, position) >= ids([new, late, other])


async def test_the_rows_of_a_month_are_those_made_in_it(store: Store) -> None:
    made = [call(n, create_time=at(n), update_time=at(n)) for n in (-86_400, 0, 86_400 * 31)]
    await store.save_api_calls(made)
    changes = open_changes(store, "calls")
    for one in made:
        found = pl.concat(changes.rows_of(f"{one.create_time:%Y-%m}"))
        assert set(found["id"]) == {str(one.id)}


async def test_what_was_deleted_is_gone_and_what_retention_deleted_stays(store: Store) -> None:
    await store.save_api_calls(CALLS)
    changes = open_changes(store, "calls")
    held = pl.concat([page.rows for page in read(changes)[0]]).select("id", "create_time")
    await store.cleanup_old_records(at(2))
    await store.delete_api_call(CALLS[4].id)
    gone = [list(found) for found in changes.gone(iter([held.head(3), held.slice(3)]), None)]
    assert [one for found in gone for one in found] == [str(CALLS[4].id)]
    assert len(gone) == 2


@pytest.mark.only_on("postgres")
async def test_a_server_is_asked_on_one_connection(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    records, made = await fill(store), []
    connect = adbc.AdbcConnection

    def noted(database: Any) -> Any:
        made.append(connect(database))
        return made[-1]

    monkeypatch.setattr(adbc, "AdbcConnection", noted)
    with SourceTables(store).connected() as tables:
        changes = [tables.changes(table) for table in tables.names]
        for one in changes:
            read(one)
        assert len(made) == 1
        pages = changes[0].pages(None)  # while one is being read, others are asked on another one
        assert ids(records["calls"]) == set(next(pages).rows["id"])
        read(changes[1])
        assert len(made) == 2
        pages.close()  # type: ignore[attr-defined]
        assert read(changes[2])[1].keys() == ids(records["sessions"])
    for connection in made:
        with pytest.raises(adbc.Error, match="AdbcConnectionNew"):
            connection.get_info()
    read(changes[0])
    assert len(made) > 2


def test_a_database_is_the_same_whoever_asks_and_however_it_is_written() -> None:
    same = ("postgres://me:secret@DB.example/agents", "postgresql://you@db.example:5432/agents?sslmode=require")
    assert {fingerprint_of(url) for url in same} == {"postgres://db.example/agents"}
    assert (
        fingerprint_of("mysql://db:3306/a") == fingerprint_of("mariadb://db/a") != fingerprint_of("mysql://db:3307/a")
    )
    assert fingerprint_of("postgres://db/a") != fingerprint_of("postgres://db/A")


# --- files and frames -----------------------------------------------------------------------------------------------


def frame_of(calls: Iterable[LLMApiCall]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"id": str(one.id), "model_name": one.model_name, "create_time": one.create_time} for one in calls]
    )


def test_a_frame_gives_again_only_its_pages_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "PAGE_ROWS", 3)
    first = frame_of(CALLS)
    pages, rows = read(open_changes(first, "calls"))
    assert [page.rows.height for page in pages] == [3, 3, 1, 0]
    assert set(rows) == ids(CALLS)
    assert list(pages[0].rows.columns) == list(SCHEMAS["calls"])
    position = pages[-1].position
    assert changed(open_changes(first, "calls"), position) == set()
    grown = pl.concat([first, frame_of([call()])])
    assert changed(open_changes(grown, "calls"), position) == set(grown["id"][6:])
    other = first.with_columns(pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("b")).otherwise("model_name"))
    other = first.with_columns(other["literal"].alias("model_name"))
    assert changed(open_changes(other, "calls"), position) == set(first["id"][3:6])
    # Killed after the second page: what is behind it comes.
    assert changed(open_changes(first, "calls"), pages[1].position) == set(first["id"][6:])
    with pytest.raises(UsageError, match="what was deleted"):
        list(open_changes(first, "calls").gone(iter([first]), None))


def test_further_columns_come_along() -> None:
    frame = frame_of(CALLS).with_columns(pl.lit("x").alias("labels.team"), pl.lit(1).alias("shard"))
    pages, _ = read(open_changes(frame, "calls"))
    assert pages[0].rows.columns == [*SCHEMAS["calls"], "labels.team", "shard"]


def test_calls_without_ids_and_other_tables_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column id"):
        read(open_changes(frame_of(CALLS).drop("id"), "calls"))
    with pytest.raises(UsageError, match="no messages"):
        open_changes(frame_of(CALLS), "messages")
    with pytest.raises(UsageError, match="no table 'users'"):
        open_changes(frame_of(CALLS), "users")  # type: ignore[arg-type]
    export_parquet(frame_of(CALLS), tmp_path / "calls.parquet")
    assert SourceTables(tmp_path).names == ("calls",)


def test_a_file_that_is_as_it_was_is_not_read_again(tmp_path: Path) -> None:
    def write(name: str, calls: Iterable[LLMApiCall]) -> None:
        export_parquet(frame_of(calls), tmp_path / name, overwrite=True)

    write("a.parquet", CALLS[:3])
    write("b.parquet", CALLS[3:])
    changes = open_changes(tmp_path, "calls")
    pages, rows = read(changes)
    assert set(rows) == ids(CALLS)
    assert changes.fingerprint == str(tmp_path)
    again = open_changes(str(tmp_path), "calls")
    assert changed(again, pages[-1].position) == set()
    assert again.cost.rows == 0
    killed = next(page for page in pages if page.position["files"])  # of the first file
    assert changed(again, killed.position) == ids(CALLS[3:])
    write("b.parquet", [*CALLS[3:], late := call()])
    write("c.parquet", [new := call()])
    assert changed(again, pages[-1].position) == ids([*CALLS[3:], late, new])


def test_thousands_of_files_share_their_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mofa_usage.warehouse.sources.files._MOST", 2)
    for number, one in enumerate(CALLS[:5]):
        frame_of([one]).write_parquet(tmp_path / f"{number}.parquet")
    pages, rows = read(open_changes(tmp_path, "calls"))
    assert set(rows) == ids(CALLS[:5])
    assert len(pages[-1].position["files"]) == 2
    frame_of([CALLS[5]]).write_parquet(tmp_path / "4.parquet")
    assert changed(open_changes(tmp_path, "calls"), pages[-1].position) == ids([CALLS[3], CALLS[5]])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("postgres://me:secret@db/usage", "postgresql+asyncpg://you@DB:5432/usage"),
        ("mysql://db/usage", "mysql+aiomysql://me:secret@db:3306/usage"),
        ("sqlite:usage.db", "sqlite:./usage.db"),
    ],
)
def test_a_database_is_one_source_however_its_url_is_written(first: str, second: str) -> None:
    assert fingerprint_of(first) == fingerprint_of(second)
    assert "secret" not in fingerprint_of(first) + fingerprint_of(second)
    assert fingerprint_of(first) != fingerprint_of(f"{first}2")
