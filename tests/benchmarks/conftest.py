"""Gives benchmarks the fixture `ratios`, and prints one line for each ratio at the end of the run."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.ratios import LINES, Ratios


@pytest.fixture
def ratios(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> Ratios:
    """What this benchmark measures."""
    return Ratios(benchmark, pytestconfig.stash.setdefault(LINES, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(LINES, []):
        terminalreporter.section("ratios (ours / peer, less is better)")
        terminalreporter.write("\n".join([*lines, ""]))
