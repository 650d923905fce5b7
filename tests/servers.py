"""Private, throw-away database servers for a test run.

    with postgres_server() as server:
        url = server.create_database()          # postgresql://mofa:...@127.0.0.1:23456/test_1
        server.admin("select count(*) from pg_stat_activity")
        server.kill()                           # SIGKILL, as a crash would be
        server.restart()                        # same data, same port

A server has a temporary directory for its data, socket and log, and a loopback port of its own. It runs as an
unprivileged user (PostgreSQL refuses root), is started and ended by its process id, and leaves nothing behind, even
when the test run itself is killed: a watching process then ends it.

It is set up to be unkind where real servers are: the time zone is not UTC, the default character set of MariaDB is
not utf8, the password is full of characters that mean something in a URL and must be given everywhere, and the user
in the URL may do nothing but use databases named `test_...`.
"""

import atexit
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit

from tests import programs
from tests.certificates import write_certificates
from tests.processes import HOST, free_port, is_open_to_all, kill_all, unprivileged, watch

__all__ = [
    "MariaDBServer",
    "PostgresServer",
    "PostgresStandby",
    "Server",
    "ServerError",
    "copy_data",
    "mariadb_server",
    "postgres_server",
]

USER = "mofa"
_INITIALISED: dict[Hashable, Path] = {}
"""Copies of fresh data directories, by the programs that made them."""
# Every ASCII character that a URL, a shell or a configuration file could trip over. (Beyond ASCII the drivers differ:
# aiomysql and asyncmy encode a password as Latin-1.)
PASSWORD = "p@ss:w/rd%?#&=+ '\"\\"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class ServerError(RuntimeError):
    """A test server did not start, or refused what the test asked of it as its administrator."""


class Server(ABC):
    """One running server. Tests get it from `postgres_server()` or `mariadb_server()`.

    Attributes:
        url: the URL of a database that exists from the start, with user and encoded password.
        host, port: where it listens for TCP connections; they stay the same over a restart.
        socket: the path that clients take for a unix socket (PostgreSQL: its directory, MariaDB: the socket itself).
        certificates: what TLS clients verify it with (`certificates.authority`); None when it speaks no TLS.
        directory: everything it writes is in here.
        log_file: what it says.
    """

    backend: ClassVar[str]
    scheme: ClassVar[str]

    def __init__(self, *, durable: bool, tls: bool, settings: Mapping[str, str]) -> None:
        """Make the data directory and start; see `postgres_server` for the arguments."""
        self.directory = Path(tempfile.mkdtemp(prefix="mofa-"))
        self.data = self.directory / "data"
        self.log_file = self.directory / "server.log"
        self.socket = self.directory
        self.host, self.port = HOST, free_port()
        self.durable, self.settings = durable, dict(settings)
        self.certificates = write_certificates(self.directory) if tls else None
        self._as_user = unprivileged(self.directory)
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        try:
            self._fill(self._find_programs())
            self.start()
            self._create_user()
            self.url = self.create_database()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The process id of the server (of PostgreSQL's postmaster)."""
        if self._process is None:
            raise ServerError(f"the {self.backend} server is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote to its log so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def url_for(self, database: str) -> str:
        """The URL of `database` over TCP, for the ordinary user."""
        return f"{self.scheme}://{USER}:{quote(PASSWORD, safe='')}@{self.host}:{self.port}/{database}"

    def create_database(self) -> str:
        """Make an empty database that nobody else uses and return its URL."""
        name = f"test_{next(self._numbers)}"
        self._create_database(name)
        return self.url_for(name)

    def drop_database(self, url: str) -> None:
        """Drop the database that `create_database` returned, closing the connections that are left to it."""
        self._drop_database(urlsplit(url).path.lstrip("/"))

    def start(self) -> None:
        """Start the process and wait until it answers; recovery from a crash is part of the wait."""
        if self._process is not None:
            raise ServerError(f"the {self.backend} server is already running")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test run, which then stops the server
                **self._as_user,
            )
        self._watcher = watch(self._process.pid, self.directory)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"the {self.backend} server did not start; the end of its log: {self.log[-1500:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Send SIGKILL to the server and all its processes, as the kernel does when memory runs out."""
        process, self._process = self._process, None
        if process is None:
            return
        kill_all(process)  # PostgreSQL has a process for each connection
        self._stop_watching()

    def restart(self) -> None:
        """Shut down in good order if it runs, then start again with the same data on the same port."""
        self._shut_down()
        self.start()

    @contextmanager
    def stopped(self) -> Iterator[Path]:
        """Shut down in good order for the length of the `with` block; what it works on is its data directory."""
        self._shut_down()
        yield self.data
        self.start()

    def stop(self) -> None:
        """Shut down and delete everything. The server cannot be started again."""
        try:
            self._shut_down()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def admin(self, sql: str, database: str | None = None) -> list[tuple[str, ...]]:
        """Run SQL statements as the server's administrator, each in its own transaction.

        Returns the rows of all of them as text, `NULL` for null. For counts and names: a text with tabs or line
        breaks comes as the server's client prints it.

        Raises:
            ServerError: the server refused a statement; those before it have been done.
        """
        result = self._client(sql, database)
        if result.returncode != 0:
            raise ServerError(f"{self.backend} refused {sql!r}: {result.stderr.strip()}")
        return [tuple(line.split("\t")) for line in result.stdout.splitlines()]

    def _answers(self) -> bool:
        return self._client("select 1", None).returncode == 0

    def _shut_down(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._process = None
            self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.kill()
            self._watcher.wait()
            self._watcher.stdin.close()
        self._watcher = None

    def _run(self, *command: str | Path) -> None:
        """Run a set-up program as the server's user."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **self._as_user,
        )
        if done.returncode != 0:
            raise ServerError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-1500:]}")

    def _tls_settings(self, certificate: str, key: str) -> dict[str, str]:
        if self.certificates is None:
            return {}
        return {certificate: str(self.certificates.server), key: str(self.certificates.key)}

    def _environment(self) -> dict[str, str]:
        # C.UTF-8 is missing on macOS; nothing of the user's own PG... or MYSQL... settings may leak in.
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TMPDIR": str(self.directory)}

    def _fill(self, made_by: Hashable) -> None:
        """Fill the data directory: the first time by initialising it, then from a copy, which is five times as fast."""
        if made_by in _INITIALISED:
            copy_data(_INITIALISED[made_by], self.data)
        else:
            self._initialise()
            fresh = _kept_directory() / "data"
            copy_data(self.data, fresh)
            _INITIALISED[made_by] = fresh

    _stop_signal: ClassVar[signal.Signals]

    @abstractmethod
    def _find_programs(self) -> Hashable:
        """Find what is run. Data that was initialised by what compares equal can be used."""

    @abstractmethod
    def _initialise(self) -> None:
        """Make the data directory."""

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """The command line that runs the server in the foreground."""

    @abstractmethod
    def _client(self, sql: str, database: str | None) -> subprocess.CompletedProcess[str]:
        """Run SQL through the server's own client, as administrator, over the socket."""

    @abstractmethod
    def _create_user(self) -> None:
        """Make the ordinary user of the URLs."""

    @abstractmethod
    def _create_database(self, name: str) -> None:
        """Make a database that the ordinary user may use."""

    @abstractmethod
    def _drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""


class PostgresServer(Server):
    """PostgreSQL: passwords (SCRAM) over TCP and over the socket, for the administrator too."""

    backend = "postgres"
    scheme = "postgresql"
    _stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, connections closed

    def _find_programs(self) -> Hashable:
        found = programs.postgres_bin()
        self._bin = _reachable(found) if self._as_user and not is_open_to_all(found) else found
        return found

    def _initialise(self) -> None:
        password_file = self.directory / "password"
        password_file.write_text(PASSWORD + "\n", encoding="utf-8")
        password_file.chmod(0o644)
        self._run(
            *(self._bin / "initdb", "--pgdata", self.data, "--username", "postgres", "--pwfile", password_file),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def _command(self) -> list[str | Path]:
        sync = "on" if self.durable else "off"
        settings = {
            "listen_addresses": self.host,
            "unix_socket_directories": str(self.socket),
            "timezone": "Asia/Kolkata",
            "max_connections": "200",
            "fsync": sync,  # off still survives SIGKILL of the server: the kernel has the pages
            "full_page_writes": sync,
            **self._tls_settings("ssl_cert_file", "ssl_key_file"),
            **self.settings,
        }
        if self.certificates:
            settings.setdefault("ssl", "on")
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._bin / "postgres", "-D", self.data, "-p", str(self.port), *options]

    def _client(self, sql: str, database: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._bin / "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--field-separator=\t",
             "--pset=null=NULL", "--set=ON_ERROR_STOP=1", f"--host={self.socket}", f"--port={self.port}",
             "--username=postgres", f"--dbname={database or 'postgres'}"],
            input=sql,
            env={**self._environment(), "PGPASSWORD": PASSWORD, "PGCLIENTENCODING": "UTF8"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )  # fmt: skip

    def _create_user(self) -> None:
        self.admin(f"create role {USER} login password {_postgres_literal(PASSWORD)}")

    def _create_database(self, name: str) -> None:
        self.admin(f"create database {name} owner {USER}")

    def _drop_database(self, name: str) -> None:
        self.admin(f"drop database if exists {name} with (force)")


class PostgresStandby(PostgresServer):
    """A server that follows another one, on a copy of its data, and answers questions meanwhile.

    Its users and databases are those of the other one; `url_for` says how to reach them.
    """

    def __init__(self, primary: PostgresServer) -> None:
        self._primary = primary
        words = {"host": primary.host, "port": primary.port, "user": "postgres", "password": PASSWORD}
        escaped = {word: str(value).replace("\\", "\\\\").replace("'", "\\'") for word, value in words.items()}
        settings = {"primary_conninfo": " ".join(f"{word}='{value}'" for word, value in escaped.items())}
        super().__init__(durable=False, tls=False, settings=settings)

    def _fill(self, made_by: Hashable) -> None:
        with self._primary.stopped() as data:
            copy_data(data, self.data)
        shutil.copy2(self.data / "PG_VERSION", self.data / "standby.signal")  # for its owner; what it says is not read

    def _create_user(self) -> None: ...

    def _create_database(self, name: str) -> None: ...


class MariaDBServer(Server):
    """MariaDB: the administrator comes through the socket without a password, the ordinary user with one."""

    backend = "mysql"
    scheme = "mysql"
    _stop_signal = signal.SIGTERM

    def _find_programs(self) -> Hashable:
        self._programs = programs.mariadb()
        self.socket = self.directory / "socket"
        return self._programs

    def _initialise(self) -> None:
        self._run(
            *(self._programs.install_db, "--no-defaults", f"--datadir={self.data}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )

    def _command(self) -> list[str | Path]:
        settings = {
            "datadir": str(self.data),
            "socket": str(self.socket),
            "port": str(self.port),
            "bind-address": self.host,
            "pid-file": str(self.directory / "pid"),
            "tmpdir": str(self.directory),
            "skip-name-resolve": "1",
            "local-infile": "1",
            "default-time-zone": "+05:30",  # its tables of named zones are empty
            "max-connections": "200",
            # 2 hands each commit to the kernel, which survives SIGKILL of the server; 1 waits for the disk.
            "innodb-flush-log-at-trx-commit": "1" if self.durable else "2",
            "innodb-doublewrite": "1" if self.durable else "0",
            **self._tls_settings("ssl-cert", "ssl-key"),
            **self.settings,
        }
        return [self._programs.server, "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]

    def _client(self, sql: str, database: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._programs.client, "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch",
             "--skip-column-names", "--default-character-set=utf8mb4", f"--database={database or 'mysql'}"],
            input=sql,
            env=self._environment(),
            capture_output=True,
            encoding="utf-8",
            check=False,
        )  # fmt: skip

    def _create_user(self) -> None:
        for host in ("%", "localhost"):  # an anonymous user at localhost would otherwise be the closer match
            account = f"'{USER}'@'{host}'"
            self.admin(f"create user {account} identified by {_mysql_literal(PASSWORD)}")
            self.admin(f"grant all on `test\\_%`.* to {account}")

    def _create_database(self, name: str) -> None:
        self.admin(f"create database `{name}`")

    def _drop_database(self, name: str) -> None:
        # DROP would wait for transactions that a test left open.
        sessions = self.admin(f"select id from information_schema.processlist where db = '{name}'")
        for (session,) in sessions:
            with suppress(ServerError):  # it may have gone by itself
                self.admin(f"kill connection {session}")
        self.admin(f"drop database if exists `{name}`")


@contextmanager
def postgres_server(
    *, durable: bool = False, tls: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A PostgreSQL server for the length of the `with` block.

    Args:
        durable: write through to the disk at each commit, as in production; slower.
        tls: offer TLS (it is not required), with a certificate for 127.0.0.1 and localhost by an authority of its own.
        settings: server variables, such as `{"max_connections": "20"}`; they override this module's.
    """
    server = PostgresServer(durable=durable, tls=tls, settings=settings or {})
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def mariadb_server(
    *, durable: bool = False, tls: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[MariaDBServer]:
    """A MariaDB server for the length of the `with` block; arguments as for `postgres_server`."""
    server = MariaDBServer(durable=durable, tls=tls, settings=settings or {})
    try:
        yield server
    finally:
        server.stop()


def _postgres_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"  # standard_conforming_strings: a backslash is a backslash


def _mysql_literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@cache
def _reachable(found: Path) -> Path:
    """A copy of PostgreSQL's programs, for a user who cannot get at them: they lie in root's own home."""
    directory = _kept_directory()
    directory.chmod(0o755)
    package = found.parent.parent  # PyPI's wheel; its libraries lie beside it
    for source in (found.parent, *package.parent.glob(f"{package.name}.libs")):
        shutil.copytree(source, directory / source.relative_to(package.parent), symlinks=True)
    return directory / found.relative_to(package.parent)


def _kept_directory() -> Path:
    """A directory that goes when this process ends, in whatever way."""
    directory = Path(tempfile.mkdtemp(prefix="mofa-"))
    watcher = watch(None, directory)

    def forget() -> None:
        watcher.kill()
        watcher.wait()
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(forget)
    return directory


def copy_data(source: Path, target: Path) -> None:
    """Copy a data directory to where there is none yet, with its owner and modes."""
    subprocess.run(["cp", "-a", source, target], check=True)
