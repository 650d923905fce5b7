"""Clients that send by httpx or httpx2, recorded by one transport around the one that they have.

A transport sends one HTTP request: an attempt. What the network raises is seen there, and the answer's bytes are read
beside the client (`wire.py`), which gets the same response. What a client makes of them is not seen, and not needed.

httpx has no public way to give a client that exists another transport, so `_transport` is set, and those for some
addresses in `_mounts`; the extras pin the SDKs, whose versions bring httpx's. A client stays itself, with its
connections, time-outs, hooks and proxies.

An SDK that tries again sends several HTTP requests for one call of its user. Where its integration can put `calling`
around such a call, its attempts belong together; else each HTTP request is a request of its own.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.recording.formats.answers import Format
from mofa_usage.recording.observed import Attempt, Observer, Request
from mofa_usage.recording.sdks.hosts import provider_at
from mofa_usage.recording.sdks.streams import Body, watched
from mofa_usage.recording.sdks.wire import Wire

__all__ = ["Kind", "calling", "record_http_client", "secrets_in"]

_CALLS: ContextVar[tuple["_Call", ...]] = ContextVar("mofa_usage_calls", default=())
_KEYS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
_REDIRECTS = (307, 308)  # the others are followed without the body
_EXTENSION = "mofa_usage"


@dataclass(frozen=True)
class Kind:
    """What the HTTP requests of one SDK have of their own.

    Attributes:
        provider: who is asked at an address that nobody knows; a label.
        formats: end of a path -> the format of what is asked there; other paths are no calls of a model.
        request_id_headers: where the server names the request; the first that is there counts.
        error_name: the class of the exception that the SDK has for an answer with an error.
    """

    provider: str
    formats: Mapping[str, Format]
    request_id_headers: Sequence[str]
    error_name: str

    def form_of(self, path: str) -> Format | None:
        """The format of a path."""
        return next((form for end, form in self.formats.items() if path.endswith(end)), None)


class _Call:
    """A call of the SDK, of which the first attempt says what it is."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self.request: Request | None = None
        self.is_over = False


@contextmanager
def calling(observer: Observer) -> Iterator[None]:
    """What is sent within is one call of the SDK, in as many attempts as it takes; streams may end later."""
    call = _Call(observer)
    token = _CALLS.set((*_CALLS.get(), call))
    try:
        yield
    finally:
        _CALLS.reset(token)
        call.is_over = True  # a task that was started within may live longer
        if call.request is not None:
            call.request.end()


def record_http_client(client: Any, kind: Kind, observer: Observer, *, is_async: bool) -> None:
    """From now on what this client of httpx or httpx2 sends is observed.

    Raises:
        UsageError: it is built in another way.
    """
    if not hasattr(client, "_transport") or not isinstance(getattr(client, "_mounts", None), dict):
        what = f"{type(client).__module__}.{type(client).__qualname__}"
        raise UsageError(f"what is sent by a {what} cannot be recorded: a client of httpx or httpx2 is needed")
    kind_of = _AsyncRecording if is_async else _Recording
    client._transport = kind_of.around(client._transport, kind, observer)
    for pattern, transport in client._mounts.items():
        if transport is not None:  # those without one of their own take the usual one
            client._mounts[pattern] = kind_of.around(transport, kind, observer)


def secrets_in(headers: Mapping[str, str], parameters: Mapping[str, str]) -> list[str]:
    """The keys in a request; names of headers are in any case."""
    named = {name.lower(): value for name, value in headers.items()}
    words = [named[key].rpartition(" ")[2] for key in _KEYS if isinstance(named.get(key), str)]
    return [word for word in (*words, parameters.get("key")) if word]


class _AnyRecording:
    """Stands for a transport; whatever else is asked of it, that one answers."""

    def __init__(self, transport: Any, kind: Kind, observer: Observer) -> None:
        self._transport = transport
        self._kind = kind
        self._observer = observer

    @classmethod
    def around(cls, transport: Any, kind: Kind, observer: Observer) -> Any:
        """The transport, recorded; as it is where it is already."""
        inner = transport
        while isinstance(inner, _AnyRecording):
            if inner._observer is observer and inner._kind is kind:
                return transport
            inner = inner._transport
        return cls(transport, kind, observer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _begin(self, request: Any, *, is_async: bool) -> Attempt | None:
        try:
            if request.method != "POST" or (form := self._kind.form_of(request.url.path)) is None:
                return None
            if (redirected := request.extensions.get(_EXTENSION)) is not None:
                attempt: Attempt = redirected
                return attempt
            calls = (call for call in _CALLS.get() if call.observer is self._observer and not call.is_over)
            call = next(calls, None)
            if call is not None and call.request is not None:
                return call.request.attempt()
            made = self._observer.request(
                form,
                _JsonBody(request),
                provider=provider_at(request.url.host, self._kind.provider),
                secrets=secrets_in(request.headers, request.url.params),
                is_async=is_async,
            )
            attempt = made.attempt()
            if call is None:
                made.end()  # nobody knows whether it is tried again
            else:
                call.request = made
            return attempt
        except Exception as error:
            self._observer.complain(error)
            return None

    def _answered(self, request: Any, response: Any, attempt: Attempt, *, is_async: bool) -> None:
        try:
            if response.status_code in _REDIRECTS and "location" in response.headers:
                request.extensions[_EXTENSION] = attempt  # httpx gives them to the request that follows
                return
            body = _AnswerBody(attempt, response, self._kind)
            if response.is_closed:  # it is there as a whole, as transports for tests make it
                body.wire.feed(response.content)
                body.end()
            else:
                response.stream = watched(response.stream, body, response, is_async=is_async)
        except Exception as error:
            self._observer.complain(error)


class _Recording(_AnyRecording):
    def __enter__(self) -> "_Recording":
        self._transport.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._transport.__exit__(*raised)

    def close(self) -> None:
        self._transport.close()

    def handle_request(self, request: Any) -> Any:
        if (attempt := self._begin(request, is_async=False)) is None:
            return self._transport.handle_request(request)
        try:
            response = self._transport.handle_request(request)
        except BaseException as error:
            attempt.end(error)
            raise
        self._answered(request, response, attempt, is_async=False)
        return response


class _AsyncRecording(_AnyRecording):
    async def __aenter__(self) -> "_AsyncRecording":
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._transport.__aexit__(*raised)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def handle_async_request(self, request: Any) -> Any:
        if (attempt := self._begin(request, is_async=True)) is None:
            return await self._transport.handle_async_request(request)
        try:
            response = await self._transport.handle_async_request(request)
        except BaseException as error:
            attempt.end(error)
            raise
        self._answered(request, response, attempt, is_async=True)
        return response


class _JsonBody(Mapping[str, Any]):
    """The body of an HTTP request, read when it is asked for: when the attempt has ended."""

    def __init__(self, request: Any) -> None:
        self._request = request

    @cached_property
    def _data(self) -> Mapping[str, Any]:
        if "json" not in self._request.headers.get("content-type", "").lower():
            return {}  # a file
        try:
            data = json.loads(self._request.content)
        except (ValueError, RuntimeError):  # no JSON, or a body that was streamed
            return {}
        return data if isinstance(data, dict) else {}

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


class _AnswerBody(Body):
    """The body of an answer or of a refusal, as the client reads it."""

    wire: Wire

    def __init__(self, attempt: Attempt, response: Any, kind: Kind) -> None:
        self._status = response.status_code
        self._is_refusal = self._status >= 400
        self._refusals: list[Any] = []
        self._error_name = kind.error_name
        self._request_id = next(
            (found for name in kind.request_id_headers if (found := response.headers.get(name))), None
        )
        self._is_over = False
        headers = response.headers
        if response.is_closed:
            headers = {"content-type": headers.get("content-type", "")}  # its content is decoded
        add: Callable[[Any], None] = self._refusals.append if self._is_refusal else attempt.add
        wire = Wire(headers, add, lambda: not (self._is_refusal or attempt.answer.has_content))
        super().__init__(attempt, wire)
        self._answered(is_stream=wire.is_stream and not self._is_refusal)

    def _answered(self, *, is_stream: bool) -> None:
        self._is_stream = is_stream
        self.attempt.answered(self._status, request_id=self._request_id, is_stream=is_stream)

    def end(self, error: BaseException | None = None, *, was_closed: bool = False) -> None:
        if self._is_over:
            return
        self._is_over = True
        try:
            if not self._is_stream:
                self._answered(is_stream=False)  # now it is there; before it was its head
            self.wire.end()
            if self._is_refusal:
                said = self._refusals[-1] if self._refusals else None
                self.attempt.refused(self._status, said, self._error_name)
            else:
                # What the client could not read it did not go on with; it is closed for that.
                garbled = self.wire.garbled if self._is_stream else None
                self.attempt.end(error or garbled, was_closed=was_closed)
        except Exception as failure:
            self.attempt.complain(failure)
