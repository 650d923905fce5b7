"""Whose calls they are: a scope says it for all that is recorded inside it, and counts what they use.

```python
from mofa_usage import Recorder

with Recorder("sqlite:usage.db") as recorder, recorder.scope(user="alice", labels={"feature": "search"}) as scope:
    ...                                    # calls of recorded clients
    if (scope.usage.cost or 0) > 1:        # at once, whatever the database does
        raise RuntimeError("that is enough")
```

Scopes live in context variables: each task has its own, `asyncio.to_thread` and new tasks take theirs along; a new
`Thread` and an executor's do not, and there the integration is given the scope. They nest: inner ones win, labels
merge, and a call counts in all that it is in.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self
from uuid import UUID

from mofa_usage.errors import UsageError
from mofa_usage.labels import RESERVED, Labels, check_label
from mofa_usage.recording.documents import read_calls
from mofa_usage.recording.pricing import Pricing
from mofa_usage.records import NIL_UUID, LLMApiCall
from mofa_usage.values import COMPLETION_UNKNOWN, PROMPT_UNKNOWN, text_uuid

if TYPE_CHECKING:
    from mofa_usage.recording.turns import Turn

__all__ = [
    "Identity",
    "Scope",
    "ScopeUsage",
    "Whose",
    "again_in",
    "checked_labels",
    "current_scope",
    "innermost_scope",
    "whose_now",
]

_FIELDS = {"user": "user_id", "session": "chat_session_id", "agent": "agent_id", "tenant": "tenant_id"}
_OWN = frozenset(RESERVED) - {"environment"}
_UUID_LENGTH = 36
_UNCOUNTED = 5_000  # documents that may wait to be counted by the thread that delivers, or by who asks

_scope: ContextVar["Scope | None"] = ContextVar("mofa_usage.recording.scope", default=None)


@dataclass(frozen=True)
class Identity:
    """Whose calls they are. Ids that nobody gave are nil."""

    user_id: UUID = NIL_UUID
    chat_session_id: UUID = NIL_UUID
    agent_id: UUID = NIL_UUID
    tenant_id: UUID = NIL_UUID
    labels: Mapping[str, str] = field(default_factory=dict)

    # Both are made once. The lock of Python 3.11's `cached_property` could be held when the process forks.

    @property
    def ids(self) -> dict[str, str]:
        """The fields of a record that say so, as JSON has them. For reading only."""
        ids: dict[str, str] | None = self.__dict__.get("_ids")
        if ids is None:
            ids = self.__dict__["_ids"] = {column: str(getattr(self, column)) for column in _FIELDS.values()}
        return ids

    @property
    def own_labels(self) -> dict[str, str]:
        """The labels as JSON has them. For reading only."""
        labels: dict[str, str] | None = self.__dict__.get("_labels")
        if labels is None:
            labels = self.__dict__["_labels"] = dict(self.labels)
        return labels

    def within(self, names: Mapping[str, UUID | str | None], labels: Mapping[str, str]) -> "Identity":
        """The same with what is given in place of what was; text becomes an id and a label."""
        ids = {column: getattr(self, column) for column in _FIELDS.values()}
        merged = {**self.labels, **labels}
        for name, value in names.items():
            if value is None:
                continue
            merged.pop(name, None)
            ids[_FIELDS[name]], label = _identified(name, value)
            if label is not None:
                merged[name] = label
        return Identity(**ids, labels=MappingProxyType(merged))


def _identified(name: str, value: UUID | str) -> tuple[UUID, str | None]:
    if isinstance(value, UUID):
        return value, None
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{name} is a UUID or a text that is not empty, not {type(value).__name__} {value!r:.40}")
    if len(value) == _UUID_LENGTH:
        try:
            return UUID(value), None
        except ValueError:
            pass
    return text_uuid(_FIELDS[name], value), checked_labels({"name": value})["name"]


def checked_labels(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """Labels of one's own.

    Raises:
        UsageError: one is no label, or one that the recorder itself sets.
    """
    if labels is not None and not isinstance(labels, Mapping):
        raise UsageError(f"labels are names and texts, such as {{'feature': 'search'}}, not a {type(labels).__name__}")
    for name, value in (labels or {}).items():
        if name in _OWN:
            hint = f"scope({name}=...)" if name in _FIELDS else "what records the call"
            raise UsageError(f"the label {name!r} is set by {hint}, not among labels of your own")
        try:
            check_label(name, value)
        except ValueError as error:
            raise UsageError(f"labels: {error}") from None
    return Labels(labels or {})


@dataclass(frozen=True)
class ScopeUsage:
    """What was recorded in a scope so far.

    `costs` are exact sums of the `priced_calls` whose price is known, by currency. Tokens are those that are known.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    priced_calls: int = 0
    costs: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def cost(self) -> Decimal | None:
        """The cost where all priced calls are in one currency, else None; None where no call has a price."""
        return next(iter(self.costs.values())) if len(self.costs) == 1 else None


class _Counted:
    """The calls of a document that are counted in the scopes they are in, but made records and priced once."""

    __slots__ = ("_body", "_calls", "_pricing")

    def __init__(self, body: bytes, pricing: Pricing) -> None:
        self._body, self._pricing = body, pricing  # bytes: the garbage collector has nothing to look into
        self._calls: Sequence[LLMApiCall] | None = None

    def calls(self) -> Sequence[LLMApiCall]:
        """The calls with their prices."""
        if (calls := self._calls) is None:
            try:
                calls = [self._pricing.priced(call) for call in read_calls(self._body)]
            except Exception:  # what is none is a dead letter, and known as one
                calls = ()
            self._calls, self._body = calls, b""
        return calls


class Scope:
    """Whose calls they are, as long as the `with` block lasts; and their usage, afterwards too."""

    def __init__(self, owner: object, identity: Identity) -> None:
        self.identity = identity
        self._owner = owner
        self._outer: Scope | None = None
        self._token: Token[Scope | None] | None = None
        self._is_left = False  # and may still be in a context variable
        self._uncounted: deque[_Counted] = deque()
        self._lock = threading.RLock()
        self._usage = ScopeUsage()

    def __enter__(self) -> Self:
        if self._token is not None:
            raise UsageError("a scope is entered once: ask the recorder for another one")
        self._outer = _scope.get()
        self._token = _scope.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Generators are left in any order, and those that somebody abandoned in another context than they were entered.
        is_inner = _innermost(_scope.get()) is self
        self._is_left = True
        if self._token is not None and is_inner:
            with suppress(ValueError):
                _scope.reset(self._token)
                self._is_left = False  # tasks that began in it go on in it

    @property
    def usage(self) -> ScopeUsage:
        """What was recorded in it so far, and in scopes inside it."""
        with self._lock:
            while self._uncounted:
                for call in self._uncounted.popleft().calls():
                    self._count(call)
            return self._usage

    def _count(self, call: LLMApiCall) -> None:
        usage, costs, source = self._usage, dict(self._usage.costs), call.token_source
        prompt = 0 if source in PROMPT_UNKNOWN else call.prompt_tokens
        completion = 0 if source in COMPLETION_UNKNOWN else call.completion_tokens
        if call.total_price is not None and call.currency is not None:
            costs[call.currency] = costs.get(call.currency, Decimal(0)) + call.total_price
        self._usage = ScopeUsage(
            calls=usage.calls + 1,
            prompt_tokens=usage.prompt_tokens + prompt,
            completion_tokens=usage.completion_tokens + completion,
            total_tokens=usage.total_tokens + call.total_tokens,
            priced_calls=usage.priced_calls + (call.total_price is not None),
            costs=costs,
        )

    def add(self, body: bytes, pricing: Pricing) -> None:
        """Count the calls of a document here and in the scopes around."""
        counted = _Counted(body, pricing)
        scope: Scope | None = self
        while scope is not None:
            scope._uncounted.append(counted)
            if len(scope._uncounted) > _UNCOUNTED:
                _ = scope.usage
            scope = scope.outer(self._owner)

    def begin_anew(self) -> None:
        """In a child that was forked: the lock may be held by a thread that is not there."""
        self._lock = threading.RLock()

    def outer(self, owner: object) -> "Scope | None":
        """The next scope around it of the same recorder."""
        return _innermost(self._outer, owner)


def innermost_scope() -> Scope | None:
    """The innermost scope of any recorder in this context."""
    return _innermost(_scope.get())


@contextmanager
def again_in(scope: Scope | None) -> Iterator[None]:
    """For a while in a scope that was entered before, and perhaps left since."""
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def current_scope(owner: object) -> Scope | None:
    """The innermost scope of a recorder in this context."""
    return _innermost(_scope.get(), owner)


def _innermost(scope: Scope | None, owner: object = None) -> Scope | None:
    """The scope, or the next one around it that is not left, and that is the recorder's if one is given."""
    while scope is not None and (scope._is_left or (owner is not None and scope._owner is not owner)):
        scope = scope._outer
    return scope


class Whose(NamedTuple):
    """Whose call it is, the scope that it counts in, and the turn of an agent that saves what is said."""

    scope: Scope | None
    identity: Identity
    turn: "Turn | None" = None


class _Identified(Protocol):
    @property
    def identity(self) -> Identity: ...


def whose_now(recorder: _Identified) -> Whose:
    """Whose calls are recorded here and now."""
    scope = current_scope(recorder)
    return Whose(scope, recorder.identity if scope is None else scope.identity)
