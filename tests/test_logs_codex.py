"""Codex's sessions: a call is what the totals grew by, and a fork's copy of its parent is none."""

from pathlib import Path
from typing import Any

import pytest

from tests.imports import imported, write_jsonl
from tests.logs import FOLDER

SESSIONS = FOLDER / "codex"
EARLY, LATE = "019e0000-0000-7000-8000-000000000001", "019e0fff-0000-7000-8000-000000000001"


def line(kind: str, second: int = 0, **payload: Any) -> dict[str, Any]:
    return {"timestamp": f"2026-05-06T08:00:{second:02}.000Z", "type": kind, "payload": payload}


def meta(**more: Any) -> dict[str, Any]:
    return line("session_meta", id=LATE, timestamp="2026-05-06T08:00:00.000Z", cwd="/home/dana/shop", **more)


def usage(prompt: int, output: int, cached: int = 0) -> dict[str, int]:
    return {
        **{"input_tokens": prompt, "cached_input_tokens": cached, "output_tokens": output},
        **{"reasoning_output_tokens": 0, "total_tokens": prompt + output},
    }


def count(second: int, total: Any = None, last: Any = None) -> dict[str, Any]:
    said = {"total_token_usage": total, "last_token_usage": last}
    info = {name: usage(*counts) for name, counts in said.items() if counts is not None} or None
    return line("event_msg", second, type="token_count", info=info, rate_limits={})


def turn(second: int, turn_id: str | None = LATE, model: str = "gpt-5.2") -> dict[str, Any]:
    return line("turn_context", second, turn_id=turn_id, model=model)


async def tokens(path: Path, *lines: Any) -> list[tuple[int, int]]:
    _, calls = await imported(write_jsonl(path / "rollout.jsonl", *lines))
    return [(call.prompt_tokens, call.completion_tokens) for call in calls]


async def test_the_sample() -> None:
    result, calls = await imported(SESSIONS)
    assert result.format == "Codex session logs"
    told = [
        (f"{call.create_time:%H:%M:%S}", call.model_name, call.prompt_tokens, call.completion_tokens) for call in calls
    ]
    assert told == [
        ("08:00:07", "gpt-5.2-codex", 9035, 119),
        ("08:00:15", "gpt-5.2-codex", 9335, 290),
        ("08:10:09", "gpt-5.2", 9900, 77),  # the counter began again
        ("09:00:08", "gpt-5.2-codex", 11100, 100),  # the fork's own
    ]
    assert result.left_out == {
        "calls of the session that one was forked from": 4,
        "lines that are no calls": 17,
        "notices of rate limits": 2,
        "rows that say a call again": 1,
    }
    first = calls[0]
    assert first.prompt_tokens_details is not None
    assert first.prompt_tokens_details.cached_tokens == 2432
    assert first.completion_tokens_details is not None
    assert first.completion_tokens_details.reasoning_tokens == 64
    assert first.labels == {
        **{"agent": "Codex", "branch": "main", "project": "~/shop", "provider": "openai", "tool_version": "0.145.0"}
    }
    assert calls[0].chat_session_id != calls[3].chat_session_id


async def test_a_file_alone_gives_the_same_calls_as_the_folder() -> None:
    _, together = await imported(SESSIONS)
    apart = []
    for path in sorted(SESSIONS.rglob("*.jsonl")):
        apart += (await imported(path))[1]
    assert apart == together


async def test_totals_that_grow_shrink_or_stay(tmp_path: Path) -> None:
    lines = [meta(), turn(1), count(2, (10, 1), (10, 1)), count(3, (10, 1), (10, 1)), count(4, (30, 3), (20, 2))]
    lines += [count(5, (7, 5), (7, 5)), count(6, (7, 5)), count(7, (9, 6))]
    assert await tokens(tmp_path, *lines) == [(10, 1), (20, 2), (7, 5), (2, 1)]


async def test_a_resumed_session_begins_with_totals_of_its_past(tmp_path: Path) -> None:
    assert await tokens(tmp_path, meta(), turn(1), count(2, (1000, 100), (50, 5))) == [(50, 5)]


async def test_counts_without_totals_are_taken_as_they_are(tmp_path: Path) -> None:
    assert await tokens(tmp_path, meta(), turn(1), count(2, None, (50, 5)), count(3, None, (60, 6))) == [
        (50, 5),
        (60, 6),
    ]


@pytest.mark.parametrize(
    ("more", "own"),
    [
        ({"forked_from_id": EARLY}, [turn(1)]),
        ({"thread_source": "subagent"}, [line("event_msg", 1, type="task_started", turn_id=LATE)]),
        ({"source": {"subagent": {"thread_spawn": {}}}}, [turn(1)]),
        ({"forked_from_id": EARLY, "subagent_history_start_ordinal": 4}, [{**turn(1, EARLY), "ordinal": 4}]),
        ({"forked_from_id": EARLY, "subagent_history_start_ordinal": 99}, [{**turn(1), "ordinal": 4}]),
        ({"forked_from_id": EARLY}, [turn(30, None)]),  # the copy is written in a moment
    ],
)
async def test_where_the_copy_of_a_parent_ends(tmp_path: Path, more: dict[str, Any], own: list[Any]) -> None:
    early = turn(0, None if own[0]["payload"].get("turn_id") is None else EARLY)
    copied = [line("session_meta", id=EARLY), early, count(0, (10, 1), (10, 1)), count(0, (30, 3), (20, 2))]
    lines = [meta(**more), *copied, *own, count(40, (37, 4), (7, 1))]
    assert await tokens(tmp_path, *lines) == [(7, 1)]


async def test_a_fork_that_did_nothing_has_no_calls(tmp_path: Path) -> None:
    assert await tokens(tmp_path, meta(forked_from_id=EARLY), turn(0, EARLY), count(0, (10, 1), (10, 1))) == []


async def test_a_subagent_without_a_copy_counts_from_its_first_call(tmp_path: Path) -> None:
    lines = [meta(thread_source="subagent"), turn(0), count(1, (10, 1), (10, 1))]
    assert await tokens(tmp_path, *lines) == [(10, 1)]
    _, [call] = await imported(tmp_path)
    assert call.labels["agent"] == "Codex subagent"


async def test_sessions_that_codex_took_from_elsewhere_are_no_calls(tmp_path: Path) -> None:
    elsewhere = {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "reasoning_output_tokens": 0}
    info = {
        "total_token_usage": elsewhere | {"total_tokens": 999},
        "last_token_usage": elsewhere | {"total_tokens": 999},
    }
    lines = [meta(), line("event_msg", 1, type="token_count", info=info), turn(2), count(3, (10, 1), (10, 1))]
    assert await tokens(tmp_path, *lines) == [(10, 1)]


async def test_a_count_that_is_none_is_refused(tmp_path: Path) -> None:
    bad = line("event_msg", 1, type="token_count", info={"total_token_usage": {"input_tokens": "many"}})
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", meta(), turn(0), bad, count(2, (10, 1), (10, 1))))
    assert (len(calls), [reason.reason for reason in result.reasons]) == (
        1,
        ["a count of tokens is not a whole number"],
    )


async def test_a_file_without_its_beginning_still_counts(tmp_path: Path) -> None:
    result, calls = await imported(write_jsonl(tmp_path / "a.jsonl", count(2, (10, 1), (10, 1)), count(3, (30, 3))))
    assert [(call.model_name, call.prompt_tokens) for call in calls] == [("unknown", 10), ("unknown", 20)]
    assert result.stored == 2
