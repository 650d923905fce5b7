"""Messages as LangChain has them for every provider, read from its objects into plain dictionaries.

A message is `role`, `content` (text or a list of parts), `tool_calls` with `id`, `name` and `args`, for a result of a
tool `tool_call_id` and `is_error`; an answer also `usage`, `id`, `model`, `service_tier` and `is_complete`. What comes
of a stream is only looked at for its first content: the answer is there whole at the end.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mofa_usage.recording.conversations import Said
from mofa_usage.recording.formats.answers import (
    Answer,
    Format,
    mapping,
    mappings,
    role_of,
    said_parts,
    text_or_none,
)

__all__ = ["FRAMEWORK_COMPLETIONS", "FRAMEWORK_MESSAGES"]

_ROLES = {"ai": "assistant", "human": "user", "chat": "user"}
_TEXTS = ("text", "input_text", "output_text", "refusal")
_CALLS = ("tool_use", "tool_call", "function_call", "server_tool_use", "server_tool_call")  # they are in `tool_calls`
_THOUGHTS = ("thinking", "reasoning", "reasoning_content")


def _messages(body: Mapping[str, Any]) -> Sequence[Said]:
    return [_said(message) for message in mappings(body.get("messages"))]


def _said(message: Mapping[str, Any]) -> Said:
    name = message.get("role")
    role = role_of(_ROLES.get(str(name), name))
    if role == "assistant":
        return Said(role, _answered(message))
    content = said_parts(message.get("content"), _TEXTS)
    if role == "tool":
        result: dict[str, Any] = {
            "tool_call_id": message.get("tool_call_id") or "",
            "content": content.pop("text", ""),
        }
        if message.get("is_error"):
            result["is_error"] = True
        return Said(role, {**content, "tool_result": result})
    return Said(role, {**content, **({"name": message["name"]} if message.get("name") else {})})


def _answered(message: Mapping[str, Any]) -> dict[str, Any]:
    parts, thoughts = message.get("content"), []
    if not isinstance(parts, str):
        all_parts = list(parts) if isinstance(parts, list | tuple) else []
        kinds = [mapping(part).get("type") for part in all_parts]
        thoughts = [_thought(part) for part, kind in zip(all_parts, kinds, strict=True) if kind in _THOUGHTS]
        parts = [part for part, kind in zip(all_parts, kinds, strict=True) if kind not in (*_CALLS, *_THOUGHTS)]
    said = said_parts(parts, _TEXTS)
    if calls := mappings(message.get("tool_calls")):
        said["tool_calls"] = [
            {"id": call.get("id") or "", "name": call.get("name") or "", "arguments": call.get("args")}
            for call in calls
        ]
    if thought := "".join(thoughts):
        said["reasoning"] = thought
    return said


def _thought(part: Mapping[str, Any]) -> str:
    words = [part.get("thinking"), part.get("reasoning"), part.get("text")]
    words += [piece.get("text") for piece in mappings(part.get("summary"))]
    return "".join(word for word in words if isinstance(word, str))


class _Reader:
    def __init__(self) -> None:
        self.answer = Answer()
        self._said: dict[str, Any] = {}

    def add(self, data: Mapping[str, Any]) -> None:
        answer = self.answer
        said = _answered(data)
        answer.has_content = answer.has_content or bool(said)
        if "is_complete" not in data:
            return  # a piece
        self._said = said
        answer.response_id = text_or_none(data.get("id"))
        answer.model = text_or_none(data.get("model"))
        answer.service_tier = text_or_none(data.get("service_tier"))
        if isinstance(usage := data.get("usage"), Mapping):
            answer.usage = usage
        answer.is_complete = bool(data.get("is_complete"))

    def content(self) -> dict[str, Any] | None:
        return self._said or None


FRAMEWORK_MESSAGES = Format(_Reader, _messages)
FRAMEWORK_COMPLETIONS = Format(_Reader, _messages, operation="text_completion")
