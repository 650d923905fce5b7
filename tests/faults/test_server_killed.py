"""The server dies by SIGKILL while tasks save, and comes back, again and again.

What a save that returned has written is there; one that raised has written all of its rows or none; the stores go on by
themselves. One store tries again, as stores do, and the user notices nothing; another one has been told not to.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from mofa_usage.errors import PersistenceError
from mofa_usage.records import LLMApiCall, QueryFilter
from mofa_usage.stores import Retry, Store
from tests.leaks import opened
from tests.proofs import trials
from tests.samples import USER, call, session
from tests.servers import Server

KILLS = trials(2, 20)
BULK = 150  # PostgreSQL copies from 100 rows on


@dataclass
class Saved:
    """What was tried, and with what end."""

    returned: dict[UUID, LLMApiCall] = field(default_factory=dict)
    raised: dict[UUID, LLMApiCall] = field(default_factory=dict)
    errors: list[PersistenceError] = field(default_factory=list)
    bulks: dict[str, bool] = field(default_factory=dict)
    sessions: dict[UUID, bool] = field(default_factory=dict)

    async def attempt(self, work: Awaitable[None]) -> bool:
        """Whether the work returned."""
        try:
            await work
        except PersistenceError as error:
            self.errors.append(error)
            return False
        return True

    async def single(self, store: Store, n: int) -> None:
        made = call(n)
        returned = await self.attempt(store.save_api_call(made))
        (self.returned if returned else self.raised)[made.id] = made

    async def bulk(self, store: Store, n: int) -> None:
        name = str(uuid4())
        self.bulks[name] = await self.attempt(store.save_api_calls([call(n, error_code=name) for n in range(BULK)]))

    async def session(self, store: Store, n: int) -> None:
        made = session(n)
        self.sessions[made.id] = await self.attempt(store.create_session(made))


async def until(over: asyncio.Event, work: Callable[[Store, int], Awaitable[None]], store: Store) -> None:
    n = 0
    while not over.is_set():
        n += 1
        await work(store, n)
        await asyncio.sleep(0.005)


async def check(store: Store, saved: Saved) -> None:
    stored = await store.query_api_calls(QueryFilter())
    singles = {each.id: each for each in stored if each.error_code is None}
    assert len({each.id for each in stored}) == len(stored)
    assert not {made.id for made in saved.returned.values() if singles.get(made.id) != made}, "returned, so it is there"
    assert singles.keys() <= saved.returned.keys() | saved.raised.keys()
    bulks = Counter(each.error_code for each in stored if each.error_code is not None)
    assert set(bulks.values()) <= {BULK}, "a bulk is there whole or not at all"
    assert {name for name, returned in saved.bulks.items() if returned} <= bulks.keys() <= saved.bulks.keys()
    sessions = {each.id for each in await store.get_user_sessions(USER)}
    assert {made for made, returned in saved.sessions.items() if returned} <= sessions <= saved.sessions.keys()


@pytest.fixture
async def stores(durable_server: Server) -> AsyncIterator[tuple[Store, Store]]:
    """One that tries again and one that does not."""
    async with AsyncExitStack() as stack:
        patient = await stack.enter_async_context(opened(durable_server.url, max_connections=6))
        hasty = await stack.enter_async_context(opened(durable_server.url, max_connections=4, retry=Retry(attempts=1)))
        yield patient, hasty


@pytest.mark.slow
@pytest.mark.proof
async def test_kills_lose_nothing_that_was_saved(durable_server: Server, stores: tuple[Store, Store]) -> None:
    patient, hasty = stores
    randomness = random.Random(5)
    kept, tried = Saved(), Saved()
    works = [(kept.single, patient)] * 4 + [(kept.bulk, patient)] * 2
    works += [(tried.single, hasty)] * 3 + [(tried.bulk, hasty), (tried.session, hasty)]
    over = asyncio.Event()
    tasks = [asyncio.create_task(until(over, work, store)) for work, store in works]
    for _ in range(KILLS):
        before = len(kept.returned)
        await asyncio.sleep(0.05 + randomness.random() * 0.25)
        await asyncio.to_thread(durable_server.kill)
        await asyncio.to_thread(durable_server.restart)
        async with asyncio.timeout(30):  # the pool recovers by itself
            while len(kept.returned) == before:  # noqa: ASYNC110 (what is waited for is many tasks away)
                await asyncio.sleep(0.02)
    async with asyncio.timeout(60):  # on a busy machine the large ones may need longer
        while sum(kept.bulks.values()) <= KILLS / 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    over.set()
    await asyncio.gather(*tasks)
    assert not kept.errors
    assert len(tried.errors) >= KILLS / 2
    assert all(error.transient for error in tried.errors)
    merged = Saved(
        kept.returned | tried.returned, kept.raised | tried.raised, [], kept.bulks | tried.bulks, tried.sessions
    )
    assert len(kept.returned) > 5 * KILLS
    assert sum(kept.bulks.values()) > KILLS / 2
    await check(patient, merged)
    await hasty.ping()
