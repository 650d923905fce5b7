"""The usage frame: what it answers, in memory and lazily, what it keeps and what it hands on."""

import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mofa_usage import QueryFilter, UsageError, UsageFrame, export_parquet, load_usage, theme
from mofa_usage.analysis import Question
from mofa_usage.measures import MEASURES, Dimension
from tests.proofs import trials


@pytest.fixture
def usage_of(tmp_path: Path) -> Any:
    """Usage of some calls: in memory, or lazily from Parquet."""
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "id": [str(UUID(int=n)) for n in range(48)],
            "model_name": [("gpt-4", "<script>alert(1)</script>")[n % 2] for n in range(48)],
            "status": ["success" if n % 4 else "timeout" for n in range(48)],
            "total_price": [None if n % 3 == 0 else 0.1 for n in range(48)],
            "create_time": [begin + timedelta(hours=n) for n in range(48)],
        }
    )
    frame.write_parquet(tmp_path / "calls.parquet")
    return {"frame": frame, "parquet": tmp_path / "calls.parquet"}


KINDS = pytest.mark.parametrize("kind", ["frame", "parquet"])


@KINDS
def test_sql_runs_on_the_clock_of_the_zone(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind], tz="Europe/Berlin")
    days = usage.sql(
        "SELECT date_trunc('day', create_time)::DATE AS day, count(*) AS calls FROM calls GROUP BY 1 ORDER BY 1"
    )
    assert days["calls"].to_list() == [23, 24, 1]
    with pytest.raises(UsageError, match="DuckDB refuses the query"):
        usage.sql("SELECT nothing FROM calls")
    assert usage.sql("SELECT sum(total_price) AS cost FROM calls")["cost"].to_list() == [Decimal("3.2")]


@KINDS
@pytest.mark.proof
def test_many_threads_may_ask_at_once(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind])
    answers: list[Any] = []
    rounds = trials(3, 10)

    def ask() -> None:
        for _ in range(rounds):
            answers.append(usage.sql("SELECT count(*) AS n FROM calls")["n"][0])
            answers.append(usage.breakdown("model_name", "calls")["calls"].sum())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [48] * 12 * rounds


@KINDS
def test_questions_shrink_to_the_columns_that_were_loaded(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind], columns=["model_name", "create_time", "total_price", "currency"])
    costs = ["cost", "calls", "priced_calls", "coverage", "cost_per_call", "currency"]
    assert usage.cost().columns == ["model_name", *costs]
    assert usage.breakdown().columns == ["calls", "cost", "coverage", "currency"]
    assert usage.summary().columns == [
        "first_call",
        "last_call",
        "calls",
        *costs[:1],
        *costs[2:-1],
        "models",
        "currency",
    ]
    assert usage.between("2026-03-02").cost("day")["cost"].to_list() == [Decimal("1.6")]
    with pytest.raises(UsageError, match="no column 'latency_ms'"):
        usage.latency()
    with pytest.raises(UsageError, match="no column 'status', which the measure 'success_rate'"):
        usage.breakdown(measures=["calls", "success_rate"])


@KINDS
def test_several_questions_at_once(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind], tz="Asia/Tokyo")
    model = Dimension("model", "Model", "category", "The model.", ("model_name",))
    first, second, third = usage.breakdowns(
        [Question("day", "calls"), Question(None, ["cost"]), Question(model, measures=MEASURES["calls"])]
    )
    assert_frame_equal(first, usage.breakdown("day", "calls"))
    assert_frame_equal(second, usage.breakdown("model_name", "cost"))
    assert_frame_equal(third, usage.breakdown("model_name", "calls").rename({"model_name": "model"}))
    assert third.styles_of is not None
    assert list(third.styles_of("model")) == list(usage.styles("model_name"))
    assert second.draw().data


@KINDS
def test_a_period_within_the_period(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind], start="2026-03-01T06:00", tz="UTC")
    assert len(usage) == 42
    day = usage.between("2026-03-01", "2026-03-02")
    assert len(day) == 18
    assert (day.start, day.end) == (datetime(2026, 3, 1, 6, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert day.frame["create_time"].min() == day.start
    assert len(day.between("2026-03-05")) == 0
    newest = load_usage(usage_of[kind], QueryFilter(limit=10)).between(end="2026-03-02T20:00Z")
    assert len(newest) == 6  # of the ten newest, the four last hours are cut off


@KINDS
def test_the_analyses_are_methods(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind], tz="UTC")
    assert usage.breakdown("model_name", "cost")["cost"].sum() == Decimal("3.2")
    assert usage.success_rate(by=())["success_rate"].to_list() == [0.75]
    assert usage.breakdown("day", "calls")["calls"].to_list() == [24, 24]
    with pytest.raises(UsageError, match="latency_ms"):
        usage.latency()


@KINDS
def test_parquet_stays_lazy_until_the_frame_is_asked_for(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind])
    assert ("lazy" in repr(usage)) == (kind == "parquet")
    assert usage.frame is usage.frame
    assert "48 calls" in repr(usage)
    assert usage.lazy().select(pl.len()).collect().item() == 48
    assert usage.relation.aggregate("count(*)").fetchall() == [(48,)]


@KINDS
def test_the_card_shows_the_headlines(usage_of: Any, kind: str) -> None:
    card = load_usage(usage_of[kind], tz="Europe/Berlin")._repr_html_()
    assert "2026-03-01 01:00 to 2026-03-03 00:00 (Europe/Berlin)" in card
    assert "48, 75.0% successful" in card
    assert "$3.20" in card
    assert "66.7% of the calls have a price" in card
    assert "gpt-4 50.0%" in card
    assert "<script>" not in card
    assert "prices of 33.3% of the calls" in card
    few = load_usage(usage_of[kind], columns=["model_name"])._repr_html_()
    assert "Cost" not in few
    assert "prices, tokens, latencies, times to the first token" in few
    nothing = load_usage(usage_of[kind], start="2030-01-01")._repr_html_()
    assert ">0<" in nothing


# --- pickling -------------------------------------------------------------------------------------------------------


def again(usage: UsageFrame) -> UsageFrame:
    copy: UsageFrame = pickle.loads(pickle.dumps(usage))
    return copy


def answers(usage: UsageFrame) -> list[Any]:
    """What a usage says, by all ways that it has."""
    return [
        len(usage),
        usage.columns,
        (usage.tz, usage.start, usage.end),
        usage.breakdown(["day", "model_name"], ["calls", "cost"]).rows(),
        usage.sql("SELECT date_trunc('day', create_time)::DATE, count(*) FROM calls GROUP BY 1 ORDER BY 1").rows(),
        dict(usage.styles("model_name")),
    ]


@KINDS
def test_a_pickled_usage_answers_the_same(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind], start="2026-03-01T06:00", tz="Europe/Berlin")
    asked = answers(usage)  # with connections open
    copy = again(usage)
    assert ("lazy" in repr(copy)) == (kind == "parquet")
    assert answers(copy) == asked
    assert again(copy).frame.sort("id").equals(usage.frame.sort("id"))
    assert answers(again(usage.between("2026-03-02"))) == answers(usage.between("2026-03-02"))
    newest = load_usage(usage_of[kind], QueryFilter(limit=5, model_name="gpt-4"))
    assert again(newest).frame["id"].to_list() == newest.frame["id"].to_list()


def test_pickled_parquet_is_its_path_wherever_the_process_is(
    usage_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export_parquet(usage_of["frame"].with_columns(pl.lit("x" * 1000).alias("error_message")), "ours.parquet")
    for path in ("calls.parquet", "ours.parquet", "*.parquet"):
        usage = load_usage(path)
        pickled = pickle.dumps(usage)
        assert len(pickled) < 20_000  # no calls
        asked = len(usage)
        monkeypatch.chdir("/")
        assert len(pickle.loads(pickled)) == len(usage) == asked
        monkeypatch.chdir(tmp_path)


def test_another_process_gets_a_usage(usage_of: Any, tmp_path: Path) -> None:
    for kind in ("frame", "parquet"):
        (tmp_path / "usage.pickle").write_bytes(pickle.dumps(load_usage(usage_of[kind])))
        program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).breakdown((), 'cost')['cost'][0])"
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "usage.pickle")], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "3.2000000000"


def test_a_pickled_relation_of_somebody_takes_its_calls_along(usage_of: Any) -> None:
    connection = duckdb.connect()
    table = usage_of["frame"]  # which only this connection knows
    usage = load_usage(connection.register("mine", table).sql("FROM mine WHERE status = 'success'"))
    assert "lazy" in repr(usage)
    copy = again(usage)
    asked = answers(usage)
    connection.close()
    assert "36 calls" in repr(copy)
    assert answers(copy) == asked


# --- what is kept, and what is loaded -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        lambda usage: usage.breakdown("model_name", ["calls", "cost"]),
        lambda usage: usage.breakdown(["day", "model_name"], "calls"),
        lambda usage: usage.breakdown("model_name", "calls", start="2026-03-01T00:00Z", end="2026-03-01T00:30Z"),
        lambda usage: usage.success_rate("status"),
        lambda usage: usage.breakdown((), "cost"),
    ],
)
def test_an_answer_keeps_no_calls(usage_of: Any, question: Callable[[UsageFrame], Any]) -> None:
    """It is small and may be kept for long; the calls are not small."""
    usage = load_usage(usage_of["frame"])
    gone: list[Any] = [weakref.ref(usage), weakref.ref(usage.frame)]
    answer = question(usage)
    drawn = question(usage).draw()
    del usage
    gc.collect()
    assert [reference() for reference in gone] == [None, None]
    assert answer.draw().to_json() == drawn.to_json()


@KINDS
def test_a_name_keeps_its_colour_when_the_usage_is_gone(usage_of: Any, kind: str) -> None:
    usage = load_usage(usage_of[kind])
    wanted = usage.styles("model_name")
    narrow = usage.breakdown("model_name", "calls", end="2026-03-01T00:30Z")
    assert narrow["model_name"].to_list() == ["gpt-4"]
    assert set(wanted) == {"gpt-4", "<script>alert(1)</script>"}
    del usage
    gc.collect()
    styles_of: Any = narrow.styles_of
    assert styles_of("model_name") == wanted


def test_statuses_have_their_own_colours(usage_of: Any) -> None:
    assert load_usage(usage_of["frame"]).styles("status") == theme.STATUS_STYLES


WITHOUT_PLOTLY = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "plotly":
            raise ModuleNotFoundError("No module named 'plotly'", name="plotly")
sys.meta_path.insert(0, Blocked())
from mofa_usage import MissingExtraError, load_usage
usage = load_usage(sys.argv[1])
assert len(usage) == len(usage.frame) == 48
answer = usage.breakdown("model_name", ["calls", "cost"])
usage.between("2026-03-02").success_rate()
assert usage._repr_html_()
usage.export_parquet(sys.argv[2])
for drawing in (answer.draw, lambda: usage.styles("model_name")):
    try:
        drawing()
    except MissingExtraError as error:
        assert "mofa-usage[analysis]" in str(error), error
    else:
        raise AssertionError("drawn without Plotly")
"""


def test_only_drawing_needs_plotly(usage_of: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_PLOTLY, str(usage_of["parquet"]), str(tmp_path / "out.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_dates_of_an_export_are_on_the_clock_of_the_usage(usage_of: Any, tmp_path: Path) -> None:
    usage = load_usage(usage_of["frame"], tz="Europe/Berlin")
    assert usage.export_parquet(tmp_path / "day.parquet", end="2026-03-02").rows == 23
    assert usage.export_parquet(tmp_path / "utc.parquet", end="2026-03-02", tz="UTC").rows == 24
