"""The headline figures: what the whole period comes to, and beside it its last days with the change before them.

All three are answers of one row. What no call tells has no figure; where every call that has a price cost nothing, the
cost is "free" and there are no unit costs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from mofa_usage import wording
from mofa_usage.analysis import Breakdown
from mofa_usage.measures import Measure

Mood: TypeAlias = Literal["good", "bad", "neutral"]

GROWING: Mapping[str, Mood] = {
    "calls": "neutral",
    "cost": "neutral",
    "success_rate": "good",
    "total_tokens": "neutral",
    "latency_p95": "bad",
    "ttft_p50": "bad",
    "token_rate_overall": "good",
    "cost_per_call": "bad",
    "wasted_cost": "bad",
}
"""The headline measures, and what it is when they grow."""

FREE = "free"


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline figure of the whole period; `recent` is that of the last days, empty where there are none.

    `trend` is its change against the days before, `mood` whether that is good.
    """

    title: str
    value: str
    recent: str = ""
    trend: str = ""
    mood: Mood = "neutral"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one row of an answer: those that are no money by measure, money by currency and measure."""

    plain: Mapping[str, Any]
    money: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, answer: Breakdown | None) -> "Figures":
        """Those of an answer of at most one row; nothing where there is none."""
        if answer is None or not len(answer):
            return cls({}, {})
        row, roles = answer.row(0, named=True), answer.roles
        plain: dict[str, Any] = {}
        money: dict[str, dict[str, Any]] = {currency: {} for currency in roles.currencies}
        for column, entry in roles.measures.items():
            if entry.measure.kind != "money":
                plain[entry.measure.name] = row[column]
            elif currency := entry.currency or next(iter(roles.currencies), None):
                money[currency][entry.measure.name] = row[column]
        return cls(plain, {currency: found for currency, found in money.items() if found.get("cost") is not None})

    @property
    def costs(self) -> bool:
        """Whether a call has a price that is not 0."""
        return any(row["cost"] for row in self.money.values())

    @property
    def free(self) -> bool:
        """Whether every call that has a price cost nothing."""
        return bool(self.money) and not self.costs


def tiles(whole: Breakdown, now: Breakdown | None, before: Breakdown | None) -> Iterator[Tile]:
    """The tiles of three answers of one row each; `now` and `before` are None where there are no such days.

    An answer without a row is one without calls.
    """
    measures = {entry.measure.name: entry.measure for entry in whole.roles.measures.values()}
    every = Figures.of(whole)
    shown = _Shown(
        measures, every, Figures.of(now), Figures.of(before), has_now=now is not None, has_before=before is not None
    )
    plain, money = every.plain, every.money
    yield shown.tile("calls", note=f"{plain['error_count']:,} unsuccessful" if "error_count" in plain else "")
    priced = f"{wording.percent(plain.get('coverage'))} of {plain['calls']:,} calls priced"
    if every.free:
        yield Tile(measures["cost"].title, FREE, note=priced)
    else:
        for position, currency in enumerate(money):
            yield shown.tile("cost", currency, note="" if position else priced)
    for name in ("success_rate", "total_tokens", "latency_p95", "ttft_p50", "token_rate_overall"):
        if plain.get(name) is not None:
            yield shown.tile(name, note=_parts(plain) if name == "total_tokens" else "")
    for currency, row in money.items() if not every.free else ():
        for name in ("cost_per_call", "wasted_cost"):
            if row.get(name) is not None:
                yield shown.tile(name, currency)


@dataclass(frozen=True, slots=True)
class _Shown:
    """The figures of the three periods, as they are shown beside each other."""

    measures: Mapping[str, Measure]
    whole: Figures
    now: Figures
    before: Figures
    has_now: bool
    has_before: bool

    def tile(self, name: str, currency: str = "", note: str = "") -> Tile:
        """The tile of a measure, of one currency if it is money."""
        measure = self.measures[name]
        whole, now, before = (
            (part.money.get(currency, {}) if currency else part.plain).get(name)
            for part in (self.whole, self.now, self.before)
        )
        title = measure.title if currency in ("", "USD") else f"{measure.title} ({currency})"
        recent, trend, mood = self._recent(measure, now, before, currency)
        return Tile(title, _text(whole, measure, currency), recent, trend, mood, note)

    def _recent(self, measure: Measure, now: Any, before: Any, currency: str) -> tuple[str, str, Mood]:
        """The figure of the last days, its change, and whether that is good."""
        if not self.has_now:
            return "", "", "neutral"
        if not self.now.plain.get("calls"):
            return "no calls", "", "neutral"
        if currency and currency not in self.now.money:
            return "none" if self.now.money else wording.money(None, currency), "", "neutral"
        text = _text(now, measure, currency)
        if not self.has_before or (currency and currency not in self.before.money):
            return text, "", "neutral"
        change, grows = trend(now, before, measure.kind)
        growing = GROWING[measure.name]
        if grows is None or growing == "neutral":
            return text, change, "neutral"
        return text, change, "good" if grows == (growing == "good") else "bad"


def _text(value: Any, measure: Measure, currency: str) -> str:
    return wording.compact(value) if measure.kind == "tokens" else wording.value_text(value, measure.kind, currency)


def _parts(row: Mapping[str, Any]) -> str:
    """What the tokens are made of, as far as it is known."""
    parts = {"prompt_tokens": "prompt", "completion_tokens": "completion"}
    return " · ".join(f"{wording.compact(row[name])} {word}" for name, word in parts.items() if name in row)


def trend(now: Any, before: Any, kind: str) -> tuple[str, bool | None]:
    """The change as text, and whether it goes up; None when it neither goes up nor down."""
    if before is None or now is None:
        return "not known before" if before is None else "not known now", None
    if kind == "rate":
        points = round((now - before) * 100, 2)
        text = f"{abs(points):.2g} {'point' if abs(points) == 1 else 'points'}"
        return (f"{_arrow(points)} {text}", points > 0) if points else ("no change", None)
    if not before:
        return ("none before", None) if now else ("no change", None)
    change = float((Decimal(str(now)) - Decimal(str(before))) / Decimal(str(before)))
    if abs(change) < 0.0005:
        return "no change", None
    text = f"{1 + change:,.1f}x as much" if change > 9 else f"{_arrow(change)} {wording.percent(abs(change))}"
    return text, change > 0


def _arrow(change: float) -> str:
    return "▲" if change > 0 else "▼"
