"""Saving a batch: sessions before messages, parents before children, calls; and finding out what cannot be saved.

A batch that a database refuses is halved until the records are found that it refuses. Is it the record's fault?

- A violated constraint, or a value that the database cannot hold, is.
- Without a connection, with a lock or a deadlock nothing is: all of it is tried again.
- Anything else (no permission, a full disk, a failing trigger) is only if other records can be saved, again and again.

So a database that takes nothing kills nothing, and a record that it never takes blocks nothing.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from mofa_usage.errors import (
    ConstraintError,
    MissingExtraError,
    PersistenceError,
    SerializationError,
    StoreConnectionError,
)
from mofa_usage.recording.documents import Item
from mofa_usage.records import ChatSession, LLMApiCall, LLMMessage
from mofa_usage.stores.base import Store

__all__ = ["Saved", "Saver", "passes"]

_SESSIONS_KNOWN = 10_000  # that are not looked for again

_log = logging.getLogger(__name__)


@dataclass
class Saved:
    """What became of items, by their place: `dead` ones are to blame themselves, `suspects` perhaps."""

    saved: int = 0
    dead: dict[int, str] = field(default_factory=dict)
    suspects: dict[int, str] = field(default_factory=dict)
    labels_dropped: int = 0


Numbered = tuple[int, Item]
_Save = Callable[[list[Any]], Awaitable[None]]


def passes(error: Exception) -> bool:
    """Whether an error is the database's or the way to it, and no record's: trying again is all that can be done."""
    if isinstance(error, PersistenceError):
        return error.transient or isinstance(error, StoreConnectionError)
    return isinstance(error, OSError | MissingExtraError)


class Saver:
    """Saves into one store, by one task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions: dict[UUID, None] = {}  # that are known to be there, the oldest first
        self._has_told = False

    async def save(self, items: Sequence[Item]) -> Saved:
        """Save what can be saved.

        Raises:
            Exception: nothing can be said of any record, because the database cannot be used now.
        """
        done = Saved()
        numbered = list(enumerate(items))
        sessions, messages, calls = ([one for one in numbered if one[1].kind == kind] for kind in _ORDER)
        for one in sessions:
            await self._one_by_one([one], self._save_sessions, done)
        await self._split(_parents_first(messages), self._save_messages, done)
        await self._split(await self._unlabelled(calls, done), self._store.save_api_calls, done)
        return done

    async def save_message(self, message: LLMMessage) -> None:
        """Save one message, and the row of its session where there is none.

        Raises:
            PersistenceError: the store cannot.
        """
        await self._save_messages([message])

    def forget(self, session_id: UUID) -> None:
        """Somebody deletes this session."""
        self._sessions.pop(session_id, None)

    async def _split(self, items: list[Numbered], save: _Save, done: Saved) -> None:
        if not items:
            return
        try:
            await save([item.record for _, item in items])
        except Exception as error:
            if passes(error):
                raise
            if len(items) == 1:
                self._blame(items[0][0], error, done)
                return
        else:
            done.saved += len(items)
            return
        half = len(items) // 2
        await self._split(items[:half], save, done)
        await self._split(items[half:], save, done)

    async def _one_by_one(self, items: list[Numbered], save: _Save, done: Saved) -> None:
        for one in items:
            await self._split([one], save, done)

    def _blame(self, place: int, error: Exception, done: Saved) -> None:
        reason = f"{type(error).__name__}: {error}"
        is_at_fault = isinstance(error, ConstraintError | SerializationError)
        (done.dead if is_at_fault else done.suspects)[place] = reason

    async def _save_sessions(self, sessions: Sequence[ChatSession]) -> None:
        for session in sessions:
            await self._ensure(session)

    async def _ensure(self, session: ChatSession) -> None:
        """Make a session's row where there is none."""
        if session.id in self._sessions:
            return
        if await self._store.get_session(session.id) is None:
            try:
                await self._store.create_session(session)
            except ConstraintError:
                if await self._store.get_session(session.id) is None:  # else somebody else has made it meanwhile
                    raise
        while len(self._sessions) >= _SESSIONS_KNOWN:
            del self._sessions[next(iter(self._sessions))]
        self._sessions[session.id] = None

    async def _save_messages(self, messages: Sequence[LLMMessage]) -> None:
        for message in messages:
            if message.chat_session_id not in self._sessions:
                await self._ensure(_session_of(message))
        try:
            await self._store.save_messages(messages)
        except ConstraintError:
            for message in messages:
                self._sessions.pop(message.chat_session_id, None)  # somebody may have deleted it
            if len(messages) > 1:
                raise
            await self._save_again(messages[0])

    async def _save_again(self, message: LLMMessage) -> None:
        """Save a message whose session somebody has deleted, or whose parent nobody has ever saved."""
        await self._ensure(_session_of(message))
        parent = message.parent_message_id
        if parent is not None and await self._store.get_message(parent) is None:
            _log.warning("the message %s is saved without its parent %s, which is not there", message.id, parent)
            message = message.model_copy(update={"parent_message_id": None})
        await self._store.save_message(message)

    async def _unlabelled(self, calls: list[Numbered], done: Saved) -> list[Numbered]:
        """The calls as the table can hold them: one that MoFA made may have no column for labels."""
        labelled = sum(1 for _, item in calls if cast(LLMApiCall, item.record).labels)
        if not labelled or await self._store._keeps_labels():
            return calls
        done.labels_dropped = labelled
        if not self._has_told:
            self._has_told = True
            _log.warning("calls are saved without their labels until `mofa-usage migrate` has made a column for them")
        return [(place, item._replace(record=item.record.model_copy(update={"labels": {}}))) for place, item in calls]


_ORDER = ("sessions", "messages", "calls")


def _session_of(message: LLMMessage) -> ChatSession:
    return ChatSession(
        id=message.chat_session_id,
        user_id=message.user_id,
        agent_id=message.agent_id,
        tenant_id=message.tenant_id,
        create_time=message.create_time,
        update_time=message.create_time,
    )


def _parents_first(messages: list[Numbered]) -> list[Numbered]:
    """Messages in an order in which each half can be saved before the other."""
    # By numbers: a UUID itself takes far longer to be found.
    parents = {item.record.id.int: cast(LLMMessage, item.record).parent_message_id for _, item in messages}
    depths: dict[int, int] = {}
    for start in parents:
        line: list[int] = []
        current: int | None = start
        while current in parents and current not in depths and current not in line:
            line.append(current)
            parent = parents[current]
            current = None if parent is None else parent.int
        above = depths.get(current, -1) if current is not None else -1
        depths |= {one: depth for depth, one in enumerate(reversed(line), above + 1)}
    return sorted(messages, key=lambda one: depths[one[1].record.id.int])
