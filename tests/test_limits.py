"""Limits: budgets of calendar periods, rates and durations; kept, passed, or nothing can be said."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import UsageError, load_usage
from mofa_usage.audit import Budget, Limit, begin, budget, check
from tests.plain_analysis import Row, call, calls, currency, polars_frame, relation
from tests.proofs import trials

NOW = datetime(2026, 5, 16, tzinfo=UTC)  # half of May is behind
DAY = timedelta(days=1)


def ask(rows: Sequence[Row], *limits: Budget | Limit, **options: Any) -> dict[str, Any]:
    return check(polars_frame(rows), limits, now=options.pop("now", NOW), **options).row(0, named=True)


def paid(amount: str | None, when: datetime = NOW - DAY, **fields: Any) -> Row:
    return call(when, total_price=None if amount is None else Decimal(amount), **fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500/month", Budget(Decimal(500), "month")),
        (" $20.50 / day", Budget(Decimal("20.50"), "day")),
        ("1,000 eur/year", Budget(Decimal(1000), "year", "EUR")),
        ("JPY 5_000/week", Budget(Decimal(5000), "week", "JPY")),
    ],
)
def test_budgets_are_written_as_people_write_them(text: str, expected: Budget) -> None:
    assert budget(text) == expected


@pytest.mark.parametrize("text", ["500", "500/decade", "-5/day", "much/month", "$5 EUR/month", "EUR 5 USD/day", "5/"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no budget; write 500/month"):
        budget(text)


def test_a_budget_is_of_the_calendar_period_on_the_clock() -> None:
    auckland = ZoneInfo("Pacific/Auckland")
    at = datetime(2026, 4, 30, 13, tzinfo=UTC)  # May has begun there
    assert begin("month", at, auckland) == datetime(2026, 4, 30, 12, tzinfo=UTC)
    assert begin("day", at, auckland) == datetime(2026, 4, 30, 12, tzinfo=UTC)
    assert begin("week", at, auckland) == datetime(2026, 4, 26, 12, tzinfo=UTC)
    assert begin("year", at, auckland) == datetime(2025, 12, 31, 11, tzinfo=UTC)
    # The end of a period is in no new one.
    assert begin("month", datetime(2026, 6, 1, tzinfo=UTC), ZoneInfo("UTC")) == datetime(2026, 5, 1, tzinfo=UTC)


def test_what_is_spent_is_compared_with_the_pace() -> None:
    rows = [paid("30"), paid("20", datetime(2026, 4, 30, tzinfo=UTC)), paid("9", NOW + DAY)]
    assert ask(rows, budget("30/month"))["sentence"] == (
        "Within the budget: $30.00 of $30.00 are spent this month (100%); at this pace the month comes to about $62.00."
    )
    over = ask(rows, budget("29.99/month"))
    assert (over["ok"], over["limit_value"], over["limit_set"], over["unit"]) == (
        *(False, Decimal(30), Decimal("29.99"), "USD"),
    )
    assert ask(rows, budget("30/month"), end=datetime(2026, 5, 1, tzinfo=UTC))["sentence"] == (
        "Within the budget: $20.00 of $30.00 are spent this month (66.7%)."
    )
    assert ask([], budget("30/month"))["ok"] is True


@pytest.mark.parametrize(
    ("rows", "ok", "said"),
    [
        ([paid("10"), paid(None)], True, "1 of 2 calls have no price"),
        ([paid("20"), paid(None)], None, "Not known to be within the budget: $20.00 of $30.00"),
        ([paid("20"), paid(None, status="failed")], True, "Within the budget: $20.00 of $30.00"),
        ([paid("31"), paid(None)], False, "Over the budget: $31.00 of $30.00"),
        ([paid(None)], None, "1 of 1 calls have no price"),
        ([paid("20"), paid("99", currency="EUR")], True, "what was spent in EUR does not count"),
        ([paid("99", currency="EUR")], None, "Not known to be within the budget: $0.00 of $30.00"),
    ],
)
def test_a_budget_of_calls_without_prices_is_kept_only_as_far_as_can_be_said(
    rows: list[Row], ok: bool | None, said: str
) -> None:
    answer = ask(rows, budget("30/month"))
    assert answer["ok"] is ok
    assert said in answer["sentence"]


@pytest.mark.parametrize(
    ("limit", "value", "ok", "said"),
    [
        (Limit("error_rate", Decimal("0.25")), "0.25", True, "unsuccessful calls: 25.0%, within the limit of at most"),
        (Limit("error_rate", Decimal("0.2")), "0.25", False, "above the limit of at most 20.0%"),
        (Limit("unpriced", 0.5), "0.75", False, "Share of calls without a price: 75.0%"),
        (Limit("latency_p50", 1000), "1000", True, "Latency p50: 1.00 s, within the limit of at most 1.00 s"),
        (Limit("ttft_p95", 1000), None, None, "Time to first token p95: not known, may be at most 1.00 s"),
        (Limit("cost_per_call", Decimal("0.5")), "0.5", True, "Cost per call: $0.50, within"),
        (Limit("cost_per_call", Decimal("0.5"), currency="EUR"), None, None, "not known, may be at most EUR 0.50"),
        (Limit("calls", 5, at_least=True), "4", False, "Calls: 4, below the limit of at least 5"),
    ],
)
def test_limits_of_measures(limit: Limit, value: str | None, ok: bool | None, said: str) -> None:
    rows = [call(NOW - DAY, latency_ms=1000), call(NOW - DAY), paid("0.5"), call(NOW - DAY, status="failed")]
    answer = ask([*rows, call(NOW + DAY, status="failed"), call(NOW - 9 * DAY)], limit, start=NOW - 2 * DAY)
    assert answer["limit_value"] == (None if value is None else Decimal(value))
    assert answer["ok"] is ok
    assert said in answer["sentence"]


@given(calls(max_size=15), st.sampled_from(["day", "month", "year"]), st.sampled_from(["USD", "EUR"]))
@pytest.mark.proof
@settings(max_examples=trials(4, 100))
def test_what_is_spent_is_the_exact_sum(rows: list[Row], per: Any, unit: str) -> None:
    now = datetime(2025, 5, 20, 7, tzinfo=UTC)
    tz = ZoneInfo("America/New_York")
    answer = check(relation(polars_frame(rows)), [Budget(Decimal(700), per, unit)], now=now, tz=tz.key)

    def period(moment: datetime) -> tuple[int, ...]:
        local = moment.astimezone(tz)
        return (local.year, local.month, local.day)[: {"year": 1, "month": 2, "day": 3}[per]]

    of_it = [row for row in rows if row["create_time"] < now and period(row["create_time"]) == period(now)]
    spent = sum((Fraction(row["total_price"]) for row in of_it if currency(row) == unit), Fraction(0))
    assert Fraction(answer["limit_value"][0]) == spent
    if spent > 700:
        assert answer["ok"].to_list() == [False]


def test_a_usage_is_checked_by_text_and_says_all_limits() -> None:
    usage = load_usage(polars_frame([paid("10"), paid("5")]))
    answer = usage.check("12/month", Limit("error_rate", 0), now=NOW)
    assert answer["ok"].to_list() == [False, True]
    assert answer.sentence.startswith("Over the budget: $15.00 of $12.00 are spent this month (125.0%)")
    assert answer.sentence.endswith("Share of unsuccessful calls: 0%, within the limit of at most 0%.")
    with pytest.raises(UsageError, match="no limits were given"):
        usage.check()
    with pytest.raises(UsageError, match="no measure is called 'latncy_p95'"):
        Limit("latncy_p95", 1)
    with pytest.raises(UsageError, match="no column 'status', which a budget needs"):
        load_usage(polars_frame([paid("1")]).drop("status")).check("5/month")
    with pytest.raises(UsageError, match="total_price"):
        load_usage(pl.DataFrame({"create_time": [NOW], "status": ["success"]})).check("1/day", now=NOW)


@pytest.mark.parametrize("limit", [None, 5, ("latency_p95", 1)])
def test_what_is_no_limit_is_refused(limit: Any) -> None:
    with pytest.raises(UsageError, match=r"is no limit; give a budget such as '500/month'"):
        check(relation(polars_frame([])), [limit])
