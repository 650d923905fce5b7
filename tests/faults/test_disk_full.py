"""The disk under a server's data is full: a small one for a database alone, which a file beside the data fills.

The server's log and its other databases are on another disk, as a server's administrator would have it. The table of
calls has some MiB by then: InnoDB keeps what a rollback needs free in those from 1 MiB on, and ends its server where a
rollback finds no room in a smaller one ("Out of disk space in rollback", MariaDB 10.11).
"""

import asyncio
import os
import random
import subprocess
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mofa_usage.errors import QueryError
from mofa_usage.records import LLMApiCall, QueryFilter
from mofa_usage.stores import Store
from tests.faults.sessions import STARTERS, busy_sessions
from tests.leaks import checked_out, opened
from tests.processes import unprivileged
from tests.samples import USER, at, call, session
from tests.servers import Server

SIZE = 128  # MiB
OLD = [call(n) for n in range(5_000)]
NEW = [call(n) for n in range(5_000, 10_000)]


@dataclass(frozen=True)
class SmallDisk:
    """A file system of `SIZE` MiB that holds nothing but the database of `server.url`."""

    server: Server
    place: Path

    @property
    def _filler(self) -> Path:
        return self.place / "filler"

    def fill(self, room: int = 0) -> None:
        """Leave room for so many MiB and no more."""
        status = os.statvfs(self.place)
        size = status.f_bavail * status.f_frsize - (room << 20)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def make_room(self) -> None:
        """Delete what fills it."""
        self._filler.unlink()

    def administer(self, sql: str) -> None:
        """Run SQL in the database on it as the server's administrator."""
        self.server.admin(sql, _database(self.server))


def _database(server: Server) -> str:
    return urlsplit(server.url).path.lstrip("/")


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """A small file system of its own in a directory, until the end of the block."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disk that is to be full")
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine does not let root mount the small disk that is to be full: {done.stderr.strip()}")
    try:
        unprivileged(place)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(params=STARTERS)
def disk(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A small disk with the empty database of a server of each kind."""
    with STARTERS[request.param]() as server:
        if server.backend == "postgres":
            place = server.directory / "disk"
            place.mkdir()
        else:
            place = server.data / _database(server)
        with mounted(place):
            if server.backend == "postgres":
                server.admin(f"create tablespace small location '{place}'")
                server.admin(f"alter database {_database(server)} set tablespace small")
            try:
                yield SmallDisk(server, place)
            finally:
                server.kill()  # it cannot shut down in good order without its files


def large(n: int) -> LLMApiCall:
    """A call of 100 kB that cannot be compressed."""
    return call(n, error_message=random.Random(n).randbytes(75_000).decode("latin-1").replace("\0", " "))


async def expect_full(work: Awaitable[object]) -> None:
    """The work fails at once, because of the disk, which one line says."""
    begun = time.monotonic()
    with pytest.raises(QueryError, match=r"No space left on device|is full") as caught:
        await work
    assert time.monotonic() - begun < 10
    assert "\n" not in str(caught.value)
    assert not caught.value.transient, "somebody must make room first"


async def saved(store: Store, calls: list[LLMApiCall]) -> bool:
    """Whether there was room to save these."""
    try:
        await store.save_api_calls(calls)
    except QueryError:
        return False
    return True


async def expect_calls(store: Store, calls: list[LLMApiCall]) -> None:
    """These are there and no others, and nothing of the store is left in use."""
    assert checked_out(store) == 0
    assert await store.query_api_calls(QueryFilter()) == sorted(calls, key=lambda call: call.create_time, reverse=True)
    assert (await store.get_statistics(QueryFilter())).total_calls == len(calls)


@pytest.mark.parametrize("room", [0, 2], ids="{} MiB left".format)  # PostgreSQL: for the copy, for it but no more
async def test_a_bulk_that_does_not_fit_leaves_nothing(disk: SmallDisk, room: int) -> None:
    async with opened(disk.server.url, max_connections=2) as store, asyncio.timeout(120):
        await store.save_api_calls(OLD)
        disk.fill(room)
        for _ in range(3):  # with two connections, none of which may stay away
            await expect_full(store.save_api_calls(NEW))
        assert await busy_sessions(disk.server) == 0
        await expect_calls(store, OLD)
        disk.make_room()
        await store.save_api_calls(NEW)
        await expect_calls(store, OLD + NEW)


async def test_single_saves_work_until_the_disk_is_full_and_again_when_there_is_room(disk: SmallDisk) -> None:
    calls = [large(10_000 + n) for n in range(100)]
    async with opened(disk.server.url, max_connections=4) as store, asyncio.timeout(120):
        await store.save_api_calls(OLD)
        disk.fill(room=4)
        results = await asyncio.gather(*map(store.save_api_call, calls), return_exceptions=True)
        done = [call for call, result in zip(calls, results, strict=True) if result is None]
        refused = [call for call, result in zip(calls, results, strict=True) if result is not None]
        assert done
        assert all(isinstance(result, QueryError | None) for result in results)
        await expect_full(store.save_api_call(refused[0]))
        await expect_calls(store, OLD + done)
        disk.make_room()
        await asyncio.gather(*map(store.save_api_call, refused))
        await expect_calls(store, OLD + calls)


async def test_a_transaction_that_does_not_fit_leaves_nothing(disk: SmallDisk) -> None:
    async def transact(store: Store) -> None:
        async with store.transaction() as transaction:
            await transaction.create_session(session(1))
            await transaction.save_api_calls(NEW)

    async with opened(disk.server.url) as store, asyncio.timeout(120):
        await store.save_api_calls(OLD)
        await store.create_session(kept := session(0))
        disk.fill()
        await expect_full(transact(store))
        assert await store.get_user_sessions(USER) == [kept]
        await expect_calls(store, OLD)
        disk.make_room()
        await transact(store)
        assert len(await store.get_user_sessions(USER)) == 2


async def test_deleting_old_calls_makes_room(disk: SmallDisk) -> None:
    async with opened(disk.server.url) as store, asyncio.timeout(120):
        await store.save_api_calls(OLD)
        if disk.server.backend == "postgres":  # the first VACUUM of a table needs room of its own, for its maps
            await asyncio.to_thread(disk.administer, "vacuum entity_llm_api_call")
        disk.fill(room=1)
        await expect_full(store.save_api_calls([large(n) for n in range(100)]))
        assert await store.cleanup_old_records(at(4_999.5)) == len(OLD)
        if disk.server.backend == "postgres":
            await asyncio.to_thread(disk.administer, "vacuum entity_llm_api_call")
        async with asyncio.timeout(30):
            while not await saved(store, NEW[:1_000]):  # noqa: ASYNC110 (InnoDB gives room back in its own time)
                await asyncio.sleep(0.2)
        await expect_calls(store, NEW[:1_000])


async def test_connecting_says_that_there_is_no_room_for_the_tables(disk: SmallDisk) -> None:
    async def connect() -> None:
        async with opened(disk.server.url) as store:
            await store.save_api_calls(NEW)
            await expect_calls(store, NEW)

    disk.administer("select 1")  # PostgreSQL lets nobody into a database whose first session finds no room
    disk.fill()
    await expect_full(connect())
    disk.make_room()
    await connect()
