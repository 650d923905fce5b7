"""Tables that one step of a question leaves for the next ones, so that nothing is read or sorted twice.

They are temporary tables in the session of the calls and go when the question is answered. A further gain: of a table
DuckDB knows the least and the largest value of each column, and groups by a column of few values several times as fast
as it groups the rows of a query, of which it knows nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import duckdb
import polars as pl

from mofa_usage.reading.columns import quoted

__all__ = ["Stage", "staged"]

_names = count(1)


class Stage:
    """What is asked over calls and the tables that were kept of them; queries speak of the calls as `self.calls`."""

    calls = quoted("calls on stage")

    def __init__(self, calls: duckdb.DuckDBPyRelation) -> None:
        self.columns = calls.columns
        self.kept: list[str] = []
        self._relation = calls

    def keep(self, query: str) -> str:
        """Answer a query into a table; its name, quoted."""
        name = quoted(f"mofa_usage kept {next(_names)}")
        self.run(f"CREATE TEMP TABLE {name} AS {query}")
        self.kept.append(name)
        return name

    def run(self, statement: str) -> Any:
        """What DuckDB gives for a statement."""
        return self._relation.query("calls on stage", statement)

    def answer(self, query: str) -> pl.DataFrame:
        """The answer to a query as a frame."""
        return pl.DataFrame(pl.from_arrow(self.run(query).to_arrow_table()))


@contextmanager
def staged(calls: duckdb.DuckDBPyRelation) -> Iterator[Stage]:
    """A stage for calls, whose tables are dropped at the end."""
    stage = Stage(calls)
    try:
        yield stage
    finally:
        for name in stage.kept:
            stage.run(f"DROP TABLE {name}")
