"""Traces: a span that repeats the tokens of the calls beneath it is no call."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage.importing.spans import Spans
from tests.imports import AT_NOON, imported, write_jsonl
from tests.proofs import trials


def span(name: str, parent: str | None, prompt: int | None = None, completion: int | None = None, **more: Any) -> Any:
    tokens = {"llm.token_count.prompt": prompt, "llm.token_count.completion": completion}
    return AT_NOON | {"span_id": name, "parent_id": parent} | tokens | more


async def totals(path: Path, *spans: Any) -> tuple[int, int, int, int]:
    """Calls, prompt and completion tokens, refused."""
    result, calls = await imported(write_jsonl(path / "spans.jsonl", *spans))
    prompt, completion = (sum(getattr(call, f"{name}_tokens") for call in calls) for name in ("prompt", "completion"))
    return len(calls), prompt, completion, result.rejected


@pytest.mark.parametrize("order", [1, -1])
async def test_a_parent_with_the_sum_of_its_children_is_a_roll_up(tmp_path: Path, order: int) -> None:
    spans = [span("a", None, 2952, 100), span("b", "a", 1476, 50), span("c", "a", 1476, 50)]
    assert await totals(tmp_path, *spans[::order]) == (2, 2952, 100, 1)


async def test_ids_and_parents_of_a_plain_table(tmp_path: Path) -> None:
    """A table that calls its spans' ids `id`, and a root that is its own parent."""
    ids = {"a": "0191d2a4-7d3c-7000-8000-00000000000a", "b": "0191d2a4-7d3c-7000-8000-00000000000b"}
    rows = [span("a", "a", 1476, 50), span("b", "a", 1476, 50)]
    named = [{**row, "id": ids[row["span_id"]], "parent_id": ids["a"]} for row in rows]
    for row in named:
        del row["span_id"]
    assert await totals(tmp_path, *named) == (1, 1476, 50, 1)
    assert await totals(tmp_path, span("a", "a", 1476, 50)) == (1, 1476, 50, 0)


async def test_a_root_may_lack_the_key_of_its_parent(tmp_path: Path) -> None:
    root = {name: value for name, value in span("a", None, 2952, 100).items() if name != "parent_id"}
    assert await totals(tmp_path, root, span("b", "a", 1476, 50), span("c", "a", 1476, 50)) == (2, 2952, 100, 1)


async def test_roll_ups_of_roll_ups_through_spans_without_tokens(tmp_path: Path) -> None:
    spans = [
        span("root", None, 30, 3),
        span("agent", "root", 30, 3),
        span("tool", "agent"),
        span("x", "tool", 10, 1),
        span("y", "agent", 20, 2),
        span("lone", "missing", 5, 5),
    ]
    # `tool` says a model and no tokens, so it is a call of which these are not known.
    assert await totals(tmp_path, *spans) == (4, 35, 8, 2)


async def test_a_call_above_another_one_that_has_tokens_of_its_own_stays(tmp_path: Path) -> None:
    assert await totals(tmp_path, span("a", None, 100, 10), span("b", "a", 40, 4)) == (2, 140, 14, 0)


@pytest.mark.parametrize(
    ("above", "beneath"),
    [
        ({"openinference.span.kind": "AGENT"}, {"openinference.span.kind": "LLM"}),
        ({"attributes": {"openinference.span.kind": "CHAIN"}}, {"attributes": {"openinference.span.kind": "LLM"}}),
        ({"gen_ai.operation.name": "invoke_agent"}, {"gen_ai.operation.name": "chat"}),
        ({"mlflow.spanType": "AGENT"}, {"mlflow.spanType": "CHAT_MODEL"}),
        ({"type": "SPAN"}, {"type": "GENERATION"}),
        ({"run_type": "chain"}, {"run_type": "llm"}),
    ],
)
async def test_a_span_that_says_it_is_no_call_is_none(
    tmp_path: Path, above: dict[str, Any], beneath: dict[str, Any]
) -> None:
    spans = [span("a", None, 999, 99, **above), span("b", "a", 10, 1, **beneath), span("c", "a", None, None, **above)]
    assert await totals(tmp_path, *spans) == (1, 10, 1, 2)


async def test_the_reason_is_said(tmp_path: Path) -> None:
    spans = [
        span("a", None, 3, 3),
        span("b", "a", 3, 3),
        span("c", None, None, None, **{"openinference.span.kind": "TOOL"}),
    ]
    result, _ = await imported(write_jsonl(tmp_path / "spans.jsonl", *spans))
    assert sorted(reason.reason for reason in result.reasons) == [
        "a roll-up of its children: its tokens are those of the spans beneath it",
        "no call of a model but a span of kind TOOL",
    ]


async def test_parents_and_children_may_lie_in_different_files(tmp_path: Path) -> None:
    first = write_jsonl(tmp_path / "a.jsonl", span("a", None, 20, 2))
    second = write_jsonl(tmp_path / "b.jsonl", span("b", "a", 20, 2))
    result, calls = await imported([first, second])
    assert (len(calls), result.rejected) == (1, 1)


async def test_a_column_called_type_is_a_kind_of_span_only_in_a_trace(tmp_path: Path) -> None:
    row = AT_NOON | {"prompt_tokens": 1, "completion_tokens": 1, "type": "agent"}
    assert (await imported(write_jsonl(tmp_path / "a.jsonl", row)))[0].stored == 1


@pytest.mark.proof
@given(
    parents=st.lists(st.integers(-1, 12), min_size=1, max_size=10),
    tokens=st.lists(st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=10, max_size=10),
)
@settings(max_examples=trials(13, 500), deadline=None)
def test_sums_are_those_of_the_nearest_spans_with_tokens(
    parents: list[int], tokens: list[tuple[int, int] | None]
) -> None:
    """Also with parents that are missing and with circles; compared with a walk downwards from each span."""
    spans = Spans()
    for number, parent in enumerate(parents):
        spans.add(number, None if parent < 0 else parent, tokens[number])

    def nearest(above: int, seen: frozenset[int]) -> list[tuple[int, int]]:
        found = []
        for child, parent in enumerate(parents):
            if parent == above and child not in seen:
                if (counts := tokens[child]) is not None:
                    found.append(counts)
                else:
                    found += nearest(child, seen | {child})
        return found

    for number in range(len(parents)):
        if (own := tokens[number]) is not None:
            beneath = nearest(number, frozenset())
            total = tuple(map(sum, zip(*beneath, strict=True))) if beneath else None
            assert spans.is_roll_up(number, own) == (total == own and own != (0, 0))
    spans.close()
