"""What providers' consoles export is recognised by an import, and none of its sums becomes a call."""

from pathlib import Path

import pytest

from tests.imports import imported, write_jsonl

SAMPLES = Path(__file__).parent / "bill_samples"


@pytest.mark.parametrize(
    ("name", "read_as", "requests"),
    [
        ("openai_usage.csv", "OpenAI usage and costs", "10 "),
        ("openai_costs.csv", "OpenAI usage and costs", ""),
        ("openai_usage.json", "OpenAI usage and costs", "14 "),
        ("openai_costs.json", "OpenAI usage and costs", ""),
        ("anthropic_usage.csv", "Anthropic usage and costs", ""),
        ("anthropic_costs.csv", "Anthropic usage and costs", ""),
        ("anthropic_usage.json", "Anthropic usage and costs", ""),
        ("anthropic_costs.json", "Anthropic usage and costs", ""),
    ],
)
async def test_sums_are_left_out_with_their_number_of_requests(name: str, read_as: str, requests: str) -> None:
    result, calls = await imported(SAMPLES / name)
    assert (calls, result.stored, result.rejected, result.format) == ([], 0, 0, read_as)
    (why,) = result.left_out
    assert why.startswith(f"sums of {requests}requests, ")
    assert "mofa-usage reconcile" in why


async def test_sums_beside_calls_do_not_keep_these_from_being_stored(tmp_path: Path) -> None:
    own = tmp_path / "calls.csv"
    own.write_text("timestamp,model,prompt_tokens,completion_tokens\n2026-05-01T10:00:00Z,gpt-4,10,5\n")
    result, calls = await imported([own, SAMPLES / "openai_usage.csv"])
    assert (len(calls), result.stored, sum(result.left_out.values())) == (1, 1, 2)


async def test_a_bucket_whose_results_are_no_list_counts_no_requests(tmp_path: Path) -> None:
    page = {"object": "page", "data": [{"object": "bucket", "results": 7}], "has_more": False}
    result, calls = await imported(write_jsonl(tmp_path / "page.jsonl", page, page))
    assert (calls, result.rejected, len(result.left_out)) == ([], 0, 1)
