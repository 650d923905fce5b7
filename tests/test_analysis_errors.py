"""A question that cannot be answered says what is wrong with it."""

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from mofa_usage.analysis import breakdown, cost
from mofa_usage.errors import MofaUsageError, UsageError
from mofa_usage.measures import Aggregate, Condition, Dimension, Measure
from tests.plain_analysis import call, polars_frame, relation

FRAME = polars_frame([call(datetime(2025, 5, 1, tzinfo=UTC), total_price=Decimal(1))])


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"measures": "latncy_p95"}, "no measure is called 'latncy_p95'; near it: latency_p95"),
        ({"by": ["modle_name"]}, "no dimension is called 'modle_name'; near it: model_name"),
        ({"by": ["year"], "measures": "calls"}, "no dimension is called 'year'"),
        ({"by": 3}, "by = 3; give the name of a dimension, a Dimension, or several of them"),
        ({"measures": []}, "no measure was asked for"),
        ({"tz": "Europe/Berlln"}, "no time zone is called 'Europe/Berlln'; near it: Europe/Berlin"),
        ({"tz": ""}, "no time zone is called ''"),
        ({"tz": "../etc/passwd"}, "no time zone is called"),
        ({"start": "yesterday"}, "start = 'yesterday' is no ISO 8601 date or time"),
        ({"end": 5}, "end is a int; give a datetime with a zone, a date or ISO text"),
        ({"start": date(2025, 5, 2), "end": date(2025, 5, 1)}, "end .* lies before start"),
        ({"tz": "Asia/Tokyo", "start": date.min}, "start = 0001-01-01 lies outside the years 1 to 9999 in UTC"),
    ],
)
def test_a_wrong_question_is_named(question: dict[str, Any], message: str) -> None:
    for native in (FRAME, FRAME.lazy(), relation(FRAME)):
        with pytest.raises(UsageError, match=message):
            breakdown(native, **question)


@pytest.mark.parametrize(
    ("column", "question", "message"),
    [
        (
            "latency_ms",
            {"measures": ["calls", "latency_p50"]},
            "no column 'latency_ms', which the measure 'latency_p50'",
        ),
        ("status", {"measures": "wasted_cost"}, "no column 'status', which the measure 'wasted_cost'"),
        ("total_price", {"measures": "cost"}, "no column 'total_price', which the measure 'cost'"),
        ("model_name", {"by": "model_name", "measures": "calls"}, "no column 'model_name', which the dimension"),
        ("create_time", {"by": "hour", "measures": "calls"}, "no column 'create_time', which the dimension 'hour'"),
        ("create_time", {"start": "2025-01-01", "measures": "calls"}, "no column 'create_time', which a time range"),
        ("latency_ms", {"measures": "token_rate_p50"}, "no column 'latency_ms'"),
    ],
)
def test_a_missing_column_is_named_with_what_needs_it(column: str, question: dict[str, Any], message: str) -> None:
    frame = FRAME.drop(column)
    for native in (frame, frame.lazy(), relation(frame)):
        with pytest.raises(UsageError, match=message):
            breakdown(native, **question)


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Decimal(38, 12), pl.Int64])
def test_inexact_money_is_refused(dtype: pl.DataType) -> None:
    frame = FRAME.cast({"total_price": dtype})
    for native in (frame, relation(frame)):
        with pytest.raises(UsageError, match=r"column 'total_price' is .*; money must be a Decimal"):
            cost(native)


COUNT = Aggregate("count")


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (Measure("best", formula=Aggregate("max", "model_name")), "'best' is of model_name, which is .* and no number"),
        (Measure("last", formula=Aggregate("max", "create_time")), "'last' is of create_time, which is"),
        (
            Measure("slow", formula=Aggregate("count", where=(Condition("latency_ms", ">", "9"),))),
            "compares latency_ms",
        ),
        (Measure("cost", formula=COUNT), "a measure is called 'cost' already, and means something else"),
        (Measure("latency_p75", formula=COUNT), "a measure is called 'latency_p75' already"),
        (Measure("currency", formula=COUNT), "'currency' of an answer says the currency of money"),
        (Measure("is_other", formula=COUNT), "'is_other' of an answer marks the group"),
    ],
)
def test_a_measure_of_ones_own_that_nobody_can_compute_or_tell_from_others(of: Measure, message: str) -> None:
    for native in (FRAME, relation(FRAME)):
        with pytest.raises(UsageError, match=message):
            breakdown(native, "model_name", [of, "wasted_cost"])


def test_a_known_measure_may_have_another_title() -> None:
    spent = Measure("cost", "Spent", formula=Aggregate("sum", "total_price"))
    assert breakdown(FRAME, (), [spent]).rows() == [(Decimal(1), "USD")]


@pytest.mark.parametrize(
    ("by", "own"),
    [((), Measure("cost_EUR", formula=COUNT)), (Dimension("cost_EUR", needs=("id",)), "calls")],
)
def test_a_column_is_not_called_like_money_in_a_currency(by: Any, own: Any) -> None:
    euros = call(datetime(2025, 5, 1, tzinfo=UTC), total_price=Decimal(1), currency="EUR")
    with pytest.raises(UsageError, match="two columns of the answer would be called 'cost_EUR'"):
        breakdown(pl.concat([FRAME, polars_frame([euros])]), by, ["cost", own])


def test_a_dimension_is_of_each_call() -> None:
    best = Dimension("best", expression=nw.col("model_name").max())
    for native in (FRAME, relation(FRAME)):
        with pytest.raises(UsageError, match="the dimension 'best' is one value of all calls"):
            breakdown(native, best, "calls")


def test_a_column_of_nothing_but_nulls_is_of_any_kind() -> None:
    nothing = FRAME.with_columns(latency_ms=None)
    assert breakdown(nothing, (), ["latency_mean", "latency_max", "latency_calls"]).rows() == [(None, None, 0)]
    with pytest.raises(UsageError, match="'latency_p50' is of latency_ms, which is Unknown and no number"):
        breakdown(nothing, (), "latency_p50")


def test_a_currency_needs_a_price_or_a_column() -> None:
    frame = FRAME.drop("total_price", "currency")
    with pytest.raises(UsageError, match="no column 'currency', which the dimension 'currency'"):
        breakdown(frame, "currency", "calls")
    assert breakdown(FRAME.drop("total_price"), "currency", "calls").rows() == [("USD", 1)]


def test_something_else_than_calls_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot analyse a list"):
        breakdown([{"model_name": "m"}], (), "calls")  # type: ignore[arg-type]


def test_every_refusal_is_also_a_value_error_and_one_of_ours() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(UsageError, MofaUsageError)


def test_measures_load_no_engine() -> None:
    code = (
        "import sys, mofa_usage.measures; print(sorted({'polars', 'duckdb', 'narwhals', 'plotly'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_analysis_loads_no_pictures() -> None:
    code = "import sys, mofa_usage.analysis; print(sorted({'plotly', 'pandas', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
