"""Drivers for reading: the rows of statements as Polars frames, a batch at a time.

`SqliteFile`, `PostgresServer` and `MySqlServer` answer the same three questions (`Reader`): which columns a table has
(`columns`), what a small statement answers (`query`), and the rows of large ones (`stream`). They take the URLs that a
store takes, with all that these say of sockets and TLS, open what they need and close it again. Each is read by the
driver that is fastest there and leaves the event loop of another thread its turn.
"""

from mofa_usage.reading.drivers.base import BATCH, Reader, ServerReader, StoredColumn
from mofa_usage.reading.drivers.mysql import MySqlServer
from mofa_usage.reading.drivers.postgres import PostgresServer
from mofa_usage.reading.drivers.sqlite import SqliteFile

__all__ = ["BATCH", "MySqlServer", "PostgresServer", "Reader", "ServerReader", "SqliteFile", "StoredColumn"]
