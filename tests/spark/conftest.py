"""The session of the tests on a cluster."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.spark.java import java_home

ZONE = "America/New_York"
"""The zone of the session, which is none that a test asks for."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only what was asked for; the end of the run says so."""
    return None if config.getoption("--spark") or not collection_path.name.startswith("test_") else True


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session of a cluster with two workers, each in a process of its own."""
    import pyspark
    from pyspark.sql import SparkSession

    home = Path(pyspark.__file__).parent
    told = {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(java_home(tmp_path_factory.mktemp("java") / "home")),
        "PYSPARK_PYTHON": sys.executable,
    }
    os.environ.update(told)
    builder = SparkSession.builder.master("local-cluster[2,1,1024]").appName("mofa_usage")
    settings = {**_SETTINGS, "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("tables"))}
    for name, value in settings.items():
        builder = builder.config(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the version of pandas, which nothing here uses
        made = builder.getOrCreate()
    made.sparkContext.setLogLevel("ERROR")
    yield made
    made.stop()
    shutil.rmtree(home / "work", ignore_errors=True)  # where its workers had their logs


# Small data: what takes time is compiling and starting tasks.
_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "1g",
    "spark.driver.maxResultSize": "2m",  # see test_small_results
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.session.timeZone": ZONE,
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}
