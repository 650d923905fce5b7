"""One sync at a time on one machine: a file that is locked for as long as the process wants, or lives.

The lock is a courtesy that saves the work of two; what makes two writers safe is that a commit fails when somebody else
committed before (`delta`), as it is on an object store, where there are no locks.
"""

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mofa_usage.errors import UsageError
from mofa_usage.exporting.staging import holding

__all__ = ["locked"]

_PAUSE_SECONDS = 0.05
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
"""What systems say of a file that somebody else has locked."""


@contextmanager
def locked(folder: Path, wait: float) -> Iterator[None]:
    """Hold the lock of a warehouse.

    Args:
        folder: the warehouse, which is made if it is not there.
        wait: for so many seconds at most.

    Raises:
        UsageError: another process holds it all that time, or there can be no such folder, or nothing is written there.
    """
    deadline, file = time.monotonic() + wait, folder / ".sync.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.open("ab").close()
    except OSError as error:
        raise UsageError(f"the warehouse {folder} cannot be written: {error.strerror or error}") from error
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(holding(file))
                break
            except OSError as error:
                if error.errno not in _HELD:
                    raise UsageError(f"{file} cannot be locked: {error.strerror or error}") from error
                if time.monotonic() >= deadline:
                    raise UsageError(
                        f"another sync of the warehouse {folder} is under way, and has been for {wait:g} s"
                    ) from None
                time.sleep(_PAUSE_SECONDS)
        yield
