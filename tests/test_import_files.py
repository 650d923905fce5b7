"""Files of every kind: CSV, JSON lines and documents, Parquet; compressed, several, standard input."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofa_usage.errors import MissingExtraError, UsageError
from mofa_usage.importing import import_calls
from mofa_usage.importing.content import open_content
from mofa_usage.importing.json_rows import JsonSource
from mofa_usage.records import QueryFilter
from mofa_usage.stores import InMemoryStore
from tests.imports import AT_NOON, CALL, GOOD, HEADER, imported, imported_one, write, write_jsonl
from tests.proofs import trials


def zstandard(data: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(data)
    whole: bytes = packed.getvalue().to_pybytes()
    return whole


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard,
}


def numbered(count: int) -> list[dict[str, Any]]:
    """Calls of 1, 2, 3, ... prompt tokens."""
    return [CALL | {"prompt_tokens": number} for number in range(1, count + 1)]


async def prompts(source: Any, **options: Any) -> list[int]:
    result, calls = await imported(source, **options)
    assert result.reasons == ()
    return sorted(call.prompt_tokens for call in calls)


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


async def test_parquet_by_pandas(tmp_path: Path) -> None:
    """Times in nanoseconds, text as bytes, a duration as latency, NaN for what is missing."""
    table = pa.table(
        {
            "timestamp": pa.array([1_777_629_600_123_456_789], pa.timestamp("ns")),
            "model": pa.array([b"gpt-4"], pa.binary()),
            "id": pa.array([str(UUID(int=9)).encode()], pa.binary()),
            "prompt_tokens": pa.array([10.0]),
            "completion_tokens": pa.array([float("nan")]),
            "latency_ms": pa.array([1_245_600_000], pa.duration("ns")),
            "provider": pa.array(["openai"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    call = await imported_one(tmp_path / "a.parquet")
    assert (call.id, call.model_name, call.latency_ms) == (UUID(int=9), "gpt-4", 1246)
    assert (call.prompt_tokens, call.token_source) == (10, "partial")
    assert call.create_time == datetime(2026, 5, 1, 10, 0, 0, 123_456, tzinfo=UTC)
    assert call.labels == {"provider": "openai"}


# Compression


@pytest.mark.parametrize("packing", COMPRESSIONS)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.{}", "download", "a.csv.{}"])
async def test_compression_is_told_from_the_content(tmp_path: Path, packing: str, name: str) -> None:
    path = tmp_path / name.format(packing)
    lines = [HEADER, GOOD, GOOD] if "csv" in name else [*map(json.dumps, numbered(2))]
    path.write_bytes(COMPRESSIONS[packing]("\n".join(lines).encode()))
    assert len(await prompts(path)) == 2


@pytest.mark.parametrize("packing", COMPRESSIONS)
async def test_joined_compressed_files_are_one(tmp_path: Path, packing: str) -> None:
    pack = COMPRESSIONS[packing]
    rows = [json.dumps(row).encode() + b"\n" for row in numbered(2)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(map(pack, rows)))
    assert await prompts(tmp_path / "a.jsonl") == [1, 2]


@pytest.mark.parametrize("packing", COMPRESSIONS)
async def test_what_is_before_the_damage_is_stored(tmp_path: Path, packing: str) -> None:
    rows = [CALL | {"prompt_tokens": number, "note": os.urandom(1_000).hex()} for number in range(600)]
    whole = COMPRESSIONS[packing]("\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "a.jsonl").write_bytes(whole[:-100])
    store = InMemoryStore()
    with pytest.raises(UsageError, match=r"a\.jsonl: the compressed file is damaged or cut off"):
        await import_calls(store, tmp_path / "a.jsonl", batch_size=100)
    assert (await store.get_statistics(QueryFilter())).total_calls >= 100


async def test_zstandard_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_bytes(zstandard(f"{HEADER}\n{GOOD}\n".encode()))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mofa-usage\[analysis\]'"):
        await import_calls(InMemoryStore(), tmp_path / "a.csv")


# Formats


@pytest.mark.parametrize(
    ("content", "option"),
    [
        (json.dumps(CALL), "jsonl"),
        ("\ufeff\n " + json.dumps(CALL), "json"),
        (json.dumps([CALL]), "jsonl"),
        (f"{HEADER}\n{GOOD}", "csv"),
        (f"{HEADER}\n{GOOD}".replace(",", "\t"), "csv"),
    ],
)
async def test_the_content_tells_the_format_where_the_name_does_not(tmp_path: Path, content: str, option: str) -> None:
    (tmp_path / "calls.txt").write_text(content)
    call = await imported_one(tmp_path / "calls.txt")
    (tmp_path / "calls.csv").write_text(content)
    assert await imported_one(tmp_path / "calls.csv", format=option) == call


async def test_parquet_without_a_name(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(numbered(3)), tmp_path / "calls")
    assert await prompts(tmp_path / "calls") == [1, 2, 3]


# JSON


LAYOUTS: dict[str, Callable[[list[Any]], str]] = {
    "lines": lambda rows: "\n".join(map(json.dumps, rows)),
    "lines with marks": lambda rows: "\r\n".join(f"\ufeff{json.dumps(row)}" for row in rows),
    "array": json.dumps,
    "pretty array": lambda rows: json.dumps(rows, indent=2),
    "array, one a line": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n",
    "object": lambda rows: json.dumps({"object": "list", "meta": {"of": [1]}, "data": rows, "more": False}),
    "pretty object": lambda rows: json.dumps({"object": "list", "data": rows, "more": [1, 2]}, indent=1),
    "pretty objects": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows),
    "pretty pages": lambda rows: "\n".join(json.dumps({"data": [row]}, indent=2) for row in rows),
    "arrays": lambda rows: "\n".join(json.dumps([row, row]) for row in rows[::2]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_json_of_every_layout(tmp_path: Path, layout: str) -> None:
    (tmp_path / "a.json").write_text("\ufeff" + LAYOUTS[layout](numbered(6)), encoding="utf-8")
    expected = [1, 1, 3, 3, 5, 5] if layout == "arrays" else [1, 2, 3, 4, 5, 6]
    assert await prompts(tmp_path / "a.json") == expected


@pytest.mark.parametrize("indent", [None, 2])
async def test_one_call_is_no_container_of_what_it_holds(tmp_path: Path, indent: int | None) -> None:
    answer = {
        "id": "chatcmpl-1",
        "created": 1777629600,
        "model": "gpt-4.1",
        "choices": [{"index": 0, "message": {"role": "assistant"}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 30},
    }
    (tmp_path / "a.json").write_text(json.dumps(answer, indent=indent))
    call = await imported_one(tmp_path / "a.json")
    assert (call.prompt_tokens, call.api_response_id) == (100, "chatcmpl-1")


async def test_what_is_malformed_in_an_array_costs_its_own_item(tmp_path: Path) -> None:
    bad = ["{oops}", "7", '"text, {["', "[1, [2]]", '{"a": NaN, "b": ["}"]}', "null"]
    items = [json.dumps(CALL), *bad, json.dumps(CALL)]
    (tmp_path / "a.json").write_text("[" + ",".join(items) + "]")
    result, calls = await imported(tmp_path / "a.json", rejects=tmp_path / "refused.jsonl")
    assert len(calls) == 2
    refused = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert [(one["line"], one["row"]) for one in refused] == list(enumerate(bad, start=2))
    assert "(item 2" in str(result)
    assert {reason.reason.partition(":")[0] for reason in result.reasons} == {
        "malformed JSON",
        "not a JSON object but a number",
        "not a JSON object but text",
        "not a JSON object but an array",
        "not a JSON object but null",
    }


@pytest.mark.parametrize("cut", ["[{}, {", '[{"timestamp": "2026', "[", '{\n"data": [{'])
async def test_a_document_that_is_cut_off(tmp_path: Path, cut: str) -> None:
    (tmp_path / "a.json").write_text(cut)
    result, calls = await imported(tmp_path / "a.json")
    assert calls == []
    assert any("cut off" in reason.reason for reason in result.reasons)


@pytest.mark.proof
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=3), st.recursive(st.text() | st.integers(), st.lists), max_size=3)),
    indent=st.none() | st.integers(0, 3),
    broken=st.sampled_from(["", "{[}]", "{'a'}"]),
    fill=st.integers(1, 64),
)
@settings(
    max_examples=trials(13, 500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_items_of_an_array_are_found_whatever_is_in_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Any],
    indent: int | None,
    broken: str,
    fill: int,
) -> None:
    """Read in small pieces, so that every kind of text is cut at every place."""
    monkeypatch.setattr("mofa_usage.importing.json_rows._FILL", fill)
    items = [json.dumps(row, indent=indent) for row in rows]
    (tmp_path / "a.json").write_text("[" + ",".join([*items, broken, *items]) + "]")
    source = JsonSource(open_content(tmp_path / "a.json"), lambda row: True)
    for _ in range(2):
        found = [row.values if row.problem is None else row.raw() for row in source]
        assert found == [*rows, *([broken] if broken else []), *rows]
    source.close()


# What is too long


LONG = "x" * (17 * 2**20)


async def test_a_field_may_hold_a_long_conversation(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", f"{HEADER},prompt", f"{GOOD},{'x' * 200_000}")
    assert (await imported_one(source)).prompt_tokens == 10


TOO_LONG = "longer than 16 MiB, which no call is"


async def test_a_line_that_is_too_long_refuses_itself(tmp_path: Path) -> None:
    lines = [*map(json.dumps, numbered(5))]
    lines.insert(3, LONG)
    result, calls = await imported(write(tmp_path / "a.jsonl", *lines), rejects=tmp_path / "refused.csv")
    assert sorted(call.prompt_tokens for call in calls) == [1, 2, 3, 4, 5]
    assert [(reason.reason, reason.lines) for reason in result.reasons] == [
        ("longer than 16 MiB, which no call is", (4,))
    ]
    assert len((tmp_path / "refused.csv").read_text()) < 1000


@pytest.mark.parametrize("before", ["", '2026-05-01T10:00:00Z,"never closed,1,1\n'])
async def test_a_line_of_a_csv_that_is_too_long_refuses_itself(tmp_path: Path, before: str) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\n{GOOD}\n{before}{LONG}\n{GOOD}\n")
    result, calls = await imported(tmp_path / "a.csv")
    assert len(calls) == 2
    assert result.rejected == 1 + bool(before)


@pytest.mark.parametrize("opening", ["[", '{"object": "list", "data": ['])
async def test_an_item_that_is_too_long_refuses_itself(tmp_path: Path, opening: str) -> None:
    items = [json.dumps(CALL), json.dumps({"text": LONG}), json.dumps(CALL)]
    closing = "]" if opening == "[" else '], "more": [1, {}]}'
    (tmp_path / "a.json").write_text(opening + ",".join(items) + closing)
    result, calls = await imported(tmp_path / "a.json")
    assert len(calls) == 2
    assert [(reason.reason, reason.lines) for reason in result.reasons] == [
        ("longer than 16 MiB, which no call is", (2,))
    ]


MEASURED = """
    import asyncio, sys
    from mofa_usage import InMemoryStore
    from mofa_usage.importing import import_calls

    result = asyncio.run(import_calls(InMemoryStore(), sys.argv[1]))
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(result.stored, result.rejected, int(peak.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_memory_stays_bounded_whatever_the_length_of_a_line(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("w") as file:
        good = GOOD if name == "a.csv" else json.dumps(CALL)
        file.write({"a.csv": f"{HEADER}\n{good}\n", "a.json": f"[{good}, "}.get(name, f"{good}\n"))
        file.write('{"text": "')
        for _ in range(12):
            file.write("x" * 10**7)
        file.write({"a.json": f'"}}, {good}]'}.get(name, f'"}}\n{good}\n'))
    command = [sys.executable, "-c", textwrap.dedent(MEASURED), str(tmp_path / name)]
    stored, rejected, megabytes = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert (stored, rejected) == (2, 1)
    assert megabytes < 180


# Several files, standard input, pipes


async def test_several_files_are_one_import(tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", *numbered(2), "oops")
    second = write(tmp_path / "b.csv", HEADER, "nonsense", GOOD)
    result, calls = await imported([first, str(second)], rejects=tmp_path / "refused.csv")
    assert (result.rows, result.stored, result.rejected, len(calls)) == (5, 3, 2, 3)
    assert result.sources == (str(first), str(second))
    assert result.format == "jsonl, csv"
    assert f"({first} line 3)" in str(result)
    assert f"({second} line 2)" in str(result)
    assert (tmp_path / "refused.csv").read_text().startswith(f"source,line,reason,row\n{first},3,")


async def test_more_files_than_can_be_open_at_once(tmp_path: Path) -> None:
    files = [write_jsonl(tmp_path / f"{number}.jsonl", row) for number, row in enumerate(numbered(40))]
    before = len(os.listdir("/proc/self/fd"))
    most = 0

    class Watching(InMemoryStore):
        async def save_api_calls(self, calls: Any) -> None:
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")) - before)
            await super().save_api_calls(calls)

    assert (await import_calls(Watching(), files)).stored == 40
    assert most < 10


async def test_nothing_is_stored_when_one_of_the_files_is_not_there(tmp_path: Path) -> None:
    store = InMemoryStore()
    with pytest.raises(UsageError, match="there is no file"):
        await import_calls(store, [write_jsonl(tmp_path / "a.jsonl", CALL), tmp_path / "absent.csv"])
    assert await store.query_api_calls() == []
    with pytest.raises(UsageError, match="nothing to import"):
        await import_calls(store, [])


class Standard:
    """Standard input with this content."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("packing", [None, *COMPRESSIONS])
@pytest.mark.parametrize("layout", ["lines", "pretty array"])
async def test_standard_input(monkeypatch: pytest.MonkeyPatch, packing: str | None, layout: str) -> None:
    content = LAYOUTS[layout](numbered(3)).encode()
    monkeypatch.setattr("sys.stdin", Standard(content if packing is None else COMPRESSIONS[packing](content)))
    result, calls = await imported("-")
    assert (result.sources, len(calls)) == (("standard input",), 3)
    assert not sys.stdin.buffer.closed


async def test_a_pipe_is_read_twice(tmp_path: Path) -> None:
    """The row that decides how tokens are read comes last."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    usage = {"input_tokens": 1000, "output_tokens": 50, "cache_read_input_tokens": 100}
    rows = [AT_NOON | usage, AT_NOON | usage | {"total_tokens": 1050}]
    threading.Thread(target=write_jsonl, args=(pipe, *rows)).start()
    assert await prompts(pipe) == [1000, 1000]


async def test_parquet_by_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(numbered(3)), buffer)
    monkeypatch.setattr("sys.stdin", Standard(buffer.getvalue()))
    assert await prompts("-") == [1, 2, 3]
