"""Bulk saves: many rows in chunks, of which the next is made while the database works on the last.

Making rows of records takes about as long as a database takes to insert them, and a server has a processor of its own.
Other tasks of the event loop get a turn between the rows.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

__all__ = ["chunks_of", "in_turn"]

_T = TypeVar("_T")
_BREATH = 250  # rows between which other tasks get a turn


async def chunks_of(rows: Iterable[tuple[Any, ...]], size: int) -> AsyncIterator[list[tuple[Any, ...]]]:
    """The rows in lists of so many."""
    source = iter(rows)
    chunk: list[tuple[Any, ...]] = []
    while some := list(islice(source, min(_BREATH, size - len(chunk)))):
        chunk += some
        if len(chunk) >= size:
            yield chunk
            chunk = []
        await asyncio.sleep(0)
    if chunk:
        yield chunk


async def in_turn(chunks: AsyncIterator[_T], send: Callable[[_T], Awaitable[None]]) -> None:
    """Send the chunks, each when the one before has arrived, and make the next one meanwhile.

    When it ends, however it ends, nothing is under way.
    """
    sending: asyncio.Future[None] | None = None
    try:
        async for chunk in chunks:
            if sending is not None:
                await sending
            sending = asyncio.ensure_future(send(chunk))
        if sending is not None:
            await sending
    except BaseException:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        raise
