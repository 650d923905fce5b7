"""What was accepted and waits: the counts of it, and its simplest form, in memory.

A backlog takes documents from any thread, and gives them to the one thread that delivers them in the order in which
they came. What it was told of each (delivered, or dead and why) moves its `Account`, which says up to where everything
is settled and how: `accepted = delivered + waiting + dead` at every moment, under one lock.
"""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mofa_usage.errors import RecordingError, UsageError
from mofa_usage.recording.outbox.frames import HEAD_BYTES, LARGEST_DOCUMENT, Frame, framed, read_checked

__all__ = [
    "Account",
    "Backlog",
    "Batch",
    "Dead",
    "Letter",
    "MemoryBacklog",
    "Numbers",
    "Settled",
    "checked_limit",
    "moment",
]

_LETTERS = 1000  # that are kept in memory


@dataclass(frozen=True)
class Account:
    """Up to where what a process accepted is settled, and how.

    Attributes:
        segment, offset: the file and its byte before which everything is settled.
        accepted: the records accepted before that place, by the running numbers of the frames.
        delivered, dead: what became of them.
        labels_dropped: delivered calls whose labels had no column.
        unpriced: delivered calls whose price is not known.
    """

    segment: int = 1
    offset: int = 0
    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    labels_dropped: int = 0
    unpriced: int = 0


class Numbers(NamedTuple):
    """How many records were accepted, and what became of them; when the oldest that waits was accepted."""

    accepted: int
    delivered: int
    waiting: int
    dead: int
    labels_dropped: int
    unpriced: int
    oldest_waiting: datetime | None


class Dead(NamedTuple):
    """A record that can never be saved: its kind (`calls`, ...), its fields, or its bytes as text, and the reason."""

    kind: str
    record: Any
    reason: str


@dataclass(frozen=True)
class Letter:
    """The dead records of one frame, for somebody to look at."""

    segment: int
    offset: int
    count: int
    dead: Sequence[Dead]


@dataclass
class Batch:
    """Frames that are delivered together: those of one file before the place `offset`.

    `lost` are records that the running numbers miss: their frames are damaged.
    """

    segment: int
    offset: int
    frames: list[Frame]
    passed: int
    lost: int = 0

    @property
    def records(self) -> int:
        """How many records they hold, the lost ones not counted."""
        return sum(frame.count for frame in self.frames)


@dataclass
class Settled:
    """What became of a batch: the dead records of its frames, by the number of the frame."""

    dead: Mapping[int, Sequence[Dead]] = field(default_factory=dict)
    labels_dropped: int = 0
    unpriced: int = 0


def moment(nanoseconds: int) -> datetime:
    """Nanoseconds since 1970 as a time."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


class Backlog(ABC):
    """Documents that were accepted and wait to be delivered, and the counts of them.

    `append` may be called from any thread, also by a finalizer that the garbage collector runs in the midst of another
    `append` of the same thread; `take`, `settle` and `tidy` by the thread that delivers.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.RLock()
        self._limit = limit
        self._busy = False
        self._late: deque[tuple[bytes, int]] = deque()
        self._accepted = 0
        self._account = Account()
        self._oldest_ns: int | None = None
        self.refused = 0
        self.closed = False

    def append(self, body: bytes, count: int) -> None:
        """Accept a document of so many records, or none of them.

        Raises:
            RecordingError: it is closed, full, or cannot be written.
        """
        with self._lock:
            if self._busy:
                self._late.append((body, count))
                return
            self._busy = True
            try:
                self._accept(body, count)
            finally:
                try:
                    while self._late:
                        self._accept_late(*self._late.popleft())
                finally:
                    self._busy = False

    def _accept_late(self, body: bytes, count: int) -> None:
        try:
            self._accept(body, count)
        except RecordingError:
            self.refused += count

    def _accept(self, body: bytes, count: int) -> None:
        if self.closed:
            raise RecordingError("the recorder is closed")
        if len(body) > LARGEST_DOCUMENT:
            raise RecordingError(
                f"what is recorded at once may have {LARGEST_DOCUMENT:,} bytes of JSON, this has {len(body):,}"
            )
        if self._size() + HEAD_BYTES + len(body) > self._limit:
            raise RecordingError(
                f"the outbox is full: {self.where} holds {self._size():,} bytes that wait, of at most {self._limit:,}"
            )
        self._write(framed(body, count, self._accepted), body)
        self._accepted += count

    @property
    @abstractmethod
    def where(self) -> str:
        """Where it is, for people."""

    @property
    def lasts(self) -> bool:
        """Whether it outlives the process."""
        return True

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return self._accepted - self._account.accepted

    @abstractmethod
    def _size(self) -> int:
        """Bytes that it takes now."""

    @abstractmethod
    def _write(self, frame: bytes, body: bytes) -> None:
        """Keep a frame.

        Raises:
            RecordingError: it is not kept.
        """

    @abstractmethod
    def take(self, records: int, size: int) -> Batch | None:
        """The first that wait: about so many records and bytes, but at least one frame; None where none waits. They
        wait on until they are settled.
        """

    @abstractmethod
    def settle(self, batch: Batch, settled: Settled) -> None:
        """What was taken is settled: all of its records are delivered, but for the dead."""

    @abstractmethod
    def release(self) -> None:
        """Others may deliver what is left, if anybody can."""

    def _after(self, batch: Batch, settled: Settled) -> Account:
        dead = batch.lost + sum(map(len, settled.dead.values()))
        account = self._account
        return replace(
            account,
            segment=batch.segment,
            offset=batch.offset,
            accepted=batch.passed,
            delivered=account.delivered + batch.passed - account.accepted - dead,
            dead=account.dead + dead,
            labels_dropped=account.labels_dropped + settled.labels_dropped,
            unpriced=account.unpriced + settled.unpriced,
        )

    def numbers(self) -> Numbers:
        """The counts of this moment, which fit together."""
        with self._lock:
            account, waiting = self._account, self.waiting
            return Numbers(
                self._accepted,
                account.delivered,
                waiting,
                account.dead,
                account.labels_dropped,
                account.unpriced,
                self._oldest() if waiting else None,
            )

    @abstractmethod
    def _oldest(self) -> datetime | None:
        """When the oldest that waits was accepted."""


class MemoryBacklog(Backlog):
    """What waits in memory only, and is gone with the process. Of the dead records the last are kept."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self.letters: deque[Letter] = deque(maxlen=_LETTERS)

    @property
    def where(self) -> str:
        return "memory"

    @property
    def lasts(self) -> bool:
        return False

    def _size(self) -> int:
        return self._bytes

    def _write(self, frame: bytes, body: bytes) -> None:
        start = self._frames[-1].end if self._frames else self._account.offset
        count, first, accepted_ns = read_checked(frame)
        self._frames.append(Frame(body, count, first, accepted_ns, start, start + len(frame)))
        self._bytes += len(frame)

    def take(self, records: int, size: int) -> Batch | None:
        with self._lock:
            frames: list[Frame] = []
            for frame in self._frames:
                if frames and (records < frame.count or size < len(frame.body)):
                    break
                frames.append(frame)
                records, size = records - frame.count, size - len(frame.body)
        if not frames:
            return None
        return Batch(1, frames[-1].end, frames, frames[-1].first + frames[-1].count)

    def settle(self, batch: Batch, settled: Settled) -> None:
        with self._lock:
            for number in range(len(batch.frames)):
                frame = self._frames.popleft()
                self._bytes -= frame.end - frame.start
                if dead := settled.dead.get(number):
                    self.letters.append(Letter(1, frame.start, len(dead), dead))
            self._account = self._after(batch, settled)

    def release(self) -> None:
        """There is nobody else."""

    def _oldest(self) -> datetime | None:
        return moment(self._frames[0].accepted_ns) if self._frames else None


def checked_limit(given: object, usual: int) -> int:
    """How many bytes may wait, of what a recorder was given.

    Raises:
        UsageError: it is no number of bytes.
    """
    if given is None:
        return usual
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise UsageError(f"max_waiting_bytes is a number of bytes from 1, not {given!r:.80}")
    return given
