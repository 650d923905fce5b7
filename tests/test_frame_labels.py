"""Labels, the metadata of sessions and where token counts come from, as columns of a frame of any source."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import UsageError, load_usage
from mofa_usage.errors import SerializationError
from mofa_usage.exporting import export_parquet
from mofa_usage.reading.columns import LABEL_COLUMNS
from mofa_usage.reading.labels import MOST, gather, label_counts
from mofa_usage.records import NIL_UUID, ChatSession
from mofa_usage.stores import InMemoryStore
from tests.samples import agent, call, provider
from tests.strategies import text
from tests.test_sqlite_reading import PLAIN, insert

OLD = {name: kind for name, kind in PLAIN.items() if name != "labels"}
TABLE = {**OLD, "labels": "TEXT"}
TYPES = {**dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), pl.Int64), "total_price": pl.Float64}
Source = Callable[[list[dict[str, Any]]], Any]


@pytest.fixture(params=["frame", "lazy", "relation", "database", "export"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    """Makes a source of rows with the columns of the table of calls."""

    def database(rows: list[dict[str, Any]]) -> str:
        connection = sqlite3.connect(tmp_path / "raw.db")
        connection.execute(f"CREATE TABLE entity_llm_api_call ({', '.join(map(' '.join, TABLE.items()))})")
        for row in rows:
            insert(connection, **row)
        connection.commit()
        connection.close()
        return f"sqlite:{tmp_path / 'raw.db'}"

    def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
        return pl.DataFrame(rows, schema={name: TYPES.get(name, pl.String) for name in rows[0]})

    def relation(rows: list[dict[str, Any]]) -> duckdb.DuckDBPyRelation:
        connection = duckdb.connect()
        connection.register("given", frame(rows))
        return connection.sql("FROM given")

    def export(rows: list[dict[str, Any]]) -> str:
        timed = [{"create_time": "2026-03-01T12:00:00Z", **row} for row in rows]
        export_parquet(frame(timed), tmp_path / "calls.parquet")
        return str(tmp_path / "calls.parquet")

    makes: dict[str, Source] = {"frame": frame, "relation": relation, "database": database, "export": export}
    makes["lazy"] = lambda rows: frame(rows).lazy()
    return makes[request.param]


def row(number: int, labels: dict[str, Any] | str | None, **values: Any) -> dict[str, Any]:
    written = labels if labels is None or isinstance(labels, str) else json.dumps(labels)
    return {"id": str(UUID(int=number)), "labels": written, **values}


def by_id(frame: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return frame.sort("id").select(columns).rows()


def test_labels_are_columns(source: Source) -> None:
    given = [
        row(1, {"team": "search", "operation": "embeddings", "attempt": "2", "retried": "true", "provider": "azure"}),
        row(2, {"team": 'a"b', "request_id": "r-2", "agent": "clerk", "odd name.x/y~z'": "{}", "": "no name"}),
        row(3, {}),
        row(4, None),
    ]
    frame = load_usage(source(given)).frame
    names = ["team", "agent", "odd name.x/y~z'", "provider"]
    assert [name for name in frame.columns if name.startswith("labels.")] == [f"labels.{name}" for name in names]
    assert frame.schema["labels.team"] == pl.String
    assert by_id(frame, *(f"labels.{name}" for name in names)) == [
        ("search", None, None, "azure"),
        ('a"b', "clerk", "{}", None),
        (None,) * 4,
        (None,) * 4,
    ]
    assert by_id(frame, "operation", "attempt", "retried", "request_id", "provider_name", "agent_name") == [
        ("embeddings", 2, "true", None, "azure", None),
        ("chat", None, None, "r-2", None, "clerk"),
        *[("chat", None, None, None, None, None)] * 2,
    ]
    assert frame.schema["attempt"] == pl.Int64
    assert "labels" not in frame.columns


def test_labels_can_be_asked_for(source: Source) -> None:
    given = source([row(1, {"team": "search", "plan": "pro"}), row(2, {"team": "ads"})])
    frame = load_usage(given, columns=["labels.team", "id", "labels.nobody", "session.plan", "labels"]).frame
    assert frame.columns == ["labels.team", "id", "labels.nobody", "session.plan", "labels"]
    assert by_id(frame, "labels.team", "labels.nobody", "session.plan") == [("search", None, None), ("ads", None, None)]
    assert [json.loads(text) for text in frame.sort("id")["labels"]] == [
        {"team": "search", "plan": "pro"},
        {"team": "ads"},
    ]
    assert load_usage(given, columns=["provider_name"]).frame.to_dict(as_series=False) == {"provider_name": [None] * 2}
    with pytest.raises(UsageError, match=r"no column is called 'label\.team'"):
        load_usage(given, columns=["label.team"])


def test_the_most_frequent_labels_become_columns(source: Source) -> None:
    numbers = range(MOST + 30)
    given = [
        row(10, {f"l{number:02d}": "x" for number in numbers}),
        row(11, {f"l{number:02d}": "x" for number in numbers[-3:]}),
    ]
    frame = load_usage(source(given)).frame
    columns = [name for name in frame.columns if name.startswith("labels.")]
    assert columns == [f"labels.l{number:02d}" for number in (*numbers[-3:], *numbers[: MOST - 3])]
    assert by_id(frame, columns[0], columns[-1]) == [("x", "x"), ("x", None)]


def test_too_many_labels_of_one_batch_are_chosen_by_all() -> None:
    """A batch with too many labels keeps their JSON, until it is known which of them are frequent."""
    many = {f"l{number:03d}": "x" for number in range(100)}
    first = pl.DataFrame({"id": ["a"], "labels.": [json.dumps(many)], "session.s": ["1"]})
    second = pl.DataFrame(
        {"id": ["b", "c"], "labels.l099": ["y", "z"], "labels.new": ["y", None], "session.s": ["2", "3"]}
    )
    frame = gather([first, second])
    assert frame.columns == ["id", "labels.l099", *(f"labels.l{number:03d}" for number in range(63)), "session.s"]
    assert frame["labels.l099"].to_list() == ["x", "y", "z"]
    assert frame["labels.l000"].to_list() == ["x", None, None]


@settings(deadline=None)
@given(st.lists(st.none() | st.dictionaries(text(), text() | st.integers() | st.none(), max_size=5), max_size=20))
def test_labels_of_any_name_are_counted(drawn: list[dict[str, Any] | None]) -> None:
    texts = pl.Series([None if one is None else json.dumps(one) for one in drawn], dtype=pl.String)
    wanted = Counter(name for one in drawn for name in one or () if name and name not in LABEL_COLUMNS)
    assert label_counts(texts) == wanted


@pytest.mark.parametrize("wrong", ["{bad", "[1]", "12", ""])
def test_labels_that_are_no_json_object_name_the_call(source: Source, wrong: str) -> None:
    given = [row(1, {"team": "x"}), row(2, wrong)]
    with pytest.raises((UsageError, SerializationError), match=f"labels of the call {UUID(int=2)}"):
        _ = load_usage(source(given)).frame


TOKENS = {
    None: (10, 5, 15, "provider"),
    "provider": (10, 5, 15, "provider"),
    "estimated": (10, 5, 15, "estimated"),
    "partial": (10, None, None, "partial"),
    "completion_only": (None, 5, None, "completion_only"),
    "none": (None, None, None, "none"),
    "from the future": (10, 5, 15, "from the future"),
}


def test_tokens_that_are_not_known_are_null(source: Source) -> None:
    given = [
        row(
            number,
            None,
            prompt_tokens=10,
            completion_tokens=5,
            total_tokens=15,
            completion_tokens_details=None if said is None else json.dumps({"token_source": said}),
        )
        for number, said in enumerate(TOKENS)
    ]
    columns = ("prompt_tokens", "completion_tokens", "total_tokens", "token_source")
    made = source(given)
    assert by_id(load_usage(made).frame, *columns) == list(TOKENS.values())
    for place, column in enumerate(columns):
        assert by_id(load_usage(made, columns=["id", column]).frame, column) == [
            (row[place],) for row in TOKENS.values()
        ]


def test_without_a_price_there_is_no_currency(source: Source) -> None:
    given = [
        row(1, None, total_price=1.0, price_details='{"currency":"EUR"}'),
        row(2, None, total_price=2.0, price_details=None),
        row(3, None, total_price=None, price_details='{"currency":"EUR"}'),
    ]
    made = source(given)
    assert by_id(load_usage(made).frame, "currency") == [("EUR",), ("USD",), (None,)]
    assert by_id(load_usage(made, columns=["id", "currency"]).frame, "currency") == [("EUR",), ("USD",), (None,)]


def test_a_table_without_labels_has_none(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute(f"CREATE TABLE entity_llm_api_call ({', '.join(map(' '.join, OLD.items()))})")
    insert(connection, id="a")
    connection.commit()
    connection.close()
    url = f"sqlite:{tmp_path / 'old.db'}"
    assert by_id(load_usage(url).frame, "operation", "attempt", "provider_name") == [("chat", None, None)]
    assert by_id(load_usage(url, columns=["id", "labels.team", "labels"]).frame, "labels.team", "labels") == [
        (None, None)
    ]
    summary = export_parquet(url, tmp_path / "old.parquet")
    assert summary.rows == 1


# --- sessions -------------------------------------------------------------------------------------------------------


async def test_metadata_of_sessions_stands_beside_their_calls(store: Any) -> None:
    told = {"plan": "pro", "seats": 3, "trial": False, "rate": 0.5, "list": [1], "nothing": None, "": "no name"}
    first = ChatSession.new(NIL_UUID, NIL_UUID, metadata=told)
    second = ChatSession.new(NIL_UUID, NIL_UUID, metadata={"plan": "free"})
    for session in (first, second, ChatSession.new(NIL_UUID, NIL_UUID, metadata={})):
        await store.create_session(session)
    ids = (first.id, second.id, UUID(int=77))
    await store.save_api_calls([call(number, chat_session_id=one) for number, one in enumerate(ids)])
    frame = load_usage(store).frame.sort("create_time")
    columns = ["session.plan", "session.rate", "session.seats", "session.trial"]
    assert [name for name in frame.columns if name.startswith("session.")] == columns
    assert frame.select(columns).rows() == [("pro", "0.5", "3", "false"), ("free", None, None, None), (None,) * 4]
    asked = load_usage(store, columns=["session.plan", "create_time", "session.nobody"]).frame.sort("create_time")
    assert asked.select("session.plan", "session.nobody").rows() == [("pro", None), ("free", None), (None, None)]


async def test_sessions_are_exported_and_come_back(store: Any, tmp_path: Path) -> None:
    session = ChatSession.new(NIL_UUID, NIL_UUID, metadata={"plan": "pro"})
    await store.create_session(session)
    await store.save_api_calls([call(1, chat_session_id=session.id), call(2)])
    export_parquet(store, tmp_path / "calls.parquet")
    back = load_usage(tmp_path / "calls.parquet").frame
    assert sorted(back["session.plan"].to_list(), key=str) == [None, "pro"]
    assert back.drop("labels", strict=False).equals(load_usage(store).frame.sort("create_time"))


async def test_the_agents_provider_gives_way_to_the_label() -> None:
    """The name of an agent wins over the label, the label of a provider over the agent's."""
    store = InMemoryStore()
    openai = provider("openai")
    clerk = agent("clerk", provider_id=openai.id, agent_name="Clerk")
    await store.save_provider(openai)
    await store.save_agent(clerk)
    await store.save_api_calls([call(1, agent_id=clerk.id), call(2)])
    frame = load_usage(store).frame.sort("create_time")
    assert frame.select("agent_name", "provider_name").rows() == [("Clerk", "openai"), (None, None)]
    labelled = frame.with_columns(labels=pl.lit('{"provider":"azure","agent":"x"}'))
    assert load_usage(labelled).frame.select("agent_name", "provider_name").rows() == [
        ("Clerk", "azure"),
        ("x", "azure"),
    ]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_batch_in_which_nothing_has_a_label_stands_beside_one_with(rows: int) -> None:
    bare = pl.DataFrame({"id": [f"bare{n}" for n in range(rows)]}, schema={"id": pl.String})
    labelled = pl.DataFrame({"id": ["a", "b"], "labels.team": ["red", None]})
    frame = gather([bare, labelled])
    assert frame.rows() == [*((f"bare{n}", None) for n in range(rows)), ("a", "red"), ("b", None)]


@pytest.mark.parametrize("kind", ["struct", "map"])
@pytest.mark.parametrize("source", ["frame", "lazy", "relation", "parquet"])
def test_labels_may_be_a_struct_or_a_map(source: str, kind: str, tmp_path: Path) -> None:
    said = {
        "id": ["a", "b", "c"],
        "labels": [{"team": "red", "a 'b' \"c\"": "x", "retried": "true"}, {"team": "blue"}, None],
    }
    given = pl.DataFrame(said)
    if kind == "map":
        entries = [None if labels is None else list(labels.items()) for labels in said["labels"]]  # type: ignore[attr-defined]
        maps = pa.array(entries, pa.map_(pa.string(), pa.string()))
        given = pl.DataFrame(pa.table({"id": said["id"], "labels": maps}))
    pq.write_table(given.to_arrow(), tmp_path / "given.parquet")
    relation = duckdb.connect().sql(f"FROM '{tmp_path}/given.parquet'")
    sources: dict[str, Any] = {
        "frame": given,
        "lazy": given.lazy(),
        "relation": relation,
        "parquet": tmp_path / "given.parquet",
    }
    frame = load_usage(sources[source]).frame
    assert [name for name in frame.columns if name.startswith("labels.")] == ["labels.team", "labels.a 'b' \"c\""]
    assert frame.sort("id").select("retried", "labels.team", "labels.a 'b' \"c\"").rows() == [
        ("true", "red", "x"),
        (None, "blue", None),
        (None, None, None),
    ]
