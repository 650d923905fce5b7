"""The fields that a record's constructors take beside those they name, typed: for completion and type checkers."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

from mofa_usage.details import PriceDetails, TokenDetails
from mofa_usage.values import ApiCallStatus

__all__ = ["CallFields", "FailedCallFields", "MessageFields", "SessionFields"]


class MessageFields(TypedDict, total=False):
    """What `LLMMessage.new` can be given besides."""

    id: UUID
    tenant_id: UUID
    parent_message_id: UUID | None
    create_time: datetime
    update_time: datetime


class _EveryCall(TypedDict, total=False):
    id: UUID
    tenant_id: UUID
    request_message_id: UUID
    response_message_id: UUID
    total_tokens: int
    prompt_tokens_details: TokenDetails | Mapping[str, Any] | None
    completion_tokens_details: TokenDetails | Mapping[str, Any] | None
    total_price: Decimal | None
    price_details: PriceDetails | Mapping[str, Any] | None
    latency_ms: int | None
    time_to_first_token_ms: int | None
    tokens_per_second: float | None
    api_response_id: str | None
    labels: Mapping[str, str]
    create_time: datetime
    update_time: datetime


class CallFields(_EveryCall, total=False):
    """What `LLMApiCall.success` can be given besides."""

    status: ApiCallStatus | str
    error_message: str | None
    error_code: str | None


class FailedCallFields(_EveryCall, total=False):
    """What `LLMApiCall.failed` can be given besides."""

    prompt_tokens: int
    completion_tokens: int


class SessionFields(TypedDict, total=False):
    """What `ChatSession.new` can be given besides."""

    id: UUID
    tenant_id: UUID
    title: str | None
    metadata: Mapping[str, Any]
    create_time: datetime
    update_time: datetime
