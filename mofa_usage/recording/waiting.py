"""What waits in an outbox, for whoever looks at it from outside: delivered, and the dead accepted anew.

`mofa-usage outbox` is these functions.
"""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mofa_usage.recording.documents import KINDS, write_document
from mofa_usage.recording.outbox.folder import DeadLetter, Outbox
from mofa_usage.recording.outbox.segments import OwnBacklog
from mofa_usage.recording.pricing import Pricing
from mofa_usage.recording.targets import state_folder, target_of

if TYPE_CHECKING:
    from mofa_usage.pricing import PriceBook

__all__ = ["drain", "retry_dead", "the_users_folders"]


def the_users_folders() -> list[Path]:
    """The outboxes of this user, by name."""
    base = state_folder()
    return sorted(path for path in base.iterdir() if path.is_dir()) if base.is_dir() else []


def drain(
    outbox: Outbox, url: str, *, prices: "PriceBook | Literal['auto'] | None" = "auto", timeout: float | None = None
) -> None:
    """Deliver all that ended processes have left in an outbox.

    Raises:
        PersistenceError: the database takes it not, or not all of it; the rest waits on.
        TimeoutError: it takes longer than so many seconds; the rest waits on.
    """
    from mofa_usage.recording.delivery import deliver_left

    async def work() -> None:
        async with asyncio.timeout(timeout):
            await deliver_left(outbox, target_of(url), Pricing(prices))

    asyncio.run(work())


def retry_dead(outbox: Outbox, letters: Iterable[DeadLetter]) -> int:
    """Accept dead records anew, in their old order; how many. They wait then, like what an ended process left."""
    backlog = OwnBacklog(outbox, 2**62)
    moved: list[DeadLetter] = []
    try:
        for letter in letters:
            document = _document(letter)
            if document is not None:
                backlog.append(write_document(document), letter.count)
                moved.append(letter)
    finally:
        outbox.move(moved)
        backlog.release()
    return sum(letter.count for letter in moved)


def _document(letter: DeadLetter) -> dict[str, Any] | None:
    """The document of a letter's records; None where they are damaged beyond that."""
    if any(one["kind"] not in KINDS for one in letter.records):
        return None
    kinds: Iterator[str] = (kind for kind in KINDS if any(one["kind"] == kind for one in letter.records))
    return {kind: [one["record"] for one in letter.records if one["kind"] == kind] for kind in kinds}
