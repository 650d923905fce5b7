"""What benchmarks share: `ratios`, calls in Parquet, and one line for each ratio at the end of the run."""

from pathlib import Path

import duckdb
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.ratios import FEW, LINES, MANY, Ratios


@pytest.fixture
def ratios(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> Ratios:
    """What this benchmark measures."""
    return Ratios(benchmark, pytestconfig.stash.setdefault(LINES, []))


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    """One on the clock of UTC, for the SQL by hand."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@pytest.fixture(scope="module")
def parquet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, connection: duckdb.DuckDBPyConnection
) -> Path:
    """The calls that `GENERATE` of the module writes: a COPY of so many `rows` to a `path`."""
    rows = MANY if request.config.getoption("benchmark_enable") else FEW
    path = tmp_path_factory.mktemp("benchmark") / "calls.parquet"
    connection.execute(request.module.GENERATE.format(rows=rows, path=path))
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(LINES, []):
        terminalreporter.section("ratios (ours / peer, less is better)")
        terminalreporter.write("\n".join([*lines, ""]))
