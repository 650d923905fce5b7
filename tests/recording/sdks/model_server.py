"""A server of models that speaks the wire formats of providers, and does what the test's script says, step by step.

It counts the tokens itself: a word is one. Each request takes the next step; without one it answers well.

| step | what happens |
|---|---|
| `ok` | the answer, streamed where that was asked for |
| a number | that HTTP status, with an error of the provider's shape |
| `slow`, `stall` | no answer for a while; the same in the midst of a stream |
| `drop` | the connection ends without an answer |
| `cut` | the connection ends in the midst of a stream |
| `truncated` | the stream ends well, without its last events |
| `error` | the stream says that something went wrong |
| `garbage`, `page`, `empty` | something else than the JSON of an answer |
| `tool` | the model asks for a tool |
| `key` | 401, with an error that repeats the key (of those in `more_answers.py`) |
| `no prompt` | Ollama says nothing of the prompt |
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.recording.sdks.counted import ANSWER, CACHED, TOOL, Step, pieces, words
from tests.recording.sdks.more_answers import as_json, is_stream, speech_of

__all__ = ["ANSWER", "CACHED", "PAUSE", "TOOL", "Asked", "ModelServer", "Step", "model_server", "words"]

PAUSE = 0.6


class Asked(NamedTuple):
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    step: Step


class ModelServer:
    """What the tests tell the server, and what it saw."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.script: deque[Step] = deque()
        self.asked: list[Asked] = []
        self.wrong: list[str] = []
        self.knows_stream_options = True
        self.clients: list[Any] = []  # that were made to ask it

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the SDKs find it."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": "sk-of-the-tests",
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "sk-of-the-tests",
            "GOOGLE_GEMINI_BASE_URL": self.url,
            "GEMINI_API_KEY": "sk-of-the-tests",
            "MISTRAL_BASE_URL": f"{self.url}/mistral",
            "MISTRAL_API_KEY": "sk-of-the-tests",
            "OLLAMA_HOST": self.url,
        }

    def plan(self, *steps: Step) -> None:
        """What to do with the next requests."""
        self.script = deque(steps)
        self.asked.clear()

    def wait(self, seconds: float = 30) -> None:
        """Until what was planned has been asked for: who gave a request up may have been faster than it."""
        deadline = time.monotonic() + seconds
        while self.script and time.monotonic() < deadline:
            time.sleep(0.01)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A running server."""
    http = _Server(("127.0.0.1", 0), _Handler)
    http.model = server = ModelServer(f"http://127.0.0.1:{http.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # hundreds of clients come at once

    def handle_error(self, *_: Any) -> None:
        """Clients hang up: that is what is tried."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer(self) -> None:
        server: ModelServer = self.server.model  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        step = server.script.popleft() if server.script else "ok"
        server.asked.append(Asked(self.path, dict(self.headers), body, step))
        if "stream_options" in body and not server.knows_stream_options:
            step = 400
        if step == "slow":
            time.sleep(PAUSE)
        if step == "drop":
            self.close_connection = True
            self.connection.close()
        elif step == "key":
            key = self.headers.get("x-goog-api-key") or self.headers["authorization"].rpartition(" ")[2]
            self._send(401, {"error": {"message": f"no such key: {key}"}, "message": key})
        elif isinstance(step, int):
            self._send(step, _error(self.path, step, body, knows=server.knows_stream_options))
        elif step in ("garbage", "page", "empty"):
            kind = "text/html" if step == "page" else "application/json"
            content = {"garbage": b'{"id": "x", "cho', "page": b"<html>", "empty": b"{}"}[str(step)]
            if is_stream(self.path, body) and step == "garbage":
                self._stream([{"line" if self.path.startswith("/api/") else "data": '{"id": "x", "cho'}], step)
            else:
                self._send(200, content, kind)
        elif is_stream(self.path, body):
            self._stream(_events(self.path, body, step), step)
        else:
            self._send(200, _whole(self.path, body, step))

    def _send(self, status: int, content: Any, kind: str = "application/json") -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self._head(kind)
        self.send_header("content-length", str(len(data)))
        if status in (408, 409, 429) or status >= 500:
            self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def _head(self, kind: str) -> None:
        self.send_header("content-type", kind)
        self.send_header("x-request-id", "req-7")
        self.send_header("request-id", "req-7")
        if (speech := speech_of(self.path)) is not None:
            for name, value in speech.headers.items():
                self.send_header(name, value)

    def _stream(self, events: list[dict[str, Any]], step: Step) -> None:
        self.send_response(200)
        self._head("application/x-ndjson" if "line" in events[0] else "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for place, event in enumerate(events):
            if step == "stall" and place == len(events) // 2:
                time.sleep(PAUSE)
            if step == "cut" and place == len(events) // 2:
                self.close_connection = True
                self.connection.close()
                return
            name = f"event: {event['event']}\n" if event.get("event") else ""
            said = f"{as_json(event['line'])}\n" if "line" in event else f"{name}data: {as_json(event['data'])}\n\n"
            text = said.encode()
            self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def _error(path: str, status: int, body: Mapping[str, Any], *, knows: bool) -> dict[str, Any]:
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "api_error")
    if (speech := speech_of(path)) is not None:
        return speech.error(status)
    if path.startswith("/v1/messages"):
        return {"type": "error", "error": {"type": kind, "message": f"a {status}"}}
    message = f"a {status}" if knows else "Unrecognized request argument supplied: stream_options"
    return {"error": {"message": message, "type": kind, "code": None, "param": None}}


# What each format says


def _whole(path: str, body: dict[str, Any], step: Step) -> dict[str, Any]:
    if (speech := speech_of(path)) is not None:
        return speech.whole(path, body, step)
    form = path.split("?")[0].rpartition("/v1/")[2]
    prompt = words(body.get("messages", body.get("input"))) + words(body.get("system"))
    served = f"{body.get('model')}-2026"
    if form == "messages":
        return _message(served, prompt, step)
    if form == "embeddings":
        items = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
        return {
            "object": "list",
            "data": items,
            "model": served,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
        }
    if form == "responses":
        return _response(served, prompt, step)
    if form == "completions":
        return _text_completion(served, words(body.get("prompt")))
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
    if step == "tool":
        call = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(TOOL)}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": served,
        "service_tier": "default",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "length" if body.get("max_tokens") == 1 else "stop"}
        ],
        "usage": _usage(prompt),
    }


def _text_completion(served: str, prompt: int) -> dict[str, Any]:
    choice = {"index": 0, "text": ANSWER, "finish_reason": "stop", "logprobs": None}
    base = {"id": "c-1", "object": "text_completion", "created": 1, "model": served}
    return {**base, "choices": [choice], "usage": _usage(prompt)}


def _usage(prompt: int) -> dict[str, Any]:
    out = len(ANSWER.split())
    return {
        "prompt_tokens": prompt,
        "completion_tokens": out,
        "total_tokens": prompt + out,
        "prompt_tokens_details": {"cached_tokens": min(CACHED, prompt)},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def _message(served: str, prompt: int, step: Step) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": ANSWER}]
    if step == "tool":
        content = [{"type": "tool_use", "id": "call-1", "name": "weather", "input": TOOL}]
    return {
        "id": "c-1",
        "type": "message",
        "role": "assistant",
        "model": served,
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": prompt - min(CACHED, prompt),
            "cache_read_input_tokens": min(CACHED, prompt),
            "cache_creation_input_tokens": 0,
            "output_tokens": len(ANSWER.split()),
            "service_tier": "standard",
        },
    }


def _response(served: str, prompt: int, step: Step) -> dict[str, Any]:
    out = len(ANSWER.split())
    item: dict[str, Any] = {
        "type": "message",
        "id": "m-1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
    }
    if step == "tool":
        item = {"type": "function_call", "id": "f-1", "call_id": "call-1", "name": "weather"}
        item |= {"arguments": json.dumps(TOOL), "status": "completed"}
    return {
        "id": "c-1",
        "object": "response",
        "created_at": 1,
        "model": served,
        "status": "completed",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": "default",
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": min(CACHED, prompt)},
            "output_tokens": out,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": prompt + out,
        },
    }


def _events(path: str, body: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    whole = _whole(path, body, step)
    if (speech := speech_of(path)) is not None:
        return speech.events(whole, step)
    if path.split("?")[0].endswith("/messages"):
        return _message_events(whole, step)
    if path.endswith("/responses"):
        return _response_events(whole, step)
    return _chunks(whole, step, asks_usage=bool((body.get("stream_options") or {}).get("include_usage")))


def _chunks(whole: dict[str, Any], step: Step, *, asks_usage: bool) -> list[dict[str, Any]]:
    message = whole["choices"][0]["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if calls := message.get("tool_calls"):
        text = calls[0]["function"]["arguments"]
        deltas.append({"tool_calls": [{**calls[0], "index": 0, "function": {"name": "weather", "arguments": ""}}]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in (text[:5], text[5:])]
    else:
        deltas += [{"content": word} for word in pieces()]
    base = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": whole["model"]}
    base |= {"service_tier": "default", **({"usage": None} if asks_usage else {})}
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if step == "error":
        return [{"data": chunk} for chunk in chunks[:3]] + [{"data": _error("", 500, {}, knows=True)}]
    if step != "truncated":
        finish = whole["choices"][0]["finish_reason"]
        chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if asks_usage:
            chunks.append({**base, "choices": [], "usage": whole["usage"]})
    return [*({"data": chunk} for chunk in chunks), *([] if step == "truncated" else [{"data": "[DONE]"}])]


def _message_events(whole: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    block = whole["content"][0]
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    if block["type"] == "tool_use":
        text = json.dumps(TOOL)
        events.append({"type": "content_block_start", "index": 0, "content_block": {**block, "input": {}}})
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", text[:5], text[5:])]
    else:
        events.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        deltas = [{"type": "text_delta", "text": word} for word in pieces()]
    events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    if step == "error":
        events = [*events[:4], {"type": "error", "error": {"type": "overloaded_error", "message": "too much"}}]
    elif step != "truncated":
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        counted = {"output_tokens": whole["usage"]["output_tokens"], "output_tokens_details": {"thinking_tokens": 1}}
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": delta, "usage": counted},
            {"type": "message_stop"},
        ]
    return [{"event": event["type"], "data": event} for event in events]


def _response_events(whole: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    item = whole["output"][0]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"output_index": 0, "item_id": item["id"]}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    if item["type"] == "function_call":
        events.append({"type": "response.output_item.added", **place, "item": {**item, "arguments": ""}})
        kind, deltas = "response.function_call_arguments.delta", [item["arguments"][:5], item["arguments"][5:]]
    else:
        events.append({"type": "response.output_item.added", **place, "item": {**item, "content": []}})
        part = {"type": "output_text", "text": "", "annotations": []}
        events.append({"type": "response.content_part.added", **place, "content_index": 0, "part": part})
        kind, deltas = "response.output_text.delta", pieces()
    events += [{"type": kind, **place, "content_index": 0, "delta": piece, "logprobs": []} for piece in deltas]
    if step == "error":
        events = [*events[:4], {"type": "error", "code": "server_error", "message": "too much", "param": None}]
    elif step != "truncated":
        if item["type"] == "message":
            events.append({"type": "response.output_text.done", **place, "content_index": 0, "text": ANSWER})
            events[-1]["logprobs"] = []
        events.append({"type": "response.output_item.done", **place, "item": item})
        events.append({"type": "response.completed", "response": whole})
    for number, event in enumerate(events):
        event["sequence_number"] = number
    return [{"event": event["type"], "data": event} for event in events]
