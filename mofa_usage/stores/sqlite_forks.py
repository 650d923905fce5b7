"""What a fork must not do to SQLite: a child has its parent's memory, and in it SQLite's word on who has which lock.

SQLite keeps for each file what its process has locked, since POSIX's locks are a process's and not a connection's. A
child inherits that and not the locks. So it may take a file for locked by itself and write without a lock, and when its
parent closes the file as its last user, as it believes, what the child commits later goes into a log that is no longer
the database's: it is lost, and nobody is told.

So a child closes what it has inherited, which is safe for a connection that is in no transaction: SQLite then asks for
the locks anew. Before a fork each connection's thread is halted between two of its steps, outside of transactions; a
fork waits a moment for those under way, but not for those of the thread that forks: they cannot go on.
"""

import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mofa_usage.forks import register

if TYPE_CHECKING:
    from aiosqlite import Connection

__all__ = ["watch"]

_STEP_SECONDS = 0.5  # that a fork waits at a time for the steps under way


@dataclass
class _Halt:
    """What a connection's thread does while another one forks."""

    reached: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.reached.set()
        self.over.wait()


class _Connections:
    """The open connections to files, with the thread whose event loop uses each."""

    def __init__(self) -> None:
        self._open: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        self._halts: dict[Connection, _Halt] = {}

    def watch(self, connection: "Connection") -> None:
        self._open[connection] = threading.get_ident()

    def halt(self) -> bool:
        until = time.monotonic() + _STEP_SECONDS
        for connection in filter(_is_open, list(self._open)):
            self._halts[connection] = _Halt()
            connection._tx.put_nowait((None, self._halts[connection]))
        for halt in self._halts.values():
            halt.reached.wait(max(0.0, until - time.monotonic()))
        here = threading.get_ident()
        return all(self._is_idle(connection) or self._open.get(connection) == here for connection in self._halts)

    def _is_idle(self, connection: "Connection") -> bool:
        """Whether its thread is halted outside of a transaction, or has closed it."""
        halted = self._halts[connection].reached.is_set()
        return not _is_open(connection) or (halted and not connection.in_transaction)

    def go_on(self) -> None:
        for halt in self._halts.values():
            halt.over.set()
        self._halts.clear()

    def begin_anew(self) -> None:
        for connection in filter(_is_open, self._halts):
            if self._is_idle(connection):
                with suppress(sqlite3.Error):
                    connection._conn.close()
                connection._connection = None
        self._halts.clear()
        self._open.clear()


def _is_open(connection: "Connection") -> bool:
    return connection._running and connection._connection is not None


_CONNECTIONS = _Connections()
register(_CONNECTIONS)


def watch(connection: "Connection") -> None:
    """Have a child that is forked close this connection to a file, which the event loop of this thread uses."""
    _CONNECTIONS.watch(connection)
