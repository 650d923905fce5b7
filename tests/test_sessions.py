"""`usage.sessions`: conversations and their turns, against the same counted row by row; and their messages."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import load_usage
from mofa_usage.efficiency import Sessions, sessions
from mofa_usage.errors import UsageError
from mofa_usage.measures import money_columns
from mofa_usage.records import LLMMessage
from mofa_usage.stores import connect
from tests import plain_analysis as plain
from tests.conftest import run
from tests.plain_analysis import NIL, Row, call, calls, polars_frame, relation
from tests.proofs import trials
from tests.samples import SESSION, message

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
ONE, TWO = (f"0190aaaa-0000-7000-8000-00000000000{n}" for n in (1, 2))


@st.composite
def chats(draw: st.DrawFn) -> list[Row]:
    """Calls of few sessions at few times, some of them alone, with prices below zero; prompts are short, since their
    sums are compared.
    """
    rows = draw(calls(st.integers(0, 5).map(lambda n: START + timedelta(hours=n)), max_size=14))
    alone = draw(st.booleans())
    for n, row in enumerate(rows):
        if alone and n % 3:
            row["chat_session_id"] = f"0190bbbb-0000-7000-8000-{n:012}"
        row["prompt_tokens"] = draw(st.none() | st.integers(0, 50))
        if row["total_price"] is not None and draw(st.booleans()):
            row["total_price"] = -row["total_price"]
    return rows


def amounts(rows: Sequence[Row], code: str | None) -> Any:
    """What the calls priced in a currency cost; None where there is none."""
    return plain.PLAIN["cost"]([row for row in rows if plain.currency(row) == code and code is not None])


def exact(amount: Fraction | None) -> Decimal | None:
    if amount is None:
        return None
    with localcontext(prec=100):
        return (Decimal(amount.numerator) / amount.denominator).quantize(Decimal("1e-10"), ROUND_HALF_EVEN)


def in_turns(rows: Sequence[Row], known: Sequence[str]) -> list[list[Row]]:
    """The calls of a session by turn: each ends with its request."""

    def place(row: Row) -> tuple[Any, ...]:
        priced = [row["total_price"] if plain.currency(row) == code else None for code in known]
        numbers = [row["prompt_tokens"], *priced]
        return row["create_time"], row["retried"] is None, *((number is None, number or 0) for number in numbers)

    turns: list[list[Row]] = [[]]
    for row in sorted(rows, key=place):
        turns[-1].append(row)
        if row["retried"] is None:
            turns.append([])
    return [turn for turn in turns if turn]


def by_session(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["chat_session_id"] != NIL:
            found[row["chat_session_id"]].append(row)
    return found


def prompt(turn: Sequence[Row]) -> int | None:
    """What the request of a turn sends."""
    return next((row["prompt_tokens"] for row in turn if row["retried"] is None), None)


@pytest.mark.proof
@settings(max_examples=trials(4, 120))
@given(rows=chats())
def test_sessions_are_counted_right(rows: list[Row]) -> None:
    found, groups = sessions(relation(polars_frame(rows)), tz="Europe/Berlin", top=None).dearest, by_session(rows)
    known = plain.currencies([row for group in groups.values() for row in group])
    assert set(found["chat_session_id"]) == set(groups)
    weights = []
    for row in found.to_dicts():
        group = groups[row["chat_session_id"]]
        for name in ("calls", "error_count", "priced_calls", "coverage", "prompt_tokens", "total_tokens"):
            assert row[name] == plain.PLAIN[name](group), name
        assert row["turns"] == plain.PLAIN["requests"](group)
        starts = [one["create_time"] for one in group]
        assert (row["first_call"], row["last_call"]) == (min(starts), max(starts))
        ends = [one["create_time"] + timedelta(milliseconds=one["latency_ms"] or 0) for one in group]
        assert row["session_duration"] == (max(ends) - min(starts)) / timedelta(milliseconds=1)
        sent = [(n, prompt(turn)) for n, turn in enumerate(in_turns(group, known))]
        prompts = [(n, length) for n, length in sent if length is not None]
        grown = None if len(prompts) < 2 else (prompts[-1][1] - prompts[0][1]) / (prompts[-1][0] - prompts[0][0])
        assert row["context_growth"] == (None if grown is None else pytest.approx(grown))
        costs = [amounts(group, code) for code in known]
        assert [row[column] for column in money_columns("cost", known).values()] == costs
        weights.append(([(cost is None, -(cost or 0)) for cost in costs], -row["calls"], row["chat_session_id"]))
    assert weights == sorted(weights)


@pytest.mark.proof
@settings(max_examples=trials(4, 120))
@given(rows=chats())
def test_turns_are_counted_right(rows: list[Row]) -> None:
    found, groups = sessions(relation(polars_frame(rows))).turns, by_session(rows)
    known = plain.currencies([row for group in groups.values() for row in group])
    chats = [in_turns(group, known) for group in groups.values()]
    assert found["turn"].to_list() == list(range(1, max(map(len, chats), default=0) + 1))
    for row in found.to_dicts():
        reached = [turns[row["turn"] - 1] for turns in chats if len(turns) >= row["turn"]]
        assert (row["sessions"], row["calls"]) == (len(reached), sum(map(len, reached)))
        for code in known:
            costs = sorted(Fraction(cost) for turn in reached if (cost := amounts(turn, code)) is not None)
            total = sum(costs, Fraction(0)) if costs else None
            middle = plain.money_quantile(list(map(exact, costs)), Fraction(1, 2))  # type: ignore[arg-type]
            mean = None if total is None else exact(total / len(costs))
            for name, value in (("cost", exact(total)), ("turn_cost_mean", mean), ("turn_cost_p50", middle)):
                assert row[money_columns(name, known)[code]] == value, name
        prompts = [length for turn in reached if (length := prompt(turn)) is not None]
        mean_prompt = sum(prompts) / len(prompts) if prompts else None
        assert row["turn_prompt_mean"] == (None if mean_prompt is None else pytest.approx(mean_prompt))
        pairs = [turns[row["turn"] - 2 : row["turn"]] for turns in chats if len(turns) >= row["turn"] > 1]
        steps = [
            after - before
            for one, two in pairs
            if (before := prompt(one)) is not None and (after := prompt(two)) is not None
        ]
        growth = sum(steps) / len(steps) if steps else None
        assert row["turn_growth"] == (None if growth is None else pytest.approx(growth))


@pytest.mark.proof
@settings(max_examples=trials(3, 90))
@given(rows=chats())
def test_what_sessions_cost_in_the_middle_and_by_bins(rows: list[Row]) -> None:
    answer, groups = sessions(relation(polars_frame(rows))), by_session(rows)
    known = plain.currencies([row for group in groups.values() for row in group])
    row = answer.summary.row(0, named=True)
    assert row["sessions"] == len(groups)
    for code in known:
        costs = sorted(cost for group in groups.values() if (cost := amounts(group, code)) is not None)
        expected = {
            "cost": exact(sum(map(Fraction, costs), Fraction(0))),
            "session_cost_mean": exact(sum(map(Fraction, costs), Fraction(0)) / len(costs)),
            "session_cost_p50": plain.money_quantile(costs, Fraction(1, 2)),
            "session_cost_p95": plain.money_quantile(costs, Fraction(19, 20)),
            "session_cost_max": max(costs),
        }
        assert {name: row[money_columns(name, known)[code]] for name in expected} == expected
        bins = answer.costs.filter(pl.col("currency") == code)
        assert bins["sessions"].sum() == len(costs)
        for low, high, number in bins.select("cost_from", "cost_to", "sessions").rows():
            fits = [cost for cost in costs if (low is None or cost >= low) and (high is None or cost < high)]
            assert number == len(fits)
        assert all(after[0] == before[1] for before, after in pairwise(bins.select("cost_from", "cost_to").rows()[1:]))


@pytest.mark.proof
@settings(max_examples=trials(4, 60))
@given(rows=chats())
def test_no_number_depends_on_the_order_of_rows(rows: list[Row]) -> None:
    one, other = (sessions(relation(polars_frame(some)), messages=[]) for some in (rows, rows[::-1]))
    for name in ("dearest", "turns", "costs", "summary"):
        assert getattr(one, name).equals(getattr(other, name)), name


# By hand


def chat(session: str, *turns: tuple[int, str | None], **fields: Any) -> list[Row]:
    """A session: prompt tokens and price of each call, an hour apart."""
    return [
        call(
            START + timedelta(hours=n),
            chat_session_id=session,
            prompt_tokens=tokens,
            total_price=price and Decimal(price),
        )
        | fields
        for n, (tokens, price) in enumerate(turns)
    ]


def of(rows: Sequence[Row], **options: Any) -> Sessions:
    return load_usage(polars_frame(rows), tz="Europe/Berlin").sessions(**options)


def test_a_frame_that_has_little_says_little() -> None:
    frame = polars_frame(chat(ONE, (10, "1"), (20, "2"))).select("chat_session_id", "create_time")
    answer = load_usage(frame).sessions()
    assert answer.dearest.select("turns", "calls", "cost", "prompt_tokens").rows() == [(2, 2, None, None)]
    for missing in frame.columns:
        with pytest.raises(UsageError, match=f"no column '{missing}'"):
            sessions(relation(frame.drop(missing)))
    with pytest.raises(UsageError, match="at least 1"):
        of([], top=0)
    with pytest.raises(UsageError, match="no figure 'pie' of sessions; there are: turns, costs, dearest"):
        of([]).draw("pie")  # type: ignore[arg-type]


def test_the_period_and_the_top() -> None:
    rows = [*chat(ONE, (10, "1"), (20, "2")), *chat(TWO, (10, "5"))]
    assert of(rows, top=1).dearest["chat_session_id"].to_list() == [TWO]
    assert of(rows, top=1).summary["sessions"].to_list() == [2]
    assert of(rows, start=START + timedelta(minutes=1)).dearest["cost"].to_list() == [Decimal(2)]


def test_sessions_of_one_call_are_not_sorted_into_turns() -> None:
    alone = [chat(f"0190bbbb-0000-7000-8000-{n:012}", (10 * n, "1"))[0] for n in range(4)]
    alone[3]["retried"] = "true"
    turns = of([*alone, *chat(ONE, (10, "1"), (25, "3"))]).turns
    expected = [(1, 5, 5, Decimal(5), 10, None), (2, 1, 1, Decimal(3), 25, 15)]
    assert turns.select("turn", "sessions", "calls", "cost", "turn_prompt_mean", "turn_growth").rows() == expected


def test_nothing_is_left_in_the_session_of_the_calls() -> None:
    calls = relation(polars_frame(chat(ONE, (10, "1"), (20, "2"))))
    assert sessions(calls).summary["sessions"].to_list() == [1]
    left: Any = calls.query("asked", "SELECT table_name FROM duckdb_tables()")
    assert left.fetchall() == []


def test_sentences() -> None:
    rows = [*chat(ONE, (100, "1"), (150, "2")), *chat(TWO, (200, "5"), (300, None))]
    assert of(rows).sentence == (
        "There are 2 sessions; they cost $8.00, half of them at most $4.00 each, 95% at most $4.90, the dearest $5.00. "
        "Half of them have at most 2 turns, the longest has 2. The first turn costs $3.00 and sends 150 prompt tokens. "
        "Turn 2, which 100% of the sessions reach, costs $2.00 and sends 225 prompt tokens, 75 more than the turn "
        "before in them."
    )
    assert of(rows).dearest.sentence == "The dearest session cost $5.00 in 2 turns."
    assert of(rows).costs.sentence == "Of the 2 sessions 1 cost from $2.00 to $5.00."
    both = [*rows, call(START, chat_session_id=ONE, total_price=Decimal(3), currency="EUR")]
    assert of(both).costs.sentence.startswith("Of the 2 sessions 1 cost from $2.00"), "not of three"
    dollars_and_euros = of([*rows, *chat(f"{ONE[:-1]}3", (10, "7"), currency="EUR")]).turns.sentence
    assert dollars_and_euros.startswith("The first turn costs $3.00 and EUR 7.00 and sends ")
    assert of([call(START)]).sentence == "There are no sessions."
    unpriced = of(chat(ONE, (100, None))).sentence
    assert "what they cost is unknown: no call has a price" in unpriced


def test_figures() -> None:
    rows = [*chat(ONE, (100, "1"), (150, "2")), *chat(TWO, (200, "5"), (300, "3"), currency="EUR")]
    figure = of(rows).draw()
    assert [list(trace.y) for trace in figure.data] == [[5.0, 3.0], [1.0, 2.0], [150.0, 225.0]]
    assert [sum(trace.y) for trace in of(rows).draw("costs").data] == [1, 1]
    assert of(rows).draw("dearest").data
    for kind in ("turns", "costs"):
        assert of([]).draw(kind).layout.annotations[0].text.startswith("No session")
    assert "<table" in of(rows)._repr_html_()


# Messages

ENDED = {"tool_calls": 2, "tool_errors": 1}


def said() -> list[LLMMessage]:
    """Three messages of a session: two tool calls in one, a tool that failed, and a user."""
    calling: dict[str, Any] = {"tool_calls": [{"id": n, "name": "look", "arguments": {}} for n in ("a", "b")]}
    failing = {"tool_result": {"tool_call_id": "a", "content": "no", "is_error": True}}
    contents = [("user", {"text": "hello"}), ("assistant", calling), ("tool", failing)]
    return [message(n, role=role, content=content) for n, (role, content) in enumerate(contents)]


def check_messages(answer: Sessions) -> None:
    expected = {"messages": 3, "user_messages": 1, "assistant_messages": 1, "tool_messages": 1, "system_messages": 0}
    first, second = answer.dearest.to_dicts()
    assert first["chat_session_id"] == str(SESSION)
    assert {name: first[name] for name in (*expected, *ENDED)} == expected | ENDED
    assert {second[name] for name in (*expected, *ENDED)} == {0}


def test_messages_of_records_frames_stores_and_databases(tmp_path: Path) -> None:
    rows = [*chat(str(SESSION), (10, "5")), *chat(TWO, (10, "1"))]
    check_messages(of(rows, messages=said()))
    fields = [(str(one.chat_session_id), str(one.role), one.content.model_dump_json()) for one in said()]
    frame = pl.DataFrame(fields, schema=["chat_session_id", "role", "content"], orient="row")
    check_messages(of(rows, messages=frame))
    check_messages(of(rows, messages=frame.to_arrow()))

    async def stored(url: str) -> None:
        async with connect(url) as store:
            await store.save_messages(said())
            check_messages(of(rows, messages=store))

    run(stored("memory:"))
    run(stored(f"sqlite:{tmp_path}/chat.db"))
    check_messages(of(rows, messages=f"sqlite:{tmp_path}/chat.db"))


def test_what_holds_no_messages_is_refused() -> None:
    with pytest.raises(UsageError, match="a dict is no source of messages"):
        of([], messages={})
    with pytest.raises(UsageError, match="the frame of messages has no column 'role'"):
        of([], messages=pl.DataFrame({"chat_session_id": [ONE]}))
    with pytest.raises(UsageError, match="would be a new, empty database"):
        of([], messages="memory:")
