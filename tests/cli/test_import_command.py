"""`mofa-usage import`: files into a database, and what is said of them."""

import json
import re
import shutil
import subprocess
import sys
import textwrap

import polars as pl
import pytest

from mofa_usage.cli import imports
from mofa_usage.demo.sample import sample_path
from tests.cli.shell import GOOD, HEADER, PROGRAM, Shell, query
from tests.logs import FOLDER


def test_import_stores_the_shipped_trace_once(shell: Shell) -> None:
    for said in ("8,819 stored, 0 refused", "0 stored, 8,819 replaced (equal to what was there already), 0 refused"):
        printed = shell.output("import", "sample:azure-code", "--url", "sqlite:usage.db")
        assert printed.startswith(f"8,819 rows: {said}\n")
    stored = query(
        shell.folder / "usage.db",
        "select count(*), sum(prompt_tokens), sum(completion_tokens), min(create_time) from entity_llm_api_call",
    )
    frame = pl.read_csv(sample_path())
    assert stored == [
        (8819, frame["ContextTokens"].sum(), frame["GeneratedTokens"].sum(), "2023-11-16T18:17:03.979960+00:00")
    ]


def test_import_maps_fills_and_refuses(shell: Shell) -> None:
    lines = ["when;in;out;who", "2026-05-01 12:00;10;5;ann", "2026-05-01 12:00;ten;5;bob", "2026-05-01 12:00;1;1"]
    (shell.folder / "a.csv").write_text("\n".join(lines))
    printed = shell.output(
        *("import", "a.csv", "-u", "sqlite:usage.db", "-m", "create_time=when", "-m", "prompt_tokens=in"),
        *("--map", "completion_tokens=out", "--map", "user_id=who", "--text-ids", "--tz", "Europe/Berlin"),
        *("-d", "model_name=a=b", "--rejects", "refused.jsonl"),
    )
    assert "3 rows: 1 stored, 2 refused" in printed
    assert re.search(r"1  prompt_tokens is not a number +line 3 +prompt_tokens is not a number: 'ten'", printed)
    assert re.search(r"1  3 fields where the header has 4 +line 4 ", printed)
    assert [json.loads(line)["line"] for line in (shell.folder / "refused.jsonl").read_text().splitlines()] == [3, 4]
    assert query(shell.folder / "usage.db", "select model_name, create_time from entity_llm_api_call") == [
        ("a=b", "2026-05-01T10:00:00.000000+00:00")
    ]


def test_import_reads_several_files_and_standard_input(shell: Shell) -> None:
    row = '{"timestamp": "2026-05-01T12:00:00Z", "model": "m", "input_tokens": %d, "output_tokens": 1, "cached": 2}\n'
    (shell.folder / "a.jsonl").write_text(row % 1 + "oops\n")
    (shell.folder / "b.json").write_text(f"[{row % 2}, {row % 2}]")
    command = [str(PROGRAM), "import", "a.jsonl", "-", "b.json", "-u", "sqlite:usage.db"]
    done = subprocess.run(
        command, cwd=shell.folder, env=shell.environment, input=row % 3, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("5 rows in 3 files: 4 stored, 1 refused\n")
    assert "malformed JSON" in done.stdout
    assert "a.jsonl line 2" in done.stdout
    tokens = query(shell.folder / "usage.db", "select prompt_tokens from entity_llm_api_call order by 1")
    assert tokens == [(1,), (2,), (2,), (3,)]


def test_import_reads_tokens_as_it_is_told(shell: Shell) -> None:
    counts = "2026-05-01 12:00,m,5000,159,4000\n2026-05-01 12:01,m,10,5,0"
    (shell.folder / "a.csv").write_text(f"timestamp,model,input_tokens,output_tokens,cache_read_input_tokens\n{counts}")
    for option, prompt in (("auto", 9000), ("inclusive", 5000), ("exclusive", 9000)):
        printed = shell.output("import", "a.csv", "-u", f"sqlite:{option}.db", "--tokens", option)
        assert "input_tokens read as" in printed
        found = query(shell.folder / f"{option}.db", "select max(prompt_tokens) from entity_llm_api_call")
        assert found == [(prompt,)]
    assert shell.call("import", "a.csv", "-u", "sqlite:x.db", "--tokens", "both").returncode == 2
    assert shell.call("import", "a.csv", "-u", "sqlite:x.db", "--contradictions", "x").returncode == 2


def test_import_runs_sql_over_files(shell: Shell) -> None:
    header = "timestamp,model,prompt_tokens,completion_tokens,took"
    (shell.folder / "a.csv").write_text(f"{header}\n2026-05-01 12:00,m,1,2,4.2")
    printed = shell.output(
        *("import", "a.csv", "-u", "sqlite:usage.db", "--sql", "SELECT *, took * 1000 AS latency_ms FROM calls")
    )
    assert printed.startswith("1 row: 1 stored")
    assert query(shell.folder / "usage.db", "select latency_ms from entity_llm_api_call") == [(4200,)]


BASE_INSTALL = """
    import sys

    extras = ("polars", "duckdb", "plotly", "pyarrow", "narwhals", "numpy", "pandas", "jinja2", "connectorx")
    sys.modules.update(dict.fromkeys(extras))
    from mofa_usage.cli import run

    sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("lines", [["2026-05-01 12:00,m,1,2", "no,m,1,2"], ["2026-05-01 12:00,m,1,2"]])
def test_the_base_install_imports_and_says_so(shell: Shell, lines: list[str]) -> None:
    (shell.folder / "a.csv").write_text("\n".join([HEADER, *lines]))
    command = [sys.executable, "-c", textwrap.dedent(BASE_INSTALL), "import", "a.csv", "-u", "sqlite:usage.db"]
    done = subprocess.run(command, cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 stored" in done.stdout
    assert ("create_time is not a time" in done.stdout) == (len(lines) > 1)


def test_what_a_file_says_is_shown_and_not_obeyed(shell: Shell) -> None:
    evil = "\x1b]0;X\x07\x1b[2J"
    (shell.folder / "a.csv").write_text(f"{HEADER},{evil}\n2026-05-01 12:00,m,1,2,{evil}\n{evil},m,1,2,x\n")
    printed = shell.output("import", "a.csv", "-u", "sqlite:usage.db")
    assert "not used: " in printed
    assert "create_time is not a time" in printed
    assert not {"\x1b", "\x07"} & set(printed)


def test_an_import_of_nothing_but_refused_rows_has_failed(shell: Shell) -> None:
    (shell.folder / "a.csv").write_text(f"{HEADER}\nyesterday,gpt-4,1,1\n")
    done = shell.call("import", "a.csv", "-u", "sqlite:usage.db")
    assert (done.returncode, done.stderr) == (1, "")
    assert "create_time is not a time" in done.stdout


def test_import_of_ones_own_sessions_without_a_database(shell: Shell) -> None:
    """What somebody does who has just installed it: the command says how to see what came in."""
    shutil.copytree(FOLDER / "claude_code", shell.folder / ".claude")
    home = {"HOME": str(shell.folder)}
    printed = shell.output("import", "~/.claude/projects", **home)
    assert printed.startswith("7 rows in 4 files: 7 stored, 0 refused\nread as Claude Code session logs\n")
    assert printed.endswith("\n\nsee them: mofa-usage summary --url sqlite:usage.db\n")
    assert "7, 71.4% successful" in shell.output(*printed.rpartition("mofa-usage ")[2].split())
    again = json.loads(shell.output("import", "~/.claude/projects", "--json", **home))
    assert (again["stored"], again["unchanged"], again["left_out"]["rows that say a call again"]) == (0, 7, 7)


def test_import_names_the_database_but_no_password(shell: Shell) -> None:
    url = "sqlite:my usage.db"
    (shell.folder / "a.csv").write_text(f"{HEADER}\n{GOOD}\n")
    assert shell.output("import", "a.csv", "--url", url).endswith("mofa-usage summary --url 'sqlite:my usage.db'\n")
    assert shell.output("import", "a.csv", DATABASE_URL=url).endswith("see them: mofa-usage summary\n")
    assert imports._where("postgres://me:hidden@host/name") == " --url 'postgres://me:***@host/name'"


def test_import_of_a_folder_without_logs_says_what_it_looks_for(shell: Shell) -> None:
    (shell.folder / "a.csv").write_text(f"{HEADER}\n{GOOD}\n")
    done = shell.call("import", ".", "--url", "sqlite:usage.db")
    assert (done.returncode, done.stdout) == (2, "")
    assert "holds no file of a format that is recognised (" in done.stderr
    assert "Claude Code session logs, " in " ".join(done.stderr.split())


def test_import_of_logs_from_standard_input(shell: Shell) -> None:
    log = next((FOLDER / "codex").rglob("*.jsonl")).read_text()
    command = [str(PROGRAM), "import", "-", "-u", "sqlite:usage.db"]
    done = subprocess.run(
        command, cwd=shell.folder, env=shell.environment, input=log, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "read as Codex session logs" in done.stdout
