"""Only small results come to this machine: Spark itself stops more than two megabytes, as its setting here says."""

from collections.abc import Callable
from typing import Any

import pytest

from mofa_usage import UsageFrame, load_usage
from mofa_usage.errors import UsageError

CALLS = 300_000  # of which one column of numbers is more than that
COLUMNS = {
    "id": "lpad(id, 36, '0')",
    "create_time": "timestamp_micros(1743200000000000 + id * 1000000)",  # two days, and then the clock changes
    "model_name": "'model ' || id % 7",
    "status": "CASE WHEN id % 50 = 0 THEN 'failed' ELSE 'success' END",
    "user_id": "lpad(id % 5000, 36, '0')",
    "chat_session_id": "lpad(id div 4, 36, '0')",
    "latency_ms": "pmod(hash(id), 1000000)",
    "prompt_tokens": "pmod(hash(id, 1), 1000000)",
    "completion_tokens": "pmod(hash(id, 2), 1000000)",
    "total_price": "CAST(pmod(hash(id, 3), 1000000) AS decimal(38,10)) / 1000000",
    "currency": "'USD'",
    "`labels.feature`": "'feature ' || id % 5",
}
BEFORE, AFTER = ("2025-03-29", "2025-03-30"), ("2025-03-30", "2025-03-31")
QUESTIONS: dict[str, Callable[[UsageFrame], Any]] = {
    "breakdown": lambda usage: usage.breakdown("day", ["cost", "users", "latency_p95", "cost_p90"], totals=True),
    "intervals": lambda usage: usage.breakdown((), ["latency_p50"], intervals=0.95),
    "heaviest": lambda usage: usage.breakdown("user_id", ["cost", "latency_p95"], top=5),
    "distribution": lambda usage: usage.distribution("model_name"),
    "explain_change": lambda usage: usage.explain_change(BEFORE, AFTER),
    "drivers": lambda usage: usage.drivers("cost", BEFORE, AFTER),
    "slow_drivers": lambda usage: usage.slow_drivers(),
    "service_level": lambda usage: usage.service_level("model_name", latency_ms=500_000, every="hour").level,
}


@pytest.fixture(scope="module")
def many(session: Any) -> UsageFrame:
    made = session.range(CALLS).selectExpr(*(f"{sql} AS {name}" for name, sql in COLUMNS.items()))
    return load_usage(made, tz="Europe/Berlin")


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_all_that_comes(many: UsageFrame, question: str) -> None:
    assert QUESTIONS[question](many) is not None


def test_more_would_be_stopped(many: UsageFrame) -> None:
    with pytest.raises(UsageError, match=r"^Spark cannot read the calls.*maxResultSize") as told:
        many.lazy()
    assert len(str(told.value)) < 500
