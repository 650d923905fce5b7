"""A Spark frame of somebody's is read as a frame of Polars is: columns, exact values, labels, refusals."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mofa_usage import QueryFilter, UsageFrame, load_usage
from mofa_usage.errors import UsageError

MOMENT = datetime(2026, 5, 1, 12, tzinfo=UTC)
BASE = {"id": ["0190AAAA-0000-7000-8000-000000000001", "b", "c"], "create_time": [MOMENT, MOMENT, None]}
LABELS = '{"team": "red", "Team": "up", "a.b": "dot", "it\'s`x": "quote", "\\u00fc": "\\\\", "attempt": "3"}'
FOREIGN: dict[str, dict[str, Any]] = {
    "details": {
        "labels": [LABELS, "{}", None],
        "total_price": [0.1, 0.0129, None],
        "price_details": ['{"currency": "eur", "input_price": "0.05"}', "null", None],
        "prompt_tokens_details": ['{"cached_tokens": 3.0}', None, None],
        "completion_tokens_details": ['{"token_source": "none"}', None, None],
        "status": ["OK", "Rate-Limited", None],
        "prompt_tokens": [1, 2, None],
        "completion_tokens": [3, 4, None],
    },
    "prices": {"total_price": pl.Series([0.1, 0.0129, 99999.1234567891])},
    "short prices": {"total_price": pl.Series([0.1, 0.0129, 1.1], dtype=pl.Float32)},
    "long prices": {"total_price": pl.Series([Decimal("0.123456789"), Decimal(1), None], dtype=pl.Decimal(30, 12))},
    "durations": {"latency": [timedelta(seconds=1.5), timedelta(microseconds=2500), None]},
    "nothing": {"total_price": [None] * 3, "labels": [None] * 3},
    "further": {"team": ["red", None, "b"], "Team": [True, False, None], "a.b": [1, 2, 3]},
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "places": ({"total_price": [1e-11, 1.0, None]}, "total_price is 1.0E-11, which is no price that 10"),
    "count": ({"prompt_tokens": [1.5, None, None]}, "prompt_tokens is 1.5, which is no whole number"),
    "rate": ({"tokens_per_second": [float("inf"), None, None]}, "which is no finite number"),
    "labels": ({"labels": ["{x", None, None]}, r"labels of the call 0190AAAA.* no JSON object"),
    "detail": ({"prompt_tokens_details": ['{"cached_tokens": "many"}', None, None]}, "cached_tokens is no number"),
    "time": ({"create_time": ["yesterday", None, None]}, "create_time is yesterday, which is no time in RFC 3339"),
    "flag": ({"latency_ms": [True, None, None]}, "the column latency_ms is boolean, where"),
}


def on_spark(session: Any, frame: pl.DataFrame, **options: Any) -> UsageFrame:
    return load_usage(session.createDataFrame(frame.to_arrow()), **options)


def assert_read_alike(session: Any, frame: pl.DataFrame, **options: Any) -> pl.DataFrame:
    found, wanted = on_spark(session, frame, **options).frame, load_usage(frame, **options).frame
    assert found.columns == wanted.columns
    assert_frame_equal(found.sort(found.columns), wanted.sort(found.columns))
    return found


@pytest.mark.parametrize("name", FOREIGN)
def test_values_are_what_they_are_elsewhere(session: Any, name: str) -> None:
    assert_read_alike(session, pl.DataFrame({**BASE, **FOREIGN[name]}))


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused(session: Any, name: str) -> None:
    values, sentence = BAD[name]
    with pytest.raises(UsageError, match=sentence):
        on_spark(session, pl.DataFrame({**BASE, **values})).lazy()


def test_columns_of_other_names(session: Any) -> None:
    times = ["2026-05-01T12:00:00Z", "2026-05-01 14:00+02", "2026-05-01T12:00:00.1234567+0030"]
    frame = pl.DataFrame(
        {
            "timestamp": times,
            "model": ["a", "b", "c"],
            **{"input_tokens": [10, 20, 30], "output_tokens": [1.0, 2.0, 3.0], "cache_read_input_tokens": [20, 0, 1]},
            **{"latency_seconds": [1.5, 0.0005, 2.0005], "cost": [0.00002, 1.5, None]},
        }
    )
    assert assert_read_alike(session, frame)["prompt_tokens"].sum() == 81  # counted without what came from a cache
    assert_read_alike(session, frame, mapping={"labels.team": "model"}, columns=["labels.team", "latency_ms"])


def test_prices_are_rounded_where_that_is_asked_for(session: Any) -> None:
    frame = pl.DataFrame({**BASE, "total_price": [4e-11, 6e-11, 0.5]})
    assert_read_alike(session, frame, round_prices=True)
    assert on_spark(session, frame, round_prices=True).rounded_prices == 2


def test_labels_in_maps_and_structs(session: Any) -> None:
    moment = "timestamp '2026-05-01 12:00:00+00:00' AS create_time"
    maps = session.sql(
        f"SELECT '1' AS id, {moment}, map('team', 'red', 'Team', 'up', 'a.b', 'dot', 'attempt', '3') AS labels,"
        f" named_struct('cached_tokens', 5) AS prompt_tokens_details UNION ALL SELECT '2', {moment}, map(), NULL"
    )
    usage = load_usage(maps)
    found = usage.frame.sort("id").row(0, named=True)
    assert {name: found[name] for name in found if name.startswith("labels.")} == {
        "labels.Team": "up",
        "labels.a.b": "dot",
        "labels.team": "red",
    }
    assert (found["attempt"], found["cached_tokens"]) == (3, 5)
    by = load_usage(maps).filter(labels={"a.b": "dot"}).breakdown(["labels.Team", "labels.team"], "calls")
    assert by.rows() == [("up", "red", 1)]
    structs = session.sql(f"SELECT {moment}, named_struct('team', 'red', 'none', CAST(NULL AS string)) AS labels")
    assert load_usage(structs).columns[-1] == "labels.team"


def test_times_without_a_zone_are_refused(session: Any) -> None:
    frame = session.sql("SELECT timestamp_ntz '2026-05-01 12:00:00' AS create_time")
    with pytest.raises(UsageError, match=r"create_time is timestamp_ntz.*its zone is unknown"):
        load_usage(frame)


def test_the_newest_calls(session: Any) -> None:
    frame = pl.DataFrame({"id": ["a", "b", "c"], "create_time": [MOMENT, MOMENT, MOMENT - timedelta(1)]})
    assert assert_read_alike(session, frame, filter=QueryFilter(limit=1, offset=1))["id"].item() == "a"
    assert_read_alike(session, frame, start=MOMENT)


def test_filters(session: Any) -> None:
    frame = pl.DataFrame({**BASE, **FOREIGN["details"], "latency_ms": [1, 2, None], "flag": [True, None, False]})
    here, there = load_usage(frame), on_spark(session, frame)
    wanted: list[dict[str, Any]] = [
        {"status": ["success", "failed"]},
        {"labels": {"team": ["red", None]}},
        {"total_price": Decimal("0.0129"), "flag": None},
        {"latency_ms": [1, None], "flag": [True, False]},
        {"create_time": MOMENT},
        {"create_time": "2026-05-01"},
        {"id": "0190AAAA-0000-7000-8000-000000000001", "status": []},
    ]
    for equal in wanted:
        assert there.filter(**equal).breakdown((), ["calls"]).item() == len(here.filter(**equal))
    slow = there.filter(nw.col("latency_ms") > 1)
    assert (len(slow), len(slow.between("2026-05-02")), len(there.between("2026-05-01", "2026-05-02"))) == (1, 0, 2)
    with pytest.raises(UsageError, match="is SQL of DuckDB, and these calls are on Spark"):
        there.filter("latency_ms > 1")
    with pytest.raises(UsageError, match="cannot be met"):
        there.filter(nw.col("no such column") > 1)
