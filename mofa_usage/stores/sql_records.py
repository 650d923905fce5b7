"""The contract as SQL: one implementation for every SQL database.

Each method is a piece of work for a runner, so the same code serves a store and its transactions. Where databases
differ is written in their dialects.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from mofa_usage.errors import NotFoundError
from mofa_usage.records import (
    Agent,
    AgentConfig,
    ChatSession,
    LLMApiCall,
    LLMMessage,
    Provider,
    QueryFilter,
    Record,
    UsageStatistics,
)
from mofa_usage.schema import (
    AGENT,
    API_CALL,
    API_CALL_UNLABELLED,
    CHAT_SESSION,
    LLM_MESSAGE,
    PROVIDER,
    Kind,
    RowCodec,
    TableSpec,
)
from mofa_usage.stores.base import Forgotten, Records, Tally
from mofa_usage.stores.call_table import CallTable
from mofa_usage.stores.checks import check_forgetting, check_page, check_time, checked
from mofa_usage.stores.dialects import Statement
from mofa_usage.stores.retention import count_old, delete_old_calls, delete_old_messages, forget
from mofa_usage.stores.runner import Runner
from mofa_usage.stores.statements import Conditions, Statements
from mofa_usage.stores.totals import add_up, tallies_of_rows

__all__ = ["SqlRecords"]

_R = TypeVar("_R", bound=Record)

_PAGE = 5_000  # calls that a stream reads at a time
_SOUGHT = 500  # ids that are looked for at a time
_BREATH = 500  # calls between which other tasks get a turn
_MOST = 2**63 - 1  # rows that a database can count


class SqlRecords(Records):
    """The contract as SQL, run by a runner."""

    def __init__(self, runner: Runner, statements: Statements, calls: CallTable) -> None:
        self._runner = runner
        self._sql = statements
        self._calls = calls
        self._dialect = runner.dialect
        self._codecs: dict[Any, RowCodec[Any]] = {
            spec: RowCodec(spec, self._dialect.values.writers, self._dialect.values.readers)
            for spec in (LLM_MESSAGE, API_CALL, API_CALL_UNLABELLED, CHAT_SESSION, PROVIDER, AGENT)
        }

    # How everything below is saved, read and deleted

    def _codec(self, spec: TableSpec[_R]) -> RowCodec[_R]:
        return self._codecs[spec]

    def _value(self, kind: Kind, value: Any) -> Any:
        writer = self._dialect.values.writers.get(kind)
        return value if writer is None else next(iter(writer([value])))

    async def _save(self, spec: TableSpec[_R], record: _R) -> None:
        checked(spec.record, [record])
        statement, values = self._sql.upsert(spec), self._codec(spec).write_one(record)
        await self._runner.run(
            lambda connection: self._dialect.driver.execute(connection, statement.sql, values),
            f"saving the {_word(spec)} {record.id}",
            "write",
        )

    async def _save_many(self, spec: TableSpec[_R], ordered: Sequence[_R]) -> None:
        if not ordered:
            return
        statement = self._sql.upsert(spec)

        async def work(connection: Any) -> None:
            rows = self._codec(spec).write(ordered)
            await self._dialect.driver.save_many(connection, spec, statement.sql, rows, len(ordered))

        await self._runner.run(work, f"saving {len(ordered)} records of {spec.table.name}", "atomic")

    async def _save_keyed(self, spec: TableSpec[_R], record: _R) -> None:
        # Not an upsert: MySQL's would replace the row of any unique key, so that a second agent with a code would
        # silently become the first.
        checked(spec.record, [record])
        row = dict(zip(spec.columns, self._codec(spec).write_one(record), strict=True))
        update, insert = self._sql.update(spec), self._sql.insert(spec)

        async def work(connection: Any) -> None:
            values = update.bind({**row, "the_id": row["id"]})
            if not await self._dialect.driver.execute(connection, update.sql, values):
                await self._dialect.driver.execute(connection, insert.sql, insert.bind(row))

        await self._runner.run(work, f"saving the {_word(spec)} {record.id}", "atomic")

    async def _select(
        self, spec: TableSpec[_R], order: tuple[str, ...] = (), page: dict[str, int] | None = None, **equal: Any
    ) -> list[_R]:
        statement = self._sql.select(spec, tuple(equal), order, page is not None)
        bound = {f"the_{column}": self._value(spec.kinds[column], value) for column, value in equal.items()}
        values = statement.bind({**bound, **(page or {})})
        rows = await self._runner.run(
            lambda connection: self._dialect.driver.fetch(connection, statement.sql, values),
            f"reading {spec.table.name}",
        )
        read = self._codec(spec).read
        return [read(row) for row in rows]

    async def _one(self, spec: TableSpec[_R], **equal: Any) -> _R | None:
        found = await self._select(spec, **equal)
        return found[0] if found else None

    async def _delete(self, spec: TableSpec[Any], column: str, value: UUID) -> int:
        statement = self._sql.delete(spec, column)
        values = statement.bind({f"the_{column}": self._value(Kind.ID, value)})
        return await self._runner.run(
            lambda connection: self._dialect.driver.execute(connection, statement.sql, values),
            f"deleting from {spec.table.name}",
            "write",
        )

    # Messages

    async def save_message(self, message: LLMMessage) -> None:
        await self._save(LLM_MESSAGE, message)

    async def save_messages(self, messages: Iterable[LLMMessage]) -> None:
        await self._save_many(LLM_MESSAGE, _in_order(LLMMessage, messages))

    async def get_message(self, message_id: UUID) -> LLMMessage | None:
        return await self._one(LLM_MESSAGE, id=message_id)

    async def get_session_messages(self, session_id: UUID) -> list[LLMMessage]:
        return await self._select(LLM_MESSAGE, ("create_time", "id"), chat_session_id=session_id)

    async def get_session_messages_paginated(self, session_id: UUID, offset: int, limit: int) -> list[LLMMessage]:
        check_page(offset=offset, limit=limit)
        page = {"row_offset": offset, "row_limit": limit}
        return await self._select(LLM_MESSAGE, ("create_time", "id"), page, chat_session_id=session_id)

    async def count_session_messages(self, session_id: UUID) -> int:
        statement = self._sql.count(LLM_MESSAGE, "chat_session_id")
        values = statement.bind({"the_chat_session_id": self._value(Kind.ID, session_id)})
        rows = await self._runner.run(
            lambda connection: self._dialect.driver.fetch(connection, statement.sql, values), "counting messages"
        )
        return int(rows[0][0])

    async def delete_message(self, message_id: UUID) -> bool:
        return await self._delete(LLM_MESSAGE, "id", message_id) > 0

    async def delete_session_messages(self, session_id: UUID) -> int:
        count = self._sql.count(LLM_MESSAGE, "chat_session_id")
        delete = self._sql.delete(LLM_MESSAGE, "chat_session_id")
        values = (self._value(Kind.ID, session_id),)

        async def work(connection: Any) -> int:
            # Counted first: where replies go with their parent (a cascade), DELETE does not count them.
            rows = await self._dialect.driver.fetch(connection, count.sql, values)
            await self._dialect.driver.execute(connection, delete.sql, values)
            return int(rows[0][0])

        return await self._runner.run(work, "deleting the messages of a session", "atomic")

    async def cleanup_old_messages(self, before: datetime, *, dry_run: bool = False) -> int:
        before = check_time("before", before)
        if dry_run:
            return await count_old(self._runner, self._sql, LLM_MESSAGE, before)
        return await delete_old_messages(self._runner, self._sql, before)

    # API calls

    async def save_api_call(self, call: LLMApiCall) -> None:
        await self._save(await self._calls.spec_for(self._runner, checked(LLMApiCall, [call])), call)

    async def save_api_calls(self, calls: Iterable[LLMApiCall]) -> None:
        ordered = _in_order(LLMApiCall, calls)
        if ordered:
            await self._save_many(await self._calls.spec_for(self._runner, ordered), ordered)

    async def get_api_call(self, call_id: UUID) -> LLMApiCall | None:
        return await self._one(await self._calls.spec(self._runner), id=call_id)

    async def _find_api_calls(self, call_ids: Sequence[UUID]) -> list[LLMApiCall]:
        spec = await self._calls.spec(self._runner)
        statement = self._sql.select_some(spec, _SOUGHT)
        read, writer = self._codec(spec).read, self._dialect.values.writers.get(Kind.ID)
        wanted = list(dict.fromkeys(call_ids))
        ids = wanted if writer is None else list(writer(wanted))
        found: list[LLMApiCall] = []

        async def work(connection: Any) -> Sequence[Sequence[Any]]:
            return await self._dialect.driver.fetch(connection, statement.sql, statement.bind(values))

        for start in range(0, len(ids), _SOUGHT):
            some = ids[start : start + _SOUGHT]
            some += some[-1:] * (_SOUGHT - len(some))  # one statement for any number of them
            values = {f"value_{number}": value for number, value in enumerate(some)}
            found += map(read, await self._runner.run(work, "looking for API calls"))
        return found

    async def _fill_prices(self, calls: Sequence[LLMApiCall]) -> list[LLMApiCall]:
        spec = await self._calls.spec(self._runner)
        statement, ordered = self._sql.fill_price(spec), _in_order(LLMApiCall, calls)
        rows = [dict(zip(spec.columns, row, strict=True)) for row in self._codec(spec).write(ordered)]

        async def work(connection: Any) -> list[LLMApiCall]:
            filled = []
            for call, row in zip(ordered, rows, strict=True):
                values = statement.bind({**row, "the_id": row["id"]})
                if await self._dialect.driver.execute(connection, statement.sql, values):
                    filled.append(call)
            return filled

        return await self._runner.run(work, "filling in prices of API calls", "atomic")

    async def _keeps_labels(self) -> bool:
        return await self._calls.spec(self._runner) is API_CALL

    async def query_api_calls(self, filter: QueryFilter | None = None) -> list[LLMApiCall]:  # noqa: A002
        query = filter or QueryFilter()
        spec = await self._calls.spec(self._runner)
        rows = await self._call_rows(spec, query, query.limit, query.offset)
        calls: list[LLMApiCall] = []
        for start in range(0, len(rows), _BREATH):
            await asyncio.sleep(0)
            calls += map(self._codec(spec).read, rows[start : start + _BREATH])
        return calls

    async def stream_api_calls(self, filter: QueryFilter | None = None) -> AsyncIterator[LLMApiCall]:  # noqa: A002
        query = filter or QueryFilter()
        left, skip = query.limit, query.offset
        last: Sequence[Any] | None = None
        while left is None or left > 0:
            wanted = _PAGE if left is None else min(_PAGE, left)
            spec = await self._calls.spec(self._runner)
            rows = await self._call_rows(spec, query, wanted, skip, last)
            read = self._codec(spec).read
            for start in range(0, len(rows), _BREATH):
                await asyncio.sleep(0)
                for row in rows[start : start + _BREATH]:
                    yield read(row)
            if len(rows) < wanted:
                return
            last, skip, left = rows[-1], None, None if left is None else left - wanted

    async def _call_rows(
        self,
        spec: TableSpec[LLMApiCall],
        query: QueryFilter,
        limit: int | None,
        skip: int | None,
        after: Sequence[Any] | None = None,
    ) -> Sequence[Sequence[Any]]:
        """Rows of calls, newest first, each with the key of the order behind its columns."""
        conditions = self._conditions(query)
        if after is not None:
            conditions = conditions.behind(after[-1], after[0])
        statement = self._sql.calls(spec, conditions.sql, limit is not None, bool(skip))
        last = min((limit or 0) + (skip or 0), _MOST) - 1
        values = statement.bind({**conditions.values, "row_limit": limit, "row_offset": skip, "row_last": last})
        return await self._runner.run(
            lambda connection: self._dialect.driver.fetch(connection, statement.sql, values), "reading API calls"
        )

    async def get_statistics(self, filter: QueryFilter | None = None) -> UsageStatistics:  # noqa: A002
        conditions = self._conditions(filter)
        rows = await self._sums(self._sql.statistics(conditions.sql), conditions)
        return add_up(rows, self._dialect.values.money_total)

    async def tally_calls(self, bounds_ms: Sequence[int], filter: QueryFilter | None = None) -> list[Tally]:  # noqa: A002
        conditions = self._conditions(filter)
        rows = await self._sums(self._sql.tallies(conditions.sql, tuple(bounds_ms)), conditions)
        return tallies_of_rows(rows, self._dialect.values.money_total, len(bounds_ms))

    def _conditions(self, query: QueryFilter | None) -> Conditions:
        return Conditions(query or QueryFilter(), self._dialect.grammar, self._value)

    async def _sums(self, statement: Statement, conditions: Conditions) -> Sequence[Sequence[Any]]:
        values = statement.bind(conditions.values)
        return await self._runner.run(
            lambda connection: self._dialect.driver.fetch(connection, statement.sql, values), "computing statistics"
        )

    async def delete_api_call(self, call_id: UUID) -> bool:
        return await self._delete(API_CALL, "id", call_id) > 0

    async def cleanup_old_records(self, before: datetime, *, dry_run: bool = False) -> int:
        before = check_time("before", before)
        if dry_run:
            return await count_old(self._runner, self._sql, API_CALL, before)
        return await delete_old_calls(self._runner, self._sql, before)

    # Chat sessions

    async def create_session(self, session: ChatSession) -> None:
        checked(ChatSession, [session])
        statement, values = self._sql.insert(CHAT_SESSION), self._codec(CHAT_SESSION).write_one(session)
        await self._runner.run(
            lambda connection: self._dialect.driver.execute(connection, statement.sql, values),
            f"creating the session {session.id}",
            "write",
            repeatable=False,
        )

    async def _save_sessions(self, sessions: Iterable[ChatSession]) -> None:
        await self._save_many(CHAT_SESSION, _in_order(ChatSession, sessions))

    async def get_session(self, session_id: UUID) -> ChatSession | None:
        return await self._one(CHAT_SESSION, id=session_id)

    async def get_user_sessions(self, user_id: UUID) -> list[ChatSession]:
        return await self._select(CHAT_SESSION, ("-update_time", "-id"), user_id=user_id)

    async def update_session(self, session: ChatSession) -> None:
        checked(ChatSession, [session])
        row = dict(zip(CHAT_SESSION.columns, self._codec(CHAT_SESSION).write_one(session), strict=True))
        statement = self._sql.update(CHAT_SESSION)
        values = statement.bind({**row, "the_id": row["id"]})
        if not await self._runner.run(
            lambda connection: self._dialect.driver.execute(connection, statement.sql, values),
            f"updating the session {session.id}",
            "write",
        ):
            raise NotFoundError(f"there is no session {session.id} to update")

    async def delete_session(self, session_id: UUID) -> bool:
        messages, session = self._sql.delete(LLM_MESSAGE, "chat_session_id"), self._sql.delete(CHAT_SESSION)
        the_id = (self._value(Kind.ID, session_id),)

        async def work(connection: Any) -> bool:
            await self._dialect.driver.execute(connection, messages.sql, the_id)
            return await self._dialect.driver.execute(connection, session.sql, the_id) > 0

        return await self._runner.run(work, "deleting a session", "atomic")

    # Users

    async def forget_user(self, user_id: UUID, *, keep_labels: Iterable[str] = (), dry_run: bool = False) -> Forgotten:
        kept = check_forgetting(user_id, keep_labels)
        calls = await self._calls.spec(self._runner)
        return await forget(self._runner, self._sql, calls, user_id, kept, dry_run=dry_run)

    # Providers

    async def save_provider(self, provider: Provider) -> None:
        await self._save_keyed(PROVIDER, provider)

    async def get_provider(self, provider_id: UUID) -> Provider | None:
        return await self._one(PROVIDER, id=provider_id)

    async def get_provider_by_name(self, tenant_id: UUID, name: str) -> Provider | None:
        return await self._one(PROVIDER, tenant_id=tenant_id, provider_name=name)

    async def list_providers(self, tenant_id: UUID) -> list[Provider]:
        # Sorted here, because databases sort text each by rules of its own.
        providers = await self._select(PROVIDER, tenant_id=tenant_id)
        return sorted(providers, key=lambda provider: (provider.provider_name, provider.id))

    async def get_enabled_providers(self, tenant_id: UUID) -> list[Provider]:
        return [provider for provider in await self.list_providers(tenant_id) if provider.enabled]

    async def delete_provider(self, provider_id: UUID) -> bool:
        return await self._delete(PROVIDER, "id", provider_id) > 0

    # Agents

    async def save_agent(self, agent: Agent) -> None:
        await self._save_keyed(AGENT, agent)

    async def get_agent(self, agent_id: UUID) -> Agent | None:
        return await self._one(AGENT, id=agent_id)

    async def get_agent_by_code(self, code: str) -> Agent | None:
        return await self._one(AGENT, agent_code=code)

    async def get_agent_by_code_and_tenant(self, tenant_id: UUID, code: str) -> Agent | None:
        return await self._one(AGENT, tenant_id=tenant_id, agent_code=code)

    async def list_agents(self, tenant_id: UUID) -> list[Agent]:
        return await self._select(AGENT, ("agent_order", "id"), tenant_id=tenant_id)

    async def get_active_agents(self, tenant_id: UUID) -> list[Agent]:
        return [agent for agent in await self.list_agents(tenant_id) if agent.agent_status]

    async def _with_provider(self, equal: dict[str, Any]) -> AgentConfig | None:
        statement = self._sql.agent_with_provider(tuple(equal))
        values = statement.bind({f"the_{column}": self._value(AGENT.kinds[column], v) for column, v in equal.items()})
        rows = await self._runner.run(
            lambda connection: self._dialect.driver.fetch(connection, statement.sql, values), "reading an agent"
        )
        if not rows:
            return None
        row, split = tuple(rows[0]), len(AGENT.columns)
        agent, provider = self._codec(AGENT).read(row[:split]), self._codec(PROVIDER).read(row[split:])
        return AgentConfig(agent=agent, provider=provider)

    async def get_agent_with_provider(self, agent_id: UUID) -> AgentConfig | None:
        return await self._with_provider({"id": agent_id})

    async def get_agent_by_code_with_provider(self, code: str) -> AgentConfig | None:
        return await self._with_provider({"agent_code": code})

    async def get_agent_by_code_and_tenant_with_provider(self, tenant_id: UUID, code: str) -> AgentConfig | None:
        return await self._with_provider({"tenant_id": tenant_id, "agent_code": code})

    async def delete_agent(self, agent_id: UUID) -> bool:
        return await self._delete(AGENT, "id", agent_id) > 0


def _in_order(kind: type[_R], records: Iterable[_R]) -> list[_R]:
    """The last record of each id, by id, so that two bulks with the same ones do not lock them crosswise; but a
    message's parent comes before it, where a foreign key of MoFA's wants it to be.
    """
    last = {record.id.int: record for record in checked(kind, records)}  # a UUID itself takes far longer to be found
    by_id = [last[number] for number in sorted(last)]
    if not by_id or not isinstance(by_id[0], LLMMessage):
        return by_id
    ordered: dict[int, _R] = {}
    for record in by_id:
        line: dict[int, _R] = {}
        ancestor: _R | None = record
        while ancestor is not None and ancestor.id.int not in ordered and ancestor.id.int not in line:
            line[ancestor.id.int] = ancestor
            parent = getattr(ancestor, "parent_message_id", None)
            ancestor = None if parent is None else last.get(parent.int)
        ordered.update(reversed(line.items()))
    return list(ordered.values())


def _word(spec: TableSpec[Any]) -> str:
    return spec.table.name.removeprefix("entity_").replace("_", " ")
