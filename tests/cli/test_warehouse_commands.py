"""`mofa-usage warehouse`: a database is copied, compared and kept up to date from the shell."""

import json
import signal
import sqlite3
import subprocess

from mofa_usage.warehouse import Warehouse
from tests.cli.shell import PROGRAM, Shell


def test_a_warehouse_is_made_compared_and_looked_after(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    said = shell.output("warehouse", "sync", "copy", "-u", url)
    assert "calls: 31 read, 31 added, 0 updated" in said
    assert "Nothing had changed" in shell.output("warehouse", "sync", "copy", "-u", url)
    assert "all 36 rows" in shell.output("warehouse", "verify", "copy", "-u", url)
    assert Warehouse(shell.folder / "copy").usage().frame.height == 31
    rows = json.loads(shell.output("warehouse", "history", "copy", "--json"))
    assert [row["added"] for row in rows if row["table"] == "calls" and row["what"] == "sync"] == [31]
    assert "calls" in shell.output("warehouse", "history", "copy")
    assert len(json.loads(shell.output("warehouse", "history", "copy", "--json", "--last", "1"))) == 5
    shell.output("warehouse", "compact", "copy")
    shell.output("warehouse", "vacuum", "copy", "--dry-run")


def test_a_difference_is_named_and_ends_with_1(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    shell.output("warehouse", "sync", "copy", "-u", url)
    with sqlite3.connect(shell.folder / "usage.db") as database:
        database.execute("update entity_llm_api_call set total_tokens = total_tokens + 1 where model_name = 'gpt-4'")
    database.close()
    done = shell.call("warehouse", "verify", "copy", "-u", url, "--json")
    assert done.returncode == 1, done.stderr
    (difference,) = json.loads(done.stdout)["differences"]
    assert (difference["table"], difference["kind"]) == ("calls", "different")


def test_following_goes_on_until_it_is_stopped(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    command = [str(PROGRAM), "warehouse", "sync", "copy", "-u", url, "--follow", "0.2"]
    following = subprocess.Popen(
        command, cwd=shell.folder, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert following.stdout is not None
    first, second = following.stdout.readline(), following.stdout.readline()
    following.send_signal(signal.SIGINT)
    following.stdout.close()
    following.wait(30)
    assert "36 added" in first
    assert "Nothing had changed" in second
