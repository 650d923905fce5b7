"""Which slices the slowest calls are in, compared with plain counts of rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mofa_usage.analysis import Breakdown
from mofa_usage.changes import slow_drivers
from mofa_usage.errors import UsageError
from tests.plain_analysis import Row, call, polars_frame, relation
from tests.proofs import trials

_NOW = datetime(2026, 5, 2, tzinfo=UTC)
_SLICED = ("model_name", "labels.feature")


def test_the_slice_with_the_slow_calls_is_first() -> None:
    rows = [_call("ab"[at % 2], ("search", None)[at % 4 // 2], 100 + at % 50) for at in range(2000)]
    rows += [_call("a", None, 5000 + at) for at in range(40)]
    answer = _asked(rows, 0.99)
    row = answer.row(0, named=True)
    assert (row["model_name"], row["labels.feature"], row["has_missing"]) == ("a", "(none)", True)
    assert row["slow_share"] == 1.0
    assert row["lift"] == pytest.approx(2040 / 540)
    assert 1 < row["lift_low"] < row["lift"]
    assert answer.height == 1
    (whole,) = answer.totals[0].rows(named=True)
    latencies = [one["latency_ms"] for one in rows]
    assert whole["slow_from_ms"] == pytest.approx(float(np.quantile(latencies, 0.99)))
    assert whole["slow_calls"] == sum(one >= np.quantile(latencies, 0.99) for one in latencies)
    assert answer.sentence.startswith("Model a in no feature has 100% of the 21 calls that took")


def test_few_slow_calls_are_no_cause() -> None:
    rows = [_call("ab"[at % 2], None, 100 + at // 2 % 100) for at in range(2000)]
    rows += [_call("c", None, 100 + at if at > 2 else 9000) for at in range(40)]  # 3 slow ones of 40
    assert _asked(rows, 0.99).is_empty()
    assert _asked(rows, 0.99).sentence.startswith("No slice stands out among the ")


def test_without_latencies_it_says_so() -> None:
    answer = _asked([_call("a", None, None)], 0.99)
    assert answer.is_empty()
    assert answer.sentence == "No call has a latency."
    assert _asked([], 0.99).is_empty()


_kinds = st.tuples(
    st.sampled_from("ab"), st.sampled_from([None, "x", "y"]), st.none() | st.integers(0, 50), st.integers(0, 60)
)


@pytest.mark.proof
@settings(max_examples=trials(5, 75), deadline=None)
@given(
    kinds=st.lists(_kinds, min_size=2, max_size=8),
    quantile=st.sampled_from([0.5, 0.9, 0.99]),
    random=st.randoms(use_true_random=False),
)
def test_numbers_are_those_of_the_rows(kinds: list[Any], quantile: float, random: Any) -> None:
    rows = [_call(model, feature, latency) for model, feature, latency, number in kinds for _ in range(number)]
    answer = _asked(rows, quantile, min_calls=1)
    random.shuffle(rows)
    assert_frame_equal(answer, _asked(rows, quantile, min_calls=1))
    timed = [row for row in rows if row["latency_ms"] is not None]
    limit = np.quantile([row["latency_ms"] for row in timed], quantile) if timed else 0.0
    slow = [row for row in timed if row["latency_ms"] >= limit]
    for found in answer.iter_rows(named=True):
        inside = [row for row in timed if _is_inside(row, found)]
        its_slow = [row for row in slow if _is_inside(row, found)]
        assert (found["slow_calls"], found["latency_calls"]) == (len(its_slow), len(inside))
        assert found["slow_share"] == pytest.approx(len(its_slow) / len(slow))
        assert found["call_share"] == pytest.approx(len(inside) / len(timed))
        lift = Fraction(len(its_slow), len(slow)) / Fraction(len(inside), len(timed))
        assert found["lift"] == pytest.approx(float(lift))
        assert found["lift"] > 1


def _is_inside(row: Row, slice_: Row) -> bool:
    return all(slice_[name] is None or (row[name] or "(none)") == slice_[name] for name in _SLICED)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quantile": 0.2}, "quantile = 0.2"),
        ({"quantile": 1}, "quantile = 1"),
        ({"top": 0}, "top = 0"),
        ({"dimensions": "week"}, "week is a time bucket"),
    ],
)
def test_what_cannot_be_answered_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        slow_drivers(relation(polars_frame([_call("a", None, 1)])), **options)


def _asked(rows: Sequence[Row], quantile: float, **options: Any) -> Breakdown:
    return slow_drivers(relation(polars_frame(rows)), quantile, dimensions=list(_SLICED), **options)


def _call(model: str, feature: str | None, latency: int | None) -> Row:
    return call(_NOW, model_name=model, latency_ms=latency, **{"labels.feature": feature})
