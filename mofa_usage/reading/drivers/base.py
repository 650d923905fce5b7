"""What every reader answers, and the columns that it is asked for."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, NoReturn, Protocol

from mofa_usage.errors import PersistenceError, require
from mofa_usage.schema import Kind

require("polars", extra="analysis")
import polars as pl  # noqa: E402

__all__ = ["BATCH", "CONNECT_SECONDS", "Reader", "ServerReader", "StoredColumn", "refuse"]

BATCH = 32_768
"""Rows of a batch: some megabytes."""
CONNECT_SECONDS = 10
"""How long a server is waited for, unless its URL says something else."""

# Declarations under which SQLite keeps the values of a kind as one type (and NULL); others may hold several.
_PLAIN = {
    Kind.INTEGER: re.compile(r"(BIG)?INT(EGER)?$", re.IGNORECASE),
    Kind.RATE: re.compile(r"(REAL|FLOAT|DOUBLE( PRECISION)?)$", re.IGNORECASE),
    Kind.MONEY: re.compile(r"(REAL|FLOAT|DOUBLE( PRECISION)?)$", re.IGNORECASE),
}
_PLAIN_TEXT = re.compile(r"(TEXT|CLOB|N?(VAR)?CHAR(\s*\(\s*\d+\s*\))?)$", re.IGNORECASE)


@dataclass(frozen=True)
class StoredColumn:
    """A column of a table: its name, what it holds, and the type that the database declares it as."""

    name: str
    kind: Kind
    declared: str

    @property
    def plain(self) -> bool:
        """Whether all values of this column of a SQLite table are of one type."""
        return _PLAIN.get(self.kind, _PLAIN_TEXT).match(self.declared.strip()) is not None

    @property
    def type(self) -> pl.DataType:
        """The type in which SQLite keeps it."""
        return {Kind.INTEGER: pl.Int64(), Kind.RATE: pl.Float64(), Kind.MONEY: pl.Float64()}.get(self.kind, pl.String())


class Reader(Protocol):
    """What reads a database; `str()` of it says which one, without its password."""

    def columns(self, table: str) -> Mapping[str, str]:
        """The columns of a table with their declared types, in lower case; none when there is no such table."""
        ...

    def query(self, statement: str) -> pl.DataFrame:
        """The whole answer of a statement."""
        ...

    def stream(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """The rows of statements that all select these columns, in batches: at least one of each statement."""
        ...


class ServerReader(ABC):
    """What the readers of servers share: a small answer is a short stream, and a server describes its own tables."""

    declared: ClassVar[str]
    """The statement that answers with the name and the declared type of each column of `{table}`."""

    def columns(self, table: str) -> Mapping[str, str]:
        """See `Reader`."""
        found = self.query(self.declared.format(table=table))
        return {name: declared.lower() for name, declared in found.select("name", "declared").iter_rows()}

    def query(self, statement: str) -> pl.DataFrame:
        """See `Reader`."""
        return pl.concat(self.stream([statement], []))

    @abstractmethod
    def stream(self, statements: Iterable[str], columns: Sequence[StoredColumn]) -> Iterator[pl.DataFrame]:
        """See `Reader`."""

    def kept_open(self) -> AbstractContextManager[None]:
        """Within it a connection that was opened for one statement serves the next, where the driver can do that; it
        is for one thread.
        """
        return nullcontext()


def refuse(error: BaseException, kind: type[PersistenceError], doing: str, secrets: Sequence[str]) -> NoReturn:
    """Raise ours for a driver's error: what was being done, and what the driver said of it, secrets blackened.

    The driver's error is the cause, unless it gives a secret away.
    """
    said = str(error.args[-1] if error.args else error)  # MySQL's errors begin with their number
    shown = said
    for secret in secrets:
        shown = shown.replace(secret, "***") if secret else shown
    raise kind(f"{doing}: {' '.join(shown.split())}") from (error if shown == said else None)
