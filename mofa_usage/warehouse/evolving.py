"""How a table of an earlier version of mofa_usage gets the columns of this one.

A new column of calls is something that their JSON said before. So while a table is of an earlier version the column is
left out and read from the JSON (`relation.newer_columns`), whether the table has it or not. That leaves time to give it
to one file after the other: only when all have it the table says that it is of this version. Whoever is killed on the
way leaves a table of the earlier version, which answers as before.
"""

import polars as pl

from mofa_usage.reading.delta import DataFile
from mofa_usage.reading.relation import SCHEMA_VERSION, newer_columns
from mofa_usage.reading.rows import normalise
from mofa_usage.warehouse.delta import Mirror
from mofa_usage.warehouse.sources.changes import SCHEMAS

__all__ = ["evolve"]

_DONE = "new columns"


def evolve(mirror: Mirror) -> None:
    """Bring a table to the present version of its columns; nothing is done to one that has it.

    Raises:
        Conflict: somebody else committed meanwhile.
    """
    if not mirror.exists or mirror.columns_version == SCHEMA_VERSION:
        return
    mirror.evolve(pl.DataFrame(schema=SCHEMAS[mirror.name]))
    new = newer_columns(mirror.columns_version) if mirror.name == "calls" else ()
    for file in mirror.files if new else ():
        if _lacks(mirror, file, new):
            mirror.replace([file], (_filled(rows, new) for rows in mirror.rows_of(file)), _DONE)
    mirror.describe(_DONE)


def _lacks(mirror: Mirror, file: DataFile, new: tuple[str, ...]) -> bool:
    """Whether the JSON of some rows says what their columns do not."""
    return any(not _filled(rows, new).equals(rows) for rows in mirror.rows_of(file))


def _filled(rows: pl.DataFrame, new: tuple[str, ...]) -> pl.DataFrame:
    return rows.with_columns(normalise(rows.drop(new), list(new)))
