"""`mofa-usage demo`: a database, a report and a file that are there in a minute."""

import json
import re
from datetime import datetime
from decimal import Decimal

import polars as pl

from mofa_usage.demo import generate_usage
from tests.cli.shell import Shell, figures, query


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


def test_the_same_demo_can_be_made_again(demo: tuple[Shell, str]) -> None:
    shell, _ = demo  # another process made it
    again = generate_usage(calls=3000, days=14, end=datetime.fromisoformat("2026-06-01T02:00:00+02:00"))
    stored = query(shell.folder / "try/usage.db", "select id, user_id, latency_ms from entity_llm_api_call order by id")
    assert sorted((str(one.id), str(one.user_id), one.latency_ms) for one in again.calls) == stored


def test_a_name_of_the_demo_finds_its_calls_and_is_forgotten(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    url = ("-u", "sqlite:try/usage.db")
    user = json.loads(shell.output("summary", *url, "--by", "labels.user", "--measure", "calls", "--json"))[0]
    found = json.loads(shell.output("forget", *url, "--user", user["labels.user"], "--dry-run", "--json"))
    assert found["calls"] == user["calls"] > 0
    [(acme,)] = query(
        shell.folder / "try/usage.db", "select count(*) from entity_llm_api_call where labels like '%\"acme\"%'"
    )
    assert figures(shell.output("summary", *url, "--tenant", "acme"))["calls"].startswith(f"{acme:,}, ")


def test_demo_replaces_nothing_unless_told(shell: Shell) -> None:
    small = ("demo", "--dir", "try", "--calls", "50", "--days", "2", "--end", "2026-06-01")
    first = shell.output(*small)
    assert "is there already; --overwrite" in shell.complaint(2, *small)
    assert shell.output(*small, "--overwrite") == first
    assert query(shell.folder / "try/usage.db", "select count(*) from entity_llm_api_call") == [(50,)]
