"""Processes that are killed, that fork, that end, and that share a folder; disks that are full, files that are torn."""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from mofa_usage.errors import RecordingError, StoreConnectionError
from mofa_usage.recording import Recorder
from mofa_usage.recording.delivery import Delivery
from mofa_usage.recording.outbox.folder import Outbox, Survey
from mofa_usage.recording.waiting import drain, retry_dead
from tests.proofs import trials
from tests.recording.reading import calls_in, documents_in, ids_in, records_waiting
from tests.samples import call, message

NOBODY = "postgres://nobody@127.0.0.1:1/none"
LARGE = trials(200_000, 4_000_000)


def survey(folder: Path) -> Survey:
    """What the files say; its counts fit together, always."""
    found = Outbox(folder).survey()
    assert found.accepted == found.delivered + found.waiting + found.dead
    return found


def counts(folder: Path) -> dict[str, int]:
    """Those of the counts that are not 0."""
    found = survey(folder)
    names = ("accepted", "delivered", "waiting", "dead", "alive", "ended")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


@contextmanager
def killing(url: str, folder: Path) -> Iterator[Callable[[int, float, int], list[UUID]]]:
    """Starts so many processes, kills them so many seconds after the first words of one, and says what all of them
    said was accepted until then; with records of so many bytes.
    """
    command = [sys.executable, "-m", "tests.recording.writer", url, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        stdin, lines = writer.stdin, writer.stdout

        def kill(processes: int, seconds: float, size: int) -> list[UUID]:
            stdin.write(f"{processes} 4 {size}\n")
            said = [next(lines)]
            later = threading.Timer(seconds, stdin.write, ["kill\n"])
            later.start()
            said += iter(lambda: next(lines).strip(), "over")
            later.join()
            return [UUID(line.strip()) for line in said]

        yield kill
    assert writer.returncode == 0


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize(("size", "kills"), [(2000, trials(2, 60)), (LARGE, trials(2, 40))], ids=["small", "large"])
def test_what_killed_processes_had_accepted_is_delivered_once(url: str, folder: Path, size: int, kills: int) -> None:
    randomness = random.Random(8)
    said: list[UUID] = []
    with killing(url, folder) as kill:
        for number in range(kills):
            said += kill(1 + number % 4, 0.1 + randomness.random() * 0.3, size)
            if number % 4 == 3:  # or large ones would meet the bound of the folder
                drain(Outbox(folder), url, prices=None)
    assert len(said) == len(set(said)) > kills
    survey(folder)
    drain(Outbox(folder), url, prices=None)
    delivered = survey(folder)
    assert (delivered.waiting, delivered.dead, delivered.ended) == (0, 0, 0)
    there = ids_in(url)
    assert set(said) <= there
    # A record whose thread was killed between its acceptance and its words is there, too; each once.
    assert len(there) - len(said) <= 4 * 4 * kills
    assert delivered.accepted == delivered.delivered == len(there)
    assert not list(folder.glob("*.segment"))


@pytest.mark.proof
def test_a_torn_tail_was_never_accepted_and_is_passed_over(url: str, folder: Path) -> None:
    recorder = Recorder(NOBODY, outbox=folder)
    recorder.record(call(0))
    recorder.record(call(1))
    recorder.close(0)
    (segment,) = folder.glob("*.segment")
    whole = segment.read_bytes()
    frame = whole[: whole.index(b"mofa", 10)]  # the first of them; all of it again would be a third record
    for end in range(0, len(frame), trials(40, 1)):
        segment.write_bytes(whole + frame[:end])
        assert survey(folder).waiting == 2
    drain(Outbox(folder), url)
    assert len(calls_in(url)) == 2
    assert counts(folder) == {"accepted": 2, "delivered": 2}


@pytest.mark.parametrize("place", [0, 5, 9, 14, 40])
def test_damaged_bytes_are_accounted_for_and_block_nothing(url: str, folder: Path, place: int) -> None:
    recorder = Recorder(NOBODY, outbox=folder)
    for n in range(5):
        recorder.record(call(n), message(n))
    recorder.close(0)
    (segment,) = folder.glob("*.segment")
    data = bytearray(segment.read_bytes())
    second = data.index(b"mofa", 10)
    data[second + place] ^= 0xFF
    segment.write_bytes(bytes(data))
    drain(Outbox(folder), url)
    assert len(calls_in(url)) == 4
    assert counts(folder) == {"accepted": 10, "delivered": 8, "dead": 2}
    (letter,) = Outbox(folder).dead()
    assert "damaged" in letter.records[0]["reason"]
    assert retry_dead(Outbox(folder), [letter]) == 0


def test_files_that_somebody_deletes_are_accounted_for(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Recorder(url, outbox=folder) as recorder:
        with monkeypatch.context() as context:
            context.setattr(Delivery, "wake", lambda self: None)  # or it may have read the first one already
            recorder.record(call(0))
            next(folder.glob("*.segment")).unlink()
            recorder.record(call(1))
        assert recorder.flush(60)
        stats = recorder.stats()
        assert (stats.accepted, stats.delivered, stats.waiting, stats.dead) == (2, 0, 0, 2)


def in_child(code: str, *arguments: object, limit: int | None = None, ends: int = 0) -> str:
    """What a program prints that has the names of this module's imports."""
    names = (
        "import os, sys, time, signal\nfrom tests.samples import call, message\n"
        "from mofa_usage import Recorder, RecordingError\n"
    )

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", names + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
        timeout=120,
    )
    assert done.returncode == ends, done.stderr
    return done.stdout


FULL = """
recorder = Recorder(sys.argv[1], outbox=sys.argv[2])
accepted = 0
for n in range(400):
    try:
        recorder.record(call(n, error_message="x" * (n * 37 % 900)), message(n))
        accepted += 2
    except RecordingError as error:
        assert "disk is full" in str(error) or "cannot be written" in str(error), error
    stats = recorder.stats()
    assert stats.accepted == stats.delivered + stats.waiting + stats.dead == accepted
print(accepted, recorder.stats().refused)
recorder.close(0)
"""


@pytest.mark.parametrize("limit", [20_000, 50_001, 99_999])
def test_a_full_disk_refuses_and_nothing_is_half_accepted(url: str, folder: Path, limit: int) -> None:
    accepted, refused = map(int, in_child(FULL, NOBODY, folder, limit=limit).split())
    assert accepted + refused == 800
    assert refused > 0
    assert records_waiting(folder) == accepted == survey(folder).waiting
    assert all(path.stat().st_size <= limit for path in folder.glob("*.segment"))
    drain(Outbox(folder), url)
    assert 2 * len(calls_in(url)) == accepted


FORK = """
recorder = Recorder(sys.argv[1], outbox=sys.argv[2], prices=None)
def stop():
    recorder.close(60)
    os._exit(0)
for n in range(20):
    recorder.record(call())
if sys.argv[3] == "flush":
    assert recorder.flush(60)
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        assert recorder.stats().accepted == 0
        for n in range(30):
            recorder.record(call())
        assert recorder.stats().accepted == 30
        if sys.argv[3] == "flush":
            assert recorder.flush(60)
        stop()
    children.append(child)
for n in range(20):
    recorder.record(call())
for child in children:
    assert os.waitpid(child, 0)[1] == 0
assert recorder.stats().accepted == 40
recorder.close(60)
"""


@pytest.mark.parametrize("how", ["flush", "at once"])
def test_children_that_were_forked_record_into_files_of_their_own(url: str, folder: Path, how: str) -> None:
    in_child(FORK, url, folder, how)
    if survey(folder).waiting:
        drain(Outbox(folder), url, prices=None)
    assert counts(folder) == {"accepted": 130, "delivered": 130}
    assert len(calls_in(url)) == 130


FORK_WHILE_IMPORTING = """
import threading
from importlib.abc import MetaPathFinder
begun = threading.Event()
class Slowly(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[3]:
            begun.set()
            time.sleep(0.3)
sys.meta_path.insert(0, Slowly())
recorder = Recorder(sys.argv[1], outbox=sys.argv[2], prices=None)
recorder.record(call())
assert begun.wait(60)
child = os.fork()
recorder.record(call())
assert recorder.flush(60)
recorder.close(60)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("module", ["mofa_usage.recording.completing", "alembic.command"])
def test_a_fork_waits_for_what_delivery_imports(url: str, folder: Path, module: str) -> None:
    """What a thread was importing would stay half imported in the child, which would never deliver."""
    in_child(FORK_WHILE_IMPORTING, url, folder, module)
    assert counts(folder) == {"accepted": 3, "delivered": 3}
    assert len(calls_in(url)) == 3


OUTLIVE = """
recorder = Recorder(sys.argv[1], outbox=sys.argv[2], prices=None)
recorder.record(call())
assert recorder.flush(60)
closed, close = os.pipe()
child = os.fork()
if child == 0:
    recorder.record(call())
    assert recorder.flush(60)
    os.write(close, b".")
    while os.getppid() != 1 and not os.path.exists(sys.argv[3]):
        time.sleep(0.01)
    recorder.record(call())
    assert recorder.flush(60)
    os._exit(0)
os.read(closed, 1)
recorder.close(60)
open(sys.argv[3], "w").close()
assert os.waitpid(child, 0)[1] == 0
"""


def test_what_a_child_saves_after_its_parent_has_closed_is_not_lost(url: str, folder: Path, tmp_path: Path) -> None:
    """SQLite in the child believed that its parent's locks were its own: it wrote to a log that was gone."""
    in_child(OUTLIVE, url, folder, tmp_path / "closed")
    assert counts(folder) == {"accepted": 3, "delivered": 3, "ended": 1}
    assert len(calls_in(url)) == 3


END = """
recorder = Recorder(sys.argv[1], outbox=sys.argv[2], prices=None)
for n in range(50):
    recorder.record(call())
"""


def test_the_interpreters_end_delivers(url: str, folder: Path) -> None:
    in_child(END, url, folder)
    found = survey(folder)
    assert found.accepted == 50
    if found.waiting:  # a slow machine; what is left is never lost
        drain(Outbox(folder), url, prices=None)
    assert len(calls_in(url)) == 50


def test_without_a_database_the_end_is_soon_and_a_later_process_delivers(url: str, folder: Path) -> None:
    begun = time.monotonic()
    in_child(END + "print(recorder.flush(0.1))", NOBODY, folder)
    assert time.monotonic() - begun < 60
    assert survey(folder).waiting == 50
    with Recorder(url, outbox=folder) as recorder:  # another target: what waits goes to whoever opens the folder
        assert recorder.flush(60)
        assert recorder.stats().accepted == 0
    assert len(calls_in(url)) == 50
    assert counts(folder) == {"accepted": 50, "delivered": 50}


def test_two_processes_share_a_folder_and_leave_each_other_alone(url: str, folder: Path) -> None:
    wait = "\nsys.stdin.read()\nrecorder.close(60)\n"
    names = "import sys\nfrom tests.samples import call\nfrom mofa_usage import Recorder\n"
    command = [sys.executable, "-c", names + END + wait, NOBODY, str(folder)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        while survey(folder).waiting < 50:
            time.sleep(0.05)
        with Recorder(url, outbox=folder) as recorder:
            recorder.record(call(0))
            assert recorder.flush(60)
            found = survey(folder)
            assert (found.accepted, found.delivered, found.waiting, found.alive) == (51, 1, 50, 2)
    finally:
        other.kill()
        other.communicate()
    assert other.returncode == -signal.SIGKILL
    drain(Outbox(folder), url)
    assert len(calls_in(url)) == 51


def test_recorders_of_one_process_share_a_folder(url: str, folder: Path) -> None:
    with Recorder(url, outbox=folder) as one, Recorder(NOBODY, outbox=folder) as other:
        one.record(call(0))
        other.record(call(1))
        assert one.flush(60)
        assert survey(folder).waiting == 1
        other.close(0)
        while survey(folder).waiting:  # what the other has left, this one takes over
            one.flush(1)
            time.sleep(0.05)
    assert len(calls_in(url)) == 2


def test_rotation_and_pruning_forget_no_count(url: str, folder: Path) -> None:
    with Recorder(url, outbox=folder, prices=None) as recorder:
        recorder._backlog._segment_bytes = 5_000  # type: ignore[attr-defined]
        for n in range(100):
            recorder.record(call(n))
            if n % 20 == 0:
                survey(folder)
        assert recorder.flush(60)
        assert len(list(folder.glob("*.segment"))) == 1
        assert survey(folder).delivered == 100
        recorder._backlog.tidy()  # type: ignore[attr-defined]
        (segment,) = folder.glob("*.segment")
        assert segment.stat().st_size == 0
        recorder.record(call(100))
        assert [first for _, first, _ in documents_in(segment)] == [100]
        assert survey(folder).accepted == 101
    assert len(calls_in(url)) == 101
    assert counts(folder) == {"accepted": 101, "delivered": 101}


def test_drain_says_what_is_in_its_way(folder: Path) -> None:
    recorder = Recorder(NOBODY, outbox=folder)
    recorder.record(call(0))
    recorder.close(0)
    with pytest.raises(StoreConnectionError):
        drain(Outbox(folder), NOBODY)
    assert survey(folder).waiting == 1


def test_a_write_that_fails_is_refused_and_the_next_one_is_good(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.write
    with Recorder(NOBODY, outbox=folder) as recorder:
        recorder.record(call(0))

        def torn(file: int, data: bytes) -> int:
            plain(file, data[: len(data) // 2])
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "write", torn)
        with pytest.raises(KeyboardInterrupt):
            recorder.record(call(1))
        monkeypatch.setattr(os, "write", plain)
        recorder.record(call(2))
        assert records_waiting(folder) == 2 == recorder.stats().waiting
        monkeypatch.setattr(os, "write", lambda file, data: plain(file, data[:50]))
        with pytest.raises(RecordingError, match="full"):
            recorder.record(call(3))
        monkeypatch.setattr(os, "write", plain)
        recorder.close(0)
    drain(Outbox(folder), url)
    assert len(calls_in(url)) == 2
