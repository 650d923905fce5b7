"""Rounds that take turns, so that a busy machine slows every way alike and the ratio of their medians holds."""

import statistics
import time
from collections.abc import Callable
from typing import Any

__all__ = ["timed"]


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
