"""Pages of one report joined: which days it tells of, and what is wrong with the pages themselves.

A page does not say which it is of how many. But its buckets follow each other in time, also those without any usage,
so a page behind which the provider said there was more must be followed by one that starts where it ends. A bucket that
is there twice counts once. Where two buckets tell of the same time and differ, they are parts of one whole if each line
is of another project, key or model; else one of them is of an older download or of another grouping, and what says more
counts.

The days of providers are days of UTC. A bucket of a day that starts at another hour was made in another zone; it counts
as the day that most of it lies in, and is compared with the calls of its own hours.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from pathlib import PurePath

from mofa_usage.audit.bills.pages import COSTS, PREPAID, Bucket, Line, Page, Report
from mofa_usage.zones import DAY, HOUR, utc

__all__ = ["Fault", "Statement", "day_of", "join"]

_COMPARED = ("completions", "embeddings")
"""The reports whose tokens can be compared with those of calls."""

_NAMED = {"cost": COSTS, "embedding": _COMPARED[1]}
"""What the name of a file with nothing in it says of its report."""


def day_of(moment: int) -> date:
    """The day in UTC of an instant in microseconds."""
    return utc(moment).date()


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the pages of a report: the kind of finding, the first moment that it is about, the sentence.

    It is none unless there are calls on one of the days `if_used`, where there are any of these.
    """

    kind: str
    provider: str
    moment: int
    sentence: str
    if_used: range | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """What the pages of one report say, day by day.

    Attributes:
        report: Which report.
        days: The lines by the number of the day since the epoch; only days of which nothing is missing.
        spans: The time [start, end) of each of these days.
    """

    report: Report
    days: dict[int, tuple[Line, ...]]
    spans: dict[int, tuple[int, int]]

    @property
    def told(self) -> list[int]:
        """The days of which it has something to tell, in order; of what is prepaid some reports do not tell."""
        told = {day: tuple(line for line in lines if line.tier != PREPAID) for day, lines in self.days.items()}
        return sorted(day for day, lines in told.items() if any(Bucket(0, 0, lines).weight))


def join(pages: Sequence[Page]) -> tuple[list[Statement], list[Fault], list[str]]:
    """What the pages say together, what is wrong with them, and what a reader should know of those left out."""
    faults: list[Fault] = []
    reports: dict[Report, list[Page]] = defaultdict(list)
    for page in _told(pages):
        reports[page.report].append(page)
    statements, notes = [], []
    for report, found in sorted(reports.items(), key=lambda one: (one[0].provider, one[0].kind)):
        if report.kind not in (*_COMPARED, COSTS):
            notes.append(f"the report of {report.kind} of {report.provider} counts no tokens of calls: left out")
            continue
        ordered = sorted(found, key=lambda page: (_start(page), page.where))
        buckets, doubled = _distinct(report, ordered)
        cut = list(_cut(report, ordered, buckets))
        lists_all = all(page.lists_all for page in found)
        statement, shifted = _by_day(report, buckets, lists_all=lists_all)
        faults += [*doubled, *cut, *shifted]
        if lists_all:
            faults += [one for one in _holes(report, ordered, buckets) if one.moment not in {gap.moment for gap in cut}]
        statements.append(statement)
    faults += _begun_late(statements)
    notes += _ended_early(statements, {fault.provider for fault in faults if fault.kind == "cut_pages"})
    return statements, faults, notes


def _start(page: Page) -> int:
    return page.buckets[0].start if page.buckets else 0


def _told(pages: Sequence[Page]) -> Iterator[Page]:
    """The pages; one without a line is of each report that it goes on or begins, else of the one that its name says.

    Nothing tells pages without lines of several reports apart, and one of them does for all: it adds nothing.
    """
    known = [page for page in pages if page.report.kind or not page.buckets]
    empty = [page for page in pages if not page.report.kind and page.buckets]
    while placed := [(page, report) for page in empty for report in _reports(page, known)]:
        known += [replace(page, report=report) for page, report in placed]
    named = {page.where for page in known}
    for page in empty:
        if page.where not in named:
            name = PurePath(page.where).name.lower()
            kind = next((kind for word, kind in _NAMED.items() if word in name), _COMPARED[0])
            known.append(replace(page, report=Report(page.report.provider, kind)))
    return iter(known)


def _reports(page: Page, known: Sequence[Page]) -> set[Report]:
    """The reports that have a gap where the page is: behind a page that says there is more, or before the first."""
    first, last = page.buckets[0].start, page.buckets[-1].end
    same = [one for one in known if one.report.provider == page.report.provider and one.buckets]
    begun = {one.report for one in same if one.buckets[0].start == first}
    after = {one.report for one in same if one.has_more and one.buckets[-1].end == first}
    before = {one.report for one in same if page.has_more and one.buckets[0].start == last}
    return (after | before) - begun


def _distinct(report: Report, pages: Sequence[Page]) -> tuple[list[Bucket], list[Fault]]:
    """The buckets of the pages, each time once, and those that were there more than once."""
    placed = [(bucket, page.where) for page in pages for bucket in page.buckets]
    placed.sort(key=lambda one: (one[0].start, -one[0].end, [-part for part in one[0].weight], repr(one[0].lines)))
    kept: list[Bucket] = []
    twice: list[int] = []
    overlaps: list[int] = []
    for bucket, _ in placed:
        last = kept[-1] if kept else None
        if last is None or bucket.start >= last.end:
            kept.append(bucket)
        elif not bucket.lines:
            continue
        elif not last.lines and bucket.end <= last.end:
            kept[-1] = Bucket(last.start, last.end, bucket.lines)
        elif set(bucket.lines) <= set(last.lines) and len(bucket.lines) == len(last.lines):
            twice.append(bucket.start)
        elif (bucket.start, bucket.end) == (last.start, last.end) and _are_parts(last, bucket):
            kept[-1] = Bucket(last.start, last.end, (*last.lines, *bucket.lines))
        else:
            overlaps.append(bucket.start)
    faults = []
    rows = [page for page in pages if page.doubled]
    if twice or rows:
        moment = min([*twice, *(_start(page) for page in rows)])
        days = f"{_days(twice)} {'is' if len(set(map(day_of, twice))) == 1 else 'are'} there twice" if twice else ""
        lines = f"{sum(page.doubled for page in rows):,} rows are there twice" if rows else ""
        said = " and ".join(filter(None, (days, lines)))
        faults.append(
            Fault("doubled_page", report.provider, moment, f"a page of {report.title} is doubled: {said}; counted once")
        )
    if overlaps:
        differ = f"pages of {report.title} overlap and differ on {_days(overlaps)}"
        said = f"{differ}: what says more is counted, the rest is not"
        faults.append(Fault("overlapping_pages", report.provider, min(overlaps), said))
    return kept, faults


def _are_parts(one: Bucket, other: Bucket) -> bool:
    """Whether both tell of different things of one time: other projects, keys or models."""
    first, second = ({line.identity for line in bucket.lines} for bucket in (one, other))
    names = [{tuple(name for name, _ in identity) for identity in identities} for identities in (first, second)]
    return names[0] == names[1] and () not in names[0] and not first & second


def _cut(report: Report, pages: Sequence[Page], buckets: Sequence[Bucket]) -> Iterator[Fault]:
    """Pages behind which there was more, and no page goes on."""
    starts = {page.buckets[0].start for page in pages if page.buckets}
    last = buckets[-1].end if buckets else 0
    ends = {page.buckets[-1].end: page.where for page in pages if page.has_more and page.buckets}
    for end, where in sorted(ends.items()):
        if end not in starts and not any(bucket.start <= end < bucket.end for bucket in buckets):
            after = (
                "nothing follows" if end >= last else f"the next page that is here starts later, {_next(buckets, end)}"
            )
            said = (
                f"the pages of {report.title} are cut: {where} says that there is more "
                f"from {day_of(end)} on, and {after}"
            )
            yield Fault("cut_pages", report.provider, end, said)
    for where in (page.where for page in pages if page.has_more and not page.buckets):
        yield Fault("cut_pages", report.provider, last, f"the pages are cut: {where} has no buckets and says: more")


def _next(buckets: Sequence[Bucket], end: int) -> str:
    return f"on {day_of(min(bucket.start for bucket in buckets if bucket.start >= end))}"


def _by_day(report: Report, buckets: Sequence[Bucket], *, lists_all: bool) -> tuple[Statement, list[Fault]]:
    """The buckets as days, and what is to be said of those that begin elsewhere than at midnight."""
    lines: dict[int, list[Line]] = defaultdict(list)
    spans: dict[int, tuple[int, int]] = {}
    covered: dict[int, int] = defaultdict(int)
    shifted: list[Bucket] = []
    for bucket in buckets:
        first = bucket.start // DAY
        is_local = bucket.start % DAY != 0 and abs(bucket.end - bucket.start - DAY) <= HOUR
        if is_local:
            first = (bucket.start + DAY // 2) // DAY
            shifted.append(bucket)
        lines[first].extend(bucket.lines)
        span = spans.get(first, (bucket.start, bucket.end))
        spans[first] = (min(span[0], bucket.start), max(span[1], bucket.end))
        covered[first] += DAY if is_local else bucket.end - bucket.start
    whole = {day for day, length in covered.items() if length == DAY}
    if not lists_all and lines:  # a day without usage is not in it
        whole |= set(range(min(lines), max(lines) + 1))
    statement = Statement(
        report,
        {day: tuple(lines.get(day, ())) for day in whole},
        {day: spans.get(day, (day * DAY, (day + 1) * DAY)) for day in whole},
    )
    return statement, list(_shifted(report, shifted))


def _shifted(report: Report, buckets: Sequence[Bucket]) -> Iterator[Fault]:
    if buckets:
        starts = sorted({f"{utc(bucket.start):%H:%M}" for bucket in buckets})
        said = (
            f"the days of {report.title} begin at {' and '.join(starts)} UTC: they are "
            "those of another zone, and not those that are billed; they are compared with the calls of their own hours"
        )
        yield Fault("zone_shift", report.provider, buckets[0].start, said)


def _holes(report: Report, pages: Sequence[Page], buckets: Sequence[Bucket]) -> Iterator[Fault]:
    """Days between two buckets of which there is none. Between two downloads that may be as it should."""
    inside = {(one.end, two.start) for page in pages for one, two in pairwise(page.buckets) if two.start > one.end}
    for before, after in pairwise(buckets):
        if after.start > before.end:
            days = range(before.end // DAY, -(-after.start // DAY))
            said = (
                f"{report.title} has no bucket for {_days(day * DAY for day in days)}, "
                "though it has some before and after"
            )
            is_inside = (before.end, after.start) in inside
            yield Fault("missing_in_bill", report.provider, before.end, said, None if is_inside else days)


def _begun_late(statements: Sequence[Statement]) -> Iterator[Fault]:
    """Reports that begin after another of their provider has something to tell: no page says that it is the first."""
    for one, other in _usage_and_costs(statements):
        told = [day for day in other.told if day < min(one.days)]
        if told:
            first = min(one.days)
            said = (
                f"{one.report.title} begins on {day_of(first * DAY)}, and {other.report.title} on "
                f"{day_of(told[0] * DAY)}: its first pages are missing, or it was asked for later days"
            )
            yield Fault("cut_pages", one.report.provider, told[0] * DAY, said, range(told[0], first))


def _ended_early(statements: Sequence[Statement], cut: Collection[str]) -> Iterator[str]:
    """Remarks on reports that end before another of their provider does, where no page says that there is more."""
    for one, other in _usage_and_costs(statements):
        told = [day for day in other.told if day > max(one.days)]
        if told and one.report.provider not in cut:
            days = _days(day * DAY for day in told)
            yield f"{one.report.title} ends before {days}, of which {other.report.title} tells: not compared"


def _usage_and_costs(statements: Sequence[Statement]) -> Iterator[tuple[Statement, Statement]]:
    """Of each provider its usage and its costs, and the other way round; of several reports of usage the first."""
    for provider in sorted({one.report.provider for one in statements}):
        own = [one for one in statements if one.report.provider == provider and one.days]
        usage = next((one for one in own if one.report.kind != COSTS), None)
        costs = next((one for one in own if one.report.kind == COSTS), None)
        if usage is not None and costs is not None:
            yield from ((usage, costs), (costs, usage))


def _days(moments: Iterable[int]) -> str:
    """`2026-05-03`, or the first and last of several days and how many they are."""
    days = sorted(set(map(day_of, moments)))
    return str(days[0]) if len(days) == 1 else f"{len(days):,} days from {days[0]} to {days[-1]}"
