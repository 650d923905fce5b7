"""What is said to Spark, as far as no Spark is needed to see that it is right; the rest is in `tests/spark`."""

import random
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mofa_usage.analysis.ordered import Picked, places_of, polars_picked
from mofa_usage.analysis.spark_groups import between
from mofa_usage.analysis.sums import in_spark
from mofa_usage.errors import UsageError
from mofa_usage.measures import Bound
from mofa_usage.reading.columns import bare, call_column
from mofa_usage.reading.exact import Leeway
from mofa_usage.reading.relation import told
from mofa_usage.reading.spark_frames import is_spark
from mofa_usage.reading.spark_values import exact, moment, named, text_literal
from mofa_usage.service.concurrency import InFlight
from mofa_usage.service.spark_concurrency import put_together

JAVA = (
    "An error occurred while calling o3690.getResult.\n: org.apache.spark.SparkException: Exception thrown:"
    "\n\tat org.apache.spark.util.SparkThreadUtils$.awaitResult(SparkThreadUtils.scala:53)\nCaused by: "
    "org.apache.spark.SparkException: Job aborted: Total size is bigger than spark.driver.maxResultSize (1024.0 KiB)"
    "\n\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2887)\n\t... 1 more"
)

names = st.text(st.sampled_from("aA.^`;_0é \U0001f600"), max_size=8)


@given(names, names)
def test_bare_names_differ_by_more_than_their_case(one: str, other: str) -> None:
    """Spark takes a dot for the way into a struct, and `Team` and `team` for one name."""
    assert set(bare(one)) <= set("abcdefghijklmnopqrstuvwxyz0123456789_ ^;")
    assert (bare(one).lower() == bare(other).lower()) is (one == other)


def test_names_that_are_plain_stay_what_they_are() -> None:
    assert bare("total_price") == "total_price"
    assert named("labels.Team") == "`labels^2e;^54;eam`"


@given(st.text(max_size=20))
def test_texts_hold_nothing_that_ends_them(text: str) -> None:
    said = text_literal(text)
    inside = said[1:-1]
    assert said[0] == said[-1] == "'"
    assert "'" not in inside
    assert inside.isascii()
    assert inside.isprintable()
    assert inside.encode().decode("unicode_escape") == text  # as Spark reads it, too


def test_sql_of_ours_in_the_words_of_spark() -> None:
    condition = """"day: 0" >= 3 AND create_time < TIMESTAMPTZ '2026-05-01 00:00:00+00:00'"""
    wanted = """`day^3a; 0` >= 3 AND create_time < timestamp '2026-05-01 00:00:00+00:00'"""
    assert in_spark(condition) == wanted
    assert moment(datetime(2026, 5, 1, tzinfo=UTC)) == "timestamp '2026-05-01 00:00:00+00:00'"


@pytest.mark.parametrize(
    ("name", "given_type"),
    [("create_time", "timestamp_ntz"), ("create_time", "date"), ("total_price", "string"), ("id", "array<string>")],
)
def test_types_without_an_exact_cast_are_refused(name: str, given_type: str) -> None:
    column = call_column(name)
    assert column is not None
    assert exact(column, "x", given_type, Leeway(round_prices=True)) is None


def test_nothing_else_is_a_frame_of_spark() -> None:
    assert not any(map(is_spark, (pl.DataFrame(), pl.LazyFrame(), "calls.parquet", None, object())))


@given(st.lists(st.integers(0, 99), max_size=60), st.sampled_from([0.5, 0.9, 0.99, 1 / 3]))
def test_what_is_picked_by_place_is_what_is_picked_from_lists(values: list[int], quantile: float) -> None:
    """Spark hands over the values at some places, the others lists of all values."""
    asked = [
        Picked("p", "v", quantile, None),
        *(Picked(f"e{up}", "v", quantile, Bound(0.9, up)) for up in (False, True)),
    ]
    frame = pl.LazyFrame({"k": ["a"] * len(values), "v": values}, schema={"k": pl.String, "v": pl.Int64})
    (wanted,) = polars_picked(frame, [["k"]], ["v"], asked)
    ordered = sorted(values)

    def at(place: int | None) -> int | None:
        return None if place is None else ordered[place]

    for one in asked if values else ():
        found = between(one, len(values), *map(at, places_of(one, len(values))))
        assert (found is None) is (wanted[one.name].item() is None)
        assert found is None or found == pytest.approx(wanted[one.name].item(), rel=1e-12)


def test_periods_that_were_swept_apart_make_what_one_sweep_makes() -> None:
    draw = random.Random(3)
    edges = [0, 10, 20, 35]
    calls = [(begin := draw.randrange(35), begin + draw.randrange(1, 30)) for _ in range(40)]
    # Of one instant the ends come first, and an end belongs to the period that it ends in.
    turns = sorted([*((begin, 1) for begin, _ in calls), *((end, -1) for _, end in calls)])
    wanted, now, swept = InFlight([], []), 0, list[tuple[Any, ...]]()
    for start, end in pairwise(edges):
        inside = [(at, change) for at, change in turns if start <= at - (change < 0) < end]
        running = list(accumulate(change for _, change in inside))
        reached = [count for count, (_, change) in zip(running, inside, strict=True) if change > 0]
        swept.append((max(reached, default=None), running[-1], sum(at * change for at, change in inside)))
        wanted.most.append(now + max([0, *reached]))
        wanted.spent.append(sum(max(0, min(stop, end) - max(begin, start)) for begin, stop in calls))
        now += running[-1]
    assert put_together(swept, edges) == wanted
    assert put_together([None], [0, 5]) == InFlight([0], [0])


@pytest.mark.parametrize(
    ("module", "text", "said"),
    [
        (
            "py4j.protocol",
            JAVA,
            "Spark cannot read the calls: org.apache.spark.SparkException: Job aborted: Total size is",
        ),
        (
            "py4j.protocol",
            "Answer from Java side is empty",
            "Spark cannot read the calls: Answer from Java side is empty",
        ),
        (
            "pyspark.errors.exceptions",
            "[NO_FILE] gone\n\nJVM stacktrace:\nCaused by: x",
            "Spark cannot read the calls: [NO",
        ),
    ],
)
def test_an_error_of_java_is_a_sentence(module: str, text: str, said: str) -> None:
    error = type("Py4JJavaError", (Exception,), {"__module__": module})
    with pytest.raises(UsageError) as raised, told():
        raise error(text)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
