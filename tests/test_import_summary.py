"""What an import says that it did: refused rows, replaced calls, progress."""

import csv
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.errors import ConstraintError, UsageError
from mofa_usage.importing import import_calls
from mofa_usage.pricing import PriceBook
from mofa_usage.records import NIL_UUID, LLMApiCall, PriceDetails, QueryFilter
from mofa_usage.stores import InMemoryStore, Store, backfill_prices, connect
from tests.imports import CALL, GOOD, HEADER, imported, write, write_jsonl

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
        ("a.zip", b"PK\x03\x04", {}, "is a zip archive, as spreadsheets are; unpack it"),
        ("a.arrow", b"ARROW1\0\0", {}, "is an Arrow file; read it into a frame"),
        ("a.db", b"SQLite format 3\0", {}, "is a SQLite database; one of ours is read by its URL"),
        (".", None, {}, "holds no file of a format that is recognised"),
        ("a", b"\0\1\2,\3", {}, "nor does what is inside; say it: one of csv, jsonl, parquet"),
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


# Replaced calls


async def test_the_same_row_in_two_files_is_said_to_be_there(tmp_path: Path) -> None:
    files = [write_jsonl(tmp_path / name, CALL) for name in ("a.jsonl", "b.jsonl")]
    result, calls = await imported(files)
    assert (result.rows, result.stored, result.replaced, result.unchanged, len(calls)) == (2, 1, 1, 1, 1)
    assert str(result).splitlines()[0] == (
        "2 rows in 2 files: 1 stored, 1 replaced (equal to what was there already), 0 refused"
    )


@pytest.mark.parametrize("url", ["memory:", "sqlite::memory:"])
async def test_what_replaced_an_earlier_call_is_counted(tmp_path: Path, url: str) -> None:
    rows = [CALL | {"id": str(UUID(int=number)), "prompt_tokens": number} for number in range(1, 6)]
    changed = [*rows[:3], rows[3] | {"completion_tokens": 9}, CALL | {"id": str(UUID(int=6))}]
    async with connect(url) as store:
        await import_calls(store, write_jsonl(tmp_path / "a.jsonl", *rows))
        result = await import_calls(store, write_jsonl(tmp_path / "b.jsonl", *changed), batch_size=2)
        assert (result.stored, result.replaced, result.unchanged, result.rejected) == (1, 4, 3, 0)
        assert "1 stored, 4 replaced (3 of them equal to what was there already), 0 refused" in str(result)
        tokens = {call.id.int: call.completion_tokens for call in await store.query_api_calls()}
    assert tokens == {1: 2, 2: 2, 3: 2, 4: 9, 5: 2, 6: 2}


async def test_every_store_gives_back_what_is_equal(tmp_path: Path, store: Store) -> None:
    more = {"cost": "0.1234567891", "tokens_per_second": 1.1, "error_message": "é\n", "team": "a", "duration_ms": 5}
    rows = [CALL | {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3, "x": [1.5]}} | more, CALL]
    source = write_jsonl(tmp_path / "a.jsonl", *rows)
    assert (await import_calls(store, source)).stored == 2
    assert (await import_calls(store, source)).unchanged == 2


@pytest.mark.parametrize("batch_size", [1, 2, 10])
async def test_of_rows_with_one_id_the_last_stands_and_the_others_are_counted(tmp_path: Path, batch_size: int) -> None:
    rows = [CALL | {"id": str(UUID(int=1)), "prompt_tokens": number} for number in (1, 2, 1, 3)]
    result, [call] = await imported(write_jsonl(tmp_path / "a.jsonl", *rows), batch_size=batch_size)
    assert (result.stored, result.replaced, call.prompt_tokens) == (1, 3, 3)


async def test_what_is_there_and_equal_is_not_written_again(tmp_path: Path) -> None:
    class Counting(InMemoryStore):
        saved = 0

        async def save_api_calls(self, calls: Iterable[LLMApiCall]) -> None:
            batch = list(calls)
            self.saved += len(batch)
            await super().save_api_calls(batch)

    store = Counting()
    for _ in range(2):
        await import_calls(store, write_jsonl(tmp_path / "a.jsonl", CALL, CALL | {"prompt_tokens": 2}))
    assert store.saved == 2


async def test_to_a_store_that_can_only_save_everything_is_new(tmp_path: Path) -> None:
    class Saving:
        async def save_api_calls(self, calls: Iterable[LLMApiCall]) -> None:
            list(calls)

    result = await import_calls(Saving(), write_jsonl(tmp_path / "a.jsonl", CALL))  # type: ignore[arg-type]
    assert result.stored == 1


async def test_a_price_that_was_computed_since_outlives_another_import(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text('currency = "EUR"\n[[prices]]\nmodel = "m"\ninput = 1\noutput = 2\n')
    book = PriceBook.load(tmp_path / "prices.toml")
    store, row = InMemoryStore(), CALL | {"id": str(UUID(int=1)), "labels": {"team": "red"}}
    await import_calls(store, write_jsonl(tmp_path / "a.jsonl", row))
    await backfill_prices(store, book)
    [priced] = await store.query_api_calls(QueryFilter())
    assert str(priced.total_price) == "0.0000050000"
    again = await import_calls(store, write_jsonl(tmp_path / "a.jsonl", row))
    assert (again.replaced, again.unchanged, await store.get_api_call(priced.id)) == (1, 1, priced)

    async def price_after(**changes: object) -> str | None:
        await import_calls(store, write_jsonl(tmp_path / "b.jsonl", row | changes))
        call = await store.get_api_call(priced.id)
        assert call is not None
        await store.save_api_call(priced)
        return None if call.total_price is None else str(call.total_price)

    assert await price_after(labels={"team": "blue"}) == "0.0000050000"
    assert await price_after(cost=1) == "1.0000000000"  # what the file says counts
    assert await price_after(completion_tokens=3) is None  # the price of other tokens
    assert await price_after(labels={"service_tier": "batch"}) is None
    await store.save_api_call(priced.model_copy(update={"price_details": PriceDetails(currency="EUR")}))
    await import_calls(store, write_jsonl(tmp_path / "a.jsonl", row))
    assert [call.total_price for call in await store.query_api_calls(QueryFilter())] == [None]  # that was no book's


# The sentences


async def test_the_summary_names_the_options_that_help(tmp_path: Path) -> None:
    header = "created_at,input_tokens,output_tokens,cache_read_input_tokens,cost,user_id,latency,note"
    rows = [
        "2026-05-01 10:00,10,5,3,0.1,,4.2,x",
        "2026-05-01 10:01,10,5,3,0.12345678901,,4.2,x",
        "2026-05-01 10:02,10,5,3,0.1,alice,4.2,x",
    ]
    result, _ = await imported(write(tmp_path / "a.csv", header, *rows))
    assert str(result).splitlines() == [
        "3 rows: 1 stored, 2 refused",
        "from 2026-05-01 10:00 to 2026-05-01 10:00 UTC",
        "1 time had no zone and was read as UTC (--tz says another)",
        "input_tokens read as exclusive of cached ones (no row decides: Anthropic's names mean that) "
        "(--tokens says otherwise)",
        "no column names the model (-m model_name=COLUMN, or -d model_name=NAME)",
        "not used: latency, note (-m FIELD=COLUMN uses one)",
        "latency does not say its unit (-m latency_ms=latency if it is milliseconds, else --sql)",
        "refused 1: total_price has more than 10 decimal places; --round-prices (round_prices) rounds "
        "(line 3; total_price has more than 10 decimal places; --round-prices (round_prices) rounds: "
        "'0.12345678901' in column 'cost')",
        "refused 1: user_id is not a UUID; --text-ids (text_ids) makes one of any text "
        "(line 4; user_id is not a UUID; --text-ids (text_ids) makes one of any text: 'alice')",
    ]


async def test_columns_of_refused_rows_are_not_said_to_be_unused(tmp_path: Path) -> None:
    header = "timestamp,model,input_tokens,output_tokens,cost,note"
    result, _ = await imported(write(tmp_path / "a.csv", header, '2026-05-01T10:00:00Z,m,1163,50,"$1,000.50",x'))
    assert (result.rejected, result.ignored) == (1, ("note",))


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
