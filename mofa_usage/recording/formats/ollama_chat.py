"""Ollama's own API: `chat`, `generate`, and embeddings. Streams are lines of JSON, of which the last one is `done`.

Calls of tools have no id; the name of the function stands for it.
"""

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
    text_or_none,
)

__all__ = ["OLLAMA_CHAT", "OLLAMA_EMBEDDINGS", "OLLAMA_GENERATE"]

_COUNTS = ("prompt_eval_count", "eval_count")
_PROMPTS = (("system", "system"), ("user", "prompt"))


def _messages(body: Mapping[str, Any]) -> Sequence[Said]:
    return [_said(message) for message in mappings(body.get("messages"))]


def _prompts(body: Mapping[str, Any]) -> Sequence[Said]:
    said = [Said(role, {"text": text}) for role, key in _PROMPTS if (text := text_or_none(body.get(key)))]
    if said and (images := body.get("images")):
        said[-1] = Said(said[-1].role, {**said[-1].content, "parts": _images(images)})
    return said


def _said(message: Mapping[str, Any]) -> Said:
    role, text = role_of(message.get("role")), text_or_none(message.get("content"))
    if role == "tool":
        call = text_or_none(message.get("tool_name")) or text_or_none(message.get("name")) or ""
        return Said(role, {"tool_result": {"tool_call_id": call, "content": text or ""}})
    content: dict[str, Any] = {"text": text} if text else {}
    if calls := _calls(message):
        content["tool_calls"] = calls
    if images := message.get("images"):
        content["parts"] = _images(images)
    return Said(role, content)


def _images(images: Any) -> list[dict[str, Any]]:
    return [{"type": "image", "data": image} for image in images if isinstance(image, str)]


def _calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = []
    for call in mappings(message.get("tool_calls")):
        function = mapping(call.get("function"))
        name = function.get("name") or ""
        # Newer servers send an id, which the SDK leaves out of what it sends back.
        calls.append({"id": name, "name": name, "arguments": arguments_of(function.get("arguments"))})
    return calls


class _Reader:
    """Reads an answer, or the lines of a stream, which look like it; counts come with the last one only."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._words: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []

    def add(self, data: Mapping[str, Any]) -> None:
        answer, message = self.answer, mapping(data.get("message"))
        answer.model = text_or_none(data.get("model")) or answer.model
        if data.get("error"):
            answer.error = data["error"]
        for pieces, said in (
            (self._words, message.get("content") or data.get("response")),
            (self._thoughts, message.get("thinking") or data.get("thinking")),
        ):
            if text := text_or_none(said):
                pieces.append(text)
                answer.has_content = True
        if calls := _calls(message):
            self._calls += calls
            answer.has_content = True
        if data.get("done") or data.get("embeddings") or data.get("embedding"):
            answer.is_complete = answer.is_done = True
            # It says nothing of a prompt that it has read before: that is not known then.
            answer.usage = {key: data[key] for key in _COUNTS if data.get(key) is not None} or None

    def content(self) -> dict[str, Any] | None:
        text, thought = "".join(self._words), "".join(self._thoughts)
        return put_together(text, calls=self._calls, reasoning=thought) or None


OLLAMA_CHAT = Format(_Reader, _messages)
OLLAMA_GENERATE = Format(_Reader, _prompts, operation="text_completion")
OLLAMA_EMBEDDINGS = Format(_Reader, operation="embeddings")
