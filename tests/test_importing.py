"""Importing calls from files: what is read, what is refused and why, and that nothing is stored twice."""

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofa_usage.demo.sample import sample_path
from mofa_usage.errors import ConstraintError, UsageError
from mofa_usage.importing import ImportResult, import_calls
from mofa_usage.records import NIL_UUID, ApiCallStatus, LLMApiCall, PriceDetails, QueryFilter, TokenDetails
from mofa_usage.stores import InMemoryStore, connect
from tests import strategies
from tests.proofs import trials

HEADER = "create_time,model_name,prompt_tokens,completion_tokens"
GOOD = "2026-05-01T10:00:00Z,gpt-4,10,5"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


def write_jsonl(path: Path, *rows: object) -> Path:
    return write(path, *map(json.dumps, rows))


async def imported(source: Path, **options: Any) -> tuple[ImportResult, list[LLMApiCall]]:
    """Import into a new store; the result and the calls, oldest first."""
    store = InMemoryStore()
    result = await import_calls(store, source, **options)
    return result, (await store.query_api_calls(QueryFilter()))[::-1]


async def imported_one(source: Path, **options: Any) -> LLMApiCall:
    result, calls = await imported(source, **options)
    assert (result.stored, result.reasons) == (1, ())
    return calls[0]


# The Azure trace


async def test_the_azure_trace_needs_no_mapping() -> None:
    with gzip.open(sample_path("azure-code"), "rt") as trace:
        lines = [line.strip().split(",") for line in trace][1:]
    result, calls = await imported(sample_path("azure-code"))
    assert (result.rows, result.stored, result.rejected) == (8819, 8819, 0)
    assert len(calls) == 8819
    assert sum(call.prompt_tokens for call in calls) == sum(int(line[1]) for line in lines)
    assert sum(call.completion_tokens for call in calls) == sum(int(line[2]) for line in lines)
    assert sum(call.total_tokens for call in calls) == sum(int(line[1]) + int(line[2]) for line in lines)
    assert calls[0].create_time == datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)
    assert {call.model_name for call in calls} == {"unknown"}
    assert {call.total_price for call in calls} == {None}
    assert (result.zoneless_times, result.tz) == (8819, "UTC")
    assert result.start == calls[0].create_time
    assert result.end == calls[-1].create_time


# What is completed


async def test_what_a_row_does_not_say_is_completed(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},latency_ms", f"{GOOD},1500")
    call = await imported_one(source)
    start = datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert call.create_time == start
    assert call.update_time == start + timedelta(milliseconds=1500)
    assert call.total_tokens == 15
    assert call.status is ApiCallStatus.SUCCESS
    nil = (call.chat_session_id, call.agent_id, call.user_id, call.tenant_id, call.request_message_id)
    assert set(nil) == {NIL_UUID}
    unknown = ("total_price", "price_details", "prompt_tokens_details", "time_to_first_token_ms", "api_response_id")
    assert {name: getattr(call, name) for name in unknown} == dict.fromkeys(unknown)


async def test_a_row_with_an_error_failed_and_may_lack_tokens(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},error_code", "2026-05-01T10:00:00Z,gpt-4,,,429")
    call = await imported_one(source)
    assert (call.status, call.error_code) == (ApiCallStatus.FAILED, "429")
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == (0, 0, 0)


async def test_tokens_follow_from_the_total(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "create_time,prompt_tokens,total_tokens", "2026-05-01T10:00:00Z,10,17")
    assert (await imported_one(source)).completion_tokens == 7


async def test_defaults_fill_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", HEADER, GOOD, GOOD.replace("gpt-4", ""))
    tenant = "0191d2a4-7d3c-7000-8000-000000000001"
    defaults = {"model_name": "mini", "tenant_id": tenant, "price_details.currency": "EUR", "total_price": "0.5"}
    _, calls = await imported(source, defaults=defaults)
    assert sorted(call.model_name for call in calls) == ["gpt-4", "mini"]
    assert {call.tenant_id for call in calls} == {UUID(tenant)}
    assert {call.price_details for call in calls} == {PriceDetails(currency="EUR")}
    assert {call.total_price for call in calls} == {Decimal("0.5")}


# Columns


async def test_a_mapping_names_columns_and_keys_of_details(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "when;what;in;out;hits;note", "2026-05-01T10:00:00Z;gpt-4;10;5;4;x")
    mapping = {
        "create_time": "when",
        "model_name": "what",
        "prompt_tokens": "in",
        "completion_tokens": "out",
        "prompt_tokens_details.cached_tokens": "hits",
    }
    result, [call] = await imported(source, mapping=mapping)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=4)
    assert (call.model_name, call.prompt_tokens, call.completion_tokens) == ("gpt-4", 10, 5)
    assert result.columns == mapping
    assert result.ignored == ("note",)


async def test_the_flat_columns_of_our_own_export_come_back(tmp_path: Path) -> None:
    flat = "cached_tokens,cache_write_tokens,prompt_audio_tokens,reasoning_tokens,completion_audio_tokens"
    source = write(
        tmp_path / "a.csv",
        f"{HEADER},{flat},total_price,input_price,output_price,currency",
        f"{GOOD},4,3,2,1,0,3,1,2,EUR",
    )
    call = await imported_one(source)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=4, cache_write_tokens=3, audio_tokens=2)
    assert call.completion_tokens_details == TokenDetails(reasoning_tokens=1, audio_tokens=0)
    assert call.price_details == PriceDetails(input_price=Decimal(1), output_price=Decimal(2), currency="EUR")
    assert call.total_price == Decimal(3)


async def test_a_field_mapped_to_none_is_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},user_id", f"{GOOD},alice")
    assert (await imported(source))[0].rejected == 1
    assert (await imported_one(source, mapping={"user_id": None})).user_id == NIL_UUID


async def test_text_ids_become_the_same_uuid_every_time(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},user_id,agent_id", f"{GOOD},alice,alice", f"{GOOD},alice,bob")
    _, calls = await imported(source, text_ids=True)
    assert len({call.user_id for call in calls}) == 1
    assert len({call.agent_id for call in calls} | {call.user_id for call in calls}) == 3


async def test_a_saved_openai_response(tmp_path: Path) -> None:
    row = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1777629600,
        "model": "gpt-4.1",
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 30,
            "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 20, "accepted_prediction_tokens": 0},
        },
    }
    call = await imported_one(write_jsonl(tmp_path / "a.jsonl", row))
    assert (call.api_response_id, call.model_name) == ("chatcmpl-1", "gpt-4.1")
    assert call.create_time == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=64, audio_tokens=0)
    assert call.completion_tokens_details == TokenDetails.model_validate(
        {"reasoning_tokens": 20, "accepted_prediction_tokens": 0}
    )


async def test_anthropics_cached_tokens_are_added_to_the_prompt_once(tmp_path: Path) -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 20, "output_tokens": 5}
    row = {"id": "msg_1", "created_at": "2026-05-01T10:00:00Z", "model": "claude", "usage": usage}
    call = await imported_one(write_jsonl(tmp_path / "a.jsonl", row))
    assert (call.prompt_tokens, call.completion_tokens, call.total_tokens) == (100, 5, 105)
    assert call.prompt_tokens_details == TokenDetails(cached_tokens=70, cache_write_tokens=20)


async def test_cached_tokens_that_the_prompt_contains_are_not_added(tmp_path: Path) -> None:
    row = {
        "startTime": 1777629600.5,
        "endTime": 1777629602.25,
        "model": "gpt-4.1",
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "cache_read_input_tokens": 70,
        "response_cost": 0.25,
        "status": "failure",
    }
    call = await imported_one(write_jsonl(tmp_path / "a.jsonl", row))
    assert (call.prompt_tokens, call.prompt_tokens_details) == (100, TokenDetails(cached_tokens=70))
    assert call.create_time == datetime(2026, 5, 1, 10, 0, 0, 500_000, tzinfo=UTC)
    assert call.update_time - call.create_time == timedelta(seconds=1.75)
    assert (call.total_price, call.status) == (Decimal("0.25"), ApiCallStatus.FAILED)


# Values


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-05-01T10:00:00.1234569Z", "2026-05-01T10:00:00.123456"),
        ("2026-05-01 10:00:00.1234569", "2026-05-01T10:00:00.123456"),
        ("2026-05-01T12:00:00+02:00", "2026-05-01T10:00:00"),
        ("2026-05-01 10:00:00 UTC", "2026-05-01T10:00:00"),
        ("2026-05-01", "2026-05-01T00:00:00"),
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


async def test_times_without_a_zone_are_of_the_zone_asked_for(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.csv",
        HEADER,
        "2026-03-29 01:30,gpt-4,1,1",  # winter
        "2026-03-29 03:30,gpt-4,2,1",  # summer
        "2026-10-25 02:30,gpt-4,3,1",  # there twice: the earlier
        "2026-10-25T02:30Z,gpt-4,4,1",
    )
    result, calls = await imported(source, tz="Europe/Berlin")
    hours = {call.prompt_tokens: call.create_time.strftime("%H:%M") for call in calls}
    assert hours == {1: "00:30", 2: "01:30", 3: "00:30", 4: "02:30"}
    assert (result.zoneless_times, result.tz) == (3, "Europe/Berlin")


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


async def test_longer_prices_are_refused_unless_rounding_is_asked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},cost", f"{GOOD},0.00013350000000000002", f"{GOOD},0.00000000005")
    result, _ = await imported(source)
    assert result.rejected == 2
    assert "more than 10 decimal places" in result.reasons[0].reason
    _, calls = await imported(source, round_prices=True)
    assert sorted(call.total_price for call in calls if call.total_price is not None) == [0, Decimal("0.0001335")]


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
        ("prompt_tokens", "-1", "prompt_tokens: Input should be greater than or equal to 0"),
        ("prompt_tokens", "1e300", "prompt_tokens is out of range"),
        ("prompt_tokens", "", "prompt_tokens is missing"),
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
        ("cached_tokens", "11", "prompt_tokens_details.cached_tokens must be a part of prompt_tokens"),
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


# Refused rows


async def test_refused_rows_are_told_by_line_and_the_others_stored(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.csv",
        f"{HEADER},error_message",
        f'{GOOD},"three',  # lines 2 to 4
        "lines",
        'long"',
        f"{GOOD},,too many",  # 5
        "",
        "2026-05-01T10:00:00Z,gpt-4,ten,5,",  # 7
        f'{GOOD},"""quoted"""',
        "2026-05-01T10:00:00Z,gpt-4,1.5,5,",  # 9
        "2026-05-01T10:00:00Z,gpt-4,ten,5,",  # 10
        "2026-05-01",  # 11
    )
    rejects = tmp_path / "refused.csv"
    result, calls = await imported(source, rejects=rejects, batch_size=2)
    assert sorted(call.error_message or "" for call in calls) == ['"quoted"', "three\nlines\nlong"]
    assert (result.rows, result.stored, result.rejected) == (7, 2, 5)
    assert [(reason.reason, reason.count, reason.lines) for reason in result.reasons] == [
        ("prompt_tokens is not a number", 2, (7, 10)),
        ("6 fields where the header has 5", 1, (5,)),
        ("prompt_tokens is not a whole number", 1, (9,)),
        ("1 fields where the header has 5", 1, (11,)),
    ]
    with rejects.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["line", "reason", "row"]
    assert [row[0] for row in rows[1:]] == ["5", "7", "9", "10", "11"]
    assert rows[2] == ["7", "prompt_tokens is not a number: 'ten'", "2026-05-01T10:00:00Z,gpt-4,ten,5,"]
    assert "refused 2: prompt_tokens is not a number (line 7, 10; " in str(result)


async def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    good = [f"2026-05-01T10:00:{second:02}Z,gpt-4,10,5" for second in range(40)]
    source = write(tmp_path / "a.csv", HEADER, *good[:20], '"2026-05-01T10:00:00Z,gpt-4,10,5', *good[20:])
    result, calls = await imported(source, rejects=tmp_path / "refused.jsonl")
    assert (result.stored, result.rejected, len(calls)) == (40, 1, 40)
    [reject] = map(json.loads, (tmp_path / "refused.jsonl").read_text().splitlines())
    assert (reject["line"], reject["row"]) == (22, '"2026-05-01T10:00:00Z,gpt-4,10,5')
    assert reject["reason"].startswith("malformed CSV")


async def test_lines_that_are_no_json_objects(tmp_path: Path) -> None:
    good = {"create_time": "2026-05-01T10:00:00Z", "prompt_tokens": 1, "completion_tokens": 1}
    lines = [json.dumps(good), "", "{", "[1]", '{"prompt_tokens": NaN}', json.dumps(good)]
    result, calls = await imported(write(tmp_path / "a.ndjson", *lines))
    assert len(calls) == 2
    assert sorted((reason.lines, reason.reason) for reason in result.reasons) == [
        ((3,), "malformed JSON: Expecting property name enclosed in double quotes"),
        ((4,), "not a JSON object but an array"),
        ((5,), "malformed JSON: NaN is no JSON number"),
    ]


async def test_a_row_that_is_no_utf8_is_refused_and_kept_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "a.csv"
    source.write_bytes(f"{HEADER}\n{GOOD}\n".encode() + "2026-05-01T10:00:00Z,métis,1,1\n".encode("latin1"))
    result, calls = await imported(source, rejects=tmp_path / "refused.csv")
    assert len(calls) == 1
    assert [(reason.lines, reason.reason[:9]) for reason in result.reasons] == [((3,), "not UTF-8")]
    assert "métis".encode("latin1") in (tmp_path / "refused.csv").read_bytes()


async def test_many_kinds_of_refusal_stay_a_short_summary(tmp_path: Path) -> None:
    rows = [GOOD + ",x" * (number % 90 + 1) for number in range(900)]
    result, _ = await imported(write(tmp_path / "a.csv", HEADER, *rows))
    assert result.rejected == sum(reason.count for reason in result.reasons) == 900
    assert len(result.reasons) <= 51
    assert all(len(reason.lines) <= 5 for reason in result.reasons)


class StrictStore(InMemoryStore):
    """A store in front of a database with a check of its own."""

    async def save_api_calls(self, calls: Iterable[LLMApiCall]) -> None:
        batch = list(calls)
        if any(call.prompt_tokens == 13 for call in batch):
            raise ConstraintError("check constraint no_thirteen is violated")
        await super().save_api_calls(batch)


async def test_rows_that_the_database_refuses_are_singled_out(tmp_path: Path) -> None:
    rows = [f"2026-05-01T10:00:00Z,gpt-4,{number},5" for number in range(40)]
    store = StrictStore()
    result = await import_calls(store, write(tmp_path / "a.csv", HEADER, *rows))
    assert (result.stored, result.rejected) == (39, 1)
    assert [reason.lines for reason in result.reasons] == [(15,)]
    assert "no_thirteen" in result.reasons[0].example
    assert len(await store.query_api_calls(QueryFilter())) == 39


# What cannot be imported at all


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("absent.csv", None, {}, "there is no file"),
        ("a.txt", b"x", {}, "the name does not tell the format"),
        ("a.csv", b"x", {"format": "xml"}, "there is no format 'xml'"),
        ("a.csv", b"", {}, "is empty"),
        ("a.csv", b"\n\n", {}, "is empty"),
        ("a.jsonl", b" \n", {}, "is empty"),
        ("a.json", b'[{"a": 1}]', {}, "is a JSON array, not JSON lines"),
        ("a.csv", "a,b".encode("utf-16"), {}, "is UTF-16 text"),
        ("a.csv", b"caf\xe9,b\n", {}, "the header is not UTF-8"),
        ("a.csv", b"\0\1\2,\3\n", {}, "is no header"),
        ("a.csv", gzip.compress(f"{HEADER}\n{GOOD}\n".encode() * 999)[:-50], {}, "damaged or cut off"),
        ("a.parquet", b"PAR1 not", {}, "is no Parquet file"),
        ("a.csv", b"model,prompt_tokens\nx,1\n", {}, "no column is known to be create_time.*the columns are model"),
        ("a.csv", b"create_time,prompt_tokens\n", {}, "no column is known to be completion_tokens or total_tokens"),
        ("a.csv", f"{HEADER},model_name\n".encode(), {}, "the column 'model_name' is there 2 times"),
        ("a.csv", HEADER.encode(), {"mapping": {"status": "state"}}, "column 'state', which is not there"),
        ("a.csv", HEADER.encode(), {"mapping": {"promt_tokens": "x"}}, "no field 'promt_tokens'; did you mean prompt_"),
        ("a.csv", HEADER.encode(), {"mapping": {"latency_ms.x": "x"}}, "no field 'latency_ms.x'"),
        (
            "a.csv",
            f"{HEADER},d,c\n".encode(),
            {"mapping": {"prompt_tokens_details": "d", "prompt_tokens_details.cached_tokens": "c"}},
            "as a whole and as prompt_tokens_details.cached_tokens",
        ),
        ("a.csv", HEADER.encode(), {"defaults": {"nope": 1}}, "defaults: a call has no field 'nope'"),
        (
            "a.csv",
            HEADER.encode(),
            {"defaults": {"latency_ms": "fast"}},
            "defaults: latency_ms is not a number: 'fast'",
        ),
        ("a.csv", HEADER.encode(), {"defaults": {"id": NIL_UUID}}, "every call needs an id of its own"),
        ("a.csv", HEADER.encode(), {"tz": "Berlin"}, "Berlin"),
        ("a.csv", HEADER.encode(), {"batch_size": 0}, "batch_size must be at least 1"),
        ("a.csv", HEADER.encode(), {"rejects": "x.txt"}, "name it .csv or .jsonl"),
        ("a.csv", HEADER.encode(), {"rejects": "no/such/folder.csv"}, "cannot be written"),
    ],
)
async def test_what_cannot_be_imported_says_why(
    tmp_path: Path, name: str, content: bytes | None, options: dict[str, Any], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        await import_calls(InMemoryStore(), tmp_path / name, **options)


async def test_the_source_is_never_overwritten_by_its_rejects(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", HEADER, GOOD)
    with pytest.raises(UsageError, match="is the source itself"):
        await import_calls(InMemoryStore(), source, rejects=source)
    assert source.read_text() == f"{HEADER}\n{GOOD}\n"


async def test_a_header_alone_is_an_empty_import(tmp_path: Path) -> None:
    result, calls = await imported(write(tmp_path / "a.csv", HEADER))
    assert (result.rows, calls, result.start) == (0, [], None)


# Formats: a byte order mark, compression, delimiters, headers


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
async def test_dialects_of_csv(tmp_path: Path, delimiter: str, newline: str) -> None:
    text = newline.join(["\ufeff Create Time ", "MODEL", "prompt-tokens", "Completion_Tokens"]).replace(
        newline, delimiter
    )
    text += newline + GOOD.replace(",", delimiter) + newline
    plain, packed = tmp_path / "a.csv", tmp_path / "misnamed.csv"
    plain.write_bytes(text.encode())
    packed.write_bytes(gzip.compress(text.encode()))
    call = await imported_one(plain)
    assert (call.model_name, call.prompt_tokens, call.completion_tokens) == ("gpt-4", 10, 5)
    assert await imported_one(packed) == call


async def test_parquet_of_other_programs(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array([UUID(int=7).bytes], pa.binary(16)),
            "timestamp": pa.array([1_777_629_600_123_456_789], pa.timestamp("ns", "Europe/Berlin")),
            "update_time": pa.array([datetime(2026, 5, 1, 10, 0, 1)], pa.timestamp("ms")),
            "model": ["gpt-4"],
            "usage": [{"prompt_tokens": 10, "completion_tokens": 5}],
            "cost": [0.1],
            "latency_ms": pa.array([float("nan")]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    mapping = {"id": "id", "prompt_tokens": "usage.prompt_tokens", "completion_tokens": "usage.completion_tokens"}
    with pytest.raises(UsageError, match=r"the columns are .*usage\.prompt_tokens"):
        await import_calls(InMemoryStore(), tmp_path / "a.parquet", mapping={"prompt_tokens": "usage.prompt"})
    call = await imported_one(tmp_path / "a.parquet", mapping=mapping)
    assert call.id == UUID(int=7)
    assert call.create_time == datetime(2026, 5, 1, 10, 0, 0, 123_456, tzinfo=UTC)
    assert call.update_time == datetime(2026, 5, 1, 10, 0, 1, tzinfo=UTC)
    assert (call.prompt_tokens, call.total_price, call.latency_ms) == (10, Decimal("0.1"), None)


def flat(call: LLMApiCall) -> dict[str, Any]:
    """The call as a table has it: details are JSON text in which money is text."""
    row: dict[str, Any] = dict(call)
    for name in ("prompt_tokens_details", "completion_tokens_details", "price_details"):
        row[name] = None if row[name] is None else row[name].model_dump_json()
    return row | {name: str(value) for name, value in row.items() if isinstance(value, UUID)}


def write_calls_csv(path: Path, calls: Sequence[LLMApiCall]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, LLMApiCall.model_fields)
        writer.writeheader()
        writer.writerows(flat(call) for call in calls)


def write_calls_jsonl(path: Path, calls: Sequence[LLMApiCall]) -> None:
    path.write_text("".join(call.model_dump_json() + "\n" for call in calls), encoding="utf-8", newline="")


def write_calls_parquet(path: Path, calls: Sequence[LLMApiCall]) -> None:
    kinds = {"create_time": pa.timestamp("us", "UTC"), "update_time": pa.timestamp("us", "UTC")}
    kinds |= {"total_price": pa.decimal128(38, 10), "tokens_per_second": pa.float64()}
    kinds |= dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), pa.int64())
    kinds |= dict.fromkeys(("latency_ms", "time_to_first_token_ms"), pa.int32())
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in LLMApiCall.model_fields])
    pq.write_table(pa.Table.from_pylist([flat(call) for call in calls], schema=schema), path)


WRITERS = {"csv": write_calls_csv, "jsonl": write_calls_jsonl, "parquet": write_calls_parquet}


@pytest.mark.proof
@pytest.mark.parametrize("format_name", WRITERS)
@given(calls=st.lists(strategies.api_calls(), max_size=5, unique_by=lambda call: call.id))
@settings(max_examples=trials(20, 200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_was_written_comes_back_equal(tmp_path: Path, format_name: str, calls: list[LLMApiCall]) -> None:
    if format_name == "csv":
        # A CSV cannot tell empty from missing.
        blank = {"error_message": None, "error_code": None, "api_response_id": None, "model_name": "unknown"}
        calls = [
            call.model_copy(update={name: value for name, value in blank.items() if getattr(call, name) == ""})
            for call in calls
        ]
    path = tmp_path / f"calls.{format_name}"
    WRITERS[format_name](path, calls)
    if not calls and format_name == "jsonl":
        return
    result, found = await imported(path)
    assert result.reasons == ()
    assert {call.id: call for call in found} == {call.id: call for call in calls}


# Once and only once


async def ids_of(source: Path, **options: Any) -> set[UUID]:
    result, calls = await imported(source, **options)
    assert result.stored == len(calls)
    return {call.id for call in calls}


async def test_importing_twice_stores_once(tmp_path: Path) -> None:
    store = InMemoryStore()
    for _ in range(2):
        assert (await import_calls(store, sample_path())).stored == 8819
    assert (await store.get_statistics(QueryFilter())).total_calls == 8819


@pytest.mark.proof
@given(numbers=st.lists(st.integers(0, 5), min_size=1, max_size=20), seed=st.integers())
@settings(max_examples=trials(15, 100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_ids_follow_from_what_the_rows_say(tmp_path: Path, numbers: list[int], seed: int) -> None:
    rows = [f"2026-05-01T10:00:00Z,gpt-4,{number},5" for number in numbers]
    first = await ids_of(write(tmp_path / "a.csv", HEADER, *rows))
    assert len(first) == len(rows)  # equal rows are calls of their own
    shuffled = random.Random(seed).sample(rows, len(rows))
    renamed = tmp_path / "other.csv.gz"
    renamed.write_bytes(gzip.compress("\n".join([HEADER, *shuffled]).encode()))
    assert await ids_of(renamed, batch_size=3) == first
    more = write(tmp_path / "longer.csv", HEADER, *rows, rows[0])
    assert await ids_of(more) > first


async def test_a_corrected_mapping_replaces_the_same_calls(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},who", f"{GOOD},{UUID(int=5)}")
    before, after = await imported_one(source), await imported_one(source, mapping={"user_id": "who"})
    assert (before.id, before.user_id, after.user_id) == (after.id, NIL_UUID, UUID(int=5))


async def test_equal_rows_of_two_tenants_are_two_calls(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", HEADER, GOOD)
    store = InMemoryStore()
    for tenant in (1, 2):
        await import_calls(store, source, defaults={"tenant_id": UUID(int=tenant)})
    assert {call.tenant_id.int for call in await store.query_api_calls(QueryFilter())} == {1, 2}


SLOW_IMPORT = """
    import asyncio, sys
    from mofa_usage import connect, import_calls

    async def main():
        async with connect(sys.argv[1]) as store:
            result = await import_calls(store, sys.argv[2], batch_size=50)
            print(result.stored)

    asyncio.run(main())
"""


async def test_an_import_that_was_killed_is_run_again(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'usage.db'}"
    command = [sys.executable, "-c", textwrap.dedent(SLOW_IMPORT), url, str(sample_path())]
    async with connect(url) as store:
        process = subprocess.Popen(command)  # noqa: ASYNC220
        try:
            while not (begun := (await store.get_statistics(QueryFilter())).total_calls):
                assert process.poll() is None
        finally:
            process.kill()
            process.wait()
        assert 0 < begun < 8819
        assert (await store.get_statistics(QueryFilter())).total_calls % 50 == 0  # whole batches
        await import_calls(store, sample_path())
        assert (await store.get_statistics(QueryFilter())).total_calls == 8819


# Progress


async def test_progress_is_shown_to_who_asks_and_to_nobody_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "a.csv", HEADER, GOOD)
    await imported(source)
    await imported(source, progress=False)
    assert capsys.readouterr() == ("", "")
    await imported(source, progress=True)
    printed, said = capsys.readouterr()
    assert printed == ""
    assert "Importing a.csv" in said


# Memory


MEASURED_IMPORT = """
    import asyncio, resource, sys
    from mofa_usage.importing import import_calls

    class Nowhere:
        async def save_api_calls(self, calls):
            pass

    asyncio.run(import_calls(Nowhere(), sys.argv[1]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_megabytes(source: Path) -> int:
    command = [sys.executable, "-c", textwrap.dedent(MEASURED_IMPORT), str(source)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def table(rows: int) -> Path:
        buffer = io.StringIO(HEADER + "\n")
        buffer.seek(0, io.SEEK_END)
        buffer.writelines(f"2026-05-01T10:00:00.{row:06}Z,gpt-4,{row},5\n" for row in range(rows))
        return write(tmp_path / f"{rows}.csv", buffer.getvalue())

    assert peak_megabytes(table(100_000)) < peak_megabytes(table(20_000)) + 50
