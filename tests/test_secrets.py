"""Passwords and API keys are looked for in all that is shown: every repr, log record, error and its chain of causes."""

import io
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
import sqlalchemy as sa

from mofa_usage.cli import run as run_command
from mofa_usage.errors import ConstraintError, MofaUsageError, PersistenceError, SerializationError
from mofa_usage.records import QueryFilter
from mofa_usage.stores import Store, connect
from tests.faults.sessions import STARTERS, end_sessions
from tests.leaks import opened
from tests.samples import NIL, SECRET, SESSION, agent, call, message, provider, session
from tests.servers import PASSWORD, Server

WRONG = "wr0ng-s3cret"
SECRETS = (SECRET, PASSWORD, quote(PASSWORD, safe=""), WRONG)
LOGGERS = ("sqlalchemy", "asyncpg", "aiomysql", "aiosqlite", "alembic", "stamina", "asyncio", "mofa_usage")

INJECTIONS = [
    "'; DROP TABLE entity_llm_api_call; --",
    "' OR '1'='1",
    "\\'; DELETE FROM entity_provider; -- \\",
    '"; DROP TABLE entity_agent; --',
    "x') ON CONFLICT DO NOTHING; DROP TABLE entity_chat_session; --",
    "%s %(api_key)s {0} :api_key ? $1 ${jndi}",
    "/*!50000 DROP TABLE entity_provider */ #",
]


def shown_by(error: BaseException) -> Iterator[str]:
    """All texts of an error and of those that led to it."""
    yield "".join(traceback.format_exception(error))
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        yield from (str(each), repr(each), repr(each.args), repr(vars(each)))
        waiting += [each.__cause__, each.__context__]


def expect_no_secrets(texts: list[str]) -> None:
    assert texts
    for text in texts:
        for secret in SECRETS:
            assert secret not in text


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Texts to look through at the end of the test; everything that was logged, DEBUG included, is added to them."""
    texts: list[str] = []
    caplog.set_level(logging.DEBUG)
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)
    yield texts
    records = caplog.get_records("call")  # at this moment `caplog.records` are those of the teardown
    texts += [f"{record.getMessage()} {record.args!r} {vars(record)!r}" for record in records]
    expect_no_secrets(texts)


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param]() as started:
        yield started


async def caught(work: Awaitable[Any], kind: type[Exception] = PersistenceError) -> Exception:
    with pytest.raises(kind) as error:
        await work
    return error.value


async def sql(store: Any, statement: str, **values: Any) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(sa.text(statement), values)


# --- secrets --------------------------------------------------------------------------------------------------------


async def test_everyday_work_shows_none(url: str, shown: list[str]) -> None:
    async with opened(url) as store:
        one, other = provider(), provider("another")
        await store.save_provider(one)
        await store.save_provider(other)
        await store.save_agent(agent(provider_id=one.id))
        async with store.transaction() as transaction:
            await transaction.save_provider(one)
        config = await store.get_agent_by_code_with_provider("helper")
        found = [await store.get_provider(one.id), *await store.list_providers(NIL)]
        assert [each.api_key.get_secret_value() for each in found if each] == [SECRET] * 3
        objects = [store, config, found, *(getattr(store, name, None) for name in ("url", "engine", "pool"))]
        shown += [text for each in objects for text in (repr(each), str(each))]


async def test_constraints_that_a_provider_violates(url: str, shown: list[str]) -> None:
    async with opened(url) as store:
        await store.save_provider(provider())
        error = await caught(store.save_provider(provider()), ConstraintError)
        shown += shown_by(error)


async def alter(server: Server, *statements: dict[str, str]) -> None:
    for statement in statements:
        server.admin(statement[server.backend], server.url.rpartition("/")[2])


async def test_a_row_that_the_tables_refuse(server: Server, shown: list[str]) -> None:
    """PostgreSQL's detail of such an error is the whole row."""
    table = "alter table entity_provider"
    column = {"postgres": "{} alter column api_key type varchar(5)", "mysql": "{} modify api_key varchar(5)"}
    back = {"postgres": "{} alter column api_key type text", "mysql": "{} modify api_key text"}
    async with opened(server.url) as store:
        await alter(server, {name: each.format(table) for name, each in column.items()})
        shown += shown_by(await caught(store.save_provider(provider()), SerializationError))
        await alter(server, {name: each.format(table) for name, each in back.items()})
        checked = f"{table} add constraint no_keys check (api_key not like 'sk-very%')"
        await alter(server, dict.fromkeys(column, checked))
        shown += shown_by(await caught(store.save_provider(provider()), ConstraintError))
        await alter(server, dict.fromkeys(column, f"{table} drop constraint no_keys"))
        more = f"{table} add column owner varchar(9) not null"
        await alter(server, dict.fromkeys(column, more))
        shown += shown_by(await caught(store.save_provider(provider())))
        await alter(server, dict.fromkeys(column, f"{table} drop column owner"))
        await store.save_provider(provider())
        end_sessions(server)
        await store.save_provider(provider("tried again"))


@pytest.mark.parametrize("broken", ["create_time = 'yesterday'", "tenant_id = api_key"])
async def test_a_row_that_is_no_provider(shown: list[str], broken: str) -> None:
    """Only SQLite keeps such rows."""
    async with opened("sqlite::memory:") as store:
        kept = provider()
        await store.save_provider(kept)
        await sql(store, f"update entity_provider set {broken}")
        shown += shown_by(await caught(store.get_provider(kept.id), SerializationError))


WRONGLY: dict[str, Callable[[str], str]] = {
    "password": lambda url: url.replace(quote(PASSWORD, safe=""), WRONG),
    "port": lambda url: url.replace("@127.0.0.1:", "@127.0.0.1:1"),
    "host": lambda url: url.replace("@127.0.0.1:", "@no-such-host.invalid:"),
    "database": lambda url: url + "_nowhere",
    "mode": lambda url: url + "?sslmode=perhaps",
    "option": lambda url: url + f"?password={WRONG}&sslmode=perhaps",
    "unencoded": lambda url: url.replace(quote(PASSWORD, safe=""), f"half@{WRONG}"),
    "scheme": lambda url: url.replace("://", "s://"),
}


QUICKLY = sorted(WRONGLY.keys() - {"password", "database"})
"""The reader for analyses takes half a minute for the others."""


@pytest.mark.parametrize("way", WRONGLY)
async def test_connecting_wrongly(server: Server, way: str, shown: list[str]) -> None:
    url = WRONGLY[way](server.url)
    shown += shown_by(await caught(connect(url, connect_timeout=3)))


@pytest.mark.parametrize("way", [*QUICKLY, pytest.param("password", marks=pytest.mark.slow)])
def test_analysing_wrongly(server: Server, way: str, shown: list[str]) -> None:
    from mofa_usage import load_usage

    url = WRONGLY[way](server.url)
    with pytest.raises(MofaUsageError) as error:
        load_usage(url)
    shown += shown_by(error.value)


@pytest.mark.parametrize("way", WRONGLY)
def test_commands_that_connect_wrongly(
    server: Server, way: str, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = WRONGLY[way](server.url)
    monkeypatch.setenv("DATABASE_URL", url)
    commands = [["migrate"], ["migrate", "--url", url]]
    if way in QUICKLY:
        commands += [["summary"], ["summary", "--url", url], ["report", str(tmp_path / "report.html")]]
    for command in commands:
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = run_command(command)
        assert code != 0
        shown.append(said.getvalue())


async def test_a_password_in_the_query_is_hidden_too(server: Server, shown: list[str]) -> None:
    url = server.url.replace(":" + quote(PASSWORD, safe=""), "") + "?password=" + quote(PASSWORD, safe="")
    async with opened(url) as store:
        await store.ping()
        shown += [repr(store), str(store), repr(vars(store)["url"])]


# --- injections -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def guarded(store: Store) -> AsyncIterator[Store]:
    """A store with one row in each table, which must be there afterwards."""
    await store.create_session(session(id=SESSION))
    await store.save_message(message(0, id=UUID(int=7)))
    await store.save_api_call(call(0, id=UUID(int=7)))
    await store.save_provider(provider(id=UUID(int=7)))
    await store.save_agent(agent(id=UUID(int=7)))
    yield store
    assert await store.get_session(SESSION) is not None
    assert await store.get_message(UUID(int=7)) == message(0, id=UUID(int=7))
    assert await store.get_api_call(UUID(int=7)) == call(0, id=UUID(int=7))
    assert await store.get_provider(UUID(int=7)) is not None
    assert await store.get_agent(UUID(int=7)) is not None


@pytest.mark.parametrize("text", INJECTIONS)
async def test_every_text_is_a_value_and_nothing_else(guarded: Store, text: str) -> None:
    store = guarded
    paid = call(
        1,
        model_name=text,
        error_message=text,
        error_code=text,
        api_response_id=text,
        price_details={"currency": "EUR", text: text},
        prompt_tokens_details={text: text},
        labels={text: text, "provider": text},
    )
    said = message(1, content={"text": text, "tool_calls": [{"id": text, "name": text, "arguments": {text: text}}]})
    chat = session(1, title=text, metadata={text: text})
    keeper = provider(text, provider_type=text, api_base=text, api_key=text)
    helper = agent(text, agent_name=text, model_name=text, system_prompt=text, custom_params={text: text},
                   provider_id=keeper.id)  # fmt: skip
    for _ in range(2):  # inserted, then updated
        await store.save_api_call(paid)
        await store.save_message(said)
        await store.save_provider(keeper)
        await store.save_agent(helper)
    await store.save_api_calls([paid, *(call(n, error_code=text, labels={text: text}) for n in range(120))])
    await store.save_messages([said])
    await store.create_session(chat)
    await store.update_session(chat)
    assert await store.get_api_call(paid.id) == paid
    assert await store.get_message(said.id) == said
    assert await store.get_session(chat.id) == chat
    assert await store.get_provider_by_name(NIL, text) == keeper
    assert await store.get_agent_by_code(text) == helper
    assert await store.get_agent_by_code_and_tenant(NIL, text) == helper
    config = await store.get_agent_by_code_with_provider(text)
    assert config is not None
    assert (config.agent, config.provider) == (helper, keeper)


@pytest.mark.parametrize("text", INJECTIONS)
async def test_every_filter_is_a_value_and_nothing_else(guarded: Store, text: str) -> None:
    """One that another query's rows slip through would be an injection as well."""
    query = QueryFilter(model_name=text)
    assert await guarded.query_api_calls(query) == []
    assert [each async for each in guarded.stream_api_calls(query)] == []
    assert (await guarded.get_statistics(query)).total_calls == 0
    assert await guarded.get_provider_by_name(NIL, text) is None
    assert await guarded.get_agent_by_code(text) is None
    assert await guarded.get_agent_by_code_and_tenant(NIL, text) is None
    assert await guarded.get_agent_by_code_and_tenant_with_provider(NIL, text) is None


@pytest.mark.shared_only
@pytest.mark.parametrize("text", INJECTIONS)
async def test_filters_of_an_analysis_are_values(url: str, text: str) -> None:
    from mofa_usage import load_usage_async

    async with opened(url) as store:
        wanted = call(1, model_name=text)
        await store.save_api_calls([wanted, call(0)])
        usage = await load_usage_async(store, QueryFilter(model_name=text))
        assert usage.frame["id"].to_list() == [str(wanted.id)]
        assert (await store.get_statistics()).total_calls == 2
