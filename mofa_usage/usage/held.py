"""What a `UsageFrame` holds: the calls themselves, or a way to them.

`HeldFrame` has the calls in memory, `HeldRelation` knows how DuckDB reads them, `held_spark.HeldSpark` how a cluster
does. All answer the same questions (`HeldCalls`), so that nothing above has to know which one it has.

Pickled, a `HeldFrame` is its frame. A `HeldRelation` of Parquet files is their paths and the selection, and opens them
again where it is unpickled; one of a relation that somebody made cannot be opened elsewhere, so its calls are read and
it becomes a `HeldFrame`. Connections and locks stay where they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial, reduce
from threading import Lock
from typing import Any, Protocol

import duckdb
import narwhals as nw
import polars as pl

from mofa_usage import analysis
from mofa_usage.analysis.predicates import Predicate, checked, filtered_frame, filtered_relation, within
from mofa_usage.analysis.sums import Queried
from mofa_usage.errors import UsageError
from mofa_usage.measures import Dimension
from mofa_usage.reading.columns import quoted
from mofa_usage.reading.drivers import BATCH
from mofa_usage.reading.relation import NO_TABLES, RelationCalls, Tables, as_calls, clocked_cursor, told
from mofa_usage.reading.selection import Selection
from mofa_usage.repricing import Step

__all__ = ["HeldCalls", "HeldFrame", "HeldRelation", "Named", "names_in", "needs_them_here"]

_ROW = "mofa_usage: row"
_OTHER_CALLS = "SELECT 1 FROM information_schema.tables WHERE lower(table_name) = 'calls' LIMIT 1"
_MOST_NAMES = 1_000  # of a dimension: nobody tells more of them apart


class Named(Protocol):
    """What knows the names in the dimensions of calls."""

    def names(self, dimension: str | Dimension) -> Callable[[], pl.Series]:
        """A way to the names in a dimension, that with most calls first, which holds on to no calls in memory."""
        ...


class HeldCalls(Named, Protocol):
    """Calls with the columns of `CALL_SCHEMA` or some of them, that many threads may ask at once; str() says how many.

    `tz` is always the zone on whose clock DuckDB's session is, where that can be chosen.
    """

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        ...

    def count(self) -> int:
        """How many calls there are."""
        ...

    def native(self, tz: str) -> "analysis.Native":
        """The calls as an analysis reads them fastest."""
        ...

    def relation(self, tz: str, beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        """The calls as a relation that can be queried, with further tables; each comes with a cursor of its own.

        Raises:
            UsageError: they are `elsewhere`.
        """
        ...

    def queried(self, tz: str) -> Queried:
        """The calls as SQL of ours can be asked of them where they are."""
        ...

    @property
    def elsewhere(self) -> str | None:
        """Where they are, if DuckDB cannot be asked of them."""
        ...

    @property
    def are_hidden(self) -> bool:
        """Whether a query over the table `calls` would be over another one, which the session of these has."""
        ...

    def between(self, start: datetime | None, end: datetime | None) -> "HeldCalls":
        """Those created in [start, end), which lies within the range that these are of.

        Raises:
            UsageError: they have no create_time.
        """
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """The columns with their types, which are Narwhals'."""
        ...

    def filter(self, predicates: Sequence[Predicate], tz: str) -> "HeldCalls":
        """Those that meet all of the predicates, SQL being on the clock of the zone.

        Raises:
            UsageError: calls cannot meet one of them.
        """
        ...

    def repriced(self, step: Step) -> "HeldCalls":
        """They with the money that a step gives them."""
        ...

    def loaded(self) -> "HeldFrame":
        """All of them in memory."""
        ...

    def stream(self, requested_schema: object | None) -> object:
        """A capsule of an Arrow stream of them, with the columns of `CALL_SCHEMA` in Arrow's types."""
        ...

    def names(self, dimension: str | Dimension) -> Callable[[], pl.Series]:
        """A way to the names in a dimension, that with most calls first, which holds on to no calls in memory."""
        ...


class HeldFrame:
    """Calls in memory."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._lock = Lock()
        self._database: duckdb.DuckDBPyConnection | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return HeldFrame, (self.frame,)

    def __str__(self) -> str:
        return f"{self.frame.height:,} calls"

    @property
    def columns(self) -> list[str]:
        """See `HeldCalls`."""
        return self.frame.columns

    def count(self) -> int:
        """See `HeldCalls`."""
        return self.frame.height

    def native(self, tz: str) -> pl.DataFrame:
        """See `HeldCalls`."""
        return self.frame

    def relation(self, tz: str, beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        """See `HeldCalls`."""
        return self._opened(self.frame, tz, "calls", beside)

    def _opened(
        self, frame: pl.DataFrame | pl.LazyFrame, tz: str, name: str, beside: Tables = NO_TABLES
    ) -> duckdb.DuckDBPyRelation:
        with self._lock:
            if self._database is None:
                self._database = duckdb.connect()
            cursor = clocked_cursor(self._database, tz)
        for called, table in {**beside, name: frame}.items():
            cursor.register(called, table)
        return cursor.table(quoted(name))

    def queried(self, tz: str) -> duckdb.DuckDBPyRelation:
        """See `HeldCalls`."""
        return self.relation(tz)

    @property
    def elsewhere(self) -> None:
        """See `HeldCalls`."""
        return None

    @property
    def are_hidden(self) -> bool:
        """See `HeldCalls`."""
        return False

    def between(self, start: datetime | None, end: datetime | None) -> "HeldFrame":
        """See `HeldCalls`."""
        within = Selection(None, {}, start, end)
        if within.conditions and "create_time" not in self.frame.columns:
            raise UsageError("a period needs the column create_time, which was not loaded")
        return HeldFrame(within.apply(self.frame))

    @property
    def schema(self) -> Mapping[str, Any]:
        """See `HeldCalls`."""
        return nw.from_native(self.frame).schema

    def filter(self, predicates: Sequence[Predicate], tz: str) -> "HeldFrame":
        """See `HeldCalls`. They are filtered now."""
        frame, opened = self.frame, partial(self._opened, tz=tz, name="these calls")
        for predicate in predicates:
            frame = filtered_frame(frame, predicate, opened)
        return HeldFrame(frame)

    def repriced(self, step: Step) -> "HeldFrame":
        """See `HeldCalls`. It is computed now; what stays as it was is not copied."""
        numbered = HeldFrame(self.frame.with_row_index(_ROW))
        made = ", ".join(map(quoted, (_ROW, *step.columns(self.columns))))
        with told():
            answered = as_calls(step.apply(numbered.relation("UTC")).project(made).to_arrow_table())
        return HeldFrame(self.frame.with_columns(answered.sort(_ROW).drop(_ROW).get_columns()))  # a join keeps no order

    def loaded(self) -> "HeldFrame":
        """See `HeldCalls`."""
        return self

    def stream(self, requested_schema: object | None) -> object:
        """See `HeldCalls`."""
        return self.frame.__arrow_c_stream__(requested_schema)

    def names(self, dimension: str | Dimension) -> Callable[[], pl.Series]:
        """See `HeldCalls`. They are counted now, because the frame may be gone when they are wanted."""
        found = names_in(self, dimension)
        return lambda: found


class HeldRelation:
    """Calls that DuckDB reads whenever they are asked for something, and then only what that needs.

    They are the selected ones, to which each of `then` was done in turn: a predicate that they meet, whose SQL is on
    the clock of `clock` whatever is asked, or a step that gives them other money.
    """

    def __init__(
        self,
        calls: RelationCalls,
        selection: Selection,
        then: tuple[Predicate | Step, ...] = (),
        clock: str | None = None,
    ) -> None:
        self._calls = calls
        self._selection = selection
        self._then = then
        self._clock = clock
        self._schema: Mapping[str, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._calls.can_be_reopened:
            return HeldRelation, (self._calls, self._selection, self._then, self._clock)
        return HeldFrame, (self.loaded().frame,)

    def __str__(self) -> str:
        return "lazy"

    @property
    def columns(self) -> list[str]:
        """See `HeldCalls`."""
        columns = list(self._calls.columns(self._selection))
        for step in self._then:
            if isinstance(step, Step):
                columns += [name for name in step.columns(columns) if name not in columns]
        return columns

    def count(self) -> int:
        """See `HeldCalls`."""
        with told():
            rows = self.relation("UTC").aggregate("count(*)").fetchall()
        return int(rows[0][0])

    def native(self, tz: str) -> duckdb.DuckDBPyRelation:
        """See `HeldCalls`."""
        return self.relation(tz)

    def relation(self, tz: str, beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        """See `HeldCalls`. A connection of somebody's gets no tables: its calls are read to where these can be."""
        if beside and not self._calls.can_be_reopened:
            return self.loaded().relation(tz, beside)
        calls = self._calls.relation(self._selection, self._clock or tz, beside)
        return reduce(_after, self._then, calls)

    def queried(self, tz: str) -> duckdb.DuckDBPyRelation:
        """See `HeldCalls`."""
        return self.relation(tz)

    @property
    def elsewhere(self) -> None:
        """See `HeldCalls`."""
        return None

    @property
    def are_hidden(self) -> bool:
        """See `HeldCalls`. A relation has no name of its own in its session, and a table of somebody's may have it."""
        if self._calls.can_be_reopened:
            return False
        with told():
            answer: Any = self.relation("UTC").query("calls to look beside", _OTHER_CALLS)
            return bool(answer.fetchall())

    def between(self, start: datetime | None, end: datetime | None) -> "HeldRelation":
        """See `HeldCalls`."""
        if not self._selection.ordered and all(isinstance(step, Step) for step in self._then):
            return HeldRelation(self._calls, replace(self._selection, start=start, end=end), self._then, self._clock)
        # Of these calls; so many of that period, or what is compared with others of it, would be others.
        if "create_time" not in self.columns:
            raise UsageError("a period needs the column create_time, which was not loaded")
        return self._then_also((within(start, end),), self._clock)

    @property
    def schema(self) -> Mapping[str, Any]:
        """See `HeldCalls`. That of files stays; the clock of somebody's connection may be set to another zone."""
        if self._schema is None or not self._calls.can_be_reopened:
            self._schema = nw.from_native(self.relation("UTC")).collect_schema()
        return self._schema

    def filter(self, predicates: Sequence[Predicate], tz: str) -> "HeldRelation":
        """See `HeldCalls`. No call is looked at."""
        calls = self.relation(tz)
        for predicate in predicates:
            calls = filtered_relation(calls, checked(calls, predicate))
        return self._then_also(tuple(predicates), tz)

    def repriced(self, step: Step) -> HeldCalls:
        """See `HeldCalls`. What somebody's own connection reads is read now."""
        return self._then_also((step,), self._clock) if self._calls.can_be_reopened else self.loaded().repriced(step)

    def _then_also(self, then: tuple[Predicate | Step, ...], clock: str | None) -> "HeldRelation":
        return HeldRelation(self._calls, self._selection, (*self._then, *then), clock)

    def loaded(self) -> HeldFrame:
        """See `HeldCalls`."""
        with told():
            return HeldFrame(as_calls(self.relation("UTC").to_arrow_table()))

    def stream(self, requested_schema: object | None) -> object:
        """See `HeldCalls`. Batch by batch, as they are taken."""
        with told():
            return self.relation("UTC").to_arrow_reader(BATCH).__arrow_c_stream__(requested_schema)

    def names(self, dimension: str | Dimension) -> Callable[[], pl.Series]:
        """See `HeldCalls`. They are looked for when they are wanted: that may read a whole column of many files."""
        return partial(names_in, self, dimension)


def _after(calls: duckdb.DuckDBPyRelation, step: Predicate | Step) -> duckdb.DuckDBPyRelation:
    return step.apply(calls) if isinstance(step, Step) else filtered_relation(calls, step)


def needs_them_here(question: str, place: str) -> str:
    """Why a question is refused of calls elsewhere, and the way out."""
    return (
        f"{question} needs the calls on this machine, and they are on {place}. Ask it of a part that fits: "
        'part = usage.between("2026-05-01", "2026-05-02"); part.frame reads these calls, and part keeps them'
    )


def names_in(calls: HeldCalls, dimension: str | Dimension) -> pl.Series:
    """The names in a dimension of calls, that with most calls first."""
    with told():
        counted = analysis.breakdown(calls.native("UTC"), dimension, "calls")
    return counted.to_series().drop_nulls().head(_MOST_NAMES).cast(pl.String)
