"""Which backends a test runs on, and the `store` fixture with its leak checks.

`BACKENDS` is the registry: a name, and a way to get databases of that kind. A test that asks for the fixtures `store`,
`url` or `empty_url` runs once on every chosen backend; the markers `sql_only` and `shared_only` leave out those that
have no engine, or that no second store can connect to, and `only_on` all but some. Which are chosen, `--backends` (or
the environment variable MOFA_TEST_BACKENDS) says:

    pytest --backends=memory,sqlite
    pytest --backends=mariadb,postgres=postgresql://me:secret@db.example/postgres

A URL points to a server of yours, on which the test run makes databases named `test_...` and drops them at its end. A
backend that was asked for and cannot be had is a failure, never a skip.

The tests run in a process for each core, at most `MOST_PROCESSES`; each starts servers of its own when a test asks for
one. `-n 0` runs them in one process, as benchmarks always do. `--proof` is explained in `tests/proofs.py`.
"""

import asyncio
import gc
import os
import shutil
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from mofa_usage.pricing import PriceBook
from mofa_usage.schema import metadata
from mofa_usage.stores import Store, connect
from tests import spark
from tests.leaks import opened
from tests.object_store import ObjectStore
from tests.object_store import object_store as running_object_store
from tests.proofs import PROOF
from tests.recording.sdks import more
from tests.servers import Server, mariadb_server, postgres_server

T = TypeVar("T")
MOST_PROCESSES = 4
"""Beyond that the servers, two for each process, cost more than they save."""

# A test that tries hundreds of times has as much more time before it counts as one that hangs.
_PROOF_SECONDS = 1200

# What jsonschema tells IRIs by takes longer to import than all that reads notebooks, and no notebook has an IRI.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# How fast a machine makes examples up, which may do other things meanwhile, is not what a property is about.
settings.register_profile("mofa_usage", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mofa_usage")


class Databases(Protocol):
    """Where the databases of one kind come from."""

    def empty(self) -> str:
        """The URL of a new database without tables."""

    def ready(self) -> str:
        """The URL of a database with tables, for one test."""


@dataclass(frozen=True)
class Backend:
    """A kind of database to test on.

    Attributes:
        start: a context manager that makes databases for a whole session, in a directory that it may use.
        is_sql: its store has an `engine`.
        is_shared: a second store that connects to the same URL sees the same rows.
        is_reused: `ready()` gives the same database again, so the rows of the test before must be deleted.
    """

    name: str
    start: Callable[[Path], AbstractContextManager[Databases]]
    is_sql: bool = True
    is_shared: bool = True
    is_reused: bool = False


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run in a thread of its own because this one may have an event loop."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


class _Fixed:
    """One URL, which means a new private database whenever it is connected to."""

    def __init__(self, url: str) -> None:
        self._url = url

    def empty(self) -> str:
        return self._url

    def ready(self) -> str:
        return self._url


class _Files:
    """SQLite files; the ready ones are copies of a file in which the tables have been made once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._template = directory / "template.db"
        run(_make_tables(f"sqlite:{self._template}"))

    def empty(self) -> str:
        return f"sqlite:{self._directory / uuid.uuid4().hex}.db"

    def ready(self) -> str:
        url = self.empty()
        shutil.copy(self._template, url.removeprefix("sqlite:"))
        return url


class _OnServer:
    """Databases of a server. Making one takes a while, so the ready one is always the same."""

    def __init__(self, create: Callable[[], str]) -> None:
        self._create = create
        self._ready = create()

    def empty(self) -> str:
        return self._create()

    def ready(self) -> str:
        return self._ready


async def _make_tables(url: str) -> None:
    async with connect(url):
        pass


async def _delete_rows(store: Any) -> None:
    async with store.engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            await connection.execute(table.delete())


async def _empty(url: str) -> None:
    async with connect(url) as store:
        await _delete_rows(store)


def _private(url: str) -> Callable[[Path], AbstractContextManager[Databases]]:
    @contextmanager
    def start(directory: Path) -> Iterator[Databases]:
        yield _Fixed(url)

    return start


@contextmanager
def _files(directory: Path) -> Iterator[Databases]:
    yield _Files(directory)


def _throw_away(server: Callable[[], AbstractContextManager[Server]]) -> Callable[[Path], Any]:
    @contextmanager
    def start(directory: Path) -> Iterator[Databases]:
        with server() as running:
            yield _OnServer(running.create_database)

    return start


def _yours(url: str) -> Callable[[Path], AbstractContextManager[Databases]]:
    async def admin(statement: str) -> None:
        async with connect(url, create_tables=False) as store:
            engine: AsyncEngine = store.engine  # type: ignore[attr-defined]
            async with engine.connect() as connection:
                autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await autocommit.execute(text(statement))

    @contextmanager
    def start(directory: Path) -> Iterator[Databases]:
        made: list[str] = []

        def create() -> str:
            made.append(f"test_{uuid.uuid4().hex}")
            run(admin(f"CREATE DATABASE {made[-1]}"))
            return make_url(url).set(database=made[-1]).render_as_string(hide_password=False)

        try:
            yield _OnServer(create)
        finally:
            for name in made:
                run(admin(f"DROP DATABASE {name}"))

    return start


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("memory", _private("memory:"), is_sql=False, is_shared=False),
        Backend("sqlite", _files),
        Backend("sqlite-memory", _private("sqlite::memory:"), is_shared=False),
        Backend("postgres", _throw_away(postgres_server), is_reused=True),
        Backend("mariadb", _throw_away(mariadb_server), is_reused=True),
    )
}


# --- choosing -------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backends",
        default=os.environ.get("MOFA_TEST_BACKENDS") or ",".join(BACKENDS),
        help="the backends to test, separated by commas, each a name or name=URL of a server of yours "
        f"(postgres, mariadb, mysql); default: {','.join(BACKENDS)}",
    )
    parser.addoption("--proof", action="store_true", help="run the tests marked proof with all their trials")
    parser.addoption("--spark", action="store_true", help="run the tests on a Spark cluster (tests/spark), with -n0")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `-n auto` means: one more than cores, since a fifth of the time a test waits for a server, a
    lock or a process that ends. Benchmarks run alone: they would slow each other.
    """
    return 0 if config.getoption("benchmark_enable") else min((os.cpu_count() or 1) + 1, MOST_PROCESSES)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sql_only: not for the memory store, which has no engine")
    config.addinivalue_line("markers", "shared_only: for backends whose database a second store can connect to")
    config.addinivalue_line("markers", "only_on(*names): for these backends, where they are chosen")
    if config.getoption("--proof"):
        os.environ[PROOF] = "1"  # before any test module is imported, and for the processes of pytest-xdist
    if config.getoption("--spark") and not spark.is_installed():
        raise pytest.UsageError("--spark needs pyspark: pip install -e '.[all,test,spark]'")
    # Images of containers forbid to keep what was compiled: then each of the hundreds of processes that tests start
    # compiles the whole package again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    config.stash[_CHOSEN] = [_backend(word.strip()) for word in config.getoption("--backends").split(",")]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector need not look again and again at the million objects that modules and tests are."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--proof"):
        for item in items:
            if item.get_closest_marker("proof"):
                item.add_marker(pytest.mark.timeout(_PROOF_SECONDS))
        items[:] = _proofs_first(items, getattr(config, "workerinput", {}).get("workercount", 1))


def _proofs_first(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """In an order in which the share of each process begins with its part of the proofs, so that no long one is left
    for the end, when the others have nothing more to do. pytest-xdist cuts the list into pieces of the same length.
    """
    proofs = [item for item in items if item.get_closest_marker("proof")]
    others = iter([item for item in items if not item.get_closest_marker("proof")])
    shares = [proofs[number::processes] for number in range(processes)]
    return [
        *chain(*([*share, *islice(others, max(0, len(items) // processes - len(share)))] for share in shares)),
        *others,
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    absent, config = more.missing(), terminalreporter.config
    said = [f"The SDKs of {', '.join(absent)}: they are not installed; the extra `sdks` brings them."] if absent else []
    said += [] if config.getoption("--spark") else ["Spark: `pytest -n0 --spark tests/spark`, with the extra `spark`."]
    if said:
        terminalreporter.section("left out")
    for line in said:
        terminalreporter.line(line)


_CHOSEN = pytest.StashKey[list[Backend]]()


def _backend(word: str) -> Backend:
    name, _, url = word.partition("=")
    if url and name in {"postgres", "mariadb", "mysql"}:
        return Backend(name, _yours(url), is_reused=True)
    if url or name not in BACKENDS:
        raise pytest.UsageError(
            f"--backends: there is no {word!r}, only {', '.join(BACKENDS)}; postgres, mariadb and mysql take =URL"
        )
    return BACKENDS[name]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.stash[_CHOSEN]
    if metafunc.definition.get_closest_marker("sql_only"):
        chosen = [backend for backend in chosen if backend.is_sql]
    if metafunc.definition.get_closest_marker("shared_only"):
        chosen = [backend for backend in chosen if backend.is_shared]
    if only := metafunc.definition.get_closest_marker("only_on"):
        chosen = [backend for backend in chosen if backend.name in only.args]
    metafunc.parametrize("backend", chosen, ids=lambda backend: backend.name, indirect=True, scope="session")


# --- fixtures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Backend], Databases]]:
    """Starts a backend when the first test asks for it; all are stopped at the end of the session."""
    with ExitStack() as stack:
        started: dict[str, Databases] = {}

        def databases(backend: Backend) -> Databases:
            if backend.name not in started:
                started[backend.name] = stack.enter_context(backend.start(tmp_path_factory.mktemp(backend.name)))
            return started[backend.name]

        yield databases


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3-compatible object store, started when the first test asks for it; each test makes buckets of its own."""
    with running_object_store() as store:
        yield store


@pytest.fixture(scope="module")
def book(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    """The price book that `PRICES` of the module is the text of."""
    path = tmp_path_factory.mktemp("prices") / "prices.toml"
    path.write_text(request.module.PRICES, encoding="utf-8")
    return PriceBook.load(path)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """The backend that this run of the test is for."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def empty_url(backend: Backend, _databases: Callable[[Backend], Databases]) -> str:
    """The URL of a new database without tables."""
    return _databases(backend).empty()


@pytest.fixture
def url(backend: Backend, _databases: Callable[[Backend], Databases]) -> str:
    """The URL of a database with tables and no rows; for tests that connect themselves."""
    ready = _databases(backend).ready()
    if backend.is_reused:
        run(_empty(ready))
    return ready


@pytest.fixture
async def store(backend: Backend, _databases: Callable[[Backend], Databases]) -> AsyncIterator[Store]:
    """A store without rows. Whatever of it a test leaves behind is that test's failure."""
    async with opened(_databases(backend).ready()) as ready:
        if backend.is_reused:
            await _delete_rows(ready)
        yield ready
