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
_FIRST = "(-excluded.weight, excluded.time, excluded.place) < (-weight, time, place)"
_ADD = f"""
    INSERT INTO call VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    weight = CASE WHEN {_FIRST} THEN excluded.weight ELSE weight END,
    time = CASE WHEN {_FIRST} THEN excluded.time ELSE time END,
    place = CASE WHEN {_FIRST} THEN excluded.place ELSE place END,
    began = min(began, excluded.began)
"""  # noqa: S608  (nothing in it comes from outside)


class Repeats:
    """The calls of one import that may be said several times; used by one thread at a time."""

    def __init__(self) -> None:
        self._calls = scratch_database(
            "call (key BLOB PRIMARY KEY, weight INTEGER, time TEXT, place TEXT, began TEXT)", cache_kib=_CACHE_KIB
        )

    def add(self, row: SourceRow, identity: Identity) -> None:
        """Take note of a row of this identity."""
        time = storable(identity.time)
        weight = identity.weight if 0 <= identity.weight <= MOST else 0
        self._calls.execute(_ADD, (_digest(identity), weight, time, _place(row), time))

    def began(self, row: SourceRow, identity: Identity) -> str | None:
        """When the call of a row began, as its earliest row says it; None when another row is the one that counts.

        All rows must have been added.
        """
        found = self._calls.execute("SELECT place, began FROM call WHERE key = ?", (_digest(identity),)).fetchone()
        return found[1] if found is not None and found[0] == _place(row) else None

    def close(self) -> None:
        """Forget the calls."""
        self._calls.close()


def _digest(identity: Identity) -> bytes:
    return blake2b(identity.key.encode(errors="surrogatepass"), digest_size=16).digest()


def _place(row: SourceRow) -> str:
    return storable(f"{row.file or ''}\0{row.line:012d}")
