"""`usage.waste`: what was paid for nothing, against the definition of each kind written out row by row."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import load_usage
from mofa_usage.efficiency import waste
from mofa_usage.errors import UsageError
from mofa_usage.measures import money_columns
from tests import plain_analysis as plain
from tests.plain_analysis import NIL, Row, call, calls, polars_frame, relation
from tests.proofs import trials

START = datetime(2026, 3, 28, 22, tzinfo=UTC)
KINDS = ("retried", "partial", "unsuccessful")
REQUESTS = (NIL, *(f"0190bbbb-0000-7000-8000-00000000000{n}" for n in range(3)))


@st.composite
def tried_calls(draw: st.DrawFn) -> list[Row]:
    """Calls at few times, so that attempts meet, with all that tells kinds apart, and prices below zero."""
    rows = draw(calls(st.integers(0, 6).map(lambda n: START + timedelta(hours=n)), max_size=16))
    for row in rows:
        row["request_message_id"] = draw(st.sampled_from(REQUESTS))
        row["attempt"] = draw(st.none() | st.integers(1, 3))
        row["token_source"] = draw(st.sampled_from([None, "provider", "partial", "none"]))
        row["error_code"] = draw(st.sampled_from([None, "truncated", "500"]))
        if row["total_price"] is not None and draw(st.booleans()):
            row["total_price"] = -row["total_price"]
    return rows


def kind(row: Row, rows: Sequence[Row]) -> str | None:
    """Why a call is waste, among the calls `rows`."""
    lost = row["status"] != "success"
    if row["retried"] is not None or (lost and has_later(row, rows)):
        return "retried"
    if not lost:
        return None
    broken = row["token_source"] == "partial" or row["error_code"] == "truncated"
    begun = row["status"] == "cancelled" and row["time_to_first_token_ms"] is not None
    return "partial" if broken or begun else "unsuccessful"


def has_later(row: Row, rows: Sequence[Row]) -> bool:
    if row["request_message_id"] == NIL:
        return False
    same = [other for other in rows if other["request_message_id"] == row["request_message_id"]]
    attempts = [other["attempt"] for other in same if other["attempt"] is not None]
    if row["attempt"] is not None:
        return bool(row["attempt"] < max(attempts))
    return any(other["create_time"] > row["create_time"] for other in same)


@pytest.mark.proof
@settings(max_examples=trials(3, 90))
@given(rows=tried_calls(), by=st.sampled_from([(), ("model_name",), ("day", "team"), ("currency",)]))
def test_kinds_are_those_of_the_definition(rows: list[Row], by: tuple[str, ...]) -> None:
    answer = waste(relation(polars_frame(rows)), by, tz="Europe/Berlin")
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for key, group in plain.grouped(rows, by, "Europe/Berlin").items():
        for row in group:
            if (found := kind(row, rows)) is not None:
                groups[(*key, found)].append(row)
    assert {tuple(row[name] for name in (*by, "waste")) for row in answer.to_dicts()} == set(groups)
    known = plain.currencies([row for group in groups.values() for row in group])
    for row in answer.to_dicts():
        group = groups[tuple(row[name] for name in (*by, "waste"))]
        for name in ("calls", "priced_calls", "coverage", "total_tokens", "token_coverage"):
            assert row[name] == plain.PLAIN[name](group), name
        if "currency" in by:
            whole = [other for other in rows if plain.currency(other) == row["currency"]]
            check_money(row, "cost", "waste_share", group, whole)
        elif len(known) == 1:
            check_money(row, "cost", "waste_share", group, [one for one in rows if plain.currency(one) == known[0]])
        for code in known if len(known) > 1 and "currency" not in by else ():
            columns = [money_columns(name, known)[code] for name in ("cost", "waste_share")]
            whole = [other for other in rows if plain.currency(other) == code]
            check_money(row, columns[0], columns[1], plain.priced_in(group, code), whole)


def check_money(row: dict[str, Any], cost: str, share: str, group: list[Row], whole: list[Row]) -> None:
    expected, everything = plain.PLAIN["cost"](group), plain.PLAIN["cost"](whole)
    assert row[cost] == expected
    if expected is None or not everything:
        assert row[share] is None
    else:
        assert row[share] == float(Fraction(expected) / Fraction(everything))


@pytest.mark.proof
@settings(max_examples=trials(5, 75))
@given(rows=tried_calls())
def test_kinds_add_up_to_all_waste_in_any_order_of_rows(rows: list[Row]) -> None:
    answer = waste(relation(polars_frame(rows)), ())
    assert answer.equals(waste(relation(polars_frame(rows[::-1])), ()))
    lost = [row for row in rows if row["status"] != "success" or row["retried"] is not None]
    assert answer["calls"].sum() == len(lost)
    for code, column in money_columns("cost", answer.currencies).items():
        assert answer[column].sum() == (plain.PLAIN["cost"](plain.priced_in(lost, code)) or 0)


def usage_of(*rows: Row) -> Any:
    return load_usage(polars_frame(rows), tz="UTC")


def price(amount: str) -> dict[str, Any]:
    return {"total_price": Decimal(amount)}


def test_what_is_left_out_of_a_frame_tells_nothing() -> None:
    rows = [call(START, status="failed", retried="true", **price("1")), call(START, **price("3"))]
    frame = polars_frame(rows).select("status", "total_price")
    answer = load_usage(frame).waste()
    assert answer.select("waste", "calls", "waste_share").rows() == [("unsuccessful", 1, 0.25)]
    with pytest.raises(UsageError, match="no column 'status'"):
        waste(relation(frame.drop("status")))
    with pytest.raises(UsageError, match="no column 'total_price'"):
        waste(relation(frame.drop("total_price")))


def test_the_request_is_looked_for_beyond_the_period() -> None:
    later = START + timedelta(days=1)
    first = call(START, status="failed", request_message_id=REQUESTS[1], **price("1"))
    usage = usage_of(first, call(later, request_message_id=REQUESTS[1], **price("2")))
    answer = usage.waste(end=later)
    assert answer.select("waste", "cost", "waste_share").rows() == [("retried", Decimal(1), 1.0)]


def test_the_heaviest_models_are_those_with_the_dearest_waste() -> None:
    rows = [call(START, model_name=name, status="failed", **price(cost)) for name, cost in (("a", "1"), ("b", "5"))]
    rows += [call(START, model_name="a", **price("100")), call(START, model_name="c", status="timeout", **price("2"))]
    answer = usage_of(*rows).waste(top=1)
    assert answer.select("model_name", "cost", "is_other").rows() == [
        ("b", Decimal(5), False),
        ("other", Decimal(3), True),
    ]


def test_sentences() -> None:
    lost = call(START, status="failed", **price("1"))
    again = call(START, status="timeout", retried="true", **price("2"))
    good = call(START, **price("97"))
    assert usage_of(lost, again, good).waste().sentence == (
        "$3.00 (3.0% of the cost) was wasted on 2 calls: $2.00 on 1 tried again; $1.00 on 1 unsuccessful."
    )
    assert usage_of(good).waste().sentence == "Nothing was wasted."
    unknown = call(START, status="failed")
    assert usage_of(unknown).waste().sentence == (
        "What 1 call cost in vain is unknown, since none has a price: an unknown amount on 1 unsuccessful."
    )
    two = usage_of(lost, lost, again | {"currency": "EUR"}, unknown, good).waste()
    assert two.sentence == (
        "$2.00 (2.0% of the cost) and EUR 2.00 (100% of the cost) were wasted on 4 calls: $2.00 on 3 unsuccessful; "
        "EUR 2.00 on 1 tried again. 1 of them has no price: unknown."
    )


def lost_calls(currencies: tuple[str, ...] = ("USD",)) -> list[Row]:
    """Two models with waste of each kind."""
    shapes: list[dict[str, Any]] = [
        {"status": "failed"},
        {"status": "timeout", "retried": "true"},
        {"status": "failed", "error_code": "truncated"},
    ]
    names = ("a", "<b>")
    return [
        call(START, model_name=name, currency=code, **price("1.5"), **shape)
        for name in names
        for code in currencies
        for shape in shapes
    ]


def test_the_figure_stacks_the_kinds_in_each_currency() -> None:
    figure = usage_of(*lost_calls(("USD", "EUR"))).waste().draw()
    assert [trace.name for trace in figure.data if trace.showlegend] == ["tried again", "broken off", "unsuccessful"]
    assert len(figure.data) == 6
    assert all(list(trace.x) == [1.5, 1.5] for trace in figure.data)
    assert any("&lt;b&gt;" in text.text for text in figure.layout.annotations)
    of_one = usage_of(*lost_calls(("USD",))[:3], *lost_calls(("EUR",))[3:]).waste().head(1).draw()
    assert len(of_one.data) == 1, "no panel of what the rows have not got"


def test_the_figure_without_prices_without_waste_and_along_time() -> None:
    free = [row | {"total_price": None} for row in lost_calls()]
    assert [list(trace.x) for trace in usage_of(*free).waste().draw().data] == [[1.0, 1.0]] * 3
    empty = usage_of(call(START)).waste().draw()
    assert [text.text for text in empty.layout.annotations] == ["Nothing was wasted"]
    over = usage_of(*lost_calls()).waste(by="day").draw()
    assert {trace.name for trace in over.data} == {"retried", "partial", "unsuccessful"}
