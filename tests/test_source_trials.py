"""Nothing is lost that becomes visible behind a position: writers that hold their transactions open, set their clocks,
roll back, replace and delete, and syncs in between that are killed at any page.

A trial is a few dozen steps of three writers and a sync, taken in an order that a seed decides. What was read is put
together by id, as a warehouse does it. In the end every row at the source is there as it is, nothing else but what was
deleted, and one more sync finds nothing.
"""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import asyncpg
import polars as pl
import pymysql
import pytest
from sqlalchemy import make_url

from mofa_usage.urls import parse_url
from mofa_usage.warehouse.sources import Changes, open_changes, tables, windows
from tests.proofs import trials
from tests.samples import NOON

pytestmark = [pytest.mark.shared_only, pytest.mark.sql_only, pytest.mark.proof]

TABLE = "entity_chat_session"
COLUMNS = "id, user_id, agent_id, title, create_time, update_time"
WRITERS = 3

Run = Callable[[str], Awaitable[Any]]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Run]:
    """Runs statements on a connection of its own, as another program would."""
    if url.startswith("sqlite:"):
        lite = sqlite3.connect(url.removeprefix("sqlite:"), isolation_level=None, check_same_thread=False)
        yield lambda statement: asyncio.to_thread(lite.execute, statement)
        lite.close()
    elif url.startswith("postgres"):
        postgres = await asyncpg.connect(url)
        yield postgres.execute
        await postgres.close()
    else:
        place = make_url(url)
        mysql = pymysql.connect(
            host=place.host, port=place.port or 3306, user=place.username, password=place.password or "",
            database=place.database, autocommit=True,
        )  # fmt: skip
        cursor = mysql.cursor()
        yield lambda statement: asyncio.to_thread(cursor.execute, statement)
        mysql.close()


class Mirror:
    """What a warehouse would hold."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes
        self.position: Any = None
        self.rows: dict[str, tuple[Any, ...]] = {}

    def sync(self, pages: int | None = None) -> int:
        """Read some pages, or all of them; how many rows came."""
        came = 0
        for page in islice(self.changes.pages(self.position), pages):
            assert not page.rows["id"].is_duplicated().any()
            self.rows |= {row[0]: row for row in page.rows.iter_rows()}
            self.position = page.position
            came += page.rows.height
        assert len(str(self.position)) < 64_000
        return came

    def check(self, deleted: set[str]) -> None:
        """It holds what the source does, and what was deleted there."""
        now = {row[0]: row for row in pl.concat(self.changes.rows_of(None)).iter_rows()}
        lost = now.keys() - self.rows.keys()
        assert not lost
        assert {key: self.rows[key] for key in now} == now
        assert self.rows.keys() - now.keys() <= deleted


@dataclass
class Writers:
    """Three connections, and which rows there are for them.

    Attributes:
        held: rows that a transaction has changed, by its number: others would wait for it.
        committed: rows that others see.
        deleted: rows that were once there.
    """

    kind: str
    runs: Sequence[Run]
    chance: random.Random
    held: dict[str, int] = field(default_factory=dict)
    made: dict[int, set[str]] = field(default_factory=dict)
    gone: dict[int, set[str]] = field(default_factory=dict)
    committed: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    numbers: int = 0

    @property
    def open(self) -> list[int]:
        return sorted(self.made)

    async def begin(self, number: int) -> None:
        if number in self.made or (self.kind == "sqlite" and self.made):
            return
        await self.runs[number](
            {"sqlite": "BEGIN IMMEDIATE", "postgres": "BEGIN", "mysql": "START TRANSACTION"}[self.kind]
        )
        self.made[number], self.gone[number] = set(), set()

    async def insert(self, number: int, verb: str = "INSERT") -> None:
        if self.kind == "sqlite" and self.made and number not in self.made:
            return
        for _ in range(self.chance.choice([1, 1, 3, 7])):
            key = str(UUID(int=self.chance.getrandbits(128), version=4))
            await self._write(number, verb, key)
            self.made.get(number, self.committed).add(key)
            if number in self.made:
                self.held[key] = number

    async def change(self, number: int) -> None:
        key = self._some(number)
        if key is None:
            return
        if self.kind != "postgres" and self.chance.random() < 0.3:
            await self._write(number, "REPLACE", key)
        else:
            # Often to the same value, and on MySQL at the same set time.
            title = self.chance.choice(["a", "b", f"{self.chance.random()}"])
            await self.runs[number](f"UPDATE {TABLE} SET title = '{title}' WHERE id = '{key}'")
        if number in self.made:
            self.held[key] = number

    async def delete(self, number: int) -> None:
        key = self._some(number)
        if key is None:
            return
        await self.runs[number](f"DELETE FROM {TABLE} WHERE id = '{key}'")
        self.deleted.add(key)
        if number in self.made:
            self.held[key] = number
            self.gone[number].add(key)
            self.made[number].discard(key)
        self.committed.discard(key)

    async def undo_a_part(self, number: int) -> None:
        if number in self.made:
            await self.runs[number]("SAVEPOINT part")
            await self._write(number, "INSERT", str(UUID(int=self.chance.getrandbits(128), version=4)))
            await self.runs[number]("ROLLBACK TO SAVEPOINT part")

    async def end(self, number: int, how: str) -> None:
        if number not in self.made:
            return
        await self.runs[number](how)
        made, gone = self.made.pop(number), self.gone.pop(number)
        if how == "COMMIT":
            self.committed |= made
        else:
            self.committed |= gone - made
        self.held = {key: by for key, by in self.held.items() if by != number}

    async def set_clock(self, number: int) -> None:
        if self.kind == "mysql":
            # Few moments, so that equal ones are common: the server's own, and some days before and after it.
            past = self.chance.choice(["1600000000", "1600000000.5", "UNIX_TIMESTAMP() - 3600", "UNIX_TIMESTAMP() - 5"])
            moment = self.chance.choice(["DEFAULT", "DEFAULT", past, past, "UNIX_TIMESTAMP() + 7200", "2000000000"])
            await self.runs[number](f"SET timestamp = {moment}")

    def _some(self, number: int) -> str | None:
        """A row that nobody else holds."""
        if self.kind == "sqlite" and self.made and number not in self.made:
            return None
        own = self.made.get(number, set())
        free = sorted(key for key in self.committed | own if self.held.get(key, number) == number)
        return self.chance.choice(free[-40:]) if free else None

    async def _write(self, number: int, verb: str, key: str) -> None:
        self.numbers += 1
        time = NOON + timedelta(days=self.chance.randrange(-400, 2), seconds=self.numbers)
        if self.kind == "sqlite":
            written = time.isoformat(timespec="microseconds")
        else:
            written = time.replace(tzinfo=None).isoformat(" ") + ("+00" if self.kind == "postgres" else "")
        ids = ", ".join(f"'{UUID(int=n)}'" for n in (3, 2))
        values = f"'{key}', {ids}, 't{self.numbers}', '{written}', '{written}'"
        await self.runs[number](f"{verb} INTO {TABLE} ({COLUMNS}) VALUES ({values})")


async def one_trial(writers: Writers, mirror: Mirror, chance: random.Random) -> None:
    steps: dict[str, Callable[[int], Awaitable[None]]] = {
        "begin": writers.begin,
        "insert": writers.insert,
        "change": writers.change,
        "delete": writers.delete,
        "undo": writers.undo_a_part,
        "clock": writers.set_clock,
        "commit": lambda number: writers.end(number, "COMMIT"),
        "rollback": lambda number: writers.end(number, "ROLLBACK"),
    }
    often = {"insert": 5, "change": 4, "begin": 3, "commit": 2, "clock": 2}
    names = chance.choices(list(steps), [often.get(name, 1) for name in steps], k=16)
    for name in names:
        await steps[name](chance.randrange(WRITERS))
        if chance.random() < 0.12:
            mirror.sync(chance.choice([None, 1, 2]))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements and windows of few rows, so that every trial has many of them."""
    monkeypatch.setattr(tables, "_STATEMENT_ROWS", 3)
    monkeypatch.setattr(windows, "_STEP", 3)
    monkeypatch.setattr(windows, "_SMALLEST", 2)
    monkeypatch.setattr(windows, "_ALIKE", 3)


async def test_nothing_is_lost_and_nothing_doubled(url: str, small: None) -> None:
    kind = parse_url(url).backend
    chance = random.Random(11)
    async with AsyncExitStack() as stack:
        runs = [await stack.enter_async_context(connected(url)) for _ in range(WRITERS)]
        writers, mirror = Writers(kind, runs, chance), Mirror(open_changes(url, "sessions"))
        for number in range(trials(4, 340)):
            await one_trial(writers, mirror, chance)
            if number % 3:
                continue  # transactions stay open from trial to trial
            for open_ in writers.open:
                await writers.end(open_, chance.choice(["COMMIT", "COMMIT", "ROLLBACK"]))
            mirror.sync()
            mirror.check(writers.deleted)
            assert mirror.sync() == 0
            if len(writers.committed) > 60:
                await runs[0](f"DELETE FROM {TABLE}")
                writers.deleted |= writers.committed
                writers.committed.clear()


async def test_nothing_is_lost_while_others_write(url: str, small: None) -> None:
    """Writers and a sync at the same time, as fast as they can; each writer has rows of its own."""
    kind = parse_url(url).backend
    deleted: set[str] = set()

    async def write(number: int, run: Run) -> None:
        chance = random.Random(number)
        writers, rows = Writers(kind, [run], chance, numbers=number * 1_000_000), set[str]()
        for _ in range(trials(8, 250)):
            await writers.begin(0)
            kept, gone = set(rows), set[str]()
            for _ in range(chance.randrange(1, 6)):
                key = chance.choice([*sorted(kept)[-5:], str(UUID(int=chance.getrandbits(128), version=4))])
                if key in kept and chance.random() < 0.3:
                    await run(f"DELETE FROM {TABLE} WHERE id = '{key}'")
                    kept.remove(key)
                    gone.add(key)
                elif key in kept:
                    await run(f"UPDATE {TABLE} SET title = '{chance.random()}' WHERE id = '{key}'")
                else:
                    await writers._write(0, "INSERT", key)
                    kept.add(key)
            await asyncio.sleep(chance.choice([0, 0, 0.002, 0.02]))
            how = chance.choice(["COMMIT", "COMMIT", "ROLLBACK"])
            await writers.end(0, how)
            if how == "COMMIT":
                rows = kept
                deleted.update(gone)

    async with AsyncExitStack() as stack:
        runs = [await stack.enter_async_context(connected(url)) for _ in range(WRITERS)]
        mirror = Mirror(open_changes(url, "sessions"))
        writing = asyncio.gather(*(write(number, run) for number, run in enumerate(runs)))
        while not writing.done():
            await asyncio.to_thread(mirror.sync)
        await writing
        mirror.sync()
        mirror.check(deleted)
        assert mirror.sync() == 0
