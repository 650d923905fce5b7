"""The ways to put calls into groups.

Beside those that are listed here, every label is a dimension (`labels.feature`), every value of a session's metadata
(`session.plan`), and every further column of a frame that holds text, whole numbers, flags or dates (`team`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from mofa_usage.errors import UsageError
from mofa_usage.measures.catalogue import MEASURES
from mofa_usage.measures.spelling import suggestion

__all__ = ["DIMENSIONS", "LABEL_COLUMNS", "Dimension", "DimensionName", "dimension"]

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
    "agent_id",
    "user_id",
    "tenant_id",
    "chat_session_id",
    "request_message_id",
    "response_message_id",
    "request_id",
    "api_response_id",
    "id",
    "minute",
    "hour",
    "day",
    "week",
    "month",
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


@dataclass(frozen=True, slots=True)
class Dimension:
    """A way to put calls into groups.

    `kind` is `category` for a column taken as it is, `time` for buckets that follow each other on the
    calendar (they sort a result and can have gaps), and `cycle` for the hour of the day and the day of the
    week. `needs` is the column that it is made of.
    """

    name: str
    title: str
    kind: Literal["category", "time", "cycle"]
    description: str
    needs: tuple[str, ...]


def _category(name: str, title: str, description: str) -> Dimension:
    return Dimension(name, title, "category", description, (name,))


def _bucket(name: str, title: str, description: str, kind: Literal["time", "cycle"] = "time") -> Dimension:
    return Dimension(name, title, kind, description, ("create_time",))


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
