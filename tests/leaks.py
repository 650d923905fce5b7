"""Opening a store so that a test fails which leaves something of it behind."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mofa_usage.stores import Store, connect

__all__ = ["opened"]


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Store]:
    """A store for the length of the block; then no connection may be checked out, no task pending, no thread alive."""
    tasks = asyncio.all_tasks()
    threads = set(threading.enumerate())
    store = await connect(url, **options)
    try:
        yield store
        await _settle()
        assert checked_out(store) == 0, "a connection was not given back to the pool"
        pending = asyncio.all_tasks() - tasks - {asyncio.current_task()}
        assert not pending, f"tasks were left pending: {pending}"
    finally:
        await store.close()
    assert not store.is_connected
    left = await _living(set(threading.enumerate()) - threads)
    assert not left, f"threads were left running: {left}"


def checked_out(store: Store) -> int:
    """How many connections of the store's pool are in use; a store without a pool has none."""
    pool = getattr(store, "pool", None)
    return 0 if pool is None else int(pool.checkedout())


async def _settle() -> None:
    """Let tasks and generators that have just been let go come to their end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _living(threads: set[threading.Thread]) -> list[threading.Thread]:
    """Those of the threads that are still alive after a moment. A driver's thread ends soon after its connection."""
    for _ in range(100):
        if not any(_is_driver(thread) for thread in threads):
            return []
        await asyncio.sleep(0.01)
    return [thread for thread in threads if _is_driver(thread)]


def _is_driver(thread: threading.Thread) -> bool:
    # The event loop keeps the threads of its own executor for the next who needs one.
    return thread.is_alive() and not thread.name.startswith("asyncio_")
