"""What prompt caches saved, what they cost, and what they could have saved.

A provider sells tokens that it finds in its cache at a lower rate, and some of them take more than the usual rate for
putting tokens there. All of it is computed by the rates of a price book on each call's day:

- **saved**: cached tokens x (rate of input - rate of cached tokens);
- **premium**: tokens written x (rate of such a write - rate of input), each lifetime at its own rate;
- **savings**: saved - premium. They may be below zero: then caching cost more than it brought.

Two further numbers need to know which calls could share a cache: those of one session and model, and where a call has
no session, those of one agent, user and model. Other calls may share one, too, which the data cannot say.

- **unread**: tokens written of which no later call among these read anything while they were there (5 minutes, or the
  hour of a 1-hour write). Where one did read, all of it counts as read.
- **missed**: prompt tokens that were not cached although a call among these had sent as many in the 5 minutes before:
  the shorter of this prompt and the longest of those, less what was cached. It is an upper bound of what a cache could
  have read, since nobody knows whether the prompts began alike, and what it would have saved leaves out the premium.

A call whose model has no rates in the book saves an unknown amount, not none: `rate_coverage` says for how many it is
known. Amounts are added up exactly and rounded once, half to even at the tenth place.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import duckdb
import polars as pl

from mofa_usage.analysis import Breakdown, By, PeriodOptions, breakdown
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, MEASURES, Dimension
from mofa_usage.pricing import PriceBook
from mofa_usage.reading.columns import MONEY, NIL, quoted
from mofa_usage.repricing.parts import PARTS_COLUMNS, RATE_COLUMNS, AsOf, as_of_day, ask_for, with_answers
from mofa_usage.zones import Moment

__all__ = ["CacheOptions", "cache_savings"]

_MEASURES = (
    *(ANSWERS[name] for name in ("cache_savings", "cache_saved", "cache_premium")),
    MEASURES["cache_hit_rate"],
    MEASURES["cached_tokens"],
    *(
        ANSWERS[name]
        for name in (
            "written_5m_tokens", "written_1h_tokens", "unread_tokens", "unread_premium", "missed_tokens",
            "missed_savings", "cache_calls", "rate_coverage",
        )
    ),
    MEASURES["calls"],
)  # fmt: skip
"""The columns of the answer."""

_MILLION = Decimal(1_000_000)
_ABSENT = {
    **dict.fromkeys(("chat_session_id", "agent_id", "user_id"), "VARCHAR"),
    **dict.fromkeys(("cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"), "BIGINT"),
}
"""Columns of the calls without which less is known."""

_OWN = (
    "moment", "scope", "sent", "read_after", "unread_5m", "unread_1h", "written_5m_tokens", "written_1h_tokens",
    "unread_tokens", "missed_tokens", "uses_cache", "rated", "cache_saved", "cache_premium", "cache_savings",
    "unread_premium", "missed_savings", *RATE_COLUMNS, *PARTS_COLUMNS,
)  # fmt: skip
"""Columns that are computed here; those of the calls that are called so are not looked at."""

_WRITTEN = """
    SELECT {kept}, epoch_us(create_time) AS moment, {scope} AS scope,
        {written} - coalesce({long}, 0) AS written_5m_tokens,
        CASE WHEN {written} IS NOT NULL THEN coalesce({long}, 0) END AS written_1h_tokens
    FROM "calls with caches"
"""

# What was sent before, and after how long something was read.
_AROUND = """
    SELECT *,
        max(prompt_tokens) OVER (same ORDER BY moment RANGE BETWEEN 300000000 PRECEDING AND 1 PRECEDING) AS sent,
        min(CASE WHEN cached_tokens > 0 THEN moment END)
            OVER (same ORDER BY moment RANGE BETWEEN 1 FOLLOWING AND 3600000000 FOLLOWING) - moment AS read_after
    FROM ({calls}) AS calls
    WINDOW same AS (PARTITION BY model_name, scope)
"""

_LOST = """
    SELECT * EXCLUDE (moment, scope, sent, read_after),
        CASE WHEN read_after <= 300000000 THEN 0 * written_5m_tokens ELSE written_5m_tokens END AS unread_5m,
        CASE WHEN read_after IS NOT NULL THEN 0 * written_1h_tokens ELSE written_1h_tokens END AS unread_1h,
        CASE WHEN cached_tokens IS NOT NULL AND prompt_tokens IS NOT NULL
            THEN greatest(least(prompt_tokens, coalesce(sent, 0)) - cached_tokens, 0) END AS missed_tokens,
        CASE WHEN cached_tokens > 0 OR written_5m_tokens + written_1h_tokens > 0 THEN 1 END AS uses_cache
    FROM ({calls}) AS calls
"""

_VALUED = """
    SELECT *, unread_5m + unread_1h AS unread_tokens,
        {saved} AS cache_saved, {premium} AS cache_premium, {unread} AS unread_premium, {missed} AS missed_savings,
        CASE WHEN rate_input IS NOT NULL THEN uses_cache END AS rated
    FROM "calls with rates"
"""

_SAVED = """
    SELECT * EXCLUDE ({money}), CASE WHEN coalesce(cached_tokens, written_5m_tokens) IS NOT NULL
            AND rate_input IS NOT NULL THEN coalesce(cache_saved, 0) - coalesce(cache_premium, 0) END AS cache_savings,
        CAST(CASE WHEN rate_input IS NOT NULL THEN 0 END AS DECIMAL(38, 10)) AS total_price, price_currency AS currency
    FROM ({calls}) AS calls
"""


class CacheOptions(PeriodOptions, total=False):
    """As `cache_savings` takes them: the period, how many values of the first category to keep, and which prices."""

    top: int | None
    book: PriceBook | None
    as_of: AsOf


def cache_savings(
    calls: duckdb.DuckDBPyRelation,
    by: By | None = None,
    *,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
    top: int | None = None,
    book: PriceBook | None = None,
    as_of: AsOf = "call",
) -> Breakdown:
    """What prompt caches saved and could have saved, by the rates of a price book.

    Args:
        calls: a relation of calls; it needs `model_name`, `create_time`, `prompt_tokens`, `completion_tokens` and
            `cached_tokens`. Without `cache_write_tokens` and the columns of lifetimes no writes are known.
        by: dimensions as `mofa_usage.analysis.breakdown` takes them; by model unless told.
        tz: IANA time zone of time buckets, and of a `start` or `end` that names none.
        start, end: only calls created in [start, end); what came before and after them is looked at all the same.
        top: keep so many values of the first category in `by`, those that saved most; the rest is "other".
        book: which prices, by default the list prices.
        as_of: of which day: "call" for that of each call, "now", or a date.

    Returns:
        A row for each combination of the dimensions, the largest savings first (by time where there is one):
        `cache_savings`, `cache_saved`, `cache_premium` (money, exact), `cache_hit_rate` (cached / prompt tokens, a
        ratio of sums), `cached_tokens`, `written_5m_tokens`, `written_1h_tokens`, `unread_tokens`, `unread_premium`,
        `missed_tokens`, `missed_savings` (an upper bound), `cache_calls` (that read from a cache or wrote to one),
        `rate_coverage` (those of them whose rates are known), `calls`. What no call reports is null.
        `currency`, and what several of them make of money, is that of the book; else as `breakdown` has it.

    Raises:
        UsageError: a column is missing; as `breakdown`.
        MissingExtraError: the extra `pricing` is not installed, and no book is given.
    """
    if "cached_tokens" not in calls.columns:
        raise UsageError("the frame has no column 'cached_tokens', which tells what was read from a cache")
    usual = ["model_name"] if "model_name" in calls.columns else []
    asked = usual if by is None else [by] if isinstance(by, str | Dimension) else list(by)
    # What has no rates is said by `rate_coverage`; nobody asked what it costs.
    answers = ask_for(calls, book or PriceBook.default(), as_of_day(as_of), counted=False)
    around: Any = calls.query("calls with caches", _around(calls.columns))
    valued: Any = with_answers(around, answers).query("calls with rates", _valued(calls.columns))
    answer = breakdown(valued, asked, _MEASURES, tz=tz, start=start, end=end, top=top)
    return _divided(answer)


def _around(columns: Collection[str]) -> str:
    """The calls with what they wrote to a cache, and what of it and of their prompt was lost, as SQL."""
    read = {name: name if name in columns else f"CAST(NULL AS {kind})" for name, kind in _ABSENT.items()}
    every, short, long = (read[f"cache_write_{name}tokens"] for name in ("", "5m_", "1h_"))
    parts = f"coalesce({short}, 0) + coalesce({long}, 0)"
    told = f"coalesce({every}, {short}, {long}) IS NOT NULL"
    session, agent, user = (
        f"coalesce(CAST({read[name]} AS VARCHAR), '{NIL}')" for name in ("chat_session_id", "agent_id", "user_id")
    )
    calls = _WRITTEN.format(
        kept=", ".join(quoted(name) for name in columns if name not in _OWN),
        scope=f"CASE WHEN {session} <> '{NIL}' THEN {session} ELSE {agent} || {user} END",
        written=f"CASE WHEN {told} THEN greatest(coalesce({every}, 0), {parts}) END",
        long=long,
    )
    return _LOST.format(calls=_AROUND.format(calls=calls))


def _valued(columns: Collection[str]) -> str:
    """The calls with what their caches saved, a million times, as SQL over those of `_around` with their rates."""
    short, long, cached = (
        f"rate_{name}" for name in ("cache_write - rate_input", "cache_write_1h - rate_input", "input - rate_cached")
    )
    amounts = {
        "saved": {"cached_tokens": cached},
        "premium": {"written_5m_tokens": short, "written_1h_tokens": long},
        "unread": {"unread_5m": short, "unread_1h": long},
        "missed": {"missed_tokens": cached},
    }
    calls = _VALUED.format(**{name: _amount(parts) for name, parts in amounts.items()})
    money = ", ".join(("unread_5m", *(name for name in ("total_price", "currency") if name in columns)))
    return _SAVED.format(calls=calls, money=money)


def _amount(parts: Mapping[str, str]) -> str:
    """What tokens cost at their rates per million, as SQL; unknown where one of them is."""
    nothing = " AND ".join(f"{tokens} = 0" for tokens in parts)  # so most calls are spared the slow cast
    exact = " + ".join(f"{tokens} * ({rate})" for tokens, rate in parts.items())
    return f"CASE WHEN {nothing} AND rate_input IS NOT NULL THEN 0 ELSE CAST({exact} AS DECIMAL(38, 10)) END"


def _divided(answer: Breakdown) -> Breakdown:
    """The answer with its money, of which it has the million times: divided once, after all is added up exactly."""
    money = [name for name, held in answer.roles.measures.items() if held.measure.kind == "money"]
    with localcontext(prec=60):
        amounts = [pl.Series(name, list(map(_part, answer[name])), dtype=MONEY) for name in money]
    return Breakdown.of(pl.DataFrame(answer).with_columns(amounts), replace(answer.roles, question="cache_savings"))


def _part(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else (amount / _MILLION).quantize(Decimal("1e-10"), ROUND_HALF_EVEN)
