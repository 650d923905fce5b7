"""The charts over time on the pages of single models and agents: numbers, and how the page draws them.

There are hundreds of them, of which a reader opens a few, so they are no figures of `mofa_usage.plots` (a hundred of
those take seconds and megabytes) but plain parts of what Plotly draws, with no text for each point. The page puts in
what they share: the periods along the axis, and the looks of the reader's theme.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mofa_usage import wording
from mofa_usage.measures import MEASURES, Measure, Roles
from mofa_usage.theme import PERCENTILE_STYLES, STATUS_STYLES, Style

HEIGHT, HEIGHT_OF_TWO = 320, 400
"""In pixels: of a chart of one panel, and of two."""

_PATTERN = {"fillmode": "overlay", "fgcolor": "#FFFFFF", "fgopacity": 0.75, "size": 6}

MANY = 60
"""From so many periods on bars have no lines between them and marks are small."""

_DURATIONS = {"latency": "Latency", "ttft": "Time to first token"}


@dataclass(frozen=True, slots=True)
class Timeline:
    """The periods of a report: their column's name, all of them in order, and where they stand on the axis."""

    bucket: str
    periods: pl.DataFrame

    @property
    def places(self) -> list[str]:
        """The beginnings of the periods, on the local clock."""
        column = self.periods[self.bucket]
        if isinstance(column.dtype, pl.Datetime):
            column = column.dt.replace_time_zone(None)
        return [place.isoformat() for place in column.to_list()]

    def values(self, answer: pl.DataFrame) -> pl.DataFrame:
        """The rows of an answer, one for each period; null where it has none."""
        return self.periods.join(answer, on=self.bucket, how="left", maintain_order="left")


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart without its periods; `parts` are the `data` and the `layout` of a Plotly figure."""

    title: str
    height: int
    parts: Mapping[str, Any]


def charts(timeline: Timeline, answer: pl.DataFrame, roles: Roles, style: Style) -> Iterator[Chart]:
    """What one model or agent costs (or how much it is called), how it ended, and how long it took, where it is known.

    `answer` has a row for each period with calls, `roles` are those of its columns; `style` is that of the name.
    """
    rows = timeline.values(answer)
    costs = [(column, entry) for column, entry in roles.measures.items() if entry.measure.name == "cost"]
    costly = [pair for pair in costs if rows[pair[0]].fill_null(0).ne(0).any()]
    for column, entry in costly:
        currency = entry.currency or roles.currencies[0]
        of = f" ({wording.label_text(currency)})" if len(costs) > 1 else ""
        yield _bars(f"Cost per {timeline.bucket}{of}", rows[column], entry.measure, style, currency)
    yield _bars(f"Calls per {timeline.bucket}", rows["calls"], MEASURES["calls"], style)
    if "success_rate" in rows.columns:
        yield _success(timeline, rows)
    for prefix, noun in _DURATIONS.items():
        words = [word for word in PERCENTILE_STYLES if f"{prefix}_{word}" in rows.columns]
        if any(rows[f"{prefix}_{word}"].is_not_null().any() for word in words):
            yield _percentiles(f"{noun} per {timeline.bucket}", rows, prefix, words)


def _bars(title: str, values: pl.Series, measure: Measure, style: Style, currency: str = "") -> Chart:
    unit = wording.label_text(currency)
    prefix = "$" if currency == "USD" else f"{unit} " if unit else ""
    axis = {"tickprefix": prefix, "title": {"text": measure.title}, **_from_zero(values)}
    form = f"{prefix}%{{y:,.4~r}}" if currency else "%{y:,}"
    trace = _trace("bar", measure.title, values, form, style)
    return _chart(title, HEIGHT, [trace], {"yaxis": axis, "showlegend": False})


def _success(timeline: Timeline, rows: pl.DataFrame) -> Chart:
    """The success rate above, and below it the calls that did not succeed, stacked by their status."""
    lowest: Any = rows["success_rate"].min()
    rate = _trace("scatter", "success rate", rows["success_rate"], "%{y:.1%}", STATUS_STYLES["success"])
    counts = [
        _trace("bar", word, rows[f"{status}_count"], "%{y:,}", STATUS_STYLES[status], "y2")
        for status, word in wording.ENDED.items()
        if rows[f"{status}_count"].sum()
    ]
    bottom = 0.9 if lowest is None or lowest == 1 else max(0.0, lowest - 0.12 * (1 - lowest))
    above = {"domain": [0.56, 1], "range": [bottom, 1.005], "tickformat": ".1~%", "title": {"text": "Success rate"}}
    stacked = rows.select(pl.sum_horizontal(f"{status}_count" for status in wording.ENDED)).to_series()
    below = {"domain": [0, 0.44], "title": {"text": "Unsuccessful"}, **_from_zero(stacked)}
    if not counts:
        return _chart(f"Success rate per {timeline.bucket}", HEIGHT, [rate], {"yaxis": {**above, "domain": [0, 1]}})
    layout = {"yaxis": above, "yaxis2": below, "xaxis": {"anchor": "y2"}, "showlegend": True}
    return _chart(f"Success and failures per {timeline.bucket}", HEIGHT_OF_TWO, [rate, *counts], layout)


def _from_zero(values: pl.Series) -> dict[str, Any]:
    """An axis of amounts; few calls are counted one by one."""
    largest: Any = values.max()
    counted = values.dtype.is_integer() and largest is not None and largest <= 6
    return {"rangemode": "tozero", "dtick": 1} if counted else {"rangemode": "tozero"}


def _percentiles(title: str, rows: pl.DataFrame, prefix: str, words: Sequence[str]) -> Chart:
    seconds = {word: rows[f"{prefix}_{word}"] / 1000 for word in words}
    traces = [_trace("scatter", word, seconds[word], "%{y:.3~r} s", PERCENTILE_STYLES[word]) for word in words]
    axis = {"rangemode": "tozero", "ticksuffix": " s", "title": {"text": "Seconds"}}
    return _chart(title, HEIGHT, traces[::-1], {"yaxis": axis, "showlegend": True})


def _trace(kind: str, name: str, values: pl.Series, form: str, style: Style, axis: str = "y") -> dict[str, Any]:
    marker: dict[str, Any] = {"color": style.color}
    trace: dict[str, Any] = {"type": kind, "name": name, "y": _short(values), "yaxis": axis, "marker": marker}
    trace["hovertemplate"] = f"<b>{name}</b><br>%{{x}}<br>{form}<extra></extra>"
    if kind == "bar":
        marker["pattern"] = {"shape": style.pattern, **_PATTERN}
        if len(values) > MANY:
            marker["line"] = {"width": 0}
    else:
        trace |= {"mode": "lines+markers", "connectgaps": False, "line": {"dash": style.dash, "width": 2}}
        marker["size"] = 5 if len(values) <= MANY else 3
    return trace


def _short(values: pl.Series) -> list[float | int | None]:
    """Numbers as a chart shows them: six digits are more than anybody sees."""
    if values.dtype.is_integer():
        return values.to_list()
    return values.cast(pl.Float64).round_sig_figs(6).to_list()


def _chart(title: str, height: int, data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> Chart:
    heading = {"title": {"text": title}, "margin": {"t": 44}, "height": height, **layout}
    return Chart(title, height, {"data": data, "layout": heading})
