"""The tables of a database as a warehouse wants them: which they are, and their rows with exact types.

A row is read as `load_usage` reads it: a call with its JSON taken apart, ids in lower case, times in UTC, and what is
missing said in the one way. The statements are made here; which rows they are about is up to the kind of database.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import polars as pl

from mofa_usage.errors import SerializationError, UsageError
from mofa_usage.reading.columns import NIL, CallColumn, call_column, completion, literal
from mofa_usage.reading.database import SqlFlavour
from mofa_usage.reading.drivers import Reader, StoredColumn
from mofa_usage.reading.exact import Leeway, rule_of
from mofa_usage.reading.rows import normalise
from mofa_usage.schema import AGENT, API_CALL, CHAT_SESSION, LLM_MESSAGE, PROVIDER, Kind, TableSpec
from mofa_usage.warehouse.sources.changes import CONTENT, SCHEMAS, Cost, TableName

__all__ = ["SPECS", "Key", "Order", "StoredTable"]

SPECS: Mapping[TableName, TableSpec[Any]] = {
    "calls": API_CALL,
    "messages": LLM_MESSAGE,
    "sessions": CHAT_SESSION,
    "agents": AGENT,
    "providers": PROVIDER,
}
"""What each table is in a database."""


def _as_it_is(statement: str) -> str:
    return statement


_STATEMENT_ROWS = 200_000
_ABSENT = {"tenant_id": NIL, "metadata": "{}"}
"""What a null says."""


@dataclass(frozen=True)
class Key:
    """A column by which rows are in order.

    Attributes:
        column: its name; the database has an index that begins with it.
        text: reads its value as text, exactly.
        value: makes SQL of such a text, which compares as the value did.
    """

    column: str
    text: str
    value: Callable[[str], str]


@dataclass(frozen=True)
class Order:
    """An order in which no two rows stand at the same place: the last key is the id."""

    keys: tuple[Key, ...]

    @property
    def columns(self) -> str:
        """What to order by."""
        return ", ".join(key.column for key in self.keys)

    @property
    def texts(self) -> Mapping[str, str]:
        """What reads the place of a row, by the names of the columns."""
        return {f"key_{number}": key.text for number, key in enumerate(self.keys)}

    def behind(self, place: Sequence[str]) -> str:
        """The condition that a row stands behind a place."""
        return self._beyond(place, ">", ">")

    def up_to(self, place: Sequence[str]) -> str:
        """The condition that a row stands at a place or before it."""
        return self._beyond(place, "<", "<=")

    def _beyond(self, place: Sequence[str], sign: str, last: str) -> str:
        (key, *further), (text, *texts) = self.keys, place
        if not further:
            return f"{key.column} {last} {key.value(text)}"
        # Not as a comparison of rows, for which MySQL does not use the index.
        within = Order(tuple(further))._beyond(texts, sign, last)
        value = key.value(text)
        return f"{key.column} {sign}= {value} AND ({key.column} {sign} {value} OR {within})"


@dataclass(frozen=True)
class StoredTable:
    """A table of a database.

    Attributes:
        name: as the warehouse calls it.
        reader: reads the database.
        flavour: how it is asked.
        declared: the columns that it has, with the types that they are declared as.
        content: whether the content of messages is read.
        cost: what has been read of it.
    """

    name: TableName
    reader: Reader
    flavour: SqlFlavour
    declared: Mapping[str, str]
    content: bool
    cost: Cost
    spoken: Callable[[str], str] = _as_it_is
    """What is made of each statement."""

    @property
    def table(self) -> str:
        """What the database calls it."""
        return str(SPECS[self.name].table.name)

    @property
    def schema(self) -> pl.Schema:
        """The columns of its pages."""
        return pl.Schema({**SCHEMAS[self.name], **(CONTENT if self.content else {})})

    @property
    def stored(self) -> list[str]:
        """The columns that are read."""
        if self.name != "calls":
            return list(self.schema)
        sources = (column.source for name in self.schema if (column := call_column(name)) is not None)
        found = dict.fromkeys(source for source in sources if source is not None)
        return [name for name in found if name in self.declared or name != "labels"]

    def select(self, tail: str, **further: str) -> str:
        """A statement that reads rows: `tail` is what stands behind FROM and the table's name. `further` are
        expressions to be read as text, by the names of their columns.
        """
        kinds = SPECS[self.name].kinds
        reads = [self.flavour.read(name, kinds[name], self.declared[name]) for name in self.stored]
        reads += [f"{sql} AS {name}" for name, sql in further.items()]
        return self.spoken(f"SELECT {', '.join(reads)} FROM {self.table} {tail}")  # noqa: S608 (ours, or escaped)

    def read(self, statements: Iterable[str], *further: str) -> Iterator[pl.DataFrame]:
        """The rows that statements of `select` give, as they come, each batch with its `further` columns last."""
        kinds = SPECS[self.name].kinds
        columns = [StoredColumn(name, _kind(kinds[name]), self.declared[name]) for name in self.stored]
        columns += [StoredColumn(name, Kind.TEXT, "text") for name in further]
        for raw in self.cost.counted(self.reader.stream(statements, columns)):
            yield self._normalise(raw).hstack(raw.select(pl.col(further).cast(pl.String)) if further else [])

    def walk(
        self, order: Order, after: Sequence[str] | None, *conditions: str
    ) -> Iterator[tuple[pl.DataFrame, list[str]]]:
        """The rows that meet the conditions, in an order, some ten thousand at a time; and where the last of them
        stands, behind which a walk goes on. Each statement reads at most `_STATEMENT_ROWS`, so that none holds its
        snapshot for long.
        """
        names, place, count = list(order.texts), after, 0
        # By the columns of the table: a bare name would be what is read of it, which no index is in order of.
        ordered = ", ".join(f"{self.table}.{key.column}" for key in order.keys)

        def statements() -> Iterator[str]:
            nonlocal count
            while True:
                count = 0
                met = [*conditions, *([] if place is None else [order.behind(place)])]
                where = f"WHERE {' AND '.join(met)} " if met else ""
                yield self.select(f"{where}ORDER BY {ordered} LIMIT {_STATEMENT_ROWS}", **order.texts)
                if count < _STATEMENT_ROWS:
                    return

        for rows in self.read(statements(), *names):
            if rows.height:
                count += rows.height
                place = list(rows.select(names).row(-1))
                yield rows.drop(names), place

    def _normalise(self, raw: pl.DataFrame) -> pl.DataFrame:
        # SQLite keeps prices as doubles, and other programs may have computed them: a ledger stays readable.
        leeway = Leeway(naive_utc=self.flavour.naive_utc, round_prices=True)
        if self.name == "calls":
            return normalise(raw, list(self.schema), leeway, error=SerializationError)
        kinds = {name: SPECS[self.name].kinds[name] for name in self.schema}
        rows = raw.select(_exact(name, kind, raw.schema[name], leeway) for name, kind in kinds.items())
        for name in kinds:
            if rows[name].null_count() > raw[name].null_count():
                row = (rows[name].is_null() & raw[name].is_not_null()).arg_max() or 0
                said = str(raw[name][row])[:80]
                raise SerializationError(f"{name} of the row {raw['id'][row]} of {self.table} is {said!r}")
        absent = [pl.col(name).fill_null(said) for name, said in _ABSENT.items() if name in kinds]
        return rows.with_columns(*absent, pl.max_horizontal("update_time", "create_time").alias("update_time"))

    def completed(self, token_source: str) -> str:
        """All rows as SQL, with what stands in pages for missing values. `token_source` reads it from the details."""
        kinds, names = SPECS[self.name].kinds, self.stored
        reads = [self.flavour.read(name, kinds[name], self.declared[name]) for name in names]
        if self.name == "calls":
            reads.append(f"{token_source} AS token_source")
            values = [completion(name, (*names, "token_source"), str) for name in names]
        else:
            said = {"update_time": "greatest(update_time, create_time)"}
            said |= {name: f"coalesce({name}, {literal(absent)})" for name, absent in _ABSENT.items()}
            values = [said.get(name, name) for name in names]
        completed = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        rows = f"(SELECT {', '.join(reads)} FROM {self.table}) AS stored"  # noqa: S608 (names of ours)
        return f"(SELECT {completed} FROM {rows}) AS completed"  # noqa: S608

    def query(self, statement: str) -> pl.DataFrame:
        """The answer to a small question, which is no row of the table."""
        begun = perf_counter()
        answer = self.reader.query(self.spoken(statement))
        self.cost.statements += 1
        self.cost.seconds += perf_counter() - begun
        return answer


def _kind(kind: Kind) -> Kind:
    return Kind.INTEGER if kind is Kind.FLAG else kind


def _exact(name: str, kind: Kind, dtype: pl.DataType, leeway: Leeway) -> pl.Expr:
    value = pl.col(name)
    if kind is Kind.FLAG or dtype == pl.Null():
        return value.cast(pl.Boolean if kind is Kind.FLAG else CallColumn(name, kind, name).dtype)
    exact = rule_of(CallColumn(name, kind, name)).polars(value, dtype, leeway)
    if exact is None:
        raise UsageError(f"the column {name} is {dtype}, which cannot be read as {kind.value}")
    return exact.alias(name)
