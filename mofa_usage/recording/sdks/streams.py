"""Streams that are looked at as the user reads them, without reading ahead and without holding anything back.

Two places are looked at. `tapped` stands for the iterator of the SDK's stream and sees what it raises. `watched` stands
for the body of the HTTP response and sees it closed, which happens whatever the user does: `break`, `with`, a helper
that closes the response, a task that is cancelled, a stream that is dropped. What closes it in the midst of an error is
closed before the error is seen: as long as the iterator is at work, it is waited for.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import cache, wraps
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from mofa_usage.recording.observed import Attempt
from mofa_usage.recording.scope import Scope, again_in, innermost_scope
from mofa_usage.recording.sdks.wire import Wire

__all__ = ["AsyncTapped", "Body", "streaming", "tapped", "watched"]


class Body:
    """What is known of the body of one response: who reads it, and how far.

    Args:
        attempt: what is told of its end.
        wire: reads the bytes, where nobody else can say what they mean.
    """

    def __init__(self, attempt: Attempt, wire: Wire | None = None) -> None:
        self.attempt = attempt
        self.wire = wire
        self.is_at_work = False  # the SDK's iterator is looking for the next event
        self.was_read = False

    def __del__(self) -> None:
        # Nobody has the stream any more, and perhaps nobody closed it: it was never read.
        if not sys.is_finalizing():
            self.is_at_work = False
            self.closed()

    def was_given(self, content: bytes) -> None:
        """All of it is there already: a cache has answered, or a test."""
        if self.wire is not None:
            self.wire.feed(content)
        self.end()

    def closed(self) -> None:
        """Nobody can read any more of it."""
        if not self.is_at_work:
            self.end(was_closed=True)

    def end(self, error: BaseException | None = None, *, was_closed: bool = False) -> None:
        """It is over; see `Attempt.end`."""
        try:
            if self.wire is not None and not self.was_read:
                self.wire.end()
            self.attempt.end(error, was_closed=was_closed)
        except Exception as failure:
            self.attempt.complain(failure)


def tapped(items: Iterator[Any], body: Body, is_hidden: Callable[[Any], bool] | None = None) -> Iterator[Any]:
    """The same iterator, looked at. `is_hidden` says which of its items the user does not get."""
    body.is_at_work = body.was_read = True
    try:
        for item in items:
            if is_hidden is None or not is_hidden(item):
                body.is_at_work = False
                yield item
                body.is_at_work = True
    except GeneratorExit:
        raise  # the user has left
    except BaseException as error:
        body.is_at_work = False
        body.end(error)
        raise
    body.is_at_work = False
    body.end()


class AsyncTapped:
    """The same for an asynchronous iterator. No generator: one that is dropped is closed by nobody knows whom."""

    def __init__(self, items: AsyncIterator[Any], body: Body, is_hidden: Callable[[Any], bool] | None = None) -> None:
        self._items = items
        self._body = body
        self._is_hidden = is_hidden

    def __aiter__(self) -> "AsyncTapped":
        return self

    async def __anext__(self) -> Any:
        body = self._body
        body.is_at_work = body.was_read = True
        try:
            item = await anext(self._items)
            while self._is_hidden is not None and self._is_hidden(item):
                item = await anext(self._items)
        except StopAsyncIteration:
            body.end()
            raise
        except BaseException as error:
            body.end(error)
            raise
        finally:
            body.is_at_work = False
        return item


def streaming(plain: Any, *names: str, is_async: bool) -> dict[str, Callable[..., Any]]:
    """Methods of a class which may return a generator that sends when its first item is asked for.

    That belongs to the scope in which it was made, however late it is read.
    """

    def method(name: str) -> Callable[..., Any]:
        ask = getattr(plain, name)

        @wraps(ask)
        def asked(self: Any, *args: Any, **kwargs: Any) -> Any:
            return _begun_here(ask(self, *args, **kwargs))

        @wraps(ask)
        async def async_asked(self: Any, *args: Any, **kwargs: Any) -> Any:
            return _begun_here(await ask(self, *args, **kwargs))

        return async_asked if is_async else asked

    return {name: method(name) for name in names}


def _begun_here(result: Any) -> Any:
    if (scope := innermost_scope()) is None:
        return result
    if isinstance(result, GeneratorType):
        return _steps(result, scope)
    return _async_steps(result, scope) if isinstance(result, AsyncGeneratorType) else result


def _steps(items: Iterator[Any], scope: Scope) -> Iterator[Any]:
    while True:
        with again_in(scope):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


async def _async_steps(items: AsyncGenerator[Any], scope: Scope) -> AsyncIterator[Any]:
    try:
        while True:
            with again_in(scope):
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
            yield item
    finally:
        await items.aclose()


def watched(stream: Any, body: Body, response: Any, *, is_async: bool) -> Any:
    """The byte stream of a response of httpx or httpx2, which tells `body` of its end."""
    library = next(
        cls.__module__.partition(".")[0] for cls in type(response).__mro__ if cls.__module__.startswith("httpx")
    )
    return _kind(library, is_async)(stream, body)


@cache
def _kind(library: str, is_async: bool) -> Callable[[Any, Body], Any]:
    """A response accepts only streams of its own library's classes."""
    base = getattr(sys.modules[library], "AsyncByteStream" if is_async else "SyncByteStream")
    return type("WatchedStream", (_AsyncWatched if is_async else _Watched, base), {})


class _AnyWatched:
    def __init__(self, stream: Any, body: Body) -> None:
        self._stream = stream
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # httpx asks its streams for the time that they took


class _Watched(_AnyWatched):
    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream) if self._body.wire is None else self._read(self._body.wire)

    def _read(self, wire: Wire) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                wire.feed(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._fail(error)
            raise
        self._finish()

    def _fail(self, error: BaseException) -> None:
        if not self._body.is_at_work:
            self._body.end(error)

    def _finish(self) -> None:
        if not self._body.is_at_work:
            self._body.end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._body.closed()


class _AsyncWatched(_AnyWatched):
    def __aiter__(self) -> AsyncIterator[bytes]:
        iterator: AsyncIterator[bytes]
        iterator = self._stream.__aiter__() if self._body.wire is None else self._read(self._body.wire)
        return iterator

    async def _read(self, wire: Wire) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                wire.feed(chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            if not self._body.is_at_work:
                self._body.end(error)
            raise
        if not self._body.is_at_work:
            self._body.end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._body.closed()
