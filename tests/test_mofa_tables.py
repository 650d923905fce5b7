"""Databases that MoFA's Rust agents made and write to: used as they are, and left as they are.

Every test runs on PostgreSQL, MariaDB and SQLite, on tables like those of MoFA's own migration (`tests.mofa_tables`),
which are narrower than ours and have keys, checks and triggers. What we write is read back past the store.
"""

import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from mofa_usage import load_usage
from mofa_usage.errors import ConstraintError, QueryError, SerializationError
from mofa_usage.reading.columns import CALL_SCHEMA
from mofa_usage.records import (
    ApiCallStatus,
    LLMApiCall,
    MessageContent,
    PriceDetails,
    QueryFilter,
    TokenDetails,
    ToolCallContent,
    ToolResultContent,
)
from mofa_usage.stores import Forgotten, Store, connect
from tests import strategies
from tests.leaks import opened
from tests.mofa_tables import (
    TABLES,
    MofaDatabase,
    build,
    rust_agent,
    rust_call,
    rust_message,
    rust_provider,
    rust_session,
)
from tests.proofs import trials
from tests.samples import AGENT, NIL, SECRET, SESSION, USER, agent, call, message, provider, session

pytestmark = [pytest.mark.shared_only, pytest.mark.sql_only]

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
ONE = UUID(int=1)
FAR = datetime(2037, 1, 1, tzinfo=UTC)  # an agent's clock that is years ahead; the last year of a TIMESTAMP


def at(seconds: float) -> dict[str, Any]:
    """Both times of a record, so many seconds after noon."""
    return {"create_time": NOON + timedelta(seconds=seconds), "update_time": NOON + timedelta(seconds=seconds)}


async def mofas(url: str, tables: tuple[str, ...] = TABLES) -> MofaDatabase:
    """MoFA's tables, and in them the session `SESSION` where its table is one of them."""
    database = await build(url, tables)
    if "entity_chat_session" in tables:
        await database.insert("entity_chat_session", rust_session(SESSION.int, database.time(NOON)))
    return database


@pytest.fixture
async def database(empty_url: str) -> MofaDatabase:
    """All of MoFA's tables, and in them the session `SESSION`."""
    return await mofas(empty_url)


async def assert_adopted(database: MofaDatabase, before: dict[str, str]) -> None:
    """What was there is unchanged to the letter, and nothing came but what may come."""
    after = await database.catalogue()
    assert {name: after.get(name) for name in before} == before
    assert after.keys() - before.keys() <= database.additions


# --- adopting -------------------------------------------------------------------------------------------------------


async def test_the_tables_are_adopted_and_not_changed(database: MofaDatabase) -> None:
    before = await database.catalogue()
    assert len(before) >= len(TABLES)
    for _ in range(2):
        async with opened(database.url) as store:
            await store.save_api_calls([call(**at(n)) for n in range(120)])
            await store.save_message(message(**at(1)))
            await store.get_statistics()
        await assert_adopted(database, before)


async def test_without_create_tables_nothing_is_added(database: MofaDatabase) -> None:
    before = await database.catalogue()
    async with opened(database.url, create_tables=False) as store:
        await store.save_api_calls([call(**at(n)) for n in range(3)])
        assert (await store.get_statistics()).total_calls == 3
    assert await database.catalogue() == before
    assert load_usage(database.url).frame.height == 3
    assert await database.catalogue() == before


PARTS = [
    ("entity_chat_session",),
    ("entity_llm_api_call",),
    ("entity_provider",),
    ("entity_chat_session", "entity_llm_message"),
    ("entity_provider", "entity_agent"),
    ("entity_chat_session", "entity_llm_message", "entity_llm_api_call"),
]


@pytest.mark.parametrize("tables", PARTS, ids="+".join)
async def test_where_some_tables_are_missing_they_are_added_and_all_is_well(
    empty_url: str, tables: tuple[str, ...]
) -> None:
    database = await mofas(empty_url, tables)
    before = await database.catalogue()
    openai = provider(**at(0))
    helper = agent(provider_id=openai.id, **at(0))
    async with opened(empty_url) as store:
        if "entity_chat_session" not in tables:
            await store.create_session(session(id=SESSION, **at(0)))
        await store.save_provider(openai)
        await store.save_agent(helper)
        await store.save_message(message(**at(0)))
        await store.save_api_call(call(agent_id=helper.id, **at(0)))
        # The tables of a join are of different make.
        config = await store.get_agent_with_provider(helper.id)
        assert config is not None
        assert (config.agent, config.provider) == (helper, openai)
        assert await store.count_session_messages(SESSION) == 1
    after = await database.catalogue()
    assert {name: after.get(name) for name in before} == before
    assert {f"table {table}" for table in TABLES} <= after.keys()
    usage = load_usage(empty_url).frame
    assert usage["provider_name"].to_list() == ["openai"]


async def test_a_database_with_nothing_but_calls_is_analysed_as_it_is(empty_url: str) -> None:
    database = await mofas(empty_url, ("entity_llm_api_call",))
    await database.insert("entity_llm_api_call", rust_call(1, database.time(NOON)))
    frame = load_usage(empty_url).frame
    assert frame.select("agent_name", "provider_name").rows() == [(None, None)]
    async with opened(empty_url, create_tables=False) as store:
        assert (await store.get_statistics()).total_calls == 1
        with pytest.raises(QueryError, match="entity_llm_message"):
            await store.save_message(message(**at(0)))


@pytest.mark.parametrize("stranger", TABLES)
async def test_a_table_that_is_not_mofas_is_refused_and_nothing_is_made(empty_url: str, stranger: str) -> None:
    database = await build(empty_url, ())
    await database.run(f"CREATE TABLE {stranger} (id INTEGER PRIMARY KEY, agent_id VARCHAR(36), note TEXT)")
    before = await database.catalogue()
    for _ in range(2):
        with pytest.raises(QueryError, match=f"{stranger} that is not MoFA's.* lacks .*create_time"):
            await connect(empty_url)
        assert await database.catalogue() == before


async def test_a_stranger_among_mofas_tables_is_refused_and_they_are_left_alone(empty_url: str) -> None:
    database = await mofas(empty_url, ("entity_chat_session", "entity_llm_message"))
    await database.run("CREATE TABLE entity_agent (id INTEGER PRIMARY KEY)")
    before = await database.catalogue()
    with pytest.raises(QueryError, match="entity_agent that is not MoFA's"):
        await connect(empty_url)
    assert await database.catalogue() == before


# --- what Rust wrote is read ----------------------------------------------------------------------------------------


async def test_a_call_with_all_that_rust_writes_is_read(database: MofaDatabase) -> None:
    moment = NOON.replace(microsecond=0 if database.whole_seconds else 123_456)
    await database.insert(
        "entity_llm_api_call",
        rust_call(
            1,
            database.time(moment, 789),
            **{"status": "rate_limited", "error_message": "slow down", "error_code": "429"},
            prompt_tokens_details={"cached_tokens": 64, "image_tokens": 2},
            completion_tokens_details={"reasoning_tokens": 20},
            total_price=0.1 + 0.2,
            price_details={"input_price": 0.1 + 0.2, "output_price": 3e-7, "currency": "EUR", "tier": "batch"},
            **{"latency_ms": 1_500, "time_to_first_token_ms": 0, "tokens_per_second": 100 / 3},
            api_response_id="chatcmpl-1",
        ),
        rust_call(2, database.time(NOON - timedelta(days=1)), completion_tokens_details={}, price_details={}),
    )
    async with opened(database.url) as store:
        read = await store.query_api_calls()
    assert read == [
        call(
            id=UUID(int=1),
            create_time=moment,
            update_time=moment,
            status="rate_limited",
            error_message="slow down",
            error_code="429",
            prompt_tokens_details=TokenDetails.model_validate({"cached_tokens": 64, "image_tokens": 2}),
            completion_tokens_details=TokenDetails(reasoning_tokens=20),
            total_price=Decimal("0.3"),
            price_details=PriceDetails.model_validate(
                {"input_price": "0.3", "output_price": "0.0000003", "currency": "EUR", "tier": "batch"}
            ),
            **{"latency_ms": 1_500, "time_to_first_token_ms": 0, "tokens_per_second": 100 / 3},
            api_response_id="chatcmpl-1",
        ),
        call(
            id=UUID(int=2),
            **at(-86_400),
            completion_tokens_details=TokenDetails(),
            price_details=PriceDetails(currency="USD"),
        ),
    ]


async def test_times_of_any_precision_are_read_filtered_and_sorted(database: MofaDatabase) -> None:
    """Every spelling that a database can hold, of calls that lie less than a second apart."""
    spellings = {database.time(NOON): 0, database.time(NOON + timedelta(seconds=1)): 1_000_000}
    if not database.whole_seconds:
        spellings[database.time(NOON + timedelta(milliseconds=100))] = 100_000
        spellings[database.time(NOON + timedelta(microseconds=100_001), 999)] = 100_001
    if database.url.startswith("sqlite"):
        spellings |= {"2026-03-01T12:00:00Z": 0, "2026-03-01T12:00:00.100001Z": 100_001}
        spellings |= {"2026-03-01T12:00:00.123456789Z": 123_456, "2026-03-01T12:00:00.123456788+00:00": 123_456}
    parts = dict(zip(range(10, 10 + len(spellings)), spellings.values(), strict=True))
    await database.insert(
        "entity_llm_api_call", *[rust_call(n, text) for n, text in zip(parts, spellings, strict=True)]
    )
    async with opened(database.url) as store:
        newest_first = sorted(parts, key=lambda n: (parts[n], n), reverse=True)
        read = await store.query_api_calls()
        assert [(each.id.int, (each.create_time - NOON) // timedelta(microseconds=1)) for each in read] == [
            (n, parts[n]) for n in newest_first
        ]
        for part in sorted({part + step for part in parts.values() for step in (-1, 0, 1)}):
            edge = NOON + timedelta(microseconds=part)
            asked = QueryFilter(start_time=edge)
            assert [c.id.int for c in await store.query_api_calls(asked)] == [
                n for n in newest_first if parts[n] >= part
            ]
            asked = QueryFilter(end_time=edge)
            before = [n for n in newest_first if parts[n] <= part]
            assert [each.id.int async for each in store.stream_api_calls(asked)] == before
            assert (await store.get_statistics(asked)).total_calls == len(before)
            usage = load_usage(database.url, start=edge).frame
            assert sorted(usage["id"]) == sorted(str(UUID(int=n)) for n in parts if parts[n] >= part)


async def test_messages_sessions_agents_and_providers_of_rust_are_read(database: MofaDatabase) -> None:
    noon = database.time(NOON)
    said = {
        "tool_calls": [{"id": "1", "name": "f", "arguments": {"x": [1, None]}}],
        "tool_result": {"tool_call_id": "1", "content": "ok"},
        "url": "https://é/😀",
    }
    await database.insert(
        "entity_llm_message",
        rust_message(11, noon),
        rust_message(12, database.time(NOON + timedelta(seconds=1)), role="tool", content=said,
                     parent_message_id=str(UUID(int=11))),
    )  # fmt: skip
    await database.insert("entity_chat_session", rust_session(5, noon, metadata={"k": [1]}, title="Hello"))
    await database.insert("entity_provider", rust_provider(8, noon))
    await database.insert(
        "entity_agent",
        rust_agent(9, noon, 8, temperature=0.7, custom_params={"top_p": 0.1}, thinking={"budget": 5}, stream="1"),
    )
    async with opened(database.url) as store:
        first, second = await store.get_session_messages(SESSION)
        assert first == message(id=UUID(int=11), **at(0))
        assert (second.role, second.parent_message_id) == ("tool", first.id)
        assert second.content == MessageContent(
            tool_calls=[ToolCallContent(id="1", name="f", arguments={"x": [1, None]})],
            tool_result=ToolResultContent(tool_call_id="1", content="ok"),
            url="https://é/😀",
        )
        empty, titled = await store.get_session(SESSION), await store.get_session(UUID(int=5))
        assert empty == session(id=SESSION, **at(0))
        assert titled == session(id=UUID(int=5), title="Hello", metadata={"k": [1]}, **at(0))
        config = await store.get_agent_by_code_with_provider("helper")
        assert config is not None
        assert config.provider == provider(id=UUID(int=8), api_key="sk-1", **at(0))
        read = config.agent
        assert (read.id, read.provider_id, read.agent_status, read.stream) == (UUID(int=9), UUID(int=8), True, True)
        assert (read.temperature, read.custom_params, read.thinking) == (0.7, {"top_p": 0.1}, {"budget": 5})


@pytest.mark.parametrize("written", ["exploded", "SUCCESS ", ""])
async def test_an_unknown_status_is_failed_however_it_is_asked(database: MofaDatabase, written: str) -> None:
    """An ENUM keeps the empty text for a value that it does not know; a server that is not strict lets that happen."""
    if database.folds and written.strip():
        written = "exploded"  # "SUCCESS " is `success` to an ENUM
    noon = database.time(NOON)
    await database.insert("entity_llm_api_call", rust_call(1, noon, status=written), rust_call(2, noon))
    async with opened(database.url) as store:
        read = await store.get_api_call(UUID(int=1))
        assert read is not None
        assert read.status is ApiCallStatus.FAILED
        assert await store.query_api_calls(QueryFilter(status=ApiCallStatus.FAILED)) == [read]
        stats = await store.get_statistics()
    assert (stats.success_count, stats.failed_count) == (1, 1)
    frame = load_usage(database.url).frame.sort("id")
    assert frame["status"].to_list() == ["failed", "success"]
    asked = load_usage(database.url, QueryFilter(status=ApiCallStatus.FAILED)).frame
    assert asked["id"].to_list() == [str(UUID(int=1))]


# --- what we write can be read by MoFA ------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
async def test_a_call_is_stored_as_mofa_reads_it(database: MofaDatabase, many: bool) -> None:
    """`many` goes the way of bulk saves, which is another one."""
    made = call(
        id=UUID("019A0000-0000-7000-8000-0000000000FF"),
        create_time=NOON,
        update_time=NOON + timedelta(seconds=2),
        status="rate_limited",
        error_message="quote ' backslash \\ 😀",
        error_code="429",
        prompt_tokens_details=TokenDetails.model_validate({"cached_tokens": 7, "image_tokens": 2}),
        completion_tokens_details=TokenDetails(),
        total_price=Decimal("0.0129"),
        price_details=PriceDetails(input_price=Decimal("0.0000000001")),
        **{"latency_ms": 0, "tokens_per_second": 35.5},
    )
    async with opened(database.url) as store:
        await store.save_api_calls([made, *(call(**at(n)) for n in range(150 if many else 0))])
    row = await database.texts("entity_llm_api_call", made.id)
    assert json.loads(row.pop("prompt_tokens_details") or "") == {"cached_tokens": 7, "image_tokens": 2}
    assert json.loads(row.pop("completion_tokens_details") or "") == {}
    assert json.loads(row.pop("price_details") or "") == {"input_price": 1e-10, "currency": "USD"}
    money, create_time, update_time = {
        "postgresql": ("0.0129000000", "2026-03-01 12:00:00+00", "2026-03-01 12:00:02+00"),
        "mysql": ("0.0129000000", "2026-03-01 12:00:00", "2026-03-01 12:00:02"),
        "sqlite": ("0.0129", "2026-03-01T12:00:00.000000+00:00", "2026-03-01T12:00:02.000000+00:00"),
    }[database.url.partition(":")[0]]
    assert row == {
        "id": "019a0000-0000-7000-8000-0000000000ff",
        **{"chat_session_id": str(SESSION), "agent_id": str(AGENT), "user_id": str(USER)},
        **dict.fromkeys(["tenant_id", "request_message_id", "response_message_id"], str(NIL)),
        **{"model_name": "gpt-4", "status": "rate_limited"},
        **{"error_message": "quote ' backslash \\ 😀", "error_code": "429"},
        **{"prompt_tokens": "100", "completion_tokens": "50", "total_tokens": "150", "total_price": money},
        **{"latency_ms": "0", "time_to_first_token_ms": None, "tokens_per_second": "35.5", "api_response_id": None},
        **{"create_time": create_time, "update_time": update_time},
    }


@pytest.mark.parametrize("many", [False, True])
async def test_messages_are_stored_as_mofa_reads_them(database: MofaDatabase, many: bool) -> None:
    content = MessageContent(tool_calls=[ToolCallContent(id="1", name="f", arguments=None)])
    said = message(role="assistant", content=content, parent_message_id=None, **at(0))
    async with opened(database.url) as store:
        await store.save_messages([said, *(message(**at(n)) for n in range(150 if many else 0))])
    row = await database.texts("entity_llm_message", said.id)
    assert json.loads(row["content"] or "") == {"tool_calls": [{"id": "1", "name": "f", "arguments": None}]}
    assert (row["role"], row["tenant_id"], row["parent_message_id"]) == ("assistant", str(NIL), None)
    assert row["chat_session_id"] == str(SESSION)


async def test_sessions_agents_and_providers_are_stored_as_mofa_reads_them(database: MofaDatabase) -> None:
    yes, no = ("true", "false") if database.url.startswith("postgres") else ("1", "0")
    chat, openai = session(**at(0)), provider(enabled=False, **at(0))
    helper = agent(provider_id=openai.id, temperature=0.7, stream=False, thinking={"on": True}, **at(0))
    async with opened(database.url) as store:
        await store.create_session(chat)
        await store.save_provider(openai)
        await store.save_agent(helper)
    row = await database.texts("entity_chat_session", chat.id)
    assert (row["tenant_id"], row["title"], row["metadata"]) == (str(NIL), None, "{}")
    row = await database.texts("entity_provider", openai.id)
    assert (row["enabled"], row["api_key"], row["provider_name"]) == (no, SECRET, "openai")
    row = await database.texts("entity_agent", helper.id)
    assert (row["agent_status"], row["stream"], row["temperature"]) == (yes, no, "0.7")
    assert (row["agent_order"], row["context_limit"], row["custom_params"]) == ("0", None, None)
    assert (json.loads(row["thinking"] or ""), row["provider_id"]) == ({"on": True}, str(openai.id))


@pytest.mark.proof
@settings(max_examples=trials(4, 100), deadline=None, suppress_health_check=list(HealthCheck))
@given(content=strategies.contents())
async def test_every_content_goes_into_a_json_column_and_comes_back(
    database: MofaDatabase, content: MessageContent
) -> None:
    said = message(content=content, **at(0))
    async with connect(database.url, max_connections=1) as store:
        await store.save_message(said)
        assert await store.get_message(said.id) == said


@pytest.mark.parametrize("depth", [31, 32])
async def test_json_as_deep_as_the_column_takes(database: MofaDatabase, depth: int) -> None:
    """The check that makes a JSON column of MariaDB knows no more than 32 levels, the innermost value among them."""
    deep: Any = 1
    for _ in range(depth - 1):
        deep = [deep]
    said = message(content=MessageContent.model_validate({"deep": deep}), **at(0))
    is_mariadb = database.folds and not await database.rounds()
    async with opened(database.url) as store:
        if is_mariadb and depth > 31:
            with pytest.raises(ConstraintError, match="content"):
                await store.save_message(said)
        else:
            await store.save_message(said)
            assert await store.get_message(said.id) == said


async def test_temperatures_come_back_as_they_were(database: MofaDatabase) -> None:
    """MoFA's column is a float of four bytes: six digits are safe in it."""
    openai = provider(**at(0))
    async with opened(database.url) as store:
        await store.save_provider(openai)
        for temperature in (None, 0.0, 0.1, 0.7, 1.0, 1.85, 2.0, 0.123456, 0.333333):
            helper = agent(provider_id=openai.id, id=UUID(int=9), temperature=temperature, **at(0))
            await store.save_agent(helper)
            read = await store.get_agent(helper.id)
            assert read is not None
            assert read.temperature == temperature


@pytest.mark.parametrize("many", [9, 150])
async def test_replies_are_saved_with_their_parents_in_any_order(database: MofaDatabase, many: int) -> None:
    """The foreign key wants a parent to be there first."""
    said = [
        message(id=UUID(int=1_000 - n), parent_message_id=UUID(int=1_001 - n) if n else None, **at(n))
        for n in range(many)
    ]
    async with opened(database.url) as store:
        for order in (said, said[::-1], said[::2] + said[1::2]):
            await store.save_messages(order)
            read = await store.get_session_messages(SESSION)
            assert [(each.id, each.parent_message_id) for each in read] == [
                (each.id, each.parent_message_id) for each in said
            ]
            assert await store.delete_session_messages(SESSION) == many


async def test_times_finer_than_a_second_are_cut_where_the_tables_have_none(database: MofaDatabase) -> None:
    create, update = NOON + timedelta(microseconds=900_001), NOON + timedelta(microseconds=999_999)
    made = [call(create_time=create, update_time=update) for _ in range(120)]
    said = message(create_time=create, update_time=update)
    if await database.rounds():
        create = update = NOON + timedelta(seconds=1)
    elif database.whole_seconds:
        create = update = NOON
    kept = {"create_time": create, "update_time": update}
    async with opened(database.url) as store:
        await store.save_api_call(made[0])
        await store.save_api_calls(made[1:])
        await store.save_message(said)
        read = {each.id: each for each in await store.query_api_calls()}
        assert read == {each.id: each.model_copy(update=kept) for each in made}
        assert await store.get_message(said.id) == said.model_copy(update=kept)
        # A filter goes by what is stored.
        assert await store.query_api_calls(QueryFilter(start_time=create + timedelta(microseconds=1))) == []
        assert len(await store.query_api_calls(QueryFilter(end_time=create))) == 120


# --- what does not fit, and what the tables forbid ------------------------------------------------------------------

Save = Callable[[Store], Coroutine[Any, Any, None]]
TOO_LONG: dict[str, Save] = {
    "model_name": lambda store: store.save_api_call(call(model_name="m" * 101, **at(0))),
    "error_code": lambda store: store.save_api_call(call(error_code="e" * 51, **at(0))),
    "api_response_id": lambda store: store.save_api_call(call(api_response_id="r" * 256, **at(0))),
    "model_name of many": lambda store: store.save_api_calls(
        [call(model_name="m" * n, **at(n)) for n in range(1, 102)]
    ),
    "model_name of a few": lambda store: store.save_api_calls(
        [call(model_name="m" * n, **at(n)) for n in range(96, 102)]
    ),
    "error_message": lambda store: store.save_api_call(call(error_message="é" * 32_768, **at(0))),
    "system_prompt": lambda store: store.save_agent(
        agent(system_prompt="é" * 32_768, provider_id=UUID(int=8), **at(0))
    ),
    "title": lambda store: store.create_session(session(title="t" * 256, **at(0))),
    "provider_name": lambda store: store.save_provider(provider("p" * 256, **at(0))),
    "provider_type": lambda store: store.save_provider(provider("other", provider_type="p" * 101, **at(0))),
    "agent_code": lambda store: store.save_agent(agent("c" * 256, provider_id=UUID(int=8), **at(0))),
    "agent_name": lambda store: store.save_agent(agent(agent_name="c" * 256, provider_id=UUID(int=8), **at(0))),
    "response_format": lambda store: store.save_agent(
        agent(response_format="c" * 51, provider_id=UUID(int=8), **at(0))
    ),
    "temperature": lambda store: store.save_agent(agent(temperature=1e39, provider_id=UUID(int=8), **at(0))),
}


LONG = {"error_message", "system_prompt"}  # 64 KiB, on MySQL only


@pytest.mark.parametrize("what", TOO_LONG)
async def test_what_does_not_fit_is_refused_whole(database: MofaDatabase, what: str) -> None:
    await database.insert("entity_provider", rust_provider(8, database.time(NOON)))
    async with opened(database.url) as store:
        if database.url.startswith("sqlite") or (what in LONG and not database.whole_seconds):  # no such limit
            await TOO_LONG[what](store)
            return
        with pytest.raises(SerializationError) as refused:
            await TOO_LONG[what](store)
    assert refused.value.__cause__ is not None
    assert SECRET not in str(refused.value)
    rows = {table: await database.count(table) for table in TABLES}
    assert rows == dict.fromkeys(TABLES, 0) | {"entity_chat_session": 1, "entity_provider": 1}


async def test_times_outside_the_years_of_a_timestamp_are_refused(database: MofaDatabase) -> None:
    async with opened(database.url) as store:
        for year in (1969, 2200):
            moment = datetime(year, 6, 1, tzinfo=UTC)
            made = call(create_time=moment, update_time=moment)
            if database.whole_seconds:
                with pytest.raises(SerializationError, match="create_time"):
                    await store.save_api_call(made)
            else:
                await store.save_api_call(made)
                assert await store.get_api_call(made.id) == made
        # Asking for them is no mistake.
        everything = QueryFilter(start_time=datetime(1, 1, 1, tzinfo=UTC), end_time=datetime(9999, 12, 31, tzinfo=UTC))
        await store.save_api_call(call(**at(0)))
        assert len(await store.query_api_calls(everything)) == (await store.get_statistics(everything)).total_calls
        assert await store.query_api_calls(everything) == await store.query_api_calls()
        assert await store.cleanup_old_records(datetime(1, 1, 1, tzinfo=UTC)) == 0
        left = len(await store.query_api_calls())
        assert load_usage(database.url, everything).frame.height == left
        assert await store.cleanup_old_records(datetime(9999, 12, 31, tzinfo=UTC)) == left


def _broken(**fields: Any) -> LLMApiCall:
    """A call that the record's own checks would refuse, as only a bug could make it."""
    made = call(**at(0))
    return LLMApiCall.model_construct(**{name: getattr(made, name) for name in LLMApiCall.model_fields} | fields)


def _many(*broken: LLMApiCall) -> list[LLMApiCall]:
    return [*(call(**at(n)) for n in range(150)), *broken]


VIOLATIONS: dict[str, Save] = {
    "a message of no session": lambda store: store.save_message(message(chat_session_id=UUID(int=404), **at(0))),
    "a reply to nothing": lambda store: store.save_message(message(parent_message_id=UUID(int=404), **at(0))),
    "one of few messages": lambda store: store.save_messages(
        [message(chat_session_id=SESSION if n else UUID(int=404), **at(0)) for n in range(9)]
    ),
    "one of many messages": lambda store: store.save_messages(
        [message(chat_session_id=SESSION if n != 140 else UUID(int=404), **at(0)) for n in range(150)]
    ),
    "an agent of no provider": lambda store: store.save_agent(agent(**at(0))),
    "a session twice": lambda store: store.create_session(session(id=SESSION, **at(0))),
    "negative tokens": lambda store: store.save_api_call(_broken(prompt_tokens=-1)),
    "negative tokens among many": lambda store: store.save_api_calls(_many(_broken(total_tokens=-1))),
    "updated before it was created": lambda store: store.save_api_call(_broken(update_time=NOON - timedelta(hours=1))),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_what_a_key_or_check_forbids_is_a_constraint_error_and_not_there(
    database: MofaDatabase, violation: str
) -> None:
    async with opened(database.url) as store:
        with pytest.raises(ConstraintError) as refused:
            await VIOLATIONS[violation](store)
    assert refused.value.__cause__ is not None
    rows = {table: await database.count(table) for table in TABLES}
    assert rows == dict.fromkeys(TABLES, 0) | {"entity_chat_session": 1}


async def test_names_that_the_tables_take_for_the_same_are_a_constraint_error(database: MofaDatabase) -> None:
    """MoFA's collation on MySQL ignores case and trailing blanks; what is asked for is found to the letter anyway."""
    openai, other = provider("OpenAI", **at(0)), provider("openai ", **at(0))
    async with opened(database.url) as store:
        await store.save_provider(openai)
        await store.save_agent(agent("Helper", provider_id=openai.id, **at(0)))
        twins: list[Save] = [
            lambda store: store.save_provider(other),
            lambda store: store.save_agent(agent("helper", provider_id=openai.id, **at(0))),
            lambda store: store.save_agent(agent("Helper ", provider_id=openai.id, **at(0))),
        ]
        for save in twins:
            if database.folds:
                with pytest.raises(ConstraintError):
                    await save(store)
            else:
                await save(store)
        assert await store.get_provider_by_name(NIL, "OpenAI") == openai
        assert await store.get_provider_by_name(NIL, "OPENAI") is None
        assert await store.get_agent_by_code("HELPER") is None
        assert await store.get_agent_by_code_and_tenant(NIL, "Helper  ") is None
        config = await store.get_agent_by_code_with_provider("Helper")
        assert config is not None
        assert config.agent.agent_code == "Helper"
        assert len(await store.list_agents(NIL)) == (1 if database.folds else 3)


# --- keys that cascade, triggers that write -------------------------------------------------------------------------


async def test_saving_again_deletes_nothing(database: MofaDatabase) -> None:
    """Neither a session's messages, nor a provider's agents, nor the parent of a reply."""
    openai = provider(**at(0))
    helper = agent(provider_id=openai.id, **at(0))
    parent = message(**at(0))
    replies = [message(parent_message_id=parent.id, **at(n)) for n in range(1, 131)]
    async with opened(database.url) as store:
        await store.save_provider(openai)
        await store.save_agent(helper)
        await store.save_messages([parent, *replies])
        await store.save_provider(openai.model_copy(update={"enabled": False}))
        await store.save_message(parent)
        await store.save_messages([parent])
        await store.save_messages([parent, *replies])
        chat = await store.get_session(SESSION)
        assert chat is not None
        await store.update_session(chat.model_copy(update={"title": "again"}))
        assert await store.count_session_messages(SESSION) == 131
        read = await store.get_session_messages(SESSION)
        assert [(each.id, each.parent_message_id) for each in read] == [
            (each.id, each.parent_message_id) for each in [parent, *replies]
        ]
        assert await store.get_agent(helper.id) is not None
    assert [await database.count(table) for table in TABLES] == [1, 131, 0, 1, 1]


async def test_deleting_does_what_the_keys_say(database: MofaDatabase) -> None:
    openai = provider(**at(0))
    parent, made = message(**at(0)), call(**at(0))
    reply = message(parent_message_id=parent.id, **at(1))
    async with opened(database.url) as store:
        await store.save_provider(openai)
        await store.save_agent(agent(provider_id=openai.id, **at(0)))
        await store.save_messages([parent, reply])
        await store.save_api_call(made)
        assert await store.delete_message(parent.id) is True
        left = await store.get_message(reply.id)
        assert left is not None
        assert left.parent_message_id is None
        assert await store.delete_session(SESSION) is True
        assert await store.delete_session(SESSION) is False
        assert await store.delete_provider(openai.id) is True
        assert await store.query_api_calls() == [made]  # the ledger
    assert [await database.count(table) for table in TABLES] == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("migrated", [False, True])
async def test_a_user_is_forgotten_and_the_ledger_stays(database: MofaDatabase, migrated: bool) -> None:
    await database.run(*database.late_clock)
    await database.insert(
        "entity_llm_api_call",
        rust_call(1, database.time(NOON), total_price=0.25),
        rust_call(2, database.time(FAR), user_id=str(UUID(int=44)), chat_session_id=str(UUID(int=45))),
    )
    parent, reply = message(**at(0)), message(**at(1), user_id=UUID(int=44))
    async with opened(database.url) as store:
        if migrated:
            await store.migrate()  # type: ignore[attr-defined]
            labels = {"retried": True, "attempt": 2, "user": "alice", "note": {"a": 1}}
            await database.run(f"UPDATE entity_llm_api_call SET labels = '{json.dumps(labels)}' WHERE id = '{ONE}'")
        await store.save_messages([parent, reply.model_copy(update={"parent_message_id": parent.id})])
        expected = Forgotten(messages=2, sessions=1, calls=1)
        assert await store.forget_user(USER, dry_run=True) == expected
        assert await store.forget_user(USER) == expected
        other, found = await store.query_api_calls()
    assert (found.user_id, found.chat_session_id, found.total_price) == (NIL, NIL, Decimal("0.25"))
    assert found.labels == ({"retried": "true", "attempt": "2"} if migrated else {})
    assert (other.user_id, other.chat_session_id) == (UUID(int=44), UUID(int=45))
    assert [await database.count(table) for table in TABLES] == [0, 0, 2, 0, 0]


async def test_old_messages_go_and_replies_of_today_stay(database: MofaDatabase) -> None:
    parent = message(**at(0))
    reply = message(parent_message_id=parent.id, **at(100))
    async with opened(database.url) as store:
        await store.save_messages([parent, reply])
        assert await store.cleanup_old_messages(NOON + timedelta(seconds=50)) == 1
        assert await store.get_session_messages(SESSION) == [
            reply.model_copy(update={"parent_message_id": None, "update_time": left.update_time})
            for left in await store.get_session_messages(SESSION)
        ]


async def test_an_update_time_from_a_clock_behind_reads_as_the_create_time(database: MofaDatabase) -> None:
    """Triggers set it by the server's clock, the agent's own may be ahead."""
    await database.run(*database.late_clock)
    times: dict[str, Any] = {"create_time": FAR, "update_time": FAR}
    openai, chat, said = provider(**times), session(**times), message(**times)
    helper = agent(provider_id=openai.id, **times)
    async with opened(database.url) as store:
        for _ in range(2):
            await store.save_provider(openai)
            await store.save_agent(helper)
            await store.save_messages([said])
        await store.create_session(chat)
        await store.update_session(chat.model_copy(update={"title": "again"}))
        assert await store.get_provider(openai.id) == openai
        assert await store.get_agent(helper.id) == helper
        assert await store.get_message(said.id) == said
        assert await store.get_session(chat.id) == chat.model_copy(update={"title": "again"})
    for table, each in (("provider", openai), ("agent", helper), ("llm_message", said), ("chat_session", chat)):
        row = await database.texts(f"entity_{table}", each.id)
        assert (row["update_time"] or "").startswith("2001-01-01"), "the trigger did not run"


async def test_update_times_are_mofas_triggers_or_ours(database: MofaDatabase) -> None:
    """MoFA's triggers on PostgreSQL set it whenever a row is updated; elsewhere what is saved stays."""
    said = message(**at(0))
    async with opened(database.url) as store:
        await store.save_message(said)
        assert await store.get_message(said.id) == said
        await store.save_message(said)
        read = await store.get_message(said.id)
    assert read is not None
    if database.url.startswith("postgres"):
        assert read.update_time > said.update_time
        assert read.model_copy(update={"update_time": said.update_time}) == said
    else:
        assert read == said


# --- asking ---------------------------------------------------------------------------------------------------------

MODELS = ["GPT-4", "gpt-4", "gpt-4 ", "claude"]
STATUSES = list(ApiCallStatus)


async def _insert_calls(database: MofaDatabase) -> list[dict[str, Any]]:
    """260 calls of Rust's, two a second; what their columns mean, newest first."""
    meant: list[dict[str, Any]] = []
    inserts = []
    for n in range(260):
        moment = NOON + timedelta(seconds=n // 2)
        price = None if n % 10 == 0 else n * 0.1 + 0.2
        meant.append(
            {"number": n + 1, "time": moment, "model_name": MODELS[n % 4], "status": STATUSES[n % 5]}
            | {"price": None if price is None else Decimal(f"{price:.10f}"), "user": 3 + n % 3}
        )
        inserts.append(_insert_call(database, meant[-1], price))
    await database.run(*inserts)
    return meant[::-1]


def _insert_call(database: MofaDatabase, meant: dict[str, Any], price: float | None) -> str:
    row = rust_call(
        meant["number"],
        database.time(meant["time"]),
        **{"model_name": meant["model_name"], "status": str(meant["status"]), "user_id": str(UUID(int=meant["user"]))},
        **{"total_price": "NULL" if price is None else repr(price), "latency_ms": meant["number"]},
    )
    values = ", ".join(v if name == "total_price" else f"'{v}'" for name, v in row.items())
    return f"INSERT INTO entity_llm_api_call ({', '.join(row)}) VALUES ({values})"


async def test_filters_order_pages_statistics_and_cleanup(database: MofaDatabase) -> None:
    meant = await _insert_calls(database)

    def numbers(found: list[LLMApiCall]) -> list[int]:
        return [each.id.int for each in found]

    questions: list[tuple[QueryFilter, Callable[[dict[str, Any]], bool]]] = [
        (QueryFilter(), lambda _: True),
        *((QueryFilter(model_name=name), lambda m, name=name: m["model_name"] == name) for name in MODELS),
        *((QueryFilter(status=status), lambda m, status=status: m["status"] == status) for status in STATUSES),
        (QueryFilter(model_name="GPT-4 "), lambda _: False),
        (QueryFilter(user_id=USER), lambda m: m["user"] == USER.int),
        (QueryFilter(tenant_id=NIL, session_id=SESSION, agent_id=AGENT), lambda _: True),
        (QueryFilter(tenant_id=UUID(int=77)), lambda _: False),
        (
            QueryFilter(start_time=NOON + timedelta(seconds=20), end_time=NOON + timedelta(seconds=30)),
            lambda m: NOON + timedelta(seconds=20) <= m["time"] <= NOON + timedelta(seconds=30),
        ),
    ]
    async with opened(database.url) as store:
        for asked, fits in questions:
            wanted = [m for m in meant if fits(m)]
            in_order = [m["number"] for m in wanted]
            assert numbers(await store.query_api_calls(asked)) == in_order
            assert [each.id.int async for each in store.stream_api_calls(asked)] == in_order
            page = asked.model_copy(update={"offset": 7, "limit": 5})
            assert numbers(await store.query_api_calls(page)) == in_order[7:12]
            assert [each.id.int async for each in store.stream_api_calls(page)] == in_order[7:12]
            stats = await store.get_statistics(asked)
            prices = [m["price"] for m in wanted if m["price"] is not None]
            assert (stats.total_calls, stats.total_tokens) == (len(wanted), 150 * len(wanted))
            assert stats.total_cost == (sum(prices, Decimal(0)) if prices else None)
            assert stats.status_counts == {status: sum(m["status"] == status for m in wanted) for status in STATUSES}
            assert stats.avg_latency_ms == (sum(in_order) / len(in_order) if in_order else None)
        edge = NOON + timedelta(seconds=100)
        gone = [m for m in meant if m["time"] < edge]
        assert await store.cleanup_old_records(edge) == len(gone)
        assert numbers(await store.query_api_calls()) == [m["number"] for m in meant if m["time"] >= edge]
    assert await database.count("entity_llm_api_call") == len(meant) - len(gone)


async def test_messages_sessions_and_agents_come_in_order_and_pages(database: MofaDatabase) -> None:
    openai = provider(**at(0))
    said = [message(id=UUID(int=100 + n), **at(n // 3)) for n in range(12)]
    async with opened(database.url) as store:
        await store.save_messages(said[::-1])
        pages = [await store.get_session_messages_paginated(SESSION, start, 5) for start in (0, 5, 10)]
        assert [each for page in pages for each in page] == said == await store.get_session_messages(SESSION)
        for n in (2, 1, 3):
            await store.create_session(session(id=UUID(int=200 + n), user_id=UUID(int=66), **at(n)))
        assert [each.id.int for each in await store.get_user_sessions(UUID(int=66))] == [203, 202, 201]
        await store.save_provider(openai)
        for n in (2, 1, 3):
            await store.save_agent(
                agent(f"code {n}", agent_order=n, agent_status=n != 1, provider_id=openai.id, **at(0))
            )
        assert [each.agent_order for each in await store.list_agents(NIL)] == [1, 2, 3]
        assert [each.agent_order for each in await store.get_active_agents(NIL)] == [2, 3]
        assert await store.get_enabled_providers(NIL) == [openai]


# --- analysis -------------------------------------------------------------------------------------------------------


async def test_analysis_loads_what_rust_wrote(database: MofaDatabase) -> None:
    meant = await _insert_calls(database)
    usage = load_usage(database.url)
    frame = usage.frame.sort("create_time", "id")
    assert dict(frame.schema) == dict(CALL_SCHEMA)
    oldest_first = meant[::-1]
    assert frame["id"].to_list() == [str(UUID(int=m["number"])) for m in oldest_first]
    assert frame["create_time"].to_list() == [m["time"] for m in oldest_first]
    assert frame["model_name"].to_list() == [m["model_name"] for m in oldest_first]
    assert frame["status"].to_list() == [m["status"] for m in oldest_first]
    assert frame["total_price"].to_list() == [m["price"] for m in oldest_first]
    assert frame["tenant_id"].unique().to_list() == [str(NIL)]
    cost = usage.cost(by=["model_name"])
    for name in MODELS:
        prices = [m["price"] for m in meant if m["model_name"] == name and m["price"] is not None]
        row = cost.filter(pl.col("model_name") == name)
        assert (row["cost"].to_list(), row["priced_calls"].to_list()) == ([sum(prices)], [len(prices)])
        assert load_usage(database.url, QueryFilter(model_name=name)).frame.height == 65


async def test_analysis_reads_details_names_and_prices(database: MofaDatabase) -> None:
    noon = database.time(NOON)
    await database.insert("entity_provider", rust_provider(8, noon))
    await database.insert("entity_agent", rust_agent(AGENT.int, noon, 8))
    await database.insert(
        "entity_llm_api_call",
        rust_call(
            1,
            noon,
            prompt_tokens_details={"cached_tokens": 64},
            completion_tokens_details={"reasoning_tokens": 20},
            total_price=0.1 + 0.2,
            price_details={"input_price": 0.1 + 0.2, "output_price": 3e-7, "currency": "EUR"},
            **{"latency_ms": 1_500, "tokens_per_second": 100 / 3},
        ),
        rust_call(2, noon, prompt_tokens_details={}, price_details={"input_price": 0.1}),
    )
    first, second = load_usage(database.url).frame.sort("id").iter_rows(named=True)
    assert (first["agent_code"], first["agent_name"], first["provider_name"]) == ("helper", "Helper", "openai")
    assert (first["cached_tokens"], first["reasoning_tokens"], first["currency"]) == (64, 20, "EUR")
    assert (first["total_price"], first["input_price"]) == (Decimal("0.3"), Decimal("0.3"))
    assert (first["output_price"], first["tokens_per_second"]) == (Decimal("0.0000003"), 100 / 3)
    assert (first["create_time"], first["update_time"]) == (NOON, NOON)
    assert (second["cached_tokens"], second["total_price"], second["currency"]) == (None, None, None)
    assert (second["input_price"], second["output_price"]) == (Decimal("0.1"), None)
