"""The tables of a warehouse: which columns they have, and how rows of a source become rows of them.

There is a Delta table for each of `TABLES`. Its columns are those of the seam (`sources.SCHEMAS`) in exact types, and

- `month`, the UTC month of create_time as text ("2026-05"; "unknown" where there is no time), by which it is
  partitioned: a question about a month opens no files of others, and so does a change of its rows;
- for calls a text column `labels.NAME` for each label without a column of its own, at most `labels.MOST` of them. The
  others stay in the JSON of `labels`, where they are found, too, and so does one whose name differs from another's in
  nothing but capitals, which Delta tables do not tell apart;
- for calls of files the file's further columns, if they are text, numbers, booleans, dates or times.

A column that appears later is added to the table; rows from before have null there.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import polars as pl

from mofa_usage.errors import UsageError
from mofa_usage.reading.columns import LABEL, LABEL_COLUMNS, TIME
from mofa_usage.reading.labels import MOST, label_columns, label_counts, told_apart
from mofa_usage.reading.rows import normalise
from mofa_usage.warehouse.sources.changes import SCHEMAS, TABLES, TableName

__all__ = ["MONTH", "NO_MONTH", "conformed", "made_one", "table_names", "with_labels", "with_month"]

MONTH, NO_MONTH = "month", "unknown"


def table_names(tables: Sequence[TableName] | TableName | None) -> tuple[TableName, ...] | None:
    """The tables that were asked for, in the order in which they are synced; None for all that there are.

    Raises:
        UsageError: none was asked for, or one that no warehouse has.
    """
    if tables is None:
        return None
    if not tables:
        raise UsageError(f"tables is empty; a warehouse has {', '.join(TABLES)}")
    asked = {tables} if isinstance(tables, str) else set(tables)
    unknown = sorted(map(str, asked - set(TABLES)))
    if unknown:
        raise UsageError(f"a warehouse has no table {', '.join(unknown)}; it has {', '.join(TABLES)}")
    return tuple(name for name in TABLES if name in asked)


def with_month(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the month of their create_time."""
    return rows.with_columns(pl.col("create_time").dt.strftime("%Y-%m").fill_null(NO_MONTH).alias(MONTH))


def made_one(rows: pl.DataFrame) -> pl.DataFrame:
    """Of rows with the same id the one that counts, which is the last."""
    return rows if rows["id"].n_unique() == rows.height else rows.unique("id", keep="last", maintain_order=True)


def with_labels(rows: pl.DataFrame, there: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Calls with columns for the labels in their JSON: those that the table has, and new ones while there is room."""
    if "labels" not in rows.columns:
        return rows
    counts = label_counts(rows["labels"])
    columns = [name for name in there if name.startswith(LABEL)]
    new = told_apart(label_columns(counts), (*there, *rows.columns))
    wanted = [*columns, *new[: max(MOST - len(columns), 0)]]
    wanted = [name for name in wanted if name.removeprefix(LABEL) in counts and name not in rows.columns]
    if not wanted:
        return rows
    return rows.hstack(normalise(rows.select("id", "labels"), wanted))


def conformed(rows: pl.DataFrame, name: TableName, there: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Rows with the columns of the table in its order, and behind them those that it has yet to get.

    `there` are the columns that the table has; none if there is no table yet.

    Raises:
        UsageError: a further column has values that do not fit the table's column of that name, or a name that differs
            from another one's in nothing but capitals.
    """
    types = {**SCHEMAS[name], MONTH: pl.String(), **there}
    if alike := sorted(set(rows.columns) - set(types) - set(told_apart(rows.columns, types))):
        raise UsageError(
            f"the column {alike[0]!r} of {name} has the name of another column but for capitals, which a Delta table "
            "does not tell apart: rename it"
        )
    values = []
    for column, dtype in rows.schema.items():
        kept = types.get(column) or _kept_as(column, dtype)
        if kept is not None and column.startswith(LABEL) and column not in types:
            kept = pl.String()  # also of a file whose labels are numbers so far
        if kept is not None:
            values.append(pl.col(column).cast(kept) if kept != dtype else pl.col(column))
    try:
        fitting = rows.select(values)
    except pl.exceptions.InvalidOperationError as error:
        said = str(error).partition("\n")[0]
        raise UsageError(f"a column of {name} does not fit the warehouse's column of that name: {said}") from error
    _check_whole(rows, fitting, name)
    wanted = [column for column in types if column in there or column in fitting.columns]
    missing = [pl.lit(None, dtype=types[column]).alias(column) for column in wanted if column not in fitting.columns]
    return fitting.with_columns(missing).select(*wanted, pl.exclude(wanted))


def _check_whole(rows: pl.DataFrame, fitting: pl.DataFrame, name: TableName) -> None:
    """Refuse what would lose something, such as the fractions of a column that came as whole numbers before, or that it
    is a date.

    Raises:
        UsageError: a column would.
    """
    for column, dtype in fitting.schema.items():
        given = rows[column]
        if given.dtype in (dtype, pl.Null) or dtype == pl.String:
            continue
        lost = given.drop_nulls()
        if given.dtype.is_temporal() == dtype.is_temporal():
            with suppress(pl.exceptions.InvalidOperationError):
                lost = given.filter(fitting[column].cast(given.dtype).ne_missing(given))
        if lost.len():
            raise UsageError(
                f"the column {column} of {name} is {dtype} in the warehouse, where {lost[0]} would not be what it is"
            )


def _kept_as(column: str, dtype: pl.DataType) -> pl.DataType | None:
    """The type in which a warehouse keeps a further column, None for one that it does not keep."""
    if column in LABEL_COLUMNS or dtype in (pl.String, pl.Boolean, pl.Date) or isinstance(dtype, pl.Decimal):
        return dtype
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        return pl.String()
    if dtype.is_integer():
        return pl.Int64()
    if dtype.is_float():
        return pl.Float64()
    return TIME if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None else None
