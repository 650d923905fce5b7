"""An export is exact, sorted, whole or not there, and small in memory."""

import json
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from mofa_usage import QueryFilter, UsageError, export_parquet, load_usage
from mofa_usage.errors import SerializationError
from mofa_usage.exporting.files import CallFiles, Partitions
from mofa_usage.reading.drivers import sqlite as sqlite_reader
from mofa_usage.stores import Store
from tests.calls import DETAILS, MONEY, TIME, expected_row, rows_by_id
from tests.proofs import trials
from tests.samples import NOON, agent, call, provider
from tests.test_sqlite_reading import insert, raw_database

BEGIN = datetime(2026, 1, 30, tzinfo=UTC)


def frame_of(count: int = 1000, days: int = 40) -> pl.DataFrame:
    generator = random.Random(5)
    return pl.DataFrame(
        {
            "id": [str(UUID(int=n)) for n in range(count)],
            "model_name": [generator.choice(["a", "b"]) for _ in range(count)],
            "status": ["success"] * count,
            "total_price": pl.Series(
                [Decimal(generator.randrange(10**15)).scaleb(-10) for _ in range(count)], dtype=MONEY
            ),
            "create_time": [BEGIN + timedelta(seconds=generator.random() * 86_400 * days) for _ in range(count)],
        }
    ).cast({"create_time": TIME, "total_price": MONEY})


# --- what comes back ------------------------------------------------------------------------------------------------


async def test_an_export_comes_back_equal_from_every_store(store: Store, tmp_path: Path) -> None:
    await store.save_provider(one := provider())
    await store.save_agent(two := agent(provider_id=one.id))
    calls = [
        call(
            n % 7 + n / 1e6,
            agent_id=two.id if n % 2 else UUID(int=5),
            total_price=Decimal(n).scaleb(-10) if n % 3 else None,
            prompt_tokens_details={"cached_tokens": n, "further": [n]} if n % 5 else None,
            price_details={"input_price": Decimal(n).scaleb(-9), "currency": "EUR"} if n % 4 else None,
            error_message="".join(chr(32 + n)) * n,
        )
        for n in range(90)
    ]
    await store.save_api_calls(calls)
    done = export_parquet(store, tmp_path / "calls.parquet")
    assert (done.rows, done.files) == (90, (tmp_path / "calls.parquet",))
    assert done.bytes == (tmp_path / "calls.parquet").stat().st_size

    names = {two.id: (two.agent_code, two.agent_name, one.provider_name)}
    back = load_usage(tmp_path / "calls.parquet").frame
    assert dict(back.schema) == dict(load_usage(store).frame.schema)
    assert rows_by_id(back) == {str(made.id): expected_row(made, names) for made in calls}
    assert back["create_time"].to_list() == sorted(made.create_time for made in calls)

    details = load_usage(tmp_path / "calls.parquet", columns=["id", *DETAILS]).frame
    stored = load_usage(store, columns=["id", *DETAILS]).frame
    assert details.sort("id").equals(stored.sort("id"))


def test_types_metadata_and_order_for_any_reader(tmp_path: Path) -> None:
    frame = frame_of()
    export_parquet(frame.sample(fraction=1.0, shuffle=True, seed=1), tmp_path / "a.parquet", row_group_size=256)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [str(file.schema_arrow.field(name).type) for name in ("total_price", "create_time")] == [
        "decimal128(38, 10)",
        "timestamp[us, tz=UTC]",
    ]
    metadata = file.metadata.metadata
    assert metadata[b"mofa_usage.schema_version"] == b"3"
    assert json.loads(metadata[b"mofa_usage.units"])["total_price"] == "units of the column currency"
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [256, 256, 256, 232]
    place = file.schema_arrow.get_field_index("create_time")
    assert {group.sorting_columns[0].column_index for group in groups} == {place}
    ends = [(group.column(place).statistics.min, group.column(place).statistics.max) for group in groups]
    assert all(before[1] <= after[0] for before, after in pairwise(ends))
    assert {group.column(place).compression for group in groups} == {"ZSTD"}
    times = pl.read_parquet(tmp_path / "a.parquet")["create_time"]
    assert times.to_list() == sorted(frame["create_time"].to_list())
    answer = duckdb.connect().sql(f"SELECT sum(total_price), min(create_time) FROM '{tmp_path}/a.parquet'").fetchall()
    assert answer == [(sum(frame["total_price"].to_list()), times[0])]


def test_files_written_here_are_read_as_they_are_and_others_are_checked(tmp_path: Path) -> None:
    odd = frame_of(10).with_columns(status=pl.lit("odd"))
    odd.write_parquet(tmp_path / "theirs.parquet")
    export_parquet(odd, tmp_path / "ours.parquet")
    for name in ("theirs", "ours"):
        assert set(load_usage(tmp_path / f"{name}.parquet").frame["status"]) == {"failed"}
    assert load_usage(str(tmp_path / "*.parquet")).frame.height == 20


@pytest.mark.parametrize("kind", ["polars", "lazy", "relation", "parquet", "usage"])
def test_any_source_can_be_exported(tmp_path: Path, kind: str) -> None:
    frame = frame_of(100)
    connection = duckdb.connect()
    connection.register("calls", frame)
    frame.write_parquet(tmp_path / "source.parquet")
    source: Any = {
        "polars": frame,
        "lazy": frame.lazy(),
        "relation": connection.sql("FROM calls"),
        "parquet": tmp_path / "source.parquet",
    }.get(kind)
    if kind == "usage":
        load_usage(frame).export_parquet(tmp_path / "out.parquet")
    else:
        export_parquet(source, tmp_path / "out.parquet")
    back = load_usage(tmp_path / "out.parquet").frame
    assert back["create_time"].is_sorted()
    assert back.sort("id").select(frame.columns).equals(frame)


def test_only_what_is_selected_is_exported(tmp_path: Path) -> None:
    frame = frame_of()
    done = export_parquet(
        frame,
        tmp_path / "a.parquet",
        filter=QueryFilter(model_name="a"),
        start="2026-02-01",
        end="2026-02-02",
        tz="Asia/Tokyo",
    )
    first = datetime(2026, 1, 31, 15, tzinfo=UTC)
    wanted = [
        row["id"]
        for row in frame.iter_rows(named=True)
        if row["model_name"] == "a" and first <= row["create_time"] < first + timedelta(days=1)
    ]
    assert done.rows == len(wanted) > 0
    assert sorted(pl.read_parquet(tmp_path / "a.parquet")["id"]) == sorted(wanted)
    newest = export_parquet(frame, tmp_path / "b.parquet", filter=QueryFilter(limit=5))
    assert newest.rows == 5
    assert pl.read_parquet(tmp_path / "b.parquet")["create_time"].to_list() == sorted(frame["create_time"])[-5:]


def test_nothing_is_exported_as_nothing(tmp_path: Path) -> None:
    for partition in (None, "month"):
        path = tmp_path / f"empty-{partition}"
        done = export_parquet(frame_of(10), path, start="2030-01-01", partition_by=partition)
        assert done.rows == 0
        assert load_usage(path).frame.height == 0
        assert load_usage(path).frame.schema["total_price"] == MONEY


# --- partitions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tz", "moments", "names"),
    [
        ("Europe/Berlin", ["2026-05-01T22:30"], ["day=2026-05-02/calls.parquet"]),
        ("UTC", ["2026-05-01T22:30"], ["day=2026-05-01/calls.parquet"]),
    ],
)
def test_partitions_are_of_the_zone(tmp_path: Path, tz: str, moments: list[str], names: list[str]) -> None:
    times = [datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in moments]
    frame = pl.DataFrame({"create_time": times, "prompt_tokens": [1] * len(times)})
    done = export_parquet(frame, tmp_path / "calls", partition_by="day", tz=tz)
    assert [str(file.relative_to(tmp_path / "calls")) for file in done.files] == names
    assert load_usage(tmp_path / "calls").frame["create_time"].sort().to_list() == times


def test_a_day_that_comes_again_has_a_second_file(tmp_path: Path) -> None:
    """Newfoundland set its clocks back at one minute past midnight."""
    moments = ["2010-11-07T02:29:59", "2010-11-07T02:30:30", "2010-11-07T02:31:30", "2010-11-07T03:30:00"]
    times = [datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in moments]
    frame = pl.DataFrame({"create_time": times}, schema={"create_time": TIME})
    with CallFiles(tmp_path, Partitions("day", "America/St_Johns"), 10, frame.schema) as files:
        for row in range(4):
            files.write(frame.slice(row, 1))
    assert files.names == [
        f"day=2010-11-0{day}/calls{end}.parquet" for day, end in ((6, ""), (7, ""), (6, "-2"), (7, "-2"))
    ]
    assert load_usage(tmp_path).frame["create_time"].sort().to_list() == times


@pytest.mark.parametrize(("partition", "label"), [("month", "%Y-%m"), ("day", "%Y-%m-%d")])
def test_partitions_hold_their_month_or_day(tmp_path: Path, partition: Any, label: str) -> None:
    frame = frame_of()
    done = export_parquet(frame, tmp_path / "calls", partition_by=partition)
    expected: dict[str, int] = {}
    for moment in frame["create_time"].to_list():
        name = f"{partition}={moment.strftime(label)}/calls.parquet"
        expected[name] = expected.get(name, 0) + 1
    found = {str(file.relative_to(tmp_path / "calls")): pq.read_metadata(file).num_rows for file in done.files}
    assert found == expected
    assert {str(path.relative_to(tmp_path / "calls")) for path in (tmp_path / "calls").rglob("*.parquet")} == set(
        expected
    )
    back = load_usage(tmp_path / "calls").frame
    assert back.sort("id").select(frame.columns).equals(frame)
    hive = (
        duckdb.connect()
        .sql(f"SELECT DISTINCT {partition} FROM read_parquet('{tmp_path}/calls/*/*.parquet')")
        .fetchall()
    )
    assert len(hive) == len(expected)


# --- SQLite in windows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [-1, 10**9], ids=["process", "here"])
def test_windows_of_time_neither_lose_nor_repeat_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Small windows over text times of every form, many calls within one second, some seconds at a window's edge."""
    generator = random.Random(2)
    meant: dict[str, datetime] = {}
    with raw_database(tmp_path / "raw.db") as connection:
        for number in range(700):
            second = generator.choice([0, 0, 0, 1, 2, 3, 10, 11])
            micros = generator.choice([0, 1, 500_000, 999_999, 123_456])
            fraction = "" if micros == 0 else f".{micros:06d}" + generator.choice(["", "789"])
            moment = NOON.replace(microsecond=0) + timedelta(seconds=second)
            written = moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + generator.choice(["Z", "+00:00"])
            meant[str(number)] = moment + timedelta(microseconds=micros)
            insert(connection, id=str(number), create_time=written, update_time=written)
    monkeypatch.setattr("mofa_usage.reading.database._WINDOW", 50)
    monkeypatch.setattr(sqlite_reader, "BATCH", 16)
    monkeypatch.setattr(sqlite_reader, "_FEW", few)
    done = export_parquet(f"sqlite:{tmp_path / 'raw.db'}", tmp_path / "out.parquet")
    assert done.rows == 700
    back = pl.read_parquet(tmp_path / "out.parquet")
    assert dict(zip(back["id"], back["create_time"], strict=True)) == meant
    assert back["create_time"].is_sorted()


def test_times_that_the_database_sorts_wrongly_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_reader, "BATCH", 1)
    with raw_database(tmp_path / "raw.db") as connection:
        insert(connection, id="a", create_time="2026-03-01T12:00:00+00:00")
        insert(connection, id="a", create_time="2026-03-01T12:30:00+00:00")
        insert(connection, id="b", create_time="2026-03-01T13:00:00+05:00")
        insert(connection, id="c", create_time="2026-03-01T14:00:00+00:00")
    with pytest.raises(SerializationError, match="do not come in order of time"):
        export_parquet(f"sqlite:{tmp_path / 'raw.db'}", tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw.db"]


# --- whole or not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partition", [None, "day"])
def test_what_is_there_is_not_replaced_unasked(tmp_path: Path, partition: Any) -> None:
    target = tmp_path / "calls"
    export_parquet(frame_of(50), target, partition_by=partition)
    with pytest.raises(UsageError, match="is there already; overwrite=True replaces it"):
        export_parquet(frame_of(20), target, partition_by=partition)
    assert load_usage(target).frame.height == 50
    export_parquet(frame_of(20), target, partition_by=partition, overwrite=True)
    assert load_usage(target).frame.height == 20
    assert [path.name for path in tmp_path.iterdir()] == ["calls"]


def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "home" / "photos").mkdir(parents=True)
    (tmp_path / "home" / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(UsageError, match=r"holds photos/cat.jpg, which is no Parquet file"):
        export_parquet(frame_of(10), tmp_path / "home", partition_by="day", overwrite=True)
    with pytest.raises(UsageError, match="is a folder"):
        export_parquet(frame_of(10), tmp_path / "home", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        export_parquet(frame_of(10), tmp_path / "file", partition_by="day", overwrite=True)
    assert (tmp_path / "home" / "photos" / "cat.jpg").read_text() == "meow"


def test_a_failing_source_leaves_what_was_there(tmp_path: Path) -> None:
    export_parquet(frame_of(5), tmp_path / "out.parquet")
    with raw_database(tmp_path / "raw.db") as connection:
        for number in range(100):
            insert(connection, id=str(number), price_details="{" if number == 99 else None)
    with pytest.raises(SerializationError, match="call 99"):
        export_parquet(f"sqlite:{tmp_path / 'raw.db'}", tmp_path / "out.parquet", overwrite=True)
    assert load_usage(tmp_path / "out.parquet").frame.height == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "raw.db"]


def test_bad_options_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="partition_by is 'week'"):
        export_parquet(frame_of(1), tmp_path / "x", partition_by="week")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="row_group_size is 0"):
        export_parquet(frame_of(1), tmp_path / "x", row_group_size=0)
    with pytest.raises(UsageError, match="no create_time"):
        export_parquet(frame_of(1).drop("create_time"), tmp_path / "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot write the export to"):
        export_parquet(frame_of(1), tmp_path / "file" / "x")


EXPORT = """
import sys, time
from mofa_usage.exporting import export, files
write = files.CallFiles.write
def slowly(self, rows):
    write(self, rows)
    print("writing", flush=True)
    time.sleep(0.05)
files.CallFiles.write = slowly
export.export_parquet(sys.argv[1], sys.argv[2], partition_by=sys.argv[3] or None, overwrite=True, row_group_size=100)
print("done", flush=True)
"""


@pytest.mark.proof
@pytest.mark.parametrize("partition", ["", "day"])
def test_a_killed_export_leaves_the_old_one_and_the_next_clears_up(tmp_path: Path, partition: str) -> None:
    source, target = tmp_path / "source.parquet", tmp_path / "calls"
    frame_of(200_000).write_parquet(source)
    export_parquet(frame_of(7), target, partition_by=partition or None)  # type: ignore[arg-type]
    for _ in range(trials(1, 3)):
        process = subprocess.Popen(
            [sys.executable, "-c", EXPORT, str(source), str(target), partition], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            # Beside a living export another one leaves its folder alone.
            export_parquet(frame_of(7), target, partition_by=partition or None, overwrite=True)  # type: ignore[arg-type]
            assert len(list(tmp_path.glob(".calls.*.export"))) == 1
            process.send_signal(signal.SIGKILL)
        assert load_usage(target).frame.height == 7
        assert len(list(tmp_path.glob(".calls.*.export"))) == 1
        export_parquet(frame_of(7), target, partition_by=partition or None, overwrite=True)  # type: ignore[arg-type]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "source.parquet"]


def test_a_folder_put_aside_by_a_killed_export_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "calls"
    export_parquet(frame_of(9), target, partition_by="day")
    stranded = tmp_path / ".calls.0badc0de.export"
    stranded.mkdir()
    target.rename(stranded / "old")  # killed between the two renames
    with pytest.raises(UsageError, match="is there already"):
        export_parquet(frame_of(3), target, partition_by="day")
    assert load_usage(target).frame.height == 9
    assert [path.name for path in tmp_path.iterdir()] == ["calls"]


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        export_parquet(frame_of(5), tmp_path / "out.parquet")
        export_parquet(frame_of(5), tmp_path / "out", partition_by="day")
    finally:
        os.umask(before)
    assert (tmp_path / "out.parquet").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750
