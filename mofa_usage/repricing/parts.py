"""The parts of the price of every call: a price book joined with the token columns, all calls at once.

The rules are those of `pricing.rates`, said in SQL. Counts are inclusive, so each call is first cut into kinds that do
not overlap; each kind costs its rate per million; amounts are whole numbers until the end, are rounded once, half to
even at ten places, and what the rounding of the parts leaves over goes to the largest part. Call by call the answer is
that of `PriceBook.price`, with what frames of calls do not know being the exception: they have no columns for tokens of
images, videos and citations, nor for cached audio, so a model with a price of its own for such is priced by its other
rates and is not exact.

A count that is null is not known, as `token_source` says: then its part is null and the price is not exact.
"""

from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import TypeAlias

from mofa_usage.errors import UsageError, require
from mofa_usage.pricing import PriceBook, checked_book
from mofa_usage.pricing.rates import PARTS
from mofa_usage.reading.columns import LABEL, quoted
from mofa_usage.reading.relation import told
from mofa_usage.repricing.charges import charged, own
from mofa_usage.repricing.quoting import DAY, KIND, RATES, UNSAID, Answers, CallKind, Questions, ask, own_question
from mofa_usage.repricing.steps import asked, selected
from mofa_usage.zones import utc

require("duckdb", extra="analysis")
import duckdb  # noqa: E402

__all__ = [
    "PARTS_COLUMNS",
    "RATE_COLUMNS",
    "AsOf",
    "answered_sql",
    "as_of_day",
    "ask_for",
    "with_answers",
    "with_parts",
]

AsOf: TypeAlias = date | str
"""Of which day (UTC) prices are: of each call's own ("call"), of today ("now"), or of a date, also as ISO 8601 text."""

PARTS_COLUMNS = (*(f"part_{name}" for name in PARTS), "part_total", "price_currency", "price_is_exact")
_EARLIER = 1_000_000
"""Days before 1970 that no call is of."""
RATE_COLUMNS = tuple(f"rate_{name}" for name in RATES)


def with_parts(
    calls: duckdb.DuckDBPyRelation,
    book: PriceBook | None = None,
    *,
    as_of: AsOf = "call",
) -> duckdb.DuckDBPyRelation:
    """The calls with what they cost by a price book, whatever price was recorded.

    Args:
        calls: a relation with columns of `reading.columns.CALL_SCHEMA`: `model_name`, `prompt_tokens` and
            `completion_tokens` at least, and `create_time` for prices of the call's day.
        book: which prices, by default the list prices.
        as_of: "call", "now" or a date, see `AsOf`; the time of day is the call's.

    Returns:
        The calls with these columns more, null where the book has no price:

        - `part_input` (of the prompt neither cached nor written), `part_cached`, `part_cache_write`, `part_output`,
          `part_other` (web searches, requests), and `part_total`, their sum: `DECIMAL(38, 10)` in units of
          `price_currency`; a part is null where its tokens are not known;
        - `price_is_exact`, False as `Price.exact`;
        - `rate_input`, `rate_cached`, `rate_cache_write` (5 minutes), `rate_cache_write_1h`, `rate_output`: what a
          million such tokens of this call cost, `DECIMAL(38, 18)`; a rate that the model has not got is that which
          stands in for it.

    Raises:
        UsageError: a column that prices need is missing.
        MissingExtraError: the extra `pricing` is not installed, and no book is given.
    """
    return with_answers(calls, ask_for(calls, book or PriceBook.default(), as_of_day(as_of)))


def with_answers(calls: duckdb.DuckDBPyRelation, answers: Answers) -> duckdb.DuckDBPyRelation:
    """The calls with the columns of `with_parts`, by the answers of a book to them, or to more than them.

    Raises:
        UsageError: a column is missing.
    """
    has, told = calls.columns, {name: own(name) for name in (*PARTS_COLUMNS, *RATE_COLUMNS)}
    return asked(calls, lambda these: selected(answered_sql(these, has, answers), has, told))


def as_of_day(as_of: AsOf) -> date | None:
    """The day whose prices count, None for that of each call.

    Raises:
        UsageError: it is none of these.
    """
    if as_of == "call":
        return None
    if as_of == "now":
        return datetime.now(UTC).date()
    if isinstance(as_of, str):
        with suppress(ValueError):
            as_of = date.fromisoformat(as_of)
    if isinstance(as_of, date) and not isinstance(as_of, datetime):
        return as_of
    raise UsageError(f'as_of is {str(as_of)!r:.60}; prices are as of "call", "now", or a date, such as "2026-05-01"')


def ask_for(
    calls: duckdb.DuckDBPyRelation,
    book: PriceBook,
    on: date | None,
    *,
    which: str = "true",
    questions: Questions = own_question,
    counted: bool = True,
) -> Answers:
    """The answers of a book to the calls that meet the condition `which`.

    Calls without any are counted in the book, and so warned of, unless they are not to be `counted`.

    Raises:
        UsageError: a column that prices need is missing, or the book is none.
    """
    has = set(calls.columns)
    checked_book(book)
    for name in ("model_name", "prompt_tokens", "completion_tokens", *(() if on else ("create_time",))):
        if name not in has:
            raise UsageError(f"prices need the column {name}, which was not loaded")
    # What is null for all calls takes its time for each of them, and so does a clock that knows zones.
    said = {name: sql for name, sql in _kind_columns(has).items() if sql != UNSAID}
    kinds = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in said.items())
    day = f"(epoch_us(create_time) + {_EARLIER * DAY}) // {DAY} - {_EARLIER}"  # which rounds down
    sql = f"SELECT {kinds}, {day if on is None else 'CAST(NULL AS BIGINT)'} AS day, count(*) FROM"
    days: dict[CallKind, set[date]] = defaultdict(set)
    counts: dict[CallKind, int] = defaultdict(int)
    with told():
        for *values, at, number in asked(calls, lambda these: f"{sql} {these} WHERE {which} GROUP BY ALL").fetchall():
            found = dict(zip(said, values, strict=True))
            when = on if at is None else utc(at * DAY).date()
            if found["asked"] is not None and when is not None:
                kind = CallKind._make(found.get(name) for name in KIND.values())
                days[kind].add(when)
                counts[kind] += number
    answers = ask(book, dict(sorted(days.items(), key=lambda item: tuple(map(str, item[0])))), on, questions)
    for kind in sorted(answers.unknown, key=str) if counted else ():
        book.count_unknown(questions(kind, datetime.now(UTC))[0].asked, book.has_none, counts[kind])
    return answers


def _kind_columns(has: Collection[str]) -> dict[str, str]:
    """What of a call its price depends on, as SQL, under the names of `KIND`.

    Who was asked says the label `provider`; a source without labels has the name of the provider.
    """
    places = {
        "provider": (f"{LABEL}provider", "provider_name"),
        "speed": (f"{LABEL}speed",),
    }
    found = {name: next((one for one in places.get(name, (name,)) if one in has), None) for name in KIND}
    return {KIND[name]: UNSAID if column is None else quoted(column) for name, column in found.items()}


def answered_sql(these: str, has: Collection[str], answers: Answers) -> str:
    """SQL of calls with the answers of a book to them, or to more than them; its columns are those of `charged`.

    Raises:
        UsageError: a column is missing.
    """
    if answers.by_time and "create_time" not in has:
        raise UsageError("prices that depend on the time of day need the column create_time, which was not loaded")
    return charged(f"SELECT * FROM {these}", has, _kind_columns(has), answers)  # noqa: S608
