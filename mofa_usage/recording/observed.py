"""What an SDK did, as it is observed: the seam between the integrations and the recorder.

An integration observes requests, and attempts at them, each by what it sees of it. When an attempt has ended, the
`Observer` puts together a document and hands it over:

```
Observer.request(...)  ──> Request          one of the user's calls of the SDK, whose scope is that of now
    .attempt()         ──>     Attempt      one HTTP request, or what stands for it; the one before was tried again
        .answered(...)                      status and headers
        .add(data)                          a JSON document of the answer: the whole, or an event of a stream
        .end(error)                         once; how it ended. A stream may end long after its request was answered
    .end(error)                             the SDK tries no more
```

In a document (`documents.py`) calls have the fields of `LLMApiCall`, but instead of tokens the `usage` of the
provider, and what labels are to be made of in `seen`: `completing.py` reads both at delivery. What was said comes with
the last attempt; those before it come as soon as it is known that they were tried again.

Nothing here waits, and nothing raises into the user's call, which all of this is in the way of: so it makes few
objects, ids as text, and keeps none of the events of a stream, which the garbage collector would have to look through.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from uuid_utils import uuid7

from mofa_usage.recording.conversations import Conversations, Placed, Said
from mofa_usage.recording.failures import (
    CLOSED,
    TRUNCATED,
    UNREADABLE,
    Failure,
    failure_of,
    failure_said,
    plain_json,
    plain_text,
)
from mofa_usage.recording.formats.answers import Format
from mofa_usage.recording.overlaps import Announced, announce
from mofa_usage.recording.scope import Identity, Scope, Whose, whose_now
from mofa_usage.recording.turns import whose_in_turn
from mofa_usage.records import NIL_UUID
from mofa_usage.values import MAX_INT, ApiCallStatus

__all__ = ["Attempt", "Observer", "Recording", "Request"]

_log = logging.getLogger(__name__)
_REFUSED_USAGE = {"prompt_tokens": 0, "completion_tokens": 0}
_MODEL_LENGTH = 600
_NIL = str(NIL_UUID)
_REMEMBERED = ("sessions", "messages")
_TICK = timedelta(microseconds=1)


class Recording(Protocol):
    """What an observer needs of a `Recorder`."""

    @property
    def identity(self) -> Identity:
        """Whose calls are recorded here and now."""

    @property
    def captures_content(self) -> bool:
        """Whether messages are kept."""

    def hand_over(self, document: dict[str, Any], scope: Scope | None = None, *, wait: bool = True) -> bool:
        """Accept a document, from any thread; never raises."""


class Observer:
    """What integrations report to; one for each recorder, so that its clients know of each other's conversations."""

    def __init__(self, recorder: Recording) -> None:
        self.recorder = recorder
        self.conversations = Conversations()
        self._has_complained = False

    def request(
        self,
        form: Format,
        body: Mapping[str, Any],
        *,
        provider: str,
        model: str = "",
        secrets: Sequence[str] = (),
        is_async: bool = False,
        teller: object = None,
    ) -> "Request":
        """A call of the SDK begins, in the scope of now.

        Args:
            form: how the request and its answer look.
            body: the request, which is read when it ends.
            provider: who is asked; a label, unless it is empty.
            model: the model that is asked for, where the body does not say.
            secrets: keys, which no message of an error may show.
            is_async: the event loop must not wait for the disk.
            teller: the callback of a framework that tells of it, if one does.
        """
        whose = whose_in_turn(whose_now(self.recorder), self.recorder, form.operation)
        request = Request(
            self, form, body, provider=provider, model=model, secrets=secrets, is_async=is_async, whose=whose
        )
        request.teller = teller
        request.announced = announce(self, request, request.model)
        return request

    def complain(self, error: Exception) -> None:
        """Recording went wrong; the user's call goes on. Said once."""
        if not self._has_complained:
            self._has_complained = True
            _log.warning("a call could not be observed (said once): %s", type(error).__name__, exc_info=error)


class Request:
    """One call of the SDK, which may take several attempts."""

    def __init__(
        self,
        observer: Observer,
        form: Format,
        body: Mapping[str, Any],
        *,
        provider: str,
        model: str,
        secrets: Sequence[str],
        is_async: bool,
        whose: Whose,
    ) -> None:
        self.observer = observer
        self.form = form
        self.body = body
        self.secrets = secrets
        self.is_accepted = True  # as far as it was handed over
        self.announced: Announced | None = None
        self.teller: object = None
        self._scope, self._identity, self._turn = whose
        self._is_async = is_async
        self.provider = provider
        self._model = model
        self._id: str | None = None
        self._attempts = 0
        self._pending: Attempt | None = None  # it has ended, and may yet be tried again
        self._is_open = True

    @property
    def model(self) -> str:
        """The model that is asked for; empty where nobody says."""
        asked = self.body.get("model")
        return plain_text((asked if isinstance(asked, str) and asked else self._model)[:_MODEL_LENGTH])

    def attempt(self) -> "Attempt":
        """It is sent, for the first time or again."""
        self._attempts += 1
        if (tried := self._pending) is not None:
            self._pending = None
            self._report(tried, was_retried=True)
        return Attempt(self, self._attempts)

    def end(self, error: BaseException | None = None) -> None:
        """The SDK tries no more. `error` is what the user gets, and says more of the last attempt than it does."""
        self._is_open = False
        if self.announced is not None:
            self.announced.is_open = False
        if (last := self._pending) is not None:
            self._pending = None
            if error is not None:
                last.explain(error)
            self._report(last, was_retried=False)

    def ended(self, attempt: "Attempt") -> None:
        """An attempt is over."""
        if self._is_open:
            self._pending = attempt
        else:
            self._report(attempt, was_retried=False)

    def _report(self, attempt: "Attempt", *, was_retried: bool) -> None:
        try:
            document = self._document(attempt, was_retried=was_retried)
            # Before the recorder owns it.
            saved = [record["id"] for kind in _REMEMBERED if kind in document for record in document[kind]]
            accepted = self.observer.recorder.hand_over(document, self._scope, wait=not self._is_async)
            self.is_accepted &= accepted
            if self.announced is not None:
                self.announced.reported(attempt.answer.response_id)
            if accepted and saved:
                self.observer.conversations.remember(saved)
        except Exception as error:
            self.is_accepted = False
            self.observer.complain(error)

    def _document(self, attempt: "Attempt", *, was_retried: bool) -> dict[str, Any]:
        identity = self._identity
        document: dict[str, Any] = {"of": identity.ids}
        last = response = None
        if self._turn is not None:
            last = str(self._turn.request_id)
            is_answered = not was_retried and attempt.content() is not None
            response = str(self._turn.response_id) if is_answered else None
        elif self.observer.recorder.captures_content and identity.chat_session_id != NIL_UUID:
            try:
                messages, last, response = self._said(attempt, was_retried=was_retried)
                if not was_retried:
                    if not self.observer.conversations.is_saved(identity.ids["chat_session_id"]):
                        document["sessions"] = [self._session(attempt)]
                    if not self.observer.conversations.is_left(identity.ids["chat_session_id"]):
                        document["messages"] = messages
            except Exception as error:  # numbers are not lost because somebody says odd things
                self.observer.complain(error)
        self._id = self._id or last or str(uuid7())
        call = attempt.fields()
        call["id"] = str(uuid7())
        call["request_message_id"] = self._id
        call["response_message_id"] = response or _NIL
        call["labels"] = identity.own_labels
        call["seen"] = self._seen(attempt, was_retried=was_retried)
        further = attempt.answer.further
        document["calls"] = [call, *(_further(call, usage) for usage in further)] if further else [call]
        return document

    def _said(self, attempt: "Attempt", *, was_retried: bool) -> tuple[list[dict[str, Any]], str | None, str | None]:
        """The messages that are to be saved, the id of the last one of the request, and that of the answer."""
        conversations, session, response = self.observer.conversations, self._identity.ids["chat_session_id"], None
        place = conversations.place(session, self.form.said(self.body), self.form.kept(self.body))
        at, unsaved = attempt.started, []
        for placed in place.new:
            if not conversations.is_saved(placed.id):
                unsaved.append(_message(placed, at))
            at += _TICK  # stores put messages in order by their times
        if not was_retried and (content := attempt.content()) is not None:
            said = Said("assistant", content)
            response = conversations.answer(session, place, said, attempt.answer.response_id)
            if not conversations.is_saved(response):
                unsaved.append(_message(Placed(response, place.last, said), max(attempt.ended_at, at)))
        return unsaved, place.last, response

    def _session(self, attempt: "Attempt") -> dict[str, Any]:
        whose = dict(self._identity.ids)
        title = self._identity.labels.get("session")
        session = {"id": whose.pop("chat_session_id"), **whose, "create_time": attempt.started}
        return {**session, "title": title} if title else session

    def _seen(self, attempt: "Attempt", *, was_retried: bool) -> dict[str, Any]:
        """What becomes labels at delivery."""
        answer = attempt.answer
        return {
            "provider": self.provider,
            "operation": self.form.operation,
            "attempt": attempt.number if was_retried or max(self._attempts, attempt.number) > 1 else None,
            "retried": was_retried,
            "served_model": _text(answer.model),
            "service_tier": _text(answer.service_tier),
            "request_id": attempt.request_id,
        }


class Attempt:
    """One attempt at a request: what is seen of it, until it ends."""

    def __init__(self, request: Request, number: int) -> None:
        self.number = number
        self.request_id: str | None = None
        self.http_status: int | None = None
        self.started = datetime.now(UTC)
        self._request = request
        self._reader = request.form.reader()
        self._read = self._reader.add
        self.answer = self._reader.answer
        self._is_over = False
        self._failure: Failure | None = None
        self._ended_at: datetime | None = None
        self._start = time.perf_counter()
        self._first: float | None = None
        self._last: float | None = None
        self._is_stream = False
        self._once = threading.Lock()

    def complain(self, error: Exception) -> None:
        """Recording went wrong; the user's call goes on."""
        self._request.observer.complain(error)

    def answered(self, http_status: int, *, request_id: str | None = None, is_stream: bool = False) -> None:
        """The server has answered; the body of a stream is still to come."""
        self._last = time.perf_counter()
        self._is_stream = is_stream
        self.http_status = http_status
        self.request_id = plain_text(request_id) if request_id else None

    def add(self, data: Any) -> None:
        """A JSON document of the answer has come. What cannot be read is left out."""
        if self._is_over or type(data) is not dict:
            return
        answer = self.answer
        try:
            self._read(data)
        except Exception as error:
            self.complain(error)
        if self._is_stream:
            if self._first is None and answer.has_content:
                self._first = time.perf_counter()
            if answer.is_done:
                self.end()

    def refused(self, http_status: int, body: Any, name: str) -> None:
        """The server has answered with an error. `name` is its code where the body says none."""
        self._failure = failure_said(http_status, body, name=name, secrets=self._request.secrets)
        self._finish()

    def end(self, error: BaseException | None = None, *, was_closed: bool = False) -> None:
        """It is over. What comes later is no part of it.

        Args:
            error: what was raised instead of an answer, or in the midst of a stream. An answer that is there and
                that the SDK refuses (cut off by its length, against a schema) is one: it is billed.
            was_closed: the user wanted no more of the stream.
        """
        if self._is_over:
            return
        try:
            self._failure = self._judge(error, was_closed=was_closed)
        except Exception as odd:
            self.complain(odd)
            self._failure = UNREADABLE
        self._finish()

    def _judge(self, error: BaseException | None, *, was_closed: bool) -> Failure | None:
        """What went wrong, if anything."""
        answer = self.answer
        if answer.error is not None:
            return failure_said(None, answer.error, name="error", secrets=self._request.secrets)
        if error is not None and not (answer.is_done or (answer.is_complete and not self._is_stream)):
            return failure_of(error, secrets=self._request.secrets)
        if answer.is_cancelled:
            return Failure(ApiCallStatus.CANCELLED, "cancelled", "the provider says that it was cancelled")
        if answer.is_complete:
            return None
        if self._is_stream:
            return CLOSED if was_closed else TRUNCATED
        return UNREADABLE if self._request.form.is_checked else None

    def happened(
        self, started: datetime, *, seconds: float, first: float | None = None, failure: Failure | None = None
    ) -> None:
        """It is over, and told of afterwards: how long it took, and after how many seconds its first content came."""
        self.started, self._failure = started, failure
        self._start, self._first, self._last = 0.0, first, seconds
        if self._once.acquire(blocking=False):
            self._is_over = True
            self._request.ended(self)

    def explain(self, error: BaseException) -> None:
        """The user gets this error for it, which says more than what was seen; but an answer stays one."""
        if self._failure is not None and self._failure.status is not ApiCallStatus.CANCELLED:
            said = failure_of(error, secrets=self._request.secrets)
            if said.status is not ApiCallStatus.CANCELLED:  # it came later, while waiting for the next attempt
                self._failure = said

    def _finish(self) -> None:
        if self._once.acquire(blocking=False):  # a stream may be closed by another thread meanwhile
            self._is_over = True
            if self._last is None or self._is_stream or self._failure is not None:
                self._last = time.perf_counter()
            self._request.ended(self)

    @property
    def _seconds(self) -> float:
        return max(0.0, (self._last or self._start) - self._start)

    @property
    def ended_at(self) -> datetime:
        """When it ended, by the clock that it began with: clocks are set in between."""
        if self._ended_at is None:
            self._ended_at = self.started + timedelta(seconds=self._seconds)
        return self._ended_at

    def content(self) -> dict[str, Any] | None:
        """What the model said, as far as it got."""
        return self._reader.content()

    def fields(self) -> dict[str, Any]:
        """What a record of the call says of this attempt."""
        failure, answer = self._failure, self.answer
        usage = answer.usage
        if usage is None and failure is not None and failure.was_refused:
            usage = _REFUSED_USAGE
        first = None if self._first is None else min(int((self._first - self._start) * 1000), MAX_INT)
        response_id = answer.response_id
        return {
            "model_name": self._request.model or plain_text(str(answer.model or "unknown")),
            "status": "success" if failure is None else failure.status.value,
            "error_code": None if failure is None else failure.code,
            "error_message": None if failure is None else failure.message,
            "usage": usage,
            "latency_ms": min(int(self._seconds * 1000), MAX_INT),
            "time_to_first_token_ms": first,
            "api_response_id": plain_text(response_id) if isinstance(response_id, str) else None,
            "create_time": self.started,
            "update_time": self.ended_at,
        }


def _text(value: Any) -> str | None:
    return plain_text(str(value)) if value else None


def _message(placed: Placed, at: datetime) -> dict[str, Any]:
    role, content = placed.said
    return {
        "id": placed.id,
        "parent_message_id": placed.parent,
        "role": role,
        "content": plain_json(content),
        "create_time": at,
    }


def _further(call: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """A call of its own for what is billed apart: no time of it is known but that of the whole."""
    apart = {"id": str(uuid7()), "usage": usage, "latency_ms": None, "time_to_first_token_ms": None}
    seen = {**call["seen"], "operation": str(usage.get("type") or "further")}
    return {**call, **apart, "seen": seen, "response_message_id": _NIL}
