"""Importing as a whole: nothing is lost on the way out and back in, and nothing is stored twice."""

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mofa_usage.demo import generate_usage, write_usage
from mofa_usage.demo.sample import sample_path
from mofa_usage.exporting import export_parquet
from mofa_usage.importing import import_calls
from mofa_usage.records import NIL_UUID, LLMApiCall, QueryFilter
from mofa_usage.stores import InMemoryStore, connect
from tests import strategies
from tests.imports import GOOD, HEADER, imported, imported_one, write
from tests.proofs import trials

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


# Out and back in


def flat(call: LLMApiCall) -> dict[str, Any]:
    """The call as a table has it: details are JSON text in which money is text."""
    row: dict[str, Any] = dict(call)
    for name in ("prompt_tokens_details", "completion_tokens_details", "price_details"):
        row[name] = None if row[name] is None else row[name].model_dump_json()
    row["labels"] = json.dumps(dict(call.labels)) if call.labels else None
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
@settings(
    max_examples=trials(5, 200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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


async def test_an_export_comes_back_with_the_names_that_were_joined_to_it(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'usage.db'}"
    async with connect(url) as store:
        usage = generate_usage(calls=300, days=3)
        await write_usage(store, usage)
        labels = {"feature": "x", "attempt": "2", "operation": "embeddings"}
        none: dict[str, Any] = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
        none |= {"prompt_tokens_details": None, "completion_tokens_details": {"token_source": "none"}}
        await store.save_api_calls([call.model_copy(update={"labels": labels}) for call in usage.calls[:50]])
        await store.save_api_calls([call.model_copy(update=none) for call in usage.calls[50:60]])
        calls = {call.id: call for call in await store.query_api_calls()}
    export_parquet(url, tmp_path / "usage.parquet")
    result, found = await imported(tmp_path / "usage.parquet")
    assert (result.tokens_read, result.ignored) == ((), ("agent_code", "session.plan"))
    assert len(found) == len(calls)
    for call in found:
        joined = {name: call.labels[name] for name in ("agent", "provider")}
        assert call == calls[call.id].model_copy(update={"labels": {**joined, **calls[call.id].labels}})


# Once and only once


async def ids_of(source: Path, **options: Any) -> set[UUID]:
    result, calls = await imported(source, **options)
    assert result.stored == len(calls)
    return {call.id for call in calls}


async def test_importing_twice_stores_once(tmp_path: Path) -> None:
    store = InMemoryStore()
    first, second = [await import_calls(store, sample_path()) for _ in range(2)]
    assert (first.rows, first.stored, first.replaced) == (8819, 8819, 0)
    assert (second.rows, second.stored, second.replaced, second.unchanged) == (8819, 0, 8819, 8819)
    assert (await store.get_statistics(QueryFilter())).total_calls == 8819


@pytest.mark.proof
@given(numbers=st.lists(st.integers(0, 5), min_size=1, max_size=20), seed=st.integers())
@settings(
    max_examples=trials(4, 100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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


# Memory


MEASURED_IMPORT = """
    import asyncio, sys
    from mofa_usage.importing import import_calls

    class Nowhere:
        async def save_api_calls(self, calls):
            pass

    asyncio.run(import_calls(Nowhere(), sys.argv[1]))
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024)
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

    assert peak_megabytes(table(30_000)) < peak_megabytes(table(10_000)) + 20
