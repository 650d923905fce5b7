"""SQLite files are read wherever Python runs: also where no second Python can be started."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mofa_usage import load_usage
from mofa_usage.reading.drivers import sqlite as sqlite_reader
from mofa_usage.stores import connect
from tests.samples import call

ROWS = 50


@pytest.fixture
async def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file that is long enough for a process of its own."""
    monkeypatch.setattr(sqlite_reader, "_FEW", 10)
    async with connect(f"sqlite:{tmp_path / 'calls.db'}") as store:
        await store.save_api_calls([call(n) for n in range(ROWS)])
    return f"sqlite:{tmp_path / 'calls.db'}"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that are started from now on."""
    processes: list[Any] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        processes.append(popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return processes


def program(folder: Path, name: str, *lines: str) -> str:
    path = folder / name
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return str(path)


def read(source: str) -> int:
    return load_usage(source).frame.height


def test_a_python_is_asked_to_read(source: str, started: list[Any]) -> None:
    assert read(source) == ROWS
    assert len(started) == 1


@pytest.mark.parametrize("executable", [None, "", "/opt/game/engine", "C:\\Program Files\\office.exe"])
def test_a_program_around_python_is_not_started(
    source: str, started: list[Any], executable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert read(source) == ROWS
    assert started == []


def test_a_frozen_program_is_not_started(source: str, started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert read(source) == ROWS
    assert started == []


@pytest.mark.parametrize(
    "lines",
    [
        ["exit 0"],
        ["exit 3"],
        ["echo hello; cat"],  # says something else
        ["exec sleep 60"],  # says nothing
        [f'exec {sys.executable} -S -c "import adbc_driver_sqlite"'],  # a Python that lacks the driver
        None,  # is not there
    ],
    ids=str,
)
def test_a_python_that_cannot_read_is_done_without(
    source: str, tmp_path: Path, lines: list[str] | None, monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    fake = str(tmp_path / "python-none") if lines is None else program(tmp_path, "python3", *lines)
    monkeypatch.setattr(sys, "executable", fake)
    monkeypatch.setattr(sqlite_reader, "_START_SECONDS", 1.0)
    open_files = len(os.listdir("/proc/self/fd"))
    assert read(source) == ROWS
    assert all(process.returncode is not None for process in started)
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_what_is_read_here_is_told_like_what_is_read_there(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = load_usage(source).frame.sort("id")
    monkeypatch.setattr(sys, "executable", None)
    assert load_usage(source).frame.sort("id").equals(there)
    with sqlite3.connect(source.removeprefix("sqlite:")) as connection:
        connection.execute("UPDATE entity_llm_api_call SET total_tokens = 'many'")
    connection.close()
    with pytest.raises(Exception, match="total_tokens of the call"):
        read(source)
