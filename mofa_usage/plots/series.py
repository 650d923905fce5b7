"""Figures along time: stacked bars of what adds up, lines of what does not, percentiles, success with its failures.

Several measures stand in panels above each other on one time axis, the percentiles of one quantity together in one. A
period without a value is a gap: no bar, and a break in the line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES, Dimension, Measure
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Group,
    Styles,
    abbreviate,
    coverage,
    facets,
    fold,
    grouped,
    heaviest,
    hint,
    known,
    need,
    read,
    styles_for,
    total,
    weight_of,
)
from mofa_usage.plots.axes import bucket, line_axis
from mofa_usage.plots.layout import by_text, empty, finish, legend_room
from mofa_usage.plots.panels import Panels
from mofa_usage.plots.percentiles import Family, families, styles_of

FAILURES = ("failed", "timeout", "rate_limited", "cancelled")
"""The statuses that are no success, each counted by the measure `<status>_count`."""

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


def cost_over_time(
    frame: pl.DataFrame,
    by: str | None = None,
    *,
    top: int = 8,
    theme: look.Theme = "light",
    styles: Styles | None = None,
) -> go.Figure:
    """Cost per period as stacked bars, one panel for each currency.

    Args:
        frame: `usage.cost(by=["day", "model_name"])`: a time bucket (or hour_of_day or weekday), any dimension,
            `currency`, `cost`; with `calls` and `priced_calls` the figure says how much of the cost is known.
        by: The dimension that is stacked; by default all dimensions of the frame beside time.
        top: So many groups with the highest cost are drawn, the others folded into "other".
        theme: "light" or "dark".
        styles: Styles by name (`mofa_usage.theme.styles`), where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    return over_time(frame, "cost", by, top=top, theme=theme, styles=styles)


def over_time(
    frame: pl.DataFrame,
    measure: str | None = None,
    by: str | None = None,
    *,
    top: int = 8,
    theme: look.Theme = "light",
    styles: Styles | None = None,
) -> go.Figure:
    """Any measure per period: stacked bars of what adds up (calls, tokens, cost), lines of what does not.

    Args:
        frame: A time bucket (or hour_of_day or weekday), any dimension, measures; `currency` for money.
        measure: By default the first of the frame.
        by: The dimension of the groups; by default all dimensions of the frame beside time.
        top: So many groups are drawn, those with most of the measure, or with most calls where it does not add up. The
            others are folded into "other" or, where they cannot be added up, left out; the figure says so.
        theme: "light" or "dark".
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or a group has several rows in a period that cannot be added up.
    """
    columns = read(frame)
    chosen = columns.measure(measure, _how(columns, measure or "", by))
    return _timeline(columns, [_alone(chosen)], by, top=top, theme=theme, styles=styles)


def measures_over_time(
    frame: pl.DataFrame,
    by: str | None = None,
    *,
    percentile: str | None = None,
    top: int = 8,
    theme: look.Theme = "light",
    styles: Styles | None = None,
) -> go.Figure:
    """Every measure of a frame per period, in panels on one time axis: what adds up as bars, all else as lines.

    Args:
        frame: A time bucket (or hour_of_day or weekday), any dimension, measures; `currency` for money.
        by: The dimension of the groups; by default all dimensions of the frame beside time.
        percentile: Which one of several is drawn where there is a line for each group, such as "p95".
        top: So many groups are drawn, those with most calls, the same ones in all panels.
        theme: "light" or "dark".
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or a group has several rows in a period that cannot be added up.
    """
    columns = read(frame)
    return _timeline(columns, subjects(columns), by, percentile=percentile, top=top, theme=theme, styles=styles)


def percentiles_over_time(
    frame: pl.DataFrame,
    *prefixes: str,
    percentile: str | None = None,
    top: int = 8,
    theme: look.Theme = "light",
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of a duration or rate per period as lines; with a further dimension, one percentile for each group.

    Args:
        frame: A time bucket and `<prefix>_p50`, `_p90`, `_p99.9`, `_mean`, `_overall` or some of them. The maximum is
            not drawn, since it would flatten all others; it is in the hover texts.
        prefixes: "latency", "ttft" or "token_rate"; a panel for each.
        percentile: The only one to be drawn, such as "p95", which is also the default where each group has a line.
        top: So many groups with most calls are drawn; the figure says how many it leaves out.
        theme: "light" or "dark".
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or there is no such percentile; the message says how to get it.
    """
    columns = read(frame)
    found = families(columns.measures)
    for prefix in prefixes:
        if prefix not in found:
            raise UsageError(hint(columns, f"{prefix}_p50", f"usage.{question(prefix)}(by=['day'])"))
    chosen = [_family(found[prefix]) for prefix in prefixes]
    return _timeline(columns, chosen, None, percentile=percentile, top=top, theme=theme, styles=styles)


def success_over_time(
    frame: pl.DataFrame, *, top: int = 8, theme: look.Theme = "light", styles: Styles | None = None
) -> go.Figure:
    """Success rate per period above, and below it the calls that did not succeed, stacked by their status.

    Args:
        frame: `usage.success_rate(by=["day"])`: a time bucket, `success_rate`, and the counts of the failures. With a
            further dimension there is one rate for each group, and the failures are those of all groups.
        top: So many groups with most calls have a line; the figure says how many it leaves out.
        theme: "light" or "dark".
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    how = "usage.success_rate(by=['day'])"
    columns = read(frame)
    need(columns, ["success_rate", *(f"{status}_count" for status in FAILURES)], how)
    rate = columns.measures["success_rate"]
    time, dimensions = _roles(columns, rate, None)
    title = f"Success and failures {_per(time)}"
    part = Facet(None, columns.rows)
    if not known([part], rate.name):
        return empty(title, theme)
    palette = styles or styles_for([part], dimensions, rate, columns.measures)
    panels = Panels(2, bucket(columns, time), columns.measures, palette)
    groups = grouped(part.rows, dimensions, weight_of(rate, columns.measures))
    shown = heaviest(groups, top)
    if dimensions:
        abbreviate(shown)
        _lines(panels, 1, part, shown, rate)
    else:
        group = Group("success", "success rate", part.rows, short="success rate")
        _lines(panels, 1, part, [group], rate, look.STATUS_STYLES["success"])
    counts = _failures(panels, part, time)
    notes = [_rate_text(part, columns), counts, _shown_text(len(groups), len(shown)), panels.note]
    figure = panels.dress()
    return finish(figure, title, notes, theme, 460 + legend_room(figure))


def _failures(panels: Panels, part: Facet, time: Dimension) -> str:
    """Draw the counts by status into the lower panel; how many there are, users' cancellations apart."""
    count = MEASURES["error_count"]
    groups = []
    for status in FAILURES:
        rows = [{time.name: row[time.name], count.name: row[f"{status}_count"]} for row in part.rows]
        word = STATUS_WORDS[status]
        groups.append(Group(status, word, rows, short=word))
    whole = [row for group in groups for row in group.rows]
    numbers = {group.name: total(group.rows, count.name) or 0 for group in groups}
    groups.sort(key=lambda group: -numbers[group.name])
    panels.stack(2, Facet(None, whole), groups, count, styles=look.STATUS_STYLES, title="Unsuccessful calls")
    cancelled = numbers.pop("cancelled")
    return f"{sum(numbers.values()):,} errors, {cancelled:,} cancelled by users"


STATUS_WORDS = {
    "failed": "failed",
    "timeout": "timed out",
    "rate_limited": "rate limited",
    "cancelled": "cancelled by the user",
}
"""How a call that did not succeed ended, in words."""


# Several measures -----------------------------------------------------------------------------------------------------


def subjects(columns: Answer) -> list[Subject]:
    """What the measures of a frame are about, in their order; the percentiles of one quantity are one subject."""
    found = {prefix: family for prefix, family in families(columns.measures).items() if len(family.measures) > 1}
    member = {measure.name: family for family in found.values() for measure in family.measures.values()}
    listed = {
        member[name].prefix if name in member else name: _family(member[name]) if name in member else _alone(measure)
        for name, measure in columns.measures.items()
    }
    return list(listed.values())


def _alone(measure: Measure) -> Subject:
    return Subject(measure.title, {"": measure})


def _family(family: Family) -> Subject:
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


def _timeline(
    columns: Answer,
    about: Sequence[Subject],
    by: str | None,
    *,
    percentile: str | None = None,
    top: int,
    theme: look.Theme,
    styles: Styles | None,
) -> go.Figure:
    """A panel for each subject and currency on one time axis."""
    time, dimensions = _roles(columns, about[0].first, by)
    about = [_reduced(subject, percentile, to_one=bool(dimensions)) for subject in about]
    every = [(subject, part) for subject in about for part in facets(columns, subject.first) if subject.known([part])]
    title = f"{_listed(about)} {_per(time)}{by_text(dimensions)}"
    if not every:
        return empty(title, theme, f"{_listed(about)}: unknown for every call" if columns.rows else None)
    drawn = every[:MOST]
    leading = about[0].first if len(about) == 1 else columns.measures.get("calls", about[0].first)
    palette = styles or styles_for([part for _, part in drawn], dimensions, leading, columns.measures)
    panels = Panels(len(drawn), bucket(columns, time), columns.measures, palette)
    notes: list[str | None] = []
    shown = []
    for subject, part in drawn:
        groups = grouped(part.rows, dimensions, weight_of(leading, columns.measures))
        shown.append(_chosen(groups, subject, top))
        if len(about) == 1:
            notes += _group_notes(groups, shown[-1], subject, part)
        elif len(shown[-1]) < len(groups) and "by calls" not in str(notes):
            notes.append(f"top {top} of {len(groups):,} by calls")
    abbreviate(group for groups in shown for group in groups)
    for number, ((subject, part), groups) in enumerate(zip(drawn, shown, strict=True), 1):
        _panel(panels, number, subject, part, groups)
    figure = panels.dress()
    notes += [*_notes(columns, about, every), panels.note]
    height = 190 + 160 * len(drawn) if len(about) < 3 else 150 + 140 * len(drawn)
    return finish(figure, title, notes, theme, height + legend_room(figure))


def _chosen(groups: list[Group], subject: Subject, top: int) -> list[Group]:
    """The groups that a panel draws: of those that have a value the heaviest, the others folded where they add up."""
    valued = [group for group in groups if subject.known([Facet(None, group.rows)])]
    return fold(valued, top) if subject.stacked else heaviest(valued, top)


def _panel(panels: Panels, number: int, subject: Subject, part: Facet, groups: Sequence[Group]) -> None:
    if subject.stacked:
        panels.stack(number, part, groups, subject.first)
    elif len(subject.measures) == 1:
        _lines(panels, number, part, groups, subject.first)
    else:
        looks = styles_of(subject.measures)
        # From above to below, as the lines stand in the figure.
        sums = {word: total(part.rows, measure.name) or 0 for word, measure in subject.measures.items()}
        for word in sorted(sums, key=lambda word: -sums[word]):
            group = Group(word, word, part.rows, short=word)
            panels.line(number, group, subject.measures[word], style=looks[word], currency=part.currency)
        values = [row[measure.name] for row in part.rows for measure in subject.measures.values()]
        panels.scale(number, line_axis(subject.first, values, part.currency, subject.title))


def _lines(
    panels: Panels,
    number: int,
    part: Facet,
    groups: Sequence[Group],
    measure: Measure,
    style: look.Style | None = None,
) -> None:
    for group in groups:
        panels.line(number, group, measure, style=style, currency=part.currency)
    values = [row[measure.name] for group in groups for row in group.rows]
    panels.scale(number, line_axis(measure, values, part.currency))


# Words ----------------------------------------------------------------------------------------------------------------


def _how(columns: Answer, measure: str, by: str | None) -> str:
    """The call that makes a frame for a figure of this measure."""
    asked = by or next((entry.name for entry in columns.categories), "model_name")
    if measure in ("cost", "success_rate"):
        return f"usage.{measure}(by=['day', '{asked}'])"
    return f"usage.breakdown(by=['day', '{asked}'], measures=['{measure or 'calls'}'])"


def _roles(columns: Answer, measure: Measure, by: str | None) -> tuple[Dimension, list[Dimension]]:
    """The dimension along which to draw, and those of the groups."""
    axes = [*([columns.time] if columns.time else []), *columns.cycles]
    how = _how(columns, measure.name, by)
    if not axes:
        raise UsageError(hint(columns, "a time bucket (minute, hour, day, week or month)", how))
    dimensions = [columns.dimension(by, how)] if by else [*columns.categories, *axes[1:]]
    apart = measure.kind != "money" and not measure.additive and "currency" in columns.dimensions
    if apart and by != "currency" and len({row["currency"] for row in columns.rows}) > 1:
        dimensions.append(columns.dimensions["currency"])
    return axes[0], dimensions


def _per(time: Dimension) -> str:
    return {"hour_of_day": "by hour of the day", "weekday": "by weekday"}.get(time.name, f"per {time.name}")


def question(prefix: str) -> str:
    """The method of a UsageFrame that returns these percentiles."""
    return "latency" if prefix == "ttft" else prefix


def _listed(about: Sequence[Subject]) -> str:
    if len(about) > 2:
        return "Usage"
    first, *second = (subject.title for subject in about)
    return " and ".join([first, *(title[:1].lower() + title[1:] for title in second)])


def _notes(
    columns: Answer,
    about: Sequence[Subject],
    every: Sequence[tuple[Subject, Facet]],
) -> list[str | None]:
    """What the figure does not show, and how much of the money is known."""
    left = list(dict.fromkeys(subject.title for subject, _ in every[MOST:]))
    unknown = [subject.title for subject in about if not any(subject is one for one, _ in every)]
    money = any(subject.first.kind == "money" for subject, _ in every[:MOST])
    return [
        f"not drawn: {', '.join(left)}" if left else None,
        f"unknown for every call: {', '.join(unknown)}" if unknown else None,
        coverage(columns.rows, columns.measures) if money else None,
    ]


def _group_notes(groups: Sequence[Group], shown: Sequence[Group], subject: Subject, part: Facet) -> list[str | None]:
    """What is said of the one measure of a figure, for each currency."""
    valued = [group for group in groups if subject.known([Facet(None, group.rows)])]
    without = len(groups) - len(valued)
    word = "price" if subject.first.kind == "money" else "value"
    return [
        _sum_text(part, subject.first) if subject.stacked else _shown_text(len(valued), len(shown)),
        f"{without:,} of {len(groups):,} without a {word}" if without else None,
    ]


def _shown_text(count: int, shown: int) -> str | None:
    return f"{shown} of {count:,} shown, by calls" if count > shown else None


def _sum_text(part: Facet, measure: Measure) -> str:
    whole = wording.value_text(total(part.rows, measure.name), measure.kind, wording.label_text(part.currency or ""))
    return f"{whole} in total" if measure.kind != "count" else f"{whole} {measure.title.lower()} in total"


def _rate_text(part: Facet, columns: Answer) -> str | None:
    if not {"calls", "success_count"} <= columns.measures.keys():
        return None
    calls, successes = total(part.rows, "calls"), total(part.rows, "success_count")
    return f"{wording.percent(successes / calls)} of {calls:,} calls succeeded" if calls else None
