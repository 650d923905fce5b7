"""Usage from databases and stores: what was saved is what is analysed, whatever the backend."""

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofa_usage import QueryFilter, UsageError, load_usage, load_usage_async
from mofa_usage.errors import QueryError, StoreConnectionError
from mofa_usage.progress import watched
from mofa_usage.records import ApiCallStatus, LLMApiCall
from mofa_usage.stores import Store, connect
from tests import strategies
from tests.calls import COLUMNS, DETAILS, expected_names, expected_row, rows_by_id
from tests.proofs import trials
from tests.samples import NIL, NOON, agent, at, call, provider

MICROSECOND = timedelta(microseconds=1)
drawn = settings(
    max_examples=trials(4, 50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def ids(frame: pl.DataFrame) -> list[str]:
    return frame["id"].to_list()


# --- every backend --------------------------------------------------------------------------------------------------


@pytest.mark.proof
@drawn
@given(batch=st.lists(strategies.api_calls(), min_size=1, max_size=6, unique_by=lambda drawn_call: drawn_call.id))
async def test_every_value_of_every_column(store: Store, batch: list[LLMApiCall]) -> None:
    await store.save_api_calls(batch)
    frame = load_usage(store, columns=[*COLUMNS, *DETAILS]).frame  # in this test's running event loop
    assert frame.select(*COLUMNS).schema == load_usage(store).frame.select(*COLUMNS).schema
    rows = rows_by_id(frame)
    for saved in batch:
        row = rows[str(saved.id)]
        for column in DETAILS:
            text: str | None = row.pop(column)
            details: Any = getattr(saved, column, None)
            if column == "labels":
                assert json.loads(text or "{}") == dict(details or {})
            else:
                assert (None if text is None else type(details).model_validate(json.loads(text))) == details
        assert row == expected_row(saved)


async def test_an_empty_store_gives_an_empty_frame(store: Store) -> None:
    frame = load_usage(store).frame
    assert frame.height == 0
    assert list(frame.columns) == list(COLUMNS)
    assert frame.schema["total_price"] == pl.Decimal(38, 10)
    assert frame.schema["create_time"] == pl.Datetime("us", "UTC")


async def test_names_of_agents_and_providers_stand_beside_the_calls(store: Store) -> None:
    providers = [provider("openai"), provider("ünï 'q' \\")]
    agents = [
        agent("with", id=UUID(int=20), provider_id=providers[1].id, agent_name="Ägent \\ ' x"),
        agent("other", id=UUID(int=21), provider_id=providers[0].id),
    ]
    for one in providers:
        await store.save_provider(one)
    for two in agents:
        await store.save_agent(two)
    calls = [call(n, agent_id=UUID(int=20 + n % 3)) for n in range(6)]
    await store.save_api_calls(calls)
    names = expected_names(agents, providers)
    rows = rows_by_id(load_usage(store).frame)
    assert rows == {str(one.id): expected_row(one, names) for one in calls}
    only = load_usage(store, columns=["provider_name"]).frame
    assert sorted(only["provider_name"].to_list(), key=str) == sorted(
        (expected_row(one, names)["provider_name"] for one in calls), key=str
    )


async def test_filters_compare_text_to_the_letter(store: Store) -> None:
    """Quotes, backslashes, SQL, case, trailing blanks: nothing gets out of its literal, nothing else matches."""
    calls = [call(number, model_name=name) for number, name in enumerate(strategies.NASTY_TEXTS)]
    await store.save_api_calls(calls)
    for name in [
        *strategies.NASTY_TEXTS,
        "x' OR 1=1 --",
        "\\' OR 1=1 #",
        "' UNION SELECT api_key FROM entity_provider --",
    ]:
        found = load_usage(store, QueryFilter(model_name=name), columns=["id"]).frame
        assert sorted(ids(found)) == sorted(str(one.id) for one in calls if one.model_name == name), name
        limited = load_usage(store, QueryFilter(model_name=name, limit=3), columns=["id"]).frame
        assert sorted(ids(limited)) == sorted(ids(found))
    assert load_usage(store).frame.height == len(calls)


@pytest.mark.proof
@drawn
@given(name=strategies.text(), other=strategies.text())
async def test_any_text_can_be_filtered_by(store: Store, name: str, other: str) -> None:
    one, two = call(1, id=UUID(int=1), model_name=name), call(2, id=UUID(int=2), model_name=other)
    await store.save_api_calls([one, two])
    found = load_usage(store, QueryFilter(model_name=name), columns=["id"]).frame
    assert sorted(ids(found)) == [str(one.id), str(two.id)][: 2 if name == other else 1]


@pytest.mark.proof
async def test_filters_choose_the_calls_that_the_store_chooses(store: Store) -> None:
    generator = random.Random(3)
    calls = [
        call(
            generator.randrange(40) / 10,
            model_name=generator.choice(["a", "b"]),
            status=generator.choice(list(ApiCallStatus)),
            user_id=UUID(int=generator.randrange(2)),
            tenant_id=UUID(int=generator.randrange(2)),
            agent_id=UUID(int=generator.randrange(2)),
            chat_session_id=UUID(int=generator.randrange(2)),
        )
        for _ in range(300)
    ]
    await store.save_api_calls(calls)
    for _ in range(trials(20, 200)):
        edges = sorted(at(generator.randrange(40) / 10) for _ in range(2))
        chosen: dict[str, Any] = {
            "model_name": "a",
            "status": generator.choice(list(ApiCallStatus)),
            "user_id": UUID(int=generator.randrange(2)),
            "tenant_id": UUID(int=generator.randrange(2)),
            "agent_id": UUID(int=generator.randrange(2)),
            "session_id": UUID(int=generator.randrange(2)),
            "start_time": edges[0],
            "end_time": edges[1],
            "limit": generator.choice([0, 1, 7, 1000]),
            "offset": generator.choice([0, 1, 5]),
        }
        kept = QueryFilter(**{name: value for name, value in chosen.items() if generator.random() < 0.4})
        wanted = [str(one.id) for one in await store.query_api_calls(kept)]
        found = ids(load_usage(store, kept, columns=["id"]).frame)
        if kept.limit is None and not kept.offset:
            wanted, found = sorted(wanted), sorted(found)
        assert found == wanted, kept


async def test_ranges_are_half_open_to_the_microsecond(store: Store) -> None:
    offsets = [timedelta(0), MICROSECOND, timedelta(milliseconds=1), timedelta(seconds=1), timedelta(seconds=1.5)]
    calls = [call(id=UUID(int=n), create_time=NOON + by, update_time=NOON + by) for n, by in enumerate(offsets)]
    await store.save_api_calls(calls)
    edges = [NOON + by + step for by in offsets for step in (-MICROSECOND, timedelta(0), MICROSECOND)]
    edges += [NOON.replace(microsecond=0), NOON.replace(microsecond=0) + timedelta(seconds=1)]
    first, last = min(edges), max(edges)
    for start, end in [(first, edge) for edge in edges] + [(edge, last) for edge in edges]:
        found = load_usage(store, start=start, end=end, columns=["id"]).frame
        assert sorted(ids(found)) == [str(one.id) for one in calls if start <= one.create_time < end]
    inclusive = QueryFilter(start_time=calls[1].create_time, end_time=calls[2].create_time)
    assert sorted(ids(load_usage(store, inclusive, columns=["id"]).frame)) == [str(calls[1].id), str(calls[2].id)]
    both = load_usage(store, inclusive, start=calls[2].create_time, columns=["id"])
    assert ids(both.frame) == [str(calls[2].id)]


async def test_the_analysis_agrees_with_the_store(store: Store) -> None:
    prices = ["0.1", "0.2", "12345.0123456789", "99999.9999999999", None]
    calls = [
        call(n, total_price=None if price is None else Decimal(price), latency_ms=100 * n, status="success")
        for n, price in enumerate(prices * 20)
    ]
    await store.save_api_calls(calls)
    statistics = await store.get_statistics()
    summary = load_usage(store).summary()
    assert summary["cost"].to_list() == [statistics.total_cost]
    assert statistics.total_cost == sum(one.total_price for one in calls if one.total_price is not None)
    assert summary["calls"].to_list() == [statistics.total_calls]
    assert summary["coverage"].to_list() == [0.8]


async def test_the_async_twin_lets_the_loop_go_on(store: Store) -> None:
    await store.save_api_calls(call(n) for n in range(2000))
    running = asyncio.create_task(load_usage_async(store, QueryFilter(model_name="gpt-4"), start=NOON))
    turns = 0
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await running).frame.height == 2000
    assert turns > 5


@pytest.mark.shared_only
async def test_a_url_and_its_store_give_the_same(url: str) -> None:
    async with connect(url) as store:
        await store.save_api_calls(call(n) for n in range(10))
        inside = load_usage(store).frame
    outside = load_usage(url).frame
    assert outside.sort("id").equals(inside.sort("id"))


async def test_a_closed_store_is_refused(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreConnectionError, match="closed"):
        load_usage(store)


@pytest.mark.sql_only
async def test_reading_takes_no_connection_of_the_pool(store: Store) -> None:
    await store.save_api_call(call(1))
    before = store.engine.pool.status()  # type: ignore[attr-defined]
    assert load_usage(store).frame.height == 1
    assert store.engine.pool.status() == before  # type: ignore[attr-defined]


@pytest.mark.shared_only
def test_a_database_without_our_tables_says_so(empty_url: str) -> None:
    if empty_url.startswith("sqlite:"):
        sqlite3.connect(empty_url.removeprefix("sqlite:")).execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(UsageError, match="no table entity_llm_api_call"):
        load_usage(empty_url)


async def test_the_first_and_the_last_moment(store: Store) -> None:
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    await store.save_api_calls(call(id=UUID(int=n), create_time=end, update_time=ends[1]) for n, end in enumerate(ends))
    assert [row["create_time"] for row in rows_by_id(load_usage(store).frame).values()] == ends
    assert load_usage(store, start=ends[0]).frame.height == 2
    assert load_usage(store, end=ends[0]).frame.height == 0
    assert ids(load_usage(store, end=ends[1]).frame) == [str(UUID(int=0))]
    assert ids(load_usage(store, start=ends[1]).frame) == [str(UUID(int=1))]
    assert load_usage(store, QueryFilter(start_time=ends[0], end_time=ends[1])).frame.height == 2


# How MoFA's own migration may have made the table: text ids, an enum, JSON, whole seconds on the server's clock
# (which is not on UTC in these tests).
RUST = {
    "sqlite": """
        id CHAR(36) PRIMARY KEY, chat_session_id VARCHAR(36), agent_id TEXT, user_id CHAR(36), tenant_id TEXT,
        request_message_id TEXT, response_message_id TEXT, model_name VARCHAR(100), status VARCHAR(20),
        error_message TEXT, error_code TEXT, prompt_tokens INT, completion_tokens BIGINT, total_tokens INTEGER,
        prompt_tokens_details JSON, completion_tokens_details TEXT, total_price NUMERIC(15,10), price_details JSON,
        latency_ms INT, time_to_first_token_ms INT, tokens_per_second DOUBLE, api_response_id TEXT,
        create_time DATETIME, update_time TIMESTAMP
    """,
    "postgres": """
        id VARCHAR(36) PRIMARY KEY, chat_session_id CHAR(36), agent_id VARCHAR(36), user_id CHAR(36),
        tenant_id VARCHAR(36), request_message_id VARCHAR(36), response_message_id VARCHAR(36),
        model_name VARCHAR(100), status call_status, error_message TEXT, error_code VARCHAR(20),
        prompt_tokens INTEGER, completion_tokens INTEGER, total_tokens BIGINT, prompt_tokens_details JSON,
        completion_tokens_details JSONB, total_price NUMERIC(15,10), price_details JSONB, latency_ms INTEGER,
        time_to_first_token_ms INTEGER, tokens_per_second REAL, api_response_id TEXT, create_time TIMESTAMPTZ,
        update_time TIMESTAMPTZ
    """,
    "mariadb": """
        id CHAR(36) PRIMARY KEY, chat_session_id CHAR(36), agent_id VARCHAR(36), user_id CHAR(36),
        tenant_id CHAR(36), request_message_id CHAR(36), response_message_id CHAR(36),
        model_name VARCHAR(100) CHARACTER SET latin1, status ENUM('success', 'failed', 'odd'), error_message TEXT,
        error_code VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, prompt_tokens INT UNSIGNED,
        completion_tokens INT, total_tokens BIGINT, prompt_tokens_details JSON, completion_tokens_details LONGTEXT,
        total_price DECIMAL(15,10), price_details JSON, latency_ms INT, time_to_first_token_ms INT,
        tokens_per_second FLOAT, api_response_id VARCHAR(255),
        create_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, update_time TIMESTAMP NULL
    """,
}
CREATED: dict[str, Callable[[datetime], str]] = {
    "sqlite": lambda time: f"'{time:%Y-%m-%dT%H:%M:%S}Z'",
    "postgres": lambda time: f"'{time:%Y-%m-%d %H:%M:%S}+00'",
    "mariadb": lambda time: f"FROM_UNIXTIME({time.timestamp():.0f})",
}
# The hour that Berlin repeats in autumn 2026, and one that it skips in spring.
INSTANTS = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC) + timedelta(hours=n) for n in range(3)]
INSTANTS += [datetime(2026, 3, 29, 1, 30, tzinfo=UTC)]


@pytest.mark.shared_only
async def test_a_table_that_rust_made(empty_url: str, backend: Any) -> None:
    name = "mariadb" if backend.name == "mysql" else backend.name
    async with connect(empty_url, create_tables=False) as store:
        await make_rust_table(store, name)
        frame = load_usage(store).frame
        rows = rows_by_id(frame)
        assert [rows[str(UUID(int=n))]["create_time"] for n in range(4)] == INSTANTS
        row = rows[str(UUID(int=1))]
        assert (row["status"], row["model_name"], row["error_code"]) == ("failed", "é", "É ")
        assert (row["cached_tokens"], row["reasoning_tokens"]) == (3, 4)
        assert (row["input_price"], row["total_price"]) == (Decimal("0.1"), Decimal("12345.0123456789"))
        assert row["tokens_per_second"] == 0.5
        assert frame.height == load_usage(store, QueryFilter(status=ApiCallStatus.FAILED)).frame.height == 4
        assert load_usage(store, QueryFilter(model_name="é", user_id=UUID(int=3))).frame.height == 4
        assert load_usage(store, QueryFilter(model_name="É")).frame.height == 0
        assert load_usage(store, QueryFilter(tenant_id=NIL)).frame.height == 4
        for start in INSTANTS:
            found = load_usage(store, start=start, end=start + timedelta(minutes=1)).frame
            assert found["create_time"].to_list() == [start]
        newest = load_usage(store, QueryFilter(limit=2)).frame
        assert newest["create_time"].to_list() == [INSTANTS[2], INSTANTS[1]]


async def make_rust_table(store: Any, name: str) -> None:
    """The table with a call for each of `INSTANTS`, whose tenant is NULL and whose status is odd."""
    values = [
        "NULL, '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000001'",
        """'é', 'odd', NULL, 'É ', 1, 2, 3, '{"cached_tokens":3}', '{"reasoning_tokens":4}'""",
        """12345.0123456789, '{"input_price":0.1}', NULL, 5, 0.5, 'x'""",
    ]
    async with store.engine.begin() as connection:
        if name == "postgres":
            await connection.exec_driver_sql("CREATE TYPE call_status AS ENUM ('success', 'failed', 'odd')")
        await connection.exec_driver_sql(f"CREATE TABLE entity_llm_api_call ({RUST[name]})")
        for number, instant in enumerate(INSTANTS):
            ids = [f"'{UUID(int=key)}'" for key in (number, 1, 2, 3)]
            row = ", ".join([*ids, *values, CREATED[name](instant), CREATED[name](instant)])
            await connection.exec_driver_sql(f"INSERT INTO entity_llm_api_call VALUES ({row})")


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_no_server_is_said_at_once_and_without_the_password(scheme: str) -> None:
    begun = time.monotonic()
    with pytest.raises(StoreConnectionError) as caught:
        load_usage(f"{scheme}://me:p%40ss-secret@127.0.0.1:1/db")
    assert time.monotonic() - begun < 12
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in repr(caught.value) + str(caught.value.__cause__)


@pytest.mark.parametrize(
    "text",
    [
        " postgres://me:secret@host/db",
        "'postgres://me:secret@host/db'",
        "postgres//me:secret@host/db",
        "me:secret@host/db",
        "jdbc:postgresql://host/db?user=me&password=secret",
        "memory://me:secret@host",
        "s3://me:secret@bucket/folder",
    ],
)
def test_what_is_almost_a_url_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_usage(text)
    assert "secret" not in repr(caught.value) + repr(caught.value.__cause__)


def test_what_is_no_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreConnectionError, match="no SQLite database at"):
        load_usage(f"sqlite:{tmp_path / 'none.db'}")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(UsageError, match="the URL of a SQLite database is sqlite:"):
        load_usage(str(tmp_path / "usage.db"))
    with pytest.raises(UsageError, match=r"no Parquet file is at .* by its URL"):
        load_usage(tmp_path / "none.parquet")
    with pytest.raises(UsageError, match=r"mofa-usage import .*calls\.csv\.gz --url"):
        load_usage(tmp_path / "calls.csv.gz")
    with pytest.raises(UsageError, match="a list is no source"):
        load_usage([])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give the open store"):
        load_usage("sqlite::memory:")
    with pytest.raises(UsageError, match="give the open store"):
        load_usage("memory:")
    with pytest.raises(UsageError, match="begins with oracle:// is neither a path nor a database URL"):
        load_usage("oracle://x/y")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(UsageError, match="DuckDB cannot read"):
        load_usage(tmp_path / "text.parquet")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 20)
    with pytest.raises(QueryError, match="not a database"):
        load_usage(f"sqlite:{tmp_path / 'text.db'}")


# --- progress -------------------------------------------------------------------------------------------------------


def slowly(frames: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    for frame in frames:
        time.sleep(0.3)
        yield frame


def test_progress_is_shown_to_who_watches_and_only_after_a_second(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich draws bars on terminals only
    frames = [pl.DataFrame({"id": [str(n)]}) for n in range(6)]
    assert pl.concat(watched(slowly(frames), "Reading calls", lambda: 6, True)).height == 6
    assert "Reading calls" in capsys.readouterr().err
    assert pl.concat(watched(slowly(frames), "Reading calls", lambda: 6, None)).height == 6
    assert capsys.readouterr() == ("", "")
