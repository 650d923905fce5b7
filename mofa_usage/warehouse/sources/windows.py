"""MySQL and MariaDB, and tables that MoFA made: what changed is found by comparing, window by window.

MySQL shows nobody which transactions are open, and its clock can be set, by any session even. A position in time alone
would lose what becomes visible behind it. So the position is a list of windows: ranges of rows in an order that has an
index, each with the number of its rows and a checksum of all that they hold, as the server adds them up itself. A sync

- adds up the windows that are due, and reads those again whose sums are not what they were;
- reads what stands behind the last window, and closes windows over it.

Sums are taken before the rows are read: what comes in between is in the rows and not in the sum, and the window is read
once more. So whatever was committed before a window was added up is found by that, whoever held it back, and whatever
any clock said. Which windows are due:

| windows | added up |
|---|---|
| of the last 10 minutes, and of the last 20,000 rows | by every sync |
| of the last million rows | every 5 minutes |
| all | once a day |

The order is that of `saved_position` where a table has it, the moment of the last save: then what is new or changed is
behind the last window at once, whatever its own times say. Rows of a clock that was ahead stand in a window of their
own, `ahead`, until their time comes. MoFA's tables have none: calls are in order of `create_time` and the others in
that of their ids, which are in order of time where they are UUIDs of version 7. A change of an old row there is found
when its window is due.

Windows are small where they are young, and twice as large from some to the next: some hundred of them, 40 kB, are
enough for a billion rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Self

import polars as pl

from mofa_usage.grammar import GRAMMARS
from mofa_usage.reading.columns import literal
from mofa_usage.warehouse.sources.changes import Page, Position
from mofa_usage.warehouse.sources.databases import POSITION, DatabaseChanges
from mofa_usage.warehouse.sources.frames import digest_of
from mofa_usage.warehouse.sources.postgres import BY_ID, BY_TIME
from mofa_usage.warehouse.sources.tables import Key, Order, StoredTable

__all__ = ["Due", "WindowChanges", "windows_of"]

_UTC = "/*M!100000 SET STATEMENT time_zone = '+00:00' FOR */ SELECT /*+ SET_VAR(time_zone = '+00:00') */"
_AT_ONCE = 40  # windows that one statement adds up
_STEP = 20_000  # rows that a new window has at most
_SMALLEST = 2_000  # rows up to which young windows are put together
_ALIKE = 30  # windows until they may be twice as large
_MOST = 450  # windows


@dataclass(frozen=True)
class Due:
    """Which windows a sync adds up; see the table above. Rows are counted from the newest on."""

    rows: int = 20_000
    overlap: timedelta = timedelta(minutes=10)
    recent_rows: int = 1_000_000
    recent: timedelta = timedelta(minutes=5)
    everything: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class _Window:
    """The rows behind the window before, up to and including the row at a place: how many, and their checksum."""

    upto: tuple[str, ...]
    rows: int
    sum: int

    def with_younger(self, younger: "_Window") -> "_Window":
        """Both as one."""
        return _Window(younger.upto, self.rows + younger.rows, self.sum + younger.sum)


_UNREAD = -1
"""The rows of a window that has to be read whatever its sums are."""


@dataclass(frozen=True)
class _State:
    """A position, taken apart.

    Attributes:
        windows: the oldest first.
        ahead: rows and checksum of what stands behind them, ahead of the clock.
        recent, everything: when the windows of these were added up last.
    """

    windows: tuple[_Window, ...] = ()
    ahead: tuple[int, int] = (0, 0)
    recent: datetime | None = None
    everything: datetime | None = None

    def written(self, by: str) -> Position:
        """As JSON."""
        times = {"recent": self.recent, "everything": self.everything}
        return {
            "by": by,
            "windows": [[*window.upto, window.rows, str(window.sum)] for window in self.windows],
            "ahead": [self.ahead[0], str(self.ahead[1])],
            **{name: time and time.isoformat() for name, time in times.items()},
        }

    @classmethod
    def read(cls, position: Position | None, by: str) -> Self:
        """What a position says; nothing, if its sums are of something else."""
        if position is None or position.get("by") != by:
            return cls()
        times = {name: _moment(position[name]) if position[name] else None for name in ("recent", "everything")}
        windows = tuple(_Window(tuple(upto), rows, int(sum_)) for *upto, rows, sum_ in position["windows"])
        return cls(windows, (position["ahead"][0], int(position["ahead"][1])), **times)

    def merged(self) -> Self:
        """With fewer windows: some of a size, from the newest on, and then some of twice that."""
        merged: list[_Window] = []
        for window in reversed(self.windows):
            most = _SMALLEST * 2 ** (len(merged) // _ALIKE)
            fits = merged and (merged[-1].rows + window.rows <= most or len(merged) >= _MOST)
            if fits and _UNREAD not in (merged[-1].rows, window.rows):
                merged[-1] = window.with_younger(merged[-1])
            else:
                merged.append(window)
        return replace(self, windows=tuple(reversed(merged)))


@dataclass(frozen=True)
class _Sql:
    """How a table is asked: its order, the checksum of a row, the time, what is made of a statement, and what a text is
    to it.
    """

    order: Order
    checksum: str
    now: str
    text: str
    spoken: Callable[[str], str]

    @property
    def is_timed(self) -> bool:
        """Whether the rows are in order of time."""
        return len(self.order.keys) > 1


class WindowChanges(DatabaseChanges):
    """The changes of a table that has to be compared."""

    def __init__(self, fingerprint: str, table: StoredTable, sql: _Sql, due: Due) -> None:
        super().__init__(fingerprint, replace(table, spoken=sql.spoken))
        self._sql = sql
        self._due = due
        # What is added up: where columns come and go, sums of before say nothing.
        self._by = digest_of(f"{sql.order.columns} {sql.checksum}".encode())

    def pages(self, position: Position | None) -> Iterator[Page]:
        """See `Changes`."""
        state = _State.read(position, self._by)
        said = str(self._table.query(f"SELECT {self._sql.now} AS now")["now"][0])
        now = _moment(said)
        due, recent, everything = self._due_at(now, state)
        known = state
        for rows, known in self._compared(state, due):
            yield Page(rows, known.written(self._by))
        state = known
        until = [f"{self._sql.order.keys[0].column} <= {self._sql.order.keys[0].value(said)}"]
        for window, rows in self._closed(_end(state.windows), until if self._sql.is_timed else []):
            state = replace(state, windows=(*state.windows, window)).merged()
            yield Page(rows, state.written(self._by))
        if self._sql.is_timed:
            for rows, ahead in self._ahead(state, said):
                yield Page(rows, state.written(self._by))
                state = replace(state, ahead=ahead)
        added_up = (recent, everything) != (state.recent, state.everything)
        state = replace(state.merged(), recent=recent, everything=everything)
        many = sum(window.rows for window in state.windows) > self._due.rows
        yield Page(self._nothing(), state.written(self._by), now, keep=added_up and many)

    def _due_at(self, now: datetime, state: _State) -> tuple[list[int], datetime | None, datetime | None]:
        """The windows that are due, and when which of them have been added up last, once they are."""
        due = self._due
        all_are = not _is_within(state.everything, now, due.everything)
        recent_are = all_are or not _is_within(state.recent, now, due.recent)
        found, younger = [], 0
        for place in reversed(range(len(state.windows))):
            window = state.windows[place]
            is_young = self._sql.is_timed and _moment(window.upto[0]) >= now - due.overlap
            is_young |= window.rows == _UNREAD
            if all_are or is_young or younger < (due.recent_rows if recent_are else due.rows):
                found.append(place)
            younger += window.rows
        return found, now if recent_are else state.recent, now if all_are else state.everything

    def _compared(self, state: _State, due: Sequence[int]) -> Iterator[tuple[pl.DataFrame, _State]]:
        """The rows of those windows that are not what they were; with what is known then.

        They are taken from the newest on, so that the places of those to come stay what they are.
        """
        for start in range(0, len(due), _AT_ONCE):
            places = due[start : start + _AT_ONCE]
            ranges = [(_end(state.windows[:place]), state.windows[place].upto) for place in places]
            for place, found in zip(places, self._sums(ranges), strict=True):
                window = state.windows[place]
                if found == (window.rows, window.sum):
                    continue
                before, behind = state.windows[:place], state.windows[place + 1 :]
                rest = (_Window(window.upto, _UNREAD, 0),)
                for part, rows in self._closed(_end(before), [self._sql.order.up_to(window.upto)]):
                    before = (*before, part)
                    state = replace(state, windows=(*before, *rest, *behind))
                    yield rows, state
                last = _Window(window.upto, 0, 0)  # behind its last row it is empty
                state = replace(state, windows=(*before, last, *behind))
                yield self._nothing(), state

    def _closed(self, after: Sequence[str] | None, conditions: Sequence[str]) -> Iterator[tuple[_Window, pl.DataFrame]]:
        """The rows behind a place that meet the conditions, in windows."""
        order = self._sql.order
        while True:
            met = _where([*([] if after is None else [order.behind(after)]), *conditions])
            columns = ", ".join(key.column for key in order.keys)
            texts = ", ".join(f"{sql} AS {name}" for name, sql in order.texts.items())
            last = self._table.query(
                f"SELECT {texts} FROM (SELECT {columns} FROM {self._table.table} {met} ORDER BY {columns} "  # noqa: S608
                f"LIMIT {_STEP}) AS step ORDER BY {', '.join(f'{key.column} DESC' for key in order.keys)} LIMIT 1"
            )
            if last.is_empty():
                return
            upto = tuple(map(str, last.row(0)))
            ((count, total),) = self._sums([(after, upto)])
            rows = [part for part, _ in self._table.walk(order, after, order.up_to(upto))]
            yield _Window(upto, count, total), pl.concat([self._nothing(), *rows])
            after = upto

    def _ahead(self, state: _State, now: str) -> Iterator[tuple[pl.DataFrame, tuple[int, int]]]:
        """What a clock that was ahead of the server's has saved, if it is not what it was."""
        key, after = self._sql.order.keys[0], _end(state.windows)
        ahead = f"{key.column} > {key.value(now)}"
        (found,) = self._sums([(after, None)], ahead)
        if found == state.ahead:
            return
        for rows, _ in self._table.walk(self._sql.order, after, ahead):
            yield rows, state.ahead
        yield self._nothing(), found

    def _sums(
        self, ranges: Sequence[tuple[Sequence[str] | None, Sequence[str] | None]], *conditions: str
    ) -> list[tuple[int, int]]:
        """How many rows there are in each range, and the sum of their checksums."""
        order = self._sql.order
        parts = []
        for number, (after, upto) in enumerate(ranges):
            met = [*conditions]
            met += [] if after is None else [order.behind(after)]
            met += [] if upto is None else [order.up_to(upto)]
            summed = f"CAST(COALESCE(SUM({self._sql.checksum}), 0) AS {self._sql.text})"
            parts.append(
                f"SELECT {number} AS number, COUNT(*) AS many, {summed} AS total FROM {self._table.table} {_where(met)}"  # noqa: S608
            )
        found = self._table.query(" UNION ALL ".join(parts)).sort("number")
        sums = [(int(many), int(total)) for many, total in found.select("many", "total").iter_rows()]
        self.cost.compared += sum(many for many, _ in sums)
        return sums


def _where(conditions: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _end(windows: Sequence[_Window]) -> tuple[str, ...] | None:
    return windows[-1].upto if windows else None


def _is_within(last: datetime | None, now: datetime, span: timedelta) -> bool:
    # A clock that was set back leaves a time that is still to come: then it is as if there was none.
    return last is not None and timedelta(0) <= now - last < span


def _moment(text: str) -> datetime:
    """A key, or what the server's clock says; PostgreSQL's infinities are the first and the last moment."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return (datetime.min if text.startswith("-") else datetime.max).replace(tzinfo=UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def windows_of(fingerprint: str, table: StoredTable, due: Due = Due()) -> WindowChanges | None:
    """The changes of a table, compared; None where the database cannot be asked for that."""
    is_postgres = table.flavour.grammar is GRAMMARS["postgres"]
    sql = _postgres(table) if is_postgres else _mysql(table)
    if not is_postgres:
        zone = table.query(sql.spoken("SELECT @@session.time_zone AS zone"))["zone"][0]
        if zone != "+00:00":  # it cannot be told for one statement; times of the session's zone may be there twice
            return None
    return WindowChanges(fingerprint, table, sql, due)


def _postgres(table: StoredTable) -> _Sql:
    return _Sql(
        BY_TIME if table.name == "calls" else BY_ID,
        f"hashtextextended(CAST(ROW({', '.join(table.stored)}) AS TEXT), 0)",
        "CAST(to_json(clock_timestamp()) #>> '{}' AS TEXT)",
        "TEXT",
        lambda statement: statement,
    )


def _mysql(table: StoredTable) -> _Sql:
    by_id = Key("id", "CAST(id AS CHAR)", table.flavour.text)
    column = POSITION if POSITION in table.declared else "create_time"
    by_time = Key(column, f"CAST({column} AS CHAR)", lambda text: f"TIMESTAMP{literal(text)}")
    is_timed = column == POSITION or table.name == "calls"
    values = ", ".join(f"COALESCE({name}, CHAR(30))" for name in [*table.stored, column])
    return _Sql(
        Order((by_time, by_id) if is_timed else (by_id,)),
        f"CAST(CONV(LEFT(MD5(CONCAT_WS(CHAR(31), {values})), 15), 16, 10) AS UNSIGNED)",
        "CAST(UTC_TIMESTAMP(6) AS CHAR)",
        "CHAR",
        lambda statement: f"{_UTC}{statement.removeprefix('SELECT')}",
    )
