"""The pages of single models and agents, in the same file: what one of them costs, does and takes.

The heaviest of them have one. Names are untrusted, so the id of a page, which stands in the address, is a digest of the
name: it is the same in the next report, and nothing of the name is in it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from mofa_usage import wording
from mofa_usage.measures import DIMENSIONS
from mofa_usage.report.answers import Answers
from mofa_usage.report.charts import Chart, Timeline, charts
from mofa_usage.report.headlines import Figures, Tile, tiles
from mofa_usage.report.tables import Table, costs, failures
from mofa_usage.theme import ACCENT, OTHER, Style

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

MOST_PAGES = 25
"""So many models, and so many agents, have a page."""

MOST_ROWS = 20
"""Of a table on a page."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of one name; `place` is the id of the table in the overview that lists it."""

    id: str
    place: str
    kind: str
    name: str
    text: str
    tiles: Sequence[Tile] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = field(default=())


def page_ids(found: Answers, dimension: str) -> Mapping[str | None, str]:
    """The ids of the pages by the names that have one; a lone name has none, since all of the report is about it."""
    names = found["columns", dimension][dimension]
    return {name: _id(dimension, name) for name in names.head(MOST_PAGES)} if len(names) > 1 else {}


def place_of(dimension: str) -> str:
    """The id of the table that lists the names of a dimension."""
    return f"by-{_kind(dimension)}"


def pages(usage: "UsageFrame", found: Answers) -> Iterator[Page]:
    """The pages of the heaviest models and agents."""
    ids = {dimension: page_ids(found, dimension) for dimension in found.named}
    for dimension, names in ids.items():
        styles = usage.styles(dimension)
        for rank, name in enumerate(names, 1):
            of = partial(found.part, dimension, name)
            whole = of("whole", dimension)
            if whole is None:
                continue
            yield Page(
                names[name],
                place_of(dimension),
                DIMENSIONS[dimension].title,
                wording.NONE if name is None else name,
                _text(found, dimension, rank, whole["calls"].item()),
                list(tiles(whole, of("now", dimension), of("before", dimension))),
                list(_charts(found, dimension, name, styles)),
                list(_tables(usage, found, dimension, name, ids)),
            )


def _text(found: Answers, dimension: str, rank: int, calls: int) -> str:
    """How much of all calls these are."""
    recorded = found["recorded"].row(0, named=True)
    share = f"{calls:,} of {recorded['calls']:,} calls ({wording.percent(calls / recorded['calls'])})"
    by = "cost" if Figures.of(found["whole"]).costs else "calls"
    return f"{share}, number {rank} of {len(found['columns', dimension]):,} by {by}."


def timeline_of(found: Answers) -> Timeline:
    """The periods along the axis of every chart."""
    return Timeline(found.span.bucket, found["periods"].select(found.span.bucket))


def _charts(found: Answers, dimension: str, name: str | None, styles: Mapping[str, Style]) -> Iterator[Chart]:
    style = OTHER if name is None else styles.get(name, ACCENT)
    if (part := found.part(dimension, name, "timeline", dimension)) is not None:
        yield from charts(timeline_of(found), part, part.roles, style)


def _tables(
    usage: "UsageFrame",
    found: Answers,
    dimension: str,
    name: str | None,
    ids: Mapping[str, Mapping[str | None, str]],
) -> Iterator[Table]:
    id_, totals = ids[dimension][name], found.part(dimension, name, "columns", dimension)
    crossed = found.part(dimension, name, "crossed")
    if totals is None:
        return
    if crossed is not None:
        (other,) = (one for one in found.named if one != dimension)
        yield costs(crossed, totals, id=f"{id_}-table", styles=usage.styles(other), pages=ids[other], most=MOST_ROWS)
    if found.failures is None:
        return
    failed = found.failures.filter(pl.col(dimension).eq_missing(pl.lit(name, pl.String))).drop(dimension)
    if table := failures(failed, totals["calls"].item(), id=f"{id_}-failures"):
        yield table


def _id(dimension: str, name: str | None) -> str:
    if name is None:
        return f"{_kind(dimension)}-none"
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{_kind(dimension)}-{digest}"


def _kind(dimension: str) -> str:
    return dimension.partition("_")[0]
