"""Mistral's chats and texts: chat completions, whose contents may be lists in which the model thinks aloud."""

from collections.abc import Mapping, Sequence
from typing import Any

from mofa_usage.recording.conversations import Said
from mofa_usage.recording.formats.answers import Format, mapping, mappings, prompt_said, said_parts
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS

__all__ = ["MISTRAL_CHAT", "MISTRAL_FIM"]


def _messages(body: Mapping[str, Any]) -> Sequence[Said]:
    messages = [_without_thoughts(message) for message in mappings(body.get("messages"))]
    return CHAT_COMPLETIONS.said({"messages": messages})


def _without_thoughts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message without what was thought: an application may leave it out when it sends the history again."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [part for part in content if mapping(part).get("type") != "thinking"]}


def _read_aloud(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message or a piece of one in the words of chat completions: text apart from what was thought."""
    content = said.get("content")
    if not isinstance(content, list):
        return said
    thoughts = [part for part in mappings(content) if part.get("type") == "thinking"]
    pieces = [piece for part in thoughts for piece in mappings(part.get("thinking"))]
    plain = _without_thoughts(said).get("content")
    return {
        **said,
        "content": said_parts(plain, ("text",)).get("text"),
        "reasoning_content": said_parts(pieces, ("text",)).get("text"),
    }


class _Reader:
    def __init__(self) -> None:
        self._reader = CHAT_COMPLETIONS.reader()
        self.answer = self._reader.answer

    def add(self, data: Mapping[str, Any]) -> None:
        if data.get("object") == "error":
            self.answer.error = data
            return
        choices = []
        for choice in mappings(data.get("choices")):
            said = {key: _read_aloud(choice[key]) for key in ("delta", "message") if isinstance(choice.get(key), dict)}
            choices.append({**choice, **said})
        self._reader.add({**data, "choices": choices} if choices else data)

    def content(self) -> dict[str, Any] | None:
        return self._reader.content()


MISTRAL_CHAT = Format(_Reader, _messages)
MISTRAL_FIM = Format(_Reader, prompt_said, operation="text_completion")
