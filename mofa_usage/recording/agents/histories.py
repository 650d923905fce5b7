"""What a model is told of a conversation: its latest rounds, in the words of each provider.

A round begins with what the user says and ends before he says more. It is kept or left out whole, so that no tool call
comes apart from its result. An answer belongs to the round of the question that it answers, whatever was said
meanwhile: many may speak in one session at once.

```python
from uuid import uuid4

from mofa_usage.recording.agents.histories import latest

ids = {"chat_session_id": uuid4(), "agent_id": uuid4(), "user_id": uuid4()}
said = [LLMMessage.new(**ids, role=role, content=role) for role in ("user", "assistant", "user", "assistant")]
assert latest(said, 1) == said[2:]
```
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from mofa_usage.records import LLMMessage, MessageRole

__all__ = ["anthropic_messages", "latest", "openai_messages"]


def latest(messages: Sequence[LLMMessage], rounds: int | None) -> list[LLMMessage]:
    """The last rounds of messages that come oldest first; all of them where `rounds` is None. System messages are no
    part of a round, and stay.
    """
    found: list[list[LLMMessage]] = [[]]  # in the first one, what was said before the user said anything
    round_of: dict[UUID | None, list[LLMMessage]] = {}
    settings = []
    for message in messages:
        if message.role is MessageRole.SYSTEM:
            settings.append(message)
            continue
        if message.role is MessageRole.USER:
            found.append([])
        own = found[-1] if message.role is MessageRole.USER else round_of.get(message.parent_message_id, found[-1])
        own.append(message)
        round_of[message.id] = own
    kept = found if rounds is None else found[1:][-rounds:] if rounds else []
    return settings + [message for own in kept for message in own]


def openai_messages(messages: Sequence[LLMMessage]) -> list[dict[str, Any]]:
    """Messages as OpenAI's chat completions have them, and most providers."""
    tools = _answered(messages)
    told = []
    for message in messages:
        content, said = message.content, dict[str, Any](role=message.role.value)
        if message.role is MessageRole.TOOL:
            if content.tool_result is None or content.tool_result.tool_call_id not in tools:
                continue
            said |= {"tool_call_id": content.tool_result.tool_call_id, "content": content.tool_result.content}
        else:
            calls = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _text(call.arguments)}}
                for call in content.tool_calls or ()
                if call.id in tools
            ]
            if not content.text and not calls:
                continue
            said |= {"content": content.text, **({"tool_calls": calls} if calls else {})}
        told.append(said)
    return told


def anthropic_messages(messages: Sequence[LLMMessage]) -> list[dict[str, Any]]:
    """Messages as Anthropic has them, without those of the system: the user brings the results of tools."""
    tools = _answered(messages)
    told: list[dict[str, Any]] = []
    for message in messages:
        blocks = _blocks(message, tools)
        if not blocks or message.role is MessageRole.SYSTEM:
            continue
        role = "assistant" if message.role is MessageRole.ASSISTANT else "user"
        if told and told[-1]["role"] == role:
            told[-1]["content"] += blocks
        elif told or role == "user":  # the user has the first word
            told.append({"role": role, "content": blocks})
    return told


def _blocks(message: LLMMessage, tools: frozenset[str]) -> list[dict[str, Any]]:
    content, result = message.content, message.content.tool_result
    blocks: list[dict[str, Any]] = [{"type": "text", "text": content.text}] if content.text else []
    if result is not None and result.tool_call_id in tools:
        said = {"type": "tool_result", "tool_use_id": result.tool_call_id, "content": result.content}
        blocks.insert(0, {**said, **({"is_error": True} if result.is_error else {})})
    for call in content.tool_calls or ():
        if call.id in tools:
            arguments = call.arguments if isinstance(call.arguments, Mapping) else {}
            blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": dict(arguments)})
    return blocks


def _answered(messages: Sequence[LLMMessage]) -> frozenset[str]:
    """The tool calls that are there with their results: a model is told of no others, providers refuse them."""
    calls = {call.id for message in messages for call in message.content.tool_calls or ()}
    results = {message.content.tool_result.tool_call_id for message in messages if message.content.tool_result}
    return frozenset(calls & results)


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
