"""List prices: those of genai-prices, as they lie in the installed package. Nothing is ever downloaded.

genai-prices answers readily: a tier that it does not know is priced at the standard rate, a part that it has no price
for at that of its whole, a model without any price at nothing, all in silence. So only the search for a model and for
the prices in force is left to it; what a price means is decided here, and where the answer is not that to the question
the quote says so.

A provider is one of its sellers where it is known (`azure_openai`, `gcp.vertex_ai`, `bedrock` are). Without one, who
made the model sells it. What runs on one's own machines (`ollama`, `vllm`, ...) is in no list.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mofa_usage.errors import require
from mofa_usage.pricing.names import Form, forms_of, spellings
from mofa_usage.pricing.quotes import STANDARD_TIER, Question, Quote
from mofa_usage.pricing.rates import EXACT, Rate, Rates, flat

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

__all__ = ["ListedPrices", "listed_prices"]

# The kinds of tokens that a call can have, by the name of their price and what that is per.
_PRICE_KEYS: Mapping[str, tuple[str, int]] = {
    "input": ("input_mtok", 1),
    "input_audio": ("input_audio_mtok", 1),
    "input_image": ("input_image_mtok", 1),
    "input_video": ("input_video_mtok", 1),
    "cached": ("cache_read_mtok", 1),
    "cached_audio": ("cache_audio_read_mtok", 1),
    "cached_image": ("cache_image_read_mtok", 1),
    "cache_write": ("cache_write_mtok", 1),
    "cache_write_1h": ("cache_write_1h_mtok", 1),
    "output": ("output_mtok", 1),
    "output_audio": ("output_audio_mtok", 1),
    "output_image": ("output_image_mtok", 1),
    "output_video": ("output_video_mtok", 1),
    "reasoning": ("output_reasoning_mtok", 1),
    "citation": ("output_citation_mtok", 1),
    "web_search": ("web_searches_kcount", 1000),
    "request": ("requests_kcount", 1000),
}
_LOCAL = re.compile(
    r"(hosted_)?vllm|ollama(_chat)?|llama[._]?cpp|lm_?studio|local(ai)?|sglang|tgi|xinference", re.IGNORECASE
)
# Models that genai-prices finds only when told who made them.
_MAKERS = {
    "openai": re.compile(r"text-embedding-|chatgpt-|codex-|computer-use-|omni-moderation"),
    "cohere": re.compile(r"embed-|rerank-"),
}
# They pass calls on: who sells the model stands in its name.
_GATEWAYS = frozenset(("gateway", "litellm", "litellm_proxy"))
_ALIASES = {
    "azure": re.compile(r"azure"),
    "x-ai": re.compile(r"x[._-]?ai|grok"),
    "fireworks": re.compile(r"fireworks"),
    "google": re.compile(r"gcp"),
}
_BEDROCK = "aws"
_UNKNOWN = re.compile(r"compatible|like|proxy|custom")  # `openai-compatible` is not OpenAI


class _Listing(NamedTuple):
    """A model as somebody sells it. `is_exact`: it is the model and the seller of the call."""

    provider: "Provider"
    model: "ModelInfo"
    is_exact: bool


class ListedPrices:
    """The list prices of the installed genai-prices, in US dollars."""

    def __init__(self) -> None:
        """Load the list, which takes a tenth of a second.

        Raises:
            MissingExtraError: genai-prices is not installed.
        """
        package = require("genai_prices", extra="pricing")
        from genai_prices.data import providers
        from genai_prices.data_snapshot import DataSnapshot

        self.name = f"genai-prices {package.__version__}"
        # A list of our own: what `UpdatePrices` downloads elsewhere in the process does not change prices here.
        self._list = DataSnapshot(providers=providers, from_auto_update=False)
        self._find = lru_cache(maxsize=4096)(self._find_listing)
        self._seller = lru_cache(maxsize=1024)(self._find_seller)
        self._by_day = lru_cache(maxsize=4096)(self._quote_by_day)

    def quote(self, question: Question) -> Quote | None:
        """The list price for a call; None where the list has none."""
        asked, served, provider, tier, at = question
        quote = self._by_day(asked, served, provider, tier, at.date())
        if isinstance(quote, _Listing):
            return self._quote(quote, tier, at)
        return quote

    def changes(self, question: Question) -> tuple[time, ...]:
        """See `Source`: some models are cheaper at night."""
        listing = self._find(question.asked, question.served, question.provider)
        hours = () if listing is None else _hours(listing.model)
        return tuple(sorted({_utc(moment) for hour in hours for moment in (hour.start_time, hour.end_time)}))

    def _quote_by_day(
        self, asked: str, served: str | None, provider: str | None, tier: str, day: date
    ) -> "Quote | _Listing | None":
        """The price of a day; the listing itself where prices change within it."""
        listing = self._find(asked, served, provider)
        if listing is None or _hours(listing.model):
            return listing
        return self._quote(listing, tier, datetime(day.year, day.month, day.day))

    def _quote(self, listing: _Listing, tier: str, at: datetime) -> Quote | None:
        for context in _contexts(tier):
            if _has_variant(listing, context, at):
                prices = listing.model.get_prices(at, context)
                is_exact = listing.is_exact
                break
        else:
            prices, is_exact = listing.model.get_prices(at), listing.is_exact and tier == STANDARD_TIER
        rates = _rates(prices, listing.model)
        return None if rates is None else Quote(rates, "USD", self.name, is_exact)

    def _find_listing(self, asked: str, served: str | None, provider: str | None) -> _Listing | None:
        if provider and _LOCAL.fullmatch(provider):
            return None
        for spelling in spellings(asked, served):
            for form in forms_of(spelling.text):
                if any(_LOCAL.fullmatch(seller) for seller in form.sellers):
                    break
                for seller, is_exact in self._sellers(form, provider):
                    try:
                        found, model = self._list.find_provider_model(form.text, None, seller, None)
                    except LookupError:
                        continue
                    return _Listing(found, model, is_exact and spelling.is_exact)
        return None

    def _sellers(self, form: Form, provider: str | None) -> Iterator[tuple[str | None, bool]]:
        """Of whom the model is looked for (None: of who made it), and whether that is the call's own seller."""
        # An id of Bedrock says who sells better than the client that was used: Anthropic's has one for it.
        first = (_BEDROCK,) if _BEDROCK in form.sellers else ()
        said = [name for name in (*first, provider, *form.sellers) if name and name.lower() not in _GATEWAYS]
        known = [seller for name in said if (seller := self._seller(name))]
        if known:
            yield known[0], self._seller(said[0]) == known[0]
            yield from ((seller, False) for seller in known[:0:-1] if seller != known[0])
        else:
            yield None, not said
            yield from ((maker, not said) for maker, pattern in _MAKERS.items() if pattern.match(form.text.lower()))

    def _find_seller(self, name: str) -> str | None:
        plain = name.strip().lower()
        if _UNKNOWN.search(plain):
            return None
        alias = next((seller for seller, pattern in _ALIASES.items() if pattern.match(plain)), plain)
        try:
            return self._list.find_provider(None, alias, None).id
        except LookupError:
            return None


@cache
def listed_prices() -> ListedPrices:
    """The list prices, loaded once."""
    return ListedPrices()


def _contexts(tier: str) -> Iterator[dict[str, str]]:
    """How genai-prices calls a tier."""
    if tier == "batch":
        yield {"processing": "batch"}
    elif tier != STANDARD_TIER:
        yield {"service_tier": tier}
        yield {"speed": tier}


def _has_variant(listing: _Listing, context: Mapping[str, str], at: datetime) -> bool:
    """Whether there are prices for it. A model of somebody else's list (Azure's of OpenAI's) has none of its seller."""
    if not any(listing.model is model for model in listing.provider.models):
        return False
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(at))
        for variant in listing.model.price_variants or ()
    )


def _hours(model: "ModelInfo") -> "list[TimeOfDateConstraint]":
    """The hours of the day that its prices depend on."""
    from genai_prices.types import TimeOfDateConstraint

    conditions = [*(model.price_variants or ()), *(model.prices if isinstance(model.prices, list) else ())]
    constraints = (condition.constraint for condition in conditions)
    return [constraint for constraint in constraints if isinstance(constraint, TimeOfDateConstraint)]


def _utc(moment: time) -> time:
    """A time of day in UTC; one without a zone is."""
    if moment.tzinfo is None:
        return moment
    return datetime.combine(date(2000, 1, 2), moment).astimezone(UTC).time()


def _rates(prices: "ModelPrice", model: "ModelInfo") -> Rates | None:
    with localcontext(EXACT):
        own = {
            kind: _rate(price, factor)
            for kind, (key, factor) in _PRICE_KEYS.items()
            if (price := prices.__dict__.get(key)) is not None
        }
    if own:
        return Rates(own)
    if any(value is not None for value in prices.__dict__.values()):
        return None  # priced by the hour, page or character, which calls do not say
    # A list without any price means free for most models, and that nobody knows for some: it must say so.
    return Rates({"input": flat(Decimal(0)), "output": flat(Decimal(0))}) if _is_free(model) else None


def _is_free(model: "ModelInfo") -> bool:
    said = f"{model.id} {model.name} {model.price_comments}".lower()
    return "free" in said or "free of charge" in (model.description or "").lower()


def _rate(price: "Decimal | TieredPrices", factor: int) -> Rate:
    if isinstance(price, Decimal):
        return flat(price * factor)
    tiers = sorted(((tier.start, tier.price * factor) for tier in price.tiers), reverse=True)
    return (*tiers, (-1, price.base * factor))
