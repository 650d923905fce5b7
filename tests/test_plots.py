"""Pictures from frames written by hand: what is drawn is what the frame says, in colours and words to be trusted."""

import math
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from plotly.graph_objects import Figure
from plotly.io import templates

from mofa_usage import UsageError, plots, theme, wording
from mofa_usage.measures import MEASURES

MONEY = pl.Decimal(38, 10)
DAY = date(2026, 5, 1)
EVIL = "<img src=x onerror=alert(1)> %{x} & co\n"
LONG = "accounts/fireworks/models/llama-v3p1-405b-instruct-2025-10-01"


def cost_frame(rows: list[tuple[Any, ...]], *dimensions: str) -> pl.DataFrame:
    """Rows of (dimensions..., currency, cost as text or None, calls, priced calls)."""
    columns = (*dimensions, "currency", "cost", "calls", "priced_calls")
    parsed = [(*row[:-3], None if row[-3] is None else Decimal(row[-3]), *row[-2:]) for row in rows]
    return pl.DataFrame(parsed, schema=columns, orient="row", infer_schema_length=None).with_columns(
        pl.col("cost").cast(MONEY)
    )


def daily(models: int, days: int = 3) -> pl.DataFrame:
    rows = [
        (DAY + timedelta(days=day), f"model-{model:03d}", "USD", f"{1000 - model}.0000000001", 10, 9)
        for day in range(days)
        for model in range(models)
    ]
    return cost_frame(rows, "day", "model_name")


def latency_frame(values: list[Any], dimension: str = "day", prefix: str = "latency") -> pl.DataFrame:
    return pl.DataFrame(
        {
            dimension: values,
            "calls": [100 - index for index in range(len(values))],
            f"{prefix}_p50": [100.0 + index for index in range(len(values))],
            f"{prefix}_p95": [400.0 + index for index in range(len(values))],
            f"{prefix}_p99": [900.0 + index for index in range(len(values))],
            f"{prefix}_max": [9999.0 for _ in values],
        },
        schema_overrides={} if values else {dimension: pl.Date},
    )


def success_frame(days: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "day": [DAY + timedelta(days=day) for day in range(days)],
            "calls": [100] * days,
            "success_rate": [0.9] * days,
            "success_count": [90] * days,
            "failed_count": [5] * days,
            "timeout_count": [3] * days,
            "rate_limited_count": [2] * days,
            "cancelled_count": [0] * days,
        },
        schema_overrides={} if days else {"day": pl.Date},
    )


def week_frame() -> pl.DataFrame:
    return pl.DataFrame({"hour_of_day": [0, 13, 23], "weekday": [1, 5, 7], "calls": [1, 500, 20]})


def bins_frame() -> pl.DataFrame:
    return pl.DataFrame({"bin_start": [0, 10, 100], "bin_end": [10, 100, 1000], "calls": [2, 0, 7]})


EVERY: dict[str, tuple[Callable[..., Figure], pl.DataFrame]] = {
    "cost_over_time": (plots.cost_over_time, daily(3)),
    "over_time": (plots.over_time, daily(3).select("day", "model_name", "calls")),
    "cost_by": (plots.cost_by, daily(3, 1).drop("day")),
    "by_dimension": (plots.by_dimension, pl.DataFrame({"agent_name": ["a", None], "sessions": [3, 5]})),
    "latency_over_time": (plots.latency_over_time, latency_frame([DAY, DAY + timedelta(days=1)])),
    "latency_distribution": (plots.latency_distribution, latency_frame(["a", "b"], "model_name")),
    "histogram": (plots.latency_distribution, bins_frame()),
    "ttft_over_time": (plots.ttft_over_time, latency_frame([DAY], prefix="ttft")),
    "ttft_distribution": (plots.ttft_distribution, latency_frame(["a"], "model_name", "ttft")),
    "token_rate": (
        plots.token_rate,
        pl.DataFrame({"day": [DAY], "token_rate_p50": [45.5], "token_rate_overall": [40.0]}),
    ),
    "success_over_time": (plots.success_over_time, success_frame()),
    "failures_by": (plots.failures_by, success_frame().with_columns(model_name=pl.Series(["a", "b", "c"])).drop("day")),
    "heatmap": (plots.heatmap, week_frame()),
    "calendar": (plots.heatmap, daily(1).drop("model_name")),
}

every_figure = pytest.mark.parametrize("name", EVERY)


def texts(figure: Figure) -> list[str]:
    """Everything that Plotly reads as text with markup."""
    found = [annotation.text for annotation in figure.layout.annotations]
    found += [figure.layout.title.text, figure.layout.title.subtitle.text or ""]
    for trace in figure.data:
        hover = trace.hovertext if trace.hovertext is not None else []
        found += [trace.name or "", *([text for line in hover for text in line] if trace.type == "heatmap" else hover)]
    return found


def bars(figure: Figure) -> dict[str, float | None]:
    """The rows of a figure of bars from above to below, by name."""
    return {trace.name: trace.x[0] for trace in figure.data}


def labels(figure: Figure) -> str:
    """The texts in a figure; of rows a name and its value, which stand at the two ends."""
    return " | ".join(annotation.text for annotation in figure.layout.annotations)


# What is drawn is what the frame says


def test_stacked_bars_hold_the_amounts_of_the_frame() -> None:
    figure = plots.cost_over_time(daily(3))
    assert [trace.name for trace in figure.data] == ["model-000", "model-001", "model-002"]
    assert {trace.type for trace in figure.data} == {"bar"}
    assert figure.layout.template.layout.barmode == "stack"
    for index, trace in enumerate(figure.data):
        assert list(trace.x) == [DAY + timedelta(days=day) for day in range(3)]
        assert list(trace.y) == pytest.approx([1000 - index] * 3)


def test_folding_keeps_the_sum_and_takes_the_smallest() -> None:
    frame = daily(200)
    figure = plots.cost_over_time(frame)
    assert len(figure.data) == 9
    assert figure.data[-1].name == "other (192)"
    assert figure.data[-1].marker.color == theme.OTHER.color
    assert [trace.name for trace in figure.data[:2]] == ["model-000", "model-001"]
    drawn = sum(sum(trace.y) for trace in figure.data)
    assert drawn == pytest.approx(float(frame["cost"].sum()), rel=1e-12)


def test_one_group_is_never_folded_alone() -> None:
    assert [trace.name for trace in plots.cost_over_time(daily(9)).data][-1] == "model-008"
    assert plots.cost_over_time(daily(10)).data[-1].name == "other (2)"


def test_exact_money_is_in_the_labels() -> None:
    frame = cost_frame(
        [("big", "USD", "1234567.8912345678", 3, 3), ("tiny", "USD", "0.0000123449", 1, 1)], "model_name"
    )
    text = labels(plots.cost_by(frame))
    assert "<b>big</b> | $1,234,567.8912 · >99.9%" in text
    assert "<b>tiny</b> | <$0.0001 · \u2007<0.1%" in text
    assert "Cost: $0.0000123 · " in plots.cost_by(frame).data[1].hovertext[0]


def test_bars_are_sorted_with_amount_and_share_and_the_tail_last() -> None:
    frame = cost_frame([(f"m{index:02d}", "USD", str(index), 1, 1) for index in range(1, 31)], "model_name")
    figure = plots.cost_by(frame)
    drawn = bars(figure)
    assert list(drawn) == [*(f"m{index}" for index in range(30, 18, -1)), "other (18)"]
    assert list(drawn.values()) == [*range(30, 18, -1), sum(range(1, 19))]
    assert [trace.y[0] for trace in figure.data] == list(range(13))
    assert f"<b>m30</b> | $30.00 · \u2007{30 / 465:.1%}" in labels(figure)
    assert "other (18)" in labels(figure)
    assert "top 12 of 30" in figure.layout.title.subtitle.text


def test_currencies_are_never_added() -> None:
    rows = [
        (DAY, "a", "USD", "1", 1, 1),
        (DAY, "a", "EUR", "20", 5, 5),
        (DAY, "b", "EUR", "300", 5, 5),
    ]
    figure = plots.cost_over_time(cost_frame(rows, "day", "model_name"))
    drawn = {(trace.yaxis, trace.name): list(trace.y) for trace in figure.data}
    assert drawn == {("y", "b"): [300.0], ("y", "a"): [20.0], ("y2", "a"): [1.0]}  # EUR has more calls
    assert figure.layout.yaxis.title.text == "Cost (EUR)"
    assert figure.layout.yaxis2.title.text == "Cost (USD)"
    assert [trace.showlegend for trace in figure.data if trace.name == "a"] == [True, False]
    assert "EUR 320.00 in total · $1.00 in total" in figure.layout.title.subtitle.text
    by = plots.cost_by(cost_frame(rows, "day", "model_name"), "model_name")
    assert [(trace.yaxis, trace.name, trace.x[0]) for trace in by.data] == [
        ("y", "b", 300.0),
        ("y", "a", 20.0),
        ("y2", "a", 1.0),
    ]
    assert "EUR 300.00 · 93.8%" in labels(by)
    assert "$1.00 · 100%" in labels(by)


def test_an_unknown_cost_is_a_gap_and_not_zero() -> None:
    rows = [(DAY, "a", "USD", "2", 4, 4), (DAY + timedelta(days=1), "a", "USD", None, 4, 0)]
    figure = plots.cost_over_time(cost_frame(rows, "day", "model_name"))
    assert list(figure.data[0].y) == [2.0, None]
    assert "Cost: unknown" in figure.data[0].hovertext[1]
    assert "50.0% of calls priced" in figure.layout.title.subtitle.text
    by = plots.cost_by(cost_frame([("a", "USD", "2", 4, 4), ("b", "USD", None, 4, 0)], "model_name"))
    assert "<b>b</b> | unknown" in labels(by)
    assert bars(by) == {"a": 2.0, "b": None}


def test_the_sum_of_unknown_costs_is_unknown() -> None:
    rows = [(DAY, "a", "x", "USD", "2", 1, 1), (DAY, "a", "y", "USD", None, 1, 0)]
    rows += [(DAY + timedelta(days=1), "a", agent, "USD", None, 1, 0) for agent in ("x", "y")]
    frame = cost_frame(rows, "day", "model_name", "agent_name")
    assert list(plots.cost_over_time(frame, "model_name").data[0].y) == [2.0, None]
    unknown = plots.cost_by(frame.with_columns(cost=pl.when(pl.col("agent_name") == "x").then("cost")), "agent_name")
    assert bars(unknown) == {"x": 2.0, "y": None}
    assert "<b>y</b> | unknown" in labels(unknown)


def test_a_missing_period_is_a_gap() -> None:
    days = [DAY, DAY + timedelta(days=1), DAY + timedelta(days=4)]
    figure = plots.latency_over_time(latency_frame(days))
    p95 = next(trace for trace in figure.data if trace.name == "p95")
    assert list(p95.y) == [400.0, 401.0, None, 402.0]
    assert p95.connectgaps is False
    calls = plots.over_time(pl.DataFrame({"day": days, "calls": [1, 2, 3]}))
    assert list(calls.data[0].x) == days


@pytest.mark.parametrize(
    ("bucket", "values"),
    [
        ("month", [date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)]),
        ("week", [date(2026, 5, 4), date(2026, 5, 11)]),
        ("hour", [datetime(2026, 5, 1, 0), datetime(2026, 5, 1, 1)]),
    ],
)
def test_neighbouring_periods_have_no_gap(bucket: str, values: list[date]) -> None:
    figure = plots.latency_over_time(latency_frame(values, bucket))
    assert None not in figure.data[0].y


def test_percentiles_over_time_leave_out_the_maximum_but_tell_it() -> None:
    figure = plots.latency_over_time(latency_frame([DAY]))
    assert [trace.name for trace in figure.data] == ["p99", "p95", "p50"]
    assert "Longest latency: 10.0 s" in figure.data[0].hovertext[0]
    assert figure.layout.yaxis.title.text == "Latency"
    assert figure.layout.yaxis.ticktext[:3] == ("0", "200 ms", "400 ms")


def test_a_percentile_of_many_groups_is_a_line_each_and_never_folded() -> None:
    rows = {"day": [DAY] * 20, "model_name": [f"m{i:02d}" for i in range(20)], "calls": list(range(20, 0, -1))}
    figure = plots.latency_over_time(pl.DataFrame({**rows, "latency_p95": [float(i) for i in range(20)]}))
    assert [trace.name for trace in figure.data] == [f"m{i:02d}" for i in range(8)]
    assert [trace.y[0] for trace in figure.data] == list(range(8))
    assert "8 of 20 shown" in figure.layout.title.subtitle.text


def test_what_does_not_add_up_is_not_added() -> None:
    frame = pl.DataFrame({"day": [DAY, DAY], "model_name": ["a", "b"], "latency_p95": [1.0, 2.0]})
    with pytest.raises(UsageError, match="Latency p95 does not add up, but the frame has 2 rows"):
        plots.over_time(frame, "latency_p95", by="day")
    with pytest.raises(UsageError, match="does not add up"):
        plots.by_dimension(frame.with_columns(agent_name=pl.lit("x")).drop("day"), "latency_p95", "agent_name")
    with pytest.raises(UsageError, match="does not add up"):
        plots.heatmap(frame.select("day", "latency_p95"))


def test_ranges_hold_the_percentiles_of_each_group() -> None:
    figure = plots.latency_distribution(latency_frame(["slow", "fast"], "model_name"))
    points = {trace.name: list(trace.x) for trace in figure.data if trace.mode == "markers" and trace.x[0] is not None}
    assert points == {"p50": [101.0, 100.0], "p95": [401.0, 400.0], "p99": [901.0, 900.0]}
    assert "<b>slow</b> | p50 100 ms · p95 400 ms" in labels(figure)


def test_a_wide_range_is_logarithmic_and_says_so() -> None:
    frame = pl.DataFrame({"model_name": ["a", "b"], "latency_p50": [10.0, 20.0], "latency_p99": [100.0, 40000.0]})
    axis = plots.latency_distribution(frame).layout.xaxis
    assert axis.type == "log"
    narrow = plots.latency_distribution(latency_frame(["a"], "model_name")).layout.xaxis
    assert narrow.type is None


def test_histogram_bars_cover_their_bins() -> None:
    figure = plots.latency_distribution(bins_frame())
    (drawn,) = figure.data
    edges = [(x - width / 2, x + width / 2) for x, width in zip(drawn.x, drawn.width, strict=True)]
    assert edges == [(5.0, 10.0), (10.0, 100.0), (100.0, 1000.0)]  # a logarithmic axis has no 0
    assert list(drawn.y) == [2, 0, 7]
    assert figure.layout.xaxis.type == "log"


def test_success_stands_above_its_failures_by_status() -> None:
    figure = plots.success_over_time(success_frame())
    rate, *failures = figure.data
    assert list(rate.y) == [0.9] * 3
    assert {trace.name: list(trace.y) for trace in failures} == {
        "failed": [5] * 3,
        "timed out": [3] * 3,
        "rate limited": [2] * 3,
        "cancelled by the user": [0] * 3,
    }
    assert [trace.marker.color for trace in failures] == [
        theme.STATUS_STYLES[status].color for status in ("failed", "timeout", "rate_limited", "cancelled")
    ]
    assert (rate.yaxis, failures[0].yaxis) == ("y", "y2")
    assert "90.0% of 300 calls succeeded" in figure.layout.title.subtitle.text
    assert "30 errors, 0 cancelled by users" in figure.layout.title.subtitle.text
    assert figure.layout.yaxis2.title.text == "Unsuccessful calls"


def test_failures_by_model_add_up() -> None:
    frame = EVERY["failures_by"][1].with_columns(
        timeout_count=pl.Series([1, 2, 30]), success_count=90 - pl.Series([0, 0, 27])
    )
    figure = plots.failures_by(frame)
    assert {trace.name: list(trace.x) for trace in figure.data}["timed out"] == [30, 2, 1]
    assert "<b>c</b> | 37 of 100 · 37.0%" in labels(figure)


def test_heatmap_cells_stand_at_their_hour_and_weekday() -> None:
    (cells,) = plots.heatmap(week_frame()).data
    assert len(cells.z) == 7
    assert len(cells.z[0]) == 24
    assert (cells.z[0][0], cells.z[4][13], cells.z[6][23]) == (1, 500, 20)
    assert sum(value is not None for line in cells.z for value in line) == 3
    assert "<b>Fri 13:00-13:59</b><br>Calls: 500" in cells.hovertext[4][13]


@pytest.mark.parametrize(("days", "by_week"), [(30, False), (400, True)])
def test_calendar_has_each_day_once(days: int, by_week: bool) -> None:
    frame = pl.DataFrame({"day": [DAY + timedelta(days=day) for day in range(days)], "calls": range(1, days + 1)})
    (cells,) = plots.heatmap(frame).data
    values = [value for line in cells.z for value in line if value is not None]
    assert sorted(values) == list(range(1, days + 1))
    friday = cells.z[DAY.weekday()][0] if by_week else cells.z[0][DAY.weekday()]
    assert friday == 1


def test_hours_of_the_day_and_weekdays_keep_their_order() -> None:
    frame = pl.DataFrame({"weekday": [3, 1, 2], "calls": [9, 1, 5]})
    for figure in (plots.draw(frame), plots.by_dimension(frame, "calls", "weekday")):
        assert list(figure.data[0].x) == [1, 2, 3]
        assert list(figure.data[0].y) == [1, 5, 9]


def test_the_repeated_hour_of_autumn_keeps_both_its_values() -> None:
    hours = pl.datetime_range(
        datetime(2026, 10, 25, 0), datetime(2026, 10, 25, 2), "1h", time_zone="UTC", eager=True
    ).dt.convert_time_zone("Europe/Berlin")
    figure = plots.over_time(pl.DataFrame({"hour": hours, "calls": [1, 2, 4]}))
    assert list(figure.data[0].y) == [1, 2, 4]
    assert "02:00 CEST" in figure.data[0].hovertext[0]
    assert "02:00 CET" in figure.data[0].hovertext[1]
    assert figure.layout.xaxis.title.text == "Time (Europe/Berlin)"


def test_nulls_are_a_group_of_their_own() -> None:
    rows = [("(none)", "USD", "2", 1, 1), (None, "USD", "5", 1, 1)]
    figure = plots.cost_by(cost_frame(rows, "agent_name"))
    assert [trace.x[0] for trace in figure.data] == [5.0, 2.0]
    assert [trace.marker.color == theme.OTHER.color for trace in figure.data] == [True, False]


# Colours


def test_a_model_has_the_same_colour_in_every_figure_and_theme() -> None:
    names = [f"model-{index:03d}" for index in range(8)]
    found = []
    for look in ("light", "dark"):
        found.append({t.name: t.marker.color for t in plots.cost_over_time(daily(8), theme=look).data})
        figure = plots.cost_by(daily(8).reverse(), "model_name", theme=look)
        found.append({trace.name: trace.marker.color for trace in figure.data})
        ranges = plots.latency_distribution(latency_frame(names, "model_name"), theme=look)
        markers = next(trace for trace in ranges.data if trace.name == "p50")
        found.append(dict(zip(markers.customdata, markers.marker.color, strict=True)))
    assert all(colors == found[0] for colors in found)
    assert len(set(found[0].values())) == 8


def test_colours_hardly_depend_on_the_other_names() -> None:
    names = [f"model-{index}" for index in range(8)]
    every = theme.styles(names)
    assert theme.styles(reversed(names)) == every
    kept = moved = 0
    for name in names:
        others = theme.styles([other for other in names if other != name])
        moved += sum(style != every[other] for other, style in others.items())
        kept += sum(style == every[other] for other, style in others.items())
    assert kept > 3 * moved
    assert len({theme.styles([f"some-{index}"])[f"some-{index}"] for index in range(200)}) == 8


def test_names_beyond_the_palette_differ_by_pattern_and_dash() -> None:
    styles = theme.styles(f"m{index}" for index in range(32))
    assert len(set(styles.values())) == 32
    figure = plots.cost_by(daily(12, 1), "model_name")
    assert len({(trace.marker.color, trace.marker.pattern.shape) for trace in figure.data}) == 12


def test_given_styles_are_used() -> None:
    given = {"model-000": theme.Style("#123456")}
    figure = plots.cost_over_time(daily(1), styles=given)
    assert figure.data[0].marker.color == "#123456"


def linear(color: str) -> list[float]:
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def oklab(rgb: list[float]) -> list[float]:
    """Björn Ottosson, A perceptual color space for image processing, 2020."""
    cones = [
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    ]
    axes = [
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    ]
    roots = [math.cbrt(sum(a * b for a, b in zip(row, rgb, strict=True))) for row in cones]
    return [sum(a * b for a, b in zip(row, roots, strict=True)) for row in axes]


# Machado, Oliveira, Fernandes: A physiologically-based model for simulation of color vision deficiency, 2009.
VISION: dict[str, list[tuple[float, float, float]]] = {
    "normal": [(1, 0, 0), (0, 1, 0), (0, 0, 1)],
    "protanopia": [(0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)],
    "deuteranopia": [(0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)],
    "tritanopia": [(1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)],
}


def seen(color: str, vision: str) -> list[float]:
    rgb = linear(color)
    return oklab([min(1, max(0, sum(a * b for a, b in zip(row, rgb, strict=True)))) for row in VISION[vision]])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    "colors", [theme.PALETTE, tuple(style.color for style in theme.STATUS_STYLES.values())], ids=["palette", "statuses"]
)
def test_the_colour_blind_can_tell_the_colours_apart(colors: tuple[str, ...], vision: str) -> None:
    places = [seen(color, vision) for color in colors]
    closest = min(math.dist(a, b) for index, a in enumerate(places) for b in places[:index])
    assert closest > 0.07  # a just noticeable difference is about 0.02


@pytest.mark.parametrize("look", ["light", "dark"])
def test_colours_and_words_stand_out_from_the_background(look: theme.Theme) -> None:
    def contrast(a: str, b: str) -> float:
        low, high = sorted(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(x), strict=True)) for x in (a, b))
        return (high + 0.05) / (low + 0.05)

    ground = theme.colors(look)["paper"]
    fixed = (theme.OTHER, *theme.STATUS_STYLES.values(), *theme.PERCENTILE_STYLES.values())
    assert min(contrast(color, ground) for color in (*theme.PALETTE, *(style.color for style in fixed))) > 2.2
    assert min(contrast(theme.colors(look)[word], ground) for word in ("text", "muted")) > 4.5


# What every figure has in common


@every_figure
def test_light_and_dark_differ_in_their_template_only(name: str) -> None:
    draw, frame = EVERY[name]
    plain, light, dark = (draw(frame, theme=look).to_dict() for look in (None, "light", "dark"))
    assert plain["layout"].pop("template") == templates["mofa_usage"].to_plotly_json()
    assert light["layout"].pop("template") == templates["mofa_usage_light"].to_plotly_json()
    assert dark["layout"].pop("template") == templates["mofa_usage_dark"].to_plotly_json()
    assert repr(plain) == repr(light) == repr(dark)
    with pytest.raises(UsageError, match="there is no theme 'blue'"):
        draw(frame, theme="blue")


@every_figure
def test_a_figure_without_rows_says_so(name: str) -> None:
    draw, frame = EVERY[name]
    figure = draw(frame.clear())
    assert "No calls in this period" in labels(figure)
    assert not figure.data


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("histogram", "failures_by")])
def test_a_figure_without_values_says_so(name: str) -> None:
    draw, frame = EVERY[name]
    measures = [column for column in frame.columns if column in MEASURES]
    figure = draw(frame.with_columns(pl.lit(None).cast(frame.schema[column]).alias(column) for column in measures))
    assert ("No calls" if name == "success_over_time" else "unknown for every call") in labels(figure)
    assert not figure.data


@every_figure
def test_a_figure_fits_any_width_and_has_units(name: str) -> None:
    draw, frame = EVERY[name]
    figure = draw(frame)
    assert figure.layout.width is None
    assert 100 < figure.layout.height < 1000
    assert figure.layout.title.text
    titles = [axis.title.text or "" for axis in (*figure.select_xaxes(), *figure.select_yaxes())]
    titles += [trace.colorbar.title.text for trace in figure.data if trace.type == "heatmap"]
    ticks = [text for axis in (*figure.select_xaxes(), *figure.select_yaxes()) for text in axis.ticktext or ()]
    assert any(re.search(r"\(.+\)$|[Cc]alls|Sessions|Tokens|\d m?s$", title) for title in [*titles, *ticks]), titles


@every_figure
def test_draw_picks_it_from_the_columns(name: str) -> None:
    draw, frame = EVERY[name]
    if name == "calendar":
        assert plots.draw(frame, "heatmap") == draw(frame)
    else:
        assert plots.draw(frame) == draw(frame)


@every_figure
def test_one_point_in_time_or_one_group_is_drawn(name: str) -> None:
    draw, frame = EVERY[name]
    figure = draw(frame.head(1))
    assert figure.data
    axis = figure.layout.xaxis
    if axis.type == "date":
        assert axis.range[1] - axis.range[0] >= timedelta(days=6)


@pytest.mark.parametrize("name", [name for name in EVERY if {"model_name", "agent_name"} & {*EVERY[name][1].columns}])
def test_names_are_text_and_not_markup(name: str) -> None:
    draw, frame = EVERY[name]
    (column,) = {"model_name", "agent_name"} & {*frame.columns}
    keys = ["day"] if "day" in frame.columns else [column]
    evil = frame.with_columns(pl.lit(EVIL).alias(column)).unique(keys)
    found = texts(draw(evil))
    assert any("&lt;img" in text for text in found)
    for text in found:
        assert "<img" not in text
        assert re.sub(r"</?b>|<br>", "", text).count("<") == 0
    assert not any(trace.hovertemplate for trace in draw(frame).data)  # whose %{...} would reach into names


def test_a_currency_is_text_too() -> None:
    for figure in (
        plots.cost_by(cost_frame([("a", EVIL, "1", 1, 1)], "model_name")),
        plots.cost_over_time(cost_frame([(DAY, EVIL, "1", 1, 1)], "day")),
    ):
        axes = [axis.title.text for axis in (*figure.select_xaxes(), *figure.select_yaxes()) if axis.title.text]
        assert not any("<img" in text for text in [*texts(figure), *axes])


def test_long_names_are_cut_in_the_middle_and_whole_when_pointed_at() -> None:
    figure = plots.cost_by(cost_frame([(LONG, "USD", "1", 1, 1)], "model_name"))
    label = labels(figure)
    assert "…" in label
    assert len(re.sub("<.*?>", "", label)) <= 48
    assert LONG in figure.data[0].hovertext[0].replace("<br>", "")


def test_different_names_have_different_labels() -> None:
    names = [f"accounts/fireworks/models/llama-v3p1-{size:03d}b-instruct-2025-10-01-fast" for size in range(40)]
    names += [f"us.anthropic.claude-{size}-sonnet-20241022-v2:0-provisioned" for size in range(9)]
    names += ["x" * 50 + "a" + "y" * 50, "x" * 50 + "b" + "y" * 50, "a\tb", "a\nb", "a b"]
    for width in (12, 20, 30):
        found = wording.short_labels(names, width)
        assert list(found) == names
        assert len(set(found.values())) == len(names)
        assert max(map(len, found.values())) <= width
    assert wording.short_labels(names)[names[7]] == "llama-v3p1-007b-i…5-10-01-fast"
    path = "publishers/google/models/gemini-2.5-pro/versions/1"
    assert wording.short_labels([path]) == {path: "gemini-2.5-pro/versions/1"}
    drawn = plots.cost_over_time(cost_frame([(DAY, name, "USD", "1", 1, 1) for name in names], "day", "model_name"))
    assert len({trace.name for trace in drawn.data}) == 9


# Errors


@pytest.mark.parametrize(
    ("draw", "columns", "missing", "how"),
    [
        (plots.cost_over_time, ["day", "calls"], "cost", "usage.cost(by=['day', 'model_name'])"),
        (
            plots.cost_over_time,
            ["model_name", "currency", "cost"],
            "a time bucket",
            "usage.cost(by=['day', 'model_name'])",
        ),
        (plots.cost_over_time, ["day", "cost"], "currency", "usage.breakdown("),
        (plots.cost_by, ["day", "calls"], "cost", "usage.cost(by=['model_name'])"),
        (plots.latency_over_time, ["day", "calls"], "latency_p50", "usage.latency(by=['day'])"),
        (plots.latency_distribution, ["model_name", "calls"], "latency_p50", "usage.latency(by=['model_name'])"),
        (plots.ttft_over_time, ["day", "calls"], "ttft_p50", "usage.latency(by=['day'])"),
        (plots.ttft_distribution, ["model_name", "calls"], "ttft_p50", "usage.latency(by=['model_name'])"),
        (plots.token_rate, ["day", "calls"], "token_rate_p50", "usage.token_rate(by=['day'])"),
        (plots.success_over_time, ["day", "calls"], "success_rate", "usage.success_rate(by=['day'])"),
        (plots.failures_by, ["model_name", "calls"], "success_count", "usage.success_rate(by=['model_name'])"),
        (
            plots.heatmap,
            ["model_name", "calls"],
            "hour_of_day and weekday",
            "usage.breakdown(by=['hour_of_day', 'weekday']",
        ),
        (plots.over_time, ["day", "model_name"], "a measure", "usage.breakdown("),
    ],
)
def test_a_wrong_frame_is_refused_with_the_way_to_a_right_one(
    draw: Callable[..., Figure], columns: list[str], missing: str, how: str
) -> None:
    frame = pl.DataFrame({name: [DAY if name == "day" else 1] for name in columns})
    with pytest.raises(UsageError) as caught:
        draw(frame)
    message = str(caught.value)
    assert missing in message
    assert how in message
    assert columns[0] in message


def test_what_is_no_frame_or_no_figure_is_refused() -> None:
    with pytest.raises(UsageError, match=r"from a polars\.DataFrame .* not from a builtins\.dict"):
        plots.draw({"day": [DAY]})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"there is no figure 'pie'; there are: .*by_dimension, .*cost_by"):
        plots.draw(daily(1), "pie")
    with pytest.raises(UsageError, match="needs agent_name"):
        plots.cost_by(daily(1), "agent_name")


# Numbers as text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("1234.5678", "USD", "$1,234.57"),
        ("0", "USD", "$0.00"),
        ("0.5", "USD", "$0.50"),
        ("0.0345678", "USD", "$0.0346"),
        ("0.0000000001", "USD", "$0.0000000001"),
        ("-3.456", "USD", "-$3.46"),
        ("12.345", "EUR", "EUR 12.34"),
        ("99999999999999999999.99", "USD", "$99,999,999,999,999,999,999.99"),
        (None, "USD", "unknown"),
    ],
)
def test_money_is_written_as_money(amount: str | None, currency: str, text: str) -> None:
    assert wording.money(None if amount is None else Decimal(amount), currency) == text


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (wording.percent, 0.97249, "97.2%"),
        (wording.percent, 0.99996, "99.996%"),
        (wording.percent, 0.00004, "0.004%"),
        (wording.percent, 1, "100%"),
        (wording.percent, 0, "0%"),
        (wording.percent, 0.1, "10.0%"),
        (wording.duration, 820.4, "820 ms"),
        (wording.duration, 3214, "3.21 s"),
        (wording.duration, 45678, "45.7 s"),
        (wording.duration, 125000, "2 min 5 s"),
        (wording.duration, 120000, "2 min"),
        (wording.duration, 0, "0 ms"),
        (wording.compact, 999, "999"),
        (wording.compact, 12345, "12.3k"),
        (wording.compact, 999_999, "1.00M"),
        (wording.compact, 4_560_000_000, "4.56B"),
        (wording.count, 1234567, "1,234,567"),
        (wording.count, None, "–"),  # noqa: RUF001
        (wording.percent, None, "–"),  # noqa: RUF001
        (wording.duration, None, "–"),  # noqa: RUF001
    ],
)
def test_numbers_are_written_for_reading(write: Callable[[Any], str], value: Any, text: str) -> None:
    assert write(value) == text
