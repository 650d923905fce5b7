"""Results as tables of a terminal."""

from calendar import day_name
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from mofa_usage.measures import DIMENSIONS, MEASURES
from mofa_usage.wording import compact, count, duration, money, percent

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mofa_usage.importing import ImportResult

__all__ = ["breakdown_table", "import_summary", "summary_panel"]

MEASURES_SHOWN = (
    "cost",
    "calls",
    "success_rate",
    "coverage",
    "cost_per_call",
    "total_tokens",
    "latency_p50",
    "latency_p95",
)
"""The columns of a breakdown; it is sorted by the first."""

_DROPPED_WHEN_NARROW = ("latency_p50", "cost_per_call", "total_tokens")
_MEASURE_WIDTH, _NAME_WIDTH = 10, 20  # columns of the terminal that they take about

_TITLES = {
    "success_rate": "success",
    "coverage": "priced",
    "cost_per_call": "per call",
    "total_tokens": "tokens",
    "latency_p50": "p50",
    "latency_p95": "p95",
}
_SHORTEST_NAME = 12


def summary_panel(rows: Sequence[Mapping[str, Any]], tz: str) -> "RenderableType":
    """The headline figures: `rows` are those of `summary`, one per currency."""
    return Group(*(part for row in rows for part in (_headline(row, tz, several=len(rows) > 1), "")))


def _headline(row: Mapping[str, Any], tz: str, *, several: bool) -> Table:
    period = f"{row['first_call']:%Y-%m-%d %H:%M} to {row['last_call']:%Y-%m-%d %H:%M} {tz}"
    currency = row["currency"]
    table = Table(
        title=Text(f"{period}, in {currency}" if several else period),
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    made_by = (f"{count(row[name])} {name if row[name] != 1 else name[:-1]}" for name in ("models", "agents", "users"))
    figures = {
        "calls": f"{count(row['calls'])}, {percent(row['success_rate'])} successful",
        "cost": _cost(row, currency),
        "tokens": _tokens(row),
        "latency": f"p50 {duration(row['latency_p50'])}, p95 {duration(row['latency_p95'])}",
        "first token": f"p50 {duration(row['ttft_p50'])}, p95 {duration(row['ttft_p95'])}",
        "made by": ", ".join(made_by),
    }
    for name, figure in figures.items():
        table.add_row(name, Text(figure))  # text, not markup: it holds the currency, which anybody may have written
    return table


def _cost(row: Mapping[str, Any], currency: str) -> str:
    if row["cost"] is None:
        return "unknown: no call has a price"
    text = money(row["cost"], currency)
    if row["coverage"] != 1:
        text += f" for {percent(row['coverage'])} of the calls, the others have no price"
    wasted = row["wasted_cost"]
    return f"{text}; {money(wasted, currency)} on calls that failed" if wasted else text


def _tokens(row: Mapping[str, Any]) -> str:
    text = f"{compact(row['prompt_tokens'])} prompt + {compact(row['completion_tokens'])} completion"
    if row["cached_tokens"] is not None:
        text += f", {percent(row['cache_hit_rate'])} of the prompts cached"
    return text


def breakdown_table(rows: Sequence[Mapping[str, Any]], by: Sequence[str], *, top: int, width: int) -> Table:
    """A breakdown by the dimensions `by`, at most `top` rows of it, for a terminal of `width` columns."""
    measures = list(MEASURES_SHOWN)
    for name in _DROPPED_WHEN_NARROW:
        if len(by) * _NAME_WIDTH + len(measures) * _MEASURE_WIDTH > width:
            measures.remove(name)
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    several = len({row["currency"] for row in rows}) > 1
    for name in by:
        table.add_column(DIMENSIONS[name].title, min_width=_SHORTEST_NAME, overflow="ellipsis", no_wrap=True)
    for name in measures:
        table.add_column(_TITLES.get(name, name), justify="right", no_wrap=True)
    for row in rows[:top]:
        names = (_name(row[name], name) for name in by)
        values = (_value(row, name, several=several) for name in measures)
        table.add_row(*map(Text, (*names, *values)))
    if len(rows) > top:
        table.caption = f"and {len(rows) - top:,} more; --top {len(rows)} shows all"
        table.caption_justify = "left"
    return table


def _name(value: object, dimension: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if dimension == "weekday" and isinstance(value, int):
        return day_name[value - 1]
    return str(value)


def _value(row: Mapping[str, Any], name: str, *, several: bool) -> str:
    value, kind = row[name], MEASURES[name].kind
    if kind == "money":
        if value is None:
            return "unknown" if name == "cost" else ""
        return money(value, row["currency"]) + (f" {row['currency']}" if several and row["currency"] == "USD" else "")
    shown = {"ms": duration, "rate": percent, "tokens": compact}.get(kind, count)
    return shown(value)


def import_summary(result: "ImportResult") -> "RenderableType":
    """What an import did, and why rows were refused."""
    first, *others = str(result).splitlines()
    notes = [line for line in others if not line.startswith("refused ")]
    parts: list[RenderableType] = [Text(first, style="bold"), *map(Text, notes)]
    if result.reasons:
        table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        unit = "rows" if result.format == "parquet" else "lines"
        for title in ("refused", "reason", unit, "for example"):
            table.add_column(title, justify="right" if title == "refused" else "left", overflow="fold")
        for reason in result.reasons:
            lines = ", ".join(map(str, reason.lines)) + (", ..." if reason.count > len(reason.lines) else "")
            example = reason.example if reason.example != reason.reason else ""
            table.add_row(count(reason.count), Text(reason.reason), lines, Text(example))
        parts += ["", table]
    return Group(*parts)
