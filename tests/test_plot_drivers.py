"""The pictures of slices: drawn from small frames that stand here."""

from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

from mofa_usage.analysis import Breakdown
from mofa_usage.errors import UsageError
from mofa_usage.plots import draw, drivers_of, slow_drivers_of

_SLICES = pl.DataFrame(
    {
        "model_name": ["gpt-4o", None, None],
        "labels.feature": ["search", "(none)", "<b>chat</b>"],
        "explained": [1.25, 0.5, -0.3],
        "cost_change": [Decimal("120.11"), Decimal(48), Decimal(-29)],
        "calls_before": [10, 20, 3000],
        "calls_after": [1200, 30, 1000],
        "has_missing": [False, True, False],
        "currency": ["USD"] * 3,
    }
)


def test_what_explains_a_change_is_a_ranked_list() -> None:
    figure = drivers_of(_SLICES)
    written = [note.text for note in figure.layout.annotations]
    assert written[:2] == ["<b>gpt-4o in search</b>", "125.0% · 1,200 calls"]
    assert written[3] == "50.0% · 30 calls"
    assert written[4:] == ["<b>&lt;b&gt;chat&lt;/b&gt;</b>", "-30.0% · 3,000 calls"]
    assert [trace.x[0] for trace in figure.data] == [1.25, 0.5, -0.3]
    assert figure.layout.xaxis.range[0] < -0.3
    assert "$120.11" in figure.data[0].hovertext[0]
    assert "top 2 of 3" in drivers_of(_SLICES, top=2).layout.title.subtitle.text


def test_no_slices_are_said() -> None:
    for figure in (drivers_of(_SLICES.head(0)), slow_drivers_of(_SLOW.head(0))):
        assert [note.text for note in figure.layout.annotations] == ["No slice stands out"]


_SLOW = pl.DataFrame(
    {"model_name": ["o3"], "slow_share": [0.6], "call_share": [0.1], "lift": [6.0], "slow_calls": [60]}
)


def test_slow_slices_stand_beside_their_part_of_all_calls() -> None:
    figure = draw(_SLOW, "slow_drivers_of")
    assert [note.text for note in figure.layout.annotations] == ["<b>o3</b>", "60.0% · 60 slow calls"]
    assert list(figure.data[1].x) == [0.1]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UsageError, match=r"usage\.drivers"):
        drivers_of(_SLOW)
    with pytest.raises(UsageError, match=r"usage\.slow_drivers"):
        slow_drivers_of(_SLICES)


def test_a_table_leaves_any_value_empty() -> None:
    table = str(Breakdown.of(_SLICES, replace(Breakdown(_SLICES).roles, question="drivers")))
    assert "(none)" in table.splitlines()[3]
    assert "(none)" not in table.splitlines()[2]
