"""The made-up usage: the same every time, and with everything in it that the analyses are about."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import mean, median

import pytest

from mofa_usage.demo import DemoUsage, generate_usage, write_usage
from mofa_usage.errors import UsageError
from mofa_usage.records import ApiCallStatus, LLMApiCall, QueryFilter
from mofa_usage.stores import Store

END = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def usage() -> DemoUsage:
    return generate_usage(end=END)


def during(usage: DemoUsage, start: datetime, end: datetime) -> list[LLMApiCall]:
    return [call for call in usage.calls if start <= call.create_time < end]


def failure_rate(calls: Iterable[LLMApiCall]) -> float:
    return mean(call.status is not ApiCallStatus.SUCCESS for call in calls)


def test_it_has_the_size_asked_for(usage: DemoUsage) -> None:
    assert len(usage.calls) == len({call.id for call in usage.calls}) == 50_000
    assert len({call.model_name for call in usage.calls}) == 10
    assert (usage.start, usage.end) == (END - timedelta(days=30), END)
    assert all(usage.start <= call.create_time <= call.update_time < END for call in usage.calls)
    times = [call.create_time for call in usage.calls]
    assert times == sorted(times)
    assert len({time.date() for time in times}) == 30


def test_the_same_seed_makes_the_same_usage_in_every_process() -> None:
    made = generate_usage(calls=300, days=3, end=END, seed=7)
    assert made == generate_usage(calls=300, days=3, end=END, seed=7)
    assert made.calls != generate_usage(calls=300, days=3, end=END, seed=8).calls
    code = (
        "from datetime import UTC, datetime; from mofa_usage.demo import generate_usage; "
        "print(generate_usage(calls=300, days=3, end=datetime(2026, 6, 1, tzinfo=UTC), seed=7))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(made)


def test_without_an_end_it_ends_now() -> None:
    made = generate_usage(calls=50, days=1)
    assert timedelta(0) <= datetime.now(UTC) - made.end < timedelta(hours=1, minutes=1)


def test_ends_in_any_zone_are_the_same_moment() -> None:
    there = datetime.fromisoformat("2026-06-01T08:00:00+08:00")
    assert generate_usage(calls=50, days=1, end=there) == generate_usage(calls=50, days=1, end=END)


@pytest.mark.parametrize(
    ("calls", "days", "end"),
    [(0, 1, END), (1, 0, END), (1, 1, datetime(2026, 6, 1))],
)
def test_what_cannot_be_made_up(calls: int, days: int, end: datetime) -> None:
    with pytest.raises(UsageError):
        generate_usage(calls=calls, days=days, end=end)


def test_it_grows_and_rests_at_night_and_on_weekends(usage: DemoUsage) -> None:
    weeks = [
        len(during(usage, usage.start + timedelta(weeks=n), usage.start + timedelta(weeks=n + 1))) for n in range(4)
    ]
    assert weeks == sorted(weeks)
    assert weeks[-1] > 1.3 * weeks[0]
    weekdays = Counter(call.create_time.weekday() for call in usage.calls)
    assert max(weekdays[5], weekdays[6]) * 2 < min(weekdays[day] for day in range(5))
    hours = Counter(call.create_time.hour for call in usage.calls)
    assert max(hours.values()) > 3 * min(hours.values())


def test_the_incident_is_one_provider_timing_out(usage: DemoUsage) -> None:
    start, end = usage.incident
    assert usage.start < start < end < usage.end
    assert start.weekday() < 5
    broken = {call.model_name for call in during(usage, start, end) if call.status is ApiCallStatus.TIMEOUT}
    assert {"gpt-4.1", "gpt-4.1-mini"} <= broken
    affected = [call for call in during(usage, start, end) if call.model_name.startswith("gpt")]
    statuses = Counter(call.status for call in affected)
    assert statuses[ApiCallStatus.TIMEOUT] > 0.2 * len(affected)
    assert statuses[ApiCallStatus.RATE_LIMITED] > 0.1 * len(affected)
    others = [call for call in during(usage, start, end) if call.model_name.startswith("claude")]
    before = during(usage, usage.start, start)
    assert failure_rate(others) < 0.1
    assert failure_rate(before) < 0.05
    slow = median(call.latency_ms or 0 for call in affected if call.status is ApiCallStatus.SUCCESS)
    usual = median(call.latency_ms or 0 for call in before if call.model_name.startswith("gpt"))
    assert slow > 1.8 * usual


def test_prices_are_exact_and_unknown_where_nobody_bills(usage: DemoUsage) -> None:
    for call in usage.calls:
        assert (call.total_price is None) == (call.model_name == "llama-3.3-70b") == (call.price_details is None)
        if call.price_details is not None:
            assert call.total_price == (call.price_details.input_price or 0) + (call.price_details.output_price or 0)
    mini = next(
        c for c in usage.calls if c.model_name == "gpt-4.1-mini" and c.prompt_tokens_details and c.completion_tokens
    )
    cached = (mini.prompt_tokens_details and mini.prompt_tokens_details.cached_tokens) or 0
    expected = Decimal("0.0000004") * (mini.prompt_tokens - cached) + Decimal("0.0000001") * cached
    assert mini.total_price == expected + Decimal("0.0000016") * mini.completion_tokens
    assert sum(call.total_price or 0 for call in usage.calls if call.status is not ApiCallStatus.SUCCESS) > 0


def test_details_and_times_belong_together(usage: DemoUsage) -> None:
    assert any((call.prompt_tokens_details and call.prompt_tokens_details.cached_tokens) for call in usage.calls)
    assert any(call.completion_tokens_details for call in usage.calls)
    for call in usage.calls:
        assert call.latency_ms is not None
        assert call.update_time - call.create_time == timedelta(milliseconds=call.latency_ms)
        assert (call.time_to_first_token_ms or 0) <= call.latency_ms
        if call.status is ApiCallStatus.SUCCESS:
            assert call.tokens_per_second == pytest.approx(call.completion_tokens / call.latency_ms * 1000, abs=0.001)
            assert call.error_message is None
        else:
            assert call.error_message
    pairs = [
        (call.completion_tokens, call.latency_ms or 0) for call in usage.calls if call.model_name == "gpt-4.1-mini"
    ]
    short = median(latency for tokens, latency in pairs if 0 < tokens < 150)
    long = median(latency for tokens, latency in pairs if tokens > 400)
    assert long > 1.5 * short


async def test_it_is_saved_with_everything_that_the_calls_refer_to(store: Store) -> None:
    made = generate_usage(calls=400, days=2, end=END)
    told: list[int] = []
    for _ in range(2):  # the second time changes nothing
        await write_usage(store, made, advance=lambda done, note: told.append(done), batch_size=150)
    assert told == [150, 300, 400] * 2
    assert sorted(await store.query_api_calls(QueryFilter()), key=lambda call: call.id) == sorted(
        made.calls, key=lambda call: call.id
    )
    for call in made.calls[::25]:
        config = await store.get_agent_with_provider(call.agent_id)
        assert config is not None
        assert config.agent.tenant_id == config.provider.tenant_id == call.tenant_id
        session = await store.get_session(call.chat_session_id)
        assert session is not None
        assert session.user_id == call.user_id
        assert session.create_time <= call.create_time <= call.update_time <= session.update_time
