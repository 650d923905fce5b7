"""SQLite: every change, exactly once it is visible, because only one writes at a time.

A row that is saved notes the number that a counter says (`saved_position`), and the counter goes up before the lock is
let go. Nobody can save a row with a number that was there before. So what changed since a sync are the rows from the
number on that the counter had.

A file that was put back as it had been some days ago has its counter from then, and gives numbers a second time. A
position says which rows were saved last: where one of these has another number now, or others have theirs, or the
counter is behind, all is read again. (Where just the same rows were saved once more since, nothing tells; `verify`
does.)
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from mofa_usage.reading.columns import literal
from mofa_usage.warehouse.sources.changes import Page, Position
from mofa_usage.warehouse.sources.databases import POSITION, DatabaseChanges
from mofa_usage.warehouse.sources.tables import Key, Order

__all__ = ["SqliteChanges"]

_LAST = 20
"""So many rows of those that were saved last say whether this is still the same history."""

_ID = Key("id", "id", literal)
_BY_ID = Order((_ID,))
_BY_TIME = Order((Key("create_time", "create_time", literal), _ID))
_BY_POSITION = Order((Key(POSITION, f"CAST({POSITION} AS TEXT)", str), _ID))


class SqliteChanges(DatabaseChanges):
    """The changes of a table with positions in a SQLite database."""

    def pages(self, position: Position | None) -> Iterator[Page]:
        """See `Changes`."""
        row = self._table.query("SELECT era, value FROM mofa_usage_position").row(0, named=True)
        now = datetime.now(UTC)  # a file's clock is ours
        start: Position = {"era": row["era"], "seen": None}
        if position is not None and position.get("era") == row["era"] and self._is_same(position, row["value"]):
            start = position
            if "target" in start:
                yield from self._pass(start)
                start = {"era": start["era"], "seen": start["target"], "last": start["last"]}
                yield Page(self._nothing(), start)
        last = self._last(row["value"])
        yield from self._pass({**start, "target": row["value"], "last": last, "after": None})
        done = {"era": row["era"], "seen": row["value"], "last": last}
        yield Page(self._nothing(), done, now)

    def _pass(self, through: Position) -> Iterator[Page]:
        if through["seen"] is None:
            order, conditions = (_BY_TIME if self._table.name == "calls" else _BY_ID), []
        else:
            order = _BY_POSITION
            conditions = [f"{POSITION} >= {through['seen']}"]
        for rows, place in self._table.walk(order, through["after"], *conditions):
            yield Page(rows, {**through, "after": place})

    def _last(self, value: int) -> dict[str, int]:
        """The rows that were saved last before the counter had a value, with their numbers."""
        return self._numbers(f"{POSITION} < {value} ORDER BY {POSITION} DESC LIMIT {_LAST}")

    def _is_same(self, position: Position, value: int) -> bool:
        """Whether this is still the history in which the rows of a position were saved last: no others have numbers
        from between theirs and the counter's, and theirs are what they were, or new.
        """
        seen, last = position.get("target", position["seen"]), position["last"]
        if value < seen:
            return False
        least = min(last.values()) if len(last) == _LAST else 0
        others = self._numbers(f"{POSITION} > {least} AND {POSITION} < {seen} LIMIT {_LAST + 1}")
        found = self._numbers(f"id IN ({', '.join(map(literal, last)) or 'NULL'})")
        if not found:
            return not self._numbers(f"{POSITION} < {seen} LIMIT 1")
        return others.keys() <= last.keys() and all(
            number >= seen or number == last[key] for key, number in found.items()
        )

    def _numbers(self, condition: str) -> dict[str, int]:
        """The numbers of the rows that meet a condition, 0 where there is none, by their ids."""
        number = f"coalesce({POSITION}, 0)"
        found = self._table.query(f"SELECT id, {number} AS number FROM {self._table.table} WHERE {condition}")  # noqa: S608
        return dict(found.iter_rows())
