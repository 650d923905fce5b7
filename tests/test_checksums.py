"""What a server adds up and what DuckDB adds up is the same exactly where the rows are."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
import sqlalchemy as sa

from mofa_usage.records import LLMApiCall
from mofa_usage.stores import Store
from mofa_usage.warehouse import Warehouse
from mofa_usage.warehouse.sources import TABLES, open_changes
from mofa_usage.warehouse.sources.tables import SPECS
from mofa_usage.warehouse.verifying import _Comparison
from tests.samples import at, call
from tests.test_sources import fill

pytestmark = [pytest.mark.sql_only, pytest.mark.only_on("postgres", "mariadb", "mysql")]

ODD = "Straße 'ключ' \U0001f511 \"a\" \\ \t%s"
RATES = (0.1 + 0.2, 1 / 3, 123456.789, 1e-3, 0.0, 7e9, 31.25)
DAY = 86_400


def odd_calls() -> list[LLMApiCall]:
    """Calls of several months, with what two engines may write in two ways."""
    return [
        call(
            number * 11 * DAY + 0.123456,
            tokens_per_second=rate,
            total_price=Decimal(number - 3).scaleb(-10) if number > 2 else None,
            error_message=ODD * number,
            model_name=f"{ODD} {number}",
            labels={ODD: ODD} if number % 2 else {},
            completion_tokens_details={"token_source": ("none", "partial", "estimated")[number % 3], ODD: 1},
        )
        for number, rate in enumerate(RATES)
    ]


async def run(store: Any, *statements: str) -> None:
    async with store.engine.begin() as connection:
        for statement in statements:
            await connection.execute(sa.text(statement))


@pytest.fixture
def never_by_id(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on the sums have to do."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the sums differ")

    return lambda: monkeypatch.setattr(_Comparison, "by_id", refuse)


async def test_both_sides_add_up_to_the_same(
    store: Store, tmp_path: Path, never_by_id: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = await fill(store)
    await store.save_api_calls(calls := odd_calls())
    early = call(0, id=UUID(int=77), create_time=at(-1e9), update_time=at(-1e9))
    await store.save_api_call(early)
    # A tenant that is null, and a trigger's clock that is behind.
    behind = f"UPDATE entity_llm_api_call SET update_time = '2001-01-01 00:00:00' WHERE id = '{calls[1].id}'"
    await run(store, "UPDATE entity_llm_message SET tenant_id = NULL", behind)
    warehouse = Warehouse(tmp_path)
    await asyncio.to_thread(warehouse.sync, store, content=True)
    with monkeypatch.context() as patched:
        patched.setattr(_Comparison, "_source_rows", lambda *_: iter(()))  # nothing of the tables comes over
        never_by_id()
        verified = await asyncio.to_thread(warehouse.verify, store)
    assert verified.equal
    assert verified.rows == {name: len(records[name]) + (8 if name == "calls" else 0) for name in TABLES}


async def test_a_change_of_any_value_changes_the_sums(store: Store) -> None:
    records = await fill(store)
    for name in TABLES:
        spec = SPECS[name]
        changes = open_changes(store, name, content=True)
        before = changes.sums(list(spec.columns))
        assert before is not None
        assert set(before.columns) == set(spec.columns) - {"api_key"}
        for column in before.columns:
            if column == "id" or (column, name) == ("provider_id", "agents"):
                continue
            kind = spec.kinds[column].value
            value = {
                "integer": f"coalesce({column}, 0) + 1",
                "flag": f"NOT coalesce({column}, false)",
                "money": "0.0000000001",
                "rate": "0.30000000000000004",
                "id": f"'{UUID(int=5)}'",
                "json": "'{\"b\": 1}'",
                "time": f"'203{int(column == 'update_time')}-05-01 00:00:00.000001'",
                "status, role": "'cancelled'" if column == "status" else "'tool'",
            }.get(kind, "'other'")
            await run(store, f"UPDATE {spec.table.name} SET {column} = {value} WHERE id = '{records[name][0].id}'")
            after = await asyncio.to_thread(changes.sums, list(spec.columns))
            assert after is not None
            assert after.by_month != before.by_month, f"{name}.{column}"
            before = after


async def test_rates_beyond_all_whole_numbers_are_compared(store: Store, tmp_path: Path) -> None:
    rates = (1.7e308, 2.0**63, 1e18)
    await store.save_api_calls(calls := [call(number, tokens_per_second=rate) for number, rate in enumerate(rates)])
    warehouse = Warehouse(tmp_path)
    await asyncio.to_thread(warehouse.sync, store, tables="calls")
    assert (await asyncio.to_thread(warehouse.verify, store, tables="calls")).equal
    await store.save_api_call(calls[0].model_copy(update={"tokens_per_second": 1.6e308}))
    found = (await asyncio.to_thread(warehouse.verify, store, tables="calls")).differences
    assert found.select("id", "kind").rows() == [(str(calls[0].id), "different")]


async def test_what_differs_is_named(store: Store, tmp_path: Path) -> None:
    await store.save_api_calls(calls := odd_calls())
    warehouse = Warehouse(tmp_path)
    await asyncio.to_thread(warehouse.sync, store)
    changed = calls[0].model_copy(update={"tokens_per_second": 0.3})
    await store.save_api_calls([changed, new := call(9 * DAY)])
    verified = await asyncio.to_thread(warehouse.verify, store)
    found = verified.differences.sort("kind")
    assert found.select("id", "kind").rows() == [(str(changed.id), "different"), (str(new.id), "missing")]
    assert isinstance(verified.kept, pl.DataFrame)
