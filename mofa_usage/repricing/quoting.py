"""What a price book says of many calls: it is asked once per kind of call, and its answers become two small tables.

Calls of one model, seller and tier have one price as long as the price does not change. So the book is asked for each
(model asked for, model that served, provider, tier, day) that occurs, and once for each part of the day where prices
change within it (`Source.changes`). Days that follow each other with one answer become one period:

- `periods`: the kind of call, `[from_day, to_day]` and `[from_time, to_time)` within the day (UTC, microseconds), and
  the number of the answer;
- `answers`: for each number and size of the prompt (`above` < tokens <= `upto`) the rates as whole numbers of
  `10**-scale` per million tokens, so that no sum passes through a float; and those that are short enough for sums of 64
  bits as such of `10**-short_scale` too.

Both travel inside the SQL as JSON, because then they need no connection of ours: somebody's relation is joined with
them on its own.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple

from mofa_usage.pricing import PriceBook
from mofa_usage.pricing.quotes import Question, Quote, tier_of
from mofa_usage.pricing.rates import EXACT, Rate
from mofa_usage.reading.columns import literal

__all__ = [
    "ANSWER",
    "CHARGED",
    "DAY",
    "GUESSABLE",
    "KIND",
    "RATES",
    "UNSAID",
    "Answers",
    "CallKind",
    "Questions",
    "ask",
    "own_question",
]

KIND: Mapping[str, str] = {
    "model_name": "asked",
    "served_model": "served",
    "provider": "provider",
    "service_tier": "service_tier",
    "speed": "speed",
}
"""What the price of a call depends on besides its day and its tokens, with its column in `periods`."""

UNSAID = "CAST(NULL AS VARCHAR)"
"""What calls say of something that they have no column for, as SQL."""

CHARGED = (
    "input",
    "input_audio",
    "cached",
    "cached_audio",
    "cache_write",
    "cache_write_1h",
    "output",
    "output_audio",
    "reasoning",
    "web_search",
    "request",
)
"""The kinds (`pricing.rates.KINDS`) that a frame of calls can tell apart."""
GUESSABLE = ("input_audio", "cached", "cached_audio", "cache_write", "cache_write_1h", "output_audio")
"""Those of them whose rate may be that of another kind, which then is a guess."""
# What frames do not tell apart, and what it is charged as.
_NOT_TOLD_APART = {
    "input_image": "input",
    "input_video": "input",
    "cached_image": "cached",
    "output_image": "output",
    "output_video": "output",
    "citation": "output",
}
_EPOCH = date(1970, 1, 1)
_MOST = 2**63 - 1
DAY = 86_400_000_000  # microseconds
_FEWEST_PLACES, _SHORT_PLACES = 4, 6  # four make ten of money, as rates are per million
_SHORT = 3 * 10**9  # below it, three times 10**9 of anything cost less than 64 bits hold
RATES = ("input", "cached", "cache_write", "cache_write_1h", "output")
"""The kinds whose rates are told."""

_PERIODS = {
    **dict.fromkeys(KIND.values(), "VARCHAR"),
    **dict.fromkeys(("from_day", "to_day"), "INTEGER"),
    **dict.fromkeys(("from_time", "to_time"), "BIGINT"),
    "answer": "INTEGER",
}
ANSWER: Mapping[str, str] = {
    "answer": "INTEGER",
    **dict.fromkeys(("above", "upto"), "BIGINT"),
    "currency": "VARCHAR",
    **dict.fromkeys((*(f"{name}_is_own" for name in GUESSABLE), "audio_has_own", "is_exact"), "BOOLEAN"),
    **dict.fromkeys((*(f"{name}_is_priced" for name in CHARGED), "lacks_rates"), "BOOLEAN"),
    **dict.fromkeys(("reasoning_has_own", "is_short"), "BOOLEAN"),
    **dict.fromkeys(CHARGED, "BIGINT"),
    **dict.fromkeys((f"long_{name}" for name in CHARGED), "HUGEINT"),
    **dict.fromkeys((f"rate_{name}" for name in RATES), "DECIMAL(38,18)"),
}
"""The columns of `answers` with their types."""


class CallKind(NamedTuple):
    """What calls of one price say of themselves; see `KIND`."""

    asked: str
    served: str | None
    provider: str | None
    service_tier: str | None
    speed: str | None


Questions = Callable[[CallKind, datetime], Sequence[Question]]
"""What a book is asked for a kind of call: the first exact answer counts, else the first one."""


def own_question(kind: CallKind, at: datetime) -> tuple[Question]:
    """What a book is asked for a call as it is."""
    tier = tier_of(kind.service_tier, kind.speed)
    return (Question(kind.asked, kind.served, kind.provider, tier, at),)


@dataclass(frozen=True)
class Answers:
    """The two tables as SQL.

    Attributes:
        periods, answers: SQL of tables, see the module.
        scale, short_scale: how many decimal places the whole numbers of the rates stand for.
        highest: the highest of the whole numbers of `scale`.
        by_day: whether a call is priced as of its own day, not all as of one.
        by_time, by_size: whether the time of day, and the size of the prompt, decides over a price.
        lacks_rates: whether some model has no rate at all for some kind of tokens.
        tells_reasoning: whether reasoning has a rate of its own somewhere.
        are_short: whether all rates are short enough for sums of 64 bits; then both scales are the same.
        priced, unknown: the kinds of calls with, and without a price, on some day at least.
    """

    periods: str
    answers: str
    scale: int
    short_scale: int
    highest: int
    by_day: bool
    by_time: bool
    by_size: bool
    lacks_rates: bool
    tells_reasoning: bool
    are_short: bool
    priced: frozenset[CallKind]
    unknown: frozenset[CallKind]


def ask(
    book: PriceBook, kinds: Mapping[CallKind, Iterable[date]], on: date | None, questions: Questions = own_question
) -> Answers:
    """The answers of a book to the kinds of calls on their days.

    Args:
        book: which prices.
        kinds: the kinds of calls that there are, with the days (UTC) on which.
        on: the day whose prices count for all of them, instead of their own.
        questions: what the book is asked for a kind of call at a moment.
    """
    quotes: dict[Any, tuple[int, Quote]] = {}
    unknown: set[CallKind] = set()
    periods: list[dict[str, Any]] = []

    def number(kind: CallKind, at: datetime) -> int | None:
        quote = _best(book, questions(kind, at))
        if quote is None:
            unknown.add(kind)
            return None
        return quotes.setdefault(_identity(quote), (len(quotes), quote))[0]

    for kind, days in kinds.items():
        asked = sorted(days) if on is None else [on]
        for at, start, end in _parts_of_day(book, questions(kind, datetime.now(UTC))):
            answers = [(day, number(kind, datetime.combine(day, at, UTC))) for day in asked]
            for first, last, answer in _periods(answers):
                day = {"from_day": (first - _EPOCH).days, "to_day": (last - _EPOCH).days}
                periods.append({**kind._asdict(), **day, "from_time": start, "to_time": end, "answer": answer})
    places = {place: _places(quote) for place, quote in quotes.values()}
    scale = max([_FEWEST_PLACES, *places.values()])
    short = max([_FEWEST_PLACES, *(count for count in places.values() if count <= _SHORT_PLACES)])
    rows = [row for place, quote in quotes.values() for row in _answer_rows(place, quote, scale, short)]
    return Answers(
        periods=_table(periods, _PERIODS),
        answers=_table(rows, ANSWER),
        scale=scale,
        short_scale=short,
        highest=max([1, *(int(row[f"long_{name}"]) for row in rows for name in CHARGED)]),
        by_day=on is None,
        by_time=any(row["to_time"] - row["from_time"] < DAY for row in periods),
        by_size=len(rows) > len(quotes),
        lacks_rates=any(row["lacks_rates"] for row in rows),
        tells_reasoning=any(row["reasoning_has_own"] for row in rows),
        are_short=all(row["is_short"] for row in rows),
        priced=frozenset(CallKind(*(row[name] for name in KIND.values())) for row in periods),
        unknown=frozenset(unknown),
    )


def _identity(quote: Quote) -> Any:
    """What two quotes have in common that are the same."""
    return (tuple(sorted(quote.rates.own.items())), quote.currency, quote.source, quote.is_exact)


def _best(book: PriceBook, questions: Iterable[Question]) -> Quote | None:
    found = [quote for question in questions if (quote := book.quote(question)) is not None]
    return next((quote for quote in found if quote.is_exact), found[0] if found else None)


def _parts_of_day(book: PriceBook, questions: Iterable[Question]) -> list[tuple[time, int, int]]:
    """The parts of a day with one price each: a time within, and their ends in microseconds since midnight (UTC)."""
    changes = sorted({moment for question in questions for moment in book.changes(question)} - {time()})
    starts = [time(), *changes]
    microseconds = [(datetime.combine(date.min, at) - datetime.min) // timedelta(microseconds=1) for at in starts]
    return list(zip(starts, microseconds, [*microseconds[1:], DAY], strict=True))


def _periods(answers: Iterable[tuple[date, int | None]]) -> Iterator[tuple[date, date, int]]:
    """The first and last day of the periods with one answer, and which; the days come in order."""
    for answer, group in groupby(answers, lambda one: one[1]):
        period = [day for day, _ in group]
        if answer is not None:
            yield period[0], period[-1], answer


def _places(quote: Quote) -> int:
    exponents = (
        price.normalize(EXACT).as_tuple().exponent for rate in quote.rates.own.values() for _, price in rate if price
    )
    return max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)


def _answer_rows(number: int, quote: Quote, scale: int, short_scale: int) -> Iterator[dict[str, Any]]:
    """The rates of a quote, a row for each size of prompts that has its own."""
    used, own = quote.rates.used, quote.rates.own
    charged = {name: used[name][0] for name in CHARGED if name in used}
    sizes = sorted({threshold for rate in charged.values() for threshold, _ in rate} | {-1})
    flags = {f"{name}_is_own": name in used and used[name][1] for name in GUESSABLE}
    flags |= {f"{name}_is_priced": name in used for name in CHARGED}
    flags["audio_has_own"], flags["reasoning_has_own"] = "input_audio" in own, "reasoning" in own
    flags["lacks_rates"] = any(name not in used for name in CHARGED[:-2])
    flags["is_exact"] = quote.is_exact and not _has_hidden_prices(quote)
    for above, upto in zip(sizes, [*sizes[1:], _MOST], strict=True):
        prices = {name: _price(rate, above) for name, rate in charged.items()}
        long = {f"long_{name}": str(int(prices.get(name, Decimal(0)).scaleb(scale, EXACT))) for name in CHARGED}
        short = {name: price.scaleb(short_scale, EXACT) for name, price in prices.items()}
        is_short = all(price == int(price) and price < _SHORT for price in short.values())
        whole = {name: int(short.get(name, 0)) if is_short else 0 for name in CHARGED}
        told = {f"rate_{name}": f"{prices[name]:f}" for name in RATES if name in prices}
        size = {"answer": number, "above": above, "upto": upto, "currency": quote.currency}
        yield {**size, **flags, "is_short": is_short, **whole, **long, **told}


def _price(rate: Rate, above: int) -> Decimal:
    """The price of prompts that are just above a size."""
    return next(price for threshold, price in rate if above >= threshold)


def _has_hidden_prices(quote: Quote) -> bool:
    """Whether the model has a price of its own for something that a frame of calls does not tell apart."""
    own, used = quote.rates.own, quote.rates.used
    return any(
        name in own and (other not in used or own[name] != used[other][0]) for name, other in _NOT_TOLD_APART.items()
    )


def _table(rows: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> str:
    text, said = literal(json.dumps(rows, separators=(",", ":"))), literal(json.dumps([types]))
    return f"(SELECT unnest(from_json({text}, {said}), recursive := true))"
