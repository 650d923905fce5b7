"""What is asked of models beside chats: texts to go on with, embeddings, images, speech. Messages are saved of texts
only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mofa_usage.recording.conversations import Said
from mofa_usage.recording.formats.answers import Answer, Reader, mappings, text_or_none

__all__ = ["EMBEDDINGS", "IMAGES", "SPEECH", "TEXT_COMPLETIONS", "TRANSCRIPTIONS"]


class _Plain:
    """A format of which only the numbers count."""

    def __init__(self, operation: str, *, is_checked: bool) -> None:
        self.operation: str | None = operation
        self.is_checked = is_checked

    def said(self, body: Mapping[str, Any]) -> Sequence[Said]:
        return ()

    def reader(self) -> Reader:
        return _Reader()


class _TextCompletions:
    operation: str | None = "text_completion"
    is_checked = True

    def said(self, body: Mapping[str, Any]) -> Sequence[Said]:
        prompt = body.get("prompt")
        return [Said("user", {"text": prompt})] if isinstance(prompt, str) and prompt else ()

    def reader(self) -> Reader:
        return _Reader()


EMBEDDINGS = _Plain("embeddings", is_checked=True)
IMAGES = _Plain("image_generation", is_checked=True)
SPEECH = _Plain("speech_generation", is_checked=False)
TRANSCRIPTIONS = _Plain("transcription", is_checked=False)  # may be plain text
TEXT_COMPLETIONS = _TextCompletions()


class _Reader:
    def __init__(self) -> None:
        self.answer = Answer()
        self._text: list[str] = []

    def add(self, data: Mapping[str, Any]) -> None:
        answer, kind = self.answer, data.get("type")
        answer.response_id = text_or_none(data.get("id")) or answer.response_id
        answer.model = text_or_none(data.get("model")) or answer.model
        answer.service_tier = text_or_none(data.get("service_tier")) or answer.service_tier
        if isinstance(usage := data.get("usage"), Mapping):
            answer.usage = usage
        if data.get("error"):
            answer.error = data["error"]
        for choice in mappings(data.get("choices")):
            if piece := text_or_none(choice.get("text")):
                answer.has_content = True
                if not choice.get("index"):
                    self._text.append(piece)
            answer.is_complete = answer.is_complete or bool(choice.get("finish_reason"))
        if isinstance(kind, str):  # an event of a stream of images or speech
            answer.has_content = answer.has_content or kind.endswith((".delta", ".partial_image"))
            answer.is_complete = answer.is_complete or kind.endswith((".done", ".completed"))
        elif "choices" not in data and answer.error is None:
            answer.is_complete = answer.is_complete or bool(data)
        answer.is_done = answer.is_complete and answer.usage is not None

    def content(self) -> dict[str, Any] | None:
        text = "".join(self._text)
        return {"text": text} if text else None
