"""A turn of a conversation whose messages a plugin saves: whoever records its call meanwhile links it to them.

```
plugin          Turn            has the ids of the question and of the answer before anybody is asked
agent             ├── asks ──> a recorded client: its recorder has the call, with these ids, and saves no messages
                  └── asks ──> a plain client: the agent asks a copy, and what is observed of it comes back to the turn
plugin          saves question, answer, and the call unless a recorder has it
```

The turn of this moment is in a context variable, which an `Observer` looks into when a request begins. So a chat is
one row, however the recorded client is hidden in the agent.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from uuid_utils.compat import uuid7

from mofa_usage.recording.failures import plain_text
from mofa_usage.recording.scope import Identity, Scope, Whose
from mofa_usage.records import NIL_UUID, LLMMessage, MessageContent, MessageRole
from mofa_usage.values import MAX_INT

__all__ = [
    "ChatMetadata",
    "Turn",
    "Witness",
    "answer_of",
    "begin",
    "calls_of",
    "current_turn",
    "entering",
    "question_of",
    "whose",
    "whose_in_turn",
]


@dataclass(frozen=True)
class ChatMetadata:
    """What is known of an answer beside its text. What is not known is left out: nobody makes up numbers.

    Attributes:
        model: the one that answered.
        id: the provider's, of the answer.
        usage: the provider's, as it is: `{"prompt_tokens": 12, "completion_tokens": 5}` or any other provider's names.
        content: what the answer holds beside text, as `MessageContent` has it: `tool_calls`, `reasoning`, ...
        labels: of the call, such as `service_tier`.
    """

    model: str | None = None
    id: str | None = None
    usage: Mapping[str, Any] | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, said: "ChatMetadata | Mapping[str, Any]") -> "ChatMetadata":
        """Of a mapping: MoFA's, whose counts stand beside `id` and `model`, or one with `usage`."""
        if isinstance(said, ChatMetadata):
            return said
        return cls(model=said.get("model"), id=said.get("id"), usage=said.get("usage") or said)


class Turn:
    """One question to a model, from its beginning until all of it is handed to the store.

    Args:
        owner: the plugin that saves it.
        identity: whose it is.
        secrets: keys, which no message of an error may show.
    """

    def __init__(self, owner: object, identity: Identity, *, secrets: Sequence[str] = ()) -> None:
        self.owner = owner
        self.identity = identity
        self.secrets = secrets
        self.request_id: UUID = uuid7()
        self.response_id: UUID = uuid7()
        self.parent_id: UUID | None = None  # what was said before
        self.model = ""
        self.calls: list[dict[str, Any]] = []  # what was observed of a plain client
        self.is_recorded = False  # the call is another's to save
        self.has_begun = False
        self.is_over = False
        self.said: list[str] = []
        self.metadata = ChatMetadata()
        self.outer: Turn | None = None
        self.first_ms: int | None = None
        self._began, self._began_at = datetime.now(UTC), time.perf_counter()
        self.ask()

    def ask(self) -> None:
        """The model is asked now."""
        self.started = self.now()
        self._asked_at = time.perf_counter()

    @property
    def milliseconds(self) -> int:
        """Since the model was asked."""
        return min(max(0, int((time.perf_counter() - self._asked_at) * 1000)), MAX_INT)

    def now(self) -> datetime:
        """The time by the clock that it began with: clocks are set in between."""
        return self._began + timedelta(seconds=max(0.0, time.perf_counter() - self._began_at))


_turn: ContextVar[Turn | None] = ContextVar("mofa_usage.recording.turn", default=None)


def current_turn(owner: object = None) -> Turn | None:
    """The innermost turn of this context that is not over, or that of one plugin."""
    turn = _turn.get()
    while turn is not None and (turn.is_over or (owner is not None and turn.owner is not owner)):
        turn = turn.outer
    return turn


def whose_in_turn(whose: Whose, recorder: object, operation: str | None) -> Whose:
    """Whose a request is that begins now: if it is a chat, that of the turn, with the labels that its recorder has for
    it. Then this recorder has the call from now on; a `Witness` gives it back.
    """
    turn = current_turn() if operation is None else None
    if turn is None:
        return whose
    turn.is_recorded = turn.is_recorded or not isinstance(recorder, Witness)
    labels = {**whose.identity.labels, **turn.identity.labels}
    return Whose(whose.scope, replace(turn.identity, labels=labels), turn)


def begin(turn: Turn) -> None:
    """It is the turn of this context until it is over, or until the next one of its owner begins here."""
    before = current_turn()
    turn.outer = before.outer if before is not None and before.owner is turn.owner else before
    _turn.set(turn)


@contextmanager
def entering(turn: Turn | None) -> Iterator[None]:
    """It is the turn of this context inside the block, in which no generator may yield; None hides those around."""
    token = _turn.set(turn)
    try:
        yield
    finally:
        _turn.reset(token)


class Witness:
    """Stands for a recorder (`observed.Recording`) where an agent looks at its own copy of a plain client."""

    captures_content = False

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, Turn] = WeakValueDictionary()

    @property
    def identity(self) -> Identity:
        """Nobody's: that is the turn's to say."""
        return Identity()

    def watch(self, turn: Turn) -> None:
        """Calls of this turn are given to it."""
        self._turns[str(turn.request_id)] = turn

    def hand_over(self, document: dict[str, Any], scope: Scope | None = None, *, wait: bool = True) -> bool:
        """Give the calls of a document to their turn, which saves them when it ends."""
        calls = document.get("calls", [])
        turn = self._turns.get(calls[0]["request_message_id"]) if calls else None
        if turn is None or turn.is_over:
            return False  # the turn did not wait for it, and has said so in the store
        turn.calls += [{**document.get("of", {}), **call} for call in calls]
        return True


# The records of a turn


def whose(identity: Identity) -> dict[str, Any]:
    """The fields that say whose a record is."""
    return {
        "chat_session_id": identity.chat_session_id,
        "agent_id": identity.agent_id,
        "user_id": identity.user_id,
        "tenant_id": identity.tenant_id,
    }


def question_of(turn: Turn, text: str) -> LLMMessage:
    """The message of a chat's question."""
    return _message(turn, turn.request_id, MessageRole.USER, MessageContent(text=plain_text(text)), turn.parent_id)


def _message(turn: Turn, own: UUID, role: MessageRole, content: MessageContent, parent: UUID | None) -> LLMMessage:
    fields = {**whose(turn.identity), "role": role, "content": content, "create_time": turn.now()}
    return LLMMessage(id=own, parent_message_id=parent, **fields)


def answer_of(turn: Turn, text: str, metadata: ChatMetadata) -> LLMMessage | None:
    """What the model said, as far as it got; None if nothing."""
    if not text and not metadata.content:
        return None
    content = MessageContent.model_validate({**metadata.content, **({"text": plain_text(text)} if text else {})})
    asked = turn.request_id if turn.has_begun else None
    return _message(turn, turn.response_id, MessageRole.ASSISTANT, content, asked)


def calls_of(
    turn: Turn, metadata: ChatMetadata, said: LLMMessage | None, ending: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The calls to save, as `documents.py` has them: what was observed, nothing if a recorder has it, or what the
    agent knows.
    """
    if turn.calls:
        answered = {} if said is not None else {"response_message_id": NIL_UUID}
        return [{**call, **answered} for call in turn.calls]
    if turn.is_recorded:
        return []
    labels = {**turn.identity.labels, **metadata.labels}
    if metadata.model and turn.model and metadata.model != turn.model:
        labels["served_model"] = metadata.model
    call = {
        "id": uuid7(),
        **whose(turn.identity),
        "request_message_id": turn.request_id,
        "response_message_id": NIL_UUID if said is None else said.id,
        "model_name": turn.model or metadata.model or "unknown",
        "usage": metadata.usage or {},
        "latency_ms": turn.milliseconds,
        "time_to_first_token_ms": turn.first_ms,
        "api_response_id": metadata.id,
        "labels": labels,
        "create_time": turn.started,
        "update_time": turn.now(),
    }
    return [{**call, **ending}]
