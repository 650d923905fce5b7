"""Reading the small frames that figures are drawn from.

A frame as `mofa_usage.analysis.breakdown` returns it, or one written by hand with the same column names: dimension
columns (`mofa_usage.measures.DIMENSIONS`, and any other of text), then measure columns (`MEASURES`). Money is in the
currency of the column `currency`, or in a column for each currency (`cost_EUR`). `shape` sorts the columns into their
roles, `facets` keeps currencies apart, `grouped` and `fold` make the groups that become bars and lines. Frames are
small, so this works on plain rows; and null stays null: the sum of nothing is None, never 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import DIMENSIONS, MEASURES, Measure, measure_of_column

Row: TypeAlias = dict[str, Any]

Styles: TypeAlias = Mapping[str, look.Style]
"""Styles by name, as `mofa_usage.theme.styles` makes them."""

NONE_LABEL = "(none)"
ALL_LABEL = "all calls"


@dataclass(frozen=True, slots=True)
class Shape:
    """The roles of a frame's columns: `time` is its time bucket, `categories` are neither time nor currency."""

    time: str | None
    cycles: tuple[str, ...]
    categories: tuple[str, ...]
    measures: tuple[str, ...]


@dataclass(slots=True)
class Group:
    """Rows drawn as one series or bar.

    `name` is its key for colours, None for what has none (nulls, "other"); `label` is untrusted text, `short` the label
    for a figure that `abbreviate` made of it; `size` is how many groups were folded into it.
    """

    name: str | None
    label: str
    rows: list[Row] = field(default_factory=list)
    size: int = 1
    short: str = ""

    def style(self, styles: Styles) -> look.Style:
        """The style of its name; grey for "other" and for null."""
        return look.OTHER if self.name is None else styles.get(self.name, look.ACCENT)


@dataclass(frozen=True, slots=True)
class Facet:
    """Rows whose values may be drawn on one axis; `currency` when they are money."""

    currency: str | None
    rows: list[Row]


def shape(frame: pl.DataFrame) -> Shape:
    """What the columns of `frame` are.

    Raises:
        UsageError: it is no Polars DataFrame, or it has no measure.
    """
    frame = _frame(frame)
    kinds = {name: _dimension_kind(name, dtype) for name, dtype in frame.schema.items()}
    times = [name for name, kind in kinds.items() if kind == "time"]
    found = (_measure_in(frame, name) for name in frame.columns)
    measures = tuple(dict.fromkeys(measure for measure, _ in filter(None, found)))
    if not measures:
        how = "usage.breakdown(by=['day'], measures=['calls'])"
        raise UsageError(hint(frame, "a measure, such as calls or cost", how))
    return Shape(
        time=times[0] if times else None,
        cycles=tuple(name for name, kind in kinds.items() if kind == "cycle"),
        categories=tuple(name for name, kind in kinds.items() if kind == "category" and name != "currency"),
        measures=measures,
    )


def _dimension_kind(name: str, dtype: pl.DataType) -> str | None:
    if name in DIMENSIONS:
        return DIMENSIONS[name].kind
    return "category" if dtype == pl.String and name not in MEASURES else None


def _measure_in(frame: pl.DataFrame, column: str) -> tuple[str, str | None] | None:
    """The measure in a column, and its currency where the column's name says one; None for any other column."""
    if column in MEASURES:
        return column, None
    return measure_of_column(column) if frame.schema[column].is_numeric() else None


def need(frame: pl.DataFrame, columns: Iterable[str], how: str) -> None:
    """Refuse a frame that lacks one of `columns`; `how` is the call that makes one which has them.

    A measure of money is there, too, when it is in a column for each currency.

    Raises:
        UsageError: naming the missing columns, those that are there, and `how`.
    """
    checked = _frame(frame)
    held = {found[0] for name in checked.columns if (found := _measure_in(checked, name)) is not None}
    missing = [name for name in columns if name not in checked.columns and name not in held]
    if missing:
        raise UsageError(hint(frame, ", ".join(missing), how))


def hint(frame: pl.DataFrame, missing: str, how: str) -> str:
    """The sentence that tells what a frame lacks and how to get it."""
    return f"this figure needs {missing}; the frame has: {', '.join(frame.columns) or 'no columns'}. Get it by {how}"


def _frame(frame: object) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
    raise UsageError(f"figures are drawn from a polars.DataFrame as usage.breakdown(...) returns it, not from a {kind}")


def facets(frame: pl.DataFrame, measure: Measure) -> list[Facet]:
    """One facet for each currency when `measure` is money (that with most calls first), else one in all.

    Raises:
        UsageError: money without its currency.
    """
    rows = frame.to_dicts()
    if measure.kind != "money":
        return [Facet(None, rows)]
    if measure.name not in frame.columns:
        return _by_column(frame, measure, rows)
    need(frame, ["currency"], f"usage.breakdown(by=[...], measures=['{measure.name}'])")
    parts: dict[str, list[Row]] = {}
    for row in rows:
        if row["currency"] is not None:  # else it has no price: coverage tells of such
            parts.setdefault(str(row["currency"]), []).append(row)

    def order(currency: str) -> tuple[float, str]:
        calls = total(parts[currency], "calls") if "calls" in frame.columns else None
        return -(calls or 0), currency

    return [Facet(currency, parts[currency]) for currency in sorted(parts, key=order)] or [Facet(None, rows)]


def _by_column(frame: pl.DataFrame, measure: Measure, rows: Sequence[Row]) -> list[Facet]:
    """A facet for each column of the measure: its rows hold the money of that currency under the measures' names."""
    columns = {name: found for name in frame.columns if (found := _measure_in(frame, name)) is not None}
    currencies = [currency for name, currency in columns.values() if name == measure.name]
    need(frame, [] if currencies else [measure.name], f"usage.breakdown(by=[...], measures=['{measure.name}'])")

    def in_currency(row: Row, wanted: str | None) -> Row:
        own = {name: value for name, value in row.items() if columns.get(name, ("", None))[1] is None}
        return own | {columns[name][0]: row[name] for name in columns if columns[name][1] == wanted}

    def belongs(row: Row, wanted: str | None) -> bool:
        known = [name for name, found in columns.items() if found[0] == measure.name and row[name] is not None]
        # What has no price in any currency is listed once, with the first.
        return any(columns[name][1] == wanted for name in known) if known else wanted == currencies[0]

    return [
        Facet(currency, [in_currency(row, currency) for row in rows if belongs(row, currency)])
        for currency in currencies
    ]


def known(parts: Sequence[Facet], name: str) -> bool:
    """Whether any row has a value of the measure."""
    return any(row[name] is not None for part in parts for row in part.rows)


def total(rows: Iterable[Row], name: str) -> Any:
    """Sum of a column; None when every value is missing. Decimals stay exact."""
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values[1:], values[0]) if values else None


def merged(rows: Sequence[Row]) -> Row:
    """One row for several: additive measures are summed, the others are left out since they cannot be."""
    if len(rows) == 1:
        return rows[0]
    return {name: total(rows, name) for name in rows[0] if name in MEASURES and MEASURES[name].additive}


def grouped(rows: Iterable[Row], dimensions: Sequence[str], weigh: Callable[[Sequence[Row]], Any]) -> list[Group]:
    """The rows by their values of `dimensions`, heaviest first; without a weight last, ties by name."""
    parts: dict[tuple[Any, ...], Group] = {}
    for row in rows:
        key = tuple(row[name] for name in dimensions)
        if key not in parts:
            text = " · ".join(NONE_LABEL if value is None else str(value) for value in key)
            known = any(value is not None for value in key)
            parts[key] = Group(text if known else None, text if dimensions else ALL_LABEL)
        parts[key].rows.append(row)

    def order(group: Group) -> tuple[bool, Any, str]:
        weight = weigh(group.rows)
        return weight is None, 0 if weight is None else -weight, group.label

    return sorted(parts.values(), key=order)


def abbreviate(groups: Iterable[Group], width: int = 30) -> None:
    """Give groups that stand in one figure labels that fit and differ."""
    several = list(groups)
    shorts = wording.short_labels((group.label for group in several), width)
    for group in several:
        group.short = shorts[group.label]


def fold(groups: list[Group], top: int) -> list[Group]:
    """The first `top` groups, and the rest as one named "other"; a rest of one stays itself."""
    if len(groups) <= top + 1:
        return groups
    tail = groups[top:]
    rows = [row for group in tail for row in group.rows]
    return [*groups[:top], Group(None, f"other ({len(tail):,})", rows, len(tail))]


def weight_of(measure: Measure, measures: Sequence[str]) -> Callable[[Sequence[Row]], Any]:
    """What makes a group heavy: the sum of the measure, or the calls behind it where it does not add up."""
    prefix = measure.name.split("_")[0]
    for name in (measure.name, "calls", f"{prefix}_calls"):
        if name in measures and MEASURES[name].additive:
            return lambda rows: total(rows, name)
    return lambda rows: max((row[measure.name] for row in rows if row[measure.name] is not None), default=None)


def styles_for(parts: Sequence[Facet], dimensions: Sequence[str], measure: Measure, measures: Sequence[str]) -> Styles:
    """A style for each name of all facets, also of those that will be folded, so that folding changes no colour.

    Names are taken by their largest share within a currency, since amounts of several currencies cannot be compared.
    """
    if tuple(dimensions) == ("status",):
        return look.STATUS_STYLES
    weigh = weight_of(measure, measures)
    share: dict[str, float] = {}
    for part in parts:
        whole = float(weigh(part.rows) or 0) or 1.0
        for group in grouped(part.rows, dimensions, weigh) if dimensions else ():
            if group.name is not None:
                own = float(weigh(group.rows) or 0) / whole
                share[group.name] = max(own, share.get(group.name, 0.0))
    return look.styles(sorted(share, key=lambda name: (-share[name], name)))


def coverage(rows: Sequence[Row], measures: Sequence[str]) -> str | None:
    """How much of the cost is known, as a phrase; None when the frame does not say."""
    if not {"calls", "priced_calls"} <= set(measures):
        return None
    calls = total(rows, "calls")
    return f"{wording.percent((total(rows, 'priced_calls') or 0) / calls)} of calls priced" if calls else None


def details(row: Row, measures: Iterable[str], currency: str | None, skip: Iterable[str] = ()) -> list[str]:
    """A line of hover text for each further measure of a row."""
    shown = wording.label_text(currency or row.get("currency") or "")
    return [
        f"{MEASURES[name].title}: {wording.value_text(row[name], MEASURES[name].kind, shown)}"
        for name in measures
        if name in row and name not in skip
    ]
