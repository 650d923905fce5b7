"""Figures along time: stacked bars of what adds up, lines of what does not, percentiles, success with its failures.

Several measures stand in panels above each other on one time axis, the percentiles of one quantity together in one. A
period without a value is a gap: no bar, and a break in the line.
"""

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import MEASURES, Dimension
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Group,
    Styles,
    abbreviate,
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
from mofa_usage.plots.axes import bucket
from mofa_usage.plots.layout import empty, finish, left_out, legend_room
from mofa_usage.plots.panels import Panels
from mofa_usage.plots.percentiles import families
from mofa_usage.plots.timeline import (
    alone,
    how_to,
    lines,
    of_family,
    per,
    question,
    roles,
    shown_text,
    subjects,
    timeline,
)

COUNTS = {status: f"{status}_count" for status in wording.ENDED}
"""The measures that count the calls of each status that is no success."""

TOLD = ("calls", "success_rate", "success_count", "error_count", *COUNTS.values())
"""The measures that figures of failures draw or write."""


def cost_over_time(
    frame: pl.DataFrame,
    by: str | None = None,
    *,
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Cost per period as stacked bars, one panel for each currency.

    Args:
        frame: `usage.cost(by=["day", "model_name"])`: a time bucket (or hour_of_day or weekday), any dimension,
            `currency`, `cost`; with `calls` and `priced_calls` the figure says how much of the cost is known.
        by: The dimension that is stacked; by default all dimensions of the frame beside time.
        top: So many groups with the highest cost are drawn, the others folded into "other".
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
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
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Any measure per period: stacked bars of what adds up (calls, tokens, cost), lines of what does not.

    Args:
        frame: A time bucket (or hour_of_day or weekday), any dimension, measures; `currency` for money.
        measure: By default the first of the frame.
        by: The dimension of the groups; by default all dimensions of the frame beside time.
        top: So many groups are drawn, those with most of the measure, or with most calls where it does not add up. The
            others are folded into "other" or, where they cannot be added up, left out; the figure says so.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or a group has several rows in a period that cannot be added up.
    """
    columns = read(frame)
    chosen = columns.measure(measure, how_to(columns, measure or "", by))
    return timeline(columns, [alone(chosen)], by, top=top, theme=theme, styles=styles)


def measures_over_time(
    frame: pl.DataFrame,
    by: str | None = None,
    *,
    percentile: str | None = None,
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Every measure of a frame per period, in panels on one time axis: what adds up as bars, all else as lines.

    Args:
        frame: A time bucket (or hour_of_day or weekday), any dimension, measures; `currency` for money.
        by: The dimension of the groups; by default all dimensions of the frame beside time.
        percentile: Which one of several is drawn where there is a line for each group, such as "p95".
        top: So many groups are drawn, those with most calls, the same ones in all panels.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or a group has several rows in a period that cannot be added up.
    """
    columns = read(frame)
    return timeline(columns, subjects(columns), by, percentile=percentile, top=top, theme=theme, styles=styles)


def percentiles_over_time(
    frame: pl.DataFrame,
    *prefixes: str,
    percentile: str | None = None,
    top: int = 8,
    theme: look.Theme | None = None,
    styles: Styles | None = None,
) -> go.Figure:
    """Percentiles of a duration or rate per period as lines; with a further dimension, one percentile for each group.

    Args:
        frame: A time bucket and `<prefix>_p50`, `_p90`, `_p99.9`, `_mean`, `_overall` or some of them. The maximum is
            not drawn, since it would flatten all others; it is in the hover texts.
        prefixes: "latency", "ttft" or "token_rate"; a panel for each.
        percentile: The only one to be drawn, such as "p95", which is also the default where each group has a line.
        top: So many groups with most calls are drawn; the figure says how many it leaves out.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing, or there is no such percentile; the message says how to get it.
    """
    columns = read(frame)
    found = families(columns.measures)
    for prefix in prefixes:
        if prefix not in found:
            raise UsageError(hint(columns, f"{prefix}_p50", f"usage.{question(prefix)}(by=['day'])"))
    chosen = [of_family(found[prefix]) for prefix in prefixes]
    return timeline(columns, chosen, None, percentile=percentile, top=top, theme=theme, styles=styles)


def success_over_time(
    frame: pl.DataFrame, *, top: int = 8, theme: look.Theme | None = None, styles: Styles | None = None
) -> go.Figure:
    """Success rate per period above, and below it the calls that did not succeed, stacked by their status.

    Args:
        frame: `usage.success_rate(by=["day"])`: a time bucket, `success_rate`, and the counts of the failures. With a
            further dimension there is one rate for each group, and the failures are those of all groups.
        top: So many groups with most calls have a line; the figure says how many it leaves out.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.
        styles: Styles by name, where figures of different frames are to agree.

    Raises:
        UsageError: a column is missing; the message says how to get it.
    """
    how = "usage.success_rate(by=['day'])"
    columns = read(frame)
    need(columns, ["success_rate", *COUNTS.values()], how)
    rate = columns.measures["success_rate"]
    time, dimensions = roles(columns, rate, None)
    title = f"Success and failures {per(time)}"
    part = Facet(None, columns.rows)
    if not known([part], rate.name):
        return empty(title, theme)
    palette = styles or styles_for([part], dimensions, rate, columns.measures)
    panels = Panels(2, bucket(columns, time), columns, palette)
    groups = grouped(part.rows, dimensions, weight_of(rate, columns.measures))
    shown = heaviest(groups, top)
    if dimensions:
        abbreviate(shown)
        lines(panels, 1, part, shown, rate)
    else:
        group = Group("success", "success rate", part.rows, short="success rate")
        lines(panels, 1, part, [group], rate, look.STATUS_STYLES["success"])
    counts = _failures(panels, part, time)
    left = left_out(columns.measures, TOLD)
    notes = [_rate_text(part, columns), counts, shown_text(len(groups), len(shown)), *panels.notes, left]
    figure = panels.dress()
    return finish(figure, title, notes, theme, 460 + legend_room(figure))


def _failures(panels: Panels, part: Facet, time: Dimension) -> str:
    """Draw the counts by status into the lower panel; how many there are, users' cancellations apart."""
    count = MEASURES["error_count"]
    groups = []
    for status in COUNTS:
        rows = [{time.name: row[time.name], count.name: row[COUNTS[status]]} for row in part.rows]
        word = wording.ENDED[status]
        groups.append(Group(status, word, rows, short=word))
    whole = [row for group in groups for row in group.rows]
    numbers = {group.name: total(group.rows, count.name) or 0 for group in groups}
    groups.sort(key=lambda group: -numbers[group.name])
    panels.stack(2, Facet(None, whole), groups, count, styles=look.STATUS_STYLES, title="Unsuccessful calls")
    cancelled = numbers.pop("cancelled")
    return f"{sum(numbers.values()):,} errors, {cancelled:,} cancelled by users"


def _rate_text(part: Facet, columns: Answer) -> str | None:
    if not {"calls", "success_count"} <= columns.measures.keys():
        return None
    calls, successes = total(part.rows, "calls"), total(part.rows, "success_count")
    return f"{wording.percent(successes / calls)} of {calls:,} calls succeeded" if calls else None
