"""The thread that delivers: it has an event loop and a connection of its own, and nobody ever waits for it.

It takes what waits in batches, validates and prices it, saves it and settles it. What fails is tried again after a
while that doubles up to half a minute, with what has come meanwhile: nothing is held in memory. Between its own batches
it takes over what ended processes have left.
"""

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from mofa_usage.errors import MofaUsageError, QueryError
from mofa_usage.forks import loading
from mofa_usage.recording import documents
from mofa_usage.recording.documents import Item, Unreadable, fields_of, read_document
from mofa_usage.recording.outbox.backlog import Backlog, Batch, Dead, Settled
from mofa_usage.recording.outbox.folder import Outbox
from mofa_usage.recording.outbox.segments import LeftBacklog, OwnBacklog
from mofa_usage.recording.pricing import Pricing
from mofa_usage.recording.saving import Saver, passes
from mofa_usage.recording.targets import Target
from mofa_usage.records import LLMApiCall

__all__ = ["Delivery", "NotSavedError", "Work", "deliver_left"]

_RECORDS, _BYTES = 1000, 4 * 2**20  # of a batch
_LINGER = 0.01  # seconds in which a batch may grow
_LOOK_AROUND = 5.0  # seconds between looks for what ended processes left
_TIDY_AFTER = 1.0  # seconds without anything new
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
_END_SECONDS = 2.0  # that the end of the thread may take when there is nothing more to do
_CONVICTED = 3  # times that a record fails while others do not

_log = logging.getLogger(__name__)


class NotSavedError(QueryError):
    """A batch is not saved, and it is not clear yet whose fault that is."""


@dataclass(frozen=True)
class Work:
    """What there is to deliver, from where to where."""

    target: Target
    pricing: Pricing
    own: Backlog | None
    outbox: Outbox | None
    on_round: Callable[[], None]


class _Deliverer:
    """Delivers batches of any backlog; used by one task."""

    def __init__(self, target: Target, pricing: Pricing) -> None:
        self._target = target
        self._pricing = pricing
        self._saver: Saver | None = None
        self._failures: Counter[tuple[int, int, int, int]] = Counter()

    async def deliver(self, backlog: Backlog) -> bool:
        """Deliver a batch; False where nothing waits.

        Raises:
            Exception: it must be tried again.
        """
        batch = backlog.take(_RECORDS, _BYTES)
        if batch is None:
            return False
        settled = await self._save(backlog, batch) if batch.frames else Settled()
        backlog.settle(batch, settled)
        self._failures.clear()
        if dead := batch.lost + sum(map(len, settled.dead.values())):
            first = next((reason.reason for reasons in settled.dead.values() for reason in reasons), "damaged")
            why = (
                "why, says mofa-usage outbox dead list"
                if backlog.lasts
                else f"there is no outbox to keep them: {first}"
            )
            _log.warning("%d records can never be saved and are dead letters; %s", dead, why)
        return True

    async def _save(self, backlog: Backlog, batch: Batch) -> Settled:
        dead: dict[int, list[Dead]] = {}
        items: list[Item] = []
        frames: list[int] = []
        unpriced = 0
        for number, frame in enumerate(batch.frames):
            found = 0
            for one in read_document(frame.body):
                if isinstance(one, Unreadable):
                    count = 1 if one.kind else frame.count
                    dead.setdefault(number, []).extend([Dead(one.kind, one.fields, one.reason)] * count)
                    found += count
                    continue
                if isinstance(one.record, LLMApiCall):
                    one = one._replace(record=self._pricing.priced(one.record))
                    unpriced += cast(LLMApiCall, one.record).total_price is None
                items.append(one)
                frames.append(number)
                found += 1
            if number % 50 == 0:
                await asyncio.sleep(0)
        saver = await self._connected()
        done = await saver.save(items)
        for place, reason in self._convicted(backlog, batch, frames, done.suspects, done.saved).items():
            done.dead[place] = reason
        for place, reason in done.dead.items():
            fields = fields_of(batch.frames[frames[place]].body, items[place])
            dead.setdefault(frames[place], []).append(Dead(items[place].kind, fields, reason))
            unpriced -= _is_unpriced(items[place])
        return Settled(dead, done.labels_dropped, unpriced)

    def _convicted(
        self, backlog: Backlog, batch: Batch, frames: list[int], suspects: dict[int, str], saved: int
    ) -> dict[int, str]:
        """The suspects, where they have failed often enough while others did not.

        Raises:
            NotSavedError: they have not.
        """
        if not suspects:
            return {}
        places = {
            (id(backlog), batch.segment, batch.frames[frames[place]].start, place - frames.index(frames[place])): place
            for place in suspects
        }
        if saved:
            self._failures.update(places.keys())
        if any(self._failures[key] < _CONVICTED for key in places):
            raise NotSavedError(next(iter(suspects.values())))
        return suspects

    async def _connected(self) -> Saver:
        if self._saver is None:
            self._saver = Saver(await self._target.open())
        return self._saver

    async def close(self) -> None:
        """Close the connection."""
        self._saver = None
        await self._target.close()


def _is_unpriced(item: Item) -> bool:
    return isinstance(item.record, LLMApiCall) and item.record.total_price is None


class Delivery:
    """A thread that delivers until it is told to stop; made again in a child that was forked."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._asleep = False
        self._hurried = False
        self._stopping = False
        self._given_up = False
        self._failed_through = 0
        self.retried = 0
        self.is_looking = work.outbox is not None  # whether there may be more that others left
        self.problem: str | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """There is something to deliver."""
        if self._thread is None:
            self._start()
        if self._asleep:
            self._asleep = False
            self._call(self._woken.set)

    def hurry(self) -> None:
        """Try again now, whatever failed before."""
        self._hurried = True
        self.wake()
        self._call(self._woken.set)

    def stop(self, timeout: float) -> None:
        """End the thread when nothing of its own waits, at the latest after so many seconds."""
        self._stopping = True
        with self._starting:
            pass  # somebody may start it at this moment, for what he has recorded
        if self._thread is None or not self._thread.is_alive() or self._thread is threading.current_thread():
            return
        self.hurry()
        is_waiting = self._work.own is not None and self._work.own.waiting
        self._thread.join(max(timeout, 0.0) if is_waiting else _END_SECONDS)
        if self._thread.is_alive():
            self._given_up = True  # it may not have begun yet, or not be where it can be cancelled
            self._call(lambda: self._task.cancel() if self._task else None)
            self._thread.join(2 * _END_SECONDS)

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed: there is nobody to wake
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="mofa_usage-delivery", daemon=True)
                with suppress(RuntimeError):  # the interpreter ends: what waits, waits for the next process
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        with loading():
            documents.load()
            self._work.target.load()
            self._work.pricing.load()
        deliverer = _Deliverer(self._work.target, self._work.pricing)
        left = _Left(self._work.outbox, self._work.own)
        # A task of its own is what may be cancelled: a connection that is being closed must not be disturbed.
        self._task = asyncio.create_task(self._rounds(deliverer, left))
        try:
            await self._task
        finally:
            with suppress(OSError):
                left.release()
            with suppress(Exception):
                async with asyncio.timeout(_END_SECONDS):
                    await deliverer.close()

    async def _rounds(self, deliverer: _Deliverer, left: "_Left") -> None:
        pause = _FIRST_PAUSE
        own = self._work.own
        while not self._given_up:
            self._hurried = False
            try:
                worked = own is not None and await deliverer.deliver(own)
                if self._stopping and not worked:
                    return
                if not self._stopping:
                    worked |= await left.deliver(deliverer)
                    self.is_looking = left.is_looking
                self._work.on_round()
                pause, self.problem = _FIRST_PAUSE, None
            except Exception as error:
                self._tell(error)
                self._count_retried()
                self._work.on_round()
                await self._sleep(pause * random.uniform(0.5, 1.0), new=False)  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            if worked:
                await asyncio.sleep(0 if own is not None and own.waiting >= _RECORDS else _LINGER)
            else:
                await self._idle(own)

    async def _idle(self, own: Backlog | None) -> None:
        """Sleep until something is recorded, or it is time to look around."""
        if not await self._sleep(_TIDY_AFTER) and isinstance(own, OwnBacklog):
            own.tidy()
            own.look_around()
            await self._sleep(_LOOK_AROUND - _TIDY_AFTER)

    async def _sleep(self, seconds: float, *, new: bool = True) -> bool:
        """Whether it was woken; `new`: also by new records."""
        self._woken.clear()
        self._asleep = new
        own = self._work.own
        if self._hurried or (new and own is not None and own.waiting):
            self._asleep = False
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        finally:
            self._asleep = False
        return True

    def _tell(self, error: Exception) -> None:
        # What is not ours may repeat what it was given.
        why = str(error) if isinstance(error, MofaUsageError | OSError) else "see the log at level DEBUG"
        said = f"{type(error).__name__}: {why}"
        if self.problem is None:
            where = self._work.target.name
            _log.warning("%s takes nothing now, it is tried again; nothing is lost meanwhile: %s", where, said)
            if not passes(error) and not isinstance(error, NotSavedError):
                _log.debug("an unexpected failure of the delivery", exc_info=error)
        self.problem = said

    def _count_retried(self) -> None:
        own = self._work.own
        batch = own.take(_RECORDS, _BYTES) if own is not None else None
        if batch is not None:
            self.retried += max(
                0, batch.passed - max(self._failed_through, batch.frames[0].first if batch.frames else 0)
            )
            self._failed_through = max(self._failed_through, batch.passed)


class _Left:
    """What ended processes have left in an outbox, one process at a time."""

    def __init__(self, outbox: Outbox | None, own: Backlog | None) -> None:
        self._outbox = outbox
        self._own = own
        self._backlog: LeftBacklog | None = None
        self._next_look = 0.0
        self.is_looking = outbox is not None

    async def deliver(self, deliverer: _Deliverer) -> bool:
        """Deliver a batch of it; False where there is none at the moment."""
        if self._backlog is None and not self._find():
            return False
        assert self._backlog is not None  # noqa: S101 (for the type checker)
        if not await deliverer.deliver(self._backlog):
            self.release()
        return True

    def _find(self) -> bool:
        if self._outbox is None or time.monotonic() < self._next_look:
            return False
        own = self._own.owner if isinstance(self._own, OwnBacklog) else ""
        adopted = self._outbox.adopt(own)
        self.is_looking = adopted is not None
        if adopted is None:
            self._next_look = time.monotonic() + _LOOK_AROUND
            return False
        self._backlog = LeftBacklog(self._outbox, *adopted)
        return True

    def release(self) -> None:
        """Give back what was taken over; where it is delivered, its files go."""
        if self._backlog is not None:
            self._backlog.release()
            self._backlog = None


async def deliver_left(outbox: Outbox, target: Target, pricing: Pricing) -> None:
    """Deliver all that ended processes have left in an outbox, once and without trying again.

    Raises:
        Exception: something cannot be delivered now; it stays where it is.
    """
    deliverer, left = _Deliverer(target, pricing), _Left(outbox, None)
    try:
        attempts = 0
        while True:
            try:
                if not await left.deliver(deliverer):
                    return
                attempts = 0
            except NotSavedError:
                attempts += 1
                if attempts >= _CONVICTED:
                    raise
    finally:
        left.release()
        await deliverer.close()
