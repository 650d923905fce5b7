"""Whether a warehouse equals its source, proved by adding up and looking closer only where the sums differ.

First each side is added up by month: how many rows, the sums of their numbers, and a checksum over all values, which
does not depend on the order of rows. Each engine does it where the rows are: PostgreSQL, MySQL and MariaDB over their
tables, DuckDB over the files of the warehouse (see `sources.checksums`). Other sources stream by, and their rows are
hashed as a whole. A month in which both sides say the same is equal. Of the other months the rows of both sides are
compared by id, in all columns. An id that only one side has in these months is looked for in the others, too: files
say some ids twice, with times of several months, and a table could have a call in two.

What the source has and the warehouse has not, or has otherwise, is a difference. What only the warehouse has is kept:
retention deleted it at the source. A source that is written meanwhile has rows that the last sync could not know.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import duckdb
import polars as pl

from mofa_usage.progress import Advance
from mofa_usage.reading.columns import quoted
from mofa_usage.reading.relation import told
from mofa_usage.warehouse.delta import Mirror
from mofa_usage.warehouse.sources.changes import Changes, TableName
from mofa_usage.warehouse.sources.checksums import DUCKDB, sums_query
from mofa_usage.warehouse.sources.databases import DatabaseChanges
from mofa_usage.warehouse.tables import MONTH, NO_MONTH, conformed, with_labels, with_month
from mofa_usage.wording import count

__all__ = ["Verification", "compared", "verification"]

ByMonth: TypeAlias = dict[str, tuple[str | None, ...]]
"""Month -> how many rows, and what else was added up, as text."""

_DIFFERENCES = {"table": pl.String(), "id": pl.String(), "kind": pl.String()}
_KEPT = {"table": pl.String(), MONTH: pl.String(), "rows": pl.Int64()}


@dataclass(frozen=True)
class Verification:
    """Whether a warehouse equals its source. `str()` of it is a sentence.

    Attributes:
        equal: no differences.
        differences: a row for each: `table`, `id` and `kind`, "missing" (the warehouse lacks it), "different", or
            "doubled" (the warehouse has several rows of it).
        kept: how many rows only the warehouse has, by `table` and `month`. They make no difference: retention deletes
            at the source only.
        rows: how many rows the source has, by table.
    """

    differences: pl.DataFrame
    kept: pl.DataFrame
    rows: Mapping[TableName, int]

    @property
    def equal(self) -> bool:
        """Whether everything that the source has is in the warehouse, as it is there."""
        return self.differences.is_empty()

    def __str__(self) -> str:
        kept = int(self.kept["rows"].sum())
        also = f"; {count(kept)} {'row is' if kept == 1 else 'rows are'} in the warehouse only" if kept else ""
        if self.equal:
            return f"The warehouse has all {count(sum(self.rows.values()))} rows of the source as they are{also}."
        kinds = self.differences.group_by("table", "kind").len().sort("table", "kind").iter_rows()
        said = ", ".join(f"{count(number)} {kind} in {table}" for table, kind, number in kinds)
        return f"The warehouse differs from the source: {said}{also}."


def verification(parts: list["Verification"]) -> Verification:
    """That of several tables."""
    rows: dict[TableName, int] = {}
    for part in parts:
        rows |= part.rows
    differences = pl.concat([pl.DataFrame(schema=_DIFFERENCES), *(part.differences for part in parts)])
    kept = pl.concat([pl.DataFrame(schema=_KEPT), *(part.kept for part in parts)])
    return Verification(differences, kept, rows)


def compared(mirror: Mirror, changes: Changes, database: duckdb.DuckDBPyConnection, advance: Advance) -> Verification:
    """Compare a table with its source.

    Args:
        mirror: the table.
        changes: the source of it.
        database: where ids may be put meanwhile.
        advance: told how many rows of the source have been added up.

    Raises:
        PersistenceError: the source cannot be read.
    """
    comparison = _Comparison(mirror, changes, database)
    there, here = comparison.both_sides(advance)
    rows: dict[TableName, int] = {mirror.name: sum(int(number or 0) for number, *_ in there.values())}
    suspect = sorted(month for month in there.keys() | here.keys() if there.get(month) != here.get(month))
    if not suspect:
        return Verification(pl.DataFrame(schema=_DIFFERENCES), pl.DataFrame(schema=_KEPT), rows)
    differences, kept = comparison.by_id(
        [month for month in suspect if month in there], [month for month in suspect if month not in there]
    )
    return Verification(differences, _kept(mirror.name, kept), rows)


def _kept(table: TableName, months: Mapping[str, int]) -> pl.DataFrame:
    rows = [(table, month, number) for month, number in sorted(months.items()) if number]
    return pl.DataFrame(rows, schema=_KEPT, orient="row")


class _Comparison:
    """The rows of a table on both sides, in the columns of the warehouse."""

    def __init__(self, mirror: Mirror, changes: Changes, database: duckdb.DuckDBPyConnection) -> None:
        self._mirror = mirror
        self._changes = changes
        self._database = database
        names = [name for name in mirror.columns if name != MONTH]
        self._hash = f"hash({', '.join(quoted(name) for name in names)})"

    def both_sides(self, advance: Advance) -> tuple[ByMonth, ByMonth]:
        """What the source and the warehouse add up to."""
        sums = self._changes.sums([name for name in self._mirror.columns if name != MONTH])
        if sums is None:
            return self._of_source(advance), self._of_warehouse(self._hash_sums)
        there = {month or NO_MONTH: tuple(added) for month, added in sums.by_month.items()}
        advance(done := sum(int(number or 0) for number, *_ in there.values()), f"{done:,} rows")
        return there, self._of_warehouse(partial(sums_query, DUCKDB, sums.columns))

    def _of_source(self, advance: Advance) -> ByMonth:
        """The sums of a source that streams by."""
        sums: dict[str, tuple[int, int]] = {}
        done = 0
        for rows in self._source_rows(None):
            self._database.register("rows", rows)
            for month, (number, checksum) in self._sums(self._hash_sums("rows")).items():
                before = sums.get(month, (0, 0))
                sums[month] = (before[0] + int(number or 0), before[1] + int(checksum or 0))
            done += rows.height
            advance(done, f"{done:,} rows")
        return {month: (f"{number}", f"{checksum}") for month, (number, checksum) in sums.items()}

    def _of_warehouse(self, query: Callable[[str], str]) -> ByMonth:
        """The sums of the table's files."""
        if not self._mirror.exists:
            return {}
        return self._sums(query(self._mirror.readable.sql(self._database, "held")))

    def by_id(self, months: list[str], only_here: list[str]) -> tuple[pl.DataFrame, dict[str, int]]:
        """What differs in some months, and how many rows only the warehouse has in them and in others."""
        self._database.execute("CREATE OR REPLACE TABLE there (id VARCHAR, hash UBIGINT)")
        for month in months:
            for rows in self._source_rows(month):
                self._database.register("rows", rows)
                with told():
                    self._database.execute(f"INSERT INTO there SELECT id, {self._hash} FROM rows")  # noqa: S608
        wanted = self._held_in([*months, *only_here])
        with told():
            self._database.execute(
                f"CREATE OR REPLACE TABLE here AS SELECT id, {_MONTH_SQL} AS month, {self._hash} AS hash FROM {wanted}"  # noqa: S608
            )
        self._look_elsewhere([*months, *only_here])
        with told():
            differing = self._database.sql(_DIFFERING).fetchall()
            kept = self._database.sql(_ONLY_HERE).fetchall()
        differences = [(self._mirror.name, identifier, kind) for identifier, kind in differing]
        return pl.DataFrame(differences, schema=_DIFFERENCES, orient="row"), dict(kept)

    def _look_elsewhere(self, months: list[str]) -> None:
        """Find the rows of other months under ids that only one side has in these."""
        self._database.execute(_STRAYS)
        others = self._mirror.readable.only([file for file in self._mirror.files if file.month not in months])
        if others.files:
            places = others.places_sql(self._database, "held elsewhere")
            query = f"SELECT DISTINCT place FROM {places} SEMI JOIN strays USING (id)"  # noqa: S608
            with told():
                found = self._database.sql(query).fetchall()
            files = [file for file in others.files if (others.place(file),) in found]
            held = others.only(files).sql(self._database, "held elsewhere")
            with told():
                self._database.execute(
                    f"INSERT INTO here SELECT id, {_MONTH_SQL}, {self._hash} FROM {held} SEMI JOIN strays USING (id)"  # noqa: S608
                )
        if isinstance(self._changes, DatabaseChanges) or not self._database.sql(_MISSING).fetchall():
            return  # a database has an id once
        again = f"INSERT INTO there SELECT id, {self._hash} FROM rows SEMI JOIN strays USING (id)"  # noqa: S608
        for rows in self._source_rows(None):
            self._database.register("rows", rows)
            with told():
                self._database.execute(again)

    def _held_in(self, months: list[str]) -> str:
        if not self._mirror.exists:
            return "(SELECT NULL WHERE false)"
        files = [file for file in self._mirror.files if file.month in months]
        return self._mirror.readable.only(files).sql(self._database, "held in months")

    def _source_rows(self, month: str | None) -> Iterator[pl.DataFrame]:
        """The source's rows as the warehouse would have them."""
        there = self._mirror.columns
        for rows in self._changes.rows_of(None if month == NO_MONTH else month):
            wanted = rows if month != NO_MONTH else rows.filter(pl.col("create_time").is_null())
            labelled = with_labels(wanted, there) if self._mirror.name == "calls" else wanted
            yield conformed(with_month(labelled), self._mirror.name, there)

    def _hash_sums(self, relation: str) -> str:
        """The statement that adds up a relation by hashes of whole rows, which only DuckDB knows."""
        return f"SELECT {_MONTH_SQL}, count(*), sum({self._hash}::HUGEINT) FROM {relation} GROUP BY 1"  # noqa: S608

    def _sums(self, query: str) -> ByMonth:
        with told():
            found = self._database.sql(query).fetchall()
        return {month or NO_MONTH: tuple(None if one is None else f"{one}" for one in sums) for month, *sums in found}


_MONTH_SQL = f"coalesce(strftime(create_time, '%Y-%m'), '{NO_MONTH}')"
# Of a file that says an id twice the last row counts, whichever that is: one that is equal will do.
_DIFFERING = """
    SELECT there.id, CASE WHEN any_value(here.id) IS NULL THEN 'missing' ELSE 'different' END AS kind
    FROM there LEFT JOIN here ON here.id = there.id
    GROUP BY there.id HAVING NOT coalesce(bool_or(here.hash = there.hash), false)
    UNION ALL SELECT id, 'doubled' FROM here GROUP BY id HAVING count(*) > 1
    ORDER BY ALL
"""
_ONLY_HERE = """
    SELECT month, count(*) FROM here ANTI JOIN there ON there.id = here.id
    WHERE here.id NOT IN (SELECT id FROM here GROUP BY id HAVING count(*) > 1)
    GROUP BY month ORDER BY month
"""
_STRAYS = """
    CREATE OR REPLACE TABLE strays AS
    (SELECT id FROM there ANTI JOIN here USING (id)) UNION (SELECT id FROM here ANTI JOIN there USING (id))
"""
_MISSING = "SELECT 1 FROM strays SEMI JOIN there USING (id) LIMIT 1"
