"""Google's interactions: a list of steps goes in and comes out, and one answer may be several of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mofa_usage.recording.conversations import Said
from mofa_usage.recording.formats.answers import (
    Answer,
    Format,
    arguments_of,
    mapping,
    mappings,
    put_together,
    role_of,
    said_parts,
    text_or_none,
)

__all__ = ["GOOGLE_INTERACTIONS"]

_TEXTS = ("text",)
_RUNNING = ("queued", "in_progress", "idle")
# Google's other names for what is used.
_COUNTS = {
    "total_input_tokens": "promptTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
    "total_tokens": "totalTokenCount",
}


def _said(body: Mapping[str, Any]) -> Sequence[Said]:
    said = []
    if system := text_or_none(body.get("system_instruction")):
        said.append(Said("system", {"text": system}))
    given = body.get("input")
    if isinstance(given, str):
        return [*said, Said("user", {"text": given})]
    return [*said, *_messages(mappings([given] if isinstance(given, Mapping) else given))]


def _messages(steps: Sequence[Mapping[str, Any]]) -> list[Said]:
    """The messages of a list of steps: what the model did at once is one message, and so are contents without one."""
    said: list[Said] = []
    output: list[Mapping[str, Any]] = []
    contents: list[Mapping[str, Any]] = []
    for step in steps:
        kind, role = step.get("type"), step.get("role")
        if kind in ("user_input", "function_result") or (role is not None and role_of(role) != "assistant"):
            _close(output, said)
            said.append(_result(step) if kind == "function_result" else Said("user", _content_of(step)))
        elif kind in ("text", "image", "audio", "document", "video", "file"):
            contents.append(step)
        else:
            output.append(step)
    _close(output, said)
    if contents:
        said.append(Said("user", said_parts(contents, _TEXTS)))
    return said


def _close(output: list[Mapping[str, Any]], said: list[Said]) -> None:
    if content := _output(output):
        said.append(Said("assistant", content))
    output.clear()


def _content_of(step: Mapping[str, Any]) -> dict[str, Any]:
    return said_parts(step.get("content"), _TEXTS)


def _result(step: Mapping[str, Any]) -> Said:
    result = step.get("result")
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    said: dict[str, Any] = {"tool_call_id": step.get("call_id") or "", "content": text}
    if step.get("is_error"):
        said["is_error"] = True
    return Said("tool", {"tool_result": said})


def _output(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the model's steps say together, as `MessageContent` has it in JSON."""
    words: list[str] = []
    thoughts: list[str] = []
    calls, others = [], []
    for step in steps:
        kind = step.get("type")
        if kind == "function_call":
            arguments = arguments_of(step.get("arguments"))
            calls.append({"id": step.get("id") or "", "name": step.get("name") or "", "arguments": arguments})
        elif kind == "thought":
            thoughts.append(said_parts(step.get("summary"), _TEXTS).get("text", ""))
        elif kind == "model_output" or step.get("role") is not None:
            said = _content_of(step)
            words.append(said.get("text", ""))
            others += said.get("parts", [])
    return put_together("".join(words), calls=calls, parts=others, reasoning="".join(thoughts))


class _Reader:
    """Reads an interaction, or its events: steps begin, grow by deltas, and end; the last event counts."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._steps: dict[Any, dict[str, Any]] = {}

    def add(self, data: Mapping[str, Any]) -> None:
        kind = data.get("event_type")
        if kind == "step.delta":
            self._add_delta(data.get("index"), mapping(data.get("delta")))
        elif kind == "step.start":
            step = dict(mapping(data.get("step")))
            self._steps[data.get("index")] = step
            self.answer.has_content = self.answer.has_content or step.get("type") == "function_call"
        elif kind == "error":
            self.answer.error = data.get("error") or {"message": "an error"}
        elif kind in ("interaction.created", "interaction.completed"):
            self._add_interaction(mapping(data.get("interaction")), is_final=kind == "interaction.completed")
        elif kind is None:
            self._add_interaction(data, is_final="status" in data)

    def _add_interaction(self, interaction: Mapping[str, Any], *, is_final: bool) -> None:
        answer, status = self.answer, interaction.get("status")
        answer.response_id = interaction.get("id") or answer.response_id
        answer.model = interaction.get("model") or interaction.get("agent") or answer.model
        answer.service_tier = interaction.get("service_tier") or answer.service_tier
        if not is_final:
            return
        if usage := mapping(interaction.get("usage")):
            answer.usage = {name: usage[key] for key, name in _COUNTS.items() if usage.get(key) is not None}
        if steps := mappings(interaction.get("steps")):
            last = max((index + 1 for index, step in enumerate(steps) if _is_given(step)), default=0)
            self._steps = {index: dict(step) for index, step in enumerate(steps[last:])}
        if status == "failed":
            answer.error = next(iter(mappings(interaction.get("errors"))), {"code": "failed", "message": "it failed"})
        answer.is_cancelled = status == "cancelled"
        answer.has_content = bool(self._steps)
        answer.is_complete = True  # one that runs in the background goes on, and says nothing more here
        answer.is_done = status not in _RUNNING

    def _add_delta(self, index: Any, delta: Mapping[str, Any]) -> None:
        kind, step = delta.get("type"), self._steps.setdefault(index, {"type": "model_output"})
        if kind == "text" and (piece := text_or_none(delta.get("text"))):
            _grow(step, "content", {"type": "text", "text": piece})
        elif kind == "thought_summary" and (summary := mapping(delta.get("content"))):
            _grow(step, "summary", summary)
        elif kind == "arguments_delta" and isinstance(piece := delta.get("arguments"), str):
            before = step.get("arguments")  # an empty object, until the first piece comes
            step["arguments"] = (before if isinstance(before, str) else "") + piece
        elif kind in ("image", "audio", "video", "document"):
            _grow(step, "content", delta)
        else:
            return
        self.answer.has_content = True

    def content(self) -> dict[str, Any] | None:
        return _output(list(self._steps.values())) or None


def _is_given(step: Mapping[str, Any]) -> bool:
    """Whether a step is the user's: an answer may repeat what it answers."""
    return step.get("type") in ("user_input", "function_result")


def _grow(step: dict[str, Any], key: str, part: Mapping[str, Any]) -> None:
    parts = step.get(key)
    step[key] = [*(parts if isinstance(parts, list) else ()), part]


GOOGLE_INTERACTIONS = Format(_Reader, _said)
