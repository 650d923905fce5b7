"""Panels of several subjects on one time axis: the drawing behind `series`.

A subject is a measure, or the percentiles of one quantity. It has a panel, or one for each currency: bars upon each
other of what adds up, lines of what does not. All panels show the same groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import Dimension, Measure
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Group,
    Styles,
    abbreviate,
    coverage,
    facets,
    fold,
    fold_all_but,
    grouped,
    heaviest,
    hint,
    kept_by,
    known,
    styles_for,
    total,
    weight_of,
)
from mofa_usage.plots.axes import bucket, line_axis
from mofa_usage.plots.intervals import known_ends
from mofa_usage.plots.layout import by_text, empty, finish, left_out, legend_room, named
from mofa_usage.plots.panels import Panels
from mofa_usage.plots.percentiles import Family, families, styles_of

LISTED = 32
"""Characters of two titles that fit beside each other in the title of a figure."""

BANDED = 4
"""So many lines of a panel have bands of their intervals; more would hide each other."""

MOST = 6
"""A figure has at most so many panels."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a panel is about: a measure, or several percentiles of one quantity, by "p50", "p95"."""

    title: str
    measures: Mapping[str, Measure]

    @property
    def first(self) -> Measure:
        """The measure that says how all are written."""
        return next(iter(self.measures.values()))

    @property
    def stacked(self) -> bool:
        """Whether its groups are bars upon each other."""
        return len(self.measures) == 1 and self.first.additive

    def known(self, parts: Sequence[Facet]) -> bool:
        """Whether any row has a value."""
        return any(known(parts, measure.name) for measure in self.measures.values())


def subjects(columns: Answer) -> list[Subject]:
    """What the measures of a frame are about, in their order; the percentiles of one quantity are one subject."""
    found = {prefix: family for prefix, family in families(columns.measures).items() if len(family.measures) > 1}
    member = {measure.name: family for family in found.values() for measure in family.measures.values()}
    listed = {
        member[name].prefix if name in member else name: of_family(member[name]) if name in member else alone(measure)
        for name, measure in columns.measures.items()
    }
    return list(listed.values())


def alone(measure: Measure) -> Subject:
    """The subject of one measure."""
    return Subject(measure.title, {"": measure})


def of_family(family: Family) -> Subject:
    """The subject of all percentiles of a quantity."""
    return Subject(family.noun, family.measures)


def _reduced(subject: Subject, percentile: str | None, *, to_one: bool) -> Subject:
    """The subject with one percentile only, where one was asked for or each group has a line of its own."""
    words = subject.measures
    if "" in words or (percentile is None and not to_one and len(words) > 1):
        return subject
    if percentile is not None and percentile not in words:
        raise UsageError(f"the frame has no percentile {percentile!r} of {subject.title}; it has: {', '.join(words)}")
    usual = [word for word in ("p95", "p50") if word in words]
    chosen = words[percentile or next(iter(usual), next(iter(words)))]
    return Subject(chosen.title, {"": chosen})


def timeline(
    columns: Answer,
    about: Sequence[Subject],
    by: str | None,
    *,
    percentile: str | None = None,
    top: int,
    theme: look.Theme | None,
    styles: Styles | None,
) -> go.Figure:
    """A panel for each subject and currency on one time axis."""
    time, dimensions = roles(columns, about[0].first, by)
    about = [_reduced(subject, percentile, to_one=bool(dimensions)) for subject in about]
    every = [(subject, part) for subject in about for part in facets(columns, subject.first) if subject.known([part])]
    title = f"{_listed(about)} {per(time)}{by_text(dimensions)}"
    if not every:
        return empty(title, theme, f"{_listed(about)}: unknown for every call" if columns.rows else None)
    drawn = every[:MOST]
    leading = about[0].first if len(about) == 1 else columns.measures.get("calls", about[0].first)
    palette = styles or styles_for([part for _, part in drawn], dimensions, leading, columns.measures)
    panels = Panels(len(drawn), bucket(columns, time), columns, palette)
    notes: list[str | None] = []
    weigh = weight_of(leading, columns.measures)
    kept: set[str] | None = None
    if len(about) > 1:
        everybody = grouped([row for part in facets(columns, leading) for row in part.rows], dimensions, weigh)
        kept = kept_by(everybody, top)
        if len(kept) < sum(not group.rest for group in everybody):
            notes.append(f"top {top} of {len(everybody):,}{' by calls' if leading.name == 'calls' else ''}")
    shown = []
    for subject, part in drawn:
        own = roles(columns, subject.first, by)[1]
        groups = grouped(part.rows, own, weigh)
        shown.append(_chosen(groups, subject, top, kept if own == dimensions else None))
        if len(about) == 1:
            notes += _group_notes(groups, shown[-1], subject, part)
    abbreviate(group for groups in shown for group in groups)
    for number, ((subject, part), groups) in enumerate(zip(drawn, shown, strict=True), 1):
        _panel(panels, number, subject, part, groups)
    figure = panels.dress()
    notes += [*panels.notes, *_notes(columns, about, every)]
    height = 190 + 160 * len(drawn) if len(about) < 3 else 150 + 140 * len(drawn)
    return finish(figure, title, notes, theme, height + legend_room(figure))


def _chosen(groups: list[Group], subject: Subject, top: int, kept: set[str] | None) -> list[Group]:
    """The groups that a panel draws: of those that have a value the heaviest, the others folded where they add up.

    `kept` are the labels of those that all panels draw, where there are several measures.
    """
    valued = [group for group in groups if subject.known([Facet(None, group.rows)])]
    if kept is None:
        return fold(valued, top) if subject.stacked else heaviest(valued, top)
    if subject.stacked:
        return fold_all_but(valued, kept)
    return [group for group in valued if group.rest or group.label in kept]


def _panel(panels: Panels, number: int, subject: Subject, part: Facet, groups: Sequence[Group]) -> None:
    if subject.stacked:
        panels.stack(number, part, groups, subject.first)
    elif len(subject.measures) == 1:
        lines(panels, number, part, groups, subject.first)
    else:
        looks, rows = styles_of(subject.measures), part.rows
        sure = [word for word, measure in subject.measures.items() if known_ends(rows, measure.name)]
        is_banded = len(sure) <= BANDED
        # From above to below, as the lines stand in the figure.
        sums = {word: total(part.rows, measure.name) or 0 for word, measure in subject.measures.items()}
        for word in sorted(sums, key=lambda word: -sums[word]):
            group = Group(word, word, part.rows, short=word)
            measure = subject.measures[word]
            panels.line(number, group, measure, style=looks[word], currency=part.currency, is_banded=is_banded)
        values = [row[measure.name] for row in rows for measure in subject.measures.values()]
        if is_banded:
            values += [end for word in sure for end in known_ends(rows, subject.measures[word].name)]
        panels.scale(number, line_axis(subject.first, values, part.currency, subject.title))


def lines(
    panels: Panels,
    number: int,
    part: Facet,
    groups: Sequence[Group],
    measure: Measure,
    style: look.Style | None = None,
) -> None:
    """Draw a line for each group into a panel, and set its axis."""
    rows, is_banded = [row for group in groups for row in group.rows], len(groups) <= BANDED
    for group in groups:
        panels.line(number, group, measure, style=style, currency=part.currency, is_banded=is_banded)
    values = [row[measure.name] for row in rows]
    if is_banded:
        values += known_ends(rows, measure.name)
    panels.scale(number, line_axis(measure, values, part.currency))


# Words ----------------------------------------------------------------------------------------------------------------


def how_to(columns: Answer, measure: str, by: str | None) -> str:
    """The call that makes a frame for a figure of this measure."""
    asked = by or next((entry.name for entry in columns.categories), "model_name")
    if measure in ("cost", "success_rate"):
        return f"usage.{measure}(by=['day', '{asked}'])"
    return f"usage.breakdown(by=['day', '{asked}'], measures=['{measure or 'calls'}'])"


def roles(columns: Answer, measure: Measure, by: str | None) -> tuple[Dimension, list[Dimension]]:
    """The dimension along which to draw, and those of the groups."""
    axes = [*([columns.time] if columns.time else []), *columns.cycles]
    how = how_to(columns, measure.name, by)
    if not axes:
        raise UsageError(hint(columns, "a time bucket (minute, hour, day, week or month)", how))
    dimensions = [columns.dimension(by, how)] if by else [*columns.categories, *axes[1:]]
    apart = measure.kind != "money" and not measure.additive and "currency" in columns.dimensions
    if apart and by != "currency" and len({row["currency"] for row in columns.rows}) > 1:
        dimensions.append(columns.dimensions["currency"])
    return axes[0], dimensions


def per(time: Dimension) -> str:
    """The end of a title: "per day"."""
    return {"hour_of_day": "by hour of the day", "weekday": "by weekday"}.get(time.name, f"per {time.name}")


def question(prefix: str) -> str:
    """The method of a UsageFrame that returns these percentiles."""
    return "latency" if prefix == "ttft" else prefix


def _listed(about: Sequence[Subject]) -> str:
    first, *others = (subject.title for subject in about)
    title = " and ".join([first, *(other[:1].lower() + other[1:] for other in others)])
    if len(about) == 1 or (len(about) == 2 and len(title) < LISTED):
        return title
    return "Speed" if all(subject.first.kind in ("ms", "tokens/s") for subject in about) else "Usage"


def _notes(
    columns: Answer,
    about: Sequence[Subject],
    every: Sequence[tuple[Subject, Facet]],
) -> list[str | None]:
    """What the figure does not show, and how much of the money is known."""
    unknown = [subject for subject in about if not any(subject is one for one, _ in every)]
    said = [subject for subject, _ in every[:MOST]] + unknown
    money = any(subject.first.kind == "money" for subject, _ in every[:MOST])
    return [
        coverage(columns.rows, columns.measures) if money else None,
        f"unknown for every call: {named([subject.title for subject in unknown])}" if unknown else None,
        left_out(columns.measures, (measure.name for subject in said for measure in subject.measures.values())),
    ]


def _group_notes(groups: Sequence[Group], shown: Sequence[Group], subject: Subject, part: Facet) -> list[str | None]:
    """What is said of the one measure of a figure, for each currency."""
    valued = [group for group in groups if subject.known([Facet(None, group.rows)])]
    without = len(groups) - len(valued)
    word = "price" if subject.first.kind == "money" else "value"
    summed = subject.stacked and subject.first.kind != "rate"
    return [
        _sum_text(part, subject.first) if summed else shown_text(len(valued), len(shown)),
        f"{without:,} of {len(groups):,} without a {word}" if without else None,
    ]


def shown_text(count: int, shown: int) -> str | None:
    """How many groups have no line; None where all have one."""
    return f"{shown} of {count:,} shown, by calls" if count > shown else None


def _sum_text(part: Facet, measure: Measure) -> str:
    whole = wording.value_text(total(part.rows, measure.name), measure.kind, wording.label_text(part.currency or ""))
    return f"{whole} in total" if measure.kind != "count" else f"{whole} {measure.title.lower()} in total"
