"""What happens to recorders when their process forks or ends.

A child that was forked has its parent's memory and not its threads, and locks that are held in it stay so. So its
recorders begin anew, with nothing accepted and files of their own; what the parent has accepted, the parent delivers.
Its connections are kept in the child's memory and never touched: closing them would be the child's word on the parent's
line. A fork waits for the thread that loads what it delivers with (`mofa_usage.forks`).

At the end of the interpreter daemon threads still run while `atexit` does, so what waits is delivered for some seconds
more; what then still waits is in the outbox. A process that is killed, or that uvicorn ends (it never runs `atexit`),
leaves it there at once: `Recorder.lifespan` is for that.
"""

import atexit
import os
from typing import Protocol

__all__ = ["keep", "register", "unregister"]


class _Recording(Protocol):
    def _begin_anew(self) -> None: ...

    def _end(self) -> None: ...


_open: dict[int, _Recording] = {}
_parents: list[object] = []


def register(recorder: _Recording) -> None:
    """A recorder is open."""
    _open[id(recorder)] = recorder


def unregister(recorder: _Recording) -> None:
    """A recorder is closed."""
    _open.pop(id(recorder), None)


def keep(*of_the_parent: object) -> None:
    """In a child that was forked: never finalize these."""
    _parents.extend(of_the_parent)


def _forked() -> None:
    from mofa_usage.recording.outbox.locks import forget_locks

    forget_locks()
    for recorder in list(_open.values()):
        recorder._begin_anew()


def _ended() -> None:
    for recorder in list(_open.values()):
        recorder._end()


atexit.register(_ended)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
