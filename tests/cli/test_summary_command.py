"""`mofa-usage summary`: figures and breakdowns, for people at any width and for programs."""

import csv
import io
import json
import re
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.values import text_uuid
from tests.cli.shell import GOOD, HEADER, Shell, figures, query


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
    assert shell.complaint(1, "summary", "--url", "sqlite:usage.db") == "no calls: there are none at all"


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


def rows(shell: Shell, url: str, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        shell.output("summary", "-u", url, "--json", *options), parse_float=Decimal
    )
    return found


def test_json_and_csv_have_the_names_and_all_the_digits(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    options = ("--by", "labels.user", "--measure", "calls", "--measure", "cost", "--measure", "latency_p75")
    found = rows(shell, url, *options, "--label", "team=ads")
    assert found == [
        {"labels.user": name, "calls": 5, "cost": Decimal("0.0000000025"), "latency_p75": latency, "currency": "USD"}
        for name, latency in (("[b]eve", 24_000.0), ("alice", 22_000.0), ("bob", 20_000.0))
    ]
    lines = shell.output("summary", "-u", url, "--csv", *options, "--label", "team=ads")
    assert lines.splitlines()[:2] == [
        "labels.user,calls,cost,latency_p75,currency",
        "[b]eve,5,0.0000000025,24000.0,USD",
    ]
    assert [list(one.values()) for one in csv.DictReader(io.StringIO(lines))] == [
        [f"{value:f}" if isinstance(value, Decimal) else str(value) for value in one.values()] for one in found
    ]


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        (["--agent", "Support bot"], 25),
        (["--agent", "bot"], 25),
        (["--agent", str(UUID(int=9))], 6),
        (["--provider", "openai"], 25),
        (["--user", "alice"], 10),
        (["--user", str(text_uuid("user_id", "alice"))], 10),
        (["--user", "[b]eve", "--label", "team=search", "--label", "environment=production"], 5),
        (["--session", str(UUID(int=51))], 10),
        (["--filter", "latency_ms > 10000", "--filter", "total_price IS NULL"], 10),
        (["--start", "2026-05"], 30),
        (["--start", "2026"], 31),
        (["--start", "24h", "--end", "2026-05-03"], 3),
        (["--start", "2d", "--end", "2026-05-03", "--user", "bob"], 2),
        (["--start", "1w", "--end", "2026-05-03T04:00"], 7),
    ],
)
def test_calls_are_chosen_by_names_and_periods(labelled: tuple[Shell, str], options: list[str], calls: int) -> None:
    shell, url = labelled
    assert rows(shell, url, "--by", "operation", "--measure", "calls", *options)[0]["calls"] == calls


def test_rows_are_sorted_as_asked(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    by = ("--by", "model_name", "--measure", "calls", "--start", "2026-05")
    names = [one["model_name"] for one in rows(shell, url, *by, "--sort", "model_name")]
    assert names == sorted(names)
    slowest = rows(shell, url, *by, "--sort", "latency_max", "--top", "2")
    assert [one["latency_max"] for one in slowest] == [30_000, 29_000]


def test_a_course_of_time_ends_with_the_newest(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    days = [one["day"] for one in rows(shell, url, "--by", "day", "--start", "2026-05", "--top", "3")]
    assert days == ["2026-05-08", "2026-05-09", "2026-05-10"]
    printed = shell.output("summary", "-u", url, "--by", "day", "--start", "2026-05", "--top", "3")
    assert re.findall(r"^2026-05-\d\d(?= )", printed, re.MULTILINE)[-3:] == days
    assert "and 7 earlier; --top 10 shows all" in printed


@pytest.mark.parametrize("width", [20, 30, 40, 60, 100, 300])
def test_numbers_are_whole_at_any_width(labelled: tuple[Shell, str], width: int) -> None:
    shell, url = labelled
    measures = ("--measure", "cost", "--measure", "latency_p75", "--measure", "calls")
    printed = shell.output("summary", "-u", url, "--by", "model_name", *measures, COLUMNS=str(width))
    table = printed[printed.index("made by") :]
    assert max(map(len, printed.splitlines())) <= max(width, len("2026-05-10 16:00 UTC"))
    assert len(re.findall(r"\$0\.0000000025(?!\d)", table)) == 3
    assert len(re.findall(r"\b2[123]\.2 s", table)) == 3, table
    assert "\x1b" not in printed


def test_where_nothing_matched_it_says_what_is_near(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    period = "there are calls from 2026-03-01 12:00 to 2026-05-10 16:00 UTC"
    assert shell.complaint(1, "summary", "-u", url, "--user", "alcie") == (
        f"no calls of user 'alcie'; near it: alice; {period}"
    )
    said = shell.complaint(1, "summary", "-u", url, "--label", "team=saerch", "--start", "2027")
    assert said.startswith("no calls of label team 'saerch' since 2027-01-01 00:00 and before 2028-01-01 00:00; near")
    assert "near it: Support bot" in shell.complaint(1, "summary", "-u", url, "--agent", "support bot")
    done = shell.call("summary", "-u", url, "--user", "alcie", "--json")
    assert (done.returncode, done.stdout) == (1, "[]\n")


@pytest.mark.parametrize("source", ["sqlite:try/usage.db", "try/calls.parquet"])
def test_rolling_measures_look_back_beyond_the_start(demo: tuple[Shell, str], source: str) -> None:
    shell, _ = demo
    asked = [*("summary", "-u", source, "--by", "day", "--tz", "Asia/Tokyo", "--model", "gpt-4.1-mini")]
    asked += ["--measure", "users_rolling_3", "--measure", "calls_rolling_3", "--measure", "calls_share"]
    whole = json.loads(shell.output(*asked, "--json"))
    part = json.loads(shell.output(*asked, "--json", "--start", "2026-05-25", "--end", "2026-05-28"))
    assert [row["day"] for row in part] == ["2026-05-25", "2026-05-26", "2026-05-27"]
    rolling = [(row["day"], row["users_rolling_3"], row["calls_rolling_3"]) for row in whole]
    assert [(row["day"], row["users_rolling_3"], row["calls_rolling_3"]) for row in part] == [
        row for row in rolling if "2026-05-25" <= row[0] < "2026-05-28"
    ]
    assert sum(row["calls_share"] for row in part) == pytest.approx(1)  # of the calls that were asked for
    printed = shell.output(*asked, "--start", "2026-05-25", "--end", "2026-05-28", "--sort", "calls_rolling_3")
    [(calls,)] = query(
        shell.folder / "try/usage.db",
        "select count(*) from entity_llm_api_call where model_name = 'gpt-4.1-mini' "
        "and create_time >= '2026-05-24T15:00:00' and create_time < '2026-05-27T15:00:00'",
    )
    assert figures(printed)["calls"].startswith(f"{calls:,}, ")
    assert f" {max(row['calls_rolling_3'] for row in part):,} " in printed


def test_rates_and_percentiles_say_how_sure_they_are(labelled: tuple[Shell, str]) -> None:
    shell, url = labelled
    asked = ("--by", "operation", "--measure", "success_rate", "--measure", "latency_p95", "--intervals", "0.95")
    found = rows(shell, url, *asked)
    ends = [f"{name}{end}" for name in ("success_rate", "latency_p95") for end in ("", "_low", "_high")]
    assert list(found[0]) == ["operation", *ends]
    assert found[0]["latency_p95_high"] is None  # of so few calls
    assert shell.output("summary", "-u", url, "--csv", *asked).splitlines()[0] == ",".join(["operation", *ends])
    table = shell.output("summary", "-u", url, *asked)
    assert re.search(r"success +95% interval +p95 +95% interval", table)
    assert re.search(r"\d% to \d.*at least \d", table)
    assert "between 0 and 1, such as 0.95" in shell.complaint(2, "summary", "-u", url, "--intervals", "95")
