"""How a document lies in a file: a head of 32 bytes, then its JSON, written at once.

| bytes | |
|---|---|
| 4 | `mofa` |
| 4 | length of the document |
| 4 | CRC-32 of all that follows |
| 4 | how many records it holds |
| 8 | how many records its process had accepted before it |
| 8 | when it was accepted, in nanoseconds since 1970 |

A process that is killed in the midst of a write leaves a torn tail, which nobody has been told is accepted: reading
ends there. What is damaged elsewhere is passed over, and the running numbers say how many records it held: every record
that was accepted is accounted for, whatever became of its bytes.
"""

import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["HEAD_BYTES", "LARGEST_DOCUMENT", "Frame", "framed", "read_checked", "read_frames"]

LARGEST_DOCUMENT = 64 * 2**20
"""Bytes of JSON that one frame may hold."""

_HEAD = struct.Struct("<4sII")
_CHECKED = struct.Struct("<IQQ")
_MAGIC = b"mofa"
HEAD_BYTES = _HEAD.size + _CHECKED.size


@dataclass(frozen=True, slots=True)
class Frame:
    """A document in a file.

    Attributes:
        body: its JSON.
        count: how many records it holds.
        first: how many its process had accepted before it.
        accepted_ns: when it was accepted, in nanoseconds since 1970.
        start, end: the bytes of the file that it takes.
    """

    body: bytes
    count: int
    first: int
    accepted_ns: int
    start: int
    end: int


def framed(body: bytes, count: int, first: int) -> bytes:
    """The bytes of a frame that is accepted now."""
    checked = _CHECKED.pack(count, first, time.time_ns())
    return b"".join((_HEAD.pack(_MAGIC, len(body), zlib.crc32(body, zlib.crc32(checked))), checked, body))


def read_checked(frame: bytes) -> tuple[int, int, int]:
    """How many records a frame holds, how many were accepted before it, and when it was accepted."""
    count, first, accepted_ns = _CHECKED.unpack_from(frame, _HEAD.size)
    return count, first, accepted_ns


def _frame_at(data: bytes, place: int, base: int) -> Frame | int:
    """The frame at a place of the data, which begin at the byte `base` of a file; or how many bytes it would need to
    be there, 0 if there is none.
    """
    body = place + HEAD_BYTES
    if len(data) < body:
        return HEAD_BYTES if _MAGIC.startswith(data[place : place + 4]) else 0
    magic, length, crc = _HEAD.unpack_from(data, place)
    if magic != _MAGIC or length > LARGEST_DOCUMENT:
        return 0
    end = body + length
    if end > len(data):
        return HEAD_BYTES + int(length)
    if zlib.crc32(memoryview(data)[place + _HEAD.size : end]) != crc:
        return 0
    count, first, accepted_ns = _CHECKED.unpack_from(data, place + _HEAD.size)
    return Frame(data[body:end], count, first, accepted_ns, base + place, base + end)


def read_frames(file: int, start: int, end: int, most: int) -> Iterator[Frame]:
    """The whole frames of an open file between two of its bytes, some `most` bytes of them but at least one, where
    there is one. What is no frame is passed over; after the last one there is none up to `end`, if fewer came.
    """
    end = min(end, os.fstat(file).st_size)
    base, data = start, os.pread(file, min(most, end - start), start) if start < end else b""
    place, found = 0, False
    while base + place < end:
        frame = _frame_at(data, place, base)
        if isinstance(frame, Frame):
            yield frame
            found, place = True, frame.end - base
            continue
        if frame and len(data) < place + frame <= end - base:  # it goes on behind what was read
            if found:
                return
            base, data, place = base + place, os.pread(file, max(frame, most), base + place), 0
            if len(data) < frame:
                return  # somebody has cut the file meanwhile
            continue
        if len(data) < end - base:
            base, data, place = base + place, os.pread(file, end - base - place, base + place), 0
        place = data.find(_MAGIC, place + 1)
        if place < 0:
            return
