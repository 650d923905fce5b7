"""Calls that a framework tells of by callbacks: begun by one event and ended by another, perhaps in another thread.

The scope is that in which a call began. Of some calls frameworks never tell the end; so only the latest are remembered.
Where a recorded client inside the framework sees a call too, the callback leaves it to that one, which sees more: each
attempt, and how it ended (`overlaps.py`).
"""

import asyncio
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mofa_usage.recording.failures import UNREADABLE, failure_of
from mofa_usage.recording.formats.answers import Format
from mofa_usage.recording.observed import Observer, Request
from mofa_usage.recording.overlaps import Announced, Window, open_window

__all__ = ["Run", "Runs"]

_QUESTIONS = ("model", "messages", "input", "prompt")
_MOST_OPEN = 10_000
_MOST_ENDED = 1_000  # an event comes twice, or a call is tried again that was said to have failed


class TriedAgain(Exception):  # noqa: N818 (its name is the error code)
    """An attempt failed, and its framework tried again without saying why."""


class _Inside(Window):
    """Hears of the requests of others that are the same call, asked by the framework itself.

    As long as it is about to ask a model, nobody else's code runs in its context.

    Args:
        runs: the callback's. A framework may begin many calls at once, which are not inside each other.
        operation: what is asked of the model; None for a chat.
        sent: see `Run`.
    """

    __slots__ = ("_operation", "_runs", "_sent")

    def __init__(self, runs: "Runs", operation: str | None, sent: Mapping[str, Any] | None) -> None:
        super().__init__()
        self._runs, self._operation, self._sent = runs, operation, sent

    def hear(self, announced: Announced, request: Request) -> None:
        is_ours = request.observer is self._runs.observer and request.teller is not self._runs
        if is_ours and request.form.operation == self._operation and self._is_sent(request.body):
            self.heard.append(announced)

    def _is_sent(self, body: Mapping[str, Any]) -> bool:
        sent = self._sent
        return sent is None or all(body.get(key) == sent.get(key) for key in _QUESTIONS)

    @property
    def sees_it(self) -> bool:
        """Whether somebody else records the call, who sees more of it."""
        return any(request.is_recorded() for request in self.heard)


class Run:
    """One call of a framework, and its attempt of now.

    Args:
        runs: those that it is one of.
        sent: the body that is about to be sent, where the framework shows it: then a request inside the call has to
            ask the same. It is needed where the framework does not tell in time that the answer has begun.
    """

    def __init__(
        self,
        runs: "Runs",
        form: Format,
        body: Mapping[str, Any],
        *,
        provider: str,
        secrets: Sequence[str] = (),
        sent: Mapping[str, Any] | None = None,
    ) -> None:
        self._runs = runs
        is_async = _is_in_event_loop()
        self.request = runs.observer.request(
            form, body, provider=provider, secrets=secrets, is_async=is_async, teller=runs
        )
        self._begin(sent)

    def _begin(self, sent: Mapping[str, Any] | None) -> None:
        self.attempt = self.request.attempt()
        self.is_over = self._is_left = False
        self._inside = _Inside(self._runs, self.request.form.operation, sent)
        open_window(self._inside, None)

    def again(
        self,
        body: Mapping[str, Any],
        error: BaseException | None,
        *,
        provider: str,
        secrets: Sequence[str] = (),
        sent: Mapping[str, Any] | None = None,
    ) -> None:
        """It is tried again, perhaps with another model; `error` is what went wrong before, if anybody said so."""
        self._inside.is_open = False
        if not self.is_over and not self.is_left:
            self.attempt.end(error or TriedAgain("it failed, and was tried again"))
        self.request.body, self.request.provider, self.request.secrets = body, provider, secrets
        self._begin(sent)

    def answers(self) -> None:
        """Its answer has begun to come: from now on the user's code may run in between."""
        self._inside.is_open = False

    @property
    def is_left(self) -> bool:
        """Whether somebody else records it."""
        return self._is_left or self._inside.sees_it

    def leave(self) -> None:
        """It is somebody else's, or none."""
        self._is_left = True

    def end(self, error: BaseException | None = None, *, was_closed: bool = False) -> None:
        """It is over, and recorded unless somebody inside it has seen it; see `Attempt.end`."""
        if not self.is_left:
            self.attempt.end(error, was_closed=was_closed)
        self._close()

    def happened(self, seconds: float, *, first: float | None = None, error: BaseException | None = None) -> None:
        """The same, told of afterwards: how long it took, and until its first content, in seconds."""
        if not self.is_left:
            request, attempt = self.request, self.attempt
            failure = None if error is None else failure_of(error, secrets=request.secrets)
            if error is None and request.form.is_checked and not attempt.answer.is_complete:
                failure = UNREADABLE
            attempt.happened(attempt.started, seconds=max(0.0, seconds), first=first, failure=failure)
        self._close()

    def _close(self) -> None:
        self._inside.is_open = False
        self.request.end()
        self.request.body = {}  # the run may be remembered for long


class Runs:
    """The calls of one callback, by the framework's ids; for any thread."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._open: dict[Hashable, Run] = {}
        self._ended: dict[Hashable, Run] = {}
        self._lock = threading.Lock()

    def begun(self, key: Hashable, run: Run) -> None:
        """A call has begun, for the first time or again."""
        with self._lock:
            self._ended.pop(key, None)
            self._open[key] = run
            if len(self._open) > _MOST_OPEN:
                self._open.pop(next(iter(self._open))).answers()

    def open(self, key: Hashable) -> Run | None:
        """A call that has begun and not ended."""
        return self._open.get(key)

    @property
    def are_over(self) -> bool:
        """Whether none is open."""
        return not self._open

    def ended(self, key: Hashable) -> Run | None:
        """A call that has ended lately."""
        return self._ended.get(key)

    def take(self, key: Hashable) -> Run | None:
        """A call that is open, for the event that ends it."""
        with self._lock:
            run = self._open.pop(key, None)
            if run is not None:
                run.is_over = True
                self._ended[key] = run
                if len(self._ended) > _MOST_ENDED:
                    del self._ended[next(iter(self._ended))]
        return run

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Whatever goes wrong inside is said once, and does not reach the framework."""
        try:
            yield
        except Exception as error:
            self.observer.complain(error)


def _is_in_event_loop() -> bool:
    """Whether an event loop of this thread would wait for us."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
