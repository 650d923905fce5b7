"""OpenAI's chat completions, which most providers speak."""

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

__all__ = ["CHAT_COMPLETIONS"]

_PLAIN = ("user", "assistant", "system")
_TEXTS = ("text", "refusal")
_REASONING = ("reasoning_content", "reasoning")  # DeepSeek's name, OpenRouter's


def _messages(body: Mapping[str, Any]) -> Sequence[Said]:
    return [_said(message) for message in mappings(body.get("messages"))]


def _said(message: Mapping[str, Any]) -> Said:
    if len(message) == 2 and type(text := message.get("content")) is str and message.get("role") in _PLAIN:
        return Said(message["role"], {"text": text} if text else {})  # most messages of a long history
    role = role_of(message.get("role"))
    content = said_parts(message.get("content"), _TEXTS)
    if role == "tool":
        # A message of the old role `function` names what it answers by the function.
        call = text_or_none(message.get("tool_call_id")) or text_or_none(message.get("name")) or ""
        text = content.pop("text", "")
        return Said(role, {**content, "tool_result": {"tool_call_id": call, "content": text}})
    calls = [_call(call) for call in mappings(message.get("tool_calls"))]
    if old := mapping(message.get("function_call")):
        calls.append(_call({"function": old}))
    if calls:
        content["tool_calls"] = calls
    if "text" not in content and (refusal := text_or_none(message.get("refusal"))):
        content["text"] = refusal
    if name := text_or_none(message.get("name")):
        content["name"] = name
    return Said(role, content)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = mapping(call.get("function") or call.get("custom"))
    return {
        "id": call.get("id") or "",
        "name": function.get("name") or "",
        "arguments": arguments_of(function.get("arguments", function.get("input"))),
    }


class _Reader:
    """Puts the pieces of a stream together; a whole answer is one piece. Of several choices the first is the answer."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[Any, dict[str, Any]] = {}
        self._has_begun = False

    def add(self, data: Mapping[str, Any]) -> None:
        answer = self.answer
        choices = data.get("choices")
        if answer.has_content and choices and not data.get("usage"):
            # Most chunks of a stream are a piece of the text and nothing else.
            choice = choices[0]
            delta = choice.get("delta")
            if delta and len(delta) == len(choices) == 1 and not (choice.get("finish_reason") or choice.get("index")):
                text = delta.get("content")
                if type(text) is str and "error" not in data:
                    self._text.append(text)
                    return
        answer.response_id = data.get("id") or answer.response_id
        answer.model = data.get("model") or answer.model
        answer.service_tier = data.get("service_tier") or answer.service_tier
        # Groq has it elsewhere while it streams.
        if isinstance(usage := data.get("usage") or mapping(data.get("x_groq")).get("usage"), Mapping):
            answer.usage = usage
        if data.get("error"):
            answer.error = data["error"]
        for choice in choices or ():
            self._has_begun = True
            if choice.get("finish_reason") or (choice.get("message") and "delta" not in choice):
                answer.is_complete = True  # what is whole needs no reason to end
            said = choice.get("delta") or choice.get("message")
            if said:
                self._add_said(said, is_first=not choice.get("index"))
        if isinstance(usage, Mapping) and (answer.is_complete or (self._has_begun and not choices)):
            answer.is_complete = answer.is_done = True  # usage comes last; servers forget the finish reason

    def _add_said(self, said: Mapping[str, Any], *, is_first: bool) -> None:
        found = False
        for pieces, keys in ((self._text, ("content",)), (self._refusal, ("refusal",)), (self._reasoning, _REASONING)):
            for key in keys:
                if text := said.get(key):
                    found = True
                    if is_first:
                        pieces.append(text if isinstance(text, str) else said_parts(text, _TEXTS).get("text", ""))
                    break
        calls = said.get("tool_calls") or ()
        if old := said.get("function_call"):
            calls = [{"function": old}]
        if calls or said.get("audio"):
            found = True
        if is_first:
            for place, call in enumerate(calls):
                self._add_call(call.get("index", place), call)
        if found:
            self.answer.has_content = True

    def _add_call(self, index: Any, piece: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(index, {"id": "", "name": "", "pieces": []})
        function = mapping(piece.get("function") or piece.get("custom"))
        call["id"] = piece.get("id") or call["id"]
        call["name"] = function.get("name") or call["name"]
        if (words := function.get("arguments", function.get("input"))) is not None:
            call["pieces"].append(words)

    def content(self) -> dict[str, Any] | None:
        calls = [
            {"id": call["id"], "name": call["name"], "arguments": _arguments(call["pieces"])}
            for call in self._calls.values()
        ]
        text = "".join(self._text) or "".join(self._refusal)
        return put_together(text, calls=calls, reasoning="".join(self._reasoning)) or None


def _arguments(pieces: Sequence[Any]) -> Any:
    if all(isinstance(piece, str) for piece in pieces):
        return arguments_of("".join(pieces))
    return pieces[-1]  # some servers send an object instead of its text


CHAT_COMPLETIONS = Format(_Reader, _messages)
