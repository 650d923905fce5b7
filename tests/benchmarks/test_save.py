"""Saving API calls: `save_api_calls` and `save_api_call` against the raw drivers, in the same tables.

Run with `pytest tests/benchmarks/test_save.py --benchmark-enable`. Without that the same runs with a few calls, as
a test that both ways store the same rows. The peers are the fastest way that each driver has: ready tuples, one
upsert, one transaction; for single calls one statement in autocommit. Ours begins with records. `GOALS` has the goals.

Rounds are interleaved, so that a busy machine slows both; the ratio is that of the medians.
"""

import sqlite3
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiosqlite
import pytest
from uuid_utils.compat import uuid7

from mofa_usage.records import LLMApiCall, UsageStatistics
from mofa_usage.schema import API_CALL, RowCodec
from mofa_usage.stores import Store, connect
from mofa_usage.stores.statements import Statements
from tests.benchmarks.ratios import Ratio, Ratios
from tests.servers import Server, mariadb_server, postgres_server

Rows = list[tuple[Any, ...]]
TABLE = API_CALL.table.name
# Seconds of ours / of the raw driver.
GOALS = {
    "sqlite": {"many": 1.5, "one": 2.0},
    "postgres": {"many": 1.4, "one": 1.6, "one per commit": 1 / 15},
    "mysql": {"many": 1.2, "one": 1.6, "one per commit": 1 / 15},
}


def make_calls(count: int) -> list[LLMApiCall]:
    """Calls of 50 sessions, 20 users and 10 models, as an agent would record them."""
    ids = [uuid7() for _ in range(50)]
    start = datetime(2026, 5, 1, tzinfo=UTC)
    return [
        LLMApiCall.success(
            chat_session_id=ids[i % 50],
            agent_id=ids[i % 7],
            user_id=ids[i % 20],
            model_name=f"model-{i % 10}",
            request_message_id=uuid7(),
            response_message_id=uuid7(),
            prompt_tokens=100 + i % 5000,
            completion_tokens=i % 900,
            prompt_tokens_details={"cached_tokens": i % 100},
            completion_tokens_details={"reasoning_tokens": 0},
            total_price=Decimal(i % 100_000).scaleb(-7),
            price_details={"input_price": "0.0012", "output_price": "0.0034"},
            api_response_id=f"chatcmpl-{i}",
            time_to_first_token_ms=i % 400,
            request_time=start + timedelta(seconds=i),
            response_time=start + timedelta(seconds=i, milliseconds=i % 9000),
        )
        for i in range(count)
    ]


class Raw:
    """A driver of its own on the store's database: the upsert of ready tuples, many at once and one at a time."""

    many: Callable[[Rows], Awaitable[Any]]
    one: Callable[[tuple[Any, ...]], Awaitable[Any]]
    run: Callable[[str], Awaitable[Any]]

    async def delete_all(self) -> float:
        """The seconds that one DELETE of everything takes."""
        return await seconds(self.run(f"DELETE FROM {TABLE}"))


@asynccontextmanager
async def raw_sqlite(store: Any, sql: str) -> AsyncIterator[Raw]:
    plain = sqlite3.connect(store.path, uri=True, isolation_level=None)
    single = await aiosqlite.connect(store.path, uri=True, isolation_level=None)
    for pragma in ("synchronous = NORMAL", "foreign_keys = ON"):
        plain.execute(f"PRAGMA {pragma}")
        await single.execute(f"PRAGMA {pragma}")

    async def many(rows: Rows) -> None:
        plain.execute("BEGIN IMMEDIATE")
        plain.executemany(sql, rows)
        plain.execute("COMMIT")

    raw = Raw()
    raw.many, raw.one, raw.run = many, lambda row: single.execute(sql, row), lambda query: single.execute(query)
    yield raw
    plain.close()
    await single.close()


@asynccontextmanager
async def raw_postgres(store: Any, sql: str) -> AsyncIterator[Raw]:
    import asyncpg

    connection = await asyncpg.connect(store.url.render_as_string(hide_password=False))
    await connection.set_type_codec(
        "jsonb",
        encoder=lambda text: b"\x01" + text.encode(),
        decoder=bytes.decode,
        schema="pg_catalog",
        format="binary",
    )
    changed = ", ".join(f"{name} = excluded.{name}" for name in API_CALL.columns if name != "id")

    async def many(rows: Rows) -> None:
        async with connection.transaction():
            await connection.execute(f"CREATE TEMP TABLE staging (LIKE {TABLE}) ON COMMIT DROP")
            await connection.copy_records_to_table("staging", records=rows, columns=API_CALL.columns)
            names = ", ".join(API_CALL.columns)
            select = f"INSERT INTO {TABLE} ({names}) SELECT {names} FROM staging"
            await connection.execute(f"{select} ON CONFLICT (id) DO UPDATE SET {changed}")

    raw = Raw()
    raw.many, raw.one, raw.run = many, lambda row: connection.execute(sql, *row), connection.execute
    yield raw
    await connection.close()


@asynccontextmanager
async def raw_mariadb(store: Any, sql: str) -> AsyncIterator[Raw]:
    import aiomysql

    url = store.url
    connection = await aiomysql.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, db=url.database, charset="utf8mb4"
    )
    await connection.autocommit(True)

    async def many(rows: Rows) -> None:
        await connection.begin()
        async with connection.cursor() as cursor:
            await cursor.executemany(sql, rows)
        await connection.commit()

    async def one(row: tuple[Any, ...]) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute(sql, row)

    raw = Raw()

    async def run(query: str) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute(query)

    raw.many, raw.one, raw.run = many, one, run
    yield raw
    connection.close()


RAW = {"sqlite": raw_sqlite, "postgres": raw_postgres, "mysql": raw_mariadb}


@asynccontextmanager
async def peer(store: Any) -> AsyncIterator[tuple[Raw, RowCodec[LLMApiCall]]]:
    """The raw driver on a store's database, and what makes its tuples."""
    sql = Statements(store.dialect, store.engine.dialect).upsert(API_CALL).sql
    async with RAW[store.backend_name](store, sql) as raw:
        yield raw, RowCodec(API_CALL, store.dialect.values.writers, store.dialect.values.readers)


async def seconds(work: Awaitable[Any]) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


def exact(statistics: UsageStatistics) -> dict[str, Any]:
    """The statistics but for a mean of floats, which depends on their order."""
    return statistics.model_dump(exclude={"avg_tokens_per_second"})


def ratio(goal: str, what: str, store: Any, times: dict[str, list[float]], peer: str = "raw driver") -> Ratio:
    """Of the medians of both ways."""
    kind = store.backend_name
    ours, raw = (statistics.median(times[way]) for way in ("ours", "raw"))
    return Ratio(f"{what}, {kind}", ours, peer, raw, GOALS[kind][goal])


@pytest.mark.sql_only
async def test_many_calls(ratios: Ratios, store: Store) -> None:
    count, rounds = (100_000, 5) if ratios.enabled else (300, 1)
    calls = make_calls(count)
    times: dict[str, list[float]] = {"ours": [], "raw": []}
    async with peer(store) as (raw, codec):
        rows = list(codec.write(calls))
        for _ in range(rounds):
            times["ours"].append(await seconds(store.save_api_calls(calls)))
            ours = exact(await store.get_statistics())
            await store.cleanup_old_records(datetime(2100, 1, 1, tzinfo=UTC))
            times["raw"].append(await seconds(raw.many(rows)))
            assert ours == exact(await store.get_statistics())
            assert ours["total_calls"] == count
            await store.cleanup_old_records(datetime(2100, 1, 1, tzinfo=UTC))
    ratios.report(ratio("many", f"save {count:,} calls", store, times))


@pytest.mark.parametrize("starter", [postgres_server, mariadb_server])
async def test_one_row_per_commit(ratios: Ratios, starter: Callable[..., AbstractContextManager[Server]]) -> None:
    """What MoFA does, on a server that writes each commit to the disk as in production."""
    count, rounds = (100_000, 3) if ratios.enabled else (300, 1)
    calls = make_calls(count)
    times: dict[str, list[float]] = {"ours": [], "raw": []}
    with starter(durable=True) as server:
        async with connect(server.url) as store, peer(store) as (raw, codec):
            rows = list(codec.write(calls))
            for _ in range(rounds):
                times["ours"].append(await seconds(store.save_api_calls(calls)))
                await raw.delete_all()
                one_by_one = [await seconds(raw.one(row)) for row in rows[: min(count, 3000)]]
                times["raw"].append(statistics.mean(one_by_one) * count)
                await raw.delete_all()
            ratios.report(ratio("one per commit", f"save {count:,} calls", store, times, "one row per commit"))


@pytest.mark.sql_only
async def test_one_call(ratios: Ratios, store: Store) -> None:
    calls = make_calls(5000 if ratios.enabled else 20)
    times: dict[str, list[float]] = {"ours": [], "raw": []}
    async with peer(store) as (raw, codec):
        rows = list(codec.write(calls))
        for number, (call, row) in enumerate(zip(calls, rows, strict=True)):
            if number % 2:
                times["raw"].append(await seconds(raw.one(row)))
            else:
                times["ours"].append(await seconds(store.save_api_call(call)))
    assert await store.query_api_calls() == list(reversed(calls))
    ratios.report(ratio("one", "save one call", store, times))
