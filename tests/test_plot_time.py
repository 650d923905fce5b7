"""Pictures along time: every measure has its panel, periods their place, values their unit, and words say the rest."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from plotly.graph_objects import Figure

from mofa_usage import UsageError, plots, theme
from mofa_usage.analysis.result import Breakdown
from mofa_usage.measures import MeasureColumn, Roles, dimension, measure

DAY = date(2026, 5, 1)


def answer(question: str = "breakdown", /, **columns: Any) -> Breakdown:
    """An answer whose columns bear the names of dimensions and measures."""
    frame = pl.DataFrame(columns)
    known = {"day", "week", "month", "hour", "hour_of_day", "weekday", "model_name", "agent_name", "currency"}
    dimensions = {name: dimension(name) for name in columns if name in known}
    measures = {name: MeasureColumn(measure(name)) for name in columns if name not in {*known, "is_other"}}
    return Breakdown.of(frame, Roles(dimensions, measures, question=question))


def days(count: int) -> list[date]:
    return [DAY + timedelta(days=day) for day in range(count)]


def titles(figure: Figure) -> list[str]:
    return [axis.title.text for axis in figure.select_yaxes()]


def subtitle(figure: Figure) -> str:
    return str(figure.layout.title.subtitle.text)


# Every measure


def test_each_measure_has_a_panel_and_percentiles_share_one() -> None:
    figure = answer(
        day=days(2), calls=[3, 4], latency_p95=[900.0, 800.0], success_rate=[0.5, 1.0], latency_p50=[1.0, 2.0]
    ).draw()
    assert titles(figure) == ["Calls", "Latency", "Success rate"]
    drawn = [(trace.type, trace.yaxis, trace.name, list(trace.y)) for trace in figure.data]
    assert drawn == [
        ("bar", "y", "all calls", [3, 4]),
        ("scatter", "y2", "p95", [900, 800]),
        ("scatter", "y2", "p50", [1, 2]),
        ("scatter", "y3", "all calls", [0.5, 1]),
    ]
    assert [trace.name for trace in figure.data if trace.showlegend] == ["p95", "p50"]
    assert figure.layout.xaxis.matches == "x3"


def test_what_does_not_fit_is_named() -> None:
    names = ["calls", "users", "sessions", "models", "total_tokens", "prompt_tokens", "cached_tokens", "success_rate"]
    figure = answer(day=days(1), **{key: [1] for key in names}).draw()
    assert len(titles(figure)) == 6
    assert "not drawn: Cached tokens, Success rate" in subtitle(figure)


def test_a_measure_without_any_value_is_named() -> None:
    figure = answer(day=days(2), calls=[1, 2], cached_tokens=pl.Series([None, None], dtype=pl.Int64)).draw()
    assert titles(figure) == ["Calls"]
    assert "unknown for every call: Cached tokens" in subtitle(figure)


def test_all_panels_show_the_same_groups_in_the_same_colours() -> None:
    names = [f"m{number:02d}" for number in range(12)]
    figure = answer(
        day=[DAY] * 12,
        model_name=names,
        calls=list(range(12, 0, -1)),
        total_tokens=list(range(12)),
        latency_p95=[5.0] * 12,
    ).draw()
    shown: dict[str, list[str]] = {}
    for trace in figure.data:
        shown.setdefault(trace.yaxis, []).append(trace.name)
    assert shown == {"y": [*names[:8], "other (4)"], "y2": [*names[:8], "other (4)"], "y3": names[:8]}
    assert "top 8 of 12 by calls" in subtitle(figure)
    colors = {(trace.name, trace.marker.color) for trace in figure.data}
    assert len(colors) == 9
    assert sum(bool(trace.showlegend) for trace in figure.data) == 9


@pytest.mark.parametrize("first", ["cost_p50", "wasted_cost"])
@pytest.mark.parametrize("by", ["day", "model_name"])
def test_what_is_no_money_is_drawn_beside_money_in_several_currencies(first: str, by: str) -> None:
    money = {"EUR": Decimal(2), "USD": Decimal(3)}
    columns = {f"{first}_{code}": MeasureColumn(measure(first), code) for code in money}
    roles = Roles(
        {by: dimension(by)},
        {**columns, "latency_p50": MeasureColumn(measure("latency_p50"))},
        tuple(money),
        "breakdown",
    )
    values = {f"{first}_{code}": [amount, None] for code, amount in money.items()}
    keys = days(2) if by == "day" else ["a", "b"]
    figure = Breakdown.of(pl.DataFrame({by: keys, **values, "latency_p50": [1.0, 2.0]}), roles).draw()
    assert len(list(figure.select_yaxes())) == 3


def test_currencies_of_one_of_several_measures_have_panels_of_their_own() -> None:
    roles = Roles(
        {"day": dimension("day")},
        {
            "calls": MeasureColumn(measure("calls")),
            "cost_EUR": MeasureColumn(measure("cost"), "EUR"),
            "cost_USD": MeasureColumn(measure("cost"), "USD"),
        },
        ("EUR", "USD"),
        "breakdown",
    )
    frame = pl.DataFrame({"day": days(1), "calls": [1], "cost_EUR": [Decimal(2)], "cost_USD": [Decimal(3)]})
    figure = Breakdown.of(frame, roles).draw()
    assert titles(figure) == ["Calls", "Cost (EUR)", "Cost (USD)"]
    assert [axis.tickprefix for axis in figure.select_yaxes()] == [None, "EUR ", "$"]


def test_without_time_each_measure_has_bars_of_the_same_groups_in_one_order() -> None:
    names = [f"m{number:02d}" for number in range(20)]
    figure = answer(
        model_name=names, calls=list(range(20, 0, -1)), total_tokens=list(range(20)), latency_p95=[5.0, 9.0] * 10
    ).draw(top=3)
    shown: dict[str, list[tuple[str, float]]] = {}
    for trace in figure.data:
        shown.setdefault(trace.yaxis, []).append((trace.name, trace.x[0]))
    assert shown == {
        "y": [("m00", 20), ("m01", 19), ("m02", 18), ("other (17)", 153)],
        "y2": [("m00", 0), ("m01", 1), ("m02", 2), ("other (17)", 187)],
        "y3": [("m00", 5), ("m01", 9), ("m02", 5)],
    }
    assert "top 3 of 20 by calls" in subtitle(figure)
    assert len({(trace.name, trace.marker.color) for trace in figure.data}) == 4
    with pytest.raises(UsageError, match="Latency p95 does not add up"):
        answer(model_name=["a", "a"], agent_name=["x", "y"], calls=[1, 1], latency_p95=[1.0, 2.0]).draw(
            dimension="model_name"
        )


def test_what_a_distribution_is_of_is_written_as_it_is() -> None:
    bins = pl.DataFrame(
        {
            "currency": ["EUR", "EUR", "USD"],
            "bin_start": [Decimal(0), Decimal("0.001"), Decimal(10)],
            "bin_end": [Decimal("0.001"), Decimal("0.01"), Decimal(5000)],
            "calls": [3, 4, 50],
        }
    )
    roles = Roles(
        {"currency": dimension("currency")},
        {"calls": MeasureColumn(measure("calls"))},
        (),
        "distribution",
        "total_price",
    )
    figure = Breakdown.of(bins, roles).draw()
    assert figure.layout.title.text == "Cost per call distribution"
    assert [list(trace.y) for trace in figure.data] == [[50], [3, 4]]
    assert [axis.title.text for axis in figure.select_xaxes()] == ["Cost per call (USD)", "Cost per call (EUR)"]
    assert figure.layout.xaxis.ticktext == ("$10", "$20", "$50", "$100", "$200", "$500", "$1k", "$2k", "$5k")
    assert figure.layout.xaxis2.ticktext == ("0", "EUR 0.002", "EUR 0.005", "EUR 0.01")
    assert "Cost per call: below EUR 0.001" in figure.data[1].hovertext[0]
    tokens = pl.DataFrame({"bin_start": [0, 10], "bin_end": [10, 50_000], "calls": [1, 2]})
    roles = Roles({}, {"calls": MeasureColumn(measure("calls"))}, (), "distribution", "total_tokens")
    figure = Breakdown.of(tokens, roles).draw()
    assert figure.layout.xaxis.title.text == "Tokens per call"
    assert figure.layout.xaxis.ticktext == ("0", "100", "1k", "10k")


# The question names the figure


@pytest.mark.parametrize(
    ("question", "columns", "title"),
    [
        ("success_rate", {"calls": [9], "success_rate": [0.5]}, "Success rate by hour and weekday"),
        ("latency", {"calls": [9], "latency_mean": [1.0], "latency_p95": [2.0]}, "Latency p95 by hour and weekday"),
        ("token_rate", {"calls": [9], "token_rate_p50": [3.0]}, "Token rate p50 by hour and weekday"),
        ("cost", {"cost": [1], "calls": [9]}, "Cost by hour and weekday"),
    ],
)
def test_a_grid_is_of_what_was_asked(question: str, columns: dict[str, list[Any]], title: str) -> None:
    held = answer(question, hour_of_day=[3], weekday=[2], **columns)
    if question == "cost":
        held = Breakdown.of(held.with_columns(currency=pl.lit("USD")), held.roles)
    figure = held.draw()
    assert figure.layout.title.text == title
    assert len(figure.data) == 1


def test_a_question_about_latency_shows_the_first_token_too() -> None:
    values = {"calls": [9], "latency_p50": [5.0], "latency_p95": [6.0], "ttft_p50": [1.0], "ttft_p95": [2.0]}
    figure = answer("latency", day=days(1), **values).draw()
    assert titles(figure) == ["Latency", "Time to first token"]
    assert figure.layout.title.text == "Latency and time to first token per day"


def test_the_columns_are_not_guessed_where_the_question_is_known() -> None:
    figure = answer("breakdown", day=days(1), calls=[1], cost_per_call=[0.1], success_rate=[1.0]).draw
    with pytest.raises(UsageError, match="needs currency"):
        figure()
    counts = {f"{status}_count": [1] for status in ("failed", "timeout", "rate_limited", "cancelled")}
    several = answer("breakdown", day=days(1), success_rate=[0.5], **counts).draw()
    assert titles(several)[0] == "Success rate"
    assert titles(several)[1:] == ["Failed (calls)", "Timeouts (calls)", "Rate limited (calls)", "Cancelled (calls)"]


@pytest.mark.parametrize(
    ("columns", "size"),
    [
        ({"day": days(3), "hour_of_day": [0, 5, 23]}, (24, 3)),
        ({"week": [date(2026, 5, 4), date(2026, 5, 25)], "hour_of_day": [0, 5]}, (24, 4)),
        ({"month": [date(2026, 1, 1), date(2026, 12, 1)], "weekday": [1, 7]}, (7, 12)),
        ({"week": [date(2026, 5, 4), date(2026, 5, 11)], "weekday": [1, 7]}, (7, 2)),
    ],
)
def test_two_dimensions_of_time_make_a_grid(columns: dict[str, Any], size: tuple[int, int]) -> None:
    numbers = list(range(1, len(next(iter(columns.values()))) + 1))
    (cells,) = answer(**columns, calls=numbers).draw().data
    assert (len(cells.z), len(cells.z[0])) == size
    assert sorted(value for line in cells.z for value in line if value is not None) == numbers
    assert cells.z[columns.get("hour_of_day", [0])[0]][0] == 1


def test_a_grid_of_several_measures_has_a_panel_for_each() -> None:
    values: dict[str, Any] = {"calls": [1], "users": [2], "success_rate": [0.5], "models": [3]}
    figure = answer(hour_of_day=[3], weekday=[2], **values).draw()
    assert [cells.z[1][3] for cells in figure.data] == [1, 2, 0.5]
    assert "not drawn: Models" in subtitle(figure)
    chosen = answer(hour_of_day=[3], weekday=[2], **values).draw(measure="models")
    assert [cells.z[1][3] for cells in chosen.data] == [3]


# Periods


def test_weekdays_are_names_in_order_where_they_are_colours() -> None:
    figure = answer(hour_of_day=[0, 0, 0], weekday=[3, 1, 7], calls=[5, 1, 9]).draw("over_time")
    assert [trace.name for trace in figure.data] == ["Mon", "Wed", "Sun"]
    hours = answer(day=days(1) * 24, hour_of_day=list(range(24)), calls=[1] * 24).draw("over_time")
    assert [trace.name for trace in hours.data] == [f"{hour:02d}:00" for hour in range(24)]
    assert len({(trace.marker.color, trace.marker.pattern.shape) for trace in hours.data}) == 24


def hours_around(start: datetime, count: int) -> pl.Series:
    every = pl.datetime_range(start, start + timedelta(hours=count - 1), "1h", time_zone="UTC", eager=True)
    return every.dt.convert_time_zone("Europe/Berlin")


def test_the_repeated_hour_has_two_places_and_the_missing_one_none() -> None:
    autumn = answer(hour=hours_around(datetime(2026, 10, 24, 22), 6), calls=[1] * 6).draw()
    places = list(autumn.data[0].x)
    assert [after - before for before, after in pairwise(places)] == [timedelta(hours=1)] * 5
    assert places[0].hour == 0
    assert autumn.layout.xaxis.ticktext[0] == "00:00<br>25 Oct"
    spring = answer(hour=hours_around(datetime(2026, 3, 28, 23), 6), calls=[1] * 6).draw()
    places = list(spring.data[0].x)
    assert [after - before for before, after in pairwise(places)] == [timedelta(hours=1)] * 5
    summer = answer(hour=hours_around(datetime(2026, 7, 1, 22), 8), calls=[1] * 8).draw()
    assert summer.data[0].x[0] == datetime(2026, 7, 2, 0)
    assert summer.layout.xaxis.ticktext is None


@pytest.mark.parametrize("count", [9, 30, 49, 70])
def test_days_have_their_ticks_on_mondays(count: int) -> None:
    axis = answer(day=days(count), calls=[1] * count).draw().layout.xaxis
    assert axis.tick0.weekday() == 0
    assert axis.dtick % (7 * 86_400_000) == 0


@pytest.mark.parametrize("count", [10, 60, 300])
def test_weeks_have_their_ticks_on_mondays(count: int) -> None:
    weeks = [date(2026, 1, 5) + timedelta(weeks=week) for week in range(count)]
    axis = answer(week=weeks, calls=[1] * count).draw().layout.xaxis
    assert axis.dtick % (7 * 86_400_000) == 0
    assert axis.tick0.weekday() == 0
    assert count * 7 * 86_400_000 / axis.dtick <= 8


def test_months_have_their_ticks_on_the_first() -> None:
    months = [date(2024 + month // 12, month % 12 + 1, 1) for month in range(30)]
    axis = answer(month=months, calls=[1] * 30).draw().layout.xaxis
    assert (axis.dtick, axis.tick0) == ("M6", "2000-01-01")


@pytest.mark.parametrize("count", [1, 2, 6])
def test_few_periods_have_a_tick_each(count: int) -> None:
    axis = answer(day=days(count), calls=[1] * count).draw().layout.xaxis
    assert list(axis.tickvals) == days(count)


# Values


@pytest.mark.parametrize(
    ("largest", "ticks"),
    [
        (0.5, ("0", "0.1 ms", "0.2 ms")),
        (800.0, ("0", "200 ms", "400 ms")),
        (2400.0, ("0", "500 ms", "1 s")),
        (9000.0, ("0", "2 s", "4 s")),
        (110_000.0, ("0", "20 s", "40 s")),
        (500_000.0, ("0", "2 min", "4 min")),
        (4e7, ("0", "2 h", "4 h")),
    ],
)
def test_durations_are_written_as_durations(largest: float, ticks: tuple[str, ...]) -> None:
    axis = answer(day=days(2), latency_p95=[largest, largest]).draw().layout.yaxis
    assert axis.ticktext[:3] == ticks
    assert max(axis.tickvals) >= largest


def test_one_incident_makes_the_axis_logarithmic_and_says_so() -> None:
    figure = answer(day=days(9), latency_p95=[500.0] * 8 + [90_000.0]).draw()
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.title.text == "Latency p95, log scale"
    assert "1 min" in figure.layout.yaxis.ticktext
    calm = answer(day=days(9), latency_p95=[500.0] * 8 + [5000.0]).draw()
    assert calm.layout.yaxis.type is None
    zero = answer(day=days(9), latency_p95=[500.0] * 7 + [0.0, 90_000.0]).draw()
    assert zero.layout.yaxis.type is None  # a logarithmic axis has no 0
    bars = answer(day=days(9), calls=[1] * 8 + [1000]).draw()
    assert bars.layout.yaxis.type is None


def test_the_colours_of_a_grid_are_logarithmic_too() -> None:
    rates = [500.0] * 8 + [90_000.0]
    (cells,) = answer(hour_of_day=list(range(9)), weekday=[1] * 9, latency_p95=rates).draw().data
    assert cells.zmax == pytest.approx(4.954, abs=0.001)
    assert cells.colorbar.title.text == "Latency p95, log scale"
    assert "1 min" in cells.colorbar.ticktext


@pytest.mark.parametrize("values", [[0.97, 1.0], [0.2, 0.9], [0.001, 0.002], [1.0, 1.0], [0.0, 0.0]])
def test_rates_stay_between_0_and_100_percent(values: list[float]) -> None:
    axis = answer(day=days(2), success_rate=values).draw().layout.yaxis
    low, high = axis.range or (0, 1)
    assert 0 <= low <= min(values)
    assert max(values) <= high < 1.04


def test_rates_of_few_calls_are_hollow() -> None:
    figure = answer(day=days(3), calls=[19, 20, 0], success_rate=[0.5, 0.6, None]).draw()
    rate = figure.data[-1]
    assert list(rate.marker.symbol) == ["circle-open", "circle", "circle"]
    assert "Calls: 19" in rate.hovertext[0]
    assert "hollow: fewer than 20 calls" in subtitle(figure)
    many = answer(day=days(1), calls=[20], success_rate=[0.5]).draw()
    assert "hollow" not in subtitle(many)
    (cells,) = (
        answer("success_rate", hour_of_day=[1, 2], weekday=[1, 1], calls=[3, 30], success_rate=[1.0, 0.9]).draw().data
    )
    assert list(cells.text[0][1:3]) == ["•", ""]


def test_gaps_are_bars_of_zero_and_breaks_of_lines() -> None:
    figure = answer(day=days(3), calls=[1, 0, 2], success_rate=[1.0, None, 0.5]).draw()
    assert [list(trace.y) for trace in figure.data] == [[1, 0, 2], [1.0, None, 0.5]]
    assert figure.data[1].connectgaps is False


# Groups


def test_what_top_left_out_is_grey_and_last_and_no_name() -> None:
    held = answer(
        day=[DAY] * 4,
        model_name=["other", "a", None, "other"],
        calls=[90, 4, 2, 3],
        is_other=[True, False, False, False],
    )
    figure = held.draw()
    assert [trace.name for trace in figure.data] == ["a", "other", "(none)", "other (not in top 3)"]
    grey = [trace.marker.color == theme.OTHER.color for trace in figure.data]
    assert grey == [False, False, True, True]
    assert figure.data[2].marker.pattern.shape  # which is another grey than that of the rest
    folded = held.draw(top=1)
    assert {trace.name: list(trace.y) for trace in folded.data} == {"a": [4], "other": [95]}


def test_a_line_for_each_group_has_its_rest_too() -> None:
    held = answer(
        day=[DAY] * 3, model_name=["a", "b", "other"], latency_p95=[1.0, 2.0, 3.0], is_other=[False, False, True]
    )
    figure = held.draw(top=1)
    assert [trace.name for trace in figure.data] == ["b", "other (not in top 2)"]


def test_lines_beyond_the_palette_differ_by_dash_and_mark() -> None:
    names = [f"m{number:02d}" for number in range(24)]
    figure = answer(day=[DAY] * 24, model_name=names, latency_p95=[1.0] * 24).draw(top=24)
    assert len({(trace.line.color, trace.line.dash, trace.marker.symbol[0]) for trace in figure.data}) == 24
    assert {trace.marker.symbol[0] for trace in figure.data[8:16]} != {
        trace.marker.symbol[0] for trace in figure.data[:8]
    }


def test_the_percentile_of_each_group_is_said_and_can_be_chosen() -> None:
    held = answer(day=[DAY] * 2, model_name=["a", "b"], latency_p50=[1.0, 2.0], latency_p95=[3.0, 4.0])
    assert held.draw().layout.title.text == "Latency p95 per day by model"
    assert titles(held.draw()) == ["Latency p95"]
    chosen = plots.latency_over_time(held, percentile="p50")
    assert chosen.layout.title.text == "Latency p50 per day by model"
    assert [trace.y[0] for trace in chosen.data] == [2.0, 1.0]
    with pytest.raises(UsageError, match=r"no percentile 'p99' of Latency; it has: p50, p95"):
        plots.latency_over_time(held, percentile="p99")


def test_cancellations_are_told_from_errors() -> None:
    counts = {"failed_count": [5], "timeout_count": [3], "rate_limited_count": [2], "cancelled_count": [40]}
    held = answer("success_rate", day=[DAY], calls=[100], success_count=[50], success_rate=[0.5], **counts)
    figure = held.draw()
    assert "10 errors, 40 cancelled by users" in subtitle(figure)
    assert [trace.name for trace in figure.data[1:]] == ["cancelled by the user", "failed", "timed out", "rate limited"]


# Options


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (None, {"colour": "red"}, r"measures_over_time takes no option 'colour'; it takes: top, percentile, by"),
        ("over_time", {"percentile": "p95"}, r"over_time takes no option 'percentile'; it takes: top, measure, by"),
        ("heatmap", {"top": 3}, "heatmap takes no option 'top'; it takes: measure"),
        ("over_time", {"top": 0}, "top = 0; a figure draws at least 1 group"),
        ("over_time", {"top": "many"}, "top = 'many'"),
        ("over_time", {"by": "nothing"}, "needs nothing; the frame has: day, model_name, calls, latency_p95"),
        ("over_time", {"by": "calls"}, "'calls' is no dimension of this frame; it has: day, model_name"),
        ("over_time", {"measure": "cost"}, "needs cost"),
        (
            "over_time",
            {"measure": "model_name"},
            "'model_name' is no measure of this frame; it has: calls, latency_p95",
        ),
        ("latency_over_time", {"percentile": "p42"}, "no percentile 'p42' of Latency; it has: p95"),
        (None, {"theme": "blue"}, "there is no theme 'blue'"),
    ],
)
def test_a_wrong_option_is_refused_with_what_there_is(kind: str | None, options: dict[str, Any], message: str) -> None:
    held = answer(day=[DAY], model_name=["a"], calls=[1], latency_p95=[2.0])
    with pytest.raises(UsageError, match=message):
        held.draw(kind, **options)
