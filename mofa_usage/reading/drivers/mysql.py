"""MySQL and MariaDB, read by connectorx.

connectorx fetches on a thread of its own, which is why it is fast, but whoever asks for a batch that is not there yet
waits with Python's interpreter lock in hand, and an event loop in another thread waits too. So `_paced` sleeps for
about as long as the last batches kept it waiting and then finds the next one ready.

It tries for 30 seconds to connect before it says why it cannot. So PyMySQL is asked first, which says so at once.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import polars as pl

from mofa_usage.errors import QueryError, StoreConnectionError, require
from mofa_usage.reading.drivers.base import BATCH, CONNECT_SECONDS, ServerReader, StoredColumn, refuse
from mofa_usage.urls import DatabaseUrl, MySqlOptions

__all__ = ["MySqlServer"]

_SSL_MODES = {"disable": "disabled", "require": "required", "verify-ca": "verify_ca", "verify-full": "verify_identity"}


class MySqlServer(ServerReader):
    """A MySQL or MariaDB database, read with the user and password of its URL.

    Raises:
        StoreConnectionError: it cannot be reached.
    """

    declared = (
        "SELECT CAST(column_name AS CHAR) AS name, CAST(column_type AS CHAR) AS declared"
        " FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '{table}'"
    )

    def __init__(self, address: DatabaseUrl) -> None:
        url, options = address.url, MySqlOptions.of(address.url)
        self._name = f"the mysql database {url.database or ''} at {url.host or 'a local socket'}"
        query = {"ssl-mode": _SSL_MODES[options.sslmode]}
        if options.sslmode != "disable":
            query["prefer_socket"] = "false"  # it would leave TLS for the socket of a server on this machine
        if options.sslrootcert is not None:
            query["ssl-ca"] = options.sslrootcert
        if options.unix_socket is not None:
            query["socket"] = options.unix_socket
        self._url = url.set(drivername="mysql", query=query).render_as_string(hide_password=False)
        self._secrets = (self._url, quote(url.password or "", safe=""), url.password or "")
        self._knock(address, options)

    def __str__(self) -> str:
        return self._name

    def _knock(self, address: DatabaseUrl, options: MySqlOptions) -> None:
        pymysql = require("pymysql", extra="analysis")
        url, tls = address.url, options.tls()
        try:
            pymysql.connect(
                host=url.host,
                port=url.port or 0,
                user=url.username,
                password=url.password or "",
                database=url.database,
                unix_socket=options.unix_socket,
                ssl=tls,
                ssl_disabled=tls is None,
                connect_timeout=CONNECT_SECONDS,
                read_timeout=CONNECT_SECONDS,
                charset="utf8mb4",
            ).close()
        except Exception as error:  # whatever it makes of a greeting that is no MySQL server's
            refuse(error, StoreConnectionError, f"{self} cannot be reached", self._secrets)

    def stream(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """See `Reader`."""
        require("pyarrow", extra="analysis")
        with _silent_rust():
            connectorx = require("connectorx", extra="analysis")
        for statement in statements:
            try:
                reader = connectorx.read_sql(self._url, statement, return_type="arrow_stream", batch_size=BATCH)
                yield pl.DataFrame(pl.from_arrow(reader.schema.empty_table()))
                for batch in _paced(reader):
                    yield pl.DataFrame(pl.from_arrow(batch))
            except BaseException as error:
                if isinstance(error, RuntimeError) or type(error).__name__ == "PanicException":
                    refuse(error, QueryError, f"{self} cannot be read", self._secrets)
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
