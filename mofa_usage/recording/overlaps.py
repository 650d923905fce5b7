"""What two of us see is recorded once: a recorded client asked inside a span, or a span begun inside its request.

Whoever is told of calls from outside (OpenTelemetry's spans, callbacks of frameworks) opens a `Window` in the context
where it hears of a beginning, and `Observer.request` announces each request there. Both ways round are seen:

```
span begins      open_window()      the window is in the context from now on, as long as it is open
  request        announce()         heard by the open windows of this context: the span is around the request
    span begins  open_window()      a request is under way in this context: the span is inside it
span begins      open_window()      and says that it began before the last request did: it is told of afterwards
```

A request that was reported, or that somebody still holds and can report, is recorded by its client, which sees more. A
span that has one of its own model around it or inside it tells nothing new. One that was given up tells nothing at all,
and then the span counts.
"""

import time
from contextvars import ContextVar
from typing import Any
from weakref import ref

__all__ = ["Announced", "Window", "announce", "open_window"]

_MOST = 64  # windows of a context: deeper ones are of traces that nobody ends


class Announced:
    """A request of a client, for those who may have seen the same; `response_id` is the last that was reported."""

    __slots__ = ("_request", "began", "is_open", "is_reported", "model", "owner", "response_id")

    def __init__(self, owner: object, request: Any, model: str) -> None:
        self.owner = owner
        self.model = model
        self.began = time.time_ns()
        self.response_id: str | None = None
        self.is_open = True
        self.is_reported = False
        self._request = ref(request)

    def reported(self, response_id: object) -> None:
        """A row of it was handed over."""
        self.is_reported = True
        self.response_id = response_id if isinstance(response_id, str) else None

    def is_recorded(self) -> bool:
        """Whether a row of it is there, or may still come."""
        return self.is_reported or self._request() is not None


class Window:
    """The time between a beginning and an end that are told of, in the context of the beginning."""

    __slots__ = ("heard", "is_open")

    def __init__(self) -> None:
        self.heard: list[Announced] = []
        self.is_open = True

    def hear(self, announced: Announced, request: Any) -> None:
        """A request begins in its context."""
        self.heard.append(announced)

    def is_recorded(self, owner: object, model: str, response_id: str | None) -> bool:
        """Whether a client of this owner records the same call."""
        return any(
            request.owner is owner
            and (not model or not request.model or model == request.model)
            and (not response_id or not request.response_id or response_id == request.response_id)
            and request.is_recorded()
            for request in self.heard
        )


_windows: ContextVar[tuple[Window, ...]] = ContextVar("mofa_usage.recording.windows", default=())
_under_way: ContextVar[Announced | None] = ContextVar("mofa_usage.recording.under_way", default=None)


def open_window(window: Window, began: int | None) -> tuple[Window, ...]:
    """Hear of the requests of this context from now on, and of the last one if that began no earlier.

    Args:
        window: what hears.
        began: when it says that it began, in nanoseconds since 1970; None where no request is around it.

    Returns:
        The windows that are open around it, the innermost last.
    """
    around = tuple(other for other in _windows.get() if other.is_open)[-_MOST:]
    _windows.set((*around, window))
    request = _under_way.get()
    if began is not None and request is not None and (request.is_open or began <= request.began):
        window.heard.append(request)
    return around


def announce(owner: object, request: Any, model: str) -> Announced:
    """A request begins in this context."""
    announced = Announced(owner, request, model)
    for window in _windows.get():
        if window.is_open:
            window.hear(announced, request)
    _under_way.set(announced)
    return announced
