"""A filter finds exactly the calls that meet every condition it has."""

from datetime import timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from mofa_usage.records import NIL_UUID, ApiCallStatus, LLMApiCall, QueryFilter
from mofa_usage.stores import Store
from tests.samples import at, call

A, B = UUID(int=0xA), UUID(int=0xB)


async def found(store: Store, **conditions: Any) -> list[LLMApiCall]:
    """The calls of a filter; the stream and the statistics must agree about them."""
    wanted = QueryFilter(**conditions)
    calls = await store.query_api_calls(wanted)
    assert [streamed async for streamed in store.stream_api_calls(wanted)] == calls
    assert (await store.get_statistics(wanted)).total_calls == len(calls)
    return calls


@pytest.mark.parametrize(
    ("condition", "field"),
    [("user_id", "user_id"), ("session_id", "chat_session_id"), ("agent_id", "agent_id"), ("tenant_id", "tenant_id")],
)
async def test_by_id(store: Store, condition: str, field: str) -> None:
    a, b = call(0, **{field: A}), call(1, **{field: B})
    await store.save_api_calls([a, b])
    assert await found(store, **{condition: A}) == [a]
    assert await found(store, **{condition: B}) == [b]
    assert await found(store, **{condition: UUID(int=0xC)}) == []


async def test_the_nil_tenant_is_a_tenant_like_others(store: Store) -> None:
    without, within = call(0), call(1, tenant_id=A)
    await store.save_api_calls([without, within])
    assert await found(store, tenant_id=NIL_UUID) == [without]
    assert await found(store) == [within, without]


@pytest.mark.parametrize("status", list(ApiCallStatus))
async def test_by_status(store: Store, status: ApiCallStatus) -> None:
    calls = {each: call(status=each) for each in ApiCallStatus}
    await store.save_api_calls(list(calls.values()))
    assert await found(store, status=status) == [calls[status]]


# Each pair is one text to some collation of some database.
ALIKE = [
    ("GPT-4", "gpt-4"),
    ("gpt-4", "gpt-4 "),
    ("gpt-4", " gpt-4"),
    ("gpt-4", "gpt-4\t"),
    ("strasse", "straße"),
    ("é", "e\u0301"),
    ("é", "e"),
    ("A", "Ａ"),  # noqa: RUF001 - a fullwidth letter is the point
    ("\U0001f600", "\U0001f601"),
    ("", " "),
    ("gpt_4", "gptx4"),
    ("gpt%", "gpt-4"),
    ("a\\", "a"),
    ("null", "NULL"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
async def test_model_names_are_compared_exactly(store: Store, one: str, other: str) -> None:
    first, second = call(0, model_name=one), call(1, model_name=other)
    await store.save_api_calls([first, second])
    assert await found(store, model_name=one) == [first]
    assert await found(store, model_name=other) == [second]


INJECTIONS = ["' OR '1'='1", "x'; DELETE FROM entity_llm_api_call; --", "\\' OR 1=1 -- ", '" OR ""="', "%(x)s :y ? $1"]


@pytest.mark.parametrize("name", INJECTIONS)
async def test_a_model_name_is_data_and_never_sql(store: Store, name: str) -> None:
    plain = call(0)
    await store.save_api_call(plain)
    assert await found(store, model_name=name) == []
    odd = call(1, model_name=name)
    await store.save_api_call(odd)
    assert await found(store, model_name=name) == [odd]
    assert await found(store) == [odd, plain]


async def test_both_ends_of_the_time_range_are_included(store: Store) -> None:
    calls = [call(n * 0.000_001) for n in range(5)]
    await store.save_api_calls(calls)
    times = [made.create_time for made in calls]
    assert await found(store, start_time=times[1], end_time=times[3]) == calls[3:0:-1]
    assert await found(store, start_time=times[3]) == [calls[4], calls[3]]
    assert await found(store, end_time=times[1]) == [calls[1], calls[0]]
    assert await found(store, start_time=times[2], end_time=times[2]) == [calls[2]]


async def test_whole_seconds_and_fractions_are_in_one_order(store: Store) -> None:
    base = at(0).replace(microsecond=0)
    parts = [0, 1, 100_000, 123_000, 999_999]
    calls = [call(create_time=base.replace(microsecond=part), update_time=at(9)) for part in parts]
    await store.save_api_calls(calls)
    assert await found(store, start_time=base, end_time=base) == [calls[0]]
    assert await found(store, start_time=base.replace(microsecond=2)) == calls[:1:-1]
    assert await found(store) == calls[::-1]


async def test_a_range_that_ends_before_it_starts_holds_nothing(store: Store) -> None:
    await store.save_api_call(call(0))
    try:
        backwards = {"start_time": at(1), "end_time": at(-1)}
        QueryFilter(**backwards)
    except ValueError:
        return  # refusing it is as good
    assert await found(store, **backwards) == []


async def test_a_time_in_another_zone_is_the_same_instant(store: Store) -> None:
    made = call(0)
    await store.save_api_call(made)
    for hours in (-11, 14):
        there = made.create_time.astimezone(timezone(timedelta(hours=hours)))
        assert await found(store, start_time=there, end_time=there) == [made]


async def test_the_time_of_a_call_is_its_creation(store: Store) -> None:
    made = call(create_time=at(0), update_time=at(100))
    await store.save_api_call(made)
    assert await found(store, start_time=at(50)) == []
    assert await found(store, end_time=at(50)) == [made]


async def test_conditions_are_joined_by_and(store: Store) -> None:
    wanted = call(0, user_id=A, chat_session_id=A, agent_id=A, tenant_id=A, status="timeout", model_name="m")
    changes: list[dict[str, Any]] = [
        {"user_id": B},
        {"chat_session_id": B},
        {"agent_id": B},
        {"tenant_id": B},
        {"status": ApiCallStatus.FAILED},
        {"model_name": "M"},
        {"create_time": at(-1)},
        {"create_time": at(1), "update_time": at(1)},
    ]
    off_by_one = [
        wanted.model_copy(update={"id": UUID(int=number), **change}) for number, change in enumerate(changes, start=1)
    ]
    await store.save_api_calls([*off_by_one, wanted])
    ids = {"user_id": A, "session_id": A, "agent_id": A, "tenant_id": A}
    every: dict[str, Any] = {**ids, "status": "timeout", "model_name": "m", "start_time": at(0), "end_time": at(0)}
    assert await found(store, **every) == [wanted]
