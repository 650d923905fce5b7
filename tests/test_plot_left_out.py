"""A figure draws every measure that it is given or names it: questions with and without time, summaries, "other"."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from plotly.graph_objects import Figure

from mofa_usage import UsageError, UsageFrame, load_usage, plots
from mofa_usage.analysis.result import Breakdown
from mofa_usage.measures import MeasureColumn, Roles, dimension, measure
from mofa_usage.plots.axes import line_axis, logarithmic
from tests.plain_analysis import call, polars_frame

DAYS = [date(2026, 5, 1) + timedelta(days=day) for day in range(3)]


def subtitle(figure: Figure) -> str:
    return str(figure.layout.title.subtitle.text).replace("<br>", " ")


def written(figure: Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def usage() -> UsageFrame:
    """Calls of three models on three days, one of which tells no time to first token."""
    calls = [
        call(
            datetime(2026, 5, 1 + day, 12, tzinfo=UTC),
            model_name=model,
            total_price=Decimal("0.5"),
            currency="USD",
            latency_ms=1000.0 * (day + 1),
            time_to_first_token_ms=None if model == "c" else 100.0,
        )
        for model in "aabbc"
        for day in range(3)
    ]
    return load_usage(polars_frame(calls))


@pytest.mark.parametrize("question", ["cost", "latency", "token_rate", "success_rate", "breakdown"])
@pytest.mark.parametrize("by", [[], ["model_name"], ["day"], ["day", "model_name"], ["hour_of_day", "weekday"]])
@pytest.mark.parametrize("top", [None, 1])
def test_what_a_figure_of_a_question_does_not_show_is_said(question: str, by: list[str], top: int | None) -> None:
    if top is not None and "model_name" not in by:
        return
    answer = getattr(usage(), question)(by=by, top=top, totals=top is not None)
    figure = answer.draw()
    axes = [
        *figure.select_xaxes(),
        *figure.select_yaxes(),
        *(trace.colorbar for trace in figure.select_traces("heatmap")),
    ]
    seen = " ".join([figure.layout.title.text, *(axis.title.text or "" for axis in axes), *written(figure)]).lower()
    keys = {trace.name for trace in figure.data}
    told = {"coverage", "priced_calls"} if "calls priced" in subtitle(figure) else set()
    if "succeeded" in subtitle(figure) or "Unsuccessful calls" in str(figure.layout):
        told |= set(answer.roles.measures)
    missing = [
        name
        for name, column in answer.roles.measures.items()
        if name not in told
        and column.measure.title.lower() not in seen
        and not (name.rsplit("_")[-1] in keys and name.split("_")[0] in ("latency", "ttft", "token"))
    ]
    assert not missing or "not drawn: " in subtitle(figure) or "unknown for every call: " in subtitle(figure), missing


def test_latencies_stand_beside_times_to_first_token_in_the_same_order() -> None:
    frame = pl.DataFrame(
        {
            "model_name": ["quick", "slow", "mute"],
            "calls": [3, 2, 1],
            "latency_p50": [10.0, 900.0, 20.0],
            "latency_p95": [20.0, 950.0, 30.0],
            "ttft_p50": [5.0, 3.0, None],
            "ttft_p95": [6.0, 4.0, None],
        }
    )
    figure = plots.draw(frame)
    assert figure.layout.title.text == "Latency and time to first token by model"
    names = [text for text in written(figure) if text.startswith("<b>")]
    assert names == ["<b>slow</b>", "<b>mute</b>", "<b>quick</b>"] * 2
    assert written(figure).count("unknown") == 1
    assert [axis.title.text for axis in figure.select_xaxes()] == ["Latency, log scale", "Time to first token"]
    marks = {(t.name, t.xaxis): list(t.x) for t in figure.data if t.mode == "markers" and t.showlegend is not None}
    assert marks["p50", "x"] == [900, 20, 10]
    assert marks["p50", "x2"] == [3, None, 5]
    assert "not drawn: Calls" in subtitle(figure)
    unknown = plots.draw(frame.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("ttft_p50", "ttft_p95")))
    assert unknown.layout.title.text == "Latency by model"
    assert "unknown for every call: Time to first token" in subtitle(unknown)


def test_all_that_a_summary_says_is_written() -> None:
    answer = usage().summary()
    figure = answer.draw()
    for column in answer.roles.measures.values():
        assert column.measure.title in written(figure)
    assert written(figure)[written(figure).index("Calls") + 1] == "<b>15</b>"
    assert not figure.data


def test_headlines_have_a_line_for_each_currency() -> None:
    columns = {f"cost_{code}": MeasureColumn(measure("cost"), code) for code in ("USD", "EUR")}
    frame = pl.DataFrame({"calls": [3], "cost_USD": [Decimal("1.50")], "cost_EUR": [Decimal("2.50")]})
    roles = Roles({}, {"calls": MeasureColumn(measure("calls")), **columns}, question="breakdown")
    figure = Breakdown.of(frame, roles).draw()
    assert written(figure) == ["Calls", "<b>3</b>", "Cost (USD)", "<b>$1.50</b>", "Cost (EUR)", "<b>EUR 2.50</b>"]
    assert "No calls" in written(plots.headlines(frame.clear()))[0]
    with pytest.raises(UsageError, match="dimensions model_name"):
        plots.headlines(pl.DataFrame({"model_name": ["a"], "calls": [1]}))
    with pytest.raises(UsageError, match="does not add up, but the frame has 2 rows"):
        plots.headlines(pl.DataFrame({"success_rate": [0.5, 0.6]}))


def test_a_rest_that_dwarfs_the_named_ones_runs_out_of_its_panel_and_says_its_share() -> None:
    names = [f"m{number:02d}" for number in range(100)]
    frame = pl.DataFrame([{"day": day, "model_name": name, "calls": 10} for day in DAYS for name in names])
    figure = plots.draw(frame)
    named = max(sum(trace.y[0] for trace in figure.data if not trace.name.startswith("other")), 0)
    assert named == 80
    assert figure.layout.yaxis.range == (0, 104)
    assert "other has 92.0% of calls, its bars are cut" in subtitle(figure)
    assert [list(trace.y) for trace in figure.data][-1] == [920] * 3
    few = plots.draw(frame.filter(pl.col("model_name") < "m10"))
    assert few.layout.yaxis.range is None
    assert "cut" not in subtitle(few)


def derived(name: str, **columns: Any) -> Breakdown:
    known = {key: dimension(key) for key in columns if key in ("day", "week", "model_name")}
    frame = pl.DataFrame({**columns, name: [0.25] * len(next(iter(columns.values())))})
    return Breakdown.of(frame, Roles(known, {name: MeasureColumn(measure(name))}))


def test_titles_of_measures_of_several_buckets_name_the_bucket() -> None:
    days = derived("success_rate_rolling_7", day=DAYS).draw()
    assert days.layout.title.text == "Success rate, last 7 days per day"
    weeks = derived("success_rate_rolling_4", week=[date(2026, 5, 4)]).draw()
    assert weeks.layout.yaxis.title.text == "Success rate, last 4 weeks"
    share = derived("calls_share_of_day", day=DAYS, model_name=["a", "b", "c"]).draw()
    assert share.layout.title.text == "Calls share per day by model"
    other = derived("calls_share_of_model_name", day=DAYS, model_name=["a", "b", "c"]).draw()
    assert other.layout.yaxis.title.text == "Calls share of model"


def test_the_bars_of_shares_have_one_percentage() -> None:
    figure = derived("calls_share", model_name=["a", "b"]).draw()
    assert written(figure)[1] == "25.0%"
    assert "in total" not in subtitle(figure)


def test_ticks_of_durations_do_not_touch() -> None:
    axis = logarithmic(measure("latency_p50"), 400.0, 120_000.0)
    assert axis["ticktext"] == ["500 ms", "1 s", "2 s", "5 s", "10 s", "20 s", "1 min", "2 min"]


def test_one_poor_period_does_not_flatten_rates_that_are_high() -> None:
    assert line_axis(measure("success_rate"), [0.5, 0.97, 0.98])["range"][0] == pytest.approx(0.44)
    assert line_axis(measure("success_rate"), [0.1, 0.2, 0.3])["range"][0] == 0
