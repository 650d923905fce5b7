"""The bytes of an answer, read beside the user: for SDKs and ways of calling them that show nothing else.

An answer is one JSON document, lines of JSON, or server-sent events; its type says which. What was compressed is
decompressed. Bytes are kept until the end and read then, but as long as the first content has not come, each event is
read at once: its time counts.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

__all__ = ["Wire"]

_DONE = b"[DONE]"  # the end of a stream, as many say it
# A client asks for these only where a package that can undo them is installed: one of those, in the order of httpx.
_DECOMPRESSORS = {
    "br": (("brotli", "Decompressor"), ("brotlicffi", "Decompressor")),
    "zstd": (
        ("compression.zstd", "ZstdDecompressor"),
        ("backports.zstd", "ZstdDecompressor"),
        ("zstandard", "ZstdDecompressor"),
    ),
}
_LONGEST = 64 * 2**20  # bytes; what is longer is no chat


class Wire:
    """Reads the bytes of one answer.

    Args:
        headers: of the answer, whose names are in any case.
        add: takes each document.
        is_waiting: whether documents are wanted as soon as they come.

    Attributes:
        garbled: why a document that came as a whole is none; None if all were well.
    """

    def __init__(self, headers: Mapping[str, str], add: Callable[[Any], None], is_waiting: Callable[[], bool]) -> None:
        kind = headers.get("content-type", "").lower()
        self._is_events = "event-stream" in kind
        self._is_lines = "ndjson" in kind or "jsonl" in kind
        self._add = add
        self._is_waiting = is_waiting
        self._decode = _decoder(headers.get("content-encoding", ""))
        self._rest = bytearray()
        self._size = 0
        self.garbled: ValueError | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it comes in many documents."""
        return self._is_events or self._is_lines

    def feed(self, chunk: bytes) -> None:
        """The next bytes as they come from the network."""
        self._size += len(chunk)
        if self._decode is None or self._size > _LONGEST:
            return
        try:
            self._rest += self._decode(chunk)
        except Exception:  # each has an error of its own
            self._decode = None
            return
        if (self._is_events or self._is_lines) and self._is_waiting():
            self._drain()

    def end(self) -> None:
        """No more bytes come: read what is left."""
        if self._is_events or self._is_lines:
            self._drain()
            garbled = self.garbled
            self._rest += b"\n\n"
            self._drain()
            self.garbled = garbled  # the last one may have been cut off
        elif self._rest:
            self._take(bytes(self._rest))
        self._rest.clear()

    def _drain(self) -> None:
        for document in self._documents():
            self._take(document)

    def _documents(self) -> Iterator[bytes]:
        """The whole documents at the beginning of what came: lines, or the data of events."""
        lines = bytes(self._rest).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = lines.rfind(b"\n" if self._is_lines else b"\n\n")
        if end < 0:
            return
        whole, rest = lines[:end], lines[end:].lstrip(b"\n")
        self._rest[:] = rest
        if self._is_lines:
            yield from (line for line in whole.split(b"\n") if line.strip())
            return
        for event in whole.split(b"\n\n"):
            data = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
            if data:
                yield b"\n".join(data)

    def _take(self, document: bytes) -> None:
        try:
            said = json.loads(document)
        except RecursionError:
            return
        except ValueError as error:
            if document.strip() != _DONE:
                self.garbled = error
            return
        self._add(said)


def _decoder(encoding: str) -> Callable[[bytes], bytes] | None:
    """What undoes a compression; None for one that nobody here knows."""
    kind = encoding.strip().lower()
    if kind in ("", "identity"):
        return lambda chunk: chunk
    if kind in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
    for module, name in _DECOMPRESSORS.get(kind, ()):
        try:
            decompressor = getattr(import_module(module), name)()
        except (ImportError, AttributeError):
            continue
        if hasattr(decompressor, "decompressobj"):  # zstandard's own is for whole contents
            decompressor = decompressor.decompressobj()
        decode: Callable[[bytes], bytes] = getattr(decompressor, "decompress", None) or decompressor.process
        return decode
    return None
