"""What a price is asked for, and what a source of prices answers."""

from collections.abc import Sequence
from datetime import datetime, time
from typing import NamedTuple, Protocol

from mofa_usage.pricing.rates import Rates

__all__ = ["STANDARD_TIER", "Question", "Quote", "Source", "plain_tier", "tier_of"]

STANDARD_TIER = "standard"
# What providers call what is neither faster nor cheaper; "auto" is asked for, and leaves it to the provider.
_STANDARD_NAMES = frozenset(("", "auto", "default", "on_demand", "on-demand", "standard", "standard_only"))


class Question(NamedTuple):
    """Which price.

    Attributes:
        asked, served: the model that was asked for, and the one that served the call where it was another.
        provider: who was asked, where the call says so.
        tier: `STANDARD_TIER`, `batch`, `flex`, `priority`, `fast`, ...
        at: the moment of the call, UTC.
    """

    asked: str
    served: str | None
    provider: str | None
    tier: str
    at: datetime


class Quote(NamedTuple):
    """The price of a model: what tokens cost, in which currency, by which book.

    `is_exact` is False where the model, its seller or its tier had to be stood in for by another.
    """

    rates: Rates
    currency: str
    source: str
    is_exact: bool


class Source(Protocol):
    """A list of prices. Safe to use from many threads."""

    name: str
    """The list and its version."""

    def quote(self, question: Question) -> Quote | None:
        """The price that the list has for it; None where it has none."""

    def changes(self, question: Question) -> Sequence[time]:
        """The times of the UTC day at which its price changes every day; few have any."""


def plain_tier(tier: str | None) -> str:
    """A service tier in small letters, everything that is standard by one name."""
    plain = (tier or "").strip().lower()
    return STANDARD_TIER if plain in _STANDARD_NAMES else plain


def tier_of(service_tier: str | None, speed: str | None) -> str:
    """The tier of a call by its labels; speed is Anthropic's word for another thing that is paid for."""
    tier = plain_tier(service_tier)
    return plain_tier(speed) if tier == STANDARD_TIER else tier
