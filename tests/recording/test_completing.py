"""What is read in a short way is read as in the long one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mofa_usage.recording.completing import _usual
from mofa_usage.tokens import read_tokens

counts = st.one_of(st.integers(-1, 9), st.none(), st.sampled_from([True, 2.0, "3", 2**31]))
PROMPT_PARTS = ["cached_tokens", "audio_tokens", "cache_write_tokens", "text_tokens"]
COMPLETION_PARTS = ["reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens", "x"]
usages = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": counts,
        "completion_tokens": counts,
        "total_tokens": counts,
        "prompt_tokens_details": st.none() | st.dictionaries(st.sampled_from(PROMPT_PARTS), counts),
        "completion_tokens_details": st.none() | st.dictionaries(st.sampled_from(COMPLETION_PARTS), counts),
        "cost": counts,
    },
)


@st.composite
def agreeing(draw: st.DrawFn) -> dict[str, Any]:
    """Most that are drawn at random contradict themselves."""
    prompt, completion = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**draw(usages), **counted}


@given(usages | agreeing())
def test_usual_counts_are_those_of_the_long_way(usage: dict[str, Any]) -> None:
    usual = _usual(usage)
    if usual is not None:
        assert usual == read_tokens({"usage": usage})


def test_usual_counts_are_found() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": None}}
    for one in (usage, {**usage, **details}):
        assert _usual(one) is not None
