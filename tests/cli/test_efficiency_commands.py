"""`mofa-usage waste`, `mofa-usage cache` and `mofa-usage sessions`: what they print for people and for programs."""

import json
from decimal import Decimal

from tests.cli.shell import Shell, query


def test_waste_counts_right(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    url = "sqlite:try/usage.db"
    rows = json.loads(shell.output("waste", "--json", "--url", url), parse_float=Decimal)
    [(calls, cost)] = query(
        shell.folder / "try/usage.db",
        "select count(*), sum(cast(round(total_price * 1e10) as integer)) from entity_llm_api_call"
        " where status <> 'success' or json_extract(labels, '$.retried') is not null",
    )
    assert sum(row["calls"] for row in rows) == calls
    assert sum(row["cost"] or 0 for row in rows) == Decimal(cost).scaleb(-10)
    printed = shell.output("waste", "--by", "agent_name", "--top", "3", "--url", url)
    assert "was wasted on" in printed
    assert "other" in printed


def test_a_terminal_that_knows_few_letters_gets_the_others_as_question_marks(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    done = shell.run("cache", "--url", "sqlite:try/usage.db", PYTHONIOENCODING="ascii", COLUMNS="140")
    assert (done.returncode, done.stderr) == (0, "")
    assert " ? " in done.stdout  # what is not known is a dash elsewhere


def test_no_calls_are_explained(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    done = shell.call("waste", "--url", "sqlite:try/usage.db", "--model", "gpt-41", "--csv")
    assert (done.returncode, done.stdout) == (1, "model_name,waste\n")
    assert "no calls of model 'gpt-41'" in done.stderr


def test_sessions_with_their_messages(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    url = "sqlite:try/usage.db"
    rows = json.loads(shell.output("sessions", "--top", "5", "--messages", "--json", "--url", url), parse_float=Decimal)
    assert len(rows) == 5
    dearest = rows[0]["chat_session_id"]
    [(calls, said)] = query(
        shell.folder / "try/usage.db",
        f"select (select count(*) from entity_llm_api_call where chat_session_id = '{dearest}'),"
        f" (select count(*) from entity_llm_message where chat_session_id = '{dearest}')",
    )
    assert (rows[0]["calls"], rows[0]["messages"]) == (calls, said)
    for table in ("dearest", "turns", "costs", "summary"):
        assert "sessions; they cost $" in shell.output("sessions", "--show", table, "--url", url)
    costs = shell.output("sessions", "--show", "costs", "--url", url).splitlines()
    assert ["Currency", "cost_from", "cost_to", "sessions"] in map(str.split, costs)


def test_what_caches_saved(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    url = "sqlite:try/usage.db"
    rows = json.loads(shell.output("cache", "--json", "--url", url), parse_float=Decimal)
    [(cached,)] = query(
        shell.folder / "try/usage.db",
        "select sum(json_extract(prompt_tokens_details, '$.cached_tokens')) from entity_llm_api_call",
    )
    assert sum(row["cached_tokens"] or 0 for row in rows) == cached
    assert "Caches saved $" in shell.output("cache", "--by", "agent_name", "--url", url)
    best = json.loads(shell.output("cache", "--candidates", "--json", "--url", url), parse_float=Decimal)
    amounts = [row["candidate_savings"] for row in best if row["candidate_savings"] is not None]
    assert amounts == sorted(amounts, reverse=True)
