"""A warehouse on a cluster has the calls of one version, with the same answers as on this machine."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from mofa_usage import connect, demo, load_usage
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES
from mofa_usage.stores import Store
from mofa_usage.warehouse import Warehouse
from mofa_usage.warehouse.cluster import _by_delta
from tests.spark.usages import TZ, assert_same


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Calls with agents, providers and sessions, synced twice: then one has other labels, and one is gone."""
    found = Warehouse(tmp_path_factory.mktemp("warehouse"))
    asyncio.run(_filled(found))
    return found


async def _filled(warehouse: Warehouse) -> None:
    async with connect("memory:") as store:
        await demo.write_usage(store, demo.generate_usage(calls=400, seed=7))
        await asyncio.to_thread(warehouse.sync, store)
        await _change(store)
        await asyncio.to_thread(warehouse.sync, store, deletes="mirror")


async def _change(store: Store) -> None:
    calls = [call async for call in store.stream_api_calls()]
    now = max(call.update_time for call in calls) + timedelta(days=1)
    await store.save_api_call(calls[0].model_copy(update={"labels": {"Team": "red"}, "update_time": now}))
    await store.delete_api_call(calls[1].id)


def test_its_calls_are_those_of_the_newest_version(session: Any, warehouse: Warehouse) -> None:
    usage, wanted = load_usage(warehouse.spark(session), tz=TZ), warehouse.usage(tz=TZ)
    assert len(usage) == len(wanted) == 399
    measures = [name for name, measure in MEASURES.items() if set(measure.needs) <= set(wanted.columns)]
    for by in ("day", "labels.Team", "session.plan", "provider_name"):
        assert_same(usage.breakdown(by, measures), wanted.breakdown(by, measures))
    assert set(usage.columns) == set(wanted.columns)
    assert "month" not in usage.columns


def test_time_travel(session: Any, warehouse: Warehouse) -> None:
    first = warehouse.history().filter(table="calls", added=400)["version"].item()
    usage, wanted = load_usage(warehouse.spark(session, as_of=first)), warehouse.usage(as_of=first)
    assert len(usage) == len(wanted) == 400
    assert_same(usage.breakdown("model_name"), wanted.breakdown("model_name"))
    with pytest.raises(UsageError, match="there is no version 99"):
        warehouse.spark(session, as_of=99)


def test_a_period_reads_the_files_that_can_hold_it(session: Any, warehouse: Warehouse) -> None:
    """Its days are those of a zone; of others' files nothing is opened."""
    wanted = warehouse.usage(tz=TZ)
    day = wanted.summary()["last_call"].item().date()
    months = wanted.breakdown("month", "calls")["month"]
    calls, whole = (cast("Any", warehouse.spark(session, start=start, tz=TZ)) for start in (day, None))
    assert 0 < len(calls.inputFiles()) < len(whole.inputFiles())
    assert_same(load_usage(calls, tz=TZ).breakdown("hour"), wanted.between(day).breakdown("hour"))
    before = load_usage(warehouse.spark(session, end=months[-1], tz=TZ), tz=TZ)
    assert len(before) == len(wanted.between(end=months[-1])) > 0
    assert len(load_usage(warehouse.spark(session, start="2000-01-01", end="2000-01-02"))) == 0


def test_nothing_is_no_warehouse(session: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no calls in"):
        Warehouse(tmp_path).spark(session)


def test_tables_beside_are_joined_where_they_are_asked_for(session: Any, warehouse: Warehouse) -> None:
    calls = warehouse.spark(session)
    for columns, joins in ((["model_name"], 0), (["agent_name"], 1), (["agent_name", "`session.plan`"], 2)):
        plan = calls.selectExpr(*columns)._jdf.queryExecution().executedPlan().toString()
        assert plan.count("BroadcastHashJoin") == joins


class Reader:
    """A session's reader of Delta tables, which writes down what it is asked for."""

    def __init__(self, error: str | None = None) -> None:
        self.asked: list[Any] = []
        self._error = error

    @property
    def read(self) -> "Reader":
        return self

    def format(self, name: str) -> "Reader":
        self.asked.append(name)
        return self

    def option(self, name: str, value: object) -> "Reader":
        self.asked.append((name, value))
        return self

    def load(self, place: str) -> str:
        self.asked.append(place)
        if self._error is not None:
            raise RuntimeError(self._error)
        return "the table"


def test_a_reader_of_delta_tables_gets_the_version() -> None:
    reader = Reader()
    assert _by_delta(reader, "s3a://bucket/usage/calls", 7) == "the table"
    assert reader.asked == ["delta", ("versionAsOf", 7), "s3a://bucket/usage/calls"]
    assert _by_delta(Reader("[DATA_SOURCE_NOT_FOUND] Failed to find the data source: delta"), "calls", 7) is None
    with pytest.raises(UsageError, match="cannot read calls: no right to"):
        _by_delta(Reader("no right to"), "calls", 7)
