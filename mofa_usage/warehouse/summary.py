"""What a sync read, changed and took, in numbers and in sentences."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from mofa_usage.warehouse.sources.changes import TableName
from mofa_usage.wording import count, duration

__all__ = ["SyncSummary", "TableSync"]


@dataclass(frozen=True)
class TableSync:
    """What a sync did to one table. `str()` of it is a sentence.

    Attributes:
        table: which one.
        read: rows that came from the source, also those that had not changed.
        added: rows that the warehouse did not have.
        updated: rows that it had otherwise.
        unchanged: rows that it had already.
        deleted: rows that were gone at the source; only with `deletes="mirror"`.
        compared: rows that the source counted and added up itself, in order to find changes; they did not come over.
        statements: how many questions the source was asked.
        bytes: how large the rows that came were in memory.
        seconds: how long it took, of which `source_seconds` was waiting for the source.
        commits: how many versions the table got.
        lag: how long ago the moment is, on the source's clock, up to which everything is in the warehouse; None where
            nobody knows: of files, and where the first read has not ended.
    """

    table: TableName
    read: int
    added: int
    updated: int
    unchanged: int
    deleted: int
    compared: int
    statements: int
    bytes: int
    seconds: float
    source_seconds: float
    commits: int
    lag: timedelta | None

    @property
    def changed(self) -> bool:
        """Whether the table is another one than before."""
        return self.added + self.updated + self.deleted > 0

    def __str__(self) -> str:
        parts = [f"{count(self.read)} read", f"{count(self.added)} added", f"{count(self.updated)} updated"]
        parts += [f"{count(self.deleted)} deleted"] * (self.deleted > 0)
        lag = "" if self.lag is None else f", {duration(self.lag.total_seconds() * 1000)} behind"
        return f"{self.table}: {', '.join(parts)} in {duration(self.seconds * 1000)}{lag}"


@dataclass(frozen=True)
class SyncSummary:
    """What a sync did. `str()` of it says it to people, a line for each table.

    Attributes:
        path: the warehouse.
        source: the source, without anything secret.
        tables: what was done to each table, in the order in which it was done.
        seconds: how long all of it took.
    """

    path: str
    source: str
    tables: tuple[TableSync, ...]
    seconds: float

    def __getitem__(self, table: TableName) -> TableSync:
        for one in self.tables:
            if one.table == table:
                return one
        raise KeyError(table)

    @property
    def changed(self) -> bool:
        """Whether the warehouse is another one than before."""
        return any(one.changed for one in self.tables)

    @property
    def lag(self) -> timedelta | None:
        """The greatest lag of a table that has one."""
        return max((one.lag for one in self.tables if one.lag is not None), default=None)

    @property
    def sentence(self) -> str:
        """In one sentence what became of the warehouse."""
        behind = "" if self.lag is None else f"; it is {duration(self.lag.total_seconds() * 1000)} behind"
        if not self.changed:
            read = sum(one.read for one in self.tables)
            return f"Nothing had changed: {count(read)} rows read in {duration(self.seconds * 1000)}{behind}."
        done = ((word, sum(getattr(one, word) for one in self.tables)) for word in ("added", "updated", "deleted"))
        said = " and ".join(f"{count(number)} {word}" for word, number in done if number)
        return f"Of the warehouse's rows {said} in {duration(self.seconds * 1000)}{behind}."

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.sentence
        yield from (f"  {one}" for one in self.tables if one.read or one.changed)
