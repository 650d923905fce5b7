"""Saves until it is killed, and says what it has saved: `python -m tests.faults.writer URL`.

Each line names a save that has returned: `call ID`, or `bulk NAME` for one of `BULK` calls whose `error_code` that is.
"""

import asyncio
import sys
from uuid import uuid4

from mofa_usage.stores import Store, connect
from tests.samples import call

__all__ = ["BULK"]

BULK = 150


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


async def _singles(store: Store) -> None:
    while True:
        made = call()
        await store.save_api_call(made)
        _say(f"call {made.id}")


async def _bulks(store: Store) -> None:
    while True:
        name = uuid4().hex
        await store.save_api_calls([call(error_code=name) for _ in range(BULK)])
        _say(f"bulk {name}")


async def _write(url: str) -> None:
    async with connect(url) as store:
        await asyncio.gather(_singles(store), _singles(store), _bulks(store), _bulks(store))


if __name__ == "__main__":
    asyncio.run(_write(sys.argv[1]))
