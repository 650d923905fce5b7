"""How a table is made equal to its source: pages are gathered, compared with what is there, and committed.

Rows come at least once, so most of the work is to leave alone what is as it was. Of a batch (some pages together) the
rows that the table has already are looked up by id. Rows that are new are appended, rows that differ are merged into
the files they are in, equal ones are dropped; a batch without either makes no commit. The position that the last page
came with is part of the batch's commit: whoever is killed goes on behind the last batch that is complete.

Two syncs of one source would each hold a position that the other knows nothing of, and the slower one could put an
older version of a row over a newer one. So a commit is refused when the position in the table is not the one that this
sync left there.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TypeVar

import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.progress import Advance
from mofa_usage.warehouse.delta import Change, Conflict, Mirror
from mofa_usage.warehouse.evolving import evolve
from mofa_usage.warehouse.finding import Finder
from mofa_usage.warehouse.sources.changes import SCHEMAS, Changes, Page, Position
from mofa_usage.warehouse.summary import TableSync
from mofa_usage.warehouse.tables import MONTH, conformed, made_one, with_labels, with_month

__all__ = ["TableSyncing"]

T = TypeVar("T")

_BATCH_ROWS = 50_000
_DELETED_AT_ONCE = 20_000
_ATTEMPTS = 20
_FEW = 10  # rows that may go whatever part of a table they are, if it is not all
_BEFORE = "month before"


class TableSyncing:
    """The sync of one table with one source; `run` names the sync, of which the other tables are part, too."""

    def __init__(self, mirror: Mirror, finder: Finder, changes: Changes, run: str) -> None:
        self._mirror = mirror
        self._finder = finder
        self._changes = changes
        self._source = changes.fingerprint
        self._told = {"run": run}
        self._position = mirror.positions().get(self._source)  # as this sync found or left it
        self._begun = perf_counter()
        self._first = mirror.version
        self._added = self._updated = self._unchanged = self._deleted = 0
        self._seen: datetime | None = None
        self._started = datetime.now(UTC)

    def pull(self, *, full: bool, advance: Advance) -> None:
        """Take over what changed since the position, or with `full` everything that the source has.

        Raises:
            UsageError: another sync of this source is under way.
            PersistenceError: the source cannot be read; what came before is kept.
        """
        self._insist(partial(evolve, self._mirror))
        waiting: list[pl.DataFrame] = []
        page: Page | None = None
        for page in self._changes.pages(None if full else self._position):
            waiting += [page.rows] * (not page.rows.is_empty())
            if sum(rows.height for rows in waiting) >= _BATCH_ROWS:
                self._take(waiting, page.position)
            advance(self._changes.cost.rows, f"{self._changes.cost.rows:,} rows")
        if page is not None:
            self._take(waiting or [page.rows] * page.keep, page.position)
            self._seen = page.seen
        if not self._mirror.exists:
            self._mirror.create(self._prepared(pl.DataFrame(schema=SCHEMAS[self._mirror.name])), self._told)

    def mirror_deletions(self, kept_before: datetime | None, most: float) -> None:
        """Remove the rows that are gone at the source.

        Args:
            kept_before: see `Changes.gone`.
            most: no more than this part of the table.

        Raises:
            UsageError: the source does not say what is gone, or it is too much, or other sources' rows are there, too.
        """
        others = sorted(self._mirror.positions().keys() - {self._source})
        if others:
            raise UsageError(
                f'deletes="mirror" would delete the rows of other sources from {self._mirror.name}: it also has those '
                f"of {', '.join(others)}"
            )
        held = 0

        def counted() -> Iterator[pl.DataFrame]:
            nonlocal held
            for rows in self._finder.everything():
                held += rows.height
                yield rows

        gone = [ids for ids in self._changes.gone(counted(), kept_before) if ids.len()]
        number = sum(ids.len() for ids in gone)
        if number == held > most * held or number > max(most * held, _FEW):
            raise UsageError(
                f"{number:,} of {held:,} rows of {self._mirror.name} are gone at {self._source}: is it the right one, "
                "and whole? If they are to go, say so with most_deleted=1"
            )
        for ids in pl.concat(gone).unique().sort().to_frame("id").iter_slices(_DELETED_AT_ONCE) if gone else ():
            self._deleted += self._insist(partial(self._delete, ids["id"]))

    @property
    def until(self) -> datetime:
        """Up to when everything that the source had is in the table: on its clock where it has one, else on ours."""
        return self._seen or self._started

    def summary(self) -> TableSync:
        """What was done."""
        cost = self._changes.cost
        return TableSync(
            table=self._mirror.name,
            read=cost.rows,
            added=self._added,
            updated=self._updated,
            unchanged=self._unchanged,
            deleted=self._deleted,
            compared=cost.compared,
            statements=cost.statements,
            bytes=cost.bytes,
            seconds=perf_counter() - self._begun,
            source_seconds=cost.seconds,
            commits=self._mirror.version - self._first,
            lag=None if self._seen is None else max(datetime.now(UTC) - self._seen, timedelta(0)),
        )

    def _take(self, pages: list[pl.DataFrame], position: Position) -> None:
        if not pages:
            return
        rows = with_month(made_one(pl.concat(pages, how="diagonal_relaxed")))
        pages.clear()  # they need not be in memory twice
        taken = self._insist(partial(self._keep, rows, position))
        self._unchanged += rows.height - taken

    def _prepared(self, rows: pl.DataFrame) -> pl.DataFrame:
        there = self._mirror.columns
        if self._mirror.name == "calls":
            rows = with_labels(rows, there)
        return conformed(rows if MONTH in rows.columns else with_month(rows), self._mirror.name, there)

    def _keep(self, rows: pl.DataFrame, position: Position) -> int:
        """Commit what is new or differs; how many rows that were."""
        rows = self._prepared(rows)
        if not self._mirror.exists:
            self._mirror.create(rows, self._told)
        held = self._finder.held(rows)
        new = rows.join(held, on="id", how="anti")
        changed = _differing(rows, held, only_newer=len(self._mirror.positions().keys() | {self._source}) > 1)
        places = held.select("id", "path", pl.col(MONTH).alias(_BEFORE))
        del held  # whole rows, beside which files are about to be written
        if new.height or changed.height or position != self._position:
            told = {**self._told, "source": self._source, "added": new.height, "updated": changed.height}
            self._mirror.commit(self._change(new, changed, places), self._positions(position), told)
        self._position = position
        self._added += new.height
        self._updated += changed.height
        return new.height + changed.height

    def _change(self, new: pl.DataFrame, changed: pl.DataFrame, places: pl.DataFrame) -> Change:
        """What a commit has to do: rows go where they were, those of another month than before to the new ones."""
        moving = changed.join(places, on="id", how="inner")
        moved = moving.filter(pl.col(MONTH) != pl.col(_BEFORE)).select(new.columns)
        stay = moving.filter(pl.col(MONTH) == pl.col(_BEFORE))
        touched = set(moving["path"])
        return Change(
            pl.concat([new, moved]),
            {
                file: (
                    moving.filter(pl.col("path") == file.path)["id"],
                    stay.filter(pl.col("path") == file.path).select(new.columns),
                )
                for file in self._mirror.files
                if file.path in touched
            },
        )

    def _delete(self, ids: pl.Series) -> int:
        places, nothing = self._finder.places(ids), pl.DataFrame(schema=self._mirror.columns)
        gone = {
            file: (places.filter(pl.col("path") == file.path)["id"], nothing)
            for file in self._mirror.files
            if file.path in set(places["path"])
        }
        if gone:
            told = {**self._told, "source": self._source, "deleted": places.height}
            self._mirror.commit(Change(nothing, gone), self._positions(None), told)
        return places.height

    def _positions(self, position: Position | None) -> dict[str, Position]:
        """The positions of all sources, with the new one of this, if any."""
        kept = self._mirror.positions()
        if kept.get(self._source) != self._position:
            raise UsageError(f"another sync of {self._source} is under way; this one stops")
        return kept if position is None else {**kept, self._source: position}

    def _insist(self, change: Callable[[], T]) -> T:
        """Make a change of what is there now, again if somebody else was quicker."""
        for _ in range(_ATTEMPTS):
            try:
                return change()
            except Conflict:
                continue
        raise UsageError(f"others write the table {self._mirror.name} all the time; {_ATTEMPTS} attempts failed")


def _differing(rows: pl.DataFrame, held: pl.DataFrame, *, only_newer: bool) -> pl.DataFrame:
    """The rows that are otherwise in the table.

    `only_newer`: where several sources have a row, the version with the latest update_time stands.
    """
    both = rows.join(held, on="id", how="semi").sort("id")
    missing = (pl.lit(None, dtype=dtype).alias(name) for name, dtype in both.schema.items() if name not in held.columns)
    before = held.unique("id").sort("id").with_columns(missing).select(both.columns)
    differs = pl.any_horizontal(pl.col(name).ne_missing(before[name]) for name in both.columns)
    if only_newer:
        differs &= (pl.col("update_time") >= before["update_time"]).fill_null(True)
    return both.filter(differs)
