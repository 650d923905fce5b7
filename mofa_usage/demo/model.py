"""A model to try recording on, when there is none at hand: an HTTP server of this machine that makes its answers up.

```python
with LocalModel() as model:
    print(model.base_url)  # for OpenAI(base_url=..., api_key="anything")
```

It speaks OpenAI's chat completions, whole and streamed, well enough for the real SDK: ids, usage with cached and
reasoning tokens, rate limits now and then, which the SDK tries again. Words are its tokens, and it takes its time for
them. What it says means nothing; the same questions in the same order get the same answers.
"""

import json
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["LocalModel"]

_TEXT = (
    "a call is what an agent pays for and a session is where it happens so keep both and ask later which of them cost "
    "most how long the first token took and why the same prompt was sent twice"
)
_FIRST_SECONDS, _WORD_SECONDS = 0.03, 0.002
_PATH = "/v1/chat/completions"


class LocalModel:
    """The server, at work until `close()`.

    Args:
        busy_rate: the share of requests that are told to come back later (HTTP 429).
        seed: another one gives other answers.
    """

    def __init__(self, *, busy_rate: float = 0.05, seed: int = 2026) -> None:
        self._random = random.Random(seed)  # noqa: S311 (answers, not secrets)
        self._busy_rate = busy_rate
        self._lock = threading.Lock()
        self._asked = 0
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, name="local-model", daemon=True).start()

    @property
    def base_url(self) -> str:
        """What a client of OpenAI takes as its `base_url`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        """End it; closing twice does nothing."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, body: dict[str, Any]) -> "tuple[str, list[str], dict[str, Any]] | None":
        """An id, the words of an answer and what they use; None where the model is busy."""
        with self._lock:
            self._asked += 1
            number, chance = self._asked, self._random.random()
            words = self._random.choices(_TEXT.split(), k=self._random.randint(15, 90))
            thought = self._random.randint(0, 40)
        if chance < self._busy_rate:
            return None
        prompt = sum(len(str(message.get("content") or "").split()) + 4 for message in body.get("messages", ()))
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": len(words) + thought,
            "total_tokens": prompt + len(words) + thought,
            "prompt_tokens_details": {"cached_tokens": prompt // 2 if prompt > 100 else 0},
            "completion_tokens_details": {"reasoning_tokens": thought},
        }
        return f"chatcmpl-local-{number}", words, usage


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # an agent asks many things at once


def _handler(model: LocalModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
            if self.path != _PATH:
                return self._send(404, {"error": {"message": f"there is only {_PATH} here", "code": "not_found"}})
            found = model.answer(body)
            if found is None:
                error = {"message": "busy, come back later", "type": "requests", "code": "rate_limit_exceeded"}
                return self._send(429, {"error": error}, ("retry-after-ms", "50"))
            number, words, usage = found
            head = {"id": number, "created": int(datetime.now(UTC).timestamp()), "model": body.get("model", "local")}
            time.sleep(_FIRST_SECONDS)
            if body.get("stream"):
                asked = bool((body.get("stream_options") or {}).get("include_usage"))
                return self._stream(_chunks(head, words, usage if asked else None))
            time.sleep(_WORD_SECONDS * len(words))
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self._send(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})

        def _send(self, status: int, document: dict[str, Any], *headers: tuple[str, str]) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (("content-type", "application/json"), ("content-length", str(len(data))), *headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            try:
                for chunk in chunks:
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                    time.sleep(_WORD_SECONDS)
                self.wfile.write(b"data: [DONE]\n\n")
            except ConnectionError:
                return  # whoever asked has left
            self.close_connection = True

        def log_message(self, *args: Any) -> None:
            """Say nothing: it would be printed between the lines of a notebook."""

    return Handler


def _chunks(head: dict[str, Any], words: list[str], usage: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    head = {**head, "object": "chat.completion.chunk"}
    for position, word in enumerate(words):
        delta = {"content": word if position == 0 else f" {word}", **({} if position else {"role": "assistant"})}
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if usage is not None:
        yield {**head, "choices": [], "usage": usage}
