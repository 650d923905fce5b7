"""How Google, Mistral and Ollama answer on the wire, for the tests' server of models.

Google is found by the methods in its paths (`:generateContent`), Mistral below `/mistral`, Ollama below `/api`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.recording.sdks.counted import ANSWER, CACHED, TOOL, Step, pieces, words

OUT = len(ANSWER.split())


class Speech(NamedTuple):
    """How a provider speaks. `events` are what a stream has, as the server sends them."""

    error: Callable[[int], dict[str, Any]]
    whole: Callable[[str, dict[str, Any], Step], dict[str, Any]]
    events: Callable[[dict[str, Any], Step], list[dict[str, Any]]]
    headers: Mapping[str, str]


def speech_of(path: str) -> Speech | None:
    """How is to be answered on a path; None where the server speaks OpenAI's or Anthropic's way."""
    if path.endswith("/interactions"):
        return INTERACTIONS
    if ":" in path:
        return GOOGLE
    return MISTRAL if path.startswith("/mistral/") else OLLAMA if path.startswith("/api/") else None


def is_stream(path: str, body: Mapping[str, Any]) -> bool:
    return bool(body.get("stream")) or ":stream" in path


def as_json(event: Any) -> str:
    return event if isinstance(event, str) else json.dumps(event)


# Google

STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
STATUSES |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}


def _google_error(status: int) -> dict[str, Any]:
    return {"error": {"code": status, "message": f"a {status}", "status": STATUSES.get(status, "UNKNOWN")}}


def _google_whole(path: str, body: dict[str, Any], step: Step) -> dict[str, Any]:
    model = path.partition("models/")[2].partition(":")[0]
    if "mbedContent" in path:
        return {"embeddings": [{"values": [0.5, 0.25]}]}
    prompt = words(body.get("contents")) + words(body.get("systemInstruction"))
    parts: list[dict[str, Any]] = [{"text": ANSWER}]
    if step == "tool":
        parts = [{"functionCall": {"name": "weather", "args": TOOL}}]
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
        "modelVersion": f"{model}-2026",
        "responseId": "c-1",
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": OUT - 1,
            "thoughtsTokenCount": 1,
            "totalTokenCount": prompt + OUT,
            "cachedContentTokenCount": min(CACHED, prompt),
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        },
    }


def _google_events(whole: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    candidate, usage = whole["candidates"][0], whole["usageMetadata"]
    parts = candidate["content"]["parts"]
    if "text" in parts[0]:
        parts = [{"text": word} for word in pieces()]
    chunks = []
    for part in parts:
        counted = {"promptTokenCount": usage["promptTokenCount"], "candidatesTokenCount": 1}
        counted["totalTokenCount"] = counted["promptTokenCount"] + 1
        said = {"content": {"role": "model", "parts": [part]}, "index": 0}
        chunks.append({**whole, "candidates": [said], "usageMetadata": counted})
    if step == "error":
        chunks = [*chunks[:2], _google_error(503)]
    elif step != "truncated":
        last = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}
        chunks.append({**whole, "candidates": [last]})
    return [{"data": chunk} for chunk in chunks]


GOOGLE = Speech(_google_error, _google_whole, _google_events, {"x-gemini-service-tier": "standard"})


def _interaction(path: str, body: dict[str, Any], step: Step) -> dict[str, Any]:
    prompt = words(body.get("input")) + words(body.get("system_instruction"))
    made: dict[str, Any] = {"type": "model_output", "content": [{"type": "text", "text": ANSWER}]}
    if step == "tool":
        made = {"type": "function_call", "id": "call-1", "name": "weather", "arguments": TOOL}
    usage = {"total_input_tokens": prompt, "total_output_tokens": OUT - 1, "total_thought_tokens": 1}
    usage |= {"total_cached_tokens": min(CACHED, prompt), "total_tokens": prompt + OUT}
    return {
        "id": "c-1",
        "model": f"{body['model']}-2026",
        "status": "requires_action" if step == "tool" else "completed",
        "steps": [made],
        "service_tier": "standard",
        "usage": usage,
    }


def _interaction_events(whole: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    (made,) = whole["steps"]
    begun = {key: whole[key] for key in ("id", "model")} | {"status": "in_progress"}
    started: dict[str, Any] = {"type": "model_output"}
    deltas = [{"type": "text", "text": word} for word in pieces()]
    if made["type"] == "function_call":
        text = json.dumps(TOOL)
        started = {**made, "arguments": {}}
        deltas = [{"type": "arguments_delta", "arguments": piece} for piece in (text[:5], text[5:])]
    events: list[dict[str, Any]] = [{"event_type": "interaction.created", "interaction": begun}]
    events.append({"event_type": "step.start", "index": 0, "step": started})
    events += [{"event_type": "step.delta", "index": 0, "delta": delta} for delta in deltas]
    if step == "error":
        events = [*events[:4], {"event_type": "error", "error": {"code": "unavailable", "message": "too much"}}]
    elif step != "truncated":
        events.append({"event_type": "step.stop", "index": 0})
        done = {key: value for key, value in whole.items() if key != "steps"}
        events.append({"event_type": "interaction.completed", "interaction": done})
        return [*({"event": event["event_type"], "data": event} for event in events), {"data": "[DONE]"}]
    return [{"event": event["event_type"], "data": event} for event in events]


INTERACTIONS = Speech(_google_error, _interaction, _interaction_events, {})


# Mistral


def _mistral_error(status: int) -> dict[str, Any]:
    if status == 422:
        return {"detail": [{"loc": ["body", "model"], "msg": "a 422", "type": "value_error"}]}
    kind = {401: "unauthorized", 429: "rate_limited"}.get(status, "invalid_request" if status < 500 else "internal")
    return {"object": "error", "message": f"a {status}", "type": f"{kind}_error", "param": None, "code": "1300"}


def _mistral_whole(path: str, body: dict[str, Any], step: Step) -> dict[str, Any]:
    prompt = words(body.get("messages", body.get("input"))) + words(body.get("prompt"))
    whole: dict[str, Any] = {"id": "c-1", "object": "chat.completion", "created": 1, "model": f"{body['model']}-2026"}
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": OUT, "total_tokens": prompt + OUT}
    usage |= {"prompt_tokens_details": {"cached_tokens": min(CACHED, prompt)}, "service_tier": "standard"}
    if path.endswith("/embeddings"):
        items = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        return {**whole, "object": "list", "data": items, "usage": {"prompt_tokens": prompt, "total_tokens": prompt}}
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER, "tool_calls": None}
    if step == "tool":
        call = {"id": "call-1", "function": {"name": "weather", "arguments": json.dumps(TOOL)}, "index": 0}
        message = {"role": "assistant", "content": "", "tool_calls": [call]}
    return {**whole, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def _mistral_events(whole: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    message = whole["choices"][0]["message"]
    base = {**whole, "object": "chat.completion.chunk"}
    del base["usage"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in pieces()] if not message["tool_calls"] else [message]
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if step == "error":
        return [{"data": chunk} for chunk in (*chunks[:2], _mistral_error(500))]
    if step == "truncated":
        return [{"data": chunk} for chunk in chunks]
    last = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
    chunks.append({**base, "choices": [last], "usage": whole["usage"]})
    return [*({"data": chunk} for chunk in chunks), {"data": "[DONE]"}]


MISTRAL = Speech(_mistral_error, _mistral_whole, _mistral_events, {"mistral-correlation-id": "req-7"})


# Ollama


def _ollama_error(status: int) -> dict[str, Any]:
    return {"error": f"a {status}"}


def _ollama_whole(path: str, body: dict[str, Any], step: Step) -> dict[str, Any]:
    prompt = words(body.get("messages", body.get("input"))) + words(body.get("prompt"))
    whole: dict[str, Any] = {"model": body["model"], "created_at": "2026-05-01T08:00:00Z"}
    if path.endswith("/embed"):
        return {**whole, "embeddings": [[0.5, 0.25]], "total_duration": 7, "prompt_eval_count": prompt}
    done = {"done": True, "done_reason": "stop", "total_duration": 7, "prompt_eval_count": prompt, "eval_count": OUT}
    if step == "no prompt":
        del done["prompt_eval_count"]
    if path.endswith("/generate"):
        return {**whole, "response": ANSWER, **done}
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
    if step == "tool":
        message = {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "weather", "arguments": TOOL}}],
        }
    return {**whole, "message": message, **done}


def _ollama_events(whole: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    base = {key: whole[key] for key in ("model", "created_at")}
    message = whole.get("message")
    if message is None:
        lines = [{**base, "response": word, "done": False} for word in pieces()]
        last = {**whole, "response": ""}
    else:
        said = [message] if message.get("tool_calls") else [{"role": "assistant", "content": word} for word in pieces()]
        lines = [{**base, "message": piece, "done": False} for piece in said]
        last = {**whole, "message": {"role": "assistant", "content": ""}}
    if step == "error":
        lines = [*lines[:2], _ollama_error(500)]
    elif step != "truncated":
        lines.append(last)
    return [{"line": line} for line in lines]


OLLAMA = Speech(_ollama_error, _ollama_whole, _ollama_events, {})
