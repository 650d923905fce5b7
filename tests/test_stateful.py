"""The memory store is the model of every other store: after any operations, all questions have the same answers.

Hypothesis draws operations over a few ids, names and moments, so that they collide all the time, does each to a store
and to the model, and compares what comes of it: the value, or the kind of error. An operation is data, a method's name
and its arguments, so that a transaction can be a list of them.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from mofa_usage.errors import PersistenceError
from mofa_usage.records import NIL_UUID, ApiCallStatus, QueryFilter, UsageStatistics
from mofa_usage.stores import InMemoryStore, Records, Store
from tests import samples, strategies
from tests.leaks import opened
from tests.proofs import trials

Operation = tuple[str, tuple[Any, ...]]

IDS = [UUID(int=number << 96 | number) for number in range(1, 6)]
CHATS = [UUID(int=0xC0), UUID(int=0xC1)]
USERS = [UUID(int=0xD0), UUID(int=0xD1)]
TENANTS = [NIL_UUID, UUID(int=0xE0)]
NAMES = ["gpt-4", "GPT-4", "gpt-4 ", "\U0001f600"]
MOMENTS = [samples.at(seconds) for seconds in (-1, 0, 0.000_001, 1, 86_400)]

ids, chats, users, tenants = (st.sampled_from(each) for each in (IDS, CHATS, USERS, TENANTS))
names, moments = st.sampled_from(NAMES), st.sampled_from(MOMENTS)


def spans() -> st.SearchStrategy[dict[str, Any]]:
    """Two of the moments as creation and update."""
    return st.tuples(moments, moments).map(sorted).map(lambda pair: {"create_time": pair[0], "update_time": pair[1]})


messages = st.builds(
    lambda span, **fields: samples.message(**span, **fields),
    spans(),
    id=ids,
    chat_session_id=chats,
    tenant_id=tenants,
    parent_message_id=st.none() | ids,
    content=strategies.contents(),
)
calls = st.builds(
    lambda span, **fields: samples.call(**span, **fields),
    spans(),
    id=ids,
    chat_session_id=chats,
    user_id=users,
    tenant_id=tenants,
    status=st.sampled_from(ApiCallStatus),
    model_name=names,
    total_price=st.none() | strategies.prices(),
    price_details=st.none() | strategies.price_details(),
    latency_ms=st.none() | st.integers(0, 10_000),
    tokens_per_second=st.none() | st.floats(0, 1e6),
    labels=strategies.labels(),
)
sessions = st.builds(
    lambda span, **fields: samples.session(**span, **fields),
    spans(),
    id=st.sampled_from(CHATS),
    user_id=users,
    tenant_id=tenants,
    title=st.none() | names,
    metadata=strategies.json_objects(),
)
providers = st.builds(
    lambda name, span, **fields: samples.provider(name, **span, **fields),
    names,
    spans(),
    id=ids,
    tenant_id=tenants,
    enabled=st.booleans(),
    api_key=names,
)
agents = st.builds(
    lambda code, span, **fields: samples.agent(code, **span, **fields),
    names,
    spans(),
    id=ids,
    tenant_id=tenants,
    provider_id=ids,
    agent_order=st.integers(0, 2),
    agent_status=st.booleans(),
    custom_params=st.none() | strategies.json_objects(),
)
filters = st.builds(
    QueryFilter,
    user_id=st.none() | users,
    session_id=st.none() | chats,
    tenant_id=st.none() | tenants,
    start_time=st.none() | moments,
    end_time=st.none() | moments,
    status=st.none() | st.sampled_from(ApiCallStatus),
    model_name=st.none() | names,
    limit=st.none() | st.integers(0, 4),
    offset=st.none() | st.integers(0, 4),
)


def operation(method: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(method), st.tuples(*arguments))


# Deferred only to keep them short where Hypothesis writes them down.
changes = st.deferred(
    lambda: st.one_of(
        operation("save_message", messages),
        operation("save_messages", st.lists(messages, max_size=4)),
        operation("delete_message", ids),
        operation("delete_session_messages", chats),
        operation("save_api_call", calls),
        operation("save_api_calls", st.lists(calls, max_size=4)),
        operation("delete_api_call", ids),
        operation("cleanup_old_records", moments),
        operation("cleanup_old_messages", moments),
        operation("create_session", sessions),
        operation("update_session", sessions),
        operation("delete_session", chats),
        operation("save_provider", providers),
        operation("delete_provider", ids),
        operation("save_agent", agents),
        operation("delete_agent", ids),
    )
)
questions = st.deferred(
    lambda: st.one_of(
        *(operation(method, ids) for method in ("get_message", "get_api_call", "get_provider", "get_agent")),
        operation("get_agent_with_provider", ids),
        *(operation(method, chats) for method in ("get_session", "get_session_messages", "count_session_messages")),
        *(operation(method, tenants) for method in ("get_enabled_providers", "get_active_agents")),
        *(operation(method, names) for method in ("get_agent_by_code", "get_agent_by_code_with_provider")),
        operation("query_api_calls", filters),
        operation("stream_api_calls", filters),
        operation("get_statistics", filters),
        operation("get_session_messages_paginated", chats, st.integers(0, 4), st.integers(0, 4)),
        operation("get_provider_by_name", tenants, names),
        operation("get_agent_by_code_and_tenant", tenants, names),
        operation("get_agent_by_code_and_tenant_with_provider", tenants, names),
    )
)

# What shows the whole state of a store.
EVERYTHING: list[Operation] = [
    *(("get_session_messages", (each,)) for each in CHATS),
    *(("get_user_sessions", (each,)) for each in USERS),
    *((method, (each,)) for method in ("list_providers", "list_agents") for each in TENANTS),
    ("query_api_calls", (QueryFilter(),)),
    ("get_statistics", (QueryFilter(),)),
]


async def answer(records: Records, asked: Operation) -> Any:
    """What an operation returns."""
    method, arguments = asked
    result = getattr(records, method)(*arguments)
    return [each async for each in result] if isinstance(result, AsyncIterator) else await result


async def outcome(store: Store, asked: list[Operation], ending: str) -> Any:
    """What comes of operations, one by one or in a transaction: the answers, or the kind of error."""
    answers: list[Any] = []
    try:
        if ending == "no transaction":
            answers += [await answer(store, each) for each in asked]
        else:
            async with store.transaction() as transaction:
                answers += [await answer(transaction, each) for each in asked]
                if ending == "roll back":
                    raise ZeroDivisionError
    except (PersistenceError, ZeroDivisionError) as error:
        answers.append(type(error))
    return answers


AVERAGES = ("avg_latency_ms", "avg_tokens_per_second")


def same(one: Any, other: Any) -> bool:
    """Equal; averages may differ in their last digits, for sums of floats depend on the order of adding."""
    if not isinstance(one, UsageStatistics) or not isinstance(other, UsageStatistics):
        return bool(one == other)
    pairs = [(getattr(one, name), getattr(other, name)) for name in AVERAGES]
    close = all(a == b or (None not in (a, b) and math.isclose(a, b, rel_tol=1e-12)) for a, b in pairs)
    return close and one == other.model_copy(update={name: getattr(one, name) for name in AVERAGES})


class StoreMachine(RuleBasedStateMachine):
    """Does the same to a store and to its model. Subclasses bring the store and the event loop that it lives in."""

    runner: asyncio.Runner
    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.model = InMemoryStore()
        self.runner.run(_clear(self.store))
        self.changed = False

    def compare(self, asked: list[Operation], ending: str = "no transaction") -> None:
        expected = self.runner.run(outcome(self.model, asked, ending))
        found = self.runner.run(outcome(self.store, asked, ending))
        assert len(expected) == len(found)
        for each, one, other in zip([*asked, ("the end", ())], expected, found, strict=False):
            assert same(one, other), f"{each[0]}{each[1]} gives {other!r}, in memory {one!r}"

    @rule(change=changes)
    def change(self, change: Operation) -> None:
        self.compare([change])
        self.changed = True

    @rule(asked=st.lists(changes | questions, min_size=1, max_size=4), ending=st.sampled_from(["commit", "roll back"]))
    def transact(self, asked: list[Operation], ending: str) -> None:
        self.compare(asked, ending)
        self.changed = True

    @rule(question=questions)
    def ask(self, question: Operation) -> None:
        self.compare([question])

    @precondition(lambda self: self.changed)
    @rule()
    def ask_everything(self) -> None:
        self.compare(EVERYTHING)
        self.changed = False

    def teardown(self) -> None:
        self.ask_everything()


async def _clear(store: Store) -> None:
    """Delete all that the operations can have made, by the store's own means."""
    await store.cleanup_old_records(strategies.LAST_TIME)
    for each in IDS:
        await store.delete_message(each)
        await store.delete_agent(each)
        await store.delete_provider(each)
    for each in CHATS:
        await store.delete_session(each)


@pytest.mark.proof
@pytest.mark.sql_only
def test_every_store_does_as_the_model_does(url: str) -> None:
    with asyncio.Runner() as runner:
        opening = opened(url)
        store = runner.run(opening.__aenter__())
        try:
            machine = type("Machine", (StoreMachine,), {"runner": runner, "store": store})
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=trials(3, 100),
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
                ),
            )
        finally:
            runner.run(opening.__aexit__(None, None, None))
