"""`mofa-usage check`, `completeness` and `service`: exit codes, sentences, and tables for programs."""

import csv
import io
import json
from pathlib import Path

import pytest

from mofa_usage import Recorder
from mofa_usage.cli import run
from tests.cli.shell import Shell
from tests.samples import call

MAY = ("--start", "2026-05")


class Program:
    """The program in this process: what a command prints, and its exit code."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url, self._capsys = url, capsys

    def __call__(self, *arguments: str, code: int | None = None) -> tuple[str, str]:
        """What is printed on the standard output and beside it."""
        ended = run([*arguments, "--url", self._url])
        printed = self._capsys.readouterr()
        assert code is None or ended == code, printed.err
        return printed.out, printed.err


@pytest.fixture
def program(
    demo: tuple[Shell, str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    return Program(f"sqlite:{demo[0].folder}/try/usage.db", capsys)


@pytest.mark.parametrize(
    ("limits", "code", "marks"),
    [
        (("--budget", "100000/month", "--error-rate", "50%", "--p95", "10min"), 0, ["ok", "ok", "ok"]),
        (("--budget", "0.01/month", "--max-unpriced", "90%"), 1, ["EXCEEDED", "ok"]),
        (("--budget", "1 EUR/month"), 1, ["UNKNOWN"]),
        (("--cost-per-call", "0.000001", "--ttft-p95", "1ms", "--p50", "1ms", "--p99", "2h"), 1,
         ["EXCEEDED", "EXCEEDED", "ok", "EXCEEDED"]),
    ],
)  # fmt: skip
def test_check_says_each_limit_and_ends_accordingly(
    program: Program, limits: tuple[str, ...], code: int, marks: list[str]
) -> None:
    text, _ = program("check", *limits, *MAY, code=code)
    assert sorted(line.split()[0] for line in text.splitlines()) == sorted(marks)
    printed = json.loads(program("check", *limits, *MAY, "--json", code=code)[0])
    words = {"ok": True, "EXCEEDED": False, "UNKNOWN": None}
    assert sorted(str(row["ok"]) for row in printed) == sorted(str(words[mark]) for mark in marks)


def test_check_counts_the_whole_period_of_a_budget(program: Program) -> None:
    asked = ("check", "--budget", "1/month", "--error-rate", "1%", "--end", "2026-05-29", "--json")
    whole, part = (json.loads(program(*asked, *start)[0]) for start in ((), ("--start", "2026-05-28")))
    assert whole[0] == part[0]
    assert whole[1]["limit_value"] != part[1]["limit_value"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which limits?"),
        (("--budget", "500"), "is no budget"),
        (("--p95", "10"), "--p95 = '10' is no duration"),
        (("--error-rate", "500%"), "--error-rate = '500%' is no share"),
        (("--cost-per-call", "cheap"), "--cost-per-call = 'cheap' is no amount"),
    ],
)
def test_check_refuses_what_is_no_limit(program: Program, arguments: tuple[str, ...], said: str) -> None:
    assert said in program("check", *arguments, code=2)[1]


def test_completeness_prints_findings_and_coverage(program: Program) -> None:
    text, _ = program("completeness", code=0)
    assert "of llama-3.3-70b has a price." in text
    assert "The last call was made" in text
    rows = json.loads(program("completeness", "--json")[0])
    assert [row["kind"] for row in rows] == ["unpriced_model"]
    assert "there is no outbox nowhere" in program("completeness", "--outbox", "nowhere", code=2)[1]
    assert "no calls of model 'none'" in program("completeness", "--model", "none", code=1)[1]


def test_completeness_finds_what_waits_in_the_outbox(program: Program, tmp_path: Path) -> None:
    box = tmp_path / "box"
    recorder = Recorder("postgres://nobody@127.0.0.1:1/none", outbox=box)
    recorder.record(call(1))
    recorder.close(0)
    rows = json.loads(program("completeness", "--outbox", str(box), "--json")[0])
    assert [(row["kind"], row["calls"]) for row in rows] == [("unpriced_model", rows[0]["calls"]), ("waiting", 1)]


def test_service_prints_levels(program: Program) -> None:
    asked = ("service", "--latency", "5s", "--ttft", "1s", "--objective", "90%", "--by", "status")
    assert "were good (within 5.00 s, first token 1.00 s)" in " ".join(program(*asked, code=0)[0].split())
    rows = list(csv.DictReader(io.StringIO(program(*asked, "--csv")[0])))
    assert {row["status"] for row in rows} >= {"success", "failed"}
    assert all(int(row["good_calls"]) == 0 for row in rows if row["status"] != "success")
    assert sum(int(row["calls"]) for row in rows) == 3000
    program("service", "--latency", "fast", code=2)
