"""Rows of any source, held by Polars, as calls: exact, complete, and refused by name where that is not possible."""

from collections.abc import Sequence
from typing import NoReturn

import polars as pl

from mofa_usage.errors import MofaUsageError, UsageError
from mofa_usage.reading.columns import (
    CallColumn,
    call_column,
    completion,
    is_further,
    may_be_absent,
    needed_columns,
    origin,
)
from mofa_usage.reading.details import naming, take_apart
from mofa_usage.reading.exact import STRICT, Leeway, rule_of

__all__ = ["complete", "normalise"]


def normalise(
    raw: pl.DataFrame,
    columns: Sequence[str],
    leeway: Leeway = STRICT,
    *,
    error: type[MofaUsageError] = UsageError,
) -> pl.DataFrame:
    """The columns of calls, with their types, from rows that have each of them or the JSON column that holds it.

    Args:
        raw: the rows, as a database, a file or somebody's program gives them.
        columns: names in `CALL_COLUMNS`, of labels, and of further columns, which are taken as they are. What
            `may_be_absent` knows may be absent.
        leeway: how values are read where there is a choice.
        error: what is raised for a value that is not one.

    Raises:
        UsageError: a column is absent, or its type has no exact cast.
        MofaUsageError: as `error`, for a value that is no JSON, no number, no time; it names the column and the call.
    """
    wanted = needed_columns(columns, raw.columns)
    further = [name for name in wanted if is_further(name, raw.columns)]
    known = [column for name in wanted if name not in further and (column := call_column(name)) is not None]
    inside = [column for column in known if origin(column.name, raw.columns) not in (column.name, None)]
    rows = take_apart(raw, inside, error)
    given = [column for column in known if column.name in rows.columns]
    rounded = leeway._replace(round_prices=True)
    exact = [_exact(one, rows.schema[one.name], rounded if one in inside else leeway) for one in given]
    calls = rows.select(*exact, *further)
    for column in given:
        if calls[column.name].null_count() > rows[column.name].null_count():
            _refuse(rows, calls, column, error)
    absent = [column for column in known if column.name not in rows.columns]
    for column in absent:
        if column.name in columns and not may_be_absent(column.name, raw.columns):
            raise UsageError(f"the source has no column {column.name}; it has {', '.join(raw.columns)}")
    if not calls.columns:
        calls = pl.DataFrame(height=raw.height)
    nulls = (pl.lit(None, dtype=column.dtype).alias(column.name) for column in absent)
    return complete(calls.with_columns(nulls), columns, calls.columns)


def complete(calls: pl.DataFrame, columns: Sequence[str], known: Sequence[str]) -> pl.DataFrame:
    """The columns of exact calls, with what stands for missing values; `known` are those that the source has."""
    values = []
    for name in columns:
        written = completion(name, known)
        values.append(pl.col(name) if written == f'"{name}"' else pl.sql_expr(written).alias(name))
    return calls.select(values)


def _exact(column: CallColumn, dtype: pl.DataType, leeway: Leeway) -> pl.Expr:
    """The exact cast of a column; it gives null for a value that does not fit.

    Raises:
        UsageError: the type cannot be cast.
    """
    value = pl.col(column.name)
    exact = value.cast(column.dtype) if dtype == pl.Null() else rule_of(column).polars(value, dtype, leeway)
    if exact is None:
        hint = ""
        if isinstance(dtype, pl.Datetime):
            hint = (
                "; its zone is unknown: add one, such as .dt.replace_time_zone('UTC'), in pandas .dt.tz_localize('UTC')"
            )
        raise UsageError(f"the column {column.name} is {dtype}, where a frame of calls has {column.dtype}{hint}")
    return exact.alias(column.name)


def _refuse(rows: pl.DataFrame, calls: pl.DataFrame, column: CallColumn, error: type[MofaUsageError]) -> NoReturn:
    row = (calls[column.name].is_null() & rows[column.name].is_not_null()).arg_max() or 0
    value = str(rows[column.name][row])[:80]
    raise error(f"{column.name} of {naming(rows, row)} is {value!r}, which is no {rule_of(column).meaning}")
