"""Whether it is all here: what is missing, what is there twice, and what cannot be.

A finding is a sentence about calls that somebody should look at. Data of which nothing is the matter gives none; what
is normal is none either: calls that did not succeed have no price and no tokens, and calls that were not streamed have
no first token.

What recorders have accepted and not delivered yet lies in outboxes, of which calls know nothing. Who has a recorder
gives its `stats()`; `mofa-usage completeness` looks into the outbox of the database that it is given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Unpack
from zoneinfo import ZoneInfo

import duckdb
import polars as pl

from mofa_usage import wording
from mofa_usage.analysis import Breakdown, breakdown
from mofa_usage.analysis.result import one_of
from mofa_usage.audit.coverage import UNKNOWN, coverage
from mofa_usage.audit.doubles import Found, contradictions, doubles
from mofa_usage.audit.gaps import ENOUGH, SPAN, Gap, gaps
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, DIMENSIONS, MEASURES, Dimension, MeasureColumn, Roles
from mofa_usage.reading.relation import told
from mofa_usage.zones import Moment, present_and_end, utc, zone

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from mofa_usage.plots import DrawOptions

__all__ = ["Completeness", "CompletenessOptions", "Waiting", "completeness"]

Severity = Literal["error", "warning", "note"]


class Waiting(Protocol):
    """What says how many records wait to be delivered: `Recorder.stats()`, or the survey of an outbox."""

    @property
    def waiting(self) -> int:
        """Records that were accepted and not delivered yet."""
        ...

    @property
    def dead(self) -> int:
        """Records that no database took."""
        ...


class CompletenessOptions(TypedDict, total=False):
    """What `completeness` takes beside the zone."""

    now: Moment | None
    end: Moment | None
    waiting: "Waiting | int | None"
    duplicates: bool


@dataclass(frozen=True, slots=True)
class Completeness:
    """Whether it is all here.

    Attributes:
        findings: A row for each finding, the gravest first: `severity` (error, warning, note), `kind`, `day` of the
            first call, `model_name`, `calls`, `sentence`. Empty when there is nothing.
        coverage: A row for each model, that with most calls first: `calls`, and the share of calls of which the price
            (`coverage`), the tokens, the latency and the time to the first token are known.
        gaps: A row for each gap: `gap_start` and `gap_end` in the zone, `empty_hours`, `usual_calls` of that time.
        days: A row for each day from the first call to the last: `day`, `calls`, `empty_hours` of gaps in it.
        last_call: When the last call was made that is not in the future; None without calls.
        age: How long before `now` that was.
        too_short: Whether there is too little of a history to say anything about gaps.
    """

    findings: Breakdown
    coverage: Breakdown
    gaps: Breakdown
    days: Breakdown
    last_call: datetime | None
    age: timedelta | None
    too_short: bool

    @property
    def sentence(self) -> str:
        """What it says, in plain sentences; names in it are untrusted."""
        if self.last_call is None and not self.findings.height:
            return "There are no calls."
        parts = [self.findings.sentence]
        if self.last_call is not None and self.age is not None:
            parts.append(f"The last call was made {_ago(self.age)}, at {self.last_call:%Y-%m-%d %H:%M}.")
        if self.too_short:
            parts.append(f"For gaps there is too short a history: it takes {ENOUGH} days.")
        return " ".join(parts)

    def draw(
        self,
        kind: Literal["coverage", "days"] = "coverage",
        *,
        theme: Literal["light", "dark"] | None = None,
        **options: "Unpack[DrawOptions]",
    ) -> "Figure":
        """Draw what is known of the calls of each model, or the calls of each day with the gaps in them.

        Raises:
            UsageError: there is no such figure; as `Breakdown.draw`.
        """
        drawn = {"coverage": self.coverage, "days": self.days}
        return one_of(drawn, kind, "completeness").draw(theme=theme, **options)

    def __str__(self) -> str:
        return "\n".join([self.sentence, *self.findings["sentence"], "", str(self.coverage)])

    def _repr_html_(self) -> str:
        """The coverage as a table for a notebook, and every finding as a sentence."""
        said = " ".join((self.sentence, *self.findings["sentence"]))
        return self.coverage.as_html(said)


def completeness(
    calls: duckdb.DuckDBPyRelation,
    *,
    now: Moment | None = None,
    end: Moment | None = None,
    waiting: "Waiting | int | None" = None,
    duplicates: bool = True,
    tz: str = "UTC",
) -> Completeness:
    """What is missing, what is there twice, and what cannot be.

    Findings: models of which no call has a price (`unpriced_model`), successful calls without price, tokens or latency
    (`unpriced`, `no_tokens`, `no_latency`), gaps in time (`gap`, and `silent` where it lasts), calls with one id
    (`duplicate_id`), one id of the provider's (`duplicate_response`) or the same of everything (`alike`), numbers that
    contradict each other (`contradictory_total`, `_details`, `_reasoning`, `_latency`) or are below 0 (`negative`),
    calls of the `future`, and records that wait (`waiting`) or that no database took (`dead`). What is asked of columns
    that the frame lacks is not answered.

    Args:
        calls: with `create_time`.
        now: What counts as now; by default the clock says it.
        end: The end of the period that the calls are of; by default now. Up to there gaps are looked for, but for data
            whose last call is more than 28 days older: that has ended.
        waiting: What has not been delivered: `recorder.stats()`, the survey of an outbox, or a number of records.
        duplicates: Whether to look for calls that are there twice, which takes most of the time.
        tz: IANA time zone of days, hours and weekdays.

    Raises:
        UsageError: the frame has no `create_time`, a time names no zone, or `waiting` is none of these.
    """
    clock = zone(tz)
    present, until = present_and_end(now, end, clock)
    covered = coverage(calls, tz)
    hours = breakdown(calls, ["day", "hour_of_day"], "calls", tz=tz, end=until).drop_nulls()
    counts = {(day, hour): number for day, hour, number in hours.iter_rows()}
    last = _last(
        calls, present, max((day for day, _ in counts if day <= present.astimezone(clock).date()), default=None)
    )
    stop = last if last is not None and until - last > timedelta(days=SPAN) else until
    too_short = not counts or (max(counts)[0] - min(counts)[0]).days + 1 < ENOUGH
    empty = [] if too_short else gaps(counts, stop, clock)
    found = [
        *_missing(covered),
        *_silent(empty, stop, clock),
        *_told([*(doubles(calls) if duplicates else ()), *contradictions(calls, present)], clock),
    ]
    return Completeness(
        _findings([*found, *_waits(waiting)]),
        covered.drop(*(name for name in UNKNOWN if name in covered.columns)),
        _gap_rows(empty, tz),
        _day_rows(counts, empty, clock),
        None if last is None else last.astimezone(clock),
        None if last is None else present - last,
        too_short,
    )


def _last(calls: duckdb.DuckDBPyRelation, present: datetime, day: date | None) -> datetime | None:
    """The last call that is not in the future; `day` is the last one with calls, so that others need not be read."""
    tried = [f"create_time <= '{present.isoformat()}'"]
    if day is not None and day > date.min + timedelta(days=2):
        tried.insert(0, f"{tried[0]} AND create_time >= TIMESTAMPTZ '{day - timedelta(days=2)} 00:00:00+00'")
    for condition in tried:
        with told():
            last: Any = calls.filter(condition).aggregate("epoch_us(max(create_time))")
            found = last.fetchall()[0][0]
        if found is not None:
            return utc(found)
    return None


_Row = tuple[Severity, str, date | None, str | None, int | None, str]


def _findings(rows: Iterable[_Row]) -> Breakdown:
    severities = ("error", "warning", "note")
    ordered = sorted(rows, key=lambda row: (severities.index(row[0]), row[1], row[2] or date.min, row[3] or "", row[5]))
    schema = {"severity": pl.String, "kind": pl.String, "day": pl.Date, "model_name": pl.String}
    frame = pl.DataFrame(ordered, schema={**schema, "calls": pl.Int64, "sentence": pl.String}, orient="row")
    dimensions = {name: DIMENSIONS.get(name) or Dimension(name) for name in schema}
    return Breakdown.of(frame, Roles(dimensions, {"calls": MeasureColumn(MEASURES["calls"])}, question="findings"))


def _missing(covered: Breakdown) -> Iterator[_Row]:
    """Of each model what successful calls lack."""
    words = {"unpriced": "no price", "no_tokens": "no token counts", "no_latency": "no latency"}
    for row in covered.to_dicts():
        name, succeeded = row.get("model_name"), row.get("success_count") or 0
        for kind, text in words.items():
            lacking = row.get(kind) or 0
            if kind == "unpriced" and lacking and not row["coverage"]:
                said = f"None of the {wording.calls(row['calls'])} {_of(name)} has a price."
                yield "warning", "unpriced_model", None, name, row["calls"], said
            elif lacking:
                calls = f"successful call{'' if succeeded == 1 else 's'} {_of(name)}"
                verb = "has" if lacking == 1 else "have"
                said = f"{lacking:,} of the {succeeded:,} {calls} {verb} {text}."
                yield "note", kind, None, name, lacking, said


def _silent(empty: Sequence[Gap], stop: datetime, clock: ZoneInfo) -> Iterator[_Row]:
    for gap in empty:
        start, end = (at.astimezone(clock) for at in (gap.start, gap.end))
        lasts = gap.end + timedelta(hours=1) > stop
        until = "" if lasts else f" to {end:%Y-%m-%d %H:%M}"
        usual = f"usually about {gap.usual:,.0f} calls come in that time"
        said = f"No calls {'since' if lasts else 'from'} {start:%Y-%m-%d %H:%M}{until}; {usual}."
        yield "error" if lasts else "warning", "silent" if lasts else "gap", start.date(), None, None, said


_WORDS: Mapping[str, tuple[Severity, str]] = MappingProxyType(
    {
        "duplicate_id": ("error", "are there again under the same id"),
        "duplicate_response": ("error", "have the response id of another call, under an id of their own"),
        "alike": ("warning", "are the same as another call in time, tokens and all else, but for the id"),
        "contradictory_total": ("warning", "have another total than prompt and completion tokens together"),
        "contradictory_details": ("warning", "have more cached tokens than prompt tokens"),
        "contradictory_reasoning": ("warning", "have more reasoning tokens than completion tokens"),
        "contradictory_latency": ("warning", "have their first token after their end"),
        "negative": ("warning", "have a number of tokens or milliseconds below 0"),
        "future": ("warning", "are of the future"),
    }
)


def _told(found: Iterable[Found], clock: ZoneInfo) -> Iterator[_Row]:
    for one in found:
        severity, words = _WORDS[one.kind]
        day = None if one.first is None else one.first.astimezone(clock).date()
        plural = words if one.calls != 1 else _singular(words)
        said = f"{wording.calls(one.calls)} {_of(one.model)} {plural}."
        yield severity, one.kind, day, one.model, one.calls, said


_VERBS = {"are": "is", "have": "has"}


def _singular(words: str) -> str:
    verb, _, rest = words.partition(" ")
    return f"{_VERBS[verb]} {rest}".replace(" their ", " its ")


def _waits(waiting: "Waiting | int | None") -> Iterator[_Row]:
    if waiting is None:
        return
    try:
        number, dead = (int(waiting), 0) if isinstance(waiting, int) else (waiting.waiting, waiting.dead)
    except AttributeError:
        how = "give recorder.stats(), the survey of an outbox, or a number of records"
        raise UsageError(f"waiting = {waiting!r:.40}; {how}") from None
    if number:
        said = (
            f"{number:,} record{'' if number == 1 else 's'} wait in the outbox: mofa-usage outbox drain delivers them."
        )
        yield "warning", "waiting", None, None, number, said
    if dead:
        said = f"{dead:,} record{'' if dead == 1 else 's'} no database took: mofa-usage outbox dead list says why."
        yield "error", "dead", None, None, dead, said


def _gap_rows(empty: Sequence[Gap], tz: str) -> Breakdown:
    moment = pl.Datetime("us", "UTC")
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "gap_start": moment,
        "gap_end": moment,
        "empty_hours": pl.Int64,
        "usual_calls": pl.Float64,
    }
    rows = [(gap.start, gap.end, gap.hours, gap.usual) for gap in empty]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    frame = frame.with_columns(pl.col("gap_start", "gap_end").dt.convert_time_zone(tz))
    measures = {name: MeasureColumn(ANSWERS[name]) for name in ("empty_hours", "usual_calls")}
    return Breakdown.of(frame, Roles({"gap_start": Dimension("gap_start")}, measures, question="gaps"))


def _day_rows(counts: Mapping[tuple[date, int], int], empty: Sequence[Gap], clock: ZoneInfo) -> Breakdown:
    calls: dict[date, int] = {}
    hours: dict[date, int] = {}
    for (day, _), number in counts.items():
        calls[day] = calls.get(day, 0) + number
    for gap in empty:
        at = gap.start
        while at < gap.end:
            day = at.astimezone(clock).date()
            hours[day] = hours.get(day, 0) + 1
            calls.setdefault(day, 0)
            at += timedelta(hours=1)
    rows = [(day, number, hours.get(day, 0)) for day, number in sorted(calls.items())]
    frame = pl.DataFrame(rows, schema={"day": pl.Date, "calls": pl.Int64, "empty_hours": pl.Int64}, orient="row")
    measures = {"calls": MeasureColumn(MEASURES["calls"]), "empty_hours": MeasureColumn(ANSWERS["empty_hours"])}
    return Breakdown.of(frame, Roles({"day": DIMENSIONS["day"]}, measures, question="gap_days"))


def _of(model: str | None) -> str:
    return f"of {wording.shorten(model, 40)}" if model else "without a model"


def _ago(age: timedelta) -> str:
    minutes = age // timedelta(minutes=1)
    for size, word in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= 2 * size or size == 1:
            number = minutes // size
            return f"{number:,} {word}{'' if number == 1 else 's'} ago"
    return "now"
