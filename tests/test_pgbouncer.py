"""`statement_cache=False` is for PgBouncer in transaction mode: each transaction may meet another server session."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from mofa_usage.errors import QueryError
from mofa_usage.records import QueryFilter
from mofa_usage.schema import API_CALL
from tests.leaks import checked_out, opened
from tests.pgbouncer import pooled
from tests.samples import SESSION, call, message, provider, session
from tests.servers import postgres_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database behind a PgBouncer with three connections to it."""
    with postgres_server() as server, pooled(server) as pooled_url:
        yield pooled_url


async def work(store: Any, n: int) -> None:
    made = call(n)
    if n % 4 == 0:
        await store.save_api_calls([made, *(call(n, error_code="more") for _ in range(120))])
    elif n % 4 == 1:
        async with store.transaction() as transaction:
            await transaction.create_session(session(n))
            await asyncio.sleep(0)
            await transaction.save_messages([message(n), message(n)])
            await transaction.save_api_call(made)
    else:
        await store.save_api_call(made)
    assert await store.get_api_call(made.id) == made


async def test_everything_works_with_many_more_clients_than_servers(url: str) -> None:
    async with (
        opened(url, statement_cache=False, max_connections=12) as one,
        opened(url, statement_cache=False, max_connections=12) as other,
        asyncio.timeout(120),
    ):
        await asyncio.gather(*(work(store, n) for n in range(200) for store in (one, other)))
        assert (await one.get_statistics(QueryFilter())).total_calls == 2 * (200 + 50 * 120)
        assert await one.count_session_messages(SESSION) == 2 * 50 * 2
        streams = [[each async for each in store.stream_api_calls(QueryFilter())] for store in (one, other)]
        assert streams[0] == streams[1] == await one.query_api_calls(QueryFilter())
        await one.save_provider(provider())
        assert checked_out(one) == checked_out(other) == 0


async def test_new_connections_all_the_time(url: str) -> None:
    """What SQLAlchemy asks a new connection must not be answered by another server either."""
    async with opened(url, statement_cache=False, max_connections=8) as store, asyncio.timeout(60):
        for _ in range(8):
            await asyncio.gather(*(store.save_api_call(call(n)) for n in range(16)))
            await store.engine.dispose()  # type: ignore[attr-defined]  # PostgresStore's


async def test_a_lock_is_waited_for_up_to_its_limit(url: str) -> None:
    row = call()
    async with opened(url, statement_cache=False, lock_timeout=0.5) as store, asyncio.timeout(30):
        async with store.transaction() as holder:
            await holder.save_api_call(row)
            with pytest.raises(QueryError, match="lock") as caught:
                await store.save_api_call(row)
            assert caught.value.transient
        await store.save_api_call(row)


async def test_the_engine_is_for_statements_of_your_own(url: str) -> None:
    async with opened(url, statement_cache=False, max_connections=6) as store, asyncio.timeout(30):

        async def count() -> int:
            async with store.engine.connect() as connection:  # type: ignore[attr-defined]  # PostgresStore's
                return int(await connection.scalar(sa.select(sa.func.count()).select_from(API_CALL.table)) or 0)

        assert len(set(await asyncio.gather(*(count() for _ in range(60))))) == 1
