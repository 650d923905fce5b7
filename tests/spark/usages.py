"""The same calls on three engines, and answers compared: money, counts and quantiles exactly, floats to 1e-9."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from mofa_usage import UsageFrame, load_usage
from tests.plain_analysis import SCHEMA, STATUSES, Row, call

__all__ = ["Usages", "assert_same", "rows", "usages"]

TZ = "Europe/Berlin"
_NIGHTS = (
    datetime(2025, 3, 29, 20, tzinfo=UTC),  # to summer time
    datetime(2025, 10, 25, 20, tzinfo=UTC),  # and back
    datetime(2024, 12, 30, tzinfo=UTC),  # a year and a week that begin in each other
)


@dataclass(frozen=True)
class Usages:
    """Calls on a cluster, in DuckDB's and in Polars' hands."""

    spark: UsageFrame
    duckdb: UsageFrame
    polars: UsageFrame

    def same(self, question: str, *arguments: Any, **options: Any) -> pl.DataFrame:
        """The answer to a question, which is the same on all three."""
        answers = [getattr(usage, question)(*arguments, **options) for usage in (self.spark, self.duckdb, self.polars)]
        for other in answers[1:]:
            assert_same(answers[0], other)
        found: pl.DataFrame = answers[0]
        return found


def usages(session: Any, calls: list[Row], folder: Path, **options: Any) -> Usages:
    """The calls as each engine reads them."""
    frame, path = pl.DataFrame(calls, schema=SCHEMA), folder / "calls.parquet"
    frame.write_parquet(path)
    options = {"tz": TZ, **options}
    on_spark = load_usage(session.read.parquet(str(path)), **options)
    return Usages(on_spark, load_usage(path, **options), load_usage(frame, **options))


def rows(number: int, seed: int = 11) -> list[Row]:
    """Calls with few groups, in nights when the clock changes: any of their values may be missing."""
    draw = random.Random(seed)
    return [_row(draw, place) for place in range(number)]


def _row(draw: random.Random, place: int) -> Row:
    moment = draw.choice(_NIGHTS) + timedelta(microseconds=draw.randrange(30 * 3600 * 10**6))
    known: dict[str, Any] = {
        "provider_name": draw.choice("pq"),
        "agent_name": draw.choice(["one", "two"]),
        "error_code": draw.choice(["429", ""]),
        "served_model": draw.choice("ab"),
        "service_tier": "batch",
        "environment": draw.choice(["live", "test"]),
        "retried": "true",
        "attempt": draw.randrange(1, 12),
        "labels.feature": draw.choice(["search", "", "über"]),
        "session.plan": "pro",
        "team": draw.choice(["red", "blue", "other"]),
        "token_source": draw.choice(["provider", "estimated", "partial", "completion_only", "none"]),
        "price_source": draw.choice(["recorded", "computed", "standard_estimate"]),
        "converted_from": "USD",
        "currency": draw.choice(["USD", "USD", "EUR", "JPY"]),
        "prompt_tokens": draw.choice([0, 1, draw.randrange(5_000), 2**31 - 1]),
        "completion_tokens": draw.randrange(2_000),
        "total_tokens": draw.randrange(9_000),
        "cached_tokens": draw.randrange(2_000),
        "cache_write_tokens": draw.randrange(1_000),
        "reasoning_tokens": draw.randrange(1_000),
        "total_price": Decimal(draw.randrange(10**15)).scaleb(-10),
        "latency_ms": draw.choice([draw.randrange(20_000), 0, 2**31 - 1]),
        "time_to_first_token_ms": draw.randrange(3_000),
        "tokens_per_second": draw.random() * 500,
    }
    fields = {name: value for name, value in known.items() if draw.random() > 0.2}
    fields |= {"model_name": draw.choice("abB"), "operation": draw.choice(["chat", "embeddings"])}
    fields |= {name: _id(draw.randrange(many)) for name, many in {"user_id": 20, "chat_session_id": 90}.items()}
    missing = dict.fromkeys(known.keys() - fields.keys())
    return call(moment, id=_id(place), status=draw.choice([*STATUSES, "success"]), **{**missing, **fields})


def _id(number: int) -> str:
    return f"0190aaaa-0000-7000-8000-{number:012d}"


def assert_same(one: pl.DataFrame, other: pl.DataFrame) -> None:
    """The answers have the same columns of the same types and the same rows in the same order; so have their totals."""
    for mine, theirs in zip(_with_totals(one), _with_totals(other), strict=True):
        assert mine.schema == theirs.schema
        assert mine.height == theirs.height
        for name in mine.columns:
            for row, (value, wanted) in enumerate(zip(mine[name], theirs[name], strict=True)):
                assert _are_same(value, wanted), f"{name} in row {row} is {value!r}, elsewhere {wanted!r}"


def _are_same(value: Any, wanted: Any) -> bool:
    if isinstance(value, float) and isinstance(wanted, float):
        return abs(value - wanted) <= 1e-9 * max(1.0, abs(wanted))
    return bool(value == wanted)


def _with_totals(answer: pl.DataFrame) -> Iterator[pl.DataFrame]:
    yield pl.DataFrame(answer)
    for above in getattr(answer, "totals", ()):
        yield from _with_totals(above)
