"""Anthropic's messages: contents are lists of blocks, and the results of tools are said by the user."""

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

__all__ = ["ANTHROPIC_MESSAGES"]

_TEXTS = ("text",)
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")


def _messages(body: Mapping[str, Any]) -> Sequence[Said]:
    said = []
    if system := said_parts(body.get("system"), _TEXTS):
        said.append(Said("system", system))
    for message in mappings(body.get("messages")):
        said += _said(role_of(message.get("role")), message.get("content"))
    return said


def _said(role: str, content: Any) -> list[Said]:
    if role == "assistant":
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else mappings(content)
        answered = _answered(blocks)
        return [Said(role, answered)] if answered else []
    if isinstance(content, str):
        return [Said(role, {"text": content})]
    blocks = mappings(content)
    results = [_result(block) for block in blocks if block.get("type") == "tool_result"]
    rest = said_parts([block for block in blocks if block.get("type") != "tool_result"], _TEXTS)
    return [*results, Said(role, rest)] if rest else results


def _result(block: Mapping[str, Any]) -> Said:
    said = said_parts(block.get("content"), _TEXTS)
    result: dict[str, Any] = {"tool_call_id": block.get("tool_use_id") or "", "content": said.pop("text", "")}
    if block.get("is_error"):
        result["is_error"] = True
    return Said("tool", {**said, "tool_result": result})


def _answered(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    words, calls, thoughts = [], [], []
    for block in blocks:
        kind = block.get("type")
        if kind in _CALLS:
            arguments = arguments_of(block.get("input"))
            calls.append({"id": block.get("id") or "", "name": block.get("name") or "", "arguments": arguments})
        elif kind == "thinking":
            thoughts.append(text_or_none(block.get("thinking")) or "")
        elif kind == "text":
            words.append(text_or_none(block.get("text")) or "")
    return put_together("".join(words), calls=calls, reasoning="".join(thoughts))


class _Reader:
    """Reads a message, or its events.

    The first event of a stream has all that is known of the prompt, and a place holder for the completion. The counts
    of the last one are those of the whole, and leave out the lifetimes of cache entries and the tier, which the first
    one has said.
    """

    def __init__(self) -> None:
        self.answer = Answer()
        self._blocks: dict[Any, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}

    def add(self, data: Mapping[str, Any]) -> None:
        kind, answer = data.get("type"), self.answer
        if kind == "content_block_delta":
            self._add_delta(data.get("index"), mapping(data.get("delta")))
        elif kind == "content_block_start":
            block = dict(mapping(data.get("content_block")))
            answer.has_content = answer.has_content or block.get("type") in _CALLS
            self._blocks[data.get("index")] = {**block, "pieces": []}
        elif kind == "message_start":
            self._add_message(mapping(data.get("message")))
            self._usage.pop("output_tokens", None)
            answer.usage = self._usage
        elif kind == "message_delta":
            self._add_usage(data.get("usage"))
            answer.is_complete = answer.is_complete or bool(mapping(data.get("delta")).get("stop_reason"))
        elif kind == "message_stop":
            answer.is_complete = answer.is_done = True
        elif kind == "error":
            answer.error = data.get("error")
        elif kind == "message":
            self._add_message(data)
            self._blocks = {index: dict(block) for index, block in enumerate(mappings(data.get("content")))}
            answer.is_complete = answer.is_done = True

    def _add_message(self, message: Mapping[str, Any]) -> None:
        answer = self.answer
        answer.response_id = message.get("id") or answer.response_id
        answer.model = message.get("model") or answer.model
        self._add_usage(message.get("usage"))

    def _add_usage(self, usage: Any) -> None:
        said = {key: value for key, value in mapping(usage).items() if value is not None}
        # The tokens of a compaction are in no other count; the other iterations are in those of the message.
        entries = mappings(said.pop("iterations", None))
        further = [entry for entry in entries if entry.get("type") == "compaction"]
        if further:
            self.answer.further = further
        self._usage.update(said)
        if self._usage:
            self.answer.usage = self._usage
        self.answer.service_tier = self._usage.get("service_tier")

    def _add_delta(self, index: Any, delta: Mapping[str, Any]) -> None:
        block = self._blocks.setdefault(index, {"type": "text", "text": "", "pieces": []})
        for kind, key in (("text_delta", "text"), ("thinking_delta", "thinking"), ("input_json_delta", "partial_json")):
            if delta.get("type") == kind and isinstance(piece := delta.get(key), str):
                block["pieces"].append(piece)
                if piece:
                    self.answer.has_content = True

    def content(self) -> dict[str, Any] | None:
        blocks = []
        for block in self._blocks.values():
            if pieces := block.get("pieces"):
                kind = block.get("type")
                key = "input" if kind in _CALLS else "thinking" if kind == "thinking" else "text"
                said = "".join(pieces)
                block = {**block, key: said if key == "input" else (block.get(key) or "") + said}
            blocks.append(block)
        return _answered(blocks) or None


ANTHROPIC_MESSAGES = Format(_Reader, _messages)
