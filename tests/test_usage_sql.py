"""SQL over the calls and tables of one's own."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from mofa_usage import UsageError, UsageFrame, load_usage

CALLS = pl.DataFrame(
    {
        "model_name": ["a", "b", "b", None],
        "total_tokens": [1, 2, 2**40, None],
        "total_price": [Decimal("0.1"), Decimal("0.2"), None, Decimal("0.3")],
        "create_time": [datetime(2026, 3, day, 23, 30, tzinfo=UTC) for day in (1, 2, 3, 4)],
    }
)
TEAMS = pl.DataFrame({"model_name": ["a", "b"], "team": ["red", "blue"]})
JOINED = "SELECT team, count(*) AS n FROM calls JOIN teams USING (model_name) GROUP BY ALL ORDER BY team"


@pytest.fixture(params=["frame", "parquet", "filtered", "relation"])
def usage(request: pytest.FixtureRequest, tmp_path: Path) -> UsageFrame:
    CALLS.write_parquet(tmp_path / "calls.parquet")
    kind = request.param
    if kind == "frame":
        return load_usage(CALLS, tz="Europe/Berlin")
    if kind == "parquet":
        return load_usage(tmp_path / "calls.parquet", tz="Europe/Berlin")
    if kind == "filtered":
        return load_usage(tmp_path / "calls.parquet", tz="Europe/Berlin").filter("true")
    return load_usage(duckdb.connect().read_parquet(str(tmp_path / "calls.parquet")), tz="Europe/Berlin")


FRAMES: dict[str, Any] = {
    "Polars": lambda: TEAMS,
    "lazy": TEAMS.lazy,
    "pandas": lambda: pd.DataFrame({"model_name": ["a", "b"], "team": ["red", "blue"]}),
    "Arrow": TEAMS.to_arrow,
    "reader": lambda: pa.RecordBatchReader.from_batches(TEAMS.to_arrow().schema, TEAMS.to_arrow().to_batches()),
    "relation": lambda: duckdb.connect().sql("FROM (VALUES ('a', 'red'), ('b', 'blue')) AS t(model_name, team)"),
    "usage": lambda: load_usage(TEAMS),
    "lazy usage": lambda: load_usage(duckdb.connect().from_arrow(TEAMS.to_arrow())),
    "answer": lambda: load_usage(TEAMS).breakdown(["model_name", "team"], "models"),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_the_calls_are_joined_with_a_frame(usage: UsageFrame, kind: str) -> None:
    teams = FRAMES[kind]()
    assert usage.sql(JOINED, teams=teams).rows() == [("blue", 2), ("red", 1)]
    with pytest.raises(UsageError, match="Table with name teams does not exist"):
        usage.sql(JOINED)  # the next query knows nothing of it
    assert TEAMS.columns == ["model_name", "team"]


def test_two_frames_and_any_name(usage: UsageFrame) -> None:
    query = 'SELECT count(*) AS n FROM calls, "order", Größe'
    assert usage.sql(query, order=TEAMS, Größe=TEAMS)["n"].to_list() == [16]


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ({"calls": TEAMS}, "calls is the table of these calls"),
        ({"Calls": TEAMS}, "Calls is the table of these calls"),
        ({"my teams": TEAMS}, "'my teams' is no name of a table"),
        ({"teams": TEAMS, "Teams": TEAMS}, "two frames are called 'teams'"),
        ({"teams": {"a": 1}}, "teams is a dict; give a frame"),
        ({"teams": "teams.csv"}, "teams is a str; give a frame"),
        ({"teams": None}, "teams is a NoneType"),
    ],
)
def test_what_is_no_table(usage: UsageFrame, frames: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        usage.sql("SELECT 1", **frames)


def test_sums_of_whole_numbers_are_whole_numbers(usage: UsageFrame) -> None:
    totals = usage.sql(
        "SELECT sum(total_tokens) AS tokens, sum(total_price) AS cost, sum(NULL::BIGINT) AS nothing, "
        "1::UHUGEINT AS wide, 1::DECIMAL(38, 0) AS amount FROM calls"
    )
    assert totals.rows() == [(2**40 + 3, Decimal("0.6"), None, 1, 1)]
    assert totals.dtypes == [pl.Int64, pl.Decimal(38, 10), pl.Int64, pl.Int64, pl.Decimal(38, 0)]
    by_model = usage.sql("SELECT model_name, sum(total_tokens) AS n FROM calls GROUP BY ALL ORDER BY n DESC NULLS LAST")
    assert by_model.rows() == [("b", 2**40 + 2), ("a", 1), (None, None)]
    largest = usage.sql("SELECT (9223372036854775807)::HUGEINT AS n, (-9223372036854775808)::HUGEINT AS least")
    assert largest.row(0) == (2**63 - 1, -(2**63))


def test_a_sum_beyond_64_bits_is_refused_by_name(usage: UsageFrame) -> None:
    with pytest.raises(UsageError, match=f"the column much is {2**63}, which is beyond 64 bits"):
        usage.sql("SELECT 1 AS one, sum(total_tokens) * 8388608 - 25165824 AS much FROM calls")
    assert usage.sql("SELECT CAST(2::HUGEINT ** 70 AS DOUBLE) AS n")["n"].to_list() == [2.0**70]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("SELECT nothing FROM calls", "DuckDB refuses the query"),
        ("SELECT 1; SELECT 2", "DuckDB refuses the query"),
        ("", "DuckDB refuses the query"),
        ("SELECT 1 AS n, 2 AS n FROM calls", "two columns of the answer are called 'n'"),
    ],
)
def test_what_duckdb_does_not_answer(usage: UsageFrame, query: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        usage.sql(query)


def test_frames_beside_change_neither_the_clock_nor_the_frames(usage: UsageFrame) -> None:
    teams = TEAMS.clone()
    query = "SELECT create_time::DATE AS day, team FROM calls JOIN teams USING (model_name) ORDER BY day"
    if "relation" not in repr(usage):
        days = usage.sql(query, teams=teams)["day"].to_list()
        assert [day.day for day in days] == [2, 3, 4]
    assert_frame_equal(teams, TEAMS)


def test_a_connection_may_have_another_table_of_that_name() -> None:
    """DuckDB would read it, and know nothing of the filter and of the names that columns have here."""
    connection = duckdb.connect()
    states = {"state": ["success"] * 4, "duration_ms": [100, 200, 300, 400]}
    renamed = CALLS.rename({"model_name": "model", "total_price": "cost"}).with_columns(pl.DataFrame(states))
    connection.register("calls", renamed)
    mapping = {"status": "state", "latency_ms": "duration_ms"}
    usage = load_usage(connection.table("calls"), mapping=mapping).filter(model_name="b")
    assert usage.sql("SELECT count(*) AS n, sum(total_price) AS cost FROM calls").rows() == [(2, Decimal("0.2"))]
    with pytest.raises(UsageError, match='"model" not found'):
        usage.sql("SELECT model FROM calls")
    assert usage.service_level(every="month").over_time["in_flight_max"].to_list() == [1]
    assert usage.waste().is_empty()
    assert usage.completeness().coverage["calls"].sum() == 2
