"""Google's contents: `generateContent` and `streamGenerateContent` of Gemini, and the embeddings beside them.

A content is a list of parts. Calls of tools seldom have an id: then the name of the function stands for it, in the call
and in the result, so that the two can be found from each other.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mofa_usage.recording.conversations import Said
from mofa_usage.recording.formats.answers import Answer, Format, mapping, mappings, put_together, role_of, text_or_none

__all__ = ["GOOGLE_CONTENTS", "GOOGLE_EMBEDDINGS"]

_CALL, _RESULT = "functionCall", "functionResponse"
_BESIDE = frozenset(("thoughtSignature", "thought"))  # of a part: nothing that is said


def _messages(body: Mapping[str, Any]) -> Sequence[Said]:
    said: list[Said] = []
    if system := _content(mappings(mapping(body.get("systemInstruction")).get("parts"))):
        said.append(Said("system", system))
    answer: list[Mapping[str, Any]] = []
    for content in mappings(body.get("contents")):
        parts = mappings(content.get("parts"))
        if role_of(content.get("role")) == "assistant":
            answer += parts  # a stream's answer is kept as the pieces that came
            continue
        said += _answered(answer)
        answer = []
        said += [_result(part[_RESULT]) for part in parts if isinstance(part.get(_RESULT), Mapping)]
        if rest := _content([part for part in parts if _RESULT not in part]):
            said.append(Said("user", rest))
    return said + _answered(answer)


def _answered(parts: Sequence[Mapping[str, Any]]) -> list[Said]:
    content = _content(parts)
    return [Said("assistant", content)] if content else []


def _result(result: Mapping[str, Any]) -> Said:
    response = result.get("response")
    said: dict[str, Any] = {"tool_call_id": _id(result), "content": json.dumps(response, ensure_ascii=False)}
    if "error" in mapping(response):
        said["is_error"] = True
    return Said("tool", {"tool_result": said})


def _id(call: Mapping[str, Any]) -> str:
    return text_or_none(call.get("id")) or text_or_none(call.get("name")) or ""


def _content(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What parts say together, as `MessageContent` has it in JSON."""
    words: list[str] = []
    thoughts: list[str] = []
    calls, others = [], []
    for part in parts:
        if isinstance(text := part.get("text"), str):
            (thoughts if part.get("thought") else words).append(text)
        elif isinstance(call := part.get(_CALL), Mapping):
            calls.append({"id": _id(call), "name": call.get("name") or "", "arguments": call.get("args") or {}})
        elif part.keys() - _BESIDE:
            others.append({key: value for key, value in part.items() if key not in _BESIDE})
    return put_together("".join(words), calls=calls, parts=others, reasoning="".join(thoughts))


class _Reader:
    """Reads an answer, or the chunks of a stream, which look like it.

    Each chunk has the counts so far: the last ones are those of the whole. They come before the answer has finished, so
    a completion is known only with the reason why it did. Of several candidates the first is the answer.
    """

    def __init__(self) -> None:
        self.answer = Answer()
        self._parts: list[Mapping[str, Any]] = []

    def add(self, data: Mapping[str, Any]) -> None:
        answer = self.answer
        answer.response_id = data.get("responseId") or answer.response_id
        answer.model = data.get("modelVersion") or answer.model
        if data.get("error"):
            answer.error = data["error"]
        for candidate in mappings(data.get("candidates")):
            if candidate.get("finishReason"):
                answer.is_complete = True
            if not candidate.get("index"):
                parts = mappings(mapping(candidate.get("content")).get("parts"))
                self._parts += parts
                answer.has_content = answer.has_content or any(part.get("text") or _CALL in part for part in parts)
        if mapping(data.get("promptFeedback")).get("blockReason"):
            answer.is_complete = True  # it is not answered, and that is all that comes
        self._add_usage(mapping(data.get("usageMetadata")))

    def _add_usage(self, usage: Mapping[str, Any]) -> None:
        if not usage:
            return
        answer = self.answer
        answer.service_tier = usage.get("serviceTier") or answer.service_tier
        said = {**(answer.usage or {}), **usage}
        if not answer.is_complete:
            for count in ("candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"):
                said.pop(count, None)
        elif "candidatesTokenCount" not in said and said.get("totalTokenCount") == _without_candidates(said):
            said["candidatesTokenCount"] = 0  # a count of nothing is left out
        answer.usage = said

    def content(self) -> dict[str, Any] | None:
        return _content(self._parts) or None


def _without_candidates(usage: Mapping[str, Any]) -> Any:
    counts = [usage.get(f"{name}TokenCount") or 0 for name in ("prompt", "toolUsePrompt", "thoughts")]
    return sum(counts) if all(isinstance(count, int) for count in counts) else None


class _EmbeddingsReader:
    """Gemini says what it used in the answer, if at all; Vertex beside each vector."""

    def __init__(self) -> None:
        self.answer = Answer()

    def add(self, data: Mapping[str, Any]) -> None:
        answer = self.answer
        if data.get("error"):
            answer.error = data["error"]
        answer.is_complete = any(data.get(key) for key in ("embedding", "embeddings", "predictions"))
        if usage := mapping(data.get("usageMetadata")):
            answer.usage = usage
            return
        embeddings = [mapping(item.get("embeddings")) for item in mappings(data.get("predictions"))]
        said = [mapping(embedding.get("statistics")).get("token_count") for embedding in embeddings]
        counts = [int(count) for count in said if isinstance(count, int | float)]
        if counts and len(counts) == len(said):
            answer.usage = {"prompt_tokens": sum(counts)}

    def content(self) -> dict[str, Any] | None:
        return None


GOOGLE_CONTENTS = Format(_Reader, _messages)
GOOGLE_EMBEDDINGS = Format(_EmbeddingsReader, operation="embeddings")
