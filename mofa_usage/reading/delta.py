"""A warehouse read as calls: one version of its Delta tables, which stays as it is whoever writes meanwhile.

A Delta table is Parquet files and a log that says which of them are the table at each version, with the least and the
greatest value of some columns in each. The log is read by `deltalake`, the files by DuckDB as any others: the list of
those that can hold what is asked for, so that a question about a week opens the files of that week.

The files hold what a frame of calls holds, in its types. What the tables beside say is joined when it is asked for, so
that an agent who was renamed has one name in all its calls: the names of agents and providers, and what the metadata of
sessions says (`session.plan`). A question that does not speak of them does not read those tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import NAME_COLUMNS, SESSION, literal, quoted
from mofa_usage.reading.labels import session_columns
from mofa_usage.reading.relation import (
    NO_TABLES,
    SCHEMA_VERSION,
    RelationCalls,
    Tables,
    clocked_cursor,
    newer_columns,
    told,
)
from mofa_usage.reading.selection import Selection

if TYPE_CHECKING:
    from deltalake import DeltaTable

import duckdb  # isort: skip (after relation, which names the extra)
import polars as pl  # isort: skip

__all__ = [
    "AsOf",
    "DataFile",
    "StorageOptions",
    "TableFiles",
    "WarehouseCalls",
    "columns_version",
    "delta_table",
    "delta_told",
    "described",
    "files_of",
    "is_local",
    "is_warehouse",
    "open_warehouse",
    "place_of",
]

AsOf: TypeAlias = "int | datetime | None"
"""Which version: a number, the last one at a time, or the newest."""
StorageOptions: TypeAlias = Mapping[str, str]
"""How an object store is reached, as deltalake takes it. It may hold secrets, and is never shown."""

_LOG = "_delta_log"
_NAMES = """
    SELECT agents.id, any_value(agent_code) AS agent_code, any_value(agent_name) AS agent_name,
        any_value(provider_name) AS provider_name
    FROM {agents} AS agents LEFT JOIN {providers} AS providers ON providers.id = agents.provider_id
    GROUP BY agents.id ORDER BY agents.id
"""
_LOOKED_UP = 500
"""For so many agents a look into a list takes less than a join."""


def is_warehouse(path: str | Path) -> bool:
    """Whether a local folder is one, with a table of calls."""
    return Path(path, "calls", _LOG).is_dir()


def place_of(root: str, table: str) -> str:
    """Where a table of the warehouse is."""
    return f"{root.rstrip('/')}/{table}"


def is_local(root: str) -> bool:
    """Whether a warehouse is a folder of this machine, not at a URL."""
    return "://" not in root


@contextmanager
def delta_told(what: str) -> Iterator[None]:
    """The errors of deltalake as ours; their text says what is wrong and no secrets.

    Raises:
        UsageError: as deltalake says.
    """
    exceptions = require("deltalake.exceptions", extra="warehouse")
    try:
        yield
    except (exceptions.DeltaError, OSError) as error:
        raise UsageError(f"cannot {what}: {error}") from error


def delta_table(root: str, table: str, options: StorageOptions, as_of: AsOf = None) -> "DeltaTable | None":
    """A table of a warehouse, None where it has none (at that time).

    Raises:
        UsageError: it has no such version, or cannot be read.
    """
    deltalake = require("deltalake", extra="warehouse")
    place = place_of(root, table)
    with delta_told(f"read the table {table} of the warehouse {root}"):
        try:
            found: DeltaTable = deltalake.DeltaTable(place, storage_options=dict(options))
        except require("deltalake.exceptions", extra="warehouse").TableNotFoundError:
            return None
        if isinstance(as_of, int) and not 0 <= as_of <= found.version():
            raise UsageError(f"there is no version {as_of} of {table}; the newest is {found.version()}")
        version = _version_at(found, as_of) if isinstance(as_of, datetime) else as_of
        if version == _NONE:
            return None
        if version is not None:
            found.load_as_version(version)
    return found


_NONE = -1  # the version of a table that is not there yet


def _version_at(table: "DeltaTable", moment: datetime) -> int:
    """The last version that was committed until a moment, by the times that `history` shows."""
    written = ((commit["version"], _when(commit)) for commit in table.history())
    return next((version for version, when in written if when <= moment), _NONE)


def _when(commit: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)


def _lasted_until(root: str, version: int, options: StorageOptions) -> datetime | None:
    """When the version of the calls after this one was committed, None if it is the newest."""
    newest = delta_table(root, "calls", options)
    after = [] if newest is None else [one for one in newest.history() if one["version"] == version + 1]
    return _when(after[0]) - _CLOSE if after else None


_VERSION = "mofa_usage, columns "


def described(version: str = SCHEMA_VERSION) -> str:
    """What the description of a table says about the version of its columns."""
    return _VERSION + version


def columns_version(table: "DeltaTable") -> str:
    """The version of the columns of a table."""
    return (table.metadata().description or described()).removeprefix(_VERSION)


@dataclass(frozen=True)
class DataFile:
    """A file of a version of a table: where it is, how large, and what its rows have at least and at most.

    `path` is relative to the table, `uri` is what this machine opens. A bound is None where nothing is known, or
    nothing is there.
    """

    path: str
    uri: str
    rows: int
    bytes: int
    month: str
    ids: tuple[str, str] | None
    times: tuple[datetime, datetime] | None

    def may_hold(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether a call created in [start, end) can be in it."""
        if self.times is None or (start is None and end is None):
            return True
        first, last = self.times
        return (end is None or first < end) and (start is None or last >= start)


_CLOSE = timedelta(milliseconds=1)  # other writers cut the times of their statistics off there


def files_of(table: "DeltaTable") -> list[DataFile]:
    """The files of a version, in the order of their months and times."""
    root = table.table_uri.removeprefix("file://").rstrip("/")
    files = []
    for add in pl.DataFrame(table.get_add_actions(flatten=True)).to_dicts():
        bounds: list[Any] = [add.get(f"{end}.{name}") for name in ("id", "create_time") for end in ("min", "max")]
        least, greatest, first, last = bounds
        path = add["path"]
        files.append(
            DataFile(
                path=path,
                uri=path if "://" in path or path.startswith("/") else f"{root}/{path}",
                rows=add["num_records"] or 0,
                bytes=add["size_bytes"],
                month=add.get("partition.month") or "",
                ids=None if least is None or greatest is None else (least, greatest),
                times=None if first is None or last is None else (first - _CLOSE, last + _CLOSE),
            )
        )
    return sorted(files, key=lambda file: (file.month, file.times or (), file.uri))


_SQL_TYPES = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "integer": "INTEGER",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
}


@dataclass(frozen=True)
class TableFiles:
    """A version of a table: its columns as DuckDB's SQL declares them, its files, and what reads them elsewhere.

    `dataset` is None where the files are on this machine; DuckDB reads those itself.
    """

    columns: Mapping[str, str]
    files: Sequence[DataFile]
    dataset: Any = None

    @classmethod
    def of(cls, table: "DeltaTable", *, local: bool) -> "TableFiles":
        """The files of a table that was opened."""
        types = {field.name: field.type for field in table.schema().fields}
        named = {name: str(getattr(kind, "type", kind)) for name, kind in types.items()}
        columns = {name: _SQL_TYPES.get(kind, kind.upper()) for name, kind in named.items() if name != "month"}
        return cls(columns, files_of(table), None if local else table.to_pyarrow_dataset())

    def created_in(self, start: datetime | None, end: datetime | None) -> "TableFiles":
        """Only the files that can hold rows created in [start, end)."""
        return self.only([one for one in self.files if one.may_hold(start, end)])

    def only(self, files: Sequence[DataFile]) -> "TableFiles":
        """Some of the files."""
        if self.dataset is None:
            return TableFiles(self.columns, files)
        paths, dataset = {file.path for file in files}, self.dataset
        fragments = [one for one in dataset.get_fragments() if one.path in paths]
        narrowed = type(dataset)(fragments, dataset.schema, dataset.format, dataset.filesystem)
        return TableFiles(self.columns, files, narrowed)

    def sql(self, cursor: duckdb.DuckDBPyConnection, name: str) -> str:
        """What stands behind FROM: all columns, also those that only later files have.

        Whatever is missing in a file, in none of those that are read too, is null.
        """
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(column)}" for column, kind in self.columns.items())
        nothing = f"SELECT {nothing} WHERE false"
        if not self.files:
            return f"({nothing})"
        if self.dataset is not None:
            cursor.register(name, self.dataset)  # it skips files by their statistics itself
            return f"(SELECT * EXCLUDE (month) FROM {quoted(name)})"  # noqa: S608 (a quoted name, here and below)
        files = ", ".join(literal(escape(file.uri)) for file in self.files)
        read = f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
        return f"({nothing} UNION ALL BY NAME SELECT * FROM {read})"  # noqa: S608

    def place(self, file: DataFile) -> str:
        """What `places_sql` calls a file: Arrow by its path in the table, DuckDB by what it opens."""
        return file.uri if self.dataset is None else file.path

    def places_sql(self, cursor: duckdb.DuckDBPyConnection, name: str) -> str:
        """What stands behind FROM: `id`, `create_time` and the file (its `place`)."""
        if self.dataset is not None:
            cursor.register(name, self.dataset.scanner(columns=["id", "create_time", "__filename"]).to_reader())
            return f'(SELECT id, create_time, "__filename" AS place FROM {quoted(name)})'  # noqa: S608
        files = ", ".join(literal(escape(file.uri)) for file in self.files)
        return f"(SELECT id, create_time, filename AS place FROM read_parquet([{files}], filename = true))"  # noqa: S608


@dataclass(frozen=True)
class _Beside:
    """What the tables beside the calls say: the names of each agent, and the values of each session.

    `agents` has id, agent_code, agent_name and provider_name, `sessions` has chat_session_id and `session.NAME` for
    each name. Either is None where there is nothing.
    """

    agents: pl.DataFrame | None
    sessions: pl.DataFrame | None

    @classmethod
    def of(cls, tables: Mapping[str, TableFiles], database: duckdb.DuckDBPyConnection) -> "_Beside":
        """Read the tables: once for a version, because a frame of calls has to know its columns."""
        cursor = clocked_cursor(database, "UTC")
        read = {name: table.sql(cursor, f"mofa_usage: {name}") for name, table in tables.items() if name != "calls"}
        agents = sessions = None
        if {"agents", "providers"} <= set(read):
            agents = pl.DataFrame(pl.from_arrow(cursor.sql(_NAMES.format(**read)).to_arrow_table()))
        if "sessions" in read:
            query = f"SELECT id, metadata FROM {read['sessions']} WHERE metadata <> '{{}}' ORDER BY id"  # noqa: S608
            sessions = session_columns(cursor.sql(query).fetchall())
        return cls(None if agents is None or agents.is_empty() else agents, sessions)


class _Snapshot:
    """The tables of one version, opened as a relation of calls with a cursor of its own each time.

    Pickled, it is the list of the files.
    """

    def __init__(self, tables: Mapping[str, TableFiles], left_out: Sequence[str] = ()) -> None:
        self.tables = tables
        self.left_out = tuple(left_out)
        self._database = duckdb.connect()
        self._database.execute("SET parquet_metadata_cache = true")
        self.beside = _Beside.of(tables, self._database)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Snapshot, (self.tables, self.left_out)

    def created_in(self, start: datetime | None, end: datetime | None) -> "_Snapshot":
        """The same, whose calls are of the files that can hold those created in [start, end)."""
        narrowed = copy(self)
        narrowed.tables = {**self.tables, "calls": self.tables["calls"].created_in(start, end)}
        return narrowed

    def __call__(self, tz: str, beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        cursor = clocked_cursor(self._database, tz)
        for name, table in beside.items():
            cursor.register(name, table)
        calls, columns = self.tables["calls"].sql(cursor, "mofa_usage: calls"), self.tables["calls"].columns
        said = {name: f"calls.{quoted(name)}" for name in columns if name not in self.left_out}
        joined = self._named(cursor, said) + self._told_of_sessions(cursor, said)
        wanted = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in said.items())
        return cursor.sql(f"SELECT {wanted} FROM {calls} AS calls{joined}")  # noqa: S608 (all of it is quoted)

    def _named(self, cursor: duckdb.DuckDBPyConnection, said: dict[str, str]) -> str:
        """Let `said` know the names of agents and providers; what has to be joined for it.

        DuckDB leaves out one join of which no column is wanted, but not a second one. That one is the sessions',
        who may be many; agents are looked up, and only joined if they are so many that looking up would take longer.
        """
        agents = self.beside.agents
        if agents is None or not {"agent_id", *NAME_COLUMNS} <= set(said):
            return ""
        found, joined = {}, ""
        if agents.height <= _LOOKED_UP:
            ids = agents["id"].to_list()
            for name in NAME_COLUMNS:
                pairs = ", ".join(
                    f"{literal(one)}: {_text(value)}" for one, value in zip(ids, agents[name], strict=True)
                )
                found[name] = f"CAST(MAP {{{pairs}}} AS MAP(VARCHAR, VARCHAR))[calls.agent_id]"
        else:
            cursor.register("mofa_usage: agents", agents)
            joined = ' LEFT JOIN "mofa_usage: agents" AS agents ON agents.id = calls.agent_id'
            found = {name: f"agents.{name}" for name in NAME_COLUMNS}
        said |= {name: f"coalesce({found[name]}, calls.{name})" for name in ("agent_code", "agent_name")}
        # What the label `provider` of a call says comes before what its agent is set to.
        said["provider_name"] = f"coalesce(calls.provider_name, {found['provider_name']})"
        return joined

    def _told_of_sessions(self, cursor: duckdb.DuckDBPyConnection, said: dict[str, str]) -> str:
        """Let `said` know what the sessions' metadata says; what has to be joined for it."""
        sessions = self.beside.sessions
        if sessions is None or "chat_session_id" not in said:
            return ""
        cursor.register("mofa_usage: sessions", sessions)
        further = [name for name in sessions.columns if name.startswith(SESSION) and name not in said]
        values = "".join(f", any_value({quoted(name)}) AS {quoted(name)}" for name in further)
        told_of = f'(SELECT chat_session_id AS id{values} FROM "mofa_usage: sessions" GROUP BY 1)'  # noqa: S608
        said |= {name: f"sessions.{quoted(name)}" for name in further}
        return f" LEFT JOIN {told_of} AS sessions ON sessions.id = calls.chat_session_id"


def _text(value: str | None) -> str:
    return "NULL" if value is None else literal(value)


class WarehouseCalls(RelationCalls):
    """The calls of one version of a warehouse."""

    _opened: _Snapshot

    def __init__(self, snapshot: _Snapshot) -> None:
        super().__init__(snapshot, canonical=True)

    @property
    def snapshot(self) -> _Snapshot:
        """The tables of the version."""
        return self._opened

    @property
    def can_be_reopened(self) -> bool:
        """Whether another process finds the files by their paths. Those of an object store need what is secret."""
        return all(table.dataset is None for table in self._opened.tables.values())

    def relation(self, selection: Selection, tz: str = "UTC", beside: Tables = NO_TABLES) -> duckdb.DuckDBPyRelation:
        """See `RelationCalls`. Files whose calls are all out of the period are not opened."""
        narrowed = copy(self)
        narrowed._opened = self._opened.created_in(selection.start, selection.end)
        return RelationCalls.relation(narrowed, selection, tz, beside)


def open_warehouse(root: str, options: StorageOptions, as_of: AsOf = None) -> WarehouseCalls:
    """The calls of a warehouse as it is, or was.

    Raises:
        UsageError: there is no warehouse, or no longer what it was then.
    """
    calls = delta_table(root, "calls", options, as_of)
    if calls is None:
        when = "" if as_of is None else f" at {as_of}"
        raise UsageError(f"there are no calls in {root}{when}: Warehouse(path).sync(source) makes a warehouse")
    opened = {"calls": calls}
    moment = _lasted_until(root, as_of, options) if isinstance(as_of, int) else as_of
    for name in ("agents", "providers", "sessions"):
        if (table := delta_table(root, name, options, moment)) is not None:
            opened[name] = table
    tables = {name: TableFiles.of(table, local=is_local(root)) for name, table in opened.items()}
    if as_of is not None:
        _check_kept(tables, as_of)
    with told():
        return WarehouseCalls(_Snapshot(tables, newer_columns(columns_version(calls))))


def _check_kept(tables: Mapping[str, TableFiles], as_of: AsOf) -> None:
    """Refuse an old version of which files are gone.

    Raises:
        UsageError: vacuum removed some.
    """
    for name, table in tables.items():
        paths = [file.uri for file in table.files]
        if table.dataset is None:
            gone = sum(not Path(path).exists() for path in paths)
        else:
            found = table.dataset.filesystem.get_file_info(table.dataset.files)
            gone = sum(not one.is_file for one in found)
        if gone:
            raise UsageError(
                f"the warehouse as of {as_of} is no longer there: vacuum removed {gone} of the {len(paths)} files of "
                f"{name}; history() says which versions there are"
            )
