"""Every measure is what the contract says, on every engine, whatever the rows."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage.analysis import Native, breakdown
from mofa_usage.measures import DIMENSIONS, MEASURES, Dimension, Measure
from mofa_usage.reading.columns import CALL_SCHEMA
from tests.plain_analysis import (
    MONEY_MEASURES,
    PLAIN,
    Row,
    call,
    calls,
    frames,
    grouped,
    polars_frame,
    relation,
)

NOON = datetime(2025, 5, 1, 12, tzinfo=UTC)
ENGINES = {"polars": 0, "lazy": 1, "duckdb": 2}
each_engine = pytest.mark.parametrize("engine", ENGINES)


def on(engine: str, rows: list[Row]) -> Any:
    return list(frames(rows))[ENGINES[engine]]


def assert_same(found: Any, plain: Any, what: str) -> None:
    if isinstance(plain, float) and isinstance(found, float):
        assert math.isclose(found, plain, rel_tol=1e-9, abs_tol=1e-12), what
    else:
        assert found == plain, what
        assert type(found) is type(plain), what


def test_every_measure_has_a_plain_twin() -> None:
    assert set(PLAIN) == set(MEASURES)


@settings(max_examples=40, deadline=None)
@given(rows=calls(), by=st.sets(st.sampled_from(["model_name", "provider_name", "error_code", "status"]), max_size=2))
def test_measures_are_what_the_contract_says(rows: list[Row], by: set[str]) -> None:
    names = sorted(by)
    plain = grouped(rows, [*names, "currency"])
    for native in frames(rows):
        found = breakdown(native, names, list(MEASURES))
        assert found.columns == [*names, "currency", *MEASURES]
        assert found.height == len(plain)
        for row in found.to_dicts():
            group = plain[tuple(row[name] for name in (*names, "currency"))]
            for measure, compute in PLAIN.items():
                assert_same(row[measure], compute(group), f"{measure} of {group}")


@settings(max_examples=30, deadline=None)
@given(rows=calls(max_size=40), by=st.sets(st.sampled_from(sorted(set(DIMENSIONS) - {"minute", "hour"})), max_size=3))
def test_engines_agree_to_the_type_and_order(rows: list[Row], by: set[str]) -> None:
    # Sums and interpolations of floats may differ in their last bits; the test above compares those.
    exact = [name for name in MEASURES if not name.startswith("token_rate_") or name == "token_rate_overall"]
    first, *others = (breakdown(native, sorted(by), exact, tz="Asia/Kathmandu") for native in frames(rows))
    for other in others:
        assert_frame_equal(first, other, check_exact=True)


@settings(max_examples=30, deadline=None)
@given(rows=calls(max_size=40), by=st.sets(st.sampled_from(sorted(DIMENSIONS)), max_size=3))
def test_rows_add_up_to_the_whole(rows: list[Row], by: set[str]) -> None:
    additive = [name for name, measure in MEASURES.items() if measure.additive]
    parts = breakdown(relation(polars_frame(rows)), sorted(by), additive, tz="Europe/Berlin")
    whole = breakdown(polars_frame(rows), ["currency"], additive)
    summed = parts.group_by("currency").agg(pl.col(additive).sum()).sort("currency")
    assert_frame_equal(
        summed.select("currency", *additive), whole.sort("currency").with_columns(pl.col(additive).fill_null(0))
    )


@each_engine
def test_nothing_gives_no_rows_with_the_same_types(engine: str) -> None:
    some = breakdown(on(engine, [call(NOON)]), ["model_name", "hour"], list(MEASURES), tz="Asia/Tokyo")
    none = breakdown(on(engine, []), ["model_name", "hour"], list(MEASURES), tz="Asia/Tokyo")
    assert none.height == 0
    assert none.schema == some.schema


@each_engine
def test_all_of_nothing_is_one_row(engine: str) -> None:
    asked = ["calls", "users", "total_tokens", "cached_tokens", "success_rate", "latency_p50", "latency_max"]
    assert breakdown(on(engine, []), (), asked).row(0) == (0, 0, 0, None, None, None, None)


@each_engine
def test_types_of_a_result(engine: str) -> None:
    row = call(NOON, total_price=Decimal("0.1"), latency_ms=5, cached_tokens=1, prompt_tokens=3)
    found = breakdown(on(engine, [row]), ["weekday", "model_name"], list(MEASURES))
    kinds = {"count": pl.Int64, "tokens": pl.Int64, "money": pl.Decimal(38, 10)}
    integers = {"latency_max", "ttft_max"}
    expected = {n: pl.Int64 if n in integers else kinds.get(m.kind, pl.Float64) for n, m in MEASURES.items()}
    assert found.schema == {"weekday": pl.Int8, "model_name": pl.String, "currency": pl.String, **expected}


@each_engine
def test_currencies_are_never_added(engine: str) -> None:
    rows = [call(NOON, currency=c, total_price=Decimal(p)) for c, p in (("USD", 1), ("EUR", 2), ("USD", 4))]
    for measure in MONEY_MEASURES:
        assert breakdown(on(engine, rows), (), [measure])["currency"].sort().to_list() == ["EUR", "USD"]
    assert breakdown(on(engine, rows), (), ["cost"]).rows() == [("USD", 5), ("EUR", 2)]


@each_engine
def test_currency_stays_where_it_was_asked_for(engine: str) -> None:
    assert breakdown(on(engine, []), ["currency", "model_name"], ["cost"]).columns == ["currency", "model_name", "cost"]


@each_engine
def test_an_unpriced_call_is_unknown_not_free(engine: str) -> None:
    rows = [call(NOON), call(NOON, status="failed"), call(NOON, model_name="n", total_price=Decimal(0))]
    found = breakdown(on(engine, rows), ["model_name"], ["cost", "coverage", "wasted_cost", "cost_per_call"])
    assert found.rows() == [("n", "USD", 0, 1.0, 0, 0), ("m", "USD", None, 0.0, None, None)]


@each_engine
def test_money_is_exact_and_rounds_half_to_even(engine: str) -> None:
    unit = Decimal("1e-10")
    rows = [call(NOON, total_price=unit * 5), call(NOON, total_price=Decimal(0))]
    assert breakdown(on(engine, rows), (), "cost_per_call")["cost_per_call"][0] == unit * 2
    most = [call(NOON, total_price=Decimal("99999.9999999999"))] * 1000
    assert breakdown(on(engine, most), (), "cost")["cost"][0] == Decimal("99999999.9999999")


@each_engine
def test_narrow_integers_do_not_wrap(engine: str) -> None:
    frame = polars_frame([call(NOON, total_tokens=2**31 - 1, latency_ms=2**31 - 1)] * 3)
    frame = frame.cast({"total_tokens": pl.Int32, "latency_ms": pl.Int32})
    natives: list[Native] = [frame, frame.lazy(), relation(frame)]
    native = natives[ENGINES[engine]]
    assert breakdown(native, (), ["total_tokens", "latency_mean"]).row(0) == (3 * (2**31 - 1), 2**31 - 1)


@each_engine
def test_the_nil_id_is_nobody(engine: str) -> None:
    rows = [call(NOON), call(NOON, user_id="0190aaaa-0000-7000-8000-000000000001", provider_name="p")]
    assert breakdown(on(engine, rows), (), ["users", "sessions", "models"]).row(0) == (1, 0, 1)


@each_engine
def test_missing_dimension_values_are_a_row(engine: str) -> None:
    rows = [call(NOON), call(NOON, agent_name="x"), call(NOON)]
    assert breakdown(on(engine, rows), "agent_name", "calls").rows() == [(None, 2), ("x", 1)]


@each_engine
def test_without_time_the_largest_come_first_ties_by_name_nulls_last(engine: str) -> None:
    latencies = {"b": 5, "a": 5, "c": 9, "d": None}
    rows = [call(NOON, model_name=name, latency_ms=ms) for name, ms in latencies.items()]
    found = breakdown(on(engine, rows), "model_name", ["latency_p50", "calls"])
    assert found["model_name"].to_list() == ["c", "a", "b", "d"]


@each_engine
def test_with_time_rows_are_sorted_by_the_dimensions_as_asked(engine: str) -> None:
    rows = [call(NOON.replace(hour=h), model_name=m) for h in (9, 3) for m in ("b", "a", "b")]
    found = breakdown(on(engine, rows), ["model_name", "hour_of_day"], "calls")
    assert found.rows() == [("a", 3, 1), ("a", 9, 1), ("b", 3, 2), ("b", 9, 2)]


@each_engine
def test_only_the_columns_that_are_needed_must_be_there(engine: str) -> None:
    frame = polars_frame([call(NOON)]).select("model_name", "status")
    natives: list[Native] = [frame, frame.lazy(), relation(frame)]
    native = natives[ENGINES[engine]]
    assert breakdown(native, "model_name", "success_rate").rows() == [("m", 1.0)]


def test_a_uuid_column_of_duckdb_reads_as_text() -> None:
    uuids = relation(polars_frame([call(NOON)])).select("* REPLACE (user_id::UUID AS user_id)")
    assert breakdown(uuids, "user_id", "calls").rows() == [("00000000-0000-0000-0000-000000000000", 1)]


def test_the_columns_of_every_measure_and_dimension_are_in_the_frame() -> None:
    entries: list[Measure | Dimension] = [*MEASURES.values(), *DIMENSIONS.values()]
    for entry in entries:
        assert set(entry.needs) <= set(CALL_SCHEMA), entry.name
