"""Conversations: what each of them cost, how long it was, and how its turns grow.

A chat sends its history again with every turn, so that the tenth turn costs more than the first. `sessions` says by how
much: for each number of a turn what it costs and how long its prompt is, over the sessions that reach it, and which
conversations are the dearest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

import duckdb
import polars as pl

from mofa_usage.analysis import Breakdown
from mofa_usage.analysis.quantiles import between
from mofa_usage.analysis.quotients import quotients
from mofa_usage.analysis.result import one_of
from mofa_usage.efficiency.conversations import Conversations
from mofa_usage.efficiency.staging import staged
from mofa_usage.errors import UsageError
from mofa_usage.measures import ANSWERS, DIMENSIONS, Dimension, MeasureColumn, Roles, measure, money_columns
from mofa_usage.reading.columns import MONEY
from mofa_usage.reading.messages import COUNTS, Messages, count_messages
from mofa_usage.zones import Moment, time_range, zone

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from mofa_usage.plots import DrawOptions

__all__ = ["SessionOptions", "Sessions", "sessions"]

TURN = Dimension("turn", "Turn", "category", "Which turn of its session, from 1 on.")

_TOP = 100
_BINS = pl.Schema({"currency": pl.String(), "cost_from": MONEY, "cost_to": MONEY, "sessions": pl.Int64()})
_EDGES = [Decimal(digit).scaleb(power) for power in range(-10, 8) for digit in (1, 2, 5)]
"""Where the bins of the costs of sessions begin."""


class SessionOptions(TypedDict, total=False):
    """As `sessions` takes them."""

    top: int | None
    messages: "Messages | None"
    start: Moment | None
    end: Moment | None


@dataclass(frozen=True)
class Sessions:
    """What is known of conversations.

    Attributes:
        dearest: a row for each session, the dearest first.
        turns: a row for each number of a turn.
        costs: how many sessions cost how much.
        summary: one row about all sessions.
    """

    dearest: Breakdown
    turns: Breakdown
    costs: Breakdown
    summary: Breakdown

    @property
    def sentence(self) -> str:
        """What they say, in a few plain sentences."""
        if not self.summary["sessions"][0]:
            return self.summary.sentence
        return f"{self.summary.sentence} {self.turns.sentence}"

    def draw(
        self,
        kind: Literal["turns", "costs", "dearest"] = "turns",
        *,
        theme: Literal["light", "dark"] | None = None,
        **options: "Unpack[DrawOptions]",
    ) -> "Figure":
        """Draw the cost by turn with the growth of the prompt, what sessions cost, or the dearest of them.

        Raises:
            UsageError: there is no such figure; as `Breakdown.draw`.
        """
        drawn = {"turns": self.turns, "costs": self.costs, "dearest": self.dearest}
        return one_of(drawn, kind, "sessions").draw(theme=theme, **options)

    def __str__(self) -> str:
        return "\n\n".join([self.sentence, str(self.dearest.head(10)), str(self.turns.head(10))])

    def _repr_html_(self) -> str:
        """The dearest sessions and the turns as tables, for a notebook."""
        return f"{self.dearest._repr_html_()}{self.turns._repr_html_()}"


def sessions(
    calls: duckdb.DuckDBPyRelation,
    *,
    tz: str = "UTC",
    top: int | None = _TOP,
    messages: "Messages | None" = None,
    start: Moment | None = None,
    end: Moment | None = None,
) -> Sessions:
    """What conversations cost, and how they grow.

    Args:
        calls: a relation of calls; it needs `chat_session_id` and `create_time`; of what else it lacks nothing
            is known.
        tz: IANA time zone of the times, and of a `start` or `end` that names none.
        top: so many of the dearest sessions have a row; None: all of them.
        messages: where their messages are: a database URL, an open store, a frame with `chat_session_id`, `role` and
            `content`, or a list of `LLMMessage`. Those of the whole session are counted, whatever the period.
        start, end: only calls created in [start, end).

    Returns:
        `dearest`, the dearest first (then by calls, then by id): `chat_session_id`, `first_call` and `last_call`
        (Datetime in `tz`), `session_duration` in milliseconds, `turns` (requests: calls without `retried`), `calls`,
        `error_count`, `cost`, `priced_calls`, `coverage`, `prompt_tokens`, `completion_tokens`, `total_tokens`,
        `context_growth` (tokens per turn; null where not two requests are known), and with `messages` the numbers
        of messages by role, of tool calls and of tool errors (0 where the session has none).
        `turns`, by `turn`: `sessions` that reach it, `calls`, `cost` of all of them, `turn_cost_mean` and
        `turn_cost_p50` over the sessions whose turn has a price, `turn_prompt_mean` and `turn_prompt_p50` over those
        whose prompt is known, `turn_growth` since the turn before. `costs`: `sessions` that cost from `cost_from` up
        to `cost_to`, of each currency. `summary`: one row. In several currencies money is in a column for each.

        Calls without a session (the nil UUID) are in none of them.

    Raises:
        UsageError: a column is missing, `top` is below 1, a time or zone cannot be understood, messages that are none.
    """
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
        raise UsageError(f"top = {top!r}; it says how many sessions to show, at least 1, or None for all")
    with staged(calls) as stage:
        known = Answers(Conversations(stage, *time_range(start, end, zone(tz))))
        counts = None if messages is None else count_messages(messages)
        return Sessions(known.dearest(top, tz, counts), known.turns(), known.costs(), known.summary())


@dataclass(frozen=True)
class Answers:
    """Makes answers of what is counted of conversations, whose columns of money are called by their place."""

    asked: Conversations

    def dearest(self, top: int | None, tz: str, messages: pl.DataFrame | None) -> Breakdown:
        """A row for each session, with its numbers of messages where they are given."""
        found = self.asked.dearest(top).with_columns(pl.col("first_call", "last_call").dt.convert_time_zone(tz))
        if messages is not None:
            found = found.join(messages, on="chat_session_id", how="left", maintain_order="left")
            found = found.with_columns(pl.col(COUNTS).fill_null(0))
        shown = found.select(
            "chat_session_id", "first_call", "last_call", "session_duration", "turns", "calls", "error_count",
            *self._money("cost", found.select(self.asked.costs)),
            "priced_calls", "coverage", "prompt_tokens", "completion_tokens", "total_tokens", "context_growth",
            *(name for name in COUNTS if name in found.columns),
        )  # fmt: skip
        return self._answer(shown, {"chat_session_id": DIMENSIONS["chat_session_id"]}, "sessions")

    def turns(self) -> Breakdown:
        """A row for each number of a turn."""
        found, costs = self.asked.turns(), self.asked.costs
        shown = found.select(
            "turn", "sessions", "calls",
            *self._money("cost", found.select(costs)),
            *self._money("turn_cost_mean", self._means(found)),
            *self._money("turn_cost_p50", (_middles(found[f"{cost}_middle"]) for cost in costs)),
            "turn_prompt_mean", "turn_prompt_p50", "turn_growth",
        )  # fmt: skip
        return self._answer(shown, {"turn": TURN}, "turns")

    def summary(self) -> Breakdown:
        """One row about all sessions."""
        found, costs = self._summary, self.asked.costs
        shown = found.select(
            "sessions", "calls", "requests", "error_count",
            *self._money("cost", found.select(costs)),
            *self._money("session_cost_mean", self._means(found)),
            *self._money("session_cost_p50", self._percentiles(50)),
            *self._money("session_cost_p95", self._percentiles(95)),
            *self._money("session_cost_max", found.select(f"{cost}_max" for cost in costs)),
            "priced_calls", "session_turns_p50", "session_turns_max", "session_duration_p50",
        )  # fmt: skip
        return self._answer(shown, {}, "session_summary")

    def costs(self) -> Breakdown:
        """How many sessions cost how much, in each currency."""
        parts = [self._bins(code, cost) for code, cost in zip(self.asked.currencies, self.asked.costs, strict=False)]
        frame = pl.concat(parts) if parts else pl.DataFrame(schema=_BINS)
        held = {name: MeasureColumn(ANSWERS[name]) for name in ("cost_from", "cost_to")}
        held["sessions"] = MeasureColumn(measure("sessions"))
        return Breakdown.of(frame, Roles({"currency": DIMENSIONS["currency"]}, held, (), "session_costs"))

    def _bins(self, code: str, cost: str) -> pl.DataFrame:
        found = self._summary[f"{cost}_bins"][0].to_list()
        below = self._summary[f"{cost}_count"][0] - sum(found)
        nothing = [(code, None, _EDGES[0], below)] if below else []
        places = [place for place, number in enumerate(found) if number]
        ends = [*_EDGES[1:], None]
        rows = [
            (code, _EDGES[place], ends[place], found[place])
            for place in range(min(places, default=0), max(places, default=-1) + 1)
        ]
        return pl.DataFrame([*nothing, *rows], schema=_BINS, orient="row")

    @cached_property
    def _summary(self) -> pl.DataFrame:
        return self.asked.summary(_EDGES)

    def _percentiles(self, percent: int) -> Iterator[pl.Series]:
        """What sessions cost in each currency, with linear interpolation."""
        for cost in self.asked.costs:
            known, amount = self._summary[f"{cost}_count"][0], None
            if known:
                place = (known - 1) * percent // 100
                low, high = self.asked.at(cost, [place, min(place + 1, known - 1)], known)
                amount = between(low, high, known, Fraction(percent, 100))
            yield pl.Series([amount], dtype=MONEY)

    def _means(self, found: pl.DataFrame) -> Iterator[pl.Series]:
        """The sums of money over how many they are of."""
        return (quotients(found[cost], found[f"{cost}_count"]) for cost in self.asked.costs)

    def _money(self, name: str, values: Iterable[pl.Series]) -> list[pl.Series]:
        """The columns of a measure of money, called as those of every answer."""
        names = money_columns(name, self.asked.currencies).values() if self.asked.currencies else [name]
        return [series.cast(MONEY).alias(called) for called, series in zip(names, values, strict=True)]

    def _answer(self, shown: pl.DataFrame, dimensions: Mapping[str, Dimension], question: str) -> Breakdown:
        """The frame with what its columns are; a last one says the currency, where there is at most one."""
        currencies = self.asked.currencies
        apart = {
            column: (name, code)
            for name in ("cost", *(one.name for one in ANSWERS.values() if one.kind == "money"))
            for code, column in (money_columns(name, currencies).items() if len(currencies) > 1 else ())
        }
        named = {column: apart.get(column, (column, None)) for column in shown.columns}
        held = {
            column: MeasureColumn(ANSWERS.get(name) or measure(name), code)
            for column, (name, code) in named.items()
            if column not in (*dimensions, "first_call", "last_call")
        }
        if len(currencies) < 2:
            code = currencies[0] if currencies else None
            shown = shown.with_columns(pl.lit(code, pl.String).alias("currency"))
        return Breakdown.of(shown, Roles(dimensions, held, currencies, question))


def _middles(pairs: pl.Series) -> pl.Series:
    """What is in the middle between the two amounts of each pair."""
    return pl.Series(
        [None if pair is None else between(pair[0], pair[1], 2, Fraction(1, 2)) for pair in pairs], dtype=MONEY
    )
