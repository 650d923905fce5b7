"""One pass of DuckDB over the calls of two periods: the sums from which a change is computed.

Calls that are alike become one `Group`: of the same values of the dimensions, of one model and service tier, their
tokens known or not, and each kind of their tokens at one price on the day of the call, which a price book says. So
there are few groups however many calls there are, and all that follows is arithmetic on whole numbers.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import duckdb
import narwhals as nw

from mofa_usage.analysis.asking import Asked
from mofa_usage.analysis.engine import open_calls
from mofa_usage.analysis.levels import keys_of
from mofa_usage.changes.periods import Periods
from mofa_usage.errors import MissingExtraError
from mofa_usage.measures import DIMENSIONS, Dimension
from mofa_usage.pricing import PriceBook
from mofa_usage.reading.columns import DEFAULT_CURRENCY, quoted
from mofa_usage.repricing.parts import with_parts
from mofa_usage.zones import DAY

__all__ = ["Group", "Row", "groups", "priced_by_weekday"]

Row: TypeAlias = tuple[Any, ...]
"""The keys of the dimensions: text, or the number of a bucket of time."""

_TABLE = "calls of two periods"
_RATES = ("rate_input", "rate_cached", "rate_cache_write", "rate_cache_write_1h", "rate_output")


class Group(NamedTuple):
    """Calls that are alike, and their sums. Without a `currency` they have no price, and nothing but a number."""

    row: Row
    is_before: bool
    is_after: bool
    weekday: int | None
    """0 is Monday; None where weekdays are not told apart."""
    currency: str | None
    model: str | None
    tier: str | None
    is_counted: bool
    """Whether the tokens of the prompt and of the completion are known."""
    says_parts: bool
    """Whether the calls say what their prompts and completions cost."""
    rates: tuple[Any, ...]
    """What a million tokens cost by kind; None where no book knows."""
    calls: int
    cost: Any
    tokens: tuple[int, int, int, int, int]
    """By kind: the prompt's plain, cached, written for five minutes, written for an hour; the completion's."""
    other: Any
    input_price: Any
    output_price: Any


def groups(
    calls: duckdb.DuckDBPyRelation,
    dimensions: Sequence[Dimension],
    periods: Periods,
    *,
    book: PriceBook | None,
    by_weekday: bool,
) -> Iterator[Group]:
    """The groups of the calls in the two periods, in no order."""
    rated = _rated(calls.filter(periods.sql), book)
    keyed, names = _keyed(rated, dimensions, periods, by_weekday=by_weekday)
    has = set(rated.columns)
    keys, columns = ", ".join(map(quoted, names)), ", ".join((*_kinds(has, periods), *_sums(has)))
    sql = f"SELECT {keys}, {columns} FROM {quoted(_TABLE)} GROUP BY ALL"  # noqa: S608 (quoted)
    width = len(dimensions)
    for found in _fetched(keyed, sql):
        row, weekday, rest = found[:width], found[width], found[width + 1 :]
        before, after, currency, model, tier, counted, said = rest[:7]
        rates, (number, cost, prompt, completion, cached, written, hour, *money) = rest[7:12], rest[12:]
        tokens = (prompt - cached - written, cached, written - hour, hour, completion)
        day = None if weekday is None else weekday // DAY
        yield Group(row, before, after, day, currency, model, tier, counted, said, rates, number, cost, tokens, *money)


def priced_by_weekday(calls: duckdb.DuckDBPyRelation, periods: Periods) -> list[tuple[bool, bool, int, str, int]]:
    """How many priced calls there are before and after, by weekday (0 is Monday) and currency."""
    keyed, names = _keyed(calls.filter(periods.sql), (), periods, by_weekday=True)
    said = f"{periods.before.sql}, {periods.after.sql}, {quoted(names[-1])}, {_currency(set(calls.columns))}"
    sql = f"SELECT {said}, count(*) FROM {quoted(_TABLE)} WHERE total_price IS NOT NULL GROUP BY ALL"  # noqa: S608
    found = _fetched(keyed, sql)
    return [(before, after, key // DAY, currency, number) for before, after, key, currency, number in found]


def _fetched(calls: duckdb.DuckDBPyRelation, sql: str) -> list[tuple[Any, ...]]:
    answer: Any = calls.query(_TABLE, sql)
    return list(answer.fetchall())


def _rated(calls: duckdb.DuckDBPyRelation, book: PriceBook | None) -> duckdb.DuckDBPyRelation:
    """The calls with the rates of the book, where there can be any."""
    if not {"model_name", "prompt_tokens", "completion_tokens"} <= set(calls.columns):
        return calls
    try:
        return with_parts(calls, book)
    except MissingExtraError:  # without prices of a book the calls say what they can
        return calls


def _keyed(
    calls: duckdb.DuckDBPyRelation, dimensions: Sequence[Dimension], periods: Periods, *, by_weekday: bool
) -> tuple[duckdb.DuckDBPyRelation, list[str]]:
    """The calls with a column for the key of each dimension and one, the last, for that of the weekday."""
    opened = open_calls(calls).with_absent(["currency"])
    start, end = (
        choice(moments)
        for choice, moments in (
            (min, (periods.before.start, periods.after.start)),
            (max, (periods.before.end, periods.after.end)),
        )
    )
    wanted = (*dimensions, *([DIMENSIONS["weekday"]] if by_weekday else []))
    asked = Asked(wanted, (), start, end, None, "explain_change")
    keys = keys_of(asked, opened, periods.before.tz, None).expressions
    named = {f"group: {number}": expression for number, expression in enumerate(keys.values())}
    if not by_weekday:
        named["group: weekday"] = nw.lit(None, nw.Int64)
    keyed: duckdb.DuckDBPyRelation = opened.frame.with_columns(**named).to_native()
    return keyed, list(named)


def _currency(has: Collection[str]) -> str:
    stated = "CAST(currency AS VARCHAR)" if "currency" in has else "NULL"
    return f"coalesce({stated}, '{DEFAULT_CURRENCY}')"


def _kinds(has: Collection[str], periods: Periods) -> Iterator[str]:
    """What calls of a group have in common, beside the keys; of those without a price nothing but the period."""

    def of_priced(sql: str) -> str:
        return f"CASE WHEN total_price IS NOT NULL THEN {sql} END"

    counted = " AND ".join(
        f"{name} IS NOT NULL" if name in has else "false" for name in ("prompt_tokens", "completion_tokens")
    )
    counted = f"(total_price IS NOT NULL AND {counted})"
    yield from (periods.before.sql, periods.after.sql, of_priced(_currency(has)))
    yield from (of_priced(name) if name in has else "NULL" for name in ("model_name", "service_tier"))
    yield counted
    has_said = {"input_price", "output_price"} <= set(has)
    yield f"({counted} AND input_price IS NOT NULL AND output_price IS NOT NULL)" if has_said else "false"
    yield from (f"CASE WHEN {counted} THEN {name} END" if name in has else "NULL" for name in _RATES)


def _sums(has: Collection[str]) -> Iterator[str]:
    """The numbers of a group; an unknown count of what is part of the prompt is none."""

    def known(name: str) -> str:
        return f"coalesce({name}, 0)" if name in has else "0"

    hour = known("cache_write_1h_tokens")
    written = f"greatest({known('cache_write_tokens')}, {known('cache_write_5m_tokens')} + {hour})"
    yield "count(*)"
    tokens = (*map(known, ("prompt_tokens", "completion_tokens", "cached_tokens")), written, hour)
    money = map(known, ("part_other", "input_price", "output_price"))
    yield from (f"coalesce(sum({value}), 0)" for value in (known("total_price"), *tokens, *money))
