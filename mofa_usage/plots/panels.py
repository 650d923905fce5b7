"""Panels above each other on one time axis: the drawing behind every figure along time."""

from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

from mofa_usage import theme as look
from mofa_usage import wording
from mofa_usage.errors import UsageError
from mofa_usage.measures import Measure, Ratio
from mofa_usage.plots.answers import ALL_LABEL, Answer, Facet, Group, Row, Styles, details, merged, total
from mofa_usage.plots.axes import BucketAxis, value_axis
from mofa_usage.plots.intervals import band, interval_words, is_unsure
from mofa_usage.plots.layout import empty_panels

MANY = 60
"""From so many periods on bars have no separating lines and points are small; they would be most of what is seen."""


FEW = 20
"""A rate of fewer calls may be anything: its mark is hollow."""


ABOVE = 1.3
"""How high a panel is above the highest of its named groups where what lies upon them is cut."""


class Panels:
    """A figure of `count` panels; `styles` are looked up by the groups' names, other measures fill the hover texts."""

    def __init__(self, count: int, axis: BucketAxis, columns: Answer, styles: Styles) -> None:
        self.figure = empty_panels(count, shared_xaxes=True, vertical_spacing=0.16 / count)
        self._axis = axis
        self._time = axis.name
        self._measures = columns.measures
        self._interval = columns.interval
        self._styles = styles
        self._values: set[Any] = set()
        self._listed: set[str] = set()
        self._count = count
        self._hollow = False
        self._banded: set[bool] = set()
        self._unsure = False
        self._cut: list[str] = []

    @property
    def notes(self) -> list[str]:
        """What a reader must know of marks and bars."""
        hollow = [f"hollow: fewer than {FEW} calls"] if self._hollow else []
        where = "bands" if True in self._banded else "in hover texts"
        few = ", where calls are enough" if self._unsure else ""
        return [*self._cut, *hollow, *([f"{where}: {self._interval}{few}"] if self._banded else [])]

    def stack(
        self,
        panel: int,
        part: Facet,
        groups: Sequence[Group],
        measure: Measure,
        *,
        styles: Styles | None = None,
        title: str = "",
    ) -> None:
        """A bar for each period, of the groups upon each other, the first at the bottom."""
        periods = self._by_period(part.rows)
        whole = {value: total(rows, measure.name) for value, rows in periods.items()}
        separated = {} if len(periods) <= MANY else {"line": {"width": 0}}
        for group in groups:
            rows = {value: merged(found, self._measures) for value, found in self._by_period(group.rows).items()}
            style = group.style(styles or self._styles)
            self.figure.add_trace(
                go.Bar(
                    x=[self._axis.place(value) for value in rows],
                    y=[None if row[measure.name] is None else float(row[measure.name]) for row in rows.values()],
                    width=self._axis.width * (0.84 if len(periods) <= MANY else 1),
                    marker={"color": style.color, "pattern": pattern(style), **separated},
                    hovertext=[
                        self._hover(group, value, row, measure, part.currency, whole[value])
                        for value, row in rows.items()
                    ],
                    hoverinfo="text",
                    **self._legend(group),
                ),
                row=panel,
                col=1,
            )
        largest = max((float(amount) for amount in whole.values() if amount is not None), default=0.0)
        self.figure.update_yaxes(value_axis(measure, largest, part.currency, title), row=panel, col=1)
        self._cut_rest(panel, part, groups, measure, largest)

    def _cut_rest(self, panel: int, part: Facet, groups: Sequence[Group], measure: Measure, largest: float) -> None:
        """Let the bars of the rest run out of a panel in which it would leave the named ones no height to be read."""
        named = [row for group in groups if not group.rest for row in group.rows]
        rest = [row for group in groups if group.rest for row in group.rows]
        highest = max((float(total(rows, measure.name) or 0) for rows in self._by_period(named).values()), default=0.0)
        whole, left = (float(total(rows, measure.name) or 0) for rows in (part.rows, rest))
        if left > whole / 2 and largest > highest * ABOVE > 0:
            axis = value_axis(measure, highest * ABOVE, part.currency)
            self.figure.update_yaxes(axis | {"range": [0, highest * ABOVE]}, row=panel, col=1)
            what = measure.title[:1].lower() + measure.title[1:]
            money = f" in {wording.label_text(part.currency)}" if part.currency and self._count > 1 else ""
            self._cut.append(f"other has {wording.percent(left / whole)} of {what}{money}, its bars are cut")

    def line(
        self,
        panel: int,
        group: Group,
        measure: Measure,
        *,
        style: look.Style | None = None,
        currency: str | None = None,
        is_banded: bool = False,
    ) -> None:
        """A line through the periods that has a break where a period is missing or has no value.

        With a band between the ends of the intervals, where the line has such and is to be `is_banded`.
        """
        style = style or group.style(self._styles)
        periods = self._by_period(group.rows)
        places: list[Any] = []
        values: list[float | None] = []
        texts: list[str] = []
        symbols: list[str] = []
        drawn: list[Row | None] = []
        last = None
        for value, rows in periods.items():
            if len(rows) > 1:
                raise UsageError(
                    f"{measure.title} does not add up, but the frame has {len(rows)} rows for {group.label!r} in "
                    f"{self._axis.text(value)}. Ask for it by=['{self._time}'] and the dimension to be drawn only"
                )
            if last is not None and self._axis.gap(last, value):
                places, values, texts = [*places, self._axis.place(last)], [*values, None], [*texts, ""]
                symbols.append(style.symbol)
                drawn.append(None)
            number = rows[0][measure.name]
            places.append(self._axis.place(value))
            values.append(None if number is None else float(number))
            texts.append(self._hover(group, value, rows[0], measure, currency, None))
            few = number is not None and of_few(measure, rows[0])
            symbols.append(f"{style.symbol}-open" if few else style.symbol)
            self._hollow |= few
            drawn.append(rows[0])
            last = value
        legend = self._legend(group)
        between = band(places, drawn, measure.name, style)
        if between is not None:
            self._banded.add(is_banded)
        self._unsure |= any(row is not None and is_unsure(row, measure.name) for row in drawn)
        if between is not None and is_banded:
            between.update(legendgroup=legend["legendgroup"], showlegend=False)
            self.figure.add_trace(between, row=panel, col=1)
        self.figure.add_trace(
            go.Scatter(
                x=places, y=values, mode="lines+markers", connectgaps=False,
                line={"color": style.color, "dash": style.dash, "width": 2},
                marker={"color": style.color, "symbol": symbols, "size": 6 if len(periods) <= MANY else 3},
                hovertext=texts, hoverinfo="text", **legend,
            ),
            row=panel, col=1,
        )  # fmt: skip

    def scale(self, panel: int, axis: dict[str, Any]) -> None:
        """Set the axis of the values of a panel."""
        self.figure.update_yaxes(axis, row=panel, col=1)

    def dress(self) -> go.Figure:
        """Set the common time axis, labelled at the lowest panel."""
        if self._values:
            self.figure.update_xaxes({**self._axis.axis(sorted(self._values)), "title": None})
            self.figure.update_xaxes(self._axis.axis(sorted(self._values)), row=self._count, col=1)
        # All bands below all lines.
        self.figure.data = sorted(self.figure.data, key=lambda trace: trace.type != "scatter" or trace.fill is None)
        self.figure.update_layout(showlegend=len(self._listed) > 1)
        return self.figure

    def _by_period(self, rows: Iterable[Row]) -> dict[Any, list[Row]]:
        found: dict[Any, list[Row]] = {}
        for row in rows:
            if row[self._time] is not None:
                found.setdefault(self._axis.key(row[self._time]), []).append(row)
        self._values.update(found)
        return dict(sorted(found.items()))

    def _legend(self, group: Group) -> dict[str, Any]:
        key = f"{group.name is None}:{group.label if group.size == 1 else 'other'}"
        first = key not in self._listed
        if group.label != ALL_LABEL:
            self._listed.add(key)
        return {"name": group.short, "legendgroup": key, "showlegend": first and group.label != ALL_LABEL}

    def _hover(self, group: Group, value: Any, row: Row, measure: Measure, currency: str | None, whole: Any) -> str:
        code = wording.label_text(currency or "")
        amount = wording.value_text(row[measure.name], measure.kind, code) + interval_words(row, measure, code)
        if whole and row[measure.name] is not None:
            share = wording.percent(float(row[measure.name]) / float(whole))
            amount += f" · {share} of {wording.value_text(whole, measure.kind, code)}"
        lines = [f"<b>{wording.hover_text(group.label)}</b>", self._axis.text(value), f"{measure.title}: {amount}"]
        return "<br>".join(lines + details(row, self._measures, currency, skip=[measure.name]))


def of_few(measure: Measure, row: Row) -> bool:
    """Whether a value is a rate of the row's calls, and these are few; a share or a rate over several rows is not."""
    return measure.kind == "rate" and isinstance(measure.formula, Ratio) and (row.get("calls") or FEW) < FEW


def pattern(style: look.Style) -> dict[str, Any]:
    """Plotly's description of a bar's pattern: white over the hue, so that the hue stays."""
    if not style.pattern:
        return {}
    return {"shape": style.pattern, "fillmode": "overlay", "fgcolor": "#FFFFFF", "fgopacity": 0.75, "size": 6}
