"""The same questions on a Spark cluster of this machine, with workers of their own: `pytest -n0 --spark tests/spark`.

They need the extra `spark` and a Java (`java.py` says which), take minutes, and so run only where `--spark` asks for
them, as `.ci/run` does; the end of any other run says that they were left out. One session serves all of them, which is
why they run in one process.
"""

from importlib.util import find_spec

__all__ = ["PAGE", "is_installed"]

PAGE = "spark.md"
"""The page of the documentation that shows it."""


def is_installed() -> bool:
    """Whether pyspark is there."""
    return find_spec("pyspark") is not None
