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

Whether caching would pay is told by both sides of it. **candidate savings** are those of a cache that all calls write
to: what was missed would be read, and what was neither read, nor written, nor sent in the 5 minutes before would be
written, at the premium of a 5-minute write. Where prompts are seldom sent again that is below zero.

So that ten million calls take seconds, what tells caches apart is hashed to 64 bits before it is sorted: that two of a
million caches are taken for one has a chance below one in ten million. And what costs alike is added up as tokens
before money is computed of it.

A call whose model has no rates in the book saves an unknown amount, not none: `rate_coverage` says for how many it is
known. Amounts are added up exactly and rounded once, half to even at the tenth place.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import repeat
from typing import Any, Literal, TypeAlias

import duckdb
import polars as pl

from mofa_usage.analysis import Breakdown, By, PeriodOptions, breakdown
from mofa_usage.analysis.asking import found
from mofa_usage.analysis.engine import WEIGHT, open_calls
from mofa_usage.analysis.quotients import quotients
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, MEASURES, Dimension
from mofa_usage.pricing import PriceBook
from mofa_usage.reading.columns import LABEL, NIL, created_in, quoted
from mofa_usage.repricing.charges import own
from mofa_usage.repricing.parts import RATE_COLUMNS, AsOf, answered_sql, as_of_day, ask_for
from mofa_usage.repricing.quoting import Answers
from mofa_usage.repricing.steps import asked
from mofa_usage.zones import Moment, time_range, zone

__all__ = ["CacheOptions", "cache_savings"]

_MEASURES = (
    *(ANSWERS[name] for name in ("cache_savings", "cache_saved", "cache_premium")),
    MEASURES["cache_hit_rate"],
    MEASURES["cached_tokens"],
    *(
        ANSWERS[name]
        for name in (
            "written_5m_tokens", "written_1h_tokens", "unread_tokens", "unread_premium", "missed_tokens",
            "missed_savings", "candidate_savings", "cache_calls", "rate_coverage",
        )
    ),
    MEASURES["calls"],
)  # fmt: skip
"""The columns of the answer."""

Rank: TypeAlias = Literal["savings", "candidates"]
_RANKED = {
    "savings": _MEASURES,
    "candidates": sorted(_MEASURES, key=lambda one: one.name != "candidate_savings"),
}
"""The same with the column in front by which the rows are ranked."""

_MILLION = 1_000_000
_WRITES = ("cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
_ABSENT = {
    **dict.fromkeys(("chat_session_id", "agent_id", "user_id"), "VARCHAR"),
    **dict.fromkeys(_WRITES, "BIGINT"),
}
"""Columns of the calls without which less is known."""

_SAID_BY = {
    "served": ("served_model",),
    "provider": (f"{LABEL}provider", "provider_name"),
    "service_tier": ("service_tier",),
    "speed": (f"{LABEL}speed",),
}
"""The columns in which calls may say what their price depends on, by the names of `CallKind`."""

_OWN = (
    "moment", "same", "sent", "read_after", "unread_5m", "unread_1h", "written_5m_tokens", "written_1h_tokens",
    "unread_tokens", "missed_tokens", "unwritten_tokens", "uses_cache", "rated", "cache_saved", "cache_premium",
    "cache_savings", "unread_premium", "missed_savings", "candidate_savings", "total_price", "currency", "place",
    *RATE_COLUMNS,
)  # fmt: skip
"""Columns that are computed here; those of the calls that are called so are not looked at."""

_SUMMED = (
    "prompt_tokens", "cached_tokens", "written_5m_tokens", "written_1h_tokens", "unread_5m", "unread_1h",
    "missed_tokens", "unwritten_tokens",
)  # fmt: skip
"""The tokens of calls that are added up."""

_WRITTEN = """
    SELECT {kept}, epoch_us(create_time) AS moment, hash(model_name, {session}, {others}) AS same,
        {written} - coalesce({long}, 0) AS written_5m_tokens,
        CASE WHEN {written} IS NOT NULL THEN coalesce({long}, 0) END AS written_1h_tokens
    FROM "calls with caches"
"""

# What was sent before, and after how long something was read.
_AROUND = """
    SELECT *,
        max(prompt_tokens) OVER (alike ORDER BY moment RANGE BETWEEN 300000000 PRECEDING AND 1 PRECEDING) AS sent,
        {read_after} AS read_after
    FROM ({calls}) AS calls
    WINDOW alike AS (PARTITION BY same)
"""
_READ_AFTER = """
        first_value(CASE WHEN cached_tokens > 0 THEN moment END IGNORE NULLS)
            OVER (alike ORDER BY moment RANGE BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) - moment
"""

_LOST = """
    SELECT * EXCLUDE (moment, same, sent, read_after),
        CASE WHEN read_after <= 300000000 THEN 0 * written_5m_tokens ELSE written_5m_tokens END AS unread_5m,
        CASE WHEN read_after <= 3600000000 THEN 0 * written_1h_tokens ELSE written_1h_tokens END AS unread_1h,
        CASE WHEN cached_tokens IS NOT NULL AND prompt_tokens IS NOT NULL
            THEN greatest(least(prompt_tokens, coalesce(sent, 0)) - cached_tokens, 0) END AS missed_tokens,
        CASE WHEN cached_tokens IS NOT NULL AND prompt_tokens IS NOT NULL
            THEN greatest(
                prompt_tokens - greatest(cached_tokens, coalesce(sent, 0))
                    - coalesce(written_5m_tokens + written_1h_tokens, 0),
                0
            ) END AS unwritten_tokens,
        CASE WHEN cached_tokens > 0 OR written_5m_tokens + written_1h_tokens > 0 THEN 1 END AS uses_cache
    FROM ({calls}) AS calls
"""

_RATED = """
    SELECT {columns}, {rates}, {currency} AS currency,
        CAST(CASE WHEN {rate_input} IS NOT NULL THEN 0 END AS DECIMAL(38, 10)) AS total_price
    FROM ({calls}) AS calls
"""

# Whether a count is known is part of the key, since a sum of known and unknown ones would not tell.
_ALIKE = """
    SELECT {keys}uses_cache, currency, total_price, {rates}, prompt_tokens IS NULL, cached_tokens IS NULL,
        {sums}, count(*) AS {weight}
    FROM {calls} WHERE {period} GROUP BY ALL
"""

_MINUTE = "make_timestamptz(epoch_us(create_time) - (epoch_us(create_time) % 60000000 + 60000000) % 60000000)"

_VALUED = """
    SELECT *, unread_5m + unread_1h AS unread_tokens,
        {saved} AS cache_saved, {premium} AS cache_premium, {unread} AS unread_premium, {missed} AS missed_savings,
        missed_savings - {unwritten} AS candidate_savings,
        CASE WHEN rate_input IS NOT NULL THEN uses_cache END AS rated,
        CASE WHEN coalesce(cached_tokens, written_5m_tokens) IS NOT NULL AND rate_input IS NOT NULL
            THEN coalesce(cache_saved, 0) - coalesce(cache_premium, 0) END AS cache_savings
    FROM ({calls}) AS calls
"""


class CacheOptions(PeriodOptions, total=False):
    """As `cache_savings` takes them: the period, how many values of the first category to keep, and which prices."""

    top: int | None
    book: PriceBook | None
    as_of: AsOf
    rank: Rank


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
    rank: Rank = "savings",
) -> Breakdown:
    """What prompt caches saved and could have saved, by the rates of a price book.

    Args:
        calls: a relation of calls; it needs `model_name`, `create_time`, `prompt_tokens`, `completion_tokens` and
            `cached_tokens`. Without `cache_write_tokens` and the columns of lifetimes no writes are known.
        by: dimensions as `mofa_usage.analysis.breakdown` takes them; by model unless told.
        tz: IANA time zone of time buckets, and of a `start` or `end` that names none.
        start, end: only calls created in [start, end); what came before and after them is looked at all the same.
        top: keep so many values of the first category in `by`, those of the highest rank; the rest is "other".
        book: which prices, by default the list prices.
        as_of: of which day: "call" for that of each call, "now", or a date.
        rank: what ranks the rows, in the first column: "savings", what caches saved; or "candidates", where caching
            would pay most, `candidate_savings`.

    Returns:
        A row for each combination of the dimensions, the highest rank first (by time where there is one):
        `cache_savings`, `cache_saved`, `cache_premium` (money, exact), `cache_hit_rate` (cached / prompt tokens, a
        ratio of sums), `cached_tokens`, `written_5m_tokens`, `written_1h_tokens`, `unread_tokens`, `unread_premium`,
        `missed_tokens`, `missed_savings` (an upper bound), `candidate_savings` (those less the premium of writing the
        rest of all prompts: below zero where caching would not pay; an upper bound, too), `cache_calls` (that read from
        a cache or wrote to one), `rate_coverage` (those of them whose rates are known), `calls`. What no call reports
        is null. `currency`, and what several of them make of money, is that of the book; else as `breakdown` has it.

    Raises:
        UsageError: a column is missing, `rank` is neither; as `breakdown`.
        MissingExtraError: the extra `pricing` is not installed, and no book is given.
    """
    if rank not in _RANKED:
        raise UsageError(f"rank = {rank!r}; it is one of: {', '.join(_RANKED)}")
    if "cached_tokens" not in calls.columns:
        raise UsageError("the frame has no column 'cached_tokens', which tells what was read from a cache")
    first, last = time_range(start, end, zone(tz))
    # What has no rates is said by `rate_coverage`; nobody asked what it costs.
    answers = ask_for(calls, book or PriceBook.default(), as_of_day(as_of), counted=False)
    around: Any = calls.query("calls with caches", _around(calls.columns, _has_writes(calls)))
    rated = asked(around, lambda these: _rated(these, around.columns, answers))
    dimensions = found(by, open_calls(rated))
    valued = asked(rated, lambda these: _valued(_alike(these, rated, dimensions, first, last)))
    small = pl.DataFrame(pl.from_arrow(valued.to_arrow_table()))
    return _divided(breakdown(small, dimensions, _RANKED[rank], tz=tz, top=top))


def _has_writes(calls: duckdb.DuckDBPyRelation) -> bool:
    """Whether it is known of any call that it wrote something to a cache."""
    wrote = [f"{name} > 0" for name in _WRITES if name in calls.columns]
    if not wrote:
        return False
    found = asked(calls, lambda these: f"SELECT count(*) FILTER ({' OR '.join(wrote)}) FROM {these}").fetchall()  # noqa: S608
    return bool(found[0][0])


def _around(columns: Collection[str], has_writes: bool) -> str:
    """The calls with what they wrote to a cache, and what of it and of their prompt was lost, as SQL.

    Where nothing was written, nobody looks for who read it.
    """
    read = {name: name if name in columns else f"CAST(NULL AS {kind})" for name, kind in _ABSENT.items()}
    every, short, long = (read[f"cache_write_{name}tokens"] for name in ("", "5m_", "1h_"))
    parts = f"coalesce({short}, 0) + coalesce({long}, 0)"
    told = f"coalesce({every}, {short}, {long}) IS NOT NULL"
    session, agent, user = (
        f"coalesce(CAST({read[name]} AS VARCHAR), '{NIL}')" for name in ("chat_session_id", "agent_id", "user_id")
    )
    calls = _WRITTEN.format(
        kept=", ".join(quoted(name) for name in columns if name not in _OWN),
        session=session,
        others=f"CASE WHEN {session} = '{NIL}' THEN hash({agent}, {user}) END",
        written=f"CASE WHEN {told} THEN greatest(coalesce({every}, 0), {parts}) END",
        long=long,
    )
    read_after = _READ_AFTER if has_writes else "CAST(NULL AS BIGINT)"
    return _LOST.format(calls=_AROUND.format(calls=calls, read_after=read_after))


def _rated(these: str, has: Collection[str], answers: Answers) -> str:
    """The calls of `_around` with the rates of a book for them, as SQL.

    What no call says of itself is not looked at, since it would be sorted with each of them.
    """
    kinds = answers.priced | answers.unknown
    unsaid = {
        column
        for name, columns in _SAID_BY.items()
        if not any(getattr(kind, name) for kind in kinds)
        for column in columns
    }
    return _RATED.format(
        columns=", ".join(map(quoted, has)),
        rates=", ".join(f"{own(f'r {name}')} AS {name}" for name in RATE_COLUMNS),
        currency=own("r currency"),
        rate_input=own("r rate_input"),
        calls=answered_sql(these, [name for name in has if name not in unsaid], answers),
    )


def _alike(
    these: str,
    calls: duckdb.DuckDBPyRelation,
    dimensions: Sequence[Dimension],
    start: datetime | None,
    end: datetime | None,
) -> str:
    """The calls of a period, of those that are alike the sums, as SQL: few rows, which money is then computed of.

    Alike are calls of the same values of what the dimensions need, and the same rates. Buckets of time are told apart
    by the minute. Where one is made of what is to be summed, or of nobody knows what, each call is a row.
    """
    needs = dict.fromkeys(name for dimension in dimensions for name in dimension.needs)
    each = any(dimension.expression is not None for dimension in dimensions) or not needs.keys().isdisjoint(_SUMMED)
    kinds = dict(zip(calls.columns, map(str, calls.types), strict=True))
    keys = {
        name: f"CAST({quoted(name)} AS VARCHAR)" if kinds[name] == "UUID" else quoted(name)
        for name in (kinds if each else needs)
        if name not in (*_OWN, *_SUMMED)
    }
    if each:
        keys["place"] = "place"
        these = f"(SELECT *, row_number() OVER () AS place FROM {these})"  # noqa: S608
    elif "create_time" in keys:
        keys["create_time"] = _MINUTE
    return _ALIKE.format(
        keys="".join(f"{sql} AS {quoted(name)}, " for name, sql in keys.items()),
        rates=", ".join(RATE_COLUMNS),
        sums=", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in _SUMMED),
        weight=quoted(WEIGHT),
        calls=these,
        period=" AND ".join(created_in(start, end)) or "true",
    )


def _valued(calls: str) -> str:
    """The sums with what caches saved, a million times, as SQL."""
    short, long, cached = (
        f"rate_{name}" for name in ("cache_write - rate_input", "cache_write_1h - rate_input", "input - rate_cached")
    )
    amounts = {
        "saved": f"cached_tokens * ({cached})",
        "premium": f"written_5m_tokens * ({short}) + written_1h_tokens * ({long})",
        "unread": f"unread_5m * ({short}) + unread_1h * ({long})",
        "missed": f"missed_tokens * ({cached})",
        "unwritten": f"unwritten_tokens * ({short})",
    }
    return _VALUED.format(
        **{name: f"CAST({amount} AS DECIMAL(38, 10))" for name, amount in amounts.items()}, calls=calls
    )


def _divided(answer: Breakdown) -> Breakdown:
    """The answer with its money, of which it has the million times: divided once, after all is added up exactly."""
    money = [name for name, held in answer.roles.measures.items() if held.measure.kind == "money"]
    amounts = [quotients(answer[name], repeat(_MILLION, answer.height)).alias(name) for name in money]
    return Breakdown.of(pl.DataFrame(answer).with_columns(amounts), replace(answer.roles, question="cache_savings"))
