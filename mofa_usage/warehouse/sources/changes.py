"""What every source of a warehouse answers: which rows of a table changed since a position.

A position is whatever a source needs in order to go on: JSON of less than 64 kB that only the source reads. Whoever
syncs keeps it together with the rows (in the same commit), and gives it back the next time. So nothing is remembered
anywhere else, and a sync that was killed goes on behind the last page that was committed.

**Rows come at least once.** Each version of a row that the source keeps is in some page sooner or later, also where it
was saved hours late, with old times, or by a transaction that stayed open for a day; `mofa_usage/docs/warehouse.md`
says how soon on which database. A row may come again unchanged, within a page (files say things twice) or in a later
one, so it is merged by its id; where two versions meet, the later page counts, and within a page the later row.

**Every page has the columns** of `SCHEMAS`, in that order and with those types. Calls of files and frames may have
further columns behind them (`labels.team` without `labels`, `session.plan`, a column of somebody's own), from one file
others than from another.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any, Literal, Protocol, TypeAlias, get_args

import polars as pl

from mofa_usage.reading.columns import CALL_COLUMNS, TIME
from mofa_usage.schema import AGENT, CHAT_SESSION, LLM_MESSAGE, PROVIDER, Kind, TableSpec
from mofa_usage.warehouse.sources.checksums import Sums

__all__ = ["CONTENT", "PAGE_ROWS", "RETAINED", "SCHEMAS", "TABLES", "Changes", "Cost", "Page", "Position", "TableName"]

TableName = Literal["calls", "messages", "sessions", "agents", "providers"]
TABLES: tuple[TableName, ...] = get_args(TableName)
"""The tables of a warehouse, in the order in which they are synced: what is joined to calls may be newer than they."""

Position: TypeAlias = Mapping[str, Any]
"""How far a source was read: JSON of less than 64 kB, for that source alone to understand."""

PAGE_ROWS = 50_000
"""About so many rows are in a page at most: some 50 MB of calls."""

_TYPES: Mapping[Kind, pl.DataType] = {
    Kind.INTEGER: pl.Int64(),
    Kind.RATE: pl.Float64(),
    Kind.FLAG: pl.Boolean(),
    Kind.TIME: TIME,
}
_LEFT_OUT = ("api_key", "content")


def _schema(spec: TableSpec[Any]) -> pl.Schema:
    columns = {name: _TYPES.get(kind, pl.String()) for name, kind in spec.kinds.items() if name not in _LEFT_OUT}
    return pl.Schema(columns)


SCHEMAS: Mapping[TableName, pl.Schema] = {
    "calls": pl.Schema({name: column.dtype for name, column in CALL_COLUMNS.items()}),
    "messages": _schema(LLM_MESSAGE),
    "sessions": _schema(CHAT_SESSION),
    "agents": _schema(AGENT),
    "providers": _schema(PROVIDER),
}
"""The columns of each table with their types. Ids are text, times UTC microseconds, money `Decimal(38, 10)`, JSON is
text.

Calls have every column of `CALL_COLUMNS`: what `load_usage` has, and the details and labels as JSON text besides. Their
names (`agent_code`, `agent_name`, `provider_name`) are what the call itself says, from its labels or from a file; what
the tables of agents and providers say is theirs to say, and may change.

Messages have `content` (JSON text) as their last column where it was asked for. No key of a provider is ever read.
"""

CONTENT = {"content": pl.String()}
"""The column that messages have where their content was asked for."""

RETAINED: Collection[TableName] = ("calls", "messages")
"""The tables of which retention deletes the oldest rows."""


@dataclass(frozen=True)
class Page:
    """Rows that changed.

    Attributes:
        rows: at most about `PAGE_ROWS`, with the columns of `SCHEMAS`; there may be none, where only the position
            moves on.
        position: where to go on once these rows are kept.
        seen: the source's own time up to which everything was looked at when this page is kept, None while that is not
            known: within a first read, and of files. What it lags behind is the clock of the source.
        keep: of the last page, whether the position is worth a commit without any rows: what was looked at on the way
            to it would be looked at again.
    """

    rows: pl.DataFrame
    position: Position
    seen: datetime | None = None
    keep: bool = False


@dataclass
class Cost:
    """What was read at a source so far.

    Attributes:
        rows: rows that came from it, also those that had not changed.
        compared: rows that it counted and added up itself, in order to find changes; they did not come over.
        bytes: how large the rows were in memory.
        seconds: how long it was waited for.
        statements: how many questions it was asked.
    """

    rows: int = 0
    compared: int = 0
    bytes: int = 0
    seconds: float = 0.0
    statements: int = 0

    def counted(self, batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """The batches that come from a source, and the time until each is there."""
        self.statements += 1
        while True:
            begun = perf_counter()
            rows = next(batches, None)
            self.seconds += perf_counter() - begun
            if rows is None:
                return
            self.rows += rows.height
            self.bytes += int(rows.estimated_size())
            yield rows


class Changes(Protocol):
    """The changes of one table at one source."""

    @property
    def fingerprint(self) -> str:
        """Which source this is: the same text for the same place, whoever asks, and without anything secret. It is the
        name under which positions are kept.
        """
        ...

    @property
    def cost(self) -> Cost:
        """What has been read; it grows while pages come."""
        ...

    def pages(self, position: Position | None) -> Iterator[Page]:
        """What changed since a position, at least one page; the last page's position is where the next sync begins.

        Args:
            position: of a page that was kept, from this source and table; None for everything. One that this source
                cannot go on from (another database under the same name, one that was restored, another version of
                mofa_usage) reads everything again.

        Raises:
            PersistenceError: as reading calls; what came before is complete and may be kept.
        """
        ...

    def gone(self, held: Iterator[pl.DataFrame], kept_before: datetime | None) -> Iterator[pl.Series]:
        """Which rows are no longer at the source although retention has not deleted them: those that somebody deleted
        as errors, and those of users who were forgotten.

        Retention deletes calls and messages, the oldest first, and so those of them stay that were made before a
        moment. Sessions, agents and providers it never deletes.

        Args:
            held: `id` (text) and `create_time` of rows that came from this source, some ten thousand at a time.
            kept_before: that moment; None for when the oldest row was made that the source still has, before which
                nobody can tell an error from a row whose time had come.

        Returns:
            For each of these frames the ids that are gone.

        Raises:
            PersistenceError: as reading calls.
            UsageError: of files and frames, which may hold only what is new.
        """
        ...

    def sums(self, columns: Collection[str]) -> Sums | None:
        """The rows that the source has now, added up by month where they are; None of a source that cannot do that.

        Args:
            columns: over these columns, as far as the source has them.

        Raises:
            PersistenceError: as reading calls.
        """
        ...

    def rows_of(self, month: str | None) -> Iterator[pl.DataFrame]:
        """The rows that the source has now, as pages have them, in no particular order, some ten thousand at a time.

        Args:
            month: only those whose `create_time` lies in this month of UTC ("2026-05"); None for all.

        Raises:
            PersistenceError: as reading calls.
        """
        ...
