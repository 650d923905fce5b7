"""Dimensions of one's own: a column under another name, cases, or an expression, wherever a dimension stands."""

import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings

from mofa_usage import UsageError, load_usage
from mofa_usage.analysis import Question, breakdown, breakdowns, distribution
from mofa_usage.measures import DIMENSIONS, Condition, Dimension
from tests.plain_analysis import Row, call, calls, frames, polars_frame, relation
from tests.proofs import trials

NOON = datetime(2025, 5, 1, 12, tzinfo=UTC)
LONG = Condition("prompt_tokens", ">", 1000)
SIZE = Dimension("size", cases=[("long", LONG)], otherwise="short")
OUTCOME = Dimension(
    "outcome",
    cases=(
        ("slow success", (Condition("status", "==", "success"), Condition("latency_ms", ">=", 1000))),
        ("success", Condition("status", "==", "success")),
        ("unknown cost", Condition("total_price", "unknown")),
        ("not in dollars", [Condition("currency", "!=", "USD")]),
    ),
)
VENDOR = Dimension("vendor", expression=nw.col("model_name").str.slice(0, 3))
LATE = Dimension("late", expression=nw.col("latency_ms") > 1000)


def plain(row: Row, dimension: Dimension) -> str | None:
    """The value of a call in each of these dimensions, said again."""
    if dimension is SIZE:
        return "long" if row["prompt_tokens"] is not None and row["prompt_tokens"] > 1000 else "short"
    if dimension is VENDOR:
        return None if row["model_name"] is None else row["model_name"][:3]
    if dimension is LATE:
        return None if row["latency_ms"] is None else str(row["latency_ms"] > 1000).lower()
    if row["status"] == "success":
        return "slow success" if (row["latency_ms"] or 0) >= 1000 else "success"
    if row["total_price"] is None:
        return "unknown cost"
    return None if row["currency"] in (None, "USD") else "not in dollars"


@pytest.mark.proof
@pytest.mark.parametrize("dimension", [SIZE, OUTCOME, VENDOR, LATE], ids=lambda entry: entry.name)
@settings(max_examples=trials(4, 100), deadline=None)
@given(rows=calls())
def test_a_call_has_the_value_that_the_dimension_says(dimension: Dimension, rows: list[Row]) -> None:
    wanted: dict[str | None, int] = {}
    for row in rows:
        wanted[plain(row, dimension)] = wanted.get(plain(row, dimension), 0) + 1
    for frame in frames(rows):
        found = breakdown(frame, dimension, ["calls"])
        assert dict(found.rows()) == wanted
        assert found.roles.dimensions == {dimension.name: dimension}


def some() -> list[Row]:
    each = [("openai/gpt", 10, "a"), ("openai/gpt", 2000, "b"), ("mistral/large", 3000, None), (None, None, "a")]
    return [
        call(NOON, model_name=model, prompt_tokens=tokens, team=team, latency_ms=100 * number, total_price=Decimal(1))
        for number, (model, tokens, team) in enumerate(each, 1)
    ]


@pytest.fixture(params=["polars", "duckdb"])
def some_calls(request: pytest.FixtureRequest) -> Any:
    frame = polars_frame(some())
    return frame if request.param == "polars" else relation(frame)


def test_they_stand_wherever_a_dimension_does(some_calls: Any) -> None:
    crew = Dimension("crew", needs=("team",))
    folded = breakdown(some_calls, [VENDOR, "day"], "calls", top=1, totals=True)
    assert folded.rows() == [("ope", date(2025, 5, 1), 2, False), ("other", date(2025, 5, 1), 2, True)]
    assert folded.totals[0].rows() == [("ope", 2, False), ("other", 2, True)]
    first, second = breakdowns(some_calls, [Question([SIZE, crew], "calls"), Question(Dimension("team"), ["cost"])])
    assert sorted(first.rows(), key=str) == [
        ("long", "b", 1),
        ("long", None, 1),
        ("short", "a", 2),
    ]
    assert second.columns == ["team", "cost", "currency"]
    spread = distribution(some_calls, SIZE, bins=1)
    assert spread.rows() == [("long", 100, 401, 2), ("short", 100, 401, 2)]


def test_they_have_colours_and_pictures_and_are_pickled(tmp_path: Path) -> None:
    polars_frame(some()).write_parquet(tmp_path / "calls.parquet")
    for source in (polars_frame(some()), tmp_path / "calls.parquet"):
        usage = load_usage(source)
        answer = usage.breakdown(VENDOR, "calls")
        styles = usage.styles(VENDOR)
        assert set(styles) == {"ope", "mis"}
        assert usage.filter("prompt_tokens > 2500").breakdown(VENDOR, "calls").styles_of("vendor") == styles  # type: ignore[misc]
        assert answer.draw().data
        copy = pickle.loads(pickle.dumps(answer))
        assert copy.roles.dimensions["vendor"].title == "Vendor"
        assert usage.near(VENDOR, "ops") == ["ope"]


def test_one_name_may_mean_something_else_later() -> None:
    """As in a cell of a notebook that is run again."""
    usage = load_usage(polars_frame(some()))
    for bound, names in ((1000, {"long", "short"}), (2500, {"huge", "short"})):
        case = ("long" if bound == 1000 else "huge", Condition("prompt_tokens", ">", bound))
        again = Dimension("size", cases=[case], otherwise="short")
        answer = usage.breakdown(again, "calls")
        assert answer.styles_of is not None
        assert set(answer.styles_of("size")) == names


def test_a_currency_that_is_not_said_is_the_usual_one() -> None:
    dollars = Dimension("dollars", cases=[("yes", Condition("currency", "==", "USD"))], otherwise="no")
    frame = polars_frame(some()).drop("currency")
    for native in (frame, relation(frame)):
        assert breakdown(native, dollars, "calls").rows() == [("yes", 4)]
        assert breakdown(native, Dimension("coin", needs=("currency",)), "calls").rows() == [("USD", 4)]
        assert distribution(native, dollars, bins=1)["dollars"].to_list() == ["yes"]


REFUSED = {
    "no column": (Dimension("tem"), "no column 'tem', which the dimension 'tem' needs"),
    "no column of a case": (Dimension("x", cases=[("a", Condition("tem", "known"))]), "no column 'tem'"),
    "no column of an expression": (Dimension("x", expression=nw.col("tem")), "'x' cannot be computed"),
    "a label": (Dimension("x", needs=("labels.none",)), r"no column 'labels\.none'"),
    "other kinds": (Dimension("x", cases=[("a", Condition("model_name", ">", 1))]), "which is String, with 1"),
    "text for numbers": (Dimension("x", cases=[("a", Condition("latency_ms", "==", "1"))]), "Int64, with '1'"),
    "a rate": (Dimension("x", needs=("tokens_per_second",)), "'x' is Float64; it must be text"),
    "a computed rate": (Dimension("x", expression=nw.col("latency_ms") / 7), "'x' is Float64; it must be text"),
    "several": (Dimension("x", expression=nw.all()), "'x' cannot be computed"),
    "kinds of an expression": (Dimension("x", expression=nw.col("model_name") > 1), "'x' cannot be computed"),
    "Polars": (Dimension("x", expression=pl.col("team")), "give one of Narwhals"),  # type: ignore[arg-type]
    "a known name": (Dimension("day", needs=("team",)), "'day' already, and means something else"),
    "a time": (Dimension("quarter", kind="time", needs=("create_time",)), "those of your own are categories"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_calls_cannot_be_asked(name: str, some_calls: Any) -> None:
    dimension, sentence = REFUSED[name]
    with pytest.raises(UsageError, match=sentence):
        breakdown(some_calls, dimension, "calls")


def test_a_known_dimension_may_have_another_title(some_calls: Any) -> None:
    tag = Dimension("day", "Tag", "time", needs=("create_time",))
    assert breakdown(some_calls, tag, "calls").roles.dimensions["day"].title == "Tag"


def test_what_a_dimension_says_of_itself() -> None:
    assert (SIZE.title, SIZE.kind, SIZE.needs) == ("Size", "category", ("prompt_tokens",))
    assert Dimension("team_of", needs=("labels.team",)).title == "Team of"
    assert Dimension("team").needs == ("team",)
    again = Dimension("size", cases=(("long", (LONG,)),), otherwise="short")
    assert again == SIZE
    assert len({again, SIZE, DIMENSIONS["day"]}) == 2
    twin = Dimension("vendor", expression=nw.col("model_name").str.slice(0, 3))
    assert twin != VENDOR
    assert Dimension("vendor", expression=VENDOR.expression) == VENDOR
    assert again != Dimension("size", "Size of the prompt", cases=(("long", LONG),), otherwise="short")
    assert again != "size"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": ""}, "its name is a text, and not empty"),
        ({"kind": "kind"}, "there are: category, time, cycle"),
        ({"needs": "team"}, "give a tuple of columns"),
        ({"needs": ("a", "b")}, "needs 2 columns; say how by cases"),
        ({"cases": [("a", ())]}, "it is a text with a Condition or several"),
        ({"cases": [(1, LONG)]}, "it is a text with a Condition or several"),
        ({"cases": [("a", "prompt_tokens > 1")]}, "it is a text with a Condition or several"),
        ({"cases": ["a"]}, "it is a text with a Condition or several"),
        ({"cases": [("a", LONG)], "otherwise": 1}, "it is a text, or None"),
        ({"otherwise": "short"}, "give one way to its value"),
        ({"cases": [("a", LONG)], "expression": nw.col("a")}, "give one way to its value"),
    ],
)
def test_what_is_no_dimension(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Dimension(**{"name": "own", **arguments})
