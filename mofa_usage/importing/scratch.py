"""What an import has to remember of all its rows: private databases, gone with the process.

How often a row was there, which spans there are, which row says most of a call: a file may have more of these than fit
into memory. A SQLite database without a name keeps a bounded part of itself in memory, and the rest in a temporary file
that nobody else sees.
"""

import sqlite3

__all__ = ["MOST", "scratch_database", "storable"]

MOST = 2**63 - 1
"""The greatest integer that it holds."""


def scratch_database(*tables: str, cache_kib: int) -> sqlite3.Connection:
    """A new database with these tables, as `CREATE TABLE` takes them; used by one thread at a time, never committed."""
    database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
    database.execute(f"PRAGMA cache_size = -{cache_kib}")
    database.execute("PRAGMA journal_mode = OFF")
    for table in tables:
        database.execute(f"CREATE TABLE {table} WITHOUT ROWID")
    database.execute("BEGIN")
    return database


def storable(text: str) -> str:
    """Text that can be encoded: halves of a surrogate pair, which JSON can hold, as their escapes."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
