"""What only SQLite has: files, URLs of files, its settings, and several processes on one file."""

import asyncio
import multiprocessing
import os
import re
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from mofa_usage import InMemoryStore, SqliteStore, StoreConnectionError, connect
from mofa_usage.errors import PersistenceError, QueryError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Retry
from tests.leaks import checked_out, opened
from tests.proofs import trials
from tests.samples import SESSION, call, message


async def setting(store: Any, name: str) -> Any:
    async with store.engine.connect() as connection:
        return (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()


# --- how it is opened -----------------------------------------------------------------------------------------------


async def test_it_is_opened_for_many_writers(tmp_path: Path) -> None:
    async with opened(f"sqlite:{tmp_path / 'a.db'}") as store:
        assert await setting(store, "journal_mode") == "wal"
        assert await setting(store, "foreign_keys") == 1
        assert await setting(store, "busy_timeout") >= 5_000
    assert (tmp_path / "a.db").read_bytes()[:15] == b"SQLite format 3"


async def test_every_connection_of_the_pool_is_set_up_alike(tmp_path: Path) -> None:
    async with opened(f"sqlite:{tmp_path / 'a.db'}", max_connections=3) as store:
        engine: Any = store.engine  # type: ignore[attr-defined]
        connections = [await engine.connect() for _ in range(3)]
        try:
            for connection in connections:
                assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar_one() == 1
                assert (await connection.execute(text("PRAGMA busy_timeout"))).scalar_one() >= 5_000
        finally:
            for connection in connections:
                await connection.close()


async def test_closing_leaves_one_file(tmp_path: Path) -> None:
    async with opened(f"sqlite:{tmp_path / 'a.db'}") as store:
        await store.save_api_call(call())
    assert os.listdir(tmp_path) == ["a.db"]


async def test_the_pool_has_five_connections_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    for bound, wanted in ((None, 5), (2, 2)):
        async with opened(f"sqlite:{tmp_path / 'a.db'}", max_connections=bound) as store:
            async with asyncio.timeout(30):
                await asyncio.gather(*(store.query_api_calls(QueryFilter()) for _ in range(30)))
            pool = store.pool  # type: ignore[attr-defined]
            assert pool.size() + max(0, pool.overflow()) <= wanted
            assert pool.checkedin() <= wanted


# --- URLs -----------------------------------------------------------------------------------------------------------

RELATIVE = ["sqlite:data.db", "sqlite:./data.db", "sqlite:///data.db", "sqlite:///./data.db", "sqlite://data.db"]
RELATIVE += ["sqlite+aiosqlite:///data.db", "sqlite+pysqlite:///data.db", "SQLITE:data.db"]


@pytest.mark.parametrize("url", RELATIVE)
async def test_relative_urls(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(url) as store:
        assert store.backend_name == "sqlite"
        await store.save_api_call(call())
    assert (tmp_path / "data.db").is_file()


@pytest.mark.parametrize("form", ["sqlite:{}", "sqlite:///{}", "sqlite+aiosqlite:///{}"])
async def test_absolute_urls(form: str, tmp_path: Path) -> None:
    async with opened(form.format(tmp_path / "data.db")) as store:
        await store.save_api_call(call())
    assert (tmp_path / "data.db").is_file()


async def test_a_url_means_the_directory_in_which_it_was_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    async with opened("sqlite:data.db", max_connections=2) as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await asyncio.gather(*(store.save_api_call(call(n)) for n in range(20)))
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("name", ["with space.db", "ünïcode 😀.db", "per%cent.db", "a+b.db", "quote'.db", "no-suffix"])
async def test_odd_file_names(name: str, tmp_path: Path) -> None:
    async with opened(f"sqlite:{tmp_path / name}") as store:
        await store.save_api_call(call())
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("url", ["sqlite::memory:", "sqlite:///:memory:", "sqlite://:memory:"])
async def test_memory_urls(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(url) as store:
        assert store.backend_name == "sqlite"
        await store.save_api_call(call())
    assert os.listdir(tmp_path) == []


async def test_the_class_connects_to_its_own_urls_only(tmp_path: Path) -> None:
    store = await SqliteStore.connect(f"sqlite:{tmp_path / 'a.db'}", max_connections=1)
    await store.close()
    for url in ("memory:", "postgres://localhost/x", "mysql://localhost/x"):
        with pytest.raises((StoreConnectionError, ValueError), match="SqliteStore"):
            await SqliteStore.connect(url)


@pytest.mark.parametrize("url", ["", "data.db", "oracle://x/y", "sqlite", "://", "http://example.org"])
async def test_what_is_no_url_of_ours_is_refused_with_words(url: str) -> None:
    with pytest.raises((StoreConnectionError, ValueError)) as caught:
        await connect(url)
    assert len(str(caught.value)) > 20


# --- in memory ------------------------------------------------------------------------------------------------------


async def test_in_memory_is_one_database_for_the_whole_pool() -> None:
    store = await SqliteStore.in_memory()
    try:
        await asyncio.gather(*(store.save_api_call(call(n)) for n in range(50)))
        counts = await asyncio.gather(*(store.get_statistics(QueryFilter()) for _ in range(20)))
        assert {each.total_calls for each in counts} == {50}
        assert checked_out(store) == 0
    finally:
        await store.close()


async def test_every_in_memory_store_is_its_own() -> None:
    one, other = await SqliteStore.in_memory(), await SqliteStore.in_memory()
    try:
        await one.save_api_call(call())
        assert await other.query_api_calls(QueryFilter()) == []
    finally:
        await one.close()
        await other.close()


async def test_in_memory_forgets_when_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = await SqliteStore.in_memory()
    await store.save_api_call(call())
    await store.close()
    again = await SqliteStore.in_memory()
    try:
        assert await again.query_api_calls(QueryFilter()) == []
    finally:
        await again.close()
    assert os.listdir(tmp_path) == []


# --- several processes ----------------------------------------------------------------------------------------------


def _write(url: str, worker: int, count: int) -> int:
    async def work() -> int:
        async with connect(url) as store:
            for n in range(count):
                await store.save_api_call(call(n))
                if n % 50 == 0:
                    await store.save_messages([message(n) for _ in range(100)])
            return worker

    return asyncio.run(work())


@pytest.mark.slow
@pytest.mark.proof
async def test_processes_writing_one_file_are_never_locked_out(tmp_path: Path) -> None:
    """Four processes that save, beside a hundred tasks of our own, on a file that none of them made."""
    url, count = f"sqlite:{tmp_path / 'shared.db'}", trials(50, 400)
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
        loop = asyncio.get_running_loop()
        others = [loop.run_in_executor(processes, _write, url, worker, count) for worker in range(4)]
        async with opened(url) as store:
            await asyncio.gather(*(store.save_api_call(call(n)) for n in range(100)))
            assert await asyncio.gather(*others) == [0, 1, 2, 3]
            assert (await store.get_statistics(QueryFilter())).total_calls == 4 * count + 100
            assert await store.count_session_messages(SESSION) == 4 * (count // 50) * 100


async def test_a_long_lock_of_another_process_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(f"sqlite:{path}") as store:
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            save = asyncio.create_task(store.save_api_call(call()))
            await asyncio.sleep(0.5)
            assert not save.done()
            assert await store.query_api_calls(QueryFilter()) == []  # readers do not wait for a writer
            other.execute("COMMIT")
            async with asyncio.timeout(20):
                await save
        assert len(await store.query_api_calls(QueryFilter())) == 1


async def test_a_lock_that_is_never_released_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(f"sqlite:{path}", lock_timeout=0.5, retry=Retry(timeout=1.0)) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(30):
                with pytest.raises(QueryError, match=r"lock|busy") as caught:
                    await store.save_api_call(call())
            assert caught.value.transient is True
        await store.save_api_call(call())


# --- schema versions ------------------------------------------------------------------------------------------------


def versions(path: Path) -> tuple[str, list[str]]:
    """The table in which the version of the schema is kept, and the versions in it."""
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%version%'")
        ((table,),) = tables.fetchall()
        return table, [row[0] for row in connection.execute(f"SELECT version_num FROM {table}")]


async def test_a_newer_schema_is_refused_with_words_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(f"sqlite:{path}") as store:
        await store.save_api_call(call())
    table, (version,) = versions(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET version_num = '9999_from_the_future'")
    with pytest.raises(PersistenceError, match=re.compile(r"newer|upgrade|unknown", re.IGNORECASE)) as caught:
        await connect(f"sqlite:{path}")
    assert "9999" in str(caught.value)
    assert versions(path)[1] == ["9999_from_the_future"]
    assert version != "9999_from_the_future"


async def test_tables_of_ours_without_a_version_are_adopted(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with opened(f"sqlite:{path}") as store:
        await store.save_api_call(call())
    table, known = versions(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"DROP TABLE {table}")
        connection.execute("DROP INDEX idx_message_session")
    async with opened(f"sqlite:{path}") as store:
        assert len(await store.query_api_calls(QueryFilter())) == 1
    assert versions(path) == (table, known)


# --- files that cannot be used --------------------------------------------------------------------------------------


async def refused(url: str) -> str:
    with pytest.raises(PersistenceError) as caught:
        await connect(url)
    assert caught.value.__cause__ is not None
    return str(caught.value)


async def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    said = await refused(f"sqlite:{tmp_path / 'nowhere' / 'a.db'}")
    assert "nowhere" in said
    assert not (tmp_path / "nowhere").exists()


def test_a_connection_that_fails_leaves_no_thread_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that outlives its event loop prints a traceback into the user's terminal."""
    complaints: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)
    for _ in range(30):
        asyncio.run(refused(f"sqlite:{tmp_path / 'nowhere' / 'a.db'}"))
    assert not complaints


async def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert str(tmp_path) in await refused(f"sqlite:{tmp_path}")


@pytest.mark.parametrize("content", [b"This is a letter, not a database. " * 100, b"SQLite format 3\0" + b"x" * 5_000])
async def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    said = await refused(f"sqlite:{path}")
    assert "letter.txt" in said
    assert path.read_bytes() == content


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A directory of an ordinary user, and this process without the right to write into others'."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


async def test_a_file_that_may_not_be_written_is_a_clear_error() -> None:
    with as_nobody() as directory:
        path = directory / "a.db"
        async with opened(f"sqlite:{path}") as store:
            await store.save_api_call(call())
        path.chmod(0o444)
        directory.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(PersistenceError, match=re.compile("read-?only|unable to open", re.IGNORECASE)):
                async with connect(f"sqlite:{path}", create_tables=False) as store:
                    await store.save_api_call(call())
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
            directory.chmod(0o755)


async def test_a_disk_that_is_full_is_an_error_and_nothing_is_half_written(tmp_path: Path) -> None:
    async with opened(f"sqlite:{tmp_path / 'a.db'}", max_connections=1) as store:
        await store.save_messages([message(n) for n in range(10)])
        pages = await setting(store, "page_count")
        await setting(store, f"max_page_count = {pages + 2}")
        with pytest.raises(PersistenceError, match="full"):
            await store.save_messages([message(n) for n in range(5_000)])
        assert await store.count_session_messages(SESSION) == 10
        await setting(store, "max_page_count = 1000000")
        await store.save_messages([message(n) for n in range(10)])
        assert await store.count_session_messages(SESSION) == 20


async def test_memory_and_sqlite_are_different_classes() -> None:
    async with connect("memory:") as plain, connect("sqlite::memory:") as sqlite:
        assert isinstance(plain, InMemoryStore)
        assert isinstance(sqlite, SqliteStore)
