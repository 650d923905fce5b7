"""The contract of every store.

A store keeps five kinds of records: messages, API calls, chat sessions, providers and agents. All stores answer alike;
which database is behind one shows only in its URL. What holds for every method:

- Something unknown is no error when it is read: `get_*` returns `None` or an empty list.
- Saving a record whose id exists replaces it whole, so saving twice is saving once. `create_session` alone insists
  that the session is new, `update_session` that it is not.
- Saving many is all or nothing and takes no round trip per row. Of two records with one id, the later one stands.
- `delete_*` returns whether a row went, or how many.
- Messages come oldest first, API calls newest first, sessions by `update_time` newest first, agents by `agent_order`,
  providers by name; ties are broken by id, so that paging never repeats or skips.
- What comes back is equal to what was saved, and shares nothing that can change with it.
- Every method may be called from many tasks at once. With more tasks than connections, tasks wait.

Errors are those of `mofa_usage.errors`: `StoreConnectionError` without a database, `ConstraintError` where a key, a
foreign key or a check is violated, `SerializationError` for a value that the database cannot hold or a stored row that
is no record, `QueryError` for the rest. Lost connections, deadlocks and a busy database are tried again, with backoff,
before they are raised; then `error.transient` is true.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from mofa_usage.records import (
    Agent,
    AgentConfig,
    ApiCallStatus,
    ChatSession,
    LLMApiCall,
    LLMMessage,
    Provider,
    QueryFilter,
    UsageStatistics,
)

__all__ = ["Connecting", "Forgotten", "Records", "Store", "Tally"]


@dataclass(frozen=True)
class Forgotten:
    """What forgetting a user met: messages and sessions that went, and calls that stay as nobody's."""

    messages: int
    sessions: int
    calls: int


@dataclass(frozen=True)
class Tally:
    """The sums over the calls of one model that ended in one way.

    Attributes:
        unpriced: Calls without a price.
        costs: Exact sums of the prices, by currency.
        latency_ms: The sum of the latencies that are known, in milliseconds.
        latencies: How many of these lie at or below each bound and above the one before; the last number is of those
            above all bounds.
    """

    model_name: str
    status: ApiCallStatus
    calls: int
    unpriced: int
    prompt_tokens: int
    completion_tokens: int
    costs: Mapping[str, Decimal]
    latency_ms: int
    latencies: tuple[int, ...]


class Records(ABC):
    """What can be saved, read and deleted: by a store, and by a transaction of it."""

    # Messages

    @abstractmethod
    async def save_message(self, message: LLMMessage) -> None:
        """Save a message, or replace the one with its id."""

    @abstractmethod
    async def save_messages(self, messages: Iterable[LLMMessage]) -> None:
        """Save many messages: all of them, or none when one cannot be saved."""

    @abstractmethod
    async def get_message(self, message_id: UUID) -> LLMMessage | None:
        """The message with this id."""

    @abstractmethod
    async def get_session_messages(self, session_id: UUID) -> list[LLMMessage]:
        """All messages of a session, oldest first."""

    @abstractmethod
    async def get_session_messages_paginated(self, session_id: UUID, offset: int, limit: int) -> list[LLMMessage]:
        """The messages of a session, oldest first: at most `limit`, after the first `offset`.

        Raises:
            ValueError: `offset` or `limit` is negative.
        """

    @abstractmethod
    async def count_session_messages(self, session_id: UUID) -> int:
        """How many messages a session has."""

    @abstractmethod
    async def delete_message(self, message_id: UUID) -> bool:
        """Delete a message; false when there was none."""

    @abstractmethod
    async def delete_session_messages(self, session_id: UUID) -> int:
        """Delete the messages of a session, which stays; how many there were."""

    @abstractmethod
    async def cleanup_old_messages(self, before: datetime, *, dry_run: bool = False) -> int:
        """Delete the messages with a `create_time` before this one, as `cleanup_old_records` deletes API calls; their
        sessions stay. Where a foreign key of MoFA's says that replies go with their parent, they do.

        Raises:
            ValueError: `before` has no zone.
        """

    # API calls

    @abstractmethod
    async def save_api_call(self, call: LLMApiCall) -> None:
        """Save an API call, or replace the one with its id."""

    @abstractmethod
    async def save_api_calls(self, calls: Iterable[LLMApiCall]) -> None:
        """Save many API calls in one transaction: all of them, or none when one cannot be saved.

        The fast path for volume: some 100,000 calls in a few seconds, without a round trip per row.
        """

    @abstractmethod
    async def get_api_call(self, call_id: UUID) -> LLMApiCall | None:
        """The API call with this id."""

    async def _find_api_calls(self, call_ids: Sequence[UUID]) -> list[LLMApiCall]:
        """The API calls that have one of these ids, in any order: how an import tells new calls from those it has."""
        found = [await self.get_api_call(call_id) for call_id in dict.fromkeys(call_ids)]
        return [call for call in found if call is not None]

    @abstractmethod
    async def _fill_prices(self, calls: Sequence[LLMApiCall]) -> list[LLMApiCall]:
        """Give calls the price and the `update_time` that they have here, all together; those that had none until then.

        Nothing else of them is changed, because somebody may be writing it meanwhile.
        """

    async def _keeps_labels(self) -> bool:
        """Whether the labels of calls can be saved: a table that MoFA made may have no column for them."""
        return True

    @abstractmethod
    async def query_api_calls(self, filter: QueryFilter | None = None) -> list[LLMApiCall]:  # noqa: A002 (the contract's name)
        """The API calls that meet every condition of the filter, newest first; all of them without one.

        Both ends of the time range are included. For more calls than fit into memory use `stream_api_calls`.
        """

    @abstractmethod
    def stream_api_calls(self, filter: QueryFilter | None = None) -> AsyncIterator[LLMApiCall]:  # noqa: A002
        """What `query_api_calls` returns, one by one and in bounded memory.

        It is read in pages and holds no connection between them: take your time, save meanwhile, stop where you
        like. A call saved during the stream is seen if its place in the order is still ahead.
        """

    @abstractmethod
    async def get_statistics(self, filter: QueryFilter | None = None) -> UsageStatistics:  # noqa: A002
        """Totals over the calls of the filter, whose `limit` and `offset` do not count.

        Cost is exact to its ten places; averages are over the calls that have the value.
        """

    @abstractmethod
    async def tally_calls(self, bounds_ms: Sequence[int], filter: QueryFilter | None = None) -> list[Tally]:  # noqa: A002
        """Sums over the calls of the filter, whose `limit` and `offset` do not count, for each model and status.

        Names of models are told apart to the letter. The database sums up, in one statement that reads each call.

        Args:
            bounds_ms: Ascending latencies by which the calls are sorted into intervals.

        Returns:
            In order of model and status.
        """

    @abstractmethod
    async def delete_api_call(self, call_id: UUID) -> bool:
        """Delete an API call; false when there was none."""

    @abstractmethod
    async def cleanup_old_records(self, before: datetime, *, dry_run: bool = False) -> int:
        """Delete the API calls with a `create_time` before this one; how many there were. `dry_run` only counts them.

        Deletes in batches, so that writers are not kept waiting: when it is interrupted, some are gone. Inside a
        transaction it is all or nothing like everything there.

        Raises:
            ValueError: `before` has no zone.
        """

    # Chat sessions

    @abstractmethod
    async def create_session(self, session: ChatSession) -> None:
        """Save a new session.

        Raises:
            ConstraintError: there is one with its id.
        """

    async def _save_sessions(self, sessions: Iterable[ChatSession]) -> None:
        """Save many sessions, new ones and such that are there: what is made up is saved at once and again."""
        for session in sessions:
            await (self.create_session if await self.get_session(session.id) is None else self.update_session)(session)

    @abstractmethod
    async def get_session(self, session_id: UUID) -> ChatSession | None:
        """The session with this id."""

    @abstractmethod
    async def get_user_sessions(self, user_id: UUID) -> list[ChatSession]:
        """A user's sessions, the one changed last (`update_time`) first."""

    @abstractmethod
    async def update_session(self, session: ChatSession) -> None:
        """Replace a session that exists.

        Raises:
            NotFoundError: there is none with its id.
        """

    @abstractmethod
    async def delete_session(self, session_id: UUID) -> bool:
        """Delete a session and its messages; false when there was no such session. Its API calls stay: they are the
        ledger.
        """

    # Users

    @abstractmethod
    async def forget_user(self, user_id: UUID, *, keep_labels: Iterable[str] = (), dry_run: bool = False) -> Forgotten:
        """Take a user out of the database, in one transaction; `dry_run` only counts.

        The user's messages and sessions are deleted, and all messages in those sessions. API calls, the user's and
        those in the sessions, stay with their tokens, prices and times, for they are the ledger. They become nobody's:
        the ids of the user, the session and the two messages are the nil UUID, the text of an error is gone (it may
        quote a prompt), and of the labels those stay that say something of the call (`provider`, `operation`,
        `retried` and the others of `mofa_usage.labels.KEPT`). Labels of one's own may name anybody, so they go, but
        for those that `keep_labels` names, such as `team` or `feature`. `update_time` is now, so that copies notice.

        A call that is saved again, from the file it was imported from, say, is the user's again.

        Raises:
            UsageError: the user is the nil UUID, which is nobody, or `keep_labels` has `user` or `session`.
        """

    # Providers

    @abstractmethod
    async def save_provider(self, provider: Provider) -> None:
        """Save a provider, or replace the one with its id.

        Raises:
            ConstraintError: another provider of the tenant has its name.
        """

    @abstractmethod
    async def get_provider(self, provider_id: UUID) -> Provider | None:
        """The provider with this id."""

    @abstractmethod
    async def get_provider_by_name(self, tenant_id: UUID, name: str) -> Provider | None:
        """A tenant's provider of this name."""

    @abstractmethod
    async def list_providers(self, tenant_id: UUID) -> list[Provider]:
        """A tenant's providers, by name."""

    @abstractmethod
    async def get_enabled_providers(self, tenant_id: UUID) -> list[Provider]:
        """A tenant's providers that are enabled, by name."""

    @abstractmethod
    async def delete_provider(self, provider_id: UUID) -> bool:
        """Delete a provider; false when there was none. In tables that MoFA made, its agents go with it."""

    # Agents

    @abstractmethod
    async def save_agent(self, agent: Agent) -> None:
        """Save an agent, or replace the one with its id.

        Raises:
            ConstraintError: another agent has its code.
        """

    @abstractmethod
    async def get_agent(self, agent_id: UUID) -> Agent | None:
        """The agent with this id."""

    @abstractmethod
    async def get_agent_by_code(self, code: str) -> Agent | None:
        """The agent with this code, whatever its tenant: codes are unique."""

    @abstractmethod
    async def get_agent_by_code_and_tenant(self, tenant_id: UUID, code: str) -> Agent | None:
        """The agent with this code, if it is the tenant's."""

    @abstractmethod
    async def list_agents(self, tenant_id: UUID) -> list[Agent]:
        """A tenant's agents, by `agent_order`."""

    @abstractmethod
    async def get_active_agents(self, tenant_id: UUID) -> list[Agent]:
        """A tenant's agents whose `agent_status` is true, by `agent_order`."""

    @abstractmethod
    async def get_agent_with_provider(self, agent_id: UUID) -> AgentConfig | None:
        """An agent together with its provider; `None` when either is missing."""

    @abstractmethod
    async def get_agent_by_code_with_provider(self, code: str) -> AgentConfig | None:
        """The agent with this code together with its provider; `None` when either is missing."""

    @abstractmethod
    async def get_agent_by_code_and_tenant_with_provider(self, tenant_id: UUID, code: str) -> AgentConfig | None:
        """The tenant's agent with this code together with its provider; `None` when either is missing."""

    @abstractmethod
    async def delete_agent(self, agent_id: UUID) -> bool:
        """Delete an agent; false when there was none."""


class Store(Records):
    """A database of records. Close it when you are done, or use it as `async with connect(url) as store`."""

    @property
    @abstractmethod
    def backend_name(self) -> str:
        """`postgres`, `mysql`, `sqlite` or `memory`."""

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """True until `close`. Whether the database answers is what `ping` finds out."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Records]:
        """All that is done through the object that it gives happens together.

        ```python
        async with store.transaction() as transaction:
            await transaction.create_session(session)
            await transaction.save_messages(messages)
        ```

        It commits at the end of the block and rolls back when an exception leaves it; nobody else sees anything
        before the commit. It holds a connection (on SQLite the only one that may write), so keep it short, await
        nothing slow inside, and do not use the store itself there: where that would wait for the transaction to end,
        it raises a `QueryError` instead. Its calls belong to one task and are not retried: what has failed inside
        takes the whole transaction with it.
        """

    @abstractmethod
    async def ping(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            StoreConnectionError: there is none.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close every connection. Closing twice does nothing; any later call raises `StoreConnectionError`.

        What other tasks are doing gets ten seconds to finish; then it is broken off, and they get that error, too.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


_S = TypeVar("_S", bound=Store)


class Connecting(Generic[_S]):
    """A store that is about to be connected: await it and close it yourself, or use it in `async with`."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, _S]]) -> None:
        self._connect = connect
        self._store: _S | None = None

    def __await__(self) -> Generator[Any, None, _S]:
        return self._connect().__await__()

    async def __aenter__(self) -> _S:
        self._store = await self._connect()
        return self._store

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            await self._store.close()
