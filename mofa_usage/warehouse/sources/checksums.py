"""Sums by month that two engines add up alike: a server over its table, and DuckDB over the files of a warehouse.

Of each month: how many rows, the sum of each column of numbers (money as decimals), and a checksum over all columns
that the table has. For the checksum every value of a row is written as text in one way, whichever engine does it; the
MD5 of these texts gives a number of 60 bits, and those of all rows are added up, so that no order has a say. Rates are
doubles, which engines write in several ways: what stands before the point and, in parts of 2^60, behind it are whole
numbers on all of them. Rates that no such number holds are written as each engine does it.

What comes out differently although the rows are the same (an id in other letters, a text in another encoding) costs
time and is no mistake: the rows of that month are compared one by one then. SQLite has no such function, and needs
none: it is read in this process.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from mofa_usage.grammar import GRAMMARS, Grammar
from mofa_usage.reading.columns import quoted
from mofa_usage.schema import Kind

__all__ = ["DUCKDB", "Engine", "Sums", "engine_of", "sums_query"]

_PARTS = 2**60
_NUMBERS = (Kind.INTEGER, Kind.MONEY)


@dataclass(frozen=True)
class Sums:
    """What was added up.

    Attributes:
        columns: over which columns, and of what kind they are.
        by_month: of each month how many rows, the checksum, and the sums, as text; None are rows without a time.
    """

    columns: Mapping[str, Kind]
    by_month: Mapping[str | None, Sequence[str | None]]

    @classmethod
    def of(cls, columns: Mapping[str, Kind], rows: Iterable[Sequence[str | None]]) -> Self:
        """The answer to `sums_query`."""
        return cls(columns, {month: tuple(sums) for month, *sums in rows})


@dataclass(frozen=True)
class Engine:
    """How an engine writes what all of them must write alike; each makes an expression of an expression.

    Attributes:
        text: an expression as text, of a plain text the same.
        written: texts of the kinds that take more than that.
        whole: a double without a fraction as the text of a whole number.
        month: the UTC month of a time ("2026-05").
        number: the first 60 bits of the MD5 of a text.
        character: the character with a code.
        origin: what says how the counts of a call came about (`token_source`), in the details of its completion.
        name: an identifier.
    """

    text: Callable[[str], str]
    written: Mapping[Kind, Callable[[str], str]]
    whole: Callable[[str], str]
    month: Callable[[str], str]
    number: Callable[[str], str]
    character: Callable[[int], str]
    origin: str = "NULL"
    name: Callable[[str], str] = lambda name: name

    def value(self, name: str, kind: Kind) -> str:
        """The value of a column as text, a null as a character that no text is."""
        column = self.name(name)
        if kind is Kind.RATE:
            whole, part = f"floor({column})", f"floor(({column} - floor({column})) * {_PARTS}e0)"
            fits = f"abs({column}) < {_PARTS}e0"
            return ", ".join(
                self._said(f"CASE WHEN {fits} THEN {self.whole(number)} ELSE {self.text(column)} END")
                for number in (whole, part)
            )
        return self._said(self.written.get(kind, self.text)(column))

    def _said(self, text: str) -> str:
        return f"coalesce({text}, {self.character(30)})"


def _lower(text: Callable[[str], str]) -> Callable[[str], str]:
    return lambda value: f"lower({text(value)})"


def _postgres_text(value: str) -> str:
    return f"CAST({value} AS TEXT)"


def _mysql_text(value: str) -> str:
    return f"CONVERT({value} USING utf8mb4)"


def _mysql_number(value: str) -> str:
    return f"CAST({value} AS CHAR)"


def _duckdb_text(value: str) -> str:
    return f"CAST({value} AS VARCHAR)"


_POSTGRES = Engine(
    text=_postgres_text,
    written={
        Kind.ID: _lower(_postgres_text),
        Kind.FLAG: lambda value: f"CAST(CAST({value} AS INTEGER) AS TEXT)",
        Kind.MONEY: lambda value: f"CAST(CAST({value} AS NUMERIC(38, 10)) AS TEXT)",
        Kind.TIME: lambda value: f"CAST(CAST(EXTRACT(EPOCH FROM {value}) * 1000000 AS BIGINT) AS TEXT)",
    },
    whole=lambda value: f"CAST(CAST({value} AS BIGINT) AS TEXT)",
    month=lambda value: f"to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM')",
    number=lambda text: f"CAST(CAST('x' || left(md5(convert_to({text}, 'UTF8')), 15) AS BIT(60)) AS BIGINT)",
    character=lambda code: f"chr({code})",
    origin="completion_tokens_details ->> 'token_source'",
)
_MYSQL = Engine(
    text=_mysql_text,
    written={
        Kind.ID: _lower(_mysql_text),
        Kind.INTEGER: _mysql_number,
        Kind.FLAG: lambda value: _mysql_number(f"({value} <> 0)"),
        Kind.MONEY: lambda value: _mysql_number(f"CAST({value} AS DECIMAL(38, 10))"),
        Kind.TIME: lambda value: _mysql_number(f"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {value})"),
    },
    whole=lambda value: _mysql_number(f"CAST({value} AS SIGNED)"),
    month=lambda value: f"DATE_FORMAT({value}, '%Y-%m')",
    number=lambda text: f"CAST(CONV(LEFT(MD5({text}), 15), 16, 10) AS UNSIGNED)",
    character=lambda code: f"CHAR({code} USING utf8mb4)",
    origin="CASE WHEN JSON_VALID(completion_tokens_details) "
    "THEN JSON_VALUE(completion_tokens_details, '$.token_source') END",
)
DUCKDB = Engine(
    text=_duckdb_text,
    written={
        Kind.ID: _lower(_duckdb_text),
        Kind.FLAG: lambda value: f"CAST(CAST({value} AS INTEGER) AS VARCHAR)",
        Kind.MONEY: lambda value: f"CAST(CAST({value} AS DECIMAL(38, 10)) AS VARCHAR)",
        Kind.TIME: lambda value: f"CAST(epoch_us({value}) AS VARCHAR)",
    },
    whole=lambda value: f"CAST(CAST({value} AS BIGINT) AS VARCHAR)",
    month=lambda value: f"strftime({value}, '%Y-%m')",
    number=lambda text: f"CAST('0x' || left(md5({text}), 15) AS BIGINT)",
    character=lambda code: f"chr({code})",
    name=quoted,
)
"""How DuckDB does it, in a session on the clock of UTC."""


def engine_of(grammar: Grammar) -> Engine | None:
    """How a kind of database does it; None for one that cannot."""
    if grammar is GRAMMARS["postgres"]:
        return _POSTGRES
    return _MYSQL if grammar is GRAMMARS["mysql"] else None


def sums_query(engine: Engine, columns: Mapping[str, Kind], relation: str) -> str:
    """The statement that adds up a relation: month, number of rows, checksum, and the sums in the columns' order, all
    of it as text.
    """
    month = engine.month(engine.name("create_time"))
    sums = ", ".join(f"{value} AS {name}" for name, value in _summed(engine, columns))
    return f"SELECT {month} AS month, {sums} FROM {relation} GROUP BY 1"  # noqa: S608 (names of ours)


def _summed(engine: Engine, columns: Mapping[str, Kind]) -> Iterator[tuple[str, str]]:
    said = engine.written.get(Kind.INTEGER, engine.text)
    values = ", ".join(engine.value(name, kind) for name, kind in columns.items())
    yield "many", said("count(*)")
    yield "checksum", said(f"sum({engine.number(f'concat_ws({engine.character(31)}, {values})')})")
    for name, kind in columns.items():
        if kind in _NUMBERS:
            number = f"CAST({engine.name(name)} AS DECIMAL(38, 10))" if kind is Kind.MONEY else engine.name(name)
            yield f"sum_{name}", said(f"sum({number})")
