"""Connecting to servers: what goes wrong is said in one sentence, in time; what is odd about a server does no harm."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from mofa_usage import load_usage_async
from mofa_usage.errors import PersistenceError, SerializationError, StoreConnectionError
from mofa_usage.records import MessageContent, QueryFilter
from mofa_usage.stores import Retry, Store, connect
from tests.faults.sessions import STARTERS, end_sessions, session_count
from tests.leaks import checked_out, opened
from tests.processes import HOST, free_port
from tests.samples import call, message, provider
from tests.servers import PASSWORD, USER, MariaDBServer, Server, mariadb_server

TEXTS = [
    "O'Reilly",
    'a "quoted" word',
    "back\\slash \\' \\\\",
    "%s %(x)s ? $1 :name",
    "日本語 🦆 \u200b",
    "tab\tline\nend\\",
]


@pytest.fixture(scope="module", params=STARTERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with STARTERS[request.param]() as started:
        yield started


@contextmanager
def listening(greeting: bytes = b"") -> Iterator[int]:
    """The port of something that takes connections, says its greeting and then nothing more."""
    taken: list[socket.socket] = []
    with socket.create_server((HOST, 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return
                taken[-1].sendall(greeting)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in taken:
                each.close()


async def refused(url: str, seconds: float = 5, **options: Any) -> str:
    """The sentence with which a URL is refused, in time."""

    async def open_store() -> None:
        await connect(url, **options)

    return await refusal(open_store(), seconds)


async def unread(url: str, seconds: float = 5) -> str:
    """The sentence with which an analysis refuses a URL, in time."""
    return await refusal(load_usage_async(url), seconds)


async def refusal(attempt: Coroutine[Any, Any, Any], seconds: float) -> str:
    begun = time.monotonic()
    with pytest.raises(StoreConnectionError) as caught:
        await attempt
    assert time.monotonic() - begun < seconds
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400
    assert caught.value.__cause__ is not None
    assert PASSWORD not in said
    assert quote(PASSWORD, safe="") not in said
    return said


async def value(store: Any, question: str) -> Any:
    async with store.engine.connect() as connection:
        return await connection.scalar(sa.text(question))


# --- what goes wrong ------------------------------------------------------------------------------------------------


async def test_no_server(server: Server) -> None:
    url = server.url.replace(f":{server.port}/", f":{free_port()}/")
    assert HOST in await refused(url)
    assert HOST in await unread(url)


async def test_a_host_that_does_not_exist(server: Server) -> None:
    url = server.url.replace(f"@{HOST}:", "@no-such-host.invalid:")
    assert "no-such-host.invalid" in await refused(url, 15)
    assert "no-such-host.invalid" in await unread(url, 15)


async def test_a_wrong_password(server: Server) -> None:
    url = server.url.replace(quote(PASSWORD, safe=""), "not-the-password")
    for said in (await refused(url), await unread(url)):
        assert USER in said
        assert "not-the-password" not in said


async def test_an_unknown_user(server: Server) -> None:
    url = server.url.replace(f"//{USER}:", "//nobody_we_know:")
    assert "nobody_we_know" in await refused(url)
    assert "nobody_we_know" in await unread(url)


async def test_an_unknown_database(server: Server) -> None:
    url = server.url.rpartition("/")[0] + "/test_nowhere"
    assert "test_nowhere" in await refused(url)
    assert "test_nowhere" in await unread(url)


async def test_a_server_that_says_nothing(server: Server) -> None:
    with listening() as port:
        said = await refused(server.url.replace(f":{server.port}/", f":{port}/"), 4, connect_timeout=1)
    assert "no answer in time" in said


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\x00\x00\x00\x0a5.7\x00"])
async def test_something_that_is_no_such_server(server: Server, greeting: bytes) -> None:
    with listening(greeting) as port:
        url = server.url.replace(f":{server.port}/", f":{port}/")
        await refused(url, 4, connect_timeout=1)
        await unread(url, 15)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://u@localhost/db?sslmode=perhaps", "sslmode"),
        ("mysql://u@localhost/db?colour=red", "colour"),
        ("postgresql://u@localhost/db?sslmode=perhaps", "sslmode"),
        ("mysql://u:secret@localhost:port/db", "mysql"),
        ("postgresql://u:se@cret@localhost/db", "percent-encoded"),
    ],
)
async def test_urls_that_make_no_sense(url: str, named: str) -> None:
    for attempt in (lambda: connect(url), lambda: load_usage_async(url)):
        with pytest.raises(StoreConnectionError, match=named) as caught:
            await attempt()
        assert "cret" not in str(caught.value)


# --- what works -----------------------------------------------------------------------------------------------------


async def works(url: str, **options: Any) -> None:
    async with opened(url, **options) as store:
        made = call(error_message=TEXTS[0])
        await store.save_api_call(made)
        assert await store.get_api_call(made.id) == made
        assert str(made.id) in (await load_usage_async(url)).frame["id"]


async def test_a_unix_socket(server: Server) -> None:
    account, database = f"{USER}:{quote(PASSWORD, safe='')}", server.url.rpartition("/")[2]
    if server.backend == "postgres":
        await works(f"postgresql://{account}@/{database}?host={server.socket}&port={server.port}")
    else:
        await works(f"mysql://{account}@localhost/{database}?unix_socket={server.socket}")


@pytest.mark.parametrize("driver", ["", "+asyncpg", "+psycopg2", "+aiomysql", "+whatever"])
async def test_a_driver_in_the_url_is_ignored(server: Server, driver: str) -> None:
    await works(server.url.replace("://", f"{driver}://"))


async def test_other_names_of_the_backends(server: Server) -> None:
    other = {"postgresql": "postgres", "mysql": "mariadb"}[server.scheme]
    await works(server.url.replace(f"{server.scheme}://", f"{other}://"))


async def test_sessions_run_in_utc(server: Server) -> None:
    question = {"postgres": "select current_setting('timezone')", "mysql": "select @@session.time_zone"}
    async with opened(server.url) as store:
        assert await value(store, question[server.backend]) in ("UTC", "+00:00")


async def test_max_connections_is_a_hard_bound(server: Server) -> None:
    async with opened(server.url, max_connections=2) as store:
        most = 0
        tasks = [asyncio.create_task(store.save_messages([message(n)] * 50)) for n in range(60)]
        while not all(task.done() for task in tasks):
            most = max(most, await asyncio.to_thread(session_count, server))
        await asyncio.gather(*tasks)
        assert most == 2


async def test_a_server_that_lets_in_fewer_than_the_pool_has_is_waited_for(server: Server) -> None:
    limits = {
        "postgres": "alter role {} connection limit {}",
        "mysql": "alter user '{}'@'%' with max_user_connections {}",
    }
    try:
        server.admin(limits[server.backend].format(USER, 2))
        async with opened(server.url, max_connections=4) as store, asyncio.timeout(60):
            calls = [call(n, error_code="few") for n in range(40)]
            await asyncio.gather(*(store.save_api_call(each) for each in calls))
            stored = await store.query_api_calls(QueryFilter())
            assert {each.id for each in calls} <= {each.id for each in stored}
    finally:
        server.admin(limits[server.backend].format(USER, {"postgres": -1, "mysql": 0}[server.backend]))


# --- MariaDB as its administrators set it up ------------------------------------------------------------------------


@asynccontextmanager
async def on_odd_mariadb(mode: str) -> AsyncIterator[tuple[MariaDBServer, Store]]:
    """A store on a server with an SQL mode, whose databases are Latin-1 unless told otherwise."""
    with mariadb_server(settings={"character-set-server": "latin1"}) as server:
        server.admin(f"set global sql_mode = '{mode}'")
        async with opened(server.url) as store:
            yield server, store


@pytest.mark.parametrize(
    "mode", ["", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE"]
)
async def test_sql_modes_change_nothing(mode: str) -> None:
    async with on_odd_mariadb(mode) as (server, store):
        for text in TEXTS:
            said = message(content=MessageContent(text=text))
            made = call(error_message=text, model_name=text)
            await store.save_message(said)
            await store.save_api_calls([made, call()])
            assert await store.get_message(said.id) == said
            assert await store.query_api_calls(QueryFilter(model_name=text)) == [made]
        server.admin("alter table entity_llm_api_call modify error_code varchar(5)", server.url.rpartition("/")[2])
        long = call(error_code="too long for it")
        with pytest.raises(SerializationError, match="error_code"):
            await store.save_api_call(long)
        with pytest.raises(SerializationError, match="error_code"):
            await store.save_api_calls([call(), long])
        assert (await store.get_statistics()).total_calls == 2 * len(TEXTS)


# --- trying again ---------------------------------------------------------------------------------------------------


async def test_trying_again_can_be_turned_off(server: Server) -> None:
    async with opened(server.url, max_connections=1, retry=Retry(attempts=1)) as store:
        await store.ping()
        end_sessions(server)
        with pytest.raises(StoreConnectionError) as caught:
            await store.save_api_call(call())
        assert caught.value.transient
        await store.save_api_call(call())


async def test_what_is_tried_again_is_logged_without_secrets(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    kept = provider("retried")
    async with opened(server.url, max_connections=1) as store:
        await store.ping()
        end_sessions(server)
        await store.save_provider(kept)
        assert await store.get_provider(kept.id) == kept
    (record, *_) = [record for record in caplog.records if record.name == "stamina"]
    shown = f"{record.getMessage()} {vars(record)}"
    assert "StoreConnectionError" in shown
    assert PASSWORD not in shown
    assert kept.api_key.get_secret_value() not in shown


async def test_trying_again_is_bounded() -> None:
    for starter in STARTERS.values():
        with starter() as server:
            patience = Retry(attempts=4, wait_initial=0.01, wait_max=0.1)
            async with opened(server.url, retry=patience) as store:
                await store.ping()
                server.kill()
                begun = time.monotonic()
                with pytest.raises(PersistenceError) as caught:
                    await store.save_api_call(call())
                assert isinstance(caught.value, StoreConnectionError)
                assert caught.value.transient
                assert time.monotonic() - begun < 5
                assert checked_out(store) == 0
                server.restart()
                await store.save_api_call(call())


def test_the_directory_of_a_socket_is_not_there() -> None:
    said = asyncio.run(refused(f"postgresql://u@/db?host={Path('/nowhere/at/all')}"))
    assert "No such file" in said or "cannot connect" in said
