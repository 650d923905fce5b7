"""Frames, files and relations that somebody else made: their names, their types, and what else is in them."""

import pickle
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

from mofa_usage import UsageError, load_usage
from mofa_usage.reading.open import open_source

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
Source = Callable[[pl.DataFrame], Any]


class Capsule:
    """An object of which only the Arrow data is known."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


@pytest.fixture(params=["frame", "lazy", "pandas", "table", "reader", "capsule", "relation", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Makes a source of a kind out of a frame."""

    def relation(frame: pl.DataFrame) -> Any:
        connection = duckdb.connect()
        connection.register("given", frame)
        return connection.sql("FROM given")

    def parquet(frame: pl.DataFrame) -> str:
        frame.write_parquet(tmp_path / "given.parquet")
        return str(tmp_path / "given.parquet")

    makes: dict[str, Source] = {
        "frame": lambda frame: frame,
        "lazy": lambda frame: frame.lazy(),
        "pandas": lambda frame: frame.to_pandas(use_pyarrow_extension_array=True),
        "table": lambda frame: frame.to_arrow(),
        "reader": lambda frame: frame.to_arrow().to_reader(),
        "capsule": Capsule,
        "relation": relation,
        "parquet": parquet,
    }
    return makes[request.param]


def given(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"create_time": [NOON, NOON + timedelta(hours=1)], **columns})


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_frame_of_few_columns_answers(source: Source) -> None:
    frame = given(model_name=["a", "b"], prompt_tokens=[10, 20], completion_tokens=[1, None], total_price=[0.1, 0.2])
    usage = load_usage(source(frame))
    calls = usage.frame.sort("create_time")
    assert calls["total_tokens"].to_list() == [11, None]
    assert calls["currency"].to_list() == ["USD", "USD"]
    assert "status" not in calls.columns
    assert usage.cost()["cost"].to_list() == [Decimal("0.2"), Decimal("0.1")]


def test_columns_are_known_by_the_names_that_import_knows(source: Source) -> None:
    frame = pl.DataFrame(
        {
            "Timestamp": [NOON],
            "model": ["m"],
            "spend": [0.25],
            "input_tokens": [10],
            "output_tokens": [2],
            "durationSeconds": [1.2345],
            "ttft_ms": [7.5],
            "provider": ["azure"],
            "env": ["prod"],
            "session_id": ["Ticket-7"],
            "team": ["search"],
            "score": [0.5],
        }
    )
    calls = load_usage(source(frame)).frame
    names = ["model_name", "total_price", "prompt_tokens", "completion_tokens", "total_tokens", "latency_ms"]
    assert calls.select(names).row(0) == ("m", Decimal("0.25"), 10, 2, 12, 1234)
    assert calls.select("time_to_first_token_ms", "provider_name", "environment").row(0) == (8, "azure", "prod")
    assert calls["create_time"].to_list() == [NOON]
    assert calls.select("chat_session_id", "team", "score").row(0) == ("Ticket-7", "search", 0.5)
    assert not {"Timestamp", "model", "spend", "input_tokens", "provider"} & set(calls.columns)


def test_own_names_go_before_known_ones(source: Source) -> None:
    frame = given(model_name=["a", "b"], model=["x", "y"], total_price=[1.0, 2.0], cost=["free", None])
    calls = load_usage(source(frame)).frame
    assert calls.select("model_name", "model", "cost").rows() == [("a", "x", "free"), ("b", "y", None)]


def test_a_known_name_of_another_kind_is_a_further_column(source: Source) -> None:
    """A name says little: a `cost` in words is no price."""
    calls = load_usage(source(given(cost=["low", "high"], duration=["short", "long"]))).frame
    assert calls["cost"].to_list() == ["low", "high"]
    assert "total_price" not in calls.columns


def test_a_mapping_goes_before_names(source: Source) -> None:
    frame = given(
        deployment=["a", "b"], model=["x", "y"], centre=["c", "d"], hits=[3, None], cost=[1.0, 2.0], price=[3.0, 4.0]
    )
    mapping = {
        "model_name": "deployment",
        "labels.team": "centre",
        "prompt_tokens_details.cached_tokens": "hits",
        "total_price": "price",
        "currency": None,
    }
    calls = load_usage(source(frame), mapping=mapping).frame.sort("create_time")
    assert calls.select("model_name", "labels.team", "cached_tokens", "model", "cost").rows() == [
        ("a", "c", 3, "x", 1.0),
        ("b", "d", None, "y", 2.0),
    ]
    assert calls["total_price"].to_list() == [Decimal(3), Decimal(4)]
    assert not {"deployment", "centre", "hits", "price"} & set(calls.columns)


def test_what_a_mapping_cannot_mean_is_said(source: Source) -> None:
    made = source(given(model=["a", "b"]))
    with pytest.raises(UsageError, match=r"'model_nam'; did you mean model_name\?"):
        load_usage(made, mapping={"model_nam": "model"})
    if not isinstance(made, pa.RecordBatchReader):
        with pytest.raises(UsageError, match="mapped to the column 'nowhere'; there are create_time, model"):
            load_usage(made, mapping={"model_name": "nowhere"})
    with pytest.raises(UsageError, match="the columns of a database's tables are known"):
        load_usage("sqlite:usage.db", mapping={"model_name": "x"})


def test_names_inside_structs_are_paths(source: Source) -> None:
    usage = [{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, None]
    calls = load_usage(
        source(given(usage=usage, response=[{"model": "m"}, {"model": "n"}])), mapping={"model_name": "response.model"}
    )
    frame = calls.frame.sort("create_time")
    assert frame.select("prompt_tokens", "total_tokens", "model_name").rows() == [(10, 15, "m"), (None, None, "n")]


def test_further_columns_are_kept_and_can_be_chosen(source: Source) -> None:
    frame = given(team=["a", "b"], **{"odd \"name'": [1, 2]}, when=[NOON, NOON], tags=[["x"], []])
    made = source(frame.with_columns(took=timedelta(seconds=1)))
    calls = load_usage(made).frame
    assert {"team", "odd \"name'", "when", "tags", "took"} <= set(calls.columns)
    if not isinstance(made, pa.RecordBatchReader):  # which can be read once
        chosen = load_usage(made, columns=["odd \"name'", "create_time", "team"]).frame
        assert chosen.columns == ["odd \"name'", "create_time", "team"]
        assert sorted(chosen.select("odd \"name'", "team").rows()) == [(1, "a"), (2, "b")]
        with pytest.raises(UsageError, match="no column is called 'teem'"):
            load_usage(made, columns=["teem"])


# --- tokens ---------------------------------------------------------------------------------------------------------

ANTHROPIC = {
    "input_tokens": 3,
    "output_tokens": 159,
    "cache_read_input_tokens": 22137,
    "cache_creation_input_tokens": 17285,
}


@pytest.mark.parametrize(
    ("rows", "prompt", "completion"),
    [
        ([ANTHROPIC], [39425], [159]),
        ([{**ANTHROPIC, "cache_read_input_tokens": None}], [17288], [159]),
        # A total decides that the input holds the cached tokens, also of rows that could be read either way.
        (
            [
                {"input_tokens": 1163, "output_tokens": 50, "cache_read_input_tokens": 1000, "total_tokens": 1213},
                {"input_tokens": 1200, "output_tokens": 70, "cache_read_input_tokens": 1100, "total_tokens": None},
            ],
            [1163, 1200],
            [50, 70],
        ),
        ([{"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 20}], [10], [5]),
        (
            [{"promptTokenCount": 9, "candidatesTokenCount": 100, "thoughtsTokenCount": 50, "totalTokenCount": 159}],
            [9],
            [150],
        ),
        # Gemini leaves out counts that are 0, and its tools' prompts stand beside the prompt.
        (
            [{"promptTokenCount": 9, "candidatesTokenCount": None, "thoughtsTokenCount": 50, "totalTokenCount": 59}],
            [9],
            [50],
        ),
        (
            [{"promptTokenCount": 9, "toolUsePromptTokenCount": 30, "candidatesTokenCount": 1, "totalTokenCount": 40}],
            [39],
            [1],
        ),
        ([{"input_tokens": 10, "output_tokens": None, "total_tokens": 12}], [10], [2]),
        ([{"prompt_tokens": 8, "total_tokens": 8}], [8], [0]),
        (
            [
                {
                    "input_tokens": 3,
                    "output_tokens": 9,
                    "ephemeral_5m_input_tokens": 20,
                    "ephemeral_1h_input_tokens": 40,
                },
                {"input_tokens": 4, "output_tokens": 9, "ephemeral_5m_input_tokens": None},
            ],
            [4, 63],
            [9, 9],
        ),
        (
            [
                {
                    "prompt_tokens": 4299,
                    "completion_tokens": 631,
                    "cache_read_input_tokens": 35574,
                    "total_tokens": 40504,
                }
            ],
            [39873],
            [631],
        ),
    ],
    ids=[
        *("exclusive", "a part is missing", "a total decides", "our own names", "gemini", "only thought", "tools"),
        *("completion from the total", "embedding", "writes by lifetime", "other names beside our own"),
    ],
)
def test_tokens_of_any_provider(
    source: Source, rows: list[dict[str, Any]], prompt: list[int], completion: list[int]
) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.Int64))
    calls = load_usage(source(frame.with_columns(create_time=pl.lit(NOON)))).frame.sort("prompt_tokens")
    assert calls["prompt_tokens"].to_list() == prompt
    assert calls["completion_tokens"].to_list() == completion
    assert calls["total_tokens"].to_list() == [one + two for one, two in zip(prompt, completion, strict=True)]


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "total_tokens": 310,
                "prompt_tokens_details": {"cached_tokens": 50},
                "completion_tokens_details": {"reasoning_tokens": 200},
            },
            (100, 210, 310, 50, None, 200),  # xAI's reasoning is beside the completion
        ),
        (
            {"input": 3, "output": 30, "reasoning": 20, "cache": {"read": 100, "write": 60}},
            (163, 50, 213, 100, 60, 20),
        ),
        (
            {
                "input_tokens": 3,
                "output_tokens": 9,
                "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 40},
            },
            (63, 9, 72, None, 60, None),
        ),
    ],
    ids=["xai", "opencode", "anthropic"],
)
def test_parts_of_counts_are_found_however_deep(source: Source, usage: dict[str, Any], counts: tuple[int, ...]) -> None:
    calls = load_usage(source(pl.DataFrame([{"create_time": NOON, "usage": usage}]))).frame
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens")
    found = (calls[name][0] if name in calls.columns else None for name in (*names, "reasoning_tokens"))
    assert tuple(found) == counts


def test_numbers_of_few_bits_have_room_for_what_is_worked_out(source: Source) -> None:
    columns = {"input_tokens": 200, "output_tokens": 100, "cache_read_input_tokens": 250, "latency_s": 100}
    frame = pl.DataFrame([columns], schema=dict.fromkeys(columns, pl.UInt8)).with_columns(create_time=pl.lit(NOON))
    calls = load_usage(source(frame)).frame
    assert calls.select("prompt_tokens", "total_tokens", "latency_ms").row(0) == (450, 550, 100_000)


def test_counts_in_text_are_refused_by_name(source: Source) -> None:
    frame = pl.DataFrame({"input_tokens": ["3"], "output_tokens": ["9"], "cache_read_input_tokens": ["5"]})
    with pytest.raises(UsageError, match=r"the column prompt_tokens is (String|VARCHAR), where"):
        load_usage(source(frame.with_columns(create_time=pl.lit(NOON)))).frame  # noqa: B018


@pytest.mark.parametrize("codes", [[200, 429], [b"200", b"429"]])
def test_a_status_may_be_an_http_code(source: Source, codes: list[Any]) -> None:
    calls = load_usage(source(given(status=codes))).frame.sort("create_time")
    assert calls["status"].to_list() == ["success", "rate_limited"]


def test_a_mapped_prompt_is_read_like_the_same_name_unmapped(source: Source) -> None:
    row = {
        "input_tokens": 5000,
        "output_tokens": 159,
        "cache_read_input_tokens": 4000,
        "cache_creation_input_tokens": 500,
    }
    frame = pl.DataFrame([row]).with_columns(create_time=pl.lit(NOON))
    calls = load_usage(source(frame), mapping={"prompt_tokens": "input_tokens"}).frame
    assert calls["prompt_tokens"].to_list() == [9500]


# --- types ----------------------------------------------------------------------------------------------------------


def test_parquet_by_pandas(tmp_path: Path) -> None:
    """Times in nanoseconds, text as bytes, a duration as latency."""
    frame = pd.DataFrame(
        {
            "create_time": pd.to_datetime(["2026-05-01T12:00:00.123456789"]).tz_localize("UTC"),
            "model_name": [b"m"],
            "latency_ms": pd.to_timedelta([1.2345], unit="s"),
            "ttft_ms": pd.to_timedelta([250], unit="ms").as_unit("ms"),
            "team": ["search"],
        }
    )
    frame.to_parquet(tmp_path / "calls.parquet")
    wanted = (NOON.replace(microsecond=123_456), "m", 1234, 250, "search")
    columns = ["create_time", "model_name", "latency_ms", "time_to_first_token_ms", "team"]
    usage = load_usage(tmp_path / "calls.parquet")
    for calls in (usage, pickle.loads(pickle.dumps(usage)), load_usage(frame)):
        assert calls.frame.select(columns).row(0) == wanted


def test_times_of_pandas_without_a_zone_are_refused_with_the_way_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"timestamp": pd.to_datetime(["2026-05-01T12:00:00"]), "model": ["m"]})
    with pytest.raises(UsageError, match=r"create_time is .*zone is unknown.*tz_localize\('UTC'\)"):
        load_usage(frame)
    frame.to_parquet(tmp_path / "calls.parquet")
    with pytest.raises(UsageError, match=r"create_time is .*zone is unknown.*AT TIME ZONE 'UTC'"):
        load_usage(tmp_path / "calls.parquet")


def test_nulls_and_an_index_of_pandas() -> None:
    frame = pd.DataFrame({"total_price": [0.5, float("nan")], "latency_ms": [10.0, None]}, index=[3, 7])
    calls = load_usage(frame).frame
    assert calls["total_price"].to_list() == [Decimal("0.5"), None]
    assert calls["latency_ms"].to_list() == [10, None]
    assert not [name for name in calls.columns if "index" in name]
    times = pd.DatetimeIndex([NOON, NOON], name="create_time")
    assert load_usage(frame.set_index(times)).frame["create_time"].to_list() == [NOON, NOON]


def test_pandas_columns_that_no_arrow_type_holds_are_refused() -> None:
    with pytest.raises(UsageError, match="DataFrame cannot be read as Arrow data"):
        load_usage(pd.DataFrame({"model_name": ["a", 1]}))


# --- prices ---------------------------------------------------------------------------------------------------------


def test_prices_of_more_places_are_refused_or_rounded_and_counted(source: Source) -> None:
    frame = given(total_price=[0.1 + 0.2, 0.5], input_price=[4e-11, None])
    made = source(frame)
    if not isinstance(made, pa.RecordBatchReader):
        with pytest.raises(UsageError, match=r"(total|input)_price.*round_prices=True"):
            _ = load_usage(made).frame
    usage = load_usage(made, round_prices=True)
    assert usage.rounded_prices == 2
    calls = usage.frame.sort("create_time")
    assert calls["total_price"].to_list() == [Decimal("0.3"), Decimal("0.5")]
    assert calls["input_price"].to_list() == [Decimal(0), None]
    assert pickle.loads(pickle.dumps(usage)).rounded_prices == 2


def test_only_the_rounded_prices_of_the_selection_are_counted() -> None:
    frame = given(total_price=[4e-11, 4e-11])
    assert load_usage(frame, start=NOON + timedelta(minutes=1), round_prices=True).rounded_prices == 1
    assert load_usage(frame.with_columns(total_price=0.5), round_prices=True).rounded_prices == 0


def test_a_lazy_source_is_not_read_by_being_opened() -> None:
    """Unless its rows have to say how tokens are counted."""
    read = []

    def note(frame: pl.DataFrame) -> pl.DataFrame:
        read.append(frame.height)
        return frame

    frame = given(model=["a", "b"], input_tokens=[1, 2], output_tokens=[1, 2])
    open_source(frame.lazy().map_batches(note, schema=frame.schema))
    assert not any(read)


def test_a_duration_by_its_type_needs_no_unit_and_a_number_does() -> None:
    latency = timedelta(milliseconds=1245)
    usage = load_usage(pl.DataFrame({"create_time": [NOON], "model": ["m"], "latency": [latency], "ttft": [3.0]}))
    assert usage.frame["latency_ms"].to_list() == [1245]
    assert "time_to_first_token_ms" not in usage.columns
    assert usage.frame["ttft"].to_list() == [3.0]
