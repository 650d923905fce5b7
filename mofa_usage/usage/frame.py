"""Usage: the calls of a source, and everything that can be asked about them.

```python
usage = load_usage("sqlite:usage.db", start="2026-05-01", tz="Europe/Berlin")
usage.cost(by=["day", "model_name"]).draw()
usage.filter("latency_ms > 1000", labels={"feature": "search"}).success_rate()
usage.sql("SELECT model_name, count(*) AS calls FROM calls GROUP BY ALL")
```

Databases, stores and Polars frames are read into memory when they are loaded. Parquet files and DuckDB relations are
not: every question reads the columns that it needs, until somebody asks for the whole `frame`. A frame of Spark is
asked on its cluster, and only what is as small as an answer comes here.

All of it is synchronous and starts no event loop, so that it works in a script, a notebook cell and inside a running
loop alike; `load_usage_async` does not keep that loop waiting.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Unpack

from mofa_usage.errors import UsageError, require
from mofa_usage.measures import Dimension
from mofa_usage.records import QueryFilter
from mofa_usage.zones import Moment, time_range, zone

for needed in ("polars", "duckdb", "pyarrow", "narwhals"):
    require(needed, extra="analysis")

import duckdb  # noqa: E402
import polars as pl  # noqa: E402

from mofa_usage import analysis  # noqa: E402
from mofa_usage.analysis import (  # noqa: E402
    Breakdown,
    By,
    Measures,
    Question,
    QuestionOptions,
    SummaryOptions,
)
from mofa_usage.analysis.asking import asked_for  # noqa: E402
from mofa_usage.analysis.engine import open_calls  # noqa: E402
from mofa_usage.analysis.predicates import Expression  # noqa: E402
from mofa_usage.analysis.predicates import predicates as asked_of  # noqa: E402
from mofa_usage.exporting import ExportOptions, ExportSummary, export_parquet  # noqa: E402
from mofa_usage.measures.spelling import near  # noqa: E402
from mofa_usage.progress import watched  # noqa: E402
from mofa_usage.reading.labels import gather  # noqa: E402
from mofa_usage.reading.object_stores import StorageOptions  # noqa: E402
from mofa_usage.reading.open import Source, open_source  # noqa: E402
from mofa_usage.reading.relation import RelationCalls, told  # noqa: E402
from mofa_usage.reading.selection import Selection  # noqa: E402
from mofa_usage.reading.spark import SparkCalls  # noqa: E402
from mofa_usage.repricing import Step  # noqa: E402
from mofa_usage.usage.card import card  # noqa: E402
from mofa_usage.usage.held import HeldCalls, HeldFrame, HeldRelation, Named, needs_them_here  # noqa: E402
from mofa_usage.usage.held_spark import HeldSpark  # noqa: E402
from mofa_usage.usage.looks import Looks, NamesOfBoth  # noqa: E402
from mofa_usage.usage.options import DistributionOptions, LoadOptions  # noqa: E402
from mofa_usage.usage.queries import answered, tables  # noqa: E402
from mofa_usage.usage.reasons import Reasons  # noqa: E402

if TYPE_CHECKING:
    from mofa_usage.theme import Style

__all__ = ["UsageFrame", "load_usage", "load_usage_async"]


def load_usage(
    source: Source,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    *,
    start: Moment | None = None,
    end: Moment | None = None,
    tz: str = "UTC",
    columns: Sequence[str] | None = None,
    mapping: Mapping[str, str | None] | None = None,
    round_prices: bool = False,
    storage_options: StorageOptions | None = None,
    progress: bool | None = None,
) -> "UsageFrame":
    """The calls of a source.

    Args:
        source: A database URL, an open store, a Parquet file, folder or pattern, the URL of those in an object store
            (`s3://bucket/folder`), a frame of Polars (also lazy) or pandas, an Arrow table or what else gives Arrow
            data, a DuckDB relation, or a frame of Spark. A database is read by a connection of our own, also that of a
            store.
        filter: Only calls that meet it; both ends of its times are included. With its `limit` or `offset` the calls
            come newest first, else in no particular order.
        start: Only calls created at or after this: a datetime with a zone, a date, or ISO 8601 text. A date, and text
            without a zone, are on the clock of `tz`.
        end: Only calls created before this.
        tz: The IANA time zone in which days and hours are counted.
        columns: Only these columns: of `mofa_usage.reading.columns.CALL_COLUMNS`, `labels.NAME`, `session.NAME` and
            further ones of the source; by default all that there are. An analysis says which ones it misses.
        mapping: Field -> column of a file or frame, where the column's name does not tell, as in `import_calls`:
            `{"model_name": "deployment", "labels.team": "cost_centre"}`. None as the column leaves a field out. Columns
            are known by many names (`timestamp`, `model`, `input_tokens`, `cost`, ...); all others are kept as they
            are, and are dimensions.
        round_prices: Round prices of a file or frame that have more than ten decimal places, half to even, instead of
            refusing them. `UsageFrame.rounded_prices` counts them.
        storage_options: Of an object store, as deltalake takes them (`aws_region`, `aws_endpoint_url`, ...); the rest
            is found as AWS's own tools find it.
        progress: True shows a progress bar on standard error, False does not; by default one appears when reading a
            database takes longer than a second and a person is watching.

    Returns:
        The calls; in memory (the result and one batch at most), or lazily for Parquet, DuckDB and Spark.

    Raises:
        UsageError: no such file, table, column or zone, a time without a zone, a column that cannot be cast exactly.
        StoreConnectionError: a database that is not there or does not let us in. Messages hold no password.
        QueryError: a database failed while it was read.
        SerializationError: a stored row is no call; the message names it.
        MissingExtraError: the extra `analysis` is not installed.
    """
    selection = Selection.of(filter, start, end, tz, columns)
    calls = open_source(source, mapping, round_prices=round_prices, storage_options=storage_options)
    if isinstance(calls, RelationCalls):
        with told():
            calls.relation(selection)  # what is not there or cannot be cast is refused now, not at the first question
        held: HeldCalls = HeldRelation(calls, selection)
    elif isinstance(calls, SparkCalls):
        with told():
            calls.frame(selection)  # the same; what a worker finds in a row is refused when it comes to it
        held = HeldSpark(calls, selection)
    else:
        batches = watched(calls.batches(selection), "Reading calls", partial(calls.count, selection), progress)
        held = HeldFrame(gather(batches) if columns is None else pl.concat(batches))
    rounded = calls.rounded_prices(selection)
    return UsageFrame(held, tz=tz, start=selection.start, end=selection.end, rounded_prices=rounded)


async def load_usage_async(
    source: Source,
    filter: QueryFilter | None = None,  # noqa: A002 (the contract's name)
    **options: Unpack[LoadOptions],
) -> "UsageFrame":
    """`load_usage` in a thread, so that the event loop goes on meanwhile."""
    return await asyncio.to_thread(load_usage, source, filter, **options)


class UsageFrame(Reasons):
    """Calls, with the time zone in which their days are counted.

    Get one from `load_usage`. The analyses return small Polars frames that can be drawn: `usage.cost().draw()`. They
    and everything else here may be used from several threads; only a relation of your own DuckDB connection belongs
    to that connection.

    It can be pickled. Calls in memory go along. Parquet files are opened again where it is unpickled, so they must be
    there under the same path, and so is what `filter` was given. A relation of yours is read then, since its connection
    stays here.

    A name has one colour in all figures of a usage and of what `filter` and `between` make of it: that which it has
    among all calls. So these hold on to the usage that they come from; pickled, they take along the names in those
    dimensions that were asked for, and no calls but their own.

    Attributes:
        tz: The IANA time zone of days and hours.
        start, end: The half-open range of times that was asked for, in UTC; None where it was open.
        rounded_prices: How many prices were rounded when these calls were loaded.
    """

    def __init__(
        self,
        calls: HeldCalls,
        *,
        tz: str = "UTC",
        start: datetime | None = None,
        end: datetime | None = None,
        rounded_prices: int = 0,
    ) -> None:
        zone(tz)
        self.tz = tz
        self.start = start
        self.end = end
        self.rounded_prices = rounded_prices
        self._held = calls
        self._looks = Looks()
        self._whole: Named | None = None  # those that names have their colours of, unless it is these
        self._loading = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        made = partial(UsageFrame, tz=self.tz, start=self.start, end=self.end, rounded_prices=self.rounded_prices)
        return made, (self._held,), self._looks if self._whole is not None else None

    def __setstate__(self, looks: Looks) -> None:
        self._looks = looks

    @property
    def frame(self) -> pl.DataFrame:
        """The calls, with columns of `mofa_usage.reading.columns.CALL_SCHEMA`. Lazy ones are read now, and kept."""
        with self._loading:  # once, whoever asks
            held = self._held.loaded()
            self._held = held
        return held.frame

    def lazy(self) -> pl.LazyFrame:
        """The calls as a Polars lazy frame."""
        return self.frame.lazy()

    @property
    def relation(self) -> duckdb.DuckDBPyRelation:
        """The calls as a DuckDB relation, of a session of its own on the clock of `tz`.

        Raises:
            UsageError: they are on Spark, and `frame` has not brought them here.
        """
        return self._held.relation(self.tz)

    @property
    def columns(self) -> list[str]:
        """The columns that the calls have."""
        return self._held.columns

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The calls to what speaks the Arrow PyCapsule interface: `pyarrow.table(usage)`, `polars.DataFrame(usage)`.

        Lazy calls are read batch by batch. Answers speak it, too.
        """
        return self._held.stream(requested_schema)

    def sql(self, query: str, **frames: Any) -> pl.DataFrame:
        """The answer of DuckDB to a query over the table `calls`, and over frames of yours by their names.

        `usage.sql("SELECT * FROM calls JOIN teams USING (user_id)", teams=teams)`. A frame is one of Polars (also lazy)
        or pandas, an Arrow table or what else gives Arrow data, a DuckDB relation, a `UsageFrame` or an answer. They
        are read and not changed. With them the calls of a relation of yours are read, too, since your connection gets
        no tables of ours; and so they are where it has another table called `calls`.

        The session is on the clock of `tz`: `date_trunc('day', create_time)` is a day there, and times come out in
        it. (A relation that you made keeps the zone of its connection.) Sums of whole numbers are whole numbers.

        Raises:
            UsageError: DuckDB refuses the query, a frame is none or is called `calls`, a whole number has over 64 bits.
        """
        loaded = (
            (name, one._held.loaded().frame if isinstance(one, UsageFrame) else one) for name, one in frames.items()
        )
        held = self._held.loaded() if self._held.are_hidden else self._held
        return answered(held.relation(self.tz, tables(dict(loaded))), query)

    def between(self, start: Moment | None = None, end: Moment | None = None) -> "UsageFrame":
        """The calls created in [start, end), of those that are here.

        Raises:
            UsageError: a time without a zone, a range that ends before it starts, or create_time was not loaded.
        """
        first, last = time_range(start, end, zone(self.tz))
        inner_start = max((time for time in (first, self.start) if time is not None), default=None)
        inner_end = min((time for time in (last, self.end) if time is not None), default=None)
        return self._narrowed(self._held.between(inner_start, inner_end), inner_start, inner_end)

    def filter(self, *predicates: str | Expression, **equal: Any) -> "UsageFrame":
        """The calls that meet everything that is said of them; the zone, the period and the colours stay.

        Calls of Parquet files, DuckDB relations and Spark stay lazy, too; on Spark no predicate is SQL text.

        Args:
            predicates: SQL text over the columns of the calls, as DuckDB reads it, on the clock of `tz` (on that of its
                connection if the calls are a relation of yours): `"latency_ms > 1000"`, `'"labels.team" LIKE \'a%\''`.
                Or expressions of Narwhals, or of Polars while the calls are in memory. A call of which one says null
                does not meet it.
            equal: Columns by name with the value that they must have, or any collection of values; None among them is a
                missing one: `status=["failed", "timeout"]`. Labels and the metadata of sessions are given as mappings:
                `labels={"feature": "search"}`, `session={"plan": "pro"}`. Ids are UUIDs or text. Times are datetimes
                with a zone, or ISO 8601 text; a date is that whole day, and both are on the clock of `tz`.

        Raises:
            UsageError: no such column, label or status, a value of another kind than the column's, text that is no
                predicate over the calls (the message has DuckDB's sentence), an expression that is none.
        """
        held = self._held
        wanted = asked_of(predicates, equal, held.schema, zone(self.tz))
        return self._narrowed(held.filter(wanted, self.tz), self.start, self.end)

    def _narrowed(self, held: HeldCalls, start: datetime | None, end: datetime | None) -> "UsageFrame":
        """Some of these calls, whose names keep their colours."""
        usage = UsageFrame(held, tz=self.tz, start=start, end=end, rounded_prices=self.rounded_prices)
        usage._looks, usage._whole = self._looks, self._colored
        return usage

    def _with_money(self, step: Step) -> "UsageFrame":
        """These calls with other money, whose names keep their colours."""
        columns, held = self._held.columns, self._held.repriced(step)
        usage = self._narrowed(held, self.start, self.end)
        usage._whole = NamesOfBoth(self._colored, columns, held)
        return usage

    @property
    def _colored(self) -> Named:
        """The calls in which names have their colours."""
        return self._held if self._whole is None else self._whole

    def export_parquet(self, path: str | os.PathLike[str], **options: Unpack[ExportOptions]) -> ExportSummary:
        """Write the calls to Parquet: see `mofa_usage.exporting.export_parquet`, whose options these are.

        Dates among them are on the clock of this usage.
        """
        if self._held.elsewhere is not None:
            raise UsageError(needs_them_here("export_parquet", self._held.elsewhere))
        options.setdefault("tz", self.tz)
        return export_parquet(self._held.native(self.tz), path, **options)

    def breakdown(
        self,
        by: By | None = (),
        measures: Measures | None = None,
        **options: Unpack[QuestionOptions],
    ) -> Breakdown:
        """Measures of the calls, by dimensions: see `mofa_usage.analysis.breakdown`."""
        return self._ask(analysis.breakdown, by, measures, **options)

    def breakdowns(self, questions: Sequence[Question]) -> list[Breakdown]:
        """The answers to several questions, each as `breakdown` gives it: see `mofa_usage.analysis.breakdowns`.

        Those with the same dimensions and times share one pass over the calls.
        """
        with told():
            answers = analysis.breakdowns(self._held.native(self.tz), questions, tz=self.tz)
        for question, answer in zip(questions, answers, strict=True):
            self._style(answer, question.by)
        return answers

    def cost(self, by: By | None = None, **options: Unpack[QuestionOptions]) -> Breakdown:
        """What the calls cost and how much of that is known: see `mofa_usage.analysis.cost`."""
        return self._ask(analysis.cost, by, **options)

    def latency(self, by: By | None = None, **options: Unpack[QuestionOptions]) -> Breakdown:
        """How long calls take, in milliseconds: see `mofa_usage.analysis.latency`."""
        return self._ask(analysis.latency, by, **options)

    def token_rate(self, by: By | None = None, **options: Unpack[QuestionOptions]) -> Breakdown:
        """How fast completion tokens come, per second: see `mofa_usage.analysis.token_rate`."""
        return self._ask(analysis.token_rate, by, **options)

    def success_rate(self, by: By | None = None, **options: Unpack[QuestionOptions]) -> Breakdown:
        """How many calls succeeded and how the others ended: see `mofa_usage.analysis.success_rate`."""
        return self._ask(analysis.success_rate, by, **options)

    def distribution(self, by: By = (), **options: Unpack[DistributionOptions]) -> Breakdown:
        """How many calls took how long, or cost how much: see `mofa_usage.analysis.distribution`."""
        return self._ask(analysis.distribution, by, **options)

    def summary(self, **options: Unpack[SummaryOptions]) -> Breakdown:
        """The headline figures, in one row: see `mofa_usage.analysis.summary`."""
        with told():
            return analysis.summary(self._held.native(self.tz), tz=self.tz, **options)

    def _ask(self, question: Callable[..., Breakdown], by: By | None, *arguments: Any, **options: Any) -> Breakdown:
        """The answer to a question by dimensions, which knows how their names look."""
        with told():
            answer = question(self._held.native(self.tz), by, *arguments, tz=self.tz, **options)
        self._style(answer, by)
        return answer

    def _style(self, answer: Breakdown, by: By | None) -> None:
        """Let an answer know how the names in its dimensions look."""
        answer.styles_of = self._looks.learn(asked_for(by, answer.columns), self._colored)

    def styles(self, dimension: str | Dimension) -> Mapping[str, "Style"]:
        """How each name of a dimension is drawn in every figure of this usage: see `mofa_usage.theme.styles`."""
        name = dimension if isinstance(dimension, str) else dimension.name
        return self._looks.learn([dimension], self._colored)(name)

    def near(self, dimension: str | Dimension, value: str) -> list[str]:
        """At most five names of a dimension that look like the value, for somebody whose filter matched nothing."""
        return near(value, self._held.names(dimension)())

    def __len__(self) -> int:
        """The number of calls."""
        return self._held.count()

    def __repr__(self) -> str:
        period = f"{self.start or '...'} to {self.end or '...'}"
        return f"UsageFrame({self._held}, {len(self.columns)} columns, {period}, tz={self.tz!r})"

    def _repr_html_(self) -> str:
        """A card with the period, the calls, what they cost and which models they used, for a notebook."""
        calls = open_calls(self._held.native(self.tz))
        with told():
            return card(self, calls.extent() if "create_time" in calls.schema else None)
