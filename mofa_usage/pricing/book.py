"""Price books: lists of prices, the first that knows a model first, and what a call costs by them."""

import logging
import os
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal, localcontext
from os import PathLike
from weakref import WeakSet

from pydantic import BaseModel

from mofa_usage.errors import UsageError
from mofa_usage.pricing.files import PriceFile
from mofa_usage.pricing.listed import listed_prices
from mofa_usage.pricing.quotes import Question, Quote, Source, tier_of
from mofa_usage.pricing.rates import EXACT, Charge, ContradictionError, charge
from mofa_usage.records import LLMApiCall, PriceDetails

__all__ = ["NO_GEOGRAPHY", "TOO_MUCH", "Price", "PriceBook", "checked_book", "keep_price", "with_price"]

_log = logging.getLogger(__name__)
TOO_MUCH = Decimal(100_000)  # a record's price has five digits before the point
_MODELS_TOLD_APART = 1000
NO_GEOGRAPHY = frozenset(("", "global", "not_available", "unknown"))
"""What says that a model was not served in one country only."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a call costs, in units of `currency` with ten decimal places.

    Attributes:
        total: the sum of the parts that are known.
        input: the tokens of the prompt that were neither read from a cache nor written to one.
        cached: those read from a cache.
        cache_write: those written to one.
        output: the tokens of the completion.
        other: web searches, and requests where a model charges for them.
        currency: an ISO 4217 code.
        source: the list of prices and its version.
        exact: False where the model, its seller, its tier, a batch, a cache lifetime or a kind of token had to be
            priced at the rate of another, or the tokens are not what the provider said.

    A part is None where its tokens are not known; then `exact` is False.
    """

    total: Decimal
    input: Decimal | None
    cached: Decimal | None
    cache_write: Decimal | None
    output: Decimal | None
    other: Decimal
    currency: str
    source: str
    exact: bool


_BOOKS: "WeakSet[PriceBook]" = WeakSet()


class PriceBook:
    """Prices of models: list prices, own ones, or both. Safe to use from many threads.

    ```python
    from mofa_usage import PriceBook

    book = PriceBook.default()
    price = book.price(call)
    if price is None:
        print("unknown, which is not free:", book.unknown)
    ```
    """

    def __init__(self, *sources: Source) -> None:
        """A book of these lists; the first that knows a model counts. See `default`, `load` and `or_else`."""
        self._sources = sources
        self._unknown: Counter[str] = Counter()
        self._lock = threading.Lock()
        _BOOKS.add(self)

    @classmethod
    def default(cls) -> "PriceBook":
        """List prices of some 2,300 models of 47 providers, as the installed genai-prices has them.

        Raises:
            MissingExtraError: the extra `pricing` is not installed.
        """
        return cls(listed_prices())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "PriceBook":
        """The prices of a file; `mofa_usage.pricing.files` says what is in one.

        Raises:
            UsageError: the file cannot be read, or an entry breaks a rule; the message says which.
        """
        return cls(PriceFile(path))

    def or_else(self, other: "PriceBook") -> "PriceBook":
        """A book that looks into `other` where this one does not know a model."""
        return PriceBook(*self._sources, *checked_book(other)._sources)

    @property
    def source(self) -> str:
        """The lists of the book with their versions, in the order in which they are asked."""
        return ", ".join(source.name for source in self._sources)

    @property
    def has_none(self) -> str:
        """Why a model that no list knows has no price, in words."""
        return f"{self.source or 'an empty price book'} has none for it"

    @property
    def unknown(self) -> Counter[str]:
        """How many calls of each model had no price so far, by the model that was asked for. A copy.

        Calls of which no tokens are known (`token_source` none) are not among them: there is nothing to price. Of more
        than a thousand models the further ones are counted together, under the name "".
        """
        with self._lock:
            return self._unknown.copy()

    def price(self, call: LLMApiCall, *, on: date | None = None) -> Price | None:
        """What a call costs; None where that is not known, which is never 0.

        Args:
            call: besides its model and tokens, its labels `provider`, `served_model`, `service_tier`, `speed`,
                `inference_geo` and `web_search_requests` count.
            on: price it as if it had been made on this day, at its time of day (UTC).

        Raises:
            UsageError: `call` is none, but the name of a model, say.
        """
        if not isinstance(call, LLMApiCall):
            raise UsageError(f"a price is that of an LLMApiCall, not of a {type(call).__name__}")
        counted = call.token_source
        if counted == "none":
            return None
        found = self._find(call, on)
        if isinstance(found, str):
            self.count_unknown(call.model_name, found)
            return None
        return found

    def _find(self, call: LLMApiCall, on: date | None) -> Price | str:
        """The price, or why there is none."""
        quote = self._quote(call, on)
        if quote is None:
            return self.has_none
        try:
            charged = charge(call, quote.rates)
        except ContradictionError as error:
            return str(error)
        if charged is None:
            return f"{quote.source} has none for some of its tokens"
        if charged.total >= TOO_MUCH:
            return f"{charged.total} {quote.currency} is more than a record holds"
        return _price(quote, charged, is_elsewhere=call.labels.get("inference_geo", "").lower() not in NO_GEOGRAPHY)

    def quote(self, question: Question) -> Quote | None:
        """What the kinds of tokens of a model cost, by the first list that knows it; None where none does."""
        return next((quote for source in self._sources if (quote := source.quote(question)) is not None), None)

    def changes(self, question: Question) -> list[time]:
        """The times of the UTC day at which a price of the model may change."""
        return sorted({moment for source in self._sources for moment in source.changes(question)})

    def _quote(self, call: LLMApiCall, on: date | None) -> Quote | None:
        labels, at = call.labels, call.create_time
        if on is not None:
            at = at.replace(year=on.year, month=on.month, day=on.day)
        tier = tier_of(labels.get("service_tier"), labels.get("speed"))
        return self.quote(Question(call.model_name, labels.get("served_model"), labels.get("provider"), tier, at))

    def count_unknown(self, model: str, why: str, calls: int = 1) -> None:
        """Count calls of a model that have no price, and warn of the first of them."""
        with self._lock:
            name = model if model in self._unknown or len(self._unknown) < _MODELS_TOLD_APART else ""
            is_first = not self._unknown[name]
            self._unknown[name] += calls
        if is_first:
            _log.warning("calls of %r have no price (said once per model): %s", model, why)

    def __repr__(self) -> str:
        return f"PriceBook({self.source})"


def _forked() -> None:
    """In a child that was forked: a lock may be held by a thread that is not there."""
    for book in list(_BOOKS):
        book._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _price(quote: Quote, charged: Charge, *, is_elsewhere: bool) -> Price:
    # Where a model is served in one country only, some cost a tenth more. No list says which.
    is_exact = quote.is_exact and charged.is_exact and not is_elsewhere
    parts = charged.parts
    return Price(
        total=charged.total,
        input=parts["input"],
        cached=parts["cached"],
        cache_write=parts["cache_write"],
        output=parts["output"],
        other=parts["other"] or Decimal(0),
        currency=quote.currency,
        source=quote.source,
        exact=is_exact,
    )


def checked_book(given: object) -> PriceBook:
    """What was given for a price book, if it is one.

    Raises:
        UsageError: it is none, but the path of one, say.
    """
    if not isinstance(given, PriceBook):
        raise UsageError(f"book is a {type(given).__name__}; give a PriceBook, such as PriceBook.load('prices.toml')")
    return given


def with_price(call: LLMApiCall, book: PriceBook, *, on: date | None = None) -> LLMApiCall:
    """The call with its price, for a recorder or a backfill; the call itself where it has one, or none is known.

    `price_details` gets `input_price` (all of the prompt, cached and written tokens included), `output_price`,
    `currency`, and the further keys `price_source` and `price_exact`; other keys that are there stay.
    """
    if call.total_price is not None or (price := book.price(call, on=on)) is None:
        return call
    with localcontext(EXACT):
        prompt = [part for part in (price.input, price.cached, price.cache_write) if part is not None]
        input_price = sum(prompt, Decimal(0)) if prompt else None
    details = {
        "input_price": input_price,
        "output_price": price.output,
        "currency": price.currency,
        "price_source": price.source,
        "price_exact": price.exact,
    }
    kept = {} if call.price_details is None else call.price_details.model_dump()
    priced = {"total_price": price.total, "price_details": PriceDetails.model_validate({**kept, **details})}
    # The rest is validated, and so is the total: it has ten places, and is less than `TOO_MUCH`.
    return BaseModel.model_copy(call, update=priced)


_PRICED_BY = (
    *("model_name", "create_time", "prompt_tokens", "completion_tokens"),
    *("prompt_tokens_details", "completion_tokens_details"),
)
_PRICED_BY_LABELS = ("served_model", "provider", "service_tier", "speed", "inference_geo", "web_search_requests")


def keep_price(call: LLMApiCall, before: LLMApiCall) -> LLMApiCall:
    """The call, which says nothing of a price, with the one that a book gave it when it was stored as `before`.

    Only where all is the same that a price follows from. What somebody charged for it is not kept: whoever says a call
    again, without it, may have found it wrong.
    """
    details = before.price_details
    if call.total_price is not None or call.price_details is not None or before.total_price is None or details is None:
        return call
    is_computed = "price_exact" in (details.__pydantic_extra__ or {})
    is_same = all(getattr(call, name) == getattr(before, name) for name in _PRICED_BY)
    is_sold_alike = all(call.labels.get(name) == before.labels.get(name) for name in _PRICED_BY_LABELS)
    if not (is_computed and is_same and is_sold_alike):
        return call
    money = {"total_price": before.total_price, "price_details": details}
    return BaseModel.model_copy(call, update={**money, "update_time": max(call.update_time, before.update_time)})
