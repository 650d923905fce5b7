"""SQL of ours over calls, on DuckDB and on Spark: a condition, and sums of groups.

Some questions add up more than measures, in words that Narwhals has not. They say it once, in DuckDB's SQL, of which
Spark's differs in few words as far as it is used here: names in quotes, instants, whole quotients.

>>> in_spark('epoch_us(create_time) // 60 AS "a.b"')
'unix_micros(create_time) div 60 AS `a^2e;b`'
"""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import duckdb

from mofa_usage.analysis.engine import LazyCalls
from mofa_usage.reading.columns import quoted
from mofa_usage.reading.spark_frames import SparkFrame, is_spark, of_sql
from mofa_usage.reading.spark_values import named

__all__ = ["Queried", "in_spark", "summed", "where"]

Queried: TypeAlias = "duckdb.DuckDBPyRelation | SparkFrame"
"""Calls that SQL can be asked of, where they are."""

_VIEW = "calls to sum up"
_NAME = re.compile(r'"((?:[^"]|"")*)"')
_WORDS = {"epoch_us(": "unix_micros(", " // ": " div ", "TIMESTAMPTZ '": "timestamp '", "::DOUBLE": "::double"}


def in_spark(sql: str) -> str:
    """The same in Spark's words, over a frame whose columns have `bare` names."""
    for word, other in _WORDS.items():
        sql = sql.replace(word, other)
    return _NAME.sub(lambda found: named(found[1].replace('""', '"')), sql)


def where(calls: Any, condition: str) -> Any:
    """The calls that meet a condition on columns whose names are plain."""
    return calls.where(in_spark(condition)) if is_spark(calls) else calls.filter(condition)


def summed(
    calls: LazyCalls, groups: Mapping[str, str], sums: Mapping[str, str], beside: Mapping[str, str] | None = None
) -> Any:
    """The sums of each group as an Arrow table; all are columns by name, as SQL over the calls.

    Args:
        calls: of DuckDB or Spark.
        groups: what is grouped by.
        sums: what is summed up.
        beside: further columns, of those.
    """
    native, further = calls.frame.to_native(), beside or {}
    if is_spark(native):
        grouped = native.groupBy(*(_spark_column(native, name, sql) for name, sql in groups.items()))
        found = grouped.agg(*(_spark_column(native, name, sql) for name, sql in sums.items()))
        told = found.selectExpr("*", *(f"{in_spark(sql)} AS {named(name)}" for name, sql in further.items()))
        return told.toDF(*groups, *sums, *further).toArrow()
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in {**groups, **sums}.items())
    told = ", ".join(("*", *(f"{sql} AS {quoted(name)}" for name, sql in further.items())))
    grouped = f"SELECT {listed} FROM {quoted(_VIEW)} GROUP BY ALL"  # noqa: S608 (names and SQL of ours)
    answer: Any = native.query(_VIEW, f"SELECT {told} FROM ({grouped})")  # noqa: S608
    return answer.to_arrow_table()


def _spark_column(frame: Any, name: str, sql: str) -> Any:
    return of_sql(frame, f"{in_spark(sql)} AS {named(name)}")
