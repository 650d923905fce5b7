"""What a frame of Spark is, for those who only need to know one: nothing is loaded for that."""

from typing import Any, Protocol, TypeGuard

from mofa_usage.errors import require

__all__ = ["SparkFrame", "is_spark", "of_sql"]


class SparkFrame(Protocol):
    """A frame of Spark, of a classic session or of Spark Connect: what of it is used here."""

    @property
    def schema(self) -> Any:
        """Its columns with their types."""
        ...

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        ...

    def selectExpr(self, *expr: Any) -> Any:  # noqa: N802 (Spark's name)
        """Columns as SQL."""
        ...

    def where(self, condition: Any) -> Any:
        """The rows that meet a condition."""
        ...

    def groupBy(self, *cols: Any) -> Any:  # noqa: N802 (Spark's name)
        """The rows in groups."""
        ...

    def toDF(self, *cols: Any) -> Any:  # noqa: N802 (Spark's name)
        """The frame with other names for its columns."""
        ...


def is_spark(source: object) -> TypeGuard[SparkFrame]:
    """Whether something is a frame of Spark; that is known without loading it."""
    own = any(kind.__module__.startswith("pyspark.sql.") for kind in type(source).__mro__)
    return own and hasattr(source, "selectExpr") and hasattr(source, "toDF")


def of_sql(frame: SparkFrame, sql: str) -> Any:
    """A column of SQL, of the kind of session that the frame is of."""
    is_connect = ".connect." in type(frame).__module__
    return require("pyspark.sql.connect.functions" if is_connect else "pyspark.sql.functions", extra="spark").expr(sql)
