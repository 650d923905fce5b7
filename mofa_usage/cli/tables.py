"""Results as tables of a terminal."""

from calendar import day_name
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from mofa_usage.measures import DIMENSIONS, MEASURES, dimension, measure_of_column, money_columns
from mofa_usage.wording import compact, count, duration, money, percent, shortened, visible

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

_DROPPED_WHEN_NARROW = ("latency_p50", "cost_per_call", "total_tokens", "latency_p95", "coverage", "success_rate")
_TITLES = {
    "success_rate": "success",
    "coverage": "priced",
    "cost_per_call": "per call",
    "total_tokens": "tokens",
    "latency_p50": "p50",
    "latency_p95": "p95",
}
_SHORTEST_NAME = 12
_GAP = 2  # between two columns: padding, and the place of a line


def summary_panel(figures: Mapping[str, Any], currencies: Sequence[str], tz: str) -> Table:
    """The headline figures: the row of `summary`, whose money is in these currencies."""
    period = f"{figures['first_call']:%Y-%m-%d %H:%M} to {figures['last_call']:%Y-%m-%d %H:%M} {tz}"
    table = Table(
        title=Text(period), title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    made_by = (
        f"{count(figures[name])} {name if figures[name] != 1 else name[:-1]}" for name in ("models", "agents", "users")
    )
    lines = {
        "calls": f"{count(figures['calls'])}, {percent(figures['success_rate'])} successful",
        "cost": _cost(figures, currencies),
        "tokens": _tokens(figures),
        "latency": f"p50 {duration(figures['latency_p50'])}, p95 {duration(figures['latency_p95'])}",
        "first token": f"p50 {duration(figures['ttft_p50'])}, p95 {duration(figures['ttft_p95'])}",
        "made by": ", ".join(made_by),
    }
    for name, line in lines.items():
        table.add_row(
            name, Text(visible(line))
        )  # text, not markup: it holds currencies, which anybody may have written
    return table


def _cost(figures: Mapping[str, Any], currencies: Sequence[str]) -> str:
    if not currencies:
        return "unknown: no call has a price"
    text = " and ".join(_amounts(figures, "cost", currencies).values())
    if figures["coverage"] != 1:
        text += f" for {percent(figures['coverage'])} of the calls, the others have no price"
    wasted = [amount for column, amount in _amounts(figures, "wasted_cost", currencies).items() if figures[column]]
    return f"{text}; {' and '.join(wasted)} on calls that were not successful" if wasted else text


def _amounts(figures: Mapping[str, Any], measure: str, currencies: Sequence[str]) -> dict[str, str]:
    """A measure of money in each currency, by its column."""
    columns = money_columns(measure, currencies)
    return {column: money(figures[column], currency) for currency, column in columns.items()}


def _tokens(figures: Mapping[str, Any]) -> str:
    text = f"{compact(figures['prompt_tokens'])} prompt + {compact(figures['completion_tokens'])} completion"
    if figures["cached_tokens"] is not None:
        text += f", {percent(figures['cache_hit_rate'])} of the prompts cached"
    return text


def breakdown_table(
    rows: Sequence[Mapping[str, Any]], by: Sequence[str], currencies: Sequence[str], *, top: int, width: int
) -> Table:
    """A breakdown by the dimensions `by`, at most `top` rows of it, for a terminal of `width` columns.

    Numbers are always whole. Names give way first, cut in their middle, down to a dozen characters; then columns do.
    """
    names = [[_name(row[name], name) for row in rows[:top]] for name in by]
    titles = [visible(dimension(name, further=by).title) for name in by]
    shortest = [
        min(_SHORTEST_NAME, max(map(len, (title, *column)))) + _GAP for title, column in zip(titles, names, strict=True)
    ]
    numbers = _numbers(rows[:top], currencies, width - sum(shortest))
    room = (width - sum(_width(column) for column in numbers)) // len(by) - _GAP
    labels = [shortened(column, max(room, _SHORTEST_NAME)) for column in names]
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title in titles:
        table.add_column(Text(title), no_wrap=True)
    for column in numbers:
        table.add_column(Text(column[0]), justify="right", no_wrap=True, min_width=_width(column) - _GAP)
    for number in range(len(rows[:top])):
        cells = [labels[place][column[number]] for place, column in enumerate(names)]
        table.add_row(*map(Text, (*cells, *(values[number + 1] for values in numbers))))
    if len(rows) > top:
        table.caption = f"and {len(rows) - top:,} more; --top {len(rows)} shows all"
        table.caption_justify = "left"
    return table


def _shortest(name: str, texts: Sequence[str]) -> int:
    """The least width of a column of names: times are never cut."""
    longest = max(map(len, texts))
    is_time = name in DIMENSIONS and DIMENSIONS[name].kind != "category"
    return (longest if is_time else min(_SHORTEST_NAME, longest)) + _GAP


def _numbers(rows: Sequence[Mapping[str, Any]], currencies: Sequence[str], width: int) -> list[list[str]]:
    """The columns of numbers that have room, as texts, each with its heading first."""
    shown = {measure: _measure(rows, measure, currencies) for measure in MEASURES_SHOWN}
    for measure in _DROPPED_WHEN_NARROW:
        if sum(_width(column) for columns in shown.values() for column in columns) > width:
            del shown[measure]
    return [column for columns in shown.values() for column in columns]


def _measure(rows: Sequence[Mapping[str, Any]], measure: str, currencies: Sequence[str]) -> list[list[str]]:
    """The columns of a measure: one, or for money one for each currency."""
    if MEASURES[measure].kind != "money" or not currencies:
        return [[_heading(measure), *(_value(row, measure, measure, None) for row in rows)]]
    return [
        [_heading(column), *(_value(row, measure, column, currency) for row in rows)]
        for currency, column in money_columns(measure, currencies).items()
    ]


def _width(column: Sequence[str]) -> int:
    return max(map(len, column)) + _GAP


def _heading(column: str) -> str:
    measure, currency = measure_of_column(column) or (column, None)
    title = _TITLES.get(measure, measure)
    return visible(f"{title} {currency}") if currency else title


def _name(value: object, name: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if name == "weekday" and isinstance(value, int):
        return day_name[value - 1]
    return visible(str(value))


def _value(row: Mapping[str, Any], measure: str, column: str, currency: str | None) -> str:
    value, kind = row[column], MEASURES[measure].kind
    if kind == "money":
        if value is None:
            return "unknown" if measure == "cost" and not row["coverage"] else ""
        return visible(money(value, currency or row["currency"]))
    shown = {"ms": duration, "rate": percent, "tokens": compact}.get(kind, count)
    return shown(value)


def import_summary(result: "ImportResult") -> "RenderableType":
    """What an import did, and why rows were refused."""
    notes = (Text(visible(note)) for note in (*result.notes(), *result.rejects_note()))
    parts: list[RenderableType] = [Text(result.headline, style="bold"), *notes]
    if result.reasons:
        table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for title in ("refused", "reason", "where", "for example"):
            table.add_column(title, justify="right" if title == "refused" else "left", overflow="fold")
        for reason in result.reasons:
            example = reason.example if reason.example != reason.reason else ""
            table.add_row(count(reason.count), *map(Text, map(visible, (reason.reason, reason.where, example))))
        parts += ["", table]
    return Group(*parts)
