"""The bytes of a source: a file, a pipe or standard input, compressed or not, read as often as wanted.

An import reads its sources twice: once to find out how they are to be read, once to store what they hold. What cannot
be read twice (a pipe) is copied to a temporary file as it comes, which is gone with the process.

Compression is told from the first bytes, not from the name. gzip, bzip2 and xz are Python's own; Zstandard needs
pyarrow, of the extra `analysis`.
"""

import io
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mofa_usage.errors import UsageError, require

__all__ = ["LONGEST", "SHOWN", "STANDARD_INPUT", "Content", "CutLine", "DamagedError", "TextSource", "open_content"]

STANDARD_INPUT = "-"
LONGEST = 16 * 2**20
"""Characters of a line, or of a call in a JSON document. What is longer is no call and must not fill the memory."""

SHOWN = 200
"""Characters that are kept of it."""

_BUFFER = 2**18  # bytes
_PIECE = 2**20  # characters of a line that is passed over


class CutLine(str):
    """The beginning of a line that is too long."""

    __slots__ = ()


class DamagedError(UsageError):
    """Compressed content that is damaged or cut off: what came before could be read."""


class _View(io.RawIOBase):
    """A file from its beginning, for a reader that closes what it reads."""

    def __init__(self, raw: IO[bytes]) -> None:
        raw.seek(0)
        self._raw = raw

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._raw.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _plain(raw: IO[bytes]) -> IO[bytes]:
    return raw


def _gzip(raw: IO[bytes]) -> IO[bytes]:
    import gzip

    return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]


def _bzip2(raw: IO[bytes]) -> IO[bytes]:
    import bz2

    return bz2.BZ2File(raw)


def _xz(raw: IO[bytes]) -> IO[bytes]:
    import lzma

    return lzma.LZMAFile(raw)


def _zstandard(raw: IO[bytes]) -> IO[bytes]:
    arrow = require("pyarrow", extra="analysis")
    unpacked: IO[bytes] = arrow.CompressedInputStream(arrow.PythonFile(raw, mode="r"), "zstd")
    return unpacked


# The first bytes of each kind of compression.
_COMPRESSIONS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\xfd7zXZ\x00": _xz,
    b"\x28\xb5\x2f\xfd": _zstandard,
}
_INSIDE = "unpack it and import what is inside"
_OTHERS = {
    b"PK\x03\x04": f"a zip archive, as spreadsheets are; {_INSIDE}, or save it as CSV",
    b"7z\xbc\xaf": f"a 7z archive; {_INSIDE}",
    b"\x04\x22\x4d\x18": f"compressed with LZ4; {_INSIDE}",
    b"\xff\x06\x00\x00sNaPpY": f"compressed with Snappy; {_INSIDE}",
    b"ARROW1\x00\x00": "an Arrow file; read it into a frame and import that, or save it as Parquet",
    b"Obj\x01": "an Avro file; read it into a frame and import that, or save it as Parquet",
    b"SQLite format 3\x00": "a SQLite database; one of ours is read by its URL, sqlite:PATH",
}
"""The first bytes of what is not read, and what to do with it."""


class Content:
    """What a source holds, as bytes.

    Attributes:
        name: for people: the path as it was given, or `standard input`.
        path: the file; None where there is none that could be opened again.
        size: in bytes, as they lie there (compressed).
        is_compressed: whether it is.
    """

    def __init__(self, name: str, path: Path | None, raw: IO[bytes], *, is_ours: bool = True) -> None:
        self.name = name
        self.path = path
        self._raw: IO[bytes] | None = raw
        self._is_ours = is_ours
        self.size = raw.seek(0, io.SEEK_END)
        raw.seek(0)
        start = raw.read(16)
        for magic, what in _OTHERS.items():
            if start.startswith(magic):
                raise UsageError(f"{name} is {what}")
        if start.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise UsageError(f"{name} is UTF-16 text; save it as UTF-8")
        found = [unpack for magic, unpack in _COMPRESSIONS.items() if start.startswith(magic)]
        self._unpack = found[0] if found else _plain
        self.is_compressed = bool(found)

    def open(self) -> IO[bytes]:
        """The content from its beginning, decompressed. The one opened before must not be used any more.

        Raises:
            MissingExtraError: it is compressed with Zstandard, and pyarrow is not installed.
        """
        if self._raw is None:
            self._raw = _opened(Path(self.name))
        return self._unpack(io.BufferedReader(_View(self._raw), _BUFFER))

    def open_text(self) -> io.TextIOWrapper:
        """The content as UTF-8 text, newlines as they are.

        Bytes that are no UTF-8 become lone surrogates (Python's `surrogateescape`), so that one bad row can be refused
        and the next one read.
        """
        return io.TextIOWrapper(self.open(), encoding="utf-8-sig", errors="surrogateescape", newline="")

    def peek(self, size: int) -> bytes:
        """The first bytes, decompressed."""
        with self.reading():
            return self.open().read(size)

    def lines(self) -> Iterator[str]:
        """The lines from the beginning, with their ends; of one that is too long only the beginning, as `CutLine`.

        Raises:
            DamagedError: the compressed content is damaged or cut off.
            UsageError: it cannot be read, or is UTF-16.
        """
        with self.reading():
            text = self.open_text()
            while line := text.readline(LONGEST):
                if len(line) < LONGEST or line.endswith(("\n", "\r")):
                    yield line
                    continue
                while (rest := text.readline(_PIECE)) and len(rest) == _PIECE and not rest.endswith(("\n", "\r")):
                    pass
                yield CutLine(line[:SHOWN])

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Translates the failures of reading and decompressing."""
        try:
            yield
        except _failures() as error:
            if self.is_compressed:
                raise DamagedError(f"{self.name}: the compressed file is damaged or cut off: {error}") from error
            raise UsageError(f"{self.name} cannot be read: {error}") from error

    def position(self) -> int:
        """How far the reading has come, from 0 to `size`."""
        return self.size if self._raw is None else self._raw.tell()

    def pause(self) -> None:
        """Close the file if it can be opened again, which the next reading does."""
        if self.path is not None:
            self.close()

    def close(self) -> None:
        """Close the file, unless it is not ours."""
        if self._raw is not None and self._is_ours:
            self._raw.close()
            self._raw = None


class TextSource:
    """What the readers of text share: their content, which is what they are as long as."""

    def __init__(self, content: Content) -> None:
        self.name = content.name
        self.size = content.size
        self._content = content

    def position(self) -> int:
        """How far the reading has come, from 0 to `size`."""
        return self._content.position()

    def pause(self) -> None:
        """Let go of what the next reading opens again."""
        self._content.pause()

    def close(self) -> None:
        """Let go of everything."""
        self._content.close()


def _failures() -> tuple[type[Exception], ...]:
    lzma = sys.modules.get("lzma")  # where it was not loaded, nothing raises its errors
    return (OSError, EOFError, zlib.error, *([] if lzma is None else [lzma.LZMAError]))


def open_content(source: str | Path) -> Content:
    """The content of the file `source`, or of standard input where it is `-`.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    if source == STANDARD_INPUT:
        return _rewindable("standard input", None, sys.stdin.buffer, is_ours=False)
    path = Path(source)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; import its files: {path}/*")
    raw = _opened(path)
    try:
        return _rewindable(str(path), path, raw, is_ours=True)
    except BaseException:
        raw.close()
        raise


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _rewindable(name: str, path: Path | None, raw: IO[bytes], *, is_ours: bool) -> Content:
    if raw.seekable():
        return Content(name, path, raw, is_ours=is_ours)
    copy = tempfile.TemporaryFile()  # noqa: SIM115  (the content closes it)
    try:
        shutil.copyfileobj(raw, copy)
        copied = Content(name, None, copy)
    except BaseException:
        copy.close()
        raise
    if is_ours:
        raw.close()
    return copied
