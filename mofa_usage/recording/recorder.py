"""The recorder: takes records from any thread, keeps them in an outbox, and has them delivered."""

import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from uuid import UUID
from weakref import WeakSet

from mofa_usage.errors import MofaUsageError, RecordingError
from mofa_usage.recording import processes
from mofa_usage.recording.documents import document_of, records_in, write_document
from mofa_usage.recording.outbox.backlog import Backlog, MemoryBacklog, checked_limit
from mofa_usage.recording.outbox.folder import outbox_in
from mofa_usage.recording.outbox.segments import OwnBacklog
from mofa_usage.recording.pricing import Pricing
from mofa_usage.recording.privacy import Privacy, Redact
from mofa_usage.recording.scope import Identity, Scope, checked_labels, current_scope
from mofa_usage.recording.targets import default_folder, target_of
from mofa_usage.records import NIL_UUID, Record

if TYPE_CHECKING:
    import sqlalchemy as sa

    from mofa_usage.pricing import PriceBook
    from mofa_usage.recording.delivery import Delivery
    from mofa_usage.recording.observed import Observer
    from mofa_usage.stores import Store

__all__ = ["Recorder", "RecorderStats"]

_DISK_LIMIT, _MEMORY_LIMIT = 2**30, 64 * 2**20
_CLOSE_SECONDS = 5.0
_EXIT_SECONDS = 3.0
_POLL = 0.01  # seconds, in which an event loop looks whether all is delivered

_Client = TypeVar("_Client")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecorderStats:
    """How many records, and what became of them: `accepted = delivered + waiting + dead`, at every moment.

    Attributes:
        accepted: since the recorder was made; in a child that was forked, since then.
        delivered: saved in the database.
        waiting: in the outbox, to be delivered.
        dead: can never be saved; `mofa-usage outbox dead` shows them with the reasons.
        retried: had to be tried more than once.
        refused: were not accepted: the recorder was closed, the outbox full, the disk full, the document no document.
        labels_dropped: delivered calls without their labels, for which the table has no column.
        unpriced: delivered calls whose price is not known.
        content_dropped: messages whose content is left out because `redact` raised.
        oldest_waiting: when the oldest that waits was accepted (UTC); None where none waits.
        problem: what the last try to deliver met; None where it went well.
    """

    accepted: int
    delivered: int
    waiting: int
    dead: int
    retried: int
    refused: int
    labels_dropped: int
    unpriced: int
    content_dropped: int
    oldest_waiting: datetime | None
    problem: str | None


class Recorder:
    """Records what agents use, without ever being in their way. Safe to use from any thread and any task.

    ```python
    from mofa_usage import Recorder

    with Recorder("sqlite:usage.db") as recorder:
        recorder.record()  # any number of calls, messages and sessions
        assert recorder.flush(timeout=10)
    ```
    """

    def __init__(
        self,
        target: "str | sa.URL | Store | None" = None,
        *,
        outbox: str | os.PathLike[str] | Literal[False] | None = None,
        fsync: bool = False,
        prices: "PriceBook | Literal['auto'] | None" = "auto",
        capture_content: bool = True,
        redact: Redact | None = None,
        tenant_id: UUID | str = NIL_UUID,
        labels: Mapping[str, str] | None = None,
        max_waiting_bytes: int | None = None,
    ) -> None:
        """Open a recorder. Nothing is connected, and no thread is started, before something is recorded.

        Args:
            target: the database's URL, an open store, or None for the URL in DATABASE_URL.
            outbox: the folder in which accepted records wait; None is one of the user's, named after the target; False
                keeps them in memory only, where they are gone with the process. A store in memory has none unless it
                is given one.
            fsync: accepted records survive the end of the machine too: `record` returns when they are on the disk.
            prices: a book of prices, "auto" for list prices where the extra `pricing` is installed, or None.
            capture_content: keep messages; False keeps numbers only.
            redact: given each content before anything touches the disk; what it returns is kept, None leaves the
                message out. If it raises, the content is left out and counted.
            tenant_id: whose calls they are, unless a scope says otherwise; an id or a name, as in a scope.
            labels: of all calls that integrations record.
            max_waiting_bytes: what may wait, in bytes; 1 GiB in a folder (all of it), 64 MiB in memory unless given.
                When it is reached, new records are refused and counted; what was accepted stays.

        Raises:
            UsageError: something given is none of what it should be, or the outbox cannot be used.
            StoreConnectionError: DATABASE_URL is not set, or a URL takes no parameters.
        """
        self._target = target_of(target)
        self._privacy = Privacy(capture=capture_content, redact=redact)
        self._pricing = Pricing(prices)
        self._base = Identity().within({"tenant": tenant_id}, checked_labels(labels))
        self._fsync = fsync
        if outbox is None and self._target.lasts:
            outbox = default_folder(self._target)
        self._outbox = outbox_in(outbox)
        self._limit = checked_limit(max_waiting_bytes, _MEMORY_LIMIT if self._outbox is None else _DISK_LIMIT)
        self._refused = 0
        self._has_told = False
        self._begin()
        processes.register(self)
        if self._outbox is not None and self._outbox.owners():
            self._delivery.wake()

    def _begin(self) -> None:
        self._backlog: Backlog = (
            MemoryBacklog(self._limit)
            if self._outbox is None
            else OwnBacklog(self._outbox, self._limit, fsync=self._fsync)
        )
        self._counting = threading.RLock()  # a finalizer may record in the midst of anything
        self._scopes: WeakSet[Scope] = WeakSet()
        self._settled = threading.Condition()
        self._is_closed = False
        self._deliverer: Delivery | None = None

    @property
    def _delivery(self) -> "Delivery":
        if self._deliverer is None:
            from mofa_usage.recording.delivery import Delivery, Work  # with asyncio, and what the target needs

            with self._counting:
                if self._deliverer is None:
                    work = Work(self._target, self._pricing, self._backlog, self._outbox, self._after_round)
                    self._deliverer = Delivery(work)
        return self._deliverer

    # Recording

    def record(self, *records: Record) -> None:
        """Accept calls, messages and sessions: all of them or none. They are in the outbox when this returns.

        It never waits for the database. A record with an id that is there replaces that one, a session excepted.

        Raises:
            RecordingError: the recorder is closed, the outbox is full or cannot be written, or they are too large.
            UsageError: one is of another kind.
        """
        try:
            document = self._privacy.apply(document_of(records))
            self._accept(document, records_in(document), current_scope(self), wait=True)
        except Exception:
            self._refuse(len(records))
            raise

    def hand_over(self, document: dict[str, Any], scope: Scope | None = None, *, wait: bool = True) -> bool:
        """Accept a document (`mofa_usage.recording.documents`) from an integration; never raises.

        What is refused is counted and said once. The document belongs to the recorder from then on.

        Args:
            document: lists of the fields of records, which are validated at delivery.
            scope: the scope to count it in, where that is not the one of this context: that in which a stream began.
            wait: with `fsync`, until it is on the disk; an asynchronous integration does not.

        Returns:
            Whether it was accepted.
        """
        count = 1
        try:
            count = records_in(document)
            kept = self._privacy.apply(document)
            if kept is not document:
                count = records_in(kept)
            self._accept(kept, count, scope or current_scope(self), wait=wait)
        except Exception as error:
            self._refuse(count)
            if not self._has_told:
                self._has_told = True
                why = str(error) if isinstance(error, MofaUsageError | ValueError) else ""
                _log.warning("a chat is not recorded (said once, then counted): %s %s", type(error).__name__, why)
            return False
        return True

    def _accept(self, document: Mapping[str, Any], count: int, scope: Scope | None, *, wait: bool) -> None:
        if count == 0:
            if self._backlog.closed:
                raise RecordingError("the recorder is closed")
            return
        body = write_document(document)
        self._backlog.append(body, count)
        if self._fsync and isinstance(self._backlog, OwnBacklog):
            self._backlog.sync(wait=wait)
        if scope is not None and "calls" in document:
            scope.add(body, self._pricing)
        (self._deliverer or self._delivery).wake()

    def _refuse(self, count: int) -> None:
        with self._counting:
            self._refused += count

    # Whose calls they are

    def scope(
        self,
        *,
        user: UUID | str | None = None,
        session: UUID | str | None = None,
        agent: UUID | str | None = None,
        tenant: UUID | str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Scope:
        """Whose calls are recorded inside a `with` block, and what they use: see `mofa_usage.recording.scope`.

        Args:
            user, session, agent, tenant: ids, or names, which become the same id every time, and a label.
            labels: further labels of these calls.

        Raises:
            UsageError: a name is empty, or a label is none or set by the recorder itself.
        """
        names = {"user": user, "session": session, "agent": agent, "tenant": tenant}
        scope = Scope(self, self.identity.within(names, checked_labels(labels)))
        with self._counting:
            self._scopes.add(scope)
        return scope

    @property
    def identity(self) -> Identity:
        """Whose calls are recorded here and now."""
        scope = current_scope(self)
        return self._base if scope is None else scope.identity

    @property
    def observer(self) -> "Observer":
        """What integrations report to (`mofa_usage.recording.observed`)."""
        from mofa_usage.recording.observed import Observer

        # Of two threads by the first: clients must know of each other's conversations.
        made: Observer = self.__dict__.setdefault("_observer", Observer(self))
        return made

    @property
    def captures_content(self) -> bool:
        """Whether messages are kept."""
        return self._privacy.captures

    @property
    def privacy(self) -> Privacy:
        """What of messages is kept, also by who saves them without the recorder."""
        return self._privacy

    def wrap(self, client: _Client) -> _Client:
        """The same client, recorded: OpenAI's, Anthropic's and others (`mofa_usage.recording.sdks`).

        It behaves as before. What is made of it later (`with_options`, ...) is recorded too; a client that is recorded
        already is left as it is.

        Raises:
            UsageError: nobody here records such clients, or not in the installed version of their SDK.
        """
        from mofa_usage.recording.sdks import wrap

        return wrap(client, self.observer)

    # Delivering

    def _after_round(self) -> None:
        with self._counting:
            scopes = list(self._scopes)
        for scope in scopes:
            _ = scope.usage  # counted here rather than by who records
        with self._settled:
            self._settled.notify_all()

    @property
    def _is_done(self) -> bool:
        looking = self._deliverer is not None and self._deliverer.is_alive and self._deliverer.is_looking
        return not self._backlog.waiting and not looking

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits, what ended processes have left included; at most so many seconds. Whether it is so.

        It tries at once, whatever failed before.
        """
        if self._is_done:
            return True
        self._delivery.hurry()
        with self._settled:
            self._settled.wait_for(lambda: self._is_done or self._is_closed, timeout)
        return self._is_done

    async def aflush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 (as `flush` has it)
        """`flush` for a task of any event loop."""
        import asyncio

        if not self._is_done:
            self._delivery.hurry()
        end = None if timeout is None else time.monotonic() + timeout
        while not self._is_done and not self._is_closed:
            if end is not None and time.monotonic() >= end:
                break
            await asyncio.sleep(_POLL)
        return self._is_done

    def close(self, timeout: float = _CLOSE_SECONDS) -> None:
        """Accept nothing more, and deliver what waits for at most so many seconds; the rest stays in the outbox.

        Closing twice does nothing.
        """
        with self._counting:
            was_closed, self._is_closed = self._is_closed, True
        if was_closed:
            return
        self._backlog.closed = True
        processes.unregister(self)
        if self._deliverer is not None or self._backlog.waiting:
            self._delivery.stop(timeout)
        self._let_go()

    def _let_go(self) -> None:
        waiting = self._backlog.waiting
        if waiting and not self._backlog.lasts:
            _log.warning("%d records are lost: they waited in memory, and could not be delivered in time", waiting)
        elif waiting:
            _log.warning("%d records wait in %s, for the next process or outbox drain", waiting, self._backlog.where)
        self._backlog.release()
        with self._settled:
            self._settled.notify_all()

    async def aclose(self, timeout: float = _CLOSE_SECONDS) -> None:  # noqa: ASYNC109 (as `close` has it)
        """`close` for a task of any event loop: it does not block it while it delivers."""
        if self._is_closed:
            return
        self._backlog.closed = True
        if self._backlog.waiting:
            await self.aflush(timeout)
        self.close(0)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For `Starlette(lifespan=recorder.lifespan)` and FastAPI's: closes the recorder when the server stops.

        uvicorn, on SIGTERM, runs the lifespan's end and nothing of `atexit`. In a lifespan of your own:
        `async with recorder.lifespan(app): yield`.
        """
        try:
            yield
        finally:
            await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # Looking at it

    def stats(self) -> RecorderStats:
        """The counts of this moment."""
        numbers = self._backlog.numbers()
        delivery = self._deliverer
        return RecorderStats(
            accepted=numbers.accepted,
            delivered=numbers.delivered,
            waiting=numbers.waiting,
            dead=numbers.dead,
            retried=0 if delivery is None else delivery.retried,
            refused=self._refused + self._backlog.refused,
            labels_dropped=numbers.labels_dropped,
            unpriced=numbers.unpriced,
            content_dropped=self._privacy.dropped,
            oldest_waiting=numbers.oldest_waiting,
            problem=None if delivery is None else delivery.problem,
        )

    @property
    def outbox(self) -> "os.PathLike[str] | None":
        """The folder in which records wait; None for memory."""
        return None if self._outbox is None else self._outbox.folder

    def __repr__(self) -> str:
        return f"<Recorder to {self._target.name}{', closed' if self._is_closed else ''}>"

    # The process forks or ends: see `processes`

    def _begin_anew(self) -> None:
        backlog = self._backlog
        if isinstance(backlog, OwnBacklog):
            backlog.abandon()
        processes.keep(self._target, self._deliverer)
        self._target = self._target.again()
        self._refused = 0
        self._pricing.begin_anew()
        self._privacy.begin_anew()
        if "_observer" in self.__dict__:
            self.observer.conversations.begin_anew()
        scopes = list(self._scopes)
        self._begin()
        self._scopes.update(scopes)
        for scope in scopes:
            scope.begin_anew()

    def _end(self) -> None:
        self.close(_EXIT_SECONDS)
