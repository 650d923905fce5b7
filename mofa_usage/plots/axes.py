"""Axes: time in a zone with its periods and gaps, and values with their units, linear or logarithmic.

Plotly knows no zones and writes durations as numbers. So a time bucket stands at its wall-clock time, and where the
clock changes within the figure, at the time since then that has really passed: the hour that autumn repeats has two
places, and the one that spring leaves out has none. Durations have ticks that say "500 ms", "2 s", "1 min".
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from mofa_usage import wording
from mofa_usage.measures import Dimension, Measure
from mofa_usage.plots.answers import Answer

_DAY = 86_400_000.0
_WIDTHS = {"minute": 60_000.0, "hour": 3_600_000.0, "day": _DAY, "week": 7 * _DAY, "month": 28 * _DAY}

TICKS = 7
"""So many ticks fit beside each other at 390 pixels."""

# Time -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BucketAxis:
    """A time bucket (or a cycle) as an axis: where its values stand and how they read.

    `offset` is the distance to UTC at its beginning where the clock changes within it; elsewhere there is none.
    """

    name: str
    zone: str | None = None
    offset: timedelta | None = None

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
        """The position on the axis: a date, a time without a zone, or the number of a cycle."""
        if self.offset is not None:
            return (key + self.offset).replace(tzinfo=None)
        value = self.local(key)
        return value.replace(tzinfo=None) if isinstance(value, datetime) else value

    def text(self, key: Any) -> str:
        """The period in words, for hover texts; with its zone, so that the repeated autumn hour differs."""
        value = self.local(key)
        if self.name == "weekday":
            return wording.WEEKDAYS[value - 1]
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
        """Layout of the axis for these keys (sorted, at least one): a lone period is not as wide as the figure."""
        if self.name == "weekday":
            return {"tickvals": list(range(1, 8)), "ticktext": wording.WEEKDAYS, "range": [0.4, 7.6]}
        if self.name == "hour_of_day":
            ticks = list(range(0, 24, 3))
            return {"tickvals": ticks, "ticktext": [f"{hour:02d}:00" for hour in ticks], "range": [-0.7, 23.7]}
        places = [self.place(value) for value in values]
        count = len(set(places))
        pad = timedelta(milliseconds=self.width * max(0.7, (7 - count) / 2))
        axis: dict[str, Any] = {"type": "date", "range": [_shift(places[0], -pad), _shift(places[-1], pad)]}
        axis.update(self._ticks(values, sorted(set(places))))
        if self.name in ("hour", "minute"):
            axis["title"] = {"text": f"Time ({self.zone or 'UTC'})"}
        return axis

    def _ticks(self, values: Sequence[Any], places: Sequence[Any]) -> dict[str, Any]:
        if self.offset is None and len(places) <= TICKS - 1:
            form = {"month": "%b\n%Y", "week": "%b %-d\n%Y", "day": "%b %-d\n%Y"}.get(self.name)
            return {"tickvals": places, **({"tickformat": form} if form else {})}
        periods = (places[-1] - places[0]) / timedelta(milliseconds=self.width) + 1
        if self.name == "month":
            months = next(step for step in (1, 2, 3, 6, 12, 24, math.inf) if periods / step <= TICKS + 2)
            return {"dtick": f"M{months}", "tick0": "2000-01-01", "tickformat": "%b\n%Y"}
        if self.name == "week":
            weeks = next((step for step in (1, 2, 4, 8, 13, 26, 52) if periods / step <= TICKS), 104)
            # Whatever Monday: those on which the ticks fall.
            return {"dtick": weeks * 7 * _DAY, "tick0": _monday(places[0])}
        if self.name == "day" and periods <= 10 * TICKS:
            return {"dtick": (7 if periods <= 7 * TICKS else 14) * _DAY, "tick0": _monday(places[0])}
        if self.offset is not None:
            ticks = dict(self._local_ticks(values[0], values[-1]))
            return {"tickvals": list(ticks), "ticktext": list(ticks.values()), "tickangle": 0}
        return {}

    def _local_ticks(self, first: datetime, last: datetime) -> Iterator[tuple[datetime, str]]:
        """Places at full hours or days of the local clock, and what stands there."""
        minutes = (last - first) / timedelta(minutes=1)
        steps = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 14400)
        step = next((step for step in steps if minutes / step <= TICKS - 1), 43200)
        moment, day, before = first, None, None
        while moment <= last:
            local = self.local(moment)
            begun = local.hour * 60 + local.minute
            # Between both places of an hour that autumn repeats there is no room for two texts.
            apart = before is None or moment - before > timedelta(minutes=0.7 * step)
            if apart and begun % min(step, 1440) == 0 and local.toordinal() % max(1, step // 1440) == 0:
                written = f"{local.day} {local:%b}"
                clock = [f"{local:%H:%M}"] if step < 1440 else []
                yield self.place(moment), "<br>".join(clock + ([written] if written != day else []))
                day, before = written, moment
            moment += timedelta(minutes=min(step, 60))


def _monday(place: date) -> date:
    return place - timedelta(days=place.weekday())


def _shift(place: date, by: timedelta) -> datetime:
    moment = place if isinstance(place, datetime) else datetime(place.year, place.month, place.day)
    return moment + by


def bucket(answer: Answer, time: Dimension) -> BucketAxis:
    """The axis of a time bucket or cycle; a Datetime column knows its zone."""
    zone = answer.zones.get(time.name)
    values = (row[time.name] for row in answer.rows)
    moments = [value.astimezone(ZoneInfo(zone)) for value in values if zone and isinstance(value, datetime)]
    if len({moment.utcoffset() for moment in moments}) < 2:
        return BucketAxis(time.name, zone)
    return BucketAxis(time.name, zone, min(moments, key=lambda moment: moment.astimezone(UTC)).utcoffset())


# Values ---------------------------------------------------------------------------------------------------------------

FLATTENED = 20
"""An axis of lines is logarithmic where the largest value is more than so many times the median of them."""

_SECOND, _MINUTE, _HOUR = 1000, 60_000, 3_600_000
_NICE = [
    *(digit * power for power in (0.001, 0.01, 0.1, 1, 10, 100) for digit in (1, 2, 5)),
    *(number * _SECOND for number in (1, 2, 5, 10, 20, 30)),
    *(number * _MINUTE for number in (1, 2, 5, 10, 20, 30)),
    *(number * _HOUR for number in (1, 2, 5, 10, 24, 48, 120, 240, 480, 1200, 2400)),
]
_POWERS = [
    *(10.0**power for power in range(-3, 3)),
    *(_SECOND, 10 * _SECOND, _MINUTE, 10 * _MINUTE, _HOUR, 10 * _HOUR, 100 * _HOUR, 1000 * _HOUR),
]


def value_axis(measure: Measure, largest: float, currency: str | None = None, title: str = "") -> dict[str, Any]:
    """Layout of an axis of values from 0 to about `largest`, with its unit; `title` in place of the measure's."""
    name, code = title or measure.title, wording.label_text(currency or "")
    axis: dict[str, Any] = {"rangemode": "tozero", "title": {"text": f"{name} ({code})" if code else name}}
    if measure.kind == "rate":
        axis["tickformat"] = ".1~%"
        if 0 < largest <= 1:
            axis["range"] = [0, min(1.03, largest * 1.08)]
    elif measure.kind == "ms":
        axis.update(_duration_ticks(largest))
    elif measure.kind == "money":
        axis["tickprefix"] = "$" if currency == "USD" else f"{code} " if 0 < len(code) <= 3 else ""
        axis.update(_number_format(largest, 2))
    else:
        if measure.unit.lower() not in name.lower():
            axis["title"] = {"text": f"{name} ({measure.unit})"}
        whole = measure.kind in ("count", "tokens") and not measure.unit.endswith("/s")
        axis.update({"dtick": 1} if whole and largest <= 6 else _number_format(largest, 0))
    return axis


def _number_format(largest: float, least: int) -> dict[str, Any]:
    """How ticks are written: below 20 with at least so many decimals, where they are fractions, else with k, M, B."""
    if not 0 < largest < 20:
        return {"exponentformat": "B", "separatethousands": True, "minexponent": 4}
    if largest > 5:
        return {"tickformat": ",~f"}
    digits = max(1, 2 - math.floor(math.log10(largest)))
    return {"tickformat": f",.{least}f" if digits <= least else f",.{digits}~f"}


def _duration_ticks(largest: float) -> dict[str, Any]:
    step = next((step for step in _NICE if largest / step <= TICKS - 1), _NICE[-1])
    return _ticks([step * number for number in range(int(largest / step) + 3)], step)


def _ticks(values: Sequence[float], step: float | None = None) -> dict[str, Any]:
    return {"tickvals": list(values), "ticktext": [_duration(value, step or value) for value in values]}


def _duration(milliseconds: float, unit_of: float) -> str:
    """`500 ms`, `2.5 s`, `1 min`, in the unit in which `unit_of` is a whole number."""
    units = ((_HOUR, "h"), (_MINUTE, "min"), (_SECOND, "s"), (1, "ms"))
    size, unit = next(((size, unit) for size, unit in units if unit_of >= size), (1, "ms"))
    if unit == "ms" and milliseconds >= _SECOND:
        size, unit = _SECOND, "s"
    return f"{milliseconds / size:g} {unit}" if milliseconds else "0"


def line_axis(measure: Measure, values: Iterable[Any], currency: str | None = None, title: str = "") -> dict[str, Any]:
    """Layout of an axis of lines or marks, which need not begin at 0.

    It is logarithmic where one value would flatten all others, and says so. Rates that are all high are seen from near.
    """
    known = [float(value) for value in values if value is not None]
    largest, least = max(known, default=0.0), min(known, default=0.0)
    axis = value_axis(measure, largest, currency, title)
    if measure.kind == "rate":
        if 0 < least <= largest <= 1 and median(known) > 0.5:
            axis["range"] = [max(0.0, least - 0.12 * (1 - least)) if least < 1 else 0.9, 1 + 0.04 * min(1 - least, 0.1)]
    elif least > 0 and largest > FLATTENED * median(known):
        axis["title"] = {"text": f"{axis['title']['text']}, log scale"}
        axis.update(logarithmic(measure, least, largest, currency))
    return axis


def logarithmic(measure: Measure, least: float, largest: float, currency: str | None = None) -> dict[str, Any]:
    """What makes an axis logarithmic between two values above 0, to be added to a `value_axis`."""
    axis: dict[str, Any] = {"type": "log", "range": [math.log10(least) - 0.08, math.log10(largest) + 0.08]}
    if measure.kind == "ms":
        fitting = [value for value in _NICE if least / 1.2 <= value <= largest * 1.2]
        powers_only = len(fitting) > TICKS + 2
        shown = [v for v in _POWERS if least / 1.2 <= v] if powers_only else _apart(fitting, axis["range"])
        return axis | _ticks(shown)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(largest))
    every = [digit * Decimal(10) ** power for power in range(low, high + 1) for digit in (1, 2, 5)]
    inside = [value for value in every if least / 1.2 <= value <= largest * 1.2]
    powers = [value for value in inside if value.scaleb(-value.adjusted()) == 1]
    ticks = inside if len(inside) <= TICKS + 2 else powers[:: math.ceil(len(powers) / (TICKS + 1))]
    texts = [_number(tick, measure, currency) for tick in ticks]
    return axis | {"tickvals": [float(tick) for tick in ticks], "ticktext": texts, "tickformat": None, "dtick": None}


def _apart(values: Sequence[float], ends: Sequence[float]) -> list[float]:
    """The ticks whose texts do not touch at 390 pixels: after 20 s there may be no room for 30 s."""
    found: list[float] = []
    for value in values:
        if not found or math.log10(value / found[-1]) >= (ends[1] - ends[0]) / 10:
            found.append(value)
    return found


def _number(value: Decimal, measure: Measure, currency: str | None) -> str:
    """A power of ten, or twice or five times one, in short: `$0.001`, `20k`."""
    sign = f"{wording.label_text(currency or '')} " if currency != "USD" else "$"
    power = next((power for power in (3, 2, 1) if value >= 1000**power), 0)
    text = f"{float(value / 1000**power):g}{('', 'k', 'M', 'B')[power]}" if value >= 1 else f"{value.normalize():f}"
    return f"{sign if measure.kind == 'money' else ''}{text}".strip()
