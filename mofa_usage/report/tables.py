"""The tables of a report: money and more by model or agent, and the calls that did not succeed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis import Breakdown
from mofa_usage.measures import DIMENSIONS, MeasureColumn
from mofa_usage.report.headlines import FREE, Figures
from mofa_usage.theme import OTHER, STATUS_STYLES, Style

MOST_ROWS = 50
"""A table lists so many rows and says when there are more."""

LONGEST_NAME = 80
"""Characters of a name in a table; in full it is the heading of its page."""

UNPRICED = "A call without a price is unknown, not free."


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table; a mark of `style` stands before it, and `page` is the id of the page that it leads to."""

    text: str
    style: Style | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first `names` columns are names, the others numbers; `total` are rows for all calls.

    `id` is that of its place in the page.
    """

    id: str
    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Sequence[Cell]] = ()
    names: int = 1


def _names(values: Iterable[object]) -> dict[object, str]:
    """How names are shown, by name: different ones differ, and calls without a name are told from an empty one."""
    values = list(values)
    shown = wording.shortened((str(value) for value in values if value is not None), LONGEST_NAME)
    return {value: wording.NONE if value is None else shown[str(value)] or "(empty)" for value in values}


def costs(
    frame: Breakdown,
    totals: Breakdown,
    *,
    id: str,  # noqa: A002 (HTML's word)
    styles: Mapping[str, Style],
    pages: Mapping[str | None, str],
    note: str = "",
    most: int = MOST_ROWS,
) -> Table:
    """Money and more by the one dimension of `frame`, the dearest first; each currency has columns of its own.

    `totals` is the row of all its calls, with the same columns or more. A name that is a key of `pages` leads to the
    page of that id.
    """
    ((dimension, entry),) = frame.roles.dimensions.items()
    whole = totals.row(0, named=True)
    columns = {column: measured for column, measured in _shown(totals, whole).items() if column in frame.columns}

    def cells(row: Mapping[str, Any], first: Cell) -> list[Cell]:
        line = [first]
        for column, measured in columns.items():
            line.append(Cell(_number(row, column, measured, frame.currencies)))
            if measured.measure.name == "cost" and whole[column]:
                line.append(Cell(_share(row[column], whole[column])))
        return line

    rows = []
    shown = frame.head(most).to_dicts()
    names = _names(row[dimension] for row in shown)
    for row in shown:
        value = row[dimension]
        style = OTHER if value is None else styles.get(str(value))
        rows.append(cells(row, Cell(names[value], style, pages.get(value))))
    notes = [_coverage(whole, totals), _cut(len(frame), most), note]
    head = [text for column, measured in columns.items() for text in _head(measured, priced=bool(whole[column]))]
    title = f"By {entry.title.lower()}"
    return Table(
        id, title, " ".join(filter(None, notes)), [entry.title, *head], rows, [cells(whole, Cell("All calls"))]
    )


def _shown(totals: Breakdown, whole: Mapping[str, Any]) -> dict[str, MeasureColumn]:
    """The columns of measures that any call knows; without unit costs where all is free."""
    free, several = Figures.of(totals).free, len(totals.currencies) > 1

    def is_shown(column: str, measured: MeasureColumn) -> bool:
        if measured.measure.kind == "money" and measured.measure.name != "cost" and free:
            return False
        if measured.measure.name == "coverage" and not totals.currencies:
            return False
        # A page is not wide enough for every unit cost in every currency.
        return whole[column] is not None and not (several and measured.measure.name == "cost_per_1k_tokens")

    return {column: measured for column, measured in totals.roles.measures.items() if is_shown(column, measured)}


def _head(measured: MeasureColumn, *, priced: bool) -> list[str]:
    """A column's heading, with the unit that its cells leave out, and that of the share of a cost beside it."""
    measure, currency = measured.measure, measured.currency
    if measure.name == "coverage":
        return ["Priced"]
    title = f"{measure.title} (tokens/s)" if measure.kind == "tokens/s" else measure.title
    heads = [title if currency is None else f"{title} ({currency})"]
    return [*heads, "Share"] if measure.name == "cost" and priced else heads


def _number(row: Mapping[str, Any], column: str, measured: MeasureColumn, currencies: Sequence[str]) -> str:
    """The value of a column; money is in the column's own currency, else in the only one of the answer."""
    value, kind = row[column], measured.measure.kind
    if kind == "money" and value is None and row.get("coverage"):
        return wording.count(None)  # it has a price, in another currency
    if kind == "money" and value is not None and not value:
        return FREE
    if kind == "tokens/s" and value is not None:
        return wording.decimals(value, 1)
    currency = measured.currency or next(iter(currencies), "")
    return wording.value_text(value, "count" if kind == "tokens" else kind, currency)


def _coverage(whole: Mapping[str, Any], totals: Breakdown) -> str:
    """What the costs are of; nothing where no call of the report has a price, which is said once."""
    if not totals.currencies:
        return ""
    if not whole.get("coverage"):
        return "None of the calls has a price, so their cost is unknown."
    part = f"{wording.percent(whole['coverage'])} of {whole['calls']:,} calls"
    if Figures.of(totals).free:
        unknown = "" if whole["coverage"] == 1 else f" {UNPRICED}"
        return f"The {part} that have a price are free.{unknown}"
    return f"Costs are those of the {part} that have a price. {UNPRICED}"


def _share(cost: Any, whole: Any) -> str:
    return wording.count(None) if cost is None else wording.percent(float(cost) / float(whole))


def _cut(rows: int, most: int) -> str:
    return f"The first {most} of {rows:,} rows." if rows > most else ""


def failures(failed: pl.DataFrame, calls: int, *, id: str) -> Table | None:  # noqa: A002 (HTML's word)
    """The calls that did not succeed by status and error code; None where all did.

    `failed` counts them (`calls`) by status, error code, models and agents, of which it may lack some; `calls` is the
    number of all calls.
    """
    count = int(failed["calls"].sum())
    if not count:
        return None
    by = [name for name in ("status", "error_code") if name in failed.columns]
    spread = [name for name in failed.columns if name not in (*by, "calls")]
    # No name is among those that a model or an agent may have.
    found = failed.group_by(by).agg(pl.col("calls").sum(), pl.col(spread).drop_nulls().n_unique())
    found = found.sort("calls", *by, descending=[True, *(False for _ in by)], nulls_last=True)
    codes = _names(found["error_code"]) if "error_code" in by else {}
    rows = [
        [
            Cell(wording.ENDED.get(row["status"], row["status"]), STATUS_STYLES.get(row["status"])),
            *(Cell(codes[row[name]]) for name in by[1:]),
            Cell(wording.count(row["calls"])),
            Cell(wording.percent(row["calls"] / count)),
            Cell(wording.percent(row["calls"] / calls)),
            *(Cell(wording.count(row[name])) for name in spread),
        ]
        for row in found.head(MOST_ROWS).to_dicts()
    ]
    notes = [f"{count:,} of {calls:,} calls did not succeed.", _cut(len(found), MOST_ROWS)]
    heads = [DIMENSIONS[name].title for name in by] + ["Calls", "Of these", "Of all calls"]
    heads += [f"{DIMENSIONS[name].title}s" for name in spread]
    return Table(id, "Unsuccessful calls", " ".join(filter(None, notes)), heads, rows, names=len(by))
