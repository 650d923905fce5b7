"""Spans that have ended, told to the recorder as what it observes: a request, its attempts, and what was said.

Whose call it is, the scope says in which its span began. What no scope says is taken from the span, from the one that
captured what was said, and from those around it: `gen_ai.conversation.id` or `session.id`, `user.id` or `enduser.id`,
`gen_ai.agent.name`.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mofa_usage.recording.formats.answers import Answer, Format, nothing_said
from mofa_usage.recording.observed import Observer, Request
from mofa_usage.recording.opentelemetry.contents import answered, asked
from mofa_usage.recording.opentelemetry.nesting import Chat, Nesting, OpenSpan
from mofa_usage.recording.opentelemetry.spans import Key, Seen, said_of
from mofa_usage.recording.overlaps import Window
from mofa_usage.recording.scope import Identity, Whose
from mofa_usage.records import NIL_UUID

__all__ = ["Teller"]

_log = logging.getLogger(__name__)
_COLUMNS = {"session": "chat_session_id", "user": "user_id", "agent": "agent_id"}


class Teller:
    """Tells an observer of the spans of one processor or exporter; nothing here raises.

    Args:
        observer: the recorder's.
        waits: whether the thread may wait for the disk where the recorder is told to (`fsync`).
    """

    def __init__(self, observer: Observer, *, waits: bool) -> None:
        self._observer = observer
        self._waits = waits
        self._nesting = Nesting()
        self._has_warned = False

    def begin(self, opened: OpenSpan, around: Sequence[Window] = ()) -> bool:
        """A span begins. Whether all that had to be told was accepted; so with the others."""
        return self._tell(self._nesting.begin(opened, around))

    def end(self, span: Any, whose: Whose) -> bool:
        """A span has ended; `whose` it is where its beginning was not seen."""
        seen = Seen(span)
        opened = self._nesting.take(seen.key) or OpenSpan(span, whose)
        is_recorded = False
        if seen.is_call:
            self._warn(seen)
            is_recorded = opened.is_recorded(self._observer, seen.request.asked, seen.response_id)
        return self._tell(self._nesting.end(seen, opened, is_recorded=is_recorded))

    def drop(self, key: Key) -> None:
        """Nobody has this span any more, and it has not ended."""
        self._tell(self._nesting.drop(key))

    def rest(self) -> bool:
        """Tell what waits for spans that have not ended."""
        return self._tell(self._nesting.rest())

    def _warn(self, seen: Seen) -> None:
        if seen.dropped and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "a span of %s has lost %d attributes, and what they said is unknown (said once): "
                "raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT, or capture less content",
                seen.emitter,
                seen.dropped,
            )

    def _tell(self, chats: Sequence[Chat]) -> bool:
        accepted = True
        for chat in chats:
            try:
                accepted &= self._told(chat)
            except Exception as error:
                accepted = False
                self._observer.complain(error)
        return accepted

    def _told(self, chat: Chat) -> bool:
        first = chat.calls[0]
        request = Request(
            self._observer,
            _form(chat.content, first.request.operation),
            {},
            provider=first.provider,
            model=first.request.asked,
            secrets=(),
            is_async=not self._waits,
            whose=self._whose(chat),
        )
        for seen in chat.calls:
            attempt = request.attempt()
            attempt.number += seen.resends
            attempt.answered(seen.http_status or 200, request_id=seen.text("request_id") or None)
            attempt.add({"span": seen})
            attempt.happened(seen.started, seconds=seen.seconds, first=seen.first, failure=seen.failure)
        request.end()
        return request.is_accepted

    def _whose(self, chat: Chat) -> Whose:
        scope, identity, _ = chat.whose
        sources = [chat.calls[0].attributes, chat.content.attributes]
        sources += [dict(other.attributes) for other in self._nesting.above(chat.opened)]
        return Whose(scope, _named(identity, sources))


def _named(identity: Identity, sources: Sequence[Mapping[str, Any]]) -> Identity:
    """Whose call it is, with the names that spans say, the nearest first, where no scope says any."""
    names = {}
    for name, column in _COLUMNS.items():
        if getattr(identity, column) == NIL_UUID:
            names[name] = next(filter(None, (said_of(source, name) for source in sources)), None)
    return identity.within(names, {}) if any(names.values()) else identity


def _form(content: Seen, operation: str | None) -> Format:
    """The format of what spans have captured: the messages of one, and the answer of each that is added."""
    said = nothing_said if operation == "embeddings" else lambda body: asked(content)
    return Format(lambda: _Reader(content), said, operation=operation, is_checked=False)


class _Reader:
    def __init__(self, content: Seen) -> None:
        self.answer = Answer()
        self._content = content

    def add(self, data: Mapping[str, Any]) -> None:
        seen: Seen = data["span"]
        answer = self.answer
        answer.response_id, answer.model = seen.response_id, seen.request.served or None
        answer.service_tier, answer.usage = seen.service_tier, seen.usage
        answer.further = [] if (compaction := seen.compaction) is None else [compaction]

    def content(self) -> dict[str, Any] | None:
        return answered(self._content)
