"""What arrived, read without the recorder; and outboxes counted by hand, without the code that is tested."""

import asyncio
import json
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

from mofa_usage.records import LLMApiCall, LLMMessage
from mofa_usage.stores import connect

__all__ = ["calls_in", "documents_in", "ids_in", "messages_in", "records_waiting"]


def _run(work: Any) -> Any:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


def calls_in(url: str) -> list[LLMApiCall]:
    """The calls of a database."""

    async def read() -> list[LLMApiCall]:
        async with connect(url) as store:
            return await store.query_api_calls()

    found: list[LLMApiCall] = _run(read())
    return found


def ids_in(url: str) -> set[UUID]:
    """The ids of the calls of a SQLite database, in which there may be more than fits into memory."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:"))) as raw:
        found = [value for (value,) in raw.execute("SELECT id FROM entity_llm_api_call")]
    ids = {UUID(bytes=value) if isinstance(value, bytes) else UUID(value) for value in found}
    assert len(ids) == len(found)
    return ids


def messages_in(url: str, session_id: Any) -> list[LLMMessage]:
    """The messages of a session."""

    async def read() -> list[LLMMessage]:
        async with connect(url) as store:
            return await store.get_session_messages(session_id)

    found: list[LLMMessage] = _run(read())
    return found


def documents_in(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Count, running number and document of each whole frame of a segment."""
    data, place = path.read_bytes(), 0
    while place + 32 <= len(data):
        magic, length, crc, count, first, _ = struct.unpack_from("<4sIIIQQ", data, place)
        end = place + 32 + length
        if magic != b"mofa" or end > len(data) or zlib.crc32(data[place + 12 : end]) != crc:
            return
        yield count, first, json.loads(data[place + 32 : end])
        place = end


def records_waiting(folder: Path) -> int:
    """The records of all frames in a folder from which nothing was delivered."""
    return sum(count for path in folder.glob("*.segment") for count, _, _ in documents_in(path))
