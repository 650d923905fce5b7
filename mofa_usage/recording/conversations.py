"""Which messages of a request are new, and the ids that all of them have: nothing is saved twice.

An SDK sends the whole history again with every turn. Only what stands behind the last assistant message is new. The id
of a message (a UUID of version 5, as text) follows from its session, from the message before it and from what it says,
so that the same history gives the same ids in any process at any time.

```python
from mofa_usage.recording.conversations import Conversations, Said

session = "018f3c5e-0000-7000-8000-000000000007"
hello, answer = Said("user", {"text": "Hello"}), Said("assistant", {"text": "Good day."})
placed = Conversations().place(session, [hello])
first = Conversations().answer(session, placed, answer)
again = Conversations().place(session, [hello, answer, Said("user", {"text": "What is Rust?"})])
print([message.said.content["text"] for message in again.new], again.new[0].parent == first)  # ['What is Rust?'] True
```

Agents also shorten their history, or change what the user said before they keep it. Then the ids that follow from it
would be of messages that nobody saved. So a process remembers its latest answers: what comes behind one of them is
linked to it, whatever of the history before it is left. System messages are settings rather than turns: no id follows
from them, and one that stays the same is saved once per session.

A provider may keep the history itself: a request then says what it goes on from (`Kept`), and only what is new. The ids
go on from there, too, so that the same words, said twice in such a conversation, are two messages.
"""

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from uuid_utils import uuid7

__all__ = ["Conversations", "Kept", "Place", "Placed", "Said", "id_after"]

_PARTS = ("tool_calls", "tool_result", "parts")
_REMEMBERED = 20_000  # messages: some 5 MB


class Said(NamedTuple):
    """A message without a place: its role, and its content as `MessageContent` has it in JSON."""

    role: str
    content: Mapping[str, Any]


class Kept(NamedTuple):
    """What the provider keeps and a request goes on from: an answer, or a conversation as far as it has come."""

    name: str
    is_conversation: bool = False


class Placed(NamedTuple):
    """A message that is new, its id and that of the message before it."""

    id: str
    parent: str | None
    said: Said


class Place(NamedTuple):
    """The new messages of a request, oldest first, and the id of the message that it ends with; None without any.

    `trail` is what all of its messages say, to be found again in this process, behind what they go on from.
    """

    new: Sequence[Placed]
    last: str | None
    trail: tuple[Any, ...]
    kept: Kept | None = None


class Conversations:
    """The messages of all sessions that one recorder sees; for any thread."""

    def __init__(self) -> None:
        self.begin_anew()
        self._answers: dict[tuple[str, int], str] = {}  # by session and what they say
        self._trails: dict[tuple[str, int], str] = {}  # answers by all that was said until then
        self._kept: dict[tuple[str, str], str] = {}  # answers by what providers call them, or their conversation
        self._begun: dict[tuple[str, str], str] = {}  # conversations of which no answer was seen yet
        self._saved: dict[str, None] = {}  # messages of any role, and sessions; oldest first
        self._keepers: WeakValueDictionary[str, object] = WeakValueDictionary()

    def begin_anew(self) -> None:
        """In a child that was forked: the lock may be held by a thread that is not there."""
        self._lock = threading.RLock()  # a stream may be collected, and recorded, in the midst of anything

    def place(self, session: str, history: Sequence[Said], kept: Kept | None = None) -> Place:
        """The new messages of a request whose whole history is this, behind what the provider keeps."""
        end = len(history)
        while end and history[end - 1].role == "assistant":
            end -= 1  # the beginning of an answer that the model is to go on with
        new = next((index + 1 for index in range(end - 1, -1, -1) if history[index].role == "assistant"), 0)
        trail = tuple(map(_form, history[:end]))
        before = parent = ""
        if kept is not None:
            before, parent = self._root(session, kept)
            trail = (before, *trail)
        if new:
            seen = hash(trail[: len(trail) - end + new])
            before = parent = self._trails.get((session, seen)) or self._follow(session, history[:new], before)
        placed = []
        for said in history[new:end]:
            is_turn = said.role != "system"
            own = _id(session, before if is_turn else "", _text(said))
            placed.append(Placed(own, (parent or None) if is_turn else None, said))
            if is_turn:
                before = parent = own
        return Place(placed, parent or (placed[-1].id if placed else None), trail, kept)

    def _root(self, session: str, kept: Kept) -> tuple[str, str]:
        """What the next ids follow from, and the id of the answer before them, if this process has seen it."""
        if known := self._kept.get((session, kept.name)):
            return known, known
        if not kept.is_conversation:
            return _id(session, "", kept.name.encode("utf-8", "surrogatepass")), ""
        with self._lock:  # whatever was said in it before, this is said after
            begun = self._begun.setdefault((session, kept.name), uuid7().hex)
            _forget(self._begun)
        return begun, ""

    def _follow(self, session: str, history: Sequence[Said], before: str) -> str:
        """The id of the last message of a history."""
        for said in history:
            if said.role != "system":
                before = _id(session, before, _text(said))
                if said.role == "assistant" and before not in self._saved:
                    before = self._answers.get((session, hash(_form(said))), before)
        return before

    def answer(self, session: str, place: Place, said: Said, name: Any = None) -> str:
        """The id of what the model said to the request that has this place; `name` is the provider's id of it."""
        form = _form(said)
        own = _id(session, place.last or "", _text(said))
        with self._lock:
            self._answers[session, hash(form)] = own
            self._trails[session, hash((*place.trail, form))] = own
            if isinstance(name, str) and name:
                self._kept[session, name] = own
            if place.kept is not None and place.kept.is_conversation:
                self._kept[session, place.kept.name] = own
            for remembered in (self._answers, self._trails, self._kept):
                _forget(remembered)
        return own

    def learn(self, session: str, said: Said, answer: str) -> None:
        """What the model once said, and its id: histories that are shortened, or were changed, may begin with it."""
        with self._lock:
            self._answers[session, hash(_form(said))] = answer
            _forget(self._answers)

    def leave(self, session: str, keeper: object) -> None:
        """The messages of this session are somebody else's to save, as long as he exists."""
        self._keepers[session] = keeper

    def is_left(self, session: str) -> bool:
        """Whether somebody else saves the messages of this session."""
        return session in self._keepers

    def is_saved(self, record: str) -> bool:
        """Whether a message or a session was handed over lately: a message that is sent again keeps its time."""
        return record in self._saved

    def remember(self, records: Iterable[str]) -> None:
        """These were handed over."""
        with self._lock:
            self._saved.update(dict.fromkeys(records))
            _forget(self._saved)


def id_after(session: str, before: str | None, said: Said) -> str:
    """The id of a message of a session, behind another one: 32 digits, as `UUID.hex` has them."""
    return _id(session, before or "", _text(said))


def _forget(remembered: dict[Any, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _id(session: str, before: str, text: bytes) -> str:
    """A UUID of version 5, made of digits: this is done for each message of a chat while somebody waits for it."""
    digits = hashlib.sha1(f"{session}{before}".encode() + text, usedforsecurity=False).hexdigest()
    return f"{digits[:12]}5{digits[13:16]}{'89ab'[int(digits[16], 16) & 3]}{digits[17:32]}"


def _form(said: Said) -> Any:
    """What a message says, for Python's own hashes: those of texts are known already when a history comes again."""
    content = said.content
    if said.role == "system":
        return None
    # An answer may have thoughts, which nobody sends again.
    if not (content.get("tool_calls") or content.get("tool_result") or content.get("parts")):
        return said.role, content.get("text") or ""
    return _text(said)


def _text(said: Said) -> bytes:
    """What a message says, in one way whoever wrote it: only what an application sends again is part of it."""
    content = said.content
    text = f"{said.role}\0{content.get('text') or ''}"
    if rest := [content[key] for key in _PARTS if content.get(key)]:
        text += "\0" + json.dumps(rest, sort_keys=True, default=str)
    return text.encode("utf-8", "surrogatepass")
