"""A DuckDB of one's own for looking into files: made when it is first needed, small in memory, gone afterwards."""

from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any, Self

from mofa_usage.errors import require

require("duckdb", extra="analysis")
import duckdb  # noqa: E402

__all__ = ["Scratch"]

_MEMORY = "256MB"


class Scratch:
    """The database, for as long as a `with` lasts; beyond its memory it spills into a folder that is removed.

    `threads`: how many work in it, by default one for each core.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._folder: TemporaryDirectory[str] | None = None

    @cached_property
    def database(self) -> duckdb.DuckDBPyConnection:
        """A connection on the clock of UTC, which takes no variable of Python for a table."""
        self._folder = TemporaryDirectory(prefix="mofa-usage-")
        config: dict[str, Any] = {"memory_limit": _MEMORY, "temp_directory": self._folder.name}
        database = duckdb.connect(config=config | ({"threads": self._threads} if self._threads else {}))
        database.execute("SET TimeZone = 'UTC'")
        database.execute("SET python_enable_replacements = false")
        return database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._folder is not None:
            self.database.close()
            self._folder.cleanup()
