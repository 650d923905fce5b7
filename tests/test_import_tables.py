"""Importing what holds rows itself, and the answers of SQL over files and tables."""

import gzip
import json
import lzma
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from mofa_usage.errors import UsageError
from mofa_usage.importing import ImportResult, import_calls
from mofa_usage.records import LLMApiCall
from mofa_usage.stores import InMemoryStore

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FRAME = pl.DataFrame(
    {
        "timestamp": [NOON, NOON + timedelta(seconds=1)],
        "model": ["gpt-4o", "o3"],
        "prompt_tokens": [10, 20],
        "completion_tokens": [1, 2],
        "cost": pl.Series([Decimal("0.0000000001"), None], dtype=pl.Decimal(38, 10)),
        "latency": [timedelta(milliseconds=1245), None],
    }
)
SQL = """
    SELECT started AS create_time, model AS model_name, input + cache_read AS prompt_tokens,
           cache_read AS "prompt_tokens_details.cached_tokens", output AS completion_tokens,
           seconds * 1000 AS latency_ms, micros * 0.000001::DECIMAL(18, 6) AS total_price
    FROM calls WHERE kind <> 'SPAN'
"""
LINES = ["started,model,kind,input,cache_read,output,seconds,micros"]
LINES += [f"2026-05-01 12:00:{second:02d},m,CALL,{second},5,2,4.2,12500" for second in range(40)]
LINES += ["2026-05-01 12:01:00,m,SPAN,99,5,2,4.2,12500"]


async def imported(source: Any, **options: Any) -> tuple[ImportResult, list[LLMApiCall]]:
    store = InMemoryStore()
    result = await import_calls(store, source, **options)
    return result, (await store.query_api_calls())[::-1]


TABLES: dict[str, Callable[[], Any]] = {
    "polars": lambda: FRAME,
    "lazy": FRAME.lazy,
    "arrow": FRAME.to_arrow,
    "stream": lambda: FRAME.to_arrow().to_reader(),
    "pandas": FRAME.to_pandas,
    "pandas in nanoseconds": lambda: FRAME.to_pandas().astype({"timestamp": "datetime64[ns, UTC]"}),
    "duckdb": lambda: duckdb.connect().from_arrow(FRAME.to_arrow()),
}


@pytest.mark.parametrize("table", TABLES)
async def test_every_table_gives_the_same_calls(table: str) -> None:
    result, calls = await imported(TABLES[table]())
    assert (result.rows, result.stored, result.rejected, result.format) == (2, 2, 0, "table")
    assert [call.create_time for call in calls] == [NOON, NOON + timedelta(seconds=1)]
    assert [call.model_name for call in calls] == ["gpt-4o", "o3"]
    assert [call.total_price for call in calls] == [Decimal("0.0000000001"), None]
    assert [call.latency_ms for call in calls] == [1245, None]
    assert calls == (await imported(FRAME))[1]  # ids follow from what the rows say


async def test_a_table_can_be_mapped_and_asked(tmp_path: Path) -> None:
    options = {"mapping": {"completion_tokens": "words"}, "defaults": {"labels.team": "search"}}
    _, calls = await imported(FRAME.rename({"completion_tokens": "words"}), **options)
    assert [call.completion_tokens for call in calls] == [1, 2]
    assert {call.labels["team"] for call in calls} == {"search"}
    _, calls = await imported(FRAME.lazy(), sql="SELECT * REPLACE (prompt_tokens * 2 AS prompt_tokens) FROM calls")
    assert [call.prompt_tokens for call in calls] == [20, 40]


@pytest.mark.parametrize("source", [5, object(), None, [object()]])
async def test_what_is_no_source_is_said(source: Any) -> None:
    with pytest.raises(UsageError, match="nothing to import"):
        await import_calls(InMemoryStore(), source)


def as_csv(folder: Path) -> Path:
    path = folder / "usage [1].csv"  # DuckDB would take the name for a pattern
    path.write_text("\n".join(LINES))
    return path


def as_xz(folder: Path) -> Path:
    path = folder / "usage.csv.xz"
    path.write_bytes(lzma.compress("\n".join(LINES).encode()))
    return path


def as_gzip(folder: Path) -> Path:
    path = folder / "usage.gz"
    path.write_bytes(gzip.compress("\n".join(LINES).encode()))
    return path


def rows() -> list[dict[str, Any]]:
    return pl.read_csv("\n".join(LINES).encode(), try_parse_dates=True).to_dicts()


def as_json_lines(folder: Path) -> Path:
    path = folder / "usage.jsonl"
    path.write_text("\n".join(json.dumps(row, default=str) for row in rows()))
    return path


def as_document(folder: Path) -> Path:
    path = folder / "usage.json"
    path.write_text(json.dumps(rows(), default=str, indent=2))
    return path


def as_parquet(folder: Path) -> Path:
    path = folder / "usage.parquet"
    pl.DataFrame(rows()).write_parquet(path)
    return path


@pytest.mark.parametrize("write", [as_csv, as_xz, as_gzip, as_json_lines, as_document, as_parquet])
async def test_sql_over_every_kind_of_file(write: Callable[[Path], Path], tmp_path: Path) -> None:
    result, calls = await imported(write(tmp_path), sql=SQL, tz="Europe/Berlin")
    assert (result.rows, result.stored, result.format) == (40, 40, "sql")
    assert [call.prompt_tokens for call in calls] == [second + 5 for second in range(40)]
    assert {call.latency_ms for call in calls} == {4200}
    assert {call.total_price for call in calls} == {Decimal("0.0125")}
    assert calls[0].create_time == datetime(2026, 5, 1, 10, tzinfo=UTC)  # noon in Berlin
    assert calls[0].prompt_tokens_details is not None
    assert calls[0].prompt_tokens_details.cached_tokens == 5


async def test_sql_over_several_files_of_other_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("at,n\n2026-05-01T12:00:00Z,1\n")
    (tmp_path / "b.csv").write_text("n,at,extra\n2,2026-05-02T12:00:00Z,x\n")
    sql = "SELECT calls.at AS create_time, n AS prompt_tokens, 0 AS completion_tokens, extra AS model_name FROM calls"
    result, calls = await imported([tmp_path / "a.csv", tmp_path / "b.csv"], sql=sql)
    assert result.stored == 2
    assert [(call.prompt_tokens, call.model_name) for call in calls] == [(1, "unknown"), (2, "x")]
    (tmp_path / "c.jsonl").write_text("{}")
    with pytest.raises(UsageError, match="files of one format, these are csv and jsonl"):
        await imported([tmp_path / "a.csv", tmp_path / "c.jsonl"], sql=sql)


async def test_prices_through_sql_are_exact_to_15_digits_and_noise_is_counted(tmp_path: Path) -> None:
    prices = ["0.0129", "12345.1234567891", "1e-10"]
    lines = [f"2026-05-01T12:00:00Z,{number},{price}" for number, price in enumerate(prices)]
    (tmp_path / "a.csv").write_text("\n".join(["create_time,prompt_tokens,total_price", *lines]))
    result, calls = await imported(tmp_path / "a.csv", sql="SELECT *, 0 AS completion_tokens FROM calls")
    assert {call.prompt_tokens: call.total_price for call in calls} == dict(enumerate(map(Decimal, prices)))
    assert result.rounded_prices == 0
    sql = "SELECT create_time, 1 AS prompt_tokens, 0 AS completion_tokens, 0.1::DOUBLE + 0.2::DOUBLE AS cost FROM calls"
    result, calls = await imported(tmp_path / "a.csv", sql=sql)
    assert {call.total_price for call in calls} == {Decimal("0.3")}
    assert result.rounded_prices == 3


async def test_what_duckdb_cannot_type_refuses_itself(tmp_path: Path) -> None:
    lines = [f"2026-05-01T12:00:00Z,{number},1" for number in range(22_000)]
    lines[21_000] = "2026-05-01T12:00:00Z,oops,1"  # behind the rows by which DuckDB tells the types
    lines[21_500] = "2026-05-01T12:00:00Z,1,2,3"
    (tmp_path / "a.csv").write_text("\n".join(["create_time,prompt_tokens,completion_tokens", *lines]))
    sql = "SELECT create_time, prompt_tokens, completion_tokens FROM calls"
    result, _ = await imported(tmp_path / "a.csv", sql=sql, rejects=tmp_path / "refused.csv")
    assert (result.rows, result.stored, result.rejected) == (22_000, 21_998, 2)
    assert {line for reason in result.reasons for line in reason.lines} == {21_002, 21_502}
    assert "prompt_tokens" in str(result.reasons)
    assert "oops" in (tmp_path / "refused.csv").read_text()


async def test_json_that_is_none_refuses_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"t":"2026-05-01T12:00:00Z","p":1}\nno\n{"t":"2026-05-01T12:00:01Z","p":2}\n')
    sql = "SELECT t AS create_time, p AS prompt_tokens, 1 AS completion_tokens FROM calls"
    result, calls = await imported(tmp_path / "a.jsonl", sql=sql)
    assert (result.stored, result.rejected, result.reasons[0].lines) == (2, 1, (2,))
    assert [call.prompt_tokens for call in calls] == [1, 2]


async def test_refused_rows_are_named_by_their_number_in_the_answer(tmp_path: Path) -> None:
    sql = "SELECT timestamp, prompt_tokens - 15 AS prompt_tokens, 1 AS completion_tokens FROM calls ORDER BY ALL"
    result, _ = await imported(FRAME, sql=sql)
    assert (result.stored, result.rejected, result.reasons[0].lines) == (1, 1, (1,))
    assert "row 1" in str(result)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC", "syntax error"),
        ("SELECT nope FROM calls", "nope"),
        ("SELECT CAST(model AS INTEGER) AS prompt_tokens, timestamp FROM calls", "gpt-4o"),
        ("SELECT model FROM calls", "create_time"),
    ],
)
async def test_a_query_that_cannot_be_answered_stores_nothing(sql: str, says: str) -> None:
    store = InMemoryStore()
    with pytest.raises(UsageError, match=says):
        await import_calls(store, FRAME, sql=sql)
    assert await store.query_api_calls() == []


async def test_intervals_are_durations_and_months_are_refused() -> None:
    relation: Any = duckdb.sql(
        "SELECT TIMESTAMPTZ '2026-05-01 12:00:00+00' AS create_time, 1 AS prompt_tokens,"
        " 1::HUGEINT AS completion_tokens,"
        " INTERVAL 1245 MILLISECOND AS latency"
    )
    _, calls = await imported(relation)
    assert [call.latency_ms for call in calls] == [1245]
    with pytest.raises(UsageError, match="a month has no fixed length"):
        await imported(relation.project("* REPLACE (INTERVAL 1 MONTH AS latency)"))


async def test_an_arrow_table_of_many_chunks() -> None:
    table = pa.concat_tables([FRAME.slice(0, 1).to_arrow(), FRAME.slice(1).to_arrow()] * 1_500)
    result, _ = await imported(table)
    assert result.rows == 3_000


async def test_types_that_only_arrow_has() -> None:
    """Floats of 32 bits by their shortest decimals, maps as objects, JSON and numbers in bytes."""
    usage = b'{"input_tokens": 3, "output_tokens": 9, "cache_read_input_tokens": 7}'
    table = pa.table(
        {
            "timestamp": pa.array([NOON] * 2),
            "model": pa.array([b"m"] * 2),
            "usage": pa.array([usage, usage]),
            "cost": pa.array([0.0129, 2.0000000000000002e-05], pa.float32()),
            "labels": pa.array([[("team", "search")], []], pa.map_(pa.string(), pa.string())),
            "error": pa.array([[("message", "boom")], None], pa.map_(pa.string(), pa.string())),
        }
    )
    _, calls = await imported(table)
    found = {call.total_price: (call.prompt_tokens, call.labels, call.error_message) for call in calls}
    assert found == {
        Decimal("0.0129"): (10, {"team": "search"}, "boom"),
        Decimal("0.00002"): (10, {}, None),
    }


async def test_a_frame_that_arrow_cannot_hold_is_refused() -> None:
    frame = pd.DataFrame({"timestamp": [NOON, NOON], "prompt_tokens": [1, "2"]}, dtype=object)
    with pytest.raises(UsageError, match="the DataFrame cannot be read as Arrow data"):
        await imported(frame)


def test_pandas_speaks_arrow() -> None:
    assert hasattr(pd.DataFrame({"a": [1]}), "__arrow_c_stream__")
