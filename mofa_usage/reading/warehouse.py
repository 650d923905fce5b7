"""A warehouse read as calls: one version of its tables, which stays as it is whoever writes meanwhile.

The files hold what a frame of calls holds, in its types. What the tables beside say is joined when it is asked for, so
that an agent who was renamed has one name in all its calls: the names of agents and providers, and what the metadata of
sessions says (`session.plan`). A question that does not speak of them does not read those tables.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.reading.columns import NAME_COLUMNS, SESSION, literal, quoted
from mofa_usage.reading.delta import (
    NO_VERSION,
    AsOf,
    TableFiles,
    columns_version,
    delta_table,
    is_local,
    version_beside,
)
from mofa_usage.reading.labels import session_columns, told_apart
from mofa_usage.reading.object_stores import StorageOptions
from mofa_usage.reading.relation import NO_TABLES, RelationCalls, Tables, clocked_cursor, newer_columns, told
from mofa_usage.reading.selection import Selection

import duckdb  # isort: skip (after relation, which names the extra)
import polars as pl  # isort: skip

__all__ = ["WarehouseCalls", "open_warehouse"]

_NAMES = """
    SELECT agents.id, any_value(agent_code) AS agent_code, any_value(agent_name) AS agent_name,
        any_value(provider_name) AS provider_name
    FROM {agents} AS agents LEFT JOIN {providers} AS providers ON providers.id = agents.provider_id
    GROUP BY agents.id ORDER BY agents.id
"""
_LOOKED_UP = 500
"""For so many agents a look into a list takes less than a join."""


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
        further = told_apart((name for name in sessions.columns if name.startswith(SESSION)), said)
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
        sessions = self._opened.beside.sessions
        hidden = (set(selection.columns or ()) - self._types.keys()) & set(() if sessions is None else sessions.columns)
        if hidden:
            raise UsageError(f"{min(hidden)}: another column has this name but for capitals, and stands for it here")
        narrowed = copy(self)
        narrowed._opened = self._opened.created_in(selection.start, selection.end)
        return RelationCalls.relation(narrowed, selection, tz, beside)


_BESIDE = ("agents", "providers", "sessions")


def open_warehouse(
    root: str, options: StorageOptions, as_of: AsOf = None, beside: Sequence[str] = _BESIDE
) -> WarehouseCalls:
    """The calls of a warehouse as it is, or was, with what the tables `beside` them say.

    Raises:
        UsageError: there is no warehouse, or no longer what it was then.
    """
    calls = delta_table(root, "calls", options, as_of)
    if calls is None:
        if as_of is not None and delta_table(root, "calls", options) is not None:
            raise UsageError(
                f"the warehouse {root} knows no calls as of {as_of}: history() says which versions there are"
            )
        raise UsageError(f"there are no calls in {root}: Warehouse(path).sync(source) makes a warehouse")
    opened = {"calls": calls}
    for name in beside:
        wanted = version_beside(root, name, as_of, options) if isinstance(as_of, int) else as_of
        if wanted != NO_VERSION and (table := delta_table(root, name, options, wanted)) is not None:
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
