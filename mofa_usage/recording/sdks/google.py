"""Google's genai.Client, and its asynchronous side `client.aio`.

What it asks of Gemini is seen at the client of the API behind it (`google_api.py`). Its interactions are another client
inside, made when it is asked for, which sends by the clients of httpx alone: they are seen in the transport.
"""

from collections.abc import Callable
from typing import Any

from mofa_usage.recording.formats.google_interactions import GOOGLE_INTERACTIONS
from mofa_usage.recording.observed import Observer
from mofa_usage.recording.sdks.classes import give_class
from mofa_usage.recording.sdks.google_api import record_api
from mofa_usage.recording.sdks.speakeasy import record_part
from mofa_usage.recording.sdks.streams import streaming
from mofa_usage.recording.sdks.transport import Kind, record_http_client

__all__ = ["GOOGLE"]

_INTERACTIONS = Kind(
    provider="google",
    formats={"/interactions": GOOGLE_INTERACTIONS},
    request_id_headers=("x-request-id",),
    error_name="APIStatusError",
)


class _Google:
    takes = ("genai.Client", "its .aio")

    def wrap(self, client: Any, observer: Observer) -> Any:
        if not any(cls.__module__ == "google.genai.client" for cls in type(client).__mro__):
            return None  # of another package of Google's
        from google.genai.client import AsyncClient, Client

        if not isinstance(client, Client | AsyncClient):
            return None
        if record_api(client._api_client, observer):
            _record_http(client._api_client, observer)
        _record_side(client, observer, is_async=isinstance(client, AsyncClient))
        if isinstance(client, Client):
            _record_side(client.aio, observer, is_async=True)
        return client


GOOGLE = _Google()


def _record_side(client: Any, observer: Observer, *, is_async: bool) -> None:
    """A client of the two of which one is asynchronous: what it is made of, and makes."""

    def properties(plain: Any) -> dict[str, Any]:
        def chats(self: Any) -> Any:
            made = plain.chats.fget(self)
            give_class(made, observer, creating)
            return made

        def interactions(self: Any) -> Any:
            return record_part(plain.interactions.fget(self), observer)

        return {"chats": property(chats), "interactions": property(interactions)}

    def creating(plain: Any) -> dict[str, Any]:
        def create(self: Any, *args: Any, **kwargs: Any) -> Any:
            chat = plain.create(self, *args, **kwargs)
            give_class(chat, observer, lambda plain: streaming(plain, "send_message_stream", is_async=is_async))
            return chat

        return {"create": create}

    give_class(client, observer, properties)
    give_class(client.models, observer, lambda plain: streaming(plain, "generate_content_stream", is_async=is_async))


def _record_http(api: Any, observer: Observer) -> None:
    """The clients of HTTP; the asynchronous one makes one for each event loop, when that needs it."""
    record_http_client(api._httpx_client, _INTERACTIONS, observer, is_async=False)
    if (http := api._async_httpx_client) is None:  # with Google's own credentials
        return
    record_http_client(http, _INTERACTIONS, observer, is_async=True)
    if (make := getattr(http, "_inner_client_cls", None)) is not None:
        http._inner_client_cls = _recorded(make, observer)
        for made in http._loop_clients.values():
            record_http_client(made, _INTERACTIONS, observer, is_async=True)


def _recorded(make: Callable[..., Any], observer: Observer) -> Callable[..., Any]:
    def made(**options: Any) -> Any:
        client = make(**options)
        record_http_client(client, _INTERACTIONS, observer, is_async=True)
        return client

    return made
