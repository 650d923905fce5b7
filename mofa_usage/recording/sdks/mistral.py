"""Mistral, and its clients of Azure and Google Cloud: sync and async methods of one client."""

from typing import Any

from mofa_usage.recording.formats.mistral_chat import MISTRAL_CHAT, MISTRAL_FIM
from mofa_usage.recording.formats.others import EMBEDDINGS, SPEECH, TRANSCRIPTIONS
from mofa_usage.recording.formats.responses import RESPONSES
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.classes import check_methods
from mofa_usage.recording.sdks.speakeasy import SENDING, record_part
from mofa_usage.recording.sdks.transport import Kind, record_http_client

__all__ = ["MISTRAL"]

_KIND = Kind(
    provider="mistral",
    formats={
        "/chat/completions": MISTRAL_CHAT,
        "/agents/completions": MISTRAL_CHAT,
        "/fim/completions": MISTRAL_FIM,
        "/responses": RESPONSES,
        "/embeddings": EMBEDDINGS,
        "/audio/transcriptions": TRANSCRIPTIONS,
        "/audio/speech": SPEECH,
    },
    request_id_headers=("mistral-correlation-id", "x-request-id", "x-kong-request-id"),
    error_name="SDKError",
)
_MODULES = ("mistralai.client.sdk", "mistralai.azure.client.sdk", "mistralai.gcp.client.sdk")


class _Mistral:
    takes = ("Mistral", "MistralAzure", "MistralGCP")

    def wrap(self, client: Any, observer: Observer) -> Any:
        if not any(cls.__module__ in _MODULES for cls in type(client).__mro__):
            return None
        configuration = getattr(client, "sdk_configuration", None)
        check_methods(type(client), SENDING, "mistralai", "mistral")
        for name in ("client", "async_client"):
            http = getattr(configuration, name, None)
            if http is not None:  # it was closed
                record_http_client(http, _KIND, observer, is_async=name == "async_client")
        return record_part(client, observer)


MISTRAL = _Mistral()
