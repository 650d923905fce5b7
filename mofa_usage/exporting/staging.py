"""What makes an export whole or not there: it is written into a hidden folder, and renamed when it is complete.

The folder is beside the target, on the same disk. What a killed process left behind there is removed by the next export
to the same path.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from glob import escape as glob_escape
from pathlib import Path

from mofa_usage.errors import UsageError

__all__ = ["clear_up", "holding", "move", "staged", "to_disk"]

_LOCK = "lock"
_OLD = "old"


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, on the same disk, that is gone afterwards."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.export")
        with ExitStack() as left:
            folder.mkdir()
            left.callback(shutil.rmtree, folder, ignore_errors=True)
            left.enter_context(holding(folder / _LOCK))
            (folder / "files").mkdir()
            yield folder / "files"
    except OSError as error:
        raise UsageError(f"cannot write the export to {target}: {error.strerror or error}") from error


def clear_up(target: Path, home: Callable[[Path], Path] | None = None) -> None:
    """Remove what killed exports left, whose locks went with them; a folder that one had put aside is put back.

    `home` says where it belongs, if that is not the target itself.
    """
    for folder in target.parent.glob(f".{glob_escape(target.name)}.*.export"):
        try:
            with holding(folder / _LOCK):
                old = folder / _OLD
                if old.exists() and not (back := target if home is None else home(old)).exists():
                    old.rename(back)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # somebody is still writing there


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold a lock on a file, which is made if it is not there; it ends with the process at the latest.

    Raises:
        OSError: somebody else holds it.
    """
    with open(path, "ab") as lock:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def move(staged: Path, target: Path) -> None:
    """Put what is complete in its place. A file replaces another at once; a folder is put aside before."""
    old = staged.parent / _OLD
    if target.is_dir():
        target.rename(old)
    try:
        staged.replace(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    to_disk(target.parent)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power failure."""
    if path.is_dir() and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
