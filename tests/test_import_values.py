"""Values of sources: times, money, counts; what does not fit is refused with the reason."""

import csv
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from mofa_usage.records import PriceDetails
from tests.imports import CALL, GOOD, HEADER, imported, imported_one, imported_row, write, write_jsonl


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-05-01T10:00:00.1234569Z", "2026-05-01T10:00:00.123456"),
        ("2026-05-01 10:00:00.1234569", "2026-05-01T10:00:00.123456"),
        ("2026-05-01T12:00:00+02:00", "2026-05-01T10:00:00"),
        ("2026-05-01 10:00:00 UTC", "2026-05-01T10:00:00"),
        ("2026-05-01", "2026-05-01T00:00:00"),
        ("20260501100000", "2026-05-01T10:00:00"),
        ("202605011000", "2026-05-01T10:00:00"),
        ("20260501100000.25", "2026-05-01T10:00:00.250000"),
        ("20260501100000123", "2026-05-01T10:00:00.123000"),
        ("20260501100000123456", "2026-05-01T10:00:00.123456"),
        ("20260501T100000Z", "2026-05-01T10:00:00"),
        ("2026/05/01 10:00:00", "2026-05-01T10:00:00"),
        ("2026-05-01T12:00:00+02:00[Europe/Berlin]", "2026-05-01T10:00:00"),
        ('"Fri, 01 May 2026 10:00:00 GMT"', "2026-05-01T10:00:00"),
        ('"Fri, 01 May 2026 12:00:00 +0200"', "2026-05-01T10:00:00"),
        ('"Fri, 01 May 2026 10:00:00 -0000"', "2026-05-01T10:00:00"),
        ("1777629600", "2026-05-01T10:00:00"),
        ("1777629600.123456789", "2026-05-01T10:00:00.123456"),
        ("1777629600123", "2026-05-01T10:00:00.123000"),
        ("1777629600123456", "2026-05-01T10:00:00.123456"),
        ("1777629600123456789", "2026-05-01T10:00:00.123456"),
    ],
)
async def test_times(tmp_path: Path, written: str, read: str) -> None:
    source = write(tmp_path / "a.csv", HEADER, f"{written},gpt-4,10,5")
    assert (await imported_one(source)).create_time == datetime.fromisoformat(read + "+00:00")


@pytest.mark.parametrize("value", ["2026-05-01T12:00:00[Europe/Berlin]", "05/01/2026 12:00", {"seconds": 1777629600}])
async def test_what_is_no_time_is_refused(tmp_path: Path, value: object) -> None:
    result, _ = await imported(write_jsonl(tmp_path / "a.jsonl", CALL | {"timestamp": value}))
    assert "create_time is not a time" in result.reasons[0].reason


async def test_a_time_as_mongodb_exports_it(tmp_path: Path) -> None:
    call = await imported_row(tmp_path, CALL | {"timestamp": {"$date": "2026-05-01T10:00:00Z"}})
    assert call.create_time.hour == 10


async def test_times_without_a_zone_are_of_the_zone_asked_for(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.csv",
        HEADER,
        "2026-03-29 01:30,gpt-4,1,1",  # winter
        "2026-03-29 03:30,gpt-4,2,1",  # summer
        "2026-10-25 02:30,gpt-4,3,1",  # there twice: the earlier
        "2026-10-25T02:30Z,gpt-4,4,1",
        "20260329033000,gpt-4,5,1",
    )
    result, calls = await imported(source, tz="Europe/Berlin")
    hours = {call.prompt_tokens: call.create_time.strftime("%H:%M") for call in calls}
    assert hours == {1: "00:30", 2: "01:30", 3: "00:30", 4: "02:30", 5: "01:30"}
    assert (result.zoneless_times, result.tz) == (4, "Europe/Berlin")


@pytest.mark.parametrize(
    "line",
    ['{"total_price": 0.1234567891, %s}', '{"total_price": "0.1234567891", %s}', '{"total_price": 1234567891e-10, %s}'],
)
async def test_money_never_passes_through_a_float(tmp_path: Path, line: str) -> None:
    rest = '"create_time": "2026-05-01T10:00:00Z", "prompt_tokens": 1, "completion_tokens": 1'
    details = ', "price_details": {"input_price": 12345.1234567891, "note": 0.5}'
    call = await imported_one(write(tmp_path / "a.jsonl", line % (rest + details)))
    assert call.total_price == Decimal("0.1234567891")
    assert call.price_details == PriceDetails.model_validate({"input_price": Decimal("12345.1234567891"), "note": 0.5})


@pytest.mark.parametrize(
    ("written", "stored", "was_rounded"),
    [
        ("0.1234567891", "0.1234567891", False),
        ("1e-10", "0.0000000001", False),
        ("0.10000000000000000000", "0.1", False),
        ("2.0000000000000002e-05", "0.00002", True),  # a sum of doubles
        ("0.30000000000000004", "0.3", True),
        ("0.00013350000000000002", "0.0001335", True),
        ("1234.5678999999999", "1234.5679", True),
    ],
)
@pytest.mark.parametrize("column", ["spend", "cost_usd", "total_cost", "price_details.input_price"])
async def test_the_noise_of_doubles_is_rounded_and_counted(
    tmp_path: Path, written: str, stored: str, was_rounded: bool, column: str
) -> None:
    plain = column.rpartition(".")[2]
    result, [call] = await imported(write(tmp_path / "a.csv", f"{HEADER},{plain}", f"{GOOD},{written}"))
    assert (call.price_details.input_price if call.price_details else call.total_price) == Decimal(stored)
    assert result.rounded_prices == was_rounded
    assert ("1 price rounded to 10 decimal places" in str(result)) == was_rounded


@pytest.mark.parametrize(
    ("said", "total", "currency"),
    [
        ({"cost": {"total": 0.5, "input": 0.3}}, "0.5", "USD"),
        ({"cost": {"amount": "0.5", "currency": "eur"}}, "0.5", "EUR"),
        ({"usage": {"cost": {"total_cost": 0.5, "request_cost": 0.1}}}, "0.5", "USD"),  # Perplexity's
        ({"usage": {"cost": 0.5}, "cost": {}}, "0.5", "USD"),
        ({"costDetails": {"total": 0.5}}, "0.5", "USD"),
        ({"cost": {"unheard": 0.5}}, None, "USD"),
    ],
)
async def test_a_price_inside_an_object(tmp_path: Path, said: dict[str, Any], total: str | None, currency: str) -> None:
    call = await imported_row(tmp_path, CALL | said)
    assert call.total_price == (None if total is None else Decimal(total))
    assert (call.price_details or PriceDetails()).currency == currency


async def test_what_was_done_to_refused_rows_is_not_counted(tmp_path: Path) -> None:
    row = "2026-05-01 10:00:00,gpt-4,10,5,0.30000000000000004"
    result, _ = await imported(write(tmp_path / "a.csv", f"{HEADER},cost,status", f"{row},OK", f"{row},maybe"))
    assert (result.stored, result.rejected, result.zoneless_times, result.rounded_prices) == (1, 1, 1, 1)


async def test_longer_prices_are_refused_unless_rounding_is_asked_for(tmp_path: Path) -> None:
    prices = ("0.00000000005", "0.12345678912", "0.1234567890123456789")
    source = write(tmp_path / "a.csv", f"{HEADER},cost", *(f"{GOOD},{price}" for price in prices))
    result, _ = await imported(source)
    assert result.rejected == 3
    assert "more than 10 decimal places; --round-prices" in result.reasons[0].reason
    result, calls = await imported(source, round_prices=True)
    found = sorted(call.total_price for call in calls if call.total_price is not None)
    assert found == [0, Decimal("0.1234567890"), Decimal("0.1234567891")]
    assert result.rounded_prices == 3


async def test_counts_that_pandas_wrote_as_floats(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},latency_ms", "2026-05-01T10:00:00Z,gpt-4,10.0,5.0,1234.6")
    call = await imported_one(source)
    assert (call.prompt_tokens, call.completion_tokens, call.latency_ms) == (10, 5, 1235)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("prompt_tokens", "10.5", "prompt_tokens is not a whole number"),
        ("prompt_tokens", "ten", "prompt_tokens is not a number"),
        ("prompt_tokens", "1_000", "prompt_tokens is not a number"),
        ("prompt_tokens", "1.000", "prompt_tokens may be in thousands, or a decimal fraction"),
        ("prompt_tokens", "1,163", "prompt_tokens is not a number"),
        ("prompt_tokens", "-1", "prompt_tokens must not be negative"),
        ("prompt_tokens", "1e300", "prompt_tokens is out of range"),
        ("create_time", "", "create_time is missing"),
        ("create_time", "yesterday", "create_time is not a time"),
        ("create_time", "20260501", "create_time is a number that is no time"),
        ("create_time", "0001-01-01T00:00:00+14:00", "create_time: the time does not exist in UTC"),
        ("update_time", "2026-05-01T09:59:59Z", "update_time must not be before create_time"),
        ("status", "maybe", "status is not one of success, failed"),
        ("total_price", "$1", "total_price is not a number"),
        ("total_price", "100000", "total_price: "),
        ("total_price", "NaN", "total_price is not a number"),
        ("user_id", "alice", "user_id is not a UUID"),
        ("total_tokens", "14", "total_tokens contradicts the prompt and completion tokens"),
        ("prompt_audio_tokens", "11", "audio_tokens exceed prompt_tokens"),
        ("price_details", "{", "price_details is not JSON"),
        ("price_details", "[1]", "price_details is not a JSON object"),
        ("tokens_per_second", "1e999", "tokens_per_second"),
        ("latency_ms", "9" * 15, "latency_ms"),
        ("error_message", "a\0b", "error_message: text must not hold a NUL character"),
    ],
)
async def test_a_value_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, column: str, value: str, reason: str
) -> None:
    row = dict(zip(HEADER.split(","), GOOD.split(","), strict=True)) | {column: value}
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    result, calls = await imported(tmp_path / "a.csv")
    assert calls == []
    assert [(found.lines, found.count) for found in result.reasons] == [((2,), 1)]
    assert result.reasons[0].reason.startswith(reason)
