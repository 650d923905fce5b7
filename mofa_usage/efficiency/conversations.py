"""SQL over the calls of sessions: a row for each session, and one for each turn of each.

A session is what has an id: calls with the nil UUID or without an id belong to none and are left out. Its turns are its
requests, in the order of time; an attempt that was tried again belongs to the turn of the request that follows it, or,
where none does, to one more turn. Calls of the same microsecond come in the order of their numbers, so that the answer
does not depend on the order of rows.

Money is in a column for each currency, `cost_0` that with most priced calls; where nothing is priced there is
no other.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import duckdb
import polars as pl

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

_PER_SESSION = """
    SELECT chat_session_id, min(create_time) AS first_call, max(create_time) AS last_call,
        max(epoch_us(create_time) // 1000 + coalesce(latency_ms, 0)) - min(epoch_us(create_time) // 1000)
            AS session_duration,
        count(*) FILTER (NOT again) AS turns, count(*) AS calls, count(*) FILTER (lost) AS error_count,
        {costs}, count(total_price) AS priced_calls, count(total_price) / count(*) AS coverage,
        CAST(sum(prompt_tokens) AS BIGINT) AS prompt_tokens,
        CAST(sum(completion_tokens) AS BIGINT) AS completion_tokens,
        CAST(sum(total_tokens) AS BIGINT) AS total_tokens
    FROM calls GROUP BY chat_session_id
"""

_IN_TURNS = """
    SELECT *,
        1 + count(*) FILTER (NOT again) OVER so_far AS turn,
        last_value(CASE WHEN NOT again THEN coalesce(prompt_tokens, -1) END IGNORE NULLS) OVER so_far AS before
    FROM {source}
    WINDOW so_far AS (
        PARTITION BY chat_session_id ORDER BY create_time, again DESC, prompt_tokens, {columns}
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
"""

_PER_TURN = """
    SELECT turn, count(*) AS calls, {costs}, max(prompt_tokens) FILTER (NOT again) AS prompt,
        max(before) FILTER (NOT again) AS before
    FROM ({turns}) AS turns GROUP BY chat_session_id, turn
"""

_TURN = "SELECT turn, 1 AS calls, {columns}, prompt_tokens AS prompt, before FROM ({turns}) AS turns"
"""The same where no attempt was tried again: each call is a turn."""

_TURNS = """
    SELECT turn, count(*) AS sessions, CAST(sum(calls) AS BIGINT) AS calls, {medians},
        sum(prompt) / count(prompt) AS turn_prompt_mean, quantile_cont(prompt, 0.5) AS turn_prompt_p50,
        sum(prompt - before) FILTER (before >= 0) / count(prompt) FILTER (before >= 0) AS turn_growth
    FROM ({per_turn}) AS per_turn GROUP BY turn ORDER BY turn
"""

_DEAREST = """
    , shown AS MATERIALIZED ({sessions} ORDER BY {order} {limit}),
    growth AS (
        SELECT chat_session_id,
            (arg_max(prompt_tokens, turn) - arg_min(prompt_tokens, turn)) / nullif(max(turn) - min(turn), 0)
                AS context_growth
        FROM ({turns}) AS turns WHERE NOT again AND prompt_tokens IS NOT NULL GROUP BY chat_session_id
    )
    SELECT * FROM shown LEFT JOIN growth USING (chat_session_id) ORDER BY {order}
"""

_SUMMARY = """
    , sessions AS ({sessions})
    SELECT count(*) AS sessions, CAST(sum(calls) AS BIGINT) AS calls, CAST(sum(turns) AS BIGINT) AS requests,
        CAST(sum(error_count) AS BIGINT) AS error_count, CAST(sum(priced_calls) AS BIGINT) AS priced_calls,
        quantile_cont(turns, 0.5) AS session_turns_p50, max(turns) AS session_turns_max,
        quantile_cont(session_duration, 0.5) AS session_duration_p50, {spreads}
    FROM sessions
"""

_SPREAD = """
    sum({cost}) AS {cost}, count({cost}) AS {cost}_count, max({cost}) AS {cost}_max,
    list({cost} ORDER BY {cost}) FILTER ({cost} IS NOT NULL) AS {cost}_sorted
"""

_BINS = """
    , sessions AS ({sessions}),
    edges AS (SELECT CAST(unnest([{edges}]) AS DECIMAL(38, 10)) AS cost_from)
    SELECT cost_from, count(*) AS sessions
    FROM (SELECT {cost} AS cost FROM sessions WHERE {cost} IS NOT NULL) AS known
    ASOF LEFT JOIN edges ON cost >= cost_from GROUP BY cost_from ORDER BY cost_from NULLS FIRST
"""


class Conversations:
    """The calls of sessions created in [start, end).

    Attributes:
        currencies: those of the priced calls, the one with most of them first.

    Raises:
        UsageError: the calls have no `chat_session_id` or no `create_time`.
    """

    def __init__(self, calls: duckdb.DuckDBPyRelation, start: datetime | None, end: datetime | None) -> None:
        for name, why in (("chat_session_id", "tells sessions apart"), ("create_time", "orders their calls")):
            if name not in calls.columns:
                raise UsageError(f"the frame has no column {name!r}, which {why}")
        self._calls = calls
        self._read = {name: name if name in calls.columns else f"CAST(NULL AS {kind})" for name, kind in _TYPES.items()}
        self._where = " AND ".join((f"CAST(chat_session_id AS VARCHAR) <> '{NIL}'", *created_in(start, end)))
        self._currency = f"coalesce({self._read['currency']}, '{DEFAULT_CURRENCY}')"
        counted = self._answer(
            f"SELECT CASE WHEN {self._read['total_price']} IS NOT NULL THEN {self._currency} END AS currency,"  # noqa: S608
            f" count(*) AS calls, count({self._read['retried']}) AS again"
            f' FROM "calls of sessions" WHERE {self._where} GROUP BY 1'
        )
        priced = counted.drop_nulls("currency").sort("calls", "currency", descending=[True, False])
        self.currencies = tuple(priced["currency"])
        self._has_attempts = bool(counted["again"].sum())

    @property
    def costs(self) -> list[str]:
        """The columns of money."""
        return [f"cost_{number}" for number in range(max(len(self.currencies), 1))]

    def dearest(self, top: int | None) -> pl.DataFrame:
        """A row for each session, the dearest first, then those with most calls."""
        order = ", ".join((*(f"{cost} DESC NULLS LAST" for cost in self.costs), "calls DESC", "chat_session_id"))
        limit = "" if top is None else f"LIMIT {top}"
        turns = self._in_turns("calls SEMI JOIN shown USING (chat_session_id)")
        return self._asked(_DEAREST.format(sessions=self._sessions, order=order, limit=limit, turns=turns))

    def turns(self) -> pl.DataFrame:
        """A row for each number of a turn; of the cost the sum, of how many sessions it is, and both its medians."""
        form = _PER_TURN if self._has_attempts else _TURN
        costs, columns = self._summed, ", ".join(self.costs)
        per_turn = form.format(turns=self._in_turns("calls"), costs=costs, columns=columns)
        medians = ", ".join(
            f"sum({cost}) AS {cost}, count({cost}) AS {cost}_count, quantile_disc({cost}, 0.5) AS {cost}_low,"
            f" -quantile_disc(-{cost}, 0.5) AS {cost}_high"
            for cost in self.costs
        )
        return self._asked(_TURNS.format(per_turn=per_turn, medians=medians))

    def summary(self) -> pl.DataFrame:
        """One row about all sessions; of the cost the sum, how many sessions have one, the largest, and all sorted."""
        spreads = ", ".join(_SPREAD.format(cost=cost) for cost in self.costs)
        return self._asked(_SUMMARY.format(sessions=self._sessions, spreads=spreads))

    def bins(self, cost: str, edges: str) -> pl.DataFrame:
        """How many sessions cost from each of the edges up to the next; null: less than the first."""
        return self._asked(_BINS.format(sessions=self._sessions, cost=cost, edges=edges))

    @property
    def _summed(self) -> str:
        return ", ".join(f"sum({cost}) AS {cost}" for cost in self.costs)

    @property
    def _sessions(self) -> str:
        return _PER_SESSION.format(costs=self._summed)

    def _in_turns(self, source: str) -> str:
        return _IN_TURNS.format(source=source, columns=", ".join(self.costs))

    def _asked(self, query: str) -> pl.DataFrame:
        """The answer to the rest of a query, over the calls of sessions."""
        read, price = self._read, self._read["total_price"]
        columns = {name: read[name] for name in _TYPES if name.endswith(("_tokens", "_price", "_ms"))}
        columns |= {
            "again": f"{read['retried']} IS NOT NULL",
            "lost": f"coalesce({read['status']} <> 'success', false)",
            "cost_0": price,
        }
        if len(self.currencies) > 1:
            columns |= {
                cost: f"CASE WHEN {self._currency} = {literal(code)} THEN {price} END"
                for cost, code in zip(self.costs, self.currencies, strict=True)
            }
        selected = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
        return self._answer(
            "WITH calls AS (SELECT CAST(chat_session_id AS VARCHAR) AS chat_session_id, create_time,"  # noqa: S608
            f' {selected} FROM "calls of sessions" WHERE {self._where}) {query}'
        )

    def _answer(self, query: str) -> pl.DataFrame:
        answer: Any = self._calls.query("calls of sessions", query)
        return pl.DataFrame(pl.from_arrow(answer.to_arrow_table()))
