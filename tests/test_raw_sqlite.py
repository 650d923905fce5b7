"""The tables as others see them: read and written by plain `sqlite3`, past the store.

The conformance suite cannot notice a mistake that writing and reading share. Here what we write is compared with what
the contract says of the tables, and rows that we did not write, as MoFA's Rust agents write them, are read.
"""

import json
import random
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from mofa_usage.errors import ConstraintError, SerializationError
from mofa_usage.records import (
    NIL_UUID,
    Agent,
    ApiCallStatus,
    ChatSession,
    LLMApiCall,
    LLMMessage,
    MessageContent,
    PriceDetails,
    Provider,
    QueryFilter,
    TokenDetails,
    ToolCallContent,
    ToolResultContent,
)
from mofa_usage.stores import Store, connect
from tests.leaks import opened
from tests.samples import AGENT, SECRET, SESSION, USER, agent, at, call, message, provider, session

RECORDS: dict[str, type[BaseModel]] = {
    "entity_llm_message": LLMMessage,
    "entity_llm_api_call": LLMApiCall,
    "entity_chat_session": ChatSession,
    "entity_agent": Agent,
    "entity_provider": Provider,
}
A_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")


class Database:
    """A SQLite file and the raw way to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:{path}"

    def run(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        """Execute one statement, with foreign keys on, and return its rows."""
        with closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            cursor = connection.execute(sql, values)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def script(self, sql: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executescript(sql)

    def insert(self, table: str, **values: Any) -> None:
        names = ", ".join(values)
        self.run(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", *values.values())

    def row(self, table: str) -> dict[str, Any]:
        """The only row of a table, without its place in the order of saves."""
        (row,) = self.run(f"SELECT * FROM {table}")
        row.pop(POSITION, None)
        return row


POSITION = "saved_position"
"""Not the record's: the database notes there when it was saved; see tests/test_positions.py."""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "usage.db")


@pytest.fixture
async def ours(database: Database) -> Database:
    """A database with the tables that we make."""
    async with connect(database.url):
        pass
    return database


async def saved(database: Database, save: str, record: Any) -> None:
    async with opened(database.url) as store:
        await getattr(store, save)(record)


# --- the tables that we make ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", RECORDS)
async def test_columns_are_the_records_fields(ours: Database, table: str) -> None:
    columns = {row["name"] for row in ours.run(f"PRAGMA table_info({table})")}
    assert columns == {*RECORDS[table].model_fields, POSITION}


@pytest.mark.parametrize("table", RECORDS)
async def test_columns_are_declared_as_the_contract_says(ours: Database, table: str) -> None:
    real = {"total_price", "tokens_per_second", "temperature"}
    whole = {"prompt_tokens", "completion_tokens", "total_tokens", "latency_ms", "time_to_first_token_ms", "enabled"}
    whole |= {POSITION, "agent_order", "agent_status", "context_limit", "max_completion_tokens", "stream"}
    for column in ours.run(f"PRAGMA table_info({table})"):
        name = column["name"]
        assert column["type"] == ("REAL" if name in real else "INTEGER" if name in whole else "TEXT"), name


@pytest.mark.parametrize("table", RECORDS)
async def test_what_may_be_none_may_be_null_and_nothing_else(ours: Database, table: str) -> None:
    fields = RECORDS[table].model_fields
    optional = {name for name, field in fields.items() if field.default is None}
    if table in {"entity_llm_message", "entity_chat_session"}:
        optional |= {"tenant_id", "metadata"} & fields.keys()  # MoFA leaves them out
    optional |= {"labels"} & fields.keys()  # older calls have none
    nullable = {row["name"] for row in ours.run(f"PRAGMA table_info({table})") if not row["notnull"]}
    assert nullable - {"id"} == optional | {POSITION}


async def test_keys_and_indexes_are_the_contracts(ours: Database) -> None:
    def indexed(table: str, unique: int = 0) -> set[tuple[str, ...]]:
        return {
            tuple(column["name"] for column in ours.run(f"PRAGMA index_info('{index['name']}')"))
            for index in ours.run(f"PRAGMA index_list({table})")
            if index["unique"] == unique and index["origin"] != "pk" and not index["partial"]
        }

    names = {row["name"] for row in ours.run("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {"idx_message_session", "idx_session_user"} <= names
    assert indexed("entity_llm_message") == {("chat_session_id",)}
    leading = ["chat_session_id", "user_id", "agent_id", "status", "model_name", "tenant_id"]
    assert indexed("entity_llm_api_call") == {("create_time",), *((name, "create_time") for name in leading)}
    assert indexed("entity_chat_session") == {("user_id",)}
    assert {columns[0] for columns in indexed("entity_agent")} == {"tenant_id", "agent_order"}
    assert {columns[0] for columns in indexed("entity_provider")} == {"tenant_id", "enabled"}
    assert indexed("entity_agent", unique=1) == {("agent_code",)}
    assert indexed("entity_provider", unique=1) == {("tenant_id", "provider_name")}
    for table in RECORDS:
        assert [row["name"] for row in ours.run(f"PRAGMA table_info({table})") if row["pk"]] == ["id"]
        assert ours.run(f"PRAGMA foreign_key_list({table})") == []


# --- what we write --------------------------------------------------------------------------------------------------


async def test_a_call_is_written_as_the_contract_says(ours: Database) -> None:
    made = call(
        0,
        id=UUID("019A0000-0000-7000-8000-0000000000FF"),
        update_time=at(1).replace(microsecond=0),
        status="rate_limited",
        error_message="slow down",
        prompt_tokens_details=TokenDetails.model_validate({"cached_tokens": 7, "image_tokens": 2}),
        completion_tokens_details=TokenDetails(),
        total_price=Decimal("0.0129"),
        price_details=PriceDetails(input_price=Decimal("0.0000000001"), output_price=Decimal("99999.9999999999")),
        latency_ms=0,
        tokens_per_second=35.5,
    )
    await saved(ours, "save_api_call", made)
    row = ours.row("entity_llm_api_call")
    assert json.loads(row.pop("prompt_tokens_details")) == {"cached_tokens": 7, "image_tokens": 2}
    assert json.loads(row.pop("completion_tokens_details")) == {}
    prices = json.loads(row.pop("price_details"), parse_float=Decimal)
    assert prices == {"input_price": Decimal("1E-10"), "output_price": Decimal("99999.9999999999"), "currency": "USD"}
    nil = "00000000-0000-0000-0000-000000000000"
    assert row == {
        "id": "019a0000-0000-7000-8000-0000000000ff",
        "chat_session_id": "00000000-0000-0000-0000-000000000001",
        "agent_id": "00000000-0000-0000-0000-000000000002",
        "user_id": "00000000-0000-0000-0000-000000000003",
        **dict.fromkeys(["tenant_id", "request_message_id", "response_message_id"], nil),
        "model_name": "gpt-4",
        "status": "rate_limited",
        "error_message": "slow down",
        "error_code": None,
        **{"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        "total_price": 0.0129,
        "latency_ms": 0,
        "time_to_first_token_ms": None,
        "tokens_per_second": 35.5,
        "api_response_id": None,
        "labels": None,
        "create_time": "2026-03-01T12:00:00.123456+00:00",
        "update_time": "2026-03-01T12:00:01.000000+00:00",
    }


async def test_bulk_writes_what_single_saves_write(ours: Database) -> None:
    made = call(0, total_price=Decimal(5), prompt_tokens_details=TokenDetails(cached_tokens=7), tokens_per_second=2.0)
    said = message(0, tenant_id=UUID(int=5))
    rows = []
    async with opened(ours.url) as store:
        for save in (store.save_api_call(made), store.save_api_calls([made])):
            await save
            rows.append(ours.row("entity_llm_api_call"))
            await store.delete_api_call(made.id)
        for write in (store.save_message(said), store.save_messages([said])):
            await write
            rows.append(ours.row("entity_llm_message"))
            await store.delete_message(said.id)
    assert rows[0] == rows[1]
    assert rows[2] == rows[3]


async def test_numbers_are_stored_as_what_they_are(ours: Database) -> None:
    await saved(ours, "save_api_call", call(total_price=Decimal(5), tokens_per_second=2.0, latency_ms=3))
    (kinds,) = ours.run(
        "SELECT typeof(total_price) AS money, typeof(tokens_per_second) AS rate, typeof(latency_ms) AS whole, "
        "typeof(time_to_first_token_ms) AS missing, typeof(create_time) AS time FROM entity_llm_api_call"
    )
    assert kinds == {"money": "real", "rate": "real", "whole": "integer", "missing": "null", "time": "text"}


async def test_a_message_is_written_as_the_contract_says(ours: Database) -> None:
    content = MessageContent(
        tool_calls=[ToolCallContent(id="1", name="f", arguments=None)],
        tool_result=ToolResultContent(tool_call_id="1", content="ok"),
    )
    await saved(ours, "save_message", message(0, content=content, role="tool", parent_message_id=UUID(int=5)))
    row = ours.row("entity_llm_message")
    assert json.loads(row["content"]) == {
        "tool_calls": [{"id": "1", "name": "f", "arguments": None}],
        "tool_result": {"tool_call_id": "1", "content": "ok", "is_error": False},
    }
    assert (row["role"], row["parent_message_id"]) == ("tool", str(UUID(int=5)))
    assert row["tenant_id"] == str(NIL_UUID)  # never NULL: a table of MoFA's may not allow it


@pytest.mark.parametrize(
    ("content", "written"),
    [
        (MessageContent(), {}),
        (MessageContent(text=""), {"text": ""}),
        (MessageContent.model_validate({"text": "a", "url": None, "n": [1.5]}), {"text": "a", "url": None, "n": [1.5]}),
    ],
)
async def test_content_omits_absent_keys_and_keeps_further_ones_flat(
    ours: Database, content: MessageContent, written: dict[str, Any]
) -> None:
    await saved(ours, "save_message", message(content=content))
    assert json.loads(ours.row("entity_llm_message")["content"]) == written


async def test_sessions_agents_and_providers_are_written_as_the_contract_says(ours: Database) -> None:
    await saved(ours, "create_session", session(0))
    row = ours.row("entity_chat_session")
    assert (row["metadata"], row["title"], row["tenant_id"]) == ("{}", None, str(NIL_UUID))
    await saved(ours, "save_agent", agent(stream=False, thinking={"on": True}))
    row = ours.row("entity_agent")
    assert (row["agent_status"], row["stream"], row["custom_params"]) == (1, 0, None)
    assert json.loads(row["thinking"]) == {"on": True}
    await saved(ours, "save_provider", provider(enabled=False))
    row = ours.row("entity_provider")
    assert (row["enabled"], row["api_key"]) == (0, SECRET)


@pytest.mark.parametrize("year", [1, 999, 1969, 2026, 9999])
async def test_every_time_has_six_digits_and_a_zone(ours: Database, year: int) -> None:
    moment = datetime(year, 1, 1, tzinfo=UTC)
    await saved(ours, "save_message", message(create_time=moment, update_time=moment))
    row = ours.row("entity_llm_message")
    assert row["create_time"] == row["update_time"] == f"{year:04}-01-01T00:00:00.000000+00:00"
    assert A_TIME.fullmatch(row["create_time"])


async def test_text_is_stored_to_the_letter(ours: Database) -> None:
    text = "\U0001f600 'quotes' \"and\" \\ %s ? :x "
    await saved(ours, "save_api_call", call(model_name=text, error_code=text))
    row = ours.row("entity_llm_api_call")
    assert (row["model_name"], row["error_code"]) == (text, text)


# --- what others write ----------------------------------------------------------------------------------------------


def rust_call(create_time: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    """A row of the table of calls as MoFA writes it."""
    nil = str(NIL_UUID)
    return {
        "id": str(UUID(int=number)),
        **{"chat_session_id": str(SESSION), "agent_id": str(AGENT), "user_id": str(USER), "tenant_id": nil},
        **{"request_message_id": nil, "response_message_id": nil},
        **{"model_name": "gpt-4", "status": "success"},
        **{"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        **{"create_time": create_time, "update_time": create_time},
    } | fields


def rust_message(create_time: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "id": str(UUID(int=number)),
        **{"chat_session_id": str(SESSION), "agent_id": str(AGENT), "user_id": str(USER), "tenant_id": None},
        **{"role": "user", "content": '{"text":"Hello"}'},
        **{"create_time": create_time, "update_time": create_time},
    } | fields


SECOND = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SPELLINGS = {
    "2026-03-01T12:00:00+00:00": 0,
    "2026-03-01T12:00:00Z": 0,
    "2026-03-01T12:00:00.100+00:00": 100_000,
    "2026-03-01T12:00:00.100Z": 100_000,
    "2026-03-01T12:00:00.100000+00:00": 100_000,
    "2026-03-01T12:00:00.100001+00:00": 100_001,
    "2026-03-01T12:00:00.100001Z": 100_001,
    "2026-03-01T12:00:00.100001999+00:00": 100_001,
    "2026-03-01T12:00:00.100002000+00:00": 100_002,
    "2026-03-01T12:00:00.123456789Z": 123_456,
    "2026-03-01T12:00:00.999999999+00:00": 999_999,
    "2026-03-01T12:00:01+00:00": 1_000_000,
}


@pytest.mark.parametrize("written", SPELLINGS)
async def test_every_spelling_of_a_time_is_read(ours: Database, written: str) -> None:
    moment = SECOND + timedelta(microseconds=SPELLINGS[written])
    ours.insert("entity_llm_api_call", **rust_call(written))
    ours.insert("entity_llm_message", **rust_message(written))
    async with opened(ours.url) as store:
        read, said = await store.get_api_call(UUID(int=1)), await store.get_message(UUID(int=1))
    assert read is not None
    assert said is not None
    assert read.create_time == read.update_time == said.create_time == moment
    assert read.create_time.utcoffset() == timedelta(0)


@pytest.fixture
async def mixed(ours: Database) -> Database:
    """Calls and messages of nearly one moment in every spelling, ids in another order, ours among them."""
    numbers = random.Random(5).sample(range(1, 100), len(SPELLINGS))
    for number, written in zip(numbers, SPELLINGS, strict=True):
        ours.insert("entity_llm_api_call", **rust_call(written, number, total_price=0.1))
        ours.insert("entity_llm_message", **rust_message(written, number))
    async with connect(ours.url) as store:
        for number, part in ((150, 0), (0, 100_001), (151, 123_456)):
            moment = SECOND + timedelta(microseconds=part)
            both: dict[str, Any] = {"id": UUID(int=number), "create_time": moment, "update_time": moment}
            await store.save_api_call(call(total_price=Decimal("0.1"), **both))
            await store.save_message(message(**both))
    return ours


BOUNDARIES = sorted({part + step for part in SPELLINGS.values() for step in (-1, 0, 1)})


async def test_times_in_any_spelling_are_filtered_at_their_exact_boundaries(mixed: Database) -> None:
    async with opened(mixed.url) as store:
        everything = await store.query_api_calls(QueryFilter())
        for part in BOUNDARIES:
            edge = SECOND + timedelta(microseconds=part)
            for asked, fits in (
                (QueryFilter(start_time=edge), [each for each in everything if each.create_time >= edge]),
                (QueryFilter(end_time=edge), [each for each in everything if each.create_time <= edge]),
                (
                    QueryFilter(start_time=edge, end_time=edge),
                    [each for each in everything if each.create_time == edge],
                ),
            ):
                assert await store.query_api_calls(asked) == fits
                assert [each async for each in store.stream_api_calls(asked)] == fits
                assert (await store.get_statistics(asked)).total_calls == len(fits)


async def test_times_in_any_spelling_are_in_order_and_ties_by_id(mixed: Database) -> None:
    async with opened(mixed.url) as store:
        calls = await store.query_api_calls(QueryFilter())
        messages = await store.get_session_messages(SESSION)
        pages = [page for n in range(15) for page in await store.get_session_messages_paginated(SESSION, n, 1)]
        calls_paged = [one for n in range(15) for one in await store.query_api_calls(QueryFilter(offset=n, limit=1))]
    assert len(calls) == len(messages) == 15
    assert calls == sorted(calls, key=lambda each: (each.create_time, each.id), reverse=True)
    assert messages == sorted(messages, key=lambda each: (each.create_time, each.id))
    assert (pages, calls_paged) == (messages, calls)


@pytest.mark.parametrize("part", [0, 1, 100_000, 100_001, 100_002, 123_456, 999_999, 1_000_000])
async def test_times_in_any_spelling_are_cleaned_up_strictly_before(mixed: Database, part: int) -> None:
    edge = SECOND + timedelta(microseconds=part)
    async with opened(mixed.url) as store:
        everything = await store.query_api_calls(QueryFilter())
        kept = [each for each in everything if each.create_time >= edge]
        assert await store.cleanup_old_records(edge) == len(everything) - len(kept)
        assert await store.query_api_calls(QueryFilter()) == kept


async def test_sessions_in_any_spelling_come_by_update(ours: Database) -> None:
    for number, written in enumerate(SPELLINGS, start=1):
        ours.insert(
            "entity_chat_session",
            **{"id": str(UUID(int=number)), "user_id": str(USER), "agent_id": str(AGENT)},
            **{"create_time": "2026-01-01T00:00:00Z", "update_time": written},
        )
    async with opened(ours.url) as store:
        read = await store.get_user_sessions(USER)
    assert len(read) == len(SPELLINGS)
    assert [each.update_time for each in read] == sorted((each.update_time for each in read), reverse=True)
    assert all((each.tenant_id, each.title, each.metadata) == (NIL_UUID, None, {}) for each in read)


async def test_null_tenants_are_the_nil_tenant(ours: Database) -> None:
    ours.insert("entity_llm_message", **rust_message("2026-03-01T12:00:00Z"))
    async with opened(ours.url) as store:
        read = await store.get_message(UUID(int=1))
    assert read is not None
    assert read.tenant_id == NIL_UUID


@pytest.mark.parametrize("written", ["exploded", "", "SUCCESS", "Failed", "rate limited", "success "])
async def test_an_unknown_status_is_failed_however_it_is_asked(ours: Database, written: str) -> None:
    ours.insert("entity_llm_api_call", **rust_call("2026-03-01T12:00:00Z", 1, status=written))
    ours.insert("entity_llm_api_call", **rust_call("2026-03-01T11:00:00Z", 2, status="failed"))
    ours.insert("entity_llm_api_call", **rust_call("2026-03-01T10:00:00Z", 3, status="success"))
    async with opened(ours.url) as store:
        read = await store.get_api_call(UUID(int=1))
        assert read is not None
        assert read.status is ApiCallStatus.FAILED
        failed = QueryFilter(status="failed")
        assert [each.id.int for each in await store.query_api_calls(failed)] == [1, 2]
        assert (await store.get_statistics(failed)).total_calls == 2
        stats = await store.get_statistics(QueryFilter())
        assert (stats.total_calls, stats.success_count, stats.failed_count) == (3, 1, 2)
        assert stats.status_counts[ApiCallStatus.FAILED] == 2
        assert len(await store.query_api_calls(QueryFilter(status="success"))) == 1


async def test_details_without_their_keys_are_read(ours: Database) -> None:
    ours.insert(
        "entity_llm_api_call",
        **rust_call("2026-03-01T12:00:00Z"),
        prompt_tokens_details='{"cached_tokens":50}',
        completion_tokens_details="{}",
        price_details='{"input_price":0.0000125,"output_price":3e-7,"tier":"batch"}',
        total_price=0.0129,
    )
    async with opened(ours.url) as store:
        read = await store.get_api_call(UUID(int=1))
    assert read is not None
    assert read.prompt_tokens_details == TokenDetails(cached_tokens=50)
    assert read.completion_tokens_details == TokenDetails()
    assert read.total_price == Decimal("0.0129")
    assert read.price_details == PriceDetails.model_validate(
        {"input_price": Decimal("0.0000125"), "output_price": Decimal("0.0000003"), "currency": "USD", "tier": "batch"}
    )


async def test_prices_that_rust_computed_as_doubles_are_read_and_summed_alike(ours: Database) -> None:
    randomness = random.Random(9)
    prices = [0.1 + 0.2, 1 / 3, 2e-11, 5e-11, 15e-11, 99999.99999999994, 1e-300, 0.0]
    prices += [randomness.random() * 10 ** randomness.randint(-10, 4) for _ in range(500)]
    with closing(sqlite3.connect(ours.path)) as connection, connection:
        for number, price in enumerate(prices, start=1):
            row = rust_call("2026-03-01T12:00:00Z", number, total_price=price)
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO entity_llm_api_call ({names}) VALUES ({marks})", list(row.values()))
    async with opened(ours.url) as store:
        read = {each.id.int: each.total_price for each in await store.query_api_calls(QueryFilter())}
        total = (await store.get_statistics(QueryFilter())).total_cost
    assert read[1] == Decimal("0.3")
    assert read[2] == Decimal("0.3333333333")
    for number, price in enumerate(prices, start=1):
        kept = read[number]
        assert kept is not None
        assert abs(kept - Decimal(price)) <= Decimal("0.5000001E-10")
    assert total == sum(price for price in read.values() if price is not None)


async def test_an_update_time_from_a_clock_behind_is_no_reason_to_lose_the_row(ours: Database) -> None:
    times = {"create_time": "2026-03-01T12:00:00.5Z", "update_time": "2026-03-01T12:00:00Z"}
    ours.insert("entity_llm_api_call", **rust_call("") | times | {"create_time": "2026-03-01T12:00:00.500Z"})
    async with opened(ours.url) as store:
        read = await store.get_api_call(UUID(int=1))
    assert read is not None
    assert read.create_time == SECOND + timedelta(milliseconds=500)
    assert read.update_time >= read.create_time


async def test_details_larger_than_their_total_are_read(ours: Database) -> None:
    ours.insert(
        "entity_llm_api_call",
        **rust_call("2026-03-01T12:00:00Z", prompt_tokens_details='{"cached_tokens":5000}'),
    )
    async with opened(ours.url) as store:
        read = await store.get_api_call(UUID(int=1))
    assert read is not None
    assert read.prompt_tokens_details == TokenDetails(cached_tokens=5000)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("create_time", "yesterday"),
        ("create_time", "2026-03-01T12:00:00"),
        ("prompt_tokens_details", "{not json"),
        ("price_details", "[]"),
        ("prompt_tokens", -1),
        ("user_id", "somebody"),
        ("total_price", "a lot"),
    ],
)
async def test_a_row_that_is_no_record_is_a_serialization_error(ours: Database, column: str, value: Any) -> None:
    ours.insert("entity_llm_api_call", **rust_call("2026-03-01T12:00:00Z") | {column: value})
    async with opened(ours.url) as store:
        with pytest.raises(SerializationError, match=str(UUID(int=1))) as caught:
            await store.get_api_call(UUID(int=1))
    assert "entity_llm_api_call" in str(caught.value)


async def test_a_broken_provider_row_does_not_show_its_key(ours: Database) -> None:
    ours.insert(
        "entity_provider",
        **{"id": str(UUID(int=1)), "tenant_id": str(NIL_UUID), "provider_name": "p", "provider_type": "t"},
        **{"api_base": "b", "api_key": SECRET, "enabled": 7, "create_time": "broken", "update_time": "broken"},
    )
    async with opened(ours.url) as store:
        with pytest.raises(SerializationError) as caught:
            await store.get_provider(UUID(int=1))
    cause: BaseException | None = caught.value
    while cause is not None:
        assert SECRET not in str(cause) + repr(cause)
        cause = cause.__cause__ or cause.__context__


# --- tables that MoFA made ------------------------------------------------------------------------------------------

MOFA_TABLES = """
CREATE TABLE entity_chat_session (
    id CHAR(36) PRIMARY KEY, user_id CHAR(36) NOT NULL, agent_id CHAR(36) NOT NULL, tenant_id CHAR(36) NOT NULL,
    title VARCHAR(255), metadata TEXT, create_time TEXT NOT NULL, update_time TEXT NOT NULL);
CREATE INDEX idx_session_user ON entity_chat_session (user_id, update_time DESC);
CREATE TABLE entity_llm_message (
    id CHAR(36) PRIMARY KEY, parent_message_id CHAR(36), chat_session_id CHAR(36) NOT NULL, agent_id CHAR(36) NOT NULL,
    user_id CHAR(36) NOT NULL, tenant_id CHAR(36) NOT NULL, role VARCHAR(20) NOT NULL, content TEXT NOT NULL,
    create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    FOREIGN KEY (chat_session_id) REFERENCES entity_chat_session (id) ON DELETE CASCADE,
    FOREIGN KEY (parent_message_id) REFERENCES entity_llm_message (id) ON DELETE CASCADE);
CREATE INDEX idx_message_session ON entity_llm_message (chat_session_id, create_time);
CREATE TABLE entity_llm_api_call (
    id CHAR(36) PRIMARY KEY, chat_session_id CHAR(36) NOT NULL, agent_id CHAR(36) NOT NULL, user_id CHAR(36) NOT NULL,
    tenant_id CHAR(36) NOT NULL, request_message_id CHAR(36) NOT NULL, response_message_id CHAR(36) NOT NULL,
    model_name VARCHAR(100) NOT NULL,
    status VARCHAR(20) NOT NULL CHECK (status IN ('success', 'failed', 'timeout', 'rate_limited', 'cancelled')),
    error_message TEXT, error_code VARCHAR(50),
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    total_tokens INTEGER NOT NULL DEFAULT 0, prompt_tokens_details TEXT, completion_tokens_details TEXT,
    total_price REAL, price_details TEXT, latency_ms INTEGER, time_to_first_token_ms INTEGER, tokens_per_second REAL,
    api_response_id VARCHAR(255), create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    CHECK (prompt_tokens >= 0 AND completion_tokens >= 0 AND total_tokens >= 0),
    CHECK (update_time >= create_time),
    CHECK (length(model_name) <= 100));
CREATE INDEX idx_api_call_session ON entity_llm_api_call (chat_session_id, create_time DESC);
CREATE TABLE entity_provider (
    id CHAR(36) PRIMARY KEY, tenant_id CHAR(36) NOT NULL, provider_name VARCHAR(255) NOT NULL,
    provider_type VARCHAR(100) NOT NULL, api_base TEXT NOT NULL, api_key TEXT NOT NULL,
    enabled INTEGER NOT NULL DEFAULT 1, create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    UNIQUE (provider_name, tenant_id));
CREATE TABLE entity_agent (
    id CHAR(36) PRIMARY KEY, tenant_id CHAR(36) NOT NULL, agent_code VARCHAR(255) NOT NULL UNIQUE,
    agent_name VARCHAR(255) NOT NULL, agent_order INTEGER NOT NULL DEFAULT 0, agent_status INTEGER NOT NULL DEFAULT 1,
    context_limit INTEGER, custom_params TEXT, max_completion_tokens INTEGER, model_name VARCHAR(255) NOT NULL,
    provider_id CHAR(36) NOT NULL, response_format VARCHAR(50), system_prompt TEXT NOT NULL, temperature REAL,
    stream INTEGER, thinking TEXT, create_time TEXT NOT NULL, update_time TEXT NOT NULL,
    FOREIGN KEY (provider_id) REFERENCES entity_provider (id) ON DELETE CASCADE);
CREATE TRIGGER session_updated AFTER UPDATE ON entity_chat_session FOR EACH ROW BEGIN
    UPDATE entity_chat_session SET update_time = '2099-01-01T00:00:00Z' WHERE id = NEW.id; END;
CREATE TABLE somebody_elses (id INTEGER PRIMARY KEY, note TEXT);
INSERT INTO somebody_elses VALUES (1, 'keep me');
"""


@pytest.fixture
def mofas(database: Database) -> Database:
    """A database that MoFA's agents made, with a session, a provider and an agent in it."""
    database.script(MOFA_TABLES)
    times = {"create_time": "2026-03-01T12:00:00Z", "update_time": "2026-03-01T12:00:00.123456789Z"}
    database.insert(
        "entity_chat_session",
        **{"id": str(SESSION), "user_id": str(USER), "agent_id": str(AGENT), "tenant_id": str(NIL_UUID)},
        **times,
    )
    return database


def schema(database: Database) -> dict[str, str]:
    rows = database.run("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {row["name"]: row["sql"] for row in rows}


async def test_mofas_tables_are_adopted_unchanged(mofas: Database) -> None:
    before = schema(mofas)
    async with opened(mofas.url) as store:
        chat = await store.get_session(SESSION)
        assert chat is not None
        assert chat.metadata == {}
    after = schema(mofas)
    assert before.items() <= after.items()
    assert mofas.run("SELECT note FROM somebody_elses") == [{"note": "keep me"}]
    async with opened(mofas.url):
        pass
    assert schema(mofas) == after


@pytest.mark.parametrize("missing", RECORDS)
async def test_a_table_that_is_missing_is_added(mofas: Database, missing: str) -> None:
    mofas.run("DELETE FROM entity_chat_session")
    mofas.script(f"PRAGMA foreign_keys = OFF; DROP TABLE {missing}")
    before = schema(mofas)
    async with opened(mofas.url):
        pass
    assert before.items() <= schema(mofas).items()
    made = {row["name"] for row in mofas.run(f"PRAGMA table_info({missing})")}
    assert made == {*RECORDS[missing].model_fields, POSITION}


async def test_without_create_tables_nothing_at_all_is_changed(mofas: Database) -> None:
    before = schema(mofas)
    async with opened(mofas.url, create_tables=False) as store:
        await store.save_api_call(call())
        assert len(await store.query_api_calls(QueryFilter())) == 1
    assert schema(mofas) == before


async def test_every_record_goes_into_mofas_tables_and_comes_back(mofas: Database) -> None:
    openai = provider(tenant_id=UUID(int=5))
    helper = agent(provider_id=openai.id, custom_params={"a": 1})
    parent = message(0)
    reply = message(1, parent_message_id=parent.id, role="assistant")
    made = call(0, total_price=Decimal("0.0129"), prompt_tokens_details=TokenDetails(cached_tokens=3))
    async with opened(mofas.url) as store:
        await store.save_provider(openai)
        await store.save_agent(helper)
        await store.save_messages([parent, reply])
        await store.save_api_calls([made])
        assert await store.get_provider(openai.id) == openai
        assert await store.get_agent(helper.id) == helper
        assert await store.get_session_messages(SESSION) == [parent, reply]
        assert await store.query_api_calls(QueryFilter()) == [made]


Save = Callable[[Store], Any]
VIOLATIONS: dict[str, Save] = {
    "a message of no session": lambda store: store.save_message(message(chat_session_id=UUID(int=404))),
    "a reply to no message": lambda store: store.save_message(message(parent_message_id=UUID(int=404))),
    "a message of many of no session": lambda store: store.save_messages(
        [message(n, chat_session_id=SESSION if n != 5 else UUID(int=404)) for n in range(9)]
    ),
    "an agent of no provider": lambda store: store.save_agent(agent()),
    "a call that a check refuses": lambda store: store.save_api_call(call(model_name="m" * 101)),
    "a call of many that a check refuses": lambda store: store.save_api_calls(
        [call(n, model_name="m" * (96 + n)) for n in range(9)]
    ),
}


@pytest.mark.parametrize("save", VIOLATIONS.values(), ids=VIOLATIONS)
async def test_what_a_key_or_check_refuses_is_a_constraint_error_and_not_there(mofas: Database, save: Save) -> None:
    async with opened(mofas.url) as store:
        with pytest.raises(ConstraintError) as caught:
            await save(store)
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    for table in ("entity_llm_message", "entity_llm_api_call", "entity_agent"):
        assert mofas.run(f"SELECT * FROM {table}") == []


async def test_replacing_a_row_does_not_cascade(mofas: Database) -> None:
    """A REPLACE deletes the row first, and with it everything that cascades from it."""
    openai = provider()
    helper = agent(provider_id=openai.id)
    parent = message(0)
    reply = message(1, parent_message_id=parent.id)
    async with opened(mofas.url) as store:
        await store.save_provider(openai)
        await store.save_agent(helper)
        await store.save_messages([parent, reply])
        await store.save_provider(openai)
        await store.save_message(parent)
        await store.save_messages([parent])
        chat = await store.get_session(SESSION)
        assert chat is not None
        await store.update_session(chat.model_copy(update={"title": "again"}))
        assert await store.get_agent(helper.id) == helper
        assert await store.get_session_messages(SESSION) == [parent, reply]


async def test_a_trigger_may_set_the_update_time(mofas: Database) -> None:
    async with opened(mofas.url) as store:
        chat = await store.get_session(SESSION)
        assert chat is not None
        assert chat.update_time == SECOND + timedelta(microseconds=123_456)
        await store.update_session(chat.model_copy(update={"title": "again"}))
        read = await store.get_session(SESSION)
    assert read is not None
    assert (read.title, read.update_time) == ("again", datetime(2099, 1, 1, tzinfo=UTC))


async def test_deleting_a_session_cascades_and_leaves_the_ledger(mofas: Database) -> None:
    made, parent = call(0), message(0)
    async with opened(mofas.url) as store:
        await store.save_messages([parent, message(1, parent_message_id=parent.id)])
        await store.save_api_call(made)
        assert await store.delete_session(SESSION) is True
        assert await store.count_session_messages(SESSION) == 0
        assert await store.query_api_calls(QueryFilter()) == [made]


async def test_deleting_a_sessions_messages_counts_replies_once(mofas: Database) -> None:
    parent = message(0)
    replies = [message(n, parent_message_id=parent.id) for n in range(1, 4)]
    async with opened(mofas.url) as store:
        await store.save_messages([parent, *replies])
        assert await store.delete_session_messages(SESSION) == 4
    assert mofas.run("SELECT * FROM entity_llm_message") == []


async def test_deleting_a_provider_takes_its_agents_where_the_tables_say_so(mofas: Database) -> None:
    openai = provider()
    helper = agent(provider_id=openai.id)
    async with opened(mofas.url) as store:
        await store.save_provider(openai)
        await store.save_agent(helper)
        assert await store.delete_provider(openai.id) is True
        assert await store.get_agent(helper.id) is None


async def test_both_write_at_the_same_time(mofas: Database) -> None:
    """MoFA holds a transaction open for a while; we wait and then write, and see what it wrote."""
    async with opened(mofas.url) as store:
        for n in range(20):
            with closing(sqlite3.connect(mofas.path, timeout=10)) as rust, rust:
                row = rust_call("2026-03-01T12:00:00.123456789Z", n + 1)
                names, marks = ", ".join(row), ", ".join("?" * len(row))
                rust.execute(f"INSERT INTO entity_llm_api_call ({names}) VALUES ({marks})", list(row.values()))
            await store.save_api_call(call(n))
        assert len(await store.query_api_calls(QueryFilter())) == 40
