"""A small agent that remembers: a model, a system prompt, and sessions in a store.

```python
from uuid import uuid4

class Echo:                                            # whom to ask: a client of an SDK, or an object with this method
    async def chat(self, request):
        yield request.messages[-1].content.text.upper()

plugin = PersistencePlugin.from_store("persistence", store, session_id=uuid4(), agent_id=uuid4(), user_id=uuid4())
agent = LLMAgentBuilder().with_provider(Echo()).with_plugin(plugin).with_sliding_window(10).build()

assert await agent.chat("hello") == "HELLO"
assert [piece async for piece in agent.chat_stream("hello again")] == ["HELLO AGAIN"]
assert len(await plugin.load_history()) == 4
```

A chat is this, whether it is streamed or not:

```
plugin.history                      what was said before, as far as the window goes
plugin.before_chat_with_model       the question is saved; None ends it here
client.chat                         pieces of the answer go to the user as they come
plugin.after_chat_with_metadata     answer and call are saved, or
plugin.on_error                     what there is of them: after an error, a cancelled task, an abandoned stream
```

Any number of chats may be under way at once, in one session or in many.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from mofa_usage.errors import NotFoundError, UsageError
from mofa_usage.recording.agents.chat_clients import ChatClient, ChatRequest, ChatSettings, SDKChat
from mofa_usage.recording.agents.histories import latest
from mofa_usage.recording.agents.plugin import AgentPlugin, PersistencePlugin
from mofa_usage.recording.failures import plain_text
from mofa_usage.recording.scope import Identity
from mofa_usage.recording.turns import ChatMetadata, Turn, Witness, entering, question_of
from mofa_usage.records import ChatSession, LLMMessage

__all__ = ["LLMAgent", "Parts"]

_END: Any = object()


@dataclass
class Parts:
    """What an agent is made of.

    Attributes:
        memory: the plugin whose store has the sessions.
        is_own: it is the agent's own, in memory: nobody gave one.
        witness: what is observed of a plain client.
        owned: the client of an SDK that was made here, and is closed here.
    """

    client: ChatClient
    plugins: Sequence[AgentPlugin]
    memory: PersistencePlugin
    is_own: bool
    witness: Witness
    owned: Any
    name: str
    model: str
    system: str | None
    window: int | None
    settings: ChatSettings


class LLMAgent:
    """Chats with a model, and remembers. Made by `LLMAgentBuilder`; safe to use from many tasks at once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._memory = parts.memory

    @property
    def name(self) -> str:
        """Its name; empty where it was given none."""
        return self._parts.name

    @property
    def session_id(self) -> UUID:
        """The session of the chats that begin now."""
        return self._memory.session_id

    async def chat(self, text: str, *, session_id: UUID | str | None = None) -> str:
        """The model's answer to a question, in the present session or in another one of the user's.

        Raises:
            NotFoundError: the other session is another user's.
            Exception: what the client raises, after it was recorded; what a hook of a plugin of yours raises.
        """
        chat = _Chat(self._parts, text, session_id, stream=self._parts.settings.stream is True)
        try:
            async with aclosing(chat.pieces()) as pieces:
                async for _ in pieces:
                    pass
        except Exception:
            if chat.instead is None:
                raise
            return chat.instead
        return chat.answer

    async def chat_stream(self, text: str, *, session_id: UUID | str | None = None) -> AsyncIterator[str]:
        """The same, by pieces as they come. A stream that is not read to its end is recorded as far as it got.

        Raises:
            Exception: as `chat`.
        """
        chat = _Chat(self._parts, text, session_id, stream=self._parts.settings.stream is not False)
        async with aclosing(chat.pieces()) as pieces:
            async for piece in pieces:
                yield piece

    # Sessions

    async def new_session(self) -> UUID:
        """Begin a session, and go on in it; its id."""
        self._memory.with_session_id(uuid7())
        await self._memory.create_session()
        return self.session_id

    async def switch_session(self, session_id: UUID | str) -> None:
        """Go on in another session of the user.

        Raises:
            NotFoundError: there is none of this user with this id.
            PersistenceError: the store cannot be read.
        """
        wanted = self._memory.identity_in(session_id).chat_session_id
        if not await self._is_own_session(wanted):
            raise NotFoundError(f"there is no session {wanted} of this user")
        self._memory.with_session_id(session_id)

    async def list_sessions(self) -> list[UUID]:
        """The ids of the user's sessions with this agent, the newest first.

        Raises:
            PersistenceError: the store cannot be read.
        """
        memory = self._memory
        sessions = await memory.store.get_user_sessions(memory.user_id)
        return [
            session.id
            for session in sessions
            if (session.agent_id, session.tenant_id) == (memory.agent_id, memory.tenant_id)
        ]

    async def delete_session(self, session_id: UUID | str) -> bool:
        """Delete a session of the user with its messages; false where there is none. Its calls stay: they are the
        ledger. If it is the present one, the next chat begins it anew.

        Raises:
            PersistenceError: the store cannot.
        """
        wanted = self._memory.identity_in(session_id).chat_session_id
        return await self._is_own_session(wanted) and await self._memory.delete_session(wanted)

    async def _is_own_session(self, session_id: UUID) -> bool:
        memory = self._memory
        if (session := await memory.store.get_session(session_id)) is not None:
            return _owner(session) == _owner(memory)
        first = await memory.store.get_session_messages_paginated(session_id, 0, 1)  # of a session without a row
        return bool(first) and _owner(first[0]) == _owner(memory)

    async def aclose(self) -> None:
        """Close the client that was made for a `Provider` record; one of yours stays open, and so does the store."""
        if (owned := self._parts.owned) is not None:
            await owned.close()

    async def __aenter__(self) -> "LLMAgent":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<LLMAgent {self.name!r} of {self._parts.model or 'an unnamed model'}>"


class _Chat:
    """One chat: its question, its answer, and the hooks around them.

    The turn is entered for each step alone, because a generator that is left halfway must leave nothing behind in the
    context of who reads it.
    """

    def __init__(self, parts: Parts, text: str, session_id: UUID | str | None, *, stream: bool) -> None:
        if not isinstance(text, str):
            raise UsageError(f"a question is text, not a {type(text).__name__}")
        self._parts = parts
        self._text = text
        self._turn = _turn_of(parts, session_id)
        self._stream = stream
        self.answer = ""
        self.instead: str | None = None

    async def pieces(self) -> AsyncGenerator[str, None]:
        """The pieces of the answer."""
        turn = self._turn
        request = await self._request()
        if request is None:
            return
        try:
            async with _asked(self._parts.client, request) as answer:
                while (piece := await self._next(answer)) is not _END:
                    if isinstance(piece, str):
                        turn.said.append(piece)
                        if self._stream and turn.first_ms is None:
                            turn.first_ms = turn.milliseconds
                        yield piece
                    else:
                        turn.metadata = piece
        except BaseException as error:
            await self._fail(error)
            raise
        await self._finish()

    async def _next(self, answer: AsyncIterator[str | ChatMetadata]) -> Any:
        # An agent without a plugin leaves its calls to the scope around it, whatever chat that may be in.
        with entering(None if self._parts.is_own else self._turn):
            return await anext(answer, _END)

    async def _request(self) -> ChatRequest | None:
        """What the model is asked; None if a plugin says that it is not."""
        parts, turn, text = self._parts, self._turn, self._text
        session = turn.identity.chat_session_id
        known = await parts.memory.history(session, parts.window)
        if session != parts.memory.session_id and any(_owner(message) != _owner(turn.identity) for message in known):
            raise NotFoundError(f"there is no session {session} of this user")
        spoken = [message for message in latest(known, None) if message.role != "system"]
        turn.parent_id = spoken[-1].id if spoken else None
        history = latest(known, parts.window)
        for plugin in parts.plugins:
            with entering(turn):
                changed = await plugin.before_chat_with_model(text, parts.model)
            if changed is None:
                return None
            text = changed
        if parts.system:
            history = [message for message in history if message.role != "system"]
        turn.ask()
        messages = [*history, question_of(turn, text)]
        return ChatRequest(parts.model, parts.system, messages, parts.settings, self._stream)

    async def _finish(self) -> None:
        turn = self._turn
        self.answer = "".join(turn.said)
        metadata = turn.metadata
        if metadata.usage is None and turn.calls:
            metadata = replace(metadata, usage=turn.calls[-1].get("usage"))
        for plugin in self._parts.plugins:
            with entering(turn):
                changed = await plugin.after_chat_with_metadata(self.answer, metadata)
            self.answer = self.answer if changed is None else changed

    async def _fail(self, error: BaseException) -> None:
        for plugin in self._parts.plugins:
            with entering(self._turn):
                said = await plugin.on_error(error)
            self.instead = said if self.instead is None else self.instead


@asynccontextmanager
async def _asked(client: ChatClient, request: ChatRequest) -> AsyncIterator[AsyncIterator[str | ChatMetadata]]:
    """The pieces of an answer, closed at the end of the block, however it ends."""
    answer: Any = client.chat(request)
    if not hasattr(answer, "__anext__"):
        if inspect.iscoroutine(answer):
            answer.close()
        raise UsageError(
            f"chat() of a {type(client).__name__} is to be an asynchronous generator: it yields the answer"
        )
    try:
        yield answer
    finally:
        if (close := getattr(answer, "aclose", None)) is not None:
            await close()


def _owner(record: ChatSession | LLMMessage | Identity | PersistencePlugin) -> tuple[UUID, UUID]:
    return record.user_id, record.tenant_id


def _turn_of(parts: Parts, session_id: UUID | str | None) -> Turn:
    turn = parts.memory.turn(session_id)
    if name := plain_text(parts.name).strip():
        turn.identity = replace(turn.identity, labels={"agent": name, **turn.identity.labels})
    if isinstance(parts.client, SDKChat):
        turn.secrets = parts.client.secrets
    parts.witness.watch(turn)
    return turn
