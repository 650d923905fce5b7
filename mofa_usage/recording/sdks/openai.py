"""OpenAI, AsyncOpenAI, Azure's of both, and every compatible server that they are pointed at."""

from typing import Any

from mofa_usage.recording.formats.answers import Format
from mofa_usage.recording.formats.chat_completions import CHAT_COMPLETIONS
from mofa_usage.recording.formats.others import EMBEDDINGS, IMAGES, SPEECH, TEXT_COMPLETIONS, TRANSCRIPTIONS
from mofa_usage.recording.formats.responses import RESPONSES
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.hosts import provider_at
from mofa_usage.recording.sdks.stainless import Kind, record_client

__all__ = ["OPENAI"]

_FORMATS: dict[str, Format] = {
    "/chat/completions": CHAT_COMPLETIONS,
    "/responses": RESPONSES,
    "/completions": TEXT_COMPLETIONS,
    "/embeddings": EMBEDDINGS,
    "/images/generations": IMAGES,
    "/images/edits": IMAGES,
    "/audio/speech": SPEECH,
    "/audio/transcriptions": TRANSCRIPTIONS,
    "/audio/translations": TRANSCRIPTIONS,
}


def _provider_of(client: Any) -> str:
    return "azure" if hasattr(client, "_azure_endpoint") else provider_at(client.base_url.host, "openai")


def _secrets_of(client: Any) -> list[str]:
    keys = (getattr(client, name, None) for name in ("api_key", "admin_api_key", "_azure_ad_token"))
    return [key for key in keys if isinstance(key, str) and key]


_KIND = Kind(
    name="openai",
    sending="_send_request",
    response_of=lambda response: response,
    request_id_header="x-request-id",
    body_of=lambda args: None,
    parsing_raw="true",
    form_of=_FORMATS.get,
    provider_of=_provider_of,
    secrets_of=_secrets_of,
    asks_usage=lambda form: form is CHAT_COMPLETIONS or form is TEXT_COMPLETIONS,
)


class _OpenAI:
    takes = ("OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI")

    def wrap(self, client: Any, observer: Observer) -> Any:
        import openai

        if isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
            is_async = isinstance(client, openai.AsyncOpenAI)
            return record_client(client, _KIND, observer, is_async=is_async)
        return None


OPENAI = _OpenAI()
