"""Filters: the calls that meet a predicate, whatever holds them, are those that plain Python picks."""

import asyncio
import pickle
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import duckdb
import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import QueryFilter, UsageError, UsageFrame, export_parquet, load_usage
from mofa_usage.records import ApiCallStatus
from mofa_usage.stores import connect
from tests.proofs import trials
from tests.samples import at, call, session

ZONE = "Europe/Berlin"
BERLIN = ZoneInfo(ZONE)
STATUSES = [status.value for status in ApiCallStatus]
ODD = ["with.dot", "with'quote", 'with"quotes', "ünï ✓", "select"]


def made(number: int) -> Any:
    """One call of 60, an hour and a half after the one before; most values are missing now and then."""
    labels = {"team": "ab"[number % 2]} if number % 3 else {}
    labels |= {ODD[number % 5]: f"it's {number % 4}"} if number % 4 else {}
    labels |= {"attempt": str(number % 3 + 1)} if number % 5 == 0 else {}
    return call(
        number * 5400,
        id=UUID(int=number + 1),
        user_id=UUID(int=0xABC0 + number % 4),
        chat_session_id=UUID(int=number % 3 + 1),
        model_name=["gpt-4o", "o3", 'it\'s; a "model"'][number % 3],
        status=STATUSES[number % 5],
        error_code=None if number % 5 == 0 else str(400 + number % 2),
        total_price=None if number % 4 == 0 else Decimal(number) / 8,
        price_details=None if number % 4 == 0 else {"currency": "EUR" if number % 3 == 0 else "USD"},
        latency_ms=None if number % 6 == 0 else number * 40,
        tokens_per_second=None if number % 7 else number / 2,
        labels=labels,
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The same calls in a database, in Parquet files of ours and of somebody's, in a relation and in a frame."""
    folder = tmp_path_factory.mktemp("filter")
    url = f"sqlite:{folder / 'usage.db'}"

    async def save() -> None:
        async with connect(url) as store:
            await store.save_api_calls([made(number) for number in range(60)])
            for number, plan in enumerate(("pro", "free"), 1):
                await store.create_session(session(id=UUID(int=number), metadata={"plan": plan, "seats": number}))

    asyncio.run(save())
    frame = load_usage(url).frame
    export_parquet(frame, folder / "ours.parquet")
    frame.with_columns(pl.lit(True).alias("flag")).write_parquet(folder / "calls.parquet")
    frame.write_parquet(folder / "relation.parquet")
    return {
        "database": url,
        "frame": frame,
        "ours": folder / "ours.parquet",
        "parquet": folder / "calls.parquet",
        "relation": folder / "relation.parquet",
    }


@pytest.fixture(scope="module", params=["database", "ours", "parquet", "relation"])
def source(request: pytest.FixtureRequest, sources: Mapping[str, Any]) -> Any:
    kind = request.param
    if kind != "relation":
        return sources[kind]
    connection = duckdb.connect()
    connection.sql(f"SET TimeZone = '{ZONE}'")
    return connection.read_parquet(str(sources[kind]))


@pytest.fixture(scope="module")
def usage(source: Any) -> UsageFrame:
    """All calls of a source on the clock of Berlin; whoever asks for its `frame` makes it a frame."""
    return load_usage(source, tz=ZONE)


def numbers(usage: UsageFrame) -> list[int]:
    """The calls of a usage, by their numbers."""
    return sorted(UUID(text).int - 1 for text in usage.frame["id"])


def picked(sources: Mapping[str, Any], meets: Callable[[dict[str, Any]], Any]) -> list[int]:
    """The numbers of the calls of which plain Python says so."""
    return sorted(UUID(row["id"]).int - 1 for row in sources["frame"].iter_rows(named=True) if meets(row))


def day(row: dict[str, Any]) -> date:
    moment: datetime = row["create_time"]
    return moment.astimezone(BERLIN).date()


FIRST = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
PREDICATES: dict[str, tuple[tuple[Any, ...], dict[str, Any], Callable[[dict[str, Any]], Any]]] = {
    "sql": (("latency_ms > 1000",), {}, lambda row: (row["latency_ms"] or 0) > 1000),
    "sql not": (("NOT latency_ms > 1000",), {}, lambda row: (row["latency_ms"] or 1e9) <= 1000),
    "sql or": (
        ("latency_ms > 2000 OR status = 'failed'",),
        {},
        lambda row: (row["latency_ms"] or 0) > 2000 or row["status"] == "failed",
    ),
    "sql comment": (
        ("status = 'a;b' or total_price >= 2.5 -- ; dear",),
        {},
        lambda row: (row["total_price"] or 0) >= Decimal("2.5"),
    ),
    "sql clock": (("create_time::DATE = '2026-03-03'",), {}, lambda row: day(row) == date(2026, 3, 3)),
    "sql hour": (("hour(create_time) < 6",), {}, lambda row: row["create_time"].astimezone(BERLIN).hour < 6),
    "sql label": (
        ('"labels.with.dot" IS NOT NULL AND "labels.team" = \'a\'',),
        {},
        lambda row: row["labels.with.dot"] and row["labels.team"] == "a",
    ),
    "two": (
        ("latency_ms > 1000", nw.col("status") == "failed"),
        {"model_name": "o3"},
        lambda row: (row["latency_ms"] or 0) > 1000 and row["status"] == "failed" and row["model_name"] == "o3",
    ),
    "narwhals": ((nw.col("latency_ms") > 1000,), {}, lambda row: (row["latency_ms"] or 0) > 1000),
    "narwhals text": (
        (nw.col("model_name").str.starts_with("gpt"),),
        {},
        lambda row: row["model_name"].startswith("gpt"),
    ),
    "narwhals price": (
        (~nw.col("total_price").is_null() & (nw.col("labels.team") == "b"),),
        {},
        lambda row: row["total_price"] is not None and row["labels.team"] == "b",
    ),
    "equal": ((), {"model_name": 'it\'s; a "model"'}, lambda row: row["model_name"].startswith("it's")),
    "several": ((), {"status": ["failed", ApiCallStatus.TIMEOUT]}, lambda row: row["status"] in ("failed", "timeout")),
    "set": (
        (),
        {"status": {"failed"}, "error_code": (401, "x")},
        lambda row: row["status"] == "failed" and row["error_code"] == "401",
    ),
    "series": ((), {"model_name": pl.Series(["o3", "x"])}, lambda row: row["model_name"] == "o3"),
    "missing": ((), {"latency_ms": None}, lambda row: row["latency_ms"] is None),
    "missing too": ((), {"error_code": ["400", None]}, lambda row: row["error_code"] in ("400", None)),
    "none of them": ((), {"model_name": []}, lambda _: False),
    "unknown name": ((), {"model_name": "nobody"}, lambda _: False),
    "uuid": ((), {"user_id": UUID(int=0xABC1)}, lambda row: row["user_id"].endswith("abc1")),
    "uuid text": ((), {"user_id": [str(UUID(int=0xABC1)).upper(), "x"]}, lambda row: row["user_id"].endswith("abc1")),
    "money": (
        (),
        {"total_price": [Decimal("0.125"), 1.125, 2]},
        lambda row: row["total_price"] in (Decimal("0.125"), Decimal("1.125"), 2),
    ),
    "float": (
        (),
        {"tokens_per_second": [3.5, 7, Decimal("10.5")]},
        lambda row: row["tokens_per_second"] in (3.5, 7, 10.5),
    ),
    "integer": ((), {"latency_ms": range(400, 900)}, lambda row: row["latency_ms"] in range(400, 900)),
    "day": ((), {"create_time": date(2026, 3, 3)}, lambda row: day(row) == date(2026, 3, 3)),
    "days": (
        (),
        {"create_time": ["2026-03-02", date(2026, 3, 4)]},
        lambda row: day(row) in (date(2026, 3, 2), date(2026, 3, 4)),
    ),
    "instant": (
        (),
        {"create_time": [FIRST, FIRST + timedelta(hours=1), None]},
        lambda row: row["create_time"] == FIRST,
    ),
    "instant of a clock": ((), {"create_time": "2026-03-01T13:00:00.123456"}, lambda row: row["create_time"] == FIRST),
    "labels": (
        (),
        {"labels": {"team": ["a", None], "with'quote": "it's 1"}},
        lambda row: row["labels.team"] in ("a", None) and row["labels.with'quote"] == "it's 1",
    ),
    "hostile labels": ((), {"labels": {'with"quotes': "it's 2"}}, lambda row: row['labels.with"quotes'] == "it's 2"),
    "label with a dot": ((), {"labels.with.dot": "it's 1"}, lambda row: row["labels.with.dot"] == "it's 1"),
    "label with a column": ((), {"labels": {"attempt": ["2", 1]}}, lambda row: row["attempt"] in (1, 2)),
    "session": ((), {"session": {"plan": "pro", "seats": "1"}}, lambda row: row["session.plan"] == "pro"),
    "nothing said": ((), {}, lambda _: True),
}


@pytest.mark.parametrize("name", PREDICATES)
def test_what_meets_a_predicate(name: str, usage: UsageFrame, sources: Mapping[str, Any]) -> None:
    predicates, equal, meets = PREDICATES[name]
    filtered = usage.filter(*predicates, **equal)
    wanted = picked(sources, meets)
    found = filtered.breakdown("id", "calls")["id"]
    assert sorted(UUID(text).int - 1 for text in found) == wanted


def test_every_way_to_the_calls_is_filtered(usage: UsageFrame) -> None:
    filtered = usage.filter("latency_ms > 1000")
    assert len(filtered) == 29
    assert filtered.breakdown((), "calls")["calls"].to_list() == [29]
    assert filtered.sql("SELECT count(*) AS n FROM calls")["n"].to_list() == [29]
    assert filtered.relation.aggregate("count(*)").fetchall() == [(29,)]
    assert filtered.frame.height == filtered.lazy().collect().height == 29
    assert len(usage) == 60
    assert (filtered.tz, filtered.columns) == (ZONE, usage.columns)


def test_expressions_of_polars_need_the_calls_in_memory(sources: Mapping[str, Any]) -> None:
    usage = load_usage(sources["frame"])
    wanted = picked(sources, lambda row: (row["latency_ms"] or 0) > 1000)
    assert numbers(usage.filter(pl.col("latency_ms") > 1000)) == wanted
    lazy = load_usage(sources["ours"])
    with pytest.raises(UsageError, match="not in memory"):
        lazy.filter(pl.col("latency_ms") > 1000)
    assert lazy.frame.height == 60
    assert numbers(lazy.filter(pl.col("latency_ms") > 1000)) == wanted


NO_PREDICATES: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "no SQL": (("latency_ms >",), {}, "'latency_ms >' cannot be met: Parser Error"),
    "nothing": (("",), {}, "Parser Error"),
    "two statements": (("latency_ms > 1; DROP TABLE calls",), {}, "more than one statement"),
    "two expressions": (("latency_ms > 1, status = 'failed'",), {}, "single expression"),
    "an end too early": (("latency_ms > 1) OR (true",), {}, "Parser Error"),
    "no predicate": (("latency_ms",), {}, "not true or false of a call: it is BIGINT"),
    "an aggregate": (("count(*) > 1",), {}, "cannot contain aggregates"),
    "a window": (("row_number() OVER () < 3",), {}, "cannot contain window"),
    "an unknown column": (("latency > 1",), {}, '(?s)"latency" not found.*latency_ms'),
    "two kinds": (("model_name > DATE '2026-01-01' + 'x'",), {}, "Error"),
    "expression of nothing": ((nw.col("latency") > 1,), {}, "latency"),
    "expression of a number": ((nw.col("latency_ms") + 1,), {}, "not true or false of"),
    "aggregating expression": ((nw.col("latency_ms").max() > 1,), {}, "cannot be met|not true or false"),
    "expression of two kinds": ((nw.col("model_name") > 1,), {}, "cannot be met"),
    "no text": ((17,), {}, "not a int"),
    "a flag": ((True,), {}, "not a bool"),
    "no column": ((), {"modelname": "x"}, "no column is called 'modelname'; near it: model_name"),
    "no label": ((), {"labels": {"taem": "x"}}, "no call has a label called 'taem'; near it: team"),
    "nothing near": ((), {"labels": {"zzzzz": "x"}}, "there are: team"),
    "no metadata": ((), {"session": {"plam": "x"}}, "no session says anything called 'plam'; near it: plan"),
    "labels that are none": ((), {"labels": "team"}, "labels = 'team'; give a mapping"),
    "no status": ((), {"status": ["failed", "fialed"]}, "no status is called 'fialed'; near it: failed"),
    "text for a number": ((), {"latency_ms": "many"}, r"latency_ms is Int64, which cannot be 'many' \(str\)"),
    "a number beyond": ((), {"latency_ms": 2**70}, "latency_ms is Int64"),
    "flag for a number": ((), {"latency_ms": True}, "latency_ms is Int64"),
    "text for money": ((), {"total_price": "1"}, "total_price is Decimal"),
    "no money": ((), {"total_price": Decimal("0.00000000001")}, "total_price is Decimal"),
    "bytes": ((), {"model_name": b"o3"}, "model_name is String"),
    "no zone": ((), {"create_time": datetime(2026, 3, 3)}, "no time zone"),
    "no time": ((), {"create_time": "yesterday"}, "no ISO 8601"),
}


@pytest.mark.parametrize("name", NO_PREDICATES)
def test_what_is_no_predicate(name: str, usage: UsageFrame) -> None:
    predicates, equal, sentence = NO_PREDICATES[name]
    with pytest.raises(UsageError, match=sentence):
        usage.filter(*predicates, **equal)


def test_no_variable_of_python_is_a_table(sources: Mapping[str, Any]) -> None:
    for kind in ("frame", "ours"):
        usage = load_usage(sources[kind])
        with pytest.raises(UsageError, match="Table with name calls does not exist"):
            usage.filter("latency_ms > (SELECT avg(latency_ms) FROM calls)")
        with pytest.raises(UsageError, match="Table with name usage does not exist"):
            usage.sql("SELECT * FROM usage")


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model_name": st.sampled_from(["gpt-4o", "o3", "x", None]),
    "status": st.sampled_from(STATUSES),
    "error_code": st.sampled_from(["400", "401", None]),
    "latency_ms": st.sampled_from([None, *range(40, 2400, 40)]),
    "total_price": st.sampled_from([None, Decimal("0.125"), Decimal("1.25"), Decimal("2.5")]),
    "labels.team": st.sampled_from(["a", "b", None]),
    'labels.with"quotes': st.sampled_from(["it's 2", None]),
}
conditions = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(
        lambda column: st.tuples(st.just(column), st.lists(VALUES[column], max_size=4))
    ),
    max_size=3,
    unique_by=lambda condition: condition[0],
)


@pytest.fixture(scope="module")
def usages(sources: Mapping[str, Any]) -> list[UsageFrame]:
    """The calls in memory and in Parquet."""
    return [load_usage(sources["frame"]), load_usage(sources["ours"])]


@pytest.mark.proof
@settings(max_examples=trials(4, 100), deadline=None)
@given(equal=conditions, least=st.integers(0, 2400), below=st.integers(0, 2400))
def test_any_filters_one_after_another(
    sources: Mapping[str, Any],
    usages: list[UsageFrame],
    equal: list[tuple[str, list[Any]]],
    least: int,
    below: int,
) -> None:
    def meets(row: dict[str, Any]) -> bool:
        milliseconds = row["latency_ms"]
        timed = milliseconds is not None and least <= milliseconds and milliseconds < below
        return timed and all(row[column] in values for column, values in equal)

    wanted = picked(sources, meets)
    for usage in usages:
        filtered = usage.filter(f"latency_ms >= {least}")
        for column, values in equal:
            filtered = filtered.filter(**{column: values})
        found = filtered.filter(nw.col("latency_ms") < below).breakdown("id", "calls")["id"]
        assert sorted(UUID(text).int - 1 for text in found) == wanted


# --- how filters go together ----------------------------------------------------------------------------------------


def test_periods_and_filters_go_together(source: Any, sources: Mapping[str, Any]) -> None:
    usage = load_usage(source, start="2026-03-02", tz=ZONE)
    failed = usage.filter(status="failed")
    assert (failed.start, failed.end) == (usage.start, usage.end)
    wanted = picked(sources, lambda row: row["status"] == "failed" and day(row) in (date(2026, 3, 2), date(2026, 3, 3)))
    assert numbers(failed.between(end="2026-03-04")) == wanted
    assert numbers(usage.between(end="2026-03-04").filter(status="failed")) == wanted
    assert numbers(failed.between(end="2026-03-04").filter("true")) == wanted
    assert failed.between(end="2026-03-04").end == datetime(2026, 3, 3, 23, tzinfo=UTC)


def test_a_filter_of_the_newest_calls(source: Any) -> None:
    newest = load_usage(source, QueryFilter(limit=10), tz=ZONE)
    assert numbers(newest.filter("latency_ms IS NOT NULL")) == [50, 51, 52, 53, 55, 56, 57, 58, 59]
    assert numbers(newest.filter(model_name="o3").between(end=at(57 * 5400))) == [52, 55]


def test_a_period_needs_the_time(sources: Mapping[str, Any]) -> None:
    for kind in ("frame", "ours"):
        usage = load_usage(sources[kind], columns=["id", "model_name"]).filter(model_name="o3")
        with pytest.raises(UsageError, match="create_time"):
            usage.between("2026-03-02")
        with pytest.raises(UsageError, match="no column is called 'latency_ms'"):
            usage.filter(latency_ms=1)


def test_a_filter_stays_lazy_and_reads_what_it_needs(tmp_path: Path) -> None:
    pl.DataFrame({"model": ["a", "b", "b"], "total_price": ["1", "x", "2"], "latency_ms": [1, 2, 3]}).write_parquet(
        tmp_path / "calls.parquet"
    )
    relation = duckdb.connect().sql(
        f"SELECT model AS model_name, latency_ms, CAST(CASE WHEN total_price = 'x' THEN 1e-12 ELSE 1 END AS DOUBLE) "
        f"AS total_price FROM '{tmp_path / 'calls.parquet'}'"
    )
    filtered = load_usage(relation).filter("latency_ms > 1", model_name="b")
    assert "lazy" in repr(filtered)
    assert filtered.breakdown("model_name", "calls").rows() == [("b", 2)]
    assert len(filtered) == 2
    with pytest.raises(UsageError, match="total_price is 1e-12"):  # which nobody has read until now
        filtered.cost()
    assert filtered.filter(latency_ms=3).cost()["calls"].to_list() == [1]


def test_a_call_that_no_predicate_can_be_asked_of(sources: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError, match="gpt-4o"):
        load_usage(sources["frame"]).filter("CAST(model_name AS INTEGER) > 1")
    lazy = load_usage(sources["ours"]).filter("CAST(model_name AS INTEGER) > 1")
    with pytest.raises(UsageError, match="gpt-4o"):
        len(lazy)


def test_the_order_of_a_frame_stays() -> None:
    frame = pl.DataFrame({"latency_ms": [*range(300_000)], "model_name": ["a", "b", "c"] * 100_000})
    usage = load_usage(frame, columns=["latency_ms", "model_name"])
    wanted = frame.filter((pl.col("latency_ms") % 7 == 0) & (pl.col("model_name") != "b"))
    assert usage.filter("latency_ms % 7 = 0 AND model_name <> 'b'").frame.equals(wanted)


def test_further_columns_are_filtered_by_their_kind(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "model_name": ["a", "b", "c"],
            "region": pl.Series(["eu", "us", None], dtype=pl.Categorical),
            "cached": [True, False, None],
            "signed": [date(2026, 1, 1), None, date(2026, 1, 2)],
            "small": pl.Series([1, 2, 300], dtype=pl.Int16),
            "weight": pl.Series([0.5, None, 1.5], dtype=pl.Float32),
            "fee": pl.Series(["1.25", None, "2.5"]).cast(pl.Decimal(12, 4)),
            "labels": ["x", "y", "z"],
        }
    )
    frame.write_parquet(tmp_path / "calls.parquet")
    connection = duckdb.connect()
    keyed = connection.sql(
        f"SELECT *, CASE model_name WHEN 'a' THEN '00000000-0000-0000-0000-00000000000A'::UUID END AS key "
        f"FROM '{tmp_path / 'calls.parquet'}'"
    )
    columns = [name for name in frame.columns if name != "labels"]
    for source in (frame, tmp_path / "calls.parquet", keyed):
        usage = load_usage(source, columns=columns + (["key"] if source is keyed else []))

        def models(**equal: Any) -> str:
            return "".join(sorted(usage.filter(**equal).frame["model_name"]))  # noqa: B023

        assert models(region="eu") == "a"
        assert models(region=["us", None]) == "bc"
        assert models(cached=[True]) == "a"
        assert models(cached=[None, False]) == "bc"
        assert models(signed=["2026-01-01", date(2026, 1, 2)]) == "ac"
        assert models(small=[2, 300, 70_000]) == "bc"
        assert models(weight=[0.5, 1.5]) == "ac"
        assert models(fee=[Decimal("1.25"), 2.5]) == "ac"
        with pytest.raises(UsageError, match="cached is Boolean"):
            models(cached="yes")
    assert models(key=UUID(int=10)) == "a"
    assert models(key=[str(UUID(int=10)).upper(), None]) == "abc"


# --- what stays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["frame", "ours"])
def test_a_name_keeps_its_colour_in_what_is_filtered(sources: Mapping[str, Any], kind: str) -> None:
    whole = load_usage(sources[kind], tz=ZONE)
    colours = dict(whole.styles("labels.team")), dict(whole.styles("model_name"))
    for usage in (
        load_usage(sources[kind]).filter(model_name="o3"),
        load_usage(sources[kind]).filter(status="failed").filter("model_name = 'o3'").between("2026-03-03"),
        load_usage(sources[kind]).between("2026-03-04"),
    ):
        assert (dict(usage.styles("labels.team")), dict(usage.styles("model_name"))) == colours
        answer = usage.breakdown("model_name", "calls")
        assert answer.styles_of is not None
        assert dict(answer.styles_of("model_name")) == colours[1]
        again = pickle.loads(pickle.dumps(usage))
        assert (dict(again.styles("labels.team")), dict(again.styles("model_name"))) == colours


def test_a_pickled_filter_takes_along_no_other_calls(sources: Mapping[str, Any]) -> None:
    frame = pl.concat([sources["frame"]] * 200)
    one = load_usage(frame).filter(id=UUID(int=1))
    one.cost()
    assert len(pickle.dumps(one)) < len(pickle.dumps(load_usage(frame))) / 20
    assert pickle.loads(pickle.dumps(one)).frame.height == 200


def test_filters_are_pickled(source: Any) -> None:
    usage = load_usage(source, tz=ZONE)
    filtered = usage.filter(
        "create_time::DATE = '2026-03-03'", nw.col("latency_ms") > 1000, labels={"team": ["a", "b"]}
    )
    copy = pickle.loads(pickle.dumps(filtered))
    is_path = isinstance(source, Path)
    assert ("lazy" in repr(copy)) == is_path
    assert numbers(copy) == numbers(filtered) != []


@pytest.mark.parametrize("kind", ["frame", "ours"])
def test_many_threads_filter_at_once(sources: Mapping[str, Any], kind: str) -> None:
    usage = load_usage(sources[kind])
    found: list[Any] = []

    def ask() -> None:
        for number in range(2):
            late = usage.filter(f"latency_ms > {number}", status="failed")
            found.append(len(late.filter(labels={"team": "a"})))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_what_is_exported_is_filtered(source: Any, tmp_path: Path, sources: Mapping[str, Any]) -> None:
    load_usage(source, tz=ZONE).filter("latency_ms > 1000", status="failed").export_parquet(tmp_path / "out.parquet")
    wanted = picked(sources, lambda row: (row["latency_ms"] or 0) > 1000 and row["status"] == "failed")
    assert numbers(load_usage(tmp_path / "out.parquet")) == wanted


def test_names_that_are_near(usage: UsageFrame) -> None:
    assert usage.near("model_name", "GPT4o") == ["gpt-4o"]
    assert usage.near("model_name", "mod") == ['it\'s; a "model"']
    assert usage.near("labels.team", "zzz") == []
    assert usage.filter(model_name="o3").near("model_name", "gpt") == []
    with pytest.raises(UsageError, match=r"no column 'labels\.taem'"):
        usage.near("labels.taem", "a")
