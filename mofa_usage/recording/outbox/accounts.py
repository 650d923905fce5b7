"""The file of an account: overwritten in place, so that it can be kept on a full disk, too.

It has two slots, used in turn, each with a number that grows and a checksum: whoever is killed in the midst of writing
one leaves the other.
"""

import json
import os
import zlib
from dataclasses import asdict
from pathlib import Path

from mofa_usage.recording.outbox.backlog import Account

__all__ = ["AccountFile", "read_account"]

_SLOT = 512  # bytes


def _read(file: int) -> tuple[int, Account] | None:
    found: list[tuple[int, Account]] = []
    for place in (0, _SLOT):
        crc, _, text = os.pread(file, _SLOT, place).partition(b" ")
        try:
            if int(crc, 16) == zlib.crc32(text):
                turn, values = json.loads(text)
                found.append((turn, Account(**values)))
        except (ValueError, TypeError):
            continue
    return max(found, key=lambda slot: slot[0], default=None)


def read_account(path: Path) -> Account | None:
    """The account in a file; None where there is none that can be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        slot = _read(file)
    finally:
        os.close(file)
    return None if slot is None else slot[1]


class AccountFile:
    """The account of a process, kept by whoever has its lock."""

    def __init__(self, path: Path, *, fsync: bool = False) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._fsync = fsync
        slot = _read(self._file)
        self._turn = 0 if slot is None else slot[0]

    def save(self, account: Account) -> None:
        """Keep it.

        Raises:
            OSError: it is not kept; what was kept before still is.
        """
        text = json.dumps([self._turn + 1, asdict(account)]).encode().ljust(_SLOT - 9)
        slot = b"%08x %b" % (zlib.crc32(text), text)
        if os.pwrite(self._file, slot, (self._turn + 1) % 2 * _SLOT) != _SLOT:
            raise OSError(28, "No space left on device")
        self._turn += 1
        if self._fsync:
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file; nothing is kept after that."""
        file, self._file = self._file, -1
        os.close(file)
