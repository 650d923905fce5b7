"""A frame of calls holds exactly what was stored, or the source is refused by name."""

import json
import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import QueryFilter, UsageError, load_usage
from mofa_usage.errors import SerializationError
from mofa_usage.outcomes import status_of
from mofa_usage.reading.columns import CALL_COLUMNS, CALL_SCHEMA, JSON_COLUMNS
from mofa_usage.reading.rows import normalise
from mofa_usage.records import ApiCallStatus
from mofa_usage.values import read_currency
from tests.calls import COLUMNS, DETAILS, LABELS, MONEY, TIME
from tests.proofs import trials
from tests.strategies import text

NIL = "00000000-0000-0000-0000-000000000000"
ID = "0192f0c1-2b3c-7d4e-8f5a-6b7c8d9e0f1a"


def as_polars(frame: pl.DataFrame) -> Any:
    return frame


def as_lazy(frame: pl.DataFrame) -> Any:
    return frame.lazy()


def as_relation(frame: pl.DataFrame) -> Any:
    connection = duckdb.connect()
    connection.register("given", frame)
    return connection.sql("FROM given")


FOREIGN = pytest.mark.parametrize("foreign", [as_polars, as_lazy, as_relation])
Foreign = Callable[[pl.DataFrame], Any]


def test_the_schema_is_the_designed_one() -> None:
    assert dict(CALL_SCHEMA) == {name: dtype() if isinstance(dtype, type) else dtype for name, dtype in COLUMNS.items()}
    assert tuple(JSON_COLUMNS) == DETAILS
    assert list(CALL_COLUMNS) == [*COLUMNS, *DETAILS]


# --- money ----------------------------------------------------------------------------------------------------------

PRICES = st.integers(0, 10**15 - 1).map(lambda units: Decimal(units).scaleb(-10))


@settings(deadline=None)
@given(st.lists(PRICES, min_size=1, max_size=200))
def test_every_price_survives_being_a_double(prices: list[Decimal]) -> None:
    """5 digits before the point and 10 behind it, as SQLite keeps them (REAL) and as JSON numbers."""
    raw = pl.DataFrame(
        {
            "id": [ID] * len(prices),
            "total_price": [float(price) for price in prices],
            "price_details": [json.dumps({"input_price": float(price)}) for price in prices],
        }
    )
    calls = normalise(raw, ["total_price", "input_price"])
    assert calls.schema == {"total_price": MONEY, "input_price": MONEY}
    assert calls["total_price"].to_list() == prices
    assert calls["input_price"].to_list() == prices


@pytest.mark.proof
@settings(deadline=None, max_examples=trials(20, 100))
@given(st.lists(PRICES, min_size=1, max_size=50))
def test_every_price_survives_duckdb(prices: list[Decimal]) -> None:
    raw = pl.DataFrame(
        {
            "total_price": [float(price) for price in prices],
            "price_details": [f'{{"input_price": {price:f}}}' for price in prices],
        }
    )
    calls = load_usage(as_relation(raw), columns=["total_price", "input_price"]).frame
    assert calls.schema == {"total_price": MONEY, "input_price": MONEY}
    assert calls["total_price"].to_list() == prices
    assert calls["input_price"].to_list() == prices


@FOREIGN
def test_prices_at_the_edges(foreign: Foreign) -> None:
    numbers = ["0.1", "1e-7", "1E-10", "0", "99999.9999999999", "0.30000000000000004", "12345678.25"]
    raw = pl.DataFrame({"id": [ID] * len(numbers), "price_details": [f'{{"input_price":{n}}}' for n in numbers]})
    wanted = ["0.1000000000", "0.0000001000", "0.0000000001", "0", "99999.9999999999", "0.3000000000", "12345678.25"]
    frame = load_usage(foreign(raw), columns=["input_price"]).frame
    assert frame["input_price"].to_list() == [Decimal(number) for number in wanted]


@FOREIGN
@pytest.mark.parametrize(
    "prices",
    [
        pl.Series([float("nan")]),
        pl.Series([float("inf")]),
        pl.Series([Decimal("0.12345678901")], dtype=pl.Decimal(20, 11)),
        pl.Series(["0.1"]),
        pl.Series([True]),
    ],
    ids=["nan", "inf", "eleven places", "text", "flag"],
)
def test_what_is_no_exact_price_is_refused(foreign: Foreign, prices: pl.Series) -> None:
    raw = pl.DataFrame({"id": [ID], "total_price": prices})
    with pytest.raises(UsageError, match=r"total_price|DECIMAL"):
        _ = load_usage(foreign(raw)).frame


@FOREIGN
def test_prices_of_other_exact_types(foreign: Foreign) -> None:
    for values, dtype in (
        ([1, 2], pl.Int32),
        ([Decimal("1"), Decimal("2")], pl.Decimal(10, 2)),
        ([Decimal("1"), Decimal("2")], pl.Decimal(30, 12)),
        ([1.0, 2.0], pl.Float32),
    ):
        frame = load_usage(foreign(pl.DataFrame({"total_price": pl.Series(values, dtype=dtype)}))).frame
        assert frame.schema["total_price"] == MONEY
        assert frame["total_price"].to_list() == [Decimal(1), Decimal(2)]
        assert frame["currency"].to_list() == ["USD", "USD"]


# --- times ----------------------------------------------------------------------------------------------------------

TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda time: time.replace(tzinfo=UTC))


def written(time: datetime, digits: int, zone: str) -> str:
    """RFC 3339 as Rust writes it, with so many digits of a second; what they cut off is not in the time."""
    fraction = f"{time.microsecond:06d}789"[:digits] if digits else ""
    return time.strftime("%Y").zfill(4) + time.strftime("-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + zone


@settings(deadline=None)
@given(st.lists(st.tuples(TIMES, st.sampled_from([0, 3, 6, 9]), st.sampled_from(["Z", "+00:00"])), min_size=1))
def test_text_times_are_read_to_the_microsecond(cases: list[tuple[datetime, int, str]]) -> None:
    raw = pl.DataFrame({"create_time": [written(*case) for case in cases]})
    wanted = [
        time.replace(
            microsecond=time.microsecond // 10 ** (6 - digits) * 10 ** (6 - digits) if digits < 6 else time.microsecond
        )
        for time, digits, _ in cases
    ]
    frame = normalise(raw, ["create_time"])
    assert frame.schema == {"create_time": TIME}
    assert frame["create_time"].to_list() == wanted


@FOREIGN
def test_times_in_other_zones_and_units(foreign: Foreign) -> None:
    instant = datetime(2026, 3, 1, 11, 30, 0, 123_000, tzinfo=UTC)
    texts = ["2026-03-01T11:30:00.123Z", "2026-03-01T12:30:00.123+01:00", "2026-03-01T11:30:00.123000999+00:00"]
    frame = load_usage(foreign(pl.DataFrame({"create_time": texts})), columns=["create_time"]).frame
    assert frame["create_time"].to_list() == [instant] * 3
    for dtype in (pl.Datetime("ms", "Asia/Tokyo"), pl.Datetime("us", "UTC")):
        times = pl.DataFrame({"create_time": pl.Series([instant]).cast(dtype)})
        frame = load_usage(foreign(times), columns=["create_time"]).frame
        assert frame.schema == {"create_time": TIME}
        assert frame["create_time"].to_list() == [instant]


@FOREIGN
@pytest.mark.parametrize("time", ["2026-03-01T11:30:00", "2026-03-01", "yesterday", ""])
def test_text_without_a_zone_is_no_time(foreign: Foreign, time: str) -> None:
    with pytest.raises(UsageError, match="create_time"):
        _ = load_usage(foreign(pl.DataFrame({"id": [ID], "create_time": [time]}))).frame


@FOREIGN
def test_a_time_column_without_a_zone_is_refused_with_advice(foreign: Foreign) -> None:
    naive = pl.DataFrame({"create_time": [datetime(2026, 3, 1)]})
    with pytest.raises(UsageError, match=r"create_time is .*zone is unknown.*UTC"):
        load_usage(foreign(naive))
    with pytest.raises(UsageError, match="create_time"):
        load_usage(foreign(pl.DataFrame({"create_time": [date(2026, 3, 1)]})))


@FOREIGN
def test_no_call_ends_before_it_began(foreign: Foreign) -> None:
    begun = datetime(2026, 3, 1, tzinfo=UTC)
    raw = pl.DataFrame({"create_time": [begun, begun], "update_time": [begun - timedelta(1), begun + timedelta(1)]})
    wanted = [begun, begun + timedelta(1)]
    assert load_usage(foreign(raw)).frame["update_time"].to_list() == wanted
    assert load_usage(foreign(raw), columns=["update_time"]).frame["update_time"].to_list() == wanted


# --- text, ids, status ----------------------------------------------------------------------------------------------


@FOREIGN
def test_ids_statuses_and_currencies_have_one_form(foreign: Foreign) -> None:
    raw = pl.DataFrame(
        {
            "id": [ID.upper(), ID],
            "tenant_id": [None, ID],
            "status": ["exploded", "timeout"],
            "currency": [None, "EUR"],
            "total_price": [1.0, 2.0],
        }
    )
    frame = load_usage(foreign(raw)).frame
    assert frame["id"].to_list() == [ID, ID]
    assert frame["tenant_id"].to_list() == [NIL, ID]
    assert frame["status"].to_list() == ["failed", "timeout"]
    assert frame["currency"].to_list() == ["USD", "EUR"]


@FOREIGN
def test_every_status_is_known(foreign: Foreign) -> None:
    statuses = [*map(str, ApiCallStatus), "exploded", "", None]
    frame = load_usage(foreign(pl.DataFrame({"status": statuses}))).frame
    assert frame["status"].to_list() == [*map(str, ApiCallStatus), "failed", "failed", "failed"]


@FOREIGN
def test_a_status_may_be_said_in_other_words(foreign: Foreign) -> None:
    words = [
        "OK",
        "SUCCESS",
        "ERROR",
        "Rate-Limited",
        "timed out",
        "STATUS_CODE_UNSET",
        "Canceled",
        "200",
        "429",
        "504",
    ]
    frame = load_usage(foreign(pl.DataFrame({"status": words}))).frame
    assert frame["status"].to_list() == [str(status_of(word)) for word in words]


def test_ids_of_sixteen_bytes_become_text() -> None:
    raw = pl.DataFrame({"id": [UUID(ID).bytes], "user_id": pl.Series([None], dtype=pl.Binary)})
    frame = load_usage(raw).frame
    assert frame["id"].to_list() == [ID]
    assert frame["user_id"].to_list() == [NIL]
    with pytest.raises(UsageError, match="id of"):
        load_usage(pl.DataFrame({"id": [b"short"]}))


def test_uuids_and_enums_of_duckdb_become_text() -> None:
    relation = duckdb.connect().sql(f"SELECT '{ID.upper()}'::UUID AS id, 'success'::ENUM('success') AS status")
    row = {name: value for name, value in load_usage(relation).frame.row(0, named=True).items() if value is not None}
    assert row == {"id": ID, "status": "success", "operation": "chat", "token_source": "provider"}


@FOREIGN
def test_whole_numbers_in_floats_are_counts_and_others_are_refused(foreign: Foreign) -> None:
    frame = load_usage(foreign(pl.DataFrame({"prompt_tokens": [1.0, None, 3.0]}))).frame
    assert frame["prompt_tokens"].to_list() == [1, None, 3]
    assert frame.schema["prompt_tokens"] == pl.Int64
    for wrong in (1.5, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=r"prompt_tokens|INT64"):
            _ = load_usage(foreign(pl.DataFrame({"prompt_tokens": [1.0, wrong]}))).frame
    with pytest.raises(UsageError, match="prompt_tokens is"):
        load_usage(foreign(pl.DataFrame({"prompt_tokens": ["12"]})))


def test_numbers_that_64_bits_do_not_hold_are_refused_by_name_and_call() -> None:
    raw = pl.DataFrame({"id": ["other", ID], "latency_ms": pl.Series([1, 2**64 - 1], dtype=pl.UInt64)})
    with pytest.raises(UsageError, match=f"latency_ms of the call {ID} is '18446744073709551615'"):
        load_usage(raw)


# --- details --------------------------------------------------------------------------------------------------------


def details(**columns: list[str | None]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    return pl.DataFrame({"id": [f"call-{number}" for number in range(count)], **columns})


@FOREIGN
def test_details_are_taken_apart(foreign: Foreign) -> None:
    raw = details(
        prompt_tokens_details=['{"cached_tokens":12,"audio_tokens":3,"x":{"y":[1,2]}}', "{}", None, "null"],
        completion_tokens_details=['{"reasoning_tokens": 7 }', '{"audio_tokens":null}', None, '{"audio_tokens":5}'],
        price_details=['{"input_price":0.1,"currency":"\\u20acuro"}', '{"output_price":2}', None, '{"currency":null}'],
    )
    frame = load_usage(foreign(raw)).frame.drop("id", "agent_code", "agent_name", "provider_name", *LABELS)
    assert frame.to_dict(as_series=False) == {
        "cached_tokens": [12, None, None, None],
        "cache_write_tokens": [None] * 4,
        "cache_write_5m_tokens": [None] * 4,
        "cache_write_1h_tokens": [None] * 4,
        "prompt_audio_tokens": [3, None, None, None],
        "reasoning_tokens": [7, None, None, None],
        "completion_audio_tokens": [None, None, None, 5],
        "input_price": [Decimal("0.1"), None, None, None],
        "output_price": [None, Decimal(2), None, None],
        "token_source": ["provider"] * 4,
        "currency": ["€uro", None, None, None],  # nothing says that these have prices
    }


@FOREIGN
@pytest.mark.parametrize(
    "wrong", ["{bad", "", '{"cached_tokens":1} x', '{"cached_tokens":1},{"cached_tokens":2}', "{'a':1}"]
)
def test_broken_details_name_the_call(foreign: Foreign, wrong: str) -> None:
    raw = details(prompt_tokens_details=["{}", wrong, "{}"])
    with pytest.raises(UsageError, match="prompt_tokens_details of the call call-1 "):
        _ = load_usage(foreign(raw)).frame


@pytest.mark.parametrize(
    "wrong", ['{"cached_tokens":"many"}', '{"cached_tokens":[1]}', "[1]", "12", '{"cached_tokens":1.5}']
)
def test_details_of_other_kinds_name_the_call(wrong: str) -> None:
    raw = details(prompt_tokens_details=["{}", wrong])
    with pytest.raises(SerializationError, match=r"(prompt_tokens_details|cached_tokens) of the call call-1 "):
        normalise(raw, ["id", "cached_tokens"], error=SerializationError)


def test_unusual_details_are_read_all_the_same() -> None:
    raw = details(price_details=['{"input_price":"0.1"}', '{"input_price":0.2,"x":1e999}', None])
    assert normalise(raw, ["input_price"])["input_price"].to_list() == [Decimal("0.1"), Decimal("0.2"), None]


@settings(deadline=None)
@given(
    st.lists(st.none() | st.fixed_dictionaries({}, optional={"currency": st.none() | text(), "x": text()}), min_size=1)
)
def test_currencies_of_any_text_come_out_of_json(drawn: list[dict[str, Any] | None]) -> None:
    raw = details(price_details=[None if one is None else json.dumps(one) for one in drawn])
    raw = raw.with_columns(total_price=1)
    wanted = [read_currency((one or {}).get("currency")) for one in drawn]
    assert normalise(raw, ["currency"])["currency"].to_list() == wanted


# --- choosing -------------------------------------------------------------------------------------------------------


def sample(count: int = 300) -> pl.DataFrame:
    generator = random.Random(7)
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "id": [f"{number:08x}-0000-0000-0000-000000000000" for number in generator.sample(range(10**6), count)],
            "user_id": [str(UUID(int=generator.randrange(3))) for _ in range(count)],
            "model_name": [generator.choice(["gpt-4", "GPT-4", "gpt-4 ", "o'x"]) for _ in range(count)],
            "status": [generator.choice(["success", "failed", "timeout", "odd"]) for _ in range(count)],
            "create_time": [begin + timedelta(seconds=generator.randrange(100)) for _ in range(count)],
        }
    )


@FOREIGN
@pytest.mark.parametrize("seed", range(12))
def test_filters_choose_the_rows_that_python_would(foreign: Foreign, seed: int) -> None:
    generator = random.Random(seed)
    rows = sample()
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    edges = sorted(begin + timedelta(seconds=generator.randrange(100)) for _ in range(2))
    chosen: dict[str, Any] = {
        "user_id": UUID(int=generator.randrange(3)),
        "model_name": generator.choice(["gpt-4", "gpt-4 ", "o'x"]),
        "status": generator.choice([ApiCallStatus.FAILED, ApiCallStatus.SUCCESS]),
        "start_time": edges[0],
        "end_time": edges[1],
        "limit": generator.randrange(5),
        "offset": generator.randrange(3),
    }
    chosen = {name: value for name, value in chosen.items() if generator.random() < 0.5}
    end = begin + timedelta(seconds=80)

    wanted = [
        row
        for row in rows.iter_rows(named=True)
        if ("user_id" not in chosen or row["user_id"] == str(chosen["user_id"]))
        and ("model_name" not in chosen or row["model_name"] == chosen["model_name"])
        and ("status" not in chosen or {"odd": "failed"}.get(row["status"], row["status"]) == chosen["status"])
        and ("start_time" not in chosen or row["create_time"] >= chosen["start_time"])
        and ("end_time" not in chosen or row["create_time"] <= chosen["end_time"])
        and row["create_time"] < end
    ]
    wanted.sort(key=lambda row: (row["create_time"], row["id"]), reverse=True)
    ids = [row["id"] for row in wanted]
    if "limit" in chosen or "offset" in chosen:
        ids = ids[chosen.get("offset", 0) :][: chosen.get("limit", len(ids))]
        found = load_usage(foreign(rows), QueryFilter(**chosen), end=end, columns=["id"]).frame["id"].to_list()
    else:
        found = sorted(load_usage(foreign(rows), QueryFilter(**chosen), end=end, columns=["id"]).frame["id"].to_list())
        ids.sort()
    assert found == ids


@FOREIGN
def test_only_the_columns_asked_for_in_their_order(foreign: Foreign) -> None:
    frame = load_usage(foreign(sample()), columns=["status", "agent_name", "id", "status"]).frame
    assert frame.columns == ["status", "agent_name", "id"]
    assert frame["agent_name"].null_count() == frame.height


@FOREIGN
def test_missing_columns_are_named(foreign: Foreign) -> None:
    with pytest.raises(UsageError, match="no column latency_ms; it has id, user_id"):
        load_usage(foreign(sample()), columns=["latency_ms"])
    with pytest.raises(UsageError, match="no column is called 'tokens'"):
        load_usage(foreign(sample()), columns=["tokens"])
    with pytest.raises(UsageError, match="no column create_time"):
        load_usage(foreign(sample().drop("create_time")), start="2026-01-01")
    with pytest.raises(UsageError, match="these are no calls"):
        load_usage(foreign(pl.DataFrame({"a": [1]})))
    with pytest.raises(UsageError, match="list of column names"):
        load_usage(foreign(sample()), columns="id")
    with pytest.raises(UsageError, match="columns is empty"):
        load_usage(foreign(sample()), columns=[])


@FOREIGN
def test_dates_are_days_of_the_zone(foreign: Foreign) -> None:
    midnights = [datetime(2026, 3, 29, tzinfo=UTC) + timedelta(hours=hour) for hour in range(-3, 27)]
    raw = pl.DataFrame({"create_time": midnights})
    usage = load_usage(foreign(raw), start="2026-03-29", end=date(2026, 3, 30), tz="Europe/Berlin")
    # The day that loses an hour: from 23:00 to 22:00 UTC.
    assert sorted(usage.frame["create_time"].to_list()) == [time for time in midnights if -1 <= hours(time) < 22]
    with pytest.raises(UsageError, match="no time zone"):
        load_usage(foreign(raw), start=datetime(2026, 3, 29))
    offset = timezone(timedelta(hours=5))
    usage = load_usage(foreign(raw), start=datetime(2026, 3, 29, 5, tzinfo=offset), end="2026-03-29T02:00:00Z")
    assert sorted(usage.frame["create_time"].to_list()) == [time for time in midnights if 0 <= hours(time) < 2]


def hours(time: datetime) -> float:
    return (time - datetime(2026, 3, 29, tzinfo=UTC)) / timedelta(hours=1)
