"""Parquet files that an older version of ours wrote are read like new ones, also beside them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from mofa_usage import LLMApiCall, TokenDetails, export_parquet
from mofa_usage.reading.frame import frame_of_records
from mofa_usage.usage import load_usage
from tests.samples import call

NEW = ["cache_write_5m_tokens", "cache_write_1h_tokens"]
KEY = b"mofa_usage.schema_version"


def written(seconds: float, **lifetimes: int) -> LLMApiCall:
    details: dict[str, Any] = {"cache_write_tokens": sum(lifetimes.values()), **lifetimes}
    return call(seconds, prompt_tokens_details=TokenDetails.model_validate(details))


def export(calls: list[LLMApiCall], path: Path) -> None:
    """An export of records as a store has them, with their details as JSON."""
    export_parquet(frame_of_records(calls, [], [], []), path)


def as_of_version_2(path: Path) -> None:
    """Make of a new file what version 2 wrote: the lifetimes are in the JSON alone."""
    table = pq.read_table(path)
    metadata = {**(table.schema.metadata or {}), KEY: b"2"}
    pq.write_table(table.drop_columns(NEW).replace_schema_metadata(metadata), path)


def told(path: Path) -> list[Any]:
    return load_usage(path).frame.sort("create_time").select("cache_write_tokens", *NEW).rows()


def test_columns_of_today_come_out_of_the_json_of_older_files(tmp_path: Path) -> None:
    older, newer = tmp_path / "older.parquet", tmp_path / "newer.parquet"
    export([written(0, cache_write_5m_tokens=20, cache_write_1h_tokens=30), call(1)], older)
    export([written(2, cache_write_1h_tokens=7)], newer)
    as_of_version_2(older)
    assert set(NEW).isdisjoint(pl.read_parquet_schema(older))
    assert told(older) == [(50, 20, 30), (None, None, None)]
    assert told(tmp_path) == [(50, 20, 30), (None, None, None), (7, None, 7)]
    at_once = load_usage(tmp_path)
    assert at_once.sql("SELECT sum(cache_write_1h_tokens) AS n FROM calls")["n"][0] == 37
    assert len(at_once.between(datetime(2026, 3, 1, tzinfo=UTC), None)) == 3
