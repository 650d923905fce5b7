"""How bulk saves travel: in chunks, one under way while the next is made, and on PostgreSQL past what refuses COPY."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa

from mofa_usage.stores import postgres
from mofa_usage.stores.bulk import chunks_of, in_turn
from tests.leaks import opened
from tests.samples import call
from tests.servers import PostgresServer, postgres_server

Chunk = list[tuple[int]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as started:
        yield started


def rows(count: int) -> list[tuple[int]]:
    return [(number,) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 249, 250, 251, 999, 1000, 1001, 2500])
async def test_chunks_are_the_rows(count: int) -> None:
    chunks = [chunk async for chunk in chunks_of(iter(rows(count)), 1000)]
    assert [row for chunk in chunks for row in chunk] == rows(count)
    assert all(len(chunk) == 1000 for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= 1000 for chunk in chunks)


async def test_the_next_chunk_is_made_while_the_last_is_under_way() -> None:
    log: list[str] = []

    async def made() -> AsyncIterator[int]:
        for number in range(3):
            log.append(f"made {number}")
            yield number
            await asyncio.sleep(0)

    async def send(number: int) -> None:
        log.append(f"sends {number}")
        await asyncio.sleep(0.01)
        log.append(f"sent {number}")

    await in_turn(made(), send)
    assert log == [
        "made 0", "sends 0", "made 1", "sent 0", "sends 1", "made 2", "sent 1", "sends 2", "sent 2",
    ]  # fmt: skip


async def test_nothing_is_under_way_after_an_error() -> None:
    ended: list[str] = []

    async def made() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0.01)
        raise ValueError("the source broke")

    async def send(_: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(ValueError, match="the source broke"):
        await in_turn(made(), send)
    assert ended == ["cancelled"]

    async def refuse(_: int) -> None:
        raise OSError("the server broke")

    with pytest.raises(OSError, match="the server broke"):
        await in_turn(chunks_of(rows(2000), 1000), refuse)  # type: ignore[arg-type]


async def test_rows_that_are_there_and_new_ones_in_the_middle_of_chunks(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_CHUNK", 50)
    async with opened(server.url) as store:
        calls = [call(-n) for n in range(400)]
        await store.save_api_calls(calls[130:170])
        changed = [each.model_copy(update={"error_code": "again"}) for each in calls]
        await store.save_api_calls(calls)
        await store.save_api_calls(changed)
        assert await store.query_api_calls() == changed
        await store.cleanup_old_records(calls[0].create_time)


async def test_a_table_with_row_level_security(server: PostgresServer) -> None:
    """COPY refuses such a table, as they are common on Supabase."""
    url = server.create_database()
    database = url.rpartition("/")[2]
    async with opened(url) as store:
        server.admin("alter table entity_llm_api_call enable row level security", database)
        server.admin("alter table entity_llm_api_call force row level security", database)
        server.admin("create policy everything on entity_llm_api_call using (true)", database)
        engine = store.engine  # type: ignore[attr-defined]
        async with engine.connect() as connection:
            assert await connection.scalar(sa.text("select row_security_active('entity_llm_api_call')"))
        calls = [call(-n) for n in range(300)]
        await store.save_api_calls(calls)
        assert await store.query_api_calls() == calls
