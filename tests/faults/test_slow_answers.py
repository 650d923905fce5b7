"""Servers that let a reader wait: what they take is what reading takes, and no more."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mofa_usage.reading.drivers import MySqlServer, PostgresServer
from mofa_usage.reading.drivers import mysql as mysql_reader
from mofa_usage.urls import parse_url
from tests.servers import Server

ROWS = 400_000
WAIT = 1.0
# Rows that are there at once, but for a wait before one of them.
STATEMENTS = {
    "postgres": (
        "SELECT n FROM generate_series(1, {late} - 1) AS n UNION ALL SELECT {late} FROM pg_sleep({wait})"
        " UNION ALL SELECT n FROM generate_series({late} + 1, {rows}) AS n"
    ),
    "mysql": "SELECT seq AS n FROM seq_1_to_{rows} WHERE seq <> {late} OR SLEEP({wait}) = 0",
}
READERS = {"postgres": PostgresServer, "mysql": MySqlServer}


@pytest.mark.parametrize("late", [1, ROWS // 2])
def test_one_late_row_is_waited_for_once(server: Server, late: int) -> None:
    address = parse_url(server.url)
    reader = READERS[address.backend](address)
    reader.query("SELECT 1 AS ready")  # the first statement of a process loads what it needs
    statement = STATEMENTS[address.backend].format(rows=ROWS, late=late, wait=WAIT)
    begun = time.monotonic()
    assert sum(batch.height for batch in reader.stream([statement], [])) == ROWS
    assert time.monotonic() - begun < 2 * WAIT + 1


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def late_by_and_blocked_for(gaps: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """How much longer reading takes than the batches, which come in these intervals, and how long it blocks others."""
    clock, blocked = Clock(), 0.0
    monkeypatch.setattr(mysql_reader, "time", clock)

    def batches() -> Iterator[Any]:
        nonlocal blocked
        ready = 0.0
        for gap in gaps:
            ready += gap
            blocked += max(ready - clock.now, 0.0)
            clock.now = max(ready, clock.now)
            yield ready

    assert len(list(mysql_reader._paced(batches()))) == len(gaps)
    return clock.now - sum(gaps), blocked


@pytest.mark.parametrize(
    ("gaps", "longest", "blocking"),
    [
        ([2.0, *[0.01] * 30], 0.1, 2.1),  # it thinks first
        ([0.05] * 20 + [3.0] + [0.05] * 20, 0.2, 3.4),  # it thinks in between
        ([2.0, 2.0, 2.0, *[0.01] * 30], 2.5, 6.0),  # slow, then fast
        ([0.05] * 100, 0.1, 0.6),  # in step
        ([0.05, 0.03, 0.07, 0.02, 0.06] * 20, 0.2, 1.0),  # more or less
    ],
)
def test_reading_keeps_in_step_with_a_server(
    gaps: list[float], longest: float, blocking: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, blocked = late_by_and_blocked_for(gaps, monkeypatch)
    assert late <= longest
    assert blocked <= blocking
