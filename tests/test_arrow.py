"""Calls and answers go to whatever speaks the Arrow PyCapsule interface, and come back as they were."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from mofa_usage import InMemoryStore, QueryFilter, UsageError, UsageFrame, import_calls, load_usage

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
CALLS = pl.DataFrame(
    {
        "create_time": [NOON + timedelta(hours=hour) for hour in range(4)],
        "model_name": ["a", "b", "a", "ü"],
        "total_price": [Decimal("0.1"), None, Decimal("99999.0000000001"), Decimal(0)],
        "currency": ["EUR", None, "EUR", "USD"],
        "prompt_tokens": [10, 20, 30, None],
        "completion_tokens": [1, None, 2, 3],
        "latency_ms": [None, 1, 2, 3],
        "labels.team": ["x", None, "y", "x"],
    }
)


@pytest.fixture(params=["frame", "lazy"])
def usage(request: pytest.FixtureRequest, tmp_path: Path) -> UsageFrame:
    if request.param == "frame":
        return load_usage(CALLS, tz="Europe/Berlin")
    CALLS.write_parquet(tmp_path / "calls.parquet")
    return load_usage(tmp_path / "calls.parquet", tz="Europe/Berlin")


def taken_by_duckdb(given: Any) -> pl.DataFrame:
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.register("given", given)
        return pl.DataFrame(database.table("given").to_arrow_table())


TAKERS: dict[str, Callable[[Any], pl.DataFrame]] = {
    "pyarrow": lambda given: pl.DataFrame(pl.from_arrow(pa.table(given))),
    "polars": pl.DataFrame,
    "duckdb": taken_by_duckdb,
}


@pytest.mark.parametrize("taker", TAKERS)
def test_calls_are_taken_as_they_are(usage: UsageFrame, taker: str) -> None:
    taken = TAKERS[taker](usage)
    assert_frame_equal(taken, usage.frame)
    assert taken["total_price"].to_list() == CALLS["total_price"].to_list()


def test_what_is_filtered_is_taken_filtered_and_more_than_once(usage: UsageFrame) -> None:
    some = usage.filter("latency_ms > 1")
    assert pa.table(some).num_rows == pa.table(some).num_rows == 2


@pytest.mark.parametrize("taker", TAKERS)
def test_answers_are_taken_too(usage: UsageFrame, taker: str) -> None:
    answer = usage.cost(by=["day", "model_name"])
    assert_frame_equal(TAKERS[taker](answer), pl.DataFrame(answer))


async def test_calls_go_into_a_store(usage: UsageFrame) -> None:
    async with InMemoryStore() as store:
        result = await import_calls(store, usage)
        calls = await store.query_api_calls(QueryFilter())
    assert result.stored == 4
    assert [call.total_price for call in reversed(calls)] == CALLS["total_price"].to_list()
    assert [call.labels.get("team") for call in reversed(calls)] == ["x", None, "y", "x"]


def test_calls_that_cannot_be_read_are_an_error_before_anything_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    CALLS.write_parquet(path)
    usage = load_usage(path)
    path.unlink()
    with pytest.raises(UsageError, match=r"calls\.parquet"):
        pa.table(usage)
