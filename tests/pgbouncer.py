"""PgBouncer in front of a test server, in transaction mode: each transaction may run on another server connection."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests import programs
from tests.processes import HOST, free_port, unprivileged, watch
from tests.servers import PostgresServer

__all__ = ["pooled"]

_SECONDS = 10.0


def _program() -> Path:
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if found is None:
        problem = programs.apt_install("pgbouncer")
        found = shutil.which("pgbouncer", path="/usr/sbin")
        if found is None:
            programs.missing("PgBouncer", problem, debian="pgbouncer", brew="pgbouncer")
    return Path(found)


@contextmanager
def pooled(server: PostgresServer, connections: int = 3) -> Iterator[str]:
    """The URL of the server's first database behind a PgBouncer that keeps so many connections to it."""
    directory = Path(tempfile.mkdtemp(prefix="mofa-"))
    url, port = make_url(server.url), free_port()
    password = str(url.password)
    settings = f"""
[databases]
{url.database} = host={server.host} port={server.port}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
logfile = {directory}/log
"""
    quoted = password.replace('"', '""')
    (directory / "users").write_text(f'"{url.username}" "{quoted}"\n', encoding="utf-8")
    (directory / "pgbouncer.ini").write_text(settings, encoding="utf-8")
    process = subprocess.Popen(
        [_program(), "--quiet", directory / "pgbouncer.ini"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **unprivileged(directory),
    )
    watcher = watch(process.pid, directory)
    try:
        _wait_for(port, process, directory / "log")
        yield url.set(port=port).render_as_string(hide_password=False)
    finally:
        process.kill()
        process.wait()
        watcher.kill()
        watcher.wait()
        if watcher.stdin is not None:
            watcher.stdin.close()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-500:] if log.exists() else "nothing"
            pytest.fail(f"PgBouncer did not start; it said: {said}", pytrace=False)
        time.sleep(0.02)
