"""SQL over the calls and tables of one's own, and what DuckDB answers as a frame of Polars."""

from collections.abc import Mapping
from typing import Any

import duckdb
import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.reading.open import frame_of_arrow
from mofa_usage.reading.relation import Tables

__all__ = ["answered", "tables"]

_WIDE = ("HUGEINT", "UHUGEINT")
"""What a sum of integers is to DuckDB, and no integer to Polars."""


def tables(given: Mapping[str, Any]) -> Tables:
    """Somebody's frames by name, as DuckDB takes them.

    Raises:
        UsageError: a name that no table can have beside `calls`, something that is no frame.
    """
    names = [name.lower() for name in given]
    for name in given:
        if name.lower() == "calls":
            raise UsageError(f"{name} is the table of these calls; give the frame another name")
        if not name.isidentifier():
            raise UsageError(f"{name!r} is no name of a table; give letters, digits and underscores")
        if names.count(name.lower()) > 1:
            raise UsageError(f"two frames are called {name.lower()!r} to SQL, which knows no case")
    return {name: _table(name, frame) for name, frame in given.items()}


def _table(name: str, frame: Any) -> Any:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, duckdb.DuckDBPyRelation):  # of another connection, maybe
        try:
            return frame.to_arrow_table()
        except duckdb.Error as error:
            raise UsageError(f"DuckDB cannot read {name}: {error}") from error
    if hasattr(frame, "__arrow_c_stream__"):
        return frame_of_arrow(frame)
    raise UsageError(
        f"{name} is a {type(frame).__name__}; give a frame of Polars or pandas, an Arrow table, a DuckDB relation, a "
        "usage or an answer"
    )


def answered(calls: duckdb.DuckDBPyRelation, query: str) -> pl.DataFrame:
    """What DuckDB answers to a query over the table `calls`; whole numbers are Int64 as far as they fit.

    Raises:
        UsageError: DuckDB refuses the query, two columns have one name, a whole number is beyond 64 bits.
    """
    try:
        answer: Any = calls.query("calls", query)
        twice = next((name for name in answer.columns if answer.columns.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"two columns of the answer are called {twice!r}; name one of them with AS")
        wide = [name for name, kind in zip(answer.columns, answer.types, strict=True) if str(kind) in _WIDE]
        frame = pl.DataFrame(pl.from_arrow(answer.to_arrow_table()))
    except duckdb.Error as error:
        raise UsageError(f"DuckDB refuses the query: {error}") from error
    whole = frame.with_columns(pl.col(wide).cast(pl.Int64, strict=False))
    for name in wide:
        if whole[name].null_count() > frame[name].null_count():
            beyond = frame[name].filter(whole[name].is_null() & frame[name].is_not_null())[0]
            raise UsageError(f"the column {name} is {beyond}, which is beyond 64 bits; CAST it to DOUBLE or VARCHAR")
    return whole
