"""Google's client of the API behind `genai.Client`: Gemini, at Google's API or at Vertex.

It sends by httpx2 or httpx, by aiohttp where that is installed (its asynchronous side), or by requests (with Google's
own credentials). So it is not looked at in a transport, but where all of these meet: it is given a subclass of its
class with these methods and nothing else:

| method | what is seen there |
|---|---|
| `request`, `request_streamed`, `async_...` | the user's call, and what it returns or raises, chunk by chunk |
| `_request_once`, `_async_request_once` | each attempt, with what the network raised or the server answered |

The last two are private: a client without them is refused, and the extra pins the versions that were tried.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, islice
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mofa_usage.recording.formats.answers import Format
from mofa_usage.recording.formats.google_contents import GOOGLE_CONTENTS, GOOGLE_EMBEDDINGS
from mofa_usage.recording.formats.others import IMAGES
from mofa_usage.recording.observed import Attempt, Observer, Request
from mofa_usage.recording.sdks.classes import check_methods, give_class
from mofa_usage.recording.sdks.hosts import provider_at
from mofa_usage.recording.sdks.streams import AsyncTapped, Body, tapped
from mofa_usage.recording.sdks.transport import secrets_in

__all__ = ["record_api"]

_CURRENT: ContextVar["_Call | None"] = ContextVar("mofa_usage_google_call", default=None)
_METHODS = ("request", "request_streamed", "async_request", "async_request_streamed")
_SENDING = ("_request_once", "_async_request_once")
_TIER, _REQUEST_ID = "x-gemini-service-tier", "x-request-id"  # the second is a gateway's: Google names no request
_FORMATS: Mapping[str, Format] = {
    "generateContent": GOOGLE_CONTENTS,
    "streamGenerateContent": GOOGLE_CONTENTS,
    "embedContent": GOOGLE_EMBEDDINGS,
    "batchEmbedContents": GOOGLE_EMBEDDINGS,
}


def record_api(api: Any, observer: Observer) -> bool:
    """What this client of the API sends is observed from now on; whether it was not before.

    Raises:
        UsageError: the installed version of the SDK is built in another way.
    """
    check_methods(type(api), (*_METHODS, *_SENDING), "google-genai", "google-genai")
    return give_class(api, observer, lambda plain: {**_hooks(plain, observer), **_async_hooks(plain, observer)})


def _form_of(path: str) -> tuple[Format | None, str]:
    """The format of a path, and the model in it: `models/gemini-3-flash:generateContent?alt=sse`."""
    before, _, method = path.partition("?")[0].rpartition(":")
    model = before.rpartition("/")[2]
    if method == "predict":  # of Vertex, whatever the model does
        return (GOOGLE_EMBEDDINGS if "embedding" in model or "gecko" in model else IMAGES), model
    return _FORMATS.get(method), model


class _Call:
    """A call of the API of which attempts are to be seen."""

    def __init__(self, observer: Observer, request: Request, outer: "_Call | None", secrets: list[str]) -> None:
        self.observer = observer
        self._secrets = secrets
        self.request = request
        self.outer = outer  # another recorder's
        self.attempt: Attempt | None = None

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Attempt | None:
        try:
            http = args[0] if args else kwargs["http_request"]
            secrets = secrets_in(http.headers, dict(parse_qsl(urlsplit(http.url).query)))
            self.request.secrets = [*secrets, *self._secrets]
            self.attempt = self.request.attempt()
        except Exception as error:
            self.observer.complain(error)
        return self.attempt

    def answered(self, response: Any) -> None:
        """The head of an answer is there, and the body where it is no stream."""
        try:
            if (attempt := self.attempt) is None:
                return
            headers = {name.lower(): value for name, value in response.headers.items()}
            whole = response.response_stream
            is_stream = not isinstance(whole, list)
            attempt.answered(response.status_code, request_id=headers.get(_REQUEST_ID), is_stream=is_stream)
            if tier := headers.get(_TIER):
                attempt.answer.service_tier = tier.lower()
            if not is_stream:
                attempt.add(_json(whole[0] if whole else ""))
                attempt.end()
        except Exception as error:
            self.observer.complain(error)

    def failed(self, error: BaseException) -> None:
        """The user gets this error."""
        if self.attempt is not None:
            self.attempt.end(error)
        self.request.end(error)

    def body(self) -> Body | None:
        """The stream of the last attempt, at the head of which the call returned."""
        self.request.end()
        return None if self.attempt is None else Body(self.attempt)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _call_of(
    api: Any, observer: Observer, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_async: bool
) -> _Call | None:
    """What is to be seen of a call; None where it is none of a model."""
    try:
        given = {**dict(zip(("http_method", "path", "request_dict"), args, strict=False)), **kwargs}
        form, model = _form_of(given["path"])
        if form is None:
            return None
        provider = provider_at(urlsplit(str(api._http_options.base_url)).hostname or "", "google")
        request = observer.request(form, given["request_dict"], provider=provider, model=model, is_async=is_async)
        return _Call(observer, request, _CURRENT.get(), _secrets_of(api))
    except Exception as error:
        observer.complain(error)
        return None


def _secrets_of(api: Any) -> list[str]:
    """What the clients of HTTP that the user gave add to every request."""
    options = api._http_options
    given = [client for client in (options.httpx_client, options.httpx_async_client) if client is not None]
    return [secret for client in given for secret in secrets_in(client.headers, client.params)]


def _mine(observer: Observer) -> _Call | None:
    """The call of now that this observer is to see."""
    call = _CURRENT.get()
    while call is not None and call.observer is not observer:
        call = call.outer
    return call


def _hooks(plain: Any, observer: Observer) -> dict[str, Any]:
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _call_of(self, observer, args, kwargs, is_async=False)) is None:
            return plain.request(self, *args, **kwargs)
        with _now(call):
            result = plain.request(self, *args, **kwargs)
        call.request.end()
        return result

    def request_streamed(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        chunks = plain.request_streamed(self, *args, **kwargs)
        if (call := _call_of(self, observer, args, kwargs, is_async=False)) is not None:
            with _now(call):
                first = list(islice(chunks, 1))  # it is sent when the first chunk is asked for
            chunks = chain(first, chunks)
            if (body := call.body()) is not None:
                try:
                    yield from tapped(_told(chunks, body.attempt), body)
                finally:
                    body.closed()
                return
        yield from chunks

    def sending(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _mine(observer)) is None or (attempt := call.begin(args, kwargs)) is None:
            return plain._request_once(self, *args, **kwargs)
        try:
            response = plain._request_once(self, *args, **kwargs)
        except BaseException as error:
            attempt.end(error)
            raise
        call.answered(response)
        return response

    return {"request": request, "request_streamed": request_streamed, "_request_once": sending}


def _async_hooks(plain: Any, observer: Observer) -> dict[str, Any]:
    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _call_of(self, observer, args, kwargs, is_async=True)) is None:
            return await plain.async_request(self, *args, **kwargs)
        with _now(call):
            result = await plain.async_request(self, *args, **kwargs)
        call.request.end()
        return result

    async def request_streamed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _call_of(self, observer, args, kwargs, is_async=True)) is None:
            return await plain.async_request_streamed(self, *args, **kwargs)
        with _now(call):
            chunks = await plain.async_request_streamed(self, *args, **kwargs)
        return chunks if (body := call.body()) is None else AsyncTapped(_Told(chunks, body.attempt), body)

    async def sending(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _mine(observer)) is None or (attempt := call.begin(args, kwargs)) is None:
            return await plain._async_request_once(self, *args, **kwargs)
        try:
            response = await plain._async_request_once(self, *args, **kwargs)
        except BaseException as error:
            attempt.end(error)
            raise
        call.answered(response)
        return response

    return {"async_request": request, "async_request_streamed": request_streamed, "_async_request_once": sending}


@contextmanager
def _now(call: _Call) -> Iterator[None]:
    """What is sent within are attempts at this call."""
    token = _CURRENT.set(call)
    try:
        yield
    except BaseException as error:
        call.failed(error)
        raise
    finally:
        _CURRENT.reset(token)


def _told(chunks: Iterator[Any], attempt: Attempt) -> Iterator[Any]:
    for chunk in chunks:
        attempt.add(_json(chunk.body))
        yield chunk


class _Told:
    """The same for an asynchronous iterator. No generator: one that is dropped is closed by nobody knows whom."""

    def __init__(self, chunks: AsyncIterator[Any], attempt: Attempt) -> None:
        self._chunks = chunks
        self._attempt = attempt

    def __aiter__(self) -> "_Told":
        return self

    async def __anext__(self) -> Any:
        chunk = await anext(self._chunks)
        self._attempt.add(_json(chunk.body))
        return chunk
