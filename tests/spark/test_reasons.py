"""Explanations and service levels are the same on a cluster, in DuckDB and in Polars; what cannot be asked says so."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mofa_usage.errors import UsageError
from mofa_usage.report import write_report
from tests.plain_analysis import Row
from tests.spark.usages import Usages, assert_same, rows, usages

BEFORE, AFTER = ("2025-03-29", "2025-03-31"), ("2025-10-25", "2025-10-27")
MODELS = {"a": "gpt-4o", "b": "gpt-4o-mini", "B": "nobody knows"}


@pytest.fixture(scope="module")
def calls(session: Any, tmp_path_factory: pytest.TempPathFactory) -> Usages:
    """Calls in several currencies."""
    return usages(session, rows(300), tmp_path_factory.mktemp("calls"))


@pytest.fixture(scope="module")
def lone(session: Any, tmp_path_factory: pytest.TempPathFactory) -> Usages:
    """Calls in one currency; those of one feature cost ten times as much in autumn, fail more often and are slow."""
    return usages(session, list(_with_a_cause()), tmp_path_factory.mktemp("lone"))


def _with_a_cause() -> Iterator[Row]:
    for place, row in enumerate(rows(600, seed=5)):
        found = {**row, "currency": "EUR", "model_name": MODELS[row["model_name"]]}
        found |= {"status": "success" if place % 7 else row["status"], "latency_ms": place}
        price = row["total_price"]
        found["total_price"] = None if price is None else (price / 1000).quantize(price)
        if row["labels.feature"] == "search" and row["create_time"].month == 10:
            found["total_price"], found["status"], found["latency_ms"] = price, "failed", 20_000
        yield found


def test_why_the_cost_changed(calls: Usages, lone: Usages) -> None:
    asked_for: list[tuple[Usages, dict[str, Any]]] = [
        (lone, {}),
        (calls, {"by": ["labels.feature", "day"], "per": "week"}),
    ]
    for asked, options in asked_for:
        found, wanted = (usage.explain_change(BEFORE, AFTER, **options) for usage in (asked.spark, asked.duckdb))
        assert_same(found, wanted)
        assert_same(found.beside, wanted.beside)
        assert found.sentence == wanted.sentence


@pytest.mark.parametrize("measure", ["cost", "success_rate", "cache_hit_rate"])
def test_drivers(lone: Usages, measure: str) -> None:
    found = lone.same("drivers", measure, BEFORE, AFTER, min_calls=5)
    assert found.height or measure == "cache_hit_rate"


def test_drivers_with_a_rest_and_numbers(lone: Usages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a dimension with more values than are told apart, and of one whose values are numbers."""
    monkeypatch.setattr("mofa_usage.changes.leaves._KEPT", (3,))
    asked = ["labels.feature", "user_id", "hour_of_day"]
    assert lone.same("drivers", "cost", BEFORE, AFTER, min_calls=5, dimensions=asked).height


def test_slow_drivers(lone: Usages) -> None:
    assert lone.same("slow_drivers", 0.9, min_calls=5).height


def test_drivers_in_one_of_several_currencies(calls: Usages) -> None:
    calls.same("drivers", "cost", BEFORE, AFTER, min_calls=2)


@pytest.mark.parametrize("every", ["hour", "day", "month"])
def test_service_levels(calls: Usages, every: str) -> None:
    """The hours are those of nights when the clock changes: two of them have one name."""
    limits: dict[str, Any] = {"latency_ms": 9000, "ttft_ms": 2000, "every": every}
    one, *others = (
        usage.service_level(["model_name", "labels.feature"], **limits)
        for usage in (calls.spark, calls.duckdb, calls.polars)
    )
    for other in others:
        for part in ("level", "over_time", "burn"):
            assert_same(getattr(one, part), getattr(other, part))
        assert one.sentence == other.sentence


def test_a_budget(calls: Usages) -> None:
    assert_same(pl.DataFrame(calls.spark.check("500/month")), pl.DataFrame(calls.duckdb.check("500/month")))


def test_what_needs_the_calls_here_says_so(calls: Usages, tmp_path: Path) -> None:
    for question in ("waste", "cache_savings", "sessions", "completeness", "with_prices"):
        with pytest.raises(UsageError, match=rf"^{question} needs the calls on this machine.*Ask it of a part"):
            getattr(calls.spark, question)()
    with pytest.raises(UsageError, match=r"^export_parquet needs the calls on this machine"):
        calls.spark.export_parquet(tmp_path / "calls.parquet")
    with pytest.raises(UsageError, match=r"^write_report needs the calls on this machine"):
        write_report(calls.spark, tmp_path / "report.html")
    with pytest.raises(UsageError, match=r"^SQL of DuckDB needs the calls on this machine"):
        calls.spark.sql("SELECT 1")


def test_a_part_of_them_can_be_brought_here(calls: Usages) -> None:
    day = ("2025-03-30", "2025-03-31")
    part = calls.spark.between(*day)
    assert part.frame.height == len(calls.duckdb.between(*day)) > 0
    assert part.sql("SELECT count(*) AS calls FROM calls").item() == part.frame.height
    assert_same(part.waste(), calls.polars.between(*day).waste())
    elsewhere = pickle.loads(pickle.dumps(calls.spark.between(*day)))
    assert_same(elsewhere.cost(), part.cost())


def test_the_session_is_left_as_it_was(session: Any, calls: Usages) -> None:
    def state() -> tuple[Any, ...]:
        return dict(session.conf.getAll), session.catalog.listTables(), session.catalog.listDatabases()

    before = state()
    calls.spark.breakdown(["day", "model_name"], ["cost", "latency_p95"], totals=True)
    calls.spark.explain_change(BEFORE, AFTER)
    calls.spark.service_level()
    assert state() == before


def test_a_card_for_a_notebook(calls: Usages) -> None:
    assert calls.spark._repr_html_() == calls.duckdb._repr_html_()
