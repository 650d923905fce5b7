"""The command `prices`: what a model costs, and prices for calls that were stored without."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mofa_usage.cli.options import Printed, Url, price_book
from mofa_usage.cli.output import complain, console, print_record, print_rows
from mofa_usage.cli.retention import existing
from mofa_usage.errors import UsageError

if TYPE_CHECKING:
    from mofa_usage.pricing import PriceBook
    from mofa_usage.pricing.quotes import Quote
    from mofa_usage.stores import BackfillResult

__all__ = ["prices"]

_TIERS = ("standard", "batch", "flex", "priority", "fast")
_PER = {"web_search": "search", "request": "request"}
_COLUMNS = ("tier", "kind", "above", "from_time", "price", "per", "currency", "exact", "source")
_MILLION = 1_000_000

Model = Annotated[str | None, typer.Argument(metavar="MODEL", help="The model, as calls name it.")]
On = Annotated[str | None, typer.Option("--on", metavar="DAY", help="The prices of this day (UTC), not of today.")]
Seller = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Who sells it: azure, openrouter, ...")]
Book = Annotated[
    str | None, typer.Option("--prices", metavar="list|FILE", help="A price file (TOML), asked before the list prices.")
]
Backfill = Annotated[bool, typer.Option("--backfill", help="Find prices for the calls of --url that have none.")]
Apply = Annotated[bool, typer.Option("--apply", help="Write them: without it, --backfill only says what it would do.")]


def prices(
    printed: Printed,
    model: Model = None,
    on: On = None,
    provider: Seller = None,
    book: Book = None,
    backfill: Backfill = False,
    apply: Apply = False,
    url: Url = None,
) -> None:
    """What a model costs, or with --backfill: prices for the calls that were stored without.

    Prices are those of the installed list, or of a price file before it. The exit code is 1 when no price is known.

    [bold]mofa-usage prices gpt-4o --on 2026-05-01[/bold]

    [bold]mofa-usage prices my-model --prices prices.toml --json[/bold]

    [bold]mofa-usage prices --backfill --url sqlite:usage.db[/bold]

    A backfill gives a call the price of its day, and never changes one that is there. Without --apply it only counts.
    """
    if backfill == (model is not None):
        raise UsageError("give a MODEL, whose prices are shown, or --backfill")
    if apply and not backfill:
        raise UsageError("--apply is for --backfill")
    if backfill:
        _backfill(price_book(book), existing(url), printed, apply=apply)
        return
    opened, named, day = price_book(book), model or "", _day(on)
    rows = [row for tier in _TIERS for row in _rows(opened, named, provider, tier, day)]
    if not rows:
        complain(f"there is no price for {model!r}: {opened.has_none}")
        raise typer.Exit(1)
    if printed.for_programs:
        print_rows(_COLUMNS, rows, printed)
    else:
        _show(named, day, rows)


def _day(on: str | None) -> date:
    try:
        return datetime.now(UTC).date() if on is None else date.fromisoformat(on)
    except ValueError as error:
        raise UsageError(f"--on = {on!r} is no day; write it as 2026-05-31") from error


def _rows(book: "PriceBook", model: str, provider: str | None, tier: str, day: date) -> Iterator[dict[str, Any]]:
    """The prices of a tier, where there are any of its own: a row for each kind, size of prompt and part of the day."""
    from mofa_usage.pricing.quotes import STANDARD_TIER, Question

    def question(at: datetime) -> Question:
        return Question(model, None, provider, tier, at)

    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    starts = sorted({midnight.time(), *book.changes(question(midnight))})
    for start in starts:
        quote = book.quote(question(datetime.combine(day, start, UTC)))
        if quote is None or (tier != STANDARD_TIER and not quote.is_exact):
            continue  # of other tiers the standard price is no price of their own
        for row in _prices(quote):
            yield {"tier": tier, "from_time": f"{start:%H:%M}" if len(starts) > 1 else None, **row}


def _prices(quote: "Quote") -> Iterator[dict[str, Any]]:
    for kind, rate in quote.rates.own.items():
        for above, price in reversed(rate):
            amount = price if kind not in _PER else price / _MILLION
            yield {
                "kind": kind,
                "above": above if above >= 0 else None,
                "price": _plain(amount),
                "per": _PER.get(kind, "million tokens"),
                "currency": quote.currency,
                "exact": quote.is_exact,
                "source": quote.source,
            }


def _plain(amount: Decimal) -> str:
    """Without zeros at the end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _show(model: str, day: date, rows: list[dict[str, Any]]) -> None:
    """A table of the prices, and where they are from."""
    from rich.text import Text

    from mofa_usage.cli.tables import list_table
    from mofa_usage.wording import visible

    shown = console()
    shown.print(Text(visible(f"{model} on {day}, {rows[0]['source']}"), style="bold"))
    heads = ("tier", "kind", "prompts above", "from (UTC)", "price", "per")
    cells = [
        (
            row["tier"],
            row["kind"].replace("_", " "),
            "" if row["above"] is None else f"{row['above']:,}",
            row["from_time"] or "",
            f"{row['price']} {row['currency']}",
            row["per"],
        )
        for row in rows
    ]
    filled = [place for place in range(len(heads)) if any(cell[place] for cell in cells)]
    shown.print(
        list_table(
            tuple(heads[place] for place in filled),
            [tuple(cell[place] for place in filled) for cell in cells],
            ("prompts above", "price"),
        )
    )
    if not all(row["exact"] for row in rows):
        complain("note: this is the price of a model or seller that stands in for it")


def _backfill(book: "PriceBook", url: str, printed: Printed, *, apply: bool) -> None:
    result = asyncio.run(_filled(url, book, apply))
    record = {
        "calls": result.calls,
        "unpriced": result.unpriced,
        "priced": result.priced,
        "estimated": result.estimated,
        "totals": {currency: str(amount) for currency, amount in result.totals.items()},
        "unknown": dict(result.unknown),
        "dry_run": result.dry_run,
    }
    if printed.for_programs:
        print_record(record, printed)
    else:
        _say(result)
    if result.unpriced and not result.priced:
        raise typer.Exit(1)


async def _filled(url: str, book: "PriceBook", apply: bool) -> "BackfillResult":
    from mofa_usage.stores import backfill_prices, connect

    async with connect(url, create_tables=False) as store:
        return await backfill_prices(store, book, dry_run=not apply)


def _say(result: "BackfillResult") -> None:
    from rich.text import Text

    from mofa_usage.wording import visible

    shown = console()
    shown.print(Text(str(result), style="bold"), soft_wrap=True)
    if result.estimated:
        shown.print(f"{result.estimated:,} of them by an estimate: a rate of another tier, model or kind of token")
    for model, number in list(result.unknown.items())[:10]:
        shown.print(Text(visible(f"no price known: {model} ({number:,} calls)")), soft_wrap=True)
    if result.dry_run and result.priced:
        shown.print("nothing was written; --apply writes them")
