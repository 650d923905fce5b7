"""The program `mofa-usage`, run as a user runs it: what it prints, what it writes and how it ends."""

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mofa_usage import cli
from mofa_usage.demo.sample import sample_path

PROGRAM = Path(sys.executable).with_name("mofa-usage")
COMMANDS = ["demo", "import", "summary", "report", "export", "notebook", "migrate", "tail"]
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


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str]:
    """A shell in a folder in which a small demo was made, and what making it printed."""
    shell = Shell(tmp_path_factory.mktemp("demo"))
    done = shell.run("demo", "--dir", "try", "--calls", "3000", "--days", "14", "--end", "2026-06-01")
    assert (done.returncode, done.stderr) == (0, "")
    return shell, done.stdout


def query(database: Path, statement: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def figures(text: str) -> dict[str, str]:
    """The headline figures of a summary by their names."""
    return {line[:13].strip(): line[13:].strip() for line in text.splitlines() if re.match(r"[a-z ]{13}\S", line)}


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(command: str, shell: Shell) -> None:
    text = shell.output(command, "--help")
    assert f"mofa-usage {command}" in text.partition("Usage:")[2].partition("\n")[2]
    assert text == shell.output(command, "-h")


def test_help_lists_every_command_and_says_where_to_begin(shell: Shell) -> None:
    text = shell.output("--help")
    assert all(re.search(rf"^│ {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert "mofa-usage demo" in text
    assert (shell.call().returncode, shell.call().stderr) == (2, "")


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from mofa_usage.cli import run; run(['--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not {"polars", "duckdb", "plotly", "pyarrow", "sqlalchemy", "pydantic"} & set(loaded)


def test_the_version(shell: Shell) -> None:
    assert shell.output("--version").strip() == "0.1.0"


# demo


def test_demo_writes_a_database_a_report_and_parquet(demo: tuple[Shell, str]) -> None:
    shell, printed = demo
    folder = shell.folder / "try"
    assert sorted(path.name for path in folder.iterdir()) == ["calls.parquet", "report.html", "usage.db"]
    [(calls, prompt, priced)] = query(
        folder / "usage.db", "select count(*), sum(prompt_tokens), count(total_price) from entity_llm_api_call"
    )
    assert calls == 3000
    frame = pl.read_parquet(folder / "calls.parquet")
    assert (frame.height, frame["prompt_tokens"].sum(), frame["total_price"].count()) == (calls, prompt, priced)
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "gpt-4.1-mini" in page
    cost = frame["total_price"].sum()
    assert isinstance(cost, Decimal)
    assert figures(printed)["cost"].startswith(f"${cost:,.2f} for ")
    assert figures(printed)["calls"].startswith("3,000, 9")
    assert "mofa-usage summary --url sqlite:try/usage.db" in printed


def test_what_demo_says_to_do_next_works(demo: tuple[Shell, str]) -> None:
    shell, printed = demo
    commands = re.findall(r"^  mofa-usage (.*)$", printed, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        if "YOUR_CALLS" not in command:
            assert shell.output(*command.split())


def test_the_same_demo_can_be_made_again(demo: tuple[Shell, str], tmp_path: Path) -> None:
    shell, printed = demo
    again = ("--calls", "3000", "--days", "14", "--end", "2026-06-01T02:00:00+02:00")
    other = Shell(tmp_path)
    assert other.output("demo", "--dir", "try", *again) == printed
    ids = "select id, total_price from entity_llm_api_call order by id"
    assert query(tmp_path / "try/usage.db", ids) == query(shell.folder / "try/usage.db", ids)


def test_demo_replaces_nothing_unless_told(shell: Shell) -> None:
    small = ("demo", "--dir", "try", "--calls", "50", "--days", "2", "--end", "2026-06-01")
    first = shell.output(*small)
    assert "is there already; --overwrite" in shell.complaint(2, *small)
    assert shell.output(*small, "--overwrite") == first
    assert query(shell.folder / "try/usage.db", "select count(*) from entity_llm_api_call") == [(50,)]


# import


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


# summary


def test_summary_counts_right(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    rows = query(
        shell.folder / "try/usage.db",
        "select model_name, count(*), sum(status = 'success'), count(total_price) from entity_llm_api_call group by 1",
    )
    printed = shell.output("summary", "--url", "sqlite:try/usage.db")
    table = {line.split()[0]: line.split() for line in printed.splitlines() if re.match(r"\S+-\S+  ", line)}
    assert len(table) == len(rows) == 10
    for model, calls, successes, priced in rows:
        assert table[model][2] == f"{calls:,}"
        assert float(table[model][3].rstrip("%")) == pytest.approx(100 * successes / calls, abs=0.06)
        assert table[model][4] == f"{priced / calls:.0%}"
    assert table["llama-3.3-70b"][1] == "unknown"


def test_summary_of_days_in_a_zone_and_a_period(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    printed = shell.output(
        *("summary", "--by", "day", "--start", "2026-05-20", "--end", "2026-05-22", "--tz", "Asia/Tokyo"),
        DATABASE_URL="sqlite:try/usage.db",
    )
    days = re.findall(r"^(\d{4}-\d\d-\d\d)  .*?(\S+) +\d+\.?\d*%", printed, re.MULTILINE)
    [(expected,)] = query(
        shell.folder / "try/usage.db",
        "select count(*) from entity_llm_api_call "
        "where create_time >= '2026-05-19T15:00:00' and create_time < '2026-05-21T15:00:00'",
    )
    assert [day for day, _ in days] == ["2026-05-20", "2026-05-21"]
    assert sum(int(calls.replace(",", "")) for _, calls in days) == expected
    assert figures(printed)["calls"].startswith(f"{expected:,}, ")


@pytest.mark.parametrize(
    ("option", "value", "condition"),
    [
        ("--model", "o4-mini", "model_name = 'o4-mini'"),
        ("--status", "failed", "status = 'failed'"),
        ("--tenant", None, "tenant_id = (select tenant_id from entity_llm_api_call limit 1)"),
        ("--agent", None, "agent_id = (select agent_id from entity_llm_api_call limit 1)"),
        ("--user", None, "user_id = (select user_id from entity_llm_api_call limit 1)"),
        ("--session", None, "chat_session_id = (select chat_session_id from entity_llm_api_call limit 1)"),
    ],
)
def test_summary_of_some_calls(demo: tuple[Shell, str], option: str, value: str | None, condition: str) -> None:
    shell, _ = demo
    if value is None:
        column = condition.partition(" ")[0]
        [(value,)] = query(shell.folder / "try/usage.db", f"select {column} from entity_llm_api_call limit 1")
    [(calls,)] = query(shell.folder / "try/usage.db", f"select count(*) from entity_llm_api_call where {condition}")
    printed = shell.output("summary", "-u", "sqlite:try/usage.db", option, value, "--by", "weekday", "--by", "status")
    assert 0 < calls < 3000
    assert figures(printed)["calls"].startswith(f"{calls:,}, ")


def test_summary_reads_parquet_and_shows_no_more_than_asked(demo: tuple[Shell, str]) -> None:
    shell, printed = demo
    assert figures(shell.output("summary", "-u", "try/calls.parquet")) == figures(printed)
    assert "and 8 more; --top 10 shows all" in shell.output("summary", "-u", "try/*.parquet", "--top", "2")


@pytest.mark.parametrize("width", [50, 80, 120])
def test_summary_fits_the_terminal(demo: tuple[Shell, str], width: int) -> None:
    shell, _ = demo
    printed = shell.output("summary", "-u", "sqlite:try/usage.db", "--by", "hour", COLUMNS=str(width))
    assert max(map(len, printed.splitlines())) <= width
    if width >= 80:
        assert "…" not in printed


def test_summary_without_calls(shell: Shell) -> None:
    shell.output("migrate", "--url", "sqlite:usage.db")
    assert shell.output("summary", "--url", "sqlite:usage.db").strip() == "no calls"


def test_currencies_are_kept_apart_and_names_are_text(shell: Shell) -> None:
    rows = [f"{GOOD},1.5,EUR", f"{GOOD},2.25,USD", f"{GOOD.replace('gpt-4', '[red]x[/red]')},0.0000125,USD"]
    (shell.folder / "a.csv").write_text("\n".join([f"{HEADER},cost,currency", *rows]))
    shell.output("import", "a.csv", "-u", "sqlite:usage.db")
    printed = shell.output("summary", "-u", "sqlite:usage.db")
    assert re.search(r"^cost +\$2\.25 and EUR 1\.50 *$", printed, re.MULTILINE)
    assert re.search(r"^Model +cost USD +cost EUR +calls ", printed, re.MULTILINE)
    assert re.search(r"^gpt-4 +\$2\.25 +EUR 1\.50 +2 ", printed, re.MULTILINE)
    assert re.search(r"^\[red\]x\[/red\] +\$0\.0000125 +1 ", printed, re.MULTILINE)


def test_names_give_way_and_numbers_do_not(shell: Shell) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-{}:0"
    rows = [f"{GOOD.replace('gpt-4', arn.format(version))},1234.1" for version in ("v1", "v2")]
    (shell.folder / "a.csv").write_text("\n".join([f"{HEADER},cost", *rows]))
    shell.output("import", "a.csv", "-u", "sqlite:usage.db")
    for width in (40, 60, 80, 200):
        printed = shell.output("summary", "-u", "sqlite:usage.db", COLUMNS=str(width))
        found = re.findall(r"^(\S+) +\$1,234\.10 +1 ", printed, re.MULTILINE)
        assert len(set(found)) == 2, printed
        assert all(re.search(r"v[12]", name) for name in found)
        assert max(map(len, printed.splitlines())) <= width


def test_a_terminal_is_not_given_orders(shell: Shell) -> None:
    evil = "evil\x1b]0;X\x07\x1b[2J"
    (shell.folder / "a.csv").write_text(f"{HEADER},cost\n{GOOD.replace('gpt-4', evil)},1")
    shell.output("import", "a.csv", "-u", "sqlite:usage.db")
    printed = shell.output("summary", "-u", "sqlite:usage.db")
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert "evil\\x1b]0;X\\x07\\x1b[2J" in printed
    refused = shell.call("summary", "-u", "sqlite:usage.db", "--by", "evil\x1b[2J")
    assert refused.returncode == 2
    assert "\x1b" not in refused.stderr


# export, report, notebook, migrate


def test_export_filters_and_partitions(demo: tuple[Shell, str], tmp_path: Path) -> None:
    shell, _ = demo
    path = tmp_path / "some.parquet"
    printed = shell.output(
        "export", str(path), "-u", "sqlite:try/usage.db", "--model", "gpt-4.1", "--start", "2026-05-25"
    )
    frame = pl.read_parquet(path)
    assert set(frame["model_name"]) == {"gpt-4.1"}
    assert printed.startswith(f"{path}: {frame.height:,} calls in 1 file, ")
    assert "--overwrite" in shell.complaint(2, "export", str(path), "-u", "sqlite:try/usage.db")
    shell.output("export", str(path), "-u", "sqlite:try/usage.db", "--overwrite")
    assert pl.read_parquet(path).height == 3000
    shell.output("export", str(tmp_path / "days"), "-u", "sqlite:try/usage.db", "--partition-by", "day")
    assert len(list((tmp_path / "days").glob("day=*"))) == 14


def test_report_of_a_period(demo: tuple[Shell, str], tmp_path: Path) -> None:
    shell, _ = demo
    path = tmp_path / "may.html"
    assert str(path) in shell.output("report", str(path), "-u", "sqlite:try/usage.db", "--end", "2026-05-25")
    assert "2026-05-24" in path.read_text() or "24 May 2026" in path.read_text() or "May 24" in path.read_text()


def parameters(path: Path) -> str:
    notebook = json.loads(path.read_text())
    [cell] = [cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    return "".join(cell["source"])


def test_notebooks_are_listed_with_their_titles(shell: Shell) -> None:
    lines = shell.output("notebook").splitlines()
    assert [line.split()[0] for line in lines] == ["01_overview", "02_cost", "03_record_an_agent"]
    assert all(line.partition("  ")[2] for line in lines)


def test_notebook_copies_a_template_for_a_database(shell: Shell) -> None:
    shell.output("notebook", "02_cost", "-u", "sqlite:./my usage.db", "--start", "2026-05-01", "--tz", "Europe/Berlin")
    values: dict[str, Any] = {}
    exec(parameters(shell.folder / "02_cost.ipynb"), values)
    assert values["url"] == f"sqlite:{shell.folder / 'my usage.db'}"
    assert (values["start"], values["end"], values["tz"]) == ("2026-05-01", None, "Europe/Berlin")
    assert "--overwrite" in shell.complaint(2, "notebook", "02_cost")
    shell.output("notebook", "02_cost", "--to", "plain.ipynb")
    template = Path(__file__).parents[1] / "notebooks" / "02_cost.ipynb"
    assert json.loads((shell.folder / "plain.ipynb").read_text()) == json.loads(template.read_text())


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("memory:", "memory:"),
        ("sqlite::memory:", "sqlite::memory:"),
        ("sqlite:///sub/a.db", "sqlite:{folder}/sub/a.db"),
        ("sqlite:////var/a.db", "sqlite:/var/a.db"),
        ("calls/*.parquet", "{folder}/calls/*.parquet"),
        ("postgres://ann@db.example/usage", "postgres://ann@db.example/usage"),
    ],
)
def test_urls_in_notebooks_can_be_moved(shell: Shell, given: str, written: str) -> None:
    shell.output("notebook", "01_overview", "-u", given)
    values: dict[str, Any] = {}
    exec(parameters(shell.folder / "01_overview.ipynb"), values)
    assert values["url"] == written.format(folder=shell.folder)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://ann:hunter2@db/x",
        "postgres://ann:hun/ter2:hunter2@db/x",
        "mysql://:hunter2@db/x",
        "postgres://db/x?user=ann&password=hunter2",
    ],
)
def test_no_password_is_written_into_a_notebook(shell: Shell, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.output("notebook", "01_overview", DATABASE_URL=url)
    text = (shell.folder / "01_overview.ipynb").read_text()
    assert "hunter2" not in text
    monkeypatch.setenv("DATABASE_URL", url)
    values: dict[str, Any] = {}
    exec(parameters(shell.folder / "01_overview.ipynb"), values)
    assert values["url"] == url


def test_migrate_creates_the_tables_or_prints_them(shell: Shell) -> None:
    assert "version" in shell.output("migrate", "--url", "sqlite:a.db")
    tables = "select name, sql from sqlite_master where type = 'table' and name like 'entity%' order by 1"
    printed = shell.output("migrate", "--url", "sqlite:b.db", "--sql")
    assert not (shell.folder / "b.db").exists()
    connection = sqlite3.connect(shell.folder / "b.db")
    connection.executescript(printed)
    connection.close()
    names = [name for name, _ in query(shell.folder / "b.db", tables)]
    assert names == [name for name, _ in query(shell.folder / "a.db", tables)]
    assert len(names) == 5
    assert shell.output("migrate", "--url", "sqlite:b.db") == shell.output("migrate", "--url", "sqlite:a.db")
    assert "TIMESTAMP WITH TIME ZONE" in shell.output("migrate", "--url", "postgres://nowhere/x", "--sql")


# Errors


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (2, ["summary"], "which database? Give --url"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--by", "colour"], "no dimension is called 'colour'"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--status", "fine"], "--status: 'fine' is not one of success"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--start", "soon"], "'soon' is no ISO 8601 date or time"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--tz", "Berlin"], "Europe/Berlin"),
        (2, ["summary", "-u", "sqlite:try/usage.db", "--user", "ann"], "Invalid value for '--user'"),
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
        (2, ["notebook", "01_overview", "--to", "no/such/x.ipynb"], "cannot be written"),
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
    done = shell.run("summary", "-u", "sqlite:absent.db")
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
    command = [str(PROGRAM), "demo", "--calls", "400000"]
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
        [PROGRAM, "summary", "-u", "sqlite:try/usage.db", "--by", "id", "--top", "3000"],
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
