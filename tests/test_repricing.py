"""A price book joined with many calls says of each what it says of that call alone."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import genai_prices
import polars as pl
import pytest
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from mofa_usage import LLMApiCall, PriceBook
from mofa_usage.pricing.rates import PARTS
from mofa_usage.reading.frame import frame_of_records
from mofa_usage.records import NIL_UUID
from mofa_usage.repricing.parts import with_parts
from mofa_usage.usage import load_usage
from tests.proofs import trials

NOVEMBER = date(2026, 11, 30)
PRICES = """
currency = "EUR"

[[prices]]
model = "own"
input = 2.53
cached = 0.123456
cache_write = 3.1
cache_write_1h = 5.55
output = 10.01
discount = 12.5

[[prices]]
model = "own"
from = 2026-05-21
input = 0.0000000003
output = 0.0000000001
discount = 0.0000000007

[[prices]]
model = "dear*"
input = 999999999.9999999999
output = 1
discount = 0.0000000001

[[prices]]
model = "whole"
input = 3
output = 15
"""


@pytest.fixture(scope="module")
def book(book: PriceBook) -> PriceBook:
    """Those prices first, then the list prices."""
    return book.or_else(PriceBook.default())


MODELS = (
    *("own", "dear-one", "whole", "nobody-knows", "gpt-4o", "gpt-5", "gpt-4o-audio-preview", "gpt-audio"),
    *("claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-5", "gemini-2.5-pro", "gemini-2.5-flash", "deepseek-chat"),
    *("gemini-2.5-flash-lite", "text-embedding-3-small", "qwen3-235b-a22b", "sonar-reasoning-pro", "gpt-4o-2029-01-01"),
)
_tokens = st.integers(0, 5_000) | st.sampled_from([0, 1, 199_999, 200_000, 200_001, 300_000])
_part = st.none() | st.integers(0, 3_000)


@st.composite
def api_calls(draw: st.DrawFn) -> LLMApiCall:
    """A call with every kind of token that a frame knows; some of their parts are more than the whole."""
    prompt, completion = draw(_tokens), draw(_tokens)
    known = draw(st.sampled_from(["provider"] * 5 + ["estimated", "partial", "none", "completion_only"]))
    prompt = 0 if known in ("none", "completion_only") else prompt
    completion = 0 if known in ("none", "partial") else completion
    bounded = {name: draw(_part) for name in ("cached_tokens", "cache_write_tokens", "audio_tokens")}
    prompt_details = {name: value and min(value, prompt) for name, value in bounded.items()}
    prompt_details |= {f"cache_write_{life}_tokens": draw(_part) for life in ("5m", "1h") if draw(st.booleans())}
    spoken = {name: draw(_part) for name in ("reasoning_tokens", "audio_tokens")}
    completion_details: dict[str, Any] = {name: value and min(value, completion) for name, value in spoken.items()}
    at = draw(st.datetimes(datetime(2025, 6, 1), datetime(2026, 11, 30), timezones=st.just(UTC)))
    labels = {
        "service_tier": draw(st.sampled_from(["", "batch", "flex", "priority", "default", "Auto"])),
        "speed": draw(st.sampled_from(["", "fast", "standard"])),
        "provider": draw(st.sampled_from(["", "openai", "azure", "openrouter", "ollama", "somebody"])),
        "served_model": draw(st.sampled_from(["", "gpt-4o-2024-08-06", "gpt-5-2025-08-07", "own"])),
        "inference_geo": draw(st.sampled_from(["", "us", "Global"])),
        "web_search_requests": draw(st.sampled_from(["", "3", "-1", "999999999", "1234567890", "x"])),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(labels)), max_size=3))
    return LLMApiCall.success(
        chat_session_id=NIL_UUID,
        agent_id=NIL_UUID,
        user_id=NIL_UUID,
        model_name=draw(st.sampled_from(MODELS)),
        prompt_tokens=prompt,
        completion_tokens=completion,
        request_time=at,
        response_time=at,
        prompt_tokens_details={**prompt_details},
        completion_tokens_details={**completion_details, **({"token_source": known} if known != "provider" else {})},
        labels={name: labels[name] for name in chosen},
    )


def frame_of(calls: Sequence[LLMApiCall]) -> pl.DataFrame:
    return load_usage(frame_of_records(calls, [], [], [])).frame


def relation_of(calls: Sequence[LLMApiCall], session_zone: str = "America/New_York") -> duckdb.DuckDBPyRelation:
    database = duckdb.connect()
    database.sql(f"SET TimeZone = '{session_zone}'")
    database.register("these", frame_of(calls))
    return database.table("these")


def by_id(priced: duckdb.DuckDBPyRelation) -> dict[str, dict[str, Any]]:
    frame = pl.DataFrame(pl.from_arrow(priced.to_arrow_table()))
    return {row["id"]: row for row in frame.to_dicts()}


@pytest.mark.proof
@settings(max_examples=trials(4, 120), deadline=None)
@given(calls=st.lists(api_calls(), min_size=20, max_size=60), on=st.none() | st.dates(date(2025, 6, 1), NOVEMBER))
def test_each_call_costs_what_it_costs_alone(calls: list[LLMApiCall], on: date | None, book: PriceBook) -> None:
    rows = by_id(with_parts(relation_of(calls), book, as_of=on or "call"))
    assert len(rows) == len(calls)
    for call in calls:
        row, price = rows[str(call.id)], book.price(call, on=on)
        if price is None:
            told = ("part_total", "price_currency", "price_is_exact", *(f"part_{part}" for part in PARTS))
            assert {row[name] for name in told} == {None}
            continue
        assert row["part_total"] == price.total
        assert [row[f"part_{part}"] for part in PARTS] == [getattr(price, part) for part in PARTS]
        assert (row["price_currency"], row["price_is_exact"]) == (price.currency, price.exact)


INVOICES = [
    # (900 - 300) * 2.50 + 300 * 1.25 + 100 * 10 = 1500 + 375 + 1000 = 2875 millionths
    ("gpt-4o", {"prompt_tokens": 900, "completion_tokens": 100, "cached_tokens": 300}, "0.002875"),
    (
        "gpt-4o-mini",
        # 700 * 0.15 + 300 * 0.075 + 100 * 0.60 = 105 + 22.5 + 60 = 187.5
        {"prompt_tokens": 1_000, "completion_tokens": 100, "cached_tokens": 300},
        "0.0001875",
    ),
    (
        "claude-sonnet-4-20250514",
        # 1500 * 3 + 20000 * 0.30 + 3000 * 3.75 + 2000 * 6 + 700 * 15 = 4500 + 6000 + 11250 + 12000 + 10500 = 44250
        {
            "prompt_tokens": 26_500, "completion_tokens": 700, "cached_tokens": 20_000, "cache_write_tokens": 5_000,
            "cache_write_5m_tokens": 3_000, "cache_write_1h_tokens": 2_000,
        },
        "0.04425",
    ),
    # above 200,000 all of it: 150001 * 2.50 + 50000 * 0.25 + 1000 * 15 = 375002.5 + 12500 + 15000 = 402502.5
    ("gemini-2.5-pro", {"prompt_tokens": 200_001, "completion_tokens": 1_000, "cached_tokens": 50_000}, "0.4025025"),
]  # fmt: skip


DETAILS = (
    *("cached_tokens", "cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "prompt_audio_tokens"),
    *("reasoning_tokens", "completion_audio_tokens", "token_source", "served_model", "service_tier"),
)


@pytest.mark.proof
@settings(max_examples=trials(4, 60), deadline=None)
@given(
    calls=st.lists(api_calls(), min_size=10, max_size=30),
    gone=st.sets(st.sampled_from(DETAILS), min_size=1),
    models=st.sets(st.sampled_from(MODELS), min_size=1, max_size=2),
)
def test_a_column_that_is_not_there_is_one_that_says_nothing(
    calls: list[LLMApiCall], gone: set[str], models: set[str], book: PriceBook
) -> None:
    frame = frame_of(calls).filter(pl.col("model_name").is_in(models))  # of few models all rates may be short ones
    database = duckdb.connect()
    database.register("these", frame.with_columns(pl.lit(None, frame.schema[name]).alias(name) for name in gone))
    database.register("without", frame.drop(gone))
    null, absent = (by_id(with_parts(database.table(name), book)) for name in ("these", "without"))
    for number, row in null.items():
        assert absent[number] == {name: value for name, value in row.items() if name not in gone}


def test_invoices_by_hand() -> None:
    """OpenAI, Anthropic and Google: US dollars per million tokens, from their price pages."""
    at = datetime(2026, 11, 20, 12, tzinfo=UTC)
    rows = [{"model_name": model, "create_time": at, **counts} for model, counts, _ in INVOICES]
    priced = load_usage(pl.DataFrame(rows, infer_schema_length=None)).with_prices().frame
    assert list(priced["total_price"]) == [Decimal(expected) for *_, expected in INVOICES]
    assert set(priced["price_source"]) == {"computed"}


@pytest.mark.proof
def test_list_prices_are_those_of_genai_prices() -> None:
    """Its own arithmetic, on as many of its models as there is time for."""
    models = [(provider.id, model.id) for provider in providers for model in provider.models]
    step = trials(60, 4)
    at, usage = datetime(2026, 11, 20, 12, tzinfo=UTC), {"input_tokens": 1_200, "output_tokens": 340}
    rows, expected = [], []
    for provider, model in models[::step]:
        try:
            priced = genai_prices.calc_price(
                genai_prices.Usage(**usage, cache_read_tokens=500),
                model_ref=model,
                provider_id=provider,
                genai_request_timestamp=at,
            )
        except (LookupError, ValueError):
            continue
        counts = {"prompt_tokens": 1_200, "completion_tokens": 340, "cached_tokens": 500}
        rows.append({"model_name": model, "provider_name": provider, "create_time": at, **counts})
        expected.append((provider, model, priced.total_price))
    found = load_usage(pl.DataFrame(rows)).with_prices().frame
    assert len(found) > 20
    for (provider, model, total), ours in zip(expected, found["total_price"], strict=True):
        if ours is not None:  # what is priced by the page or the hour has no price here
            assert abs(ours - total) <= Decimal("1E-10"), (provider, model)
    assert found["total_price"].null_count() < len(found) / 4
