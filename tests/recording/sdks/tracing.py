"""A tracer provider with a recorder at its end, and what makes spans as emitters do, at times that are given."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Span, Status, StatusCode

from tests.recording.sdks.emitted import Emitted

SECOND = 10**9
START = 1_750_000_000 * SECOND


class Tracing:
    """Makes spans. One begins ten seconds after the one before, and takes a second, unless told otherwise."""

    def __init__(self, processor: SpanProcessor) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(processor)
        self._next = START

    def start(self, emitted: Emitted, parent: Span | None = None, *, at: int | None = None) -> Span:
        """Begin a span; it is not made the current one."""
        now, self._next = self._next if at is None else at, self._next + 10 * SECOND
        around = None if parent is None else trace.set_span_in_context(parent, otel_context.get_current())
        tracer = self.provider.get_tracer(emitted.scope)
        return tracer.start_span(emitted.name, around, start_time=now, attributes=dict(emitted.attributes))

    def finish(self, span: Any, emitted: Emitted, *, seconds: float = 1) -> None:
        """End it with its events and its status."""
        for name, attributes in emitted.events:
            span.add_event(name, dict(attributes), timestamp=span.start_time + int(0.04 * SECOND))
        if emitted.status != "UNSET":
            span.set_status(Status(StatusCode[emitted.status]))
        span.end(span.start_time + int(seconds * SECOND))

    def emit(self, emitted: Emitted, parent: Span | None = None, **attributes: Any) -> None:
        """A span that begins and ends."""
        changed = emitted.but(**attributes)
        self.finish(self.start(changed, parent), changed)

    @contextmanager
    def around(self, emitted: Emitted, parent: Span | None = None) -> Iterator[Span]:
        """A span that is the current one meanwhile."""
        span = self.start(emitted, parent)
        with trace.use_span(span, end_on_exit=False):
            yield span
        self.finish(span, emitted)
