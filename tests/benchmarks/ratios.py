"""Two ways of doing the same, one of them ours: how long each takes, and what their ratio may be.

Seconds of one machine say nothing on another, ratios nearly the same. `timed` lets the rounds of all ways take turns,
so that a busy machine slows every way alike.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

__all__ = ["FEW", "LINES", "MANY", "Ratio", "Ratios", "timed"]

MANY, FEW = 10_000_000, 20_000
"""Of so many calls in Parquet a benchmark is, and of so few the test that it is otherwise."""

LINES = pytest.StashKey[list[str]]()
"""What is printed at the end of the run."""


@dataclass(frozen=True)
class Ratio:
    """Ours against a peer: less is better.

    Attributes:
        what: was done.
        ours, theirs: median seconds, or whatever `unit` says.
        peer: the other way.
        goal: what `ours / theirs` may be at most; None where nothing is promised.
    """

    what: str
    ours: float
    peer: str
    theirs: float
    goal: float | None = None
    unit: str = "s"

    @property
    def value(self) -> float:
        """Ours / theirs."""
        return self.ours / self.theirs

    @property
    def missed(self) -> bool:
        """Whether it is worse than its goal."""
        return self.goal is not None and self.value > self.goal

    def __str__(self) -> str:
        ours, theirs = (f"{number:.3g} {self.unit}" for number in (self.ours, self.theirs))
        goal = "" if self.goal is None else f"   goal {self.goal:.3g}{' MISSED' if self.missed else ''}"
        return f"{self.what:<48} ours {ours:>10}   {self.peer:>18} {theirs:>10}   ratio {self.value:>6.3g}{goal}"


class Ratios:
    """What a benchmark measures, and whether it measures at all.

    Attributes:
        enabled: with `--benchmark-enable`. Without it a benchmark is a test that all ways do the same, on few calls,
            and no ratio of its times means anything.
    """

    def __init__(self, benchmark: BenchmarkFixture, lines: list[str]) -> None:
        self._benchmark, self._lines = benchmark, lines
        self.enabled = bool(benchmark.enabled)
        # The plugin warns of a benchmark that runs nothing; what it could time is one function.
        benchmark.pedantic(lambda: None, rounds=1)  # type: ignore[no-untyped-call]  # it has no types for it

    def report(self, *ratios: Ratio) -> None:
        """Say the ratios at the end of the run, and in what `--benchmark-json` writes; fail if one misses its goal."""
        self._benchmark.extra_info.update({f"{ratio.what} / {ratio.peer}": ratio.value for ratio in ratios})
        lines = [str(ratio) for ratio in ratios]
        if self.enabled:
            self._lines.extend(lines)
            missed = [str(ratio) for ratio in ratios if ratio.missed]
            assert not missed


def timed(ways: dict[str, Callable[[], Any]], rounds: dict[str, int]) -> dict[str, float]:
    """The median seconds of each way, their rounds taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(max(rounds.values())):
        for name, way in ways.items():
            if turn < rounds[name]:
                start = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
