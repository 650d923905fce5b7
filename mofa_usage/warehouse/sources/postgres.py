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

A copy of the data directory that was put back, or a crash that lost commits which were not on the disk yet, has the
name and the line of the history that it left, and uses ids a second time, too. So a position says in which run of which
server it was made, and which rows were saved last by then. In another run those of them that are there as they were
prove the history up to the latest; what was saved behind it is read again, and where none is left, everything. (Where
the same rows were saved by the same ids a second time, nothing tells; `verify` does.) A standby that is behind the
position has not got these rows yet, and is refused.

One connection is one server, but for balancers that choose for each statement. So each statement that reads rows fails
on a server that does not see all that the snapshot of the pass saw.

On a standby PostgreSQL does not say which transactions are open (see the discussion "pg_current_snapshot() on a
standby", July 2026), only from which id on some may be. Rows from there on come again until they are behind it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import polars as pl

from mofa_usage.errors import QueryError, UsageError
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
        || CASE WHEN pg_is_in_recovery()
            THEN (SELECT lpad(upper(to_hex(timeline_id)), 8, '0') FROM pg_control_checkpoint())
            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS cluster
"""
_NOW = """
    SELECT (SELECT CAST(oid AS TEXT) FROM pg_database WHERE datname = current_database()) || '/'
        || CAST(CAST(to_regclass('{table}') AS OID) AS TEXT) AS place,
        CAST(pg_current_snapshot() AS TEXT) AS snapshot, pg_is_in_recovery() AS standby, clock_timestamp() AS now,
        concat(EXTRACT(EPOCH FROM pg_postmaster_start_time()), '/',
            (SELECT EXTRACT(EPOCH FROM stats_reset) FROM pg_stat_bgwriter)) AS run,  -- which a crash resets
        CAST((SELECT json_object_agg(id, CAST({position} AS TEXT)) FROM (
            SELECT id, {position} FROM {table} WHERE {position} < pg_snapshot_xmax(pg_current_snapshot())
            ORDER BY {position} DESC, id DESC LIMIT {last}
        ) AS last) AS TEXT) AS last
"""
_MADE = ("run", "last")
_LAST = 20
"""So many rows of those that were saved last say whether another server, or run of it, has the same history."""

_BEHIND = "behind the snapshot"
# A subquery, so that it is asked once for the statement, and also where there are no rows. What a server sees at least
# are all transactions that have ended, of which a standby knows only where the oldest begins that has not.
_SEES = """
    (SELECT CAST(CASE WHEN CASE WHEN pg_is_in_recovery() THEN pg_snapshot_xmin(now) ELSE pg_snapshot_xmax(now) END
        >= CAST('{end}' AS XID8) THEN 'true' ELSE '{behind}' END AS BOOLEAN) FROM pg_current_snapshot() AS now)
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

    def below(self, end: int) -> "_Snapshot":
        """One that sees of these transactions only those with an id below `end`."""
        return _Snapshot(min(self.end, end), tuple(xid for xid in self.open if xid < end))

    def __str__(self) -> str:
        return f"{min(self.open, default=self.end)}:{self.end}:{','.join(map(str, self.open))}"


@dataclass(frozen=True)
class _Now:
    """What the server says at the beginning of a pass.

    Attributes:
        here: which table of which database it is about.
        seen: the snapshot.
        end: from this id on no transaction has begun.
        time: of its clock.
        is_standby: whether it follows another server.
        made: the run of the server, and the ids of the transactions that saved the last rows, by the ids of these.
    """

    here: str
    seen: str
    end: int
    time: datetime
    is_standby: bool
    made: Mapping[str, Any]


@dataclass(frozen=True)
class _Pass:
    """A pass over what changed.

    Attributes:
        here: which table of which database it is about.
        since: what the pass before saw, None for nothing.
        target: what this one is to have seen when it is over.
        end: from this id on no transaction had begun.
        after: the place of the last row that was read.
        made: where `target` was made, as `_Now` has it.
    """

    here: str
    since: str | None
    target: str
    end: int
    after: list[str] | None
    made: Mapping[str, Any]

    @classmethod
    def of(cls, position: Position) -> Self:
        """One that was begun."""
        here, since, target, end, after = (position[name] for name in ("here", "seen", "target", "end", "after"))
        return cls(here, since, target, end, after, {name: position[name] for name in _MADE if name in position})

    def position(self, after: Sequence[str] | None) -> Position:
        """Where to go on behind a place; None when all is read."""
        if after is None:
            return {"here": self.here, "seen": self.target, **self.made}
        begun = {"target": self.target, "end": self.end, "after": list(after)}
        return {"here": self.here, "seen": self.since, **begun, **self.made}


class PostgresChanges(DatabaseChanges):
    """The changes of a table with positions in a PostgreSQL database."""

    def pages(self, position: Position | None) -> Iterator[Page]:
        """See `Changes`.

        Raises:
            UsageError: it is a standby that is behind the position, or not all statements reach the same server.
        """
        now, since = self._look(), None
        known = None if position is None or position.get("here") != now.here else self._shared(position, now)
        if known is not None:
            since = known["seen"]
            if "target" in known:
                begun = _Pass.of(known)
                yield from self._pass(begun)
                since = begun.target
                yield Page(self._nothing(), begun.position(None))
        through = _Pass(now.here, since, now.seen, now.end, None, now.made)
        yield from self._pass(through)
        yield Page(self._nothing(), through.position(None), now.time)

    def _look(self) -> _Now:
        table = self._table.table
        row = self._table.query(_NOW.format(table=table, position=POSITION, last=_LAST)).row(0, named=True)
        text = row["snapshot"]
        end = _Snapshot.of(text).end
        seen = _Snapshot.before(text) if row["standby"] else _Snapshot.of(text).bounded()
        here = f"{self._cluster()}/{row['place']}"
        made = {"run": row["run"], "last": json.loads(row["last"] or "{}")}
        return _Now(here, str(seen), end, row["now"], row["standby"], made)

    def _cluster(self) -> str:
        try:
            return str(self._table.query(_CLUSTER)["cluster"][0])
        except QueryError:  # an administrator can forbid it; then nothing tells a restored cluster from the one before
            return "?"

    def _shared(self, position: Position, now: _Now) -> Position | None:
        """What a position says of the history that it shares with this server; None if that is not known of any.

        Raises:
            UsageError: the server is a standby, and behind the position.
        """
        if position.get("run") in (None, now.made["run"]):  # None: of an older version, which did not note it
            return position
        snapshots = {name: _Snapshot.of(position[name]) for name in ("seen", "target") if position.get(name)}
        end = max(snapshot.end for snapshot in snapshots.values())
        if now.is_standby and now.end < end:
            raise UsageError(
                f"{self._table.reader} is a standby that has transactions up to {now.end}; {self._table.name} were "
                f"read up to {end} of another server (a balancer? a failover?). So it lags, or its history is another. "
                "Wait until it has caught up, name one server as the source, or read everything that this one has: "
                "full=True, --full"
            )
        ids = ", ".join(map(literal, position["last"])) or "NULL"
        asked = f"SELECT CAST(id AS TEXT), CAST({POSITION} AS TEXT) FROM {self._table.table} WHERE id IN ({ids})"  # noqa: S608
        found = dict(self._table.query(asked).iter_rows())
        shared = [int(xid) for key, xid in position["last"].items() if found.get(key) == xid]
        if not shared:
            return None
        # Where a standby goes on with a pass of another server, transactions may be open to it that were seen there.
        upto = min(max(shared) + 1, _Snapshot.of(now.seen).end if now.is_standby else end)
        return {**position, **{name: str(snapshot.below(upto)) for name, snapshot in snapshots.items()}}

    def _pass(self, through: _Pass) -> Iterator[Page]:
        walk = self._everything if through.since is None else self._changed
        try:
            for rows, place in walk(through, _SEES.format(end=_Snapshot.of(through.target).end, behind=_BEHIND)):
                yield Page(rows, through.position(place))
        except QueryError as error:
            if _BEHIND not in str(error):
                raise
            raise UsageError(
                f"not all {self._table.name} that this sync is about are there: its statements reach several servers "
                f"as {self._table.reader}, one of which lags behind another. Name one of them as the source"
            ) from error

    def _everything(self, through: _Pass, sees: str) -> Iterator[tuple[pl.DataFrame, list[str]]]:
        order = BY_TIME if self._table.name == "calls" else BY_ID
        return self._table.walk(order, through.after, sees)

    def _changed(self, through: _Pass, sees: str) -> Iterator[tuple[pl.DataFrame, list[str]]]:
        """First the rows of the transactions that were open, then those of the transactions that came later."""
        seen, place = _Snapshot.of(str(through.since)), through.after
        if seen.open and (place is None or int(place[0]) < seen.end):
            listed = ",".join(map(str, seen.open))
            yield from self._table.walk(_BY_POSITION, place, sees, f"{POSITION} = ANY (CAST('{{{listed}}}' AS XID8[]))")
            place = None
        later = [f"{POSITION} {sign} CAST('{xid}' AS XID8)" for sign, xid in ((">=", seen.end), ("<", through.end))]
        yield from self._table.walk(_BY_POSITION, place, sees, *later)
