"""A warehouse on a Spark cluster: one version of its calls, as a frame that the cluster reads itself.

What to read is asked here, and nothing else: the session's own reader of Delta tables gets the version where there is
one, else Spark reads the Parquet files that are in it. The bare folder would also have files of other versions, with
rows that were deleted since. The names of agents and providers and what the metadata of sessions says are read
here, as `usage()` does, and joined there.

Of a period only the files are read that can hold its calls. Which those are the log of the table says: their months, by
which Delta's reader leaves them out, and the first and the last time in each, by which they are not in the list.

The session needs to reach the files by the path or URL of the warehouse (`s3a://` for most), and to know how by itself:
no setting of it is changed.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from mofa_usage.errors import UsageError, require
from mofa_usage.reading.columns import LABEL, NAME_COLUMNS, SESSION, bare
from mofa_usage.reading.delta import AsOf, StorageOptions, delta_table, files_of, place_of
from mofa_usage.reading.labels import MOST
from mofa_usage.reading.spark_frames import SparkFrame, of_sql
from mofa_usage.reading.spark_values import moment, named
from mofa_usage.reading.warehouse import open_warehouse
from mofa_usage.warehouse.tables import MONTH

__all__ = ["calls_on_spark"]


def calls_on_spark(
    session: Any,
    root: str,
    options: StorageOptions,
    as_of: AsOf,
    start: datetime | None = None,
    end: datetime | None = None,
) -> SparkFrame:
    """The calls of a warehouse created in [start, end) as a frame of a Spark session, with the columns that
    `load_usage` knows.

    Raises:
        UsageError: there is no warehouse, or no longer what it was then.
    """
    snapshot = open_warehouse(root, options, as_of).snapshot
    table = delta_table(root, "calls", options, as_of)
    if table is None:  # somebody deleted it just now
        raise UsageError(f"there are no calls in {root}")
    types = require("pyspark.sql.types", extra="spark").StructType
    schema = types.fromJson(json.loads(table.schema().to_json()))
    place = place_of(root, "calls")
    frame = _by_delta(session, place, table.version())
    if frame is None:
        files = [file.uri for file in files_of(table) if file.may_hold(start, end)]
        frame = _by_files(session, place, files, schema)
    for condition in _conditions(start, end):
        frame = frame.where(condition)
    columns = [name for name in frame.columns if name not in (MONTH, *snapshot.left_out)]
    if sum(name.startswith(LABEL) for name in columns) < MOST:  # all labels are columns, and need not be looked for
        columns = [name for name in columns if name != "labels"]
    calls = frame.toDF(*map(bare, frame.columns)).selectExpr(*map(named, columns)).toDF(*columns)
    told: SparkFrame = _with_sessions(
        session, _with_names(session, calls, snapshot.beside.agents), snapshot.beside.sessions
    )
    return told


def _conditions(start: datetime | None, end: datetime | None) -> Iterator[str]:
    if start is not None:
        yield f"{MONTH} >= '{start.astimezone(UTC):%Y-%m}' AND create_time >= {moment(start)}"
    if end is not None:
        yield f"{MONTH} <= '{end.astimezone(UTC):%Y-%m}' AND create_time < {moment(end)}"


def _by_delta(session: Any, place: str, version: int) -> Any:
    """The table as the session's own reader of Delta has it; None where there is no such reader."""
    try:
        return session.read.format("delta").option("versionAsOf", version).load(place)
    except Exception as error:
        if "DATA_SOURCE_NOT_FOUND" not in str(error) and "ClassNotFoundException" not in str(error):
            raise UsageError(f"Spark's reader of Delta tables cannot read {place}: {error}") from error
        return None


def _by_files(session: Any, place: str, files: Sequence[str], schema: Any) -> Any:
    if not files:
        return session.createDataFrame([], schema)
    return session.read.schema(schema).option("basePath", place).parquet(*files)


def _with_names(session: Any, calls: Any, agents: pl.DataFrame | None) -> Any:
    """The calls with the names that their agents have now."""
    if agents is None or not {"agent_id", *NAME_COLUMNS} <= set(calls.columns):
        return calls
    beside = session.createDataFrame(agents.rename({"id": "agent_id"}).to_arrow()).hint("broadcast")
    coalesced = {name: f"coalesce(beside.{name}, calls.{name})" for name in NAME_COLUMNS}
    # What the label `provider` of a call says comes before what its agent is set to.
    coalesced["provider_name"] = "coalesce(calls.provider_name, beside.provider_name)"
    return _joined(
        calls, beside, "agent_id", {name: coalesced.get(name, f"calls.{named(name)}") for name in calls.columns}
    )


def _with_sessions(session: Any, calls: Any, sessions: pl.DataFrame | None) -> Any:
    """The calls with what the metadata of their sessions says."""
    if sessions is None or "chat_session_id" not in calls.columns:
        return calls
    further = [name for name in sessions.columns if name.startswith(SESSION) and name not in calls.columns]
    beside = session.createDataFrame(sessions.select("chat_session_id", *further).to_arrow())
    beside = beside.toDF("chat_session_id", *map(bare, further))
    own = {name: f"calls.{named(name)}" for name in calls.columns}
    return _joined(calls, beside, "chat_session_id", own | {name: f"beside.{named(name)}" for name in further})


def _joined(calls: Any, beside: Any, key: str, columns: dict[str, str]) -> Any:
    """The calls with columns of SQL over both, joined by a key of which `beside` has each once.

    That it does is also told to Spark, which then joins only where a column of `beside` is asked for.
    """
    left, right = calls.toDF(*map(bare, calls.columns)).alias("calls"), beside.dropDuplicates([key]).alias("beside")
    both = left.join(right, of_sql(left, f"calls.{key} = beside.{key}"), "left")
    return both.selectExpr(*(f"{sql} AS {named(name)}" for name, sql in columns.items())).toDF(*columns)
