"""Calls that meet SQL conditions which their database cannot be asked for, in bounded memory.

What the database can be asked for is written to a Parquet file first, which DuckDB filters lazily. Nothing of the calls
gets lost: such a file has the JSON details, too, which a frame of calls leaves out.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mofa_usage.errors import UsageError
from mofa_usage.exporting.export import export_parquet
from mofa_usage.reading.open import Source
from mofa_usage.reading.relation import clocked_cursor
from mofa_usage.records import QueryFilter
from mofa_usage.zones import Moment

import duckdb  # isort: skip (after the export, which names the extra)

__all__ = ["calls_that_meet"]


@contextmanager
def calls_that_meet(
    source: Source,
    conditions: Callable[[Collection[str]], Collection[str]],
    folder: Path,
    *,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
) -> Iterator[tuple[duckdb.DuckDBPyRelation, int]]:
    """The calls of a source that meet the filter and the conditions, for as long as the block lasts; how many.

    Args:
        conditions: SQL, on the clock of `tz`, for calls that have the columns that it is given.
        folder: Where the file may be that is gone at the end.

    Raises:
        UsageError: DuckDB refuses a condition; and as `export_parquet`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".mofa-usage-") as beside, duckdb.connect() as database:
        whole = Path(beside, "calls.parquet")
        export_parquet(source, whole, filter=filter, start=start, end=end, tz=tz)
        calls = clocked_cursor(database, tz).read_parquet(str(whole))
        try:
            for condition in conditions(calls.columns):
                calls = calls.filter(duckdb.SQLExpression(condition))
            count = len(calls)
        except duckdb.Error as error:
            raise UsageError(f"DuckDB refuses a filter: {error}") from error
        yield calls, count
