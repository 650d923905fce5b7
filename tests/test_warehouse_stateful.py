"""Whatever happens to a source, to another one and to the warehouse itself, in whatever order: the model is a dict.

Hypothesis draws what happens. The model knows in plain Python which version of each call the warehouse has to hold, and
what it held at each of its versions; after each sync its rows, its exact sums, and what `verify` says are compared.
"""

import asyncio
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from mofa_usage import UsageError, export_parquet
from mofa_usage.records import LLMApiCall
from mofa_usage.stores import InMemoryStore, connect
from mofa_usage.warehouse import Warehouse, upkeep
from tests.proofs import trials
from tests.samples import at, call
from tests.warehouse import expected_calls, held_calls

Calls = dict[UUID, LLMApiCall]
DAY = 86_400
IDS = [UUID(int=number << 96 | number) for number in range(1, 9)]
ids = st.sampled_from(IDS)
moments = st.integers(0, 70).map(lambda day: day * DAY)  # over three months
prices = st.none() | st.decimals(0, 9, allow_nan=False, places=10)


class Sources(RuleBasedStateMachine):
    """A store and a file that feed a warehouse, which is looked after meanwhile."""

    kind = "memory"

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "warehouse")
        self.file = Path(self.folder.name, "other.parquet")
        self.url = f"sqlite:{self.folder.name}/usage.db"
        self.memory = InMemoryStore()
        self.store: Calls = {}
        self.other: Calls = {}
        self.held: Calls = {}
        self.synced: set[str] = set()
        self.versions: dict[int, Calls] = {}
        self.ticks = 0
        self.warehouse = Warehouse(self.path)
        self.saved([(one, number * 9 * DAY, Decimal(number)) for number, one in enumerate(IDS[:4])])
        self.sync(False)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @property
    def source(self) -> Any:
        return self.memory if self.kind == "memory" else self.url

    def _do(self, saved: list[LLMApiCall], deleted: Iterable[UUID] = ()) -> None:
        async def work() -> None:
            async with nullcontext(self.memory) if self.kind == "memory" else connect(self.url) as store:
                await store.save_api_calls(saved)
                for one in deleted:
                    await store.delete_api_call(one)

        asyncio.run(work())

    def _new(self, one: UUID, seconds: float, price: Decimal | None) -> LLMApiCall:
        """A version of a call that is younger than all others."""
        self.ticks += 1
        currency = {"currency": "USD" if one.int % 2 else "EUR"}
        labels = {"team": f"team {one.int % 3}", **({"late": "yes"} if seconds < 9 * DAY else {})}
        updated = at(100 * DAY) + timedelta(seconds=self.ticks)
        return call(seconds, id=one, total_price=price, price_details=currency, labels=labels, update_time=updated)

    # --- the sources

    @rule(several=st.lists(st.tuples(ids, moments, prices), min_size=1, max_size=4, unique_by=lambda one: one[0]))
    def saved(self, several: list[tuple[UUID, float, Decimal | None]]) -> None:
        """New calls, late ones, and others that become otherwise, also when they were made."""
        calls = [self._new(*one) for one in several]
        self.store |= {one.id: one for one in calls}
        self._do(calls)

    @rule(price=st.decimals(0, 9, allow_nan=False, places=10))
    def prices_filled_in(self, price: Decimal) -> None:
        without = [one for one in self.store.values() if one.total_price is None]
        self.ticks += 1
        now = {"total_price": price, "update_time": at(100 * DAY) + timedelta(seconds=self.ticks)}
        changed = [one.model_copy(update=now) for one in without]
        self.store |= {one.id: one for one in changed}
        self._do(changed)

    @rule(day=st.integers(1, 60))
    def retention(self, day: int) -> None:
        old = [one.id for one in self.store.values() if one.create_time < at(day * DAY)]
        self._do([], old)
        self.store = {one: value for one, value in self.store.items() if one not in old}

    @rule(one=ids)
    def deleted_as_an_error(self, one: UUID) -> None:
        if self.store.pop(one, None):
            self._do([], [one])

    @rule(several=st.lists(st.tuples(ids, moments, prices), min_size=1, max_size=3, unique_by=lambda one: one[0]))
    def another_file(self, several: list[tuple[UUID, float, Decimal | None]]) -> None:
        self.other = {one[0]: self._new(*one) for one in several}
        store = InMemoryStore()
        asyncio.run(store.save_api_calls(self.other.values()))
        export_parquet(store, self.file, overwrite=True)

    # --- the warehouse

    @rule(full=st.booleans())
    def sync(self, full: bool) -> None:
        self.warehouse.sync(self.source, tables="calls", full=full)
        self._merged("store", self.store)
        assert self.warehouse.verify(self.source, tables="calls").equal is (self._stands(self.store))
        self._compared()

    @rule()
    def sync_twice(self) -> None:
        self.sync(False)
        assert not self.warehouse.sync(self.source, tables="calls").changed

    @precondition(lambda self: self.other)
    @rule()
    def sync_of_the_other(self) -> None:
        self.warehouse.sync(self.file)
        self._merged("other", self.other)
        self._compared()

    @rule()
    def mirrored(self) -> None:
        if "other" in self.synced:
            with pytest.raises(UsageError, match="would delete the rows of other sources"):
                self.warehouse.sync(self.source, tables="calls", deletes="mirror", most_deleted=1)
            self._merged("store", self.store)
        else:
            self.warehouse.sync(self.source, tables="calls", deletes="mirror", most_deleted=1)
            self._merged("store", self.store)
            oldest = min((one.create_time for one in self.store.values()), default=None)
            gone = [
                one.id
                for one in self.held.values()
                if one.id not in self.store and oldest is not None and one.create_time >= oldest
            ]
            self.held = {one: value for one, value in self.held.items() if one not in gone}
        self._compared()

    @precondition(lambda self: self.synced)
    @rule()
    def looked_after(self) -> None:
        self.warehouse.compact()
        self.warehouse.vacuum()
        self._compared()

    @precondition(lambda self: self.versions)
    @rule(which=st.integers(0, 99))
    def as_it_was(self, which: int) -> None:
        version = list(self.versions)[which % len(self.versions)]
        usage = self.warehouse.usage(version)
        assert _sums(usage) == _expected_sums(self.versions[version])

    def _merged(self, source: str, calls: Calls) -> None:
        """What a sync makes of what the warehouse holds: with two sources the younger version of a row stands."""
        self.synced.add(source)
        for one in calls.values():
            before = self.held.get(one.id)
            if before is None or len(self.synced) == 1 or one.update_time >= before.update_time:
                self.held[one.id] = one

    def _stands(self, calls: Calls) -> bool:
        return all(self.held[one.id] == one for one in calls.values())

    def _compared(self) -> None:
        assert held_calls(self.path) == expected_calls(self.held.values())
        usage = self.warehouse.usage()
        assert _sums(usage) == _expected_sums(self.held)
        newest: Any = self.warehouse.tables()["version"][0]
        self.versions[newest] = dict(self.held)


def _sums(usage: Any) -> dict[str | None, tuple[int, Decimal | None]]:
    frame = usage.breakdown("currency", ["calls", "cost"])
    rows = frame.to_dicts()
    return {row["currency"]: (row["calls"], row["cost"]) for row in rows}


def _expected_sums(calls: Calls) -> dict[str | None, tuple[int, Decimal | None]]:
    sums: dict[str | None, tuple[int, Decimal | None]] = {}
    for one in calls.values():
        currency = None if one.total_price is None or one.price_details is None else one.price_details.currency
        number, cost = sums.get(currency, (0, None))
        sums[currency] = (number + 1, cost if one.total_price is None else (cost or Decimal(0)) + one.total_price)
    return sums


class SqliteSources(Sources):
    kind = "sqlite"


@pytest.mark.proof
@pytest.mark.parametrize("machine", [Sources, SqliteSources])
def test_a_warehouse_is_what_the_model_says(machine: type[Sources], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_MANY", 4)
    many = settings(
        max_examples=trials(1, 25),
        stateful_step_count=trials(8, 25),
        phases=set(Phase) - {Phase.explain},  # which watches every line
        derandomize=trials(1, 0) == 1,  # the few are always the same ones
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=many)
