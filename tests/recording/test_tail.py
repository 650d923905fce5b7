"""`mofa-usage tail`: the calls as they come in, whatever waits, and nothing that a terminal would obey."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from queue import Empty, Queue

import pytest

from mofa_usage import Recorder
from mofa_usage.cli import run
from tests.samples import call

PROGRAM = Path(sys.executable).with_name("mofa-usage")
NOBODY = "postgres://nobody@127.0.0.1:1/none"


class Tail:
    """The program at work, and the lines that it prints."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line_with(self, text: str) -> str:
        """The next line that holds the text."""
        end = time.monotonic() + 60
        while True:
            try:
                line = self._lines.get(timeout=max(end - time.monotonic(), 0.01))
            except Empty:
                pytest.fail(f"no line with {text!r}; {self.process.poll()=}")
            if text in line:
                return line

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reader.join()
        return code


@contextmanager
def tail(*arguments: str) -> Iterator[Tail]:
    process = subprocess.Popen(
        [PROGRAM, "tail", "--interval", "0.1", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watched = Tail(process)
    try:
        yield watched
    finally:
        process.kill()
        process.wait()
        watched._reader.join()
        assert process.stdout is not None
        process.stdout.close()


def test_it_waits_for_the_agent_and_shows_its_calls(url: str) -> None:
    slow = call(1).model_copy(
        update={
            "model_name": "slow\x1b[31m" + "-" * 50,
            "create_time": call(0).create_time - timedelta(1),
            "total_price": Decimal("1234.1"),
            "latency_ms": 123,
        }
    )
    with tail("--url", url) as watched:
        watched.line_with("is not there yet")
        with Recorder(url, prices=None) as recorder:
            recorder.record(call(0).model_copy(update={"model_name": "first"}))
            assert recorder.flush(30)
            watched.line_with("first")
            recorder.record(slow)
            assert recorder.flush(30)
            line = watched.line_with("slow")
        assert "\x1b" not in line
        assert "$1,234.10    123 ms" in line
        assert watched.interrupt() == 0
        assert " calls came in" in watched.line_with("came in")


def test_it_waits_for_tables(url: str) -> None:
    sqlite3.connect(url.removeprefix("sqlite:")).close()
    Path(url.removeprefix("sqlite:")).touch()
    with tail("--url", url) as watched:
        watched.line_with("no such table")
        with Recorder(url, prices=None) as recorder:
            recorder.record(call(0).model_copy(update={"model_name": "first"}))
            assert recorder.flush(30)
        watched.line_with("first")
        assert watched.interrupt() == 0


def test_it_goes_on_when_the_database_does(url: str) -> None:
    with Recorder(url, prices=None) as recorder:
        recorder.record(call(0))
    with tail("--url", url) as watched:
        watched.line_with("waiting for calls")
        rename(url, "entity_llm_api_call", "away")
        watched.line_with("trying again")
        rename(url, "away", "entity_llm_api_call")
        with Recorder(url, prices=None) as recorder:
            recorder.record(call(1).model_copy(update={"model_name": "second"}))
        watched.line_with("second")
        assert watched.interrupt() == 0


def rename(url: str, table: str, name: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:"), timeout=30)) as database, database:
        database.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_it_says_what_waits(url: str, folder: Path) -> None:
    with Recorder(url, prices=None) as recorder:
        recorder.record(call(0))
    stuck = Recorder(NOBODY, outbox=folder)
    stuck.record(call(1), call(2))
    with tail("--url", url, "--outbox", str(folder)) as watched:
        assert str(folder) in watched.line_with("2 records wait in ")
        assert watched.interrupt() == 0
    stuck.close(0)


def test_the_last_calls_once(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Recorder(url, prices=None) as recorder:
        calls = [call(n) for n in range(5)]  # a second between them
        recorder.record(*calls)
    assert run(["tail", "--no-follow", "--json", "-n", "2", "--url", url]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["id"] for line in lines] == [str(one.id) for one in calls[3:]]
    assert run(["tail", "--no-follow", "--url", url, "--status", "timeout"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("url", ["memory:", "sqlite:none.db", "file.parquet"])
def test_what_nobody_else_writes_is_not_followed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["tail", "--no-follow", "--url", url]) == 2
    assert capsys.readouterr().err.startswith("mofa-usage: t")
    assert not list(tmp_path.glob("*.db"))
