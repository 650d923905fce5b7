"""A folder in which accepted records wait on disk, shared by any number of processes.

Each process writes files of its own, so nobody waits for anybody. Its name is its process id and eight random digits:

| file | what |
|---|---|
| `NAME.lock` | locked as long as the process lives |
| `NAME.000001.segment`, `NAME.000002.segment`, ... | what it accepted, in frames; only ever appended to |
| `NAME.account` | up to where that is settled, and how many records became what; outlives the segments |
| `dead/NAME.SEGMENT.OFFSET.json` | records that can never be saved, with the reasons |
| `folder.account` | the sums of the processes that have ended with everything settled |
| `folder.lock` | locked for moments, by who adds to those sums or takes over files |

Whoever can lock the file of an ended process may deliver what it left (`adopt`). When all of it is settled, its counts
go into the sums and its files away (`fold`). So the files prove at any moment that nothing was lost: what was accepted,
by the running numbers in the frames, is what was delivered, by the accounts, and what waits and what is dead, by
counting (`survey`).

Only the user may read the folder. It holds no password: what waits in it goes to the database of whoever opens it.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mofa_usage.errors import UsageError
from mofa_usage.recording.outbox.accounts import read_account
from mofa_usage.recording.outbox.backlog import Account, Letter, moment
from mofa_usage.recording.outbox.frames import read_frames
from mofa_usage.recording.outbox.locks import Lock, exclusive, hold

__all__ = ["DeadLetter", "Outbox", "Survey", "new_owner", "outbox_in", "segment_numbers", "segment_path"]

# Compiled when they are first needed: that takes a tenth of the time of importing all of recording.
_LETTER = r"(?P<owner>\d+-[0-9a-f]{8})\.(?P<segment>\d+)\.(?P<offset>\d+)\.json"
_OWNED = r"(?P<owner>\d+-[0-9a-f]{8})\.(?:lock|account|(?P<segment>\d+)\.segment)"
_CHUNK = 4 * 2**20
_TRIES = 50


@dataclass(frozen=True)
class FolderAccount:
    """The sums of the processes that are done, and what is under way.

    Attributes:
        accepted, delivered, labels_dropped, unpriced: sums of their accounts.
        moved: dead records that were accepted anew.
        folded: processes whose counts are in the sums, and of which there may still be files.
        moving: dead letters whose records are in `moved`, and of which there may still be files.
    """

    accepted: int = 0
    delivered: int = 0
    labels_dropped: int = 0
    unpriced: int = 0
    moved: int = 0
    folded: tuple[str, ...] = ()
    moving: tuple[str, ...] = ()


@dataclass(frozen=True)
class Survey:
    """What the files of an outbox say: `accepted` by the running numbers, `delivered` by the accounts, `waiting` by
    counting frames, `dead` by counting letters.
    """

    accepted: int = 0
    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    labels_dropped: int = 0
    unpriced: int = 0
    size: int = 0
    oldest_waiting: datetime | None = None
    alive: int = 0
    ended: int = 0


@dataclass(frozen=True)
class DeadLetter:
    """A file of dead records: each with its kind, its fields and the reason."""

    path: Path
    count: int
    records: list[dict[str, Any]]


@dataclass
class _Left:
    """What one process has in the folder."""

    account: Account
    accepted: int
    waiting: int = 0
    oldest: datetime | None = field(default=None)


def outbox_in(folder: object) -> "Outbox | None":
    """The outbox of what a recorder was given; None where there is none to be.

    Raises:
        UsageError: it is no folder, or cannot be used.
    """
    if folder is None or folder is False:
        return None
    if not isinstance(folder, str | os.PathLike):
        raise UsageError(f"outbox is a folder, None for the usual one, or False for none, not {folder!r:.80}")
    return Outbox(folder)


def new_owner() -> str:
    """A name for the files of this process."""
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def segment_path(folder: Path, owner: str, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{owner}.{number:06d}.segment"


def segment_numbers(folder: Path, owner: str) -> list[int]:
    """The segments that there are, in order."""
    return sorted(int(path.name.split(".")[1]) for path in folder.glob(f"{owner}.*.segment"))


def _replace(path: Path, values: dict[str, Any]) -> None:
    """Write JSON into a file, all of it or none."""
    new = path.with_name(f"{path.name}.new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(values, stream)
        stream.flush()
        os.fsync(stream.fileno())  # it is rare, and a name without content would be worse than none
    new.replace(path)


class Outbox:
    """A folder of accepted records. It is made if it is missing, for this user alone.

    Raises:
        UsageError: it cannot be made or written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser().absolute()
        self.dead_folder = self.folder / "dead"
        try:
            for path in (self.folder, self.dead_folder):
                if not path.is_dir():
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(self.folder))
        except OSError as error:
            hint = "give another one (outbox=FOLDER), or outbox=False to keep what waits in memory only"
            raise UsageError(f"the outbox {self.folder} cannot be used: {error.strerror}; {hint}") from error

    # Accounts

    def load(self, owner: str) -> Account:
        """The account of a process. Where it has none that can be read, nothing is known to be settled; what was
        accepted before the first segment that is left must have been.
        """
        account = read_account(self.folder / f"{owner}.account")
        if account is not None:
            return account
        segments = segment_numbers(self.folder, owner)
        if not segments:
            return Account()
        first = next(self._frames(owner, segments[0], 0), None)
        passed = 0 if first is None else first.first
        dead = sum(letter.count for letter in self._letters() if letter.path.name.startswith(f"{owner}."))
        return Account(segments[0], 0, passed, max(passed - dead, 0), passed - max(passed - dead, 0))

    def _sums(self) -> FolderAccount:
        try:
            values = json.loads((self.folder / "folder.account").read_text(encoding="utf-8"))
            folded, moving = (tuple(values.pop(name)) for name in ("folded", "moving"))
            return FolderAccount(**values, folded=folded, moving=moving)
        except (FileNotFoundError, ValueError, TypeError, KeyError):  # where the machine failed, it may be empty
            return FolderAccount()

    def fold(self, owner: str, account: Account, lock: Lock) -> None:
        """Take away the files of a process of which everything is settled, and keep its counts."""
        with exclusive(self.folder / "folder.lock"):
            sums = self._sums()
            if owner not in sums.folded:
                sums = FolderAccount(
                    accepted=sums.accepted + account.accepted,
                    delivered=sums.delivered + account.delivered,
                    labels_dropped=sums.labels_dropped + account.labels_dropped,
                    unpriced=sums.unpriced + account.unpriced,
                    moved=sums.moved,
                    folded=(*(one for one in sums.folded if self._has_files(one)), owner),
                    moving=sums.moving,
                )
                _replace(self.folder / "folder.account", asdict(sums))
            self._clear(owner)
            lock.release(remove=True)

    def _has_files(self, owner: str) -> bool:
        return next(self.folder.glob(f"{owner}.*"), None) is not None

    def _clear(self, owner: str) -> None:
        for path in self.folder.glob(f"{owner}.*"):
            if path.suffix != ".lock":
                path.unlink(missing_ok=True)

    # Processes

    def owners(self) -> list[str]:
        """The processes that have files here, the oldest file first; those whose counts are in the sums are done."""
        done = set(self._sums().folded)
        seen: dict[str, int] = {}
        for path in self.folder.iterdir():
            if (match := re.fullmatch(_OWNED, path.name)) and match["owner"] not in done:
                try:
                    made = path.stat().st_mtime_ns
                except FileNotFoundError:
                    continue
                seen[match["owner"]] = min(made, seen.get(match["owner"], made))
        return sorted(seen, key=lambda owner: (seen[owner], owner))

    def enter(self, owner: str) -> Lock:
        """Begin to write files of this name."""
        with exclusive(self.folder / "folder.lock"):
            lock = hold(self.folder / f"{owner}.lock")
        if lock is None:
            raise UsageError(f"somebody else writes as {owner} into {self.folder}")
        return lock

    def adopt(self, *but: str) -> tuple[str, Lock] | None:
        """Take over the files of a process that has ended: its name, and the lock that keeps others away from them."""
        with exclusive(self.folder / "folder.lock"):
            for owner in self._sums().folded:  # whoever folded it was stopped in the midst
                if self._has_files(owner) and (lock := hold(self.folder / f"{owner}.lock")):
                    self._clear(owner)
                    lock.release(remove=True)
            for owner in self.owners():
                if owner not in but and (lock := hold(self.folder / f"{owner}.lock")):
                    return owner, lock
        return None

    def size(self, *but: str) -> int:
        """Bytes of all files, those of some processes not counted."""
        total = 0
        for path in self.folder.iterdir():
            if path.suffix == ".segment" and path.name.split(".")[0] not in but:
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    continue
        return total

    # Dead letters

    def bury(self, owner: str, letter: Letter) -> None:
        """Keep dead records. It is done before their place is settled, so doing it again replaces the same file."""
        path = self.dead_folder / f"{owner}.{letter.segment:06d}.{letter.offset:012d}.json"
        _replace(path, {"count": letter.count, "records": [dead._asdict() for dead in letter.dead]})

    def _letters(self) -> Iterator[DeadLetter]:
        for path in sorted(self.dead_folder.glob("*.json")):
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
                yield DeadLetter(path, int(said["count"]), list(said["records"]))
            except (FileNotFoundError, ValueError, KeyError, TypeError):
                continue

    def dead(self) -> list[DeadLetter]:
        """The dead records that are settled as such, by process and place."""
        moving = set(self._sums().moving)
        accounts = {owner: self.load(owner) for owner in self.owners()}
        return [letter for letter in self._letters() if _counts(letter, moving, accounts)]

    def move(self, letters: list[DeadLetter]) -> None:
        """Forget dead letters whose records have been accepted anew."""
        with exclusive(self.folder / "folder.lock"):
            sums = asdict(self._sums())
            still = [name for name in sums["moving"] if (self.dead_folder / name).exists()]
            going = [letter for letter in letters if letter.path.exists() and letter.path.name not in still]
            sums["moved"] += sum(letter.count for letter in going)
            sums["moving"] = [*still, *(letter.path.name for letter in going)]
            _replace(self.folder / "folder.account", sums)
            for name in sums["moving"]:
                (self.dead_folder / name).unlink(missing_ok=True)

    # What the files say

    def _frames(self, owner: str, number: int, offset: int) -> Iterator[Any]:
        """The frames of a segment from a place on."""
        with open(segment_path(self.folder, owner, number), "rb") as file:
            end = os.fstat(file.fileno()).st_size
            while offset < end:
                before = offset
                for frame in read_frames(file.fileno(), offset, end, _CHUNK):
                    offset = frame.end
                    yield frame
                if offset == before:
                    return

    def _left(self, owner: str) -> _Left:
        for _ in range(_TRIES):
            account = self.load(owner)
            left = _Left(account, account.accepted)
            try:
                for number in segment_numbers(self.folder, owner):
                    if number < account.segment:
                        continue
                    for frame in self._frames(owner, number, account.offset if number == account.segment else 0):
                        left.waiting += frame.count
                        left.accepted = frame.first + frame.count
                        left.oldest = left.oldest or moment(frame.accepted_ns)
            except FileNotFoundError:
                continue  # settled and taken away while we looked
            if self.load(owner) == account:
                return left
        return left

    def survey(self) -> Survey:
        """What the files say of this moment; of processes that are at work, of a moment of each."""
        for _ in range(_TRIES):
            sums = self._sums()
            left = {owner: self._left(owner) for owner in self.owners()}
            accounts = {owner: one.account for owner, one in left.items()}
            letters = [one for one in self._letters() if _counts(one, set(sums.moving), accounts)]
            if self._sums() == sums:
                break  # else something became a part of the sums while we looked
        alive = sum(1 for owner in left if not self._has_ended(owner))
        oldest = [one.oldest for one in left.values() if one.oldest is not None]
        return Survey(
            accepted=sums.accepted - sums.moved + sum(one.accepted for one in left.values()),
            delivered=sums.delivered + sum(one.account.delivered for one in left.values()),
            waiting=sum(one.waiting for one in left.values()),
            dead=sum(letter.count for letter in letters),
            labels_dropped=sums.labels_dropped + sum(one.account.labels_dropped for one in left.values()),
            unpriced=sums.unpriced + sum(one.account.unpriced for one in left.values()),
            size=self.size(),
            oldest_waiting=min(oldest, default=None),
            alive=alive,
            ended=len(left) - alive,
        )

    def _has_ended(self, owner: str) -> bool:
        path = self.folder / f"{owner}.lock"
        if not path.exists():
            return True
        lock = hold(path)
        if lock is None:
            return False
        lock.release()
        return True


def _counts(letter: DeadLetter, moving: set[str], accounts: dict[str, Account]) -> bool:
    """Whether a letter's records are settled as dead: its place lies before the end of what is settled."""
    match = re.fullmatch(_LETTER, letter.path.name)
    if match is None or letter.path.name in moving:
        return False
    account = accounts.get(match["owner"])
    return account is None or (int(match["segment"]), int(match["offset"])) < (account.segment, account.offset)
