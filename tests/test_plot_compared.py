"""The figure of what stands beside a change of cost: a panel for each measure, before and after, with intervals."""

from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest

from mofa_usage.errors import UsageError
from mofa_usage.plots import draw
from mofa_usage.usage import load_usage
from tests.plain_analysis import polars_frame
from tests.test_change import week

COMPARED: list[dict[str, Any]] = [
    {"measure": "success_rate", "before": 0.9, "before_low": 0.85, "before_high": 0.93, "after": 0.5,
     "after_low": 0.45, "after_high": 0.55, "change": -0.4, "change_low": -0.5, "change_high": -0.3, "unit": None},
    {"measure": "latency_p95", "before": 900.0, "before_low": 800.0, "before_high": None, "after": 950.0,
     "after_low": 850.0, "after_high": None, "change": 50.0, "change_low": None, "change_high": None, "unit": "ms"},
    {"measure": "cost_per_call_EUR", "before": 0.5, "before_low": None, "before_high": None, "after": None,
     "after_low": None, "after_high": None, "change": None, "change_low": None, "change_high": None, "unit": "EUR"},
    {"measure": "ttft_p95", "before": None, "after": None, "unit": "ms"},
]  # fmt: skip


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def marks(figure: go.Figure) -> list[tuple[float | None, Any, Any]]:
    """Each mark with how far its whisker reaches."""
    found = [trace for trace in figure.data if trace.mode == "markers"]
    return [(trace.x[0], (trace.error_x.arrayminus or [0])[0], (trace.error_x.array or [0])[0]) for trace in found]


def test_each_measure_has_a_panel_with_both_sides_and_their_intervals() -> None:
    figure = draw(pl.DataFrame(COMPARED))
    assert [(value, *map(float, ends)) for value, *ends in marks(figure)] == [
        (0.9, pytest.approx(0.05), pytest.approx(0.03)), (0.5, pytest.approx(0.05), pytest.approx(0.05)),
        (900, 100, 0), (950, 100, 0), (0.5, 0, 0), (None, 0, 0),
    ]  # fmt: skip
    assert [trace.text[0].strip() for trace in figure.data if trace.mode == "text"] == ["▸", "▸"]
    assert texts(figure) == [
        "<b>Success rate</b>", "90.0% → <b>50.0%</b>", "<b>Latency p95</b>", "900 ms → 950 ms",
        "<b>Cost per call (EUR)</b>", "EUR 0.50 → unknown",
    ]  # fmt: skip
    notes = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "whiskers: interval, open where calls are too few" in notes
    assert "bold: changed by more than chance" in notes
    assert "unknown: Time to first token p95" in notes


def test_a_currency_without_a_sign_is_said_once() -> None:
    row = {"measure": "cost_per_call_JPY", "before": 0.5, "after": 0.25, "unit": "JPY"}
    assert texts(draw(pl.DataFrame([COMPARED[0], COMPARED[0] | row])))[3] == "JPY 0.50 → <b>0.25</b>"


def test_what_is_beside_a_change_draws_itself() -> None:
    usage = load_usage(polars_frame([*week(0), *week(7)]).drop("price_source", "converted_from"))
    change = usage.explain_change(("2026-04-06", "2026-04-13"), ("2026-04-13", "2026-04-20"))
    figure = change.beside.draw(theme="dark")
    assert "6 to 12 Apr 2026 → 13 to 19 Apr 2026" in figure.layout.title.subtitle.text
    assert {trace.name for trace in figure.data if trace.showlegend} == {"6 to 12 Apr 2026", "13 to 19 Apr 2026"}
    assert texts(figure)[:2] == ["<b>Calls</b>", "14 → 14"]
    assert len(change.beside.head(2).draw().data) == 4
    nothing = usage.explain_change(("2025-04-06", "2025-04-13"), ("2025-04-13", "2025-04-20")).beside
    assert texts(nothing.draw()) == ["No calls in these periods"]


def test_what_cannot_be_drawn_is_said_and_names_are_no_markup() -> None:
    by_hand = pl.DataFrame({"measure": ["<i>mine"], "before": [2], "after": [3]})
    assert texts(draw(by_hand)) == ["<b>&lt;i&gt;mine</b>", "2 → 3"]
    with pytest.raises(UsageError, match=r"needs measure, before, after; the frame has: calls\. Get it by .*\.beside"):
        draw(pl.DataFrame({"calls": [1]}), "before_and_after")
