"""What every number means: the measures and dimensions of mofa_usage, defined once, as data.

A **measure** is a number about a group of calls (their cost, the 95th percentile of their latency); a
**dimension** says how calls are put into groups (by model, by day). Nothing here computes: a measure carries
a *formula* made of two kinds of parts, and `mofa_usage.analysis` interprets it on whichever engine holds the
calls.

- An `Aggregate` runs over the calls of a group: count, sum, quantile, maximum or number of distinct values of
  a `value`, over the calls that meet every condition of `where` and have the value. The engine computes these
  and nothing else.
- A `Ratio` divides two aggregates of the same group afterwards. So averages, rates and unit costs are
  computed from exact sums and counts, in one place, and every engine agrees on them. Dividing by zero gives
  null.

Missing is not zero: the sum of values of which no call has one is null, not 0; counts are 0. Money is a
Decimal with ten places, in the currency of the row: **amounts of different currencies are never added**, so
whoever asks for a measure of kind `money` gets `currency` as the last dimension. Token details (cached,
reasoning) are subsets of prompt and completion tokens and are never added to them.

>>> MEASURES["cost_per_call"].title
'Cost per call'
>>> MEASURES["latency_p95"].needs
('latency_ms',)
>>> measure("latency_p59")  # doctest: +ELLIPSIS
Traceback (most recent call last):
mofa_usage.errors.UsageError: no measure is called 'latency_p59'; near it: latency_p99, latency_p95...
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeVar

from mofa_usage.errors import UsageError

__all__ = [
    "DIMENSIONS",
    "MEASURES",
    "Aggregate",
    "Dimension",
    "Measure",
    "Ratio",
    "dimension",
    "measure",
]

Quantity: TypeAlias = Literal["money", "count", "tokens", "ms", "rate", "tokens/s"]
"""How a measure is written: `money` in the row's currency; `rate` is a fraction from 0 to 1."""

Condition: TypeAlias = Literal[
    "succeeded",  # status is success
    "unsuccessful",  # status is anything else
    "priced",  # total_price is not null
    "details",  # the call reports its cached tokens
    "timed",  # latency_ms is above 0
    "failed",  # status is failed, and so on for the three below
    "timeout",
    "rate_limited",
    "cancelled",
]

CONDITION_NEEDS: Mapping[Condition, str] = MappingProxyType(
    {
        "succeeded": "status",
        "unsuccessful": "status",
        "priced": "total_price",
        "details": "cached_tokens",
        "timed": "latency_ms",
        "failed": "status",
        "timeout": "status",
        "rate_limited": "status",
        "cancelled": "status",
    }
)
"""The column that decides each condition."""

TOKEN_RATE = "token_rate"  # noqa: S105 (a rate of tokens, no secret)
"""A value that is no column: tokens_per_second, else completion_tokens / seconds of latency, else null."""

ALWAYS_PRESENT = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})
"""Columns that every call has: with no calls at all their sum is 0 and not null."""

VALUE_NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {TOKEN_RATE: ("tokens_per_second", "completion_tokens", "latency_ms")}
)
"""The columns behind a value that is not itself a column."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number per group, computed by the engine.

    `count` counts the calls (those that have `value`, when one is given); `distinct` the different values,
    the nil UUID not among them, since it stands for "none"; `quantile` is exact, with linear interpolation
    (numpy's default).
    """

    function: Literal["count", "sum", "quantile", "max", "distinct"]
    value: str | None = None
    where: tuple[Condition, ...] = ()
    quantile: float = 0.0

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads."""
        value = () if self.value is None else VALUE_NEEDS.get(self.value, (self.value,))
        return tuple(dict.fromkeys((*value, *(CONDITION_NEEDS[condition] for condition in self.where))))


@dataclass(frozen=True, slots=True)
class Ratio:
    """`numerator / denominator * scale`, null when the denominator is 0 or either is null."""

    numerator: Aggregate
    denominator: Aggregate
    scale: int = 1

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads."""
        return tuple(dict.fromkeys((*self.numerator.needs, *self.denominator.needs)))


@dataclass(frozen=True, slots=True)
class Measure:
    """A number about a group of calls.

    `unit` is the word behind the number ("calls", "tokens", "ms", "tokens/s"; "" for rates; for money
    "currency", to be replaced by the row's currency). `additive` says that the values of several rows add up to
    that of all their calls.
    """

    name: str
    title: str
    kind: Quantity
    unit: str
    description: str
    formula: Aggregate | Ratio
    additive: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads; for money with `currency`."""
        return (*self.formula.needs, *(("currency",) if self.kind == "money" else ()))


@dataclass(frozen=True, slots=True)
class Dimension:
    """A way to put calls into groups.

    `kind` is `category` for a column taken as it is, `time` for buckets that follow each other on the
    calendar (they sort a result and can have gaps), and `cycle` for the hour of the day and the day of the
    week.
    """

    name: str
    title: str
    kind: Literal["category", "time", "cycle"]
    description: str
    needs: tuple[str, ...]


def _count(name: str, title: str, description: str, *where: Condition, value: str | None = None) -> Measure:
    return Measure(name, title, "count", "calls", description, Aggregate("count", value, where), additive=True)


def _tokens(column: str, title: str, description: str) -> Measure:
    return Measure(column, title, "tokens", "tokens", description, Aggregate("sum", column), additive=True)


def _distinct(name: str, column: str, title: str) -> Measure:
    description = f"Number of different {column} among the calls (the nil UUID is none)."
    return Measure(name, title, "count", name, description, Aggregate("distinct", column))


def _durations(prefix: str, column: str, title: str) -> tuple[Measure, ...]:
    """Mean, percentiles, maximum and number of a duration in milliseconds, over the calls that have it."""
    mean = Ratio(Aggregate("sum", column), Aggregate("count", column))
    over = f"over the calls that have {column}"
    percentiles = (
        Measure(
            f"{prefix}_p{percent}",
            f"{title} p{percent}",
            "ms",
            "ms",
            f"{percent}th percentile of {column} {over}, exact, linearly interpolated.",
            Aggregate("quantile", column, quantile=percent / 100),
        )
        for percent in (50, 90, 95, 99)
    )
    return (
        Measure(f"{prefix}_mean", f"Mean {title.lower()}", "ms", "ms", f"Mean of {column} {over}.", mean),
        *percentiles,
        Measure(
            f"{prefix}_max",
            f"Longest {title.lower()}",
            "ms",
            "ms",
            f"Largest {column}.",
            Aggregate("max", column),
        ),
        _count(f"{prefix}_calls", f"Calls with {title.lower()}", f"Calls that have {column}.", value=column),
    )


def _outcomes() -> tuple[Measure, ...]:
    calls, succeeded = Aggregate("count"), Aggregate("count", where=("succeeded",))
    return (
        _count("calls", "Calls", "Number of calls, whatever their status."),
        _count("success_count", "Successes", "Calls whose status is success.", "succeeded"),
        _count("failed_count", "Failed", "Calls whose status is failed.", "failed"),
        _count("timeout_count", "Timeouts", "Calls whose status is timeout.", "timeout"),
        _count("rate_limited_count", "Rate limited", "Calls whose status is rate_limited.", "rate_limited"),
        _count("cancelled_count", "Cancelled", "Calls whose status is cancelled.", "cancelled"),
        _count("error_count", "Unsuccessful", "Calls whose status is anything but success.", "unsuccessful"),
        Measure("success_rate", "Success rate", "rate", "", "Successes / calls.", Ratio(succeeded, calls)),
    )


def _token_counts() -> tuple[Measure, ...]:
    hit_rate = Ratio(Aggregate("sum", "cached_tokens"), Aggregate("sum", "prompt_tokens", ("details",)))
    return (
        _tokens("prompt_tokens", "Prompt tokens", "Sum of prompt_tokens, cached ones included."),
        _tokens("completion_tokens", "Completion tokens", "Sum of completion_tokens, reasoning included."),
        _tokens("total_tokens", "Tokens", "Sum of total_tokens."),
        _tokens("cached_tokens", "Cached tokens", "Prompt tokens read from a cache, of calls that report them."),
        _tokens(
            "cache_write_tokens",
            "Cache writes",
            "Prompt tokens written to a cache, of calls that report them.",
        ),
        _tokens("reasoning_tokens", "Reasoning tokens", "Completion tokens spent on reasoning, where reported."),
        Measure(
            "cache_hit_rate",
            "Cache hit rate",
            "rate",
            "",
            "Cached tokens / prompt tokens, over the calls that report cached tokens.",
            hit_rate,
        ),
    )


def _money() -> tuple[Measure, ...]:
    cost, priced = Aggregate("sum", "total_price"), Aggregate("count", "total_price")
    successes = Aggregate("count", where=("priced", "succeeded"))
    tokens = Aggregate("sum", "total_tokens", ("priced",))
    wasted = Aggregate("sum", "total_price", ("unsuccessful",))

    def money(name: str, title: str, text: str, formula: Aggregate | Ratio, additive: bool = False) -> Measure:
        return Measure(name, title, "money", "currency", text, formula, additive)

    return (
        money("cost", "Cost", "Sum of total_price, exact; unpriced calls are unknown, not free.", cost, True),
        _count("priced_calls", "Priced calls", "Calls that have a total_price.", value="total_price"),
        Measure("coverage", "Coverage", "rate", "", "Priced calls / calls.", Ratio(priced, Aggregate("count"))),
        money("cost_per_call", "Cost per call", "Cost / priced calls.", Ratio(cost, priced)),
        money(
            "cost_per_success",
            "Cost per success",
            "Cost of all priced calls / those of them that succeeded.",
            Ratio(cost, successes),
        ),
        money(
            "cost_per_1k_tokens",
            "Cost per 1,000 tokens",
            "Cost / total_tokens of the priced calls, times 1,000.",
            Ratio(cost, tokens, 1000),
        ),
        money(
            "wasted_cost",
            "Wasted cost",
            "Cost of calls that did not succeed; 0 when all did, null when none of those has a price.",
            wasted,
            True,
        ),
    )


def _token_rates() -> tuple[Measure, ...]:
    def rate(name: str, title: str, text: str, formula: Aggregate | Ratio) -> Measure:
        return Measure(f"token_rate_{name}", title, "tokens/s", "tokens/s", text, formula)

    each = "the calls' rates (tokens_per_second, else completion tokens / seconds of latency)"
    mean = Ratio(Aggregate("sum", TOKEN_RATE), Aggregate("count", TOKEN_RATE))
    overall = Ratio(Aggregate("sum", "completion_tokens", ("timed",)), Aggregate("sum", "latency_ms", ("timed",)), 1000)
    return (
        rate("mean", "Mean token rate", f"Mean of {each}.", mean),
        *(
            rate(
                f"p{percent}",
                f"Token rate p{percent}",
                f"{percent}th percentile of {each}.",
                Aggregate("quantile", TOKEN_RATE, quantile=percent / 100),
            )
            for percent in (50, 95)
        ),
        rate(
            "overall",
            "Overall token rate",
            "Sum of completion tokens / sum of seconds, over the calls whose latency is above 0.",
            overall,
        ),
    )


_ALL_MEASURES = (
    *_outcomes(),
    *_token_counts(),
    *_money(),
    *_durations("latency", "latency_ms", "Latency"),
    *_durations("ttft", "time_to_first_token_ms", "Time to first token"),
    *_token_rates(),
    _distinct("sessions", "chat_session_id", "Sessions"),
    _distinct("users", "user_id", "Users"),
    _distinct("agents", "agent_id", "Agents"),
    _distinct("models", "model_name", "Models"),
)

MEASURES: Mapping[str, Measure] = MappingProxyType({entry.name: entry for entry in _ALL_MEASURES})
"""Every measure by its name, in the order in which documentation lists them."""


def _category(name: str, title: str, description: str) -> Dimension:
    return Dimension(name, title, "category", description, (name,))


def _bucket(name: str, title: str, description: str, kind: Literal["time", "cycle"] = "time") -> Dimension:
    return Dimension(name, title, kind, description, ("create_time",))


_ALL_DIMENSIONS = (
    _category("model_name", "Model", "The model that was called."),
    _category("provider_name", "Provider", "Name of the agent's provider, where the source has it."),
    _category("agent_name", "Agent", "Name of the agent, where the source has it."),
    _category("agent_code", "Agent code", "Code of the agent, where the source has it."),
    _category("status", "Status", "success, failed, timeout, rate_limited or cancelled."),
    _category("error_code", "Error code", "The provider's error code."),
    _category("currency", "Currency", "Currency of the prices, USD when the call does not say."),
    _category("agent_id", "Agent id", "The agent, as UUID."),
    _category("user_id", "User", "The user, as UUID."),
    _category("tenant_id", "Tenant", "The tenant, as UUID; the nil UUID when unset."),
    _category("chat_session_id", "Session", "The chat session, as UUID."),
    _category("request_message_id", "Request message", "The message that asked, as UUID."),
    _category("response_message_id", "Response message", "The message that answered; the nil UUID when none did."),
    _category("api_response_id", "Provider's response id", "The id that the provider gave its response."),
    _category("id", "Call", "The call itself, as UUID."),
    _bucket("minute", "Minute", "Begins at a full local minute or where the clock changes (Datetime in the zone)."),
    _bucket("hour", "Hour", "Begins at a full local hour or where the clock changes (Datetime in the zone)."),
    _bucket("day", "Day", "The local date."),
    _bucket("week", "Week", "The ISO week, as the date of its Monday."),
    _bucket("month", "Month", "The calendar month, as the date of its first day."),
    _bucket("hour_of_day", "Hour of the day", "0 to 23 on the local clock.", "cycle"),
    _bucket("weekday", "Weekday", "1 (Monday) to 7 (Sunday) on the local calendar.", "cycle"),
)

DIMENSIONS: Mapping[str, Dimension] = MappingProxyType({entry.name: entry for entry in _ALL_DIMENSIONS})
"""Every dimension by its name."""

Entry = TypeVar("Entry", Measure, Dimension)


def measure(name: str) -> Measure:
    """The measure of that name.

    Raises:
        UsageError: there is none; the message names it and those nearest to it.
    """
    return _lookup(name, MEASURES, "measure")


def dimension(name: str) -> Dimension:
    """The dimension of that name.

    Raises:
        UsageError: there is none; the message names it and those nearest to it.
    """
    return _lookup(name, DIMENSIONS, "dimension")


def _lookup(name: str, entries: Mapping[str, Entry], word: str) -> Entry:
    try:
        return entries[name]
    except (KeyError, TypeError):
        raise UsageError(f"no {word} is called {name!r}; {_suggestion(name, entries)}") from None


def _suggestion(name: object, names: Iterable[str]) -> str:
    known = tuple(names)
    near = get_close_matches(str(name).lower(), known, n=3, cutoff=0.6)
    near += [entry for entry in known if len(str(name)) > 2 and str(name).lower() in entry and entry not in near]
    return f"near it: {', '.join(near[:5])}" if near else f"there are: {', '.join(known)}"
