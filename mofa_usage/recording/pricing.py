"""The price of a call, found when it is delivered or when somebody asks what a scope has cost so far."""

import logging
import threading
from typing import TYPE_CHECKING, Literal

from mofa_usage.errors import MissingExtraError, UsageError
from mofa_usage.records import LLMApiCall

if TYPE_CHECKING:
    from mofa_usage.pricing import PriceBook

__all__ = ["Pricing"]

_log = logging.getLogger(__name__)


class Pricing:
    """A price book, loaded when the first price is asked for. Safe to use from many threads."""

    def __init__(self, prices: "PriceBook | Literal['auto'] | None") -> None:
        if not (prices is None or prices == "auto" or callable(getattr(prices, "price", None))):
            raise UsageError(f'prices is "auto", a PriceBook or None, not {prices!r:.80}')
        self._book = None if prices == "auto" else prices
        self._is_open = prices != "auto"
        self._has_told = False
        self._lock = threading.Lock()

    def priced(self, call: LLMApiCall) -> LLMApiCall:
        """The call with its price; as it is where it has one, or where none is known."""
        if call.total_price is not None or (book := self._opened()) is None:
            return call
        from mofa_usage.pricing import with_price

        try:
            return with_price(call, book)
        except Exception:  # a price is not worth a record
            if not self._has_told:
                self._has_told = True
                _log.exception("prices cannot be found (said once); calls are saved without")
            return call

    def begin_anew(self) -> None:
        """In a child that was forked: the lock may be held by a thread that is not there."""
        self._lock = threading.Lock()

    def load(self) -> None:
        """Open the book now."""
        self._opened()

    def _opened(self) -> "PriceBook | None":
        if not self._is_open:
            with self._lock:
                if not self._is_open:
                    self._book = _default_book()
                    self._is_open = True
        return self._book


def _default_book() -> "PriceBook | None":
    try:
        from mofa_usage.pricing import PriceBook

        return PriceBook.default()
    except MissingExtraError as error:
        _log.info("calls are recorded without prices: %s", error)
        return None
