"""When some rows were created, as a condition that lets a reader skip the row groups where none of them is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

__all__ = ["created_then"]

_APART = timedelta(minutes=10)
_MOST = 32


def created_then(times: pl.Series, column: str) -> str:
    """That a row was created at one of these times, or near them, in DuckDB's SQL; null is among them if it is."""
    stretches = _stretches(times.drop_nulls().unique().sort())
    parts = [f"({column} >= {_sql(first)} AND {column} <= {_sql(last)})" for first, last in stretches]
    parts += [f"{column} IS NULL"] * (times.null_count() > 0)
    return f"({' OR '.join(parts)})"


def _stretches(times: pl.Series) -> Iterator[tuple[datetime, datetime]]:
    """Stretches that hold all of the sorted times, apart where these are furthest apart."""
    if times.is_empty():
        return
    apart = times.diff().slice(1)
    places = (apart > _APART).arg_true()
    if places.len() >= _MOST:
        places = apart.arg_sort(descending=True).head(_MOST - 1).sort()
    begin: Any = 0
    for place in (*places, times.len() - 1):
        yield times[begin], times[place]
        begin = place + 1


def _sql(moment: datetime) -> str:
    naive = moment.astimezone(UTC).replace(tzinfo=None)
    return f"TIMESTAMPTZ '{naive.isoformat(' ', 'microseconds')}+00'"
