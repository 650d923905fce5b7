"""What was paid for nothing: calls that gave no answer, or one that nobody used, by kind.

Each wasted call is of one kind, the first that fits, so that the kinds add up to the whole:

1. `retried`: an attempt that was tried again. The label `retried` says so, whatever became of the call; else it is an
   unsuccessful call of whose request (`request_message_id`) there is a later one: of a higher `attempt` where both
   are known, else of a later time.
2. `partial`: an unsuccessful call of whose answer a part came: of its tokens only the prompt is known (`token_source`
   partial), the stream ended too early (`error_code` truncated), or it was cancelled after its first token.
3. `unsuccessful`: every other call whose status is not success.

So all calls that did not succeed are waste, as in the measure `wasted_cost`, and besides them those that succeeded and
were tried again all the same. What a call without a price cost is unknown, not nothing: `coverage` says for how many it
is known.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import repeat
from typing import Any

import duckdb
import polars as pl

from mofa_usage.analysis import Breakdown, By, PeriodOptions, breakdown
from mofa_usage.analysis.asking import Usual, asked_for
from mofa_usage.efficiency.staging import Stage, staged
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, Dimension, MeasureColumn
from mofa_usage.reading.columns import NIL, quoted
from mofa_usage.zones import Moment

__all__ = ["KIND", "WasteOptions", "waste"]


class WasteOptions(PeriodOptions, total=False):
    """As `waste` takes them: the period, and how many values of the first category to keep."""

    top: int | None


KIND = Dimension("waste", "Waste", "category", "Why it is waste: retried, partial or unsuccessful.")
"""The dimension of the kinds."""

_MEASURES = Usual(
    ("cost", "calls", "priced_calls", "coverage", "total_tokens", "token_coverage"), about=("cost",), question="waste"
)

_KINDS = """
    CASE WHEN {retried} THEN 'retried'
         WHEN status <> 'success' AND ({partial}) THEN 'partial'
         WHEN status <> 'success' THEN 'unsuccessful' END
"""


def waste(
    calls: duckdb.DuckDBPyRelation,
    by: By | None = None,
    *,
    tz: str = "UTC",
    start: Moment | None = None,
    end: Moment | None = None,
    top: int | None = None,
) -> Breakdown:
    """What the wasted calls cost, by kind of waste and whatever else.

    Args:
        calls: a relation of calls; it needs `status` and `total_price`. What it has of `retried`,
            `request_message_id`, `attempt`, `create_time`, `token_source`, `error_code`, `time_to_first_token_ms`
            tells the kinds apart.
        by: the dimensions before the kind, as `mofa_usage.analysis.breakdown` takes them; by model unless told.
        tz: IANA time zone of time buckets, and of a `start` or `end` that names none.
        start, end: only calls created in [start, end). What was tried again is looked for in all calls.
        top: keep so many values of the first category in `by`, those with the dearest waste; the rest is "other".

    Returns:
        A row for each combination of the dimensions and the kind (`waste`) that occurs: `cost`, `waste_share` (cost /
        cost of all calls of the period, wasted or not; from 0 to 1, null where that is 0 or unknown), `calls`,
        `priced_calls`, `coverage`, `total_tokens`, `token_coverage`; in several currencies a `cost` and `waste_share`
        for each. Order, types and the columns `currency` and `is_other` are those of `breakdown`.

    Raises:
        UsageError: a column is missing; as `breakdown`.
    """
    if "status" not in calls.columns:
        raise UsageError("the frame has no column 'status', which tells what is waste")
    asked = [*asked_for(by, calls.columns), KIND]
    with staged(calls) as stage:
        wasted: Any = stage.run(_statement(stage))
        answer = breakdown(wasted, asked, _MEASURES, tz=tz, start=start, end=end, top=top)
    whole = breakdown(calls, "currency", "cost", tz=tz, start=start, end=end)
    return _with_shares(answer, dict(whole.select("currency", "cost").iter_rows()))


def _statement(stage: Stage) -> str:
    """The wasted calls with their kind, as SQL."""
    given = set(stage.columns)
    signs = {
        "token_source": "token_source = 'partial'",
        "error_code": "error_code = 'truncated'",
        "time_to_first_token_ms": "(status = 'cancelled' AND time_to_first_token_ms IS NOT NULL)",
    }
    partial = " OR ".join(f"coalesce({sign}, false)" for name, sign in signs.items() if name in given) or "false"
    labelled = "retried IS NOT NULL" if "retried" in given else "false"
    joined, retried = _retried(stage, labelled)
    kinds = _KINDS.format(retried=retried, partial=partial)
    kept = f"calls.* EXCLUDE ({quoted(KIND.name)})" if KIND.name in given else "calls.*"
    # Said of the columns, it lets DuckDB pass over most of the others.
    is_wasted = f"status <> 'success' OR {labelled}"
    return f"SELECT {kept}, {kinds} AS {KIND.name} FROM {stage.calls} AS calls{joined} WHERE {is_wasted}"  # noqa: S608


def _retried(stage: Stage, labelled: str) -> tuple[str, str]:
    """What is joined to the calls, and the condition that tells which of them were tried again.

    Only requests of several calls with an unsuccessful one that has no label are looked at, so that nothing large is
    grouped; and only once, because the ids of all requests are much to read.
    """
    times = [name for name in ("attempt", "create_time") if name in stage.columns]
    if "request_message_id" not in stage.columns or not times:
        return "", labelled
    asked = f"status <> 'success' AND NOT {labelled} AND request_message_id <> '{NIL}'"
    request = f"CASE WHEN {asked} THEN request_message_id END"
    lasts = ", ".join(f"max({name}) AS last_{name}" for name in times)
    requests = stage.keep(
        f"SELECT request_message_id AS request, {lasts} FROM {stage.calls}"  # noqa: S608
        f" WHERE request_message_id IN (SELECT request_message_id FROM {stage.calls} WHERE {asked})"
        " GROUP BY request_message_id HAVING count(*) > 1"
    )
    if stage.answer(f"SELECT 1 FROM {requests} LIMIT 1").is_empty():  # noqa: S608
        return "", labelled
    later = "create_time < last_create_time" if "create_time" in times else "false"
    if "attempt" in times:
        both = "attempt IS NOT NULL AND last_attempt IS NOT NULL"
        later = f"CASE WHEN {both} THEN attempt < last_attempt ELSE {later} END"
    return f" LEFT JOIN {requests} AS requests ON request = {request}", f"({labelled} OR coalesce({later}, false))"


def _with_shares(answer: Breakdown, whole: Mapping[str | None, Decimal | None]) -> Breakdown:
    """The answer with what part of the cost of all calls each row is, behind its cost."""
    share, roles, frame = ANSWERS["waste_share"], answer.roles, pl.DataFrame(answer)
    held: dict[str, MeasureColumn] = {}
    for column, entry in roles.measures.items():
        held[column] = entry
        if entry.measure.name != "cost":
            continue
        name = share.name if entry.currency is None else f"{share.name}_{entry.currency}"
        codes = frame["currency"] if entry.currency is None else repeat(entry.currency)
        shares = [_share(amount, whole.get(code)) for amount, code in zip(frame[column], codes, strict=False)]
        place = frame.columns.index(column) + 1
        frame = frame.insert_column(place, pl.Series(name, shares, dtype=pl.Float64))
        held[name] = MeasureColumn(share, entry.currency)
    return Breakdown.of(frame, replace(roles, measures=held))


def _share(amount: Decimal | None, whole: Decimal | None) -> float | None:
    """Exact until it becomes a float; of nothing there is no part."""
    return None if amount is None or not whole else float(Fraction(amount) / Fraction(whole))
