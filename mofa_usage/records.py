"""What is recorded: messages, API calls, chat sessions, agents and providers.

Every record is validated when it is constructed and never changes afterwards, so that a store has nothing left to
check and all stores refuse the same things:

- ids are UUIDs; new ones are version 7, so they sort by the time they were made;
- times carry a zone and are kept in UTC to the microsecond; a naive one is refused;
- token counts and milliseconds are integers from 0 to 2**31 - 1;
- money is `decimal.Decimal` with at most 5 digits before the point and 10 after it, never a sum of floats;
- text holds no NUL character and no lone surrogate, JSON is real JSON, indexed names have at most 600 characters: what
  one database cannot hold, none accepts;
- missing is `None`, never 0: a call without a price has an unknown cost, it was not free.

Token counts are inclusive, as OpenAI and OpenTelemetry report them: `prompt_tokens` contains the cached ones and
`completion_tokens` the reasoning ones. `TokenDetails` says which part of a total was of a kind; details are subsets
of their totals and are never added to them.

A change makes a new record: `session.model_copy(update={"title": "New"})`, validated like any other.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self, Unpack, cast
from uuid import UUID

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from uuid_utils.compat import uuid7

from mofa_usage.details import (
    MessageContent,
    PriceDetails,
    TokenDetails,
    ToolCallContent,
    ToolResultContent,
    told_source,
)
from mofa_usage.fields import CallFields, FailedCallFields, MessageFields, SessionFields
from mofa_usage.labels import NO_LABELS, CallLabels
from mofa_usage.outcomes import status_of_code, used_nothing
from mofa_usage.queries import QueryFilter, UsageStatistics
from mofa_usage.values import (
    DEFAULT_CURRENCY,
    TOKEN_SOURCES,
    ApiCallStatus,
    Count,
    Flag,
    Id,
    Integer,
    Json,
    JsonObject,
    Key,
    Money,
    Rate,
    Secret,
    Text,
    Time,
    TokenSource,
    Value,
    to_utc,
    token_source_of,
)

__all__ = [
    "NIL_UUID",
    "Agent",
    "AgentConfig",
    "ApiCallStatus",
    "ChatSession",
    "LLMApiCall",
    "LLMMessage",
    "MessageContent",
    "MessageRole",
    "PriceDetails",
    "Provider",
    "QueryFilter",
    "Record",
    "TokenDetails",
    "TokenSource",
    "ToolCallContent",
    "ToolResultContent",
    "UsageStatistics",
]

NIL_UUID = UUID(int=0)
"""Stands for "none": no tenant, no request or response message."""

_USER_IN_URL = re.compile(r"://[^/\s]*@")


def _now() -> datetime:
    return datetime.now(UTC)


def _create_time(data: dict[str, Any]) -> datetime:
    return cast(datetime, data.get("create_time") or _now())


class Record(Value):
    """A row of a table: an id and the times when it was made and last changed (UTC)."""

    id: Id = Field(default_factory=uuid7)
    create_time: Time = Field(default_factory=_now)
    update_time: Time = Field(default_factory=_create_time)

    def __hash__(self) -> int:
        return hash(self.id)  # equal records have one id, and JSON has no hash of its own

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.update_time < self.create_time:
            raise ValueError(
                f"update_time ({self.update_time.isoformat()}) must not be before "
                f"create_time ({self.create_time.isoformat()})"
            )
        return self


class MessageRole(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class LLMMessage(Record):
    """One message of a chat session."""

    chat_session_id: Id
    agent_id: Id
    user_id: Id
    tenant_id: Id = NIL_UUID
    parent_message_id: Id | None = None
    role: MessageRole
    content: MessageContent

    @classmethod
    def new(
        cls,
        *,
        chat_session_id: UUID,
        agent_id: UUID,
        user_id: UUID,
        role: MessageRole | str,
        content: MessageContent | str,
        **fields: Unpack[MessageFields],
    ) -> Self:
        """A message of this moment with a new id. Plain text as `content` becomes `MessageContent(text=...)`."""
        if isinstance(content, str):
            content = MessageContent(text=content)
        named = {"chat_session_id": chat_session_id, "agent_id": agent_id, "user_id": user_id}
        return cls.model_validate({**named, "role": role, "content": content, **fields})


class LLMApiCall(Record):
    """One request to a model: who made it, how it ended, what it used, what it cost and how long it took.

    `total_price` is in the currency of `price_details` (USD without them); `latency_ms` is the whole request,
    `time_to_first_token_ms` its part before the first token; `tokens_per_second` counts completion tokens.
    `create_time` is when the request was sent, `update_time` when it ended.
    """

    chat_session_id: Id
    agent_id: Id
    user_id: Id
    tenant_id: Id = NIL_UUID
    request_message_id: Id = NIL_UUID
    response_message_id: Id = NIL_UUID
    model_name: Key
    status: ApiCallStatus
    error_message: Text | None = None
    error_code: Text | None = None
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: TokenDetails | None = None
    completion_tokens_details: TokenDetails | None = None
    total_price: Money | None = None
    price_details: PriceDetails | None = None
    latency_ms: Count | None = None
    time_to_first_token_ms: Count | None = None
    tokens_per_second: Rate | None = None
    api_response_id: Text | None = None
    labels: CallLabels = NO_LABELS

    @property
    def token_source(self) -> TokenSource:
        """How the token counts came about, a key of `completion_tokens_details`; `provider` where it is absent. What
        it calls unknown is 0 in the counts: with `none` both of them, with `partial` those of the completion, with
        `completion_only` those of the prompt.
        """
        source = told_source(self.completion_tokens_details)
        return source if source in TOKEN_SOURCES else "provider"

    @property
    def currency(self) -> str | None:
        """The currency of `total_price`; `None` without a price."""
        if self.total_price is None:
            return None
        return DEFAULT_CURRENCY if self.price_details is None else self.price_details.currency

    @model_validator(mode="after")
    def _check_details(self, info: ValidationInfo) -> Self:
        if info.context is not None:
            return self  # read from a table: a ledger stays readable whatever another program wrote
        for total, details in (
            ("prompt_tokens", self.prompt_tokens_details),
            ("completion_tokens", self.completion_tokens_details),
        ):
            if details is None:
                continue
            for part in TokenDetails.model_fields:
                if (getattr(details, part) or 0) > getattr(self, total):
                    raise ValueError(
                        f"{total}_details.{part} ({getattr(details, part)}) must be a part of "
                        f"{total} ({getattr(self, total)})"
                    )
        if (source := told_source(self.completion_tokens_details)) not in (None, *TOKEN_SOURCES):
            known = ", ".join(TOKEN_SOURCES)
            raise ValueError(f"completion_tokens_details.token_source is {source!r:.40}, it must be one of {known}")
        return self

    @classmethod
    def success(
        cls,
        *,
        chat_session_id: UUID,
        agent_id: UUID,
        user_id: UUID,
        model_name: str,
        prompt_tokens: int,
        completion_tokens: int,
        request_time: datetime,
        response_time: datetime,
        **fields: Unpack[CallFields],
    ) -> Self:
        """A call that was answered. Latency is the whole milliseconds between the two times, the rate of tokens per
        second follows from it (`None` below one millisecond), the total is prompt plus completion; any other field
        can be given and wins.
        """
        latency = _milliseconds(request_time, response_time)
        tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        # What is no number is refused by the name of its field.
        known = {name: count for name, count in tokens.items() if isinstance(count, int)}
        derived: dict[str, Any] = {
            "status": ApiCallStatus.SUCCESS,
            "total_tokens": sum(known.values()),
            "latency_ms": latency,
            "tokens_per_second": known.get("completion_tokens", 0) / (latency / 1000)
            if latency and latency > 0
            else None,
            "create_time": request_time,
            "update_time": response_time,
        }
        named = {"chat_session_id": chat_session_id, "agent_id": agent_id, "user_id": user_id}
        return cls.model_validate({**named, "model_name": model_name, **tokens, **derived, **fields})

    @classmethod
    def failed(
        cls,
        *,
        chat_session_id: UUID,
        agent_id: UUID,
        user_id: UUID,
        model_name: str,
        error_message: str,
        request_time: datetime,
        error_code: str | None = None,
        status: ApiCallStatus | str | None = None,
        response_time: datetime | None = None,
        **fields: Unpack[FailedCallFields],
    ) -> Self:
        """A call that was not answered, ended now unless `response_time` says when.

        The status is what the error code says unless it is given (`mofa_usage.outcomes`: 408 and 504 are timeouts, 429
        and `RateLimitError` are rate limited, 499 is cancelled), else `failed`. Tokens that are not given are unknown
        (`token_source`), but 0 for a call that was refused before any work: one that is rate limited, or another 4xx.
        """
        # A request time from a clock ahead of ours must not end before it began.
        ended = response_time or max(_now(), to_utc(request_time))
        status = status or status_of_code(error_code) or ApiCallStatus.FAILED
        derived: dict[str, Any] = {
            "latency_ms": _milliseconds(request_time, ended),
            "create_time": request_time,
            "update_time": ended,
        }
        named = {"chat_session_id": chat_session_id, "agent_id": agent_id, "user_id": user_id}
        error = {"error_message": error_message, "error_code": error_code, "status": status}
        refused = status in _STATUSES and used_nothing(ApiCallStatus(status), error_code)
        tokens = _tokens_of_failure(fields, refused=refused)
        return cls.model_validate({**named, "model_name": model_name, **error, **derived, **fields, **tokens})


_STATUSES = frozenset(ApiCallStatus)


def _tokens_of_failure(fields: Mapping[str, Any], *, refused: bool) -> dict[str, Any]:
    """The counts that are given, 0 for others, and in the details which of them are unknown."""
    prompt, completion = fields.get("prompt_tokens"), fields.get("completion_tokens")
    counts = {"prompt_tokens": prompt or 0, "completion_tokens": completion or 0}
    known = (count for count in counts.values() if isinstance(count, int))
    tokens: dict[str, Any] = {"total_tokens": sum(known), **counts}
    if "total_tokens" in fields:
        tokens["total_tokens"] = fields["total_tokens"]
    source = token_source_of(prompt, completion)
    if source != "provider" and not refused:
        details = TokenDetails.model_validate(fields.get("completion_tokens_details") or {})
        if told_source(details) is None:
            tokens["completion_tokens_details"] = details.model_copy(update={"token_source": source})
    return tokens


def _milliseconds(request_time: datetime, response_time: datetime) -> int | None:
    utc = []
    for name, time in (("request_time", request_time), ("response_time", response_time)):
        try:
            utc.append(to_utc(time))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    milliseconds = (utc[1] - utc[0]) // timedelta(milliseconds=1)
    return milliseconds if milliseconds < 2**31 else None  # more than 24 days is no latency that a column holds


class ChatSession(Record):
    """A conversation of a user with an agent. `metadata` is a JSON object."""

    user_id: Id
    agent_id: Id
    tenant_id: Id = NIL_UUID
    title: Text | None = None
    metadata: JsonObject = Field(default_factory=dict)

    @classmethod
    def new(cls, user_id: UUID, agent_id: UUID, **fields: Unpack[SessionFields]) -> Self:
        """A session of this moment with a new id."""
        return cls.model_validate({"user_id": user_id, "agent_id": agent_id, **fields})


class Provider(Record):
    """Whom a model is bought from. `api_key` is a secret: read it with `provider.api_key.get_secret_value()`."""

    tenant_id: Id = NIL_UUID
    provider_name: Key
    provider_type: Text
    api_base: Text
    api_key: Secret
    enabled: Flag = True

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _USER_IN_URL.sub("://***@", value) if name == "api_base" else value

    @model_validator(mode="wrap")
    @classmethod
    def _hide_input(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # pydantic shows the refused input, and the input of a whole provider holds its key.
        try:
            return handler(data)
        except ValidationError as error:
            refusals = [
                InitErrorDetails(
                    type=PydanticCustomError(
                        cast(Any, line["type"]),
                        cast(Any, "{message} (the value is of kind {kind})"),
                        {"message": line["msg"], "kind": type(line["input"]).__name__},
                    ),
                    loc=line["loc"],
                    input="**********",
                )
                for line in error.errors()
            ]
        raise ValidationError.from_exception_data(cls.__name__, refusals, hide_input=True)


class Agent(Record):
    """An agent's configuration. `custom_params` and `thinking` are any JSON."""

    tenant_id: Id = NIL_UUID
    agent_code: Key
    agent_name: Text
    agent_order: Integer = 0
    agent_status: Flag = True
    context_limit: Count | None = None
    custom_params: Json = None
    max_completion_tokens: Count | None = None
    model_name: Text
    provider_id: Id
    response_format: Text | None = None
    system_prompt: Text
    temperature: Rate | None = None
    stream: Flag | None = None
    thinking: Json = None


class AgentConfig(Value):
    """An agent together with the provider that it uses."""

    agent: Agent
    provider: Provider
