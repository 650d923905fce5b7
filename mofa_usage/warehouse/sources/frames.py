"""Frames, relations and stores in memory: they keep no history, so all of it is read, and what is as it was is left
out.

The position is a digest of each page in order. A page whose digest is the one from before holds nothing new. So a
frame that grew at its end gives its last page and what follows, and one that did not change gives nothing.
"""

import base64
import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import datetime

import polars as pl
from typing_extensions import Buffer

from mofa_usage.errors import UsageError
from mofa_usage.reading.frame import FrameCalls
from mofa_usage.reading.open import Calls
from mofa_usage.reading.relation import RelationCalls
from mofa_usage.reading.selection import Selection
from mofa_usage.records import NIL_UUID
from mofa_usage.warehouse.sources.changes import PAGE_ROWS, SCHEMAS, Cost, Page, Position
from mofa_usage.warehouse.sources.checksums import Sums

__all__ = ["FrameChanges", "call_batches", "digest_of", "in_columns", "in_month", "made_since", "refuse_deletions"]

_EVERYTHING = Selection(columns=None, equal={}, start=None, end=None, details=True)
_NO_IDS = ("", str(NIL_UUID))
_MOST = 4_000  # digests, some 60 kB: what is behind their pages is read again each time


class FrameChanges:
    """The changes of what can only be read as a whole.

    `batches` gives all of it, each time in the same order, in batches of at most `PAGE_ROWS`.
    """

    def __init__(self, fingerprint: str, batches: Callable[[], Iterator[pl.DataFrame]]) -> None:
        self.fingerprint = fingerprint
        self.cost = Cost()
        self._batches = batches

    def pages(self, position: Position | None) -> Iterator[Page]:
        """See `Changes`."""
        known: list[str] = position["pages"] if position and position.get("by") == _version() else []
        digests: list[str] = []
        last = pl.DataFrame()
        for rows in self._read():
            place, digest = len(digests), _digest(rows)
            if place < _MOST:
                digests.append(digest)
            if rows.height and known[place : place + 1] != [digest]:
                yield Page(rows, self._position([*digests, *known[len(digests) :]]))
            last = rows
        yield Page(last.clear(), self._position(digests))

    def _read(self) -> Iterator[pl.DataFrame]:
        return self.cost.counted(self._batches())

    def _position(self, digests: list[str]) -> Position:
        return {"by": _version(), "pages": digests}

    def gone(self, held: Iterator[pl.DataFrame], kept_before: datetime | None) -> Iterator[pl.Series]:
        """See `Changes`."""
        raise refuse_deletions(self.fingerprint)

    def sums(self, columns: Collection[str]) -> Sums | None:
        """See `Changes`."""
        return None

    def rows_of(self, month: str | None) -> Iterator[pl.DataFrame]:
        """See `Changes`."""
        for rows in self._read():
            yield rows if month is None else rows.filter(in_month(month))


def made_since(moment: datetime | None) -> pl.Expr:
    """Whether a row was made at a moment or later; none was, where there is no such moment."""
    return pl.lit(False) if moment is None else (pl.col("create_time") >= moment).fill_null(False)


def in_month(month: str) -> pl.Expr:
    """Whether a row was made in a month of UTC."""
    return pl.col("create_time").dt.strftime("%Y-%m") == month


def call_batches(calls: Calls, what: str) -> Iterator[pl.DataFrame]:
    """All calls of a frame, a relation or a file, with the columns of a warehouse.

    Raises:
        UsageError: they have no ids, or some of them have none, or they are no calls.
    """
    names = calls.columns(_EVERYTHING)
    if "id" not in names:
        raise UsageError(f"{what} has no column id, by which the calls of a warehouse are merged")
    # Where labels are JSON, it is up to the warehouse which of their names become columns.
    is_json = isinstance(calls, FrameCalls | RelationCalls) and "labels" in calls.given
    wanted = tuple(name for name in names if not (is_json and name.startswith("labels.")))
    without = 0
    for batch in calls.batches(replace(_EVERYTHING, columns=wanted)):
        without += batch.filter(pl.col("id").is_in(_NO_IDS)).height
        if without > 1:
            raise UsageError(f"{what} has calls whose id is empty; by it they are merged, and all of them would be one")
        yield from in_columns(batch, SCHEMAS["calls"]).iter_slices(PAGE_ROWS)


def in_columns(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Rows with all columns of a schema in its order, null where they are missing, and their further columns last."""
    missing = (pl.lit(None, dtype=dtype).alias(name) for name, dtype in schema.items() if name not in rows.columns)
    return rows.with_columns(missing).select(*schema, pl.exclude(*schema))


def refuse_deletions(source: str) -> UsageError:
    """Why deletions cannot be mirrored from files and frames."""
    return UsageError(
        f"{source} does not say what was deleted, for it may hold only what is new; deletions are mirrored from "
        "databases and stores"
    )


def _version() -> str:
    """By what digests are made: other versions of Polars make others."""
    return f"polars {pl.__version__}"


def _digest(rows: pl.DataFrame) -> str:
    return digest_of(rows.hash_rows(seed=1).to_arrow().buffers()[1])


def digest_of(data: Buffer) -> str:
    """A short digest: of two that differ, it is the same once in a billion years of syncs."""
    return base64.b64encode(hashlib.blake2b(data, digest_size=9).digest()).decode()
