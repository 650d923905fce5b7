"""`mofa-usage prices`: what a model costs, and prices for calls that were stored without; imports with prices."""

import csv
import io
import json

import pytest

from tests.cli.shell import GOOD, HEADER, Shell, figures, query


@pytest.fixture
def unpriced(shell: Shell) -> Shell:
    (shell.folder / "calls.csv").write_text(f"{HEADER}\n{GOOD}\n{GOOD.replace('gpt-4', 'nobody-knows')}\n")
    (shell.folder / "prices.toml").write_text(
        'currency = "EUR"\n[[prices]]\nmodel = "mine"\ninput = 0.10\ncached = 0.05\noutput = 2\n'
    )
    return shell


def test_what_a_model_costs(shell: Shell) -> None:
    said = shell.output("prices", "gemini-2.5-pro", "--on", "2026-05-01")
    assert said.startswith("gemini-2.5-pro on 2026-05-01, genai-prices ")
    assert "200,000" in said
    assert "1.25 USD" in said
    rows = json.loads(shell.output("prices", "gemini-2.5-pro", "--on", "2026-05-01", "--json"))
    costs = {(row["kind"], row["above"]): row["price"] for row in rows if row["tier"] == "standard"}
    # input 1.25, above 200,000 tokens 2.50; output 10 and 15
    assert costs[("input", None)] == "1.25"
    assert costs[("input", 200_000)] == "2.5"
    assert costs[("output", 200_000)] == "15"
    assert {row["per"] for row in rows if row["kind"] == "input"} == {"million tokens"}


def test_prices_by_the_time_of_day_and_of_tiers(shell: Shell) -> None:
    rows = json.loads(shell.output("prices", "deepseek-chat", "--on", "2026-11-20", "--json"))
    inputs = {row["from_time"]: row["price"] for row in rows if row["kind"] == "input"}
    assert inputs == {"00:00": "0.135", "00:30": "0.27", "16:30": "0.135"}
    tiers = {row["tier"] for row in json.loads(shell.output("prices", "gpt-5", "--on", "2026-11-20", "--json"))}
    assert tiers >= {"standard", "batch", "flex"}


def test_own_prices_come_first(unpriced: Shell) -> None:
    text = unpriced.output("prices", "mine", "--prices", "prices.toml", "--csv")
    rows = {row["kind"]: row for row in csv.DictReader(io.StringIO(text))}
    assert {kind: row["price"] for kind, row in rows.items()} == {"input": "0.1", "cached": "0.05", "output": "2"}
    assert {row["currency"] for row in rows.values()} == {"EUR"}


def test_prices_that_nobody_knows(shell: Shell) -> None:
    assert shell.complaint(1, "prices", "nobody-knows").startswith("there is no price for 'nobody-knows': genai-prices")
    assert "give a MODEL" in shell.complaint(2, "prices")
    assert "--apply is for --backfill" in shell.complaint(2, "prices", "gpt-4o", "--apply")
    assert "--on = 'May' is no day" in shell.complaint(2, "prices", "gpt-4o", "--on", "May")


def test_a_backfill_writes_only_when_it_is_told_to(unpriced: Shell) -> None:
    unpriced.output("import", "calls.csv", "-u", "sqlite:usage.db")
    prices = "select model_name, total_price from entity_llm_api_call order by model_name"
    backfill = ("prices", "--backfill", "-u", "sqlite:usage.db")
    said = unpriced.call(*backfill).stdout
    # gpt-4: (10 * 30 + 5 * 60) / 1e6 = 0.0006
    assert "2 calls, 2 without a price: 1 would get one, 0.0006000000 USD in all" in said
    assert "no price known: nobody-knows (1 calls)" in said
    assert "nothing was written; --apply writes them" in said
    assert query(unpriced.folder / "usage.db", prices) == [("gpt-4", None), ("nobody-knows", None)]
    done = json.loads(unpriced.call(*backfill, "--apply", "--json").stdout)
    assert done == {
        "calls": 2, "unpriced": 2, "priced": 1, "estimated": 0, "totals": {"USD": "0.0006000000"},
        "unknown": {"nobody-knows": 1}, "dry_run": False,
    }  # fmt: skip
    assert query(unpriced.folder / "usage.db", prices) == [("gpt-4", 0.0006), ("nobody-knows", None)]


def test_an_import_prices_on_request(unpriced: Shell) -> None:
    said = unpriced.call("import", "calls.csv", "-u", "sqlite:usage.db", "--prices", "list").stdout
    assert "1 call priced by the price book" in said
    stored = "select model_name, total_price, price_details from entity_llm_api_call order by 1"
    priced = query(unpriced.folder / "usage.db", stored)
    assert [row[:2] for row in priced] == [("gpt-4", 0.0006), ("nobody-knows", None)]
    assert json.loads(priced[0][2])["price_source"].startswith("genai-prices")


def test_a_summary_prices_on_request(unpriced: Shell) -> None:
    unpriced.output("import", "calls.csv", "-u", "sqlite:usage.db")
    asked = ("summary", "-u", "sqlite:usage.db", "--prices")
    said = figures(unpriced.call(*asked, "list").stdout)
    assert said["prices"].startswith("1 of the 2 calls without one got it from genai-prices ")
    assert said["cost"].startswith("$0.0006 for 50.0% of the calls")
    # An own price for what the list does not know: (10 * 0.10 + 5 * 2) / 1e6
    (unpriced.folder / "prices.toml").write_text(
        'currency = "USD"\n[[prices]]\nmodel = "nobody-*"\ninput = 0.10\noutput = 2\n'
    )
    done = unpriced.call(
        *asked, "prices.toml", "--by", "model_name", "--measure", "cost", "--start", "2026-05", "--csv"
    )
    assert done.stdout.splitlines()[1:] == ["gpt-4,0.0006,USD", "nobody-knows,0.000011,USD"]
    assert done.stderr.startswith("mofa-usage: note: 2 calls without one got it from prices.toml ")
    assert query(unpriced.folder / "usage.db", "select sum(total_price) from entity_llm_api_call") == [(None,)]
    assert unpriced.complaint(2, *asked, "missing.toml").startswith("price file missing.toml: ")


def test_prices_that_change_nothing_are_said_to(unpriced: Shell) -> None:
    (unpriced.folder / "calls.csv").write_text(f"{HEADER},total_price\n{GOOD},0.5\n")
    unpriced.output("import", "calls.csv", "-u", "sqlite:usage.db")
    priced = figures(unpriced.output("summary", "-u", "sqlite:usage.db", "--prices", "list"))
    assert priced["prices"] == "every call had one already"
    (unpriced.folder / "calls.csv").write_text(f"{HEADER}\n{GOOD.replace('gpt-4', 'nobody-knows')}\n")
    unpriced.output("import", "calls.csv", "-u", "sqlite:other.db")
    priced = figures(unpriced.call("summary", "-u", "sqlite:other.db", "--prices", "list").stdout)
    assert priced["prices"].startswith("none for the 1 call without one in genai-prices ")


def test_a_report_prices_on_request(unpriced: Shell) -> None:
    unpriced.output("import", "calls.csv", "-u", "sqlite:usage.db")
    done = unpriced.call("report", "-u", "sqlite:usage.db", "--prices", "list")
    assert "prices  1 of the 2 calls without one got it from genai-prices " in done.stdout
    page = (unpriced.folder / "report.html").read_text()
    assert "50.0% of the 2 calls priced, 100% of these by a price book" in page
