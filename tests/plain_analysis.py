"""The measures and time buckets of the contract computed the plain way, row by row, to compare the analysis with.

Nothing here is shared with the package: money is `Fraction`, quantiles are numpy's, local time is `zoneinfo`'s.
`calls()` draws rows, `frames()` puts them into each engine.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import polars as pl
from hypothesis import strategies as st

from mofa_usage.reading.columns import CALL_SCHEMA

Row = dict[str, Any]
SCHEMA: dict[str, Any] = {
    **CALL_SCHEMA,
    **dict.fromkeys(("operation", "service_tier", "environment", "token_source", "request_id"), pl.String),
    **dict.fromkeys(("served_model", "retried", "labels.feature", "session.plan", "team"), pl.String),
    **dict.fromkeys(("price_source", "converted_from"), pl.String),
    "attempt": pl.Int64,
}
"""The columns of a frame of calls, and further ones: a label, a session's, somebody's own, two of other money."""
NIL = "00000000-0000-0000-0000-000000000000"
STATUSES = ("success", "failed", "timeout", "rate_limited", "cancelled")
MONEY_MEASURES = ("cost", "cost_per_call", "cost_per_success", "cost_per_1k_tokens", "wasted_cost")

_ids = st.sampled_from([NIL, *(f"0190aaaa-0000-7000-8000-00000000000{n}" for n in range(3))])
_tokens = st.one_of(st.integers(0, 5000), st.sampled_from([0, 1, 2**31 - 1]))
_optional_tokens = st.none() | _tokens
_price = st.integers(0, 10**15 - 1).map(lambda units: Decimal(units).scaleb(-10))
_latency = st.none() | st.integers(0, 20_000) | st.sampled_from([0, 1, 2**31 - 1])
_rate = st.none() | st.floats(0, 5000, allow_nan=False)


def call(when: datetime, **fields: Any) -> Row:
    """A row of the frame; everything optional is missing unless given."""
    row = dict.fromkeys(SCHEMA)
    ids = (name for name in SCHEMA if name == "id" or name.endswith("_id"))
    row |= {name: NIL for name in ids if name not in ("api_response_id", "request_id")}
    row |= {"model_name": "m", "status": "success", "currency": "USD", "create_time": when, "update_time": when}
    return row | dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0) | fields


@st.composite
def calls(
    draw: st.DrawFn,
    times: st.SearchStrategy[datetime] | None = None,
    max_size: int = 25,
    currencies: Sequence[str | None] = ("USD", "USD", None, "EUR", "JPY"),
) -> list[Row]:
    """Some rows, with few distinct groups, so that groups have several."""
    if times is None:
        times = st.datetimes(datetime(2024, 12, 20), datetime(2025, 11, 5), timezones=st.just(UTC))
    row = st.fixed_dictionaries(
        {
            "model_name": st.sampled_from(["a", "b", "B"]),
            "provider_name": st.none() | st.sampled_from(["p", "q"]),
            "error_code": st.none() | st.sampled_from(["429", ""]),
            "status": st.sampled_from(STATUSES),
            # Whatever a call without a price says, it has no currency; a priced one that does not say is in USD.
            "currency": st.sampled_from(currencies),
            "retried": st.sampled_from([None, None, "true"]),
            "attempt": st.none() | st.integers(1, 11),
            "operation": st.sampled_from(["chat", "embeddings"]),
            "labels.feature": st.sampled_from([None, "search", ""]),
            "team": st.sampled_from([None, "red", "blue", "other"]),
            "chat_session_id": _ids,
            "user_id": _ids,
            "agent_id": _ids,
            "prompt_tokens": _optional_tokens,
            "completion_tokens": _optional_tokens,
            "total_tokens": _optional_tokens,
            "cached_tokens": _optional_tokens,
            "cache_write_tokens": _optional_tokens,
            "reasoning_tokens": _optional_tokens,
            "total_price": st.none() | _price,
            "price_source": st.sampled_from([None, "recorded", "computed", "standard_estimate"]),
            "converted_from": st.sampled_from([None, "USD"]),
            "latency_ms": _latency,
            "time_to_first_token_ms": _latency,
            "tokens_per_second": _rate,
        }
    )
    return [call(draw(times), **draw(row)) for _ in range(draw(st.integers(0, max_size)))]


def polars_frame(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA)


def frames(rows: Sequence[Row], session_zone: str = "America/New_York") -> Iterator[Any]:
    """The rows as Polars frame, lazy frame and DuckDB relation whose connection lives in some other zone."""
    frame = polars_frame(rows)
    yield frame
    yield frame.lazy()
    yield relation(frame, session_zone)


def relation(frame: pl.DataFrame, session_zone: str = "America/New_York") -> duckdb.DuckDBPyRelation:
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{session_zone}'")
    connection.execute("SET threads = 1")
    connection.register("calls", frame)
    return connection.table("calls")


# The measures.


def _values(rows: Sequence[Row], column: str) -> list[Any]:
    return [row[column] for row in rows if row[column] is not None]


def _total(values: Sequence[Any]) -> Any:
    return sum(values) if values else None


def _money(amount: Fraction | None) -> Decimal | None:
    if amount is None:
        return None
    with localcontext(prec=200):
        exact = Decimal(amount.numerator) / Decimal(amount.denominator)
        return exact.quantize(Decimal("1e-10"), ROUND_HALF_EVEN)


def _over(amount: Any, by: Any, scale: int = 1) -> Fraction | None:
    return None if amount is None or not by else Fraction(amount) / Fraction(by) * scale


def _share(part: Any, whole: Any, scale: int = 1) -> float | None:
    quotient = _over(part, whole, scale)
    return None if quotient is None else float(quotient)


def _rates(rows: Sequence[Row]) -> list[float]:
    return [rate for rate in map(_rate_of, rows) if rate is not None]


def _rate_of(row: Row) -> float | None:
    if row["tokens_per_second"] is not None:
        return float(row["tokens_per_second"])
    if row["latency_ms"] and row["completion_tokens"] is not None:
        return float(row["completion_tokens"] / (row["latency_ms"] / 1000))
    return None


def _times_per_token(rows: Sequence[Row]) -> list[float]:
    """Milliseconds from one token to the next, of the calls that have more than one."""
    names = ("latency_ms", "time_to_first_token_ms", "completion_tokens")
    whole = ([row[name] for name in names] for row in rows if None not in [row[name] for name in names])
    return [(latency - first) / (tokens - 1) for latency, first, tokens in whole if tokens > 1]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(np.array(values, dtype=np.float64), q)) if values else None


def _cost(rows: Sequence[Row]) -> Fraction | None:
    prices = _values(rows, "total_price")
    return sum(map(Fraction, prices), Fraction(0)) if prices else None


def _percentile(percent: int) -> Callable[[list[Any]], Any]:
    return lambda found: _quantile(found, percent / 100)


def _percentile_per_token(percent: int) -> Callable[[list[Row]], float | None]:
    return lambda rows: _quantile(_times_per_token(rows), percent / 100)


def _spread(prefix: str, column: str) -> dict[str, Callable[[list[Row]], Any]]:
    def value(statistic: Callable[[list[Any]], Any]) -> Callable[[list[Row]], Any]:
        return lambda rows: statistic(_values(rows, column))

    return {
        f"{prefix}_mean": value(lambda found: _share(_total(found), len(found))),
        **{f"{prefix}_p{p}": value(_percentile(p)) for p in (50, 90, 95, 99)},
        f"{prefix}_max": value(lambda found: max(found, default=None)),
        f"{prefix}_calls": value(len),
    }


def _with_status(*statuses: str) -> Callable[[list[Row]], int]:
    return lambda rows: sum(row["status"] in statuses for row in rows)


def _sum(column: str) -> Callable[[list[Row]], Any]:
    """Of no calls at all it is 0, of calls that all do not know it is unknown."""
    return lambda rows: _total(_values(rows, column)) if rows else 0


def _sum_known(column: str) -> Callable[[list[Row]], Any]:
    return lambda rows: _total(_values(rows, column))


def _distinct(column: str) -> Callable[[list[Row]], int]:
    return lambda rows: len({row[column] for row in rows} - {NIL})


def _priced(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["total_price"] is not None]


def _having(*columns: str) -> Callable[[Sequence[Row]], list[Row]]:
    """The rows that have a value in each of the columns."""
    return lambda rows: [row for row in rows if all(row[column] is not None for column in columns)]


_cached = _having("cached_tokens", "prompt_tokens")
_counted = _having("total_price", "total_tokens")


def _timed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in _having("latency_ms", "completion_tokens")(rows) if row["latency_ms"] > 0]


def _requests(rows: Sequence[Row]) -> int:
    return sum(row["retried"] is None for row in rows)


def _wasted(rows: Sequence[Row]) -> Decimal | None:
    unsuccessful = [row for row in rows if row["status"] != "success"]
    return _money(_cost(unsuccessful)) if unsuccessful else Decimal(0)


PLAIN: dict[str, Callable[[list[Row]], Any]] = {
    "calls": len,
    "success_count": _with_status("success"),
    "failed_count": _with_status("failed"),
    "timeout_count": _with_status("timeout"),
    "rate_limited_count": _with_status("rate_limited"),
    "cancelled_count": _with_status("cancelled"),
    "error_count": _with_status(*STATUSES[1:]),
    "success_rate": lambda rows: _share(_with_status("success")(rows), len(rows)),
    "requests": _requests,
    "request_success_rate": lambda rows: _share(_with_status("success")(rows), _requests(rows)),
    **{name: _sum(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
    "token_coverage": lambda rows: _share(len(_having("prompt_tokens", "completion_tokens")(rows)), len(rows)),
    **{name: _sum_known(name) for name in ("cached_tokens", "cache_write_tokens", "reasoning_tokens")},
    "cache_hit_rate": lambda rows: _share(
        sum(row["cached_tokens"] for row in _cached(rows)), sum(row["prompt_tokens"] for row in _cached(rows))
    ),
    "cost": lambda rows: _money(_cost(rows)),
    "priced_calls": lambda rows: len(_priced(rows)),
    "coverage": lambda rows: _share(len(_priced(rows)), len(rows)),
    "computed_calls": lambda rows: sum(row["price_source"] == "computed" for row in _priced(rows)),
    "estimated_calls": lambda rows: sum(row["price_source"] == "standard_estimate" for row in _priced(rows)),
    "converted_calls": lambda rows: sum(row["converted_from"] is not None for row in _priced(rows)),
    "cost_per_call": lambda rows: _money(_over(_cost(rows), len(_priced(rows)))),
    "cost_per_success": lambda rows: _money(_over(_cost(rows), _with_status("success")(_priced(rows)))),
    "cost_per_1k_tokens": lambda rows: _money(
        _over(_cost(_counted(rows)), sum(row["total_tokens"] for row in _counted(rows)), 1000)
    ),
    "wasted_cost": _wasted,
    **_spread("latency", "latency_ms"),
    **_spread("ttft", "time_to_first_token_ms"),
    "time_per_output_token_mean": lambda rows: _mean(_times_per_token(rows)),
    **{f"time_per_output_token_p{p}": _percentile_per_token(p) for p in (50, 90, 95, 99)},
    "token_rate_mean": lambda rows: _mean(_rates(rows)),
    "token_rate_p50": lambda rows: _quantile(_rates(rows), 0.5),
    "token_rate_p95": lambda rows: _quantile(_rates(rows), 0.95),
    "token_rate_overall": lambda rows: _share(
        sum(row["completion_tokens"] for row in _timed(rows)), sum(row["latency_ms"] for row in _timed(rows)), 1000
    ),
    "sessions": _distinct("chat_session_id"),
    "users": _distinct("user_id"),
    "agents": _distinct("agent_id"),
    "models": _distinct("model_name"),
}

_PER_CALL: dict[str, Callable[[list[Row]], list[Any]]] = {
    "latency": lambda rows: _values(rows, "latency_ms"),
    "ttft": lambda rows: _values(rows, "time_to_first_token_ms"),
    "time_per_output_token": _times_per_token,
    "token_rate": _rates,
    **{name: partial(_values, column=name) for name in ("total_tokens", "prompt_tokens", "completion_tokens")},
}
"""What percentiles by name are of, but for money."""


def per_call(of: str) -> Callable[[list[Row]], list[Any]]:
    """The values of which there are percentiles, by the beginning of their names."""
    return partial(_values, column="total_price") if of == "cost" else _PER_CALL[of]


def money_quantile(amounts: Sequence[Decimal], quantile: Fraction) -> Decimal | None:
    """Between its two neighbours, in fractions."""
    if not amounts:
        return None
    ordered, place = sorted(map(Fraction, amounts)), quantile * (len(amounts) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    return _money(below + (above - below) * (place - math.floor(place)))


def percentile(name: str) -> Callable[[list[Row]], Any]:
    """`latency_p75`: any percentile by its name."""
    of, _, percent = name.rpartition("_p")
    quantile = (Fraction(percent) / 100).limit_denominator(10**9)
    if of == "cost":
        return lambda rows: money_quantile(_values(rows, "total_price"), quantile)
    return lambda rows: _quantile(_PER_CALL[of](rows), float(quantile))


def plain(name: str) -> Callable[[list[Row]], Any]:
    """Any measure of calls by its name."""
    return PLAIN[name] if name in PLAIN else percentile(name)


ADDITIVE = {
    *("calls", "success_count", "failed_count", "timeout_count", "rate_limited_count", "cancelled_count"),
    *("error_count", "requests", "priced_calls", "latency_calls", "ttft_calls", "cost", "wasted_cost"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
}


def of_nothing(name: str) -> Any:
    """What a measure is where nothing was called: what counts is 0, what is said about calls is unknown."""
    if name in ADDITIVE or name in ("sessions", "users", "agents", "models"):
        return Decimal(0) if name in MONEY_MEASURES else 0
    return None


# The dimensions.


def clock_start(moment: datetime, tz: ZoneInfo, unit: timedelta) -> datetime:
    """The start of the minute or hour, found by walking back to a full one or to where the clock was changed."""
    at, step = moment.replace(microsecond=0), timedelta(seconds=1)
    if moment.second == 0 and unit > timedelta(minutes=1):
        step = timedelta(minutes=1)
    while True:
        local = at.astimezone(tz)
        if timedelta(minutes=local.minute if unit > timedelta(minutes=1) else 0, seconds=local.second) == timedelta(0):
            return local
        if (at - step).astimezone(tz).utcoffset() != local.utcoffset():
            return local
        at -= step


def bucket(name: str, moment: datetime, tz: ZoneInfo) -> datetime | date | int:
    local = moment.astimezone(tz)
    today = local.date()
    if name in ("minute", "hour"):
        # In UTC: Python holds the two instants of a repeated hour in one zone to be equal.
        return clock_start(moment, tz, timedelta(**{f"{name}s": 1})).astimezone(UTC)
    buckets: dict[str, date | int] = {
        "day": today,
        "week": date.fromisocalendar(*today.isocalendar()[:2], 1),
        "month": today.replace(day=1),
        "hour_of_day": local.hour,
        "weekday": today.isoweekday(),
    }
    return buckets[name]


_STEPS = {
    "minute": timedelta(seconds=30),
    "hour": timedelta(minutes=10),
    "day": timedelta(hours=3),
    "week": timedelta(days=1),
    "month": timedelta(days=7),
}


@lru_cache
def calendar(name: str, tz: str, first: datetime, last: datetime) -> list[Any]:
    """Every bucket between two instants in its order, found by looking at the clock again and again."""
    at, buckets = first, dict[Any, None]()
    while at < last:
        buckets[bucket(name, at, ZoneInfo(tz))] = None
        at += _STEPS[name]
    return list(buckets)


TIMES = ("minute", "hour", "day", "week", "month", "hour_of_day", "weekday")


def grouped(rows: Sequence[Row], by: Sequence[str], tz: str = "UTC") -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(_key(row, name, ZoneInfo(tz)) for name in by)].append(row)
    return groups


def _key(row: Row, name: str, tz: ZoneInfo) -> Any:
    if name in TIMES:
        return bucket(name, row["create_time"], tz)
    if name == "prompt_length":
        return prompt_length(row["prompt_tokens"])
    value = currency(row) if name == "currency" else row[name]
    return None if value is None else str(value)


def prompt_length(tokens: int | None) -> str | None:
    if tokens is None:
        return None
    ends = ((1000, "0-1k"), (4000, "1-4k"), (16_000, "4-16k"), (64_000, "16-64k"))
    return next((name for end, name in ends if tokens < end), "64k+")


# Money.


def currency(row: Row) -> str | None:
    """The currency of a call: none without a price, USD where a priced one does not say."""
    return None if row["total_price"] is None else row["currency"] or "USD"


def currencies(rows: Sequence[Row]) -> list[str]:
    """Those of the priced calls, the one with most of them first."""
    counts = Counter(found for found in map(currency, rows) if found is not None)
    return sorted(counts, key=lambda name: (-counts[name], name))


def priced_in(rows: Sequence[Row], of: str) -> list[Row]:
    """The calls behind an amount in one currency: those priced in it, and those without a price."""
    return [row for row in rows if currency(row) in (of, None)]


def money(measure: str, rows: Sequence[Row], of: str) -> Any:
    """A measure of money in one currency."""
    return PLAIN[measure](priced_in(rows, of))


# The heaviest, and the rest.


def heaviest(rows: Sequence[Row], category: str, weight: str) -> list[str | None]:
    """The values of a category, the one that weighs most first; money weighs by its currencies, then by calls."""
    known = currencies(rows)

    def place(value: str | None, group: list[Row]) -> list[Any]:
        amounts = [money(weight, group, of) for of in known] if len(known) > 1 else [PLAIN[weight](group)]
        numbers = [*amounts, len(group)] if weight in MONEY_MEASURES else [PLAIN[weight](group)]
        return [*((number is None, -(number or 0)) for number in numbers), (value is None, value or "")]

    groups = {key[0]: group for key, group in grouped(rows, [category]).items()}
    return sorted(groups, key=lambda value: place(value, groups[value]))


def folded(
    rows: Sequence[Row], by: Sequence[str], category: str, named: Sequence[str | None], tz: str = "UTC"
) -> dict[tuple[Any, ...], list[Row]]:
    """Groups whose last key says whether they are of the rest, called other."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for key, group in grouped(rows, by, tz).items():
        rest = key[by.index(category)] not in named
        renamed = ("other" if rest and name == category else value for name, value in zip(by, key, strict=True))
        groups[(*renamed, rest)].extend(group)
    return groups
