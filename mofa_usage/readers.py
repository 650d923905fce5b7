"""Drivers for reading: the rows of statements as Polars frames, a batch at a time.

`SqliteFile` and `Server` answer the same three questions: which columns a table has (`columns`), what a small
statement answers (`query`), and the rows of large ones (`stream`). They open what they need and close it again.

A server is read by connectorx. It fetches on a thread of its own, which is why it is fast, but whoever asks for a batch
that is not there yet waits with Python's interpreter lock in hand, and an event loop in another thread waits too. So
`_paced` sleeps for about as long as the last batches kept it waiting and then finds the next one ready.

A SQLite file is read by ADBC in another process (`mofa_usage.fetching` says why), when there is enough to read to make
up for starting one. Else `sqlite3` reads it, of which a process has but one copy; and also what ADBC cannot: databases
in memory, and columns that are not plainly declared.
"""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol
from urllib.parse import quote

from mofa_usage.errors import PersistenceError, QueryError, SerializationError, StoreConnectionError, require
from mofa_usage.schema import Kind
from mofa_usage.urls import DatabaseUrl

require("polars", extra="analysis")
import polars as pl  # noqa: E402

__all__ = ["BATCH", "Reader", "Server", "SqliteFile", "StoredColumn"]

BATCH = 32_768
"""Rows of a batch: some megabytes."""

_FEW = 25_000  # rows that sqlite3 has read by the time that another process has started
_FETCHING = Path(__file__).with_name("fetching.py")
_CONNECT_TIMEOUT = 10.0
_PORTS = {"postgres": 5432, "mysql": 3306}
_DRIVERS = {"postgres": "postgresql", "mysql": "mysql"}

# Declarations under which SQLite keeps the values of a kind as one type (and NULL); others may hold several.
_PLAIN = {
    Kind.INTEGER: re.compile(r"(BIG)?INT(EGER)?$", re.IGNORECASE),
    Kind.RATE: re.compile(r"(REAL|FLOAT|DOUBLE( PRECISION)?)$", re.IGNORECASE),
    Kind.MONEY: re.compile(r"(REAL|FLOAT|DOUBLE( PRECISION)?)$", re.IGNORECASE),
}
_STORED = {Kind.INTEGER: ("integer",), Kind.RATE: ("real", "integer"), Kind.MONEY: ("real", "integer")}
_SAMPLES = {Kind.INTEGER: "0", Kind.RATE: "0.0", Kind.MONEY: "0.0"}
_PLAIN_TEXT = re.compile(r"(TEXT|CLOB|N?(VAR)?CHAR(\s*\(\s*\d+\s*\))?)$", re.IGNORECASE)


@dataclass(frozen=True)
class StoredColumn:
    """A column of a table: its name, what it holds, and the type that the database declares it as."""

    name: str
    kind: Kind
    declared: str

    @property
    def plain(self) -> bool:
        """Whether all values of this column of a SQLite table are of one type."""
        return _PLAIN.get(self.kind, _PLAIN_TEXT).match(self.declared.strip()) is not None

    @property
    def type(self) -> pl.DataType:
        """The type in which SQLite keeps it."""
        return {Kind.INTEGER: pl.Int64(), Kind.RATE: pl.Float64(), Kind.MONEY: pl.Float64()}.get(self.kind, pl.String())


class Reader(Protocol):
    """What reads a database; `str()` of it says which one, without its password."""

    def columns(self, table: str) -> Mapping[str, str]:
        """The columns of a table with their declared types, in lower case; none when there is no such table."""
        ...

    def query(self, statement: str) -> pl.DataFrame:
        """The whole answer of a statement."""
        ...

    def stream(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """The rows of statements that all select these columns, in batches: at least one of each statement."""
        ...


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
        plain = self._path is not None and bool(sys.executable) and all(column.plain for column in columns)
        for statement in remaining:
            if plain and self._is_long(statement):
                yield from self._process_batches(chain([statement], remaining), columns)
                return
            yield from self._row_batches(statement, columns)

    def _process_batches(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """The rows of statements, read by `mofa_usage.fetching`, whose process ends with this iterator."""
        pyarrow = require("pyarrow", extra="analysis")
        require("adbc_driver_sqlite", extra="analysis")
        schema = {column.name: column.type for column in columns}
        sample = ", ".join(_SAMPLES.get(column.kind, "''") for column in columns)
        statement = ""
        with tempfile.TemporaryFile() as said, _fetching_process(said) as process:
            try:
                for statement in statements:
                    typed = f"SELECT {sample} UNION ALL SELECT * FROM ({statement})"  # noqa: S608
                    task = {"path": str(self._path), "statement": typed, "batch": BATCH}
                    process.stdin.write(json.dumps(task).encode() + b"\n")  # type: ignore[union-attr]
                    process.stdin.flush()  # type: ignore[union-attr]
                    with pyarrow.ipc.open_stream(process.stdout) as reader:
                        for batch in reader:
                            frame = _frame_of_message(batch, columns)
                            if frame.schema != schema:
                                raise self._misfit(statement, columns)
                            yield frame
            except (OSError, pyarrow.ArrowInvalid) as error:
                process.kill()
                said.seek(0)
                last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
                if "Type mismatch" in last:
                    raise self._misfit(statement, columns) from error
                raise QueryError(f"{self} cannot be read: {last or error}") from error

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


def _frame_of_message(batch: Any, columns: Sequence[StoredColumn]) -> pl.DataFrame:
    """A batch as a frame. The columns of a message share one block of memory, which would live as long as any of them:
    those that stay in a frame of calls are copied out of it, JSON and times are made into something else anyway.
    """
    pyarrow = require("pyarrow", extra="analysis")
    arrays = [
        array
        if column.kind in (Kind.JSON, Kind.TIME)
        else pyarrow.concat_arrays([array.slice(0, len(array) // 2), array.slice(len(array) // 2)])
        for column, array in zip(columns, batch.columns, strict=True)
    ]
    names = [column.name for column in columns]
    return pl.DataFrame(pl.from_arrow(pyarrow.RecordBatch.from_arrays(arrays, names=names)))


@contextmanager
def _fetching_process(said: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The program that reads SQLite files, killed when the block is left by an exception; it ends by itself else."""
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(  # noqa: S603 (our own program)
        [sys.executable, "-P", str(_FETCHING)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env={**os.environ, "PYTHONPATH": paths},
    )
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


class Server:
    """A database server, read with the user and password of its URL.

    Raises:
        StoreConnectionError: nobody listens there.
    """

    def __init__(self, address: DatabaseUrl, declared: str) -> None:
        """`declared` is the statement that answers with the name and declared type of each column of `{table}`."""
        url = address.url.set(drivername=_DRIVERS[address.backend])
        self._name = f"the {address.backend} database {url.database or ''} at {url.host or 'a local socket'}"
        self._url = url.render_as_string(hide_password=False)
        self._secrets = (self._url, quote(url.password or "", safe=""), url.password or "")
        self._declared = declared
        if url.host and not url.host.startswith("/"):
            self._reach(url.host, url.port or _PORTS[address.backend])

    def __str__(self) -> str:
        return self._name

    def _reach(self, host: str, port: int) -> None:
        # connectorx tries for 30 seconds before it says that nobody is there.
        try:
            socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT).close()
        except OSError as error:
            raise StoreConnectionError(f"{self} cannot be reached on port {port}: {error}", transient=True) from error

    def columns(self, table: str) -> Mapping[str, str]:
        """See `Reader`."""
        found = self.query(self._declared.format(table=table))
        return {name: declared.lower() for name, declared in found.select("name", "declared").iter_rows()}

    def query(self, statement: str) -> pl.DataFrame:
        """See `Reader`."""
        return pl.concat(_arrow_batches(self._url, statement, str(self), self._secrets))

    def stream(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """See `Reader`."""
        for statement in statements:
            yield from _arrow_batches(self._url, statement, str(self), self._secrets)


def _arrow_batches(url: str, statement: str, name: str, secrets: Sequence[str]) -> Iterator[pl.DataFrame]:
    require("pyarrow", extra="analysis")
    with _silent_rust():
        connectorx = require("connectorx", extra="analysis")
    try:
        reader = connectorx.read_sql(url, statement, return_type="arrow_stream", batch_size=BATCH)
        empty = pl.DataFrame(pl.from_arrow(reader.schema.empty_table()))
        none = True
        for batch in _paced(reader):
            none = False
            yield pl.DataFrame(pl.from_arrow(batch))
        if none:
            yield empty
    except BaseException as error:
        if isinstance(error, RuntimeError) or type(error).__name__ == "PanicException":
            _raise(error, name, secrets)
        raise


def _paced(reader: Iterator[Any]) -> Iterator[Any]:
    """The batches of a reader, asked for when they are there: asking earlier would hold the interpreter lock."""
    pause = 0.0
    while True:
        time.sleep(pause)
        asked = time.perf_counter()
        try:
            batch = next(reader)
        except StopIteration:
            return
        waited = time.perf_counter() - asked
        pause = pause + waited if waited > 0.002 else pause * 0.9
        yield batch


@contextmanager
def _silent_rust() -> Iterator[None]:
    """Without the log lines that connectorx writes to standard error; it reads its settings when it is imported."""
    before = os.environ.get("RUST_LOG")
    os.environ["RUST_LOG"] = before or "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ["RUST_LOG"]


def _raise(error: BaseException, name: str, secrets: Sequence[str]) -> NoReturn:
    said = str(error)
    for secret in secrets:
        said = said.replace(secret, "***") if secret else said
    kind: type[PersistenceError] = StoreConnectionError if "waiting for connection" in said else QueryError
    # The driver's own error is the cause, unless it gives a secret away.
    raise kind(f"{name} cannot be read: {said}") from (error if said == str(error) else None)
