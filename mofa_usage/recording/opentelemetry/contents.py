"""What was said, where an emitter captured it: brought into the form of chat completions, whose reader reads it.

| where | whose |
|---|---|
| `gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions`: JSON; also in an event | OpenTelemetry's, and all who follow it |
| `llm.input_messages.N.message.*`, `llm.output_messages.N.message.*` | OpenInference's |
| `gen_ai.prompt.N.*`, `gen_ai.completion.N.*` | Traceloop's older ones |
| events `gen_ai.user.message`, ..., `gen_ai.choice`; or the attribute `events` | OpenTelemetry's before 1.37, pydantic-ai's |

Where attributes were dropped, a message may have lost its role: it is left out, as is JSON that was cut off.
"""  # noqa: E501 (a table)

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mofa_usage.recording.conversations import Said
from mofa_usage.recording.formats.answers import mapping, mappings, text_or_none
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS
from mofa_usage.recording.opentelemetry.spans import Seen

__all__ = ["answered", "asked", "has_content"]

Message = dict[str, Any]

_DETAILS_EVENT = "gen_ai.client.inference.operation.details"
_OLD_EVENT = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message|gen_ai\.(choice)")
_THOUGHTS = ("reasoning", "thinking")
_CALLS = ("tool_call", "tool_use")
_RESULTS = ("tool_call_response", "tool_result")


def asked(seen: Seen) -> Sequence[Said]:
    """The messages of the request, oldest first."""
    return CHAT_COMPLETIONS.said({"messages": _asked(seen)})


def answered(seen: Seen) -> dict[str, Any] | None:
    """What the model said; of several choices the first."""
    messages = _answered(seen)
    if not messages:
        return None
    reader = CHAT_COMPLETIONS.reader()
    reader.add({"choices": [{"message": messages[0]}]})
    return reader.content()


def has_content(seen: Seen) -> bool:
    """Whether it was captured here what was said."""
    return bool(_asked(seen) or _answered(seen))


def _asked(seen: Seen) -> list[Message]:
    said = _details(seen)
    if messages := [*_instructions(said), *_whole(said.get("gen_ai.input.messages"))]:
        return messages
    if messages := [*_flat(seen, "llm.input_messages.", "message")] or [*_flat(seen, "gen_ai.prompt.")]:
        return messages
    return [_old(role, body) for role, body in _old_events(seen) if role != "choice"]


def _answered(seen: Seen) -> list[Message]:
    if messages := list(_whole(_details(seen).get("gen_ai.output.messages"))):
        return messages
    if messages := [*_flat(seen, "llm.output_messages.", "message")] or [*_flat(seen, "gen_ai.completion.")]:
        return messages
    choices = (body for role, body in _old_events(seen) if role == "choice")
    return [_old("assistant", mapping(body.get("message")) or body) for body in choices]


def _details(seen: Seen) -> Mapping[str, Any]:
    """The attributes that may say messages: of the span, or of its event."""
    events = (event.attributes or {} for event in seen.events if event.name == _DETAILS_EVENT)
    return {**next(events, {}), **seen.attributes}


def _json(value: Any) -> Any:
    """JSON in a text; as it is where it is none."""
    if not isinstance(value, str) or not value.startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


# Messages made of parts


def _instructions(said: Mapping[str, Any]) -> Iterator[Message]:
    value = _json(said.get("gen_ai.system_instructions"))
    parts = [{"type": "text", "content": value}] if isinstance(value, str) else mappings(value)
    return _of_parts("system", parts)


def _whole(value: Any) -> Iterator[Message]:
    for message in mappings(_json(value)):
        yield from _of_parts(message.get("role"), mappings(message.get("parts")))


def _of_parts(role: Any, parts: Sequence[Mapping[str, Any]]) -> Iterator[Message]:
    """One message, and one more for each result of a tool in it, which some put under the user's name."""
    content, calls, thoughts = [], [], []
    for part in parts:
        kind = part.get("type")
        said = part.get("content", part.get("text"))
        if kind in _RESULTS:
            yield _result(part)
        elif kind in _CALLS:
            calls.append(_call(part.get("id"), part.get("name"), part.get("arguments", part.get("input"))))
        elif kind in _THOUGHTS:
            thoughts.append(said if isinstance(said, str) else "")
        elif kind == "text" and isinstance(said, str):
            content.append({"type": "text", "text": said})
        else:
            content.append(dict(part))
    message: Message = {"role": role, "content": content}
    if calls:
        message["tool_calls"] = calls
    if thought := "".join(thoughts):
        message["reasoning"] = thought
    if content or calls or thought:
        yield message


def _result(part: Mapping[str, Any]) -> Message:
    said = part.get("response", part.get("result", part.get("content")))
    call = part.get("id") or part.get("tool_use_id")
    return {"role": "tool", "tool_call_id": call, "content": said if isinstance(said, str) else json.dumps(said)}


def _call(id_: Any, name: Any, arguments: Any) -> Message:
    return {"id": id_, "function": {"name": name, "arguments": arguments}}


# Messages of which each piece is an attribute


def _indexed(attributes: Mapping[str, Any], before: str) -> list[dict[str, Any]]:
    """`before.0.a.b`, `before.1.a.c`, ... as objects in the order of their numbers."""
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        if not name.startswith(before):
            continue
        *path, last = name[len(before) :].split(".")
        place = found
        for step in path:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place[last] = value
    return _ordered(found)


def _ordered(found: Any) -> list[dict[str, Any]]:
    numbered = {int(step): item for step, item in mapping(found).items() if step.isdigit() and isinstance(item, dict)}
    return [numbered[number] for number in sorted(numbered)]


def _flat(seen: Seen, before: str, inside: str | None = None) -> Iterator[Message]:
    """The messages of OpenInference or of Traceloop, without those whose role was lost."""
    for item in _indexed(seen.attributes, before):
        said = item if inside is None else mapping(item.get(inside))
        if (role := text_or_none(said.get("role"))) is None:
            continue
        message: Message = {"role": role, "content": said.get("content") or _contents(said.get("contents"))}
        if isinstance(blocks := _json(message["content"]), list) and isinstance(message["content"], str):
            *results, message = [*_of_parts(role, mappings(blocks))] or [message]
            yield from results
        if calls := [*_calls(said.get("tool_calls"))]:
            message["tool_calls"] = calls
        if call := said.get("tool_call_id"):
            message["tool_call_id"] = call
        yield message


def _calls(found: Any) -> Iterator[Message]:
    for item in _ordered(found):
        call = mapping(item.get("tool_call")) or item
        function = mapping(call.get("function")) or call
        yield _call(call.get("id"), function.get("name"), function.get("arguments"))


def _contents(found: Any) -> list[dict[str, Any]]:
    """The parts of a message; those that are calls of tools are told a second time among these."""
    parts = [mapping(item.get("message_content")) for item in _ordered(found)]
    return [dict(part) for part in parts if part.get("type") not in (*_CALLS, *_RESULTS)]


# Messages that are events


def _old_events(seen: Seen) -> Iterator[tuple[str, Mapping[str, Any]]]:
    told = [(event.name, dict(event.attributes or {})) for event in seen.events]
    told += [(str(body.get("event.name")), dict(body)) for body in mappings(_json(seen.attributes.get("events")))]
    for name, body in told:
        if match := _OLD_EVENT.fullmatch(name):
            whole = mapping(_json(body.get("event.body"))) or {key: _json(value) for key, value in body.items()}
            yield match[1] or match[2], whole


def _old(role: str, body: Mapping[str, Any]) -> Message:
    message = {"role": text_or_none(body.get("role")) or role, "content": body.get("content")}
    if call := body.get("id") if role == "tool" else None:
        message["tool_call_id"] = call
    if calls := mappings(body.get("tool_calls")):
        message["tool_calls"] = calls
    return message
