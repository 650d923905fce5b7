"""The clients of OpenAI and Anthropic, which one generator (Stainless) wrote: recorded by a class of their own class.

A client is recorded by giving it a subclass of its class that overrides three methods and nothing else:

| method | what is seen there |
|---|---|
| `request` | the user's call: everything goes through it, and it returns or raises what the user gets |
| the one that sends | each attempt, with what the network raised or the server answered |
| `_process_response_data` | the JSON of each answer and of each event, which the SDK has parsed anyway |

The last two are private, so a client without them is refused when it is wrapped, and the extras pin the versions that
were tried. Whatever a client makes of itself (`with_options`, raw responses, streams, helpers) goes the same way.

The attempt of a response travels in its `extensions`; that of the moment in a context variable, because what sends is
told nothing of the call that it belongs to. A client may have several recorders, so both are kept by observer.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from mofa_usage.recording.formats.answers import Format
from mofa_usage.recording.observed import Attempt, Observer, Request
from mofa_usage.recording.sdks.classes import check_methods, give_class
from mofa_usage.recording.sdks.streams import AsyncTapped, Body, tapped, watched
from mofa_usage.recording.sdks.wire import Wire

__all__ = ["Kind", "record_client"]

_CURRENT: ContextVar[Mapping[Observer, "_Call | None"]] = ContextVar("mofa_usage_call", default=MappingProxyType({}))
_EXTENSION = "mofa_usage"
_PROVIDER = "_mofa_usage_provider"
_RAW_HEADER = "x-stainless-raw-response"


@dataclass(frozen=True)
class Kind:
    """What the clients of one SDK have of their own.

    Attributes:
        name: of the package, and of our extra.
        sending: the private method that sends one attempt.
        response_of: the HTTP response in what that method returns.
        request_id_header: where the server names the request.
        form_of: the format of a path; None where it is no call of a model.
        provider_of: who is asked, of a client.
        secrets_of: the keys of a client.
        body_of: the body of a request, in the arguments of that method, where it is not yet what `request` was given;
            None where it was.
        parsing_raw: the kind of raw response that makes its stream without being awaited.
        asks_usage: whether streams of this format say what they used only when they are asked to.
    """

    name: str
    sending: str
    response_of: Callable[[Any], Any]
    request_id_header: str
    body_of: Callable[[tuple[Any, ...]], Mapping[str, Any] | None]
    parsing_raw: str | None
    form_of: Callable[[str], Format | None]
    provider_of: Callable[[Any], str]
    secrets_of: Callable[[Any], list[str]]
    asks_usage: Callable[[Format], bool]


def record_client(client: Any, kind: Kind, observer: Observer, *, is_async: bool) -> Any:
    """The same client, recorded. One that this observer records already is left as it is.

    Raises:
        UsageError: the installed version of the SDK is built in another way.
    """
    check_methods(type(client), ("request", kind.sending, "_process_response_data"), kind.name, kind.name)

    def methods(plain: Any) -> dict[str, Any]:
        hooks = (_async_hooks if is_async else _hooks)(plain, kind, observer)
        return {**hooks, "_process_response_data": _processing(plain, observer)}

    give_class(client, observer, methods)
    return client


class _Call:
    """A call of `request` of which attempts are to be seen."""

    def __init__(
        self, client: Any, kind: Kind, request: Request, options: Any, *, is_stream: bool, is_async: bool
    ) -> None:
        self.kind = kind
        self.request = request
        self.is_stream = is_stream
        self.attempt: Attempt | None = None
        self.body: Body | None = None
        self.options = options
        self.raw = _raw_mode(options)
        self.asked = False
        self._client = client
        self._is_async = is_async
        # A raw response is read beside the user, whatever he reads of it, but for one that makes its stream at once.
        self.reads_wire = self.raw is not None and not (is_stream and self.raw == kind.parsing_raw)
        if is_stream and not self.reads_wire and kind.asks_usage(request.form):
            self._ask_usage()

    def _ask_usage(self) -> None:
        body = self.request.body
        said = body.get("stream_options")
        if body.get("stream") is not True or (isinstance(said, Mapping) and said.get("include_usage")):
            return
        if getattr(type(self._client), "_mofa_usage_refusals", None) == str(self._client.base_url):
            return
        wanted = {**(said if isinstance(said, Mapping) else {}), "include_usage": True}
        json_data = {**self.options.json_data, "stream_options": wanted}
        self.options = self.options.model_copy(update={"json_data": json_data})
        self.asked = True

    def is_refused_for_asking(self, error: Exception) -> bool:
        """Whether a server does not know what we asked for beside what the user did. It is not asked again."""
        if not (self.asked and getattr(error, "status_code", None) in (400, 422) and "stream_options" in str(error)):
            return False
        type(self._client)._mofa_usage_refusals = str(self._client.base_url)
        self.asked = False
        return True

    def begin(self, args: tuple[Any, ...]) -> Attempt | None:
        try:
            self.request.body = self.kind.body_of(args) or self.request.body
            self.attempt = self.request.attempt()
        except Exception as error:
            self.request.observer.complain(error)
        return self.attempt

    def answered(self, response: Any, *, is_async: bool) -> None:
        attempt = self.attempt
        if attempt is None:
            return
        try:
            headers = response.headers
            is_unread = not response.is_closed
            request_id = headers.get(self.kind.request_id_header)
            attempt.answered(response.status_code, request_id=request_id, is_stream=self.is_stream)
            if response.status_code >= 400:
                attempt.refused(response.status_code, None if is_unread else _json(response), _name(self, response))
            else:
                if not (self.reads_wire and is_unread):
                    response.extensions[_EXTENSION, self.request.observer] = _Seen(attempt, self.asked)
                if is_unread or self.is_stream:
                    wire = Wire(headers, attempt.add, lambda: self.reads_wire and not attempt.answer.has_content)
                    self.body = Body(attempt, wire if self.raw is not None else None)
                if is_unread and self.body is not None:
                    response.stream = watched(response.stream, self.body, response, is_async=is_async)
                elif self.reads_wire and self.body is not None:
                    self.body.was_given(response.content)
        except Exception as error:
            self.request.observer.complain(error)

    def failed(self, error: BaseException) -> None:
        if self.attempt is not None:
            self.attempt.end(error)
        self.request.end(error)

    def returned(self, result: Any) -> None:
        """The user gets `result`. Of a stream the end is still to come."""
        try:
            if self.body is None:
                if self.attempt is not None:
                    if self.raw is not None:
                        self.attempt.add(_json(result.http_response))
                    self.attempt.end()
            elif self.is_stream and not self.reads_wire:
                # A raw response makes its stream once, and gives it again: the user gets the one that is tapped here.
                stream = result if self.raw is None else result.parse()
                self._tap(stream, self.body)
            self.request.end()
        except Exception as error:
            self.request.observer.complain(error)

    def _tap(self, stream: Any, body: Body) -> None:
        hidden = _is_only_usage if self.asked else None
        # Others, who have wrapped the stream before, give it the methods of both kinds.
        tap: Callable[..., Any] = AsyncTapped if self._is_async else tapped
        stream._iterator = tap(stream._iterator, body, hidden)


class _Seen(NamedTuple):
    """The attempt that a response belongs to, and whether we asked for usage in the user's place."""

    attempt: Attempt
    asked: bool


def _call_of(
    client: Any, kind: Kind, observer: Observer, options: Any, *, is_stream: bool, is_async: bool
) -> _Call | None:
    """What is to be seen of a call; None where it is none of a model."""
    try:
        if options.method.lower() != "post" or (form := kind.form_of(options.url.partition("?")[0])) is None:
            return None
        body = options.json_data
        if type(body) is not dict and not isinstance(body, Mapping):
            body = {}
        if isinstance(further := getattr(options, "extra_json", None), Mapping):
            body = {**body, **further}
        provider, secrets = _provider(client, kind), kind.secrets_of(client)
        request = observer.request(form, body, provider=provider, secrets=secrets, is_async=is_async)
        return _Call(client, kind, request, options, is_stream=is_stream, is_async=is_async)
    except Exception as error:
        observer.complain(error)
        return None


def _provider(client: Any, kind: Kind) -> str:
    """Who is asked: found anew when the client's address is another one."""
    kept: tuple[Any, str] | None = client.__dict__.get(_PROVIDER)
    if kept is None or kept[0] is not client.base_url:
        client.__dict__[_PROVIDER] = kept = (client.base_url, kind.provider_of(client))
    return kept[1]


def _hooks(plain: Any, kind: Kind, observer: Observer) -> dict[str, Any]:
    send = getattr(plain, kind.sending)

    def request(self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        call = _call_of(self, kind, observer, options, is_stream=stream, is_async=False)
        token = _CURRENT.set({**_CURRENT.get(), observer: call})
        try:
            if call is None:
                return plain.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
            try:
                result = plain.request(self, cast_to, call.options, stream=stream, stream_cls=stream_cls)
            except Exception as error:
                if not call.is_refused_for_asking(error):
                    raise
                result = plain.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            if call is not None:
                call.failed(error)
            raise
        finally:
            _CURRENT.reset(token)
        call.returned(result)
        return result

    def sending(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _CURRENT.get().get(observer)) is None or (attempt := call.begin(args)) is None:
            return send(self, *args, **kwargs)
        try:
            sent = send(self, *args, **kwargs)
        except BaseException as error:
            attempt.end(error)
            raise
        call.answered(kind.response_of(sent), is_async=False)
        return sent

    return {"request": request, kind.sending: sending}


def _async_hooks(plain: Any, kind: Kind, observer: Observer) -> dict[str, Any]:
    send = getattr(plain, kind.sending)

    async def request(self: Any, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        call = _call_of(self, kind, observer, options, is_stream=stream, is_async=True)
        token = _CURRENT.set({**_CURRENT.get(), observer: call})
        try:
            if call is None:
                return await plain.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
            try:
                result = await plain.request(self, cast_to, call.options, stream=stream, stream_cls=stream_cls)
            except Exception as error:
                if not call.is_refused_for_asking(error):
                    raise
                result = await plain.request(self, cast_to, options, stream=stream, stream_cls=stream_cls)
        except BaseException as error:
            if call is not None:
                call.failed(error)
            raise
        finally:
            _CURRENT.reset(token)
        call.returned(result)
        return result

    async def sending(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (call := _CURRENT.get().get(observer)) is None or (attempt := call.begin(args)) is None:
            return await send(self, *args, **kwargs)
        try:
            sent = await send(self, *args, **kwargs)
        except BaseException as error:
            attempt.end(error)
            raise
        call.answered(kind.response_of(sent), is_async=True)
        return sent

    return {"request": request, kind.sending: sending}


def _processing(plain: Any, observer: Observer) -> Callable[..., Any]:
    process = plain._process_response_data

    def processing(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        if (seen := response.extensions.get((_EXTENSION, observer))) is not None:
            attempt, asked = seen
            attempt.add(data)
            if asked and isinstance(data, dict) and data.get("usage") is None:
                data.pop("usage", None)  # who asks gets an empty one in every chunk
        return process(self, data=data, cast_to=cast_to, response=response)

    return processing


def _raw_mode(options: Any) -> str | None:
    """How the user wants the response itself: `true` or `raw` with its body read, `stream` with its body to come."""
    headers = options.headers
    if not headers or not isinstance(headers, Mapping):
        return None
    return next((str(value) for name, value in headers.items() if name.lower() == _RAW_HEADER), None)


def _is_only_usage(chunk: Any) -> bool:
    """Whether a chunk is there because we asked for usage, and for nothing else."""
    return not chunk.choices and getattr(chunk, "usage", None) is not None


def _json(response: Any) -> Any:
    try:
        return response.json()
    except (ValueError, RuntimeError):
        return None  # no JSON, or nothing read


def _name(call: _Call, response: Any) -> str:
    """The class of the exception that the SDK has for such an answer."""
    return type(call._client._make_status_error("", body=None, response=response)).__name__
