"""Reading the small frames that figures are drawn from.

A frame as `mofa_usage.analysis.breakdown` returns it, which knows what its columns are (`Breakdown.roles`), or one
written by hand, whose columns bear the names of dimensions (any text is one) and measures. Money is in the currency of
the column `currency`, or in a column for each currency (`cost_EUR`). `read` makes an `Answer` of it, in which all have
the names of their measures and dimensions; `facets` keeps currencies apart, `grouped` and `fold` make the groups that
become bars and lines. Frames are small, so this works on plain rows; and null stays null: the sum of nothing is None,
never 0.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any, TypeAlias

import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import Dimension, Measure, Roles, Rolling, Share
from mofa_usage.plots.intervals import interval_words

Row: TypeAlias = dict[str, Any]

Styles: TypeAlias = Mapping[str, look.Style]
"""Styles by name, as `mofa_usage.theme.styles` makes them."""

Measures: TypeAlias = Mapping[str, Measure]
"""Measures by name; rows have their values under these names."""

ALL_LABEL = "all calls"


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame that was read: plain rows with what is in them.

    `rows` have the values of `dimensions` and `measures` under these names, and beside them whatever else the frame
    has. `apart` are the columns of money that there is one of for each currency: the measure and the currency of each.
    `question` is what was asked, empty where nobody knows, `about` the column of the calls that a distribution is of,
    `periods` are the two that are compared, `columns` those of the frame, for messages. The ends of intervals are no
    measures: rows have them beside the measures that they are of, and `interval` is what they are called, such as "95%
    interval"; empty where none is.
    """

    rows: list[Row]
    dimensions: Mapping[str, Dimension]
    measures: Measures
    apart: Mapping[str, tuple[str, str]]
    question: str
    about: str
    columns: tuple[str, ...]
    zones: Mapping[str, str | None]
    interval: str
    periods: tuple[str, ...] = ()

    @property
    def time(self) -> Dimension | None:
        """The first time bucket."""
        return next((entry for entry in self.dimensions.values() if entry.kind == "time"), None)

    @property
    def cycles(self) -> tuple[Dimension, ...]:
        """The hour of the day and the weekday, where they are there."""
        return tuple(entry for entry in self.dimensions.values() if entry.kind == "cycle")

    @property
    def categories(self) -> tuple[Dimension, ...]:
        """What is neither time nor currency."""
        known = self.dimensions.items()
        return tuple(entry for name, entry in known if entry.kind == "category" and name != "currency")

    def measure(self, name: str | None, how: str = "") -> Measure:
        """The measure of that name, or the first.

        Raises:
            UsageError: the frame lacks it; `how` is the call that makes one which has it.
        """
        if name is None:
            return next(iter(self.measures.values()))
        need(self, [name], how or f"usage.breakdown(by=[...], measures=['{name}'])")
        if name not in self.measures:
            raise UsageError(f"{name!r} is no measure of this frame; it has: {', '.join(self.measures)}")
        return self.measures[name]

    def dimension(self, name: str, how: str) -> Dimension:
        """The dimension of that name.

        Raises:
            UsageError: the frame lacks it; `how` is the call that makes one which has it.
        """
        need(self, [name], how)
        if name not in self.dimensions:
            raise UsageError(f"{name!r} is no dimension of this frame; it has: {', '.join(self.dimensions) or 'none'}")
        return self.dimensions[name]


@dataclass(frozen=True, slots=True)
class Rest:
    """The value of a dimension that stands for all that `top` left out; no real name is equal to it."""

    kept: int

    def __str__(self) -> str:
        return f"other (not in top {self.kept})"


@dataclass(slots=True)
class Group:
    """Rows drawn as one series or bar.

    `name` is its key for colours, None for what has none (nulls, "other"); `label` is untrusted text, `short` the label
    for a figure that `abbreviate` made of it; `size` is how many groups were folded into it. `rest` says that it is
    what others left; `ordered` that its place is not a matter of its weight, as of weekdays, which are never folded.
    """

    name: str | None
    label: str
    rows: list[Row] = field(default_factory=list)
    size: int = 1
    short: str = ""
    rest: bool = False
    ordered: bool = False

    def style(self, styles: Styles) -> look.Style:
        """The style of its name; grey for "other", and for null with a pattern and a dash."""
        if self.name is None:
            return look.OTHER if self.rest else look.OTHER._replace(pattern="\\", dash="dot")
        return styles.get(self.name, look.ACCENT)


@dataclass(frozen=True, slots=True)
class Facet:
    """Rows whose values may be drawn on one axis; `currency` when they are money."""

    currency: str | None
    rows: list[Row]


def read(frame: pl.DataFrame) -> Answer:
    """The frame with what its columns are.

    A column that was renamed is called by its measure or dimension; where two columns have the same one, the second
    keeps its own name as a title, too.

    Raises:
        UsageError: it is no Polars DataFrame, or it has no measure.
    """
    roles = _roles(frame)
    if not roles.measures:
        how = "usage.breakdown(by=['day'], measures=['calls'])"
        names = ", ".join(frame.columns) or "no columns"
        raise UsageError(f"this figure needs a measure, such as calls or cost; the frame has: {names}. Get it by {how}")
    measures: dict[str, Measure] = {}
    dimensions: dict[str, Dimension] = {}
    called: dict[str, str] = {}
    apart: dict[str, tuple[str, str]] = {}
    ends = {end for interval in roles.intervals.values() for end in interval}
    for column, held in roles.measures.items():
        measure = held.measure
        if held.currency is not None:
            apart[column] = (measure.name, held.currency)
        elif measure.name in measures:
            measure = replace(measure, name=column, title=column)
        if column not in ends:
            measures[measure.name] = _harmless(measure)
        called[column] = column if held.currency is not None else measure.name
    for column, entry in roles.dimensions.items():
        kept = replace(entry, name=column, title=column) if entry.name in dimensions else entry
        dimensions[kept.name] = kept
        called[column] = kept.name
    buckets = [entry for entry in dimensions.values() if entry.kind == "time"]
    if len(buckets) == 1:
        measures = {name: _in_time(measure, buckets[0]) for name, measure in measures.items()}
    rows = [{called.get(column, column): value for column, value in row.items()} for row in frame.to_dicts()]
    return Answer(
        _unfolded(rows, dimensions),
        dimensions,
        measures,
        apart,
        roles.question,
        roles.about,
        tuple(frame.columns),
        {called.get(name, name): getattr(dtype, "time_zone", None) for name, dtype in frame.schema.items()},
        wording.interval_name(roles.level) if ends else "",
        roles.periods,
    )


def _unfolded(rows: list[Row], dimensions: Mapping[str, Dimension]) -> list[Row]:
    """The rows in which what `top` left out is no name: `is_other` tells it from one that is called "other"."""
    if not any(row.get("is_other") is True for row in rows):
        return rows
    name = next((name for name, entry in dimensions.items() if entry.kind == "category"), None)
    rest = Rest(len({row[name] for row in rows if not row["is_other"]}) if name else 0)
    return [row | {name: rest} if name and row["is_other"] else row for row in rows]


def _in_time(measure: Measure, time: Dimension) -> Measure:
    """The title of a measure of several buckets where these are known: "Cost, last 7 days", "Cost share" per day."""
    formula, title = measure.formula, measure.title
    if isinstance(formula, Rolling):
        title = title.replace(f", rolling {formula.buckets}", f", last {formula.buckets} {time.name}s")
    elif isinstance(formula, Share) and formula.of == time.name:
        title = title.removesuffix(f" of {time.title.lower()}")
    return replace(measure, title=title)


def _harmless(measure: Measure) -> Measure:
    """Plotly reads titles as markup, and of a measure of one's own anybody may have written them."""
    title, unit = (escape(wording.shorten(text, 44), quote=False) for text in (measure.title, measure.unit))
    return replace(measure, title=title, unit=unit)


def _roles(frame: object) -> Roles:
    if not isinstance(frame, pl.DataFrame):
        kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
        raise UsageError(
            f"figures are drawn from a polars.DataFrame as usage.breakdown(...) returns it, not from a {kind}"
        )
    known: Roles | None = getattr(frame, "roles", None)
    if known is not None:
        return known
    numeric = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    return Roles.guessed(frame.columns, numeric=numeric, text=[n for n, t in frame.schema.items() if t == pl.String])


def need(answer: Answer, columns: Iterable[str], how: str) -> None:
    """Refuse a frame that lacks one of `columns`; `how` is the call that makes one which has them.

    A measure of money is there, too, when it is in a column for each currency.

    Raises:
        UsageError: naming the missing columns, those that are there, and `how`.
    """
    held = {*answer.columns, *answer.measures, *answer.dimensions}
    if missing := [name for name in columns if name not in held]:
        raise UsageError(hint(answer, ", ".join(missing), how))


def hint(answer: Answer, missing: str, how: str) -> str:
    """The sentence that tells what a frame lacks and how to get it."""
    return f"this figure needs {missing}; the frame has: {', '.join(answer.columns) or 'no columns'}. Get it by {how}"


def facets(answer: Answer, measure: Measure) -> list[Facet]:
    """One facet for each currency when `measure` is of money (that with most calls first), else one in all.

    The share of a cost is of money, too: it is in a column for each currency where there are several.

    Raises:
        UsageError: money without its currency.
    """
    if any(name == measure.name for name, _ in answer.apart.values()):
        return _by_column(answer, measure)
    if measure.kind != "money":
        return [Facet(None, answer.rows)]
    need(answer, ["currency"], f"usage.breakdown(by=[...], measures=['{measure.name}'])")
    parts: dict[str, list[Row]] = {}
    for row in answer.rows:
        if row["currency"] is not None:  # else it has no price: coverage tells of such
            parts.setdefault(str(row["currency"]), []).append(row)

    def order(currency: str) -> tuple[float, str]:
        calls = total(parts[currency], "calls") if "calls" in answer.measures else None
        return -(calls or 0), currency

    return [Facet(currency, parts[currency]) for currency in sorted(parts, key=order)] or [Facet(None, answer.rows)]


def _by_column(answer: Answer, measure: Measure) -> list[Facet]:
    """A facet for each column of the measure: its rows hold the money of that currency under the measures' names."""
    own = {currency: column for column, (name, currency) in answer.apart.items() if name == measure.name}
    first = next(iter(own))

    def in_currency(row: Row, wanted: str) -> Row:
        plain = {name: value for name, value in row.items() if name not in answer.apart}
        money = {name: row[column] for column, (name, currency) in answer.apart.items() if currency == wanted}
        return plain | money

    def belongs(row: Row, wanted: str) -> bool:
        # What has no price in any currency is listed once, with the first.
        priced = [currency for currency, column in own.items() if row[column] is not None]
        return wanted in priced if priced else wanted == first

    return [
        Facet(currency, [in_currency(row, currency) for row in answer.rows if belongs(row, currency)])
        for currency in own
    ]


def known(parts: Sequence[Facet], name: str) -> bool:
    """Whether any row has a value of the measure."""
    return any(row[name] is not None for part in parts for row in part.rows)


def total(rows: Iterable[Row], name: str) -> Any:
    """Sum of a column; None when every value is missing. Decimals stay exact."""
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values[1:], values[0]) if values else None


def merged(rows: Sequence[Row], measures: Measures) -> Row:
    """One row for several: additive measures are summed, the others are left out since they cannot be."""
    if len(rows) == 1:
        return rows[0]
    return {name: total(rows, name) for name in rows[0] if name in measures and measures[name].additive}


def grouped(rows: Iterable[Row], dimensions: Sequence[Dimension], weigh: Callable[[Sequence[Row]], Any]) -> list[Group]:
    """The rows by their values of `dimensions`, heaviest first; without a weight last, ties by name.

    Hours, weekdays and periods keep their own order. What was left out before is last.
    """
    ordered = bool(dimensions) and all(entry.kind != "category" for entry in dimensions)
    parts: dict[tuple[Any, ...], Group] = {}
    for row in rows:
        key = tuple(row[entry.name] for entry in dimensions)
        if key not in parts:
            text = " · ".join(
                wording.dimension_text(value, entry) for entry, value in zip(dimensions, key, strict=True)
            )
            rest = any(isinstance(value, Rest) for value in key)
            named = not rest and (not key or any(value is not None for value in key))
            parts[key] = Group(text if named else None, text if dimensions else ALL_LABEL, rest=rest, ordered=ordered)
        parts[key].rows.append(row)

    def order(key: tuple[Any, ...]) -> tuple[Any, ...]:
        if ordered:
            return tuple((value is None, value) for value in key)
        weight = weigh(parts[key].rows)
        return parts[key].rest, weight is None, 0 if weight is None else -weight, parts[key].label

    return [parts[key] for key in sorted(parts, key=order)]


def abbreviate(groups: Iterable[Group], width: int = 30) -> None:
    """Give groups that stand in one figure labels that fit and differ."""
    several = list(groups)
    shorts = wording.short_labels((group.label for group in several), width)
    for group in several:
        group.short = shorts[group.label]


def fold(groups: list[Group], top: int) -> list[Group]:
    """The first `top` groups, and the rest as one named "other"; a rest of one stays itself.

    Raises:
        UsageError: `top` is no whole number from 1 on.
    """
    return fold_all_but(groups, kept_by(groups, top))


def kept_by(groups: Sequence[Group], top: int) -> set[str]:
    """The labels of those that are not folded."""
    named = [group.label for group in groups if not group.rest]
    return set(named if len(named) <= checked_top(top) + 1 or groups[0].ordered else named[:top])


def fold_all_but(groups: list[Group], labels: Collection[str]) -> list[Group]:
    """The groups of these labels, and all others as one named "other"."""
    tail = [group for group in groups if group.label not in labels]
    if all(group.rest for group in tail):
        return groups
    rows = [row for group in tail for row in group.rows]
    label = "other" if any(group.rest for group in tail) else f"other ({len(tail):,})"
    kept = [group for group in groups if group.label in labels]
    return [*kept, Group(None, label, rows, len(tail), rest=True)]


def heaviest(groups: list[Group], top: int) -> list[Group]:
    """The first `top` groups and what was left out before, where nothing can be folded.

    Raises:
        UsageError: `top` is no whole number from 1 on.
    """
    if len(groups) <= checked_top(top) or groups[0].ordered:
        return groups
    named = [group for group in groups if not group.rest]
    return [*named[:top], *(group for group in groups if group.rest)]


def checked_top(top: int) -> int:
    """How many groups to draw.

    Raises:
        UsageError: it is no whole number from 1 on.
    """
    if not isinstance(top, int) or top < 1:
        raise UsageError(f"top = {top!r}; a figure draws at least 1 group")
    return top


def weight_of(measure: Measure, measures: Measures) -> Callable[[Sequence[Row]], Any]:
    """What makes a group heavy: the sum of the measure, or the calls behind it where it does not add up.

    Nothing does in the panel of another measure whose rows do not have it: money in several currencies.
    """
    prefix = measure.name.split("_")[0]
    for name in (measure.name, "calls", f"{prefix}_calls"):
        if name in measures and measures[name].additive:
            return lambda rows: total([row for row in rows if name in row], name)
    return lambda rows: max((row[measure.name] for row in rows if row.get(measure.name) is not None), default=None)


def styles_for(parts: Sequence[Facet], dimensions: Sequence[Dimension], measure: Measure, measures: Measures) -> Styles:
    """A style for each name of all facets, also of those that will be folded, so that folding changes no colour.

    Names are taken by their largest share within a currency, since amounts of several currencies cannot be compared.
    """
    if [entry.name for entry in dimensions] == ["status"]:
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


def coverage(rows: Sequence[Row], measures: Measures) -> str | None:
    """How much of the cost is known, as a phrase; None when the frame does not say."""
    if not {"calls", "priced_calls"} <= measures.keys():
        return None
    calls = total(rows, "calls")
    return f"{wording.percent((total(rows, 'priced_calls') or 0) / calls)} of calls priced" if calls else None


def details(row: Row, measures: Measures, currency: str | None, skip: Iterable[str] = ()) -> list[str]:
    """A line of hover text for each further measure of a row."""
    shown = wording.label_text(currency or row.get("currency") or "")
    return [
        f"{measure.title}: {wording.value_text(row[name], measure.kind, shown)}{interval_words(row, measure, shown)}"
        for name, measure in measures.items()
        if name in row and name not in skip
    ]
