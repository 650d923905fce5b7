"""PostgreSQL, read with COPY in its binary format by ADBC.

ADBC connects through libpq, which reads `sslmode`, `sslrootcert`, `host` and so on from a URL as PostgreSQL's own
programs do, and says at once why a server does not let somebody in.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from mofa_usage.errors import QueryError, SerializationError, StoreConnectionError, require
from mofa_usage.reading.columns import MONEY
from mofa_usage.reading.drivers.base import CONNECT_SECONDS, ServerReader, StoredColumn, refuse
from mofa_usage.schema import Kind
from mofa_usage.urls import DatabaseUrl

require("pyarrow", extra="analysis")
require("adbc_driver_postgresql", extra="analysis")
# Not its module dbapi, which would load pandas where it is installed.
import adbc_driver_manager as adbc  # noqa: E402
import adbc_driver_postgresql  # noqa: E402
import pyarrow  # noqa: E402

__all__ = ["PostgresServer"]

_BATCH_BYTES = 16 * 2**20  # of a batch, as they come from the server: some 35,000 calls


class PostgresServer(ServerReader):
    """A PostgreSQL database, read with the user and password of its URL.

    Raises:
        StoreConnectionError: it cannot be reached.
    """

    declared = (
        "SELECT CAST(attname AS TEXT) AS name, format_type(atttypid, atttypmod) AS declared FROM pg_attribute"
        " WHERE attrelid = to_regclass('{table}') AND attnum > 0 AND NOT attisdropped"
    )

    def __init__(self, address: DatabaseUrl) -> None:
        url = address.url
        self._name = f"the postgres database {url.database or ''} at {url.query.get('host') or url.host or 'a socket'}"
        self._secrets = [url.password or ""]
        place = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database}
        words = {"connect_timeout": CONNECT_SECONDS, **place, "password": url.password, **url.query}
        # It asks the server once for its types, and holds no connection then.
        self._database = self._reach(adbc_driver_postgresql.connect, _conninfo(words))
        self._idle: list[Any] | None = None  # connections, where they are kept

    def __str__(self) -> str:
        return self._name

    def stream(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """See `Reader`."""
        with self._connection() as connection:
            for text in statements:
                try:
                    for batch in _batches(connection, text):
                        yield self._priced(batch, [column.name for column in columns if column.kind is Kind.MONEY])
                except (adbc.Error, pyarrow.ArrowException, OSError) as error:
                    refuse(error, QueryError, f"{self} cannot be read", self._secrets)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """See `ServerReader`."""
        self._idle = []
        try:
            yield
        finally:
            idle, self._idle = self._idle, None
            for connection in idle:
                connection.close()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """A connection that nobody uses; one on which something failed, or was not read to its end, is not kept."""
        connection = self._idle.pop() if self._idle else self._reach(adbc.AdbcConnection, self._database)
        is_read = False
        try:
            yield connection
            is_read = True
        finally:
            if is_read and self._idle is not None:
                self._idle.append(connection)
            else:
                connection.close()

    def _priced(self, batch: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        try:
            return batch.with_columns(pl.col(names).cast(MONEY)) if names else batch
        except pl.exceptions.PolarsError as error:  # NUMERIC may be NaN
            raise SerializationError(f"{self} holds what is no price in {', '.join(names)}") from error

    def _reach(self, connect: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return connect(*arguments)
        except adbc.Error as error:
            refuse(error, StoreConnectionError, f"{self} cannot be reached", self._secrets)


def _batches(connection: Any, text: str) -> Iterator[pl.DataFrame]:
    with adbc.AdbcStatement(connection) as statement:
        statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)})
        statement.set_sql_query(text)
        handle, _ = statement.execute_query()
        with pyarrow.RecordBatchReader.from_stream(handle) as reader:
            yield pl.DataFrame(pl.from_arrow(reader.schema.empty_table()))
            for batch in reader:
                yield pl.DataFrame(pl.from_arrow(batch))


def _conninfo(words: Mapping[str, Any]) -> str:
    """libpq's connection string, in which any value can be written; its URLs do not take a space."""
    given = {word: str(value) for word, value in words.items() if value is not None}
    escaped = {word: value.replace("\\", "\\\\").replace("'", "\\'") for word, value in given.items()}
    return " ".join(f"{word}='{value}'" for word, value in escaped.items())
