"""SQLite files as others write them: any form of time, any declared type, by this process and by another."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mofa_usage import QueryFilter, load_usage
from mofa_usage.errors import QueryError, SerializationError
from mofa_usage.reading.database import FLAVOURS, DatabaseCalls
from mofa_usage.reading.drivers import SqliteFile
from mofa_usage.reading.drivers import sqlite as sqlite_reader
from mofa_usage.reading.selection import Selection
from mofa_usage.stores import SqliteStore, connect
from tests.calls import COLUMNS, DETAILS, rows_by_id
from tests.samples import NIL, NOON, call


def ids(frame: pl.DataFrame) -> list[str]:
    return frame["id"].to_list()


EVERY = Selection(None, {}, None, None)
PLAIN = {
    **dict.fromkeys(("id", "chat_session_id", "agent_id", "user_id", "tenant_id"), "TEXT"),
    **dict.fromkeys(("request_message_id", "response_message_id", "model_name", "status"), "TEXT"),
    **dict.fromkeys(("error_message", "error_code"), "TEXT"),
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), "INTEGER"),
    **dict.fromkeys(("prompt_tokens_details", "completion_tokens_details"), "TEXT"),
    "total_price": "REAL",
    "price_details": "TEXT",
    **dict.fromkeys(("latency_ms", "time_to_first_token_ms"), "INTEGER"),
    "tokens_per_second": "REAL",
    "api_response_id": "TEXT",
    **dict.fromkeys(("create_time", "update_time"), "TEXT"),
}
# Declared so that the Arrow driver cannot read it.
ODD = PLAIN | {"total_price": "NUMERIC", "price_details": "JSON", "create_time": "DATETIME", "update_time": "TIMESTAMP"}


class raw_database:  # noqa: N801 (a context manager)
    """A SQLite file with the table of calls, made by plain sqlite3."""

    def __init__(self, path: Path, columns: dict[str, str] = PLAIN) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.execute(
            f"CREATE TABLE entity_llm_api_call ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
        )

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.commit()
        self.connection.close()


def insert(connection: sqlite3.Connection, **values: Any) -> None:
    row: dict[str, Any] = {
        **dict.fromkeys(("id", "chat_session_id", "agent_id", "user_id", "tenant_id"), str(NIL)),
        **dict.fromkeys(("request_message_id", "response_message_id"), str(NIL)),
        "model_name": "gpt-4",
        "status": "success",
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 1),
        **dict.fromkeys(("create_time", "update_time"), "2026-03-01T12:00:00+00:00"),
        **values,
    }
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO entity_llm_api_call ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


TABLES = pytest.mark.parametrize("columns", [PLAIN, ODD], ids=["plain", "odd"])


@pytest.fixture(params=["here", "process"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read a file: by sqlite3, and by another process as if there were many rows."""
    monkeypatch.setattr(sqlite_reader, "_FEW", -1 if request.param == "process" else 10**9)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "ü#?&=+.db", "it's.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    if "?" in name:  # a '?' cannot be said in a sqlite: URL
        name = name.replace("?", "")
    with raw_database(tmp_path / name) as connection:
        insert(connection, id="x")
    assert ids(load_usage(f"sqlite:{tmp_path / name}", columns=["id"]).frame) == ["x"]


@pytest.mark.usefixtures("way")
@TABLES
def test_rows_as_rust_writes_them(tmp_path: Path, columns: dict[str, str]) -> None:
    texts = {
        "a": ("2026-03-01T12:00:00Z", NOON.replace(microsecond=0)),
        "b": ("2026-03-01T12:00:00.123+00:00", NOON.replace(microsecond=123_000)),
        "c": ("2026-03-01T12:00:00.123456Z", NOON),
        "d": ("2026-03-01T12:00:00.123456999+00:00", NOON),
    }
    with raw_database(tmp_path / "raw.db", columns) as connection:
        for key, (written, _) in texts.items():
            insert(
                connection,
                id=key,
                create_time=written,
                update_time=written,
                tenant_id=None,
                status="weird" if key == "a" else "timeout",
                total_price=0.1 if key == "b" else None,
                price_details='{"input_price":0.1,"note":{"x":[]}}' if key == "c" else None,
                prompt_tokens_details='{"cached_tokens":3}' if key == "d" else None,
            )
    rows = rows_by_id(load_usage(f"sqlite:{tmp_path / 'raw.db'}").frame)
    assert {key: rows[key]["create_time"] for key in rows} == {key: wanted for key, (_, wanted) in texts.items()}
    assert {row["tenant_id"] for row in rows.values()} == {str(NIL)}
    assert [rows[key]["status"] for key in "ab"] == ["failed", "timeout"]
    assert rows["b"]["total_price"] == Decimal("0.1")
    assert rows["a"]["total_price"] is None
    assert rows["c"]["input_price"] == Decimal("0.1")
    assert rows["d"]["cached_tokens"] == 3
    assert {key: row["currency"] for key, row in rows.items()} == {**dict.fromkeys("acd"), "b": "USD"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A database whose times have every number of digits and both zones, with what they mean in Python."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.db"
    generator = random.Random(11)
    meant: dict[str, datetime] = {}
    with raw_database(path) as connection:
        for number in range(2000):
            micros = generator.choice([0, 1, 500_000, 123_000, 123_456, 999_999, generator.randrange(10**6)])
            digits = generator.choice([digits for digits in (0, 3, 6, 9) if micros % 10 ** max(6 - digits, 0) == 0])
            fraction = f".{micros:06d}{generator.randrange(1000):03d}"[: digits + 1] if digits else ""
            when = NOON.replace(microsecond=0) + timedelta(seconds=generator.randrange(20))
            text = when.strftime("%Y-%m-%dT%H:%M:%S") + fraction + generator.choice(["Z", "+00:00"])
            key = f"{number:08x}"
            meant[key] = when + timedelta(microseconds=micros)
            insert(connection, id=key, create_time=text, update_time=text, model_name=f"m{number % 3}")
        connection.execute("CREATE INDEX by_time ON entity_llm_api_call(create_time)")
    return {"url": f"sqlite:{path}", "meant": meant}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(15))
def test_time_ranges_over_text_of_any_form(mixed: dict[str, Any], seed: int) -> None:
    generator = random.Random(seed)
    meant: dict[str, datetime] = mixed["meant"]
    edges = [
        *generator.sample(sorted(meant.values()), 3),
        NOON.replace(microsecond=0) + timedelta(seconds=generator.randrange(20)),
    ]
    start, end = sorted(generator.sample(edges, 2))
    found = ids(load_usage(mixed["url"], start=start, end=end, columns=["id"]).frame)
    assert sorted(found) == sorted(key for key, time in meant.items() if start <= time < end)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(15))
def test_the_newest_over_text_of_any_form(mixed: dict[str, Any], seed: int) -> None:
    generator = random.Random(seed)
    meant: dict[str, datetime] = mixed["meant"]
    limit, offset = generator.choice([None, 0, 1, 17, 5000]), generator.choice([0, 3, 1990, 3000])
    model = generator.choice([None, "m1"])
    end = generator.choice([None, generator.choice(sorted(meant.values()))])
    wanted = sorted(
        (
            (time, key)
            for key, time in meant.items()
            if (end is None or time < end) and (model is None or int(key, 16) % 3 == 1)
        ),
        reverse=True,
    )
    chosen = QueryFilter(limit=limit, offset=offset, model_name=model)
    found = ids(load_usage(mixed["url"], chosen, end=end, columns=["id"]).frame)
    expected = [key for _, key in sorted(wanted, reverse=True)][offset:]
    expected = expected if limit is None else expected[:limit]
    if limit is None and offset == 0:
        assert sorted(found) == sorted(expected)
    else:
        assert found == expected


@pytest.mark.usefixtures("way")
@TABLES
def test_stored_nonsense_names_the_call(tmp_path: Path, columns: dict[str, str]) -> None:
    for number, (column, value) in enumerate(
        {"create_time": "soon", "price_details": "{oops", "prompt_tokens_details": "[1]", "total_price": 9e999}.items()
    ):
        path = tmp_path / f"{number}.db"
        with raw_database(path, columns) as connection:
            insert(connection, id="fine")
            insert(connection, id="wrong", **{column: value})
        with pytest.raises(SerializationError, match=f"{column} of the call wrong "):
            load_usage(f"sqlite:{path}")


@pytest.mark.usefixtures("way")
@TABLES
@pytest.mark.parametrize("before", [0, 100], ids=["at once", "later"])
def test_a_value_of_another_kind_names_the_call(
    tmp_path: Path, columns: dict[str, str], before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite keeps text in a column of numbers if it is told to."""
    monkeypatch.setattr(sqlite_reader, "BATCH", 64)
    with raw_database(tmp_path / "odd.db", columns) as connection:
        for number in range(before):
            insert(connection, id=str(number), total_price=0.5)
        insert(connection, id="wrong", total_price="cheap")
    with pytest.raises(SerializationError, match="total_price of the call wrong is text, not money"):
        load_usage(f"sqlite:{tmp_path / 'odd.db'}")


def counted_elsewhere(path: Path) -> int:
    """How many calls another process sees in a file."""
    program = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
    arguments = [sys.executable, "-c", program, str(path), "SELECT count(*) FROM entity_llm_api_call"]
    return int(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


async def test_reading_never_takes_rows_from_an_open_store(tmp_path: Path) -> None:
    """Another copy of SQLite in this process would delete the write-ahead log of the store, and the rows in it."""
    url = f"sqlite:{tmp_path / 'usage.db'}"
    async with connect(url) as store:
        assert isinstance(store, SqliteStore)
        await store.save_api_calls(call(n) for n in range(30_000))
        for saved in range(30_000, 30_005):
            assert load_usage(store, columns=["id"]).frame.height == saved
            assert load_usage(url, QueryFilter(model_name="gpt-4")).frame.height == saved
            await store.save_api_call(call(saved))
            assert (await store.get_statistics()).total_calls == saved + 1
        assert await asyncio.to_thread(counted_elsewhere, tmp_path / "usage.db") == 30_005


def test_both_ways_give_the_same_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_database(tmp_path / "raw.db") as connection:
        for number in range(500):
            insert(
                connection,
                id=str(number),
                total_price=None if number < 300 else number / 7,  # a first batch of nothing but NULL
                error_message=None if number < 300 else "ü" * number,
                tokens_per_second=[None, 1.0, 1 / 3, 1e300][number % 4],
                latency_ms=None if number < 300 else 2**31 - 1,
                price_details=None if number < 300 else '{"output_price":1e-10}',
            )
    monkeypatch.setattr(sqlite_reader, "BATCH", 64)
    frames = []
    for few in (-1, 10**9):
        monkeypatch.setattr(sqlite_reader, "_FEW", few)
        frames.append(load_usage(f"sqlite:{tmp_path / 'raw.db'}", columns=[*COLUMNS, *DETAILS]).frame)
    assert frames[0].equals(frames[1])
    assert frames[0]["id"].to_list() == [str(number) for number in range(500)]
    assert frames[0]["tokens_per_second"][2] == 1 / 3


def test_a_failure_in_the_other_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_database(tmp_path / "raw.db") as connection:
        insert(connection, id="fine")
    monkeypatch.setattr(sqlite_reader, "_FEW", -1)
    monkeypatch.setattr(sqlite_reader, "_SAMPLES", dict.fromkeys(sqlite_reader._SAMPLES, "no_function()"))
    with pytest.raises(QueryError, match=r"raw.db cannot be read: .*no_function"):
        load_usage(f"sqlite:{tmp_path / 'raw.db'}")


@pytest.mark.parametrize(
    "executable", ["", None, "/usr/sbin/apache2", "/nowhere/python3", "/bin/sh", "{tmp}/python-that-says-hello"]
)
def test_where_no_other_python_can_be_started_this_one_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    """Embedded in another program, `sys.executable` is that program."""
    program = tmp_path / "python-that-says-hello"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    with raw_database(tmp_path / "raw.db") as connection:
        insert(connection, id="fine")
    monkeypatch.setattr(sqlite_reader, "_FEW", -1)
    monkeypatch.setattr(sys, "executable", executable and executable.replace("{tmp}", str(tmp_path)))
    assert ids(load_usage(f"sqlite:{tmp_path / 'raw.db'}").frame) == ["fine"]


def test_a_process_that_cannot_begin_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_database(tmp_path / "raw.db") as connection:
        insert(connection, id="fine")
    monkeypatch.setattr(sqlite_reader, "_FEW", -1)
    monkeypatch.setattr(sqlite_reader, "_START_SECONDS", 0.5)
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(60)")
    for name in ("none.py", "sleeps.py"):
        monkeypatch.setattr(sqlite_reader, "_PROGRAM", tmp_path / name)
        begun = time.monotonic()
        assert ids(load_usage(f"sqlite:{tmp_path / 'raw.db'}").frame) == ["fine"]
        assert time.monotonic() - begun < 20


def test_a_frozen_program_does_not_start_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_database(tmp_path / "raw.db") as connection:
        insert(connection, id="fine")
    monkeypatch.setattr(sqlite_reader, "_FEW", -1)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert ids(load_usage(f"sqlite:{tmp_path / 'raw.db'}").frame) == ["fine"]


def test_a_killed_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_database(tmp_path / "raw.db") as connection:
        for number in range(5000):
            insert(connection, id=str(number), error_message="x" * 1000)
    monkeypatch.setattr(sqlite_reader, "_FEW", -1)
    monkeypatch.setattr(sqlite_reader, "BATCH", 64)
    started = started_processes(monkeypatch)
    batches = DatabaseCalls(SqliteFile(str(tmp_path / "raw.db")), FLAVOURS["sqlite"]).batches(EVERY)
    next(batches)
    started[0].kill()
    with pytest.raises(QueryError, match=r"raw.db cannot be read: the process that reads it has ended"):
        list(batches)


def started_processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started from now on."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


def test_an_abandoned_load_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_database(tmp_path / "raw.db") as connection:
        for number in range(5000):
            insert(connection, id=str(number), error_message="x" * 1000)
    monkeypatch.setattr(sqlite_reader, "_FEW", -1)
    monkeypatch.setattr(sqlite_reader, "BATCH", 64)
    started = started_processes(monkeypatch)
    calls = DatabaseCalls(SqliteFile(str(tmp_path / "raw.db")), FLAVOURS["sqlite"])
    batches = calls.batches(EVERY)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert [process.returncode is not None for process in started] == [True]


def test_the_limit_uses_the_index(mixed: dict[str, Any]) -> None:
    """The statement for the newest calls sorts those of the last second only."""
    path = mixed["url"].removeprefix("sqlite:")
    calls = DatabaseCalls(SqliteFile(path), FLAVOURS["sqlite"])
    statement = calls._statement(["id"], Selection(None, {}, None, None, 5), by_time=False)
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    assert any("SEARCH entity_llm_api_call USING INDEX by_time (create_time>?)" in row[3] for row in plan), plan
