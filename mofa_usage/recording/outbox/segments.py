"""The files of one process in an outbox: written by it, read by whoever delivers them.

A frame is written by one `os.write` to a file that is only appended to. Where that comes back short (the disk is full),
the file is cut back to the frame before, and the record refused: a file holds whole frames, but for the last moment of
a process that was killed. With `fsync` a thread writes through to the disk for all who wait for it together.
"""

import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from mofa_usage.errors import RecordingError, UsageError
from mofa_usage.recording.outbox.accounts import AccountFile
from mofa_usage.recording.outbox.backlog import Account, Backlog, Batch, Dead, Letter, Settled, moment
from mofa_usage.recording.outbox.folder import Outbox, new_owner, segment_numbers, segment_path
from mofa_usage.recording.outbox.frames import read_frames
from mofa_usage.recording.outbox.locks import Lock

__all__ = ["SEGMENT_BYTES", "LeftBacklog", "OwnBacklog"]

SEGMENT_BYTES = 8 * 2**20
"""A segment that has as many is followed by another one."""

_log = logging.getLogger(__name__)
_write_through = getattr(os, "fdatasync", os.fsync)


class _Files(Backlog):
    """The reading side: segments from a place on, and the account of it."""

    def __init__(self, outbox: Outbox, limit: int) -> None:
        super().__init__(limit)
        self._outbox = outbox
        self._owner = ""
        self._held: Lock | None = None
        self._account_file: AccountFile | None = None

    @property
    def where(self) -> str:
        return str(self._outbox.folder)

    def _path(self, number: int) -> Path:
        return segment_path(self._outbox.folder, self._owner, number)

    def _ends(self) -> dict[int, int]:
        """How far each segment may be read, and that nothing is accepted meanwhile which is not in them."""
        raise NotImplementedError

    def take(self, records: int, size: int) -> Batch | None:
        with self._lock:
            ends, account, accepted = self._ends(), self._account, self._accepted
        for number in sorted(ends):
            if number < account.segment:
                continue
            batch = Batch(number, account.offset if number == account.segment else 0, [], account.accepted)
            self._fill(batch, ends[number], records, size)
            if batch.frames:
                return batch
        if accepted > account.accepted:  # by nobody's fault here: their bytes are damaged, or somebody deleted them
            last = max(ends)
            return Batch(last, ends[last], [], accepted, accepted - account.accepted)
        return None

    def _fill(self, batch: Batch, end: int, records: int, size: int) -> None:
        try:
            file = os.open(self._path(batch.segment), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            for frame in read_frames(file, batch.offset, end, size):
                if batch.frames and records < frame.count:
                    return
                batch.frames.append(frame)
                batch.lost += max(frame.first - batch.passed, 0)
                batch.passed, batch.offset = max(batch.passed, frame.first + frame.count), frame.end
                records -= frame.count
        finally:
            os.close(file)

    def settle(self, batch: Batch, settled: Settled) -> None:
        if self._held is None:
            return  # it took so long that the files are somebody else's by now
        for number, dead in settled.dead.items():
            place = batch.frames[number].start
            self._outbox.bury(self._owner, Letter(batch.segment, place, len(dead), dead))
        if batch.lost:
            reason = f"the bytes of {batch.lost} records before this place are damaged or gone"
            lost = (Dead("damaged", None, reason),)
            self._outbox.bury(self._owner, Letter(batch.segment, max(batch.offset - 1, 0), batch.lost, lost))
        self._move(self._after(batch, settled))

    def _move(self, account: Account) -> None:
        """Keep an account, and delete the segments that are settled by it."""
        assert self._account_file is not None  # noqa: S101 (for the type checker: what was read was written)
        try:
            self._account_file.save(account)
        except OSError as error:  # what is delivered stays so; at worst it is delivered twice, which is once
            _log.warning("the account of %s cannot be kept: %s", self._path(account.segment), error)
            settled: Iterable[int] = ()
        else:
            settled = range(1, account.segment)
        with self._lock:
            self._account = account
            self._forget(settled)
        for number in segment_numbers(self._outbox.folder, self._owner):
            if number in settled:
                self._path(number).unlink(missing_ok=True)

    def _forget(self, numbers: Iterable[int]) -> None:
        """These segments are settled."""

    def release(self) -> None:
        """Others may deliver what is left; where nothing is, the files go."""
        if self._held is None:
            return
        is_done = self.take(1, 1) is None
        if self._account_file is not None:
            self._account_file.close()
        held, self._held = self._held, None
        try:
            if is_done:
                self._outbox.fold(self._owner, self._account, held)
                return
        except OSError as error:  # a full disk: somebody else will find that there is nothing left
            _log.warning("the files of %s in %s cannot be put away: %s", self._owner, self.where, error)
        held.release()

    def _oldest(self) -> datetime | None:
        ends, account = self._ends(), self._account
        for number in sorted(ends):
            if number >= account.segment:
                batch = Batch(number, account.offset if number == account.segment else 0, [], account.accepted)
                self._fill(batch, ends[number], 0, 1)
                if batch.frames:
                    return moment(batch.frames[0].accepted_ns)
        return None


class LeftBacklog(_Files):
    """What a process that has ended left behind."""

    def __init__(self, outbox: Outbox, owner: str, lock: Lock) -> None:
        super().__init__(outbox, 0)
        self._owner = owner
        self._held = lock
        self._account = outbox.load(owner)
        self._accepted = self._account.accepted  # more is only known when it is read
        self._account_file = AccountFile(outbox.folder / f"{owner}.account")
        self.closed = True

    def _ends(self) -> dict[int, int]:
        numbers = segment_numbers(self._outbox.folder, self._owner)
        return {number: self._path(number).stat().st_size for number in numbers} or {self._account.segment: 0}

    def _size(self) -> int:
        return sum(self._ends().values())

    def _write(self, frame: bytes, body: bytes) -> None:
        raise RecordingError("what an ended process left is only read")

    def settle(self, batch: Batch, settled: Settled) -> None:
        """See `Backlog`."""
        self._accepted = max(self._accepted, batch.passed)
        super().settle(batch, settled)


class OwnBacklog(_Files):
    """What this process accepts. Its files are made when there is something to write into them."""

    def __init__(self, outbox: Outbox, limit: int, *, fsync: bool = False, segment_bytes: int = SEGMENT_BYTES) -> None:
        super().__init__(outbox, limit)
        self._fsync = fsync
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._number = 0
        self._end = 0
        self._whole = True  # no write was stopped in its midst
        self._known: dict[int, int] = {}
        self._others = outbox.size()
        self._syncing = _Syncing(self) if fsync else None

    @property
    def owner(self) -> str:
        """The name of its files."""
        return self._owner

    def look_around(self) -> None:
        """Find out how much of the folder others take."""
        self._others = self._outbox.size(self._owner)

    def _ends(self) -> dict[int, int]:
        return {**self._known, self._number: self._end} if self._file is not None else dict(self._known)

    def _size(self) -> int:
        return self._others + sum(self._known.values()) + self._end

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in list(self._known):
            if number in numbers:
                del self._known[number]

    def _write(self, frame: bytes, body: bytes) -> None:
        try:
            if self._file is None or self._end >= self._segment_bytes:
                self._next_segment()
            assert self._file is not None  # noqa: S101 (for the type checker)
            if not self._whole:
                os.ftruncate(self._file, self._end)
            self._whole = False
            written = os.write(self._file, frame)
            if written != len(frame):
                os.ftruncate(self._file, self._end)
                self._whole = True
                raise RecordingError(
                    f"the disk is full, or its quota: {self.where} took {written:,} of {len(frame):,} bytes"
                )
        except (OSError, UsageError) as error:
            raise RecordingError(f"the outbox {self.where} cannot be written: {error}") from error
        self._end += written
        self._whole = True

    def _next_segment(self) -> None:
        if self._held is None:
            self._owner = new_owner()
            self._held = self._outbox.enter(self._owner)
            self._account_file = AccountFile(self._outbox.folder / f"{self._owner}.account", fsync=self._fsync)
            self._account_file.save(self._account)
        self._switch(self._open(self._number + 1))

    def _open(self, number: int) -> int:
        file = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if self._fsync:
            folder = os.open(self._outbox.folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        return file

    def _switch(self, file: int) -> None:
        if self._file is not None:
            if self._fsync:
                _write_through(self._file)
            os.close(self._file)
            self._known[self._number] = self._end
        self._file, self._end, self._whole = file, 0, True
        self._number += 1

    def tidy(self) -> None:
        """Delete what is settled, the present segment too: messages do not stay on the disk until it is full."""
        account = self._account
        if self._file is None or self._end == 0 or (account.segment, account.offset) != (self._number, self._end):
            return
        try:
            file = self._open(self._number + 1)
        except OSError:
            return
        with self._lock:
            if self._end != account.offset:  # there is something new in it
                os.close(file)
                self._path(self._number + 1).unlink()
                return
            self._switch(file)
        self._move(replace(account, segment=self._number, offset=0))

    def sync(self, *, wait: bool) -> None:
        """With `fsync`: what is accepted is on its way through to the disk, or there, when we come back from it."""
        if self._syncing is not None:
            self._syncing.reach(self._accepted, wait=wait)

    def _write_through(self) -> int:
        """How many records are on the disk by now."""
        with self._lock:
            accepted = self._accepted
            file = None if self._file is None else os.dup(self._file)
        if file is not None:
            try:
                _write_through(file)
            except OSError:
                _log.exception("the outbox %s is not written through to the disk", self.where)
            finally:
                os.close(file)
        return accepted

    def release(self) -> None:
        """See `Backlog`."""
        if self._syncing is not None:
            self._syncing.reach(self._accepted, wait=True)
            self._syncing.stop()
        if self._file is not None:
            self._known[self._number] = self._end
            os.close(self._file)
            self._file = None
        super().release()

    def abandon(self) -> None:
        """In a child that was forked: the files are its parent's."""
        if self._file is not None:
            os.close(self._file)
        if self._account_file is not None:
            self._account_file.close()


class _Syncing:
    """A thread that writes through to the disk, once for all who wait."""

    def __init__(self, backlog: OwnBacklog) -> None:
        self._backlog = backlog
        self._changed = threading.Condition()
        self._wanted = self._reached = 0
        self._thread: threading.Thread | None = None
        self._over = False

    def reach(self, accepted: int, *, wait: bool) -> None:
        """Have so many records on the disk."""
        with self._changed:
            self._wanted = max(self._wanted, accepted)
            if self._thread is None and self._wanted > self._reached:
                self._thread = threading.Thread(target=self._run, name="mofa_usage-fsync", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            while wait and self._reached < accepted:
                self._changed.wait()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._wanted <= self._reached and not self._over:
                    self._changed.wait()
                if self._over:
                    return
            reached = self._backlog._write_through()
            with self._changed:
                self._reached = reached
                self._changed.notify_all()
