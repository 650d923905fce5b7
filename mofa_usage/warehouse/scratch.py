"""A DuckDB of one's own for looking into files: made when it is first needed, small in memory, gone afterwards."""

from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Self

from mofa_usage.errors import require

require("duckdb", extra="analysis")
import duckdb  # noqa: E402

__all__ = ["Scratch"]

_MEMORY = "256MB"


class Scratch:
    """The database, for as long as a `with` lasts; beyond its memory it spills into a folder that is removed."""

    def __init__(self) -> None:
        self._folder: TemporaryDirectory[str] | None = None

    @cached_property
    def database(self) -> duckdb.DuckDBPyConnection:
        """A connection on the clock of UTC, which takes no variable of Python for a table."""
        self._folder = TemporaryDirectory(prefix="mofa-usage-")
        database = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": self._folder.name})
        database.execute("SET TimeZone = 'UTC'")
        database.execute("SET python_enable_replacements = false")
        return database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._folder is not None:
            self.database.close()
            self._folder.cleanup()
