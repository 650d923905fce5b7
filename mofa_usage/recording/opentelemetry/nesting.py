"""Which of several spans of one request counts: the innermost, once.

A framework's span, an instrumentation's and the SDK's own may all tell of one request. The innermost is nearest to the
provider: its numbers count. What only those around it say (messages, a session) is taken from them. So a call waits for
the span around it as long as that is open and may be of the same request. One that is dropped and never ends, as some
instrumentations drop theirs when a stream is left, is noticed when Python collects it; else `rest` gives up waiting.

Two spans, of which one lies in the other, are of one request when

- their answers have the same id, or the same counts of tokens; or
- one has no id, and their models are the same, asked for or served;

and their operations do not differ. Nothing lies between them that says what it is: what a model is asked for by a tool
is another request. Instrumentations that do not make their span the current one (Traceloop's) put the SDK's span beside
theirs: one that was begun in the same context by another emitter while that was open is taken as if it lay inside.

A span whose counts are the sum of those of the calls beneath it is a roll-up, whatever it says it is. And of two spans
from different emitters that name the same answer, at the same time, the first counts, wherever they are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from weakref import ref

from mofa_usage.recording.opentelemetry.contents import has_content
from mofa_usage.recording.opentelemetry.spans import Key, Request, Seen, is_around, is_call, request_of
from mofa_usage.recording.overlaps import Window
from mofa_usage.recording.scope import Whose

__all__ = ["Chat", "Nesting", "OpenSpan"]

_REMEMBERED = 20_000
_HIGHEST = 50  # spans above a span that are looked at


class OpenSpan(Window):
    """A span that has begun: in whose scope, and which calls wait for its end.

    `beside` is the span of another emitter that was open then and is not its parent.
    """

    __slots__ = ("_span", "beside", "emitter", "held", "key", "parent", "whose")

    def __init__(self, span: Any, whose: Whose, dropped: Callable[[Key], None] | None = None) -> None:
        """`dropped` is told when nobody has the span any more, and it has not ended."""
        super().__init__()
        context = span.get_span_context()
        self.key: Key = (context.trace_id, context.span_id)
        self.parent: Key | None = None if span.parent is None else (span.parent.trace_id, span.parent.span_id)
        self.emitter: str = span.instrumentation_scope.name if span.instrumentation_scope is not None else ""
        self._span: ref[Any] | None = ref(span, None if dropped is None else partial(_notice, dropped, self.key))
        self.whose = whose
        self.beside: OpenSpan | None = None
        self.held: list[Chat] = []

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What it says so far."""
        span = None if self._span is None else self._span()
        return {} if span is None else span.attributes or {}

    def close(self) -> None:
        """It has ended."""
        self.is_open = False
        self._span = None


def _notice(dropped: Callable[[Key], None], key: Key, _: Any) -> None:
    dropped(key)


@dataclass
class Chat:
    """One request as spans tell of it: its calls, of which the next tried the one before again; and who captured what
    was said.

    `opened` is the outermost of its spans so far, `whose` what the scope says in which the innermost began.
    """

    calls: list[Seen]
    content: Seen
    opened: OpenSpan
    whose: Whose


class _Facts(NamedTuple):
    """What is remembered of a call."""

    request: Request
    response_id: str | None
    counts: tuple[int | None, int | None]


@dataclass
class _Beneath:
    """Calls in a span that may be of its request, those that began beside it, and the sums of tokens in it."""

    calls: list[_Facts] = field(default_factory=list)
    beside: list[_Facts] = field(default_factory=list)
    sums: tuple[int, int] = (0, 0)


def _facts(seen: Seen) -> _Facts:
    return _Facts(seen.request, seen.response_id, seen.counts)


def _may_be_one(one: Request, other: Request) -> bool:
    """Whether nothing says that they are different requests. Names of models are compared where both have one."""
    if one.operation != other.operation:
        return False
    return _is_same_model(one, other) or not (one.asked or one.served) or not (other.asked or other.served)


def _is_same_model(one: Request, other: Request) -> bool:
    return bool({one.asked, one.served} & {other.asked, other.served} - {""})


def _is_one(outer: _Facts, inner: _Facts) -> bool:
    """Whether two calls, one in the other, are of one request."""
    if outer.request.operation != inner.request.operation:
        return False
    if outer.response_id and outer.response_id == inner.response_id:
        return True
    if None not in outer.counts and any(outer.counts) and outer.counts == inner.counts:
        return True
    return not (outer.response_id and inner.response_id) and _is_same_model(outer.request, inner.request)


class Nesting:
    """The spans of one processor or exporter; for any thread. What it remembers is bounded."""

    def __init__(self) -> None:
        self._open: dict[Key, OpenSpan] = {}
        self._beneath: dict[Key, _Beneath] = {}
        self._counted: dict[Key, _Facts] = {}
        self._answers: dict[str, tuple[str, int, int]] = {}  # emitter, begin, end

    def begin(self, opened: OpenSpan, around: Iterable[Window] = ()) -> list[Chat]:
        """A span has begun, in a context with these windows. What it displaces from memory is to be told now."""
        for other in around:
            if isinstance(other, OpenSpan) and self._is_beside(opened, other):
                opened.beside = other
        self._open[opened.key] = opened
        displaced = _bounded(self._open)
        return [chat for other in displaced for chat in _released(other)]

    def _is_beside(self, opened: OpenSpan, other: OpenSpan) -> bool:
        is_ours = self._open.get(other.key) is other
        return is_ours and other.parent == opened.parent and other.emitter != opened.emitter

    def take(self, key: Key) -> OpenSpan | None:
        """The span that has begun and now ends."""
        opened = self._open.pop(key, None)
        if opened is not None:
            opened.close()
        return opened

    def drop(self, key: Key) -> list[Chat]:
        """A span that has begun will never end. What waited for it is to be told now."""
        opened = self.take(key)
        return [] if opened is None else _released(opened)

    def above(self, opened: OpenSpan) -> Iterable[OpenSpan]:
        """The open spans around one, the nearest first."""
        parent = opened.parent
        for _ in range(_HIGHEST):
            if parent is None or (found := self._open.get(parent)) is None:
                return
            yield found
            parent = found.parent

    def end(self, seen: Seen, opened: OpenSpan, *, is_recorded: bool) -> list[Chat]:
        """A span has ended. What is to be told now.

        `is_recorded`: a recorded client tells of the same request.
        """
        beneath = self._beneath.pop(seen.key, None) or _Beneath()
        held = _released(opened)
        if not seen.is_call:
            self._pass_up(seen, beneath)
            return held
        facts = _facts(seen)
        inner = [chat for chat in held if _is_one(facts, _facts(chat.calls[-1]))]
        others = [chat for chat in held if chat not in inner]
        is_beside = any(_is_one(facts, other) for other in beneath.beside)
        is_known = is_beside or any(_is_one(facts, below) for below in beneath.calls)
        is_known = is_known or beneath.sums == facts.counts != (0, 0)
        if not is_beside:  # else the span above both has heard of it
            self._add_to(seen.parent, [facts], facts.counts if None not in facts.counts else beneath.sums)
        if opened.beside is not None:
            self._beneath_of(opened.beside.key).beside.append(facts)
        if is_recorded:
            return others
        if inner:
            *before, last = _attempts(inner, seen, opened)
            return [*others, *before, *self._wait(last, opened)]
        if is_known or self._was_counted(seen, facts):
            return others
        return [*others, *self._wait(Chat([seen], seen, opened, opened.whose), opened)]

    def rest(self) -> list[Chat]:
        """All that waits for spans that have not ended."""
        return [chat for opened in list(self._open.values()) for chat in _released(opened)]

    def _wait(self, chat: Chat, opened: OpenSpan) -> list[Chat]:
        """Hold a call back for the span around it, or give it back where there is none of the same request."""
        request = chat.calls[-1].request
        for outer in self._around(opened):
            attributes = outer.attributes
            if is_around(attributes):
                break
            if is_call(attributes):
                if not _may_be_one(request_of(attributes), request):
                    if outer is opened.beside:
                        continue
                    break
                outer.held.append(chat)
                if self._open.get(outer.key) is not outer:  # it ended meanwhile, in another thread
                    return _released(outer)
                return []
        return [chat]

    def _around(self, opened: OpenSpan) -> Iterable[OpenSpan]:
        if (beside := opened.beside) is not None and self._open.get(beside.key) is beside:
            yield beside
        yield from self.above(opened)

    def _was_counted(self, seen: Seen, facts: _Facts) -> bool:
        """Whether the span around it, or another emitter's, has told of it before; it is remembered."""
        around = None if seen.parent is None else self._counted.get(seen.parent)
        if around is not None and _is_one(around, facts):
            return True
        self._counted[seen.key] = facts
        _bounded(self._counted)
        if seen.response_id is None:
            return False
        emitter, begin, end = self._answers.get(seen.response_id, (seen.emitter, 0, 0))
        if emitter != seen.emitter and begin <= seen.end and seen.begin <= end:
            return True
        self._answers[seen.response_id] = (seen.emitter, seen.begin, seen.end)
        _bounded(self._answers)
        return False

    def _pass_up(self, seen: Seen, beneath: _Beneath) -> None:
        if beneath.calls or any(beneath.sums):
            self._add_to(seen.parent, [] if seen.is_around else beneath.calls, beneath.sums)

    def _add_to(self, key: Key | None, calls: list[_Facts], sums: tuple[int | None, int | None]) -> None:
        if key is None:
            return
        beneath = self._beneath_of(key)
        beneath.calls += calls
        beneath.sums = (beneath.sums[0] + (sums[0] or 0), beneath.sums[1] + (sums[1] or 0))

    def _beneath_of(self, key: Key) -> _Beneath:
        beneath = self._beneath.setdefault(key, _Beneath())
        _bounded(self._beneath)
        return beneath


def _attempts(inner: Sequence[Chat], outer: Seen, opened: OpenSpan) -> Iterator[Chat]:
    """The requests among the calls in a span: one that failed was tried again by the next one."""
    calls: list[Seen] = []
    for chat in inner:
        calls += chat.calls
        if chat is inner[-1]:
            yield Chat(calls, chat.content if has_content(chat.content) else outer, opened, chat.whose)
        elif chat.calls[-1].failure is None:
            yield Chat(calls, chat.content, opened, chat.whose)
            calls = []


def _released(opened: OpenSpan) -> list[Chat]:
    held, opened.held = opened.held, []
    return held


def _bounded(remembered: dict[Any, Any]) -> list[Any]:
    """Forget the oldest, and give it back."""
    forgotten = []
    while len(remembered) > _REMEMBERED:
        try:
            forgotten.append(remembered.pop(next(iter(remembered)), None))
        except (StopIteration, RuntimeError):  # another thread has changed it
            break
    return [item for item in forgotten if item is not None]
