"""What a call costs: invoices worked out by hand, and list prices against genai-prices' own arithmetic.

Where an expected amount stands here, the sum that gives it stands beside it; none is taken from the code.
"""

import logging
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, localcontext
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import Tier, TieredPrices
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import (
    ApiCallStatus,
    LLMApiCall,
    MissingExtraError,
    Price,
    PriceBook,
    PriceDetails,
    UsageError,
    backfill_prices,
    import_calls,
)
from mofa_usage.pricing import with_price
from mofa_usage.pricing.listed import ListedPrices
from mofa_usage.pricing.names import forms_of, spellings
from mofa_usage.pricing.rates import KINDS, PARTS, Rates, charge, flat
from mofa_usage.records import NIL_UUID
from mofa_usage.stores import InMemoryStore

NOVEMBER = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MAY = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)


def call(
    model: str,
    prompt: int = 1000,
    completion: int = 500,
    *,
    at: datetime = NOVEMBER,
    prompt_details: dict[str, Any] | None = None,
    completion_details: dict[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    **more: str,
) -> LLMApiCall:
    """A successful call with these labels, and with `more` of them."""
    return LLMApiCall.success(
        chat_session_id=NIL_UUID,
        agent_id=NIL_UUID,
        user_id=NIL_UUID,
        model_name=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        request_time=at,
        response_time=at,
        prompt_tokens_details=prompt_details,
        completion_tokens_details=completion_details,
        labels={**(labels or {}), **more},
    )


@pytest.fixture
def book() -> PriceBook:
    return PriceBook.default()


def price_of(book: PriceBook, priced: LLMApiCall, **options: Any) -> Price:
    price = book.price(priced, **options)
    assert price is not None
    return price


def amounts(price: Price) -> list[str]:
    """input, cached, cache_write, output, other and the total, without trailing zeros."""
    values = [getattr(price, part) for part in PARTS] + [price.total]
    return [format(value.normalize(), "f") for value in values]


# Invoices by hand: US dollars per million tokens, from the providers' price pages


def test_openai_with_cached_tokens(book: PriceBook) -> None:
    """gpt-4o: input 2.50, cached 1.25, output 10."""
    price = price_of(book, call("gpt-4o", 12_000, 800, prompt_details={"cached_tokens": 10_240}))
    # input (12000 - 10240) * 2.50 / 1e6 = 0.0044; cached 10240 * 1.25 / 1e6 = 0.0128; output 800 * 10 / 1e6 = 0.008
    assert amounts(price) == ["0.0044", "0.0128", "0", "0.008", "0", "0.0252"]
    assert (price.currency, price.exact) == ("USD", True)
    assert price.source == f"genai-prices {genai_prices.__version__}"


def test_anthropic_with_cache_writes_of_both_lifetimes(book: PriceBook) -> None:
    """claude-sonnet-4: input 3, read 0.30, written for 5 minutes 3.75 and for an hour 6, output 15; 10 per 1,000
    web searches.
    """
    details = {
        "cached_tokens": 20_000,
        "cache_write_tokens": 5_000,
        "cache_write_5m_tokens": 3_000,
        "cache_write_1h_tokens": 2_000,
    }
    price = price_of(
        book, call("claude-sonnet-4-20250514", 26_500, 700, prompt_details=details, web_search_requests="2")
    )
    # input 1500 * 3 = 4500; cached 20000 * 0.30 = 6000; written 3000 * 3.75 + 2000 * 6 = 11250 + 12000 = 23250
    # output 700 * 15 = 10500; other 2 * 10 / 1000 = 0.02; total (4500 + 6000 + 23250 + 10500) / 1e6 + 0.02 = 0.06425
    assert amounts(price) == ["0.0045", "0.006", "0.02325", "0.0105", "0.02", "0.06425"]
    assert price.exact


def test_writes_without_a_lifetime_are_those_of_five_minutes(book: PriceBook) -> None:
    price = price_of(book, call("claude-sonnet-4-20250514", 1_000, 0, prompt_details={"cache_write_tokens": 1_000}))
    assert amounts(price) == ["0", "0", "0.00375", "0", "0", "0.00375"]  # 1000 * 3.75 / 1e6
    assert price.exact


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        # not above 200,000: input 1.25, cached 0.125, output 10
        # 150000 * 1.25 = 187500; 50000 * 0.125 = 6250; 1000 * 10 = 10000; together 203750
        (200_000, ["0.1875", "0.00625", "0", "0.01", "0", "0.20375"]),
        # above it, all of the call: input 2.50, cached 0.25, output 15
        # 150001 * 2.50 = 375002.5; 50000 * 0.25 = 12500; 1000 * 15 = 15000; together 402502.5
        (200_001, ["0.3750025", "0.0125", "0", "0.015", "0", "0.4025025"]),
    ],
)
def test_gemini_costs_more_above_200k(book: PriceBook, prompt: int, expected: list[str]) -> None:
    price = price_of(book, call("gemini-2.5-pro", prompt, 1_000, prompt_details={"cached_tokens": 50_000}))
    assert amounts(price) == expected
    assert price.exact


def test_deepseek_by_the_time_of_day(book: PriceBook) -> None:
    """deepseek-chat: 00:30 to 16:30 UTC input 0.27, cached 0.07, output 1.10; else 0.135, 0.035, 0.55."""
    # by day (2000 * 0.07 + 1000 * 1.10) / 1e6 = (140 + 1100) / 1e6, else half of it
    by_day, by_night = "0.00124", "0.00062"
    expected = {time(0, 29, 59): by_night, time(0, 30): by_day, time(16, 29, 59): by_day, time(16, 30): by_night}
    for moment, total in expected.items():
        at = datetime.combine(NOVEMBER, moment, UTC)
        price = price_of(book, call("deepseek-chat", 2_000, 1_000, prompt_details={"cached_tokens": 2_000}, at=at))
        assert (moment, amounts(price)[-1]) == (moment, total)


@pytest.mark.parametrize(
    ("model", "tier", "expected", "is_exact"),
    [
        # gpt-5: input 1.25, output 10. (1000 * 1.25 + 500 * 10) / 1e6 = 0.00625
        ("gpt-5", "", "0.00625", True),
        ("gpt-5", "default", "0.00625", True),
        ("gpt-5", "auto", "0.00625", True),
        ("gpt-5", "flex", "0.003125", True),  # half of it: 0.625 and 5
        ("gpt-5", "batch", "0.003125", True),
        ("gpt-5", "priority", "0.0125", True),  # 2.50 and 20
        ("gpt-5", "fast", "0.0125", True),
        ("gpt-5", "FLEX ", "0.003125", True),
        ("gpt-5", "scale", "0.00625", False),  # nobody lists it
        # gpt-4o: 2.50 and 10, no flex. (2500 + 5000) / 1e6
        ("gpt-4o", "flex", "0.0075", False),
        # claude-sonnet-4 has neither a batch price of its own nor another tier in the list: 3 and 15
        ("claude-sonnet-4-20250514", "standard", "0.0105", True),
        ("claude-sonnet-4-20250514", "batch", "0.0105", False),
        ("claude-sonnet-4-20250514", "priority", "0.0105", False),
        # gemini-2.5-pro batch: 0.625 and 5. (625 + 2500) / 1e6
        ("gemini-2.5-pro", "batch", "0.003125", True),
    ],
)
def test_a_tier_is_priced_as_such_or_not_exact(
    book: PriceBook, model: str, tier: str, expected: str, is_exact: bool
) -> None:
    price = price_of(book, call(model, service_tier=tier))
    assert (amounts(price)[-1], price.exact) == (expected, is_exact)


def test_anthropics_batch_and_its_fast_mode(book: PriceBook) -> None:
    """Both have prices where the list says so: found by what it calls them, not by `service_tier`."""
    anthropic = next(provider for provider in providers if provider.id == "anthropic")
    for context, tier in (({"processing": "batch"}, "batch"), ({"speed": "fast"}, "fast")):
        model, variant = next(
            (model, variant)
            for model in anthropic.models
            for variant in model.price_variants or ()
            if variant.when == context and (variant.constraint is None or variant.constraint.active(NOVEMBER))
        )
        assert isinstance(variant.prices.output_mtok, Decimal)
        for label in ("service_tier", "speed") if tier == "fast" else ("service_tier",):
            price = price_of(book, call(model.id, 0, 1_000_000, labels={label: tier}))
            assert (price.total, price.exact) == (variant.prices.output_mtok, True)


def test_a_tier_is_not_exact_before_its_prices_are_known(book: PriceBook) -> None:
    """The list knows flex since October 2026; before that it would answer the standard price in silence."""
    price = price_of(book, call("gpt-5", at=MAY, service_tier="flex"))
    assert (amounts(price)[-1], price.exact) == ("0.00625", False)


def test_tiers_of_openai_are_not_those_of_azure(book: PriceBook) -> None:
    assert price_of(book, call("gpt-5", provider="azure")).exact
    price = price_of(book, call("gpt-5", provider="azure", service_tier="flex"))
    assert (amounts(price)[-1], price.exact) == ("0.00625", False)


@pytest.mark.parametrize(
    ("model", "provider", "details"),
    [
        # Bedrock lists no price for an hour, OpenAI none for twelve; a search has none at mistral.
        ("anthropic.claude-sonnet-4-20250514-v1:0", "aws", {"cache_write_1h_tokens": 10}),
        ("claude-sonnet-4-20250514", "anthropic", {"cache_write_12h_tokens": 10}),
        ("claude-sonnet-4-20250514", "anthropic", {"cache_write_24h_tokens": 10}),
        ("mistral-large-latest", "mistral", {"cached_tokens": 10}),
        ("gpt-4o-audio-preview", "openai", {"audio_tokens": 10}),
    ],
)
def test_a_kind_without_a_price_of_its_own_is_not_exact(
    book: PriceBook, model: str, provider: str, details: dict[str, int]
) -> None:
    assert price_of(book, call(model, provider=provider)).exact
    assert not price_of(book, call(model, provider=provider, prompt_details=details)).exact
    zero = dict.fromkeys(details, 0)
    assert price_of(book, call(model, provider=provider, prompt_details=zero)).exact


def test_searches_without_a_price_and_a_geography_are_not_exact(book: PriceBook) -> None:
    assert not price_of(book, call("mistral-large-latest", web_search_requests="3")).exact
    assert price_of(book, call("mistral-large-latest", web_search_requests="0")).exact
    assert not price_of(book, call("claude-sonnet-4-20250514", inference_geo="us")).exact
    assert price_of(book, call("claude-sonnet-4-20250514", inference_geo="global")).exact


def test_audio_where_it_has_a_price(book: PriceBook) -> None:
    """gpt-realtime: text 4, cached 0.40, audio 32, cached audio 0.40, out 16, audio out 64."""
    prompt_details = {"audio_tokens": 600, "cached_tokens": 300, "cached_audio_tokens": 200}
    completion_details = {"audio_tokens": 100}
    realtime = call("gpt-realtime", 1_000, 150, prompt_details=prompt_details, completion_details=completion_details)
    # text 1000 - 600 - 100 = 300 * 4 = 1200; audio 400 * 32 = 12800; cached 300 * 0.40 = 120;
    # out 50 * 16 + 100 * 64 = 7200; together 21320
    price = price_of(book, realtime)
    assert amounts(price) == ["0.014", "0.00012", "0", "0.0072", "0", "0.02132"]
    assert price.exact
    # When nobody says which of the cached tokens were sound, they are taken for text as far as that goes: all 300.
    prompt_details.pop("cached_audio_tokens")
    guessed = price_of(book, realtime.model_copy(update={"prompt_tokens_details": prompt_details}))
    # text 100 * 4 = 400; audio 600 * 32 = 19200
    assert amounts(guessed)[:2] == ["0.0196", "0.00012"]
    assert not guessed.exact


def test_a_request_that_is_charged_for(book: PriceBook) -> None:
    """sonar: 1 and 1, and 12 per 1,000 requests."""
    price = price_of(book, call("sonar", provider="perplexity"))
    assert amounts(price) == ["0.001", "0", "0", "0.0005", "0.012", "0.0135"]
    assert price.exact


def test_prices_change_by_day(book: PriceBook) -> None:
    """OpenRouter's gpt-4o has a price of cached tokens since 19 October 2026: 1.25, before that they cost 2.50."""
    details = {"cached_tokens": 1_000}
    for day, expected, is_exact in ((18, "0.0025", False), (19, "0.00125", True)):
        at = datetime(2026, 10, day, 23, 59, tzinfo=UTC)
        price = price_of(book, call("openai/gpt-4o", 1_000, 0, provider="openrouter", prompt_details=details, at=at))
        assert (amounts(price)[1], price.exact) == (expected, is_exact)
    later = price_of(
        book,
        call("openai/gpt-4o", 1_000, 0, provider="openrouter", prompt_details=details, at=MAY),
        on=date(2026, 11, 1),
    )
    assert amounts(later)[1] == "0.00125"


# What is not known


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("none", None),
        ("partial", ("0.0025", None, "0.0025")),  # 1000 * 2.50 / 1e6
        ("completion_only", (None, "0.005", "0.005")),  # 500 * 10 / 1e6
        ("estimated", ("0.0025", "0.005", "0.0075")),
    ],
)
def test_tokens_that_are_not_known(
    book: PriceBook, source: str, expected: tuple[str | None, str | None, str] | None
) -> None:
    prompt = 0 if source in ("none", "completion_only") else 1000
    completion = 0 if source in ("none", "partial") else 500
    price = book.price(call("gpt-4o", prompt, completion, completion_details={"token_source": source}))
    if expected is None:
        assert price is None
        assert not book.unknown
        return
    assert price is not None
    shown = [None if part is None else format(part.normalize(), "f") for part in (price.input, price.output)]
    assert (*shown, format(price.total.normalize(), "f")) == expected
    assert not price.exact


def test_a_prompt_that_is_not_known_makes_no_completion_dearer(book: PriceBook) -> None:
    """What stands in its place in a record is not its size."""
    details = {"token_source": "completion_only"}
    large, none = (book.price(call("gemini-2.5-pro", size, completion_details=details)) for size in (300_000, 0))
    assert large == none is not None


def test_an_unknown_model_is_counted_and_said_once(book: PriceBook, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mofa_usage"):
        for model in ("qwen-max", "qwen-max", "my-deployment", "qwen-max"):
            assert book.price(call(model)) is None
    assert book.unknown == Counter({"qwen-max": 3, "my-deployment": 1})
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
        "qwen-max",
        "my-deployment",
    ]


def test_an_unbounded_number_of_names_is_bounded(book: PriceBook) -> None:
    for number in range(1200):
        book.price(call(f"nobody-{number}"))
    assert len(book.unknown) == 1001
    assert book.unknown[""] == 200


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("whisper-1", "openai"),  # by the hour
        ("google/lyria-3-pro-preview", "openrouter"),  # by the song: the list has no price at all, which is not 0
        ("text-embedding-3-small", "openai"),  # has no price for a completion
        ("gpt-oss:20b", "ollama"),
        ("deepseek-chat", "vllm"),
    ],
)
def test_what_a_list_does_not_price_is_unknown_and_not_free(book: PriceBook, model: str, provider: str) -> None:
    assert book.price(call(model, provider=provider)) is None
    assert book.unknown == {model: 1}


@pytest.mark.parametrize("model", ["deepseek/deepseek-chat:free", "google/gemma-3-27b-it:free"])
def test_a_free_model_costs_nothing(book: PriceBook, model: str) -> None:
    price = price_of(book, call(model, provider="openrouter"))
    assert price.total == 0
    assert price.exact


def test_an_embedding_has_no_output(book: PriceBook) -> None:
    price = price_of(book, call("text-embedding-3-small", 1_000_000, 0, operation="embeddings"))
    assert amounts(price) == ["0.02", "0", "0", "0", "0", "0.02"]


def test_a_refused_call_costs_nothing(book: PriceBook) -> None:
    refused = call("gpt-4o", 0, 0).model_copy(update={"status": ApiCallStatus.RATE_LIMITED})
    assert price_of(book, refused).total == 0


@pytest.mark.parametrize(
    "details",
    [
        {"cached_tokens": 600, "cache_write_tokens": 500},
        {"cache_write_1h_tokens": 1_001},
        {"cache_write_1h_tokens": -1},
        {"image_tokens": "many"},
        {"image_tokens": 1.5},
        {"image_tokens": True},
    ],
)
def test_counts_that_cannot_be_have_no_price(book: PriceBook, details: dict[str, Any]) -> None:
    assert book.price(call("gpt-realtime", prompt_details=details)) is None
    assert book.unknown == {"gpt-realtime": 1}


def test_a_price_that_no_record_holds(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text('currency="USD"\n[[prices]]\nmodel="*"\ninput=100000\noutput=0\n')
    book = PriceBook.load(tmp_path / "prices.toml")
    assert price_of(book, call("x", 999_999, 0)).total == Decimal("99999.9")
    assert book.price(call("x", 1_000_000, 0)) is None
    assert book.unknown == {"x": 1}


# Names


@pytest.mark.parametrize(
    ("model", "labels", "like", "is_exact"),
    [
        ("openai/gpt-4o", {}, ("openai", "gpt-4o"), True),
        ("openai:gpt-4o", {}, ("openai", "gpt-4o"), True),
        ("OpenAI/GPT-4o", {}, ("openai", "gpt-4o"), True),
        ("azure/eu/gpt-4o", {}, ("azure", "gpt-4o"), True),
        ("litellm_proxy/gpt-4o", {}, ("openai", "gpt-4o"), True),
        ("openrouter/openai/gpt-4o", {}, ("openrouter", "openai/gpt-4o"), True),
        ("openai/gpt-4o", {"provider": "openrouter"}, ("openrouter", "openai/gpt-4o"), True),
        ("openai/gpt-4o", {"provider": "litellm"}, ("openai", "gpt-4o"), True),
        ("anthropic/claude-sonnet-4-20250514", {"provider": "openai"}, ("anthropic", "claude-sonnet-4-0"), False),
        ("models/gemini-2.5-pro", {}, ("google", "gemini-2.5-pro"), True),
        ("gemini/gemini-2.5-pro", {}, ("google", "gemini-2.5-pro"), True),
        ("publishers/google/models/gemini-2.5-pro", {}, ("google", "gemini-2.5-pro"), True),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", {}, ("google", "gemini-2.5-pro"), True),
        ("claude-sonnet-4@20250514", {"provider": "gcp.vertex_ai"}, ("google", "claude-sonnet-4"), True),
        ("vertex_ai/claude-sonnet-4@20250514", {}, ("google", "claude-sonnet-4"), True),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", {}, ("aws", "anthropic.claude-sonnet-4-20250514-v1:0"), True),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
            {"provider": "anthropic"},
            ("aws", "anthropic.claude-sonnet-4-20250514-v1:0"),
            True,
        ),
        ("bedrock/converse/amazon.nova-pro-v1:0", {}, ("aws", "amazon.nova-pro-v1:0"), True),
        ("ft:gpt-4o-mini-2024-07-18:org::id", {}, ("openai", "ft:gpt-4o-mini-2024-07-18:a::b"), True),
        ("my-deployment", {"provider": "azure", "served_model": "gpt-4o-2024-08-06"}, ("azure", "gpt-4o"), True),
        ("gpt-4o-mini", {"served_model": "gpt-4o"}, ("openai", "gpt-4o"), True),
        ("gpt-4o", {"served_model": "gpt-4o-2029-01-01"}, ("openai", "gpt-4o"), True),
        ("gpt-4o", {"served_model": "nobody"}, ("openai", "gpt-4o"), False),
        ("gpt-4o-2029-01-01", {}, ("openai", "gpt-4o"), False),
        ("gpt-4o", {"provider": "somebody"}, ("openai", "gpt-4o"), False),
        ("gpt-4o", {"provider": "openai-compatible"}, ("openai", "gpt-4o"), False),
        ("somebody/gpt-4o", {}, ("openai", "gpt-4o"), False),
        ("gpt-4o", {"provider": "azure_openai"}, ("azure", "gpt-4o"), True),
        ("gpt-4o", {"provider": "azure.ai.openai"}, ("azure", "gpt-4o"), True),
        ("xai/grok-4", {}, ("x-ai", "grok-4"), True),
        ("grok-4", {"provider": "x_ai"}, ("x-ai", "grok-4"), True),
    ],
)
def test_names_are_found(
    book: PriceBook, model: str, labels: dict[str, str], like: tuple[str, str], is_exact: bool
) -> None:
    usage = Usage(input_tokens=1000, output_tokens=500)
    theirs = genai_prices.calc_price(usage, like[1], provider_id=like[0], genai_request_timestamp=NOVEMBER)
    price = price_of(book, call(model, labels=labels))
    assert (price.total, price.exact) == (theirs.total_price, is_exact)


@pytest.mark.parametrize("model", ["ft:gpt-9:org::id", "ft:gpt-9-2024-07-18:org::id", "my-deployment", "llama3.1:8b"])
def test_names_are_not_guessed(book: PriceBook, model: str) -> None:
    assert book.price(call(model)) is None


@settings(deadline=None)  # the first one loads what the others have
@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["a", "openai", "models", "/", ":", "arn:", "ft:"])).map("".join)
)
def test_any_name_has_forms(name: str) -> None:
    forms = list(forms_of(name))
    assert forms[0].text == name
    assert all(name.endswith(form.text) for form in forms)
    assert next(iter(spellings(name))).text == name


# Against genai-prices


def tokens_priced() -> list[tuple[str, str]]:
    """Provider and a name of every model that has a price of tokens and is found by its id."""
    found = []
    for provider in providers:
        for model in provider.models:
            prices = model.get_prices(NOVEMBER)
            if prices.input_mtok is not None and prices.output_mtok is not None:
                found.append((provider.id, model.id))
    return found


def reference(
    provider: str, model: str, usage: dict[str, int], at: datetime, context: dict[str, str] | None = None
) -> Decimal | None:
    try:
        with localcontext(Context(prec=100)):
            return genai_prices.calc_price(
                Usage(**usage),
                model,
                provider_id=provider,
                genai_request_timestamp=at,
                price_context=context,
            ).total_price.quantize(Decimal("1E-10"))
    except LookupError:
        return None  # a few ids do not find their own model


TIERS = {
    "": None,
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}


@settings(deadline=None)  # the first one loads what the others have
@given(
    st.sampled_from(tokens_priced()),
    st.lists(st.integers(0, 400_000), min_size=4, max_size=4),
    st.integers(0, 100_000),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(sorted(TIERS)),
)
def test_list_prices_are_those_of_genai_prices(
    model: tuple[str, str], prompt: list[int], output: int, at: datetime, tier: str
) -> None:
    cached, five_minutes, hour, plain = prompt
    details = {"cached_tokens": cached, "cache_write_5m_tokens": five_minutes, "cache_write_1h_tokens": hour}
    labels = {"provider": model[0], "service_tier": tier}
    price = PriceBook.default().price(call(model[1], sum(prompt), output, prompt_details=details, at=at, labels=labels))
    usage = {
        "input_tokens": plain + cached + five_minutes + hour,
        "output_tokens": output,
        "cache_read_tokens": cached,
        "cache_write_tokens": five_minutes + hour,
        "cache_write_5m_tokens": five_minutes,
        "cache_write_1h_tokens": hour,
    }
    expected = reference(*model, usage, at, TIERS[tier])
    if price is not None and expected is not None:
        assert price.total == expected
        assert sum(getattr(price, part) for part in PARTS) == price.total
    else:
        assert expected is None or expected == 0 or expected >= 100_000


def test_every_model_of_the_list_is_found(book: PriceBook) -> None:
    """At one size on one day; those that are not priced by tokens have no price here, and 0 there."""
    usage = {"input_tokens": 12_345, "output_tokens": 678}
    silent = 0
    for provider, model in tokens_priced():
        expected = reference(provider, model, usage, NOVEMBER)
        price = book.price(call(model, 12_345, 678, provider=provider))
        if expected is None:
            silent += 1
            continue
        assert price is not None, (provider, model)
        assert price.total == expected, (provider, model)
    assert silent < 0.05 * len(tokens_priced())


# Sums


@settings(deadline=None)  # the first one loads what the others have
@given(
    st.dictionaries(st.sampled_from(sorted(KINDS)), st.decimals(0, 1000, places=10), min_size=1),
    st.integers(0, 2**30),
    st.integers(0, 2**30),
    st.lists(st.floats(0, 0.5), min_size=2, max_size=2),
)
def test_parts_add_up_to_the_total(own: dict[str, Decimal], prompt: int, completion: int, shares: list[float]) -> None:
    details = {"cached_tokens": int(prompt * shares[0]), "cache_write_tokens": int(prompt * shares[1])}
    rates = Rates({"input": flat(Decimal(1)), "output": flat(Decimal("0.3333333333")), **map_flat(own)})
    with localcontext(Context(prec=6)):  # what a user has set for his own sums must not matter
        charged = charge(call("x", prompt, completion, prompt_details=details), rates)
    assert charged is not None
    parts = [part for part in charged.parts.values() if part is not None]
    assert len(parts) == len(PARTS)
    with localcontext(Context(prec=100)):
        assert sum(parts) == charged.total
    assert min(parts) >= 0


def map_flat(prices: dict[str, Decimal]) -> dict[str, Any]:
    return {kind: flat(price) for kind, price in prices.items()}


def test_money_is_rounded_half_to_even() -> None:
    for price, expected in (("0.00025", "2E-10"), ("0.00035", "4E-10"), ("0.000251", "3E-10")):
        charged = charge(call("x", 1, 0), Rates({"input": flat(Decimal(price)), "output": flat(Decimal(0))}))
        assert charged is not None
        assert charged.total == Decimal(expected)


def test_what_rounding_leaves_over_goes_to_the_largest_part() -> None:
    rates = Rates(map_flat(dict.fromkeys(("input", "cached", "cache_write", "output"), Decimal("0.000051"))))
    details = {"cached_tokens": 1, "cache_write_tokens": 1}
    charged = charge(call("x", 3, 1, prompt_details=details), rates)
    assert charged is not None
    assert charged.total == Decimal("2E-10")  # 4 * 0.51E-10 = 2.04E-10, while each part is 0 rounded down
    assert sorted(part for part in charged.parts.values() if part is not None) == [
        Decimal(text) for text in ("0", "0", "0", "0", "2E-10")
    ]


# Into a call


def test_a_call_gets_its_price(book: PriceBook) -> None:
    unpriced = call("gpt-4o", 12_000, 800, prompt_details={"cached_tokens": 10_240})
    priced = with_price(unpriced, book)
    details = priced.price_details
    assert details is not None
    assert priced.total_price == Decimal("0.0252")
    assert (details.input_price, details.output_price) == (Decimal("0.0172"), Decimal("0.008"))
    assert details.model_dump()["price_source"] == f"genai-prices {genai_prices.__version__}"
    assert details.model_dump()["price_exact"] is True
    assert priced.model_copy(update={"total_price": None, "price_details": None}) == unpriced


def test_the_decimal_context_of_the_caller_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(
        'currency="USD"\n[[prices]]\nmodel="own"\ninput=1.23456789\ncached=1\noutput=0\ndiscount=12.3456789\n'
    )

    def prices(context: Context) -> list[tuple[Decimal | None, PriceDetails | None]]:
        with localcontext(context):
            book = PriceBook.load(tmp_path / "prices.toml").or_else(PriceBook(ListedPrices()))
            calls = [
                with_price(call(model, 1_234_567, 7_654, prompt_details={"cached_tokens": 234}), book)
                for model in ("own", "gpt-4o-mini", "gemini-2.5-pro", "sonar")
            ]
        return [(priced.total_price, priced.price_details) for priced in calls]

    assert prices(Context(prec=3)) == prices(Context(prec=60))


def test_a_price_that_is_there_stays(book: PriceBook) -> None:
    bought = call("gpt-4o").model_copy(update={"total_price": Decimal("0.5")})
    assert with_price(bought, book) is bought
    unknown = call("nobody")
    assert with_price(unknown, book) is unknown
    noted = call("gpt-4o").model_copy(update={"price_details": PriceDetails.model_validate({"invoice": "7"})})
    details = with_price(noted, book).price_details
    assert details is not None
    assert details.model_dump()["invoice"] == "7"


def test_a_partial_price_has_no_output(book: PriceBook) -> None:
    details = with_price(call("gpt-4o", 1000, 0, completion_details={"token_source": "partial"}), book).price_details
    assert details is not None
    assert (details.input_price, details.output_price) == (Decimal("0.0025"), None)


# The book


def test_many_threads_use_one_book(book: PriceBook) -> None:
    models = ["gpt-4o", "nobody", "claude-sonnet-4-20250514", "deepseek-chat"] * 100
    with ThreadPoolExecutor(8) as pool:
        prices = list(pool.map(lambda model: book.price(call(model)), models))
    assert book.unknown == {"nobody": 100}
    assert len(set(prices)) == 4


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("prices must not touch a network")

    monkeypatch.setattr(socket, "socket", refuse)
    assert PriceBook(ListedPrices()).price(call("gpt-4o")) is not None


def test_what_others_download_does_not_change_a_book(book: PriceBook) -> None:
    from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot

    set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))
    try:
        assert book.price(call("gpt-4o", at=NOVEMBER + timedelta(hours=1))) is not None
    finally:
        set_custom_snapshot(None)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(MissingExtraError, match=r"mofa-usage\[pricing\]"):
        ListedPrices()


def test_tiers_are_sorted_by_their_threshold() -> None:
    from mofa_usage.pricing.listed import _rate

    tiers = [Tier(start=200_000, price=Decimal(3)), Tier(start=128_000, price=Decimal(2))]
    rate = _rate(TieredPrices(base=Decimal(1), tiers=tiers), 1)
    assert rate == ((200_000, Decimal(3)), (128_000, Decimal(2)), (-1, Decimal(1)))


async def test_a_path_is_no_book_and_a_url_no_store() -> None:
    own: Any = "prices.toml"
    for wrong in (
        lambda: PriceBook.default().or_else(own),
        lambda: backfill_prices(InMemoryStore(), own),
        lambda: import_calls(InMemoryStore(), "calls.csv", prices=own),
    ):
        with pytest.raises(UsageError, match="book is a str; give a PriceBook"):
            await wrong()  # type: ignore[misc]
    for wrong in (lambda: backfill_prices(own), lambda: import_calls(own, "calls.csv")):
        with pytest.raises(UsageError, match="a str is no store; open one: async with connect"):
            await wrong()


@pytest.mark.parametrize("wrong", ["gpt-4o", None, {"model_name": "gpt-4o"}])
def test_only_a_call_has_a_price(book: PriceBook, wrong: Any) -> None:
    with pytest.raises(UsageError, match="a price is that of an LLMApiCall, not of a"):
        book.price(wrong)
    with pytest.raises(UsageError, match="given by its path, not by a int"):
        PriceBook.load(3)  # type: ignore[arg-type]
