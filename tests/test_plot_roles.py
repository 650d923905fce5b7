"""Pictures of answers that know what their columns are: own measures and dimensions, any percentile, other names."""

from datetime import date

import polars as pl

from mofa_usage import plots
from mofa_usage.analysis.result import Breakdown
from mofa_usage.measures import DIMENSIONS, MEASURES, Aggregate, Dimension, Measure, MeasureColumn, Roles

DAYS = [date(2026, 5, 1), date(2026, 5, 2)]
WORDS = Measure("words", "Output <written>", "count", "words", "Words.", Aggregate("sum", "words"), additive=True)
SIZE = Dimension("size", "Size of the prompt", "category", "How long the prompt is.", ("prompt_tokens",))


def percentile(prefix: str, title: str, number: float) -> Measure:
    formula = Aggregate("quantile", "latency_ms", quantile=number / 100)
    return Measure(f"{prefix}_p{number:g}", f"{title} p{number:g}", "ms", "ms", "A percentile.", formula)


def answer(frame: pl.DataFrame, dimensions: list[Dimension], measures: list[Measure]) -> Breakdown:
    by = {entry.name: entry for entry in dimensions}
    return Breakdown.of(frame, Roles(by, {entry.name: MeasureColumn(entry) for entry in measures}))


def test_measures_and_dimensions_of_ones_own_have_their_titles_and_units() -> None:
    frame = pl.DataFrame({"day": DAYS * 2, "size": ["long", "long", "short", "short"], "words": [5, 6, 1, 2]})
    over = answer(frame, [DIMENSIONS["day"], SIZE], [WORDS]).draw()
    assert over.layout.title.text == "Output &lt;written&gt; per day by size<br>of the prompt"
    assert over.layout.yaxis.title.text == "Output &lt;written&gt; (words)"
    assert {trace.name: list(trace.y) for trace in over.data} == {"long": [5, 6], "short": [1, 2]}
    by = answer(frame.head(1).drop("day"), [SIZE], [WORDS]).draw()
    assert by.data[0].x[0] == 5


def test_numbers_that_are_dimensions_are_dimensions() -> None:
    attempt = Dimension("attempt", "Attempt", "category", "Which attempt.", ("attempt",))
    figure = answer(pl.DataFrame({"attempt": [1, 2], "calls": [9, 1]}), [attempt], [MEASURES["calls"]]).draw()
    assert [trace.name for trace in figure.data] == ["1", "2"]


def test_any_percentile_is_drawn_in_the_order_of_the_percentiles() -> None:
    measures = [percentile("latency", "Latency", number) for number in (99.9, 75, 5)]
    frame = pl.DataFrame({"day": DAYS, "latency_p99.9": [900.0, 90.0], "latency_p75": [75.0, 70.0], "latency_p5": 5.0})
    figure = answer(frame, [DIMENSIONS["day"]], measures).draw("latency_over_time")
    assert [trace.name for trace in figure.data] == ["p99.9", "p75", "p5"]
    assert len({(trace.line.color, trace.line.dash) for trace in figure.data}) == 3
    rows = answer(frame.head(1).drop("day"), [], measures).draw("latency_distribution")
    assert {trace.name for trace in rows.data if trace.name} == {"p5", "p75", "p99.9"}


def test_a_renamed_column_is_drawn_as_what_it_is() -> None:
    frame = pl.DataFrame({"when": DAYS, "how many": [1, 2]})
    roles = Roles({"when": DIMENSIONS["day"]}, {"how many": MeasureColumn(MEASURES["calls"])})
    figure = Breakdown.of(frame, roles).draw()
    assert figure.layout.title.text == "Calls per day"
    assert list(figure.data[0].y) == [1, 2]


def test_money_of_a_measure_with_another_name_is_kept_apart() -> None:
    roles = Roles(
        {"day": DIMENSIONS["day"]},
        {"cost_EUR": MeasureColumn(MEASURES["cost"], "EUR"), "dollars": MeasureColumn(MEASURES["cost"], "USD")},
        ("EUR", "USD"),
    )
    figure = plots.draw(Breakdown.of(pl.DataFrame({"day": DAYS, "cost_EUR": [1, 2], "dollars": [3, 4]}), roles))
    assert [list(trace.y) for trace in figure.data] == [[1, 2], [3, 4]]
    assert figure.layout.yaxis2.title.text == "Cost (USD)"
