"""What a server's administrator sees of the sessions of the ordinary user, and does to them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from tests.servers import USER, Server, ServerError, mariadb_server, postgres_server

__all__ = ["DEADLOCKS", "STARTERS", "busy_sessions", "deadlocks", "end_sessions", "session_count"]

STARTERS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "postgres": postgres_server,
    "mariadb": mariadb_server,
}
_SESSIONS = {
    "postgres": f"select pid from pg_stat_activity where usename = '{USER}'",
    "mysql": f"select id from information_schema.processlist where user = '{USER}'",
}
_BUSY = {
    "postgres": f"select pid from pg_stat_activity where usename = '{USER}' and state <> 'idle'",
    "mysql": "select trx_mysql_thread_id from information_schema.innodb_trx",
}
_END = {"postgres": "select pg_terminate_backend({})", "mysql": "kill connection {}"}
DEADLOCKS = {
    "postgres": "select sum(deadlocks) from pg_stat_database",
    "mysql": "select variable_value from information_schema.global_status where variable_name = 'innodb_deadlocks'",
}


def session_count(server: Server) -> int:
    """How many connections there are."""
    return len(server.admin(_SESSIONS[server.backend]))


async def busy_sessions(server: Server) -> int:
    """How many sessions are in a statement or a transaction; this waits a while for there to be none."""
    for _ in range(50):
        busy = len(await asyncio.to_thread(server.admin, _BUSY[server.backend]))
        if not busy:
            break
        await asyncio.sleep(0.1)
    return busy


def end_sessions(server: Server) -> int:
    """End every connection as an administrator does; how many there were."""
    ended = 0
    for (session,) in server.admin(_SESSIONS[server.backend]):
        with suppress(ServerError):  # it may have gone by itself
            server.admin(_END[server.backend].format(session))
            ended += 1
    return ended


async def deadlocks(server: Server, at_least: int = 0) -> int:
    """How many deadlocks the server has met; PostgreSQL counts them with some delay."""
    for _ in range(50):
        count = int((await asyncio.to_thread(server.admin, DEADLOCKS[server.backend]))[0][0])
        if count >= at_least:
            break
        await asyncio.sleep(0.1)
    return count
