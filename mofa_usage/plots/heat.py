"""Heatmaps of time: hours and weekdays by each other or along a calendar. A cell without calls stays empty."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import plotly.graph_objects as go
import polars as pl

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import Measure
from mofa_usage.plots.answers import (
    Answer,
    Facet,
    Measures,
    Row,
    coverage,
    details,
    facets,
    hint,
    known,
    merged,
    read,
)
from mofa_usage.plots.axes import TICKS, line_axis, value_axis
from mofa_usage.plots.layout import empty, empty_panels, finish, left_out
from mofa_usage.plots.panels import FEW, MANY, of_few

GRIDS = (
    {"hour_of_day", "weekday"},
    {"day", "hour_of_day"},
    {"week", "hour_of_day"},
    {"month", "hour_of_day"},
    {"day", "weekday"},
    {"week", "weekday"},
    {"month", "weekday"},
)
"""Dimensions that make a grid together; `day` makes one alone, a calendar."""

MOST = 3
"""So many measures are drawn, below each other."""

WALL_WEEKS = 9
"""Up to so many weeks a calendar hangs like one on a wall, a row for each week; longer ones have a column for each."""

BELOW = 110
"""Pixels from the cells of a panel to those of the next: tick labels and the colour bar."""

_ABOUT: Mapping[str, tuple[str, ...]] = {
    "cost": ("cost",),
    "latency": ("latency_p95", "ttft_p95"),
    "token_rate": ("token_rate_p50",),
    "success_rate": ("success_rate",),
}
"""The measures that a question is about, the best first."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where rows of a frame stand: the labels of columns and rows, and (column, row) of a frame's row."""

    columns: Sequence[str]
    rows: Sequence[str]
    place: Callable[[Row], tuple[int, int]]
    name: Callable[[Row], str]
    cell: int
    written: bool = False


def heatmap(frame: pl.DataFrame, measure: str | None = None, *, theme: look.Theme | None = None) -> go.Figure:
    """How measures spread over the week (hour of the day by weekday), over hours or weekdays along time, or over days.

    A mark in a cell says that its rate is of few calls. Colours of what does not add up are logarithmic where one
    value would fade all others.

    Args:
        frame: `hour_of_day` and `weekday`, one of them and a `day`, `week` or `month`, or `day`; measures; `currency`
            for money (one panel each). Further dimensions are added up.
        measure: By default the one that the question was about; of another breakdown each, at most three, and of a
            frame that was written by hand the first.
        theme: "light" or "dark"; without one it is that of the notebook's page, and light elsewhere.

    Raises:
        UsageError: a column is missing, or several rows of a cell cannot be added up.
    """
    columns = read(frame)
    how = "usage.breakdown(by=['hour_of_day', 'weekday'], measures=['calls'])"
    every = [columns.measure(measure, how.replace("calls", measure))] if measure else _usual(columns)
    axes = next((axes for axes in GRIDS if axes <= columns.dimensions.keys()), {"day"})
    if not axes <= columns.dimensions.keys():
        raise UsageError(hint(columns, "hour_of_day and weekday, or day", how))
    shown = every[:MOST]
    title = f"{shown[0].title if len(shown) == 1 else 'Usage'} by {_words(axes)}"
    parts = [(one, part) for one in shown for part in facets(columns, one) if known([part], one.name)]
    if not parts:
        return empty(title, theme, f"{shown[0].title}: unknown for every call" if columns.rows else None)
    grids = [_grid(axes, part.rows) for _, part in parts]
    heights = [len(grid.rows) * grid.cell for grid in grids]
    inner = sum(heights) + BELOW * (len(parts) - 1)
    spacing = BELOW / inner if len(parts) > 1 else 0
    figure = empty_panels(len(parts), row_heights=heights, vertical_spacing=spacing)
    few = False
    for number, ((one, part), grid) in enumerate(zip(parts, grids, strict=True), 1):
        few |= _draw(figure, number, part, grid, one, columns.measures, inner)
    notes = [
        coverage(columns.rows, columns.measures) if any(one.kind == "money" for one, _ in parts) else None,
        left_out(columns.measures, [one.name for one in shown]),
        f"{MARK} fewer than {FEW} calls" if few else None,
    ]
    return finish(figure, title, notes, theme, inner + 125)


MARK = "•"
"""Stands in the cells of rates that are of few calls."""


def _usual(columns: Answer) -> list[Measure]:
    every = list(columns.measures.values())
    about = [columns.measures[name] for name in _ABOUT.get(columns.question, ()) if name in columns.measures]
    valued = [one for one in about if any(known([part], one.name) for part in facets(columns, one))]
    if about:
        return (valued or about)[:1]
    return every if columns.question == "breakdown" else every[:1]


def _words(axes: set[str]) -> str:
    words = {"hour_of_day": "hour", "day": "day", "week": "week", "month": "month", "weekday": "weekday"}
    if "day" in axes and "hour_of_day" not in axes:
        return "day"
    return " and ".join(word for name, word in words.items() if name in axes)


# Grids ----------------------------------------------------------------------------------------------------------------


def _grid(axes: set[str], rows: Sequence[Row]) -> Grid:
    if axes == {"hour_of_day", "weekday"}:
        return Grid(
            columns=_hours(),
            rows=wording.WEEKDAYS,
            place=lambda row: (row["hour_of_day"], row["weekday"] - 1),
            name=lambda row: f"{wording.WEEKDAYS[row['weekday'] - 1]} {_hour(row)}",
            cell=26,
        )
    if "day" in axes and "hour_of_day" not in axes:
        return _calendar([row["day"] for row in rows])
    time = next(name for name in ("day", "week", "month") if name in axes)
    periods = _periods(time, [row[time] for row in rows])
    places = {period: place for place, period in enumerate(periods)}
    if "hour_of_day" in axes:
        return Grid(
            columns=_dates(time, periods),
            rows=_hours(),
            place=lambda row: (places[row[time]], row["hour_of_day"]),
            name=lambda row: f"{_period(time, row[time])}, {_hour(row)}",
            cell=13,
        )
    return Grid(
        columns=_dates(time, periods),
        rows=wording.WEEKDAYS,
        place=lambda row: (places[row[time]], row["weekday"] - 1),
        name=lambda row: f"{wording.WEEKDAYS[row['weekday'] - 1]}, {_period(time, row[time])}",
        cell=26,
    )


def _hours() -> list[str]:
    return [f"{hour:02d}:00" if hour % 3 == 0 else "" for hour in range(24)]


def _hour(row: Row) -> str:
    return f"{row['hour_of_day']:02d}:00-{row['hour_of_day']:02d}:59"


def _periods(time: str, values: Sequence[date]) -> list[date]:
    """Every day, week or month from the first to the last, those without rows too."""
    found = [min(values)]
    while found[-1] < max(values):
        if time == "month":
            found.append((found[-1] + timedelta(days=31)).replace(day=1))
        else:
            found.append(found[-1] + timedelta(days=7 if time == "week" else 1))
    return found


def _dates(time: str, periods: Sequence[date]) -> list[str]:
    """A label for as many of the periods as fit beside each other."""
    step = math.ceil(len(periods) / TICKS)
    texts = [f"{period:%b %Y}" if time == "month" else f"{period.day} {period:%b}" for period in periods]
    return [text if number % step == 0 else "" for number, text in enumerate(texts)]


def _period(time: str, value: date) -> str:
    if time == "month":
        return f"{value:%B %Y}"
    return f"{'week of ' if time == 'week' else ''}{value:%a} {value.day} {value:%b %Y}"


def _calendar(days: Sequence[date]) -> Grid:
    first = min(days) - timedelta(days=min(days).weekday())
    mondays = [first + timedelta(weeks=week) for week in range((max(days) - first).days // 7 + 1)]

    def place(row: Row) -> tuple[int, int]:
        return (row["day"] - first).days // 7, row["day"].weekday()

    def name(row: Row) -> str:
        return _period("day", row["day"])

    if len(mondays) > WALL_WEEKS:
        return Grid([_month(monday) for monday in mondays], wording.WEEKDAYS, place, name, cell=24)
    weeks = [f"{monday.day} {monday:%b}" for monday in mondays]
    return Grid(wording.WEEKDAYS, weeks, lambda row: place(row)[::-1], name, cell=44, written=True)


def _month(monday: date) -> str:
    """The month that begins in this week, if any does; January with its year."""
    days = [monday + timedelta(days=day) for day in range(7)]
    begins = next((day for day in days if day.day == 1), None)
    if begins is None:
        return ""
    return f"{begins:%b<br>%Y}" if begins.month == 1 else f"{begins:%b}"


# Cells ----------------------------------------------------------------------------------------------------------------


def _draw(
    figure: go.Figure, number: int, part: Facet, grid: Grid, measure: Measure, measures: Measures, inner: int
) -> bool:
    """Draw the cells of a panel; whether any is of few calls."""
    cells: dict[tuple[int, int], list[Row]] = {}
    for row in part.rows:
        cells.setdefault(grid.place(row), []).append(row)
    values: list[list[float | None]] = [[None] * len(grid.columns) for _ in grid.rows]
    hover = [[""] * len(grid.columns) for _ in grid.rows]
    texts = [[""] * len(grid.columns) for _ in grid.rows]
    code = wording.label_text(part.currency or "")
    few = 0
    for (column, line), rows in cells.items():
        found = merged(rows, measures)
        if measure.name not in found:
            raise UsageError(
                f"{measure.title} does not add up, but {len(rows)} rows fall on {grid.name(rows[0])}. "
                "Ask for it by the dimensions of the grid only"
            )
        amount = found[measure.name]
        values[line][column] = None if amount is None else float(amount)
        lines = [f"<b>{grid.name(rows[0])}</b>", f"{measure.title}: {wording.value_text(amount, measure.kind, code)}"]
        hover[line][column] = "<br>".join(lines + details(found, measures, part.currency, skip=[measure.name]))
        if grid.written:
            texts[line][column] = f"<b>{rows[0]['day'].day}</b><br>{_short(amount, measure)}"
        if amount is not None and of_few(measure, found):
            texts[line][column] += f" {MARK}" if grid.written else MARK
            few += 1
    gap = 2 if len(grid.columns) <= MANY else 0.5 if len(grid.columns) <= 2 * MANY else 0
    figure.add_heatmap(
        **_colors(figure, number, values, measure, part.currency, inner),
        xgap=gap,
        ygap=min(gap, grid.cell / 13),
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        **({"text": texts, "texttemplate": "%{text}", "textfont": {"size": 10}} if grid.written or few else {}),
        row=number,
        col=1,
    )
    plain: Mapping[str, Any] = {"showgrid": False, "showline": False, "ticks": "", "fixedrange": True, "tickangle": 0}
    figure.update_xaxes(**_labelled(grid.columns), **plain, row=number, col=1)
    figure.update_yaxes(**_labelled(grid.rows), **plain, row=number, col=1)
    figure.update_yaxes(autorange="reversed", row=number, col=1)
    return few > 0


def _labelled(labels: Sequence[str]) -> dict[str, Any]:
    ticks = {place: label for place, label in enumerate(labels) if label}
    return {"tickvals": list(ticks), "ticktext": list(ticks.values())}


def _short(amount: Any, measure: Measure) -> str:
    if amount is None:
        return ""
    if measure.kind == "rate":
        return wording.percent(amount)
    if measure.kind == "ms":
        return wording.duration(amount)
    return wording.compact(amount) if amount >= 100 or measure.kind in ("count", "tokens") else f"{float(amount):.3g}"


def _colors(
    figure: go.Figure,
    number: int,
    values: list[list[float | None]],
    measure: Measure,
    currency: str | None,
    inner: int,
) -> dict[str, Any]:
    """Values as colours, with the bar that says which is which: the scale is that of an axis."""
    present = [value for line in values for value in line if value is not None]
    # What adds up differs from hour to hour by nature; a logarithm would hide it.
    axis = value_axis(measure, max(present), currency) if measure.additive else line_axis(measure, present, currency)
    least, largest = 0.0, max(present)
    if "range" in axis and measure.kind == "rate":
        least, largest = axis["range"][0], min(1.0, axis["range"][1])
    if axis.get("type") == "log":
        values = [[None if value is None else math.log10(value) for value in line] for line in values]
        least, largest = math.log10(min(present)), math.log10(max(present))
        axis.update(tickvals=[math.log10(tick) for tick in axis["tickvals"]])
    bar = {key: value for key, value in axis.items() if key not in ("rangemode", "range", "type", "title")}
    bottom = figure.layout[f"yaxis{'' if number == 1 else number}"].domain[0]
    place = {"x": 0, "xanchor": "left", "y": bottom - 36 / inner, "yanchor": "top"}
    title = {**axis["title"], "side": "top", "font": {"size": 11}}
    form = {"orientation": "h", "thickness": 8, "len": 1, "outlinewidth": 0, "nticks": 6}
    return {"z": values, "zmin": least, "zmax": largest, "colorbar": {**bar, **place, **form, "title": title}}
