"""Figures along time: stacked bars of what adds up, lines of what does not, percentiles, success with its failures.

A period without a value is a gap: no bar, and a break in the line.
"""

from collections.abc import Sequence

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
    hint,
    known,
    need,
    read,
    styles_for,
    total,
    weight_of,
)
from mofa_usage.plots.layout import bucket, by_text, empty, finish, legend_room, value_axis
from mofa_usage.plots.panels import Panels
from mofa_usage.plots.percentiles import families, styles_of

FAILURES = ("failed", "timeout", "rate_limited", "cancelled")
"""The statuses that are no success, each counted by the measure `<status>_count`."""


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
    time, dimensions = _roles(columns, chosen, by)
    title = f"{chosen.title} {_per(time)}{by_text(dimensions)}"
    parts = facets(columns, chosen)
    if not known(parts, chosen.name):
        return empty(title, theme, f"{chosen.title}: unknown for every call" if columns.rows else None)
    palette = styles or styles_for(parts, dimensions, chosen, columns.measures)
    panels = Panels(len(parts), bucket(columns, time), columns.measures, palette)
    notes: list[str | None] = []
    drawn: list[list[Group]] = []
    for part in parts:
        every = grouped(part.rows, dimensions, weight_of(chosen, columns.measures))
        groups = [group for group in every if known([Facet(None, group.rows)], chosen.name)]
        drawn.append(fold(groups, top) if chosen.additive else groups[:top])
        notes.append(_sum_text(part, chosen) if chosen.additive else _shown_text(len(groups), top))
        if len(groups) < len(every):
            word = "price" if chosen.kind == "money" else "value"
            notes.append(f"{len(every) - len(groups):,} of {len(every):,} without a {word}")
    abbreviate(group for groups in drawn for group in groups)
    for number, (part, groups) in enumerate(zip(parts, drawn, strict=True), 1):
        if chosen.additive:
            panels.stack(number, part, groups, chosen)
        else:
            _lines(panels, number, part, groups, chosen)
    notes.append(coverage(columns.rows, columns.measures) if chosen.kind == "money" else None)
    figure = panels.dress()
    return finish(figure, title, notes, theme, 190 + 160 * len(parts) + legend_room(figure))


def percentiles_over_time(
    frame: pl.DataFrame,
    prefix: str,
    *,
    percentile: str = "p95",
    top: int = 8,
    theme: look.Theme = "light",
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of a duration or rate per period as lines; with a further dimension, one percentile for each group.

    Args:
        frame: A time bucket and `<prefix>_p50`, `_p90`, `_p95`, `_p99`, `_mean`, `_overall` or some of them. The
            maximum is not drawn, since it would flatten all others; it is in the hover texts.
        prefix: "latency", "ttft" or "token_rate".
        percentile: Which one is drawn where there is a line for each group.
        top: So many groups with most calls are drawn; the figure says how many it leaves out.
        theme: "light" or "dark".
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    columns = read(frame)
    family = families(columns.measures).get(prefix)
    if family is None:
        raise UsageError(hint(columns, f"{prefix}_p50", f"usage.{question(prefix)}(by=['day'])"))
    drawn = dict(family.measures)
    time, dimensions = _roles(columns, next(iter(drawn.values())), None)
    if dimensions:
        one = drawn.get(percentile, next(iter(drawn.values())))
        return over_time(frame, one.name, top=top, theme=theme, styles=styles)
    title, rows = f"{family.noun} {_per(time)}", columns.rows
    values = [row[measure.name] for row in rows for measure in drawn.values() if row[measure.name] is not None]
    if not values:
        return empty(title, theme, f"{family.noun}: unknown for every call" if rows else None)
    panels = Panels(1, bucket(columns, time), columns.measures, {})
    # From above to below, as the lines stand in the figure.
    looks = styles_of(drawn)
    for word in sorted(drawn, key=lambda word: -sum(row[drawn[word].name] or 0 for row in rows)):
        panels.line(1, Group(word, word, rows, short=word), drawn[word], style=looks[word])
    figure = panels.dress()
    figure.update_yaxes(value_axis(next(iter(drawn.values())), max(values), title=family.noun))
    return finish(figure, title, [], theme, 350 + legend_room(figure))


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
    palette = {**(styles or styles_for([part], dimensions, rate, columns.measures))}
    panels = Panels(2, bucket(columns, time), columns.measures, palette)
    groups = grouped(part.rows, dimensions, weight_of(rate, columns.measures))
    if dimensions:
        abbreviate(groups[:top])
        _lines(panels, 1, part, groups[:top], rate)
    else:
        group = Group("success", "success rate", part.rows, short="success rate")
        panels.line(1, group, rate, style=look.STATUS_STYLES["success"])
    failures = _failures(panels, part, time)
    figure = panels.dress()
    lowest = min(row[rate.name] for row in part.rows if row[rate.name] is not None)
    figure.update_yaxes(value_axis(rate, 1), row=1, col=1)
    figure.update_yaxes(range=[max(0.0, lowest - 0.12 * (1 - lowest)) if lowest < 1 else 0.9, 1.005], row=1, col=1)
    notes = [_rate_text(part, columns), f"{failures:,} did not"]
    notes.append(_shown_text(len(groups), top))
    return finish(figure, title, notes, theme, 460 + legend_room(figure))


def _failures(panels: Panels, part: Facet, time: Dimension) -> int:
    """Draw the counts by status into the lower panel; their sum."""
    count = MEASURES["error_count"]
    names = [f"{status}_count" for status in FAILURES]
    groups = []
    for status, name in zip(FAILURES, names, strict=True):
        rows = [{time.name: row[time.name], count.name: row[name]} for row in part.rows]
        word = status.replace("_", " ")
        groups.append(Group(status, word, rows, short=word))
    whole = [row for group in groups for row in group.rows]
    groups.sort(key=lambda group: -(total(group.rows, count.name) or 0))
    panels.stack(2, Facet(None, whole), groups, count, styles=look.STATUS_STYLES)
    return total(whole, count.name) or 0


def _lines(panels: Panels, number: int, part: Facet, groups: Sequence[Group], measure: Measure) -> None:
    for group in groups:
        panels.line(number, group, measure, currency=part.currency)
    values = [row[measure.name] for group in groups for row in group.rows if row[measure.name] is not None]
    axis = value_axis(measure, float(max(values, default=0)), part.currency)
    panels.figure.update_yaxes(axis, row=number, col=1)


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


def _shown_text(count: int, top: int) -> str | None:
    return f"{top} of {count:,} shown, by calls" if count > top else None


def _sum_text(part: Facet, measure: Measure) -> str:
    whole = wording.value_text(total(part.rows, measure.name), measure.kind, wording.label_text(part.currency or ""))
    return f"{whole} in total" if measure.kind != "count" else f"{whole} {measure.title.lower()} in total"


def _rate_text(part: Facet, columns: Answer) -> str | None:
    if not {"calls", "success_count"} <= columns.measures.keys():
        return None
    calls, successes = total(part.rows, "calls"), total(part.rows, "success_count")
    return f"{wording.percent(successes / calls)} of {calls:,} calls succeeded" if calls else None
