"""What a notebook shows of a `UsageFrame`: a card with its headline figures.

It asks the analyses like anybody else, and shows what the columns that were loaded can answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Protocol

import polars as pl

from mofa_usage import wording
from mofa_usage.analysis import Breakdown
from mofa_usage.measures import MeasureName, measure, money_columns

__all__ = ["Shown", "card"]

_MODELS = 5
_WIDTH = 40

_KNOWN: dict[str, MeasureName] = {
    "prices": "coverage",
    "tokens": "token_coverage",
    "latencies": "latency_calls",
    "times to the first token": "ttft_calls",
}
"""What a source may not record, and the measure that says for how many calls it is known."""

_ORIGINS: dict[str, MeasureName] = {
    "by a price book": "computed_calls",
    "as an estimate": "estimated_calls",
    "converted": "converted_calls",
}
"""How a price may have come about that was not recorded as it is."""

_HEADLINES: tuple[MeasureName, ...] = (
    "calls",
    "success_rate",
    "cost",
    "priced_calls",
    *_ORIGINS.values(),
    *_KNOWN.values(),
)
"""What a card says of all calls, as far as they have the columns."""

# Colours are inherited, so the card suits light and dark notebooks.
_STYLE = (
    "display:inline-block;max-width:100%;border:1px solid color-mix(in srgb,currentColor 25%,transparent);"
    "border-radius:6px;padding:.6em 1em;font-size:.95em;line-height:1.45"
)
# Notebooks have styles of their own for the cells of tables; what stands here wins.
_CELL = "padding:.1em 1em .1em 0;text-align:left;vertical-align:top;background:none;line-height:1.45"
_LABEL = f"{_CELL};opacity:.7;font-weight:normal"
_VALUE = f"{_CELL};overflow-wrap:anywhere"


class Shown(Protocol):
    """What a card is made of: the questions that a `UsageFrame` answers."""

    tz: str

    @property
    def columns(self) -> list[str]:
        """The columns that there are."""
        ...

    def breakdown(self, by: str | tuple[str, ...], measures: tuple[str, ...]) -> Breakdown:
        """Measures by dimensions."""
        ...

    def __len__(self) -> int:
        """The number of calls."""
        ...


def card(usage: Shown, ends: tuple[int, int] | None) -> str:
    """The period, the number of calls, what they cost and which models they used, as HTML.

    `ends` are the first and the last instant of a call in microseconds, if that is known.
    """
    rows = "".join(
        f'<tr style="background:none"><th scope="row" style="{_LABEL}">{escape(label)}</th>'
        f'<td style="{_VALUE}">{escape(value)}</td></tr>'
        for label, value in _facts(usage, ends)
    )
    return f'<div style="{_STYLE}"><strong>Usage</strong><table style="border-collapse:collapse">{rows}</table></div>'


def _facts(usage: Shown, ends: tuple[int, int] | None) -> Iterator[tuple[str, str]]:
    columns = set(usage.columns)
    if not (calls := len(usage)):
        yield "Calls", wording.count(calls)
        return
    answered = tuple(name for name in _HEADLINES if set(measure(name).needs) <= columns)
    headlines = usage.breakdown((), answered)
    row = headlines.row(0, named=True)
    if ends is not None:
        yield "Period", _period(ends, usage.tz)
    successful = f", {wording.percent(row['success_rate'])} successful" if "success_rate" in row else ""
    yield "Calls", f"{wording.count(calls)}{successful}"
    if "coverage" in row:
        yield "Cost", _cost(row, headlines.currencies)
    if "model_name" in columns:
        yield "Models", _models(usage.breakdown("model_name", ("calls",)), calls)
    if unknown := list(_unknown(row)):
        yield "Not known", ", ".join(unknown)


def _unknown(row: Mapping[str, Any]) -> Iterator[str]:
    """What the calls do not tell, so that nobody looks for it in empty pictures."""
    for word, name in _KNOWN.items():
        known = row.get(name, 0)
        share = known / row["calls"] if isinstance(known, int) else known
        if not share:
            yield word
        elif share < 1 and name != "ttft_calls":  # only streamed calls have one
            yield f"{word} of {wording.percent(1 - share)} of the calls"


def _period(ends: tuple[int, int], tz: str) -> str:
    instants = pl.Series(ends, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    first, last = instants.dt.convert_time_zone(tz).dt.strftime("%Y-%m-%d %H:%M")
    return f"{first} to {last} ({tz})"


def _cost(row: Mapping[str, Any], currencies: Sequence[str]) -> str:
    columns = money_columns("cost", currencies)
    amounts = [wording.money(row[column], currency) for currency, column in columns.items()]
    counts = {said: row.get(name) for said, name in _ORIGINS.items()}
    origins = "".join(
        f", {wording.percent(count / row['priced_calls'])} {said}" for said, count in counts.items() if count
    )
    return (
        f"{' and '.join(amounts) or 'unknown'}; {wording.percent(row['coverage'])} of the calls have a price{origins}"
    )


def _models(models: Breakdown, calls: int) -> str:
    top = [
        f"{wording.shorten(name, _WIDTH) if name is not None else 'none'} {wording.percent(count / calls)}"
        for name, count in models.head(_MODELS).select("model_name", "calls").iter_rows()
    ]
    more = models.height - len(top)
    return ", ".join([*top, *([f"{more} more"] if more else [])])
