"""SQLite files, and databases in memory that somebody has opened.

A file is read by ADBC in another process (`sqlite_process` says why), when there is enough to read to make up for
starting one; it reads on while this process works on the batches before. Else `sqlite3` reads it, of which a process
has but one copy; and also what ADBC cannot: databases in memory, and columns that are not plainly declared.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, suppress
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote

import polars as pl

from mofa_usage.errors import QueryError, SerializationError, StoreConnectionError, require
from mofa_usage.reading.drivers.base import BATCH, StoredColumn
from mofa_usage.reading.drivers.sqlite_process import READY
from mofa_usage.schema import Kind

__all__ = ["SqliteFile"]

_FEW = 25_000  # rows that sqlite3 has read by the time that another process has started
_AHEAD = 4  # batches, some 20 MB each: one process may fall behind for a moment without the other having to wait
_START_SECONDS = 30
_PROGRAM = Path(__file__).with_name("sqlite_process.py")
_STORED = {Kind.INTEGER: ("integer",), Kind.RATE: ("real", "integer"), Kind.MONEY: ("real", "integer")}
_PASSING = (Kind.JSON, Kind.TIME, Kind.MONEY)  # what a frame of calls holds is made of them, they are not kept
_EMPTY = "''"
_SAMPLES = {Kind.INTEGER: "0", Kind.RATE: "0.0", Kind.MONEY: "0.0"}


class SqliteFile:
    """A SQLite database: a file, or one that `connect` opens.

    Raises:
        StoreConnectionError: there is no such file.
    """

    def __init__(self, path: str, connect: Callable[[], sqlite3.Connection] | None = None) -> None:
        self._path = Path(path).absolute() if connect is None else None
        self._connect = connect or self._open
        if self._path is not None and not self._path.is_file():
            raise StoreConnectionError(f"there is no SQLite database at {self._path}")

    def __str__(self) -> str:
        return f"the SQLite database {self._path or 'in memory'}"

    def columns(self, table: str) -> Mapping[str, str]:
        """See `Reader`."""
        with self._cursor("SELECT name, lower(type) FROM pragma_table_info(?)", (table,)) as cursor:
            return dict(cursor.fetchall())

    def query(self, statement: str) -> pl.DataFrame:
        """See `Reader`."""
        with self._cursor(statement) as cursor:
            names = [described[0] for described in cursor.description]
            return pl.DataFrame(cursor.fetchall(), schema=names, orient="row", infer_schema_length=None)

    def stream(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """See `Reader`."""
        remaining = iter(statements)
        plain = self._path is not None and all(column.plain for column in columns)
        for statement in remaining:
            if plain and self._is_long(statement):
                with _reading_process() as process:
                    if process is not None:
                        yield from self._process_batches(process, chain([statement], remaining), columns)
                        return
                plain = False
            yield from self._row_batches(statement, columns)

    def _process_batches(
        self, process: "_Process", statements: Iterable[str], columns: Sequence[StoredColumn]
    ) -> Iterator[pl.DataFrame]:
        """The rows of statements that `sqlite_process` reads."""
        pyarrow = require("pyarrow", extra="analysis")
        sample = ", ".join(f"{_SAMPLES.get(column.kind, _EMPTY)} AS {column.name}" for column in columns)
        passing = [column.name for column in columns if column.kind in _PASSING]
        statement = ""
        try:
            for statement in statements:
                typed = f"SELECT {sample} UNION ALL SELECT * FROM ({statement})"  # noqa: S608
                task = {"path": str(self._path), "statement": typed, "batch": BATCH, "passing": passing}
                for frame in _frames(process.answer(task)):
                    if any(frame.schema[column.name] != column.type for column in columns):
                        raise self._misfit(statement, columns)
                    yield frame.select(column.name for column in columns)
        except (OSError, EOFError, pyarrow.ArrowInvalid) as error:
            said = process.last_words()
            if "Type mismatch" in said:
                raise self._misfit(statement, columns) from error
            raise QueryError(f"{self} cannot be read: {said or error}") from error

    def _is_long(self, statement: str) -> bool:
        some = f"SELECT 1 FROM ({statement}) LIMIT {_FEW + 1}"  # noqa: S608
        with self._cursor(f"SELECT count(*) FROM ({some})") as cursor:  # noqa: S608
            return bool(cursor.fetchone()[0] > _FEW)

    def _row_batches(self, statement: str, columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        with self._cursor(statement) as cursor:
            rows = cursor.fetchmany(BATCH)
            while True:
                values = list(zip(*rows, strict=True)) or [()] * len(columns)
                try:
                    yield pl.DataFrame([_series(*pair) for pair in zip(columns, values, strict=True)])
                except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
                    raise self._misfit(statement, columns) from error
                if not (rows := cursor.fetchmany(BATCH)):
                    return

    def _misfit(self, statement: str, columns: Sequence[StoredColumn]) -> SerializationError:
        """The error that names the first value that is not of its column's kind: SQLite keeps what it is given."""
        for column in columns:
            wanted = ", ".join(f"'{kind}'" for kind in ("null", *_STORED.get(column.kind, ("text",))))
            where = f"typeof({column.name}) NOT IN ({wanted})"
            misfits = f"SELECT id, typeof({column.name}) FROM ({statement}) WHERE {where} LIMIT 1"  # noqa: S608
            with self._cursor(misfits) as cursor:
                for call, found in cursor:
                    return SerializationError(f"{column.name} of the call {call} is {found}, not {column.kind.value}")
        return SerializationError(f"{self} holds values that do not fit their columns")

    def _open(self) -> sqlite3.Connection:
        # Batches may be fetched by one thread and the rest dropped by another.
        return sqlite3.connect(f"file:{quote(str(self._path))}?mode=rw", uri=True, check_same_thread=False)

    @contextmanager
    def _cursor(self, statement: str, parameters: tuple[Any, ...] = ()) -> Iterator[sqlite3.Cursor]:
        try:
            with closing(self._connect()) as connection, closing(connection.execute(statement, parameters)) as cursor:
                yield cursor
        except sqlite3.Error as error:
            raise QueryError(f"{self} cannot be read: {error}") from error


def _series(column: StoredColumn, values: Sequence[Any]) -> pl.Series:
    """A column of rows that sqlite3 has read; what SQLite calls NUMERIC may be whole numbers and fractions."""
    if column.type == pl.Float64:
        values = [float(value) if isinstance(value, int) else value for value in values]
    return pl.Series(column.name, values, dtype=column.type)


class _Process:
    """A running `sqlite_process`, read by a thread of ours that is some batches ahead."""

    def __init__(self, running: subprocess.Popen[bytes], said: IO[bytes], ahead: Executor) -> None:
        self._running = running
        self._said = said
        self._ahead = ahead
        self._has_more = False

    def is_ready(self) -> bool:
        """Whether it is what it should be, and can begin."""
        try:
            return self._ahead.submit(self._output.read, len(READY)).result(_START_SECONDS) == READY
        except TimeoutError:
            return False

    def answer(self, task: Mapping[str, Any]) -> Iterator[list[Any]]:
        """The messages that answer a task in pairs, which are fetched while those before are worked on.

        Raises:
            OSError, EOFError: the process has ended.
        """
        assert self._running.stdin is not None  # noqa: S101 (a pipe)
        self._running.stdin.write(json.dumps(task).encode() + b"\n")
        self._running.stdin.flush()
        self._has_more = True
        waiting = deque(self._ahead.submit(self._read_pair) for _ in range(_AHEAD))
        while pair := waiting.popleft().result():
            waiting.append(self._ahead.submit(self._read_pair))
            yield pair
        wait(waiting)  # they find the answer at its end

    def last_words(self) -> str:
        """What it said of its failure; it is ended."""
        self._running.kill()
        self._said.seek(0)
        return self._said.read().decode(errors="replace").strip().rpartition("\n")[2]

    @property
    def _output(self) -> BufferedReader:
        return cast(BufferedReader, self._running.stdout)

    def _read_pair(self) -> list[Any]:
        """Two messages; none at the end of the answer, and behind it."""
        pyarrow = require("pyarrow", extra="analysis")
        messages: list[Any] = []
        while self._has_more and len(messages) < 2:
            head = self._output.read(8)
            message = pyarrow.allocate_buffer(int.from_bytes(head, "little"))
            if len(head) < 8 or self._output.readinto(message) < message.size:
                raise EOFError("the process that reads it has ended")
            if not message.size:
                self._has_more = False
                break
            messages.append(message)
        return messages


def _frames(pairs: Iterator[list[Any]]) -> Iterator[pl.DataFrame]:
    """The batches in the messages of `sqlite_process`: those before them say what columns they have."""
    ipc = require("pyarrow.ipc", extra="analysis")
    schemas = [ipc.read_schema(message) for message in next(pairs)]
    for pair in pairs:
        parts = (ipc.read_record_batch(*part) for part in zip(pair, schemas, strict=True))
        yield pl.DataFrame([column for part in parts for column in pl.DataFrame(pl.from_arrow(part)).get_columns()])


@contextmanager
def _reading_process() -> Iterator[_Process | None]:
    """The program that reads SQLite files, which ends with the block; None where it cannot be started.

    `sys.executable` need not be a Python: where Python is embedded or frozen it is the program around it, and starting
    that again would do anything but read.
    """
    require("adbc_driver_sqlite", extra="analysis")
    name = Path(sys.executable or "").name.lower()
    if getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
        yield None
        return
    paths = os.pathsep.join(path for path in sys.path if path)
    with ExitStack() as ended:
        said = ended.enter_context(tempfile.TemporaryFile())
        ahead = ended.enter_context(ThreadPoolExecutor(1))  # outlives the process: what it waits for has an end then
        process = None
        with suppress(OSError):
            running = subprocess.Popen(  # noqa: S603 (our own program)
                [sys.executable, "-P", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, "PYTHONPATH": paths},
            )
            ended.enter_context(running)
            ended.callback(running.kill)  # nobody wants the rest
            process = _Process(running, said, ahead)
        yield process if process is not None and process.is_ready() else None
