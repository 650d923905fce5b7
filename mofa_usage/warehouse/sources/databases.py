"""A table of a database: what all kinds of databases have in common."""

import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from mofa_usage.reading.columns import literal
from mofa_usage.stores.base import Store
from mofa_usage.urls import MEMORY_PATH, parse_url
from mofa_usage.warehouse.sources.changes import RETAINED
from mofa_usage.warehouse.sources.checksums import Sums, engine_of, sums_query
from mofa_usage.warehouse.sources.frames import FrameChanges, made_since
from mofa_usage.warehouse.sources.tables import SPECS, StoredTable

__all__ = ["POSITION", "DatabaseChanges", "fingerprint_of"]

POSITION = "saved_position"
"""The column in which our tables note where a row stands in the order of saves (migration 0003)."""

_PORTS = {"postgres": 5432, "mysql": 3306}
_ASKED = 5_000  # ids in a statement
_UUID = "^[0-9A-Fa-f-]{32,36}$"


def fingerprint_of(source: Any) -> str:
    """Where a database is, without who asks, however its URL is written."""
    url = source.url if isinstance(source, Store) else parse_url(source).located().url  # type: ignore[attr-defined]
    backend = parse_url(url).backend
    if backend == "sqlite":
        path = url.database or MEMORY_PATH
        return f"sqlite:{path if path == MEMORY_PATH else os.path.realpath(path)}"
    place = url.host or url.query.get("host") or url.query.get("unix_socket") or url.query.get("socket") or ""
    port = "" if url.port in (None, _PORTS.get(backend)) else f":{url.port}"
    return f"{backend}://{url.host.lower() if url.host else place}{port}/{url.database or ''}"


class DatabaseChanges(FrameChanges):
    """The changes of a table of a database: of one that says nothing of its changes, all of it is read."""

    def __init__(self, fingerprint: str, table: StoredTable) -> None:
        super().__init__(fingerprint, lambda: iter(()))
        self._table = table
        self.cost = table.cost

    def _read(self) -> Iterator[pl.DataFrame]:
        return self._table.read([self._table.select("ORDER BY id")])

    def _nothing(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self._table.schema)

    def gone(self, held: Iterator[pl.DataFrame], kept_before: datetime | None) -> Iterator[pl.Series]:
        """See `Changes`."""
        if kept_before is None:
            table = self._table.table
            oldest = f"WHERE create_time = (SELECT min(create_time) FROM {table}) LIMIT 1"  # noqa: S608 (a name of ours)
            kept_before = pl.concat(self._table.read([self._table.select(oldest)]))["create_time"].min()  # type: ignore[assignment]
        for rows in held:
            asked = rows.filter(pl.col("id").str.contains(_UUID))  # others no table of ours holds
            if self._table.name in RETAINED:
                asked = asked.filter(made_since(kept_before))
            there = [self._there(part["id"]) for part in asked.iter_slices(_ASKED)]
            found = pl.concat(there) if there else pl.Series(dtype=pl.String)
            yield asked["id"].filter(asked["id"].is_in(found.implode()).not_())

    def _there(self, ids: pl.Series) -> pl.Series:
        """Which of these ids are in the table; some program may have written them in capitals."""
        written = ", ".join(map(literal, dict.fromkeys([*ids, *ids.str.to_uppercase()])))
        read = self._table.flavour.read("id", SPECS[self._table.name].kinds["id"], self._table.declared["id"])
        statement = f"SELECT {read} FROM {self._table.table} WHERE id IN ({written})"  # noqa: S608 (ids)
        return self._table.query(statement)["id"].cast(pl.String).str.to_lowercase()

    def sums(self, columns: Collection[str]) -> Sums | None:
        """See `Changes`."""
        table, engine = self._table, engine_of(self._table.flavour.grammar)
        if engine is None:
            return None
        kinds = {name: SPECS[table.name].kinds[name] for name in table.stored if name in columns}
        found = table.query(sums_query(engine, kinds, table.completed(engine.origin)))
        self.cost.compared += sum(map(int, found["many"]))
        return Sums.of(kinds, found.iter_rows())

    def rows_of(self, month: str | None) -> Iterator[pl.DataFrame]:
        """See `Changes`."""
        where = ""
        if month is not None:
            first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
            last = None if month == "9999-12" else (first + timedelta(days=31)).replace(day=1)
            declared = self._table.declared["create_time"]
            where = f"WHERE {' AND '.join(self._table.flavour.created_in(first, last, declared))}"
        yield from self._table.read([self._table.select(where)])
