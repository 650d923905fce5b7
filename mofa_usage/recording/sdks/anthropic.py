"""Anthropic and AsyncAnthropic, and those of Bedrock, Vertex and the like, which have the same base."""

from collections.abc import Mapping
from typing import Any

from mofa_usage.recording.formats.answers import Format
from mofa_usage.recording.formats.anthropic_messages import ANTHROPIC_MESSAGES
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.hosts import provider_at
from mofa_usage.recording.sdks.stainless import Kind, record_client

__all__ = ["ANTHROPIC"]


def _form_of(path: str) -> Format | None:
    return ANTHROPIC_MESSAGES if path == "/v1/messages" else None


def _provider_of(client: Any) -> str:
    name = type(client).__name__
    seller = next((seller for word, seller in (("Bedrock", "aws"), ("Vertex", "gcp.vertex_ai")) if word in name), None)
    return seller or provider_at(client.base_url.host, "anthropic")


def _secrets_of(client: Any) -> list[str]:
    keys = (getattr(client, name, None) for name in ("api_key", "auth_token", "aws_secret_key", "access_token"))
    return [key for key in keys if isinstance(key, str) and key]


def _body_of(args: tuple[Any, ...]) -> Mapping[str, Any] | None:
    """What the SDK has made of models and iterators in the body when it sends it."""
    body = args[0].json_data
    return body if isinstance(body, Mapping) else None


_KIND = Kind(
    name="anthropic",
    sending="_attempt_request",
    response_of=lambda sent: sent[0],
    request_id_header="request-id",
    body_of=_body_of,
    parsing_raw=None,
    form_of=_form_of,
    provider_of=_provider_of,
    secrets_of=_secrets_of,
    asks_usage=lambda form: False,
)


class _Anthropic:
    takes = ("Anthropic", "AsyncAnthropic")

    def wrap(self, client: Any, observer: Observer) -> Any:
        from anthropic import _base_client as base

        for cls, is_async in ((base.SyncAPIClient, False), (base.AsyncAPIClient, True)):
            if isinstance(client, cls):
                return record_client(client, _KIND, observer, is_async=is_async)
        return None


ANTHROPIC = _Anthropic()
