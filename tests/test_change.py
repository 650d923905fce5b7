"""Why the cost changed: against the Shapley values of all orders, on made-up calls, and of one cause at a time."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import load_usage
from mofa_usage.analysis import Breakdown
from mofa_usage.changes import cost_change, periods
from mofa_usage.errors import UsageError
from tests.plain_analysis import Row, call, calls, polars_frame, relation
from tests.proofs import trials

FACTORS = ("volume", "mix", "tokens_per_call", "cache", "price")
MONEY = ("cost_before", "cost_after", "cost_change", *FACTORS)
APRIL, MAY = (
    (datetime(2026, 4, 6, tzinfo=UTC), datetime(2026, 4, 13, tzinfo=UTC)),
    (
        datetime(2026, 4, 13, tzinfo=UTC),
        datetime(2026, 4, 20, tzinfo=UTC),
    ),
)
UNIT = Fraction(1, 10**10)


def explained(rows: Sequence[Row], by: Any = "model_name", **options: Any) -> Any:
    """The change from one week to the next, without what is beside it."""
    return cost_change(load_usage(polars_frame(rows)).relation, periods(APRIL, MAY, "UTC"), by, **options)


def changed(rows: Sequence[Row], by: Any) -> Breakdown:
    """The same without what is beside it, of a relation whose session is on some other clock."""
    return cost_change(relation(polars_frame(rows)), periods(APRIL, MAY, "UTC"), by)


# An oracle: cells of rows, and every order of the five factors walked through -----------------------------------------


class Cell:
    """The calls of one cell in both periods, as the plainest sums."""

    def __init__(self, sides: Sequence[Sequence[Row]]) -> None:
        self.sides = sides
        self.cost = [sum((Fraction(row["total_price"]) for row in side), Fraction(0)) for side in sides]
        self.known = any(row["prompt_tokens"] is not None and row["completion_tokens"] is not None
                         for side in sides for row in side)  # fmt: skip
        self.intensities = self._views()

    def tokens(self, side: Sequence[Row]) -> list[Fraction]:
        """Plain, cached and written prompt, and completion."""
        total = [Fraction(0)] * 4
        for row in side:
            cached, written = row["cached_tokens"] or 0, row["cache_write_tokens"] or 0
            kinds = (row["prompt_tokens"] - cached - written, cached, written, row["completion_tokens"])
            total = [one + two for one, two in zip(total, kinds, strict=True)]
        return total

    def _views(self) -> list[tuple[Any, ...]]:
        """What a call is like, before and after: tokens of the prompt, of the answer, the split, and the rates."""
        there = [index for index in (0, 1) if self.sides[index]]
        views: list[tuple[list[list[Fraction]], list[Fraction]]] = []
        if self.known:
            tokens = [self.tokens(side) for side in self.sides]
            said = self._said(tokens)
            views += [(tokens, said)] if said else []
            views.append((tokens, [Fraction(1)] * 4))
        views.append(([[Fraction(0)] * 3 + [Fraction(len(side))] for side in self.sides], [Fraction(1)] * 4))
        for tokens, rates in views:
            rated = rates if isinstance(rates[0], list) else [rates, rates]
            computed = [sum(a * b for a, b in zip(tokens[i], rated[i], strict=True)) for i in (0, 1)]
            slack = [len(side) * Fraction(3, 10**10) for side in self.sides]
            if any(not computed[i] and abs(self.cost[i]) > slack[i] for i in there):
                continue
            scale = self._scale(there, computed, slack)
            found: list[Any] = [None, None]
            for i in there:
                number = Fraction(len(self.sides[i]))
                prompt = sum(tokens[i][:3])
                split = [part / prompt for part in tokens[i][:3]] if prompt else None
                found[i] = [prompt / number, tokens[i][3] / number, split, [rate * scale[i] for rate in rated[i]]]
            return self._completed(found)
        raise AssertionError

    def _said(self, tokens: list[list[Fraction]]) -> Any:
        """Rates that the calls say themselves, for each period, completed by the other."""
        found: list[list[Fraction | None]] = []
        for side in self.sides:
            told = [row for row in side if row["input_price"] is not None and row["output_price"] is not None]
            prompt, answer = sum(row["prompt_tokens"] for row in told), sum(row["completion_tokens"] for row in told)
            first = Fraction(sum(row["input_price"] for row in told)) / prompt if prompt else None
            last = Fraction(sum(row["output_price"] for row in told)) / answer if answer else None
            found.append([first, first, first, last])
        rates = [[a if a is not None else b for a, b in zip(*pair, strict=True)] for pair in (found, found[::-1])]
        for i in (0, 1):
            if any(rate is None and count for rate, count in zip(rates[i], tokens[i], strict=True)):
                return None
        return [[rate or Fraction(0) for rate in one] for one in rates]

    def _scale(self, there: list[int], computed: list[Any], slack: list[Fraction]) -> list[Fraction]:
        whole = sum(computed[i] for i in there)
        for factor in (Fraction(1), *([sum(self.cost[i] for i in there) / whole] if whole else [])):
            if all(abs(self.cost[i] - factor * computed[i]) <= slack[i] for i in there):
                return [factor, factor]
        own = [self.cost[i] / computed[i] if i in there and computed[i] else None for i in (0, 1)]
        return [one if one is not None else other or Fraction(0) for one, other in (own, own[::-1])]

    def _completed(self, found: list[Any]) -> list[tuple[Any, ...]]:
        first, second = (found[0] or found[1]), (found[1] or found[0])
        nothing = [Fraction(1), Fraction(0), Fraction(0)]
        for one, other in ((first, second), (second, first)):
            one[2] = one[2] or other[2] or nothing
        return [tuple(first), tuple(second)]

    def value(self, state: dict[str, int], totals: Sequence[int]) -> Fraction:
        """What the cell costs where each factor is as before (0) or after (1)."""
        shares = [Fraction(len(side), total) if total else None for side, total in zip(self.sides, totals, strict=True)]
        share = shares[state["mix"]] if shares[state["mix"]] is not None else shares[1 - state["mix"]]
        prompt, answer = (self.intensities[state["tokens_per_call"]][place] for place in (0, 1))
        split, rates = self.intensities[state["cache"]][2], self.intensities[state["price"]][3]
        each = prompt * sum(a * b for a, b in zip(split, rates[:3], strict=True)) + answer * rates[3]
        assert share is not None
        return Fraction(totals[state["volume"]] * share * each)

    def parts(self, totals: Sequence[int]) -> dict[str, Fraction]:
        """The mean over all orders of what each factor changes when it is its turn."""
        found = dict.fromkeys(FACTORS, Fraction(0))
        seen: dict[tuple[int, ...], Fraction] = {}

        def cost(state: dict[str, int]) -> Fraction:
            key = tuple(state.values())
            if key not in seen:
                seen[key] = self.value(state, totals)
            return seen[key]

        for order in permutations(FACTORS):
            state = dict.fromkeys(FACTORS, 0)
            before = cost(state)
            for factor in order:
                state[factor] = 1
                after = cost(state)
                found[factor] += (after - before) / 120
                before = after
        return found


def oracle(rows: Sequence[Row], by: str) -> dict[Any, dict[str, dict[str, Fraction]]]:
    """The exact parts by value of `by` and currency."""
    cells: dict[tuple[Any, ...], list[list[Row]]] = defaultdict(lambda: [[], []])
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        for side, (start, end) in enumerate((APRIL, MAY)):
            if start <= row["create_time"] < end and row["total_price"] is not None:
                currency = row["currency"] or "USD"
                known = row["prompt_tokens"] is not None and row["completion_tokens"] is not None
                totals[currency][side] += 1
                cells[row[by], currency, row["model_name"], row["service_tier"], known][side].append(row)
    found: dict[Any, dict[str, dict[str, Fraction]]] = defaultdict(dict)
    for (value, currency, *_), sides in cells.items():
        cell = Cell(sides)
        ends = dict(zip(("cost_before", "cost_after"), cell.cost, strict=True))
        into = found[value].setdefault(currency, dict.fromkeys((*FACTORS, *ends), Fraction(0)))
        for name, part in (*cell.parts(totals[currency]).items(), *ends.items()):
            into[name] += part
    return found


WHEN = st.datetimes(datetime(2026, 4, 5), datetime(2026, 4, 21), timezones=st.just(UTC))


@st.composite
def priced_calls(draw: st.DrawFn) -> list[Row]:
    """Calls of two weeks of few cells, most of them with a price, some of them with what they say of its parts."""
    found = draw(calls(WHEN, max_size=14))
    for row in found:
        if draw(st.integers(0, 3)):
            row["total_price"] = Decimal(draw(st.integers(-(10**6), 10**12))).scaleb(-10)
        if draw(st.booleans()):
            row["input_price"], row["output_price"] = (
                row["total_price"],
                Decimal(draw(st.integers(0, 10**9))).scaleb(-10),
            )
        row["service_tier"] = draw(st.sampled_from([None, "batch"]))
    return found


@pytest.mark.proof
@settings(max_examples=trials(3, 90), deadline=None)
@given(rows=priced_calls(), by=st.sampled_from(["model_name", "team", "status"]), turn=st.integers(0, 13))
def test_parts_are_the_shapley_values_of_all_orders(rows: list[Row], by: str, turn: int) -> None:
    exact, answer = oracle(rows, by), changed(rows, by)
    several = len(answer.currencies) > 1
    told = {row[by]: row for row in answer.to_dicts()}
    assert {key for key, row in told.items() if row["calls_before"] or row["calls_after"]} == set(exact)
    for value, of_value in exact.items():
        for currency, parts in of_value.items():
            end = f"_{currency}" if several else ""
            row = told[value]
            assert row[f"cost_change{end}"] == sum(row[f"{factor}{end}"] for factor in FACTORS)
            assert row[f"cost_change{end}"] == row[f"cost_after{end}"] - row[f"cost_before{end}"]
            slack = UNIT * (6 + 6 * len(rows))  # rounding of the prices of calls, and of the parts
            for name, part in parts.items():
                assert abs(Fraction(row[f"{name}{end}"]) - part) <= (slack if name in FACTORS else 0), name
    columns = [name for name in answer.columns if name.startswith((*MONEY, "calls_", "unpriced_"))]
    for name in columns:
        whole, known = answer.totals[0][name][0], answer[name].drop_nulls().len()
        assert whole == (answer[name].sum() if known or not name.startswith(MONEY) else None)
    # The order of rows is nothing, nor is who holds the calls.
    assert changed([*rows[turn:], *rows[:turn]], by).equals(answer)


def test_parquet_answers_as_memory_does(tmp_path: Path) -> None:
    rows = week(0) + week(7, calls_a_day=3, price="0.02")
    polars_frame(rows).write_parquet(tmp_path / "calls.parquet")
    lazy = load_usage(tmp_path / "calls.parquet").explain_change(APRIL, MAY)
    held = load_usage(polars_frame(rows)).explain_change(APRIL, MAY)
    assert lazy.equals(held)
    assert lazy.beside.equals(held.beside)
    assert (lazy.sentence, lazy.beside.sentence) == (held.sentence, held.beside.sentence)


# One cause at a time --------------------------------------------------------------------------------------------------


def week(start: int, *, calls_a_day: int = 2, price: str | None = "0.01", **fields: Any) -> list[Row]:
    """The same calls on seven days, from so many days after the first on."""
    usual = {"prompt_tokens": 1000, "completion_tokens": 100, "total_price": None if price is None else Decimal(price)}
    return [
        call(APRIL[0] + timedelta(days=start + day, hours=9 + number), **(usual | fields))
        for day in range(7)
        for number in range(calls_a_day)
    ]


def causes(answer: Any, end: str = "") -> set[str]:
    return {factor for factor in FACTORS if answer.totals[0][f"{factor}{end}"][0]}


UNKNOWN: dict[str, Callable[[], list[Row]]] = {
    "volume": lambda: week(0) + week(7, calls_a_day=5),
    "mix": lambda: [
        *week(0, calls_a_day=3),
        *week(0, model_name="x", price="0.001", prompt_tokens=77),
        *week(7),
        *week(7, calls_a_day=3, model_name="x", price="0.001", prompt_tokens=77),
    ],
    "tokens_per_call": lambda: (
        week(0, input_price=Decimal("0.004"), output_price=Decimal("0.006"))
        + week(7, price="0.014", prompt_tokens=2000, input_price=Decimal("0.008"), output_price=Decimal("0.006"))
    ),
    "price": lambda: week(0) + week(7, price="0.012"),
}


def each_alone(data: Mapping[str, Callable[[], list[Row]]], by: str, **options: Any) -> None:
    """Each cause in a currency of its own, so that one answer has them all apart: each has all of its change."""
    currencies = dict(zip(data, ("AUD", "CHF", "EUR", "GBP", "JPY"), strict=False))
    rows = [row | {"currency": currencies[cause]} for cause, made in data.items() for row in made()]
    answer = explained(rows, by, **options)
    for cause, currency in currencies.items():
        whole = answer.totals[0]
        assert (cause, causes(answer, f"_{currency}")) == (cause, {cause})
        assert whole[f"{cause}_{currency}"][0] == whole[f"cost_change_{currency}"][0] != 0


def test_one_cause_shows_alone_for_a_model_that_no_book_knows() -> None:
    each_alone(UNKNOWN, "model_name")


def test_a_group_that_appears_or_vanishes_is_mix() -> None:
    rows = week(0, model_name="old") + week(7, model_name="new", price="0.03")
    answer = explained(rows)
    assert causes(answer) == {"mix"}
    assert {row["model_name"]: row["mix"] for row in answer.to_dicts()} == {
        "new": Decimal("0.42"),
        "old": Decimal("-0.14"),
    }


def test_a_feature_that_moves_to_a_cheaper_model_does_so_by_its_mix() -> None:
    rows = week(0, model_name="large", price="0.03") + week(7, model_name="small")
    assert causes(explained(rows, "labels.feature")) == {"mix"}


def test_everything_is_volume_where_there_was_nothing_before() -> None:
    answer = explained(week(7) + week(7, model_name="x", price="0.5"))
    assert causes(answer) == {"volume"}
    assert answer.totals[0]["cost_before"][0] == 0


def test_of_what_is_beside_nothing_is_said_where_a_period_is_empty() -> None:
    said = load_usage(polars_frame(week(7))).explain_change(APRIL, MAY).beside.sentence
    assert said.startswith("What changed by more than chance is not known")


def test_calls_of_unknown_tokens_change_by_their_price() -> None:
    rows = week(0, prompt_tokens=None) + week(7, prompt_tokens=None, price="0.03")
    assert causes(explained(rows)) == {"price"}


def test_currencies_are_apart() -> None:
    rows = [
        *week(0),
        *week(0, currency="EUR", price="0.5"),
        *week(7, calls_a_day=4),
        *week(7, currency="EUR", price="0.6"),
    ]
    answer = explained(rows)
    assert answer.currencies == ("USD", "EUR")
    assert causes(answer, "_USD") == {"volume"}
    assert causes(answer, "_EUR") == {"price"}
    by_currency = explained(rows, ["currency", "model_name"])
    assert by_currency.select("currency", "cost_change").rows() == [("USD", Decimal("0.14")), ("EUR", Decimal("1.4"))]
    assert by_currency.totals[0].columns[:2] == ["cost_before_USD", "cost_before_EUR"]


def test_unpriced_calls_are_left_out_and_said() -> None:
    answer = explained(week(0) + week(7, calls_a_day=1) + week(7, price=None, model_name="free?"))
    assert answer.rows()[-1][:9] == ("free?", *[None] * 8)
    assert answer.select("unpriced_before", "unpriced_after").rows() == [(0, 0), (0, 14)]
    assert "without a price are left out (0% of those before, 66.7% of those after)" in answer.sentence
    none = explained(week(0, price=None))
    assert none.sentence.startswith("Whether the cost changed is unknown: no call of the two periods has a price")
    assert none["currency"].to_list() == [None]
    assert explained([]).sentence == "There are no calls."


def test_more_calls_at_negative_prices_are_not_fewer_calls() -> None:
    answer = explained(week(0, price="-0.01") + week(7, price="-0.01", calls_a_day=4))
    assert "fell by $0.14 (100%)" in answer.sentence
    assert answer.sentence.endswith("through the number of calls (-$0.14).")


# Days and weekdays --------------------------------------------------------------------------------------------------


def test_per_day_and_per_week_compare_like_with_like() -> None:
    """Ten calls on working days, one on days of the weekend; the period after has a weekend more."""
    usage = load_usage(polars_frame([row for day in range(0, 21) for row in workday(day)]))
    before, after = ("2026-04-06", "2026-04-11"), ("2026-04-13", "2026-04-20")
    whole, day, week = (usage.explain_change(before, after, per=per) for per in (None, "day", "week"))
    assert whole["cost_change"].item() == Decimal("0.02") == whole["volume"].item()
    assert "with one Sat more, one Sun more, makes +$0.02 of the change" in whole.sentence
    assert day["cost_change"].item() == Decimal("0.0742857143") - Decimal("0.1")
    assert "the calendar alone, with one Sat more, one Sun more, makes -$0.0257 of the change" in day.sentence
    assert week["cost_change"].item() == 0
    assert week["calls_before"].item() == 50.0
    assert "Sat and Sun, which only one period has, are left out" in week.sentence
    assert "calendar" not in week.sentence
    assert "did not change: $0.50 in both periods" in week.sentence


def workday(day: int) -> list[Row]:
    moment = datetime(2026, 4, 6, 9, tzinfo=UTC) + timedelta(days=day)
    number = 1 if moment.weekday() > 4 else 10
    return [call(moment, prompt_tokens=10, completion_tokens=1, total_price=Decimal("0.01")) for _ in range(number)]


def test_weekdays_are_those_of_the_zone() -> None:
    rows = [call(datetime(2026, 4, 12, 22, 30, tzinfo=UTC), total_price=Decimal(1))]
    usage = load_usage(polars_frame(rows), tz="Europe/Berlin")  # Monday there
    answer = usage.explain_change(("2026-04-13", "2026-04-14"), ("2026-04-20", "2026-04-21"), per="week")
    assert answer["cost_before"].item() == 1


def test_overlapping_periods_count_calls_in_both() -> None:
    usage = load_usage(polars_frame(week(0)))
    answer = usage.explain_change(("2026-04-06", "2026-04-09"), ("2026-04-06", "2026-04-10"))
    assert answer.select("calls_before", "calls_after").row(0) == (6, 8)
    assert "he two periods overlap, and calls in both count in both" in answer.sentence


# Questions that make no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per": "month"}, "per = 'month'; amounts are per day, per week, or"),
        ({"by": "modle_name"}, "no dimension is called 'modle_name'; near it: model_name"),
        ({"by": "labels.team"}, "the frame has no column 'labels.team'"),
    ],
)
def test_wrong_questions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        explained(week(0), **options)


def test_missing_columns_are_named() -> None:
    frame = polars_frame(week(0))
    with pytest.raises(UsageError, match="the frame has no column 'total_price', which explain_change needs"):
        load_usage(frame.drop("total_price")).explain_change(APRIL, MAY)
    bare = load_usage(frame.select("create_time", "total_price"))
    assert bare.explain_change(APRIL, MAY, by=[])["volume"].item() == Decimal("-0.14")
    with pytest.raises(UsageError, match="per = 'week' compares weekdays with the same ones"):
        bare.explain_change(("2026-04-06", "2026-04-07"), ("2026-04-07", "2026-04-08"), by=[], per="week")
    named = load_usage(frame.with_columns(price=pl.lit("dear")))
    with pytest.raises(UsageError, match="two columns of the answer would be called 'price'"):
        named.explain_change(APRIL, MAY, by="price")


def test_currencies_are_told_in_the_order_of_their_columns() -> None:
    """And not in that in which the database comes to them."""
    codes = ["EUR", "JPY", "JPY", "USD", "USD", "USD"]
    rows = [
        call(APRIL[0] + timedelta(days=day), currency=code, total_price=Decimal(10))
        for day in (0, 4, 5)
        for code in codes
    ]
    for mixed in (rows, rows[::-1]):
        said = (
            load_usage(polars_frame(mixed))
            .explain_change(("2026-04-06", "2026-04-08"), ("2026-04-08", MAY[1]))
            .sentence
        )
        (calendar,) = re.findall("the calendar alone makes (.*?) of the change", said)
        assert [amount[:4] for amount in calendar.split(" and ")] == ["+$60", "+JPY", "+EUR"], said
