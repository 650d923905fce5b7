"""What is asked of models beside chats: texts to go on with, embeddings, images, speech. Messages are saved of texts
only.
"""

from collections.abc import Mapping
from typing import Any

from mofa_usage.recording.formats.answers import Answer, Format, mappings, prompt_said, text_or_none

__all__ = ["EMBEDDINGS", "IMAGES", "SPEECH", "TEXT_COMPLETIONS", "TRANSCRIPTIONS"]


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


EMBEDDINGS = Format(_Reader, operation="embeddings")
IMAGES = Format(_Reader, operation="image_generation")
SPEECH = Format(_Reader, operation="speech_generation", is_checked=False)
TRANSCRIPTIONS = Format(_Reader, operation="transcription", is_checked=False)  # may be plain text
TEXT_COMPLETIONS = Format(_Reader, prompt_said, operation="text_completion")
