"""Who is alive: a process holds a lock on a file as long as it lives, however it ends.

The lock is POSIX's (`lockf`), because a child does not inherit it: with `flock` the child of a dead process would keep
it. Its other side is that a process loses it when it closes any descriptor of the file, so nobody else in the process
may open one: `_HELD` says which files those are. A child that was forked holds none of its parent's locks.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mofa_usage.errors import UsageError

__all__ = ["Lock", "exclusive", "forget_locks", "hold"]

_HELD: set[str] = set()
_FOLDERS = threading.RLock()  # threads of this process do not keep each other out by POSIX's locks


class Lock:
    """A file that this process has locked."""

    def __init__(self, path: Path, file: int) -> None:
        self._path, self._file = path, file

    def release(self, *, remove: bool = False) -> None:
        """Let others have it; `remove` takes the file away with it."""
        with _FOLDERS:
            if remove:
                self._path.unlink(missing_ok=True)  # while nobody else can have it
            _HELD.discard(str(self._path))
            os.close(self._file)


def _lockf(file: int, *, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:
        raise UsageError("an outbox needs the file locks of POSIX, which this system has not: outbox=False") from None
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    return True


def hold(path: Path) -> Lock | None:
    """Lock a file, which is made if it is missing; None if somebody else has it, in this process or another."""
    with _FOLDERS:
        return None if str(path) in _HELD else _hold(path)


def _hold(path: Path) -> Lock | None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        locked = _lockf(file, wait=False) and _is_at(path, file)
    except BaseException:
        os.close(file)
        raise
    if not locked:
        os.close(file)
        return None
    _HELD.add(str(path))
    return Lock(path, file)


def _is_at(path: Path, file: int) -> bool:
    """Whether the file is still the one of this name: who had it may have removed it."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Do something that one process, and one thread of it, may do at a time; others wait for it."""
    with _FOLDERS:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lockf(file, wait=True)
            yield
        finally:
            os.close(file)


def forget_locks() -> None:
    """In a child that was forked: none of the locks is its own."""
    global _FOLDERS
    _HELD.clear()
    _FOLDERS = threading.RLock()
