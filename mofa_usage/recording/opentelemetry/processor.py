"""The two interfaces of OpenTelemetry's SDK: a processor, which sees each span as it ends, and an exporter of batches.

The processor runs on the application's threads. It never raises, and never waits: not for the database, and not for the
disk beyond one write. It sees in which scope a span began, and whether a recorded client was asked in it. An exporter
is given what a batch processor has kept, in another thread: it knows no scopes, and of a burst what is too much for the
queue of the batch processor is gone before it sees anything.
"""

import contextvars
from collections.abc import Iterator, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from mofa_usage.recording.opentelemetry.nesting import OpenSpan
from mofa_usage.recording.opentelemetry.spans import said_of
from mofa_usage.recording.opentelemetry.telling import Teller
from mofa_usage.recording.overlaps import open_window
from mofa_usage.recording.recorder import Recorder
from mofa_usage.recording.scope import Whose, whose_now

__all__ = ["UsageSpanExporter", "UsageSpanProcessor"]


class UsageSpanProcessor(SpanProcessor):
    """Records the calls of models that spans tell of: `provider.add_span_processor(UsageSpanProcessor(recorder))`.

    The recorder stays yours to close.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._observer = recorder.observer
        self._teller = Teller(self._observer, waits=False)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """A span begins, in the scope of now."""
        try:
            opened = OpenSpan(span, whose_now(self._recorder), self._teller.drop)
            self._teller.begin(opened, open_window(opened, span.start_time or 0))
        except Exception as error:
            self._observer.complain(error)

    def on_end(self, span: ReadableSpan) -> None:
        """A span has ended: if it is a call, it is recorded, or waits for the span of the same call around it."""
        try:
            self._teller.end(span, whose_now(self._recorder))
        except Exception as error:
            self._observer.complain(error)

    def shutdown(self) -> None:
        """Record what waits for spans that have not ended. The recorder stays open."""
        self._teller.rest()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """The same, and wait until all is delivered. Whether it is, in time."""
        self._teller.rest()
        return self._recorder.flush(timeout_millis / 1000)


class UsageSpanExporter(SpanExporter):
    """Records the calls among the spans of a batch, where those are batched anyway. Prefer the processor.

    The recorder stays yours to close.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._observer = recorder.observer
        self._teller = Teller(self._observer, waits=True)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Record the calls of a batch. `FAILURE` where one was not accepted: a full outbox, a closed recorder."""
        # A flush exports in the thread that asks for it, whose scope is not that of the calls.
        return contextvars.Context().run(self._export, spans)

    def _export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        accepted = True
        whose = whose_now(self._recorder)
        try:
            for opened, beside in _opened(spans, whose):
                accepted &= self._teller.begin(opened, beside)
        except Exception as error:
            accepted = False
            self._observer.complain(error)
        for span in spans:
            try:
                accepted &= self._teller.end(span, whose)
            except Exception as error:
                accepted = False
                self._observer.complain(error)
        return SpanExportResult.SUCCESS if accepted else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """All is recorded already. The recorder stays open."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Wait until all is delivered. Whether it is, in time."""
        return self._recorder.flush(timeout_millis / 1000)


def _opened(spans: Sequence[ReadableSpan], whose: Whose) -> Iterator[tuple[OpenSpan, list[OpenSpan]]]:
    """The spans of a batch as if they began, those that ended last first, each with those of the same answer."""
    answers: dict[str, list[OpenSpan]] = {}
    for span in reversed(spans):
        opened = OpenSpan(span, whose)
        same = answers.setdefault(answer, []) if (answer := said_of(opened.attributes, "response_id")) else []
        yield opened, [*same]
        same.append(opened)
