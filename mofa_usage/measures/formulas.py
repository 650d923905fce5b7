"""The parts that a measure is made of, as frozen data.

Conditions, values, aggregates and ratios say what a number about calls is; shares, sums so far and rolling measures
are made of such a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from mofa_usage.errors import UsageError

__all__ = [
    "Aggregate",
    "Bound",
    "Condition",
    "Cumulative",
    "Derived",
    "Measure",
    "Quantity",
    "Quotient",
    "Ratio",
    "Reckoned",
    "Rolling",
    "Share",
    "checked_level",
]

Quantity: TypeAlias = Literal["money", "count", "tokens", "ms", "rate", "tokens/s"]
"""How a measure is written: `money` in a currency; `rate` is a fraction from 0 to 1."""

MOST_BUCKETS = 100_000
"""How many buckets of time a rolling measure is over at most."""

Function: TypeAlias = Literal["count", "sum", "quantile", "min", "max", "distinct"]

Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "known", "unknown", "== or unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """What a call must meet to take part in an aggregate: `Condition("status", "==", "success")`.

    `known` and `unknown` ask whether the call has a value, and take none. A call without a value meets no other
    operator but `== or unknown`.

    Raises:
        UsageError: there is no such operator, or it needs a value and has none.
    """

    column: str
    operator: Operator
    value: str | int | float | bool | None = None

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator):
            raise UsageError(f"no operator is called {self.operator!r}; there are: {', '.join(get_args(Operator))}")
        if (self.value is None) != (self.operator in ("known", "unknown")):
            rule = "takes no value" if self.value is not None else "needs a value"
            raise UsageError(f"the operator {self.operator!r} of a condition on {self.column!r} {rule}")

    @property
    def implies_value(self) -> bool:
        """Whether a call that meets it has a value in the column."""
        return "unknown" not in self.operator


@dataclass(frozen=True, slots=True)
class Quotient:
    """A value of a call that is no column of its own, as a Float64.

    `recorded` where the call has that, else `(numerator - numerator_less) / (denominator - denominator_less) *
    scale`; null where a column is null or a condition is not met. Put there one that keeps the divisor above 0.
    """

    name: str
    numerator: str
    denominator: str
    where: tuple[Condition, ...]
    numerator_less: str | None = None
    denominator_less: int = 0
    scale: int = 1
    recorded: str | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads and that must be there."""
        less = () if self.numerator_less is None else (self.numerator_less,)
        conditions = (condition.column for condition in self.where)
        return tuple(dict.fromkeys((self.numerator, *less, self.denominator, *conditions)))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that it reads where there are any."""
        return () if self.recorded is None else (self.recorded,)


def checked_level(level: float) -> float:
    """The level of an interval.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise UsageError(f"the level of an interval is {level!r}; it is between 0 and 1, such as 0.95")
    return level


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of an interval around a rate or percentile, at a level such as 0.95.

    Raises:
        UsageError: the level is not between 0 and 1.
    """

    level: float
    is_upper: bool

    def __post_init__(self) -> None:
        checked_level(self.level)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number per group, computed by the engine.

    `count` counts the calls (those that have `value`, when one is given); `distinct` the different values,
    the nil UUID not among them, since it stands for "none"; `quantile` is exact, with linear interpolation
    (numpy's default); with a `bound` it is that end of its interval instead, which is one of the values. A sum of which
    no call has a value is null; with `zero_of_nothing` it is 0 where there are no calls at all that meet the
    conditions.

    Raises:
        UsageError: there is no such function, it needs a value and has none, the quantile is not from 0 to 1, or what
            has a bound is no quantile.
    """

    function: Function
    value: str | Quotient | None = None
    where: tuple[Condition, ...] = ()
    quantile: float = 0.0
    zero_of_nothing: bool = False
    bound: Bound | None = None

    def __post_init__(self) -> None:
        if self.function not in get_args(Function):
            raise UsageError(f"no aggregate is called {self.function!r}; there are: {', '.join(get_args(Function))}")
        if self.value is None and self.function != "count":
            raise UsageError(f"the aggregate {self.function!r} needs a value, such as 'latency_ms'")
        if not isinstance(self.where, tuple) or not all(isinstance(entry, Condition) for entry in self.where):
            raise UsageError(f"where = {self.where!r}; it is a tuple of Conditions")
        if not 0 <= self.quantile <= 1:
            raise UsageError(f"quantile = {self.quantile!r}; it is from 0 to 1, such as 0.95")
        if self.bound is not None and self.function != "quantile":
            raise UsageError(f"the aggregate {self.function!r} has no interval; a quantile has")

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads."""
        value = () if self.value is None else (self.value,) if isinstance(self.value, str) else self.value.needs
        return tuple(dict.fromkeys((*value, *(condition.column for condition in self.where))))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that it reads where there are any."""
        return self.value.optional if isinstance(self.value, Quotient) else ()


@dataclass(frozen=True, slots=True)
class Ratio:
    """`numerator / denominator * scale`, null when the denominator is 0 or either is null.

    With a `bound` it is that end of the interval of a rate: how many of some calls meet something.

    Raises:
        UsageError: one of them is no aggregate, or what has a bound is no rate of calls.
    """

    numerator: Aggregate
    denominator: Aggregate
    scale: int = 1
    bound: Bound | None = None

    def __post_init__(self) -> None:
        for part in (self.numerator, self.denominator):
            if not isinstance(part, Aggregate):
                raise UsageError(f"a ratio is of two Aggregates, not of {part!r}")
        if self.bound is not None and not self.is_proportion:
            raise UsageError("a ratio has an interval where it is of two counts, with a scale of 1")

    @property
    def is_proportion(self) -> bool:
        """Whether it says how many of some calls meet something."""
        return self.numerator.function == self.denominator.function == "count" and self.scale == 1

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads."""
        return tuple(dict.fromkeys((*self.numerator.needs, *self.denominator.needs)))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that it reads where there are any."""
        return tuple(dict.fromkeys((*self.numerator.optional, *self.denominator.optional)))


@dataclass(frozen=True, slots=True)
class Reckoned:
    """What a question of its own computes, such as a part of a change; no breakdown asks an engine for it."""

    question: str

    @property
    def needs(self) -> tuple[str, ...]:
        """No column: it is no number about the calls of one group alone."""
        return ()

    @property
    def optional(self) -> tuple[str, ...]:
        """No column."""
        return ()


@dataclass(frozen=True, slots=True)
class Derived:
    """What is made of another measure: a share, a sum so far, or a rolling measure."""

    measure: "Measure"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads and that must be there."""
        return self.measure.needs

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that it reads where there are any."""
        return self.measure.optional


@dataclass(frozen=True, slots=True)
class Share(Derived):
    """What part a measure is of that of all rows of an answer, or of those with the same value of the dimension `of`.

    From 0 to 1, and for money in each currency apart; null where the measure is unknown or the whole is 0.

    Raises:
        UsageError: the measure does not add up, as rates and percentiles do not.
    """

    of: str | None = None

    def __post_init__(self) -> None:
        _check_additive(self.measure, "a share")


@dataclass(frozen=True, slots=True)
class Cumulative(Derived):
    """A measure of all calls from the first bucket of time that is asked for to that of the row.

    Raises:
        UsageError: the measure does not add up, as rates and percentiles do not.
    """

    def __post_init__(self) -> None:
        _check_additive(self.measure, "a sum so far")


@dataclass(frozen=True, slots=True)
class Rolling(Derived):
    """A measure of all calls in the bucket of time of the row and in those before it, so many `buckets` in all.

    They follow each other on the calendar, whether something was called in them or not.

    Raises:
        UsageError: fewer than one bucket or more than 100,000, or a measure that is itself made of another one.
    """

    buckets: int

    def __post_init__(self) -> None:
        _check_of_calls(self.measure, "a rolling measure")
        if isinstance(self.buckets, bool) or not isinstance(self.buckets, int) or not 1 <= self.buckets <= MOST_BUCKETS:
            limits = f"1 to {MOST_BUCKETS:,} buckets"
            raise UsageError(f"a rolling {self.measure.name!r} is over {limits}, not {self.buckets!r}")


Formula: TypeAlias = Aggregate | Ratio | Derived | Reckoned

_FROM_FORMULA: Any = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A number about a group of calls; of your own, too: a name and a formula are enough.

    `kind` says how it is written; by default what the column of the formula is. `unit` is the word behind the number
    ("calls", "tokens", "ms", "tokens/s"; "" for rates; for money "currency", to be replaced by the currency).
    `additive` says that the values of several rows add up to that of all their calls: by default counts and sums do.
    `absent_is_null` names columns that a frame need not have: without them no call has the value.

    Raises:
        UsageError: no name or formula, or a kind that there is not.
    """

    name: str
    title: str = ""
    kind: Quantity = _FROM_FORMULA
    unit: str = ""
    description: str = ""
    formula: Formula = _FROM_FORMULA
    additive: bool = _FROM_FORMULA
    absent_is_null: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"a measure is called {self.name!r}; its name is a text, and not empty")
        if not isinstance(self.formula, Aggregate | Ratio | Derived | Reckoned):
            given = "no formula" if self.formula is None else f"a formula that is a {type(self.formula).__name__}"
            raise UsageError(f"the measure {self.name!r} has {given}; give an Aggregate or a Ratio")
        if self.kind is not None and self.kind not in get_args(Quantity):
            kinds = ", ".join(get_args(Quantity))
            raise UsageError(f"the measure {self.name!r} is of the kind {self.kind!r}; there are: {kinds}")
        words = self.name.replace("_", " ")
        kind = _kind(self.formula) if self.kind is None else self.kind
        defaults = {
            "title": self.title or words[0].upper() + words[1:],
            "kind": kind,
            "unit": self.unit or _unit(kind, self.formula, words),
            "additive": _adds_up(self.formula) if self.additive is None else self.additive,
        }
        for name, value in defaults.items():
            object.__setattr__(self, name, value)

    @property
    def base(self) -> "Measure":
        """The measure that it is a share of, or is summed up or rolling; itself where it is of the calls directly."""
        return self.formula.measure if isinstance(self.formula, Derived) else self

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """What the engine computes for it, of the calls."""
        formula = self.base.formula
        if isinstance(formula, Ratio):
            return formula.numerator, formula.denominator
        return (formula,) if isinstance(formula, Aggregate) else ()

    @property
    def of_money(self) -> bool:
        """Whether it is made of amounts, so that there is one for each currency: a share of the cost is, too."""
        if isinstance(self.formula, Derived):
            return self.formula.measure.of_money
        return self.kind == "money" or "money" in map(_kind, self.aggregates)

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads and that must be there."""
        return tuple(column for column in self.formula.needs if column not in self.optional)

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that it reads where there are any; for money the currency, which is USD where absent."""
        currency = ("currency",) if self.of_money else ()
        return tuple(dict.fromkeys((*self.absent_is_null, *self.formula.optional, *currency)))


def _check_of_calls(measure: Measure, what: str) -> None:
    if not isinstance(measure, Measure):
        raise UsageError(f"{what} is of a measure, not of {measure!r}")
    if measure.base is not measure:
        raise UsageError(f"{what} is of a measure of calls; {measure.name!r} is made of another measure itself")


def _check_additive(measure: Measure, what: str) -> None:
    _check_of_calls(measure, what)
    if not measure.additive or any(part.function not in ("count", "sum") for part in measure.aggregates):
        raise UsageError(f"{what} is of what adds up, such as calls, cost or total_tokens; {measure.name!r} does not")


def _adds_up(formula: Formula) -> bool:
    if isinstance(formula, Share):
        return formula.of is None
    return isinstance(formula, Aggregate) and formula.function in ("count", "sum")


_KINDS: Mapping[str, Quantity] = MappingProxyType({"_tokens": "tokens", "_ms": "ms", "tokens_per_second": "tokens/s"})


def _kind(formula: Formula) -> Quantity:
    """How a number is written that nothing is said about, by the column that it is made of."""
    if isinstance(formula, Derived):
        return "rate" if isinstance(formula, Share) else formula.measure.kind
    if isinstance(formula, Reckoned):
        return "count"
    if isinstance(formula, Ratio):
        above, below = _kind(formula.numerator), _kind(formula.denominator)
        return "rate" if above == below else above
    if formula.function in ("count", "distinct"):
        return "count"
    if formula.value == "total_price":
        return "money"
    return next((kind for end, kind in _KINDS.items() if str(formula.value).endswith(end)), "count")


def _unit(kind: Quantity, formula: Formula, words: str) -> str:
    if isinstance(formula, Derived) and not isinstance(formula, Share):
        return formula.measure.unit
    if kind == "count":
        return "calls" if isinstance(formula, Aggregate) and formula.function == "count" else words
    return {"money": "currency", "rate": ""}.get(kind, kind)
