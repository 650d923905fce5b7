"""The store without a database: dictionaries, gone with the process.

For tests and first steps, and the reference that every other store is compared with: what it does is what the
contract means. It is written to be obviously right, so a query looks at every call.
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from math import fsum
from typing import Any, Self, TypeVar, Unpack
from uuid import UUID

from pydantic import BaseModel

from mofa_usage.errors import ConstraintError, NotFoundError, QueryError, StoreConnectionError
from mofa_usage.labels import Labels
from mofa_usage.records import (
    NIL_UUID,
    Agent,
    AgentConfig,
    ApiCallStatus,
    ChatSession,
    LLMApiCall,
    LLMMessage,
    Provider,
    QueryFilter,
    Record,
    UsageStatistics,
)
from mofa_usage.stores.base import Connecting, Forgotten, Records, Store, Tally
from mofa_usage.stores.checks import check_forgetting, check_page, check_time, checked
from mofa_usage.stores.dialects import ConnectOptions, Options
from mofa_usage.stores.totals import tallies_of_records
from mofa_usage.urls import parse_url, url_from_env

__all__ = ["InMemoryStore"]

_R = TypeVar("_R", bound=Record)
_Table = dict[UUID, Any]


@dataclass
class _Tables:
    """Records by id, for each kind."""

    messages: _Table = field(default_factory=dict)
    calls: _Table = field(default_factory=dict)
    sessions: _Table = field(default_factory=dict)
    providers: _Table = field(default_factory=dict)
    agents: _Table = field(default_factory=dict)

    def copy(self) -> "_Tables":
        """The same records in tables of their own."""
        return _Tables(**{name: dict(table) for name, table in vars(self).items()})


def _unique(table: _Table, record: Any, key: Callable[[Any], object], what: str) -> None:
    if any(key(other) == key(record) and other.id != record.id for other in table.values()):
        raise ConstraintError(f"another {what}")


def _check_provider(table: _Table, provider: Provider) -> None:
    what = f"provider of the tenant {provider.tenant_id} is called {provider.provider_name!r}"
    _unique(table, provider, lambda one: (one.tenant_id, one.provider_name), what)


def _check_agent(table: _Table, agent: Agent) -> None:
    _unique(table, agent, lambda one: one.agent_code, f"agent has the code {agent.agent_code!r}")


def _own(record: _R) -> _R:
    """The record, or a copy of one that holds something that could change: JSON."""
    return record.model_copy(deep=True) if _can_change(record) else record


def _can_change(value: object) -> bool:
    if isinstance(value, BaseModel):
        return bool(value.__pydantic_extra__) or any(map(_can_change, value.__dict__.values()))
    return isinstance(value, dict | list) and not isinstance(value, Labels)


def _clean_up(table: _Table, before: datetime, dry_run: bool) -> int:
    gone = [record.id for record in list(table.values()) if record.create_time < before]
    for record_id in [] if dry_run else gone:
        del table[record_id]
    return len(gone)


def _is_of(record: LLMMessage | LLMApiCall, user_id: UUID, sessions: set[UUID]) -> bool:
    return record.user_id == user_id or record.chat_session_id in sessions


def _nobodys(call: LLMApiCall, user_id: UUID, kept: frozenset[str]) -> LLMApiCall:
    """A call without what says whose it was."""
    changed: dict[str, Any] = dict.fromkeys(("chat_session_id", "request_message_id", "response_message_id"), NIL_UUID)
    changed["user_id"] = NIL_UUID if call.user_id == user_id else call.user_id
    changed["error_message"] = None
    changed["update_time"] = max(datetime.now(UTC), call.create_time)
    changed["labels"] = {name: value for name, value in call.labels.items() if name in kept}
    return call.model_copy(update=changed)


class _MemoryRecords(Records):
    """The contract on tables."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._lock = threading.Lock()  # a recorder saves from a thread of its own

    def _open_tables(self) -> _Tables:
        return self._tables

    def _get(self, table: Mapping[UUID, _R], key: UUID) -> _R | None:
        return _own(table[key]) if key in table else None

    async def save_message(self, message: LLMMessage) -> None:
        await self.save_messages([message])

    async def save_messages(self, messages: Iterable[LLMMessage]) -> None:
        saved = {message.id: _own(message) for message in checked(LLMMessage, messages)}
        with self._lock:
            self._open_tables().messages.update(saved)

    async def get_message(self, message_id: UUID) -> LLMMessage | None:
        return self._get(self._open_tables().messages, message_id)

    async def get_session_messages(self, session_id: UUID) -> list[LLMMessage]:
        found = [one for one in list(self._open_tables().messages.values()) if one.chat_session_id == session_id]
        return [_own(message) for message in sorted(found, key=lambda one: (one.create_time, one.id))]

    async def get_session_messages_paginated(self, session_id: UUID, offset: int, limit: int) -> list[LLMMessage]:
        check_page(offset=offset, limit=limit)
        return (await self.get_session_messages(session_id))[offset : offset + limit]

    async def count_session_messages(self, session_id: UUID) -> int:
        return sum(one.chat_session_id == session_id for one in list(self._open_tables().messages.values()))

    async def delete_message(self, message_id: UUID) -> bool:
        return self._open_tables().messages.pop(message_id, None) is not None

    async def delete_session_messages(self, session_id: UUID) -> int:
        messages = self._open_tables().messages
        gone = [one.id for one in list(messages.values()) if one.chat_session_id == session_id]
        for message_id in gone:
            del messages[message_id]
        return len(gone)

    async def cleanup_old_messages(self, before: datetime, *, dry_run: bool = False) -> int:
        return _clean_up(self._open_tables().messages, check_time("before", before), dry_run)

    async def save_api_call(self, call: LLMApiCall) -> None:
        await self.save_api_calls([call])

    async def save_api_calls(self, calls: Iterable[LLMApiCall]) -> None:
        saved = {call.id: _own(call) for call in checked(LLMApiCall, calls)}
        with self._lock:
            self._open_tables().calls.update(saved)

    async def get_api_call(self, call_id: UUID) -> LLMApiCall | None:
        return self._get(self._open_tables().calls, call_id)

    async def _find_api_calls(self, call_ids: Sequence[UUID]) -> list[LLMApiCall]:
        calls = self._open_tables().calls
        return [_own(calls[call_id]) for call_id in dict.fromkeys(call_ids) if call_id in calls]

    async def _fill_prices(self, calls: Sequence[LLMApiCall]) -> list[LLMApiCall]:
        with self._lock:
            held = self._open_tables().calls
            unpriced = [call for call in calls if call.id in held and held[call.id].total_price is None]
            for call in unpriced:
                changed = {name: getattr(call, name) for name in ("total_price", "price_details", "update_time")}
                held[call.id] = _own(held[call.id].model_copy(update=changed))
        return unpriced

    def _matching(self, query: QueryFilter) -> list[LLMApiCall]:
        equal = {
            column: value for name, column in QueryFilter.COLUMNS.items() if (value := getattr(query, name)) is not None
        }
        found = [
            call
            for call in list(self._open_tables().calls.values())
            if all(getattr(call, column) == value for column, value in equal.items())
            and (query.start_time is None or call.create_time >= query.start_time)
            and (query.end_time is None or call.create_time <= query.end_time)
        ]
        return sorted(found, key=lambda call: (call.create_time, call.id), reverse=True)

    async def query_api_calls(self, filter: QueryFilter | None = None) -> list[LLMApiCall]:  # noqa: A002
        query = filter or QueryFilter()
        start = query.offset or 0
        stop = None if query.limit is None else start + query.limit
        return [_own(call) for call in self._matching(query)[start:stop]]

    async def stream_api_calls(self, filter: QueryFilter | None = None) -> AsyncIterator[LLMApiCall]:  # noqa: A002
        for call in await self.query_api_calls(filter):
            yield call

    async def get_statistics(self, filter: QueryFilter | None = None) -> UsageStatistics:  # noqa: A002
        calls = self._matching(filter or QueryFilter())
        counts = {status: sum(call.status is status for call in calls) for status in ApiCallStatus}
        prices: dict[str, list[Decimal]] = {}
        for call in calls:
            if call.total_price is not None and call.currency is not None:
                prices.setdefault(call.currency, []).append(call.total_price)
        currencies = sorted(prices, key=lambda currency: (-len(prices[currency]), currency))
        latencies = [call.latency_ms for call in calls if call.latency_ms is not None]
        rates = [call.tokens_per_second for call in calls if call.tokens_per_second is not None]
        return UsageStatistics(
            total_calls=len(calls),
            priced_calls=sum(map(len, prices.values())),
            success_count=counts[ApiCallStatus.SUCCESS],
            failed_count=counts[ApiCallStatus.FAILED],
            status_counts=counts,
            total_tokens=sum(call.total_tokens for call in calls),
            total_prompt_tokens=sum(call.prompt_tokens for call in calls),
            total_completion_tokens=sum(call.completion_tokens for call in calls),
            costs={currency: sum(prices[currency], Decimal(0)) for currency in currencies},
            avg_latency_ms=sum(latencies) / len(latencies) if latencies else None,
            avg_tokens_per_second=fsum(rates) / len(rates) if rates else None,
        )

    async def tally_calls(self, bounds_ms: Sequence[int], filter: QueryFilter | None = None) -> list[Tally]:  # noqa: A002
        return tallies_of_records(self._matching(filter or QueryFilter()), bounds_ms)

    async def delete_api_call(self, call_id: UUID) -> bool:
        return self._open_tables().calls.pop(call_id, None) is not None

    async def cleanup_old_records(self, before: datetime, *, dry_run: bool = False) -> int:
        return _clean_up(self._open_tables().calls, check_time("before", before), dry_run)

    async def create_session(self, session: ChatSession) -> None:
        checked(ChatSession, [session])
        with self._lock:
            sessions = self._open_tables().sessions
            if session.id in sessions:
                raise ConstraintError(f"there is a session {session.id} already")
            sessions[session.id] = _own(session)

    async def get_session(self, session_id: UUID) -> ChatSession | None:
        return self._get(self._open_tables().sessions, session_id)

    async def get_user_sessions(self, user_id: UUID) -> list[ChatSession]:
        found = [one for one in list(self._open_tables().sessions.values()) if one.user_id == user_id]
        return [_own(one) for one in sorted(found, key=lambda one: (one.update_time, one.id), reverse=True)]

    async def update_session(self, session: ChatSession) -> None:
        checked(ChatSession, [session])
        sessions = self._open_tables().sessions
        if session.id not in sessions:
            raise NotFoundError(f"there is no session {session.id} to update")
        sessions[session.id] = _own(session)

    async def delete_session(self, session_id: UUID) -> bool:
        await self.delete_session_messages(session_id)
        return self._open_tables().sessions.pop(session_id, None) is not None

    async def forget_user(self, user_id: UUID, *, keep_labels: Iterable[str] = (), dry_run: bool = False) -> Forgotten:
        kept = check_forgetting(user_id, keep_labels)
        with self._lock:
            tables = self._open_tables()
            sessions = {one.id for one in tables.sessions.values() if one.user_id == user_id}
            messages = [one.id for one in tables.messages.values() if _is_of(one, user_id, sessions)]
            calls = [one for one in tables.calls.values() if _is_of(one, user_id, sessions)]
            if not dry_run:
                tables.calls.update((one.id, _nobodys(one, user_id, kept)) for one in calls)
                for table, gone in ((tables.messages, messages), (tables.sessions, sessions)):
                    for one_id in gone:
                        del table[one_id]
        return Forgotten(messages=len(messages), sessions=len(sessions), calls=len(calls))

    async def save_provider(self, provider: Provider) -> None:
        providers = self._open_tables().providers
        _check_provider(providers, *checked(Provider, [provider]))
        providers[provider.id] = _own(provider)

    async def get_provider(self, provider_id: UUID) -> Provider | None:
        return self._get(self._open_tables().providers, provider_id)

    async def get_provider_by_name(self, tenant_id: UUID, name: str) -> Provider | None:
        named = [one for one in await self.list_providers(tenant_id) if one.provider_name == name]
        return named[0] if named else None

    async def list_providers(self, tenant_id: UUID) -> list[Provider]:
        found = [one for one in self._open_tables().providers.values() if one.tenant_id == tenant_id]
        return [_own(one) for one in sorted(found, key=lambda one: (one.provider_name, one.id))]

    async def get_enabled_providers(self, tenant_id: UUID) -> list[Provider]:
        return [provider for provider in await self.list_providers(tenant_id) if provider.enabled]

    async def delete_provider(self, provider_id: UUID) -> bool:
        return self._open_tables().providers.pop(provider_id, None) is not None

    async def save_agent(self, agent: Agent) -> None:
        agents = self._open_tables().agents
        _check_agent(agents, *checked(Agent, [agent]))
        agents[agent.id] = _own(agent)

    async def get_agent(self, agent_id: UUID) -> Agent | None:
        return self._get(self._open_tables().agents, agent_id)

    async def get_agent_by_code(self, code: str) -> Agent | None:
        coded = [one for one in self._open_tables().agents.values() if one.agent_code == code]
        return _own(coded[0]) if coded else None

    async def get_agent_by_code_and_tenant(self, tenant_id: UUID, code: str) -> Agent | None:
        agent = await self.get_agent_by_code(code)
        return agent if agent is not None and agent.tenant_id == tenant_id else None

    async def list_agents(self, tenant_id: UUID) -> list[Agent]:
        found = [one for one in self._open_tables().agents.values() if one.tenant_id == tenant_id]
        return [_own(one) for one in sorted(found, key=lambda one: (one.agent_order, one.id))]

    async def get_active_agents(self, tenant_id: UUID) -> list[Agent]:
        return [agent for agent in await self.list_agents(tenant_id) if agent.agent_status]

    async def _configured(self, agent: Agent | None) -> AgentConfig | None:
        provider = None if agent is None else await self.get_provider(agent.provider_id)
        return None if agent is None or provider is None else AgentConfig(agent=agent, provider=provider)

    async def get_agent_with_provider(self, agent_id: UUID) -> AgentConfig | None:
        return await self._configured(await self.get_agent(agent_id))

    async def get_agent_by_code_with_provider(self, code: str) -> AgentConfig | None:
        return await self._configured(await self.get_agent_by_code(code))

    async def get_agent_by_code_and_tenant_with_provider(self, tenant_id: UUID, code: str) -> AgentConfig | None:
        return await self._configured(await self.get_agent_by_code_and_tenant(tenant_id, code))

    async def delete_agent(self, agent_id: UUID) -> bool:
        return self._open_tables().agents.pop(agent_id, None) is not None


class _MemoryTransaction(_MemoryRecords):
    """Works on copies of the tables, until it is over."""

    over = False

    def _open_tables(self) -> _Tables:
        if self.over:
            raise QueryError("the transaction is over")
        return self._tables


class InMemoryStore(_MemoryRecords, Store):
    """A store in memory, of one process. A transaction copies the tables, so it is for thousands of records."""

    def __init__(self) -> None:
        super().__init__(_Tables())
        self._connected = True

    @classmethod
    def connect(cls, url: str = "memory:", **options: Unpack[ConnectOptions]) -> Connecting[Self]:
        """A new, empty store, in the form in which the other stores are connected.

        The options are those of the other stores, so that a URL can be exchanged; here there is nothing to connect.
        """

        async def make() -> Self:
            backend = parse_url(url).backend
            if backend != "memory":
                raise StoreConnectionError(f"{cls.__name__} cannot open a {backend} URL")
            Options(**options)  # refuses what the others refuse
            return cls()

        return Connecting(make)

    @classmethod
    def from_env(cls, **options: Unpack[ConnectOptions]) -> Connecting[Self]:
        """`connect` with the URL of the environment variable `DATABASE_URL`."""

        async def make() -> Self:
            return await cls.connect(url_from_env(), **options)

        return Connecting(make)

    @property
    def pool(self) -> None:
        """There are no connections to pool."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._tables.calls)} API calls>"

    def _open_tables(self) -> _Tables:
        if not self._connected:
            raise StoreConnectionError("the store is closed")
        return self._tables

    @property
    def backend_name(self) -> str:
        return "memory"

    @property
    def is_connected(self) -> bool:
        return self._connected

    def snapshot(self) -> tuple[list[LLMApiCall], list[Agent], list[Provider], list[ChatSession]]:
        """The API calls, agents, providers and sessions of this moment, for an analysis."""
        return self.records(LLMApiCall), self.records(Agent), self.records(Provider), self.records(ChatSession)

    def records(self, kind: type[_R]) -> list[_R]:
        """The records of a kind of this moment, for an analysis."""
        tables = self._open_tables()
        held = {
            LLMMessage: tables.messages,
            LLMApiCall: tables.calls,
            ChatSession: tables.sessions,
            Provider: tables.providers,
            Agent: tables.agents,
        }
        return list(map(_own, list(held[kind].values())))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Records]:
        before = self._open_tables().copy()
        transaction = _MemoryTransaction(before.copy())
        try:
            yield transaction
        finally:
            transaction.over = True
        with self._lock:
            self._commit(before, transaction._tables)

    def _commit(self, before: _Tables, after: _Tables) -> None:
        """Make the changes of a transaction those of the store, unless they violate a key by now."""
        merged = self._open_tables().copy()
        for name, table in vars(merged).items():
            old, new = getattr(before, name), getattr(after, name)
            for key in old.keys() - new.keys():
                table.pop(key, None)
            table.update({key: record for key, record in new.items() if old.get(key) is not record})
        for agent in after.agents.values():
            _check_agent(merged.agents, agent)
        for provider in after.providers.values():
            _check_provider(merged.providers, provider)
        for name, table in vars(merged).items():
            getattr(self._tables, name).clear()
            getattr(self._tables, name).update(table)

    async def ping(self) -> None:
        self._open_tables()

    async def close(self) -> None:
        self._connected = False
        self._tables = _Tables()
