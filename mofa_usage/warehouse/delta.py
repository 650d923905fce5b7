"""One Delta table of a warehouse as a writer sees it: read its state, find rows in it, commit changes.

**A commit is everything or nothing**: rows and the position of the source that they came from are one file of the log,
which appears at once. So whoever is killed leaves the table as one of his commits made it, and a reader never sees half
of one.

**A commit is made of the state that was read, or not at all.** deltalake would look whether two commits can follow one
another, and lets pass what doubles rows: a sync that replaces a file which a compaction has just put into another one.
So it gets one attempt, at the version behind the one that was read. Who is not the first to write that version gets
`Conflict`, looks at the table again and makes his change of what is there now. On one machine a lock keeps two syncs
apart besides; on an object store this alone does.

Positions are kept in the commit's own metadata, those of all sources in each, so that the last sync's commit has them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from typing import Any
from uuid import uuid4

import polars as pl

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.delta import (
    SYNCED,
    DataFile,
    StorageOptions,
    TableFiles,
    columns_version,
    commits,
    delta_table,
    delta_told,
    described,
    filesystem,
    is_local,
    place_of,
)
from mofa_usage.reading.places import LOG
from mofa_usage.reading.relation import SCHEMA_VERSION
from mofa_usage.warehouse.files import gathered, removed, rewritten, row_groups, written
from mofa_usage.warehouse.probing import Precaution
from mofa_usage.warehouse.sources.changes import Position, TableName
from mofa_usage.warehouse.tables import MONTH

require("pyarrow", extra="analysis")
import pyarrow as pa  # noqa: E402
import pyarrow.fs as pa_fs  # noqa: E402

__all__ = ["DONE", "KEPT_DAYS", "Change", "Conflict", "Mirror"]

KEPT_DAYS = 30.0
"""So long earlier versions are kept, unless `vacuum` is told otherwise."""
DONE = "mofa_usage.done"
"""The key of a commit's metadata under which it says what was done that is no sync (`SYNCED`)."""
_POSITIONS, _COMMIT = "mofa_usage.positions", "mofa_usage.commit"
_STATISTICS = "id,create_time,update_time"
_RECENT = 50  # commits among which the last sync's is looked for first
_REMEMBERED = ("delta.deletedFileRetentionDuration", "delta.logRetentionDuration")
_EVERY = 100
"""After so many commits deltalake makes a checkpoint. To look for old ones more often takes longer than a commit."""
_APART = 5_000
"""So many versions apart are the checkpoints that stay, but for the newest."""
_CHECKPOINT = re.compile(rf"{LOG}/(\d{{20}})\.checkpoint\.parquet")


@dataclass(frozen=True)
class Change:
    """Rows for new files, and for each file that is written anew the ids that go and the rows that come instead.

    All rows have the columns of the table, and those that it is to get.
    """

    rows: pl.DataFrame
    files: Mapping[DataFile, tuple[pl.Series, pl.DataFrame]]


class Conflict(Exception):  # noqa: N818 (no error: it is what two writers have)
    """Somebody else committed meanwhile; the table was loaded again."""


class Mirror:
    """A table of a warehouse for one who writes it; there may be none yet.

    Args:
        root: the warehouse.
        name: of the table.
        options: of the object store.
        precaution: what is done before the first commit; the same for all tables of a warehouse in a process.
    """

    def __init__(
        self, root: str, name: TableName, options: StorageOptions, precaution: Precaution | None = None
    ) -> None:
        self.name = name
        self._root = root
        self._options = dict(options)
        self._precaution = precaution or Precaution(root, options)
        self._deltalake: Any = require("deltalake", extra="warehouse")
        self._exceptions: Any = require("deltalake.exceptions", extra="warehouse")
        self._folder = filesystem(place_of(root, name), options, local=is_local(root))
        self.reload()

    def reload(self) -> None:
        """Look at the table as it is now.

        Raises:
            UsageError: it cannot be read, is no table of a warehouse, or a newer program's.
        """
        self._table: Any = delta_table(self._root, self.name, self._options)
        self.columns_version = SCHEMA_VERSION if self._table is None else columns_version(self._table)
        self._columns: dict[str, pl.DataType] | None = None
        self._readable: TableFiles | None = None
        self._positions: dict[str, Position] | None = None

    @property
    def table(self) -> Any:
        """deltalake's table.

        Raises:
            UsageError: there is none yet.
        """
        if self._table is None:
            raise UsageError(f"the warehouse {self._root} has no table {self.name} yet")
        return self._table

    @property
    def exists(self) -> bool:
        """Whether there is such a table."""
        return self._table is not None

    @property
    def version(self) -> int:
        """The version of the table; -1 while there is none."""
        return -1 if self._table is None else int(self._table.version())

    @property
    def files(self) -> list[DataFile]:
        """The files that the table is."""
        return list(self.readable.files) if self.exists else []

    @property
    def readable(self) -> TableFiles:
        """The files as DuckDB reads them."""
        if self._readable is None:
            self._readable = TableFiles.of(self.table, local=is_local(self._root))
        return self._readable

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns with their types, `month` among them."""
        if self._columns is None:
            arrow = pa.schema(self._table.schema().to_arrow(as_large_types=True)) if self.exists else pa.schema([])
            self._columns = dict(pl.DataFrame(arrow.empty_table()).schema)
        return self._columns

    def positions(self) -> dict[str, Position]:
        """How far each source was read, by its name."""
        if self._positions is None:
            self._positions = self._find_positions() if self.exists else {}
        return self._positions

    def _find_positions(self) -> dict[str, Position]:
        for limit in (1, _RECENT, None):
            for commit in self.history(limit):
                if _POSITIONS in commit:
                    found: dict[str, Position] = commit[_POSITIONS]
                    return found
        return {}

    def history(self, last: int | None) -> list[dict[str, Any]]:
        """What the log says of all commits, or the last so many, the newest first.

        Raises:
            UsageError: they cannot be read.
        """
        with delta_told(f"read the history of the table {self.name} of the warehouse {self._root}"):
            if is_local(self._root):  # where deltalake finds none if there is a # or a ? in the path
                return commits(self._folder, self.version, last)
            found: list[dict[str, Any]] = self.table.history(last)  # many objects at once
            return found

    def create(self, rows: pl.DataFrame, told: Mapping[str, Any]) -> None:
        """Make the table for such rows, unless somebody has just done so.

        Args:
            rows: with all their columns.
            told: which sync it is.

        Raises:
            UsageError: there are files of somebody else, which `vacuum` would remove some day, or it cannot be made.
        """
        self._precaution.take()
        what = f"make the table {self.name} of the warehouse {self._root}"
        with delta_told(what):
            root = filesystem(self._root, self._options, local=is_local(self._root))
            is_table = root.get_file_info(LOG).type == pa_fs.FileType.Directory
            names = {one.base_name for one in self._folder.get_file_info(pa_fs.FileSelector("", allow_not_found=True))}
        if is_table:
            raise UsageError(f"{self._root} is a Delta table itself; a warehouse is the folder that its tables are in")
        if names and LOG not in names:
            place = place_of(self._root, self.name)
            raise UsageError(f"{place} is no table of a warehouse, and holds {min(names)}: take another folder")
        with delta_told(what), suppress(self._exceptions.CommitFailedError):
            self._deltalake.DeltaTable.create(
                place_of(self._root, self.name),
                schema=_arrow(rows),
                mode="ignore",
                partition_by=[MONTH],
                name=f"mofa_usage {self.name}",
                description=described(),
                configuration={"delta.dataSkippingStatsColumns": _STATISTICS, **_remembering(KEPT_DAYS)},
                storage_options=self._options,
                commit_properties=self._deltalake.CommitProperties({SYNCED: dict(told)}, max_commit_retries=0),
            )
        self.reload()

    def commit(self, change: Change, positions: Mapping[str, Position], told: Mapping[str, Any]) -> None:
        """Make a change and keep positions, both or neither; the rows may have columns that the table lacks.

        Args:
            change: rows for new files, and files to write anew.
            positions: those of all sources.
            told: what the history says of it.

        Raises:
            Conflict: somebody else committed meanwhile.
        """
        with self._committed():
            self._add_columns(change.rows)
            actions = []
            for file, (gone, instead) in change.files.items():
                new = rewritten(file, gone, instead, self.columns, self._folder)
                actions += [removed(file, self._deltalake), *([new.added(self._deltalake)] if new else [])]
            actions += [one.added(self._deltalake) for one in written(change.rows, self._folder)]
            self._write(actions, {_POSITIONS: dict(positions), SYNCED: dict(told)})
        self._positions = dict(positions)

    def replace(self, files: Sequence[DataFile], rows: Iterator[pl.DataFrame], done: str = "compact") -> None:
        """Put one file in the place of several of a month: their rows, which come in the order that they are to have.

        `done` is what the history says of it.

        Raises:
            Conflict: somebody else committed meanwhile.
        """
        with self._committed():
            new = gathered(files[0].month, rows, self.columns, self._folder)
            actions = [removed(file, self._deltalake, changed=False) for file in files]
            told = {_POSITIONS: self.positions(), DONE: done}
            self._write([*actions, new.added(self._deltalake, changed=False)], told)

    def rows_of(self, file: DataFile) -> Iterator[pl.DataFrame]:
        """The rows of a file as they lie there, a row group at a time, with all columns but the month."""
        return row_groups(file, self.columns, self._folder)

    def evolve(self, rows: pl.DataFrame) -> None:
        """Give the table the columns of rows that it lacks.

        Raises:
            Conflict: somebody else committed meanwhile.
        """
        with self._committed():
            self._add_columns(rows)

    def describe(self, done: str) -> None:
        """Let the table say that it has the columns of this version; `done` is what the history says of it.

        Raises:
            Conflict: somebody else committed meanwhile.
        """
        with self._committed():
            told = {_POSITIONS: self.positions(), DONE: done}
            once = self._deltalake.CommitProperties(custom_metadata=told, max_commit_retries=0)
            self.table.alter.set_table_description(described(), commit_properties=once)
            self.columns_version = SCHEMA_VERSION

    def remember(self, days: float) -> None:
        """Let the log keep for so many days what versions were and which files they needed.

        Without that checkpoints forget after a week which files were removed, and `vacuum` takes them for nobody's.

        Raises:
            Conflict: somebody else committed meanwhile.
        """
        wanted = _remembering(days)
        if wanted.items() <= self.table.metadata().configuration.items():
            return
        with self._committed():
            told = {_POSITIONS: self.positions(), DONE: "vacuum"}
            once = self._deltalake.CommitProperties(custom_metadata=told, max_commit_retries=0)
            self.table.alter.set_table_properties(wanted, commit_properties=once)

    def thin_out(self) -> None:
        """Remove from the log what is older than it is to remember, and most of the checkpoints.

        Each of these has all files that were removed in that time. A version is read from the last checkpoint before
        it, of which there are enough, and the newest two are those that somebody may just be reading.

        Raises:
            UsageError: it cannot be read or written.
        """
        with delta_told(f"tidy the log of the table {self.name} of the warehouse {self._root}"):
            self.table.cleanup_metadata()
            paths = sorted(one.path for one in self._folder.get_file_info(pa_fs.FileSelector(LOG)))
            found = [(int(made[1]), path) for path in paths if (made := _CHECKPOINT.fullmatch(path))]
            kept = -_APART
            for version, path in found[:-2]:
                if version - kept < _APART:
                    self._folder.delete_file(path)
                else:
                    kept = version

    def _write(self, actions: list[Any], metadata: dict[str, Any]) -> None:
        """Commit; an object store that answers too late is asked again, and then has this very commit already."""
        mine = uuid4().hex
        properties = self._deltalake.CommitProperties(custom_metadata={**metadata, _COMMIT: mine}, max_commit_retries=0)
        try:
            self.table.create_write_transaction(
                actions,
                mode="append",
                schema=self.table.schema(),
                partition_by=[MONTH],
                commit_properties=properties,
                post_commithook_properties=self._deltalake.PostCommitHookProperties(
                    cleanup_expired_logs=(self.version + 1) % _EVERY == 0
                ),
            )
        except self._exceptions.CommitFailedError:
            now = self._deltalake.DeltaTable(place_of(self._root, self.name), storage_options=self._options)
            since = now.history(now.version() - self.version) if now.version() > self.version else []
            if all(commit.get(_COMMIT) != mine for commit in since):
                raise

    def _add_columns(self, rows: pl.DataFrame) -> None:
        """Give the table the columns that rows have and it has not."""
        new = [name for name in rows.columns if name not in self.columns]
        if new:
            fields = self._deltalake.Schema.from_arrow(_arrow(rows.select(new))).fields
            once = self._deltalake.CommitProperties(max_commit_retries=0)
            self.table.alter.add_columns(fields, commit_properties=once)
            self.table.update_incremental()
            self._columns = None

    @contextmanager
    def _committed(self) -> Iterator[None]:
        self._precaution.take()
        try:
            with delta_told(f"write the table {self.name} of the warehouse {self._root}"):
                try:
                    yield
                except self._exceptions.CommitFailedError as error:
                    raise Conflict from error
                self.table.update_incremental()
                self._readable = None
        except Conflict:
            self.reload()
            raise


def _arrow(rows: pl.DataFrame) -> Any:
    return rows.head(0).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


def _remembering(days: float) -> dict[str, str]:
    return dict.fromkeys(_REMEMBERED, f"interval {ceil(days) + 1} days")
