"""What stands in a report: headline figures, pictures, tables and pages, computed from a UsageFrame and written as
text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from mofa_usage.changes import Change
from mofa_usage.measures import DIMENSIONS
from mofa_usage.report.answers import Answers, answers
from mofa_usage.report.charts import Timeline
from mofa_usage.report.headlines import Tile, tiles
from mofa_usage.report.pages import MOST_PAGES, Page, page_ids, pages, place_of, timeline_of
from mofa_usage.report.period import Span, Window, asked_text
from mofa_usage.report.pictures import Section, sections
from mofa_usage.report.reasons import reasons
from mofa_usage.report.tables import Table, costs, failures

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

OPTIONAL = {"priced_calls": "prices", "latency_calls": "latency", "ttft_calls": "time to first token"}
"""What a source may not record, by the measure that counts the calls which have it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a report; without calls there is nothing but `nothing`, which says so.

    `change` says by how much the cost of the last days is another than before, and through what.
    """

    nothing: str = ""
    span: Span | None = None
    window: Window | None = None
    calls: int = 0
    change: str = ""
    tiles: Sequence[Tile] = ()
    sections: Sequence[Section] = ()
    tables: Sequence[Table] = ()
    absent: Sequence[str] = ()
    pages: Sequence[Page] = ()
    timeline: Timeline | None = None


def contents(usage: "UsageFrame", days: int | None) -> Contents:
    """Everything in the report of `usage`; `days` is the number of the last days that stand beside the whole."""
    found = answers(usage, days)
    if found is None:
        return Contents(nothing=asked_text(usage.start, usage.end, ZoneInfo(usage.tz)))
    recorded, why = found["recorded"].row(0, named=True), reasons(usage, found)
    return Contents(
        span=found.span,
        window=found.window,
        calls=recorded["calls"],
        change=_change(why.change),
        tiles=list(tiles(found["whole"], found.get("now"), found.get("before"))),
        sections=list(sections(usage, found, why)),
        tables=list(_tables(usage, found)),
        absent=list(_absent(recorded)),
        pages=list(pages(usage, found)),
        timeline=timeline_of(found),
    )


def _change(change: Change | None) -> str:
    """The first sentence of a change in each currency; names of calls come only in what follows."""
    if change is None:
        return ""
    return " ".join(change.sentences[: len(change.currencies)])


def _absent(recorded: Mapping[str, Any]) -> Iterator[str]:
    if "error_count" not in recorded:
        yield "outcomes"
    yield from (word for name, word in OPTIONAL.items() if not recorded.get(name))


def _tables(usage: "UsageFrame", found: Answers) -> Iterator[Table]:
    for dimension in found.named:
        frame, ids = found["columns", dimension], page_ids(found, dimension)
        more = len(frame) - len(ids) if ids else 0
        note = f"Each {DIMENSIONS[dimension].title.lower()} leads to a page of its own."
        if more > 0:
            note = f"The {MOST_PAGES} heaviest lead to pages of their own, the other {more:,} have none."
        yield costs(
            frame,
            found["columns"],
            id=place_of(dimension),
            styles=usage.styles(dimension),
            pages=ids,
            note=note if ids else "",
        )
    if found.failures is not None and (
        table := failures(found.failures, found["recorded"]["calls"].item(), id="failures")
    ):
        yield table
