"""A warehouse of an earlier version is read as it is and gets the new columns; one of a later version is refused."""

import asyncio
import shutil
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from mofa_usage import UsageError, load_usage
from mofa_usage.reading.relation import newer_columns
from mofa_usage.stores import InMemoryStore
from mofa_usage.warehouse import Warehouse
from mofa_usage.warehouse.delta import Mirror
from tests.samples import call
from tests.warehouse import held

NEW = newer_columns("2")
DAY = 86_400.0
CACHED = {"cache_write_tokens": 30, "cache_write_5m_tokens": 20, "cache_write_1h_tokens": 10}


def store_of(numbers: range) -> InMemoryStore:
    store = InMemoryStore()
    details = [CACHED, None]
    calls = [call(DAY * 9 * n, id=UUID(int=n + 1), prompt_tokens_details=details[n % 2]) for n in numbers]
    asyncio.run(store.save_api_calls(calls))
    return store


def made_older(path: Path) -> None:
    """Write the calls of a warehouse anew as version 2 of the columns had them."""
    rows = pl.read_delta(str(path / "calls")).drop(NEW)
    shutil.rmtree(path / "calls")
    write_deltalake(path / "calls", rows, partition_by=["month"], description="mofa_usage, columns 2")


def said(path: Path) -> str | None:
    return DeltaTable(path / "calls").metadata().description


def cached(warehouse: Warehouse, as_of: int | None = None) -> list[tuple[int, ...]]:
    frame = warehouse.usage(as_of).frame.sort("id")
    return frame.select("cache_write_5m_tokens", "cache_write_1h_tokens").rows()


def test_an_older_one_is_read_and_evolved_by_the_next_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store = tmp_path / "warehouse", store_of(range(8))
    warehouse = Warehouse(path)
    warehouse.sync(store)
    expected = cached(warehouse)
    assert {row[0] for row in expected} == {20, None}
    made_older(path)
    assert cached(warehouse) == expected
    assert warehouse.verify(store).equal

    def killed(mirror: Mirror, done: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "describe", killed)
        with pytest.raises(KeyboardInterrupt):
            warehouse.sync(store)
    assert said(path) == "mofa_usage, columns 2"
    assert cached(warehouse) == expected
    asyncio.run(store.save_api_call(call(1, id=UUID(int=99), prompt_tokens_details=CACHED)))
    summary = warehouse.sync(store)
    assert (summary["calls"].added, summary["calls"].updated) == (1, 0)
    assert said(path) == "mofa_usage, columns 3"
    assert [row[NEW[0]] for row in sorted(held(path), key=lambda row: row["id"])] == [20, None] * 4 + [20]
    assert cached(warehouse) == [*expected, (20, 10)]
    assert cached(warehouse, as_of=0) == expected  # as it was, by the columns of then
    assert warehouse.verify(store).equal
    assert "new columns" in warehouse.history()["what"].to_list()
    assert not warehouse.sync(store).changed


def test_a_newer_one_and_what_is_none_are_refused(tmp_path: Path) -> None:
    path, store = tmp_path / "warehouse", store_of(range(1))
    warehouse = Warehouse(path)
    warehouse.sync(store)
    table = DeltaTable(path / "calls")
    for description, reason in (("mofa_usage, columns 10", "update mofa_usage"), ("bills", "but none of a warehouse")):
        table.alter.set_table_description(description)
        for action in (warehouse.usage, warehouse.compact, warehouse.history, lambda: load_usage(path)):
            with pytest.raises(UsageError, match=reason):
                action()
        with pytest.raises(UsageError, match=reason):
            warehouse.sync(store)
        with pytest.raises(UsageError, match=reason):
            warehouse.verify(store)
