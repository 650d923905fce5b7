"""PostgreSQL: every change, exactly once it is visible, however long its transaction was open.

Each row of our tables has the id of the transaction that saved it last (`saved_position`, of 64 bits, so that ids never
begin anew). A snapshot says which transactions had ended at a moment (`pg_current_snapshot()`, which everybody may
ask): all below its `xmax` but those that it lists. So what changed since a sync are the rows of the transactions that
its snapshot did not see, those that were open at the time among them, and no clock has a say.

The first sync reads all rows in order of time, and goes on from there with the rows that its snapshot did not see. A
pass is over when the rows that its snapshot saw are read; killed before, the next one goes on behind the last page.

What does not fit the snapshots begins anew: another cluster, another line of its history (one that was restored to an
earlier moment, or a standby that took over, either of which may use ids a second time), another table. A restored table
brings ids of the cluster that it came from: those beyond all that this one has given are nobody's, and are left alone.

On a standby PostgreSQL does not say which transactions are open (see the discussion "pg_current_snapshot() on a
standby", July 2026), only from which id on some may be. Rows from there on come again until they are behind it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import polars as pl

from mofa_usage.errors import QueryError
from mofa_usage.reading.columns import literal
from mofa_usage.warehouse.sources.changes import Page, Position
from mofa_usage.warehouse.sources.databases import POSITION, DatabaseChanges
from mofa_usage.warehouse.sources.tables import Key, Order

__all__ = ["BY_ID", "BY_TIME", "PostgresChanges"]

_MOST = 1_000  # open transactions that are listed: some 20 kB

_ID = Key("id", "CAST(id AS TEXT)", lambda text: f"CAST({literal(text)} AS UUID)")
BY_ID = Order((_ID,))
BY_TIME = Order((Key("create_time", "to_json(create_time) #>> '{}'", lambda text: f"TIMESTAMPTZ {literal(text)}"), _ID))
_BY_POSITION = Order((Key(POSITION, f"CAST({POSITION} AS TEXT)", lambda text: f"CAST({literal(text)} AS XID8)"), _ID))

_CLUSTER = """
    SELECT (SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()) || '/'
        || CASE WHEN pg_is_in_recovery() THEN (SELECT CAST(timeline_id AS TEXT) FROM pg_control_checkpoint())
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS cluster
"""
_NOW = """
    SELECT (SELECT CAST(oid AS TEXT) FROM pg_database WHERE datname = current_database()) || '/'
        || CAST(CAST(to_regclass('{table}') AS OID) AS TEXT) AS place,
        CAST(pg_current_snapshot() AS TEXT) AS snapshot, pg_is_in_recovery() AS standby, clock_timestamp() AS now
"""


@dataclass(frozen=True)
class _Snapshot:
    """Which transactions had ended: all with an id below `end` but those that are `open`."""

    end: int
    open: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """What PostgreSQL says: `xmin:xmax:xip,xip,...`."""
        _, end, listed = text.split(":")
        return cls(int(end), tuple(map(int, filter(None, listed.split(",")))))

    @classmethod
    def before(cls, text: str) -> Self:
        """A snapshot that sees no transaction that this one may not see, nor any from the first of these on."""
        return cls(int(text.split(":")[0]), ())

    def bounded(self) -> "_Snapshot":
        """One that lists no more than fit into a position: it sees nothing from the next open one on."""
        listed = sorted(self.open)
        return self if len(listed) <= _MOST else _Snapshot(listed[_MOST], tuple(listed[:_MOST]))

    def __str__(self) -> str:
        return f"{min(self.open, default=self.end)}:{self.end}:{','.join(map(str, self.open))}"


@dataclass(frozen=True)
class _Pass:
    """A pass over what changed.

    Attributes:
        here: which table of which database it is about.
        since: what the pass before saw, None for nothing.
        target: what this one is to have seen when it is over.
        end: from this id on no transaction has begun.
        after: the place of the last row that was read.
    """

    here: str
    since: str | None
    target: str
    end: int
    after: list[str] | None

    def position(self, after: Sequence[str] | None) -> Position:
        """Where to go on behind a place; None when all is read."""
        if after is None:
            return {"here": self.here, "seen": self.target}
        return {"here": self.here, "seen": self.since, "target": self.target, "end": self.end, "after": list(after)}


class PostgresChanges(DatabaseChanges):
    """The changes of a table with positions in a PostgreSQL database."""

    def pages(self, position: Position | None) -> Iterator[Page]:
        """See `Changes`."""
        here, snapshot, end, now = self._look()
        since: str | None = None
        if position is not None and position.get("here") == here:
            since = position["seen"]
            if "target" in position:
                begun = _Pass(here, since, position["target"], position["end"], position["after"])
                yield from self._pass(begun)
                since = begun.target
                yield Page(self._nothing(), begun.position(None))
        through = _Pass(here, since, snapshot, end, None)
        yield from self._pass(through)
        yield Page(self._nothing(), through.position(None), now)

    def _look(self) -> tuple[str, str, int, datetime]:
        """Which table this is, what a snapshot sees by now, the id of the next transaction, and the time."""
        row = self._table.query(_NOW.format(table=self._table.table)).row(0, named=True)
        text = row["snapshot"]
        end = _Snapshot.of(text).end
        seen = _Snapshot.before(text) if row["standby"] else _Snapshot.of(text).bounded()
        return f"{self._cluster()}/{row['place']}", str(seen), end, row["now"]

    def _cluster(self) -> str:
        try:
            return str(self._table.query(_CLUSTER)["cluster"][0])
        except QueryError:  # an administrator can forbid it; then nothing tells a restored cluster from the one before
            return "?"

    def _pass(self, through: _Pass) -> Iterator[Page]:
        walks = self._everything(through) if through.since is None else self._changed(through)
        for rows, place in walks:
            yield Page(rows, through.position(place))

    def _everything(self, through: _Pass) -> Iterator[tuple[pl.DataFrame, list[str]]]:
        order = BY_TIME if self._table.name == "calls" else BY_ID
        return self._table.walk(order, through.after)

    def _changed(self, through: _Pass) -> Iterator[tuple[pl.DataFrame, list[str]]]:
        """First the rows of the transactions that were open, then those of the transactions that came later."""
        seen, place = _Snapshot.of(str(through.since)), through.after
        if seen.open and (place is None or int(place[0]) < seen.end):
            listed = ",".join(map(str, seen.open))
            yield from self._table.walk(_BY_POSITION, place, f"{POSITION} = ANY (CAST('{{{listed}}}' AS XID8[]))")
            place = None
        later = [f"{POSITION} {sign} CAST('{xid}' AS XID8)" for sign, xid in ((">=", seen.end), ("<", through.end))]
        yield from self._table.walk(_BY_POSITION, place, *later)
