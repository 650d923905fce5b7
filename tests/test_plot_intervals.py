"""Figures show how sure values are: whiskers at bars and marks, bands along lines, words elsewhere."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from plotly.graph_objects import Figure

from mofa_usage.analysis import Breakdown, breakdown
from tests.plain_analysis import call, polars_frame
from tests.test_analysis_intervals import T

RATES = pl.DataFrame(
    {
        "model_name": ["a", "b", "<c>"],
        "success_rate": [0.9, 0.5, None],
        "success_rate_low": [0.8, 0.3, None],
        "success_rate_high": [0.95, 0.7, None],
        "calls": [50, 20, 0],
    }
)
SLOW = pl.DataFrame(
    {
        "model_name": ["a", "b"],
        "calls": [200, 50],
        "latency_p50": [100.0, 200.0],
        "latency_p50_low": [90.0, 150.0],
        "latency_p50_high": [110.0, 260.0],
        "latency_p95": [300.0, 500.0],
        "latency_p95_low": [250.0, 400.0],
        "latency_p95_high": [390.0, None],
    }
)


def days(groups: int, unknown: int | None = None) -> pl.DataFrame:
    """A p95 for each of five days, the third of which is missing, and of the day `unknown` without an upper end."""
    rows = [
        {
            "day": date(2026, 5, 1) + timedelta(days=day),
            "model_name": f"m{group}",
            "calls": 100,
            "latency_p95": 500.0 + group,
            "latency_p95_low": 400.0,
            "latency_p95_high": None if day == unknown else 700.0,
        }
        for group in range(groups)
        for day in (0, 1, 3, 4)
    ]
    return pl.DataFrame(rows)


def notes(figure: Figure) -> str:
    return str(figure.layout.title.subtitle.text).replace("<br>", " ").rstrip(" \u200b")


def bands(figure: Figure) -> list[Any]:
    return [trace for trace in figure.data if trace.type == "scatter" and trace.fill == "toself"]


def test_bars_have_whiskers() -> None:
    figure = Breakdown(RATES).draw("by_dimension", theme="dark")
    whiskers = [trace.error_x for trace in figure.data]
    assert [one.array for one in whiskers[:2]] == [(pytest.approx(0.05),), (pytest.approx(0.2),)]
    assert [one.arrayminus for one in whiskers[:2]] == [(pytest.approx(0.1),), (pytest.approx(0.2),)]
    assert whiskers[2].array is None  # nothing is known of it
    assert notes(figure) == "whiskers: interval · not drawn: Calls"  # nobody said at which level
    assert "Success rate: 90.0% (80.0% to 95.0%)" in figure.data[0].hovertext[0]
    # They are in the colour of the text, which the template has.
    assert whiskers[0].color is None
    assert figure.layout.template.data.bar[0].error_x.color == "#E8EAEE"


def test_an_end_that_is_unknown_is_open() -> None:
    figure = Breakdown(SLOW.drop("^latency_p50.*$")).draw("by_dimension", measure="latency_p95")
    assert "whiskers: interval, open where calls are too few" in notes(figure)
    (sign,) = (trace for trace in figure.data if trace.type == "scatter")
    assert (sign.text, sign.x, sign.textposition) == (("▸",), (500.0,), "middle right")
    assert figure.data[0].error_x.arrayminus == (100.0,)  # b, the slowest, is first
    assert figure.data[0].error_x.array == (0.0,)
    assert "Latency p95: 500 ms (at least 400 ms)" in figure.data[0].hovertext[0]


def test_percentiles_on_one_line_have_whiskers_below() -> None:
    figure = Breakdown(SLOW).draw("latency_distribution")
    whiskers = [trace for trace in figure.data if trace.error_x.array is not None]
    assert [(trace.x[0], trace.y[0], trace.error_x.array[0]) for trace in whiskers] == [
        (200.0, 0.25, 60.0),
        (500.0, 0.25, 0.0),
        (100.0, 1.25, 10.0),
        (300.0, 1.25, 90.0),
    ]
    assert sum(trace.mode == "text" for trace in figure.data) == 1
    assert "open where calls are too few" in notes(figure)
    assert "whiskers" not in notes(Breakdown(SLOW.drop("^.*_(low|high)$")).draw("latency_distribution"))


@pytest.mark.parametrize(("groups", "count"), [(1, 1), (3, 3), (6, 0)])
def test_few_lines_have_bands(groups: int, count: int) -> None:
    figure = Breakdown(days(groups)).draw("over_time", measure="latency_p95")
    found = bands(figure)
    assert len(found) == count
    assert list(figure.data[:count]) == found  # below all lines
    if count:
        assert "bands: interval" in notes(figure)
        # A shape for the two days before the gap, and one for those behind it.
        assert found[0].y == (400, 400, 700, 700, 400, None) * 2
        assert found[0].legendgroup in {trace.legendgroup for trace in figure.data[count:]}
    else:
        assert "in hover texts: interval" in notes(figure)
    assert any("(400 ms to 700 ms)" in text for text in figure.data[-1].hovertext)


def test_a_band_breaks_where_calls_are_too_few() -> None:
    figure = Breakdown(days(1, unknown=1)).draw("over_time", measure="latency_p95")
    assert bands(figure)[0].y == (400, 700, 400, None, 400, 400, 700, 700, 400, None)
    assert "bands: interval, where calls are enough" in notes(figure)


def test_answers_say_the_level() -> None:
    rows = [call(T, status="failed" if k < 5 else "success", latency_ms=k) for k in range(60)]
    native = polars_frame(rows)
    for by, kind in (("model_name", None), ("day", None), ((), None), ((), "headlines")):
        answer = breakdown(native, by, ["success_rate", "latency_p50", "latency_p95"], intervals=0.975)
        figure = answer.draw(kind)
        assert "97.5% interval" in notes(figure)
        assert ", low" not in figure.to_json()  # no end is drawn as a measure of its own
    answer = breakdown(native, (), ["success_rate", "latency_p95"], intervals=0.9)
    (rate, slow) = (annotation.text for annotation in answer.draw().layout.annotations[1::2])
    assert rate == "<b>91.7%</b> (83.9% to 95.9%)"
    assert slow == "<b>56 ms</b> (53 ms to 59 ms)"


def test_an_end_alone_is_a_measure_like_others() -> None:
    figure = Breakdown(RATES.drop("success_rate", "success_rate_high", "calls")).draw()
    assert figure.layout.title.text == "Success rate, low by model"
