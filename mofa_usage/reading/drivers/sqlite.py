"""SQLite files, and databases in memory that somebody has opened.

A file is read by ADBC in another process (`sqlite_process` says why), when there is enough to read to make up for
starting one. Else `sqlite3` reads it, of which a process has but one copy; and also what ADBC cannot: databases
in memory, and columns that are not plainly declared.
"""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import polars as pl

from mofa_usage.errors import QueryError, SerializationError, StoreConnectionError, require
from mofa_usage.reading.drivers.base import BATCH, StoredColumn
from mofa_usage.schema import Kind

__all__ = ["SqliteFile"]

_FEW = 25_000  # rows that sqlite3 has read by the time that another process has started
_PROGRAM = Path(__file__).with_name("sqlite_process.py")
_STORED = {Kind.INTEGER: ("integer",), Kind.RATE: ("real", "integer"), Kind.MONEY: ("real", "integer")}
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
        plain = self._path is not None and bool(sys.executable) and all(column.plain for column in columns)
        for statement in remaining:
            if plain and self._is_long(statement):
                yield from self._process_batches(chain([statement], remaining), columns)
                return
            yield from self._row_batches(statement, columns)

    def _process_batches(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """The rows of statements, read by `sqlite_process`, whose process ends with this iterator."""
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
        [sys.executable, "-P", str(_PROGRAM)],
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
