"""Which messages of a request are new, and the ids that all of them have: nothing is saved twice.

An SDK sends the whole history again with every turn. Only what stands behind the last assistant message is new. The id
of a message follows (UUID version 5) from its session, from the message before it and from what it says, so that the
same history gives the same ids in any process at any time.

```python
from uuid import UUID

from mofa_usage.recording.conversations import Conversations, Said

session = UUID(int=7)
hello, answer = Said("user", {"text": "Hello"}), Said("assistant", {"text": "Good day."})
placed = Conversations().place(session, [hello])
first = Conversations().answer(session, placed.last, answer)
again = Conversations().place(session, [hello, answer, Said("user", {"text": "What is Rust?"})])
print([message.said.content["text"] for message in again.new], again.new[0].parent == first)  # ['What is Rust?'] True
```

Agents also shorten their history, or change what the user said before they keep it. Then the ids that follow from it
would be of messages that nobody saved. So a process remembers its latest answers: what comes behind one of them is
linked to it, whatever of the history before it is left. System messages are settings rather than turns: no id follows
from them, and one that stays the same is saved once per session.
"""

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

__all__ = ["Conversations", "Place", "Placed", "Said"]

_REMEMBERED = 20_000  # messages: some 5 MB


class Said(NamedTuple):
    """A message without a place: its role, and its content as `MessageContent` has it in JSON."""

    role: str
    content: Mapping[str, Any]


class Placed(NamedTuple):
    """A message that is new, its id and that of the message before it."""

    id: UUID
    parent: UUID | None
    said: Said


class Place(NamedTuple):
    """The new messages of a request, oldest first, and the id of the message that it ends with; None without any."""

    new: Sequence[Placed]
    last: UUID | None


class Conversations:
    """The messages of all sessions that one recorder sees; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[bytes, UUID] = {}  # by session and what they say
        self._saved: dict[UUID, None] = {}  # messages of any role, oldest first

    def place(self, session: UUID, history: Sequence[Said]) -> Place:
        """The new messages of a request whose whole history is this."""
        end = len(history)
        while end and history[end - 1].role == "assistant":
            end -= 1  # the beginning of an answer that the model is to go on with
        new = next((index + 1 for index in range(end - 1, -1, -1) if history[index].role == "assistant"), 0)
        before = None
        for said in history[:new]:
            if said.role != "system":
                before = _id(session, before, said)
            if said.role == "assistant" and before is not None:
                before = self._known(session, before, said)
        placed = []
        for said in history[new:end]:
            if said.role == "system":
                placed.append(Placed(_id(session, None, said), None, said))
            else:
                placed.append(Placed(_id(session, before, said), before, said))
                before = placed[-1].id
        return Place(placed, before or (placed[-1].id if placed else None))

    def answer(self, session: UUID, before: UUID | None, said: Said) -> UUID:
        """The id of what the model said to a request that ends with the message `before`."""
        answer = _id(session, before, said)
        key = _key(session, said)
        with self._lock:
            self._answers[key] = answer
            _forget(self._answers)
        return answer

    def is_saved(self, message: UUID) -> bool:
        """Whether it was handed over lately: a message that is sent again keeps its time and its place."""
        return message in self._saved

    def remember(self, messages: Iterable[UUID]) -> None:
        """These were handed over."""
        with self._lock:
            self._saved.update(dict.fromkeys(messages))
            _forget(self._saved)

    def _known(self, session: UUID, computed: UUID, said: Said) -> UUID:
        """The id under which an answer was saved: the one that follows from the history, if any was saved so."""
        if computed in self._saved:
            return computed
        return self._answers.get(_key(session, said), computed)


def _forget(remembered: dict[Any, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _id(session: UUID, before: UUID | None, said: Said) -> UUID:
    digest = hashlib.sha1(session.bytes, usedforsecurity=False)
    if before is not None:
        digest.update(before.bytes)
    digest.update(_text(said))
    return UUID(bytes=digest.digest()[:16], version=5)


def _key(session: UUID, said: Said) -> bytes:
    return hashlib.sha1(session.bytes + _text(said), usedforsecurity=False).digest()


def _text(said: Said) -> bytes:
    """What a message says, in one way whoever wrote it: only what an application sends again is part of it."""
    content = said.content
    text = f"{said.role}\0{content.get('text') or ''}"
    rest = [content[key] for key in ("tool_calls", "tool_result", "parts") if content.get(key)]
    if rest:
        text += "\0" + json.dumps(rest, sort_keys=True, default=str)
    return text.encode("utf-8", "surrogatepass")
