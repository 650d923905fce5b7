"""Rows of bars: what is named can be compared, values line up, and rates say how many calls they are of."""

from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from plotly.graph_objects import Figure

from mofa_usage import plots, theme

LONG = "projects/x/locations/us-central1/publishers/anthropic/models/claude-opus-4-5@2025110"
STATUSES = ("failed", "timeout", "rate_limited", "cancelled")


def costs(amounts: dict[str, str | None], currency: str = "USD") -> pl.DataFrame:
    values = [None if amount is None else Decimal(amount) for amount in amounts.values()]
    return pl.DataFrame(
        {"model_name": list(amounts), "currency": currency, "cost": values},
        schema_overrides={"cost": pl.Decimal(38, 10)},
    )


def endings(rows: dict[Any, tuple[int, int, int, int, int]], dimension: str = "model_name") -> pl.DataFrame:
    """Of each group its calls, and how many failed, timed out, were rate limited, were cancelled."""
    columns = {dimension: list(rows), "calls": [row[0] for row in rows.values()]}
    columns["success_count"] = [row[0] - sum(row[1:]) for row in rows.values()]
    return pl.DataFrame(
        columns | {f"{name}_count": [row[1 + i] for row in rows.values()] for i, name in enumerate(STATUSES)}
    )


def written(figure: Figure) -> dict[str, str]:
    """The value that stands above each bar, by name, from above to below."""
    texts = [annotation.text for annotation in figure.layout.annotations]
    return {
        name.removeprefix("<b>").removesuffix("</b>"): text for name, text in zip(texts[::2], texts[1::2], strict=True)
    }


# What is folded


def test_a_bar_that_dwarfs_the_named_ones_is_cut_and_says_so() -> None:
    figure = plots.cost_by(costs({f"m{index:03d}": str(100 - index / 4) for index in range(200)}))
    rest = figure.data[-1]
    assert rest.x[0] == pytest.approx(sum(100 - index / 4 for index in range(12, 200)))
    assert list(figure.layout.xaxis.range) == [0, pytest.approx(115)]
    assert [shape.y0 > 12 - 0.5 for shape in figure.layout.shapes] == [True, True]
    assert all(shape.line.color is None for shape in figure.layout.shapes)  # the template's, the background's
    assert "the bar of other is cut" in figure.layout.title.subtitle.text
    assert written(figure)["other (188)"] == f"${rest.x[0]:,.2f} · {rest.x[0] / 15025:.1%}"


def test_a_bar_that_does_not_dwarf_them_is_whole() -> None:
    figure = plots.cost_by(costs({f"m{index:03d}": "100" if index < 12 else "1" for index in range(100)}))
    assert figure.data[-1].x[0] == 88
    assert figure.layout.xaxis.range is None
    assert not figure.layout.shapes
    assert "cut" not in figure.layout.title.subtitle.text


def test_a_rest_of_the_analysis_is_last_and_cut_too() -> None:
    frame = pl.DataFrame(
        {"model_name": ["other", "a", "other"], "calls": [5, 9, 900], "is_other": [False, False, True]}
    )
    figure = plots.by_dimension(frame)
    assert [trace.x[0] for trace in figure.data] == [9, 5, 900]
    assert [trace.marker.color == theme.OTHER.color for trace in figure.data] == [False, False, True]
    assert figure.layout.xaxis.range[1] < 12


# Values


def test_money_lines_up_and_shares_do() -> None:
    texts = list(written(plots.cost_by(costs({"a": "1234.5", "b": "12.25", "c": "0.5"}))).values())
    assert texts == ["$1,234.50 · 99.0%", "$12.25 · \u20071.0%", "$0.50 · <0.1%"]
    assert "$0.5" not in texts


def test_free_is_not_unknown() -> None:
    texts = written(plots.cost_by(costs({"a": "2", "local": "0", "unpriced": None})))
    assert texts == {"a": "$2.00 · 100%", "local": "free", "unpriced": "unknown"}
    free = plots.cost_by(costs({"a": "0", "b": "0", "c": None}))
    assert [annotation.text for annotation in free.layout.annotations] == ["Free: no call with a price cost anything"]
    assert not free.data


def test_a_rate_of_few_calls_says_of_how_many() -> None:
    frame = pl.DataFrame(
        {"agent_name": ["a", "b", "c", "d"], "success_rate": [0.5, 1.0, 0.875, None], "calls": [2, 1, 400, 3]}
    )
    assert written(plots.by_dimension(frame, "success_rate")) == {
        "b": "100% of 1 call",
        "c": "87.5%",
        "a": "50% of 2 calls",
        "d": "–",  # noqa: RUF001
    }
    assert written(plots.by_dimension(frame.drop("calls"), "success_rate"))["a"] == "50.0%"


def test_one_duration_that_flattens_the_others_makes_marks_on_a_logarithmic_axis() -> None:
    frame = pl.DataFrame({"model_name": list("abcdef"), "latency_p95": [320.0, 410.0, 500.0, 700.0, 900.0, 95000.0]})
    figure = plots.by_dimension(frame, "latency_p95")
    assert figure.layout.xaxis.type == "log"
    assert "log scale" in figure.layout.xaxis.title.text
    assert [(trace.type, trace.x[0]) for trace in figure.data][:2] == [("scatter", 95000.0), ("scatter", 900.0)]
    assert written(figure)["f"] == "95.00 s"
    plain = plots.by_dimension(frame.head(5), "latency_p95")
    assert plain.layout.xaxis.type is None
    assert {trace.type for trace in plain.data} == {"bar"}
    assert written(plain)["a"] == "320 ms"


def test_names_are_cut_alike_in_all_panels() -> None:
    frames = [costs({LONG + "1": "3", LONG + "2": "1"}, "EUR"), costs({LONG + "1": "123456.78", "b": "1"})]
    figure = plots.cost_by(pl.concat(frames))
    names = [annotation.text for annotation in figure.layout.annotations][::2]
    assert len(names) == 4
    assert names[0] in names[2:]
    assert len(set(names)) == 3
    assert all("…" in name for name in names[:2])


# Percentiles


def test_weekdays_stand_in_their_order_under_their_names() -> None:
    frame = pl.DataFrame({"weekday": [3, 1, 7], "calls": [9, 1, 5], "latency_p50": [5.0, 1.0, 9.0]})
    assert list(written(plots.latency_distribution(frame, "weekday"))) == ["Mon", "Wed", "Sun"]
    frame = endings({5: (10, 1, 0, 0, 0), 2: (10, 9, 0, 0, 0)}, "weekday")
    assert list(written(plots.failures_by(frame, "weekday"))) == ["Tue", "Fri"]


def test_any_percentiles_have_marks_of_their_own() -> None:
    frame = pl.DataFrame({"model_name": ["a"], "ttft_p10": [100.0], "ttft_p75": [300.0], "ttft_p99.9": [900.0]})
    figure = plots.ttft_distribution(frame)
    keys = {trace.name: trace.marker.symbol for trace in figure.data if trace.showlegend is not False}
    assert list(keys) == ["p10", "p75", "p99.9"]
    assert len(set(keys.values())) == 3
    thin, thick = (trace for trace in figure.data if trace.mode == "lines")
    assert (list(thin.x), list(thick.x)) == ([100.0, 900.0], [100.0, 300.0])
    assert written(figure) == {"a": "p10 100 ms · p99.9 900 ms"}


# What did not succeed


def test_users_cancellations_are_no_errors_and_stand_last() -> None:
    figure = plots.failures_by(endings({"a": (100, 1, 2, 3, 4), "b": (10, 0, 0, 0, 5)}))
    assert figure.layout.title.text == "Unsuccessful calls by model"
    assert [trace.name for trace in figure.data] == ["failed", "timed out", "rate limited", "cancelled by the user"]
    assert [trace.marker.color for trace in figure.data] == [theme.STATUS_STYLES[status].color for status in STATUSES]
    assert written(figure) == {"a": "10 of 100 · 10.0%", "b": "5 of 10 · 50.0%"}
    assert "15 of 110 calls" in figure.layout.title.subtitle.text
    assert "6 errors, 9 cancelled by users" in figure.layout.title.subtitle.text


def test_a_status_that_nothing_had_is_not_in_the_key_and_nothing_at_all_is_said() -> None:
    figure = plots.failures_by(endings({"a": (100, 1, 0, 0, 0), "b": (50, 0, 0, 0, 0)}))
    assert [trace.name for trace in figure.data] == ["failed"]
    assert written(figure) == {"a": "1 of 100 · 1.0%", "b": "0 of 50 · \u2007\u20070%"}
    fine = plots.failures_by(endings({"a": (100, 0, 0, 0, 0)}))
    assert [annotation.text for annotation in fine.layout.annotations] == ["All 100 calls succeeded"]


def test_the_rest_of_what_failed_keeps_its_parts_when_it_is_cut() -> None:
    figure = plots.failures_by(endings({f"m{index:02d}": (1000, 30, 0, 0, 10) for index in range(40)}))
    failed, cancelled = figure.data
    assert [trace.x[0] for trace in (failed, cancelled)] == [30, 10]
    assert failed.x[-1] + cancelled.x[-1] == pytest.approx(figure.layout.xaxis.range[1])
    assert failed.x[-1] == pytest.approx(3 * cancelled.x[-1])
    assert written(figure)["other (28)"] == "1,120 of 28,000 · 4.0%"
    assert "failed: 840" in failed.hovertext[-1]
