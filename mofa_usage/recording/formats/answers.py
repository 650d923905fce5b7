"""What all formats have in common: what is known of an answer, and how its parts are read."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mofa_usage.recording.conversations import Kept, Said

__all__ = [
    "Answer",
    "Format",
    "Reader",
    "arguments_of",
    "mapping",
    "mappings",
    "nothing_said",
    "prompt_said",
    "put_together",
    "role_of",
    "said_parts",
    "text_or_none",
]

_ROLES = {"developer": "system", "function": "tool", "model": "assistant"}


@dataclass(slots=True)
class Answer:
    """What is known of an answer so far.

    Attributes:
        response_id, model, service_tier: as the provider says them.
        usage: the provider's usage as it is, without what is only a place holder.
        has_content: the first content is there: text, a part of a tool call, reasoning.
        is_complete: a finish reason or the final event is there.
        is_done: nothing more can come that matters.
        error: what the answer says went wrong: an object with `message`, `code`, `type`, or text.
        is_cancelled: the provider says that it was cancelled.
        further: usages beside the first that are billed apart.
    """

    response_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    usage: Mapping[str, Any] | None = None
    has_content: bool = False
    is_complete: bool = False
    is_done: bool = False
    error: Any = None
    is_cancelled: bool = False
    further: Sequence[Mapping[str, Any]] = ()


class Reader(Protocol):
    """Reads one answer."""

    answer: Answer

    def add(self, data: Mapping[str, Any]) -> None:
        """Read a whole answer, or the next event of a stream."""

    def content(self) -> dict[str, Any] | None:
        """What the model said so far, as `MessageContent` has it in JSON; None if nothing."""


def nothing_said(body: Mapping[str, Any]) -> Sequence[Said]:
    """No message: of what is asked only the numbers count."""
    return ()


def prompt_said(body: Mapping[str, Any]) -> Sequence[Said]:
    """The text that a model is to go on with."""
    prompt = text_or_none(body.get("prompt"))
    return [Said("user", {"text": prompt})] if prompt else ()


def nothing_kept(body: Mapping[str, Any]) -> Kept | None:
    """The request says all that it goes on from."""
    return None


@dataclass(frozen=True, slots=True)
class Format:
    """How a request and its answer look.

    Attributes:
        reader: makes what reads the answer.
        said: the messages of a request, oldest first.
        kept: what a request goes on from that it does not say again, where the provider keeps it.
        operation: the label of this name; None for a chat.
        is_checked: whether an answer that is not as this format has it is none.
    """

    reader: Callable[[], Reader]
    said: Callable[[Mapping[str, Any]], Sequence[Said]] = nothing_said
    kept: Callable[[Mapping[str, Any]], Kept | None] = nothing_kept
    operation: str | None = None
    is_checked: bool = True


def put_together(
    text: str, *, calls: Sequence[Any] = (), parts: Sequence[Any] = (), reasoning: str = ""
) -> dict[str, Any]:
    """What a model said, as `MessageContent` has it in JSON: without what there is none of."""
    said = {"text": text, "tool_calls": list(calls), "parts": list(parts), "reasoning": reasoning}
    return {name: value for name, value in said.items() if value}


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list."""
    if not isinstance(value, list | tuple):
        return []
    return [item for item in value if type(item) is dict or isinstance(item, Mapping)]  # the first is 20 times as fast


def text_or_none(value: Any) -> str | None:
    """The value if it is text that is not empty."""
    return value if isinstance(value, str) and value else None


def role_of(name: Any) -> str:
    """Our name of a role; who is unknown is a user."""
    role = _ROLES.get(name, name)
    return role if role in ("system", "user", "assistant", "tool") else "user"


def arguments_of(text: Any) -> Any:
    """The arguments of a tool call, which most formats send as JSON in a text; the text where it is none."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text


def said_parts(content: Any, texts: Sequence[str]) -> dict[str, Any]:
    """A content that is text, or a list of parts of which those of the types `texts` are text; the others are kept
    under the further key `parts`.
    """
    if isinstance(content, str):
        return {"text": content} if content else {}
    words, others = [], []
    for part in content if isinstance(content, list | tuple) else ():
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, Mapping) and part.get("type") in texts and isinstance(part.get("text"), str):
            words.append(part["text"])
        elif part is not None:
            others.append(part)
    said: dict[str, Any] = {"text": "".join(words)} if words else {}
    if others:
        said["parts"] = others
    return said
