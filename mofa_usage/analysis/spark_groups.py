"""What only Spark does in its own way: instants as numbers, several groupings at once, values of each group in order.

The cluster reduces, and what comes to this machine is as small as the answer. So values in order are not gathered as
other engines gather them (`ordered`): the workers count how often each group has each value, and hand over those at
the ranks that are wanted, which follow from how many values a group has.

Frames are those of `engine.open_calls`, whose columns have `bare` names.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from mofa_usage.analysis.grouping_sets import Undivided
from mofa_usage.analysis.ordered import Picked, places_of
from mofa_usage.reading.spark_frames import of_sql

__all__ = ["between", "spark_microseconds", "spark_picked", "spark_sets"]


def spark_microseconds(frame: Any, columns: Mapping[str, str]) -> Any:
    """The frame with columns that count the microseconds since the epoch of others: new name -> column of instants."""
    return frame.selectExpr("*", *(f"unix_micros(`{column}`) AS `{name}`" for name, column in columns.items()))


def spark_sets(frame: Any, sets: Sequence[Sequence[str]], asked: Undivided) -> list[pl.DataFrame]:
    """The groups by each set of keys. The first one has all keys, the others the first of them; names are ours."""
    quantiles = (
        of_sql(frame, f"percentile({column}, array({', '.join(f'{float(one)!r}D' for one in wanted)}))").alias(column)
        for column, wanted in asked.quantiles.items()
    )
    distinct = (
        of_sql(frame, f"count(DISTINCT {column}) + max(int({column} IS NULL))").alias(column)
        for column in asked.distinct
    )
    without = of_sql(frame, "grouping_id()").alias("without")
    grouped = frame.rollup(*sets[0]).agg(without, *quantiles, *distinct)
    # As on DuckDB the number has a bit for each key that a row is not grouped by, the last key being the lowest one.
    bits = [2 ** (len(sets[0]) - len(names)) - 1 for names in sets]
    found = _collected(grouped.where(f"without IN ({', '.join(map(str, bits))})"))
    columns = [*asked.quantiles, *asked.distinct]
    return [
        found.filter(pl.col("without") == bit).select(*names, *columns) for names, bit in zip(sets, bits, strict=True)
    ]


def spark_picked(
    frame: Any, sets: Sequence[Sequence[str]], columns: Sequence[str], wanted: Sequence[Picked]
) -> list[pl.DataFrame]:
    """For each set of keys the groups and what is wanted of their values in the columns: see `ordered.picked`."""
    found = []
    for names in sets:
        together = _collected(frame.select(*names).distinct()) if names else pl.DataFrame({"": [None]})
        for column in columns:
            picked = [one for one in wanted if one.column == column]
            values = _at_places(frame, names, column, picked)
            if names:
                together = together.join(values, on=names, how="left", nulls_equal=True, maintain_order="left")
            else:
                together = together.hstack(values)
        found.append(together.select(*names, *(one.name for one in wanted)))
    return found


def _at_places(frame: Any, names: Sequence[str], column: str, wanted: Sequence[Picked]) -> pl.DataFrame:
    """The groups that have values in a column, with what is picked of them; one row where nothing is grouped by."""
    counted = frame.where(f"{column} IS NOT NULL").groupBy(*names, column).count()
    partition = f"PARTITION BY {', '.join(names)}" if names else ""
    ordered = counted.selectExpr(
        *names,
        f"{column} AS value",
        f"sum(count) OVER ({partition} ORDER BY {column}) AS upto",
        "count",
        f"sum(count) OVER ({partition}) AS number",
    )
    sizes = _collected(counted.groupBy(*names).sum("count")).rename({"sum(count)": "number"}).drop_nulls("number")
    places = {number: list(_places(number, wanted)) for number in sizes["number"].unique()}
    rows = sorted({(number, at) for number, found in places.items() for pair in found for at in pair if at is not None})
    small = pl.DataFrame(rows, schema={"number": pl.Int64, "place": pl.Int64}, orient="row")
    there = frame.sparkSession.createDataFrame(small.to_arrow()).hint("broadcast")
    met = ordered.join(there, "number").where("place < upto AND place >= upto - count")
    values = _collected(met.selectExpr(*names, "number", "place", "value"))
    return _picked(sizes, values, names, wanted, places)


def _places(number: int, wanted: Sequence[Picked]) -> Iterator[tuple[int | None, int | None]]:
    """Between which places, from 0, of so many values in order each of what is wanted lies."""
    return (places_of(one, number) for one in wanted)


def _picked(
    sizes: pl.DataFrame,
    values: pl.DataFrame,
    names: Sequence[str],
    wanted: Sequence[Picked],
    places: Mapping[int, list[tuple[int | None, int | None]]],
) -> pl.DataFrame:
    known = {(*row[:-3], row[-2]): row[-1] for row in values.iter_rows()}
    columns: dict[str, list[Any]] = {one.name: [] for one in wanted}
    for *group, number in sizes.select(*names, "number").iter_rows():
        for one, (low, high) in zip(wanted, places[number], strict=True):
            least, most = (None if at is None else known[(*group, at)] for at in (low, high))
            columns[one.name].append(between(one, number, least, most))
    held = values.schema["value"]
    typed = {
        one.name: pl.Series(columns[one.name] or ([] if names else [None]), dtype=held if one.bound else pl.Float64)
        for one in wanted
    }
    return sizes.select(*names).with_columns(**typed) if names else pl.DataFrame(typed)


def between(one: Picked, number: int, low: Any, high: Any) -> Any:
    """The value, or where one between two is wanted that, as `interpolated` has it."""
    if one.bound is not None or low is None:
        return low
    place = (number - 1) * one.quantile
    return float(low) if low == high else float(low) + (float(high) - float(low)) * (place - int(place))


def _collected(frame: Any) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(frame.toArrow()))
