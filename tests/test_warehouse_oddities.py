"""What sources bring that a warehouse must not take for something else: ids, names, types and times at the edge."""

import asyncio
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from mofa_usage import UsageError, load_usage
from mofa_usage.stores import InMemoryStore
from mofa_usage.warehouse import Warehouse
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
