"""What a frame of calls must hold, worked out from the records in plain Python, one value at a time."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from mofa_usage.records import Agent, LLMApiCall, Provider

MONEY = pl.Decimal(38, 10)
TIME = pl.Datetime("us", "UTC")

# Written out by hand from the design, not taken from the code that is tested.
COLUMNS: dict[str, Any] = {
    **dict.fromkeys(("id", "chat_session_id", "agent_id", "user_id", "tenant_id"), pl.String),
    **dict.fromkeys(("request_message_id", "response_message_id", "model_name", "status"), pl.String),
    **dict.fromkeys(("error_message", "error_code"), pl.String),
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), pl.Int64),
    **dict.fromkeys(("cached_tokens", "cache_write_tokens"), pl.Int64),
    **dict.fromkeys(("cache_write_5m_tokens", "cache_write_1h_tokens", "prompt_audio_tokens"), pl.Int64),
    **dict.fromkeys(("reasoning_tokens", "completion_audio_tokens"), pl.Int64),
    "token_source": pl.String,
    **dict.fromkeys(("total_price", "input_price", "output_price"), MONEY),
    "currency": pl.String,
    **dict.fromkeys(("latency_ms", "time_to_first_token_ms"), pl.Int64),
    "tokens_per_second": pl.Float64,
    "api_response_id": pl.String,
    **dict.fromkeys(("create_time", "update_time"), TIME),
    **dict.fromkeys(("agent_code", "agent_name", "provider_name"), pl.String),
    **dict.fromkeys(("operation", "service_tier", "request_id", "served_model", "environment", "retried"), pl.String),
    "attempt": pl.Int64,
}
LABELS = ("operation", "service_tier", "request_id", "served_model", "environment", "retried", "attempt")
DETAILS = ("prompt_tokens_details", "completion_tokens_details", "price_details", "labels")
UNKNOWN = {
    "none": ("prompt", "completion", "total"),
    "partial": ("completion", "total"),
    "completion_only": ("prompt", "total"),
}

_PARTS = {
    "cached_tokens": ("prompt_tokens_details", "cached_tokens"),
    "cache_write_tokens": ("prompt_tokens_details", "cache_write_tokens"),
    "cache_write_5m_tokens": ("prompt_tokens_details", "cache_write_5m_tokens"),
    "cache_write_1h_tokens": ("prompt_tokens_details", "cache_write_1h_tokens"),
    "prompt_audio_tokens": ("prompt_tokens_details", "audio_tokens"),
    "reasoning_tokens": ("completion_tokens_details", "reasoning_tokens"),
    "completion_audio_tokens": ("completion_tokens_details", "audio_tokens"),
    "token_source": ("completion_tokens_details", "token_source"),
    "input_price": ("price_details", "input_price"),
    "output_price": ("price_details", "output_price"),
    "currency": ("price_details", "currency"),
}


def expected_row(call: LLMApiCall, names: Mapping[Any, tuple[str, str, str | None]] | None = None) -> dict[str, Any]:
    """The values of a call in every column of a frame."""
    row: dict[str, Any] = {}
    for column in COLUMNS:
        if column in _PARTS:
            details = getattr(call, _PARTS[column][0])
            row[column] = None if details is None else getattr(details, _PARTS[column][1], None)
        elif column not in ("agent_code", "agent_name", "provider_name", *LABELS):
            value = getattr(call, column)
            row[column] = str(value) if (column.endswith("id") and value is not None) or column == "status" else value
    if row["total_price"] is None:
        row["currency"] = None
    elif row["currency"] is None:
        row["currency"] = "USD"
    row["token_source"] = row["token_source"] or "provider"
    row.update({f"{count}_tokens": None for count in UNKNOWN.get(row["token_source"], ())})
    labels = getattr(call, "labels", {})
    row.update({name: labels.get(name) for name in LABELS})
    row["operation"] = row["operation"] or "chat"
    row["attempt"] = None if row["attempt"] is None else int(row["attempt"])
    code, agent, provider = (names or {}).get(call.agent_id, (None, None, None))
    row["agent_code"], row["agent_name"] = code, labels.get("agent") if agent is None else agent
    row["provider_name"] = labels.get("provider", provider)
    return row


def expected_names(agents: Iterable[Agent], providers: Iterable[Provider]) -> dict[Any, tuple[str, str, str | None]]:
    """The names that belong to an agent's id."""
    known = {provider.id: provider.provider_name for provider in providers}
    return {agent.id: (agent.agent_code, agent.agent_name, known.get(agent.provider_id)) for agent in agents}


def stored_details(text: str | None) -> Any:
    """JSON text as what it means."""
    return None if text is None else json.loads(text)


def rows_by_id(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of a frame by the id of the call, which must differ."""
    rows = {row["id"]: row for row in frame.iter_rows(named=True)}
    assert len(rows) == frame.height
    return rows
