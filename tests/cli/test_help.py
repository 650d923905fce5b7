"""Help and errors: every command teaches by example, and fails in one sentence with the same exit codes."""

import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from mofa_usage import cli
from tests.cli.shell import PROGRAM, Shell

COMMANDS = ["demo", "import", "summary", "report", "export", "notebook", "migrate", "cleanup", "forget", "tail"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str, shell: Shell) -> None:
    text = shell.output(command, "--help")
    assert f"mofa-usage {command}" in text.partition("Usage:")[2].partition("\n")[2]
    assert text == shell.output(command, "-h")


def test_help_lists_every_command_and_says_where_to_begin(shell: Shell) -> None:
    text = shell.output("--help")
    assert all(re.search(rf"^│ {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert "mofa-usage demo" in text
    assert "Exit codes: 0 done; 1 failed" in text
    assert (shell.call().returncode, shell.call().stderr) == (2, "")


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from mofa_usage.cli import run; run(['--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not {"polars", "duckdb", "plotly", "pyarrow", "sqlalchemy", "pydantic"} & set(loaded)


def test_the_version(shell: Shell) -> None:
    assert shell.output("--version").strip() == "0.1.0"


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (2, ["summary"], "which database? Give --url"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--by", "colour"], "no dimension is called 'colour'"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--status", "fine"], "--status: 'fine' is not one of success"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--start", "soon"], "'soon' is no time"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--start", "2026-05", "--end", "2026-04"], "--end (2026-04-01"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--json", "--csv"], "cannot both"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--label", "team"], "--label takes NAME=VALUE, not 'team'"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--measure", "latency_p7x"], "no measure is called 'latency_p7x'"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--sort", "colour"], "no measure is called 'colour'"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--filter", "latency > 5"], "latency_ms"),
        (2, ["export", "calls.xlsx", "-u", "sqlite:try/usage.db"], "end it with .parquet or .csv"),
        (2, ["export", "calls.csv", "-u", "sqlite:try/usage.db", "--partition-by", "day"], "one CSV file"),
        (2, ["export", "calls.csv", "-u", "sqlite:try/usage.db", "--filter", "latency > 5"], "latency_ms"),
        (2, ["cleanup", "-u", "sqlite:try/usage.db"], "what is old?"),
        (2, ["cleanup", "-u", "sqlite:try/usage.db", "--calls", "soon"], "--calls = 'soon' is no age"),
        (1, ["cleanup", "-u", "sqlite:absent.db", "--calls", "1d"], "there is no SQLite database at"),
        (2, ["cleanup", "-u", "memory:", "--calls", "1d"], "is in memory"),
        (2, ["forget", "-u", "sqlite:try/usage.db", "--user", "00000000-0000-0000-0000-000000000000"], "nobody"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--tz", "Berlin"], "Europe/Berlin"),
        (
            1,
            ["summary", "-u", "sqlite:try/usage.db", "--model", "gpt4.1"],
            "model 'gpt4.1'; near it: gpt-4.1",
        ),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--top", "0"], "Invalid value for '--top'"),
        (1, ["summary", "-u", "sqlite:absent.db"], "there is no SQLite database at"),
        (2, ["summary", "-u", "absent.parquet"], "absent.parquet"),
        (1, ["summary", "-u", "postgres://ann:hunter2@127.0.0.1:1/x"], "127.0.0.1"),
        (1, ["import", "try/calls.parquet", "-u", "mysql://ann:hunter2@127.0.0.1:1/x"], "127.0.0.1"),
        (1, ["import", "try/calls.parquet", "-u", "oracle://ann:hunter2@db/x"], "oracle"),
        (2, ["import", "try/calls.parquet", "-u", "memory:"], "would be gone"),
        (2, ["import", "try/calls.parquet", "-u", "sqlite::memory:"], "would be gone"),
        (2, ["import", "absent.csv", "-u", "sqlite:new.db"], "there is no file absent.csv"),
        (2, ["import", "sample:nope", "-u", "sqlite:new.db"], "there is no sample 'nope'"),
        (2, ["import", "try/calls.parquet", "-u", "sqlite:x.db", "-m", "a"], "--map takes FIELD=VALUE, not 'a'"),
        (2, ["import", "try/calls.parquet", "-u", "sqlite:x.db", "-m", "a=b", "-m", "a=c"], "--map: a is given twice"),
        (2, ["import", "try/calls.parquet", "-u", "sqlite:x.db", "-d", "speed=1"], "a call has no field 'speed'"),
        (2, ["export", "x", "-u", "sqlite:try/usage.db", "--partition-by", "year"], "'year'"),
        (2, ["notebook", "09_love"], "there is no notebook '09_love'; there are: 01_overview, 02_cost, 03_"),
        (2, ["notebook", "01_overview", "--to", "try/usage.db/x.ipynb"], "cannot be written"),
        (2, ["demo", "--end", "tomorrow"], "--end"),
        (2, ["migrate", "-u", "memory:"], "has no tables to migrate"),
        (2, ["frobnicate"], "No such command 'frobnicate'"),
        (2, ["summary", "--frobnicate"], "No such option: --frobnicate"),
    ],
)
def test_errors_are_one_sentence(demo: tuple[Shell, str], code: int, arguments: list[str], says: str) -> None:
    shell, _ = demo
    said = shell.complaint(code, *arguments)
    assert says in said
    assert "hunter2" not in said
    assert not (shell.folder / "new.db").exists()


def test_a_process_ends_with_the_code_of_the_error(shell: Shell) -> None:
    done = shell.run("cleanup", "--calls", "1d", "-u", "sqlite:absent.db")
    assert done.returncode == 1
    assert done.stderr == f"mofa-usage: there is no SQLite database at {shell.folder / 'absent.db'}\n"


def test_bugs_are_told_in_a_sentence_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(name: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("mofa_usage.cli.templates.names", lambda: broken(None))
    assert cli.run(["notebook"]) == 1
    assert capsys.readouterr().err == (
        "mofa-usage: unexpected RuntimeError: two lines; to see where: mofa-usage --debug ...\n"
    )
    with pytest.raises(RuntimeError):
        cli.run(["--debug", "notebook"])
    assert cli.run(["notebook"]) == 1  # what was said for one run does not hold for the next


def interrupted(process: subprocess.Popen[str]) -> str:
    """What a process says when it is interrupted, once more if need be: Python forgets an interrupt that meets it in a
    callback of its garbage collector or import system.
    """
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=12)[1]
    raise AssertionError("it does not let itself be interrupted")


def test_ctrl_c_ends_with_130(shell: Shell) -> None:
    command = [str(PROGRAM), "demo", "--calls", "100000"]
    process = subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (shell.folder / "mofa-usage-demo").exists():
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        said = interrupted(process)
    finally:
        process.kill()
    assert (process.returncode, said) == (130, "mofa-usage: interrupted\n")


def test_a_reader_who_leaves_early_is_no_error(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    process = subprocess.Popen(
        [PROGRAM, "summary", "-u", "sqlite:try/usage.db", "--by", "id", "--top", "1000"],
        cwd=shell.folder,
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert said == ""
