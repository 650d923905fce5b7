"""Progress bars: who sees one, when, and that showing one disturbs nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from mofa_usage import export_parquet, load_usage
from mofa_usage.progress import progress_bar, watched
from mofa_usage.stores import connect
from tests.samples import call

SECOND = 1.0


@pytest.fixture(autouse=True)
def colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich draws bars on terminals only


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Somebody who watches, and what lets time pass for them."""
    real, passed = time.monotonic, [0.0]
    monkeypatch.setattr("mofa_usage.progress.is_watched", lambda progress: True)
    monkeypatch.setattr("mofa_usage.progress.time.monotonic", lambda: real() + passed[0])

    def pass_by(seconds: float) -> None:
        passed[0] += seconds

    return pass_by


@pytest.mark.parametrize(("seconds", "seen"), [(0.0, False), (0.5, False), (SECOND, True)])
def test_who_watches_sees_work_of_a_second(
    seconds: float, seen: bool, clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    counted: list[int] = []

    def count() -> int:
        counted.append(1)
        return 2

    def batches() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"id": ["a"]})
        clock(seconds)
        yield pl.DataFrame({"id": ["b"]})

    assert pl.concat(watched(batches(), "Reading calls", count, None)).height == 2
    assert ("Reading calls" in capsys.readouterr().err) is seen
    assert counted == [1] * seen  # nobody counts what nobody sees


@pytest.mark.parametrize(
    "total",
    [6, None, lambda: 6, lambda: None, lambda: 1 / 0],
    ids=["known", "unknown", "counted", "uncounted", "failed"],
)
def test_whatever_is_known_of_the_total(total: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("Working", total, True) as advance:
        for done in range(6):
            advance(done, "so far")
    assert "Working" in capsys.readouterr().err


def test_in_a_notebook_the_work_itself_draws(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread draws made nbclient give up a notebook."""
    monkeypatch.setattr("mofa_usage.progress._in_notebook", lambda: True)
    monkeypatch.setattr("mofa_usage.progress._REDRAW_SECONDS", 60.0)
    before = threading.active_count()
    with progress_bar("Working", 6, True) as advance:
        advance(1, "first")
        advance(2, "at once")
        assert threading.active_count() == before
        clock(60.0)
        advance(3, "later")
        said = capsys.readouterr().err
        assert all((word in said) is seen for word, seen in [("first", True), ("at once", False), ("later", True)])


# --- sources are read while they are counted ------------------------------------------------------------------------

ROWS = 100_000  # some batches, so that counting meets reading


def parquet(path: Path) -> Path:
    numbers = pl.int_range(ROWS, eager=True)
    rows = {"id": numbers.cast(pl.String).str.zfill(12), "create_time": numbers.cast(pl.Datetime("us", "UTC"))}
    pl.DataFrame(rows).write_parquet(path / "calls.parquet")
    return path / "calls.parquet"


def relation(path: Path) -> duckdb.DuckDBPyRelation:
    return duckdb.connect().read_parquet(str(parquet(path)))


def read_once(path: Path) -> duckdb.DuckDBPyRelation:
    """A relation over a stream, which is there only once."""
    connection = duckdb.connect()
    stream = duckdb.connect().read_parquet(str(parquet(path))).to_arrow_reader(1000)
    return connection.from_arrow(stream)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "file": parquet,
    "frame": lambda path: pl.read_parquet(parquet(path)),
    "lazy frame": lambda path: pl.scan_parquet(parquet(path)),
    "relation": relation,
    "stream": read_once,
}


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_can_be_exported_with_a_bar(kind: str, progress: bool, tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path)
    assert export_parquet(source, tmp_path / "out.parquet", progress=progress).rows == ROWS
    assert pl.read_parquet(tmp_path / "out.parquet")["id"].is_sorted()


def test_a_borrowed_connection_can_be_used_afterwards(tmp_path: Path) -> None:
    connection = duckdb.connect()
    connection.sql(f"CREATE TEMP VIEW mine AS FROM read_parquet('{parquet(tmp_path)}')")
    for _ in range(2):
        assert export_parquet(connection.table("mine"), tmp_path / "out.parquet", overwrite=True, progress=True).rows
        assert connection.sql("SELECT count(*) FROM mine").fetchall() == [(ROWS,)]


async def test_a_store_can_be_loaded_with_a_bar(url: str) -> None:
    async with connect(url) as store:
        await store.save_api_calls([call(n) for n in range(10)])
        assert load_usage(store, progress=True).frame.height == 10
