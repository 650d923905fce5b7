"""What all figures share: titles, value axes, the time axis, the empty figure, rows with their label above the bar."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import plotly.graph_objects as go

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.measures import Dimension, Measure
from mofa_usage.plots.answers import Answer

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_DAY = 86_400_000.0
_WIDTHS = {"minute": 60_000.0, "hour": 3_600_000.0, "day": _DAY, "week": 7 * _DAY, "month": 28 * _DAY}

SUBTITLE_WIDTH = 50
"""Characters that fit beside each other at a width of 360 pixels."""


@dataclass(frozen=True, slots=True)
class BucketAxis:
    """A time bucket (or a cycle) as an axis: where its values stand and how they read.

    `width` is that of a period: milliseconds on a date axis, 1 on the axis of a cycle.
    """

    name: str
    zone: str | None = None

    @property
    def width(self) -> float:
        """Of one period: milliseconds, or 1 for a cycle; months differ, so it is that of the shortest."""
        return _WIDTHS.get(self.name, 1.0)

    def key(self, value: Any) -> Any:
        """The value so that different ones differ: in a zone, Python takes both 02:00 of an autumn night for equal."""
        return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value

    def local(self, key: Any) -> Any:
        """The value of a key: a date, a datetime in the zone, or the number of a cycle."""
        return key.astimezone(ZoneInfo(self.zone)) if isinstance(key, datetime) and self.zone else key

    def place(self, key: Any) -> Any:
        """The position on the axis: local wall-clock time (Plotly knows no zones), or the number of a cycle."""
        value = self.local(key)
        return value.replace(tzinfo=None) if isinstance(value, datetime) else value

    def text(self, key: Any) -> str:
        """The period in words, for hover texts; with its zone, so that the repeated autumn hour differs."""
        value = self.local(key)
        if self.name == "weekday":
            return WEEKDAYS[value - 1]
        if self.name == "hour_of_day":
            return f"{value:02d}:00-{value:02d}:59"
        if self.name == "month":
            return f"{value:%B %Y}"
        day = f"{value:%a} {value.day} {value:%b %Y}"
        if isinstance(value, datetime):
            return f"{day} {value:%H:%M %Z}".rstrip()
        return f"week of {day}" if self.name == "week" else day

    def gap(self, before: Any, after: Any) -> bool:
        """Whether at least one period is missing between two values."""
        if isinstance(after, date):
            distance: float = (after - before) / timedelta(milliseconds=1)
        else:
            distance = after - before
        return distance > 1.7 * self.width

    def axis(self, values: Sequence[Any]) -> dict[str, Any]:
        """Layout of the axis for these values (sorted, at least one): a lone period is not as wide as the figure."""
        if self.name == "weekday":
            return {"tickvals": list(range(1, 8)), "ticktext": WEEKDAYS, "range": [0.4, 7.6]}
        if self.name == "hour_of_day":
            ticks = list(range(0, 24, 3))
            return {
                "tickvals": ticks,
                "ticktext": [f"{hour:02d}" for hour in ticks],
                "range": [-0.7, 23.7],
                "title": {"text": "Hour of the day"},
            }
        places = [self.place(value) for value in values]
        count = len(set(places))
        pad = timedelta(milliseconds=self.width * max(0.7, (7 - count) / 2))
        axis: dict[str, Any] = {"type": "date", "range": [_shift(places[0], -pad), _shift(places[-1], pad)]}
        if count <= 5:
            axis["tickvals"] = sorted(set(places))
        if self.name in ("hour", "minute"):
            axis["title"] = {"text": f"Time ({self.zone or 'UTC'})"}
        if self.name == "month":
            axis["tickformat"] = "%b\n%Y"
        return axis


def _shift(place: date, by: timedelta) -> datetime:
    moment = place if isinstance(place, datetime) else datetime(place.year, place.month, place.day)
    return moment + by


def bucket(answer: Answer, time: Dimension) -> BucketAxis:
    """The axis of a time bucket or cycle; a Datetime column knows its zone."""
    return BucketAxis(time.name, answer.zones.get(time.name))


def value_axis(measure: Measure, largest: float, currency: str | None = None, title: str = "") -> dict[str, Any]:
    """Layout of an axis of values from 0 to about `largest`, with its unit."""
    name = title or measure.title
    if measure.kind == "rate":
        return {"title": {"text": name}, "tickformat": ".1~%", "rangemode": "tozero"}
    axis: dict[str, Any] = {"rangemode": "tozero", "title": {"text": name}}
    if measure.kind == "money":
        unit = wording.label_text(currency or "")
        axis["title"] = {"text": f"{name} ({unit})"}
        axis["tickprefix"] = "$" if currency == "USD" else ""
    elif not name.lower().endswith(measure.unit):
        axis["title"] = {"text": f"{name} ({measure.unit})"}
    if measure.kind == "count" and largest <= 6:
        axis["dtick"] = 1
    elif 0 < largest < 20:
        axis["tickformat"] = f",.{max(1, 2 - math.floor(math.log10(largest)))}~f"
    else:
        axis.update(exponentformat="B", separatethousands=True, minexponent=4)
    return axis


def logarithmic(smallest: float, largest: float) -> dict[str, Any]:
    """What makes an axis logarithmic; over less than three decades with ticks at 2 and 5 too."""
    return {"type": "log", "dtick": "D2" if largest < 300 * smallest else 1, "exponentformat": "B", "minexponent": 4}


def finish(figure: go.Figure, title: str, notes: Sequence[str | None], theme: look.Theme, height: float) -> go.Figure:
    """Give a figure its title, the notes as lines of a subtitle, its template and its height in pixels."""
    lines: list[str] = []
    for note in filter(None, notes):
        if lines and len(lines[-1]) + len(note) + 3 <= SUBTITLE_WIDTH:
            lines[-1] += f" · {note}"
        else:
            lines.append(note)
    if len(lines) == 1:  # Plotly sets a lone line lower than the first of two.
        lines.append("\u200b")
    height_of_lines = 17 * sum(line != "\u200b" for line in lines)
    figure.update_layout(
        template=look.template(theme),
        title={"text": title, "subtitle": {"text": "<br>".join(lines)}},
        margin_t=40 + height_of_lines + (6 if lines else 0),
        height=round(height + height_of_lines),
    )
    return figure


def empty(title: str, theme: look.Theme, why: str | None = None) -> go.Figure:
    """A figure that says that there is nothing to draw, and why."""
    figure = go.Figure()
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=why or "No calls in this period", x=0.5, y=0.5, xref="paper", yref="paper", font_size=14)
    return finish(figure, title, [], theme, 220)


def by_text(dimensions: Iterable[Dimension]) -> str:
    """`" by model"` for a title; empty without dimensions. Anybody may have written the name of a label or column."""
    names = [wording.label_text(entry.title) for entry in dimensions]
    return f" by {' and '.join(name if name.isupper() else name.lower() for name in names)}" if names else ""


def legend_room(figure: go.Figure) -> int:
    """Pixels for a legend below a figure 360 pixels wide, where two entries share a line if they are short."""
    names = [re.sub("&[a-z]+;", "&", trace.name or "") for trace in figure.data if trace.showlegend is not False]
    together = 2 if max(map(len, names), default=0) <= 13 else 1
    return 20 * math.ceil(len(names) / together) if len(names) > 1 else 0
