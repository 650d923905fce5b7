"""A PostgreSQL source that is not the server that it was: a standby that lags, a copy that was put back, a crash."""

import asyncio
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from mofa_usage import UsageError
from mofa_usage.records import LLMApiCall
from mofa_usage.stores import connect
from mofa_usage.warehouse import Warehouse
from mofa_usage.warehouse.sources import Changes, open_changes, tables
from mofa_usage.warehouse.sources.postgres import PostgresChanges
from tests.samples import call
from tests.servers import PostgresServer, PostgresStandby, copy_data, postgres_server
from tests.test_sources import changed, ids, read


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


def save(url: str, calls: Iterable[LLMApiCall]) -> None:
    """Each in a transaction of its own."""

    async def all_of_them() -> None:
        async with connect(url) as store:
            for one in calls:
                await store.save_api_call(one)

    asyncio.run(all_of_them())


def last_position(changes: Changes, since: Any = None) -> Any:
    return read(changes, since)[0][-1].position


class Balancer:
    """Two readers as one: what is small is asked of one server, rows come from the other."""

    def __init__(self, asked: Any, read_from: Any) -> None:
        self.query, self.stream = asked.query, read_from.stream


def balanced(changes: Any, other: Any) -> PostgresChanges:
    """The changes, with rows that come from the server of others."""
    reader: Any = Balancer(changes._table.reader, other._table.reader)
    return PostgresChanges("x", replace(changes._table, reader=reader))


def test_a_standby_that_lags(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_STATEMENT_ROWS", 2)
    url = server.create_database()
    save(url, calls := [call(n) for n in range(4)])
    standby = PostgresStandby(server)
    try:
        here, there = open_changes(url, "calls"), open_changes(standby.url_for(url.rpartition("/")[2]), "calls")
        _caught_up(server, standby)
        position = last_position(here)
        assert changed(there, position) == set()
        assert changed(here, last_position(there)) == set()
        standby.admin("select pg_wal_replay_pause()")
        save(url, new := [call(n) for n in range(10, 14)])
        pages = list(here.pages(position))
        for behind in (pages[0].position, pages[-1].position):
            with pytest.raises(
                UsageError, match=r"is a standby that has transactions up to \d+; calls were read up to"
            ):
                read(there, behind)
        for since in (None, position):
            with pytest.raises(UsageError, match="its statements reach several servers"):
                read(balanced(here, there), since)
        # Behind the server, but not behind the position: what it has may be read, and nothing is passed over.
        assert changed(here, last_position(there, position)) == ids(new)
        assert read(there)[1].keys() == ids(calls)
        standby.admin("select pg_wal_replay_resume()")
        _caught_up(server, standby)
        assert changed(there, position) == changed(balanced(here, there), position) == ids(new)
        assert changed(there, pages[0].position) >= ids(new[2:])
        assert changed(there, pages[-1].position) == set()
        standby.admin("select pg_promote()")
        assert changed(there, pages[-1].position) == ids([*calls, *new])
    finally:
        standby.stop()


def _caught_up(server: PostgresServer, standby: PostgresServer) -> None:
    ((place,),) = server.admin("select pg_current_wal_lsn()")
    deadline = time.monotonic() + 30
    while standby.admin(f"select pg_last_wal_replay_lsn() >= '{place}'") != [("t",)]:
        assert time.monotonic() < deadline, standby.log[-1500:]
        time.sleep(0.05)


def test_a_copy_that_was_put_back(server: PostgresServer, tmp_path: Path) -> None:
    url, copy = server.create_database(), server.directory / "copy"
    save(url, kept := [call(n) for n in range(3)])
    with server.stopped() as data:
        copy_data(data, copy)
    save(url, lost := [call(n) for n in range(10, 15)])
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.sync(url, progress=False)
    changes = open_changes(url, "calls")
    position, old = last_position(changes), {"here": last_position(changes)["here"]}
    with server.stopped() as data:
        shutil.rmtree(data)
        copy.rename(data)
    assert changed(changes, position) == set()  # its ids are behind the position
    save(url, new := [call(n) for n in range(20, 30)])  # and now they are not: half of these have ids of those lost
    done = warehouse.sync(url, progress=False)
    assert (done.tables[0].read, done.tables[0].added) == (len(new), len(new))
    assert warehouse.verify(url, progress=False).equal
    assert len(warehouse.usage()) == len(kept) + len(lost) + len(new)
    assert not warehouse.sync(url, progress=False).tables[0].read
    assert changed(changes, position | {"last": {}}) == ids([*kept, *new])  # nothing proves that it is the same
    before = old | {"seen": position["seen"]}  # a position of an older version does not say where it was made
    assert changed(changes, before) == ids(new[5:])


def test_a_crash_is_another_run(server: PostgresServer) -> None:
    url = server.create_database()
    save(url, [call(n) for n in range(3)])
    changes = open_changes(url, "calls")
    position = last_position(changes)
    started = server.admin("select pg_postmaster_start_time()")
    next(child for child in psutil.Process(server.pid).children() if "checkpointer" in child.cmdline()[0]).kill()
    deadline = time.monotonic() + 30
    while "all server processes terminated" not in server.log or not server._answers():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.admin("select pg_postmaster_start_time()") == started
    assert last_position(changes)["run"] != position["run"]
    assert changed(changes, position) == set()
