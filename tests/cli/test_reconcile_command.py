"""`mofa-usage reconcile`: sentences for people, findings for programs, and an exit code for both."""

import asyncio
import csv
import json

import pytest

from tests import bills
from tests.cli.shell import Shell


@pytest.fixture
def audited(shell: Shell) -> Shell:
    asyncio.run(bills.lay_out(shell.folder))
    return shell


def test_findings_are_said_and_are_a_failure(audited: Shell) -> None:
    done = audited.call("reconcile", "bills/2026-05", "--url", "sqlite:usage.db")
    assert (done.returncode, done.stderr) == (1, "")
    head, *lines = done.stdout.splitlines()
    assert head.startswith("2 findings in the bill: missing in records (1), wrong tier (1). Billed: ")
    said = [line for line in lines if line]
    assert [line.partition(":")[0] for line in said] == ["wrong_tier", "missing_in_records"]
    assert "OpenAI's gpt-4o-2024-08-06 on 6 days from 2026-05-01 to 2026-05-07" in said[0]


def test_programs_get_the_findings(audited: Shell) -> None:
    command = ("reconcile", "bills", "--url", "sqlite:usage.db")
    done = audited.call(*command, "--json")
    rows = json.loads(done.stdout)
    assert (done.returncode, [row["kind"] for row in rows]) == (1, ["wrong_tier", "missing_in_records"])
    assert rows[1]["day"] == "2026-05-04"
    table = list(csv.DictReader(audited.call(*command, "--csv").stdout.splitlines()))
    assert [row["sentence"] for row in table] == [row["sentence"] for row in rows]


def test_what_agrees_is_a_success(audited: Shell) -> None:
    pages = sorted((audited.folder / "bills" / "2026-05").iterdir())
    usage = [str(page) for page in pages if "uncached_input_tokens" in page.read_text()]
    for path in usage:  # a bill of the first three days
        with open(path) as file:
            page = json.load(file)
        page["data"] = page["data"][:3]
        with open(path, "w") as file:
            json.dump(page, file)
    done = audited.call("reconcile", *usage, "--url", "sqlite:usage.db")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The bill agrees with what was recorded. Billed and recorded: ")


def test_what_is_no_bill_is_named(audited: Shell) -> None:
    done = audited.call("reconcile", "none.json", "--url", "sqlite:usage.db")
    assert done.returncode == 2
    assert "none.json" in done.stderr
