"""Heatmaps of time: hours of the day by weekdays, and a calendar of days. A cell without calls stays empty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import Measure
from mofa_usage.plots.answers import Facet, Measures, Row, coverage, details, facets, hint, known, merged, read
from mofa_usage.plots.layout import WEEKDAYS, empty, finish, value_axis

WALL_WEEKS = 9
"""Up to so many weeks a calendar hangs like one on a wall, a row for each week; longer ones have a column for each."""

BELOW = 110
"""Pixels from the cells of a panel to those of the next: tick labels and the colour bar."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where rows of a frame stand: the labels of columns and rows, and (column, row) of a frame's row."""

    columns: Sequence[str]
    rows: Sequence[str]
    place: Callable[[Row], tuple[int, int]]
    name: Callable[[Row], str]
    cell: int
    written: bool = False


def heatmap(frame: pl.DataFrame, measure: str | None = None, *, theme: look.Theme = "light") -> go.Figure:
    """How a measure spreads over the week (hour of the day by weekday) or over the days of a calendar.

    Args:
        frame: `hour_of_day` and `weekday`, or `day`; measures; `currency` for money (one panel each). Further
            dimensions are added up.
        measure: By default the first of the frame.
        theme: "light" or "dark".

    Raises:
        UsageError: a column is missing, or several rows of a cell cannot be added up.
    """
    columns = read(frame)
    how = "usage.breakdown(by=['hour_of_day', 'weekday'], measures=['calls'])"
    chosen = columns.measure(measure, how.replace("calls", measure or ""))
    weekly = {"hour_of_day", "weekday"} <= columns.dimensions.keys()
    if not weekly and "day" not in columns.dimensions:
        raise UsageError(hint(columns, "hour_of_day and weekday, or day", how))
    title = f"{chosen.title} by {'hour and weekday' if weekly else 'day'}"
    parts = facets(columns, chosen)
    if not known(parts, chosen.name):
        return empty(title, theme, f"{chosen.title}: unknown for every call" if columns.rows else None)
    grids = [_week() if weekly else _calendar([row["day"] for row in part.rows]) for part in parts]
    heights = [len(grid.rows) * grid.cell for grid in grids]
    inner = sum(heights) + BELOW * (len(parts) - 1)
    spacing = BELOW / inner if len(parts) > 1 else 0
    figure = make_subplots(rows=len(parts), cols=1, row_heights=heights, vertical_spacing=spacing)
    for number, (part, grid) in enumerate(zip(parts, grids, strict=True), 1):
        _draw(figure, number, part, grid, chosen, columns.measures, inner)
    note = coverage(columns.rows, columns.measures) if chosen.kind == "money" else None
    return finish(figure, title, [note], theme, inner + 125)


def _week() -> Grid:
    return Grid(
        columns=[f"{hour:02d}" if hour % 3 == 0 else "" for hour in range(24)],
        rows=WEEKDAYS,
        place=lambda row: (row["hour_of_day"], row["weekday"] - 1),
        name=lambda row: f"{WEEKDAYS[row['weekday'] - 1]} {row['hour_of_day']:02d}:00-{row['hour_of_day']:02d}:59",
        cell=26,
    )


def _calendar(days: Sequence[date]) -> Grid:
    first = min(days) - timedelta(days=min(days).weekday())
    mondays = [first + timedelta(weeks=week) for week in range((max(days) - first).days // 7 + 1)]

    def place(row: Row) -> tuple[int, int]:
        return (row["day"] - first).days // 7, row["day"].weekday()

    def name(row: Row) -> str:
        return f"{row['day']:%a} {row['day'].day} {row['day']:%b %Y}"

    if len(mondays) > WALL_WEEKS:
        return Grid([_month(monday) for monday in mondays], WEEKDAYS, place, name, cell=24)
    weeks = [f"{monday.day} {monday:%b}" for monday in mondays]
    return Grid(WEEKDAYS, weeks, lambda row: place(row)[::-1], name, cell=44, written=True)


def _month(monday: date) -> str:
    """The month that begins in this week, if any does; January with its year."""
    for offset in range(7):
        day = monday + timedelta(days=offset)
        if day.day == 1:
            return f"{day:%b}" if day.month > 1 else f"{day:%b<br>%Y}"
    return ""


def _draw(
    figure: go.Figure, number: int, part: Facet, grid: Grid, measure: Measure, measures: Measures, inner: int
) -> None:
    cells: dict[tuple[int, int], list[Row]] = {}
    for row in part.rows:
        cells.setdefault(grid.place(row), []).append(row)
    values: list[list[float | None]] = [[None] * len(grid.columns) for _ in grid.rows]
    hover = [[""] * len(grid.columns) for _ in grid.rows]
    texts = [[""] * len(grid.columns) for _ in grid.rows]
    code = wording.label_text(part.currency or "")
    for (column, line), rows in cells.items():
        found = merged(rows, measures)
        if measure.name not in found:
            raise UsageError(f"{measure.title} does not add up, but {len(rows)} rows fall on {grid.name(rows[0])}")
        amount = found[measure.name]
        values[line][column] = None if amount is None else float(amount)
        lines = [f"<b>{grid.name(rows[0])}</b>", f"{measure.title}: {wording.value_text(amount, measure.kind, code)}"]
        hover[line][column] = "<br>".join(lines + details(found, measures, part.currency, skip=[measure.name]))
        if grid.written:
            texts[line][column] = f"<b>{rows[0]['day'].day}</b><br>{_short(amount, measure)}"
    figure.add_heatmap(
        z=values,
        xgap=2,
        ygap=2,
        zmin=0,
        zmax=max(value for line in values for value in line if value is not None),
        hovertext=hover,
        hoverinfo="text",
        hoverongaps=False,
        colorbar=_colorbar(figure, number, values, measure, part.currency, inner),
        **({"text": texts, "texttemplate": "%{text}", "textfont": {"size": 10}} if grid.written else {}),
        row=number,
        col=1,
    )
    plain: Mapping[str, Any] = {"showgrid": False, "showline": False, "ticks": "", "fixedrange": True, "tickangle": 0}
    figure.update_xaxes(tickvals=list(range(len(grid.columns))), ticktext=grid.columns, **plain, row=number, col=1)
    figure.update_yaxes(tickvals=list(range(len(grid.rows))), ticktext=grid.rows, **plain, row=number, col=1)
    figure.update_yaxes(autorange="reversed", row=number, col=1)


def _short(amount: Any, measure: Measure) -> str:
    if amount is None:
        return ""
    if measure.kind == "rate":
        return wording.percent(amount)
    if measure.kind == "ms":
        return wording.duration(amount)
    return wording.compact(amount) if amount >= 100 or measure.kind in ("count", "tokens") else f"{float(amount):.3g}"


def _colorbar(
    figure: go.Figure,
    number: int,
    values: Sequence[Sequence[float | None]],
    measure: Measure,
    currency: str | None,
    inner: int,
) -> dict[str, Any]:
    largest = max((value for line in values for value in line if value is not None), default=0.0)
    axis = value_axis(measure, largest, currency)
    axis.pop("rangemode")
    bottom = figure.layout[f"yaxis{'' if number == 1 else number}"].domain[0]
    return {
        **axis,
        "title": {**axis["title"], "side": "top", "font": {"size": 11}},
        "orientation": "h",
        "thickness": 8,
        "len": 1,
        "x": 0,
        "xanchor": "left",
        "y": bottom - 36 / inner,
        "yanchor": "top",
        "outlinewidth": 0,
        "nticks": 6,
    }
