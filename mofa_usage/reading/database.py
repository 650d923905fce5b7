"""Calls of a database, read as Arrow batches and not row by row.

Not every Arrow driver (`mofa_usage.reading.drivers`) takes parameters, so the values of a filter become literals of the
statement. How databases compare is said in `mofa_usage.grammar`; what else differs is a `SqlFlavour` for each. Text
goes into a statement as hexadecimal digits on servers, where the meaning of a backslash depends on the mode of the
session; SQLite knows no escape but the doubled quote.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from mofa_usage.errors import SerializationError, UsageError
from mofa_usage.grammar import GRAMMARS, Grammar
from mofa_usage.reading.columns import (
    CALL_COLUMNS,
    CALL_SCHEMA,
    LABEL,
    NAME_COLUMNS,
    SESSION,
    call_column,
    literal,
    needed_columns,
)
from mofa_usage.reading.drivers import Reader, StoredColumn
from mofa_usage.reading.exact import Leeway
from mofa_usage.reading.labels import MOST, UNREAD, label_columns, label_counts, session_columns
from mofa_usage.reading.rows import complete, normalise
from mofa_usage.reading.selection import Selection
from mofa_usage.schema import AGENT, API_CALL, CHAT_SESSION, PROVIDER, Kind, TableSpec

__all__ = ["FLAVOURS", "DatabaseCalls", "SqlFlavour"]

_TABLE = API_CALL.table.name
_MOST = 2**63 - 1  # rows that a database can count
_WINDOW = 65_536  # calls: some 50 MB


@dataclass(frozen=True)
class SqlFlavour:
    """How one kind of database is asked, besides how it compares, which its grammar says.

    `text` and `moment` write literals, `time` is `create_time` in a form that compares with such a moment; the latter
    two are given what the column is declared as. `read` is the expression that reads a column of a kind. `naive_utc`:
    times have no zone and are UTC.
    """

    grammar: Grammar
    text: Callable[[str], str]
    moment: Callable[[Any, str], str]
    read: Callable[[str, Kind, str], str] = lambda column, kind, declared: column
    time: Callable[[str], str] = lambda declared: "create_time"
    naive_utc: bool = False

    def created_in(self, start: datetime | None, end: datetime | None, declared: str) -> list[str]:
        """The conditions that a row was made in [start, end), given what `create_time` is declared as."""
        sides = ((self.grammar.since, start), (self.grammar.before, end))
        return [self._compared(template, moment, declared) for template, moment in sides if moment is not None]

    def _compared(self, template: str, moment: datetime, declared: str) -> str:
        exact = self.grammar.exact(moment)
        second = self.grammar.second_of(exact)
        literals = {"exact": self.moment(exact, declared), "second": self.moment(second, declared)}
        return template.format(column=self.time(declared), **literals)


def _naive(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", timespec="microseconds")


def _postgres_text(text: str) -> str:
    return f"convert_from(decode('{text.encode().hex()}', 'hex'), 'UTF8')"


# asyncpg writes the first and the last moment as infinities.
_FIRST = datetime.min.replace(tzinfo=UTC)
_ENDS = ("TIMESTAMPTZ '0001-01-01 00:00:00+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'")
_POSTGRES_TEXTS = (Kind.ID, Kind.NAME, Kind.JSON, Kind.MONEY)


def _postgres_moment(moment: datetime, _: str) -> str:
    return "TIMESTAMPTZ '-infinity'" if moment == _FIRST else f"TIMESTAMPTZ '{_naive(moment)}+00'"


def _postgres_read(column: str, kind: Kind, _: str) -> str:
    if kind is Kind.TIME:
        return f"greatest({_ENDS[0]}, least({_ENDS[1]}, {column})) AS {column}"
    # A status may be an enum; a NUMERIC would come as text all the same.
    return f"CAST({column} AS TEXT) AS {column}" if kind in _POSTGRES_TEXTS else column


# TIMESTAMP depends on the zone of the session, its seconds since 1970 do not.
_MYSQL_EPOCH = "CAST('1970-01-01' AS DATETIME(6))"


def _mysql_read(column: str, kind: Kind, declared: str) -> str:
    if kind is Kind.TIME and declared.startswith("timestamp"):
        return f"{_MYSQL_EPOCH} + INTERVAL UNIX_TIMESTAMP({column}) SECOND AS {column}"
    if kind is Kind.NAME or declared.startswith(("json", "enum")):
        return f"CAST({column} AS CHAR) AS {column}"
    return column


def _mysql_time(declared: str) -> str:
    return "UNIX_TIMESTAMP(create_time)" if declared.startswith("timestamp") else "create_time"


def _mysql_moment(moment: datetime, declared: str) -> str:
    if declared.startswith("timestamp"):
        return f"{(moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds():.6f}"
    return f"'{_naive(moment)}'"


FLAVOURS: Mapping[str, SqlFlavour] = {
    "sqlite": SqlFlavour(GRAMMARS["sqlite"], text=literal, moment=lambda text, _: literal(text)),
    "postgres": SqlFlavour(GRAMMARS["postgres"], text=_postgres_text, moment=_postgres_moment, read=_postgres_read),
    "mysql": SqlFlavour(
        GRAMMARS["mysql"],
        text=lambda text: f"_utf8mb4 x'{text.encode().hex()}'",
        moment=_mysql_moment,
        read=_mysql_read,
        time=_mysql_time,
        naive_utc=True,
    ),
}


class DatabaseCalls:
    """The calls in a database, as batches of normalised frames.

    Raises:
        UsageError: the database has no table of calls.
    """

    def __init__(self, reader: Reader, flavour: SqlFlavour) -> None:
        self._reader = reader
        self._flavour = flavour
        self._declared = reader.columns(_TABLE)
        if not self._declared:
            raise UsageError(f"{reader} has no table {_TABLE}; a store makes it when it connects")

    def columns(self, selection: Selection) -> tuple[str, ...]:
        """The columns that the frame will have. Unless they were asked for, the labels of the calls are read for it.

        Raises:
            UsageError: one was asked for that no database has.
        """
        if selection.columns is not None:
            return self._asked_for(selection.columns)
        counts: Counter[str] = Counter()
        if "labels" in self._declared:
            labels = self._statement(["labels"], selection, by_time=False)
            labelled = f"SELECT * FROM ({labels}) AS labelled WHERE labels IS NOT NULL"  # noqa: S608 (see _statement)
            for raw in self._reader.stream([labelled], [self._column("labels")]):
                counts.update(label_counts(raw["labels"].cast(pl.String)))
        sessions = self._sessions()
        return (*_fixed(selection), *label_columns(counts), *(sessions.columns[1:] if sessions is not None else ()))

    def _asked_for(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        for name in columns:
            if call_column(name) is None and not name.startswith(SESSION):
                known = (*CALL_SCHEMA, f"{LABEL}NAME", f"{SESSION}NAME")
                raise UsageError(f"no column is called {name!r}; there are {', '.join(known)}")
        return columns

    def rounded_prices(self, selection: Selection) -> int:
        """See `Calls`: a database keeps ten places, or doubles that stand for them."""
        return 0

    def count(self, selection: Selection) -> int:
        """How many calls are selected."""
        inner = self._statement(["id"], selection, by_time=False)
        counted = self._reader.query(f"SELECT count(*) AS calls FROM ({inner}) AS selected")  # noqa: S608
        return int(counted["calls"][0])

    def batches(self, selection: Selection, *, by_time: bool = False) -> Iterator[pl.DataFrame]:
        """The selected calls; `by_time` in ascending order of create_time, to the second on SQLite.

        In order of time they are read a window after the other, because the driver fetches as fast as it can and
        whoever is slower would have it all in memory. So it is no snapshot then: a call that is saved meanwhile is
        there if its window was still to come.
        """
        # A file has the same columns from its first row to its last, so for one the labels are looked for before;
        # else each batch has columns for those in it, and `gather` makes one frame of them.
        found = selection.columns is None and not by_time
        columns = _fixed(selection) if found else self.columns(selection)
        names = self._names() if any(name in NAME_COLUMNS for name in columns) else None
        sessions = self._sessions() if found or any(name.startswith(SESSION) for name in columns) else None
        own = self._own(columns, names, sessions)
        stored = list(dict.fromkeys(source for name in own if (source := self._source(name)) is not None))
        windows = self._windows(selection) if by_time and not selection.ordered else [selection]
        for raw in self._raw(windows, stored, by_time):
            labels = _labels_in(raw) if found else ()
            calls = self._normalise(raw, [*own, *(name for name in labels if name != UNREAD and name not in own)])
            if UNREAD in labels:
                calls = calls.with_columns(raw["labels"].alias(UNREAD))
            if names is not None:
                calls = calls.join(names, on="agent_id", how="left", maintain_order="left")
                named = complete(calls, NAME_COLUMNS, calls.columns)
                calls = calls.with_columns(named.get_columns())
            if sessions is not None:
                calls = calls.join(sessions, on="chat_session_id", how="left", maintain_order="left")
            further = sessions.columns[1:] if found and sessions is not None else []
            missing = (name for name in columns if name not in calls.columns)  # of no session that is here
            calls = calls.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in missing)
            yield calls.select(*columns, *labels, *further)

    def _own(self, columns: Sequence[str], names: pl.DataFrame | None, sessions: pl.DataFrame | None) -> list[str]:
        """The columns that come from the table of calls, those among them by which others are joined."""
        joined = () if names is None else NAME_COLUMNS
        own = [name for name in columns if name not in joined and not name.startswith(SESSION)]
        if names is not None:
            own += ["agent_id", *(["labels.agent", "labels.provider"] if "labels" in self._declared else [])]
        if sessions is not None:
            own.append("chat_session_id")
        return needed_columns(["id", *own], self._declared)  # the id names a call in errors

    def _source(self, name: str) -> str | None:
        """The column of the table that a column is made of; None where the table may do without."""
        column = call_column(name)
        source = None if column is None else column.source
        return None if source == "labels" and source not in self._declared else source

    def _raw(self, windows: Iterable[Selection], stored: Sequence[str], by_time: bool) -> Iterator[pl.DataFrame]:
        statements = (self._statement(stored, window, by_time) for window in windows)
        yield from self._reader.stream(statements, [self._column(name) for name in stored])

    def _normalise(self, raw: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        # SQLite keeps prices as doubles, and other programs may have computed them: a ledger stays readable.
        leeway = Leeway(naive_utc=self._flavour.naive_utc, round_prices=True)
        return normalise(raw, columns, leeway, error=SerializationError)

    def _windows(self, selection: Selection) -> Iterator[Selection]:
        """The selection in parts of about so many calls each, and of whole seconds, one after the other in time."""
        rest = selection
        while True:
            statement = f"{self._statement(['create_time'], rest, by_time=True)} LIMIT 1 OFFSET {_WINDOW}"
            found = pl.concat(self._reader.stream([statement], [self._column("create_time")]))
            times = self._normalise(found, ["create_time"])
            if times.is_empty():
                yield rest
                return
            until: datetime = times["create_time"].dt.truncate("1s")[0]
            if rest.start is not None and until <= rest.start:
                until = rest.start.replace(microsecond=0) + timedelta(seconds=1)  # so many within one second
            yield replace(rest, end=until)
            rest = replace(rest, start=until)

    def _column(self, name: str) -> StoredColumn:
        return StoredColumn(name, _kind(name), self._declared.get(name, ""))

    def _statement(self, stored: Sequence[str], selection: Selection, by_time: bool) -> str:
        for name in stored:
            if name not in self._declared:
                raise UsageError(f"the table {_TABLE} has no column {name}")
        reads = [self._flavour.read(name, _kind(name), self._declared[name]) for name in stored]
        conditions = self._conditions(selection)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        ordered = self._part(selection, where) if selection.ordered else where
        statement = f"SELECT {', '.join(reads)} FROM {_TABLE}{ordered}"  # noqa: S608 (literals are escaped)
        if not by_time:
            return statement
        if selection.ordered:
            statement = f"SELECT * FROM ({statement}) AS newest"  # noqa: S608
        return f"{statement} ORDER BY create_time"

    def _conditions(self, selection: Selection) -> list[str]:
        equal = [self._equals(column, value) for column, value in selection.equal.items()]
        declared = self._declared.get("create_time", "")
        return equal + self._flavour.created_in(selection.start, selection.end, declared)

    def _equals(self, column: str, value: str) -> str:
        # An id is hexadecimal digits and hyphens.
        literal = f"'{value}'" if API_CALL.kinds[column] is Kind.ID else self._flavour.text(value)
        return self._flavour.grammar.equals(column, value, literal)

    def _part(self, selection: Selection, where: str) -> str:
        """The end of a statement that takes a part of the calls, newest first."""
        grammar = self._flavour.grammar
        order = f" ORDER BY {', '.join(grammar.newest())}"
        if selection.limit is None:
            return f"{where}{order} LIMIT {grammar.everything} OFFSET {selection.offset}"
        further = grammar.only_newest(_TABLE, where, str(min(selection.limit + selection.offset, _MOST) - 1))
        if further:
            where = f"{where} AND {further}" if where else f" WHERE {further}"
        return f"{where}{order} LIMIT {selection.limit} OFFSET {selection.offset}"

    def _names(self) -> pl.DataFrame | None:
        """agent_id with the names that belong to it, None where the tables are missing."""
        agents = self._small(AGENT, ("id", "agent_code", "agent_name", "provider_id"))
        if agents is None:
            return None
        providers = self._small(PROVIDER, ("id", "provider_name"))
        if providers is None:
            named = agents.with_columns(provider_name=pl.lit(None, dtype=pl.String))
        else:
            named = agents.join(providers, left_on="provider_id", right_on="id", how="left", maintain_order="left")
        return named.select(pl.col("id").alias("agent_id"), *NAME_COLUMNS).unique("agent_id", maintain_order=True)

    def _sessions(self) -> pl.DataFrame | None:
        """chat_session_id with a column for each value of the metadata, None where there is none."""
        table = self._small(CHAT_SESSION, ("id", "metadata"))
        return None if table is None else session_columns(table.filter(pl.col("metadata") != "{}").iter_rows())

    def _small(self, spec: TableSpec[Any], columns: Sequence[str]) -> pl.DataFrame | None:
        declared = self._reader.columns(spec.table.name)
        if not all(column in declared for column in columns):
            return None
        reads = ", ".join(self._flavour.read(name, spec.kinds[name], declared[name]) for name in columns)
        frames = self._reader.stream(
            [f"SELECT {reads} FROM {spec.table.name}"],  # noqa: S608
            [StoredColumn(name, spec.kinds[name], declared[name]) for name in columns],
        )
        table = pl.concat(frames)
        ids = [name for name in columns if spec.kinds[name] is Kind.ID]
        return table.with_columns(pl.col(ids).cast(pl.String).str.to_lowercase(), pl.exclude(ids).cast(pl.String))


def _fixed(selection: Selection) -> tuple[str, ...]:
    """The columns that every database has."""
    return tuple(CALL_COLUMNS if selection.details else CALL_SCHEMA)


def _labels_in(raw: pl.DataFrame) -> tuple[str, ...]:
    """The columns of the labels in a batch: one for each, or where these are too many, their JSON."""
    counts = label_counts(raw["labels"].cast(pl.String)) if "labels" in raw.columns else Counter()
    return label_columns(counts) if len(counts) <= MOST else (UNREAD,)


def _kind(column: str) -> Kind:
    """What a column of the table holds, also of labels, which older tables lack."""
    return API_CALL.kinds.get(column, Kind.JSON)
