"""Every measure is what the contract says, on every engine, whatever the rows."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage.analysis import Native, breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import (
    DIMENSIONS,
    MEASURES,
    Aggregate,
    Condition,
    Dimension,
    Measure,
    Quotient,
    Ratio,
    measure_of_column,
)
from tests.plain_analysis import (
    MONEY_MEASURES,
    PLAIN,
    SCHEMA,
    Row,
    call,
    calls,
    currencies,
    currency,
    frames,
    grouped,
    money,
    money_quantile,
    percentile,
    polars_frame,
    priced_in,
    relation,
)
from tests.proofs import trials

NOON = datetime(2025, 5, 1, 12, tzinfo=UTC)
CATEGORIES = [
    *("model_name", "provider_name", "error_code", "status", "attempt", "operation", "labels.feature", "team"),
]
FURTHER = ["labels.feature", "labels.operation", "session.plan", "team"]
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


@pytest.mark.proof
@settings(max_examples=trials(7, 100), deadline=None)
@given(rows=calls(currencies=["EUR"]) | calls(), by=st.sets(st.sampled_from(CATEGORIES), max_size=2))
def test_measures_are_what_the_contract_says(rows: list[Row], by: set[str]) -> None:
    names = sorted(by)
    plain, known = grouped(rows, names) or ({} if names else {(): []}), currencies(rows)
    for native in frames(rows):
        found = breakdown(native, names, list(MEASURES))
        assert found.currencies == tuple(known)
        assert found.height == len(plain)
        for row in found.to_dicts():
            group = plain[tuple(row.pop(name) for name in names)]
            if len(known) < 2:
                assert row.pop("currency") == next(iter(known), None)
            assert len(row) == len(MEASURES) + len(MONEY_MEASURES) * max(0, len(known) - 1)
            for column, value in row.items():
                measure, of = measure_of_column(column) or ("", None)
                expected = PLAIN[measure](group) if of is None else money(measure, group, of)
                assert_same(value, expected, f"{column} of {group}")


@pytest.mark.proof
@settings(max_examples=trials(3, 100), deadline=None)
@given(rows=calls(), by=st.sampled_from([["currency"], ["model_name", "currency"], ["currency", "team"]]))
def test_with_the_currency_as_a_dimension_there_is_a_row_for_each(rows: list[Row], by: list[str]) -> None:
    plain = grouped(rows, by)
    for native in frames(rows):
        found = breakdown(native, by, list(MEASURES))
        assert found.columns == [*by, *MEASURES]
        assert found.height == len(plain)
        assert found.currencies == ()
        for row in found.to_dicts():
            group = plain[tuple(row[name] for name in by)]
            for measure, compute in PLAIN.items():
                assert_same(row[measure], compute(group), f"{measure} of {group}")


@pytest.mark.proof
@settings(max_examples=trials(7, 100), deadline=None)
@given(
    rows=calls(max_size=40),
    by=st.sets(st.sampled_from(sorted({*DIMENSIONS, *FURTHER} - {"minute", "hour"})), max_size=3),
)
def test_engines_agree_to_the_type_and_order(rows: list[Row], by: set[str]) -> None:
    # Sums and interpolations of floats may differ in their last bits; the test above compares those.
    inexact = ("token_rate_mean", "token_rate_p", "time_per_output_token")
    exact = [name for name in MEASURES if not name.startswith(inexact)]
    first, *others = (breakdown(native, sorted(by), exact, tz="Asia/Kathmandu") for native in frames(rows))
    for other in others:
        assert_frame_equal(first, other, check_exact=True)
        assert other.currencies == first.currencies


@pytest.mark.proof
@settings(max_examples=trials(7, 100), deadline=None)
@given(rows=calls(max_size=40), by=st.sets(st.sampled_from(sorted({*DIMENSIONS, *FURTHER})), max_size=3))
def test_rows_add_up_to_the_whole(rows: list[Row], by: set[str]) -> None:
    additive = [name for name, measure in MEASURES.items() if measure.additive]
    parts = breakdown(relation(polars_frame(rows)), sorted(by), additive, tz="Europe/Berlin")
    whole = breakdown(polars_frame(rows), (), additive)
    if "currency" in by:
        for of in currencies(rows):
            inside = parts.filter(pl.col("currency") == of)["cost"].sum()
            assert inside == sum(row["total_price"] for row in rows if currency(row) == of)
    else:
        assert parts.columns[len(by) :] == whole.columns
        assert parts.currencies == whole.currencies
    apart = {"cost", "wasted_cost"} if "currency" in by else set()
    common = [name for name in parts.columns if measure_of_column(name) and name not in apart]
    assert_frame_equal(
        pl.DataFrame(parts).select(pl.col(common).sum()), pl.DataFrame(whole).select(pl.col(common).fill_null(0))
    )


PERCENTED = (
    *("latency", "ttft", "time_per_output_token", "token_rate"),
    *("cost", "total_tokens", "prompt_tokens", "completion_tokens"),
)
percents = st.integers(0, 100).map(str) | st.sampled_from(["99.9", "0.5", "12.34", "33.333333333"])


@pytest.mark.proof
@settings(max_examples=trials(4, 100), deadline=None)
@given(
    rows=calls(max_size=40, currencies=["EUR", None]) | calls(max_size=40),
    by=st.sampled_from([[], ["model_name"], ["team", "status"], ["currency"]]),
    asked=st.sets(st.tuples(st.sampled_from(PERCENTED), percents).map("_p".join), min_size=1, max_size=6),
)
def test_percentiles_by_name_are_those_of_the_values_in_between(
    rows: list[Row], by: list[str], asked: set[str]
) -> None:
    plain = grouped(rows, by) or ({} if by else {(): []})
    for native in frames(rows):
        found = breakdown(native, by, ["calls", *sorted(asked)])
        assert found.height == len(plain)
        for row in found.to_dicts():
            group = plain[tuple(row[name] for name in by)]
            for column in (name for name in row if "_p" in name):
                measure, of = measure_of_column(column) or ("", None)
                among = group if of is None else priced_in(group, of)
                assert_same(row[column], percentile(measure)(among), f"{column} of {group}")


@pytest.mark.proof
@settings(max_examples=trials(4, 100), deadline=None)
@given(
    units=st.lists(st.integers(0, 10**15 - 1), min_size=1, max_size=60),
    percent=st.integers(0, 1000).map(lambda tenths: tenths / 10),
)
def test_a_percentile_of_prices_is_exact_to_the_last_place(units: list[int], percent: float) -> None:
    prices = [Decimal(unit).scaleb(-10) for unit in units]
    expected = money_quantile(prices, Fraction(str(percent)) / 100)
    for native in frames([call(NOON, total_price=price) for price in prices]):
        assert breakdown(native, (), f"cost_p{percent}").item(0, 0) == expected


@each_engine
def test_percentiles_are_called_by_their_number(engine: str) -> None:
    rows = [call(NOON, latency_ms=ms, total_price=Decimal(ms) / 1000) for ms in (100, 200, 400)]
    found = breakdown(on(engine, rows), (), ["latency_p75", "latency_p99.9", "latency_p050", "cost_p10", "latency_p50"])
    assert found.rows(named=True) == [
        {"latency_p75": 300.0, "latency_p99.9": 399.6, "latency_p50": 200.0, "cost_p10": Decimal("0.12"),
         "currency": "USD"}
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no measure is called 'latency_p101'; percentiles go from latency_p0 to "):
        breakdown(on(engine, rows), (), "latency_p101")
    with pytest.raises(UsageError, match="the frame has no column 'latency_ms', which the measure 'latency_p75' needs"):
        breakdown(polars_frame(rows).drop("latency_ms"), (), "latency_p75")


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
    assert found.schema == {"weekday": pl.Int8, "model_name": pl.String, **expected, "currency": pl.String}


@each_engine
def test_several_currencies_are_columns_and_everything_else_is_there_once(engine: str) -> None:
    prices = (("USD", 1), ("EUR", 2), ("USD", 4), ("JPY", 300))
    rows = [*(call(NOON, currency=c, total_price=Decimal(p), model_name=c) for c, p in prices), call(NOON)]
    for measure in MONEY_MEASURES:
        columns = [f"{measure}_{of}" for of in ("USD", "EUR", "JPY")]
        assert breakdown(on(engine, rows), (), [measure]).columns == columns
    found = breakdown(on(engine, rows), "model_name", ["cost", "calls", "cost_per_call"])
    assert found.columns == [
        *("model_name", "cost_USD", "cost_EUR", "cost_JPY", "calls"),
        *("cost_per_call_USD", "cost_per_call_EUR", "cost_per_call_JPY"),
    ]
    assert found.rows() == [
        ("USD", 5, None, None, 2, Decimal("2.5"), None, None),
        ("EUR", None, 2, None, 1, None, 2, None),
        ("JPY", None, None, 300, 1, None, None, 300),
        ("m", None, None, None, 1, None, None, None),
    ]
    assert breakdown(on(engine, rows), "currency", ["cost", "calls"]).rows() == [
        ("JPY", 300, 1),
        ("USD", 5, 2),
        ("EUR", 2, 1),
        (None, None, 1),
    ]


@each_engine
def test_one_currency_is_said_in_every_row(engine: str) -> None:
    rows = [call(NOON, status="success", currency="EUR", total_price=Decimal(1)) for _ in range(6)]
    rows += [call(NOON, status="failed") for _ in range(4)]
    asked = ["calls", "success_rate", "coverage", "cost"]
    found = breakdown(on(engine, rows), (), asked)
    assert found.rows(named=True) == [
        {"calls": 10, "success_rate": 0.6, "coverage": 0.6, "cost": Decimal(6), "currency": "EUR"}
    ]
    assert breakdown(on(engine, rows), "status", "cost").rows() == [("success", 6, "EUR"), ("failed", None, "EUR")]
    assert breakdown(on(engine, rows[6:]), "status", "cost").rows() == [("failed", None, None)]
    assert breakdown(on(engine, rows), "status", ["calls"]).columns == ["status", "calls"]


@each_engine
def test_currency_stays_where_it_was_asked_for(engine: str) -> None:
    assert breakdown(on(engine, []), ["currency", "model_name"], ["cost"]).columns == ["currency", "model_name", "cost"]


@each_engine
@pytest.mark.parametrize("without", [["currency"], ["currency", "status"]])
def test_a_frame_without_currencies_is_in_dollars(engine: str, without: list[str]) -> None:
    frame = polars_frame([call(NOON, total_price=Decimal(2)), call(NOON)]).drop(without)
    natives: list[Native] = [frame, frame.lazy(), relation(frame)]
    native = natives[ENGINES[engine]]
    assert breakdown(native, (), ["cost", "calls"]).rows() == [(2, 2, "USD")]
    assert breakdown(native, "currency", ["cost", "calls"]).rows() == [("USD", 2, 1), (None, None, 1)]


@each_engine
def test_an_unpriced_call_is_unknown_not_free(engine: str) -> None:
    rows = [call(NOON), call(NOON, status="failed"), call(NOON, model_name="n", total_price=Decimal(0))]
    found = breakdown(on(engine, rows), ["model_name"], ["cost", "coverage", "wasted_cost", "cost_per_call"])
    assert found.rows() == [("n", 0, 1.0, 0, 0, "USD"), ("m", None, 0.0, None, None, "USD")]


@each_engine
def test_what_has_no_price_is_ordered_by_its_calls(engine: str) -> None:
    rows = [call(NOON, model_name=name) for name in ("a", "b", "b", "c", "c", "c")]
    assert breakdown(on(engine, rows), "model_name", "cost")["model_name"].to_list() == ["c", "b", "a"]
    priced = [call(NOON, model_name="z", total_price=Decimal(0), currency=of) for of in ("EUR", "USD")]
    for some in (priced[:1], priced):
        found = breakdown(on(engine, [*rows, *some]), "model_name", "cost_per_call")
        assert found["model_name"].to_list() == ["z", "c", "b", "a"]


@each_engine
def test_unknown_tokens_are_neither_zero_nor_counted(engine: str) -> None:
    known = {"prompt_tokens": 30, "completion_tokens": 10, "total_tokens": 40}
    none = dict.fromkeys(known)
    rows = [
        call(NOON, **known, latency_ms=1000, total_price=Decimal(1), cached_tokens=3),
        call(NOON, **none, latency_ms=4000, total_price=Decimal(9), cached_tokens=50),
        call(NOON, model_name="n", **none),
        call(NOON, model_name="n", **{**none, "prompt_tokens": 5}),
    ]
    asked = ["total_tokens", "prompt_tokens", "token_coverage", "cost_per_1k_tokens", "token_rate_overall"]
    found = breakdown(on(engine, rows), "model_name", [*asked, "cache_hit_rate"])
    assert found.rows() == [("m", 40, 30, 0.5, 25, 10.0, 0.1, "USD"), ("n", None, 5, 0.0, None, None, None, "USD")]


@each_engine
def test_requests_are_the_attempts_that_were_not_tried_again(engine: str) -> None:
    rows = [call(NOON, retried="true", status="failed")] * 2 + [call(NOON), call(NOON, status="timeout")]
    asked = ["calls", "requests", "success_rate", "request_success_rate"]
    assert breakdown(on(engine, rows), (), asked).row(0) == (4, 2, 0.25, 0.5)
    frame = polars_frame(rows).drop("retried")
    natives: list[Native] = [frame, frame.lazy(), relation(frame)]
    for by in ((), "model_name"):
        assert breakdown(natives[ENGINES[engine]], by, asked).row(0)[-4:] == (4, 4, 0.25, 0.25)
    assert breakdown(natives[ENGINES[engine]], (), "requests").row(0) == (4,)


@each_engine
def test_labels_and_further_columns_are_dimensions(engine: str) -> None:
    frame = polars_frame([call(NOON, **{"labels.feature": "a", "attempt": 2, "operation": "chat"}), call(NOON)])
    frame = frame.with_columns(big=pl.lit(True), since=pl.lit(NOON.date()), ratio=pl.lit(0.5), calls=pl.lit("x"))
    natives: list[Native] = [frame, frame.lazy(), relation(frame)]
    native = natives[ENGINES[engine]]
    by = ["labels.feature", "labels.operation", "attempt", "big", "since"]
    assert breakdown(native, by, "calls").rows() == [
        ("a", "chat", "2", "true", "2025-05-01", 1),
        (None, None, None, "true", "2025-05-01", 1),
    ]
    for wrong, message in (
        ("ratio", "no dimension is called 'ratio'"),
        ("calls", "no dimension is called 'calls'"),
        ("bigg", "no dimension is called 'bigg'; near it: big"),
        ("labels.feeture", "the frame has no column 'labels.feeture'; there are: labels.feature"),
        ("session.team", "the frame has no column 'session.team'; there are: session.plan"),
    ):
        with pytest.raises(UsageError, match=message):
            breakdown(native, wrong, "calls")


OWN = (
    Measure("slow", "Slow", "count", "calls", "Calls above a second.",
            Aggregate("count", where=(Condition("latency_ms", ">=", 1000),)), additive=True),
    Measure("slow_cost", "Slow cost", "money", "currency", "What they cost.",
            Aggregate("sum", "total_price", (Condition("latency_ms", ">=", 1000),))),
    Measure("top_cost_share", "Top cost share", "money", "currency", "Of the dearest call, for each call.",
            Ratio(Aggregate("max", "total_price"), Aggregate("count", "total_price"))),
    Measure("mean_speed", "Mean speed", "tokens/s", "tokens/s", "Mean of tokens_per_second.",
            Ratio(Aggregate("sum", "tokens_per_second"), Aggregate("count", "tokens_per_second"))),
    Measure("p50_speed", "Speed", "tokens/s", "tokens/s", "Median of tokens_per_second.",
            Aggregate("quantile", "tokens_per_second", quantile=0.5)),
    Measure("teams", "Teams", "count", "teams", "Different teams.", Aggregate("distinct", "team")),
    Measure("attempts", "Attempts", "count", "attempts", "Different attempts.", Aggregate("distinct", "attempt")),
    Measure("shortest", "Shortest", "ms", "ms", "Least latency.", Aggregate("min", "latency_ms")),
    Measure("per_token", "Per token", "ms", "ms", "Latency per token.",
            Aggregate("max", Quotient("x", "latency_ms", "prompt_tokens", (Condition("prompt_tokens", ">", 0),)))),
)  # fmt: skip


@each_engine
def test_measures_and_dimensions_of_ones_own_need_no_change_of_ours(engine: str) -> None:
    each = [(2000, "0.5", "red", 1.25, 4), (1, "2", "red", 2.128, 0), (1500, None, "blue", None, 3)]
    rows = [
        call(NOON, latency_ms=ms, total_price=price and Decimal(price), team=team, tokens_per_second=speed,
             prompt_tokens=tokens, attempt=1)
        for ms, price, team, speed, tokens in each
    ]  # fmt: skip
    crew = Dimension("crew", "Crew", "category", "The team.", ("team",))
    found = breakdown(on(engine, rows), (), OWN)
    assert found.columns == [*(entry.name for entry in OWN), "currency"]
    assert found.row(0) == (2, Decimal("0.5"), 1, 1.689, 1.689, 2, 1, 1, 500.0, "USD")
    by_crew = breakdown(on(engine, rows), crew, OWN[:2])
    assert by_crew.rows() == [("blue", 1, None, "USD"), ("red", 1, Decimal("0.5"), "USD")]
    several = [*rows, {**rows[0], "currency": "EUR"}]
    assert breakdown(on(engine, several), (), OWN[1:3]).rows(named=True) == [
        {"slow_cost_USD": Decimal("0.5"), "slow_cost_EUR": Decimal("0.5"),
         "top_cost_share_USD": Decimal(1), "top_cost_share_EUR": Decimal("0.5")}
    ]  # fmt: skip
    with pytest.raises(UsageError, match="two columns of the answer would be called 'slow'"):
        breakdown(on(engine, rows), Dimension("slow", "Slow", "category", "Slow.", ("team",)), OWN[:1])


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
        assert set(entry.needs) <= set(SCHEMA), entry.name
