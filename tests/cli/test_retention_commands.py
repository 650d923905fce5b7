"""`mofa-usage cleanup` and `forget`: they count, they ask, they delete."""

import json
import os
import pty
import subprocess
from uuid import UUID

from mofa_usage.values import text_uuid
from tests.cli.shell import PROGRAM, Shell, query
from tests.samples import USER

CALLS = "select count(*) from entity_llm_api_call"
MESSAGES = "select count(*) from entity_llm_message"
WHOSE = "select user_id, labels from entity_llm_api_call where create_time like '2026-05-01T00%'"


def answered(shell: Shell, answer: str, *arguments: str) -> tuple[int, str]:
    """How a command ends in a terminal in which somebody answers, and what it says there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [PROGRAM, *arguments], cwd=shell.folder, env=shell.environment, stdin=theirs, stderr=theirs, stdout=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        said = b""
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # the other end of a terminal is closed
            pass
        os.close(ours)
        return process.wait(), said.decode()


def test_old_calls_and_messages_go(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    database = shell.folder / "usage.db"
    cleanup = ("cleanup", "-u", url, "--calls", "1d", "--messages", "30d")
    assert shell.output(*cleanup, "--dry-run") == "31 calls, 2 messages would be deleted\n"
    said = shell.complaint(2, *cleanup)
    assert said.startswith("31 calls from before ")
    assert said.endswith("will be deleted; --yes deletes them, --dry-run only counts")
    assert query(database, CALLS) == [(31,)]
    counted = json.loads(shell.output("cleanup", "-u", url, "--messages", "30d", "--yes", "--json"))
    assert counted == {"messages": 2, "dry_run": False}
    assert (query(database, CALLS), query(database, MESSAGES)) == ([(31,)], [(0,)])
    assert shell.output(*cleanup, "--yes") == "31 calls, 0 messages deleted\n"
    assert query(database, CALLS) == [(0,)]
    assert shell.complaint(1, *cleanup, "--yes") == "nothing is so old"
    assert shell.output(*cleanup, "--dry-run") == "0 calls, 0 messages would be deleted\n"
    assert query(database, "select count(*) from entity_chat_session") == [(1,)]


def test_a_user_is_forgotten_by_name_or_id(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    database, alice = shell.folder / "usage.db", str(text_uuid("user_id", "alice"))
    forget = ("forget", "-u", url, "--user", "alice", "--keep-label", "team")
    assert shell.output(*forget, "--dry-run") == "0 messages, 0 sessions, 10 calls would be forgotten\n"
    assert "--yes does it" in shell.complaint(2, *forget)
    assert query(database, WHOSE)[0][0] == alice
    assert shell.output(*forget, "--yes") == "0 messages, 0 sessions, 10 calls forgotten\n"
    [(user, labels)] = query(database, WHOSE)
    assert (user, json.loads(labels)) == (str(UUID(int=0)), {"environment": "production", "team": "search"})
    assert shell.complaint(1, *forget, "--yes").startswith(f"nothing is known of the user alice, whose id is {alice}; ")
    again = shell.call(*forget, "--dry-run")  # a name that nobody has is no reason to believe that nothing is there
    assert (again.returncode, "forgotten by that id" in again.stderr) == (0, True)
    assert shell.output("forget", "-u", url, "--user", str(USER), "-y", "--csv") == (
        "messages,sessions,calls,dry_run\n2,1,1,false\n"
    )


def test_a_terminal_is_asked(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    cleanup = ("cleanup", "-u", url, "--messages", "30d")
    code, said = answered(shell, "n", *cleanup)
    assert code == 1
    assert "will be deleted. Go on? [y/N]" in said
    assert "nothing was done" in said
    assert query(shell.folder / "usage.db", MESSAGES) == [(2,)]
    code, said = answered(shell, "y", *cleanup)
    assert (code, "2 messages deleted" in said) == (0, True)
    (shell.folder / "report.html").write_text("mine")
    code, said = answered(shell, "", "report", "-u", url)
    assert (code, "Replace it? [y/N]" in said) == (1, True)
    assert (shell.folder / "report.html").read_text() == "mine"
