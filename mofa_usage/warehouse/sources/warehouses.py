"""Another warehouse: each of its tables as its newest version has it, read as a whole each time: see `frames`.

Names of agents and what sessions say are in tables of their own, on both sides.
"""

from collections.abc import Iterator

import duckdb
import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.reading.delta import StorageOptions, TableFiles, delta_table, is_local
from mofa_usage.reading.relation import clocked_cursor, told
from mofa_usage.reading.warehouse import open_warehouse
from mofa_usage.warehouse.sources.changes import CONTENT, PAGE_ROWS, SCHEMAS, TABLES, TableName
from mofa_usage.warehouse.sources.frames import FrameChanges, call_batches, in_columns

__all__ = ["WarehouseChanges", "tables_of"]


def tables_of(root: str, options: StorageOptions) -> tuple[TableName, ...]:
    """The tables that a warehouse has."""
    return tuple(name for name in TABLES if delta_table(root, name, options) is not None)


class WarehouseChanges(FrameChanges):
    """The changes of a table of a warehouse."""

    def __init__(self, root: str, options: StorageOptions, table: TableName, content: bool) -> None:
        super().__init__(root, self._batches_now)
        self._root = root
        self._options = dict(options)
        self._table = table
        self._schema = pl.Schema({**SCHEMAS[table], **(CONTENT if content else {})})

    def _batches_now(self) -> Iterator[pl.DataFrame]:
        if self._table == "calls":
            return call_batches(open_warehouse(self._root, self._options, beside=()), self._root)
        return self._rows()

    def _rows(self) -> Iterator[pl.DataFrame]:
        table = delta_table(self._root, self._table, self._options)
        if table is None:
            raise UsageError(f"the warehouse {self._root} has no table {self._table} yet")
        files = TableFiles.of(table, local=is_local(self._root))
        if CONTENT.keys() & self._schema.keys() - files.columns.keys():
            raise UsageError(f"the messages of {self._root} have no content: sync it with content=True, --content")
        times = pl.col("create_time", "update_time").dt.convert_time_zone("UTC")
        with told():
            cursor = clocked_cursor(duckdb.connect(), "UTC")
            for batch in cursor.sql(f"FROM {files.sql(cursor, 'rows')}").to_arrow_reader(PAGE_ROWS):
                rows = in_columns(pl.DataFrame(pl.from_arrow(batch)), self._schema)
                yield rows.select(self._schema.names()).with_columns(times)
