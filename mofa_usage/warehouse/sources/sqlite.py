"""SQLite: every change, exactly once it is visible, because only one writes at a time.

A counter goes up with each row that is saved, and the row notes what it says (`saved_position`). Nobody can save a row
with an older number once a newer one is visible. So what changed since a sync are the rows with a number above the one
that the counter had.

A file that was put back as it had been some days ago has its counter from then, and gives numbers a second time. A
position says which rows had the last numbers: where one of these now belongs to another row, or the counter is behind,
all is read again. (Where the last rows were deleted meanwhile and as many others came, nothing tells; `verify` does.)
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
_BY_POSITION = Order((Key(POSITION, f"CAST({POSITION} AS TEXT)", str),))


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
            conditions = [f"{POSITION} > {through['seen']}", f"{POSITION} <= {through['target']}"]
        for rows, place in self._table.walk(order, through["after"], *conditions):
            yield Page(rows, {**through, "after": place})

    def _last(self, value: int) -> dict[str, str]:
        """The ids of the rows that were saved last, by their numbers."""
        found = self._table.query(
            f"SELECT {POSITION} AS number, id FROM {self._table.table} WHERE {POSITION} <= {value} "  # noqa: S608
            f"ORDER BY {POSITION} DESC LIMIT {_LAST}"
        )
        return {str(number): key for number, key in found.iter_rows()}

    def _is_same(self, position: Position, value: int) -> bool:
        """Whether the numbers that were seen are still those of the same rows."""
        seen, last = position.get("target", position["seen"]), position["last"]
        if value < seen:
            return False
        numbers = ", ".join(str(int(number)) for number in last) or "NULL"
        found = self._table.query(
            f"SELECT {POSITION} AS number, id FROM {self._table.table} WHERE {POSITION} IN ({numbers})"  # noqa: S608
        )
        return all(last[str(number)] == key for number, key in found.iter_rows())
