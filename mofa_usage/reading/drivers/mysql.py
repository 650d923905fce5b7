"""MySQL and MariaDB, read by connectorx.

connectorx fetches on a thread of its own, which is why it is fast, but whoever asks for a batch that is not there yet
waits with Python's interpreter lock in hand, and an event loop in another thread waits too. So `_paced` sleeps for
about as long as the last batches kept it waiting and then finds the next one ready.

It tries for 30 seconds to connect before it says why it cannot. So PyMySQL is asked first, which says so at once. (That
also keeps connectorx from logging its tries to standard error. RUST_LOG would silence it, but the environment belongs
to the whole process, and setting it while other threads read it can crash them.)
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

import polars as pl

from mofa_usage.errors import QueryError, StoreConnectionError, require
from mofa_usage.reading.drivers.base import BATCH, CONNECT_SECONDS, ServerReader, StoredColumn, refuse
from mofa_usage.urls import DatabaseUrl, MySqlOptions

__all__ = ["MySqlServer"]

_AT_ONCE = 0.002  # seconds: nobody has waited
_LONGEST_PAUSE = 0.5  # seconds, which is what can be lost when a slow server becomes a fast one

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
    """The batches of a reader, asked for when they are there: asking earlier would hold the interpreter lock.

    Asking later would waste time, so the rhythm is the second longest of the last four waits: a server that thinks
    before its first row, or once in between, does not set it. Batches that are there at once shorten the sleep, more
    and more.
    """
    lasted = deque([0.0] * 4, maxlen=4)  # the seconds after which the last batches were there
    at_once = 0
    while True:
        pause = min(sorted(lasted)[-2], _LONGEST_PAUSE)
        time.sleep(pause)
        asked = time.perf_counter()
        try:
            batch = next(reader)
        except StopIteration:
            return
        waited = time.perf_counter() - asked
        at_once = 0 if waited > _AT_ONCE else at_once + 1
        lasted.append(max(pause * (1 - 0.1 * at_once**2), 0.0) if at_once else pause + waited)
        yield batch
