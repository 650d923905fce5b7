"""A warehouse in an object store holds every call once, also of a source that overlaps another one."""

import polars as pl

from mofa_usage.warehouse import Warehouse
from tests.object_store import ObjectStore
from tests.test_export_windows import calls_of


def test_calls_that_another_source_has_too_are_there_once(object_store: ObjectStore) -> None:
    calls = calls_of(400)
    warehouse = Warehouse(f"{object_store.bucket()}/warehouse", storage_options=object_store.options)
    warehouse.sync(calls.head(300))
    assert warehouse.sync(calls).tables[0].added == 100
    changed = calls.with_columns(prompt_tokens=pl.col("prompt_tokens") + 1)
    assert warehouse.sync(changed).tables[0].added == 0
    warehouse.compact()
    found = warehouse.usage().frame.sort("id")
    assert found["id"].to_list() == sorted(calls["id"])
    assert warehouse.verify(changed).equal
