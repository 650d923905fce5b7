"""OpenAI's responses: a list of items goes in and comes out, and one answer may be several of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mofa_usage.recording.conversations import Kept, Said
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

__all__ = ["RESPONSES", "messages_in"]

_TEXTS = ("input_text", "output_text", "text", "refusal")
_CALLS = ("function_call", "custom_tool_call")
_RESULTS = ("function_call_output", "custom_tool_call_output")
_PIECES = (
    "response.output_text.delta",
    "response.refusal.delta",
    "response.function_call_arguments.delta",
    "response.custom_tool_call_input.delta",
)
_FINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


def _said(body: Mapping[str, Any]) -> Sequence[Said]:
    said = []
    if isinstance(instructions := body.get("instructions"), str) and instructions:
        said.append(Said("system", {"text": instructions}))
    given = body.get("input")
    if isinstance(given, str):
        return [*said, Said("user", {"text": given})]
    return [*said, *(message for _, message in messages_in(mappings(given)) if message is not None)]


def _kept(body: Mapping[str, Any]) -> Kept | None:
    if name := text_or_none(body.get("previous_response_id")):
        return Kept(name)
    conversation = body.get("conversation")
    name = text_or_none(mapping(conversation).get("id")) or text_or_none(conversation)
    return Kept(name, is_conversation=True) if name else None


def messages_in(items: Sequence[Mapping[str, Any]]) -> Iterator[tuple[list[Mapping[str, Any]], Said | None]]:
    """The items by message, and the messages: what the model said at once is one. Of some items there is none."""
    output: list[Mapping[str, Any]] = []
    for item in items:
        kind, role = item.get("type"), item.get("role")
        if role == "assistant" or (role is None and kind not in (*_RESULTS, "item_reference", None)):
            output.append(item)
            continue
        if output:
            yield output, _output_said(output)
            output = []
        yield [item], _input_said(item)
    if output:
        yield output, _output_said(output)


def _output_said(items: Sequence[Mapping[str, Any]]) -> Said | None:
    content = _content(items)
    return Said("assistant", content) if content else None


def _input_said(item: Mapping[str, Any]) -> Said | None:
    role = item.get("role")
    if item.get("type") in _RESULTS:
        text, is_text = item.get("output"), isinstance(item.get("output"), str)
        content = {} if is_text else said_parts(text, _TEXTS)
        result = {"tool_call_id": item.get("call_id") or "", "content": text if is_text else content.pop("text", "")}
        return Said("tool", {**content, "tool_result": result})
    return None if role is None else Said(role_of(role), said_parts(item.get("content"), _TEXTS))


def _content(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    words, calls, reasoning = [], [], []
    for item in items:
        kind = item.get("type")
        if kind in _CALLS:
            calls.append(
                {
                    "id": item.get("call_id") or item.get("id") or "",
                    "name": item.get("name") or "",
                    "arguments": arguments_of(item.get("arguments", item.get("input"))),
                }
            )
        elif kind == "reasoning":
            reasoning += [part["text"] for part in mappings(item.get("summary")) if isinstance(part.get("text"), str)]
        elif kind in (None, "message"):
            content = item.get("content")
            parts = content if isinstance(content, str) else mappings(content)
            words += [parts] if isinstance(parts, str) else [_word(part) for part in parts]
    said = put_together("".join(words), calls=calls)
    return {**said, "reasoning": "\n".join(reasoning)} if reasoning else said


def _word(part: Mapping[str, Any]) -> str:
    return text_or_none(part.get("text")) or text_or_none(part.get("refusal")) or ""


class _Reader:
    """Reads a response, or its events: the final one repeats all, and without it the pieces are what is known."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._items: dict[Any, dict[str, Any]] = {}
        self._pieces: dict[Any, list[str]] = {}
        self._output: Sequence[Mapping[str, Any]] | None = None

    def add(self, data: Mapping[str, Any]) -> None:
        kind = data.get("type")
        if not isinstance(kind, str):
            self._add_response(data, is_final=True)
        elif kind == "error":
            self.answer.error = data.get("error") or {key: data.get(key) for key in ("message", "code")}
            self.answer.is_complete = self.answer.is_done = True
        elif kind.endswith(".delta"):
            self._add_delta(kind, data)
        elif kind.startswith("response.output_item."):
            item = dict(mapping(data.get("item")))
            self._items[data.get("output_index")] = item
            if kind == "response.output_item.done":
                self._pieces.pop(data.get("output_index"), None)  # the item says it all
        elif isinstance(response := data.get("response"), Mapping):
            self._add_response(response, is_final=kind in _FINAL)

    def _add_delta(self, kind: str, data: Mapping[str, Any]) -> None:
        self.answer.has_content = True
        if kind in _PIECES and isinstance(piece := data.get("delta"), str):
            self._pieces.setdefault(data.get("output_index"), []).append(piece)

    def _add_response(self, response: Mapping[str, Any], *, is_final: bool) -> None:
        answer = self.answer
        answer.response_id = response.get("id") or answer.response_id
        answer.model = response.get("model") or answer.model
        answer.service_tier = response.get("service_tier") or answer.service_tier
        if isinstance(usage := response.get("usage"), Mapping):
            answer.usage = usage
        if not is_final:
            return
        if response.get("error"):
            answer.error = response["error"]
        elif response.get("status") == "failed":
            answer.error = {"code": "failed", "message": "the response failed"}
        answer.is_cancelled = response.get("status") == "cancelled"
        if isinstance(output := response.get("output"), list):
            self._output = mappings(output)
        answer.is_complete = answer.is_done = "output" in response or answer.error is not None

    def content(self) -> dict[str, Any] | None:
        if self._output is not None:
            return _content(self._output) or None
        items = []
        for index in sorted(self._items.keys() | self._pieces.keys(), key=str):
            item = self._items.get(index) or {"type": "message"}
            pieces = "".join(self._pieces.get(index, ()))
            if pieces and item.get("type") in _CALLS:
                item = {**item, "arguments": pieces}
            elif pieces:
                item = {**item, "content": pieces}
            items.append(item)
        return _content(items) or None


RESPONSES = Format(_Reader, _said, _kept)
