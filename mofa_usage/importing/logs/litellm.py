"""LiteLLM's spend logs: the table `LiteLLM_SpendLogs`, exported, or as the proxy answers `/spend/logs`.

A row is one request, `request_id` its key. What it cost (`spend`) is 0 also where LiteLLM knows no price, and counts of
tokens are 0 also of a request that failed: such zeros say nothing and are unknown here, but for the cost of answers out
of LiteLLM's cache. The parts of the tokens, how a request failed and the names of its key and team stand in `metadata`.
Without `summarize=false` the proxy answers with sums over days, which are no calls.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mofa_usage.importing.logs import LogFormat, Sample
from mofa_usage.importing.logs.parts import as_object, as_utc, is_zero
from mofa_usage.importing.source import Identity, SourceRow
from mofa_usage.importing.values import is_missing_text
from mofa_usage.values import read_nested

__all__ = ["LITELLM"]

_SUMS = "sums over days (summarize=false gives the requests)"
_KEPT = (
    *("request_id", "call_type", "model", "session_id", "agent_id", "custom_llm_provider", "error_code"),
    "error_message",
)
_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_FAILED = ("failure", "failed", "error")


def _call(row: Mapping[str, Any]) -> dict[str, Any]:
    metadata = as_object(row.get("metadata"))
    error = as_object(metadata.get("error_information"))
    status = row.get("status") or metadata.get("status")
    is_failed = str(status).lower() in _FAILED
    is_hit = str(row.get("cache_hit")).lower() == "true"
    counts = {name: row[name] for name in _COUNTS if not is_missing_text(row.get(name))}
    costs = as_object(metadata.get("cost_breakdown"))
    values = {name: row[name] for name in _KEPT if not is_missing_text(row.get(name))} | {
        "start_time": as_utc(row.get("startTime")),
        "end_time": as_utc(row.get("endTime")),
        "completion_start_time": as_utc(row.get("completionStartTime")),
        "user": row.get("end_user") or row.get("user"),
        "status": "error" if is_failed else status,
        "api_key_alias": metadata.get("user_api_key_alias"),
        "team_alias": metadata.get("user_api_key_team_alias"),
        "labels.team_id": row.get("team_id"),
        "labels.model_group": row.get("model_group"),
        "labels.tags": _tags(row.get("request_tags")),
        "labels.cache_hit": "true" if is_hit else None,
        "input_cost": costs.get("input_cost"),
        "output_cost": costs.get("output_cost"),
    }
    if not (is_failed and all(is_zero(count) for count in counts.values())):
        values |= {"usage": {**_parts(metadata), **counts}, "spend": _spend(row, costs, is_free=is_hit)}
    if is_failed:
        said = {"error_code": "error_code", "error_message": "error_message"}
        values |= {name: error.get(key) or values.get(name) for name, key in said.items()}
        values["error_code"] = values["error_code"] or error.get("error_class")
    elif row.get("request_id"):
        values["api_response_id"] = row["request_id"]
    return values


def _parts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the tokens are made of."""
    usage = as_object(metadata.get("usage_object")) or as_object(metadata.get("additional_usage_values"))
    names = ("prompt_tokens_details", "completion_tokens_details", "service_tier")
    parts = {name: usage[name] for name in names if usage.get(name) is not None}
    if not parts.get("prompt_tokens_details"):
        parts |= {name: usage[name] for name in usage if name.startswith("cache_") and type(usage[name]) is int}
    return parts


def _spend(row: Mapping[str, Any], costs: Mapping[str, Any], *, is_free: bool) -> Any:
    spend = row.get("spend")
    return None if is_zero(spend) and not is_free and costs.get("total_cost") is None else spend


def _tags(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            value = read_nested(value)
        except ValueError:
            return value.strip("{}") or None  # PostgreSQL's own way to write an array
    tags = [str(tag) for tag in value] if isinstance(value, list) else []
    return ", ".join(tags) or None


def _recognises(sample: Sample) -> bool:
    is_log = sample.columns >= {"request_id", "call_type", "spend", "startTime", "endTime"}
    return is_log or any(_is_sum(row) for row in sample.rows)


def _is_sum(row: Mapping[str, Any]) -> bool:
    return row.keys() >= {"startTime", "spend", "models", "users"} and "request_id" not in row


def _calls(rows: Iterable[SourceRow], path: Path | None) -> Iterator[SourceRow]:
    for row in rows:
        if row.values is None:
            yield row
        elif _is_sum(row.values):
            yield row._replace(values=None, left_out=_SUMS)
        else:
            request = row.values.get("request_id")
            identity = Identity(f"litellm:{request}") if request else None
            yield row._replace(values=_call(row.values), identity=identity)


LITELLM = LogFormat("LiteLLM spend logs", _recognises, _calls)
