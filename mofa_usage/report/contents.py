"""What stands in a report: headline figures, pictures and tables, computed from a UsageFrame and written as text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import polars as pl
from plotly.graph_objects import Figure

from mofa_usage import plots, theme, wording
from mofa_usage.analysis import Breakdown
from mofa_usage.measures import DIMENSIONS, MEASURES, measure_of_column, money_columns
from mofa_usage.report.answers import Answers, answers
from mofa_usage.report.period import Span, Window

if TYPE_CHECKING:
    from mofa_usage.usage import UsageFrame

Mood: TypeAlias = Literal["good", "bad", "neutral"]

MOST_ROWS = 50
"""A table lists so many rows and says when there are more."""

HEADLINES: Mapping[str, Mood] = {
    "calls": "neutral",
    "success_rate": "good",
    "total_tokens": "neutral",
    "latency_p95": "bad",
    "ttft_p50": "bad",
    "token_rate_overall": "good",
}
"""The headline measures that are no money, and what it is when they grow."""

MONEY: Mapping[str, Mood] = {"cost": "neutral", "cost_per_call": "bad", "wasted_cost": "bad"}
"""The same of those that are money."""

OPTIONAL = {"priced_calls": "prices", "latency_calls": "latency", "ttft_calls": "time to first token"}
"""What a source may not record, by the measure that counts the calls which have it."""

UNPRICED = "A call without a price is unknown, not free."


@dataclass(frozen=True, slots=True)
class Tile:
    """A headline figure; `trend` is the change against the days before, `mood` whether that is good."""

    title: str
    value: str
    trend: str = ""
    mood: Mood = "neutral"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table; `color` is that of a dot before it."""

    text: str
    color: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first `names` columns are names, the others numbers; `total` are rows for all calls."""

    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    total: Sequence[Sequence[Cell]] = ()
    names: int = 1


@dataclass(frozen=True, slots=True)
class Section:
    """Figures under a heading; those of `wide` take the whole width of the page."""

    title: str
    wide: Sequence[Figure]
    narrow: Sequence[Figure]


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a report; without calls there is nothing but the empty fields."""

    span: Span | None = None
    window: Window | None = None
    calls: int = 0
    tiles: Sequence[Tile] = ()
    sections: Sequence[Section] = ()
    tables: Sequence[Table] = ()
    absent: Sequence[str] = field(default=())


def contents(usage: "UsageFrame", days: int | None) -> Contents:
    """Everything in the report of `usage`; `days` is the length of the period of the headline figures."""
    found = answers(usage, days)
    if found is None:
        return Contents()
    recorded = found["recorded"].row(0, named=True)
    styles = usage.styles("model_name") if "model_name" in usage.columns else {}
    return Contents(
        span=found.span,
        window=found.window,
        calls=recorded["calls"],
        tiles=list(_tiles(found)),
        sections=list(_sections(usage, found, recorded, styles)),
        tables=list(_tables(found, styles)),
        absent=list(_absent(recorded)),
    )


def _absent(recorded: Mapping[str, Any]) -> Iterator[str]:
    if "error_count" not in recorded:
        yield "outcomes"
    yield from (word for name, word in OPTIONAL.items() if not recorded.get(name))


# Headline figures -----------------------------------------------------------------------------------------------------


def _tiles(found: Answers) -> Iterator[Tile]:
    now, before = found["now"], found["before"] if found.window.before is not None else None
    plain, plain_before = (part.row(0, named=True) if part is not None else {} for part in (now, before))
    money, money_before = (_money(part) if part is not None else {} for part in (now, before))
    unsuccessful = f"{plain['error_count']:,} unsuccessful" if "error_count" in plain else ""
    yield _tile("calls", plain, plain_before, HEADLINES["calls"], "", note=unsuccessful)
    priced = f"{wording.percent(plain.get('coverage'))} of {plain['calls']:,} calls priced"
    for position, (currency, row) in enumerate(money.items()):
        note = "" if position else priced
        yield _tile("cost", row, money_before.get(currency, {}), MONEY["cost"], currency, note=note)
    for name in ("success_rate", "total_tokens"):
        if name in plain:
            note = _parts(plain) if name == "total_tokens" else ""
            yield _tile(name, plain, plain_before, HEADLINES[name], "", note=note)
    for name in ("latency_p95", "ttft_p50", "token_rate_overall"):
        if plain.get(name) is not None:
            yield _tile(name, plain, plain_before, HEADLINES[name], "")
    for currency, row in money.items():
        for name in ("cost_per_call", "wasted_cost"):
            if row.get(name) is not None:
                yield _tile(name, row, money_before.get(currency, {}), MONEY[name], currency)


def _parts(row: Mapping[str, Any]) -> str:
    """What the tokens are made of, as far as it is known."""
    parts = {"prompt_tokens": "prompt", "completion_tokens": "completion"}
    return " · ".join(f"{wording.compact(row[name])} {word}" for name, word in parts.items() if name in row)


def _money(answer: Breakdown) -> dict[str, dict[str, Any]]:
    """The headline measures that are money, by currency; none where no call has a price."""
    row = answer.row(0, named=True)
    columns = partial(money_columns, currencies=answer.currencies)
    return {
        currency: {name: row[column] for name in MONEY if (column := columns(name)[currency]) in row}
        for currency in answer.currencies
    }


def _tile(
    name: str, now: Mapping[str, Any], before: Mapping[str, Any], growing: Mood, currency: str, note: str = ""
) -> Tile:
    measure = MEASURES[name]
    value = wording.value_text(now[name], measure.kind, currency)
    if measure.kind == "tokens":
        value = wording.compact(now[name])
    trend, grows = _trend(now[name], before.get(name), measure.kind) if before else ("", None)
    mood: Mood = "neutral"
    if grows is not None and growing != "neutral":
        mood = "good" if grows == (growing == "good") else "bad"
    title = measure.title if len({currency, "", "USD"}) == 2 else f"{measure.title} ({currency})"
    return Tile(title, value, trend, mood, note)


def _trend(now: Any, before: Any, kind: str) -> tuple[str, bool | None]:
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


# Pictures -------------------------------------------------------------------------------------------------------------


def _sections(
    usage: "UsageFrame", found: Answers, recorded: Mapping[str, Any], styles: Mapping[str, theme.Style]
) -> Iterator[Section]:
    groups = [name for name in ("model_name", found.agent) if name]
    looks = {"model_name": styles}
    if recorded.get("priced_calls"):
        by = [plots.cost_by(found["cost", one], styles=looks.get(one)) for one in groups if ("cost", one) in found]
        yield Section("Cost", [plots.cost_over_time(found["cost", "time"], styles=styles)], by)
    volume = [plots.over_time(found["tokens", "time"], styles=styles)]
    if found.span.last - found.span.first >= timedelta(days=2):
        volume.append(plots.heatmap(found["week"]))
    yield Section("Volume", volume, [])
    if ("success", "time") in found:
        failed = [one for one in groups if ("success", one) in found] if recorded["error_count"] else []
        failures = [plots.failures_by(found["success", one]) for one in failed]
        yield Section("Reliability", [plots.success_over_time(found["success", "time"])], failures)
    over, by = list(_speed_over_time(found, recorded)), list(_speed_by_model(usage, found, recorded, styles))
    if over or by:
        yield Section("Speed", over, by)


def _speed_over_time(found: Answers, recorded: Mapping[str, Any]) -> Iterator[Figure]:
    if recorded.get("latency_calls"):
        yield plots.latency_over_time(found["latency", "time"])
    if recorded.get("ttft_calls"):
        yield plots.ttft_over_time(found["latency", "time"])


def _speed_by_model(
    usage: "UsageFrame", found: Answers, recorded: Mapping[str, Any], styles: Mapping[str, theme.Style]
) -> Iterator[Figure]:
    if ("latency", "model_name") in found:
        latency = found["latency", "model_name"]
        if recorded.get("latency_calls"):
            yield plots.latency_distribution(usage.distribution(by=["model_name"]), styles=styles)
            yield plots.latency_distribution(latency, styles=styles)
        if recorded.get("ttft_calls"):
            yield plots.ttft_distribution(latency, styles=styles)
    if ("rate", "model_name") in found:
        rates = found["rate", "model_name"]
        if rates["token_rate_p50"].is_not_null().any():
            yield plots.token_rate(rates, styles=styles)


# Tables ---------------------------------------------------------------------------------------------------------------


def _tables(found: Answers, styles: Mapping[str, theme.Style]) -> Iterator[Table]:
    if ("columns", "model_name") in found:
        yield _costs(found, "model_name", styles)
    if found.agent:
        yield _costs(found, found.agent, {})
    if ("failures",) in found and (failures := _failures(found["failures"])):
        yield failures


def _costs(found: Answers, dimension: str, styles: Mapping[str, theme.Style]) -> Table:
    """Money and more by a dimension, the dearest first; each currency has columns of its own."""
    frame, totals = found["columns", dimension], found["totals"]
    whole = totals.row(0, named=True)
    shown = [column for column in totals.columns if column != "currency" and whole[column] is not None]
    if len(totals.currencies) > 1:  # a page is not wide enough for every unit cost in every currency
        shown = [column for column in shown if not column.startswith("cost_per_1k_tokens")]
    currency = totals.currencies[0] if totals.currencies else ""

    def cells(row: Mapping[str, Any], name: str | None, label: str) -> list[Cell]:
        style = styles.get(str(name)) if name is not None else None
        line = [Cell(label, style.color if style else None)]
        for column in shown:
            line.append(Cell(_number(row, column, currency)))
            if _is_cost(column):
                line.append(Cell(_share(row[column], whole[column])))
        return line

    rows = [
        cells(row, row[dimension], "(none)" if row[dimension] is None else str(row[dimension]))
        for row in frame.head(MOST_ROWS).to_dicts()
    ]
    heads = [head for column in shown for head in ([_head(column), "Share"] if _is_cost(column) else [_head(column)])]
    title = DIMENSIONS[dimension].title
    notes = [_coverage(whole), f"The first {MOST_ROWS} of {len(frame):,} rows." if len(frame) > MOST_ROWS else ""]
    total = [cells(whole, None, "All calls")]
    return Table(f"By {title.lower()}", " ".join(filter(None, notes)), [title, *heads], rows, total)


def _is_cost(column: str) -> bool:
    return (measure_of_column(column) or ("", None))[0] == "cost"


def _head(column: str) -> str:
    """A column's heading, with the unit that its cells leave out."""
    name, currency = measure_of_column(column) or (column, None)
    if name == "coverage":
        return "Priced"
    title = f"{MEASURES[name].title} (tokens/s)" if MEASURES[name].kind == "tokens/s" else MEASURES[name].title
    return title if currency is None else f"{title} ({currency})"


def _number(row: Mapping[str, Any], column: str, currency: str) -> str:
    """The value of a column; money is in the currency of the column's name, else in the one of the answer."""
    name, own = measure_of_column(column) or (column, None)
    kind = MEASURES[name].kind
    if kind == "money" and row[column] is None and row.get("coverage"):
        return wording.count(None)  # it has a price, in another currency
    if kind == "tokens/s" and row[column] is not None:
        return f"{row[column]:,.1f}"
    return wording.value_text(row[column], "count" if kind == "tokens" else kind, own or currency)


def _coverage(whole: Mapping[str, Any]) -> str:
    if not whole.get("coverage"):
        return "None of the calls has a price, so their cost is unknown."
    part = f"{wording.percent(whole['coverage'])} of {whole['calls']:,} calls"
    return f"Costs are those of the {part} that have a price. {UNPRICED}"


def _share(cost: Decimal | None, whole: Decimal | None) -> str:
    return wording.count(None) if cost is None or not whole else wording.percent(float(cost) / float(whole))


def _failures(frame: Breakdown) -> Table | None:
    calls = int(frame["calls"].sum())
    failed = frame.filter(pl.col("status") != "success")
    count = int(failed["calls"].sum())
    if not count:
        return None
    spread = [name for name in ("models", "agents") if name in failed.columns]
    rows = [
        [
            Cell(row["status"].replace("_", " "), theme.STATUS_STYLES[row["status"]].color),
            Cell("(none)" if row["error_code"] is None else row["error_code"]),
            Cell(wording.count(row["calls"])),
            Cell(wording.percent(row["calls"] / count)),
            Cell(wording.percent(row["calls"] / calls)),
            *(Cell(wording.count(row[name])) for name in spread),
        ]
        for row in failed.head(MOST_ROWS).to_dicts()
    ]
    note = f"{count:,} of {calls:,} calls did not succeed."
    if len(failed) > MOST_ROWS:
        note += f" The first {MOST_ROWS} of {len(failed):,} rows."
    head = ["Status", "Error code", "Calls", "Of failures", "Of all calls", *(name.capitalize() for name in spread)]
    return Table("Failures", note, head, rows, names=2)
