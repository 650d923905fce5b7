"""What sources bring that a warehouse must not take for something else: ids, names, types and times at the edge."""

import asyncio
import json
import os
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from mofa_usage import UsageError, connect, load_usage
from mofa_usage.exporting import export_parquet
from mofa_usage.stores import InMemoryStore
from mofa_usage.warehouse import Warehouse, syncing
from mofa_usage.warehouse.files import Written
from tests.samples import call, session

MAY, JUNE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """Calls a, b, c, ..., of May where nothing else is said."""
    return pl.DataFrame(
        [{"id": "abcdef"[place], "model_name": "m", "create_time": MAY, **row} for place, row in enumerate(rows)],
        infer_schema_length=None,
    )


@pytest.mark.parametrize("identifier", [None, "", "00000000-0000-0000-0000-000000000000"])
def test_calls_without_ids_are_refused_and_do_not_become_one(tmp_path: Path, identifier: str | None) -> None:
    calls = frame({}, {}, {}).with_columns(id=pl.Series(["a", identifier, identifier]))
    calls.write_parquet(tmp_path / "calls.parquet")
    for source in (calls, tmp_path / "calls.parquet"):
        with pytest.raises(UsageError, match="calls whose id is empty"):
            Warehouse(tmp_path / "warehouse").sync(source)


def test_the_first_and_the_last_moment_that_there_are(tmp_path: Path) -> None:
    ends = [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)]
    calls = frame(*({"create_time": end} for end in ends))
    warehouse = Warehouse(tmp_path)
    warehouse.sync(calls)
    assert not warehouse.sync(calls).changed
    assert warehouse.verify(calls).equal
    assert warehouse.usage().frame["create_time"].sort().to_list() == sorted(ends)
    assert len(load_usage(tmp_path, start="1970-01-01")) == 1
    assert len(load_usage(tmp_path, end="1970-01-01")) == 2


def test_names_that_differ_in_capitals_only_are_not_taken_for_one_another(tmp_path: Path) -> None:
    told = [{"plan": "a", "Plan": "b"}, {"plan": "c"}]
    store = InMemoryStore()
    for place, one in enumerate(told):
        asyncio.run(store.create_session(kept := session(place, metadata=one)))
        asyncio.run(store.save_api_call(call(place, chat_session_id=kept.id, labels=one)))
    warehouse = Warehouse(tmp_path)
    warehouse.sync(store)
    assert warehouse.verify(store).equal
    for kind in ("labels", "session"):
        plans = warehouse.usage().breakdown(f"{kind}.plan", "calls")
        assert sorted(plans.rows()) == [("a", 1), ("c", 1)]
        with pytest.raises(UsageError, match=f"no column '{kind}.Plan'"):
            warehouse.usage().breakdown(f"{kind}.Plan", "calls")
    assert load_usage(tmp_path, columns=["labels.Plan"]).frame.rows() == [("b",), (None,)]
    with pytest.raises(UsageError, match="one of them at a time"):
        _ = load_usage(tmp_path, columns=["labels.plan", "labels.Plan"]).frame
    with pytest.raises(UsageError, match=r"session\.Plan: another column"):
        _ = load_usage(tmp_path, columns=["session.Plan"]).frame


@pytest.mark.parametrize("names", [("mine", "Mine"), ("labels.a", "labels.A"), ("Model_Name", "other")])
def test_columns_that_a_delta_table_cannot_tell_apart_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="but for capitals"):
        Warehouse(tmp_path).sync(frame(dict.fromkeys(names, "x")))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (1, 1.5),
        (True, 3),
        (Decimal("1.1"), Decimal("1.123")),
        (date(2026, 5, 1), datetime(2026, 5, 1, 5, tzinfo=UTC)),
        (1.5, 2**53 + 1),
        (1, date(2026, 5, 1)),
        (date(2026, 5, 1), 1),
    ],
)
def test_a_column_of_ones_own_is_never_cut_to_the_type_that_it_had_before(
    tmp_path: Path, first: Any, then: Any
) -> None:
    warehouse = Warehouse(tmp_path)
    warehouse.sync(frame({"mine": first}))
    with pytest.raises(UsageError, match="the column mine of calls"):
        warehouse.sync(frame({"mine": then}))
    assert not warehouse.sync(frame({"mine": None})).tables[0].added


def test_a_label_is_text_whatever_a_file_has_of_it(tmp_path: Path) -> None:
    store, warehouse = InMemoryStore(), Warehouse(tmp_path)
    warehouse.sync(frame({"labels.shard": 1}))
    asyncio.run(store.save_api_call(call(0, labels={"shard": "x"})))
    warehouse.sync(store, tables="calls")
    assert warehouse.usage().breakdown("labels.shard", "calls").rows() == [("1", 1), ("x", 1)]


def test_what_a_file_says_twice_is_no_difference(tmp_path: Path) -> None:
    calls = frame({"create_time": MAY}, {}, {"id": "a", "create_time": JUNE})
    warehouse = Warehouse(tmp_path)
    warehouse.sync(calls)
    assert warehouse.verify(calls).equal
    changed = frame({"create_time": MAY}, {}, {"id": "a", "create_time": JUNE, "model_name": "n"})
    assert warehouse.verify(changed).differences.rows() == [("calls", "a", "different")]


def test_a_call_in_two_months_of_the_warehouse_is_named(tmp_path: Path) -> None:
    calls = frame({}, {"labels": json.dumps({"team": "x"})})
    warehouse = Warehouse(tmp_path)
    warehouse.sync(calls)
    table = str(tmp_path / "calls")
    again = pl.read_delta(table).filter(id="b").with_columns(create_time=pl.lit(JUNE), month=pl.lit("2026-06"))
    write_deltalake(table, again.to_arrow(), mode="append")
    found = warehouse.verify(calls)
    assert found.differences.rows() == [("calls", "b", "doubled")]
    assert found.kept.is_empty()


def test_no_tables_are_not_all_tables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tables is empty"):
        Warehouse(tmp_path).sync(frame({}), tables=[])


def test_paths_are_what_people_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Warehouse("~/my lake").sync(frame({}, {}))
    assert len(load_usage("~/my lake")) == len(load_usage((tmp_path / "my lake").as_uri())) == 2
    assert Warehouse(tmp_path / "other").sync((tmp_path / "my lake").as_uri())["calls"].added == 2
    assert export_parquet("~/my lake", (tmp_path / "calls.parquet").as_uri()).files == (tmp_path / "calls.parquet",)
    assert len(load_usage("~/calls.parquet")) == 2
    for place in ("", " ", "file://host/x", "a%20b", "a\\b", "a\nb"):
        with pytest.raises(UsageError, match=r"no path|another machine|cannot be a warehouse"):
            Warehouse(place)
    for place in ("s3://bucket/calls.parquet", "https://host/x"):
        with pytest.raises(UsageError, match="no path of this machine"):
            export_parquet("~/my lake", place)


def test_files_of_a_table_are_not_read_as_if_all_of_them_were_of_now(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "lake")
    warehouse.sync(frame({}))
    warehouse.sync(frame({"model_name": "n"}))
    for place in (tmp_path, tmp_path / "lake" / "calls"):
        with pytest.raises(UsageError, match="calls is a Delta table: some of its files are of earlier versions"):
            load_usage(place)
    with pytest.raises(UsageError, match="is a Delta table itself"):
        Warehouse(tmp_path / "lake" / "calls").sync(frame({}))


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "lake")
    assert Warehouse(tmp_path / "other").sync(frame({}))["calls"].added == 1
    assert warehouse.sync(Warehouse(tmp_path / "other"))["calls"].added == 1
    assert warehouse.verify(Warehouse(tmp_path / "other")).equal
    for days in (float("nan"), float("inf"), 1e30, 0.5):
        with pytest.raises(UsageError, match="is asked to keep"):
            warehouse.vacuum(days)
    with pytest.raises(UsageError, match="last is -1"):
        warehouse.history(-1)
    with pytest.raises(UsageError, match="most_deleted is 2"):
        warehouse.sync(frame({}), most_deleted=2)
    with pytest.raises(UsageError, match="kept_before is for"):
        warehouse.sync(frame({}), kept_before="2026-01-01")
    with pytest.raises(UsageError, match=r"knows no calls as of 2020-01-01"):
        warehouse.usage(as_of="2020-01-01")
    with pytest.raises(UsageError, match=r"as_of is True; it is a moment"):
        warehouse.usage(as_of=True)
    for path in (None, 5, b"lake"):
        with pytest.raises(UsageError, match=r"is no path; a warehouse is a folder"):
            Warehouse(path)  # type: ignore[arg-type]
    (locked := tmp_path / "locked" / ".sync.lock").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"the warehouse .*locked cannot be written: Is a directory"):
        Warehouse(locked.parent).sync(frame({}))


def test_a_database_by_two_paths_is_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to("usage.db")

    async def make() -> None:
        async with connect("sqlite:usage.db"):
            pass

    asyncio.run(make())
    warehouse = Warehouse(tmp_path / "lake")
    for url in ("sqlite:usage.db", f"sqlite:../{tmp_path.name}/usage.db", "sqlite:link.db"):
        warehouse.sync(url)
    assert warehouse.synced()["source"].unique().to_list() == [f"sqlite:{os.path.realpath('usage.db')}"]


def test_a_database_without_any_of_the_tables_is_another_than_was_meant(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(UsageError, match=r"has none of the tables entity_llm_api_call, .*: is it the right one"):
        Warehouse(tmp_path / "lake").sync(f"sqlite:{tmp_path / 'empty.db'}")


def test_a_file_is_read_once_although_its_rows_fill_the_last_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "_BATCH_ROWS", 2)
    frame({}, {}).write_parquet(file := tmp_path / "calls.parquet")
    warehouse = Warehouse(tmp_path / "lake")
    assert [warehouse.sync(file)["calls"].read for _ in range(3)] == [2, 0, 0]


def test_half_a_file_is_not_left_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Written, __: pl.DataFrame) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Written, "count", full)
    with pytest.raises(UsageError, match=r"cannot write the table calls of .*: No space left"):
        Warehouse(tmp_path).sync(frame({}))
    assert not list(tmp_path.rglob("*.parquet"))
