"""What a fork waits for, a moment: a child has its parent's memory as it was, and none of its threads.

A module that a thread is importing stays half imported in the child, and locked, since the thread is not there:
whatever needs it fails or waits for ever. So what our threads import late they import within `loading`. Whoever else
must not be in the midst of something registers a `Halting`.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Halting", "loading", "register"]

_FORK_SECONDS = 10.0  # that a fork waits at most, on a machine that has little time
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.2  # in which what was under way goes on, between two attempts


class Halting(Protocol):
    """Something that can be halted while its process forks."""

    def halt(self) -> bool:
        """Stop what is under way; whether all of it is where a fork may come."""
        ...

    def go_on(self) -> None:
        """Go on in the parent, or because a fork waits for others."""
        ...

    def begin_anew(self) -> None:
        """Begin anew in the child; it was halted, as far as it could be."""
        ...


_importing = threading.Lock()
_is_held = False
_halting: list[Halting] = []


@contextmanager
def loading() -> Iterator[None]:
    """Import modules in a thread, in which no fork is to come. Nothing is awaited in it."""
    lock = _importing
    with lock:
        yield


def register(halting: Halting) -> None:
    """Halt this before each fork."""
    _halting.append(halting)


def _before_fork() -> None:
    global _is_held
    until, pause = time.monotonic() + _FORK_SECONDS, _FIRST_PAUSE
    while True:
        _is_held = _importing.acquire(timeout=max(0.0, until - time.monotonic()))
        if all(halting.halt() for halting in _halting) or time.monotonic() > until:
            return
        _go_on()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _go_on() -> None:
    for halting in _halting:
        halting.go_on()
    if _is_held:
        _importing.release()


def _forked() -> None:
    global _importing
    _importing = threading.Lock()
    for halting in _halting:
        halting.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_go_on, after_in_child=_forked)
