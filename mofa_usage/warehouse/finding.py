"""Which rows of a batch a table already holds, and what it holds of them.

Files know the least and the greatest id in them. Ids of version 7, which recorders and MoFA's agents make, go up with
time: a file of last week has none of today's, so new rows open no old files. Ids at random are in reach of every file;
then the ids of the files in question are read, their other columns only where an id was found. In a sync of many
batches that would be read again for each, so from the second large search on the ids of files are kept as 64-bit
hashes, eight bytes each, in a database of DuckDB's that spills to a temporary file. A hash says where to look; what
counts are the ids.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import polars as pl

from mofa_usage.reading.columns import TIME
from mofa_usage.reading.delta import DataFile
from mofa_usage.reading.relation import told
from mofa_usage.warehouse.delta import Mirror
from mofa_usage.warehouse.scratch import Scratch
from mofa_usage.warehouse.sources.changes import PAGE_ROWS
from mofa_usage.warehouse.stretches import created_then
from mofa_usage.warehouse.tables import with_month

__all__ = ["Finder"]

_LARGE = 250_000  # rows in files in question: below, reading their ids takes a tenth of a second
_KEYS = "(SELECT hash(id) AS key FROM wanted)"


class Finder:
    """Finds rows of one table by their ids; what it remembers of them is in the scratch database."""

    def __init__(self, mirror: Mirror, scratch: Scratch) -> None:
        self._mirror = mirror
        self._scratch = scratch
        self._numbers: dict[str, int] = {}  # of the files whose ids are known
        self._searched = False

    def held(self, rows: pl.DataFrame) -> pl.DataFrame:
        """What the table has under the ids of rows: whole rows, with all its columns, and the `path` of the file."""
        places, columns = self.places(rows["id"]), self._mirror.columns
        if places.is_empty():
            return pl.DataFrame(schema={**columns, "path": pl.String()})
        paths = set(places["path"])
        files = [file for file in self._mirror.files if file.path in paths]
        held = self._mirror.readable.only(files).sql(self._scratch.database, "held in files")
        found = self._matching(f"{held} AS held", places["id"], created_then(places["create_time"], "held.create_time"))
        found = with_month(found).select(list(columns))
        return found.join(places.select("id", "path"), on="id", how="inner")

    def places(self, ids: pl.Series) -> pl.DataFrame:
        """`id`, `create_time` and the `path` of the file of the rows that the table has under ids."""
        files = self._in_reach(ids)
        if sum(file.rows for file in files) > _LARGE:
            files = self._known_to_have(ids, files) if self._searched else files
            self._searched = True
        if not files:
            return pl.DataFrame(schema={"id": pl.String(), "create_time": TIME, "path": pl.String()})
        readable = self._mirror.readable.only(files)
        held = readable.places_sql(self._scratch.database, "held in files")
        found = self._matching(f"{held} AS held", ids, "true")
        paths = pl.DataFrame({"place": [readable.place(file) for file in files], "path": [file.path for file in files]})
        return found.join(paths, on="place", how="inner").drop("place")

    def everything(self) -> Iterator[pl.DataFrame]:
        """`id` and `create_time` of all rows, some ten thousand at a time."""
        with told():
            held = self._mirror.readable.sql(self._scratch.database, "held")
            reader = self._scratch.database.sql(f"SELECT id, create_time FROM {held}").to_arrow_reader(PAGE_ROWS)  # noqa: S608
            for batch in reader:
                times = pl.col("create_time").dt.convert_time_zone("UTC")
                yield pl.DataFrame(pl.from_arrow(batch)).with_columns(times)

    def _in_reach(self, ids: pl.Series) -> list[DataFile]:
        """The files between whose least and greatest id there is one of these."""
        ordered = ids.sort().to_list()

        def reaches(file: DataFile) -> bool:
            if file.ids is None:
                return True
            least, greatest = file.ids
            place = bisect_left(ordered, least)
            return place < len(ordered) and ordered[place] <= greatest

        return [file for file in self._mirror.files if reaches(file)]

    def _known_to_have(self, ids: pl.Series, files: Sequence[DataFile]) -> list[DataFile]:
        """Which files have rows with the hashes of ids."""
        if not self._numbers:
            self._scratch.database.execute("CREATE OR REPLACE TABLE known (file INTEGER, key UBIGINT)")
        for file in files:
            if file.path not in self._numbers:
                number = len(self._numbers)
                held = self._mirror.readable.only([file]).sql(self._scratch.database, "held")
                with told():
                    self._scratch.database.execute(f"INSERT INTO known SELECT {number}, hash(id) FROM {held}")  # noqa: S608
                self._numbers[file.path] = number
        self._scratch.database.register("wanted", ids.to_frame("id"))
        with told():
            found = self._scratch.database.sql(f"SELECT DISTINCT file FROM known SEMI JOIN {_KEYS} USING (key)")  # noqa: S608
            numbers = {number for (number,) in found.fetchall()}
        return [file for file in files if self._numbers[file.path] in numbers]

    def _matching(self, held: str, ids: pl.Series, condition: str) -> pl.DataFrame:
        self._scratch.database.register("wanted", ids.to_frame("id"))
        query = f"SELECT held.* FROM {held} SEMI JOIN wanted ON wanted.id = held.id WHERE {condition}"  # noqa: S608
        with told():
            found = pl.DataFrame(pl.from_arrow(self._scratch.database.sql(query).to_arrow_table()))
        times = [name for name, dtype in found.schema.items() if isinstance(dtype, pl.Datetime)]
        return found.with_columns(pl.col(times).dt.convert_time_zone("UTC"))
