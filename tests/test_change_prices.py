"""Why the cost changed, where a price book knows what tokens cost: one cause at a time, and prices that change."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from mofa_usage import load_usage
from mofa_usage.errors import MissingExtraError
from mofa_usage.pricing import PriceBook
from tests.plain_analysis import Row, call, polars_frame
from tests.test_change import APRIL, FACTORS, MAY, causes, each_alone, explained, week

PRICES = """
currency = "USD"
[[prices]]
model = "known"
from = 2026-01-01
input = 2
cached = 0.5
cache_write = 2.5
cache_write_1h = 4
output = 8
[[prices]]
model = "known"
from = 2026-04-15
input = 3
cached = 0.75
cache_write = 3.75
cache_write_1h = 6
output = 12
[[prices]]
model = "steady"
from = 2026-01-01
input = 2
cached = 0.5
cache_write = 2.5
cache_write_1h = 4
output = 8
"""


def paid(
    start: int, prompt: int, completion: int, cached: int = 0, written: int = 0, *, factor: str = "0.8", **more: Any
) -> list[Row]:
    """A week of calls of the model "steady", of whose price somebody got a discount of 20%."""
    price = (Decimal(prompt - cached - written) * 2 + Decimal(cached) / 2 + Decimal(written) * Decimal("2.5")) / 10**6
    price = (price + Decimal(completion) * 8 / 10**6) * Decimal(factor)
    more = {"model_name": "steady", "cached_tokens": cached, "cache_write_tokens": written, **more}
    return week(start, price=str(price), prompt_tokens=prompt, completion_tokens=completion, **more)


BY_BOOK: dict[str, Callable[[], list[Row]]] = {
    "volume": lambda: paid(0, 1001, 99, 33) + paid(7, 1001, 99, 33, calls_a_day=5),
    "tokens_per_call": lambda: paid(0, 1001, 99) + paid(7, 2057, 57),
    "cache": lambda: paid(0, 1001, 99) + paid(7, 1001, 99, 700, 100),
    "price": lambda: paid(0, 1001, 99, 33) + paid(7, 1001, 99, 33, factor="1"),
    "mix": lambda: [
        *paid(0, 1001, 99, calls_a_day=3),
        *paid(0, 57, 9, status="failed"),
        *paid(7, 1001, 99),
        *paid(7, 57, 9, status="failed", calls_a_day=3),
    ],
}


def test_one_cause_shows_alone_at_the_prices_of_a_book(book: PriceBook) -> None:
    each_alone(BY_BOOK, "status", book=book)


def test_a_price_that_the_provider_changed_is_price(book: PriceBook) -> None:
    """From April 15 on everything is half as dear again: that is in the second week, on five days of seven."""
    before, after = paid(0, 1000, 100, 200, factor="1"), paid(7, 1000, 100, 200, factor="1")
    for row in after[4:]:
        row["total_price"] = row["total_price"] * 3 / 2
    for row in before + after:
        row["model_name"] = "known"
    answer = explained(before + after, book=book)
    assert causes(answer) == {"price"}
    assert answer["price"].item() == before[0]["total_price"] / 2 * 10


def test_size_of_the_prompt_decides_over_its_price() -> None:
    """claude-sonnet-4-5 costs more above 200,000 tokens: more of such prompts are no other tokens per call alone."""
    book = PriceBook.default()
    rows = [
        call(when + timedelta(hours=hour), model_name="claude-sonnet-4-5", prompt_tokens=tokens, completion_tokens=100)
        for when, sizes in ((APRIL[0], (1000, 1000, 300_000)), (MAY[0], (1000, 300_000, 300_000)))
        for hour, tokens in enumerate(sizes)
    ]
    rates = {True: Decimal("6"), False: Decimal("3")}
    for row in rows:
        is_long = row["prompt_tokens"] > 200_000
        output = Decimal("22.5") if is_long else Decimal(15)
        row["total_price"] = (row["prompt_tokens"] * rates[is_long] + 100 * output) / 10**6
    answer = explained(rows, book=book)
    assert answer["cost_change"].item() == sum(answer[factor].item() for factor in FACTORS)
    assert answer["cache"].item() == 0
    assert answer["tokens_per_call"].item() > 0
    assert answer["price"].item() > 0  # the dearer rate of long prompts


def test_an_hour_s_cache_costs_more_than_that_of_five_minutes(book: PriceBook) -> None:
    frame = polars_frame(paid(0, 1000, 0, 0, 1000, factor="1") + paid(7, 1000, 0, 0, 1000, factor="1"))
    lifetime = pl.when(pl.col("create_time") < MAY[0]).then(pl.lit(None)).otherwise(1000).cast(pl.Int64)
    price = pl.when(pl.col("create_time") < MAY[0]).then("total_price").otherwise(Decimal("0.004"))
    frame = frame.with_columns(cache_write_1h_tokens=lifetime, total_price=price.cast(frame.schema["total_price"]))
    answer = load_usage(frame).explain_change(APRIL, MAY, book=book)
    assert causes(answer) == {"cache"}
    assert answer["cache"].item() == 14 * (Decimal("0.004") - Decimal("0.0025"))


def test_models_that_no_book_knows_are_no_warning(book: PriceBook, caplog: pytest.LogCaptureFixture) -> None:
    explained(week(0) + week(7), book=book)
    assert not book.unknown
    assert not caplog.records


def test_without_the_extra_calls_say_what_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> PriceBook:
        raise MissingExtraError("genai_prices", "pricing")

    monkeypatch.setattr(PriceBook, "default", missing)
    assert causes(explained(week(0, model_name="gpt-4o") + week(7, model_name="gpt-4o", calls_a_day=5))) == {"volume"}
