"""The Delta tables of a warehouse as a reader sees them: their versions, and the files that are one.

A Delta table is Parquet files and a log that says which of them are the table at each version, with the least and the
greatest value of some columns in each. The log is read by `deltalake`, the files by DuckDB as any others: the list of
those that can hold what is asked for, so that a question about a week opens the files of that week.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from glob import escape
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import literal, quoted
from mofa_usage.reading.object_stores import StorageOptions, has_folder, is_object_url
from mofa_usage.reading.places import LOG, local_path
from mofa_usage.reading.relation import (
    SCHEMA_VERSION,
    VERSIONS,
)

if TYPE_CHECKING:
    from deltalake import DeltaTable

import duckdb  # isort: skip (after relation, which names the extra)
import polars as pl  # isort: skip
import pyarrow.fs as pa_fs  # isort: skip

__all__ = [
    "NO_VERSION",
    "SYNCED",
    "AsOf",
    "DataFile",
    "StorageOptions",
    "TableFiles",
    "columns_version",
    "commits",
    "delta_table",
    "delta_told",
    "described",
    "files_of",
    "filesystem",
    "is_local",
    "is_warehouse",
    "place_of",
    "version_beside",
]

AsOf: TypeAlias = "int | datetime | None"
"""Which version: a number, the last one at a time, or the newest."""
_STACK = "\n   0: "  # of Rust
_COLOUR = re.compile(r"\x1b\[[\d;]*m")


def is_warehouse(path: str | Path, options: StorageOptions | None = None) -> bool:
    """Whether a folder of this machine or of an object store is one, with a table of calls.

    Raises:
        UsageError: the folder or the object store does not let us in.
    """
    if is_object_url(path):
        return not str(path).endswith(".parquet") and has_folder(f"{str(path).rstrip('/')}/calls/{LOG}", options)
    try:
        return Path(local_path(path), "calls", LOG).is_dir()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


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
        said, _, _ = _COLOUR.sub("", str(error)).partition(_STACK)
        said = " ".join(said.split())  # some are drawn in colours over many lines
        raise UsageError(f"cannot {what}: {said}") from error


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
        version = _version_at(root, table, found.version(), as_of, options) if isinstance(as_of, datetime) else as_of
        if version == NO_VERSION:
            return None
        if version is not None:
            found.load_as_version(version)
    return found


SYNCED = "mofa_usage.sync"
"""The key of a commit's metadata under which a sync says what it changed."""
NO_VERSION = -1
"""The version of a table that is not there yet."""


def _version_at(root: str, table: str, newest: int, moment: datetime, options: StorageOptions) -> int:
    """The last version that was committed until a moment, by the times that `history` shows.

    Only a few commits are read, of which there may be half a million: 20 a minute for 30 days.
    """
    folder = filesystem(place_of(root, table), options, local=is_local(root))

    def is_later(version: int) -> bool:
        commit = _commit(folder, version)
        return commit is not None and _time_of(commit) > moment

    found = bisect_left(range(newest + 1), True, key=is_later) - 1
    return found if found >= 0 and _commit(folder, found) is not None else NO_VERSION


def version_beside(root: str, table: str, calls: int, options: StorageOptions) -> int:
    """The version of a table that belongs to a version of the calls: the last of the same sync, or else of before.

    A sync takes the calls first, so that the agents of all of them are there; what later syncs find is not of then.
    """
    newest = delta_table(root, table, options)
    made = _commit(filesystem(place_of(root, "calls"), options, local=is_local(root)), calls)
    if newest is None or made is None:
        return NO_VERSION
    version = _version_at(root, table, newest.version(), _time_of(made), options)
    folder = filesystem(place_of(root, table), options, local=is_local(root))
    run = (made.get(SYNCED) or {}).get("run")
    while run and (commit := _commit(folder, version + 1)) and (commit.get(SYNCED) or {}).get("run") == run:
        version += 1
    return version


def filesystem(place: str, options: StorageOptions, *, local: bool) -> Any:
    """A folder as Arrow sees it; paths are relative to it."""
    if local:
        return pa_fs.SubTreeFileSystem(place, pa_fs.LocalFileSystem())
    handler = require("deltalake.fs", extra="warehouse").DeltaStorageHandler(place, dict(options))
    return pa_fs.PyFileSystem(handler)


def _commit(folder: Any, version: int) -> Mapping[str, Any] | None:
    """What the log of a table says of a version; None where it says nothing: logs are kept for 30 days."""
    path = f"{LOG}/{version:020}.json"
    if not folder.get_file_info(path).is_file:
        return None
    with folder.open_input_stream(path) as stream:
        actions = (json.loads(line) for line in stream.read().decode().splitlines())
        return next((action["commitInfo"] for action in actions if "commitInfo" in action), None)


def commits(folder: Any, newest: int, last: int | None) -> list[dict[str, Any]]:
    """What the log of a table says of its commits, or of the last so many, the newest first, with their `version`."""
    oldest = 0 if last is None else max(newest + 1 - last, 0)
    found = ((version, _commit(folder, version)) for version in range(newest, oldest - 1, -1))
    kept = takewhile(lambda one: one[1] is not None, found)
    return [{**(commit or {}), "version": version} for version, commit in kept]


def _time_of(commit: Mapping[str, Any]) -> datetime:
    """When a version was made, by the clock of who made it."""
    return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)


_VERSION = "mofa_usage, columns "


def described(version: str = SCHEMA_VERSION) -> str:
    """What the description of a table says about the version of its columns."""
    return _VERSION + version


def columns_version(table: "DeltaTable") -> str:
    """The version of the columns of a table.

    Raises:
        UsageError: it is no table of a warehouse, or a newer program's.
    """
    said = table.metadata().description or ""
    if not said.startswith(_VERSION):
        raise UsageError(f"{_uri(table)} is a Delta table, but none of a warehouse of mofa_usage")
    version = said.removeprefix(_VERSION)
    if version not in VERSIONS:
        raise UsageError(
            f"{_uri(table)} has columns of version {version}; this program knows versions up to {SCHEMA_VERSION}: "
            "update mofa_usage"
        )
    return version


def _uri(table: "DeltaTable") -> str:
    """Where a table is, as this machine opens it: a URL, or a path, which deltalake writes as one (`my%20usage`)."""
    uri = table.table_uri.rstrip("/")
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri


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


def _about(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    """Bounds that hold whatever another writer cut off."""
    least, greatest = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    return first - min(_CLOSE, first - least), last + min(_CLOSE, greatest - last)


def files_of(table: "DeltaTable") -> list[DataFile]:
    """The files of a version, in the order of their months and times."""
    root = _uri(table)
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
                times=None if first is None or last is None else _about(first, last),
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
