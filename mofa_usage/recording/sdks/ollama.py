"""Ollama's Client and AsyncClient, which try nothing again: each HTTP request is a call."""

from typing import Any

from mofa_usage.recording.formats.ollama_chat import OLLAMA_CHAT, OLLAMA_EMBEDDINGS, OLLAMA_GENERATE
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.classes import give_class
from mofa_usage.recording.sdks.streams import streaming
from mofa_usage.recording.sdks.transport import Kind, record_http_client

__all__ = ["OLLAMA"]

_KIND = Kind(
    provider="ollama",
    formats={
        "/api/chat": OLLAMA_CHAT,
        "/api/generate": OLLAMA_GENERATE,
        "/api/embed": OLLAMA_EMBEDDINGS,
        "/api/embeddings": OLLAMA_EMBEDDINGS,
    },
    request_id_headers=("x-request-id",),
    error_name="ResponseError",
)


class _Ollama:
    takes = ("Client", "AsyncClient")

    def wrap(self, client: Any, observer: Observer) -> Any:
        import ollama

        if not isinstance(client, ollama.Client | ollama.AsyncClient):
            return None
        is_async = isinstance(client, ollama.AsyncClient)
        record_http_client(client._client, _KIND, observer, is_async=is_async)
        give_class(client, observer, lambda plain: streaming(plain, "chat", "generate", is_async=is_async))
        return client


OLLAMA = _Ollama()
