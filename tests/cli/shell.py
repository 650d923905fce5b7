"""A shell to run the program in, and what is read from what it prints and writes."""

import io
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from mofa_usage import cli

__all__ = ["GOOD", "HEADER", "PROGRAM", "Shell", "figures", "query"]

PROGRAM = Path(sys.executable).with_name("mofa-usage")
HEADER = "create_time,model_name,prompt_tokens,completion_tokens"
GOOD = "2026-05-01T10:00:00Z,gpt-4,10,5"


class Shell:
    """Runs the program in a folder, in a terminal of 100 columns without colours.

    Mostly without starting a process, which would take most of the time; `run` starts one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        self.environment |= {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def call(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """The same in this process."""
        printed, said = io.StringIO(), io.StringIO()
        with chdir(self.folder), redirect_stdout(printed), redirect_stderr(said), pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in (self.environment | environment).items():
                patch.setenv(name, value)
            code = cli.run(arguments)
        return subprocess.CompletedProcess(arguments, code, printed.getvalue(), said.getvalue())

    def output(self, *arguments: str, **environment: str) -> str:
        """What a command prints that must succeed and must not complain."""
        done = self.call(*arguments, **environment)
        assert (done.returncode, done.stderr) == (0, ""), f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def complaint(self, code: int, *arguments: str, **environment: str) -> str:
        """The one sentence of a command that must fail with `code`."""
        done = self.call(*arguments, **environment)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        [line] = done.stderr.splitlines()
        assert line.startswith("mofa-usage: ")
        return line.removeprefix("mofa-usage: ")


def query(database: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def figures(text: str) -> dict[str, str]:
    """The headline figures of a summary by their names."""
    return {line[:13].strip(): line[13:].strip() for line in text.splitlines() if re.match(r"[a-z ]{13}\S", line)}
