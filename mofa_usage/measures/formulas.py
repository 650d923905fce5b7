"""The parts that a measure is made of: conditions, values, aggregates and ratios, as frozen data."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from mofa_usage.errors import UsageError

__all__ = ["Aggregate", "Condition", "Measure", "Quantity", "Quotient", "Ratio"]

Quantity: TypeAlias = Literal["money", "count", "tokens", "ms", "rate", "tokens/s"]
"""How a measure is written: `money` in a currency; `rate` is a fraction from 0 to 1."""

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


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One number per group, computed by the engine.

    `count` counts the calls (those that have `value`, when one is given); `distinct` the different values,
    the nil UUID not among them, since it stands for "none"; `quantile` is exact, with linear interpolation
    (numpy's default). A sum of which no call has a value is null; with `zero_of_nothing` it is 0 where there are no
    calls at all that meet the conditions.
    """

    function: Literal["count", "sum", "quantile", "min", "max", "distinct"]
    value: str | Quotient | None = None
    where: tuple[Condition, ...] = ()
    quantile: float = 0.0
    zero_of_nothing: bool = False

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
    """`numerator / denominator * scale`, null when the denominator is 0 or either is null."""

    numerator: Aggregate
    denominator: Aggregate
    scale: int = 1

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads."""
        return tuple(dict.fromkeys((*self.numerator.needs, *self.denominator.needs)))

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that it reads where there are any."""
        return tuple(dict.fromkeys((*self.numerator.optional, *self.denominator.optional)))


@dataclass(frozen=True, slots=True)
class Measure:
    """A number about a group of calls.

    `unit` is the word behind the number ("calls", "tokens", "ms", "tokens/s"; "" for rates; for money
    "currency", to be replaced by the currency). `additive` says that the values of several rows add up to
    that of all their calls. `absent_is_null` names columns that a frame need not have: without them no call has
    the value.
    """

    name: str
    title: str
    kind: Quantity
    unit: str
    description: str
    formula: Aggregate | Ratio
    additive: bool = False
    absent_is_null: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns of the calls frame that it reads and that must be there."""
        return tuple(column for column in self.formula.needs if column not in self.optional)

    @property
    def optional(self) -> tuple[str, ...]:
        """The columns that it reads where there are any; for money the currency, which is USD where absent."""
        currency = ("currency",) if self.kind == "money" else ()
        return tuple(dict.fromkeys((*self.absent_is_null, *self.formula.optional, *currency)))
