"""What goes when its time has come, as SQL: old calls, old messages, and all that names a user.

Old rows go in batches, each a transaction that holds its locks for a fraction of a second. Calls are found by the index
on their time; messages have none, so their table is walked once along its ids.

A user goes in one transaction. The calls stay, for they are the ledger, and lose what names the user or points at what
is deleted: an UPDATE of only those columns, so that nothing that another program changes meanwhile is undone. Sessions
and messages are looked for first and then deleted by their ids, because a DELETE that has to look for its rows locks,
in MySQL, all those that it looks at.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mofa_usage.records import NIL_UUID, LLMApiCall
from mofa_usage.schema import API_CALL, CHAT_SESSION, LLM_MESSAGE, Kind, TableSpec
from mofa_usage.stores.base import Forgotten
from mofa_usage.stores.dialects import Dialect, Statement
from mofa_usage.stores.runner import Runner
from mofa_usage.stores.statements import Statements, moment_values

__all__ = ["count_old", "delete_old_calls", "delete_old_messages", "forget"]

_DELETE_BATCH = 10_000  # rows that the first transaction of a cleanup looks at
_DELETE_SECONDS = 0.25  # that its later ones may take
_AT_ONCE = 500  # ids in a statement


async def count_old(runner: Runner, sql: Statements, spec: TableSpec[Any], before: datetime) -> int:
    """How many rows of a table were made before a moment."""
    statement = sql.count_old(spec)
    values = statement.bind(_moment(runner.dialect, "before", before))
    rows = await runner.run(
        lambda connection: runner.dialect.driver.fetch(connection, statement.sql, values),
        f"counting old rows of {spec.table.name}",
    )
    return int(rows[0][0])


async def delete_old_calls(runner: Runner, sql: Statements, before: datetime) -> int:
    """Delete the calls from before a moment; how many there were."""
    statement = sql.old_calls()
    moment = _moment(runner.dialect, "before", before)
    batch, total = _DELETE_BATCH, 0
    after: Any = datetime.min.replace(tzinfo=UTC)

    async def work(connection: Any) -> tuple[int, Any]:
        values = statement.bind({**moment, "after": after, "batch": batch})
        return await runner.dialect.driver.delete_oldest(connection, statement.sql, values)

    while True:
        start = time.monotonic()
        deleted, edge = await runner.run(work, "deleting old API calls", "write")
        total += deleted
        if edge is None and deleted < batch:
            return total
        after = after if edge is None else edge
        # As many at once as hold their locks for a quarter of a second.
        batch = batch * 2 if time.monotonic() - start < _DELETE_SECONDS / 2 else batch


async def delete_old_messages(runner: Runner, sql: Statements, before: datetime) -> int:
    """Delete the messages from before a moment; how many there were."""
    driver = runner.dialect.driver
    moment = _moment(runner.dialect, "before", before)
    (first,) = _written(runner.dialect, Kind.ID, [NIL_UUID])
    batch, total = _DELETE_BATCH, 0

    async def work(connection: Any) -> tuple[int, Any]:
        page = sql.page_end(LLM_MESSAGE)
        found = await driver.fetch(connection, page.sql, page.bind({"first": first, "row_offset": batch}))
        end = found[0][0] if found else None
        delete = sql.delete_old_page(LLM_MESSAGE, end is not None)
        return await driver.execute(connection, delete.sql, delete.bind({**moment, "first": first, "end": end})), end

    while first is not None:
        start = time.monotonic()
        deleted, first = await runner.run(work, "deleting old messages", "atomic")
        total += deleted
        batch = batch * 2 if time.monotonic() - start < _DELETE_SECONDS / 2 else batch
    return total


async def forget(
    runner: Runner,
    sql: Statements,
    calls: TableSpec[LLMApiCall],
    user_id: UUID,
    kept_labels: frozenset[str],
    *,
    dry_run: bool,
) -> Forgotten:
    """Delete a user's messages and sessions, and make the calls nobody's; what there was of each."""
    (user,) = _written(runner.dialect, Kind.ID, [user_id])

    async def work(connection: Any) -> Forgotten:
        tables = _Tables(connection, runner.dialect, sql)
        sessions = await tables.ids(CHAT_SESSION, "user_id", [user])
        messages = await tables.ids(LLM_MESSAGE, "user_id", [user])
        messages = list(dict.fromkeys(messages + await tables.ids(LLM_MESSAGE, "chat_session_id", sessions)))
        if dry_run:
            own = await tables.ids(API_CALL, "user_id", [user])
            changed = len({*own, *await tables.ids(API_CALL, "chat_session_id", sessions)})
        else:
            changed = await tables.make_nobodys(calls, user, "user_id", [user], kept_labels)
            changed += await tables.make_nobodys(calls, user, "chat_session_id", sessions, kept_labels)
            await tables.delete(LLM_MESSAGE, messages)
            await tables.delete(CHAT_SESSION, sessions)
        return Forgotten(messages=len(messages), sessions=len(sessions), calls=changed)

    return await runner.run(work, f"forgetting the user {user_id}", "read" if dry_run else "atomic")


class _Tables:
    """The tables as one connection sees them, asked and changed for some hundred ids at a time."""

    def __init__(self, connection: Any, dialect: Dialect, sql: Statements) -> None:
        self._connection = connection
        self._dialect = dialect
        self._sql = sql

    async def ids(self, spec: TableSpec[Any], column: str, wanted: Sequence[Any]) -> list[Any]:
        """The ids of the rows that have one of these values in a column."""
        found: list[Any] = []
        for values, many in _some(wanted):
            statement = self._sql.ids(spec, column, many)
            rows = await self._dialect.driver.fetch(self._connection, statement.sql, statement.bind(values))
            found += [row[0] for row in rows]
        return found

    async def delete(self, spec: TableSpec[Any], wanted: Sequence[Any]) -> None:
        """Delete the rows of these ids."""
        await self._change(lambda many: self._sql.delete_some(spec, many), wanted)

    async def make_nobodys(
        self, spec: TableSpec[Any], user: Any, column: str, wanted: Sequence[Any], kept: frozenset[str]
    ) -> int:
        """Take out of calls with one of these values in a column what says whose they are; how many there were."""
        now = datetime.now(UTC)
        (nobody,), (time_,) = (
            _written(self._dialect, kind, [value]) for kind, value in ((Kind.ID, NIL_UUID), (Kind.TIME, now))
        )
        moment = _moment(self._dialect, "now", now) | {"write_time": time_}
        return await self._change(
            lambda many: self._sql.make_nobodys(spec, column, many, tuple(sorted(kept))),
            wanted,
            moment | {"the_user": user, "nobody": nobody},
        )

    async def _change(
        self, statement: Callable[[int], Statement], wanted: Sequence[Any], values: Mapping[str, Any] | None = None
    ) -> int:
        count = 0
        for some, many in _some(wanted):
            change = statement(many)
            bound = change.bind({**(values or {}), **some})
            count += await self._dialect.driver.execute(self._connection, change.sql, bound)
        return count


def _some(wanted: Sequence[Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Some of the values at a time as `value_0`, `value_1` and so on, and how many: one, or always the same number."""
    for start in range(0, len(wanted), _AT_ONCE):
        some = list(wanted[start : start + _AT_ONCE])
        if len(wanted) > 1:
            some += some[-1:] * (_AT_ONCE - len(some))
        yield {f"value_{number}": value for number, value in enumerate(some)}, len(some)


def _written(dialect: Dialect, kind: Kind, values: Sequence[Any]) -> Sequence[Any]:
    writer = dialect.values.writers.get(kind)
    return values if writer is None else list(writer(values))


def _moment(dialect: Dialect, name: str, moment: datetime) -> dict[str, Any]:
    return moment_values(dialect.grammar, name, dialect.grammar.exact(moment))
