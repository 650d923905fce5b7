"""OpenAI's Agents SDK: a `Session` that keeps a conversation in a store.

The SDK asks a session for what was said (`get_items`) and gives it what is new: items as the Responses API has them.
Here an item, or what the model said at once in several, is a message. From the message items can be made again; where
they would not be the same ones, they are kept beside it, under the further key `items` of its content.

Calls are recorded by a recorded client (`set_default_openai_client(recorder.wrap(AsyncOpenAI()))`). In a scope of the
same session it leaves the messages to the session, which knows better what belongs to the conversation: an answer that
was cut, or what an agent asked that another one used as its tool, does not. The ids of messages follow from what was
said (`conversations.py`), so the calls name the messages that the session saves.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from mofa_usage.errors import ConstraintError, UsageError
from mofa_usage.recording.conversations import Conversations, Said, id_after
from mofa_usage.recording.failures import plain_json
from mofa_usage.recording.formats.responses import messages_in
from mofa_usage.recording.recorder import Recorder
from mofa_usage.recording.scope import Identity
from mofa_usage.records import ChatSession, LLMMessage, MessageContent, MessageRole
from mofa_usage.stores.base import Store

__all__ = ["AgentsSession"]

_TICK = timedelta(microseconds=1)
_PAGE = 50  # messages: the last turn is among so many


class AgentsSession:
    """A conversation of the Agents SDK in a store: `Runner.run(agent, text, session=AgentsSession(store, "ticket-7"))`.

    Attributes:
        session_id: as it was given.
        session_settings: of the SDK; its `limit` is how many items an agent gets to see.
    """

    def __init__(
        self,
        store: Store,
        session: UUID | str,
        *,
        recorder: Recorder | None = None,
        user: UUID | str | None = None,
        agent: UUID | str | None = None,
        tenant: UUID | str | None = None,
        session_settings: Any = None,
    ) -> None:
        """A new conversation, or one that is there.

        Args:
            store: an open store, which stays open.
            session: its id, or a name, which becomes the same id every time, as in `recorder.scope`.
            recorder: of the client that the agents use: its scopes say whose messages they are, its `redact` what is
                kept of them.
            user, agent, tenant: whose messages they are, whatever a scope says: ids or names.
            session_settings: see above.

        Raises:
            UsageError: a name is empty, or the recorder keeps no messages.
        """
        if recorder is not None and not recorder.captures_content:
            raise UsageError("a session keeps messages, and this recorder keeps none: leave recorder= out")
        self.session_id = str(session)
        self.session_settings = session_settings
        self._store = store
        self._recorder = recorder
        self._names = {"session": session, "user": user, "agent": agent, "tenant": tenant}
        self._conversations = Conversations() if recorder is None else recorder.observer.conversations
        self._id = self._identity().chat_session_id
        self._has_session = False
        self._turn = asyncio.Lock()
        self._conversations.leave(str(self._id), self)

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """What was said, oldest first; with a limit the latest so many items."""
        if limit is None:
            said = self.session_settings
            limit = said.get("limit") if isinstance(said, Mapping) else getattr(said, "limit", None)
        self._conversations.leave(str(self._id), self)
        messages = await (self._store.get_session_messages(self._id) if limit is None else self._latest(limit))
        for message in messages:
            self._learn(message)
        items = [item for message in messages for item in _items_of(message.content, message.role.value)]
        return items if limit is None else items[len(items) - min(limit, len(items)) :]

    async def add_items(self, items: list[Any]) -> None:
        """Save what is new; when this returns it is in the store."""
        self._conversations.leave(str(self._id), self)
        async with self._turn:
            if messages := await self._placed([plain_json(dict(item)) for item in items]):
                await self._ensure_session()
                await self._store.save_messages(messages)
        for message in messages:
            self._learn(message)

    async def pop_item(self) -> Any | None:
        """Remove the latest item, and give it back; None where there is none."""
        async with self._turn:
            latest = await self._latest(1)
            if not latest:
                return None
            message = latest[-1]
            *rest, last = _items_of(message.content, message.role.value) or [None]
            if rest:
                (_, said), *_ = messages_in(rest)
                content = _content(said, rest, is_exact=True)
                changed = {"content": MessageContent.model_validate(content), "update_time": datetime.now(UTC)}
                await self._store.save_message(message.model_copy(update=changed))
            else:
                await self._store.delete_message(message.id)
            return last

    async def clear_session(self) -> None:
        """Remove all items. The session's row and the calls stay."""
        async with self._turn:
            await self._store.delete_session_messages(self._id)

    def _identity(self) -> Identity:
        base = Identity() if self._recorder is None else self._recorder.identity
        return base.within(self._names, {})

    async def _latest(self, count: int) -> Sequence[LLMMessage]:
        there = await self._store.count_session_messages(self._id)
        first = max(0, there - count)
        return await self._store.get_session_messages_paginated(self._id, first, count) if count > 0 else []

    async def _placed(self, items: Sequence[dict[str, Any]]) -> list[LLMMessage]:
        """The messages of new items: behind those that are there, in time and as their children."""
        latest = await self._latest(_PAGE)
        before = next((message.id for message in reversed(latest) if message.role != MessageRole.SYSTEM), None)
        at = max([datetime.now(UTC), *(message.create_time + _TICK for message in latest[-1:])])
        is_exact = self._recorder is None or not self._recorder.privacy.redacts
        fields = []
        for group, message in messages_in(items):
            said = message or Said("assistant", {})
            own = UUID(id_after(str(self._id), before.hex if before else None, said))
            content = _content(message, group, is_exact=is_exact)
            fields.append({"id": own, "parent_message_id": before, "role": said.role, "content": content})
            before = before if said.role == "system" else own
        if self._recorder is not None:
            fields = list(self._recorder.privacy.apply({"messages": fields}).get("messages", ()))
        identity = self._identity()
        whose = {"user_id": identity.user_id, "agent_id": identity.agent_id, "tenant_id": identity.tenant_id}
        times = [at + _TICK * index for index in range(len(fields))]
        return [
            LLMMessage(**whose, **field, chat_session_id=self._id, create_time=time, update_time=time)
            for field, time in zip(fields, times, strict=True)
        ]

    async def _ensure_session(self) -> None:
        if self._has_session or await self._store.get_session(self._id) is not None:
            self._has_session = True
            return
        identity = self._identity()
        whose = {"user_id": identity.user_id, "agent_id": identity.agent_id, "tenant_id": identity.tenant_id}
        now = datetime.now(UTC)
        title = identity.labels.get("session")
        session = ChatSession(id=self._id, **whose, title=title, metadata={}, create_time=now, update_time=now)
        try:
            await self._store.create_session(session)
        except ConstraintError:
            if await self._store.get_session(self._id) is None:  # else somebody else has made it meanwhile
                raise
        self._has_session = True

    def _learn(self, message: LLMMessage) -> None:
        """A client that is sent this again knows it, however the history before it is shortened."""
        if message.role == MessageRole.ASSISTANT:
            content = message.content.model_dump(mode="json", exclude_none=True)
            self._conversations.learn(str(self._id), Said("assistant", content), message.id.hex)


def _content(said: Said | None, items: Sequence[Mapping[str, Any]], *, is_exact: bool) -> dict[str, Any]:
    """What is kept of a message, with its items where they would not be made of it again."""
    content = {} if said is None else dict(said.content)
    if not is_exact:
        return content  # the items may hold what is not to be kept
    made = [] if said is None else _made_of(content, said.role)
    return content if made == list(items) else {**content, "items": list(items)}


def _items_of(content: MessageContent, role: str) -> list[Any]:
    said = content.model_dump(mode="json", exclude_none=True)
    kept = said.get("items")
    return kept if isinstance(kept, list) else _made_of(said, role)


def _made_of(said: Mapping[str, Any], role: str) -> list[Any]:
    """Items that say the same as a message."""
    text, parts = said.get("text"), said.get("parts")
    if (result := said.get("tool_result")) is not None:
        output = [{"type": "input_text", "text": result["content"]}, *parts] if parts else result["content"]
        return [{"type": "function_call_output", "call_id": result["tool_call_id"], "output": output}]
    if role != "assistant":
        words: Iterable[Any] = [{"type": "input_text", "text": text}] if text else []
        return [{"role": role, "content": [*words, *parts] if parts else text or ""}]
    items: list[Any] = [{"role": "assistant", "content": text}] if text else []
    for call in said.get("tool_calls") or ():
        arguments = call["arguments"]
        words = arguments if isinstance(arguments, str) else json.dumps(arguments)
        items.append({"type": "function_call", "call_id": call["id"], "name": call["name"], "arguments": words})
    return items
