"""The ways to put calls into groups.

Beside those that are listed here, every label is a dimension (`labels.feature`), every value of a session's metadata
(`session.plan`), and every further column of a frame that holds text, whole numbers, flags or dates (`team`).

A `Dimension` of your own is another name for such a column, or is computed: by cases, which are data, or by an
expression of Narwhals.

>>> long = Condition("prompt_tokens", ">", 1000)
>>> size = Dimension("prompt_size", cases=[("long", long)], otherwise="short")
>>> size.title, size.kind, size.needs
('Prompt size', 'category', ('prompt_tokens',))
>>> Dimension("team", needs=("labels.team",)).title
'Team'
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from mofa_usage.errors import UsageError
from mofa_usage.measures.catalogue import MEASURES
from mofa_usage.measures.formulas import Condition
from mofa_usage.measures.spelling import suggestion

if TYPE_CHECKING:
    import narwhals as nw

__all__ = ["DIMENSIONS", "LABEL_COLUMNS", "Dimension", "DimensionName", "TimeBucket", "dimension"]

TimeBucket: TypeAlias = Literal["minute", "hour", "day", "week", "month"]
"""The dimensions that are stretches of time, from the shortest to the longest."""

DimensionName: TypeAlias = Literal[
    "model_name",
    "served_model",
    "provider_name",
    "agent_name",
    "agent_code",
    "status",
    "error_code",
    "currency",
    "operation",
    "service_tier",
    "environment",
    "token_source",
    "attempt",
    "retried",
    "prompt_length",
    "agent_id",
    "user_id",
    "tenant_id",
    "chat_session_id",
    "request_message_id",
    "response_message_id",
    "request_id",
    "api_response_id",
    "id",
    TimeBucket,
    "hour_of_day",
    "weekday",
]
"""The names of `DIMENSIONS`, for completion and type checkers."""

LABEL_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        f"labels.{name}": name
        for name in (
            "operation",
            "service_tier",
            "environment",
            "request_id",
            "served_model",
            "attempt",
            "retried",
        )
    }
)
"""Labels that have a column of their own in frames, by their full names: `labels.operation` is `operation`."""

_OPEN = ("labels.", "session.")


Kind: TypeAlias = Literal["category", "time", "cycle"]

Case: TypeAlias = tuple[str, Condition | Sequence[Condition]]
"""A value, and what a call must meet to have it: all of it, where it is several conditions."""


@dataclass(frozen=True, slots=True, eq=False)
class Dimension:
    """A way to put calls into groups; of your own, too: a name is enough.

    `kind` is `category` for what is told apart by name, as all dimensions of your own are; `time` for buckets that
    follow each other on the calendar (they sort a result and can have gaps), and `cycle` for the hour of the day and
    the day of the week. `needs` are the columns that it is made of.

    The value of a call is that of the one column, by default of the column that is called like the dimension. Or it
    is that of the first of the `cases`, pairs of a text and a `Condition` or several, which the call meets, else
    `otherwise`. Or it is the `expression`, of Narwhals over the columns of the calls, whose values are text, whole
    numbers, flags or dates; two dimensions with an expression are equal if it is the same object.

    Raises:
        UsageError: no name, a kind that there is not, cases that are none, more than one way to the value.
    """

    name: str
    title: str = ""
    kind: Kind = "category"
    description: str = ""
    needs: tuple[str, ...] = ()
    cases: Sequence[Case] = ()
    otherwise: str | None = None
    expression: "nw.Expr | None" = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"a dimension is called {self.name!r}; its name is a text, and not empty")
        if self.kind not in get_args(Kind):
            kinds = ", ".join(get_args(Kind))
            raise UsageError(f"the dimension {self.name!r} is of the kind {self.kind!r}; there are: {kinds}")
        if isinstance(self.needs, str) or not all(isinstance(column, str) for column in self.needs):
            raise UsageError(f"the dimension {self.name!r} needs {self.needs!r}; give a tuple of columns")
        cases = tuple(self._cases())
        conditions = [condition for _, conditions in cases for condition in conditions]
        needs = tuple(dict.fromkeys((*self.needs, *(condition.column for condition in conditions))))
        if not cases and self.expression is None:
            needs = needs or (self.name,)
            if len(needs) > 1:
                raise UsageError(f"the dimension {self.name!r} needs {len(needs)} columns; say how by cases")
        if bool(cases) + (self.expression is not None) > 1 or (self.otherwise is not None and not cases):
            raise UsageError(
                f"the dimension {self.name!r} has cases, otherwise, an expression: give one way to its value"
            )
        words = self.name.replace("_", " ")
        for name, value in (("title", self.title or words[0].upper() + words[1:]), ("needs", needs), ("cases", cases)):
            object.__setattr__(self, name, value)

    def _cases(self) -> Iterator[tuple[str, tuple[Condition, ...]]]:
        """The cases, each with a tuple of conditions."""
        for case in self.cases:
            value, conditions = case if isinstance(case, tuple | list) and len(case) == 2 else (None, ())
            several = tuple(conditions) if isinstance(conditions, tuple | list) else (conditions,)
            if not isinstance(value, str) or not several or not all(isinstance(one, Condition) for one in several):
                raise UsageError(
                    f"a case of the dimension {self.name!r} is {case!r}; it is a text with a Condition or several"
                )
            yield value, several
        if not isinstance(self.otherwise, str | None):
            raise UsageError(f"the dimension {self.name!r} is otherwise {self.otherwise!r}; it is a text, or None")

    @property
    def choices(self) -> tuple[tuple[str, tuple[Condition, ...]], ...]:
        """The cases, each with all of its conditions."""
        return self.cases  # type: ignore[return-value]  # they became these when it was made

    @property
    def definition(self) -> tuple[Any, ...]:
        """What decides which value a call has, comparable and hashable; its names do not."""
        return self.kind, self.needs, self.cases, self.otherwise, id(self.expression)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dimension):
            return NotImplemented
        mine, others = (self.name, self.title, self.description), (other.name, other.title, other.description)
        return mine == others and self.definition == other.definition

    def __hash__(self) -> int:
        return hash((self.name, self.definition))


def _category(name: str, title: str, description: str) -> Dimension:
    return Dimension(name, title, "category", description, (name,))


def _bucket(name: str, title: str, description: str, kind: Literal["time", "cycle"] = "time") -> Dimension:
    return Dimension(name, title, kind, description, ("create_time",))


def _lengths(*ends: int) -> Dimension:
    """Prompts by their length in thousands of tokens, up to each of the ends and from the last one on."""
    starts = (0, *ends)
    cases = [
        (f"{start}-{end}k", Condition("prompt_tokens", "<", end * 1000))
        for start, end in zip(starts, ends, strict=False)
    ]
    longest = (f"{ends[-1]}k+", Condition("prompt_tokens", ">=", ends[-1] * 1000))
    text = "Prompt tokens by the thousand, each range without its end; none where they are not known."
    return Dimension("prompt_length", "Prompt length", "category", text, cases=[*cases, longest])


_ALL_DIMENSIONS = (
    _category("model_name", "Model", "The model that was called."),
    _category("served_model", "Served model", "The model that answered, where it is another than the one called."),
    _category("provider_name", "Provider", "Name of the provider: the label, else that of the agent's provider."),
    _category("agent_name", "Agent", "Name of the agent, where the source has it."),
    _category("agent_code", "Agent code", "Code of the agent, where the source has it."),
    _category("status", "Status", "success, failed, timeout, rate_limited or cancelled."),
    _category("error_code", "Error code", "The provider's error code."),
    _category("currency", "Currency", "Currency of the price, USD when a priced call does not say; none without one."),
    _category("operation", "Operation", "What was asked for: chat, embeddings, image_generation, ..."),
    _category("service_tier", "Service tier", "The provider's tier of service, such as batch."),
    _category("environment", "Environment", "Where the program ran, such as production."),
    _category("token_source", "Token source", "How the token counts came about: provider, estimated, partial, ..."),
    _category("attempt", "Attempt", "Which attempt of its request the call was, where there were several."),
    _category("retried", "Retried", "true for an attempt that was tried again."),
    _lengths(1, 4, 16, 64),
    _category("agent_id", "Agent id", "The agent, as UUID."),
    _category("user_id", "User", "The user, as UUID."),
    _category("tenant_id", "Tenant", "The tenant, as UUID; the nil UUID when unset."),
    _category("chat_session_id", "Session", "The chat session, as UUID."),
    _category("request_message_id", "Request message", "The message that asked, as UUID."),
    _category("response_message_id", "Response message", "The message that answered; the nil UUID when none did."),
    _category("request_id", "Request id", "The id of the request, where one was recorded."),
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
"""Every dimension by its name, but for labels, metadata of sessions, and further columns."""


def dimension(name: str, further: Collection[str] = ()) -> Dimension:
    """The dimension of that name.

    Args:
        name: one of `DIMENSIONS`, `labels.NAME`, `session.NAME`, or one of `further`.
        further: columns of the frame that may be dimensions, too. Labels need not be among them.

    Raises:
        UsageError: there is none; the message names it and those nearest to it.
    """
    if isinstance(name, str) and name in DIMENSIONS:
        return DIMENSIONS[name]
    if isinstance(name, str) and name.startswith(_OPEN):
        prefix, _, title = name.partition(".")
        described = f"The label {title}." if prefix == "labels" else f"{title} in the metadata of the session."
        return Dimension(name, title, "category", described, (LABEL_COLUMNS.get(name, name),))
    if name in further and name not in MEASURES:
        return Dimension(name, name, "category", f"The column {name}.", (name,))
    raise UsageError(f"no dimension is called {name!r}; {suggestion(name, dict.fromkeys((*DIMENSIONS, *further)))}")
