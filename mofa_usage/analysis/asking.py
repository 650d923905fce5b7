"""What is asked of the calls, and what of it the columns can answer.

A question names dimensions and measures, or leaves the measures to `Usual` ones: then those are answered whose columns
the frame has. What was asked for by name is answered or refused.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, TypedDict
from zoneinfo import ZoneInfo

import narwhals as nw

from mofa_usage.analysis.engine import MOMENT, LazyCalls, collect, sentence
from mofa_usage.errors import UsageError
from mofa_usage.measures import (
    DIMENSIONS,
    Condition,
    Cumulative,
    Dimension,
    DimensionName,
    Measure,
    MeasureName,
    Reckoned,
    Rolling,
    Share,
    dimension,
    measure,
    with_bounds,
)
from mofa_usage.measures.derived import known_measure
from mofa_usage.zones import Moment, time_range

__all__ = [
    "OTHER",
    "OTHER_MARK",
    "Asked",
    "By",
    "Measures",
    "PeriodOptions",
    "Question",
    "QuestionOptions",
    "SummaryOptions",
    "Usual",
    "ZonedOptions",
    "asked_for",
    "checked",
    "found",
]


@dataclass(frozen=True, slots=True)
class Usual:
    """Measures that are answered as far as the frame has the columns; one of `about` must be among them.

    `question` is what asking for them is called, see `mofa_usage.measures.Roles`.
    """

    measures: tuple[MeasureName, ...]
    about: tuple[MeasureName, ...]
    question: str = "breakdown"

    def __iter__(self) -> Iterator[MeasureName]:
        return iter(self.measures)

    def known(self, columns: Collection[str]) -> tuple[Measure, ...]:
        """Those that calls with these columns answer; none where nothing of `about` is among them."""
        there = set(columns)
        found = [entry for entry in map(measure, self.measures) if there.issuperset(entry.needs)]
        return tuple(found) if {entry.name for entry in found} & set(self.about) else ()


By: TypeAlias = DimensionName | str | Dimension | Sequence[DimensionName | str | Dimension]
"""Names of dimensions (of `mofa_usage.measures.DIMENSIONS`, `labels.NAME`, `session.NAME`, or of a further column), or
dimensions of your own."""

Measures: TypeAlias = MeasureName | str | Measure | Sequence[MeasureName | str | Measure] | Usual
"""Names of `mofa_usage.measures.MEASURES`, or measures of your own."""

BREAKDOWN = Usual(("calls", "success_rate", "total_tokens", "cost", "coverage", "latency_p95"), ("calls",))
"""What a breakdown shows unless told."""


OTHER, OTHER_MARK = "other", "is_other"
"""The group of all that is not among the heaviest, and the column that marks it: a name might be that word, too."""


class PeriodOptions(TypedDict, total=False):
    """Only calls created in [start, end): datetimes with a zone, or dates and ISO 8601 text on the clock of `tz`."""

    start: Moment | None
    end: Moment | None


class SummaryOptions(PeriodOptions, total=False):
    """As `summary` takes them: `intervals` is the level of the intervals of rates and percentiles, such as 0.95."""

    intervals: float | None


class QuestionOptions(SummaryOptions, total=False):
    """As `breakdown` takes them.

    `fill_gaps` adds the buckets of time in which nothing was called, `top` keeps that many names and makes the rest one
    group, `totals` answers for each level above, too.
    """

    fill_gaps: bool
    top: int | None
    totals: bool


class ZonedOptions(QuestionOptions, total=False):
    """The same with the IANA time zone of time buckets and of times that name none."""

    tz: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question of several: `by`, `measures` and the rest are as `mofa_usage.analysis.breakdown` takes them."""

    by: By | None = ()
    measures: Measures | None = None
    start: Moment | None = None
    end: Moment | None = None
    fill_gaps: bool = False
    top: int | None = None
    totals: bool = False
    intervals: float | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, checked against the frame of calls."""

    dimensions: tuple[Dimension, ...]
    measures: tuple[Measure, ...]
    start: datetime | None
    end: datetime | None
    gaps: str | None
    """The dimension whose gaps are to be filled."""
    question: str
    top: int | None = None
    """How many values the first category keeps; the rest is one group."""
    totals: bool = False

    @property
    def by(self) -> list[str]:
        """The names of the dimensions."""
        return [dimension.name for dimension in self.dimensions]

    @property
    def money(self) -> list[Measure]:
        """The measures whose currency the dimensions do not say."""
        return [] if "currency" in self.by else [entry for entry in self.measures if entry.of_money]

    @property
    def ranked(self) -> bool:
        """Whether the rows are sorted by the first measure and not by time."""
        return all(dimension.kind == "category" for dimension in self.dimensions)

    @property
    def folded(self) -> Dimension | None:
        """The dimension of which only the heaviest values are kept."""
        return None if self.top is None else _foldable(self.dimensions)

    def above(self, depth: int) -> "Asked":
        """The same question by the first of its dimensions alone; without any the whole."""
        left = self.dimensions[:depth]
        gaps = self.gaps if any(entry.name == self.gaps for entry in left) else None
        return replace(self, dimensions=left, gaps=gaps, top=None if _foldable(left) is None else self.top)


def checked(question: Question, calls: LazyCalls, tz: ZoneInfo) -> Asked:
    """The question with everything that its names stand for.

    Raises:
        UsageError: an unknown measure or dimension, a time without zone, a column that the frame lacks, or two columns
            of the answer that have one name.
    """
    asked = _measures(BREAKDOWN if question.measures is None else question.measures, calls)
    if not asked:
        raise UsageError("no measure was asked for")
    if question.intervals is not None:
        asked = tuple(dict.fromkeys(end for entry in asked for end in with_bounds(entry, question.intervals)))
    dimensions = found(question.by, calls)
    start, end = time_range(question.start, question.end, tz)
    for wanted in asked:
        _check_meaning(wanted)
        calls.require(wanted.needs, f"the measure {wanted.name!r}")
        _check_aggregates(wanted, calls)
        _check_derived(wanted, dimensions)
    if start is not None or end is not None:
        calls.require(["create_time"], "a time range")
    if question.top is not None:
        _check_top(question.top, dimensions)
    _check_columns([*(entry.name for entry in dimensions), *(entry.name for entry in asked)], dimensions)
    called = question.measures.question if isinstance(question.measures, Usual) else "breakdown"
    gaps = _one_time(dimensions, "fill_gaps") if question.fill_gaps else None
    return Asked(dimensions, asked, start, end, gaps, called, question.top, question.totals)


def asked_for(by: By | None, columns: Collection[str]) -> list[str | Dimension]:
    """What is asked for by, of calls with these columns: by model unless told."""
    if by is None:
        return ["model_name"] if "model_name" in columns else []
    if isinstance(by, str | Dimension):
        return [by]
    if not isinstance(by, Iterable):
        raise UsageError(f"by = {by!r:.40}; give the name of a dimension, a Dimension, or several of them")
    return list(by)


def found(by: By | None, calls: LazyCalls) -> tuple[Dimension, ...]:
    """The dimensions of those names, by model unless told.

    Further columns of text, whole numbers, flags and dates are such, too.

    Raises:
        UsageError: there is none of a name, or the frame lacks its column.
    """
    further = _further(calls)
    entries = asked_for(by, calls.schema)
    dimensions = (entry if isinstance(entry, Dimension) else dimension(entry, further) for entry in entries)
    known = tuple(dict.fromkeys(dimensions))
    for entry in known:
        _check_name(entry)
        _require(entry, calls)
        _check_values(entry, calls)
    return known


def _check_name(entry: Dimension) -> None:
    """Refuse a dimension of the asker's own that cannot be told from one that there is, or would be a time."""
    known = DIMENSIONS.get(entry.name)
    if known is not None and entry.definition != known.definition:
        raise UsageError(f"a dimension is called {entry.name!r} already, and means something else; choose another name")
    if known is None and entry.kind != "category":
        raise UsageError(
            f"the dimension {entry.name!r} is of the kind {entry.kind!r}; those of your own are categories"
        )


def _check_values(entry: Dimension, calls: LazyCalls) -> None:
    """Refuse a dimension of the asker's own whose values calls cannot have, or that are no names."""
    if entry.name in DIMENSIONS:
        return
    for condition in (one for _, conditions in entry.choices for one in conditions):
        _check_condition(condition, calls, f"the dimension {entry.name!r}")
    kind = None if entry.cases else _kind(entry, calls)
    if kind is not None and not _is_category(kind):
        raise UsageError(f"the dimension {entry.name!r} is {kind}; it must be text, whole numbers, flags or dates")


def _goes_with(value: object, dtype: nw.dtypes.DType) -> bool:
    """Whether every engine compares such a value with a column."""
    if value is None or isinstance(value, bool):
        return value is None or dtype == nw.Boolean
    return isinstance(dtype, nw.String | nw.Categorical | nw.Enum) if isinstance(value, str) else dtype.is_numeric()


def _kind(entry: Dimension, calls: LazyCalls) -> nw.dtypes.DType:
    """What the values of a column, or of an expression, are."""
    if entry.expression is None:
        known: nw.dtypes.DType = calls.schema.get(entry.needs[0], nw.String())
        return known
    if not isinstance(entry.expression, nw.Expr):
        given = type(entry.expression).__name__
        raise UsageError(f"the expression of the dimension {entry.name!r} is a {given}; give one of Narwhals")
    try:
        values = calls.frame.head(0).select(value=entry.expression)  # of no call; kinds that do not fit are noticed
        found, kind = collect(values), values.collect_schema()["value"]
    except Exception as error:
        raise UsageError(f"the dimension {entry.name!r} cannot be computed: {sentence(error)}") from error
    if found.height:
        raise UsageError(f"the dimension {entry.name!r} is one value of all calls; give an expression of each call")
    return kind


def _further(calls: LazyCalls) -> list[str]:
    return [name for name, dtype in calls.schema.items() if name != MOMENT and _is_category(dtype)]


def _is_category(dtype: nw.dtypes.DType) -> bool:
    # What Narwhals does not know is DuckDB's UUID.
    kinds = (nw.String, nw.Categorical, nw.Enum, nw.Boolean, nw.Date, nw.Unknown)
    return dtype.is_integer() or isinstance(dtype, kinds)


def _require(entry: Dimension, calls: LazyCalls) -> None:
    """Refuse a dimension that the frame has no column for; a label is told which labels there are."""
    optional = {"currency"} if "total_price" in calls.schema else set()
    prefix, dot, _ = entry.name.partition(".")
    if dot and not set(entry.needs) <= set(calls.schema):
        there = [name for name in calls.schema if name.startswith(f"{prefix}.")]
        listed = f"there are: {', '.join(there)}" if there else f"it has no {prefix}"
        raise UsageError(f"the frame has no column {entry.needs[0]!r}; {listed}")
    calls.require((column for column in entry.needs if column not in optional), f"the dimension {entry.name!r}")


def _measures(asked: Measures, calls: LazyCalls) -> tuple[Measure, ...]:
    if not isinstance(asked, Usual):
        entries: list[str | Measure] = [asked] if isinstance(asked, str | Measure) else list(asked)
        named = (entry if isinstance(entry, Measure) else measure(entry) for entry in entries)
        return tuple(dict.fromkeys(named))
    # Else the column of the first is named as what is missing.
    return asked.known(calls.schema) or tuple(measure(name) for name in asked.about[:1])


def _foldable(dimensions: Sequence[Dimension]) -> Dimension | None:
    """The first category; currencies never become one group, whose amounts nobody could add."""
    return next((entry for entry in dimensions if entry.kind == "category" and entry.name != "currency"), None)


def _check_top(top: int, dimensions: Sequence[Dimension]) -> None:
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise UsageError(f"top = {top!r}; it says how many groups to keep, at least 1")
    if _foldable(dimensions) is None:
        raise UsageError("top needs a category in by, such as model_name, whose heaviest values it keeps")


def _check_columns(names: Sequence[str], dimensions: Sequence[Dimension]) -> None:
    """Refuse two columns of one name, and a measure or dimension called as a column that answers have beside them."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two columns of the answer would be called {twice!r}")
    kept = {OTHER_MARK: 'marks the group "other"', "currency": "says the currency of money"}
    for name in names:
        if name in kept and not any(entry.name == name == "currency" for entry in dimensions):
            raise UsageError(f"the column {name!r} of an answer {kept[name]}; choose another name")


def _check_meaning(wanted: Measure) -> None:
    """Refuse what no breakdown computes, and a measure of somebody's own that cannot be told from one that there is."""
    if isinstance(wanted.formula, Reckoned):
        raise UsageError(f"the measure {wanted.name!r} is one of {wanted.formula.question}, not of a breakdown")
    known = known_measure(wanted.name)
    if known is not None and known.formula != wanted.formula:
        raise UsageError(f"a measure is called {wanted.name!r} already, and means something else; choose another name")


def _check_aggregates(wanted: Measure, calls: LazyCalls) -> None:
    """Refuse a measure of what is no number, or whose conditions calls cannot meet."""
    for part in wanted.aggregates:
        dtype = calls.schema.get(part.value, nw.Int64()) if isinstance(part.value, str) else nw.Int64()
        # Of nothing but nulls Narwhals knows no type; it adds up all the same, but has no percentiles.
        is_number = dtype.is_numeric() or (isinstance(dtype, nw.Unknown) and part.function != "quantile")
        if part.function not in ("count", "distinct") and not is_number:
            raise UsageError(f"the measure {wanted.name!r} is of {part.value}, which is {dtype} and no number")
        for condition in part.where:
            _check_condition(condition, calls, f"the measure {wanted.name!r}")


def _check_condition(condition: Condition, calls: LazyCalls, reason: str) -> None:
    dtype = calls.schema.get(condition.column, nw.String())
    if not isinstance(dtype, nw.Unknown) and not _goes_with(condition.value, dtype):
        raise UsageError(f"{reason} compares {condition.column}, which is {dtype}, with {condition.value!r}")


def _check_derived(measure: Measure, dimensions: Sequence[Dimension]) -> None:
    formula, names = measure.formula, [entry.name for entry in dimensions]
    if isinstance(formula, Share) and formula.of is not None and formula.of not in names:
        there = ", ".join(names) or "nothing"
        raise UsageError(f"the measure {measure.name!r} needs {formula.of!r} in by; there is {there}")
    if isinstance(formula, Cumulative | Rolling):
        _one_time(dimensions, f"the measure {measure.name!r}")


def _one_time(dimensions: Sequence[Dimension], reason: str) -> str:
    times = [entry.name for entry in dimensions if entry.kind == "time"]
    if len(times) != 1:
        raise UsageError(f"{reason} needs one time bucket (minute, hour, day, week or month) in by, not {len(times)}")
    return times[0]
