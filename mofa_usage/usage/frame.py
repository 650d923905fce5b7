"""Usage: the calls of a source, and everything that can be asked about them.

```python
usage = load_usage("sqlite:usage.db", start="2026-05-01", tz="Europe/Berlin")
usage.cost(by=["day", "model_name"]).draw()
usage.sql("SELECT model_name, count(*) AS calls FROM calls GROUP BY ALL")
```

Databases, stores and Polars frames are read into memory when they are loaded. Parquet files and DuckDB relations are
not: every question reads the columns that it needs, until somebody asks for the whole `frame`.

All of it is synchronous and starts no event loop, so that it works in a script, a notebook cell and inside a running
loop alike; `load_usage_async` does not keep that loop waiting.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from mofa_usage.errors import UsageError, require
from mofa_usage.records import QueryFilter
from mofa_usage.zones import Moment, time_range, zone

for needed in ("polars", "duckdb", "pyarrow", "narwhals"):
    require(needed, extra="analysis")

import duckdb  # noqa: E402
import polars as pl  # noqa: E402

from mofa_usage import analysis  # noqa: E402
from mofa_usage.analysis import Breakdown  # noqa: E402
from mofa_usage.progress import watched  # noqa: E402
from mofa_usage.reading.open import Source, open_source  # noqa: E402
from mofa_usage.reading.relation import RelationCalls, as_calls, clocked_cursor, told  # noqa: E402
from mofa_usage.reading.selection import Selection  # noqa: E402
from mofa_usage.theme import Style, styles  # noqa: E402
from mofa_usage.usage.card import card  # noqa: E402
from mofa_usage.warehouse import ExportSummary, export_parquet  # noqa: E402

__all__ = ["UsageFrame", "load_usage", "load_usage_async"]


def load_usage(
    source: Source,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
    columns: Sequence[str] | None = None,
    progress: bool | None = None,
) -> "UsageFrame":
    """The calls of a source.

    Args:
        source: A database URL, an open store, a Parquet file, folder or pattern, a Polars frame or lazy frame, or a
            DuckDB relation. A database is read by a connection of our own, also that of a store.
        filter: Only calls that meet it; both ends of its times are included. With its `limit` or `offset` the calls
            come newest first, else in no particular order.
        start: Only calls created at or after this: a datetime with a zone, a date, or ISO 8601 text. A date, and text
            without a zone, are on the clock of `tz`.
        end: Only calls created before this.
        tz: The IANA time zone in which days and hours are counted.
        columns: Only these columns of `mofa_usage.reading.columns.CALL_COLUMNS`; an analysis says which ones it misses.
        progress: True shows a progress bar on standard error, False does not; by default one appears when reading a
            database takes longer than a second and a person is watching.

    Returns:
        The calls; in memory (the result and one batch at most), or lazily for Parquet and DuckDB.

    Raises:
        UsageError: no such file, table, column or zone, a time without a zone, a column that cannot be cast exactly.
        StoreConnectionError: a database that is not there or does not let us in. Messages hold no password.
        QueryError: a database failed while it was read.
        SerializationError: a stored row is no call; the message names it.
        MissingExtraError: the extra `analysis` is not installed.
    """
    selection = Selection.of(filter, start, end, tz, columns)
    calls = open_source(source)
    if isinstance(calls, RelationCalls):
        with told():
            calls.relation(selection)  # what is not there or cannot be cast is refused now, not at the first question
        return UsageFrame(_Lazy(calls, selection), tz=tz, start=selection.start, end=selection.end)
    batches = watched(calls.batches(selection), "Reading calls", partial(calls.count, selection), progress)
    return UsageFrame(pl.concat(batches), tz=tz, start=selection.start, end=selection.end)


async def load_usage_async(
    source: Source,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
    columns: Sequence[str] | None = None,
    progress: bool | None = None,
) -> "UsageFrame":
    """`load_usage` in a thread, so that the event loop goes on meanwhile."""
    return await asyncio.to_thread(
        load_usage, source, filter, start=start, end=end, tz=tz, columns=columns, progress=progress
    )


class _Lazy:
    """Calls that DuckDB reads when they are needed."""

    def __init__(self, calls: RelationCalls, selection: Selection) -> None:
        self._calls = calls
        self.selection = selection

    def relation(self, tz: str) -> duckdb.DuckDBPyRelation:
        return self._calls.relation(self.selection, tz)

    def between(self, start: datetime | None, end: datetime | None) -> "_Lazy":
        return _Lazy(self._calls, replace(self.selection, start=start, end=end))


class UsageFrame:
    """Calls, with the time zone in which their days are counted.

    Get one from `load_usage`. The analyses return small Polars frames that can be drawn: `usage.cost().draw()`. They
    and everything else here may be used from several threads; only a relation of your own DuckDB connection belongs
    to that connection.

    Attributes:
        tz: The IANA time zone of days and hours.
        start, end: The half-open range of times that was asked for, in UTC; None where it was open.
    """

    def __init__(
        self,
        calls: "pl.DataFrame | _Lazy",
        *,
        tz: str = "UTC",
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        zone(tz)
        self.tz = tz
        self.start = start
        self.end = end
        self._lazy = calls if isinstance(calls, _Lazy) else None
        self._frame = calls if isinstance(calls, pl.DataFrame) else None
        self._styles: dict[str, Mapping[str, Style]] = {}
        self._lock = Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    @property
    def frame(self) -> pl.DataFrame:
        """The calls, with columns of `mofa_usage.reading.columns.CALL_SCHEMA`. Lazy ones are read now, and kept."""
        with self._lock:
            if self._frame is None:
                assert self._lazy is not None  # noqa: S101 (one of the two there is)
                with told():
                    self._frame = as_calls(self._lazy.relation("UTC").to_arrow_table())
            return self._frame

    def lazy(self) -> pl.LazyFrame:
        """The calls as a Polars lazy frame."""
        return self.frame.lazy()

    @property
    def relation(self) -> duckdb.DuckDBPyRelation:
        """The calls as a DuckDB relation, of a session of its own on the clock of `tz`."""
        with self._lock:
            if self._frame is None and self._lazy is not None:
                return self._lazy.relation(self.tz)
            if self._database is None:
                self._database = duckdb.connect()
            cursor = clocked_cursor(self._database, self.tz)
        cursor.register("calls", self._frame)
        return cursor.sql("FROM calls")

    @property
    def columns(self) -> list[str]:
        """The columns that the calls have."""
        return self._native().columns

    def sql(self, query: str) -> pl.DataFrame:
        """The answer of DuckDB to a query over the table `calls`.

        The session is on the clock of `tz`: `date_trunc('day', create_time)` is a day there, and times come out in
        it. (A relation that you made keeps the zone of its connection.)

        Raises:
            UsageError: DuckDB refuses the query.
        """
        try:
            answer: Any = self.relation.query("calls", query)
            return pl.DataFrame(pl.from_arrow(answer.to_arrow_table()))
        except duckdb.Error as error:
            raise UsageError(f"DuckDB refuses the query: {error}") from error

    def between(self, start: Moment | None = None, end: Moment | None = None) -> "UsageFrame":
        """The calls created in [start, end), of those that are here.

        Raises:
            UsageError: a time without a zone, or a range that ends before it starts.
        """
        first, last = time_range(start, end, zone(self.tz))
        inner_start = max((time for time in (first, self.start) if time is not None), default=None)
        inner_end = min((time for time in (last, self.end) if time is not None), default=None)
        within = Selection(None, {}, inner_start, inner_end)
        calls: pl.DataFrame | _Lazy
        if self._frame is None and self._lazy is not None and not self._lazy.selection.ordered:
            calls = self._lazy.between(inner_start, inner_end)
        else:
            if within.conditions and "create_time" not in self.frame.columns:
                raise UsageError("a period needs the column create_time, which was not loaded")
            calls = within.apply(self.frame)
        return UsageFrame(calls, tz=self.tz, start=inner_start, end=inner_end)

    def export_parquet(self, path: str | Path, **options: Any) -> ExportSummary:
        """Write the calls to Parquet: see `mofa_usage.warehouse.export_parquet`, whose options these are."""
        return export_parquet(self._native(), path, **options)

    def breakdown(
        self,
        by: str | Sequence[str] = (),
        measures: str | Sequence[str] = ("calls", "success_rate", "total_tokens", "cost", "coverage", "latency_p95"),
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        fill_gaps: bool = False,
    ) -> Breakdown:
        """Measures of the calls, by dimensions: see `mofa_usage.analysis.breakdown`."""
        return self._ask(analysis.breakdown, by, measures, start=start, end=end, fill_gaps=fill_gaps)

    def cost(self, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
        """What the calls cost and how much of that is known: see `mofa_usage.analysis.cost`."""
        return self._ask(analysis.cost, by, **when)

    def latency(self, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
        """How long calls take, in milliseconds: see `mofa_usage.analysis.latency`."""
        return self._ask(analysis.latency, by, **when)

    def token_rate(self, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
        """How fast completion tokens come, per second: see `mofa_usage.analysis.token_rate`."""
        return self._ask(analysis.token_rate, by, **when)

    def success_rate(self, by: str | Sequence[str] = ("model_name",), **when: Any) -> Breakdown:
        """How many calls succeeded and how the others ended: see `mofa_usage.analysis.success_rate`."""
        return self._ask(analysis.success_rate, by, **when)

    def distribution(self, by: str | Sequence[str] = (), **options: Any) -> Breakdown:
        """How many calls took how long: see `mofa_usage.analysis.distribution`."""
        return self._ask(analysis.distribution, by, **options)

    def summary(self, **when: Any) -> Breakdown:
        """The headline figures, one row per currency: see `mofa_usage.analysis.summary`."""
        return self._ask(analysis.summary, **when)

    def _native(self) -> pl.DataFrame | duckdb.DuckDBPyRelation:
        return self._frame if self._frame is not None else self.relation

    def _ask(self, question: Callable[..., Breakdown], *arguments: Any, **options: Any) -> Breakdown:
        with told():
            answer = question(self._native(), *arguments, tz=self.tz, **options)
        answer.styles_of = self.styles
        return answer

    def styles(self, dimension: str) -> Mapping[str, Style]:
        """How each name of a dimension is drawn in every figure of this usage: see `mofa_usage.theme.styles`."""
        if dimension not in self._styles:
            names = self.breakdown(dimension, "calls")[dimension].drop_nulls()  # the one with most calls first
            self._styles[dimension] = styles(names)
        return self._styles[dimension]

    def __len__(self) -> int:
        """The number of calls."""
        if self._frame is not None:
            return self._frame.height
        with told():
            return int(self.relation.aggregate("count(*)").fetchall()[0][0])

    def __repr__(self) -> str:
        period = f"{self.start or '...'} to {self.end or '...'}"
        loaded = f"{self._frame.height:,} calls" if self._frame is not None else "lazy"
        return f"UsageFrame({loaded}, {len(self.columns)} columns, {period}, tz={self.tz!r})"

    def _repr_html_(self) -> str:
        """A card with the period, the calls, what they cost and which models they used, for a notebook."""
        return card(self)
