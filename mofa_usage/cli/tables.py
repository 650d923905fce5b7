"""Results as tables of a terminal.

Numbers are always whole. Names give way first, cut in their middle, down to a dozen characters; then those columns do
that nobody asked for by name. What does not fit even so is a list of figures for each name instead of a table. What
the columns are, the roles of the answer say.
"""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from mofa_usage.cli.output import console
from mofa_usage.measures import Dimension, MeasureColumn, Roles, money_columns
from mofa_usage.wording import (
    between,
    compact,
    count,
    decimals,
    dimension_text,
    duration,
    interval_name,
    money,
    percent,
    shortened,
    visible,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mofa_usage.analysis import Breakdown
    from mofa_usage.importing import ImportResult
    from mofa_usage.measures import Roles

__all__ = ["breakdown_table", "import_summary", "list_table", "show_answer", "summary_panel"]

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
_PANEL = 50  # columns from which headline figures stand beside their names
_SHORTEST_NAME = 12
_GAP = 2  # between two columns: padding, and the place of a line


def summary_panel(figures: Mapping[str, Any], currencies: Sequence[str], tz: str, width: int, prices: str = "") -> Text:
    """The headline figures: the row of `summary`, whose money is in these currencies, for `width` columns.

    `prices` says which calls got a price from a price book.
    """
    period = f"{figures['first_call']:%Y-%m-%d %H:%M} to {figures['last_call']:%Y-%m-%d %H:%M} {tz}"
    made_by = (
        f"{count(figures[name])} {name if figures[name] != 1 else name[:-1]}" for name in ("models", "agents", "users")
    )
    lines = {
        "calls": f"{count(figures['calls'])}, {percent(figures['success_rate'])} successful",
        "cost": _cost(figures, currencies),
        **({"prices": prices} if prices else {}),
        "tokens": _tokens(figures),
        "latency": f"p50 {duration(figures['latency_p50'])}, p95 {duration(figures['latency_p95'])}",
        "first token": f"p50 {duration(figures['ttft_p50'])}, p95 {duration(figures['ttft_p95'])}",
        "made by": ", ".join(made_by),
    }
    parts: list[str | tuple[str, str]] = [("\n".join(_wrapped(period, width)), "bold")]
    indent = max(map(len, lines)) + _GAP if width >= _PANEL else _GAP
    for name, line in lines.items():
        first, *rest = _wrapped(visible(line), width - indent)  # it holds currencies, which anybody may have written
        beside = f"{name:<{indent}}" if width >= _PANEL else f"{name}\n{' ' * indent}"
        parts += ["\n", (beside, "dim"), first, *(f"\n{' ' * indent}{one}" for one in rest)]
    return Text.assemble(*parts, no_wrap=True, overflow="ignore")


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of so many columns, in which no word is broken, and so no number."""
    return wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]


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


def show_answer(
    answer: "Breakdown", said: str | None = None, *, note: str = "", droppable: Sequence[str] | None = None
) -> None:
    """Print what an answer says, or what somebody says of it, and below it its rows, if there are any.

    By default all measures but the first may give way, the last of them first.
    """
    shown = console()
    shown.print(Text(visible(answer.sentence if said is None else said)))
    if answer.height:
        gives_way = list(answer.roles.measures)[:0:-1] if droppable is None else droppable
        shown.print()
        shown.print(breakdown_table(answer, width=shown.width, note=note, droppable=gives_way))


def breakdown_table(
    answer: "Breakdown", *, width: int, note: str = "", droppable: Sequence[str] = _DROPPED_WHEN_NARROW
) -> "RenderableType":
    """The rows of an answer for a terminal of `width` columns, and a note below.

    `droppable` are measures that give way where the terminal is narrow, the first of them first.
    """
    rows, roles = answer.to_dicts(), answer.roles
    names = {
        name: [visible(entry.title), *(visible(_name(row[name], entry, roles)) for row in rows)]
        for name, entry in roles.dimensions.items()
    }
    numbers = _numbers(rows, roles)
    cut = [name for name in names if roles.dimensions[name].kind == "category"]
    least = sum(min(_SHORTEST_NAME, _width(texts)) if name in cut else _width(texts) for name, texts in names.items())
    least += _GAP * len(names)
    for dropped in droppable:
        if least + sum(_width(texts) + _GAP for texts in numbers.values()) > width:
            numbers = {name: texts for name, texts in numbers.items() if roles.measures[name].measure.name != dropped}
    room = width - sum(_width(texts) + _GAP for texts in numbers.values()) - _GAP * len(names)
    labels = _fitted(names, cut, max(room, least - _GAP * len(names)))
    fits = sum(_width(texts) + _GAP for texts in (*labels.values(), *numbers.values())) <= width + _GAP
    table = _table(labels, numbers) if fits else _blocks(names, numbers, width)
    return Group(table, *([Text(note, style="italic")] if note else []))


def _numbers(rows: Sequence[Mapping[str, Any]], roles: "Roles") -> dict[str, list[str]]:
    """The columns of numbers as texts, their headings first; an interval stands behind the value that it is of."""
    ends = {end for interval in roles.intervals.values() for end in interval}
    found = {name: _measure(name, column, rows) for name, column in roles.measures.items() if name not in ends}
    for name, (low, high) in roles.intervals.items():
        texts = [interval_name(roles.level)]
        for row in rows:
            known = (None if row[end] is None else _value(row, end, roles.measures[end]) for end in (low, high))
            texts.append(between(*known) or count(None))
        value, interval = _width(found[name]), _width(texts)
        pairs = zip(found[name], texts, strict=True)
        found[name] = [f"{text:>{value}}{'':{_GAP}}{beside:>{interval}}" for text, beside in pairs]
    return found


def _name(value: object, entry: Dimension, roles: Roles) -> str:
    return "" if value is None and roles.of_slices else dimension_text(value, entry)


def _fitted(names: Mapping[str, list[str]], cut: Sequence[str], room: int) -> dict[str, list[str]]:
    """The columns of names, those of `cut` made narrower, the widest first, until all of them fit."""
    widths = {name: _width(texts) for name, texts in names.items()}
    while sum(widths.values()) > room:
        widest = max(cut, key=lambda name: widths[name], default=None)
        if widest is None or widths[widest] <= _SHORTEST_NAME:
            break
        widths[widest] -= 1
    return {name: _cut(texts, widths[name]) for name, texts in names.items()}


def _cut(texts: list[str], width: int) -> list[str]:
    """Texts in so many columns of a terminal; letters that take two are counted as such."""
    for letters in range(width, 0, -1):
        labels = shortened(texts, letters)
        if max(map(cell_len, labels.values()), default=0) <= width:
            return [labels[text] for text in texts]
    return texts


def _table(labels: Mapping[str, list[str]], numbers: Mapping[str, list[str]]) -> Table:
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for texts in labels.values():
        table.add_column(Text(texts[0]), no_wrap=True, min_width=_width(texts))
    for texts in numbers.values():
        table.add_column(Text(texts[0]), justify="right", no_wrap=True, min_width=_width(texts))
    for cells in zip(*(texts[1:] for texts in (*labels.values(), *numbers.values())), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _blocks(names: Mapping[str, list[str]], numbers: Mapping[str, list[str]], width: int) -> Text:
    """For each row its names, and below them the figures."""
    heads = max((cell_len(texts[0]) for texts in numbers.values()), default=0)
    values = max((_width(texts[1:]) for texts in numbers.values()), default=0)
    is_beside = 2 * _GAP + heads + values <= width
    lines: list[str] = []
    for row in range(1, max((len(texts) for texts in (*names.values(), *numbers.values())), default=1)):
        lines += [_cut([texts[row]], width)[0] for texts in names.values()]
        for texts in numbers.values():
            lines += [f"  {texts[0]:<{heads}}  {texts[row]}"] if is_beside else [f"  {texts[0]}", f"    {texts[row]}"]
    return Text("\n".join(lines), no_wrap=True, overflow="ignore")


def _measure(name: str, column: MeasureColumn, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A column of numbers as texts, its heading first."""
    title = _TITLES.get(column.measure.name, column.measure.name)
    head = visible(f"{title} {column.currency}" if column.currency else title)
    return [head, *(_value(row, name, column) for row in rows)]


def _width(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts), default=0)


def _value(row: Mapping[str, Any], name: str, column: MeasureColumn) -> str:
    value, measure = row[name], column.measure
    if measure.kind == "money":
        if value is None:
            has_none = row.get("coverage", None if column.currency else 0) == 0  # and not only none in this currency
            return "unknown" if measure.name == "cost" and has_none else ""
        return visible(money(value, column.currency or row.get("currency") or ""))
    if measure.kind == "tokens/s":
        return "" if value is None else decimals(value, 1)
    if measure.kind == "count" and isinstance(value, float) and not value.is_integer():
        return decimals(value)
    shown = {"ms": duration, "rate": percent, "tokens": compact}.get(measure.kind, count)
    return shown(value)


def list_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> Table:
    """Texts in columns, those of `numbers` right; long ones are folded."""
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for title in columns:
        is_number = title in numbers
        table.add_column(title, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*map(Text, map(visible, row)))
    return table


def import_summary(result: "ImportResult") -> "RenderableType":
    """What an import did, and why rows were refused."""
    notes = (Text(visible(note)) for note in (*result.notes(), *result.rejects_note()))
    parts: list[RenderableType] = [Text(result.headline, style="bold"), *notes]
    if result.reasons:
        examples = (one.example if one.example != one.reason else "" for one in result.reasons)
        rows = [
            (count(one.count), one.reason, one.where, example)
            for one, example in zip(result.reasons, examples, strict=True)
        ]
        parts += ["", list_table(("refused", "reason", "where", "for example"), rows, ("refused",))]
    return Group(*parts)
