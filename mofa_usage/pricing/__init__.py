"""Prices: what a call costs, by dated lists of prices.

A `PriceBook` asks its lists in turn: price files of one's own (`files.py`), the list prices of genai-prices
(`listed.py`). A list is asked with what a call says of its model (`quotes.py`; `names.py` knows how one model is
called), and answers with rates. `rates.py` cuts the tokens of the call into kinds and charges them; it is the only
place that does sums. `book.py` puts it together.

A price that is not known is None, counted and said once per model; one in which something had to stand in for
something else is not `exact`. Nothing here touches a network.
"""

from mofa_usage.pricing.book import NO_GEOGRAPHY, TOO_MUCH, Price, PriceBook, checked_book, keep_price, with_price

__all__ = ["NO_GEOGRAPHY", "TOO_MUCH", "Price", "PriceBook", "checked_book", "keep_price", "with_price"]
