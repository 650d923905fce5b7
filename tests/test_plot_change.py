"""The figures of a change: steps that lead from the cost before to the cost after, and the parts of each group."""

from decimal import Decimal
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest

from mofa_usage import theme as look
from mofa_usage.errors import UsageError
from mofa_usage.plots import changes_by, draw, waterfall
from mofa_usage.plots.change import LESS, MORE
from tests.test_change import explained, week

PARTS = {"volume": "3", "mix": "-1", "tokens_per_call": "0", "cache": "-0.5", "price": "0.5"}


def frame(*rows: tuple[str, str]) -> pl.DataFrame:
    """Rows of a model and what it cost before; what changed is the same for all."""
    change = sum(map(Decimal, PARTS.values()))
    return pl.DataFrame(
        [
            {"model_name": name, "cost_before": Decimal(before), "cost_after": Decimal(before) + change}
            | {"cost_change": change}
            | {part: Decimal(amount) for part, amount in PARTS.items()}
            | {"currency": "USD"}
            for name, before in rows
        ]
    )


def bars(figure: go.Figure) -> list[tuple[float, float, str]]:
    """Where each bar begins, how long it is, and its colour."""
    found = [trace for trace in figure.data if trace.type == "bar" and trace.base is not None]
    return [(trace.base[0], trace.x[0], trace.marker.color) for trace in found]


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def test_the_steps_of_a_waterfall_lead_from_before_to_after() -> None:
    more, less, whole = MORE.color, LESS.color, look.OTHER.color
    steps = bars(waterfall(frame(("a", "1"), ("b", "2"))))
    assert steps == [
        *((0, 3, whole), (3, 6, more), (9, -2, less), (7, 0, more), (7, -1, less), (6, 1, more), (0, 7, whole)),
    ]
    assert "+$6.00" in texts(waterfall(frame(("a", "1"), ("b", "2"))))


def test_small_steps_are_seen_from_near_and_said_to_be() -> None:
    figure = waterfall(frame(("a", "1000")))
    assert figure.layout.xaxis.range[0] > 900
    assert "the axis does not begin at 0" in figure.layout.title.subtitle.text
    assert waterfall(frame(("a", "1"))).layout.xaxis.range[0] == 0


def test_each_currency_has_its_panel() -> None:
    rows = [*week(0), *week(7, price="0.02"), *week(0, currency="EUR", price="3"), *week(7, currency="EUR", price="4")]
    answer = explained(rows)
    figure = answer.draw()
    assert {"$0.14", "EUR 42.00"} <= set(texts(figure))
    assert "6 to 12 Apr 2026 → 13 to 19 Apr 2026" in figure.layout.title.subtitle.text
    groups = answer.draw("changes_by")
    assert sorted(text for text in texts(groups) if text.startswith("+")) == ["+$0.14", "+EUR 14.00"]


def test_groups_have_their_parts_and_what_is_left_out_is_said() -> None:
    figure = changes_by(frame(*((f"model {number}", "1") for number in range(9))), top=2)
    assert [len(trace.x) for trace in figure.data] == [5, 5]
    assert list(figure.data[0].text) == ["+$3.00", "-$1.00", "", "-$0.50", "+$0.50"]
    assert "top 2 of 9, the others +$14.00" in figure.layout.title.subtitle.text.replace("<br>", " ")


@pytest.mark.parametrize("kind", ["waterfall", "changes_by"])
def test_nothing_to_draw_is_said(kind: str) -> None:
    assert texts(draw(explained([]), kind)) == ["No calls in this period"]
    assert texts(draw(explained(week(0, price=None)), kind)) == ["Unknown: no call has a price"]
    with pytest.raises(UsageError, match=r"this figure needs .*Get it by usage.explain_change\(before, after\)"):
        draw(pl.DataFrame({"calls": [1]}), kind)


def test_names_are_no_markup() -> None:
    figure: Any = changes_by(frame(("<b>evil</b>", "1")))
    assert not any("<b>evil" in text for text in texts(figure))
    assert "<b>evil" not in figure.data[0].hovertext[0]
