"""Recorded clients: one small file per SDK, found by entry points, so that others can add theirs.

An SDK is an object with two attributes, named by an entry point of the group `mofa_usage.sdks` whose own name is the
package of its clients:

    [project.entry-points."mofa_usage.sdks"]
    openai = "mofa_usage.recording.sdks.openai:OPENAI"

It is imported when a client of that package is wrapped. What it observes it tells an `Observer`
(`mofa_usage.recording.observed`), in a format of `mofa_usage.recording.formats` or one of its own.
"""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

from mofa_usage.errors import UsageError
from mofa_usage.recording.observed import Observer

__all__ = ["SDK", "wrap"]

_GROUP = "mofa_usage.sdks"
_Client = TypeVar("_Client")


class SDK(Protocol):
    """How the clients of one SDK are recorded."""

    takes: Sequence[str]
    """The names of the clients, for people."""

    def wrap(self, client: Any, observer: Observer) -> Any:
        """The same client, which from now on tells the observer what it does; None if it is none of this SDK."""


def wrap(client: _Client, observer: Observer) -> _Client:
    """The same client, recorded: it behaves as before, and the observer is told of each of its attempts.

    Raises:
        UsageError: nobody here records such clients, or not in the installed version of their SDK.
    """
    known = {point.name: point for point in entry_points(group=_GROUP)}
    # A class of the user's own may derive from one of an SDK.
    packages = dict.fromkeys(cls.__module__.partition(".")[0] for cls in type(client).__mro__)
    for package in packages:
        if package in known and (wrapped := _load(known[package]).wrap(client, observer)) is not None:
            return wrapped  # type: ignore[no-any-return]
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    raise UsageError(f"a client of {', '.join(sorted(known))} can be recorded, not a {kind}{_names(known, packages)}")


def _load(point: EntryPoint) -> SDK:
    sdk: SDK = point.load()
    return sdk


def _names(known: dict[str, EntryPoint], packages: dict[str, None]) -> str:
    names = [name for package in packages if package in known for name in _load(known[package]).takes]
    return f"; of its package it takes {', '.join(names)}" if names else ""
