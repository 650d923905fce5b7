"""Saving what a chat leaves behind, without being in its way: what cannot be saved now waits, and is said and counted.

Nobody waits longer than `PATIENCE` for a store, and a store that let a chat wait is left alone for a while. What waits
is in memory, at most so many records, and goes with the next chat that can save. What is promised to outlive a process
is a `Recorder`'s.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from mofa_usage import errors
from mofa_usage.recording.documents import Item
from mofa_usage.recording.pricing import Pricing
from mofa_usage.recording.saving import Saver
from mofa_usage.records import ChatSession, LLMApiCall, LLMMessage, MessageRole, Record
from mofa_usage.stores.base import Store

__all__ = ["PATIENCE", "Keeper", "PluginStats"]

PATIENCE = 5.0
"""Seconds that a chat waits for the store, each time."""

_PAUSE = 5.0  # seconds in which a store that took long to fail is not tried again
_LONG = 0.1  # seconds; what fails at once costs nobody anything
_MOST_WAITING = 1_000  # records
_MOST_KNOWN = 200  # sessions whose history is remembered, for when the store cannot be read
_KINDS: Mapping[type[Record], str] = {ChatSession: "sessions", LLMMessage: "messages", LLMApiCall: "calls"}
_OURS = frozenset({*errors.__all__, "InvalidCall", "TimeoutError", "TooManyWaiting"})
"""Failures whose text holds no secret; of others, only the kind is said."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PluginStats:
    """What became of what a plugin was to save.

    Attributes:
        saved: records in the store.
        waiting: in memory, to be saved with the next chat; gone with the process.
        lost: never saved: the store refused them for good, or too many waited.
        failures: how often something could not be saved or read, by the kind of error.
    """

    saved: int
    waiting: int
    lost: int
    failures: Mapping[str, int]


class Keeper:
    """Keeps records of chats in a store, for all tasks of an event loop. Only `delete_session` and `save` raise.

    Args:
        name: of the plugin, for the log.
    """

    def __init__(self, name: str, store: Store, pricing: Pricing) -> None:
        self._name = name
        self._store = store
        self._pricing = pricing
        self._has_prices = False
        self._saver = Saver(store)
        self._waiting: deque[Record] = deque()
        self._known: dict[UUID, dict[UUID, LLMMessage]] = {}
        self._saved = self._lost = 0
        self._failures = Counter[str]()
        self._tasks: set[asyncio.Task[None]] = set()
        self._try_again = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn_to_save = asyncio.Lock()

    async def history(self, session_id: UUID, rounds: int | None = None) -> list[LLMMessage]:
        """The messages of a session, oldest first, or enough of them for so many rounds. Never raises: where the store
        cannot be read, those that this process knows.
        """
        if self._is_paused:
            return self._remembered(session_id)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                read = await self._read(session_id, rounds)
        except Exception as error:
            self._fail(error, "could not read the history", begun)
            return self._remembered(session_id)
        waiting = [one for one in self._waiting if isinstance(one, LLMMessage) and one.chat_session_id == session_id]
        self._known.pop(session_id, None)
        self._known[session_id] = {message.id: message for message in (*read, *waiting)}
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return self._remembered(session_id)

    async def _read(self, session_id: UUID, rounds: int | None) -> list[LLMMessage]:
        if rounds is None:
            return await self._store.get_session_messages(session_id)
        size = 2 * rounds + 20
        while True:
            offset = max(0, await self._store.count_session_messages(session_id) - size)
            read = await self._store.get_session_messages_paginated(session_id, offset, size)
            if offset == 0 or sum(message.role is MessageRole.USER for message in read) > rounds:
                return read
            size *= 4  # rounds of many messages

    def _remembered(self, session_id: UUID) -> list[LLMMessage]:
        return sorted(self._known.get(session_id, {}).values(), key=lambda message: (message.create_time, message.id))

    @property
    def _is_paused(self) -> bool:
        return time.monotonic() < self._try_again

    async def keep(self, *records: Record) -> None:
        """Save records, and what waits. It is done to the end, even if the chat is cancelled meanwhile."""
        for record in records:
            if isinstance(record, LLMMessage) and record.chat_session_id in self._known:
                self._known[record.chat_session_id][record.id] = record
        self._waiting.extend(records)
        if self._is_paused:
            self._shorten()
            return
        if (loop := asyncio.get_running_loop()) is not self._loop:  # a lock belongs to the loop that it is waited in
            self._loop, self._turn_to_save = loop, asyncio.Lock()
        task = asyncio.create_task(self._save())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def flush(self) -> bool:
        """Try now to save what waits; whether nothing waits any more."""
        self._try_again = 0.0
        await self.keep()
        return not self._waiting

    async def _save(self) -> None:
        """One saves at a time, for all who wait meanwhile: their chats are one batch."""
        async with self._turn_to_save:
            if not self._waiting or self._is_paused:
                return
            batch = list(self._waiting)
            self._waiting.clear()
            begun, left = time.monotonic(), batch
            try:
                async with asyncio.timeout(PATIENCE):
                    records = await self._priced(batch)
                    done = await self._saver.save([Item(_KINDS[type(record)], 0, record) for record in records])
                left = [batch[place] for place in done.suspects]
                self._saved += done.saved
                self._lost += len(done.dead)
                for reason in (*done.suspects.values(), *done.dead.values()):
                    self._say("could not save", reason)
            except Exception as error:
                self._fail(error, "could not save", begun)
            finally:  # however it ends: the loop may be about to stop
                self._waiting.extendleft(reversed(left))
                self._shorten()

    async def _priced(self, records: list[Record]) -> list[Record]:
        if not self._has_prices and any(isinstance(record, LLMApiCall) for record in records):
            await asyncio.to_thread(self._pricing.load)
            self._has_prices = True
        return [self._pricing.priced(record) if isinstance(record, LLMApiCall) else record for record in records]

    def _shorten(self) -> None:
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft()
            self._lost += 1
            self._say("has lost records", f"TooManyWaiting: more than {_MOST_WAITING:,} cannot be saved")

    # Saying it

    def stats(self) -> PluginStats:
        """The counts of this moment."""
        return PluginStats(self._saved, len(self._waiting), self._lost, dict(self._failures))

    def _fail(self, error: Exception, what: str, begun: float) -> None:
        now = time.monotonic()
        if now - begun > _LONG:  # whoever made a chat wait is left alone for a while
            self._try_again = now + _PAUSE
        why = f"no answer in {PATIENCE:.0f} seconds" if isinstance(error, TimeoutError) else error
        self._say(what, f"{type(error).__name__}: {why}")

    def _say(self, what: str, reason: str) -> None:
        """Count a failure by its kind, with which the reason begins; say the first one of a kind."""
        kind = reason.partition(":")[0]
        self._failures[kind] += 1
        if self._failures[kind] == 1:
            _log.warning(
                "the plugin %r %s in its %s store; chats go on (said once, then counted in stats()): %s",
                self._name,
                what,
                self._store.backend_name,
                reason if kind in _OURS else kind,
            )

    def lose(self, reason: str) -> None:
        """A record is none; the reason begins with its kind."""
        self._lost += 1
        self._say("has lost a record", reason)

    # What is asked for outside of a chat

    async def save(self, message: LLMMessage) -> None:
        """Save a message now.

        Raises:
            PersistenceError: the store cannot.
        """
        await self._saver.save_message(message)

    async def delete_session(self, session_id: UUID) -> bool:
        """Delete a session and its messages, also those that have no row of a session; false where nothing is.

        Raises:
            PersistenceError: the store cannot.
        """
        self._saver.forget(session_id)
        self._known.pop(session_id, None)
        self._waiting = deque(one for one in self._waiting if getattr(one, "chat_session_id", one.id) != session_id)
        messages = await self._store.delete_session_messages(session_id)
        return await self._store.delete_session(session_id) or messages > 0
