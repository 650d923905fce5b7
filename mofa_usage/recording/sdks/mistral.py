"""Mistral, and its clients of Azure and Google Cloud: sync and async methods of one client.

All of them are made of parts (`client.chat`, `client.beta.conversations`, ...) of which each sends by `do_request`,
where the client tries again: it is the user's call, and what goes through the transport meanwhile are its attempts. So
each part is given a subclass of its class; parts that are made later are given theirs when they are asked for.
"""

from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.recording.formats.mistral_chat import MISTRAL_CHAT, MISTRAL_FIM
from mofa_usage.recording.formats.others import EMBEDDINGS, SPEECH, TRANSCRIPTIONS
from mofa_usage.recording.formats.responses import RESPONSES
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.transport import Kind, calling, record_http_client

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
_SENDING = ("do_request", "do_request_async")
_MODULES = ("mistralai.client.sdk", "mistralai.azure.client.sdk", "mistralai.gcp.client.sdk")


class _Mistral:
    takes = ("Mistral", "MistralAzure", "MistralGCP")

    def wrap(self, client: Any, observer: Observer) -> Any:
        if not any(cls.__module__ in _MODULES for cls in type(client).__mro__):
            return None
        configuration = getattr(client, "sdk_configuration", None)
        if missing := [name for name in _SENDING if not hasattr(client, name)]:
            raise UsageError(
                f"this version of mistralai cannot be recorded, it has no {', '.join(missing)}: "
                "pip install 'mofa-usage[mistral]' installs one that can"
            )
        for name in ("client", "async_client"):
            http = getattr(configuration, name, None)
            if http is not None:  # it was closed
                record_http_client(http, _KIND, observer, is_async=name == "async_client")
        return _record_part(client, observer)


def _record_part(part: Any, observer: Observer) -> Any:
    """The same part of a client, and those that it has, recorded."""
    plain = type(part)
    if any(vars(cls).get("_mofa_usage_observer") is observer for cls in plain.__mro__):
        return part
    own = {
        **_hooks(plain, observer),
        "_mofa_usage_observer": observer,
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
    }
    part.__class__ = type(plain.__name__, (plain,), own)
    for inner in list(vars(part).values()):
        if _is_part(inner):
            _record_part(inner, observer)
    return part


def _is_part(value: Any) -> bool:
    return all(hasattr(type(value), name) for name in _SENDING)


def _hooks(plain: Any, observer: Observer) -> dict[str, Any]:
    def do_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        with calling(observer):
            return plain.do_request(self, *args, **kwargs)

    async def do_request_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        with calling(observer):
            return await plain.do_request_async(self, *args, **kwargs)

    def look_up(self: Any, name: str) -> Any:
        found = plain.__getattr__(self, name)  # made now
        return _record_part(found, observer) if _is_part(found) else found

    hooks: dict[str, Any] = {"do_request": do_request, "do_request_async": do_request_async}
    return {**hooks, "__getattr__": look_up} if hasattr(plain, "__getattr__") else hooks


MISTRAL = _Mistral()
