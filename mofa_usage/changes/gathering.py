"""The calls of two periods summed up in one pass of DuckDB, or of Spark: what a change is computed from.

Calls that are alike become one `Group`: of the same values of the dimensions, of one model and service tier, their
tokens known or not, and each kind of their tokens at one price on the day of the call, which a price book says. So
there are few groups however many calls there are, and all that follows is arithmetic on whole numbers.

The book is not asked about calls but about days of calls that are alike (`repricing`), of which the last stands for
all. Where a price depends on the size of the prompt or on the time of day, and not all calls of such a day are on one
side of where it changes, the calls are summed up once more, those sides apart.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias

import duckdb

from mofa_usage.analysis.asking import Asked
from mofa_usage.analysis.buckets import Clock
from mofa_usage.analysis.engine import LazyCalls, open_calls
from mofa_usage.analysis.levels import keys_of
from mofa_usage.analysis.sums import Queried, summed, where
from mofa_usage.changes.periods import Periods
from mofa_usage.errors import MissingExtraError
from mofa_usage.measures import DIMENSIONS, Dimension
from mofa_usage.pricing import PriceBook
from mofa_usage.reading.columns import quoted
from mofa_usage.repricing.parts import ask_for, with_answers
from mofa_usage.repricing.quoting import Answers
from mofa_usage.values import DEFAULT_CURRENCY
from mofa_usage.zones import DAY, microseconds

__all__ = ["ByWeekday", "Gathered", "Group", "Row", "gathered"]

Row: TypeAlias = tuple[Any, ...]
"""The keys of the dimensions: text, or the number of a bucket of time."""

ByWeekday: TypeAlias = Iterable[tuple[bool, bool, int, str, int]]
"""Priced calls: whether in the period before, in that after, the weekday (0 is Monday), the currency, and how many."""

_TABLE = "calls of two periods"
_CURRENCY = f"coalesce(CAST(currency AS VARCHAR), '{DEFAULT_CURRENCY}')"
_PRICED_BY = (
    "model_name",
    "served_model",
    "provider_name",
    "service_tier",
    "labels.provider",
    "labels.speed",
    "labels.inference_geo",
    "labels.web_search_requests",
)
"""What the price of a call depends on, beside its tokens and its time."""
_THURSDAY = 3
"""The weekday of the first day of the epoch; 0 is Monday."""
_SUMS = (
    "calls",
    "cost",
    "prompt",
    "completion",
    "cached",
    "written",
    "written_1h",
    "said_input_price",
    "said_output_price",
)
_RATES = ("rate_input", "rate_cached", "rate_cache_write", "rate_cache_write_1h", "rate_output")


class Group(NamedTuple):
    """Calls that are alike, and their sums. Without a `currency` they have no price, and nothing but a number."""

    row: Row
    weekday: int | None
    """0 is Monday; None where weekdays are not told apart."""
    is_before: bool
    is_after: bool
    currency: str | None
    is_counted: bool
    """Whether the tokens of the prompt and of the completion are known."""
    says_parts: bool
    """Whether the calls say what their prompts and completions cost."""
    model: str | None
    tier: str | None
    rates: tuple[Any, ...]
    """What a million tokens cost by kind; None where no book knows."""
    calls: int
    cost: Any
    tokens: tuple[int, ...]
    """By kind: the prompt's plain, cached, written for five minutes, written for an hour; the completion's."""
    other: Any
    input_price: Any
    output_price: Any


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is in the two periods: the groups in no order, and `ByWeekday`, nothing where weekdays are alike."""

    groups: list[Group]
    by_weekday: ByWeekday


def gathered(
    calls: Queried,
    dimensions: Sequence[Dimension],
    periods: Periods,
    *,
    book: PriceBook | None,
    by_weekday: bool,
) -> Gathered:
    """The calls in the two periods, in groups; of one weekday each if `by_weekday`."""
    of_day = _told_by_day(periods)
    is_asked = by_weekday or not periods.are_of_like_weekdays
    weekday = [DIMENSIONS["weekday"]] if is_asked and not of_day else []
    keyed, names = _keyed(where(calls, periods.sql), (*dimensions, *weekday), periods)
    if weekday:
        of_day = {"weekday": f"{quoted(names[-1])} // {DAY}"}
    days = _Days(keyed, names, periods, of_day)
    with duckdb.connect() as own:
        table: Any = own.from_arrow(days.summed())
        rated = _rated(table, days, book, own)
        found = _fetched(rated, _cells(rated, [*names[: len(dimensions)], *(["weekday"] if by_weekday else [])]))
        numbers = f"is_before, is_after, weekday, {_CURRENCY}, CAST(sum(calls) AS BIGINT)"
        priced = f"SELECT {numbers} FROM {quoted(_TABLE)} WHERE is_priced GROUP BY ALL"  # noqa: S608
        counts = _fetched(table, priced) if is_asked else []
    return Gathered([_group(row, len(dimensions), by_weekday=by_weekday) for row in found], counts)


def _group(found: tuple[Any, ...], width: int, *, by_weekday: bool) -> Group:
    """A row of `_cells`, behind the keys of so many dimensions and that of the weekday."""
    row, rest = found[:width], found[width + by_weekday :]
    weekday = found[width] if by_weekday else None
    kind, rates, numbers = rest[:7], rest[7 : 7 + len(_RATES)], rest[7 + len(_RATES) :]
    calls, cost, prompt, completion, cached, written, hour, *money = numbers
    tokens = (prompt - cached - written, cached, written - hour, hour, completion)
    return Group._make((row, weekday, *kind, rates, int(calls), cost, tuple(map(int, tokens)), *money))


def _fetched(table: duckdb.DuckDBPyRelation, sql: str) -> list[tuple[Any, ...]]:
    answer: Any = table.query(_TABLE, sql)
    return list(answer.fetchall())


def _keyed(calls: Queried, dimensions: Sequence[Dimension], periods: Periods) -> tuple[LazyCalls, list[str]]:
    """The calls with a column for the key of each dimension."""
    opened = open_calls(calls).with_absent(["currency"])
    both = (periods.before, periods.after)
    start, end = min(period.start for period in both), max(period.end for period in both)
    asked = Asked(tuple(dimensions), (), start, end, None, "explain_change")
    keys = keys_of(asked, opened, Clock(periods.before.tz, opened, start, end), None).expressions
    named = {f"group: {number}": expression for number, expression in enumerate(keys.values())}
    return opened.with_columns(named), list(named)


# Days of calls that are alike -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Days:
    """Calls with their keys, to be summed up by day (UTC) and by what their price depends on.

    `of_day` is what the day or the keys say, as SQL of the sums: see `_told_by_day`.
    """

    calls: LazyCalls
    keys: Sequence[str]
    periods: Periods
    of_day: Mapping[str, str]

    def summed(self, sizes: Sequence[int] = (), times: Sequence[int] = ()) -> Any:
        """The sums as an Arrow table: a row for each day of calls that are alike, and the last of them for all.

        Prompts of more than each of the `sizes` are apart from smaller ones, and so is what is called from each of the
        `times` on (microseconds since midnight). What is grouped by are the columns as they are: that is quick.
        """
        has = self.calls.schema
        clock = f"epoch_us(create_time) % {DAY}"
        apart = [*(f"prompt_tokens > {size}" for size in sizes), *(f"{clock} >= {time}" for time in times)]
        needed = [name if name in has else None for name in ("prompt_tokens", "completion_tokens")]
        said = [name if name in has else None for name in ("input_price", "output_price")]
        sides = {"is_before": self.periods.before.sql, "is_after": self.periods.after.sql}
        groups = {
            **{name: quoted(name) for name in (*self.keys, *(name for name in _PRICED_BY if name in has))},
            **({} if "is_before" in self.of_day else sides),
            "currency": "currency",
            "is_priced": "total_price IS NOT NULL",
            "is_counted": _known("total_price", *needed),
            "says_parts": _known("total_price", *needed, *said),
            **{f"day: {place}": sql for place, sql in enumerate((f"epoch_us(create_time) // {DAY}", *apart))},
        }
        sums = {
            "create_time": "max(create_time)",
            "least_prompt": f"min({needed[0] or 'NULL'})",
            "prompt_tokens": f"CAST(max({needed[0] or 'NULL'}) AS BIGINT)",
            "completion_tokens": f"CAST(max({needed[1] or 'NULL'}) AS BIGINT)",
            **dict(zip(_SUMS, _sums(has), strict=True)),
        }
        return summed(self.calls, groups, sums, self.of_day)


def _told_by_day(periods: Periods) -> dict[str, str]:
    """The periods and the weekday of a call, as SQL of its day of UTC; nothing where that does not say them.

    It does where days are those of UTC and periods begin and end with them. Then calls need not be told apart by all of
    that, one by one.
    """
    if periods.before.tz.utcoffset(None) != timedelta():  # None where the clock changes
        return {}
    found = {}
    for name, period in (("is_before", periods.before), ("is_after", periods.after)):
        (first, early), (end, late) = (divmod(microseconds(moment), DAY) for moment in (period.start, period.end))
        if early or late or first < 0:  # before 1970 a division may round up
            return {}
        found[name] = f'"day: 0" >= {first} AND "day: 0" < {end}'
    return {**found, "weekday": f'("day: 0" + {_THURSDAY}) % 7'}


def _known(*columns: str | None) -> str:
    """The condition that a call has all of these; None is a column that there is not."""
    return f"({' AND '.join('false' if name is None else f'{name} IS NOT NULL' for name in columns)})"


def _sums(has: Collection[str]) -> Iterator[str]:
    """The numbers of `_SUMS`; an unknown count of what is part of the prompt is none."""

    def total(name: str) -> str:
        return f"coalesce(sum({name}), 0)" if name in has else "0"

    def known(name: str) -> str:
        return f"coalesce({name}, 0)" if name in has else "0"

    lifetimes = f"{known('cache_write_5m_tokens')} + {known('cache_write_1h_tokens')}"
    written = f"sum(greatest({known('cache_write_tokens')}, {lifetimes}))"
    yield "count(*)"
    yield from map(total, ("total_price", "prompt_tokens", "completion_tokens", "cached_tokens"))
    yield written if {"cache_write_5m_tokens", "cache_write_1h_tokens"} & set(has) else total("cache_write_tokens")
    yield from map(total, ("cache_write_1h_tokens", "input_price", "output_price"))


# What their tokens cost -----------------------------------------------------------------------------------------------


def _rated(
    table: duckdb.DuckDBPyRelation, days: _Days, book: PriceBook | None, own: duckdb.DuckDBPyConnection
) -> duckdb.DuckDBPyRelation:
    """The table of the days, which is on a connection of our own, with the rates of the book where there is one."""
    has = days.calls.schema
    if not {"model_name", "prompt_tokens", "completion_tokens"} <= set(has):
        return table
    try:
        answers = ask_for(table, book or PriceBook.default(), None, which="is_counted", counted=False)
    except MissingExtraError:  # without a book the calls say what they can
        return table
    if not _fetched(table, f"SELECT 1 FROM ({answers.periods}) LIMIT 1"):  # noqa: S608
        return table  # it knows none of the models
    sizes, times = _cuts(table, answers)
    return with_answers(own.from_arrow(days.summed(sizes, times)) if sizes or times else table, answers)


def _cuts(days: duckdb.DuckDBPyRelation, answers: Answers) -> tuple[list[int], list[int]]:
    """The sizes of prompts and the times of the day at which prices change while some day has calls on both sides."""
    between = "is_counted AND least_prompt <= above AND prompt_tokens > above"
    sizes = f"SELECT DISTINCT above FROM ({answers.answers}), {quoted(_TABLE)} WHERE {between} ORDER BY 1"  # noqa: S608
    times = f"SELECT DISTINCT from_time FROM ({answers.periods}) WHERE from_time > 0 ORDER BY 1"  # noqa: S608
    found = [_fetched(days, sizes), _fetched(days, times) if answers.by_time else []]
    return [size for (size,) in found[0]], [time for (time,) in found[1]]


def _cells(rated: duckdb.DuckDBPyRelation, keys: Sequence[str]) -> str:
    """The query for the groups; of calls without a price nothing but their number is asked."""
    has = rated.columns
    cell = (name if name in has else "NULL" for name in ("model_name", "service_tier"))
    *sums, input_price, output_price = (f"sum({name})" for name in _SUMS)
    other = "sum(calls * coalesce(part_other, 0))" if "part_other" in has else "0"
    columns = (
        *map(quoted, keys),
        *("is_before", "is_after", f"CASE WHEN is_priced THEN {_CURRENCY} END", "is_counted", "says_parts"),
        *(f"CASE WHEN is_priced THEN {name} END" for name in cell),
        *(f"CASE WHEN is_counted THEN {name} END" if name in has else "NULL" for name in _RATES),
        *(*sums, other, input_price, output_price),
    )
    return f"SELECT {', '.join(columns)} FROM {quoted(_TABLE)} GROUP BY ALL"  # noqa: S608
