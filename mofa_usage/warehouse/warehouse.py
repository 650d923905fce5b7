"""The usage warehouse: a columnar mirror of everybody's calls, exact and cheap to keep up to date.

```python
warehouse = Warehouse("usage_warehouse")
print(warehouse.sync("sqlite:usage.db"))
warehouse.usage(tz="Europe/Berlin").cost(by="day").draw()
```

It is a folder, here or in an object store, with a Delta table for calls, messages, sessions, agents and providers:
Parquet files that any engine reads, and a log of versions. A sync adds what changed since the last one. Nothing else
than the folder is needed to go on, and the source is only read.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Literal
from urllib.parse import unquote
from uuid import uuid4

from mofa_usage.errors import UsageError, require
from mofa_usage.progress import progress_bar
from mofa_usage.reading.delta import AsOf, is_local
from mofa_usage.reading.open import Source
from mofa_usage.reading.places import local_path
from mofa_usage.reading.selection import Selection
from mofa_usage.reading.spark_frames import SparkFrame
from mofa_usage.reading.warehouse import open_warehouse
from mofa_usage.urls import backend_of
from mofa_usage.usage.frame import UsageFrame
from mofa_usage.usage.held import HeldRelation
from mofa_usage.warehouse.cluster import calls_on_spark
from mofa_usage.warehouse.delta import Mirror
from mofa_usage.warehouse.finding import Finder
from mofa_usage.warehouse.locking import locked
from mofa_usage.warehouse.probing import Precaution
from mofa_usage.warehouse.scratch import Scratch
from mofa_usage.warehouse.sources import TABLES, SourceTables, TableName
from mofa_usage.warehouse.sources.changes import CONTENT
from mofa_usage.warehouse.stamps import leave_stamp, stamps
from mofa_usage.warehouse.summary import SyncSummary, TableSync
from mofa_usage.warehouse.syncing import TableSyncing
from mofa_usage.warehouse.tables import table_names
from mofa_usage.warehouse.upkeep import KEPT_DAYS, Upkeep, compacted, history_of, tidied, vacuumed
from mofa_usage.warehouse.verifying import Verification, compared, verification
from mofa_usage.zones import Moment, instant, zone

import polars as pl  # isort: skip (after what names the extra)

__all__ = ["Warehouse"]

Deletes = Literal["keep", "mirror"]


class Warehouse:
    """A warehouse, which the first sync makes.

    Args:
        path: A local folder, or the URL of one in an object store (`s3://bucket/usage`).
        storage_options: How the object store is reached, as `deltalake` takes it. They are shown nowhere.

    Raises:
        UsageError: it is the URL of something else, or no path in which Delta tables can be.
        MissingExtraError: the extra `warehouse` is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, storage_options: Mapping[str, str] | None = None) -> None:
        require("deltalake", extra="warehouse")
        self.path = _place(path)
        self._options = dict(storage_options or {})
        self._precaution = Precaution(self.path, self._options)

    def __repr__(self) -> str:
        return f"Warehouse({self.path!r})"

    def sync(
        self,
        source: "Source | Warehouse",
        *,
        tables: Sequence[TableName] | TableName | None = None,
        content: bool = False,
        deletes: Deletes = "keep",
        kept_before: Moment | None = None,
        most_deleted: float = 0.5,
        full: bool = False,
        wait: float = 60.0,
        progress: bool | None = None,
    ) -> SyncSummary:
        """Take over what changed at a source since the last sync, or everything the first time.

        A sync that was killed goes on where its last commit was. One that finds nothing changed leaves no trace. Rows
        that the source no longer has stay: retention deletes them there, not here.

        Args:
            source: What `load_usage` takes, or another warehouse. Several sources can feed one warehouse; of a row that
                two of them have, the version with the later `update_time` stands.
            tables: Only these; by default all that the source has.
            content: Also the content of messages. Once there, it is kept up to date by every sync.
            deletes: "mirror" removes rows that were deleted at the source as errors, or because a user is forgotten.
                Databases and stores can be asked, and only where the warehouse has one source. Earlier versions still
                have the rows until `vacuum` has removed their files.
            kept_before: With "mirror": calls and messages made before this moment stay, for retention deletes them at
                the source. By default that is when the oldest was made that the source still has.
            most_deleted: With "mirror": what part of a table may go in one sync; more is refused, for a source that is
                the wrong one, or empty by accident, looks just like that.
            full: Read everything at the source again, also what its position says has not changed.
            wait: So many seconds for another sync of this warehouse on this machine.
            progress: As for `load_usage`.

        Raises:
            UsageError: another sync is under way, the source lacks a table or is this warehouse, a newer program made
                the warehouse, or more would go than may.
            PersistenceError: the source cannot be read; what came before is kept.
        """
        if deletes not in ("keep", "mirror"):
            raise UsageError(f"deletes is {deletes!r}; it is 'keep' or 'mirror'")
        if not 0 <= most_deleted <= 1:
            raise UsageError(f"most_deleted is {most_deleted}; it is a part of a table, between 0 and 1")
        if kept_before is not None and deletes != "mirror":
            raise UsageError('kept_before is for deletes="mirror": without that every row stays')
        cut = None if kept_before is None else instant(kept_before, zone("UTC"), "kept_before")
        begun = perf_counter()
        done: list[TableSync] = []
        fingerprint, run = "", uuid4().hex
        synced: dict[TableName, datetime] = {}
        with ExitStack() as held:
            at_source = held.enter_context(SourceTables(*_readable(source)).connected())
            if at_source.warehouse == self.path:
                raise UsageError(f"{self.path} is the warehouse itself: the source of a sync is somewhere else")
            names = table_names(tables) or at_source.names  # before there is a folder for a source that is none
            held.enter_context(self._locked(wait))
            scratch = held.enter_context(Scratch())
            for name in names:
                mirror = self._mirror(name)
                has_content = not CONTENT.keys().isdisjoint(mirror.columns)
                changes = at_source.changes(name, content=name == "messages" and (content or has_content))
                fingerprint = changes.fingerprint
                new_column = name == "messages" and content and mirror.exists and not has_content
                with progress_bar(f"Syncing {name}", None, progress) as advance:
                    syncing = TableSyncing(mirror, Finder(mirror, scratch), changes, run)
                    syncing.pull(full=full or new_column, advance=advance)
                    if deletes == "mirror":
                        syncing.mirror_deletions(cut, most_deleted)
                    done.append(syncing.summary())
                    if done[-1].changed:
                        tidied(mirror)
                    synced[name] = syncing.until
            leave_stamp(self.path, self._options, fingerprint, synced)
        return SyncSummary(self.path, fingerprint, tuple(done), perf_counter() - begun)

    def usage(self, as_of: Moment | int | None = None, tz: str = "UTC") -> UsageFrame:
        """The calls, lazily: every question opens the files and columns that it needs.

        It is of one version, and answers the same whatever is synced meanwhile; ask again for what came since.

        Args:
            as_of: As they were then: a datetime with a zone, ISO 8601 text, or the number of a version (`history`).
            tz: The IANA time zone in which days and hours are counted.

        Raises:
            UsageError: there is no warehouse, `vacuum` has removed what it was then, or then is still to come.
        """
        selection = Selection(columns=None, equal={}, start=None, end=None)
        return UsageFrame(HeldRelation(open_warehouse(self.path, self._options, _version(as_of, tz)), selection), tz=tz)

    def spark(
        self,
        session: Any,
        as_of: Moment | int | None = None,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        tz: str = "UTC",
    ) -> SparkFrame:
        """The calls as a frame of a Spark session, for `load_usage`, or for SQL of Spark.

        `load_usage(warehouse.spark(session), tz="Europe/Berlin")` answers breakdowns, explanations and service levels
        on the cluster. The session's own reader of Delta tables is used where it has one, else Spark reads the files of
        the version. The session has to reach them by the path of this warehouse; it gets no tables and keeps its
        settings.

        Args:
            session: A `SparkSession`.
            as_of: As for `usage`.
            start, end: Only calls created in [start, end), of which only the files are read that can hold them.
            tz: The zone of dates and of text without a zone.

        Raises:
            UsageError: there is no warehouse, or `vacuum` has removed what it was then.
            MissingExtraError: the extra `spark` is not installed.
        """
        within = Selection.of(None, start, end, tz, None)
        return calls_on_spark(session, self.path, self._options, _version(as_of, tz), within.start, within.end)

    def verify(
        self,
        source: "Source | Warehouse",
        *,
        tables: Sequence[TableName] | TableName | None = None,
        progress: bool | None = None,
    ) -> Verification:
        """Prove that everything the source has is in the warehouse as it is there, or say what is not, down to ids.

        The source is read as a whole. What was written to it since the last sync is missing here.

        Args:
            source: What `sync` takes.
            tables: Only these; by default all that the source has.
            progress: As for `load_usage`.

        Raises:
            UsageError: there is no warehouse, or it or the source lacks a table.
            PersistenceError: the source cannot be read.
        """
        self._mirrors()
        parts, at_source = [], SourceTables(*_readable(source))
        for name in table_names(tables) or at_source.names:
            mirror = self._mirror(name)
            if not mirror.exists:
                raise UsageError(f"the warehouse {self.path} has no table {name} yet: sync makes it")
            has_content = not CONTENT.keys().isdisjoint(mirror.columns)
            changes = at_source.changes(name, content=name == "messages" and has_content)
            with Scratch() as scratch, progress_bar(f"Comparing {name}", None, progress) as advance:
                parts.append(compared(mirror, changes, scratch.database, advance))
        return verification(parts)

    def compact(self) -> Upkeep:
        """Put the small files of each month together: many syncs leave many, which questions would open one by one.

        The rows stay as they are, and syncs and questions may run meanwhile. The old files go with `vacuum`.

        Raises:
            UsageError: syncs come so fast that no moment is left.
        """
        done = {mirror.name: (compacted(mirror), mirror) for mirror in self._mirrors()}
        files = {name: number for name, ((number, _), _) in done.items()}
        left = sum(len(mirror.files) for _, mirror in done.values())
        return Upkeep("put together", files, sum(size for (_, size), _ in done.values()), left)

    def vacuum(self, keep_days: float = KEPT_DAYS, *, dry_run: bool = False) -> Upkeep:
        """Remove the files that no version of the last days needs, and what killed syncs left behind.

        Args:
            keep_days: For so many days back `usage(as_of=...)` goes on to answer. At least 1: somebody may be reading.
            dry_run: Only say how many files there are.

        Raises:
            UsageError: less than a day is to be kept.
        """
        mirrors = self._mirrors()
        if not dry_run:
            self._precaution.take()
        done = {mirror.name: (vacuumed(mirror, keep_days, dry_run=dry_run), mirror) for mirror in mirrors}
        files = {name: number for name, (number, _) in done.items()}
        return Upkeep("removed", files, None, sum(len(mirror.files) for _, mirror in done.values()))

    def history(self, last: int | None = None) -> pl.DataFrame:
        """The versions of all tables, the newest first.

        Args:
            last: Only so many of each table; who syncs every few seconds has many thousands.

        Returns:
            table, version, time (UTC), what (`sync`, `compact`, or what another program did), source, and how many
            rows a sync added, updated and deleted. The versions of `calls` are those that `usage(as_of=...)` takes.

        Raises:
            UsageError: there is no warehouse, or `last` is no such number.
        """
        if last is not None and last < 1:
            raise UsageError(f"last is {last}; it is how many versions of each table, 1 or more")
        versions = pl.concat([history_of(mirror, last) for mirror in self._mirrors()])
        return versions.sort("time", "table", "version", descending=[True, False, True])

    def synced(self) -> pl.DataFrame:
        """How fresh it is, without a look at any table.

        Returns:
            source, table, and `synced`: the moment (UTC) up to which everything that the source had is here, on the
            clock of the source, or where that has none, the moment at which the last sync began. Syncs that failed or
            were killed do not count, those that found nothing changed do.

        Raises:
            UsageError: it cannot be read.
        """
        return stamps(self.path, self._options)

    def tables(self) -> pl.DataFrame:
        """What it holds, as the tables' logs say it; no file is opened.

        Returns:
            table, version, rows, files and bytes of the newest version.

        Raises:
            UsageError: there is no warehouse.
        """
        rows = [
            {
                "table": mirror.name,
                "version": mirror.version,
                "rows": sum(file.rows for file in mirror.files),
                "files": len(mirror.files),
                "bytes": sum(file.bytes for file in mirror.files),
            }
            for mirror in self._mirrors()
        ]
        return pl.DataFrame(rows)

    def _mirror(self, name: TableName) -> Mirror:
        return Mirror(self.path, name, self._options, self._precaution)

    def _mirrors(self) -> list[Mirror]:
        """The tables that there are.

        Raises:
            UsageError: none.
        """
        mirrors = [mirror for name in TABLES if (mirror := self._mirror(name)).exists]
        if not mirrors:
            raise UsageError(f"there is no warehouse in {self.path}: sync(source) makes one")
        return mirrors

    def _locked(self, wait: float) -> AbstractContextManager[Any]:
        return locked(Path(self.path), wait) if is_local(self.path) else nullcontext()


def _readable(source: "Source | Warehouse") -> tuple[Source, Mapping[str, str]]:
    """A source as `load_usage` takes it, and the options that it needs; a warehouse by its path.

    Raises:
        UsageError: there is no warehouse.
    """
    if not isinstance(source, Warehouse):
        return source, {}
    source._mirrors()
    return source.path, source._options


_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss")


def _place(path: str | os.PathLike[str]) -> str:
    """The absolute path of a folder, or the URL of one in an object store.

    Raises:
        UsageError: it is no path, or the URL of something else, which may hold a password and is not shown.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"a {type(path).__name__} is no path; a warehouse is a folder, or the URL of one")
    text = os.fspath(path)
    scheme, separator, place = text.partition("://")
    if separator and scheme.lower() in _SCHEMES:
        if not place.strip("/"):
            raise UsageError(f"{text} names no bucket: a warehouse is at {scheme}://bucket/folder")
        if "#" in place or "?" in place:  # what stands behind may be a key, and is not shown
            raise UsageError("a # or a ? ends the path of a URL: take a folder of another name; options are not in it")
        return text.rstrip("/")
    if backend_of(text) or (separator and scheme.lower() != "file"):
        raise UsageError(
            f"a warehouse is a folder, or the URL of one in an object store ({', '.join(_SCHEMES)}); what begins with "
            f"{scheme.partition(':')[0]}: is neither"
        )
    local = str(local_path(text))
    if unquote(local) != local or not local.isprintable() or (os.sep == "/" and "\\" in local):
        raise UsageError(
            f"{local!r} cannot be a warehouse: what writes Delta tables takes percent signs before digits, backslashes "
            "and the like for something else; take a folder of another name"
        )
    return local


def _version(as_of: Moment | int | None, tz: str) -> AsOf:
    if isinstance(as_of, bool):  # which is an int to Python
        raise UsageError(f"as_of is {as_of}; it is a moment, or the number of a version")
    if as_of is None or isinstance(as_of, int):
        return as_of
    moment = instant(as_of, zone(tz), "as_of")
    if moment > datetime.now(UTC):
        raise UsageError(f"as_of is {as_of}, which is still to come: nobody knows what the warehouse will be then")
    return moment
