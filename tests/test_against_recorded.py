"""`usage.what_if(...).against_recorded()`: both prices beside each other, against sums of rows in plain Python."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import load_usage
from mofa_usage.analysis import Breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import money_columns
from mofa_usage.plots import draw, recorded_and_other
from mofa_usage.repricing import against_recorded
from mofa_usage.usage import UsageFrame
from tests.plain_analysis import Row, call, calls, grouped, polars_frame, relation
from tests.proofs import trials

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
MONEY = ("recorded_cost", "other_cost", "other_change")
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "recorded_price": pl.Decimal(38, 10),
    "recorded_currency": pl.String,
    "priced_as": pl.String,
}


def with_prices(rows: Sequence[Row]) -> pl.DataFrame:
    """Calls with the columns that other money leaves behind."""
    own = pl.DataFrame({name: [row.get(name) for row in rows] for name in SCHEMA}, SCHEMA)
    return polars_frame([{k: v for k, v in row.items() if k not in SCHEMA} for row in rows]).hstack(own)


@st.composite
def repriced_calls(draw: st.DrawFn) -> list[Row]:
    rows = draw(calls(st.integers(0, 6).map(lambda n: START + timedelta(hours=5 * n)), max_size=14))
    for row in rows:
        row["recorded_price"] = draw(st.none() | st.decimals(-1, 9, places=10))
        row["recorded_currency"] = None if row["recorded_price"] is None else draw(st.sampled_from(["USD", "EUR"]))
        row["priced_as"] = draw(st.sampled_from([None, "gpt-5", "o3", "o3"]))
    return rows


def why(row: Row) -> str:
    """In which of the counts a call is."""
    if row["total_price"] is None:
        return "unpriced_other"
    if row["recorded_price"] is None:
        return "unpriced_recorded"
    return "compared_calls" if (row["currency"] or "USD") == row["recorded_currency"] else "two_currencies"


def amounts(rows: Sequence[Row], currency: str) -> tuple[Fraction, Fraction] | None:
    """What the compared calls of a currency cost before and at the other prices."""
    both = [row for row in rows if why(row) == "compared_calls" and row["recorded_currency"] == currency]
    sums = (sum((Fraction(row[name]) for row in both), Fraction()) for name in ("recorded_price", "total_price"))
    return tuple(sums) if both else None  # type: ignore[return-value]


@pytest.mark.proof
@settings(max_examples=trials(3, 100), deadline=None)
@given(repriced_calls(), st.sampled_from([["model_name"], ["day", "priced_as"], []]))
def test_every_amount_and_count_is_that_of_its_rows(rows: list[Row], by: list[str]) -> None:
    answer = against_recorded(relation(with_prices(rows)), by, tz="Europe/Berlin")
    asked = [row for row in rows if row["priced_as"] is not None]
    groups = plain_groups(asked, by)
    assert len(answer) == (len(groups) if by else 1)
    for found in answer.to_dicts():
        of = groups.get(tuple(found[name] for name in by), [])
        assert found["calls"] == len(of)
        for name in ("compared_calls", "unpriced_other", "unpriced_recorded", "two_currencies"):
            assert found[name] == sum(why(row) == name for row in of)
        for place, measure in enumerate((*MONEY, "other_change_rate")):
            columns = money_columns(measure, answer.currencies) if answer.currencies else {"USD": measure}
            for currency, column in columns.items():
                both = amounts(of, currency)
                if both is None or (measure == "other_change_rate" and not both[0]):
                    assert found[column] is None
                elif measure == "other_change_rate":
                    assert found[column] == pytest.approx(float((both[1] - both[0]) / both[0]))
                else:
                    assert Fraction(found[column]) == (*both, both[1] - both[0])[place]


def plain_groups(rows: Sequence[Row], by: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    known = grouped(rows, [name for name in by if name != "priced_as"], "Europe/Berlin")
    found = defaultdict(list)
    for key, of in known.items():
        for row in of:
            found[(*key, *(row[name] for name in by if name == "priced_as"))].append(row)
    return found


# By hand --------------------------------------------------------------------------------------------------------------

MAY = datetime(2026, 5, 20, 12, tzinfo=UTC)


def paid(model: str, recorded: str | None, other: str | None, as_: str | None = "o3", **more: Any) -> Row:
    """A call that cost something, and would have cost something else."""
    money = {"recorded_price": recorded and Decimal(recorded), "total_price": other and Decimal(other)}
    currency = {"recorded_currency": recorded and "USD", "currency": other and "USD"}
    return {**call(MAY, model_name=model), **money, **currency, "priced_as": as_, **more}


ROWS = [
    paid("a", "1", "0.25"),
    paid("a", "3", "0.75", create_time=MAY + timedelta(days=1)),
    paid("b", "1", "1.5"),
    paid("c", "1", None),
    paid("d", None, "1"),
    paid("d", "1", "1", recorded_currency="EUR"),
    paid("e", "7", "7", None),
]


def usage(rows: Sequence[Row] = ROWS) -> UsageFrame:
    return load_usage(with_prices(rows).drop("price_source", "converted_from"))


def test_the_answer_says_itself() -> None:
    answer = usage().against_recorded()
    assert answer.columns[:4] == ["model_name", "priced_as", "recorded_cost", "other_cost"]
    assert answer.select("model_name", "recorded_cost", "other_cost", "other_change_rate", "calls").rows() == [
        ("a", Decimal(4), Decimal(1), -0.75, 2),
        ("b", Decimal(1), Decimal("1.5"), 0.5, 1),
        ("d", None, None, None, 2),
        ("c", None, None, None, 1),
    ]
    assert answer.sentence == (
        "3 of the 6 calls would have cost $2.50 instead of $5.00, 50.0% less. The largest part is that of a (-$3.00); "
        "1 call has no price there; 1 call has no recorded price; 1 call has prices in two currencies; "
        "the 1 other call stays as it is ($7.00)."
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "No call has another price."),
        ([paid("a", "1", "1", None)], "No call has another price."),
        ([paid("a", "1", None), paid("b", "1", None)], "What the 2 calls would have cost cannot be compared. "
         "2 calls of 2 models have no price there."),
        ([paid("a", "2", "2")], "The 1 call would have cost $2.00 there, too."),
        ([paid("a", "2", "3")], "The 1 call would have cost $3.00 instead of $2.00, 50.0% more."),
        ([paid("a", "2", "7")], "The 1 call would have cost $7.00 instead of $2.00, 3.5 times as much."),
        ([paid("a", "0", "7")], "The 1 call would have cost $7.00 instead of $0.00."),
        (
            [paid("a", "2", "1"), *(paid("a", "4", "1", currency="EUR", recorded_currency="EUR") for _ in range(2))],
            "The 3 calls would have cost EUR 2.00 instead of EUR 8.00 (75.0% less) "
            "and $1.00 instead of $2.00 (50.0% less).",
        ),
    ],
)  # fmt: skip
def test_a_few_calls_say_themselves(rows: list[Row], said: str) -> None:
    assert usage(rows).against_recorded().sentence == said


def test_it_is_asked_of_any_calls_with_other_money(tmp_path: Path) -> None:
    rows = [
        call(
            MAY, model_name="gpt-4o", prompt_tokens=1000, completion_tokens=500, total_price=Decimal(1), currency="USD"
        ),
        call(
            MAY, model_name="gpt-5", prompt_tokens=1000, completion_tokens=500, total_price=Decimal(1), currency="USD"
        ),
    ]
    known = load_usage(polars_frame(rows).drop("price_source", "converted_from"))
    with pytest.raises(UsageError, match=r"no price beside the recorded one .*; ask usage.what_if"):
        known.against_recorded()
    # gpt-4o-mini: 1000 of 0.15 and 500 of 0.60 per million
    other = known.what_if({"gpt-4o": "gpt-4o-mini"})
    assert other.against_recorded().select("recorded_cost", "other_cost", "calls").rows() == [
        (Decimal(1), Decimal("0.00045"), 1)
    ]
    # Priced anew, each call is at the price of its own model again.
    again = other.with_prices(recompute=True)
    assert again.frame["priced_as"].null_count() == 2
    assert len(known.with_prices(recompute=True).against_recorded()) == 2
    other.export_parquet(tmp_path / "calls.parquet")
    lazy = load_usage(tmp_path / "calls.parquet").against_recorded(by="day", start="2026-05-20", end="2026-05-21")
    assert lazy["day"].to_list() == [date(2026, 5, 20)]
    assert len(other.against_recorded(start="2026-05-21")) == 0


def test_the_dearest_groups_are_kept() -> None:
    answer = usage().against_recorded("model_name", top=1)
    assert answer.select("model_name", "is_other", "other_cost").rows() == [
        ("a", False, Decimal(1)),
        ("other", True, Decimal("1.5")),
    ]


# Figures --------------------------------------------------------------------------------------------------------------


def bars(figure: go.Figure) -> dict[str, list[float]]:
    return {trace.name: list(trace.x) for trace in figure.data}


def texts(figure: go.Figure) -> list[str]:
    return [annotation.text for annotation in figure.layout.annotations]


def notes(figure: go.Figure) -> str:
    return str(figure.layout.title.subtitle.text).replace("<br>", " ")


def test_each_group_has_two_bars() -> None:
    figure = usage().against_recorded().draw()
    assert bars(figure) == {"recorded": [4, 1], "at the other price": [1, 1.5]}
    assert texts(figure) == ["<b>a</b>", "-75.0%", "<b>b</b>", "+50.0%"]
    assert figure.layout.title.text == "Recorded and other cost by model"
    assert notes(figure) == "$2.50 instead of $5.00 (-50.0%) at the price of o3 · 3 calls cannot be compared"
    two = usage([paid("a", "1", "0.25"), paid("b", "1", "1", "gpt-5")]).against_recorded().draw()
    assert texts(two)[::2] == ["<b>a → o3</b>", "<b>b → gpt-5</b>"]
    assert bars(usage().against_recorded(()).draw())["recorded"] == [5]


def test_what_is_left_out_is_said() -> None:
    rows = [paid(f"model {number}", str(number), "1") for number in range(1, 201)]
    figure = usage(rows).against_recorded().draw(top=3)
    assert bars(figure)["recorded"] == [200, 199, 198]
    assert "top 3 of 200, the others $197.00 instead of $19,503.00 (-99.0%)" in notes(figure)


def test_time_is_drawn_as_two_lines_of_all_groups() -> None:
    for by in ("day", ["day", "model_name"]):
        figure = usage().against_recorded(by).draw()
        assert {trace.name: list(trace.y) for trace in figure.data} == {
            "recorded": [2, 3], "at the other price": [1.75, 0.75]
        }  # fmt: skip
    assert len(bars(recorded_and_other(usage().against_recorded(["day", "model_name"]), "model_name"))) == 2


def test_each_currency_has_a_panel_and_names_are_no_markup() -> None:
    rows = [paid("<b>x", "2", "1"), paid("a", "4", "1", currency="<i>", recorded_currency="<i>")]
    figure = usage(rows).against_recorded("model_name").draw()
    assert len(figure.data) == 4
    assert not any("<b>x" in text or "<i>" in text for text in [*texts(figure), notes(figure)])


def test_nothing_to_draw_is_said() -> None:
    assert texts(usage([]).against_recorded().draw()) == ["No calls in this period"]
    assert texts(usage([paid("a", None, "1")]).against_recorded().draw()) == [
        "Nothing can be compared: no call has both prices"
    ]
    with pytest.raises(UsageError, match=r"this figure needs recorded_cost, .*\.against_recorded\(\)"):
        draw(pl.DataFrame({"calls": [1]}), "recorded_and_other")
    by_hand = pl.DataFrame({"model_name": ["a"], "recorded_cost": [2.0], "other_cost": [1.0], "currency": ["USD"]})
    assert bars(Breakdown(by_hand).draw("recorded_and_other"))["recorded"] == [2]


def test_prices_in_several_currencies_are_compared_in_one() -> None:
    at = {"create_time": MAY, "prompt_tokens": 1000, "completion_tokens": 100, "model_name": "gpt-4o"}
    rows = [
        {**at, "id": "a", "total_price": 1.0, "currency": "USD"},
        {**at, "id": "b", "total_price": 2.0, "currency": "EUR"},
        {**at, "id": "c", "total_price": 300.0, "currency": "JPY"},
        {**at, "id": "d", "total_price": 1.0, "currency": "GBP", "model_name": "x"},
    ]
    rates = pl.DataFrame({"date": [MAY.date()] * 2, "currency": ["USD", "GBP"], "rate": ["0.5", "1.25"]})
    other = load_usage(pl.DataFrame(rows)).what_if({"gpt-4o": "gpt-4o-mini"})
    euros = other.in_currency("EUR", rates)
    answer = euros.against_recorded()
    mini = (1000 * Decimal("0.15") + 100 * Decimal("0.60")) / 1_000_000 / 2  # EUR a call
    assert (answer["recorded_cost"][0], answer["other_cost"][0]) == (Decimal("2.5"), 2 * mini)
    assert answer.select("currency", "compared_calls", "two_currencies").rows() == [("EUR", 2, 1)]  # no rate of JPY
    recorded = euros.frame.select("recorded_price", "recorded_currency", "compared_price", "compared_currency").rows()
    assert [row[1:] for row in recorded] == [
        ("USD", Decimal("0.5"), "EUR"),
        ("EUR", Decimal(2), "EUR"),
        ("JPY", None, None),
        ("GBP", Decimal("1.25"), "EUR"),
    ]
    pounds = euros.in_currency("GBP", pl.DataFrame({"date": [MAY.date()], "currency": ["EUR"], "rate": ["0.8"]}))
    assert pounds.against_recorded().select("recorded_cost", "currency").rows() == [(Decimal(2), "GBP")]


def test_another_price_after_a_conversion_is_none_that_was_converted() -> None:
    row = {"id": "a", "create_time": MAY, "model_name": "gpt-4o", "prompt_tokens": 1, "completion_tokens": 1}
    rates = pl.DataFrame({"date": [MAY.date()], "currency": ["USD"], "rate": ["0.5"]})
    euros = load_usage(pl.DataFrame([row | {"total_price": 1.0, "currency": "USD"}])).in_currency("EUR", rates)
    for again in (euros.what_if({"gpt-4o": "gpt-4o-mini"}), euros.with_prices(recompute=True)):
        assert again.frame.select("currency", "converted_from", "rate_day").rows() == [("USD", None, None)]
        assert again.against_recorded()["compared_calls"].to_list() == [1]
