"""Logs that say a call again: the row that says most of it counts.

A coding agent writes an answer to its log as it streams in, so that one call stands there several times with growing
counts, and copies all of it to another file when a session is resumed. Rows of one call have the same `Identity`
(`source.py`); which of them counts only all files of an import can say (`scratch.py`).
"""

from hashlib import blake2b

from mofa_usage.importing.scratch import MOST, scratch_database, storable
from mofa_usage.importing.source import Identity, SourceRow

__all__ = ["SAID_AGAIN", "Repeats"]

_CACHE_KIB = 16 * 1024
SAID_AGAIN = "rows that say a call again"
_ADD = """
    INSERT INTO call VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET first = min(first, excluded.first), began = min(began, excluded.began)
"""


class Repeats:
    """The calls of one import that may be said several times; used by one thread at a time."""

    def __init__(self) -> None:
        self._calls = scratch_database("call (key BLOB PRIMARY KEY, first TEXT, began TEXT)", cache_kib=_CACHE_KIB)

    def add(self, row: SourceRow, identity: Identity) -> None:
        """Take note of a row of this identity."""
        self._calls.execute(_ADD, (_digest(identity), _rank(row, identity), storable(identity.time)))

    def began(self, row: SourceRow, identity: Identity) -> str | None:
        """When the call of a row began, as its earliest row says it; None when another row is the one that counts.

        All rows must have been added.
        """
        found = self._calls.execute("SELECT first, began FROM call WHERE key = ?", (_digest(identity),)).fetchone()
        return found[1] if found is not None and found[0] == _rank(row, identity) else None

    def close(self) -> None:
        """Forget the calls."""
        self._calls.close()


def _digest(identity: Identity) -> bytes:
    return blake2b(identity.key.encode(errors="surrogatepass"), digest_size=16).digest()


def _rank(row: SourceRow, identity: Identity) -> str:
    """A text by which the rows of a call are in their order, the one that counts before the others."""
    weight = identity.weight if 0 <= identity.weight <= MOST else 0
    return storable(f"{MOST - weight:019}\0{identity.time}\0{row.file or ''}\0{row.line:012}")
