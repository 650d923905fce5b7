"""An answer stays one: what Polars' methods make of it, what it knows after them, and what else holds it."""

import copy
import inspect
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mofa_usage
from mofa_usage.analysis import Breakdown, breakdown, cost
from mofa_usage.measures import MEASURES, Aggregate, Measure, MeasureColumn, Roles
from mofa_usage.theme import styles
from tests.plain_analysis import call, polars_frame

T = datetime(2025, 5, 1, 12, tzinfo=UTC)
ROWS = [
    call(T, model_name="a", total_price=Decimal("0.5"), latency_ms=100, completion_tokens=50, total_tokens=100),
    call(T.replace(hour=15), model_name="b", total_price=Decimal("0.25"), status="timeout", latency_ms=30_000),
    call(T.replace(hour=16), model_name="b", total_price=Decimal("2"), currency="EUR", time_to_first_token_ms=7),
    call(T.replace(hour=17), model_name=None, latency_ms=9),
]
SLOW = Measure("slow", "Slow calls", "count", "calls", "Calls that took a second.", Aggregate("count"))


def answer() -> Breakdown:
    found = breakdown(polars_frame(ROWS), "model_name", ["cost", "calls", SLOW])
    found.styles_of = lambda dimension: styles([dimension])
    found.totals = (breakdown(polars_frame(ROWS), (), ["cost", "calls", SLOW]),)
    return found


STEPS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "bottom_k": lambda frame: frame.bottom_k(1, by="calls"),
    "clear": lambda frame: frame.clear(),
    "drop_nans": lambda frame: frame.drop_nans(),
    "drop_nulls": lambda frame: frame.drop_nulls(),
    "filter": lambda frame: frame.filter(pl.col("calls") > 1),
    "gather": lambda frame: frame.gather([1, 0]),
    "gather_every": lambda frame: frame.gather_every(2),
    "head": lambda frame: frame.head(1),
    "limit": lambda frame: frame.limit(1),
    "remove": lambda frame: frame.remove(pl.col("calls") > 1),
    "reverse": lambda frame: frame.reverse(),
    "sample": lambda frame: frame.sample(2, seed=1),
    "slice": lambda frame: frame.slice(1, 1),
    "sort": lambda frame: frame.sort("model_name"),
    "tail": lambda frame: frame.tail(2),
    "top_k": lambda frame: frame.top_k(2, by="calls"),
    "unique": lambda frame: frame.unique("calls", keep="first", maintain_order=True),
    "vstack": lambda frame: frame.vstack(frame),
    "cast": lambda frame: frame.cast({"calls": pl.Int32}),
    "drop": lambda frame: frame.drop("cost_EUR"),
    "fill_nan": lambda frame: frame.fill_nan(0),
    "fill_null": lambda frame: frame.fill_null(0),
    "hstack": lambda frame: frame.hstack([pl.Series("note", [1, 2, 3])]),
    "interpolate": lambda frame: frame.select("calls", "slow").interpolate(),
    "rename": lambda frame: frame.rename({"calls": "Calls"}),
    "select": lambda frame: frame.select("model_name", "cost_USD"),
    "select_seq": lambda frame: frame.select_seq("model_name", "cost_USD"),
    "shift": lambda frame: frame.shift(1),
    "update": lambda frame: frame.update(pl.DataFrame({"calls": [7, 8, 9]})),
    "with_columns": lambda frame: frame.with_columns(double=pl.col("calls") * 2),
    "with_columns_seq": lambda frame: frame.with_columns_seq(double=pl.col("calls") * 2),
    "with_row_index": lambda frame: frame.with_row_index(),
    "__copy__": copy.copy,
    "__deepcopy__": copy.deepcopy,
    "clone": lambda frame: frame.clone(),
    "rechunk": lambda frame: frame.rechunk(),
    "set_sorted": lambda frame: frame.set_sorted("slow"),
    "shrink_to_fit": lambda frame: frame.shrink_to_fit(),
    "[rows]": lambda frame: frame[:2],
    "[columns]": lambda frame: frame[["model_name", "calls"]],
    "[both]": lambda frame: frame[1:, ["calls", "cost_USD"]],
}
WHOLE = {"rename", "drop", "reverse", "sort", "select", "select_seq", "with_columns", "with_columns_seq", "hstack",
         "with_row_index", "__copy__", "__deepcopy__", "clone", "rechunk", "set_sorted", "shrink_to_fit", "fill_nan",
         "drop_nans", "[columns]", "cast", "interpolate"}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_an_answer_stays_one_and_is_what_polars_gives(name: str) -> None:
    before = answer()
    after = STEPS[name](before)
    assert type(after) is Breakdown
    assert_frame_equal(pl.DataFrame(after), STEPS[name](pl.DataFrame(before)))
    assert after.styles_of is before.styles_of
    left = {before.roles.measures[column] for column in after.columns if column in before.roles.measures}
    assert left <= set(after.roles.measures.values())
    assert after.roles.question == "breakdown"
    assert set(after.roles.dimensions) == {"model_name"} & set(after.columns)


@pytest.mark.parametrize("name", STEPS)
def test_totals_stay_where_no_row_and_no_number_is_another(name: str) -> None:
    assert bool(STEPS[name](answer()).totals) == (name in WHOLE)


def test_every_wrapped_method_is_tested() -> None:
    wrapped = {name for name, entry in vars(Breakdown).items() if hasattr(entry, "__wrapped__")} - {"_from_pydf", "of"}
    assert wrapped == {name for name in STEPS if not name.startswith("[")}
    assert inspect.signature(Breakdown.top_k) == inspect.signature(pl.DataFrame.top_k)
    assert Breakdown.filter.__doc__ == pl.DataFrame.filter.__doc__


def test_a_renamed_column_keeps_its_role() -> None:
    renamed = answer().rename({"cost_EUR": "Kosten", "slow": "langsam", "model_name": "Modell"})
    assert renamed.roles.measures["Kosten"] == MeasureColumn(MEASURES["cost"], "EUR")
    assert renamed.roles.measures["langsam"].measure is SLOW
    assert renamed.roles.dimensions["Modell"].name == "model_name"
    assert renamed.rename(str.upper).roles.measures["KOSTEN"].currency == "EUR"
    written = Breakdown({"model_name": ["a"], "calls": [1]}).rename({"calls": "n"})
    assert written.roles.measures == {"n": MeasureColumn(MEASURES["calls"])}


def test_a_column_that_was_dropped_has_no_role_when_its_name_comes_back() -> None:
    again = answer().drop("slow").with_columns(slow=pl.lit("no"))
    assert "slow" not in again.roles.measures


def test_currencies_are_those_of_the_money_that_is_left() -> None:
    found = answer()
    assert found.currencies == ("USD", "EUR")
    assert found.select("model_name", "cost_EUR").currencies == ("EUR",)
    assert found.select("model_name", "calls").currencies == ()
    one = cost(polars_frame(ROWS[:2]))
    assert (one.currencies, one.drop("currency").currencies, one.select("calls").currencies) == (("USD",), ("USD",), ())


def test_numbers_that_were_changed_have_no_totals() -> None:
    assert answer().with_columns(calls=pl.col("calls") * 2).totals == ()
    assert answer().select(pl.col("calls").sum()).totals == ()
    assert answer().filter(pl.col("calls") > 0).totals != ()
    assert answer().totals[0].columns == ["cost_USD", "cost_EUR", "calls", "slow"]


PLAIN: dict[str, Callable[[Breakdown], Any]] = {
    "group_by": lambda frame: frame.group_by("calls").agg(pl.len()),
    "join": lambda frame: frame.join(pl.DataFrame({"model_name": ["a"]}), on="model_name"),
    "pivot": lambda frame: frame.pivot("model_name", values="calls"),
    "unpivot": lambda frame: frame.unpivot(index="model_name"),
    "transpose": lambda frame: frame.transpose(),
    "describe": lambda frame: frame.describe(),
    "null_count": lambda frame: frame.null_count(),
    "sum": lambda frame: frame.sum(),
    "arithmetic": lambda frame: frame.select("calls") * 2,
    "lazy": lambda frame: frame.lazy().collect(),
    "partition_by": lambda frame: frame.partition_by("model_name")[0],
    "sql": lambda frame: frame.sql("SELECT calls FROM self"),
    "concat": lambda frame: pl.concat([frame, frame]),
    "concat beside": lambda frame: pl.concat([frame, frame.rename(lambda name: name + "2")], how="horizontal"),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_makes_something_else_of_it_gives_a_plain_frame(name: str) -> None:
    assert type(PLAIN[name](answer())) is pl.DataFrame


def test_what_is_no_frame_stays_what_it_was() -> None:
    found = answer()
    assert isinstance(found["calls"], pl.Series)
    assert found[0, "calls"] == 1
    assert found.pipe(lambda frame: frame) is found
    assert next(found.iter_slices(1)).roles == found.roles  # type: ignore[attr-defined]  # Polars does not say so
    found.insert_column(0, pl.Series("n", [1, 2, 3]))
    assert found.columns[0] == "n"


def test_an_answer_is_pickled_with_all_that_it_knows_but_its_looks() -> None:
    found = answer().filter(pl.col("calls") > 0)
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is Breakdown
    assert again.roles == found.roles
    assert again.totals[0].roles == found.totals[0].roles
    assert again.styles_of is None
    assert_frame_equal(again, found)


def test_an_answer_draws_itself_after_a_filter_and_a_new_name() -> None:
    asked: list[str] = []

    def looks(dimension: str) -> Any:
        asked.append(dimension)
        return styles(["a", "b"])

    found = answer()
    found.styles_of = looks
    found.filter(pl.col("model_name") == "a").rename({"model_name": "Model"}).select("Model", "calls").draw()
    assert asked == ["model_name"]


def test_floats_are_for_what_takes_no_decimals() -> None:
    found = answer()
    plain = found.floats()
    assert plain.schema["cost_USD"] == pl.Float64
    assert plain["cost_USD"].to_list() == [0.5, 0.25, None]
    assert plain.drop("cost_USD", "cost_EUR").equals(found.drop("cost_USD", "cost_EUR"))
    assert plain.roles == found.roles
    assert plain.totals[0]["cost_EUR"].to_list() == [2.0]
    assert type(plain.totals[0]) is Breakdown
    assert found.schema["cost_USD"] == pl.Decimal(38, 10)
    assert plain.to_pandas().dtypes["cost_USD"] == "float64"
    assert plain.to_pandas()["cost_USD"].sum() == 0.75


def test_the_class_is_exported() -> None:
    assert mofa_usage.Breakdown is Breakdown
    assert Roles.guessed(["calls"], numeric=["calls"], text=[]).renamed({"calls": "n"}).measures["n"].currency is None
