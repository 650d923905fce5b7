"""`mofa-usage why`: which periods it compares, and what it prints for people and programs."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from mofa_usage.cli.periods import previous, whole_period
from tests.cli.shell import Shell, query

BERLIN, NOW = ZoneInfo("Europe/Berlin"), datetime(2026, 6, 10, 12, tzinfo=UTC)


def test_why_compares_a_week_with_the_one_before(demo: tuple[Shell, str]) -> None:
    shell, _ = demo
    options = ("why", "--url", "sqlite:try/usage.db", "--after", "2026-05-25..2026-06-01")
    printed = shell.output(*options, "--by", "provider_name")
    assert printed.startswith("The cost ")
    assert "in 18 to 24 May 2026" in printed
    assert "in 25 to 31 May 2026" in printed
    assert "Provider" in printed
    rows = json.loads(shell.output(*options, "--json"), parse_float=Decimal)
    [(expected,)] = query(
        shell.folder / "try/usage.db",
        "select sum(total_price) from entity_llm_api_call where create_time >= '2026-05-25'",
    )
    assert float(sum(Decimal(row["cost_after"] or 0) for row in rows)) == pytest.approx(expected)
    factors = ("volume", "mix", "tokens_per_call", "cache", "price")
    for row in rows:
        assert Decimal(row["cost_change"] or 0) == sum(Decimal(row[factor] or 0) for factor in factors)
    table = list(csv.DictReader(io.StringIO(shell.output(*options, "--csv", "--top", "2"))))
    assert [row["model_name"] for row in table] == [row["model_name"] for row in rows[:2]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "which period? Give --after 2026-05, or --start"),
        (("--after", "May"), "--after = 'May' is no time"),
        (("--after", "2026-05-04T12:00"), "is no period: 2026, 2026-05, 2026-05-04, 7d, or START..END"),
        (("--after", "x..2026"), "--after = 'x' is no time"),
        (("--after", "2026-05-04..2026-05-04"), "ends where it starts, or before"),
        (("--after", "2026-05", "--start", "7d"), "--after and --start say the same"),
        (("--after", "2026-05-25..2026-06-01", "--per", "month"), "--per is day or week, not 'month'"),
    ],
)
def test_what_is_asked_wrongly_is_said(demo: tuple[Shell, str], options: tuple[str, ...], said: str) -> None:
    shell, _ = demo
    done = shell.call("why", "--url", "sqlite:try/usage.db", *options)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("text", "ends", "before"),
    [
        ("2026", ("2026-01-01", "2027-01-01"), "2025-01-01"),
        ("2026-03", ("2026-03-01", "2026-04-01"), "2026-02-01"),
        ("2026-03-29", ("2026-03-29", "2026-03-30"), "2026-03-28"),
        ("2026-05-04..2026-05-11", ("2026-05-04", "2026-05-11"), "2026-04-27"),
        ("7d", ("2026-06-03T14:00", "2026-06-10T14:00"), "2026-05-27T14:00"),
        ("2026-05-04T06:00..2026-05-04T12:00", ("2026-05-04T06:00", "2026-05-04T12:00"), "2026-05-04T00:00"),
    ],
)
def test_periods_and_the_ones_before_them(text: str, ends: tuple[str, str], before: str) -> None:
    first, last = (datetime.fromisoformat(end).replace(tzinfo=BERLIN) for end in ends)
    assert whole_period("--after", text, BERLIN, NOW) == (first, last)
    assert previous(first, last) == (datetime.fromisoformat(before).replace(tzinfo=BERLIN), first)
