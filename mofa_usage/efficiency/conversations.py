"""SQL over the calls of sessions: a row for each session, and one for each turn of each.

A session is what has an id: calls with the nil UUID or without an id belong to none and are left out. Its turns are its
requests, in the order of time; an attempt that was tried again belongs to the turn of the request that follows it, or,
where none does, to one more turn. Calls of the same microsecond come in the order of their numbers, so that the answer
does not depend on the order of rows.

So that ten million calls take seconds, they are grouped by session once, into a table of the few numbers that are asked
of all sessions; the rest is read of those alone that are shown. They are sorted into turns once, by ids hashed to 64
bits: that two of ten million sessions are taken for one, of which only the numbers of their turns are told, has a
chance of three in a million. Where most sessions are a single call, nothing of those is sorted.

Money is in a column for each currency, `cost_0` that with most priced calls; where nothing is priced there is
no other.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import polars as pl

from mofa_usage.efficiency.staging import Stage
from mofa_usage.errors import UsageError
from mofa_usage.reading.columns import NIL, created_in, literal
from mofa_usage.values import DEFAULT_CURRENCY

__all__ = ["Conversations"]

_TYPES: Mapping[str, str] = {
    "status": "VARCHAR",
    "retried": "VARCHAR",
    "currency": "VARCHAR",
    "total_price": "DECIMAL(38, 10)",
    "prompt_tokens": "BIGINT",
    "completion_tokens": "BIGINT",
    "total_tokens": "BIGINT",
    "latency_ms": "BIGINT",
}
"""What is read of a call where it is there; else nobody knows it."""

_COUNTED = """
    SELECT CASE WHEN {price} IS NOT NULL THEN {currency} END AS currency, count(*) AS calls, count({retried}) AS again
    FROM {calls} WHERE {where} GROUP BY 1
"""

_DURATION = "max(ended_ms) - min(began_ms) AS session_duration"

# What is counted is added up as numbers, which of ten million sessions takes a sixth less than counting by FILTER.
_SESSIONS = """
    SELECT chat_session_id, {costs}, CAST(count(*) AS INTEGER) AS calls, {requests}, {duration},
        CAST(count(total_price) AS INTEGER) AS priced_calls, CAST(sum(lost) AS INTEGER) AS error_count
    FROM calls GROUP BY chat_session_id
"""
"""What is asked of all sessions."""

_REQUESTS = """
    CAST(count(*) FILTER (NOT again) AS INTEGER) AS turns, max(prompt_tokens) FILTER (NOT again) AS prompt
"""
_WITHOUT_ATTEMPTS = "CAST(count(*) AS INTEGER) AS turns, max(prompt_tokens) AS prompt"
"""The requests of a session; the prompt is that of one that is a single call."""

_SIZES = """
    SELECT CAST(coalesce(sum(calls), 0) AS BIGINT) AS calls, count(*) FILTER (calls = 1) AS alone,
        count(*) FILTER (priced_calls > 0) AS priced
    FROM {sessions}
"""

_SHOWN = """
    SELECT chat_session_id, min(create_time) AS first_call, max(create_time) AS last_call, {duration},
        count(*) FILTER (NOT again) AS turns, count(*) AS calls, CAST(sum(lost) AS BIGINT) AS error_count,
        {costs}, count(total_price) AS priced_calls, count(total_price) / count(*) AS coverage,
        CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens,
        CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens,
        CAST(sum(total_tokens) AS BIGINT) AS total_tokens
    FROM shown GROUP BY chat_session_id
"""

# Running sums and the row before cost less than the same asked of a frame that ends at the row before.
_IN_TURNS = """
    SELECT *,
        sum(CAST(NOT again AS INTEGER)) OVER so_far + CAST(again AS INTEGER) AS turn,
        lag(CASE WHEN NOT again THEN coalesce(prompt_tokens, -1) END IGNORE NULLS) OVER in_order AS before,
        lag(again, 1, false) OVER in_order AS after_attempt
    FROM {source}
    WINDOW in_order AS (PARTITION BY {session} ORDER BY create_time, again DESC, prompt_tokens, {columns}),
        so_far AS (in_order ROWS UNBOUNDED PRECEDING)
"""

# The same where nothing was tried again, which takes a quarter less.
_REQUESTS_IN_TURNS = """
    SELECT *, row_number() OVER in_order AS turn, lag(coalesce(prompt_tokens, -1)) OVER in_order AS before,
        false AS after_attempt
    FROM {source}
    WINDOW in_order AS (PARTITION BY {session} ORDER BY create_time, prompt_tokens, {columns})
"""

# Of a turn of several calls each has a row, which bears the session; they are added up afterwards.
_TURNS = """
    SELECT CAST(turn AS INTEGER) AS turn, CAST(1 AS INTEGER) AS calls, {columns},
        CASE WHEN NOT again THEN prompt_tokens END AS prompt,
        CASE WHEN NOT again AND before >= 0 THEN prompt_tokens - before END AS growth,
        CASE WHEN again OR after_attempt THEN session END AS session
    FROM ({turns}) AS turns
"""

_ALONE = """
    UNION ALL SELECT 1, 1, {columns}, prompt, NULL, NULL FROM {sessions} WHERE calls = 1
"""

_ADDED = """
    INSERT INTO {turns}
    SELECT turn, count(*), {costs}, max(prompt), max(growth), NULL
    FROM {turns} WHERE session IS NOT NULL GROUP BY session, turn
"""

_BY_TURN = """
    SELECT CAST(turn AS BIGINT) AS turn, count(*) AS sessions, CAST(sum(calls) AS BIGINT) AS calls, {medians},
        sum(prompt) / count(prompt) AS turn_prompt_mean, quantile_cont(prompt, 0.5) AS turn_prompt_p50,
        sum(growth) / count(growth) AS turn_growth
    FROM {turns} WHERE session IS NULL GROUP BY turn ORDER BY turn
"""

# DuckDB takes a quantile at the rank n * q, rounded up, in whole numbers; the second is thus the next one where n is
# even, up to a thousand million sessions.
_MEDIANS = """
    sum({cost}) AS {cost}, count({cost}) AS {cost}_count,
    quantile_disc({cost}, [0.5, 0.500000001]) AS {cost}_middle
"""

_DEAREST = """
    , shown AS MATERIALIZED (SELECT * FROM calls {which}),
    growth AS (
        SELECT chat_session_id,
            (arg_max(prompt_tokens, turn) - arg_min(prompt_tokens, turn)) / nullif(max(turn) - min(turn), 0)
                AS context_growth
        FROM ({turns}) AS turns WHERE NOT again AND prompt_tokens IS NOT NULL GROUP BY chat_session_id
    )
    SELECT * FROM ({shown}) AS shown LEFT JOIN growth USING (chat_session_id) ORDER BY {order}
"""

_SUMMARY = """
    SELECT count(*) AS sessions, CAST(sum(calls) AS BIGINT) AS calls, CAST(sum(turns) AS BIGINT) AS requests,
        CAST(sum(error_count) AS BIGINT) AS error_count, CAST(sum(priced_calls) AS BIGINT) AS priced_calls,
        quantile_cont(turns, 0.5) AS session_turns_p50, CAST(max(turns) AS BIGINT) AS session_turns_max,
        quantile_cont(session_duration, 0.5) AS session_duration_p50, {spreads}
    FROM {sessions}
"""

# Of the amounts below zero, since a bin of a histogram contains its upper edge, and ours the lower one.
_SPREAD = """
    sum({cost}) AS {cost}, count({cost}) AS {cost}_count, max({cost}) AS {cost}_max,
    map_values(histogram(-{cost}, [{edges}])) AS {cost}_bins
"""


class Conversations:
    """The calls of sessions created in [start, end).

    Attributes:
        currencies: those of the priced calls, the one with most of them first.

    Raises:
        UsageError: the calls have no `chat_session_id` or no `create_time`.
    """

    def __init__(self, stage: Stage, start: datetime | None, end: datetime | None) -> None:
        for name, why in (("chat_session_id", "tells sessions apart"), ("create_time", "orders their calls")):
            if name not in stage.columns:
                raise UsageError(f"the frame has no column {name!r}, which {why}")
        self._stage = stage
        self._read = {name: name if name in stage.columns else f"CAST(NULL AS {kind})" for name, kind in _TYPES.items()}
        within = created_in(start, end)
        self._where = " AND ".join((f"CAST(chat_session_id AS VARCHAR) <> '{NIL}'", *within))
        self._currency = f"coalesce({self._read['currency']}, '{DEFAULT_CURRENCY}')"
        # Ids are much to read, and where all calls are of one currency it need not be asked which have a session.
        counted = self._counted(" AND ".join(within) or "true")
        self._has_attempts = bool(counted["again"].sum())
        if counted["currency"].drop_nulls().len() > 1:
            counted = self._counted(self._where)
        priced = counted.drop_nulls("currency").sort("calls", "currency", descending=[True, False])
        self.currencies = tuple(priced["currency"])
        self.costs = [f"cost_{number}" for number in range(max(len(self.currencies), 1))]
        self._summed = ", ".join(f"sum({cost}) AS {cost}" for cost in self.costs)
        requests = _REQUESTS if self._has_attempts else _WITHOUT_ATTEMPTS
        self._sessions = stage.keep(
            self._calls + _SESSIONS.format(costs=self._summed, duration=_DURATION, requests=requests)
        )
        sizes = stage.answer(_SIZES.format(sessions=self._sessions))
        if not sizes["priced"][0]:
            self.currencies = ()
        self._are_mostly_alone = sizes["alone"][0] > sizes["calls"][0] / 2

    def dearest(self, top: int | None) -> pl.DataFrame:
        """A row for each session, the dearest first, then those with most calls."""
        order = ", ".join((*(f"{cost} DESC NULLS LAST" for cost in self.costs), "calls DESC", "chat_session_id"))
        first = f"SELECT chat_session_id FROM {self._sessions} ORDER BY {order} LIMIT {top}"  # noqa: S608
        which = "" if top is None else f"SEMI JOIN ({first}) AS dearest USING (chat_session_id)"
        turns = self._in_turns("shown", "chat_session_id")
        shown = _SHOWN.format(costs=self._summed, duration=_DURATION)
        return self._stage.answer(self._calls + _DEAREST.format(which=which, turns=turns, shown=shown, order=order))

    def turns(self) -> pl.DataFrame:
        """A row for each number of a turn; of the cost the sum, of how many sessions it is, and both its medians."""
        columns, medians = ", ".join(self.costs), ", ".join(_MEDIANS.format(cost=cost) for cost in self.costs)
        source, rest = "calls", ""
        if self._are_mostly_alone:
            several = f"SELECT chat_session_id FROM {self._sessions} WHERE calls > 1"  # noqa: S608
            source = f"calls SEMI JOIN ({several}) AS several USING (chat_session_id)"
            rest = _ALONE.format(columns=columns, sessions=self._sessions)
        # No more than is asked, for all of it would be sorted.
        needed = f"hash(chat_session_id) AS session, create_time, again, prompt_tokens, {columns}"
        hashed = f"(SELECT {needed} FROM {source}) AS calls"  # noqa: S608
        turns = self._stage.keep(
            self._calls + _TURNS.format(columns=columns, turns=self._in_turns(hashed, "session")) + rest
        )
        if self._has_attempts:
            self._stage.run(_ADDED.format(turns=turns, costs=self._summed))
        return self._stage.answer(_BY_TURN.format(turns=turns, medians=medians))

    def summary(self, edges: Sequence[Decimal]) -> pl.DataFrame:
        """One row about all sessions.

        Of the cost the sum, how many sessions have one, the largest, and a list of how many cost from each of the
        edges on up to the next; they are ascending.
        """
        below = ", ".join(f"CAST(-{edge:f} AS DECIMAL(38, 10))" for edge in reversed(edges))
        spreads = ", ".join(_SPREAD.format(cost=cost, edges=below) for cost in self.costs)
        found = self._stage.answer(_SUMMARY.format(sessions=self._sessions, spreads=spreads))
        return found.with_columns(
            pl.col(f"{cost}_bins").list.slice(0, len(edges)).list.reverse() for cost in self.costs
        )

    def at(self, cost: str, places: Sequence[int], of: int) -> list[Decimal]:
        """What those of the `of` sessions that have a cost, in its order, cost at some places from 0."""
        # Halfway between two ranks, no rounding of floats leads to another one.
        quantiles = ", ".join(f"CAST({(place + 0.5) / of!r} AS DOUBLE)" for place in places)
        found = self._stage.answer(f"SELECT quantile_disc({cost}, [{quantiles}]) AS amounts FROM {self._sessions}")  # noqa: S608
        amounts: pl.Series = found["amounts"][0]
        return amounts.to_list()

    def _in_turns(self, source: str, session: str) -> str:
        in_turns = _IN_TURNS if self._has_attempts else _REQUESTS_IN_TURNS
        return in_turns.format(source=source, session=session, columns=", ".join(self.costs))

    def _counted(self, where: str) -> pl.DataFrame:
        """The currencies of the priced calls that meet a condition, and null of the others, with how many these are."""
        of = {"price": self._read["total_price"], "currency": self._currency, "retried": self._read["retried"]}
        return self._stage.answer(_COUNTED.format(**of, calls=self._stage.calls, where=where))

    @property
    def _calls(self) -> str:
        """The beginning of a query: the calls of sessions, as `calls`."""
        read, price = self._read, self._read["total_price"]
        columns = {name: read[name] for name in _TYPES if name.endswith(("_tokens", "_price"))}
        columns |= {
            "again": f"{read['retried']} IS NOT NULL",
            "lost": f"CAST(coalesce({read['status']} <> 'success', false) AS INTEGER)",
            "began_ms": "epoch_us(create_time) // 1000",
            "ended_ms": f"epoch_us(create_time) // 1000 + coalesce({read['latency_ms']}, 0)",
            "cost_0": price,
        }
        if len(self.currencies) > 1:
            columns |= {
                cost: f"CASE WHEN {self._currency} = {literal(code)} THEN {price} END"
                for cost, code in zip(self.costs, self.currencies, strict=True)
            }
        selected = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
        return (
            "WITH calls AS (SELECT CAST(chat_session_id AS VARCHAR) AS chat_session_id, create_time,"  # noqa: S608
            f" {selected} FROM {self._stage.calls} WHERE {self._where}) "
        )
