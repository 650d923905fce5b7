"""Times in SQLite are text that many programs write: whatever its form, it is compared as the time that it is.

`2026-03-01T12:00:00Z`, `…:00+00:00`, `…:00.5+00:00` and `…:00.500000000+00:00` all occur. What a store and an analysis
make of a table of them is compared with Python's reading of each text.
"""

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mofa_usage import load_usage
from mofa_usage.records import LLMApiCall, QueryFilter
from mofa_usage.stores import Store, connect, sql_records
from tests.leaks import opened
from tests.proofs import trials
from tests.samples import call

BASE = datetime(2026, 3, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def texts(time: datetime, rng: random.Random) -> str:
    """One of the forms in which a time may be written."""
    second = time.strftime("%Y-%m-%dT%H:%M:%S")
    digits = f"{time.microsecond:06d}"
    forms = [f".{digits}", f".{digits}000", f".{digits}999"]
    shorter = digits.rstrip("0")
    forms += [f".{shorter}"] if shorter else ["", ".0"]
    if time.microsecond % 1000 == 0:
        forms.append(f".{digits[:3]}")
    return second + rng.choice(forms) + rng.choice(["Z", "+00:00", "+00:00"])


def some_time(rng: random.Random) -> datetime:
    fraction = rng.choice([0, 0, 1, 10, 100_000, 500_000, 500_000, 999_999, rng.randrange(10**6)])
    return BASE + timedelta(seconds=rng.randrange(4), microseconds=fraction)


class Table:
    """A table of calls whose times somebody else writes."""

    def __init__(self, url: str) -> None:
        self.path = url.removeprefix("sqlite:")
        self.times: dict[UUID, datetime] = {}

    def run(self, sql: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(sql, values)

    def rewrite(self, call_id: UUID, time: datetime, text: str) -> None:
        self.times[call_id] = time
        self.run(
            "UPDATE entity_llm_api_call SET create_time = ?, update_time = ? WHERE id = ?", text, text, str(call_id)
        )

    def newest(self, start: datetime | None = None, end: datetime | None = None) -> list[UUID]:
        """The calls from `start` to `end` inclusively, newest first, ties by descending id."""
        chosen = {
            call_id: time
            for call_id, time in self.times.items()
            if (start is None or time >= start) and (end is None or time <= end)
        }
        return sorted(chosen, key=lambda call_id: (chosen[call_id], call_id), reverse=True)


async def filled(store: Store, url: str, rng: random.Random, count: int) -> Table:
    table = Table(url)
    calls = [call(n, id=UUID(int=rng.getrandbits(128), version=4)) for n in range(count)]
    await store.save_api_calls(calls)
    for made in calls:
        time = some_time(rng)
        table.rewrite(made.id, time, texts(time, rng))
    return table


def ids(calls: list[LLMApiCall]) -> list[UUID]:
    return [each.id for each in calls]


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(trials(2, 6)))
async def test_what_is_asked_of_texts_is_answered_as_of_times(tmp_path: Path, seed: int) -> None:
    rng, url = random.Random(seed), f"sqlite:{tmp_path / 'calls.db'}"
    async with opened(url) as store:
        table = await filled(store, url, rng, 60)
        for _ in range(25):
            start, end = (rng.choice([None, some_time(rng), some_time(rng) + MICROSECOND]) for _ in range(2))
            right = table.newest(start, end)
            asked = QueryFilter(start_time=start, end_time=end)
            assert ids(await store.query_api_calls(asked)) == right
            assert (await store.get_statistics(asked)).total_calls == len(right)
            limit, offset = rng.randrange(8), rng.randrange(8)
            page = QueryFilter(start_time=start, end_time=end, limit=limit, offset=offset)
            assert ids(await store.query_api_calls(page)) == right[offset : offset + limit]
            assert load_usage(store, page).frame["id"].to_list() == [
                str(each) for each in right[offset : offset + limit]
            ]
            assert sorted(load_usage(store, asked).frame["id"]) == sorted(map(str, right))
        edge = some_time(rng)
        kept = [each for each in table.newest() if table.times[each] >= edge]
        assert await store.cleanup_old_records(edge) == len(table.times) - len(kept)
        assert ids(await store.query_api_calls()) == kept


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(trials(4, 12)))
async def test_a_stream_neither_loses_nor_repeats_while_forms_of_time_come_and_go(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time that ends in `Z` may be written in the middle of a stream, and the last one go."""
    monkeypatch.setattr(sql_records, "_PAGE", 3)
    rng, url = random.Random(seed), f"sqlite:{tmp_path / 'calls.db'}"
    async with opened(url) as store:
        table = await filled(store, url, rng, 40)
        if seed % 2:  # all regular at first
            for call_id, time in table.times.items():
                table.rewrite(call_id, time, time.isoformat(timespec="microseconds"))
        lasting = table.newest()
        visitor = call(0, id=UUID(int=1))
        seen: list[UUID] = []
        async for streamed in store.stream_api_calls():
            seen.append(streamed.id)
            if len(seen) % 3 == 0:
                form = rng.choice(["visit", "leave", "rewrite"])
                if form == "visit":
                    await store.save_api_call(visitor)
                    table.run(
                        "UPDATE entity_llm_api_call SET create_time = ? WHERE id = ?",
                        rng.choice(["2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z"]),
                        str(visitor.id),
                    )
                elif form == "leave":
                    await store.delete_api_call(visitor.id)
                else:  # the same times in other forms
                    for call_id in rng.sample(lasting, 10):
                        table.rewrite(call_id, table.times[call_id], texts(table.times[call_id], rng))
        assert [each for each in seen if each != visitor.id] == lasting
        assert seen.count(visitor.id) <= 1


async def test_the_newest_are_found_by_an_index(tmp_path: Path) -> None:
    """Only the calls of the last second that is wanted have to be sorted."""
    url = f"sqlite:{tmp_path / 'calls.db'}"
    async with connect(url) as store:
        conditions = sql_records.Conditions(QueryFilter(user_id=UUID(int=1)), store._dialect.grammar, store._value)  # type: ignore[attr-defined]
        for where, index in (((), "idx_api_call_time"), (conditions.sql, "idx_api_call_user")):
            statement = store._sql.calls(sql_records.API_CALL, where, True, False)  # type: ignore[attr-defined]
            with closing(sqlite3.connect(tmp_path / "calls.db")) as connection:
                values = [1] * len(statement.names)
                plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", values)]
            searches = [line for line in plan if line.startswith(("SEARCH", "SCAN"))]
            assert len(searches) == 2
            assert all(
                f"USING INDEX {index}" in line or f"USING COVERING INDEX {index}" in line for line in searches
            ), plan
            assert any("create_time>?" in line for line in searches), plan
