"""A warehouse in an object store: every call once, whoever is killed and whoever writes beside, or a clear refusal."""

import json
import pkgutil
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mofa_usage import UsageError, load_usage
from mofa_usage.warehouse import Warehouse
from tests.object_store import ObjectStore
from tests.proofs import trials
from tests.test_export_windows import calls_of

# Small batches, so that a sync has many commits to be killed between.
SYNC = """
import json, sys
from mofa_usage.warehouse import Warehouse, syncing
syncing._BATCH_ROWS = 40
print("begin", flush=True)
Warehouse(sys.argv[1], storage_options=json.loads(sys.argv[3])).sync(sys.argv[2])
print("end", flush=True)
"""


def objects(store: ObjectStore, url: str) -> list[str]:
    """The names of all objects of a bucket."""
    listed = store.request("GET", url.removeprefix("s3://").partition("/")[0]).decode()
    return [part.partition("</Key>")[0] for part in listed.split("<Key>")[1:]]


def test_calls_that_another_source_has_too_are_there_once(object_store: ObjectStore) -> None:
    calls = calls_of(120)
    warehouse = Warehouse(f"{object_store.bucket()}/warehouse", storage_options=object_store.options)
    warehouse.sync(calls.head(80))
    assert warehouse.sync(calls).tables[0].added == 40
    changed = calls.with_columns(prompt_tokens=pl.col("prompt_tokens") + 1)
    assert warehouse.sync(changed).tables[0].added == 0
    warehouse.compact()
    found = warehouse.usage().frame.sort("id")
    assert found["id"].to_list() == sorted(calls["id"])
    assert warehouse.verify(changed).equal


def test_a_warehouse_is_read_by_its_url(
    object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, options = calls_of(50), object_store.options
    path = f"{object_store.bucket()}/some folder/ü"
    Warehouse(path, storage_options=options).sync(calls)
    usage = load_usage(f"{path}/", storage_options=options)
    assert usage.breakdown("currency", "cost").equals(load_usage(calls).breakdown("currency", "cost"))
    with pytest.raises(UsageError, match="is a warehouse, whose columns are known"):
        load_usage(path, storage_options=options, mapping={"model_name": "model"})
    with pytest.raises(UsageError, match="no Parquet file"):
        load_usage(f"{path}/else", storage_options=options)
    for name, value in options.items():
        monkeypatch.setenv(name, value)
    copy = Warehouse(tmp_path / "copy")  # a warehouse there is a source, too
    assert copy.sync(path)["calls"].added == 50
    assert not copy.sync(path).changed
    [synced] = Warehouse(path, storage_options=options).synced().rows()
    assert synced[1] == "calls"
    assert not [name for name in objects(object_store, path) if "probe" in name]


@pytest.mark.parametrize(
    "step", ["finding.Finder.held", "delta.written", "delta.Mirror.history", "warehouse.leave_stamp"]
)
def test_an_outage_at_any_step_is_told_and_nothing_is_lost(
    object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    options = {**object_store.options, "max_retries": "0"}
    warehouse, calls = Warehouse(f"{object_store.bucket()}/warehouse", storage_options=options), calls_of(4)
    warehouse.sync(calls.head(3))
    taken = pkgutil.resolve_name(f"mofa_usage.warehouse.{step}")

    def without_store(*arguments: Any, **named: Any) -> Any:
        with object_store.gone():
            made = taken(*arguments, **named)
            return made if isinstance(made, pl.DataFrame) else list(made)

    with monkeypatch.context() as patch:
        patch.setattr(f"mofa_usage.warehouse.{step}", without_store)
        with pytest.raises(UsageError, match=r"cannot (read|write)"):
            warehouse.sync(calls)
    warehouse.sync(calls)
    assert warehouse.verify(calls).equal


def test_a_store_that_heeds_no_conditions_takes_only_who_promises_to_be_alone(object_store: ObjectStore) -> None:
    path, calls = f"{object_store.bucket(conditional=False)}/warehouse", calls_of(50)
    careful = Warehouse(path, storage_options=object_store.options)
    with pytest.raises(UsageError, match="does not heed conditional writes") as refused:
        careful.sync(calls.head(20))
    assert "aws_s3_allow_unsafe_rename=true" in str(refused.value)
    assert not objects(object_store, path)
    alone = Warehouse(path, storage_options={**object_store.options, "aws_s3_allow_unsafe_rename": "true"})
    alone.sync(calls.head(20))
    assert len(careful.usage()) == 20  # reading is as safe as ever
    for write in (lambda: careful.sync(calls), careful.vacuum):
        with pytest.raises(UsageError, match="does not heed conditional writes"):
            write()
    alone.sync(calls)
    assert alone.verify(calls).equal


@pytest.mark.proof
def test_after_any_kill_the_next_sync_completes_it(object_store: ObjectStore, tmp_path: Path) -> None:
    path, file, chance = f"{object_store.bucket()}/warehouse", tmp_path / "calls.parquet", random.Random(7)
    for trial in range(trials(1, 50)):
        calls = calls_of(160).with_columns(prompt_tokens=pl.lit(trial))
        calls.write_parquet(file)
        killed = _syncing(path, file, object_store)
        time.sleep(chance.random() * 1.5)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    warehouse = Warehouse(path, storage_options=object_store.options)
    warehouse.sync(file)
    assert warehouse.verify(file).equal
    assert sorted(warehouse.usage().frame["id"]) == sorted(calls["id"])


def _syncing(path: str, source: Path, store: ObjectStore) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SYNC, path, str(source), json.dumps(dict(store.options))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begin\n"
    return process


@pytest.mark.proof
def test_of_writers_at_once_all_is_there_once(object_store: ObjectStore, tmp_path: Path) -> None:
    calls = calls_of(300)
    files = [tmp_path / f"{first}.parquet" for first in (0, 100)]
    for first, file in zip((0, 100), files, strict=True):
        calls.slice(first, 200).write_parquet(file)  # a hundred are in both
    for _ in range(trials(1, 20)):
        path = f"{object_store.bucket()}/warehouse"
        with ThreadPoolExecutor() as threads:
            done = [threads.submit(_synced, path, file, object_store) for file in files]
        assert sum(one.result() for one in done) == 300
        warehouse = Warehouse(path, storage_options=object_store.options)
        assert sorted(warehouse.usage().frame["id"]) == sorted(calls["id"])
        assert warehouse.verify(calls).equal
        assert sorted(warehouse.synced()["source"]) == sorted(map(str, files))


def _synced(path: str, source: Path, store: ObjectStore) -> int:
    return Warehouse(path, storage_options=store.options).sync(source)["calls"].added
